/* SPDX-License-Identifier: Apache-2.0
 * Which traces a search returns and in which order, against a plain sort of everything; and how a
 * query ends that may not go on. */
#include "block_fixture.h"
#include "exec_sample.h"
#include "query/exec.h"
#include "query/exec/candidates.h"
#include "query/lower.h"

#define N_TRACES 300u
#define N_PARTS  4u

struct model_trace {
    struct trace_id id;
    uint64_t start_ns, end_ns;
    uint32_t matching; /* spans named "m" */
};

struct corpus {
    struct block_fixture *f;
    struct head *heads[N_PARTS];
    struct part *parts[N_PARTS]; /* two blocks, then two heads */
    struct model_trace traces[N_TRACES];
};

struct run { /* one query's surroundings */
    struct budget budget;
    struct arena arena;
    struct query_ctx ctx;
    struct err err;
};

static void run_begin(struct run *r, struct part *const *parts, size_t n, uint64_t cap)
{
    memset(r, 0, sizeof(*r));
    budget_init(&r->budget, NULL, "query", cap);
    arena_init(&r->arena, &r->budget, 0);
    r->ctx =
        (struct query_ctx){.parts = parts, .n_parts = n, .arena = &r->arena, .budget = &r->budget};
}

static void run_end(struct run *r)
{
    arena_deinit(&r->arena);
    assert_int_equal(budget_used(&r->budget), 0);
    budget_deinit(&r->budget);
}

/* Compiles into an arena of its own, so that the query's budget is the query's. */
static const struct tql_query *compile(struct arena *a, const char *text)
{
    struct tql_query *q;
    assert_ok(tql_compile(str_from(text), a, &q, NULL, err));
    return q;
}

/* ---- random traces ---- */

static void put_span(
    struct buf *b, const struct trace_id *id, uint64_t span, uint64_t start, uint64_t end, bool m)
{
    char bytes[8];
    size_t s = pb_begin(b, 2);
    pb_put_bytes(b, 1, str_n((const char *)id->b, 16));
    put_u64be(bytes, span);
    pb_put_bytes(b, 2, str_n(bytes, 8));
    pb_put_bytes(b, 5, m ? STR("m") : STR("other"));
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, end);
    pb_end(b, s);
}

/* Starts repeat, so that ties are common. */
static void corpus_trace(struct corpus *c, struct rng *r, uint32_t t, bool split, struct buf *raw)
{
    struct model_trace *m = &c->traces[t];
    *m = (struct model_trace){.start_ns = UINT64_MAX};
    put_u64be(m->id.b, rng_next(r));
    put_u64be(m->id.b + 8, t + 1);
    uint32_t part = rng_below(r, N_PARTS);
    for (uint32_t n = 1 + rng_below(r, 6); n > 0; n--) {
        uint64_t start = SAMPLE_T0 + rng_below(r, 40) * 1000000000ull;
        uint64_t end = start + rng_below(r, 5) * 1000000000ull;
        bool match = rng_below(r, 3) == 0;
        put_span(&raw[split ? rng_below(r, N_PARTS) : part], &m->id, n, start, end, match);
        m->start_ns = MIN(m->start_ns, start);
        m->end_ns = MAX(m->end_ns, end);
        m->matching += match;
    }
}

static void corpus_begin(struct corpus *c, uint64_t seed, bool split)
{
    struct rng r = {seed};
    struct buf spans[N_PARTS];
    c->f = block_fixture_new();
    for (unsigned p = 0; p < N_PARTS; p++)
        buf_init(&spans[p], NULL);
    for (uint32_t t = 0; t < N_TRACES; t++)
        corpus_trace(c, &r, t, split, spans);
    for (unsigned p = 0; p < N_PARTS; p++) {
        struct request q;
        request_begin(&q);
        size_t rs = pb_begin(&q.raw, 1);
        size_t ss = pb_begin(&q.raw, 2);
        buf_put(&q.raw, spans[p].p, spans[p].n);
        pb_end(&q.raw, ss);
        pb_end(&q.raw, rs);
        request_decode(&q);
        assert_ok(head_new(NULL, &c->heads[p], err));
        assert_int_equal(request_insert(c->heads[p], &q, 1700000100), 0);
        request_end(&q);
        buf_deinit(&spans[p]);
        c->parts[p] = p < 2 ? fixture_write(c->f, (struct part *[]){head_part(c->heads[p])}, 1)
                            : part_ref(head_part(c->heads[p]));
    }
}

