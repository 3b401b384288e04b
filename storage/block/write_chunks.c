/* SPDX-License-Identifier: Apache-2.0
 * From sorted values to pages: chunks, dictionaries, filters. FORMAT.md sections 5 to 7.
 *
 * A chunk is the values of consecutive groups, joined until it holds BLOCK_CHUNK_VALUES (or, with a
 * dictionary of its own, PAGE_RAW_TARGET bytes of strings). A group is never split over chunks; a
 * chunk is split over pages when it is too big for one. */
#include <stdlib.h>

#include "filter.h"
#include "write.h"

#define DICT_PAGE_BYTES ((uint64_t)512 << 10)
/* Of a chunk's own dictionary, of which a trace by id needs a dozen strings that stand together:
 * pages of one size, as many as have this much each. WHY: larger ones are unpacked for nothing,
 * and zstd packs less than 16 KiB much worse. */
#define LOCAL_PAGE_BYTES ((uint64_t)33 << 9)
/* distinct strings for which a column's own dictionary always pays */
#define DICT_SMALL        256u
#define FILTER_VALUES_MIN 64u        /* below it the dictionary itself is as quick */
#define HASHES_PASS       (1u << 18) /* hashes of strings compared at a time: a table of 4 MiB */

void column_begin(struct writer *w, col_id col)
{
    struct block_column c = {.col = col, .chunk_first = (uint32_t)w->chunks.n};
    VEC_PUSH(&w->columns, c);
    w->column_pages.n = 0;
    w->odd_at = 0;
}

enum ec writer_page_copy(struct writer *w, struct bytes stored, uint64_t raw, struct err *err)
{
    struct page_ref ref;
    TRY(writer_page_put(w, stored, raw, &ref, err));
    VEC_PUSH(&w->column_pages, ref);
    return EC_OK;
}

static struct block_column *column_now(struct writer *w)
{
    ASSERT(w->columns.n > 0);
    return &w->columns.p[w->columns.n - 1];
}

static enum ec column_page(struct writer *w, struct err *err)
{
    struct page_ref ref;
    TRY(writer_page(w, &ref, err));
    VEC_PUSH(&w->column_pages, ref);
    return EC_OK;
}

static enum ints_hint column_hint(col_id col, enum col_phys phys)
{
    switch (col) {
    case COL_SPAN_ID:
    case COL_LINK_SPAN_ID:
        return INTS_RANDOM;
    case COL_SPAN_START:
    case COL_EVENT_TIME:
    case COL_EVENT_SPAN:
    case COL_LINK_SPAN:
        return INTS_DELTAS;
    default:
        return phys == PHYS_U64 || phys == PHYS_I64 || phys == PHYS_F64 ? INTS_NUMS : INTS_CODES;
    }
}

/* First place of group g in the table of a column, and how many groups it has. */
static uint32_t table_groups(const struct writer *w, enum part_table t)
{
    return t <= TABLE_SCOPES ? 1 : w->n_groups;
}

static uint32_t table_first(const struct writer *w, enum part_table t, uint32_t g)
{
    return t <= TABLE_SCOPES ? (g == 0 ? 0 : w->n_out[t]) : w->first[t][g];
}

static uint32_t column_row(const struct column_data *d, size_t i)
{
    return d->rows == NULL ? d->row0 + (uint32_t)i : d->rows[i];
}

/* Runs: for each group that has values, the groups skipped before it and its number of values. */
static void chunk_put_runs(
    struct writer *w, const struct column_data *d, size_t a, size_t z, uint32_t group_first)
{
    struct buf *out = &w->page.b;
    uint32_t n_runs = 0, next = group_first;
    for (int count = 1; count >= 0; count--) { /* count them, then put them */
        if (!count)
            buf_put_varint(out, n_runs);
        size_t i = a;
        for (uint32_t g = group_first; i < z; g++) {
            uint32_t end = table_first(w, d->table, g + 1);
            size_t first = i;
            while (i < z && d->rows[i] < end)
                i++;
            if (i == first)
                continue;
            if (count) {
                n_runs++;
            } else {
                buf_put_varint(out, g - next);
                buf_put_varint(out, i - first);
                next = g + 1;
            }
        }
    }
}

