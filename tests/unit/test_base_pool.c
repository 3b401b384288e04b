/* SPDX-License-Identifier: Apache-2.0
 * The worker pool: fairness, bounds, classes, and pool_parallel alone, nested and starved. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"
#include "src/base/turns.h"
#include "unit.h"

static struct pool *pool_of(unsigned n_normal, unsigned queue_max)
{
    struct pool *p = NULL;
    struct err err = {0};
    struct pool_options opt = {.n_normal = n_normal, .n_low = 1, .queue_max = queue_max};
    assert_ok(pool_new(&opt, &p, &err), err);
    return p;
}

/* A job that holds its worker until it is let go. */
struct gate {
    sem_t entered, open;
};

static void gate_init(struct gate *g)
{
    sem_init(&g->entered, 0, 0);
    sem_init(&g->open, 0, 0);
}

static void gate_wait(void *arg)
{
    struct gate *g = arg;
    sem_post(&g->entered);
    while (sem_wait(&g->open) != 0)
        ;
}

static void sem_down(sem_t *s)
{
    while (sem_wait(s) != 0)
        ;
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void test_pool__runs_each_job_once(void **state)
{
    (void)state;
    atomic_uint n = 0;
    struct pool *p = pool_of(3, 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(pool_submit(p, i % 5 == 0 ? POOL_LOW : POOL_NORMAL, i % 7, count, &n));
    pool_free(p); /* runs what is queued */
    assert_int_equal(atomic_load(&n), 1000);
    pool_free(NULL);
}

static void test_pool__defaults_are_sane(void **state)
{
    (void)state;
    struct pool *p = NULL;
    struct err err = {0};
    assert_ok(pool_new(&(struct pool_options){0}, &p, &err), err);
    assert_true(pool_threads(p, POOL_NORMAL) >= 2);
    assert_int_equal(pool_threads(p, POOL_LOW), 1);
    assert_int_equal(pool_queued(p, POOL_NORMAL), 0);
    pool_free(p);
    assert_ec(pool_new(&(struct pool_options){.n_normal = 100000}, &p, &err), EC_INVALID);
    assert_ec(pool_new(&(struct pool_options){.stack_bytes = 16}, &p, &err), EC_INVALID);
}

struct who {
    sem_t done;
    pthread_t thread;
};

static void tell_thread(void *arg)
{
    struct who *w = arg;
    w->thread = pthread_self();
    sem_post(&w->done);
}

static void test_pool__who_worked_last_is_woken(void **state)
{
    enum { JOBS = 40 };
    struct pool *p = pool_of(4, 0);
    unsigned changes = 0;
    (void)state;
    for (unsigned i = 0; i < JOBS; i++) {
        static pthread_t last;
        struct who w = {.thread = last};
        sem_init(&w.done, 0, 0);
        assert_true(pool_submit(p, POOL_NORMAL, 1, tell_thread, &w));
        sem_down(&w.done);
        sem_destroy(&w.done);
        changes += i > 0 && !pthread_equal(w.thread, last);
        last = w.thread;
        usleep(2000); /* it has to be asleep again; on a busy machine sometimes it is not */
    }
    assert_true(changes < JOBS / 2);
    pool_free(p);
}

static void test_pool__queue_is_bounded(void **state)
{
    (void)state;
    struct gate g;
    atomic_uint n = 0;
    gate_init(&g);
    struct pool *p = pool_of(1, 3);
    assert_true(pool_submit(p, POOL_NORMAL, 0, gate_wait, &g));
    sem_down(&g.entered);
    for (unsigned i = 0; i < 3; i++)
        assert_true(pool_submit(p, POOL_NORMAL, i, count, &n));
    assert_int_equal(pool_queued(p, POOL_NORMAL), 3);
    assert_false(pool_submit(p, POOL_NORMAL, 9, count, &n));
    assert_true(pool_submit(p, POOL_LOW, 9, count, &n)); /* each class has its own bound */
    sem_post(&g.open);
    pool_free(p);
    assert_int_equal(atomic_load(&n), 4);
}

static struct {
    pthread_mutex_t lock;
    char order[64];
    unsigned n;
} trail = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void leave_mark(void *arg)
{
    pthread_mutex_lock(&trail.lock);
    trail.order[trail.n++] = *(const char *)arg;
    pthread_mutex_unlock(&trail.lock);
}

static void test_pool__takes_keys_in_turn(void **state)
{
    (void)state;
    static char marks[] = "abcdefgh";
    struct gate g;
    gate_init(&g);
    trail.n = 0;
    struct pool *p = pool_of(1, 0);
    assert_true(pool_submit(p, POOL_NORMAL, 0, gate_wait, &g));
    sem_down(&g.entered);
    for (unsigned i = 0; i < 4; i++) /* one heavy key first */
        assert_true(pool_submit(p, POOL_NORMAL, 1, leave_mark, &marks[i]));
    assert_true(pool_submit(p, POOL_NORMAL, 2, leave_mark, &marks[4]));
    assert_true(pool_submit(p, POOL_NORMAL, 3, leave_mark, &marks[5]));
    assert_true(pool_submit(p, POOL_NORMAL, 2, leave_mark, &marks[6]));
    assert_true(pool_submit(p, POOL_NORMAL, 257, leave_mark, &marks[7]));
    sem_post(&g.open);
    pool_free(p);
    assert_memory_equal(trail.order, "aefhbgcd", 8);
}

struct low_seen {
    int nice;
    pid_t thread;
};

static void see_low(void *arg)
{
    struct low_seen *s = arg;
    s->thread = gettid();
    s->nice = getpriority(PRIO_PROCESS, (id_t)s->thread);
}

static void test_pool__low_class_has_its_own_nice_threads(void **state)
{
    (void)state;
    struct gate g;
    struct low_seen low = {0};
    gate_init(&g);
    struct pool *p = pool_of(2, 0);
    for (int i = 0; i < 2; i++)
        assert_true(pool_submit(p, POOL_NORMAL, 0, gate_wait, &g));
    for (int i = 0; i < 2; i++)
        sem_down(&g.entered);
    assert_true(pool_submit(p, POOL_LOW, 0, see_low, &low)); /* all normal threads are held */
    while (pool_queued(p, POOL_LOW) > 0)
        sched_yield();
    for (int i = 0; i < 2; i++)
        sem_post(&g.open);
    pool_free(p);
    assert_int_not_equal(low.thread, 0);
    assert_true(low.nice >= 10);
}

struct sums {
    struct pool *p;
    atomic_uint seen[500];
    atomic_uint total;
};

static void mark(void *arg, size_t i)
{
    struct sums *s = arg;
    atomic_fetch_add(&s->seen[i], 1);
    atomic_fetch_add(&s->total, 1);
}

static void check_all_once(struct sums *s, size_t n)
{
    assert_int_equal(atomic_load(&s->total), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(atomic_load(&s->seen[i]), 1);
}

static void test_parallel__visits_every_index_once(void **state)
{
    (void)state;
    struct pool *p = pool_of(4, 0);
    static const size_t sizes[] = {0, 1, 2, 3, 500};
    static const unsigned widths[] = {0, 1, 4, 1000};
    for (size_t a = 0; a < ARRAY_LEN(sizes); a++)
        for (size_t b = 0; b < ARRAY_LEN(widths); b++) {
            struct sums *s = calloc(1, sizeof(*s));
            pool_parallel(p, 1, widths[b], sizes[a], mark, s);
            check_all_once(s, sizes[a]);
            free(s); /* a late helper must not touch it */
        }
    pool_free(p);
}

static void test_parallel__works_without_free_workers(void **state)
{
    (void)state;
    struct gate g;
    struct sums s = {0};
    gate_init(&g);
    struct pool *p = pool_of(1, 1);
    assert_true(pool_submit(p, POOL_NORMAL, 0, gate_wait, &g));
    sem_down(&g.entered);
    pool_parallel(p, 1, 8, 500, mark, &s); /* the worker is held, the queue has one place */
    check_all_once(&s, 500);
    pool_parallel(p, 1, 8, 0, mark, &s);
    struct sums alone = {0};
    pool_parallel(NULL, 1, 8, 500, mark, &alone);
    check_all_once(&alone, 500);
    sem_post(&g.open);
    pool_free(p);
}

static void nested(void *arg, size_t i)
{
    struct sums *s = arg;
    (void)i;
    struct sums inner = {.p = s->p};
    pool_parallel(s->p, i, 4, 50, mark, &inner);
    ASSERT(atomic_load(&inner.total) == 50);
    atomic_fetch_add(&s->total, 1);
}

static void nested_job(void *arg)
{
    struct sums *s = arg;
    pool_parallel(s->p, 7, 4, 20, nested, s);
}

static void test_parallel__nests_on_pool_threads(void **state)
{
    (void)state;
    struct sums s = {.p = pool_of(2, 8)};
    unsigned n_jobs = 0;
    for (int i = 0; i < 8; i++)
        n_jobs += pool_submit(s.p, i % 2 == 0 ? POOL_NORMAL : POOL_LOW, i, nested_job, &s);
    pool_parallel(s.p, 7, 4, 20, nested, &s);
    pool_free(s.p);
    assert_true(n_jobs > 0);
    assert_int_equal(atomic_load(&s.total), 20 * (n_jobs + 1));
}

static void meet(void *arg, size_t i)
{
    (void)i;
    pthread_barrier_wait(arg); /* passes only when four threads are inside at once */
}

static void test_parallel__uses_several_threads(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 4);
    struct pool *p = pool_of(3, 0);
    pool_parallel(p, 1, 3, 4, meet, &barrier);
    pool_free(p);
    pthread_barrier_destroy(&barrier);
}

static void test_parallel__width_bounds_the_helpers(void **state)
{
    (void)state;
    struct gate g;
    gate_init(&g);
    struct sums s = {0};
    struct pool *p = pool_of(4, 100);
    for (int i = 0; i < 4; i++)
        assert_true(pool_submit(p, POOL_NORMAL, 0, gate_wait, &g));
    for (int i = 0; i < 4; i++)
        sem_down(&g.entered);
    pool_parallel(p, 1, 2, 500, mark, &s);
    assert_int_equal(pool_queued(p, POOL_NORMAL), 2); /* came too late, and will find nothing */
    for (int i = 0; i < 4; i++)
        sem_post(&g.open);
    pool_free(p);
    check_all_once(&s, 500);
}

struct slow {
    pthread_barrier_t both_inside;
    pthread_t caller;
    atomic_bool helper_done;
};

static void slow_on_helpers(void *arg, size_t i)
{
    struct slow *s = arg;
    (void)i;
    pthread_barrier_wait(&s->both_inside);
    if (pthread_equal(pthread_self(), s->caller))
        return;
    usleep(30000);
    atomic_store(&s->helper_done, true);
}

static void test_parallel__waits_for_running_helpers(void **state)
{
    (void)state;
    struct slow s = {.caller = pthread_self()};
    pthread_barrier_init(&s.both_inside, NULL, 2);
    struct pool *p = pool_of(1, 0);
    pool_parallel(p, 1, 1, 2, slow_on_helpers, &s);
    assert_true(atomic_load(&s.helper_done));
    pool_free(p);
    pthread_barrier_destroy(&s.both_inside);
}

struct classes {
    struct pool *p;
    pthread_barrier_t both_inside;
    sem_t swept;
    char names[2][16];
};

static void note_thread(void *arg, size_t i)
{
    struct classes *c = arg;
    pthread_getname_np(pthread_self(), c->names[i], sizeof(c->names[i]));
    pthread_barrier_wait(&c->both_inside);
}

static void sweep_two(void *arg)
{
    struct classes *c = arg;
    pool_parallel(c->p, 1, 2, 2, note_thread, c);
    sem_post(&c->swept);
}

static void test_parallel__of_queries_has_threads_of_its_own(void **state)
{
    (void)state;
    struct classes c = {0};
    struct err err = {0};
    pthread_barrier_init(&c.both_inside, NULL, 2);
    sem_init(&c.swept, 0, 0);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_help = 1}, &c.p, &err), err);
    assert_true(pool_submit(c.p, POOL_NORMAL, 1, sweep_two, &c));
    sem_down(&c.swept);
    pool_free(c.p);
    bool helped = memcmp(c.names[0], "help-", 5) == 0;
    assert_memory_equal(c.names[helped], "work-", 5);
    assert_memory_equal(c.names[!helped], "help-", 5);
    pthread_barrier_destroy(&c.both_inside);
}

