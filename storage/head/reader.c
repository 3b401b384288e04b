/* SPDX-License-Identifier: Apache-2.0
 * A head as a part: snapshots and views.
 *
 * A reader's snapshot is the pair (traces, rows) that the writer published last. Views point into
 * the head's own arrays, cut at the snapshot; nothing is copied and no lock is taken.
 */
#include <stdlib.h>

#include "head_impl.h"

struct head_reader {
    struct part_reader base; /* first */
    struct head *h;
    uint32_t n_rows, n_traces, n_resources, n_scopes, n_cols;
    struct arena arena;
    struct part_attr *attrs; /* made on first use */
};

static struct head_reader *reader_of(struct part_reader *r)
{
    struct head_reader *hr = (struct head_reader *)r;
    ASSERT(hr->h->magic == HEAD_MAGIC);
    return hr;
}

enum ec head_reader_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err)
{
    struct head *h = (struct head *)p;
    ASSERT(h->magic == HEAD_MAGIC);
    if (!budget_take(budget, sizeof(struct head_reader)))
        return ERR(err, EC_LIMIT, "no memory for a reader");
    struct head_reader *r = xcalloc(1, sizeof(*r));
    r->base = (struct part_reader){.part = p, .budget = budget};
    r->h = h;
    arena_init(&r->arena, budget, 0);
    /* From here no block that we can see is freed; pairs with mem_retire. */
    atomic_fetch_add_explicit(&h->mem.readers, 1, memory_order_seq_cst);
    uint64_t seen = atomic_load_explicit(&h->seen, memory_order_seq_cst);
    r->n_rows = (uint32_t)seen;
    r->n_traces = (uint32_t)(seen >> 32);
    r->n_resources = atomic_load_explicit(&h->resources.n, memory_order_acquire);
    r->n_scopes = atomic_load_explicit(&h->scopes.n, memory_order_acquire);
    r->n_cols = atomic_load_explicit(&h->columns.n, memory_order_acquire);
    *ret = &r->base;
    return EC_OK;
}

static void head_reader_close(struct part_reader *base)
{
    struct head_reader *r = reader_of(base);
    arena_deinit(&r->arena);
    atomic_fetch_sub_explicit(&r->h->mem.readers, 1, memory_order_seq_cst);
    budget_give(base->budget, sizeof(*r));
    free(r);
}

static uint32_t reader_groups(const struct head_reader *r)
{
    return (r->n_rows + PART_GROUP_ROWS - 1) / PART_GROUP_ROWS;
}

static uint32_t reader_group_rows(const struct head_reader *r, uint32_t g)
{
    ASSERT(g < reader_groups(r));
    return MIN(r->n_rows - g * PART_GROUP_ROWS, PART_GROUP_ROWS);
}

static void head_info(struct part_reader *base, struct part_info *ret)
{
    struct head_reader *r = reader_of(base);
    struct head *h = r->h;
    *ret = (struct part_info){
        .n_rows = r->n_rows,
        .n_groups = reader_groups(r),
        .n_traces = r->n_traces,
        .n_resources = r->n_resources,
        .n_scopes = r->n_scopes,
        .bytes = atomic_load_explicit(&h->mem.used_seen, memory_order_relaxed),
    };
    if (r->n_rows != 0) {
        ret->min_start_ns = atomic_load_explicit(&h->min_start_ns, memory_order_relaxed);
        ret->max_end_ns = atomic_load_explicit(&h->max_end_ns, memory_order_relaxed);
    }
}

