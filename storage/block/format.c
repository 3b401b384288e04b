/* SPDX-License-Identifier: Apache-2.0
 * Header, trailer and root of a block file: bytes in, checked structs out. See format.h. */
#include "format.h"

#include <stdlib.h>

#include "base/hash.h"
#include "filter.h"

uint64_t block_salt(const uint8_t uuid[16])
{
    return hash64(uuid, 16);
}

uint64_t block_page_sum(uint64_t salt, uint64_t offset, const void *p, size_t n)
{
    return hash64_seed(p, n, block_page_seed(salt, offset));
}

/* magic 8, version u32, header size u32, uuid 16, zero 24, checksum u64 of the first 56 bytes. */
void block_header_put(uint8_t out[BLOCK_HEADER_BYTES], const uint8_t uuid[16])
{
    memset(out, 0, BLOCK_HEADER_BYTES);
    memcpy(out, BLOCK_MAGIC, 8);
    put_u32le(out + 8, BLOCK_VERSION);
    put_u32le(out + 12, BLOCK_HEADER_BYTES);
    memcpy(out + 16, uuid, 16);
    put_u64le(out + 56, hash64(out, 56));
}

static enum ec version_check(const char *where, uint32_t version, struct err *err)
{
    if (version == 0 || version > BLOCK_VERSION)
        return ERR(err, EC_UNSUPPORTED, "%s: version %u, this program reads up to %u", where,
            version, BLOCK_VERSION);
    return EC_OK;
}

enum ec block_header_check(
    const uint8_t in[BLOCK_HEADER_BYTES], const uint8_t uuid[16], struct err *err)
{
    if (memcmp(in, BLOCK_MAGIC, 8) != 0)
        return ERR(err, EC_CORRUPT, "header: not a block");
    if (get_u64le(in + 56) != hash64(in, 56))
        return ERR(err, EC_CORRUPT, "header: checksum does not match");
    TRY(version_check("header", get_u32le(in + 8), err));
    if (memcmp(in + 16, uuid, 16) != 0)
        return ERR(err, EC_CORRUPT, "header: another block's id");
    return EC_OK;
}

/* root offset u64, root stored u32, root raw u32, root checksum u64, file size u64, salt u64,
 * version u32, zero u32, checksum u64 of the first 48 bytes, magic 8. */
void block_trailer_put(uint8_t out[BLOCK_TRAILER_BYTES], const struct page_ref *root,
    uint64_t file_bytes, uint64_t salt)
{
    memset(out, 0, BLOCK_TRAILER_BYTES);
    put_u64le(out, root->offset);
    put_u32le(out + 8, root->stored);
    put_u32le(out + 12, root->raw);
    put_u64le(out + 16, root->sum);
    put_u64le(out + 24, file_bytes);
    put_u64le(out + 32, salt);
    put_u32le(out + 40, BLOCK_VERSION);
    put_u64le(out + 48, hash64(out, 48));
    memcpy(out + 56, BLOCK_MAGIC, 8);
}

enum ec block_trailer_get(const uint8_t in[BLOCK_TRAILER_BYTES], uint64_t file_bytes,
    struct page_ref *ret_root, uint64_t *ret_salt, struct err *err)
{
    if (memcmp(in + 56, BLOCK_MAGIC, 8) != 0)
        return ERR(err, EC_CORRUPT, "trailer: not a block, or cut short");
    if (get_u64le(in + 48) != hash64(in, 48))
        return ERR(err, EC_CORRUPT, "trailer: checksum does not match");
    TRY(version_check("trailer", get_u32le(in + 40), err));
    if (get_u64le(in + 24) != file_bytes)
        return ERR(err, EC_CORRUPT, "trailer: written as %llu bytes, the file has %llu",
            (unsigned long long)get_u64le(in + 24), (unsigned long long)file_bytes);
    struct page_ref root = {.offset = get_u64le(in),
        .stored = get_u32le(in + 8),
        .raw = get_u32le(in + 12),
        .sum = get_u64le(in + 16)};
    uint64_t room = file_bytes - BLOCK_TRAILER_BYTES;
    if (root.offset < BLOCK_HEADER_BYTES || root.offset > room ||
        root.stored > room - root.offset || root.raw > PAGE_RAW_MAX)
        return ERR(err, EC_CORRUPT, "trailer: footer lies outside of the file");
    *ret_root = root;
    *ret_salt = get_u64le(in + 32);
    return EC_OK;
}

