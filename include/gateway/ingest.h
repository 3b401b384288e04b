/* SPDX-License-Identifier: Apache-2.0
 * Admission and hand-over: from an OTLP request of a tenant to the store, with Tempo's distributor rules in
 * order (spec ingest.md section 10) and our answers (design.md section 10): nothing dropped silently, one bad
 * span does not reject its request. */
#pragma once

#include "gateway/overrides.h"
#include "storage/store.h"

struct ingest;

struct ingest_options {
    struct store *store;
    struct overrides *overrides;
    struct budget *inflight;            /* requests being decoded and committed */
    uint64_t inflight_tenant_bytes_max; /* 0: 32 MiB */
    uint32_t max_attribute_bytes;       /* distributor.max_attribute_bytes; default 2048 */
    int64_t retry_after_ns; /* distributor.retry_after_on_resource_exhausted; default 5 s */
    struct log_spans_options {
        bool enabled, include_all_attributes, filter_by_status_error;
    } log_received, log_discarded;
};

struct ingest_result {
    enum ec ec; /* EC_OK: durable; rejected spans may be > 0 */
    uint64_t n_spans, n_rejected;
    int64_t retry_after_ns;    /* > 0: send Retry-After / RetryInfo */
    char message[ERR_MSG_MAX]; /* refusal, or the partial_success text */
};

enum ec ingest_new(const struct ingest_options *opt, struct ingest **ret, struct err *err) MUST_USE;
void ingest_free(struct ingest *i);
/* Runs admission and append on the calling thread. done is called exactly once, with every outcome, at
 * once or from a committer thread. `otlp` must live until ingest_submit returns (not until done).
 * receiver/transport are the metric labels ("otlp/otlp_receiver", "grpc"); static strings. */
typedef void (*ingest_done_fn)(void *arg, const struct ingest_result *r);
void ingest_submit(struct ingest *i, struct str tenant, struct bytes otlp, const char *receiver,
    const char *transport, ingest_done_fn done, void *arg);
/* A receiver's decoder refused the bytes: counts as it must and nothing else. */
void ingest_count_refused(
    struct ingest *i, const char *receiver, const char *transport, uint64_t n_spans);
