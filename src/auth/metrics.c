/* SPDX-License-Identifier: Apache-2.0
 * What the layer counts. Label values are names of the configuration, never of a request. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/log.h"
#include "base/metric.h"

#define FAULT_EVERY_NS (10 * NS_PER_S)

static struct metric_family failed_registrations = {
    .name = "observatorium_api_tenants_failed_registrations_total",
    .help = "Failed attempts to reach the identity provider of a tenant.",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "provider"}};
static struct metric_family skipped_tenants = {
    .name = "observatorium_api_tenants_skipped_invalid_configuration_total",
    .help = "Tenants that are not served because their configuration is broken.",
    .type = METRIC_COUNTER,
    .labels = {"tenant"}};
static struct metric_family lookups = {.name = "vivace_auth_cache_lookups_total",
    .help = "Look-ups of credentials and access decisions, by cache and result.",
    .type = METRIC_COUNTER,
    .labels = {"cache", "result"}};
static struct metric_family upstream = {.name = "vivace_auth_upstream_total",
    .help = "Questions to identity providers and reviewers, by kind and result.",
    .type = METRIC_COUNTER,
    .labels = {"kind", "result"}};
static struct metric_family waiting = {.name = "vivace_auth_waiting_requests",
    .help = "Requests that wait for an identity provider or reviewer.",
    .type = METRIC_GAUGE};
static struct metric_family entries = {.name = "vivace_auth_cache_entries",
    .help = "Entries of the caches.",
    .type = METRIC_GAUGE,
    .labels = {"cache"}};
static struct metric_family busy = {.name = "vivace_auth_refused_busy_total",
    .help = "Requests refused because too many wait.",
    .type = METRIC_COUNTER};

static void collect(void *ctx)
{
    struct auth *a = ctx;
    metric_set(metric_series0(&waiting), atomic_load(&a->n_waiting));
    metric_set(metric_series1(&entries, STR("token")), (double)cache_entries(a->identities));
    metric_set(metric_series1(&entries, STR("refused")), (double)cache_entries(a->refused));
    metric_set(metric_series1(&entries, STR("review")), (double)cache_entries(a->decisions));
}

struct auth_metrics *auth_metrics_new(struct auth *a)
{
    static const char *const caches[CACHE_METRICS] = {"token", "review"};
    static const char *const kinds[] = {"token_review", "access_review", "keys"};
    struct auth_metrics *m = xcalloc(1, sizeof(*m));
    for (size_t i = 0; i < CACHE_METRICS; i++) {
        m->hit[i] = metric_series2(&lookups, str_from(caches[i]), STR("hit"));
        m->miss[i] = metric_series2(&lookups, str_from(caches[i]), STR("miss"));
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        m->upstream_ok[i] = metric_series2(&upstream, str_from(kinds[i]), STR("ok"));
        m->upstream_refused[i] = metric_series2(&upstream, str_from(kinds[i]), STR("refused"));
        m->upstream_failed[i] = metric_series2(&upstream, str_from(kinds[i]), STR("failed"));
    }
    m->busy = metric_series0(&busy);
    a->metrics = m;
    metric_collector_add(collect, a);
    return m;
}

void auth_metrics_free(struct auth *a)
{
    if (a->metrics == NULL)
        return;
    metric_collector_remove(collect, a);
    free(a->metrics);
    a->metrics = NULL;
}

struct metric *metric_failed_registration(struct str tenant, const char *provider)
{
    return metric_series2(&failed_registrations, tenant, str_from(provider));
}

void metric_skipped_tenant(struct str tenant)
{
    metric_inc(metric_series1(&skipped_tenants, tenant));
}

void log_fault(int64_t *last_ns, const char *msg, const struct tenant *t, const char *detail)
{
    int64_t now = clock_mono_ns(); /* client's thread only */
    if (*last_ns != 0 && now - *last_ns < FAULT_EVERY_NS)
        return;
    *last_ns = now;
    log_event(LOG_WARN, msg, LZ("tenant", t->name), LZ("err", detail));
}
