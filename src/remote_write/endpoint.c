/* SPDX-License-Identifier: Apache-2.0
 * An endpoint, and the head of a request to it: fixed headers, the endpoint's, the tenant's,
 * credentials. Files with credentials are read for every request, so that new ones need no
 * restart. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "rw_int.h"

#define SECRET_BYTES_MAX (64u << 10)
#define HEADERS_MAX      64
#define HEADERS_EVERY    (20 * NS_PER_S) /* the tenant's are asked for again */

static struct str kept(struct endpoint *e, const char *s)
{
    return arena_str(&e->arena, str_from(s == NULL ? "" : s));
}

static const char *kept_z(struct endpoint *e, const char *s)
{
    return arena_strz(&e->arena, str_from(s == NULL ? "" : s));
}

/* A text, or what a file has, without blanks at its end. */
static enum ec secret(
    struct io *io, const char *text, const char *file, struct buf *out, struct err *err)
{
    struct io_stat st;
    int fd;
    if (file[0] == 0) {
        buf_putz(out, text);
        return EC_OK;
    }
    TRY(io_open(io, "rw.secret", file, O_RDONLY, 0, &fd, err));
    enum ec ec = io_fstat(io, "rw.secret", fd, &st, err);
    if (ec == EC_OK && st.size > SECRET_BYTES_MAX)
        ec = ERR(err, EC_TOO_LARGE, "a file with credentials is over %u bytes", SECRET_BYTES_MAX);
    if (ec == EC_OK && buf_reserve(out, st.size + 1)) {
        ec = io_pread(io, "rw.secret", fd, out->p, st.size, 0, err);
        out->n = ec == EC_OK ? st.size : 0;
    }
    (void)io_close(io, "rw.secret", fd, NULL); /* was only read */
    while (out->n > 0 && strchr(" \t\r\n", out->p[out->n - 1]) != NULL)
        out->n--;
    return ec;
}

static enum ec oauth2_secret(void *ctx, struct buf *out, struct err *err)
{
    const struct endpoint *e = ctx;
    const struct remote_write_oauth2 *o = e->opt.oauth2;
    return secret(e->io, o->client_secret, o->client_secret_file, out, err);
}

static enum ec init_oauth2(struct endpoint *e, struct http_client *client, struct err *err)
{
    const struct remote_write_oauth2 *in = e->opt.oauth2;
    struct remote_write_oauth2 *o = ARENA_ARRAY(&e->arena, 1, struct remote_write_oauth2);
    const struct oauth2_options opt = {.token_url = in->token_url,
        .client_id = in->client_id,
        .scopes = in->scopes,
        .params = in->params,
        .n_params = in->n_params,
        .http = in->http,
        .secret = oauth2_secret,
        .ctx = e};
    *o = (struct remote_write_oauth2){.client_secret = kept_z(e, in->client_secret),
        .client_secret_file = kept_z(e, in->client_secret_file)};
    e->opt.oauth2 = o;
    return oauth2_new(client, &opt, &e->oauth2, err);
}

enum ec endpoint_init(struct endpoint *e, const struct remote_write_endpoint *opt,
    struct remote_write *w, struct err *err)
{
    struct buf id = BUF_INIT;
    arena_init(&e->arena, NULL, 1024);
    e->opt = *opt;
    e->io = w->opt.io;
    e->url = kept_z(e, opt->url);
    buf_printf(&id, "%s\n%s", opt->url, opt->name);
    uint64_t h = hash64(id.p, id.n);
    buf_deinit(&id);
    snprintf(e->id, sizeof(e->id), "%016llx", (unsigned long long)h);
    e->name = opt->name != NULL && opt->name[0] != 0
                  ? kept_z(e, opt->name)
                  : arena_printf(&e->arena, "%06llx", (unsigned long long)(h & 0xffffff));
    struct http_header *headers = ARENA_ARRAY(&e->arena, opt->n_headers, struct http_header);
    for (size_t i = 0; i < opt->n_headers; i++) {
        headers[i].name = arena_str(&e->arena, opt->headers[i].name);
        headers[i].value = arena_str(&e->arena, opt->headers[i].value);
    }
    e->opt.headers = headers;
    const char **texts[] = {&e->opt.user, &e->opt.user_file, &e->opt.password,
        &e->opt.password_file, &e->opt.auth_type, &e->opt.credentials, &e->opt.credentials_file,
        &e->opt.aws_region, &e->opt.aws_token};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = kept_z(e, *texts[i]);
    if (e->opt.aws_region[0] != 0)
        e->aws_sigv4 = arena_printf(&e->arena, "aws:amz:%s:aps", e->opt.aws_region);
    if (opt->oauth2 != NULL)
        TRY(init_oauth2(e, w->client, err));
    if (opt->n_relabels != 0)
        TRY(relabel_new(opt->relabels, opt->n_relabels, &e->relabel, err));
    struct str scheme, host, path, query;
    if (!http_url_split(kept(e, opt->url), &scheme, &host, &path, &query))
        return ERR(err, EC_INVALID, "remote_write: not an absolute http or https URL");
    return http_profile_new(&opt->http, &e->profile, err);
}

