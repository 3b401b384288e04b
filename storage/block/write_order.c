/* SPDX-License-Identifier: Apache-2.0
 * Order of the new block: traces of all sources joined by id and sorted by start, the rows of each
 * in source order, duplicates dropped; then groups; then events and links behind their spans.
 *
 * Everything here is linear in rows except the sort of the traces. INVARIANT: pos is a bijection
 * between the rows that stay and 0..n_out-1, and ascends within a source and trace. */
#include <stdlib.h>

#include "base/hash.h"
#include "write.h"

#define GROUP_WEIGHT_MAX ((uint64_t)8 << 20) /* strings of a group: bounds what a reader unpacks */
#define GROUP_FIT_ROWS   1024u               /* traces up to this are kept in one group */
#define DEDUP_LINEAR_MAX 8u

struct order {       /* by source row or by joined trace; all in w->tmp */
    uint32_t *trace; /* of a source row */
    uint64_t *id;
    uint32_t *kind;
    uint32_t *rows; /* source rows in the new order */
    uint32_t n_traces;
    struct trace_id *ids;
    uint64_t *start;
    uint32_t *count;
    uint32_t *table; /* trace id -> number + 1 */
    uint32_t mask;
    uint32_t *scratch; /* duplicates of one trace: hash table */
    uint32_t scratch_n;
};

static enum ec order_alloc(struct writer *w, struct order *o, struct err *err)
{
    uint64_t n = w->n_in[TABLE_SPANS], traces = 0, slots = 16;
    for (size_t i = 0; i < w->n_src; i++)
        traces += w->src[i].info.n_traces;
    while (slots < traces * 2)
        slots *= 2;
    o->mask = (uint32_t)slots - 1;
    o->trace = ARENA_ARRAY(&w->tmp, n + 1, uint32_t);
    o->id = ARENA_ARRAY(&w->tmp, n + 1, uint64_t);
    o->kind = ARENA_ARRAY(&w->tmp, n + 1, uint32_t);
    o->rows = ARENA_ARRAY(&w->tmp, n + 1, uint32_t);
    o->ids = ARENA_ARRAY(&w->tmp, traces + 1, struct trace_id);
    o->start = ARENA_ARRAY(&w->tmp, traces + 1, uint64_t);
    o->count = ARENA_ARRAY(&w->tmp, traces + 1, uint32_t);
    o->table = ARENA_ARRAY(&w->tmp, slots, uint32_t);
    w->pos[TABLE_SPANS] = ARENA_ARRAY(&w->arena, n + 1, uint32_t);
    if (o->trace == NULL || o->id == NULL || o->kind == NULL || o->rows == NULL || o->ids == NULL ||
        o->start == NULL || o->count == NULL || o->table == NULL || w->pos[TABLE_SPANS] == NULL)
        return writer_limit(err);
    return EC_OK;
}

static uint32_t order_trace(struct order *o, const struct trace_id *id)
{
    uint32_t i = (uint32_t)hash64(id->b, 16) & o->mask;
    while (o->table[i] != 0 && !trace_id_eq(&o->ids[o->table[i] - 1], id))
        i = (i + 1) & o->mask;
    if (o->table[i] == 0) {
        o->ids[o->n_traces] = *id;
        o->start[o->n_traces] = UINT64_MAX;
        o->table[i] = ++o->n_traces;
    }
    return o->table[i] - 1;
}

/* Our number of each trace of a source. A block is asked through a reader of its own: what it pins
 * goes before anything else is read. */
static enum ec order_read_traces(
    struct writer *w, struct wsource *s, struct order *o, uint32_t *map, struct err *err)
{
    struct part_reader *own = NULL;
    enum ec ec = EC_OK;
    if (!s->r->part->is_head) {
        TRY(part_reader_open(s->r->part, w->opt->budget, &own, err));
        own->once = true;
    }
    for (uint32_t t = 0; ec == EC_OK && t < s->info.n_traces; t++) {
        struct part_trace trace;
        if ((ec = part_trace(own != NULL ? own : s->r, t, &trace, err)) == EC_OK)
            map[t] = order_trace(o, &trace.id);
    }
    part_reader_close(own);
    return ec;
}

