/* SPDX-License-Identifier: Apache-2.0
 * Finding shared traces. What was found of a pair is remembered in pairs.h, where the query has a
 * cache. */
#include "shared.h"

#include <stdlib.h>

#include "candidates.h"
#include "pairs.h"
#include "query/cache.h"

/* Pairs are compared whole, whatever their times, while that asks no more filters than this: some
 * tens of nanoseconds each, and none again of blocks once a pair is remembered, which then does not
 * count any more. */
#define IDS_AHEAD   8u      /* whose place in the filter is fetched while this one is asked for */
#define LOOKUPS_MAX 200000u /* a query's share of lookups that a filter did not spare it */
#define QUERIES_MAX 16u     /* that share what one may not ask alone */
uint64_t shared_whole_max = 1000000;

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- what matters ---- */

/* The trace of a block's row. */
static enum ec trace_of_row(struct source *s, uint32_t row, uint32_t *ret, struct err *err)
{
    uint32_t lo = 0, hi = s->info.n_traces;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        struct part_trace pt;
        TRY(part_trace(s->r, mid, &pt, err));
        if ((uint64_t)pt.row_first + pt.n_rows <= row)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = lo;
    return EC_OK;
}

/* Traces are in order of their start, so those of groups in range are next to all that lie between
 * the first and the last of them. */
static enum ec traces_within(
    struct shared_peer *p, struct source *s, uint64_t start_ns, uint64_t end_ns, struct err *err)
{
    uint32_t from = UINT32_MAX, to = 0;
    bool ok;
    TRY(source_groups(s, &ok, err));
    for (uint32_t g = 0; ok && g < s->info.n_groups; g++) {
        const struct part_group *pg = &s->groups[g];
        if (pg->min_start_ns > end_ns || pg->max_end_ns < start_ns)
            continue;
        from = MIN(from, pg->row_first);
        to = MAX(to, pg->row_first + pg->n_rows);
    }
    if (from < to) {
        TRY(trace_of_row(s, from, &p->from, err));
        TRY(trace_of_row(s, to - 1, &p->to, err));
        p->to = MIN(p->to + 1, s->info.n_traces);
    }
    p->some = ok;
    return EC_OK;
}

enum ec shared_peer_within(
    struct shared_peer *ret, struct source *s, uint64_t start_ns, uint64_t end_ns, struct err *err)
{
    const struct part_info *info = &s->info;
    enum ec ec = EC_OK;
    *ret = (struct shared_peer){.source = s};
    if (s->part->is_head)
        ret->some = false; /* it grows, and its traces are in no order */
    else if (info->min_start_ns > end_ns || info->max_end_ns < start_ns)
        ret->some = true;
    else if (info->min_start_ns < start_ns || info->max_end_ns > end_ns)
        ec = source_note(s, traces_within(ret, s, start_ns, end_ns, err));
    ret->info = s->info;
    return source_unreadable(ec) ? EC_OK : ec;
}

/* ---- one pair ---- */

struct finder {
    const struct query_ctx *ctx;
    const struct shared_peer *peers;
    const struct shared_kinds *wanted; /* NULL: all pairs, and every part is of kind 0 */
    shared_fn tell;
    void *arg;
    struct pairs *pairs;       /* NULL: nothing is remembered */
    uint64_t n_compared, most; /* 0: no bound */
    uint32_t n_lookups;
    bool whole;    /* all pairs are compared whole */
    bool given_up; /* a pair had no share of lookups left */
    /* Part i is not asked again: what its reader pins may go. Or NULL. */
    void (*done)(void *arg, size_t i);
    struct kind_list {
        uint32_t *parts; /* ascending */
        size_t n;
        struct part_info hull; /* its times alone: of all these parts */
    } lists[SHARED_KINDS];
    /* The pair that is being compared. */
    struct pair_known found;
    struct pair_trace *traces; /* of found */
    uint32_t cap;
    struct arena arena, scratch; /* lists, ids; traces */
    struct trace_id **ids;       /* by part: of the traces that matter; NULL: not read yet */
};

static bool peer_absent(const struct shared_peer *p)
{
    return p->r == NULL && (p->source == NULL || p->source->part == NULL || p->source->lost);
}

