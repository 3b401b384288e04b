/* SPDX-License-Identifier: Apache-2.0
 * Compressors for tests: every encoding that a client may send. Appends to out. */
#pragma once

#include "server/server.h"

void deflate_bytes(enum body_encoding enc, struct bytes in, struct buf *out);
/* Content-Encoding name. */
const char *encoding_name(enum body_encoding enc);
/* A zstd frame with this window log, for the window limit. */
void deflate_zstd_window(struct bytes in, int window_log, struct buf *out);
