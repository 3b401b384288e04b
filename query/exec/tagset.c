/* SPDX-License-Identifier: Apache-2.0
 * The set behind tag answers. */
#include "tagset.h"

#include <stdlib.h>

#include "base/hash.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static struct tagset_entry *probe(
    struct tagset_entry *slots, size_t cap, uint8_t kind, struct str s)
{
    size_t at = (size_t)hash64_seed(s.p, s.n, kind) & (cap - 1);
    while (slots[at].used && (slots[at].kind != kind || !str_eq(slots[at].s, s)))
        at = (at + 1) & (cap - 1);
    return &slots[at];
}

enum ec tagset_add(struct tagset *t, uint8_t kind, struct str s, bool *ret_new, struct err *err)
{
    if ((t->n + 1) * 2 > t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 2;
        struct tagset_entry *slots = ARENA_ARRAY(t->arena, cap, struct tagset_entry);
        if (slots == NULL)
            return over_budget(err);
        for (size_t i = 0; i < t->cap; i++)
            if (t->slots[i].used)
                *probe(slots, cap, t->slots[i].kind, t->slots[i].s) = t->slots[i];
        t->slots = slots;
        t->cap = cap;
    }
    struct tagset_entry *e = probe(t->slots, t->cap, kind, s);
    bool is_new = !e->used;
    uint64_t cost = s.n + (t->kind_names != NULL ? strlen(t->kind_names[kind]) : 0);
    if (is_new && t->bytes_max != 0 && t->bytes + cost > t->bytes_max) {
        t->full = true;
        is_new = false;
    } else if (is_new) {
        struct str copy = arena_str(t->arena, s);
        if (copy.p == NULL)
            return over_budget(err);
        *e = (struct tagset_entry){.s = copy, .kind = kind, .used = true};
        t->n++;
        t->bytes += cost;
    }
    if (ret_new != NULL)
        *ret_new = is_new;
    return EC_OK;
}

static int cmp_entry(const void *a, const void *b)
{
    const struct tagset_entry *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return str_cmp(x->s, y->s);
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
    if (n > 1)
        qsort(all, n, sizeof(*all), cmp_entry);
    *ret = all;
    *ret_n = n;
    return true;
}

enum ec tagset_sorted(const struct tagset *t, struct tagset_entry **ret, struct err *err)
{
    struct tagset_entry *all = ARENA_ARRAY(t->arena, t->n, struct tagset_entry);
    size_t n = 0;
    if (all == NULL)
        return over_budget(err);
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].used)
            all[n++] = t->slots[i];
    if (n > 1)
        qsort(all, n, sizeof(*all), cmp_entry);
    *ret = all;
    return EC_OK;
}
