/* SPDX-License-Identifier: Apache-2.0
 * Attribute columns, shapes, resources and scopes of all sources as one set.
 *
 * A resource or scope becomes one byte string (its shape in our columns, then everything it holds),
 * so that equal content from different sources is one row by comparing bytes. Sources are encoded
 * up front; a row enters the new table when a span first refers to it, and the columns of the table
 * are written out of the byte strings at the end. Encoded row: varint shape, varint dropped count,
 * schema url, name, version (varint length and bytes; the last two only in scopes), then the values
 * in shape order: strings as length and bytes, numbers as 8 bytes, U8 as 1. */
#include <stdlib.h>

#include "write.h"

static int attr_order(const void *a, const void *b)
{
    const struct part_attr *x = a, *y = b;
    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    int k = str_cmp(x->key, y->key);
    return k != 0 ? k : x->type < y->type ? -1 : x->type > y->type;
}

static enum ec attrs_map_source(struct writer *w, struct wsource *s, struct err *err)
{
    for (size_t i = 0; i < s->n_attrs; i++)
        s->attr_map_n = MAX(s->attr_map_n, s->attrs[i].col - COL_FIXED_MAX + 1);
    s->attr_map = ARENA_ARRAY(&w->arena, s->attr_map_n + 1ULL, col_id);
    s->attr_from = ARENA_ARRAY(&w->arena, w->n_attrs + 1ULL, col_id);
    if (s->attr_map == NULL || s->attr_from == NULL)
        return writer_limit(err);
    for (size_t i = 0; i < s->n_attrs; i++) {
        struct part_attr *our =
            bsearch(&s->attrs[i], w->attrs, w->n_attrs, sizeof(*w->attrs), attr_order);
        ASSERT(our != NULL);
        s->attr_map[s->attrs[i].col - COL_FIXED_MAX] = our->col;
        s->attr_from[our->col - COL_FIXED_MAX] = s->attrs[i].col;
    }
    return EC_OK;
}

enum ec writer_attrs(struct writer *w, struct err *err)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < w->n_src; i++)
        n += w->src[i].n_attrs;
    if (n > BLOCK_COLUMNS_MAX)
        return ERR(err, EC_TOO_LARGE, "%zu attribute columns in one block", n);
    w->attrs = ARENA_ARRAY(&w->arena, n + 1, struct part_attr);
    if (w->attrs == NULL)
        return writer_limit(err);
    for (size_t i = 0, at = 0; i < w->n_src; at += w->src[i++].n_attrs)
        if (w->src[i].n_attrs > 0)
            memcpy(w->attrs + at, w->src[i].attrs, w->src[i].n_attrs * sizeof(*w->attrs));
    qsort(w->attrs, n, sizeof(*w->attrs), attr_order);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && attr_order(&w->attrs[kept - 1], &w->attrs[i]) == 0)
            continue;
        w->attrs[kept] = w->attrs[i];
        w->attrs[kept].col = COL_FIXED_MAX + (col_id)kept;
        w->attrs[kept].n_values = 0;
        kept++;
    }
    w->n_attrs = (uint32_t)kept;
    for (size_t i = 0; i < w->n_src; i++)
        TRY(attrs_map_source(w, &w->src[i], err));
    return EC_OK;
}

/* Shapes. */

static enum ec shape_intern(
    struct writer *w, struct wsource *s, uint32_t shape, uint32_t *ret, struct err *err)
{
    const col_id *cols;
    size_t n;
    TRY(part_shape(s->r, shape, &cols, &n, err));
    buf_reset(&w->shape_scratch);
    for (size_t i = 0; i < n; i++) {
        if (cols[i] < COL_FIXED_MAX || cols[i] - COL_FIXED_MAX >= s->attr_map_n ||
            s->attr_map[cols[i] - COL_FIXED_MAX] == 0)
            return ERR(err, EC_CORRUPT, "shape %u has no column %u", shape, cols[i]);
        buf_put_u32le(&w->shape_scratch, s->attr_map[cols[i] - COL_FIXED_MAX]);
    }
    if (buf_failed(&w->shape_scratch))
        return writer_limit(err);
    TRY(interner_add(&w->shapes, buf_str(&w->shape_scratch), ret, err));
    if (w->shapes.n > BLOCK_SHAPES_MAX)
        return ERR(err, EC_TOO_LARGE, "%u shapes in one block", w->shapes.n);
    return EC_OK;
}

