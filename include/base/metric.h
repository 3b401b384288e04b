/* SPDX-License-Identifier: Apache-2.0
 * Self-metrics in the Prometheus text format (exposition format 0.0.4).
 *
 * A family is a static object registered on first use; a series is a family plus label values.
 * Look a series up once and keep the pointer: it lives until process exit. Counting is one relaxed
 * atomic add. Families without labels exist from registration with value 0. Gauges that are
 * cheaper to compute than to keep are set by a collector, called at each scrape.
 * Bound: a family holds at most METRIC_SERIES_MAX series; beyond it, updates go to one series whose
 * label values are all "overflow".
 */
#pragma once

#include <stdatomic.h>

#include "base/buf.h"

#define METRIC_SERIES_MAX 20000
#define METRIC_LABELS_MAX 6
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_family {
    const char *name, *help;
    enum metric_type type;
    const char *labels[METRIC_LABELS_MAX + 1]; /* NULL-terminated */
    const double *bounds;                      /* histogram upper bounds, ascending, no +Inf */
    unsigned n_bounds;
    struct metric_registered *registered; /* owned by metric.c */
};

struct metric; /* one series */

/* Adds the family to the scrape; idempotent, thread-safe. */
void metric_register(struct metric_family *f);
/* The series with these label values (as many as labels), made when new. Never NULL. */
struct metric *metric_series(struct metric_family *f, const struct str *values);
struct metric *metric_series0(struct metric_family *f);                /* no labels */
struct metric *metric_series1(struct metric_family *f, struct str v0); /* one label */
struct metric *metric_series2(struct metric_family *f, struct str v0, struct str v1);
/* No longer shown, until metric_series asks for it again: it then goes on from its old value, so
 * that counters never run backwards. It keeps its place under METRIC_SERIES_MAX. */
void metric_remove(struct metric_family *f, const struct str *values);
void metric_add(struct metric *m, double v);
void metric_inc(struct metric *m);
void metric_set(struct metric *m, double v);
void metric_observe(struct metric *m, double v); /* histogram */
double metric_value(const struct metric *m);     /* counter or gauge */

/* fn runs at each scrape, before rendering, on the scraping thread; it must not add or remove
 * collectors. After metric_collector_remove returns, fn is not running. */
void metric_collector_add(void (*fn)(void *ctx), void *ctx);
void metric_collector_remove(void (*fn)(void *ctx), void *ctx);
void metric_render(struct buf *out);
