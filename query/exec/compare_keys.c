/* SPDX-License-Identifier: Apache-2.0
 * The keys of compare() and the values that are counted of them. */
#include <stdlib.h>

#include "base/hash.h"
#include "compare.h"

static const enum tql_intrinsic counted[] = {
    TQL_I_NAME,
    TQL_I_STATUS,
    TQL_I_STATUS_MESSAGE,
    TQL_I_KIND,
    TQL_I_CHILD_COUNT,
    TQL_I_INSTRUMENTATION_NAME,
    TQL_I_INSTRUMENTATION_VERSION,
    TQL_I_ROOT_NAME,
    TQL_I_ROOT_SERVICE,
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- keys ---- */

static uint64_t key_hash(enum part_table table, struct str name)
{
    return hash64_seed(name.p, name.n, table);
}

static bool key_is(const struct key *k, enum part_table table, struct str name)
{
    return k->table == table && str_eq(k->name, name);
}

struct key *keys_find(const struct keys *k, enum part_table table, struct str name)
{
    size_t at = (size_t)key_hash(table, name) & (k->n_slots - 1);
    for (; k->slots[at] != 0; at = (at + 1) & (k->n_slots - 1))
        if (key_is(k->p[k->slots[at] - 1], table, name))
            return k->p[k->slots[at] - 1];
    return NULL;
}

static enum ec keys_grow(struct keys *k, struct err *err)
{
    size_t cap = k->cap == 0 ? 64 : k->cap * 2, n_slots = cap * 2;
    struct key **p = ARENA_ARRAY(k->arena, cap, struct key *);
    uint32_t *slots = ARENA_ARRAY(k->arena, n_slots, uint32_t);
    if (p == NULL || slots == NULL)
        return over_budget(err);
    for (size_t i = 0; i < k->n; i++) {
        size_t at = (size_t)key_hash(k->p[i]->table, k->p[i]->name) & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = (uint32_t)i + 1;
        p[i] = k->p[i];
    }
    k->p = p;
    k->cap = cap;
    k->slots = slots;
    k->n_slots = n_slots;
    return EC_OK;
}

static enum ec keys_add(struct keys *k, enum tql_intrinsic intrinsic, enum part_table table,
    struct str name, struct str text, struct err *err)
{
    if (k->n == k->cap)
        TRY(keys_grow(k, err));
    struct key *key = ARENA_NEW(k->arena, struct key);
    if (key == NULL)
        return over_budget(err);
    *key = (struct key){.intrinsic = intrinsic, .table = table, .name = name, .text = text};
    pthread_mutex_init(&key->lock, NULL);
    size_t at = (size_t)key_hash(table, name) & (k->n_slots - 1);
    while (k->slots[at] != 0)
        at = (at + 1) & (k->n_slots - 1);
    k->p[k->n++] = key;
    k->slots[at] = (uint32_t)k->n;
    return EC_OK;
}

enum ec keys_init(struct keys *k, struct arena *a, struct err *err)
{
    *k = (struct keys){.arena = a};
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        struct str text = tql_intrinsic_text(counted[i]);
        TRY(keys_add(k, counted[i], TABLE_COUNT, text, text, err));
    }
    return EC_OK;
}

void keys_deinit(struct keys *k)
{
    for (size_t i = 0; i < k->n; i++) {
        key_end(k->p[i]);
        pthread_mutex_destroy(&k->p[i]->lock);
    }
    k->n = 0;
}

enum ec keys_add_source(struct keys *k, struct part_reader *r, struct err *err)
{
    const struct part_attr *attrs;
    size_t n;
    TRY(part_attrs(r, &attrs, &n, err));
    for (size_t i = 0; i < n; i++) {
        const struct part_attr *a = &attrs[i];
        if (a->table == TABLE_EVENTS || a->table == TABLE_LINKS ||
            keys_find(k, a->table, a->key) != NULL)
            continue;
        struct tql_attr attr = {.name = arena_str(k->arena, a->key),
            .scope = a->table == TABLE_SPANS       ? TQL_SCOPE_SPAN
                     : a->table == TABLE_RESOURCES ? TQL_SCOPE_RESOURCE
                                                   : TQL_SCOPE_INSTRUMENTATION};
        if (attr.name.p == NULL || !tql_attr_text(&attr, k->arena))
            return over_budget(err);
        TRY(keys_add(k, TQL_I_NONE, a->table, attr.name, attr.text, err));
    }
    return EC_OK;
}

