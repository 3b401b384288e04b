/* SPDX-License-Identifier: Apache-2.0
 * Sections and integer streams of a page (FORMAT.md sections 3 and 4).
 *
 * WHY planes: the low bytes of times, durations and sizes are noise. Kept together, byte by byte,
 * they would share one entropy table with the regular high bytes; apart, noise is stored raw at
 * memcpy speed and the rest shrinks. WHY not bit-packing: entropy coding of bytes gets below the
 * packed size on every column of the corpus, and unpacking bytes is a vector loop.
 */
#include "codec.h"

#include "base/compress.h"

#define SECTION_ZSTD_MIN 48 /* a zstd frame costs about 12 bytes; below this it cannot pay */
/* WHY: codes and ids repeat for four bytes by chance. References to that are no shorter than the
 * bytes under an entropy code, and dear to follow: without them sections are a fraction of a per
 * cent smaller, and unpacked with an eighth fewer instructions. */
#define SECTION_MATCH_MIN 7

void page_out_init(struct page_out *p, struct budget *budget, int level)
{
    *p = (struct page_out){.level = level};
    buf_init(&p->b, budget);
    buf_init(&p->scratch, budget);
}

void page_out_deinit(struct page_out *p)
{
    buf_deinit(&p->b);
    buf_deinit(&p->scratch);
}

void page_out_reset(struct page_out *p)
{
    buf_reset(&p->b);
    buf_reset(&p->scratch);
    p->raw = 0;
}

enum ec page_out_check(const struct page_out *p, struct err *err)
{
    if (buf_failed(&p->b) || buf_failed(&p->scratch))
        return ERR(err, EC_LIMIT, "block page of %zu bytes is over the memory budget", p->b.n);
    return EC_OK;
}

static enum ec section_put_raw(struct page_out *p, const void *data, size_t n, struct err *err)
{
    buf_putc(&p->b, SECTION_RAW);
    buf_put_varint(&p->b, n);
    buf_put(&p->b, data, n);
    return page_out_check(p, err);
}

enum ec section_put(struct page_out *p, const void *data, size_t n, bool compress, struct err *err)
{
    p->raw += n;
    if (!compress || n < SECTION_ZSTD_MIN)
        return section_put_raw(p, data, n, err);

    /* The stored size stands before the bytes: room for the longest varint, closed up
     * afterwards. */
    size_t start = p->b.n;
    uint8_t head[1 + 10];
    head[0] = SECTION_ZSTD;
    buf_put(&p->b, head, sizeof(head));
    size_t body = p->b.n;
    TRY(page_out_check(p, err));
    TRY(zstd_compress_matches(&p->b, bytes_n(data, n), p->level, SECTION_MATCH_MIN, err));
    TRY(page_out_check(p, err));
    size_t stored = p->b.n - body;
    if (stored + 4 >= n) {
        p->b.n = start;
        return section_put_raw(p, data, n, err);
    }
    size_t head_n = 1 + varint_put(p->b.p + start + 1, stored);
    memmove(p->b.p + start + head_n, p->b.p + body, stored);
    p->b.n = start + head_n + stored;
    return EC_OK;
}

static unsigned bytes_needed(uint64_t v)
{
    return v == 0 ? 0 : (64u - (unsigned)__builtin_clzll(v) + 7) / 8;
}

/* Values minus `base`, either value by value or plane by plane, into the scratch buffer. */
static enum ec ints_put_body(struct page_out *p, const uint64_t *v, size_t n, uint64_t base,
    unsigned w, bool planes, struct err *err)
{
    buf_reset(&p->scratch);
    if (!buf_reserve(&p->scratch, planes ? n : n * w + 8))
        return page_out_check(p, err);
    uint8_t *out = p->scratch.p;
    if (!planes) {
        for (size_t i = 0; i < n; i++)
            put_u64le(out + i * w, v[i] - base); /* the next value overwrites what is too much */
        return section_put(p, out, n * w, true, err);
    }
    for (unsigned k = 0; k < w; k++) {
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)((v[i] - base) >> (8 * k));
        TRY(section_put(p, out, n, true, err));
    }
    return EC_OK;
}