/* Trace, id, kind of every row of a source, and the earliest start of every trace. */
static enum ec order_read_source(
    struct writer *w, struct wsource *s, struct order *o, struct err *err)
{
    uint32_t *map = ARENA_ARRAY(&w->tmp, s->info.n_traces + 1ULL, uint32_t);
    if (map == NULL)
        return writer_limit(err);
    TRY(order_read_traces(w, s, o, map, err));
    struct wcursor c = {.w = w, .s = s};
    enum ec ec = EC_OK;
    for (uint32_t g = 0; ec == EC_OK && g < s->info.n_groups; g++) {
        struct col_view trace, id, kind, start;
        uint32_t n = s->groups[g].n_rows, base = s->base[TABLE_SPANS][g];
        wcursor_next(&c);
        if ((ec = wcursor_view(&c, g, COL_SPAN_TRACE, &trace, err)) != EC_OK ||
            (ec = wcursor_view(&c, g, COL_SPAN_ID, &id, err)) != EC_OK ||
            (ec = wcursor_view(&c, g, COL_SPAN_KIND, &kind, err)) != EC_OK ||
            (ec = wcursor_view(&c, g, COL_SPAN_START, &start, err)) != EC_OK)
            break;
        if (trace.n < n || id.n < n || kind.n < n || start.n < n) {
            ec = ERR(err, EC_CORRUPT, "group %u has fewer values than rows", g);
            break;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (trace.u32[i] >= s->info.n_traces) {
                ec = ERR(
                    err, EC_CORRUPT, "group %u: trace %u of %u", g, trace.u32[i], s->info.n_traces);
                break;
            }
            uint32_t t = map[trace.u32[i]];
            o->trace[base + i] = t;
            o->id[base + i] = id.u64[i];
            o->kind[base + i] = kind.u32[i];
            o->count[t]++;
            o->start[t] = MIN(o->start[t], start.u64[i]);
        }
    }
    wcursor_close(&c);
    return ec;
}

struct trace_key {
    uint64_t start;
    struct trace_id id;
    uint32_t trace;
};

static int trace_key_cmp(const void *a, const void *b)
{
    const struct trace_key *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return trace_id_cmp(&x->id, &y->id);
}

/* Numbers the traces, places the rows: a counting sort by trace, stable in source rows. */
static enum ec order_sort(struct writer *w, struct order *o, struct err *err)
{
    struct trace_key *keys = ARENA_ARRAY(&w->tmp, o->n_traces + 1ULL, struct trace_key);
    uint32_t *next = ARENA_ARRAY(&w->tmp, o->n_traces + 1ULL, uint32_t);
    if (keys == NULL || next == NULL)
        return writer_limit(err);
    uint32_t n = 0;
    for (uint32_t t = 0; t < o->n_traces; t++)
        if (o->count[t] > 0)
            keys[n++] = (struct trace_key){o->start[t], o->ids[t], t};
    qsort(keys, n, sizeof(*keys), trace_key_cmp);

    w->n_traces = n;
    w->trace_ids = ARENA_ARRAY(&w->arena, n + 1ULL, struct trace_id);
    w->trace_start = ARENA_ARRAY(&w->arena, n + 1ULL, uint64_t);
    w->trace_end = ARENA_ARRAY(&w->arena, n + 1ULL, uint64_t);
    w->trace_first = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    w->trace_root = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    if (w->trace_ids == NULL || w->trace_start == NULL || w->trace_end == NULL ||
        w->trace_first == NULL || w->trace_root == NULL)
        return writer_limit(err);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        w->trace_ids[i] = keys[i].id;
        w->trace_first[i] = at;
        next[keys[i].trace] = at;
        at += o->count[keys[i].trace];
    }
    w->trace_first[n] = at;
    ASSERT(at == w->n_in[TABLE_SPANS]);
    for (uint32_t row = 0; row < at; row++)
        o->rows[next[o->trace[row]]++] = row;
    return EC_OK;
}

static bool order_same(const struct order *o, uint32_t a, uint32_t b)
{
    return o->id[a] == o->id[b] && o->kind[a] == o->kind[b];
}

/* Is an equal span among the rows kept of this trace? Remembers `row` if not. */
static bool order_seen(
    struct order *o, uint32_t row, const uint32_t *kept, uint32_t n_kept, uint32_t mask)
{
    if (mask == 0) {
        for (uint32_t i = 0; i < n_kept; i++)
            if (order_same(o, kept[i], row))
                return true;
        return false;
    }
    uint32_t i = (uint32_t)hash_mix(o->id[row]) & mask;
    for (; o->scratch[i] != 0; i = (i + 1) & mask)
        if (order_same(o, o->scratch[i] - 1, row))
            return true;
    o->scratch[i] = row + 1;
    return false;
}

