/* SPDX-License-Identifier: Apache-2.0
 * Parents of a trace's spans and nested-set numbers. Everything is linear in the number of
 * spans. */
#include "base/hash.h"
#include "trace.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum { KIND_SERVER = 2, KIND_CLIENT = 3 };

#define ROWS_MANY (PART_NONE - 1)
struct id_table { /* rows by span id; more than two of one id make the whole trace unnumbered */
    const struct qids *ids;
    uint32_t *slots; /* 1 + first row with an id; 0: free */
    uint32_t mask;
    uint32_t *second; /* by first row: the other row with its id; PART_NONE: none; ROWS_MANY */
    bool crowded;
};

static uint32_t *id_find(const struct id_table *t, span_id id)
{
    uint32_t at = (uint32_t)hash_mix(id) & t->mask;
    while (t->slots[at] != 0 && t->ids[t->slots[at] - 1].id != id)
        at = (at + 1) & t->mask;
    return &t->slots[at];
}

static void id_add(struct id_table *t, uint32_t row)
{
    uint32_t *slot = id_find(t, t->ids[row].id);
    t->second[row] = PART_NONE;
    if (*slot == 0) {
        *slot = row + 1;
    } else if (t->second[*slot - 1] == PART_NONE) {
        t->second[*slot - 1] = row;
    } else {
        t->second[*slot - 1] = ROWS_MANY;
        t->crowded = true;
    }
}

/* The row that a child of `id` attaches to: with a client/server pair the SERVER one, unless the
 * child itself is a SERVER span, then the CLIENT one. */
static uint32_t parent_row(const struct id_table *t, uint32_t child)
{
    uint32_t first = *id_find(t, t->ids[child].parent), row = first - 1;
    if (first == 0)
        return PART_NONE;
    uint32_t want = t->ids[child].kind == KIND_SERVER ? KIND_CLIENT : KIND_SERVER;
    uint32_t other = t->second[row];
    if (other < ROWS_MANY && t->ids[other].kind == want)
        row = other;
    return row == child ? PART_NONE : row;
}

/* Numbers the trees below the roots: depth first, children in storage order, iteratively. next[]
 * links siblings, first[] is the first child. */
static void number_trees(
    struct qtrace *t, struct qnest *nest, const uint32_t *first, const uint32_t *next)
{
    int32_t at = 1;
    for (uint32_t root = 0; root < t->n; root++) {
        if (t->ids[root].parent != 0)
            continue;
        nest[root].parent = -1;
        for (uint32_t i = root;;) {
            nest[i].left = at++;
            if (first[i] != PART_NONE) {
                nest[first[i]].parent = nest[i].left;
                i = first[i];
                continue;
            }
            nest[i].right = at++;
            while (i != root && next[i] == PART_NONE) {
                i = t->up[i];
                nest[i].right = at++;
            }
            if (i == root)
                break;
            nest[next[i]].parent = nest[t->up[i]].left;
            i = next[i];
        }
    }
}

/* Of a trace with few spans, no two of which have one id; false: it is not one. A table on the
 * stack, and no hash that resists more than FEW ids can do. */
#define FEW 64u

static bool few_parents(const struct qids *ids, uint32_t n, uint32_t *up)
{
    uint8_t slots[2 * FEW] = {0}; /* 1 + row */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)(ids[i].id * 0x9e3779b97f4a7c15u >> 57);
        for (; slots[at] != 0; at = (at + 1) % (2 * FEW))
            if (ids[slots[at] - 1].id == ids[i].id)
                return false;
        slots[at] = (uint8_t)(i + 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t parent = ids[i].parent;
        uint32_t at = (uint32_t)(parent * 0x9e3779b97f4a7c15u >> 57);
        up[i] = PART_NONE;
        for (; parent != 0 && slots[at] != 0; at = (at + 1) % (2 * FEW)) {
            uint32_t row = slots[at] - 1u;
            if (ids[row].id != parent)
                continue;
            up[i] = row == i ? PART_NONE : row;
            break;
        }
    }
    return true;
}
_Static_assert(2 * FEW == 1u << (64 - 57), "hashes are below 2 * FEW");

static enum ec load_parents(struct qtrace *t, uint32_t *up, struct arena *tmp, struct err *err)
{
    size_t cap = 16;
    while (cap < (size_t)t->n * 2)
        cap *= 2;
    struct id_table ids = {.ids = t->ids,
        .slots = ARENA_ARRAY(tmp, cap, uint32_t),
        .mask = (uint32_t)cap - 1,
        .second = arena_alloc(tmp, t->n * sizeof(uint32_t))};
    if (ids.slots == NULL || ids.second == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < t->n; i++)
        id_add(&ids, i);
    for (uint32_t i = 0; i < t->n; i++)
        up[i] = t->ids[i].parent == 0 ? PART_NONE : parent_row(&ids, i);
    t->crowded = ids.crowded;
    return EC_OK;
}

/* What only one step needs of a large trace does not stay in its scratch memory. */
#define LARGE 4096u

enum ec qtrace_load_parents(struct qtrace *t, struct err *err)
{
    struct arena tmp;
    enum ec ec = EC_OK;
    if (t->up != NULL)
        return EC_OK;
    TRY(qtrace_load_ids(t, err));
    uint32_t *up = arena_alloc(t->scratch, MAX(t->n, 1u) * sizeof(*up));
    if (up == NULL)
        return over_budget(err);
    if (t->n > FEW || !few_parents(t->ids, t->n, up)) {
        arena_init(&tmp, t->scratch->budget, 0);
        ec = load_parents(t, up, t->n < LARGE ? t->scratch : &tmp, err);
        arena_deinit(&tmp);
    }
    TRY(ec);
    t->up = up;
    return EC_OK;
}

static enum ec load_nest(struct qtrace *t, struct arena *tmp, struct err *err)
{
    struct qnest *nest = ARENA_ARRAY(t->scratch, t->n, struct qnest);
    uint32_t *first = arena_alloc(tmp, 2 * (size_t)t->n * sizeof(*first));
    if (nest == NULL || first == NULL)
        return over_budget(err);
    uint32_t *next = first + t->n;
    for (uint32_t i = 0; i < t->n; i++)
        first[i] = next[i] = PART_NONE;
    for (uint32_t i = t->n; i-- > 0;) { /* backwards, so that lists are in storage order */
        uint32_t p = t->up[i];
        if (p == PART_NONE)
            continue;
        nest[p].n_children++;
        next[i] = first[p];
        first[p] = i;
    }
    if (!t->crowded)
        number_trees(t, nest, first, next);
    t->nest = nest;
    return EC_OK;
}

enum ec qtrace_load_nest(struct qtrace *t, struct err *err)
{
    struct arena tmp;
    if (t->nest != NULL)
        return EC_OK;
    TRY(qtrace_load_parents(t, err));
    arena_init(&tmp, t->scratch->budget, 0);
    enum ec ec = load_nest(t, t->n < LARGE ? t->scratch : &tmp, err);
    arena_deinit(&tmp);
    return ec;
}
