/* SPDX-License-Identifier: Apache-2.0
 * Which tenant and route a public path means, and what it becomes. */
#include "src/front/path.h"
#include "unit.h"

static struct front_path parse(struct arena *a, const char *path)
{
    struct front_path p;
    assert_true(front_path_parse(a, str_from(path), &p));
    return p;
}

static void test_path__places_and_tenants(void **state)
{
    static const struct {
        const char *path;
        enum front_place place;
        const char *tenant;
    } cases[] = {
        {"/", PLACE_ROOT, ""},
        {"//", PLACE_ROOT, ""},
        {"", PLACE_NOWHERE, ""},
        {"*", PLACE_NOWHERE, ""},
        {"/dev", PLACE_TENANT, "dev"},
        {"/dev/", PLACE_TENANT, "dev"},
        {"/d%65v", PLACE_TENANT, "dev"},
        {"/dev/x", PLACE_NOWHERE, ""},
        {"/api/traces/v1", PLACE_NOWHERE, ""},
        {"/api/traces/v1/dev", PLACE_API, "dev"},
        {"/api/traces/v1/dev/", PLACE_API, "dev"},
        {"/api/traces/v1//dev", PLACE_API, ""},
        {"/api/traces/v1/../dev/tempo/api/search", PLACE_API, ".."},
        {"/api/traces/v1/a%2Fb/tempo/api/search", PLACE_API, "a/b"},
        {"/api/traces/v2/dev/tempo/api/search", PLACE_NOWHERE, ""},
        {"/api//traces/v1/dev/tempo/api/search", PLACE_NOWHERE, ""},
        {"/./api/traces/v1/dev/tempo/api/search", PLACE_NOWHERE, ""},
        {"/openshift/dev/login", PLACE_LOGIN, "dev"},
        {"/openshift/dev/callback/", PLACE_CALLBACK, "dev"},
        {"/oidc/dev/callback", PLACE_CALLBACK, "dev"},
        {"/oidc/dev/logout", PLACE_NOWHERE, ""},
        {"/oidc//login", PLACE_LOGIN, ""},
        {"/other/dev/login", PLACE_NOWHERE, ""},
    };
    struct arena a;
    (void)state;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct front_path p = parse(&a, cases[i].path);
        if (p.place != cases[i].place || !str_eqz(p.tenant, cases[i].tenant))
            fail_msg("%s: place %d tenant %.*s", cases[i].path, (int)p.place, STR_ARG(p.tenant));
    }
    assert_int_equal(parse(&a, "/openshift/dev/login").method, AUTH_OPENSHIFT);
    assert_int_equal(parse(&a, "/oidc/dev/login").method, AUTH_OIDC);
    arena_deinit(&a);
}

static void test_path__routes_and_what_is_handed_on(void **state)
{
    static const struct {
        const char *rest;
        enum front_route route;
        const char *raw, *decoded;
    } cases[] = {
        {"", ROUTE_NONE, "", ""},
        {"/tempo/api/search", ROUTE_TEMPO, "/api/search", "/api/search"},
        {"/tempo/api/search/", ROUTE_TEMPO, "/api/search", "/api/search"},
        {"/tempo/api", ROUTE_TEMPO, "/api", "/api"},
        {"/tempo/apis", ROUTE_TEMPO, "/apis", "/apis"},
        {"/tempo/api/v2/search/tag/span.a%2Fb/values", ROUTE_TEMPO,
            "/api/v2/search/tag/span.a%2Fb/values", "/api/v2/search/tag/span.a/b/values"},
        {"/tempo/api/v2/search/tag/a%252Fb/values", ROUTE_TEMPO,
            "/api/v2/search/tag/a%252Fb/values", "/api/v2/search/tag/a%2Fb/values"},
        {"/tempo/ready", ROUTE_NONE, "", ""},
        {"/tempo/metrics", ROUTE_NONE, "", ""},
        {"/tempo%2Fapi/search", ROUTE_NONE, "", ""},
        {"/%74empo/api/search", ROUTE_NONE, "", ""},
        {"/v1/traces", ROUTE_OTLP, "/v1/traces", "/v1/traces"},
        {"/v1/traces/x", ROUTE_NONE, "", ""},
        {"/api/traces", ROUTE_NONE, "", ""},
        /* nothing that the API layer would clean */
        {"//tempo/api/search", ROUTE_NONE, "", ""},
        {"/tempo//api/search", ROUTE_NONE, "", ""},
        {"/tempo/api//search", ROUTE_NONE, "", ""},
        {"/tempo/api/./search", ROUTE_NONE, "", ""},
        {"/tempo/api/../api/search", ROUTE_NONE, "", ""},
        {"/tempo/api/%2e%2e/search", ROUTE_NONE, "", ""},
        {"/tempo/api/..%2Fsearch", ROUTE_NONE, "", ""},
        {"/tempo/api/x%2F%2Fy", ROUTE_NONE, "", ""},
        {"/tempo/api/x%00y", ROUTE_NONE, "", ""},
        {"/tempo/api/search%", ROUTE_NONE, "", ""},
        {"/tempo/api/search/%", ROUTE_NONE, "", ""},
        {"/tempo/api/search//", ROUTE_NONE, "", ""},
    };
    struct arena a;
    (void)state;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[200];
        snprintf(path, sizeof(path), "/api/traces/v1/dev%s", cases[i].rest);
        struct front_path p = parse(&a, path);
        if (p.place != PLACE_API || !str_eqz(p.tenant, "dev") || p.route != cases[i].route ||
            !str_eqz(p.raw, cases[i].raw) || !str_eqz(p.decoded, cases[i].decoded))
            fail_msg("%s: route %d raw %.*s decoded %.*s", path, (int)p.route, STR_ARG(p.raw),
                STR_ARG(p.decoded));
    }
    arena_deinit(&a);
}

static void test_path__a_budget_may_refuse(void **state)
{
    struct budget b;
    struct arena a;
    struct front_path p;
    (void)state;
    budget_init(&b, NULL, "tiny", 16);
    arena_init(&a, &b, 0);
    assert_false(front_path_parse(&a, STR("/api/traces/v1/dev/tempo/api/search"), &p));
    arena_deinit(&a);
    budget_deinit(&b);
}

static void test_namespaced__five_paths(void **state)
{
    static const char *const open[] = {"/api/search", "/api/traces/0aF_", "/api/v2/traces/1",
        "/api/v2/search/tag/resource.service.name/values",
        "/api/v2/search/tag/resource.k8s.namespace.name/values"};
    static const char *const closed[] = {"/api/search/", "/api/searches", "/api/search/tags",
        "/api/v2/search/tags", "/api/traces/", "/api/traces", "/api/traces/a/b", "/api/traces/a-b",
        "/api/v2/search/tag/name/values", "/api/v2/search/tag/resource.service.name/values/x",
        "/api/search/tag/resource.service.name/values", "/api/echo", "/api/metrics/query_range",
        "/api/mcp", "/x/api/search", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(open); i++)
        if (!front_path_namespaced(str_from(open[i])))
            fail_msg("%s is closed", open[i]);
    for (size_t i = 0; i < ARRAY_LEN(closed); i++)
        if (front_path_namespaced(str_from(closed[i])))
            fail_msg("%s is open", closed[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path__places_and_tenants),
        cmocka_unit_test(test_path__routes_and_what_is_handed_on),
        cmocka_unit_test(test_path__a_budget_may_refuse),
        cmocka_unit_test(test_namespaced__five_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
