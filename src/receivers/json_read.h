/* SPDX-License-Identifier: Apache-2.0
 * A pull reader over JSON text (RFC 8259): no tree, no allocation but for a string with escapes.
 *
 * The caller asks for what it expects; each function reads one token or value, moves on, and
 * returns false with the reason in the reader when the text is something else. Linear in the text;
 * unknown values are skipped iteratively, JSON_SKIP_DEPTH containers deep at most. UTF-8 is not
 * checked: the bytes of a string pass through as they are. Not thread-safe.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define JSON_SKIP_DEPTH   64
#define JSON_NUMBER_BYTES 512 /* a longer number is refused */

struct json_reader {
    const char *base, *p, *end;
    const char *what; /* NULL: no error yet; else a static string */
    const char *at;   /* where it was */
    struct buf text;  /* the last string that had escapes */
};

struct json_number {
    struct str text;
    bool integer; /* neither fraction nor exponent */
};

/* The budget pays for strings with escapes. */
void json_reader_init(struct json_reader *r, struct bytes text, struct budget *budget);
void json_reader_deinit(struct json_reader *r);
/* Always false; the first reason stays. */
void json_fail_set(struct json_reader *r, const char *what) __attribute__((cold, noinline));
static inline bool json_fail(struct json_reader *r, const char *what)
{
    json_fail_set(r, what);
    return false;
}

/* The first character of the next token, past white space; 0 at the end of the text. */
char json_peek(struct json_reader *r);
/* Reads `null` if it is next. */
bool json_null(struct json_reader *r);
/* A string; the view lives until the next string is read. */
bool json_string(struct json_reader *r, struct str *ret) MUST_USE;
bool json_number(struct json_reader *r, struct json_number *ret) MUST_USE;
bool json_bool(struct json_reader *r, bool *ret) MUST_USE;
/* Any value, unread. */
bool json_skip(struct json_reader *r) MUST_USE;

/* Containers: `open` reads the bracket, then each `next` stands before an element (of an object:
 * past key and colon). *ret_more is false past the closing bracket. *first is the caller's, true at
 * first. */
bool json_open(struct json_reader *r, char bracket) MUST_USE;
bool json_array_next(struct json_reader *r, bool *first, bool *ret_more) MUST_USE;
bool json_object_next(struct json_reader *r, bool *first, bool *ret_more, struct str *ret_key)
    MUST_USE;
