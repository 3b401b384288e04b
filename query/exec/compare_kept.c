/* SPDX-License-Identifier: Apache-2.0
 * What compare() keeps, as bytes (see compare_kept.h).
 *
 *     header = struct kept_head, struct kept_part [n_inside], ids [n_ids], struct kept_listed
 *     [n_keys] key    = struct kept_key, u64 slots [n_slots], struct kept_many [n_many], { value },
 *     cells of
 *              all others, totals
 *     value  = kind, string or 8 bytes, counts, cells         cells = length, { 0 gap | count }
 *
 * A slot has the upper 48 bits of a hash, and the counts in a byte each; those that do not fit are
 * in `many`. The lower bits say where to look for it. What is read back was written by this
 * process: it is not judged. */
#include "compare_kept.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "compare.h"
#include "query/tql.h"

#define KEPT_IDS_MAX 4096u /* traces that are left out */
#define KEPT_SHARE   4u    /* of the cache's largest values: bytes of all entries */
#define MANY         255u  /* instead of a count: see `many` */

struct kept_head {
    uint64_t serial, spans, rows;
    uint32_t n_inside;
    uint32_t unused;
    uint32_t n_ids, n_keys;
};
struct kept_part {
    const struct part *part;
    struct kept_groups groups;
};
struct kept_listed { /* sorted by id */
    uint64_t id;
    uint64_t kept;
};
struct kept_many { /* sorted by slot */
    uint32_t slot, n[2];
};

static _Atomic uint64_t serials;
_Atomic uint32_t compare_kept_counted, compare_kept_used, compare_kept_again;

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- counts by hash ---- */

uint64_t kept_hash(const struct qval *v)
{
    if (v->kind == QV_STRING) /* as in compare_hashed.c */
        return hash64(v->s.p, v->s.n) & compare_hash_mask;
    return hash_mix(qval_hash(v));
}

static const uint64_t *slots_of(const struct kept_key *k)
{
    return (const uint64_t *)(const void *)(k + 1);
}

static const struct kept_many *many_of(const struct kept_key *k)
{
    return (const struct kept_many *)(const void *)(slots_of(k) + k->n_slots);
}

static uint32_t slot_at(const uint64_t *slots, uint32_t n_slots, uint64_t hash)
{
    uint64_t low = (hash & 0xffff) << 16 | hash >> 48;
    uint32_t at = (uint32_t)(low * n_slots >> 32);
    while (slots[at] != 0 && slots[at] >> 16 != hash >> 16)
        at = at + 1 == n_slots ? 0 : at + 1;
    return at;
}

