/* SPDX-License-Identifier: Apache-2.0
 * block_write: the steps in order, the output file, the trace table and the footers.
 *
 * The file is written once, front to back, through a buffer; nothing is read back. It is complete
 * when its trailer is synced, and removed on every failure, so a block file either opens or is not
 * there. */
#include "write.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/compress.h"
#include "reader.h"

#define OUT_BYTES      ((size_t)1 << 20)
#define ZSTD_LEVEL     3
#define HEAD_ROW_PLAIN 2048u /* memory of a head's row that is not worth cutting groups for */

enum ec writer_limit(struct err *err)
{
    return ERR(err, EC_LIMIT, "block write is over its memory budget");
}

/* Output. */

static enum ec writer_flush(struct writer *w, struct err *err)
{
    if (w->out.n == 0)
        return EC_OK;
    TRY(io_pwrite(w->opt->io, "block.write", w->fd, w->out.p, w->out.n, w->written, err));
    TRY(io_write_back(w->opt->io, "block.write_back", w->fd, w->written, w->out.n, err));
    w->written += w->out.n;
    buf_reset(&w->out);
    return w->opt->pace == NULL ? EC_OK : w->opt->pace(w->opt->pace_ctx, w->written, err);
}

static enum ec writer_put(struct writer *w, const void *p, size_t n, struct err *err)
{
    if (w->out.n + n > OUT_BYTES)
        TRY(writer_flush(w, err));
    buf_put(&w->out, p, n);
    return buf_failed(&w->out) ? writer_limit(err) : EC_OK;
}

enum ec writer_page_put(
    struct writer *w, struct bytes stored, uint64_t raw, struct page_ref *ret, struct err *err)
{
    if (raw > PAGE_RAW_MAX || stored.n > UINT32_MAX)
        return ERR(err, EC_TOO_LARGE, "a value of about %llu bytes is too large for a block",
            (unsigned long long)raw);
    ret->offset = w->written + w->out.n;
    ret->stored = (uint32_t)stored.n;
    ret->raw = (uint32_t)raw;
    ret->sum = block_page_sum(w->salt, ret->offset, stored.p, stored.n);
    return writer_put(w, stored.p, stored.n, err);
}

enum ec writer_page(struct writer *w, struct page_ref *ret, struct err *err)
{
    return writer_page_put(w, buf_bytes(&w->page.b), w->page.raw, ret, err);
}

/* Sources. */

static void source_weights(struct wsource *s, const struct block_schema *schema)
{
    uint64_t memory = s->info.n_rows == 0 ? 0 : s->info.bytes / s->info.n_rows;
    for (uint32_t g = 0; g < s->info.n_groups; g++) {
        uint64_t each = memory > HEAD_ROW_PLAIN ? memory - HEAD_ROW_PLAIN : 0;
        if (schema != NULL)
            each = schema->groups[g].weight / MAX(s->groups[g].n_rows, 1u);
        s->weight[g] = (uint32_t)MIN(each, UINT32_MAX);
    }
}

