/* SPDX-License-Identifier: Apache-2.0
 * The parts of a span's way in, and some queries, each a function of its own: run_cost.py counts
 * their instructions under callgrind. Content and order are fixed; one thread.
 *
 *     cost_parts DIRECTORY */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/otlp_write.h"
#include "query/exec.h"
#include "query/metrics.h"
#include "storage/block.h"
#include "storage/head.h"
#include "storage/wal.h"

#define HEADS    2u
#define REQUESTS 16u /* a head: two groups of a block, so that merges find some to copy */
#define SPANS    500u

#define PART     __attribute__((noinline))

static void must(enum ec ec, const struct err *err)
{
    if (ec == EC_OK)
        return;
    fprintf(stderr, "cost_parts: %s: %s\n", ec_text(ec), err_msg(err));
    exit(1);
}

/* Requests as a collector sends them: traces of ten spans, one resource a group of spans. */

static uint64_t random_state = 42;
static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

PRINTF_LIKE(4, 5)
static void put_text(struct buf *b, uint32_t field, const char *key, const char *format, ...)
{
    char text[128];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    const struct value v = {.type = VALUE_STR, .s = str_n(text, (size_t)n)};
    pb_put_attr(b, field, str_from(key), &v);
}

static void put_int(struct buf *b, uint32_t field, const char *key, int64_t i)
{
    const struct value v = {.type = VALUE_INT, .i = i};
    pb_put_attr(b, field, str_from(key), &v);
}

static void put_span(struct buf *b, uint64_t trace, uint32_t i)
{
    static const char *const names[] = {"GET /cart", "POST /order", "SELECT", "render", "publish"};
    uint64_t start = 1700000000000000000u + trace * 20000000 + i * 1000000 + below(1000000);
    char id[16];
    size_t span = pb_begin(b, 2);
    put_u64be(id, trace * 0x9e3779b97f4a7c15u);
    put_u64be(id + 8, trace * 0xd6e8feb86659fd93u + 1);
    pb_put_bytes(b, 1, str_n(id, 16));
    put_u64be(id, (trace * 16 + i + 1) * 0xff51afd7ed558ccdu);
    pb_put_bytes(b, 2, str_n(id, 8));
    put_u64be(id, (trace * 16 + (i + 1) / 2) * 0xff51afd7ed558ccdu);
    if (i > 0)
        pb_put_bytes(b, 4, str_n(id, 8));
    pb_put_bytes(b, 5, str_from(names[i % ARRAY_LEN(names)]));
    pb_put_varint(b, 6, 1 + i % 5);
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start + 1000 + below(30000000));
    put_text(b, 9, "http.request.method", "%s", i % 3 == 0 ? "GET" : "POST");
    put_text(b, 9, "url.path", "/api/v1/item/%u", below(300));
    put_int(b, 9, "http.response.status_code", below(20) == 0 ? 500 : 200);
    put_int(b, 9, "http.response.body.size", below(100000));
    if (i % 4 == 1) {
        put_text(b, 9, "db.system", "postgresql");
        put_text(
            b, 9, "db.statement", "SELECT * FROM t%u WHERE id = %u", below(9), below(1u << 30));
    }
    put_text(b, 9, "user.id", "user-%u", below(5000));
    if (below(16) == 0) {
        size_t event = pb_begin(b, 11);
        pb_put_fixed64(b, 1, start + 500);
        pb_put_bytes(b, 2, STR("exception"));
        put_text(b, 3, "exception.message", "it broke %u times", below(50));
        pb_end(b, event);
    }
    pb_end(b, span);
}

static void put_request(struct buf *b, uint32_t request)
{
    for (uint32_t i = 0; i < SPANS; i += 50) {
        size_t rs = pb_begin(b, 1);
        size_t resource = pb_begin(b, 1);
        put_text(b, 1, "service.name", "service-%u", i / 50);
        put_text(b, 1, "k8s.pod.name", "pod-%u-%u", i / 50, request % 3);
        pb_end(b, resource);
        size_t ss = pb_begin(b, 2);
        size_t scope = pb_begin(b, 1);
        pb_put_bytes(b, 1, STR("otel"));
        pb_end(b, scope);
        for (uint32_t k = 0; k < 50; k++)
            put_span(b, (request * SPANS + i + k) / 10, k % 10);
        pb_end(b, ss);
        pb_end(b, rs);
    }
}

