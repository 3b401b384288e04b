/* SPDX-License-Identifier: Apache-2.0
 * The simulated file system's operations. See io_sim.h for the model. */
#include <errno.h>
#include <fcntl.h>

#include "io_sim_private.h"

void sim_writes_forget(struct sim_inode *i)
{
    for (size_t k = 0; k < i->writes.n; k++)
        free(i->writes.p[k].p);
    i->writes.n = 0;
}

struct sim_inode *sim_inode_new(struct io_sim *s, bool is_dir)
{
    struct sim_inode *i = xcalloc(1, sizeof(*i));
    i->is_dir = is_dir;
    if (!is_dir) {
        i->now = sim_blob_new(0);
        i->safe = sim_blob_ref(i->now);
    }
    i->next_all = s->all;
    s->all = i;
    return i;
}

static void sim_inode_free(struct sim_inode *i)
{
    sim_writes_forget(i);
    VEC_FREE(&i->writes);
    sim_blob_unref(i->now);
    sim_blob_unref(i->safe);
    while (i->names.n > 0)
        free(i->names.p[--i->names.n].name);
    while (i->safe_names.n > 0)
        free(i->safe_names.p[--i->safe_names.n].name);
    VEC_FREE(&i->names);
    VEC_FREE(&i->safe_names);
    free(i);
}

/* Walks to the directory that holds the last component, which is copied to `name` (empty for "/").
 * */
static struct sim_inode *sim_parent(struct io_sim *s, const char *path, char name[SIM_NAME_MAX])
{
    struct sim_inode *dir = s->root;
    struct str rest = str_from(path);

    name[0] = 0;
    for (;;) {
        while (rest.n > 0 && rest.p[0] == '/')
            rest = str_n(rest.p + 1, rest.n - 1);
        if (rest.n == 0)
            return dir;
        if (name[0] != 0) {
            const struct sim_entry *e = sim_names_find(&dir->names, name);
            if (e == NULL || !e->inode->is_dir) {
                errno = e == NULL ? ENOENT : ENOTDIR;
                return NULL;
            }
            dir = e->inode;
        }
        struct str part = rest;
        const char *slash = memchr(rest.p, '/', rest.n);
        if (slash != NULL)
            part.n = (size_t)(slash - rest.p);
        if (part.n >= SIM_NAME_MAX) {
            errno = ENAMETOOLONG;
            return NULL;
        }
        memcpy(name, part.p, part.n);
        name[part.n] = 0;
        rest = str_n(rest.p + part.n, rest.n - part.n);
    }
}

struct sim_inode *sim_lookup(struct io_sim *s, const char *path)
{
    char name[SIM_NAME_MAX];
    struct sim_inode *dir = sim_parent(s, path, name);
    if (dir == NULL || name[0] == 0)
        return dir;
    const struct sim_entry *e = sim_names_find(&dir->names, name);
    if (e == NULL)
        errno = ENOENT;
    return e == NULL ? NULL : e->inode;
}

/* Changes the page cache's names now, and notes the change for the next directory sync. */
static void sim_dir_change(struct io_sim *s, struct sim_inode *from_dir, const char *from,
    struct sim_inode *to_dir, const char *to, struct sim_inode *inode)
{
    struct sim_dir_op op = {.from_dir = from_dir, .to_dir = to_dir, .inode = inode};
    if (from != NULL) {
        op.from = xstrdup(from);
        sim_names_del(&from_dir->names, from);
    }
    if (to != NULL) {
        op.to = xstrdup(to);
        sim_names_put(&to_dir->names, to, inode);
    }
    VEC_PUSH(&s->dir_ops, op);
}

void sim_dir_op_save(const struct sim_dir_op *op)
{
    if (op->from != NULL)
        sim_names_del(&op->from_dir->safe_names, op->from);
    if (op->to != NULL)
        sim_names_put(&op->to_dir->safe_names, op->to, op->inode);
}

void sim_dir_op_free(struct sim_dir_op *op)
{
    free(op->from);
    free(op->to);
}

/* Makes the changes of one directory safe, in order. */
static void sim_dir_sync(struct io_sim *s, const struct sim_inode *dir)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->dir_ops.n; i++) {
        struct sim_dir_op *op = &s->dir_ops.p[i];
        if (op->from_dir == dir || op->to_dir == dir) {
            sim_dir_op_save(op);
            sim_dir_op_free(op);
        } else {
            s->dir_ops.p[kept++] = *op;
        }
    }
    s->dir_ops.n = kept;
}

/* Bytes. */

