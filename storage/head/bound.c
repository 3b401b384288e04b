/* SPDX-License-Identifier: Apache-2.0
 * What a batch may take in a head at most.
 *
 * One formula (bound_bytes) over the counts of what is new in the batch, and two ways to them:
 * - at once, from the sizes of the batch's arrays, as if every value was of a column of its own and
 *   every string a new one. A usual request of a few hundred spans is reserved for with that.
 * - by looking at every span (bound_look): distinct strings, traces, columns and shapes that the
 *   head does not have yet. Some 0.1 us a value, and for a request of 100,000 small spans a tenth
 *   of the first. It is looked for when the first does not fit.
 *
 * Both are upper bounds of what head_insert takes: blocks that growth replaces count as well, since
 * a reader may keep them, and it asserts that the bound held.
 */
#include <stdlib.h>

#include "head_impl.h"

/* What one allocation in the arena takes beside its bytes. The sanitizer's are chunks of their
 * own. */
#ifdef __SANITIZE_ADDRESS__
#define ARENA_PIECE 32u
#else
#define ARENA_PIECE 8u
#endif

/* Counts of what is new; none is less than what it will be. */
struct bound {
    uint64_t spans, events, links, resources, scopes;
    uint64_t traces;
    uint64_t strings, string_bytes; /* in the dictionary */
    uint64_t values, value_bytes;   /* of sparse columns, row numbers included */
    uint64_t used;                  /* columns that get a value, in whatever table */
    uint64_t columns, key_bytes;    /* attribute columns that the head does not have */
    uint64_t shapes, shape_cols;
    uint64_t row_attrs;    /* on one row */
    uint64_t object_bytes; /* of resources and scopes as they came */
};

/* ---- bytes of the counts ---- */

/* The directories of sparse columns of one segment of each table. They double up to the largest
 * slot, and what they replace may be kept. */
static uint64_t bound_dirs(const struct head *h, const struct bound *n)
{
    uint64_t slots = n->columns;
    for (uint32_t t = 0; t < TABLE_COUNT; t++)
        slots += h->columns.slots[t];
    return (4 * slots + 64 * TABLE_COUNT) * sizeof(struct seg_entry);
}

/* Groups that begin with this batch: their blocks, but for what grows with the values. */
static uint64_t bound_groups_new(
    const struct head *h, const struct bound *n, uint64_t n_groups, uint64_t dirs)
{
    struct seg fresh;
    uint64_t bytes = 0, full = n_groups;
    if (h->n_groups == 0) { /* the first doubles its way up, the others are made whole */
        seg_init(&fresh, TABLE_SPANS, NULL);
        bytes += seg_bound(&fresh, MIN(n->spans, PART_GROUP_ROWS));
        full--;
    } else { /* columns start as large as those of the group before */
        const struct head_group *g = head_group_at(h, h->n_groups - 1);
        bytes += 2 * (g->spans.sparse_bytes + g->events.sparse_bytes + g->links.sparse_bytes);
    }
    bytes +=
        full * (sizeof(struct seg_dense) + (uint64_t)PART_GROUP_ROWS * seg_row_bytes(TABLE_SPANS));
    bytes += 4 * (n->events + 16 * n_groups) * seg_row_bytes(TABLE_EVENTS);
    bytes += 4 * (n->links + 16 * n_groups) * seg_row_bytes(TABLE_LINKS);
    bytes += n_groups * (dirs + sizeof(struct head_group) + 8192);
    /* What this batch puts into one group is repeated as the first size in the next. */
    bytes += n->value_bytes + n->value_bytes / 8;
    return bytes + 4 * (h->n_groups + n_groups + 16) * sizeof(struct head_group *);
}

