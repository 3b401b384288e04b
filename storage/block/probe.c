/* SPDX-License-Identifier: Apache-2.0
 * Questions to a block that need no reader: one small page of a filter each, kept in the page
 * cache. On any trouble the answer is "perhaps": who then opens a reader meets the damage, too. */
#include <stdlib.h>

#include "filter.h"
#include "reader.h"

static struct block *block_of(struct part *p)
{
    return CONTAINER_OF(p, struct block, part);
}

static const struct block_root *root_of(struct block *b)
{
    if (block_root_load(b, NULL) != EC_OK)
        return NULL;
    return atomic_load_explicit(&b->root, memory_order_acquire);
}

/* The end of a file has root, schema and the filter over ids; more of them in a larger block. */
#define AHEAD_BYTES(size) (16384u + (size) / 128)
#define AHEAD_HEADER      4096u

bool block_cold(struct part *p, bool ahead)
{
    struct block *b = block_of(p);
    uint64_t size = b->brief.bytes, tail = MIN(size, AHEAD_BYTES(size));
    int fd;
    if (LIKELY(atomic_load_explicit(&b->root, memory_order_acquire) != NULL))
        return false;
    /* What cannot be opened is found by who asks. */
    if (ahead && block_file_take(b, &fd, NULL) == EC_OK) {
        io_read_ahead(b->io, fd, 0, AHEAD_HEADER);
        io_read_ahead(b->io, fd, size - tail, tail);
        block_file_give(b);
    }
    return true;
}

static enum ec filter_read(struct block *b, const struct block_root *root,
    const struct page_ref *ref, uint8_t *out, struct err *err)
{
    uint8_t stored[FILTER_STORED_MAX]; /* checked when the root was read */
    struct page_in in;
    struct buf scratch = BUF_INIT; /* stays empty: filters are not compressed */
    ASSERT(ref->stored <= sizeof(stored));
    TRY(block_page_pread(b, ref, root->salt, stored, err));
    page_in_init(&in, bytes_n(stored, ref->stored), ref->raw, &scratch);
    enum ec ec = section_get_into(&in, ref->raw, out, err);
    if (ec == EC_OK)
        ec = page_in_end(&in, err);
    buf_deinit(&scratch);
    return ec;
}

/* Pinned; NULL: it cannot be had. */
static struct cached *filter_page(struct block *b, const struct block_root *root,
    const struct block_filter *f, enum object_kind kind, uint32_t page)
{
    uint64_t key = object_key(kind, page);
    struct cached *o = block_cache_find(b->cache, b->serial, key);
    if (LIKELY(o != NULL))
        return o;
    const struct page_ref *ref = &f->pages[page];
    struct err err = {0};
    o = block_cache_alloc(b->cache, sizeof(struct filter_object) + ref->raw, NULL);
    if (o == NULL)
        return NULL;
    struct filter_object *of = CONTAINER_OF(o, struct filter_object, base);
    of->n_bytes = ref->raw;
    of->bytes = (const uint8_t *)(of + 1);
    enum ec ec = filter_read(b, root, ref, (uint8_t *)(of + 1), &err);
    if (ec != EC_OK) {
        block_cache_discard(o);
        (void)err_prefix(&err, "block %s: a filter", b->path);
        (void)block_damaged(b, ec, &err);
        return NULL;
    }
    return block_cache_add(b->cache, o, b->serial, key);
}

static bool filter_ask(struct block *b, const struct block_root *root, const struct block_filter *f,
    enum object_kind kind, uint64_t hash)
{
    if (f->n_pages == 0)
        return true;
    struct cached *o = filter_page(b, root, f, kind, filter_page_of(hash, f->n_pages));
    if (o == NULL)
        return true;
    const struct filter_object *of = CONTAINER_OF(o, struct filter_object, base);
    bool has = filter_has(of->bytes, of->n_bytes, hash);
    block_cache_unpin(o);
    return has;
}

bool block_peek(struct part *p, struct part_info *ret)
{
    const struct block *b = block_of(p);
    if (b->brief.n_rows == 0)
        return false;
    *ret = b->brief;
    return true;
}

