/* SPDX-License-Identifier: Apache-2.0
 * Candidate enumeration.
 *
 * What filters say of spans is gathered by trace, then joined as the query joins its filters: a
 * trace that has only one side of an `&&` or `>>` is no candidate, unless the other side may lie in
 * another source.
 *
 * Blocks number their traces by start time, so their groups are read from the last to the first,
 * only as far as the query needs. Heads are in arrival order: all their groups are looked at once.
 * A source that cannot have anything newer than what is at hand is not touched yet. */
#include "candidates.h"

#include "ahead.h"
#include "base/clock.h"

#define GROUPS_PINNED_MAX 16u /* some 100 us of work on warm pages, against some 10 to start over */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Of all queries together: then those that run end before others begin, or all would be refused. */
static bool memory_is_short(const struct budget *own)
{
    for (const struct budget *b = own == NULL ? NULL : own->parent; b != NULL; b = b->parent) {
        uint64_t cap = atomic_load_explicit(&b->cap, memory_order_relaxed);
        if (cap != 0 && budget_used(b) > cap / 2)
            return true;
    }
    return false;
}

enum ec query_check_alive(const struct query_ctx *ctx, struct err *err)
{
    pool_turn(memory_is_short(ctx->budget));
    if (ctx->canceled != NULL && ctx->canceled(ctx->canceled_arg))
        return ERR(err, EC_CANCELED, "context canceled");
    if (ctx->deadline_mono_ns != 0 && clock_mono_ns() > ctx->deadline_mono_ns)
        return ERR(err, EC_DEADLINE, "context deadline exceeded");
    if (ctx->stale_before_ns != NULL &&
        atomic_load_explicit(ctx->stale_before_ns, memory_order_relaxed) > ctx->snapshot_ns)
        return ERR(err, EC_LIMIT,
            "query was ended: ingest needs the memory of spans that it holds; ask for a shorter "
            "time range, or again later");
    return EC_OK;
}

static bool outside(const struct candidates *c, uint64_t start_ns, uint64_t end_ns)
{
    return (c->start_ns != 0 || c->end_ns != 0) && (start_ns > c->end_ns || end_ns < c->start_ns);
}

/* ---- what filters say, by trace ---- */

struct domain { /* traces [first, first + n) of one source, in groups [g_from, g_to) */
    uint32_t src, g_from, g_to;
    uint32_t first, n;
    uint64_t *any;        /* traces with a span that passes some filter */
    const uint32_t *ends; /* of a block's one group: by trace, the row behind it; NULL: a head */
};

static size_t words(uint32_t n)
{
    return ((size_t)n + 63) / 64;
}

static void traces_fill(uint64_t *w, uint32_t n)
{
    memset(w, 0xff, n / 64 * sizeof(*w));
    if (n % 64 != 0)
        w[n / 64] = ((uint64_t)1 << (n % 64)) - 1;
}

/* Spans of group g that pass all of the filters; *ret_any false: none, and ret is not filled. */
static enum ec spans_of(struct candidates *c, uint32_t src, const struct need *need, uint32_t g,
    struct scan_bits *ret, bool *ret_any, struct err *err)
{
    *ret_any = true;
    for (uint32_t i = 0; i < need->n && *ret_any; i++) {
        const struct filter_bits *b;
        TRY(filters_group(c->filters, src, need->first + i, g, &b, err));
        if (i == 0)
            *ret = b->bits;
        else
            scan_bits_and(ret, &b->bits);
        *ret_any = scan_bits_any(ret);
    }
    return EC_OK;
}

/* Does any span of group g pass some filter? Asked first: trace numbers are made only when they are
 * needed. */
static enum ec group_any(struct candidates *c, uint32_t src, const struct need *need, uint32_t g,
    bool *ret, struct err *err)
{
    struct scan_bits bits;
    *ret = true;
    if (need->kind == NEED_ALL)
        return EC_OK;
    if (need->kind == NEED_SPAN)
        return spans_of(c, src, need, g, &bits, ret, err);
    TRY(group_any(c, src, need->l, g, ret, err));
    return *ret ? EC_OK : group_any(c, src, need->r, g, ret, err);
}