/* NULL: it cannot be read. */
static enum ec peer_reader(struct finder *f, size_t i, struct part_reader **ret, struct err *err)
{
    const struct shared_peer *p = &f->peers[i];
    bool ok = true;
    if (p->r == NULL)
        TRY(source_reader(p->source, &ok, err));
    *ret = !ok ? NULL : p->r != NULL ? p->r : p->source->r;
    return EC_OK;
}

static enum ec tell(
    struct finder *f, size_t of, size_t in, const struct pair_trace *t, struct err *err)
{
    const size_t parts[2] = {of, in};
    struct shared_trace both = {.id = t->id};
    for (size_t n = 0; n < 2; n++) {
        struct part_trace pt;
        size_t to = parts[n] == MIN(of, in) ? 0 : 1;
        if (t->trace[n] >= f->peers[parts[n]].info.n_traces)
            return EC_OK; /* a head that this query saw earlier than another one did */
        struct part_reader *r;
        TRY(peer_reader(f, parts[n], &r, err));
        if (r == NULL)
            return EC_OK;
        TRY(part_trace(r, t->trace[n], &pt, err));
        both.trace[to] = t->trace[n];
        both.start_ns[to] = pt.start_ns;
        both.end_ns[to] = pt.end_ns;
    }
    return f->tell(f->arg, MIN(of, in), MAX(of, in), &both, err);
}

/* Adds one to what was found of the pair. Without room for it the pair is not remembered. */
static void note(struct finder *f, const struct pair_trace *t)
{
    struct pair_known *found = &f->found;
    if (f->cap == UINT32_MAX)
        return;
    if (found->n == f->cap) {
        uint32_t cap = f->cap == 0 ? 64 : f->cap * 2;
        bool room = f->pairs != NULL && cap / 2 < pairs_traces_max(f->pairs);
        struct pair_trace *traces =
            !room ? NULL : arena_alloc(&f->scratch, cap * sizeof(struct pair_trace));
        if (traces == NULL) {
            f->cap = found->n = UINT32_MAX; /* pairs_put does not keep it */
            return;
        }
        if (found->n != 0)
            memcpy(traces, f->traces, found->n * sizeof(*traces));
        found->traces = f->traces = traces;
        f->cap = cap;
    }
    f->traces[found->n++] = *t;
}

/* A trace that is in one part of the pair, is it in the other? Tells of it. */
static enum ec look_up(struct finder *f, size_t of, size_t in, const struct trace_id *id,
    uint32_t trace, struct err *err)
{
    struct part_reader *r, *other;
    uint32_t found;
    TRY(peer_reader(f, of, &r, err));
    TRY(peer_reader(f, in, &other, err));
    TRY(part_trace_find(other, id, &found, err));
    if (found == PART_NONE || found >= f->peers[in].info.n_traces)
        return EC_OK;
    if (trace == PART_NONE)
        TRY(part_trace_find(r, id, &trace, err));
    if (trace == PART_NONE)
        return EC_OK;
    struct pair_trace t = {.id = *id, .trace = {trace, found}};
    note(f, &t);
    return tell(f, of, in, &t, err);
}

/* Do both have a reader? Opened only for what is not known. */
static enum ec readable(struct finder *f, size_t of, size_t in, struct part_reader **ret,
    struct part **ret_in, struct err *err)
{
    struct part_reader *other;
    TRY(peer_reader(f, of, ret, err));
    TRY(peer_reader(f, in, &other, err));
    *ret_in = *ret == NULL || other == NULL ? NULL : part_reader_part(other);
    return EC_OK;
}

static bool given_up(struct finder *f)
{
    f->given_up = f->given_up || ++f->n_lookups > LOOKUPS_MAX;
    return f->given_up;
}

