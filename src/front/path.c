/* SPDX-License-Identifier: Apache-2.0
 * Splitting and matching of public paths; see path.h. */
#include "path.h"

#include "server/server.h"

#define API_PREFIX "/api/traces/v1/"

/* "/a/b" -> "a", rest "/b". */
static struct str segment(struct str path, struct str *rest)
{
    path = path.n == 0 ? path : str_n(path.p + 1, path.n - 1);
    const char *slash = path.n == 0 ? NULL : memchr(path.p, '/', path.n);
    size_t n = slash == NULL ? path.n : (size_t)(slash - path.p);
    *rest = str_n(path.p + n, path.n - n);
    return str_n(path.p, n);
}

/* No empty segment, none that means "here" or "up", no byte that ends a C string: what the API
 * layer would clean, and so change, never gets there. */
static bool raw_is_plain(struct arena *a, struct str raw, bool *ret_refused)
{
    struct str decoded, clean;
    bool bad;
    *ret_refused = !http_unescape(a, raw, false, &decoded, &bad);
    if (*ret_refused || bad) /* of a broken escape nothing is written */
        return false;
    *ret_refused = !http_path_clean(a, decoded, &clean);
    if (*ret_refused || !str_eq(decoded, clean) || memchr(decoded.p, 0, decoded.n) != NULL)
        return false;
    while (raw.n != 0) {
        struct str one = segment(raw, &raw);
        if (!http_unescape(a, one, false, &decoded, &bad)) {
            *ret_refused = true;
            return false;
        }
        if (decoded.n == 0 || str_eqz(decoded, ".") || str_eqz(decoded, ".."))
            return false;
    }
    return true;
}

static bool match_api(struct arena *a, struct str raw, struct front_path *p)
{
    bool refused = false, bad;
    struct str tempo = STR("/tempo");
    if (raw.n == 0 || !raw_is_plain(a, raw, &refused))
        return !refused;
    if (str_eqz(raw, "/v1/traces")) {
        p->route = ROUTE_OTLP;
        p->raw = p->decoded = raw;
    } else if (str_starts(raw, STR("/tempo/api"))) {
        p->route = ROUTE_TEMPO;
        p->raw = str_n(raw.p + tempo.n, raw.n - tempo.n);
        return http_unescape(a, p->raw, false, &p->decoded, &bad);
    }
    return true;
}

bool front_path_parse(struct arena *a, struct str raw_path, struct front_path *ret)
{
    struct str path = raw_path, rest, first;
    bool bad = false;
    *ret = (struct front_path){.place = PLACE_NOWHERE};
    if (path.n == 0 || path.p[0] != '/')
        return true;
    if (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--; /* one trailing slash means nothing */
    if (path.n == 1) {
        ret->place = PLACE_ROOT;
        return true;
    }
    if (str_starts(path, STR(API_PREFIX))) {
        ret->place = PLACE_API;
        path = str_n(path.p + sizeof(API_PREFIX) - 2, path.n - sizeof(API_PREFIX) + 2);
        first = segment(path, &rest);
        if (!http_unescape(a, first, false, &ret->tenant, &bad))
            return false;
        return match_api(a, rest, ret);
    }
    first = segment(path, &rest);
    if (rest.n == 0) {
        ret->place = PLACE_TENANT;
        return http_unescape(a, first, false, &ret->tenant, &bad);
    }
    bool openshift = str_eqz(first, "openshift");
    if (!openshift && !str_eqz(first, "oidc"))
        return true;
    struct str tenant = segment(rest, &rest);
    bool login = str_eqz(rest, "/login");
    if (!login && !str_eqz(rest, "/callback"))
        return true;
    ret->place = login ? PLACE_LOGIN : PLACE_CALLBACK;
    ret->method = openshift ? AUTH_OPENSHIFT : AUTH_OIDC;
    return http_unescape(a, tenant, false, &ret->tenant, &bad);
}

/* One segment of letters, digits and underscores after the prefix. */
static bool is_word_after(struct str path, struct str prefix)
{
    if (!str_starts(path, prefix) || path.n == prefix.n)
        return false;
    for (size_t i = prefix.n; i < path.n; i++) {
        char c = path.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_'))
            return false;
    }
    return true;
}

bool front_path_namespaced(struct str path)
{
    static const char *const whole[] = {"/api/search",
        "/api/v2/search/tag/resource.service.name/values",
        "/api/v2/search/tag/resource.k8s.namespace.name/values"};
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        if (str_eqz(path, whole[i]))
            return true;
    return is_word_after(path, STR("/api/traces/")) || is_word_after(path, STR("/api/v2/traces/"));
}
