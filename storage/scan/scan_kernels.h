/* SPDX-License-Identifier: Apache-2.0
 * The inner loops of scans: values of a column in, one bit per value out. `out` has room for n
 * bits, rounded up to whole words; bits at n and above become 0.
 *
 * Each comes in a form for AVX2, chosen when the processor has it, and in plain C. */
#pragma once

#include "scan_test.h"

void kernel_u32(const uint32_t *v, uint32_t n, const struct ranges_u64 *r, uint64_t *out);
void kernel_u64(const uint64_t *v, uint32_t n, const struct ranges_u64 *r, uint64_t *out);
void kernel_i64(const int64_t *v, uint32_t n, const struct ranges_i64 *r, uint64_t *out);
void kernel_f64(const double *v, uint32_t n, const struct ranges_f64 *r, uint64_t *out);
/* Equal to one of the codes; negate: to none. */
void kernel_codes(const uint32_t *v, uint32_t n, const uint32_t *codes, uint32_t n_codes,
    bool negate, uint64_t *out);
/* Bit v[i] of `bits`, which has n_bits of them and at least one word. False: some v[i] is past
 * them. */
bool kernel_lookup(
    const uint32_t *v, uint32_t n, const uint64_t *bits, uint32_t n_bits, uint64_t *out);
