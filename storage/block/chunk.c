/* SPDX-License-Identifier: Apache-2.0
 * Decoding of chunks and dictionaries: pages in, arrays out. FORMAT.md sections 5 and 6.
 *
 * A chunk holds the values of one column for consecutive groups, in one allocation laid out by
 * block_chunk_bytes: header, group starts, rows of sparse columns, values, dictionary. */
#include <stdlib.h>

#include "reader.h"

/* Dictionaries. */

/* struct dict is the first member. */
static const struct block_dict *block_dict_of(const struct dict *d)
{
    return (const struct block_dict *)(const void *)d;
}
_Static_assert(offsetof(struct block_dict, dict) == 0, "block_dict_of casts");

static uint32_t block_dict_count(const struct dict *d)
{
    return block_dict_of(d)->n;
}

static struct str block_dict_get(const struct dict *d, uint32_t code)
{
    const struct block_dict *b = block_dict_of(d);
    ASSERT(code < b->n);
    return str_n(b->bytes + b->off[code], b->off[code + 1] - b->off[code]);
}

static bool block_dict_find_sorted(const struct block_dict *b, struct str s, uint32_t *ret_code)
{
    uint32_t lo = 0, hi = b->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int k = str_cmp(str_n(b->bytes + b->off[mid], b->off[mid + 1] - b->off[mid]), s);
        if (k == 0) {
            *ret_code = mid;
            return true;
        }
        if (k < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static bool block_dict_find(const struct dict *d, struct str s, uint32_t *ret_code)
{
    const struct block_dict *b = block_dict_of(d);
    if (d->sorted)
        return block_dict_find_sorted(b, s, ret_code);
    /* In order of appearance: lengths first, few strings are compared. */
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->off[i + 1] - b->off[i] == s.n &&
            (s.n == 0 || memcmp(b->bytes + b->off[i], s.p, s.n) == 0)) {
            *ret_code = i;
            return true;
        }
    }
    return false;
}

const struct dict_ops block_dict_ops = {block_dict_count, block_dict_get, block_dict_find};

static const struct some_dict *some_dict_of(const struct dict *d)
{
    return (const struct some_dict *)(const void *)d;
}
_Static_assert(offsetof(struct some_dict, dict) == 0, "some_dict_of casts");

static uint32_t some_dict_count(const struct dict *d)
{
    return some_dict_of(d)->n;
}

static struct str some_dict_get(const struct dict *d, uint32_t code)
{
    ASSERT(code < some_dict_of(d)->n);
    return some_dict_of(d)->strs[code];
}

static bool some_dict_find(const struct dict *d, struct str s, uint32_t *ret_code)
{
    for (uint32_t i = 0; i < some_dict_of(d)->n; i++) {
        if (str_eq(some_dict_of(d)->strs[i], s)) {
            *ret_code = i;
            return true;
        }
    }
    return false;
}

static const struct dict_ops some_dict_ops = {some_dict_count, some_dict_get, some_dict_find};

/* Goes over the pages of a dictionary, of which several come with one read. */
struct dict_pages {
    const struct page_ref *pages;
    uint32_t n, at;
    struct bytes read; /* of pages from `at` on */
    uint32_t n_read;
};

/* The next page; *ret_n: the strings in it. The rest of it are lengths and bytes. */
static enum ec dict_pages_next(struct block_reader *r, struct dict_pages *p, struct page_in *in,
    uint32_t *ret_n, struct err *err)
{
    const struct page_ref *page = &p->pages[p->at];
    if (p->n_read == 0)
        TRY(block_pages_read(r, page, p->n - p->at, &p->n_read, &p->read, err));
    page_in_init(in, bytes_n(p->read.p, page->stored), page->raw, &r->scratch);
    p->read = bytes_n(p->read.p + page->stored, p->read.n - page->stored);
    p->n_read--;
    p->at++;
    *ret_n = cur_u32(&in->c);
    return EC_OK;
}

