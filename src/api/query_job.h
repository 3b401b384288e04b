/* SPDX-License-Identifier: Apache-2.0
 * Starting a query endpoint on the pool. */
#pragma once

#include "api_internal.h"

struct grpc_method;

struct query_endpoint {
    query_fn run;
    const char *op;
    bool trace;  /* the trace-by-id timeout applies */
    bool hiding; /* hides what a restricted caller may not see, or shows nothing of it */
};

/* A query that another protocol asks for: parameters of its own in place of the URL's, and the
 * answer, whatever it is, changed before it is sent. Lives as long as the exchange. */
struct query_call {
    const struct query_endpoint *endpoint;
    const char *path, *tail; /* of the URL that it stands for; tail: NULL when there is no
                                segment */
    struct str arg;          /* the segment */
    const struct http_param *params;
    size_t n_params;
    /* Gets the answer, changes it in place; the body may be replaced. */
    void (*wrap)(void *arg, unsigned *status, const char **content_type, struct buf *body);
    void *wrap_arg;
};

/* Checks tenant and deny list, takes a place in the queue, runs e->run on the pool; answers by
 * itself when one of these refuses. `arg` must live as long as the exchange. */
void query_job_start(
    struct api *a, struct exchange *ex, const struct query_endpoint *e, struct str arg);
/* The same for a call. The answer is for language models where the endpoint has such a form. */
void query_job_start_call(struct api *a, struct exchange *ex, const struct query_call *call);
/* The same for a gRPC method: the message is decoded and checked on the pool. */
void query_job_start_grpc(struct api *a, struct exchange *ex, const struct grpc_method *m);
/* Path and query of the URL that a request of another protocol stands for. */
void job_put_url(const struct query_job *job, struct buf *out);
void job_free(struct query_job *job); /* after its last use; the exchange is still to be answered */
void query_jobs_register(void);
