/* SPDX-License-Identifier: Apache-2.0
 * JSON from other services and out of tokens: jansson behind caps that hold before it allocates. */
#pragma once

#include <jansson.h>

#include "base/bytes.h"
#include "base/err.h"

#define JSON_DEPTH_MAX 32

/* Once, before threads: seeds the library's hash tables. */
void json_start(void);
/* An object, or EC_INVALID: not JSON, not an object, a key twice, deeper than JSON_DEPTH_MAX, more
 * than values_max values. Free with json_decref. */
enum ec json_parse(struct str text, size_t values_max, json_t **ret, struct err *err) MUST_USE;
/* The text of a member; false when absent or no string. Lives in the object. */
bool json_text(const json_t *object, const char *key, struct str *ret) MUST_USE;
/* A whole number of seconds, from an integer or a fraction (cut); false when it is neither. */
bool json_seconds(const json_t *object, const char *key, int64_t *ret) MUST_USE;
/* An absolute http or https URL, copied; NULL when the member is none. */
char *json_url(const json_t *object, const char *key);
/* Zeroes the characters of every string below, then drops the reference. */
void json_wipe(json_t *v);
static inline void json_wipep(json_t **v) /* for CLEANUP */
{
    json_wipe(*v);
}
