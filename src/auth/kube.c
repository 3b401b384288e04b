/* SPDX-License-Identifier: Apache-2.0
 * The Kubernetes API server: where it is, our own token, and TokenReviews. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/log.h"
#include "file.h"
#include "json.h"

#define POD_FOLDER    "/var/run/secrets/kubernetes.io/serviceaccount/"
#define ATTEMPTS      5
#define DELAY_NS      (500 * NS_PER_MS)
#define DELAY_FACTOR  1.5
#define DELAY_JITTER  0.2
#define ATTEMPT_NS    (10 * NS_PER_S)
#define ALL_NS        (30 * NS_PER_S)
#define REFUSED_NS    (10 * NS_PER_S) /* a review said no */
#define ERROR_NS      (5 * NS_PER_S)  /* a review said no, and why: what a bad token gets */
#define REVIEW_VALUES 16384

struct kube {
    char *api_url, *ca_file, *token_file, *namespace_file, *api_group;
    bool subject_review;
    struct http_profile *profile;
};

static char *or_default(const char *s, const char *fallback)
{
    return xstrdup(s != NULL && *s != 0 ? s : fallback);
}

static char *in_cluster_url(void)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    struct buf b = BUF_INIT;
    bool v6 = host != NULL && strchr(host, ':') != NULL;
    if (host == NULL || *host == 0)
        host = "kubernetes.default.svc";
    buf_printf(&b, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "",
        port != NULL && *port != 0 ? port : "443");
    char *url = xstrndup((const char *)b.p, b.n);
    buf_deinit(&b);
    return url;
}

enum ec kube_new(const struct auth_kubernetes *opt, struct kube **ret, struct err *err)
{
    struct kube *k = xcalloc(1, sizeof(*k));
    struct str scheme, host, path, query;
    k->api_url =
        opt->api_url != NULL && *opt->api_url != 0 ? xstrdup(opt->api_url) : in_cluster_url();
    size_t n = strlen(k->api_url);
    while (n > 0 && k->api_url[n - 1] == '/')
        k->api_url[--n] = 0;
    k->ca_file = or_default(opt->ca_file, POD_FOLDER "ca.crt");
    k->token_file = or_default(opt->token_file, POD_FOLDER "token");
    k->namespace_file = or_default(opt->namespace_file, POD_FOLDER "namespace");
    k->api_group = or_default(opt->api_group, "tempo.grafana.com");
    k->subject_review = opt->subject_review;
    enum ec ec = EC_OK;
    if (!http_url_split(str_from(k->api_url), &scheme, &host, &path, &query))
        ec = ERR(err, EC_INVALID, "kubernetes: api_url is not an absolute URL");
    /* No proxy: the API server is the pod's neighbour, and what is said to it is secret. */
    const struct http_profile_options profile = {.ca_file = k->ca_file,
        .proxy = HTTP_PROXY_NONE,
        .timeout_ns = ATTEMPT_NS,
        .connect_timeout_ns = ATTEMPT_NS / 2};
    if (ec == EC_OK)
        ec = http_profile_new(&profile, &k->profile, err);
    if (ec != EC_OK) {
        kube_free(k);
        return ec;
    }
    *ret = k;
    return EC_OK;
}

void kube_free(struct kube *k)
{
    if (k == NULL)
        return;
    http_profile_free(k->profile);
    free(k->api_url);
    free(k->ca_file);
    free(k->token_file);
    free(k->namespace_file);
    free(k->api_group);
    free(k);
}

const char *kube_api_url(const struct kube *k)
{
    return k->api_url;
}

const char *kube_ca_file(const struct kube *k)
{
    return k->ca_file;
}

const struct http_profile *kube_profile(const struct kube *k)
{
    return k->profile;
}

bool kube_subject_review(const struct kube *k)
{
    return k->subject_review;
}

const char *kube_api_group(const struct kube *k)
{
    return k->api_group;
}

static void trim(struct buf *b)
{
    while (b->n > 0 && b->p[b->n - 1] <= ' ')
        b->n--;
}

enum ec kube_token(const struct kube *k, struct buf *ret, struct err *err)
{
    TRY(auth_file_read("auth.token", k->token_file, ret, err));
    trim(ret);
    if (!token_plausible(buf_str(ret)))
        return ERR(err, EC_INVALID, "%s holds no token", k->token_file);
    return EC_OK;
}

enum ec kube_namespace(const struct kube *k, struct buf *ret, struct err *err)
{
    TRY(auth_file_read("auth.namespace", k->namespace_file, ret, err));
    trim(ret);
    return EC_OK;
}

/* ---- TokenReview ---- */

static void land_down(struct flight *f, const char *why)
{
    static int64_t last;
    log_fault(&last, "token review failed", f->t, why);
    flight_land(f, &(struct flight_result){.refusal = R_AUTHN_DOWN});
}

static bool worth_retrying(const struct http_client_response *rs)
{
    if (rs->ec != EC_OK)
        return rs->ec == EC_UNAVAILABLE || rs->ec == EC_DEADLINE;
    return rs->status == 429 || rs->status >= 500;
}

/* 500 ms, growing, with jitter so that many gateways do not come back together; no earlier than
 * asked for. */
