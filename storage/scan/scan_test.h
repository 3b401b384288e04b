/* SPDX-License-Identifier: Apache-2.0
 * What a scan leaf says of single values, and the same as ranges for whole columns. */
#pragma once

#include "storage/scan.h"

/* A number matches when it lies in some range, or in none if negate is set. Bounds are inclusive. A
 * NaN lies in no range. */
#define SCAN_RANGES(name, type)      \
    struct name {                    \
        bool negate;                 \
        uint32_t n;                  \
        struct name##_one {          \
            type lo, hi;             \
        } * r; /* room for n_lits */ \
    }
SCAN_RANGES(ranges_i64, int64_t);
SCAN_RANGES(ranges_u64, uint64_t);
SCAN_RANGES(ranges_f64, double);

/* Bit (1 << value_type) is set when an attribute value of that type can match the leaf. */
uint32_t scan_leaf_types(const struct scan_leaf *leaf);
/* One scalar, not an array. */
bool scan_scalar_holds(const struct scan_leaf *leaf, const struct value *v);
/* Any value: arrays by element. */
bool scan_value_holds(const struct scan_leaf *leaf, const struct value *v);
/* An array whose elements are values: not empty, all of one scalar type. */
bool scan_array_usable(struct str array);

/* Comparisons, IN and NOT_IN as ranges; r must have room for n_lits entries. */
void scan_ranges_i64(const struct scan_leaf *leaf, struct ranges_i64 *ret);
void scan_ranges_u64(const struct scan_leaf *leaf, struct ranges_u64 *ret);
void scan_ranges_f64(const struct scan_leaf *leaf, struct ranges_f64 *ret);
