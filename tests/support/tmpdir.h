/* SPDX-License-Identifier: Apache-2.0
 * A fresh directory for one test. */
#pragma once

/* A new empty directory below $TMPDIR (default /tmp); free with tmpdir_free. Fails the test when it
 * cannot be made. */
char *tmpdir_new(void);
/* Removes the tree and the string. NULL allowed. */
void tmpdir_free(char *dir);
/* "dir/name" in one of 16 static buffers of the calling thread: for arguments of the next call. */
const char *tmpdir_path(const char *dir, const char *name);
