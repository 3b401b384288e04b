/* SPDX-License-Identifier: Apache-2.0
 * Inserting a batch: the hot path of ingest.
 *
 * Memory was reserved by head_reserve, so nothing here fails. All rows of the batch are written
 * first, then published with one store to head.seen.
 */
#include "head_impl.h"

/* State of one head_insert. */
struct insert {
    struct head *h;
    const struct batch *b;
    uint32_t arrival_s;
    struct trace_id last_id; /* the trace of the span before: spans of one trace come in runs */
    uint32_t last_trace;     /* PROBE_NONE: none yet */
    uint32_t last_hash;
};

static uint32_t *insert_scratch(struct head_mem *m, uint32_t *p, uint32_t *cap, uint32_t need)
{
    if (need <= *cap)
        return p;
    mem_free(m, p, *cap * sizeof(*p));
    *cap = need + need / 2 + 16;
    return mem_block(m, *cap * sizeof(*p));
}

static inline uint32_t insert_code(struct head *h, struct str s)
{
    return strings_intern(&h->strings, s);
}

/* WHY the comparison first: values of a column come in runs, and hashing costs more. */
static inline uint32_t insert_code_of(struct head *h, struct column *c, struct str s)
{
    struct str last = strings_get(&h->strings, c->code);
    if (last.n == s.n && mem_same(last.p, s.p, s.n))
        return c->code;
    return c->code = insert_code(h, s);
}

/* Writes the attributes of a row and returns its shape. */
static uint32_t insert_attrs(
    struct head *h, struct seg *s, uint32_t row, const struct attr *attrs, uint32_t n)
{
    if (n == 0)
        return 0;
    h->shape = insert_scratch(&h->mem, h->shape, &h->shape_cap, n);
    col_id *shape = h->shape;
    uint32_t *guess = &h->columns.guess_first[s->table];
    for (uint32_t i = 0; i < n; i++) {
        const struct value *v = &attrs[i].value;
        struct column *c = columns_follow(&h->columns, s->table, attrs[i].key, v->type, &guess);
        shape[i] = c->id;
        switch (v->type) {
        case VALUE_STR:
        case VALUE_BYTES:
        case VALUE_ARRAY:
        case VALUE_KVLIST:
            seg_put_u32(s, &h->mem, c->slot, row, insert_code_of(h, c, v->s));
            break;
        case VALUE_INT:
            seg_put_u64(s, &h->mem, c->slot, row, (uint64_t)v->i);
            break;
        case VALUE_DOUBLE: {
            uint64_t bits;
            memcpy(&bits, &v->d, sizeof(bits));
            seg_put_u64(s, &h->mem, c->slot, row, bits);
            break;
        }
        case VALUE_BOOL:
            seg_put_u8(s, &h->mem, c->slot, row, v->b);
            break;
        case VALUE_EMPTY:
        case VALUE_TYPES:
            ASSERT(v->type == VALUE_EMPTY);
            seg_put_u8(s, &h->mem, c->slot, row, 0);
            break;
        }
    }
    return shapes_need(&h->columns, shape, n);
}

/* The number of an object with these bytes, or PROBE_NONE and a hash to add it with. */
static uint32_t insert_object_find(const struct head *h, const struct chunks *keys,
    const struct probe *index, struct str raw, struct str url, uint32_t *ret_hash)
{
    uint64_t hash = hash64_seed(raw.p, raw.n, h->seed);
    if (url.n != 0)
        hash = hash_mix(hash ^ hash64_seed(url.p, url.n, h->seed));
    *ret_hash = (uint32_t)hash;
    struct probe_it it = probe_start(index, *ret_hash);
    for (uint32_t i; (i = probe_next(&it)) != PROBE_NONE;) {
        const struct head_object *o = chunks_at(keys, i);
        if (str_eq(o->raw, raw) && str_eq(o->url, url))
            return i;
    }
    return PROBE_NONE;
}

