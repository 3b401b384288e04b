/* SPDX-License-Identifier: Apache-2.0
 * TraceQL: text -> syntax tree -> checked query. The tree is what the planner and the engines read.
 *
 * tql_parse builds the tree, tql_check validates it, folds constants, merges chains of comparisons
 * on one attribute into sets, compiles regular expressions and fills the analysis part of struct
 * tql_query. After tql_check a query is immutable and may be read by any number of threads.
 * Everything lives in the arena (compiled expressions are freed by an arena hook). Trees are at
 * most TQL_HEIGHT_MAX high, so recursion over them is safe on a small stack; texts that need more
 * are refused, as are more than TQL_NODES_MAX nodes.
 *
 * Semantics are those of spec traceql.md; where it differs from Tempo 3.0.3 on purpose:
 * - `a.b` without scope is the unscoped attribute `.a.b` (when `a` is not a scope);
 * - `parent.x`, `parent.span.x`, `parent.resource.x` read the parent span (attr->parent), alone and
 *   in by();
 * - scalar filters may be any comparison of scalar expressions (aggregates, arithmetic, wrapped
 *   pipelines).
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "query/regex.h"

#define TQL_NODES_MAX  10000u
#define TQL_HEIGHT_MAX 200u
#define TQL_LISTS_MAX  1000u /* elements of select(), by(), quantiles, second stages, hints */

/* ---- values ---- */
enum tql_type {
    TQL_NIL,
    TQL_INT,
    TQL_FLOAT,
    TQL_STRING,
    TQL_BOOL,
    TQL_DURATION, /* i: nanoseconds */
    TQL_STATUS,   /* i: 0 unset, 1 ok, 2 error (as OTLP) */
    /* i: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer (as OTLP) */
    TQL_KIND,
    TQL_DYNAMIC, /* a type only (attributes): never the type of a struct tql_static */
};

struct tql_static {
    enum tql_type type;
    union {
        int64_t i; /* INT, DURATION, STATUS, KIND */
        double f;
        bool b;
        struct str s; /* any bytes */
    };
};

const char *tql_status_text(int64_t status); /* "unset" "ok" "error"; others "unset" */
const char *tql_kind_text(int64_t kind);     /* "unspecified" ... ; others "unspecified" */

/* ---- attributes ---- */
enum tql_scope {
    TQL_SCOPE_NONE, /* `.x`: span attributes, then resource attributes */
    TQL_SCOPE_SPAN,
    TQL_SCOPE_RESOURCE,
    TQL_SCOPE_EVENT,
    TQL_SCOPE_LINK,
    TQL_SCOPE_INSTRUMENTATION,
};

/*    name                          canonical text             type */
#define TQL_INTRINSIC_TABLE(X)                                               \
    X(TQL_I_DURATION, "duration", TQL_DURATION)                              \
    X(TQL_I_NAME, "name", TQL_STRING)                                        \
    X(TQL_I_STATUS, "status", TQL_STATUS)                                    \
    X(TQL_I_STATUS_MESSAGE, "statusMessage", TQL_STRING)                     \
    X(TQL_I_KIND, "kind", TQL_KIND)                                          \
    X(TQL_I_SPAN_ID, "span:id", TQL_STRING)                                  \
    X(TQL_I_SPAN_PARENT_ID, "span:parentID", TQL_STRING)                     \
    X(TQL_I_CHILD_COUNT, "span:childCount", TQL_INT)                         \
    X(TQL_I_TRACE_DURATION, "traceDuration", TQL_DURATION)                   \
    X(TQL_I_ROOT_NAME, "rootName", TQL_STRING)                               \
    X(TQL_I_ROOT_SERVICE, "rootServiceName", TQL_STRING)                     \
    X(TQL_I_TRACE_ID, "trace:id", TQL_STRING)                                \
    X(TQL_I_EVENT_NAME, "event:name", TQL_STRING)                            \
    X(TQL_I_EVENT_TIME_SINCE_START, "event:timeSinceStart", TQL_DURATION)    \
    X(TQL_I_LINK_TRACE_ID, "link:traceID", TQL_STRING)                       \
    X(TQL_I_LINK_SPAN_ID, "link:spanID", TQL_STRING)                         \
    X(TQL_I_INSTRUMENTATION_NAME, "instrumentation:name", TQL_DYNAMIC)       \
    X(TQL_I_INSTRUMENTATION_VERSION, "instrumentation:version", TQL_DYNAMIC) \
    X(TQL_I_NESTED_SET_LEFT, "nestedSetLeft", TQL_INT)                       \
    X(TQL_I_NESTED_SET_RIGHT, "nestedSetRight", TQL_INT)                     \
    X(TQL_I_NESTED_SET_PARENT, "nestedSetParent", TQL_INT)                   \
    X(TQL_I_PARENT, "parent", TQL_NIL) /* never passes tql_check */

