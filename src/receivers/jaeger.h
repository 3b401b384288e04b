/* SPDX-License-Identifier: Apache-2.0
 * Jaeger's model on its way to OTLP, whatever the encoding it came in. */
#pragma once

#include "rx.h"

enum jaeger_ref_type { JAEGER_CHILD_OF, JAEGER_FOLLOWS_FROM };

struct jaeger_ref {
    struct trace_id trace_id;
    span_id span_id;
    int32_t type; /* enum jaeger_ref_type, or what a client made up */
};

/* A span as it was read: tags are s.attrs, logs are s.events with all their fields, s.links is
 * empty. */
struct jaeger_span {
    struct rx_span s;
    RX_LIST(struct jaeger_ref) refs;
    struct str scope_name, scope_version; /* set by the mapping */
};

struct jaeger_process {
    struct str service;
    struct rx_attrs tags;
};

/* The value of a tag whose type has no meaning. */
bool jaeger_tag_unknown(struct rx *rx, int32_t type, struct value *ret) MUST_USE;
/* A span in which nothing is set; it is left out. */
bool jaeger_span_blank(const struct jaeger_span *j);
/* The rules of spec ingest.md 7.5. proto: came as protobuf, which has rules of its own. False: the
 * budget refused. */
bool jaeger_map_span(struct rx *rx, struct jaeger_span *j, bool proto) MUST_USE;
/* process->tags become the resource's attributes. */
bool jaeger_map_process(struct rx *rx, struct jaeger_process *process, bool proto) MUST_USE;
