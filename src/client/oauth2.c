/* SPDX-License-Identifier: Apache-2.0 */
#include "client/oauth2.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/clock.h"
#include "client_int.h"

#define TOKEN_BYTES_MAX (64u << 10)
#define FETCH_TIMEOUT   (30 * NS_PER_S)
#define AGAIN_AFTER     (NS_PER_S)      /* a fetch that failed */
#define EARLY           (10 * NS_PER_S) /* a token is not used so long before its end */
#define FRESH           (60 * NS_PER_S) /* such a one is refused for other reasons than its age */

struct oauth2 {
    struct http_client *client;
    struct http_profile *profile;
    char *token_url, *client_id;
    struct buf form; /* of the body: all but id and secret */
    enum ec (*secret)(void *ctx, struct buf *out, struct err *err);
    void *ctx;
    /* client's thread */
    struct buf header; /* secret; empty: there is no token */
    int64_t fetched_ns, renew_ns, until_ns, again_ns;
    bool under_way, in_body, tried_both;
    struct err failed;
};

static void put_field(struct buf *b, struct str name, struct str value)
{
    if (b->n != 0)
        buf_putc(b, '&');
    http_url_escape(b, name, "");
    buf_putc(b, '=');
    http_url_escape(b, value, "");
}

enum ec oauth2_new(
    struct http_client *c, const struct oauth2_options *opt, struct oauth2 **ret, struct err *err)
{
    struct str scheme, host, path, query;
    if (!http_url_split(str_from(opt->token_url), &scheme, &host, &path, &query))
        return ERR(err, EC_INVALID, "oauth2: token_url is not an absolute http or https URL");
    struct oauth2 *o = xcalloc(1, sizeof(*o));
    struct http_profile_options po = opt->http;
    po.timeout_ns = FETCH_TIMEOUT;
    po.body_bytes_max = TOKEN_BYTES_MAX;
    enum ec ec = http_profile_new(&po, &o->profile, err);
    if (ec != EC_OK) {
        free(o);
        return ec;
    }
    o->client = c;
    o->token_url = xstrdup(opt->token_url);
    o->client_id = xstrdup(opt->client_id);
    o->secret = opt->secret;
    o->ctx = opt->ctx;
    put_field(&o->form, STR("grant_type"), STR("client_credentials"));
    if (opt->scopes[0] != 0)
        put_field(&o->form, STR("scope"), str_from(opt->scopes));
    for (size_t i = 0; i < opt->n_params; i++)
        put_field(&o->form, opt->params[i].name, opt->params[i].value);
    *ret = o;
    return EC_OK;
}

void oauth2_free(struct oauth2 *o)
{
    if (o == NULL)
        return;
    http_profile_free(o->profile);
    http_wipe_buf(&o->header);
    http_wipe_buf(&o->form);
    free(o->token_url);
    free(o->client_id);
    free(o);
}

/* ---- the answer ---- */

/* "3600" as well as 3600; 0: it does not end. */
static int64_t seconds_of(const json_t *v)
{
    int64_t n = 0;
    if (json_is_number(v))
        n = (int64_t)MIN(json_number_value(v), 1e9);
    else if (json_is_string(v) && !str_to_i64(str_from(json_string_value(v)), &n))
        n = 0;
    return MIN(MAX(n, 0), 365 * 24 * 3600);
}

static bool is_token(const char *s)
{
    for (; s != NULL && *s > ' ' && *s < 0x7f; s++)
        if (s[1] == 0)
            return true;
    return false;
}

static enum ec take_token(struct oauth2 *o, const struct http_client_response *rs, struct err *err)
{
    json_t *answer = json_loadb((const char *)rs->body->p, rs->body->n, 0, NULL);
    const char *token = json_string_value(json_object_get(answer, "access_token"));
    const char *type = json_string_value(json_object_get(answer, "token_type"));
    const char *why = json_string_value(json_object_get(answer, "error"));
    enum ec ec = EC_OK;
    if (rs->status / 100 != 2 || !is_token(token) || (type != NULL && !is_token(type))) {
        ec = ERR(err, EC_UNAVAILABLE, "oauth2: the token endpoint answered %u%s%.60s", rs->status,
            why == NULL ? (rs->status / 100 == 2 ? " without a token" : "") : ": ",
            why == NULL ? "" : why);
    } else {
        int64_t life = seconds_of(json_object_get(answer, "expires_in")) * NS_PER_S;
        int64_t now = clock_mono_ns();
        http_wipe_buf(&o->header);
        buf_init(&o->header, NULL);
        buf_putz(&o->header, type == NULL || strcasecmp(type, "bearer") == 0 ? "Bearer" : type);
        buf_putc(&o->header, ' ');
        buf_putz(&o->header, token);
        o->fetched_ns = now;
        o->until_ns = life == 0 ? INT64_MAX : now + life - MIN(EARLY, life / 2);
        o->renew_ns = life == 0 ? INT64_MAX : now + life / 4 * 3;
    }
    json_decref(answer);
    return ec;
}

