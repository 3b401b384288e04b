/* SPDX-License-Identifier: Apache-2.0
 * One request: checked and copied on the sender's thread, then the library's view of it, and the
 * answer as it arrives against its caps. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "client_int.h"

/* ---- the request ---- */

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL)))
            return false;
    }
    return s.n > 0;
}

static bool is_field_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return true;
}

bool http_header_ok(const struct http_header *h)
{
    return is_token(h->name) && is_field_value(h->value);
}

static void wipe_lines(struct curl_slist *lines)
{
    for (struct curl_slist *l = lines; l != NULL; l = l->next)
        explicit_bzero(l->data, strlen(l->data));
    curl_slist_free_all(lines);
}

static void put_line(struct http_call *call, struct str name, struct str prefix, struct str value)
{
    struct buf line = BUF_INIT;
    buf_puts(&line, name);
    if (prefix.n + value.n == 0) {
        buf_putc(&line, ';'); /* the library's way to say: this header, empty */
    } else {
        buf_putz(&line, ": ");
        buf_puts(&line, prefix);
        buf_puts(&line, value);
    }
    buf_putc(&line, 0);
    struct curl_slist *longer = curl_slist_append(call->lines, (const char *)line.p);
    http_wipe_buf(&line);
    ASSERT(longer != NULL);
    call->lines = longer;
}

/* A header that the library would add by itself is left out: "Name:" alone. */
static void drop_line(struct http_call *call, const char *name_colon)
{
    struct curl_slist *longer = curl_slist_append(call->lines, name_colon);
    ASSERT(longer != NULL);
    call->lines = longer;
}

static void put_basic(struct http_call *call, struct str user, struct str password)
{
    struct buf pair = BUF_INIT, text = BUF_INIT;
    buf_puts(&pair, user);
    buf_putc(&pair, ':');
    buf_puts(&pair, password);
    if (buf_reserve(&text, base64_size(pair.n)))
        text.n = base64_encode((char *)text.p, buf_bytes(&pair));
    put_line(call, STR("Authorization"), STR("Basic "), buf_str(&text));
    http_wipe_buf(&pair);
    http_wipe_buf(&text);
}

static enum ec call_lines(
    struct http_call *call, const struct http_client_request *rq, struct str host, struct err *err)
{
    bool has_type = false, has_expect = false, has_host = false;
    for (size_t i = 0; i < rq->n_headers; i++) {
        const struct http_header *h = &rq->headers[i];
        if (!is_token(h->name) || !is_field_value(h->value))
            return ERR(err, EC_INVALID, "request header %zu is not valid", i);
        has_type |= str_ieq(h->name, STR("Content-Type"));
        has_expect |= str_ieq(h->name, STR("Expect"));
        has_host |= str_ieq(h->name, STR("Host"));
        put_line(call, h->name, STR(""), h->value);
    }
    if (!is_field_value(rq->bearer))
        return ERR(err, EC_INVALID, "bearer token is not a header value");
    if (rq->bearer.n != 0)
        put_line(call, STR("Authorization"), STR("Bearer "), rq->bearer);
    else if (rq->user.n != 0 && rq->aws_sigv4 == NULL)
        put_basic(call, rq->user, rq->password);
    if (call->connect_to != NULL && !has_host) /* the URL has the certificate's name */
        put_line(call, STR("Host"), STR(""), host);
    if (!has_type)
        drop_line(call, "Content-Type:");
    if (!has_expect && rq->aws_sigv4 == NULL) /* the library would sign it, though it is not sent */
        drop_line(call, "Expect:");
    return EC_OK;
}

/* Another name than the URL's for TLS: it takes the place of the host in the URL, and the
 * connection is made to where the URL said. */
static enum ec call_server_name(
    struct http_call *call, struct str host_port, struct str rest, struct err *err)
{
    const char *name = call->profile->server_name;
    struct buf b = BUF_INIT;
    struct str host = host_port, port = STR("443");
    const char *colon = memrchr(host_port.p, ':', host_port.n);
    if (colon != NULL && memchr(colon, ']', (size_t)(host_port.p + host_port.n - colon)) == NULL) {
        host = str_n(host_port.p, (size_t)(colon - host_port.p));
        port = str_n(colon + 1, host_port.n - host.n - 1);
    }
    buf_printf(&b, "%s:" STR_FMT ":" STR_FMT ":" STR_FMT, name, STR_ARG(port), STR_ARG(host),
        STR_ARG(port));
    buf_putc(&b, 0);
    call->connect_to = curl_slist_append(NULL, (const char *)b.p);
    ASSERT(call->connect_to != NULL);
    buf_reset(&b);
    buf_printf(&b, "https://%s:" STR_FMT STR_FMT, name, STR_ARG(port), STR_ARG(rest));
    struct str scheme, split[3];
    bool ok = http_url_split(buf_str(&b), &scheme, &split[0], &split[1], &split[2]);
    if (ok) {
        explicit_bzero(call->url, strlen(call->url));
        free(call->url);
        call->url = xstrndup((const char *)b.p, b.n);
    }
    http_wipe_buf(&b);
    return ok ? EC_OK : ERR(err, EC_INVALID, "the TLS server name is no host name");
}