static int cmp_many(const void *a, const void *b)
{
    const struct kept_many *x = a, *y = b;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

void kept_count(const struct kept_key *k, uint64_t hash, uint32_t ret[2])
{
    ret[0] = ret[1] = 0;
    if (k->n_slots == 0)
        return;
    struct kept_many key = {.slot = slot_at(slots_of(k), k->n_slots, hash)}, *of;
    uint64_t slot = slots_of(k)[key.slot];
    ret[0] = slot >> 8 & 0xff;
    ret[1] = slot & 0xff;
    if (ret[0] != MANY && ret[1] != MANY)
        return;
    of = bsearch(&key, many_of(k), k->n_many, sizeof(key), cmp_many);
    ASSERT(of != NULL);
    memcpy(ret, of->n, sizeof(of->n));
}

static uint32_t add_capped(uint32_t a, uint32_t b)
{
    return a + b < a ? UINT32_MAX : a + b;
}

/* A table while it is made: counts by slot, then packed. */
struct table {
    uint64_t *slots;
    uint32_t (*n)[2];
    uint32_t n_slots;
};

static void table_add(struct table *t, uint64_t hash, const uint32_t n[2])
{
    uint32_t at = slot_at(t->slots, t->n_slots, hash);
    t->slots[at] = (hash >> 16 << 16) | 1; /* not free */
    t->n[at][0] = add_capped(t->n[at][0], n[0]);
    t->n[at][1] = add_capped(t->n[at][1], n[1]);
}

static void table_fill(struct table *t, const struct key *k, bool hashed)
{
    for (uint32_t i = 0; i < k->values.n; i++) {
        const struct counted *e = &counted_entries(&k->values)[i];
        struct qval v = counted_value(e);
        if (!hashed || v.kind != QV_STRING)
            table_add(t, kept_hash(&v), e->n);
    }
    const struct hashed_slot *s = (const struct hashed_slot *)(const void *)k->strings.slots.p;
    for (uint32_t i = 0; hashed && i < k->strings.n_slots; i++)
        if ((s[i].n[0] | s[i].n[1]) != 0)
            table_add(t, s[i].hash, s[i].n);
}

/* The slots and `many` into k->hashes. */
static bool table_pack(struct key *k, const struct table *t)
{
    struct buf many;
    bool ok = true;
    buf_init(&many, k->hashes.budget);
    for (uint32_t i = 0; i < t->n_slots; i++) {
        const uint32_t *n = t->n[i];
        uint64_t slot = t->slots[i];
        if (slot == 0)
            continue;
        slot = slot >> 16 << 16 | (uint64_t)MIN(n[0], MANY) << 8 | MIN(n[1], MANY);
        ((uint64_t *)(void *)k->hashes.p)[i] = slot;
        struct kept_many one = {i, {n[0], n[1]}};
        if (n[0] >= MANY || n[1] >= MANY)
            buf_put(&many, &one, sizeof(one));
    }
    k->n_slots = t->n_slots;
    k->n_many = (uint32_t)(many.n / sizeof(struct kept_many));
    if (many.n != 0)
        buf_put(&k->hashes, many.p, many.n);
    ok = !buf_failed(&many) && !buf_failed(&k->hashes);
    buf_deinit(&many);
    return ok;
}

bool kept_table(struct compare *x, struct key *k)
{
    bool hashed = k->by_hash && atomic_load_explicit(&k->large, memory_order_relaxed);
    uint64_t n = hashed ? k->strings.n : 0; /* strings among the values are among those, too */
    struct buf counts;
    struct table t;
    for (uint32_t i = 0; i < k->values.n; i++)
        n += !hashed || counted_entries(&k->values)[i].kind != QV_STRING;
    uint64_t n_slots = n + n / 4 + 4;
    size_t bytes = (size_t)n_slots * sizeof(uint64_t);
    if (bytes > query_cache_value_max(x->kept->cache))
        return false;
    buf_init(&k->hashes, &x->budget);
    buf_init(&counts, &x->budget);
    bool ok = buf_reserve(&k->hashes, bytes) && buf_reserve(&counts, bytes);
    if (ok) {
        memset(k->hashes.p, 0, bytes);
        memset(counts.p, 0, bytes);
        k->hashes.n = bytes;
        t = (struct table){
            (uint64_t *)(void *)k->hashes.p, (uint32_t(*)[2])(void *)counts.p, (uint32_t)n_slots};
        table_fill(&t, k, hashed);
        ok = table_pack(k, &t);
    }
    buf_deinit(&counts);
    if (!ok)
        buf_deinit(&k->hashes);
    return ok;
}

/* ---- cells and values ---- */

static uint64_t get_number(const uint8_t **at)
{
    uint64_t v;
    if (LIKELY(**at < 0x80))
        return *(*at)++;
    *at = varint_get(*at, *at + 10, &v);
    ASSERT(*at != NULL);
    return v;
}

static struct bytes get_bytes(const uint8_t **at)
{
    size_t n = get_number(at);
    struct bytes b = bytes_n(*at, n);
    *at += n;
    return b;
}

static void put_gap(struct buf *out, uint32_t *n)
{
    if (*n == 0)
        return;
    buf_putc(out, 0);
    buf_put_varint(out, *n);
    *n = 0;
}

/* n cells, those at the end left out when they are empty; from == NULL: all are. */
static void put_cells(struct buf *out, const uint64_t *from, uint32_t n)
{
    struct buf cells;
    uint32_t gap = 0;
    buf_init(&cells, out->budget);
    for (uint32_t i = 0; from != NULL && i < n; i++) {
        if (from[i] == 0) {
            gap++;
            continue;
        }
        put_gap(&cells, &gap);
        buf_put_varint(&cells, from[i]);
    }
    buf_put_varint(out, cells.n);
    buf_put(out, cells.p, cells.n);
    out->failed = out->failed || buf_failed(&cells);
    buf_deinit(&cells);
}

static uint64_t first_bucket(const struct grid *g)
{
    return g->instant ? 0 : g->start_ns / g->step_ns;
}

void kept_add_cells(
    const struct compare *x, const struct kept_key *k, struct bytes cells, uint64_t *into)
{
    const struct grid *g = &x->c->grid;
    const uint8_t *at = cells.p, *end = at + cells.n;
    for (uint64_t i = 0; at < end; i++) {
        uint64_t n = get_number(&at);
        if (n == 0) {
            i += get_number(&at) - 1;
            continue;
        }
        uint64_t side = i / k->n_buckets, bucket = k->first + i % k->n_buckets - first_bucket(g);
        ASSERT(bucket < g->n); /* the groups lie wholly in the range */
        into[side * g->n + bucket] += n;
    }
}

void kept_walk(struct kept_walk *w, const struct kept_key *k)
{
    *w = (struct kept_walk){k, (const uint8_t *)(many_of(k) + k->n_many), 0};
}

bool kept_next(struct kept_walk *w, struct kept_value *ret)
{
    if (w->i == w->key->n_values)
        return false;
    w->i++;
    ret->v = (struct qval){.kind = (enum qval_kind) * w->at++};
    if (ret->v.kind == QV_STRING) {
        struct bytes s = get_bytes(&w->at);
        ret->v.s = str_n((const char *)s.p, s.n);
    } else {
        memcpy(&ret->v.i, w->at, sizeof(ret->v.i));
        w->at += sizeof(ret->v.i);
    }
    for (unsigned side = 0; side < 2; side++)
        ret->n[side] = (uint32_t)get_number(&w->at);
    ret->cells = get_bytes(&w->at);
    return true;
}

void kept_sums(struct kept_walk *w, struct bytes *ret_others, struct bytes *ret_totals)
{
    ASSERT(w->i == w->key->n_values);
    *ret_others = get_bytes(&w->at);
    *ret_totals = get_bytes(&w->at);
}

static void put_value(struct buf *out, const struct qval *v)
{
    buf_putc(out, (char)v->kind);
    if (v->kind == QV_STRING) {
        buf_put_varint(out, v->s.n);
        buf_puts(out, v->s);
    } else {
        int64_t bits = v->kind == QV_BOOL ? 0 : v->i;
        if (v->kind == QV_BOOL) /* the rest of the union says nothing */
            memcpy(&bits, &v->b, sizeof(v->b));
        buf_put(out, &bits, sizeof(bits));
    }
}

/* ---- entries ---- */

static void key_name(const struct kept *k, const struct key *key, struct buf *ret)
{
    buf_init(ret, k->question.budget);
    buf_put(ret, k->question.p, k->question.n);
    buf_put(ret, &k->serial, sizeof(k->serial));
    buf_putc(ret, (char)key->table);
    buf_put(ret, &key->intrinsic, sizeof(key->intrinsic));
    buf_puts(ret, key->name);
}

static uint64_t key_id(const struct key *k)
{
    return hash64_seed(k->name.p, k->name.n, (uint64_t)k->table << 32 | (uint64_t)k->intrinsic);
}

static size_t inside_parts(const struct compare *x, const struct part **ret)
{
    size_t n = 0;
    for (size_t i = 0; i < x->c->ctx->n_parts; i++)
        if (kept_is_inside(x->kept, i))
            ret[n++] = x->c->ctx->parts[i];
    return n;
}

void kept_put(struct compare *x, struct key *k)
{
    struct kept *of = x->kept;
    struct buf out, name;
    const uint32_t n = 2 * x->c->grid.n;
    const uint64_t *cells = (const uint64_t *)(const void *)k->cells.p;
    const struct part **parts = ARENA_ARRAY(&x->c->arena, x->c->ctx->n_parts, const struct part *);
    struct kept_key head = {.n_slots = k->n_slots,
        .n_many = k->n_many,
        .n_values = k->top.n - 1,
        .large = atomic_load_explicit(&k->large, memory_order_relaxed),
        .first = first_bucket(&x->c->grid),
        .n_buckets = x->c->grid.n};
    buf_init(&out, x->c->ctx->budget);
    buf_put(&out, &head, sizeof(head));
    buf_put(&out, k->hashes.p, k->hashes.n);
    for (uint32_t id = 1; id < k->top.n; id++) {
        const uint32_t *counts = (const uint32_t *)(const void *)k->top_counts.p + (size_t)id * 2;
        put_value(&out, &k->top.values[id]);
        buf_put_varint(&out, counts[0]);
        buf_put_varint(&out, counts[1]);
        put_cells(&out, cells + (size_t)id * n, n);
    }
    put_cells(&out, cells, n);
    put_cells(&out, k->totals.n == 0 ? NULL : (const uint64_t *)(const void *)k->totals.p, n);
    key_name(of, k, &name);
    of->bytes += out.n;
    bool kept = parts != NULL && !buf_failed(&out) && !buf_failed(&name) &&
                out.n <= query_cache_value_max(of->cache) &&
                of->bytes <= KEPT_SHARE * query_cache_value_max(of->cache);
    if (kept)
        query_cache_put(
            of->cache, parts, inside_parts(x, parts), buf_bytes(&name), buf_bytes(&out));
    else
        of->bytes -= out.n;
    k->aside = !kept;
    buf_deinit(&out);
    buf_deinit(&name);
}

static const struct kept_head *head_of(const struct kept *k)
{
    return (const struct kept_head *)(const void *)k->header->value.p;
}

static const struct kept_part *head_parts(const struct kept_head *h)
{
    return (const struct kept_part *)(const void *)(h + 1);
}

static const struct trace_id *head_ids(const struct kept_head *h)
{
    return (const struct trace_id *)(const void *)(head_parts(h) + h->n_inside);
}

static int cmp_listed(const void *a, const void *b)
{
    const struct kept_listed *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t rows_inside(const struct kept_groups *inside, size_t n_parts)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < n_parts; i++)
        rows += inside[i].row_to - inside[i].row_from;
    return rows;
}