static uint64_t bound_groups(const struct head *h, const struct bound *n)
{
    uint64_t bytes = 0, room = 0, n_groups = 0, dirs = bound_dirs(h, n);
    if (h->n_groups != 0) {
        const struct head_group *g = head_group_at(h, h->n_groups - 1);
        room = PART_GROUP_ROWS - (h->n_rows - g->row_first);
        bytes += seg_bound(&g->spans, MIN(n->spans, room));
        bytes += seg_bound(&g->events, n->events);
        bytes += seg_bound(&g->links, n->links);
    }
    /* A block of c bytes that gets m more is replaced by blocks of at most 2 c + 4 m in all: they
     * double until the last but one is too small. 2 c is in seg_bound. */
    bytes += dirs + 4 * n->value_bytes;
    if (n->spans > room) {
        n_groups = (n->spans - room + PART_GROUP_ROWS - 1) / PART_GROUP_ROWS;
        bytes += bound_groups_new(h, n, n_groups, dirs);
    }
    /* The first block of a column of a group; each has a value to hold. */
    return bytes + MIN((1 + n_groups) * n->used, n->values) * seg_values_first();
}

static uint64_t bound_bytes(const struct head *h, const struct batch *b, const struct bound *n)
{
    const struct columns *c = &h->columns;
    uint64_t objects = (uint64_t)b->n_resources + b->n_scopes;
    uint64_t bytes = bound_groups(h, n);
    bytes += seg_bound(&h->resources, n->resources) + seg_bound(&h->scopes, n->scopes);
    bytes += chunks_bound(&h->strings.entries, h->strings.index.n, n->strings);
    bytes += probe_bound(&h->strings.index, n->strings);
    bytes += chunks_bound(&c->cols, c->col_index.n, n->columns);
    bytes += probe_bound(&c->col_index, n->columns);
    bytes += chunks_bound(&c->shapes, c->shape_index.n, n->shapes);
    bytes += probe_bound(&c->shape_index, n->shapes);
    bytes += chunks_bound(&h->traces, h->n_traces, n->traces);
    bytes += probe_bound(&h->trace_index, n->traces);
    /* A span may make its trace a large one, of which all rows are indexed. */
    uint64_t not_indexed = h->n_rows - h->dup_index.n;
    bytes +=
        probe_bound(&h->dup_index, n->spans + MIN(not_indexed, n->spans * (HEAD_TRACE_WALK - 1)));
    bytes += chunks_bound(&h->resource_keys, h->resource_index.n, n->resources);
    bytes += chunks_bound(&h->scope_keys, h->scope_index.n, n->scopes);
    bytes += probe_bound(&h->resource_index, n->resources);
    bytes += probe_bound(&h->scope_index, n->scopes);
    bytes += (n->row_attrs + 64) * 2 * sizeof(h->shape[0]);
    bytes += (objects + 64) * 2 * sizeof(h->rows_of[0]);
    uint64_t pieces = n->strings + n->columns + n->shapes + 2 * (n->resources + n->scopes);
    uint64_t kept = n->string_bytes + n->key_bytes + n->object_bytes +
                    n->shapes * sizeof(struct shape) + n->shape_cols * sizeof(col_id);
    return bytes + mem_arena_bound(&h->mem, kept + pieces * ARENA_PIECE);
}

/* ---- counts at once ---- */

/* Strings are views into b->raw and do not overlap, so their bytes are bounded by its size;
 * resources and scopes are kept a second time as their message. */
static void bound_guess(const struct batch *b, struct bound *ret)
{
    uint64_t spans = b->n_spans, attrs = b->n_attrs, events = b->n_events, links = b->n_links;
    uint64_t objects = (uint64_t)b->n_resources + b->n_scopes;
    uint64_t values = attrs + 5 * spans + events + 2 * links + 2 * objects;
    *ret = (struct bound){
        .spans = spans,
        .events = events,
        .links = links,
        .resources = b->n_resources,
        .scopes = b->n_scopes,
        .traces = spans,
        .strings = attrs + 3 * spans + events + links + 3 * objects,
        .string_bytes = b->raw.n,
        .values = values,
        .value_bytes = values * (4 + 8),
        .used = values,
        .columns = attrs,
        .shapes = spans + events + links + objects,
        .shape_cols = attrs,
        .row_attrs = attrs,
        .object_bytes = b->raw.n,
    };
}

