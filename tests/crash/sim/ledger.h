/* SPDX-License-Identifier: Apache-2.0
 * What was sent to a simulated store, what became of it, and whether the store agrees.
 *
 * Contents are a formula of (tenant, request, span), so the ledger is small and copied with each
 * image. All of a store's answers are compared with it: every row of every part.
 */
#pragma once

#include "sim_world.h"

#define LEDGER_TENANTS  3
#define LEDGER_REQUESTS 400 /* of one life */
#define LEDGER_SPANS    6   /* of one request */

enum fate {
    FATE_SENT, /* not answered, or answered "perhaps": there whole, or not at all */
    FATE_ACKED,
    FATE_GONE, /* a recovery that was finished did not show it: it may never come back */
};

struct request {
    uint8_t fate, tenant, n_spans, sends;
    bool expired;     /* older than the retention period when retention ran: may be gone */
    uint32_t payload; /* bytes of noise in the first span */
    uint64_t start_ns;
    int64_t arrival_ns; /* of the last sending */
};

struct ledger {
    uint32_t n;
    struct request r[LEDGER_REQUESTS];
};

extern const char *const ledger_tenants[LEDGER_TENANTS];

/* The request as an OTLP message. */
void ledger_encode(const struct ledger *l, uint32_t r, struct buf *out);
/* Hands it to the store of the world, which answers into `fate`s by ledger_done(arg = the ack). */
struct ledger_ack {
    struct ledger *ledger;
    uint32_t r;
    bool answered;
};
enum ec ledger_append(
    struct ledger *l, struct sim_world *w, uint32_t r, struct ledger_ack *ack, struct err *err);
/* What is older than this becomes `expired`. */
void ledger_expire(struct ledger *l, int64_t before_ns);
/* Compares; false and a text when something is wrong. With `decide`, what was unknown is known
 * from now on. With `damage` the disk is known to be damaged: then requests may be missing and
 * parts unreadable, and both are counted; what is there must still be right. */
struct ledger_damage {
    unsigned lost, unreadable;
};
bool ledger_check(struct ledger *l, struct sim_world *w, bool decide, struct ledger_damage *damage,
    char *ret_why, size_t cap);
