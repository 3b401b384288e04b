/* SPDX-License-Identifier: Apache-2.0
 * Head: admission by bytes of a trace and by live traces, and refusal by the budget. */
#include "head_request.h"
#include "otlp_fixture.h"
#include "otlp_random.h"

static void put_spans(struct buf *b, uint8_t trace, uint64_t first_id, uint32_t n)
{
    size_t rs = pb_begin(b, 1), ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < n; i++) {
        size_t span = pb_begin(b, 2);
        fx_ids(b, trace, first_id + i);
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

/* A request of n spans of one trace. */
static void request_spans(struct request *q, uint8_t trace, uint64_t first_id, uint32_t n)
{
    request_begin(q);
    put_spans(&q->raw, trace, first_id, n);
    request_decode(q);
}

static uint32_t accepted(const struct batch *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_spans; i++)
        n += b->spans[i].reject == SPAN_ACCEPTED;
    assert_int_equal(n + b->n_rejected, b->n_spans);
    return n;
}

static void test_admit__trace_bytes_at_the_cap(void **state)
{
    (void)state;
    static const int delta[3] = {-1, 0, 1};
    static const uint32_t want[3] = {3, 4, 4}; /* of four spans with a cap of four spans' bytes */
    for (int i = 0; i < 3; i++) {
        struct head *h;
        struct request q, again, other;
        assert_ok(head_new(NULL, &h, err));
        request_spans(&q, 1, 1, 4);
        uint64_t four = 4 * (uint64_t)q.b.spans[0].raw_bytes;
        const struct head_limits limits = {.trace_bytes_max = four + (uint64_t)(int64_t)delta[i]};
        head_admit(h, &q.b, &limits, 100);
        assert_int_equal(accepted(&q.b), want[i]);
        for (uint32_t k = want[i]; k < 4; k++)
            assert_int_equal(q.b.spans[k].reject, SPAN_TRACE_TOO_LARGE);
        request_insert(h, &q, 100);
        /* What is stored counts; another trace has its own count. */
        request_spans(&again, 1, 50, 1);
        head_admit(h, &again.b, &limits, 100);
        assert_int_equal(accepted(&again.b), 0);
        request_spans(&other, 2, 50, 1);
        head_admit(h, &other.b, &limits, 100);
        assert_int_equal(accepted(&other.b), 1);
        head_free(h);
        request_end(&q);
        request_end(&again);
        request_end(&other);
    }
}

/* Admission alone leaves no mark: what was admitted but never inserted does not count. */
static void test_admit__counts_only_what_is_inserted(void **state)
{
    (void)state;
    struct head *h;
    struct request q;
    assert_ok(head_new(NULL, &h, err));
    for (int i = 0; i < 3; i++) {
        request_spans(&q, 1, 1, 2);
        const struct head_limits limits = {
            .trace_bytes_max = 2 * (uint64_t)q.b.spans[0].raw_bytes, .traces_live_max = 1};
        head_admit(h, &q.b, &limits, 100);
        assert_int_equal(accepted(&q.b), 2);
        request_end(&q);
    }
    head_free(h);
}

static uint32_t admit_one(
    struct head *h, uint8_t trace, uint64_t id, const struct head_limits *limits, uint32_t now_s)
{
    struct request q;
    request_spans(&q, trace, id, 1);
    head_admit(h, &q.b, limits, now_s);
    uint32_t n = accepted(&q.b);
    if (n == 0)
        assert_int_equal(q.b.spans[0].reject, SPAN_TOO_MANY_TRACES);
    request_insert(h, &q, now_s);
    request_end(&q);
    return n;
}

static uint32_t live(struct head *h, uint32_t now_s)
{
    struct head_stats stats;
    head_stats(h, now_s, &stats);
    return stats.n_traces_live;
}

