/* SPDX-License-Identifier: Apache-2.0
 * Binding attributes to the columns of a source, and fetching stored values. */
#include "bind.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

struct qval view_qval(const struct col_view *v, uint32_t i, enum value_type type)
{
    switch (type) {
    case VALUE_INT:
        return qval_int(v->i64[i]);
    case VALUE_DOUBLE:
        return (struct qval){.kind = QV_FLOAT, .f = v->f64[i]};
    case VALUE_BOOL:
        return qval_bool(v->u8[i] != 0);
    case VALUE_STR:
        return qval_str(dict_get(v->dict, v->u32[i]));
    case VALUE_ARRAY: {
        struct value value = {.type = type, .s = dict_get(v->dict, v->u32[i])};
        return qval_of_value(&value);
    }
    default:
        return (struct qval){.kind = QV_OPAQUE};
    }
}

/* Values of one column of resources or scopes, by row; strings are copied, since the reader may be
 * recycled. */
static enum ec spread(struct eval *ev, struct source *s, col_id col, enum value_type type,
    struct qval *wide, uint32_t n, struct err *err)
{
    const struct col_view *v;
    uint32_t slot;
    TRY(source_slot(s, col, &slot, err));
    TRY(source_view(s, slot, 0, &v, err));
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (row >= n || wide[row].kind != QV_NIL)
            continue;
        wide[row] = view_qval(v, i, type);
        if (wide[row].kind != QV_STRING && wide[row].kind != QV_ARRAY)
            continue;
        wide[row].s = arena_str(ev->arena, wide[row].s);
        if (wide[row].s.p == NULL)
            return over_budget(err);
    }
    return EC_OK;
}

static enum ec bind_wide(struct eval *ev, struct source *s, enum part_table table, struct str key,
    struct bind *b, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    uint32_t n = table == TABLE_RESOURCES ? s->info.n_resources : s->info.n_scopes;
    bool service = table == TABLE_RESOURCES && str_eq(key, STR("service.name")), any = service;
    TRY(part_attr_find(s->r, table, key, cols, err));
    for (unsigned t = 0; t < VALUE_TYPES; t++)
        any = any || cols[t] != NULL;
    if (!any)
        return EC_OK;
    struct qval *wide = ARENA_ARRAY(ev->arena, n, struct qval);
    if (wide == NULL)
        return over_budget(err);
    for (unsigned t = 0; t < VALUE_TYPES; t++)
        if (cols[t] != NULL)
            TRY(spread(ev, s, cols[t]->col, (enum value_type)t, wide, n, err));
    for (uint32_t i = 0; service && i < n; i++) /* always exists, as a string */
        if (wide[i].kind == QV_NIL)
            wide[i] = qval_str(str_n("", 0));
    b->wide = wide;
    return EC_OK;
}

static enum ec bind_scope_text(
    struct eval *ev, struct source *s, col_id col, struct bind *b, struct err *err)
{
    struct qval *wide = ARENA_ARRAY(ev->arena, s->info.n_scopes, struct qval);
    if (wide == NULL)
        return over_budget(err);
    TRY(spread(ev, s, col, VALUE_STR, wide, s->info.n_scopes, err));
    for (uint32_t i = 0; i < s->info.n_scopes; i++)
        if (wide[i].kind == QV_NIL)
            wide[i] = qval_str(str_n("", 0));
    b->wide = wide;
    return EC_OK;
}

static enum ec bind_columns(
    struct source *s, enum part_table table, struct str key, struct bind *b, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    TRY(part_attr_find(s->r, table, key, cols, err));
    for (unsigned t = 0; t < VALUE_TYPES; t++) {
        if (cols[t] == NULL)
            continue;
        TRY(source_slot(s, cols[t]->col, &b->slots[t], err));
        b->any_slot = true;
    }
    return EC_OK;
}

enum ec eval_bind(struct eval *ev, const struct tql_attr *attr, uint32_t src,
    const struct bind **ret, struct err *err)
{
    struct bind *b = &ev->binds[(size_t)attr->index * ev->n_sources + src];
    struct source *s = &ev->sources[src];
    *ret = b;
    if (b->ready)
        return EC_OK;
    for (unsigned t = 0; t < VALUE_TYPES; t++)
        b->slots[t] = SOURCE_NO_SLOT;
    if (attr->intrinsic == TQL_I_INSTRUMENTATION_NAME) {
        TRY(bind_scope_text(ev, s, COL_SCOPE_NAME, b, err));
    } else if (attr->intrinsic == TQL_I_INSTRUMENTATION_VERSION) {
        TRY(bind_scope_text(ev, s, COL_SCOPE_VERSION, b, err));
    } else if (attr->intrinsic == TQL_I_NONE) {
        switch (attr->scope) {
        case TQL_SCOPE_NONE:
            TRY(bind_columns(s, TABLE_SPANS, attr->name, b, err));
            TRY(bind_wide(ev, s, TABLE_RESOURCES, attr->name, b, err));
            break;
        case TQL_SCOPE_SPAN:
            TRY(bind_columns(s, TABLE_SPANS, attr->name, b, err));
            break;
        case TQL_SCOPE_RESOURCE:
            TRY(bind_wide(ev, s, TABLE_RESOURCES, attr->name, b, err));
            break;
        case TQL_SCOPE_INSTRUMENTATION:
            TRY(bind_wide(ev, s, TABLE_SCOPES, attr->name, b, err));
            break;
        case TQL_SCOPE_EVENT:
            TRY(bind_columns(s, TABLE_EVENTS, attr->name, b, err));
            break;
        case TQL_SCOPE_LINK:
            TRY(bind_columns(s, TABLE_LINKS, attr->name, b, err));
            break;
        }
    }
    b->ready = true;
    return EC_OK;
}

enum ec bind_fetch(struct source *s, const struct bind *b, uint32_t g, uint32_t off,
    struct qval *ret, struct err *err)
{
    *ret = QVAL_NIL;
    if (!b->any_slot)
        return EC_OK;
    for (unsigned t = 0; t < VALUE_TYPES; t++) {
        const struct col_view *v;
        if (b->slots[t] == SOURCE_NO_SLOT)
            continue;
        TRY(source_view(s, b->slots[t], g, &v, err));
        uint32_t i = v->n == 0 ? PART_NONE : view_index(v, off);
        if (i != PART_NONE) {
            *ret = view_qval(v, i, (enum value_type)t);
            return EC_OK;
        }
    }
    return EC_OK;
}

enum ec bind_range(struct source *s, col_id span_col, uint32_t g, uint32_t off, uint32_t *ret_from,
    uint32_t *ret_to, struct err *err)
{
    const struct col_view *v;
    uint32_t slot;
    *ret_from = *ret_to = 0;
    TRY(source_slot(s, span_col, &slot, err));
    TRY(source_view(s, slot, g, &v, err));
    uint32_t lo = 0, hi = v->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (v->u32[mid] < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_from = lo;
    while (lo < v->n && v->u32[lo] == off)
        lo++;
    *ret_to = lo;
    return EC_OK;
}
