/* SPDX-License-Identifier: Apache-2.0
 * Decisions of an external policy engine over REST. They are not kept: what a policy looks at is
 * unknown here. Concurrent equal questions are asked once. */
#include <stdio.h>
#include <stdlib.h>

#include "auth_int.h"
#include "json.h"

#define ANSWER_VALUES 65536

static void put_input(const struct flight *f, struct buf *b)
{
    const struct identity *who = f->identity;
    buf_putz(b, "{\"input\":{\"groups\":[");
    for (size_t i = 0; i < who->n_groups; i++) {
        if (i > 0)
            buf_putc(b, ',');
        json_put_str(b, who->groups[i]);
    }
    buf_printf(b, "],\"permission\":\"%s\",\"resource\":\"traces\",\"subject\":",
        f->permission == AUTH_WRITE ? "write" : "read");
    json_put_str(b, who->subject);
    buf_putz(b, ",\"tenant\":");
    json_put_str(b, str_from(f->t->name));
    buf_putz(b, ",\"tenantID\":");
    json_put_str(b, str_from(f->t->id));
    buf_putz(b, ",\"token\":\"\",\"extras\":{}}}");
}

static bool is_namespace(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
                s.p[i] == '-' || s.p[i] == '.'))
            return false;
    return s.n > 0;
}

/* The namespaces of {"matchers":[{"Type":2,"Name":"...","Value":"ns1|ns2"}]}. What is not plainly a
 * list of names gives none: the read is then denied. */
static struct decision *decision_of_matchers(struct str data)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    struct str value;
    if (json_parse(data, ANSWER_VALUES, &root, NULL) != EC_OK)
        return decision_new(R_DENIED, false, NULL, 0);
    const json_t *matchers = json_object_get(root, "matchers");
    if (json_array_size(matchers) != 1 || !json_text(json_array_get(matchers, 0), "Value", &value))
        return decision_new(R_DENIED, false, NULL, 0);
    size_t n = 0, n_max = 1;
    for (size_t i = 0; i < value.n; i++)
        n_max += value.p[i] == '|';
    struct str *names = xcalloc(n_max, sizeof(*names));
    while (value.n > 0) {
        struct str name = str_cut(value, '|', &value);
        if (is_namespace(name))
            names[n++] = name;
    }
    struct decision *d = decision_new(n == 0 ? R_DENIED : R_OK, n != 0, names, n);
    free(names);
    return d;
}

/* NULL: not an answer. */
struct decision *opa_parse(struct str body, bool want_namespaces)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    struct str text, data;
    if (json_parse(body, ANSWER_VALUES, &root, NULL) != EC_OK)
        return NULL;
    const json_t *result = json_object_get(root, "result");
    bool yes = json_is_true(result) || json_is_true(json_object_get(result, "allowed")) ||
               (json_text(result, "allowed", &text) && str_eqz(text, "true"));
    if (!yes)
        return decision_new(R_DENIED, false, NULL, 0);
    if (!want_namespaces)
        return decision_new(R_OK, false, NULL, 0);
    if (!json_text(result, "data", &data) || data.n == 0)
        return decision_new(R_DENIED, false, NULL, 0);
    return decision_of_matchers(data);
}

static void opa_done(void *arg, const struct http_client_response *rs)
{
    static int64_t last;
    struct flight *f = arg;
    struct decision *d;
    f->call = NULL;
    if (rs->ec != EC_OK) {
        log_fault(&last, "policy engine cannot be asked", f->t, rs->error);
        flight_land(f, &(struct flight_result){.refusal = R_AUTHZ_DOWN});
        return;
    }
    if (rs->status / 100 != 2) { /* passed on as it is */
        d = decision_new(R_OPA_STATUS, false, NULL, 0);
        d->http_status = rs->status >= 400 ? rs->status : 500;
    } else if ((d = opa_parse(buf_str(rs->body), f->want_namespaces)) == NULL) {
        flight_land(f, &(struct flight_result){.refusal = R_AUTHZ_DOWN});
        return;
    }
    flight_land(f, &(struct flight_result){.decision = d});
    decision_unref(d);
}

void opa_start(struct flight *f)
{
    struct buf body = BUF_INIT;
    put_input(f, &body);
    const struct http_header headers[] = {{STR("Content-Type"), STR("application/json")},
        {STR("X-Forwarded-Access-Token"), buf_str(&f->token)}};
    const struct http_client_request rq = {.profile = f->a->opa_profile,
        .method = STR("POST"),
        .url = str_from(f->t->opa_url),
        .headers = headers,
        .n_headers = f->t->opa_with_token && f->token.n != 0 ? 2 : 1,
        .body = buf_bytes(&body)};
    flight_send(f, &rq, opa_done, R_AUTHZ_DOWN);
    buf_deinit(&body);
}