/* ---- values, first pass ---- */

static struct counted *entries(const struct counted_set *s)
{
    return (struct counted *)(void *)s->entries.p;
}

static uint64_t *slots(const struct counted_set *s)
{
    return (uint64_t *)(void *)s->slots.p;
}

static struct qval value_of(const struct counted *e)
{
    struct qval v = {.kind = (enum qval_kind)e->kind};
    if (v.kind == QV_STRING)
        v.s = str_n(e->s, e->n_bytes);
    else
        v.i = e->i;
    return v;
}

static bool is_value(const struct counted *e, const struct qval *v)
{
    if (e->kind != v->kind)
        return false;
    struct qval own = value_of(e);
    return qval_order(&own, v) == 0;
}

static bool set_grow(struct counted_set *s)
{
    uint32_t n_slots = s->n_slots == 0 ? 64 : s->n_slots * 2;
    buf_reset(&s->slots);
    if (!buf_reserve(&s->slots, n_slots * sizeof(uint64_t)))
        return false;
    memset(s->slots.p, 0, n_slots * sizeof(uint64_t));
    s->n_slots = n_slots;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t hash = entries(s)[i].hash, at = hash & (n_slots - 1);
        while (slots(s)[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots(s)[at] = (uint64_t)hash << 32 | (i + 1);
    }
    return true;
}

static uint32_t add_capped(uint32_t a, uint32_t b)
{
    return a + b < a ? UINT32_MAX : a + b;
}

/* False: the budget refuses. */
static bool set_count(
    struct counted_set *s, uint32_t hash, const struct qval *v, const uint32_t n[2])
{
    if (s->n >= s->n_slots / 3 * 2 && !set_grow(s))
        return false;
    uint32_t at = hash & (s->n_slots - 1);
    for (; slots(s)[at] != 0; at = (at + 1) & (s->n_slots - 1)) {
        struct counted *e = &entries(s)[(uint32_t)slots(s)[at] - 1];
        if (slots(s)[at] >> 32 != hash || !is_value(e, v))
            continue;
        e->n[0] = add_capped(e->n[0], n[0]);
        e->n[1] = add_capped(e->n[1], n[1]);
        return true;
    }
    struct counted e = {.hash = hash, .n = {n[0], n[1]}, .kind = (uint8_t)v->kind};
    if (v->kind == QV_STRING) {
        if (v->s.n > UINT32_MAX)
            return false;
        e.n_bytes = (uint32_t)v->s.n;
        e.s = arena_str(&s->strings, v->s).p;
        if (e.s == NULL)
            return false;
    } else {
        e.i = v->i;
    }
    buf_put(&s->entries, &e, sizeof(e));
    if (buf_failed(&s->entries))
        return false;
    slots(s)[at] = (uint64_t)hash << 32 | ++s->n;
    return true;
}

void key_begin(struct key *k, struct budget *budget)
{
    k->values = (struct counted_set){0};
    buf_init(&k->values.entries, budget);
    buf_init(&k->values.slots, budget);
    arena_init(&k->values.strings, budget, 0);
    atomic_store_explicit(&k->state, KEY_ACTIVE, memory_order_relaxed);
}

static void forget_values(struct key *k)
{
    buf_deinit(&k->values.entries);
    buf_deinit(&k->values.slots);
    arena_deinit(&k->values.strings);
    k->values.n = k->values.n_slots = 0;
}

static void prefetch(const struct counted_set *s, const uint32_t *hashes, uint32_t n)
{
    if (s->n_slots == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        __builtin_prefetch(&slots(s)[hashes[i] & (s->n_slots - 1)]);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)slots(s)[hashes[i] & (s->n_slots - 1)];
        if (id != 0)
            __builtin_prefetch(&entries(s)[id - 1]);
    }
}