enum ec block_dict_decode(struct block_reader *r, const struct page_ref *pages, uint32_t n_pages,
    struct block_dict *d, uint32_t dict_bytes, struct err *err)
{
    struct dict_pages p = {.pages = pages, .n = n_pages};
    uint32_t code = 0, at = 0, n = 0;
    d->off[0] = 0;
    while (p.at < p.n) {
        struct page_in in;
        TRY(dict_pages_next(r, &p, &in, &n, err));
        if (in.c.bad || n > d->n - code)
            return ERR(err, EC_CORRUPT, "dictionary page %u holds %u strings", p.at - 1, n);
        TRY(ints_get(&in, n, 4, d->off + code + 1, err));
        uint64_t end = at;
        for (uint32_t k = 0; k < n; k++) {
            end += d->off[code + 1 + k];
            if (end > dict_bytes)
                return ERR(
                    err, EC_CORRUPT, "dictionary page %u: string %u is too long", p.at - 1, k);
            d->off[code + 1 + k] = (uint32_t)end;
        }
        TRY(section_get_into(&in, end - at, d->bytes + at, err));
        TRY(page_in_end(&in, err));
        code += n;
        at = (uint32_t)end;
    }
    if (code != d->n || at != dict_bytes)
        return ERR(err, EC_CORRUPT, "dictionary has %u strings of %u", code, d->n);
    return EC_OK;
}

static int code_cmp(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The wanted strings of the next dictionary page, whose codes start at `base`; want[*at] is the
 * next code. A page that has none of them is not unpacked. */
static enum ec dict_page_some(struct block_reader *r, struct dict_pages *p, uint32_t *base,
    uint32_t dict_n, const uint32_t *want, uint32_t n_want, uint32_t *at, struct str *strs,
    struct err *err)
{
    struct page_in in;
    const uint8_t *bytes = NULL;
    uint32_t n = 0;
    TRY(dict_pages_next(r, p, &in, &n, err));
    if (in.c.bad || n > dict_n - *base)
        return ERR(err, EC_CORRUPT, "a dictionary page holds %u strings", n);
    if (want[*at] - *base >= n) {
        *base += n;
        return EC_OK;
    }
    uint32_t *lens = arena_alloc(&r->arena, n * 4ULL + 4);
    if (lens == NULL)
        return ERR(err, EC_LIMIT, "%u strings are over the memory budget", n);
    TRY(ints_get(&in, n, 4, lens, err));
    uint64_t all = 0, off = 0;
    for (uint32_t i = 0; i < n; i++)
        all += lens[i];
    TRY(section_get(&in, all, &bytes, err));
    TRY(page_in_end(&in, err));
    for (uint32_t i = 0; *at < n_want && want[*at] - *base < n; ++*at) {
        for (; i < want[*at] - *base; i++)
            off += lens[i];
        strs[*at] = arena_str(&r->arena, str_n((const char *)bytes + off, lens[i]));
        if (strs[*at].p == NULL && lens[i] > 0)
            return ERR(err, EC_LIMIT, "a string of %u bytes is over the memory budget", lens[i]);
    }
    *base += n;
    return EC_OK;
}

enum ec block_dict_some(struct block_reader *r, const struct page_ref *pages,
    const struct block_chunk *h, const uint32_t *codes, uint32_t n, uint32_t *ret_codes,
    struct some_dict *d, struct err *err)
{
    uint32_t *want = ARENA_ARRAY(&r->arena, n + 1ULL, uint32_t), n_want = 0, at = 0, base = 0;
    struct dict_pages p = {.pages = pages, .n = h->n_dict_pages};
    if (want == NULL || (d->strs = ARENA_ARRAY(&r->arena, n + 1ULL, struct str)) == NULL)
        return ERR(err, EC_LIMIT, "%u strings are over the memory budget", n);
    for (uint32_t i = 0; i < n; i++)
        want[i] = codes[i];
    qsort(want, n, sizeof(*want), code_cmp);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || want[i] != want[n_want - 1])
            want[n_want++] = want[i];
    while (p.at < p.n && at < n_want)
        TRY(dict_page_some(r, &p, &base, h->dict_n, want, n_want, &at, d->strs, err));
    if (at < n_want)
        return ERR(err, EC_CORRUPT, "dictionary has %u strings of %u", base, h->dict_n);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *found = bsearch(&codes[i], want, n_want, sizeof(*want), code_cmp);
        ret_codes[i] = (uint32_t)(found - want);
    }
    d->n = n_want;
    d->dict = (struct dict){&some_dict_ops, false};
    return EC_OK;
}