static void mark_traces(
    const struct scan_bits *bits, const uint32_t *trace_of, const struct domain *d, uint64_t *out)
{
    uint32_t last = PART_NONE; /* spans of a trace follow each other in blocks */
    for (uint32_t i = 0; i < words(bits->n); i++) {
        for (uint64_t w = bits->w[i]; w != 0; w &= w - 1) {
            uint32_t t = trace_of[i * 64 + (uint32_t)__builtin_ctzll(w)] - d->first;
            if (t == last || t >= d->n) /* a head: a trace of after our snapshot */
                continue;
            last = t;
            out[t / 64] |= (uint64_t)1 << (t % 64);
            d->any[t / 64] |= (uint64_t)1 << (t % 64);
        }
    }
}

/* The same for the one group of a block, where rows of a trace follow each other. */
static void mark_group_traces(const struct scan_bits *bits, const struct domain *d, uint64_t *out)
{
    uint32_t t = 0, row = scan_bits_next(bits, 0);
    while (row < bits->n) {
        while (d->ends[t] <= row)
            t++;
        out[t / 64] |= (uint64_t)1 << (t % 64);
        row = scan_bits_next(bits, d->ends[t]);
    }
    for (size_t i = 0; i < words(d->n); i++)
        d->any[i] |= out[i];
}

static enum ec traces_with(struct candidates *c, const struct domain *d, const struct need *need,
    uint64_t *out, struct err *err);

static enum ec traces_joined(struct candidates *c, const struct domain *d, const struct need *need,
    uint64_t *out, struct err *err)
{
    uint64_t *side = ARENA_ARRAY(&c->scratch, words(d->n), uint64_t);
    if (side == NULL)
        return over_budget(err);
    TRY(traces_with(c, d, need->l, out, err));
    TRY(traces_with(c, d, need->r, side, err));
    for (size_t i = 0; i < words(d->n); i++)
        out[i] = need->kind == NEED_AND ? out[i] & side[i] : out[i] | side[i];
    return EC_OK;
}

/* Which traces of the domain have what is needed; out is zeroed. */
static enum ec traces_with(struct candidates *c, const struct domain *d, const struct need *need,
    uint64_t *out, struct err *err)
{
    struct scan_bits bits;
    if (need->kind == NEED_ALL) {
        traces_fill(out, d->n);
        traces_fill(d->any, d->n);
        return EC_OK;
    }
    if (need->kind != NEED_SPAN)
        return traces_joined(c, d, need, out, err);
    for (uint32_t g = d->g_from; g < d->g_to; g++) {
        const struct col_view *v;
        bool any = false;
        TRY(query_check_alive(c->ctx, err));
        TRY(spans_of(c, d->src, need, g, &bits, &any, err));
        if (!any)
            continue;
        if (d->ends != NULL) {
            mark_group_traces(&bits, d, out);
            continue;
        }
        TRY(source_fixed(&c->filters->sources[d->src], COL_SPAN_TRACE, g, &v, err));
        mark_traces(&bits, v->u32, d, out);
    }
    return EC_OK;
}

/* Can no span of the source pass, wherever it is needed? Costs no page of spans. */
static enum ec hopeless(
    struct candidates *c, uint32_t src, const struct need *need, bool *ret, struct err *err)
{
    bool side = false;
    *ret = false;
    if (need->kind == NEED_ALL)
        return EC_OK;
    if (need->kind != NEED_SPAN) { /* AND too: the other side may be elsewhere */
        TRY(hopeless(c, src, need->l, ret, err));
        return *ret ? hopeless(c, src, need->r, ret, err) : EC_OK;
    }
    struct source *s = &c->filters->sources[src];
    for (uint32_t i = 0; i < need->n && !*ret && s->r == NULL; i++)
        *ret = scan_hopeless(s->part, c->filters->f[need->first + i].x, 0);
    if (*ret)
        return EC_OK;
    TRY(source_groups(s, &side, err));
    *ret = !side;
    for (uint32_t i = 0; i < need->n && !*ret; i++) {
        TRY(filters_none(c->filters, src, need->first + i, &side, err));
        *ret = side;
    }
    return EC_OK;
}

/* The same of a part without a reader, for query_ask_ahead. */
static bool ask_need(const struct candidates *c, const struct need *need, struct part *p)
{
    if (need->kind == NEED_ALL)
        return false;
    if (need->kind != NEED_SPAN)
        return ask_need(c, need->l, p) && ask_need(c, need->r, p);
    for (uint32_t i = 0; i < need->n; i++)
        if (scan_hopeless(p, c->filters->f[need->first + i].x, 0))
            return true;
    return false;
}

static void ask_part(void *arg, struct part *p)
{
    const struct candidates *c = arg;
    (void)ask_need(c, c->need, p);
}

#define AHEAD_MIN 4u
#define AHEAD_MAX 256u

