/* SPDX-License-Identifier: Apache-2.0
 * Traces in several sources. */
#include "sharing.h"

#include "ahead.h"
#include "base/hash.h"

/* What a question to another source costs, in ids read: a filter answers it, mostly. */
#define LOOKUP_IDS 2u
#define BITS       16u  /* per trace: about one in fifty is taken for shared and is not */
#define LINE_MASK  511u /* bits of a cache line */

void sharing_init(struct sharing *s, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, struct arena *arena)
{
    *s = (struct sharing){.ctx = ctx,
        .sources = sources,
        .n_sources = n_sources,
        .n_asked = n_sources,
        .arena = arena};
    for (size_t i = 0; i < n_sources; i++)
        if (sources[i].part != NULL)
            s->n_traces += sources[i].info.n_traces;
}

void sharing_leave_out(struct sharing *s, size_t source)
{
    ASSERT(s->asked == 0);
    if (s->left_out == NULL)
        s->left_out = ARENA_ARRAY(s->arena, s->n_sources, bool);
    if (s->left_out == NULL || s->left_out[source])
        return;
    s->left_out[source] = true;
    s->n_asked--;
    if (s->sources[source].part != NULL)
        s->n_traces -= s->sources[source].info.n_traces;
}

static bool is_asked(const struct sharing *s, size_t source)
{
    return s->sources[source].part != NULL && (s->left_out == NULL || !s->left_out[source]);
}

/* Two bits of one cache line. */
struct place {
    uint64_t *a, *b;
    uint64_t bit_a, bit_b;
};

static struct place place_of(const struct sharing *s, uint64_t *bits, const struct trace_id *id)
{
    uint64_t h = hash_mix(get_u64le(id->b) ^ hash_mix(get_u64le(id->b + 8)));
    uint64_t a = h & s->mask, b = (a & ~(uint64_t)LINE_MASK) | (h >> 48 & LINE_MASK & s->mask);
    return (struct place){.a = &bits[a / 64],
        .b = &bits[b / 64],
        .bit_a = (uint64_t)1 << (a % 64),
        .bit_b = (uint64_t)1 << (b % 64)};
}

/* Ids of one source whose bits earlier ids have set are marked as seen twice. */
static enum ec add_source(struct sharing *s, struct source *of, uint64_t *once, struct err *err)
{
    struct trace_id ids[PART_IDS_MAX];
    uint32_t n;
    bool ok = false;
    TRY(source_reader(of, &ok, err));
    for (uint32_t at = 0; ok; at += n) {
        TRY(source_note(of, part_trace_ids(of->r, at, ids, &n, err)));
        if (n == 0)
            return EC_OK;
        for (uint32_t i = 0; i < n; i++) {
            struct place p = place_of(s, once, &ids[i]);
            if ((*p.a & p.bit_a) != 0 && (*p.b & p.bit_b) != 0) {
                struct place t = place_of(s, s->twice, &ids[i]);
                *t.a |= t.bit_a;
                *t.b |= t.bit_b;
            }
            *p.a |= p.bit_a;
            *p.b |= p.bit_b;
        }
    }
    return EC_OK;
}

static enum ec build(struct sharing *s, struct err *err)
{
    uint64_t bits = 64;
    while (bits < s->n_traces * BITS)
        bits *= 2;
    s->refused = true; /* until it is done */
    s->mask = bits - 1;
    uint64_t *once = ARENA_ARRAY(s->arena, bits / 64, uint64_t);
    s->twice = ARENA_ARRAY(s->arena, bits / 64, uint64_t);
    if (once == NULL || s->twice == NULL)
        return EC_OK;
    for (size_t i = 0; i < s->n_sources; i++) {
        if (!is_asked(s, i))
            continue;
        enum ec ec = add_source(s, &s->sources[i], once, err);
        if (source_unreadable(ec))
            return EC_OK;
        TRY(ec);
    }
    s->refused = false;
    return EC_OK;
}

static void ask_id(void *id, struct part *p)
{
    (void)part_may_hold(p, id);
}

static enum ec list_asked(struct sharing *s, struct err *err)
{
    s->parts = ARENA_ARRAY(s->arena, s->n_sources, struct part *);
    s->source_of = ARENA_ARRAY(s->arena, s->n_sources, uint32_t);
    if (s->parts == NULL || s->source_of == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (size_t i = 0; i < s->n_sources; i++) {
        if (!is_asked(s, i))
            continue;
        s->source_of[s->n_parts] = (uint32_t)i;
        s->parts[s->n_parts++] = s->sources[i].part;
    }
    return EC_OK;
}

enum ec sharing_ask(
    struct sharing *s, uint32_t src, const struct trace_id *id, bool *ret, struct err *err)
{
    *ret = false;
    if (s->n_asked < 2 || !is_asked(s, src))
        return EC_OK;
    if (s->twice == NULL && !s->refused && ++s->asked * (s->n_asked - 1) * LOOKUP_IDS > s->n_traces)
        TRY(build(s, err));
    if (s->twice != NULL && !s->refused) {
        struct place p = place_of(s, s->twice, id);
        *ret = (*p.a & p.bit_a) != 0 && (*p.b & p.bit_b) != 0;
        return EC_OK;
    }
    if (s->parts == NULL) {
        TRY(list_asked(s, err));
        /* The blocks that were not read yet. */
        query_ask_ahead(s->ctx, s->parts, s->n_parts, ask_id, (void *)(uintptr_t)id);
    }
    struct part_holders h = {.parts = s->parts, .n = s->n_parts, .id = id};
    for (size_t at; !*ret && part_holders_next(&h, &at);) {
        struct source *of = &s->sources[s->source_of[at]];
        uint32_t trace = PART_NONE;
        bool ok = false;
        if (s->source_of[at] == src)
            continue;
        TRY(source_reader(of, &ok, err));
        if (ok)
            TRY(source_note(of, part_trace_find(of->r, id, &trace, err)));
        *ret = trace != PART_NONE;
    }
    return EC_OK;
}