static void corpus_end(struct corpus *c)
{
    for (unsigned p = 0; p < N_PARTS; p++) {
        part_unref(c->parts[p]);
        head_free(c->heads[p]);
    }
    block_fixture_free(c->f);
}

static int cmp_model(const void *a, const void *b)
{
    const struct model_trace *x = a, *y = b;
    if (x->start_ns != y->start_ns)
        return x->start_ns > y->start_ns ? -1 : 1;
    return trace_id_cmp(&x->id, &y->id);
}

/* Everything about the answer of `{ name = "m" }`; c->traces are sorted. */
static void check_newest(struct corpus *c, const struct search_request *req)
{
    struct run r;
    struct search_result got;
    size_t n = 0;
    run_begin(&r, c->parts, N_PARTS, 0);
    assert_ok(query_search(&r.ctx, req, &got, err));
    for (uint32_t t = 0; t < N_TRACES && n < req->limit; t++) {
        const struct model_trace *m = &c->traces[t];
        bool ranged = req->start_ns != 0 || req->end_ns != 0;
        if (m->matching == 0 ||
            (ranged && (m->start_ns > req->end_ns || m->end_ns < req->start_ns)))
            continue;
        assert_true(n < got.n);
        const struct result_trace *x = &got.traces[n++];
        assert_true(trace_id_eq(&x->id, &m->id));
        assert_true(x->start_ns == m->start_ns);
        assert_true(x->duration_ns == m->end_ns - m->start_ns);
        assert_int_equal(x->n_sets, 1);
        assert_int_equal(x->sets[0].matched, m->matching);
        assert_int_equal(x->sets[0].n_spans, MIN(m->matching, req->spss));
    }
    assert_int_equal(got.n, n);
    assert_false(got.stats.partial);
    assert_int_equal(got.stats.total_blocks, 2);
    run_end(&r);
}

static void test_newest(void **state)
{
    (void)state;
    static const uint32_t limits[] = {1, 2, 7, 32, 33, N_TRACES, 10000};
    struct arena a;
    arena_init(&a, NULL, 0);
    const struct tql_query *q = compile(&a, "{ name = \"m\" }");
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct corpus c;
        corpus_begin(&c, seed, true);
        qsort(c.traces, N_TRACES, sizeof(c.traces[0]), cmp_model);
        for (size_t i = 0; i < ARRAY_LEN(limits); i++)
            check_newest(&c, &(struct search_request){.q = q, .limit = limits[i], .spss = 2});
        corpus_end(&c);
    }
    arena_deinit(&a);
}

/* Split: the matching spans of a trace may lie in parts that are outside the range. */
static void range_check(bool split)
{
    struct rng r = {77};
    struct corpus c;
    struct arena a;
    arena_init(&a, NULL, 0);
    const struct tql_query *q = compile(&a, "{ name = \"m\" }");
    corpus_begin(&c, 5, split);
    qsort(c.traces, N_TRACES, sizeof(c.traces[0]), cmp_model);
    for (unsigned i = 0; i < 100; i++) {
        /* Whole seconds: both ends fall on starts and ends of spans. */
        uint64_t start = SAMPLE_T0 - 2000000000u + rng_below(&r, 48) * 1000000000ull;
        uint64_t end = start + rng_below(&r, 10) * 1000000000ull;
        check_newest(&c, &(struct search_request){.q = q,
                             .start_ns = start,
                             .end_ns = end,
                             .limit = 1 + rng_below(&r, 40),
                             .spss = 3});
    }
    corpus_end(&c);
    arena_deinit(&a);
}

