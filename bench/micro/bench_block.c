/* SPDX-License-Identifier: Apache-2.0
 * Blocks: cost of writing, size by column, cost of scanning and of finding a trace.
 *
 *     bench_block CORPUS [SPANS_PER_HEAD]
 *
 * CORPUS holds ExportTraceServiceRequests, each behind its u32le length (loadgen gen -out). Without
 * SPANS_PER_HEAD all go into one head and one block; with it, into several blocks that are then
 * merged. One JSON line per result; then the sizes per column. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/head.h"

#define MAX_BLOCKS 256

static void must(enum ec ec, const struct err *err)
{
    if (ec == EC_OK)
        return;
    fprintf(stderr, "bench_block: %s: %s\n", ec_text(ec), err_msg(err));
    exit(1);
}

/* CPU time of this thread: the machine may have other work. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct bytes file_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = xmalloc(n + 1);
    n = fread(p, 1, n, f);
    fclose(f);
    return bytes_n(p, n);
}

/* Requests from *at on into a fresh head until it holds spans_max; false at the end of the
 * corpus. */
static struct head *head_fill(struct bytes corpus, size_t *at, uint32_t spans_max, uint32_t *ret_n)
{
    struct head *h;
    struct err err = {0};
    uint32_t n = 0;
    must(head_new(NULL, &h, &err), &err);
    while (*at + 4 <= corpus.n && n < spans_max) {
        struct arena a;
        struct batch b;
        struct batch_limits limits = {0};
        uint32_t dups, len = get_u32le(corpus.p + *at);
        arena_init(&a, NULL, 1 << 20);
        must(batch_decode(&b, bytes_n(corpus.p + *at + 4, len), &limits, &a, &err), &err);
        must(head_reserve(h, &b, &err), &err);
        head_insert(h, &b, 1700000000u + n / 10000, &dups);
        n += b.n_spans - dups;
        *at += 4ULL + len;
        arena_deinit(&a);
    }
    *ret_n = n;
    return h;
}

static struct part *block_make(
    struct part *const *sources, size_t n, const char *path, uint8_t id, struct block_cache *cache)
{
    struct err err = {0};
    struct block_facts facts;
    struct part_reader *readers[MAX_BLOCKS];
    struct budget budget;
    uint64_t dups;
    budget_init(&budget, NULL, "bench", 0);
    struct block_write_options opt = {
        .io = &io_real, .path = path, .tenant = STR("bench"), .uuid = {id, 1}, .budget = &budget};
    (void)unlink(path);
    for (size_t i = 0; i < n; i++)
        must(part_reader_open(sources[i], NULL, &readers[i], &err), &err);
    int64_t t = cpu_ns();
    must(block_write(&opt, readers, n, &facts, &dups, &err), &err);
    t = cpu_ns() - t;
    for (size_t i = 0; i < n; i++)
        part_reader_close(readers[i]);
    printf("{\"bench\": \"block_write\", \"sources\": %zu, \"spans\": %llu, \"traces\": %llu, "
           "\"us_per_span\": %.3f, \"bytes_per_span\": %.2f, \"peak_mib\": %.1f}\n",
        n, (unsigned long long)facts.n_spans, (unsigned long long)facts.n_traces,
        (double)t / 1e3 / (double)facts.n_spans, (double)facts.file_bytes / (double)facts.n_spans,
        (double)atomic_load(&budget.peak) / 1048576.0);
    budget_deinit(&budget);
    struct part *part;
    struct block_open_options open = {
        .io = &io_real, .path = path, .tenant = STR("bench"), .facts = &facts, .cache = cache};
    must(block_open(&open, &part, &err), &err);
    block_facts_deinit(&facts);
    return part;
}

/* Every column of every group. */
static void bench_scan(struct part *p, const char *what)
{
    struct part_reader *r;
    struct part_info info;
    struct err err = {0};
    const struct part_attr *attrs;
    size_t n_attrs;
    uint64_t values = 0, sum = 0;
    int64_t t = cpu_ns();
    must(part_reader_open(p, NULL, &r, &err), &err);
    part_info(r, &info);
    must(part_attrs(r, &attrs, &n_attrs, &err), &err);
    for (uint32_t g = 0; g < info.n_groups; g++) {
        for (col_id col = 0; col < COL_FIXED_MAX + n_attrs; col++) {
            struct col_view v;
            must(part_view(r, g, col, &v, &err), &err);
            values += v.n;
            if (v.phys == PHYS_CODE)
                for (uint32_t i = 0; i < v.n; i++)
                    sum += v.u32[i];
        }
    }
    t = cpu_ns() - t;
    printf(
        "{\"bench\": \"block_scan\", \"cache\": \"%s\", \"values\": %llu, \"ns_per_value\": %.2f, "
        "\"us_per_span\": %.3f, \"sum\": %llu}\n",
        what, (unsigned long long)values, (double)t / (double)values, (double)t / 1e3 / info.n_rows,
        (unsigned long long)sum);
    part_reader_close(r);
}

