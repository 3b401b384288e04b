/* SPDX-License-Identifier: Apache-2.0
 * The processors of one tenant: from a span to observations in the registry. All calls under the
 * instance's lock. */
#pragma once

#include "policy.h"
#include "registry.h"

/* Counters of the tenant that several processors feed; see metrics.c. */
struct processor_counters {
    struct metric *span_metrics_filtered, *service_graphs_filtered;
    struct metric *span_metrics_utf8, *service_graphs_utf8, *host_info_utf8;
    struct metric *edges, *expired_edges, *dropped_spans, *dropped_edges, *side_overflow;
};

struct label_limit; /* label_limit.h: max_cardinality_per_label */
struct span_names;  /* span_names.h: span_name_sanitization */

struct processor_env { /* what they share */
    struct registry *registry;
    struct processor_counters *counters;
    struct label_limit *label_limit; /* NULL: off */
    struct span_names *span_names;   /* NULL: never was on */
    uint32_t label_name_max, label_value_max;
    struct str tenant;
    struct labels labels; /* scratch */
};
/* Span name to pattern, values capped, then sorted and hashed: the labels added to env->labels. */
void processor_labels_close(struct processor_env *env, int64_t now_ms);

/* ---- span-metrics ---- */
struct span_metrics;
/* EC_INVALID: dimensions that collide, a bad policy. Copies what it keeps of the settings. */
enum ec span_metrics_new(const struct generator_settings *s, struct processor_env *env,
    struct span_metrics **ret, struct err *err) MUST_USE;
void span_metrics_free(struct span_metrics *p); /* its series go too */
/* Before the spans of a resource. */
void span_metrics_resource(struct span_metrics *p, struct attr_list resource);
void span_metrics_span(struct span_metrics *p, const struct span_view *s, int64_t now_ms);

/* ---- service-graphs ---- */
struct service_graphs;
enum ec service_graphs_new(const struct generator_settings *s, struct processor_env *env,
    struct service_graphs **ret, struct err *err) MUST_USE;
void service_graphs_free(struct service_graphs *p);
void service_graphs_span(
    struct service_graphs *p, const struct span_view *s, struct str service, int64_t now_ms);
/* Edges that waited long enough for their other half. */
void service_graphs_expire(struct service_graphs *p, int64_t now_ms);

/* ---- host-info ---- */
struct host_info;
enum ec host_info_new(const struct generator_settings *s, struct processor_env *env,
    struct host_info **ret, struct err *err) MUST_USE;
void host_info_free(struct host_info *p);
void host_info_resource(struct host_info *p, struct attr_list resource, int64_t now_ms);
