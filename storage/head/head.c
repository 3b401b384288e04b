/* SPDX-License-Identifier: Apache-2.0
 * A head's life: creation, reservation for a batch, statistics, destruction. */
#include "storage/head.h"

#include <stdlib.h>
#include <sys/random.h>

#include "head_impl.h"

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

static enum ec head_rows_fit(const struct head *h, const struct batch *b, struct err *err)
{
    uint64_t in_group = 0;
    if (h->n_groups != 0) {
        const struct head_group *g = head_group_at(h, h->n_groups - 1);
        in_group = MAX(g->n_attrs, atomic_load_explicit(&g->events.n, memory_order_relaxed));
        in_group = MAX(in_group, atomic_load_explicit(&g->links.n, memory_order_relaxed));
    }
    uint64_t more = MAX(MAX(b->n_events, b->n_links), b->n_attrs);
    if ((uint64_t)h->n_rows + b->n_spans > HEAD_ROWS_MAX || in_group + more > HEAD_ROWS_MAX)
        return ERR(err, EC_LIMIT, "head is full: %u spans", h->n_rows);
    return EC_OK;
}

/* What the batch takes in a head of its own, that head included: at most this is wanted once all
 * others have been written. */
static enum ec head_alone(const struct batch *b, uint64_t *ret, struct err *err)
{
    struct head *empty;
    TRY(head_new(NULL, &empty, err));
    *ret = mem_used(&empty->mem) + bound_tight(empty, b);
    head_free(empty);
    return EC_OK;
}

/* WHY the quick bound is enough of a reason to refuse when it is small: such a request fits as soon
 * as anything has been written, and a refusal in an overload must be cheap. */
enum ec head_reserve(struct head *h, const struct batch *b, struct err *err)
{
    ASSERT(h->magic == HEAD_MAGIC);
    TRY(head_rows_fit(h, b, err));
    uint64_t want = bound_quick(h, b), most = budget_most(h->mem.budget);
    if (LIKELY(mem_reserve(&h->mem, want)))
        return EC_OK;
    h->wanted = want;
    if (want > most / 4) {
        want = bound_tight(h, b);
        if (mem_reserve(&h->mem, want))
            return EC_OK;
        TRY(head_alone(b, &h->wanted, err));
        if (h->wanted > most)
            return ERR(err, EC_TOO_LARGE,
                "%u spans in one request need up to %llu bytes of memory, and there are %llu for "
                "all that is new: send fewer at once",
                b->n_spans, (unsigned long long)h->wanted, (unsigned long long)most);
    }
    return ERR(err, EC_LIMIT, "no memory for %u spans: %llu bytes wanted", b->n_spans,
        (unsigned long long)want);
}

enum ec head_room(struct head *h, const struct batch *b, struct err *err)
{
    TRY(head_reserve(h, b, err));
    mem_settle(&h->mem);
    return EC_OK;
}

enum ec head_reserve_force(struct head *h, const struct batch *b, struct err *err)
{
    ASSERT(h->magic == HEAD_MAGIC);
    TRY(head_rows_fit(h, b, err));
    mem_reserve_force(&h->mem, bound_tight(h, b));
    return EC_OK;
}

uint64_t head_wanted(const struct head *h)
{
    return h->wanted;
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
