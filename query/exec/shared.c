/* SPDX-License-Identifier: Apache-2.0
 * Finding shared traces.
 *
 * The memory of pairs is a table of fixed size, the slot chosen by the two ids: a pair that shares
 * more than a few traces, or that lost its slot, is compared again. */
#include "shared.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "candidates.h"

/* Pairs are compared whole, whatever their times, while that asks no more filters than this: some
 * tens of nanoseconds each, and none again of blocks once a pair is remembered, which then does not
 * count any more. */
#define WHOLE_MAX   1000000u
#define LOOKUPS_MAX 200000u /* a query's share of lookups that a filter did not spare it */
#define MEMO_SLOTS  4096u
#define MEMO_TRACES 48u

struct key { /* of a pair; of blocks the id alone would do outside of tests, of heads it does */
    uint8_t uuid[2][16];
    uint64_t min_start_ns[2], max_end_ns[2], bytes[2];
    uint64_t by_time; /* only what can overlap was compared, not all */
};

struct pair_trace {
    struct trace_id id;
    uint32_t trace[2];
};

struct memo { /* what one pair shares */
    struct key key;
    uint32_t n_done; /* traces of the later part that were looked up; 0: free */
    uint32_t n;
    struct pair_trace traces[MEMO_TRACES];
};

static struct {
    pthread_mutex_t lock;
    struct memo *slots; /* MEMO_SLOTS, made at first use, never freed */
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static void key_set(struct key *k, size_t at, const struct part *p, const struct part_info *info)
{
    memcpy(k->uuid[at], p->uuid, 16);
    if (p->is_head)
        return;
    k->min_start_ns[at] = info->min_start_ns;
    k->max_end_ns[at] = info->max_end_ns;
    k->bytes[at] = info->bytes;
}

static struct memo *memo_slot(const struct key *k)
{
    uint64_t h = 0;
    for (size_t i = 0; i < 2; i++)
        h = hash_mix(h ^ get_u64le(k->uuid[i]) ^ k->bytes[i]) + get_u64le(k->uuid[i] + 8);
    if (memory.slots == NULL)
        memory.slots = xcalloc(MEMO_SLOTS, sizeof(*memory.slots));
    return &memory.slots[hash_mix(h) % MEMO_SLOTS];
}

/* Fills all but the key when the pair is known. */
static void memo_get(struct memo *m)
{
    pthread_mutex_lock(&memory.lock);
    const struct memo *of = memo_slot(&m->key);
    if (of->n_done != 0 && memcmp(&of->key, &m->key, sizeof(m->key)) == 0)
        *m = *of;
    pthread_mutex_unlock(&memory.lock);
}

static void memo_put(const struct memo *m)
{
    pthread_mutex_lock(&memory.lock);
    *memo_slot(&m->key) = *m;
    pthread_mutex_unlock(&memory.lock);
}

/* How many traces of the later part of a pair need not be looked up any more. */
static uint32_t memo_done(const struct key *k)
{
    pthread_mutex_lock(&memory.lock);
    const struct memo *of = memo_slot(k);
    uint32_t n = of->n_done != 0 && memcmp(&of->key, k, sizeof(*k)) == 0 ? of->n_done : 0;
    pthread_mutex_unlock(&memory.lock);
    return n;
}

/* ---- one pair ---- */

struct finder {
    const struct query_ctx *ctx;
    const struct shared_peer *peers;
    const struct shared_kinds *wanted; /* NULL: all pairs */
    uint32_t kinds;                    /* bits of the kinds that there are */
    shared_fn tell;
    void *arg;
    uint32_t n_lookups;
    bool whole;    /* all pairs are compared whole */
    bool given_up; /* a pair had no share of lookups left */
    /* Part i is not asked again: what its reader pins may go. Or NULL. */
    void (*done)(void *arg, size_t i);
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
    struct finder *f, size_t i, size_t k, const struct pair_trace *t, struct err *err)
{
    const size_t parts[2] = {i, k};
    struct shared_trace both = {.id = t->id};
    for (size_t n = 0; n < 2; n++) {
        struct part_trace pt;
        if (t->trace[n] >= f->peers[parts[n]].info.n_traces)
            return EC_OK; /* a head that this query saw earlier than another one did */
        struct part_reader *r;
        TRY(peer_reader(f, parts[n], &r, err));
        if (r == NULL)
            return EC_OK;
        TRY(part_trace(r, t->trace[n], &pt, err));
        both.trace[n] = t->trace[n];
        both.start_ns[n] = pt.start_ns;
        both.end_ns[n] = pt.end_ns;
    }
    return f->tell(f->arg, i, k, &both, err);
}

/* A trace that is in one part of the pair, is it in the other? Tells of it. */
static enum ec look_up(struct finder *f, size_t of, size_t in, const struct trace_id *id,
    uint32_t trace, struct memo *m, struct err *err)
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
    struct pair_trace t = {.id = *id};
    t.trace[of < in ? 0 : 1] = trace;
    t.trace[of < in ? 1 : 0] = found;
    if (m->n < MEMO_TRACES)
        m->traces[m->n] = t;
    m->n++;
    return tell(f, MIN(of, in), MAX(of, in), &t, err);
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

/* All ids of `of`, from the m->n_done-th of its list on. */
static enum ec compare_whole(
    struct finder *f, size_t of, size_t in, struct memo *m, struct err *err)
{
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
        if (!part_may_hold(other, id))
            continue;
        if (given_up(f))
            return EC_OK;
        TRY(look_up(f, of, in, id, PART_NONE, m, err));
    }
    return EC_OK;
}

