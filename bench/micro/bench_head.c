/* SPDX-License-Identifier: Apache-2.0
 * Inserts a corpus into a head: nanoseconds of CPU and bytes of memory per span, one JSON line.
 *
 *     bench_head FILE [ROUNDS [BATCHES]]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated. Requests are decoded before the clock
 * starts; reserve and insert are timed. Each round fills a new head; the best one counts. BATCHES:
 * of that many requests only. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/head.h"

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint8_t *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    size_t n = (size_t)ftell(f);
    uint8_t *p = xmalloc(n + 1);
    rewind(f);
    if (fread(p, 1, n, f) != n) {
        perror(path);
        exit(1);
    }
    fclose(f);
    *ret_n = n;
    return p;
}

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_head: %s: %s\n", what, err_msg(err));
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_head FILE [ROUNDS [BATCHES]]\n");
        return 2;
    }
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    size_t max = argc > 3 ? (size_t)atoi(argv[3]) : SIZE_MAX;
    struct err err = {0};
    struct arena arena;
    VEC(struct batch) batches = {0};
    size_t n;
    uint8_t *p = read_file(argv[1], &n);
    uint64_t attrs = 0;
    arena_init(&arena, NULL, 256 << 10);
    for (size_t at = 0; at + 4 <= n && batches.n < max;) {
        struct batch b;
        uint32_t len = get_u32le(p + at);
        if (len > n - at - 4 || batch_decode(&b, bytes_n(p + at + 4, len),
                                    &(struct batch_limits){0}, &arena, &err) != EC_OK)
            fail("decode", &err);
        VEC_PUSH(&batches, b);
        attrs += b.n_attrs;
        at += 4 + len;
    }
    int64_t best = INT64_MAX;
    struct head_stats stats = {0};
    uint64_t peak = 0;
    for (int i = 0; i < rounds; i++) {
        struct budget budget;
        struct head *h;
        uint32_t dups;
        budget_init(&budget, NULL, "bench", 0);
        if (head_new(&budget, &h, &err) != EC_OK)
            fail("new", &err);
        int64_t t0 = cpu_ns();
        for (size_t k = 0; k < batches.n; k++) {
            if (head_reserve(h, &batches.p[k], &err) != EC_OK)
                fail("reserve", &err);
            head_insert(h, &batches.p[k], 1700000000, &dups);
        }
        best = MIN(best, cpu_ns() - t0);
        head_stats(h, 1700000000, &stats);
        peak = atomic_load(&budget.peak);
        head_free(h);
        budget_deinit(&budget);
    }
    double spans = stats.n_spans;
    printf("{\"bench\":\"head\",\"spans\":%u,\"traces\":%u,\"attrs_per_span\":%.1f,"
           "\"ns_per_span\":%.0f,\"bytes_per_span\":%.0f,\"raw_bytes_per_span\":%.0f,"
           "\"peak_budget_per_span\":%.0f}\n",
        stats.n_spans, stats.n_traces, (double)attrs / spans, (double)best / spans,
        (double)stats.memory_bytes / spans, (double)stats.raw_bytes / spans, (double)peak / spans);
    VEC_FREE(&batches);
    arena_deinit(&arena);
    free(p);
    return 0;
}