static void bench_find(struct part *p, const char *what, bool all_columns)
{
    struct part_reader *r;
    struct part_info info;
    struct err err = {0};
    enum { N = 1000 };
    static struct trace_id ids[N];
    must(part_reader_open(p, NULL, &r, &err), &err);
    part_info(r, &info);
    for (uint32_t i = 0; i < N; i++) {
        struct part_trace t;
        must(part_trace(r, (uint32_t)(i * 7919ULL % info.n_traces), &t, &err), &err);
        ids[i] = t.id;
    }
    part_reader_close(r);
    int64_t t = cpu_ns();
    uint32_t n = all_columns ? N / 10 : N;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t trace;
        must(part_reader_open(p, NULL, &r, &err), &err);
        must(part_trace_find(r, &ids[i], &trace, &err), &err);
        if (trace == PART_NONE)
            abort();
        struct part_trace pt;
        must(part_trace(r, trace, &pt, &err), &err);
        uint32_t g = 0;
        struct part_group group = {0};
        for (; all_columns && g < info.n_groups; g++) {
            must(part_group(r, g, &group, &err), &err);
            if (pt.row_first < group.row_first + group.n_rows)
                break;
        }
        const struct part_attr *attrs;
        size_t n_attrs = 0;
        if (all_columns)
            must(part_attrs(r, &attrs, &n_attrs, &err), &err);
        for (col_id col = 0; all_columns && col < COL_FIXED_MAX + n_attrs; col++) {
            struct col_view v;
            must(part_view(r, g, col, &v, &err), &err);
        }
        part_reader_close(r);
    }
    t = cpu_ns() - t;
    printf("{\"bench\": \"trace_find\", \"cache\": \"%s\", \"columns\": %s, \"us\": %.2f}\n", what,
        all_columns ? "true" : "false", (double)t / 1e3 / n);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_block CORPUS [SPANS_PER_HEAD]\n");
        return 2;
    }
    struct bytes corpus = file_read(argv[1]);
    uint32_t spans_max = argc > 2 ? (uint32_t)atoi(argv[2]) : UINT32_MAX;
    char dir[] = "/tmp/bench-block-XXXXXX", path[64];
    if (mkdtemp(dir) == NULL)
        return 1;
    struct block_cache *cache = block_cache_new(NULL, 512 << 20);
    struct part *blocks[MAX_BLOCKS] = {0};
    size_t n_blocks = 0, at = 0;
    while (at + 4 <= corpus.n && n_blocks < MAX_BLOCKS) {
        uint32_t n;
        struct head *h = head_fill(corpus, &at, spans_max, &n);
        struct part *head = head_part(h);
        snprintf(path, sizeof(path), "%s/%zu", dir, n_blocks);
        blocks[n_blocks] = block_make(&head, 1, path, (uint8_t)n_blocks, cache);
        head_free(h);
        n_blocks++;
    }
    struct part *last = blocks[0];
    if (n_blocks > 1) {
        snprintf(path, sizeof(path), "%s/merged", dir);
        last = block_make(blocks, n_blocks, path, 255, cache);
    }
    bench_scan(last, "cold");
    bench_scan(last, "warm");
    bench_find(last, "warm", false);
    bench_find(last, "warm", true);
    struct err err = {0};
    struct budget nothing; /* no room for pages: every lookup decodes what it needs */
    budget_init(&nothing, NULL, "nothing", 1 << 20);
    struct block_cache *no_cache = block_cache_new(&nothing, 1 << 17);
    struct block_facts facts;
    struct arena arena;
    struct str tenant;
    arena_init(&arena, NULL, 0);
    must(block_facts_read(&io_real, path, &tenant, &arena, &facts, &err), &err);
    struct block_open_options cold = {
        .io = &io_real, .path = path, .tenant = tenant, .facts = &facts, .cache = no_cache};
    struct part *uncached;
    must(block_open(&cold, &uncached, &err), &err);
    bench_find(uncached, "none", false);
    bench_find(uncached, "none", true);
    part_unref(uncached);
    block_cache_free(no_cache);
    budget_deinit(&nothing);
    block_facts_deinit(&facts);
    arena_deinit(&arena);
    uint64_t problems;
    must(block_verify(&io_real, path, NULL, NULL, &problems, &err), &err);
    printf("{\"bench\": \"block_verify\", \"problems\": %llu}\n", (unsigned long long)problems);
    struct buf out = BUF_INIT;
    must(block_dump(&io_real, path, &out, &err), &err);
    fwrite(out.p, 1, out.n, stdout);
    buf_deinit(&out);
    for (size_t i = 0; i < n_blocks; i++)
        part_unref(blocks[i]);
    if (last != blocks[0])
        part_unref(last);
    block_cache_free(cache);
    must(io_remove_tree(&io_real, "bench.remove", dir, &err), &err);
    free((void *)(uintptr_t)corpus.p);
    return 0;
}
