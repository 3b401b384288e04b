/* SPDX-License-Identifier: Apache-2.0
 * Power loss and kill at any operation of random append, sync, rotate, release and reopen
 * sequences.
 *
 * A ledger holds what the log owes. After each crash, also one in the middle of recovery:
 *   every record that a sync covered and that was not released is replayed, with its contents (D1);
 *   nothing is replayed that was not appended, nothing twice, nothing that an earlier recovery did
 *   not show (D4, D5);
 *   after a kill without power loss, every record that append accepted is replayed;
 *   no damage is reported, as none was done.
 * Each round prints its seed when it fails: WAL_CRASH_SEED=n repeats it alone, WAL_CRASH_ROUNDS=n
 * runs more of them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "io_sim.h"
#include "storage/wal.h"
#include "unit.h"
#include "wal_util.h"

#define ROUNDS     3000
#define LEDGER_MAX 4000
#define DIR_PATH   "/data/wal/tenant"

enum fate {
    FATE_NONE,  /* not there: never given out, or a recovery did not show it */
    FATE_LIVE,  /* appended */
    FATE_ACKED, /* a sync covered it */
    FATE_MAYBE, /* append died in it: there or not, the next recovery decides */
    /* Refused after a failed sync. The kernel calls its pages clean, so a recovery after a kill may
     * read it, sync it with success, and a later power loss shows that it never was on disk: it may
     * come, go, and be reported as damaged. Nobody was ever told that it is safe. */
    FATE_REFUSED,
};

struct entry {
    enum fate fate;
    uint32_t key;
    uint32_t n;
};

struct round {
    uint64_t seed;
    struct io_sim *sim;
    struct wal *w;
    struct wal_spares spares;
    struct entry e[LEDGER_MAX]; /* by LSN */
    uint64_t released, last;    /* LSNs */
    uint64_t release_tried;     /* by a call that did not succeed */
    uint64_t excused;           /* records that may be reported as damaged, at each start again */
    uint32_t next_key;
    unsigned crashes;
    bool seen[LEDGER_MAX];
    uint64_t replay_last;
    const char *wrong;
    uint64_t wrong_lsn;
};

static void wrong(struct round *r, const char *what, uint64_t lsn)
{
    if (r->wrong == NULL) {
        r->wrong = what;
        r->wrong_lsn = lsn;
    }
}

static uint64_t rnd(struct round *r, uint64_t n)
{
    return io_sim_random(r->sim, n);
}

static enum ec replay(void *ctx, const struct wal_record *rec, struct err *err)
{
    struct round *r = ctx;
    (void)err;
    if (rec->lsn == 0 || rec->lsn >= LEDGER_MAX) {
        wrong(r, "number out of range", rec->lsn);
        return EC_OK;
    }
    const struct entry *e = &r->e[rec->lsn];
    if (rec->lsn <= r->replay_last)
        wrong(r, "out of order or twice", rec->lsn);
    r->replay_last = rec->lsn;
    r->seen[rec->lsn] = true;
    if (e->fate == FATE_NONE)
        wrong(r, "invented or come back from the dead", rec->lsn);
    CLEANUP(freep) uint8_t *want = xmalloc(e->n + 1);
    wal_util_fill(want, e->n, e->key);
    if (rec->arrival_s != e->key || rec->otlp.n != e->n || memcmp(rec->otlp.p, want, e->n) != 0)
        wrong(r, "other contents", rec->lsn);
    return EC_OK;
}

static enum ec round_open(struct round *r, struct wal_recovery *ret)
{
    struct wal_options opt = {
        .io = io_sim_io(r->sim),
        .dir = DIR_PATH,
        .tenant = STR("tenant"),
        .segment_bytes_min = 16 << 10,
        .segment_bytes_max = 32 << 10,
        .spares = r->seed % 4 == 0 ? NULL : &r->spares,
        .lsn_floor = r->release_tried, /* a block holds them */
    };
    struct err err = {0};
    memset(r->seen, 0, sizeof(r->seen));
    r->replay_last = 0;
    enum ec ec = wal_open(&opt, replay, r, ret, &r->w, &err);
    if (ec != EC_OK && !io_sim_is_dead(r->sim)) {
        printf("open: %s\n", err.msg);
        wrong(r, "open failed", 0);
    }
    return ec;
}

