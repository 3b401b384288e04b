/* SPDX-License-Identifier: Apache-2.0
 * Rebuilding whole rows from columns.
 *
 * A `table_cursor` stands on one table of one group. It knows the row's attribute columns from its
 * shape, fetches a column's view when a shape first names it, and keeps a position in each view:
 * rows are asked for in ascending order, so the work is linear in what comes out plus a short
 * gallop per gap. A column that occurs k times in a shape has k values for the row, one after the
 * other.
 *
 * What a block file says wrongly (a shape that names a column without a value for the row, say) is
 * EC_CORRUPT, never an assertion.
 */
#include "storage/span_read.h"

struct col_cursor {
    bool open;
    uint32_t pos;
    struct col_view view;
};

struct table_cursor {
    struct part_reader *r;
    struct arena *scratch;
    const struct part_attr *attrs; /* of the whole part */
    size_t n_attrs;
    struct col_cursor *cols; /* parallel to attrs */
    uint32_t group;
    uint32_t first, n; /* the rows that are read, of the table in the group */
    enum part_table table;
};

static enum ec oom(struct err *err)
{
    return ERR(err, EC_LIMIT, "no memory to read spans");
}

static enum ec table_cursor_init(struct table_cursor *tc, struct part_reader *r, uint32_t group,
    enum part_table table, uint32_t first, uint32_t n, struct arena *scratch, struct err *err)
{
    *tc = (struct table_cursor){
        .r = r, .scratch = scratch, .group = group, .first = first, .n = n, .table = table};
    TRY(part_attrs(r, &tc->attrs, &tc->n_attrs, err));
    tc->cols = ARENA_ARRAY(scratch, tc->n_attrs + 1, struct col_cursor);
    return tc->cols == NULL ? oom(err) : EC_OK;
}

/* First position at or after `from` whose row is >= row. */
static uint32_t view_seek(const struct col_view *v, uint32_t from, uint32_t row)
{
    if (v->rows == NULL)
        return MIN(row, v->n);
    uint32_t lo = from, step = 1;
    if (lo >= v->n || v->rows[lo] >= row)
        return lo;
    while (step < v->n - lo && v->rows[lo + step] < row) {
        lo += step;
        step *= 2;
    }
    uint32_t hi = step < v->n - lo ? lo + step : v->n; /* rows[lo] < row <= rows[hi] */
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (v->rows[mid] < row)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

static bool view_has(const struct col_view *v, uint32_t at, uint32_t row)
{
    return at < v->n && (v->rows == NULL ? at == row : v->rows[at] == row);
}

static enum ec code_str(const struct col_view *v, uint32_t at, struct str *ret, struct err *err)
{
    if (v->dict == NULL || v->u32[at] >= dict_count(v->dict))
        return ERR(err, EC_CORRUPT, "string code %u out of range", v->u32[at]);
    *ret = dict_get(v->dict, v->u32[at]);
    return EC_OK;
}

static enum ec value_at(const struct part_attr *a, const struct col_view *v, uint32_t at,
    struct value *ret, struct err *err)
{
    *ret = (struct value){.type = a->type};
    switch (a->type) {
    case VALUE_INT:
        ret->i = v->i64[at];
        return EC_OK;
    case VALUE_DOUBLE:
        ret->d = v->f64[at];
        return EC_OK;
    case VALUE_BOOL:
        ret->b = v->u8[at] != 0;
        return EC_OK;
    case VALUE_EMPTY:
    case VALUE_TYPES:
        return EC_OK;
    default:
        return code_str(v, at, &ret->s, err);
    }
}

static enum ec table_attr_index(
    const struct table_cursor *tc, col_id col, size_t *ret, struct err *err)
{
    size_t lo = 0, hi = tc->n_attrs;
    if (col >= COL_FIXED_MAX && col - COL_FIXED_MAX < hi &&
        tc->attrs[col - COL_FIXED_MAX].col == col)
        lo = col - COL_FIXED_MAX; /* ids without gaps: the usual case */
    else
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (tc->attrs[mid].col < col)
                lo = mid + 1;
            else
                hi = mid;
        }
    if (lo >= tc->n_attrs || tc->attrs[lo].col != col || tc->attrs[lo].table != tc->table)
        return ERR(err, EC_CORRUPT, "a shape names column %u, which its table lacks", col);
    *ret = lo;
    return EC_OK;
}