static enum ec ints_put_for(
    struct page_out *p, const uint64_t *v, size_t n, unsigned flags, bool planes, struct err *err)
{
    uint64_t min = n == 0 ? 0 : v[0], max = min;
    for (size_t i = 1; i < n; i++) {
        min = MIN(min, v[i]);
        max = MAX(max, v[i]);
    }
    unsigned w = bytes_needed(max - min);
    unsigned kind = w == 0 ? INTS_KIND_CONST : planes && w > 1 ? INTS_KIND_PLANES : INTS_KIND_BYTES;
    buf_putc(&p->b, (char)(kind | flags));
    if (kind == INTS_KIND_CONST) {
        buf_put_varint(&p->b, min);
        return page_out_check(p, err);
    }
    if (bytes_needed(max) == w)
        min = 0; /* the base would save nothing */
    buf_putc(&p->b, (char)w);
    buf_put_varint(&p->b, min);
    return ints_put_body(p, v, n, min, w, kind == INTS_KIND_PLANES, err);
}

static enum ec ints_put_deltas(struct page_out *p, const uint64_t *v, size_t n, struct err *err)
{
    struct buf deltas;
    buf_init(&deltas, p->b.budget);
    enum ec ec = EC_OK;
    if (!buf_reserve(&deltas, n * 8)) {
        ec = ERR(err, EC_LIMIT, "block page of %zu values is over the memory budget", n);
    } else {
        uint64_t *d = (uint64_t *)(void *)deltas.p, prev = 0;
        for (size_t i = 0; i < n; i++) {
            d[i] = zigzag_encode((int64_t)(v[i] - prev));
            prev = v[i];
        }
        /* The first value is a difference to nothing: apart, so that it does not widen the rest. */
        buf_put_u64le(&p->b, n == 0 ? 0 : v[0]);
        ec = n <= 1 ? EC_OK : ints_put_for(p, d + 1, n - 1, 0, true, err);
    }
    buf_deinit(&deltas);
    return ec;
}

enum ec ints_put(
    struct page_out *p, const uint64_t *v, size_t n, enum ints_hint hint, struct err *err)
{
    switch (hint) {
    case INTS_DELTAS:
        buf_putc(&p->b, INTS_KIND_DELTA);
        return ints_put_deltas(p, v, n, err);
    case INTS_RANDOM:
        buf_putc(&p->b, INTS_KIND_BYTES);
        buf_putc(&p->b, 8);
        buf_put_varint(&p->b, 0);
        return section_put(p, v, n * 8, false, err);
    case INTS_CODES:
        return ints_put_for(p, v, n, 0, false, err);
    case INTS_NUMS:
        return ints_put_for(p, v, n, 0, true, err);
    }
    ASSERT(false && "an unknown hint");
}

/* Reading. */

uint64_t cur_varint_long(struct cur *c)
{
    uint64_t v = 0;
    const uint8_t *p = c->bad ? NULL : varint_get(c->p, c->end, &v);
    if (p == NULL) {
        c->bad = true;
        return 0;
    }
    c->p = p;
    return v;
}

const uint8_t *cur_take(struct cur *c, uint64_t n)
{
    if (c->bad || n > cur_left(c)) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += n;
    return p;
}

uint64_t cur_u64le(struct cur *c)
{
    const uint8_t *p = cur_take(c, 8);
    return p == NULL ? 0 : get_u64le(p);
}

uint8_t cur_u8(struct cur *c)
{
    const uint8_t *p = cur_take(c, 1);
    return p == NULL ? 0 : *p;
}

enum ec page_in_init(struct page_in *in, struct bytes stored, uint64_t raw, struct buf *scratch)
{
    *in = (struct page_in){
        .c = {stored.p, stored.p + stored.n, false}, .raw_left = raw, .scratch = scratch};
    return EC_OK;
}

static enum ec section_head(
    struct page_in *in, size_t n, uint8_t *ret_method, struct bytes *ret_stored, struct err *err)
{
    uint8_t method = cur_u8(&in->c);
    uint64_t stored = cur_varint(&in->c);
    const uint8_t *p = cur_take(&in->c, stored);
    if (in->c.bad || n > in->raw_left || (method == SECTION_RAW && stored != n) ||
        method > SECTION_ZSTD)
        return ERR(err, EC_CORRUPT, "section of %zu bytes: method %u, %llu stored", n, method,
            (unsigned long long)stored);
    in->raw_left -= n;
    *ret_method = method;
    *ret_stored = bytes_n(p, (size_t)stored);
    return EC_OK;
}

