/* SPDX-License-Identifier: Apache-2.0
 * The columns of one table: dense ones (a value for each row) and sparse ones (row and value).
 *
 * A head has a segment for its resources, one for its scopes, and three per group (spans, events,
 * links). Dense columns share one block. Sparse columns are numbered by slot: first the table's
 * fixed sparse columns, then its attribute columns in order of their creation (struct
 * head_col.slot).
 *
 * Threads: one writer. A reader loads a count with acquire and then the pointer: the block that it
 * gets holds at least that many values, because the writer publishes a grown block before the
 * count.
 */
#pragma once

#include "mem.h"
#include "storage/part.h"

/* Dense columns by segment; index into seg_dense.col. */
enum {
    SPAN_TRACE,
    SPAN_ID,
    SPAN_PARENT,
    SPAN_START,
    SPAN_DURATION,
    SPAN_NAME,
    SPAN_KIND,
    SPAN_STATUS,
    SPAN_FLAGS,
    SPAN_RESOURCE,
    SPAN_SCOPE,
    SPAN_SHAPE,
    SPAN_ARRIVAL,
    SPAN_PREV, /* the row before in the same trace, PART_NONE: first; not visible outside */
    SPAN_DENSE
};
enum { EVENT_SPAN, EVENT_TIME, EVENT_NAME, EVENT_SHAPE, EVENT_DENSE };
enum { LINK_SPAN, LINK_TRACE_ID, LINK_SPAN_ID, LINK_FLAGS, LINK_SHAPE, LINK_DENSE };
enum { RESOURCE_SHAPE, RESOURCE_DENSE };
enum { SCOPE_SHAPE, SCOPE_NAME, SCOPE_VERSION, SCOPE_DENSE };
#define SEG_DENSE_MAX  14
#define SEG_ROWS_FIRST 16u

/* Slots of fixed sparse columns. */
enum {
    SPAN_SLOT_MESSAGE,
    SPAN_SLOT_TRACE_STATE,
    SPAN_SLOT_DROPPED_ATTRS,
    SPAN_SLOT_DROPPED_EVENTS,
    SPAN_SLOT_DROPPED_LINKS
};
enum { EVENT_SLOT_DROPPED_ATTRS };
enum { LINK_SLOT_TRACE_STATE, LINK_SLOT_DROPPED_ATTRS };
enum { RESOURCE_SLOT_DROPPED_ATTRS, RESOURCE_SLOT_SCHEMA_URL };
enum { SCOPE_SLOT_DROPPED_ATTRS, SCOPE_SLOT_SCHEMA_URL };
extern const uint8_t seg_fixed_slots[TABLE_COUNT];

/* Where a fixed column lives: a dense index or a slot. False: no such column in a head. */
bool seg_col_place(col_id col, bool *ret_dense, uint32_t *ret_index);

struct seg_dense {
    uint32_t cap;
    size_t bytes;
    void *col[SEG_DENSE_MAX];
};

struct seg_values { /* rows[cap], then values[cap] */
    uint32_t cap, width;
    uint32_t unused[2];
    uint32_t rows[];
};
static inline void *seg_values_data(struct seg_values *v, uint32_t cap)
{
    return v->rows + cap;
}

struct seg_entry {
    _Atomic uint32_t n;
    uint32_t cap; /* writer only; readers take it from the block */
    _Atomic(struct seg_values *) values;
};
struct seg_dir {
    uint32_t cap;
    struct seg_entry entry[];
};

struct seg {
    enum part_table table;
    _Atomic uint32_t n; /* rows; of a span segment only the writer's count */
    uint32_t cap;       /* writer only */
    _Atomic(struct seg_dense *) dense;
    uint32_t dir_cap; /* writer only */
    _Atomic(struct seg_dir *) dir;
    const struct seg *before; /* the same segment of the group before: how large columns will be */
    uint64_t sparse_bytes;    /* of the directory and the sparse columns */
    uint64_t hint_bytes;      /* that columns of `before` which are not here yet may ask for */
};

