/* SPDX-License-Identifier: Apache-2.0
 * The set behind tag answers. */
#include "tagset.h"

#include <stdlib.h>

#include "base/hash.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* The place of an entry, free or taken by its equal. */
static struct tagset_entry *probe(
    struct tagset_entry *slots, size_t cap, const struct tagset_entry *want)
{
    size_t at = want->hash & (cap - 1);
    while (slots[at].used && (slots[at].hash != want->hash || slots[at].kind != want->kind ||
                                 !str_eq(slots[at].s, want->s)))
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

/* For an entry that is not there, in a table that has no equals. */
static struct tagset_entry *probe_free(struct tagset_entry *slots, size_t cap, uint32_t hash)
{
    size_t at = hash & (cap - 1);
    while (slots[at].used)
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

uint64_t tagset_cost(const struct tagset *t, const struct tagset_entry *e)
{
    return e->s.n + (t->kind_names != NULL ? strlen(t->kind_names[e->kind]) : 0);
}

enum ec tagset_add(struct tagset *t, uint8_t kind, struct str s, bool *ret_new, struct err *err)
{
    if ((t->n + 1) * 2 > t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 4;
        struct tagset_entry *slots = ARENA_ARRAY(t->arena, cap, struct tagset_entry);
        if (slots == NULL)
            return over_budget(err);
        for (size_t i = 0; i < t->cap; i++)
            if (t->slots[i].used)
                *probe_free(slots, cap, t->slots[i].hash) = t->slots[i];
        t->slots = slots;
        t->cap = cap;
    }
    struct tagset_entry want = {
        .s = s, .kind = kind, .hash = (uint32_t)hash64_seed(s.p, s.n, kind), .used = true};
    struct tagset_entry *e = probe(t->slots, t->cap, &want);
    bool is_new = !e->used;
    uint64_t cost = tagset_cost(t, &want);
    if (is_new && t->bytes_max != 0 && t->bytes + cost > t->bytes_max) {
        t->full = true;
        is_new = false;
    } else if (is_new) {
        struct str copy = arena_str(t->arena, s);
        if (copy.p == NULL)
            return over_budget(err);
        want.s = copy;
        *e = want;
        t->n++;
        t->bytes += cost;
    }
    if (ret_new != NULL)
        *ret_new = is_new;
    return EC_OK;
}

int tagset_order(const struct tagset_entry *a, const struct tagset_entry *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return str_cmp(a->s, b->s);
}

static int cmp_entry(const void *a, const void *b)
{
    return tagset_order(a, b);
}

/* ---- sorting: by eight bytes behind what all strings have in common ---- */

#define SORT_RADIX_MIN 512u

struct sort_item {
    uint64_t key;
    const struct tagset_entry *e;
};

static size_t common_prefix(const struct tagset_entry *all, size_t n)
{
    size_t len = all[0].s.n;
    for (size_t i = 1; i < n; i++) {
        size_t k = 0, max = MIN(len, all[i].s.n);
        while (k < max && all[i].s.p[k] == all[0].s.p[k])
            k++;
        len = k;
    }
    return len;
}

static uint64_t key_at(struct str s, size_t from)
{
    uint8_t b[8] = {0};
    memcpy(b, s.p + from, MIN(s.n - from, sizeof(b)));
    return get_u64be(b);
}

/* Least significant byte first; bytes that are the same everywhere cost nothing. Returns the array
 * that holds the result. */
static struct sort_item *radix(struct sort_item *a, struct sort_item *b, size_t n)
{
    static const unsigned bytes = sizeof(a->key);
    uint32_t count[sizeof(a->key)][256] = {0};
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < bytes; k++)
            count[k][a[i].key >> (8 * k) & 0xff]++;
    for (unsigned k = 0; k < bytes; k++) {
        if (count[k][a[0].key >> (8 * k) & 0xff] == n)
            continue;
        uint32_t at = 0;
        for (unsigned v = 0; v < 256; v++) {
            uint32_t c = count[k][v];
            count[k][v] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++)
            b[count[k][a[i].key >> (8 * k) & 0xff]++] = a[i];
        struct sort_item *t = a;
        a = b;
        b = t;
    }
    return a;
}

/* Entries of one kind. Without memory for it, or few: by comparison. */
static void sort_kind(struct tagset_entry *all, size_t n, struct arena *arena)
{
    struct sort_item *items =
        n < SORT_RADIX_MIN ? NULL : arena_alloc(arena, 2 * n * sizeof(*items));
    struct tagset_entry *out = items == NULL ? NULL : arena_alloc(arena, n * sizeof(*out));
    if (out == NULL) {
        if (n > 1)
            qsort(all, n, sizeof(*all), cmp_entry);
        return;
    }
    size_t skip = common_prefix(all, n);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct sort_item){key_at(all[i].s, skip), &all[i]};
    items = radix(items, items + n, n);
    for (size_t i = 0; i < n; i++)
        out[i] = *items[i].e;
    for (size_t i = 0, end; i < n; i = end) { /* equal so far */
        for (end = i + 1; end < n && items[end].key == items[i].key; end++)
            ;
        if (end - i > 1)
            qsort(&out[i], end - i, sizeof(*out), cmp_entry);
    }
    memcpy(all, out, n * sizeof(*all));
}

static int cmp_kind(const void *a, const void *b)
{
    const struct tagset_entry *x = a, *y = b;
    return (int)x->kind - (int)y->kind;
}

static void sort_entries(struct tagset_entry *all, size_t n, struct arena *arena)
{
    bool one_kind = true;
    for (size_t i = 1; i < n; i++)
        one_kind = one_kind && all[i].kind == all[0].kind;
    if (!one_kind)
        qsort(all, n, sizeof(*all), cmp_kind);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && all[end].kind == all[i].kind; end++)
            ;
        sort_kind(all + i, end - i, arena);
    }
}

bool tagset_fresh(struct tagset *t, struct arena *arena, struct tagset_entry **ret, size_t *ret_n)
{
    struct tagset_entry *all = ARENA_ARRAY(arena, t->n, struct tagset_entry);
    size_t n = 0;
    if (all == NULL)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slots[i].used || t->slots[i].told)
            continue;
        t->slots[i].told = true;
        all[n++] = t->slots[i];
    }
    sort_entries(all, n, arena);
    *ret = all;
    *ret_n = n;
    return true;
}

enum ec tagset_sorted(const struct tagset *t, struct tagset_entry **ret, struct err *err)
{
    struct tagset_entry *all = ARENA_ARRAY(t->arena, t->n, struct tagset_entry);
    if (all == NULL)
        return over_budget(err);
    size_t n = 0;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].used)
            all[n++] = t->slots[i];
    sort_entries(all, n, t->arena);
    *ret = all;
    return EC_OK;
}
