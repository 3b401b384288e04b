/* SPDX-License-Identifier: Apache-2.0
 * The order that makes a copy of a moving directory whole, tenant by tenant:
 *
 *   1. The log before the blocks. A flush makes the block before it removes segments, so what is
 *      gone from the log by the time it is copied is in a block by the time those are listed. What
 *      is in both is told apart by LSN at the start, as after a crash between the two.
 *   2. Segments oldest first. Release goes in that order too: when one is gone, all before it are
 *      in blocks, and their copies are dropped, so that no gap is left.
 *   3. A segment from its end to its beginning. Records are appended, so whatever a page shows,
 *      pages before it, read later, show all that was written before: the copy ends in a torn
 *      record at most, as a crash leaves it. A file that has lost its name by then may be another
 *      segment already: as if it had been gone before.
 *   4. Blocks until a pass over the directory misses none. A merge that removes an input has made
 *      its output visible before; outputs and inputs side by side are told apart by the footers.
 */
#include "storage/backup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store_private.h"

#define WAL_PAGE       4096u
#define BLOCK_CHUNK    ((size_t)1 << 20)
#define PAGE_READS_MAX 64u  /* until two in a row are equal */
#define PASSES_MAX     100u /* over a directory whose blocks are merged meanwhile */

struct backup {
    const struct backup_options *opt;
    struct io *io;
    char *tmp; /* the destination under its temporary name */
    struct backup_result result;
    uint8_t *chunk, *again; /* BLOCK_CHUNK and WAL_PAGE bytes */
};

/* Opens a source; EC_NOT_FOUND: removed meanwhile. */
static enum ec source_file(
    struct backup *b, const char *path, int *ret_fd, uint64_t *ret_size, struct err *err)
{
    struct io_stat st;
    int fd;
    TRY(io_open(b->io, "backup.open", path, O_RDONLY, 0, &fd, err));
    enum ec ec = io_fstat(b->io, "backup.size", fd, &st, err);
    if (ec != EC_OK) {
        (void)io_close(b->io, "backup.close", fd, NULL);
        return ec;
    }
    *ret_fd = fd;
    *ret_size = st.size;
    return EC_OK;
}

static enum ec target_file(struct backup *b, const char *path, int *ret_fd, struct err *err)
{
    return io_open(b->io, "backup.create", path, O_WRONLY | O_CREAT | O_EXCL, 0600, ret_fd, err);
}

/* Syncs and closes. */
static enum ec target_done(struct backup *b, int fd, enum ec ec, struct err *err)
{
    if (ec == EC_OK)
        ec = io_fsync(b->io, "backup.sync", fd, err);
    enum ec closed = io_close(b->io, "backup.sync_close", fd, ec == EC_OK ? err : NULL);
    return ec == EC_OK ? closed : ec;
}

/* Reads a page that may be written to meanwhile: until it stays the same. */
static enum ec stable_page(struct backup *b, int fd, uint64_t at, size_t n, struct err *err)
{
    TRY(io_pread(b->io, "backup.read_log", fd, b->chunk, n, at, err));
    for (unsigned i = 0; i < PAGE_READS_MAX; i++) {
        TRY(io_pread(b->io, "backup.read_again", fd, b->again, n, at, err));
        if (memcmp(b->chunk, b->again, n) == 0)
            return EC_OK;
        memcpy(b->chunk, b->again, n);
    }
    return EC_OK; /* torn at worst: the record's checksum says so */
}

static enum ec copy_segment_to(struct backup *b, int from, int to, uint64_t size, struct err *err)
{
    TRY(io_ftruncate(b->io, "backup.size_log", to, size, err));
    for (uint64_t end = size; end > 0;) {
        uint64_t at = (end - 1) / WAL_PAGE * WAL_PAGE;
        size_t n = (size_t)(end - at);
        TRY(stable_page(b, from, at, n, err));
        bool zero = b->chunk[0] == 0 && memcmp(b->chunk, b->chunk + 1, n - 1) == 0;
        if (!zero) /* what is not filled yet stays a hole */
            TRY(io_pwrite(b->io, "backup.write_log", to, b->chunk, n, at, err));
        b->result.bytes += zero ? 0 : n;
        end = at;
    }
    return EC_OK;
}

/* Is it still the file of this name? EC_NOT_FOUND: no. A segment is released by taking the name
 * from it, before a byte of its next life is written. WHY not the name alone: a log that was closed
 * and opened again begins with the same numbers. */
static enum ec segment_stays(struct backup *b, int fd, const char *path, struct err *err)
{
    struct io_stat own, named;
    TRY(io_fstat(b->io, "backup.log_own", fd, &own, err));
    TRY(io_stat(b->io, "backup.log_named", path, &named, err));
    if (own.inode != named.inode)
        return ERR(err, EC_NOT_FOUND, "%s is another file now", path);
    return EC_OK;
}

