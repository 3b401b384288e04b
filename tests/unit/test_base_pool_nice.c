/* SPDX-License-Identifier: Apache-2.0
 * Priorities of pool threads: long jobs lower theirs, the next job starts at the old one, with and
 * without the privilege to raise it. Capabilities are the thread's, and its children's.
 *
 * A thread that is lost makes waits endless, also those inside the pool, and cmocka keeps what a
 * thread of ours says to itself. So a case that does not come to its end says where it was, and
 * checks that run on threads print by themselves; both end the program. */
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"
#include "base/thread.h"
#include "unit.h"

#define MEDIUM_NS (15 * NS_PER_MS) /* takes turns, and is not lowered */
#define LONG_NS   (35 * NS_PER_MS)
#define LATER     5 /* nice of long jobs, above where they began */
#define N_JOBS    12u
#define END_S     60u

/* What is waited for, for the case's end. */
static const char *volatile waits_for;
static unsigned own_threads; /* of the process before there was a pool: a sanitizer has some */

static void too_late(int signal)
{
    static const char begin[] = "never so within a minute: ", end[] = "\n";
    const char *what = waits_for;
    (void)signal;
    (void)!write(STDERR_FILENO, begin, sizeof(begin) - 1); /* nothing else can be done */
    (void)!write(STDERR_FILENO, what, strlen(what));
    (void)!write(STDERR_FILENO, end, sizeof(end) - 1);
    _exit(1);
}

static int setup(void **state)
{
    (void)state;
    waits_for = "the case ends";
    ASSERT(signal(SIGALRM, too_late) != SIG_ERR); /* threads of a pool block it */
    alarm(END_S);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    alarm(0);
    return 0;
}

