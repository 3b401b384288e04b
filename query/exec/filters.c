/* SPDX-License-Identifier: Apache-2.0
 * Bitmaps of filters. */
#include "filters.h"

#define GROUPS_KEPT 8u /* of a block */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum ec filters_open(struct filters *f, struct source *sources, size_t n_sources, uint32_t n_max,
    uint32_t n_exprs, struct arena *arena, struct err *err)
{
    *f = (struct filters){.sources = sources,
        .n_sources = n_sources,
        .arena = arena,
        .n_max = n_max,
        .n_exprs = n_exprs,
        .f = ARENA_ARRAY(arena, n_max, struct filter),
        .of_expr = ARENA_ARRAY(arena, n_exprs, uint32_t),
        .src = ARENA_ARRAY(arena, n_sources, struct filter_source)};
    return f->f == NULL || f->of_expr == NULL || f->src == NULL ? over_budget(err) : EC_OK;
}

void filters_close(struct filters *f)
{
    for (size_t i = 0; f->src != NULL && i < f->n_sources; i++)
        filters_release(f, (uint32_t)i);
    *f = (struct filters){0};
}

uint32_t filters_add(
    struct filters *f, const struct tql_expr *e, const struct scan_expr *x, bool exact)
{
    ASSERT(f->n < f->n_max);
    f->f[f->n] = (struct filter){x, exact};
    if (e != NULL) {
        ASSERT(e->id < f->n_exprs);
        f->of_expr[e->id] = f->n + 1;
    }
    return f->n++;
}

uint32_t filters_find(const struct filters *f, const struct tql_expr *e)
{
    if (f == NULL || e->id >= f->n_exprs || f->of_expr[e->id] == 0)
        return PART_NONE;
    return f->of_expr[e->id] - 1;
}

void filters_release(struct filters *f, uint32_t src)
{
    struct filter_source *fs = &f->src[src];
    if (!fs->opened)
        return;
    for (uint32_t i = 0; i < f->n; i++) {
        scan_free(fs->scans[i]);
        fs->scans[i] = NULL;
    }
    fs->opened = false;
}

/* The scans of a source. */
static enum ec source_scans(struct filters *f, uint32_t src, struct err *err)
{
    struct filter_source *fs = &f->src[src];
    struct source *s = &f->sources[src];
    if (LIKELY(fs->opened))
        return EC_OK;
    if (fs->scans == NULL) {
        fs->n_slots = s->part->is_head ? s->info.n_groups : MIN(s->info.n_groups, GROUPS_KEPT);
        fs->bits = ARENA_ARRAY(f->arena, (size_t)fs->n_slots * f->n_max, struct filter_bits *);
        fs->none = ARENA_ARRAY(f->arena, f->n_max, bool);
        struct scan **scans = ARENA_ARRAY(f->arena, f->n_max, struct scan *);
        if (fs->bits == NULL || fs->none == NULL || scans == NULL)
            return over_budget(err);
        fs->scans = scans;
    }
    fs->opened = true; /* also when a scan fails: filters_release frees those before it */
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->f[i].x->node == SCAN_ALL)
            continue;
        enum ec ec = source_note(s, scan_new(s->r, f->f[i].x, &fs->scans[i], err));
        if (ec != EC_OK) {
            filters_release(f, src);
            return ec;
        }
        fs->none[i] = scan_none(fs->scans[i]);
    }
    return EC_OK;
}

enum ec filters_none(struct filters *f, uint32_t src, uint32_t filter, bool *ret, struct err *err)
{
    TRY(source_scans(f, src, err));
    *ret = f->src[src].none[filter];
    return EC_OK;
}

/* A reader that was opened later may see more rows of a head: not this query's. */
static void cut(struct scan_bits *b, uint32_t n)
{
    if (b->n <= n)
        return;
    b->n = n;
    uint32_t i = n / 64;
    b->w[i] &= ((uint64_t)1 << (n % 64)) - 1;
    memset(&b->w[i + 1], 0, (SCAN_WORDS - i - 1) * sizeof(b->w[0]));
}

static enum ec fill(struct filters *f, uint32_t src, uint32_t filter, uint32_t g,
    struct filter_bits *b, struct err *err)
{
    struct filter_source *fs = &f->src[src];
    struct source *s = &f->sources[src];
    uint32_t n_rows = s->groups[g].n_rows;
    b->exact = f->f[filter].exact;
    f->scanned_spans += n_rows;
    if (fs->none[filter]) {
        scan_bits_clear(&b->bits, n_rows);
        return EC_OK;
    }
    if (fs->scans[filter] == NULL) {
        scan_bits_fill(&b->bits, n_rows);
        return EC_OK;
    }
    TRY(scan_group(fs->scans[filter], g, &b->bits, err));
    cut(&b->bits, n_rows);
    if (b->exact && scan_bits_any(&b->bits))
        TRY(scan_single(fs->scans[filter], g, &b->exact, err));
    return EC_OK;
}

enum ec filters_group(struct filters *f, uint32_t src, uint32_t filter, uint32_t g,
    const struct filter_bits **ret, struct err *err)
{
    struct filter_source *fs = &f->src[src];
    TRY(source_scans(f, src, err));
    ASSERT(filter < f->n && g < f->sources[src].info.n_groups);
    struct filter_bits **slot = &fs->bits[(size_t)(g % fs->n_slots) * f->n_max + filter];
    if (*slot == NULL) {
        *slot = arena_alloc(f->arena, sizeof(**slot));
        if (*slot == NULL)
            return over_budget(err);
        (*slot)->g = PART_NONE;
    }
    if ((*slot)->g != g) {
        (*slot)->g = PART_NONE;
        TRY(source_note(&f->sources[src], fill(f, src, filter, g, *slot, err)));
        (*slot)->g = g;
    }
    *ret = *slot;
    return EC_OK;
}
