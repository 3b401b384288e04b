/* SPDX-License-Identifier: Apache-2.0
 * The columns of a block, one after the other. Memory of a column is gone before the next begins;
 * small attribute columns are collected together, so that ten thousand keys cost as many values as
 * they have and not ten thousand passes over the rows. */
#include <stdlib.h>

#include "base/hash.h"
#include "write.h"

#define STRINGS_MEMORY ((uint64_t)16 << 20) /* strings of one column copied at a time */
#define BATCH_VALUES   65536u

static enum ec write_dense(struct writer *w, enum part_table t, col_id col, enum col_phys phys,
    const uint64_t *vals, const struct copies *copies, struct err *err)
{
    if (w->n_out[t] == 0)
        return EC_OK;
    struct column_data d = {.col = col, .table = t, .phys = phys, .vals = vals, .n = w->n_out[t]};
    column_begin(w, col);
    TRY(column_mixed(w, &d, copies, NULL, NULL, err));
    return column_end(w, NULL, 0, NULL, err);
}

static enum ec gather_alloc(struct writer *w, enum part_table t, col_id col,
    const struct copies *copies, uint64_t **ret, struct err *err)
{
    *ret = ARENA_ARRAY(&w->tmp, w->n_out[t] + 1ULL, uint64_t);
    if (*ret == NULL)
        return writer_limit(err);
    return writer_gather_dense(w, t, col, copies, *ret, err);
}

/* Numbers that mean the same in every block. */
static bool col_may_be_copied(col_id col)
{
    switch (col) {
    case COL_SPAN_RESOURCE:
    case COL_SPAN_SCOPE:
    case COL_SPAN_SHAPE:
    case COL_EVENT_SHAPE:
    case COL_LINK_SHAPE:
        return false;
    default:
        return true;
    }
}