/* The attributes of a row with this shape. Rows ascend from call to call. */
static enum ec table_row_attrs(struct table_cursor *tc, uint32_t row, uint32_t shape,
    struct arena *arena, const struct attr **ret, uint32_t *ret_n, struct err *err)
{
    const col_id *cols;
    size_t n;
    TRY(part_shape(tc->r, shape, &cols, &n, err));
    *ret = NULL;
    *ret_n = 0;
    if (n == 0)
        return EC_OK;
    struct attr *attrs = ARENA_ARRAY(arena, n, struct attr);
    if (attrs == NULL)
        return oom(err);
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        TRY(table_attr_index(tc, cols[i], &at, err));
        struct col_cursor *c = &tc->cols[at];
        const struct part_attr *a = &tc->attrs[at];
        if (!c->open) {
            TRY(part_view_rows(tc->r, tc->group, a->col, tc->first, tc->n, &c->view, err));
            c->open = true;
        }
        uint32_t place = c->view.rows == NULL ? row - tc->first : row;
        c->pos = view_seek(&c->view, c->pos, place);
        if (!view_has(&c->view, c->pos, place))
            return ERR(err, EC_CORRUPT, "row %u has no value in column %u", row, a->col);
        attrs[i].key = a->key;
        TRY(value_at(a, &c->view, c->pos, &attrs[i].value, err));
        c->pos++; /* the next occurrence in this row, or a later row */
    }
    *ret = attrs;
    *ret_n = (uint32_t)n;
    return EC_OK;
}

/* A sparse fixed column read in row order: 0 or the empty string where a row has no value. */
struct sparse {
    struct col_view view;
    uint32_t pos;
};

static bool sparse_at(struct sparse *s, uint32_t row)
{
    s->pos = view_seek(&s->view, s->pos, row);
    return view_has(&s->view, s->pos, row);
}

static uint32_t sparse_u32(struct sparse *s, uint32_t row)
{
    return sparse_at(s, row) ? s->view.u32[s->pos] : 0;
}

static enum ec sparse_str(struct sparse *s, uint32_t row, struct str *ret, struct err *err)
{
    *ret = STR("");
    return sparse_at(s, row) ? code_str(&s->view, s->pos, ret, err) : EC_OK;
}

/* Rows [first, first + n) of a dense fixed column. */
static enum ec view_dense(struct part_reader *r, uint32_t g, col_id col, uint32_t first, uint32_t n,
    struct col_view *ret, struct err *err)
{
    TRY(part_view_rows(r, g, col, first, n, ret, err));
    if (ret->rows != NULL || ret->n < n)
        return ERR(err, EC_CORRUPT, "column %u has %u values for %u rows", col, ret->n, n);
    return EC_OK;
}

/* The rows of events or links that belong to the spans `rows` and what lies between them: [*from,
 * *from + *m). *ret: the column of their spans, seen as the rows of a sparse view. */
static enum ec rows_by_span(struct part_reader *r, uint32_t g, col_id col, uint32_t n_all,
    const struct part_group *pg, const uint32_t *rows, uint32_t n, struct col_view *ret,
    uint32_t *from, uint32_t *m, struct err *err)
{
    struct col_view span;
    if (n_all == 0)
        return EC_OK;
    TRY(view_dense(r, g, col, 0, n_all, &span, err));
    *ret = (struct col_view){.n = n_all, .rows = span.u32};
    *from = view_seek(ret, 0, rows[0] - pg->row_first);
    *m = view_seek(ret, *from, rows[n - 1] - pg->row_first + 1) - *from;
    return EC_OK;
}

