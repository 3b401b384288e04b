/* SPDX-License-Identifier: Apache-2.0
 * Which traces lie in several parts: asked one by one, and after all ids were read. */
#include "block_fixture.h"
#include "head_request.h"
#include "model/otlp_write.h"
#include "query/exec.h"
#include "query/exec/sharing.h"

enum { PARTS = 4, TRACES = 3000 };

static struct trace_id id_of(uint32_t trace)
{
    struct trace_id id;
    put_u64be(id.b, trace * 0x9e3779b97f4a7c15u);
    put_u64be(id.b + 8, trace + 1);
    return id;
}

/* Trace t is in part t % PARTS; every seventh in the next one too. */
static bool in_part(uint32_t trace, uint32_t part)
{
    return trace % PARTS == part || (trace % 7 == 0 && (trace + 1) % PARTS == part);
}

static struct head *head_of(uint32_t part)
{
    struct head *h;
    struct request q;
    request_begin(&q);
    size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
    for (uint32_t t = 0; t < TRACES; t++) {
        struct trace_id id = id_of(t);
        char span[8];
        if (!in_part(t, part))
            continue;
        size_t s = pb_begin(&q.raw, 2);
        pb_put_bytes(&q.raw, 1, str_n((const char *)id.b, 16));
        put_u64be(span, part + 1);
        pb_put_bytes(&q.raw, 2, str_n(span, 8));
        pb_put_fixed64(&q.raw, 7, 1700000000000000000u + t);
        pb_put_fixed64(&q.raw, 8, 1700000000000000000u + t);
        pb_end(&q.raw, s);
    }
    pb_end(&q.raw, ss);
    pb_end(&q.raw, rs);
    request_decode(&q);
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(request_insert(h, &q, 1700000100), 0);
    request_end(&q);
    return h;
}

/* All ids of a part, each once. */
static void check_ids(struct source *s, uint32_t part)
{
    struct trace_id ids[PART_IDS_MAX];
    uint32_t n, total = 0, seen[TRACES] = {0};
    for (uint32_t at = 0;; at += n) {
        assert_ok(part_trace_ids(s->r, at, ids, &n, err));
        if (n == 0)
            break;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t t = get_u64be(ids[i].b + 8) - 1;
            assert_true(t < TRACES && in_part((uint32_t)t, part));
            assert_int_equal(seen[t]++, 0);
        }
        total += n;
    }
    assert_int_equal(total, s->info.n_traces);
}

static void test_shared__is_never_denied_and_seldom_wrong(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *heads[PARTS];
    struct part *parts[PARTS];
    struct source sources[PARTS];
    struct sharing sharing;
    struct arena a;
    uint32_t wrong = 0;
    bool shared, direct = false;
    arena_init(&a, NULL, 0);
    for (uint32_t p = 0; p < PARTS; p++) {
        heads[p] = head_of(p);
        parts[p] = p % 2 == 0 ? fixture_write(f, (struct part *[]){head_part(heads[p])}, 1)
                              : part_ref(head_part(heads[p]));
        assert_ok(source_open(&sources[p], parts[p], &a, NULL, err));
        check_ids(&sources[p], p);
    }
    sharing_init(&sharing, &(struct query_ctx){0}, sources, PARTS, &a);
    for (uint32_t t = 0; t < TRACES; t++) {
        struct trace_id id = id_of(t);
        assert_ok(sharing_ask(&sharing, t % PARTS, &id, &shared, err));
        assert_true(shared || t % 7 != 0);
        if (sharing.twice == NULL) {
            direct = true;
            assert_int_equal(shared, t % 7 == 0);
        }
        wrong += shared && t % 7 != 0;
    }
    assert_true(direct && sharing.twice != NULL); /* both ways were taken */
    assert_true(wrong < TRACES / 10);
    for (uint32_t p = 0; p < PARTS; p++) {
        source_close(&sources[p]);
        part_unref(parts[p]);
        head_free(heads[p]);
    }
    arena_deinit(&a);
    block_fixture_free(f);
}

