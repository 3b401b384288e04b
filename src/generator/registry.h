/* SPDX-License-Identifier: Apache-2.0
 * The series of one tenant. An entity is one distinct set of labels; it holds a series for each
 * metric that uses it, so that a span looks its labels up once for all of its metrics.
 *
 * Limits: past series_max (or entities_max) a new label set's observations go to the one series of
 * the metric that only carries metric_overflow="true", which is never counted. Not thread-safe: the
 * instance's lock.
 */
#pragma once

#include "base/budget.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "demand.h"
#include "generator/generator.h"
#include "labels.h"
#include "model/ids.h"

enum gen_metric {
    METRIC_CALLS,
    METRIC_LATENCY,
    METRIC_SIZE,
    METRIC_TARGET_INFO,
    METRIC_REQUESTS,
    METRIC_FAILED,
    METRIC_SERVER_SECONDS,
    METRIC_CLIENT_SECONDS,
    METRIC_MESSAGING_SECONDS,
    METRIC_HOST_INFO,
    GEN_METRICS,
};
enum gen_metric_type { TYPE_COUNTER, TYPE_GAUGE, TYPE_HISTOGRAM };

struct native; /* native.h */

struct exemplar {
    struct trace_id trace;
    double value;
    bool set;
};

struct histogram {
    double sum, count;
    struct native *native; /* NULL: classic only */
    struct exemplar *exemplars;
    double buckets[]; /* bounds + 1, each its own count; cumulated when collected */
};

struct series {
    struct series *next; /* of the same entity */
    int64_t updated_ms;
    uint32_t bytes; /* charged */
    uint32_t cost;  /* active series that it counts for; 0: an overflow series */
    uint16_t slice; /* of the demand estimate that knows it */
    uint8_t metric; /* enum gen_metric */
    bool fresh;     /* never collected: a zero goes first */
    union {
        double value;
        struct histogram *histogram;
    };
};

struct entity {
    struct entity *next; /* made after this one */
    uint64_t hash;
    struct series *series;
    uint32_t n, bytes;
    bool counted;
    struct generator_label labels[]; /* sorted; their text follows */
};

struct gen_metric_state {
    struct str name; /* the registry's own copy */
    enum gen_metric_type type;
    bool on;
    double *bounds;
    uint32_t n_bounds;
    enum generator_histograms histograms;
    uint32_t cost;
    struct demand *demand;
};

struct registry_counters { /* self metrics of the tenant */
    struct metric *added, *removed, *limited;
    struct metric *entities_added, *entities_removed, *entities_limited;
};

struct registry {
    struct budget *budget;
    struct entity **table;       /* open addressing, linear probing; a power of two */
    struct entity *first, *last; /* all of the table, oldest first */
    uint32_t n_table, n_entities;
    uint64_t n_sweeps;
    uint32_t active_series, active_entities;
    struct entity *overflow;
    struct gen_metric_state metrics[GEN_METRICS];
    struct demand entity_demand;
    uint16_t slice; /* counts the slices of both estimates */
    enum generator_limiter limiter;
    uint32_t series_max, entities_max;
    double native_factor;
    uint32_t native_buckets_max;
    int64_t native_min_reset_ms;
    struct generator_label *external; /* sorted; owned */
    uint32_t n_external;
    struct str trace_id_label; /* owned */
    struct registry_counters counters;
    struct str tenant; /* borrowed, for the log */
    struct log_limiter limited_log;
};

void registry_init(struct registry *r, struct budget *budget, struct str tenant);
void registry_deinit(struct registry *r);
/* External labels, sorted, with __metrics_gen_instance among them; copied. */
void registry_set_external(struct registry *r, const struct generator_label *labels, uint32_t n,
    struct str trace_id_label);

/* Switches a metric on with nothing in it; a metric that was on loses its series. */
void registry_metric_on(struct registry *r, enum gen_metric m, struct str name,
    struct generator_bounds bounds, enum generator_histograms histograms);
void registry_metric_off(struct registry *r, enum gen_metric m);

/* The entity with these (closed) labels, or NULL; valid until the next observation that makes or
 * removes one. */
struct entity *registry_find(struct registry *r, const struct labels *l);
/* *e as registry_find gave it; it is set when the observation makes the entity. */
void registry_add(struct registry *r, enum gen_metric m, const struct labels *l, struct entity **e,
    double v, int64_t now_ms);
void registry_gauge(struct registry *r, enum gen_metric m, const struct labels *l,
    struct entity **e, double v, int64_t now_ms);
void registry_observe(struct registry *r, enum gen_metric m, const struct labels *l,
    struct entity **e, double v, double multiplier, const struct trace_id *trace, int64_t now_ms);
/* Removes series not updated since before_ms. */
void registry_expire(struct registry *r, int64_t before_ms);
double registry_demand(const struct registry *r);

/* collect.c: every series through emit, with one timestamp, in portions: between them the lock may
 * be given up, and series may be made (which wait for the next collection) but none removed. */
struct registry_collection { /* zero at first */
    struct entity *next, *last;
    int64_t now_ms;
    uint64_t n_sweeps;
    bool begun, rest; /* rest: the overflow series come now */
};
/* Goes on until emit says that it has enough; false: that was all. */
bool registry_collect(struct registry *r, struct registry_collection *c,
    bool (*emit)(void *ctx, const struct generator_entry *e), void *ctx);
