/* SPDX-License-Identifier: Apache-2.0
 * The traces that several parts hold, of which compare() counts spans: assembled once, before the
 * slices are counted.
 *
 * They are found by pairs of parts, of which what was found is remembered; where that would be too
 * much for one query, by asking all parts for each id. Only what has spans in the range matters. */
#include "compare_roots.h"

#include <stdlib.h>

#include "result.h"
#include "shared.h"
#include "sharing.h"

#define REPEATED UINT32_MAX /* children of a row that another part has too */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static enum ec add_row(struct apart_part *p, uint32_t row, uint32_t children, struct err *err)
{
    struct apart_row of = {row, children};
    if (children == REPEATED)
        buf_put(&p->repeats, &row, sizeof(row));
    else
        buf_put(&p->rows, &of, sizeof(of));
    return buf_failed(&p->rows) || buf_failed(&p->repeats) ? over_budget(err) : EC_OK;
}

/* The trace of this id in a source; PART_NONE: none of it is there. */
static enum ec piece_of(
    struct source *s, const struct trace_id *id, uint32_t *ret_trace, struct err *err)
{
    bool ok = s->part != NULL && part_may_hold(s->part, id);
    *ret_trace = PART_NONE;
    if (ok)
        TRY(source_groups(s, &ok, err));
    return ok ? source_note(s, part_trace_find(s->r, id, ret_trace, err)) : EC_OK;
}

/* Every row that a part has of the trace: those that the assembled trace left out are repeated. */
static enum ec add_part(struct roots *r, uint32_t src, const struct qtrace *t, uint32_t root_name,
    uint32_t root_service, struct err *err)
{
    struct source *s = &r->sources[src];
    struct apart_trace st = {.root_name = root_name, .root_service = root_service};
    uint32_t *rows, n;
    TRY(piece_of(s, &t->id, &st.trace, err));
    if (st.trace == PART_NONE)
        return EC_OK;
    buf_put(&r->parts[src].traces, &st, sizeof(st));
    if (buf_failed(&r->parts[src].traces))
        return over_budget(err);
    TRY(part_trace_rows(s->r, st.trace, &r->scratch, &rows, &n, err));
    uint32_t at = 0;
    while (at < t->n && t->rows[at].src != src)
        at++;
    for (uint32_t i = 0; i < n && rows[i] < s->info.n_rows; i++) {
        uint32_t g = source_group_of(s, rows[i]);
        uint32_t off = rows[i] - s->groups[g].row_first;
        bool kept =
            at < t->n && t->rows[at].src == src && t->rows[at].g == g && t->rows[at].off == off;
        TRY(add_row(&r->parts[src], rows[i], kept ? t->nest[at].n_children : REPEATED, err));
        at += kept;
    }
    return EC_OK;
}

/* Does the part have rows of the trace among what is kept, and others? */
static enum ec piece_inside(struct compare *x, size_t part, struct source *s, uint32_t trace,
    bool *ret_in, bool *ret_out, struct err *err)
{
    const struct kept_groups *in = &x->kept->inside[part];
    struct part_trace pt;
    *ret_in = false;
    *ret_out = true;
    if (!kept_is_inside(x->kept, part)) /* perhaps a head */
        return EC_OK;
    TRY(source_note(s, part_trace(s->r, trace, &pt, err)));
    uint64_t end = (uint64_t)pt.row_first + pt.n_rows;
    *ret_in = pt.row_first < in->row_to && end > in->row_from;
    *ret_out = pt.row_first < in->row_from || end > in->row_to;
    return EC_OK;
}

/* A trace that several parts hold: what is kept of blocks is right only without it, when some of it
 * is not among that. */
static enum ec note_kept(
    struct compare *x, struct roots *r, const struct trace_id *id, struct err *err)
{
    struct kept *k = x->kept;
    bool later = false, inside = false;
    uint32_t trace;
    for (size_t pass = 0; k != NULL && pass < 2; pass++) {
        for (size_t i = 0; i < r->n_parts; i++) {
            struct source *s = &r->sources[i];
            bool in, out;
            if (s->part == NULL || (pass == 0 ? later : !later || !kept_is_inside(k, i)))
                continue;
            TRY(piece_of(s, id, &trace, err));
            if (trace == PART_NONE)
                continue;
            TRY(piece_inside(x, i, s, trace, &in, &out, err));
            later = later || out;
            if (pass == 0 || !in)
                continue;
            inside = true;
            if (k->counting)
                TRY(kept_mark(x, i, trace, s->info.n_traces, err));
            else if (!kept_is_marked(k, i, trace))
                k->stale = true;
        }
    }
    return inside && k->counting ? kept_mark_id(x, id, err) : EC_OK;
}

