/* SPDX-License-Identifier: Apache-2.0
 * Whole spans out of parts: for trace by id, fsck comparisons, and tests. Not for scans. */
#pragma once

#include "storage/part.h"

struct read_event {
    uint64_t time_ns;
    struct str name;
    const struct attr *attrs;
    uint32_t n_attrs, dropped_attrs;
};
struct read_link {
    struct trace_id trace_id;
    span_id span_id;
    struct str trace_state;
    const struct attr *attrs;
    uint32_t n_attrs, dropped_attrs, flags;
};
struct read_resource {
    const struct attr *attrs;
    uint32_t n_attrs, dropped_attrs;
    struct str schema_url;
};
struct read_scope {
    struct str name, version, schema_url;
    const struct attr *attrs;
    uint32_t n_attrs, dropped_attrs;
};
struct read_span {
    struct trace_id trace_id;
    span_id span_id, parent_id;
    uint64_t start_ns, end_ns;
    struct str name, trace_state, status_message;
    uint32_t kind, status, flags;
    uint32_t resource, scope; /* rows in the part: equal numbers are equal objects */
    const struct attr *attrs;
    const struct read_event *events;
    const struct read_link *links;
    uint32_t n_attrs, n_events, n_links;
    uint32_t dropped_attrs, dropped_events, dropped_links;
};

/* Reads the given part-level rows (ascending) in full. Strings live as long as the reader, arrays
 * as long as the arena. */
enum ec span_read(struct part_reader *r, const uint32_t *rows, uint32_t n, struct arena *arena,
    struct read_span *ret, struct err *err) MUST_USE;
enum ec resource_read(struct part_reader *r, uint32_t row, struct arena *arena,
    struct read_resource *ret, struct err *err) MUST_USE;
enum ec scope_read(struct part_reader *r, uint32_t row, struct arena *arena, struct read_scope *ret,
    struct err *err) MUST_USE;
