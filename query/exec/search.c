/* SPDX-License-Identifier: Apache-2.0
 * Search: candidates newest first, exact evaluation of each assembled trace, the newest `limit`
 * results.
 *
 * Why it may stop early: candidates come in descending order of their start within one part, and a
 * trace's true start is never later than that. Once `limit` results start after the next candidate,
 * nothing better follows. */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "candidates.h"
#include "legacy.h"
#include "query/lower.h"
#include "result.h"
#include "shared.h"
#include "sharing.h"
#include "stream.h"

#define RECYCLE_EVERY 16u
#define ASKED_MAX     256u /* candidates: beyond, all that are shared are found at once */

struct id_set {
    struct trace_id *slots;
    bool *used;
    size_t n, cap;
};

struct search {
    const struct query_ctx *ctx;
    const struct search_request *req;
    struct source *sources;
    struct filters filters;
    struct candidates cands;
    struct sharing sharing;
    struct eval ev;
    struct arena scratch; /* reset for each trace */
    struct id_set seen;   /* traces already evaluated */
    struct id_set across; /* of which two sources have some, one of them beyond the range */
    bool across_all;      /* none is missing there */
    bool all_known;       /* nor any of which both have some in the range */
    uint64_t n_asked;     /* candidates that other sources were asked for */
    uint64_t n_visited;
    struct result_trace *found; /* a heap: the oldest on top */
    size_t n, cap;
    uint64_t told_ns; /* results that start at this or later were told */
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- the set of seen ids ---- */

static size_t id_home(const struct id_set *s, const struct trace_id *id)
{
    return (size_t)hash_mix(get_u64le(id->b) ^ get_u64le(id->b + 8)) & (s->cap - 1);
}

static bool id_insert(struct id_set *s, const struct trace_id *id)
{
    size_t at = id_home(s, id);
    while (s->used[at]) {
        if (trace_id_eq(&s->slots[at], id))
            return false;
        at = (at + 1) & (s->cap - 1);
    }
    s->used[at] = true;
    s->slots[at] = *id;
    s->n++;
    return true;
}

static bool id_known(const struct id_set *s, const struct trace_id *id)
{
    if (s->n == 0)
        return false;
    size_t at = id_home(s, id);
    while (s->used[at] && !trace_id_eq(&s->slots[at], id))
        at = (at + 1) & (s->cap - 1);
    return s->used[at];
}

static enum ec id_set_add(struct id_set *set, struct arena *arena, const struct trace_id *id,
    bool *ret_new, struct err *err)
{
    if ((set->n + 1) * 2 > set->cap) {
        struct id_set old = *set;
        set->cap = old.cap == 0 ? 256 : old.cap * 2;
        set->slots = ARENA_ARRAY(arena, set->cap, struct trace_id);
        set->used = ARENA_ARRAY(arena, set->cap, bool);
        set->n = 0;
        if (set->slots == NULL || set->used == NULL)
            return over_budget(err);
        for (size_t i = 0; i < old.cap; i++)
            if (old.used[i])
                (void)id_insert(set, &old.slots[i]); /* distinct already */
    }
    *ret_new = id_insert(set, id);
    return EC_OK;
}

/* ---- the heap of results ---- */

/* Order of the answer: newest first, ties by id. */
static int cmp_result(const void *a, const void *b)
{
    const struct result_trace *x = a, *y = b;
    if (x->start_ns != y->start_ns)
        return x->start_ns > y->start_ns ? -1 : 1;
    return trace_id_cmp(&x->id, &y->id);
}

static void sift_down(struct result_trace *h, size_t n, size_t i)
{
    for (;;) {
        size_t worst = i, l = 2 * i + 1;
        for (size_t k = l; k < l + 2 && k < n; k++)
            if (cmp_result(&h[k], &h[worst]) > 0)
                worst = k;
        if (worst == i)
            return;
        struct result_trace t = h[i];
        h[i] = h[worst];
        h[worst] = t;
        i = worst;
    }
}

static enum ec keep(struct search *s, const struct result_trace *t, struct err *err)
{
    if (s->n == s->req->limit) {
        if (cmp_result(t, &s->found[0]) < 0) {
            s->found[0] = *t;
            sift_down(s->found, s->n, 0);
        }
        return EC_OK;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 32 : s->cap * 2;
        struct result_trace *p = ARENA_ARRAY(s->ctx->arena, cap, struct result_trace);
        if (p == NULL)
            return over_budget(err);
        if (s->n != 0)
            memcpy(p, s->found, s->n * sizeof(*p));
        s->found = p;
        s->cap = cap;
    }
    size_t i = s->n++;
    s->found[i] = *t;
    while (i > 0 && cmp_result(&s->found[i], &s->found[(i - 1) / 2]) > 0) {
        struct result_trace up = s->found[(i - 1) / 2];
        s->found[(i - 1) / 2] = s->found[i];
        s->found[i] = up;
        i = (i - 1) / 2;
    }
    return EC_OK;
}

/* ---- one trace ---- */

static bool in_range(const struct search_request *r, const struct qtrace *t)
{
    return (r->start_ns == 0 && r->end_ns == 0) ||
           (t->start_ns <= r->end_ns && t->end_ns >= r->start_ns);
}

/* Takes the opened trace into the answer when it belongs there. */
static enum ec judge(struct search *s, struct qtrace *t, struct err *err)
{
    struct result_trace out;
    s->n_visited++;
    if (t->n == 0 || !in_range(s->req, t))
        return EC_OK;
    if (s->n == s->req->limit && t->start_ns < s->found[0].start_ns)
        return EC_OK; /* could not enter the answer */
    eval_trace(&s->ev, t);
    if (s->req->q == NULL) {
        bool match;
        TRY(legacy_match(&s->ev, s->req, &match, err));
        if (!match)
            return EC_OK;
        TRY(result_trace_fill(&s->ev, s->ctx->arena, &out, err));
        return keep(s, &out, err);
    }
    struct sset_list sets;
    TRY(pipeline_run(&s->ev, &sets, err));
    if (sets.n == 0)
        return EC_OK;
    TRY(result_trace_fill(&s->ev, s->ctx->arena, &out, err));
    TRY(result_sets_fill(&s->ev, sets, s->req->spss, s->ctx->arena, &out, err));
    return keep(s, &out, err);
}

/* A trace that several sources may have some of: once. */
static enum ec visit_shared(struct search *s, const struct trace_id *id, struct err *err)
{
    struct qtrace t;
    bool is_new = false;
    TRY(id_set_add(&s->seen, s->ctx->arena, id, &is_new, err));
    if (!is_new)
        return EC_OK;
    TRY(qtrace_open(&t, s->sources, s->ctx->n_parts, id, &s->scratch, err));
    return judge(s, &t, err);
}

static enum ec add_known(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *err)
{
    struct search *s = arg;
    bool is_new;
    (void)i;
    (void)k;
    return id_set_add(&s->across, s->ctx->arena, &t->id, &is_new, err);
}

/* Finds all traces with spans in the range that several parts hold, so that no candidate is asked
 * for any more. Not when that is more than a query may ask, or takes more memory than there is. */
static enum ec know_shared(struct search *s, struct err *err)
{
    const struct search_request *r = s->req;
    const struct query_ctx *ctx = s->ctx;
    uint64_t end = r->end_ns == 0 ? UINT64_MAX : r->end_ns;
    struct shared_peer *peers = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct shared_peer);
    struct shared_kinds kinds = {.of = ARENA_ARRAY(ctx->arena, ctx->n_parts, uint8_t),
        .with = {1 << 1, 1 << 0 | 1 << 1}}; /* one of the two is in range */
    if (peers == NULL || kinds.of == NULL)
        return EC_OK;
    for (size_t i = 0; i < ctx->n_parts; i++) {
        if (s->sources[i].part == NULL)
            continue;
        TRY(shared_peer_within(&peers[i], &s->sources[i], r->start_ns, end, err));
        kinds.of[i] = peers[i].some ? peers[i].from < peers[i].to
                                    : peers[i].info.min_start_ns <= end &&
                                          peers[i].info.max_end_ns >= r->start_ns;
    }
    return shared_find_all(ctx, peers, &kinds, add_known, s, &s->all_known, err);
}