static enum ec order_dedup(struct writer *w, struct order *o, struct err *err)
{
    uint32_t *pos = w->pos[TABLE_SPANS], out = 0, largest = 0;
    for (uint32_t t = 0; t < w->n_traces; t++)
        largest = MAX(largest, w->trace_first[t + 1] - w->trace_first[t]);
    uint64_t slots = 16;
    while (slots < largest * 2ULL)
        slots *= 2;
    o->scratch = ARENA_ARRAY(&w->tmp, slots, uint32_t);
    if (o->scratch == NULL)
        return writer_limit(err);
    for (uint32_t t = 0; t < w->n_traces; t++) {
        uint32_t a = w->trace_first[t], z = w->trace_first[t + 1], mask = 0;
        if (z - a > DEDUP_LINEAR_MAX) {
            mask = 15;
            while (mask + 1ULL < (z - a) * 2ULL)
                mask = mask * 2 + 1;
            memset(o->scratch, 0, (mask + 1ULL) * 4);
        }
        w->trace_first[t] = out;
        uint32_t first = out;
        for (uint32_t i = a; i < z; i++) {
            uint32_t row = o->rows[i];
            if (order_seen(o, row, &o->rows[first], out - first, mask)) {
                pos[row] = PART_NONE;
                w->dups++;
            } else {
                o->rows[out] = row; /* out <= i: the list shrinks in place */
                pos[row] = out++;
            }
        }
    }
    w->trace_first[w->n_traces] = out;
    w->n_out[TABLE_SPANS] = out;
    return EC_OK;
}

/* By new row. Takes the place of o->trace: once rows are sorted, nobody asks for it. */
static uint32_t *order_weights(struct writer *w, struct order *o)
{
    uint32_t *weight = TAKE_PTR(o->trace);
    for (size_t k = 0; k < w->n_src; k++) {
        const struct wsource *s = &w->src[k];
        for (uint32_t g = 0; g < s->info.n_groups; g++) {
            for (uint32_t i = 0; i < s->groups[g].n_rows; i++) {
                uint32_t p = w->pos[TABLE_SPANS][s->base[TABLE_SPANS][g] + i];
                if (p != PART_NONE)
                    weight[p] = s->weight[g];
            }
        }
    }
    return weight;
}

/* Cuts groups: at most BLOCK_GROUP_ROWS rows and GROUP_WEIGHT_MAX bytes, small traces whole. */
static enum ec order_groups(struct writer *w, struct order *o, struct err *err)
{
    uint32_t n = w->n_out[TABLE_SPANS];
    uint8_t *cut = NULL;
    TRY(writer_copy_candidates(w, o->trace, &cut, err));
    const uint32_t *weight = order_weights(w, o);
    VEC(struct block_group) groups = {0};
    struct block_group g = {0};
    uint64_t bytes = 0;
    for (uint32_t t = 0; t < w->n_traces; t++) {
        uint32_t a = w->trace_first[t], z = w->trace_first[t + 1];
        for (uint32_t row = a; row < z; row++) {
            bool full =
                g.part.n_rows == BLOCK_GROUP_ROWS ||
                (g.part.n_rows > 0 && cut != NULL && cut[row]) ||
                (g.part.n_rows > 0 && bytes + weight[row] > GROUP_WEIGHT_MAX) ||
                (row == a && z - a <= GROUP_FIT_ROWS && g.part.n_rows + (z - a) > BLOCK_GROUP_ROWS);
            if (full) {
                VEC_PUSH(&groups, g);
                g = (struct block_group){.part.row_first = row};
                bytes = 0;
            }
            if (g.part.n_rows++ == 0)
                g.trace_first = t;
            bytes += weight[row];
        }
    }
    if (g.part.n_rows > 0)
        VEC_PUSH(&groups, g);
    w->n_groups = (uint32_t)groups.n;
    w->groups = ARENA_ARRAY(&w->arena, groups.n + 1, struct block_group);
    w->first[TABLE_SPANS] = ARENA_ARRAY(&w->arena, groups.n + 1, uint32_t);
    enum ec ec = w->groups == NULL || w->first[TABLE_SPANS] == NULL ? writer_limit(err) : EC_OK;
    for (size_t i = 0; ec == EC_OK && i < groups.n; i++) {
        w->groups[i] = groups.p[i];
        w->first[TABLE_SPANS][i] = groups.p[i].part.row_first;
    }
    if (ec == EC_OK)
        w->first[TABLE_SPANS][w->n_groups] = n;
    VEC_FREE(&groups);
    if (ec == EC_OK)
        writer_copy_groups(w);
    return ec;
}

/* For each source group the range of places that it fed: windows of output skip the others. */
static enum ec order_ranges(struct writer *w, enum part_table t, struct err *err)
{
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        s->out_min[t] = ARENA_ARRAY(&w->arena, s->info.n_groups + 1ULL, uint32_t);
        s->out_max[t] = ARENA_ARRAY(&w->arena, s->info.n_groups + 1ULL, uint32_t);
        if (s->out_min[t] == NULL || s->out_max[t] == NULL)
            return writer_limit(err);
        for (uint32_t g = 0; g < s->info.n_groups; g++) {
            uint32_t lo = PART_NONE, hi = 0;
            for (uint32_t i = s->base[t][g]; i < s->base[t][g + 1]; i++) {
                if (w->pos[t][i] == PART_NONE)
                    continue;
                lo = MIN(lo, w->pos[t][i]);
                hi = MAX(hi, w->pos[t][i]);
            }
            s->out_min[t][g] = lo;
            s->out_max[t][g] = hi;
        }
    }
    return EC_OK;
}

