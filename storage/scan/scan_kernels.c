/* SPDX-License-Identifier: Apache-2.0
 * Kernels of scans.
 *
 * WHY by hand: compilers turn a comparison of 64 values into flags and those into bits by way of
 * bytes, at 0.6 - 1 ns a value whatever the instruction set; a mask taken straight from the
 * comparison is 4 - 8 times faster. */
#include "scan_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#endif

static uint64_t mask_of(uint32_t n) /* 1..64 bits */
{
    return ~(uint64_t)0 >> (64 - n);
}

/* ---- plain ---- */

#define PLAIN_RANGE(name, type, wide)                                 \
    static uint64_t name(const type *v, uint32_t n, wide lo, wide hi) \
    {                                                                 \
        uint64_t bits = 0;                                            \
        for (uint32_t i = 0; i < n; i++) {                            \
            wide x = v[i];                                            \
            bits |= (uint64_t)((x >= lo) & (x <= hi)) << i;           \
        }                                                             \
        return bits;                                                  \
    }
PLAIN_RANGE(plain_u32, uint32_t, uint32_t)
PLAIN_RANGE(plain_u64, uint64_t, uint64_t)
PLAIN_RANGE(plain_i64, int64_t, int64_t)
PLAIN_RANGE(plain_f64, double, double)

/* ---- AVX2: 64 values at a time ---- */

#if defined(__x86_64__)
/* lo <= v <= hi is v - lo <= hi - lo, unsigned. */
AVX2 static uint64_t avx2_u32(const uint32_t *v, uint32_t lo, uint32_t hi)
{
    const __m256i base = _mm256_set1_epi32((int)lo), width = _mm256_set1_epi32((int)(hi - lo));
    uint64_t bits = 0;
    for (unsigned i = 0; i < 64; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(v + i));
        x = _mm256_sub_epi32(x, base);
        __m256i in = _mm256_cmpeq_epi32(_mm256_min_epu32(x, width), x);
        bits |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(in)) << i;
    }
    return bits;
}

/* There is only a signed comparison: both sides are moved by 2^63. */
AVX2 static uint64_t avx2_u64(const uint64_t *v, uint64_t lo, uint64_t hi)
{
    const __m256i base = _mm256_set1_epi64x((long long)(lo + (1ull << 63)));
    const __m256i width = _mm256_set1_epi64x((long long)((hi - lo) ^ (1ull << 63)));
    uint64_t out = 0;
    for (unsigned i = 0; i < 64; i += 4) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(v + i));
        x = _mm256_sub_epi64(x, base); /* v - lo - 2^63 */
        __m256i more = _mm256_cmpgt_epi64(x, width);
        out |= (uint64_t)(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(more)) << i;
    }
    return ~out;
}

/* All whole 64s of n. A bit is (word of v >> 5) >> (v & 31), moved to the sign, from where the mask
 * takes it. Indexes are clamped, so that nothing is read past the table; false: some had to be. */
AVX2 static bool avx2_lookup(
    const uint32_t *v, uint32_t n, const uint64_t *table, uint32_t n_bits, uint64_t *out)
{
    const __m256i last = _mm256_set1_epi32((int)(n_bits - 1)), low = _mm256_set1_epi32(31);
    __m256i good = _mm256_set1_epi32(-1);
    for (uint32_t at = 0; at + 64 <= n; at += 64) {
        uint64_t bits = 0;
        for (unsigned i = 0; i < 64; i += 8) {
            __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)(v + at + i));
            __m256i x = _mm256_min_epu32(raw, last);
            good = _mm256_and_si256(good, _mm256_cmpeq_epi32(x, raw));
            __m256i w = _mm256_i32gather_epi32(
                (const int *)(const void *)table, _mm256_srli_epi32(x, 5), 4);
            w = _mm256_sllv_epi32(w, _mm256_andnot_si256(x, low)); /* by 31 - (v & 31) */
            bits |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(w)) << i;
        }
        out[at / 64] = bits;
    }
    return _mm256_movemask_epi8(good) == -1;
}
#endif

/* ---- the kernels ---- */

#if defined(__x86_64__)
#define RANGE_64(wide_fn, plain_fn, v, lo, hi) (fast ? wide_fn(v, lo, hi) : plain_fn(v, 64, lo, hi))
#define FAST_INIT                              const bool fast = has_avx2()
#else
#define RANGE_64(wide_fn, plain_fn, v, lo, hi) plain_fn(v, 64, lo, hi)
#define FAST_INIT
#endif