void key_count(const struct compare *x, struct key *k, struct observed *o, uint32_t n)
{
    uint32_t hashes[KEY_COUNT_MAX], m = 0;
    ASSERT(n <= KEY_COUNT_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct qval label = collect_label(o[i].v);
        if (label.kind == QV_NIL || (o[i].n[0] | o[i].n[1]) == 0)
            continue;
        uint64_t hash = hash_mix(qval_hash(&label));
        if ((hash >> 40 & x->part_mask) != x->part) /* another time */
            continue;
        hashes[m] = (uint32_t)hash;
        o[m++] = (struct observed){label, {o[i].n[0], o[i].n[1]}};
    }
    if (atomic_load_explicit(&k->state, memory_order_relaxed) != KEY_ACTIVE)
        return;
    prefetch(&k->values, hashes, m);
    for (uint32_t i = 0; i < m; i++) {
        if (set_count(&k->values, hashes[i], &o[i].v, o[i].n))
            continue;
        forget_values(k);
        atomic_store_explicit(&k->state, KEY_REFUSED, memory_order_relaxed);
        return;
    }
}

/* ---- choosing ---- */

struct ranked {
    struct qval v;
    uint32_t n[2];
};
/* The best so far, sorted. */
struct ranking {
    struct ranked *p;
    uint64_t n, max;
    int side;
};

static bool before(const struct ranked *x, const struct ranked *y, int side)
{
    return x->n[side] != y->n[side] ? x->n[side] > y->n[side] : qval_order(&x->v, &y->v) < 0;
}

static void rank(struct ranking *r, const struct ranked *x)
{
    if (x->n[r->side] == 0 || r->max == 0)
        return;
    uint64_t at = r->n;
    if (at == r->max) {
        if (!before(x, &r->p[at - 1], r->side))
            return;
        at--;
    } else {
        r->n++;
    }
    uint64_t lo = 0, hi = at;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (before(x, &r->p[mid], r->side))
            hi = mid;
        else
            lo = mid + 1;
    }
    memmove(&r->p[lo + 1], &r->p[lo], (size_t)(at - lo) * sizeof(r->p[0]));
    r->p[lo] = *x;
}

static uint32_t *top_pair(const struct key *k, uint32_t id)
{
    return (uint32_t *)(void *)k->top_counts.p + (size_t)id * 2;
}

/* The value becomes one of the chosen. */
static enum ec keep(struct key *k, const struct ranked *x, struct err *err)
{
    uint32_t id = 0, had = k->top.n;
    TRY(label_intern(&k->top, &x->v, &id, err));
    if (k->top.n == had)
        return EC_OK;
    ASSERT(k->top_counts.n == id * sizeof(x->n));
    buf_put(&k->top_counts, x->n, sizeof(x->n));
    return buf_failed(&k->top_counts) ? over_budget(err) : EC_OK;
}

/* Adds the best of each side to the chosen ones. A value is whole in one part of the hash, so it is
 * met once. */
enum ec key_choose(struct key *k, uint64_t top_n, bool first, struct arena *a, struct err *err)
{
    static const uint32_t none[2];
    if (first) {
        TRY(label_set_init(&k->top, a, err));
        buf_init(&k->top_counts, a->budget);
        buf_put(&k->top_counts, none, sizeof(none));
        if (buf_failed(&k->top_counts))
            return over_budget(err);
    }
    struct ranking r = {.max = MIN(top_n, k->values.n)};
    struct buf mem;
    buf_init(&mem, a->budget);
    enum ec ec =
        buf_reserve(&mem, (size_t)(r.max + 1) * sizeof(struct ranked)) ? EC_OK : over_budget(err);
    r.p = (struct ranked *)(void *)mem.p;
    for (r.side = 0; r.side < 2 && ec == EC_OK; r.side++) {
        r.n = 0;
        for (uint32_t i = 0; i < k->values.n; i++) {
            const struct counted *e = &entries(&k->values)[i];
            struct ranked x = {value_of(e), {e->n[0], e->n[1]}};
            rank(&r, &x);
        }
        for (uint64_t i = 0; i < r.n && ec == EC_OK; i++)
            ec = keep(k, &r.p[i], err);
    }
    buf_deinit(&mem);
    forget_values(k);
    return ec;
}

