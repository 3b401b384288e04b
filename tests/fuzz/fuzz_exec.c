/* SPDX-License-Identifier: Apache-2.0
 * Queries over small data: the planned answer over several parts (prefilter, bitmaps, columns) is
 * the plain one over a single head (every span of every trace evaluated).
 *
 * Input: six bytes that choose data and request, then the text of a query. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "block_fixture.h"
#include "otlp_random.h"
#include "query/lower.h"
#include "query/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define PARTS_MAX 4u
#define SPANS_MAX 40u
#define T0        UINT64_C(1700000000000000000)
#define MS        UINT64_C(1000000)

struct setup {
    struct part *parts[PARTS_MAX], *whole; /* newest first */
    uint32_t n_parts;
    char paths[PARTS_MAX][sizeof(((struct block_fixture *)NULL)->path)]; /* of blocks */
};

struct outcome {
    struct budget budget;
    struct arena arena;
    enum ec search_ec, metrics_ec;
    struct search_result search;
    struct metrics_result metrics;
};

/* ---- data ---- */

static uint64_t trace_of(uint64_t id, uint32_t n_traces)
{
    return 1 + hash_mix(id) % n_traces;
}

/* Span `id`; its parent is an earlier one of the same trace, or none, or one that never came. */
static void put_span(struct buf *b, uint64_t seed, uint64_t id, uint32_t n_traces)
{
    struct rng r = {seed * 1000 + id};
    char bytes[16] = {0};
    uint64_t trace = trace_of(id, n_traces), parent = 0;
    for (uint64_t k = 1; k < id; k++)
        if (trace_of(k, n_traces) == trace && rng_below(&r, 2) == 0)
            parent = k;
    if (rng_below(&r, 12) == 0)
        parent = 999;
    size_t span = pb_begin(b, 2);
    put_u64be(bytes + 8, trace);
    pb_put_bytes(b, 1, str_n(bytes, 16));
    put_u64be(bytes, rng_below(&r, 16) == 0 ? 1 + id / 2 : id);
    pb_put_bytes(b, 2, str_n(bytes, 8));
    put_u64be(bytes, parent);
    if (parent != 0)
        pb_put_bytes(b, 4, str_n(bytes, 8));
    pb_put_bytes(b, 5, str_from(rnd_strings[rng_below(&r, 8)]));
    pb_put_varint(b, 6, rng_below(&r, 6));
    uint64_t start = T0 + trace * 5000 * MS + rng_below(&r, 4000) * MS;
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start + rng_below(&r, 2000) * MS);
    rnd_attrs(b, &r, 9, 6);
    for (uint32_t k = rng_below(&r, 3); k > 0; k--) {
        size_t event = pb_begin(b, 11);
        pb_put_fixed64(b, 1, start + rng_below(&r, 100) * MS);
        pb_put_bytes(b, 2, str_from(rnd_strings[rng_below(&r, 8)]));
        rnd_attrs(b, &r, 3, 3);
        pb_end(b, event);
    }
    for (uint32_t k = rng_below(&r, 2); k > 0; k--) {
        size_t link = pb_begin(b, 13);
        pb_put_bytes(b, 1, STR("0123456789abcdef"));
        pb_put_bytes(b, 2, STR("01234567"));
        rnd_attrs(b, &r, 4, 3);
        pb_end(b, link);
    }
    size_t status = pb_begin(b, 15);
    pb_put_varint(b, 3, rng_below(&r, 3));
    pb_end(b, status);
    pb_end(b, span);
}

/* Spans [from, to), and with `again` some that came before. */
static void put_request(struct buf *b, uint64_t seed, uint64_t from, uint64_t to, bool again)
{
    struct rng r = {seed ^ from};
    size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
    struct value name = {.type = VALUE_STR, .s = str_from(rnd_strings[rng_below(&r, 8)])};
    if (rng_below(&r, 4) != 0)
        pb_put_attr(b, 1, STR("service.name"), &name);
    rnd_attrs(b, &r, 1, 4);
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2), scope = pb_begin(b, 1);
    pb_put_bytes(b, 1, str_from(rnd_strings[rng_below(&r, 8)]));
    rnd_attrs(b, &r, 3, 3);
    pb_end(b, scope);
    for (uint64_t id = again && from > 2 ? from - 2 : from; id < to; id++)
        put_span(b, seed, id, 4);
    pb_end(b, ss);
    pb_end(b, rs);
}

