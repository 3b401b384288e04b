/* SPDX-License-Identifier: Apache-2.0
 * What compare() asks of a span's trace: how many children the span has, and the name and service
 * of the trace's root.
 *
 * A trace that one part holds whole is looked at in that part, group by group, without being
 * assembled. Traces that several parts hold are assembled once, before the slices are counted;
 * what was found is kept by part and row. */
#include <stdlib.h>

#include "base/hash.h"
#include "compare.h"
#include "result.h"
#include "shared.h"
#include "sharing.h"

#define NAMES_KNOWN_MAX (64u << 10) /* codes of a dictionary of names */
#define REPEATED        UINT32_MAX  /* children of a row that another part has too */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- shared traces ---- */

struct apart_row { /* sorted by row */
    uint32_t row, children;
};
struct apart_trace {                         /* sorted by number */
    uint32_t trace, root_name, root_service; /* ids in texts */
};
struct apart_part {
    struct buf rows, traces;
    struct buf repeats; /* u32: rows of spans that a part before has, too; sorted */
};
struct roots {
    struct arena arena;
    struct label_set texts;
    struct apart_part *parts; /* as in the context */
    size_t n_parts;
    /* While they are collected: */
    struct source *sources;
    struct label_set done; /* ids as strings */
    struct arena scratch;
    struct eval ev;
};

static uint32_t n_rows(const struct apart_part *p)
{
    return (uint32_t)(p->rows.n / sizeof(struct apart_row));
}

static uint32_t n_traces(const struct apart_part *p)
{
    return (uint32_t)(p->traces.n / sizeof(struct apart_trace));
}

