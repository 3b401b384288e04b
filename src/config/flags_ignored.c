/* SPDX-License-Identifier: Apache-2.0
 * Flags of Tempo 3.0.3 and 2.9 for parts that one process does not have: rings, Kafka, block
 * builders, workers that talk to a scheduler. A unit file or chart that passes them must still
 * start the server, so each is known by name and left without effect; what is not here is a
 * mistake. Some names are strange, as Tempo puts them together without a separator. */
#include "flags_ignored.h"

#define BOOL_MARK '?' /* ends the name of a flag that takes no word of its own */

static const char *const names[] = {
    "backend-scheduler.provider.workbackend-scheduler.compaction-provider.measure-interval",
    "backend-scheduler.provider.workbackend-scheduler.max-jobs-per-tenant",
    "backend-scheduler.provider.workbackend-scheduler.redaction-provider.max-rescan-generations",
    "backend-scheduler.provider.workbackend-scheduler.redaction-provider.poll-interval",
    "backend-scheduler.provider.workbackend-scheduler.redaction-provider.rescan-delay",
    "backend-scheduler.workdead-job-timeout",
    "backend-scheduler.workprune-age",
    "backend-schedulerbackend-scheduler.backend-flush-interval",
    "backend-schedulerbackend-scheduler.job-timeout",
    "backend-schedulerbackend-scheduler.local-work-path",
    "backend-schedulerbackend-scheduler.maintenance-interval",
    "backend-worker.backoff-max-period",
    "backend-worker.backoff-min-period",
    "backend-worker.backoff-retries",
    "backend-worker.finish-on-shutdown-timeout",
    "block-builder.assigned-partitions",
    "block-builder.block.max-block-bytes",
    "block-builder.consume-cycle-duration",
    "block-builder.instance-id",
    "block-builder.max-bytes-per-cycle",
    "block-builder.partitions-per-instance",
    "block-builder.wal.path",
    "compactor.ring.heartbeat-period",
    "compactor.ring.heartbeat-timeout",
    "compactor.ring.instance-addr",
    "compactor.ring.instance-id",
    "compactor.ring.instance-port",
    "compactor.ring.wait-active-instance-timeout",
    "compactor.ring.wait-stability-max-duration",
    "compactor.ring.wait-stability-min-duration",
    "distributor.ring.heartbeat-period",
    "distributor.ring.heartbeat-timeout",
    "distributor.ring.instance-addr",
    "distributor.ring.instance-id",
    "distributor.ring.instance-port",
    "generator.client.healthcheck-enabled?",
    "generator.client.healthcheck-interval",
    "generator.client.healthcheck-timeout",
    "generator.client.timeout",
    "generator.instance-availability-zone",
    "generator.instance-id",
    "generator.leave-consumer-group-on-shutdown?",
    "ingester.client.healthcheck-enabled?",
    "ingester.client.healthcheck-interval",
    "ingester.client.healthcheck-timeout",
    "ingester.client.timeout",
    "live-store.concurrent-blocks",
    "live-store.instance-availability-zone",
    "live-store.metrics.time-overlap-cutoff",
    "live-store.partition-ring.delete-inactive-partition-after",
    "live-store.partition-ring.min-partition-owners-count",
    "live-store.partition-ring.min-partition-owners-duration",
    "live-store.readiness-max-wait",
    "live-store.readiness-target-lag",
    "live-store.remove-owner-on-shutdown?",
    "live-store.shutdown_marker_dir",
    "live-store.wal.path",
    "livestore.client.healthcheck-enabled?",
    "livestore.client.healthcheck-interval",
    "livestore.client.healthcheck-timeout",
    "livestore.client.timeout",
    "querier.dns-lookup-period",
    "querier.frontend-address",
    "querier.id",
    "querier.max-outstanding-requests-per-tenant",
    "querier.worker-match-max-concurrent?",
    "querier.worker-parallelism",
    "query-frontend.log-query-request-headers",
    "reporting.backoff-max-period",
    "reporting.backoff-min-period",
    "reporting.backoff-retries",
    "storage.trace.azure.endpoint",
    "storage.trace.block.v2-bloom-filter-false-positive",
    "storage.trace.block.v2-bloom-filter-shard-size-bytes",
    "storage.trace.gcs.bucket",
};

static const char *const rings[] = {"generator", "live-store", "live-store.partition-ring.",
    "ingester.", "compactor.ring.", "distributor.ring."};
static const char *const ring_names[] = {"consul.acl-token", "consul.cas-retry-delay",
    "consul.client-timeout", "consul.consistent-reads?", "consul.hostname",
    "consul.watch-burst-size", "consul.watch-rate-limit", "etcd.dial-timeout", "etcd.endpoints",
    "etcd.max-retries", "etcd.password", "etcd.tls-ca-path", "etcd.tls-cert-path",
    "etcd.tls-cipher-suites", "etcd.tls-enabled?", "etcd.tls-insecure-skip-verify?",
    "etcd.tls-key-path", "etcd.tls-min-version", "etcd.tls-server-name", "etcd.username",
    "multi.mirror-enabled?", "multi.mirror-timeout", "multi.primary", "multi.secondary", "prefix",
    "store"};

static const char *const kafkas[] = {"generator.", "ingest."};
static const char *const kafka_names[] = {"address", "auto-create-topic-default-partitions",
    "auto-create-topic-enabled?", "client-id", "consumer-group",
    "consumer-group-offset-commit-interval", "consumer_group_lag_metric_update_interval",
    "dial-timeout", "disable-kafka-telemetry?", "last-produced-offset-retry-timeout",
    "max-consumer-lag-at-startup", "producer-max-buffered-bytes", "producer-max-record-size-bytes",
    "sasl-password", "sasl-username", "target-consumer-lag-at-startup", "topic", "write-timeout"};

static bool among(struct str name, const char *const *list, size_t n, bool *ret_bool)
{
    for (size_t i = 0; i < n; i++) {
        struct str s = str_from(list[i]);
        bool is_bool = s.p[s.n - 1] == BOOL_MARK;
        s.n -= is_bool;
        if (!str_eq(name, s))
            continue;
        *ret_bool = is_bool;
        return true;
    }
    return false;
}

static bool below(struct str name, const char *const *prefixes, size_t n_prefixes,
    const char *const *list, size_t n, bool *ret_bool)
{
    for (size_t i = 0; i < n_prefixes; i++) {
        struct str prefix = str_from(prefixes[i]);
        if (str_starts(name, prefix) &&
            among(str_n(name.p + prefix.n, name.n - prefix.n), list, n, ret_bool))
            return true;
    }
    return false;
}

bool flag_is_ignored(struct str name, bool *ret_bool)
{
    return among(name, names, ARRAY_LEN(names), ret_bool) ||
           below(name, rings, ARRAY_LEN(rings), ring_names, ARRAY_LEN(ring_names), ret_bool) ||
           below(name, kafkas, ARRAY_LEN(kafkas), kafka_names, ARRAY_LEN(kafka_names), ret_bool);
}
