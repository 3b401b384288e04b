/* SPDX-License-Identifier: Apache-2.0
 * The schema footer: groups, attribute columns, shapes and the page index. See format.h.
 *
 * The counts come first, so that the memory of the decoded form is known, charged and allocated
 * once, before anything is believed. Every element takes at least one raw byte: counts are bounded
 * by the size of the footer, which is bounded by PAGE_RAW_MAX.
 */
#include "base/hash.h"
#include "format.h"

struct schema_counts {
    uint32_t n_groups, n_attrs, n_shapes, n_shape_cols, n_columns, n_chunks, n_pages;
    uint64_t key_bytes;
};

void block_schema_encode(struct buf *out, const struct block_schema *s)
{
    uint64_t key_bytes = 0;
    for (uint32_t i = 0; i < s->n_attrs; i++)
        key_bytes += s->attrs[i].key.n;
    buf_put_varint(out, s->n_groups);
    buf_put_varint(out, s->n_attrs);
    buf_put_varint(out, key_bytes);
    buf_put_varint(out, s->n_shapes);
    buf_put_varint(out, s->shape_first[s->n_shapes]);
    buf_put_varint(out, s->n_columns);
    buf_put_varint(out, s->n_chunks);
    buf_put_varint(out, s->n_pages);
    for (uint32_t i = 0; i < s->n_groups; i++) {
        const struct block_group *g = &s->groups[i];
        buf_put_varint(out, g->part.n_rows);
        buf_put_varint(out, g->part.n_events);
        buf_put_varint(out, g->part.n_links);
        buf_put_varint(out, g->part.min_start_ns);
        buf_put_varint(out, g->part.max_start_ns - g->part.min_start_ns);
        buf_put_varint(out, g->part.max_end_ns - g->part.min_start_ns);
        buf_put_varint(out, g->trace_first);
        buf_put_varint(out, g->weight);
    }
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        const struct part_attr *a = &s->attrs[i];
        buf_putc(out, (char)(a->table << 4 | a->type));
        buf_put_varint(out, a->n_values);
        buf_put_varint(out, a->key.n);
        buf_puts(out, a->key);
    }
    for (uint32_t i = 0; i < s->n_shapes; i++) {
        buf_put_varint(out, s->shape_first[i + 1] - s->shape_first[i]);
        for (uint32_t k = s->shape_first[i]; k < s->shape_first[i + 1]; k++)
            buf_put_varint(out, s->shape_cols[k] - COL_FIXED_MAX);
    }
    for (uint32_t i = 0; i < s->n_columns; i++) {
        const struct block_column *c = &s->columns[i];
        buf_put_varint(out, c->col);
        buf_putc(out, (char)c->flags);
        buf_put_varint(out, c->n_values);
        buf_put_varint(out, c->n_chunks);
        buf_put_varint(out, c->n_dict_pages);
        buf_put_varint(out, c->dict_n);
        buf_put_varint(out, c->dict_bytes);
        buf_put_varint(out, c->n_filter_pages);
    }
    uint32_t group_prev = 0;
    for (uint32_t i = 0; i < s->n_chunks; i++) {
        const struct block_chunk *c = &s->chunks[i];
        buf_put_varint(out, zigzag_encode((int64_t)c->group_first - (int64_t)group_prev));
        buf_put_varint(out, c->group_last - c->group_first);
        buf_put_varint(out, c->n_values);
        buf_put_varint(out, c->n_value_pages);
        buf_put_varint(out, c->n_dict_pages);
        if (c->n_dict_pages > 0) {
            buf_put_varint(out, c->dict_n);
            buf_put_varint(out, c->dict_bytes);
        }
        group_prev = c->group_last;
    }
    uint64_t end = BLOCK_HEADER_BYTES;
    for (uint32_t i = 0; i < s->n_pages; i++) {
        const struct page_ref *p = &s->pages[i];
        buf_put_varint(out, zigzag_encode((int64_t)(p->offset - end)));
        buf_put_varint(out, p->stored);
        buf_put_varint(out, p->raw);
        buf_put_u64le(out, p->sum);
        end = p->offset + p->stored;
    }
}

static enum ec schema_counts(struct cur *c, struct schema_counts *ret, struct err *err)
{
    ret->n_groups = cur_u32(c);
    ret->n_attrs = cur_u32(c);
    ret->key_bytes = cur_varint(c);
    ret->n_shapes = cur_u32(c);
    ret->n_shape_cols = cur_u32(c);
    ret->n_columns = cur_u32(c);
    ret->n_chunks = cur_u32(c);
    ret->n_pages = cur_u32(c);
    uint64_t left = cur_left(c);
    if (c->bad || ret->n_groups > left / 8 || ret->n_attrs > left / 3 || ret->key_bytes > left ||
        ret->n_shapes > left || ret->n_shape_cols > left || ret->n_columns > left / 8 ||
        ret->n_chunks > left / 5 || ret->n_pages > left / 11 || ret->n_attrs > BLOCK_COLUMNS_MAX ||
        ret->n_shapes > BLOCK_SHAPES_MAX)
        return ERR(err, EC_CORRUPT, "schema: counts are larger than the footer");
    return EC_OK;
}

