/* SPDX-License-Identifier: Apache-2.0
 * Worlds: life, images, and the wrappers. See sim_world.h. */
#include "sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/hash.h"
#include "base/memory.h"
#include "sim_catalog.h"
#include "storage/fsck.h"

#define WAL_DIR  "/w/wal"
#define DATA_DIR "/w/data"

struct sim_world *sim_world_now;

/* Life. */

static void world_limits(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    const struct sim_world *w = ctx;
    (void)tenant;
    *ret = w->limits;
}

static struct sim_world *world_alloc(uint64_t seed)
{
    struct sim_world *w = xcalloc(1, sizeof(*w));
    w->random = hash_mix(seed + 7);
    w->wall_ns = SIM_START_NS;
    w->mono_ns = w->boot_ns = 1000 * NS_PER_S;
    budget_init(&w->budget, NULL, "world", 0);
    w->opt = (struct store_options){
        .wal_dir = WAL_DIR,
        .data_dir = DATA_DIR,
        .budget = &w->budget,
        .min_free_bytes = 1,
        .wal_compress_level = -1,
        .wal_segment_bytes_min = 16 << 10,
        .wal_segment_bytes_max = 32 << 10,
        .check_period_ns = NS_PER_S,
        .limits = world_limits,
        .stepped = true,
    };
    return w;
}

static void world_sim_hook(void *ctx, const char *op, const char *site, const char *path)
{
    struct sim_world *w = ctx;
    (void)path;
    if (w->hook != NULL)
        w->hook(w->hook_ctx, op, site);
}

static void world_attach(struct sim_world *w, struct io_sim *sim)
{
    w->sim = sim;
    w->opt.io = io_sim_io(sim);
    w->opt.limits_ctx = w;
    w->opt.budget = &w->budget;
    io_sim_hook(sim, world_sim_hook, w);
}

struct sim_world *sim_world_new(uint64_t seed, bool lmdb)
{
    struct err err;
    struct sim_world *w = world_alloc(seed);
    world_attach(w, io_sim_new(seed));
    if (lmdb)
        w->lmdb_dir = sim_catalog_dir_new();
    /* The operator made these two, long ago. */
    enum ec ec = io_mkdir_all(w->opt.io, "world.mkdir", WAL_DIR, &err);
    if (ec == EC_OK)
        ec = io_mkdir_all(w->opt.io, "world.mkdir", DATA_DIR, &err);
    if (ec == EC_OK)
        ec = io_fsync_dir(w->opt.io, "world.sync", "/w", &err);
    if (ec == EC_OK)
        ec = io_fsync_dir(w->opt.io, "world.sync", "/", &err);
    ASSERT(ec == EC_OK);
    return w;
}

void sim_world_free(struct sim_world *w)
{
    if (w == NULL)
        return;
    ASSERT(sim_world_now != w);
    sim_world_abandon(w);
    sim_catalog_forget(w);
    io_sim_free(w->sim);
    budget_deinit(&w->budget);
    free(w);
}

struct sim_world *sim_world_enter(struct sim_world *w)
{
    struct sim_world *before = sim_world_now;
    sim_world_now = w;
    return before;
}

struct sim_world *sim_world_image(
    struct sim_world *w, const struct io_sim_loss *loss, size_t i_catalog, uint64_t seed)
{
    static const struct io_sim_loss nothing_lost = {SIM_BYTES_ALL, SIM_NAMES_ALL};
    struct sim_world *c = world_alloc(seed);
    c->opt = w->opt;
    c->limits = w->limits;
    c->wall_ns = w->wall_ns;
    c->mono_ns = w->mono_ns;
    c->boot_ns = w->boot_ns;
    world_attach(c, io_sim_image(w->sim, loss == NULL ? &nothing_lost : loss, seed));
    sim_catalog_image(w, c, i_catalog, seed);
    return c;
}

void sim_world_hook(
    struct sim_world *w, void (*fn)(void *ctx, const char *op, const char *site), void *ctx)
{
    w->hook = fn;
    w->hook_ctx = ctx;
}

void sim_world_pass(struct sim_world *w, int64_t ns)
{
    w->wall_ns += ns;
    w->mono_ns += ns;
    w->boot_ns += ns;
}

enum ec sim_world_open(struct sim_world *w, struct err *err)
{
    ASSERT(w->s == NULL);
    struct sim_world *before = sim_world_enter(w);
    enum ec ec = store_open(&w->opt, &w->s, err);
    sim_world_enter(before);
    return ec;
}

