/* SPDX-License-Identifier: Apache-2.0
 * One pass of compare() over one slice: which rows are observed and on which side, and which
 * columns are counted. */
#include "compare_count.h"

#include "bind.h"
#include "query/lower.h"
#include "result.h"

#define MANY_ATTRS 6u /* columns of spans from which on a group's row lists are made together */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static uint32_t *u32s(const struct buf *b)
{
    return (uint32_t *)(void *)b->p;
}

static enum ec count_column(struct counting *w, struct column *k, struct err *err)
{
    struct col_view v;
    TRY(part_view(w->c->sources[0].r, w->f.g, k->col, &v, err));
    return column_count(w, k, &v, err);
}

/* Rows without a message have the empty one. */
static enum ec count_messages(struct counting *w, struct err *err)
{
    struct column *k = w->message;
    struct col_view v;
    uint32_t at = 0, base = UINT32_MAX;
    TRY(part_view(w->c->sources[0].r, w->f.g, k->col, &v, err));
    TRY(column_count(w, k, &v, err));
    for (uint32_t row = 0; row < w->f.n_rows; row++) {
        while (at < v.n && v.rows != NULL && v.rows[at] < row)
            at++;
        bool has = v.n != 0 && (v.rows == NULL || (at < v.n && v.rows[at] == row));
        if (has || w->offsets[row] == UNOBSERVED)
            continue;
        if (base == UINT32_MAX)
            TRY(column_base(w, k, NO_MESSAGE, &base, err));
        u32s(&k->cells)[base + (k->narrow ? w->sides : w->offsets)[row]]++;
        if (k->narrow && k->totals != NULL)
            k->totals[w->offsets[row]]++;
    }
    return EC_OK;
}

static enum ec count_facts(struct counting *w, struct err *err)
{
    const uint32_t *of[3] = {w->trace.children, w->trace.root_name, w->trace.root_service};
    for (unsigned i = 0; i < ARRAY_LEN(w->facts); i++) {
        struct col_view v = {.phys = PHYS_U32, .n = w->f.n_rows, .u32 = of[i]};
        if (w->facts[i] != NULL)
            TRY(column_count(w, w->facts[i], &v, err));
    }
    return EC_OK;
}

static enum ec count_objects(struct counting *w, struct objects *o, struct err *err)
{
    const struct col_view *v;
    TRY(frame_view(&w->f, &w->c->sources[0], o->col, &v, err));
    const uint32_t *offsets = o->narrow ? w->sides : w->offsets, width = o->narrow ? 2 : w->width;
    FRAME_ROWS(&w->f, row)
    {
        if (UNLIKELY(v->u32[row] >= o->n))
            return ERR(err, EC_CORRUPT, "column %u names row %u of %u", o->col, v->u32[row], o->n);
        o->cells[(size_t)v->u32[row] * width + offsets[row]]++;
    }
    return EC_OK;
}

/* Spans for which compare()'s filter holds, among those of the frame. */
static enum ec selection(struct counting *w, struct scan_bits *ret, struct err *err)
{
    struct collector *c = w->c;
    const struct tql_metric *m = c->m;
    bool exact = w->select_exact;
    scan_bits_fill(ret, w->f.n_rows);
    if (w->select_none) {
        scan_bits_clear(ret, w->f.n_rows);
    } else if (w->select != NULL) {
        TRY(scan_group(w->select, w->f.g, ret, err));
        if (exact)
            TRY(scan_single(w->select, w->f.g, &exact, err));
    }
    if (!exact && scan_bits_any(ret)) {
        struct qtrace t;
        TRY(frame_trace(&w->f, &c->ev, &t, &c->scratch, err));
        for (uint32_t i = 0; i < w->f.n; i++) {
            uint32_t row = frame_row(&w->f, i);
            bool pass = false;
            if (!scan_bits_get(ret, row))
                continue;
            TRY(eval_filter(&c->ev, m->filter, i, &pass, err));
            if (!pass)
                ret->w[row / 64] &= ~((uint64_t)1 << (row % 64));
        }
        c->ev.trace = NULL;
    }
    if (m->start_ns <= 0 || m->end_ns <= 0)
        return EC_OK;
    TRY(frame_starts(&w->f, &c->sources[0], err));
    FRAME_ROWS(&w->f, row)
    {
        uint64_t start = w->f.starts[row];
        if (start <= (uint64_t)m->start_ns || start > (uint64_t)m->end_ns)
            ret->w[row / 64] &= ~((uint64_t)1 << (row % 64));
    }
    return EC_OK;
}

