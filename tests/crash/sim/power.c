/* SPDX-License-Identifier: Apache-2.0
 * Power loss at every operation of a store that lives through everything a store does.
 *
 * A life is a store in a simulated machine (sim_world.h), three tenants, and some hundreds of
 * steps: appends with group commit, rotation, flush, compaction, retention, ticks, clean restarts.
 * Before each operation that changes the disk the harness takes images of what the disk might hold
 * were the power lost now, opens each as a store of its own and asks:
 *   every acknowledged request is there, equal, once for each time it was sent at most     D1 D5 D6
 *   an unknown request is there whole or not at all                                        D4
 *   nothing that a finished recovery did not show comes back; nothing is of another tenant D5
 *   nothing younger than the retention period is missing                                   D7
 *   no damage is reported, as none was done; fsck agrees                                   D8
 *   the next append is taken, acknowledged and shown                                       D1 D2
 *   a flipped bit costs what it hit, is told, and is never served                          D8
 * During that recovery, and during the append, the power is lost again, up to DEPTH_MAX times
 * without a look in between. The catalog of an image is the last one, an earlier one, none, or one
 * that cannot be read. From time to time the life itself goes on from such an image.
 *
 * While a flush, a merge or a sync is in its I/O, now and then something else happens in between,
 * as on another thread: an append, its sync, retention, a flush.
 *
 *     power [--states N] [--images N] [--jobs N] [--lmdb N] [--seed N] [--lives N] [--op N]
 *
 * --seed N alone is that life; with --states or --lives it is the first of many. --images N: of
 * each operation. --lmdb N: every Nth life has LMDB itself, the others a catalog in memory.
 *
 * Everything follows from the seed of the life. A failure prints it, with the operation and the
 * image: --seed S --op N looks at that operation alone. SIM_LOG=1 shows the store's log,
 * SIM_FSCK=1 what fsck says.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "ledger.h"
#include "sim_run.h"

#define DEPTH_MAX    3
#define STEPS        220
#define STEPS_A_LIFE 45 /* between two crashes that the life itself goes through */
#define RETENTION_NS (6 * 3600 * NS_PER_S)
#define FIXED_IMAGES 6

static struct {
    uint64_t states, seed, lives, op;
    unsigned images, jobs, lmdb_every;
    bool one;
} option = {.states = 20000, .images = 2, .jobs = 1, .lmdb_every = 50};

struct life {
    uint64_t seed, rng, op;
    struct sim_world *w;
    struct ledger l;
    VEC(struct ledger_ack *) acks;
    bool inside; /* a step within a step */
    bool sound;  /* as a state's */
    struct sim_trail trail;
    const char *site;
};

/* One image, opened. */
struct state {
    struct sim_world *c;
    struct ledger l;
    uint64_t seed, rng, op, crash_at;
    unsigned depth;
    bool sound; /* nothing may look wrong: its catalog was the last one, or it has recovered */
};

static uint64_t n_states, n_lives, n_ops, n_deep, n_damaged, n_retired, n_recycled;

static struct life *life_now; /* for the report */

static void life_where(char *ret, size_t cap)
{
    const struct life *l = life_now;
    snprintf(ret, cap, "replay: power --seed %llu --op %llu --images %u",
        (unsigned long long)l->seed, (unsigned long long)l->op, option.images);
}

static _Noreturn void fail(const struct state *st, const char *fmt, ...) PRINTF_LIKE(2, 3);
static _Noreturn void fail(const struct state *st, const char *fmt, ...)
{
    const struct life *l = life_now;
    va_list ap;
    va_start(ap, fmt);
    printf("power: FAILED: ");
    vprintf(fmt, ap);
    printf("\n  life %llu, operation %llu (%s)", (unsigned long long)l->seed,
        (unsigned long long)l->op, l->site == NULL ? "-" : l->site);
    if (st != NULL)
        printf(", image %016llx, depth %u", (unsigned long long)st->seed, st->depth);
    char where[160];
    life_where(where, sizeof(where));
    printf("\n  %s\n", where);
    sim_trail_print(&l->trail);
    fflush(stdout);
    _exit(1);
}

