/* SPDX-License-Identifier: Apache-2.0
 * block_verify: everything that a block claims, checked against everything else it says.
 *
 * The loaders check what memory safety needs (checksums, codes and rows in range, lengths). Here
 * come the statements that only matter for right answers: order of traces, both directions of the
 * id index, statistics in the footers, shapes of the right table, sorted dictionaries, filters that
 * know their values. A damaged page is one problem; the rest is checked all the same. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "filter.h"
#include "tool.h"

struct verify {
    struct block_tool tool;
    struct block_reader *r; /* of the tool; opened anew for each group, to bound memory */
    struct part_reader *own;
    void (*problem)(void *ctx, const char *text);
    void *ctx;
    uint64_t n;
    uint64_t *attr_values; /* counted, by attribute */
    uint64_t min_start, max_end;
    uint32_t min_arrival, max_arrival;
};

static void PRINTF_LIKE(2, 3) report(struct verify *v, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    v->n++;
    if (v->problem != NULL)
        v->problem(v->ctx, text);
}

/* False, and the problem told, when the step failed. */
static bool good(struct verify *v, enum ec ec, const struct err *err)
{
    if (ec != EC_OK)
        report(v, "%s: %s", ec_text(ec), err_msg(err));
    return ec == EC_OK;
}

/* A fresh reader: what the last one pinned is let go. */
static bool verify_reader(struct verify *v)
{
    struct err err = {0};
    part_reader_close(v->own);
    v->own = NULL;
    if (!good(v, part_reader_open(v->tool.part, NULL, &v->own, &err), &err))
        return false;
    v->r = CONTAINER_OF(v->own, struct block_reader, base);
    return good(v, block_load_schema(v->r, &err), &err);
}

static void verify_pages(struct verify *v)
{
    const struct block_schema *s = v->r->schema;
    for (uint32_t i = 0; i < s->n_pages; i++) {
        struct err err = {0};
        struct bytes stored;
        (void)good(v, block_page_read(v->r, &s->pages[i], &stored, &err), &err);
    }
}

/* What the footer says of all values of a column. */
static void verify_lists(struct verify *v)
{
    const struct block_schema *s = v->r->schema;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        const struct block_column *k = &s->columns[i];
        const struct part_attr *a =
            k->col < COL_FIXED_MAX ? NULL : &s->attrs[k->col - COL_FIXED_MAX];
        const struct dict_object *d;
        struct err err = {0};
        uint64_t hash = 0;
        if (k->n_dict_pages == 0 || (a != NULL && a->type != VALUE_STR))
            continue;
        const struct block_list *l = block_known_find(v->r->root->facts.known,
            a == NULL ? TABLE_SPANS : a->table, a == NULL ? str_n(NULL, 0) : a->key, k->col);
        if (l == NULL || l->hash == 0 || !good(v, block_load_dict(v->r, k, &d, &err), &err))
            continue;
        for (uint32_t code = 0; code < k->dict_n; code++)
            hash = block_list_add(hash, dict_get(&d->dict.dict, code));
        if (hash != l->hash)
            report(v, "the footer has another hash of the values of column %u", k->col);
    }
}

/* Filters of the block: pages, and that they know what is there (traces: verify_traces; strings:
 * verify_dict). */
static void verify_filters(struct verify *v)
{
    const struct block_root *root = v->r->root;
    const struct block_schema *s = v->r->schema;
    const struct block_filter *const all[] = {&root->ids, &root->values};
    uint64_t names[TABLE_COUNT] = {0};
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        for (uint32_t i = 0; i < all[k]->n_pages; i++) {
            struct err err = {0};
            struct bytes stored;
            (void)good(v, block_page_read(v->r, &all[k]->pages[i], &stored, &err), &err);
        }
    }
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        const struct part_attr *a = &s->attrs[i];
        bool again = i > 0 && a[-1].table == a->table && str_eq(a[-1].key, a->key);
        if (!again)
            names[a->table] = block_names_add(names[a->table], a->key);
        if (!part_may_key(&v->r->b->part, a->table, a->key, false) ||
            (a->type == VALUE_ARRAY && !part_may_key(&v->r->b->part, a->table, a->key, true)))
            report(v, "the filter of keys does not know attribute column %u", a->col);
    }
    const struct block_known *k = root->facts.known;
    if (k != NULL && memcmp(names, k->names, sizeof(names)) != 0)
        report(v, "the footer has another hash of the attribute keys");
    verify_lists(v);
}

