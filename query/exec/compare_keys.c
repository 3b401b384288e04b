/* SPDX-License-Identifier: Apache-2.0
 * The keys of compare() and the values that are counted of them. */
#include <stdlib.h>

#include "base/hash.h"
#include "compare_count.h"

const enum tql_intrinsic compare_intrinsics[COMPARE_INTRINSICS] = {
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
    for (size_t i = 0; i < COMPARE_INTRINSICS; i++) {
        struct str text = tql_intrinsic_text(compare_intrinsics[i]);
        TRY(keys_add(k, compare_intrinsics[i], TABLE_COUNT, text, text, err));
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

static uint64_t *slots(const struct counted_set *s)
{
    return (uint64_t *)(void *)s->slots.p;
}

static bool is_value(const struct counted *e, const struct qval *v)
{
    if (e->kind != v->kind)
        return false;
    struct qval own = counted_value(e);
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
        uint32_t hash = counted_entries(s)[i].hash, at = hash & (n_slots - 1);
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

/* PART_NONE: it was not met. */
static uint32_t set_find(const struct counted_set *s, uint32_t hash, const struct qval *v)
{
    uint32_t at = hash & (s->n_slots - 1);
    for (; s->n_slots != 0 && slots(s)[at] != 0; at = (at + 1) & (s->n_slots - 1)) {
        uint32_t id = (uint32_t)slots(s)[at] - 1;
        if (slots(s)[at] >> 32 == hash && is_value(&counted_entries(s)[id], v))
            return id;
    }
    return PART_NONE;
}

/* The value's entry; PART_NONE: the budget refuses. */
static uint32_t set_count(
    struct counted_set *s, uint32_t hash, const struct qval *v, const uint32_t n[2])
{
    if (s->n >= s->n_slots / 3 * 2 && !set_grow(s))
        return PART_NONE;
    uint32_t at = hash & (s->n_slots - 1);
    for (; slots(s)[at] != 0; at = (at + 1) & (s->n_slots - 1)) {
        uint32_t id = (uint32_t)slots(s)[at] - 1;
        struct counted *e = &counted_entries(s)[id];
        if (slots(s)[at] >> 32 != hash || !is_value(e, v))
            continue;
        e->n[0] = add_capped(e->n[0], n[0]);
        e->n[1] = add_capped(e->n[1], n[1]);
        return id;
    }
    struct counted e = {.hash = hash, .n = {n[0], n[1]}, .kind = (uint8_t)v->kind};
    if (v->kind == QV_STRING) {
        if (v->s.n > UINT32_MAX)
            return PART_NONE;
        e.n_bytes = (uint32_t)v->s.n;
        e.s = arena_str(&s->strings, v->s).p;
        if (e.s == NULL)
            return PART_NONE;
    } else {
        e.i = v->i;
    }
    buf_put(&s->entries, &e, sizeof(e));
    if (buf_failed(&s->entries))
        return PART_NONE;
    slots(s)[at] = (uint64_t)hash << 32 | ++s->n;
    return s->n - 1;
}

/* Strings of spans' columns: resources and scopes have their own tables, small ones, and what is
 * computed from traces is in no dictionary. */
static bool may_hash(const struct compare *x, const struct key *k)
{
    return (uint64_t)x->c->m->top_n <= HASHED_TOP_MAX && !k->exact &&
           (k->intrinsic == TQL_I_NONE
                   ? k->table == TABLE_SPANS
                   : k->intrinsic == TQL_I_NAME || k->intrinsic == TQL_I_STATUS_MESSAGE);
}

void key_begin(struct compare *x, struct key *k, bool alone)
{
    struct budget *budget = &x->budget;
    k->by_hash = !alone && may_hash(x, k);
    hashed_init(&k->strings, budget);
    buf_init(&k->totals, budget);
    k->values = (struct counted_set){0};
    buf_init(&k->values.entries, budget);
    buf_init(&k->values.slots, budget);
    arena_init(&k->values.strings, budget, 0);
    buf_init(&k->value_cells, budget);
    atomic_store_explicit(&k->large, alone, memory_order_relaxed);
    atomic_store_explicit(&k->state, KEY_ACTIVE, memory_order_relaxed);
}

static void forget_values(struct key *k)
{
    buf_deinit(&k->values.entries);
    buf_deinit(&k->values.slots);
    arena_deinit(&k->values.strings);
    buf_deinit(&k->value_cells);
    hashed_deinit(&k->strings);
    k->values.n = k->values.n_slots = 0;
}

static void refuse(struct key *k)
{
    forget_values(k);
    buf_deinit(&k->totals);
    atomic_store_explicit(&k->state, KEY_REFUSED, memory_order_relaxed);
}

static void turn_large(struct key *k)
{
    buf_deinit(&k->value_cells);
    atomic_store_explicit(&k->large, true, memory_order_relaxed);
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
            __builtin_prefetch(&counted_entries(s)[id - 1]);
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
    if (m != 0)
        turn_large(k);
    prefetch(&k->values, hashes, m);
    for (uint32_t i = 0; i < m; i++) {
        if (set_count(&k->values, hashes[i], &o[i].v, o[i].n) != PART_NONE)
            continue;
        refuse(k);
        return;
    }
}

void key_count_hashed(struct key *k, uint32_t place, const struct str *texts,
    const struct hashed_slot *of, uint32_t n)
{
    if (n == 0 || !key_active(k))
        return;
    turn_large(k);
    if (!hashed_count(&k->strings, place, texts, of, n))
        refuse(k);
}

bool key_place(struct key *k, const struct place *p, uint32_t *ret)
{
    if (!key_active(k))
        return false;
    if (!hashed_place(&k->strings, p, ret)) {
        refuse(k);
        return false;
    }
    return true;
}

void key_add_totals(const struct counting *w, struct key *k, const uint32_t *cells)
{
    const uint32_t n = w->c->grid.n;
    size_t bytes = (size_t)n * 2 * sizeof(uint64_t);
    if (!key_active(k))
        return;
    if (k->totals.n == 0) {
        if (!buf_reserve(&k->totals, bytes)) {
            refuse(k);
            return;
        }
        memset(k->totals.p, 0, bytes);
        k->totals.n = bytes;
    }
    uint64_t *into = (uint64_t *)(void *)k->totals.p + w->base;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < w->stride; i++)
            into[side * n + i] += cells[side * w->stride + i];
}

/* Room for the cells of an entry; false: there are too many. */
static bool reserve_cells(struct key *k, uint32_t id, uint32_t n_buckets)
{
    size_t end = ((size_t)id + 1) * 2 * n_buckets * sizeof(uint64_t), had = k->value_cells.n;
    if (end <= had)
        return true;
    if (end > KEY_CELLS || !buf_reserve(&k->value_cells, end - had))
        return false;
    memset(k->value_cells.p + had, 0, end - had);
    k->value_cells.n = end;
    return true;
}

void key_count_cells(
    const struct counting *w, struct key *k, const struct qval *v, const uint32_t *cells)
{
    const uint32_t n = w->c->grid.n, stride = w->stride;
    struct qval label = collect_label(*v);
    uint32_t sums[2] = {0, 0};
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < stride; i++)
            sums[side] += cells[side * stride + i];
    if (label.kind == QV_NIL || (sums[0] | sums[1]) == 0 || !key_active(k))
        return;
    uint32_t id = set_count(&k->values, (uint32_t)hash_mix(qval_hash(&label)), &label, sums);
    if (id == PART_NONE) {
        refuse(k);
        return;
    }
    if (atomic_load_explicit(&k->large, memory_order_relaxed))
        return;
    if (!reserve_cells(k, id, n)) {
        turn_large(k);
        return;
    }
    uint64_t *into = (uint64_t *)(void *)k->value_cells.p + (size_t)id * 2 * n + w->base;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < stride; i++)
            into[side * n + i] += cells[side * stride + i];
}

