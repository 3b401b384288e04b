/* SPDX-License-Identifier: Apache-2.0
 * Receivers: bytes of a protocol in, OTLP protobuf (ExportTraceServiceRequest) out, appended to
 * `out`. They see neither storage nor tenants. OTLP/protobuf needs no receiver: model/batch.h
 * decodes it in place.
 *
 * All take at most n log n of the input's size, bound their depth, and charge what they allocate to
 * out->budget: EC_LIMIT when it refuses. EC_INVALID with what was wrong and where; out is then as
 * it was. A request without spans may come out as no bytes at all. Thread-safe.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* OTLP/JSON (spec ingest.md 5.4): lowerCamelCase and snake_case keys, hex ids, numbers as strings,
 * enum names, unknown keys skipped, trailing bytes ignored. */
enum ec otlp_json_to_pb(struct bytes json, struct buf *out, struct err *err) MUST_USE;

/* ---- Jaeger (spec ingest.md 7) ---- */

/* A bare Batch in Thrift's binary protocol: POST /api/traces. */
enum ec jaeger_thrift_to_pb(struct bytes batch, struct buf *out, struct err *err) MUST_USE;
/* A datagram: a Thrift message that calls emitBatch, in the compact or the binary protocol. Another
 * method: EC_NOT_FOUND, emitZipkinBatch: EC_UNSUPPORTED. */
enum ec jaeger_agent_to_pb(struct bytes message, bool compact, struct buf *out, struct err *err)
    MUST_USE;
/* jaeger.api_v2.PostSpansRequest. */
enum ec jaeger_proto_to_pb(struct bytes request, struct buf *out, struct err *err) MUST_USE;

/* ---- Zipkin (spec ingest.md 9) ---- */

/* parse_tags: text of tags that reads as a number or a truth value becomes one. */
enum ec zipkin_v2_json_to_pb(struct bytes json, bool parse_tags, struct buf *out, struct err *err)
    MUST_USE;
enum ec zipkin_v2_proto_to_pb(struct bytes list, bool parse_tags, struct buf *out, struct err *err)
    MUST_USE;
enum ec zipkin_v1_json_to_pb(struct bytes json, bool parse_tags, struct buf *out, struct err *err)
    MUST_USE;
/* A bare list<Span> in Thrift's binary protocol. */
enum ec zipkin_v1_thrift_to_pb(struct bytes list, struct buf *out, struct err *err) MUST_USE;