static struct head *head_of(
    uint64_t seed, const uint32_t *cuts, uint32_t from, uint32_t to, bool again)
{
    struct buf b = BUF_INIT;
    for (uint32_t p = from; p < to; p++)
        put_request(&b, seed, cuts[p], cuts[p + 1], again);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    return h;
}

static void setup_make(struct setup *s, struct block_fixture *f, const uint8_t *in)
{
    uint32_t cuts[PARTS_MAX + 1] = {1}, n_spans = 4 + in[1] % (SPANS_MAX - 4);
    bool again = (in[2] & 16) != 0;
    s->n_parts = 1 + (in[2] >> 2) % PARTS_MAX;
    for (uint32_t p = 1; p <= s->n_parts; p++)
        cuts[p] = 1 + n_spans * p / s->n_parts;
    s->whole = head_part(head_of(in[0], cuts, 0, s->n_parts, again));
    for (uint32_t p = 0; p < s->n_parts; p++) {
        struct part *part = head_part(head_of(in[0], cuts, p, p + 1, again));
        if (p < (in[2] & 3u)) { /* the oldest are blocks */
            struct part *block = fixture_write(f, &part, 1);
            memcpy(s->paths[p], f->path, sizeof(f->path));
            part_unref(part);
            part = block;
        }
        s->parts[s->n_parts - 1 - p] = part;
    }
}

static void setup_free(struct setup *s)
{
    for (uint32_t p = 0; p < s->n_parts; p++)
        part_unref(s->parts[p]);
    for (uint32_t p = 0; p < PARTS_MAX; p++)
        if (s->paths[p][0] != '\0')
            (void)unlink(s->paths[p]);
    part_unref(s->whole);
}

/* ---- asking ---- */

static void ask(
    struct outcome *o, struct part *const *parts, size_t n, const uint8_t *in, struct str text)
{
    struct tql_query *q;
    struct err err;
    budget_init(&o->budget, NULL, "fuzz", 256u << 20);
    arena_init(&o->arena, &o->budget, 0);
    o->search_ec = o->metrics_ec = EC_INVALID;
    if (tql_compile(text, &o->arena, &q, NULL, &err) != EC_OK)
        return;
    struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &o->arena, .budget = &o->budget};
    struct search_request search = {.q = q, .limit = 1 + in[5] % 8, .spss = 1 + in[5] / 8 % 8};
    if ((in[3] & 1) != 0) {
        search.start_ns = T0 + in[3] / 2 * 250 * MS;
        search.end_ns = search.start_ns + in[4] * 50 * MS;
    }
    o->search_ec = query_search(&ctx, &search, &o->search, &err);
    if (q->metric == NULL)
        return;
    struct metrics_request metrics = {
        .q = q, .start_ns = T0 + in[3] * 100 * MS, .step_ns = 500 * MS};
    metrics.end_ns = metrics.start_ns + (1 + in[4]) * 100 * MS;
    metrics.instant = (in[2] & 32) != 0;
    o->metrics_ec = query_metrics(&ctx, &metrics, &o->metrics, &err);
}

static void forget(struct outcome *o)
{
    arena_deinit(&o->arena);
    budget_deinit(&o->budget);
}

/* ---- comparing ---- */

static bool near(double a, double b)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static bool same_value(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == VALUE_DOUBLE)
        return near(a->d, b->d);
    if (a->type == VALUE_BOOL)
        return a->b == b->b;
    if (a->type == VALUE_INT)
        return a->i == b->i;
    return a->type == VALUE_EMPTY || str_eq(a->s, b->s);
}

static void same_attrs(
    const struct result_attr *a, uint32_t n, const struct result_attr *b, uint32_t m)
{
    ASSERT(n == m);
    for (uint32_t i = 0; i < n; i++) {
        ASSERT(str_eq(a[i].key, b[i].key));
        ASSERT(same_value(&a[i].value, &b[i].value));
    }
}

