/* SPDX-License-Identifier: Apache-2.0
 * Trace by id: assembly over all parts and whole spans out. */
#include "trace.h"

#include <stdlib.h>

#include "ahead.h"
#include "base/hash.h"
#include "candidates.h"
#include "query/exec.h"
#include "result.h"

#define RUN 4096u /* spans read at once */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Rough size of a span as OTLP protobuf: what max_bytes_per_trace is compared with. */
static uint64_t value_bytes(const struct value *v)
{
    return v->type == VALUE_STR || v->type >= VALUE_BYTES ? v->s.n + 4 : 11;
}

static uint64_t attrs_bytes(const struct attr *attrs, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += attrs[i].key.n + 6 + value_bytes(&attrs[i].value);
    return sum;
}

static uint64_t span_bytes(const struct read_span *s)
{
    uint64_t sum =
        70 + s->name.n + s->trace_state.n + s->status_message.n + attrs_bytes(s->attrs, s->n_attrs);
    for (uint32_t i = 0; i < s->n_events; i++)
        sum += 15 + s->events[i].name.n + attrs_bytes(s->events[i].attrs, s->events[i].n_attrs);
    for (uint32_t i = 0; i < s->n_links; i++)
        sum += 32 + s->links[i].trace_state.n + attrs_bytes(s->links[i].attrs, s->links[i].n_attrs);
    return sum;
}

/* Resources and scopes read so far, by (source, row): few, however large the trace. */
struct object_slot {
    uint32_t src, row;
    const void *object; /* NULL: free */
};
struct objects {
    struct object_slot *slots;
    size_t n, cap;
    struct arena *scratch;
};

static struct object_slot *object_slot(struct objects *o, uint32_t src, uint32_t row)
{
    size_t at = (size_t)hash_mix((uint64_t)row << 20 ^ src) & (o->cap - 1);
    while (o->slots[at].object != NULL && (o->slots[at].src != src || o->slots[at].row != row))
        at = (at + 1) & (o->cap - 1);
    return &o->slots[at];
}

/* The slot of an object, free when it was not read yet; NULL without memory. */
static struct object_slot *object_find(struct objects *o, uint32_t src, uint32_t row)
{
    if (o->n * 2 >= o->cap) {
        struct objects grown = {.cap = o->cap == 0 ? 16 : o->cap * 2, .scratch = o->scratch};
        grown.slots = ARENA_ARRAY(o->scratch, grown.cap, struct object_slot);
        if (grown.slots == NULL)
            return NULL;
        for (size_t i = 0; i < o->cap; i++) {
            if (o->slots[i].object == NULL)
                continue;
            *object_slot(&grown, o->slots[i].src, o->slots[i].row) = o->slots[i];
            grown.n++;
        }
        *o = grown;
    }
    return object_slot(o, src, row);
}

static void object_put(
    struct objects *o, struct object_slot *slot, uint32_t src, uint32_t row, const void *object)
{
    *slot = (struct object_slot){.src = src, .row = row, .object = object};
    o->n++;
}

/* Strings of what was read live as long as the readers: they are copied here, once per trace. */
static bool keep_str(struct arena *a, struct str *s)
{
    if (s->n == 0)
        return true;
    *s = arena_str(a, *s);
    return s->p != NULL;
}

static bool keep_attrs(struct arena *a, const struct attr *attrs, uint32_t n)
{
    struct attr *w = (struct attr *)(uintptr_t)attrs; /* span_read's arrays are ours: same arena */
    for (uint32_t i = 0; i < n; i++) {
        bool text = w[i].value.type == VALUE_STR || w[i].value.type >= VALUE_BYTES;
        if (!keep_str(a, &w[i].key) || (text && !keep_str(a, &w[i].value.s)))
            return false;
    }
    return true;
}

static bool keep_span(struct arena *a, struct read_span *s)
{
    bool ok = keep_str(a, &s->name) && keep_str(a, &s->trace_state) &&
              keep_str(a, &s->status_message) && keep_attrs(a, s->attrs, s->n_attrs);
    for (uint32_t i = 0; ok && i < s->n_events; i++) {
        struct read_event *e = (struct read_event *)(uintptr_t)&s->events[i];
        ok = keep_str(a, &e->name) && keep_attrs(a, e->attrs, e->n_attrs);
    }
    for (uint32_t i = 0; ok && i < s->n_links; i++) {
        struct read_link *l = (struct read_link *)(uintptr_t)&s->links[i];
        ok = keep_str(a, &l->trace_state) && keep_attrs(a, l->attrs, l->n_attrs);
    }
    return ok;
}