void seg_init(struct seg *s, enum part_table t, const struct seg *before);
void seg_deinit(struct seg *s, struct head_mem *m);
/* Bytes that at most `rows` more rows and the growth of the columns that are there may take; what
 * sparse values take beside them is in bound.c. */
uint64_t seg_bound(const struct seg *s, uint64_t rows);
uint64_t seg_values_first(void);           /* the first block of a sparse column, at most */
uint32_t seg_row_bytes(enum part_table t); /* dense bytes of a row */
void seg_dense_grow(struct seg *s, struct head_mem *m, uint32_t cap);
void seg_dir_grow(struct seg *s, struct head_mem *m, uint32_t slot);
void seg_values_grow(
    struct seg *s, struct head_mem *m, struct seg_entry *e, uint32_t slot, uint32_t width);

/* Dense block with room for row s->n. */
static inline struct seg_dense *seg_row_room(struct seg *s, struct head_mem *m)
{
    uint32_t n = atomic_load_explicit(&s->n, memory_order_relaxed);
    if (UNLIKELY(n == s->cap))
        seg_dense_grow(s, m, s->cap == 0 ? SEG_ROWS_FIRST : 2 * s->cap);
    return atomic_load_explicit(&s->dense, memory_order_relaxed);
}
static inline void seg_row_publish(struct seg *s)
{
    atomic_store_explicit(
        &s->n, atomic_load_explicit(&s->n, memory_order_relaxed) + 1, memory_order_release);
}

/* Appends the row and returns where its value goes; seg_put_end publishes. */
static inline void *seg_put_begin(struct seg *s, struct head_mem *m, uint32_t slot, uint32_t row,
    uint32_t width, struct seg_entry **ret_entry)
{
    if (UNLIKELY(slot >= s->dir_cap))
        seg_dir_grow(s, m, slot);
    struct seg_entry *e = &atomic_load_explicit(&s->dir, memory_order_relaxed)->entry[slot];
    uint32_t n = atomic_load_explicit(&e->n, memory_order_relaxed);
    if (UNLIKELY(n == e->cap))
        seg_values_grow(s, m, e, slot, width);
    struct seg_values *v = atomic_load_explicit(&e->values, memory_order_relaxed);
    v->rows[n] = row;
    *ret_entry = e;
    return (uint8_t *)seg_values_data(v, e->cap) + (size_t)n * width;
}
static inline void seg_put_end(struct seg_entry *e)
{
    atomic_store_explicit(
        &e->n, atomic_load_explicit(&e->n, memory_order_relaxed) + 1, memory_order_release);
}
static inline void seg_put_u32(
    struct seg *s, struct head_mem *m, uint32_t slot, uint32_t row, uint32_t value)
{
    struct seg_entry *e;
    *(uint32_t *)seg_put_begin(s, m, slot, row, 4, &e) = value;
    seg_put_end(e);
}
static inline void seg_put_u64(
    struct seg *s, struct head_mem *m, uint32_t slot, uint32_t row, uint64_t value)
{
    struct seg_entry *e;
    *(uint64_t *)seg_put_begin(s, m, slot, row, 8, &e) = value;
    seg_put_end(e);
}
static inline void seg_put_u8(
    struct seg *s, struct head_mem *m, uint32_t slot, uint32_t row, uint8_t value)
{
    struct seg_entry *e;
    *(uint8_t *)seg_put_begin(s, m, slot, row, 1, &e) = value;
    seg_put_end(e);
}

/* Reader: values of a slot with row < row_end. n == 0 when there are none. */
void seg_view_sparse(const struct seg *s, uint32_t slot, uint32_t row_end, struct col_view *ret);
/* Reader: a dense column; `n` rows must have been published to the caller. */
void seg_view_dense(const struct seg *s, uint32_t index, uint32_t n, struct col_view *ret);
/* Reader: how many values a slot has now. */
uint32_t seg_slot_count(const struct seg *s, uint32_t slot);
