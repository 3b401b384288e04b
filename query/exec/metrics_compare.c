/* SPDX-License-Identifier: Apache-2.0
 * compare(): every attribute value of every observed span is counted, by side (baseline,
 * selection). Labels of the accumulator: side, attribute text, value. */
#include "bind.h"
#include "compare.h"
#include "metrics_collect.h"

struct compare_col { /* one attribute column of a part */
    struct str text; /* p == NULL: not looked up yet */
    uint32_t slot;
    enum value_type type;
};
struct compare_part {
    struct compare_col *cols; /* by number - COL_FIXED_MAX */
    uint32_t n_cols;
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static enum ec prepare(struct collector *c, uint32_t src, struct err *err)
{
    const struct part_attr *attrs;
    size_t n;
    if (c->compare == NULL)
        c->compare = ARENA_ARRAY(&c->arena, c->n_sources, struct compare_part);
    if (c->compare == NULL)
        return over_budget(err);
    struct compare_part *p = &c->compare[src];
    if (p->cols != NULL)
        return EC_OK;
    TRY(part_attrs(c->sources[src].r, &attrs, &n, err));
    uint32_t n_cols = n == 0 ? 0 : attrs[n - 1].col - COL_FIXED_MAX + 1;
    p->cols = ARENA_ARRAY(&c->arena, n_cols, struct compare_col);
    if (p->cols == NULL)
        return over_budget(err);
    p->n_cols = n_cols;
    for (size_t i = 0; i < n; i++) {
        struct compare_col *col = &p->cols[attrs[i].col - COL_FIXED_MAX];
        struct tql_attr attr = {.name = attrs[i].key,
            .scope = attrs[i].table == TABLE_SPANS       ? TQL_SCOPE_SPAN
                     : attrs[i].table == TABLE_RESOURCES ? TQL_SCOPE_RESOURCE
                                                         : TQL_SCOPE_INSTRUMENTATION};
        if (attrs[i].table == TABLE_EVENTS || attrs[i].table == TABLE_LINKS)
            continue;
        if (!tql_attr_text(&attr, &c->arena))
            return over_budget(err);
        col->text = attr.text;
        col->type = attrs[i].type;
        TRY(source_slot(&c->sources[src], attrs[i].col, &col->slot, err));
    }
    return EC_OK;
}

static enum ec count(struct collector *c, bool selected, struct str key, const struct qval *v,
    uint32_t bucket, struct err *err)
{
    struct qval labels[] = {qval_int(selected), qval_str(key), collect_label(*v)};
    struct acc_series *s;
    if (v->kind == QV_OPAQUE)
        return EC_OK;
    TRY(acc_series(&c->acc, labels, &s, err));
    return acc_count(&c->acc, s, bucket, err);
}

/* The attributes in the row's shape. */
static enum ec count_shape(struct collector *c, const struct qrow *r, col_id shape_col, uint32_t at,
    bool selected, uint32_t bucket, struct err *err)
{
    struct source *s = &c->sources[r->src];
    const struct compare_part *p = &c->compare[r->src];
    struct qrow row = {.src = r->src, .g = r->g, .off = at};
    const col_id *cols;
    uint64_t shape;
    size_t n;
    TRY(qrow_u64(c->ev.trace, &row, shape_col, &shape, err));
    TRY(part_shape(s->r, (uint32_t)shape, &cols, &n, err));
    for (size_t i = 0; i < n; i++) {
        const struct col_view *v;
        bool again = cols[i] < COL_FIXED_MAX || cols[i] - COL_FIXED_MAX >= p->n_cols;
        for (size_t k = 0; k < i && !again; k++)
            again = cols[k] == cols[i];
        if (again)
            continue;
        const struct compare_col *col = &p->cols[cols[i] - COL_FIXED_MAX];
        if (col->text.p == NULL)
            continue;
        TRY(source_view(s, col->slot, r->g, &v, err));
        uint32_t k = view_index(v, at);
        if (k == PART_NONE)
            continue;
        struct qval value = view_qval(v, k, col->type);
        TRY(count(c, selected, col->text, &value, bucket, err));
    }
    return EC_OK;
}

static enum ec intrinsic(
    struct collector *c, enum tql_intrinsic which, uint32_t row, struct qval *ret, struct err *err)
{
    const struct qrow *r = &c->ev.trace->rows[row];
    bool name = which == TQL_I_INSTRUMENTATION_NAME;
    if (name || which == TQL_I_INSTRUMENTATION_VERSION) {
        struct str s;
        uint64_t scope;
        TRY(qrow_u64(c->ev.trace, r, COL_SPAN_SCOPE, &scope, err));
        struct qrow at = {.src = r->src, .off = (uint32_t)scope};
        TRY(qrow_str(c->ev.trace, &at, name ? COL_SCOPE_NAME : COL_SCOPE_VERSION, &s, err));
        *ret = qval_str(s);
        return EC_OK;
    }
    struct tql_attr attr = {.intrinsic = which};
    return eval_attr(&c->ev, &attr, row, ret, err);
}

enum ec compare_observe(
    struct collector *c, uint32_t row, uint64_t start_ns, uint32_t bucket, struct err *err)
{
    const struct tql_metric *m = c->m;
    const struct qrow *r = &c->ev.trace->rows[row];
    uint64_t resource, scope;
    bool selected;
    TRY(prepare(c, r->src, err));
    struct qval v;
    TRY(eval_expr(&c->ev, m->filter, row, &v, err)); /* whatever the pipeline's filters are like */
    selected = qval_true(&v);
    if (m->start_ns > 0 && m->end_ns > 0)
        selected = selected && start_ns > (uint64_t)m->start_ns && start_ns <= (uint64_t)m->end_ns;
    for (size_t i = 0; i < COMPARE_INTRINSICS; i++) {
        TRY(intrinsic(c, compare_intrinsics[i], row, &v, err));
        TRY(count(c, selected, tql_intrinsic_text(compare_intrinsics[i]), &v, bucket, err));
    }
    TRY(count_shape(c, r, COL_SPAN_SHAPE, r->off, selected, bucket, err));
    TRY(qrow_u64(c->ev.trace, r, COL_SPAN_RESOURCE, &resource, err));
    TRY(count_shape(c, r, COL_RESOURCE_SHAPE, (uint32_t)resource, selected, bucket, err));
    TRY(qrow_u64(c->ev.trace, r, COL_SPAN_SCOPE, &scope, err));
    return count_shape(c, r, COL_SCOPE_SHAPE, (uint32_t)scope, selected, bucket, err);
}