enum ec writer_shape_map(
    struct writer *w, struct wsource *s, uint32_t shape, uint64_t *ret, struct err *err)
{
    uint64_t need = (shape + 1ULL) * 4;
    if (s->shape_map.n < need) {
        size_t had = s->shape_map.n;
        if (!buf_reserve(&s->shape_map, need - had))
            return writer_limit(err);
        memset(s->shape_map.p + had, 0, need - had);
        s->shape_map.n = need;
    }
    uint32_t ours = get_u32le(s->shape_map.p + shape * 4ULL);
    if (UNLIKELY(ours == 0)) {
        TRY(shape_intern(w, s, shape, &ours, err));
        put_u32le(s->shape_map.p + shape * 4ULL, ++ours);
    }
    *ret = ours - 1;
    return EC_OK;
}

/* Resources and scopes of a source. */

struct table_cols {
    col_id shape, dropped, schema_url, name, version; /* 0: the table has no such column */
};
static const struct table_cols table_cols[2] = {
    {COL_RESOURCE_SHAPE, COL_RESOURCE_DROPPED_ATTRS, COL_RESOURCE_SCHEMA_URL, 0, 0},
    {COL_SCOPE_SHAPE, COL_SCOPE_DROPPED_ATTRS, COL_SCOPE_SCHEMA_URL, COL_SCOPE_NAME,
        COL_SCOPE_VERSION},
};

struct table_view { /* a view read row by row */
    struct col_view v;
    uint32_t at;
    bool loaded;
};

/* The next value if it is this row's. */
static bool table_view_next(struct table_view *t, uint32_t row, uint32_t *ret_i)
{
    if (t->at >= t->v.n || (t->v.rows == NULL ? t->at : t->v.rows[t->at]) != row)
        return false;
    *ret_i = t->at++;
    return true;
}

static void encode_str(struct buf *out, struct str s)
{
    buf_put_varint(out, s.n);
    buf_puts(out, s);
}

static enum ec encode_fixed(struct wsource *s, const struct table_cols *c,
    struct table_view fixed[5], uint32_t row, uint64_t shape, struct buf *out, struct err *err)
{
    uint32_t i;
    (void)s;
    buf_put_varint(out, shape);
    buf_put_varint(out, table_view_next(&fixed[1], row, &i) ? fixed[1].v.u32[i] : 0);
    for (unsigned k = 2; k < (c->name == 0 ? 3u : 5u); k++) {
        if (table_view_next(&fixed[k], row, &i))
            encode_str(out, dict_get(fixed[k].v.dict, fixed[k].v.u32[i]));
        else if (k == 2)
            encode_str(out, (struct str){0});
        else
            return ERR(err, EC_CORRUPT, "scope %u has no name or version", row);
    }
    return EC_OK;
}

static void encode_value(struct buf *out, const struct col_view *v, uint32_t i)
{
    if (v->phys == PHYS_CODE)
        encode_str(out, dict_get(v->dict, v->u32[i]));
    else if (v->phys == PHYS_U8)
        buf_putc(out, (char)v->u8[i]);
    else
        buf_put_u64le(out, view_value(v, i));
}

static enum ec table_encode_row(struct writer *w, struct wsource *s, unsigned t, uint32_t row,
    struct table_view fixed[5], struct table_view *attrs, struct err *err)
{
    struct buf *out = &s->row_bytes[t];
    const col_id *cols;
    size_t n;
    uint64_t shape;
    uint32_t i;
    if (fixed[0].v.rows != NULL || row >= fixed[0].v.n)
        return ERR(err, EC_CORRUPT, "row %u of table %u has no shape", row, t);
    uint32_t their_shape = fixed[0].v.u32[row];
    TRY(writer_shape_map(w, s, their_shape, &shape, err));
    TRY(encode_fixed(s, &table_cols[t], fixed, row, shape, out, err));
    TRY(part_shape(s->r, their_shape, &cols, &n, err));
    for (size_t k = 0; k < n; k++) {
        struct table_view *a = &attrs[cols[k] - COL_FIXED_MAX];
        if (!a->loaded) {
            TRY(part_view(s->r, 0, cols[k], &a->v, err));
            a->loaded = true;
        }
        if (!table_view_next(a, row, &i))
            return ERR(err, EC_CORRUPT, "row %u of table %u has no column %u", row, t, cols[k]);
        encode_value(out, &a->v, i);
    }
    return buf_failed(out) ? writer_limit(err) : EC_OK;
}

