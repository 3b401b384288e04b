/* SPDX-License-Identifier: Apache-2.0
 * Small files of ours: tokens, certificates. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define FILE_BYTES_MAX (1u << 20)

/* The whole file, appended. `site` as in base/io.h. */
enum ec auth_file_read(const char *site, const char *path, struct buf *out, struct err *err)
    MUST_USE;
