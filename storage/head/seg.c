/* SPDX-License-Identifier: Apache-2.0
 * Segments: layout of the dense columns, growth, views. */
#include "seg.h"

#include <assert.h>

#define VALUES_CAP_FIRST 8u
#define DIR_CAP_FIRST    16u

static const uint8_t seg_widths[TABLE_COUNT][SEG_DENSE_MAX] = {
    [TABLE_RESOURCES] = {4},
    [TABLE_SCOPES] = {4, 4, 4},
    [TABLE_SPANS] = {4, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4},
    [TABLE_EVENTS] = {4, 8, 4, 4},
    [TABLE_LINKS] = {4, 16, 8, 4, 4},
};
static_assert(SPAN_DENSE <= SEG_DENSE_MAX, "dense columns fit");

const uint8_t seg_fixed_slots[TABLE_COUNT] = {
    [TABLE_RESOURCES] = 2,
    [TABLE_SCOPES] = 2,
    [TABLE_SPANS] = 5,
    [TABLE_EVENTS] = 1,
    [TABLE_LINKS] = 2,
};

bool seg_col_place(col_id col, bool *ret_dense, uint32_t *ret_index)
{
    /* 1 + dense index, or -1 - slot; 0: no column. */
    static const int8_t place[COL_FIXED_MAX] = {
        [COL_SPAN_TRACE] = 1 + SPAN_TRACE,
        [COL_SPAN_ID] = 1 + SPAN_ID,
        [COL_SPAN_PARENT] = 1 + SPAN_PARENT,
        [COL_SPAN_START] = 1 + SPAN_START,
        [COL_SPAN_DURATION] = 1 + SPAN_DURATION,
        [COL_SPAN_NAME] = 1 + SPAN_NAME,
        [COL_SPAN_KIND] = 1 + SPAN_KIND,
        [COL_SPAN_STATUS] = 1 + SPAN_STATUS,
        [COL_SPAN_STATUS_MESSAGE] = -1 - SPAN_SLOT_MESSAGE,
        [COL_SPAN_TRACE_STATE] = -1 - SPAN_SLOT_TRACE_STATE,
        [COL_SPAN_FLAGS] = 1 + SPAN_FLAGS,
        [COL_SPAN_RESOURCE] = 1 + SPAN_RESOURCE,
        [COL_SPAN_SCOPE] = 1 + SPAN_SCOPE,
        [COL_SPAN_SHAPE] = 1 + SPAN_SHAPE,
        [COL_SPAN_DROPPED_ATTRS] = -1 - SPAN_SLOT_DROPPED_ATTRS,
        [COL_SPAN_DROPPED_EVENTS] = -1 - SPAN_SLOT_DROPPED_EVENTS,
        [COL_SPAN_DROPPED_LINKS] = -1 - SPAN_SLOT_DROPPED_LINKS,
        [COL_SPAN_ARRIVAL] = 1 + SPAN_ARRIVAL,
        [COL_EVENT_SPAN] = 1 + EVENT_SPAN,
        [COL_EVENT_TIME] = 1 + EVENT_TIME,
        [COL_EVENT_NAME] = 1 + EVENT_NAME,
        [COL_EVENT_SHAPE] = 1 + EVENT_SHAPE,
        [COL_EVENT_DROPPED_ATTRS] = -1 - EVENT_SLOT_DROPPED_ATTRS,
        [COL_LINK_SPAN] = 1 + LINK_SPAN,
        [COL_LINK_TRACE_ID] = 1 + LINK_TRACE_ID,
        [COL_LINK_SPAN_ID] = 1 + LINK_SPAN_ID,
        [COL_LINK_TRACE_STATE] = -1 - LINK_SLOT_TRACE_STATE,
        [COL_LINK_FLAGS] = 1 + LINK_FLAGS,
        [COL_LINK_SHAPE] = 1 + LINK_SHAPE,
        [COL_LINK_DROPPED_ATTRS] = -1 - LINK_SLOT_DROPPED_ATTRS,
        [COL_RESOURCE_SHAPE] = 1 + RESOURCE_SHAPE,
        [COL_RESOURCE_DROPPED_ATTRS] = -1 - RESOURCE_SLOT_DROPPED_ATTRS,
        [COL_RESOURCE_SCHEMA_URL] = -1 - RESOURCE_SLOT_SCHEMA_URL,
        [COL_SCOPE_SHAPE] = 1 + SCOPE_SHAPE,
        [COL_SCOPE_NAME] = 1 + SCOPE_NAME,
        [COL_SCOPE_VERSION] = 1 + SCOPE_VERSION,
        [COL_SCOPE_DROPPED_ATTRS] = -1 - SCOPE_SLOT_DROPPED_ATTRS,
        [COL_SCOPE_SCHEMA_URL] = -1 - SCOPE_SLOT_SCHEMA_URL,
    };
    if (col >= COL_FIXED_MAX || place[col] == 0)
        return false;
    *ret_dense = place[col] > 0;
    *ret_index = (uint32_t)(place[col] > 0 ? place[col] - 1 : -1 - place[col]);
    return true;
}