static enum ec visit_cand(struct search *s, uint32_t src, const struct cand *c, struct err *err)
{
    struct qtrace t;
    if (s->n_asked == ASKED_MAX) { /* once */
        s->n_asked++;
        enum ec ec = know_shared(s, err);
        if (ec != EC_LIMIT)
            TRY(ec);
    }
    bool shared = (s->across_all || s->all_known) && id_known(&s->across, &c->pt.id);
    if (!shared && !s->all_known) {
        s->n_asked++;
        TRY(sharing_ask(&s->sharing, src, &c->pt.id, &shared, err));
    }
    if (shared)
        return visit_shared(s, &c->pt.id, err);
    if (!c->certain)
        return EC_OK;
    TRY(qtrace_open_in(&t, s->sources, src, c->trace, &c->pt, &s->scratch, err));
    return judge(s, &t, err);
}

/* Lets go of pages when the query has used half of its memory; no view is in use between traces. */
static enum ec recycle(struct search *s, struct err *err)
{
    uint64_t cap = atomic_load_explicit(&s->ctx->budget->cap, memory_order_relaxed);
    if (cap == 0 || budget_used(s->ctx->budget) < cap / 2 || s->n_visited % RECYCLE_EVERY != 0)
        return EC_OK;
    for (size_t i = 0; i < s->ctx->n_parts; i++) {
        struct source *of = &s->sources[i];
        if (of->part == NULL || of->part->is_head)
            continue;
        filters_release(&s->filters, (uint32_t)i);
        TRY(source_recycle(of, cap / 2 / s->ctx->n_parts, err));
    }
    return EC_OK;
}