static enum ec table_encode(struct writer *w, struct wsource *s, unsigned t, struct err *err)
{
    uint32_t n = t == TABLE_RESOURCES ? s->info.n_resources : s->info.n_scopes;
    struct table_view fixed[5] = {0};
    const struct table_cols *c = &table_cols[t];
    const col_id cols[5] = {c->shape, c->dropped, c->schema_url, c->name, c->version};
    struct table_view *attrs = ARENA_ARRAY(&w->tmp, s->attr_map_n + 1ULL, struct table_view);
    s->table_map[t] = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    s->row_at[t] = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    if (attrs == NULL || s->table_map[t] == NULL || s->row_at[t] == NULL)
        return writer_limit(err);
    for (unsigned k = 0; k < 5; k++)
        if (cols[k] != 0)
            TRY(part_view(s->r, 0, cols[k], &fixed[k].v, err));
    for (uint32_t row = 0; row < n; row++) {
        if (s->row_bytes[t].n > UINT32_MAX / 2)
            return writer_limit(err);
        s->row_at[t][row] = (uint32_t)s->row_bytes[t].n;
        TRY(table_encode_row(w, s, t, row, fixed, attrs, err));
    }
    s->row_at[t][n] = (uint32_t)s->row_bytes[t].n;
    return EC_OK;
}

enum ec writer_tables_read(struct writer *w, struct err *err)
{
    for (size_t i = 0; i < w->n_src; i++) {
        TRY(table_encode(w, &w->src[i], TABLE_RESOURCES, err));
        TRY(table_encode(w, &w->src[i], TABLE_SCOPES, err));
        arena_reset(&w->tmp);
    }
    return EC_OK;
}

enum ec writer_table_map(struct writer *w, struct wsource *s, enum part_table t, uint32_t row,
    uint64_t *ret, struct err *err)
{
    uint32_t n = t == TABLE_RESOURCES ? s->info.n_resources : s->info.n_scopes;
    if (row >= n)
        return ERR(err, EC_CORRUPT, "row %u of table %u, which has %u", row, t, n);
    if (UNLIKELY(s->table_map[t][row] == 0)) {
        uint32_t ours, at = s->row_at[t][row];
        struct str bytes = str_n((const char *)s->row_bytes[t].p + at, s->row_at[t][row + 1] - at);
        TRY(interner_add(&w->table[t], bytes, &ours, err));
        s->table_map[t][row] = ours + 1;
    }
    *ret = s->table_map[t][row] - 1;
    return EC_OK;
}

/* Writing: byte strings back to columns. What is parsed here was encoded above. */

static struct str decode_str(const uint8_t **p, const uint8_t *end)
{
    uint64_t n;
    *p = varint_get(*p, end, &n);
    ASSERT(*p != NULL && n <= (uint64_t)(end - *p));
    struct str s = str_n((const char *)*p, n);
    *p += n;
    return s;
}

static enum ec table_put(struct wanted *k, uint32_t row, uint64_t v, struct err *err)
{
    TRY(gathered_reserve(&k->got, 1, err));
    gathered_rows(&k->got)[k->got.n] = row;
    gathered_vals(&k->got)[k->got.n++] = v;
    return EC_OK;
}

static enum ec table_put_str(struct wanted *k, uint32_t row, struct str s, struct err *err)
{
    uint32_t number;
    TRY(interner_add(&k->strings, s, &number, err));
    return table_put(k, row, number, err);
}

