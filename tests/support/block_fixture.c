/* SPDX-License-Identifier: Apache-2.0
 * See block_fixture.h. */
#include "block_fixture.h"

#include "model/otlp_write.h"
#include "test_util.h"
#include "tmpdir.h"

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

struct block_fixture *block_fixture_new(void)
{
    struct block_fixture *f = xcalloc(1, sizeof(*f));
    f->dir = tmpdir_new();
    f->io = &io_real;
    budget_init(&f->budget, NULL, "test", 0);
    f->cache = block_cache_new(&f->budget, 64 << 20);
    return f;
}

void block_fixture_free(struct block_fixture *f)
{
    block_cache_free(f->cache);
    budget_deinit(&f->budget);
    tmpdir_free(f->dir);
    free(f);
}

static struct str random_str(struct rng *r, char *mem, uint32_t max)
{
    uint32_t n = rng_below(r, max + 1);
    for (uint32_t i = 0; i < n; i++)
        mem[i] = (char)('a' + rng_below(r, 26));
    return str_n(mem, n);
}

static void put_random_value(struct buf *b, struct rng *r, struct str key)
{
    char mem[64];
    struct value v = {.type = (enum value_type)rng_below(r, 6)};
    static const int64_t ints[] = {0, 1, -1, INT64_MIN, INT64_MAX, 200, 404, 1 << 20};
    static const double doubles[] = {0.0, -0.0, 1.5, 1e300, -1e-300, 0.1};
    switch (v.type) {
    case VALUE_STR:
        v.s = rng_below(r, 3) == 0 ? STR("GET") : random_str(r, mem, sizeof(mem));
        break;
    case VALUE_BYTES:
        for (size_t i = 0; i < 9; i++)
            mem[i] = (char)rng_next(r);
        v.s = str_n(mem, rng_below(r, 10));
        break;
    case VALUE_INT:
        v.i = rng_below(r, 4) == 0 ? (int64_t)rng_next(r) : ints[rng_below(r, ARRAY_LEN(ints))];
        break;
    case VALUE_DOUBLE:
        v.d = doubles[rng_below(r, ARRAY_LEN(doubles))];
        break;
    case VALUE_BOOL:
        v.b = rng_below(r, 2) == 0;
        break;
    default:
        v.type = VALUE_EMPTY;
        break;
    }
    pb_put_attr(b, 0, key, &v);
}

/* pb_put_attr wants the field: random values are written for field 1 and shifted by the caller. */
static void put_random_attr(struct buf *b, uint32_t field, struct rng *r, const char *prefix)
{
    char key[64];
    int n = snprintf(key, sizeof(key), "%s.k%u", prefix, rng_below(r, 12));
    struct str k = str_n(key, rng_below(r, 40) == 0 ? 0 : (size_t)n);
    if (rng_below(r, 8) == 0) { /* an array or a kvlist with one member */
        size_t kv = pb_begin(b, field);
        pb_put_bytes(b, 1, k);
        size_t value = pb_begin(b, 2);
        size_t list = pb_begin(b, rng_below(r, 2) == 0 ? 5 : 6);
        pb_end(b, list);
        pb_end(b, value);
        pb_end(b, kv);
        return;
    }
    struct buf one = BUF_INIT;
    put_random_value(&one, r, k);
    /* Field 0's tag is one byte (2), and so is every tag up to field 15. */
    one.p[0] = (uint8_t)(field << 3 | 2);
    buf_put(b, one.p, one.n);
    buf_deinit(&one);
}

static void put_random_attrs(
    struct buf *b, uint32_t field, struct rng *r, const char *prefix, uint32_t max)
{
    for (uint32_t n = rng_below(r, max + 1); n > 0; n--)
        put_random_attr(b, field, r, prefix);
}

static void put_id(struct buf *b, uint32_t field, uint64_t id)
{
    char bytes[8];
    put_u64be(bytes, id);
    pb_put_bytes(b, field, str_n(bytes, 8));
}

static void put_trace_id(struct buf *b, uint32_t field, uint64_t n)
{
    char bytes[16] = {0};
    put_u64be(bytes, n % 3 == 0 ? 0 : n * 0x9e3779b97f4a7c15ULL); /* some 64-bit ids */
    put_u64be(bytes + 8, n + 1);
    pb_put_bytes(b, field, str_n(bytes, 16));
}

