/* SPDX-License-Identifier: Apache-2.0
 * Facts of a block, and what is known of its attributes: shared by all copies of the facts. */
#include <stdlib.h>

#include "filter.h"
#include "storage/block.h"

struct block_known *block_known_new(uint32_t n_lists)
{
    ASSERT(n_lists <= BLOCK_LISTS_MAX);
    struct block_known *k = xcalloc(1, sizeof(*k) + n_lists * sizeof(k->lists[0]));
    atomic_init(&k->refs, 1);
    k->n_lists = n_lists;
    return k;
}

struct block_known *block_known_ref(struct block_known *k)
{
    if (k != NULL)
        atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void block_known_unref(struct block_known *k)
{
    if (k != NULL && atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
        free(k);
}

bool block_known_equal(const struct block_known *a, const struct block_known *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return memcmp(a->names, b->names, sizeof(a->names)) == 0 && a->n_lists == b->n_lists &&
           memcmp(a->lists, b->lists, a->n_lists * sizeof(a->lists[0])) == 0;
}

static int list_cmp(const void *a, const void *b)
{
    const struct block_list *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

void block_known_sort(struct block_known *k)
{
    qsort(k->lists, k->n_lists, sizeof(k->lists[0]), list_cmp);
}

const struct block_list *block_known_find(
    const struct block_known *k, enum part_table t, struct str key, col_id col)
{
    if (k == NULL)
        return NULL;
    struct block_list want = {
        .key = key.p == NULL ? block_col_seed(col) : block_attr_seed(t, key, BLOCK_HAS_KEY)};
    return bsearch(&want, k->lists, k->n_lists, sizeof(k->lists[0]), list_cmp);
}

uint64_t block_list_add(uint64_t hash, struct str s)
{
    return hash64_seed(s.p, s.n, hash + 1);
}

void block_facts_copy(struct block_facts *ret, const struct block_facts *f)
{
    *ret = *f;
    ret->known = block_known_ref(f->known);
    ret->inputs = NULL;
    if (f->n_inputs > 0) {
        ret->inputs = xmalloc(f->n_inputs * sizeof(*f->inputs));
        memcpy(ret->inputs, f->inputs, f->n_inputs * sizeof(*f->inputs));
    }
}

void block_facts_deinit(struct block_facts *f)
{
    block_known_unref(f->known);
    f->known = NULL;
    free(f->inputs);
    f->inputs = NULL;
    f->n_inputs = 0;
}