/* ---- choosing ---- */

static bool before(const struct ranked *x, const struct ranked *y, int side)
{
    return x->n[side] != y->n[side] ? x->n[side] > y->n[side] : qval_order(&x->v, &y->v) < 0;
}

bool ranking_takes(const struct ranking *r, const struct ranked *x)
{
    return x->n[r->side] != 0 && r->max != 0 &&
           (r->n < r->max || before(x, &r->p[r->n - 1], r->side));
}

void ranking_add(struct ranking *r, const struct ranked *x)
{
    if (!ranking_takes(r, x))
        return;
    uint64_t at = r->n;
    if (at == r->max)
        at--;
    else
        r->n++;
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

enum ec key_cells(struct compare *x, struct key *k, struct err *err)
{
    size_t n = (size_t)k->top.n * 2 * x->c->grid.n * sizeof(uint64_t);
    buf_init(&k->cells, x->c->ctx->budget);
    if (!buf_reserve(&k->cells, n))
        return over_budget(err);
    memset(k->cells.p, 0, n);
    k->cells.n = n;
    if (atomic_load_explicit(&k->large, memory_order_relaxed) && k->totals.n != 0)
        memcpy(k->cells.p, k->totals.p, k->totals.n);
    memset(k->top_tags, 0, sizeof(k->top_tags));
    for (uint32_t i = 1; i < k->top.n; i++) {
        const struct qval *v = &k->top.values[i];
        uint64_t own = v->kind == QV_STRING ? key_tail(v->s) : (uint64_t)v->i;
        uint32_t bit = (uint32_t)(own * 0x9e3779b97f4a7c15ULL >> 52);
        k->top_tags[bit / 64] |= (uint64_t)1 << (bit % 64);
    }
    return EC_OK;
}

/* What a second pass would count, from the cells of all values. */
static enum ec few_cells(struct compare *x, struct key *k, struct err *err)
{
    const uint32_t n = 2 * x->c->grid.n;
    const uint64_t *from = (const uint64_t *)(const void *)k->value_cells.p;
    TRY(key_cells(x, k, err));
    for (uint32_t i = 0; i < k->values.n; i++, from += n) {
        struct qval v = counted_value(&counted_entries(&k->values)[i]);
        uint32_t id = 0;
        (void)label_find(&k->top, &v, &id);
        uint64_t *into = (uint64_t *)(void *)k->cells.p + (size_t)id * n;
        for (uint32_t c = 0; c < n; c++)
            into[c] += from[c];
    }
    return EC_OK;
}

/* The strings among the values, too, are then counted by hash. */
static bool hash_values(struct key *k)
{
    for (uint32_t i = 0; i < k->values.n; i++) {
        const struct counted *e = &counted_entries(&k->values)[i];
        struct hashed_slot one = {.n = {e->n[0], e->n[1]}, .code = i};
        struct str text = str_n(e->s, e->n_bytes);
        if (e->kind == QV_STRING && !hashed_count(&k->strings, PLACE_SET, &text, &one, 1))
            return false;
    }
    return true;
}

struct str key_value_text(const struct key *k, uint32_t entry)
{
    return str_n(counted_entries(&k->values)[entry].s, counted_entries(&k->values)[entry].n_bytes);
}

/* ---- what is kept ---- */

/* Both are few values: they become one. */
static bool merge_few(struct compare *x, struct key *k)
{
    const size_t n = (size_t)2 * x->c->grid.n;
    struct kept_walk w;
    struct kept_value v;
    kept_walk(&w, k->kept);
    while (kept_next(&w, &v)) {
        uint32_t id = set_count(&k->values, (uint32_t)hash_mix(qval_hash(&v.v)), &v.v, v.n);
        if (id == PART_NONE || !reserve_cells(k, id, x->c->grid.n))
            return false;
        kept_add_cells(x, k->kept, v.cells, (uint64_t *)(void *)k->value_cells.p + id * n);
    }
    return true;
}

/* What is kept of the values that were met. */
static void add_kept_counts(struct key *k)
{
    uint32_t n[2];
    for (uint32_t i = 0; i < k->values.n; i++) {
        struct counted *e = &counted_entries(&k->values)[i];
        struct qval v = counted_value(e);
        if (k->by_hash && v.kind == QV_STRING) /* by hash */
            continue;
        kept_count(k->kept, kept_hash(&v), n);
        e->n[0] = add_capped(e->n[0], n[0]);
        e->n[1] = add_capped(e->n[1], n[1]);
    }
    struct hashed_slot *s = (struct hashed_slot *)(void *)k->strings.slots.p;
    for (uint32_t i = 0; i < k->strings.n_slots; i++) {
        if ((s[i].n[0] | s[i].n[1]) == 0)
            continue;
        kept_count(k->kept, s[i].hash, n);
        s[i].n[0] = add_capped(s[i].n[0], n[0]);
        s[i].n[1] = add_capped(s[i].n[1], n[1]);
    }
}

/* A value that is kept, and was not met. */
static bool add_kept_value(struct key *k, const struct kept_value *v)
{
    uint32_t hash = (uint32_t)hash_mix(qval_hash(&v->v));
    bool by_hash = k->by_hash && v->v.kind == QV_STRING;
    if (by_hash ? hashed_find(&k->strings, kept_hash(&v->v)) != NULL
                : set_find(&k->values, hash, &v->v) != PART_NONE)
        return true;
    uint32_t id = set_count(&k->values, hash, &v->v, v->n);
    struct hashed_slot one = {.n = {v->n[0], v->n[1]}, .code = id};
    return id != PART_NONE && (!by_hash || hashed_count(&k->strings, PLACE_SET, &v->v.s, &one, 1));
}

/* After the first pass: what is kept of the key is counted, too. False: the budget refuses. */
static bool merge_kept(struct compare *x, struct key *k)
{
    size_t few = KEY_CELLS / (2 * x->c->grid.n * sizeof(uint64_t));
    struct kept_walk w;
    struct kept_value v;
    if (k->kept == NULL)
        return true;
    if (k->kept->large || k->kept->n_values + k->values.n > few)
        turn_large(k);
    if (!atomic_load_explicit(&k->large, memory_order_relaxed))
        return merge_few(x, k);
    if (k->by_hash && !hash_values(k))
        return false;
    add_kept_counts(k);
    kept_walk(&w, k->kept);
    while (kept_next(&w, &v))
        if (!add_kept_value(k, &v))
            return false;
    return true;
}

void key_add_kept(struct compare *x, struct key *k)
{
    const size_t n = (size_t)2 * x->c->grid.n;
    uint64_t *cells = (uint64_t *)(void *)k->cells.p;
    struct kept_walk w;
    struct kept_value v;
    struct bytes others, totals;
    uint32_t n_known = 1, n_some = 1, counts[2], id;
    kept_walk(&w, k->kept);
    while (kept_next(&w, &v)) /* they are distinct */
        n_known += label_find(&k->top, &v.v, &id);
    for (id = 1; id < k->top.n; id++) {
        kept_count(k->kept, kept_hash(&k->top.values[id]), counts);
        n_some += (counts[0] | counts[1]) != 0;
    }
    kept_sums(&w, &others, &totals);
    k->again = n_some != n_known;
    kept_add_cells(x, k->kept, k->again ? totals : others, cells);
    if (k->again)
        return;
    kept_walk(&w, k->kept);
    while (kept_next(&w, &v)) {
        if (!label_find(&k->top, &v.v, &id))
            id = 0;
        kept_add_cells(x, k->kept, v.cells, cells + id * n);
    }
}

/* The best values of both sides. */
static enum ec rank_values(
    struct compare *x, struct key *k, struct ranking *r, struct arena *a, struct err *err)
{
    bool hashed = k->by_hash && atomic_load_explicit(&k->large, memory_order_relaxed);
    for (uint32_t i = 0; i < k->values.n; i++) {
        const struct counted *e = &counted_entries(&k->values)[i];
        struct ranked one = {counted_value(e), {e->n[0], e->n[1]}};
        if (hashed && e->kind == QV_STRING)
            continue;
        ranking_add(&r[0], &one);
        ranking_add(&r[1], &one);
    }
    return hashed ? hashed_rank(x, k, r, a, err) : EC_OK;
}

/* How many of each side are chosen. */
static uint64_t key_top_n(const struct compare *x)
{
    uint64_t n = (uint64_t)x->c->m->top_n;
    return x->kept != NULL && x->kept->counting ? MAX(n, KEPT_TOP) : n;
}

/* Adds the best of each side to the chosen ones. A value is whole in one part of the hash, so it is
 * met once. */
enum ec key_choose(struct compare *x, struct key *k, bool first, struct err *err)
{
    static const uint32_t none[2];
    struct arena *a = &x->c->arena, texts;
    bool merged = k->kept != NULL, counting = x->kept != NULL && x->kept->counting;
    if (!merge_kept(x, k)) {
        refuse(k);
        return EC_OK;
    }
    bool large = atomic_load_explicit(&k->large, memory_order_relaxed);
    if (k->by_hash && large && !merged && !hash_values(k)) {
        refuse(k);
        return EC_OK;
    }
    if (counting && !kept_table(x, k)) {
        k->aside = true;
        key_end(k);
        return EC_OK;
    }
    if (first) {
        TRY(label_set_init(&k->top, a, err));
        buf_init(&k->top_counts, a->budget);
        buf_put(&k->top_counts, none, sizeof(none));
        if (buf_failed(&k->top_counts))
            return over_budget(err);
    }
    uint64_t max = (uint64_t)k->values.n + k->strings.n, top = key_top_n(x);
    if (!counting || large)
        max = MIN(max, top);
    struct buf mem;
    buf_init(&mem, a->budget);
    arena_init(&texts, a->budget, 0);
    enum ec ec =
        buf_reserve(&mem, (size_t)(max + 1) * 2 * sizeof(struct ranked)) ? EC_OK : over_budget(err);
    struct ranked *p = (struct ranked *)(void *)mem.p;
    struct ranking r[2] = {{.p = p, .max = max}, {.max = max, .side = 1}};
    if (ec == EC_OK) {
        r[1].p = p + max + 1;
        ec = rank_values(x, k, r, &texts, err);
    }
    for (int side = 0; side < 2; side++)
        for (uint64_t i = 0; i < r[side].n && ec == EC_OK; i++)
            ec = keep(k, &r[side].p[i], err);
    buf_deinit(&mem);
    arena_deinit(&texts);
    if (ec == EC_OK && !large)
        ec = few_cells(x, k, err);
    forget_values(k);
    return ec;
}

bool key_in_doubt(const struct compare *x, const struct key *k)
{
    const uint32_t n = x->c->grid.n;
    const uint64_t *cells = (const uint64_t *)(const void *)k->cells.p;
    for (uint32_t id = 1; (k->by_hash || k->kept != NULL) && id < k->top.n; id++) {
        for (uint32_t side = 0; side < 2; side++) {
            uint64_t sum = 0;
            for (uint32_t i = 0; i < n; i++)
                sum += cells[((size_t)id * 2 + side) * n + i];
            if (sum < top_pair(k, id)[side] && top_pair(k, id)[side] != UINT32_MAX)
                return true;
        }
    }
    return false;
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
    buf_deinit(&k->totals);
    buf_deinit(&k->hashes);
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
        ranking_add(
            &r, &(struct ranked){k->top.values[id], {top_pair(k, id)[0], top_pair(k, id)[1]}});
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