/* Traces: both directions of the id index, order by start and id. */
static void verify_traces(struct verify *v)
{
    struct part_trace prev = {0}, t;
    uint32_t n = (uint32_t)v->r->root->facts.n_traces;
    for (uint32_t i = 0; i < n; i++) {
        struct err err = {0};
        uint32_t found = PART_NONE;
        if (i % BLOCK_TRACE_PAGE == 0 && !verify_reader(v))
            return;
        if (!good(v, part_trace(v->own, i, &t, &err), &err)) {
            i |= BLOCK_TRACE_PAGE - 1; /* the page is bad: one problem */
            continue;
        }
        if (!good(v, part_trace_find(v->own, &t.id, &found, &err), &err))
            continue;
        if (found != i)
            report(v, "trace %u: its id is found as trace %u", i, found);
        if (!part_may_hold(&v->r->b->part, &t.id))
            report(v, "trace %u: the filter of ids does not know it", i);
        if (t.end_ns < t.start_ns)
            report(v, "trace %u ends before it starts", i);
        if (i > 0 && (t.start_ns < prev.start_ns ||
                         (t.start_ns == prev.start_ns && trace_id_cmp(&t.id, &prev.id) <= 0)))
            report(v, "trace %u is out of order", i);
        prev = t;
    }
}

static void verify_dict(struct verify *v, const struct block_column *k, const struct col_view *view)
{
    const struct dict *d = view->dict;
    uint32_t n = dict_count(d);
    for (uint32_t i = 0; i < n; i++) {
        struct str s = dict_get(d, i);
        if (d->sorted && i > 0 && str_cmp(dict_get(d, i - 1), s) >= 0)
            report(v, "column %u: string %u of its dictionary is out of order", k->col, i);
        if (!part_may_have(v->own, k->col, s))
            report(v, "column %u: its filter does not know string %u", k->col, i);
    }
}

static bool is_shape_col(col_id col)
{
    return col == COL_SPAN_SHAPE || col == COL_EVENT_SHAPE || col == COL_LINK_SHAPE ||
           col == COL_RESOURCE_SHAPE || col == COL_SCOPE_SHAPE;
}

static void verify_shapes(
    struct verify *v, col_id col, enum part_table t, const struct col_view *view)
{
    for (uint32_t i = 0; i < view->n; i++) {
        const col_id *cols;
        size_t n;
        struct err err = {0};
        if (!good(v, part_shape(v->own, view->u32[i], &cols, &n, &err), &err))
            return;
        if (n > 0 && v->r->schema->attrs[cols[0] - COL_FIXED_MAX].table != t) {
            report(v, "column %u: row %u has a shape of another table", col, i);
            return;
        }
    }
}

/* Every column of a group that has it, or of a part-wide table (g == 0). */
static void verify_columns(struct verify *v, uint32_t g, bool part_wide)
{
    const struct block_schema *s = v->r->schema;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        const struct block_column *k = &s->columns[i];
        enum part_table table = TABLE_SPANS;
        enum col_phys phys = PHYS_U8;
        struct col_view view;
        struct err err = {0};
        (void)block_schema_phys(s, k->col, &table, &phys); /* known since the schema was read */
        if (part_wide != (table <= TABLE_SCOPES))
            continue;
        if (!good(v, part_view(v->own, g, k->col, &view, &err), &err))
            continue;
        if (k->col >= COL_FIXED_MAX)
            v->attr_values[k->col - COL_FIXED_MAX] += view.n;
        if (view.n > 0 && view.phys == PHYS_CODE && (g == 0 || (k->flags & COLUMN_LOCAL) != 0))
            verify_dict(v, k, &view);
        if (is_shape_col(k->col))
            verify_shapes(v, k->col, table, &view);
    }
}