static enum ec resource_of(const struct query_ctx *ctx, struct source *sources, struct objects *o,
    uint32_t src, uint32_t row, const struct read_resource **ret, struct err *err)
{
    struct object_slot *slot = object_find(o, src, row);
    if (slot == NULL)
        return over_budget(err);
    if (slot->object == NULL) {
        struct read_resource *r = ARENA_NEW(ctx->arena, struct read_resource);
        if (r == NULL)
            return over_budget(err);
        TRY(source_note(&sources[src], resource_read(sources[src].r, row, ctx->arena, r, err)));
        if (!keep_attrs(ctx->arena, r->attrs, r->n_attrs) || !keep_str(ctx->arena, &r->schema_url))
            return over_budget(err);
        object_put(o, slot, src, row, r);
    }
    *ret = slot->object;
    return EC_OK;
}

static enum ec scope_of(const struct query_ctx *ctx, struct source *sources, struct objects *o,
    uint32_t src, uint32_t row, const struct read_scope **ret, struct err *err)
{
    struct object_slot *slot = object_find(o, src, row);
    if (slot == NULL)
        return over_budget(err);
    if (slot->object == NULL) {
        struct read_scope *s = ARENA_NEW(ctx->arena, struct read_scope);
        if (s == NULL)
            return over_budget(err);
        TRY(source_note(&sources[src], scope_read(sources[src].r, row, ctx->arena, s, err)));
        if (!keep_attrs(ctx->arena, s->attrs, s->n_attrs) ||
            !keep_str(ctx->arena, &s->schema_url) || !keep_str(ctx->arena, &s->name) ||
            !keep_str(ctx->arena, &s->version))
            return over_budget(err);
        object_put(o, slot, src, row, s);
    }
    *ret = slot->object;
    return EC_OK;
}

/* Reads the rows of one source (a run of t->rows) into out. */
static enum ec read_run(const struct query_ctx *ctx, struct qtrace *t, uint32_t from, uint32_t to,
    struct result_trace_span *out, struct err *err)
{
    struct source *s = &t->sources[t->rows[from].src];
    uint32_t n = to - from;
    uint32_t *rows = ARENA_ARRAY(t->scratch, n, uint32_t);
    struct read_span *spans = ARENA_ARRAY(t->scratch, n, struct read_span);
    if (rows == NULL || spans == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = s->groups[t->rows[from + i].g].row_first + t->rows[from + i].off;
    TRY(source_note(s, span_read(s->r, rows, n, ctx->arena, spans, err)));
    for (uint32_t i = 0; i < n; i++) {
        if (!keep_span(ctx->arena, &spans[i]))
            return over_budget(err);
        out[i].span = spans[i];
    }
    return EC_OK;
}

static int cmp_event(const void *a, const void *b)
{
    const struct read_event *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return str_cmp(x->name, y->name);
}

static int cmp_link(const void *a, const void *b)
{
    const struct read_link *x = a, *y = b;
    int c = trace_id_cmp(&x->trace_id, &y->trace_id);
    if (c != 0)
        return c;
    return x->span_id < y->span_id ? -1 : x->span_id > y->span_id;
}

static int cmp_span(const void *a, const void *b)
{
    const struct read_span *x = &((const struct result_trace_span *)a)->span;
    const struct read_span *y = &((const struct result_trace_span *)b)->span;
    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    return x->span_id < y->span_id ? -1 : x->span_id > y->span_id;
}

/* The order of a merged trace: spans by start and id, events by time, links by id. */
static void sort_merged(struct result_trace_span *spans, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct read_span *s = &spans[i].span;
        if (s->n_events > 1)
            qsort((void *)(uintptr_t)s->events, s->n_events, sizeof(*s->events), cmp_event);
        if (s->n_links > 1)
            qsort((void *)(uintptr_t)s->links, s->n_links, sizeof(*s->links), cmp_link);
    }
    if (n > 1)
        qsort(spans, n, sizeof(*spans), cmp_span);
}

/* What is read leaves room for the answer that is written of it: where max_bytes_per_trace sets no
 * bound memory does, and a trace beyond it comes in part, as one beyond that limit. */
static uint32_t spans_max(const struct query_ctx *ctx, const struct qtrace *t)
{
    uint64_t cap = atomic_load_explicit(&ctx->budget->cap, memory_order_relaxed);
    uint64_t n = MAX(cap / 8 / sizeof(struct result_trace_span), 1);
    return cap == 0 ? t->n : (uint32_t)MIN(t->n, n);
}

static bool memory_short(const struct query_ctx *ctx)
{
    uint64_t cap = atomic_load_explicit(&ctx->budget->cap, memory_order_relaxed);
    return cap != 0 && (ctx->arena->total > cap / 4 || budget_used(ctx->budget) > cap - cap / 4);
}

