/* SPDX-License-Identifier: Apache-2.0
 * User-configurable overrides: what tenants set by themselves through /api/overrides, kept in one
 * file that is replaced as a whole (written aside, synced, renamed; a checksum at its end).
 *
 * Each change gets a version that no tenant has had before. The texts are JSON that the caller has
 * checked; this layer does not read them. Thread-safe. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/io.h"

#define USER_LIMITS_TEXT_MAX (64u << 10) /* of one tenant */

struct user_limits;

struct user_limits_entry {
    struct str tenant, json;
    uint64_t version;
};

/* The file lies in dir, which is made. A damaged file is set aside, logged, and taken as empty. */
enum ec user_limits_open(struct io *io, const char *dir, struct user_limits **ret, struct err *err)
    MUST_USE;
void user_limits_free(struct user_limits *u); /* NULL allowed */
/* EC_NOT_FOUND: none. Views belong to the arena. */
enum ec user_limits_get(struct user_limits *u, struct str tenant, struct arena *arena,
    struct user_limits_entry *ret, struct err *err) MUST_USE;
/* version: what the caller saw; 0: none. EC_CONFLICT: it is another by now. Durable on success. */
enum ec user_limits_set(struct user_limits *u, struct str tenant, uint64_t version, struct str json,
    uint64_t *ret_version, struct err *err) MUST_USE;
/* EC_NOT_FOUND: none; EC_CONFLICT as above. */
enum ec user_limits_remove(
    struct user_limits *u, struct str tenant, uint64_t version, struct err *err) MUST_USE;
/* All, in no order. *ret_change: another number after each change. */
enum ec user_limits_all(struct user_limits *u, struct arena *arena, struct user_limits_entry **ret,
    size_t *ret_n, uint64_t *ret_change, struct err *err) MUST_USE;
