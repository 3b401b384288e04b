/* SPDX-License-Identifier: Apache-2.0
 * Every I/O call of a scenario fails once, in turn: the store goes on or refuses, and a restart
 * without faults finds each acked request whole and once, each refused one whole or not at all, and
 * nothing else. Then the same with a kill -9 right after the nth call at each site. */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "store_util.h"

#define TENANT   STR("single-tenant")
#define SPANS    4
#define REQUESTS 14

enum outcome { UNSENT, SENT, ACKED, REFUSED };
/* Shared with children that are killed. */
struct ledger {
    _Atomic int state[REQUESTS];
};

static void send_one(struct test_store *t, struct ledger *l, uint32_t r)
{
    atomic_store(&l->state[r], SENT);
    enum ec ec = test_append(t, TENANT, r, SPANS);
    atomic_store(&l->state[r], ec == EC_OK ? ACKED : REFUSED);
}

/* Everything the store does with files; a step that fails is part of the game. */
static void scenario(struct test_store *t, struct ledger *l)
{
    struct err err;
    uint32_t r = 0;
    if (store_open(&t->opt, &t->s, &err) != EC_OK)
        return;
    for (; r < 8; r++) {
        send_one(t, l, r);
        if (r % 2 == 1 && store_flush(t->s, TENANT, &err) != EC_OK)
            test_sleep_ms(1);
    }
    if (store_compact(t->s, &err) != EC_OK)
        test_sleep_ms(1);
    for (; r < 11; r++)
        send_one(t, l, r);
    enum ec ec = store_close(TAKE_PTR(t->s), true, &err);
    if (ec == EC_OK)
        ec = store_open(&t->opt, &t->s, &err);
    if (ec != EC_OK && t->s == NULL && store_open(&t->opt, &t->s, &err) != EC_OK)
        return;
    for (; r < REQUESTS; r++)
        send_one(t, l, r);
    test_store_crash(t);
}

static void check(struct test_store *t, struct ledger *l, const char *what)
{
    struct test_seen seen;
    size_t expected = 0;
    test_store_open(t);
    test_see(t, TENANT, &seen);
    for (uint32_t r = 0; r < REQUESTS; r++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < SPANS; i++) {
            uint32_t k = test_seen_count(&seen, test_span_id(TENANT, r, i));
            if (k > 1)
                fail_msg("%s: request %u: a span is there %u times", what, r, k);
            n += k;
        }
        int state = atomic_load(&l->state[r]);
        if (state == ACKED && n != SPANS)
            fail_msg("%s: request %u was acked, %u of %u spans are there", what, r, n, SPANS);
        if (n != 0 && (state == UNSENT || n != SPANS))
            fail_msg("%s: request %u (state %d) is there in part: %u", what, r, state, n);
        expected += n;
    }
    assert_int_equal(seen.ids.n, expected);
    test_seen_free(&seen);
    assert_ec(test_append(t, TENANT, REQUESTS, SPANS), EC_OK); /* and it works */
    test_store_close(t, true);
}

static bool fault_round(const char *op, int errnum, uint64_t nth, bool ever, uint64_t *points)
{
    struct test_store t;
    struct ledger l = {0};
    char what[64];
    struct fault_io *f = fault_io_new(NULL);
    snprintf(what, sizeof(what), "%s %d #%llu", op, errnum, (unsigned long long)nth);
    test_store_init(&t, fault_io_io(f));
    fault_io_fail(f, NULL, op, nth, errnum, ever);
    scenario(&t, &l);
    bool fired = fault_io_fired(f) > 0;
    *points += fired;
    t.opt.io = NULL;
    check(&t, &l, what);
    test_store_deinit(&t);
    fault_io_free(f);
    return fired;
}

static void fault_loop(const char *const *ops, size_t n_ops, int errnum)
{
    uint64_t points = 0;
    for (size_t i = 0; i < n_ops; i++)
        for (uint64_t nth = 1; fault_round(ops[i], errnum, nth, false, &points); nth++)
            assert_true(nth < 2000);
    print_message("%llu fault points\n", (unsigned long long)points);
}

static void test_faults__writes_and_syncs_fail_once(void **state)
{
    (void)state;
    static const char *const ops[] = {"pwrite", "fdatasync", "fsync", "rename"};
    fault_loop(ops, ARRAY_LEN(ops), EIO);
}

static void test_faults__names_and_opens_fail_once(void **state)
{
    (void)state;
    static const char *const ops[] = {"open", "unlink", "mkdir", "fallocate", "list", "ftruncate"};
    fault_loop(ops, ARRAY_LEN(ops), EMFILE);
}