/* Chunks. */

unsigned col_phys_width(enum col_phys phys)
{
    switch (phys) {
    case PHYS_U8:
        return 1;
    case PHYS_U32:
    case PHYS_CODE:
        return 4;
    case PHYS_U64:
    case PHYS_I64:
    case PHYS_F64:
        return 8;
    case PHYS_ID16:
        return 16;
    }
    ASSERT(false && "a physical type");
}

uint32_t block_table_rows(
    const struct block_root *root, const struct block_schema *s, enum part_table t, uint32_t g)
{
    switch (t) {
    case TABLE_RESOURCES:
        return root->n_resources;
    case TABLE_SCOPES:
        return root->n_scopes;
    case TABLE_SPANS:
        return s->groups[g].part.n_rows;
    case TABLE_EVENTS:
        return s->groups[g].part.n_events;
    case TABLE_LINKS:
        return s->groups[g].part.n_links;
    case TABLE_COUNT:
        break;
    }
    ASSERT(false && "a table");
}

static uint64_t align8(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

uint64_t block_chunk_bytes(
    const struct block_schema *s, const struct block_column *k, const struct block_chunk *h)
{
    enum part_table table;
    enum col_phys phys;
    ASSERT(block_schema_phys(s, k->col, &table, &phys));
    uint64_t groups = (uint64_t)h->group_last - h->group_first + 1;
    uint64_t bytes = align8(sizeof(struct chunk_object)) + align8((groups + 1) * 4);
    if (part_col_sparse(k->col))
        bytes += align8(h->n_values * 4ULL);
    bytes += align8((uint64_t)h->n_values * col_phys_width(phys));
    if (k->flags & COLUMN_LOCAL)
        bytes += (h->dict_n + 1ULL) * 4 + h->dict_bytes;
    return bytes;
}

static void chunk_lay_out(const struct block_column *k, const struct block_chunk *h,
    enum col_phys phys, struct chunk_object *o)
{
    uint64_t groups = (uint64_t)h->group_last - h->group_first + 1;
    uint8_t *p = (uint8_t *)o + align8(sizeof(*o));
    o->first = (uint32_t *)(void *)p;
    p += align8((groups + 1) * 4);
    o->rows = NULL;
    if (part_col_sparse(k->col)) {
        o->rows = (uint32_t *)(void *)p;
        p += align8(h->n_values * 4ULL);
    }
    o->values = p;
    p += align8((uint64_t)h->n_values * col_phys_width(phys));
    o->dict = (struct block_dict){0};
    if (k->flags & COLUMN_LOCAL) {
        o->dict = (struct block_dict){.dict = {&block_dict_ops, false},
            .n = h->dict_n,
            .off = (uint32_t *)(void *)p,
            .bytes = (char *)p + (h->dict_n + 1ULL) * 4};
    }
}

/* How many values each group has: known for dense columns, runs at the start of the page else. */
enum ec block_chunk_runs(struct block_reader *r, struct page_in *in, bool dense,
    enum part_table table, const struct block_chunk *h, uint32_t *first, struct err *err)
{
    uint32_t groups = h->group_last - h->group_first + 1;
    uint64_t n = 0;
    if (dense) {
        for (uint32_t i = 0; i < groups; i++) {
            first[i] = (uint32_t)n;
            n += block_table_rows(r->root, r->schema, table, h->group_first + i);
        }
    } else {
        uint32_t n_runs = cur_u32(&in->c), at = 0;
        for (uint32_t i = 0; i < n_runs && !in->c.bad; i++) {
            uint32_t gap = cur_u32(&in->c);
            if (gap >= groups - at || n > h->n_values)
                return ERR(err, EC_CORRUPT, "run %u lies outside of the chunk", i);
            for (uint32_t k = 0; k <= gap; k++)
                first[at++] = (uint32_t)n;
            n += cur_u32(&in->c);
            if (at == groups && i + 1 < n_runs)
                return ERR(err, EC_CORRUPT, "run %u lies outside of the chunk", i + 1);
        }
        while (at < groups)
            first[at++] = (uint32_t)n;
    }
    if (in->c.bad || n != h->n_values)
        return ERR(err, EC_CORRUPT, "%llu values in groups, %u in the chunk", (unsigned long long)n,
            h->n_values);
    first[groups] = (uint32_t)n;
    return EC_OK;
}

/* Row lists are below the group's rows and ascend; EVENT_SPAN and LINK_SPAN may repeat. */
static enum ec chunk_check_rows(struct block_reader *r, enum part_table table,
    const struct block_chunk *h, const struct chunk_object *o, const uint32_t *rows, bool repeat,
    struct err *err)
{
    for (uint32_t g = h->group_first; g <= h->group_last; g++) {
        uint32_t limit = block_table_rows(r->root, r->schema, table, g);
        uint32_t a = o->first[g - h->group_first], z = o->first[g - h->group_first + 1];
        for (uint32_t i = a; i < z; i++)
            if (rows[i] >= limit ||
                (i > a && (repeat ? rows[i] < rows[i - 1] : rows[i] <= rows[i - 1])))
                return ERR(
                    err, EC_CORRUPT, "group %u: row %u of %u is out of order", g, rows[i], limit);
    }
    return EC_OK;
}

static enum ec chunk_check_max(
    const uint32_t *v, uint32_t n, uint64_t limit, const char *what, struct err *err)
{
    uint32_t max = 0;
    for (uint32_t i = 0; i < n; i++)
        max = MAX(max, v[i]);
    if (n > 0 && max >= limit)
        return ERR(err, EC_CORRUPT, "%s %u of %llu", what, max, (unsigned long long)limit);
    return EC_OK;
}

/* Numbers that others use as indexes must be in range. */
static enum ec chunk_check(struct block_reader *r, const struct block_column *k,
    const struct block_chunk *h, const struct chunk_object *o, enum col_phys phys, struct err *err)
{
    const uint32_t *v = o->values;
    if (phys == PHYS_CODE)
        return chunk_check_max(
            v, h->n_values, k->flags & COLUMN_LOCAL ? h->dict_n : k->dict_n, "code", err);
    switch (k->col) {
    case COL_SPAN_RESOURCE:
        return chunk_check_max(v, h->n_values, r->root->n_resources, "resource", err);
    case COL_SPAN_SCOPE:
        return chunk_check_max(v, h->n_values, r->root->n_scopes, "scope", err);
    case COL_SPAN_SHAPE:
    case COL_EVENT_SHAPE:
    case COL_LINK_SHAPE:
    case COL_RESOURCE_SHAPE:
    case COL_SCOPE_SHAPE:
        return chunk_check_max(v, h->n_values, r->schema->n_shapes, "shape", err);
    case COL_EVENT_SPAN:
    case COL_LINK_SPAN:
        return chunk_check_rows(r, TABLE_SPANS, h, o, v, true, err);
    default:
        return EC_OK;
    }
}

/* Parents are stored as distances between rows of the group: 0 a root, 1 the next exception, else
 * 2 + zigzag(row - parent's row). Turned into ids in place, group by group. */
static enum ec chunk_parents(struct block_reader *r, const struct block_chunk *h,
    struct chunk_object *o, const uint8_t *odd, uint64_t n_odd, struct err *err)
{
    uint64_t *v = o->values, used = 0;
    for (uint32_t g = h->group_first; g <= h->group_last; g++) {
        struct col_view ids;
        uint32_t a = o->first[g - h->group_first];
        uint32_t n = o->first[g - h->group_first + 1] - a;
        TRY(block_view(r, g, COL_SPAN_ID, &ids, err));
        if (ids.n != n)
            return ERR(err, EC_CORRUPT, "group %u: %u parents, %u spans", g, n, ids.n);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t code = v[a + i];
            if (code == 0)
                continue;
            if (code == 1) {
                if (used == n_odd)
                    return ERR(err, EC_CORRUPT, "group %u: too few odd parents", g);
                v[a + i] = get_u64le(odd + 8 * used++);
                continue;
            }
            uint64_t row = i - (uint64_t)zigzag_decode(code - 2);
            if (row >= n)
                return ERR(err, EC_CORRUPT, "group %u: parent of row %u is not in it", g, i);
            v[a + i] = ids.u64[row];
        }
    }
    return used == n_odd ? EC_OK
                         : ERR(err, EC_CORRUPT, "%llu odd parents too many",
                               (unsigned long long)(n_odd - used));
}

