/* SPDX-License-Identifier: Apache-2.0
 * Metrics from spans: Tempo's metrics generator (processors span-metrics, service-graphs,
 * host-info) with Tempo 3.0.3's series, labels and limits. What it makes leaves as encoded
 * Prometheus remote-write entries through a callback; sending them is another module's work.
 *
 * A tenant's instance is made by its first push. Its settings are asked for again every ten
 * seconds; a processor whose settings changed starts anew, the others keep their series. Unlike
 * Tempo: what does not change is never rebuilt (enable_virtual_node_label), and target_info is
 * refreshed by every span that carries it.
 *
 * Thread-safe. generator_push is bounded work on the calling thread, under a lock of the tenant;
 * generator_tick collects and expires, and may run beside pushes.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "model/batch.h"

struct generator;

enum generator_processor { /* bits of generator_settings.processors */
    GENERATOR_SPAN_METRICS_COUNT = 1,
    GENERATOR_SPAN_METRICS_LATENCY = 2,
    GENERATOR_SPAN_METRICS_SIZE = 4,
    GENERATOR_SPAN_METRICS = 7, /* the three */
    GENERATOR_SERVICE_GRAPHS = 8,
    GENERATOR_HOST_INFO = 16,
};

enum generator_histograms { GENERATOR_CLASSIC = 1, GENERATOR_NATIVE = 2, GENERATOR_BOTH = 3 };
enum generator_span_names { /* span_name_sanitization */
    SPAN_NAMES_AS_THEY_ARE,
    SPAN_NAMES_DRY_RUN, /* what it would do is counted */
    SPAN_NAMES_PATTERNS,
};
enum generator_limiter { GENERATOR_LIMIT_SERIES, GENERATOR_LIMIT_ENTITIES };

struct generator_strs {
    const struct str *p;
    size_t n;
};
struct generator_bounds { /* ascending, seconds, without +Inf */
    const double *p;
    size_t n;
};
struct generator_label {
    struct str name, value;
};

/* Span filters: spec metrics-generator.md 3.6. */
struct generator_match {
    struct str key;     /* "resource.x", "span.x", "kind", "name", "status" */
    struct value value; /* STR, INT, DOUBLE or BOOL; a pattern when the policy is a regex */
};
struct generator_policy {
    bool regex; /* match_type */
    const struct generator_match *matches;
    size_t n;
};
enum generator_policy_kind { POLICY_INCLUDE, POLICY_INCLUDE_ANY, POLICY_EXCLUDE, POLICY_KINDS };
struct generator_filter {
    const struct generator_policy *p[POLICY_KINDS];
    size_t n[POLICY_KINDS];
};

struct generator_mapping {
    struct str name, join;
    struct generator_strs sources;
};

struct generator_span_metrics {
    struct generator_bounds bounds;
    bool service, span_name, span_kind, status_code, status_message; /* intrinsic dimensions */
    struct generator_strs dimensions;
    const struct generator_mapping *mappings;
    size_t n_mappings;
    bool target_info, instance_label;
    struct generator_strs target_info_excluded;
    struct str multiplier_key;
    bool tracestate_multiplier;
    struct generator_filter filter;
};

struct generator_service_graphs {
    int64_t wait_ns;
    uint32_t max_items;
    struct generator_bounds bounds;
    struct generator_strs dimensions, peer_attributes, database_attributes;
    bool client_server_prefix, messaging_latency, virtual_node_label;
    struct str multiplier_key;
    bool tracestate_multiplier;
    struct generator_filter filter;
};

struct generator_host_info {
    struct generator_strs identifiers;
    struct str metric_name;
};

/* Everything of one tenant, resolved: the tenant's overrides over the defaults. */
struct generator_settings {
    uint32_t processors; /* bits of enum generator_processor; 0: the tenant has no metrics */
    struct generator_span_metrics span_metrics;
    struct generator_service_graphs service_graphs;
    struct generator_host_info host_info;
    enum generator_histograms histograms;
    double native_factor; /* > 1 */
    uint32_t native_buckets_max;
    int64_t native_min_reset_ns;
    const struct generator_label *external_labels; /* the injected tenant label is one of them */
    size_t n_external_labels;
    uint32_t label_name_max, label_value_max; /* bytes; 0: off */
    int64_t slack_ns, collection_interval_ns, stale_ns;
    bool collection_disabled;
    enum generator_limiter limiter;
    uint32_t series_max, entities_max, label_values_max; /* 0: no limit */
    struct str trace_id_label;                           /* of exemplars */
    enum generator_span_names span_names;
};

enum generator_entry_kind { ENTRY_SAMPLE, ENTRY_EXEMPLAR, ENTRY_HISTOGRAM };
struct generator_entry {
    struct bytes series;  /* an encoded prometheus.TimeSeries with one sample, exemplar or
                             histogram; valid during the call */
    uint64_t labels_hash; /* equal labels, equal hash: entries of one series keep their order */
    int64_t time_ms;
    enum generator_entry_kind kind;
};

struct generator_options {
    /* Fills *ret for the tenant; strings and arrays live in the arena. Called without locks of the
     * generator held that the callback could want. An error keeps what runs; the first one makes
     * the tenant wait for a minute. */
    enum ec (*settings)(void *ctx, struct str tenant, struct arena *arena,
        struct generator_settings *ret, struct err *err);
    /* Entries of one collection, then one call with e == NULL at its end, which says whether all
     * were kept; otherwise the result means nothing. */
    bool (*emit)(void *ctx, struct str tenant, const struct generator_entry *e);
    void *ctx;
    struct budget *budget; /* series, edges; a refusal ends in the overflow series */
    const char *instance;  /* __metrics_gen_instance; NULL: the host's name */
    uint32_t tenants_max;  /* 0: 10,000; pushes of others are not counted */
};

enum ec generator_new(const struct generator_options *opt, struct generator **ret, struct err *err)
    MUST_USE;
void generator_free(struct generator *g); /* emits nothing more */

/* Counts the accepted spans of the batch. skip: the request asked for no metrics
 * (no-generate-metrics); only counted as such. False: the tenant has no processors, or is one too
 * many. */
bool generator_push(struct generator *g, struct str tenant, const struct batch *b, bool skip);
/* Collects the tenants that are due, expires edges and stale series, re-reads settings. To be
 * called about twice a second. */
void generator_tick(struct generator *g);
/* Collects all tenants now: what came since the last collection, before the end of the process.
 * Not beside generator_tick. */
void generator_collect(struct generator *g);
