/* SPDX-License-Identifier: Apache-2.0
 * Inside a head: what insert.c (writer), admit.c (limits) and reader.c (snapshots) share.
 *
 * What is published how:
 * - `seen` holds the counts of traces and rows in one word, stored with release after a whole batch
 *   has been written: a snapshot is that word, so batches become visible as a whole.
 * - Resources and scopes count rows in their segment; they are published before the spans that use
 *   them. Columns, shapes and strings likewise.
 * - Per trace, `row_last` is stored before the fields that change with it, all with release order:
 *   a reader which then loads row_last < its row count knows that the fields it loaded before
 *   belong to rows of its snapshot; otherwise it walks the rows (SPAN_PREV) and computes them
 *   itself.
 */
#pragma once

#include "columns.h"
#include "seg.h"
#include "storage/head.h"
#include "strings.h"

#define GROUP_BITS 14u
_Static_assert(PART_GROUP_ROWS == 1u << GROUP_BITS, "rows to groups by shift");
#define HEAD_ROWS_MAX   (1u << 30) /* spans of a head; events, links, attributes of a group */
#define HEAD_IDLE_S     5u
#define HEAD_IDLE_S_MAX 3600u
#define HEAD_MAGIC      0x64616568u /* "head" */

struct head_group {
    uint32_t row_first;
    uint64_t n_attrs; /* writer only; bounds the length of every sparse column */
    struct seg spans, events, links;
    /* Over the spans in it, those of an open batch included. */
    _Atomic uint64_t min_start_ns, max_start_ns, max_end_ns;
};

struct head_trace {
    struct trace_id id;
    uint32_t row_first;
    _Atomic uint32_t row_last, n_rows, root_row;
    _Atomic uint64_t start_ns, end_ns;
    uint64_t raw_bytes; /* writer only, as what follows */
    uint32_t seen_s;    /* arrival of its newest span */
    uint64_t ids;       /* a bit for each span, by its hash: what is not in it is no duplicate */
};
/* Duplicates in a trace of fewer rows are looked for along its rows, and in larger ones by
 * dup_index, which has all their rows. */
#define HEAD_TRACE_WALK 32u

/* An interned resource or scope message: its row is its index. */
struct head_object {
    struct str raw, url;
};

/* Traces by the second of their newest span, for the last idle_s seconds up to now_s. */
struct head_live {
    uint32_t idle_s, now_s, n;
    uint32_t mask; /* of ring */
    uint32_t *ring;
};

struct head {
    struct part part;
    uint32_t magic;
    struct head_mem mem;
    uint64_t seed;
    struct strings strings;
    struct columns columns;

    _Atomic uint64_t seen;                   /* n_traces << 32 | n_rows */
    uint32_t n_rows, n_traces;               /* writer's */
    _Atomic(struct head_group **) groups;    /* grows by replacement */
    uint32_t n_groups, groups_cap;           /* writer's */
    struct chunks traces;                    /* struct head_trace */
    struct probe trace_index, dup_index;     /* trace number; span row of a large trace */
    struct seg resources, scopes;            /* row = number */
    struct chunks resource_keys, scope_keys; /* struct head_object */
    struct probe resource_index, scope_index;
    _Atomic uint64_t min_start_ns, max_end_ns;

    /* Writer's scratch. */
    uint32_t *rows_of; /* batch resource, then scope -> row + 1 */
    uint32_t rows_of_cap;
    col_id *shape;
    uint32_t shape_cap;

    struct head_live live;
    uint64_t raw_bytes;
    uint64_t wanted; /* by the last batch that was refused for memory, of an empty head */
    uint32_t first_arrival_s, last_arrival_s;
};

extern const struct part_ops head_part_ops;
void head_destroy(struct part *p);
enum ec head_reader_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err);

static inline uint64_t head_seen(uint32_t n_traces, uint32_t n_rows)
{
    return (uint64_t)n_traces << 32 | n_rows;
}
static inline struct head_trace *head_trace_at(const struct head *h, uint32_t i)
{
    return chunks_at(&h->traces, i);
}
/* Readers: for a row that was published to them. */
static inline struct head_group *head_group_at(const struct head *h, uint32_t g)
{
    return atomic_load_explicit(&h->groups, memory_order_seq_cst)[g];
}
static inline uint32_t head_trace_hash(const struct head *h, const struct trace_id *id)
{
    uint64_t lo = get_u64le(id->b), hi = get_u64le(id->b + 8);
    return (uint32_t)(hash_mix(hash_mix(lo ^ h->seed) ^ hi) >> 32);
}
uint32_t head_trace_find(const struct head *h, const struct trace_id *id, uint32_t hash);

/* bound.c: what head_insert of the batch takes at most; the second looks at every span. */
uint64_t bound_quick(const struct head *h, const struct batch *b);
uint64_t bound_tight(const struct head *h, const struct batch *b);

/* admit.c: counts of live traces. */
void head_live_init(struct head_live *l);
void head_live_deinit(struct head_live *l);
/* Moves to second now_s (never back), forgetting what has become idle. */
void head_live_advance(struct head_live *l, uint32_t now_s);
bool head_live_has(const struct head_live *l, uint32_t seen_s);
/* A trace got a span at now_s; had: it has been seen at old_s before. */
void head_live_touch(struct head_live *l, bool had, uint32_t old_s, uint32_t now_s);
