/* SPDX-License-Identifier: Apache-2.0
 * The seal of the catalog's file. See seal.h. */
#include "seal.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/hash.h"

#define SEAL_BYTES 40u
#define READ_BYTES ((size_t)256 << 10)

/* LMDB's meta pages, the first two: a page header of 16 bytes, then struct MDB_meta. */
enum { META_MAGIC = 16, META_VERSION = 20, META_PSIZE = 40, META_TXN = 144, META_BYTES = 152 };
#define MDB_FILE_MAGIC   0xBEEFC0DEu
#define MDB_FILE_VERSION 1u

static char *seal_path(const char *dir, const char *name)
{
    char *path = xmalloc(strlen(dir) + strlen(name) + 2);
    strcpy(path, dir);
    strcat(path, "/");
    return strcat(path, name);
}

/* The last transaction that a meta page names; 0: none is valid. */
static uint64_t meta_txn(struct io *io, int fd)
{
    uint8_t meta[META_BYTES];
    uint64_t txn = 0, psize = 0;
    for (int i = 0; i < 2; i++) {
        if (io_pread(io, "catalog.seal_meta", fd, meta, sizeof(meta), i * psize, NULL) != EC_OK ||
            get_u32le(meta + META_MAGIC) != MDB_FILE_MAGIC ||
            get_u32le(meta + META_VERSION) != MDB_FILE_VERSION)
            return 0;
        psize = get_u32le(meta + META_PSIZE);
        txn = MAX(txn, get_u64le(meta + META_TXN));
    }
    return txn;
}

static bool file_sum(struct io *io, int fd, uint64_t bytes, uint64_t *ret)
{
    CLEANUP(freep) uint8_t *p = xmalloc(READ_BYTES);
    uint64_t sum = 0;
    for (uint64_t at = 0; at < bytes;) {
        size_t n = (size_t)MIN(bytes - at, READ_BYTES);
        if (io_pread(io, "catalog.seal_sum", fd, p, n, at, NULL) != EC_OK)
            return false;
        sum = hash64_seed(p, n, sum);
        at += n;
    }
    *ret = sum;
    return true;
}

static bool seal_read(struct io *io, const char *dir, uint8_t seal[SEAL_BYTES])
{
    CLEANUP(freep) char *path = seal_path(dir, "data.seal");
    int fd;
    if (io_open(io, "catalog.seal_open", path, O_RDONLY, 0, &fd, NULL) != EC_OK)
        return false;
    enum ec ec = io_pread(io, "catalog.seal_read", fd, seal, SEAL_BYTES, 0, NULL);
    (void)io_close(io, "catalog.seal_close", fd, NULL); /* only read */
    return ec == EC_OK && memcmp(seal, "VIVASEAL", 8) == 0 &&
           get_u64le(seal + 32) == hash64(seal, 32);
}

static bool file_holds(struct io *io, const char *dir, int fd)
{
    uint8_t seal[SEAL_BYTES];
    struct io_stat st;
    uint64_t sum, txn = meta_txn(io, fd);
    if (txn == 0 || io_fstat(io, "catalog.seal_stat", fd, &st, NULL) != EC_OK)
        return true; /* LMDB says what is wrong with it */
    if (!seal_read(io, dir, seal))
        return false;
    if (st.size < get_u64le(seal + 16))
        return true; /* cut: found when it is opened */
    return txn == get_u64le(seal + 8) && file_sum(io, fd, get_u64le(seal + 16), &sum) &&
           sum == get_u64le(seal + 24);
}

bool catalog_seal_holds(struct io *io, const char *dir)
{
    CLEANUP(freep) char *path = seal_path(dir, "data.mdb");
    int fd;
    if (io_open(io, "catalog.seal_data", path, O_RDONLY, 0, &fd, NULL) != EC_OK)
        return true; /* none yet, or LMDB says why */
    bool holds = file_holds(io, dir, fd);
    (void)io_close(io, "catalog.seal_data", fd, NULL); /* only read */
    return holds;
}

void catalog_seal_write(struct io *io, const char *dir, uint64_t txn, uint64_t bytes)
{
    CLEANUP(freep) char *data = seal_path(dir, "data.mdb");
    CLEANUP(freep) char *path = seal_path(dir, "data.seal");
    uint8_t seal[SEAL_BYTES] = "VIVASEAL";
    uint64_t sum = 0;
    int fd;
    if (io_open(io, "catalog.seal_source", data, O_RDONLY, 0, &fd, NULL) != EC_OK)
        return;
    bool good = file_sum(io, fd, bytes, &sum);
    (void)io_close(io, "catalog.seal_source", fd, NULL); /* only read */
    put_u64le(seal + 8, txn);
    put_u64le(seal + 16, bytes);
    put_u64le(seal + 24, sum);
    put_u64le(seal + 32, hash64(seal, 32));
    if (!good ||
        io_open(io, "catalog.seal_create", path, O_WRONLY | O_CREAT, 0600, &fd, NULL) != EC_OK)
        return;
    enum ec ec = io_pwrite(io, "catalog.seal_write", fd, seal, sizeof(seal), 0, NULL);
    (void)ec;                                             /* an old or torn seal does not hold */
    (void)io_close(io, "catalog.seal_written", fd, NULL); /* as above */
}

enum ec catalog_seal_break(struct io *io, const char *dir, struct err *err)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "data.seal"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(freep) char *path = seal_path(dir, names[i]);
        enum ec ec = io_unlink(io, "catalog.seal_break", path, err);
        if (ec != EC_OK && ec != EC_NOT_FOUND)
            return ec;
    }
    return EC_OK;
}