static uint64_t schema_bytes(const struct schema_counts *n)
{
    return sizeof(struct block_schema) + (uint64_t)n->n_groups * sizeof(struct block_group) +
           (uint64_t)n->n_attrs * sizeof(struct part_attr) +
           (uint64_t)n->n_columns * sizeof(struct block_column) +
           (uint64_t)n->n_pages * sizeof(struct page_ref) +
           (uint64_t)n->n_chunks * sizeof(struct block_chunk) + ((uint64_t)n->n_shapes + 1) * 4 +
           (uint64_t)n->n_shape_cols * 8 + ((uint64_t)n->n_attrs + 1) * 4 + n->key_bytes;
}

enum ec block_schema_size(struct bytes raw, uint64_t *ret_bytes, struct err *err)
{
    struct cur c = {raw.p, raw.p + raw.n, false};
    struct schema_counts n;
    TRY(schema_counts(&c, &n, err));
    *ret_bytes = schema_bytes(&n);
    return EC_OK;
}

static void *carve(uint8_t **p, uint64_t bytes)
{
    void *at = *p;
    *p += bytes;
    return at;
}

/* Bigger alignments first: every array starts where its type may. */
static struct block_schema *schema_lay_out(
    void *mem, const struct schema_counts *n, char **ret_keys)
{
    uint8_t *p = mem;
    struct block_schema *s = carve(&p, sizeof(*s));
    *s = (struct block_schema){.n_groups = n->n_groups,
        .n_attrs = n->n_attrs,
        .n_shapes = n->n_shapes,
        .n_columns = n->n_columns,
        .n_chunks = n->n_chunks,
        .n_pages = n->n_pages};
    s->groups = carve(&p, (uint64_t)n->n_groups * sizeof(*s->groups));
    s->attrs = carve(&p, (uint64_t)n->n_attrs * sizeof(*s->attrs));
    s->columns = carve(&p, (uint64_t)n->n_columns * sizeof(*s->columns));
    s->pages = carve(&p, (uint64_t)n->n_pages * sizeof(*s->pages));
    s->chunks = carve(&p, (uint64_t)n->n_chunks * sizeof(*s->chunks));
    s->shape_first = carve(&p, ((uint64_t)n->n_shapes + 1) * 4);
    s->shape_cols = carve(&p, (uint64_t)n->n_shape_cols * 4);
    s->col_shapes = carve(&p, (uint64_t)n->n_shape_cols * 4);
    s->col_shape_first = carve(&p, ((uint64_t)n->n_attrs + 1) * 4);
    *ret_keys = carve(&p, n->key_bytes);
    ASSERT((uint64_t)(p - (uint8_t *)mem) == schema_bytes(n));
    return s;
}

static enum ec schema_groups(
    struct cur *c, struct block_schema *s, const struct block_root *root, struct err *err)
{
    uint64_t rows = 0, events = 0, links = 0;
    uint32_t trace_prev = 0;
    for (uint32_t i = 0; i < s->n_groups; i++) {
        struct block_group *g = &s->groups[i];
        g->part.row_first = (uint32_t)rows;
        g->part.n_rows = cur_u32(c);
        g->part.n_events = cur_u32(c);
        g->part.n_links = cur_u32(c);
        g->part.min_start_ns = cur_varint(c);
        g->part.max_start_ns = g->part.min_start_ns + cur_varint(c);
        g->part.max_end_ns = g->part.min_start_ns + cur_varint(c);
        g->trace_first = cur_u32(c);
        g->weight = cur_varint(c);
        rows += g->part.n_rows;
        events += g->part.n_events;
        links += g->part.n_links;
        if (c->bad || g->part.n_rows == 0 || g->part.n_rows > PART_GROUP_ROWS ||
            rows > root->facts.n_spans || events > root->n_events || links > root->n_links ||
            g->trace_first < trace_prev || g->trace_first >= root->facts.n_traces)
            return ERR(err, EC_CORRUPT, "schema: group %u", i);
        trace_prev = g->trace_first;
    }
    if (s->n_groups != root->n_groups || rows != root->facts.n_spans || events != root->n_events ||
        links != root->n_links)
        return ERR(err, EC_CORRUPT, "schema: groups hold %llu rows of %llu",
            (unsigned long long)rows, (unsigned long long)root->facts.n_spans);
    return EC_OK;
}

