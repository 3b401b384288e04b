/* SPDX-License-Identifier: Apache-2.0
 * X-Scope-OrgID as it comes: what is accepted is what Tempo allows, is accepted again as the same,
 * in any order of several, and its name on disk is no path and leads back to it. */
#include <stdlib.h>

#include "gateway/tenant.h"
#include "storage/store/store_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The rules once more, by a table of what may be in an id. */
static void check_id(struct str id)
{
    static const char may[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!-_.*'()";
    char name[TENANT_NAME_MAX], back[TENANT_ID_MAX + 1];
    size_t n;
    ASSERT(id.n >= 1 && id.n <= TENANT_ID_MAX);
    for (size_t i = 0; i < id.n; i++)
        ASSERT(memchr(may, id.p[i], sizeof(may) - 1) != NULL);
    ASSERT(!str_eqz(id, ".") && !str_eqz(id, ".."));
    tenant_name_encode(name, id);
    ASSERT(strlen(name) <= 255 && strchr(name, '/') == NULL && strstr(name, "..") == NULL);
    ASSERT(tenant_name_decode(back, &n, str_from(name)) && str_eq(str_n(back, n), id));
}

static void check_many(struct arena *a, struct str header)
{
    struct str *ids, *again;
    struct buf joined = BUF_INIT;
    size_t n, n_again;
    if (tenant_many(header, true, a, &ids, &n, NULL) != EC_OK)
        return;
    ASSERT(n >= 1);
    for (size_t i = n; i-- > 0;) { /* backwards: the order asked in must not matter */
        check_id(ids[i]);
        ASSERT(i == 0 || str_cmp(ids[i - 1], ids[i]) < 0);
        buf_put(&joined, ids[i].p, ids[i].n);
        if (i > 0)
            buf_putc(&joined, '|');
    }
    ASSERT(tenant_many(buf_str(&joined), true, a, &again, &n_again, NULL) == EC_OK && n_again == n);
    for (size_t i = 0; i < n; i++)
        ASSERT(str_eq(ids[i], again[i]));
    struct str one;
    ASSERT((tenant_one(header, &one, NULL) == EC_OK) == (n == 1));
    ASSERT((tenant_many(header, false, a, &again, &n_again, NULL) == EC_OK) == (n == 1));
    buf_deinit(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a;
    struct str in = str_n((const char *)data, n), id, again;
    char back[TENANT_ID_MAX + 1], name[TENANT_NAME_MAX];
    size_t n_back;
    arena_init(&a, NULL, 0);
    if (tenant_one(in, &id, NULL) == EC_OK) {
        check_id(id);
        ASSERT(tenant_one(id, &again, NULL) == EC_OK && str_eq(id, again));
    }
    check_many(&a, in);
    if (tenant_name_decode(back, &n_back, in)) { /* a folder that lies there: canonical only */
        tenant_name_encode(name, str_n(back, n_back));
        ASSERT(str_eq(str_from(name), in));
    }
    arena_deinit(&a);
    return 0;
}