/* Group-relative rows of a sparse fixed column. */
static enum ec chunk_put_rows(struct writer *w, const struct column_data *d, size_t a, size_t z,
    uint32_t group_first, struct err *err)
{
    struct buf rows;
    uint32_t g = group_first;
    buf_init(&rows, w->opt->budget);
    for (size_t i = a; i < z; i++) {
        while (d->rows[i] >= table_first(w, d->table, g + 1))
            g++;
        buf_put_u64le(&rows, d->rows[i] - table_first(w, d->table, g));
    }
    enum ec ec = buf_failed(&rows) ? writer_limit(err) : EC_OK;
    if (ec == EC_OK)
        ec = ints_put(&w->page, (const uint64_t *)(const void *)rows.p, z - a, INTS_CODES, err);
    buf_deinit(&rows);
    return ec;
}

static enum ec chunk_put_odd(
    struct writer *w, const struct column_data *d, size_t a, size_t z, struct err *err)
{
    size_t first = w->odd_at, n = 0;
    for (size_t i = a; i < z; i++)
        n += d->vals[i] == 1;
    w->odd_at += n; /* chunks are written once each, in order */
    buf_put_varint(&w->page.b, n);
    return section_put(&w->page, d->odd + first, n * 8, true, err);
}

static enum ec chunk_put_pages(struct writer *w, const struct column_data *d, size_t a, size_t z,
    const uint64_t *vals, enum ints_hint hint, uint32_t group_first, struct err *err)
{
    bool sparse = part_col_sparse(d->col), dense = d->col < COL_FIXED_MAX && !sparse;
    for (size_t i = a; i < z; i += PAGE_VALUES_MAX) {
        size_t n = MIN(z - i, (size_t)PAGE_VALUES_MAX);
        page_out_reset(&w->page);
        if (i == a && !dense)
            chunk_put_runs(w, d, a, z, group_first);
        if (sparse)
            TRY(chunk_put_rows(w, d, i, i + n, group_first, err));
        if (d->phys == PHYS_ID16)
            TRY(section_put(&w->page, d->ids + i, n * 16, true, err));
        else
            TRY(ints_put(&w->page, vals + (i - a), n, hint, err));
        if (d->col == COL_SPAN_PARENT)
            TRY(chunk_put_odd(w, d, i, i + n, err));
        TRY(page_out_check(&w->page, err));
        TRY(column_page(w, err));
    }
    return EC_OK;
}

/* Where the chunk that starts at value `a` in group *g ends; *g: the group after its last one with
 * values, *ret_first: its first. bytes (may be NULL): of a value, to bound a chunk's strings. */
static size_t chunk_end(const struct writer *w, const struct column_data *d, size_t a, uint32_t *g,
    uint32_t *ret_first, const struct interner *strings)
{
    size_t i = a;
    uint64_t bytes = 0;
    while (column_row(d, a) >= table_first(w, d->table, *g + 1))
        ++*g;
    *ret_first = *g;
    uint32_t last = *g;
    for (; *g < table_groups(w, d->table) && i < d->n; ++*g) {
        size_t first = i;
        uint32_t end = table_first(w, d->table, *g + 1);
        uint64_t more = 0;
        for (; i < d->n && column_row(d, i) < end; i++)
            more += strings == NULL ? 0 : interner_get(strings, (uint32_t)d->vals[i]).n;
        if (i == first)
            continue;
        if (first > a && (bytes + more > PAGE_RAW_TARGET || i - a > PAGE_VALUES_MAX)) {
            *g = last + 1;
            return first;
        }
        bytes += more;
        last = *g;
        if (i - a >= BLOCK_CHUNK_VALUES)
            break;
    }
    *g = last + 1;
    return i;
}

