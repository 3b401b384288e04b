/* SPDX-License-Identifier: Apache-2.0
 * Tag names. Unfiltered they come from the column directories, without a page; with a filter from
 * the shapes of the spans that match. */
#include "ahead.h"
#include "base/clock.h"
#include "base/hash.h"
#include "candidates.h"
#include "query/exec.h"
#include "query/lower.h"
#include "result.h"
#include "source.h"
#include "stream.h"
#include "tagset.h"

static const enum part_table tables[TAG_SCOPES] = {
    [TAG_RESOURCE] = TABLE_RESOURCES,
    [TAG_SPAN] = TABLE_SPANS,
    [TAG_EVENT] = TABLE_EVENTS,
    [TAG_LINK] = TABLE_LINKS,
    [TAG_INSTRUMENTATION] = TABLE_SCOPES,
};

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

struct names {
    const struct query_ctx *ctx;
    const struct tags_request *req;
    struct source *sources;
    struct tagset set; /* kind: enum tag_scope */
    uint32_t groups_done;
    uint64_t *seen; /* hashes of the lists of keys that are in the set, 0: free; or NULL */
    uint32_t seen_mask;
};

static void ask_names(void *arg, struct part *p)
{
    uint64_t keys[TABLE_COUNT];
    (void)arg;
    (void)part_names(p, keys);
}

/* Most blocks of a tenant have the same keys: one of them is read. *ret_slot is where that is noted
 * once it was; NULL: not known of this part. */
static bool names_seen(struct names *n, struct part *p, uint64_t **ret_slot, uint64_t *ret_hash)
{
    uint64_t keys[TABLE_COUNT];
    *ret_slot = NULL;
    if (n->seen == NULL || n->req->filter != NULL || !part_names(p, keys))
        return false;
    *ret_hash = hash64(keys, sizeof(keys)) | 1;
    uint32_t at = (uint32_t)*ret_hash & n->seen_mask;
    while (n->seen[at] != 0 && n->seen[at] != *ret_hash)
        at = (at + 1) & n->seen_mask;
    *ret_slot = &n->seen[at];
    return n->seen[at] != 0;
}

static enum ec add_name(struct names *n, unsigned scope, struct str key, struct err *err)
{
    if (n->set.full)
        return EC_OK;
    return tagset_add(&n->set, (uint8_t)scope, key, NULL, err);
}

static enum ec all_names(struct names *n, struct source *s, struct err *err)
{
    const struct part_attr *attrs;
    size_t n_attrs;
    TRY(part_attrs(s->r, &attrs, &n_attrs, err));
    for (size_t i = 0; i < n_attrs; i++)
        for (unsigned k = 0; k < TAG_SCOPES; k++)
            if (attrs[i].table == tables[k] && (n->req->scopes >> k & 1) != 0)
                TRY(add_name(n, k, attrs[i].key, err));
    /* service.name always exists as a resource attribute. */
    if (s->info.n_resources != 0 && (n->req->scopes >> TAG_RESOURCE & 1) != 0)
        TRY(add_name(n, TAG_RESOURCE, STR("service.name"), err));
    return EC_OK;
}

/* Entries, sorted by scope, as the lists of a result; `names` has room for all. */
static void list_names(const struct tagset_entry *all, size_t n, uint32_t limit, struct str *names,
    struct tags_result *ret)
{
    for (size_t i = 0; i < n; i++) {
        unsigned k = all[i].kind;
        names[i] = all[i].s;
        if (ret->n[k] == 0)
            ret->names[k] = &names[i];
        if (limit == 0 || ret->n[k] < limit)
            ret->n[k]++;
    }
}

/* Tells the names that are new. Under a limit none is certain before the end. */
static void tell(struct names *n)
{
    const struct query_ctx *ctx = n->ctx;
    int64_t began = clock_mono_ns();
    struct tags_result part = {0};
    struct tagset_entry *fresh;
    struct arena a;
    size_t n_fresh;
    arena_init(&a, ctx->budget, 0);
    struct str *names = ARENA_ARRAY(&a, n->set.n, struct str);
    if (n->req->limit == 0 && names != NULL && tagset_fresh(&n->set, &a, &fresh, &n_fresh))
        list_names(fresh, n_fresh, 0, names, &part);
    query_stats_fill(ctx, n->sources, &part.stats);
    part.stats.completed_jobs = MIN(n->groups_done, part.stats.total_jobs);
    ctx->stream->tags(ctx->stream->arg, &part);
    arena_deinit(&a);
    query_stream_told(ctx, began);
}

/* ---- filtered: columns that occur in the shapes of matching rows ---- */

struct marks { /* which rows of a table were met, and which shapes */
    bool *shapes;
    uint32_t n_shapes;
};

static enum ec mark_shape(struct marks *m, struct arena *a, uint32_t shape, struct err *err)
{
    if (shape >= m->n_shapes) {
        uint32_t n = MAX(shape + 1, m->n_shapes * 2);
        bool *p = ARENA_ARRAY(a, n, bool);
        if (p == NULL)
            return over_budget(err);
        if (m->n_shapes != 0)
            memcpy(p, m->shapes, m->n_shapes);
        m->shapes = p;
        m->n_shapes = n;
    }
    m->shapes[shape] = true;
    return EC_OK;
}