static void same_set(const struct result_spanset *a, const struct result_spanset *b)
{
    ASSERT(a->matched == b->matched);
    ASSERT(a->n_spans == b->n_spans);
    same_attrs(a->attrs, a->n_attrs, b->attrs, b->n_attrs);
    for (uint32_t i = 0; i < a->n_spans; i++) {
        const struct result_span *x = &a->spans[i], *y = &b->spans[i];
        ASSERT(x->id == y->id);
        ASSERT(x->has_name == y->has_name);
        ASSERT(x->start_ns == y->start_ns);
        ASSERT(x->duration_ns == y->duration_ns);
        ASSERT(!x->has_name || str_eq(x->name, y->name));
        same_attrs(x->attrs, x->n_attrs, y->attrs, y->n_attrs);
    }
}

static void same_search(const struct search_result *a, const struct search_result *b)
{
    ASSERT(a->n == b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct result_trace *x = &a->traces[i], *y = &b->traces[i];
        ASSERT(trace_id_eq(&x->id, &y->id));
        ASSERT(x->start_ns == y->start_ns);
        ASSERT(x->duration_ns == y->duration_ns);
        ASSERT(str_eq(x->root_name, y->root_name));
        ASSERT(str_eq(x->root_service, y->root_service));
        ASSERT(x->n_services == y->n_services);
        for (uint32_t k = 0; k < x->n_services; k++) {
            ASSERT(str_eq(x->services[k].name, y->services[k].name));
            ASSERT(x->services[k].spans == y->services[k].spans);
            ASSERT(x->services[k].errors == y->services[k].errors);
        }
        ASSERT(x->n_sets == y->n_sets);
        for (uint32_t k = 0; k < x->n_sets; k++)
            same_set(&x->sets[k], &y->sets[k]);
    }
}

static void same_metrics(const struct metrics_result *a, const struct metrics_result *b)
{
    ASSERT(a->n == b->n);
    ASSERT(a->n_buckets == b->n_buckets);
    for (size_t i = 0; i < a->n; i++) {
        const struct metrics_series *x = &a->series[i], *y = &b->series[i];
        same_attrs(x->labels, x->n_labels, y->labels, y->n_labels);
        for (uint32_t k = 0; k < a->n_buckets; k++)
            ASSERT(near(x->values[k], y->values[k]));
    }
}

/* Sums of numbers that cancel, or overflow, depend on their order: answers that could be told apart
 * by that only are not compared. */
static bool sums(struct str text)
{
    return str_has(text, STR("avg")) || str_has(text, STR("sum"));
}

static struct block_fixture *fixture;

static void fixture_end(void)
{
    block_fixture_free(fixture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct outcome planned = {0}, plain = {0};
    struct setup s = {0};
    if (n < 6 || n > 4096)
        return 0;
    struct str text = str_n((const char *)data + 6, n - 6);
    struct arena a;
    struct tql_query *q;
    arena_init(&a, NULL, 0);
    enum ec ec = tql_compile(text, &a, &q, NULL, NULL);
    arena_deinit(&a);
    if (ec != EC_OK)
        return 0;
    if (fixture == NULL) {
        fixture = block_fixture_new();
        (void)atexit(fixture_end);
    }
    setup_make(&s, fixture, data);
    ask(&planned, s.parts, s.n_parts, data, text);
    lower_nothing = true;
    ask(&plain, &s.whole, 1, data, text);
    lower_nothing = false;
    /* What rules a span out may spare it an error. */
    ASSERT(plain.search_ec != EC_OK || planned.search_ec == EC_OK);
    if (plain.search_ec == EC_OK && !sums(text))
        same_search(&planned.search, &plain.search);
    ASSERT(plain.metrics_ec != EC_OK || planned.metrics_ec == EC_OK);
    if (plain.metrics_ec == EC_OK && !sums(text))
        same_metrics(&planned.metrics, &plain.metrics);
    forget(&planned);
    forget(&plain);
    setup_free(&s);
    return 0;
}
