/* SPDX-License-Identifier: Apache-2.0
 * The watchdog: who is over its time is seen, and only he. */
#include <pthread.h>
#include <semaphore.h>

#include "base/clock.h"
#include "base/watch.h"
#include "unit.h"

static void test_watch__work_in_time_is_not_stuck(void **state)
{
    (void)state;
    watch_begin("test", "work", 10 * NS_PER_S);
    int64_t now = clock_mono_ns();
    assert_int_equal(watch_look(now), 0);
    assert_int_equal(watch_look(now + 9 * NS_PER_S), 0);
    watch_end();
}

static void test_watch__work_over_its_time_is_stuck_until_it_ends(void **state)
{
    (void)state;
    watch_begin("test", "work", 10 * NS_PER_S);
    int64_t now = clock_mono_ns();
    assert_int_equal(watch_look(now + 11 * NS_PER_S), 1);
    assert_int_equal(watch_look(now + 12 * NS_PER_S), 1);
    watch_begin("test", "more work", 60 * NS_PER_S);
    assert_int_equal(watch_look(now + 12 * NS_PER_S), 0);
    watch_end();
    assert_int_equal(watch_look(now + 1000 * NS_PER_S), 0);
}

struct other {
    sem_t begun, go;
};

static void *other_main(void *arg)
{
    struct other *o = arg;
    watch_begin("other", "waiting", NS_PER_S);
    sem_post(&o->begun);
    sem_wait(&o->go);
    return NULL; /* ends without saying so */
}

static void test_watch__a_thread_that_ends_leaves(void **state)
{
    (void)state;
    struct other o;
    pthread_t t;
    sem_init(&o.begun, 0, 0);
    sem_init(&o.go, 0, 0);
    assert_int_equal(pthread_create(&t, NULL, other_main, &o), 0);
    sem_wait(&o.begun);
    assert_int_equal(watch_look(clock_mono_ns() + 2 * NS_PER_S), 1);
    sem_post(&o.go);
    pthread_join(t, NULL);
    assert_int_equal(watch_look(clock_mono_ns() + 2 * NS_PER_S), 0);
    sem_destroy(&o.begun);
    sem_destroy(&o.go);
}

static void test_watch__the_monitor_starts_and_stops(void **state)
{
    (void)state;
    struct err err;
    watch_stop();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(watch_start(&err), EC_OK);
        watch_stop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch__work_in_time_is_not_stuck),
        cmocka_unit_test(test_watch__work_over_its_time_is_stuck_until_it_ends),
        cmocka_unit_test(test_watch__a_thread_that_ends_leaves),
        cmocka_unit_test(test_watch__the_monitor_starts_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