static void fetch(struct oauth2 *o);

static void fetched(void *arg, const struct http_client_response *rs)
{
    struct oauth2 *o = arg;
    struct err err = {0};
    o->under_way = false;
    enum ec ec = rs->ec == EC_OK ? take_token(o, rs, &err)
                                 : ERR(&err, rs->ec, "oauth2: the token endpoint: %s", rs->error);
    if (ec == EC_OK) {
        o->tried_both = true; /* from now on as it worked */
        return;
    }
    if (rs->ec == EC_CANCELED)
        return;
    if (rs->ec == EC_OK && rs->status / 100 == 4 && !o->tried_both) {
        o->in_body = o->tried_both = true;
        fetch(o);
        return;
    }
    if (o->header.n == 0) /* nothing ever worked: begin with the header again */
        o->in_body = o->tried_both = false;
    o->failed = err;
    o->again_ns = clock_mono_ns() + AGAIN_AFTER;
}

/* ---- the request ---- */

static enum ec send_request(struct oauth2 *o, struct str secret, struct err *err)
{
    const struct http_header type = {STR("Content-Type"), STR("application/x-www-form-urlencoded")};
    const struct http_header accept = {STR("Accept"), STR("application/json")};
    const struct http_header headers[] = {type, accept};
    struct buf body = BUF_INIT, id = BUF_INIT, password = BUF_INIT;
    buf_puts(&body, buf_str(&o->form));
    if (o->in_body) {
        put_field(&body, STR("client_id"), str_from(o->client_id));
        put_field(&body, STR("client_secret"), secret);
    } else { /* RFC 6749, 2.3.1: both encoded as in a form */
        http_url_escape(&id, str_from(o->client_id), "");
        http_url_escape(&password, secret, "");
    }
    const struct http_client_request rq = {.profile = o->profile,
        .method = STR("POST"),
        .url = str_from(o->token_url),
        .headers = headers,
        .n_headers = ARRAY_LEN(headers),
        .body = buf_bytes(&body),
        .user = buf_str(&id),
        .password = buf_str(&password)};
    enum ec ec = http_client_send(o->client, &rq, fetched, o, NULL, err);
    http_wipe_buf(&body);
    http_wipe_buf(&id);
    http_wipe_buf(&password);
    return ec;
}

static void fetch(struct oauth2 *o)
{
    struct buf secret = BUF_INIT;
    struct err err = {0};
    enum ec ec = o->secret(o->ctx, &secret, &err);
    if (ec == EC_OK)
        ec = send_request(o, buf_str(&secret), &err);
    http_wipe_buf(&secret);
    o->under_way = ec == EC_OK;
    if (ec == EC_OK)
        return;
    o->failed = err;
    o->again_ns = clock_mono_ns() + AGAIN_AFTER;
}

enum oauth2_state oauth2_header(struct oauth2 *o, struct str *ret, struct err *err)
{
    int64_t now = clock_mono_ns();
    bool good = o->header.n != 0 && now < o->until_ns;
    if ((!good || now >= o->renew_ns) && !o->under_way && now >= o->again_ns)
        fetch(o);
    if (good) {
        *ret = buf_str(&o->header);
        return OAUTH2_READY;
    }
    if (o->under_way)
        return OAUTH2_PENDING;
    *err = o->failed;
    return OAUTH2_FAILED;
}

bool oauth2_refused(struct oauth2 *o)
{
    if (o->header.n == 0 || clock_mono_ns() - o->fetched_ns < FRESH)
        return false;
    http_wipe_buf(&o->header);
    buf_init(&o->header, NULL);
    return true;
}