/* The source's block was not read yet: it and those that come next are asked together, the more the
 * longer nothing ends the search. */
static void ask_ahead(struct candidates *c, uint32_t src)
{
    struct part *parts[AHEAD_MAX];
    size_t n = 0;
    if (c->need->kind == NEED_ALL || !part_cold(c->cursors[src].s->part, false))
        return;
    c->ahead = c->ahead == 0 ? AHEAD_MIN : MIN(c->ahead * 2, AHEAD_MAX);
    for (size_t i = src; i < c->n && n < c->ahead; i++)
        if (c->cursors[i].s != NULL && !c->cursors[i].opened && c->cursors[i].s->part != NULL)
            parts[n++] = c->cursors[i].s->part;
    query_ask_ahead(c->ctx, parts, n, ask_part, c);
}

/* ---- one source ---- */

static bool newer(const struct cand *x, const struct cand *y)
{
    return x->start_ns != y->start_ns ? x->start_ns > y->start_ns : x->trace < y->trace;
}

static enum ec push(
    struct candidates *c, struct cursor *k, uint32_t trace, bool certain, struct err *err)
{
    if (k->n == k->cap) {
        uint32_t cap = k->cap == 0 ? 64 : k->cap * 2;
        struct cand *q = arena_alloc(c->arena, cap * sizeof(*q));
        if (q == NULL)
            return over_budget(err);
        if (k->n != 0)
            memcpy(q, k->queue, k->n * sizeof(*q));
        k->queue = q;
        k->cap = cap;
    }
    struct cand *to = &k->queue[k->n];
    TRY(part_trace(k->s->r, trace, &to->pt, err));
    to->start_ns = to->pt.start_ns;
    to->trace = trace;
    to->certain = certain;
    k->n += !outside(c, to->pt.start_ns, to->pt.end_ns);
    return EC_OK;
}

/* Candidates of a block's group, newest first. A trace that other groups have some of too is
 * certain to be looked at: it is not told apart here. */
static enum ec refill_group(
    struct candidates *c, struct cursor *k, uint32_t src, uint32_t g, struct err *err)
{
    struct part_group_traces traces;
    bool any = false;
    TRY(group_any(c, src, c->need, g, &any, err));
    if (!any)
        return EC_OK;
    TRY(part_group_traces(k->s->r, g, &traces, err));
    if (traces.n == 0)
        return EC_OK;
    struct domain d = {.src = src,
        .g_from = g,
        .g_to = g + 1,
        .first = traces.first,
        .n = traces.n,
        .ends = traces.ends};
    arena_rewind(&c->scratch);
    uint64_t *with = ARENA_ARRAY(&c->scratch, words(d.n), uint64_t);
    d.any = ARENA_ARRAY(&c->scratch, words(d.n), uint64_t);
    if (with == NULL || d.any == NULL)
        return over_budget(err);
    TRY(traces_with(c, &d, c->need, with, err));
    with[0] |= d.any[0] & 1;
    with[(d.n - 1) / 64] |= d.any[(d.n - 1) / 64] & (uint64_t)1 << ((d.n - 1) % 64);
    bool alone = c->n == 1;
    for (size_t i = words(d.n); i-- > 0;) {
        for (uint64_t w = alone ? with[i] : d.any[i] | with[i]; w != 0;) {
            uint32_t bit = 63u - (uint32_t)__builtin_clzll(w);
            uint32_t trace = d.first + (uint32_t)i * 64 + bit;
            w ^= (uint64_t)1 << bit;
            if (trace >= k->last_trace)
                continue;
            k->last_trace = trace;
            TRY(push(c, k, trace, (with[i] >> bit & 1) != 0, err));
        }
    }
    return EC_OK;
}

/* A reader pins all pages that it handed out: those of groups that were looked at are let go of
 * every now and then, so that a query can go through a block of any size. What filters said stays
 * known. */
static enum ec let_go(struct candidates *c, struct cursor *k, uint32_t src, struct err *err)
{
    uint64_t cap = atomic_load_explicit(&c->ctx->budget->cap, memory_order_relaxed);
    uint64_t keep = cap == 0 ? UINT64_MAX : cap / 8;
    if (k->s->part->is_head ||
        (k->groups_pinned < GROUPS_PINNED_MAX && budget_used(&k->s->budget) <= keep))
        return EC_OK;
    k->groups_pinned = 0;
    filters_release(c->filters, src);
    return source_recycle(k->s, 0, err);
}

