/* SPDX-License-Identifier: Apache-2.0
 * A block as a part: the operations that part.h asks for. See reader.h for who owns what. */
#include "reader.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/defect.h"
#include "base/hash.h"
#include "filter.h"

#define READER_CHUNK_BYTES 1024u

static struct block_reader *reader_of(struct part_reader *r)
{
    return CONTAINER_OF(r, struct block_reader, base);
}

static enum ec block_reader_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err)
{
    struct block *b = CONTAINER_OF(p, struct block, part);
    TRY(block_root_load(b, err));
    if (!budget_take(budget, sizeof(struct block_reader)))
        return ERR(err, EC_LIMIT, "a block reader is over the memory budget");
    struct block_reader *r = xcalloc(1, sizeof(*r));
    r->base = (struct part_reader){.part = p, .budget = budget};
    r->b = b;
    r->root = atomic_load_explicit(&b->root, memory_order_acquire);
    arena_init(&r->arena, budget, READER_CHUNK_BYTES);
    buf_init(&r->stored, budget);
    buf_init(&r->scratch, budget);
    buf_init(&r->window, budget);
    *ret = &r->base;
    return EC_OK;
}

static void block_reader_close(struct part_reader *base)
{
    struct block_reader *r = reader_of(base);
    for (uint32_t i = 0; i < r->pins_cap; i++)
        if (r->pins[i].key != 0)
            block_cache_unpin(r->pins[i].object);
    buf_deinit(&r->stored);
    buf_deinit(&r->scratch);
    buf_deinit(&r->window);
    arena_deinit(&r->arena);
    if (!DEFECT(DEFECT_FORGET_REFUND))
        budget_give(base->budget, sizeof(*r));
    free(r);
}

static void block_info(struct part_reader *base, struct part_info *ret)
{
    const struct block_root *root = reader_of(base)->root;
    *ret = (struct part_info){
        .n_rows = (uint32_t)root->facts.n_spans,
        .n_groups = root->n_groups,
        .n_traces = (uint32_t)root->facts.n_traces,
        .n_resources = root->n_resources,
        .n_scopes = root->n_scopes,
        .min_start_ns = root->facts.min_start_ns,
        .max_end_ns = root->facts.max_end_ns,
        .bytes = root->facts.file_bytes,
    };
}

static enum ec block_group(
    struct part_reader *base, uint32_t g, struct part_group *ret, struct err *err)
{
    struct block_reader *r = reader_of(base);
    ASSERT(g < r->root->n_groups);
    TRY(block_load_schema(r, err));
    *ret = r->schema->groups[g].part;
    return EC_OK;
}

/* Views. */

static struct memo_slot *memo_slot(struct memo_slot *memo, uint32_t cap, uint64_t key)
{
    uint32_t i = (uint32_t)hash_mix(key) & (cap - 1);
    while (memo[i].key != 0 && memo[i].key != key)
        i = (i + 1) & (cap - 1);
    return &memo[i];
}

static enum ec memo_add(
    struct block_reader *r, uint64_t key, const struct col_view *v, struct err *err)
{
    if ((r->memo_n + 1) * 2 > r->memo_cap) {
        uint32_t cap = r->memo_cap == 0 ? 32 : r->memo_cap * 2;
        struct memo_slot *memo = ARENA_ARRAY(&r->arena, cap, struct memo_slot);
        if (memo == NULL)
            return ERR(err, EC_LIMIT, "%u views are over the memory budget", cap);
        for (uint32_t i = 0; i < r->memo_cap; i++)
            if (r->memo[i].key != 0)
                *memo_slot(memo, cap, r->memo[i].key) = r->memo[i];
        r->memo = memo;
        r->memo_cap = cap;
    }
    *memo_slot(r->memo, r->memo_cap, key) = (struct memo_slot){key, *v};
    r->memo_n++;
    return EC_OK;
}

