/* SPDX-License-Identifier: Apache-2.0
 * zstd with one compression and one decompression context per thread, made on first use and freed
 * when the thread ends.
 *
 * INVARIANT: the output size is known before decompression starts; a frame that holds less or more
 * than its header declared is EC_CORRUPT, and nothing is allocated because of what it says.
 */
#include "base/compress.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

struct telling {
    int level;
    unsigned match_min;
    bool symbols;
};

struct zstd_thread {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
    struct telling told; /* to c, which stays; match_min 0: nothing yet */
};

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static _Thread_local struct zstd_thread *thread_own; /* the key's value, without the call */

static void thread_free(void *p)
{
    struct zstd_thread *t = p;
    thread_own = NULL;
    ZSTD_freeCCtx(t->c);
    ZSTD_freeDCtx(t->d);
    free(t);
}

/* The main thread runs no key destructors when the process exits. */
static void main_thread_free(void)
{
    if (thread_own != NULL)
        thread_free(thread_own);
}

static void thread_key_init(void)
{
    ASSERT(pthread_key_create(&thread_key, thread_free) == 0);
    (void)atexit(main_thread_free); /* only leak checkers would notice a refusal */
}

static struct zstd_thread *zstd_thread(void)
{
    if (LIKELY(thread_own != NULL))
        return thread_own;
    pthread_once(&thread_once, thread_key_init);
    struct zstd_thread *t = xcalloc(1, sizeof(*t));
    ASSERT(pthread_setspecific(thread_key, t) == 0);
    thread_own = t;
    return t;
}

size_t zstd_bound(size_t n)
{
    return ZSTD_compressBound(n);
}

/* zstd calls it experimental: a library that knows it no more leaves literals as they are. */
#define ZSTD_LITERALS_MODE ZSTD_c_experimentalParam5
#define LITERALS_AUTO      0
#define LITERALS_HUFFMAN   1

static void compress_tell(struct zstd_thread *t, const struct telling *what)
{
    size_t n = ZSTD_CCtx_setParameter(t->c, ZSTD_c_compressionLevel, what->level);
    ASSERT(!ZSTD_isError(n));
    n = ZSTD_CCtx_setParameter(t->c, ZSTD_c_minMatch, (int)what->match_min);
    ASSERT(!ZSTD_isError(n));
    if (what->symbols != t->told.symbols)
        (void)ZSTD_CCtx_setParameter(
            t->c, ZSTD_LITERALS_MODE, what->symbols ? LITERALS_HUFFMAN : LITERALS_AUTO);
    t->told = *what;
}

static enum ec compress_as(
    struct buf *out, struct bytes in, const struct telling *what, struct err *err)
{
    struct zstd_thread *t = zstd_thread();
    size_t bound = ZSTD_compressBound(in.n), n;

    if (ZSTD_isError(bound))
        return ERR(err, EC_TOO_LARGE, "zstd: %zu bytes are too many for one frame", in.n);
    if (!buf_reserve(out, bound))
        return ERR(err, EC_LIMIT, "zstd: no budget for %zu output bytes", bound);
    if (t->c == NULL && (t->c = ZSTD_createCCtx()) == NULL)
        return ERR(err, EC_LIMIT, "zstd: no memory for a compression context");
    if (what->match_min == 0) { /* whatever was set before is ignored */
        n = ZSTD_compressCCtx(t->c, out->p + out->n, bound, in.p, in.n, what->level);
    } else {
        if (t->told.level != what->level || t->told.match_min != what->match_min ||
            t->told.symbols != what->symbols)
            compress_tell(t, what);
        n = ZSTD_compress2(t->c, out->p + out->n, bound, in.p, in.n);
    }
    if (ZSTD_isError(n))
        return ERR(err, EC_LIMIT, "zstd: compress %zu bytes: %s", in.n, ZSTD_getErrorName(n));
    ASSERT(n <= bound);
    out->n += n;
    return EC_OK;
}

enum ec zstd_compress(struct buf *out, struct bytes in, int level, struct err *err)
{
    const struct telling what = {.level = level};
    return compress_as(out, in, &what, err);
}

enum ec zstd_compress_matches(
    struct buf *out, struct bytes in, int level, unsigned match_min, struct err *err)
{
    const struct telling what = {.level = level, .match_min = match_min};
    return compress_as(out, in, &what, err);
}

#define SYMBOLS_MATCH_MIN 7u

enum ec zstd_compress_symbols(struct buf *out, struct bytes in, int level, struct err *err)
{
    const struct telling what = {.level = level, .match_min = SYMBOLS_MATCH_MIN, .symbols = true};
    return compress_as(out, in, &what, err);
}

enum ec zstd_decompress(void *out, size_t raw_n, struct bytes in, struct err *err)
{
    struct zstd_thread *t = zstd_thread();

    if (t->d == NULL && (t->d = ZSTD_createDCtx()) == NULL)
        return ERR(err, EC_LIMIT, "zstd: no memory for a decompression context");
    size_t n = ZSTD_decompressDCtx(t->d, out, raw_n, in.p, in.n);
    if (ZSTD_isError(n))
        return ERR(err, EC_CORRUPT, "zstd: decompress %zu bytes: %s", in.n, ZSTD_getErrorName(n));
    if (n != raw_n)
        return ERR(err, EC_CORRUPT, "zstd: %zu bytes decompressed, %zu declared", n, raw_n);
    return EC_OK;
}
