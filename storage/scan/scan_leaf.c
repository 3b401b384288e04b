/* SPDX-License-Identifier: Apache-2.0
 * Evaluating one condition over the columns of one group.
 *
 * A view's values become a bitmap of values (kernels below), which is scattered to a bitmap of the
 * table's rows; rows of other tables are then mapped to spans. Strings are decided by code: by
 * comparing codes where the literals' codes are known, else by a memo that asks each code's string
 * once.
 *
 * Row numbers and codes come from files: each is checked before it is used as an index.
 */
#include <stdlib.h>

#include "scan_impl.h"
#include "scan_kernels.h"

#define BY_CODE_MAX 8u

static size_t words(uint64_t n)
{
    return (size_t)((n + 63) / 64);
}

static void words_fill(uint64_t *w, uint32_t n)
{
    memset(w, 0xff, n / 64 * sizeof(w[0]));
    if (n % 64 != 0)
        w[n / 64] = ((uint64_t)1 << (n % 64)) - 1;
}

enum ec scan_scratch_words(struct buf *b, uint32_t n, uint64_t **ret, struct err *err)
{
    size_t bytes = words(n) * sizeof(uint64_t) + sizeof(uint64_t);
    buf_reset(b);
    if (!buf_reserve(b, bytes))
        return ERR(err, EC_LIMIT, "no memory to scan %u values", n);
    memset(b->p, 0, bytes);
    *ret = (uint64_t *)(void *)b->p; /* from malloc: aligned */
    return EC_OK;
}

static void kernel_bool(const uint8_t *v, uint32_t n, bool if_true, bool if_false, uint64_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i / 64] |= (uint64_t)(v[i] != 0 ? if_true : if_false) << (i % 64);
}

static void kernel_id16(
    const struct trace_id *v, uint32_t n, const struct scan_leaf *want, uint64_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        struct value x = {.type = VALUE_STR, .s = str_n((const char *)v[i].b, 16)};
        out[i / 64] |= (uint64_t)scan_scalar_holds(want, &x) << (i % 64);
    }
}

static void memo_free(struct scan *s, struct leaf_col *c)
{
    free(c->known);
    budget_give(s->r->budget, c->memo_bytes);
    c->known = c->yes = NULL;
    c->memo_bytes = 0;
}

/* Turns to the dictionary of a view. */
static enum ec col_dict(struct scan *s, const struct leaf *l, struct leaf_col *c,
    const struct dict *dict, struct err *err)
{
    if (c->dict == dict)
        return EC_OK;
    c->dict = NULL;
    c->all_known = false;
    c->n_codes = dict_count(dict);
    if (c->by_code) {
        c->n_found = 0;
        for (uint32_t i = 0; i < l->want->n_lits; i++)
            if (l->want->lits[i].type == SCAN_LIT_STR &&
                dict_find(dict, l->want->lits[i].s, &c->codes[c->n_found]))
                c->n_found++;
    } else {
        memo_free(s, c);
        size_t bytes = 2 * words(c->n_codes) * sizeof(uint64_t);
        if (!budget_take(s->r->budget, bytes))
            return ERR(err, EC_LIMIT, "no memory to scan %u strings", c->n_codes);
        c->memo_bytes = bytes;
        c->known = xcalloc(bytes + 1, 1);
        c->yes = c->known + words(c->n_codes);
    }
    c->dict = dict;
    return EC_OK;
}

static void memo_ask(const struct leaf *l, struct leaf_col *c, uint32_t code)
{
    uint64_t bit = (uint64_t)1 << (code % 64);
    if ((c->known[code / 64] & bit) != 0)
        return;
    struct value x = {.type = c->type, .s = dict_get(c->dict, code)};
    c->known[code / 64] |= bit;
    if (scan_value_holds(l->want, &x))
        c->yes[code / 64] |= bit;
}

