/* SPDX-License-Identifier: Apache-2.0
 * A part: spans of one tenant as columns, readable by many threads. A head (memory) and a block
 * (file) are both parts; the query engine, the block builder and compaction see only this
 * interface.
 *
 * Tables. Five of them hold attributes: resources, scopes, spans, events, links. A table has rows,
 * fixed columns (enum col), a SHAPE column and attribute columns. An attribute column is (table,
 * key, value type). The shape of a row is the list of its attribute columns in the order in which
 * they were sent, so presence needs no bitmap and a span comes back exactly as it came.
 *
 * Rows. A span row is a u32 within its part; rows are cut into groups of at most PART_GROUP_ROWS
 * spans. Group g also owns the events and links of its spans (their SPAN column is relative to the
 * group's first row). Resources and scopes are part-wide: their views ignore the group (pass 0).
 * In a block the spans of a trace are adjacent and in arrival order; in a head they are in arrival
 * order, between those of other traces. Traces are numbered 0..n_traces-1 (blocks: by start time
 * ascending).
 *
 * Snapshot. part_ref'd parts never change below the row count that the reader took with part_info
 * (heads only grow). A reader passes that count as `rows_max` everywhere through struct
 * part_reader.
 *
 * Views. part_view gives one column of one group: `n` values, value i belongs to row rows[i]
 * (group-relative, ascending; rows == NULL: value i is row i). Memory belongs to the reader: valid
 * until part_reader_close. A row may occur twice when a key was sent twice.
 *
 * Threads: struct part is shared; a part_reader belongs to one thread at a time.
 */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/ids.h"
#include "model/value.h"

#define PART_GROUP_ROWS 16384u
#define PART_NONE       UINT32_MAX

enum part_table {
    TABLE_RESOURCES,
    TABLE_SCOPES,
    TABLE_SPANS,
    TABLE_EVENTS,
    TABLE_LINKS,
    TABLE_COUNT
};

/* How a column's values look in a view. */
enum col_phys {
    PHYS_U8,
    PHYS_U32,
    PHYS_U64, /* times, ids: see the column */
    PHYS_I64,
    PHYS_F64,
    PHYS_CODE, /* u32 code into view.dict: strings, bytes, encoded arrays and kvlists */
    PHYS_ID16, /* struct trace_id */
};

/* Fixed columns. On disk the number is the identity of a column: never renumber, only append.
 * X(name, number, table, phys, meaning) */