#define trail(l, ...) \
    sim_trail_add(&(l)->trail, (l)->op, (l)->inside ? " (meanwhile)" : "", __VA_ARGS__)

/* ---- one state ---- */

static struct io_sim_loss loss_of(uint64_t *rng, unsigned k)
{
    static const struct io_sim_loss fixed[FIXED_IMAGES] = {{SIM_BYTES_NONE, SIM_NAMES_NONE},
        {SIM_BYTES_ALL, SIM_NAMES_ALL}, {SIM_BYTES_NONE, SIM_NAMES_ALL},
        {SIM_BYTES_ALL, SIM_NAMES_NONE}, {SIM_BYTES_ZEROS, SIM_NAMES_ALL},
        {SIM_BYTES_SECTORS, SIM_NAMES_ALL}};
    if (k < FIXED_IMAGES)
        return fixed[k];
    struct io_sim_loss loss = {SIM_BYTES_MIX, SIM_NAMES_ANY};
    if (sim_draw(rng, 3) == 0)
        loss.names = SIM_NAMES_FIRST;
    if (sim_draw(rng, 4) == 0)
        loss.bytes = SIM_BYTES_SECTORS;
    return loss;
}

/* Which catalog an image has; *ret_sound: one after which nothing may look wrong. */
static size_t catalog_of(const struct sim_world *w, uint64_t *rng, bool *ret_sound)
{
    uint64_t chance = sim_draw(rng, 16);
    *ret_sound = true;
    if (w->history.n == 0 || chance == 0)
        return SIM_CATALOG_NONE;
    if (w->lmdb_dir != NULL && chance == 3 && w->history.n > 1)
        *ret_sound = false; /* the commit that died may be one whose blocks were removed since */
    if (w->lmdb_dir != NULL && chance == 3)
        return SIM_CATALOG_TORN;
    *ret_sound = chance > 2;
    if (chance == 1)
        return SIM_CATALOG_DAMAGED;
    if (chance == 2)
        return (size_t)sim_draw(rng, w->history.n);
    return w->history.n - 1;
}

static void state_look(struct sim_world *w, const struct ledger *l, uint64_t seed, unsigned k,
    unsigned depth, bool sound);

static void state_hook(void *ctx, const char *op, const char *site)
{
    struct state *st = ctx;
    (void)op, (void)site;
    if (++st->op == st->crash_at)
        state_look(
            st->c, &st->l, hash_mix(st->seed + st->op), UINT32_MAX, st->depth + 1, st->sound);
}

static void state_compare(struct state *st, const char *when)
{
    char why[256];
    if (!ledger_check(&st->l, st->c, true, NULL, why, sizeof(why)))
        fail(st, "%s: %s", when, why);
    if (st->c->disorder != NULL)
        fail(st, "%s: %s", when, st->c->disorder);
}

static void state_open(struct state *st)
{
    struct err err = {0};
    ledger_expire(&st->l, st->c->wall_ns - RETENTION_NS); /* a start takes what is too old */
    st->c->n_errors = 0;
    if (sim_world_open(st->c, &err) != EC_OK)
        fail(st, "it does not open: %s", err_msg(&err));
    if (st->sound && st->c->n_errors > 0)
        fail(st, "an error was logged, and nothing was damaged: %s", st->c->error);
    struct store_health h;
    store_health(st->c->s, &h);
    if (h.recovery.damaged_records > 0 || h.recovery.set_aside > 0 ||
        atomic_load(&st->c->s->set_aside) > 0)
        fail(st, "damage was reported, and none was done");
}

