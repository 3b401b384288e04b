/* SPDX-License-Identifier: Apache-2.0
 * Power loss in the simulated file system: what the disk holds then. See io_sim.h. */
#include "io_sim_private.h"

uint64_t io_sim_random(struct io_sim *s, uint64_t n)
{
    s->random += 0x9e3779b97f4a7c15ULL;
    return hash_mix(s->random) % n;
}

/* Blobs. */

struct sim_blob *sim_blob_new(size_t cap)
{
    struct sim_blob *b = xmalloc(sizeof(*b) + cap);
    b->refs = 1;
    b->n = 0;
    b->cap = cap;
    return b;
}

struct sim_blob *sim_blob_ref(struct sim_blob *b)
{
    b->refs++;
    return b;
}

void sim_blob_unref(struct sim_blob *b)
{
    if (b != NULL && --b->refs == 0)
        free(b);
}

uint8_t *sim_blob_edit(struct sim_blob **at, uint64_t size)
{
    struct sim_blob *b = *at;
    if (b->refs > 1 || b->cap < size) {
        b = sim_blob_new(MAX((size_t)size, (*at)->refs > 1 ? (*at)->n : 2 * (*at)->n));
        b->n = MIN((*at)->n, (size_t)size);
        memcpy(b->p, (*at)->p, b->n);
        sim_blob_unref(*at);
        *at = b;
    }
    if (size > b->n)
        memset(b->p + b->n, 0, (size_t)size - b->n);
    b->n = (size_t)size;
    return b->p;
}

/* Names. */

struct sim_entry *sim_names_find(const sim_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->p[i].name, name) == 0)
            return &names->p[i];
    }
    return NULL;
}

void sim_names_del(sim_names *names, const char *name)
{
    struct sim_entry *e = sim_names_find(names, name);
    if (e == NULL)
        return;
    free(e->name);
    *e = names->p[--names->n];
}

void sim_names_put(sim_names *names, const char *name, struct sim_inode *inode)
{
    sim_names_del(names, name);
    struct sim_entry e = {xstrdup(name), inode};
    VEC_PUSH(names, e);
}

void sim_names_copy(sim_names *to, const sim_names *from)
{
    for (size_t i = 0; i < to->n; i++)
        free(to->p[i].name);
    to->n = 0;
    for (size_t i = 0; i < from->n; i++) {
        struct sim_entry e = {xstrdup(from->p[i].name), from->p[i].inode};
        VEC_PUSH(to, e);
    }
}

/* Bytes. */

/* One unit of one write: whole, torn, or zeroed. */
static void sim_unit_apply(struct io_sim *s, struct sim_blob *to, const struct sim_write *w,
    uint64_t from, uint64_t end, bool last)
{
    uint64_t chance = last ? io_sim_random(s, 8) : 7;
    uint64_t cut = end;

    if (chance == 0)
        cut = from + io_sim_random(s, end - from + 1);
    for (uint64_t at = from; at < cut && at < to->n; at++)
        to->p[at] = chance == 1 ? 0 : w->p[at - w->off];
}

/* The unit takes some first of the writes to it; pages are never torn, sectors may be. */
static void sim_unit_settle(
    struct io_sim *s, const struct sim_inode *i, struct sim_blob *to, uint64_t at, uint64_t unit)
{
    uint64_t first = at * unit, end = first + unit, touching = 0;

    for (size_t k = 0; k < i->writes.n; k++) {
        const struct sim_write *w = &i->writes.p[k];
        touching += w->off < end && w->off + w->n > first;
    }
    if (touching == 0)
        return;
    uint64_t keep = io_sim_random(s, touching + 1);
    for (size_t k = 0; k < i->writes.n && keep > 0; k++) {
        const struct sim_write *w = &i->writes.p[k];
        if (w->off >= end || w->off + w->n <= first)
            continue;
        keep--;
        sim_unit_apply(
            s, to, w, MAX(first, w->off), MIN(end, w->off + w->n), keep == 0 && unit == SIM_SECTOR);
    }
}

static enum io_sim_bytes sim_bytes_draw(struct io_sim *s)
{
    static const enum io_sim_bytes draw[] = {SIM_BYTES_SECTORS, SIM_BYTES_SECTORS,
        SIM_BYTES_SECTORS, SIM_BYTES_PAGES, SIM_BYTES_PAGES, SIM_BYTES_NONE, SIM_BYTES_ALL,
        SIM_BYTES_ZEROS};
    return draw[io_sim_random(s, ARRAY_LEN(draw))];
}

/* A new reference. All chance comes from s, which need not be the system of the file. */
static struct sim_blob *sim_file_settled(
    struct io_sim *s, const struct sim_inode *i, enum io_sim_bytes bytes)
{
    struct sim_blob *to = sim_blob_ref(i->safe);