static uint32_t insert_resource(struct insert *in, uint32_t i_resource)
{
    struct head *h = in->h;
    uint32_t *known = &h->rows_of[i_resource];
    if (LIKELY(*known != 0))
        return *known - 1;
    const struct batch_resource *r = &in->b->resources[i_resource];
    uint32_t hash;
    uint32_t row =
        insert_object_find(h, &h->resource_keys, &h->resource_index, r->raw, r->schema_url, &hash);
    if (row == PROBE_NONE) {
        struct seg *s = &h->resources;
        struct seg_dense *d = seg_row_room(s, &h->mem);
        row = atomic_load_explicit(&s->n, memory_order_relaxed);
        struct head_object *o = chunks_add(&h->resource_keys, &h->mem, row);
        *o = (struct head_object){mem_str(&h->mem, r->raw), mem_str(&h->mem, r->schema_url)};
        uint32_t shape = insert_attrs(h, s, row, in->b->attrs + r->attr_first, r->attr_n);
        ((uint32_t *)d->col[RESOURCE_SHAPE])[row] = shape;
        if (r->dropped_attrs != 0)
            seg_put_u32(s, &h->mem, RESOURCE_SLOT_DROPPED_ATTRS, row, r->dropped_attrs);
        if (r->schema_url.n != 0)
            seg_put_u32(s, &h->mem, RESOURCE_SLOT_SCHEMA_URL, row, insert_code(h, r->schema_url));
        probe_add(&h->resource_index, &h->mem, hash, row);
        seg_row_publish(s);
    }
    *known = row + 1;
    return row;
}

static uint32_t insert_scope(struct insert *in, uint32_t i_scope)
{
    struct head *h = in->h;
    uint32_t *known = &h->rows_of[in->b->n_resources + i_scope];
    if (LIKELY(*known != 0))
        return *known - 1;
    const struct batch_scope *r = &in->b->scopes[i_scope];
    uint32_t hash;
    uint32_t row =
        insert_object_find(h, &h->scope_keys, &h->scope_index, r->raw, r->schema_url, &hash);
    if (row == PROBE_NONE) {
        struct seg *s = &h->scopes;
        struct seg_dense *d = seg_row_room(s, &h->mem);
        row = atomic_load_explicit(&s->n, memory_order_relaxed);
        struct head_object *o = chunks_add(&h->scope_keys, &h->mem, row);
        *o = (struct head_object){mem_str(&h->mem, r->raw), mem_str(&h->mem, r->schema_url)};
        uint32_t shape = insert_attrs(h, s, row, in->b->attrs + r->attr_first, r->attr_n);
        ((uint32_t *)d->col[SCOPE_SHAPE])[row] = shape;
        ((uint32_t *)d->col[SCOPE_NAME])[row] = insert_code(h, r->name);
        ((uint32_t *)d->col[SCOPE_VERSION])[row] = insert_code(h, r->version);
        if (r->dropped_attrs != 0)
            seg_put_u32(s, &h->mem, SCOPE_SLOT_DROPPED_ATTRS, row, r->dropped_attrs);
        if (r->schema_url.n != 0)
            seg_put_u32(s, &h->mem, SCOPE_SLOT_SCHEMA_URL, row, insert_code(h, r->schema_url));
        probe_add(&h->scope_index, &h->mem, hash, row);
        seg_row_publish(s);
    }
    *known = row + 1;
    return row;
}

static void insert_events(struct insert *in, struct head_group *g, uint32_t row,
    const struct batch_event *events, uint32_t n)
{
    struct head *h = in->h;
    struct seg *s = &g->events;
    for (uint32_t i = 0; i < n; i++) {
        const struct batch_event *e = &events[i];
        struct seg_dense *d = seg_row_room(s, &h->mem);
        uint32_t at = atomic_load_explicit(&s->n, memory_order_relaxed);
        ((uint32_t *)d->col[EVENT_SPAN])[at] = row;
        ((uint64_t *)d->col[EVENT_TIME])[at] = e->time_ns;
        ((uint32_t *)d->col[EVENT_NAME])[at] = insert_code(h, e->name);
        ((uint32_t *)d->col[EVENT_SHAPE])[at] =
            insert_attrs(h, s, at, in->b->attrs + e->attr_first, e->attr_n);
        if (e->dropped_attrs != 0)
            seg_put_u32(s, &h->mem, EVENT_SLOT_DROPPED_ATTRS, at, e->dropped_attrs);
        g->n_attrs += e->attr_n;
        seg_row_publish(s);
    }
}