static enum ec fill_offsets(struct counting *w, struct err *err)
{
    struct scan_bits selected;
    uint32_t *offsets = w->offsets, *sides = w->sides;
    TRY(selection(w, &selected, err));
    memset(offsets, 0xff, w->f.n_rows * sizeof(*offsets));
    memset(sides, 0xff, w->f.n_rows * sizeof(*sides));
    FRAME_ROWS(&w->f, row)
    {
        uint32_t side = scan_bits_get(&selected, row);
        uint32_t bucket = w->f.buckets == NULL ? w->f.bucket : w->f.buckets[row];
        offsets[row] = side * w->stride + bucket;
        sides[row] = side;
    }
    return EC_OK;
}

/* Leaves the rows for which the query's filter holds. */
static enum ec filter_frame(struct counting *w, struct scan_bits *bits, struct err *err)
{
    struct collector *c = w->c;
    bool exact = w->exact;
    struct qtrace t;
    if (exact && c->scan != NULL)
        TRY(scan_single(c->scan, w->f.g, &exact, err));
    if (exact)
        return EC_OK;
    scan_bits_clear(bits, w->f.n_rows);
    TRY(frame_trace(&w->f, &c->ev, &t, &c->scratch, err));
    for (uint32_t i = 0; i < w->f.n; i++) {
        bool pass = false;
        TRY(eval_filter(&c->ev, w->filter, i, &pass, err));
        if (pass)
            scan_bits_set(bits, frame_row(&w->f, i));
    }
    c->ev.trace = NULL;
    frame_keep(&w->f, bits);
    return EC_OK;
}

/* Leaves the rows of marked traces, or all others: see compare_kept.h. */
static enum ec keep_marked(struct counting *w, struct scan_bits *bits, struct err *err)
{
    const struct kept *k = w->x->kept;
    const struct slice *s = &w->c->slice;
    const struct col_view *v;
    if (k == NULL || k->marked[s->part] == NULL || (!s->only_marked && !k->counting))
        return EC_OK;
    TRY(frame_view(&w->f, &w->c->sources[0], COL_SPAN_TRACE, &v, err));
    scan_bits_clear(bits, w->f.n_rows);
    FRAME_ROWS(&w->f, row)
    if (kept_is_marked(k, s->part, v->u32[row]) == s->only_marked)
        scan_bits_set(bits, row);
    frame_keep(&w->f, bits);
    return EC_OK;
}

static enum ec count_group(struct counting *w, uint32_t g, struct err *err)
{
    struct collector *c = w->c;
    struct source *s = &c->sources[0];
    struct scan_bits bits;
    if (c->scan != NULL)
        TRY(scan_group(c->scan, g, &bits, err));
    TRY(frame_fill(&w->f, s, g, &c->grid, w->base, c->scan == NULL ? NULL : &bits, err));
    if (w->f.n == 0)
        return EC_OK;
    TRY(filter_frame(w, &bits, err));
    if (roots_repeats(w->x->shared, c->slice.part, &s->groups[g], &bits))
        frame_keep(&w->f, &bits);
    TRY(keep_marked(w, &bits, err));
    if (w->f.n == 0)
        return EC_OK;
    if (w->needs_trace)
        TRY(trace_facts_fill(&w->trace, c, g, err));
    TRY(fill_offsets(w, err));
    for (uint32_t i = 0; i < w->n_cols; i++)
        if (!w->cols[i].fact && &w->cols[i] != w->message)
            TRY(count_column(w, &w->cols[i], err));
    if (w->message != NULL)
        TRY(count_messages(w, err));
    TRY(count_facts(w, err));
    for (unsigned i = 0; i < ARRAY_LEN(w->objects); i++)
        if (w->objects[i].cells != NULL)
            TRY(count_objects(w, &w->objects[i], err));
    return EC_OK;
}