static void test_admit__live_traces_at_the_cap(void **state)
{
    (void)state;
    const struct head_limits limits = {.traces_live_max = 3, .idle_s = 10};
    struct head *h;
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(admit_one(h, 1, 1, &limits, 100), 1);
    assert_int_equal(admit_one(h, 2, 1, &limits, 102), 1);
    assert_int_equal(admit_one(h, 3, 1, &limits, 104), 1);
    assert_int_equal(admit_one(h, 4, 1, &limits, 104), 0); /* the fourth */
    assert_int_equal(admit_one(h, 3, 2, &limits, 105), 1); /* more of a live one */
    assert_int_equal(live(h, 105), 3);
    assert_int_equal(admit_one(h, 4, 2, &limits, 110), 0); /* 1 is 10 s old: still live */
    assert_int_equal(admit_one(h, 4, 3, &limits, 111), 1); /* now it is idle */
    assert_int_equal(admit_one(h, 1, 2, &limits, 111), 0); /* and a newcomer again */
    assert_int_equal(live(h, 111), 3);
    assert_int_equal(live(h, 113), 2); /* 2 went */
    assert_int_equal(live(h, 116), 1); /* 3 went */
    assert_int_equal(live(h, 121), 1);
    assert_int_equal(live(h, 122), 0);
    assert_int_equal(live(h, 121), 0); /* time does not go back */
    assert_int_equal(admit_one(h, 5, 1, &limits, 100000), 1);
    assert_int_equal(live(h, 100000), 1);
    head_free(h);
}

static void test_admit__one_batch_fills_the_cap(void **state)
{
    (void)state;
    struct head *h;
    struct request q;
    assert_ok(head_new(NULL, &h, err));
    request_begin(&q);
    for (uint8_t t = 1; t <= 5; t++)
        put_spans(&q.raw, t, 1, 2);
    put_spans(&q.raw, 2, 10, 1);
    request_decode(&q);
    head_admit(h, &q.b, &(struct head_limits){.traces_live_max = 3}, 100);
    assert_int_equal(accepted(&q.b), 7);
    assert_int_equal(q.b.spans[6].reject, SPAN_TOO_MANY_TRACES);
    assert_int_equal(q.b.spans[10].reject, SPAN_ACCEPTED);
    request_insert(h, &q, 100);
    assert_int_equal(live(h, 100), 3);
    head_free(h);
    request_end(&q);
}

/* A new idle time counts what is there already by its own age. */
static void test_admit__idle_time_may_change(void **state)
{
    (void)state;
    struct head *h;
    struct head_limits limits = {.idle_s = 5};
    assert_ok(head_new(NULL, &h, err));
    for (uint8_t t = 1; t <= 20; t++)
        assert_int_equal(admit_one(h, t, 1, &limits, 100 + t), 1);
    assert_int_equal(live(h, 120), 6);
    limits.idle_s = 15;
    admit_one(h, 20, 2, &limits, 120);
    assert_int_equal(live(h, 120), 16);
    limits.idle_s = 0xffffffff; /* as long as we keep count */
    admit_one(h, 20, 3, &limits, 120);
    assert_int_equal(live(h, 120), 20);
    limits.idle_s = 1;
    admit_one(h, 20, 4, &limits, 120);
    assert_int_equal(live(h, 120), 2);
    head_free(h);
}

/* The budget says no at every size up to the one that suffices: then nothing has changed, and the
 * same request goes in once there is room. */
static void put_numbered(struct request *q, uint64_t first, uint64_t n, uint32_t kind)
{
    request_begin(q);
    size_t rs = pb_begin(&q->raw, 1), ss = pb_begin(&q->raw, 2);
    for (uint64_t i = first; i < first + n; i++) {
        size_t span = pb_begin(&q->raw, 2);
        fx_ids(&q->raw, (uint8_t)(1 + i % 3), 1 + i); /* three traces by turns */
        pb_put_varint(&q->raw, 6, kind);
        pb_end(&q->raw, span);
    }
    pb_end(&q->raw, ss);
    pb_end(&q->raw, rs);
    request_decode(q);
}

/* Small traces become large ones, one span or many at a time: whatever came before is known, and
 * what has the same id and another kind is another span. */
static void test_dups__are_known_at_every_size(void **state)
{
    (void)state;
    static const uint64_t steps[] = {1, 2, 7, 95, 96, 97, 200};
    for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
        struct head *h;
        struct head_stats stats;
        const uint64_t step = steps[k], total = 420;
        assert_ok(head_new(NULL, &h, err));
        for (uint64_t at = 0; at < total; at += step) {
            struct request q;
            put_numbered(&q, at, step, 2);
            assert_int_equal(request_insert(h, &q, 1), 0);
            assert_int_equal(request_insert(h, &q, 1), step);
            request_end(&q);
            put_numbered(&q, 0, at + step, 2);
            assert_int_equal(request_insert(h, &q, 1), at + step);
            request_end(&q);
        }
        head_stats(h, 1, &stats);
        uint32_t n = stats.n_spans;
        struct request q;
        put_numbered(&q, 0, n, 3);
        assert_int_equal(request_insert(h, &q, 1), 0);
        assert_int_equal(request_insert(h, &q, 1), n);
        request_end(&q);
        head_free(h);
    }
}