static enum ec events_read(struct part_reader *r, const struct part_group *pg, uint32_t g,
    const uint32_t *rows, uint32_t n, struct arena *scratch, struct arena *arena,
    struct read_span *ret, struct err *err)
{
    struct col_view by_span, time, name, shape;
    struct sparse dropped = {0};
    struct table_cursor tc;
    uint32_t from = 0, m = 0;
    TRY(rows_by_span(r, g, COL_EVENT_SPAN, pg->n_events, pg, rows, n, &by_span, &from, &m, err));
    if (m == 0)
        return EC_OK;
    TRY(table_cursor_init(&tc, r, g, TABLE_EVENTS, from, m, scratch, err));
    TRY(view_dense(r, g, COL_EVENT_TIME, from, m, &time, err));
    TRY(view_dense(r, g, COL_EVENT_NAME, from, m, &name, err));
    TRY(view_dense(r, g, COL_EVENT_SHAPE, from, m, &shape, err));
    TRY(part_view(r, g, COL_EVENT_DROPPED_ATTRS, &dropped.view, err));
    uint32_t first = from;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows[i] - pg->row_first, end;
        first = view_seek(&by_span, first, row);
        end = view_seek(&by_span, first, row + 1);
        if (first == end)
            continue;
        struct read_event *events = ARENA_ARRAY(arena, end - first, struct read_event);
        if (events == NULL)
            return oom(err);
        for (uint32_t e = first; e < end; e++) {
            struct read_event *to = &events[e - first];
            to->time_ns = time.u64[e - from];
            TRY(code_str(&name, e - from, &to->name, err));
            to->dropped_attrs = sparse_u32(&dropped, e);
            TRY(table_row_attrs(&tc, e, shape.u32[e - from], arena, &to->attrs, &to->n_attrs, err));
        }
        ret[i].events = events;
        ret[i].n_events = end - first;
        first = end;
    }
    return EC_OK;
}

static enum ec links_read(struct part_reader *r, const struct part_group *pg, uint32_t g,
    const uint32_t *rows, uint32_t n, struct arena *scratch, struct arena *arena,
    struct read_span *ret, struct err *err)
{
    struct col_view by_span, trace, id, flags, shape;
    struct sparse state = {0}, dropped = {0};
    struct table_cursor tc;
    uint32_t from = 0, m = 0;
    TRY(rows_by_span(r, g, COL_LINK_SPAN, pg->n_links, pg, rows, n, &by_span, &from, &m, err));
    if (m == 0)
        return EC_OK;
    TRY(table_cursor_init(&tc, r, g, TABLE_LINKS, from, m, scratch, err));
    TRY(view_dense(r, g, COL_LINK_TRACE_ID, from, m, &trace, err));
    TRY(view_dense(r, g, COL_LINK_SPAN_ID, from, m, &id, err));
    TRY(view_dense(r, g, COL_LINK_FLAGS, from, m, &flags, err));
    TRY(view_dense(r, g, COL_LINK_SHAPE, from, m, &shape, err));
    TRY(part_view(r, g, COL_LINK_TRACE_STATE, &state.view, err));
    TRY(part_view(r, g, COL_LINK_DROPPED_ATTRS, &dropped.view, err));
    uint32_t first = from;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows[i] - pg->row_first, end;
        first = view_seek(&by_span, first, row);
        end = view_seek(&by_span, first, row + 1);
        if (first == end)
            continue;
        struct read_link *links = ARENA_ARRAY(arena, end - first, struct read_link);
        if (links == NULL)
            return oom(err);
        for (uint32_t l = first; l < end; l++) {
            struct read_link *to = &links[l - first];
            to->trace_id = trace.id16[l - from];
            to->span_id = id.u64[l - from];
            to->flags = flags.u32[l - from];
            TRY(sparse_str(&state, l, &to->trace_state, err));
            to->dropped_attrs = sparse_u32(&dropped, l);
            TRY(table_row_attrs(&tc, l, shape.u32[l - from], arena, &to->attrs, &to->n_attrs, err));
        }
        ret[i].links = links;
        ret[i].n_links = end - first;
        first = end;
    }
    return EC_OK;
}

/* The fixed columns of a group's spans. */
struct span_views {
    uint32_t first; /* row of the group that the dense ones start at */
    struct col_view trace, id, parent, start, duration, name, kind, status, flags, resource, scope,
        shape;
    struct sparse message, state, dropped_attrs, dropped_events, dropped_links;
};

