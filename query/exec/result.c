/* SPDX-License-Identifier: Apache-2.0
 * Results. */
#include "result.h"

#include <stdlib.h>

#include "candidates.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static enum ec source_opened(struct source *s, enum ec ec)
{
    if (ec == EC_CORRUPT || ec == EC_IO || ec == EC_NOT_FOUND) {
        source_close(s);
        s->damaged = true;
        return EC_OK;
    }
    return ec;
}

enum ec query_source_open(
    const struct query_ctx *ctx, struct source *s, struct part *part, struct err *err)
{
    TRY(query_check_alive(ctx, err));
    return source_opened(s, source_open(s, part, ctx->arena, ctx->budget, err));
}

enum ec query_source_open_lazy(
    const struct query_ctx *ctx, struct source *s, struct part *part, struct err *err)
{
    return source_opened(s, source_open_lazy(s, part, ctx->arena, ctx->budget, err));
}

void query_stats_fill(
    const struct query_ctx *ctx, const struct source *sources, struct query_stats *ret)
{
    *ret = (struct query_stats){0};
    uint32_t damaged = 0;
    for (size_t i = 0; sources != NULL && i < ctx->n_parts; i++) {
        const struct source *s = &sources[i];
        damaged += s->damaged;
        if (s->part == NULL)
            continue;
        ret->inspected_bytes += source_bytes_read(s);
        ret->total_jobs += s->info.n_groups;
        if (!s->part->is_head) {
            ret->total_blocks++;
            ret->total_block_bytes += s->info.bytes;
        }
    }
    ret->total_jobs = MAX(ret->total_jobs, 1);
    ret->completed_jobs = ret->total_jobs;
    ret->partial = damaged != 0;
    if (damaged != 0)
        ret->partial_text = arena_printf(ctx->arena,
            "%u of %zu blocks could not be read in full, a partial answer is returned", damaged,
            ctx->n_parts);
}

static bool copy_str(struct arena *a, struct str s, struct str *ret)
{
    *ret = arena_str(a, s);
    return ret->p != NULL;
}

enum ec result_trace_fill(
    struct eval *ev, struct arena *a, struct result_trace *ret, struct err *err)
{
    const struct qtrace *t = ev->trace;
    TRY(eval_root_text(ev, err));
    *ret = (struct result_trace){
        .id = t->id,
        .has_root = t->root != PART_NONE,
        .start_ns = t->start_ns,
        .duration_ns = t->end_ns - t->start_ns,
    };
    ret->root_service = ev->root_service; /* lives as long as the query */
    return copy_str(a, ev->root_name, &ret->root_name) ? EC_OK : over_budget(err);
}

/* ---- serviceStats ---- */

static int cmp_service(const void *a, const void *b)
{
    return str_cmp(
        ((const struct result_service *)a)->name, ((const struct result_service *)b)->name);
}

#define FEW_SERVICES 16u

static void sort_services(struct result_service *all, uint32_t n)
{
    if (n > FEW_SERVICES) {
        qsort(all, n, sizeof(*all), cmp_service);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        struct result_service moved = all[i];
        uint32_t at = i;
        for (; at > 0 && cmp_service(&all[at - 1], &moved) > 0; at--)
            all[at] = all[at - 1];
        all[at] = moved;
    }
}

