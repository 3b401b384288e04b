/* SPDX-License-Identifier: Apache-2.0
 * Prometheus' names for the same things, by tenant and endpoint. */
#include "rw_int.h"

#define FAMILY(var, t, n, h, ...)                                              \
    static struct metric_family var = {.name = "prometheus_remote_storage_" n, \
        .help = h,                                                             \
        .type = t,                                                             \
        .labels = {"tenant", "remote_name", "url", ##__VA_ARGS__}}
#define OF_KIND(kind)                                                                         \
    FAMILY(kind##_sent, METRIC_COUNTER, #kind "_total", "Sent " #kind ".");                   \
    FAMILY(kind##_failed, METRIC_COUNTER, #kind "_failed_total", "Refused " #kind ".");       \
    FAMILY(kind##_retried, METRIC_COUNTER, #kind "_retried_total", "Sent again: " #kind "."); \
    FAMILY(kind##_dropped, METRIC_COUNTER, #kind "_dropped_total", "Never sent: " #kind ".",  \
        "reason");                                                                            \
    FAMILY(kind##_pending, METRIC_GAUGE, #kind "_pending", "In the request under way: " #kind ".")
OF_KIND(samples);
OF_KIND(exemplars);
OF_KIND(histograms);
FAMILY(bytes_total, METRIC_COUNTER, "bytes_total", "Bytes of request bodies sent.");
FAMILY(shards, METRIC_GAUGE, "shards", "Requests of the tenant that may be under way.");
FAMILY(shards_min, METRIC_GAUGE, "shards_min", "As shards.");
FAMILY(shards_max, METRIC_GAUGE, "shards_max", "As shards.");
FAMILY(shards_desired, METRIC_GAUGE, "shards_desired", "As shards.");
FAMILY(max_samples_per_send, METRIC_GAUGE, "max_samples_per_send", "Most samples of a request.");
FAMILY(shard_capacity, METRIC_GAUGE, "shard_capacity", "As configured; samples wait on disk.");
FAMILY(enqueue_retries, METRIC_COUNTER, "enqueue_retries_total",
    "Always 0: the oldest samples go when a queue is full.");
FAMILY(highest, METRIC_GAUGE, "queue_highest_timestamp_seconds", "Newest sample in the queue.");
FAMILY(highest_sent, METRIC_GAUGE, "queue_highest_sent_timestamp_seconds", "Newest sample sent.");
#define TENANT_FAMILY(var, t, n, h) \
    static struct metric_family var = {.name = n, .help = h, .type = t, .labels = {"tenant"}}
TENANT_FAMILY(samples_in, METRIC_COUNTER, "prometheus_remote_storage_samples_in_total",
    "Samples for any endpoint.");
TENANT_FAMILY(exemplars_in, METRIC_COUNTER, "prometheus_remote_storage_exemplars_in_total",
    "Exemplars for any endpoint.");
TENANT_FAMILY(histograms_in, METRIC_COUNTER, "prometheus_remote_storage_histograms_in_total",
    "Histograms for any endpoint.");
TENANT_FAMILY(highest_in, METRIC_GAUGE, "prometheus_remote_storage_highest_timestamp_in_seconds",
    "Newest sample for any endpoint.");
TENANT_FAMILY(update_failed, METRIC_COUNTER,
    "tempo_metrics_generator_storage_remote_write_update_failed_total",
    "Headers of a tenant that cannot be sent.");
static const double bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60, 120, 300};
static struct metric_family duration = {
    .name = "prometheus_remote_storage_sent_batch_duration_seconds",
    .help = "Time of requests.",
    .type = METRIC_HISTOGRAM,
    .labels = {"tenant", "remote_name", "url"},
    .bounds = bounds,
    .n_bounds = ARRAY_LEN(bounds)};

static struct metric *with(struct metric_family *f, const struct str *labels)
{
    metric_register(f);
    return metric_series(f, labels);
}

void sender_metrics_init(struct sender_metrics *m, struct str tenant, const struct endpoint *e)
{
    static struct metric_family *const kinds[REMOTE_WRITE_KINDS][COUNTS] = {
        {&samples_sent, &samples_failed, &samples_retried},
        {&exemplars_sent, &exemplars_failed, &exemplars_retried},
        {&histograms_sent, &histograms_failed, &histograms_retried}};
    static struct metric_family *const drops[REMOTE_WRITE_KINDS] = {
        &samples_dropped, &exemplars_dropped, &histograms_dropped};
    static struct metric_family *const pendings[REMOTE_WRITE_KINDS] = {
        &samples_pending, &exemplars_pending, &histograms_pending};
    static struct metric_family *const ones[] = {
        &shards, &shards_min, &shards_max, &shards_desired};
    static const char *const reasons[DROPS] = {
        "dropped_series", "too_old", "queue_full", "damaged"};
    struct str labels[4] = {tenant, str_from(e->name), str_from(e->url)};

    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++) {
        for (unsigned c = 0; c < COUNTS; c++)
            m->kinds[k][c] = with(kinds[k][c], labels);
        m->pending[k] = with(pendings[k], labels);
        for (unsigned d = 0; d < DROPS; d++) {
            labels[3] = str_from(reasons[d]);
            m->dropped[k][d] = with(drops[k], labels);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(ones); i++)
        metric_set(with(ones[i], labels), 1);
    metric_set(with(&max_samples_per_send, labels), e->opt.samples_per_send_max);
    metric_set(with(&shard_capacity, labels), e->opt.capacity);
    (void)with(&enqueue_retries, labels);
    m->bytes = with(&bytes_total, labels);
    m->highest = with(&highest, labels);
    m->highest_sent = with(&highest_sent, labels);
    m->duration = with(&duration, labels);
}

void rw_tenant_metrics_init(struct rw_tenant_metrics *m, struct str tenant)
{
    static struct metric_family *const in[REMOTE_WRITE_KINDS] = {
        &samples_in, &exemplars_in, &histograms_in};
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        m->in[k] = with(in[k], &tenant);
    m->highest = with(&highest_in, &tenant);
    m->update_failed = with(&update_failed, &tenant);
}

void sender_count(const struct sender *s, enum counted c, const uint32_t kinds[REMOTE_WRITE_KINDS])
{
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        if (kinds[k] != 0)
            metric_add(s->metrics.kinds[k][c], kinds[k]);
}