static void test_faults__no_space_once(void **state)
{
    (void)state;
    static const char *const ops[] = {"pwrite", "fallocate"};
    fault_loop(ops, ARRAY_LEN(ops), ENOSPC);
}

static void test_faults__persistent(void **state)
{
    (void)state;
    static const char *const ops[] = {
        "pwrite", "fdatasync", "fsync", "rename", "unlink", "open", "fallocate"};
    uint64_t points = 0;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        for (uint64_t nth = 1; nth < 40; nth += 4)
            if (!fault_round(ops[i], EIO, nth, true, &points))
                break;
}

static void test_faults__three_failed_syncs_turn_ingest_off(void **state)
{
    (void)state;
    struct test_store t;
    struct store_health h;
    struct test_ack a = {0};
    struct err err;
    struct fault_io *f = fault_io_new(NULL);
    test_store_init(&t, fault_io_io(f));
    test_store_open(&t);
    assert_ec(test_append(&t, TENANT, 0, SPANS), EC_OK);
    fault_io_fail(f, "wal.sync", "fdatasync", 1, EIO, true);
    for (uint32_t r = 1; r <= 3; r++)
        assert_ec(test_append(&t, TENANT, r, SPANS), EC_UNAVAILABLE);
    assert_ec(test_append_async(&t, TENANT, 4, SPANS, &a, &err), EC_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "ingest is off"));
    store_health(t.s, &h);
    assert_true(h.ingest_off);
    struct trace_id id = test_trace_id(TENANT, 0);
    assert_true(test_trace_spans(&t, TENANT, &id) >= SPANS); /* reads go on */
    test_store_crash(&t);
    fault_io_clear(f);
    test_store_open(&t);
    store_health(t.s, &h);
    assert_false(h.ingest_off);
    assert_ec(test_append(&t, TENANT, 5, SPANS), EC_OK);
    test_store_close(&t, true);
    test_store_deinit(&t);
    fault_io_free(f);
}

static void test_faults__a_failed_flush_is_tried_again(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    struct fault_io *f = fault_io_new(NULL);
    test_store_init(&t, fault_io_io(f));
    t.opt.check_period_ns = 20 * NS_PER_MS;
    test_store_open(&t);
    double failed = metric_value(store_metrics.flush_failed);
    assert_ec(test_append(&t, TENANT, 0, SPANS), EC_OK);
    fault_io_fail(f, "block.rename", "rename", 1, EIO, false);
    assert_int_not_equal(store_flush(t.s, TENANT, &err), EC_OK);
    test_expect(&t, TENANT, 0, 1, SPANS); /* the head is still there */
    for (int i = 0; i < 300 && test_files(&t, TENANT, ".block") == 0; i++)
        test_sleep_ms(10);
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    assert_true(metric_value(store_metrics.flush_failed) - failed == 1);
    test_expect(&t, TENANT, 0, 1, SPANS);
    test_store_close(&t, true);
    test_store_deinit(&t);
    fault_io_free(f);
}

/* A sync that does not return: the client is told in time, and what it was told is not a lie. */
static _Atomic bool sync_hangs;
static int hang_fdatasync(void *ctx, const char *site, int fd)
{
    while (atomic_load(&sync_hangs))
        test_sleep_ms(5);
    return io_real.ops->fdatasync(ctx, site, fd);
}

static void test_faults__a_hanging_sync_times_the_ack_out(void **state)
{
    (void)state;
    struct test_store t;
    struct io_ops ops = *io_real.ops;
    struct io io = {&ops, io_real.ctx};
    ops.fdatasync = hang_fdatasync;
    test_store_init(&t, &io);
    t.opt.ack_timeout_ns = 100 * NS_PER_MS;
    test_store_open(&t);
    assert_ec(test_append(&t, TENANT, 0, SPANS), EC_OK);
    atomic_store(&sync_hangs, true);
    assert_ec(test_append(&t, TENANT, 1, SPANS), EC_UNAVAILABLE);
    atomic_store(&sync_hangs, false);
    assert_ec(test_append(&t, TENANT, 2, SPANS), EC_OK);
    test_expect(&t, TENANT, 0, 3, SPANS); /* it may have been stored: here it was */
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* ---- kill -9 ---- */

static struct {
    const char *site;
    uint64_t nth;
    _Atomic uint64_t seen;
} kill_at;

static void kill_point(const char *site)
{
    if (kill_at.site != NULL && strcmp(site, kill_at.site) == 0 &&
        atomic_fetch_add(&kill_at.seen, 1) + 1 == kill_at.nth)
        kill(getpid(), SIGKILL);
}

static ssize_t kill_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    ssize_t r = io_real.ops->pwrite(ctx, site, fd, p, n, off);
    kill_point(site);
    return r;
}
static int kill_fdatasync(void *ctx, const char *site, int fd)
{
    int r = io_real.ops->fdatasync(ctx, site, fd);
    kill_point(site);
    return r;
}
static int kill_fsync(void *ctx, const char *site, int fd)
{
    int r = io_real.ops->fsync(ctx, site, fd);
    kill_point(site);
    return r;
}
static int kill_rename(void *ctx, const char *site, const char *from, const char *to)
{
    int r = io_real.ops->rename(ctx, site, from, to);
    kill_point(site);
    return r;
}
static int kill_unlink(void *ctx, const char *site, const char *path)
{
    int r = io_real.ops->unlink(ctx, site, path);
    kill_point(site);
    return r;
}
static int kill_mkdir(void *ctx, const char *site, const char *path, unsigned mode)
{
    int r = io_real.ops->mkdir(ctx, site, path, mode);
    kill_point(site);
    return r;
}

