/* SPDX-License-Identifier: Apache-2.0
 * Whether rows have one value of an attribute or several.
 *
 * Nearly always one: a key has one column, and its rows ascend strictly. That is checked in one
 * pass over the row list; only a key with columns of several types in the same group takes a
 * bitmap. */
#include "scan_impl.h"

/* Strictly ascending: no row occurs twice. */
static bool rows_distinct(const uint32_t *rows, uint32_t n)
{
    uint32_t same = 0;
    for (uint32_t i = 1; i < n; i++)
        same |= rows[i] == rows[i - 1];
    return same == 0;
}

/* Marks the rows of a view; false when one was marked already. */
static enum ec mark(
    const struct col_view *v, uint32_t n_rows, uint64_t *marks, bool *ret, struct err *err)
{
    for (uint32_t i = 0; i < v->n && *ret; i++) {
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (row >= n_rows)
            return ERR(err, EC_CORRUPT, "row %u of %u", row, n_rows);
        uint64_t bit = (uint64_t)1 << (row % 64);
        *ret = (marks[row / 64] & bit) == 0;
        marks[row / 64] |= bit;
    }
    return EC_OK;
}

static enum ec rows_single(
    struct scan *s, struct leaf *l, uint32_t g, uint32_t n_rows, bool *ret, struct err *err)
{
    struct col_view filled[VALUE_TYPES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_key_cols; i++) {
        struct col_view *v = &filled[n];
        TRY(part_view(s->r, g, l->key_cols[i], v, err));
        if (v->n == 0)
            continue;
        *ret = l->key_cols[i] != l->array_col && (v->rows == NULL || rows_distinct(v->rows, v->n));
        if (!*ret)
            return EC_OK;
        n++;
    }
    if (n < 2)
        return EC_OK;
    uint64_t *marks = NULL;
    TRY(scan_scratch_words(&s->values, n_rows, &marks, err));
    for (uint32_t i = 0; i < n && *ret; i++)
        TRY(mark(&filled[i], n_rows, marks, ret, err));
    return EC_OK;
}

enum ec leaf_single(struct scan *s, struct leaf *l, uint32_t g, const struct part_group *pg,
    bool *ret, struct err *err)
{
    *ret = true;
    switch (l->table) {
    case TABLE_SPANS:
        return rows_single(s, l, g, pg->n_rows, ret, err);
    case TABLE_EVENTS:
        return rows_single(s, l, g, pg->n_events, ret, err);
    case TABLE_LINKS:
        return rows_single(s, l, g, pg->n_links, ret, err);
    default:
        break;
    }
    if (l->objects_single == SINGLE_UNKNOWN) {
        uint32_t n = l->table == TABLE_RESOURCES ? s->info.n_resources : s->info.n_scopes;
        TRY(rows_single(s, l, 0, n, ret, err));
        l->objects_single = *ret ? SINGLE_YES : SINGLE_NO;
    }
    *ret = l->objects_single == SINGLE_YES;
    return EC_OK;
}