static void state_append(struct state *st, uint8_t tenant)
{
    struct ledger_ack ack;
    struct err err = {0};
    if (st->l.n == LEDGER_REQUESTS)
        return;
    uint32_t r = st->l.n++;
    st->l.r[r] =
        (struct request){.tenant = tenant, .n_spans = 2, .start_ns = (uint64_t)st->c->wall_ns};
    enum ec ec = ledger_append(&st->l, st->c, r, &ack, &err);
    if (ec == EC_LIMIT && st->c->opt.tenants_open_max < LEDGER_TENANTS) {
        /* All logs are in use: an honest answer, and flushes make room. */
        struct sim_world *before = sim_world_enter(st->c);
        ec = store_flush(st->c->s, (struct str){0}, &err);
        sim_world_enter(before);
        if (ec == EC_OK)
            ec = ledger_append(&st->l, st->c, r, &ack, &err);
    }
    if (ec != EC_OK)
        fail(st, "the next append was refused: %s", err_msg(&err));
    sim_world_commit(st->c);
    if (st->l.r[r].fate != FATE_ACKED)
        fail(st, "the next append was not acknowledged");
}

static void state_fsck(struct state *st, const char *when)
{
    struct err err = {0};
    st->c->error[0] = 0;
    uint64_t problems = sim_world_fsck(st->c, &err);
    if (problems > 0)
        fail(st, "%s: fsck: %llu problems: %s%s", when, (unsigned long long)problems, st->c->error,
            err_msg(&err));
}

static void state_more(struct state *st, uint64_t what)
{
    struct err err = {0};
    struct sim_world *before = sim_world_enter(st->c);
    enum ec ec = EC_OK;
    bool close = what == 1;
    if (what == 0)
        ec = store_flush(st->c->s, (struct str){0}, &err);
    else if (what == 2)
        ec = store_compact(st->c->s, &err);
    else if (close)
        ec = store_close(TAKE_PTR(st->c->s), sim_draw(&st->rng, 2) == 0, &err);
    sim_world_enter(before);
    if (ec != EC_OK)
        fail(st, "afterwards, step %llu failed: %s", (unsigned long long)what, err_msg(&err));
    if (close) {
        state_fsck(st, "after a clean stop");
        state_open(st);
    }
    if (what <= 2)
        state_compare(st, "afterwards");
}

/* ---- damage ---- */

struct headers { /* of the records of one file */
    const char *path;
    VEC(uint64_t) at;
};

static void header_note(void *ctx, const struct wal_dump_record *r)
{
    struct headers *h = ctx;
    if (strcmp(r->path, h->path) == 0)
        VEC_PUSH(&h->at, r->offset);
}

/* A place in the file: every other time in the header of a record, where a byte says most. */
static uint64_t damage_place(
    struct sim_world *c, const char *dir, const char *path, uint64_t size, uint64_t *rng)
{
    struct headers h = {.path = path};
    struct wal_recovery found;
    uint64_t at = sim_draw(rng, size);
    enum ec ec = wal_scan(c->opt.io, dir, header_note, &h, &found, NULL);
    if (ec == EC_OK && h.at.n > 0 && sim_draw(rng, 2) == 0)
        at = MIN(h.at.p[sim_draw(rng, h.at.n)] + sim_draw(rng, 48), size - 1);
    VEC_FREE(&h.at);
    return at;
}

/* One byte of one log or block file, which was synced long ago: the disk's fault. Returns false
 * when there is none to damage. */