enum tql_intrinsic {
    TQL_I_NONE, /* an attribute: scope, parent and name say which */
#define X(name, text, type) name,
    TQL_INTRINSIC_TABLE(X)
#undef X
        TQL_I_COUNT
};

/* Distinct attributes are shared: after tql_check equal attributes of one query are one pointer,
 * and query->attrs[attr->index] == attr. */
struct tql_attr {
    enum tql_intrinsic intrinsic;
    enum tql_scope scope; /* NONE for intrinsics */
    bool parent;          /* of the parent span; scope is then NONE, SPAN or RESOURCE */
    struct str
        name; /* without scope, unquoted; for intrinsics the canonical text. Key in results */
    struct str
        text; /* canonical text: label name: `.user`, `span.a`, `span."odd key"`, `trace:id` */
    uint32_t index;
};

enum tql_type tql_intrinsic_type(enum tql_intrinsic i);
struct str tql_intrinsic_text(enum tql_intrinsic i); /* TQL_I_NONE: empty */

/* ---- operators ---- */
enum tql_op {
    TQL_OP_NONE,
    /* arithmetic */
    TQL_OP_ADD,
    TQL_OP_SUB, /* unary minus too */
    TQL_OP_MUL,
    TQL_OP_DIV,
    TQL_OP_MOD,
    TQL_OP_POW,
    /* comparison */
    TQL_OP_EQ,
    TQL_OP_NE,
    TQL_OP_LT,
    TQL_OP_LE,
    TQL_OP_GT,
    TQL_OP_GE,
    TQL_OP_RE,  /* =~ */
    TQL_OP_NRE, /* !~ */
    /* logic; on spansets too */
    TQL_OP_AND,
    TQL_OP_OR,
    TQL_OP_NOT, /* unary */
    /* structural, spansets only: L op R */
    TQL_OP_CHILD,      /* >   */
    TQL_OP_DESCENDANT, /* >>  */
    TQL_OP_PARENT,     /* <   */
    TQL_OP_ANCESTOR,   /* <<  */
    TQL_OP_SIBLING,    /* ~   */
    TQL_OP_NOT_CHILD,  /* !>  */
    TQL_OP_NOT_DESCENDANT,
    TQL_OP_NOT_PARENT,
    TQL_OP_NOT_ANCESTOR,
    TQL_OP_NOT_SIBLING,
    TQL_OP_UNION_CHILD, /* &>  */
    TQL_OP_UNION_DESCENDANT,
    TQL_OP_UNION_PARENT,
    TQL_OP_UNION_ANCESTOR,
    TQL_OP_UNION_SIBLING,
    TQL_OP_COUNT
};
const char *tql_op_text(enum tql_op op);
/* `a op b` says the same as `b mirrored a`: LT and GT, LE and GE; others are their own. */
enum tql_op tql_op_mirrored(enum tql_op op);
static inline bool tql_op_is_arith(enum tql_op op)
{
    return op >= TQL_OP_ADD && op <= TQL_OP_POW;
}
static inline bool tql_op_is_compare(enum tql_op op) /* regular expressions included */
{
    return op >= TQL_OP_EQ && op <= TQL_OP_NRE;
}
static inline bool tql_op_is_structural(enum tql_op op)
{
    return op >= TQL_OP_CHILD && op < TQL_OP_COUNT;
}

/* ---- field expressions ---- */
enum tql_expr_kind {
    TQL_E_STATIC, /* value */
    TQL_E_ATTR,   /* attr */
    TQL_E_UNARY,  /* op (SUB, NOT), lhs */
    TQL_E_BINARY, /* op, lhs, rhs; regex set when op is RE or NRE (rhs is then a string literal) */
    TQL_E_EXISTS, /* lhs != nil */
    TQL_E_ABSENT, /* lhs = nil: true for an attribute that is absent */
    TQL_E_SET,    /* attr in a set, made by tql_check from a chain; see below */
};

