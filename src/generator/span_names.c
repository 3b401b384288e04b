/* SPDX-License-Identifier: Apache-2.0 */
#include "span_names.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/metric.h"
#include "demand.h"
#include "drain.h"

#define PREFIX "tempo_metrics_generator_registry_"
static struct metric_family sanitized_total = {
    .name = PREFIX "spans_sanitized_total",
    .help = "Label sets whose span name became a pattern.",
    .type = METRIC_COUNTER,
    .labels = {"tenant"},
};
static struct metric_family demand_gauge = {
    .name = PREFIX "post_sanitization_demand_estimate",
    .help = "Estimated label sets with span names as patterns.",
    .type = METRIC_GAUGE,
    .labels = {"tenant"},
};
static struct metric_family detected = {
    .name = PREFIX "drain_patterns_detected_total",
    .help = "Patterns of span names found.",
    .type = METRIC_COUNTER,
    .labels = {"tenant"},
};
static struct metric_family evicted = {
    .name = PREFIX "drain_patterns_evicted_total",
    .help = "Patterns dropped for others.",
    .type = METRIC_COUNTER,
    .labels = {"tenant"},
};
static struct metric_family expired = {
    .name = PREFIX "drain_patterns_expired_total",
    .help = "Patterns that no name had for long.",
    .type = METRIC_COUNTER,
    .labels = {"tenant"},
};
static struct metric_family skipped = {
    .name = PREFIX "drain_lines_skipped_total",
    .help = "Span names left alone.",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "reason"},
};
static const double token_bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};
static struct metric_family tokens_per_line = {
    .name = PREFIX "drain_tokens_per_line",
    .help = "Tokens of a span name.",
    .type = METRIC_HISTOGRAM,
    .labels = {"tenant"},
    .bounds = token_bounds, /* Tempo's, though they are made for seconds */
    .n_bounds = ARRAY_LEN(token_bounds),
};

struct span_names {
    struct drain *drain;
    struct demand demand;
    uint64_t counted[DRAIN_EVENTS];
    struct metric *events[DRAIN_EVENTS];
    struct metric *sanitized, *demand_estimate, *tokens;
};

static struct metric *series(struct metric_family *f, struct str tenant)
{
    metric_register(f);
    return metric_series1(f, tenant);
}

static struct metric *skipped_series(struct str tenant, const char *reason)
{
    metric_register(&skipped);
    return metric_series2(&skipped, tenant, str_from(reason));
}

struct span_names *span_names_new(struct budget *budget, struct str tenant)
{
    struct span_names *x = xcalloc(1, sizeof(*x));
    x->drain = drain_new(budget, SPAN_NAMES_BYTES);
    x->events[DRAIN_DETECTED] = series(&detected, tenant);
    x->events[DRAIN_EVICTED] = series(&evicted, tenant);
    x->events[DRAIN_EXPIRED] = series(&expired, tenant);
    x->events[DRAIN_SKIPPED_FEW] = skipped_series(tenant, "too_few_tokens");
    x->events[DRAIN_SKIPPED_MANY] = skipped_series(tenant, "too_many_tokens");
    x->tokens = series(&tokens_per_line, tenant);
    x->sanitized = series(&sanitized_total, tenant);
    x->demand_estimate = series(&demand_gauge, tenant);
    return x;
}

void span_names_free(struct span_names *x)
{
    if (x == NULL)
        return;
    span_names_metrics(x);
    drain_free(x->drain);
    free(x);
}

static struct generator_label *name_label(struct labels *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eq(l->p[i].name, STR("span_name")))
            return &l->p[i];
    return NULL;
}

bool span_names_apply(struct span_names *x, struct labels *l, bool dry_run, int64_t now_ms)
{
    struct generator_label *label = name_label(l);
    struct str before = label == NULL ? STR("") : label->value;
    uint32_t tokens;
    struct str after = drain_train(x->drain, before, now_ms, &tokens);
    if (tokens != 0)
        metric_observe(x->tokens, tokens);
    bool changed = label != NULL && !str_eq(before, after);
    if (changed) {
        metric_inc(x->sanitized);
        label->value = after;
    }
    labels_close(l); /* moves the label */
    demand_add(&x->demand, hash_mix(l->hash));
    label = changed && dry_run ? name_label(l) : NULL;
    if (label != NULL)
        label->value = before;
    return changed && dry_run;
}

void span_names_advance(struct span_names *x, int64_t before_ms)
{
    demand_advance(&x->demand);
    drain_expire(x->drain, before_ms);
}

void span_names_metrics(struct span_names *x)
{
    for (unsigned e = 0; e < DRAIN_EVENTS; e++) {
        uint64_t now = drain_events(x->drain, e);
        metric_add(x->events[e], (double)(now - x->counted[e]));
        x->counted[e] = now;
    }
    metric_set(x->demand_estimate, demand_estimate(&x->demand));
}