static void insert_links(struct insert *in, struct head_group *g, uint32_t row,
    const struct batch_link *links, uint32_t n)
{
    struct head *h = in->h;
    struct seg *s = &g->links;
    for (uint32_t i = 0; i < n; i++) {
        const struct batch_link *l = &links[i];
        struct seg_dense *d = seg_row_room(s, &h->mem);
        uint32_t at = atomic_load_explicit(&s->n, memory_order_relaxed);
        ((uint32_t *)d->col[LINK_SPAN])[at] = row;
        ((struct trace_id *)d->col[LINK_TRACE_ID])[at] = l->trace_id;
        ((uint64_t *)d->col[LINK_SPAN_ID])[at] = l->span_id;
        ((uint32_t *)d->col[LINK_FLAGS])[at] = l->flags;
        ((uint32_t *)d->col[LINK_SHAPE])[at] =
            insert_attrs(h, s, at, in->b->attrs + l->attr_first, l->attr_n);
        if (l->trace_state.n != 0)
            seg_put_u32(s, &h->mem, LINK_SLOT_TRACE_STATE, at, insert_code(h, l->trace_state));
        if (l->dropped_attrs != 0)
            seg_put_u32(s, &h->mem, LINK_SLOT_DROPPED_ATTRS, at, l->dropped_attrs);
        g->n_attrs += l->attr_n;
        seg_row_publish(s);
    }
}

static struct head_group *insert_group_new(struct head *h)
{
    struct head_group **old = atomic_load_explicit(&h->groups, memory_order_relaxed);
    if (h->n_groups == h->groups_cap) {
        uint32_t cap = h->groups_cap == 0 ? 4 : 2 * h->groups_cap;
        struct head_group **groups = mem_block_zero(&h->mem, cap * sizeof(struct head_group *));
        if (h->n_groups != 0)
            memcpy(groups, old, h->n_groups * sizeof(struct head_group *));
        atomic_store_explicit(&h->groups, groups, memory_order_seq_cst);
        mem_retire(&h->mem, (void *)old, h->groups_cap * sizeof(struct head_group *));
        h->groups_cap = cap;
        old = groups;
    }
    struct head_group *before = h->n_groups == 0 ? NULL : old[h->n_groups - 1];
    struct head_group *g = mem_keep(&h->mem, sizeof(*g));
    *g = (struct head_group){.row_first = h->n_rows};
    atomic_init(&g->min_start_ns, UINT64_MAX);
    seg_init(&g->spans, TABLE_SPANS, before == NULL ? NULL : &before->spans);
    seg_init(&g->events, TABLE_EVENTS, before == NULL ? NULL : &before->events);
    seg_init(&g->links, TABLE_LINKS, before == NULL ? NULL : &before->links);
    if (before != NULL) /* a head that filled one group will likely fill the next */
        seg_dense_grow(&g->spans, &h->mem, PART_GROUP_ROWS);
    old[h->n_groups++] = g;
    return g;
}

static inline struct head_group *insert_group(struct head *h)
{
    if (UNLIKELY(h->n_rows % PART_GROUP_ROWS == 0))
        return insert_group_new(h);
    return atomic_load_explicit(&h->groups, memory_order_relaxed)[h->n_groups - 1];
}

static inline uint32_t insert_dup_hash(
    const struct head *h, uint32_t trace_hash, span_id id, uint32_t kind)
{
    uint64_t key = id ^ h->seed ^ ((uint64_t)trace_hash << 32 | kind);
    return (uint32_t)(hash_mix(key) >> 32);
}

