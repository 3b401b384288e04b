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

/* Next number of the seed's sequence in [0, n). For the test's own choices. */
uint64_t io_sim_random(struct io_sim *s, uint64_t n);