/* Nothing in the group can be in the answer. Its first and its last trace may go on in others. */
static enum ec group_outside(
    const struct candidates *c, struct cursor *k, uint32_t g, bool *ret, struct err *err)
{
    const struct part_group *pg = &k->s->groups[g];
    struct part_group_traces traces;
    struct part_trace first, last;
    *ret = outside(c, pg->min_start_ns, pg->max_end_ns);
    if (!*ret || !c->whole_traces || pg->n_rows == 0 || k->s->info.n_groups == 1)
        return EC_OK;
    TRY(part_group_traces(k->s->r, g, &traces, err));
    TRY(part_trace(k->s->r, traces.first, &first, err));
    TRY(part_trace(k->s->r, traces.first + traces.n - 1, &last, err));
    *ret = outside(c, first.start_ns, first.end_ns) && outside(c, last.start_ns, last.end_ns);
    return EC_OK;
}

static enum ec refill_block(struct candidates *c, struct cursor *k, uint32_t src, struct err *err)
{
    k->n = k->at = 0;
    TRY(let_go(c, k, src, err));
    while (k->groups_left > 0 && k->n == 0) {
        uint32_t g = --k->groups_left;
        const struct part_group *pg = &k->s->groups[g];
        if (g > 0)
            k->bound_ns = MIN(k->bound_ns, k->s->groups[g - 1].max_start_ns);
        bool skip;
        TRY(group_outside(c, k, g, &skip, err));
        if (skip)
            continue;
        c->inspected_spans += pg->n_rows;
        k->groups_pinned++;
        TRY(query_check_alive(c->ctx, err));
        TRY(refill_group(c, k, src, g, err));
        if (g > 0 && k->n == 0)
            return EC_OK; /* other sources may be newer than what is left */
    }
    return EC_OK;
}

static void sift_down(struct cand *h, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t best = i;
        for (uint32_t l = 2 * i + 1; l < 2 * i + 3 && l < n; l++)
            if (newer(&h[l], &h[best]))
                best = l;
        if (best == i)
            return;
        struct cand t = h[i];
        h[i] = h[best];
        h[best] = t;
        i = best;
    }
}

static enum ec refill_head(struct candidates *c, struct cursor *k, uint32_t src, struct err *err)
{
    struct domain d = {.src = src, .g_to = k->s->info.n_groups, .n = k->s->info.n_traces};
    k->n = k->groups_left = 0;
    arena_rewind(&c->scratch);
    uint64_t *with = ARENA_ARRAY(&c->scratch, words(d.n), uint64_t);
    d.any = ARENA_ARRAY(&c->scratch, words(d.n), uint64_t);
    if (with == NULL || d.any == NULL)
        return over_budget(err);
    c->inspected_spans += k->s->info.n_rows;
    TRY(traces_with(c, &d, c->need, with, err));
    bool alone = c->n == 1;
    for (size_t i = 0; i < words(d.n); i++)
        for (uint64_t w = alone ? with[i] : d.any[i] | with[i]; w != 0; w &= w - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(w);
            TRY(push(c, k, (uint32_t)i * 64 + bit, (with[i] >> bit & 1) != 0, err));
        }
    k->n_filled = k->n;
    for (uint32_t i = k->n / 2; i-- > 0;)
        sift_down(k->queue, k->n, i);
    return EC_OK;
}

/* Fills the cursor's queue; a damaged source ends, and is marked. */
static enum ec refill(struct candidates *c, struct cursor *k, uint32_t src, struct err *err)
{
    enum ec ec = EC_OK;
    if (!k->opened) {
        bool none = false;
        ask_ahead(c, src);
        k->opened = true;
        bool ok = false;
        ec = hopeless(c, src, c->need, &none, err);
        if (ec == EC_OK && !none)
            ec = source_groups(k->s, &ok, err);
        k->groups_left = ec == EC_OK && ok ? k->s->info.n_groups : 0;
        if (source_unreadable(source_note(k->s, ec)))
            return EC_OK;
        TRY(ec);
        if (k->groups_left > 0)
            k->bound_ns = MIN(k->bound_ns,
                k->s->part->is_head ? UINT64_MAX : k->s->groups[k->groups_left - 1].max_start_ns);
        return EC_OK;
    }
    if (k->groups_left == 0)
        return EC_OK;
    ec = k->s->part->is_head ? refill_head(c, k, src, err) : refill_block(c, k, src, err);
    /* The group is skipped; the next refill goes on with the one before. */
    return source_unreadable(source_note(k->s, ec)) ? EC_OK : ec;
}

/* ---- all sources ---- */

