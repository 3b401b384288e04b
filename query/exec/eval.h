/* SPDX-License-Identifier: Apache-2.0
 * Row-wise evaluation of field expressions over one assembled trace: exact, and the reference for
 * the vectorised prefilter. Run-time errors are EC_INTERNAL with the texts of spec traceql.md
 * 3.5. */
#pragma once

#include "keyring.h"
#include "trace.h"

/* Where an attribute of the query lives in one source. */
struct bind {
    bool ready;
    uint32_t slots[VALUE_TYPES]; /* span, event or link columns, by value type */
    bool any_slot;
    const struct qval
        *wide; /* per resource or scope row; NULL when the key is nowhere in that table */
    const uint32_t *keys; /* per resource or scope row: number in eval.keys; NULL until by() asks */
};

struct filters;

struct eval {
    const struct tql_query *q;
    struct source *sources;
    size_t n_sources;
    struct bind *binds;          /* [attr->index * n_sources + src] */
    struct arena *arena;         /* lives as long as the query */
    struct qval_leaf *leaves;    /* by node id; n == 0: not prepared yet */
    struct filters *filters;     /* what the first pass found out; may be NULL */
    struct keyring keys;         /* of attributes of resources and scopes that by() groups by */
    struct keyring services;     /* service names; they live as long as the query */
    const uint32_t **service_of; /* by source: their numbers by resource row; NULL until asked */
    struct qtrace *trace;        /* current */
    uint32_t event,
        link; /* group-relative row that event./link. references are fixed to; PART_NONE: none */
    struct str root_service, root_name; /* of the current trace */
    bool has_root_text;
};

enum ec eval_init(struct eval *ev, const struct tql_query *q, struct source *sources,
    size_t n_sources, struct arena *arena, struct err *err) MUST_USE;
/* Sets the current trace. */
void eval_trace(struct eval *ev, struct qtrace *t);
enum ec eval_root_text(struct eval *ev, struct err *err)
    MUST_USE; /* fills root_service and root_name */

/* Binds attr in source src (columns, resource values). Used by the prefilter too. */
enum ec eval_bind(struct eval *ev, const struct tql_attr *attr, uint32_t src,
    const struct bind **ret, struct err *err) MUST_USE;

enum ec eval_expr(struct eval *ev, const struct tql_expr *e, uint32_t row, struct qval *ret,
    struct err *err) MUST_USE;
/* True when the span passes the filter. In a conjunctive query all event (link) conditions hold on
 * one. */
enum ec eval_filter(
    struct eval *ev, const struct tql_expr *e, uint32_t row, bool *ret, struct err *err) MUST_USE;
/* `attr = nil`. */
enum ec eval_absent(struct eval *ev, const struct tql_attr *attr, uint32_t row, bool *ret,
    struct err *err) MUST_USE;
/* Single value of an attribute; of several events (links) the first that has it. */
enum ec eval_attr(struct eval *ev, const struct tql_attr *attr, uint32_t row, struct qval *ret,
    struct err *err) MUST_USE;
/* What an answer shows of an attribute: its visible value (whole: all of it); of several events
 * (links) the last one. */
enum ec eval_attr_shown(struct eval *ev, const struct tql_attr *attr, uint32_t row, bool whole,
    struct qval *ret, struct err *err) MUST_USE;
/* service.name by resource row of a source, as numbers in ev->services: "" when missing or not a
 * string. */
enum ec eval_services(struct eval *ev, uint32_t src, const uint32_t **ret, struct err *err)
    MUST_USE;
/* Span-level value only of an unscoped attribute. */
enum ec eval_attr_span_only(struct eval *ev, const struct tql_attr *attr, uint32_t row,
    struct qval *ret, struct err *err) MUST_USE;
/* Resource-level value behind an unscoped attribute. */
enum ec eval_attr_resource(struct eval *ev, const struct tql_attr *attr, uint32_t row,
    struct qval *ret, struct err *err) MUST_USE;

/* A leaf's literals in evaluation form; arrays belong to the arena. */
enum ec eval_leaf(struct eval *ev, const struct tql_expr *e, struct qval_leaf *ret, struct err *err)
    MUST_USE;
/* What the query sees of a stored value: all of it, or the elements that some condition on it
 * admits. */
struct qval eval_visible(
    struct eval *ev, const struct tql_attr *attr, const struct qval *v, struct arena *a);
/* A BINARY or SET node of the form `attr op literal(s)`. */
bool eval_is_leaf(const struct tql_expr *e);
bool eval_is_multi(const struct tql_attr *attr); /* event or link valued */