static void test_reserve__refusal_leaves_no_trace(void **state)
{
    (void)state;
    struct budget budget;
    struct head *h;
    struct request q, next;
    struct rng rng = {9};
    struct part_info before, after;
    struct part_reader *r;
    struct head_stats stats;
    uint32_t refused = 0;
    budget_init(&budget, NULL, "t", 0);
    assert_ok(head_new(&budget, &h, err));
    request_begin(&q);
    rnd_request(&q.raw, &rng,
        &(struct rnd_options){.n_resources = 2, .n_spans = 20, .n_traces = 9, .first_span_id = 1});
    request_decode(&q);
    request_insert(h, &q, 1);
    request_begin(&next);
    rnd_request(&next.raw, &rng,
        &(struct rnd_options){
            .n_resources = 2, .n_spans = 30, .n_traces = 99, .first_span_id = 99});
    request_decode(&next);
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    part_info(r, &before);
    part_reader_close(r);
    enum { OTHERS = 1 << 20 }; /* what is in the way for now */
    assert_true(budget_take(&budget, OTHERS));
    uint64_t used = budget_used(&budget);
    atomic_store(&budget.cap, OTHERS / 16); /* for good */
    assert_int_equal(head_reserve(h, &next.b, NULL), EC_TOO_LARGE);
    for (uint64_t room = 1;; room += 1000) {
        struct err refusal = {0};
        atomic_store(&budget.cap, used + room);
        enum ec ec = head_reserve(h, &next.b, &refusal);
        if (ec == EC_OK)
            break;
        refused++;
        assert_int_equal(ec, EC_LIMIT);
        assert_true(budget_used(&budget) == used);
        assert_ok(part_reader_open(head_part(h), NULL, &r, err));
        part_info(r, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        check_batch(r, &q.b);
        part_reader_close(r);
        head_stats(h, 1, &stats);
        assert_int_equal(stats.n_spans, before.n_rows);
    }
    assert_true(refused > 3);
    budget_give(&budget, OTHERS);
    assert_true(budget_used(&budget) <= atomic_load(&budget.cap));
    request_insert(h, &next, 2);
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    check_batch(r, &q.b);
    check_batch(r, &next.b);
    part_reader_close(r);
    head_free(h);
    request_end(&q);
    request_end(&next);
    budget_deinit(&budget);
}

static void test_reader__budget_refusal_is_a_limit(void **state)
{
    (void)state;
    struct budget budget;
    struct head *h;
    struct request q;
    struct part_reader *r = NULL;
    budget_init(&budget, NULL, "reader", 1);
    assert_ok(head_new(NULL, &h, err));
    request_begin(&q);
    fx_request_full(&q.raw, 2);
    request_decode(&q);
    request_insert(h, &q, 1);
    assert_int_equal(part_reader_open(head_part(h), &budget, &r, NULL), EC_LIMIT);
    assert_null(r);
    /* Room for the reader but not for what is asked of it. */
    atomic_store(&budget.cap, 1 << 20);
    assert_ok(part_reader_open(head_part(h), &budget, &r, err));
    atomic_store(&budget.cap, budget_used(&budget));
    const struct part_attr *attrs, *found[VALUE_TYPES];
    size_t n;
    assert_int_equal(part_attrs(r, &attrs, &n, NULL), EC_LIMIT);
    assert_int_equal(part_attr_find(r, TABLE_SPANS, STR("http.method"), found, NULL), EC_LIMIT);
    part_reader_close(r);
    head_free(h);
    request_end(&q);
    budget_deinit(&budget);
    /* A head itself. */
    budget_init(&budget, NULL, "head", 100);
    assert_int_equal(head_new(&budget, &h, NULL), EC_LIMIT);
    budget_deinit(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admit__trace_bytes_at_the_cap),
        cmocka_unit_test(test_admit__counts_only_what_is_inserted),
        cmocka_unit_test(test_admit__live_traces_at_the_cap),
        cmocka_unit_test(test_admit__one_batch_fills_the_cap),
        cmocka_unit_test(test_admit__idle_time_may_change),
        cmocka_unit_test(test_dups__are_known_at_every_size),
        cmocka_unit_test(test_reserve__refusal_leaves_no_trace),
        cmocka_unit_test(test_reader__budget_refusal_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