static enum ec chunk_parents_page(struct block_reader *r, struct page_in *in,
    const struct block_chunk *h, struct chunk_object *o, struct err *err)
{
    const uint8_t *odd;
    uint64_t n_odd = cur_varint(&in->c);
    if (in->c.bad || n_odd > h->n_values)
        return ERR(err, EC_CORRUPT, "%llu odd parents", (unsigned long long)n_odd);
    TRY(section_get(in, n_odd * 8, &odd, err));
    TRY(page_in_end(in, err));
    /* Reading the ids reuses the buffers of this reader. */
    uint8_t *copy = arena_alloc(&r->arena, n_odd * 8);
    if (copy == NULL)
        return ERR(err, EC_LIMIT, "parents of a block page are over the memory budget");
    if (n_odd > 0)
        memcpy(copy, odd, n_odd * 8);
    return chunk_parents(r, h, o, copy, n_odd, err);
}

enum ec block_chunk_values(
    struct page_in *in, enum col_phys phys, uint32_t n, uint8_t *out, struct err *err)
{
    unsigned width = col_phys_width(phys);
    if (phys == PHYS_ID16)
        return section_get_into(in, n * 16ULL, out, err);
    TRY(ints_get(in, n, width, out, err));
    if (phys == PHYS_I64) /* stored with the sign bit turned, so that order is kept */
        for (uint32_t i = 0; i < n; i++)
            ((uint64_t *)(void *)out)[i] ^= 1ULL << 63;
    return EC_OK;
}