static enum ec read_trace(const struct query_ctx *ctx, struct qtrace *t, uint64_t max_bytes,
    struct trace_result *ret, struct err *err)
{
    uint32_t n = 0, n_max = spans_max(ctx, t);
    struct result_trace_span *out = ARENA_ARRAY(ctx->arena, n_max, struct result_trace_span);
    struct objects resources = {.scratch = t->scratch}, scopes = {.scratch = t->scratch};
    if (out == NULL)
        return over_budget(err);
    for (uint32_t from = 0, to; from < n_max && !ret->truncated; from = to) {
        for (to = from + 1; to < n_max && to - from < RUN && t->rows[to].src == t->rows[from].src;)
            to++;
        TRY(query_check_alive(ctx, err));
        TRY(read_run(ctx, t, from, to, out + from, err));
        for (uint32_t i = from; i < to; i++) {
            struct read_span *s = &out[i].span;
            uint64_t bytes = span_bytes(s);
            if (max_bytes != 0 && n > 0 && ret->proto_bytes + bytes > max_bytes) {
                ret->truncated = true;
                ret->max_bytes = max_bytes;
                break;
            }
            ret->proto_bytes += bytes;
            TRY(resource_of(
                ctx, t->sources, &resources, t->rows[i].src, s->resource, &out[i].resource, err));
            TRY(scope_of(ctx, t->sources, &scopes, t->rows[i].src, s->scope, &out[i].scope, err));
            n++;
        }
        if (!ret->truncated && to < t->n && (to == n_max || memory_short(ctx))) {
            ret->truncated = true;
            ret->max_bytes = ret->proto_bytes;
        }
    }
    if (t->n_parts > 1)
        sort_merged(out, n);
    ret->spans = out;
    ret->n = n;
    ret->n_parts = t->n_parts;
    return EC_OK;
}

/* Closes sources that turned out unreadable; false: there was none. */
static bool drop_damaged(const struct query_ctx *ctx, struct source *sources)
{
    bool any = false;
    for (size_t i = 0; i < ctx->n_parts; i++) {
        if (sources[i].part == NULL || !sources[i].damaged)
            continue;
        source_close(&sources[i]);
        sources[i].damaged = true;
        any = true;
    }
    return any;
}

/* What the readable parts hold: each round that meets damage leaves out the part that has it. */
static enum ec read_parts(const struct query_ctx *ctx, struct source *sources,
    const struct trace_id *id, uint64_t max_bytes, struct arena *scratch, struct trace_result *ret,
    struct err *err)
{
    enum ec ec;
    do {
        struct qtrace t;
        *ret = (struct trace_result){0};
        arena_reset(scratch);
        ec = qtrace_open(&t, sources, ctx->n_parts, id, scratch, err);
        if (ec == EC_OK && t.n != 0)
            ec = read_trace(ctx, &t, max_bytes, ret, err);
    } while (source_unreadable(ec) && drop_damaged(ctx, sources));
    return ec;
}

static void ask_id(void *id, struct part *p)
{
    (void)part_may_hold(p, id);
}

/* The parts that may hold the trace: of a thousand one or two. */
static enum ec parts_of(
    const struct query_ctx *ctx, const struct trace_id *id, struct query_ctx *ret, struct err *err)
{
    struct part **parts = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct part *);
    size_t n = 0;
    if (parts == NULL)
        return over_budget(err);
    TRY(query_check_alive(ctx, err));
    query_ask_ahead(ctx, ctx->parts, ctx->n_parts, ask_id, (void *)(uintptr_t)id);
    struct part_holders h = {.parts = ctx->parts, .n = ctx->n_parts, .id = id};
    for (size_t i; part_holders_next(&h, &i);)
        parts[n++] = ctx->parts[i];
    *ret = *ctx;
    ret->parts = parts;
    ret->n_parts = n;
    return EC_OK;
}

enum ec query_trace(const struct query_ctx *of, const struct trace_id *id, uint64_t max_bytes,
    struct trace_result *ret, struct err *err)
{
    struct query_ctx some;
    TRY(parts_of(of, id, &some, err));
    const struct query_ctx *ctx = &some;
    struct source *sources = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct source);
    struct arena scratch;
    enum ec ec = EC_OK;
    if (sources == NULL)
        return over_budget(err);
    arena_init(&scratch, ctx->budget, 16u << 10);
    *ret = (struct trace_result){0};
    for (size_t i = 0; i < ctx->n_parts && ec == EC_OK; i++)
        ec = query_source_open_lazy(ctx, &sources[i], ctx->parts[i], err);
    if (ec == EC_OK)
        ec = read_parts(ctx, sources, id, max_bytes, &scratch, ret, err);
    if (ec == EC_OK)
        query_stats_fill(ctx, sources, &ret->stats);
    for (size_t i = 0; i < ctx->n_parts; i++)
        source_close(&sources[i]);
    arena_deinit(&scratch);
    return ec;
}