static enum ec text_id(struct label_set *set, struct str s, uint32_t *ret, struct err *err)
{
    struct qval v = qval_str(s);
    return label_intern(set, &v, ret, err);
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
    TRY(text_id(&r->texts, r->ev.root_name, &name, err));
    TRY(text_id(&r->texts, r->ev.root_service, &service, err));
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

static int cmp_u32(const void *a, const void *b) /* by their first member */
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
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
static enum ec find_pairs(
    struct compare *x, struct roots *r, size_t n, bool *ret_all, struct err *err)
{
    struct told told = {.x = x, .r = r};
    struct shared_peer *peers = ARENA_ARRAY(&r->arena, n, struct shared_peer);
    struct shared_kinds kinds;
    if (peers == NULL || !kinds_of(&told, n, &kinds))
        return over_budget(err);
    for (size_t i = 0; i < n; i++)
        if (r->sources[i].part != NULL)
            peers[i] = (struct shared_peer){.source = &r->sources[i], .info = r->sources[i].info};
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

static enum ec find_ids(struct compare *x, struct roots *r, size_t n, struct err *err)
{
    const struct query_ctx *ctx = x->c->ctx;
    struct trace_id ids[PART_IDS_MAX];
    struct sharing sharing;
    sharing_init(&sharing, ctx, r->sources, n, &r->arena);
    for (size_t k = 0; k < n; k++) {
        struct source *s = &r->sources[k];
        uint32_t n_ids = 0;
        bool ok = false;
        if (whole_inside(x, s, k)) /* the others ask it */
            continue;
        if (s->part != NULL)
            TRY(source_reader(s, &ok, err));
        if (!ok)
            continue;
        for (uint32_t at = 0;; at += n_ids) {
            TRY(query_check_alive(ctx, err));
            enum ec ec = source_note(s, part_trace_ids(s->r, at, ids, &n_ids, err));
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
    if (x->kept != NULL && !x->kept->counting)
        TRY(add_left_out(x, r, n, err));
    TRY(find_pairs(x, r, n, &all, err));
    if (!all)
        TRY(find_ids(x, r, n, err));
    for (size_t k = 0; k < n; k++) {
        struct apart_part *p = &r->parts[k];
        if (n_rows(p) > 1)
            qsort(p->rows.p, n_rows(p), sizeof(struct apart_row), cmp_u32);
        if (n_traces(p) > 1)
            qsort(p->traces.p, n_traces(p), sizeof(struct apart_trace), cmp_u32);
        if (p->repeats.n > sizeof(uint32_t))
            qsort(p->repeats.p, p->repeats.n / sizeof(uint32_t), sizeof(uint32_t), cmp_u32);
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

/* ---- one slice ---- */

enum ec trace_facts_init(struct trace_facts *t, const struct roots *shared, struct source *s,
    uint32_t n, struct arena *a, struct err *err)
{
    /* Zeroed: whatever is wrong with a part, what is read from these is an id. */
    *t = (struct trace_facts){.children = ARENA_ARRAY(a, n, uint32_t),
        .root_name = ARENA_ARRAY(a, n, uint32_t),
        .root_service = ARENA_ARRAY(a, n, uint32_t),
        .service_of = ARENA_ARRAY(a, s->info.n_resources, uint32_t),
        .shared = shared};
    buf_init(&t->ids, a->budget);
    buf_init(&t->name_of, a->budget);
    if (t->children == NULL || t->root_name == NULL || t->root_service == NULL ||
        t->service_of == NULL)
        return over_budget(err);
    if (s->part->is_head) {
        t->n_seen = s->info.n_traces;
        t->seen = ARENA_ARRAY(a, t->n_seen, uint32_t);
        if (t->seen == NULL)
            return over_budget(err);
    }
    return label_set_init(&t->texts, a, err);
}

void trace_facts_deinit(struct trace_facts *t)
{
    buf_deinit(&t->ids);
    buf_deinit(&t->name_of);
}

struct member { /* a row of the trace at hand */
    uint64_t id, parent;
    uint32_t kind, row; /* group-relative; PART_NONE: of another group */
    uint32_t children;
};

static enum ec number_view(
    struct source *s, uint32_t g, col_id col, struct col_view *v, struct err *err)
{
    TRY(part_view(s->r, g, col, v, err));
    if (v->rows != NULL || v->n < s->groups[g].n_rows)
        return ERR(err, EC_CORRUPT, "column %u: %u values in group %u", col, v->n, g);
    return EC_OK;
}

/* What the traces of a group are read from; next to all of them lie in one. */
static enum ec open_group(struct source *s, uint32_t g, struct trace_columns *ret, struct err *err)
{
    if (ret->n_rows != 0 && ret->row_first == s->groups[g].row_first)
        return EC_OK;
    ret->n_rows = 0;
    TRY(number_view(s, g, COL_SPAN_ID, &ret->ids, err));
    TRY(number_view(s, g, COL_SPAN_PARENT, &ret->parents, err));
    TRY(number_view(s, g, COL_SPAN_KIND, &ret->kinds, err));
    TRY(number_view(s, g, COL_SPAN_NAME, &ret->names, err));
    TRY(number_view(s, g, COL_SPAN_RESOURCE, &ret->resources, err));
    ret->row_first = s->groups[g].row_first;
    ret->n_rows = s->groups[g].n_rows;
    return EC_OK;
}

/* The columns of the group at hand, or of another one. */
static enum ec columns_of(struct trace_facts *t, struct source *s, uint32_t row,
    const struct trace_columns **ret, struct err *err)
{
    *ret = &t->here;
    if (row - t->here.row_first < t->here.n_rows)
        return EC_OK;
    *ret = &t->other;
    if (row - t->other.row_first < t->other.n_rows)
        return EC_OK;
    return open_group(s, source_group_of(s, row), &t->other, err);
}

/* The members of a trace, in storage order. */
static enum ec load_members(struct trace_facts *t, struct collector *c, uint32_t trace,
    const struct part_trace *pt, struct member **ret, uint32_t *ret_n, struct err *err)
{
    struct source *s = &c->sources[0];
    const struct trace_columns *cols = &t->here;
    uint32_t *rows = NULL, n = pt->n_rows;
    if (s->part->is_head) { /* a block has them one after another */
        TRY(part_trace_rows(s->r, trace, &c->scratch, &rows, &n, err));
        while (n > 0 && rows[n - 1] >= s->info.n_rows)
            n--;
    }
    buf_reset(&t->ids);
    if (!buf_reserve(&t->ids, n * sizeof(struct member) + 1))
        return over_budget(err);
    struct member *m = (struct member *)(void *)t->ids.p;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows == NULL ? pt->row_first + i : rows[i];
        if (UNLIKELY(row - cols->row_first >= cols->n_rows)) {
            if (row >= s->info.n_rows)
                return ERR(err, EC_CORRUPT, "trace %u has row %u", trace, row);
            TRY(columns_of(t, s, row, &cols, err));
        }
        uint32_t off = row - cols->row_first;
        m[i] = (struct member){cols->ids.u64[off], cols->parents.u64[off], cols->kinds.u32[off],
            cols == &t->here ? off : PART_NONE, 0};
    }
    *ret = m;
    *ret_n = n;
    return EC_OK;
}

enum { SPAN_KIND_SERVER = 2, SPAN_KIND_CLIENT = 3 };

/* As qtrace_load_nest attaches them: of two spans with the parent's id, a client and a server, the
 * one that fits the child. */
static void adopt(struct member *m, uint32_t child, uint32_t first, uint32_t second, uint32_t same)
{
    uint32_t want = m[child].kind == SPAN_KIND_SERVER ? SPAN_KIND_CLIENT : SPAN_KIND_SERVER;
    uint32_t parent = same == 2 && m[second].kind == want ? second : first;
    if (same != 0 && parent != child)
        m[parent].children++;
}

static void count_children_small(struct member *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = 0, second = 0, same = 0;
        if (m[i].parent == 0)
            continue;
        for (uint32_t k = 0; k < n; k++) {
            if (m[k].id != m[i].parent)
                continue;
            first = same == 0 ? k : first;
            second = same == 1 ? k : second;
            same++;
        }
        adopt(m, i, first, second, same);
    }
}

struct id_slot {
    uint64_t id;
    uint32_t n, row[2];
};

static struct id_slot *id_slot(struct id_slot *slots, uint32_t mask, uint64_t id)
{
    uint32_t at = (uint32_t)hash_mix(id) & mask;
    while (slots[at].n != 0 && slots[at].id != id)
        at = (at + 1) & mask;
    return &slots[at];
}

static enum ec count_children(struct member *m, uint32_t n, struct arena *scratch, struct err *err)
{
    if (n <= 24) {
        count_children_small(m, n);
        return EC_OK;
    }
    uint32_t cap = 64;
    while (cap < n * 2ULL && cap < 1u << 31)
        cap *= 2;
    struct id_slot *slots = ARENA_ARRAY(scratch, cap, struct id_slot);
    if (slots == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++) {
        struct id_slot *s = id_slot(slots, cap - 1, m[i].id);
        s->id = m[i].id;
        if (s->n < 2)
            s->row[s->n] = i;
        s->n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].parent == 0)
            continue;
        const struct id_slot *s = id_slot(slots, cap - 1, m[i].parent);
        adopt(m, i, s->row[0], s->row[1], s->n);
    }
    return EC_OK;
}

static enum ec service_text(
    struct trace_facts *t, struct source *s, uint32_t resource, uint32_t *ret, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    struct str service = str_n("", 0);
    if (t->service_of[resource] == 0) {
        TRY(part_attr_find(s->r, TABLE_RESOURCES, STR("service.name"), cols, err));
        if (cols[VALUE_STR] != NULL) {
            struct col_view v;
            TRY(part_view(s->r, 0, cols[VALUE_STR]->col, &v, err));
            uint32_t i = view_index(&v, resource);
            if (i != PART_NONE)
                service = dict_get(v.dict, v.u32[i]);
        }
        TRY(text_id(&t->texts, service, &t->service_of[resource], err));
        t->service_of[resource]++;
    }
    *ret = t->service_of[resource] - 1;
    return EC_OK;
}

/* Names are few: their text ids by code, as far as they were asked for. */
static enum ec name_text(
    struct trace_facts *t, const struct dict *dict, uint32_t code, uint32_t *ret, struct err *err)
{
    if (t->names != dict) {
        uint32_t n = dict->sorted ? MIN(dict_count(dict), NAMES_KNOWN_MAX) : 0;
        buf_reset(&t->name_of);
        if (!buf_reserve(&t->name_of, n * sizeof(uint32_t) + 1))
            return over_budget(err);
        memset(t->name_of.p, 0, n * sizeof(uint32_t));
        t->names = dict;
        t->n_names = n;
    }
    uint32_t *of = (uint32_t *)(void *)t->name_of.p;
    if (code < t->n_names && of[code] != 0) {
        *ret = of[code] - 1;
        return EC_OK;
    }
    TRY(text_id(&t->texts, dict_get(dict, code), ret, err));
    if (code < t->n_names)
        of[code] = *ret + 1;
    return EC_OK;
}

static enum ec root_texts(struct trace_facts *t, struct source *s, uint32_t root,
    uint32_t *ret_name, uint32_t *ret_service, struct err *err)
{
    const struct trace_columns *cols;
    if (root == PART_NONE || root >= s->info.n_rows) {
        TRY(text_id(&t->texts, str_n("", 0), ret_name, err));
        *ret_service = *ret_name;
        return EC_OK;
    }
    TRY(columns_of(t, s, root, &cols, err));
    uint32_t off = root - cols->row_first, resource = cols->resources.u32[off];
    if (resource >= s->info.n_resources)
        return ERR(err, EC_CORRUPT, "a span names resource %u", resource);
    TRY(name_text(t, cols->names.dict, cols->names.u32[off], ret_name, err));
    return service_text(t, s, resource, ret_service, err);
}

static const struct apart_trace *apart_find(const struct apart_part *p, uint32_t trace)
{
    const struct apart_trace *all = (const struct apart_trace *)(const void *)p->traces.p;
    return n_traces(p) == 0 ? NULL : bsearch(&trace, all, n_traces(p), sizeof(*all), cmp_u32);
}

/* Facts of a trace that other parts hold too. */
static enum ec fill_shared(struct trace_facts *t, struct collector *c, uint32_t g,
    const struct apart_trace *st, struct err *err)
{
    struct source *s = &c->sources[0];
    const struct apart_part *p = &t->shared->parts[c->slice.part];
    const struct apart_row *all = (const struct apart_row *)(const void *)p->rows.p;
    uint32_t *rows, n, name, service;
    TRY(part_trace_rows(s->r, st->trace, &c->scratch, &rows, &n, err));
    TRY(text_id(&t->texts, t->shared->texts.values[st->root_name].s, &name, err));
    TRY(text_id(&t->texts, t->shared->texts.values[st->root_service].s, &service, err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = rows[i] - s->groups[g].row_first;
        if (rows[i] < s->groups[g].row_first || off >= s->groups[g].n_rows)
            continue;
        const struct apart_row *r =
            n_rows(p) == 0 ? NULL : bsearch(&rows[i], all, n_rows(p), sizeof(*all), cmp_u32);
        t->root_name[off] = name;
        t->root_service[off] = service;
        /* None: a repeated row, or one that came after the traces were looked at. */
        t->children[off] = r == NULL ? 0 : r->children;
    }
    return EC_OK;
}

static enum ec fill_trace(
    struct trace_facts *t, struct collector *c, uint32_t g, uint32_t trace, struct err *err)
{
    struct source *s = &c->sources[0];
    struct part_trace pt;
    struct member *m = NULL;
    uint32_t n = 0, name = 0, service = 0;
    if (t->shared != NULL) {
        const struct apart_trace *st = apart_find(&t->shared->parts[c->slice.part], trace);
        if (st != NULL)
            return fill_shared(t, c, g, st, err);
    }
    TRY(part_trace(s->r, trace, &pt, err));
    TRY(root_texts(t, s, pt.root_row, &name, &service, err));
    TRY(load_members(t, c, trace, &pt, &m, &n, err));
    TRY(count_children(m, n, &c->scratch, err));
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].row == PART_NONE)
            continue;
        t->children[m[i].row] = m[i].children;
        t->root_name[m[i].row] = name;
        t->root_service[m[i].row] = service;
    }
    return EC_OK;
}

enum ec trace_facts_fill(struct trace_facts *t, struct collector *c, uint32_t g, struct err *err)
{
    struct source *s = &c->sources[0];
    struct col_view traces;
    uint32_t last = PART_NONE;
    TRY(number_view(s, g, COL_SPAN_TRACE, &traces, err));
    TRY(open_group(s, g, &t->here, err));
    for (uint32_t i = 0; i < s->groups[g].n_rows; i++) {
        uint32_t trace = traces.u32[i];
        if (trace == last)
            continue;
        last = trace;
        if (t->seen != NULL) {
            if (trace >= t->n_seen || t->seen[trace] == g + 1)
                continue;
            t->seen[trace] = g + 1;
        }
        TRY(fill_trace(t, c, g, trace, err));
    }
    return EC_OK;
}