enum ec section_get_into(struct page_in *in, size_t n, void *out, struct err *err)
{
    uint8_t method = SECTION_RAW;
    struct bytes stored = {0};
    TRY(section_head(in, n, &method, &stored, err));
    if (method == SECTION_ZSTD)
        return zstd_decompress(out, n, stored, err);
    if (n > 0)
        memcpy(out, stored.p, n);
    return EC_OK;
}

enum ec section_get(struct page_in *in, size_t n, const uint8_t **ret, struct err *err)
{
    uint8_t method = SECTION_RAW;
    struct bytes stored = {0};
    TRY(section_head(in, n, &method, &stored, err));
    if (method == SECTION_RAW) {
        *ret = stored.p;
        return EC_OK;
    }
    buf_reset(in->scratch);
    if (!buf_reserve(in->scratch, n + 8))
        return ERR(err, EC_LIMIT, "section of %zu bytes is over the memory budget", n);
    TRY(zstd_decompress(in->scratch->p, n, stored, err));
    *ret = in->scratch->p;
    return EC_OK;
}

static void ints_fill(void *out, size_t n, unsigned width, uint64_t v)
{
    if (width == 8)
        for (size_t i = 0; i < n; i++)
            ((uint64_t *)out)[i] = v;
    else if (width == 4)
        for (size_t i = 0; i < n; i++)
            ((uint32_t *)out)[i] = (uint32_t)v;
    else
        memset(out, (int)(v & 0xff), n);
}

/* Every eighth bit of n values: the lowest bits come first, on top of the base, the others are
 * added to what is there. */
#define PLANE(name, type, attr)                                                             \
    attr static void name(                                                                  \
        type *restrict out, size_t n, const uint8_t *restrict plane, unsigned k, type base) \
    {                                                                                       \
        if (k == 0)                                                                         \
            for (size_t i = 0; i < n; i++)                                                  \
                out[i] = (type)(base + plane[i]);                                           \
        else                                                                                \
            for (size_t i = 0; i < n; i++)                                                  \
                out[i] = (type)(out[i] + ((type)plane[i] << (8 * k)));                      \
    }
PLANE(plane_u64, uint64_t, )
PLANE(plane_u32, uint32_t, )
#if defined(__x86_64__) /* a third of the instructions: bytes are widened by one */
PLANE(plane_u64_avx2, uint64_t, __attribute__((target("avx2"))))
PLANE(plane_u32_avx2, uint32_t, __attribute__((target("avx2"))))
#else
#define plane_u64_avx2 plane_u64
#define plane_u32_avx2 plane_u32
#endif

static bool has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") != 0;
#else
    return false;
#endif
}

static void ints_add_plane(
    void *out, size_t n, unsigned width, const uint8_t *plane, unsigned k, uint64_t base)
{
    if (k >= width)
        return; /* modulo the size of the output */
    if (width == 8) {
        (has_avx2() ? plane_u64_avx2 : plane_u64)(out, n, plane, k, base);
    } else if (width == 4) {
        (has_avx2() ? plane_u32_avx2 : plane_u32)(out, n, plane, k, (uint32_t)base);
    } else {
        uint8_t *o = out;
        for (size_t i = 0; i < n; i++)
            o[i] = (uint8_t)(base + plane[i]);
    }
}

#define INTS_UNPACK(type, w)                     \
    case w:                                      \
        for (size_t i = 0; i < n; i++) {         \
            uint64_t v = 0;                      \
            memcpy(&v, src + i * (w), (w));      \
            ((type *)out)[i] = (type)(base + v); \
        }                                        \
        break;
#define INTS_UNPACK_ALL(type)                                                           \
    switch (w) {                                                                        \
        INTS_UNPACK(type, 1)                                                            \
        INTS_UNPACK(type, 2)                                                            \
        INTS_UNPACK(type, 3)                                                            \
        INTS_UNPACK(type, 4)                                                            \
        INTS_UNPACK(type, 5)                                                            \
        INTS_UNPACK(type, 6) INTS_UNPACK(type, 7) INTS_UNPACK(type, 8) default : break; \
    }

static void ints_unpack(
    void *out, size_t n, unsigned width, const uint8_t *src, unsigned w, uint64_t base)
{
    if (w == 1) { /* codes of few strings */
        ints_add_plane(out, n, width, src, 0, base);
        return;
    }
    if (w == 8 && width == 8 && base == 0) { /* ids */
        memcpy(out, src, n * 8);
        return;
    }
    if (width == 8) {
        INTS_UNPACK_ALL(uint64_t)
    } else if (width == 4) {
        INTS_UNPACK_ALL(uint32_t)
    } else {
        INTS_UNPACK_ALL(uint8_t)
    }
}