/* The parts. */

struct decoded {
    struct arena arena;
    struct batch batch;
};

PART void cost_decode(const struct buf *requests, struct decoded *d, uint32_t n);
PART void cost_decode(const struct buf *requests, struct decoded *d, uint32_t n)
{
    struct err err = {0};
    for (uint32_t i = 0; i < n; i++)
        must(batch_decode(&d[i].batch, buf_bytes(&requests[i]), &(struct batch_limits){0},
                 &d[i].arena, &err),
            &err);
}

PART void cost_log(const struct buf *requests, uint32_t n);
PART void cost_log(const struct buf *requests, uint32_t n)
{
    struct err err = {0};
    struct buf out = BUF_INIT;
    for (uint32_t i = 0; i < n; i++) {
        const struct wal_record rec = {.otlp = buf_bytes(&requests[i])};
        must(wal_record_encode(&out, &rec, WAL_COMPRESS_LEVEL_DEFAULT, &err), &err);
    }
    buf_deinit(&out);
}

PART void cost_head(struct head *h, struct decoded *d, uint32_t n);
PART void cost_head(struct head *h, struct decoded *d, uint32_t n)
{
    struct err err = {0};
    uint32_t dups;
    for (uint32_t i = 0; i < n; i++) {
        must(head_reserve(h, &d[i].batch, &err), &err);
        head_insert(h, &d[i].batch, 1700000000, &dups);
    }
}

static struct part *block_make(const char *dir, uint8_t id, struct part *const *parts, size_t n,
    struct budget *budget, struct block_cache *cache)
{
    struct err err = {0};
    struct part_reader *readers[HEADS];
    struct block_facts facts;
    struct part *ret;
    uint64_t dups;
    char path[512];
    snprintf(path, sizeof(path), "%s/%u.block", dir, id);
    struct block_write_options opt = {
        .io = &io_real, .path = path, .tenant = STR("cost"), .uuid = {id, 1}, .budget = budget};
    for (size_t i = 0; i < n; i++)
        must(part_reader_open(parts[i], NULL, &readers[i], &err), &err);
    must(block_write(&opt, readers, n, &facts, &dups, &err), &err);
    for (size_t i = 0; i < n; i++)
        part_reader_close(readers[i]);
    struct block_open_options open = {
        .io = &io_real, .path = path, .tenant = STR("cost"), .facts = &facts, .cache = cache};
    must(block_open(&open, &ret, &err), &err);
    block_facts_deinit(&facts);
    return ret;
}

PART struct part *cost_flush(const char *dir, uint8_t id, struct part *head, struct budget *budget,
    struct block_cache *cache);
PART struct part *cost_flush(const char *dir, uint8_t id, struct part *head, struct budget *budget,
    struct block_cache *cache)
{
    return block_make(dir, id, &head, 1, budget, cache);
}

PART struct part *cost_merge(
    const char *dir, struct part *const *blocks, struct budget *budget, struct block_cache *cache);
PART struct part *cost_merge(
    const char *dir, struct part *const *blocks, struct budget *budget, struct block_cache *cache)
{
    return block_make(dir, HEADS, blocks, HEADS, budget, cache);
}

PART size_t cost_query(struct part *block);
PART size_t cost_query(struct part *block)
{
    struct err err = {0};
    struct metrics_request req = {.start_ns = 1699999200000000000u,
        .end_ns = 1700003600000000000u,
        .step_ns = 60000000000u,
        .exemplars = 100};
    struct metrics_result result;
    struct arena a;
    struct tql_query *q;
    arena_init(&a, NULL, 0);
    must(tql_compile(STR("{ span.http.response.status_code >= 500 && duration > 1ms } "
                         "| rate() by (resource.service.name)"),
             &a, &q, NULL, &err),
        &err);
    struct query_ctx ctx = {.parts = &block, .n_parts = 1, .arena = &a};
    req.q = q;
    must(query_metrics(&ctx, &req, &result, &err), &err);
    size_t n = result.n;
    arena_deinit(&a);
    return n;
}

