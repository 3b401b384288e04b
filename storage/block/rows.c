/* SPDX-License-Identifier: Apache-2.0
 * Views of a few rows of a group: what a trace by id reads.
 *
 * A page comes from the disk and through zstd as a whole, but of what it holds only the values of
 * the wanted rows are unpacked, checked and, when they are strings of a chunk's own dictionary,
 * looked up. Nothing of that is kept in the cache: of a thousand blocks the next trace lies in
 * another group. A group that is asked a third time gets whole views, which are kept, while the
 * cache has room for them: on a small store all of it ends up in memory.
 *
 * What is uncommon (sparse fixed columns, chunks of several pages, many values) is left to the
 * whole view, which is a right answer here, too. */
#include <stdlib.h>

#include "base/hash.h"
#include "reader.h"

#define ROWS_MAX   512u  /* more than these are better read as whole views */
#define VALUES_MAX 1024u /* of a column, in those rows */

/* Which values of each attribute column belong to the wanted rows of a group. */
struct block_rows {
    uint32_t g, first, n;
    bool whole;          /* views of this group are read as a whole, and kept */
    uint32_t *before;    /* by attribute: values of rows before the first one */
    uint32_t *total;     /* by attribute: values of the group */
    uint32_t *from;      /* by attribute: its rows in `rows` start here; n_attrs + 1 */
    uint32_t *rows;      /* group-relative */
    struct col_view ids; /* of the spans, all of the group; n 0: not read yet */
};

static enum ec rows_limit(struct err *err)
{
    return ERR(err, EC_LIMIT, "rows of a block are over the memory budget");
}

/* Adds up what the shapes of rows [from, to) come to, by attribute. */
static void shapes_count(const struct block_schema *s, const uint32_t *shapes, uint32_t from,
    uint32_t to, uint32_t *times, uint32_t *sum)
{
    for (uint32_t row = from; row < to; row++)
        times[shapes[row]]++;
    for (uint32_t row = from; row < to; row++) {
        uint32_t shape = shapes[row], n = times[shape];
        if (n == 0)
            continue;
        times[shape] = 0;
        for (uint32_t k = s->shape_first[shape]; k < s->shape_first[shape + 1]; k++)
            sum[s->shape_cols[k] - COL_FIXED_MAX] += n;
    }
}

/* The values that the wanted rows have, listed by attribute. */
static enum ec rows_list(struct block_reader *r, struct block_rows *b, const uint32_t *shapes,
    uint32_t *count, struct err *err)
{
    const struct block_schema *s = r->schema;
    uint64_t all = 0;
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        b->from[i] = (uint32_t)all;
        all += count[i];
    }
    if (all >= PART_NONE)
        return ERR(err, EC_CORRUPT, "%llu attributes in one group", (unsigned long long)all);
    b->from[s->n_attrs] = (uint32_t)all;
    if ((b->rows = arena_alloc(&r->arena, (all + 1) * sizeof(*b->rows))) == NULL)
        return rows_limit(err);
    for (uint32_t i = 0; i < s->n_attrs; i++)
        count[i] = b->from[i]; /* where the next one goes */
    for (uint32_t row = b->first; row < b->first + b->n; row++)
        for (uint32_t k = s->shape_first[shapes[row]]; k < s->shape_first[shapes[row] + 1]; k++)
            b->rows[count[s->shape_cols[k] - COL_FIXED_MAX]++] = row;
    return EC_OK;
}

/* Was this group asked for twice before? Remembers that it was now. The answer may be wrong, which
 * costs some time or some room in the cache. */
static bool rows_again(struct block_reader *r, enum part_table t, uint32_t g)
{
    return block_cache_again(r->b->cache, r->b->serial << 32 ^ (uint64_t)t << 28 ^ g);
}

static enum ec rows_fill(struct block_reader *r, enum part_table t, struct block_rows *b,
    uint32_t g, uint32_t first, uint32_t n, struct err *err)
{
    static const col_id shape_cols[TABLE_COUNT] = {
        COL_RESOURCE_SHAPE, COL_SCOPE_SHAPE, COL_SPAN_SHAPE, COL_EVENT_SHAPE, COL_LINK_SHAPE};
    const struct block_schema *s = r->schema;
    struct col_view shapes;
    *b = (struct block_rows){.g = PART_NONE, .first = first, .n = n};
    b->whole = n > ROWS_MAX || rows_again(r, t, g);
    if (b->whole) {
        b->g = g;
        return EC_OK;
    }
    TRY(block_view(r, g, shape_cols[t], &shapes, err));
    ASSERT(first <= shapes.n && n <= shapes.n - first);
    if (r->shape_times == NULL)
        r->shape_times = ARENA_ARRAY(&r->arena, MAX(s->n_shapes, 1u), uint32_t);
    uint32_t *sums = ARENA_ARRAY(&r->arena, 4ULL * s->n_attrs + 1, uint32_t);
    if (sums == NULL || r->shape_times == NULL)
        return rows_limit(err);
    uint32_t *count = sums + 2ULL * s->n_attrs;
    b->before = sums;
    b->total = sums + s->n_attrs;
    b->from = sums + 3ULL * s->n_attrs;
    shapes_count(s, shapes.u32, 0, first, r->shape_times, b->before);
    shapes_count(s, shapes.u32, first, first + n, r->shape_times, count);
    shapes_count(s, shapes.u32, first + n, shapes.n, r->shape_times, b->total);
    for (uint32_t i = 0; i < s->n_attrs; i++)
        b->total[i] += b->before[i] + count[i];
    TRY(rows_list(r, b, shapes.u32, count, err));
    b->g = g;
    return EC_OK;
}