#define must_equal(actual, expected)                                                               \
    do {                                                                                           \
        long long actual_ = (actual), expected_ = (expected);                                      \
        if (actual_ != expected_) {                                                                \
            fprintf(                                                                               \
                stderr, "line %d: %s is %lld, not %lld\n", __LINE__, #actual, actual_, expected_); \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
#define must(cond) must_equal((cond) ? 1 : 0, 1)

static unsigned threads_now(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    must(d != NULL);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

/* What ended is still there for a moment after it was joined. */
static unsigned threads_settled(unsigned want)
{
    for (int i = 0; i < 2000 && threads_now() != want; i++)
        usleep(1000);
    return threads_now();
}

static void use_cpu(int64_t ns)
{
    for (int64_t until = clock_cpu_ns() + ns; clock_cpu_ns() < until;)
        ;
}

static void *nothing(void *arg)
{
    return arg;
}

/* A sanitizer starts a thread of its own with the first of ours; and what ended is still there for
 * a moment. */
static unsigned threads_without_pool(void)
{
    pthread_t t;
    must_equal(pthread_create(&t, NULL, nothing, NULL), 0);
    pthread_join(t, NULL);
    unsigned n = threads_now();
    for (int i = 0; i < 50; i++, usleep(1000))
        n = MIN(n, threads_now());
    return n;
}

/* Ours and the caller's; what is left of an earlier case is going. */
static unsigned threads_before(void)
{
    must_equal(threads_settled(own_threads + 1), own_threads + 1);
    return own_threads + 1;
}

/* Gives up the right to raise priorities, for the calling thread. */
static void drop_privilege(void)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2];
    const struct rlimit none = {0, 0};
    must_equal(syscall(SYS_capget, &h, d), 0);
    d[0].effective &= ~(1u << CAP_SYS_NICE);
    d[0].permitted &= ~(1u << CAP_SYS_NICE);
    d[0].inheritable &= ~(1u << CAP_SYS_NICE);
    must_equal(syscall(SYS_capset, &h, d), 0);
    must_equal(setrlimit(RLIMIT_NICE, &none), 0);
}

static struct pool *pool_of(unsigned n_normal, unsigned n_help)
{
    struct pool *p = NULL;
    struct err err = {0};
    const struct pool_options opt = {.n_normal = n_normal, .n_help = n_help, .n_turns = n_normal};
    assert_ok(pool_new(&opt, &p, &err), err);
    return p;
}

struct seen {
    pid_t thread;
    int begin, brief, late; /* nice: at first, after some turns, after a long time */
};

struct log {
    struct seen jobs[N_JOBS];
    atomic_uint n;
    sem_t done;
};

static void log_init(struct log *l)
{
    *l = (struct log){.n = 0};
    sem_init(&l->done, 0, 0);
}

static void long_job(void *arg)
{
    struct log *l = arg;
    struct seen *s = &l->jobs[atomic_fetch_add(&l->n, 1)];
    s->thread = gettid();
    s->begin = thread_nice();
    pool_turn(false);
    use_cpu(MEDIUM_NS);
    pool_turn(false);
    s->brief = thread_nice();
    use_cpu(LONG_NS - MEDIUM_NS);
    pool_turn(false);
    s->late = thread_nice();
    sem_post(&l->done);
}

static void short_job(void *arg)
{
    struct log *l = arg;
    struct seen *s = &l->jobs[atomic_fetch_add(&l->n, 1)];
    s->thread = gettid();
    s->begin = s->brief = s->late = thread_nice();
    sem_post(&l->done);
}

static void wait_for(struct log *l, unsigned n)
{
    waits_for = "all jobs have run";
    for (unsigned i = 0; i < n; i++)
        while (sem_wait(&l->done) != 0)
            ;
    waits_for = "the case ends";
}

static void free_pool(struct pool *p)
{
    waits_for = "the pool's threads have ended";
    pool_free(p);
    waits_for = "the case ends";
}

/* All jobs one after another on one thread's place. Returns how many threads there were. */
static unsigned run_long(struct pool *p, struct log *l)
{
    unsigned n_threads = 0;
    for (unsigned i = 0; i < N_JOBS; i++)
        must(pool_submit(p, POOL_NORMAL, i, long_job, l));
    wait_for(l, N_JOBS);
    int base = thread_nice();
    for (unsigned i = 0; i < N_JOBS; i++) {
        unsigned before = 0;
        must_equal(l->jobs[i].begin, base);
        must_equal(l->jobs[i].brief, base);
        must_equal(l->jobs[i].late, MIN(base + LATER, 19));
        for (unsigned k = 0; k < i; k++)
            before += l->jobs[k].thread == l->jobs[i].thread;
        n_threads += before == 0;
    }
    return n_threads;
}

static void *replaced(void *arg)
{
    struct log l;
    (void)arg;
    log_init(&l);
    drop_privilege();
    unsigned before = threads_before();
    struct pool *p = pool_of(1, 1);
    unsigned with = threads_settled(before + 5); /* keeper, work, help, urgent, low */
    must_equal(with, before + 5);
    must_equal(run_long(p, &l), N_JOBS);
    must_equal(threads_settled(with), with);
    must_equal(pool_threads(p, POOL_NORMAL), 1);
    free_pool(p);
    must_equal(threads_settled(before), before);
    return NULL;
}

/* A thread without the privilege; its creator keeps it. */
static void unprivileged(void *(*fn)(void *))
{
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, fn, NULL), 0);
    pthread_join(t, NULL);
}

static void test_nice__who_cannot_be_raised_is_replaced(void **state)
{
    (void)state;
    unprivileged(replaced);
}

static void test_nice__with_the_privilege_the_thread_goes_on(void **state)
{
    (void)state;
    struct log l;
    int base = thread_nice();
    bool may = setpriority(PRIO_PROCESS, (id_t)gettid(), base + 1) == 0 &&
               setpriority(PRIO_PROCESS, (id_t)gettid(), base) == 0;
    if (!may)
        skip(); /* the rest of the program is nicer for it, which no test minds */
    log_init(&l);
    struct pool *p = pool_of(1, 1);
    assert_int_equal(run_long(p, &l), 1);
    free_pool(p);
}

static void *short_ones(void *arg)
{
    struct log l;
    (void)arg;
    log_init(&l);
    drop_privilege();
    struct pool *p = pool_of(1, 1);
    for (unsigned i = 0; i < N_JOBS; i++)
        must(pool_submit(p, POOL_NORMAL, 0, short_job, &l));
    wait_for(&l, N_JOBS);
    for (unsigned i = 1; i < N_JOBS; i++)
        must_equal(l.jobs[i].thread, l.jobs[0].thread);
    free_pool(p);
    return NULL;
}

static void test_nice__short_jobs_cost_no_thread(void **state)
{
    (void)state;
    unprivileged(short_ones);
}

