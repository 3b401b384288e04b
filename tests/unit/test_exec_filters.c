/* SPDX-License-Identifier: Apache-2.0
 * Bitmaps of filters against the row-wise evaluation, on random spans and random filters: a bit
 * that is not set must mean that the span fails, a set one in an exact bitmap that it passes. */
#include "block_fixture.h"
#include "head_request.h"
#include "otlp_random.h"
#include "query/exec/need.h"
#include "query/lower.h"

static const char *const fields[] = {"span.k0", "span.k1", ".k0", ".k2", "resource.k0",
    "resource.k1", "event.k0", "link.k1", "instrumentation.k0", "span.http.method", ".list",
    "resource.service.name", ".service.name", "name", "duration", "status", "kind", "statusMessage",
    "event:name", "instrumentation:name", "parent.k0", "span.k3"};
static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">=", "=~", "!~"};
static const char *const literals[] = {"\"\"", "\"a\"", "\"GET\"", "\"cart\"", "0", "1", "3", "3.2",
    "404", "true", "false", "nil", "300ns", "-1", "1.5"};
static const char *const patterns[] = {"\".*\"", "\"a|b\"", "\"G.*\"", "\"x\""};

static const char *const on_events[] = {"event.k0", "event.k1", "event:name"};

static void put_condition(struct buf *b, struct rng *r, bool events)
{
    const char *field = events ? on_events[rng_below(r, ARRAY_LEN(on_events))]
                               : fields[rng_below(r, ARRAY_LEN(fields))];
    uint32_t op = rng_below(r, ARRAY_LEN(ops));
    if (rng_below(r, 12) == 0) {
        buf_printf(b, "%s", field);
        return;
    }
    if (str_eqz(str_from(field), "status"))
        buf_printf(b, "status %s %s", ops[op % 2], rng_below(r, 2) == 0 ? "error" : "unset");
    else if (str_eqz(str_from(field), "kind"))
        buf_printf(b, "kind %s %s", ops[op % 2], rng_below(r, 2) == 0 ? "server" : "client");
    else if (op >= 6)
        buf_printf(b, "%s %s %s", field, ops[op], patterns[rng_below(r, ARRAY_LEN(patterns))]);
    else
        buf_printf(b, "%s %s %s", field, ops[op], literals[rng_below(r, ARRAY_LEN(literals))]);
}

/* Null when the language refuses it (types that do not compare, say). */
static const struct tql_query *random_query(struct rng *r, struct arena *a, struct buf *text)
{
    struct tql_query *q = NULL;
    buf_reset(text);
    buf_printf(text, "{ ");
    bool events = rng_below(r, 3) == 0;
    for (uint32_t n = 1 + rng_below(r, 3), i = 0; i < n; i++) {
        buf_printf(text, i == 0 ? "" : rng_below(r, 2) == 0 ? " && " : " || ");
        put_condition(text, r, events);
    }
    buf_printf(text, " }");
    return tql_compile(buf_str(text), a, &q, NULL, NULL) == EC_OK ? q : NULL;
}

struct counts {
    uint32_t exact, inexact, passed;
};

/* Every row of the part's only group. */
static void check_part(
    struct part *part, const struct tql_query *q, struct str text, struct counts *counts)
{
    struct budget budget;
    struct arena a, scratch;
    struct source s;
    struct filters f;
    struct eval ev;
    const struct need *need;
    const struct filter_bits *b;
    const struct tql_expr *e = q->pipeline->stages[0].spanset->filter;
    budget_init(&budget, NULL, "query", 0);
    arena_init(&a, &budget, 0);
    arena_init(&scratch, &budget, 0);
    assert_ok(source_open(&s, part, &a, &budget, err));
    assert_ok(eval_init(&ev, q, &s, 1, &a, err));
    assert_ok(need_query(q, &f, &s, 1, &a, &need, err));
    uint32_t filter = filters_find(&f, e);
    for (uint32_t row = 0; filter != PART_NONE && row < s.info.n_rows; row++) {
        struct qrow at = {.off = row};
        struct qtrace t = {
            .sources = &s, .rows = &at, .n = 1, .root = PART_NONE, .scratch = &scratch};
        bool pass;
        eval_trace(&ev, &t);
        if (eval_filter(&ev, e, 0, &pass, NULL) != EC_OK)
            continue;
        assert_ok(filters_group(&f, 0, filter, 0, &b, err));
        bool bit = scan_bits_get(&b->bits, row);
        if (b->exact ? bit != pass : pass && !bit)
            fail_msg("row %u: bit %d, passes %d: %.*s", row, bit, pass, (int)text.n, text.p);
        counts->exact += b->exact;
        counts->inexact += !b->exact;
        counts->passed += pass;
    }
    filters_close(&f);
    source_close(&s);
    arena_deinit(&scratch);
    arena_deinit(&a);
    budget_deinit(&budget);
}

static void check_random(bool block, uint64_t seed, uint32_t rounds)
{
    struct rng r = {seed};
    struct counts counts = {0};
    struct buf text = BUF_INIT;
    struct block_fixture *fx = block ? block_fixture_new() : NULL;
    for (uint32_t round = 0; round < rounds; round++) {
        struct request q;
        struct head *head;
        request_begin(&q);
        rnd_request(&q.raw, &r,
            &(struct rnd_options){.n_resources = 1 + rng_below(&r, 2),
                .n_spans = 1 + rng_below(&r, 3),
                .n_traces = 2,
                .first_span_id = 1});
        request_decode(&q);
        assert_ok(head_new(NULL, &head, err));
        (void)request_insert(head, &q, 1700000100);
        request_end(&q);
        struct part *part = block ? fixture_write(fx, (struct part *[]){head_part(head)}, 1)
                                  : part_ref(head_part(head));
        for (unsigned i = 0; i < 40; i++) {
            struct arena a;
            arena_init(&a, NULL, 0);
            const struct tql_query *query = random_query(&r, &a, &text);
            if (query != NULL)
                check_part(part, query, buf_str(&text), &counts);
            arena_deinit(&a);
        }
        part_unref(part);
        head_free(head);
    }
    /* Neither side of the test may be empty. */
    assert_true(counts.exact > 1000 && counts.inexact > 1000 && counts.passed > 1000);
    buf_deinit(&text);
    if (block)
        block_fixture_free(fx);
}

static void test_bits__say_what_the_evaluation_says_of_a_head(void **state)
{
    (void)state;
    check_random(false, 11, 600);
}

static void test_bits__say_what_the_evaluation_says_of_a_block(void **state)
{
    (void)state;
    check_random(true, 12, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits__say_what_the_evaluation_says_of_a_head),
        cmocka_unit_test(test_bits__say_what_the_evaluation_says_of_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
