/* SPDX-License-Identifier: Apache-2.0
 * The effective configuration: Tempo's YAML (2.9 and 3.0 shapes) and flags, resolved to one struct.
 *
 * Filled once before threads start, then immutable. Strings belong to the config. Keys, defaults
 * and their precedence: config/reference.md; the key table in src/config/ is where they are
 * defined. Durations are ns, sizes bytes.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/gateway.h"
#include "config/generator.h"

struct config_tls {
    const char *cert_file, *key_file, *cert_pem, *key_pem, *client_ca_file;
    const char *client_auth_type; /* server.*_tls_config: Go names, NULL: NoClientCert */
    const char *min_version, *max_version, *cipher_suites;
    int64_t reload_interval;
    bool set;
};

struct config_receiver { /* one receiver protocol */
    const char *id;      /* "otlp", "otlp/2" */
    const char *endpoint;
    struct config_tls tls;
    uint64_t max_recv_msg_bytes;    /* gRPC */
    uint64_t max_request_body_size; /* HTTP */
    uint32_t max_concurrent_streams;
    const char *traces_url_path;                  /* otlp */
    bool parse_string_tags;                       /* zipkin */
    uint64_t max_packet_size, socket_buffer_size; /* UDP; the latter 0: own choice */
    const char *const *cors_allowed_origins,
        *const *cors_allowed_headers; /* NULL-terminated or NULL */
    uint32_t cors_max_age_s;
    int64_t read_timeout, idle_timeout, keepalive_time, keepalive_timeout;
};
#define CONFIG_RECEIVERS_MAX 8
enum receiver_kind {
    RECEIVER_OTLP_GRPC,
    RECEIVER_OTLP_HTTP,
    RECEIVER_JAEGER_GRPC,
    RECEIVER_JAEGER_HTTP,
    RECEIVER_JAEGER_COMPACT, /* UDP */
    RECEIVER_JAEGER_BINARY,  /* UDP */
    RECEIVER_ZIPKIN,
    RECEIVER_KINDS,
};

struct config_server {
    const char *http_listen_address, *grpc_listen_address;
    uint32_t http_listen_port, grpc_listen_port;
    struct config_tls http_tls, grpc_tls;
    int64_t read_timeout, write_timeout, idle_timeout, graceful_shutdown_timeout;
    uint64_t grpc_max_recv, grpc_max_send;
    uint32_t grpc_max_streams, http_conn_limit, grpc_conn_limit;
    const char *path_prefix;
    bool register_instrumentation, log_requests_at_info;
    const char *log_level, *log_format;
};

/* cost_attribution.dimensions: the values of an attribute become a label. */
enum config_dimension_scope { DIMENSION_ANY, DIMENSION_RESOURCE, DIMENSION_SPAN };
struct config_dimension {
    struct str attribute, label; /* label: a name that Prometheus takes, one of a kind */
    enum config_dimension_scope scope;
};

struct config_limits { /* overrides.defaults; see gateway/overrides.h */
    bool rate_global;
    uint64_t rate_limit_bytes, burst_size_bytes;
    uint32_t max_traces_per_user, max_global_traces_per_user, max_attribute_bytes;
    int64_t artificial_delay;
    bool retry_info_enabled;
    uint64_t max_bytes_per_tag_values_query;
    uint32_t max_blocks_per_tag_values_query, max_condition_groups_per_tag_query;
    int64_t max_search_duration, max_metrics_duration;
    bool unsafe_query_hints, left_pad_trace_ids;
    int64_t block_retention, compaction_window;
    bool compaction_disabled;
    uint64_t compaction_max_bytes, max_bytes_per_trace;
    struct config_tenant_generator generator;
    const char *const *forwarders; /* NULL-terminated or NULL */
    const struct config_dimension *dimensions;
    size_t n_dimensions;
    uint64_t attribution_cardinality_max; /* 0: distributor.usage's */
};

struct config_forwarder { /* distributor.forwarders */
    const char *name;
    const char *backend;          /* otlpgrpc */
    const char *const *endpoints; /* "host:port"; NULL-terminated or NULL */
    bool insecure;                /* plain text */
    const char *cert_file;        /* trusted certificates */
};

struct config_attribution {
    bool enabled;
    uint64_t cardinality_max;
    int64_t stale;
};

struct config_log_spans {
    bool enabled, include_all_attributes, filter_by_status_error;
};

struct config_metric_spans {
    bool enabled, root_only;
};

struct config {
    /* command line */
    bool expand_env, verify, portable, print_version, print_help, health;
    const char *file, *health_url, *target;

    bool multitenancy, stream_over_http;
    const char *http_api_prefix; /* "" or "/x" */
    int64_t shutdown_delay;
    uint64_t memory_budget; /* resolved: own key, cgroup, or 1 GiB */

    struct config_server server;
    bool internal_server_on;
    struct config_server internal_server;
    struct config_gateway gateway;

