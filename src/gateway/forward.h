/* SPDX-License-Identifier: Apache-2.0
 * Forwarders: copies of what a tenant sends, to OTLP servers over gRPC.
 *
 * A queue per tenant and forwarder: FORWARD_QUEUE_MAX requests at most, two of them under way; what
 * does not fit is dropped and counted. Ingest never waits and never fails because of it. There are
 * no retries. Thread-safe. */
#pragma once

#include "gateway/ingest.h"
#include "model/batch.h"

#define FORWARD_QUEUE_MAX  100u
#define FORWARD_WORKERS    2u
#define FORWARD_TIMEOUT_NS (10 * NS_PER_S)

struct forward;
struct forward_tenant;

enum ec forward_new(const struct ingest_forwarder *list, size_t n, struct budget *budget,
    struct forward **ret, struct err *err) MUST_USE;
/* Waits until all queues are empty and all is answered, at most so long; what is put meanwhile is
 * waited for as well. The number of requests that are left. */
unsigned forward_drain(struct forward *f, int64_t deadline_ns);
/* Ends what is under way; what comes later is dropped. Then the tenants, then forward_free. NULL
 * allowed in all. */
void forward_stop(struct forward *f);
void forward_free(struct forward *f);

struct forward_tenant *forward_tenant_new(struct forward *f, struct str tenant);
void forward_tenant_free(struct forward_tenant *t);
/* Which forwarders get copies from now on. Unknown names are logged, and the tenant then has none,
 * as in Tempo. Queues that are no longer wanted are sent empty. */
void forward_tenant_configure(struct forward_tenant *t, const struct limit_lists *lists);
/* n_bad_ids: spans with bad ids, which are left out. The others go as they were received. */
void forward_push(struct forward_tenant *t, const struct batch *b, uint32_t n_bad_ids);