static void sim_write_note(struct sim_inode *i, const void *p, size_t n, uint64_t off)
{
    struct sim_write w = {.off = off, .n = n, .size_after = i->now->n};
    if (n > 0) {
        w.p = xmalloc(n);
        memcpy(w.p, p, n);
    }
    VEC_PUSH(&i->writes, w);
}

void sim_write_apply(struct sim_blob **to, const struct sim_write *w)
{
    if (w->n > 0)
        memcpy(sim_blob_edit(to, MAX((*to)->n, w->off + w->n)) + w->off, w->p, w->n);
    if ((*to)->n != w->size_after)
        sim_blob_edit(to, w->size_after);
}

static void sim_file_sync(struct sim_inode *i)
{
    /* Replayed rather than copied: a failed sync has taken writes off this list, and those are not
     * saved by a later one. */
    for (size_t k = 0; k < i->writes.n; k++)
        sim_write_apply(&i->safe, &i->writes.p[k]);
    sim_writes_forget(i);
}

/* Operations. */

/* True: the process is dead, errno is set. */
static bool sim_enter(struct io_sim *s)
{
    pthread_mutex_lock(&s->mu);
    s->ops++;
    if (s->die_at != 0 && --s->die_at == 0)
        s->dead = true;
    errno = EIO;
    return s->dead;
}

/* The same for what changes something: the hook may look before that. */
static bool sim_enter_change(struct io_sim *s, const char *op, const char *site, const char *path)
{
    if (s->hook != NULL)
        s->hook(s->hook_ctx, op, site, path);
    return sim_enter(s);
}

static int sim_leave(struct io_sim *s, int r)
{
    pthread_mutex_unlock(&s->mu);
    return r;
}

static struct sim_inode *sim_fd_inode(struct io_sim *s, int fd)
{
    if (fd < s->fd_first || (size_t)(fd - s->fd_first) >= s->fds.n ||
        s->fds.p[fd - s->fd_first].inode == NULL) {
        errno = EBADF;
        return NULL;
    }
    return s->fds.p[fd - s->fd_first].inode;
}

static int sim_open(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    struct io_sim *s = ctx;
    char name[SIM_NAME_MAX];
    (void)mode;

    if ((flags & (O_CREAT | O_TRUNC)) != 0 ? sim_enter_change(s, "open", site, path) : sim_enter(s))
        return sim_leave(s, -1);
    struct sim_inode *i = sim_lookup(s, path);
    if (i == NULL) {
        struct sim_inode *dir = sim_parent(s, path, name);
        if (dir == NULL || (flags & O_CREAT) == 0)
            return sim_leave(s, -1);
        i = sim_inode_new(s, false);
        sim_dir_change(s, NULL, NULL, dir, name, i);
    } else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        errno = EEXIST;
        return sim_leave(s, -1);
    } else if ((flags & O_TRUNC) != 0 && !i->is_dir) {
        sim_blob_edit(&i->now, 0);
        sim_write_note(i, NULL, 0, 0);
    }
    if ((flags & O_DIRECTORY) != 0 && !i->is_dir) {
        errno = ENOTDIR;
        return sim_leave(s, -1);
    }
    struct sim_fd fd = {i};
    VEC_PUSH(&s->fds, fd);
    return sim_leave(s, s->fd_first + (int)s->fds.n - 1);
}

static int sim_close(void *ctx, const char *site, int fd)
{
    struct io_sim *s = ctx;
    (void)site;

    if (sim_enter(s) || sim_fd_inode(s, fd) == NULL)
        return sim_leave(s, -1);
    s->fds.p[fd - s->fd_first].inode = NULL;
    return sim_leave(s, 0);
}

static ssize_t sim_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    struct io_sim *s = ctx;
    (void)site;

    const struct sim_inode *i = sim_enter(s) ? NULL : sim_fd_inode(s, fd);
    if (i == NULL)
        return sim_leave(s, -1);
    n = off >= i->now->n ? 0 : MIN(n, i->now->n - (size_t)off);
    if (n > 0)
        memcpy(p, i->now->p + off, n);
    sim_leave(s, 0);
    return (ssize_t)n;
}

static uint64_t sim_used(const struct io_sim *s)
{
    uint64_t n = 0;
    for (const struct sim_inode *i = s->all; i != NULL; i = i->next_all)
        n += i->now == NULL ? 0 : i->now->n;
    return n;
}

/* Room to grow this file to `size`? */
static bool sim_has_room(const struct io_sim *s, const struct sim_inode *i, uint64_t size)
{
    if (s->space == 0 || size <= i->now->n || sim_used(s) + size - i->now->n <= s->space)
        return true;
    errno = ENOSPC;
    return false;
}

