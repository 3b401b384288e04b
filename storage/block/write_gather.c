/* SPDX-License-Identifier: Apache-2.0
 * Values of a column out of the sources and into the new order.
 *
 * Views are read group by group in source order, values land at pos[source number]. Strings become
 * numbers: equal strings of all sources get one. A source dictionary's codes are looked up once
 * each and remembered in dict_map, whose entries carry an epoch so that it is never cleared. */
#include <stdlib.h>

#include "base/hash.h"
#include "write.h"

#define CURSOR_VALUES_MAX ((uint64_t)1 << 18) /* then a fresh reader: what it pins stays bounded */

/* Interner. */

void interner_init(struct interner *in, struct budget *budget, struct arena *copies)
{
    *in = (struct interner){.arena = copies};
    buf_init(&in->refs, budget);
    buf_init(&in->table, budget);
}

void interner_deinit(struct interner *in)
{
    buf_deinit(&in->refs);
    buf_deinit(&in->table);
}

static enum ec interner_grow(struct interner *in, struct err *err)
{
    uint32_t mask = in->mask == 0 ? 63 : in->mask * 2 + 1;
    struct buf table;
    buf_init(&table, in->table.budget);
    if (mask >= PART_NONE / 2 || !buf_reserve(&table, (mask + 1ULL) * 8)) {
        buf_deinit(&table);
        return writer_limit(err);
    }
    memset(table.p, 0, (mask + 1ULL) * 8);
    uint32_t *to = (uint32_t *)(void *)table.p;
    const uint32_t *from = (const uint32_t *)(const void *)in->table.p;
    for (uint64_t i = 0; in->mask != 0 && i <= in->mask; i++) {
        if (from[i * 2] == 0)
            continue;
        uint32_t k = from[i * 2 + 1] & mask;
        while (to[k * 2ULL] != 0)
            k = (k + 1) & mask;
        to[k * 2ULL] = from[i * 2];
        to[k * 2ULL + 1] = from[i * 2 + 1];
    }
    buf_deinit(&in->table);
    in->table = table;
    in->mask = mask;
    return EC_OK;
}

/* A slot is (number + 1, low hash bits). */
enum ec interner_add(struct interner *in, struct str s, uint32_t *ret, struct err *err)
{
    if ((in->n + 1ULL) * 4 > (in->mask + 1ULL) * 3 || in->mask == 0)
        TRY(interner_grow(in, err));
    uint32_t hash = (uint32_t)hash64(s.p, s.n), k = hash & in->mask;
    uint32_t *slots = (uint32_t *)(void *)in->table.p;
    for (; slots[k * 2ULL] != 0; k = (k + 1) & in->mask) {
        if (slots[k * 2ULL + 1] == hash && str_eq(interner_get(in, slots[k * 2ULL] - 1), s)) {
            *ret = slots[k * 2ULL] - 1;
            return EC_OK;
        }
    }
    if (in->arena != NULL) {
        s = arena_str(in->arena, s);
        if (s.p == NULL)
            return writer_limit(err);
    }
    if (!buf_reserve(&in->refs, sizeof(s)))
        return writer_limit(err);
    memcpy(in->refs.p + in->refs.n, &s, sizeof(s));
    in->refs.n += sizeof(s);
    in->bytes += s.n;
    slots[k * 2ULL] = in->n + 1;
    slots[k * 2ULL + 1] = hash;
    *ret = in->n++;
    return EC_OK;
}

/* Gathered pairs. */

void gathered_init(struct gathered *g, struct budget *budget)
{
    *g = (struct gathered){0};
    buf_init(&g->rows, budget);
    buf_init(&g->vals, budget);
}

void gathered_deinit(struct gathered *g)
{
    buf_deinit(&g->rows);
    buf_deinit(&g->vals);
}

void gathered_reset(struct gathered *g)
{
    g->n = 0;
    buf_reset(&g->rows);
    buf_reset(&g->vals);
}

enum ec gathered_reserve(struct gathered *g, size_t more, struct err *err)
{
    g->rows.n = g->n * 4;
    g->vals.n = g->n * 8;
    if (!buf_reserve(&g->rows, more * 4) || !buf_reserve(&g->vals, more * 8))
        return writer_limit(err);
    return EC_OK;
}