const struct block_chunk *block_chunk_find(
    const struct block_schema *s, const struct block_column *k, uint32_t g)
{
    uint32_t lo = k->chunk_first, hi = k->chunk_first + k->n_chunks, end = hi;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->chunks[mid].group_last < g)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < end && s->chunks[lo].group_first <= g ? &s->chunks[lo] : NULL;
}

/* Trace numbers are not stored: they follow from the rows of the traces. */
static enum ec view_traces(
    struct block_reader *r, uint32_t g, struct col_view *ret, struct err *err)
{
    const struct block_group *group = &r->schema->groups[g];
    uint32_t row = group->part.row_first, end = row + group->part.n_rows;
    uint32_t *out = arena_alloc(&r->arena, group->part.n_rows * sizeof(*out)), *at = out;
    if (out == NULL)
        return ERR(err, EC_LIMIT, "trace numbers of a group are over the memory budget");
    for (uint32_t t = group->trace_first; row < end; t++) {
        const struct traces_object *page;
        if (t >= r->root->facts.n_traces)
            return ERR(err, EC_CORRUPT, "group %u: traces end before its rows do", g);
        TRY(block_load_traces(r, t / BLOCK_TRACE_PAGE, &page, err));
        uint32_t first = page->row_first[t % BLOCK_TRACE_PAGE];
        uint32_t next = page->row_first[t % BLOCK_TRACE_PAGE + 1];
        if (row < first || row >= next)
            return ERR(err, EC_CORRUPT, "group %u: trace %u does not start in it", g, t);
        for (; row < next && row < end; row++)
            *at++ = t;
    }
    *ret = (struct col_view){.phys = PHYS_U32, .n = group->part.n_rows, .u32 = out};
    return EC_OK;
}

/* Where each trace of the group ends, out of the pages of the trace table. */
static enum ec group_ends(
    struct block_reader *r, uint32_t g, uint32_t *ends, uint32_t *ret_n, struct err *err)
{
    const struct block_group *group = &r->schema->groups[g];
    uint32_t from = group->part.row_first, to = from + group->part.n_rows, row = from, n = 0;
    for (uint32_t t = group->trace_first; row < to;) {
        const struct traces_object *page;
        if (t >= r->root->facts.n_traces)
            return ERR(err, EC_CORRUPT, "group %u: traces end before its rows do", g);
        TRY(block_load_traces(r, t / BLOCK_TRACE_PAGE, &page, err));
        uint32_t i = t % BLOCK_TRACE_PAGE;
        if (row < page->row_first[i] || row >= page->row_first[i + 1])
            return ERR(err, EC_CORRUPT, "group %u: trace %u does not start in it", g, t);
        for (; i < page->n && row < to; i++, t++) { /* rows of a page's traces ascend */
            row = MIN(page->row_first[i + 1], to);
            ends[n++] = row - from;
        }
    }
    *ret_n = n;
    return EC_OK;
}

static enum ec block_group_traces(
    struct part_reader *base, uint32_t g, struct part_group_traces *ret, struct err *err)
{
    struct block_reader *r = reader_of(base);
    ASSERT(g < r->root->n_groups);
    TRY(block_load_schema(r, err));
    if (r->group_traces == NULL)
        r->group_traces = ARENA_ARRAY(&r->arena, r->root->n_groups, struct part_group_traces);
    if (r->group_traces == NULL)
        return ERR(err, EC_LIMIT, "the traces of groups are over the memory budget");
    struct part_group_traces *known = &r->group_traces[g];
    if (known->n == 0) {
        const struct block_group *group = &r->schema->groups[g];
        uint32_t n = 0, n_left = (uint32_t)r->root->facts.n_traces;
        n_left = group->trace_first < n_left ? n_left - group->trace_first : 0;
        uint32_t n_max = MIN(n_left, group->part.n_rows); /* each has a row at least */
        uint32_t *ends = arena_alloc(&r->arena, n_max * sizeof(*ends));
        if (ends == NULL)
            return ERR(err, EC_LIMIT, "the traces of a group are over the memory budget");
        enum ec ec = group_ends(r, g, ends, &n, err);
        if (ec != EC_OK)
            return block_damaged(r->b, ec, err);
        *known = (struct part_group_traces){.first = group->trace_first, .n = n, .ends = ends};
    }
    *ret = *known;
    return EC_OK;
}

