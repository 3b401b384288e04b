/* SPDX-License-Identifier: Apache-2.0
 * TraceQL text: what parses prints as a text that parses to the same tree (its print is a fixed
 * point), and checking neither crashes nor grows past the budget. */
#include "query/tql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void print(struct buf *out, const struct tql_query *q)
{
    buf_init(out, NULL);
    tql_print_query(out, q);
    ASSERT(!buf_failed(out));
}

static void check_analysis(const struct tql_query *q)
{
    ASSERT(q->n_attrs <= q->n_attr_refs);
    uint32_t conds = 0;
    for (uint32_t i = 0; i < q->n_attrs; i++) {
        ASSERT(q->attrs[i]->index == i);
        conds += q->uses[i].n_conds;
        for (uint32_t k = 0; k < q->uses[i].n_conds; k++)
            ASSERT(q->uses[i].conds[k].attr == q->attrs[i]);
    }
    ASSERT(conds == q->n_conds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct budget budget;
    struct arena arena;
    struct tql_query *q, *again;
    struct err err;
    struct buf first, second;
    budget_init(&budget, NULL, "fuzz", 64u << 20);
    arena_init(&arena, &budget, 0);
    enum ec ec = tql_parse(str_n((const char *)data, n), &arena, &q, &err);
    if (ec != EC_OK) {
        ASSERT(ec == EC_INVALID);
        ASSERT(err.msg[0] != 0);
    } else {
        print(&first, q);
        ec = tql_parse(buf_str(&first), &arena, &again, &err);
        ASSERT(ec == EC_OK);
        print(&second, again);
        ASSERT(str_eq(buf_str(&first), buf_str(&second)));
        buf_deinit(&first);
        buf_deinit(&second);
        if (tql_check(q, &arena, &err) == EC_OK) {
            check_analysis(q);
            print(&first, q); /* of the folded tree */
            buf_deinit(&first);
        }
    }
    arena_deinit(&arena);
    budget_deinit(&budget);
    return 0;
}
