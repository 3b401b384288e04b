/* SPDX-License-Identifier: Apache-2.0
 * Slabs: where they lie, that they come back, how many are kept, large blocks, counts. */
#include <pthread.h>
#include <string.h>

#include "base/slab.h"
#include "unit.h"

static uint64_t used(void)
{
    uint64_t u, k;
    slab_stats(&u, &k);
    return u;
}

static uint64_t kept(void)
{
    uint64_t u, k;
    slab_stats(&u, &k);
    return k;
}

static void test_slab__is_aligned_and_comes_back(void **state)
{
    (void)state;
    uint8_t *a = slab_take(), *b = slab_take();
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % SLAB_BYTES, 0);
    assert_int_equal((uintptr_t)b % SLAB_BYTES, 0);
    assert_true((a > b ? a - b : b - a) >= (ptrdiff_t)SLAB_BYTES);
    memset(a, 1, SLAB_BYTES);
    memset(b, 2, SLAB_BYTES);
    assert_int_equal(a[SLAB_BYTES - 1], 1);
    assert_int_equal(used(), 2 * SLAB_BYTES);
    slab_give(b);
    assert_int_equal(used(), SLAB_BYTES);
    assert_int_equal(kept(), SLAB_BYTES);
    assert_ptr_equal(slab_take(), b);
    slab_give(a);
    slab_give(b);
    slab_trim();
    assert_int_equal(used() + kept(), 0);
}

static void test_slab__keeps_so_many_and_no_more(void **state)
{
    (void)state;
    void *all[SLAB_KEPT_MAX + 3];
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_non_null(all[i] = slab_take());
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        slab_give(all[i]);
    assert_int_equal(used(), 0);
    assert_int_equal(kept(), SLAB_KEPT_MAX * SLAB_BYTES);
    slab_trim();
    assert_int_equal(kept(), 0);
    slab_keep(3 * SLAB_BYTES - 1);
    for (size_t i = 0; i < 4; i++)
        assert_non_null(all[i] = slab_take());
    for (size_t i = 0; i < 4; i++)
        slab_give(all[i]);
    assert_int_equal(kept(), 2 * SLAB_BYTES);
    slab_keep(UINT64_MAX);
    slab_trim();
}

static void test_slab__large_blocks_are_zero_and_go(void **state)
{
    (void)state;
    static const size_t sizes[] = {SLAB_BYTES, SLAB_BYTES + 8, 3 * SLAB_BYTES - 1};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t *p = slab_large(sizes[i]);
        assert_int_equal((uintptr_t)p % SLAB_BYTES, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xff, sizes[i]);
        assert_true(used() >= sizes[i]);
        assert_true(used() < sizes[i] + 4096);
        slab_large_free(p, sizes[i]);
        assert_int_equal(used() + kept(), 0);
    }
}

static void *worker(void *arg)
{
    uint8_t mark = (uint8_t)(uintptr_t)arg;
    for (int i = 0; i < 200; i++) {
        uint8_t *p[3];
        for (int k = 0; k < 3; k++) {
            p[k] = slab_take();
            memset(p[k], mark, 4096);
        }
        for (int k = 0; k < 3; k++) {
            for (int at = 0; at < 4096; at += 64)
                if (p[k][at] != mark)
                    return arg;
            slab_give(p[k]);
        }
    }
    return NULL;
}

static void test_slab__belongs_to_one_at_a_time(void **state)
{
    (void)state;
    pthread_t t[4];
    void *failed;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(used(), 0);
    slab_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slab__is_aligned_and_comes_back),
        cmocka_unit_test(test_slab__keeps_so_many_and_no_more),
        cmocka_unit_test(test_slab__large_blocks_are_zero_and_go),
        cmocka_unit_test(test_slab__belongs_to_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