/* A source that is left out is neither asked nor read: the caller knows what it shares. */
static void test_shared__sources_left_out_are_not_asked(void **state)
{
    (void)state;
    struct head *heads[PARTS];
    struct source sources[PARTS];
    struct arena a;
    arena_init(&a, NULL, 0);
    for (uint32_t p = 0; p < PARTS; p++) {
        heads[p] = head_of(p);
        assert_ok(source_open(&sources[p], head_part(heads[p]), &a, NULL, err));
    }
    for (uint32_t round = 0; round < 2; round++) { /* asked one by one; after all ids were read */
        struct sharing sharing;
        uint32_t wrong = 0;
        bool shared;
        sharing_init(&sharing, &(struct query_ctx){0}, sources, PARTS, &a);
        sharing_leave_out(&sharing, 1);
        sharing_leave_out(&sharing, 1);
        assert_int_equal(sharing.n_traces,
            sources[0].info.n_traces + sources[2].info.n_traces + sources[3].info.n_traces);
        for (uint32_t t = 0; t < (round == 0 ? 60 : TRACES); t++) {
            struct trace_id id = id_of(t);
            bool really = t % 7 == 0 && t % PARTS != 1 && (t + 1) % PARTS != 1;
            assert_ok(sharing_ask(&sharing, t % PARTS, &id, &shared, err));
            assert_true(shared || !really);
            assert_true(!shared || t % PARTS != 1);
            wrong += shared && !really;
        }
        assert_int_equal(sharing.twice != NULL, round);
        assert_true(wrong < (round == 0 ? 1 : TRACES / 10));
    }
    for (uint32_t p = 0; p < PARTS; p++) {
        source_close(&sources[p]);
        head_free(heads[p]);
    }
    arena_deinit(&a);
}

/* ---- two large parts far from each other in time ---- */

enum { MANY = 5000 };

static struct head *far_head(uint64_t start_ns, const char *name, uint32_t salt)
{
    struct head *h;
    struct request q;
    request_begin(&q);
    size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
    for (uint32_t t = 0; t < MANY; t++) {
        struct trace_id id = id_of(t == MANY / 2 ? 77 : salt + t);
        char span[8];
        size_t s = pb_begin(&q.raw, 2);
        pb_put_bytes(&q.raw, 1, str_n((const char *)id.b, 16));
        put_u64be(span, salt + 1);
        pb_put_bytes(&q.raw, 2, str_n(span, 8));
        pb_put_bytes(&q.raw, 5, str_from(t == MANY / 2 ? name : "other"));
        pb_put_fixed64(&q.raw, 7, start_ns + t);
        pb_put_fixed64(&q.raw, 8, start_ns + t + 1);
        pb_end(&q.raw, s);
    }
    pb_end(&q.raw, ss);
    pb_end(&q.raw, rs);
    request_decode(&q);
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(request_insert(h, &q, 1700000100), 0);
    request_end(&q);
    return h;
}

/* The late piece lies in the range, the span that is asked for in the early one. */
static void test_pieces__of_large_parts_far_apart_are_one_trace(void **state)
{
    (void)state;
    static const uint64_t early = 1700000000000000000u, late = early + 3600000000000u;
    struct block_fixture *f = block_fixture_new();
    struct head *heads[2] = {far_head(late, "late", 1000000), far_head(early, "early", 2000000)};
    struct part *parts[2];
    for (size_t i = 0; i < 2; i++)
        parts[i] = fixture_write(f, (struct part *[]){head_part(heads[i])}, 1);
    for (int again = 0; again < 2; again++) { /* the second time from what is remembered */
        struct arena a;
        struct tql_query *query;
        struct search_result r;
        struct budget budget;
        arena_init(&a, NULL, 0);
        budget_init(&budget, NULL, "query", 0);
        struct query_ctx ctx = {.parts = parts, .n_parts = 2, .arena = &a, .budget = &budget};
        assert_ok(tql_compile(STR("{ name = \"early\" }"), &a, &query, NULL, err));
        const struct search_request req = {
            .q = query, .start_ns = late, .end_ns = late + MANY, .limit = 10, .spss = 3};
        assert_ok(query_search(&ctx, &req, &r, err));
        assert_int_equal(r.n, 1);
        struct trace_id want = id_of(77);
        assert_true(trace_id_eq(&r.traces[0].id, &want));
        arena_deinit(&a);
        budget_deinit(&budget);
    }
    for (size_t i = 0; i < 2; i++) {
        part_unref(parts[i]);
        head_free(heads[i]);
    }
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces__of_large_parts_far_apart_are_one_trace),
        cmocka_unit_test(test_shared__is_never_denied_and_seldom_wrong),
        cmocka_unit_test(test_shared__sources_left_out_are_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