static void page_ref_put(struct buf *out, const struct page_ref *p)
{
    buf_put_varint(out, p->offset);
    buf_put_varint(out, p->stored);
    buf_put_varint(out, p->raw);
    buf_put_u64le(out, p->sum);
}

static struct page_ref page_ref_get(struct cur *c, uint64_t file_bytes)
{
    struct page_ref p;
    p.offset = cur_varint(c);
    p.stored = cur_u32(c);
    p.raw = cur_u32(c);
    p.sum = cur_u64le(c);
    if (p.offset < BLOCK_HEADER_BYTES || p.offset > file_bytes ||
        p.stored > file_bytes - p.offset || p.raw > PAGE_RAW_MAX)
        c->bad = true;
    return p;
}

void block_root_encode(struct buf *out, const struct block_root *r)
{
    const struct block_facts *f = &r->facts;
    buf_put_varint(out, r->tenant.n);
    buf_put(out, r->tenant.p, r->tenant.n);
    buf_put(out, f->uuid, 16);
    buf_put_varint(out, f->level);
    buf_put_varint(out, f->lsn_first);
    buf_put_varint(out, f->lsn_last);
    buf_put_varint(out, f->n_inputs);
    for (uint32_t i = 0; i < f->n_inputs; i++)
        buf_put(out, f->inputs[i], 16);
    buf_put_varint(out, f->n_spans);
    buf_put_varint(out, f->n_traces);
    buf_put_varint(out, f->min_start_ns);
    buf_put_varint(out, f->max_end_ns);
    buf_put_varint(out, f->min_arrival_s);
    buf_put_varint(out, f->max_arrival_s);
    buf_put_varint(out, r->n_groups);
    buf_put_varint(out, r->n_resources);
    buf_put_varint(out, r->n_scopes);
    buf_put_varint(out, r->n_events);
    buf_put_varint(out, r->n_links);
    page_ref_put(out, &r->schema);
    for (uint32_t i = 0; i < r->n_trace_pages; i++) {
        buf_put_varint(out, r->trace_page_rows[i + 1] - r->trace_page_rows[i]);
        page_ref_put(out, &r->trace_pages[i]);
    }
    for (uint32_t i = 0; i < r->n_id_pages; i++) {
        buf_put(out, r->id_pages[i].first.b, 16);
        page_ref_put(out, &r->id_pages[i].page);
    }
    const struct block_known *k = f->known;
    if (k == NULL)
        return; /* of version 1 */
    buf_put_varint(out, r->ids.n_pages);
    buf_put_varint(out, r->values.n_pages);
    for (uint32_t i = 0; i < r->ids.n_pages; i++)
        page_ref_put(out, &r->ids.pages[i]);
    for (uint32_t i = 0; i < r->values.n_pages; i++)
        page_ref_put(out, &r->values.pages[i]);
    for (unsigned t = 0; t < TABLE_COUNT; t++)
        buf_put_u64le(out, k->names[t]);
    buf_put_varint(out, k->n_lists);
    for (uint32_t i = 0; i < k->n_lists; i++) {
        buf_put_u64le(out, k->lists[i].key);
        buf_put_u64le(out, k->lists[i].hash);
    }
}

