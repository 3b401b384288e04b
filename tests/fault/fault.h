/* SPDX-License-Identifier: Apache-2.0
 * Fault loops: one call of a scenario fails, then the contract is checked.
 *
 * A case prepares a world without faults, acts while the plan is armed, and is verified with the
 * disk healthy again: what was acked is there, what was refused is there whole or not at all,
 * nothing else is, the next operation works, fsck is clean, no descriptor and no memory is left
 * behind. loop.c runs a case once for every call that it makes, for every errno, once and for ever.
 */
#pragma once

#include "preload.h"
#include "store_util.h"

#define WORLD_TENANTS  2
#define WORLD_REQUESTS 48

/* Who is asked to fail: the shim's table, a library's system calls, or one of our own functions. */
enum fault_kind { FAULT_NONE, FAULT_SHIM, FAULT_LIBRARY, FAULT_BUDGET, FAULT_MAP_FULL };

struct fault_plan {
    enum fault_kind kind;
    const char *op;   /* of the shim or the library */
    const char *site; /* of the shim; NULL: any */
    int errnum;       /* or one of the FAULT_IO_ codes */
    uint64_t nth;
    bool ever;
};

enum request_state { REQUEST_UNSENT, REQUEST_ACKED, REQUEST_REFUSED, REQUEST_EXPIRED };

struct world {
    struct test_store t;
    struct fault_io *faults;
    struct fault_plan plan;
    bool armed;
    const char *also; /* the site that fails besides */
    uint64_t fired;
    uint32_t spans; /* of a request */
    uint32_t next[WORLD_TENANTS];
    uint8_t state[WORLD_TENANTS][WORLD_REQUESTS];
    uint64_t base_ns[WORLD_TENANTS];
    bool damaged; /* the case itself damages files: acked spans may be lost, and told so */
    void *own;    /* of a case */
};

struct fault_case {
    const char *name;
    void (*prepare)(struct world *w);
    void (*act)(struct world *w);    /* with the plan armed */
    void (*verify)(struct world *w); /* with the plan gone */
};
extern const struct fault_case store_cases[], other_cases[]; /* name NULL ends a list */

extern const struct str world_tenants[WORLD_TENANTS];

/* Reports a broken promise at the current point; the point goes on. */
void problem(const struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
extern unsigned problems;

/* ---- world.c ---- */
void world_begin(struct world *w, const struct fault_plan *plan);
void world_end(struct world *w);
void world_arm(struct world *w);
void world_disarm(struct world *w); /* w->fired is set */
/* Fails the next call at this site besides the plan, so that what undoes it can fail too. */
void world_also(struct world *w, const char *site, const char *op, int errnum);
/* Reads give wrong bytes. */
bool world_flipped(const struct world *w);
/* One bad read may cost what it hit: EIO or damage that a second look does not cure. */
bool world_lossy(const struct world *w);
/* A single failure that the contract says nobody may notice. */
bool world_harmless(const struct world *w);

/* Opens the store; while armed it may fail. */
bool world_open(struct world *w);
void world_crash(struct world *w);
void world_send(struct world *w, unsigned tenant, unsigned n);
/* `ec` is the outcome of `what` while armed: success, or a code that says what is wrong. */
void world_outcome(const struct world *w, const char *what, enum ec ec, const struct err *err);
/* For what may give up after one bad read, because somebody tries again. */
void world_outcome_once(const struct world *w, const char *what, enum ec ec, const struct err *err);
/* The same after the faults: success. */
void world_must(const struct world *w, const char *what, enum ec ec, const struct err *err);
/* Everything that the open store answers, against the ledger. */
void world_see(struct world *w);
void store_verify(struct world *w);
size_t world_files(const struct world *w, const char *suffix); /* below the world's folder */
void write_file(const char *path, const char *text);

/* Set by a case: the next n commits of the catalog fail with this code of LMDB. */
extern _Atomic int catalog_fail_code;
extern _Atomic unsigned catalog_fail_n;