enum ec column_chunks(struct writer *w, const struct column_data *d, struct err *err)
{
    struct block_column *c = column_now(w);
    uint32_t g = 0;
    ASSERT(d->n < PART_NONE);
    for (size_t a = 0, z; a < d->n; a = z) {
        struct block_chunk h = {0};
        z = chunk_end(w, d, a, &g, &h.group_first, NULL);
        h.group_last = g - 1;
        h.n_values = (uint32_t)(z - a);
        h.n_value_pages = (uint32_t)((z - a + PAGE_VALUES_MAX - 1) / PAGE_VALUES_MAX);
        TRY(chunk_put_pages(w, d, a, z, d->vals == NULL ? NULL : d->vals + a,
            column_hint(d->col, d->phys), h.group_first, err));
        VEC_PUSH(&w->chunks, h);
    }
    c->n_values += d->n;
    return EC_OK;
}

/* Strings as pages of whole strings, each ends with the string that fills it; *ret_n pages. */
static enum ec dict_put(struct writer *w, const struct str *strs, uint32_t n, uint64_t page_bytes,
    uint32_t *ret_pages, struct err *err)
{
    uint32_t pages = 0;
    for (uint32_t a = 0, z; a < n; a = z) {
        uint64_t bytes = 0;
        for (z = a; z < n && z - a < PAGE_VALUES_MAX; z++) {
            if (bytes >= page_bytes || (z > a && bytes + strs[z].n > DICT_PAGE_BYTES))
                break;
            bytes += strs[z].n;
        }
        struct buf all, lens;
        buf_init(&all, w->opt->budget);
        buf_init(&lens, w->opt->budget);
        for (uint32_t i = a; i < z; i++) {
            buf_put_u64le(&lens, strs[i].n);
            buf_puts(&all, strs[i]);
        }
        enum ec ec = buf_failed(&all) || buf_failed(&lens) ? writer_limit(err) : EC_OK;
        page_out_reset(&w->page);
        buf_put_varint(&w->page.b, z - a);
        if (ec == EC_OK)
            ec = ints_put(&w->page, (const uint64_t *)(const void *)lens.p, z - a, INTS_CODES, err);
        if (ec == EC_OK)
            ec = section_put(&w->page, all.p, all.n, true, err);
        buf_deinit(&all);
        buf_deinit(&lens);
        TRY(ec);
        TRY(column_page(w, err));
        pages++;
    }
    *ret_pages = pages;
    return EC_OK;
}

/* Numbers in `strings` -> codes in order of appearance, and the strings by code. */
struct local_codes {
    struct buf codes; /* u64 */
    struct buf strs;  /* struct str */
    struct buf seen;  /* u32 by number: code + 1; all 0 between chunks */
    uint32_t n;
    uint64_t bytes;
};

static uint64_t *local_code(const struct local_codes *l)
{
    return (uint64_t *)(void *)l->codes.p;
}

static struct str *local_str(const struct local_codes *l)
{
    return (struct str *)(void *)l->strs.p;
}

static bool local_codes_init(struct local_codes *l, struct budget *budget, uint32_t n_strings)
{
    *l = (struct local_codes){0};
    buf_init(&l->codes, budget);
    buf_init(&l->strs, budget);
    buf_init(&l->seen, budget);
    if (!buf_reserve(&l->seen, n_strings * 4ULL + 4))
        return false;
    memset(l->seen.p, 0, n_strings * 4ULL + 4);
    return true;
}

static void local_codes_deinit(struct local_codes *l)
{
    buf_deinit(&l->codes);
    buf_deinit(&l->strs);
    buf_deinit(&l->seen);
}

static enum ec local_codes_fill(struct local_codes *l, const uint64_t *vals, size_t n,
    const struct interner *strings, struct err *err)
{
    if (!buf_reserve(&l->codes, n * 8) || !buf_reserve(&l->strs, n * sizeof(struct str)))
        return writer_limit(err);
    uint32_t *seen = (uint32_t *)(void *)l->seen.p;
    l->n = 0;
    l->bytes = 0;
    for (size_t i = 0; i < n; i++) {
        ASSERT(vals[i] < strings->n);
        uint32_t *code = &seen[vals[i]];
        if (*code == 0) {
            struct str s = interner_get(strings, (uint32_t)vals[i]);
            local_str(l)[l->n++] = s;
            l->bytes += s.n;
            *code = l->n;
        }
        local_code(l)[i] = *code - 1;
    }
    for (size_t i = 0; i < n; i++)
        seen[vals[i]] = 0;
    return EC_OK;
}