static void test_range(void **state)
{
    (void)state;
    range_check(false);
}

static void test_range__of_a_trace_in_several_parts(void **state)
{
    (void)state;
    range_check(true);
}

/* Spans last 0 to 4 s. What an aggregate asks for before the second pass takes nothing away. */
static void test_aggregates__find_what_evaluation_alone_finds(void **state)
{
    (void)state;
    static const char *const texts[] = {"{ } | avg(duration) > 2s", "{ } | max(duration) >= 4s",
        "{ } | min(duration) > 0", "{ name = \"m\" } | by(name) | avg(duration) > 3000000000.5",
        "{ } | by(name) | coalesce() | 3s <= avg(duration)", "{ } | avg(duration) < 1s",
        "{ } | max(duration) >= 4s | { name = \"m\" }", "{ } | max(duration) > 4s"};
    struct corpus c;
    struct arena a;
    corpus_begin(&c, 9, true);
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct search_request req = {.q = compile(&a, texts[i]), .limit = 10000, .spss = 100};
        struct search_result got[2];
        struct run r[2];
        for (unsigned k = 0; k < 2; k++) {
            lower_nothing = k == 1;
            run_begin(&r[k], c.parts, N_PARTS, 0);
            assert_ok(query_search(&r[k].ctx, &req, &got[k], err));
        }
        lower_nothing = false;
        assert_int_equal(got[0].n, got[1].n);
        assert_true((got[0].n > 0) == (i + 1 < ARRAY_LEN(texts)));
        for (size_t t = 0; t < got[0].n; t++) {
            const struct result_trace *x = &got[0].traces[t], *y = &got[1].traces[t];
            assert_true(trace_id_eq(&x->id, &y->id));
            assert_int_equal(x->n_sets, y->n_sets);
            assert_int_equal(x->sets[0].matched, y->sets[0].matched);
        }
        run_end(&r[0]);
        run_end(&r[1]);
    }
    arena_deinit(&a);
    corpus_end(&c);
}

static void test_never(void **state)
{
    (void)state;
    struct arena a;
    struct run r;
    struct search_result got;
    arena_init(&a, NULL, 0);
    struct search_request req = {.q = compile(&a, "{ false }"), .limit = 5, .spss = 3};
    run_begin(&r, NULL, 0, 0);
    assert_ok(query_search(&r.ctx, &req, &got, err));
    assert_int_equal(got.n, 0);
    req.q = compile(&a, "{ }"); /* no parts at all */
    assert_ok(query_search(&r.ctx, &req, &got, err));
    assert_int_equal(got.n, 0);
    run_end(&r);
    arena_deinit(&a);
}

/* ---- queries that may not go on ---- */

enum {
    ASK_SEARCH,
    ASK_GROUPS,
    ASK_ID,
    ASK_LEGACY,
    ASK_TRACE,
    ASK_TAGS,
    ASK_VALUES,
    ASK_NESTED,
    ASKS
};

/* Every kind of query over the context. */
static enum ec ask(struct run *r, unsigned which, struct arena *a, bool *ret_partial)
{
    struct search_request search = {.limit = 20, .spss = 3};
    struct search_result found = {0};
    struct search_tag tag = {STR("user"), STR("ann")};
    struct trace_result trace = {0};
    struct tags_request tags = {.scopes = 31};
    struct tags_result names = {0};
    struct tql_attr attr = {.scope = TQL_SCOPE_SPAN, .name = STR("user")};
    struct values_request values = {.attr = &attr};
    struct values_result list = {0};
    enum ec ec;
    switch (which) {
    case ASK_TRACE:
        ec = query_trace(&r->ctx,
            &(struct trace_id){"\xa1\xa1\xa1\xa1\xa1\xa1\xa1\xa1"
                               "\xa1\xa1\xa1\xa1\xa1\xa1\xa1\xa1"},
            0, &trace, &r->err);
        *ret_partial = trace.stats.partial;
        return ec;
    case ASK_TAGS:
        ec = query_tags(&r->ctx, &tags, &names, &r->err);
        *ret_partial = names.stats.partial;
        return ec;
    case ASK_NESTED:
        attr.intrinsic = TQL_I_NESTED_SET_LEFT;
        /* fall through */
    case ASK_VALUES:
        ec = query_values(&r->ctx, &values, &list, &r->err);
        *ret_partial = list.stats.partial;
        return ec;
    case ASK_LEGACY:
        search.tags = &tag;
        search.n_tags = 1;
        break;
    default:
        search.q = compile(a, which == ASK_SEARCH ? "{ name = \"auth\" } >> { } || { }"
                              : which == ASK_GROUPS
                                  ? "{ } | by(span.user) | count() > 0"
                                  : "{ trace:id = \"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\" }");
    }
    ec = query_search(&r->ctx, &search, &found, &r->err);
    *ret_partial = found.stats.partial;
    return ec;
}

