/* SPDX-License-Identifier: Apache-2.0
 * Public paths. Whatever the bytes: what is handed on lies below "/api" or is "/v1/traces", is
 * clean and decoded exactly once, and the tenant is the one segment that the raw path shows. */
#include <stdlib.h>

#include "server/server.h"
#include "src/front/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_api(struct arena *a, struct str raw, const struct front_path *p)
{
    struct str prefix = STR("/api/traces/v1/"), clean, again = {"", 0};
    bool bad;
    ASSERT(str_starts(raw, prefix));
    const char *begin = raw.p + prefix.n, *end = raw.p + raw.n;
    const char *slash = begin == end ? NULL : memchr(begin, '/', (size_t)(end - begin));
    struct str shown = str_n(begin, (size_t)((slash == NULL ? end : slash) - begin));
    ASSERT(http_unescape(a, shown, false, &again, &bad) && str_eq(again, p->tenant));
    if (p->route == ROUTE_NONE)
        return;
    ASSERT(http_unescape(a, p->raw, false, &again, &bad) && !bad && str_eq(again, p->decoded));
    ASSERT(http_path_clean(a, p->decoded, &clean) && str_eq(clean, p->decoded));
    ASSERT(memchr(p->decoded.p, 0, p->decoded.n) == NULL);
    if (p->route == ROUTE_OTLP)
        ASSERT(str_eqz(p->decoded, "/v1/traces"));
    else
        ASSERT(str_starts(p->decoded, STR("/api")) && str_starts(p->raw, STR("/api")));
    /* The tenant is not part of what is handed on: it ends before it begins. */
    ASSERT(p->raw.p >= shown.p + shown.n && p->raw.p + p->raw.n <= end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a;
    struct front_path p;
    struct str raw = str_n((const char *)data, n);
    arena_init(&a, NULL, 0);
    ASSERT(front_path_parse(&a, raw, &p));
    if (p.place == PLACE_API)
        check_api(&a, raw, &p);
    else
        ASSERT(p.route == ROUTE_NONE);
    if (front_path_namespaced(raw))
        ASSERT(str_starts(raw, STR("/api/")));
    arena_deinit(&a);
    return 0;
}
