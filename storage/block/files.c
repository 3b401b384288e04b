/* SPDX-License-Identifier: Apache-2.0
 * The descriptors of blocks: a list in order of use, bounded. See files.h. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "reader.h"

#define FILES_MIN 8u
#define FILES_MAX 65536u
#define FILES_TRY 16u /* descriptors given up for one that the process could not open */

void block_files_init(struct block_files *f)
{
    struct rlimit l = {0};
    *f = (struct block_files){.n_max = FILES_MAX};
    pthread_mutex_init(&f->lock, NULL);
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur / 2 < FILES_MAX)
        f->n_max = MAX((uint32_t)(l.rlim_cur / 2), FILES_MIN);
}

void block_files_deinit(struct block_files *f)
{
    ASSERT(f->n_open == 0);
    pthread_mutex_destroy(&f->lock);
}

static void list_remove(struct block_files *f, struct block *b)
{
    *(b->fd_prev != NULL ? &b->fd_prev->fd_next : &f->newest) = b->fd_next;
    *(b->fd_next != NULL ? &b->fd_next->fd_prev : &f->oldest) = b->fd_prev;
}

static void list_push(struct block_files *f, struct block *b)
{
    b->fd_prev = NULL;
    b->fd_next = f->newest;
    *(f->newest != NULL ? &f->newest->fd_prev : &f->oldest) = b;
    f->newest = b;
}

/* Under the lock: takes the descriptor of the least recently used block that nobody reads right
 * now; -1: none. */
static int list_shed(struct block_files *f)
{
    struct block *b = f->oldest;
    while (b != NULL && b->fd_users > 0)
        b = b->fd_prev;
    if (b == NULL)
        return -1;
    int fd = b->fd;
    list_remove(f, b);
    b->fd = -1;
    f->n_open--;
    return fd;
}

static void file_close(struct block *b, int fd)
{
    if (fd >= 0)
        (void)io_close(b->io, "block.close", fd, NULL); /* read only: nothing to lose */
}

/* Closes what is too many: at most a few at a time, as each opening closes what it can. */
static void files_trim(struct block_files *f, struct block *b)
{
    for (unsigned i = 0; i < FILES_TRY; i++) {
        pthread_mutex_lock(&f->lock);
        int fd = f->n_open > f->n_max ? list_shed(f) : -1;
        pthread_mutex_unlock(&f->lock);
        if (fd < 0)
            return;
        file_close(b, fd);
    }
}

/* Opens the file; where the process has no descriptor left, others give up theirs. */
static enum ec file_open(struct block *b, struct block_files *f, int *ret, struct err *err)
{
    for (unsigned i = 0;; i++) {
        struct err e = {0};
        enum ec ec = io_open(b->io, "block.open", b->path, O_RDONLY, 0, ret, &e);
        bool many = ec == EC_IO && (e.errnum == EMFILE || e.errnum == ENFILE);
        if (many && i < FILES_TRY) {
            pthread_mutex_lock(&f->lock);
            int fd = list_shed(f);
            pthread_mutex_unlock(&f->lock);
            file_close(b, fd);
            if (fd >= 0)
                continue;
        }
        if (many)
            return ERR_ERRNO(err, EC_LIMIT, e.errnum, "open %s", b->path);
        if (ec != EC_OK && err != NULL)
            *err = e;
        return ec;
    }
}

enum ec block_file_take(struct block *b, int *ret_fd, struct err *err)
{
    struct block_files *f = block_cache_files(b->cache);
    pthread_mutex_lock(&f->lock);
    bool open = b->fd >= 0;
    if (open) {
        b->fd_users++;
        if (f->newest != b) {
            list_remove(f, b);
            list_push(f, b);
        }
        *ret_fd = b->fd;
    }
    pthread_mutex_unlock(&f->lock);
    if (open)
        return EC_OK;
    int fd, surplus = -1;
    TRY(file_open(b, f, &fd, err));
    pthread_mutex_lock(&f->lock);
    if (b->fd >= 0) { /* another thread was faster */
        surplus = fd;
    } else {
        b->fd = fd;
        list_push(f, b);
        f->n_open++;
    }
    b->fd_users++;
    *ret_fd = b->fd;
    bool many = f->n_open > f->n_max;
    pthread_mutex_unlock(&f->lock);
    file_close(b, surplus);
    if (many)
        files_trim(f, b);
    return EC_OK;
}

void block_file_give(struct block *b)
{
    struct block_files *f = block_cache_files(b->cache);
    pthread_mutex_lock(&f->lock);
    ASSERT(b->fd >= 0 && b->fd_users > 0);
    b->fd_users--;
    pthread_mutex_unlock(&f->lock);
}

void block_file_drop(struct block *b)
{
    struct block_files *f = block_cache_files(b->cache);
    pthread_mutex_lock(&f->lock);
    int fd = b->fd;
    if (fd >= 0 && b->fd_users == 0) {
        list_remove(f, b);
        b->fd = -1;
        f->n_open--;
    } else {
        fd = -1;
    }
    pthread_mutex_unlock(&f->lock);
    file_close(b, fd);
}