uint32_t seg_row_bytes(enum part_table t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SEG_DENSE_MAX; i++)
        n += seg_widths[t][i];
    return n;
}

static size_t seg_values_bytes(uint32_t cap, uint32_t width)
{
    return sizeof(struct seg_values) + (size_t)cap * (4 + width);
}

static size_t seg_dir_bytes(uint32_t cap)
{
    return sizeof(struct seg_dir) + cap * sizeof(struct seg_entry);
}

void seg_init(struct seg *s, enum part_table t, const struct seg *before)
{
    *s = (struct seg){.table = t, .before = before};
    if (before != NULL) {
        s->hint_bytes = before->sparse_bytes + before->sparse_bytes / 8;
        s->hint_bytes += seg_dir_bytes(before->dir_cap);
    }
}

uint64_t seg_bound(const struct seg *s, uint64_t rows)
{
    uint64_t bytes = 0;
    uint64_t n = atomic_load_explicit(&s->n, memory_order_relaxed) + rows;
    for (uint64_t cap = s->cap; cap < n;) {
        cap = cap == 0 ? SEG_ROWS_FIRST : 2 * cap;
        bytes += sizeof(struct seg_dense) + cap * seg_row_bytes(s->table);
    }
    return bytes + 2 * s->sparse_bytes + s->hint_bytes + seg_dir_bytes(2 * DIR_CAP_FIRST);
}

uint64_t seg_values_first(void)
{
    return seg_values_bytes(VALUES_CAP_FIRST, 8);
}

void seg_deinit(struct seg *s, struct head_mem *m)
{
    struct seg_dense *d = atomic_load_explicit(&s->dense, memory_order_relaxed);
    if (d != NULL)
        mem_free(m, d, d->bytes);
    struct seg_dir *dir = atomic_load_explicit(&s->dir, memory_order_relaxed);
    for (uint32_t i = 0; dir != NULL && i < dir->cap; i++) {
        struct seg_values *v = atomic_load_explicit(&dir->entry[i].values, memory_order_relaxed);
        if (v != NULL)
            mem_free(m, v, seg_values_bytes(v->cap, v->width));
    }
    if (dir != NULL)
        mem_free(m, dir, seg_dir_bytes(dir->cap));
    *s = (struct seg){0};
}

void seg_dense_grow(struct seg *s, struct head_mem *m, uint32_t cap)
{
    struct seg_dense *old = atomic_load_explicit(&s->dense, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&s->n, memory_order_relaxed);
    ASSERT(cap > n && cap % 2 == 0);
    size_t bytes = sizeof(struct seg_dense) + (size_t)cap * seg_row_bytes(s->table);
    struct seg_dense *d = mem_block(m, bytes);
    d->cap = cap;
    d->bytes = bytes;
    uint8_t *at = (uint8_t *)(d + 1);
    for (uint32_t i = 0; i < SEG_DENSE_MAX; i++) {
        size_t width = seg_widths[s->table][i];
        d->col[i] = at;
        if (n != 0 && width != 0)
            memcpy(at, old->col[i], n * width);
        at += cap * width;
    }
    ASSERT(at == (uint8_t *)d + bytes);
    s->cap = cap;
    atomic_store_explicit(&s->dense, d, memory_order_seq_cst);
    if (old != NULL)
        mem_retire(m, old, old->bytes);
}