static enum ec source_init(
    struct writer *w, struct wsource *s, struct part_reader *r, struct err *err)
{
    s->r = r;
    part_info(r, &s->info);
    for (unsigned t = 0; t < 2; t++)
        buf_init(&s->row_bytes[t], w->opt->budget);
    buf_init(&s->shape_map, w->opt->budget);
    uint32_t n = s->info.n_groups;
    s->groups = ARENA_ARRAY(&w->arena, n + 1ULL, struct part_group);
    s->weight = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    for (int t = TABLE_SPANS; t <= TABLE_LINKS; t++)
        s->base[t] = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    if (s->groups == NULL || s->weight == NULL || s->base[TABLE_SPANS] == NULL ||
        s->base[TABLE_EVENTS] == NULL || s->base[TABLE_LINKS] == NULL)
        return writer_limit(err);
    uint64_t at[TABLE_COUNT] = {0};
    for (int t = TABLE_SPANS; t <= TABLE_LINKS; t++)
        at[t] = w->n_in[t];
    for (uint32_t g = 0; g <= n; g++) {
        for (int t = TABLE_SPANS; t <= TABLE_LINKS; t++)
            s->base[t][g] = (uint32_t)at[t];
        if (g == n)
            break;
        TRY(part_group(r, g, &s->groups[g], err));
        at[TABLE_SPANS] += s->groups[g].n_rows;
        at[TABLE_EVENTS] += s->groups[g].n_events;
        at[TABLE_LINKS] += s->groups[g].n_links;
        for (int t = TABLE_SPANS; t <= TABLE_LINKS; t++)
            if (at[t] >= PART_NONE)
                return ERR(err, EC_TOO_LARGE, "%llu rows in one block", (unsigned long long)at[t]);
    }
    for (int t = TABLE_SPANS; t <= TABLE_LINKS; t++)
        w->n_in[t] = (uint32_t)at[t];
    const struct block_schema *schema = NULL;
    if (r->part->ops == &block_part_ops)
        schema = CONTAINER_OF(r, struct block_reader, base)->schema;
    source_weights(s, schema);
    if (!r->part->is_head)
        w->copy_strings = true;
    return part_attrs(r, &s->attrs, &s->n_attrs, err);
}

/* Trace table and id index. */

static int id_order(const void *a, const void *b)
{
    return memcmp(a, b, 16); /* struct id_ref starts with the id */
}

struct id_ref {
    struct trace_id id;
    uint32_t trace;
};

static enum ec traces_put_ids(
    struct writer *w, const struct id_ref *refs, uint64_t *v, struct err *err)
{
    struct block_root *root = &w->root;
    struct trace_id ids[BLOCK_ID_PAGE];
    for (uint32_t i = 0; i < root->n_id_pages; i++) {
        uint32_t first = i * BLOCK_ID_PAGE, n = MIN(BLOCK_ID_PAGE, w->n_traces - first);
        for (uint32_t k = 0; k < n; k++) {
            ids[k] = refs[first + k].id;
            v[k] = refs[first + k].trace;
        }
        page_out_reset(&w->page);
        /* Ids are mostly random, but not everybody's: 64-bit ids have eight zero bytes. */
        TRY(section_put(&w->page, ids, n * 16ULL, true, err));
        TRY(ints_put(&w->page, v, n, INTS_CODES, err));
        root->id_pages[i].first = ids[0];
        TRY(writer_page(w, &root->id_pages[i].page, err));
    }
    return EC_OK;
}

static enum ec traces_put_table(
    struct writer *w, const uint32_t *id_pos, uint64_t *v, struct err *err)
{
    struct block_root *root = &w->root;
    for (uint32_t i = 0; i < root->n_trace_pages; i++) {
        uint32_t a = i * BLOCK_TRACE_PAGE, n = MIN(BLOCK_TRACE_PAGE, w->n_traces - a);
        root->trace_page_rows[i] = w->trace_first[a];
        page_out_reset(&w->page);
        TRY(ints_put(&w->page, w->trace_start + a, n, INTS_DELTAS, err));
        for (uint32_t k = 0; k < n; k++)
            v[k] = w->trace_end[a + k] - w->trace_start[a + k];
        TRY(ints_put(&w->page, v, n, INTS_NUMS, err));
        for (uint32_t k = 0; k < n; k++)
            v[k] = w->trace_first[a + k + 1] - w->trace_first[a + k];
        TRY(ints_put(&w->page, v, n, INTS_CODES, err));
        for (uint32_t k = 0; k < n; k++)
            v[k] = w->trace_root[a + k];
        TRY(ints_put(&w->page, v, n, INTS_CODES, err));
        for (uint32_t k = 0; k < n; k++)
            v[k] = id_pos[a + k];
        TRY(ints_put(&w->page, v, n, INTS_NUMS, err));
        TRY(page_out_check(&w->page, err));
        TRY(writer_page(w, &root->trace_pages[i], err));
    }
    root->trace_page_rows[root->n_trace_pages] = w->n_out[TABLE_SPANS];
    return EC_OK;
}