enum ec key_cells(struct compare *x, struct key *k, struct err *err)
{
    size_t n = (size_t)k->top.n * 2 * x->c->grid.n * sizeof(uint64_t);
    buf_init(&k->cells, x->c->ctx->budget);
    if (!buf_reserve(&k->cells, n))
        return over_budget(err);
    memset(k->cells.p, 0, n);
    k->cells.n = n;
    memset(k->top_tags, 0, sizeof(k->top_tags));
    for (uint32_t i = 1; i < k->top.n; i++) {
        struct str s = k->top.values[i].s;
        if (k->top.values[i].kind == QV_STRING)
            k->top_tags[s.n & 63] |= (uint64_t)1 << (s.n == 0 ? 0 : (uint8_t)s.p[s.n - 1] & 63);
    }
    return EC_OK;
}

uint32_t key_top(const struct key *k, const struct qval *v)
{
    struct qval label = collect_label(*v);
    uint32_t id;
    if (label.kind == QV_NIL)
        return PART_NONE;
    return label_find(&k->top, &label, &id) ? id : 0;
}

void key_end(struct key *k)
{
    forget_values(k);
    buf_deinit(&k->top_counts);
    k->top = (struct label_set){0};
    buf_deinit(&k->cells);
}

/* ---- series ---- */

static enum ec push(struct compare *x, const struct key *k, int side, const struct qval *v,
    struct series_list *l, struct metrics_series **ret, struct err *err)
{
    static const char *const meta[2][2] = {
        {"baseline", "baseline_total"}, {"selection", "selection_total"}};
    const struct query_ctx *ctx = x->c->ctx;
    struct result_attr *labels = ARENA_ARRAY(ctx->arena, 2, struct result_attr);
    struct str key = arena_str(ctx->arena, k->text);
    TRY(finish_push(x->c, l, ret, err));
    if (labels == NULL || key.p == NULL)
        return over_budget(err);
    labels[0] = (struct result_attr){
        STR("__meta_type"), {.type = VALUE_STR, .s = str_from(meta[side][v->kind == QV_NIL])}};
    labels[1].key = key;
    if (!qval_result(v, ctx->arena, &labels[1].value))
        return over_budget(err);
    (*ret)->labels = labels;
    (*ret)->n_labels = 2;
    return EC_OK;
}

static void add_cells(
    const struct key *k, uint32_t id, int side, uint32_t n_buckets, double *values)
{
    const uint64_t *from = (const uint64_t *)(const void *)k->cells.p;
    from += ((size_t)id * 2 + (unsigned)side) * n_buckets;
    for (uint32_t i = 0; i < n_buckets; i++)
        values[i] += (double)from[i];
}

static enum ec side_series(struct compare *x, struct key *k, int side, struct ranked *mem,
    struct series_list *l, struct err *err)
{
    const uint32_t n_buckets = x->c->grid.n;
    struct ranking r = {.p = mem, .max = MIN((uint64_t)x->c->m->top_n, k->top.n), .side = side};
    struct metrics_series *s;
    for (uint32_t id = 1; id < k->top.n; id++)
        rank(&r, &(struct ranked){k->top.values[id], {top_pair(k, id)[0], top_pair(k, id)[1]}});
    if (r.n == 0)
        return EC_OK;
    for (uint64_t i = 0; i < r.n; i++) {
        TRY(push(x, k, side, &mem[i].v, l, &s, err));
        add_cells(k, key_top(k, &mem[i].v), side, n_buckets, s->values);
    }
    struct qval nil = QVAL_NIL;
    TRY(push(x, k, side, &nil, l, &s, err));
    for (uint32_t id = 0; id < k->top.n; id++)
        add_cells(k, id, side, n_buckets, s->values);
    return EC_OK;
}

enum ec key_series(struct compare *x, struct key *k, struct series_list *l, struct err *err)
{
    struct ranked *mem = ARENA_ARRAY(x->c->ctx->arena, k->top.n + 1, struct ranked);
    if (mem == NULL)
        return over_budget(err);
    TRY(side_series(x, k, 0, mem, l, err));
    return side_series(x, k, 1, mem, l, err);
}