/* With every cap the query answers or says EC_LIMIT, and holds nothing afterwards. */
static void test_budget(void **state)
{
    (void)state;
    struct head *h = sample_head(SAMPLE_ALL);
    struct block_fixture *f = block_fixture_new();
    struct part *parts[] = {
        part_ref(head_part(h)), fixture_write(f, (struct part *[]){head_part(h)}, 1)};
    for (unsigned which = 0; which < ASKS; which++) {
        unsigned refused = 0, answered = 0;
        for (uint64_t cap = 512; cap < 4u << 20; cap += cap / 4) {
            struct arena a;
            struct run r;
            bool partial;
            arena_init(&a, NULL, 0);
            run_begin(&r, parts, 2, cap);
            enum ec ec = ask(&r, which, &a, &partial);
            if (ec != EC_OK && ec != EC_LIMIT)
                fail_msg("query %u, cap %llu: %s: %s", which, (unsigned long long)cap, ec_text(ec),
                    err_msg(&r.err));
            refused += ec == EC_LIMIT;
            answered += ec == EC_OK;
            run_end(&r);
            arena_deinit(&a);
        }
        assert_true(refused > 0);
        assert_true(answered > 0);
    }
    part_unref(parts[0]);
    part_unref(parts[1]);
    head_free(h);
    block_fixture_free(f);
}

/* A block of many groups, every other span with an attribute; a query that looks at all of them
 * within a budget that the pages of all of them do not fit into. */
static void test_budget__does_not_grow_with_the_block(void **state)
{
    (void)state;
    enum { REQUESTS = 20, SPANS = 16384 };
    struct head *h;
    struct block_fixture *f = block_fixture_new();
    assert_ok(head_new(NULL, &h, err));
    for (uint64_t n = 0; n < REQUESTS; n++) {
        struct request q;
        request_begin(&q);
        size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
        for (uint64_t k = 0; k < SPANS; k++) {
            char id[16];
            size_t span = pb_begin(&q.raw, 2);
            put_u64be(id, n + 1);
            put_u64be(id + 8, k / 4 + 1);
            pb_put_bytes(&q.raw, 1, str_n(id, 16));
            put_u64be(id, k + 1);
            pb_put_bytes(&q.raw, 2, str_n(id, 8));
            pb_put_fixed64(&q.raw, 7, SAMPLE_T0 + (n * SPANS + k) * 1000);
            pb_put_fixed64(&q.raw, 8, SAMPLE_T0 + (n * SPANS + k) * 1000 + 1);
            if (k % 2 == 0)
                fx_attr_str(&q.raw, 9, "k", k == 8 ? "rare" : "common");
            pb_end(&q.raw, span);
        }
        pb_end(&q.raw, ss);
        pb_end(&q.raw, rs);
        request_decode(&q);
        assert_int_equal(request_insert(h, &q, 1700000100), 0);
        request_end(&q);
    }
    struct part *part = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    static const struct {
        const char *text;
        size_t n;
    } asked[] = {{"{ span.k =~ \"nothing.*\" }", 0}, {"{ span.k = \"rare\" }", REQUESTS},
        {"{ span.k = \"rare\" } && { span.k != nil }", REQUESTS}};
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct arena a;
        struct run r;
        struct search_result got;
        arena_init(&a, NULL, 0);
        run_begin(&r, &part, 1, 400u << 10);
        const struct search_request req = {
            .q = compile(&a, asked[i].text), .limit = 1000, .spss = 3};
        assert_ok(query_search(&r.ctx, &req, &got, err));
        assert_int_equal(got.n, asked[i].n);
        assert_int_equal(got.stats.inspected_spans, REQUESTS * SPANS);
        run_end(&r);
        arena_deinit(&a);
    }
    part_unref(part);
    head_free(h);
    block_fixture_free(f);
}

