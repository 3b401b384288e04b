/* SPDX-License-Identifier: Apache-2.0
 * Prometheus remote write 1.0: encoded time series of tenants go to every endpoint, in order, over
 * a bounded queue on disk per tenant. An endpoint that is away, or a restart of this process, loses
 * nothing as long as the queue has room; then the oldest samples go, and are counted.
 *
 * Delivery is at least once: what an endpoint took, but did not say so before the connection broke,
 * is sent again. Samples survive the end of the process; nothing is synced, so a loss of power may
 * take what the kernel has not written yet.
 *
 * remote_write_put and remote_write_flush may be called by one thread at a time per tenant; they
 * write files and never wait for an endpoint. Sending runs on one thread of its own.
 */
#pragma once

#include "base/arena.h"
#include "base/io.h"
#include "client/http_client.h"

struct remote_write;

struct remote_write_relabel { /* Prometheus' relabel_config with its defaults filled in */
    const struct str *source_labels;
    size_t n_source_labels;
    struct str separator, regex, target_label, replacement;
    const char *action; /* in any case */
    uint64_t modulus;
};

struct remote_write_oauth2 { /* client credentials; texts are copied */
    const char *token_url, *client_id, *client_secret, *client_secret_file;
    const char *scopes; /* blanks between them */
    const struct http_header *params;
    size_t n_params;
    struct http_profile_options http;
};

struct remote_write_endpoint { /* texts are copied */
    const char *url;           /* without user and password */
    const char *name;          /* "": made of a hash */
    const struct http_header *headers;
    size_t n_headers;
    const struct remote_write_relabel *relabels;
    size_t n_relabels;
    uint32_t samples_per_send_max; /* entries in a request */
    uint32_t capacity;             /* queue_config.capacity: only shown, the queue is on disk */
    int64_t timeout_ns, backoff_min_ns, backoff_max_ns;
    int64_t sample_age_max_ns; /* 0: none */
    bool retry_on_429;
    const char *user, *user_file, *password, *password_file; /* NULL or "": not */
    const char *auth_type, *credentials, *credentials_file;
    const char *aws_region, *aws_token; /* region set: signed, user and password are the keys */
    const struct remote_write_oauth2 *oauth2; /* NULL: not */
    struct http_profile_options http;
};

struct remote_write_options {
    struct io *io;
    const char *path; /* folder; the queues lie in <path>/queue */
    const struct remote_write_endpoint *endpoints;
    size_t n_endpoints;
    bool add_org_id_header;
    uint64_t queue_bytes_max; /* of a tenant; 0: 512 MiB */
    uint64_t min_free_bytes;  /* of the file system: below, a queue does not grow */
    struct budget *budget;    /* entries and requests in memory */
    /* The tenant's own headers, over the endpoints'; on the sending thread. May be NULL. */
    void (*headers)(void *ctx, struct str tenant, struct arena *arena,
        const struct http_header **ret, size_t *ret_n);
    void *ctx;
    uint64_t segment_bytes; /* 0: own choice; for tests */
};

enum remote_write_kind { /* the order is that of generator_entry_kind */
    REMOTE_WRITE_SAMPLE,
    REMOTE_WRITE_EXEMPLAR,
    REMOTE_WRITE_HISTOGRAM,
    REMOTE_WRITE_KINDS
};

/* Queues of an earlier run are found and sent. */
enum ec remote_write_new(
    const struct remote_write_options *opt, struct remote_write **ret, struct err *err) MUST_USE;
/* Waits for requests that are under way, at most deadline_ns; the rest stays on disk. */
void remote_write_free(struct remote_write *w, int64_t deadline_ns);

/* One prometheus.TimeSeries with one sample, exemplar or histogram; copied. */
void remote_write_put(struct remote_write *w, struct str tenant, struct bytes series,
    int64_t time_ms, enum remote_write_kind kind);
/* The tenant's collection is complete: sends what there is. False: some of it was dropped, because
 * the queue could not take it. */
bool remote_write_flush(struct remote_write *w, struct str tenant);
