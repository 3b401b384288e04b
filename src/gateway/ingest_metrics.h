/* SPDX-License-Identifier: Apache-2.0
 * Distributor and receiver metrics under Tempo's names. */
#pragma once

#include "tenants.h"

void ingest_metrics_register(void);
void ingest_tenant_metrics(struct ingest_tenant *t, struct str id); /* fills its series */
void ingest_count_ingress(struct ingest_tenant *t, uint64_t bytes);
void ingest_count_received(struct ingest_tenant *t, const struct batch *b);
void ingest_count_discarded(struct ingest_tenant *t, const char *reason, uint64_t n);
void ingest_count_truncated(struct ingest_tenant *t, const char *scope, uint64_t n);
/* Spans by name and service, for debugging. */
void ingest_count_debug(struct ingest_tenant *t, const struct batch *b, bool root_only);
void ingest_observe_delay(struct ingest_tenant *t, double seconds);
struct metric *ingest_metric_push_duration(void);
/* The two series of a receiver; both exist after the first call. */
void ingest_metric_receiver(const char *receiver, const char *transport,
    struct metric **ret_accepted, struct metric **ret_refused);