#define PART_COLUMNS(X)                                                                        \
    X(COL_SPAN_TRACE, 0, TABLE_SPANS, PHYS_U32, "trace number in the part")                    \
    X(COL_SPAN_ID, 1, TABLE_SPANS, PHYS_U64, "span id, big-endian value")                      \
    X(COL_SPAN_PARENT, 2, TABLE_SPANS, PHYS_U64, "parent span id, 0 for a root")               \
    X(COL_SPAN_START, 3, TABLE_SPANS, PHYS_U64, "start, unix ns")                              \
    X(COL_SPAN_DURATION, 4, TABLE_SPANS, PHYS_U64, "end - start in ns, modulo 2^64")           \
    X(COL_SPAN_NAME, 5, TABLE_SPANS, PHYS_CODE, "name")                                        \
    X(COL_SPAN_KIND, 6, TABLE_SPANS, PHYS_U32, "OTLP kind, as sent")                           \
    X(COL_SPAN_STATUS, 7, TABLE_SPANS, PHYS_U32, "OTLP status code, as sent")                  \
    X(COL_SPAN_STATUS_MESSAGE, 8, TABLE_SPANS, PHYS_CODE, "sparse: rows where not empty")      \
    X(COL_SPAN_TRACE_STATE, 9, TABLE_SPANS, PHYS_CODE, "sparse: rows where not empty")         \
    X(COL_SPAN_FLAGS, 10, TABLE_SPANS, PHYS_U32, "OTLP flags, 32 bits")                        \
    X(COL_SPAN_RESOURCE, 11, TABLE_SPANS, PHYS_U32, "row in resources")                        \
    X(COL_SPAN_SCOPE, 12, TABLE_SPANS, PHYS_U32, "row in scopes")                              \
    X(COL_SPAN_SHAPE, 13, TABLE_SPANS, PHYS_U32, "shape number")                               \
    X(COL_SPAN_DROPPED_ATTRS, 14, TABLE_SPANS, PHYS_U32, "sparse: rows where not 0")           \
    X(COL_SPAN_DROPPED_EVENTS, 15, TABLE_SPANS, PHYS_U32, "sparse: rows where not 0")          \
    X(COL_SPAN_DROPPED_LINKS, 16, TABLE_SPANS, PHYS_U32, "sparse: rows where not 0")           \
    X(COL_SPAN_ARRIVAL, 17, TABLE_SPANS, PHYS_U32, "seconds since the unix epoch at accept")   \
    X(COL_EVENT_SPAN, 24, TABLE_EVENTS, PHYS_U32, "span row within the group, ascending")      \
    X(COL_EVENT_TIME, 25, TABLE_EVENTS, PHYS_U64, "unix ns")                                   \
    X(COL_EVENT_NAME, 26, TABLE_EVENTS, PHYS_CODE, "name")                                     \
    X(COL_EVENT_SHAPE, 27, TABLE_EVENTS, PHYS_U32, "shape number")                             \
    X(COL_EVENT_DROPPED_ATTRS, 28, TABLE_EVENTS, PHYS_U32, "sparse: rows where not 0")         \
    X(COL_LINK_SPAN, 32, TABLE_LINKS, PHYS_U32, "span row within the group, ascending")        \
    X(COL_LINK_TRACE_ID, 33, TABLE_LINKS, PHYS_ID16, "linked trace")                           \
    X(COL_LINK_SPAN_ID, 34, TABLE_LINKS, PHYS_U64, "linked span")                              \
    X(COL_LINK_TRACE_STATE, 35, TABLE_LINKS, PHYS_CODE, "sparse: rows where not empty")        \
    X(COL_LINK_FLAGS, 36, TABLE_LINKS, PHYS_U32, "OTLP flags")                                 \
    X(COL_LINK_SHAPE, 37, TABLE_LINKS, PHYS_U32, "shape number")                               \
    X(COL_LINK_DROPPED_ATTRS, 38, TABLE_LINKS, PHYS_U32, "sparse: rows where not 0")           \
    X(COL_RESOURCE_SHAPE, 40, TABLE_RESOURCES, PHYS_U32, "shape number")                       \
    X(COL_RESOURCE_DROPPED_ATTRS, 41, TABLE_RESOURCES, PHYS_U32, "sparse: rows where not 0")   \
    X(COL_RESOURCE_SCHEMA_URL, 42, TABLE_RESOURCES, PHYS_CODE, "sparse: rows where not empty") \
    X(COL_SCOPE_SHAPE, 48, TABLE_SCOPES, PHYS_U32, "shape number")                             \
    X(COL_SCOPE_NAME, 49, TABLE_SCOPES, PHYS_CODE, "name")                                     \
    X(COL_SCOPE_VERSION, 50, TABLE_SCOPES, PHYS_CODE, "version")                               \
    X(COL_SCOPE_DROPPED_ATTRS, 51, TABLE_SCOPES, PHYS_U32, "sparse: rows where not 0")         \
    X(COL_SCOPE_SCHEMA_URL, 52, TABLE_SCOPES, PHYS_CODE, "sparse: rows where not empty")

enum col {
#define X(name, number, table, phys, text) name = number,
    PART_COLUMNS(X)
#undef X
        COL_FIXED_MAX = 64, /* attribute columns are numbered from here, per part */
};
typedef uint32_t col_id;

/* Strings of a column (block) or of a whole head. Codes are dense from 0. get/find are thread-safe.
 * The same string has one code; sorted: codes ascend with the strings (bytewise). */
struct dict {
    const struct dict_ops *ops;
    bool sorted;
};
struct dict_ops {
    uint32_t (*count)(const struct dict *d);
    struct str (*get)(const struct dict *d, uint32_t code);
    bool (*find)(const struct dict *d, struct str s, uint32_t *ret_code);
};
static inline uint32_t dict_count(const struct dict *d)
{
    return d->ops->count(d);
}
static inline struct str dict_get(const struct dict *d, uint32_t code)
{
    return d->ops->get(d, code);
}
static inline bool dict_find(const struct dict *d, struct str s, uint32_t *ret_code)
{
    return d->ops->find(d, s, ret_code);
}