/* Few values among many places: least significant digit first, 11 bits at a time. */
static void gathered_radix(struct gathered *g, uint32_t *rows2, uint64_t *vals2, uint32_t n_places)
{
    uint32_t *ra = gathered_rows(g), *rb = rows2;
    uint64_t *va = gathered_vals(g), *vb = vals2;
    for (unsigned shift = 0; shift < 32 && (n_places - 1) >> shift != 0; shift += 11) {
        uint32_t at[2048] = {0}, sum = 0;
        for (size_t i = 0; i < g->n; i++)
            at[ra[i] >> shift & 2047]++;
        for (unsigned i = 0; i < 2048; i++) {
            uint32_t n = at[i];
            at[i] = sum;
            sum += n;
        }
        for (size_t i = 0; i < g->n; i++) {
            uint32_t to = at[ra[i] >> shift & 2047]++;
            rb[to] = ra[i];
            vb[to] = va[i];
        }
        uint32_t *rt = ra;
        uint64_t *vt = va;
        ra = rb, rb = rt;
        va = vb, vb = vt;
    }
    if (ra != gathered_rows(g)) {
        memcpy(rb, ra, g->n * 4);
        memcpy(vb, va, g->n * 8);
    }
}

/* Many values: a bit for each place taken, the number of bits before it is where the value goes.
 * False when a place has two values. */
static bool gathered_rank(struct gathered *g, uint64_t *bits, uint32_t *before, uint32_t *rows2,
    uint64_t *vals2, uint32_t n_places)
{
    const uint32_t *rows = gathered_rows(g);
    const uint64_t *vals = gathered_vals(g);
    for (size_t i = 0; i < g->n; i++) {
        uint64_t bit = 1ULL << (rows[i] & 63);
        if (bits[rows[i] / 64] & bit)
            return false;
        bits[rows[i] / 64] |= bit;
    }
    uint32_t sum = 0;
    for (uint32_t i = 0; i <= (n_places - 1) / 64; i++) {
        before[i] = sum;
        sum += count_bits(bits[i]);
    }
    for (size_t i = 0; i < g->n; i++) {
        uint32_t word = rows[i] / 64;
        uint64_t below = bits[word] & ((1ULL << (rows[i] & 63)) - 1);
        uint32_t to = before[word] + count_bits(below);
        rows2[to] = rows[i];
        vals2[to] = vals[i];
    }
    memcpy(g->rows.p, rows2, g->n * 4);
    memcpy(g->vals.p, vals2, g->n * 8);
    return true;
}

enum ec gathered_sort(struct writer *w, struct gathered *g, uint32_t n_places, struct err *err)
{
    const uint32_t *rows = gathered_rows(g);
    bool sorted = true;
    for (size_t i = 1; i < g->n && sorted; i++)
        sorted = rows[i - 1] <= rows[i];
    if (sorted)
        return EC_OK;
    struct buf rows2, vals2, bits, before;
    buf_init(&rows2, w->opt->budget);
    buf_init(&vals2, w->opt->budget);
    buf_init(&bits, w->opt->budget);
    buf_init(&before, w->opt->budget);
    size_t words = n_places / 64 + 1;
    bool rank = g->n >= words, ok = buf_reserve(&rows2, g->n * 4) && buf_reserve(&vals2, g->n * 8);
    if (ok && rank)
        ok = buf_reserve(&bits, words * 8) && buf_reserve(&before, words * 4);
    if (ok && rank)
        memset(bits.p, 0, words * 8);
    uint32_t *r2 = (uint32_t *)(void *)rows2.p;
    uint64_t *v2 = (uint64_t *)(void *)vals2.p;
    if (ok && !(rank && gathered_rank(g, (uint64_t *)(void *)bits.p, (uint32_t *)(void *)before.p,
                            r2, v2, n_places)))
        gathered_radix(g, r2, v2, n_places);
    buf_deinit(&rows2);
    buf_deinit(&vals2);
    buf_deinit(&bits);
    buf_deinit(&before);
    return ok ? EC_OK : writer_limit(err);
}

/* Cursor. */

enum ec wcursor_view(
    struct wcursor *c, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    if (c->s->r->part->is_head)
        return part_view(c->s->r, g, col, ret, err);
    if (c->own == NULL) {
        TRY(part_reader_open(c->s->r->part, c->w->opt->budget, &c->own, err));
        c->own->once = true;
    }
    TRY(part_view(c->own, g, col, ret, err));
    c->used += ret->n;
    return EC_OK;
}