void endpoint_deinit(struct endpoint *e)
{
    relabel_free(e->relabel);
    oauth2_free(e->oauth2);
    http_profile_free(e->profile);
    arena_deinit(&e->arena);
}

/* ---- the head of a request ---- */

struct head {
    struct http_header p[HEADERS_MAX];
    size_t n;
};

/* A later one of the same name wins. */
static void put(struct head *h, struct str name, struct str value)
{
    size_t i = 0;
    while (i < h->n && !str_ieq(h->p[i].name, name))
        i++;
    if (i == HEADERS_MAX)
        return;
    h->p[i] = (struct http_header){name, value};
    h->n += i == h->n;
}

static bool has(const struct head *h, struct str name)
{
    for (size_t i = 0; i < h->n; i++)
        if (str_ieq(h->p[i].name, name))
            return true;
    return false;
}

static void refresh_headers(struct tenant *t)
{
    int64_t now = clock_mono_ns();
    const struct remote_write_options *o = &t->w->opt;
    if (o->headers == NULL || (t->headers_ns != 0 && now < t->headers_ns))
        return;
    t->headers_ns = now + HEADERS_EVERY;
    arena_deinit(&t->header_arena);
    arena_init(&t->header_arena, NULL, 512);
    t->headers = NULL;
    t->n_headers = 0;
    o->headers(o->ctx, t->name, &t->header_arena, &t->headers, &t->n_headers);
    for (size_t i = 0; i < t->n_headers; i++) {
        if (http_header_ok(&t->headers[i]))
            continue;
        metric_inc(t->metrics.update_failed);
        if (log_limiter_pass(&t->w->header_log, 60 * NS_PER_S))
            log_event(LOG_ERROR, "remote write: the tenant's headers cannot be sent, none are",
                LS("tenant", t->name), LU("header", i));
        t->n_headers = 0;
    }
}

enum oauth2_state endpoint_ready(struct endpoint *e, struct err *err)
{
    struct str header;
    return e->oauth2 == NULL ? OAUTH2_READY : oauth2_header(e->oauth2, &header, err);
}

static void put_headers(struct sender *s, struct head *h, char attempt[12])
{
    const struct endpoint *e = s->endpoint;
    struct tenant *t = s->tenant;
    put(h, STR("Content-Type"), STR("application/x-protobuf"));
    put(h, STR("Content-Encoding"), STR("snappy"));
    put(h, STR("X-Prometheus-Remote-Write-Version"), STR("0.1.0"));
    if (s->attempt > 0) {
        int n = snprintf(attempt, 12, "%u", s->attempt);
        put(h, STR("Retry-Attempt"), str_n(attempt, (size_t)n));
    }
    for (size_t i = 0; i < e->opt.n_headers; i++)
        put(h, e->opt.headers[i].name, e->opt.headers[i].value);
    for (size_t i = 0; i < t->n_headers; i++)
        put(h, t->headers[i].name, t->headers[i].value);
    if (t->w->opt.add_org_id_header && !str_eqz(t->name, "single-tenant") &&
        !has(h, STR("X-Scope-OrgID")))
        put(h, STR("X-Scope-OrgID"), t->name);
}

enum ec endpoint_send(
    struct sender *s, struct bytes body, http_client_done_fn done, struct err *err)
{
    const struct endpoint *e = s->endpoint;
    struct str token;
    struct head h = {.n = 0};
    struct buf user = BUF_INIT, password = BUF_INIT, credentials = BUF_INIT, line = BUF_INIT;
    char attempt[12];

    refresh_headers(s->tenant);
    put_headers(s, &h, attempt);
    enum ec ec = secret(e->io, e->opt.user, e->opt.user_file, &user, err);
    if (ec == EC_OK)
        ec = secret(e->io, e->opt.password, e->opt.password_file, &password, err);
    if (ec == EC_OK)
        ec = secret(e->io, e->opt.credentials, e->opt.credentials_file, &credentials, err);
    if (ec == EC_OK && credentials.n != 0) {
        buf_printf(&line, "%s ", e->opt.auth_type);
        buf_puts(&line, buf_str(&credentials));
        put(&h, STR("Authorization"), buf_str(&line));
    }
    if (ec == EC_OK && e->oauth2 != NULL) {
        if (oauth2_header(e->oauth2, &token, err) == OAUTH2_READY)
            put(&h, STR("Authorization"), token);
        else
            ec = EC_UNAVAILABLE;
    }
    if (e->opt.aws_token[0] != 0)
        put(&h, STR("X-Amz-Security-Token"), str_from(e->opt.aws_token));
    const struct http_client_request rq = {.profile = e->profile,
        .method = STR("POST"),
        .url = str_from(e->url),
        .headers = h.p,
        .n_headers = h.n,
        .body = body,
        .user = buf_str(&user),
        .password = buf_str(&password),
        .aws_sigv4 = e->aws_sigv4,
        .timeout_ns = e->opt.timeout_ns};
    if (ec == EC_OK)
        ec = http_client_send(s->tenant->w->client, &rq, done, s, NULL, err);
    http_wipe_buf(&user);
    http_wipe_buf(&password);
    http_wipe_buf(&credentials);
    http_wipe_buf(&line);
    return ec;
}
