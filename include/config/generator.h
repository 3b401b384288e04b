/* SPDX-License-Identifier: Apache-2.0
 * What `metrics_generator` says: the processors, the registry, where the metrics are sent to; and
 * what overrides say about one tenant.
 *
 * Lists of processors' settings are resolved: a tenant's struct holds the values that count, its
 * own over those of the block. Strings and arrays belong to the configuration's arena, or to the
 * one that an overrides file was read into. Durations are ns.
 */
#pragma once

#include "base/bytes.h"

struct node; /* a subtree of the file; private to the layer */

struct config_floats {
    const double *p;
    size_t n;
};
/* The latency buckets of span-metrics where nothing else is said. */
extern const struct config_floats config_span_bounds;

struct config_pair {
    const char *name, *value;
};
struct config_pairs {
    const struct config_pair *p;
    size_t n;
};

enum config_match_type {
    CONFIG_MATCH_TEXT,
    CONFIG_MATCH_INT,
    CONFIG_MATCH_DOUBLE,
    CONFIG_MATCH_BOOL
};
struct config_match {
    struct str key, text;
    enum config_match_type type;
    int64_t i;
    double d;
    bool b;
};
enum config_policy_kind { CONFIG_INCLUDE, CONFIG_INCLUDE_ANY, CONFIG_EXCLUDE, CONFIG_POLICY_KINDS };
struct config_policy {
    enum config_policy_kind kind;
    bool regex;
    const struct config_match *p;
    size_t n;
};
struct config_policies {
    const struct config_policy *p;
    size_t n;
};

struct config_mapping {
    const char *name, *join;
    const char *const *sources; /* NULL-terminated, or NULL */
};

/* Lists of texts are NULL-terminated, or NULL when empty. */
struct config_service_graphs {
    int64_t wait;
    uint32_t max_items;
    struct config_floats buckets;
    const char *const *dimensions, *const *peer_attributes, *const *database_attributes;
    bool prefix, messaging_latency, virtual_node_label, tracestate_multiplier;
    const char *multiplier_key;
    const struct node *policies_node;
    struct config_policies policies;
};

struct config_span_metrics {
    struct config_floats buckets;
    bool service, span_name, span_kind, status_code, status_message;
    const char *const *dimensions, *const *target_info_excluded;
    const struct node *mappings_node;
    const struct config_mapping *mappings;
    size_t n_mappings;
    bool target_info, instance_label, tracestate_multiplier;
    const char *multiplier_key;
    const struct node *policies_node;
    struct config_policies policies;
};

struct config_processors {
    struct config_service_graphs service_graphs;
    struct config_span_metrics span_metrics;
    const char *const *host_identifiers;
    const char *host_metric;
};

/* overrides: of the defaults, or of one tenant. 0 and NULL are not set, and say what is then. */
struct config_tenant_generator {
    const char *const *processor_names; /* NULL: none */
    uint32_t max_active_series, max_active_entities;
    uint64_t max_cardinality_per_label;
    int64_t collection_interval; /* 0: the registry's */
    bool disable_collection;
    const char *native_histograms; /* classic, native, both */
    double native_bucket_factor;
    uint32_t native_buckets_max;
    int64_t native_min_reset;
    const char *span_name_sanitization; /* "", dry_run, enabled */
    const char *trace_id_label;         /* "": traceID */
    const struct node *headers_node;
    struct config_pairs headers; /* of remote write, over the endpoint's */
    int64_t slack;               /* 0: the generator's */
    struct config_processors processors;
    const struct node *flat_intrinsic; /* flat shape of intrinsic_dimensions */
};

struct config_relabel {
    const char *const *source_labels;
    const char *separator, *regex, *target_label, *replacement, *action;
    uint64_t modulus;
};

struct config_client_tls {
    const char *ca_pem, *ca_file, *cert_file, *key_file, *server_name;
    bool insecure_skip_verify;
};
struct config_client_proxy {
    const char *url, *no_proxy; /* "": none */
    bool from_environment;
};
struct config_oauth2 {
    const char *client_id, *client_secret, *client_secret_file, *token_url;
    const char *const *scopes;
    const struct node *params_node;
    struct config_pairs params;
    struct config_client_tls tls;
    struct config_client_proxy proxy;
};
struct config_sigv4 {
    const char *region, *access_key, *secret_key; /* resolved: the environment's where not set */
    const char *token;                            /* of the environment, "": none */
};

struct config_remote_write {
    const char *url; /* without user and password */
    const char *name;
    int64_t timeout;
    struct config_pairs headers;
    const struct config_relabel *relabels;
    size_t n_relabels;
    /* queue_config */
    uint32_t samples_per_send_max, capacity;
    int64_t batch_deadline, backoff_min, backoff_max, sample_age_max;
    bool retry_on_429;
    /* credentials: at most one kind; files are read for every request */
    const char *user, *user_file, *password, *password_file;
    const char *auth_type, *credentials, *credentials_file;
    bool has_oauth2, has_sigv4;
    struct config_oauth2 oauth2;
    struct config_sigv4 sigv4;
    struct config_client_tls tls;
    struct config_client_proxy proxy;
    bool http2;
    /* as given, until resolved */
    const struct node *headers_node, *http_headers_node, *relabels_node;
};

struct config_generator {
    struct config_processors processors;
    int64_t collection_interval, stale, slack;
    const struct node *external_node;
    struct config_pairs external_labels;
    const char *inject_tenant_id_as; /* "": not */
    uint32_t label_name_max, label_value_max;
    bool limit_entities;
    const char *path; /* "": the generator is off */
    int64_t flush_deadline;
    bool add_org_id_header;
    uint64_t queue_bytes_max; /* a tenant's samples on disk that are not sent yet */
    const struct node *remote_write_node;
    const struct config_remote_write *remote_write;
    size_t n_remote_write;
};
