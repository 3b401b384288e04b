/* SPDX-License-Identifier: Apache-2.0
 * Tenant id rules. The texts are Tempo's: clients match on them. */
#include "gateway/tenant.h"

#include <stdlib.h>

static bool id_byte_ok(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != 0 && strchr("!-_.*'()", c) != NULL;
}

enum ec tenant_id_check(struct str raw, struct str *ret, struct err *err)
{
    struct str rest, id = str_cut(raw, ':', &rest); /* "tenant:key=value": metadata is dropped */
    for (size_t i = 0; i < id.n; i++) {
        if (id_byte_ok(id.p[i]))
            continue;
        /* A whole UTF-8 character is named, not its first byte. */
        size_t n = 1;
        while (i + n < id.n && ((uint8_t)id.p[i + n] & 0xc0) == 0x80)
            n++;
        return ERR(err, EC_INVALID,
            "tenant ID '" STR_FMT "' contains unsupported character '" STR_FMT "'",
            (int)MIN(id.n, 200), id.p, (int)n, id.p + i);
    }
    if (id.n > TENANT_ID_MAX)
        return ERR(err, EC_INVALID, "tenant ID is too long: max %d characters", TENANT_ID_MAX);
    if (str_eq(id, STR(".")) || str_eq(id, STR("..")))
        return ERR(err, EC_INVALID, "tenant ID is '.' or '..'");
    if (id.n == 0)
        return ERR(err, EC_INVALID, "no org id");
    *ret = id;
    return EC_OK;
}

enum ec tenant_one(struct str header, struct str *ret, struct err *err)
{
    struct str first = {0}, rest = header;
    if (header.n == 0)
        return ERR(err, EC_INVALID, "no org id");
    do {
        struct str id, one = str_cut(rest, '|', &rest);
        TRY(tenant_id_check(one, &id, err));
        if (first.n != 0 && !str_eq(first, id))
            return ERR(err, EC_INVALID, "multiple org IDs present");
        first = id;
    } while (rest.p != NULL);
    *ret = first;
    return EC_OK;
}

static int cmp_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

enum ec tenant_many(struct str header, bool allow_many, struct arena *arena, struct str **ret,
    size_t *ret_n, struct err *err)
{
    size_t n_max = 1, n = 0;
    for (size_t i = 0; i < header.n; i++)
        n_max += header.p[i] == '|';
    struct str *ids = ARENA_ARRAY(arena, n_max, struct str);
    if (ids == NULL)
        return ERR(
            err, EC_LIMIT, "tenant list of %zu ids is over the request's memory budget", n_max);
    struct str rest = header;
    do {
        struct str one = str_cut(rest, '|', &rest);
        TRY(tenant_id_check(one, &ids[n], err));
        n++;
    } while (rest.p != NULL);
    qsort(ids, n, sizeof(*ids), cmp_str);
    size_t distinct = 1;
    for (size_t i = 1; i < n; i++)
        if (!str_eq(ids[i], ids[distinct - 1]))
            ids[distinct++] = ids[i];
    if (distinct > 1 && !allow_many)
        return ERR(err, EC_INVALID, "multiple org IDs present");
    *ret = ids;
    *ret_n = distinct;
    return EC_OK;
}