static enum ec copy_segment(struct backup *b, const char *from, const char *to, struct err *err)
{
    int in, out;
    uint64_t size;
    TRY(source_file(b, from, &in, &size, err));
    enum ec ec = target_file(b, to, &out, err);
    if (ec == EC_OK)
        ec = target_done(b, out, copy_segment_to(b, in, out, size, err), err);
    if (ec == EC_OK)
        ec = segment_stays(b, in, from, err);
    (void)io_close(b->io, "backup.log_close", in, NULL);
    if (ec == EC_NOT_FOUND)
        TRY(io_unlink(b->io, "backup.drop_moved", to, err));
    return ec;
}

/* Removes the copies names[0, n): what they hold is in blocks. */
static enum ec drop_segments(
    struct backup *b, const char *dir, const struct io_names *names, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", dir, names->p[i]);
        enum ec ec = io_unlink(b->io, "backup.drop_log", path, err);
        if (ec != EC_OK && ec != EC_NOT_FOUND)
            return ec;
        b->result.segments -= ec == EC_OK;
    }
    return EC_OK;
}

static enum ec backup_wal(struct backup *b, const char *name, struct err *err)
{
    CLEANUP(freep) char *from = path_printf("%s/@wal/%s", b->opt->wal_dir, name);
    CLEANUP(freep) char *to = path_printf("%s/@wal/%s", b->tmp, name);
    struct io_names names;
    enum ec ec = io_list(b->io, "backup.list", from, &names, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK;
    TRY(ec);
    ec = io_mkdir_all(b->io, "backup.mkdir", to, err);
    for (size_t i = 0; i < names.n && ec == EC_OK; i++) {
        if (!str_ends(str_from(names.p[i]), STR(".wal")))
            continue; /* in the making, or set aside as damaged */
        CLEANUP(freep) char *in = path_printf("%s/%s", from, names.p[i]);
        CLEANUP(freep) char *out = path_printf("%s/%s", to, names.p[i]);
        ec = copy_segment(b, in, out, err);
        if (ec == EC_NOT_FOUND)
            ec = drop_segments(b, to, &names, i, err);
        else
            b->result.segments += ec == EC_OK;
    }
    io_names_free(&names);
    return ec == EC_OK ? io_fsync_dir(b->io, "backup.sync_dir", to, err) : ec;
}

static enum ec copy_whole(struct backup *b, int from, int to, uint64_t size, struct err *err)
{
    for (uint64_t at = 0; at < size;) {
        size_t n = (size_t)MIN(size - at, BLOCK_CHUNK);
        TRY(io_pread(b->io, "backup.read", from, b->chunk, n, at, err));
        TRY(io_pwrite(b->io, "backup.write", to, b->chunk, n, at, err));
        at += n;
    }
    return EC_OK;
}

/* A file that does not change: linked, or copied. */
static enum ec take_file(
    struct backup *b, const char *from, const char *to, bool may_link, struct err *err)
{
    bool linked = false;
    int in, out;
    uint64_t size;
    TRY(source_file(b, from, &in, &size, err));
    enum ec ec = may_link ? io_link(b->io, "backup.link", from, to, &linked, err) : EC_OK;
    if (ec == EC_OK && !linked) {
        ec = target_file(b, to, &out, err);
        if (ec == EC_OK)
            ec = target_done(b, out, copy_whole(b, in, out, size, err), err);
    }
    (void)io_close(b->io, "backup.file_close", in, NULL);
    b->result.bytes += ec == EC_OK ? size : 0;
    b->result.linked_bytes += linked ? size : 0;
    return ec;
}

/* One pass; *ret_missed: some block was removed between the listing and the copy. */
static enum ec blocks_pass(
    struct backup *b, const char *from, const char *to, bool *ret_missed, struct err *err)
{
    struct io_names names;
    TRY(io_list(b->io, "backup.list_blocks", from, &names, err));
    enum ec ec = EC_OK;
    *ret_missed = false;
    for (size_t i = 0; i < names.n && ec == EC_OK; i++) {
        struct str name = str_from(names.p[i]);
        uint8_t uuid[16];
        struct io_stat st;
        if (!str_ends(name, STR(".block")) || !uuid_parse(uuid, str_n(name.p, name.n - 6)))
            continue;
        CLEANUP(freep) char *in = path_printf("%s/%s", from, names.p[i]);
        CLEANUP(freep) char *out = path_printf("%s/%s", to, names.p[i]);
        if (io_stat(b->io, "backup.have", out, &st, NULL) == EC_OK)
            continue; /* by an earlier pass */
        ec = take_file(b, in, out, !b->opt->copy_blocks, err);
        b->result.blocks += ec == EC_OK;
        if (ec == EC_NOT_FOUND) {
            *ret_missed = true;
            ec = EC_OK;
        }
    }
    io_names_free(&names);
    return ec;
}

static enum ec backup_blocks(struct backup *b, const char *name, struct err *err)
{
    CLEANUP(freep) char *from = path_printf("%s/@store/%s", b->opt->data_dir, name);
    CLEANUP(freep) char *to = path_printf("%s/@store/%s", b->tmp, name);
    bool missed = true;
    TRY(io_mkdir_all(b->io, "backup.mkdir_blocks", to, err));
    for (unsigned i = 0; missed && i < PASSES_MAX; i++) {
        enum ec ec = blocks_pass(b, from, to, &missed, err);
        if (ec == EC_NOT_FOUND)
            return EC_OK; /* a tenant without blocks */
        TRY(ec);
    }
    if (missed)
        return ERR(err, EC_UNAVAILABLE, "%s: blocks are merged faster than they are copied", from);
    return io_fsync_dir(b->io, "backup.sync_blocks", to, err);
}

/* A tenant that is in neither listing came during the copy. The log's is taken first: a tenant may
 * lose its log directory to a flush, and then has blocks. */
static enum ec backup_tenants(struct backup *b, struct err *err)
{
    CLEANUP(freep) char *wal = path_printf("%s/@wal", b->opt->wal_dir);
    CLEANUP(freep) char *data = path_printf("%s/@store", b->opt->data_dir);
    struct io_names logs = {0}, stores = {0};
    char id[TENANT_ID_MAX + 1];
    size_t n;
    enum ec ec = io_list(b->io, "backup.list_logs", wal, &logs, err);
    for (size_t i = 0; i < logs.n && ec == EC_OK; i++) {
        if (!tenant_name_decode(id, &n, str_from(logs.p[i])))
            continue;
        ec = backup_wal(b, logs.p[i], err);
    }
    if (ec == EC_OK)
        ec = io_list(b->io, "backup.list_stores", data, &stores, err);
    for (size_t i = 0; i < stores.n && ec == EC_OK; i++) {
        if (!tenant_name_decode(id, &n, str_from(stores.p[i])))
            continue;
        ec = backup_blocks(b, stores.p[i], err);
        b->result.tenants++;
    }
    for (size_t i = 0; i < logs.n && ec == EC_OK; i++) { /* those that have only a log */
        bool counted = !tenant_name_decode(id, &n, str_from(logs.p[i]));
        for (size_t k = 0; k < stores.n && !counted; k++)
            counted = strcmp(logs.p[i], stores.p[k]) == 0;
        b->result.tenants += !counted;
    }
    io_names_free(&logs);
    io_names_free(&stores);
    return ec;
}

/* What tenants set by themselves, kept by the gateway beside the blocks. */
static enum ec backup_limits(struct backup *b, struct err *err)
{
    CLEANUP(freep) char *from = path_printf("%s/@overrides/user-limits", b->opt->data_dir);
    CLEANUP(freep) char *dir = path_printf("%s/@overrides", b->tmp);
    CLEANUP(freep) char *to = path_printf("%s/user-limits", dir);
    struct io_stat st;
    enum ec ec = io_stat(b->io, "backup.limits_stat", from, &st, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK; /* none were set */
    TRY(ec);
    TRY(io_mkdir(b->io, "backup.mkdir_limits", dir, err));
    TRY(take_file(b, from, to, false, err)); /* replaced by rename: the file is never half of one */
    return io_fsync_dir(b->io, "backup.sync_limits", dir, err);
}

static enum ec backup_into(struct backup *b, struct err *err)
{
    static const char *const roots[] = {"@wal", "@store"};
    TRY(io_mkdir(b->io, "backup.mkdir_target", b->tmp, err));
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", b->tmp, roots[i]);
        TRY(io_mkdir(b->io, "backup.mkdir_root", path, err));
    }
    TRY(backup_tenants(b, err));
    TRY(backup_limits(b, err));
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", b->tmp, roots[i]);
        TRY(io_fsync_dir(b->io, "backup.sync_root", path, err));
    }
    return io_fsync_dir(b->io, "backup.sync_target", b->tmp, err);
}

