/* SPDX-License-Identifier: Apache-2.0
 * Appends, flushes, merges, retention and readers at the same time (run under TSan as well): a
 * reader sees every acked span exactly once, whatever is swapped meanwhile. */
#include <pthread.h>

#include "store_util.h"

#define SPANS   3
#define WRITERS 3
#define EACH    120 /* requests of a writer */

struct writer {
    struct test_store *t;
    struct str tenant;
    uint32_t first;
    _Atomic uint32_t acked; /* requests first .. first+acked-1 */
    pthread_t thread;
};

static _Atomic bool stop;

static void *write_main(void *arg)
{
    struct writer *w = arg;
    for (uint32_t i = 0; i < EACH; i++) {
        if (test_append(w->t, w->tenant, w->first + i, SPANS) != EC_OK)
            abort();
        atomic_store(&w->acked, i + 1);
    }
    return NULL;
}

static void *flush_main(void *arg)
{
    struct test_store *t = arg;
    struct err err;
    while (!atomic_load(&stop)) {
        if (store_flush(t->s, (struct str){0}, &err) != EC_OK)
            abort();
        test_sleep_ms(3);
    }
    return NULL;
}

static void *merge_main(void *arg)
{
    struct test_store *t = arg;
    struct err err;
    struct buf out = BUF_INIT;
    while (!atomic_load(&stop)) {
        if (store_compact(t->s, &err) != EC_OK || store_retain(t->s, &err) != EC_OK)
            abort();
        buf_reset(&out);
        metric_render(&out); /* the collector looks at everything too */
        test_sleep_ms(7);
    }
    buf_deinit(&out);
    return NULL;
}

/* One look: what was acked before the snapshot is in it, nothing is in it twice. */
static void look(struct test_store *t, struct writer *w, size_t n)
{
    uint32_t acked[WRITERS];
    struct test_seen seen;
    for (size_t i = 0; i < n; i++)
        acked[i] = atomic_load(&w[i].acked);
    test_see(t, w[0].tenant, &seen);
    for (size_t i = 1; i < seen.ids.n; i++)
        assert_true(seen.ids.p[i - 1] != seen.ids.p[i]);
    for (size_t i = 0; i < n; i++)
        for (uint32_t r = 0; r < acked[i]; r++)
            for (uint32_t k = 0; k < SPANS; k++)
                assert_int_equal(
                    test_seen_count(&seen, test_span_id(w[i].tenant, w[i].first + r, k)), 1);
    test_seen_free(&seen);
}

static void test_threads__readers_see_each_acked_span_once(void **state)
{
    (void)state;
    struct test_store t;
    struct writer w[2][WRITERS] = {0};
    pthread_t flusher, merger;
    test_store_init(&t, NULL);
    t.opt.check_period_ns = 10 * NS_PER_MS;
    t.opt.block_raw_bytes_max = 64 << 10;
    test_store_open(&t);
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < WRITERS; i++) {
            w[k][i].t = &t;
            w[k][i].tenant = k == 0 ? STR("even") : STR("odd");
            w[k][i].first = i * 1000;
            assert_int_equal(pthread_create(&w[k][i].thread, NULL, write_main, &w[k][i]), 0);
        }
    }
    assert_int_equal(pthread_create(&flusher, NULL, flush_main, &t), 0);
    assert_int_equal(pthread_create(&merger, NULL, merge_main, &t), 0);
    for (bool done = false; !done;) {
        done = true;
        for (int k = 0; k < 2; k++) {
            for (uint32_t i = 0; i < WRITERS; i++)
                done = done && atomic_load(&w[k][i].acked) == EACH;
            look(&t, w[k], WRITERS);
        }
    }
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < WRITERS; i++)
            pthread_join(w[k][i].thread, NULL);
    atomic_store(&stop, true);
    pthread_join(flusher, NULL);
    pthread_join(merger, NULL);
    look(&t, w[0], WRITERS);
    test_store_close(&t, true);
    test_store_open(&t);
    look(&t, w[0], WRITERS);
    look(&t, w[1], WRITERS);
    test_store_close(&t, false);
    test_store_deinit(&t);
}

static void *snapshot_main(void *arg)
{
    struct test_store *t = arg;
    struct snapshot snap;
    struct err err;
    if (store_snapshot(t->s, STR("tenant"), &snap, &err) != EC_OK || snap.n != 1)
        abort();
    snapshot_release(&snap);
    return NULL;
}

/* A query does not wait until ingest lets go of the tenant. */
static void test_threads__a_snapshot_needs_no_tenant_lock(void **state)
{
    (void)state;
    struct test_store t;
    pthread_t thread;
    struct timespec until;
    test_store_init(&t, io_from_environment());
    test_store_open(&t);
    assert_ec(test_append(&t, STR("tenant"), 0, SPANS), EC_OK);
    struct tenant *tenant = tenant_find(t.s, STR("tenant"));
    pthread_mutex_lock(&tenant->lock);
    assert_int_equal(pthread_create(&thread, NULL, snapshot_main, &t), 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    int e = pthread_timedjoin_np(thread, NULL, &until);
    pthread_mutex_unlock(&tenant->lock);
    assert_int_equal(e, 0);
    tenant_unref(tenant);
    test_store_close(&t, false);
    test_store_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads__a_snapshot_needs_no_tenant_lock),
        cmocka_unit_test(test_threads__readers_see_each_acked_span_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