/* The wanted rows of a table: those of the last call, or anew. */
static enum ec rows_of(struct block_reader *r, enum part_table t, uint32_t g, uint32_t first,
    uint32_t n, struct block_rows **ret, struct err *err)
{
    struct block_rows *b = r->rows[t];
    if (b == NULL && (r->rows[t] = b = ARENA_NEW(&r->arena, struct block_rows)) == NULL)
        return rows_limit(err);
    if (b->n == 0 || b->g != g || b->first != first || b->n != n)
        TRY(rows_fill(r, t, b, g, first, n, err));
    *ret = b;
    return EC_OK;
}

/* One value page, opened: the values of group g are [first, first + n) of its m values. */
struct chunk_part {
    const struct block_column *k;
    const struct block_chunk *h;
    struct page_in in;
    enum col_phys phys;
    uint32_t first, n;
};

static enum ec chunk_part_open(struct block_reader *r, const struct block_column *k,
    const struct block_chunk *h, uint32_t g, struct chunk_part *c, struct err *err)
{
    enum part_table table;
    struct bytes stored;
    const struct page_ref *page = &r->schema->pages[h->page_first];
    *c = (struct chunk_part){.k = k, .h = h};
    ASSERT(block_schema_phys(r->schema, k->col, &table, &c->phys));
    uint32_t *first = ARENA_ARRAY(&r->arena, h->group_last - h->group_first + 2ULL, uint32_t);
    if (first == NULL)
        return rows_limit(err);
    TRY(block_page_read(r, page, &stored, err));
    page_in_init(&c->in, stored, page->raw, &r->scratch);
    TRY(block_chunk_runs(r, &c->in, k->col < COL_FIXED_MAX, table, h, first, err));
    c->first = first[g - h->group_first];
    c->n = first[g - h->group_first + 1] - c->first;
    return EC_OK;
}

/* Values [first, first + n) of the page. */
static enum ec part_values(struct block_reader *r, struct chunk_part *c, uint32_t first, uint32_t n,
    const void **ret, struct err *err)
{
    unsigned width = col_phys_width(c->phys);
    uint8_t *out;
    if (c->phys == PHYS_ID16 || ints_are_differences(&c->in)) { /* each depends on those before */
        out = arena_alloc(&r->arena, (uint64_t)c->h->n_values * width + 1);
        if (out == NULL)
            return rows_limit(err);
        TRY(block_chunk_values(&c->in, c->phys, c->h->n_values, out, err));
        *ret = out + (uint64_t)first * width;
        return EC_OK;
    }
    out = arena_alloc(&r->arena, (uint64_t)n * width + 1);
    if (out == NULL)
        return rows_limit(err);
    TRY(ints_get_some(&c->in, c->h->n_values, width, first, n, out, err));
    if (c->phys == PHYS_I64)
        for (uint32_t i = 0; i < n; i++)
            ((uint64_t *)(void *)out)[i] ^= 1ULL << 63;
    *ret = out;
    return EC_OK;
}

/* Strings of a chunk's own dictionary: only those that the codes name, numbered anew. */
static enum ec some_strings_dict(
    struct block_reader *r, const struct chunk_part *c, struct col_view *v, struct err *err)
{
    const struct page_ref *pages = &r->schema->pages[c->h->page_first + c->h->n_value_pages];
    uint32_t *code = ARENA_ARRAY(&r->arena, v->n + 1ULL, uint32_t);
    struct some_dict *d = ARENA_NEW(&r->arena, struct some_dict);
    if (code == NULL || d == NULL)
        return rows_limit(err);
    TRY(block_dict_some(r, pages, c->h, v->u32, v->n, code, d, err));
    v->u32 = code;
    v->dict = &d->dict;
    return EC_OK;
}

