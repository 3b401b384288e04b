/* SPDX-License-Identifier: Apache-2.0
 * The cache of what queries found in blocks: keys, bounds, order of eviction, blocks that go while
 * their entries are in use. */
#include <pthread.h>
#include <stdlib.h>

#include "query/cache.h"
#include "unit.h"

static void destroy(struct part *p)
{
    free(p);
}

static const struct part_ops ops = {.destroy = destroy};

static struct part *part_new(void)
{
    struct part *p = xcalloc(1, sizeof(*p));
    p->ops = &ops;
    atomic_init(&p->refs, 1);
    return p;
}

static struct buf key_of(const struct part *p, uint32_t n)
{
    struct buf key = BUF_INIT;
    query_cache_key_part(&key, p, 0);
    buf_put_u32le(&key, n);
    return key;
}

/* A value that tells what it belongs to. */
static void put(struct query_cache *c, const struct part *p, uint32_t n, size_t bytes)
{
    struct buf key = key_of(p, n), value = BUF_INIT;
    assert_true(bytes >= 4);
    buf_put_u32le(&value, n);
    while (value.n < bytes)
        buf_putc(&value, (char)n);
    query_cache_put(c, &p, 1, buf_bytes(&key), buf_bytes(&value));
    buf_deinit(&key);
    buf_deinit(&value);
}

static struct cached *get(struct query_cache *c, const struct part *p, uint32_t n)
{
    struct buf key = key_of(p, n);
    struct cached *e = query_cache_get(c, buf_bytes(&key));
    buf_deinit(&key);
    if (e != NULL) {
        assert_int_equal(get_u32le(e->value.p), n);
        for (size_t i = 4; i < e->value.n; i++)
            assert_int_equal(e->value.p[i], (uint8_t)n);
    }
    return e;
}

static bool has(struct query_cache *c, const struct part *p, uint32_t n)
{
    struct cached *e = get(c, p, n);
    query_cache_release(c, e);
    return e != NULL;
}

static void test_keys__find_their_own_values_only(void **state)
{
    struct query_cache *c = query_cache_new(NULL, 1 << 20);
    struct part *a = part_new(), *b = part_new();
    (void)state;
    assert_false(has(c, a, 1));
    for (uint32_t n = 0; n < 300; n++)
        put(c, n % 2 == 0 ? a : b, n, 4 + n);
    for (uint32_t n = 0; n < 300; n++) {
        assert_true(has(c, n % 2 == 0 ? a : b, n));
        assert_false(has(c, n % 2 == 0 ? b : a, n));
    }
    put(c, a, 0, 100); /* there already: the first stays */
    struct cached *e = get(c, a, 0);
    assert_int_equal(e->value.n, 4);
    query_cache_release(c, e);
    assert_int_equal(query_cache_entries(c), 300);
    part_unref(a);
    assert_int_equal(query_cache_entries(c), 150);
    query_cache_free(c);
    part_unref(b); /* after its cache */
}

static void test_bounds__the_least_recently_used_go(void **state)
{
    struct budget all;
    struct part *p = part_new();
    (void)state;
    budget_init(&all, NULL, "all", 0);
    struct query_cache *c = query_cache_new(&all, 64 << 10);
    for (uint32_t n = 0; n < 1000; n++) {
        put(c, p, n, 1000);
        assert_true(n < 1 || has(c, p, 0)); /* always the one used last but the new one */
        assert_true(has(c, p, n));
        assert_true(budget_used(&all) <= 64 << 10);
    }
    size_t entries = query_cache_entries(c);
    assert_true(entries > 40 && entries < 64);
    for (uint32_t n = 1; n < 1000; n++)
        assert_int_equal(has(c, p, n), n > 1000 - entries);
    put(c, p, 5000, (64 << 10) / 8 + 1); /* no single answer may take much of it */
    assert_false(has(c, p, 5000));
    assert_int_equal(query_cache_entries(c), entries);
    query_cache_free(c);
    assert_int_equal(budget_used(&all), 0);
    budget_deinit(&all);
    part_unref(p);
}

