/* SPDX-License-Identifier: Apache-2.0
 * compare() column by column: rounds and passes (see compare.h). */
#include "compare.h"

#include <stdlib.h>

#define PARTS_MAX 4096u /* first passes over one key */

bool collect_compare_by_span(const struct tql_query *q)
{
    const struct tql_pipeline *p = q->pipeline;
    if (p->n_stages != 1 || p->stages[0].kind != TQL_STAGE_SPANSET ||
        p->stages[0].spanset->kind != TQL_SS_FILTER)
        return false;
    for (uint32_t i = 0; i < q->n_attrs; i++)
        if (!collect_local_attr(q->attrs[i]))
            return false;
    return true;
}

struct pass {
    struct compare *x;
    struct collector *all;
};

static void pass_one(void *arg, size_t i)
{
    struct pass *p = arg;
    struct collector *c = &p->all[i];
    c->ec = compare_slice(p->x, c, &c->err);
    collector_close(c);
}

/* One pass over all slices. */
static enum ec pass(struct compare *x, bool count_spans, struct err *err)
{
    struct collector *total = x->c;
    const struct query_ctx *ctx = total->ctx;
    struct collector *all = calloc(COMPARE_WAVE, sizeof(*all)); /* small, our own */
    struct pass job = {x, all};
    enum ec ec = all == NULL ? ERR(err, EC_LIMIT, "no memory for workers") : EC_OK;
    for (size_t at = 0, n; at < x->n_slices && ec == EC_OK; at += n) {
        n = MIN(COMPARE_WAVE, x->n_slices - at);
        for (size_t i = 0; i < n; i++) {
            collector_init(&all[i], ctx, total->req, &total->grid);
            all[i].slice = x->slices[at + i];
        }
        pool_parallel(ctx->pool, ctx->key, COMPARE_WAVE, n, pass_one, &job);
        for (size_t i = 0; i < n; i++) {
            struct collector *c = &all[i];
            if (c->ec != EC_OK && ec == EC_OK)
                ec = ERR(err, c->ec, "%s", err_msg(&c->err));
            if (count_spans)
                total->stats.inspected_spans += c->stats.inspected_spans;
            total->stats.inspected_bytes += c->stats.inspected_bytes;
            collect_damage(total, c);
            collector_deinit(c);
        }
    }
    free(all);
    return ec;
}

static enum key_state state_of(const struct key *k)
{
    return (enum key_state)atomic_load_explicit(&k->state, memory_order_relaxed);
}

static void set_state(struct key *k, enum key_state s)
{
    atomic_store_explicit(&k->state, (int)s, memory_order_relaxed);
}

static size_t count_state(const struct compare *x, enum key_state s)
{
    size_t n = 0;
    for (size_t i = 0; i < x->keys.n; i++)
        n += state_of(x->keys.p[i]) == s;
    return n;
}

/* The best values of the keys that were counted: those with many need a second pass. */
static enum ec choose(struct compare *x, struct err *err)
{
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) != KEY_ACTIVE)
            continue;
        TRY(key_choose(x, k, true, err));
        if (k->aside)
            set_state(k, KEY_DONE);
    }
    return EC_OK;
}

static enum ec count_chosen(struct compare *x, struct err *err)
{
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) != KEY_ACTIVE)
            continue;
        if (atomic_load_explicit(&k->large, memory_order_relaxed))
            TRY(key_cells(x, k, err));
        else
            set_state(k, KEY_COUNTED);
    }
    if (count_state(x, KEY_ACTIVE) == 0)
        return EC_OK;
    x->second = true;
    enum ec ec = pass(x, false, err);
    x->second = false;
    return ec;
}

static bool is_counted(const struct key *k)
{
    return state_of(k) == KEY_ACTIVE || state_of(k) == KEY_COUNTED;
}