/* A trace of source k (UINT32_MAX: of any), of which perhaps another source holds some too. */
static enum ec add_trace(struct compare *x, struct roots *r, uint32_t k, const struct trace_id *id,
    size_t n_sources, struct err *err)
{
    struct qtrace t;
    struct qval key = qval_str(str_n((const char *)id->b, sizeof(id->b)));
    uint32_t name, service, known = r->done.n, other = PART_NONE;
    for (uint32_t i = 0; i < n_sources && other == PART_NONE; i++)
        if (i != k && r->sources[i].part != NULL)
            TRY(piece_of(&r->sources[i], id, &other, err));
    if (other == PART_NONE)
        return EC_OK;
    TRY(label_intern(&r->done, &key, &name, err));
    if (r->done.n == known)
        return EC_OK;
    TRY(qtrace_open(&t, r->sources, n_sources, id, &r->scratch, err));
    if (t.n_parts < 2)
        return EC_OK;
    TRY(qtrace_load_nest(&t, err));
    eval_trace(&r->ev, &t);
    TRY(eval_root_text(&r->ev, err));
    TRY(apart_text(&r->texts, r->ev.root_name, &name, err));
    TRY(apart_text(&r->texts, r->ev.root_service, &service, err));
    for (uint32_t i = 0; i < n_sources; i++)
        if (r->sources[i].part != NULL)
            TRY(source_note(&r->sources[i], add_part(r, i, &t, name, service, err)));
    return note_kept(x, r, id, err);
}

/* The traces that are left out of what is kept. */
static enum ec add_left_out(struct compare *x, struct roots *r, size_t n, struct err *err)
{
    const struct kept *k = x->kept;
    for (size_t i = 0; i < k->n_ids; i++) {
        size_t first = n;
        for (size_t p = 0; p < n; p++) {
            struct source *s = &r->sources[p];
            uint32_t trace;
            if (s->part == NULL || !kept_is_inside(k, p))
                continue;
            TRY(piece_of(s, &k->ids[i], &trace, err));
            if (trace == PART_NONE)
                continue;
            TRY(kept_mark(x, p, trace, s->info.n_traces, err));
            first = MIN(first, p);
        }
        if (first < n)
            TRY(add_trace(x, r, (uint32_t)first, &k->ids[i], n, err));
        r->ev.trace = NULL;
        arena_reset(&r->scratch);
    }
    return EC_OK;
}

/* ---- by pairs ---- */

struct told {
    const struct compare *x;
    const struct roots *r;
    struct trace_id *ids;
    size_t n, cap;
};

static bool in_range(const struct told *t, size_t i)
{
    const struct grid *g = &t->x->c->grid;
    const struct part_info *p = &t->r->sources[i].info;
    return p->min_start_ns <= g->end_ns && p->max_end_ns >= g->start_ns;
}

/* What is kept knows of the traces that its blocks share with each other, if all of both is
 * kept. */
static bool whole_inside(const struct compare *x, const struct source *s, size_t part)
{
    const struct kept *k = x->kept;
    return k != NULL && !k->counting && kept_is_inside(k, part) && k->inside[part].row_from == 0 &&
           k->inside[part].row_to == s->info.n_rows;
}

enum { OUT_OF_RANGE, IN_RANGE, KEPT_OUT_OF_RANGE, KEPT };

static bool kinds_of(const struct told *t, size_t n, struct shared_kinds *ret)
{
    *ret = (struct shared_kinds){
        .of = ARENA_ARRAY(t->x->c->ctx->arena, n, uint8_t),
        .with = {[OUT_OF_RANGE] = 1 << IN_RANGE | 1 << KEPT,
            [IN_RANGE] = 1 << OUT_OF_RANGE | 1 << IN_RANGE | 1 << KEPT_OUT_OF_RANGE | 1 << KEPT,
            [KEPT_OUT_OF_RANGE] = 1 << IN_RANGE,
            [KEPT] = 1 << OUT_OF_RANGE | 1 << IN_RANGE},
    };
    for (size_t i = 0; ret->of != NULL && i < n; i++) {
        bool known = whole_inside(t->x, &t->r->sources[i], i);
        ret->of[i] = (uint8_t)((known ? KEPT_OUT_OF_RANGE : OUT_OF_RANGE) + in_range(t, i));
    }
    return ret->of != NULL;
}