/* Ownership: the query's arena. Literal on the left of a comparison was moved to the right by
 * tql_check (with the operator mirrored) when the other side is an attribute: `500ms < duration`
 * reads `duration > 500ms` (flipped: printed as written). */
struct tql_expr {
    enum tql_expr_kind kind;
    enum tql_op op;
    enum tql_type type; /* of the result; TQL_DYNAMIC when only data tells. Valid after tql_check */
    bool flipped;
    struct tql_expr *lhs, *rhs;
    const struct tql_attr *attr;
    struct tql_static value;
    const struct regex *regex;
    /* TQL_E_SET: op EQ: equal to one of values (chain of = joined by ||); NE: equal to none (chain
     * of != joined by &&); RE: matches one of regexes; NRE: matches none. All values have one type;
     * distinct, in query order. n_values >= 2. On arrays see spec Q19: EQ, RE: some element is in
     * the set; NE, NRE: some element is outside it. */
    struct tql_static *values;
    const struct regex **regexes; /* RE, NRE: one per value; else NULL */
    uint32_t n_values;
    uint32_t height; /* levels of the subtree, 1 for a leaf; at most TQL_HEIGHT_MAX */
    uint32_t id; /* number of the node within the query, dense from 0; for tables beside the tree */
    uint32_t attr_bound; /* 1 + the highest attribute index below this node; 0: constant */
};

/* ---- spansets, scalars, stages ---- */
enum tql_spanset_kind {
    TQL_SS_FILTER,   /* filter; `{}` is the literal true */
    TQL_SS_OP,       /* op (AND, OR or structural), lhs, rhs */
    TQL_SS_PIPELINE, /* pipeline: run on the same input as the stage itself */
};
struct tql_spanset {
    enum tql_spanset_kind kind;
    enum tql_op op;
    uint32_t height; /* levels of spansets, through pipelines too */
    struct tql_expr *filter;
    struct tql_spanset *lhs, *rhs;
    struct tql_pipeline *pipeline;
};

enum tql_agg { TQL_AGG_COUNT, TQL_AGG_MIN, TQL_AGG_MAX, TQL_AGG_AVG, TQL_AGG_SUM };
const char *tql_agg_text(enum tql_agg agg);

enum tql_scalar_kind {
    TQL_SC_STATIC,    /* value: INT, FLOAT or DURATION; sign applied */
    TQL_SC_AGGREGATE, /* agg, arg (NULL for count()); text */
    TQL_SC_ARITH,     /* op, lhs, rhs */
    /* `(P | agg)`: pipeline P, then the aggregate lhs. The sub-pipeline runs on the stage's input;
     * the aggregate covers all its spansets merged. Only in a stage that is the whole query. When
     * the comparison holds, the stage yields the union of the sub-pipelines' spans as one
     * spanset. */
    TQL_SC_PIPELINE,
};
struct tql_scalar {
    enum tql_scalar_kind kind;
    enum tql_op op;
    uint32_t height;
    enum tql_type type; /* after tql_check; DYNAMIC when only data tells */
    struct tql_static value;
    enum tql_agg agg;
    struct tql_expr *arg;
    struct str text; /* AGGREGATE: canonical, the key of the spanset attribute: `avg(duration)` */
    struct tql_scalar *lhs, *rhs;
    struct tql_pipeline *pipeline;
};

enum tql_stage_kind {
    TQL_STAGE_SPANSET, /* spanset */
    /* op (EQ..GE), lhs, rhs: keeps spansets for which it holds; every aggregate in it adds its
     * attribute, left to right */
    TQL_STAGE_SCALAR,
    TQL_STAGE_GROUP,  /* by(expr); text is the key of the spanset attribute: `by(span.user)` */
    TQL_STAGE_SELECT, /* attrs */
    TQL_STAGE_COALESCE,
};
struct tql_stage {
    enum tql_stage_kind kind;
    enum tql_op op;
    struct tql_spanset *spanset;
    struct tql_scalar *lhs, *rhs;
    struct tql_expr *expr;
    struct str text;
    const struct tql_attr **attrs;
    uint32_t n_attrs;
};
struct tql_pipeline {
    struct tql_stage *stages;
    uint32_t n_stages; /* >= 1 */
};