static inline const struct seg_dense *insert_dense_of(const struct head *h, uint32_t row)
{
    struct head_group **groups = atomic_load_explicit(&h->groups, memory_order_relaxed);
    return atomic_load_explicit(&groups[row >> GROUP_BITS]->spans.dense, memory_order_relaxed);
}

static bool insert_is_dup_indexed(
    const struct head *h, uint32_t trace, const struct batch_span *s, uint32_t hash)
{
    struct probe_it it = probe_start(&h->dup_index, hash);
    for (uint32_t row; (row = probe_next(&it)) != PROBE_NONE;) {
        const struct seg_dense *d = insert_dense_of(h, row);
        uint32_t at = row % PART_GROUP_ROWS;
        if (((uint64_t *)d->col[SPAN_ID])[at] == s->span_id &&
            ((uint32_t *)d->col[SPAN_KIND])[at] == (uint32_t)s->kind &&
            ((uint32_t *)d->col[SPAN_TRACE])[at] == trace)
            return true;
    }
    return false;
}

static bool insert_is_dup_walked(
    const struct head *h, const struct head_trace *t, const struct batch_span *s)
{
    uint32_t row = atomic_load_explicit(&t->row_last, memory_order_relaxed);
    while (row != PART_NONE) {
        const struct seg_dense *d = insert_dense_of(h, row);
        uint32_t at = row % PART_GROUP_ROWS;
        if (((uint64_t *)d->col[SPAN_ID])[at] == s->span_id &&
            ((uint32_t *)d->col[SPAN_KIND])[at] == (uint32_t)s->kind)
            return true;
        row = ((uint32_t *)d->col[SPAN_PREV])[at];
    }
    return false;
}

/* The trace has become a large one. */
static void insert_index_rows(struct head *h, const struct head_trace *t, uint32_t trace_hash)
{
    uint32_t row = atomic_load_explicit(&t->row_last, memory_order_relaxed);
    while (row != PART_NONE) {
        const struct seg_dense *d = insert_dense_of(h, row);
        uint32_t at = row % PART_GROUP_ROWS;
        uint32_t hash = insert_dup_hash(
            h, trace_hash, ((uint64_t *)d->col[SPAN_ID])[at], ((uint32_t *)d->col[SPAN_KIND])[at]);
        probe_add(&h->dup_index, &h->mem, hash, row);
        row = ((uint32_t *)d->col[SPAN_PREV])[at];
    }
}

/* Whether the trace has the span; if not, it will be found as row h->n_rows from now on.
 *
 * WHY the two ways: most traces have a dozen spans that come together. Their rows are in the cache,
 * a slot for each of them in an index of hundreds of thousands is not; and where they come one by
 * one, the bits nearly always say that there is nothing to look for. */
static bool insert_is_dup(
    struct head *h, uint32_t trace, uint32_t trace_hash, const struct batch_span *s)
{
    struct head_trace *t = head_trace_at(h, trace);
    uint32_t hash = insert_dup_hash(h, trace_hash, s->span_id, (uint32_t)s->kind);
    uint32_t n = atomic_load_explicit(&t->n_rows, memory_order_relaxed);
    uint64_t bit = (uint64_t)1 << (hash & 63);
    if ((t->ids & bit) != 0 && (n < HEAD_TRACE_WALK ? insert_is_dup_walked(h, t, s)
                                                    : insert_is_dup_indexed(h, trace, s, hash)))
        return true;
    t->ids |= bit;
    if (LIKELY(n + 1 < HEAD_TRACE_WALK))
        return false;
    if (n + 1 == HEAD_TRACE_WALK)
        insert_index_rows(h, t, trace_hash);
    probe_add(&h->dup_index, &h->mem, hash, h->n_rows);
    return false;
}

