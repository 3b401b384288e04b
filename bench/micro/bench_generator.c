/* SPDX-License-Identifier: Apache-2.0
 * The metrics generator over a corpus file: CPU a span of both processors with their default
 * settings, what span_name_sanitization adds (to the corpus's names, and for names that are all
 * new), and the memory of 20,000 series. One JSON line.
 *
 *     bench_generator FILE [ROUNDS]
 *
 * FILE is u32le length + ExportTraceServiceRequest, repeated. Requests are decoded once, only
 * generator_push is measured; the best round counts. Then spans with ever new names are pushed
 * until the registry holds 20,000 series, which are collected once. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "generator/generator.h"
#include "model/otlp_write.h"
#include "src/generator/drain.h"
#include "src/generator/span_names.h"

#define SERIES 20000u

static uint8_t *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    long n;
    if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0 ||
        fseek(f, 0, SEEK_SET) != 0) {
        perror(path);
        exit(1);
    }
    uint8_t *p = xmalloc((size_t)n + 1);
    *ret_n = fread(p, 1, (size_t)n, f);
    fclose(f);
    return p;
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static enum generator_span_names span_names;

static enum ec settings(void *ctx, struct str tenant, struct arena *arena,
    struct generator_settings *ret, struct err *err)
{
    static const double spans[] = {0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512,
        1.024, 2.048, 4.096, 8.192, 16.384};
    static const double edges[] = {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8};
    static const struct str peers[] = {{"peer.service", 12}, {"db.name", 7}, {"db.system", 9}};
    static const struct str databases[] = {{"db.namespace", 12}, {"db.name", 7}, {"db.system", 9}};
    (void)tenant;
    (void)arena;
    (void)err;
    *ret = (struct generator_settings){
        .processors = *(const uint32_t *)ctx,
        .span_metrics = {.bounds = {spans, ARRAY_LEN(spans)},
            .service = true,
            .span_name = true,
            .span_kind = true,
            .status_code = true,
            .instance_label = true},
        .service_graphs = {.wait_ns = 10000000000,
            .max_items = 10000,
            .bounds = {edges, ARRAY_LEN(edges)},
            .peer_attributes = {peers, 3},
            .database_attributes = {databases, 3}},
        .histograms = GENERATOR_CLASSIC,
        .native_factor = 1.1,
        .native_buckets_max = 100,
        .label_name_max = 1024,
        .label_value_max = 2048,
        .slack_ns = INT64_MAX / 4, /* the corpus is of some other day */
        .collection_interval_ns = 3600LL * 1000000000,
        .stale_ns = 3600LL * 1000000000,
        .span_names = span_names,
    };
    return EC_OK;
}

struct emitted {
    uint64_t entries, bytes;
};
static struct emitted emitted;

static bool emit(void *ctx, struct str tenant, const struct generator_entry *e)
{
    (void)ctx;
    (void)tenant;
    if (e != NULL) {
        emitted.entries++;
        emitted.bytes += e->series.n;
    }
    return true;
}

static struct generator *make(uint32_t *processors, struct budget *budget)
{
    const struct generator_options o = {
        .settings = settings, .emit = emit, .ctx = processors, .budget = budget, .instance = "h"};
    struct generator *g;
    if (generator_new(&o, &g, NULL) != EC_OK)
        exit(1);
    return g;
}

struct corpus {
    VEC(struct batch) batches;
    struct arena arena;
    uint64_t spans;
};

static void decode(struct corpus *c, const uint8_t *p, size_t n)
{
    const struct batch_limits limits = {.attr_bytes_max = 2048};
    arena_init(&c->arena, NULL, 1 << 20);
    for (size_t at = 0; at + 4 <= n;) {
        uint32_t len = get_u32le(p + at);
        struct batch b;
        struct err err = {0};
        if (len > n - at - 4 ||
            batch_decode(&b, bytes_n(p + at + 4, len), &limits, &c->arena, &err) != EC_OK) {
            fprintf(stderr, "bench_generator: byte %zu: %s\n", at, err.msg);
            exit(1);
        }
        at += 4 + len;
        c->spans += b.n_spans;
        VEC_PUSH(&c->batches, b);
    }
}

static double ns_per_span(const struct corpus *c, uint32_t processors, int rounds)
{
    struct generator *g = make(&processors, NULL);
    int64_t best = INT64_MAX;
    for (int i = 0; i < rounds; i++) {
        int64_t start = cpu_ns();
        for (size_t k = 0; k < c->batches.n; k++)
            generator_push(g, STR("t"), &c->batches.p[k], false);
        best = MIN(best, cpu_ns() - start);
        generator_tick(g);
    }
    generator_free(g);
    return (double)best / (double)c->spans;
}