/* A recovery has decided: compares, and writes down what is there now. */
static void round_judge(struct round *r, const struct wal_recovery *rec, bool power)
{
    uint64_t refused = 0;

    for (uint64_t lsn = 1; lsn < LEDGER_MAX; lsn++) {
        struct entry *e = &r->e[lsn];
        bool kept = lsn > r->released && lsn > r->release_tried;
        if (e->fate == FATE_REFUSED) {
            refused++;
        } else if (r->seen[lsn]) {
            if (e->fate == FATE_MAYBE)
                e->fate = FATE_LIVE;
        } else {
            if (e->fate == FATE_ACKED && kept)
                wrong(r, "acknowledged record lost", lsn);
            if (e->fate == FATE_LIVE && kept && !power)
                wrong(r, "record lost without power loss", lsn);
            if (kept) /* an unlink that was not synced may be undone */
                e->fate = FATE_NONE;
        }
    }
    if (rec->damaged_records > refused || (rec->set_aside != 0 && refused == 0))
        wrong(r, "false alarm", rec->damaged_records);
    r->last = wal_last_lsn(r->w);
}

static void crash_and_recover(struct round *r)
{
    struct wal_recovery rec;
    bool power = rnd(r, 4) != 0, any_power = power;

    for (int again = (int)rnd(r, 3); again >= 0; again--) {
        r->crashes++;
        power = rnd(r, 4) != 0;
        any_power = any_power || power;
        if (power)
            io_sim_power_loss(r->sim);
        else
            io_sim_kill(r->sim);
        wal_abandon(TAKE_PTR(r->w));
        if (again > 0)
            io_sim_die_at(r->sim, 1 + rnd(r, 40));
        if (round_open(r, &rec) == EC_OK && !io_sim_is_dead(r->sim))
            break;
        wal_abandon(TAKE_PTR(r->w));
        if (again == 0)
            return; /* told by round_open */
    }
    if (r->w == NULL)
        return;
    round_judge(r, &rec, any_power);
    io_sim_die_at(r->sim, 0);
}

static void step_append(struct round *r)
{
    struct err err;
    uint64_t lsn;
    uint32_t key = r->next_key++, n = (uint32_t)rnd(r, rnd(r, 20) == 0 ? 40000 : 1500);

    uint64_t next = wal_last_lsn(r->w) + 1;
    if (next >= LEDGER_MAX)
        return;
    /* A write that died half way may have left all of its bytes. */
    r->e[next] = (struct entry){FATE_MAYBE, key, n};
    if (wal_util_try_append(r->w, key, n, rnd(r, 2) == 0 ? 0 : -1, &lsn, &err) != EC_OK)
        return;
    if (lsn != next)
        wrong(r, "number skipped", lsn);
    r->e[lsn].fate = FATE_LIVE;
    r->last = lsn;
}

static void step_sync(struct round *r)
{
    struct err err;
    uint64_t durable = 0, from = 1, to = 0;

    if (rnd(r, 12) == 0)
        io_sim_fail_sync(r->sim, 1 + rnd(r, 2));
    enum ec ec = wal_sync(r->w, &durable, &from, &to, &err);
    io_sim_fail_sync(r->sim, 0);
    if (ec == EC_OK) {
        if (durable != wal_durable_lsn(r->w))
            wrong(r, "two durable numbers", durable);
        for (uint64_t lsn = 1; lsn <= durable && lsn < LEDGER_MAX; lsn++) {
            if (r->e[lsn].fate == FATE_LIVE)
                r->e[lsn].fate = FATE_ACKED;
        }
        return;
    }
    if (to != r->last)
        wrong(r, "failed range does not end at the last record", to);
    for (uint64_t lsn = from; lsn <= to; lsn++) {
        if (r->e[lsn].fate == FATE_ACKED)
            wrong(r, "acknowledged record refused", lsn);
        r->e[lsn].fate = FATE_REFUSED;
    }
}