bool kept_put_header(struct compare *x, uint64_t spans)
{
    struct kept *k = x->kept;
    const struct query_ctx *ctx = x->c->ctx;
    const struct part **parts = ARENA_ARRAY(&x->c->arena, ctx->n_parts, const struct part *);
    struct kept_head head = {.serial = k->serial,
        .spans = spans,
        .rows = rows_inside(k->inside, ctx->n_parts),
        .n_ids = (uint32_t)k->n_ids,
        .n_keys = (uint32_t)x->keys.n};
    struct buf out;
    if (parts == NULL)
        return false;
    head.n_inside = (uint32_t)inside_parts(x, parts);
    buf_init(&out, ctx->budget);
    buf_put(&out, &head, sizeof(head));
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct kept_part one = {ctx->parts[i], k->inside[i]};
        if (kept_is_inside(k, i))
            buf_put(&out, &one, sizeof(one));
    }
    if (k->n_ids != 0)
        buf_put(&out, k->ids, k->n_ids * sizeof(*k->ids));
    size_t at = out.n;
    for (size_t i = 0; i < x->keys.n; i++) {
        struct kept_listed one = {key_id(x->keys.p[i]), !x->keys.p[i]->aside};
        buf_put(&out, &one, sizeof(one));
    }
    if (!buf_failed(&out)) {
        qsort(out.p + at, x->keys.n, sizeof(struct kept_listed), cmp_listed);
        query_cache_drop(k->cache, buf_bytes(&k->question));
        query_cache_put(k->cache, parts, head.n_inside, buf_bytes(&k->question), buf_bytes(&out));
        query_cache_release(k->cache, k->header);
        k->header = query_cache_get(k->cache, buf_bytes(&k->question));
    }
    k->spans = spans;
    buf_deinit(&out);
    /* Or there was no room, or another query was first. */
    return k->header != NULL && head_of(k)->serial == k->serial;
}