static bool damage_do(struct sim_world *c, uint64_t *rng, bool *ret_log)
{
    char tenant[TENANT_NAME_MAX];
    struct io_names names;
    struct io *io = c->opt.io;
    struct io_stat st;
    int fd;
    *ret_log = sim_draw(rng, 3) != 0;
    tenant_name_encode(tenant, str_from(ledger_tenants[sim_draw(rng, LEDGER_TENANTS)]));
    CLEANUP(freep)
    char *dir = path_printf("%s/%s/%s", *ret_log ? c->opt.wal_dir : c->opt.data_dir,
        *ret_log ? "@wal" : "@store", tenant);
    if (io_list(io, "damage", dir, &names, NULL) != EC_OK)
        return false;
    CLEANUP(freep)
    char *path = names.n == 0 ? NULL : path_printf("%s/%s", dir, names.p[sim_draw(rng, names.n)]);
    io_names_free(&names);
    if (path == NULL || io_open(io, "damage", path, O_RDWR, 0, &fd, NULL) != EC_OK)
        return false;
    bool done = false;
    uint8_t b = 0;
    enum ec ec = io_fstat(io, "damage", fd, &st, NULL);
    for (int i = 0; i < 16 && ec == EC_OK && st.size > 0 && !done; i++) {
        uint64_t at = *ret_log ? damage_place(c, dir, path, st.size, rng) : sim_draw(rng, st.size);
        ec = io_pread(io, "damage", fd, &b, 1, at, NULL);
        if (ec != EC_OK || b == 0)
            continue;
        b ^= (uint8_t)(1u << sim_draw(rng, 8));
        ec = io_pwrite(io, "damage", fd, &b, 1, at, NULL);
        done = ec == EC_OK;
    }
    if (ec == EC_OK)
        ec = io_fsync(io, "damage", fd, NULL);
    (void)io_close(io, "damage", fd, NULL);
    return done && ec == EC_OK;
}

/* A log that was idle for a moment says so in a mark, and from then on a torn tail and damage are
 * told apart: opens the store, appends to each log, lets the moment pass, and kills it. */
static void state_settle(struct state *st)
{
    state_open(st);
    state_compare(st, "after the start");
    for (uint8_t t = 0; t < LEDGER_TENANTS; t++)
        state_append(st, t);
    struct sim_world *before = sim_world_enter(st->c);
    sim_world_pass(st->c, 200 * NS_PER_MS);
    tick_step(st->c->s);
    sim_world_commit(st->c);
    sim_world_enter(before);
    struct sim_world *c = sim_world_image(st->c, NULL, st->c->history.n - 1, st->seed + 1);
    sim_world_free(st->c);
    st->c = c;
}

/* It costs a record of the log, or what lies in the block; it is told; and what is there is right
 * (D8). */
static void state_damaged(struct state *st, bool log)
{
    struct ledger_damage damage = {0};
    struct store_health h;
    struct err err = {0};
    char why[256];
    n_damaged++;
    st->c->n_errors = 0;
    if (sim_world_open(st->c, &err) != EC_OK)
        fail(st, "with a damaged file it does not open: %s", err_msg(&err));
    if (!ledger_check(&st->l, st->c, false, &damage, why, sizeof(why)))
        fail(st, "a damaged file is believed: %s", why);
    store_health(st->c->s, &h);
    if (log && damage.lost > 1)
        fail(st, "a damaged byte of the log costs %u requests", damage.lost);
    if (log && damage.lost > 0 && h.recovery.damaged_records == 0)
        fail(st, "an acknowledged record is damaged, and nobody said so");
    if (!log && damage.unreadable + damage.lost > 0 && st->c->n_errors == 0)
        fail(st, "a damaged block was not told");
    state_append(st, (uint8_t)sim_draw(&st->rng, LEDGER_TENANTS));
}