/* Rows of a group's event or link segment that belong to spans of the snapshot. */
static uint32_t reader_child_rows(const struct seg *s, uint32_t span_index, uint32_t span_end)
{
    uint32_t n = atomic_load_explicit(&s->n, memory_order_acquire);
    struct col_view v;
    seg_view_dense(s, span_index, n, &v);
    if (n == 0 || v.u32[n - 1] < span_end)
        return n;
    uint32_t lo = 0, hi = n - 1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (v.u32[mid] < span_end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum ec head_group(
    struct part_reader *base, uint32_t g, struct part_group *ret, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    uint32_t n_rows = reader_group_rows(r, g);
    const struct head_group *hg = head_group_at(r->h, g);
    *ret = (struct part_group){
        .row_first = hg->row_first,
        .n_rows = n_rows,
        .n_events = reader_child_rows(&hg->events, EVENT_SPAN, n_rows),
        .n_links = reader_child_rows(&hg->links, LINK_SPAN, n_rows),
        .min_start_ns = atomic_load_explicit(&hg->min_start_ns, memory_order_relaxed),
        .max_start_ns = atomic_load_explicit(&hg->max_start_ns, memory_order_relaxed),
        .max_end_ns = atomic_load_explicit(&hg->max_end_ns, memory_order_relaxed),
    };
    return EC_OK;
}

/* The segment of a table and how many of its rows the reader sees. */
static const struct seg *reader_seg(
    const struct head_reader *r, uint32_t g, enum part_table t, uint32_t *ret_rows)
{
    const struct head *h = r->h;
    if (t == TABLE_RESOURCES) {
        *ret_rows = r->n_resources;
        return &h->resources;
    }
    if (t == TABLE_SCOPES) {
        *ret_rows = r->n_scopes;
        return &h->scopes;
    }
    uint32_t n_spans = reader_group_rows(r, g);
    const struct head_group *hg = head_group_at(h, g);
    switch (t) {
    case TABLE_EVENTS:
        *ret_rows = reader_child_rows(&hg->events, EVENT_SPAN, n_spans);
        return &hg->events;
    case TABLE_LINKS:
        *ret_rows = reader_child_rows(&hg->links, LINK_SPAN, n_spans);
        return &hg->links;
    default:
        ASSERT(t == TABLE_SPANS);
        *ret_rows = n_spans;
        return &hg->spans;
    }
}

static enum ec head_view(
    struct part_reader *base, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    enum part_table table;
    uint32_t index, n;
    bool dense = false;
    *ret = (struct col_view){0};
    if (col >= COL_FIXED_MAX) {
        if (col - COL_FIXED_MAX >= r->n_cols)
            return EC_OK;
        const struct column *c = columns_at(&r->h->columns, col - COL_FIXED_MAX);
        table = c->table;
        index = c->slot;
        ret->phys = value_type_phys(c->type);
    } else {
        const char *name;
        if (!part_col_fixed(col, &table, &ret->phys, &name) || !seg_col_place(col, &dense, &index))
            return EC_OK;
    }
    if (ret->phys == PHYS_CODE)
        ret->dict = &r->h->strings.dict;
    if (table != TABLE_RESOURCES && table != TABLE_SCOPES && g >= reader_groups(r)) {
        ASSERT(r->n_rows == 0 && g == 0);
        return EC_OK;
    }
    const struct seg *s = reader_seg(r, g, table, &n);
    if (dense)
        seg_view_dense(s, index, n, ret);
    else if (n != 0)
        seg_view_sparse(s, index, n, ret);
    return EC_OK;
}

static void reader_attr(const struct head_reader *r, uint32_t i, struct part_attr *ret)
{
    const struct column *c = columns_at(&r->h->columns, i);
    *ret = (struct part_attr){
        .col = c->id,
        .table = c->table,
        .type = c->type,
        .key = c->key,
    };
    if (c->table == TABLE_RESOURCES)
        ret->n_values = seg_slot_count(&r->h->resources, c->slot);
    else if (c->table == TABLE_SCOPES)
        ret->n_values = seg_slot_count(&r->h->scopes, c->slot);
    else
        for (uint32_t g = 0; g < reader_groups(r); g++) {
            const struct head_group *hg = head_group_at(r->h, g);
            const struct seg *s = c->table == TABLE_SPANS    ? &hg->spans
                                  : c->table == TABLE_EVENTS ? &hg->events
                                                             : &hg->links;
            ret->n_values += seg_slot_count(s, c->slot);
        }
}

static enum ec head_attrs(
    struct part_reader *base, const struct part_attr **ret, size_t *ret_n, struct err *err)
{
    struct head_reader *r = reader_of(base);
    if (r->attrs == NULL) {
        struct part_attr *attrs = ARENA_ARRAY(&r->arena, r->n_cols, struct part_attr);
        if (attrs == NULL)
            return ERR(err, EC_LIMIT, "no memory for %u columns", r->n_cols);
        for (uint32_t i = 0; i < r->n_cols; i++)
            reader_attr(r, i, &attrs[i]);
        r->attrs = attrs;
    }
    *ret = r->attrs;
    *ret_n = r->n_cols;
    return EC_OK;
}

static enum ec head_attr_find(struct part_reader *base, enum part_table t, struct str key,
    const struct part_attr *ret[VALUE_TYPES], struct err *err)
{
    struct head_reader *r = reader_of(base);
    const struct part_attr *found[VALUE_TYPES] = {0};
    for (uint32_t type = 0; type < VALUE_TYPES; type++) {
        uint32_t i = columns_find(&r->h->columns, t, key, type);
        if (i == PROBE_NONE || i >= r->n_cols)
            continue;
        struct part_attr *a = ARENA_NEW(&r->arena, struct part_attr);
        if (a == NULL)
            return ERR(err, EC_LIMIT, "no memory for a column");
        reader_attr(r, i, a);
        found[type] = a;
    }
    memcpy(ret, found, sizeof(found));
    return EC_OK;
}

static enum ec head_shape(
    struct part_reader *base, uint32_t shape, const col_id **ret, size_t *ret_n, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    ASSERT(shape < atomic_load_explicit(&r->h->columns.n_shapes, memory_order_acquire));
    const struct shape *s = shapes_at(&r->h->columns, shape);
    *ret = s->cols;
    *ret_n = s->n;
    return EC_OK;
}

/* One row of a trace, for the walk from its last row to its first. */
struct walk {
    const struct head *h;
    uint32_t row; /* PART_NONE: done */
    const struct seg_dense *d;
    uint32_t at;
};

static void walk_to(struct walk *w, uint32_t row)
{
    w->row = row;
    if (row == PART_NONE)
        return;
    w->d = atomic_load_explicit(
        &head_group_at(w->h, row >> GROUP_BITS)->spans.dense, memory_order_seq_cst);
    w->at = row % PART_GROUP_ROWS;
}

static void walk_next(struct walk *w)
{
    uint32_t prev = ((const uint32_t *)w->d->col[SPAN_PREV])[w->at];
    ASSERT(prev == PART_NONE || prev < w->row);
    walk_to(w, prev);
}

/* Starts at the trace's last row of the snapshot. */
static struct walk walk_start(const struct head_reader *r, const struct head_trace *t)
{
    struct walk w = {.h = r->h};
    walk_to(&w, atomic_load_explicit(&t->row_last, memory_order_acquire));
    while (w.row != PART_NONE && w.row >= r->n_rows)
        walk_next(&w);
    ASSERT(w.row != PART_NONE);
    return w;
}

static void reader_trace_walk(
    const struct head_reader *r, const struct head_trace *t, struct part_trace *ret)
{
    ret->n_rows = 0;
    ret->root_row = PART_NONE;
    ret->start_ns = UINT64_MAX;
    ret->end_ns = 0;
    for (struct walk w = walk_start(r, t); w.row != PART_NONE; walk_next(&w)) {
        uint64_t start = ((const uint64_t *)w.d->col[SPAN_START])[w.at];
        uint64_t end = start + ((const uint64_t *)w.d->col[SPAN_DURATION])[w.at];
        ret->n_rows++;
        if (ret->root_row == PART_NONE && ((const uint64_t *)w.d->col[SPAN_PARENT])[w.at] == 0)
            ret->root_row = w.row;
        ret->start_ns = MIN(ret->start_ns, start);
        ret->end_ns = MAX(ret->end_ns, MAX(start, end));
    }
}

static enum ec head_trace(
    struct part_reader *base, uint32_t trace, struct part_trace *ret, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    ASSERT(trace < r->n_traces);
    const struct head_trace *t = head_trace_at(r->h, trace);
    *ret = (struct part_trace){
        .id = t->id,
        .row_first = t->row_first,
        .n_rows = atomic_load_explicit(&t->n_rows, memory_order_acquire),
        .root_row = atomic_load_explicit(&t->root_row, memory_order_acquire),
        .start_ns = atomic_load_explicit(&t->start_ns, memory_order_acquire),
        .end_ns = atomic_load_explicit(&t->end_ns, memory_order_acquire),
    };
    /* Loaded last: when it is ours, so is everything above (head_impl.h). */
    if (atomic_load_explicit(&t->row_last, memory_order_acquire) >= r->n_rows)
        reader_trace_walk(r, t, ret);
    ASSERT(ret->n_rows > 0);
    return EC_OK;
}

static enum ec head_trace_lookup(
    struct part_reader *base, const struct trace_id *id, uint32_t *ret_trace, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    uint32_t i = head_trace_find(r->h, id, head_trace_hash(r->h, id));
    *ret_trace = i < r->n_traces ? i : PART_NONE;
    return EC_OK;
}

static enum ec head_trace_rows(struct part_reader *base, uint32_t trace, struct arena *arena,
    uint32_t **ret_rows, uint32_t *ret_n, struct err *err)
{
    struct head_reader *r = reader_of(base);
    ASSERT(trace < r->n_traces);
    const struct head_trace *t = head_trace_at(r->h, trace);
    const struct walk start = walk_start(r, t);
    uint32_t n = 0;
    for (struct walk w = start; w.row != PART_NONE; walk_next(&w))
        n++;
    uint32_t *rows = ARENA_ARRAY(arena, n, uint32_t);
    if (rows == NULL)
        return ERR(err, EC_LIMIT, "no memory for %u rows of a trace", n);
    uint32_t i = n;
    for (struct walk w = start; w.row != PART_NONE; walk_next(&w))
        rows[--i] = w.row;
    ASSERT(i == 0 && rows[0] == t->row_first);
    *ret_rows = rows;
    *ret_n = n;
    return EC_OK;
}

static enum ec head_trace_ids(
    struct part_reader *base, uint32_t at, struct trace_id *ret, uint32_t *ret_n, struct err *err)
{
    (void)err;
    struct head_reader *r = reader_of(base);
    uint32_t n = at < r->n_traces ? MIN(r->n_traces - at, PART_IDS_MAX) : 0;
    for (uint32_t i = 0; i < n; i++)
        ret[i] = head_trace_at(r->h, at + i)->id;
    *ret_n = n;
    return EC_OK;
}

static bool head_may_have(struct part_reader *base, col_id col, struct str value)
{
    struct head_reader *r = reader_of(base);
    uint32_t code;
    if (col >= COL_FIXED_MAX && col - COL_FIXED_MAX >= r->n_cols)
        return false;
    return dict_find(&r->h->strings.dict, value, &code);
}

const struct part_ops head_part_ops = {
    .destroy = head_destroy,
    .reader_open = head_reader_open,
    .reader_close = head_reader_close,
    .info = head_info,
    .group = head_group,
    .view = head_view,
    .attrs = head_attrs,
    .attr_find = head_attr_find,
    .shape = head_shape,
    .trace = head_trace,
    .trace_find = head_trace_lookup,
    .trace_rows = head_trace_rows,
    .trace_ids = head_trace_ids,
    .may_have = head_may_have,
};
