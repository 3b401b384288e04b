/* SPDX-License-Identifier: Apache-2.0
 * The filters of a block: over its trace ids, and one over all keys and strings, so that a query
 * over a thousand blocks learns from one small page of each whether it has to be looked into.
 * FORMAT.md section 7. */
#include "filter.h"
#include "write.h"

bool column_in_filter(const struct writer *w, col_id col)
{
    return col < COL_FIXED_MAX || w->attrs[col - COL_FIXED_MAX].type == VALUE_STR;
}

enum ec writer_strings_note(struct writer *w, col_id col, const struct str *dict, uint32_t dict_n,
    const uint64_t *hashes, size_t n, struct err *err)
{
    const struct part_attr *a = col < COL_FIXED_MAX ? NULL : &w->attrs[col - COL_FIXED_MAX];
    uint64_t seed =
        a == NULL ? block_col_seed(col) : block_attr_seed(a->table, a->key, BLOCK_HAS_STRING);
    if (!buf_reserve(&w->values, (dict_n + n) * 8))
        return writer_limit(err);
    for (uint32_t i = 0; i < dict_n; i++)
        buf_put_u64le(&w->values, block_value_hash(seed, filter_hash(dict[i])));
    for (size_t i = 0; i < n; i++)
        buf_put_u64le(&w->values, block_value_hash(seed, hashes[i]));
    return EC_OK;
}

enum ec filter_pages(struct writer *w, const uint64_t *hashes, size_t n, unsigned bits,
    enum ec (*put)(struct writer *w, void *ctx, uint32_t page, struct err *err), void *ctx,
    uint32_t *ret_pages, struct err *err)
{
    uint64_t bytes = MAX(n * bits / 8, 32);
    uint32_t pages = (uint32_t)((bytes + FILTER_PAGE_BYTES - 1) / FILTER_PAGE_BYTES);
    uint32_t each = (uint32_t)((bytes / pages + 31) / 32 * 32);
    struct buf all;
    buf_init(&all, w->opt->budget);
    if (!buf_reserve(&all, (size_t)pages * each)) {
        buf_deinit(&all);
        return writer_limit(err);
    }
    memset(all.p, 0, (size_t)pages * each);
    for (size_t i = 0; i < n; i++)
        filter_add(all.p + (size_t)filter_page_of(hashes[i], pages) * each, each, hashes[i]);
    enum ec ec = EC_OK;
    for (uint32_t p = 0; ec == EC_OK && p < pages; p++) {
        page_out_reset(&w->page);
        ec = section_put(&w->page, all.p + (size_t)p * each, each, false, err);
        if (ec == EC_OK)
            ec = put(w, ctx, p, err);
    }
    buf_deinit(&all);
    *ret_pages = pages;
    return ec;
}

/* ctx: a struct block_filter with room for the pages. */
static enum ec root_page_put(struct writer *w, void *ctx, uint32_t page, struct err *err)
{
    struct block_filter *f = ctx;
    return writer_page(w, &f->pages[page], err);
}

static enum ec root_filter(struct writer *w, const uint64_t *hashes, size_t n, unsigned bits,
    struct block_filter *f, struct err *err)
{
    if (n == 0)
        return EC_OK;
    f->pages = ARENA_ARRAY(&w->arena, n * bits / 8 / FILTER_PAGE_BYTES + 2, struct page_ref);
    if (f->pages == NULL)
        return writer_limit(err);
    return filter_pages(w, hashes, n, bits, root_page_put, f, &f->n_pages, err);
}

/* Keys, and which of them hold arrays: their elements are not in the filter. */
static enum ec note_keys(struct writer *w, struct err *err)
{
    if (!buf_reserve(&w->values, w->n_attrs * 16ULL))
        return writer_limit(err);
    for (uint32_t i = 0; i < w->n_attrs; i++) {
        const struct part_attr *a = &w->attrs[i];
        uint64_t *names = &w->root.names[a->table];
        bool again = i > 0 && a[-1].table == a->table && str_eq(a[-1].key, a->key);
        if (!again) {
            *names = block_names_add(*names, a->key);
            buf_put_u64le(&w->values, block_attr_seed(a->table, a->key, BLOCK_HAS_KEY));
        }
        if (a->type == VALUE_ARRAY)
            buf_put_u64le(&w->values, block_attr_seed(a->table, a->key, BLOCK_HAS_ARRAY));
    }
    return EC_OK;
}

enum ec writer_filters(struct writer *w, struct err *err)
{
    w->root.has_names = true;
    TRY(note_keys(w, err));
    TRY(root_filter(w, (const uint64_t *)(const void *)w->values.p, w->values.n / 8,
        FILTER_BITS_PER_VALUE, &w->root.values, err));
    uint64_t *ids = ARENA_ARRAY(&w->tmp, w->n_traces + 1ULL, uint64_t);
    if (ids == NULL)
        return writer_limit(err);
    for (uint32_t i = 0; i < w->n_traces; i++)
        ids[i] = block_id_hash(&w->trace_ids[i]);
    enum ec ec = root_filter(w, ids, w->n_traces, FILTER_BITS_PER_ID, &w->root.ids, err);
    arena_reset(&w->tmp);
    return ec;
}