static void test_parallel__of_low_threads_stays_low(void **state)
{
    (void)state;
    struct classes c = {0};
    struct err err = {0};
    pthread_barrier_init(&c.both_inside, NULL, 2);
    sem_init(&c.swept, 0, 0);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_low = 2}, &c.p, &err), err);
    assert_true(pool_submit(c.p, POOL_LOW, 1, sweep_two, &c));
    sem_down(&c.swept);
    pool_free(c.p);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(c.names[i], "low-", 4);
    pthread_barrier_destroy(&c.both_inside);
}

/* ---- turns ---- */

struct turn_job {
    struct gate gate;
    sem_t done;
    bool keep;
};

static void use_cpu(int64_t ns)
{
    for (int64_t until = clock_cpu_ns() + ns; clock_cpu_ns() < until;)
        ;
}

/* Long, has its turn, and keeps it until the gate opens; then asks again. */
static void long_job(void *arg)
{
    struct turn_job *j = arg;
    use_cpu(15 * NS_PER_MS);
    pool_turn(false);
    gate_wait(&j->gate);
    use_cpu(25 * NS_PER_MS);
    pool_turn(j->keep); /* who waits is first */
    sem_post(&j->done);
    if (j->keep)
        sem_down(&j->gate.open);
}

static void short_job(void *arg)
{
    struct turn_job *j = arg;
    pool_turn(false);
    sem_post(&j->done);
}