static enum ec view_chunk(struct block_reader *r, const struct block_column *k, uint32_t g,
    enum col_phys phys, struct col_view *ret, struct err *err)
{
    const struct block_chunk *h = block_chunk_find(r->schema, k, g);
    const struct chunk_object *o;
    if (h == NULL)
        return EC_OK;
    TRY(block_load_chunk(r, k, (uint32_t)(h - r->schema->chunks), &o, err));
    uint32_t first = o->first[g - h->group_first];
    ret->n = o->first[g - h->group_first + 1] - first;
    ret->data = (const uint8_t *)o->values + (uint64_t)first * col_phys_width(phys);
    ret->rows = o->rows != NULL ? o->rows + first : NULL;
    if (phys != PHYS_CODE)
        return EC_OK;
    ret->dict = &o->dict.dict;
    if (!(k->flags & COLUMN_LOCAL)) {
        const struct dict_object *d;
        TRY(block_load_dict(r, k, &d, err));
        ret->dict = &d->dict.dict;
    }
    return EC_OK;
}

static enum ec view_make(
    struct block_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    enum part_table table;
    enum col_phys phys;
    *ret = (struct col_view){0};
    if (!block_schema_phys(r->schema, col, &table, &phys))
        return EC_OK;
    ret->phys = phys;
    const struct block_column *k = block_schema_column(r->schema, col);
    if (k != NULL)
        TRY(view_chunk(r, k, g, phys, ret, err));
    if (col >= COL_FIXED_MAX && ret->n > 0)
        return block_presence_rows(
            r, g, &r->schema->attrs[col - COL_FIXED_MAX], ret->n, &ret->rows, err);
    /* Dense columns are complete, or the file lies about them. */
    if (col < COL_FIXED_MAX && !part_col_sparse(col) &&
        ret->n != block_table_rows(r->root, r->schema, table, g))
        return ERR(err, EC_CORRUPT, "column %u: %u values in group %u", col, ret->n, g);
    return EC_OK;
}

enum ec block_view(
    struct block_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    enum part_table table = TABLE_COUNT;
    enum col_phys phys;
    TRY(block_load_schema(r, err));
    if (block_schema_phys(r->schema, col, &table, &phys) && table <= TABLE_SCOPES)
        g = 0;
    else
        ASSERT(g < r->root->n_groups);
    uint64_t key = ((uint64_t)g << 32 | col) + 1;
    if (r->memo_cap > 0) {
        const struct memo_slot *m = memo_slot(r->memo, r->memo_cap, key);
        if (m->key == key) {
            *ret = m->view;
            return EC_OK;
        }
    }
    struct col_view v;
    enum ec ec = col == COL_SPAN_TRACE ? view_traces(r, g, &v, err) : view_make(r, g, col, &v, err);
    if (ec != EC_OK)
        return block_damaged(r->b, ec, err);
    /* Not remembered: its row list will be another group's. */
    bool passing = r->base.group_by_group && col >= COL_FIXED_MAX && table == TABLE_SPANS;
    if (!passing)
        TRY(memo_add(r, key, &v, err));
    *ret = v;
    return EC_OK;
}

static enum ec block_part_view(
    struct part_reader *base, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    return block_view(reader_of(base), g, col, ret, err);
}

/* Schema. */

static enum ec block_attrs(
    struct part_reader *base, const struct part_attr **ret, size_t *ret_n, struct err *err)
{
    struct block_reader *r = reader_of(base);
    TRY(block_load_schema(r, err));
    *ret = r->schema->attrs;
    *ret_n = r->schema->n_attrs;
    return EC_OK;
}

static int attr_key_cmp(const struct part_attr *a, enum part_table t, struct str key)
{
    return a->table != t ? (a->table < t ? -1 : 1) : str_cmp(a->key, key);
}

