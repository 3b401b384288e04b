/* SPDX-License-Identifier: Apache-2.0
 * Which parts need no scan at all: by their filters, before a reader is opened. */
#include "scan_impl.h"
#include "storage/scan.h"

static bool none_equal(struct part *p, const struct scan_leaf *l)
{
    for (uint32_t i = 0; i < l->n_lits; i++)
        if (l->lits[i].type != SCAN_LIT_STR ||
            part_may_equal(p, l->table, l->key, l->col, l->lits[i].s))
            return false;
    return true;
}

static bool leaf_hopeless(struct part *p, const struct scan_leaf *l)
{
    bool equal = l->op == SCAN_EQ || l->op == SCAN_IN;
    if (l->key.p == NULL) {
        enum part_table table;
        enum col_phys phys;
        const char *name;
        if (!equal || !part_col_fixed(l->col, &table, &phys, &name) || phys != PHYS_CODE)
            return false;
        for (uint32_t i = 0; i < l->n_lits; i++) /* what rows hold that a column leaves out */
            if (l->lits[i].type == SCAN_LIT_STR && l->lits[i].s.n == 0)
                return false;
        return none_equal(p, l);
    }
    if (l->op == SCAN_ABSENT)
        return false;
    /* Each question of a filter reads a page the first time: what is known without goes first. */
    uint64_t list;
    bool strings = part_strings(p, l->table, l->key, 0, &list);
    if (!strings && !part_may_key(p, l->table, l->key, false))
        return true;
    return equal && none_equal(p, l) && (strings || !part_may_key(p, l->table, l->key, true));
}

bool scan_hopeless(struct part *p, const struct scan_expr *x, uint32_t depth)
{
    bool all = x->node == SCAN_OR; /* OR without kids matches nothing */
    switch (x->node) {
    case SCAN_LEAF:
        return leaf_hopeless(p, &x->leaf);
    case SCAN_AND:
    case SCAN_OR:
        if (depth >= SCAN_DEPTH_MAX)
            return false;
        for (uint32_t i = 0; i < x->n_kids; i++)
            if (scan_hopeless(p, x->kids[i], depth + 1) != all)
                return !all;
        return all;
    case SCAN_NOT:
    case SCAN_ALL:
        break;
    }
    return false;
}
