/* SPDX-License-Identifier: Apache-2.0
 * Objects of a reader: found among its pins, else in the cache, else read, checked and decoded.
 *
 * An object's size is known from the footer before its pages are read, so it is charged first and
 * decoded straight into place. Whatever is decoded is checked so that users need no checks: codes
 * are below their dictionary's size, rows below the group's, offsets ascend. */
#include <stdlib.h>

#include "base/hash.h"
#include "reader.h"

static struct pin_slot *pin_slot(struct pin_slot *pins, uint32_t cap, uint64_t key)
{
    uint32_t i = (uint32_t)hash_mix(key) & (cap - 1);
    while (pins[i].key != 0 && pins[i].key != key)
        i = (i + 1) & (cap - 1);
    return &pins[i];
}

/* Room for one more pin, before the object exists: afterwards nothing can fail. */
static enum ec pins_reserve(struct block_reader *r, struct err *err)
{
    if ((r->pins_n + 1) * 2 <= r->pins_cap)
        return EC_OK;
    uint32_t cap = r->pins_cap == 0 ? 16 : r->pins_cap * 2;
    struct pin_slot *pins = ARENA_ARRAY(&r->arena, cap, struct pin_slot);
    if (pins == NULL)
        return ERR(err, EC_LIMIT, "%u pinned pages are over the memory budget", cap);
    for (uint32_t i = 0; i < r->pins_cap; i++)
        if (r->pins[i].key != 0)
            *pin_slot(pins, cap, r->pins[i].key) = r->pins[i];
    r->pins = pins;
    r->pins_cap = cap;
    return EC_OK;
}

/* Pinned already, or in the cache; NULL otherwise (and room for a new pin is reserved). */
static enum ec object_find(
    struct block_reader *r, uint64_t key, struct cached **ret, struct err *err)
{
    if (r->pins_cap > 0) {
        struct pin_slot *s = pin_slot(r->pins, r->pins_cap, key);
        if (s->key == key) {
            *ret = s->object;
            return EC_OK;
        }
    }
    TRY(pins_reserve(r, err));
    struct cached *o = block_cache_find(r->b->cache, r->b->serial, key);
    if (o != NULL) {
        *pin_slot(r->pins, r->pins_cap, key) = (struct pin_slot){key, o};
        r->pins_n++;
    }
    *ret = o;
    return EC_OK;
}

/* `once`: its reader will not come back for it (part.h). */
static enum ec object_alloc(
    struct block_reader *r, uint64_t bytes, bool once, struct cached **ret, struct err *err)
{
    *ret = once ? block_cache_alloc_private(bytes, r->base.budget)
                : block_cache_alloc(r->b->cache, bytes, r->base.budget);
    if (*ret == NULL)
        return ERR(err, EC_LIMIT, "block page of %llu bytes is over the memory budget",
            (unsigned long long)bytes);
    return EC_OK;
}

/* The object was filled with result ec: publish and pin it, or drop it and tell about damage. */
static enum ec object_done(struct block_reader *r, uint64_t key, struct cached *o, enum ec ec,
    struct cached **ret, struct err *err)
{
    if (ec != EC_OK) {
        struct err local = {.code = ec, .msg = "a page cannot be decoded"};
        block_cache_discard(o);
        return block_damaged(r->b, ec, err != NULL ? err : &local);
    }
    o = block_cache_add(r->b->cache, o, r->b->serial, key);
    *pin_slot(r->pins, r->pins_cap, key) = (struct pin_slot){key, o};
    r->pins_n++;
    *ret = o;
    return EC_OK;
}

/* Schema. */

