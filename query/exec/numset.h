/* SPDX-License-Identifier: Apache-2.0
 * A set of 64-bit numbers. Memory is an arena's. */
#pragma once

#include "base/arena.h"

struct numset {
    uint64_t *slots;
    bool *used;
    size_t n, cap;
};

/* True: the number was not in it; *ret_ok is set to false when there is no memory for it. */
bool numset_add(struct numset *s, struct arena *a, uint64_t number, bool *ret_ok);
