/* SPDX-License-Identifier: Apache-2.0
 * Numbers of distinct values, in order of appearance. */
#pragma once

#include "qval.h"

struct keyring {
    struct qval *keys;
    uint32_t *slots;  /* hash table: 1 + number; 0: free */
    uint32_t *set_of; /* by number, for who collects sets of them: all 0 between uses */
    uint32_t n, cap;
};

/* The number of a key, which the ring must not outlive. EC_LIMIT when the arena refuses. */
enum ec keyring_number(struct keyring *k, const struct qval *v, struct arena *a, uint32_t *ret,
    struct err *err) MUST_USE;