/* Keys that were counted: their best values, a second pass where there are many, then series. */
static enum ec finish_round(struct compare *x, bool chosen, struct err *err)
{
    if (!chosen)
        TRY(choose(x, err));
    TRY(count_chosen(x, err));
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (!is_counted(k))
            continue;
        if (key_in_doubt(x, k)) {
            key_end(k);
            k->exact = true;
            set_state(k, KEY_WAITING);
            continue;
        }
        TRY(key_series(x, k, &x->c->compared, err));
        key_end(k);
        set_state(k, KEY_DONE);
    }
    return EC_OK;
}

/* All waiting keys at once. */
static enum ec round_together(struct compare *x, bool first, struct err *err)
{
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) == KEY_REFUSED)
            set_state(k, KEY_WAITING);
        if (state_of(k) == KEY_WAITING)
            key_begin(x, k, false);
    }
    TRY(pass(x, first, err));
    return count_state(x, KEY_ACTIVE) == 0 ? EC_OK : finish_round(x, false, err);
}

/* One key, in as many first passes as its values need. */
static enum ec round_alone(struct compare *x, struct key *k, struct err *err)
{
    uint64_t parts = 1;
    bool first = true;
    for (x->part = 0; x->part < parts; x->part++) {
        x->part_mask = parts - 1;
        key_begin(x, k, true);
        TRY(pass(x, false, err));
        if (state_of(k) == KEY_REFUSED) { /* anew, in smaller parts */
            parts *= 8;
            if (parts > PARTS_MAX)
                return ERR(err, EC_LIMIT, "query is over its memory budget");
            key_end(k);
            first = true;
            x->part = UINT64_MAX;
            continue;
        }
        TRY(key_choose(x, k, first, err));
        first = false;
    }
    x->part = x->part_mask = 0;
    return finish_round(x, true, err);
}

/* count_spans: with the first pass. */
static enum ec all_rounds(struct compare *x, bool count_spans, struct err *err)
{
    bool together = true;
    for (bool first = count_spans;; first = false) {
        size_t left = count_state(x, KEY_WAITING) + count_state(x, KEY_REFUSED);
        if (left == 0)
            return EC_OK;
        if (together) {
            TRY(round_together(x, first, err));
            together = count_state(x, KEY_REFUSED) < left;
            continue;
        }
        struct key *k = NULL;
        for (size_t i = 0; i < x->keys.n && k == NULL; i++)
            if (state_of(x->keys.p[i]) == KEY_REFUSED || state_of(x->keys.p[i]) == KEY_WAITING)
                k = x->keys.p[i];
        TRY(round_alone(x, k, err));
    }
}

static enum ec find_keys(struct compare *x, struct err *err)
{
    const struct query_ctx *ctx = x->c->ctx;
    size_t last = SIZE_MAX;
    TRY(keys_init(&x->keys, &x->c->arena, err));
    for (size_t i = 0; i < x->n_slices; i++) {
        struct part_reader *r;
        if (x->slices[i].part == last)
            continue;
        last = x->slices[i].part;
        enum ec ec = part_reader_open(ctx->parts[last], ctx->budget, &r, err);
        if (ec == EC_OK) {
            ec = keys_add_source(&x->keys, r, err);
            part_reader_close(r);
        }
        if (!source_unreadable(ec) && ec != EC_NOT_FOUND) /* the passes will say so */
            TRY(ec);
    }
    return EC_OK;
}

/* ---- with what is kept of blocks (see compare_kept.h) ---- */

/* Keys whose values do not fit are counted in full. WHY not all of them: that would be tried anew
 * by each query, in vain. */
static void put_aside(struct compare *x)
{
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) != KEY_REFUSED)
            continue;
        key_end(k);
        k->aside = true;
        set_state(k, KEY_DONE);
    }
}

