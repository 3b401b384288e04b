/* SPDX-License-Identifier: Apache-2.0
 * A merged trace as OTLP: JSON in Tempo's dialect, protobuf, and the simplified JSON for language
 * models. */
#pragma once

#include "query/exec.h"

/* Spans grouped by resource, then scope, in order of first appearance. */
struct trace_groups {
    uint32_t *order;        /* span indexes, grouped */
    uint32_t *scope_end;    /* per scope group: end index into order */
    uint32_t *resource_end; /* per resource group: end index into scope groups */
    uint32_t n_scopes, n_resources;
};
enum ec trace_group(const struct trace_result *t, struct arena *a, struct trace_groups *ret,
    struct err *err) MUST_USE;

/* An empty list that JSON shows as [], where empty ones are left out otherwise: what was hidden. */
extern const struct attr attrs_emptied[1];
extern const struct read_event events_emptied[1];

/* `{"<key>":[...]}` with key "batches" (v1) or "resourceSpans" (v2). An empty trace is {}. */
void trace_out_json(
    const struct trace_result *t, const struct trace_groups *g, const char *key, struct buf *out);
/* The members of message Trace (field 1: ResourceSpans). name_services: a resource without
 * attributes gets service.name "unknown_service", because Grafana's data source, which reads this
 * form of version 2, silently leaves out the spans of an empty one. */
void trace_out_proto(const struct trace_result *t, const struct trace_groups *g, bool name_services,
    struct buf *out);
void trace_out_llm(const struct trace_result *t, const struct trace_groups *g, struct buf *out);

/* Zipkin-style shared span ids: each SERVER span that shares its id with a CLIENT span gets a new
 * one, its children are re-parented, and its parent becomes the old id. */
enum ec trace_split_shared_ids(struct trace_result *t, struct arena *a, struct err *err) MUST_USE;