/* Damage was met outside the views, so that no source is marked for it: some part has it. */
static void note_damage(struct search *s)
{
    bool noted = false;
    for (size_t i = 0; i < s->ctx->n_parts; i++)
        noted |= s->sources[i].damaged;
    s->sources[0].damaged |= !noted;
}

/* After a visit that ended with `ec`: forgets the trace; damage ends the trace, not the query. */
static enum ec visited(struct search *s, enum ec ec, struct err *err)
{
    s->ev.trace = NULL;
    arena_rewind(&s->scratch);
    if (source_unreadable(ec))
        note_damage(s);
    else
        TRY(ec);
    return recycle(s, err);
}

/* Tells the results that nothing can displace any more: they start after the next candidate, so all
 * that follow are older. Without memory for it, the next part tells them. */
static void tell(struct search *s, uint64_t next_ns)
{
    int64_t began = clock_mono_ns();
    struct search_result part = {0};
    uint64_t told_ns = s->told_ns;
    part.traces = ARENA_ARRAY(&s->scratch, s->n, struct result_trace);
    for (size_t i = 0; i < s->n && part.traces != NULL; i++)
        if (s->found[i].start_ns > next_ns && s->found[i].start_ns < told_ns)
            part.traces[part.n++] = s->found[i];
    if (part.traces != NULL)
        s->told_ns = MIN(told_ns, next_ns == UINT64_MAX ? next_ns : next_ns + 1);
    if (part.n > 1)
        qsort(part.traces, part.n, sizeof(*part.traces), cmp_result);
    query_stats_fill(s->ctx, s->sources, &part.stats);
    part.stats.inspected_spans = s->cands.inspected_spans;
    part.stats.completed_jobs -= MIN(candidates_left(&s->cands), part.stats.total_jobs);
    s->ctx->stream->search(s->ctx->stream->arg, &part);
    arena_reset(&s->scratch);
    query_stream_told(s->ctx, began);
}

static enum ec run_one(struct search *s, const struct tql_static *id, struct err *err)
{
    struct trace_id trace;
    struct str text = id->s;
    while (id->type == TQL_STRING && text.n > 1 && text.p[0] == '0') /* any number of zeros */
        text.p++, text.n--;
    if (id->type != TQL_STRING || !trace_id_parse(&trace, text))
        return EC_OK;
    return visited(s, visit_shared(s, &trace, err), err);
}