/* Names of which none comes twice, and which make ever new patterns: the worst there is. */
static double ns_per_new_name(void)
{
    struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
    const unsigned n = 200000;
    uint64_t seed = 1;
    int64_t start = cpu_ns();
    for (unsigned i = 0; i < n; i++) {
        char name[80];
        uint32_t tokens;
        seed = hash_mix(seed + i);
        for (unsigned k = 0; k < 60; k++)
            name[k] = k % 4 == 3 ? '/' : (char)('g' + (seed >> k & 15));
        drain_train(d, str_n(name, 60), i, &tokens);
    }
    int64_t ns = cpu_ns() - start;
    drain_free(d);
    return (double)ns / n;
}

/* One span of a new name: 19 series of span-metrics. */
static void push_name(struct generator *g, unsigned n)
{
    struct buf b = BUF_INIT;
    struct arena a;
    struct batch batch;
    char name[40];
    snprintf(name, sizeof(name), "GET /api/v1/things/%06u", n);
    size_t rs = pb_begin(&b, 1), res = pb_begin(&b, 1);
    const struct value service = {.type = VALUE_STR, .s = STR("checkout-service")};
    pb_put_attr(&b, 1, STR("service.name"), &service);
    pb_end(&b, res);
    size_t ss = pb_begin(&b, 2), span = pb_begin(&b, 2);
    pb_put_bytes(&b, 1, STR("0123456789abcdef"));
    pb_put_bytes(&b, 2, STR("01234567"));
    pb_put_bytes(&b, 5, str_from(name));
    pb_put_varint(&b, 6, 2);
    pb_put_fixed64(&b, 7, 1);
    pb_put_fixed64(&b, 8, 100000000);
    pb_end(&b, span);
    pb_end(&b, ss);
    pb_end(&b, rs);
    arena_init(&a, NULL, 4096);
    const struct batch_limits limits = {0};
    if (batch_decode(&batch, buf_bytes(&b), &limits, &a, NULL) != EC_OK)
        exit(1);
    generator_push(g, STR("t"), &batch, false);
    arena_deinit(&a);
    buf_deinit(&b);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_generator FILE [ROUNDS]\n");
        return 2;
    }
    size_t n;
    uint8_t *p = read_file(argv[1], &n);
    int rounds = argc > 2 ? atoi(argv[2]) : 20;
    struct corpus c = {0};
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    decode(&c, p, n);
    double both = ns_per_span(&c, GENERATOR_SPAN_METRICS | GENERATOR_SERVICE_GRAPHS, rounds);
    double spans = ns_per_span(&c, GENERATOR_SPAN_METRICS, rounds);
    double graphs = ns_per_span(&c, GENERATOR_SERVICE_GRAPHS, rounds);
    span_names = SPAN_NAMES_PATTERNS;
    double patterns = ns_per_span(&c, GENERATOR_SPAN_METRICS, rounds) - spans;
    span_names = SPAN_NAMES_AS_THEY_ARE;
    double new_name = ns_per_new_name();
    struct budget budget;
    budget_init(&budget, NULL, "generator", 0);
    size_t before = mallinfo2().uordblks;
    uint32_t processors = GENERATOR_SPAN_METRICS;
    struct generator *g = make(&processors, &budget);
    for (unsigned i = 0; i < SERIES / 19; i++)
        push_name(g, i);
    size_t held = mallinfo2().uordblks - before;
    emitted = (struct emitted){0};
    int64_t start = cpu_ns();
    generator_collect(g);
    int64_t collect = cpu_ns() - start;
    printf(
        "{\"bench\":\"generator\",\"spans\":%llu,\"ns_per_span\":%.1f,\"ns_span_metrics\":%.1f,"
        "\"ns_service_graphs\":%.1f,\"ns_span_names\":%.1f,\"ns_new_span_name\":%.1f,\"series\":%u,\"mib\":%.1f,\"mib_charged\":%.1f,"
        "\"collect_ms\":%.1f,\"entries\":%llu,\"entry_bytes\":%llu}\n",
        (unsigned long long)c.spans, both, spans, graphs, patterns, new_name, SERIES,
        (double)held / 1048576, (double)budget_used(&budget) / 1048576, (double)collect / 1e6,
        (unsigned long long)emitted.entries, (unsigned long long)emitted.bytes);
    generator_free(g);
    VEC_FREE(&c.batches);
    arena_deinit(&c.arena);
    free(p);
    return 0;
}