static void step_release(struct round *r)
{
    struct err err;
    uint64_t lsn = r->released + rnd(r, r->last - r->released + 1);

    uint64_t how = rnd(r, 4);
    r->spares.off = rnd(r, 16) == 0;
    if (how < 2)
        (void)!wal_rotate(r->w, &err);
    else if (how == 2)
        wal_rotate_soon(r->w);
    r->release_tried = MAX(r->release_tried, lsn);
    if (wal_release(r->w, lsn, &err) == EC_OK)
        r->released = MAX(r->released, lsn);
}

static void round_step(struct round *r)
{
    struct err err;
    struct wal_recovery rec;
    enum ec ec = EC_OK;

    switch (rnd(r, 16)) {
    default:
        step_append(r);
        break;
    case 9:
    case 10:
    case 11:
        step_sync(r);
        break;
    case 12:
        ec = wal_prepare_next(r->w, &err);
        break;
    case 13:
        step_release(r);
        break;
    case 14:
        ec = wal_mark_idle(r->w, clock_mono_ns() + NS_PER_S, &err);
        break;
    case 15:
        if (rnd(r, 4) != 0)
            break;
        ec = wal_close(TAKE_PTR(r->w), &err);
        if (ec == EC_OK) {
            for (uint64_t lsn = 1; lsn <= r->last; lsn++)
                if (r->e[lsn].fate == FATE_LIVE)
                    r->e[lsn].fate = FATE_ACKED;
        }
        if (round_open(r, &rec) == EC_OK && !io_sim_is_dead(r->sim))
            round_judge(r, &rec, false);
        break;
    }
    if (ec != EC_OK && !io_sim_is_dead(r->sim))
        wrong(r, "an operation failed without a fault", (uint64_t)ec);
}

static uint64_t n_retired, n_headed;

static void count_lives(void *ctx, const char *op, const char *site, const char *path)
{
    (void)ctx, (void)op, (void)path;
    n_retired += strcmp(site, "wal.recycle_rename") == 0;
    n_headed += strcmp(site, "wal.segment_header") == 0;
    n_headed -= strcmp(site, "wal.segment_open") == 0; /* a new file */
}

static unsigned round_run(uint64_t seed)
{
    struct round *r = xcalloc(1, sizeof(*r));
    struct wal_recovery rec;

    r->seed = seed;
    r->sim = io_sim_new(seed);
    r->spares.bytes_max = 256 << 10;
    io_sim_hook(r->sim, count_lives, NULL);
    r->next_key = 1;
    if (round_open(r, &rec) == EC_OK) {
        for (unsigned life = 0; life < 4 && r->wrong == NULL; life++) {
            io_sim_die_at(r->sim, 1 + rnd(r, 200));
            for (unsigned i = 0; i < 150 && r->w != NULL && !io_sim_is_dead(r->sim); i++)
                round_step(r);
            crash_and_recover(r);
            if (r->w == NULL)
                break;
        }
    }
    io_sim_die_at(r->sim, 0);
    wal_abandon(r->w);
    io_sim_free(r->sim);
    if (r->spares.bytes != 0)
        wrong(r, "bytes of spare segments are not given back", r->spares.bytes);
    if (r->wrong != NULL)
        fail_msg("WAL_CRASH_SEED=%llu after %u crashes: %s: %llu", (unsigned long long)seed,
            r->crashes, r->wrong, (unsigned long long)r->wrong_lsn);
    unsigned crashes = r->crashes;
    free(r);
    return crashes;
}

static void test_crash__acknowledged_records_survive(void **state)
{
    const char *one = getenv("WAL_CRASH_SEED"), *rounds = getenv("WAL_CRASH_ROUNDS");
    uint64_t n = rounds == NULL ? ROUNDS : strtoull(rounds, NULL, 10);
    uint64_t first = rounds == NULL ? 0 : (uint64_t)clock_wall_ns();
    unsigned crashes = 0;

    (void)state;
    if (one != NULL) {
        round_run(strtoull(one, NULL, 10));
        return;
    }
    printf("seeds from %llu\n", (unsigned long long)first);
    for (uint64_t i = 0; i < n; i++)
        crashes += round_run(first + i);
    printf("%u crash states, %llu segments retired, %lld recycled\n", crashes,
        (unsigned long long)n_retired, (long long)n_headed);
    assert_true(rounds != NULL || crashes >= 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__acknowledged_records_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