static enum ec peers_of(const struct told *t, size_t n, struct shared_peer *peers, struct err *err)
{
    const struct grid *g = &t->x->c->grid;
    for (size_t i = 0; i < n; i++)
        if (t->r->sources[i].part != NULL)
            TRY(shared_peer_within(&peers[i], &t->r->sources[i], g->start_ns, g->end_ns, err));
    return EC_OK;
}

static enum ec pair_told(
    void *arg, size_t i, size_t k, const struct shared_trace *both, struct err *err)
{
    struct told *t = arg;
    (void)i;
    (void)k;
    if (t->n == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        struct trace_id *ids = ARENA_ARRAY(t->x->c->ctx->arena, cap, struct trace_id);
        if (ids == NULL)
            return over_budget(err);
        if (t->n != 0)
            memcpy(ids, t->ids, t->n * sizeof(*ids));
        t->ids = ids;
        t->cap = cap;
    }
    t->ids[t->n++] = both->id;
    return EC_OK;
}

/* Traces that some part in range shares with any other, by what is remembered of pairs: a store may
 * hold a thousand times what is in range. False: that would not find them all. */
static enum ec find_pairs(struct compare *x, struct roots *r, size_t n,
    const struct shared_peer *peers, bool *ret_all, struct err *err)
{
    struct told told = {.x = x, .r = r};
    struct shared_kinds kinds;
    if (!kinds_of(&told, n, &kinds))
        return over_budget(err);
    TRY(shared_find_all(x->c->ctx, peers, &kinds, pair_told, &told, ret_all, err));
    for (size_t i = 0; i < told.n && *ret_all; i++) {
        enum ec ec = EC_OK;
        if (i % 64 == 0)
            TRY(query_check_alive(x->c->ctx, err));
        ec = add_trace(x, r, UINT32_MAX, &told.ids[i], n, err);
        r->ev.trace = NULL;
        arena_reset(&r->scratch);
        if (!source_unreadable(ec))
            TRY(ec);
    }
    return EC_OK;
}

/* ---- by all ids ---- */

/* Of a part's traces that matter the next ones: all in the order of its list, or some by number. */
static enum ec next_ids(struct source *s, const struct shared_peer *p, uint32_t at,
    struct trace_id ids[PART_IDS_MAX], uint32_t *ret_n, struct err *err)
{
    *ret_n = 0;
    if (!p->some)
        return part_trace_ids(s->r, at, ids, ret_n, err);
    for (uint32_t t = p->from + at; t < p->to && *ret_n < PART_IDS_MAX; t++) {
        struct part_trace pt;
        TRY(part_trace(s->r, t, &pt, err));
        ids[(*ret_n)++] = pt.id;
    }
    return EC_OK;
}

/* WHY also those that are kept, which know what they share with each other: of what came since,
 * next to all is out of range, and asks for nothing. */
static enum ec find_ids(
    struct compare *x, struct roots *r, size_t n, const struct shared_peer *peers, struct err *err)
{
    const struct query_ctx *ctx = x->c->ctx;
    struct trace_id ids[PART_IDS_MAX];
    struct sharing sharing;
    sharing_init(&sharing, ctx, r->sources, n, &r->arena);
    for (size_t k = 0; k < n; k++) {
        struct source *s = &r->sources[k];
        uint32_t n_ids = 0;
        bool ok = false;
        if (s->part != NULL && (!peers[k].some || peers[k].from < peers[k].to))
            TRY(source_reader(s, &ok, err));
        if (!ok)
            continue;
        for (uint32_t at = 0;; at += n_ids) {
            TRY(query_check_alive(ctx, err));
            enum ec ec = source_note(s, next_ids(s, &peers[k], at, ids, &n_ids, err));
            if (source_unreadable(ec) || n_ids == 0)
                break;
            TRY(ec);
            for (uint32_t i = 0; i < n_ids; i++) {
                bool shared = false;
                TRY(sharing_ask(&sharing, (uint32_t)k, &ids[i], &shared, err));
                ec = shared ? add_trace(x, r, (uint32_t)k, &ids[i], n, err) : EC_OK;
                r->ev.trace = NULL;
                arena_reset(&r->scratch);
                if (!source_unreadable(ec))
                    TRY(ec);
            }
            TRY(source_recycle(s, 8u << 20, err));
        }
    }
    return EC_OK;
}