enum ec block_chunk_decode(struct block_reader *r, const struct block_column *k,
    const struct block_chunk *h, struct chunk_object *o, struct err *err)
{
    enum part_table table;
    enum col_phys phys;
    const struct page_ref *pages = &r->schema->pages[h->page_first];
    ASSERT(block_schema_phys(r->schema, k->col, &table, &phys));
    chunk_lay_out(k, h, phys, o);
    if (table <= TABLE_SCOPES && h->group_last != 0)
        return ERR(err, EC_CORRUPT, "a part-wide table has no groups");
    bool sparse = part_col_sparse(k->col), dense = k->col < COL_FIXED_MAX && !sparse;
    unsigned width = col_phys_width(phys);
    if (k->col == COL_SPAN_PARENT && h->n_value_pages != 1)
        return ERR(err, EC_CORRUPT, "parents in %u pages", h->n_value_pages);
    for (uint32_t i = 0; i < h->n_value_pages; i++) {
        uint32_t at = i * PAGE_VALUES_MAX, n = MIN(PAGE_VALUES_MAX, h->n_values - at);
        struct page_in in;
        struct bytes stored;
        TRY(block_page_read(r, &pages[i], &stored, err));
        page_in_init(&in, stored, pages[i].raw, &r->scratch);
        if (i == 0)
            TRY(block_chunk_runs(r, &in, dense, table, h, o->first, err));
        if (sparse)
            TRY(ints_get(&in, n, 4, o->rows + at, err));
        TRY(block_chunk_values(&in, phys, n, (uint8_t *)o->values + (uint64_t)at * width, err));
        if (k->col == COL_SPAN_PARENT)
            TRY(chunk_parents_page(r, &in, h, o, err));
        else
            TRY(page_in_end(&in, err));
    }
    if (sparse)
        TRY(chunk_check_rows(r, table, h, o, o->rows, false, err));
    if (k->flags & COLUMN_LOCAL)
        TRY(block_dict_decode(
            r, pages + h->n_value_pages, h->n_dict_pages, &o->dict, h->dict_bytes, err));
    return chunk_check(r, k, h, o, phys, err);
}