static bool cursor_empty(const struct cursor *k)
{
    return k->at == k->n;
}

static bool cursor_done(const struct cursor *k)
{
    return k->s == NULL || (cursor_empty(k) && k->groups_left == 0);
}

static uint64_t cursor_key(const struct cursor *k)
{
    return cursor_empty(k) ? k->bound_ns : k->queue[k->at].start_ns;
}

static void order_down(struct candidates *c, size_t i)
{
    for (;;) {
        size_t best = i;
        for (size_t l = 2 * i + 1; l < 2 * i + 3 && l < c->n_order; l++)
            if (cursor_key(&c->cursors[c->order[l]]) > cursor_key(&c->cursors[c->order[best]]))
                best = l;
        if (best == i)
            return;
        uint32_t t = c->order[i];
        c->order[i] = c->order[best];
        c->order[best] = t;
        i = best;
    }
}

enum ec candidates_open_need(struct candidates *c, const struct query_ctx *ctx,
    struct source *sources, size_t n_sources, struct filters *filters, const struct need *need,
    uint64_t start_ns, uint64_t end_ns, struct err *err)
{
    *c = (struct candidates){.ctx = ctx,
        .filters = filters,
        .need = need,
        .start_ns = start_ns,
        .end_ns = end_ns,
        .arena = ctx->arena,
        .n = n_sources,
        .cursors = ARENA_ARRAY(ctx->arena, n_sources, struct cursor),
        .order = ARENA_ARRAY(ctx->arena, n_sources, uint32_t)};
    arena_init(&c->scratch, ctx->budget, 0);
    if (c->cursors == NULL || c->order == NULL)
        return over_budget(err);
    for (size_t i = 0; i < n_sources; i++) {
        struct source *s = &sources[i];
        struct cursor *k = &c->cursors[i];
        k->last_trace = PART_NONE;
        if (s->part == NULL || outside(c, s->info.min_start_ns, s->info.max_end_ns))
            continue;
        k->s = s;
        k->groups_left = s->info.n_groups;
        k->bound_ns = s->info.max_end_ns;
        c->order[c->n_order++] = (uint32_t)i;
    }
    for (size_t i = c->n_order / 2; i-- > 0;)
        order_down(c, i);
    return EC_OK;
}

enum ec candidates_open(struct candidates *c, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, const struct scan_expr *expr, uint64_t start_ns, uint64_t end_ns,
    struct err *err)
{
    struct filters own;
    const struct need *need;
    *c = (struct candidates){0};
    TRY(need_expr(expr, &own, sources, n_sources, ctx->arena, &need, err));
    TRY(candidates_open_need(c, ctx, sources, n_sources, NULL, need, start_ns, end_ns, err));
    c->own = own;
    c->filters = &c->own;
    return EC_OK;
}

void candidates_close(struct candidates *c)
{
    if (c->ctx == NULL)
        return;
    filters_close(&c->own);
    arena_deinit(&c->scratch);
    *c = (struct candidates){0};
}

static void pop(struct cursor *k, struct cand *ret)
{
    *ret = k->queue[k->at];
    if (!k->s->part->is_head) {
        k->at++;
        return;
    }
    k->queue[0] = k->queue[--k->n];
    sift_down(k->queue, k->n, 0);
}

enum ec candidates_next(struct candidates *c, uint32_t *ret_src, struct cand *ret, struct err *err)
{
    while (c->n_order > 0) {
        uint32_t src = c->order[0];
        struct cursor *k = &c->cursors[src];
        bool found = !cursor_empty(k);
        if (found)
            pop(k, ret);
        else
            TRY(refill(c, k, src, err));
        if (cursor_done(k)) {
            c->order[0] = c->order[--c->n_order];
            k->groups_pinned = GROUPS_PINNED_MAX; /* all of them */
            TRY(let_go(c, k, src, err));
        }
        order_down(c, 0);
        if (found) {
            *ret_src = src;
            return EC_OK;
        }
    }
    *ret_src = PART_NONE;
    return EC_OK;
}

uint32_t candidates_left(const struct candidates *c)
{
    uint64_t left = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct cursor *k = &c->cursors[i];
        if (k->s == NULL)
            continue;
        uint64_t queued = k->n - k->at;
        left += k->groups_left;
        if (queued != 0) /* a head's queue holds the traces of all its groups */
            left += k->s->part->is_head
                        ? (queued * k->s->info.n_groups + k->n_filled - 1) / k->n_filled
                        : 1;
    }
    return (uint32_t)MIN(left, UINT32_MAX);
}