/* The power is lost now, in w: opens what that leaves, and looks. */
static void state_look(struct sim_world *w, const struct ledger *l, uint64_t seed, unsigned k,
    unsigned depth, bool sound)
{
    struct state *st = xmalloc(sizeof(*st));
    *st = (struct state){.seed = seed, .rng = seed, .depth = depth};
    st->l.n = l->n;
    memcpy(st->l.r, l->r, l->n * sizeof(l->r[0]));
    bool sound_catalog, kill = k >= FIXED_IMAGES && sim_draw(&st->rng, 8) == 0;
    struct io_sim_loss loss = loss_of(&st->rng, k);
    size_t catalog = catalog_of(w, &st->rng, &sound_catalog);
    st->sound = sound && sound_catalog;
    n_states++;
    n_deep += depth > 0;
    st->c = sim_world_image(w, kill ? NULL : &loss, catalog, seed);
    if (depth < DEPTH_MAX && sim_draw(&st->rng, 3) == 0)
        st->crash_at = 1 + sim_draw(&st->rng, 30);
    uint64_t what = sim_draw(&st->rng, 32);
    bool log;
    if (st->sound && what == 31 && depth == 0) {
        state_settle(st);
        if (damage_do(st->c, &st->rng, &log))
            state_damaged(st, log);
        sim_world_free(st->c);
        free(st);
        return;
    }
    if (st->sound && what == 3)
        state_fsck(st, "before the start");
    sim_world_hook(st->c, state_hook, st);
    state_open(st);
    st->sound = true;
    state_compare(st, "after the start");
    state_append(st, (uint8_t)sim_draw(&st->rng, LEDGER_TENANTS));
    if (what < 8)
        state_compare(st, "after the next append");
    state_more(st, what);
    sim_world_free(st->c);
    free(st);
}

/* ---- a life ---- */

static void life_hook(void *ctx, const char *op, const char *site);

static void life_watch(struct life *l)
{
    sim_world_hook(l->w, life_hook, l);
}

static void life_expect(struct life *l, enum ec ec, const char *what, const struct err *err)
{
    (void)l;
    if (ec != EC_OK)
        fail(NULL, "%s failed: %s", what, err_msg(err));
}

static void life_compare(struct life *l)
{
    char why[256];
    if (!ledger_check(&l->l, l->w, false, NULL, why, sizeof(why)))
        fail(NULL, "while it runs: %s", why);
    if (l->w->disorder != NULL)
        fail(NULL, "%s", l->w->disorder);
    if (l->w->n_errors > 0)
        fail(NULL, "an error was logged: %s", l->w->error);
}

static void life_append(struct life *l)
{
    struct err err = {0};
    uint32_t r = l->l.n;
    struct request *q = &l->l.r[r];
    uint64_t again = 1 + sim_draw(&l->rng, 6);
    if (r >= again && sim_draw(&l->rng, 10) == 0 &&
        l->w->wall_ns - l->l.r[r - again].arrival_ns < 10 * NS_PER_S &&
        l->l.r[r - again].sends < 5) {
        r -= (uint32_t)again;
        trail(l, "append %u again", r);
    } else if (r < LEDGER_REQUESTS - DEPTH_MAX - 2) {
        l->l.n++;
        *q = (struct request){.tenant = (uint8_t)(sim_draw(&l->rng, 4) % LEDGER_TENANTS),
            .n_spans = (uint8_t)(1 + sim_draw(&l->rng, LEDGER_SPANS)),
            .start_ns = (uint64_t)l->w->wall_ns - sim_draw(&l->rng, 120 * NS_PER_S)};
        if (sim_draw(&l->rng, 3) == 0)
            q->payload = (uint32_t)sim_draw(&l->rng, sim_draw(&l->rng, 10) == 0 ? 24000 : 5000);
        if (sim_draw(&l->rng, 10) == 0)
            q->start_ns -= sim_draw(&l->rng, 12ull * 3600 * NS_PER_S);
        trail(l, "append %u to %u, %u bytes", r, q->tenant, q->payload);
    } else {
        return;
    }
    struct ledger_ack *ack = xcalloc(1, sizeof(*ack));
    VEC_PUSH(&l->acks, ack);
    enum ec ec = ledger_append(&l->l, l->w, r, ack, &err);
    /* All logs are in use, and none can be closed yet: an honest answer. */
    if (ec != EC_LIMIT || l->w->opt.tenants_open_max >= LEDGER_TENANTS)
        life_expect(l, ec, "append", &err);
    if (sim_draw(&l->rng, 10) < 7)
        sim_world_commit(l->w);
}

