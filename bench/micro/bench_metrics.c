/* SPDX-License-Identifier: Apache-2.0
 * TraceQL metrics over a corpus in blocks: CPU nanoseconds per span and query, one JSON line each.
 *
 *     bench_metrics FILE [ROUNDS] [SPANS_PER_BLOCK] [WORD [grow]]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated. WORD: only queries with it. "cold" is
 * the first round, with every page still to be read and decoded; "warm" the best of the others. One
 * thread, answers not written out. peak_mib is what a query holds besides the page cache. "grow":
 * the last part stays a head, which gets a request before each round, and results are kept, as in a
 * server; "warm" is then a repeat. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "query/cache.h"
#include "query/metrics.h"
#include "storage/block.h"
#include "storage/head.h"

#define BLOCKS_MAX 64u
#define S          UINT64_C(1000000000)

static const char *const queries[] = {
    "{ } | rate()",
    "{ } | rate() by (resource.service.name)",
    "{ } | rate() by (name)",
    "{ } | rate() by (resource.service.name, name, status)",
    "{ status = error } | rate() by (name)",
    "{ resource.service.name = \"cart\" && duration > 5ms } | rate() by (name)",
    "{ } | min_over_time(duration)",
    "{ } | avg_over_time(duration) by (resource.service.name)",
    "{ } | avg_over_time(span.gen_ai.usage.completion_tokens) by (span.gen_ai.request.model)",
    "{ } | histogram_over_time(duration)",
    "{ } | quantile_over_time(duration, .5, .95, .99) by (resource.service.name)",
    "{ } | count_over_time() by (span.user.id)",
    "{ } | compare({ status = error })",
};

static void must(enum ec ec, const struct err *err)
{
    if (ec == EC_OK)
        return;
    fprintf(stderr, "bench_metrics: %s: %s\n", ec_text(ec), err_msg(err));
    exit(1);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One request; its spans, 0 at the end. */
static uint32_t insert(FILE *f, struct head *h)
{
    struct err err = {0};
    struct arena a;
    struct batch b;
    uint32_t dups;
    uint8_t size[4];
    if (fread(size, 1, 4, f) != 4)
        return 0;
    uint32_t len = get_u32le(size);
    uint8_t *p = xmalloc(len + 1);
    arena_init(&a, NULL, 256 << 10);
    if (fread(p, 1, len, f) != len)
        must(ERR(&err, EC_INVALID, "the corpus is cut short"), &err);
    must(batch_decode(&b, bytes_n(p, len), &(struct batch_limits){0}, &a, &err), &err);
    must(head_reserve(h, &b, &err), &err);
    head_insert(h, &b, 1700000000, &dups);
    uint32_t n = b.n_spans;
    arena_deinit(&a);
    free(p);
    return n;
}

/* Requests into a head until it holds spans_max; false when there are none left. */
static bool fill(FILE *f, uint32_t spans_max, struct head **ret)
{
    struct err err = {0};
    uint32_t n = 0, more = 1;
    must(head_new(NULL, ret, &err), &err);
    while (n < spans_max && more != 0) {
        more = insert(f, *ret);
        n += more;
    }
    return n != 0;
}

static struct part *block_of(struct head *h, uint8_t id, struct block_cache *cache)
{
    struct err err = {0};
    struct block_facts facts;
    struct part_reader *r;
    struct part *ret;
    char path[64];
    uint64_t dups;
    snprintf(path, sizeof(path), "/tmp/bench_metrics.%d.%u", (int)getpid(), id);
    struct block_write_options opt = {
        .io = &io_real, .path = path, .tenant = STR("bench"), .uuid = {id, 1}};
    must(part_reader_open(head_part(h), NULL, &r, &err), &err);
    must(block_write(&opt, &r, 1, &facts, &dups, &err), &err);
    part_reader_close(r);
    struct block_open_options open = {
        .io = &io_real, .path = path, .tenant = STR("bench"), .facts = &facts, .cache = cache};
    must(block_open(&open, &ret, &err), &err);
    must(part_reader_open(ret, NULL, &r, &err), &err); /* the file stays open */
    part_reader_close(r);
    (void)unlink(path);
    block_facts_deinit(&facts);
    return ret;
}

