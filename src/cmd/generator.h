/* SPDX-License-Identifier: Apache-2.0
 * The metrics generator in this process: batches from ingest in, remote write out, its clock on a
 * thread of its own. */
#pragma once

#include "config/config.h"
#include "gateway/overrides.h"
#include "generator/generator.h"

struct metrics_service;

/* series: what the registry holds; samples: what is on its way to an endpoint, which many series
 * must not keep from leaving. *ret is NULL when metrics_generator.storage.path is not set. */
enum ec metrics_service_new(const struct config *c, struct overrides *o, struct budget *series,
    struct budget *samples, struct metrics_service **ret, struct err *err) MUST_USE;
void metrics_service_push(void *ctx, struct str tenant, const struct batch *b, bool no_metrics);
/* A last collection, then sends what can be sent in that time; pushes may go on, and are lost. NULL
 * is fine, as below. */
void metrics_service_stop(struct metrics_service *m, int64_t deadline_ns);
void metrics_service_free(struct metrics_service *m); /* after the last push */

/* generator_settings.c: a tenant's configuration in the generator's terms, copied to the arena. */
void settings_from(const struct config *c, const struct config_tenant_generator *t,
    struct str tenant, struct arena *arena, struct generator_settings *ret);
