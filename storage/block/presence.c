/* SPDX-License-Identifier: Apache-2.0
 * Which rows of a group have an attribute: derived from the rows' shapes, never stored.
 *
 * Two ways. For a few columns: mark the shapes that have the column, pass over the group's rows.
 * For many columns of the same group (a whole span is read, or ten thousand keys): turn all shapes
 * into row lists by column once, so that the cost is linear in the number of values.
 *
 * Lists of the first kind stay in the cache while it has room to spare: the next query over the
 * same attribute finds them. */
#include "reader.h"

#define PRESENCE_DIRECT_MAX 12u /* columns of one group before the lists are built */

struct block_presence {
    struct block_presence *next;
    uint64_t key;    /* group and table */
    uint32_t *first; /* by attribute: n_attrs + 1, and one more while it is built */
    uint32_t *rows;
    uint64_t cap; /* of rows */
};

static col_id shape_col_of(enum part_table t)
{
    static const col_id cols[TABLE_COUNT] = {
        COL_RESOURCE_SHAPE, COL_SCOPE_SHAPE, COL_SPAN_SHAPE, COL_EVENT_SHAPE, COL_LINK_SHAPE};
    ASSERT(t < TABLE_COUNT);
    return cols[t];
}

static enum ec presence_limit(struct err *err)
{
    return ERR(err, EC_LIMIT, "row lists of a block are over the memory budget");
}

/* rows == every row exactly once? Then a view needs no list. */
static bool rows_are_dense(const uint32_t *rows, uint32_t n, uint32_t n_rows)
{
    /* Ascending, n of them, first 0, last n - 1, and no repeats in between. */
    if (n != n_rows)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (rows[i] != i)
            return false;
    return true;
}

/* *ret_done false: a row has the column more often than the marks can count. */
static enum ec presence_direct(struct block_reader *r, const struct col_view *shapes, uint32_t attr,
    uint32_t n, uint32_t *rows, bool *ret_done, struct err *err)
{
    const struct block_schema *s = r->schema;
    uint32_t a = s->col_shape_first[attr], z = s->col_shape_first[attr + 1], found = 0;
    if (r->shape_hits == NULL &&
        (r->shape_hits = ARENA_ARRAY(&r->arena, MAX(s->n_shapes, 1u), uint8_t)) == NULL)
        return presence_limit(err);
    bool often = false;
    for (uint32_t i = a; i < z; i++)
        often |= ++r->shape_hits[s->col_shapes[i]] == UINT8_MAX;
    for (uint32_t row = 0; row < shapes->n && !often; row++) {
        uint32_t hits = r->shape_hits[shapes->u32[row]];
        if (LIKELY(hits <= 1 && found < n)) { /* branch-free: written, then kept or not */
            rows[found] = row;
            found += hits;
            continue;
        }
        for (; hits > 0; hits--, found++)
            if (found < n)
                rows[found] = row;
    }
    for (uint32_t i = a; i < z; i++)
        r->shape_hits[s->col_shapes[i]] = 0;
    *ret_done = !often;
    if (!often && found != n)
        return ERR(err, EC_CORRUPT, "shapes promise %u values of column %u, %u are stored", found,
            attr + COL_FIXED_MAX, n);
    return EC_OK;
}

/* What the group's shapes come to: values by attribute at first[attr + 2], and all together. A
 * shape counts as often as it occurs, so most rows cost one addition. */
static uint64_t presence_count(
    const struct block_schema *s, const struct col_view *shapes, uint32_t *times, uint32_t *first)
{
    uint64_t total = 0;
    for (uint32_t row = 0; row < shapes->n; row++)
        times[shapes->u32[row]]++;
    for (uint32_t row = 0; row < shapes->n; row++) {
        uint32_t shape = shapes->u32[row], n = times[shape];
        if (n == 0)
            continue;
        times[shape] = 0;
        total += (uint64_t)n * (s->shape_first[shape + 1] - s->shape_first[shape]);
        for (uint32_t k = s->shape_first[shape]; k < s->shape_first[shape + 1]; k++)
            first[s->shape_cols[k] - COL_FIXED_MAX + 2] += n;
    }
    return total;
}

/* Lists to be filled: those of another group where that is allowed, so that a pass over a block
 * does not touch memory for every value of it. */
static struct block_presence *presence_take(struct block_reader *r, uint64_t key)
{
    struct block_presence *p = r->presence;
    while (p != NULL && (!r->base.group_by_group || (uint8_t)p->key != TABLE_SPANS))
        p = p->next;
    if (p != NULL && (uint8_t)key == TABLE_SPANS) {
        memset(p->first, 0, (r->schema->n_attrs + 2ULL) * sizeof(*p->first));
        return p;
    }
    p = ARENA_NEW(&r->arena, struct block_presence);
    uint32_t *first = ARENA_ARRAY(&r->arena, r->schema->n_attrs + 2ULL, uint32_t);
    if (p == NULL || first == NULL)
        return NULL;
    p->first = first;
    p->key = UINT64_MAX; /* no group's, while it is not in the list or not filled */
    return p;
}

