/* SPDX-License-Identifier: Apache-2.0
 * zstd behind two calls, with per-thread contexts reused. For pages, WAL payloads, footers.
 * Sizes are declared by the caller's own header and checked; no allocation follows input. */
#pragma once

#include "base/buf.h"

/* Worst case size of the output for n input bytes. */
size_t zstd_bound(size_t n);
/* Level 1..19, or negative for the fast levels. Appends to out. */
enum ec zstd_compress(struct buf *out, struct bytes in, int level, struct err *err) MUST_USE;
/* The same, but nothing shorter than match_min (3..7) becomes a reference; 0: as the level has
 * it. */
enum ec zstd_compress_matches(
    struct buf *out, struct bytes in, int level, unsigned match_min, struct err *err) MUST_USE;
/* Spends what time there is on Huffman codes instead of references, at the fast levels, too (-1 and
 * below, the faster the less it looks): for bytes that hardly repeat, of few values. */
enum ec zstd_compress_symbols(struct buf *out, struct bytes in, int level, struct err *err)
    MUST_USE;
/* Decompresses exactly raw_n bytes into out; EC_CORRUPT on any other outcome. */
enum ec zstd_decompress(void *out, size_t raw_n, struct bytes in, struct err *err) MUST_USE;
