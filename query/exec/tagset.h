/* SPDX-License-Identifier: Apache-2.0
 * A set of distinct strings with a kind, for tag names and tag values. Strings are copied into the
 * arena. */
#pragma once

#include "query/exec.h"

struct tagset_entry {
    struct str s;
    uint32_t hash;
    uint8_t kind;
    bool used, told;
};
struct tagset {
    struct arena *arena;
    struct tagset_entry *slots;
    size_t n, cap;
    uint64_t bytes;
    uint64_t bytes_max;            /* what bytes may come to; 0: no limit */
    const char *const *kind_names; /* set: the name of an entry's kind counts with its string */
    bool full; /* a string did not fit: nothing is added any more (by the callers) */
};

/* EC_LIMIT when the arena refuses. *ret_new (may be NULL). */
enum ec tagset_add(struct tagset *t, uint8_t kind, struct str s, bool *ret_new, struct err *err)
    MUST_USE;
/* Entries that it did not return before, sorted as below, in `arena`; false: no memory, nothing is
 * marked. */
bool tagset_fresh(struct tagset *t, struct arena *arena, struct tagset_entry **ret, size_t *ret_n)
    MUST_USE;
int tagset_order(const struct tagset_entry *a, const struct tagset_entry *b);
/* What an entry is worth in bytes. */
uint64_t tagset_cost(const struct tagset *t, const struct tagset_entry *e);
/* Entries sorted by kind, then string. */
enum ec tagset_sorted(const struct tagset *t, struct tagset_entry **ret, struct err *err) MUST_USE;
