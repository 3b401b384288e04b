/* SPDX-License-Identifier: Apache-2.0
 * Private to the layer.
 *
 *   remote_write.c   tenants, their queues, what is put
 *   sender.c         one tenant's way to one endpoint: batch, request, answer, retry
 *   batch.c          records of a queue -> one WriteRequest
 *   endpoint.c       what an endpoint is: profile, relabeling, headers of a request
 *   rw_metrics.c
 *
 * Threads: putting (one at a time per tenant) and the client's. Senders belong to the latter. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/metric.h"
#include "client/oauth2.h"
#include "queue.h"
#include "relabel.h"

enum counted { COUNTED_SENT, COUNTED_FAILED, COUNTED_RETRIED, COUNTS };
enum dropped { DROPPED_SERIES, DROPPED_OLD, DROPPED_QUEUE, DROPPED_DAMAGED, DROPS };

struct sender_metrics {
    struct metric *kinds[REMOTE_WRITE_KINDS][COUNTS];
    struct metric *dropped[REMOTE_WRITE_KINDS][DROPS];
    struct metric *pending[REMOTE_WRITE_KINDS];
    struct metric *bytes, *highest, *highest_sent, *duration;
};
struct rw_tenant_metrics {
    struct metric *in[REMOTE_WRITE_KINDS], *highest, *update_failed;
};

struct endpoint {
    const char *url, *name; /* owned */
    char id[40];            /* of its position in a queue */
    struct http_profile *profile;
    struct relabel *relabel; /* NULL: none */
    struct oauth2 *oauth2;   /* NULL: none */
    struct io *io;
    const char *aws_sigv4; /* NULL: not signed */
    struct arena arena;    /* texts of the rest */
    struct remote_write_endpoint opt;
};

struct batch {
    struct buf body, packed; /* WriteRequest, and as snappy */
    struct queue_pos end;    /* behind the last entry in it */
    uint32_t n, n_seen, kinds[REMOTE_WRITE_KINDS];
    uint32_t dropped[REMOTE_WRITE_KINDS][DROPS];
    int64_t highest_ms;
};

struct sender {
    struct tenant *tenant;
    struct endpoint *endpoint;
    struct sender_metrics metrics;
    unsigned reader;
    struct queue_pos pos; /* everything before is done */
    struct batch batch;
    bool under_way; /* a request or the timer */
    struct http_timer timer;
    unsigned attempt;
    int64_t backoff_ns, since_ns; /* of an outage; since 0: there is none */
    struct log_limiter *refused_log;
};

struct tenant {
    struct remote_write *w;
    struct tenant *next; /* of the slot */
    struct str name;
    struct queue *queue; /* NULL: could not be opened; again at retry_ns */
    int64_t retry_ns;
    struct sender *senders; /* one per endpoint */
    struct buf pending;     /* entries that are not in the queue yet */
    uint32_t n_pending, pending_kinds[REMOTE_WRITE_KINDS];
    int64_t highest_ms; /* of what was put; a series' first zero is stamped in the past */
    bool lost;          /* entries of this collection */
    struct rw_tenant_metrics metrics;
    _Atomic bool collecting; /* between the first put and the flush */
    _Atomic bool kicked;     /* a job for the client's thread is on its way */
    struct arena header_arena;
    const struct http_header *headers; /* client's thread */
    size_t n_headers;
    int64_t headers_ns;
};

#define SLOTS 1024
struct remote_write {
    struct remote_write_options opt;
    struct http_client *client;
    struct endpoint *endpoints;
    size_t n_endpoints;
    pthread_mutex_t lock; /* of slots */
    struct tenant *slots[SLOTS];
    _Atomic unsigned sending; /* requests under way, and kicks that may begin one */
    _Atomic bool stopping;
    _Atomic(struct tenant *) last; /* the one that was put to last */
    struct log_limiter write_log, refused_log, header_log;
};

/* One entry in a record: length u32, kind u8, time i64, then the TimeSeries. */
#define ENTRY_HEAD 13u

enum ec endpoint_init(struct endpoint *e, const struct remote_write_endpoint *opt,
    struct remote_write *w, struct err *err) MUST_USE;
void endpoint_deinit(struct endpoint *e);
/* Whether there is what a request needs: READY, or come back. */
enum oauth2_state endpoint_ready(struct endpoint *e, struct err *err);
/* The tenant's request with this body; views are copied by the client. */
enum ec endpoint_send(
    struct sender *s, struct bytes body, http_client_done_fn done, struct err *err) MUST_USE;

/* Takes entries from the queue behind *from; false: there is no memory for it now. b->n may be 0
 * while b->end has moved: everything up to there is dropped. */
bool batch_fill(struct sender *s, struct queue_pos from);
void batch_reset(struct batch *b);
void batch_deinit(struct batch *b);

void sender_kick(struct sender *s); /* client's thread */
void sender_deinit(struct sender *s);

void sender_metrics_init(struct sender_metrics *m, struct str tenant, const struct endpoint *e);
void rw_tenant_metrics_init(struct rw_tenant_metrics *m, struct str tenant);
void sender_count(const struct sender *s, enum counted c, const uint32_t kinds[REMOTE_WRITE_KINDS]);