static enum ec kernel_memo(const struct leaf *l, struct leaf_col *c, const struct col_view *v,
    uint64_t *out, struct err *err)
{
    /* No more strings than values: nearly all of them occur, and none need be looked for. */
    if (!c->all_known && c->n_codes <= v->n) {
        for (uint32_t code = 0; code < c->n_codes; code++)
            memo_ask(l, c, code);
        c->all_known = true;
    }
    if (!c->all_known) {
        if (!kernel_lookup(v->u32, v->n, c->known, c->n_codes, out))
            return ERR(err, EC_CORRUPT, "column %u: string code past %u", c->col, c->n_codes);
        for (uint32_t i = 0; i < v->n; i += 64) {
            uint64_t unknown = ~out[i / 64];
            if (v->n - i < 64)
                unknown &= ((uint64_t)1 << (v->n - i)) - 1;
            for (; unknown != 0; unknown &= unknown - 1)
                memo_ask(l, c, v->u32[i + (uint32_t)__builtin_ctzll(unknown)]);
        }
    }
    if (!kernel_lookup(v->u32, v->n, c->yes, c->n_codes, out))
        return ERR(err, EC_CORRUPT, "column %u: string code past %u", c->col, c->n_codes);
    return EC_OK;
}

/* Which values of the view match. `out` is zeroed and has room for v->n bits. */
static enum ec col_values(struct scan *s, struct leaf *l, struct leaf_col *c,
    const struct col_view *v, uint64_t *out, struct err *err)
{
    enum scan_op op = l->want->op;
    if (v->phys != c->phys)
        return ERR(err, EC_CORRUPT, "column %u has another type", c->col);
    if (op == SCAN_KEY || op == SCAN_ABSENT || (op == SCAN_EXISTS && c->type != VALUE_ARRAY)) {
        words_fill(out, v->n);
        return EC_OK;
    }
    switch (v->phys) {
    case PHYS_U8: {
        const struct value t = {.type = VALUE_BOOL, .b = true}, f = {.type = VALUE_BOOL};
        kernel_bool(
            v->u8, v->n, scan_scalar_holds(l->want, &t), scan_scalar_holds(l->want, &f), out);
        return EC_OK;
    }
    case PHYS_U32:
        kernel_u32(v->u32, v->n, &l->u64, out);
        return EC_OK;
    case PHYS_U64:
        kernel_u64(v->u64, v->n, &l->u64, out);
        return EC_OK;
    case PHYS_I64:
        kernel_i64(v->i64, v->n, &l->i64, out);
        return EC_OK;
    case PHYS_F64:
        kernel_f64(v->f64, v->n, &l->f64, out);
        return EC_OK;
    case PHYS_ID16:
        kernel_id16(v->id16, v->n, l->want, out);
        return EC_OK;
    case PHYS_CODE:
        break;
    }
    if (v->dict == NULL)
        return ERR(err, EC_CORRUPT, "column %u has no dictionary", c->col);
    TRY(col_dict(s, l, c, v->dict, err));
    if (!c->by_code)
        return kernel_memo(l, c, v, out, err);
    kernel_codes(v->u32, v->n, c->codes, c->n_found, op == SCAN_NE || op == SCAN_NOT_IN, out);
    return EC_OK;
}

/* Sets the rows of those values whose bit is set; `all`: of all values. */
static enum ec rows_scatter(const struct col_view *v, const uint64_t *bits, uint32_t n_rows,
    uint64_t *rows, struct err *err)
{
    if (v->rows == NULL) {
        if (v->n > n_rows)
            return ERR(err, EC_CORRUPT, "%u values for %u rows", v->n, n_rows);
        for (size_t i = 0; i < words(v->n); i++)
            rows[i] |= bits[i];
        return EC_OK;
    }
    for (size_t i = 0; i < words(v->n); i++)
        for (uint64_t w = bits[i]; w != 0; w &= w - 1) {
            uint32_t row = v->rows[i * 64 + (uint32_t)__builtin_ctzll(w)];
            if (UNLIKELY(row >= n_rows))
                return ERR(err, EC_CORRUPT, "row %u of %u", row, n_rows);
            rows[row / 64] |= (uint64_t)1 << (row % 64);
        }
    return EC_OK;
}