/* Spans of one group, by the number of their service; set_of is 1 + place in `all`. */
static enum ec count_services(struct eval *ev, const struct qrow *r, uint32_t n,
    struct result_service *all, uint32_t *numbers, uint32_t *n_all, struct err *err)
{
    struct source *s = &ev->sources[r->src];
    struct keyring *ring = &ev->services;
    const struct col_view *resource, *status;
    const uint32_t *service_of;
    TRY(source_fixed(s, COL_SPAN_RESOURCE, r->g, &resource, err));
    TRY(source_fixed(s, COL_SPAN_STATUS, r->g, &status, err));
    TRY(eval_services(ev, r->src, &service_of, err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = r[i].off;
        ASSERT(off < resource->n && off < status->n); /* dense columns */
        ASSERT(resource->u32[off] < s->info.n_resources);
        uint32_t number = service_of[resource->u32[off]], at = ring->set_of[number];
        if (at == 0) {
            numbers[*n_all] = number;
            all[*n_all] = (struct result_service){.name = ring->keys[number].s};
            at = ring->set_of[number] = ++*n_all;
        }
        all[at - 1].spans++;
        all[at - 1].errors += status->u32[off] == 2;
    }
    return EC_OK;
}

static enum ec all_services(struct eval *ev, struct result_service *all, uint32_t *numbers,
    uint32_t *n_all, struct err *err)
{
    const struct qtrace *t = ev->trace;
    for (uint32_t i = 0, end; i < t->n; i = end) {
        const struct qrow *r = &t->rows[i];
        for (end = i + 1; end < t->n; end++)
            if (t->rows[end].g != r->g || t->rows[end].src != r->src)
                break;
        TRY(count_services(ev, r, end - i, all, numbers, n_all, err));
    }
    return EC_OK;
}

static enum ec fill_services(
    struct eval *ev, struct arena *a, struct result_trace *ret, struct err *err)
{
    const struct qtrace *t = ev->trace;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) { /* first, so that all names have their numbers */
        const uint32_t *service_of;
        if (i == 0 || t->rows[i].src != t->rows[i - 1].src)
            TRY(eval_services(ev, t->rows[i].src, &service_of, err));
    }
    uint32_t n_max = MIN(t->n, ev->services.n);
    struct result_service *all = ARENA_ARRAY(t->scratch, n_max, struct result_service);
    uint32_t *numbers = ARENA_ARRAY(t->scratch, n_max, uint32_t);
    if (all == NULL || numbers == NULL)
        return over_budget(err);
    enum ec ec = all_services(ev, all, numbers, &n, err);
    for (uint32_t i = 0; i < n; i++) /* clean for the next trace */
        ev->services.set_of[numbers[i]] = 0;
    TRY(ec);
    struct result_service *out = arena_alloc(a, n * sizeof(*out));
    if (out == NULL)
        return over_budget(err);
    sort_services(all, n);
    memcpy(out, all, n * sizeof(*out)); /* names live as long as the query */
    ret->services = out;
    ret->n_services = n;
    return EC_OK;
}

/* ---- spans ---- */

/* Fields of an answer's span that are members of their own, or belong to the trace. */
static bool listed(const struct tql_attr *attr)
{
    switch (attr->intrinsic) {
    case TQL_I_NAME:
    case TQL_I_DURATION:
    case TQL_I_TRACE_DURATION:
    case TQL_I_ROOT_NAME:
    case TQL_I_ROOT_SERVICE:
    case TQL_I_TRACE_ID:
    case TQL_I_SPAN_ID:
        return false;
    default:
        return true;
    }
}

static bool put_result(struct arena *a, struct str key, const struct qval *v,
    struct result_attr *out, uint32_t *n, bool *ok)
{
    if (!qval_has(v))
        return false;
    *ok = copy_str(a, key, &out[*n].key) && qval_result(v, a, &out[*n].value);
    (*n)++;
    return true;
}

static enum ec span_attrs(
    struct eval *ev, uint32_t row, struct arena *a, struct result_span *ret, struct err *err)
{
    const struct tql_query *q = ev->q;
    struct result_attr *out = ARENA_ARRAY(a, (size_t)q->n_attrs * 2, struct result_attr);
    uint32_t n = 0;
    bool ok = out != NULL;
    for (uint32_t i = 0; i < q->n_attrs && ok; i++) {
        const struct tql_attr *attr = q->attrs[i];
        const struct tql_use *use = &q->uses[i];
        struct qval v;
        if (!listed(attr) || (use->n_conds == 0 && !use->selected && !use->any))
            continue;
        TRY(eval_attr_shown(ev, attr, row, use->selected, &v, err));
        (void)put_result(a, attr->name, &v, out, &n, &ok);
        if (attr->scope != TQL_SCOPE_NONE || attr->intrinsic != TQL_I_NONE || attr->parent || !ok)
            continue;
        /* An unscoped name lists what both levels have. */
        struct qval r, s;
        TRY(eval_attr_resource(ev, attr, row, &r, err));
        TRY(eval_attr_span_only(ev, attr, row, &s, err));
        if (!use->selected)
            r = eval_visible(ev, attr, &r, ev->trace->scratch);
        if (s.kind != QV_NIL)
            (void)put_result(a, attr->name, &r, out, &n, &ok);
    }
    if (!ok)
        return over_budget(err);
    ret->attrs = out;
    ret->n_attrs = n;
    return EC_OK;
}