static ssize_t sim_pwrite(
    void *ctx, const char *site, int fd, const void *p, size_t n, uint64_t off)
{
    struct io_sim *s = ctx;
    bool was_dead = s->dead;

    bool dead = sim_enter_change(s, "pwrite", site, NULL);
    struct sim_inode *i = was_dead ? NULL : sim_fd_inode(s, fd);
    if (i == NULL || !sim_has_room(s, i, off + n))
        return sim_leave(s, -1);
    if (dead) /* it died in the middle */
        n = (size_t)io_sim_random(s, n + 1);
    sim_blob_edit(&i->now, MAX(i->now->n, off + n));
    if (n > 0)
        memcpy(i->now->p + off, p, n);
    sim_write_note(i, p, n, off);
    errno = EIO;
    sim_leave(s, 0);
    return dead ? -1 : (ssize_t)n;
}

static int sim_fsync(void *ctx, const char *site, int fd)
{
    struct io_sim *s = ctx;

    struct sim_inode *i = sim_enter_change(s, "sync", site, NULL) ? NULL : sim_fd_inode(s, fd);
    if (i == NULL)
        return sim_leave(s, -1);
    if (i->is_dir) {
        sim_dir_sync(s, i);
        return sim_leave(s, 0);
    }
    if (s->fail_sync != 0 && --s->fail_sync == 0) {
        /* Part of it may have reached the disk; the rest never will by itself. */
        for (size_t k = 0; k < i->writes.n; k++) {
            const struct sim_write *w = &i->writes.p[k];
            if (w->n > 0 && io_sim_random(s, 2) == 0)
                memcpy(
                    sim_blob_edit(&i->safe, MAX(i->safe->n, w->off + w->n)) + w->off, w->p, w->n);
        }
        sim_writes_forget(i);
        errno = EIO;
        return sim_leave(s, -1);
    }
    sim_file_sync(i);
    return sim_leave(s, 0);
}

static int sim_ftruncate(void *ctx, const char *site, int fd, uint64_t size)
{
    struct io_sim *s = ctx;

    struct sim_inode *i = sim_enter_change(s, "ftruncate", site, NULL) ? NULL : sim_fd_inode(s, fd);
    if (i == NULL || !sim_has_room(s, i, size))
        return sim_leave(s, -1);
    sim_blob_edit(&i->now, size);
    sim_write_note(i, NULL, 0, 0);
    return sim_leave(s, 0);
}

static int sim_fallocate(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    struct io_sim *s = ctx;

    struct sim_inode *i = sim_enter_change(s, "fallocate", site, NULL) ? NULL : sim_fd_inode(s, fd);
    if (i == NULL || !sim_has_room(s, i, off + n))
        return sim_leave(s, -1);
    sim_blob_edit(&i->now, MAX(i->now->n, off + n));
    sim_write_note(i, NULL, 0, 0);
    return sim_leave(s, 0);
}

/* Nothing that a power loss would tell: pages may reach the disk at any time as it is. */
static int sim_write_back(void *ctx, const char *site, int fd, uint64_t off, uint64_t n)
{
    (void)ctx, (void)site, (void)fd, (void)off, (void)n;
    return 0;
}

static int sim_rename(void *ctx, const char *site, const char *from, const char *to)
{
    struct io_sim *s = ctx;
    char from_name[SIM_NAME_MAX], to_name[SIM_NAME_MAX];

    struct sim_inode *i = sim_enter_change(s, "rename", site, to) ? NULL : sim_lookup(s, from);
    struct sim_inode *from_dir = i == NULL ? NULL : sim_parent(s, from, from_name);
    struct sim_inode *to_dir = i == NULL ? NULL : sim_parent(s, to, to_name);
    if (from_dir == NULL || to_dir == NULL)
        return sim_leave(s, -1);
    sim_dir_change(s, from_dir, from_name, to_dir, to_name, i);
    return sim_leave(s, 0);
}

static int sim_remove(struct io_sim *s, const char *site, const char *path, bool is_dir)
{
    char name[SIM_NAME_MAX];

    const char *op = is_dir ? "rmdir" : "unlink";
    struct sim_inode *i = sim_enter_change(s, op, site, path) ? NULL : sim_lookup(s, path);
    if (i == NULL)
        return sim_leave(s, -1);
    if (i->is_dir != is_dir || (is_dir && i->names.n > 0)) {
        errno = i->is_dir != is_dir ? (is_dir ? ENOTDIR : EISDIR) : ENOTEMPTY;
        return sim_leave(s, -1);
    }
    struct sim_inode *dir = sim_parent(s, path, name);
    sim_dir_change(s, dir, name, NULL, NULL, NULL);
    return sim_leave(s, 0);
}

static int sim_unlink(void *ctx, const char *site, const char *path)
{
    return sim_remove(ctx, site, path, false);
}

