/* SPDX-License-Identifier: Apache-2.0
 * A pull reader over Thrift bytes, binary (strict and old headers) and compact protocol: no tree,
 * no allocation.
 *
 * The caller asks for what it expects; a function returns false when the bytes are something else,
 * with the reason in the reader, and false again for everything after that. Types are those of the
 * binary protocol whatever the encoding. Counts are checked against the bytes that are left, so a
 * loop over them is linear in the input; what is unknown is skipped without recursion, at most
 * THRIFT_DEPTH containers deep. Not thread-safe.
 */
#pragma once

#include "base/bytes.h"

#define THRIFT_DEPTH 32

enum thrift_type {
    THRIFT_STOP = 0,
    THRIFT_BOOL = 2,
    THRIFT_I8 = 3,
    THRIFT_DOUBLE = 4,
    THRIFT_I16 = 6,
    THRIFT_I32 = 8,
    THRIFT_I64 = 10,
    THRIFT_STRING = 11,
    THRIFT_STRUCT = 12,
    THRIFT_MAP = 13,
    THRIFT_SET = 14,
    THRIFT_LIST = 15,
};

enum thrift_message { THRIFT_CALL = 1, THRIFT_REPLY, THRIFT_EXCEPTION, THRIFT_ONEWAY };

struct thrift_reader {
    const uint8_t *base, *p, *end;
    const char *what;  /* NULL: no error yet; else a static string */
    const uint8_t *at; /* where it was */
    bool compact;
    uint8_t field_bool; /* compact: the field header that was just read held true (1), false (2) */
};

/* A field; also the cursor of its struct (compact ids are deltas): starts as {0}. */
struct thrift_field {
    uint8_t type; /* enum thrift_type */
    int16_t id;
};

void thrift_init(struct thrift_reader *r, struct bytes b, bool compact);
/* Always false; the first reason stays. */
bool thrift_fail(struct thrift_reader *r, const char *what) __attribute__((cold, noinline));

bool thrift_message(struct thrift_reader *r, struct str *ret_name, unsigned *ret_type) MUST_USE;
/* The next field of a struct; false at its end and on errors: see r->what. */
bool thrift_next(struct thrift_reader *r, struct thrift_field *f) MUST_USE;
bool thrift_bool(struct thrift_reader *r, bool *ret) MUST_USE;
bool thrift_i16(struct thrift_reader *r, int16_t *ret) MUST_USE;
bool thrift_i32(struct thrift_reader *r, int32_t *ret) MUST_USE;
bool thrift_i64(struct thrift_reader *r, int64_t *ret) MUST_USE;
bool thrift_double(struct thrift_reader *r, double *ret) MUST_USE;
bool thrift_string(struct thrift_reader *r, struct str *ret) MUST_USE; /* a view */
/* A list whose elements are structs; each takes at least one byte. */
bool thrift_structs(struct thrift_reader *r, uint32_t *ret_n) MUST_USE;
/* The value of field f, unread. */
bool thrift_skip(struct thrift_reader *r, const struct thrift_field *f) MUST_USE;