struct col_view {
    enum col_phys phys;
    uint32_t n;           /* values */
    const uint32_t *rows; /* NULL: dense, value i is row i */
    union {
        const void *data;
        const uint8_t *u8;
        const uint32_t *u32; /* PHYS_U32 and PHYS_CODE */
        const uint64_t *u64;
        const int64_t *i64;
        const double *f64;
        const struct trace_id *id16;
    };
    /* PHYS_CODE: of the column, or of this view alone (blocks, when strings hardly repeat): compare
     * pointers before reusing what was computed per code. */
    const struct dict *dict;
};

struct part_attr { /* one attribute column */
    col_id col;
    enum part_table table;
    enum value_type
        /* STR BYTES ARRAY KVLIST: PHYS_CODE; INT: I64; DOUBLE: F64; BOOL: U8; EMPTY: U8, all 0 */
        type;
    struct str key;    /* lives as long as the reader */
    uint64_t n_values; /* heads: at least what the reader can see */
};

struct part_info {
    uint32_t n_rows, n_groups, n_traces;
    uint32_t n_resources, n_scopes;
    uint64_t min_start_ns, max_end_ns; /* true range over spans; end >= start; 0,0 when empty */
    uint64_t bytes;                    /* file size, or memory */
};

struct part_group {
    uint32_t row_first, n_rows;
    uint32_t n_events, n_links;
    uint64_t min_start_ns, max_start_ns; /* over its spans */
    uint64_t max_end_ns;
};

struct part_trace {
    struct trace_id id;
    uint32_t n_rows;
    uint32_t row_first;        /* blocks: rows are row_first .. +n_rows; heads: the first one */
    uint64_t start_ns, end_ns; /* min start, max end over its spans (end < start counts as start) */
    uint32_t root_row;         /* last root span in storage order, PART_NONE: no root here */
};

struct part_group_traces { /* the traces of a block's group, which follow each other */
    uint32_t first, n;
    /* by trace - first: group-relative row behind its last one in the group */
    const uint32_t *ends;
};

struct part;
struct part_reader;

struct part_ops {
    void (*destroy)(struct part *p); /* last reference gone */
    enum ec (*reader_open)(
        struct part *p, struct budget *budget, struct part_reader **ret, struct err *err);
    void (*reader_close)(struct part_reader *r);
    void (*info)(struct part_reader *r, struct part_info *ret);
    enum ec (*group)(struct part_reader *r, uint32_t g, struct part_group *ret, struct err *err);
    enum ec (*view)(
        struct part_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err);
    enum ec (*view_rows)(struct part_reader *r, uint32_t g, col_id col, uint32_t first, uint32_t n,
        struct col_view *ret, struct err *err); /* NULL: from view */
    enum ec (*attrs)(
        struct part_reader *r, const struct part_attr **ret, size_t *ret_n, struct err *err);
    enum ec (*attr_find)(struct part_reader *r, enum part_table t, struct str key,
        const struct part_attr *ret[VALUE_TYPES], struct err *err);
    enum ec (*shape)(
        struct part_reader *r, uint32_t shape, const col_id **ret, size_t *ret_n, struct err *err);
    enum ec (*trace)(
        struct part_reader *r, uint32_t trace, struct part_trace *ret, struct err *err);
    enum ec (*trace_find)(
        struct part_reader *r, const struct trace_id *id, uint32_t *ret_trace, struct err *err);
    enum ec (*trace_rows)(struct part_reader *r, uint32_t trace, struct arena *arena,
        uint32_t **ret_rows, uint32_t *ret_n, struct err *err);
    enum ec (*trace_ids)(
        struct part_reader *r, uint32_t at, struct trace_id *ret, uint32_t *ret_n, struct err *err);
    enum ec (*group_traces)(struct part_reader *r, uint32_t g, struct part_group_traces *ret,
        struct err *err); /* blocks only */
    bool (*may_have)(struct part_reader *r, col_id col, struct str value);
    uint64_t (*bytes_read)(const struct part_reader *r); /* NULL: 0 */
    /* Without a reader; all may be NULL: nothing is known. */
    bool (*peek)(struct part *p, struct part_info *ret);
    bool (*may_hold)(struct part *p, const struct trace_id *id);
    void (*hold_soon)(const struct part *p, const struct trace_id *id);
    bool (*may_equal)(
        struct part *p, enum part_table t, struct str key, col_id col, struct str value);
    bool (*may_key)(struct part *p, enum part_table t, struct str key, bool array);
    bool (*names)(struct part *p, uint64_t ret[TABLE_COUNT]);
    bool (*cold)(struct part *p, bool ahead);
    bool (*strings)(
        struct part *p, enum part_table t, struct str key, col_id col, uint64_t *ret_list);
    bool (*known)(struct part *p);
};

