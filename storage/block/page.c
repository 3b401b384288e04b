/* SPDX-License-Identifier: Apache-2.0
 * Reading a block file: the root on first use, then single pages. Every byte that is believed was
 * covered by a checksum; a bad read is repeated once, because the second one may come from the disk
 * instead of a damaged buffer. The owner of a block hears about damage once. */
#include <stdlib.h>

#include "base/compress.h"
#include "base/defect.h"
#include "reader.h"

#define ROOT_ROOM_BYTES    ((uint64_t)1 << 20)
#define READ_AT_ONCE_BYTES ((uint64_t)256 << 10)
/* The end of a file, which is read first: a root has some 3 KiB, more in a block of very many
 * traces. */
#define TAIL_BYTES 8192u

enum ec block_damaged(struct block *b, enum ec ec, const struct err *err)
{
    if ((ec == EC_CORRUPT || ec == EC_IO) && b->on_corrupt != NULL &&
        !atomic_exchange_explicit(&b->told, true, memory_order_relaxed))
        b->on_corrupt(b->on_corrupt_ctx, b->part.uuid, err);
    return ec;
}

/* n pages that follow each other in the file. */
static enum ec pages_read_once(struct block *b, const struct page_ref *refs, uint32_t n,
    uint64_t salt, uint8_t *p, struct err *err)
{
    int fd;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += refs[i].stored;
    enum ec ec = block_file_take(b, &fd, err);
    if (ec == EC_NOT_FOUND) /* its name stays while it is read */
        return ERR(err, EC_IO, "the file is gone");
    TRY(ec);
    ec = io_pread(b->io, "block.read", fd, p, bytes, refs[0].offset, err);
    block_file_give(b);
    TRY(ec);
    for (uint32_t i = 0; i < n; p += refs[i].stored, i++)
        if (block_page_sum(salt, refs[i].offset, p, refs[i].stored) != refs[i].sum &&
            !DEFECT(DEFECT_IGNORE_CHECKSUM))
            return ERR(err, EC_CORRUPT, "page at %llu (%u bytes): checksum does not match",
                (unsigned long long)refs[i].offset, refs[i].stored);
    return EC_OK;
}

enum ec block_pages_pread(struct block *b, const struct page_ref *refs, uint32_t n, uint64_t salt,
    uint8_t *p, struct err *err)
{
    struct err first = {0};
    if (pages_read_once(b, refs, n, salt, p, &first) == EC_OK)
        return EC_OK;
    return pages_read_once(b, refs, n, salt, p, err);
}

enum ec block_page_pread(
    struct block *b, const struct page_ref *ref, uint64_t salt, uint8_t *p, struct err *err)
{
    return block_pages_pread(b, ref, 1, salt, p, err);
}

static enum ec pages_read(struct block *b, const struct page_ref *refs, uint32_t n, uint64_t salt,
    struct buf *into, struct err *err)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += refs[i].stored;
    buf_reset(into);
    if (!buf_reserve(into, bytes + 8))
        return ERR(err, EC_LIMIT, "page of %zu bytes is over the memory budget", bytes);
    TRY(block_pages_pread(b, refs, n, salt, into->p, err));
    into->n = bytes;
    return EC_OK;
}

/* Small pages come with what is around them. WHY: the columns of resources and scopes are some
 * forty pages of a hundred bytes, side by side, and a trace by id wants a few bytes of each. */
#define WINDOW_PAGE_MAX 1024u
#define WINDOW_BYTES    12288u
#define WINDOW_ALIGN    4096u

/* False: it has to be read in the usual way, which tries twice and says what is wrong. */
static bool window_fill(struct block_reader *r, uint64_t offset, uint64_t bytes)
{
    uint64_t from = offset & ~(uint64_t)(WINDOW_ALIGN - 1);
    uint64_t n = MIN(r->b->file_bytes - from, WINDOW_BYTES);
    int fd;
    buf_reset(&r->window);
    if (offset + bytes > from + n || !buf_reserve(&r->window, n) ||
        block_file_take(r->b, &fd, NULL) != EC_OK)
        return false;
    enum ec ec = io_pread(r->b->io, "block.read_window", fd, r->window.p, n, from, NULL);
    block_file_give(r->b);
    r->window.n = ec == EC_OK ? n : 0;
    r->window_at = from;
    return ec == EC_OK;
}

