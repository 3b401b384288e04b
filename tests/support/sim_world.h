/* SPDX-License-Identifier: Apache-2.0
 * A whole store in a simulated machine: files (io_sim), catalog, clocks and random numbers are the
 * world's own, there are no threads, and so everything that happens follows from one seed.
 *
 * How the store gets there: it is linked with --wrap for the catalog's functions, the clocks,
 * getrandom, flock and a few more (sim_wraps in tests/meson.build); the wrappers serve the
 * world that was entered last. Outside of any world they do what they always did.
 *
 * The catalog is LMDB in a fresh directory, or (most of the time: a hundred times faster) a list of
 * its commits in memory, each durable when it returns, as LMDB's are. Either way all earlier states
 * are kept, so that an image of the world can have any of them, or none, or a damaged one.
 *
 * Not thread-safe: one thread, and no store of its own beside the worlds.
 */
#pragma once

#include "io_sim.h"
#include "storage/store/store_private.h"

#define SIM_START_NS (1700000000 * NS_PER_S) /* wall clock of a new world */

struct sim_catalog_state; /* rows, or the bytes of data.mdb */

struct sim_world {
    struct io_sim *sim;
    struct store *s; /* NULL: not open */
    struct store_options opt;
    struct tenant_limits limits; /* of every tenant */
    struct budget budget;
    int64_t wall_ns, mono_ns, boot_ns;
    uint64_t random;
    /* catalog */
    VEC(struct sim_catalog_state *) history; /* oldest first; the last is the truth */
    char *lmdb_dir;                          /* NULL: in memory */
    bool catalog_damaged;                    /* the next open says so */
    /* What was logged as an error, since the last look. */
    unsigned n_errors;
    char error[512]; /* the first of them */
    /* What was done against the rules of order, which no later state need show: NULL, nothing. */
    const char *disorder;
    void (*hook)(void *ctx, const char *op, const char *site); /* as io_sim's, and the catalog's */
    void *hook_ctx;
};

struct sim_world *sim_world_new(uint64_t seed, bool lmdb);
void sim_world_free(struct sim_world *w); /* abandons the store; NULL allowed */
/* Later calls of the store are served by w (NULL: by none). Returns the one before. */
struct sim_world *sim_world_enter(struct sim_world *w);
/* What is there after a power loss (or, with loss NULL, after a kill) at this moment: a world
 * without a store. The catalog is history[i_catalog]; SIM_CATALOG_NONE: gone, _DAMAGED: unreadable,
 * _TORN: LMDB died in its last commit. */
#define SIM_CATALOG_NONE    SIZE_MAX
#define SIM_CATALOG_DAMAGED (SIZE_MAX - 1)
#define SIM_CATALOG_TORN    (SIZE_MAX - 2)
struct sim_world *sim_world_image(
    struct sim_world *w, const struct io_sim_loss *loss, size_t i_catalog, uint64_t seed);
void sim_world_hook(
    struct sim_world *w, void (*fn)(void *ctx, const char *op, const char *site), void *ctx);
void sim_world_pass(struct sim_world *w, int64_t ns); /* time goes by on all clocks */

enum ec sim_world_open(struct sim_world *w, struct err *err) MUST_USE;
void sim_world_abandon(struct sim_world *w);
void sim_world_commit(struct sim_world *w);                    /* all that waits for a sync */
uint64_t sim_world_fsck(struct sim_world *w, struct err *err); /* problems; its own failure: 1 */
