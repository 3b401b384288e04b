/* SPDX-License-Identifier: Apache-2.0
 * The generator's own metrics, by tenant; names are Tempo's. */
#pragma once

#include "processors.h"

enum active_processor { ACTIVE_SPAN_METRICS, ACTIVE_SERVICE_GRAPHS, ACTIVE_HOST_INFO, ACTIVES };

struct tenant_metrics {
    struct processor_counters processors;
    struct registry_counters registry;
    struct metric *active[ACTIVES];
    struct metric *spans_received, *bytes_received, *outside_slack, *skipped, *update_failed;
    struct metric *active_series, *max_active_series, *series_demand;
    struct metric *active_entities, *max_active_entities, *entity_demand;
    struct metric *collections;
};

void generator_metrics_init(struct tenant_metrics *m, struct str tenant);
/* Entries of a collection were lost. The series begins with the first. */
void generator_metrics_collection_failed(struct str tenant);
/* Gauges from the registry. */
void generator_metrics_update(struct tenant_metrics *m, const struct registry *r);