static int64_t retry_delay(const struct flight *f, const struct http_client_response *rs)
{
    uint16_t r;
    struct str text;
    uint64_t seconds;
    double delay = (double)DELAY_NS;
    for (unsigned i = 1; i < f->attempt; i++)
        delay *= DELAY_FACTOR;
    random_bytes(&r, sizeof(r));
    delay += delay * DELAY_JITTER * r / 65535;
    int64_t ns = (int64_t)delay;
    if (http_response_header(rs, "Retry-After", &text) && str_to_u64(text, &seconds) &&
        seconds <= (uint64_t)(ALL_NS / NS_PER_S))
        ns = MAX(ns, (int64_t)seconds * NS_PER_S);
    return ns;
}

/* What the review says; NULL when it is none. *ret_explained: refused, and the server said why. */
struct identity *token_review_parse(
    const struct tenant *t, struct str body, bool *ret_explained, struct err *err)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    struct str name, error;
    if (json_parse(body, REVIEW_VALUES, &root, err) != EC_OK)
        return NULL;
    const json_t *status = json_object_get(root, "status");
    const json_t *user = json_object_get(status, "user");
    const json_t *list = json_object_get(user, "groups"), *item;
    if (!json_is_object(status)) {
        (void)ERR(err, EC_INVALID, "answer without a status");
        return NULL;
    }
    *ret_explained = json_text(status, "error", &error) && error.n != 0;
    if (!json_is_true(json_object_get(status, "authenticated")) ||
        !json_text(user, "username", &name) || name.n == 0)
        return identity_refused(R_TOKEN_REFUSED);
    size_t i, n = 0;
    struct str *groups = xcalloc(json_array_size(list) + 1, sizeof(*groups));
    json_array_foreach(list, i, item) if (json_is_string(item)) groups[n++] =
        str_n(json_string_value(item), json_string_length(item));
    struct identity *who = identity_new(t, name, groups, n, "system:authenticated", STR(""));
    free(groups);
    return who;
}

static void review_read(struct flight *f, struct str body)
{
    struct err err = {0};
    bool explained = false;
    struct identity *who = token_review_parse(f->t, body, &explained, &err);
    if (who == NULL) {
        land_down(f, err_msg(&err));
        return;
    }
    int64_t now = clock_mono_ns(), ttl = f->a->token_ttl_ns;
    if (who->refusal == R_OK)
        cache_put(f->a->identities, &f->key, &who->base, now + ttl, now);
    else
        cache_put(f->a->refused, &f->key, &who->base,
            now + MIN(explained ? ERROR_NS : REFUSED_NS, ttl), now);
    flight_land(f, &(struct flight_result){.identity = who});
    identity_unref(who);
}

static void review_send(struct flight *f);

static void review_again(void *arg)
{
    review_send(arg);
}

static void review_done(void *arg, const struct http_client_response *rs)
{
    struct flight *f = arg;
    f->call = NULL;
    f->attempt++;
    if (worth_retrying(rs) && f->attempt < ATTEMPTS && !f->a->stopping) {
        int64_t delay = retry_delay(f, rs);
        if (clock_mono_ns() + delay - f->start_ns < ALL_NS) {
            f->timer = (struct http_timer){.fn = review_again, .arg = f};
            http_timer_start(f->a->client, &f->timer, delay);
            return;
        }
    }
    if (rs->ec != EC_OK) {
        land_down(f, rs->error);
        return;
    }
    if (rs->status / 100 != 2) {
        char why[128];
        snprintf(why, sizeof(why), "the API server answers %u%s", rs->status,
            rs->status == 403 ? ": our service account may not create tokenreviews" : "");
        land_down(f, why);
        return;
    }
    review_read(f, buf_str(rs->body));
}

static void review_send(struct flight *f)
{
    struct buf own = BUF_INIT, body = BUF_INIT, url = BUF_INIT;
    struct err err = {0};
    if (kube_token(f->a->kube, &own, &err) != EC_OK) {
        http_wipe_buf(&own);
        land_down(f, err_msg(&err));
        return;
    }
    buf_printf(&url, "%s/apis/authentication.k8s.io/v1/tokenreviews", f->a->kube->api_url);
    buf_putz(&body, "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
                    "\"metadata\":{},\"spec\":{\"token\":");
    json_put_str(&body, buf_str(&f->token));
    buf_putz(&body, "}}");
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("application/json")}, {STR("Accept"), STR("application/json")}};
    int64_t left = ALL_NS - (clock_mono_ns() - f->start_ns);
    const struct http_client_request rq = {.profile = f->a->kube->profile,
        .method = STR("POST"),
        .url = buf_str(&url),
        .headers = headers,
        .n_headers = ARRAY_LEN(headers),
        .body = buf_bytes(&body),
        .bearer = buf_str(&own),
        .timeout_ns = MAX(MIN(left, ATTEMPT_NS), NS_PER_MS)};
    flight_send(f, &rq, review_done, R_AUTHN_DOWN);
    http_wipe_buf(&own);
    http_wipe_buf(&body);
    buf_deinit(&url);
}

void token_review_start(struct flight *f)
{
    review_send(f);
}