void wcursor_next(struct wcursor *c)
{
    if (c->used > CURSOR_VALUES_MAX)
        wcursor_close(c);
}

void wcursor_close(struct wcursor *c)
{
    if (c->own == NULL)
        return;
    part_reader_close(c->own);
    c->own = NULL;
    c->used = 0;
    c->w->dict_map_of = NULL; /* another dictionary may come to lie at the same address */
}

uint64_t view_value(const struct col_view *v, uint32_t i)
{
    switch (v->phys) {
    case PHYS_U8:
        return v->u8[i];
    case PHYS_U32:
    case PHYS_CODE:
        return v->u32[i];
    case PHYS_I64:
        return (uint64_t)v->i64[i] ^ 1ULL << 63;
    case PHYS_U64:
    case PHYS_F64:
        return v->u64[i];
    case PHYS_ID16:
        break;
    }
    ASSERT(false && "a number");
}

/* Our number for a code of a source dictionary. */
static enum ec gather_string(struct writer *w, struct interner *in, const struct col_view *v,
    uint32_t code, uint64_t *ret, struct err *err)
{
    uint64_t *map = (uint64_t *)(void *)w->dict_map.p;
    if (map[code] >> 32 == w->dict_map_epoch) {
        *ret = (uint32_t)map[code];
        return EC_OK;
    }
    uint32_t number;
    TRY(interner_add(in, dict_get(v->dict, code), &number, err));
    map[code] = (uint64_t)w->dict_map_epoch << 32 | number;
    *ret = number;
    return EC_OK;
}

/* The map is about to be used for the codes of `dict` and the strings of one column. */
static enum ec dict_map_begin(
    struct writer *w, const struct dict *dict, const struct interner *in, struct err *err)
{
    size_t need = (size_t)dict_count(dict) * 8;
    if (w->dict_map.n < need) {
        size_t had = w->dict_map.n;
        if (!buf_reserve(&w->dict_map, need - had))
            return writer_limit(err);
        memset(w->dict_map.p + had, 0, need - had);
        w->dict_map.n = need;
    }
    if (w->dict_map_of != dict || w->dict_map_for != in) {
        w->dict_map_of = dict;
        w->dict_map_for = in;
        w->dict_map_epoch++;
        ASSERT(w->dict_map_epoch != 0);
    }
    return EC_OK;
}

/* One value of a fixed column, translated. */
static enum ec gather_value(struct writer *w, struct wsource *s, col_id col,
    const struct col_view *v, uint32_t i, uint64_t *ret, struct err *err)
{
    switch (col) {
    case COL_SPAN_RESOURCE:
        return writer_table_map(w, s, TABLE_RESOURCES, v->u32[i], ret, err);
    case COL_SPAN_SCOPE:
        return writer_table_map(w, s, TABLE_SCOPES, v->u32[i], ret, err);
    case COL_SPAN_SHAPE:
    case COL_EVENT_SHAPE:
    case COL_LINK_SHAPE:
        return writer_shape_map(w, s, v->u32[i], ret, err);
    default:
        *ret = view_value(v, i);
        return EC_OK;
    }
}

/* Is this group of the source in a chunk that is copied? */
static bool group_copied(const struct wsource *s, uint32_t g, const struct copies *copies)
{
    return copies != NULL && copies->covered != NULL && s->copy_to != NULL &&
           s->copy_to[g] != PART_NONE && copies->covered[s->copy_to[g]];
}

static enum ec gather_dense_source(struct writer *w, struct wsource *s, enum part_table t,
    col_id col, const struct copies *copies, uint64_t *out, struct err *err)
{
    struct wcursor c = {.w = w, .s = s};
    const uint32_t *pos = w->pos[t];
    enum ec ec = EC_OK;
    for (uint32_t g = 0; ec == EC_OK && g < s->info.n_groups; g++) {
        struct col_view v;
        uint32_t base = s->base[t][g], n = s->base[t][g + 1] - base;
        wcursor_next(&c);
        if (n == 0 || group_copied(s, g, copies) ||
            (ec = wcursor_view(&c, g, col, &v, err)) != EC_OK)
            continue;
        if (v.n < n || v.rows != NULL) {
            ec = ERR(err, EC_CORRUPT, "group %u: column %u has %u values of %u", g, col, v.n, n);
            break;
        }
        bool plain = v.phys == PHYS_U64;
        for (uint32_t i = 0; ec == EC_OK && i < n; i++) {
            uint32_t p = pos[base + i];
            if (p == PART_NONE)
                continue;
            if (plain)
                out[p] = v.u64[i];
            else
                ec = gather_value(w, s, col, &v, i, &out[p], err);
        }
    }
    wcursor_close(&c);
    return ec;
}