/* A sparse fixed column whose default matches: all rows but those with a value of their own. */
static enum ec rows_default(
    const struct col_view *v, uint32_t n_rows, uint64_t *rows, struct err *err)
{
    words_fill(rows, n_rows);
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (UNLIKELY(row >= n_rows))
            return ERR(err, EC_CORRUPT, "row %u of %u", row, n_rows);
        rows[row / 64] &= ~((uint64_t)1 << (row % 64));
    }
    return EC_OK;
}

/* Rows of the leaf's table that match. `rows` is zeroed and has room for n_rows bits. */
static enum ec leaf_rows(
    struct scan *s, struct leaf *l, uint32_t g, uint32_t n_rows, uint64_t *rows, struct err *err)
{
    enum scan_op op = l->want->op;
    if (l->fixed && (op == SCAN_EXISTS || op == SCAN_KEY || op == SCAN_ABSENT)) {
        if (op != SCAN_ABSENT)
            words_fill(rows, n_rows);
        return EC_OK;
    }
    for (uint32_t i = 0; i < l->n_cols; i++) {
        struct col_view v;
        uint64_t *bits = NULL;
        TRY(part_view(s->r, g, l->cols[i].col, &v, err));
        if (l->by_default)
            TRY(rows_default(&v, n_rows, rows, err));
        if (v.n == 0)
            continue;
        TRY(scan_scratch_words(&s->values, v.n, &bits, err));
        TRY(col_values(s, l, &l->cols[i], &v, bits, err));
        TRY(rows_scatter(&v, bits, n_rows, rows, err));
    }
    if (op == SCAN_ABSENT) {
        size_t n = words(n_rows);
        for (size_t i = 0; i < n; i++)
            rows[i] = ~rows[i];
        if (n_rows % 64 != 0)
            rows[n - 1] &= ((uint64_t)1 << (n_rows % 64)) - 1;
    }
    return EC_OK;
}

/* Spans whose resource (scope) matches. */
static enum ec leaf_objects(struct scan *s, const struct leaf *l, uint32_t g, uint32_t n_spans,
    struct scan_bits *ret, struct err *err)
{
    struct col_view v;
    if (l->n_objects_true == 0)
        return EC_OK;
    if (l->n_objects_true == l->n_objects) {
        scan_bits_fill(ret, n_spans);
        return EC_OK;
    }
    col_id col = l->table == TABLE_RESOURCES ? COL_SPAN_RESOURCE : COL_SPAN_SCOPE;
    TRY(part_view(s->r, g, col, &v, err));
    if (v.rows != NULL || v.n != n_spans || v.phys != PHYS_U32)
        return ERR(err, EC_CORRUPT, "column %u has %u values for %u spans", col, v.n, n_spans);
    if (!kernel_lookup(v.u32, n_spans, l->object_bits, l->n_objects, ret->w))
        return ERR(err, EC_CORRUPT, "column %u names a row of after %u", col, l->n_objects);
    return EC_OK;
}

/* Spans of which some event (link) matches. */
static enum ec leaf_children(struct scan *s, struct leaf *l, uint32_t g, uint32_t n_children,
    struct scan_bits *ret, struct err *err)
{
    struct col_view v;
    uint64_t *rows = NULL;
    if (n_children == 0)
        return EC_OK;
    TRY(scan_scratch_words(&s->rows, n_children, &rows, err));
    TRY(leaf_rows(s, l, g, n_children, rows, err));
    uint64_t any = 0;
    for (size_t i = 0; i < words(n_children); i++)
        any |= rows[i];
    if (any == 0)
        return EC_OK;
    TRY(part_view(s->r, g, l->table == TABLE_EVENTS ? COL_EVENT_SPAN : COL_LINK_SPAN, &v, err));
    if (v.rows != NULL || v.n != n_children || v.phys != PHYS_U32)
        return ERR(err, EC_CORRUPT, "%u of %u events or links have a span", v.n, n_children);
    /* One bitmap over children, one over spans: the scatter of a sparse view. */
    v = (struct col_view){.n = n_children, .rows = v.u32};
    return rows_scatter(&v, rows, ret->n, ret->w, err);
}

