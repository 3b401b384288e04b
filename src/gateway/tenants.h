/* SPDX-License-Identifier: Apache-2.0
 * Per-tenant admission state: token bucket, bytes in flight, metric series looked up once. */
#pragma once

#include <pthread.h>

#include "base/metric.h"
#include "model/batch.h"

struct ingest_tenant {
    char *id;
    size_t id_n;
    pthread_mutex_t lock;
    double tokens;         /* guarded by lock; bytes */
    int64_t filled_at_ns;  /* guarded by lock; 0: the bucket was never used */
    _Atomic uint64_t held; /* request bytes between submit and ack */
    struct metric *ingress, *received_bytes, *received_spans;
    struct metric *distance_future, *distance_past;
    /* What hangs on lists of the overrides, of which `configured` is the version; ingest's. */
    _Atomic uint64_t configured;
    struct usage_tenant *usage;     /* NULL: off */
    struct forward_tenant *forward; /* NULL: off */
};

struct ingest_tenants {
    pthread_rwlock_t lock;
    struct ingest_tenant **slots; /* open addressing; guarded by lock */
    size_t n, cap, n_max;
    void (*init)(void *ctx, struct ingest_tenant *e); /* of a new tenant; may be NULL */
    void *init_ctx;
};

enum ec ingest_tenants_init(struct ingest_tenants *t, uint32_t n_max, struct err *err) MUST_USE;
void ingest_tenants_deinit(struct ingest_tenants *t);
/* The tenant's state, made when new; lives until deinit. EC_LIMIT past n_max tenants. */
enum ec ingest_tenants_get(
    struct ingest_tenants *t, struct str id, struct ingest_tenant **ret, struct err *err) MUST_USE;

void ingest_tenants_each(
    struct ingest_tenants *t, void (*fn)(void *ctx, struct ingest_tenant *e), void *ctx);

/* Token bucket: refill `rate` bytes/s up to `burst`, starts full; true when n bytes pass. */
bool ingest_tenant_take(struct ingest_tenant *t, uint64_t n, uint64_t rate, uint64_t burst);
/* Bytes in flight; false when they would pass max. */
bool ingest_tenant_hold(struct ingest_tenant *t, uint64_t n, uint64_t max);
void ingest_tenant_release(struct ingest_tenant *t, uint64_t n);
