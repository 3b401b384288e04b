/* SPDX-License-Identifier: Apache-2.0
 * What a request costs that is answered from the caches: one JSON line per kind of credential, CPU
 * nanoseconds a check, by one thread and by four. The caches are filled by hand; nothing is
 * asked. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "src/auth/auth_int.h"

#define CHECKS 1000000

struct load {
    struct auth *a;
    struct auth_request rq;
    int64_t cpu_ns;
};

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void never(void *arg, struct auth_answer *answer)
{
    (void)arg;
    (void)answer;
    abort();
}

static void *run(void *arg)
{
    struct load *l = arg;
    struct auth_answer ans;
    int64_t t0 = thread_ns();
    for (int i = 0; i < CHECKS; i++) {
        if (!auth_check(l->a, &l->rq, &ans, never, NULL) || ans.outcome != AUTH_OK)
            abort();
        auth_answer_release(&ans);
    }
    l->cpu_ns = thread_ns() - t0;
    return NULL;
}

static void measure(const char *name, struct load *l, unsigned n_threads)
{
    struct load loads[8];
    pthread_t threads[8];
    int64_t sum = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        loads[i] = *l;
        pthread_create(&threads[i], NULL, run, &loads[i]);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        sum += loads[i].cpu_ns;
    }
    printf("{\"bench\":\"auth\",\"case\":\"%s\",\"threads\":%u,\"cpu_ns_per_check\":%lld}\n", name,
        n_threads, (long long)(sum / CHECKS / n_threads));
}

/* As if both had been looked up just now. */
static void fill(struct auth *a, const char *tenant, const char *kind, struct str token)
{
    struct tenant *t = auth_tenant_find(a, str_from(tenant));
    struct str groups[] = {STR("system:serviceaccounts"), STR("system:serviceaccounts:llamastack")};
    struct cache_key cred, key;
    int64_t now = clock_mono_ns(), end = now + 3600 * NS_PER_S;
    struct identity *who = identity_new(t, STR("system:serviceaccount:llamastack:otel"), groups, 2,
        "system:authenticated", STR(""));
    struct decision *may = decision_new(R_OK, false, NULL, 0);
    token_key(t, kind, token, &cred);
    decision_key(t, AUTH_WRITE, false, &cred, who, &key);
    cache_put(a->identities, &cred, &who->base, end, now);
    cache_put(a->decisions, &key, &may->base, end, now);
    identity_unref(who);
    decision_unref(may);
}

int main(void)
{
    struct err err = {0};
    struct http_client *client;
    struct auth *a;
    char line[1300] = "Bearer ";
    static const char *const in_dev[] = {"static"}, *const roles[] = {"w"};
    const struct auth_role role = {
        .name = "w", .traces = true, .write = true, .tenants = in_dev, .n_tenants = 1};
    const struct auth_subject subject = {.name = "system:serviceaccount:llamastack:otel"};
    const struct auth_binding binding = {
        .name = "b", .roles = roles, .n_roles = 1, .subjects = &subject, .n_subjects = 1};
    const struct auth_tenant tenants[] = {
        {.name = "dev", .id = "1", .method = AUTH_OPENSHIFT, .rule = AUTH_BY_REVIEW},
        {.name = "static",
            .id = "2",
            .method = AUTH_OIDC,
            .oidc = {.client_id = "c", .issuer_url = "http://127.0.0.1:9"}}};
    struct auth_options opt = {.tenants = tenants,
        .n_tenants = 2,
        .roles = &role,
        .n_roles = 1,
        .bindings = &binding,
        .n_bindings = 1,
        .kubernetes = {.api_url = "http://127.0.0.1:9"}};
    memset(line + 7, 'x', 1100); /* a service account's token has about so many */
    log_level_min = LOG_ERROR + 1;
    if (http_client_new(&(struct http_client_options){0}, &client, &err) != EC_OK)
        return 1;
    opt.client = client;
    if (auth_new(&opt, &a, &err) != EC_OK)
        return 1;
    struct str lines[] = {str_from(line)}, token = str_from(line + 7);
    fill(a, "dev", "bearer", token);
    fill(a, "static", "id", token);
    struct load l = {
        .a = a, .rq = {.permission = AUTH_WRITE, .authorization = lines, .n_authorization = 1}};
    for (unsigned n = 1; n <= 4; n += 3) {
        l.rq.tenant = STR("dev");
        measure("openshift", &l, n);
        l.rq.tenant = STR("static");
        measure("oidc", &l, n);
    }
    auth_free(a);
    http_client_free(client);
    return 0;
}
