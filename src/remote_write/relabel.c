/* SPDX-License-Identifier: Apache-2.0 */
#include "relabel.h"

#include <nettle/md5.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "model/otlp_write.h"
#include "query/regex.h"

enum action {
    REPLACE,
    KEEP,
    DROP,
    KEEP_EQUAL,
    DROP_EQUAL,
    HASH_MOD,
    LABEL_MAP,
    LABEL_DROP,
    LABEL_KEEP,
    LOWERCASE,
    UPPERCASE
};
static const char *const actions[] = {"replace", "keep", "drop", "keepequal", "dropequal",
    "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"};

struct rule {
    enum action action;
    struct regex *regex;
    struct str *sources; /* texts are owned, as below */
    size_t n_sources;
    struct str separator, target, replacement;
    uint64_t modulus;
};

struct label {
    struct str name, value; /* value empty: removed */
};

struct relabel {
    struct rule *rules;
    size_t n;
    struct arena arena; /* of one series */
    VEC(struct label) labels;
    struct buf joined, made;
};

static struct str own(struct str s)
{
    return str_n(xstrndup(s.n == 0 ? "" : s.p, s.n), s.n);
}

static void disown(struct str s)
{
    free((void *)(uintptr_t)s.p);
}

enum ec relabel_new(
    const struct remote_write_relabel *rules, size_t n, struct relabel **ret, struct err *err)
{
    struct relabel *r = xcalloc(1, sizeof(*r));
    r->rules = xcalloc(MAX(n, 1), sizeof(*r->rules));
    arena_init(&r->arena, NULL, 1024);
    for (size_t i = 0; i < n; i++) {
        const struct remote_write_relabel *in = &rules[i];
        struct rule *out = &r->rules[r->n++];
        size_t a = 0;
        while (a < ARRAY_LEN(actions) && strcasecmp(in->action, actions[a]) != 0)
            a++;
        out->action = (enum action)a;
        out->sources = xcalloc(MAX(in->n_source_labels, 1), sizeof(*out->sources));
        for (size_t k = 0; k < in->n_source_labels; k++)
            out->sources[out->n_sources++] = own(in->source_labels[k]);
        out->separator = own(in->separator);
        out->target = own(in->target_label);
        out->replacement = own(in->replacement);
        out->modulus = in->modulus;
        enum ec ec = a < ARRAY_LEN(actions)
                         ? regex_new_groups(in->regex, &out->regex, err)
                         : ERR(err, EC_INVALID, "unknown relabel action \"%.40s\"", in->action);
        if (ec == EC_OK && out->action == HASH_MOD && in->modulus == 0)
            ec =
                ERR(err, EC_INVALID, "relabel configuration for hashmod requires non-zero modulus");
        if (ec != EC_OK) {
            relabel_free(r);
            return ec;
        }
    }
    *ret = r;
    return EC_OK;
}

void relabel_free(struct relabel *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++) {
        struct rule *x = &r->rules[i];
        for (size_t k = 0; k < x->n_sources; k++)
            disown(x->sources[k]);
        free(x->sources);
        disown(x->separator);
        disown(x->target);
        disown(x->replacement);
        regex_free(x->regex);
    }
    free(r->rules);
    arena_deinit(&r->arena);
    VEC_FREE(&r->labels);
    buf_deinit(&r->joined);
    buf_deinit(&r->made);
    free(r);
}

/* ---- labels ---- */

static struct str get(const struct relabel *r, struct str name)
{
    for (size_t i = 0; i < r->labels.n; i++)
        if (str_eq(r->labels.p[i].name, name))
            return r->labels.p[i].value;
    return STR("");
}

static void set(struct relabel *r, struct str name, struct str value)
{
    const struct label l = {arena_str(&r->arena, name), arena_str(&r->arena, value)};
    for (size_t i = 0; i < r->labels.n; i++)
        if (str_eq(r->labels.p[i].name, name)) {
            r->labels.p[i].value = l.value;
            return;
        }
    VEC_PUSH(&r->labels, l);
}

static struct str join_sources(struct relabel *r, const struct rule *x)
{
    buf_reset(&r->joined);
    for (size_t i = 0; i < x->n_sources; i++) {
        if (i > 0)
            buf_puts(&r->joined, x->separator);
        buf_puts(&r->joined, get(r, x->sources[i]));
    }
    return buf_str(&r->joined);
}

static bool is_label_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.n > 0;
}

/* The name after a '$': letters, digits and '_', in braces or as long as they go. Returns the
 * length of the whole, 0 when it is none. */
static size_t group_name(struct str s, struct str *ret)
{
    bool braces = s.n > 0 && s.p[0] == '{';
    size_t n = braces;
    while (n < s.n && (s.p[n] == '_' || (s.p[n] >= '0' && s.p[n] <= '9') ||
                          (s.p[n] >= 'a' && s.p[n] <= 'z') || (s.p[n] >= 'A' && s.p[n] <= 'Z')))
        n++;
    *ret = str_n(s.p + braces, n - braces);
    if (ret->n == 0 || (braces && (n == s.n || s.p[n] != '}')))
        return 0;
    return n + braces;
}

/* When the value matches: the template with its $1, ${1}, $name and ${name} replaced, as in Go ($$
 * is $, a group that is not there is empty). */
