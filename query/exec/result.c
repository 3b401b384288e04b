/* SPDX-License-Identifier: Apache-2.0
 * Results. */
#include "result.h"

#include <stdlib.h>

#include "base/hash.h"
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
    if (!copy_str(a, ev->root_service, &ret->root_service) ||
        !copy_str(a, ev->root_name, &ret->root_name))
        return over_budget(err);
    return EC_OK;
}

/* ---- serviceStats ---- */

static int cmp_service(const void *a, const void *b)
{
    return str_cmp(
        ((const struct result_service *)a)->name, ((const struct result_service *)b)->name);
}

struct service_slot {
    uint32_t src, resource;
    uint32_t number; /* 1 + index into services; 0: free */
};

/* Spans by (source, resource): as many as the trace has resources, not spans. */
struct service_counts {
    struct service_slot *slots;
    struct result_service *all; /* room for cap / 2 */
    size_t n, cap;
};

static struct service_slot *service_slot(
    const struct service_counts *c, uint32_t src, uint32_t resource)
{
    size_t at = (size_t)hash_mix((uint64_t)resource << 20 ^ src) & (c->cap - 1);
    while (
        c->slots[at].number != 0 && (c->slots[at].src != src || c->slots[at].resource != resource))
        at = (at + 1) & (c->cap - 1);
    return &c->slots[at];
}

static enum ec service_room(struct service_counts *c, struct arena *scratch, struct err *err)
{
    if (c->n * 2 < c->cap)
        return EC_OK;
    struct service_counts g = {.n = c->n, .cap = c->cap == 0 ? 16 : c->cap * 2};
    g.slots = ARENA_ARRAY(scratch, g.cap, struct service_slot);
    g.all = ARENA_ARRAY(scratch, g.cap / 2, struct result_service);
    if (g.slots == NULL || g.all == NULL)
        return over_budget(err);
    for (size_t i = 0; i < c->cap; i++)
        if (c->slots[i].number != 0)
            *service_slot(&g, c->slots[i].src, c->slots[i].resource) = c->slots[i];
    if (c->n != 0)
        memcpy(g.all, c->all, c->n * sizeof(*g.all));
    *c = g;
    return EC_OK;
}

/* Counts spans by resource, then merges resources of one service name. */
static enum ec fill_services(
    struct eval *ev, struct arena *a, struct result_trace *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    struct service_counts c = {0};
    for (uint32_t i = 0; i < t->n; i++) {
        uint64_t resource, status;
        TRY(service_room(&c, t->scratch, err));
        TRY(qrow_u64(t, &t->rows[i], COL_SPAN_RESOURCE, &resource, err));
        TRY(qrow_u64(t, &t->rows[i], COL_SPAN_STATUS, &status, err));
        uint32_t src = t->rows[i].src;
        struct service_slot *slot = service_slot(&c, src, (uint32_t)resource);
        if (slot->number == 0) {
            TRY(eval_service(ev, &t->rows[i], &c.all[c.n].name, err));
            *slot = (struct service_slot){src, (uint32_t)resource, (uint32_t)++c.n};
        }
        c.all[slot->number - 1].spans++;
        c.all[slot->number - 1].errors += status == 2;
    }
    struct result_service *all = c.all;
    size_t n = c.n;
    if (n > 1)
        qsort(all, n, sizeof(*all), cmp_service);
    struct result_service *out = ARENA_ARRAY(a, n, struct result_service);
    if (out == NULL)
        return over_budget(err);
    uint32_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (m > 0 && str_eq(out[m - 1].name, all[i].name)) {
            out[m - 1].spans += all[i].spans;
            out[m - 1].errors += all[i].errors;
            continue;
        }
        out[m] = all[i];
        if (!copy_str(a, all[i].name, &out[m].name))
            return over_budget(err);
        m++;
    }
    ret->services = out;
    ret->n_services = m;
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
