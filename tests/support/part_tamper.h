/* SPDX-License-Identifier: Apache-2.0
 * For tests: a part that passes everything on to another one, and lets a test falsify views and
 * shapes on the way, as a damaged file would. Only for one thread. */
#pragma once

#include "storage/part.h"
#include "test_util.h"

struct tamper {
    struct part part; /* first */
    struct part *under;
    /* NULL: nothing. May change the view; the outcome is part_view's. */
    enum ec (*view)(struct tamper *t, uint32_t g, col_id col, struct col_view *v, struct err *err);
    void (*shape)(struct tamper *t, const col_id **cols, size_t *n);
    void *ctx;
};
struct tamper_reader {
    struct part_reader base; /* first */
    struct part_reader *under;
};

static inline struct tamper *tamper_of(struct part_reader *r)
{
    return (struct tamper *)r->part;
}
static inline struct part_reader *tamper_under(struct part_reader *r)
{
    return ((struct tamper_reader *)r)->under;
}
static inline void tamper_destroy(struct part *p)
{
    (void)p; /* on the test's stack */
}
static inline enum ec tamper_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err)
{
    struct tamper_reader *r = xcalloc(1, sizeof(*r));
    r->base = (struct part_reader){.part = p, .budget = budget};
    enum ec ec = part_reader_open(((struct tamper *)p)->under, budget, &r->under, err);
    if (ec == EC_OK)
        *ret = &r->base;
    else
        free(r);
    return ec;
}
static inline void tamper_close(struct part_reader *r)
{
    part_reader_close(tamper_under(r));
    free(r);
}
static inline void tamper_info(struct part_reader *r, struct part_info *ret)
{
    part_info(tamper_under(r), ret);
}
static inline enum ec tamper_group(
    struct part_reader *r, uint32_t g, struct part_group *ret, struct err *err)
{
    return part_group(tamper_under(r), g, ret, err);
}
static inline enum ec tamper_view(
    struct part_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    struct tamper *t = tamper_of(r);
    TRY(part_view(tamper_under(r), g, col, ret, err));
    return t->view == NULL ? EC_OK : t->view(t, g, col, ret, err);
}
static inline enum ec tamper_attrs(
    struct part_reader *r, const struct part_attr **ret, size_t *ret_n, struct err *err)
{
    return part_attrs(tamper_under(r), ret, ret_n, err);
}
static inline enum ec tamper_attr_find(struct part_reader *r, enum part_table t, struct str key,
    const struct part_attr *ret[VALUE_TYPES], struct err *err)
{
    return part_attr_find(tamper_under(r), t, key, ret, err);
}
static inline enum ec tamper_shape(
    struct part_reader *r, uint32_t shape, const col_id **ret, size_t *ret_n, struct err *err)
{
    struct tamper *t = tamper_of(r);
    TRY(part_shape(tamper_under(r), shape, ret, ret_n, err));
    if (t->shape != NULL)
        t->shape(t, ret, ret_n);
    return EC_OK;
}
static inline enum ec tamper_trace(
    struct part_reader *r, uint32_t trace, struct part_trace *ret, struct err *err)
{
    return part_trace(tamper_under(r), trace, ret, err);
}
static inline enum ec tamper_trace_find(
    struct part_reader *r, const struct trace_id *id, uint32_t *ret_trace, struct err *err)
{
    return part_trace_find(tamper_under(r), id, ret_trace, err);
}
static inline enum ec tamper_trace_ids(
    struct part_reader *r, uint32_t at, struct trace_id *ret, uint32_t *ret_n, struct err *err)
{
    return part_trace_ids(tamper_under(r), at, ret, ret_n, err);
}
static inline enum ec tamper_trace_rows(struct part_reader *r, uint32_t trace, struct arena *arena,
    uint32_t **ret_rows, uint32_t *ret_n, struct err *err)
{
    return part_trace_rows(tamper_under(r), trace, arena, ret_rows, ret_n, err);
}
static inline bool tamper_may_have(struct part_reader *r, col_id col, struct str value)
{
    return part_may_have(tamper_under(r), col, value);
}

static const struct part_ops tamper_ops = {
    .destroy = tamper_destroy,
    .reader_open = tamper_open,
    .reader_close = tamper_close,
    .info = tamper_info,
    .group = tamper_group,
    .view = tamper_view,
    .attrs = tamper_attrs,
    .attr_find = tamper_attr_find,
    .shape = tamper_shape,
    .trace = tamper_trace,
    .trace_find = tamper_trace_find,
    .trace_rows = tamper_trace_rows,
    .trace_ids = tamper_trace_ids,
    .may_have = tamper_may_have,
};

static inline void tamper_init(struct tamper *t, struct part *under)
{
    *t = (struct tamper){.part = {.ops = &tamper_ops}, .under = under};
    atomic_init(&t->part.refs, 1);
}
