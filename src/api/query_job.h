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

/* Checks tenant and deny list, takes a place in the queue, runs e->run on the pool; answers by
 * itself when one of these refuses. `arg` must live as long as the exchange. */
void query_job_start(
    struct api *a, struct exchange *ex, const struct query_endpoint *e, struct str arg);
/* The same for a gRPC method: the message is decoded and checked on the pool. */
void query_job_start_grpc(struct api *a, struct exchange *ex, const struct grpc_method *m);
void job_free(struct query_job *job); /* after its last use; the exchange is still to be answered */
void query_jobs_register(void);