void sim_world_abandon(struct sim_world *w)
{
    struct sim_world *before = sim_world_enter(w);
    w->hook = NULL;
    store_abandon(TAKE_PTR(w->s));
    sim_world_enter(before);
}

void sim_world_commit(struct sim_world *w)
{
    struct sim_world *before = sim_world_enter(w);
    while (commit_step(w->s)) {
    }
    sim_world_enter(before);
}

static void fsck_line(void *ctx, const char *line)
{
    struct sim_world *w = ctx;
    if (getenv("SIM_FSCK") != NULL)
        printf("  fsck: %s\n", line);
    if (w->error[0] == 0)
        snprintf(w->error, sizeof(w->error), "%s", line);
}

uint64_t sim_world_fsck(struct sim_world *w, struct err *err)
{
    struct fsck_result r = {0};
    const struct fsck_options opt = {
        .io = w->opt.io, .wal_dir = WAL_DIR, .data_dir = DATA_DIR, .report = fsck_line, .ctx = w};
    struct sim_world *before = sim_world_enter(w);
    enum ec ec = fsck_run(&opt, &r, err);
    sim_world_enter(before);
    if (ec == EC_NOT_FOUND)
        return 0; /* the store was never made: nothing to check */
    return ec == EC_OK ? r.problems : 1;
}

/* Wrappers: what the store calls instead. */

int64_t __real_clock_wall_ns(void);
int64_t __real_clock_mono_ns(void);
int64_t __real_clock_boot_ns(void);
ssize_t __real_getrandom(void *p, size_t n, unsigned flags);
int __real_flock(int fd, int op);
void __real_memory_settle(bool resting);
void __real_log_emit(enum log_level level, const char *file, int line, const char *msg,
    const struct log_field *fields, size_t n);
int64_t __wrap_clock_wall_ns(void);
int64_t __wrap_clock_mono_ns(void);
int64_t __wrap_clock_boot_ns(void);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);
int __wrap_flock(int fd, int op);
void __wrap_memory_settle(bool resting);
void __wrap_log_emit(enum log_level level, const char *file, int line, const char *msg,
    const struct log_field *fields, size_t n);

int64_t __wrap_clock_wall_ns(void)
{
    return sim_world_now == NULL ? __real_clock_wall_ns() : sim_world_now->wall_ns;
}

int64_t __wrap_clock_mono_ns(void)
{
    return sim_world_now == NULL ? __real_clock_mono_ns() : sim_world_now->mono_ns;
}

int64_t __wrap_clock_boot_ns(void)
{
    return sim_world_now == NULL ? __real_clock_boot_ns() : sim_world_now->boot_ns;
}

ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags)
{
    if (sim_world_now == NULL)
        return __real_getrandom(p, n, flags);
    uint8_t *out = p;
    for (size_t i = 0; i < n; i++) {
        if (i % 8 == 0)
            sim_world_now->random += 0x9e3779b97f4a7c15ULL;
        out[i] = (uint8_t)(hash_mix(sim_world_now->random) >> (i % 8 * 8));
    }
    return (ssize_t)n;
}

/* Who is there but us? */
int __wrap_flock(int fd, int op)
{
    return sim_world_now == NULL ? __real_flock(fd, op) : 0;
}

void __wrap_memory_settle(bool resting)
{
    if (sim_world_now == NULL)
        __real_memory_settle(resting);
}

void __wrap_log_emit(enum log_level level, const char *file, int line, const char *msg,
    const struct log_field *fields, size_t n)
{
    struct sim_world *w = sim_world_now;
    if (w == NULL || getenv("SIM_LOG") != NULL)
        __real_log_emit(level, file, line, msg, fields, n);
    if (w == NULL || level < LOG_ERROR || w->n_errors++ > 0)
        return;
    int at = snprintf(w->error, sizeof(w->error), "%s", msg);
    for (size_t i = 0; i < n && at > 0 && (size_t)at < sizeof(w->error); i++) {
        const struct log_field *f = &fields[i];
        if (f->type == LOG_F_STR)
            at += snprintf(w->error + at, sizeof(w->error) - (size_t)at, " %s=" STR_FMT, f->key,
                STR_ARG(f->s));
        else if (f->type == LOG_F_INT || f->type == LOG_F_UINT)
            at += snprintf(
                w->error + at, sizeof(w->error) - (size_t)at, " %s=%lld", f->key, (long long)f->i);
    }
}