enum ec leaf_group(struct scan *s, struct leaf *l, uint32_t g, const struct part_group *pg,
    struct scan_bits *ret, struct err *err)
{
    scan_bits_clear(ret, pg->n_rows);
    switch (l->table) {
    case TABLE_RESOURCES:
    case TABLE_SCOPES:
        return leaf_objects(s, l, g, pg->n_rows, ret, err);
    case TABLE_EVENTS:
        return leaf_children(s, l, g, pg->n_events, ret, err);
    case TABLE_LINKS:
        return leaf_children(s, l, g, pg->n_links, ret, err);
    default:
        return leaf_rows(s, l, g, pg->n_rows, ret->w, err);
    }
}

/* Is it known without pages that no value of this string column can match? */
static bool col_hopeless(struct scan *s, const struct scan_leaf *want, col_id col)
{
    if (want->op != SCAN_EQ && want->op != SCAN_IN)
        return false;
    for (uint32_t i = 0; i < want->n_lits; i++)
        if (want->lits[i].type == SCAN_LIT_STR && part_may_have(s->r, col, want->lits[i].s))
            return false;
    return true;
}

static enum ec leaf_col_add(struct scan *s, struct leaf *l, col_id col, enum value_type type,
    enum col_phys phys, struct err *err)
{
    const struct scan_leaf *want = l->want;
    struct leaf_col *c = &l->cols[l->n_cols];
    *c = (struct leaf_col){.col = col, .type = type, .phys = phys};
    c->by_code = type == VALUE_STR && want->n_lits <= BY_CODE_MAX &&
                 (want->op == SCAN_EQ || want->op == SCAN_NE || want->op == SCAN_IN ||
                     want->op == SCAN_NOT_IN);
    if (c->by_code) {
        c->codes = ARENA_ARRAY(&s->arena, want->n_lits, uint32_t);
        if (c->codes == NULL)
            return ERR(err, EC_LIMIT, "no memory for a scan");
    }
    l->n_cols++;
    return EC_OK;
}

/* Whether the literals say anything about a fixed column of this kind. */
static bool fixed_comparable(const struct scan_leaf *want, enum col_phys phys)
{
    if (want->op == SCAN_EXISTS || want->op == SCAN_KEY)
        return true;
    bool text = phys == PHYS_CODE || phys == PHYS_ID16;
    if (want->op == SCAN_MATCH || want->op == SCAN_NOT_MATCH)
        return phys == PHYS_CODE;
    if (want->op == SCAN_TRUE || want->op == SCAN_ABSENT)
        return false;
    for (uint32_t i = 0; i < want->n_lits; i++) {
        enum scan_lit_type t = want->lits[i].type;
        if (text ? t == SCAN_LIT_STR : t != SCAN_LIT_STR && t != SCAN_LIT_BOOL)
            return true;
    }
    return false;
}

static bool ranges_have_zero(const struct ranges_u64 *r)
{
    bool in = false;
    for (uint32_t i = 0; i < r->n; i++)
        in |= r->r[i].lo == 0;
    return in != r->negate;
}

static enum ec leaf_init_fixed(struct scan *s, struct leaf *l, bool *ret_none, struct err *err)
{
    enum col_phys phys = PHYS_U8;
    const char *name;
    bool known = part_col_fixed(l->want->col, &l->table, &phys, &name);
    ASSERT(known);
    l->fixed = true;
    *ret_none = !fixed_comparable(l->want, phys);
    if (*ret_none || l->want->op == SCAN_EXISTS || l->want->op == SCAN_KEY)
        return EC_OK;
    if (part_col_sparse(l->want->col)) {
        const struct value empty = {.type = VALUE_STR, .s = STR("")};
        l->by_default =
            phys == PHYS_CODE ? scan_scalar_holds(l->want, &empty) : ranges_have_zero(&l->u64);
    }
    if (phys == PHYS_CODE && !l->by_default && col_hopeless(s, l->want, l->want->col)) {
        *ret_none = true;
        return EC_OK;
    }
    enum value_type type = phys == PHYS_CODE ? VALUE_STR : VALUE_EMPTY;
    return leaf_col_add(s, l, l->want->col, type, phys, err);
}