/* The scalars at the start: needs no memory, and bounds what follows. Strings stay views into c. */
static enum ec root_get_head(struct cur *c, uint64_t file_bytes, struct block_root *r,
    struct bytes *ret_inputs, struct err *err)
{
    struct block_facts *f = &r->facts;
    uint64_t tenant_n = cur_varint(c);
    r->tenant = str_n((const char *)cur_take(c, tenant_n), (size_t)tenant_n);
    const uint8_t *uuid = cur_take(c, 16);
    f->level = cur_u32(c);
    f->lsn_first = cur_varint(c);
    f->lsn_last = cur_varint(c);
    f->n_inputs = cur_u32(c);
    *ret_inputs = bytes_n(cur_take(c, (uint64_t)f->n_inputs * 16), (size_t)f->n_inputs * 16);
    f->n_spans = cur_u32(c);
    f->n_traces = cur_u32(c);
    f->min_start_ns = cur_varint(c);
    f->max_end_ns = cur_varint(c);
    f->min_arrival_s = cur_u32(c);
    f->max_arrival_s = cur_u32(c);
    f->file_bytes = file_bytes;
    r->n_groups = cur_u32(c);
    r->n_resources = cur_u32(c);
    r->n_scopes = cur_u32(c);
    r->n_events = cur_u32(c);
    r->n_links = cur_u32(c);
    r->schema = page_ref_get(c, file_bytes);
    if (c->bad || uuid == NULL || tenant_n > BLOCK_TENANT_MAX || f->n_inputs > BLOCK_INPUTS_MAX)
        return ERR(err, EC_CORRUPT, "footer: root is cut short or out of bounds");
    memcpy(f->uuid, uuid, 16);
    if (f->n_traces > f->n_spans || r->n_groups > f->n_spans || f->n_spans == UINT32_MAX ||
        (f->n_spans > 0 && (f->n_traces == 0 || r->n_groups == 0)))
        return ERR(err, EC_CORRUPT, "footer: %llu spans, %llu traces, %u groups",
            (unsigned long long)f->n_spans, (unsigned long long)f->n_traces, r->n_groups);
    return EC_OK;
}

static enum ec root_get_pages(
    struct cur *c, uint64_t file_bytes, struct block_root *r, struct err *err)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < r->n_trace_pages; i++) {
        r->trace_page_rows[i] = (uint32_t)rows;
        rows += cur_u32(c);
        if (rows > r->facts.n_spans)
            c->bad = true;
        r->trace_pages[i] = page_ref_get(c, file_bytes);
        if (c->bad)
            return ERR(err, EC_CORRUPT, "footer: trace page %u", i);
    }
    r->trace_page_rows[r->n_trace_pages] = (uint32_t)rows;
    if (rows != r->facts.n_spans)
        return ERR(err, EC_CORRUPT, "footer: traces have %llu rows of %llu",
            (unsigned long long)rows, (unsigned long long)r->facts.n_spans);
    for (uint32_t i = 0; i < r->n_id_pages; i++) {
        const uint8_t *first = cur_take(c, 16);
        if (first != NULL)
            memcpy(r->id_pages[i].first.b, first, 16);
        r->id_pages[i].page = page_ref_get(c, file_bytes);
        if (c->bad)
            return ERR(err, EC_CORRUPT, "footer: id page %u", i);
        if (i > 0 && trace_id_cmp(&r->id_pages[i - 1].first, &r->id_pages[i].first) >= 0)
            return ERR(err, EC_CORRUPT, "footer: id page %u is out of order", i);
    }
    return EC_OK;
}

static enum ec root_get_filter(
    struct cur *c, uint64_t file_bytes, struct block_filter *f, struct err *err)
{
    for (uint32_t i = 0; i < f->n_pages; i++) {
        struct page_ref p = page_ref_get(c, file_bytes);
        if (c->bad || p.raw == 0 || p.raw % 32 != 0 || p.raw > FILTER_PAGE_BYTES ||
            p.stored > FILTER_STORED_MAX || (i > 0 && p.raw != f->pages[0].raw))
            return ERR(err, EC_CORRUPT, "footer: filter page %u", i);
        f->pages[i] = p;
    }
    return EC_OK;
}

/* Names, since version 2, and lists, since version 3. */
static enum ec root_get_known(struct cur *c, struct block_root *r, struct err *err)
{
    uint64_t names[TABLE_COUNT], n = 0;
    for (unsigned t = 0; t < TABLE_COUNT; t++)
        names[t] = cur_u64le(c);
    if (c->p != c->end)
        n = cur_varint(c);
    if (c->bad || n > BLOCK_LISTS_MAX || n * 16 != cur_left(c))
        return ERR(err, EC_CORRUPT, "footer: %zu bytes after the root", cur_left(c));
    struct block_known *k = r->facts.known = block_known_new((uint32_t)n);
    memcpy(k->names, names, sizeof(names));
    for (uint32_t i = 0; i < n; i++) {
        k->lists[i].key = cur_u64le(c);
        k->lists[i].hash = cur_u64le(c);
        if (i > 0 && k->lists[i].key <= k->lists[i - 1].key)
            return ERR(err, EC_CORRUPT, "footer: list %u is out of order", i);
    }
    return EC_OK;
}