/* The name is shown when the query reads it and, under conditions on it, when they admit it. */
static bool shows_name(struct eval *ev, struct str name)
{
    const struct tql_query *q = ev->q;
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        const struct tql_use *use = &q->uses[i];
        struct qval v = qval_str(name);
        if (q->attrs[i]->intrinsic != TQL_I_NAME)
            continue;
        if (use->selected)
            return true;
        if (use->n_conds != 0 || use->any)
            v = eval_visible(ev, q->attrs[i], &v, ev->trace->scratch);
        else
            continue;
        return v.kind != QV_NIL;
    }
    return false;
}

static enum ec fill_span(
    struct eval *ev, uint32_t row, struct arena *a, struct result_span *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    const struct qrow *r = &t->rows[row];
    struct str name;
    TRY(qrow_u64(t, r, COL_SPAN_ID, &ret->id, err));
    TRY(qrow_u64(t, r, COL_SPAN_START, &ret->start_ns, err));
    TRY(qrow_u64(t, r, COL_SPAN_DURATION, &ret->duration_ns, err));
    if (ret->duration_ns > (uint64_t)INT64_MAX)
        ret->duration_ns = 0;
    TRY(qrow_str(t, r, COL_SPAN_NAME, &name, err));
    ret->has_name = shows_name(ev, name);
    if (ret->has_name && !copy_str(a, name, &ret->name))
        return over_budget(err);
    return span_attrs(ev, row, a, ret, err);
}

static uint32_t last_row(const struct sset *s)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < s->n; i++)
        last = MAX(last, s->rows[i]);
    return last;
}

static int cmp_set(const void *a, const void *b)
{
    uint32_t x = last_row(a), y = last_row(b);
    return x < y ? -1 : x > y;
}

static enum ec fill_set(struct eval *ev, const struct sset *s, uint32_t spss, struct arena *a,
    struct result_spanset *ret, struct err *err)
{
    uint32_t n = MIN(s->n, spss);
    struct result_span *spans = ARENA_ARRAY(a, n, struct result_span);
    struct result_attr *attrs = ARENA_ARRAY(a, s->n_attrs, struct result_attr);
    if (spans == NULL || attrs == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++)
        TRY(fill_span(ev, s->rows[i], a, &spans[i], err));
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (!copy_str(a, s->attrs[i].key, &attrs[i].key) ||
            !qval_result(&s->attrs[i].value, a, &attrs[i].value))
            return over_budget(err);
    *ret = (struct result_spanset){
        .spans = spans, .n_spans = n, .matched = s->n, .attrs = attrs, .n_attrs = s->n_attrs};
    return EC_OK;
}

enum ec result_sets_fill(struct eval *ev, struct sset_list sets, uint32_t spss, struct arena *a,
    struct result_trace *ret, struct err *err)
{
    struct result_spanset *out = ARENA_ARRAY(a, sets.n, struct result_spanset);
    if (out == NULL)
        return over_budget(err);
    if (sets.n > 1)
        qsort(sets.p, sets.n, sizeof(*sets.p), cmp_set);
    for (uint32_t i = 0; i < sets.n; i++)
        TRY(fill_set(ev, &sets.p[i], spss, a, &out[i], err));
    ret->sets = out;
    ret->n_sets = sets.n;
    return fill_services(ev, a, ret, err);
}