static void weigh_groups(struct writer *w, const struct column_data *d, size_t a, size_t z,
    const struct interner *strings)
{
    if (d->table <= TABLE_SCOPES)
        return;
    uint32_t g = 0;
    for (size_t i = a; i < z; i++) {
        while (column_row(d, i) >= table_first(w, d->table, g + 1))
            g++;
        w->groups[g].weight += interner_get(strings, (uint32_t)d->vals[i]).n;
    }
}

static enum ec local_chunk(struct writer *w, const struct column_data *d, size_t a, size_t z,
    struct block_chunk *h, struct local_codes *l, const struct interner *strings,
    struct buf *hashes, struct err *err)
{
    TRY(local_codes_fill(l, d->vals + a, z - a, strings, err));
    if (l->bytes > UINT32_MAX)
        return ERR(
            err, EC_TOO_LARGE, "%llu bytes of strings in one group", (unsigned long long)l->bytes);
    h->n_values = (uint32_t)(z - a);
    h->n_value_pages = (uint32_t)((z - a + PAGE_VALUES_MAX - 1) / PAGE_VALUES_MAX);
    h->dict_n = l->n;
    h->dict_bytes = (uint32_t)l->bytes;
    /* In order of appearance, codes of strings that hardly repeat count up by one. */
    enum ints_hint hint = l->n > (z - a) / 2 ? INTS_DELTAS : INTS_CODES;
    TRY(chunk_put_pages(w, d, a, z, local_code(l), hint, h->group_first, err));
    uint64_t n_pages = MAX(l->bytes / LOCAL_PAGE_BYTES, 1);
    uint64_t page_bytes = MAX((l->bytes + n_pages - 1) / n_pages, 1);
    TRY(dict_put(w, local_str(l), l->n, page_bytes, &h->n_dict_pages, err));
    for (uint32_t i = 0; hashes != NULL && i < l->n; i++)
        buf_put_u64le(hashes, filter_hash(local_str(l)[i]));
    weigh_groups(w, d, a, z, strings);
    return hashes != NULL && buf_failed(hashes) ? writer_limit(err) : EC_OK;
}

enum ec column_chunks_local(struct writer *w, const struct column_data *d,
    const struct interner *strings, struct buf *hashes, struct err *err)
{
    struct block_column *c = column_now(w);
    struct local_codes l;
    enum ec ec = local_codes_init(&l, w->opt->budget, strings->n) ? EC_OK : writer_limit(err);
    uint32_t g = 0;
    c->flags |= COLUMN_LOCAL;
    for (size_t a = 0, z; ec == EC_OK && a < d->n; a = z) {
        struct block_chunk h = {0};
        z = chunk_end(w, d, a, &g, &h.group_first, strings);
        h.group_last = g - 1;
        ec = local_chunk(w, d, a, z, &h, &l, strings, hashes, err);
        VEC_PUSH(&w->chunks, h);
    }
    local_codes_deinit(&l);
    c->n_values += d->n;
    return ec;
}

/* The first value at `place` or behind it, from value `at` on. */
static size_t column_find(const struct column_data *d, size_t at, uint32_t place)
{
    if (d->rows == NULL)
        return MAX(at, MIN(d->n, (size_t)place - MIN(place, d->row0)));
    size_t end = d->n;
    while (at < end) {
        size_t mid = at + (end - at) / 2;
        *(d->rows[mid] < place ? &at : &end) = d->rows[mid] < place ? mid + 1 : mid;
    }
    return at;
}