enum ec block_load_schema(struct block_reader *r, struct err *err)
{
    if (LIKELY(r->schema != NULL))
        return EC_OK;
    uint64_t key = object_key(OBJECT_SCHEMA, 0);
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        const struct page_ref *ref = &r->root->schema;
        struct page_in in;
        struct bytes stored;
        const uint8_t *raw;
        uint64_t bytes;
        TRY(block_page_read(r, ref, &stored, err));
        page_in_init(&in, stored, ref->raw, &r->scratch);
        enum ec ec = section_get(&in, ref->raw, &raw, err);
        if (ec == EC_OK)
            ec = block_schema_size(bytes_n(raw, ref->raw), &bytes, err);
        if (ec != EC_OK)
            return object_done(r, key, NULL, ec, &o, err);
        TRY(object_alloc(r, sizeof(struct schema_object) + bytes, false, &o, err));
        struct schema_object *so = CONTAINER_OF(o, struct schema_object, base);
        ec = block_schema_decode(
            bytes_n(raw, ref->raw), r->root, r->b->file_bytes, so + 1, &so->schema, err);
        TRY(object_done(r, key, o, ec, &o, err));
    }
    r->schema = CONTAINER_OF(o, struct schema_object, base)->schema;
    return EC_OK;
}

/* Trace table. */

/* A reader that goes over many traces asks for the same pages again and again: by number, not by
 * hash. */
#define PINS_MANY 16u

static enum ec page_tables(struct block_reader *r, struct err *err)
{
    if (LIKELY(r->trace_pages != NULL) || r->pins_n < PINS_MANY)
        return EC_OK;
    r->id_pages = ARENA_ARRAY(&r->arena, r->root->n_id_pages, const struct ids_object *);
    r->trace_pages = ARENA_ARRAY(&r->arena, r->root->n_trace_pages, const struct traces_object *);
    if (r->id_pages != NULL && r->trace_pages != NULL)
        return EC_OK;
    r->id_pages = NULL;
    r->trace_pages = NULL;
    return ERR(err, EC_LIMIT, "the pages of a trace table are over the memory budget");
}

static enum ec traces_fill(
    struct block_reader *r, uint32_t page, struct traces_object *t, struct err *err)
{
    const struct block_root *root = r->root;
    struct page_in in;
    struct bytes stored;
    TRY(block_page_read(r, &root->trace_pages[page], &stored, err));
    page_in_init(&in, stored, root->trace_pages[page].raw, &r->scratch);
    TRY(ints_get(&in, t->n, 8, t->start, err));
    TRY(ints_get(&in, t->n, 8, t->duration, err));
    TRY(ints_get(&in, t->n, 4, t->row_first + 1, err));
    TRY(ints_get(&in, t->n, 4, t->root, err));
    TRY(ints_get(&in, t->n, 4, t->id_pos, err));
    TRY(page_in_end(&in, err));
    t->row_first[0] = root->trace_page_rows[page];
    uint64_t rows = t->row_first[0];
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t n = t->row_first[i + 1];
        rows += n;
        if (n == 0 || rows > root->trace_page_rows[page + 1] || t->root[i] > n ||
            t->id_pos[i] >= root->facts.n_traces)
            return ERR(err, EC_CORRUPT, "trace page %u: trace %u has %u rows", page, i, n);
        t->row_first[i + 1] = (uint32_t)rows;
    }
    if (rows != root->trace_page_rows[page + 1])
        return ERR(
            err, EC_CORRUPT, "trace page %u: rows end at %llu", page, (unsigned long long)rows);
    return EC_OK;
}

enum ec block_load_traces(
    struct block_reader *r, uint32_t page, const struct traces_object **ret, struct err *err)
{
    ASSERT(page < r->root->n_trace_pages);
    if (LIKELY(r->trace_pages != NULL && r->trace_pages[page] != NULL)) {
        *ret = r->trace_pages[page];
        return EC_OK;
    }
    TRY(page_tables(r, err));
    uint64_t key = object_key(OBJECT_TRACES, page);
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        uint32_t first = page * BLOCK_TRACE_PAGE;
        uint32_t n = MIN(BLOCK_TRACE_PAGE, (uint32_t)r->root->facts.n_traces - first);
        TRY(object_alloc(r, sizeof(struct traces_object) + n * 28ULL + 4, false, &o, err));
        struct traces_object *t = CONTAINER_OF(o, struct traces_object, base);
        t->n = n;
        t->start = (uint64_t *)(void *)(t + 1);
        t->duration = t->start + n;
        t->root = (uint32_t *)(void *)(t->duration + n);
        t->id_pos = t->root + n;
        t->row_first = t->id_pos + n;
        TRY(object_done(r, key, o, traces_fill(r, page, t, err), &o, err));
    }
    *ret = CONTAINER_OF(o, struct traces_object, base);
    if (r->trace_pages != NULL)
        r->trace_pages[page] = *ret;
    return EC_OK;
}