static void turn_job_init(struct turn_job *j)
{
    gate_init(&j->gate);
    sem_init(&j->done, 0, 0);
    j->keep = false;
}

static bool sem_down_soon(sem_t *s, long ms)
{
    for (long i = 0; i < ms; i++) {
        if (sem_trywait(s) == 0)
            return true;
        usleep(1000);
    }
    return false;
}

static void test_turns__short_jobs_pass_long_ones_wait(void **state)
{
    (void)state;
    struct pool *p = NULL;
    struct err err = {0};
    struct turn_job first, second, brief;
    turn_job_init(&first);
    turn_job_init(&second);
    turn_job_init(&brief);
    pool_turn(false); /* of a thread that is none of a pool's: nothing */
    assert_ok(pool_new(&(struct pool_options){.n_normal = 3, .n_turns = 1}, &p, &err), err);
    assert_true(pool_submit(p, POOL_NORMAL, 1, long_job, &first));
    sem_down(&first.gate.entered);
    assert_true(pool_submit(p, POOL_NORMAL, 1, long_job, &second));
    assert_false(sem_down_soon(&second.gate.entered, 200));
    assert_true(pool_submit(p, POOL_NORMAL, 1, short_job, &brief));
    sem_down(&brief.done);
    assert_int_not_equal(sem_trywait(&second.gate.entered), 0); /* still waits */
    sem_post(&first.gate.open);
    sem_down(&second.gate.entered);
    /* The first one comes back only when the second is over: that one keeps its turn. */
    assert_false(sem_down_soon(&first.done, 200));
    second.keep = true;
    sem_post(&second.gate.open);
    sem_down(&second.done);
    assert_false(sem_down_soon(&first.done, 200));
    sem_post(&second.gate.open);
    sem_down(&first.done);
    pool_free(p);
}

