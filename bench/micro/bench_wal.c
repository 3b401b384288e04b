/* SPDX-License-Identifier: Apache-2.0
 * The WAL: append and sync latency, throughput, replay. One JSON line per result.
 *
 *     bench_wal [DIR [CORPUS]]
 *
 * DIR (default: the current one) should be on the disk that counts. CORPUS is u32le length +
 * request, repeated; without it requests are made up, of which zstd halves. Times are wall time;
 * CPU is the process's. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "storage/wal.h"

#define REPLAY_BYTES ((uint64_t)1 << 30)

struct corpus {
    struct bytes *p;
    size_t n;
};

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void die(const struct err *err)
{
    fprintf(stderr, "%s\n", err->msg);
    exit(1);
}

static struct bytes made_up(size_t n)
{
    uint8_t *p = xmalloc(n);
    uint64_t x = 1;
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            x = hash_mix(x + i);
        p[i] = (uint8_t)(i % 16 < 8 ? x >> 8 * (i % 8) : 'a' + i % 16);
    }
    return bytes_n(p, n);
}

static struct corpus corpus_read(const char *path)
{
    VEC(struct bytes) v = {0};
    uint8_t len[4];
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        perror(path);
        exit(1);
    }
    while (fread(len, 1, 4, f) == 4) {
        size_t n = get_u32le(len);
        uint8_t *p = xmalloc(n + 1);
        if (fread(p, 1, n, f) != n)
            break;
        VEC_PUSH(&v, bytes_n(p, n));
    }
    fclose(f);
    return (struct corpus){v.p, v.n};
}

static struct wal *log_open(const char *dir, wal_replay_fn fn, void *ctx, struct wal_recovery *rec)
{
    struct wal_options opt = {.dir = dir, .tenant = STR("bench")};
    struct wal *w;
    struct err err;
    if (wal_open(&opt, fn, ctx, rec, &w, &err) != EC_OK)
        die(&err);
    return w;
}

static int order(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* rounds x batch records, a sync after each batch; segments prepared between, as the store does. */
static void bench_append(
    const char *dir, const char *what, struct corpus c, int level, unsigned rounds, unsigned batch)
{
    struct wal_recovery rec;
    struct buf enc = BUF_INIT;
    struct err err;
    uint64_t lsn, from, to, raw = 0, disk = 0;
    int64_t encode_ns = 0, append_ns = 0, wall = 0, cpu = cpu_ns();
    int64_t *sync_ns = xcalloc(rounds, sizeof(*sync_ns));

    struct wal *w = log_open(dir, NULL, NULL, &rec);
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned b = 0; b < batch; b++) {
            struct wal_record in = {.otlp = c.p[(r * batch + b) % c.n]};
            int64_t t0 = clock_mono_ns();
            if (wal_record_encode(&enc, &in, level, &err) != EC_OK)
                die(&err);
            int64_t t1 = clock_mono_ns();
            if (wal_append(w, &enc, &lsn, &err) != EC_OK)
                die(&err);
            int64_t t2 = clock_mono_ns();
            encode_ns += t1 - t0;
            append_ns += t2 - t1;
            wall += t2 - t0;
            raw += in.otlp.n;
            disk += enc.n;
        }
        int64_t t0 = clock_mono_ns();
        if (wal_sync(w, &lsn, &from, &to, &err) != EC_OK)
            die(&err);
        sync_ns[r] = clock_mono_ns() - t0;
        wall += sync_ns[r];
        if (wal_prepare_next(w, &err) != EC_OK)
            die(&err);
    }
    cpu = cpu_ns() - cpu;
    qsort(sync_ns, rounds, sizeof(*sync_ns), order);
    uint64_t n = (uint64_t)rounds * batch;
    printf(
        "{\"bench\":\"wal_append\",\"what\":\"%s\",\"level\":%d,\"records\":%llu,\"batch\":%u,"
        "\"raw_bytes\":%llu,\"disk_bytes\":%llu,\"encode_us\":%.2f,\"append_us\":%.2f,"
        "\"sync_p50_us\":%.0f,\"sync_p99_us\":%.0f,\"raw_mb_s\":%.0f,\"cpu_us_per_record\":%.2f}\n",
        what, level, (unsigned long long)n, batch, (unsigned long long)raw,
        (unsigned long long)disk, (double)encode_ns / 1e3 / (double)n,
        (double)append_ns / 1e3 / (double)n, (double)sync_ns[rounds / 2] / 1e3,
        (double)sync_ns[rounds * 99 / 100] / 1e3, (double)raw * 1e3 / (double)wall,
        (double)cpu / 1e3 / (double)n);
    if (wal_rotate(w, &err) != EC_OK || wal_release(w, lsn, &err) != EC_OK ||
        wal_close(w, &err) != EC_OK)
        die(&err);
    buf_deinit(&enc);
    free(sync_ns);
}