static bool killed_round(const char *site, uint64_t nth, uint64_t base_ns)
{
    struct test_store t;
    struct ledger *l =
        mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *dir = tmpdir_new(), what[96];
    int status;
    assert_true(l != MAP_FAILED);
    snprintf(what, sizeof(what), "kill at %s #%llu", site, (unsigned long long)nth);
    pid_t pid = fork(); /* before this process has threads of its own */
    assert_true(pid >= 0);
    if (pid == 0) {
        struct io_ops ops = *io_real.ops;
        struct io io = {&ops, io_real.ctx};
        ops.pwrite = kill_pwrite;
        ops.fdatasync = kill_fdatasync;
        ops.fsync = kill_fsync;
        ops.rename = kill_rename;
        ops.unlink = kill_unlink;
        ops.mkdir = kill_mkdir;
        kill_at.site = site;
        kill_at.nth = nth;
        test_store_init_at(&t, dir, &io);
        t.base_ns = base_ns;
        scenario(&t, l);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        fail_msg("%s: the child ended with status %x", what, (unsigned)status);
    test_store_init_at(&t, dir, NULL);
    t.base_ns = base_ns;
    check(&t, l, what);
    test_store_deinit(&t);
    free(dir);
    munmap(l, sizeof(*l));
    return killed;
}

static void test_kill__at_each_site_loses_and_doubles_nothing(void **state)
{
    (void)state;
    struct test_store t;
    struct ledger l = {0};
    VEC(const char *) sites = {0};
    struct fault_io *f = fault_io_new(NULL);
    struct fault_io_call call;
    uint64_t base_ns = (uint64_t)clock_wall_ns() - 60ull * NS_PER_S;
    unsigned kills = 0;
    test_store_init(&t, fault_io_io(f)); /* what sites are there? */
    scenario(&t, &l);
    for (size_t i = 0; fault_io_call_at(f, i, &call); i++) {
        bool known = strcmp(call.op, "pwrite") != 0 && strcmp(call.op, "fdatasync") != 0 &&
                     strcmp(call.op, "fsync") != 0 && strcmp(call.op, "rename") != 0 &&
                     strcmp(call.op, "unlink") != 0 && strcmp(call.op, "mkdir") != 0;
        for (size_t k = 0; k < sites.n && !known; k++)
            known = strcmp(sites.p[k], call.site) == 0;
        if (!known)
            VEC_PUSH(&sites, call.site);
    }
    test_store_deinit(&t);
    for (size_t k = 0; k < sites.n; k++)
        for (uint64_t nth = 1; nth <= 3 && killed_round(sites.p[k], nth, base_ns); nth++)
            kills++;
    print_message("%zu sites, %u kills\n", sites.n, kills);
    assert_true(kills >= sites.n);
    VEC_FREE(&sites);
    fault_io_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill__at_each_site_loses_and_doubles_nothing),
        cmocka_unit_test(test_faults__writes_and_syncs_fail_once),
        cmocka_unit_test(test_faults__names_and_opens_fail_once),
        cmocka_unit_test(test_faults__no_space_once),
        cmocka_unit_test(test_faults__persistent),
        cmocka_unit_test(test_faults__three_failed_syncs_turn_ingest_off),
        cmocka_unit_test(test_faults__a_failed_flush_is_tried_again),
        cmocka_unit_test(test_faults__a_hanging_sync_times_the_ack_out),
    };
    /* Thousands of syncs: in memory if there is such a place. No test here is about a real disk. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