static void put_event(struct buf *b, struct rng *r, uint64_t t)
{
    size_t event = pb_begin(b, 11);
    pb_put_fixed64(b, 1, rng_below(r, 10) == 0 ? 0 : t + rng_below(r, 1000));
    pb_put_bytes(b, 2, rng_below(r, 2) == 0 ? STR("exception") : STR(""));
    put_random_attrs(b, 3, r, "event", 3);
    if (rng_below(r, 4) == 0)
        pb_put_varint(b, 4, rng_below(r, 9));
    pb_end(b, event);
}

static void put_link(struct buf *b, struct rng *r)
{
    size_t link = pb_begin(b, 13);
    put_trace_id(b, 1, rng_next(r));
    put_id(b, 2, rng_next(r));
    if (rng_below(r, 3) == 0)
        pb_put_bytes(b, 3, STR("l=1"));
    put_random_attrs(b, 4, r, "link", 2);
    if (rng_below(r, 3) == 0)
        pb_put_varint(b, 5, 4);
    if (rng_below(r, 3) == 0)
        pb_put_fixed32(b, 6, 0x301);
    pb_end(b, link);
}

static void put_span(
    struct buf *b, struct rng *r, uint32_t trace_first, uint32_t n_traces, uint64_t salt)
{
    static const char *const names[] = {"GET /", "checkout", "", "SELECT"};
    uint64_t trace = trace_first + rng_below(r, n_traces),
             start = 1700000000000000000u + trace * 1000000;
    uint32_t id = 1 + rng_below(r, 40);
    size_t span = pb_begin(b, 2);
    put_trace_id(b, 1, trace);
    put_id(b, 2, salt + id);
    if (rng_below(r, 6) == 0)
        pb_put_bytes(b, 3, STR("vendor=1"));
    if (rng_below(r, 4) != 0)
        put_id(b, 4, rng_below(r, 5) == 0 ? rng_next(r) | 1 : salt + 1 + rng_below(r, 40));
    pb_put_bytes(b, 5, str_from(names[rng_below(r, 4)]));
    pb_put_varint(b, 6, rng_below(r, 7));
    start += rng_below(r, 5000000);
    pb_put_fixed64(b, 7, rng_below(r, 50) == 0 ? 0 : start);
    pb_put_fixed64(b, 8, rng_below(r, 20) == 0 ? start - 7 : start + rng_below(r, 1u << 30));
    put_random_attrs(b, 9, r, "span", 8);
    if (rng_below(r, 5) == 0)
        pb_put_varint(b, 10, 1 + rng_below(r, 100));
    for (uint32_t n = rng_below(r, 3); n > 0; n--)
        put_event(b, r, start);
    if (rng_below(r, 5) == 0)
        pb_put_varint(b, 12, 2);
    for (uint32_t n = rng_below(r, 2); n > 0; n--)
        put_link(b, r);
    if (rng_below(r, 5) == 0)
        pb_put_varint(b, 14, 3);
    if (rng_below(r, 3) == 0) {
        size_t status = pb_begin(b, 15);
        if (rng_below(r, 2) == 0)
            pb_put_bytes(b, 2, STR("boom"));
        pb_put_varint(b, 3, rng_below(r, 4));
        pb_end(b, status);
    }
    if (rng_below(r, 2) == 0)
        pb_put_fixed32(b, 16, 0x101);
    pb_end(b, span);
}

void fixture_request(struct buf *out, uint64_t seed, uint32_t n_spans)
{
    fixture_request_from(out, seed, n_spans, 0);
}

void fixture_request_from(struct buf *out, uint64_t seed, uint32_t n_spans, uint32_t trace_first)
{
    struct rng r = {seed};
    uint32_t n_traces = 1 + n_spans / 8;
    for (uint32_t left = n_spans; left > 0;) {
        uint32_t some = 1 + rng_below(&r, MIN(left, 20u));
        size_t rs = pb_begin(out, 1);
        size_t resource = pb_begin(out, 1);
        put_random_attrs(out, 1, &r, "resource", 3);
        if (rng_below(&r, 4) == 0)
            pb_put_varint(out, 2, 9);
        pb_end(out, resource);
        size_t ss = pb_begin(out, 2);
        size_t scope = pb_begin(out, 1);
        pb_put_bytes(out, 1, rng_below(&r, 2) == 0 ? STR("otel") : STR(""));
        if (rng_below(&r, 2) == 0)
            pb_put_bytes(out, 2, STR("1.2.3"));
        put_random_attrs(out, 3, &r, "scope", 1);
        pb_end(out, scope);
        for (uint32_t i = 0; i < some; i++)
            put_span(out, &r, trace_first, n_traces, seed << 32);
        if (rng_below(&r, 3) == 0)
            pb_put_bytes(out, 3, STR("https://schema/1"));
        pb_end(out, ss);
        if (rng_below(&r, 3) == 0)
            pb_put_bytes(out, 3, STR("https://schema/2"));
        pb_end(out, rs);
        left -= some;
    }
}