/* ---- metrics ---- */
/*    name                  text */
#define TQL_METRIC_TABLE(X)                             \
    X(TQL_M_RATE, "rate")                               \
    X(TQL_M_COUNT_OVER_TIME, "count_over_time")         \
    X(TQL_M_MIN_OVER_TIME, "min_over_time")             \
    X(TQL_M_MAX_OVER_TIME, "max_over_time")             \
    X(TQL_M_AVG_OVER_TIME, "avg_over_time")             \
    X(TQL_M_SUM_OVER_TIME, "sum_over_time")             \
    X(TQL_M_QUANTILE_OVER_TIME, "quantile_over_time")   \
    X(TQL_M_HISTOGRAM_OVER_TIME, "histogram_over_time") \
    X(TQL_M_COMPARE, "compare")
enum tql_metric_fn {
#define X(name, text) name,
    TQL_METRIC_TABLE(X)
#undef X
        TQL_M_COUNT
};
const char *tql_metric_text(enum tql_metric_fn fn);

struct tql_metric {
    enum tql_metric_fn fn;
    const struct tql_attr *attr; /* argument; NULL for rate, count_over_time, compare */
    const struct tql_attr **by;
    uint32_t n_by;
    double *quantiles; /* each within [0, 1] */
    uint32_t n_quantiles;
    struct tql_expr *filter;  /* compare: the selection */
    int64_t top_n;            /* compare: 10 when not given */
    int64_t start_ns, end_ns; /* compare: both 0 when not given */
};

enum tql_second_kind { TQL_SECOND_TOPK, TQL_SECOND_BOTTOMK, TQL_SECOND_COMPARE };
struct tql_second {
    enum tql_second_kind kind;
    int64_t k;               /* TOPK, BOTTOMK: >= 1 */
    enum tql_op op;          /* COMPARE: EQ..GE */
    struct tql_static value; /* COMPARE: as written, sign applied */
    double number;           /* COMPARE: the value; durations in seconds */
};

struct tql_hint {
    struct str name;
    struct tql_static value;
};

/* ---- conditions: what becomes visible of an attribute (spec 4.3) ---- */
enum tql_cond_kind {
    TQL_COND_ANY,    /* every value */
    TQL_COND_ABSENT, /* `= nil` */
    TQL_COND_EXPR,   /* compare: a BINARY node `attr op literal` or a SET node */
};
struct tql_cond {
    enum tql_cond_kind kind;
    const struct tql_attr *attr;
    const struct tql_expr *expr; /* EXPR only */
};

/* How a query uses one attribute; query->uses[attr->index]. */
struct tql_use {
    bool any;           /* some condition before the first select is ANY (metrics do not count) */
    bool selected;      /* named by a select() */
    bool after_select;  /* read by a stage after the first select */
    bool before_select; /* read by a stage before it (or there is none) */
    bool by_metric;     /* argument or by() of the metrics function, or in compare's filter */
    const struct tql_cond *conds; /* before the first select, in query order */
    uint32_t n_conds;
};

struct tql_query {
    struct tql_pipeline *pipeline;
    struct tql_metric *metric; /* NULL: a search query */
    struct tql_second *second;
    uint32_t n_second;
    struct tql_hint *hints; /* of the last with(...) */
    uint32_t n_hints;

    uint32_t n_attr_refs; /* attributes mentioned, repetitions included */

    /* Filled by tql_check. */
    const struct tql_attr **attrs; /* distinct, in query order */
    struct tql_use *uses;          /* parallel to attrs */
    uint32_t n_attrs;
    struct tql_cond *conds; /* all conditions in query order */
    uint32_t n_conds;
    uint32_t n_exprs; /* field expression nodes: ids are below this */
    bool checked;
    bool never; /* every filter folds to false: the answer is empty, no data is read */
    bool
        /* filters joined by && only: event (link) conditions hold on one event (link) */
        conjunctive;
    bool reads_all;   /* some filter is constant true: spans without any read attribute take part */
    bool structural;  /* has a structural operator */
    bool most_recent; /* hint */
    bool has_exemplars; /* hint exemplars=N or =false was given */
    uint32_t exemplars; /* its value, capped at 100; false: 0 */
};