static void life_retain(struct life *l)
{
    struct err err = {0};
    sim_world_pass(l->w, (int64_t)sim_draw(&l->rng, 2 * 3600) * NS_PER_S);
    trail(l, "retain");
    ledger_expire(&l->l, l->w->wall_ns - RETENTION_NS);
    life_expect(l, store_retain(l->w->s, &err), "retention", &err);
}

static void life_restart(struct life *l)
{
    struct err err = {0};
    bool flush = sim_draw(&l->rng, 2) == 0;
    trail(l, "restart%s", flush ? ", flushed" : "");
    sim_world_enter(l->w);
    life_expect(l, store_close(TAKE_PTR(l->w->s), flush, &err), "close", &err);
    ledger_expire(&l->l, l->w->wall_ns - RETENTION_NS);
    life_expect(l, sim_world_open(l->w, &err), "open", &err);
    life_compare(l);
}

/* Flushes of sealed heads while the log goes on: its segments serve again. */
static void life_seal(struct life *l, struct str tenant)
{
    struct tenant *t = tenant_find(l->w->s, tenant);
    if (t == NULL)
        return;
    trail(l, "seal, append, flush what is sealed, prepare");
    pthread_mutex_lock(&t->lock);
    tenant_seal(t, "age");
    pthread_mutex_unlock(&t->lock);
    tenant_unref(t);
    prepare_step(l->w->s);
    for (uint64_t n = sim_draw(&l->rng, 6); n > 0; n--)
        life_append(l);
    flush_some(l->w->s);
    if (sim_draw(&l->rng, 2) == 0)
        prepare_step(l->w->s);
}

static void life_step(struct life *l)
{
    struct err err = {0};
    uint64_t what = sim_draw(&l->rng, 41);
    struct str tenant = str_from(ledger_tenants[sim_draw(&l->rng, LEDGER_TENANTS)]);
    if (what < 24) {
        life_append(l);
    } else if (what < 27) {
        sim_world_commit(l->w);
    } else if (what < 29) {
        sim_world_pass(l->w, (int64_t)sim_draw(&l->rng, 3000) * NS_PER_MS);
        trail(l, "tick");
        tick_step(l->w->s);
        sim_world_commit(l->w);
    } else if (what < 31) {
        trail(l, "prepare");
        prepare_step(l->w->s);
    } else if (what < 33) {
        life_seal(l, tenant);
    } else if (what < 36) {
        trail(l, "flush");
        life_expect(l,
            store_flush(l->w->s, sim_draw(&l->rng, 3) == 0 ? (struct str){0} : tenant, &err),
            "flush", &err);
    } else if (what < 38) {
        trail(l, "compact");
        life_expect(l, store_compact(l->w->s, &err), "compaction", &err);
    } else if (what < 39) {
        life_retain(l);
    } else if (what < 40 && sim_draw(&l->rng, 3) == 0) {
        life_restart(l);
    } else {
        life_compare(l);
    }
}

/* Where in the store's I/O another thread could do what: neither the tenant's lock nor one of its
 * log's is held there. */
static bool site_is_open(const char *site, bool *ret_blocks_too)
{
    static const char *const appends[] = {"catalog.commit", "catalog.committed", "block.del_rename",
        "block.del_unlink", "wal.recycle_rename", "wal.recycle_dir_sync"};
    static const char *const all[] = {"wal.sync", "block.create", "block.write", "block.fsync",
        "block.rename", "block.rename_sync", "compact.rename", "compact.rename_sync"};
    *ret_blocks_too = false;
    for (size_t i = 0; i < ARRAY_LEN(appends); i++)
        if (strcmp(site, appends[i]) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(site, all[i]) == 0)
            return *ret_blocks_too = true;
    return false;
}

