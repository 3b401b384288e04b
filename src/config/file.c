/* SPDX-License-Identifier: Apache-2.0
 * Reads a configuration file, bounded, with Go's texts for what goes wrong. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "doc.h"

enum ec file_read(const char *path, struct buf *ret, struct err *err)
{
    char part[16384];
    size_t n;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        int e = errno;
        const char *text = e == ENOENT   ? "no such file or directory"
                           : e == EACCES ? "permission denied"
                           : e == EISDIR ? "is a directory"
                                         : strerror(e);
        return ERR(err, e == ENOENT ? EC_NOT_FOUND : EC_IO, "open %s: %s", path, text);
    }
    while ((n = fread(part, 1, sizeof(part), f)) > 0 && ret->n <= CONFIG_FILE_MAX)
        buf_put(ret, part, n);
    int e = ferror(f) ? errno : 0;
    fclose(f);
    if (e != 0)
        return ERR(err, EC_IO, "read %s: %s", path, e == EISDIR ? "is a directory" : strerror(e));
    if (ret->n > CONFIG_FILE_MAX)
        return ERR(err, EC_TOO_LARGE, "%s is over %u bytes", path, CONFIG_FILE_MAX);
    return EC_OK;
}