static enum ec leaf_init_attr(struct scan *s, struct leaf *l, bool *ret_none, struct err *err)
{
    const struct scan_leaf *want = l->want;
    const struct part_attr *attrs[VALUE_TYPES];
    uint32_t types = scan_leaf_types(want);
    l->table = want->table;
    TRY(part_attr_find(s->r, want->table, want->key, attrs, err));
    for (uint32_t t = 0; t < VALUE_TYPES; t++) {
        if (attrs[t] == NULL)
            continue;
        l->key_cols[l->n_key_cols++] = attrs[t]->col;
        l->array_col = t == VALUE_ARRAY ? attrs[t]->col : l->array_col;
        if ((types & 1u << t) == 0)
            continue;
        if (t == VALUE_STR && col_hopeless(s, want, attrs[t]->col))
            continue;
        TRY(leaf_col_add(s, l, attrs[t]->col, t, value_type_phys(t), err));
    }
    *ret_none = l->n_cols == 0 && want->op != SCAN_ABSENT;
    return EC_OK;
}

static enum ec leaf_init_ranges(struct scan *s, struct leaf *l, struct err *err)
{
    uint32_t n = l->want->n_lits;
    l->i64.r = ARENA_ARRAY(&s->arena, n, struct ranges_i64_one);
    l->u64.r = ARENA_ARRAY(&s->arena, n, struct ranges_u64_one);
    l->f64.r = ARENA_ARRAY(&s->arena, n, struct ranges_f64_one);
    if (n != 0 && (l->i64.r == NULL || l->u64.r == NULL || l->f64.r == NULL))
        return ERR(err, EC_LIMIT, "no memory for a scan");
    scan_ranges_i64(l->want, &l->i64);
    scan_ranges_u64(l->want, &l->u64);
    scan_ranges_f64(l->want, &l->f64);
    return EC_OK;
}

enum ec leaf_init(
    struct scan *s, struct leaf *l, const struct scan_leaf *want, bool *ret_none, struct err *err)
{
    l->want = want;
    ASSERT(want->op > SCAN_GE || want->n_lits == 1);
    TRY(leaf_init_ranges(s, l, err));
    if (want->key.p == NULL)
        TRY(leaf_init_fixed(s, l, ret_none, err));
    else
        TRY(leaf_init_attr(s, l, ret_none, err));
    if (*ret_none || (l->table != TABLE_RESOURCES && l->table != TABLE_SCOPES))
        return EC_OK;
    l->n_objects = l->table == TABLE_RESOURCES ? s->info.n_resources : s->info.n_scopes;
    l->object_bits = ARENA_ARRAY(&s->arena, words(l->n_objects) + 1, uint64_t);
    if (l->object_bits == NULL)
        return ERR(err, EC_LIMIT, "no memory for a scan");
    TRY(leaf_rows(s, l, 0, l->n_objects, l->object_bits, err));
    for (size_t i = 0; i < words(l->n_objects); i++)
        l->n_objects_true += count_bits(l->object_bits[i]);
    *ret_none = l->n_objects_true == 0;
    return EC_OK;
}

void leaf_deinit(struct scan *s, struct leaf *l)
{
    for (uint32_t i = 0; i < l->n_cols; i++)
        memo_free(s, &l->cols[i]);
}

uint32_t leaf_cost(const struct leaf *l)
{
    if (l->table == TABLE_RESOURCES || l->table == TABLE_SCOPES)
        return 1;
    uint32_t cost = l->table != TABLE_SPANS ? 16 : l->fixed ? 2 : 4;
    return l->n_cols > 0 && l->cols[0].phys == PHYS_CODE && !l->cols[0].by_code ? 4 * cost : cost;
}
