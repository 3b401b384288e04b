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

bool block_cold(struct part *p, bool ahead)
{
    struct block *b = block_of(p);
    uint64_t size = b->brief.bytes, tail = MIN(size, AHEAD_BYTES(size));
    int fd;
    if (LIKELY(atomic_load_explicit(&b->root, memory_order_acquire) != NULL))
        return false;
    /* What cannot be opened is found by who asks. */
    if (ahead && block_file_take(b, &fd, NULL) == EC_OK) {
        io_read_ahead(b->io, fd, size - tail, tail);
        block_file_give(b);
    }
    return true;
}

/* Bits of a page out of its stored bytes, which they stay in. */
static enum ec filter_bits(
    const struct page_ref *ref, const uint8_t *stored, const uint8_t **ret, struct err *err)
{
    struct page_in in;
    struct buf scratch = BUF_INIT;
    page_in_init(&in, bytes_n(stored, ref->stored), ref->raw, &scratch);
    enum ec ec = section_get(&in, ref->raw, ret, err);
    if (ec == EC_OK)
        ec = page_in_end(&in, err);
    if (ec == EC_OK && scratch.p != NULL)
        ec = ERR(err, EC_CORRUPT, "a filter page is compressed");
    buf_deinit(&scratch);
    return ec;
}

static void filter_damaged(struct block *b, enum ec ec, struct err *err)
{
    (void)err_prefix(err, "block %s: a filter", b->path);
    (void)block_damaged(b, ec, err);
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
    o = block_cache_alloc(b->cache, sizeof(struct filter_object) + ref->stored, NULL);
    if (o == NULL)
        return NULL;
    struct filter_object *of = CONTAINER_OF(o, struct filter_object, base);
    uint8_t *stored = (uint8_t *)(of + 1);
    enum ec ec = block_page_pread(b, ref, root->salt, stored, &err);
    if (ec == EC_OK)
        ec = filter_bits(ref, stored, &of->bytes, &err);
    if (ec != EC_OK) {
        block_cache_discard(o);
        filter_damaged(b, ec, &err);
        return NULL;
    }
    of->n_bytes = ref->raw;
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

/* All pages, as they are stored. *ret_head: what comes before the bits of each. */
static enum ec ids_read(struct block *b, const struct block_root *root, uint8_t *out,
    uint32_t *ret_head, struct err *err)
{
    const struct block_filter *f = &root->ids;
    uint32_t stride = f->pages[0].stored, head = 0;
    for (uint32_t i = 0, n; i < f->n_pages; i += n) {
        for (n = 1; i + n < f->n_pages; n++)
            if (f->pages[i + n].offset != f->pages[i].offset + (uint64_t)n * stride)
                break;
        for (uint32_t k = i; k < i + n; k++)
            if (f->pages[k].stored != stride)
                return ERR(err, EC_CORRUPT, "page %u has %u bytes", k, f->pages[k].stored);
        TRY(block_pages_pread(b, &f->pages[i], n, root->salt, out + (uint64_t)i * stride, err));
    }
    for (uint32_t i = 0; i < f->n_pages; i++) {
        const uint8_t *page = out + (uint64_t)i * stride, *bits = page;
        TRY(filter_bits(&f->pages[i], page, &bits, err));
        head = (uint32_t)(bits - page);
        if (head != stride - f->pages[i].raw)
            return ERR(err, EC_CORRUPT, "page %u has more than a section", i);
    }
    *ret_head = head;
    return EC_OK;
}

/* Reads the whole filter over ids, unless there is no room for it, or it cannot be read. */
static void ids_load(struct block *b, const struct block_root *root)
{
    const struct block_filter *f = &root->ids;
    struct id_filter *ids = &b->ids;
    uint64_t bytes = (uint64_t)f->n_pages * f->pages[0].stored;
    uint32_t head = 0;
    struct err err = {0};
    enum ec ec = EC_OK;
    pthread_mutex_lock(&b->lock);
    uint8_t *stored = ids->stored == NULL ? block_cache_hold(b->cache, bytes) : NULL;
    if (stored != NULL) {
        ec = ids_read(b, root, stored, &head, &err);
        if (ec == EC_OK) {
            ids->n_pages = f->n_pages;
            ids->n_bytes = (uint16_t)f->pages[0].raw; /* FILTER_STORED_MAX */
            ids->stride = (uint16_t)f->pages[0].stored;
            ids->stored = stored;
            ids->bytes = bytes;
            atomic_store_explicit(&ids->first, stored + head, memory_order_release);
        } else {
            block_cache_let_go(b->cache, stored, bytes);
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (ec != EC_OK)
        filter_damaged(b, ec, &err);
}

static const uint8_t *ids_page(const struct id_filter *ids, const uint8_t *first, uint64_t hash)
{
    return first + (uint64_t)filter_page_of(hash, ids->n_pages) * ids->stride;
}

void block_hold_soon(const struct part *p, const struct trace_id *id)
{
    const struct id_filter *ids = &((const struct block *)(const void *)p)->ids; /* first member */
    const uint8_t *first = atomic_load_explicit(&ids->first, memory_order_acquire);
    uint64_t hash = block_id_hash(id);
    if (first == NULL || ids->n_bytes < 32)
        return;
    __builtin_prefetch(ids_page(ids, first, hash) + filter_block_of(hash, ids->n_bytes) * 32);
}

bool block_may_hold(struct part *p, const struct trace_id *id)
{
    struct block *b = block_of(p);
    uint64_t hash = block_id_hash(id);
    const uint8_t *first = atomic_load_explicit(&b->ids.first, memory_order_acquire);
    if (UNLIKELY(first == NULL)) {
        const struct block_root *root = root_of(b);
        if (root == NULL || root->ids.n_pages == 0)
            return true;
        ids_load(b, root);
        first = atomic_load_explicit(&b->ids.first, memory_order_acquire);
        if (first == NULL)
            return filter_ask(b, root, &root->ids, OBJECT_ID_FILTER, hash);
    }
    return filter_has(ids_page(&b->ids, first, hash), b->ids.n_bytes, hash);
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