/* What follows the kind byte of a stream without the delta flag: of n integers [from, from + m). */
static enum ec ints_get_for(struct page_in *in, unsigned kind, size_t n, unsigned width,
    size_t from, size_t m, void *out, struct err *err)
{
    if (kind == INTS_KIND_CONST) {
        uint64_t v = cur_varint(&in->c);
        if (in->c.bad)
            return ERR(err, EC_CORRUPT, "integers: constant cut short");
        ints_fill(out, m, width, v);
        return EC_OK;
    }
    unsigned w = cur_u8(&in->c);
    uint64_t base = cur_varint(&in->c);
    if (in->c.bad || w < 1 || w > 8)
        return ERR(err, EC_CORRUPT, "integers: %u bytes a value", w);
    const uint8_t *src = NULL;
    if (kind == INTS_KIND_BYTES) {
        TRY(section_get(in, n * w, &src, err));
        ints_unpack(out, m, width, src + from * w, w, base);
        return EC_OK;
    }
    if (kind != INTS_KIND_PLANES)
        return ERR(err, EC_CORRUPT, "integers: kind %u", kind);
    for (unsigned k = 0; k < w; k++) {
        TRY(section_get(in, n, &src, err));
        ints_add_plane(out, m, width, src + from, k, base);
    }
    return EC_OK;
}

static void ints_undelta(void *out, size_t n, unsigned width, uint64_t first)
{
    uint64_t v = first;
    if (width == 8) {
        uint64_t *o = out;
        for (size_t i = 0; i < n; i++)
            o[i] = v += (uint64_t)zigzag_decode(o[i]);
    } else if (width == 4) {
        uint32_t *o = out;
        for (size_t i = 0; i < n; i++)
            o[i] =
                (uint32_t)(v += (uint64_t)(int64_t)((int32_t)(o[i] >> 1) ^ -(int32_t)(o[i] & 1)));
    } else {
        uint8_t *o = out;
        for (size_t i = 0; i < n; i++)
            o[i] = (uint8_t)(v += (uint64_t)zigzag_decode(o[i]));
    }
}

enum ec ints_get(struct page_in *in, size_t n, unsigned width, void *out, struct err *err)
{
    ASSERT(width == 1 || width == 4 || width == 8);
    ASSERT(n <= PAGE_RAW_MAX);
    unsigned kind = cur_u8(&in->c);
    if (in->c.bad)
        return ERR(err, EC_CORRUPT, "integers: kind cut short");
    if (kind != INTS_KIND_DELTA)
        return ints_get_for(in, kind, n, width, 0, n, out, err);

    uint64_t first = cur_u64le(&in->c);
    if (in->c.bad)
        return ERR(err, EC_CORRUPT, "integers: first value cut short");
    if (n == 0)
        return EC_OK;
    ints_fill(out, 1, width, first);
    if (n == 1)
        return EC_OK;
    uint8_t *rest = (uint8_t *)out + width;
    kind = cur_u8(&in->c);
    if (in->c.bad || kind > INTS_KIND_PLANES)
        return ERR(err, EC_CORRUPT, "integers: kind %u of differences", kind);
    TRY(ints_get_for(in, kind, n - 1, width, 0, n - 1, rest, err));
    ints_undelta(rest, n - 1, width, first);
    return EC_OK;
}

enum ec ints_get_some(
    struct page_in *in, size_t n, unsigned width, size_t from, size_t m, void *out, struct err *err)
{
    ASSERT(width == 1 || width == 4 || width == 8);
    ASSERT(n <= PAGE_RAW_MAX && from <= n && m <= n - from);
    unsigned kind = cur_u8(&in->c);
    if (in->c.bad)
        return ERR(err, EC_CORRUPT, "integers: kind cut short");
    return ints_get_for(in, kind, n, width, from, m, out, err);
}

enum ec page_in_end(struct page_in *in, struct err *err)
{
    if (in->c.bad || in->c.p != in->c.end || in->raw_left != 0)
        return ERR(err, EC_CORRUPT, "page: %zu bytes and %llu raw bytes too many", cur_left(&in->c),
            (unsigned long long)in->raw_left);
    return EC_OK;
}