static int attr_cmp(const struct part_attr *a, enum part_table t, struct str key, unsigned type)
{
    if (a->table != t)
        return a->table < t ? -1 : 1;
    int k = str_cmp(a->key, key);
    return k != 0 ? k : a->type < type ? -1 : a->type > type;
}

static enum ec schema_attrs(
    struct cur *c, struct block_schema *s, char *keys, uint64_t key_bytes, struct err *err)
{
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        struct part_attr *a = &s->attrs[i];
        uint8_t kind = cur_u8(c);
        a->col = COL_FIXED_MAX + i;
        a->table = (enum part_table)(kind >> 4);
        a->type = (enum value_type)(kind & 15);
        a->n_values = cur_varint(c);
        uint64_t key_n = cur_varint(c);
        const uint8_t *key = cur_take(c, key_n);
        if (c->bad || key_n > key_bytes || kind >> 4 >= TABLE_COUNT || (kind & 15) >= VALUE_TYPES)
            return ERR(err, EC_CORRUPT, "schema: attribute %u", i);
        if (key_n > 0)
            memcpy(keys, key, key_n);
        a->key = str_n(keys, (size_t)key_n);
        keys += key_n;
        key_bytes -= key_n;
        if (i > 0 && attr_cmp(a - 1, a->table, a->key, a->type) >= 0)
            return ERR(err, EC_CORRUPT, "schema: attribute %u is out of order", i);
    }
    return key_bytes == 0 ? EC_OK : ERR(err, EC_CORRUPT, "schema: keys are cut short");
}

static enum ec schema_shapes(
    struct cur *c, struct block_schema *s, uint32_t n_shape_cols, struct err *err)
{
    uint32_t at = 0;
    memset(s->col_shape_first, 0, ((size_t)s->n_attrs + 1) * 4);
    for (uint32_t i = 0; i < s->n_shapes; i++) {
        uint32_t n = cur_u32(c);
        s->shape_first[i] = at;
        if (c->bad || n > n_shape_cols - at)
            return ERR(err, EC_CORRUPT, "schema: shape %u", i);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t attr = cur_u32(c);
            if (c->bad || attr >= s->n_attrs ||
                (k > 0 && s->attrs[attr].table != s->attrs[s->shape_cols[at - 1] - 64].table))
                return ERR(err, EC_CORRUPT, "schema: shape %u, column %u", i, attr);
            s->shape_cols[at++] = attr + COL_FIXED_MAX;
            s->col_shape_first[attr + 1]++;
        }
    }
    s->shape_first[s->n_shapes] = at;
    if (at != n_shape_cols)
        return ERR(err, EC_CORRUPT, "schema: shapes are cut short");
    for (uint32_t i = 0; i < s->n_attrs; i++)
        s->col_shape_first[i + 1] += s->col_shape_first[i];
    /* Filled from the back, the starts end up where they belong. */
    for (uint32_t i = 0; i < s->n_shapes; i++)
        for (uint32_t k = s->shape_first[i]; k < s->shape_first[i + 1]; k++)
            s->col_shapes[s->col_shape_first[s->shape_cols[k] - COL_FIXED_MAX]++] = i;
    for (uint32_t i = s->n_attrs; i > 0; i--)
        s->col_shape_first[i] = s->col_shape_first[i - 1];
    if (s->n_attrs > 0)
        s->col_shape_first[0] = 0;
    return EC_OK;
}

static enum ec schema_columns(struct cur *c, struct block_schema *s, struct err *err)
{
    uint64_t chunks = 0;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        struct block_column *k = &s->columns[i];
        enum part_table table;
        enum col_phys phys;
        *k = (struct block_column){0};
        k->col = cur_u32(c);
        k->flags = cur_u8(c);
        k->n_values = cur_varint(c);
        k->chunk_first = (uint32_t)chunks;
        k->n_chunks = cur_u32(c);
        k->n_dict_pages = cur_u32(c);
        k->dict_n = cur_u32(c);
        k->dict_bytes = cur_u32(c);
        k->n_filter_pages = cur_u32(c);
        chunks += k->n_chunks;
        if (c->bad || chunks > s->n_chunks || (i > 0 && k->col <= s->columns[i - 1].col) ||
            !block_schema_phys(s, k->col, &table, &phys) || k->flags > COLUMN_LOCAL ||
            (phys != PHYS_CODE && (k->flags | k->n_dict_pages | k->n_filter_pages) != 0) ||
            k->dict_n > PAGE_RAW_MAX || k->dict_bytes > PAGE_RAW_MAX)
            return ERR(err, EC_CORRUPT, "schema: column %u", k->col);
    }
    return chunks == s->n_chunks ? EC_OK : ERR(err, EC_CORRUPT, "schema: chunks are cut short");
}