/* ---- finding ---- */

bool kept_find(struct compare *x, struct key *key)
{
    struct kept *k = x->kept;
    const struct kept_head *h = head_of(k);
    struct kept_listed id = {.id = key_id(key)}, *of;
    struct buf name;
    of = bsearch(&id, head_ids(h) + h->n_ids, h->n_keys, sizeof(id), cmp_listed);
    key->aside = of != NULL && of->kept == 0;
    if (of == NULL || key->aside)
        return true;
    key_name(k, key, &name);
    key->entry = buf_failed(&name) ? NULL : query_cache_get(k->cache, buf_bytes(&name));
    buf_deinit(&name);
    if (key->entry == NULL)
        return false;
    key->kept = (const struct kept_key *)(const void *)key->entry->value.p;
    return true;
}

/* The longest run of a slice's groups, and of those before it, whose spans all start within
 * [lo, hi]: into best. */
static void groups_within(struct part_reader *r, const struct slice *s, uint64_t lo, uint64_t hi,
    struct kept_groups *best)
{
    struct kept_groups run = *best;
    for (uint32_t g = s->group_from; g < s->group_to; g++) {
        struct part_group pg;
        if (part_group(r, g, &pg, NULL) != EC_OK || pg.min_start_ns < lo || pg.max_start_ns > hi)
            continue;
        if (run.to != g || run.from == run.to)
            run = (struct kept_groups){.from = g, .row_from = pg.row_first};
        run.to = g + 1;
        run.row_to = pg.row_first + pg.n_rows;
        if (run.to - run.from >= best->to - best->from)
            *best = run;
    }
}

