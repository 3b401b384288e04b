/* SPDX-License-Identifier: Apache-2.0
 * Access decisions by Kubernetes: a (self) subject access review, and for reads that need them the
 * caller's projects. */
#include <stdio.h>
#include <stdlib.h>

#include "auth_int.h"
#include "json.h"

#define REVIEW_VALUES      16384
#define PROJECTS_BYTES_MAX (16u << 20)
#define PROJECTS_VALUES    400000

static const struct http_header json_headers[] = {
    {STR("Content-Type"), STR("application/json")}, {STR("Accept"), STR("application/json")}};

static void land_refused(struct flight *f, enum refusal r)
{
    flight_land(f, &(struct flight_result){.refusal = r});
}

static void land_decision(struct flight *f, struct decision *take)
{
    int64_t now = clock_mono_ns();
    cache_put(f->a->decisions, &f->key, &take->base, now + f->a->review_ttl_ns, now);
    flight_land(f, &(struct flight_result){.decision = take});
    decision_unref(take);
}

/* A call without a usable answer: when the service is at fault the client shall come again; when
 * the caller's token is, not. */
static void land_failed(
    struct flight *f, const char *what, const struct http_client_response *rs, bool own_token)
{
    static int64_t last;
    char why[256];
    bool theirs =
        rs->ec == EC_OK && rs->status >= 400 && rs->status < 500 && rs->status != 429 && !own_token;
    if (rs->ec != EC_OK)
        snprintf(why, sizeof(why), "%s: %s", what, rs->error);
    else
        snprintf(why, sizeof(why), "%s: the API server answers %u", what, rs->status);
    if (!theirs || rs->status == 404)
        log_fault(&last, "access review failed", f->t, why);
    land_refused(f, theirs ? R_AUTHZ_REFUSED : R_AUTHZ_DOWN);
}

/* ---- projects ---- */

/* NULL: not a list of projects. */
struct decision *projects_parse(struct str body)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    if (json_parse(body, PROJECTS_VALUES, &root, NULL) != EC_OK)
        return NULL;
    const json_t *items = json_object_get(root, "items"), *item;
    if (!json_is_array(items))
        return NULL;
    struct str *names = xcalloc(json_array_size(items) + 1, sizeof(*names));
    size_t i, n = 0;
    json_array_foreach(items, i, item)
    {
        struct str name;
        if (json_text(json_object_get(item, "metadata"), "name", &name) && name.n != 0)
            names[n++] = name;
    }
    struct decision *d = decision_new(n == 0 ? R_DENIED : R_OK, n != 0, names, n);
    free(names);
    return d;
}

static void projects_done(void *arg, const struct http_client_response *rs)
{
    struct flight *f = arg;
    f->call = NULL;
    if (rs->ec != EC_OK || rs->status / 100 != 2) {
        land_failed(f, "projects", rs, false);
        return;
    }
    struct decision *d = projects_parse(buf_str(rs->body));
    if (d == NULL)
        land_refused(f, R_AUTHZ_DOWN);
    else
        land_decision(f, d);
}

static void projects_send(struct flight *f)
{
    struct buf url = BUF_INIT;
    buf_printf(&url, "%s/apis/project.openshift.io/v1/projects", kube_api_url(f->a->kube));
    const struct http_client_request rq = {.profile = kube_profile(f->a->kube),
        .url = buf_str(&url),
        .headers = &json_headers[1],
        .n_headers = 1,
        .bearer = buf_str(&f->token),
        .accept_compressed = true,
        .body_bytes_max = PROJECTS_BYTES_MAX};
    flight_send(f, &rq, projects_done, R_AUTHZ_DOWN);
    buf_deinit(&url);
}

/* ---- the review ---- */

static void access_done(void *arg, const struct http_client_response *rs)
{
    struct flight *f = arg;
    CLEANUP(json_wipep) json_t *root = NULL;
    struct err err = {0};
    f->call = NULL;
    if (rs->ec != EC_OK || rs->status / 100 != 2) {
        land_failed(f, "review", rs, kube_subject_review(f->a->kube));
        return;
    }
    if (json_parse(buf_str(rs->body), REVIEW_VALUES, &root, &err) != EC_OK) {
        land_refused(f, R_AUTHZ_DOWN);
        return;
    }
    const json_t *status = json_object_get(root, "status");
    if (!json_is_object(status))
        land_refused(f, R_AUTHZ_DOWN);
    else if (!json_is_true(json_object_get(status, "allowed")))
        land_decision(f, decision_new(R_DENIED, false, NULL, 0));
    else if (!f->want_namespaces)
        land_decision(f, decision_new(R_OK, false, NULL, 0));
    else if (f->a->stopping)
        land_refused(f, R_AUTHZ_DOWN);
    else
        projects_send(f);
}

static void put_spec(struct flight *f, struct buf *body)
{
    const struct kube *k = f->a->kube;
    buf_printf(body,
        "{\"kind\":\"%s\",\"apiVersion\":\"authorization.k8s.io/v1\",\"metadata\":{},"
        "\"spec\":{\"resourceAttributes\":{\"verb\":\"%s\",\"group\":",
        kube_subject_review(k) ? "SubjectAccessReview" : "SelfSubjectAccessReview",
        f->permission == AUTH_WRITE ? "create" : "get");
    json_put_str(body, str_from(kube_api_group(k)));
    buf_putz(body, ",\"resource\":");
    json_put_str(body, str_from(f->t->name));
    buf_putz(body, ",\"name\":\"traces\"}");
    if (kube_subject_review(k)) {
        buf_putz(body, ",\"user\":");
        json_put_str(body, f->identity->subject);
        buf_putz(body, ",\"groups\":[");
        for (size_t i = 0; i < f->identity->n_groups; i++) {
            if (i > 0)
                buf_putc(body, ',');
            json_put_str(body, f->identity->groups[i]);
        }
        buf_putc(body, ']');
    }
    buf_putz(body, "}}");
}

void access_review_start(struct flight *f)
{
    static int64_t last;
    struct buf own = BUF_INIT, body = BUF_INIT, url = BUF_INIT;
    struct err err = {0};
    bool sar = kube_subject_review(f->a->kube);
    if (sar && kube_token(f->a->kube, &own, &err) != EC_OK) {
        http_wipe_buf(&own);
        log_fault(&last, "access review failed", f->t, err_msg(&err));
        land_refused(f, R_AUTHZ_DOWN);
        return;
    }
    if (!sar && f->token.n == 0) { /* nobody to ask as */
        land_refused(f, R_AUTHZ_REFUSED);
        return;
    }
    buf_printf(&url, "%s/apis/authorization.k8s.io/v1/%s", kube_api_url(f->a->kube),
        sar ? "subjectaccessreviews" : "selfsubjectaccessreviews");
    put_spec(f, &body);
    const struct http_client_request rq = {.profile = kube_profile(f->a->kube),
        .method = STR("POST"),
        .url = buf_str(&url),
        .headers = json_headers,
        .n_headers = ARRAY_LEN(json_headers),
        .body = buf_bytes(&body),
        .bearer = sar ? buf_str(&own) : buf_str(&f->token)};
    flight_send(f, &rq, access_done, R_AUTHZ_DOWN);
    http_wipe_buf(&own);
    buf_deinit(&body);
    buf_deinit(&url);
}
