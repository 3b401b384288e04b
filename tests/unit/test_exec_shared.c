/* SPDX-License-Identifier: Apache-2.0
 * The set of traces that are not to be counted part by part: marked in every part that has a
 * piece. */
#include "block_fixture.h"
#include "head_request.h"
#include "model/otlp_write.h"
#include "query/exec/shared.h"

enum { PARTS = 10 }; /* more than are compared whole */

#define SECOND 1000000000u
#define EPOCH  1700000000000000000u

static void put_span(struct request *q, uint64_t trace, uint64_t start_ns)
{
    char id[16], span[8];
    put_u64be(id, trace);
    put_u64be(id + 8, trace);
    put_u64be(span, start_ns);
    size_t s = pb_begin(&q->raw, 2);
    pb_put_bytes(&q->raw, 1, str_n(id, 16));
    pb_put_bytes(&q->raw, 2, str_n(span, 8));
    pb_put_fixed64(&q->raw, 7, EPOCH + start_ns);
    pb_put_fixed64(&q->raw, 8, EPOCH + start_ns + 1);
    pb_end(&q->raw, s);
}

/* Block p: a trace of its own at both ends of its time, and a span of trace 1 at its begin. */
static struct part *block_of(
    struct block_fixture *f, uint64_t own, uint64_t from_s, uint64_t to_s, bool has_common)
{
    struct head *h;
    struct request q;
    request_begin(&q);
    size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
    put_span(&q, own, from_s * SECOND);
    put_span(&q, own, to_s * SECOND);
    if (has_common)
        put_span(&q, 1, from_s * SECOND + 5);
    pb_end(&q.raw, ss);
    pb_end(&q.raw, rs);
    request_decode(&q);
    assert_ok(head_new(NULL, &h, err));
    assert_int_equal(request_insert(h, &q, 1700000100), 0);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    request_end(&q);
    head_free(h);
    return p;
}

/* Trace 1 has pieces in the blocks 0, 1 and 2. Only 1 and 2 overlap in time, so only they find each
 * other; the piece in 0 was then counted by itself and once more with the whole trace. */
static void test_shared__is_marked_in_every_part_that_has_a_piece(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct part *parts[PARTS];
    struct shared_set set;
    struct arena a;
    arena_init(&a, NULL, 0);
    for (uint64_t p = 0; p < PARTS; p++) {
        uint64_t from = p == 2 ? 25 : 20 * p;
        parts[p] = block_of(f, 100 + p, from, from + 10, p < 3);
    }
    struct query_ctx ctx = {.parts = parts, .n_parts = PARTS, .arena = &a};
    assert_ok(shared_set_find(&ctx, 0, UINT64_MAX, &a, &set, err));
    assert_int_equal(set.n, 1);
    assert_int_equal(get_u64be(set.ids[0].b), 1);
    for (size_t p = 0; p < PARTS; p++) {
        uint32_t n_marked = 0;
        for (uint32_t t = 0; t < 2; t++)
            n_marked += shared_set_has(&set, p, t);
        assert_int_equal(n_marked, p < 3);
    }
    for (size_t p = 0; p < PARTS; p++)
        part_unref(parts[p]);
    arena_deinit(&a);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared__is_marked_in_every_part_that_has_a_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
