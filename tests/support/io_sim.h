/* SPDX-License-Identifier: Apache-2.0
 * A file system in memory behind `struct io`, with power loss.
 *
 * Every file has two images: what the program reads back (the page cache) and what survives a power
 * loss. fsync and fdatasync of a file move its bytes and size to the second; fsync of a directory
 * moves its names. At a power loss what was not moved is decided by chance:
 *   bytes       each 512-byte sector takes any prefix of the unsynced writes to it; the last of
 *   them
 *               may be torn inside the sector, or have its bytes zeroed. Sectors are independent,
 *               so later writes survive earlier ones. Bytes that were synced and not written since
 *               stay (as SQLite's "powersafe overwrite", and as disks with atomic sectors do);
 *   size        any size that the file had since its last sync;
 *   directory   each unsynced create, rename, unlink, mkdir, rmdir is kept or dropped on its own.
 * A kill loses nothing but the descriptors.
 *
 * io_sim_image is the other way to lose power: it leaves the system as it is and makes what the
 * disk might hold, were the power lost now. So a program that runs can be crashed at each of its
 * operations, many times, and goes on: from a hook, which is called before each operation that
 * changes something.
 *
 *     struct io_sim *s = io_sim_new(seed);
 *     io_sim_die_at(s, 17);             the 17th operation from now fails, as do all after it
 *     ... use io_sim_io(s), until it fails ...
 *     io_sim_power_loss(s);             or io_sim_kill
 *     ... open again, check ...
 *
 * A failed sync drops the unsynced writes from the set that a later sync would save, but not from
 * the page cache: as Linux does after a write-back error. Thread-safe. All chance comes from the
 * seed.
 */
#pragma once

#include "base/io.h"

struct io_sim;

struct io_sim *io_sim_new(uint64_t seed);
void io_sim_free(struct io_sim *s);
struct io *io_sim_io(struct io_sim *s);

/* The nth (from 1) operation from now and all later ones fail with EIO and do nothing but, if it is
 * a write, leave part of itself: the process died there. 0: never. */
void io_sim_die_at(struct io_sim *s, uint64_t nth);
bool io_sim_is_dead(const struct io_sim *s);
/* Operations since the start. */
uint64_t io_sim_ops(const struct io_sim *s);
/* The nth sync of a file (not of a directory) from now fails with EIO. 0: none. */
void io_sim_fail_sync(struct io_sim *s, uint64_t nth);
/* Writes and allocations that make the sum of file sizes larger than this fail with ENOSPC. 0: off.
 * */
void io_sim_space(struct io_sim *s, uint64_t bytes);

/* The machine, or the process only, stops. Descriptors are void, death and planned failures are
 * over. */
void io_sim_power_loss(struct io_sim *s);
void io_sim_kill(struct io_sim *s);

/* What survives of unsynced bytes: by file. */
enum io_sim_bytes {
    SIM_BYTES_MIX,     /* one of the others, drawn for each file */
    SIM_BYTES_NONE,    /* nothing */
    SIM_BYTES_ALL,     /* everything */
    SIM_BYTES_ZEROS,   /* the size, and zeros where it grew: allocated, not written */
    SIM_BYTES_PAGES,   /* of each 4 KiB page any first of the writes to it, whole */
    SIM_BYTES_SECTORS, /* of each 512-byte sector, the last of them perhaps torn or zeroed */
};
enum io_sim_names { /* and of unsynced names */
    SIM_NAMES_ANY,  /* each change by itself: kept or dropped */
    SIM_NAMES_NONE,
    SIM_NAMES_ALL,
    SIM_NAMES_FIRST, /* some first of them, as from a journal */
};
struct io_sim_loss {
    enum io_sim_bytes bytes;
    enum io_sim_names names;
};
/* A system of its own, with nothing unsynced. It shares memory with s: both belong to one
 * thread. */
struct io_sim *io_sim_image(struct io_sim *s, const struct io_sim_loss *loss, uint64_t seed);
/* Would this path be the same file, with the same bytes, whatever a power loss now takes away? */
bool io_sim_is_durable(struct io_sim *s, const char *path);

/* Called before each operation that may change something, without a lock; path is NULL for those on
 * a descriptor. NULL: none. */
typedef void (*io_sim_hook_fn)(void *ctx, const char *op, const char *site, const char *path);
void io_sim_hook(struct io_sim *s, io_sim_hook_fn fn, void *ctx);

/* Next number of the seed's sequence in [0, n). For the test's own choices. */
uint64_t io_sim_random(struct io_sim *s, uint64_t n);