/* One row into the wanted columns: five fixed ones, then the attributes of the table. */
static enum ec table_decode_row(struct writer *w, unsigned t, uint32_t row, struct wanted *fixed,
    struct wanted *attrs, col_id attr_first, struct err *err)
{
    struct str bytes = interner_get(&w->table[t], row);
    const uint8_t *p = (const uint8_t *)bytes.p, *end = p + bytes.n;
    uint64_t shape, v;
    p = varint_get(p, end, &shape);
    ASSERT(p != NULL && shape < w->shapes.n);
    TRY(table_put(&fixed[0], row, shape, err));
    p = varint_get(p, end, &v);
    ASSERT(p != NULL);
    if (v != 0)
        TRY(table_put(&fixed[1], row, v, err));
    struct str url = decode_str(&p, end);
    if (url.n != 0)
        TRY(table_put_str(&fixed[2], row, url, err));
    if (t == TABLE_SCOPES) {
        TRY(table_put_str(&fixed[3], row, decode_str(&p, end), err));
        TRY(table_put_str(&fixed[4], row, decode_str(&p, end), err));
    }
    struct str cols = interner_get(&w->shapes, (uint32_t)shape);
    for (size_t i = 0; i < cols.n; i += 4) {
        struct wanted *k = &attrs[get_u32le(cols.p + i) - attr_first];
        if (k->phys == PHYS_CODE) {
            TRY(table_put_str(k, row, decode_str(&p, end), err));
        } else {
            size_t n = k->phys == PHYS_U8 ? 1 : 8;
            ASSERT((size_t)(end - p) >= n);
            TRY(table_put(k, row, n == 1 ? *p : get_u64le(p), err));
            p += n;
        }
    }
    ASSERT(p == end);
    return EC_OK;
}

static enum ec table_write_column(struct writer *w, struct wanted *k, struct err *err)
{
    if (k->got.n == 0)
        return EC_OK;
    bool sparse = k->col >= COL_FIXED_MAX || part_col_sparse(k->col);
    struct column_data d = {.col = k->col,
        .table = k->table,
        .phys = k->phys,
        .rows = sparse ? gathered_rows(&k->got) : NULL,
        .vals = gathered_vals(&k->got),
        .n = k->got.n};
    if (k->phys == PHYS_CODE)
        return column_strings(w, &d, &k->strings, err);
    column_begin(w, k->col);
    TRY(column_chunks(w, &d, err));
    return column_end(w, NULL, 0, NULL, err);
}

static enum ec table_write(struct writer *w, enum part_table t, struct err *err)
{
    const struct table_cols *c = &table_cols[t];
    const col_id cols[5] = {c->shape, c->dropped, c->schema_url, c->name, c->version};
    uint32_t first = 0, end; /* our attributes of this table lie together */
    while (first < w->n_attrs && w->attrs[first].table < t)
        first++;
    for (end = first; end < w->n_attrs && w->attrs[end].table == t;)
        end++;
    uint32_t n_wanted = 5 + end - first;
    struct wanted *k = ARENA_ARRAY(&w->arena, n_wanted, struct wanted);
    enum ec ec = EC_OK;
    if (k == NULL)
        return writer_limit(err);
    w->n_out[t] = w->table[t].n;
    for (uint32_t i = 0; i < n_wanted; i++) {
        const struct part_attr *a = i < 5 ? NULL : &w->attrs[first + i - 5];
        if (a == NULL)
            wanted_init(w, &k[i], cols[i], t, i < 2 ? PHYS_U32 : PHYS_CODE);
        else
            wanted_init(w, &k[i], a->col, t, value_type_phys(a->type));
        k[i].strings.arena = NULL; /* the byte strings stay */
    }
    for (uint32_t row = 0; ec == EC_OK && row < w->table[t].n; row++)
        ec = table_decode_row(w, t, row, k, k + 5, COL_FIXED_MAX + first, err);
    for (uint32_t i = 0; ec == EC_OK && i < n_wanted; i++)
        if (k[i].col != 0)
            ec = table_write_column(w, &k[i], err);
    for (uint32_t i = 0; i < n_wanted; i++)
        wanted_deinit(&k[i]);
    return ec;
}

enum ec writer_tables_write(struct writer *w, struct err *err)
{
    TRY(table_write(w, TABLE_RESOURCES, err));
    return table_write(w, TABLE_SCOPES, err);
}
