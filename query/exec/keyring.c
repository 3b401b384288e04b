/* SPDX-License-Identifier: Apache-2.0
 * Distinct values and their numbers. */
#include "keyring.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static enum ec keyring_grow(struct keyring *k, struct arena *a, struct err *err)
{
    uint32_t cap = k->cap == 0 ? 16 : k->cap * 2;
    struct qval *keys = arena_alloc(a, cap * sizeof(*keys));
    uint32_t *slots = ARENA_ARRAY(a, (size_t)cap * 2, uint32_t);
    uint32_t *set_of = ARENA_ARRAY(a, cap, uint32_t);
    if (keys == NULL || slots == NULL || set_of == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < k->n; i++) {
        size_t at = (size_t)qval_hash(&k->keys[i]) & (2 * cap - 1);
        while (slots[at] != 0)
            at = (at + 1) & (2 * cap - 1);
        slots[at] = i + 1;
        keys[i] = k->keys[i];
    }
    *k = (struct keyring){.keys = keys, .slots = slots, .set_of = set_of, .n = k->n, .cap = cap};
    return EC_OK;
}

enum ec keyring_number(
    struct keyring *k, const struct qval *v, struct arena *a, uint32_t *ret, struct err *err)
{
    if (k->n == k->cap)
        TRY(keyring_grow(k, a, err));
    size_t mask = 2 * k->cap - 1, at = (size_t)qval_hash(v) & mask;
    while (k->slots[at] != 0 && qval_order(&k->keys[k->slots[at] - 1], v) != 0)
        at = (at + 1) & mask;
    if (k->slots[at] == 0) {
        k->keys[k->n] = *v;
        k->slots[at] = ++k->n;
    }
    *ret = k->slots[at] - 1;
    return EC_OK;
}
