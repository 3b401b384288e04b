/* SPDX-License-Identifier: Apache-2.0
 * Numbers by hash, open addressing. */
#include "numset.h"

#include "base/hash.h"

bool numset_add(struct numset *s, struct arena *a, uint64_t number, bool *ret_ok)
{
    if ((s->n + 1) * 2 > s->cap) {
        struct numset old = *s;
        s->cap = old.cap == 0 ? 256 : old.cap * 2;
        s->slots = ARENA_ARRAY(a, s->cap, uint64_t);
        s->used = ARENA_ARRAY(a, s->cap, bool);
        s->n = 0;
        if (s->slots == NULL || s->used == NULL) {
            *ret_ok = false;
            return true;
        }
        for (size_t i = 0; i < old.cap; i++)
            if (old.used[i])
                (void)numset_add(s, a, old.slots[i], ret_ok);
    }
    size_t at = (size_t)hash_mix(number) & (s->cap - 1);
    while (s->used[at] && s->slots[at] != number)
        at = (at + 1) & (s->cap - 1);
    if (s->used[at])
        return false;
    s->used[at] = true;
    s->slots[at] = number;
    s->n++;
    return true;
}
