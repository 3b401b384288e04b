/* SPDX-License-Identifier: Apache-2.0
 * Head: blocks in and out of slabs, kept bytes, and what is charged for them. */
#include "head_request.h"
#include "otlp_random.h"
#include "storage/head/mem.h"

#define BLOCKS 200u

struct held {
    uint8_t *p;
    size_t n;
    uint8_t mark;
};

static size_t size_any(struct rng *rng)
{
    static const size_t edges[] = {1, 4095, 4096, 4097, 5120, 65536, SLAB_BYTES - 1, SLAB_BYTES,
        SLAB_BYTES + 1, SLAB_BYTES + 8};
    if (rng_below(rng, 40) == 0)
        return edges[rng_below(rng, ARRAY_LEN(edges))];
    return 1 + rng_below(rng, 1u << rng_below(rng, 19));
}

static void held_check(const struct held *b)
{
    assert_int_equal(b->p[0], b->mark);
    assert_int_equal(b->p[b->n / 2], b->mark);
    assert_int_equal(b->p[b->n - 1], b->mark);
}

static void hold(struct head_mem *m, struct rng *rng, struct held *b)
{
    bool zero = rng_below(rng, 3) == 0;
    b->n = size_any(rng);
    b->mark = (uint8_t)(1 + rng_below(rng, 255));
    b->p = zero ? mem_block_zero(m, b->n) : mem_block(m, b->n);
    for (size_t i = 0; zero && i < b->n; i++)
        assert_int_equal(b->p[i], 0);
    memset(b->p, b->mark, b->n);
}

/* Blocks of all sizes come and go, some steps a reservation. Nobody writes into another's, and
 * what is charged is what is used, also where the budget has no room for a slab. */
static void test_memory__blocks_are_apart_and_paid_for(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct rng rng = {seed};
        struct budget budget;
        struct head_mem m;
        struct held held[BLOCKS] = {0};
        VEC(struct str) kept = {0};
        bool tight = seed % 3 == 0;
        budget_init(&budget, NULL, "t", 0);
        mem_init(&m, &budget);
        for (int round = 0; round < 150; round++) {
            uint64_t bound = 5 * (SLAB_BYTES + 8) + mem_arena_bound(&m, 2000);
            /* room for the reservation itself, hardly more */
            atomic_store(&budget.cap, tight ? mem_used(&m) + bound + 1000 : 0);
            assert_true(mem_reserve(&m, bound));
            for (int i = 0; i < 5; i++) {
                struct held *b = &held[rng_below(&rng, BLOCKS)];
                if (b->p != NULL) {
                    held_check(b);
                    mem_free(&m, b->p, b->n);
                }
                *b = (struct held){0};
                if (rng_below(&rng, 4) != 0)
                    hold(&m, &rng, b);
            }
            char text[200];
            size_t n = 1 + rng_below(&rng, sizeof(text));
            memset(text, 'a' + round % 26, n);
            VEC_PUSH(&kept, mem_str(&m, str_n(text, n)));
            mem_settle(&m);
            assert_true(budget_used(&budget) == mem_used(&m));
        }
#ifndef __SANITIZE_ADDRESS__
        assert_true(tight ? m.slabs.n == 0 : m.slabs.n > 0);
#endif
        for (size_t i = 0; i < kept.n; i++)
            for (size_t k = 0; k < kept.p[i].n; k++)
                assert_int_equal(kept.p[i].p[k], 'a' + i % 26);
        for (size_t i = 0; i < BLOCKS; i++) {
            if (held[i].p != NULL)
                held_check(&held[i]);
            mem_free(&m, held[i].p, held[i].n);
        }
        VEC_FREE(&kept);
        mem_deinit(&m);
        assert_true(budget_used(&budget) == 0);
        budget_deinit(&budget);
    }
    uint64_t used, free_slabs;
    slab_stats(&used, &free_slabs);
    assert_int_equal(used, 0);
    slab_trim();
}

/* What was freed in a slab is used again: growing by replacement needs no second slab. */
static void test_memory__holes_are_filled(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    struct head_mem m;
    mem_init(&m, NULL);
    assert_true(mem_reserve(&m, 2 << 20));
    uint8_t *first = mem_block(&m, MEM_SLAB_FROM);
    mem_settle(&m);
    for (int i = 0; i < 1000; i++) {
        assert_true(mem_reserve(&m, 300000));
        void *a = mem_block(&m, 100000), *b = mem_block(&m, 4096 + (size_t)i);
        mem_free(&m, a, 100000);
        mem_free(&m, b, 4096 + (size_t)i);
        mem_settle(&m);
    }
    assert_int_equal(m.slabs.n, 1);
    mem_free(&m, first, MEM_SLAB_FROM);
    mem_deinit(&m);
    slab_trim();
}

/* A head of several megabytes holds what it was given, and gives all of it back. */
static void test_memory__a_large_head_is_whole(void **state)
{
    (void)state;
    struct request q[10];
    struct rng rng = {5};
    struct budget budget;
    struct head *h;
    struct part_reader *r;
    uint64_t slabs, free_slabs;
    budget_init(&budget, NULL, "t", 0);
    assert_ok(head_new(&budget, &h, err));
    for (size_t i = 0; i < ARRAY_LEN(q); i++) {
        request_begin(&q[i]);
        rnd_request(&q[i].raw, &rng,
            &(struct rnd_options){
                .n_resources = 3, .n_spans = 180, .n_traces = 20, .first_span_id = 1 + i * 100000});
        request_decode(&q[i]);
        request_insert(h, &q[i], 1);
    }
    assert_true(budget_used(&budget) > MEM_SLAB_FROM);
    slab_stats(&slabs, &free_slabs);
#ifndef __SANITIZE_ADDRESS__
    assert_true(slabs > 0);
#endif
    assert_ok(part_reader_open(head_part(h), NULL, &r, err));
    for (size_t i = 0; i < ARRAY_LEN(q); i++)
        check_batch(r, &q[i].b);
    part_reader_close(r);
    head_free(h);
    for (size_t i = 0; i < ARRAY_LEN(q); i++)
        request_end(&q[i]);
    assert_true(budget_used(&budget) == 0);
    slab_stats(&slabs, &free_slabs);
    assert_int_equal(slabs, 0);
    slab_trim();
    budget_deinit(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory__blocks_are_apart_and_paid_for),
        cmocka_unit_test(test_memory__holes_are_filled),
        cmocka_unit_test(test_memory__a_large_head_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
