/* SPDX-License-Identifier: Apache-2.0
 * What the endpoints of all receivers share: the tenant of a write, hand-over to the gateway, gRPC
 * failures. */
#pragma once

#include "api_internal.h"

/* The tenant of a write. On refusal: EC_UNAVAILABLE "no org id" for an absent header (a code that
 * clients retry, as the reference has it), EC_INVALID for a bad one. */
enum ec receive_tenant(struct api *a, struct exchange *ex, struct str *ret, struct err *err)
    MUST_USE;
/* Hands a request over (state of the server, tenant, admission); done gets every outcome. No bytes
 * are a request without spans. */
void receive_submit(struct api *a, struct exchange *ex, struct bytes otlp, const char *receiver,
    const char *transport, ingest_done_fn done, void *arg);
/* google.rpc.Status with a RetryInfo when retry_ns > 0, protobuf. */
void receive_put_status(struct buf *b, unsigned code, struct str message, int64_t retry_ns);
void receive_grpc_fail(struct exchange *ex, unsigned code, const struct ingest_result *r);
/* No such service, or no such method of `service`. */
void receive_grpc_unknown(struct exchange *ex, struct str path, const char *service);
/* A body that the transport refused for lack of memory: 503 and when to try again. */
void receive_busy(struct exchange *ex);
/* The outcome of transcoding a body into `out`: EC_TOO_LARGE in place of EC_LIMIT when both would
 * not fit into the memory for bodies if nothing else was there, so that nobody tries for ever. */
enum ec receive_transcoded(enum ec ec, struct bytes body, const struct buf *out);
/* 202 without a body. */
void receive_accepted(struct exchange *ex);
/* The request asks for no metrics of its spans. */
bool receive_no_metrics(struct exchange *ex);
