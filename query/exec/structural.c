/* SPDX-License-Identifier: Apache-2.0
 * Structural operators. A relation follows parents from the rows that it is asked of, each row
 * once: most traces have few of them.
 *
 * Spans that are not connected to a root are related to nothing. */
#include "spanset.h"

enum relation { HAS_PARENT, HAS_ANCESTOR, HAS_CHILD, HAS_DESCENDANT, HAS_SIBLING };

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum {
    SEEN = 1,      /* below: what is known of a row, once its way up was gone */
    CONNECTED = 2, /* it leads to a root */
    RELATED = 4,
    MET = 8, /* on the way that is being gone */
};

struct family { /* relations of some rows to the marked ones */
    const struct qtrace *t;
    enum relation rel;
    const bool *in;   /* by row */
    uint8_t *state;   /* by row */
    uint32_t *path;   /* room for all rows */
    uint32_t *n_in;   /* HAS_SIBLING: marked children by row */
    uint32_t n_roots; /* HAS_SIBLING: marked roots */
};

/* What is known of a row whose parent is known; the top of a way has none. */
static uint8_t state_below(const struct family *f, uint32_t parent, bool root)
{
    if (parent == PART_NONE)
        return root ? SEEN | CONNECTED : SEEN;
    uint8_t of = f->state[parent];
    if ((of & CONNECTED) == 0) /* on the way itself, too: a ring */
        return SEEN;
    bool related = (f->rel == HAS_PARENT && f->in[parent]) ||
                   (f->rel == HAS_ANCESTOR && (f->in[parent] || (of & RELATED) != 0));
    return related ? SEEN | CONNECTED | RELATED : SEEN | CONNECTED;
}

/* Goes up from a row to what is known already, and down again. */
static uint8_t state_of(const struct family *f, uint32_t row)
{
    const struct qtrace *t = f->t;
    uint32_t n = 0;
    for (; row != PART_NONE && f->state[row] == 0; row = t->up[row]) {
        f->state[row] = MET;
        f->path[n++] = row;
    }
    uint8_t last = row == PART_NONE ? 0 : f->state[row];
    while (n-- > 0) {
        row = f->path[n];
        last = f->state[row] = state_below(f, t->up[row], t->ids[row].parent == 0);
    }
    return last;
}

/* Marks what the rows of s, which are marked in `in`, are children or descendants of. */
static void relate_up(struct family *f, const struct sset *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if ((state_of(f, s->rows[i]) & CONNECTED) == 0)
            continue;
        uint32_t p = f->t->up[s->rows[i]];
        while (p != PART_NONE && (f->state[p] & RELATED) == 0) {
            f->state[p] |= RELATED;
            p = f->rel == HAS_DESCENDANT ? f->t->up[p] : PART_NONE;
        }
    }
}

static void count_siblings(struct family *f, const struct sset *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t p = f->t->up[s->rows[i]];
        if ((state_of(f, s->rows[i]) & CONNECTED) == 0)
            continue;
        if (p == PART_NONE)
            f->n_roots++;
        else
            f->n_in[p]++;
    }
}

static bool is_related(const struct family *f, uint32_t row)
{
    uint8_t state = state_of(f, row);
    if (f->rel != HAS_SIBLING || (state & CONNECTED) == 0)
        return (state & RELATED) != 0;
    uint32_t p = f->t->up[row];
    return (p == PART_NONE ? f->n_roots : f->n_in[p]) > (f->in[row] ? 1u : 0u);
}

/* The rows of s that are related to some row of `to`; want false: those that are not. */
static enum ec pick(struct qtrace *t, enum relation rel, const struct sset *s,
    const struct sset *to, bool want, struct sset *ret, struct err *err)
{
    bool *in = ARENA_ARRAY(t->scratch, t->n, bool);
    struct family f = {.t = t, .rel = rel, .in = in};
    uint32_t *rows = arena_alloc(t->scratch, s->n * sizeof(*rows)), n = 0;
    f.state = ARENA_ARRAY(t->scratch, t->n, uint8_t);
    f.path = arena_alloc(t->scratch, t->n * sizeof(*f.path));
    if (rel == HAS_SIBLING)
        f.n_in = ARENA_ARRAY(t->scratch, t->n, uint32_t);
    if (in == NULL || f.state == NULL || f.path == NULL || rows == NULL ||
        (rel == HAS_SIBLING && f.n_in == NULL))
        return over_budget(err);
    for (uint32_t i = 0; i < to->n; i++)
        in[to->rows[i]] = true;
    if (rel == HAS_CHILD || rel == HAS_DESCENDANT)
        relate_up(&f, to);
    if (rel == HAS_SIBLING)
        count_siblings(&f, to);
    for (uint32_t i = 0; i < s->n; i++) {
        rows[n] = s->rows[i];
        n += (!t->crowded && is_related(&f, s->rows[i])) == want;
    }
    *ret = *s;
    ret->rows = rows;
    ret->n = n;
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

enum ec structural_eval(struct eval *ev, enum tql_op op, const struct sset *l, const struct sset *r,
    struct sset *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    unsigned form = (unsigned)(op - TQL_OP_CHILD) / 5, which = (unsigned)(op - TQL_OP_CHILD) % 5;
    struct sset right, left;
    ret->n = 0;
    if (r->n == 0 || (l->n == 0 && form != 1))
        return EC_OK;
    TRY(qtrace_load_parents(t, err));
    TRY(pick(t, relations[which].right, r, l, form != 1, &right, err));
    if (form != 2) {
        *ret = right;
        return EC_OK;
    }
    TRY(pick(t, relations[which].left, l, r, true, &left, err));
    return sset_union(ev, &left, &right, ret, err);
}