/* Of each block the groups whose spans all start within the range, but for its first `without`. */
static void wholly_in_range(const struct compare *x, uint64_t without, struct kept_groups *ret)
{
    const struct query_ctx *ctx = x->c->ctx;
    const struct grid *g = &x->c->grid;
    uint64_t lo = (g->instant ? g->start_ns : g->start_ns + 1) + without;
    struct part_reader *r = NULL;
    memset(ret, 0, ctx->n_parts * sizeof(*ret));
    for (size_t i = 0; i < x->n_slices; i++) {
        const struct slice *s = &x->slices[i];
        if (ctx->parts[s->part]->is_head)
            continue;
        if (r == NULL && part_reader_open(ctx->parts[s->part], ctx->budget, &r, NULL) != EC_OK)
            continue;
        groups_within(r, s, lo, g->end_ns, &ret[s->part]);
        if (i + 1 < x->n_slices && x->slices[i + 1].part == s->part)
            continue;
        part_reader_close(r);
        r = NULL;
    }
    part_reader_close(r);
}

/* What of the range will soon be outside it. */
static uint64_t moves_on(const struct grid *g)
{
    uint64_t eighth = (g->end_ns - g->start_ns) / 8;
    return g->end_ns + eighth < (uint64_t)clock_wall_ns() ? 0 : eighth;
}

/* Are the groups of the header still there, and in range? */
static bool still_right(
    const struct compare *x, const struct kept_head *h, const struct kept_groups *in_range)
{
    const struct query_ctx *ctx = x->c->ctx;
    const struct kept_part *parts = head_parts(h);
    for (uint32_t i = 0; i < h->n_inside; i++) {
        size_t at = 0;
        while (at < ctx->n_parts && ctx->parts[at] != parts[i].part)
            at++;
        if (at == ctx->n_parts)
            return false;
        x->kept->inside[at] = parts[i].groups;
        if (parts[i].groups.from < in_range[at].from || parts[i].groups.to > in_range[at].to)
            return false;
    }
    return rows_inside(in_range, ctx->n_parts) <= h->rows + h->rows / 2;
}

static enum ec kept_new(struct compare *x, struct err *err)
{
    const struct query_ctx *ctx = x->c->ctx;
    struct arena *a = &x->c->arena;
    struct kept *k = ARENA_NEW(a, struct kept);
    if (k == NULL)
        return over_budget(err);
    *k = (struct kept){.cache = ctx->cache,
        .inside = ARENA_ARRAY(a, ctx->n_parts, struct kept_groups),
        .marked = ARENA_ARRAY(a, ctx->n_parts, uint64_t *),
        .n_marked = ARENA_ARRAY(a, ctx->n_parts, uint32_t)};
    buf_init(&k->question, ctx->budget);
    if (k->inside == NULL || k->marked == NULL || k->n_marked == NULL)
        return over_budget(err);
    x->kept = k;
    return EC_OK;
}

void kept_close(struct compare *x)
{
    struct kept *k = x->kept;
    if (k == NULL)
        return;
    query_cache_release(k->cache, k->header);
    buf_deinit(&k->question);
    x->kept = NULL;
}

/* An answer as a whole is kept under all its parts with their rows (compared_find), so while spans
 * come it is not met again. */