/* ---- counts by looking ---- */

/* What was met lately, by 64 bits of hash, each in the one slot that it has: what is not there is
 * counted as new, which is never too little. */
#define SEEN_BITS 15u

enum seen_kind { SEEN_STRING = 1, SEEN_TRACE, SEEN_USED, SEEN_SHAPE, SEEN_RESOURCE, SEEN_SCOPE };

struct look {
    const struct head *h;
    const struct batch *b;
    struct bound n;
    uint64_t *seen;
};

static bool look_seen(struct look *l, enum seen_kind kind, uint64_t hash)
{
    hash = hash_mix(hash + kind * 0x9e3779b97f4a7c15ULL) | 1;
    uint64_t *slot = &l->seen[hash >> (64 - SEEN_BITS)];
    if (*slot == hash)
        return true;
    *slot = hash;
    return false;
}

static void look_string(struct look *l, struct str s)
{
    uint32_t code;
    if (s.n == 0)
        return;
    uint64_t hash = hash64_seed(s.p, s.n, l->h->seed);
    if (look_seen(l, SEEN_STRING, hash) || strings_lookup(&l->h->strings, s, (uint32_t)hash, &code))
        return;
    l->n.strings++;
    l->n.string_bytes += s.n;
}

/* A value of a fixed sparse column. */
static void look_value(struct look *l, enum part_table t, uint32_t slot)
{
    l->n.values++;
    l->n.value_bytes += 4 + 4;
    l->n.used += !look_seen(l, SEEN_USED, (uint64_t)t << 32 | slot);
}
static void look_number(struct look *l, enum part_table t, uint32_t slot, uint32_t v)
{
    if (v != 0)
        look_value(l, t, slot);
}
static void look_text(struct look *l, enum part_table t, uint32_t slot, struct str s)
{
    if (s.n == 0)
        return;
    look_value(l, t, slot);
    look_string(l, s);
}

static uint64_t look_attr(struct look *l, enum part_table t, const struct attr *a)
{
    static const uint8_t widths[VALUE_TYPES] = {[VALUE_STR] = 4,
        [VALUE_BYTES] = 4,
        [VALUE_ARRAY] = 4,
        [VALUE_KVLIST] = 4,
        [VALUE_INT] = 8,
        [VALUE_DOUBLE] = 8,
        [VALUE_BOOL] = 1,
        [VALUE_EMPTY] = 1};
    enum value_type type = a->value.type;
    uint64_t hash = hash64_seed(a->key.p, a->key.n, l->h->seed + (uint64_t)t * 16 + type);
    l->n.values++;
    l->n.value_bytes += 4 + widths[type];
    if (widths[type] == 4)
        look_string(l, a->value.s);
    if (!look_seen(l, SEEN_USED, hash)) {
        l->n.used++;
        if (columns_find(&l->h->columns, t, a->key, type) == PROBE_NONE) {
            l->n.columns++;
            l->n.key_bytes += a->key.n;
        }
    }
    return hash;
}

static void look_attrs(struct look *l, enum part_table t, uint32_t first, uint32_t n)
{
    uint64_t shape = n;
    if (n == 0)
        return;
    for (uint32_t i = first; i < first + n; i++)
        shape = hash_mix(shape ^ look_attr(l, t, &l->b->attrs[i]));
    l->n.row_attrs = MAX(l->n.row_attrs, n);
    if (look_seen(l, SEEN_SHAPE, shape))
        return;
    l->n.shapes++;
    l->n.shape_cols += n;
}

static bool look_object(struct look *l, enum seen_kind kind, struct str raw, struct str url)
{
    uint64_t hash = hash64_seed(raw.p, raw.n, l->h->seed);
    if (look_seen(l, kind, hash_mix(hash) ^ hash64_seed(url.p, url.n, l->h->seed)))
        return false;
    l->n.object_bytes += raw.n + url.n;
    return true;
}