/* ---- one slice ---- */

static bool has_values(enum value_type t)
{
    return t == VALUE_STR || t == VALUE_INT || t == VALUE_DOUBLE || t == VALUE_BOOL ||
           t == VALUE_ARRAY;
}

static struct column *add_column(
    struct counting *w, struct key *key, enum column_type type, col_id col)
{
    struct column *k = &w->cols[w->n_cols++];
    *k = (struct column){.key = key, .type = type, .col = col, .value_type = VALUE_STR};
    column_init(k, w->c->ctx->budget);
    column_widen(w, k);
    return k;
}

/* A column of strings, or arrays. */
static enum ec hash_column(struct counting *w, struct column *k, struct err *err)
{
    k->by_hash = k->key->by_hash && (k->value_type == VALUE_STR || k->value_type == VALUE_ARRAY);
    if (!k->by_hash || k->value_type == VALUE_ARRAY || w->c->sources[0].part->is_head)
        return EC_OK;
    k->totals = ARENA_ARRAY(&w->c->arena, w->width, uint32_t);
    return k->totals == NULL ? over_budget(err) : EC_OK;
}

static enum ec add_fact(struct counting *w, unsigned which, struct key *key, struct err *err)
{
    struct column *k = add_column(w, key, which == 0 ? COLUMN_NUMBER : COLUMN_TEXT, 0);
    k->fact = true;
    k->texts = &w->trace.texts;
    w->facts[which] = k;
    w->needs_trace = true;
    return column_direct(k, 1024, err);
}

static enum ec add_intrinsic(struct counting *w, struct key *key, struct err *err)
{
    struct column *k;
    switch (key->intrinsic) {
    case TQL_I_NAME:
        return hash_column(w, add_column(w, key, COLUMN_VALUES, COL_SPAN_NAME), err);
    case TQL_I_STATUS_MESSAGE:
        w->message = add_column(w, key, COLUMN_VALUES, COL_SPAN_STATUS_MESSAGE);
        return hash_column(w, w->message, err);
    case TQL_I_STATUS:
    case TQL_I_KIND:
        k = key->intrinsic == TQL_I_KIND ? add_column(w, key, COLUMN_KIND, COL_SPAN_KIND)
                                         : add_column(w, key, COLUMN_STATUS, COL_SPAN_STATUS);
        return column_direct(k, 8, err);
    case TQL_I_CHILD_COUNT:
        return add_fact(w, 0, key, err);
    case TQL_I_ROOT_NAME:
        return add_fact(w, 1, key, err);
    case TQL_I_ROOT_SERVICE:
        return add_fact(w, 2, key, err);
    default: /* of scopes: see spread_objects */
        return EC_OK;
    }
}

static enum ec add_columns(struct counting *w, struct err *err)
{
    const struct keys *keys = &w->x->keys;
    struct source *s = &w->c->sources[0];
    const struct part_attr *attrs;
    size_t n, n_attrs = 0;
    TRY(part_attrs(s->r, &attrs, &n, err));
    w->cols = ARENA_ARRAY(&w->c->arena, n + keys->n, struct column);
    if (w->cols == NULL)
        return over_budget(err);
    for (size_t i = 0; i < keys->n; i++)
        if (keys->p[i]->intrinsic != TQL_I_NONE && key_active(keys->p[i]))
            TRY(add_intrinsic(w, keys->p[i], err));
    for (size_t i = 0; i < n; i++) {
        if (attrs[i].table != TABLE_SPANS || !has_values(attrs[i].type))
            continue;
        struct key *key = keys_find(keys, TABLE_SPANS, attrs[i].key);
        if (!key_active(key))
            continue;
        struct column *k = add_column(w, key, COLUMN_VALUES, attrs[i].col);
        k->value_type = attrs[i].type;
        TRY(hash_column(w, k, err));
        if (attrs[i].type == VALUE_BOOL || attrs[i].type == VALUE_INT)
            TRY(column_direct(k, attrs[i].type == VALUE_BOOL ? 2 : INTS_DIRECT, err));
        n_attrs++;
    }
    s->r->group_by_group = n_attrs >= MANY_ATTRS;
    return EC_OK;
}