/* ---- traces with a piece outside the range ---- */

static bool outside(const struct search_request *r, uint64_t start_ns, uint64_t end_ns)
{
    return start_ns > r->end_ns || end_ns < r->start_ns;
}

static bool goes_beyond(const struct search_request *r, const struct part_info *p)
{
    return p->min_start_ns < r->start_ns || p->max_end_ns > r->end_ns;
}

struct pieces {
    struct search *s;
    struct trace_id *ids;
    size_t n, cap;
};

/* Where a part lies: a pair matters when together it is in range and goes beyond it. */
enum { ALL_BEFORE, ALL_INSIDE, ALL_AFTER, BEYOND };

static bool kinds_of(const struct search *s, struct shared_kinds *ret)
{
    const struct search_request *r = s->req;
    static const uint32_t with[] = {
        [ALL_BEFORE] = 1 << ALL_INSIDE | 1 << ALL_AFTER | 1 << BEYOND,
        [ALL_INSIDE] = 1 << ALL_BEFORE | 1 << ALL_AFTER | 1 << BEYOND,
        [ALL_AFTER] = 1 << ALL_BEFORE | 1 << ALL_INSIDE | 1 << BEYOND,
        [BEYOND] = 1 << ALL_BEFORE | 1 << ALL_INSIDE | 1 << ALL_AFTER | 1 << BEYOND,
    };
    static_assert(sizeof(with) == sizeof(ret->with), "each kind has a row");
    memcpy(ret->with, with, sizeof(with));
    ret->of = ARENA_ARRAY(s->ctx->arena, s->ctx->n_parts, uint8_t);
    for (size_t i = 0; ret->of != NULL && i < s->ctx->n_parts; i++) {
        const struct part_info *p = &s->sources[i].info;
        ret->of[i] = p->max_end_ns < r->start_ns   ? ALL_BEFORE
                     : p->min_start_ns > r->end_ns ? ALL_AFTER
                     : goes_beyond(r, p)           ? BEYOND
                                                   : ALL_INSIDE;
    }
    return ret->of != NULL;
}

static enum ec add_piece(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *err)
{
    struct pieces *p = arg;
    const struct search_request *r = p->s->req;
    bool is_new;
    (void)i;
    (void)k;
    TRY(id_set_add(&p->s->across, p->s->ctx->arena, &t->id, &is_new, err));
    if (outside(r, MIN(t->start_ns[0], t->start_ns[1]), MAX(t->end_ns[0], t->end_ns[1])) ||
        (!outside(r, t->start_ns[0], t->end_ns[0]) && !outside(r, t->start_ns[1], t->end_ns[1])))
        return EC_OK;
    if (p->n == p->cap) {
        size_t cap = p->cap == 0 ? 32 : p->cap * 2;
        struct trace_id *ids = ARENA_ARRAY(p->s->ctx->arena, cap, struct trace_id);
        if (ids == NULL)
            return over_budget(err);
        if (p->n != 0)
            memcpy(ids, p->ids, p->n * sizeof(*ids));
        p->ids = ids;
        p->cap = cap;
    }
    p->ids[p->n++] = t->id;
    return EC_OK;
}

/* The first pass finds the spans of pieces that overlap the range. A trace of which another piece
 * does, or that goes on around the range, is in it too: those are judged one by one. */