/* What version 2 has behind the page index. */
static enum ec root_get_filters(struct cur *c, uint64_t file_bytes, struct block_root *r,
    struct budget *budget, struct err *err)
{
    if (c->p == c->end)
        return EC_OK;
    uint64_t n_ids = cur_u32(c), n_values = cur_u32(c);
    if (c->bad || (n_ids + n_values) * 11 + 8ULL * TABLE_COUNT > cur_left(c))
        return ERR(err, EC_CORRUPT, "footer: filters are cut short");
    uint64_t bytes = (n_ids + n_values) * sizeof(struct page_ref);
    if (!budget_take(budget, bytes))
        return ERR(err, EC_LIMIT, "filter index of %llu bytes is over the memory budget",
            (unsigned long long)bytes);
    r->filter_bytes = bytes;
    r->ids = (struct block_filter){(uint32_t)n_ids, xmalloc(bytes + 1)};
    r->values = (struct block_filter){(uint32_t)n_values, r->ids.pages + n_ids};
    TRY(root_get_filter(c, file_bytes, &r->ids, err));
    TRY(root_get_filter(c, file_bytes, &r->values, err));
    return root_get_known(c, r, err);
}

enum ec block_root_decode(struct bytes raw, uint64_t file_bytes, uint64_t salt,
    struct budget *budget, struct block_root **ret, struct err *err)
{
    struct cur c = {raw.p, raw.p + raw.n, false};
    struct block_root head = {.salt = salt};
    struct bytes inputs;
    TRY(root_get_head(&c, file_bytes, &head, &inputs, err));
    if (block_salt(head.facts.uuid) != salt)
        return ERR(err, EC_CORRUPT, "footer: salt does not belong to the block id");
    uint64_t n_traces = head.facts.n_traces;
    head.n_trace_pages = (uint32_t)((n_traces + BLOCK_TRACE_PAGE - 1) / BLOCK_TRACE_PAGE);
    head.n_id_pages = (uint32_t)((n_traces + BLOCK_ID_PAGE - 1) / BLOCK_ID_PAGE);
    /* A page reference is at least 11 bytes, so memory below is at most a few times the raw
     * bytes. */
    if (head.n_trace_pages * 11ULL + head.n_id_pages * 27ULL > cur_left(&c))
        return ERR(err, EC_CORRUPT, "footer: page index is cut short");
    uint64_t pages_off = sizeof(head);
    uint64_t ids_off = pages_off + head.n_trace_pages * sizeof(struct page_ref);
    uint64_t rows_off = ids_off + head.n_id_pages * sizeof(struct id_page);
    uint64_t inputs_off = rows_off + (head.n_trace_pages + 1ULL) * 4;
    uint64_t tenant_off = inputs_off + inputs.n;
    head.bytes = tenant_off + head.tenant.n + 1;
    if (!budget_take(budget, head.bytes))
        return ERR(err, EC_LIMIT, "footer of %llu bytes is over the memory budget",
            (unsigned long long)head.bytes);

    struct block_root *r = xmalloc(head.bytes);
    *r = head;
    uint8_t *mem = (uint8_t *)r;
    r->trace_pages = (struct page_ref *)(void *)(mem + pages_off);
    r->id_pages = (struct id_page *)(void *)(mem + ids_off);
    r->trace_page_rows = (uint32_t *)(void *)(mem + rows_off);
    r->facts.inputs = (uint8_t(*)[16])(mem + inputs_off);
    if (inputs.n > 0)
        memcpy(r->facts.inputs, inputs.p, inputs.n);
    if (head.tenant.n > 0)
        memcpy(mem + tenant_off, head.tenant.p, head.tenant.n);
    mem[tenant_off + head.tenant.n] = 0;
    r->tenant = str_n((const char *)mem + tenant_off, head.tenant.n);
    enum ec ec = root_get_pages(&c, file_bytes, r, err);
    if (ec == EC_OK)
        ec = root_get_filters(&c, file_bytes, r, budget, err);
    if (ec != EC_OK) {
        block_root_free(r, budget);
        return ec;
    }
    *ret = r;
    return EC_OK;
}

void block_root_free(struct block_root *r, struct budget *budget)
{
    if (r == NULL)
        return;
    budget_give(budget, r->bytes + r->filter_bytes);
    free(r->ids.pages);
    block_known_unref(r->facts.known);
    free(r);
}