static enum ec block_attr_find(struct part_reader *base, enum part_table t, struct str key,
    const struct part_attr *ret[VALUE_TYPES], struct err *err)
{
    struct block_reader *r = reader_of(base);
    TRY(block_load_schema(r, err));
    const struct block_schema *s = r->schema;
    uint32_t lo = 0, hi = s->n_attrs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (attr_key_cmp(&s->attrs[mid], t, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (int i = 0; i < VALUE_TYPES; i++)
        ret[i] = NULL;
    for (; lo < s->n_attrs && attr_key_cmp(&s->attrs[lo], t, key) == 0; lo++)
        ret[s->attrs[lo].type] = &s->attrs[lo];
    return EC_OK;
}

static enum ec block_shape(
    struct part_reader *base, uint32_t shape, const col_id **ret, size_t *ret_n, struct err *err)
{
    struct block_reader *r = reader_of(base);
    TRY(block_load_schema(r, err));
    ASSERT(shape < r->schema->n_shapes);
    *ret = r->schema->shape_cols + r->schema->shape_first[shape];
    *ret_n = r->schema->shape_first[shape + 1] - r->schema->shape_first[shape];
    return EC_OK;
}

/* Traces. */

static enum ec block_trace(
    struct part_reader *base, uint32_t trace, struct part_trace *ret, struct err *err)
{
    struct block_reader *r = reader_of(base);
    const struct traces_object *t;
    const struct ids_object *ids;
    ASSERT(trace < r->root->facts.n_traces);
    TRY(block_load_traces(r, trace / BLOCK_TRACE_PAGE, &t, err));
    uint32_t i = trace % BLOCK_TRACE_PAGE;
    TRY(block_load_ids(r, t->id_pos[i] / BLOCK_ID_PAGE, &ids, err));
    *ret = (struct part_trace){
        .id = ids->ids[t->id_pos[i] % BLOCK_ID_PAGE],
        .n_rows = t->row_first[i + 1] - t->row_first[i],
        .row_first = t->row_first[i],
        .start_ns = t->start[i],
        .end_ns = t->start[i] + t->duration[i],
        .root_row = t->root[i] == 0 ? PART_NONE : t->row_first[i] + t->root[i] - 1,
    };
    return EC_OK;
}

static enum ec block_trace_find(
    struct part_reader *base, const struct trace_id *id, uint32_t *ret_trace, struct err *err)
{
    struct block_reader *r = reader_of(base);
    const struct ids_object *ids;
    uint32_t lo = 0, hi = r->root->n_id_pages; /* the last fence at or below the id */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (trace_id_cmp(&r->root->id_pages[mid].first, id) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0) {
        *ret_trace = PART_NONE;
        return EC_OK;
    }
    TRY(block_load_ids(r, lo - 1, &ids, err));
    lo = 0;
    hi = ids->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (trace_id_cmp(&ids->ids[mid], id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_trace = lo < ids->n && trace_id_eq(&ids->ids[lo], id) ? ids->trace[lo] : PART_NONE;
    return EC_OK;
}

static enum ec block_trace_rows(struct part_reader *base, uint32_t trace, struct arena *arena,
    uint32_t **ret_rows, uint32_t *ret_n, struct err *err)
{
    struct block_reader *r = reader_of(base);
    const struct traces_object *t;
    ASSERT(trace < r->root->facts.n_traces);
    TRY(block_load_traces(r, trace / BLOCK_TRACE_PAGE, &t, err));
    uint32_t i = trace % BLOCK_TRACE_PAGE;
    uint32_t first = t->row_first[i], n = t->row_first[i + 1] - first;
    uint32_t *rows = ARENA_ARRAY(arena, n, uint32_t);
    if (rows == NULL)
        return ERR(err, EC_LIMIT, "%u rows of a trace are over the memory budget", n);
    for (uint32_t k = 0; k < n; k++)
        rows[k] = first + k;
    *ret_rows = rows;
    *ret_n = n;
    return EC_OK;
}

static enum ec block_trace_ids(
    struct part_reader *base, uint32_t at, struct trace_id *ret, uint32_t *ret_n, struct err *err)
{
    struct block_reader *r = reader_of(base);
    const struct ids_object *ids;
    *ret_n = 0;
    if (at >= r->root->facts.n_traces)
        return EC_OK;
    TRY(block_load_ids(r, at / BLOCK_ID_PAGE, &ids, err));
    uint32_t first = at % BLOCK_ID_PAGE;
    ASSERT(first < ids->n);
    *ret_n = MIN(ids->n - first, PART_IDS_MAX);
    memcpy(ret, ids->ids + first, *ret_n * sizeof(*ret));
    return EC_OK;
}

/* Filters and dictionaries: on any trouble the answer is "perhaps". */
static bool block_may_have(struct part_reader *base, col_id col, struct str value)
{
    struct block_reader *r = reader_of(base);
    enum part_table table;
    enum col_phys phys;
    if (block_load_schema(r, NULL) != EC_OK)
        return true;
    if (!block_schema_phys(r->schema, col, &table, &phys))
        return false;
    if (phys != PHYS_CODE)
        return true;
    const struct block_column *k = block_schema_column(r->schema, col);
    if (k == NULL)
        return false;
    if (!(k->flags & COLUMN_LOCAL)) {
        const struct dict_object *d;
        uint32_t code;
        return block_load_dict(r, k, &d, NULL) != EC_OK || dict_find(&d->dict.dict, value, &code);
    }
    if (k->n_filter_pages == 0) {
        const struct part_attr *a =
            col < COL_FIXED_MAX ? NULL : &r->schema->attrs[col - COL_FIXED_MAX];
        if (a == NULL)
            return block_may_equal(&r->b->part, table, str_n(NULL, 0), col, value);
        /* A view of the schema is never NULL, even when empty: it is an attribute. */
        return a->type != VALUE_STR || block_may_equal(&r->b->part, table, a->key, 0, value);
    }
    uint64_t hash = filter_hash(value);
    const struct filter_object *f;
    uint32_t page = k->filter_page_first + filter_page_of(hash, k->n_filter_pages);
    if (block_load_filter(r, page, &f, NULL) != EC_OK)
        return true;
    return filter_has(f->bytes, f->n_bytes, hash);
}

static uint64_t block_bytes_read(const struct part_reader *base)
{
    return ((const struct block_reader *)(const void *)base)->bytes_read; /* its first member */
}

/* The part itself. */

static void block_destroy(struct part *p)
{
    struct block *b = CONTAINER_OF(p, struct block, part);
    struct block_root *root = atomic_load_explicit(&b->root, memory_order_acquire);
    block_cache_purge(b->cache, b->serial);
    block_root_free(root, block_cache_budget(b->cache));
    block_cache_let_go(b->cache, b->ids.stored, b->ids.bytes);
    block_file_drop(b);
    pthread_mutex_destroy(&b->lock);
    free(b->path);
    block_known_unref(b->known);
    free((void *)(uintptr_t)b->tenant.p);
    free(b);
}

const struct part_ops block_part_ops = {
    .destroy = block_destroy,
    .reader_open = block_reader_open,
    .reader_close = block_reader_close,
    .info = block_info,
    .group = block_group,
    .view = block_part_view,
    .view_rows = block_view_rows,
    .attrs = block_attrs,
    .attr_find = block_attr_find,
    .shape = block_shape,
    .trace = block_trace,
    .trace_find = block_trace_find,
    .trace_rows = block_trace_rows,
    .trace_ids = block_trace_ids,
    .group_traces = block_group_traces,
    .may_have = block_may_have,
    .bytes_read = block_bytes_read,
    .peek = block_peek,
    .may_hold = block_may_hold,
    .hold_soon = block_hold_soon,
    .may_equal = block_may_equal,
    .may_key = block_may_key,
    .names = block_names,
    .cold = block_cold,
    .strings = block_strings,
    .known = block_knows,
};