static uint32_t insert_trace_new(struct head *h, const struct trace_id *id, uint32_t hash)
{
    uint32_t i = h->n_traces++;
    struct head_trace *t = chunks_add(&h->traces, &h->mem, i);
    t->id = *id;
    t->row_first = h->n_rows;
    atomic_store_explicit(&t->row_last, PART_NONE, memory_order_relaxed);
    atomic_store_explicit(&t->root_row, PART_NONE, memory_order_relaxed);
    atomic_store_explicit(&t->start_ns, UINT64_MAX, memory_order_relaxed);
    probe_add(&h->trace_index, &h->mem, hash, i);
    return i;
}

/* Adds the row to its trace. `row_last` first, the rest with release: see head_impl.h. */
static uint32_t insert_trace_row(
    struct insert *in, uint32_t trace, const struct batch_span *s, uint64_t end_ns)
{
    struct head *h = in->h;
    struct head_trace *t = head_trace_at(h, trace);
    uint32_t before = atomic_load_explicit(&t->row_last, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&t->n_rows, memory_order_relaxed);
    atomic_store_explicit(&t->row_last, h->n_rows, memory_order_release);
    atomic_store_explicit(&t->n_rows, n + 1, memory_order_release);
    if (s->parent_id == 0)
        atomic_store_explicit(&t->root_row, h->n_rows, memory_order_release);
    if (s->start_ns < atomic_load_explicit(&t->start_ns, memory_order_relaxed))
        atomic_store_explicit(&t->start_ns, s->start_ns, memory_order_release);
    if (end_ns > atomic_load_explicit(&t->end_ns, memory_order_relaxed))
        atomic_store_explicit(&t->end_ns, end_ns, memory_order_release);
    t->raw_bytes += s->raw_bytes;
    if (before == PART_NONE || t->seen_s < in->arrival_s) {
        head_live_touch(&h->live, before != PART_NONE, t->seen_s, in->arrival_s);
        t->seen_s = in->arrival_s;
    }
    return before;
}

static inline void insert_max(_Atomic uint64_t *at, uint64_t v)
{
    if (v > atomic_load_explicit(at, memory_order_relaxed))
        atomic_store_explicit(at, v, memory_order_relaxed);
}
static inline void insert_min(_Atomic uint64_t *at, uint64_t v)
{
    if (v < atomic_load_explicit(at, memory_order_relaxed))
        atomic_store_explicit(at, v, memory_order_relaxed);
}

static void insert_sparse(
    struct head *h, struct seg *s, uint32_t row, const struct batch_span *span)
{
    struct head_mem *m = &h->mem;
    if (span->status_message.n != 0)
        seg_put_u32(s, m, SPAN_SLOT_MESSAGE, row, insert_code(h, span->status_message));
    if (span->trace_state.n != 0)
        seg_put_u32(s, m, SPAN_SLOT_TRACE_STATE, row, insert_code(h, span->trace_state));
    if (span->dropped_attrs != 0)
        seg_put_u32(s, m, SPAN_SLOT_DROPPED_ATTRS, row, span->dropped_attrs);
    if (span->dropped_events != 0)
        seg_put_u32(s, m, SPAN_SLOT_DROPPED_EVENTS, row, span->dropped_events);
    if (span->dropped_links != 0)
        seg_put_u32(s, m, SPAN_SLOT_DROPPED_LINKS, row, span->dropped_links);
}

