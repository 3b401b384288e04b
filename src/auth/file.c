/* SPDX-License-Identifier: Apache-2.0
 * See file.h. */
#include "file.h"

#include <fcntl.h>

#include "base/io.h"

enum ec auth_file_read(const char *site, const char *path, struct buf *out, struct err *err)
{
    struct io_stat st;
    int fd;
    TRY(io_open(io_from_environment(), site, path, O_RDONLY, 0, &fd, err));
    enum ec ec = io_fstat(io_from_environment(), site, fd, &st, err);
    if (ec == EC_OK && st.size > FILE_BYTES_MAX)
        ec = ERR(err, EC_INVALID, "%s is larger than %u bytes", path, FILE_BYTES_MAX);
    if (ec == EC_OK && buf_reserve(out, (size_t)st.size + 1)) {
        ec = io_pread(io_from_environment(), site, fd, out->p + out->n, (size_t)st.size, 0, err);
        if (ec == EC_OK)
            out->n += (size_t)st.size;
    }
    (void)io_close(io_from_environment(), site, fd, NULL); /* it was only read */
    return ec;
}