static enum ec copy_dense(
    struct writer *w, enum part_table t, col_id col, enum col_phys phys, struct err *err)
{
    uint64_t *vals;
    struct copies copies = {0};
    if (col_may_be_copied(col))
        TRY(copies_find(w, col, &copies, err));
    TRY(gather_alloc(w, t, col, &copies, &vals, err));
    TRY(write_dense(w, t, col, phys, vals, &copies, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

/* Strings that are too many to hold: window after window of output groups. */
static enum ec write_strings_windows(
    struct writer *w, struct wanted *k, struct buf *hashes, struct err *err)
{
    uint64_t each = k->strings.bytes / MAX(k->got.n, 1u) + 1;
    uint64_t window = MAX(STRINGS_MEMORY / each, 1u);
    const uint32_t *first = w->first[k->table];
    column_begin(w, k->col);
    for (uint32_t g = 0, z; g < w->n_groups; g = z) {
        for (z = g + 1; z < w->n_groups && first[z + 1] - first[g] <= window;)
            z++;
        wanted_reset(w, k);
        arena_reset(&w->tmp);
        TRY(writer_gather(w, k, 1, first[g], first[z], err));
        struct column_data d = {.col = k->col,
            .table = k->table,
            .phys = PHYS_CODE,
            .rows = gathered_rows(&k->got),
            .vals = gathered_vals(&k->got),
            .n = k->got.n};
        TRY(column_chunks_local(w, &d, &k->strings, hashes, err));
    }
    return column_end(w, NULL, 0, hashes, err);
}

/* Strings of which part is copied: how the rest is written follows from that. */
static enum ec write_copied_strings(
    struct writer *w, const struct wanted *k, const struct column_data *d, struct err *err)
{
    const struct interner *strings = &k->strings;
    column_begin(w, k->col);
    if (k->strings_as == STRINGS_SAME_DICT) {
        TRY(column_mixed(w, d, &k->copies, NULL, NULL, err));
        return column_end(
            w, (const struct str *)(const void *)strings->refs.p, strings->n, NULL, err);
    }
    struct buf hashes;
    buf_init(&hashes, w->opt->budget);
    enum ec ec = column_mixed(w, d, &k->copies, strings, &hashes, err);
    if (ec == EC_OK)
        ec = column_end(w, NULL, 0, &hashes, err);
    buf_deinit(&hashes);
    return ec;
}

static enum ec write_wanted(struct writer *w, struct wanted *k, struct err *err)
{
    bool dense = k->col < COL_FIXED_MAX && !part_col_sparse(k->col);
    if (k->too_big) {
        struct buf hashes;
        buf_init(&hashes, w->opt->budget);
        enum ec ec = write_strings_windows(w, k, &hashes, err);
        buf_deinit(&hashes);
        return ec;
    }
    uint64_t n = k->got.n + k->copies.n_values;
    if (dense && n != w->n_out[k->table])
        return ERR(err, EC_CORRUPT, "column %u has %llu values of %u", k->col,
            (unsigned long long)n, w->n_out[k->table]);
    if (n == 0)
        return EC_OK;
    struct column_data d = {.col = k->col,
        .table = k->table,
        .phys = k->phys,
        .rows = gathered_rows(&k->got),
        .vals = gathered_vals(&k->got),
        .n = k->got.n};
    if (k->phys == PHYS_CODE)
        return k->copies.n == 0 ? column_strings(w, &d, &k->strings, err)
                                : write_copied_strings(w, k, &d, err);
    column_begin(w, k->col);
    TRY(column_mixed(w, &d, &k->copies, NULL, NULL, err));
    return column_end(w, NULL, 0, NULL, err);
}

/* Columns of one table, collected in one pass over the sources. */
static enum ec copy_wanted(struct writer *w, enum part_table t, const col_id *cols,
    const enum col_phys *phys, size_t n, struct err *err)
{
    struct wanted *k = ARENA_ARRAY(&w->arena, MAX(n, 1), struct wanted);
    if (k == NULL)
        return writer_limit(err);
    for (size_t i = 0; i < n; i++) {
        wanted_init(w, &k[i], cols[i], t, phys[i]);
    }
    enum ec ec = EC_OK;
    for (size_t i = 0; ec == EC_OK && i < n; i++) {
        ec = phys[i] == PHYS_CODE ? copies_find_strings(w, &k[i], err)
                                  : copies_find(w, cols[i], &k[i].copies, err);
        k[i].bytes_max = w->copy_strings ? STRINGS_MEMORY : 0;
    }
    if (ec == EC_OK)
        ec = writer_gather(w, k, n, 0, w->n_out[t], err);
    /* Windows start over with the memory of the copies: the columns at hand go first. */
    for (int big = 0; big <= 1; big++)
        for (size_t i = 0; ec == EC_OK && i < n; i++)
            if (k[i].too_big == (big == 1))
                ec = write_wanted(w, &k[i], err);
    for (size_t i = 0; i < n; i++)
        wanted_deinit(&k[i]);
    arena_reset(&w->tmp);
    return ec;
}

static enum ec copy_one(
    struct writer *w, enum part_table t, col_id col, enum col_phys phys, struct err *err)
{
    return w->n_out[t] == 0 ? EC_OK : copy_wanted(w, t, &col, &phys, 1, err);
}

/* Spans. */

struct id_table { /* row of each span id of one trace within one group */
    uint32_t *slot;
    uint32_t mask;
};

/* Ids to distances. *ret_odd: parents that are not in the group, in order. */
static enum ec parents_encode(struct writer *w, const uint64_t *ids, uint64_t *parents,
    const struct copies *copies, uint64_t **ret_odd, struct err *err)
{
    struct id_table t = {.slot = ARENA_ARRAY(&w->tmp, BLOCK_GROUP_ROWS * 2ULL, uint32_t)};
    uint64_t *odd = ARENA_ARRAY(&w->tmp, w->n_out[TABLE_SPANS] + 1ULL, uint64_t);
    size_t n_odd = 0;
    if (t.slot == NULL || odd == NULL)
        return writer_limit(err);
    for (uint32_t trace = 0, g = 0; trace < w->n_traces; trace++) {
        uint32_t row = w->trace_first[trace], end = w->trace_first[trace + 1];
        while (row < end) {
            while (w->first[TABLE_SPANS][g + 1] <= row)
                g++;
            uint32_t a = row, z = MIN(end, w->first[TABLE_SPANS][g + 1]);
            row = z;
            if (copies->covered != NULL && copies->covered[g])
                continue;
            for (t.mask = 15; t.mask < (z - a) * 2 - 1;)
                t.mask = t.mask * 2 + 1;
            ASSERT(t.mask < BLOCK_GROUP_ROWS * 2);
            memset(t.slot, 0, (t.mask + 1ULL) * 4);
            for (uint32_t i = a; i < z; i++) {
                uint32_t s = (uint32_t)hash_mix(ids[i]) & t.mask;
                while (t.slot[s] != 0)
                    s = (s + 1) & t.mask;
                t.slot[s] = i + 1;
            }
            for (uint32_t i = a; i < z; i++) {
                uint64_t parent = parents[i];
                if (parent == 0) {
                    w->trace_root[trace] = i - w->trace_first[trace] + 1;
                    continue;
                }
                uint32_t s = (uint32_t)hash_mix(parent) & t.mask;
                while (t.slot[s] != 0 && ids[t.slot[s] - 1] != parent)
                    s = (s + 1) & t.mask;
                if (t.slot[s] != 0) {
                    parents[i] = 2 + zigzag_encode((int64_t)i - (int64_t)(t.slot[s] - 1));
                } else {
                    odd[n_odd++] = parent;
                    parents[i] = 1;
                }
            }
        }
    }
    *ret_odd = odd;
    return EC_OK;
}

static enum ec write_ids(struct writer *w, struct err *err)
{
    uint64_t *ids, *parents, *odd = NULL;
    struct copies copies;
    TRY(gather_alloc(w, TABLE_SPANS, COL_SPAN_ID, NULL, &ids, err));
    TRY(copies_find(w, COL_SPAN_ID, &copies, err));
    TRY(write_dense(w, TABLE_SPANS, COL_SPAN_ID, PHYS_U64, ids, &copies, err));
    TRY(copies_find(w, COL_SPAN_PARENT, &copies, err));
    TRY(gather_alloc(w, TABLE_SPANS, COL_SPAN_PARENT, &copies, &parents, err));
    TRY(parents_encode(w, ids, parents, &copies, &odd, err));
    TRY(copies_roots(w, &copies, err));
    struct column_data d = {.col = COL_SPAN_PARENT,
        .table = TABLE_SPANS,
        .phys = PHYS_U32,
        .vals = parents,
        .n = w->n_out[TABLE_SPANS],
        .odd = odd};
    column_begin(w, d.col);
    TRY(column_mixed(w, &d, &copies, NULL, NULL, err));
    TRY(column_end(w, NULL, 0, NULL, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

/* Times, and with them the statistics of groups, traces and block. */
static enum ec write_times(struct writer *w, struct err *err)
{
    uint64_t *start, *duration;
    struct copies copies;
    TRY(gather_alloc(w, TABLE_SPANS, COL_SPAN_START, NULL, &start, err));
    TRY(gather_alloc(w, TABLE_SPANS, COL_SPAN_DURATION, NULL, &duration, err));
    TRY(copies_find(w, COL_SPAN_START, &copies, err));
    TRY(write_dense(w, TABLE_SPANS, COL_SPAN_START, PHYS_U64, start, &copies, err));
    TRY(copies_find(w, COL_SPAN_DURATION, &copies, err));
    TRY(write_dense(w, TABLE_SPANS, COL_SPAN_DURATION, PHYS_U64, duration, &copies, err));
    for (uint32_t t = 0, g = 0; t < w->n_traces; t++) {
        w->trace_start[t] = UINT64_MAX;
        w->trace_end[t] = 0;
        for (uint32_t i = w->trace_first[t]; i < w->trace_first[t + 1]; i++) {
            uint64_t a = start[i],
                     z = MAX(a + duration[i], a); /* end before start counts as start */
            while (w->first[TABLE_SPANS][g + 1] <= i)
                g++;
            struct part_group *p = &w->groups[g].part;
            bool first = i == p->row_first;
            p->min_start_ns = first ? a : MIN(p->min_start_ns, a);
            p->max_start_ns = first ? a : MAX(p->max_start_ns, a);
            p->max_end_ns = first ? z : MAX(p->max_end_ns, z);
            w->trace_start[t] = MIN(w->trace_start[t], a);
            w->trace_end[t] = MAX(w->trace_end[t], z);
            w->min_start = MIN(w->min_start, a);
            w->max_end = MAX(w->max_end, z);
        }
    }
    arena_reset(&w->tmp);
    return EC_OK;
}

static enum ec write_arrival(struct writer *w, struct err *err)
{
    uint64_t *v;
    struct copies copies;
    TRY(copies_find(w, COL_SPAN_ARRIVAL, &copies, err));
    TRY(gather_alloc(w, TABLE_SPANS, COL_SPAN_ARRIVAL, NULL, &v, err));
    for (uint32_t i = 0; i < w->n_out[TABLE_SPANS]; i++) {
        w->min_arrival = MIN(w->min_arrival, (uint32_t)v[i]);
        w->max_arrival = MAX(w->max_arrival, (uint32_t)v[i]);
    }
    TRY(write_dense(w, TABLE_SPANS, COL_SPAN_ARRIVAL, PHYS_U32, v, &copies, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

static enum ec write_spans(struct writer *w, struct err *err)
{
    static const col_id dense[] = {COL_SPAN_KIND, COL_SPAN_STATUS, COL_SPAN_FLAGS,
        COL_SPAN_RESOURCE, COL_SPAN_SCOPE, COL_SPAN_SHAPE};
    static const col_id strings[] = {COL_SPAN_NAME, COL_SPAN_STATUS_MESSAGE, COL_SPAN_TRACE_STATE};
    static const col_id sparse[] = {
        COL_SPAN_DROPPED_ATTRS, COL_SPAN_DROPPED_EVENTS, COL_SPAN_DROPPED_LINKS};
    TRY(write_ids(w, err));
    TRY(write_times(w, err));
    TRY(write_arrival(w, err));
    for (size_t i = 0; i < ARRAY_LEN(dense); i++)
        TRY(copy_dense(w, TABLE_SPANS, dense[i], PHYS_U32, err));
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        TRY(copy_one(w, TABLE_SPANS, strings[i], PHYS_CODE, err));
    for (size_t i = 0; i < ARRAY_LEN(sparse); i++)
        TRY(copy_one(w, TABLE_SPANS, sparse[i], PHYS_U32, err));
    return EC_OK;
}

static enum ec write_events(struct writer *w, struct err *err)
{
    TRY(writer_order_children(w, TABLE_EVENTS, err));
    TRY(copy_dense(w, TABLE_EVENTS, COL_EVENT_TIME, PHYS_U64, err));
    TRY(copy_dense(w, TABLE_EVENTS, COL_EVENT_SHAPE, PHYS_U32, err));
    TRY(copy_one(w, TABLE_EVENTS, COL_EVENT_NAME, PHYS_CODE, err));
    return copy_one(w, TABLE_EVENTS, COL_EVENT_DROPPED_ATTRS, PHYS_U32, err);
}

/* Ids are the only 16-byte column: gathered on their own. */
static enum ec write_link_ids(struct writer *w, struct err *err)
{
    struct trace_id *ids = ARENA_ARRAY(&w->tmp, w->n_out[TABLE_LINKS] + 1ULL, struct trace_id);
    if (ids == NULL)
        return writer_limit(err);
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        struct wcursor c = {.w = w, .s = s};
        enum ec ec = EC_OK;
        for (uint32_t g = 0; ec == EC_OK && g < s->info.n_groups; g++) {
            struct col_view v;
            uint32_t base = s->base[TABLE_LINKS][g], n = s->base[TABLE_LINKS][g + 1] - base;
            wcursor_next(&c);
            if (n == 0 || (ec = wcursor_view(&c, g, COL_LINK_TRACE_ID, &v, err)) != EC_OK)
                continue;
            if (v.n < n)
                ec = ERR(err, EC_CORRUPT, "group %u: %u linked ids of %u", g, v.n, n);
            for (uint32_t i = 0; ec == EC_OK && i < n; i++)
                if (w->pos[TABLE_LINKS][base + i] != PART_NONE)
                    ids[w->pos[TABLE_LINKS][base + i]] = v.id16[i];
        }
        wcursor_close(&c);
        TRY(ec);
    }
    struct column_data d = {.col = COL_LINK_TRACE_ID,
        .table = TABLE_LINKS,
        .phys = PHYS_ID16,
        .ids = ids,
        .n = w->n_out[TABLE_LINKS]};
    column_begin(w, d.col);
    TRY(column_chunks(w, &d, err));
    TRY(column_end(w, NULL, 0, NULL, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

static enum ec write_links(struct writer *w, struct err *err)
{
    TRY(writer_order_children(w, TABLE_LINKS, err));
    TRY(write_link_ids(w, err));
    TRY(copy_dense(w, TABLE_LINKS, COL_LINK_SPAN_ID, PHYS_U64, err));
    TRY(copy_dense(w, TABLE_LINKS, COL_LINK_FLAGS, PHYS_U32, err));
    TRY(copy_dense(w, TABLE_LINKS, COL_LINK_SHAPE, PHYS_U32, err));
    TRY(copy_one(w, TABLE_LINKS, COL_LINK_TRACE_STATE, PHYS_CODE, err));
    return copy_one(w, TABLE_LINKS, COL_LINK_DROPPED_ATTRS, PHYS_U32, err);
}

/* Attributes of spans, events and links: big columns alone, small ones together. */
static enum ec write_attrs(struct writer *w, struct err *err)
{
    uint64_t *n_values = ARENA_ARRAY(&w->arena, w->n_attrs + 1ULL, uint64_t);
    col_id *cols = ARENA_ARRAY(&w->arena, w->n_attrs + 1ULL, col_id);
    enum col_phys *phys = ARENA_ARRAY(&w->arena, w->n_attrs + 1ULL, enum col_phys);
    if (n_values == NULL || cols == NULL || phys == NULL)
        return writer_limit(err);
    for (size_t k = 0; k < w->n_src; k++)
        for (size_t i = 0; i < w->src[k].n_attrs; i++) {
            const struct part_attr *a = &w->src[k].attrs[i];
            n_values[w->src[k].attr_map[a->col - COL_FIXED_MAX] - COL_FIXED_MAX] += a->n_values;
        }
    uint64_t batch_max = MAX(BATCH_VALUES, w->n_in[TABLE_SPANS] / 2);
    for (uint32_t i = 0, z; i < w->n_attrs; i = z) {
        enum part_table t = w->attrs[i].table;
        uint64_t sum = 0;
        for (z = i; z < w->n_attrs && w->attrs[z].table == t; z++) {
            if (z > i && sum + n_values[z] > batch_max)
                break;
            sum += n_values[z];
            cols[z] = w->attrs[z].col;
            phys[z] = value_type_phys(w->attrs[z].type);
        }
        if (t >= TABLE_SPANS && w->n_out[t] > 0)
            TRY(copy_wanted(w, t, cols + i, phys + i, z - i, err));
    }
    return EC_OK;
}

enum ec writer_columns(struct writer *w, struct err *err)
{
    if (w->n_out[TABLE_SPANS] == 0)
        return EC_OK;
    TRY(write_spans(w, err));
    TRY(write_events(w, err));
    TRY(write_links(w, err));
    TRY(write_attrs(w, err));
    copies_weights(w);
    return writer_tables_write(w, err);
}
