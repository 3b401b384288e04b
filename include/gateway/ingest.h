/* SPDX-License-Identifier: Apache-2.0
 * Admission and hand-over: from an OTLP request of a tenant to the store, with Tempo's distributor
 * rules in order and our answers: nothing accepted is dropped silently, one bad span does not
 * reject its request.
 *
 * Order: decode -> ingress bytes -> (no spans: success) -> tenant's bytes in flight -> rate limit
 * -> received counters, span log, cost attribution -> ids -> trace limits and append (store) ->
 * forwarders -> commit.
 * Thread-safe.
 */
#pragma once

#include "gateway/overrides.h"
#include "storage/store.h"

struct ingest;

struct ingest_log_spans {
    bool enabled, include_all_attributes, filter_by_status_error;
};

struct ingest_metric_spans { /* tempo_distributor_debug_spans_received_total */
    bool enabled, root_only;
};

struct ingest_usage { /* cost attribution */
    bool enabled;
    uint64_t cardinality_max; /* series of a tenant, unless its overrides say another */
    int64_t stale_ns;         /* series without new bytes go */
    struct budget *budget;    /* of all series; when it refuses, bytes go to __overflow__ */
};

struct ingest_forwarder { /* strings are kept: they live as long as the ingest */
    const char *name;
    const char *const *endpoints; /* "host:port"; NULL-terminated or NULL */
    bool insecure;                /* plain text */
    const char *cert_file;        /* certificates to trust */
};

struct ingest_options {
    struct store *store;
    struct overrides *overrides;
    struct budget *inflight;            /* decoded requests until they are in the head */
    uint64_t inflight_tenant_bytes_max; /* request bytes until the ack; 0: 32 MiB */
    uint32_t max_attribute_bytes;       /* distributor.max_attribute_bytes; 0: no limit */
    uint32_t tenants_max;               /* distinct tenants with state here; 0: 10,000 */
    int64_t retry_after_ns;             /* distributor.retry_after_on_resource_exhausted; 0: none */
    struct ingest_log_spans log_received, log_discarded;
    struct ingest_metric_spans metric_spans;
    /* Each batch that the store took (its durability is not known yet), on the thread of
     * ingest_submit; spans that were rejected say so. May be NULL. */
    void (*accepted)(void *ctx, struct str tenant, const struct batch *b, bool no_metrics);
    void *accepted_ctx;
    struct ingest_usage usage;
    const struct ingest_forwarder *forwarders; /* kept */
    size_t n_forwarders;
    struct budget *forward_budget; /* requests on their way to forwarders */
};

struct ingest_result {
    enum ec ec;                /* EC_OK: durable; n_rejected may be > 0 */
    uint64_t n_spans;          /* in the request */
    uint64_t n_rejected;       /* not stored; all of them when ec is not EC_OK */
    int64_t retry_after_ns;    /* > 0: send Retry-After or RetryInfo */
    char message[ERR_MSG_MAX]; /* the refusal, or the partial_success text; "" when all is well */
};

enum ec ingest_new(const struct ingest_options *opt, struct ingest **ret, struct err *err) MUST_USE;
void ingest_free(struct ingest *i); /* after the store has no append in flight */
/* Appends the Prometheus text of /usage_metrics; false when there is no tracker. */
bool ingest_usage_render(struct ingest *i, struct buf *out);
/* Answers at once what waits for an artificial delay, and delays nothing from now on. Before the
 * server is drained. NULL allowed. */
void ingest_stop_delays(struct ingest *i);

/* Lets forwarders send what they have, for that long at most. After the server is drained. NULL
 * allowed. */
void ingest_drain(struct ingest *i, int64_t deadline_ns);

/* Runs admission and append on the calling thread. done is called exactly once, with every outcome,
 * at once or from a committer thread. `otlp` must live until ingest_submit returns, not until done.
 * receiver and transport are metric labels ("otlp/otlp_receiver", "grpc"): static strings.
 * no_metrics: the request has the header no-generate-metrics. */
typedef void (*ingest_done_fn)(void *arg, const struct ingest_result *r);
void ingest_submit(struct ingest *i, struct str tenant, struct bytes otlp, const char *receiver,
    const char *transport, bool no_metrics, ingest_done_fn done, void *arg);