static void *freed(void *arg)
{
    (void)arg;
    drop_privilege();
    unsigned before = threads_before();
    for (int round = 0; round < 10; round++) {
        struct log l;
        log_init(&l);
        struct pool *p = pool_of(3, 1);
        for (unsigned i = 0; i < N_JOBS; i++)
            must(pool_submit(p, POOL_NORMAL, i % 2, i % 3 == 0 ? long_job : short_job, &l));
        if (round % 2 == 1)
            wait_for(&l, (unsigned)round);
        free_pool(p); /* threads are asking to leave, others wait in the queue */
        must_equal(atomic_load(&l.n), N_JOBS);
        must_equal(threads_settled(before), before);
    }
    return NULL;
}

static void test_nice__the_end_waits_for_leavers_and_runs_what_is_queued(void **state)
{
    (void)state;
    unprivileged(freed);
}

/* ---- helpers ---- */

struct help {
    struct pool *p;
    pthread_barrier_t both;
    pid_t caller;
    int64_t before_ns, inside_ns;
    int helper_begin, helper_late; /* nice */
    sem_t done;
};

static void helped(void *arg, size_t i)
{
    struct help *h = arg;
    (void)i;
    int begin = thread_nice();
    pthread_barrier_wait(&h->both);
    if (gettid() != h->caller) {
        use_cpu(h->inside_ns);
        pool_turn(false);
        h->helper_begin = begin;
        h->helper_late = thread_nice();
    }
    pthread_barrier_wait(&h->both);
}

static void caller_job(void *arg)
{
    struct help *h = arg;
    h->caller = gettid();
    use_cpu(h->before_ns);
    pool_turn(false);
    pool_parallel(h->p, 1, 1, 2, helped, h);
    sem_post(&h->done);
}

static void help_run(struct help *h, int64_t before_ns, int64_t inside_ns)
{
    h->before_ns = before_ns;
    h->inside_ns = inside_ns;
    must(pool_submit(h->p, POOL_NORMAL, 1, caller_job, h));
    while (sem_wait(&h->done) != 0)
        ;
}

static void *helpers(void *arg)
{
    struct help h = {.caller = 0};
    int base = thread_nice();
    (void)arg;
    drop_privilege();
    pthread_barrier_init(&h.both, NULL, 2);
    sem_init(&h.done, 0, 0);
    h.p = pool_of(1, 1);
    help_run(&h, 0, 0);
    must_equal(h.helper_begin, base);
    must_equal(h.helper_late, base);
    help_run(&h, 0, LONG_NS); /* long itself */
    must_equal(h.helper_begin, base);
    must_equal(h.helper_late, MIN(base + LATER, 19));
    help_run(&h, LONG_NS, 0); /* of a long job */
    must_equal(h.helper_begin, MIN(base + LATER, 19));
    help_run(&h, 0, 0); /* and the next is a new one */
    must_equal(h.helper_begin, base);
    free_pool(h.p);
    pthread_barrier_destroy(&h.both);
    return NULL;
}

static void test_nice__helpers_are_no_better_than_whom_they_help(void **state)
{
    (void)state;
    unprivileged(helpers);
}

/* ---- what a job waited for ---- */

struct timed {
    sem_t open, done;
    struct pool_times t;
};

static void hold(void *arg)
{
    while (sem_wait(&((struct timed *)arg)->open) != 0)
        ;
}

static void measure(void *arg)
{
    struct timed *t = arg;
    use_cpu(5 * NS_PER_MS);
    pool_job_times(&t->t);
    sem_post(&t->done);
}

static void test_times__queue_and_cpu_of_a_job(void **state)
{
    (void)state;
    struct timed t = {0};
    sem_init(&t.open, 0, 0);
    sem_init(&t.done, 0, 0);
    pool_job_times(&t.t); /* of a thread that is none of a pool's */
    assert_int_equal(t.t.cpu_ns + t.t.queued_ns + t.t.turns_ns + t.t.stalled_ns, 0);
    struct pool *p = pool_of(1, 1);
    assert_true(pool_submit(p, POOL_NORMAL, 0, hold, &t));
    assert_true(pool_submit(p, POOL_NORMAL, 0, measure, &t));
    usleep(20000);
    sem_post(&t.open);
    free_pool(p);
    assert_true(t.t.queued_ns >= 20 * NS_PER_MS);
    assert_true(t.t.cpu_ns >= 5 * NS_PER_MS && t.t.cpu_ns < NS_PER_S);
    assert_int_equal(t.t.turns_ns, 0);
    assert_true(t.t.stalled_ns >= 0);
}