static void test_turns__who_stands_still_holds_up_nobody_for_long(void **state)
{
    (void)state;
    struct pool *p = NULL;
    struct err err = {0};
    struct turn_job first, second;
    turn_job_init(&first);
    turn_job_init(&second);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_turns = 1}, &p, &err), err);
    assert_true(pool_submit(p, POOL_NORMAL, 1, long_job, &first));
    sem_down(&first.gate.entered);
    assert_true(pool_submit(p, POOL_NORMAL, 1, long_job, &second));
    sem_down(&second.gate.entered); /* although the first one never looks up */
    sem_post(&first.gate.open);
    sem_post(&second.gate.open);
    pool_free(p);
    assert_int_equal(sem_trywait(&first.done), 0);
    assert_int_equal(sem_trywait(&second.done), 0);
}

struct claimant {
    struct turns *t;
    struct turn_claim claim;
    pthread_t thread;
    _Atomic int place; /* 1: was first */
};

static _Atomic int places;

static void *claim_turn(void *arg)
{
    struct claimant *c = arg;
    if (turns_take(c->t, c->claim, 60 * NS_PER_S)) {
        c->place = ++places;
        turns_give(c->t);
    }
    return NULL;
}

/* Claims come in this order while the only place is taken; the place each then has. */
static void turns_go(const struct turn_claim *claims, const int *want, unsigned n)
{
    struct turns t;
    struct claimant c[4];
    turns_init(&t, 1);
    assert_true(turns_take(&t, (struct turn_claim){0}, 0));
    assert_false(turns_take(&t, (struct turn_claim){0}, 1000)); /* there is no other */
    places = 0;
    for (unsigned i = 0; i < n; i++) {
        c[i] = (struct claimant){.t = &t, .claim = claims[i]};
        assert_int_equal(pthread_create(&c[i].thread, NULL, claim_turn, &c[i]), 0);
        while (t.n_waiting != i + 1)
            usleep(100);
    }
    turns_give(&t);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(c[i].thread, NULL);
        assert_int_equal(c[i].place, want[i]);
    }
    turns_deinit(&t);
}

