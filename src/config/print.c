/* SPDX-License-Identifier: Apache-2.0
 * The configuration as YAML: 4 blanks per level, keys in the order of the tables, durations as Go
 * prints them, secrets masked. Keys that the current Tempo does not have are printed only when
 * set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

#define MASK "********"

struct printer {
    const struct config *c;
    enum config_print_mode mode;
    struct buf *out;
};

static const struct node *effective(const struct printer *p, const char *path)
{
    const struct config_doc *d = p->c->doc;
    if (p->mode == CONFIG_PRINT_DEFAULTS)
        return NULL;
    if (p->mode == CONFIG_PRINT_ALL)
        for (size_t i = 0; i < d->effective.n; i++)
            if (strcmp(d->effective.p[i].path, path) == 0)
                return d->effective.p[i].value;
    return doc_get(d, path);
}

static void indent(struct buf *out, unsigned depth)
{
    buf_printf(out, "%*s", (int)(depth * 4), "");
}

/* Words that would be read back as something else, or not at all, are quoted. */
static bool needs_quotes(struct str s)
{
    static const char *const words[] = {
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"};
    if (s.n == 0 || strchr("-?:,[]{}#&*!|>'\"%@` .+0123456789=<~", s.p[0]) != NULL ||
        s.p[s.n - 1] == ' ' || s.p[s.n - 1] == ':')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(s, str_from(words[i])))
            return true;
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
        if (i + 1 < s.n &&
            ((s.p[i] == ':' && s.p[i + 1] == ' ') || (s.p[i] == ' ' && s.p[i + 1] == '#')))
            return true;
    }
    return false;
}

static void print_text(struct buf *out, struct str s)
{
    if (!needs_quotes(s)) {
        buf_puts(out, s);
        return;
    }
    buf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_putz(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_putc(out, (char)c);
    }
    buf_putc(out, '"');
}

/* With as few digits as bring the number back. */
static void print_float(struct buf *out, double f)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, f);
        double back = strtod(text, NULL);
        if (!(back < f) && !(back > f))
            break;
    }
    buf_putz(out, text);
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20)
            return true;
    return false;
}

static void print_scalar(struct buf *out, const struct key *k, const struct node *n)
{
    struct value v;
    char problem[PROBLEM_MAX], text[40];

    if (!value_parse((enum key_type)k->type, n, &v, problem))
        return;
    switch ((enum key_type)k->type) {
    case KT_BOOL:
        buf_putz(out, v.b ? "true" : "false");
        break;
    case KT_INT:
        buf_printf(out, "%lld", (long long)v.i);
        break;
    case KT_UINT32:
    case KT_UINT64:
        buf_printf(out, "%llu", (unsigned long long)v.u);
        break;
    case KT_FLOAT:
        print_float(out, v.f);
        break;
    case KT_DURATION:
    case KT_PROM:
        duration_format_go(v.i, text);
        buf_putz(out, text);
        break;
    default:
        print_text(out, v.s);
        break;
    }
}

static bool ends_with_any_case(struct str s, struct str end)
{
    return s.n >= end.n && str_ieq(str_n(s.p + s.n - end.n, end.n), end);
}

/* Names below free-form blocks whose values are not for everyone's eyes. */
static bool is_secret_name(struct str name)
{
    static const char *const ends[] = {"password", "secret", "secret_key", "_token", "credentials",
        "account_key", "encryption_key", "key_pem"};
    static const char *const names[] = {"token", "headers", "http_headers", "remote_write_headers"};
    if (str_starts(name, STR("use_")))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (ends_with_any_case(name, str_from(ends[i])))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_from(names[i])))
            return true;
    return false;
}

/* "http://user:password@host": shown without the pair. */
static bool print_url(struct buf *out, struct str s)
{
    const char *scheme = memmem(s.p, s.n, "://", 3);
    if (scheme == NULL || scheme == s.p)
        return false;
    const char *host = scheme + 3, *end = host;
    while (end < s.p + s.n && *end != '/' && *end != '?' && *end != '#')
        end++;
    const char *at = memrchr(host, '@', (size_t)(end - host));
    if (at == NULL)
        return false;
    struct buf text = BUF_INIT;
    buf_put(&text, s.p, (size_t)(host - s.p));
    buf_putz(&text, MASK);
    buf_put(&text, at, (size_t)(s.p + s.n - at));
    print_text(out, buf_str(&text));
    buf_deinit(&text);
    return true;
}

