/* SPDX-License-Identifier: Apache-2.0
 * Decodes a corpus file over and over: nanoseconds of CPU per span, one JSON line.
 *
 *     bench_decode FILE [ROUNDS]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated. Each request is decoded into an arena
 * that is dropped after it, as ingest does. The best round counts: the others had company.
 *
 * Two figures: `ns_per_span` with malloc told to keep freed memory, which is the decoder itself,
 * and `ns_per_span_trimmed` with malloc's defaults, where each request's arena goes back to the
 * system and comes again as page faults. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/batch.h"

static uint8_t *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    size_t n = 0, cap = 1 << 20, got;
    uint8_t *p = xmalloc(cap);
    while ((got = fread(p + n, 1, cap - n, f)) > 0) {
        n += got;
        if (n == cap)
            p = xrealloc(p, cap *= 2);
    }
    fclose(f);
    *ret_n = n;
    return p;
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

struct totals {
    uint64_t spans, attrs, requests, arena_bytes, canonical;
};

static struct totals decode_all(const uint8_t *p, size_t n)
{
    const struct batch_limits limits = {.attr_bytes_max = 2048};
    struct totals t = {0};
    struct err err = {0};
    struct arena arena;

    arena_init(&arena, NULL, 256 << 10);
    for (size_t at = 0; at + 4 <= n;) {
        uint32_t len = get_u32le(p + at);
        struct batch b;
        if (len > n - at - 4 ||
            batch_decode(&b, bytes_n(p + at + 4, len), &limits, &arena, &err) != EC_OK) {
            fprintf(stderr, "bench_decode: byte %zu: %s\n", at, err.msg);
            exit(1);
        }
        at += 4 + len;
        t.spans += b.n_spans;
        t.attrs += b.n_attrs;
        t.requests++;
        t.canonical += b.canonical_bytes;
        t.arena_bytes += arena.total;
        arena_reset(&arena);
    }
    arena_deinit(&arena);
    return t;
}

static int64_t best_of(const uint8_t *p, size_t n, int rounds)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < rounds; i++) {
        int64_t start = cpu_ns();
        (void)decode_all(p, n);
        best = MIN(best, cpu_ns() - start);
    }
    return best;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_decode FILE [ROUNDS]\n");
        return 2;
    }
    size_t n;
    uint8_t *p = read_file(argv[1], &n);
    int rounds = argc > 2 ? atoi(argv[2]) : 20;
    struct totals t = decode_all(p, n);
    int64_t trimmed = best_of(p, n, rounds);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    int64_t best = best_of(p, n, rounds);

    if (t.spans > 0)
        printf(
            "{\"bench\":\"decode\",\"spans\":%llu,\"attrs\":%llu,\"requests\":%llu,\"bytes\":%zu,"
            "\"canonical_bytes\":%llu,\"ns_per_span\":%.1f,\"ns_per_span_trimmed\":%.1f,\"mib_per_s\":%.0f,"
            "\"arena_bytes_per_span\":%.0f}\n",
            (unsigned long long)t.spans, (unsigned long long)t.attrs,
            (unsigned long long)t.requests, n, (unsigned long long)t.canonical,
            (double)best / (double)t.spans, (double)trimmed / (double)t.spans,
            (double)n * 1e9 / (double)best / 1048576.0, (double)t.arena_bytes / (double)t.spans);
    free(p);
    return 0;
}
