/* SPDX-License-Identifier: Apache-2.0
 * Arguments of metrics functions. As with labels, of several values of a row the first of the
 * lowest type counts, so columns are read backwards. */
#include "metrics_value.h"

#include <math.h>

#include "base/clock.h"
#include "bind.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

bool metric_has_buckets(enum tql_metric_fn fn)
{
    return fn == TQL_M_HISTOGRAM_OVER_TIME || fn == TQL_M_QUANTILE_OVER_TIME;
}

/* Exponent of the smallest power of two >= v, for v >= 2. */
static inline uint32_t exponent(uint64_t v)
{
    return 64u - (uint32_t)__builtin_clzll(v - 1);
}

bool metric_argument(
    const struct tql_metric *m, const struct qval *v, double *ret, uint32_t *ret_exp)
{
    bool buckets = metric_has_buckets(m->fn);
    if (!qval_numeric(v))
        return false;
    if (buckets && (v->kind == QV_FLOAT || v->i < 2))
        return false;
    *ret = qval_number(v);
    if (isnan(*ret))
        return false;
    if (v->kind == QV_DURATION && (buckets || m->attr->intrinsic == TQL_I_DURATION))
        *ret /= (double)NS_PER_S;
    if (buckets)
        *ret_exp = exponent((uint64_t)v->i);
    return true;
}

enum ec value_col_init(struct value_col *c, struct eval *ev, const struct tql_metric *m,
    uint32_t n_rows, struct arena *a, struct err *err)
{
    const struct tql_attr *attr = m->attr;
    *c = (struct value_col){.m = m, .buckets = metric_has_buckets(m->fn)};
    if (attr == NULL)
        return EC_OK;
    size_t n = (size_t)n_rows + 1;
    c->values = c->buckets ? NULL : arena_alloc(a, n * sizeof(double));
    c->exps = c->buckets ? arena_alloc(a, n * sizeof(uint32_t)) : NULL;
    if (c->values == NULL && c->exps == NULL)
        return over_budget(err);
    bool multi = attr->scope == TQL_SCOPE_EVENT || attr->scope == TQL_SCOPE_LINK;
    c->kind = VALUE_COL_ROWS;
    if (attr->intrinsic == TQL_I_DURATION)
        c->kind = VALUE_COL_DURATION;
    if (attr->intrinsic != TQL_I_NONE || multi)
        return EC_OK;
    const struct bind *b = NULL;
    TRY(eval_bind(ev, attr, 0, &b, err));
    const struct part_info *info = &ev->sources[0].info;
    bool scope = attr->scope == TQL_SCOPE_INSTRUMENTATION;
    c->kind = VALUE_COL_COLUMNS;
    memcpy(c->slots, b->slots, sizeof(c->slots));
    c->any_slot = b->any_slot;
    c->wide = b->wide;
    c->wide_col = scope ? COL_SPAN_SCOPE : COL_SPAN_RESOURCE;
    c->n_wide = scope ? info->n_scopes : info->n_resources;
    return EC_OK;
}

static inline uint64_t read_duration(uint64_t ns)
{
    return UNLIKELY(ns > (uint64_t)INT64_MAX) ? 0 : ns; /* the end is before the start */
}

static enum ec fill_durations(
    struct value_col *c, struct source *s, struct frame *f, struct err *err)
{
    const struct col_view *v;
    TRY(frame_view(f, s, COL_SPAN_DURATION, &v, err));
    const uint64_t *ns = v->u64;
    if (!c->buckets) {
        double *values = c->values;
        FRAME_ROWS(f, row)
        values[row] = (double)read_duration(ns[row]) / (double)NS_PER_S;
        return EC_OK;
    }
    uint32_t n = 0, *exps = c->exps, *rows = f->rows_mem;
    FRAME_ROWS(f, row)
    {
        uint64_t x = read_duration(ns[row]);
        exps[row] = exponent(MAX(x, 2u));
        n += x >= 2;
    }
    if (n == f->n)
        return EC_OK;
    n = 0;
    FRAME_ROWS(f, row)
    {
        rows[n] = row;
        n += read_duration(ns[row]) >= 2;
    }
    f->rows = rows;
    f->n = n;
    return EC_OK;
}

static inline void put(
    struct value_col *c, uint32_t row, const struct qval *v, struct scan_bits *has)
{
    double value;
    uint32_t exp = 0;
    if (!metric_argument(c->m, v, &value, &exp)) {
        has->w[row / 64] &= ~((uint64_t)1 << (row % 64));
        return;
    }
    if (c->buckets)
        c->exps[row] = exp;
    else
        c->values[row] = value;
    scan_bits_set(has, row);
}

static enum ec fill_wide(struct value_col *c, struct source *s, const struct frame *f,
    struct scan_bits *has, struct err *err)
{
    const struct col_view *v;
    TRY(frame_view(f, s, c->wide_col, &v, err));
    FRAME_ROWS(f, row)
    {
        uint32_t object = v->u32[row];
        if (UNLIKELY(object >= c->n_wide))
            return ERR(
                err, EC_CORRUPT, "column %u names row %u of %u", c->wide_col, object, c->n_wide);
        put(c, row, &c->wide[object], has);
    }
    return EC_OK;
}

static enum ec fill_columns(struct value_col *c, struct source *s, struct frame *f, struct err *err)
{
    struct scan_bits has;
    scan_bits_clear(&has, f->n_rows);
    if (c->wide != NULL)
        TRY(fill_wide(c, s, f, &has, err));
    for (unsigned t = VALUE_TYPES; t-- > 0 && c->any_slot;) {
        const struct col_view *v;
        if (c->slots[t] == SOURCE_NO_SLOT)
            continue;
        TRY(source_view(s, c->slots[t], f->g, &v, err));
        for (uint32_t i = v->n; i-- > 0;) {
            uint32_t row = v->rows == NULL ? i : v->rows[i];
            if (UNLIKELY(row >= f->n_rows))
                return ERR(err, EC_CORRUPT, "row %u of %u", row, f->n_rows);
            struct qval value = QVAL_NIL; /* the key is there: it hides what lies below */
            if (t == VALUE_INT)
                value = qval_int(v->i64[i]);
            else if (t == VALUE_DOUBLE || t == VALUE_ARRAY)
                value = view_qval(v, i, (enum value_type)t);
            put(c, row, &value, &has);
        }
    }
    frame_keep(f, &has);
    return EC_OK;
}

static enum ec fill_rows(struct value_col *c, struct eval *ev, struct frame *f, struct err *err)
{
    struct scan_bits has;
    scan_bits_clear(&has, f->n_rows);
    for (uint32_t i = 0; i < f->n; i++) {
        struct qval v;
        TRY(eval_attr(ev, c->m->attr, i, &v, err));
        put(c, frame_row(f, i), &v, &has);
    }
    frame_keep(f, &has);
    return EC_OK;
}

enum ec value_col_fill(struct value_col *c, struct eval *ev, struct frame *f, struct err *err)
{
    switch (c->kind) {
    case VALUE_COL_NONE:
        return EC_OK;
    case VALUE_COL_DURATION:
        return fill_durations(c, &ev->sources[0], f, err);
    case VALUE_COL_COLUMNS:
        return fill_columns(c, &ev->sources[0], f, err);
    case VALUE_COL_ROWS:
        return fill_rows(c, ev, f, err);
    }
    ASSERT(false && "a kind of argument");
}