/* All ids of `of`, from the n_done-th of its list on. */
static enum ec compare_whole(struct finder *f, size_t of, size_t in, struct err *err)
{
    struct pair_known *m = &f->found;
    struct part_reader *r;
    struct part *other;
    struct trace_id ids[PART_IDS_MAX];
    uint32_t n_traces = f->peers[of].info.n_traces, n_ids = 0, first = m->n_done;
    if (m->n_done >= n_traces)
        return EC_OK;
    TRY(readable(f, of, in, &r, &other, err));
    for (; other != NULL && m->n_done < n_traces; m->n_done++) {
        if (m->n_done - first == n_ids) {
            first = m->n_done;
            TRY(query_check_alive(f->ctx, err));
            TRY(part_trace_ids(r, first, ids, &n_ids, err));
            if (n_ids == 0)
                return ERR(err, EC_CORRUPT, "a part lists %u of %u traces", first, n_traces);
        }
        const struct trace_id *id = &ids[m->n_done - first];
        if (m->n_done - first + IDS_AHEAD < n_ids)
            part_hold_soon(other, id + IDS_AHEAD);
        f->n_compared++;
        if (!part_may_hold(other, id))
            continue;
        if (given_up(f))
            return EC_OK;
        TRY(look_up(f, of, in, id, PART_NONE, err));
    }
    return EC_OK;
}

/* The traces of `later` from n_done on that begin by last_ns. */
static enum ec compare_by_time(
    struct finder *f, size_t later, size_t earlier, uint64_t last_ns, struct err *err)
{
    struct pair_known *m = &f->found;
    struct part_reader *r;
    struct part *other;
    uint32_t n_traces = f->peers[later].info.n_traces;
    if (m->n_done >= n_traces)
        return EC_OK;
    TRY(readable(f, later, earlier, &r, &other, err));
    for (; other != NULL && m->n_done < n_traces; m->n_done++) {
        struct part_trace pt;
        if (m->n_done % 4096 == 0)
            TRY(query_check_alive(f->ctx, err));
        TRY(part_trace(r, m->n_done, &pt, err));
        if (pt.start_ns > last_ns) {
            m->n_done = n_traces; /* in a block the others begin later still */
            break;
        }
        f->n_compared++;
        if (!part_may_hold(other, &pt.id))
            continue;
        if (given_up(f))
            return EC_OK;
        TRY(look_up(f, later, earlier, &pt.id, m->n_done, err));
    }
    return EC_OK;
}

/* The ids of a part's traces that matter. NULL: it cannot be read. */
static enum ec ids_read(struct finder *f, size_t i, const struct trace_id **ret, struct err *err)
{
    const struct shared_peer *p = &f->peers[i];
    struct part_reader *r;
    *ret = NULL;
    TRY(peer_reader(f, i, &r, err));
    if (r == NULL)
        return EC_OK;
    if (f->ids == NULL)
        f->ids = ARENA_ARRAY(&f->arena, f->ctx->n_parts, struct trace_id *);
    if (f->ids != NULL && f->ids[i] == NULL) {
        struct trace_id *ids = arena_alloc(&f->arena, (p->to - p->from + 1) * sizeof(*ids));
        for (uint32_t t = p->from; ids != NULL && t < p->to; t++) {
            struct part_trace pt;
            if (t % 4096 == 0)
                TRY(query_check_alive(f->ctx, err));
            TRY(part_trace(r, t, &pt, err));
            ids[t - p->from] = pt.id;
        }
        f->ids[i] = ids;
    }
    *ret = f->ids == NULL ? NULL : f->ids[i];
    return *ret == NULL ? over_budget(err) : EC_OK;
}

/* The traces of `of` that matter, from the n_done-th of all on. */
static enum ec compare_some(struct finder *f, size_t of, size_t in, struct err *err)
{
    const struct shared_peer *p = &f->peers[of];
    struct pair_known *m = &f->found;
    const struct trace_id *ids;
    struct part_reader *r;
    struct part *other;
    m->n_done = MAX(m->n_done, p->from);
    if (m->n_done >= p->to)
        return EC_OK;
    TRY(ids_read(f, of, &ids, err));
    TRY(readable(f, of, in, &r, &other, err));
    for (; ids != NULL && other != NULL && m->n_done < p->to; m->n_done++) {
        const struct trace_id *id = &ids[m->n_done - p->from];
        if (m->n_done % 4096 == 0)
            TRY(query_check_alive(f->ctx, err));
        if (m->n_done + IDS_AHEAD < p->to)
            part_hold_soon(other, id + IDS_AHEAD);
        f->n_compared++;
        if (!part_may_hold(other, id))
            continue;
        if (given_up(f))
            return EC_OK;
        TRY(look_up(f, of, in, id, m->n_done, err));
    }
    return EC_OK;
}

