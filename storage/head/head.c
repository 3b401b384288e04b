/* SPDX-License-Identifier: Apache-2.0
 * A head's life: creation, the memory bound of a batch, statistics, destruction. */
#include "storage/head.h"

#include <stdlib.h>
#include <sys/random.h>

#include "head_impl.h"

/* Worst cases of one string, span and so on in the arena (header of a chunk of its own,
 * alignment). */
#define ARENA_PIECE 32u

enum ec head_new(struct budget *budget, struct head **ret, struct err *err)
{
    struct head *h = xcalloc(1, sizeof(*h));
    mem_init(&h->mem, budget);
    /* The empty head: first slots of its tables. */
    if (!mem_reserve(&h->mem, 32u << 10)) {
        mem_deinit(&h->mem);
        free(h);
        return ERR(err, EC_LIMIT, "no memory for a head");
    }
    h->magic = HEAD_MAGIC;
    h->part.ops = &head_part_ops;
    h->part.is_head = true;
    atomic_init(&h->part.refs, 1);
    struct {
        uint64_t seed;
        uint8_t uuid[16];
    } random;
    /* Short reads and failures do not happen for 24 bytes once the pool is up. */
    ASSERT(getrandom(&random, sizeof(random), 0) == (ssize_t)sizeof(random));
    h->seed = random.seed;
    memcpy(h->part.uuid, random.uuid, sizeof(random.uuid));
    h->part.uuid[6] = (uint8_t)((h->part.uuid[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    h->part.uuid[8] = (uint8_t)((h->part.uuid[8] & 0x3f) | 0x80);
    strings_init(&h->strings, &h->mem, h->seed);
    columns_init(&h->columns, &h->mem, h->seed);
    h->traces.elem_bytes = sizeof(struct head_trace);
    h->resource_keys.elem_bytes = h->scope_keys.elem_bytes = sizeof(struct head_object);
    probe_init(&h->trace_index, &h->mem);
    probe_init(&h->dup_index, &h->mem);
    probe_init(&h->resource_index, &h->mem);
    probe_init(&h->scope_index, &h->mem);
    seg_init(&h->resources, TABLE_RESOURCES, NULL);
    seg_init(&h->scopes, TABLE_SCOPES, NULL);
    atomic_init(&h->min_start_ns, UINT64_MAX);
    head_live_init(&h->live);
    mem_settle(&h->mem);
    *ret = h;
    return EC_OK;
}

struct part *head_part(struct head *h)
{
    ASSERT(h->magic == HEAD_MAGIC);
    return &h->part;
}

void head_free(struct head *h)
{
    if (h == NULL)
        return;
    ASSERT(h->magic == HEAD_MAGIC);
    part_unref(&h->part);
}

void head_destroy(struct part *p)
{
    struct head *h = (struct head *)p;
    ASSERT(h->magic == HEAD_MAGIC);
    h->magic = 0;
    struct head_group **groups = atomic_load_explicit(&h->groups, memory_order_relaxed);
    for (uint32_t g = 0; g < h->n_groups; g++) {
        seg_deinit(&groups[g]->spans, &h->mem);
        seg_deinit(&groups[g]->events, &h->mem);
        seg_deinit(&groups[g]->links, &h->mem);
    }
    mem_free(&h->mem, (void *)groups, h->groups_cap * sizeof(struct head_group *));
    seg_deinit(&h->resources, &h->mem);
    seg_deinit(&h->scopes, &h->mem);
    strings_deinit(&h->strings);
    columns_deinit(&h->columns);
    chunks_free(&h->traces, &h->mem);
    chunks_free(&h->resource_keys, &h->mem);
    chunks_free(&h->scope_keys, &h->mem);
    probe_free(&h->trace_index, &h->mem);
    probe_free(&h->dup_index, &h->mem);
    probe_free(&h->resource_index, &h->mem);
    probe_free(&h->scope_index, &h->mem);
    mem_free(&h->mem, h->rows_of, h->rows_of_cap * sizeof(h->rows_of[0]));
    mem_free(&h->mem, h->shape, h->shape_cap * sizeof(h->shape[0]));
    head_live_deinit(&h->live);
    mem_deinit(&h->mem);
    free(h);
}

uint32_t head_trace_find(const struct head *h, const struct trace_id *id, uint32_t hash)
{
    struct probe_it it = probe_start(&h->trace_index, hash);
    for (uint32_t i; (i = probe_next(&it)) != PROBE_NONE;)
        if (LIKELY(trace_id_eq(&head_trace_at(h, i)->id, id)))
            return i;
    return PROBE_NONE;
}

/* Bytes that the segments of the groups, this one and new ones, may take for this batch, but for
 * seg_values_bound. */
static uint64_t head_groups_bound(const struct head *h, const struct batch *b, uint64_t values)
{
    uint64_t bytes = 0, room = 0, dirs = 0;
    if (h->n_groups != 0) {
        const struct head_group *g = head_group_at(h, h->n_groups - 1);
        room = PART_GROUP_ROWS - (h->n_rows - g->row_first);
        bytes += seg_bound(&g->spans, MIN(b->n_spans, room));
        bytes += seg_bound(&g->events, b->n_events);
        bytes += seg_bound(&g->links, b->n_links);
        dirs = g->spans.dir_cap + g->events.dir_cap + g->links.dir_cap;
        if (b->n_spans > room) /* a new group's columns start as large as these */
            bytes += 2 * (g->spans.sparse_bytes + g->events.sparse_bytes + g->links.sparse_bytes);
    }
    if (b->n_spans <= room)
        return bytes;
    /* New groups. What this batch puts into one is repeated as the first size in the next. */
    uint64_t n_groups = (b->n_spans - room + PART_GROUP_ROWS - 1) / PART_GROUP_ROWS;
    bytes += seg_values_bound(values);
    for (uint32_t t = TABLE_SPANS; t <= TABLE_LINKS; t++) {
        struct seg s;
        seg_init(&s, t, NULL);
        bytes += seg_bound(&s, t == TABLE_SPANS    ? MIN(b->n_spans, PART_GROUP_ROWS)
                               : t == TABLE_EVENTS ? b->n_events + 16 * n_groups
                                                   : b->n_links + 16 * n_groups);
    }
    dirs = (dirs + 64 + 2 * (uint64_t)b->n_attrs) * sizeof(struct seg_entry);
    uint64_t dense = (uint64_t)PART_GROUP_ROWS * seg_row_bytes(TABLE_SPANS);
    bytes += n_groups * (dense + dirs + sizeof(struct head_group) + 8192);
    bytes += 4 * (h->n_groups + n_groups + 16) * sizeof(struct head_group *);
    return bytes;
}

/* Upper bound of what head_insert takes for the batch, whatever is new in it. Strings are views
 * into b->raw and do not overlap, so their bytes are bounded by its size; resources and scopes are
 * kept a second time as their message. */
static uint64_t head_bound(const struct head *h, const struct batch *b)
{
    uint64_t spans = b->n_spans, attrs = b->n_attrs, events = b->n_events, links = b->n_links;
    uint64_t objects = (uint64_t)b->n_resources + b->n_scopes;
    uint64_t rows = spans + events + links + objects;
    uint64_t strings = attrs + 3 * spans + events + links + 3 * objects;
    const struct columns *c = &h->columns;
    uint64_t values = attrs + 5 * spans + events + 2 * links + 2 * objects;
    uint64_t bytes = head_groups_bound(h, b, values) + seg_values_bound(values);
    bytes += seg_bound(&h->resources, b->n_resources);
    bytes += seg_bound(&h->scopes, b->n_scopes);
    bytes += chunks_bound(&h->strings.entries, h->strings.index.n, strings);
    bytes += probe_bound(&h->strings.index, strings);
    bytes += chunks_bound(&c->cols, c->col_index.n, attrs);
    bytes += probe_bound(&c->col_index, attrs);
    bytes += chunks_bound(&c->shapes, c->shape_index.n, rows);
    bytes += probe_bound(&c->shape_index, rows);
    bytes += chunks_bound(&h->traces, h->n_traces, spans);
    bytes += probe_bound(&h->trace_index, spans);
    bytes += probe_bound(&h->dup_index, spans);
    bytes += chunks_bound(&h->resource_keys, h->resource_index.n, b->n_resources);
    bytes += chunks_bound(&h->scope_keys, h->scope_index.n, b->n_scopes);
    bytes += probe_bound(&h->resource_index, b->n_resources);
    bytes += probe_bound(&h->scope_index, b->n_scopes);
    bytes += (attrs + 64) * 2 * sizeof(h->shape[0]);
    bytes += (objects + 64) * 2 * sizeof(h->rows_of[0]);
    uint64_t kept = 2 * b->raw.n + attrs * sizeof(col_id) +
                    (strings + attrs + rows + 2 * objects) * ARENA_PIECE;
    return bytes + mem_arena_bound(&h->mem, kept);
}

enum ec head_reserve(struct head *h, const struct batch *b, struct err *err)
{
    ASSERT(h->magic == HEAD_MAGIC);
    uint64_t in_group = 0;
    if (h->n_groups != 0) {
        const struct head_group *g = head_group_at(h, h->n_groups - 1);
        in_group = MAX(g->n_attrs, atomic_load_explicit(&g->events.n, memory_order_relaxed));
        in_group = MAX(in_group, atomic_load_explicit(&g->links.n, memory_order_relaxed));
    }
    uint64_t more = MAX(MAX(b->n_events, b->n_links), b->n_attrs);
    if ((uint64_t)h->n_rows + b->n_spans > HEAD_ROWS_MAX || in_group + more > HEAD_ROWS_MAX)
        return ERR(err, EC_LIMIT, "head is full: %u spans", h->n_rows);
    uint64_t bound = head_bound(h, b);
    if (!mem_reserve(&h->mem, bound))
        return ERR(err, EC_LIMIT, "no memory for %u spans: %llu bytes wanted", b->n_spans,
            (unsigned long long)bound);
    return EC_OK;
}

uint64_t head_bytes(const struct head *h)
{
    return mem_used(&h->mem);
}

void head_stats(struct head *h, uint32_t now_s, struct head_stats *ret)
{
    ASSERT(h->magic == HEAD_MAGIC);
    head_live_advance(&h->live, now_s);
    *ret = (struct head_stats){
        .memory_bytes = mem_used(&h->mem),
        .raw_bytes = h->raw_bytes,
        .n_spans = h->n_rows,
        .n_traces = h->n_traces,
        .n_traces_live = h->live.n,
        .first_arrival_s = h->first_arrival_s,
        .last_arrival_s = h->last_arrival_s,
    };
}
