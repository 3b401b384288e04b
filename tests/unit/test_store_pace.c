/* SPDX-License-Identifier: Apache-2.0
 * What may keep an ack waiting: new log segments, merges on a device that is busy, flushes that get
 * no processor. */
#include <pthread.h>
#include <semaphore.h>

#include "store_util.h"

#define TENANT STR("single-tenant")

static pthread_t own_thread;
static _Atomic unsigned n_own_segments;
static _Atomic int64_t sync_sleep_ns;

static int open_counted(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    if (strcmp(site, "wal.segment_open") == 0 && pthread_equal(pthread_self(), own_thread))
        atomic_fetch_add(&n_own_segments, 1);
    return io_real.ops->open(ctx, site, path, flags, mode);
}

static int fdatasync_slow(void *ctx, const char *site, int fd)
{
    const struct timespec ts = {.tv_nsec = atomic_load(&sync_sleep_ns)};
    nanosleep(&ts, NULL);
    return io_real.ops->fdatasync(ctx, site, fd);
}

static void test_seal__no_append_makes_a_segment(void **state)
{
    (void)state;
    struct test_store t;
    struct io_ops ops = *io_real.ops;
    struct io io = {&ops, NULL};
    struct err err;
    ops.open = open_counted;
    own_thread = pthread_self();
    atomic_store(&n_own_segments, 0);
    test_store_init(&t, &io);
    test_store_open(&t);
    for (uint32_t r = 0; r < 10; r++) {
        assert_ec(test_append(&t, TENANT, r, 5), EC_OK);
        struct tenant *tenant = tenant_find(t.s, TENANT);
        pthread_mutex_lock(&tenant->lock);
        assert_true(tenant_seal(tenant, "test"));
        pthread_mutex_unlock(&tenant->lock);
        tenant_unref(tenant);
    }
    assert_int_equal(atomic_load(&n_own_segments), 1); /* the log's first */
    assert_ok(store_flush(t.s, TENANT, &err), err);
    test_expect(&t, TENANT, 0, 10, 5);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* Seconds that merges of four blocks rested. */
static double merge_rested(struct test_store *t, uint32_t first)
{
    struct err err;
    for (uint32_t r = first; r < first + 4; r++) {
        assert_ec(test_append(t, TENANT, r, 5), EC_OK);
        assert_ok(store_flush(t->s, TENANT, &err), err);
    }
    double before = metric_value(store_metrics.merge_paused);
    assert_ok(store_compact(t->s, &err), err);
    return metric_value(store_metrics.merge_paused) - before;
}

static void test_merge__rests_while_syncs_are_slow(void **state)
{
    (void)state;
    struct test_store t;
    struct io_ops ops = *io_real.ops;
    struct io io = {&ops, NULL};
    ops.fdatasync = fdatasync_slow;
    test_store_init(&t, &io);
    test_store_open(&t);
    atomic_store(&sync_sleep_ns, 0);
    (void)merge_rested(&t, 0);
    /* A busy machine may be slow by itself: what was seen before is forgotten. */
    atomic_store(&t.s->sync_slow_until_ns, 0);
    assert_true(merge_rested(&t, 4) < 10);
    atomic_store(&sync_sleep_ns, 400 * NS_PER_MS);
    double rested = merge_rested(&t, 8);
    assert_true(rested > 0.01);
    assert_true(rested < 30); /* it went on, though the device stayed slow */
    atomic_store(&sync_sleep_ns, 0);
    test_expect(&t, TENANT, 0, 12, 5);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static sem_t low_held, low_open;

static void hold_low(void *arg)
{
    (void)arg;
    sem_post(&low_held);
    while (sem_wait(&low_open) != 0)
        ;
}

static size_t sealed(struct test_store *t)
{
    struct tenant *tenant = tenant_find(t->s, TENANT);
    pthread_mutex_lock(&tenant->lock);
    size_t n = tenant->n_sealed;
    pthread_mutex_unlock(&tenant->lock);
    tenant_unref(tenant);
    return n;
}

static void seal_one(struct test_store *t, uint32_t r)
{
    assert_ec(test_append(t, TENANT, r, 5), EC_OK);
    struct tenant *tenant = tenant_find(t->s, TENANT);
    pthread_mutex_lock(&tenant->lock);
    assert_true(tenant_seal(tenant, "test"));
    pthread_mutex_unlock(&tenant->lock);
    tenant_unref(tenant);
    tick_kick(t->s);
}

/* Threads of low priority get nothing where processors are short: here none at all. */
static void test_flush__behind_does_not_wait_for_low_threads(void **state)
{
    (void)state;
    struct test_store t;
    sem_init(&low_held, 0, 0);
    sem_init(&low_open, 0, 0);
    test_store_init(&t, NULL);
    test_store_open(&t);
    assert_true(pool_submit(t.pool, POOL_LOW, 0, hold_low, NULL));
    while (sem_wait(&low_held) != 0)
        ;
    seal_one(&t, 0);
    seal_one(&t, 1);
    test_sleep_ms(100);
    assert_int_equal(sealed(&t), 2); /* nothing presses yet */
    seal_one(&t, 2);
    for (int i = 0; i < 20000 && sealed(&t) != 0; i++)
        test_sleep_ms(1);
    assert_int_equal(sealed(&t), 0);
    sem_post(&low_open);
    test_expect(&t, TENANT, 0, 3, 5);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seal__no_append_makes_a_segment),
        cmocka_unit_test(test_merge__rests_while_syncs_are_slow),
        cmocka_unit_test(test_flush__behind_does_not_wait_for_low_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
