/* SPDX-License-Identifier: Apache-2.0
 * Strings that hardly repeat, counted by their hash: no string is kept, only where one was met.
 *
 * A slot's count is that of all strings with its hash, so never less than that of any of them. The
 * largest are chosen and their strings read again where they were met; of those that tie for the
 * last place a sorted dictionary has its smallest in front. The second pass counts the chosen by
 * their strings. If one turns out less than its slot said, two strings shared a hash and the key is
 * counted anew without; if none does, no other string can have more, because its slot has not.
 *
 * Guarded by the key's lock. */
#pragma once

#include "base/buf.h"
#include "storage/part.h"

struct compare;
struct key;
struct ranking;

#define HASHED_TOP_MAX 64u /* values per side that can be chosen this way */
#define HASHED_MANY    16u

struct hashed_slot { /* free: no counts */
    uint64_t hash;
    uint32_t n[2];
    uint32_t place, code; /* where the string was met first */
};
struct place {
    size_t part;
    uint32_t group;
    col_id col;
    bool sorted;
};
enum { PLACE_FIXED, PLACE_SET, PLACE_DICTS }; /* texts below; entries of the key's values; else */
enum { FIXED_EMPTY, FIXED_NIL };
struct hashed {
    struct buf slots;  /* struct hashed_slot */
    struct buf places; /* struct place, from PLACE_DICTS on */
    uint32_t n, n_slots;
};

/* Tests make strings collide: only these bits of a hash are used. */
extern uint64_t compare_hash_mask;

void hashed_init(struct hashed *h, struct budget *budget);
void hashed_deinit(struct hashed *h);
/* A place for hashed_count; false: the budget refuses. */
bool hashed_place(struct hashed *h, const struct place *p, uint32_t *ret);
/* WHY many at a time: see key_count. `of` has codes and counts; place is set here. */
bool hashed_count(struct hashed *h, uint32_t place, const struct str *texts,
    const struct hashed_slot *of, uint32_t n);
/* NULL: no string with this hash was met. */
struct hashed_slot *hashed_find(const struct hashed *h, uint64_t hash);
/* The best strings of each side into r[0] and r[1], which hold less than HASHED_TOP_MAX; the
 * texts are copied to the arena. Parts that cannot be read any more are left out. */
enum ec hashed_rank(struct compare *x, const struct key *k, struct ranking *r, struct arena *a,
    struct err *err) MUST_USE;