static enum ec some_strings(
    struct block_reader *r, const struct chunk_part *c, struct col_view *v, struct err *err)
{
    bool local = c->k->flags & COLUMN_LOCAL;
    uint32_t max = 0, limit = local ? c->h->dict_n : c->k->dict_n;
    for (uint32_t i = 0; i < v->n; i++)
        max = MAX(max, v->u32[i]);
    if (v->n > 0 && max >= limit)
        return ERR(err, EC_CORRUPT, "code %u of %u", max, limit);
    if (local)
        return some_strings_dict(r, c, v, err);
    const struct dict_object *d;
    TRY(block_load_dict(r, c->k, &d, err));
    v->dict = &d->dict.dict;
    return EC_OK;
}

/* Attributes: the view has the wanted rows' values only. */
static enum ec view_some_attrs(struct block_reader *r, const struct block_rows *b,
    const struct block_column *k, const struct block_chunk *h, struct col_view *ret,
    struct err *err)
{
    struct chunk_part c;
    uint32_t a = k->col - COL_FIXED_MAX;
    TRY(chunk_part_open(r, k, h, b->g, &c, err));
    if (b->total[a] != c.n)
        return ERR(err, EC_CORRUPT, "shapes promise %u values of column %u, %u are stored",
            b->total[a], k->col, c.n);
    *ret = (struct col_view){
        .phys = c.phys, .n = b->from[a + 1] - b->from[a], .rows = b->rows + b->from[a]};
    TRY(part_values(r, &c, c.first + b->before[a], ret->n, &ret->data, err));
    TRY(page_in_end(&c.in, err));
    return c.phys == PHYS_CODE ? some_strings(r, &c, ret, err) : EC_OK;
}

/* Values of rows [first, first + n) of a dense column; *ret is indexed by the group's row, and of
 * other rows there is no value behind it. */
static enum ec view_some_dense(struct block_reader *r, uint32_t g, uint32_t first, uint32_t n,
    const struct block_column *k, const struct block_chunk *h, struct col_view *ret,
    struct err *err)
{
    struct chunk_part c;
    uint32_t limit = 0;
    TRY(chunk_part_open(r, k, h, g, &c, err));
    if (first > c.n || n > c.n - first)
        return ERR(err, EC_CORRUPT, "column %u: %u values in group %u", k->col, c.n, g);
    *ret = (struct col_view){.phys = c.phys, .n = n};
    TRY(part_values(r, &c, c.first + first, n, &ret->data, err));
    TRY(page_in_end(&c.in, err));
    if (c.phys == PHYS_CODE)
        return some_strings(r, &c, ret, err);
    if (k->col == COL_SPAN_RESOURCE)
        limit = r->root->n_resources;
    else if (k->col == COL_SPAN_SCOPE)
        limit = r->root->n_scopes;
    for (uint32_t i = 0; limit != 0 && i < n; i++)
        if (ret->u32[i] >= limit)
            return ERR(err, EC_CORRUPT, "column %u: %u of %u", k->col, ret->u32[i], limit);
    return EC_OK;
}

/* Span ids of the whole group: parents are found by their rows. */
static enum ec rows_ids(struct block_reader *r, struct block_rows *b, struct err *err)
{
    if (b->ids.n > 0)
        return EC_OK;
    const struct block_column *k = block_schema_column(r->schema, COL_SPAN_ID);
    const struct block_chunk *h = k == NULL ? NULL : block_chunk_find(r->schema, k, b->g);
    if (h == NULL || h->n_value_pages != 1)
        return block_view(r, b->g, COL_SPAN_ID, &b->ids, err);
    uint32_t n = r->schema->groups[b->g].part.n_rows;
    return view_some_dense(r, b->g, 0, n, k, h, &b->ids, err);
}