/* One round of the waiting keys. *ret_ok false: some were refused. */
static enum ec round_once(struct compare *x, bool count_spans, bool *ret_ok, struct err *err)
{
    for (size_t i = 0; i < x->keys.n; i++)
        if (state_of(x->keys.p[i]) == KEY_WAITING)
            key_begin(x, x->keys.p[i], false);
    TRY(pass(x, count_spans, err));
    TRY(choose(x, err));
    if (x->kept->counting)
        put_aside(x);
    *ret_ok = count_state(x, KEY_REFUSED) == 0;
    return *ret_ok ? count_chosen(x, err) : EC_OK;
}

static void forget_entries(struct compare *x)
{
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (k->entry != NULL)
            query_cache_release(x->c->ctx->cache, k->entry);
        k->entry = NULL;
        k->kept = NULL;
    }
}

static void forget_keys(struct compare *x)
{
    forget_entries(x);
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        key_end(k);
        k->exact = k->aside = k->again = false;
        set_state(k, KEY_WAITING);
    }
    x->c->compared.n = 0;
}

/* Counts the groups that lie wholly in range, and keeps that. */
static enum ec count_kept(struct compare *x, bool *ret_ok, struct err *err)
{
    struct collector *c = x->c;
    struct slice *all = x->slices;
    size_t n = x->n_slices;
    uint64_t spans = c->stats.inspected_spans;
    uint32_t damaged = c->n_damaged;
    *ret_ok = kept_begin(x);
    if (!*ret_ok)
        return EC_OK;
    TRY(roots_shared(x, err));
    *ret_ok = !x->kept->stale && !c->unsure;
    if (!*ret_ok)
        return EC_OK;
    TRY(kept_slices(x, true, &x->slices, &x->n_slices, err));
    enum ec ec = round_once(x, true, ret_ok, err);
    x->slices = all;
    x->n_slices = n;
    TRY(ec);
    spans = c->stats.inspected_spans - spans;
    c->stats.inspected_spans -= spans;
    *ret_ok = *ret_ok && c->n_damaged == damaged;
    for (size_t i = 0; i < x->keys.n && *ret_ok; i++) {
        struct key *k = x->keys.p[i];
        if (is_counted(k) && !key_in_doubt(x, k))
            kept_put(x, k);
        else
            k->aside = true;
        key_end(k);
    }
    if (*ret_ok)
        *ret_ok = kept_put_header(x, spans);
    x->kept->counting = false;
    return EC_OK;
}

/* Once more through the blocks, for chosen values whose cells were not kept. */
static enum ec count_again(
    struct compare *x, struct slice *inside, size_t n_inside, struct err *err)
{
    for (size_t i = 0; i < x->keys.n; i++)
        if (state_of(x->keys.p[i]) == KEY_ACTIVE && !x->keys.p[i]->again)
            set_state(x->keys.p[i], KEY_COUNTED);
    if (count_state(x, KEY_ACTIVE) == 0)
        return EC_OK;
    x->slices = inside;
    x->n_slices = n_inside;
    atomic_fetch_add_explicit(&compare_kept_again, 1, memory_order_relaxed);
    x->second = x->kept->counting = true;
    enum ec ec = pass(x, false, err);
    x->second = x->kept->counting = false;
    return ec;
}

/* The keys that are kept, and those that only the rest has: what is kept, and the rest. */
static enum ec count_rest(struct compare *x, bool *ret_ok, struct err *err)
{
    struct slice *inside, *rest;
    size_t n_inside, n_rest;
    TRY(kept_slices(x, true, &inside, &n_inside, err));
    TRY(kept_slices(x, false, &rest, &n_rest, err));
    x->slices = rest;
    x->n_slices = n_rest;
    TRY(round_once(x, true, ret_ok, err));
    if (!*ret_ok)
        return EC_OK;
    for (size_t i = 0; i < x->keys.n; i++)
        if (state_of(x->keys.p[i]) == KEY_ACTIVE && x->keys.p[i]->kept != NULL)
            key_add_kept(x, x->keys.p[i]);
    TRY(count_again(x, inside, n_inside, err));
    for (size_t i = 0; i < x->keys.n && *ret_ok; i++) {
        struct key *k = x->keys.p[i];
        if (!is_counted(k))
            continue;
        *ret_ok = !key_in_doubt(x, k);
        if (*ret_ok)
            TRY(key_series(x, k, &x->c->compared, err));
        key_end(k);
        set_state(k, KEY_DONE);
    }
    return EC_OK;
}