/* Embedded as the first member of a head and of a block. */
struct part {
    const struct part_ops *ops;
    _Atomic uint32_t refs;
    bool is_head;
    uint8_t uuid[16];        /* block id; heads: id that their block will have */
    _Atomic uint64_t serial; /* part_serial's; 0: nobody asked yet */
};

/* A number that no other part of this process has or will have; small ones first. */
uint64_t part_serial(struct part *p);

struct part *part_ref(struct part *p);
void part_unref(struct part *p); /* NULL allowed */

/* Whoever keeps something about parts is told when one is gone: its last reference was given back,
 * and its memory may be that of another part soon. `gone` runs on any thread, under the locks of
 * whoever gave the reference back; it must not block and must not take or give references. */
struct part_watcher {
    void (*gone)(struct part_watcher *w, const struct part *p);
    struct part_watcher *next;
};
void part_watch(struct part_watcher *w);
void part_unwatch(struct part_watcher *w); /* when it returns, gone does not run any more */

/* A reader pins what its views need and carries the snapshot of a head's row count. Its memory
 * (decoded pages not already cached, value copies) is charged to `budget`: EC_LIMIT when it
 * refuses. Holds a reference to the part. */
enum ec part_reader_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err) MUST_USE;
void part_reader_close(struct part_reader *r); /* NULL allowed */
struct part *part_reader_part(const struct part_reader *r);
/* Every reader implementation starts with this. */
struct part_reader {
    struct part *part;
    struct budget *budget;
    bool once; /* set after opening: reads columns one time, so they are not kept in the cache */
    /* Set after opening: reads many attributes of spans, group by group. The row lists of a group's
     * views then end with the first such view of another group. */
    bool group_by_group;
};

void part_info(struct part_reader *r, struct part_info *ret);
/* g < info.n_groups (asserted). */
enum ec part_group(struct part_reader *r, uint32_t g, struct part_group *ret, struct err *err)
    MUST_USE;
/* Views of a column that this part does not have, or that has no values in the group: n == 0. */
enum ec part_view(
    struct part_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err) MUST_USE;
/* As part_view, for who reads few rows and will not come back for others: those of [first, first +
 * n) of the group (of its events or links: as the column's table has them), which the table must
 * have. A view without `rows` starts at row `first`; one with may list other rows besides. Codes
 * and dictionaries may differ from those of part_view. */
enum ec part_view_rows(struct part_reader *r, uint32_t g, col_id col, uint32_t first, uint32_t n,
    struct col_view *ret, struct err *err) MUST_USE;
/* Of a view without `rows`: leaves values [first, first + n), as far as there are any. */
void col_view_from(struct col_view *v, uint32_t first, uint32_t n);
/* All attribute columns, ascending by col. */
enum ec part_attrs(
    struct part_reader *r, const struct part_attr **ret, size_t *ret_n, struct err *err) MUST_USE;
/* ret[type] is the column of that value type or NULL. */
enum ec part_attr_find(struct part_reader *r, enum part_table t, struct str key,
    const struct part_attr *ret[VALUE_TYPES], struct err *err) MUST_USE;
/* The attribute columns of a row with this shape, in sent order (a column may repeat). */
enum ec part_shape(struct part_reader *r, uint32_t shape, const col_id **ret, size_t *ret_n,
    struct err *err) MUST_USE;
enum ec part_trace(struct part_reader *r, uint32_t trace, struct part_trace *ret, struct err *err)
    MUST_USE;