static bool window_read(struct block_reader *r, const struct page_ref *refs, uint32_t n,
    uint64_t bytes, struct bytes *ret)
{
    uint64_t offset = refs[0].offset;
    if ((offset < r->window_at || offset + bytes > r->window_at + r->window.n) &&
        !window_fill(r, offset, bytes))
        return false;
    const uint8_t *p = r->window.p + (offset - r->window_at);
    *ret = bytes_n(p, bytes);
    for (uint32_t i = 0; i < n; p += refs[i].stored, i++) {
        if (block_page_sum(r->root->salt, refs[i].offset, p, refs[i].stored) == refs[i].sum ||
            DEFECT(DEFECT_IGNORE_CHECKSUM))
            continue;
        r->window.n = 0; /* perhaps it was damaged on its way */
        return false;
    }
    return true;
}

enum ec block_pages_read(struct block_reader *r, const struct page_ref *refs, uint32_t n,
    uint32_t *ret_n, struct bytes *ret, struct err *err)
{
    struct err local = {0};
    struct err *e = err != NULL ? err : &local; /* on_corrupt wants a message in any case */
    uint32_t many = 1;
    uint64_t bytes = refs[0].stored;
    ASSERT(n > 0);
    for (; many < n && refs[many].offset == refs[0].offset + bytes; many++) {
        if (bytes + refs[many].stored > READ_AT_ONCE_BYTES)
            break;
        bytes += refs[many].stored;
    }
    if (bytes <= WINDOW_PAGE_MAX && window_read(r, refs, many, bytes, ret)) {
        r->bytes_read += bytes;
        *ret_n = many;
        return EC_OK;
    }
    enum ec ec = pages_read(r->b, refs, many, r->root->salt, &r->stored, e);
    if (ec != EC_OK) {
        (void)err_prefix(e, "block %s", r->b->path);
        return block_damaged(r->b, ec, e);
    }
    r->bytes_read += bytes;
    *ret = buf_bytes(&r->stored);
    *ret_n = many;
    return EC_OK;
}

enum ec block_page_read(
    struct block_reader *r, const struct page_ref *ref, struct bytes *ret, struct err *err)
{
    uint32_t one;
    return block_pages_read(r, ref, 1, &one, ret, err);
}

/* The stored root: in `tail`, which is the file's last n bytes, or else read. */
static enum ec root_bytes(struct block *b, const struct page_ref *root, uint64_t salt,
    struct bytes tail, uint64_t size, struct buf *stored, struct bytes *ret, struct err *err)
{
    uint64_t at = size - tail.n;
    if (root->offset < at) {
        TRY(pages_read(b, root, 1, salt, stored, err));
        *ret = buf_bytes(stored);
        return EC_OK;
    }
    *ret = bytes_n(tail.p + (root->offset - at), root->stored);
    if (block_page_sum(salt, root->offset, ret->p, ret->n) != root->sum)
        return ERR(err, EC_CORRUPT, "footer at %llu: checksum does not match",
            (unsigned long long)root->offset);
    return EC_OK;
}

