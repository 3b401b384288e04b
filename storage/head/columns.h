/* SPDX-License-Identifier: Apache-2.0
 * The attribute columns of a head and its shapes (lists of columns).
 *
 * Column ids are given in order of first use, from COL_FIXED_MAX up, over all tables. Shapes are
 * interned: shape 0 is the empty list.
 *
 * WHY the guesses: the attributes of spans come in few orders, so the column that followed the last
 * one before is nearly always the column again. Comparing one key is cheaper than hashing it.
 *
 * Threads: the writer adds; readers look up without a lock.
 */
#pragma once

#include "base/hash.h"
#include "probe.h"
#include "storage/part.h"

struct column {
    struct str key;
    enum part_table table;
    enum value_type type;
    col_id id;
    uint32_t slot;  /* in the segments of its table */
    uint32_t guess; /* writer only: the column after this one, last time; PROBE_NONE */
    uint32_t code;  /* writer only: its last string */
};

struct shape {
    uint32_t n;
    col_id cols[];
};

struct columns {
    struct head_mem *mem;
    uint64_t seed;
    _Atomic uint32_t n, n_shapes;
    struct chunks cols;   /* struct column */
    struct chunks shapes; /* struct shape * */
    struct probe col_index, shape_index;
    uint32_t slots[TABLE_COUNT];       /* next slot */
    uint32_t guess_first[TABLE_COUNT]; /* first column of the last row */
};

void columns_init(struct columns *c, struct head_mem *mem, uint64_t seed);
void columns_deinit(struct columns *c);
static inline struct column *columns_at(const struct columns *c, uint32_t i)
{
    return chunks_at(&c->cols, i);
}
/* The column or PROBE_NONE. */
uint32_t columns_find(
    const struct columns *c, enum part_table t, struct str key, enum value_type type);
/* Finds or makes it. */
uint32_t columns_need(struct columns *c, enum part_table t, struct str key, enum value_type type);
uint32_t shapes_need(struct columns *c, const col_id *cols, uint32_t n);
static inline const struct shape *shapes_at(const struct columns *c, uint32_t i)
{
    return *(const struct shape *const *)chunks_at(&c->shapes, i);
}

static inline bool column_is(
    const struct column *c, enum part_table t, struct str key, enum value_type type)
{
    return c->key.n == key.n && c->type == type && c->table == t &&
           mem_same(c->key.p, key.p, key.n);
}
/* columns_need by way of *guess, which is moved on to the guess for what follows. `link` keeps the
 * place that the next call corrects: start with guess = &guess_first[table]. */
static inline struct column *columns_follow(
    struct columns *c, enum part_table t, struct str key, enum value_type type, uint32_t **guess)
{
    uint32_t i = **guess;
    struct column *col = i == PROBE_NONE ? NULL : columns_at(c, i);
    if (UNLIKELY(col == NULL || !column_is(col, t, key, type))) {
        i = columns_need(c, t, key, type);
        **guess = i;
        col = columns_at(c, i);
    }
    *guess = &col->guess;
    return col;
}