/* A subtree as it was given. Depth and size are bounded by the parser. */
static void print_node(struct buf *out, const struct node *n, unsigned depth, bool masked)
{
    if (n->kind == NODE_SCALAR) {
        buf_putc(out, ' ');
        if (n->s.n > 0 && (masked || str_has(n->s, STR("PRIVATE KEY"))))
            buf_putz(out, "'" MASK "'");
        else if (print_url(out, n->s))
            ;
        else if (n->plain && !has_control(n->s))
            buf_puts(out, node_is_null(n) ? STR("null") : n->s);
        else
            print_text(out, n->s);
        buf_putc(out, '\n');
        return;
    }
    if (n->n == 0) {
        buf_putz(out, n->kind == NODE_MAP ? " {}\n" : " []\n");
        return;
    }
    buf_putc(out, '\n');
    for (uint32_t i = 0; i < n->n; i++) {
        indent(out, depth);
        if (n->kind == NODE_SEQ) {
            buf_putc(out, '-');
            print_node(out, n->items[i], depth + 1, masked);
            continue;
        }
        print_text(out, n->pairs[i].key);
        buf_putc(out, ':');
        print_node(out, n->pairs[i].value, depth + 1, masked || is_secret_name(n->pairs[i].key));
    }
}

static bool same_as_default(const struct key *k, const struct node *n)
{
    struct value set, dflt;
    char problem[PROBLEM_MAX];
    struct node text = {.kind = NODE_SCALAR, .plain = true, .s = str_from(k->dflt)};
    return k->type < KT_STRINGS && k->dflt != NULL &&
           value_parse((enum key_type)k->type, n, &set, problem) &&
           value_parse((enum key_type)k->type, &text, &dflt, problem) &&
           values_equal((enum key_type)k->type, &set, &dflt);
}

static void print_leaf(
    struct printer *p, const struct key *k, const char *path, bool old, unsigned depth)
{
    const struct node *n = effective(p, path);
    struct node dflt = {.kind = NODE_SCALAR, .plain = true, .s = str_from(k->dflt)};
    const struct node *shown = n;

    if (n == NULL && (p->mode == CONFIG_PRINT_DIFF || k->dflt == NULL || old))
        return;
    if (n != NULL && p->mode == CONFIG_PRINT_DIFF && same_as_default(k, n))
        return;
    if (n == NULL)
        shown = &dflt;
    indent(p->out, depth);
    buf_printf(p->out, "%s:", k->name);
    if ((k->flags & KEY_SECRET) != 0 && shown->kind == NODE_SCALAR && shown->s.n > 0) {
        buf_putz(p->out, " '" MASK "'\n");
    } else if (k->type >= KT_STRINGS) {
        print_node(p->out, shown, depth + 1, is_secret_name(str_from(k->name)));
    } else {
        buf_putc(p->out, ' ');
        print_scalar(p->out, k, shown);
        buf_putc(p->out, '\n');
    }
}

static void print_block(
    struct printer *p, const struct block *b, const char *prefix, bool old, unsigned depth)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        char path[SCHEMA_PATH_MAX];
        int len =
            snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == 0 ? "" : ".", k->name);
        ASSERT(len > 0 && (size_t)len < sizeof(path));
        bool only_set = old || (k->flags & KEY_OLD) != 0;
        if (k->type != KT_BLOCK) {
            print_leaf(p, k, path, only_set, depth);
            continue;
        }
        size_t before = p->out->n;
        indent(p->out, depth);
        buf_printf(p->out, "%s:\n", k->name);
        size_t head = p->out->n;
        print_block(p, k->block, path, only_set, depth + 1);
        if (p->out->n == head) /* nothing inside: no block */
            p->out->n = before;
    }
}

void config_print(const struct config *c, enum config_print_mode mode, struct buf *out)
{
    struct printer p = {.c = c, .mode = mode, .out = out};
    print_block(&p, &schema_root, "", false, 0);
}