static enum ec view_of(
    struct source *s, col_id col, uint32_t g, const struct col_view **ret, struct err *err)
{
    uint32_t slot;
    TRY(source_slot(s, col, &slot, err));
    return source_view(s, slot, g, ret, err);
}

/* Shapes of the matching spans themselves. */
static enum ec mark_spans(struct names *n, struct source *s, uint32_t g,
    const struct scan_bits *bits, struct marks *m, struct err *err)
{
    const struct col_view *v;
    TRY(view_of(s, COL_SPAN_SHAPE, g, &v, err));
    for (uint32_t row = scan_bits_next(bits, 0); row < bits->n; row = scan_bits_next(bits, row + 1))
        TRY(mark_shape(m, n->set.arena, v->u32[row], err));
    return EC_OK;
}

/* Shapes of the resources (scopes) of matching spans. */
static enum ec mark_wide(struct names *n, struct source *s, uint32_t g,
    const struct scan_bits *bits, col_id ref, col_id shape, struct marks *m, struct err *err)
{
    const struct col_view *refs, *shapes;
    TRY(view_of(s, ref, g, &refs, err));
    TRY(view_of(s, shape, 0, &shapes, err));
    for (uint32_t row = scan_bits_next(bits, 0); row < bits->n;
         row = scan_bits_next(bits, row + 1)) {
        uint32_t i = view_index(shapes, refs->u32[row]);
        if (i != PART_NONE)
            TRY(mark_shape(m, n->set.arena, shapes->u32[i], err));
    }
    return EC_OK;
}

/* Shapes of the events (links) of matching spans. */
static enum ec mark_below(struct names *n, struct source *s, uint32_t g,
    const struct scan_bits *bits, col_id owner, col_id shape, struct marks *m, struct err *err)
{
    const struct col_view *owners, *shapes;
    TRY(view_of(s, owner, g, &owners, err));
    TRY(view_of(s, shape, g, &shapes, err));
    for (uint32_t i = 0; i < owners->n && i < shapes->n; i++)
        if (owners->u32[i] < bits->n && scan_bits_get(bits, owners->u32[i]))
            TRY(mark_shape(m, n->set.arena, shapes->u32[i], err));
    return EC_OK;
}

static enum ec mark_group(struct names *n, struct source *s, uint32_t g,
    const struct scan_bits *bits, struct marks m[TAG_SCOPES], struct err *err)
{
    uint32_t want = n->req->scopes;
    if ((want >> TAG_SPAN & 1) != 0)
        TRY(mark_spans(n, s, g, bits, &m[TAG_SPAN], err));
    if ((want >> TAG_RESOURCE & 1) != 0)
        TRY(mark_wide(n, s, g, bits, COL_SPAN_RESOURCE, COL_RESOURCE_SHAPE, &m[TAG_RESOURCE], err));
    if ((want >> TAG_INSTRUMENTATION & 1) != 0)
        TRY(mark_wide(
            n, s, g, bits, COL_SPAN_SCOPE, COL_SCOPE_SHAPE, &m[TAG_INSTRUMENTATION], err));
    if ((want >> TAG_EVENT & 1) != 0)
        TRY(mark_below(n, s, g, bits, COL_EVENT_SPAN, COL_EVENT_SHAPE, &m[TAG_EVENT], err));
    if ((want >> TAG_LINK & 1) != 0)
        TRY(mark_below(n, s, g, bits, COL_LINK_SPAN, COL_LINK_SHAPE, &m[TAG_LINK], err));
    return EC_OK;
}

static enum ec names_of_marks(
    struct names *n, struct source *s, struct marks m[TAG_SCOPES], struct err *err)
{
    const struct part_attr *attrs;
    size_t n_attrs;
    TRY(part_attrs(s->r, &attrs, &n_attrs, err));
    if (n_attrs == 0)
        return EC_OK;
    col_id base = attrs[0].col, top = attrs[n_attrs - 1].col;
    bool *used = ARENA_ARRAY(n->set.arena, top - base + 1, bool);
    if (used == NULL)
        return over_budget(err);
    for (unsigned k = 0; k < TAG_SCOPES; k++) {
        for (uint32_t shape = 0; shape < m[k].n_shapes; shape++) {
            const col_id *cols;
            size_t n_cols;
            if (!m[k].shapes[shape])
                continue;
            TRY(part_shape(s->r, shape, &cols, &n_cols, err));
            for (size_t i = 0; i < n_cols; i++)
                if (cols[i] >= base && cols[i] <= top)
                    used[cols[i] - base] = true;
        }
    }
    for (size_t i = 0; i < n_attrs; i++)
        for (unsigned k = 0; k < TAG_SCOPES; k++)
            if (attrs[i].table == tables[k] && used[attrs[i].col - base])
                TRY(add_name(n, k, attrs[i].key, err));
    if (m[TAG_RESOURCE].n_shapes != 0)
        TRY(add_name(n, TAG_RESOURCE, STR("service.name"), err));
    return EC_OK;
}

