/* SPDX-License-Identifier: Apache-2.0
 * Scans a head that holds a corpus: nanoseconds of CPU per span and condition, one JSON line each.
 *
 *     bench_scan FILE [ROUNDS]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated. A round opens a reader, binds the
 * condition and scans all groups. The best round counts. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/head.h"
#include "storage/scan.h"

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_scan: %s: %s\n", what, err_msg(err));
    exit(1);
}

static void fill(struct head *h, const char *path)
{
    struct err err = {0};
    FILE *f = fopen(path, "rb");
    uint8_t size[4];
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    while (fread(size, 1, 4, f) == 4) {
        struct arena arena;
        struct batch b;
        uint32_t len = get_u32le(size), dups;
        uint8_t *p = xmalloc(len + 1);
        arena_init(&arena, NULL, 256 << 10);
        if (fread(p, 1, len, f) != len ||
            batch_decode(&b, bytes_n(p, len), &(struct batch_limits){0}, &arena, &err) != EC_OK ||
            head_reserve(h, &b, &err) != EC_OK)
            fail("corpus", &err);
        head_insert(h, &b, 1700000000, &dups);
        arena_deinit(&arena);
        free(p);
    }
    fclose(f);
}

static bool match_has_a(void *ctx, struct str s)
{
    (void)ctx;
    return memchr(s.p, 'a', s.n) != NULL;
}

static void run(struct head *h, const char *name, const struct scan_leaf *leaf, int rounds)
{
    const struct scan_expr e = {.node = SCAN_LEAF, .leaf = *leaf};
    struct err err = {0};
    int64_t best = INT64_MAX;
    struct part_info info = {0};
    uint32_t hits = 0;
    for (int i = 0; i < rounds; i++) {
        struct part_reader *r;
        struct scan *s;
        struct scan_bits bits;
        hits = 0;
        int64_t t0 = cpu_ns();
        if (part_reader_open(head_part(h), NULL, &r, &err) != EC_OK ||
            scan_new(r, &e, &s, &err) != EC_OK)
            fail(name, &err);
        part_info(r, &info);
        for (uint32_t g = 0; g < info.n_groups; g++) {
            if (scan_group(s, g, &bits, &err) != EC_OK)
                fail(name, &err);
            hits += scan_bits_count(&bits);
        }
        scan_free(s);
        part_reader_close(r);
        best = MIN(best, cpu_ns() - t0);
    }
    printf("{\"bench\":\"scan\",\"condition\":\"%s\",\"spans\":%u,\"hits\":%u,\"us\":%.1f,"
           "\"ns_per_span\":%.2f,\"million_attributes_per_s\":%.0f}\n",
        name, info.n_rows, hits, (double)best / 1e3, (double)best / info.n_rows,
        info.n_rows * 1e3 / (double)best);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct head *h;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_scan FILE [ROUNDS]\n");
        return 2;
    }
    int rounds = argc > 2 ? atoi(argv[2]) : 20;
    if (head_new(NULL, &h, &err) != EC_OK)
        fail("head", &err);
    fill(h, argv[1]);
    const struct scan_lit ns = {.type = SCAN_LIT_DURATION, .i = 100000000};
    const struct scan_lit two = {.type = SCAN_LIT_INT, .i = 2};
    const struct scan_lit code = {.type = SCAN_LIT_DOUBLE, .d = 499.5};
    const struct scan_lit get = {.type = SCAN_LIT_STR, .s = STR("GET")};
    const struct scan_lit svc = {.type = SCAN_LIT_STR, .s = STR("cart")};
    const struct {
        const char *name;
        struct scan_leaf leaf;
    } cases[] = {
        {"duration > 100ms", {.col = COL_SPAN_DURATION, .op = SCAN_GT, .lits = &ns, .n_lits = 1}},
        {"kind = 2", {.col = COL_SPAN_KIND, .op = SCAN_EQ, .lits = &two, .n_lits = 1}},
        {"name ~ a", {.col = COL_SPAN_NAME, .op = SCAN_MATCH, .match = match_has_a}},
        {"span.http.request.method = GET", {.table = TABLE_SPANS,
                                               .key = STR("http.request.method"),
                                               .op = SCAN_EQ,
                                               .lits = &get,
                                               .n_lits = 1}},
        {"span.http.response.status_code > 499.5", {.table = TABLE_SPANS,
                                                       .key = STR("http.response.status_code"),
                                                       .op = SCAN_GT,
                                                       .lits = &code,
                                                       .n_lits = 1}},
        {"span.http.target ~ a", {.table = TABLE_SPANS,
                                     .key = STR("http.target"),
                                     .op = SCAN_MATCH,
                                     .match = match_has_a}},
        {"resource.service.name = cart", {.table = TABLE_RESOURCES,
                                             .key = STR("service.name"),
                                             .op = SCAN_EQ,
                                             .lits = &svc,
                                             .n_lits = 1}},
        {"event.exception.type exists",
            {.table = TABLE_EVENTS, .key = STR("exception.type"), .op = SCAN_EXISTS}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        run(h, cases[i].name, &cases[i].leaf, rounds);
    head_free(h);
    return 0;
}
