/* SPDX-License-Identifier: Apache-2.0
 * Fresh directories for tests. */
#include "tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

char *tmpdir_new(void)
{
    const char *root = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof(path), "%s/vivace-test-XXXXXX", root == NULL ? "/tmp" : root);
    if (mkdtemp(path) == NULL) {
        perror(path);
        abort();
    }
    return xstrdup(path);
}

void tmpdir_free(char *dir)
{
    struct err err = {0};
    if (dir == NULL)
        return;
    enum ec ec = io_remove_tree(&io_real, "test.tmpdir", dir, &err);
    if (ec != EC_OK && ec != EC_NOT_FOUND)
        fprintf(stderr, "tmpdir_free: %s\n", err_msg(&err));
    free(dir);
}

const char *tmpdir_path(const char *dir, const char *name)
{
    static _Thread_local char paths[16][1024];
    static _Thread_local unsigned next;
    char *out = paths[next++ % ARRAY_LEN(paths)];
    ASSERT((size_t)snprintf(out, sizeof(paths[0]), "%s/%s", dir, name) < sizeof(paths[0]));
    return out;
}
