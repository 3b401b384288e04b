/* SPDX-License-Identifier: Apache-2.0
 * The list of a tenant's parts, and the only way to change it.
 *
 * Readers hold a struct part_set: immutable, reference counted, newest part first. A change (flush,
 * compaction, retention) is: one catalog transaction, then under tenant.lock the list is edited and
 * a new set published in one step. A reader has the old set or the new one: never both a sealed
 * head and its block, never neither.
 *
 * A file that leaves the list is removed when nobody else holds its part; until then it is a
 * zombie. Blocks open their file lazily, so its name has to stay while a snapshot may still ask for
 * it. Should the process die before that, the file is found at start: the footer of its successor
 * lists it.
 * INVARIANT: a block with zombies is not compacted, so that this list is in a footer that still
 * exists.
 */
#include <stdio.h>
#include <stdlib.h>

#include "store_private.h"

char *block_path(
    const struct tenant *t, const char *prefix, const uint8_t uuid[16], const char *suffix)
{
    char text[UUID_TEXT + 1];
    uuid_text(text, uuid);
    return path_printf("%s/%s%s%s", t->data_dir, prefix, text, suffix);
}

/* The part may outlive its store_block (an old set still holds it): only the store is safe here. */
static void store_block_corrupt(void *ctx, const uint8_t uuid[16], const struct err *e)
{
    const struct store *s = ctx;
    char text[UUID_TEXT + 1];
    ASSERT(s->magic == STORE_MAGIC);
    uuid_text(text, uuid);
    metric_inc(metric_series1(&store_families.corruptions, STR("block")));
    log_event(LOG_ERROR, "damaged block: answers go on without what is unreadable",
        LZ("block", text), LE(e));
}

enum ec store_block_new(
    struct tenant *t, const struct block_facts *facts, struct store_block **ret, struct err *err)
{
    CLEANUP(freep) char *path = block_path(t, "", facts->uuid, ".block");
    struct store_block *b = xcalloc(1, sizeof(*b));
    atomic_store(&b->refs, 1);
    block_facts_copy(&b->facts, facts);
    const struct block_open_options opt = {
        .io = t->store->opt.io,
        .path = path,
        .tenant = t->id,
        .facts = &b->facts,
        .cache = t->store->cache,
        .on_corrupt = store_block_corrupt,
        .on_corrupt_ctx = t->store,
    };
    enum ec ec = block_open(&opt, &b->part, err);
    if (ec != EC_OK) {
        block_facts_deinit(&b->facts);
        free(b);
        return ec;
    }
    *ret = b;
    return EC_OK;
}

