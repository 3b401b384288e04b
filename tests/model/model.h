/* SPDX-License-Identifier: Apache-2.0
 * The naive model of a store: for each tenant a list of spans, sorted by id; a query walks it. */
#pragma once

#include "sim_world.h"
#include "storage/scan.h"

#define MODEL_TENANTS       3
#define MODEL_REQUEST_SPANS 8
#define MODEL_NAMES         6
#define MODEL_TAGS          3
#define MODEL_RETENTION_NS  (6 * 3600 * NS_PER_S)

struct model_span { /* contents follow from these */
    uint64_t id;    /* unique over all tenants */
    uint32_t trace;
    uint64_t start_ns, duration_ns;
    uint8_t name, tag; /* tag 0: none */
    int8_t v;
    bool has_v;
    uint16_t text; /* length of a string attribute, 0: none */
    int64_t first_arrival_ns, last_arrival_ns;
    bool seen; /* while checking */
};

struct model_tenant {
    struct model_span *p;
    size_t n, cap;
};

struct model {
    struct model_tenant tenants[MODEL_TENANTS];
    size_t n; /* spans of all */
    uint32_t attr_bytes_max;
    /* What retention took. A log segment may still hold its records, and a block that a snapshot
     * still held then has its file: a restart brings both back until the next retention, but no
     * whole block when it may believe the clock, which is near to the newest block's arrival. */
    struct model_tenant graves[MODEL_TENANTS];
    bool reviving;           /* a restart has just been: see above */
    int64_t newest_block_ns; /* the newest arrival in a block, as far as the last check knows */
};

/* The harness's: prints and ends the process. */
_Noreturn void model_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

extern const char *const model_tenants[MODEL_TENANTS];
void model_encode(unsigned tenant, const struct model_span *spans, uint32_t n, struct buf *out);
void model_add(struct model *m, unsigned tenant, const struct model_span *s, int64_t arrival_ns);
void model_deinit(struct model *m);

/* Every row of every part. before_ns != 0: retention has run, or a start: spans that are older may
 * be missing and leave the model. With `strictly` no block may be all older. Returns how many
 * left. */
size_t model_check(
    struct model *m, struct sim_world *w, unsigned tenant, int64_t before_ns, bool strictly);
void model_check_trace(struct model *m, struct sim_world *w, unsigned tenant, uint32_t trace);

enum model_field {
    MODEL_FIELD_V,
    MODEL_FIELD_TAG,
    MODEL_FIELD_NAME,
    MODEL_FIELD_START,
    MODEL_FIELD_DURATION,
    MODEL_FIELD_SERVICE,
    MODEL_FIELDS
};
struct model_leaf {
    enum model_field field;
    enum scan_op op;
    int64_t number;
    unsigned text;
    bool negate;
};
struct model_query { /* of one to three leaves: all, or any of them */
    struct model_leaf leaves[3];
    unsigned n;
    bool any;
};
void model_check_query(
    struct model *m, struct sim_world *w, unsigned tenant, const struct model_query *q);

/* A snapshot that is kept, with open readers and a sum of what they showed. */
struct model_pin {
    struct snapshot snap;
    struct part_reader **readers;
    uint64_t *sums;
    bool held;
};
void model_pin(struct model_pin *p, struct sim_world *w, unsigned tenant);
void model_unpin(struct model_pin *p, struct sim_world *w); /* compares, and lets go */
