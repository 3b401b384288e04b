/* SPDX-License-Identifier: Apache-2.0
 * The tree of a scan: binding it to a reader, evaluating it group by group. */
#include "storage/scan.h"

#include <stdlib.h>

#include "scan_impl.h"

static enum ec oom(struct err *err)
{
    return ERR(err, EC_LIMIT, "no memory for a scan");
}

static uint32_t expr_leaves(const struct scan_expr *e, uint32_t depth)
{
    if (depth > SCAN_DEPTH_MAX || e->node == SCAN_LEAF)
        return 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_kids; i++)
        n += expr_leaves(e->kids[i], depth + 1);
    return n;
}

static void tree_sum(struct scan_tree *t)
{
    bool all_none = true, any_none = false;
    t->cost = 0;
    for (uint32_t i = 0; i < t->n_kids; i++) {
        t->cost += t->kids[i]->cost;
        all_none &= t->kids[i]->none;
        any_none |= t->kids[i]->none;
    }
    t->none = t->node == SCAN_AND ? any_none : t->node == SCAN_OR ? all_none : false;
    if (t->node != SCAN_AND)
        return;
    for (uint32_t i = 1; i < t->n_kids; i++) { /* insertion sort: few kids, stable */
        struct scan_tree *kid = t->kids[i];
        uint32_t at = i;
        for (; at > 0 && t->kids[at - 1]->cost > kid->cost; at--)
            t->kids[at] = t->kids[at - 1];
        t->kids[at] = kid;
    }
}

static enum ec tree_new(struct scan *s, const struct scan_expr *e, uint32_t depth,
    struct scan_tree **ret, struct err *err)
{
    if (depth > SCAN_DEPTH_MAX)
        return ERR(err, EC_INVALID, "conditions nest deeper than %u", SCAN_DEPTH_MAX);
    struct scan_tree *t = ARENA_NEW(&s->arena, struct scan_tree);
    if (t == NULL)
        return oom(err);
    t->node = e->node;
    if (e->node == SCAN_LEAF) {
        t->leaf = ARENA_NEW(&s->arena, struct leaf);
        if (t->leaf == NULL)
            return oom(err);
        s->leaves[s->n_leaves++] = t->leaf;
        TRY(leaf_init(s, t->leaf, &e->leaf, &t->none, err));
        t->cost = t->none ? 0 : leaf_cost(t->leaf);
    } else if (e->node != SCAN_ALL) {
        ASSERT(e->node != SCAN_NOT || e->n_kids == 1);
        t->n_kids = e->n_kids;
        t->kids = ARENA_ARRAY(&s->arena, e->n_kids, struct scan_tree *);
        if (e->n_kids != 0 && t->kids == NULL)
            return oom(err);
        for (uint32_t i = 0; i < e->n_kids; i++)
            TRY(tree_new(s, e->kids[i], depth + 1, &t->kids[i], err));
        tree_sum(t);
    }
    *ret = t;
    return EC_OK;
}

static void scan_freep(struct scan **s)
{
    scan_free(*s);
}

enum ec scan_new(
    struct part_reader *r, const struct scan_expr *expr, struct scan **ret, struct err *err)
{
    if (!budget_take(r->budget, sizeof(struct scan)))
        return oom(err);
    CLEANUP(scan_freep) struct scan *s = xcalloc(1, sizeof(*s));
    s->r = r;
    arena_init(&s->arena, r->budget, 0);
    buf_init(&s->values, r->budget);
    buf_init(&s->rows, r->budget);
    part_info(r, &s->info);
    s->leaves = ARENA_ARRAY(&s->arena, expr_leaves(expr, 0), struct leaf *);
    if (s->leaves == NULL)
        return oom(err);
    TRY(tree_new(s, expr, 0, &s->root, err));
    *ret = TAKE_PTR(s);
    return EC_OK;
}

void scan_free(struct scan *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->n_leaves; i++)
        leaf_deinit(s, s->leaves[i]);
    buf_deinit(&s->values);
    buf_deinit(&s->rows);
    arena_deinit(&s->arena);
    budget_give(s->r->budget, sizeof(*s));
    free(s);
}

bool scan_none(const struct scan *s)
{
    return s->root->none || s->info.n_rows == 0;
}

static enum ec tree_group(struct scan *s, const struct scan_tree *t, uint32_t g,
    const struct part_group *pg, struct scan_bits *ret, struct err *err)
{
    struct scan_bits side;
    if (t->none) {
        scan_bits_clear(ret, pg->n_rows);
        return EC_OK;
    }
    switch (t->node) {
    case SCAN_LEAF:
        return leaf_group(s, t->leaf, g, pg, ret, err);
    case SCAN_ALL:
        scan_bits_fill(ret, pg->n_rows);
        return EC_OK;
    case SCAN_NOT:
        TRY(tree_group(s, t->kids[0], g, pg, ret, err));
        scan_bits_not(ret);
        return EC_OK;
    case SCAN_AND:
        scan_bits_fill(ret, pg->n_rows);
        for (uint32_t i = 0; i < t->n_kids && scan_bits_any(ret); i++) {
            TRY(tree_group(s, t->kids[i], g, pg, &side, err));
            scan_bits_and(ret, &side);
        }
        return EC_OK;
    case SCAN_OR:
        scan_bits_clear(ret, pg->n_rows);
        for (uint32_t i = 0; i < t->n_kids; i++) {
            TRY(tree_group(s, t->kids[i], g, pg, &side, err));
            scan_bits_or(ret, &side);
        }
        return EC_OK;
    }
    return ERR(err, EC_INTERNAL, "scan node %d", (int)t->node);
}

enum ec scan_group(struct scan *s, uint32_t g, struct scan_bits *ret, struct err *err)
{
    struct part_group pg;
    TRY(part_group(s->r, g, &pg, err));
    return tree_group(s, s->root, g, &pg, ret, err);
}

enum ec scan_single(struct scan *s, uint32_t g, bool *ret, struct err *err)
{
    struct part_group pg;
    *ret = true;
    TRY(part_group(s->r, g, &pg, err));
    for (uint32_t i = 0; i < s->n_leaves && *ret; i++)
        TRY(leaf_single(s, s->leaves[i], g, &pg, ret, err));
    return EC_OK;
}