static void look_objects(struct look *l)
{
    for (uint32_t i = 0; i < l->b->n_resources; i++) {
        const struct batch_resource *r = &l->b->resources[i];
        if (!look_object(l, SEEN_RESOURCE, r->raw, r->schema_url))
            continue;
        l->n.resources++;
        look_attrs(l, TABLE_RESOURCES, r->attr_first, r->attr_n);
        look_number(l, TABLE_RESOURCES, RESOURCE_SLOT_DROPPED_ATTRS, r->dropped_attrs);
        look_text(l, TABLE_RESOURCES, RESOURCE_SLOT_SCHEMA_URL, r->schema_url);
    }
    for (uint32_t i = 0; i < l->b->n_scopes; i++) {
        const struct batch_scope *s = &l->b->scopes[i];
        if (!look_object(l, SEEN_SCOPE, s->raw, s->schema_url))
            continue;
        l->n.scopes++;
        look_attrs(l, TABLE_SCOPES, s->attr_first, s->attr_n);
        look_string(l, s->name);
        look_string(l, s->version);
        look_number(l, TABLE_SCOPES, SCOPE_SLOT_DROPPED_ATTRS, s->dropped_attrs);
        look_text(l, TABLE_SCOPES, SCOPE_SLOT_SCHEMA_URL, s->schema_url);
    }
}

static void look_span(struct look *l, const struct batch_span *s)
{
    uint32_t hash = head_trace_hash(l->h, &s->trace_id);
    uint64_t id = get_u64le(s->trace_id.b) ^ hash_mix(get_u64le(s->trace_id.b + 8) ^ l->h->seed);
    l->n.spans++;
    if (!look_seen(l, SEEN_TRACE, id) && head_trace_find(l->h, &s->trace_id, hash) == PROBE_NONE)
        l->n.traces++;
    look_string(l, s->name);
    look_text(l, TABLE_SPANS, SPAN_SLOT_MESSAGE, s->status_message);
    look_text(l, TABLE_SPANS, SPAN_SLOT_TRACE_STATE, s->trace_state);
    look_number(l, TABLE_SPANS, SPAN_SLOT_DROPPED_ATTRS, s->dropped_attrs);
    look_number(l, TABLE_SPANS, SPAN_SLOT_DROPPED_EVENTS, s->dropped_events);
    look_number(l, TABLE_SPANS, SPAN_SLOT_DROPPED_LINKS, s->dropped_links);
    look_attrs(l, TABLE_SPANS, s->attr_first, s->attr_n);
    for (uint32_t i = s->event_first; i < s->event_first + s->event_n; i++) {
        const struct batch_event *e = &l->b->events[i];
        l->n.events++;
        look_string(l, e->name);
        look_number(l, TABLE_EVENTS, EVENT_SLOT_DROPPED_ATTRS, e->dropped_attrs);
        look_attrs(l, TABLE_EVENTS, e->attr_first, e->attr_n);
    }
    for (uint32_t i = s->link_first; i < s->link_first + s->link_n; i++) {
        const struct batch_link *k = &l->b->links[i];
        l->n.links++;
        look_text(l, TABLE_LINKS, LINK_SLOT_TRACE_STATE, k->trace_state);
        look_number(l, TABLE_LINKS, LINK_SLOT_DROPPED_ATTRS, k->dropped_attrs);
        look_attrs(l, TABLE_LINKS, k->attr_first, k->attr_n);
    }
}

uint64_t bound_quick(const struct head *h, const struct batch *b)
{
    struct bound n;
    bound_guess(b, &n);
    return bound_bytes(h, b, &n);
}

uint64_t bound_tight(const struct head *h, const struct batch *b)
{
    struct look l = {.h = h, .b = b};
    CLEANUP(freep) uint64_t *seen = xcalloc((size_t)1 << SEEN_BITS, sizeof(*seen));
    l.seen = seen;
    look_objects(&l);
    for (uint32_t i = 0; i < b->n_spans; i++)
        if (b->spans[i].reject == SPAN_ACCEPTED)
            look_span(&l, &b->spans[i]);
    return bound_bytes(h, b, &l.n);
}