static bool spans_come(const struct query_ctx *ctx)
{
    for (size_t i = 0; i < ctx->n_parts; i++) {
        struct part_reader *r;
        struct part_info info = {.n_rows = 0};
        if (!ctx->parts[i]->is_head ||
            part_reader_open(ctx->parts[i], ctx->budget, &r, NULL) != EC_OK)
            continue;
        part_info(r, &info);
        part_reader_close(r);
        if (info.n_rows != 0)
            return true;
    }
    return false;
}

/* WHY: to count for later costs a quarter more than to count, which a question that is asked once
 * need not pay, unless its second time would cost all of it. */
static bool asked_before(struct compare *x, const struct kept_groups *in_range)
{
    const struct query_ctx *ctx = x->c->ctx;
    struct kept *k = x->kept;
    struct cached *e = NULL;
    struct buf name;
    size_t at = 0;
    while (at < ctx->n_parts && in_range[at].from == in_range[at].to)
        at++;
    buf_init(&name, ctx->budget);
    buf_put(&name, k->question.p, k->question.n);
    buf_putz(&name, "asked");
    if (!buf_failed(&name) && at < ctx->n_parts) {
        const struct part *p = ctx->parts[at];
        e = query_cache_get(k->cache, buf_bytes(&name));
        if (e == NULL)
            query_cache_put(k->cache, &p, 1, buf_bytes(&name), bytes_n(NULL, 0));
        else
            query_cache_release(k->cache, e);
    }
    buf_deinit(&name);
    return e != NULL;
}

enum ec kept_open(struct compare *x, bool *ret_found, struct err *err)
{
    const struct grid *g = &x->c->grid;
    const uint64_t of[] = {x->c->ctx->key, g->instant ? 0 : g->step_ns, g->end_ns - g->start_ns};
    *ret_found = false;
    if (x->c->ctx->cache == NULL || x->c->n_damaged != 0)
        return EC_OK;
    struct kept_groups *in_range =
        ARENA_ARRAY(&x->c->arena, x->c->ctx->n_parts, struct kept_groups);
    if (in_range == NULL)
        return over_budget(err);
    TRY(kept_new(x, err));
    struct kept *k = x->kept;
    tql_print_query(&k->question, x->c->req->q);
    buf_put(&k->question, of, sizeof(of));
    buf_putz(&k->question, "kept");
    if (buf_failed(&k->question))
        return over_budget(err);
    k->header = query_cache_get(k->cache, buf_bytes(&k->question));
    wholly_in_range(x, 0, in_range);
    if (k->header == NULL && !spans_come(x->c->ctx) && !asked_before(x, in_range)) {
        kept_close(x);
        return EC_OK;
    }
    if (k->header == NULL || !still_right(x, head_of(k), in_range))
        return EC_OK;
    const struct kept_head *h = head_of(k);
    k->serial = h->serial;
    k->spans = h->spans;
    k->n_ids = h->n_ids;
    k->ids = ARENA_ARRAY(&x->c->arena, h->n_ids + 1, struct trace_id);
    if (k->ids == NULL)
        return over_budget(err);
    memcpy(k->ids, head_ids(h), h->n_ids * sizeof(*k->ids));
    *ret_found = true;
    return EC_OK;
}

bool kept_begin(struct compare *x)
{
    struct kept *k = x->kept;
    bool any = false;
    size_t n = x->c->ctx->n_parts;
    memset(k->marked, 0, n * sizeof(*k->marked));
    wholly_in_range(x, moves_on(&x->c->grid), k->inside);
    for (size_t i = 0; i < n; i++)
        any = any || kept_is_inside(k, i);
    k->n_ids = k->cap_ids = 0;
    k->bytes = 0;
    k->stale = false;
    k->counting = true;
    k->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
    atomic_fetch_add_explicit(&compare_kept_counted, any, memory_order_relaxed);
    return any;
}

/* ---- traces that are left out ---- */

enum ec kept_mark(
    struct compare *x, size_t part, uint32_t trace, uint32_t n_traces, struct err *err)
{
    struct kept *k = x->kept;
    if (k->marked[part] == NULL) {
        k->n_marked[part] = n_traces;
        k->marked[part] = ARENA_ARRAY(&x->c->arena, n_traces / 64 + 1, uint64_t);
        if (k->marked[part] == NULL)
            return over_budget(err);
    }
    ASSERT(trace < k->n_marked[part]);
    k->marked[part][trace / 64] |= (uint64_t)1 << (trace % 64);
    return EC_OK;
}

