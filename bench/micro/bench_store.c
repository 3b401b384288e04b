/* SPDX-License-Identifier: Apache-2.0
 * Takes a corpus into a store and out to merged blocks: one JSON line a phase.
 *
 *     bench_store FILE DIR [ROUNDS [IN_FLIGHT [commit|none]]]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated; DIR an empty directory. Each round
 * takes the whole corpus (its ids are new in round 1 only: later rounds go to tenants of their
 * own). CPU is of the whole process: decode, log, head, committers, block writer. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/store.h"

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_store: %s: %s\n", what, err_msg(err));
    exit(1);
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct bytes read_file(const char *path)
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
    return bytes_n(p, n);
}

static _Atomic uint64_t in_flight, refused;

static void done(void *arg, enum ec ec, const struct err *err)
{
    (void)arg;
    (void)err;
    atomic_fetch_add(&refused, ec != EC_OK);
    atomic_fetch_sub(&in_flight, 1);
}

struct phase {
    double cpu, wall;
};
static struct phase phase_begin(void)
{
    return (struct phase){cpu_s(), (double)clock_mono_ns() / 1e9};
}
static void phase_end(struct phase p, const char *name, uint64_t spans, uint64_t bytes)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("{\"bench\":\"store\",\"phase\":\"%s\",\"spans\":%llu,\"cpu_us_per_span\":%.3f,"
           "\"wall_s\":%.3f,\"block_bytes_per_span\":%.1f,\"peak_rss_mib\":%ld}\n",
        name, (unsigned long long)spans, (cpu_s() - p.cpu) * 1e6 / (double)spans,
        (double)clock_mono_ns() / 1e9 - p.wall, (double)bytes / (double)spans, u.ru_maxrss / 1024);
}

static uint64_t append_all(struct store *s, struct str tenant, struct bytes corpus, uint64_t max)
{
    struct arena arena;
    struct err err = {0};
    uint64_t spans = 0;
    arena_init(&arena, NULL, 256 << 10);
    for (size_t at = 0; at + 4 <= corpus.n;) {
        struct batch b;
        uint32_t len = get_u32le(corpus.p + at);
        arena_reset(&arena);
        if (len > corpus.n - at - 4 || batch_decode(&b, bytes_n(corpus.p + at + 4, len),
                                           &(struct batch_limits){0}, &arena, &err) != EC_OK)
            fail("decode", &err);
        while (atomic_load(&in_flight) >= max)
            usleep(20);
        atomic_fetch_add(&in_flight, 1);
        while (store_append(s, tenant, &b, done, NULL, &err) != EC_OK) {
            if (err.code != EC_LIMIT)
                fail("append", &err);
            usleep(1000); /* heads are full: the flush catches up */
        }
        spans += b.n_spans - b.n_rejected;
        at += 4 + len;
    }
    while (atomic_load(&in_flight) > 0)
        usleep(50);
    arena_deinit(&arena);
    return spans;
}

static uint64_t block_bytes(struct store *s)
{
    struct arena arena;
    struct store_tenant *list;
    size_t n;
    uint64_t sum = 0;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    if (store_tenants(s, &arena, &list, &n, &err) != EC_OK)
        fail("tenants", &err);
    for (size_t i = 0; i < n; i++)
        sum += list[i].block_bytes;
    arena_deinit(&arena);
    return sum;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_store FILE DIR [ROUNDS [IN_FLIGHT [commit|none]]]\n");
        return 2;
    }
    int rounds = argc > 3 ? atoi(argv[3]) : 1;
    uint64_t max = argc > 4 ? (uint64_t)atoi(argv[4]) : 16, spans = 0;
    struct err err = {0};
    struct budget budget;
    struct store *s;
    struct bytes corpus = read_file(argv[1]);
    struct store_options opt = {.wal_dir = argv[2],
        .data_dir = argv[2],
        .budget = &budget,
        .wal_compress_level = WAL_COMPRESS_LEVEL_DEFAULT,
        .compaction_period_ns = 3600 * NS_PER_S,
        .durability =
            argc > 5 && str_eqz(STR("none"), argv[5]) ? DURABILITY_NONE : DURABILITY_COMMIT};
    budget_init(&budget, NULL, "bench", 0);
    if (pool_new(&(struct pool_options){0}, &opt.pool, &err) != EC_OK)
        fail("pool", &err);
    if (store_open(&opt, &s, &err) != EC_OK)
        fail("open", &err);
    struct phase p = phase_begin();
    for (int i = 0; i < rounds; i++) {
        char name[32];
        snprintf(name, sizeof(name), "tenant-%d", i);
        spans += append_all(s, str_from(name), corpus, max);
    }
    phase_end(p, "append", spans, 0);
    p = phase_begin();
    if (store_flush(s, (struct str){0}, &err) != EC_OK)
        fail("flush", &err);
    phase_end(p, "last flush", spans, block_bytes(s));
    p = phase_begin();
    if (store_compact(s, &err) != EC_OK)
        fail("compact", &err);
    phase_end(p, "compact", spans, block_bytes(s));
    if (store_close(s, true, &err) != EC_OK)
        fail("close", &err);
    pool_free(opt.pool);
    return atomic_load(&refused) > 0;
}