static enum ec filtered_names(
    const struct query_ctx *ctx, struct names *n, struct source *s, struct err *err)
{
    struct marks m[TAG_SCOPES] = {0};
    uint32_t before = n->groups_done;
    for (uint32_t k = 0; k < n->req->filter->n_groups; k++) {
        const struct scan_expr *x = lower_group(&n->req->filter->groups[k], ctx->arena);
        struct scan *scan = NULL;
        enum ec ec = x == NULL ? over_budget(err) : scan_new(s->r, x, &scan, err);
        for (uint32_t g = 0; g < s->info.n_groups && ec == EC_OK && !scan_none(scan); g++) {
            struct scan_bits bits;
            ec = query_check_alive(ctx, err);
            n->groups_done = before + (uint32_t)(((uint64_t)k * s->info.n_groups + g) /
                                                 n->req->filter->n_groups);
            if (ec == EC_OK && query_stream_due(ctx))
                tell(n);
            if (ec == EC_OK)
                ec = scan_group(scan, g, &bits, err);
            if (ec == EC_OK && scan_bits_any(&bits))
                ec = mark_group(n, s, g, &bits, m, err);
            if (source_unreadable(source_note(s, ec)))
                ec = EC_OK; /* without this group */
        }
        scan_free(scan);
        TRY(ec);
    }
    return names_of_marks(n, s, m, err);
}

static bool outside(const struct tags_request *r, const struct part_info *info)
{
    return (r->start_ns != 0 || r->end_ns != 0) &&
           (info->min_start_ns > r->end_ns || info->max_end_ns < r->start_ns);
}

static enum ec fill(struct names *n, struct tags_result *ret, struct err *err)
{
    struct tagset_entry *all;
    TRY(tagset_sorted(&n->set, &all, err));
    struct str *names = ARENA_ARRAY(n->set.arena, n->set.n, struct str);
    if (names == NULL)
        return over_budget(err);
    list_names(all, n->set.n, n->req->limit, names, ret);
    return EC_OK;
}

static void ask_ahead(const struct names *n)
{
    const struct query_ctx *ctx = n->ctx;
    struct part **parts = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct part *);
    size_t n_parts = 0;
    for (size_t i = 0; parts != NULL && i < ctx->n_parts; i++)
        if (n->sources[i].part != NULL && !outside(n->req, &n->sources[i].info) &&
            (n->req->filter != NULL || !part_known(ctx->parts[i])))
            parts[n_parts++] = n->sources[i].part;
    query_ask_ahead(ctx, parts, n_parts, ask_names, NULL);
}

enum ec query_tags(const struct query_ctx *ctx, const struct tags_request *req,
    struct tags_result *ret, struct err *err)
{
    struct source *sources = ARENA_ARRAY(ctx->arena, ctx->n_parts, struct source);
    struct names n = {.ctx = ctx,
        .req = req,
        .sources = sources,
        .set = {.arena = ctx->arena, .bytes_max = req->bytes_max}};
    enum ec ec = EC_OK;
    size_t cap = 16;
    while (cap < ctx->n_parts * 2)
        cap *= 2;
    n.seen = ARENA_ARRAY(ctx->arena, cap, uint64_t);
    n.seen_mask = (uint32_t)cap - 1;
    if (sources == NULL)
        return over_budget(err);
    *ret = (struct tags_result){0};
    TRY(query_check_alive(ctx, err));
    for (size_t i = 0; i < ctx->n_parts && ec == EC_OK; i++)
        ec = query_source_open_lazy(ctx, &sources[i], ctx->parts[i], err);
    if (ec == EC_OK)
        ask_ahead(&n);
    uint32_t done = 0;
    for (size_t i = 0; i < ctx->n_parts && ec == EC_OK; i++) {
        struct source *s = &sources[i];
        n.groups_done = done;
        done += s->info.n_groups;
        if (query_stream_due(ctx))
            tell(&n);
        if (s->part == NULL || outside(req, &s->info))
            continue;
        uint64_t *slot, hash = 0;
        if (names_seen(&n, s->part, &slot, &hash))
            continue;
        bool ok = true;
        ec = query_check_alive(ctx, err);
        if (ec == EC_OK)
            ec = source_groups(s, &ok, err);
        if (ec == EC_OK && ok)
            ec = req->filter == NULL ? all_names(&n, s, err) : filtered_names(ctx, &n, s, err);
        if (ec == EC_OK && ok && slot != NULL)
            *slot = hash;
        if (source_unreadable(source_note(s, ec)))
            ec = EC_OK;
    }
    if (ec == EC_OK)
        ec = fill(&n, ret, err);
    if (ec == EC_OK)
        query_stats_fill(ctx, sources, &ret->stats);
    for (size_t i = 0; i < ctx->n_parts; i++)
        source_close(&sources[i]);
    return ec;
}