struct head *head_of_request(struct bytes request, uint32_t arrival_s)
{
    struct head *h;
    struct arena a;
    struct batch b;
    struct err err = {0};
    uint32_t dups;
    const struct batch_limits limits = {.span_bytes_max = 64 << 20};
    assert_int_equal(head_new(NULL, &h, &err), EC_OK);
    arena_init(&a, NULL, 0);
    if (batch_decode(&b, request, &limits, &a, &err) != EC_OK)
        fail_msg("%s", err_msg(&err));
    assert_int_equal(b.n_rejected, 0);
    assert_int_equal(head_reserve(h, &b, &err), EC_OK);
    head_insert(h, &b, arrival_s, &dups);
    arena_deinit(&a);
    return h;
}

struct head *fixture_head(uint64_t seed, uint32_t n_spans)
{
    struct buf request = BUF_INIT;
    fixture_request(&request, seed, n_spans);
    struct head *h = head_of_request(buf_bytes(&request), 1700000000u + (uint32_t)seed);
    buf_deinit(&request);
    return h;
}

enum ec fixture_try_write(struct block_fixture *f, struct part *const *parts, size_t n,
    struct budget *budget, struct err *err)
{
    struct part_reader *readers[64];
    struct block_facts facts;
    assert_true(n <= ARRAY_LEN(readers));
    snprintf(f->path, sizeof(f->path), "%s/%u.block", f->dir, f->n_files);
    struct block_write_options opt = {.io = f->io,
        .path = f->path,
        .tenant = STR("tenant"),
        .budget = budget,
        .ret_copied = &f->copied};
    put_u32be(opt.uuid, ++f->n_files);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(part_reader_open(parts[i], NULL, &readers[i], NULL), EC_OK);
    enum ec ec = block_write(&opt, readers, n, &facts, &f->dups, err);
    for (size_t i = 0; i < n; i++)
        part_reader_close(readers[i]);
    if (ec == EC_OK) {
        f->facts = facts;
        f->facts.inputs = NULL;
        f->facts.known = NULL; /* so that opened blocks ask their roots */
        f->facts.n_inputs = 0;
        block_facts_deinit(&facts);
    }
    return ec;
}

static void on_corrupt(void *ctx, const uint8_t uuid[16], const struct err *err)
{
    struct block_fixture *f = ctx;
    (void)uuid;
    (void)err;
    f->corrupt++;
}

struct part *fixture_open(struct block_fixture *f, const char *path)
{
    struct part *p;
    struct block_open_options opt = {.io = f->io,
        .path = path,
        .tenant = STR("tenant"),
        .facts = &f->facts,
        .cache = f->cache,
        .on_corrupt = on_corrupt,
        .on_corrupt_ctx = f};
    assert_int_equal(block_open(&opt, &p, NULL), EC_OK);
    return p;
}

struct part *fixture_write(struct block_fixture *f, struct part *const *parts, size_t n)
{
    struct err err = {0};
    struct budget budget;
    budget_init(&budget, NULL, "write", 0);
    if (fixture_try_write(f, parts, n, &budget, &err) != EC_OK)
        fail_msg("%s", err_msg(&err));
    budget_deinit(&budget);
    return fixture_open(f, f->path);
}

static void print_problem(void *ctx, const char *text)
{
    (void)ctx;
    fprintf(stderr, "verify: %s\n", text);
}

void fixture_verify(const char *path)
{
    uint64_t n = 1;
    struct err err = {0};
    if (block_verify(&io_real, path, print_problem, NULL, &n, &err) != EC_OK)
        fail_msg("%s", err_msg(&err));
    assert_int_equal(n, 0);
}