enum ec writer_gather_dense(struct writer *w, enum part_table t, col_id col,
    const struct copies *copies, uint64_t *out, struct err *err)
{
    for (size_t i = 0; i < w->n_src; i++)
        TRY(gather_dense_source(w, &w->src[i], t, col, copies, out, err));
    return EC_OK;
}

/* Collecting. */

void wanted_init(struct writer *w, struct wanted *k, col_id col, enum part_table t, enum col_phys p)
{
    *k = (struct wanted){.col = col, .table = t, .phys = p};
    gathered_init(&k->got, w->opt->budget);
    interner_init(&k->strings, w->opt->budget, w->copy_strings ? &w->tmp : NULL);
    w->dict_map_of = NULL; /* another interner may come to lie at the same address */
}

void wanted_reset(struct writer *w, struct wanted *k)
{
    struct wanted fresh;
    wanted_init(w, &fresh, k->col, k->table, k->phys);
    wanted_deinit(k);
    *k = fresh;
}

void wanted_deinit(struct wanted *k)
{
    gathered_deinit(&k->got);
    interner_deinit(&k->strings);
}

static enum ec wanted_view(struct writer *w, struct wsource *s, struct wanted *k, uint32_t g,
    const struct col_view *v, uint32_t lo, uint32_t hi, struct err *err)
{
    const uint32_t *pos = w->pos[k->table];
    uint32_t base = s->base[k->table][g], n = s->base[k->table][g + 1] - base;
    if (v->phys == PHYS_CODE)
        TRY(dict_map_begin(w, v->dict, &k->strings, err));
    TRY(gathered_reserve(&k->got, v->n, err));
    uint32_t *rows = gathered_rows(&k->got) + k->got.n;
    uint64_t *vals = gathered_vals(&k->got) + k->got.n;
    size_t got = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (row >= n) /* a head has grown meanwhile */
            break;
        uint32_t p = pos[base + row];
        if (p < lo || p >= hi) /* PART_NONE is above every hi */
            continue;
        rows[got] = p;
        if (v->phys == PHYS_CODE)
            TRY(gather_string(w, &k->strings, v, v->u32[i], &vals[got], err));
        else
            vals[got] = view_value(v, i);
        got++;
        if (k->bytes_max != 0 && k->strings.bytes > k->bytes_max) {
            k->too_big = true;
            break;
        }
    }
    k->got.n += got;
    return EC_OK;
}

col_id writer_source_col(const struct wsource *s, col_id col)
{
    if (col < COL_FIXED_MAX)
        return col;
    col_id from = s->attr_from[col - COL_FIXED_MAX];
    return from == 0 ? WRITER_NO_COLUMN : from;
}

enum ec writer_gather(
    struct writer *w, struct wanted *k, size_t n, uint32_t lo, uint32_t hi, struct err *err)
{
    enum ec ec = EC_OK;
    for (size_t si = 0; ec == EC_OK && si < w->n_src; si++) {
        struct wsource *s = &w->src[si];
        struct wcursor c = {.w = w, .s = s};
        enum part_table t = k[0].table;
        for (uint32_t g = 0; ec == EC_OK && g < s->info.n_groups; g++) {
            if (s->base[t][g + 1] == s->base[t][g] || s->out_min[t][g] >= hi ||
                s->out_max[t][g] < lo)
                continue;
            wcursor_next(&c);
            for (size_t i = 0; ec == EC_OK && i < n; i++) {
                struct col_view v;
                ASSERT(k[i].table == t);
                col_id col = writer_source_col(s, k[i].col);
                if (col == WRITER_NO_COLUMN || k[i].too_big || group_copied(s, g, &k[i].copies))
                    continue;
                ec = wcursor_view(&c, g, col, &v, err);
                if (ec == EC_OK && v.n > 0)
                    ec = wanted_view(w, s, &k[i], g, &v, lo, hi, err);
            }
        }
        wcursor_close(&c);
    }
    for (size_t i = 0; ec == EC_OK && i < n; i++)
        if (!k[i].too_big)
            ec = gathered_sort(w, &k[i].got, MAX(w->n_out[k[i].table], 1u), err);
    return ec;
}