struct store_block *store_block_ref(struct store_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void store_block_unref(struct store_block *b)
{
    if (b == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    part_unref(b->part);
    block_facts_deinit(&b->facts);
    free(b);
}

enum ec tenant_data_dir(struct tenant *t, struct err *err)
{
    struct io *io = t->store->opt.io;
    pthread_mutex_lock(&t->lock);
    bool made = t->data_dir_made;
    pthread_mutex_unlock(&t->lock);
    if (made)
        return EC_OK;
    TRY(io_mkdir(io, "store.tenant_mkdir", t->data_dir, err));
    TRY(io_fsync_dir(io, "store.tenant_mkdir_sync", t->store->data_root, err));
    pthread_mutex_lock(&t->lock);
    t->data_dir_made = true;
    pthread_mutex_unlock(&t->lock);
    return EC_OK;
}

/* By arrival: a trace that lies in several blocks is put together in the order in which its spans
 * came, and of a retried span the first copy stays, as if all lay in one block. */
static int block_newest_first(const void *a, const void *b)
{
    const struct store_block *const *ba = a;
    const struct store_block *const *bb = b;
    if ((*ba)->facts.lsn_first != (*bb)->facts.lsn_first)
        return (*ba)->facts.lsn_first > (*bb)->facts.lsn_first ? -1 : 1;
    if ((*ba)->facts.max_end_ns != (*bb)->facts.max_end_ns)
        return (*ba)->facts.max_end_ns > (*bb)->facts.max_end_ns ? -1 : 1;
    return memcmp((*ba)->facts.uuid, (*bb)->facts.uuid, 16);
}

void tenant_blocks_sort(struct tenant *t)
{
    if (t->blocks.n > 1)
        qsort(t->blocks.p, t->blocks.n, sizeof(*t->blocks.p), block_newest_first);
}

static void blocks_count(struct tenant *t, const struct store_block *b, bool add)
{
    uint64_t *sums[] = {&t->blocks_bytes, &t->blocks_spans, &t->blocks_traces};
    const uint64_t facts[] = {b->facts.file_bytes, b->facts.n_spans, b->facts.n_traces};
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        ASSERT(add || *sums[i] >= facts[i]);
        *sums[i] += add ? facts[i] : -facts[i];
    }
    if (add)
        atomic_fetch_add(&t->store->blocks_bytes, b->facts.file_bytes);
    else
        atomic_fetch_sub(&t->store->blocks_bytes, b->facts.file_bytes);
}

void tenant_block_insert(struct tenant *t, struct store_block *b)
{
    VEC_PUSH(&t->blocks, b);
    blocks_count(t, b, true);
    if (b->facts.lsn_last > t->lsn_covered)
        t->lsn_covered = b->facts.lsn_last;
}

void part_set_unref(struct part_set *set)
{
    if (set == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    for (size_t i = 0; i < set->n; i++)
        part_unref(set->parts[i]);
    free(set);
}

static void set_add_head(struct part_set *set, struct head *h)
{
    /* A head grows: its range is not known here and readers must not prune on it. */
    set->facts[set->n] =
        (struct block_facts_brief){.min_start_ns = 0, .max_end_ns = UINT64_MAX, .is_head = true};
    set->parts[set->n++] = part_ref(head_part(h));
}

/* Newest first; the sealed list is oldest first. */
static void set_add_sealed(struct part_set *set, const struct sealed_head *first, size_t n)
{
    set->n += n;
    size_t at = set->n;
    for (const struct sealed_head *sh = first; sh != NULL; sh = sh->next) {
        ASSERT(n-- > 0);
        at--;
        set->facts[at] = (struct block_facts_brief){
            .max_end_ns = UINT64_MAX, .bytes = sh->memory_bytes, .is_head = true};
        set->parts[at] = part_ref(head_part(sh->head));
    }
    ASSERT(n == 0);
}

void tenant_publish(struct tenant *t)
{
    size_t cap = (t->head != NULL) + t->n_sealed + t->blocks.n;
    size_t parts_bytes = sizeof(struct part_set) + cap * sizeof(struct part *);
    struct part_set *set = xmalloc(parts_bytes + cap * sizeof(*set->facts));
    atomic_init(&set->refs, 1);
    set->n = 0;
    set->facts = (void *)((char *)set + parts_bytes);
    if (t->head != NULL)
        set_add_head(set, t->head);
    set_add_sealed(set, t->sealed, t->n_sealed);
    for (size_t i = 0; i < t->blocks.n; i++) {
        const struct store_block *b = t->blocks.p[i];
        DASSERT(i == 0 || block_newest_first(&t->blocks.p[i - 1], &t->blocks.p[i]) < 0);
        set->facts[set->n] = (struct block_facts_brief){.min_start_ns = b->facts.min_start_ns,
            .max_end_ns = b->facts.max_end_ns,
            .bytes = b->facts.file_bytes};
        set->parts[set->n++] = part_ref(b->part);
    }
    ASSERT(set->n == cap);
    struct part_set *old = t->set;
    pthread_mutex_lock(&t->set_lock);
    t->set = set;
    pthread_mutex_unlock(&t->set_lock);
    part_set_unref(old);
}

size_t tenant_blocks(struct tenant *t, struct store_block ***ret)
{
    pthread_mutex_lock(&t->lock);
    size_t n = t->blocks.n;
    *ret = xcalloc(n + 1, sizeof(**ret));
    for (size_t i = 0; i < n; i++)
        (*ret)[i] = store_block_ref(t->blocks.p[i]);
    pthread_mutex_unlock(&t->lock);
    return n;
}

void store_blocks_free(struct store_block **p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_block_unref(p[i]);
    free(p);
}

static size_t block_index(const struct tenant *t, const struct store_block *b)
{
    for (size_t i = 0; i < t->blocks.n; i++)
        if (t->blocks.p[i] == b)
            return i;
    return SIZE_MAX;
}

/* The heart of every change: under tenant.lock, all or nothing, one publication. */
static void change_apply(struct tenant *t, const struct block_change *c)
{
    for (size_t i = 0; i < c->n_gone; i++) {
        size_t at = block_index(t, c->gone[i]);
        ASSERT(at != SIZE_MAX);
        blocks_count(t, c->gone[i], false);
        memmove(
            &t->blocks.p[at], &t->blocks.p[at + 1], (t->blocks.n - at - 1) * sizeof(*t->blocks.p));
        t->blocks.n--;
    }
    if (c->add != NULL) {
        tenant_block_insert(t, store_block_ref(c->add));
        tenant_blocks_sort(t);
    }
    if (c->flushed != NULL) {
        ASSERT(t->sealed == c->flushed);
        t->sealed = c->flushed->next;
        if (t->sealed == NULL)
            t->sealed_last = NULL;
        ASSERT(t->n_sealed > 0);
        t->n_sealed--;
    }
    tenant_publish(t);
}

enum ec tenant_change(struct tenant *t, const struct block_change *c, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    bool live = true;
    for (size_t i = 0; i < c->n_gone && live; i++)
        live = block_index(t, c->gone[i]) != SIZE_MAX;
    pthread_mutex_unlock(&t->lock);
    if (!live)
        return ERR(err, EC_CONFLICT, "a block of the change is no longer live");

    CLEANUP(freep) uint8_t(*removes)[16] = xcalloc(c->n_gone + 1, sizeof(*removes));
    for (size_t i = 0; i < c->n_gone; i++)
        memcpy(removes[i], c->gone[i]->facts.uuid, 16);
    TRY(catalog_change(t->store, t->id, c->add == NULL ? NULL : &c->add->facts, c->add != NULL,
        (const uint8_t(*)[16])removes, c->n_gone, err));

    pthread_mutex_lock(&t->lock);
    change_apply(t, c);
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; i < c->n_gone; i++) {
        zombie_add(t, c->gone[i], c->add);
        store_block_unref(c->gone[i]); /* the list's own reference */
    }
    if (c->flushed != NULL) {
        head_free(c->flushed->head);
        free(c->flushed);
    }
    return EC_OK;
}

/* Rewrites the catalog from what is live in memory: footers and memory are the truth, it is a
 * cache. */
static enum ec catalog_rebuild(struct store *s, struct err *err)
{
    catalog_close(s->catalog);
    s->catalog = NULL;
    enum ec ec = io_remove_tree(s->opt.io, "catalog.rewrite_remove", s->catalog_dir, err);
    if (ec != EC_OK && ec != EC_NOT_FOUND) /* gone: a rebuild before this one got no further */
        return ec;
    const struct catalog_options opt = {.io = s->opt.io, .dir = s->catalog_dir};
    TRY(catalog_open(&opt, &s->catalog, err));
    struct tenant_list all;
    tenant_list(s, &all);
    ec = EC_OK;
    for (size_t i = 0; i < all.n && ec == EC_OK; i++) {
        struct store_block **blocks;
        size_t n = tenant_blocks(all.p[i], &blocks);
        struct block_facts *facts = xcalloc(n + 1, sizeof(*facts));
        for (size_t k = 0; k < n; k++)
            facts[k] = blocks[k]->facts; /* borrowed: the blocks are held */
        if (n > 0)
            ec = catalog_commit(s->catalog, all.p[i]->id, facts, n, NULL, 0, err);
        free(facts);
        store_blocks_free(blocks, n);
    }
    tenant_list_free(&all);
    return ec;
}

enum ec catalog_change(struct store *s, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err)
{
    pthread_mutex_lock(&s->catalog_lock);
    enum ec ec = EC_CORRUPT;
    io_kill_point("catalog.commit");
    if (s->catalog != NULL)
        ec = catalog_commit(s->catalog, tenant, adds, n_adds, removes, n_removes, err);
    if (ec == EC_CORRUPT) {
        metric_inc(metric_series1(&store_families.corruptions, STR("catalog")));
        log_event(LOG_ERROR, "catalog is damaged: rebuilding it from the blocks", LE(err));
        ec = catalog_rebuild(s, err);
        if (ec == EC_OK)
            ec = catalog_commit(s->catalog, tenant, adds, n_adds, removes, n_removes, err);
    }
    io_kill_point("catalog.committed");
    pthread_mutex_unlock(&s->catalog_lock);
    if (ec != EC_OK)
        (void)err_prefix(err, "catalog commit for tenant " STR_FMT, STR_ARG(tenant));
    return ec;
}

void zombie_add(struct tenant *t, struct store_block *b, struct store_block *successor)
{
    struct store *s = t->store;
    struct zombie *z = xcalloc(1, sizeof(*z));
    z->tenant = tenant_ref(t);
    z->block = store_block_ref(b);
    if (successor != NULL) {
        z->successor = store_block_ref(successor);
        atomic_fetch_add(&successor->zombies, 1);
    }
    pthread_mutex_lock(&s->zombie_lock);
    z->next = s->zombies;
    s->zombies = z;
    pthread_mutex_unlock(&s->zombie_lock);
}

static bool zombie_unlink(struct store *s, const struct zombie *z)
{
    struct err e = {0};
    CLEANUP(freep) char *from = block_path(z->tenant, "", z->block->facts.uuid, ".block");
    CLEANUP(freep) char *to = block_path(z->tenant, ".del-", z->block->facts.uuid, "");
    enum ec ec = io_rename(s->opt.io, "block.del_rename", from, to, &e);
    if (ec == EC_OK || ec == EC_NOT_FOUND)
        ec = io_unlink(s->opt.io, "block.del_unlink", to, &e);
    /* Durable before the next log number is given out on the strength of "that block is gone". */
    if (ec == EC_OK || ec == EC_NOT_FOUND)
        ec = io_fsync_dir(s->opt.io, "block.del_sync", z->tenant->data_dir, &e);
    if (ec == EC_OK || ec == EC_NOT_FOUND) {
        metric_inc(store_metrics.retain_deleted);
        return true;
    }
    log_event(LOG_DEBUG, "cannot remove a block yet", LZ("path", from), LE(&e));
    metric_inc(store_metrics.retain_errors);
    return false;
}

static void zombie_free(struct zombie *z)
{
    if (z->successor != NULL) {
        atomic_fetch_sub(&z->successor->zombies, 1);
        store_block_unref(z->successor);
    }
    store_block_unref(z->block);
    tenant_unref(z->tenant);
    free(z);
}

void zombies_reap(struct store *s, bool all)
{
    pthread_mutex_lock(&s->zombie_lock);
    struct zombie *todo = s->zombies, *keep = NULL;
    s->zombies = NULL;
    pthread_mutex_unlock(&s->zombie_lock);
    while (todo != NULL) {
        struct zombie *z = todo;
        todo = z->next;
        /* Nobody can take a new reference to a part that no set holds: 1 is ours and stays 1. */
        bool free_now = all || atomic_load(&z->block->part->refs) == 1;
        if (free_now && (zombie_unlink(s, z) || all)) {
            zombie_free(z);
        } else {
            z->next = keep;
            keep = z;
        }
    }
    if (keep == NULL)
        return;
    pthread_mutex_lock(&s->zombie_lock);
    struct zombie **at = &s->zombies;
    while (*at != NULL)
        at = &(*at)->next;
    *at = keep;
    pthread_mutex_unlock(&s->zombie_lock);
}
