/* SPDX-License-Identifier: Apache-2.0
 * Codecs of a page: sections (raw or zstd), integer streams, and the checked cursor that reads
 * them.
 *
 * A page is a run of sections and varints; FORMAT.md sections 3 and 4 give the bytes. The writer
 * side (page_out) never fails on content, only on memory; the reader side (page_in) trusts nothing:
 * every length is checked against what is left of the page and against the page's declared raw
 * size, so a page cannot make the reader allocate more than that. Not thread-safe; one object per
 * thread.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* a single huge value; ordinary pages stay below 1 MiB */
#define PAGE_RAW_MAX    ((uint64_t)80 << 20)
#define PAGE_RAW_TARGET ((uint64_t)1 << 20)
#define PAGE_VALUES_MAX 65536u

enum section_method {
    SECTION_RAW = 0,
    SECTION_ZSTD = 1,
};

/* How to lay integers out; the choice is stored, so it only costs size when it is wrong. */
enum ints_hint {
    INTS_CODES,  /* small numbers that repeat in sequences: bytes of a value stay together */
    INTS_NUMS,   /* magnitudes: one plane per byte, so that noise does not spoil the high bytes */
    INTS_DELTAS, /* numbers near their predecessor */
    INTS_RANDOM, /* no order at all: stored as they are */
};

enum ints_kind {
    INTS_KIND_CONST = 0,
    INTS_KIND_BYTES = 1,
    INTS_KIND_PLANES = 2,
    INTS_KIND_DELTA = 0x10, /* flag: the values are zigzag differences */
};

struct page_out {
    struct buf b;
    struct buf scratch;
    uint64_t raw; /* sum of raw section sizes */
    int level;    /* zstd */
};

void page_out_init(struct page_out *p, struct budget *budget, int level);
void page_out_deinit(struct page_out *p);
void page_out_reset(struct page_out *p);
enum ec page_out_check(const struct page_out *p, struct err *err) MUST_USE; /* memory refused? */
enum ec section_put(struct page_out *p, const void *data, size_t n, bool compress, struct err *err)
    MUST_USE;
enum ec ints_put(
    struct page_out *p, const uint64_t *v, size_t n, enum ints_hint hint, struct err *err) MUST_USE;

/* A cursor over bytes that are not trusted. `bad` sticks: check it once at the end of a step. */
struct cur {
    const uint8_t *p, *end;
    bool bad;
};
uint64_t cur_varint_long(struct cur *c);
static inline uint64_t cur_varint(struct cur *c)
{
    if (LIKELY(!c->bad && c->p < c->end && *c->p < 0x80)) /* most are small */
        return *c->p++;
    return cur_varint_long(c);
}
static inline uint32_t cur_u32(struct cur *c) /* a varint that must fit; bad otherwise */
{
    uint64_t v = cur_varint(c);
    c->bad |= v > UINT32_MAX;
    return v > UINT32_MAX ? 0 : (uint32_t)v;
}
uint64_t cur_u64le(struct cur *c);                  /* 8 bytes */
uint8_t cur_u8(struct cur *c);                      /* 1 byte */
const uint8_t *cur_take(struct cur *c, uint64_t n); /* NULL and bad when short */
static inline size_t cur_left(const struct cur *c)
{
    return (size_t)(c->end - c->p);
}

struct page_in {
    struct cur c;
    uint64_t raw_left;   /* section bytes that the index still allows */
    struct buf *scratch; /* of the reader, charged to its budget */
};

enum ec page_in_init(struct page_in *in, struct bytes stored, uint64_t raw, struct buf *scratch);
/* Exactly n raw bytes; *ret points into the page or into the scratch buffer until the next call. */
enum ec section_get(struct page_in *in, size_t n, const uint8_t **ret, struct err *err) MUST_USE;
/* As section_get, into the caller's memory. */
enum ec section_get_into(struct page_in *in, size_t n, void *out, struct err *err) MUST_USE;
/* n integers into uint8_t, uint32_t or uint64_t (width 1, 4, 8), modulo their size. */
enum ec ints_get(struct page_in *in, size_t n, unsigned width, void *out, struct err *err) MUST_USE;
/* As ints_get, of the n integers only [from, from + m); not of differences. */
enum ec ints_get_some(struct page_in *in, size_t n, unsigned width, size_t from, size_t m,
    void *out, struct err *err) MUST_USE;
/* Is the next stream one of differences? */
static inline bool ints_are_differences(const struct page_in *in)
{
    return cur_left(&in->c) > 0 && *in->c.p == INTS_KIND_DELTA;
}
/* The page must end here: trailing bytes mean that it was not written by us. */
enum ec page_in_end(struct page_in *in, struct err *err) MUST_USE;
