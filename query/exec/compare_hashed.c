/* SPDX-License-Identifier: Apache-2.0
 * Strings counted by their hash (see compare_hashed.h). */
#include "compare_hashed.h"

#include "base/hash.h"
#include "compare.h"

#define GROW_FAST    65536u /* slots, until which a table grows by four */
#define VIEWS_PINNED 16u    /* by one reader, when strings are read again */

uint64_t compare_hash_mask = UINT64_MAX;

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static struct hashed_slot *slots_of(const struct hashed *h)
{
    return (struct hashed_slot *)(void *)h->slots.p;
}

static uint32_t n_places(const struct hashed *h)
{
    return PLACE_DICTS + (uint32_t)(h->places.n / sizeof(struct place));
}

static const struct place *place_of(const struct hashed *h, uint32_t place)
{
    return (const struct place *)(const void *)h->places.p + (place - PLACE_DICTS);
}

void hashed_init(struct hashed *h, struct budget *budget)
{
    *h = (struct hashed){0};
    buf_init(&h->slots, budget);
    buf_init(&h->places, budget);
}

void hashed_deinit(struct hashed *h)
{
    buf_deinit(&h->slots);
    buf_deinit(&h->places);
    h->n = h->n_slots = 0;
}

bool hashed_place(struct hashed *h, const struct place *p, uint32_t *ret)
{
    uint32_t place = n_places(h);
    buf_put(&h->places, p, sizeof(*p));
    *ret = place;
    return !buf_failed(&h->places);
}

static bool is_free(const struct hashed_slot *s)
{
    return (s->n[0] | s->n[1]) == 0;
}

static struct hashed_slot *find(struct hashed_slot *slots, uint32_t n_slots, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> 7) & (n_slots - 1);
    while (!is_free(&slots[at]) && slots[at].hash != hash)
        at = (at + 1) & (n_slots - 1);
    return &slots[at];
}

static bool grow(struct hashed *h)
{
    uint32_t n = h->n_slots == 0 ? 1024 : h->n_slots * (h->n_slots < GROW_FAST ? 4 : 2);
    size_t bytes = n * sizeof(struct hashed_slot);
    struct buf old = h->slots;
    buf_init(&h->slots, old.budget);
    if (!buf_reserve(&h->slots, bytes)) {
        buf_deinit(&old);
        h->n_slots = h->n = 0;
        return false;
    }
    memset(h->slots.p, 0, bytes);
    const struct hashed_slot *from = (const struct hashed_slot *)(const void *)old.p;
    for (uint32_t i = 0; i < h->n_slots; i++)
        if (!is_free(&from[i]))
            *find(slots_of(h), n, from[i].hash) = from[i];
    h->n_slots = n;
    buf_deinit(&old);
    return true;
}

struct hashed_slot *hashed_find(const struct hashed *h, uint64_t hash)
{
    struct hashed_slot *s = h->n_slots == 0 ? NULL : find(slots_of(h), h->n_slots, hash);
    return s == NULL || is_free(s) ? NULL : s;
}

static uint32_t add_capped(uint32_t a, uint32_t b)
{
    return a + b < a ? UINT32_MAX : a + b;
}

bool hashed_count(struct hashed *h, uint32_t place, const struct str *texts,
    const struct hashed_slot *of, uint32_t n)
{
    uint64_t hashes[HASHED_MANY];
    ASSERT(n <= HASHED_MANY);
    if (h->n + n > h->n_slots / 4 * 3 && !grow(h))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        hashes[i] = hash64(texts[i].p, texts[i].n) & compare_hash_mask;
        __builtin_prefetch(&slots_of(h)[(uint32_t)(hashes[i] >> 7) & (h->n_slots - 1)], 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct hashed_slot *s = find(slots_of(h), h->n_slots, hashes[i]);
        if (is_free(s)) {
            *s = (struct hashed_slot){hashes[i], {of[i].n[0], of[i].n[1]}, place, of[i].code};
            h->n++;
            continue;
        }
        s->n[0] = add_capped(s->n[0], of[i].n[0]);
        s->n[1] = add_capped(s->n[1], of[i].n[1]);
    }
    return true;
}

/* ---- choosing ---- */

