/* SPDX-License-Identifier: Apache-2.0
 * How to reach a kind of service: trust, client certificate, proxy.
 *
 * WHY memory files: the library's GnuTLS flavour takes certificates only by path, and the process
 * may have no place to write one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "client_int.h"

#define SYSTEM_CA_DIR "/etc/ssl/certs"
#define NEVER_PROXIED "localhost,127.0.0.0/8,::1"

static char *text_or_null(const char *s)
{
    return s == NULL || *s == 0 ? NULL : xstrdup(s);
}

static enum ec memory_file(struct str pem, int *ret_fd, char **ret_path, struct err *err)
{
    char path[40];
    int fd = memfd_create("ca", MFD_CLOEXEC);
    if (fd < 0)
        return ERR_ERRNO(err, EC_IO, errno, "memory file for certificates");
    for (size_t at = 0; at < pem.n;) {
        ssize_t n = write(fd, pem.p + at, pem.n - at);
        if (n <= 0) {
            int errnum = errno;
            close(fd);
            return ERR_ERRNO(err, EC_IO, errnum, "memory file for certificates");
        }
        at += (size_t)n;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    *ret_fd = fd;
    *ret_path = xstrdup(path);
    return EC_OK;
}

static const char *environment(const char *upper, const char *lower)
{
    const char *v = getenv(lower);
    if (v == NULL || *v == 0)
        v = getenv(upper);
    return v != NULL && *v != 0 ? v : NULL;
}

static char *no_proxy_list(const char *except)
{
    struct buf list = BUF_INIT;
    if (except != NULL && strcmp(except, "*") == 0)
        buf_putz(&list, "*"); /* means all only when it stands alone */
    else
        buf_printf(&list, "%s%s%s", NEVER_PROXIED, except == NULL ? "" : ",",
            except == NULL ? "" : except);
    buf_putc(&list, 0);
    char *text = xstrdup((const char *)list.p);
    buf_deinit(&list);
    return text;
}

static void profile_proxies(struct http_profile *p)
{
    p->proxy_http = text_or_null(environment("HTTP_PROXY", "http_proxy"));
    p->proxy_https = text_or_null(environment("HTTPS_PROXY", "https_proxy"));
    p->no_proxy = no_proxy_list(environment("NO_PROXY", "no_proxy"));
}

enum ec http_profile_new(
    const struct http_profile_options *opt, struct http_profile **ret, struct err *err)
{
    bool has_file = opt->ca_file != NULL && *opt->ca_file != 0;
    if (has_file && opt->ca_pem.n != 0)
        return ERR(err, EC_INVALID, "both a file and a text of certificates to trust");
    struct http_profile *p = xcalloc(1, sizeof(*p));
    p->ca_fd = -1;
    if (opt->ca_pem.n != 0) {
        enum ec ec = memory_file(opt->ca_pem, &p->ca_fd, &p->ca_path, err);
        if (ec != EC_OK) {
            free(p);
            return ec;
        }
    } else if (has_file) {
        p->ca_path = xstrdup(opt->ca_file);
    }
    p->system_cas = p->ca_path == NULL || opt->system_cas;
    p->insecure = opt->insecure_skip_verify;
    p->http2 = opt->http2;
    p->http2_plain = opt->http2_plain;
    p->cert_file = text_or_null(opt->cert_file);
    p->key_file = text_or_null(opt->key_file);
    p->server_name = text_or_null(opt->server_name);
    p->connect_timeout_ns = opt->connect_timeout_ns > 0 ? opt->connect_timeout_ns : HTTP_CONNECT_NS;
    p->timeout_ns = opt->timeout_ns > 0 ? opt->timeout_ns : HTTP_TIMEOUT_NS;
    p->body_bytes_max = opt->body_bytes_max > 0 ? opt->body_bytes_max : HTTP_BODY_BYTES_MAX;
    if (opt->proxy == HTTP_PROXY_ENVIRONMENT)
        profile_proxies(p);
    if (opt->proxy == HTTP_PROXY_URL) {
        bool some = opt->no_proxy != NULL && *opt->no_proxy != 0;
        p->proxy_http = text_or_null(opt->proxy_url);
        p->proxy_https = text_or_null(opt->proxy_url);
        p->no_proxy = some ? no_proxy_list(opt->no_proxy) : xstrdup("");
    }
    *ret = p;
    return EC_OK;
}

void http_profile_free(struct http_profile *p)
{
    if (p == NULL)
        return;
    if (p->ca_fd >= 0)
        close(p->ca_fd);
    free(p->ca_path);
    free(p->cert_file);
    free(p->key_file);
    free(p->server_name);
    if (p->proxy_http != NULL)
        explicit_bzero(p->proxy_http, strlen(p->proxy_http)); /* may hold a password */
    if (p->proxy_https != NULL)
        explicit_bzero(p->proxy_https, strlen(p->proxy_https));
    free(p->proxy_http);
    free(p->proxy_https);
    free(p->no_proxy);
    free(p);
}

bool http_profile_apply(const struct http_profile *p, CURL *easy, const char *url)
{
    bool https = strncmp(url, "https:", 6) == 0;
    const char *proxy = https ? p->proxy_https : p->proxy_http;
    bool ok = curl_easy_setopt(easy, CURLOPT_PROXY, proxy == NULL ? "" : proxy) == CURLE_OK;
    if (proxy != NULL)
        ok = ok && curl_easy_setopt(easy, CURLOPT_NOPROXY, p->no_proxy) == CURLE_OK;
    if (p->ca_path != NULL) {
        /* The directory is left to the library only where it exists: a missing one is an error. */
        bool with_system = p->system_cas && access(SYSTEM_CA_DIR, R_OK | X_OK) == 0;
        ok = ok && curl_easy_setopt(easy, CURLOPT_CAINFO, p->ca_path) == CURLE_OK;
        ok = ok &&
             curl_easy_setopt(easy, CURLOPT_CAPATH, with_system ? SYSTEM_CA_DIR : NULL) == CURLE_OK;
    } else {
        /* the bundle has all */
        ok = ok && curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
    }
    if (p->insecure) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK;
    }
    if (p->cert_file != NULL)
        ok = ok && curl_easy_setopt(easy, CURLOPT_SSLCERT, p->cert_file) == CURLE_OK;
    if (p->key_file != NULL)
        ok = ok && curl_easy_setopt(easy, CURLOPT_SSLKEY, p->key_file) == CURLE_OK;
    long version = !p->http2                  ? CURL_HTTP_VERSION_1_1
                   : p->http2_plain && !https ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                              : CURL_HTTP_VERSION_2TLS;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version) == CURLE_OK;
    if (version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE) {
        /* WHY no reuse: libcurl 7.88.1 starts HTTP/2 anew on a connection that speaks it already,
         * and the transfer fails ("Error in the HTTP2 framing layer"). */
        ok = ok && curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
    } else if (p->http2) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L) == CURLE_OK;
    }
    ok =
        ok && curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK;
    return ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(p->connect_timeout_ns / NS_PER_MS)) == CURLE_OK;
}
