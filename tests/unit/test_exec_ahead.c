/* SPDX-License-Identifier: Apache-2.0
 * The first question to many parts: cold ones are asked once each, after the disk was told of all
 * of their slice; the others are left alone. */
#include "query/exec/ahead.h"
#include "unit.h"

#define PARTS 100u

struct fake {
    struct part part;
    _Atomic bool cold;
    _Atomic uint32_t told, asked;
};

static bool fake_cold(struct part *p, bool ahead)
{
    struct fake *f = CONTAINER_OF(p, struct fake, part);
    if (ahead)
        atomic_fetch_add(&f->told, 1);
    return atomic_load(&f->cold);
}

static const struct part_ops fake_ops = {.cold = fake_cold};
static const struct part_ops head_ops = {0};

static void fake_ask(void *arg, struct part *p)
{
    struct fake *f = CONTAINER_OF(p, struct fake, part);
    assert_non_null(arg);
    assert_true(f->told == 1 && f->cold);
    atomic_fetch_add(&f->asked, 1);
    atomic_store(&f->cold, false);
}

static struct fake all[PARTS];
static struct part *parts[PARTS];

static void fakes(uint32_t cold_each)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        parts[i] = &all[i].part;
        all[i].part.ops = i % 10 == 9 ? &head_ops : &fake_ops;
        all[i].cold = i % 10 != 9 && i % cold_each == 0;
        all[i].told = all[i].asked = 0;
    }
}

static void test_ahead__asks_each_cold_part_once(void **state)
{
    struct err err = {0};
    struct pool *pool = NULL;
    (void)state;
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_help = 3}, &pool, &err), err);
    for (unsigned round = 0; round < 20; round++) {
        struct query_ctx ctx = {.pool = round % 2 ? pool : NULL};
        fakes(1 + round % 3);
        bool was[PARTS];
        for (uint32_t i = 0; i < PARTS; i++)
            was[i] = all[i].cold;
        query_ask_ahead(&ctx, parts, PARTS, fake_ask, &ctx);
        for (uint32_t i = 0; i < PARTS; i++)
            assert_int_equal(all[i].asked, was[i]);
        query_ask_ahead(&ctx, parts, PARTS, fake_ask, &ctx); /* nothing is cold any more */
        for (uint32_t i = 0; i < PARTS; i++)
            assert_true(all[i].asked <= 1 && all[i].told <= 1);
    }
    pool_free(pool);
}

static void test_ahead__leaves_few_parts_to_who_asks(void **state)
{
    struct query_ctx ctx = {0};
    (void)state;
    fakes(1);
    query_ask_ahead(&ctx, parts, 3, fake_ask, &ctx);
    query_ask_ahead(&ctx, parts, 0, fake_ask, &ctx);
    for (uint32_t i = 0; i < PARTS; i++)
        assert_true(all[i].asked == 0 && all[i].told == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead__asks_each_cold_part_once),
        cmocka_unit_test(test_ahead__leaves_few_parts_to_who_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