enum ec column_mixed(struct writer *w, const struct column_data *d, const struct copies *copies,
    const struct interner *strings, struct buf *hashes, struct err *err)
{
    size_t at = 0;
    for (size_t i = 0; i <= copies->n; i++) {
        const struct copy *c = i < copies->n ? &copies->p[i] : NULL;
        size_t end = c == NULL ? d->n : column_find(d, at, table_first(w, d->table, c->to));
        struct column_data part = *d;
        part.row0 = d->row0 + (uint32_t)at;
        part.rows = d->rows == NULL ? NULL : d->rows + at;
        part.vals = d->vals + at;
        part.n = end - at;
        if (part.n > 0)
            TRY(strings == NULL ? column_chunks(w, &part, err)
                                : column_chunks_local(w, &part, strings, hashes, err));
        if (c == NULL)
            break;
        uint32_t behind = c->to + (c->h->group_last - c->h->group_first) + 1;
        TRY(copy_put(w, c, hashes, err));
        column_now(w)->n_values += c->h->n_values;
        at = column_find(d, end, table_first(w, d->table, behind));
    }
    if (strings != NULL)
        column_now(w)->flags |= COLUMN_LOCAL;
    return EC_OK;
}

/* WHY: a string of several chunks comes several times, and would make the filter larger than it
 * needs to be. The table's size is bounded: hashes go through it one range after the other. Those
 * seen before become 0, and are dropped at the end. */
enum ec hashes_distinct(struct buf *hashes, size_t pass_max, size_t *ret_n, struct err *err)
{
    uint64_t *h = (uint64_t *)(void *)hashes->p;
    size_t n = hashes->n / 8, kept = 0, slots = 64;
    unsigned bits = 0; /* of a hash that choose its pass */
    bool zero = false; /* a string hashes to it */
    struct buf table;
    while (bits < 16 && n >> bits > pass_max)
        bits++;
    while (slots < (n >> bits) * 2)
        slots *= 2;
    buf_init(&table, hashes->budget);
    if (!buf_reserve(&table, slots * 8)) {
        buf_deinit(&table);
        return writer_limit(err);
    }
    uint64_t *t = (uint64_t *)(void *)table.p;
    for (uint64_t pass = 0; pass < 1ULL << bits; pass++) {
        size_t taken = 0;
        memset(t, 0, slots * 8);
        for (size_t i = 0; i < n; i++) {
            if (bits != 0 && h[i] >> (64 - bits) != pass)
                continue;
            if (h[i] == 0) { /* of pass 0, which made no others that it still comes to */
                zero = true;
                continue;
            }
            size_t k = h[i] & (slots - 1);
            while (t[k] != 0 && t[k] != h[i])
                k = (k + 1) & (slots - 1);
            if (t[k] != 0)
                h[i] = 0;
            else if (++taken < slots / 4 * 3) /* strings made to collide: duplicates stay */
                t[k] = h[i];
        }
    }
    buf_deinit(&table);
    for (size_t i = 0; i < n; i++)
        if (h[i] != 0)
            h[kept++] = h[i];
    if (zero)
        h[kept++] = 0; /* in the place of one that was dropped */
    *ret_n = kept;
    return EC_OK;
}

static enum ec filter_page_put(struct writer *w, void *ctx, uint32_t page, struct err *err)
{
    (void)ctx;
    (void)page;
    return column_page(w, err);
}

/* The strings go into the filter of the block, or into one of the column's own. */
static enum ec filter_put(
    struct writer *w, struct block_column *c, struct buf *hashes, struct err *err)
{
    size_t n = 0;
    TRY(hashes_distinct(hashes, HASHES_PASS, &n, err));
    const uint64_t *h = (const uint64_t *)(const void *)hashes->p;
    if (column_in_filter(w, c->col))
        return writer_strings_note(w, c->col, NULL, 0, h, n, err);
    if (n < FILTER_VALUES_MIN)
        return EC_OK;
    return filter_pages(
        w, h, n, FILTER_BITS_PER_VALUE, filter_page_put, NULL, &c->n_filter_pages, err);
}