static enum ec presence_fill(struct block_reader *r, struct block_presence *p,
    const struct col_view *shapes, uint64_t key, struct err *err)
{
    const struct block_schema *s = r->schema;
    uint32_t *first = p->first;
    if (r->shape_times == NULL)
        r->shape_times = ARENA_ARRAY(&r->arena, MAX(s->n_shapes, 1u), uint32_t);
    if (r->shape_times == NULL)
        return presence_limit(err);
    uint64_t total = presence_count(s, shapes, r->shape_times, first);
    if (total >= PART_NONE)
        return ERR(err, EC_CORRUPT, "%llu attributes in one group", (unsigned long long)total);
    if (total > p->cap || p->rows == NULL) {
        p->rows = arena_alloc(&r->arena, (total + 1) * sizeof(*p->rows));
        p->cap = p->rows == NULL ? 0 : total;
    }
    if (p->rows == NULL)
        return presence_limit(err);
    for (uint32_t i = 0; i < s->n_attrs; i++)
        first[i + 2] += first[i + 1];
    /* first[a + 1] is where column a writes next; at the end it is where a + 1 starts. */
    for (uint32_t row = 0; row < shapes->n; row++) {
        uint32_t shape = shapes->u32[row];
        for (uint32_t k = s->shape_first[shape]; k < s->shape_first[shape + 1]; k++)
            p->rows[first[s->shape_cols[k] - COL_FIXED_MAX + 1]++] = row;
    }
    p->key = key;
    return EC_OK;
}

static enum ec presence_build(struct block_reader *r, const struct col_view *shapes, uint64_t key,
    struct block_presence **ret, struct err *err)
{
    struct block_presence *p = presence_take(r, key);
    if (p == NULL)
        return presence_limit(err);
    bool listed = p->cap != 0 || p->rows != NULL;
    p->key = UINT64_MAX;
    enum ec ec = presence_fill(r, p, shapes, key, err);
    if (!listed) {
        p->next = r->presence;
        r->presence = p;
    }
    TRY(ec);
    *ret = p;
    return EC_OK;
}

/* The column's list out of those of all columns. */
static enum ec presence_listed(const struct block_presence *p, const struct col_view *shapes,
    const struct part_attr *a, uint32_t n, const uint32_t **ret_rows, struct err *err)
{
    uint32_t attr = a->col - COL_FIXED_MAX;
    const uint32_t *rows = p->rows + p->first[attr];
    if (p->first[attr + 1] - p->first[attr] != n)
        return ERR(err, EC_CORRUPT, "shapes promise %u values of column %u, %u are stored",
            p->first[attr + 1] - p->first[attr], a->col, n);
    *ret_rows = rows_are_dense(rows, n, shapes->n) ? NULL : rows;
    return EC_OK;
}

/* The list of this column alone: an earlier reader's, or made here. */
static enum ec presence_alone(struct block_reader *r, uint32_t g, const struct part_attr *a,
    const struct col_view *shapes, uint64_t key, uint32_t n, const uint32_t **ret_rows,
    struct err *err)
{
    const struct rows_object *known;
    bool done = false;
    TRY(block_find_rows(r, g, a->col, &known, err));
    if (known != NULL && known->n == n) {
        *ret_rows = known->dense ? NULL : known->rows;
        return EC_OK;
    }
    uint32_t *rows = arena_alloc(&r->arena, (n + 1ULL) * sizeof(*rows));
    if (rows == NULL)
        return presence_limit(err);
    TRY(presence_direct(r, shapes, a->col - COL_FIXED_MAX, n, rows, &done, err));
    if (!done) {
        struct block_presence *p = NULL;
        TRY(presence_build(r, shapes, key, &p, err));
        return presence_listed(p, shapes, a, n, ret_rows, err);
    }
    bool dense = rows_are_dense(rows, n, shapes->n);
    block_keep_rows(r, g, a->col, rows, n, dense);
    *ret_rows = dense ? NULL : rows;
    return EC_OK;
}

enum ec block_presence_rows(struct block_reader *r, uint32_t g, const struct part_attr *a,
    uint32_t n, const uint32_t **ret_rows, struct err *err)
{
    uint64_t key = (uint64_t)g << 8 | a->table;
    struct col_view shapes;
    TRY(block_view(r, g, shape_col_of(a->table), &shapes, err));

    struct block_presence *p = r->presence;
    while (p != NULL && p->key != key)
        p = p->next;
    r->presence_asked = r->presence_asked_key == key ? r->presence_asked + 1 : 0;
    r->presence_asked_key = key;
    bool many = r->base.group_by_group && a->table == TABLE_SPANS;
    if (p == NULL && (many || r->presence_asked > PRESENCE_DIRECT_MAX))
        TRY(presence_build(r, &shapes, key, &p, err));

    if (p == NULL)
        return presence_alone(r, g, a, &shapes, key, n, ret_rows, err);
    return presence_listed(p, &shapes, a, n, ret_rows, err);
}