static enum ec ids_fill(
    struct block_reader *r, uint32_t page, struct ids_object *t, struct err *err)
{
    const struct id_page *ref = &r->root->id_pages[page];
    struct page_in in;
    struct bytes stored;
    TRY(block_page_read(r, &ref->page, &stored, err));
    page_in_init(&in, stored, ref->page.raw, &r->scratch);
    TRY(section_get_into(&in, t->n * 16ULL, t->ids, err));
    TRY(ints_get(&in, t->n, 4, t->trace, err));
    TRY(page_in_end(&in, err));
    bool good = trace_id_eq(&t->ids[0], &ref->first);
    for (uint32_t i = 0; i < t->n; i++)
        good = good && t->trace[i] < r->root->facts.n_traces &&
               (i == 0 || trace_id_cmp(&t->ids[i - 1], &t->ids[i]) < 0);
    return good ? EC_OK : ERR(err, EC_CORRUPT, "id page %u is out of order", page);
}

enum ec block_load_ids(
    struct block_reader *r, uint32_t page, const struct ids_object **ret, struct err *err)
{
    ASSERT(page < r->root->n_id_pages);
    if (LIKELY(r->id_pages != NULL && r->id_pages[page] != NULL)) {
        *ret = r->id_pages[page];
        return EC_OK;
    }
    TRY(page_tables(r, err));
    uint64_t key = object_key(OBJECT_IDS, page);
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        uint32_t n = MIN(BLOCK_ID_PAGE, (uint32_t)r->root->facts.n_traces - page * BLOCK_ID_PAGE);
        TRY(object_alloc(r, sizeof(struct ids_object) + n * 20ULL, r->base.once, &o, err));
        struct ids_object *t = CONTAINER_OF(o, struct ids_object, base);
        t->n = n;
        t->ids = (struct trace_id *)(void *)(t + 1);
        t->trace = (uint32_t *)(void *)(t->ids + n);
        TRY(object_done(r, key, o, ids_fill(r, page, t, err), &o, err));
    }
    *ret = CONTAINER_OF(o, struct ids_object, base);
    if (r->id_pages != NULL)
        r->id_pages[page] = *ret;
    return EC_OK;
}

/* Columns. */

enum ec block_load_dict(struct block_reader *r, const struct block_column *k,
    const struct dict_object **ret, struct err *err)
{
    uint64_t key = object_key(OBJECT_DICT, (uint64_t)(k - r->schema->columns));
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        uint64_t bytes = (k->dict_n + 1ULL) * 4 + k->dict_bytes;
        TRY(object_alloc(r, sizeof(struct dict_object) + bytes, r->base.once, &o, err));
        struct dict_object *d = CONTAINER_OF(o, struct dict_object, base);
        d->dict = (struct block_dict){.dict = {&block_dict_ops, true},
            .n = k->dict_n,
            .off = (uint32_t *)(void *)(d + 1),
            .bytes = (char *)(d + 1) + (k->dict_n + 1ULL) * 4};
        enum ec ec = block_dict_decode(r, &r->schema->pages[k->dict_page_first], k->n_dict_pages,
            &d->dict, k->dict_bytes, err);
        TRY(object_done(r, key, o, ec, &o, err));
    }
    *ret = CONTAINER_OF(o, struct dict_object, base);
    return EC_OK;
}

/* Row lists of each attribute column come out of these: even who reads once reads them often. */
static bool rows_come_of(col_id col)
{
    return col == COL_SPAN_SHAPE || col == COL_EVENT_SHAPE || col == COL_LINK_SHAPE;
}

