/* SPDX-License-Identifier: Apache-2.0
 * Per-tenant limits: Tempo's overrides (spec ingest.md section 11). Defaults from the configuration, a
 * per-tenant file read again every period; a tenant's entry (or "*") replaces the defaults wholesale.
 * Readers get an immutable snapshot; a broken file keeps the old one and sets the metric. */
#pragma once

#include "base/bytes.h"
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
};

struct overrides;

struct overrides_options {
    struct limits defaults;
    const char *file;  /* per_tenant_override_config, or NULL */
    int64_t period_ns; /* 0: 10 s */
    bool expand_env;
};

/* A broken file at start is an error (as in Tempo). */
enum ec overrides_new(const struct overrides_options *opt, struct overrides **ret, struct err *err)
    MUST_USE;
void overrides_free(struct overrides *o);
/* Copies the tenant's limits. Thread-safe, no lock held afterwards. */
void overrides_get(struct overrides *o, struct str tenant, struct limits *ret);
/* Reads the file again if its content changed; called by the server's timer. */
void overrides_poll(struct overrides *o);
/* Built-in defaults of Tempo 3.0.3. */
void limits_defaults(struct limits *l);
/* YAML text of the snapshot for /status/runtime_config and /status/overrides. */
struct buf;
void overrides_print(struct overrides *o, struct buf *out);