enum ec kept_mark_id(struct compare *x, const struct trace_id *id, struct err *err)
{
    struct kept *k = x->kept;
    if (k->n_ids == KEPT_IDS_MAX) {
        k->stale = true; /* too many: nothing is kept */
        return EC_OK;
    }
    if (k->n_ids == k->cap_ids) {
        size_t cap = k->cap_ids == 0 ? 64 : k->cap_ids * 2;
        struct trace_id *ids = ARENA_ARRAY(&x->c->arena, cap, struct trace_id);
        if (ids == NULL)
            return over_budget(err);
        if (k->n_ids != 0)
            memcpy(ids, k->ids, k->n_ids * sizeof(*ids));
        k->ids = ids;
        k->cap_ids = cap;
    }
    k->ids[k->n_ids++] = *id;
    return EC_OK;
}

static void put_marked(struct slice *to, size_t *n, size_t part, uint32_t g)
{
    if (*n == 0 || to[*n - 1].part != part || to[*n - 1].group_from != g)
        to[(*n)++] = (struct slice){.part = part,
            .group_from = g,
            .group_to = g + 1,
            .max_start_ns = UINT64_MAX,
            .only_marked = true};
}

/* Groups inside of a block that have marked traces: both are in order of rows. */
static enum ec marked_groups(const struct kept *k, struct part_reader *r, size_t part,
    struct slice *to, size_t *n, struct err *err)
{
    const struct kept_groups *in = &k->inside[part];
    uint32_t g = in->from;
    struct part_group pg;
    struct part_trace pt;
    for (uint32_t w = 0; w <= k->n_marked[part] / 64; w++) {
        for (uint64_t bits = k->marked[part][w]; bits != 0; bits &= bits - 1) {
            TRY(part_trace(r, w * 64 + (uint32_t)__builtin_ctzll(bits), &pt, err));
            for (; g < in->to; g++) {
                TRY(part_group(r, g, &pg, err));
                if (pg.row_first >= pt.row_first + pt.n_rows)
                    break;
                if (pg.row_first + pg.n_rows > pt.row_first)
                    put_marked(to, n, part, g);
                if (pg.row_first + pg.n_rows > pt.row_first + pt.n_rows)
                    break; /* the next trace may be in it */
            }
        }
    }
    return EC_OK;
}

static void put_groups(
    const struct slice *s, uint32_t from, uint32_t to, struct slice *out, size_t *n)
{
    struct slice piece = *s;
    piece.group_from = MAX(from, s->group_from);
    piece.group_to = MIN(to, s->group_to);
    if (piece.group_from < piece.group_to)
        out[(*n)++] = piece;
}

enum ec kept_slices(
    struct compare *x, bool inside, struct slice **ret, size_t *ret_n, struct err *err)
{
    const struct kept *k = x->kept;
    size_t n = 0, cap = 2 * x->n_slices;
    for (size_t i = 0; i < x->c->ctx->n_parts; i++)
        cap += k->inside[i].to - k->inside[i].from;
    struct slice *to = ARENA_ARRAY(&x->c->arena, cap + 1, struct slice);
    if (to == NULL)
        return over_budget(err);
    for (size_t i = 0; i < x->n_slices; i++) {
        const struct slice *s = &x->slices[i];
        const struct kept_groups *in = &k->inside[s->part];
        if (inside) {
            put_groups(s, in->from, in->to, to, &n);
        } else if (kept_is_inside(k, s->part)) {
            put_groups(s, 0, in->from, to, &n);
            put_groups(s, in->to, UINT32_MAX, to, &n);
        } else {
            to[n++] = *s;
        }
    }
    for (size_t i = 0; !inside && i < x->c->ctx->n_parts; i++) {
        struct part_reader *r;
        if (k->marked[i] == NULL)
            continue;
        TRY(part_reader_open(x->c->ctx->parts[i], x->c->ctx->budget, &r, err));
        enum ec ec = marked_groups(k, r, i, to, &n, err);
        part_reader_close(r);
        TRY(ec);
    }
    ASSERT(n <= cap);
    *ret = to;
    *ret_n = n;
    return EC_OK;
}
