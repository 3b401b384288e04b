/* SPDX-License-Identifier: Apache-2.0
 * A decoded export request: flat arrays of views into the OTLP protobuf bytes it came from.
 *
 * Every receiver ends here: OTLP/protobuf is walked in place; the others (OTLP/JSON, Jaeger,
 * Zipkin) are first transcoded to OTLP protobuf, so there is one decoder, one WAL payload and one
 * replay path. The batch is valid as long as the bytes and its arena are. Not thread-safe.
 *
 * INVARIANT: attribute, event and link ranges are in bounds; strings are views into `raw`, but for
 * the `raw` of a resource or scope that was sent in several pieces, which is joined in the arena.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "model/ids.h"
#include "model/value.h"

/* Resources and scopes are there only when spans refer to them. */
struct batch_resource {
    struct str raw;        /* bytes of the Resource message (may be empty) */
    struct str schema_url; /* of ResourceSpans */
    uint32_t attr_first, attr_n;
    uint32_t dropped_attrs;
    bool has_resource; /* the message was present */
};

struct batch_scope {
    struct str raw;        /* bytes of the InstrumentationScope message */
    struct str schema_url; /* of ScopeSpans */
    struct str name, version;
    uint32_t attr_first, attr_n;
    uint32_t dropped_attrs;
};

struct batch_event {
    uint64_t time_ns;
    struct str name;
    uint32_t attr_first, attr_n;
    uint32_t dropped_attrs;
};

struct batch_link {
    struct trace_id trace_id; /* zero when absent */
    span_id span_id;
    struct str trace_state;
    uint32_t attr_first, attr_n;
    uint32_t dropped_attrs;
    uint32_t flags;
};

enum span_reject {
    SPAN_ACCEPTED = 0,
    SPAN_BAD_TRACE_ID, /* not 16 bytes, or all zero; or a link's, of a wrong length */
    SPAN_BAD_SPAN_ID, /* not 8 bytes, or all zero; or the parent's or a link's, of a wrong length */
    SPAN_TRACE_TOO_LARGE,
    SPAN_TOO_MANY_TRACES,
    SPAN_TOO_LARGE, /* not stored; in the batch it has ids and scalars only, for the log */
    SPAN_REJECTS,
};

struct batch_span {
    struct trace_id trace_id;
    span_id span_id, parent_id; /* parent 0: root */
    uint64_t start_ns, end_ns;
    struct str name, trace_state, status_message;
    uint32_t flags;
    int32_t kind, status_code; /* unknown enum values kept */
    uint32_t resource, scope;  /* index into the batch */
    uint32_t attr_first, attr_n;
    uint32_t event_first, event_n;
    uint32_t link_first, link_n;
    uint32_t dropped_attrs, dropped_events, dropped_links;
    uint32_t raw_bytes;       /* size of the Span message */
    uint32_t canonical_bytes; /* its size in the canonical encoding, before any cut */
    uint8_t reject; /* enum span_reject; set by the decoder for ids, by admission for the rest */
    uint8_t
        bad_id_len; /* length of the offending id (at most 255), 0 if all zero: for the message */
};

/* What was cut first, for the log line. */
struct batch_truncated {
    struct str key; /* as sent */
    uint32_t bytes; /* length before the cut; 0: nothing was cut */
    uint8_t part;   /* as the index of n_truncated */
    bool is_key;    /* the key was cut, else the value */
};

struct batch {
    struct bytes raw; /* the ExportTraceServiceRequest */
    struct batch_resource *resources;
    struct batch_scope *scopes;
    struct batch_span *spans;
    struct attr *attrs;
    struct batch_event *events;
    struct batch_link *links;
    uint32_t n_resources, n_scopes, n_spans, n_attrs, n_events, n_links;
    uint32_t n_rejected;
    /* What the head held of the trace of the first SPAN_TRACE_TOO_LARGE; set by admission. */
    uint64_t too_large_stored_bytes;
    uint32_t n_truncated[5]; /* keys and values cut: resource, scope, span, event, link */
    struct batch_truncated truncated;
    uint64_t canonical_bytes; /* Tempo's "request size": before any cut, rejected spans included */
};

struct batch_limits {
    uint32_t attr_bytes_max; /* keys and string values are cut to this; 0: off */
    uint32_t spans_max;      /* 0: 1,000,000 */
    uint32_t span_bytes_max; /* larger spans are rejected (SPAN_TOO_LARGE); 0: 8 MiB */
};

/* Decodes an ExportTraceServiceRequest. One pass, iterative or depth-limited, linear time; memory
 * is charged to the arena's budget (EC_LIMIT). EC_INVALID with the byte offset on malformed input;
 * ids of a wrong length or all zero only mark their span. Groups and unknown fields are skipped.
 * More than spans_max spans, so many empty messages that they decode to more than 16 times their
 * bytes (and 1 MiB), or more than the whole of the budget has room for: EC_TOO_LARGE. limits may be
 * NULL: the defaults. */
enum ec batch_decode(struct batch *ret, struct bytes raw, const struct batch_limits *limits,
    struct arena *arena, struct err *err) MUST_USE;
/* Appends the batch (accepted spans only) as an ExportTraceServiceRequest in its canonical encoding
 * (what canonical_bytes measures). Resources and scopes without such a span are left out, and so
 * are entity references, which the model does not keep. For tests and forwarders. */
void batch_encode(const struct batch *b, struct buf *out);