static size_t on_head(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    n *= size;
    struct str line = str_n(p, n);
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (str_starts(line, STR("HTTP/"))) { /* a new answer: after a redirect, or a 1xx */
        buf_reset(&call->head);
        call->n_lines = 0;
        return n;
    }
    if (line.n == 0)
        return n;
    if (call->head.n + line.n > HTTP_HEAD_BYTES_MAX || call->n_lines == HTTP_HEAD_LINES_MAX) {
        call->failed = EC_TOO_LARGE;
        return 0;
    }
    call->line_at[call->n_lines] = call->head.n;
    call->line_n[call->n_lines++] = line.n;
    buf_puts(&call->head, line);
    return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    n *= size;
    if (n > call->body_max - call->body.n) {
        call->failed = EC_TOO_LARGE;
        return 0;
    }
    buf_put(&call->body, p, n);
    if (buf_failed(&call->body)) {
        call->failed = EC_LIMIT;
        return 0;
    }
    return n;
}

static bool call_method(struct http_call *call, struct str method, bool has_body)
{
    char name[24];
    CURL *e = call->easy;
    bool post =
        has_body || str_eqz(method, "POST") || str_eqz(method, "PUT") || str_eqz(method, "PATCH");
    bool ok = true;
    memcpy(name, method.p, method.n);
    name[method.n] = 0;
    if (post) {
        ok = curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->sent.n) ==
                 CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_POSTFIELDS,
                 call->sent.n == 0 ? "" : (const char *)call->sent.p) == CURLE_OK;
    } else if (str_eqz(method, "HEAD")) {
        ok = curl_easy_setopt(e, CURLOPT_NOBODY, 1L) == CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)0) == CURLE_OK;
    }
    return ok && curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, name) == CURLE_OK;
}

static bool call_sign(CURL *e, const struct http_client_request *rq)
{
    char *user = xstrndup(rq->user.p, rq->user.n);
    char *password = xstrndup(rq->password.p, rq->password.n);
    bool ok = curl_easy_setopt(e, CURLOPT_USERNAME, user) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PASSWORD, password) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_AWS_SIGV4, rq->aws_sigv4) == CURLE_OK;
    explicit_bzero(user, rq->user.n);
    explicit_bzero(password, rq->password.n);
    free(user);
    free(password);
    return ok;
}

static bool call_options(struct http_call *call, const struct http_client_request *rq)
{
    CURL *e = call->easy;
    struct str method = rq->method.n != 0 ? rq->method : rq->body.n != 0 ? STR("POST") : STR("GET");
    bool https = strncmp(call->url, "https:", 6) == 0;
    bool plain_get = str_eqz(method, "GET") || str_eqz(method, "HEAD");
    bool ok =
        http_profile_apply(call->profile, e, call->url) &&
        curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)call->body_max) == CURLE_OK &&
        call_method(call, method, rq->body.n != 0) &&
        curl_easy_setopt(e, CURLOPT_URL, call->url) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https") ==
            CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, (long)(rq->follow_redirects && plain_get)) ==
            CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)HTTP_REDIRECTS_MAX) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_USERAGENT, "vivace/" VIVACE_VERSION) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->lines) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_HEADERDATA, call) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_WRITEDATA, call) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_PRIVATE, call) == CURLE_OK;
    if (call->connect_to != NULL)
        ok = ok && curl_easy_setopt(e, CURLOPT_CONNECT_TO, call->connect_to) == CURLE_OK;
    if (rq->aws_sigv4 != NULL)
        ok = ok && call_sign(e, rq);
    if (rq->accept_compressed)
        ok = ok && curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "") == CURLE_OK;
    return ok;
}