static void test_bounds__what_is_in_use_stays_and_counts(void **state)
{
    struct budget all;
    struct part *p = part_new();
    struct cached *used[8];
    (void)state;
    budget_init(&all, NULL, "all", 0);
    struct query_cache *c = query_cache_new(&all, 64 << 10);
    for (uint32_t n = 0; n < 8; n++) {
        put(c, p, n, 7000);
        used[n] = get(c, p, n);
        assert_non_null(used[n]);
    }
    for (uint32_t n = 100; n < 200; n++)
        put(c, p, n, 7000); /* there is room for one, or none */
    assert_true(budget_used(&all) <= 64 << 10);
    assert_true(budget_used(&all) >= 8 * 7000);
    for (uint32_t n = 0; n < 8; n++) {
        assert_int_equal(used[n]->value.n, 7000);
        assert_int_equal(get_u32le(used[n]->value.p), n);
        query_cache_release(c, used[n]);
    }
    assert_true(budget_used(&all) < 2 * 8000);
    query_cache_free(c);
    budget_deinit(&all);
    part_unref(p);
}

static void test_bounds__a_parent_without_memory_refuses(void **state)
{
    struct budget all;
    struct part *p = part_new();
    (void)state;
    budget_init(&all, NULL, "all", 3000);
    struct query_cache *c = query_cache_new(&all, 1 << 20);
    put(c, p, 1, 2000);
    put(c, p, 2, 2000);
    assert_true(has(c, p, 1));
    assert_false(has(c, p, 2));
    query_cache_free(c);
    budget_deinit(&all);
    part_unref(p);
}

static void test_blocks__take_their_entries_along(void **state)
{
    struct query_cache *c = query_cache_new(NULL, 1 << 20);
    struct part *p = part_new(), *q = part_new();
    (void)state;
    put(c, p, 1, 100);
    put(c, q, 2, 100);
    struct buf key = key_of(p, 3), value = BUF_INIT;
    buf_put_u32le(&value, 3);
    query_cache_put(
        c, (const struct part *[]){p, q}, 2, buf_bytes(&key), buf_bytes(&value)); /* of both */
    struct cached *e = get(c, q, 2), *both = query_cache_get(c, buf_bytes(&key));
    assert_non_null(both);
    part_unref(q);
    assert_int_equal(query_cache_entries(c), 1);
    assert_true(has(c, p, 1));
    assert_null(query_cache_get(c, buf_bytes(&key)));
    assert_int_equal(get_u32le(e->value.p), 2); /* in use */
    assert_int_equal(get_u32le(both->value.p), 3);
    query_cache_release(c, e);
    query_cache_release(c, both);
    buf_deinit(&key);
    buf_deinit(&value);
    part_unref(p);
    assert_int_equal(query_cache_entries(c), 0);
    query_cache_free(c);
}

/* ---- threads ---- */

enum { SLOTS = 4, WORKERS = 4, ROUNDS = 3000 };

struct shared {
    struct query_cache *c;
    pthread_mutex_t lock;
    struct part *parts[SLOTS];
};

static struct part *slot_get(struct shared *s, uint32_t i)
{
    pthread_mutex_lock(&s->lock);
    struct part *p = part_ref(s->parts[i]);
    pthread_mutex_unlock(&s->lock);
    return p;
}

static void *work(void *arg)
{
    struct shared *s = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct part *p = slot_get(s, i % SLOTS);
        struct cached *e = get(s->c, p, i % 16);
        if (e == NULL)
            put(s->c, p, i % 16, 100 + 400 * (i % 16));
        if (i % 5 == 0) { /* the block is retired: somebody's reference is the last */
            struct part *next = part_new();
            pthread_mutex_lock(&s->lock);
            struct part *old = s->parts[i % SLOTS];
            s->parts[i % SLOTS] = next;
            pthread_mutex_unlock(&s->lock);
            part_unref(old);
        }
        part_unref(p);
        if (e != NULL)
            assert_int_equal(get_u32le(e->value.p), i % 16);
        query_cache_release(s->c, e);
    }
    return NULL;
}

static void test_blocks__go_while_threads_use_them(void **state)
{
    struct shared s = {.c = query_cache_new(NULL, 64 << 10), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[WORKERS];
    (void)state;
    for (size_t i = 0; i < SLOTS; i++)
        s.parts[i] = part_new();
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &s), 0);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SLOTS; i++)
        part_unref(s.parts[i]);
    assert_int_equal(query_cache_entries(s.c), 0);
    query_cache_free(s.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys__find_their_own_values_only),
        cmocka_unit_test(test_bounds__the_least_recently_used_go),
        cmocka_unit_test(test_bounds__what_is_in_use_stays_and_counts),
        cmocka_unit_test(test_bounds__a_parent_without_memory_refuses),
        cmocka_unit_test(test_blocks__take_their_entries_along),
        cmocka_unit_test(test_blocks__go_while_threads_use_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
