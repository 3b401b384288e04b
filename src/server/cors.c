/* SPDX-License-Identifier: Apache-2.0
 * CORS for the OTLP/HTTP receiver, which browsers send to. Off without allowed origins.
 *
 * A preflight is answered here (204, with or without permission); an actual answer gets its headers
 * added. Runs on the thread that answers. */
#include "server_int.h"

static const struct cors_options *cors_of(const struct exchange *ex)
{
    const struct cors_options *o = ex->listener->opt.cors_options;
    bool on = ex->listener->opt.cors && o != NULL && o->allowed_origins != NULL &&
              o->allowed_origins[0] != NULL;
    return on ? o : NULL;
}

/* Case-insensitive; the pattern may hold one '*'. */
static bool origin_matches(const char *pattern, struct str origin)
{
    struct str tail, head = str_cut(str_from(pattern), '*', &tail);
    if (strchr(pattern, '*') == NULL)
        return str_ieq(head, origin);
    return origin.n >= head.n + tail.n && str_ieq(str_n(origin.p, head.n), head) &&
           str_ieq(str_n(origin.p + origin.n - tail.n, tail.n), tail);
}

/* The value for Access-Control-Allow-Origin, or empty. */
static struct str origin_allowed(const struct cors_options *o, struct str origin)
{
    for (const char *const *p = o->allowed_origins; *p != NULL; p++) {
        if (strcmp(*p, "*") == 0)
            return STR("*");
        if (origin_matches(*p, origin))
            return origin;
    }
    return STR("");
}

static bool header_allowed(const struct cors_options *o, struct str name)
{
    static const char *const usual[] = {"Accept", "Content-Type", "X-Requested-With", NULL};
    bool listed = o->allowed_headers != NULL && o->allowed_headers[0] != NULL;
    if (str_ieq(name, STR("Content-Language")) || str_ieq(name, STR("Accept-Language")) ||
        str_ieq(name, STR("Origin")))
        return true;
    for (const char *const *p = listed ? o->allowed_headers : usual; *p != NULL; p++)
        if (strcmp(*p, "*") == 0 || str_ieq(str_from(*p), name))
            return true;
    return false;
}

static bool headers_allowed(const struct cors_options *o, struct str list)
{
    while (list.n != 0) {
        struct str name = str_trim(str_cut(list, ',', &list));
        if (name.n != 0 && !header_allowed(o, name))
            return false;
    }
    return true;
}

bool cors_preflight(struct exchange *ex)
{
    const struct cors_options *o = cors_of(ex);
    struct str method, origin = {"", 0}, headers = {"", 0}, allow;
    struct buf empty = BUF_INIT;
    if (o == NULL || ex->req.is_grpc || !str_eqz(ex->req.method, "OPTIONS") ||
        !exchange_header(ex, "access-control-request-method", &method))
        return false;
    (void)exchange_header(ex, "origin", &origin);
    (void)exchange_header(ex, "access-control-request-headers", &headers);
    exchange_set_header(
        ex, "Vary", STR("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"));
    allow = origin.n == 0 ? origin : origin_allowed(o, origin);
    bool method_ok = str_eqz(method, "GET") || str_eqz(method, "POST") || str_eqz(method, "HEAD");
    if (allow.n != 0 && method_ok && headers_allowed(o, headers)) {
        exchange_set_header(ex, "Access-Control-Allow-Origin", allow);
        exchange_set_header(ex, "Access-Control-Allow-Methods", method);
        if (headers.n != 0)
            exchange_set_header(ex, "Access-Control-Allow-Headers", headers);
        exchange_set_header(ex, "Access-Control-Allow-Credentials", STR("true"));
        const char *age = arena_printf(&ex->arena, "%u", o->max_age_s);
        if (o->max_age_s != 0 && age != NULL)
            exchange_set_header(ex, "Access-Control-Max-Age", str_from(age));
    }
    ex->preflight = true;
    exchange_respond(ex, 204, NULL, &empty, false);
    return true;
}

void cors_headers(struct exchange *ex)
{
    const struct cors_options *o = cors_of(ex);
    struct str origin, allow;
    if (o == NULL || ex->preflight)
        return;
    exchange_set_header(ex, "Vary", STR("Origin"));
    if (!exchange_header(ex, "origin", &origin) || origin.n == 0)
        return;
    allow = origin_allowed(o, origin);
    if (allow.n == 0)
        return;
    exchange_set_header(ex, "Access-Control-Allow-Origin", allow);
    exchange_set_header(ex, "Access-Control-Allow-Credentials", STR("true"));
}