/* Writes the span as row h->n_rows. */
static void insert_span(struct insert *in, const struct batch_span *s, uint32_t trace)
{
    struct head *h = in->h;
    struct head_group *g = insert_group(h);
    struct seg_dense *d = seg_row_room(&g->spans, &h->mem);
    uint32_t row = h->n_rows - g->row_first;
    uint64_t end_ns = MAX(s->start_ns, s->end_ns);
    ((uint32_t *)d->col[SPAN_TRACE])[row] = trace;
    ((uint64_t *)d->col[SPAN_ID])[row] = s->span_id;
    ((uint64_t *)d->col[SPAN_PARENT])[row] = s->parent_id;
    ((uint64_t *)d->col[SPAN_START])[row] = s->start_ns;
    ((uint64_t *)d->col[SPAN_DURATION])[row] = s->end_ns - s->start_ns;
    ((uint32_t *)d->col[SPAN_NAME])[row] = insert_code(h, s->name);
    ((uint32_t *)d->col[SPAN_KIND])[row] = (uint32_t)s->kind;
    ((uint32_t *)d->col[SPAN_STATUS])[row] = (uint32_t)s->status_code;
    ((uint32_t *)d->col[SPAN_FLAGS])[row] = s->flags;
    ((uint32_t *)d->col[SPAN_RESOURCE])[row] = insert_resource(in, s->resource);
    ((uint32_t *)d->col[SPAN_SCOPE])[row] = insert_scope(in, s->scope);
    ((uint32_t *)d->col[SPAN_ARRIVAL])[row] = in->arrival_s;
    ((uint32_t *)d->col[SPAN_SHAPE])[row] =
        insert_attrs(h, &g->spans, row, in->b->attrs + s->attr_first, s->attr_n);
    g->n_attrs += s->attr_n;
    insert_sparse(h, &g->spans, row, s);
    insert_events(in, g, row, in->b->events + s->event_first, s->event_n);
    insert_links(in, g, row, in->b->links + s->link_first, s->link_n);
    ((uint32_t *)d->col[SPAN_PREV])[row] =
        atomic_load_explicit(&head_trace_at(h, trace)->row_last, memory_order_relaxed);
    insert_trace_row(in, trace, s, end_ns);
    insert_min(&g->min_start_ns, s->start_ns);
    insert_max(&g->max_start_ns, s->start_ns);
    insert_max(&g->max_end_ns, end_ns);
    seg_row_publish(&g->spans);
    h->raw_bytes += s->raw_bytes;
    h->n_rows++;
}

/* The trace of a span; PROBE_NONE when the span is a duplicate. */
static uint32_t insert_trace(struct insert *in, const struct batch_span *s)
{
    struct head *h = in->h;
    if (in->last_trace == PROBE_NONE || !trace_id_eq(&in->last_id, &s->trace_id)) {
        in->last_id = s->trace_id;
        in->last_hash = head_trace_hash(h, &s->trace_id);
        in->last_trace = head_trace_find(h, &s->trace_id, in->last_hash);
    }
    if (in->last_trace == PROBE_NONE)
        in->last_trace = insert_trace_new(h, &s->trace_id, in->last_hash);
    return insert_is_dup(h, in->last_trace, in->last_hash, s) ? PROBE_NONE : in->last_trace;
}

void head_insert(struct head *h, const struct batch *b, uint32_t arrival_s, uint32_t *ret_dups)
{
    ASSERT(h->magic == HEAD_MAGIC);
    struct insert in = {.h = h, .b = b, .arrival_s = arrival_s, .last_trace = PROBE_NONE};
    uint32_t dups = 0, first = h->n_rows, n_objects = b->n_resources + b->n_scopes;
    head_live_advance(&h->live, arrival_s);
    h->rows_of = insert_scratch(&h->mem, h->rows_of, &h->rows_of_cap, n_objects);
    if (n_objects != 0)
        memset(h->rows_of, 0, n_objects * sizeof(h->rows_of[0]));
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *s = &b->spans[i];
        if (s->reject != SPAN_ACCEPTED)
            continue;
        uint32_t trace = insert_trace(&in, s);
        if (UNLIKELY(trace == PROBE_NONE)) {
            dups++;
            continue;
        }
        insert_span(&in, s, trace);
        insert_min(&h->min_start_ns, s->start_ns);
        insert_max(&h->max_end_ns, MAX(s->start_ns, s->end_ns));
    }
    if (h->n_rows != first) {
        h->first_arrival_s = first == 0 ? arrival_s : MIN(h->first_arrival_s, arrival_s);
        h->last_arrival_s = MAX(h->last_arrival_s, arrival_s);
        atomic_store_explicit(&h->seen, head_seen(h->n_traces, h->n_rows), memory_order_release);
    }
    mem_settle(&h->mem);
    *ret_dups = dups;
}