/* Which part's traces are looked up in the other, when the pair is compared whole. */
static size_t looked_up(const struct finder *f, size_t i, size_t k)
{
    struct part *const *parts = f->ctx->parts;
    if (parts[i]->is_head || parts[k]->is_head)
        return parts[i]->is_head ? i : k; /* of two heads the newer one grows */
    return f->peers[i].info.n_traces <= f->peers[k].info.n_traces ? i : k;
}

static struct pair_key key_of(const struct finder *f, size_t of, size_t in, bool by_time)
{
    struct part *const *parts = f->ctx->parts;
    return (struct pair_key){
        .of = part_serial(parts[of]), .in = part_serial(parts[in]), .by_time = by_time};
}

/* Tells what is known of a pair, and leaves in f->found what is known. */
static enum ec tell_known(
    struct finder *f, size_t of, size_t in, const struct pair_key *key, struct err *err)
{
    struct pair_known k = {0};
    enum ec ec = EC_OK;
    arena_rewind(&f->scratch);
    f->found = (struct pair_known){0};
    f->traces = NULL;
    f->cap = 0;
    if (f->pairs != NULL)
        pairs_get(f->pairs, key, &k);
    for (uint32_t n = 0; n < k.n && ec == EC_OK; n++) {
        note(f, &k.traces[n]);
        ec = tell(f, of, in, &k.traces[n], err);
    }
    f->found.n_done = k.n_done;
    if (f->pairs != NULL)
        pairs_release(f->pairs, &k);
    return ec;
}

static void remember(struct finder *f, size_t of, const struct pair_key *key, bool blocks)
{
    if (blocks && f->found.n == 0 && f->found.n_done == f->peers[of].info.n_traces)
        pairs_put_none(f->pairs, key->of, key->in, key->by_time);
    else
        pairs_put(f->pairs, key, &f->found);
}

/* ---- which way a pair goes ---- */

static uint32_t done_of(struct finder *f, const struct pair_key *key)
{
    if (f->pairs == NULL)
        return 0;
    pairs_lock(f->pairs);
    uint32_t n = pairs_done(f->pairs, key);
    pairs_unlock(f->pairs);
    return n;
}

static struct pair_key key_of_some(const struct finder *f, size_t of, size_t in)
{
    struct pair_key key = key_of(f, of, in, false);
    key.from = f->peers[of].from + 1;
    return key;
}

/* Traces still to be looked up, of one part in the other. */
static uint32_t left_of_some(struct finder *f, size_t of, size_t in)
{
    const struct shared_peer *p = &f->peers[of];
    if (p->from >= p->to)
        return 0;
    struct pair_key key = key_of_some(f, of, in);
    uint32_t done = MAX(done_of(f, &key), p->from);
    return p->to - MIN(done, p->to);
}

/* Traces still to be looked up for a pair, as is less; *ret_some: those that matter, of each part
 * in the other. */
static uint64_t left_of(struct finder *f, size_t i, size_t k, bool *ret_some)
{
    size_t of = looked_up(f, i, k);
    struct pair_key key = key_of(f, of, of == i ? k : i, false);
    uint32_t n_traces = f->peers[of].info.n_traces;
    uint64_t whole = n_traces - MIN(n_traces, done_of(f, &key)), some = UINT64_MAX;
    if (whole != 0 && f->peers[i].some && f->peers[k].some)
        some = (uint64_t)left_of_some(f, i, k) + left_of_some(f, k, i);
    *ret_some = some < whole;
    return MIN(some, whole);
}

static enum ec pair_some(struct finder *f, size_t of, size_t in, struct err *err)
{
    if (f->peers[of].from >= f->peers[of].to)
        return EC_OK;
    struct pair_key key = key_of_some(f, of, in);
    TRY(tell_known(f, of, in, &key, err));
    uint32_t n_done = f->found.n_done;
    TRY(compare_some(f, of, in, err));
    if (f->pairs != NULL && f->found.n_done > n_done)
        pairs_put(f->pairs, &key, &f->found);
    return EC_OK;
}

/* The traces of a head are all looked up, as they come: they begin in no order, and may yet begin
 * earlier. */