/* The traces of `later` from m->n_done on that begin by last_ns. */
static enum ec compare_by_time(struct finder *f, size_t later, size_t earlier, uint64_t last_ns,
    struct memo *m, struct err *err)
{
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
        if (!part_may_hold(other, &pt.id))
            continue;
        if (given_up(f))
            return EC_OK;
        TRY(look_up(f, later, earlier, &pt.id, m->n_done, m, err));
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

/* The traces of a head are all looked up, as they come: they begin in no order, and may yet begin
 * earlier. */
static enum ec compare_pair(struct finder *f, size_t i, size_t k, struct memo *m, struct err *err)
{
    const struct part_info *a = &f->peers[i].info, *b = &f->peers[k].info;
    if (m->key.by_time == 0) {
        size_t of = looked_up(f, i, k);
        return compare_whole(f, of, of == i ? k : i, m, err);
    }
    bool a_later = a->min_start_ns >= b->min_start_ns;
    return compare_by_time(
        f, a_later ? i : k, a_later ? k : i, a_later ? b->max_end_ns : a->max_end_ns, m, err);
}

static void pair_key(const struct finder *f, size_t i, size_t k, struct key *ret)
{
    *ret = (struct key){.by_time = 0};
    key_set(ret, 0, f->ctx->parts[i], &f->peers[i].info);
    key_set(ret, 1, f->ctx->parts[k], &f->peers[k].info);
}

static enum ec pair(struct finder *f, size_t i, size_t k, struct err *err)
{
    const struct part_info *a = &f->peers[i].info, *b = &f->peers[k].info;
    struct memo m = {.n = 0};
    if (!f->whole && (a->min_start_ns > b->max_end_ns || b->min_start_ns > a->max_end_ns))
        return EC_OK;
    pair_key(f, i, k, &m.key);
    m.key.by_time = !f->whole && !f->ctx->parts[i]->is_head && !f->ctx->parts[k]->is_head;
    memo_get(&m);
    uint32_t n_done = m.n_done;
    for (uint32_t n = 0; n < m.n; n++)
        TRY(tell(f, i, k, &m.traces[n], err));
    TRY(compare_pair(f, i, k, &m, err));
    if (m.n <= MEMO_TRACES && m.n_done != n_done)
        memo_put(&m);
    return EC_OK;
}

/* The next part after k with which i is a wanted pair; n_parts: none. */
static size_t next_peer(const struct finder *f, size_t i, size_t k)
{
    const struct shared_kinds *w = f->wanted;
    size_t n = f->ctx->n_parts;
    if (w != NULL && (w->with[w->of[i]] & f->kinds) == 0)
        return n;
    for (k++; k < n; k++)
        if ((w == NULL || shared_kinds_want(w, i, k)) && !peer_absent(&f->peers[k]))
            return k;
    return n;
}

/* Are the traces of all pairs that nothing is remembered of within what a query may ask? */
static bool all_whole(const struct finder *f)
{
    const struct shared_peer *p = f->peers;
    uint64_t n = 0;
    for (size_t i = 0; i < f->ctx->n_parts; i++) {
        if (peer_absent(&p[i]))
            continue;
        for (size_t k = i; (k = next_peer(f, i, k)) < f->ctx->n_parts;) {
            struct key key;
            uint32_t n_traces = p[looked_up(f, i, k)].info.n_traces;
            pair_key(f, i, k, &key);
            n += n_traces - MIN(n_traces, memo_done(&key));
            if (n > WHOLE_MAX)
                return false;
        }
    }
    return true;
}

static enum ec find(struct finder *f, struct err *err)
{
    for (size_t i = 0; i < f->ctx->n_parts; i++) {
        for (size_t k = i; !peer_absent(&f->peers[i]);) { /* it may turn out unreadable */
            k = next_peer(f, i, k);
            if (k == f->ctx->n_parts)
                break;
            enum ec ec = pair(f, i, k, err);
            if (!source_unreadable(ec))
                TRY(ec);
        }
        if (f->done != NULL)
            f->done(f->arg, i);
    }
    return EC_OK;
}

static void finder_init(struct finder *f, const struct query_ctx *ctx,
    const struct shared_peer *peers, const struct shared_kinds *wanted, shared_fn fn, void *arg)
{
    *f = (struct finder){.ctx = ctx, .peers = peers, .wanted = wanted, .tell = fn, .arg = arg};
    for (size_t i = 0; wanted != NULL && i < ctx->n_parts; i++) {
        ASSERT(wanted->of[i] < SHARED_KINDS);
        f->kinds |= 1u << wanted->of[i];
    }
}

enum ec shared_find(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn fn, void *arg, bool *ret_all, struct err *err)
{
    struct finder f;
    finder_init(&f, ctx, peers, wanted, fn, arg);
    f.whole = all_whole(&f);
    TRY(find(&f, err));
    *ret_all = f.whole && !f.given_up;
    return EC_OK;
}

enum ec shared_find_all(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn fn, void *arg, bool *ret_all, struct err *err)
{
    struct finder f;
    finder_init(&f, ctx, peers, wanted, fn, arg);
    *ret_all = false;
    if (!all_whole(&f))
        return EC_OK;
    f.whole = true;
    TRY(find(&f, err));
    *ret_all = !f.given_up;
    return EC_OK;
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
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct shared_peer *p = &c->peers[i];
        enum ec ec = part_reader_open(ctx->parts[i], ctx->budget, &p->r, err);
        if (source_unreadable(ec) || ec == EC_NOT_FOUND)
            continue;
        TRY(ec);
        part_info(p->r, &p->info);
        if (p->info.min_start_ns <= end_ns && p->info.max_end_ns >= start_ns)
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
    struct finder f;
    finder_init(&f, ctx, c.peers, NULL, collect_both, &c);
    f.done = peer_done;
    if (ec == EC_OK) {
        f.whole = all_whole(&f);
        ec = find(&f, err);
    }
    sort_pieces(ret);
    for (size_t i = 0; i < ctx->n_parts; i++)
        part_reader_close(c.peers[i].r);
    return ec;
}
