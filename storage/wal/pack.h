/* SPDX-License-Identifier: Apache-2.0
 * Requests of the log, packed: what an OTLP request repeats is told by its fields instead of being
 * looked for byte by byte. FORMAT.md, *Packed requests*, has the rules.
 *
 * Exact: a packed request comes back byte for byte, whatever it is, or it was not packed. What its
 * fields mean is used to guess well, never to leave anything out.
 */
#pragma once

#include "base/buf.h"

#define PACK_BYTES_MIN 1024u      /* below this, zstd does as well */
#define PACK_BYTES_MAX (1u << 20) /* working memory is some eight times a request */

/* Appends the packed request to out. False: it is not for packing (too small, too large, no
 * protobuf), or there is no memory; then take back what was appended. Keeps working memory per
 * thread, freed when the thread ends. */
bool pack_put(struct buf *out, struct bytes otlp) MUST_USE;

/* Makes exactly n bytes of a packed request; `out` has room for n + PACK_SLACK. `work` is reused.
 * EC_CORRUPT: pack_put did not write this; EC_LIMIT: no memory. */
#define PACK_SLACK 64u
enum ec pack_get(uint8_t *out, size_t n, struct bytes packed, struct buf *work, struct err *err)
    MUST_USE;