/* Where a text failed: callers prefix differently (spec 3.5). */
enum tql_error_class { TQL_ERROR_NONE, TQL_ERROR_PARSE, TQL_ERROR_CHECK };

/* `text` may go away afterwards. EC_INVALID with Tempo's message (`parse error at line ...`),
 * EC_LIMIT when the arena's budget refuses. */
enum ec tql_parse(struct str text, struct arena *arena, struct tql_query **ret, struct err *err)
    MUST_USE;
/* Same arena as the parse (or one that lives as long). A query that failed must not be used. */
enum ec tql_check(struct tql_query *q, struct arena *arena, struct err *err) MUST_USE;
/* Both; *ret_class (may be NULL) tells which failed. */
enum ec tql_compile(struct str text, struct arena *arena, struct tql_query **ret,
    enum tql_error_class *ret_class, struct err *err) MUST_USE;

/* Last hint of this name with this type, or NULL. */
const struct tql_static *tql_query_hint(
    const struct tql_query *q, const char *name, enum tql_type type);

/* ---- evaluation of single values (spec 4.4 with the decisions of section 9) ---- */
bool tql_type_numeric(enum tql_type t);     /* INT, FLOAT, DURATION */
const char *tql_type_name(enum tql_type t); /* "TypeString": as run-time errors call it */
/* Never fails: what cannot be computed is false, integer division by zero is nil. `re` is the
 * compiled r when op is RE or NRE (NULL: false). Numbers compare by value across types, exactly. */
struct tql_static tql_eval_binary(
    enum tql_op op, const struct tql_static *l, const struct tql_static *r, const struct regex *re);
/* SUB, NOT. False when the value has the wrong type (a run-time error unless it is nil). */
bool tql_eval_unary(enum tql_op op, const struct tql_static *v, struct tql_static *ret);
bool tql_static_true(const struct tql_static *v); /* is the boolean true */
/* Same type and same value (NaN equals NaN): for groups and sets. */
bool tql_static_same(const struct tql_static *a, const struct tql_static *b);
/* -1, 0, 1 of two numeric values by value; 2 when one is NaN. */
int tql_static_compare(const struct tql_static *a, const struct tql_static *b);
/* INT, FLOAT, DURATION (ns) as a double; others 0. */
double tql_static_number(const struct tql_static *v);

/* ---- canonical text ---- */
void tql_print_static(struct buf *out, const struct tql_static *v);
void tql_print_attr(struct buf *out, const struct tql_attr *attr);
void tql_print_expr(struct buf *out, const struct tql_expr *e);
void tql_print_scalar(struct buf *out, const struct tql_scalar *s);
void tql_print_pipeline(struct buf *out, const struct tql_pipeline *p);
void tql_print_query(struct buf *out, const struct tql_query *q);

/* ---- one attribute, for tag endpoints ---- */
/* Fills attr->text of an attribute (not an intrinsic) from scope, parent and name; false: over
 * budget. */
bool tql_attr_text(struct tql_attr *attr, struct arena *arena);
/* `span.a`, `.a`, `name`, `trace:id` ... EC_INVALID with `failed to parse identifier TEXT: parse
 * error ...`. */
enum ec tql_attr_parse(
    struct str text, struct arena *arena, const struct tql_attr **ret, struct err *err) MUST_USE;

/* ---- autocomplete filters (spec 7) ---- */
/* One AND-group: every condition holds on one span. Conditions are BINARY `attr op literal` (op
 * EQ..NRE), EXISTS or ABSENT nodes over an attribute; attr->index is not meaningful here. */
struct tql_filter_group {
    const struct tql_expr **conds;
    uint32_t n_conds; /* >= 1 */
};
struct tql_filter_groups {
    struct tql_filter_group *groups;
    uint32_t n_groups; /* >= 1 */
};
/* *ret is NULL when the text means "unfiltered" (empty, broken beyond repair, structural, unscoped,
 * ...): never an error for bad TraceQL. EC_INVALID only for too many groups, with the text of spec
 * 7.4; groups_max 0: 100. `tag` is the requested tag (NULL for tag names); when unscoped it counts
 * each group twice. */
enum ec tql_filter_groups_parse(struct str text, const struct tql_attr *tag, uint32_t groups_max,
    struct arena *arena, const struct tql_filter_groups **ret, struct err *err) MUST_USE;