static enum ec writer_traces(struct writer *w, struct err *err)
{
    struct block_root *root = &w->root;
    uint32_t n = w->n_traces;
    root->n_trace_pages = (n + BLOCK_TRACE_PAGE - 1) / BLOCK_TRACE_PAGE;
    root->n_id_pages = (n + BLOCK_ID_PAGE - 1) / BLOCK_ID_PAGE;
    root->trace_pages = ARENA_ARRAY(&w->arena, root->n_trace_pages + 1ULL, struct page_ref);
    root->trace_page_rows = ARENA_ARRAY(&w->arena, root->n_trace_pages + 2ULL, uint32_t);
    root->id_pages = ARENA_ARRAY(&w->arena, root->n_id_pages + 1ULL, struct id_page);
    struct id_ref *refs = ARENA_ARRAY(&w->tmp, n + 1ULL, struct id_ref);
    uint32_t *id_pos = ARENA_ARRAY(&w->tmp, n + 1ULL, uint32_t);
    uint64_t *v = ARENA_ARRAY(&w->tmp, BLOCK_TRACE_PAGE, uint64_t);
    if (root->trace_pages == NULL || root->trace_page_rows == NULL || root->id_pages == NULL ||
        refs == NULL || id_pos == NULL || v == NULL)
        return writer_limit(err);
    for (uint32_t t = 0; t < n; t++)
        refs[t] = (struct id_ref){w->trace_ids[t], t};
    qsort(refs, n, sizeof(*refs), id_order);
    for (uint32_t i = 0; i < n; i++)
        id_pos[refs[i].trace] = i;
    TRY(traces_put_ids(w, refs, v, err));
    TRY(traces_put_table(w, id_pos, v, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

/* Footers. */

static int column_order(const void *a, const void *b)
{
    const struct block_column *x = a, *y = b;
    return x->col < y->col ? -1 : x->col > y->col;
}

/* Columns were written in the order that suited the writer: the index has them by number. */
static enum ec schema_order(struct writer *w, struct block_schema *s, struct err *err)
{
    s->chunks = ARENA_ARRAY(&w->tmp, w->chunks.n + 1, struct block_chunk);
    s->pages = ARENA_ARRAY(&w->tmp, w->pages.n + 1, struct page_ref);
    if (s->chunks == NULL || s->pages == NULL)
        return writer_limit(err);
    if (w->columns.n > 0)
        qsort(w->columns.p, w->columns.n, sizeof(*w->columns.p), column_order);
    for (size_t i = 0; i < w->columns.n; i++) {
        struct block_column *c = &w->columns.p[i];
        uint32_t n = c->n_dict_pages + c->n_filter_pages;
        for (uint32_t k = 0; k < c->n_chunks; k++) {
            const struct block_chunk *h = &w->chunks.p[c->chunk_first + k];
            s->chunks[s->n_chunks++] = *h;
            n += h->n_value_pages + h->n_dict_pages;
        }
        memcpy(s->pages + s->n_pages, w->pages.p + c->dict_page_first, n * sizeof(*s->pages));
        s->n_pages += n;
    }
    s->columns = w->columns.p;
    s->n_columns = (uint32_t)w->columns.n;
    ASSERT(s->n_chunks == w->chunks.n && s->n_pages == w->pages.n);
    return EC_OK;
}

static enum ec schema_shape_list(struct writer *w, struct block_schema *s, struct err *err)
{
    uint64_t n = 0;
    s->n_shapes = w->shapes.n;
    for (uint32_t i = 0; i < s->n_shapes; i++)
        n += interner_get(&w->shapes, i).n / 4;
    if (n >= PART_NONE)
        return ERR(err, EC_TOO_LARGE, "%llu columns in shapes", (unsigned long long)n);
    s->shape_first = ARENA_ARRAY(&w->tmp, s->n_shapes + 1ULL, uint32_t);
    s->shape_cols = ARENA_ARRAY(&w->tmp, n + 1, col_id);
    if (s->shape_first == NULL || s->shape_cols == NULL)
        return writer_limit(err);
    uint32_t at = 0;
    for (uint32_t i = 0; i < s->n_shapes; i++) {
        struct str cols = interner_get(&w->shapes, i);
        s->shape_first[i] = at;
        memcpy(s->shape_cols + at, cols.p, cols.n);
        at += (uint32_t)(cols.n / 4);
    }
    s->shape_first[s->n_shapes] = at;
    return EC_OK;
}

static enum ec footer_page(struct writer *w, struct buf *raw, struct page_ref *ret, struct err *err)
{
    if (buf_failed(raw))
        return writer_limit(err);
    page_out_reset(&w->page);
    TRY(section_put(&w->page, raw->p, raw->n, true, err));
    return writer_page(w, ret, err);
}

static enum ec writer_schema(struct writer *w, struct buf *raw, struct err *err)
{
    struct block_schema s = {
        .n_groups = w->n_groups, .groups = w->groups, .n_attrs = w->n_attrs, .attrs = w->attrs};
    TRY(schema_order(w, &s, err));
    TRY(schema_shape_list(w, &s, err));
    block_schema_encode(raw, &s);
    TRY(footer_page(w, raw, &w->root.schema, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

static void writer_root(struct writer *w)
{
    const struct block_write_options *opt = w->opt;
    struct block_root *root = &w->root;
    bool empty = w->n_out[TABLE_SPANS] == 0;
    root->tenant = opt->tenant;
    root->n_groups = w->n_groups;
    root->n_resources = w->n_out[TABLE_RESOURCES];
    root->n_scopes = w->n_out[TABLE_SCOPES];
    root->n_events = w->n_out[TABLE_EVENTS];
    root->n_links = w->n_out[TABLE_LINKS];
    struct block_facts *f = &root->facts;
    memcpy(f->uuid, opt->uuid, 16);
    f->level = opt->level;
    f->n_spans = w->n_out[TABLE_SPANS];
    f->n_traces = w->n_traces;
    f->min_start_ns = empty ? 0 : w->min_start;
    f->max_end_ns = w->max_end;
    f->min_arrival_s = empty ? 0 : w->min_arrival;
    f->max_arrival_s = w->max_arrival;
    f->lsn_first = opt->lsn_first;
    f->lsn_last = opt->lsn_last;
    f->n_inputs = opt->n_inputs;
}

static enum ec writer_footers(struct writer *w, struct err *err)
{
    struct buf raw;
    struct page_ref ref;
    buf_init(&raw, w->opt->budget);
    enum ec ec = writer_schema(w, &raw, err);
    writer_root(w);
    buf_reset(&raw);
    w->root.facts.inputs = (uint8_t(*)[16])(uintptr_t)w->opt->inputs; /* read only */
    if (ec == EC_OK) {
        block_root_encode(&raw, &w->root);
        ec = footer_page(w, &raw, &ref, err);
    }
    w->root.facts.inputs = NULL;
    buf_deinit(&raw);
    TRY(ec);
    uint8_t trailer[BLOCK_TRAILER_BYTES];
    w->root.facts.file_bytes = w->written + w->out.n + BLOCK_TRAILER_BYTES;
    block_trailer_put(trailer, &ref, w->root.facts.file_bytes, w->salt);
    TRY(writer_put(w, trailer, sizeof(trailer), err));
    return writer_flush(w, err);
}

/* The whole. */

static enum ec writer_run(struct writer *w, struct part_reader *const *sources, struct err *err)
{
    uint8_t header[BLOCK_HEADER_BYTES];
    for (size_t i = 0; i < w->n_src; i++)
        TRY(source_init(w, &w->src[i], sources[i], err));
    block_header_put(header, w->opt->uuid);
    TRY(writer_put(w, header, sizeof(header), err));
    TRY(writer_order(w, err));
    TRY(writer_attrs(w, err));
    TRY(writer_tables_read(w, err));
    TRY(writer_columns(w, err));
    TRY(writer_traces(w, err));
    TRY(writer_filters(w, err));
    return writer_footers(w, err);
}

static void writer_init(struct writer *w, const struct block_write_options *opt, size_t n_sources)
{
    *w = (struct writer){.opt = opt, .n_src = n_sources, .fd = -1};
    w->salt = block_salt(opt->uuid);
    w->min_start = UINT64_MAX;
    w->min_arrival = UINT32_MAX;
    arena_init(&w->arena, opt->budget, 65536);
    arena_init(&w->tmp, opt->budget, 65536);
    w->src = xcalloc(MAX(n_sources, 1), sizeof(*w->src));
    page_out_init(&w->page, opt->budget, opt->zstd_level == 0 ? ZSTD_LEVEL : opt->zstd_level);
    buf_init(&w->out, opt->budget);
    buf_init(&w->values, opt->budget);
    buf_init(&w->dict_map, opt->budget);
    buf_init(&w->shape_scratch, opt->budget);
    interner_init(&w->shapes, opt->budget, &w->arena);
    for (unsigned t = 0; t < 2; t++)
        interner_init(&w->table[t], opt->budget, NULL);
}

static void writer_deinit(struct writer *w)
{
    for (size_t i = 0; i < w->n_src; i++) {
        buf_deinit(&w->src[i].shape_map);
        for (unsigned t = 0; t < 2; t++)
            buf_deinit(&w->src[i].row_bytes[t]);
    }
    free(w->src);
    interner_deinit(&w->shapes);
    for (unsigned t = 0; t < 2; t++)
        interner_deinit(&w->table[t]);
    buf_deinit(&w->shape_scratch);
    buf_deinit(&w->dict_map);
    buf_deinit(&w->out);
    buf_deinit(&w->values);
    page_out_deinit(&w->page);
    block_known_unref(w->root.facts.known);
    VEC_FREE(&w->lists);
    VEC_FREE(&w->columns);
    VEC_FREE(&w->chunks);
    VEC_FREE(&w->pages);
    VEC_FREE(&w->column_pages);
    arena_deinit(&w->tmp);
    arena_deinit(&w->arena);
}

enum ec block_write(const struct block_write_options *opt, struct part_reader *const *sources,
    size_t n_sources, struct block_facts *ret_facts, uint64_t *ret_dups, struct err *err)
{
    if (opt->tenant.n > BLOCK_TENANT_MAX || opt->n_inputs > BLOCK_INPUTS_MAX)
        return ERR(err, EC_INVALID, "block %s: tenant of %zu bytes, %u inputs", opt->path,
            opt->tenant.n, opt->n_inputs);
    struct writer w;
    writer_init(&w, opt, n_sources);
    enum ec ec =
        io_open(opt->io, "block.create", opt->path, O_RDWR | O_CREAT | O_EXCL, 0600, &w.fd, err);
    bool created = ec == EC_OK;
    if (ec == EC_OK)
        ec = writer_run(&w, sources, err);
    if (ec == EC_OK)
        ec = io_fsync(opt->io, "block.fsync", w.fd, err);
    if (created) {
        enum ec closed = io_close(opt->io, "block.write_close", w.fd, ec == EC_OK ? err : NULL);
        ec = ec == EC_OK ? closed : ec;
        if (ec != EC_OK && io_unlink(opt->io, "block.unlink", opt->path, NULL) != EC_OK)
            w.dups = 0; /* the file stays: temporary names are swept at the next start */
    }
    if (ec == EC_OK) {
        *ret_facts = w.root.facts;
        w.root.facts.known = NULL; /* the reference is the caller's */
        ret_facts->inputs = NULL;
        if (opt->n_inputs > 0) {
            ret_facts->inputs = xmalloc(opt->n_inputs * 16ULL);
            memcpy(ret_facts->inputs, opt->inputs, opt->n_inputs * 16ULL);
        }
        *ret_dups = w.dups;
        if (opt->ret_copied != NULL)
            *opt->ret_copied = w.copied;
    }
    writer_deinit(&w);
    return ec;
}