void kernel_u32(const uint32_t *v, uint32_t n, const struct ranges_u64 *r, uint64_t *out)
{
    FAST_INIT;
    for (uint32_t at = 0; at < n; at += 64) {
        uint32_t m = MIN(n - at, 64u);
        uint64_t bits = 0;
        for (uint32_t k = 0; k < r->n; k++) {
            if (r->r[k].lo > UINT32_MAX || r->r[k].lo > r->r[k].hi)
                continue;
            uint32_t lo = (uint32_t)r->r[k].lo, hi = (uint32_t)MIN(r->r[k].hi, UINT32_MAX);
            bits |= m == 64 ? RANGE_64(avx2_u32, plain_u32, v + at, lo, hi)
                            : plain_u32(v + at, m, lo, hi);
        }
        out[at / 64] = (r->negate ? ~bits : bits) & mask_of(m);
    }
}

void kernel_u64(const uint64_t *v, uint32_t n, const struct ranges_u64 *r, uint64_t *out)
{
    FAST_INIT;
    for (uint32_t at = 0; at < n; at += 64) {
        uint32_t m = MIN(n - at, 64u);
        uint64_t bits = 0;
        for (uint32_t k = 0; k < r->n; k++) {
            uint64_t lo = r->r[k].lo, hi = r->r[k].hi;
            if (lo <= hi)
                bits |= m == 64 ? RANGE_64(avx2_u64, plain_u64, v + at, lo, hi)
                                : plain_u64(v + at, m, lo, hi);
        }
        out[at / 64] = (r->negate ? ~bits : bits) & mask_of(m);
    }
}

/* The difference to the lower bound is an unsigned number here too. */
void kernel_i64(const int64_t *v, uint32_t n, const struct ranges_i64 *r, uint64_t *out)
{
    FAST_INIT;
    for (uint32_t at = 0; at < n; at += 64) {
        uint32_t m = MIN(n - at, 64u);
        uint64_t bits = 0;
        for (uint32_t k = 0; k < r->n; k++) {
            int64_t lo = r->r[k].lo, hi = r->r[k].hi;
            if (lo > hi)
                continue;
#if defined(__x86_64__)
            if (m == 64 && fast) {
                bits |=
                    avx2_u64((const uint64_t *)(const void *)(v + at), (uint64_t)lo, (uint64_t)hi);
                continue;
            }
#endif
            bits |= plain_i64(v + at, m, lo, hi);
        }
        out[at / 64] = (r->negate ? ~bits : bits) & mask_of(m);
    }
}

void kernel_f64(const double *v, uint32_t n, const struct ranges_f64 *r, uint64_t *out)
{
    for (uint32_t at = 0; at < n; at += 64) {
        uint32_t m = MIN(n - at, 64u);
        uint64_t bits = 0;
        for (uint32_t k = 0; k < r->n; k++)
            bits |= plain_f64(v + at, m, r->r[k].lo, r->r[k].hi);
        out[at / 64] = (r->negate ? ~bits : bits) & mask_of(m);
    }
}

void kernel_codes(const uint32_t *v, uint32_t n, const uint32_t *codes, uint32_t n_codes,
    bool negate, uint64_t *out)
{
    FAST_INIT;
    for (uint32_t at = 0; at < n; at += 64) {
        uint32_t m = MIN(n - at, 64u);
        uint64_t bits = 0;
        for (uint32_t k = 0; k < n_codes; k++)
            bits |= m == 64 ? RANGE_64(avx2_u32, plain_u32, v + at, codes[k], codes[k])
                            : plain_u32(v + at, m, codes[k], codes[k]);
        out[at / 64] = (negate ? ~bits : bits) & mask_of(m);
    }
}

static bool plain_lookup(
    const uint32_t *v, uint32_t n, const uint64_t *table, uint32_t n_bits, uint64_t *ret)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (UNLIKELY(v[i] >= n_bits))
            return false;
        bits |= (table[v[i] / 64] >> (v[i] % 64) & 1) << i;
    }
    *ret = bits;
    return true;
}

bool kernel_lookup(
    const uint32_t *v, uint32_t n, const uint64_t *bits, uint32_t n_bits, uint64_t *out)
{
    FAST_INIT;
    uint32_t at = 0;
#if defined(__x86_64__)
    if (fast && n_bits > 0) {
        if (!avx2_lookup(v, n, bits, n_bits, out))
            return false;
        at = n / 64 * 64;
    }
#endif
    for (; at < n; at += 64)
        if (!plain_lookup(v + at, MIN(n - at, 64u), bits, n_bits, &out[at / 64]))
            return false;
    return true;
}