/* Statistics of the group and of its traces against the spans. */
static void verify_times(struct verify *v, uint32_t g)
{
    struct part_group p;
    struct col_view start, duration, parent, trace, arrival;
    struct err err = {0};
    if (part_group(v->own, g, &p, &err) != EC_OK ||
        part_view(v->own, g, COL_SPAN_START, &start, &err) != EC_OK ||
        part_view(v->own, g, COL_SPAN_DURATION, &duration, &err) != EC_OK ||
        part_view(v->own, g, COL_SPAN_PARENT, &parent, &err) != EC_OK ||
        part_view(v->own, g, COL_SPAN_ARRIVAL, &arrival, &err) != EC_OK ||
        part_view(v->own, g, COL_SPAN_TRACE, &trace, &err) != EC_OK)
        return; /* told by verify_columns, or by verify_traces */
    uint64_t min = UINT64_MAX, max = 0, end = 0;
    struct part_trace t = {0};
    for (uint32_t i = 0; i < p.n_rows; i++) {
        uint64_t a = start.u64[i], z = MAX(a + duration.u64[i], a);
        if (i == 0 || trace.u32[i] != trace.u32[i - 1]) {
            if (!good(v, part_trace(v->own, trace.u32[i], &t, &err), &err))
                return;
            if (t.root_row != PART_NONE && t.root_row >= p.row_first &&
                t.root_row < p.row_first + p.n_rows && parent.u64[t.root_row - p.row_first] != 0)
                report(v, "trace %u: row %u is no root", trace.u32[i], t.root_row);
        }
        if (a < t.start_ns || z > t.end_ns)
            report(v, "group %u: row %u lies outside of its trace", g, i);
        min = MIN(min, a);
        max = MAX(max, a);
        end = MAX(end, z);
        v->min_arrival = MIN(v->min_arrival, arrival.u32[i]);
        v->max_arrival = MAX(v->max_arrival, arrival.u32[i]);
    }
    if (min != p.min_start_ns || max != p.max_start_ns || end != p.max_end_ns)
        report(v, "group %u: its spans start from %llu to %llu", g, (unsigned long long)min,
            (unsigned long long)max);
    v->min_start = MIN(v->min_start, min);
    v->max_end = MAX(v->max_end, end);
}

static void verify_totals(struct verify *v)
{
    const struct block_schema *s = v->r->schema;
    const struct block_facts *f = &v->r->root->facts;
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (v->attr_values[i] != s->attrs[i].n_values)
            report(v, "attribute " STR_FMT ": %llu values, the schema says %llu",
                STR_ARG(s->attrs[i].key), (unsigned long long)v->attr_values[i],
                (unsigned long long)s->attrs[i].n_values);
    if (f->n_spans > 0 &&
        (f->min_start_ns != v->min_start || f->max_end_ns != v->max_end ||
            f->min_arrival_s != v->min_arrival || f->max_arrival_s != v->max_arrival))
        report(v, "facts: time range is not that of the spans");
}

static void verify_all(struct verify *v)
{
    if (!verify_reader(v))
        return;
    v->attr_values = xcalloc(v->r->schema->n_attrs + 1ULL, sizeof(uint64_t));
    verify_pages(v);
    verify_filters(v);
    verify_traces(v);
    if (!verify_reader(v))
        return;
    verify_columns(v, 0, true);
    uint32_t n_groups = v->r->root->n_groups;
    for (uint32_t g = 0; g < n_groups; g++) {
        if (!verify_reader(v))
            return;
        verify_columns(v, g, false);
        verify_times(v, g);
    }
    if (v->n == 0)
        verify_totals(v);
}

enum ec block_verify(struct io *io, const char *path, void (*problem)(void *ctx, const char *text),
    void *ctx, uint64_t *ret_n_problems, struct err *err)
{
    struct verify v = {
        .problem = problem, .ctx = ctx, .min_start = UINT64_MAX, .min_arrival = UINT32_MAX};
    struct err local = {0};
    enum ec ec = block_tool_open(&v.tool, io, path, &local);
    if (ec == EC_OK)
        verify_all(&v);
    else if (ec == EC_CORRUPT || ec == EC_UNSUPPORTED)
        (void)good(&v, ec, &local); /* a problem of the file is a finding */
    part_reader_close(v.own);
    block_tool_close(&v.tool);
    free(v.attr_values);
    if (ec != EC_OK && ec != EC_CORRUPT && ec != EC_UNSUPPORTED) {
        if (err != NULL)
            *err = local;
        return ec;
    }
    *ret_n_problems = v.n;
    return EC_OK;
}
