/* SPDX-License-Identifier: Apache-2.0
 * Names of errors for the fault harnesses: X(EIO) and so on. */
#pragma once

#include <errno.h>

/* What tests/fault tries at each call: a disk that fails or is full, a signal, no descriptors. */
#define ERRNO_TABLE_TRIED(X) X(EIO) X(ENOSPC) X(EDQUOT) X(EINTR) X(EMFILE)

/* These and what VIVACE_FAULT and VIVACE_PRELOAD know besides. */
#define ERRNO_TABLE(X)   \
    ERRNO_TABLE_TRIED(X) \
    X(ENFILE) X(ENOENT) X(EACCES) X(EROFS) X(ENOMEM) X(EFBIG) X(EAGAIN)