static enum ec count(void *ctx, const struct wal_record *rec, struct err *err)
{
    (void)err;
    *(uint64_t *)ctx += rec->otlp.n;
    return EC_OK;
}

static void bench_replay(const char *dir, const char *what, struct corpus c, int level)
{
    struct wal_recovery rec;
    struct buf enc = BUF_INIT;
    struct err err;
    uint64_t lsn = 0, from, to, raw = 0, seen = 0;

    struct wal *w = log_open(dir, NULL, NULL, &rec);
    for (size_t i = 0; raw < REPLAY_BYTES; i++) {
        struct wal_record in = {.otlp = c.p[i % c.n]};
        if (wal_record_encode(&enc, &in, level, &err) != EC_OK ||
            wal_append(w, &enc, &lsn, &err) != EC_OK)
            die(&err);
        raw += in.otlp.n;
    }
    if (wal_sync(w, &lsn, &from, &to, &err) != EC_OK || wal_close(w, &err) != EC_OK)
        die(&err);
    int64_t wall = clock_mono_ns(), cpu = cpu_ns();
    w = log_open(dir, count, &seen, &rec);
    wall = clock_mono_ns() - wall;
    cpu = cpu_ns() - cpu;
    if (seen != raw)
        abort();
    printf(
        "{\"bench\":\"wal_replay\",\"what\":\"%s\",\"level\":%d,\"records\":%llu,\"raw_bytes\":%llu,"
        "\"disk_bytes\":%llu,\"seconds\":%.2f,\"cpu_seconds\":%.2f,\"raw_mb_s\":%.0f}\n",
        what, level, (unsigned long long)rec.records, (unsigned long long)raw,
        (unsigned long long)rec.bytes, (double)wall / 1e9, (double)cpu / 1e9,
        (double)raw * 1e3 / (double)wall);
    if (wal_release(w, lsn, &err) != EC_OK || wal_close(w, &err) != EC_OK)
        die(&err);
    buf_deinit(&enc);
}

int main(int argc, char **argv)
{
    char dir[4096];
    struct err err;

    snprintf(dir, sizeof(dir), "%s/bench_wal.%d", argc > 1 ? argv[1] : ".", (int)getpid());
    struct bytes big = made_up(500000), small = made_up(1000);
    struct corpus c_big = {&big, 1}, c_small = {&small, 1};
    bench_append(dir, "500 KB", c_big, 0, 200, 1);
    bench_append(dir, "500 KB", c_big, WAL_COMPRESS_LEVEL_DEFAULT, 200, 1);
    bench_append(dir, "1 KB", c_small, 0, 1000, 1);
    bench_append(dir, "1 KB", c_small, WAL_COMPRESS_LEVEL_DEFAULT, 1000, 1);
    bench_append(dir, "1 KB", c_small, WAL_COMPRESS_LEVEL_DEFAULT, 500, 100);
    bench_replay(dir, "500 KB", c_big, WAL_COMPRESS_LEVEL_DEFAULT);
    bench_replay(dir, "1 KB", c_small, WAL_COMPRESS_LEVEL_DEFAULT);
    if (argc > 2) {
        struct corpus c = corpus_read(argv[2]);
        bench_append(dir, "corpus", c, 0, 200, 1);
        bench_append(dir, "corpus", c, WAL_COMPRESS_LEVEL_DEFAULT, 200, 1);
        bench_replay(dir, "corpus", c, WAL_COMPRESS_LEVEL_DEFAULT);
        for (size_t i = 0; i < c.n; i++)
            free((void *)(uintptr_t)c.p[i].p);
        free(c.p);
    }
    free((void *)(uintptr_t)big.p);
    free((void *)(uintptr_t)small.p);
    if (io_rmdir(&io_real, "bench", dir, &err) != EC_OK)
        die(&err);
    return 0;
}
