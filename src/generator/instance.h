/* SPDX-License-Identifier: Apache-2.0
 * The generator of one tenant: its processors, registry and settings, under one lock. */
#pragma once

#include <pthread.h>

#include "tenant_metrics.h"

struct instance {
    struct str tenant; /* owned */
    const struct generator_options *opt;
    pthread_mutex_t lock;
    struct registry registry;
    struct processor_env env;
    struct tenant_metrics metrics;
    struct span_metrics *span_metrics;
    struct service_graphs *service_graphs;
    struct host_info *host_info;
    uint64_t digest[ACTIVES]; /* of the settings that each processor was made with; 0: off */
    bool ready;               /* settings were applied once */
    /* the last settings, what is read at each push or tick */
    int64_t slack_ns, interval_ns, stale_ns;
    bool collection_disabled;
    uint32_t label_values_max;
    enum generator_span_names span_name_mode;
    /* when things are due, monotonic */
    int64_t settings_ns, collect_ns, judge_ns, sweep_ns;
};

struct instance *instance_new(const struct generator_options *opt, struct str tenant);
void instance_free(struct instance *x);
/* Asks for the settings and applies them. */
void instance_refresh(struct instance *x);
bool instance_push(struct instance *x, const struct batch *b, bool skip);
void instance_tick(struct instance *x);
void instance_collect(struct instance *x); /* now, whatever is due */

/* settings.c: a digest of all that makes processor p behave as it does; 0: it is off. */
uint64_t settings_digest(const struct generator_settings *s, enum active_processor p);