struct candidate {
    uint32_t place, code, n[2];
};
struct choosing {
    const struct hashed *h;
    uint32_t top;          /* how many per side */
    uint32_t least[2];     /* the count of the last of them; 0: there are fewer */
    struct buf ties;       /* u32 [place][side][1 + top]: how many, and the smallest codes */
    struct buf candidates; /* struct candidate */
    bool tied;             /* there are any of those */
};

/* The top-th largest count of each side. */
static void find_least(struct choosing *c)
{
    uint32_t best[2][HASHED_TOP_MAX] = {{0}};
    for (uint32_t i = 0; i < c->h->n_slots; i++) {
        const struct hashed_slot *s = &slots_of(c->h)[i];
        for (unsigned side = 0; side < 2; side++) {
            uint32_t *b = best[side], at = c->top - 1;
            if (LIKELY(s->n[side] <= b[at]))
                continue;
            for (; at > 0 && b[at - 1] < s->n[side]; at--)
                b[at] = b[at - 1];
            b[at] = s->n[side];
        }
    }
    c->least[0] = best[0][c->top - 1];
    c->least[1] = best[1][c->top - 1];
}

static void put_candidate(struct choosing *c, const struct hashed_slot *s)
{
    struct candidate one = {s->place, s->code, {s->n[0], s->n[1]}};
    buf_put(&c->candidates, &one, sizeof(one));
}

/* One that ties for the last place, in a sorted dictionary: the smallest codes are the smallest
 * strings. */
static void put_tie(struct choosing *c, const struct hashed_slot *s, unsigned side)
{
    uint32_t *ties = (uint32_t *)(void *)c->ties.p;
    c->tied = true;
    ties += ((size_t)s->place * 2 + side) * (1 + c->top);
    uint32_t n = ties[0], at = n, *codes = ties + 1;
    if (n == c->top) {
        if (codes[n - 1] <= s->code)
            return;
        at--;
    } else {
        ties[0]++;
    }
    for (; at > 0 && codes[at - 1] > s->code; at--)
        codes[at] = codes[at - 1];
    codes[at] = s->code;
}

static bool is_sorted(const struct hashed *h, uint32_t place)
{
    return place >= PLACE_DICTS && place_of(h, place)->sorted;
}

static bool collect(struct choosing *c)
{
    for (uint32_t i = 0; i < c->h->n_slots; i++) {
        const struct hashed_slot *s = &slots_of(c->h)[i];
        bool sure = s->n[0] > c->least[0] || s->n[1] > c->least[1];
        bool ties[2];
        for (unsigned side = 0; side < 2; side++)
            ties[side] = s->n[side] != 0 && s->n[side] == c->least[side];
        if (LIKELY(!sure && !ties[0] && !ties[1]))
            continue;
        if (sure || !is_sorted(c->h, s->place)) {
            put_candidate(c, s);
            continue;
        }
        for (unsigned side = 0; side < 2; side++)
            if (ties[side])
                put_tie(c, s, side);
    }
    return !buf_failed(&c->candidates);
}

/* The candidates of each place one after another, so that its strings are read once. */
static bool group_candidates(struct choosing *c)
{
    const struct candidate *all = (const struct candidate *)(const void *)c->candidates.p;
    size_t n = c->candidates.n / sizeof(*all);
    struct buf grouped;
    uint32_t *at = (uint32_t *)(void *)c->ties.p, sum = 0; /* the ties are done with */
    buf_init(&grouped, c->candidates.budget);
    if (!buf_reserve(&grouped, c->candidates.n + 1))
        return false;
    struct candidate *to = (struct candidate *)(void *)grouped.p;
    memset(at, 0, n_places(c->h) * sizeof(*at));
    for (size_t i = 0; i < n; i++)
        at[all[i].place]++;
    for (uint32_t p = 0; p < n_places(c->h); p++) {
        uint32_t of = at[p];
        at[p] = sum;
        sum += of;
    }
    for (size_t i = 0; i < n; i++)
        to[at[all[i].place]++] = all[i];
    grouped.n = c->candidates.n;
    buf_deinit(&c->candidates);
    c->candidates = grouped;
    return true;
}

static enum ec offer(
    struct ranking *r, struct str text, const uint32_t n[2], struct arena *a, struct err *err)
{
    struct ranked one = {qval_str(text), {n[0], n[1]}};
    if (!ranking_takes(&r[0], &one) && !ranking_takes(&r[1], &one))
        return EC_OK;
    one.v.s = arena_str(a, text);
    if (one.v.s.p == NULL)
        return over_budget(err);
    ranking_add(&r[0], &one);
    ranking_add(&r[1], &one);
    return EC_OK;
}