static enum ec visit_pieces(struct search *s, struct err *err)
{
    const struct query_ctx *ctx = s->ctx;
    struct pieces p = {.s = s};
    if (ctx->n_parts < 2 || (s->req->start_ns == 0 && s->req->end_ns == 0))
        return EC_OK;
    struct shared_peer *peers = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct shared_peer);
    struct shared_kinds kinds;
    if (peers == NULL || !kinds_of(s, &kinds))
        return over_budget(err);
    for (size_t i = 0; i < ctx->n_parts; i++)
        if (s->sources[i].part != NULL)
            peers[i] = (struct shared_peer){.source = &s->sources[i], .info = s->sources[i].info};
    TRY(shared_find(ctx, peers, &kinds, add_piece, &p, &s->across_all, err));
    /* What a source shares with one that goes beyond the range is known by now. WHY it matters: a
     * store may hold a thousand times what is in range. */
    for (size_t i = 0; i < ctx->n_parts && s->across_all; i++)
        if (goes_beyond(s->req, &s->sources[i].info))
            sharing_leave_out(&s->sharing, i);
    for (size_t i = 0; i < p.n; i++) { /* visits may replace the readers */
        if (i % 64 == 0)
            TRY(query_check_alive(ctx, err));
        TRY(visited(s, visit_shared(s, &p.ids[i], err), err));
    }
    return EC_OK;
}

static enum ec run(struct search *s, struct err *err)
{
    const struct search_request *r = s->req;
    const struct tql_static *id = r->q == NULL ? NULL : lower_trace_id(r->q);
    const struct need *need;
    size_t n = s->ctx->n_parts;
    if (id != NULL)
        return run_one(s, id, err);
    TRY(r->q == NULL ? legacy_need(r, &s->filters, s->sources, n, s->ctx->arena, &need, err)
                     : need_query(r->q, &s->filters, s->sources, n, s->ctx->arena, &need, err));
    s->ev.filters = &s->filters;
    sharing_init(&s->sharing, s->ctx, s->sources, n, s->ctx->arena);
    TRY(visit_pieces(s, err));
    TRY(candidates_open_need(
        &s->cands, s->ctx, s->sources, n, &s->filters, need, r->start_ns, r->end_ns, err));
    s->cands.whole_traces = true;
    for (unsigned i = 0;; i++) {
        struct cand c;
        uint32_t src;
        if (i % 64 == 0)
            TRY(query_check_alive(s->ctx, err));
        TRY(candidates_next(&s->cands, &src, &c, err));
        if (src == PART_NONE || (s->n == r->limit && c.start_ns < s->found[0].start_ns))
            return EC_OK;
        if (query_stream_due(s->ctx))
            tell(s, c.start_ns);
        TRY(visited(s, visit_cand(s, src, &c, err), err));
    }
}

static enum ec open_sources(struct search *s, struct err *err)
{
    const struct query_ctx *ctx = s->ctx;
    s->sources = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct source);
    if (s->sources == NULL)
        return over_budget(err);
    for (size_t i = 0; i < ctx->n_parts; i++)
        TRY(query_source_open_lazy(ctx, &s->sources[i], ctx->parts[i], err));
    return query_check_alive(ctx, err);
}

enum ec query_search(const struct query_ctx *ctx, const struct search_request *req,
    struct search_result *ret, struct err *err)
{
    static const struct tql_query no_query = {0};
    struct search s = {.ctx = ctx, .req = req, .told_ns = UINT64_MAX};
    enum ec ec = EC_OK;
    arena_init(&s.scratch, ctx->budget, 16u << 10);
    if (req->q == NULL || !req->q->never) {
        ec = open_sources(&s, err);
        if (ec == EC_OK)
            ec = eval_init(&s.ev, req->q == NULL ? &no_query : req->q, s.sources, ctx->n_parts,
                ctx->arena, err);
        if (ec == EC_OK)
            ec = run(&s, err);
    }
    if (ec == EC_OK) {
        if (s.n > 1)
            qsort(s.found, s.n, sizeof(*s.found), cmp_result);
        *ret = (struct search_result){.traces = s.found, .n = s.n};
        query_stats_fill(ctx, s.sources, &ret->stats);
        ret->stats.inspected_spans = s.cands.inspected_spans;
        ret->stats.inspected_traces = req->q == NULL ? s.n_visited : 0; /* as Tempo counts */
    }
    candidates_close(&s.cands);
    filters_close(&s.filters);
    for (size_t i = 0; s.sources != NULL && i < ctx->n_parts; i++)
        source_close(&s.sources[i]);
    arena_deinit(&s.scratch);
    return ec;
}