static void life_meanwhile(struct life *l, const char *site)
{
    bool blocks;
    if (l->inside || l->w->s == NULL || atomic_load(&l->w->s->state) != STORE_READY ||
        !site_is_open(site, &blocks) || sim_draw(&l->rng, 6) != 0)
        return;
    l->inside = true;
    if (blocks && sim_draw(&l->rng, 4) == 0)
        life_retain(l);
    else
        life_append(l);
    l->inside = false;
}

static void life_hook(void *ctx, const char *op, const char *site)
{
    struct life *l = ctx;
    l->op++;
    n_ops++;
    l->site = site;
    (void)op;
    n_retired += strcmp(site, "wal.recycle_rename") == 0;
    n_recycled += strcmp(site, "wal.segment_header") == 0;
    n_recycled -= strcmp(site, "wal.segment_open") == 0; /* made, not recycled */
    /* LMDB syncs for real, hence fewer of its states. */
    bool look = option.op == 0 ? l->w->lmdb_dir == NULL || l->op % 16 == 0 : option.op == l->op;
    for (unsigned k = 0; k < option.images && look; k++) {
        uint64_t seed = hash_mix(l->seed * 1000003 + l->op) + k;
        /* Few images an operation: the fixed ones in turn, and one that is drawn. */
        unsigned kind = option.images > FIXED_IMAGES ? k
                        : k == 0                     ? (unsigned)(l->op % FIXED_IMAGES)
                                                     : UINT32_MAX;
        state_look(l->w, &l->l, hash_mix(seed), kind, 0, l->sound);
        l->site = site;
    }
    life_meanwhile(l, site);
}

/* The life itself is struck: it goes on from an image. */
static void life_crash(struct life *l)
{
    char why[256];
    struct err err = {0};
    uint64_t seed = hash_mix(l->seed + l->op);
    bool kill = sim_draw(&l->rng, 4) == 0;
    struct io_sim_loss loss = loss_of(&l->rng, UINT32_MAX);
    size_t catalog = catalog_of(l->w, &l->rng, &l->sound);
    trail(l, kill ? "kill" : "power loss");
    struct sim_world *c = sim_world_image(l->w, kill ? NULL : &loss, catalog, seed);
    struct ledger *keep = xmalloc(sizeof(*keep));
    *keep = l->l; /* what the dying store still says, nobody hears */
    l->w->hook = NULL;
    sim_world_enter(NULL);
    sim_world_free(l->w);
    l->l = *keep;
    free(keep);
    l->w = c;
    life_watch(l);
    ledger_expire(&l->l, c->wall_ns - RETENTION_NS);
    sim_world_enter(c);
    life_expect(l, sim_world_open(c, &err), "open", &err);
    if (!l->sound)
        c->n_errors = 0;
    l->sound = true;
    if (!ledger_check(&l->l, c, true, NULL, why, sizeof(why)))
        fail(NULL, "the life's own start: %s", why);
    life_compare(l);
}

static void life_options(struct life *l)
{
    struct store_options *o = &l->w->opt;
    o->retention_ns = RETENTION_NS;
    o->compaction_inputs_max = (uint32_t)(2 + sim_draw(&l->rng, 3));
    o->wal_compress_level = sim_draw(&l->rng, 2) == 0 ? 0 : -1;
    if (sim_draw(&l->rng, 3) != 0)
        o->block_raw_bytes_max = 2048 + sim_draw(&l->rng, 16384);
    if (sim_draw(&l->rng, 4) == 0)
        o->tenants_open_max = 2;
    else
        o->tenants_open_max = 100;
}

