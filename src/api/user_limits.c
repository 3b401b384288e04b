/* SPDX-License-Identifier: Apache-2.0
 * /api/overrides: a tenant reads and sets its own limits. Runs on the pool: a change waits for the
 * disk. */
#include "gateway/user_limits.h"

#include <stdio.h>
#include <stdlib.h>

#include "api_internal.h"
#include "base/log.h"
#include "gateway/tenant.h"
#include "receive.h"
#include "user_limits_json.h"

struct request {
    struct api *api;
    struct exchange *ex;
    struct str tenant; /* a view into the exchange */
    struct arena arena;
};

static void respond_empty(struct exchange *ex, unsigned status)
{
    struct buf empty = BUF_INIT;
    exchange_respond(ex, status, NULL, &empty, false);
}

static void fail(struct request *r, enum ec ec, const struct err *err)
{
    if (ec == EC_NOT_FOUND)
        respond_empty(r->ex, 404);
    else
        respond_http_error(r->ex, ec_http_status(ec), err_msg(err));
}

static void put_version(struct request *r, uint64_t version)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)version);
    exchange_set_header(r->ex, "ETag", str_n(text, (size_t)n));
}

static void respond_json(struct request *r, uint64_t version, struct buf *take_body)
{
    put_version(r, version);
    exchange_respond(r->ex, 200, "application/json", take_body, true);
}

/* ---- GET ---- */

struct effective {
    struct request *r;
    struct buf *out;
};

static void put_effective(void *ctx, const struct tenant_entry *e)
{
    struct effective *f = ctx;
    struct api *a = f->r->api;
    const struct limit_lists *l = e != NULL ? &e->lists : overrides_default_lists(a->opt.overrides);
    user_limits_json_effective(
        e != NULL ? e->attached : &a->opt.config->limits.generator, l, f->out);
}

static void get_limits(struct request *r)
{
    struct user_limits_entry e;
    struct err err = {0};
    struct str scope;
    struct buf out = BUF_INIT;
    bool merged = exchange_param(r->ex, "scope", &scope) && str_eqz(scope, "merged");
    enum ec ec = EC_OK;
    if (exchange_param(r->ex, "scope", &scope) && !merged && !str_eqz(scope, "api"))
        ec =
            ERR(&err, EC_INVALID, "unknown scope \"" STR_FMT "\", valid options are api and merged",
                (int)MIN(scope.n, (size_t)200), scope.p);
    if (ec == EC_OK)
        ec = user_limits_get(r->api->user_limits, r->tenant, &r->arena, &e, &err);
    if (ec != EC_OK) {
        fail(r, ec, &err);
        return;
    }
    struct effective f = {r, &out};
    if (merged)
        overrides_visit(r->api->opt.overrides, r->tenant, put_effective, &f);
    else
        buf_puts(&out, e.json);
    respond_json(r, e.version, &out);
}

/* ---- POST, PATCH, DELETE ---- */

/* If-Match as a version. */
static enum ec if_match(struct request *r, uint64_t *ret, struct err *err)
{
    struct str text;
    if (!exchange_header(r->ex, "If-Match", &text) || text.n == 0)
        return ERR(err, EC_UNPROCESSABLE, "must specify If-Match header");
    if (!str_to_u64(text, ret))
        return ERR(err, EC_CONFLICT, "version is not valid");
    return EC_OK;
}

static enum ec skip_check(struct request *r, bool *ret, struct err *err)
{
    static const char *const words[2][6] = {
        {"0", "f", "F", "false", "FALSE", "False"}, {"1", "t", "T", "true", "TRUE", "True"}};
    struct str v;
    *ret = false;
    if (!exchange_param(r->ex, "skip-conflicting-overrides-check", &v))
        return EC_OK;
    for (int yes = 0; yes < 2; yes++)
        for (size_t i = 0; i < 6; i++)
            if (str_eqz(v, words[yes][i])) {
                *ret = yes == 1;
                return EC_OK;
            }
    return ERR(err, EC_INVALID,
        "could not parse skip-conflicting-overrides-check, must be a boolean value");
}

struct conflict {
    bool found;
};

/* The file says something of what tenants may set, processors aside. */
static void find_conflict(void *ctx, const struct tenant_entry *e)
{
    struct conflict *c = ctx;
    if (e == NULL || !e->from_file)
        return;
    const struct config_tenant_generator *g = e->attached;
    c->found = e->lists.n_forwarders != 0 || e->lists.n_dimensions != 0 || g->disable_collection ||
               g->collection_interval != 0 || g->slack != 0 || g->trace_id_label[0] != 0 ||
               g->processors.span_metrics.dimensions != NULL ||
               g->processors.service_graphs.dimensions != NULL;
}

static enum ec check_conflict(struct request *r, bool skip, struct err *err)
{
    struct user_limits_entry e;
    struct conflict c = {false};
    struct err none = {0};
    if (skip || !r->api->opt.config->user_limits_check_conflicts ||
        user_limits_get(r->api->user_limits, r->tenant, &r->arena, &e, &none) == EC_OK)
        return EC_OK;
    overrides_visit(r->api->opt.overrides, r->tenant, find_conflict, &c);
    if (!c.found)
        return EC_OK;
    return ERR(err, EC_INVALID,
        "tenant has conflicting overrides set in runtime config, contact your system administrator "
        "to perform changes through the API");
}

