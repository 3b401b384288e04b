/* SPDX-License-Identifier: Apache-2.0
 * Zipkin's two models on their way to OTLP, whatever the encoding they came in. */
#pragma once

#include "rx.h"

struct zipkin_endpoint {
    struct str service, ipv4, ipv6; /* addresses as text; empty: absent */
    int32_t port;                   /* 0: absent */
};

/* Version 2. Tags are s.attrs, annotations are s.events with their text as name. */
struct zipkin_span {
    struct rx_span s; /* kind: as sent; start 0 when no_start, end: start and duration */
    struct zipkin_endpoint local, remote;
    bool no_start;
};

struct zipkin_spans {
    RX_LIST(struct zipkin_span) l;
};

/* Writes the request (spec ingest.md 9.3). False: the budget refused. */
bool zipkin_v2_put(struct rx *rx, struct zipkin_spans *spans, bool parse_tags, struct buf *out)
    MUST_USE;

/* Version 1. */
struct zipkin_note { /* annotation */
    int64_t us;
    struct str value;
    struct zipkin_endpoint host;
};

struct zipkin_tag { /* binary annotation */
    struct str key;
    struct value value;
    struct str service; /* of its endpoint */
};

struct zipkin_v1_span {
    struct rx_span s; /* ids and name; the rest follows from: */
    RX_LIST(struct zipkin_note) notes;
    RX_LIST(struct zipkin_tag) tags;
    int64_t start_us, duration_us;
    bool has_start;
    bool now_if_no_start; /* JSON: a span without a time happened now */
};

struct zipkin_v1_spans {
    RX_LIST(struct zipkin_v1_span) l;
};

/* Writes the request (spec ingest.md 9.4). False: the budget refused. */
bool zipkin_v1_put(struct rx *rx, struct zipkin_v1_spans *spans, struct buf *out) MUST_USE;

/* ---- shared ---- */

/* Text that reads as an integer, a decimal fraction, true or false as such; else as it is. */
struct value zipkin_parse_text(struct str text);
/* 4 or 16 bytes as text in the arena; another length: empty. */
bool zipkin_ip_text(struct rx *rx, const uint8_t *p, size_t n, struct str *ret) MUST_USE;