/* The folder that holds path. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return xstrdup(".");
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

enum ec backup_run(const struct backup_options *opt, struct backup_result *ret, struct err *err)
{
    struct backup b = {.opt = opt, .io = opt->io == NULL ? &io_real : opt->io};
    struct io_stat st;
    CLEANUP(freep) char *to = xstrdup(opt->to);
    for (size_t n = strlen(to); n > 1 && to[n - 1] == '/'; n--)
        to[n - 1] = '\0';
    if (io_stat(b.io, "backup.target", to, &st, NULL) == EC_OK)
        return ERR(err, EC_CONFLICT, "%s exists already", to);
    CLEANUP(freep) char *tmp = path_printf("%s.tmp", to);
    CLEANUP(freep) char *parent = parent_of(to);
    b.tmp = tmp;
    if (io_stat(b.io, "backup.target_tmp", tmp, &st, NULL) == EC_OK)
        return ERR(err, EC_CONFLICT, "%s exists: remove what an earlier run left", tmp);
    b.chunk = xmalloc(BLOCK_CHUNK);
    b.again = xmalloc(WAL_PAGE);
    enum ec ec = backup_into(&b, err);
    if (ec == EC_OK)
        ec = io_rename(b.io, "backup.rename", tmp, to, err);
    if (ec == EC_OK)
        ec = io_fsync_dir(b.io, "backup.sync_parent", parent, err);
    else if (io_remove_tree(b.io, "backup.remove", tmp, NULL) != EC_OK)
        log_event(LOG_WARN, "part of a snapshot is left", LZ("path", tmp));
    free(b.chunk);
    free(b.again);
    if (ec == EC_OK)
        *ret = b.result;
    return ec;
}