static bool always(void *arg)
{
    ++*(unsigned *)arg;
    return true;
}

static void test_stopped(void **state)
{
    (void)state;
    struct head *h = sample_head(SAMPLE_ALL);
    struct part *part = head_part(h);
    for (unsigned which = 0; which < ASKS; which++) {
        unsigned calls = 0;
        bool partial;
        struct arena a;
        struct run r;
        arena_init(&a, NULL, 0);
        run_begin(&r, &part, 1, 0);
        r.ctx.canceled = always;
        r.ctx.canceled_arg = &calls;
        assert_int_equal(ask(&r, which, &a, &partial), EC_CANCELED);
        assert_true(calls > 0);
        r.ctx.canceled = NULL;
        r.ctx.deadline_mono_ns = 1; /* long ago */
        assert_int_equal(ask(&r, which, &a, &partial), EC_DEADLINE);
        run_end(&r);
        arena_deinit(&a);
    }
    head_free(h);
}

/* ---- damage ---- */

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+be");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(c ^ 0x10, file), c ^ 0x10);
    assert_int_equal(fclose(file), 0);
}

/* One byte of a block is wrong, wherever: the query succeeds, and says that something is missing
 * when it came by the damage. */
static void test_damage(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = sample_head(SAMPLE_ALL);
    struct part *whole = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    unsigned partials[ASKS] = {0};
    part_unref(whole);
    for (long at = 0; at < (long)f->facts.file_bytes; at += 41) {
        flip(f->path, at);
        for (unsigned which = 0; which < ASKS; which++) {
            struct block_cache *cache = block_cache_new(&f->budget, 1 << 20), *kept = f->cache;
            struct arena a;
            struct run r;
            bool partial;
            f->cache = cache;
            struct part *parts[] = {head_part(h), fixture_open(f, f->path)};
            arena_init(&a, NULL, 0);
            run_begin(&r, parts, 2, 0);
            enum ec ec = ask(&r, which, &a, &partial);
            if (ec != EC_OK)
                fail_msg("byte %ld, query %u: %s: %s", at, which, ec_text(ec), err_msg(&r.err));
            partials[which] += partial;
            run_end(&r);
            arena_deinit(&a);
            part_unref(parts[1]);
            block_cache_free(cache);
            f->cache = kept;
        }
        flip(f->path, at);
    }
    for (unsigned which = 0; which < ASKS; which++)
        assert_true(partials[which] > 0);
    head_free(h);
    block_fixture_free(f);
}

static void test_alive__a_query_ends_when_ingest_needs_what_it_holds(void **state)
{
    (void)state;
    struct err e;
    _Atomic int64_t stale = 0;
    struct query_ctx ctx = {.stale_before_ns = &stale, .snapshot_ns = 10};
    assert_int_equal(query_check_alive(&ctx, &e), EC_OK);
    atomic_store(&stale, 10);
    assert_int_equal(query_check_alive(&ctx, &e), EC_OK);
    atomic_store(&stale, 11);
    assert_int_equal(query_check_alive(&ctx, &e), EC_LIMIT);
    assert_non_null(strstr(err_msg(&e), "ingest needs the memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alive__a_query_ends_when_ingest_needs_what_it_holds),
        cmocka_unit_test(test_newest),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_range__of_a_trace_in_several_parts),
        cmocka_unit_test(test_aggregates__find_what_evaluation_alone_finds),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_budget__does_not_grow_with_the_block),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