static int sim_rmdir(void *ctx, const char *site, const char *path)
{
    return sim_remove(ctx, site, path, true);
}

static int sim_mkdir(void *ctx, const char *site, const char *path, unsigned mode)
{
    struct io_sim *s = ctx;
    char name[SIM_NAME_MAX];
    (void)mode;

    struct sim_inode *dir =
        sim_enter_change(s, "mkdir", site, path) ? NULL : sim_parent(s, path, name);
    if (dir == NULL)
        return sim_leave(s, -1);
    if (name[0] == 0 || sim_names_find(&dir->names, name) != NULL) {
        errno = EEXIST;
        return sim_leave(s, -1);
    }
    sim_dir_change(s, NULL, NULL, dir, name, sim_inode_new(s, true));
    return sim_leave(s, 0);
}

static int sim_stat_inode(struct io_sim *s, const struct sim_inode *i, struct io_stat *ret)
{
    if (i == NULL)
        return sim_leave(s, -1);
    *ret = (struct io_stat){.size = i->now == NULL ? 0 : i->now->n,
        .inode = (uint64_t)(uintptr_t)i,
        .is_dir = i->is_dir};
    return sim_leave(s, 0);
}

static int sim_stat(void *ctx, const char *site, const char *path, struct io_stat *ret)
{
    struct io_sim *s = ctx;
    (void)site;
    return sim_stat_inode(s, sim_enter(s) ? NULL : sim_lookup(s, path), ret);
}

static int sim_fstat(void *ctx, const char *site, int fd, struct io_stat *ret)
{
    struct io_sim *s = ctx;
    (void)site;
    return sim_stat_inode(s, sim_enter(s) ? NULL : sim_fd_inode(s, fd), ret);
}

static int sim_list(void *ctx, const char *site, const char *path,
    void (*each)(void *arg, const char *name), void *arg)
{
    struct io_sim *s = ctx;
    (void)site;

    const struct sim_inode *dir = sim_enter(s) ? NULL : sim_lookup(s, path);
    if (dir != NULL && !dir->is_dir) {
        errno = ENOTDIR;
        dir = NULL;
    }
    for (size_t k = 0; dir != NULL && k < dir->names.n; k++)
        each(arg, dir->names.p[k].name);
    return sim_leave(s, dir == NULL ? -1 : 0);
}

static int sim_space(
    void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    struct io_sim *s = ctx;
    (void)site, (void)path;

    if (sim_enter(s))
        return sim_leave(s, -1);
    uint64_t used = sim_used(s), total = s->space == 0 ? (uint64_t)1 << 40 : s->space;
    *ret_total = total;
    *ret_free = used < total ? total - used : 0;
    return sim_leave(s, 0);
}

static const struct io_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .fdatasync = sim_fsync,
    .fsync = sim_fsync,
    .ftruncate = sim_ftruncate,
    .fallocate = sim_fallocate,
    .write_back = sim_write_back,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .stat = sim_stat,
    .fstat = sim_fstat,
    .list = sim_list,
    .space = sim_space,
};

struct io_sim *io_sim_new(uint64_t seed)
{
    struct io_sim *s = xcalloc(1, sizeof(*s));
    s->io = (struct io){&sim_ops, s};
    s->random = hash_mix(seed + 1);
    s->fd_first = SIM_FD_FIRST;
    pthread_mutex_init(&s->mu, NULL);
    s->root = sim_inode_new(s, true);
    return s;
}

void io_sim_free(struct io_sim *s)
{
    if (s == NULL)
        return;
    while (s->all != NULL) {
        struct sim_inode *i = s->all;
        s->all = i->next_all;
        sim_inode_free(i);
    }
    for (size_t k = 0; k < s->dir_ops.n; k++)
        sim_dir_op_free(&s->dir_ops.p[k]);
    VEC_FREE(&s->dir_ops);
    VEC_FREE(&s->fds);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

struct io *io_sim_io(struct io_sim *s)
{
    return &s->io;
}

void io_sim_die_at(struct io_sim *s, uint64_t nth)
{
    s->die_at = nth;
}

bool io_sim_is_dead(const struct io_sim *s)
{
    return s->dead;
}

uint64_t io_sim_ops(const struct io_sim *s)
{
    return s->ops;
}

void io_sim_fail_sync(struct io_sim *s, uint64_t nth)
{
    s->fail_sync = nth;
}

void io_sim_space(struct io_sim *s, uint64_t bytes)
{
    s->space = bytes;
}

void io_sim_kill(struct io_sim *s)
{
    s->fd_first += (int)s->fds.n;
    s->fds.n = 0;
    s->dead = false;
    s->die_at = s->fail_sync = 0;
}