static enum ec span_views_open(struct part_reader *r, uint32_t g, uint32_t first, uint32_t n,
    struct span_views *v, struct err *err)
{
    *v = (struct span_views){.first = first};
    TRY(view_dense(r, g, COL_SPAN_TRACE, first, n, &v->trace, err));
    TRY(view_dense(r, g, COL_SPAN_ID, first, n, &v->id, err));
    TRY(view_dense(r, g, COL_SPAN_PARENT, first, n, &v->parent, err));
    TRY(view_dense(r, g, COL_SPAN_START, first, n, &v->start, err));
    TRY(view_dense(r, g, COL_SPAN_DURATION, first, n, &v->duration, err));
    TRY(view_dense(r, g, COL_SPAN_NAME, first, n, &v->name, err));
    TRY(view_dense(r, g, COL_SPAN_KIND, first, n, &v->kind, err));
    TRY(view_dense(r, g, COL_SPAN_STATUS, first, n, &v->status, err));
    TRY(view_dense(r, g, COL_SPAN_FLAGS, first, n, &v->flags, err));
    TRY(view_dense(r, g, COL_SPAN_RESOURCE, first, n, &v->resource, err));
    TRY(view_dense(r, g, COL_SPAN_SCOPE, first, n, &v->scope, err));
    TRY(view_dense(r, g, COL_SPAN_SHAPE, first, n, &v->shape, err));
    TRY(part_view(r, g, COL_SPAN_STATUS_MESSAGE, &v->message.view, err));
    TRY(part_view(r, g, COL_SPAN_TRACE_STATE, &v->state.view, err));
    TRY(part_view(r, g, COL_SPAN_DROPPED_ATTRS, &v->dropped_attrs.view, err));
    TRY(part_view(r, g, COL_SPAN_DROPPED_EVENTS, &v->dropped_events.view, err));
    return part_view(r, g, COL_SPAN_DROPPED_LINKS, &v->dropped_links.view, err);
}

/* Everything of a span but attributes, events and links. `last` remembers a trace between calls. */
static enum ec span_fixed_read(struct part_reader *r, struct span_views *v, uint32_t row,
    struct part_trace *last, uint32_t *last_trace, struct read_span *ret, struct err *err)
{
    uint32_t at = row - v->first;
    if (v->trace.u32[at] != *last_trace) {
        TRY(part_trace(r, v->trace.u32[at], last, err));
        *last_trace = v->trace.u32[at];
    }
    *ret = (struct read_span){
        .trace_id = last->id,
        .span_id = v->id.u64[at],
        .parent_id = v->parent.u64[at],
        .start_ns = v->start.u64[at],
        .end_ns = v->start.u64[at] + v->duration.u64[at],
        .kind = v->kind.u32[at],
        .status = v->status.u32[at],
        .flags = v->flags.u32[at],
        .resource = v->resource.u32[at],
        .scope = v->scope.u32[at],
        .dropped_attrs = sparse_u32(&v->dropped_attrs, row),
        .dropped_events = sparse_u32(&v->dropped_events, row),
        .dropped_links = sparse_u32(&v->dropped_links, row),
    };
    TRY(code_str(&v->name, at, &ret->name, err));
    TRY(sparse_str(&v->message, row, &ret->status_message, err));
    return sparse_str(&v->state, row, &ret->trace_state, err);
}

