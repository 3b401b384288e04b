/* SPDX-License-Identifier: Apache-2.0
 * The order of a set of strings, whatever they have in common and however many there are. */
#include <stdlib.h>

#include "head_request.h"
#include "otlp_random.h"
#include "query/exec/tagset.h"

static int cmp(const void *a, const void *b)
{
    const struct tagset_entry *x = a, *y = b;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : str_cmp(x->s, y->s);
}

static void check(uint64_t seed, uint32_t n, const char *prefix, uint32_t kinds, uint32_t letters)
{
    struct rng r = {seed};
    struct arena a;
    struct tagset t = {.arena = &a};
    struct tagset_entry *got;
    size_t distinct = 0;
    arena_init(&a, NULL, 0);
    for (uint32_t i = 0; i < n; i++) {
        char text[64];
        size_t len = (size_t)snprintf(text, sizeof(text), "%s", prefix);
        for (uint32_t k = rng_below(&r, 14); k > 0; k--)
            text[len++] = (char)(rng_below(&r, 9) == 0 ? 0 : 255 - rng_below(&r, letters));
        bool is_new;
        assert_ok(tagset_add(&t, (uint8_t)rng_below(&r, kinds), str_n(text, len), &is_new, err));
        distinct += is_new;
    }
    assert_int_equal(t.n, distinct);
    assert_ok(tagset_sorted(&t, &got, err));
    for (size_t i = 1; i < t.n; i++)
        assert_true(cmp(&got[i - 1], &got[i]) < 0); /* ascending, so distinct too */
    arena_deinit(&a);
}

static void test_order__is_by_kind_then_bytes(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 20000; n = n * 3 + 1) {
        check(n, n, "", 1, 200);
        check(n, n, "", 4, 2);
        check(n, n, "user-0000000000", 1, 3);
        check(n, n, "user-0000000000", 3, 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order__is_by_kind_then_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