static void life_run(uint64_t seed)
{
    struct life *l = xcalloc(1, sizeof(*l));
    struct err err = {0};
    l->seed = seed;
    l->rng = hash_mix(seed);
    l->sound = true;
    life_now = l;
    l->w = sim_world_new(seed, option.lmdb_every != 0 && seed % option.lmdb_every == 0);
    life_options(l);
    life_watch(l);
    sim_world_enter(l->w);
    life_expect(l, sim_world_open(l->w, &err), "open", &err);
    for (unsigned i = 1; i <= STEPS && (option.one || n_states < option.states); i++) {
        if (i % STEPS_A_LIFE == 0)
            life_crash(l);
        life_step(l);
    }
    life_compare(l);
    l->w->hook = NULL;
    sim_world_enter(NULL);
    sim_world_free(l->w);
    for (size_t i = 0; i < l->acks.n; i++)
        free(l->acks.p[i]);
    VEC_FREE(&l->acks);
    free(l);
    n_lives++;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run(uint64_t first, uint64_t step)
{
    uint64_t told = 0;
    for (uint64_t seed = first; n_lives < option.lives || n_states < option.states; seed += step) {
        life_run(seed);
        if (option.one && n_lives >= option.lives)
            break;
        if (n_states - told >= 100000) {
            told = n_states;
            printf(
                "power: %llu states, %.0f s of CPU\n", (unsigned long long)n_states, cpu_seconds());
            fflush(stdout);
        }
    }
    printf("power: seeds from %llu, every %llu: %llu crash states (%llu of them crashes of a "
           "recovery, %llu with a damaged file), %llu operations of %llu lives, %llu log segments "
           "recycled of %llu kept, 0 failed; %.1f s of CPU, %.0f states a second\n",
        (unsigned long long)first, (unsigned long long)step, (unsigned long long)n_states,
        (unsigned long long)n_deep, (unsigned long long)n_damaged, (unsigned long long)n_ops,
        (unsigned long long)n_lives, (unsigned long long)n_recycled, (unsigned long long)n_retired,
        cpu_seconds(), (double)n_states / cpu_seconds());
    return 0;
}

static void usage(FILE *out)
{
    fprintf(out,
        "power [--states N] [--images N] [--jobs N] [--lmdb N] [--seed N] [--lives N] [--op N]\n"
        "Cuts the power at every operation of a simulated store's life, and opens what is left.\n"
        "    --states N   as many crash states, of lives one after another (%llu)\n"
        "    --lives N    as many lives instead\n"
        "    --images N   of each operation (%u)\n"
        "    --jobs N     processes\n"
        "    --lmdb N     every Nth life has LMDB itself, the others a catalog in memory (%u)\n"
        "    --seed N     that life alone; with --states or --lives the first one (the time)\n"
        "    --op N       that operation alone\n"
        "A failure prints --seed and --op. SIM_LOG=1: the store's log. SIM_FSCK=1: what fsck says.\n",
        (unsigned long long)option.states, option.images, option.lmdb_every);
}

static void options_read(int argc, char **argv)
{
    static const struct option longs[] = {{"help", 0, NULL, 'h'}, {"states", 1, NULL, 's'},
        {"images", 1, NULL, 'i'}, {"seed", 1, NULL, 'r'}, {"jobs", 1, NULL, 'j'},
        {"op", 1, NULL, 'o'}, {"lmdb", 1, NULL, 'l'}, {"lives", 1, NULL, 'n'}, {0}};
    bool seed_given = false, states_given = false;
    option.seed = (uint64_t)time(NULL) * 1000 + 1;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        uint64_t v = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);
        if (c == 's')
            option.states = v;
        else if (c == 'i')
            option.images = (unsigned)v;
        else if (c == 'j')
            option.jobs = (unsigned)v;
        else if (c == 'l')
            option.lmdb_every = (unsigned)v;
        else if (c == 'n')
            option.lives = v;
        else if (c == 'r' || c == 'o')
            *(c == 'r' ? &option.seed : &option.op) = v;
        else {
            usage(c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
        seed_given = seed_given || c == 'r';
        states_given = states_given || c == 's';
    }
    option.one = (seed_given && !states_given) || option.lives > 0;
    if (option.one && option.lives == 0)
        option.lives = 1;
    if (option.one)
        option.states = 0;
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    option.states /= MAX(option.jobs, 1u);
    return sim_run(option.jobs, option.seed, run, life_where);
}