enum ec block_load_chunk(struct block_reader *r, const struct block_column *k, uint32_t chunk,
    const struct chunk_object **ret, struct err *err)
{
    uint64_t key = object_key(OBJECT_CHUNK, chunk);
    const struct block_chunk *h = &r->schema->chunks[chunk];
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        bool once = r->base.once && !rows_come_of(k->col);
        TRY(object_alloc(r, block_chunk_bytes(r->schema, k, h), once, &o, err));
        struct chunk_object *c = CONTAINER_OF(o, struct chunk_object, base);
        enum ec ec = block_chunk_decode(r, k, h, c, err);
        if (ec != EC_OK)
            (void)err_prefix(err, "block %s: column %u", r->b->path, k->col);
        /* Decoding may have pinned other objects (the ids under parents). */
        if (ec == EC_OK && (ec = pins_reserve(r, err)) != EC_OK) {
            block_cache_discard(o);
            return ec;
        }
        TRY(object_done(r, key, o, ec, &o, err));
    }
    *ret = CONTAINER_OF(o, struct chunk_object, base);
    return EC_OK;
}

bool block_has_chunk(struct block_reader *r, uint32_t chunk)
{
    struct cached *o = NULL;
    return object_find(r, object_key(OBJECT_CHUNK, chunk), &o, NULL) == EC_OK && o != NULL;
}

static uint64_t rows_key(uint32_t g, col_id col)
{
    return object_key(OBJECT_ROWS, (uint64_t)g << 32 | col);
}

#define ROWS_GROUPS_MAX (1u << 24) /* a key has no room for more */

enum ec block_find_rows(
    struct block_reader *r, uint32_t g, col_id col, const struct rows_object **ret, struct err *err)
{
    struct cached *o = NULL;
    if (g < ROWS_GROUPS_MAX)
        TRY(object_find(r, rows_key(g, col), &o, err));
    *ret = o == NULL ? NULL : CONTAINER_OF(o, struct rows_object, base);
    return EC_OK;
}

void block_keep_rows(
    struct block_reader *r, uint32_t g, col_id col, const uint32_t *rows, uint32_t n, bool dense)
{
    uint64_t bytes = sizeof(struct rows_object) + (dense ? 0 : n * 4ULL);
    if (g >= ROWS_GROUPS_MAX || r->base.once || !block_cache_spares(r->b->cache, bytes))
        return;
    struct cached *o = block_cache_alloc(r->b->cache, bytes, r->base.budget);
    if (o == NULL)
        return;
    struct rows_object *kept = CONTAINER_OF(o, struct rows_object, base);
    kept->n = n;
    kept->dense = dense;
    if (!dense)
        memcpy(kept->rows, rows, n * sizeof(*rows));
    o = block_cache_add(r->b->cache, o, r->b->serial, rows_key(g, col));
    block_cache_unpin(o); /* this reader has its own */
}

enum ec block_load_filter(
    struct block_reader *r, uint32_t page, const struct filter_object **ret, struct err *err)
{
    uint64_t key = object_key(OBJECT_FILTER, page);
    const struct page_ref *ref = &r->schema->pages[page];
    struct cached *o;
    TRY(object_find(r, key, &o, err));
    if (o == NULL) {
        struct page_in in;
        struct bytes stored;
        TRY(object_alloc(r, sizeof(struct filter_object) + ref->raw, false, &o, err));
        struct filter_object *f = CONTAINER_OF(o, struct filter_object, base);
        f->n_bytes = ref->raw;
        f->bytes = (const uint8_t *)(f + 1);
        enum ec ec = block_page_read(r, ref, &stored, err);
        if (ec == EC_OK) {
            page_in_init(&in, stored, ref->raw, &r->scratch);
            ec = section_get_into(&in, ref->raw, f + 1, err);
        }
        TRY(object_done(r, key, o, ec, &o, err));
    }
    *ret = CONTAINER_OF(o, struct filter_object, base);
    return EC_OK;
}