/* *ret_trace = PART_NONE when the trace is not in this part (an ordinary outcome). */
enum ec part_trace_find(struct part_reader *r, const struct trace_id *id, uint32_t *ret_trace,
    struct err *err) MUST_USE;
/* Part-level rows of a trace, ascending (storage order). */
enum ec part_trace_rows(struct part_reader *r, uint32_t trace, struct arena *arena,
    uint32_t **ret_rows, uint32_t *ret_n, struct err *err) MUST_USE;
/* The ids of all traces, piece by piece, in no order that matters: of the list's entries from `at`
 * on, as many as are at hand, at most PART_IDS_MAX. *ret_n = 0 at the end. */
#define PART_IDS_MAX 256u
enum ec part_trace_ids(struct part_reader *r, uint32_t at, struct trace_id ret[PART_IDS_MAX],
    uint32_t *ret_n, struct err *err) MUST_USE;
/* Blocks only (a head's spans are in order of arrival): which traces have spans in the group, for
 * less than COL_SPAN_TRACE says span by span. ends belongs to the reader, as views do. */
enum ec part_group_traces(
    struct part_reader *r, uint32_t g, struct part_group_traces *ret, struct err *err) MUST_USE;
/* False: no value of this PHYS_CODE attribute or fixed column equals `value` (dictionary or filter
 * says so, without reading pages). True: perhaps. */
bool part_may_have(struct part_reader *r, col_id col, struct str value);
/* Bytes read from disk by this reader so far (`inspectedBytes`); 0 for heads. */
uint64_t part_reader_bytes(const struct part_reader *r);

/* Questions that need no reader, for queries over a thousand parts: each costs some hundred
 * nanoseconds once a page of a filter is in the cache, and blocks of before format version 2 answer
 * "perhaps". Thread-safe. */

/* What the catalog knows: rows, traces, times and bytes; the counts of groups, resources and scopes
 * are guesses. Costs no I/O. False: not known, open a reader. */
bool part_peek(struct part *p, struct part_info *ret);
/* False: no span of that trace is in the part. */
bool part_may_hold(struct part *p, const struct trace_id *id);
/* It will be asked of soon: costs little, and no wait. */
static inline void part_hold_soon(const struct part *p, const struct trace_id *id)
{
    if (p->ops->hold_soon != NULL)
        p->ops->hold_soon(p, id);
}
/* part_may_hold of many parts. WHY: each answer is some cache lines away, so those of the next
 * parts are fetched while this one is asked. */
struct part_holders {
    struct part *const *parts;
    size_t n, at; /* at: of the next part to be asked */
    const struct trace_id *id;
};
/* The next part that may hold the trace, its place in *ret; false: none is left. */
bool part_holders_next(struct part_holders *h, size_t *ret);
/* False: no string of that attribute (key.p != NULL), or of the fixed column `col` of strings,
 * equals `value`. Elements of arrays are not meant. */
bool part_may_equal(
    struct part *p, enum part_table t, struct str key, col_id col, struct str value);
/* False: no row of the table has the attribute (array: as an array). */
bool part_may_key(struct part *p, enum part_table t, struct str key, bool array);
/* Will the next of these questions, or of a reader, be the first to open the part's file? ahead: if
 * so, the kernel is told to fetch what that needs, and is not waited for. */
bool part_cold(struct part *p, bool ahead);
/* Do the next two questions cost no I/O? */
bool part_known(struct part *p);
/* True: that attribute (key.p != NULL), or the fixed column `col` of strings, is there and has
 * strings alone. *ret_list: a hash of all its values, the same in parts that have the same; 0: not
 * known. */
bool part_strings(
    struct part *p, enum part_table t, struct str key, col_id col, uint64_t *ret_list);
/* By table a hash of its attribute keys: parts with the same hash have the same names. False:
 * not known. */
bool part_names(struct part *p, uint64_t ret[TABLE_COUNT]);

/* Table and physical type of a fixed column; false for a number that is none. */
bool part_col_fixed(
    col_id col, enum part_table *ret_table, enum col_phys *ret_phys, const char **ret_name);
/* Fixed columns that most rows lack: a block lists the rows that have them, the others read as
 * empty or 0. */
bool part_col_sparse(col_id col);
enum col_phys value_type_phys(enum value_type t);
