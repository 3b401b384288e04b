/* SPDX-License-Identifier: Apache-2.0
 * What the Jaeger and Zipkin transcoders share: the scratch memory of one request, attribute lists
 * with the rules of a map, and spans on their way out as OTLP protobuf.
 *
 * A decoder fills a struct rx_span from its protocol's bytes, the protocol's mapping rewrites it,
 * rx_put_span writes it. Strings are views into the request or into the arena. Not thread-safe.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "model/ids.h"
#include "model/value.h"

/* Scratch memory of one request. `over` once the budget has refused: every function that allocates
 * then returns false or NULL, and the caller ends with EC_LIMIT. */
struct rx {
    struct arena arena;
    bool over;
};

void rx_init(struct rx *rx, struct budget *budget);
void rx_deinit(struct rx *rx);
/* n zeroed elements; NULL when refused. */
void *rx_array(struct rx *rx, size_t n, size_t size);
bool rx_copy(struct rx *rx, struct str *s) MUST_USE; /* the text moves into the arena */

/* A growing list in the arena: RX_LIST(type) l = {0}; struct type *e = RX_PUSH(rx, &l). The new
 * element is zeroed; NULL when refused. It moves when the list grows. */
#define RX_LIST(type)    \
    struct {             \
        type *p;         \
        uint32_t n, cap; \
    }
#define RX_PUSH(rx, l)                                                                             \
    (((l)->n < (l)->cap || rx_grow((rx), (void **)(void *)&(l)->p, &(l)->cap, sizeof(*(l)->p))) && \
                !(rx)->over                                                                        \
            ? (__typeof__((l)->p))memset(&(l)->p[(l)->n++], 0, sizeof(*(l)->p))                    \
            : NULL)
bool rx_grow(struct rx *rx, void **items, uint32_t *cap, size_t size) MUST_USE;

/* ---- attributes: in sent order; after rx_attrs_unique each key once ---- */

struct rx_attrs {
    struct attr *p;
    uint32_t n, cap;
};

/* Of a key sent several times the last value stays, at the place of the first. O(n log n). */
bool rx_attrs_unique(struct rx *rx, struct rx_attrs *a) MUST_USE;
struct attr *rx_attrs_find(const struct rx_attrs *a, const char *key); /* NULL: absent */
void rx_attrs_remove(struct rx_attrs *a, struct attr *at);
/* Sets the value of a key, new or not. */
bool rx_attrs_put(struct rx *rx, struct rx_attrs *a, struct str key, struct value v) MUST_USE;
bool rx_attrs_put_str(struct rx *rx, struct rx_attrs *a, const char *key, struct str v) MUST_USE;
/* The text of an attribute; empty when it is not a string, as pdata's Str() has it. */
static inline struct str rx_attr_text(const struct attr *a)
{
    return a->value.type == VALUE_STR ? a->value.s : (struct str){0};
}
static inline struct value rx_str(struct str s)
{
    return (struct value){.type = VALUE_STR, .s = s};
}
static inline struct value rx_int(int64_t i)
{
    return (struct value){.type = VALUE_INT, .i = i};
}

/* ---- spans ---- */

enum rx_kind { RX_UNSPECIFIED, RX_INTERNAL, RX_SERVER, RX_CLIENT, RX_PRODUCER, RX_CONSUMER };
enum rx_status { RX_STATUS_UNSET, RX_STATUS_OK, RX_STATUS_ERROR };

struct rx_event {
    uint64_t time_ns;
    struct str name;
    struct rx_attrs attrs;
    uint32_t dropped_attrs;
};

struct rx_link {
    struct trace_id trace_id;
    span_id span_id;
    struct str trace_state;
    struct rx_attrs attrs;
    uint32_t dropped_attrs;
};

struct rx_span {
    struct trace_id trace_id;
    span_id span_id, parent_id;
    struct str name, trace_state, status_message;
    uint64_t start_ns, end_ns;
    enum rx_kind kind;
    int32_t status_code;
    struct rx_attrs attrs;
    RX_LIST(struct rx_event) events;
    RX_LIST(struct rx_link) links;
};

/* A trace id from its two halves. */
struct trace_id rx_trace_id(uint64_t high, uint64_t low);
/* Span as field 2 of ScopeSpans. */
void rx_put_span(struct buf *out, const struct rx_span *s);
void rx_put_attrs(struct buf *out, uint32_t field, const struct rx_attrs *a);
/* The attributes as a Resource message of field 1 of ResourceSpans. */
void rx_put_resource(struct buf *out, const struct rx_attrs *a);
/* The encoded Resource message, in the arena. */
bool rx_resource(struct rx *rx, const struct rx_attrs *a, struct str *ret) MUST_USE;

/* ---- a whole request, where spans must be regrouped ---- */

struct rx_item {
    struct str group; /* spans of one group share a resource */
    struct str scope_name, scope_version;
    struct str resource; /* encoded; that of a group's first item counts */
    struct rx_span *span;
};

/* Pointers to the items by group, scope name, version, place. NULL when refused. O(n log n). */
struct rx_item **rx_items_order(struct rx *rx, struct rx_item *items, uint32_t n);
/* The request: one ResourceSpans for each group, one ScopeSpans for each scope in it. */
void rx_put_items(struct buf *out, struct rx_item *const *order, uint32_t n);