static enum ec pair(struct finder *f, size_t i, size_t k, struct err *err)
{
    const struct part_info *a = &f->peers[i].info, *b = &f->peers[k].info;
    bool blocks = !f->ctx->parts[i]->is_head && !f->ctx->parts[k]->is_head;
    bool by_time = !f->whole && blocks, some = false;
    size_t of = looked_up(f, i, k);
    if (!by_time && blocks)
        (void)left_of(f, i, k, &some);
    if (some) {
        TRY(pair_some(f, i, k, err));
        return pair_some(f, k, i, err);
    }
    if (by_time)
        of = a->min_start_ns >= b->min_start_ns ? i : k;
    size_t in = of == i ? k : i;
    struct pair_key key = key_of(f, of, in, by_time);
    TRY(tell_known(f, of, in, &key, err));
    uint32_t n_done = f->found.n_done;
    if (by_time)
        TRY(compare_by_time(f, of, in, f->peers[in].info.max_end_ns, err));
    else
        TRY(compare_whole(f, of, in, err));
    if (f->pairs != NULL && f->found.n_done != n_done)
        remember(f, of, &key, blocks);
    return EC_OK;
}

/* ---- all pairs ---- */

/* Goes over the pairs of one part after another, i ascending, each with parts after it. */
struct walk {
    size_t i;
    bool by_time;
    unsigned kind;              /* whose parts come next */
    size_t at;                  /* in its list */
    size_t after[SHARED_KINDS]; /* by kind: where the parts after i begin in its list */
};

static unsigned kind_of(const struct finder *f, size_t i)
{
    return f->wanted == NULL ? 0 : f->wanted->of[i];
}

static uint32_t kinds_with(const struct finder *f, size_t i)
{
    return f->wanted == NULL ? 1 : f->wanted->with[f->wanted->of[i]];
}

static void walk_part(const struct finder *f, struct walk *w, size_t i)
{
    unsigned kind = kind_of(f, i);
    ASSERT(f->lists[kind].parts[w->after[kind]] == i);
    w->i = i;
    w->after[kind]++;
    w->kind = 0;
    w->at = w->after[0];
}

static bool overlap(const struct part_info *a, const struct part_info *b)
{
    return a->min_start_ns <= b->max_end_ns && b->min_start_ns <= a->max_end_ns;
}

/* Not known to share nothing; under the lock, if there is one. */
static bool is_open(struct finder *f, size_t i, size_t k, bool by_time)
{
    struct part *const *parts = f->ctx->parts;
    return f->pairs == NULL || parts[i]->is_head || parts[k]->is_head ||
           !pairs_none(f->pairs, part_serial(parts[i]), part_serial(parts[k]), by_time);
}

static size_t walk_next_locked(struct finder *f, struct walk *w)
{
    for (; w->kind < SHARED_KINDS; w->at = ++w->kind < SHARED_KINDS ? w->after[w->kind] : 0) {
        const struct kind_list *l = &f->lists[w->kind];
        const struct part_info *of = &f->peers[w->i].info;
        if ((kinds_with(f, w->i) >> w->kind & 1) == 0 || (w->by_time && !overlap(of, &l->hull)))
            continue;
        while (w->at < l->n) {
            size_t k = l->parts[w->at++];
            const struct shared_peer *p = &f->peers[k];
            if (!peer_absent(p) && (!w->by_time || overlap(of, &p->info)) &&
                is_open(f, w->i, k, w->by_time))
                return k;
        }
    }
    return f->ctx->n_parts;
}

/* The next part with which part i is a pair that is wanted and not known to share nothing, and, by
 * time, can share something; n_parts: none is left. The lock is taken once for all that are passed
 * over. */
static size_t walk_next(struct finder *f, struct walk *w)
{
    if (peer_absent(&f->peers[w->i])) /* it may have turned out unreadable */
        return f->ctx->n_parts;
    if (f->pairs != NULL)
        pairs_lock(f->pairs);
    size_t k = walk_next_locked(f, w);
    if (f->pairs != NULL)
        pairs_unlock(f->pairs);
    return k;
}

/* The traces of all pairs that nothing is remembered of, to be compared whole; more than `most`: as
 * many or more. */