/* Reads the whole filter over ids; NULL: no room for it, or it cannot be read. */
static struct id_filter *ids_load(struct block *b, const struct block_root *root)
{
    const struct block_filter *f = &root->ids;
    uint64_t bytes = sizeof(struct id_filter) + (uint64_t)f->n_pages * f->pages[0].raw;
    if (!block_cache_hold(b->cache, bytes))
        return NULL;
    struct id_filter *ids = xmalloc(bytes);
    *ids = (struct id_filter){.n_pages = f->n_pages, .n_bytes = f->pages[0].raw, .bytes = bytes};
    for (uint32_t i = 0; i < f->n_pages; i++) {
        struct err err = {0};
        uint8_t *page = ids->pages + (uint64_t)i * ids->n_bytes;
        enum ec ec = filter_read(b, root, &f->pages[i], page, &err);
        if (ec == EC_OK)
            continue;
        (void)err_prefix(&err, "block %s: the filter of ids", b->path);
        (void)block_damaged(b, ec, &err);
        block_cache_let_go(b->cache, bytes);
        free(ids);
        return NULL;
    }
    struct id_filter *none = NULL;
    if (atomic_compare_exchange_strong_explicit(
            &b->ids, &none, ids, memory_order_acq_rel, memory_order_acquire))
        return ids;
    block_cache_let_go(b->cache, bytes); /* another thread was faster */
    free(ids);
    return none;
}

bool block_may_hold(struct part *p, const struct trace_id *id)
{
    struct block *b = block_of(p);
    uint64_t hash = block_id_hash(id);
    const struct id_filter *ids = atomic_load_explicit(&b->ids, memory_order_acquire);
    if (UNLIKELY(ids == NULL)) {
        const struct block_root *root = root_of(b);
        if (root == NULL || root->ids.n_pages == 0)
            return true;
        ids = ids_load(b, root);
        if (ids == NULL)
            return filter_ask(b, root, &root->ids, OBJECT_ID_FILTER, hash);
    }
    uint32_t page = filter_page_of(hash, ids->n_pages);
    return filter_has(ids->pages + (uint64_t)page * ids->n_bytes, ids->n_bytes, hash);
}

static bool value_ask(struct part *p, uint64_t hash)
{
    struct block *b = block_of(p);
    const struct block_root *root = root_of(b);
    return root == NULL || filter_ask(b, root, &root->values, OBJECT_VALUE_FILTER, hash);
}

bool block_may_equal(
    struct part *p, enum part_table t, struct str key, col_id col, struct str value)
{
    uint64_t seed = key.p == NULL ? block_col_seed(col) : block_attr_seed(t, key, BLOCK_HAS_STRING);
    return value_ask(p, block_value_hash(seed, filter_hash(value)));
}

bool block_may_key(struct part *p, enum part_table t, struct str key, bool array)
{
    return value_ask(p, block_attr_seed(t, key, array ? BLOCK_HAS_ARRAY : BLOCK_HAS_KEY));
}

/* From the catalog or, where that does not have it, from the root. */
static const struct block_known *known_of(struct block *b)
{
    if (LIKELY(b->known != NULL))
        return b->known;
    const struct block_root *root = root_of(b);
    return root == NULL ? NULL : root->facts.known;
}

bool block_knows(struct part *p)
{
    const struct block *b = block_of(p);
    return b->known != NULL || atomic_load_explicit(&b->root, memory_order_acquire) != NULL;
}

bool block_names(struct part *p, uint64_t ret[TABLE_COUNT])
{
    const struct block_known *k = known_of(block_of(p));
    if (k == NULL)
        return false;
    memcpy(ret, k->names, sizeof(k->names));
    return true;
}

bool block_strings(
    struct part *p, enum part_table t, struct str key, col_id col, uint64_t *ret_list)
{
    const struct block_list *l = block_known_find(known_of(block_of(p)), t, key, col);
    if (l == NULL)
        return false;
    *ret_list = l->hash;
    return true;
}
