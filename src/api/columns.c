/* SPDX-License-Identifier: Apache-2.0
 * Two passes over the attributes of an answer: which kinds of value each key has, then text for
 * those that have several. Spans list their attributes in the order of the query, so the key that
 * follows the last one seen is tried first. */
#include "columns.h"

#include <math.h>
#include <stdlib.h>

#include "json_out.h"

enum kind { KIND_TEXT = 1, KIND_NUMBER = 2, KIND_BOOL = 4, KIND_OTHER = 8 }; /* bits */

struct column {
    struct str key;
    unsigned kinds;
};

struct columns {
    struct arena *arena;
    VEC(struct column) keys;
    size_t next; /* where the next key is expected */
    bool any;    /* some column is to be text */
};

static unsigned kind_of(const struct value *v)
{
    switch (v->type) {
    case VALUE_STR:
        return KIND_TEXT;
    case VALUE_INT:
    case VALUE_DOUBLE:
        return KIND_NUMBER;
    case VALUE_BOOL:
        return KIND_BOOL;
    default:
        return KIND_OTHER;
    }
}

static struct column *column_of(struct columns *c, struct str key)
{
    for (size_t k = 0; k < c->keys.n; k++) {
        size_t i = c->next + k < c->keys.n ? c->next + k : c->next + k - c->keys.n;
        if (!str_eq(c->keys.p[i].key, key))
            continue;
        c->next = i + 1 == c->keys.n ? 0 : i + 1;
        return &c->keys.p[i];
    }
    return NULL;
}

static bool is_text(unsigned kinds)
{
    return (kinds & KIND_OTHER) != 0 || (kinds & (kinds - 1)) != 0;
}

static void note(struct columns *c, const struct result_attr *attrs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct column *col = column_of(c, attrs[i].key);
        if (col == NULL) {
            VEC_PUSH(&c->keys, ((struct column){.key = attrs[i].key}));
            col = &c->keys.p[c->keys.n - 1];
            c->next = 0;
        }
        col->kinds |= kind_of(&attrs[i].value);
        c->any |= is_text(col->kinds);
    }
}

/* A string stays; the rest is written as JSON, a bare scalar without quotes. */
static bool to_text(struct columns *c, struct value *v)
{
    struct buf out;
    buf_init(&out, c->arena->budget);
    if (v->type != VALUE_EMPTY)
        json_native(&out, v);
    struct str text = buf_str(&out);
    if (text.n >= 2 && text.p[0] == '"') /* bytes in hex, NaN, infinities */
        text = str_n(text.p + 1, text.n - 2);
    text = arena_str(c->arena, text);
    bool ok = !buf_failed(&out) && text.p != NULL;
    buf_deinit(&out);
    *v = (struct value){.type = VALUE_STR, .s = text};
    return ok;
}

/* The attributes with text where their column wants it: the same array, or a copy; NULL:
 * refused. */
static const struct result_attr *rewrite(
    struct columns *c, const struct result_attr *attrs, uint32_t n)
{
    struct result_attr *copy = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const struct column *col = column_of(c, attrs[i].key);
        ASSERT(col != NULL);
        if (!is_text(col->kinds) || attrs[i].value.type == VALUE_STR)
            continue;
        if (copy == NULL) {
            copy = ARENA_ARRAY(c->arena, n, struct result_attr);
            if (copy == NULL)
                return NULL;
            memcpy(copy, attrs, n * sizeof(*copy));
        }
        if (!to_text(c, &copy[i].value))
            return NULL;
    }
    return copy != NULL ? copy : attrs;
}

static bool rewrite_set(struct columns *c, struct result_spanset *set)
{
    if (set->n_attrs != 0 && (set->attrs = rewrite(c, set->attrs, set->n_attrs)) == NULL)
        return false;
    if (set->n_spans == 0)
        return true;
    struct result_span *spans = ARENA_ARRAY(c->arena, set->n_spans, struct result_span);
    if (spans == NULL)
        return false;
    memcpy(spans, set->spans, set->n_spans * sizeof(*spans));
    set->spans = spans;
    for (uint32_t i = 0; i < set->n_spans; i++)
        if (spans[i].n_attrs != 0 &&
            (spans[i].attrs = rewrite(c, spans[i].attrs, spans[i].n_attrs)) == NULL)
            return false;
    return true;
}

static bool rewrite_trace(struct columns *c, struct result_trace *t)
{
    if (t->n_sets == 0)
        return true;
    struct result_spanset *sets = ARENA_ARRAY(c->arena, t->n_sets, struct result_spanset);
    if (sets == NULL)
        return false;
    memcpy(sets, t->sets, t->n_sets * sizeof(*sets));
    t->sets = sets;
    for (uint32_t i = 0; i < t->n_sets; i++)
        if (!rewrite_set(c, &sets[i]))
            return false;
    return true;
}

enum ec columns_unify(struct search_result *r, struct arena *a, struct err *err)
{
    struct columns c = {.arena = a};
    bool ok = true;
    for (size_t t = 0; t < r->n; t++) {
        for (uint32_t s = 0; s < r->traces[t].n_sets; s++) {
            const struct result_spanset *set = &r->traces[t].sets[s];
            note(&c, set->attrs, set->n_attrs);
            for (uint32_t i = 0; i < set->n_spans; i++)
                note(&c, set->spans[i].attrs, set->spans[i].n_attrs);
        }
    }
    for (size_t t = 0; c.any && ok && t < r->n; t++)
        ok = rewrite_trace(&c, &r->traces[t]);
    VEC_FREE(&c.keys);
    return ok ? EC_OK : ERR(err, EC_LIMIT, "the answer is over the query's memory budget");
}