    struct config_receivers { /* of one kind */
        struct config_receiver p[CONFIG_RECEIVERS_MAX];
        size_t n;
    } receivers[RECEIVER_KINDS];
    struct config_log_spans log_received_spans, log_discarded_spans;
    struct config_metric_spans metric_received_spans;
    struct config_attribution attribution;
    const struct config_forwarder *forwarders;
    size_t n_forwarders;
    uint32_t max_attribute_bytes;
    int64_t retry_after;
    int64_t artificial_delay; /* that of limits counts: it is this one unless overrides set it */

    const char *local_path, *wal_path;
    const char *durability; /* "commit", "interval", "none" */
    int64_t durability_interval;
    uint64_t min_free_bytes;
    double min_free_ratio;
    uint64_t store_bytes_max;
    int64_t trace_idle, trace_live, block_age_max, flush_check_period;
    uint64_t block_bytes_max, max_live_traces_bytes;
    bool flush_all_on_shutdown;
    uint32_t block_workers;
    int64_t retention, compaction_window, compaction_cycle, retention_interval;
    uint64_t compaction_objects_max, compaction_bytes_max;
    uint32_t compaction_inputs_min, compaction_inputs_max;
    bool compaction_disabled;
    const char *retention_source; /* the key that `retention` comes from; "default" */

    int64_t search_timeout, trace_timeout, api_timeout, query_end_cutoff;
    uint32_t search_default_limit, search_max_limit, search_default_spss, search_max_spss;
    int64_t search_max_duration, metrics_max_duration, metrics_timeout;
    uint32_t metrics_max_exemplars, metrics_max_series, metrics_max_intervals;
    uint32_t max_outstanding_per_tenant, max_query_bytes, query_workers;
    uint32_t grpc_packet_bytes_max; /* 0: no limit */
    bool multi_tenant_queries, mcp_enabled;
    const char *const *url_deny_list; /* NULL-terminated or NULL */

    struct config_generator generator;
    struct config_limits limits;
    const char *overrides_file; /* NULL: none */
    bool user_limits_on, user_limits_check_conflicts;
    const char *user_limits_dir; /* where they are kept */
    int64_t overrides_period;

    struct arena arena; /* owns the strings */
    struct config_warning {
        const char *msg, *explain;
        const char *key; /* the key at fault, or NULL */
        bool fails_verify;
    } * warnings;
    size_t n_warnings;
    struct config_doc *doc; /* what was set, for printing */
};

/* Parses flags and file. On failure `err` holds Tempo's text (several lines for several problems)
 * and
 * *ret_exit is 1 (configuration) or 2 (command line). With no -config.file the embedded default
 * applies: local storage under ./data, 168 h retention, OTLP gRPC and HTTP on 0.0.0.0. -help and
 * -version set their flag and load nothing else. */
enum ec config_load(int argc, char **argv, struct config **ret, int *ret_exit, struct err *err)
    MUST_USE;
/* tenants.yaml and rbac.yaml (or what is inline) as they are now: of *ret only `gateway` and the
 * warnings are to be looked at. Ends with config_gateway_free; c must outlive it. */
enum ec config_gateway_read(const struct config *c, struct config **ret, struct err *err) MUST_USE;
void config_gateway_free(struct config *c); /* NULL allowed */
void config_free(struct config *c);

enum config_print_mode { CONFIG_PRINT_ALL, CONFIG_PRINT_DIFF, CONFIG_PRINT_DEFAULTS };
/* YAML of the effective configuration, secrets masked. */
void config_print(const struct config *c, enum config_print_mode mode, struct buf *out);
void config_usage(struct buf *out);
/* The text of config/reference.md. */
void config_reference(struct buf *out);

/* The per-tenant overrides file (scoped or flat shape), each entry complete: unset fields are zero,
 * or the defaults' when overrides.inherit_defaults is set, except those that Tempo always falls
 * back on. Entries and strings belong to the arena. last_hash: hash of the previous content; when
 * equal, *ret_n is 0 and nothing is parsed. */
struct config_tenant {
    struct str tenant;
    struct config_limits limits;
    const char *warning; /* to be logged, or NULL */
    bool from_file, from_user;
};

/* What a tenant set by itself, as JSON in the scoped shape: it lies over the tenant's entry, the
 * entry "*", or the defaults. */
struct config_user_limits {
    struct str tenant, json;
};
/* EC_INVALID when a tenant could not have these. */
enum ec config_user_limits_check(const struct config *c, struct str json, struct err *err) MUST_USE;
enum ec config_overrides_load(const struct config *c, uint64_t last_hash, struct arena *arena,
    struct config_tenant **ret, size_t *ret_n, uint64_t *ret_hash, struct err *err) MUST_USE;
/* The same with what tenants set (*ret_n is 0 and *ret NULL only when both are unchanged);
 * `users_change` is another number after each change of it. Such limits that do not parse are left
 * out with a warning. */
enum ec config_overrides_merge(const struct config *c, const struct config_user_limits *users,
    size_t n_users, uint64_t users_change, uint64_t last_hash, struct arena *arena,
    struct config_tenant **ret, size_t *ret_n, uint64_t *ret_hash, struct err *err) MUST_USE;
