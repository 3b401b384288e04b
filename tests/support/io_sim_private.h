/* SPDX-License-Identifier: Apache-2.0
 * The simulated file system's objects, for io_sim.c (operations) and io_sim_image.c (power
 * loss). */
#pragma once

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"
#include "io_sim.h"

#define SIM_SECTOR   512u
#define SIM_FD_FIRST 1000 /* never a real descriptor */
#define SIM_NAME_MAX 256
#define SIM_PAGE     4096u

/* The bytes of a file. Shared between a file's two images, and with images of the whole system,
 * until one of them is written. */
struct sim_blob {
    uint32_t refs;
    size_t n, cap;
    uint8_t p[];
};

struct sim_write { /* an unsynced change of bytes or size */
    uint64_t off, size_after;
    size_t n;
    uint8_t *p;
};

struct sim_entry {
    char *name;
    struct sim_inode *inode;
};
typedef VEC(struct sim_entry) sim_names;

struct sim_inode {
    struct sim_inode *next_all;
    bool is_dir;
    struct sim_blob *now, *safe;
    struct sim_inode *copy;       /* in the image that is being made */
    VEC(struct sim_write) writes; /* since the last sync, oldest first */
    sim_names names, safe_names;  /* directories */
};

/* An unsynced change of names: takes `from` away and puts `to` there; either may be NULL. */
struct sim_dir_op {
    struct sim_inode *from_dir, *to_dir, *inode;
    char *from, *to;
};

struct sim_fd {
    struct sim_inode *inode; /* NULL: closed */
};

struct io_sim {
    struct io io;
    pthread_mutex_t mu;
    uint64_t random, ops, die_at, fail_sync, space;
    bool dead;
    struct sim_inode *all, *root;
    VEC(struct sim_fd) fds;
    int fd_first; /* grows at each crash, so that old descriptors stay void */
    VEC(struct sim_dir_op) dir_ops;
    io_sim_hook_fn hook;
    void *hook_ctx;
};

struct sim_inode *sim_inode_new(struct io_sim *s, bool is_dir);
struct sim_inode *sim_lookup(struct io_sim *s, const char *path); /* NULL and errno */
void sim_writes_forget(struct sim_inode *i);
void sim_write_apply(struct sim_blob **to, const struct sim_write *w);
void sim_dir_op_save(const struct sim_dir_op *op);
void sim_dir_op_free(struct sim_dir_op *op);

struct sim_blob *sim_blob_new(size_t cap);
struct sim_blob *sim_blob_ref(struct sim_blob *b);
void sim_blob_unref(struct sim_blob *b); /* NULL allowed */
/* Makes *at ours alone and `size` long; what is new is zero. */
uint8_t *sim_blob_edit(struct sim_blob **at, uint64_t size);

struct sim_entry *sim_names_find(const sim_names *names, const char *name);
void sim_names_del(sim_names *names, const char *name);
void sim_names_put(sim_names *names, const char *name, struct sim_inode *inode);
void sim_names_copy(sim_names *to, const sim_names *from);