/* The rows of one group. */
static enum ec group_read(struct part_reader *r, uint32_t g, const struct part_group *pg,
    const uint32_t *rows, uint32_t n, struct arena *scratch, struct arena *arena,
    struct read_span *ret, struct err *err)
{
    struct span_views v;
    struct table_cursor tc;
    struct part_trace trace;
    uint32_t trace_number = PART_NONE;
    uint32_t first = rows[0] - pg->row_first, n_read = rows[n - 1] - rows[0] + 1;
    TRY(span_views_open(r, g, first, n_read, &v, err));
    TRY(table_cursor_init(&tc, r, g, TABLE_SPANS, first, n_read, scratch, err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows[i] - pg->row_first;
        TRY(span_fixed_read(r, &v, row, &trace, &trace_number, &ret[i], err));
        TRY(table_row_attrs(
            &tc, row, v.shape.u32[row - first], arena, &ret[i].attrs, &ret[i].n_attrs, err));
    }
    TRY(events_read(r, pg, g, rows, n, scratch, arena, ret, err));
    return links_read(r, pg, g, rows, n, scratch, arena, ret, err);
}

enum ec span_read(struct part_reader *r, const uint32_t *rows, uint32_t n, struct arena *arena,
    struct read_span *ret, struct err *err)
{
    CLEANUP(arena_deinit) struct arena scratch;
    arena_init(&scratch, r->budget, 0);
    struct part_info info;
    part_info(r, &info);
    for (uint32_t i = 0, g = 0; i < n;) {
        struct part_group pg;
        ASSERT(rows[i] < info.n_rows);
        g = MAX(g, rows[i] / PART_GROUP_ROWS); /* groups have at most that many rows */
        for (;; g++) {
            if (g >= info.n_groups)
                return ERR(err, EC_CORRUPT, "no group has row %u", rows[i]);
            TRY(part_group(r, g, &pg, err));
            if (rows[i] - pg.row_first < pg.n_rows)
                break;
        }
        uint32_t end = i + 1;
        for (; end < n && rows[end] - pg.row_first < pg.n_rows; end++)
            ASSERT(rows[end] > rows[end - 1]);
        TRY(group_read(r, g, &pg, rows + i, end - i, &scratch, arena, ret + i, err));
        arena_reset(&scratch);
        i = end;
    }
    return EC_OK;
}

enum ec resource_read(struct part_reader *r, uint32_t row, struct arena *arena,
    struct read_resource *ret, struct err *err)
{
    CLEANUP(arena_deinit) struct arena scratch;
    struct table_cursor tc;
    struct col_view shape;
    struct sparse dropped = {0}, url = {0};
    struct read_resource out;
    arena_init(&scratch, r->budget, 0);
    TRY(table_cursor_init(&tc, r, 0, TABLE_RESOURCES, 0, row + 1, &scratch, err));
    TRY(view_dense(r, 0, COL_RESOURCE_SHAPE, 0, row + 1, &shape, err));
    TRY(part_view(r, 0, COL_RESOURCE_DROPPED_ATTRS, &dropped.view, err));
    TRY(part_view(r, 0, COL_RESOURCE_SCHEMA_URL, &url.view, err));
    out.dropped_attrs = sparse_u32(&dropped, row);
    TRY(sparse_str(&url, row, &out.schema_url, err));
    TRY(table_row_attrs(&tc, row, shape.u32[row], arena, &out.attrs, &out.n_attrs, err));
    *ret = out;
    return EC_OK;
}

enum ec scope_read(struct part_reader *r, uint32_t row, struct arena *arena, struct read_scope *ret,
    struct err *err)
{
    CLEANUP(arena_deinit) struct arena scratch;
    struct table_cursor tc;
    struct col_view shape, name, version;
    struct sparse dropped = {0}, url = {0};
    struct read_scope out;
    arena_init(&scratch, r->budget, 0);
    TRY(table_cursor_init(&tc, r, 0, TABLE_SCOPES, 0, row + 1, &scratch, err));
    TRY(view_dense(r, 0, COL_SCOPE_SHAPE, 0, row + 1, &shape, err));
    TRY(view_dense(r, 0, COL_SCOPE_NAME, 0, row + 1, &name, err));
    TRY(view_dense(r, 0, COL_SCOPE_VERSION, 0, row + 1, &version, err));
    TRY(part_view(r, 0, COL_SCOPE_DROPPED_ATTRS, &dropped.view, err));
    TRY(part_view(r, 0, COL_SCOPE_SCHEMA_URL, &url.view, err));
    TRY(code_str(&name, row, &out.name, err));
    TRY(code_str(&version, row, &out.version, err));
    out.dropped_attrs = sparse_u32(&dropped, row);
    TRY(sparse_str(&url, row, &out.schema_url, err));
    TRY(table_row_attrs(&tc, row, shape.u32[row], arena, &out.attrs, &out.n_attrs, err));
    *ret = out;
    return EC_OK;
}