/* The answer from what is kept and the rest; keys that are too large to be kept are counted in
 * full. */
static enum ec with_kept(struct compare *x, bool *ret_ok, struct err *err)
{
    struct slice *all = x->slices;
    size_t n = x->n_slices;
    *ret_ok = true;
    forget_keys(x);
    for (size_t i = 0; i < x->keys.n && *ret_ok; i++) {
        *ret_ok = kept_find(x, x->keys.p[i]);
        if (x->keys.p[i]->aside)
            set_state(x->keys.p[i], KEY_DONE);
    }
    if (!*ret_ok)
        return EC_OK;
    enum ec ec = count_rest(x, ret_ok, err);
    x->slices = all;
    x->n_slices = n;
    TRY(ec);
    for (size_t i = 0; i < x->keys.n; i++) {
        if (x->keys.p[i]->aside)
            set_state(x->keys.p[i], KEY_WAITING);
        x->keys.p[i]->aside = false;
    }
    x->c->stats.inspected_spans += x->kept->spans;
    atomic_fetch_add_explicit(&compare_kept_used, *ret_ok, memory_order_relaxed);
    return *ret_ok ? all_rounds(x, false, err) : EC_OK;
}

static enum ec try_kept(struct compare *x, bool *ret_ok, struct err *err)
{
    bool found = false;
    TRY(kept_open(x, &found, err));
    if (x->kept != NULL && found) {
        TRY(roots_shared(x, err));
        if (!x->kept->stale && !x->c->unsure)
            TRY(with_kept(x, ret_ok, err));
        if (*ret_ok)
            return EC_OK;
        roots_free(x->shared);
        x->shared = NULL;
    }
    if (x->kept != NULL) {
        forget_keys(x);
        TRY(count_kept(x, ret_ok, err));
    }
    return *ret_ok ? with_kept(x, ret_ok, err) : EC_OK;
}

/* False: nothing is done that need be undone. */
static enum ec by_kept(struct compare *x, bool *ret_ok, struct err *err)
{
    uint64_t spans = x->c->stats.inspected_spans;
    struct slice *all = x->slices;
    size_t n = x->n_slices;
    enum ec ec = try_kept(x, ret_ok, err);
    if (ec == EC_LIMIT) /* perhaps there is enough memory without */
        ec = EC_OK, *ret_ok = false;
    if (ec == EC_OK && !*ret_ok) {
        forget_keys(x);
        x->c->stats.inspected_spans = spans;
        x->slices = all;
        x->n_slices = n;
        x->second = false;
        roots_free(x->shared);
        x->shared = NULL;
    }
    return ec;
}

enum ec collect_compare(
    struct collector *total, struct slice *slices, size_t n_slices, struct err *err)
{
    struct compare x = {.c = total, .slices = slices, .n_slices = n_slices};
    struct budget *all = total->ctx->budget;
    uint64_t cap = atomic_load_explicit(&all->cap, memory_order_relaxed);
    /* The readers and columns of the slices need the rest. */
    budget_init(&x.budget, all, "compare", cap == 0 ? COMPARE_BYTES : MIN(COMPARE_BYTES, cap / 4));
    total->fast_compare = true;
    bool done = false;
    enum ec ec = find_keys(&x, err);
    if (ec == EC_OK)
        ec = by_kept(&x, &done, err);
    if (!done) {
        kept_close(&x);
        if (ec == EC_OK)
            ec = roots_shared(&x, err);
        if (ec == EC_OK)
            ec = all_rounds(&x, true, err);
    }
    forget_entries(&x);
    keys_deinit(&x.keys);
    kept_close(&x);
    roots_free(x.shared);
    budget_deinit(&x.budget);
    return ec;
}