struct growing { /* head NULL: nothing grows */
    struct head *head;
    FILE *from;
    struct query_cache *cache;
};

static void bench(struct part *const *parts, size_t n, const char *text, int rounds,
    const struct growing *growing)
{
    struct err err = {0};
    struct metrics_request req = {.start_ns = UINT64_MAX, .step_ns = 60 * S, .exemplars = 100};
    int64_t cold = 0, warm = INT64_MAX;
    uint64_t spans = 0, peak = 0;
    size_t series = 0;
    for (size_t i = 0; i < n; i++) {
        struct part_reader *r;
        struct part_info info;
        must(part_reader_open(parts[i], NULL, &r, &err), &err);
        part_info(r, &info);
        part_reader_close(r);
        req.start_ns = MIN(req.start_ns, info.min_start_ns);
        req.end_ns = MAX(req.end_ns, info.max_end_ns);
        spans += info.n_rows;
    }
    for (int i = 0; i < rounds; i++) {
        struct budget budget;
        struct arena a;
        struct tql_query *q;
        struct metrics_result result;
        budget_init(&budget, NULL, "bench", 0);
        arena_init(&a, &budget, 0);
        must(tql_compile(str_from(text), &a, &q, NULL, &err), &err);
        struct query_ctx ctx = {
            .parts = parts, .n_parts = n, .arena = &a, .budget = &budget, .cache = growing->cache};
        if (growing->head != NULL)
            (void)insert(growing->from, growing->head);
        req.q = q;
        int64_t t = cpu_ns();
        must(query_metrics(&ctx, &req, &result, &err), &err);
        t = cpu_ns() - t;
        cold = i == 0 ? t : cold;
        warm = i > 0 ? MIN(warm, t) : warm;
        series = result.n;
        peak = atomic_load(&budget.peak);
        arena_deinit(&a);
        budget_deinit(&budget);
    }
    printf("{\"bench\":\"metrics\",\"query\":\"");
    for (const char *p = text; *p != 0; p++)
        printf(*p == '"' ? "\\%c" : "%c", *p);
    printf("\",\"spans\":%llu,\"series\":%zu,\"cold_ns_per_span\":%.2f,\"warm_ns_per_span\":%.2f,"
           "\"peak_mib\":%.1f}\n",
        (unsigned long long)spans, series, (double)cold / (double)spans,
        (double)warm / (double)spans, (double)peak / 1048576.0);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_metrics FILE [ROUNDS] [SPANS_PER_BLOCK] [WORD [grow]]\n");
        return 2;
    }
    int rounds = argc > 2 ? MAX(2, atoi(argv[2])) : 10;
    uint32_t spans = argc > 3 ? (uint32_t)atoi(argv[3]) : 150000;
    bool grow = argc > 5 && strcmp(argv[5], "grow") == 0;
    FILE *f = fopen(argv[1], "rb");
    struct part *parts[BLOCKS_MAX];
    struct block_cache *cache;
    struct head *h;
    size_t n = 0;
    if (f == NULL) {
        perror(argv[1]);
        return 1;
    }
    for (size_t k = 0; k < ARRAY_LEN(queries); k++) {
        if (argc > 4 && strstr(queries[k], argv[4]) == NULL)
            continue;
        struct growing growing = {.from = f};
        uint64_t left = grow ? spans * 4ULL : UINT64_MAX;
        cache = block_cache_new(NULL, 64u << 20);
        rewind(f);
        for (n = 0; n < BLOCKS_MAX && left > spans && fill(f, spans, &h); n++, left -= spans) {
            parts[n] = block_of(h, (uint8_t)n, cache);
            part_unref(head_part(h));
        }
        if (grow && fill(f, spans / 2, &h)) {
            growing.cache = query_cache_new(NULL, 16u << 20);
            growing.head = h;
            parts[n++] = head_part(h);
        } else {
            part_unref(head_part(h)); /* the empty one */
        }
        bench(parts, n, queries[k], rounds, &growing);
        query_cache_free(growing.cache);
        for (size_t i = 0; i < n; i++)
            part_unref(parts[i]);
        block_cache_free(cache);
    }
    fclose(f);
    return 0;
}
