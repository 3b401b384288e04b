/* SPDX-License-Identifier: Apache-2.0
 * Is the catalog's file what its last commit left?
 *
 * LMDB has no checksums and believes its pages: a flipped bit in one is a failed assertion or a
 * wild pointer, which would end the process at each start again. So a small file beside data.mdb
 * holds a checksum of all its pages after the last commit. WHY is it not synced: what does not
 * match is made again from the block footers, and after a kill the page cache has both files.
 *
 *     data.seal: "VIVASEAL", LMDB's transaction (8), bytes of data.mdb that count (8), their XXH3
 *     (8),
 *                XXH3 of these 32 bytes (8)
 */
#pragma once

#include "base/io.h"

/* False: the file cannot be vouched for (damaged, or a crash came between commit and seal) and must
 * not be given to LMDB. True also when there is no file, or one that LMDB itself refuses to
 * open. */
bool catalog_seal_holds(struct io *io, const char *dir);
/* After a commit. Best effort: without it the next start makes the catalog anew. */
void catalog_seal_write(struct io *io, const char *dir, uint64_t txn, uint64_t bytes);
/* Removes the catalog's files. */
enum ec catalog_seal_break(struct io *io, const char *dir, struct err *err) MUST_USE;