static void test_turns__go_to_who_has_used_least(void **state)
{
    const struct turn_claim used[] = {{NS_PER_S, 0}, {NS_PER_S / 10, 0}, {0, 0}, {NS_PER_S, 0}};
    (void)state;
    turns_go(used, (int[]){3, 2, 1, 4}, 4);
    /* Who has waited long for what he has used is not kept out. */
    const struct turn_claim waited[] = {
        {NS_PER_S, 0}, {200 * NS_PER_S, 1000 * NS_PER_S}, {50 * NS_PER_S, 1000 * NS_PER_S}};
    turns_go(waited, (int[]){2, 3, 1}, 3);
}

static void test_turns__are_owed_to_who_has_used_less(void **state)
{
    struct turns t;
    struct claimant c = {.t = &t, .claim = {NS_PER_S, 0}};
    (void)state;
    turns_init(&t, 1);
    assert_true(turns_take(&t, (struct turn_claim){0}, 0));
    assert_false(turns_owed(&t, (struct turn_claim){NS_PER_S, 0}));
    assert_int_equal(pthread_create(&c.thread, NULL, claim_turn, &c), 0);
    while (!turns_wanted(&t))
        usleep(100);
    assert_false(turns_owed(&t, (struct turn_claim){NS_PER_S / 100, 0}));
    assert_true(turns_owed(&t, (struct turn_claim){2 * NS_PER_S, 0}));
    assert_false(turns_owed(&t, (struct turn_claim){2 * NS_PER_S, 1000 * NS_PER_S}));
    turns_give(&t);
    pthread_join(c.thread, NULL);
    assert_int_not_equal(c.place, 0);
    turns_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__runs_each_job_once),
        cmocka_unit_test(test_pool__defaults_are_sane),
        cmocka_unit_test(test_pool__who_worked_last_is_woken),
        cmocka_unit_test(test_pool__queue_is_bounded),
        cmocka_unit_test(test_pool__takes_keys_in_turn),
        cmocka_unit_test(test_pool__low_class_has_its_own_nice_threads),
        cmocka_unit_test(test_parallel__visits_every_index_once),
        cmocka_unit_test(test_parallel__works_without_free_workers),
        cmocka_unit_test(test_parallel__nests_on_pool_threads),
        cmocka_unit_test(test_parallel__uses_several_threads),
        cmocka_unit_test(test_parallel__width_bounds_the_helpers),
        cmocka_unit_test(test_parallel__waits_for_running_helpers),
        cmocka_unit_test(test_parallel__of_queries_has_threads_of_its_own),
        cmocka_unit_test(test_parallel__of_low_threads_stays_low),
        cmocka_unit_test(test_turns__go_to_who_has_used_least),
        cmocka_unit_test(test_turns__are_owed_to_who_has_used_less),
        cmocka_unit_test(test_turns__short_jobs_pass_long_ones_wait),
        cmocka_unit_test(test_turns__who_stands_still_holds_up_nobody_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