    if (i->writes.n == 0)
        return to;
    if (bytes == SIM_BYTES_MIX)
        bytes = sim_bytes_draw(s);
    if (bytes == SIM_BYTES_NONE)
        return to;
    if (bytes == SIM_BYTES_ALL) {
        for (size_t k = 0; k < i->writes.n; k++)
            sim_write_apply(&to, &i->writes.p[k]);
        return to;
    }
    if (bytes == SIM_BYTES_ZEROS) {
        sim_blob_edit(&to, i->writes.p[i->writes.n - 1].size_after);
        return to;
    }
    uint64_t pick = io_sim_random(s, i->writes.n + 1), end = 0, begin = UINT64_MAX;
    uint64_t unit = bytes == SIM_BYTES_PAGES ? SIM_PAGE : SIM_SECTOR;
    sim_blob_edit(&to, pick > 0 ? i->writes.p[pick - 1].size_after : to->n);
    for (size_t k = 0; k < i->writes.n; k++) {
        const struct sim_write *w = &i->writes.p[k];
        end = MAX(end, w->off + w->n);
        begin = MIN(begin, w->off);
    }
    end = MIN(end, to->n);
    for (uint64_t at = begin / unit; at * unit < end; at++)
        sim_unit_settle(s, i, to, at, unit);
    return to;
}

void io_sim_power_loss(struct io_sim *s)
{
    io_sim_kill(s);
    for (size_t k = 0; k < s->dir_ops.n; k++) {
        if (io_sim_random(s, 2) == 0)
            sim_dir_op_save(&s->dir_ops.p[k]);
        sim_dir_op_free(&s->dir_ops.p[k]);
    }
    s->dir_ops.n = 0;
    for (struct sim_inode *i = s->all; i != NULL; i = i->next_all) {
        if (i->is_dir) {
            sim_names_copy(&i->names, &i->safe_names);
            continue;
        }
        struct sim_blob *settled = sim_file_settled(s, i, SIM_BYTES_SECTORS);
        sim_writes_forget(i);
        sim_blob_unref(i->now);
        sim_blob_unref(i->safe);
        i->now = settled;
        i->safe = sim_blob_ref(settled);
    }
}

/* Images. */

void io_sim_hook(struct io_sim *s, io_sim_hook_fn fn, void *ctx)
{
    s->hook = fn;
    s->hook_ctx = ctx;
}

/* The unsynced changes of names that come through, applied to the copies' names. */
static void sim_image_ops(struct io_sim *s, struct io_sim *c, enum io_sim_names names)
{
    size_t n = s->dir_ops.n;
    if (names == SIM_NAMES_NONE)
        n = 0;
    else if (names == SIM_NAMES_FIRST)
        n = (size_t)io_sim_random(c, n + 1);
    for (size_t k = 0; k < n; k++) {
        const struct sim_dir_op *op = &s->dir_ops.p[k];
        if (names == SIM_NAMES_ANY && io_sim_random(c, 2) == 0)
            continue;
        if (op->from != NULL)
            sim_names_del(&op->from_dir->copy->names, op->from);
        if (op->to != NULL)
            sim_names_put(&op->to_dir->copy->names, op->to, op->inode);
    }
}

/* Names point to the originals still: replaces them by copies, all the way down. */
static void sim_image_walk(struct io_sim *c, struct sim_inode *dir, enum io_sim_bytes bytes)
{
    for (size_t k = 0; k < dir->names.n; k++) {
        struct sim_inode *from = dir->names.p[k].inode;
        if (from->is_dir) {
            sim_image_walk(c, from->copy, bytes);
        } else if (from->copy == NULL) {
            from->copy = sim_inode_new(c, false);
            sim_blob_unref(from->copy->now);
            sim_blob_unref(from->copy->safe);
            from->copy->now = sim_file_settled(c, from, bytes);
            from->copy->safe = sim_blob_ref(from->copy->now);
        }
        dir->names.p[k].inode = from->copy;
    }
    sim_names_copy(&dir->safe_names, &dir->names);
}

struct io_sim *io_sim_image(struct io_sim *s, const struct io_sim_loss *loss, uint64_t seed)
{
    struct io_sim *c = io_sim_new(seed);
    for (struct sim_inode *i = s->all; i != NULL; i = i->next_all) {
        i->copy = NULL;
        if (!i->is_dir)
            continue;
        i->copy = i == s->root ? c->root : sim_inode_new(c, true);
        sim_names_copy(&i->copy->names, &i->safe_names);
    }
    sim_image_ops(s, c, loss->names);
    sim_image_walk(c, c->root, loss->bytes);
    return c;
}

bool io_sim_is_durable(struct io_sim *s, const char *path)
{
    const struct sim_inode *dir = s->root, *now = sim_lookup(s, path);
    char name[SIM_NAME_MAX];
    struct str rest = str_from(path);

    while (rest.n > 0) {
        const char *slash = memchr(rest.p, '/', rest.n);
        size_t n = slash == NULL ? rest.n : (size_t)(slash - rest.p);
        if (n >= sizeof(name))
            return false;
        memcpy(name, rest.p, n);
        name[n] = 0;
        rest = str_n(rest.p + n + (slash != NULL), rest.n - n - (slash != NULL));
        if (n == 0)
            continue;
        const struct sim_entry *e = dir->is_dir ? sim_names_find(&dir->safe_names, name) : NULL;
        if (e == NULL)
            return false;
        dir = e->inode;
    }
    return dir == now && dir->writes.n == 0;
}
