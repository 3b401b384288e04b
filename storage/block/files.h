/* SPDX-License-Identifier: Apache-2.0
 * Descriptors of blocks: each block that was read keeps one open, the least recently read give
 * theirs up when there are too many. Shared by all blocks of a cache.
 *
 * A block's file keeps its name while anybody may read it (storage/store/blocks.c), so it can be
 * opened again; that it is still the same file is seen by its pages' checksums.
 *
 * Threads: all functions are thread-safe. The lock is held for a few instructions, never across
 * opening, closing or reading. */
#pragma once

#include <pthread.h>

#include "base/io.h"

struct block;

struct block_files {
    pthread_mutex_t lock;          /* guards the rest, and fd, fd_users and fd_* of each block */
    struct block *newest, *oldest; /* those with an open descriptor */
    uint32_t n_open, n_max;
};

/* As many as half of the process's descriptors; the rest is for clients and the log. */
void block_files_init(struct block_files *f);
void block_files_deinit(struct block_files *f); /* all blocks are gone */
/* The block's descriptor, opened when it is not: usable until block_file_give. EC_LIMIT when the
 * process has no descriptors left. */
enum ec block_file_take(struct block *b, int *ret_fd, struct err *err) MUST_USE;
void block_file_give(struct block *b);
/* Closes it unless somebody has it: the block is about to go, or its file is not what it should
 * be. */
void block_file_drop(struct block *b);