static uint64_t traces_left(struct finder *f, uint64_t most)
{
    struct walk w = {.by_time = false};
    uint64_t n = 0;
    for (size_t i = 0; i < f->ctx->n_parts; i++) {
        walk_part(f, &w, i);
        for (size_t k; (k = walk_next(f, &w)) < f->ctx->n_parts;) {
            bool some;
            n += left_of(f, i, k, &some);
            if (n > most)
                return n;
        }
    }
    return n;
}

static enum ec find(struct finder *f, struct err *err)
{
    struct walk w = {.by_time = !f->whole};
    for (size_t i = 0; i < f->ctx->n_parts; i++) {
        walk_part(f, &w, i);
        for (size_t k; (k = walk_next(f, &w)) < f->ctx->n_parts;) {
            if (f->most != 0 && f->n_compared >= f->most)
                return EC_OK;
            enum ec ec = pair(f, i, k, err);
            if (!source_unreadable(ec))
                TRY(ec);
        }
        if (f->done != NULL)
            f->done(f->arg, i);
    }
    return EC_OK;
}

static enum ec lists_fill(struct finder *f, struct err *err)
{
    size_t n = f->ctx->n_parts;
    uint32_t *parts = ARENA_ARRAY(&f->arena, n, uint32_t);
    if (parts == NULL)
        return over_budget(err);
    for (size_t i = 0; i < n; i++) {
        ASSERT(kind_of(f, i) < SHARED_KINDS);
        f->lists[kind_of(f, i)].n++;
    }
    for (unsigned kind = 0; kind < SHARED_KINDS; kind++) {
        f->lists[kind].parts = parts;
        parts += f->lists[kind].n;
        f->lists[kind].n = 0;
        f->lists[kind].hull.min_start_ns = UINT64_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        struct kind_list *l = &f->lists[kind_of(f, i)];
        l->parts[l->n++] = (uint32_t)i;
        l->hull.min_start_ns = MIN(l->hull.min_start_ns, f->peers[i].info.min_start_ns);
        l->hull.max_end_ns = MAX(l->hull.max_end_ns, f->peers[i].info.max_end_ns);
    }
    return EC_OK;
}

/* if_all: where something would be left out, what a query may ask is asked all the same, and
 * remembered, so that the next one finds less to be done; unless that would take very many. */
static enum ec find_pairs(struct finder *f, bool if_all, bool *ret_all, struct err *err)
{
    const struct query_ctx *ctx = f->ctx;
    f->pairs = ctx->cache == NULL ? NULL : query_cache_pairs(ctx->cache);
    *ret_all = false;
    arena_init(&f->arena, ctx->budget, 0);
    arena_init(&f->scratch, ctx->budget, 0);
    enum ec ec = lists_fill(f, err);
    if (ec == EC_OK) {
        uint64_t most = shared_whole_max * (if_all && f->pairs != NULL ? QUERIES_MAX : 1);
        uint64_t left = traces_left(f, most);
        bool all = left <= shared_whole_max;
        f->whole = all || if_all;
        f->most = all || !if_all ? 0 : shared_whole_max;
        if (!if_all || left <= most)
            ec = find(f, err);
        *ret_all = all && !f->given_up;
    }
    arena_deinit(&f->scratch);
    arena_deinit(&f->arena);
    if (f->n_compared != 0 && f->pairs != NULL)
        pairs_count(f->pairs, f->n_compared);
    return ec;
}

enum ec shared_find(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn fn, void *arg, bool *ret_all, struct err *err)
{
    struct finder f = {.ctx = ctx, .peers = peers, .wanted = wanted, .tell = fn, .arg = arg};
    return find_pairs(&f, false, ret_all, err);
}

enum ec shared_find_all(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn fn, void *arg, bool *ret_all, struct err *err)
{
    struct finder f = {.ctx = ctx, .peers = peers, .wanted = wanted, .tell = fn, .arg = arg};
    return find_pairs(&f, true, ret_all, err);
}

/* ---- sets ---- */

struct collect {
    struct shared_set *set;
    struct shared_peer *peers;
    struct arena *arena;
};

