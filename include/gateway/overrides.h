/* SPDX-License-Identifier: Apache-2.0
 * Per-tenant limits: Tempo's overrides (spec of Tempo's `overrides` block). Defaults come from the
 * configuration; a per-tenant file is read again every period; a tenant's entry (or "*") replaces
 * the defaults wholesale. Readers copy from an immutable snapshot; a broken file keeps the old one
 * and sets tempo_runtime_config_last_reload_successful to 0. Thread-safe.
 *
 * Parsing the file is the configuration layer's work: the loader is handed in, so that the gateway
 * does not know YAML.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

struct limits {
    bool rate_global; /* rate_strategy */
    uint64_t rate_limit_bytes, burst_size_bytes;
    uint32_t max_traces_per_user;
    uint32_t max_global_traces_per_user;
    uint32_t max_attribute_bytes; /* 0: the distributor's */
    int64_t artificial_delay_ns;
    bool retry_info_enabled;
    uint64_t max_bytes_per_tag_values_query;
    uint32_t max_blocks_per_tag_values_query;
    uint32_t max_condition_groups_per_tag_query;
    int64_t max_search_duration_ns, max_metrics_duration_ns;
    bool unsafe_query_hints, left_pad_trace_ids;
    int64_t block_retention_ns, compaction_window_ns;
    bool compaction_disabled;
    uint64_t compaction_max_bytes;
    uint64_t max_bytes_per_trace;
    uint32_t generator_series_max; /* shown among the limits; what counts is `attached` */
    bool generator_dry_run;
    uint64_t attribution_cardinality_max; /* 0: the distributor's */
};

enum limit_scope { LIMIT_ANY, LIMIT_RESOURCE, LIMIT_SPAN };
struct limit_dimension { /* cost attribution: the values of an attribute under a label */
    struct str attribute, label;
    enum limit_scope scope;
};
struct limit_lists { /* what cannot be copied: lives as long as its entry */
    const struct limit_dimension *dimensions;
    size_t n_dimensions;
    const struct str *forwarders;
    size_t n_forwarders;
};

struct tenant_entry {
    struct str tenant;         /* "*": any tenant without an entry of its own */
    bool from_file, from_user; /* who set it: the file, the tenant by /api/overrides, or both */
    struct limits limits;
    const void *attached; /* the loader's own, of the snapshot's arena; this layer does not look */
    struct limit_lists lists;
};

struct overrides;

struct overrides_options {
    struct limits defaults;
    struct limit_lists default_lists; /* kept: lives as long as the overrides */
    /* Reads the per-tenant file; entries and strings belong to the arena. NULL: there is no file.
     * *ret_hash: hash of the content, so that an unchanged file costs nothing. */
    enum ec (*load)(void *ctx, uint64_t last_hash, struct arena *arena, struct tenant_entry **ret,
        size_t *ret_n, uint64_t *ret_hash, struct err *err);
    void *load_ctx;
};

/* A broken file at start is an error. */
enum ec overrides_new(const struct overrides_options *opt, struct overrides **ret, struct err *err)
    MUST_USE;
void overrides_free(struct overrides *o);
/* Copies the tenant's limits. */
void overrides_get(struct overrides *o, struct str tenant, struct limits *ret);
/* True when the tenant itself has an entry in the file ("*" does not count). */
bool overrides_has_own(struct overrides *o, struct str tenant);
/* Calls fn with the tenant's entry, or "*", or NULL: it has none. The entry lives during the
 * call. */
void overrides_visit(struct overrides *o, struct str tenant,
    void (*fn)(void *ctx, const struct tenant_entry *e), void *ctx);
/* Another number after each change; never 0. */
uint64_t overrides_version(const struct overrides *o);
const struct limit_lists *overrides_default_lists(const struct overrides *o);
/* Reads the file again; the server's timer calls it every per_tenant_override_period. Any
 * thread. */
void overrides_poll(struct overrides *o);
/* Calls each entry of the snapshot, sorted by tenant. */
void overrides_each(
    struct overrides *o, void (*each)(void *ctx, const struct tenant_entry *e), void *ctx);
void overrides_defaults(struct overrides *o, struct limits *ret);