struct waiting {
    struct pool_times t;
    sem_t inside, open;
    bool first;
    pid_t thread;
};

/* Waits until a thread of ours sleeps. */
static void until_asleep(pid_t thread)
{
    char path[64], line[256] = "", *end = NULL;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
    waits_for = "the thread sleeps";
    while (end == NULL || end[2] != 'S') { /* "<id> (<name>) S" */
        FILE *f = fopen(path, "r");
        must(f != NULL && fgets(line, sizeof(line), f) != NULL);
        fclose(f);
        end = strrchr(line, ')');
        must(end != NULL);
        usleep(1000);
    }
    waits_for = "the case ends";
}

static void wait_turn(void *arg)
{
    struct waiting *w = arg;
    use_cpu(MEDIUM_NS);
    w->thread = gettid();
    if (!w->first)
        sem_post(&w->open); /* whom we wait for goes on, and ends */
    pool_turn(false);
    if (w->first) {
        sem_post(&w->inside);
        while (sem_wait(&w->open) != 0)
            ;
    }
    pool_job_times(&w->t);
}

static void test_times__waiting_for_a_turn_is_told(void **state)
{
    (void)state;
    struct waiting first = {.first = true}, second = {.first = false};
    struct pool *p = NULL;
    struct err err = {0};
    sem_init(&first.inside, 0, 0);
    sem_init(&first.open, 0, 0);
    sem_init(&second.open, 0, 0);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_turns = 1}, &p, &err), err);
    assert_true(pool_submit(p, POOL_NORMAL, 0, wait_turn, &first));
    while (sem_wait(&first.inside) != 0)
        ;
    assert_true(pool_submit(p, POOL_NORMAL, 0, wait_turn, &second));
    while (sem_wait(&second.open) != 0)
        ;
    until_asleep(second.thread);
    usleep(20000);
    sem_post(&first.open);
    free_pool(p);
    assert_int_equal(first.t.turns_ns / NS_PER_MS, 0);
    assert_true(second.t.turns_ns >= 20 * NS_PER_MS);
}

/* ---- a profile that refuses ---- */

static void refuse(int call)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog prog = {.len = ARRAY_LEN(code), .filter = code};
    must_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    must_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

static void *refused(void *arg)
{
    (void)arg;
    int base = thread_nice();
    must(thread_set(THREAD_BULK, base));
    must_equal(sched_getscheduler(0), SCHED_BATCH);
    must(thread_set(THREAD_PROMPT, base));
    must_equal(sched_getscheduler(0), SCHED_OTHER);
    refuse(SYS_sched_setattr);
    must(thread_set(THREAD_USUAL, base + 2)); /* the older call is there */
    must_equal(thread_nice(), base + 2);
    refuse(SYS_setpriority);
    must(!thread_set(THREAD_BULK, base + 4));
    must_equal(thread_nice(), base + 2);
    return NULL;
}

static void test_thread__a_refusal_changes_nothing(void **state)
{
    (void)state;
    unprivileged(refused); /* a filter is the thread's */
}

static void test_thread__stalled_time_grows(void **state)
{
    (void)state;
    int64_t before = thread_stalled_ns();
    use_cpu(NS_PER_MS);
    assert_true(before >= 0 && thread_stalled_ns() >= before);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    own_threads = threads_without_pool();
    const struct CMUnitTest tests[] = {
        CASE(test_nice__with_the_privilege_the_thread_goes_on),
        CASE(test_nice__who_cannot_be_raised_is_replaced),
        CASE(test_nice__short_jobs_cost_no_thread),
        CASE(test_nice__the_end_waits_for_leavers_and_runs_what_is_queued),
        CASE(test_nice__helpers_are_no_better_than_whom_they_help),
        CASE(test_times__queue_and_cpu_of_a_job),
        CASE(test_times__waiting_for_a_turn_is_told),
        CASE(test_thread__a_refusal_changes_nothing),
        CASE(test_thread__stalled_time_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
