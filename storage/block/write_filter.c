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
    struct column_list list = {.col = col};
    for (uint32_t i = 0; i < dict_n; i++)
        list.hash = block_list_add(list.hash, dict[i]);
    if (dict_n + n > 0)
        VEC_PUSH(&w->lists, list);
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
        uint64_t *names = &w->names[a->table];
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

/* Is it the one column of its key? */
static bool only_type(const struct writer *w, uint32_t i)
{
    const struct part_attr *a = &w->attrs[i];
    for (uint32_t k = i == 0 ? 0 : i - 1; k <= i + 1 && k < w->n_attrs; k++)
        if (k != i && w->attrs[k].table == a->table && str_eq(w->attrs[k].key, a->key))
            return false;
    return true;
}

/* Lists of the columns of strings: fixed ones, then attributes, as many as there is room for. */
static void note_lists(struct writer *w)
{
    struct block_list lists[BLOCK_LISTS_MAX];
    uint32_t n = 0;
    for (int fixed = 1; fixed >= 0; fixed--) {
        for (size_t i = 0; i < w->lists.n && n < BLOCK_LISTS_MAX; i++) {
            const struct column_list *l = &w->lists.p[i];
            if ((l->col < COL_FIXED_MAX) != fixed)
                continue;
            if (!fixed && !only_type(w, l->col - COL_FIXED_MAX))
                continue;
            const struct part_attr *a = fixed ? NULL : &w->attrs[l->col - COL_FIXED_MAX];
            lists[n++] = (struct block_list){
                fixed ? block_col_seed(l->col) : block_attr_seed(a->table, a->key, BLOCK_HAS_KEY),
                l->hash};
        }
    }
    struct block_known *k = w->root.facts.known = block_known_new(n);
    memcpy(k->names, w->names, sizeof(k->names));
    memcpy(k->lists, lists, n * sizeof(lists[0]));
    block_known_sort(k);
}

enum ec writer_filters(struct writer *w, struct err *err)
{
    TRY(note_keys(w, err));
    note_lists(w);
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