static enum ec mark(struct collect *c, size_t part, uint32_t trace, struct err *err)
{
    struct shared_set *s = c->set;
    if (s->traces[part] == NULL) {
        s->n_traces[part] = c->peers[part].info.n_traces;
        s->traces[part] = ARENA_ARRAY(c->arena, s->n_traces[part] / 64 + 1, uint64_t);
        if (s->traces[part] == NULL)
            return over_budget(err);
    }
    ASSERT(trace < s->n_traces[part]);
    s->traces[part][trace / 64] |= (uint64_t)1 << (trace % 64);
    return EC_OK;
}

static enum ec collect_piece(
    struct collect *c, size_t part, uint32_t trace, const struct trace_id *id, struct err *err)
{
    struct shared_set *s = c->set;
    TRY(mark(c, part, trace, err));
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        struct trace_piece *pieces = ARENA_ARRAY(c->arena, cap, struct trace_piece);
        if (pieces == NULL)
            return over_budget(err);
        if (s->n != 0)
            memcpy(pieces, s->pieces, s->n * sizeof(*pieces));
        s->pieces = pieces;
        s->cap = cap;
    }
    s->pieces[s->n++] = (struct trace_piece){*id, (uint32_t)part, trace};
    return EC_OK;
}

static enum ec collect_both(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *err)
{
    TRY(collect_piece(arg, i, t->trace[0], &t->id, err));
    return collect_piece(arg, k, t->trace[1], &t->id, err);
}

static int cmp_piece(const void *a, const void *b)
{
    const struct trace_piece *x = a, *y = b;
    int c = trace_id_cmp(&x->id, &y->id);
    return c != 0 ? c : x->part < y->part ? -1 : x->part > y->part;
}

/* Of three parts each piece was told of twice. */
static void sort_pieces(struct shared_set *s)
{
    size_t n = 0;
    if (s->n < 2)
        return;
    qsort(s->pieces, s->n, sizeof(*s->pieces), cmp_piece);
    for (size_t i = 0; i < s->n; i++)
        if (n == 0 || cmp_piece(&s->pieces[n - 1], &s->pieces[i]) != 0)
            s->pieces[n++] = s->pieces[i];
    s->n = n;
}

static enum ec open_peers(struct collect *c, const struct query_ctx *ctx, uint64_t start_ns,
    uint64_t end_ns, struct err *err)
{
    const struct part_info range = {.min_start_ns = start_ns, .max_end_ns = end_ns};
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct shared_peer *p = &c->peers[i];
        if (part_peek(ctx->parts[i], &p->info) && !overlap(&p->info, &range))
            continue;
        enum ec ec = part_reader_open(ctx->parts[i], ctx->budget, &p->r, err);
        if (source_unreadable(ec) || ec == EC_NOT_FOUND)
            continue;
        TRY(ec);
        part_info(p->r, &p->info);
        if (overlap(&p->info, &range))
            continue;
        part_reader_close(p->r);
        p->r = NULL;
    }
    return EC_OK;
}

static void peer_done(void *arg, size_t i)
{
    struct collect *c = arg;
    part_reader_close(c->peers[i].r);
    c->peers[i].r = NULL;
}

enum ec shared_set_find(const struct query_ctx *ctx, uint64_t start_ns, uint64_t end_ns,
    struct arena *arena, struct shared_set *ret, struct err *err)
{
    struct collect c = {.set = ret, .arena = arena};
    *ret = (struct shared_set){.traces = ARENA_ARRAY(arena, ctx->n_parts, uint64_t *),
        .n_traces = ARENA_ARRAY(arena, ctx->n_parts, uint32_t)};
    c.peers = ARENA_ARRAY(arena, ctx->n_parts, struct shared_peer);
    if (ret->traces == NULL || ret->n_traces == NULL || c.peers == NULL)
        return over_budget(err);
    if (ctx->n_parts < 2)
        return EC_OK;
    enum ec ec = open_peers(&c, ctx, start_ns, end_ns, err);
    struct finder f = {
        .ctx = ctx, .peers = c.peers, .tell = collect_both, .arg = &c, .done = peer_done};
    bool all;
    if (ec == EC_OK)
        ec = find_pairs(&f, false, &all, err);
    sort_pieces(ret);
    for (size_t i = 0; i < ctx->n_parts; i++)
        part_reader_close(c.peers[i].r);
    return ec;
}