enum ec writer_order(struct writer *w, struct err *err)
{
    struct order o = {0};
    TRY(order_alloc(w, &o, err));
    for (size_t i = 0; i < w->n_src; i++)
        TRY(order_read_source(w, &w->src[i], &o, err));
    TRY(order_sort(w, &o, err));
    TRY(order_dedup(w, &o, err));
    TRY(order_groups(w, &o, err));
    TRY(order_ranges(w, TABLE_SPANS, err));
    arena_reset(&w->tmp);
    return EC_OK;
}

/* Events and links. */

/* Place of the span that owns each event, PART_NONE when dropped; counts events by place. */
static enum ec children_owners(struct writer *w, enum part_table t, col_id owner_col,
    uint32_t *owner, uint32_t *count, struct err *err)
{
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        struct wcursor c = {.w = w, .s = s};
        for (uint32_t g = 0; g < s->info.n_groups; g++) {
            struct col_view v;
            uint32_t n = s->base[t][g + 1] - s->base[t][g];
            if (n == 0)
                continue;
            wcursor_next(&c);
            enum ec ec = wcursor_view(&c, g, owner_col, &v, err);
            if (ec == EC_OK && v.n < n)
                ec = ERR(err, EC_CORRUPT, "group %u has %u of %u children", g, v.n, n);
            for (uint32_t i = 0; ec == EC_OK && i < n; i++) {
                if (v.u32[i] >= s->groups[g].n_rows) {
                    ec = ERR(err, EC_CORRUPT, "group %u: child of row %u", g, v.u32[i]);
                    break;
                }
                uint32_t p = w->pos[TABLE_SPANS][s->base[TABLE_SPANS][g] + v.u32[i]];
                owner[s->base[t][g] + i] = p;
                if (p != PART_NONE)
                    count[p + 1]++;
            }
            if (ec != EC_OK) {
                wcursor_close(&c);
                return ec;
            }
        }
        wcursor_close(&c);
    }
    return EC_OK;
}

enum ec writer_order_children(struct writer *w, enum part_table t, struct err *err)
{
    uint32_t n_rows = w->n_out[TABLE_SPANS], n = w->n_in[t];
    uint32_t *owner = ARENA_ARRAY(&w->tmp, n + 1ULL, uint32_t);
    uint32_t *next = ARENA_ARRAY(&w->tmp, n_rows + 2ULL, uint32_t);
    w->pos[t] = ARENA_ARRAY(&w->arena, n + 1ULL, uint32_t);
    w->first[t] = ARENA_ARRAY(&w->arena, w->n_groups + 1ULL, uint32_t);
    if (owner == NULL || next == NULL || w->pos[t] == NULL || w->first[t] == NULL)
        return writer_limit(err);
    TRY(children_owners(
        w, t, t == TABLE_EVENTS ? COL_EVENT_SPAN : COL_LINK_SPAN, owner, next, err));
    for (uint32_t i = 0; i < n_rows; i++)
        next[i + 1] += next[i];
    w->n_out[t] = next[n_rows];
    for (uint32_t g = 0; g <= w->n_groups; g++)
        w->first[t][g] = next[w->first[TABLE_SPANS][g]];
    for (uint32_t g = 0; g < w->n_groups; g++)
        *(t == TABLE_EVENTS ? &w->groups[g].part.n_events : &w->groups[g].part.n_links) =
            w->first[t][g + 1] - w->first[t][g];
    for (uint32_t i = 0; i < n; i++)
        w->pos[t][i] = owner[i] == PART_NONE ? PART_NONE : next[owner[i]]++;

    /* The owner column is known here: rows relative to their group, in the new order. */
    uint64_t *rows = ARENA_ARRAY(&w->tmp, w->n_out[t] + 1ULL, uint64_t);
    if (rows == NULL)
        return writer_limit(err);
    for (uint32_t i = 0; i < n; i++)
        if (owner[i] != PART_NONE)
            rows[w->pos[t][i]] = owner[i];
    for (uint32_t g = 0; g < w->n_groups; g++)
        for (uint32_t i = w->first[t][g]; i < w->first[t][g + 1]; i++)
            rows[i] -= w->first[TABLE_SPANS][g];
    struct column_data d = {.col = t == TABLE_EVENTS ? COL_EVENT_SPAN : COL_LINK_SPAN,
        .table = t,
        .phys = PHYS_U32,
        .vals = rows,
        .n = w->n_out[t]};
    column_begin(w, d.col);
    TRY(column_chunks(w, &d, err));
    TRY(column_end(w, NULL, 0, NULL, err));
    TRY(order_ranges(w, t, err));
    arena_reset(&w->tmp);
    return EC_OK;
}