void seg_dir_grow(struct seg *s, struct head_mem *m, uint32_t slot)
{
    struct seg_dir *old = atomic_load_explicit(&s->dir, memory_order_relaxed);
    uint32_t cap = s->dir_cap != 0 ? s->dir_cap : DIR_CAP_FIRST;
    if (s->before != NULL && cap < s->before->dir_cap)
        cap = s->before->dir_cap;
    while (cap <= slot)
        cap *= 2;
    struct seg_dir *dir = mem_block_zero(m, seg_dir_bytes(cap));
    dir->cap = cap;
    for (uint32_t i = 0; i < s->dir_cap; i++) {
        struct seg_entry *from = &old->entry[i], *to = &dir->entry[i];
        to->cap = from->cap;
        atomic_store_explicit(&to->values,
            atomic_load_explicit(&from->values, memory_order_relaxed), memory_order_relaxed);
        atomic_store_explicit(
            &to->n, atomic_load_explicit(&from->n, memory_order_relaxed), memory_order_relaxed);
    }
    s->sparse_bytes += seg_dir_bytes(cap) - (old == NULL ? 0 : seg_dir_bytes(old->cap));
    s->dir_cap = cap;
    atomic_store_explicit(&s->dir, dir, memory_order_seq_cst);
    if (old != NULL)
        mem_retire(m, old, seg_dir_bytes(old->cap));
}

void seg_values_grow(
    struct seg *s, struct head_mem *m, struct seg_entry *e, uint32_t slot, uint32_t width)
{
    struct seg_values *old = atomic_load_explicit(&e->values, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&e->n, memory_order_relaxed), cap = 2 * e->cap;
    if (cap == 0) {
        /* WHY: columns of neighbouring groups fill alike; a right first size saves the copies. */
        uint32_t like = s->before == NULL ? 0 : seg_slot_count(s->before, slot);
        cap = like < VALUES_CAP_FIRST ? VALUES_CAP_FIRST : (like + like / 16 + 3) & ~3u;
        uint64_t hint = like < VALUES_CAP_FIRST ? 0 : seg_values_bytes(cap, width);
        s->hint_bytes -= MIN(s->hint_bytes, hint);
    }
    ASSERT(cap > n && cap % 4 == 0);
    struct seg_values *v = mem_block(m, seg_values_bytes(cap, width));
    v->cap = cap;
    v->width = width;
    if (old != NULL) {
        ASSERT(old->width == width);
        memcpy(v->rows, old->rows, (size_t)n * 4);
        memcpy(seg_values_data(v, cap), seg_values_data(old, old->cap), (size_t)n * width);
        s->sparse_bytes -= seg_values_bytes(old->cap, width);
    }
    s->sparse_bytes += seg_values_bytes(cap, width);
    e->cap = cap;
    atomic_store_explicit(&e->values, v, memory_order_seq_cst);
    if (old != NULL)
        mem_retire(m, old, seg_values_bytes(old->cap, width));
}

/* The entry of a slot as a reader sees it, or NULL. */
static const struct seg_entry *seg_entry_seen(const struct seg *s, uint32_t slot)
{
    const struct seg_dir *dir = atomic_load_explicit(&s->dir, memory_order_seq_cst);
    return dir == NULL || slot >= dir->cap ? NULL : &dir->entry[slot];
}

uint32_t seg_slot_count(const struct seg *s, uint32_t slot)
{
    const struct seg_entry *e = seg_entry_seen(s, slot);
    return e == NULL ? 0 : atomic_load_explicit(&e->n, memory_order_relaxed);
}

void seg_view_sparse(const struct seg *s, uint32_t slot, uint32_t row_end, struct col_view *ret)
{
    ret->n = 0;
    ret->rows = NULL;
    ret->data = NULL;
    const struct seg_entry *e = seg_entry_seen(s, slot);
    uint32_t n = e == NULL ? 0 : atomic_load_explicit(&e->n, memory_order_acquire);
    if (n == 0)
        return;
    struct seg_values *v = atomic_load_explicit(&e->values, memory_order_seq_cst);
    ASSERT(n <= v->cap);
    if (v->rows[n - 1] >= row_end) { /* rows that came after the snapshot */
        uint32_t lo = 0, hi = n - 1;
        while (lo < hi) {
            uint32_t mid = lo + (hi - lo) / 2;
            if (v->rows[mid] < row_end)
                lo = mid + 1;
            else
                hi = mid;
        }
        n = lo;
    }
    ret->n = n;
    ret->rows = v->rows;
    ret->data = seg_values_data(v, v->cap);
}

void seg_view_dense(const struct seg *s, uint32_t index, uint32_t n, struct col_view *ret)
{
    const struct seg_dense *d = atomic_load_explicit(&s->dense, memory_order_seq_cst);
    ASSERT(n == 0 || (d != NULL && n <= d->cap));
    ret->n = n;
    ret->rows = NULL;
    ret->data = n == 0 ? NULL : d->col[index];
}