static bool expand(
    const struct regex *regex, struct str value, struct str template, struct buf *out)
{
    struct str groups[REGEX_GROUPS_MAX];
    size_t n = regex_groups(regex, value, groups);
    buf_reset(out);
    for (size_t i = 0; i < template.n && n > 0; i++) {
        struct str name, rest = str_n(template.p + i + 1, template.n - i - 1);
        size_t length = 0;
        if (template.p[i] != '$') {
            buf_putc(out, template.p[i]);
        } else if (rest.n > 0 && rest.p[0] == '$') {
            buf_putc(out, '$');
            i++;
        } else if ((length = group_name(rest, &name)) == 0) {
            buf_putc(out, '$');
        } else {
            int g = regex_group(regex, name);
            if (g >= 0 && (size_t)g < n)
                buf_puts(out, groups[g]);
            i += length;
        }
    }
    return n > 0;
}

static void replace(struct relabel *r, const struct rule *x, struct str value)
{
    struct buf target = BUF_INIT;
    if (expand(x->regex, value, x->target, &target) && is_label_name(buf_str(&target)) &&
        expand(x->regex, value, x->replacement, &r->made))
        set(r, buf_str(&target), buf_str(&r->made));
    buf_deinit(&target);
}

static void hash_mod(struct relabel *r, const struct rule *x, struct str value)
{
    struct md5_ctx md5;
    uint8_t digest[MD5_DIGEST_SIZE];
    char text[24];
    md5_init(&md5);
    md5_update(&md5, value.n, (const uint8_t *)(value.n == 0 ? "" : value.p));
    md5_digest(&md5, sizeof(digest), digest);
    int n = snprintf(
        text, sizeof(text), "%llu", (unsigned long long)(get_u64be(digest + 8) % x->modulus));
    set(r, x->target, str_n(text, (size_t)n));
}

/* ASCII only, as the bytes of other letters must stay whole. */
static void change_case(struct relabel *r, const struct rule *x, struct str value, bool upper)
{
    char *p = arena_strz(&r->arena, value);
    for (size_t i = 0; i < value.n; i++) {
        if (upper && p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 32);
        if (!upper && p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] + 32);
    }
    set(r, x->target, str_n(p, value.n));
}

static void map_labels(struct relabel *r, const struct rule *x)
{
    size_t n = r->labels.n; /* not those that this rule adds */
    for (size_t i = 0; i < n; i++) {
        const struct label l = r->labels.p[i];
        if (l.value.n != 0 && expand(x->regex, l.name, x->replacement, &r->made) && r->made.n != 0)
            set(r, buf_str(&r->made), l.value);
    }
}

static void choose_labels(struct relabel *r, const struct rule *x, bool keep)
{
    for (size_t i = 0; i < r->labels.n; i++)
        if (regex_match(x->regex, r->labels.p[i].name) != keep)
            r->labels.p[i].value = STR("");
}

/* False: the series goes. */
static bool apply(struct relabel *r, const struct rule *x)
{
    struct str value = join_sources(r, x);
    switch (x->action) {
    case KEEP:
        return regex_match(x->regex, value);
    case DROP:
        return !regex_match(x->regex, value);
    case KEEP_EQUAL:
        return str_eq(get(r, x->target), value);
    case DROP_EQUAL:
        return !str_eq(get(r, x->target), value);
    case REPLACE:
        replace(r, x, value);
        break;
    case HASH_MOD:
        hash_mod(r, x, value);
        break;
    case LABEL_MAP:
        map_labels(r, x);
        break;
    case LABEL_DROP:
    case LABEL_KEEP:
        choose_labels(r, x, x->action == LABEL_KEEP);
        break;
    case LOWERCASE:
    case UPPERCASE:
        change_case(r, x, value, x->action == UPPERCASE);
        break;
    }
    return true;
}

/* ---- series ---- */

/* A length-delimited field with this number at *p, which moves behind it. */
static bool take(const uint8_t **p, const uint8_t *end, uint32_t number, struct str *ret)
{
    uint64_t n;
    if (*p == end || **p != (number << 3 | PB_LEN))
        return false;
    const uint8_t *at = varint_get(*p + 1, end, &n);
    if (at == NULL || n > (uint64_t)(end - at))
        return false;
    *ret = str_n((const char *)at, n);
    *p = at + n;
    return true;
}

static bool read_label(struct str b, struct label *ret)
{
    const uint8_t *p = (const uint8_t *)b.p, *end = p + b.n;
    return take(&p, end, 1, &ret->name) && take(&p, end, 2, &ret->value) && p == end;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

bool relabel_series(struct relabel *r, struct bytes series, struct buf *out)
{
    const uint8_t *p = series.p, *end = series.p + series.n;
    struct str one;
    r->labels.n = 0;
    if (r->arena.chunk != NULL)
        arena_rewind(&r->arena);
    while (take(&p, end, 1, &one)) { /* labels come first: what follows stays as it is */
        struct label l;
        if (!read_label(one, &l))
            return false;
        VEC_PUSH(&r->labels, l);
    }
    for (size_t i = 0; i < r->n; i++)
        if (!apply(r, &r->rules[i]))
            return false;
    qsort(r->labels.p, r->labels.n, sizeof(*r->labels.p), by_name);
    bool any = false;
    for (size_t i = 0; i < r->labels.n; i++) {
        if (r->labels.p[i].value.n == 0)
            continue;
        size_t mark = pb_begin(out, 1);
        pb_put_bytes(out, 1, r->labels.p[i].name);
        pb_put_bytes(out, 2, r->labels.p[i].value);
        pb_end(out, mark);
        any = true;
    }
    if (any)
        buf_put(out, p, (size_t)(end - p));
    return any;
}
