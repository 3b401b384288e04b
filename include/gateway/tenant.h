/* SPDX-License-Identifier: Apache-2.0
 * Tenant ids from X-Scope-OrgID, by Tempo's rules (spec tempo-api.md 3.1, ingest.md 10.2). Ids are
 * never paths. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#define TENANT_ID_MAX 150
#define TENANT_SINGLE "single-tenant"

/* One id: strips ":metadata", checks length, bytes, "." and "..". *ret is a view into raw. */
enum ec tenant_id_check(struct str raw, struct str *ret, struct err *err) MUST_USE;
/* Write side: "a|a" is a; "a|b" is EC_INVALID "multiple org IDs present"; empty: "no org id". */
enum ec tenant_one(struct str header, struct str *ret, struct err *err) MUST_USE;
/* Read side: sorted, distinct. allow_many false: more than one is EC_INVALID. */
enum ec tenant_many(struct str header, bool allow_many, struct arena *arena, struct str **ret,
    size_t *ret_n, struct err *err) MUST_USE;
