/* SPDX-License-Identifier: Apache-2.0
 * Structural operators on nested-set relations. Each relation is one pass over the trace's spans.
 *
 * Spans that are not connected to a root (left == 0) are related to nothing. */
#include "spanset.h"

enum relation { HAS_PARENT, HAS_ANCESTOR, HAS_CHILD, HAS_DESCENDANT, HAS_SIBLING };

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Rows by ascending left number (preorder); only connected ones. */
static uint32_t preorder(const struct qtrace *t, uint32_t *by_left, uint32_t *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i <= 2 * t->n; i++)
        by_left[i] = PART_NONE;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->nest[i].left > 0)
            by_left[t->nest[i].left] = i;
    for (uint32_t i = 1; i <= 2 * t->n; i++)
        if (by_left[i] != PART_NONE)
            out[n++] = by_left[i];
    return n;
}

static void relate_siblings(const struct qtrace *t, const bool *in, const uint32_t *order,
    uint32_t n, uint32_t *counts, bool *out)
{
    uint32_t roots = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t p = t->nest[order[k]].parent_row;
        if (!in[order[k]])
            continue;
        if (p == PART_NONE)
            roots++;
        else
            counts[p]++;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint32_t x = order[k], p = t->nest[x].parent_row;
        out[x] = (p == PART_NONE ? roots : counts[p]) > (in[x] ? 1u : 0u);
    }
}

/* out[x]: x is related to some row of `in`. */
static enum ec relate(
    struct qtrace *t, enum relation rel, const bool *in, bool **ret, struct err *err)
{
    bool *out = ARENA_ARRAY(t->scratch, t->n, bool);
    uint32_t *order = ARENA_ARRAY(t->scratch, t->n, uint32_t);
    uint32_t *work = ARENA_ARRAY(t->scratch, 2 * (size_t)t->n + 1, uint32_t);
    if (out == NULL || order == NULL || work == NULL)
        return over_budget(err);
    uint32_t n = preorder(t, work, order);
    if (rel == HAS_SIBLING) {
        memset(work, 0, t->n * sizeof(*work));
        relate_siblings(t, in, order, n, work, out);
    }
    for (uint32_t k = 0; k < n && (rel == HAS_PARENT || rel == HAS_ANCESTOR); k++) {
        uint32_t p = t->nest[order[k]].parent_row;
        if (p != PART_NONE)
            out[order[k]] = in[p] || (rel == HAS_ANCESTOR && out[p]);
    }
    for (uint32_t k = n; k-- > 0 && (rel == HAS_CHILD || rel == HAS_DESCENDANT);) {
        uint32_t p = t->nest[order[k]].parent_row;
        if (p != PART_NONE)
            out[p] = out[p] || in[order[k]] || (rel == HAS_DESCENDANT && out[order[k]]);
    }
    *ret = out;
    return EC_OK;
}

static enum ec marks(struct qtrace *t, const struct sset *s, bool **ret, struct err *err)
{
    bool *in = ARENA_ARRAY(t->scratch, t->n, bool);
    if (in == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < s->n; i++)
        in[s->rows[i]] = true;
    *ret = in;
    return EC_OK;
}

static const struct {
    enum relation right; /* of a result span r to the left side */
    enum relation left;  /* of a left span to the right side, for the union forms */
} relations[] = {
    {HAS_PARENT, HAS_CHILD},        /* >  */
    {HAS_ANCESTOR, HAS_DESCENDANT}, /* >> */
    {HAS_CHILD, HAS_PARENT},        /* <  */
    {HAS_DESCENDANT, HAS_ANCESTOR}, /* << */
    {HAS_SIBLING, HAS_SIBLING},     /* ~  */
};

/* The rows of s for which related[] is `want`. */
static enum ec pick(struct qtrace *t, const struct sset *s, const bool *related, bool want,
    struct sset *ret, struct err *err)
{
    uint32_t *rows = ARENA_ARRAY(t->scratch, s->n, uint32_t), n = 0;
    if (rows == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < s->n; i++)
        if (related[s->rows[i]] == want)
            rows[n++] = s->rows[i];
    *ret = *s;
    ret->rows = rows;
    ret->n = n;
    return EC_OK;
}

enum ec structural_eval(struct eval *ev, enum tql_op op, const struct sset *l, const struct sset *r,
    struct sset *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    unsigned form = (unsigned)(op - TQL_OP_CHILD) / 5, which = (unsigned)(op - TQL_OP_CHILD) % 5;
    bool *in_l = NULL, *in_r = NULL, *related = NULL;
    struct sset right, left;
    ret->n = 0;
    if (r->n == 0 || (l->n == 0 && form != 1))
        return EC_OK;
    TRY(qtrace_load_nest(t, err));
    TRY(marks(t, l, &in_l, err));
    TRY(relate(t, relations[which].right, in_l, &related, err));
    TRY(pick(t, r, related, form != 1, &right, err));
    if (form != 2) {
        *ret = right;
        return EC_OK;
    }
    TRY(marks(t, r, &in_r, err));
    TRY(relate(t, relations[which].left, in_r, &related, err));
    TRY(pick(t, l, related, true, &left, err));
    return sset_union(ev, &left, &right, ret, err);
}
