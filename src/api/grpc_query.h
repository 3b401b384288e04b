/* SPDX-License-Identifier: Apache-2.0
 * tempopb.StreamingQuerier: the query endpoints over gRPC.
 *
 * A request is turned into the parameters of the HTTP endpoint that does the same, as Tempo's own
 * frontend does, so that both are checked by the same code with the same words. An answer is the
 * protobuf form of the HTTP answer, cut into packets; while the query works, what it tells of its
 * progress goes out in the same form. */
#pragma once

#include "query_job.h"

struct grpc_method {
    const char *name;
    const char *route; /* "/tempopb.StreamingQuerier/Search" */
    const char *path;  /* of the HTTP endpoint, for url_deny_list; up to '{' */
    const char *tail;  /* behind the tag's name, or NULL */
    struct query_endpoint endpoint;
    /* Fills job->params and job->path_arg from the message. EC_CORRUPT: it is no such message. */
    enum ec (*decode)(struct query_job *job, struct bytes message, struct err *err);
    bool scopes; /* elements of the answer are lists themselves: tag scopes */
};
/* NULL: no such method. */
const struct grpc_method *grpc_method_find(struct str name);

/* ---- packets ---- */
/* Calls fn for each packet of an encoded answer: fields 1 are its elements, spread over packets of
 * at most `max` bytes (0: no limit; an element that is larger goes alone), field 2 is repeated in
 * each, later fields stand in the last one. scopes: elements are tag scopes, which are cut between
 * their tags. False as soon as fn is, and when scratch cannot grow. */
typedef bool (*grpc_packet_fn)(void *arg, struct bytes packet);
bool grpc_packets(struct bytes answer, size_t max, bool scopes, struct buf *scratch,
    grpc_packet_fn fn, void *arg) MUST_USE;

/* Ends the stream: the answer, or its failure. The job is freed. */
void grpc_job_respond(struct query_job *job, unsigned status, struct buf *take_body);
/* One message of progress; left out while an earlier one waits for the client. */
void grpc_job_tell(struct query_job *job, struct buf *message);
bool grpc_job_wants(struct query_job *job);
/* Memory for cutting an answer of n bytes, taken before the first packet: afterwards the query can
 * no longer be run again. True also for other protocols. */
bool grpc_job_reserve(struct query_job *job, size_t n) MUST_USE;
/* gRPC's code for the HTTP status of a query. */
unsigned grpc_code_of(const struct query_job *job, unsigned status);
