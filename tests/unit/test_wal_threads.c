/* SPDX-License-Identifier: Apache-2.0
 * Appends, syncs, preparation, rotation and release from several threads at once. Run under TSan.
 * */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fault_io.h"
#include "storage/wal.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

#define RECORDS 1500u

struct shared {
    struct wal *w;
    pthread_mutex_t tenant; /* as the store's: serialises appends */
    _Atomic bool stop;
    _Atomic uint64_t appended, acked, failures;
    uint64_t release_to;
    struct wal_spares spares;
};

static void *appender_main(void *arg)
{
    struct shared *s = arg;
    struct err err;
    uint64_t lsn;
    for (;;) {
        pthread_mutex_lock(&s->tenant);
        uint64_t key = s->appended + 1;
        if (key <= RECORDS &&
            wal_util_try_append(s->w, key, 200 + key % 900, 0, &lsn, &err) == EC_OK)
            s->appended++;
        pthread_mutex_unlock(&s->tenant);
        if (key > RECORDS)
            return NULL;
    }
}

static void *committer_main(void *arg)
{
    struct shared *s = arg;
    struct err err;
    uint64_t lsn, from, to;
    while (!s->stop) {
        if (wal_sync(s->w, &lsn, &from, &to, &err) == EC_OK)
            s->acked = lsn;
        else
            s->failures++;
        if (wal_mark_idle(s->w, clock_mono_ns() + NS_PER_S, &err) != EC_OK)
            s->failures++;
    }
    return NULL;
}

static void *flusher_main(void *arg)
{
    struct shared *s = arg;
    struct err err;
    uint64_t bytes, segments;
    for (unsigned i = 0; !s->stop; i++) {
        (void)!wal_prepare_next(s->w, &err);
        wal_usage(s->w, &bytes, &segments);
        if (i % 16 == 0 && s->release_to > 0) {
            pthread_mutex_lock(&s->tenant);
            if (i % 32 == 0)
                (void)!wal_rotate(s->w, &err);
            else
                wal_rotate_soon(s->w);
            pthread_mutex_unlock(&s->tenant);
            (void)!wal_release(s->w, MIN(s->release_to, s->acked), &err);
        }
    }
    return NULL;
}

/* What closing the log answers, which syncs a last time. */
static enum ec run(struct io *io, const char *dir, uint64_t release_to, struct shared *s)
{
    struct wal_options opt = {.io = io,
        .dir = dir,
        .tenant = STR("t"),
        .segment_bytes_min = 16 << 10,
        .segment_bytes_max = 64 << 10,
        .spares = &s->spares};
    struct wal_recovery rec;
    struct err err = {0};
    pthread_t t[4];

    *s = (struct shared){.release_to = release_to, .spares.bytes_max = 256 << 10};
    pthread_mutex_init(&s->tenant, NULL);
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &s->w, &err), err);
    pthread_create(&t[0], NULL, appender_main, s);
    pthread_create(&t[1], NULL, appender_main, s);
    pthread_create(&t[2], NULL, committer_main, s);
    pthread_create(&t[3], NULL, flusher_main, s);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    s->stop = true;
    pthread_join(t[2], NULL);
    pthread_join(t[3], NULL);
    enum ec ec = wal_close(s->w, &err);
    pthread_mutex_destroy(&s->tenant);
    assert_int_equal(s->spares.bytes, 0);
    return ec;
}

static void all_come_back(uint64_t release_to)
{
    struct shared *s = xcalloc(1, sizeof(*s));
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal *w;
    struct err err = {0};
    char *dir = tmpdir_new();
    struct wal_options opt = {.dir = dir, .tenant = STR("t")};

    assert_int_equal(run(NULL, dir, release_to, s), EC_OK);
    assert_int_equal(s->failures, 0);
    assert_ok(wal_open(&opt, wal_seen_add, &seen, &rec, &w, &err), err);
    assert_int_equal(rec.damaged_records + rec.torn_tails + rec.set_aside, 0);
    assert_int_equal(wal_last_lsn(w), RECORDS);
    assert_true(seen.n >= RECORDS - release_to);
    for (uint64_t lsn = release_to + 1; lsn <= RECORDS; lsn++)
        wal_seen_check(&seen, lsn, 200 + lsn % 900);
    wal_abandon(w);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
    free(s);
}

static void test_threads__all_records_come_back(void **state)
{
    (void)state;
    all_come_back(300);
}

static void test_threads__released_segments_serve_again_meanwhile(void **state)
{
    (void)state;
    all_come_back(RECORDS - 20);
}

static void test_threads__syncs_may_fail_under_way(void **state)
{
    struct shared *s = xcalloc(1, sizeof(*s));
    struct fault_io *f = fault_io_new(NULL);
    struct wal_recovery rec;
    struct wal *w;
    struct err err = {0};
    char *dir = tmpdir_new();
    struct wal_options opt = {.dir = dir, .tenant = STR("t")};

    (void)state;
    for (uint64_t n = 3; n < 60; n += 7)
        fault_io_fail(f, "wal.sync", "fdatasync", n, 5 /* EIO */, false);
    enum ec closed = run(fault_io_io(f), dir, 0, s); /* it may meet a failure that still waits */
    assert_true(closed == EC_OK || closed == EC_IO);
    assert_true(s->failures > 0);
    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    assert_int_equal(rec.damaged_records + rec.set_aside, 0);
    wal_abandon(w);
    tmpdir_free(dir);
    fault_io_free(f);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads__all_records_come_back),
        cmocka_unit_test(test_threads__released_segments_serve_again_meanwhile),
        cmocka_unit_test(test_threads__syncs_may_fail_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
