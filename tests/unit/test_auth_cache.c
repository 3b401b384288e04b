/* SPDX-License-Identifier: Apache-2.0
 * The cache: expiry by a clock of the test, bounds in entries and bytes, many threads. */
#include <pthread.h>

#include "src/auth/cache.h"
#include "src/auth/text.h"
#include "unit.h"

struct number {
    struct cache_value base;
    unsigned n;
};

static atomic_int alive;

static void number_destroy(struct cache_value *v)
{
    atomic_fetch_sub(&alive, 1);
    free(CONTAINER_OF(v, struct number, base));
}

static struct number *number_new(unsigned n, size_t bytes)
{
    struct number *v = xcalloc(1, sizeof(*v));
    cache_value_init(&v->base, bytes, number_destroy);
    v->n = n;
    atomic_fetch_add(&alive, 1);
    return v;
}

static struct cache_key key_of(unsigned n)
{
    struct cache_key k;
    struct digest d;
    struct bytes part = bytes_n(&n, sizeof(n));
    keyed_hash(&part, 1, &d);
    memset(&k, 0, sizeof(k));
    memcpy(k.b, d.b, sizeof(d.b));
    put_u32le(k.b + 40, n);
    return k;
}

static void put(struct cache *c, unsigned n, size_t bytes, int64_t expires, int64_t now)
{
    struct cache_key k = key_of(n);
    struct number *v = number_new(n, bytes);
    cache_put(c, &k, &v->base, expires, now);
    cache_value_unref(&v->base);
}

/* The number found, or -1. */
static int get(struct cache *c, unsigned n, int64_t now)
{
    struct cache_key k = key_of(n);
    struct cache_value *v = cache_get(c, &k, now);
    int found = v == NULL ? -1 : (int)CONTAINER_OF(v, struct number, base)->n;
    cache_value_unref(v);
    return found;
}

static void test_cache__finds_until_expiry(void **state)
{
    (void)state;
    struct cache *c = cache_new(8, 1000);
    put(c, 1, 10, 100, 0);
    assert_int_equal(get(c, 1, 0), 1);
    assert_int_equal(get(c, 2, 0), -1);
    assert_int_equal(get(c, 1, 99), 1); /* a hit does not prolong */
    assert_int_equal(get(c, 1, 100), -1);
    assert_int_equal(cache_entries(c), 0); /* and it is gone */
    assert_int_equal(get(c, 1, 50), -1);
    put(c, 3, 10, 100, 100); /* over before it began */
    assert_int_equal(cache_entries(c), 0);
    cache_free(c);
    assert_int_equal(alive, 0);
}

static void test_cache__replaces(void **state)
{
    (void)state;
    struct cache *c = cache_new(8, 1000);
    struct cache_key k = key_of(1);
    put(c, 1, 10, 100, 0);
    struct number *v = number_new(77, 10);
    cache_put(c, &k, &v->base, 100, 0);
    cache_value_unref(&v->base);
    assert_int_equal(get(c, 1, 0), 77);
    assert_int_equal(cache_entries(c), 1);
    cache_free(c);
    assert_int_equal(alive, 0);
}

static void test_cache__values_outlive_the_table(void **state)
{
    (void)state;
    struct cache *c = cache_new(1, 1000);
    struct cache_key k = key_of(1);
    put(c, 1, 10, 100, 0);
    struct cache_value *held = cache_get(c, &k, 0);
    put(c, 2, 10, 100, 0); /* pushes it out */
    assert_int_equal(get(c, 1, 0), -1);
    cache_free(c);
    assert_int_equal(CONTAINER_OF(held, struct number, base)->n, 1);
    cache_value_unref(held);
    assert_int_equal(alive, 0);
}

static void test_cache__entries_are_bounded(void **state)
{
    static const unsigned sizes[] = {1, 2, 7, 100, 4096};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct cache *c = cache_new(sizes[i], 1u << 20);
        for (unsigned n = 0; n < sizes[i] * 3; n++)
            put(c, n, 10, 1000, 0);
        assert_true(cache_entries(c) <= sizes[i]);
        assert_true(cache_entries(c) >= sizes[i] - sizes[i] / 4);
        assert_true(alive <= (int)sizes[i]);
        cache_free(c);
        assert_int_equal(alive, 0);
    }
}

static void test_cache__what_is_used_stays(void **state)
{
    (void)state;
    struct cache *c = cache_new(10, 1u << 20);
    put(c, 0, 10, 1000, 0);
    for (unsigned n = 1; n < 200; n++) {
        assert_int_equal(get(c, 0, 0), 0);
        put(c, n, 10, 1000, 0);
    }
    assert_int_equal(get(c, 0, 0), 0);
    cache_free(c);
}

static void test_cache__expired_go_first(void **state)
{
    (void)state;
    struct cache *c = cache_new(4, 1u << 20);
    for (unsigned n = 0; n < 4; n++)
        put(c, n, 10, n == 2 ? 10 : 1000, 0);
    for (unsigned n = 0; n < 4; n++)
        assert_int_equal(get(c, n, 0), (int)n); /* all are used */
    put(c, 9, 10, 1000, 20);
    for (unsigned n = 0; n < 4; n++)
        assert_int_equal(get(c, n, 20), n == 2 ? -1 : (int)n);
    cache_free(c);
}

static void test_cache__bytes_are_bounded(void **state)
{
    (void)state;
    struct cache *c = cache_new(100, 8000);
    put(c, 1, 1001, 1000, 0); /* over an eighth */
    assert_int_equal(get(c, 1, 0), -1);
    for (unsigned n = 0; n < 50; n++) {
        put(c, n, 1000, 1000, 0);
        assert_true(cache_entries(c) <= 8);
    }
    assert_int_equal(cache_entries(c), 8);
    assert_int_equal(get(c, 49, 0), 49);
    cache_free(c);
    assert_int_equal(alive, 0);
}

/* ---- threads ---- */

static struct cache *shared;

static void *hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = (seed = seed * 1103515245u + 12345u) >> 8 & 1023;
        int64_t now = i;
        if (n % 4 == 0) {
            put(shared, n, 100 + n, now + 5000, now);
        } else {
            int found = get(shared, n, now);
            ASSERT(found == -1 || found == (int)n);
        }
    }
    return NULL;
}

static void test_cache__many_threads(void **state)
{
    (void)state;
    pthread_t t[8];
    shared = cache_new(512, 100000);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_create(&t[i], NULL, hammer, (void *)(uintptr_t)(i + 1));
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    cache_free(shared);
    assert_int_equal(alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__finds_until_expiry),
        cmocka_unit_test(test_cache__replaces),
        cmocka_unit_test(test_cache__values_outlive_the_table),
        cmocka_unit_test(test_cache__entries_are_bounded),
        cmocka_unit_test(test_cache__what_is_used_stays),
        cmocka_unit_test(test_cache__expired_go_first),
        cmocka_unit_test(test_cache__bytes_are_bounded),
        cmocka_unit_test(test_cache__many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