/* A reader over the places' dictionaries, in their order. */
struct reading {
    const struct query_ctx *ctx;
    struct part_reader *r;
    size_t part;
    uint32_t n_views;
};

static enum ec open_dict(
    struct reading *d, const struct place *p, const struct dict **ret, struct err *err)
{
    struct col_view v;
    if (d->r != NULL && (d->part != p->part || d->n_views == VIEWS_PINNED)) {
        part_reader_close(d->r);
        d->r = NULL;
    }
    if (d->r == NULL) {
        TRY(part_reader_open(d->ctx->parts[p->part], d->ctx->budget, &d->r, err));
        d->part = p->part;
        d->n_views = 0;
    }
    d->n_views++;
    TRY(part_view(d->r, p->group, p->col, &v, err));
    *ret = v.phys == PHYS_CODE && v.n != 0 ? v.dict : NULL;
    return EC_OK;
}

static enum ec offer_all(const struct choosing *c, struct reading *d, const struct key *k,
    struct ranking *r, struct arena *a, struct err *err)
{
    static const struct str fixed[] = {[FIXED_EMPTY] = {"", 0}, [FIXED_NIL] = {"nil", 3}};
    const struct candidate *all = (const struct candidate *)(const void *)c->candidates.p;
    size_t n = c->candidates.n / sizeof(*all);
    const struct dict *dict = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct candidate *one = &all[i];
        struct str s;
        if (one->place == PLACE_FIXED) {
            s = fixed[one->code];
        } else if (one->place == PLACE_SET) {
            s = key_value_text(k, one->code);
        } else {
            if (i == 0 || all[i - 1].place != one->place) {
                enum ec ec = open_dict(d, place_of(c->h, one->place), &dict, err);
                if (!source_unreadable(ec))
                    TRY(ec);
                else
                    dict = NULL;
            }
            if (dict == NULL || one->code >= dict_count(dict))
                continue;
            s = dict_get(dict, one->code);
        }
        TRY(offer(r, s, one->n, a, err));
    }
    return EC_OK;
}

/* Ties that were kept, with both counts of their slots. */
static bool collect_ties(struct choosing *c)
{
    const uint32_t *ties = (const uint32_t *)(const void *)c->ties.p;
    if (!c->tied)
        return true;
    for (uint32_t i = 0; i < c->h->n_slots; i++) {
        const struct hashed_slot *s = &slots_of(c->h)[i];
        bool kept = false;
        if (is_free(s) || s->n[0] > c->least[0] || s->n[1] > c->least[1] ||
            !is_sorted(c->h, s->place))
            continue;
        for (unsigned side = 0; side < 2 && !kept; side++) {
            const uint32_t *t = ties + ((size_t)s->place * 2 + side) * (1 + c->top);
            kept =
                s->n[side] != 0 && s->n[side] == c->least[side] && t[0] != 0 && s->code <= t[t[0]];
        }
        if (kept)
            put_candidate(c, s);
    }
    return !buf_failed(&c->candidates);
}

enum ec hashed_rank(
    struct compare *x, const struct key *k, struct ranking *r, struct arena *a, struct err *err)
{
    struct choosing c = {.h = &k->strings, .top = (uint32_t)r[0].max};
    struct reading d = {.ctx = x->c->ctx};
    if (c.top == 0 || c.h->n == 0)
        return EC_OK;
    size_t bytes = (size_t)n_places(c.h) * 2 * (1 + c.top) * sizeof(uint32_t);
    buf_init(&c.ties, x->c->ctx->budget);
    buf_init(&c.candidates, x->c->ctx->budget);
    bool ok = buf_reserve(&c.ties, bytes);
    if (ok) {
        memset(c.ties.p, 0, bytes);
        find_least(&c);
        ok = collect(&c) && collect_ties(&c) && group_candidates(&c);
    }
    enum ec ec = ok ? EC_OK : over_budget(err);
    if (ok) {
        ec = offer_all(&c, &d, k, r, a, err);
    }
    part_reader_close(d.r);
    buf_deinit(&c.ties);
    buf_deinit(&c.candidates);
    return ec;
}