static enum ec find_shared(struct compare *x, struct roots *r, size_t n, struct err *err)
{
    bool all = false;
    struct told told = {.x = x, .r = r};
    struct shared_peer *peers = ARENA_ARRAY(&r->arena, n, struct shared_peer);
    if (peers == NULL)
        return over_budget(err);
    if (x->kept != NULL && !x->kept->counting)
        TRY(add_left_out(x, r, n, err));
    TRY(peers_of(&told, n, peers, err));
    TRY(find_pairs(x, r, n, peers, &all, err));
    if (!all)
        TRY(find_ids(x, r, n, peers, err));
    for (size_t k = 0; k < n; k++) {
        struct apart_part *p = &r->parts[k];
        if (apart_n_rows(p) > 1)
            qsort(p->rows.p, apart_n_rows(p), sizeof(struct apart_row), apart_cmp);
        if (apart_n_traces(p) > 1)
            qsort(p->traces.p, apart_n_traces(p), sizeof(struct apart_trace), apart_cmp);
        if (p->repeats.n > sizeof(uint32_t))
            qsort(p->repeats.p, p->repeats.n / sizeof(uint32_t), sizeof(uint32_t), apart_cmp);
    }
    return EC_OK;
}

static enum ec roots_open(struct compare *x, struct roots *r, struct err *err)
{
    struct query_ctx ctx = *x->c->ctx;
    ctx.arena = &r->arena;
    r->sources = ARENA_ARRAY(&r->arena, ctx.n_parts, struct source);
    r->parts = ARENA_ARRAY(&r->arena, ctx.n_parts, struct apart_part);
    if (r->sources == NULL || r->parts == NULL)
        return over_budget(err);
    r->n_parts = ctx.n_parts;
    for (size_t i = 0; i < ctx.n_parts; i++) {
        buf_init(&r->parts[i].rows, ctx.budget);
        buf_init(&r->parts[i].traces, ctx.budget);
        buf_init(&r->parts[i].repeats, ctx.budget);
    }
    TRY(label_set_init(&r->texts, &r->arena, err));
    TRY(label_set_init(&r->done, &r->arena, err));
    for (size_t i = 0; i < ctx.n_parts; i++)
        TRY(query_source_open_lazy(&ctx, &r->sources[i], ctx.parts[i], err));
    return eval_init(&r->ev, x->c->req->q, r->sources, ctx.n_parts, &r->arena, err);
}

enum ec roots_shared(struct compare *x, struct err *err)
{
    const struct query_ctx *ctx = x->c->ctx;
    if (ctx->n_parts < 2)
        return EC_OK;
    struct roots *r = ARENA_NEW(&x->c->arena, struct roots);
    if (r == NULL)
        return over_budget(err);
    arena_init(&r->arena, ctx->budget, 0);
    arena_init(&r->scratch, ctx->budget, 16u << 10);
    x->shared = r;
    enum ec ec = roots_open(x, r, err);
    if (ec == EC_OK)
        ec = find_shared(x, r, ctx->n_parts, err);
    for (size_t i = 0; i < ctx->n_parts && r->sources != NULL; i++) {
        x->c->unsure = x->c->unsure || r->sources[i].damaged;
        source_close(&r->sources[i]);
    }
    arena_deinit(&r->scratch);
    return ec;
}

void roots_free(struct roots *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n_parts; i++) {
        buf_deinit(&r->parts[i].rows);
        buf_deinit(&r->parts[i].traces);
        buf_deinit(&r->parts[i].repeats);
    }
    arena_deinit(&r->arena);
}

bool roots_repeats(
    const struct roots *r, size_t part, const struct part_group *pg, struct scan_bits *ret_kept)
{
    if (r == NULL || r->parts[part].repeats.n == 0)
        return false;
    const uint32_t *rows = (const uint32_t *)(const void *)r->parts[part].repeats.p;
    size_t lo = 0, n = r->parts[part].repeats.n / sizeof(*rows), hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (rows[mid] < pg->row_first)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == n || rows[lo] - pg->row_first >= pg->n_rows)
        return false;
    scan_bits_fill(ret_kept, pg->n_rows);
    for (; lo < n && rows[lo] - pg->row_first < pg->n_rows; lo++) {
        uint32_t off = rows[lo] - pg->row_first;
        ret_kept->w[off / 64] &= ~((uint64_t)1 << (off % 64));
    }
    return true;
}
