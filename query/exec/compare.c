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

/* Keys that were counted: their best values, a second pass where there are many, then series. */
static enum ec finish_round(struct compare *x, bool chosen, struct err *err)
{
    struct collector *c = x->c;
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) != KEY_ACTIVE)
            continue;
        if (!chosen)
            TRY(key_choose(x, k, true, err));
        if (state_of(k) != KEY_ACTIVE)
            continue;
        if (atomic_load_explicit(&k->large, memory_order_relaxed))
            TRY(key_cells(x, k, err));
        else
            set_state(k, KEY_COUNTED);
    }
    if (count_state(x, KEY_ACTIVE) != 0) {
        x->second = true;
        TRY(pass(x, false, err));
        x->second = false;
    }
    for (size_t i = 0; i < x->keys.n; i++) {
        struct key *k = x->keys.p[i];
        if (state_of(k) != KEY_ACTIVE && state_of(k) != KEY_COUNTED)
            continue;
        if (key_in_doubt(x, k)) {
            key_end(k);
            k->exact = true;
            set_state(k, KEY_WAITING);
            continue;
        }
        TRY(key_series(x, k, &c->compared, err));
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

static enum ec all_rounds(struct compare *x, struct err *err)
{
    bool together = true;
    for (bool first = true;; first = false) {
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

enum ec collect_compare(
    struct collector *total, struct slice *slices, size_t n_slices, struct err *err)
{
    struct compare x = {.c = total, .slices = slices, .n_slices = n_slices};
    struct budget *all = total->ctx->budget;
    uint64_t cap = atomic_load_explicit(&all->cap, memory_order_relaxed);
    /* The readers and columns of the slices need the rest. */
    budget_init(&x.budget, all, "compare", cap == 0 ? COMPARE_BYTES : MIN(COMPARE_BYTES, cap / 4));
    total->fast_compare = true;
    enum ec ec = find_keys(&x, err);
    if (ec == EC_OK)
        ec = roots_shared(&x, err);
    if (ec == EC_OK)
        ec = all_rounds(&x, err);
    keys_deinit(&x.keys);
    roots_free(x.shared);
    budget_deinit(&x.budget);
    return ec;
}