static size_t search(struct part *const *parts, size_t n_parts, const char *text)
{
    struct err err = {0};
    struct search_result result;
    struct arena a;
    struct tql_query *q;
    arena_init(&a, NULL, 0);
    must(tql_compile(str_from(text), &a, &q, NULL, &err), &err);
    struct query_ctx ctx = {.parts = parts, .n_parts = n_parts, .arena = &a};
    struct budget budget;
    budget_init(&budget, NULL, "search", 0);
    ctx.budget = &budget;
    const struct search_request req = {.q = q, .limit = 1000, .spss = 3};
    must(query_search(&ctx, &req, &result, &err), &err);
    arena_deinit(&a);
    budget_deinit(&budget);
    return result.n;
}

/* Of searches with many results: what the first pass reads and what each result takes. */
PART size_t cost_search(struct part *const *parts, size_t n);
PART size_t cost_search(struct part *const *parts, size_t n)
{
    return search(parts, n, "{ span.http.response.status_code >= 500 }") +
           search(parts, n, "{ name =~ \".*order.*\" && duration > 5ms }");
}

/* Of traces that are judged whole: their relations, groups and sums. */
PART size_t cost_judge(struct part *const *parts, size_t n);
PART size_t cost_judge(struct part *const *parts, size_t n)
{
    return search(parts, n, "{ span.db.system = \"postgresql\" } >> { duration > 25ms }") +
           search(parts, n, "{ } | by(resource.service.name) | avg(duration) > 16ms");
}

int main(int argc, char **argv)
{
    struct part *blocks[HEADS], *merged;
    struct budget budget;
    if (argc != 2) {
        fprintf(stderr, "usage: cost_parts DIRECTORY\n");
        return 2;
    }
    budget_init(&budget, NULL, "cost", 0);
    struct block_cache *cache = block_cache_new(&budget, 64 << 20);
    for (uint32_t k = 0; k < HEADS; k++) {
        struct buf requests[REQUESTS];
        struct decoded decoded[REQUESTS];
        struct head *h;
        struct err err = {0};
        for (uint32_t i = 0; i < REQUESTS; i++) {
            requests[i] = BUF_INIT;
            put_request(&requests[i], k * REQUESTS + i);
            arena_init(&decoded[i].arena, NULL, 256 << 10);
        }
        must(head_new(NULL, &h, &err), &err);
        cost_decode(requests, decoded, REQUESTS);
        cost_log(requests, REQUESTS);
        cost_head(h, decoded, REQUESTS);
        blocks[k] = cost_flush(argv[1], (uint8_t)k, head_part(h), &budget, cache);
        head_free(h);
        for (uint32_t i = 0; i < REQUESTS; i++) {
            arena_deinit(&decoded[i].arena);
            buf_deinit(&requests[i]);
        }
    }
    merged = cost_merge(argv[1], blocks, &budget, cache);
    if (cost_query(merged) != 10) {
        fprintf(stderr, "cost_parts: the query does not find ten services\n");
        return 1;
    }
    /* The first time pages are read; later ones are what a server mostly does. */
    (void)search(blocks, HEADS, "{ span.http.response.status_code >= 500 && name =~ \"a\" }");
    (void)search(blocks, HEADS, "{ span.db.system = \"x\" } >> { } | by(resource.service.name)");
    size_t found = cost_search(blocks, HEADS), judged = cost_judge(blocks, HEADS);
    if (found < 1000 || judged < 500) {
        fprintf(stderr, "cost_parts: %zu and %zu traces are too few\n", found, judged);
        return 1;
    }
    part_unref(merged);
    for (uint32_t k = 0; k < HEADS; k++)
        part_unref(blocks[k]);
    block_cache_free(cache);
    budget_deinit(&budget);
    printf("%u\n", HEADS * REQUESTS * SPANS);
    return 0;
}