/* Trailer, then the root page, which is one zstd section. */
static enum ec root_read(struct block *b, int fd, struct budget *budget, struct block_root **ret,
    struct buf *stored, struct buf *raw, struct err *err)
{
    uint8_t tail[TAIL_BYTES];
    struct io_stat st;
    struct page_ref root;
    struct bytes page;
    uint64_t salt;
    TRY(io_fstat(b->io, "block.read", fd, &st, err));
    if (st.size < BLOCK_HEADER_BYTES + BLOCK_TRAILER_BYTES)
        return ERR(
            err, EC_CORRUPT, "%llu bytes are too few for a block", (unsigned long long)st.size);
    size_t n = (size_t)MIN(st.size, sizeof(tail));
    TRY(io_pread(b->io, "block.read_trailer", fd, tail, n, st.size - n, err));
    TRY(block_trailer_get(tail + n - BLOCK_TRAILER_BYTES, st.size, &root, &salt, err));
    TRY(root_bytes(b, &root, salt, bytes_n(tail, n), st.size, stored, &page, err));
    struct page_in in;
    const uint8_t *p;
    page_in_init(&in, page, root.raw, raw);
    TRY(section_get(&in, root.raw, &p, err));
    TRY(page_in_end(&in, err));
    TRY(block_root_decode(bytes_n(p, root.raw), st.size, salt, budget, ret, err));
    b->file_bytes = st.size;
    return EC_OK;
}

/* WHY only of a file that nothing is known of: trailer and root say all that the header does, and
 * of a thousand blocks each header is a read of its own at the other end of the file. */
static enum ec header_read(struct block *b, int fd, struct err *err)
{
    uint8_t header[BLOCK_HEADER_BYTES];
    if (b->brief.n_rows != 0)
        return EC_OK;
    TRY(io_pread(b->io, "block.read_header", fd, header, sizeof(header), 0, err));
    return block_header_check(header, b->part.uuid, err);
}

/* The block that was asked for, and of the tenant that was asked for. */
static enum ec root_check(const struct block *b, const struct block_root *root, struct err *err)
{
    if (memcmp(root->facts.uuid, b->part.uuid, 16) != 0)
        return ERR(err, EC_CORRUPT, "the file is another block");
    if (b->tenant.p != NULL && !str_eq(root->tenant, b->tenant))
        return ERR(err, EC_CORRUPT, "the file belongs to another tenant");
    return EC_OK;
}

/* *ret_damage: the file was there and could be opened, so a failure is its own. */
static enum ec root_open(struct block *b, struct budget *budget, bool *ret_damage, struct err *err)
{
    struct buf stored, raw;
    struct block_root *root = NULL;
    int fd;
    TRY(block_file_take(b, &fd, err));
    *ret_damage = true;
    buf_init(&stored, budget);
    buf_init(&raw, budget);
    enum ec ec = EC_OK;
    for (int i = 0; i < 2; i++) { /* once more: these reads have no retry of their own */
        ec = header_read(b, fd, err);
        if (ec == EC_OK)
            ec = root_read(b, fd, budget, &root, &stored, &raw, err);
        if (ec != EC_CORRUPT && ec != EC_IO)
            break;
    }
    if (ec == EC_OK && (ec = root_check(b, root, err)) != EC_OK)
        block_root_free(root, budget);
    buf_deinit(&stored);
    buf_deinit(&raw);
    block_file_give(b);
    if (ec != EC_OK) {
        block_file_drop(b);
        return ec;
    }
    atomic_store_explicit(&b->root, root, memory_order_release);
    return EC_OK;
}

enum ec block_root_load(struct block *b, struct err *err)
{
    struct err local = {0};
    struct err *e = err != NULL ? err : &local;
    if (LIKELY(atomic_load_explicit(&b->root, memory_order_acquire) != NULL))
        return EC_OK;
    bool damage = false;
    pthread_mutex_lock(&b->lock);
    enum ec ec = EC_OK;
    if (atomic_load_explicit(&b->root, memory_order_acquire) == NULL)
        ec = root_open(b, block_cache_budget(b->cache), &damage, e);
    if (ec == EC_LIMIT) { /* pages give way to a root: it stays as long as the block */
        block_cache_shrink(b->cache, ROOT_ROOM_BYTES);
        ec = root_open(b, block_cache_budget(b->cache), &damage, e);
    }
    pthread_mutex_unlock(&b->lock);
    if (ec != EC_OK) {
        (void)err_prefix(e, "block %s", b->path);
        return damage ? block_damaged(b, ec, e) : ec;
    }
    return EC_OK;
}