static enum ec add_objects(struct counting *w, struct err *err)
{
    const struct part_info *info = &w->c->sources[0].info;
    w->objects[0] = (struct objects){
        .table = TABLE_RESOURCES, .col = COL_SPAN_RESOURCE, .n = info->n_resources};
    w->objects[1] =
        (struct objects){.table = TABLE_SCOPES, .col = COL_SPAN_SCOPE, .n = info->n_scopes};
    for (unsigned t = 0; t < ARRAY_LEN(w->objects); t++) {
        struct objects *o = &w->objects[t];
        bool any = false;
        for (size_t i = 0; i < w->x->keys.n && !any; i++) {
            const struct key *k = w->x->keys.p[i];
            bool scope = k->intrinsic == TQL_I_INSTRUMENTATION_NAME ||
                         k->intrinsic == TQL_I_INSTRUMENTATION_VERSION;
            any = key_active(k) && (k->intrinsic == TQL_I_NONE ? k->table == o->table
                                                               : scope && o->table == TABLE_SCOPES);
        }
        if (!any)
            continue;
        uint64_t wide = (uint64_t)o->n * w->width * sizeof(uint32_t);
        o->narrow = !w->x->second && wide > OBJECTS_BYTES;
        o->cells = ARENA_ARRAY(&w->c->arena, (size_t)o->n * (o->narrow ? 2 : w->width), uint32_t);
        if (o->cells == NULL)
            return over_budget(err);
    }
    return EC_OK;
}

static enum ec spread_column(struct counting *w, const struct objects *o, struct key *key,
    col_id col, enum value_type type, struct err *err)
{
    struct col_view v;
    TRY(part_view(w->c->sources[0].r, 0, col, &v, err));
    struct batch_out b = {.x = w->x, .key = key};
    pthread_mutex_lock(&key->lock);
    for (uint32_t i = 0; i < v.n; i++) {
        uint32_t row = v.rows == NULL ? i : v.rows[i];
        if (row >= o->n || (i > 0 && v.rows != NULL && row == v.rows[i - 1]))
            continue;
        struct qval value = view_qval(&v, i, type);
        const uint32_t *cells = o->cells + (size_t)row * (o->narrow ? 2 : w->width);
        if (!w->x->second) {
            if (o->narrow)
                batch_put(&b, &value, cells);
            else
                key_count_cells(w, key, &value, cells);
            continue;
        }
        uint32_t id = key_top(key, &value);
        if (id != PART_NONE)
            key_add_cells(w, key, id, cells);
    }
    batch_flush(&b);
    pthread_mutex_unlock(&key->lock);
    return EC_OK;
}

static enum ec spread_objects(struct counting *w, const struct objects *o, struct err *err)
{
    const struct keys *keys = &w->x->keys;
    const struct part_attr *attrs;
    size_t n;
    if (o->cells == NULL)
        return EC_OK;
    TRY(part_attrs(w->c->sources[0].r, &attrs, &n, err));
    for (size_t i = 0; i < n; i++) {
        struct key *key = NULL;
        if (attrs[i].table == o->table && has_values(attrs[i].type))
            key = keys_find(keys, o->table, attrs[i].key);
        if (key_active(key))
            TRY(spread_column(w, o, key, attrs[i].col, attrs[i].type, err));
    }
    for (size_t i = 0; i < keys->n && o->table == TABLE_SCOPES; i++) {
        struct key *key = keys->p[i];
        bool name = key->intrinsic == TQL_I_INSTRUMENTATION_NAME;
        if ((name || key->intrinsic == TQL_I_INSTRUMENTATION_VERSION) && key_active(key))
            TRY(spread_column(
                w, o, key, name ? COL_SCOPE_NAME : COL_SCOPE_VERSION, VALUE_STR, err));
    }
    return EC_OK;
}

static enum ec flush(struct counting *w, struct err *err)
{
    for (uint32_t i = 0; i < w->n_cols; i++)
        column_flush(w, &w->cols[i]);
    for (unsigned i = 0; i < ARRAY_LEN(w->objects); i++)
        TRY(spread_objects(w, &w->objects[i], err));
    return EC_OK;
}