enum ec http_call_new(struct http_client *c, const struct http_client_request *rq,
    struct http_call **ret, struct err *err)
{
    struct str scheme, host, path, query;
    ASSERT(rq->profile != NULL);
    if (rq->url.n > HTTP_URL_BYTES_MAX || !http_url_split(rq->url, &scheme, &host, &path, &query))
        return ERR(err, EC_INVALID, "not an absolute http or https URL");
    if (rq->method.n > 20 || (rq->method.n != 0 && !is_token(rq->method)))
        return ERR(err, EC_INVALID, "not a request method");
    struct http_call *call = xcalloc(1, sizeof(*call));
    call->client = c;
    call->profile = rq->profile;
    call->url = xstrndup(rq->url.p, rq->url.n);
    call->body_max = rq->body_bytes_max != 0 ? rq->body_bytes_max : rq->profile->body_bytes_max;
    call->start_ns = clock_mono_ns();
    call->deadline_ns =
        call->start_ns + (rq->timeout_ns > 0 ? rq->timeout_ns : rq->profile->timeout_ns);
    buf_init(&call->body, c->opt.budget);
    buf_put(&call->sent, rq->body.p, rq->body.n);
    enum ec ec = EC_OK;
    if (rq->profile->server_name != NULL && str_eqz(scheme, "https")) {
        const char *rest = host.p + host.n;
        ec = call_server_name(call, host, str_n(rest, (size_t)(rq->url.p + rq->url.n - rest)), err);
    }
    if (ec == EC_OK)
        ec = call_lines(call, rq, host, err);
    if (ec == EC_OK) {
        call->easy = curl_easy_init();
        if (call->easy == NULL || !call_options(call, rq))
            ec = ERR(err, EC_LIMIT, "cannot set up a request");
    }
    if (ec != EC_OK) {
        http_call_free(call);
        return ec;
    }
    *ret = call;
    return EC_OK;
}

void http_call_free(struct http_call *call)
{
    if (call == NULL)
        return;
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    wipe_lines(call->lines);
    curl_slist_free_all(call->connect_to);
    http_wipe_buf(&call->sent);
    http_wipe_buf(&call->body);
    http_wipe_buf(&call->head);
    explicit_bzero(call->url, strlen(call->url));
    free(call->url);
    free(call);
}

bool http_call_prepare(struct http_call *call, int64_t left_ns)
{
    long left_ms = (long)MAX(left_ns / NS_PER_MS, 1);
    return curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, left_ms) == CURLE_OK;
}

/* ---- the answer ---- */

static void split_lines(struct http_call *call)
{
    size_t n = 0;
    for (size_t i = 0; i < call->n_lines; i++) {
        struct str value;
        struct str line = str_n((const char *)call->head.p + call->line_at[i], call->line_n[i]);
        if (memchr(line.p, ':', line.n) == NULL)
            continue;
        struct str name = str_cut(line, ':', &value);
        call->headers[n++] = (struct http_header){str_trim(name), str_trim(value)};
    }
    call->n_lines = n;
}

static enum ec verdict(const struct http_call *call, CURLcode code)
{
    if (code == CURLE_OK)
        return EC_OK;
    if (call->failed != EC_OK)
        return call->failed;
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return EC_DEADLINE;
    case CURLE_FILESIZE_EXCEEDED:
        return EC_TOO_LARGE;
    case CURLE_OUT_OF_MEMORY:
        return EC_LIMIT;
    case CURLE_ABORTED_BY_CALLBACK:
        return EC_CANCELED;
    default:
        return EC_UNAVAILABLE;
    }
}

void http_call_answer(struct http_call *call, CURLcode code, struct http_client_response *ret)
{
    long status = 0;
    *ret = (struct http_client_response){
        .ec = verdict(call, code),
        .error = "",
        .body = &call->body,
        .elapsed_ns = clock_mono_ns() - call->start_ns,
    };
    if (ret->ec == EC_OK) {
        (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status); /* 0 on failure */
        split_lines(call);
        ret->status = (unsigned)status;
        ret->headers = call->headers;
        ret->n_headers = call->n_lines;
        return;
    }
    buf_reset(&call->body);
    if (call->failed != EC_OK || ret->ec == EC_CANCELED)
        snprintf(call->error, sizeof(call->error), "%s",
            ret->ec == EC_TOO_LARGE ? "answer is too large"
            : ret->ec == EC_LIMIT   ? "no memory for the answer"
                                    : "canceled");
    else if (call->error[0] == 0)
        snprintf(call->error, sizeof(call->error), "%s", curl_easy_strerror(code));
    for (char *p = call->error; *p != 0; p++)
        if ((uint8_t)*p < ' ')
            *p = ' ';
    ret->error = call->error;
}

bool http_response_header(const struct http_client_response *rs, const char *name, struct str *ret)
{
    for (size_t i = 0; i < rs->n_headers; i++) {
        if (str_ieq(rs->headers[i].name, str_from(name))) {
            *ret = rs->headers[i].value;
            return true;
        }
    }
    return false;
}