/* Pages were written chunk by chunk; in the index the dictionary's and the filter's come first. */
enum ec column_end(
    struct writer *w, const struct str *dict, uint32_t dict_n, struct buf *hashes, struct err *err)
{
    struct block_column *c = column_now(w);
    size_t n_chunk_pages = w->column_pages.n;
    c->n_chunks = (uint32_t)w->chunks.n - c->chunk_first;
    if (dict != NULL) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < dict_n; i++)
            bytes += dict[i].n;
        ASSERT(bytes <= UINT32_MAX);
        c->dict_n = dict_n;
        c->dict_bytes = (uint32_t)bytes;
        TRY(dict_put(w, dict, dict_n, DICT_PAGE_BYTES, &c->n_dict_pages, err));
        if (column_in_filter(w, c->col))
            TRY(writer_strings_note(w, c->col, dict, dict_n, NULL, 0, err));
    }
    if (hashes != NULL)
        TRY(filter_put(w, c, hashes, err));
    c->dict_page_first = (uint32_t)w->pages.n;
    for (size_t i = n_chunk_pages; i < w->column_pages.n; i++)
        VEC_PUSH(&w->pages, w->column_pages.p[i]);
    c->filter_page_first = c->dict_page_first + c->n_dict_pages;
    uint32_t at = (uint32_t)w->pages.n;
    for (size_t i = 0; i < n_chunk_pages; i++)
        VEC_PUSH(&w->pages, w->column_pages.p[i]);
    for (size_t i = c->chunk_first; i < w->chunks.n; i++) {
        w->chunks.p[i].page_first = at;
        at += w->chunks.p[i].n_value_pages + w->chunks.p[i].n_dict_pages;
    }
    if (c->n_values == 0)
        w->columns.n--; /* nothing refers to it */
    else if (c->col >= COL_FIXED_MAX)
        w->attrs[c->col - COL_FIXED_MAX].n_values = c->n_values;
    return EC_OK;
}

struct sort_ref {
    uint64_t first; /* eight bytes, which tell most apart */
    struct str s;
    uint32_t number;
};

static uint64_t sort_first(struct str s)
{
    uint8_t first[8] = {0};
    if (s.n >= sizeof(first))
        return get_u64be(s.p);
    if (s.n > 0)
        memcpy(first, s.p, s.n);
    return get_u64be(first);
}

static int sort_ref_cmp(const void *a, const void *b)
{
    const struct sort_ref *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return str_cmp(x->s, y->s);
}

/* Numbers -> codes that ascend with the strings; d->vals is rewritten. */
static enum ec column_strings_sorted(
    struct writer *w, struct column_data *d, const struct interner *strings, struct err *err)
{
    uint32_t n = strings->n;
    struct sort_ref *refs = arena_calloc(&w->tmp, n, sizeof(*refs));
    struct str *sorted = arena_calloc(&w->tmp, n, sizeof(*sorted));
    uint64_t *vals = arena_calloc(&w->tmp, d->n, 8);
    uint32_t *code = arena_calloc(&w->tmp, n, 4);
    if (refs == NULL || sorted == NULL || code == NULL || vals == NULL)
        return writer_limit(err);
    for (uint32_t i = 0; i < n; i++) {
        struct str s = interner_get(strings, i);
        refs[i] = (struct sort_ref){sort_first(s), s, i};
    }
    qsort(refs, n, sizeof(*refs), sort_ref_cmp);
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = refs[i].s;
        code[refs[i].number] = i;
    }
    for (size_t i = 0; i < d->n; i++)
        vals[i] = code[d->vals[i]];
    d->vals = vals;
    column_begin(w, d->col);
    TRY(column_chunks(w, d, err));
    return column_end(w, sorted, n, NULL, err);
}

/* WHY half: with few repeats the codes of a sorted dictionary are noise that costs two or three
 * bytes a value; in order of appearance they cost nothing, and a filter answers "absent". */
enum ec column_strings(
    struct writer *w, struct column_data *d, const struct interner *strings, struct err *err)
{
    if (strings->bytes <= BLOCK_DICT_BYTES && (strings->n <= DICT_SMALL || strings->n <= d->n / 2))
        return column_strings_sorted(w, d, strings, err);
    struct buf hashes;
    buf_init(&hashes, w->opt->budget);
    column_begin(w, d->col);
    enum ec ec = column_chunks_local(w, d, strings, &hashes, err);
    if (ec == EC_OK)
        ec = column_end(w, NULL, 0, &hashes, err);
    buf_deinit(&hashes);
    return ec;
}