static enum ec read_body(struct request *r, json_t **ret, struct err *err)
{
    struct bytes body = exchange_request(r->ex)->body;
    json_error_t why;
    if (body.n > USER_LIMITS_TEXT_MAX)
        return ERR(err, EC_INVALID, "request body is over %u bytes", USER_LIMITS_TEXT_MAX);
    *ret = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (*ret == NULL)
        return ERR(err, EC_INVALID, "invalid JSON: line %d: %.100s", why.line, why.text);
    return EC_OK;
}

static enum ec set_limits(struct request *r, const json_t *given, uint64_t version, bool skip,
    struct buf *out, uint64_t *ret_version, struct err *err)
{
    TRY(user_limits_json_put(r->api->opt.config, given, out, err));
    if (out->n > USER_LIMITS_TEXT_MAX)
        return ERR(err, EC_INVALID, "limits are over %u bytes", USER_LIMITS_TEXT_MAX);
    TRY(check_conflict(r, skip, err));
    TRY(user_limits_set(r->api->user_limits, r->tenant, version, buf_str(out), ret_version, err));
    overrides_poll(r->api->opt.overrides);
    log_event(LOG_INFO, "stored user-configurable overrides", LS("tenant", r->tenant),
        LU("version", *ret_version));
    return EC_OK;
}

static void post_limits(struct request *r)
{
    struct err err = {0};
    struct buf out = BUF_INIT;
    json_t *given = NULL;
    uint64_t version, stored = 0;
    bool skip;
    struct str given_version;
    enum ec ec = EC_OK;
    if (!exchange_header(r->ex, "If-Match", &given_version) || given_version.n == 0) {
        respond_http_error(r->ex, 428, "must specify If-Match header");
        return;
    }
    ec = skip_check(r, &skip, &err);
    if (ec == EC_OK)
        ec = read_body(r, &given, &err);
    if (ec == EC_OK)
        ec = if_match(r, &version, &err);
    if (ec == EC_OK)
        ec = set_limits(r, given, version, skip, &out, &stored, &err);
    json_decref(given);
    buf_deinit(&out);
    if (ec != EC_OK) {
        fail(r, ec, &err);
        return;
    }
    put_version(r, stored);
    respond_empty(r->ex, 200);
}

static enum ec patch(struct request *r, struct buf *out, uint64_t *ret_version, struct err *err)
{
    struct user_limits_entry e = {0};
    struct err none = {0};
    json_t *given = NULL;
    bool skip;
    TRY(skip_check(r, &skip, err));
    TRY(read_body(r, &given, err));
    json_t *old = NULL;
    if (user_limits_get(r->api->user_limits, r->tenant, &r->arena, &e, &none) == EC_OK)
        old = json_loadb(e.json.p, e.json.n, 0, NULL);
    json_t *next = user_limits_json_patch(old, given);
    enum ec ec = set_limits(r, next, e.version, skip, out, ret_version, err);
    json_decref(next);
    json_decref(old);
    json_decref(given);
    return ec;
}

static void patch_limits(struct request *r)
{
    struct err err = {0};
    struct buf out = BUF_INIT;
    uint64_t stored = 0;
    enum ec ec = patch(r, &out, &stored, &err);
    if (ec == EC_OK) {
        respond_json(r, stored, &out);
        return;
    }
    buf_deinit(&out);
    if (ec == EC_CONFLICT)
        respond_http_error(
            r->ex, 500, "overrides have been modified during request processing, try again");
    else
        fail(r, ec, &err);
}

static void delete_limits(struct request *r)
{
    struct err err = {0};
    struct str text;
    uint64_t version = 0;
    if (!exchange_header(r->ex, "If-Match", &text) || text.n == 0) {
        respond_http_error(r->ex, 428, "must specify If-Match header");
        return;
    }
    enum ec ec = if_match(r, &version, &err);
    if (ec == EC_OK)
        ec = user_limits_remove(r->api->user_limits, r->tenant, version, &err);
    if (ec != EC_OK) {
        fail(r, ec, &err);
        return;
    }
    overrides_poll(r->api->opt.overrides);
    log_event(LOG_INFO, "deleted user-configurable overrides", LS("tenant", r->tenant));
    respond_empty(r->ex, 200);
}

/* ---- dispatch ---- */

static const struct {
    const char *method;
    void (*run)(struct request *r);
} methods[] = {
    {"GET", get_limits},
    {"POST", post_limits},
    {"PATCH", patch_limits},
    {"DELETE", delete_limits},
};

static void run(void *arg)
{
    struct request *r = arg;
    struct str method = exchange_request(r->ex)->method;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eqz(method, methods[i].method)) {
            methods[i].run(r);
            break;
        }
    arena_deinit(&r->arena);
    free(r);
}

void api_user_limits(struct api *a, struct exchange *ex)
{
    struct str method = exchange_request(ex)->method, tenant;
    struct err err = {0};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        known |= str_eqz(method, methods[i].method);
    if (!known) {
        respond_empty(ex, 405);
        return;
    }
    enum ec ec = receive_tenant(a, ex, &tenant, &err);
    if (ec != EC_OK) { /* Tempo's middleware says 401 where there is no tenant at all */
        respond_http_error(ex, ec == EC_UNAVAILABLE ? 401 : 400, err_msg(&err));
        return;
    }
    struct request *r = xcalloc(1, sizeof(*r));
    *r = (struct request){.api = a, .ex = ex, .tenant = tenant};
    arena_init(&r->arena, NULL, 0); /* texts are bounded */
    if (pool_submit(a->opt.pool, POOL_NORMAL, 0, run, r))
        return;
    arena_deinit(&r->arena);
    free(r);
    respond_http_error(ex, 503, "too many requests wait");
}

void api_attach_user_limits(struct api *a, struct user_limits *u)
{
    a->user_limits = u;
}