/* Chunks of a column ascend by group and do not overlap; pages are handed out in order. */
static enum ec schema_chunks(struct cur *c, struct block_schema *s, struct err *err)
{
    uint64_t pages = 0;
    int64_t group_prev = 0;
    for (uint32_t i = 0; i < s->n_columns; i++) {
        struct block_column *k = &s->columns[i];
        uint64_t values = 0;
        k->dict_page_first = (uint32_t)pages;
        pages += k->n_dict_pages;
        k->filter_page_first = (uint32_t)pages;
        pages += k->n_filter_pages;
        for (uint32_t j = 0; j < k->n_chunks; j++) {
            struct block_chunk *h = &s->chunks[k->chunk_first + j];
            *h = (struct block_chunk){0};
            int64_t first = group_prev + zigzag_decode(cur_u32(c));
            uint64_t last = (uint64_t)first + cur_u32(c);
            h->n_values = cur_u32(c);
            h->n_value_pages = cur_u32(c);
            h->n_dict_pages = cur_u32(c);
            if (h->n_dict_pages > 0) {
                h->dict_n = cur_u32(c);
                h->dict_bytes = cur_u32(c);
            }
            h->page_first = (uint32_t)pages;
            pages += (uint64_t)h->n_value_pages + h->n_dict_pages;
            values += h->n_values;
            uint64_t pages_want = ((uint64_t)h->n_values + PAGE_VALUES_MAX - 1) / PAGE_VALUES_MAX;
            if (c->bad || first < 0 || (uint64_t)first > last || last >= MAX(s->n_groups, 1u) ||
                (j > 0 && (uint64_t)first <= h[-1].group_last) || h->n_values == 0 ||
                h->n_value_pages != pages_want || pages > s->n_pages ||
                ((k->flags & COLUMN_LOCAL) != 0) != (h->n_dict_pages != 0) ||
                h->dict_n > h->n_values)
                return ERR(err, EC_CORRUPT, "schema: column %u, chunk %u", k->col, j);
            h->group_first = (uint32_t)first;
            h->group_last = (uint32_t)last;
            group_prev = (int64_t)last;
        }
        if (pages > s->n_pages || values != k->n_values)
            return ERR(err, EC_CORRUPT, "schema: column %u has %llu values of %llu", k->col,
                (unsigned long long)values, (unsigned long long)k->n_values);
    }
    return pages == s->n_pages ? EC_OK : ERR(err, EC_CORRUPT, "schema: pages are cut short");
}

static enum ec schema_pages(
    struct cur *c, struct block_schema *s, uint64_t file_bytes, struct err *err)
{
    uint64_t end = BLOCK_HEADER_BYTES;
    for (uint32_t i = 0; i < s->n_pages; i++) {
        struct page_ref *p = &s->pages[i];
        p->offset = end + (uint64_t)zigzag_decode(cur_varint(c));
        p->stored = cur_u32(c);
        p->raw = cur_u32(c);
        p->sum = cur_u64le(c);
        if (c->bad || p->offset < BLOCK_HEADER_BYTES || p->offset > file_bytes ||
            p->stored > file_bytes - p->offset || p->raw > PAGE_RAW_MAX)
            return ERR(err, EC_CORRUPT, "schema: page %u", i);
        end = p->offset + p->stored;
    }
    return EC_OK;
}

enum ec block_schema_decode(struct bytes raw, const struct block_root *root, uint64_t file_bytes,
    void *mem, struct block_schema **ret, struct err *err)
{
    struct cur c = {raw.p, raw.p + raw.n, false};
    struct schema_counts n;
    char *keys;
    TRY(schema_counts(&c, &n, err));
    struct block_schema *s = schema_lay_out(mem, &n, &keys);
    TRY(schema_groups(&c, s, root, err));
    TRY(schema_attrs(&c, s, keys, n.key_bytes, err));
    TRY(schema_shapes(&c, s, n.n_shape_cols, err));
    TRY(schema_columns(&c, s, err));
    TRY(schema_chunks(&c, s, err));
    TRY(schema_pages(&c, s, file_bytes, err));
    if (c.p != c.end)
        return ERR(err, EC_CORRUPT, "schema: %zu bytes too many", cur_left(&c));
    *ret = s;
    return EC_OK;
}

const struct block_column *block_schema_column(const struct block_schema *s, col_id col)
{
    uint32_t lo = 0, hi = s->n_columns;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->columns[mid].col < col)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n_columns && s->columns[lo].col == col ? &s->columns[lo] : NULL;
}

bool block_schema_phys(
    const struct block_schema *s, col_id col, enum part_table *ret_table, enum col_phys *ret_phys)
{
    const char *name;
    if (col < COL_FIXED_MAX)
        return part_col_fixed(col, ret_table, ret_phys, &name);
    if (col - COL_FIXED_MAX >= s->n_attrs)
        return false;
    const struct part_attr *a = &s->attrs[col - COL_FIXED_MAX];
    *ret_table = a->table;
    *ret_phys = value_type_phys(a->type);
    return true;
}
