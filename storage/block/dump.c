/* SPDX-License-Identifier: Apache-2.0
 * block_dump: what a block holds, for people. Facts, groups, then every column with the bytes that
 * its values, dictionary and filter take on disk. */
#include "reader.h"
#include "tool.h"

static const char *const table_names[TABLE_COUNT] = {
    "resources", "scopes", "spans", "events", "links"};
static const char *const type_names[VALUE_TYPES] = {
    "empty", "string", "int", "double", "bool", "bytes", "array", "kvlist"};

static void dump_hex(struct buf *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%02x", p[i]);
}

static void dump_facts(struct buf *out, const struct block_root *root)
{
    const struct block_facts *f = &root->facts;
    buf_putz(out, "block ");
    dump_hex(out, f->uuid, 16);
    buf_printf(out, "\n  tenant \"" STR_FMT "\", level %u, %llu bytes (%.2f per span)\n",
        STR_ARG(root->tenant), f->level, (unsigned long long)f->file_bytes,
        f->n_spans == 0 ? 0.0 : (double)f->file_bytes / (double)f->n_spans);
    buf_printf(out, "  %llu spans, %llu traces, %llu events, %llu links, %u resources, %u scopes\n",
        (unsigned long long)f->n_spans, (unsigned long long)f->n_traces,
        (unsigned long long)root->n_events, (unsigned long long)root->n_links, root->n_resources,
        root->n_scopes);
    buf_printf(out, "  spans from %llu to %llu ns, arrived from %u to %u s, lsn %llu to %llu\n",
        (unsigned long long)f->min_start_ns, (unsigned long long)f->max_end_ns, f->min_arrival_s,
        f->max_arrival_s, (unsigned long long)f->lsn_first, (unsigned long long)f->lsn_last);
    for (uint32_t i = 0; i < f->n_inputs; i++) {
        buf_putz(out, "  replaces ");
        dump_hex(out, f->inputs[i], 16);
        buf_putc(out, '\n');
    }
}

static uint64_t pages_bytes(const struct page_ref *p, uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += p[i].stored;
    return sum;
}

static void dump_index(struct buf *out, const struct block_root *root)
{
    uint64_t ids = 0;
    for (uint32_t i = 0; i < root->n_id_pages; i++)
        ids += root->id_pages[i].page.stored;
    buf_printf(out, "  id index %llu bytes in %u pages, traces %llu in %u, schema %u (raw %u)\n",
        (unsigned long long)ids, root->n_id_pages,
        (unsigned long long)pages_bytes(root->trace_pages, root->n_trace_pages),
        root->n_trace_pages, root->schema.stored, root->schema.raw);
    buf_printf(out, "  filter of ids %llu bytes in %u pages, of keys and strings %llu in %u\n",
        (unsigned long long)pages_bytes(root->ids.pages, root->ids.n_pages), root->ids.n_pages,
        (unsigned long long)pages_bytes(root->values.pages, root->values.n_pages),
        root->values.n_pages);
}

static void dump_group(struct buf *out, const struct block_group *g, uint32_t i)
{
    buf_printf(out, "  group %u: rows %u from %u, %u events, %u links, starts %llu to %llu\n", i,
        g->part.n_rows, g->part.row_first, g->part.n_events, g->part.n_links,
        (unsigned long long)g->part.min_start_ns, (unsigned long long)g->part.max_start_ns);
}

static void dump_column(
    struct buf *out, const struct block_schema *s, const struct block_column *k, uint64_t n_spans)
{
    enum part_table table = TABLE_SPANS;
    enum col_phys phys = PHYS_U8;
    const char *name = "";
    uint64_t values = 0, dict = pages_bytes(&s->pages[k->dict_page_first], k->n_dict_pages);
    uint64_t filter = pages_bytes(&s->pages[k->filter_page_first], k->n_filter_pages);
    uint64_t dict_n = k->dict_n;
    for (uint32_t i = 0; i < k->n_chunks; i++) {
        const struct block_chunk *h = &s->chunks[k->chunk_first + i];
        values += pages_bytes(&s->pages[h->page_first], h->n_value_pages);
        dict += pages_bytes(&s->pages[h->page_first + h->n_value_pages], h->n_dict_pages);
        dict_n += h->dict_n;
    }
    if (k->col >= COL_FIXED_MAX) {
        const struct part_attr *a = &s->attrs[k->col - COL_FIXED_MAX];
        buf_printf(out, "  %4u %-9s %-6s " STR_FMT, k->col, table_names[a->table],
            type_names[a->type], STR_ARG(a->key));
    } else {
        (void)part_col_fixed(k->col, &table, &phys, &name); /* checked when the schema was read */
        buf_printf(out, "  %4u %-9s %-6s %s", k->col, table_names[table], "-", name);
    }
    buf_printf(out, ": %llu values in %u chunks, %llu bytes", (unsigned long long)k->n_values,
        k->n_chunks, (unsigned long long)(values + dict + filter));
    if (dict_n > 0)
        buf_printf(out, " (codes %llu, %llu strings %llu%s, filter %llu)",
            (unsigned long long)values, (unsigned long long)dict_n, (unsigned long long)dict,
            k->flags & COLUMN_LOCAL ? " by chunk" : "", (unsigned long long)filter);
    buf_printf(out, ", %.2f per span\n",
        n_spans == 0 ? 0.0 : (double)(values + dict + filter) / (double)n_spans);
}

enum ec block_dump(struct io *io, const char *path, struct buf *out, struct err *err)
{
    CLEANUP(block_tool_close) struct block_tool t = {0};
    TRY(block_tool_open(&t, io, path, err));
    TRY(block_load_schema(t.r, err));
    const struct block_schema *s = t.r->schema;
    dump_facts(out, t.r->root);
    dump_index(out, t.r->root);
    for (uint32_t i = 0; i < s->n_groups; i++)
        dump_group(out, &s->groups[i], i);
    buf_printf(out, "  %u columns, %u shapes\n", s->n_columns, s->n_shapes);
    for (uint32_t i = 0; i < s->n_columns; i++)
        dump_column(out, s, &s->columns[i], t.r->root->facts.n_spans);
    return buf_failed(out) ? ERR(err, EC_LIMIT, "block %s: dump is too long", path) : EC_OK;
}
