/* SPDX-License-Identifier: Apache-2.0
 * Checks a tree against the key tables and reports every problem, in the order of the file, with
 * the texts of Tempo's strict decoder. Recursion is bounded by the tree's depth. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define PROBLEMS_MAX 200 /* enough for a person; a hostile file has thousands */

void problem_add(struct problems *p, uint32_t line, const char *text, const char *hint)
{
    if (p->n++ >= PROBLEMS_MAX)
        return;
    if (p->map_text == NULL)
        buf_printf(&p->lines, "  line %u: ", line);
    buf_putz(&p->lines, text);
    if (hint != NULL)
        buf_printf(&p->lines, " hint: did you mean \"%s\"?", hint);
    buf_putc(&p->lines, '\n');
}

/* A key may be long: what is shown of it is cut. */
#define KEY_SHOWN_MAX 100
#define KEY_ARG(s)    (int)MIN((s).n, KEY_SHOWN_MAX), (s).p

static bool is_duplicate(const struct node *n, uint32_t i)
{
    if (n->pairs[i].merged)
        return false;
    for (uint32_t j = 0; j < i; j++)
        if (!n->pairs[j].merged && str_eq(n->pairs[j].key, n->pairs[i].key))
            return true;
    return false;
}

/* Subtrees without a table: duplicate keys are still mistakes. */
static void decode_any(const struct node *n, struct problems *p)
{
    char text[PROBLEM_MAX];
    if (n->kind == NODE_SEQ)
        for (uint32_t i = 0; i < n->n; i++)
            decode_any(n->items[i], p);
    if (n->kind != NODE_MAP)
        return;
    for (uint32_t i = 0; i < n->n; i++) {
        if (is_duplicate(n, i)) {
            snprintf(
                text, sizeof(text), "key \"%.*s\" already set in map", KEY_ARG(n->pairs[i].key));
            problem_add(p, n->pairs[i].line, text, NULL);
        }
        decode_any(n->pairs[i].value, p);
    }
}

static void decode_scalar(enum key_type type, const struct node *n, struct problems *p)
{
    char text[PROBLEM_MAX];
    struct value v;
    if (!value_parse(type, n, &v, text))
        problem_add(p, n->line, text, NULL);
    else if (n->kind == NODE_SCALAR && n->s.n > 0 && memchr(n->s.p, 0, n->s.n) != NULL)
        problem_add(p, n->line, "control characters are not allowed", NULL);
}

static void decode_list(const struct key *k, const struct node *n, struct problems *p)
{
    char text[PROBLEM_MAX], go_type[80];
    if (n->kind != NODE_SEQ) {
        snprintf(go_type, sizeof(go_type), "[]%s",
            k->type == KT_BLOCKS ? k->block->go_type : key_type_go(k->type) + 2);
        problem_mismatch(n, go_type, text);
        problem_add(p, n->line, text, NULL);
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        if (k->type == KT_BLOCKS)
            decode_block(k->block, n->items[i], p);
        else
            decode_scalar(k->type == KT_FLOATS ? KT_FLOAT : KT_STRING, n->items[i], p);
    }
}

static void decode_string_map(const struct node *n, struct problems *p)
{
    char text[PROBLEM_MAX];
    if (n->kind != NODE_MAP) {
        problem_mismatch(n, key_type_go(KT_STRING_MAP), text);
        problem_add(p, n->line, text, NULL);
        return;
    }
    decode_any(n, p);
    for (uint32_t i = 0; i < n->n; i++)
        decode_scalar(KT_STRING, n->pairs[i].value, p);
}

static void decode_key(const struct key *k, const struct node *n, struct problems *p)
{
    if (node_is_null(n))
        return; /* a null leaves the default, blocks included */
    switch ((enum key_type)k->type) {
    case KT_BLOCK:
        decode_block(k->block, n, p);
        break;
    case KT_BLOCKS:
    case KT_STRINGS:
    case KT_FLOATS:
        decode_list(k, n, p);
        break;
    case KT_STRING_MAP:
        decode_string_map(n, p);
        break;
    case KT_ANY:
        decode_any(n, p);
        break;
    default:
        decode_scalar((enum key_type)k->type, n, p);
        break;
    }
}

static void unknown_key(const struct block *b, const struct node_pair *pair, struct problems *p)
{
    char text[PROBLEM_MAX];
    const char *hint = schema_hint(b, pair->key);
    if (p->map_text != NULL)
        snprintf(
            text, sizeof(text), "'%s' has invalid keys: %.*s", p->map_text, KEY_ARG(pair->key));
    else if (b == &schema_limits)
        snprintf(text, sizeof(text),
            "unknown extension key \"%.*s\": must be registered via RegisterExtension before use",
            KEY_ARG(pair->key));
    else
        snprintf(
            text, sizeof(text), "field %.*s not found in type %s", KEY_ARG(pair->key), b->go_type);
    problem_add(p, pair->line, text, hint);
}

void decode_block(const struct block *b, const struct node *n, struct problems *p)
{
    char text[PROBLEM_MAX];
    if (node_is_null(n))
        return;
    if (n->kind != NODE_MAP) {
        problem_mismatch(n, b->go_type, text);
        problem_add(p, n->line, text, NULL);
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const struct node_pair *pair = &n->pairs[i];
        const struct key *k = schema_key(b, pair->key);
        if (k == NULL) {
            unknown_key(b, pair, p);
            continue;
        }
        if (is_duplicate(n, i)) {
            snprintf(text, sizeof(text), "field %s already set in type %s", k->name, b->go_type);
            problem_add(p, pair->line, text, NULL);
        }
        decode_key(k, pair->value, p);
    }
}
