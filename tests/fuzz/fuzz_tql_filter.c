/* SPDX-License-Identifier: Apache-2.0
 * Autocomplete filters and tag identifiers: any text is an answer or "unfiltered"; groups keep
 * their rules. */
#include "query/tql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_groups(const struct tql_filter_groups *g)
{
    ASSERT(g->n_groups >= 1 && g->n_groups <= 100);
    for (uint32_t i = 0; i < g->n_groups; i++) {
        ASSERT(g->groups[i].n_conds >= 1);
        for (uint32_t k = 0; k < g->groups[i].n_conds; k++) {
            const struct tql_expr *e = g->groups[i].conds[k];
            ASSERT(e->kind == TQL_E_BINARY || e->kind == TQL_E_EXISTS || e->kind == TQL_E_ABSENT);
            ASSERT(e->lhs->kind == TQL_E_ATTR);
            ASSERT(e->lhs->attr->intrinsic != TQL_I_NONE || e->lhs->attr->scope != TQL_SCOPE_NONE);
            if (e->kind == TQL_E_BINARY)
                ASSERT(e->rhs->kind == TQL_E_STATIC);
            if (e->op == TQL_OP_RE || e->op == TQL_OP_NRE)
                ASSERT(e->regex != NULL);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = str_n((const char *)data, n);
    struct budget budget;
    struct arena arena;
    struct err err;
    const struct tql_filter_groups *groups;
    const struct tql_attr *attr, *again;
    budget_init(&budget, NULL, "fuzz", 256u << 20);
    arena_init(&arena, &budget, 0);
    enum ec ec = tql_filter_groups_parse(text, NULL, 0, &arena, &groups, &err);
    if (ec == EC_OK && groups != NULL)
        check_groups(groups);
    ASSERT(ec == EC_OK || ec == EC_INVALID);
    if (tql_attr_parse(text, &arena, &attr, &err) == EC_OK) {
        ec = tql_attr_parse(attr->text, &arena, &again, &err);
        ASSERT(ec == EC_OK);
        ASSERT(str_eq(attr->text, again->text));
    }
    arena_deinit(&arena);
    budget_deinit(&budget);
    return 0;
}