/* FORMAT.md section 5: codes of the whole page, as odd parents are counted from its start. */
static enum ec view_some_parents(struct block_reader *r, struct block_rows *b,
    const struct block_column *k, const struct block_chunk *h, struct col_view *ret,
    struct err *err)
{
    struct chunk_part c;
    const void *p;
    const uint8_t *odd = NULL;
    uint64_t used = 0, n_ones = 0;
    TRY(chunk_part_open(r, k, h, b->g, &c, err));
    uint64_t *codes = arena_alloc(&r->arena, h->n_values * 8ULL + 1);
    uint64_t *out = arena_alloc(&r->arena, b->n * 8ULL + 1);
    if (codes == NULL || out == NULL)
        return rows_limit(err);
    TRY(block_chunk_values(&c.in, PHYS_U64, h->n_values, (uint8_t *)codes, err));
    p = codes + c.first + b->first;
    for (uint32_t i = 0; i < h->n_values; i++) {
        n_ones += codes[i] == 1;
        used += codes[i] == 1 && i < c.first + b->first;
    }
    uint64_t n_odd = cur_varint(&c.in.c);
    if (c.in.c.bad || n_odd != n_ones)
        return ERR(err, EC_CORRUPT, "%llu odd parents", (unsigned long long)n_odd);
    TRY(section_get(&c.in, n_odd * 8, &odd, err));
    TRY(page_in_end(&c.in, err));
    const uint64_t *code = p;
    for (uint32_t i = 0; i < b->n; i++) /* before the ids come into the same buffers */
        out[i] = code[i] == 1 ? get_u64le(odd + 8 * used++) : 0;
    TRY(rows_ids(r, b, err));
    for (uint32_t i = 0; i < b->n; i++) {
        if (code[i] < 2)
            continue;
        uint64_t row = b->first + i - (uint64_t)zigzag_decode(code[i] - 2);
        if (row >= b->ids.n)
            return ERR(err, EC_CORRUPT, "group %u: parent of row %u is not in it", b->g, i);
        out[i] = b->ids.u64[row];
    }
    *ret = (struct col_view){.phys = PHYS_U64, .n = b->n, .u64 = out};
    return EC_OK;
}

/* The whole view; what has no list of rows starts at the first wanted one. */
static enum ec view_whole(struct block_reader *r, uint32_t g, col_id col, uint32_t first,
    uint32_t n, struct col_view *ret, struct err *err)
{
    struct col_view v;
    TRY(block_view(r, g, col, &v, err));
    col_view_from(&v, first, n);
    *ret = v;
    return EC_OK;
}

/* Columns that are read as a whole for other reasons, or cost nothing. */
static bool col_whole(col_id col)
{
    switch (col) {
    case COL_SPAN_TRACE:
    case COL_SPAN_SHAPE:
    case COL_EVENT_SPAN:
    case COL_EVENT_SHAPE:
    case COL_LINK_SPAN:
    case COL_LINK_SHAPE:
        return true;
    default:
        return col < COL_FIXED_MAX && part_col_sparse(col);
    }
}

/* NULL: it has no values, or is better read as a whole. */
static const struct block_column *rows_column(
    const struct block_reader *r, const struct block_rows *b, col_id col)
{
    if (b->whole)
        return NULL;
    if (col >= COL_FIXED_MAX) {
        uint32_t a = col - COL_FIXED_MAX;
        if (b->from[a + 1] - b->from[a] > VALUES_MAX)
            return NULL;
    }
    return block_schema_column(r->schema, col);
}

static enum ec view_some(struct block_reader *r, struct block_rows *b, const struct block_column *k,
    const struct block_chunk *h, struct col_view *ret, struct err *err)
{
    if (k->col >= COL_FIXED_MAX)
        return view_some_attrs(r, b, k, h, ret, err);
    if (k->col == COL_SPAN_PARENT)
        return view_some_parents(r, b, k, h, ret, err);
    if (k->col == COL_SPAN_ID) {
        TRY(rows_ids(r, b, err));
        *ret = (struct col_view){
            .phys = PHYS_U64, .n = b->n, .u64 = b->ids.u64 == NULL ? NULL : b->ids.u64 + b->first};
        return EC_OK;
    }
    return view_some_dense(r, b->g, b->first, b->n, k, h, ret, err);
}

enum ec block_view_rows(struct part_reader *base, uint32_t g, col_id col, uint32_t first,
    uint32_t n, struct col_view *ret, struct err *err)
{
    struct block_reader *r = CONTAINER_OF(base, struct block_reader, base);
    enum part_table table = TABLE_COUNT;
    enum col_phys phys;
    struct block_rows *b = NULL;
    TRY(block_load_schema(r, err));
    if (!block_schema_phys(r->schema, col, &table, &phys) || table <= TABLE_SCOPES || n == 0 ||
        col_whole(col))
        return view_whole(r, g, col, first, n, ret, err);
    ASSERT(g < r->root->n_groups);
    TRY(rows_of(r, table, g, first, n, &b, err));
    ASSERT(b != NULL);
    const struct block_column *k = rows_column(r, b, col);
    const struct block_chunk *h = k == NULL ? NULL : block_chunk_find(r->schema, k, g);
    if (h == NULL || h->n_value_pages != 1 || block_has_chunk(r, (uint32_t)(h - r->schema->chunks)))
        return view_whole(r, g, col, first, n, ret, err);
    struct err local = {0};
    struct err *e = err != NULL ? err : &local; /* on_corrupt wants a message in any case */
    struct col_view v;
    enum ec ec = view_some(r, b, k, h, &v, e);
    if (ec != EC_OK) {
        (void)err_prefix(e, "block %s: column %u", r->b->path, col);
        return block_damaged(r->b, ec, e);
    }
    *ret = v;
    return EC_OK;
}