static enum ec select_open(struct counting *w, struct err *err)
{
    struct collector *c = w->c;
    const struct scan_expr *all = lower_filter(c->m->filter, &c->arena), *x;
    if (all == NULL)
        return over_budget(err);
    x = lower_shallow(all);
    w->select_exact = x == all && lower_is_exact(c->req->q, c->m->filter, &c->arena);
    if (lower_is_all(x))
        return EC_OK;
    TRY(scan_new(c->sources[0].r, x, &w->select, err));
    w->select_none = scan_none(w->select);
    w->select_exact = w->select_exact || w->select_none;
    return EC_OK;
}

/* *ret_none: no span of the slice is observed. */
static enum ec counting_open(struct counting *w, bool *ret_none, struct err *err)
{
    struct collector *c = w->c;
    struct source *s = &c->sources[0];
    const struct scan_expr *all, *x;
    uint32_t n_rows = 0;
    *ret_none = true;
    w->filter = c->req->q->pipeline->stages[0].spanset->filter;
    all = lower_filter(w->filter, &c->arena);
    if (all == NULL)
        return over_budget(err);
    x = lower_shallow(all);
    w->exact = x == all && lower_is_exact(c->req->q, w->filter, &c->arena);
    if (!slice_bounds(c, &w->base, &w->stride, &n_rows))
        return EC_OK;
    if (!lower_is_all(x)) {
        TRY(scan_new(s->r, x, &c->scan, err));
        if (scan_none(c->scan))
            return EC_OK;
    }
    w->width = 2 * w->stride;
    w->offsets = arena_alloc(&c->arena, (n_rows + 1) * sizeof(uint32_t));
    w->sides = arena_alloc(&c->arena, (n_rows + 1) * sizeof(uint32_t));
    if (w->offsets == NULL || w->sides == NULL)
        return over_budget(err);
    TRY(frame_init(&w->f, n_rows, &c->arena, err));
    TRY(eval_init(&c->ev, c->req->q, s, 1, &c->arena, err));
    TRY(select_open(w, err));
    TRY(add_columns(w, err));
    TRY(add_objects(w, err));
    *ret_none = false;
    return w->needs_trace ? trace_facts_init(&w->trace, w->x->shared, s, n_rows, &c->arena, err)
                          : EC_OK;
}

static enum ec count_groups(struct counting *w, struct err *err)
{
    struct collector *c = w->c;
    struct source *s = &c->sources[0];
    for (uint32_t g = c->slice.group_from; g < c->slice.group_to; g++) {
        uint32_t from, to;
        TRY(query_check_alive(c->ctx, err));
        if (!grid_buckets(
                &c->grid, s->groups[g].min_start_ns, s->groups[g].max_start_ns, &from, &to))
            continue;
        c->stats.inspected_spans += c->slice.only_marked ? 0 : s->groups[g].n_rows;
        enum ec ec = source_note(s, count_group(w, g, err));
        c->ev.trace = NULL;
        arena_reset(&c->scratch);
        if (!source_unreadable(ec))
            TRY(ec);
    }
    return source_note(s, flush(w, err));
}

enum ec compare_slice(struct compare *x, struct collector *c, struct err *err)
{
    struct query_ctx ctx = *c->ctx;
    struct counting w = {.x = x, .c = c};
    bool none = false;
    ctx.arena = &c->arena;
    c->sources = ARENA_NEW(&c->arena, struct source);
    if (c->sources == NULL)
        return over_budget(err);
    c->n_sources = 1;
    struct source *s = &c->sources[0];
    TRY(query_source_open(&ctx, s, c->ctx->parts[c->slice.part], err));
    if (s->part == NULL)
        return EC_OK;
    c->slice.group_to = MIN(c->slice.group_to, s->info.n_groups);
    enum ec ec = source_note(s, counting_open(&w, &none, err));
    if (ec == EC_OK && !none)
        ec = count_groups(&w, err);
    for (uint32_t i = 0; i < w.n_cols; i++)
        column_deinit(&w.cols[i]);
    trace_facts_deinit(&w.trace);
    scan_free(w.select);
    return source_unreadable(ec) ? EC_OK : ec;
}
