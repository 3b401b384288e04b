/* SPDX-License-Identifier: Apache-2.0
 * Views (never owning) over bytes and text, and fixed-width little/big endian access.
 *
 * A `struct str` is not NUL-terminated and may hold any bytes. A view with n == 0 may have p ==
 * NULL.
 */
#pragma once

#include <string.h>

#include "base/defs.h"

struct bytes {
    const uint8_t *p;
    size_t n;
};

struct str {
    const char *p;
    size_t n;
};

#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_from(const char *z)
{
    return (struct str){z, z == NULL ? 0 : strlen(z)};
}
static inline struct str str_n(const char *p, size_t n)
{
    return (struct str){p, n};
}
static inline struct bytes bytes_n(const void *p, size_t n)
{
    return (struct bytes){(const uint8_t *)p, n};
}
static inline struct str str_of_bytes(struct bytes b)
{
    return (struct str){(const char *)b.p, b.n};
}
static inline struct bytes bytes_of_str(struct str s)
{
    return (struct bytes){(const uint8_t *)s.p, s.n};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_from(z));
}
static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* Bytewise lexicographic order, shorter first on a tie: <0, 0, >0. */
int str_cmp(struct str a, struct str b);
bool str_ieq(struct str a, struct str b); /* ASCII case-insensitive */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_has(struct str s, struct str needle);
struct str str_trim(struct str s); /* blanks and tabs on both ends */
/* Splits at the first `sep`: returns the head, *rest is what follows (empty at the end). */
struct str str_cut(struct str s, char sep, struct str *rest);
/* Decimal, whole text, no sign for u64. False on syntax or range. */
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret);
bool str_utf8_valid(struct str s);

static inline uint16_t get_u16le(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t get_u32le(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t get_u64le(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline uint32_t get_u32be(const void *p)
{
    return __builtin_bswap32(get_u32le(p));
}
static inline uint64_t get_u64be(const void *p)
{
    return __builtin_bswap64(get_u64le(p));
}
static inline void put_u16le(void *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static inline void put_u32le(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void put_u64le(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline void put_u32be(void *p, uint32_t v)
{
    put_u32le(p, __builtin_bswap32(v));
}
static inline void put_u64be(void *p, uint64_t v)
{
    put_u64le(p, __builtin_bswap64(v));
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little endian hosts only");

/* Bits that are set. WHY not the builtin: for a processor of any age that is a call into libgcc,
 * which looks up byte by byte. */
static inline uint32_t count_bits(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    return (uint32_t)(((v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

/* LEB128 as protobuf writes it. put returns the bytes written (1..10). */
size_t varint_put(uint8_t *p, uint64_t v);
size_t varint_size(uint64_t v);
/* Reads one varint from [p, end): returns the position after it, NULL if cut short or over 64
 * bits. */
const uint8_t *varint_get(const uint8_t *p, const uint8_t *end, uint64_t *ret);
static inline uint64_t zigzag_encode(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t zigzag_decode(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Lower-case hex. `out` gets 2*n characters and no NUL. */
void hex_encode(char *out, const void *p, size_t n);
/* Exactly 2*n hex digits of either case; false otherwise. */
bool hex_decode(uint8_t *out, struct str hex, size_t n);
/* Standard base64 with padding. out needs base64_size(n); returns the characters written. */
static inline size_t base64_size(size_t n)
{
    return (n + 2) / 3 * 4;
}
size_t base64_encode(char *out, struct bytes in);
/* Standard alphabet, padding optional. out needs in.n / 4 * 3 + 3. False on a bad character. */
bool base64_decode(uint8_t *out, size_t *ret_n, struct str in);
/* The alphabet for URLs (RFC 4648 section 5), never padded. */
bool base64url_decode(uint8_t *out, size_t *ret_n, struct str in) MUST_USE;
