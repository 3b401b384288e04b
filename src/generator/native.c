/* SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <math.h>
#include <stdlib.h>

#include "model/otlp_write.h"

#define ZERO_THRESHOLD  0x1p-128
#define SCHEMA_MIN      (-4)
#define SCHEMA_MAX      8
#define GAP_FILLED_MAX  2 /* shorter gaps cost less as empty buckets than as a new span */
#define BUCKETS_CAP_MAX 65536

int native_schema(double factor)
{
    double s = floor(log2(log2(factor)));
    return (int)fmin(fmax(-s, SCHEMA_MIN), SCHEMA_MAX);
}

struct native *native_new(const struct native_limits *l, int64_t now_ms)
{
    struct native *n = xcalloc(1, sizeof(*n));
    n->schema = native_schema(l->factor);
    n->reset_ms = now_ms;
    return n;
}

void native_free(struct native *n)
{
    if (n != NULL)
        free(n->buckets);
    free(n);
}

/* The least i with 2^(i / 2^schema) >= v. frexp first, so that powers of two are exact. */
static int32_t index_of(double v, int schema)
{
    int exp;
    double frac = frexp(v, &exp); /* v = frac * 2^exp, frac in [0.5, 1) */
    if (schema > 0) {
        double in = ceil(log2(frac * 2) * (double)(1 << schema)); /* 0 for a power of two */
        int32_t i = (int32_t)in + (int32_t)((uint32_t)(exp - 1) << schema);
        if (ldexp(exp2(in / (double)(1 << schema)), -1) < frac) /* rounding of log2 */
            i++;
        return i;
    }
    int32_t i = frac == 0.5 ? exp - 1 : exp;
    int32_t half = (1 << -schema) - 1;
    return (i + half) >> -schema;
}

static void reset(struct native *n, const struct native_limits *l, int64_t now_ms)
{
    n->schema = native_schema(l->factor);
    n->count = n->zero_count = 0;
    n->sum = 0;
    n->n = 0;
    n->reset_ms = now_ms;
    n->reset_at_ms = 0;
}

/* Half the resolution: bucket i goes into ceil(i / 2). */
static void halve(struct native *n)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        int32_t index = (n->buckets[i].index + 1) >> 1;
        if (out > 0 && n->buckets[out - 1].index == index)
            n->buckets[out - 1].count += n->buckets[i].count;
        else
            n->buckets[out++] = (struct native_bucket){index, n->buckets[i].count};
    }
    n->n = out;
    n->schema--;
}

static void bucket_add(struct native *n, int32_t index, uint64_t times)
{
    uint32_t lo = 0, hi = n->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (n->buckets[mid].index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < n->n && n->buckets[lo].index == index) {
        n->buckets[lo].count += times;
        return;
    }
    if (n->n == n->cap) {
        n->cap = n->cap == 0 ? 8 : n->cap * 2;
        n->buckets = xrealloc(n->buckets, n->cap * sizeof(*n->buckets));
    }
    memmove(n->buckets + lo + 1, n->buckets + lo, (n->n - lo) * sizeof(*n->buckets));
    n->buckets[lo] = (struct native_bucket){index, times};
    n->n++;
}

static void observe(struct native *n, double v, uint64_t times)
{
    n->count += times;
    n->sum += v * (double)times;
    if (v <= ZERO_THRESHOLD)
        n->zero_count += times;
    else
        bucket_add(n, index_of(v, n->schema), times);
}

static void exemplar_add(struct native *n, double v, const struct trace_id *trace, int64_t now_ms)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->n_exemplars; i++)
        if (now_ms - n->exemplars[i].time_ms <= NATIVE_EXEMPLAR_TTL_MS)
            n->exemplars[kept++] = n->exemplars[i];
    n->n_exemplars = kept;
    if (kept == NATIVE_EXEMPLARS) { /* the oldest goes; they lie in order of arrival */
        memmove(n->exemplars, n->exemplars + 1, (kept - 1) * sizeof(*n->exemplars));
        n->n_exemplars--;
    }
    n->exemplars[n->n_exemplars++] = (struct native_exemplar){*trace, v, now_ms};
}

void native_observe(struct native *n, const struct native_limits *l, double v, uint64_t times,
    const struct trace_id *trace, int64_t now_ms)
{
    if (n->reset_at_ms != 0 && now_ms >= n->reset_at_ms)
        reset(n, l, now_ms);
    observe(n, v, times);
    uint32_t max = l->buckets_max == 0 ? BUCKETS_CAP_MAX : l->buckets_max;
    if (n->n > max && n->reset_at_ms == 0 && now_ms - n->reset_ms >= l->min_reset_ms) {
        reset(n, l, now_ms);
        observe(n, v, times);
    }
    while (n->n > max && n->schema > SCHEMA_MIN) {
        if (n->reset_at_ms == 0)
            n->reset_at_ms = n->reset_ms + l->min_reset_ms;
        halve(n);
    }
    exemplar_add(n, v, trace, now_ms);
}

void native_encode(const struct native *n, int64_t time_ms, struct buf *out)
{
    pb_put_varint(out, 1, n->count);
    if (n->sum != 0)
        pb_put_double(out, 3, n->sum);
    if (n->schema != 0)
        pb_put_varint(out, 4, zigzag_encode(n->schema));
    pb_put_double(out, 5, ZERO_THRESHOLD);
    pb_put_varint(out, 6, n->zero_count);
    struct buf deltas = BUF_INIT;
    uint64_t before = 0;
    for (uint32_t i = 0; i < n->n;) {
        int32_t start = n->buckets[i].index, next = start;
        int32_t offset = i == 0 ? start : start - n->buckets[i - 1].index - 1;
        uint32_t length = 0;
        for (; i < n->n && n->buckets[i].index - next <= GAP_FILLED_MAX; i++) {
            for (; next < n->buckets[i].index; next++, length++) { /* an empty bucket */
                buf_put_varint(&deltas, zigzag_encode(-(int64_t)before));
                before = 0;
            }
            buf_put_varint(&deltas, zigzag_encode((int64_t)(n->buckets[i].count - before)));
            before = n->buckets[i].count;
            next++, length++;
        }
        size_t mark = pb_begin(out, 11);
        if (offset != 0)
            pb_put_varint(out, 1, zigzag_encode(offset));
        pb_put_varint(out, 2, length);
        pb_end(out, mark);
    }
    if (deltas.n != 0)
        pb_put_bytes(out, 12, buf_str(&deltas));
    buf_deinit(&deltas);
    pb_put_varint(out, 15, (uint64_t)time_ms);
}
