/* SPDX-License-Identifier: Apache-2.0
 * metrics_generator and its overrides: what counts, and what is refused. */
#include "config_util.h"

#define S 1000000000LL
#define STORAGE(inside) \
    LOCAL "metrics_generator: {storage: {path: /g, remote_write: [" inside "]}}\n"

static void test_generator__defaults(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL);
    assert_loads(&l);
    const struct config_generator *g = &l.c->generator;
    const struct config_tenant_generator *t = &l.c->limits.generator;
    assert_string_equal(g->path, "");
    assert_int_equal(g->collection_interval, 15 * S);
    assert_int_equal(g->stale, 900 * S);
    assert_int_equal(g->slack, 30 * S);
    assert_null(t->processor_names);
    assert_int_equal(t->processors.span_metrics.buckets.n, 14);
    assert_int_equal(t->processors.service_graphs.buckets.n, 8);
    assert_string_equal(t->processors.service_graphs.peer_attributes[2], "db.system");
    assert_string_equal(t->processors.host_identifiers[1], "host.id");
    assert_true(t->processors.span_metrics.status_code);
    assert_false(t->processors.span_metrics.status_message);
    assert_int_equal(t->native_buckets_max, 100);
    loaded_free(&l);
}

static void load_tenant(struct loaded *l, const char *extra, const char *entry, struct arena *arena,
    struct config_tenant **ret, enum ec *ret_ec, struct err *err)
{
    char yaml[3000], file[400];
    size_t n;
    uint64_t hash;
    char *dir = tmpdir_new();
    snprintf(file, sizeof(file), "%s/t.yaml", dir);
    write_text(file, entry, strlen(entry));
    snprintf(yaml, sizeof(yaml), LOCAL "%s", extra);
    LOAD(l, yaml);
    assert_loads(l);
    l->c->overrides_file = file;
    arena_init(arena, NULL, 0);
    *ret_ec = config_overrides_load(l->c, 0, arena, ret, &n, &hash, err);
    tmpdir_free(dir);
}

static void test_generator__an_entry_lies_over_the_block(void **state)
{
    struct loaded l;
    struct arena a;
    struct config_tenant *t;
    struct err err = {0};
    enum ec ec;
    (void)state;
    load_tenant(&l,
        "metrics_generator: {processor: {span_metrics: {dimensions: [x], enable_target_info: true, histogram_buckets: [1, 2]}, service_graphs: {enable_client_server_prefix: true}}}\n"
        "overrides: {defaults: {metrics_generator: {processors: [span-metrics], generate_native_histograms: both, native_histogram_bucket_factor: 1.5, max_active_series: 7}}}\n",
        "overrides:\n"
        "  a:\n"
        "    metrics_generator:\n"
        "      processors: [service-graphs]\n"
        "      remote_write_headers: {X-A: b}\n"
        "      processor: {span_metrics: {dimensions: [y, z], intrinsic_dimensions: {span_name: false},\n"
        "        dimension_mappings: [{name: m, source_labels: [p, q], join: /}],\n"
        "        filter_policies: [{include: {match_type: strict, attributes: [{key: span.n, value: 0.25}, {key: kind, value: SPAN_KIND_SERVER}, {key: resource.b, value: true}, {key: span.i, value: 5}, {key: span.s, value: '5'}]}}]},\n"
        "        service_graphs: {enable_client_server_prefix: false}}\n"
        "  b: {metrics_generator_processors: [host-info], metrics_generator_processor_span_metrics_intrinsic_dimensions: {service: false},\n"
        "      metrics_generator_processor_service_graphs_histogram_buckets: [3], metrics_generator_max_active_series: 9}\n",
        &a, &t, &ec, &err);
    if (ec != EC_OK)
        fail_msg("%s", err_msg(&err));
    const struct config_tenant_generator *g = &t[0].limits.generator;
    const struct config_span_metrics *m = &g->processors.span_metrics;
    assert_string_equal(g->processor_names[0], "service-graphs");
    assert_string_equal(m->dimensions[0], "y");
    assert_int_equal(m->buckets.n, 2); /* the block's */
    assert_true(m->target_info);       /* the block's */
    assert_false(m->span_name);        /* its own */
    assert_true(m->service);           /* the block's */
    assert_int_equal(m->n_mappings, 1);
    assert_string_equal(m->mappings[0].sources[1], "q");
    assert_int_equal(m->policies.n, 1);
    const struct config_match *p = m->policies.p[0].p;
    assert_int_equal(p[0].type, CONFIG_MATCH_DOUBLE);
    assert_true(p[0].d > 0.24 && p[0].d < 0.26);
    assert_int_equal(p[1].type, CONFIG_MATCH_TEXT);
    assert_int_equal(p[2].type, CONFIG_MATCH_BOOL);
    assert_int_equal(p[3].type, CONFIG_MATCH_INT);
    assert_int_equal(p[3].i, 5);
    assert_int_equal(p[4].type, CONFIG_MATCH_TEXT); /* quoted */
    assert_string_equal(g->headers.p[0].value, "b");
    assert_true(g->processors.service_graphs.prefix);     /* can only be switched on */
    assert_string_equal(g->native_histograms, "classic"); /* not inherited */
    assert_true(g->native_bucket_factor > 1.4);           /* inherited */
    assert_int_equal(g->max_active_series, 0);            /* an entry replaces the defaults */
    const struct config_tenant_generator *b = &t[1].limits.generator;
    assert_string_equal(b->processor_names[0], "host-info");
    assert_false(b->processors.span_metrics.service);
    assert_int_equal(b->processors.service_graphs.buckets.n, 1);
    assert_int_equal(b->max_active_series, 9);
    const struct config_tenant_generator *d = &l.c->limits.generator;
    assert_string_equal(d->native_histograms, "both");
    assert_int_equal(d->max_active_series, 7);
    arena_deinit(&a);
    loaded_free(&l);
}

static void test_generator__bad_entries(void **state)
{
    static const char *const bad[][2] = {
        {"generate_native_histograms: sparse", "generate_native_histograms"},
        {"native_histogram_bucket_factor: 1", "native_histogram_bucket_factor"},
        {"native_histogram_bucket_factor: -2", "native_histogram_bucket_factor"},
        {"span_name_sanitization: on-off", "span_name_sanitization"},
        {"processor: {span_metrics: {histogram_buckets: [1, 1]}}", "strictly increasing"},
        {"processor: {service_graphs: {histogram_buckets: [2, 1]}}", "strictly increasing"},
        {"processor: {span_metrics: {intrinsic_dimensions: {colour: true}}}", "colour"},
        {"processor: {span_metrics: {filter_policies: [{}]}}", "at least an `include`"},
        {"processor: {span_metrics: {filter_policies: [{include: {match_type: glob}}]}}",
            "invalid match type: glob"},
        {"processor: {span_metrics: {filter_policies: [{include: {match_type: strict, attributes: [{key: event.x, value: 1}]}}]}}",
            "unsupported intrinsic"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct loaded l;
        struct arena a;
        struct config_tenant *t;
        struct err err = {0};
        enum ec ec;
        char entry[500], yaml[600];
        snprintf(entry, sizeof(entry), "overrides: {a: {metrics_generator: {%s}}}\n", bad[i][0]);
        load_tenant(&l, "", entry, &a, &t, &ec, &err);
        assert_int_equal(ec, EC_INVALID);
        assert_has(err_msg(&err), bad[i][1]);
        arena_deinit(&a);
        loaded_free(&l);
        snprintf(yaml, sizeof(yaml), LOCAL "overrides: {defaults: {metrics_generator: {%s}}}\n",
            bad[i][0]);
        ASSERT_FAILS(1, bad[i][1], yaml);
    }
}

static void test_remote_write__values(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l,
        STORAGE(
            "{url: 'http://u:p@h:1/push?x=y', name: n, headers: {X-A: b}, http_headers: {X-B: {values: [c]}},"
            " queue_config: {max_samples_per_send: 5, max_backoff: 1d, retry_on_http_429: true, sample_age_limit: 2h},"
            " write_relabel_configs: [{source_labels: [a], regex: x, action: drop}, {target_label: t}],"
            " tls_config: {ca_file: /ca, insecure_skip_verify: true}},"
            " {url: 'https://h2', bearer_token: tok, remote_timeout: 7s}"));
    assert_loads(&l);
    const struct config_generator *g = &l.c->generator;
    assert_int_equal(g->n_remote_write, 2);
    const struct config_remote_write *e = g->remote_write;
    assert_string_equal(e->url, "http://h:1/push?x=y");
    assert_string_equal(e->user, "u");
    assert_string_equal(e->password, "p");
    assert_int_equal(e->headers.n, 2);
    assert_string_equal(e->headers.p[1].name, "X-B");
    assert_int_equal(e->samples_per_send_max, 5);
    assert_int_equal(e->backoff_max, 86400 * S);
    assert_int_equal(e->backoff_min, 30 * S / 1000);
    assert_true(e->retry_on_429);
    assert_int_equal(e->sample_age_max, 7200 * S);
    assert_int_equal(e->n_relabels, 2);
    assert_string_equal(e->relabels[0].action, "drop");
    assert_string_equal(e->relabels[1].replacement, "$1");
    assert_string_equal(e->relabels[1].regex, "(.*)");
    assert_string_equal(e->tls.ca_file, "/ca");
    assert_true(e->tls.insecure_skip_verify);
    assert_false(e->has_oauth2 || e->has_sigv4);
    assert_string_equal(e[1].auth_type, "Bearer");
    assert_string_equal(e[1].credentials, "tok");
    assert_int_equal(e[1].timeout, 7 * S);
    loaded_free(&l);
}

/* Secrets of endpoints are read, and never shown. */
static void test_remote_write__credentials(void **state)
{
    struct loaded l;
    struct buf out = BUF_INIT;
    (void)state;
    LOAD(&l,
        STORAGE(
            "{url: 'http://u:hunter2@h/push', proxy_url: 'http://q:hunter2@p:3128', no_proxy: 'a,b',"
            " tls_config: {server_name: other}},"
            " {url: 'https://i', oauth2: {client_id: id, client_secret: hunter2, scopes: [a, b],"
            " token_url: 'https://t/token', endpoint_params: {audience: x}, proxy_url: 'http://u:hunter2@p',"
            " tls_config: {ca_file: /c}}},"
            " {url: 'https://j', sigv4: {region: eu-west-1, access_key: AK, secret_key: hunter2}}"));
    assert_loads(&l);
    const struct config_remote_write *e = l.c->generator.remote_write;
    assert_string_equal(e[0].proxy.url, "http://q:hunter2@p:3128");
    assert_string_equal(e[0].proxy.no_proxy, "a,b");
    assert_string_equal(e[0].tls.server_name, "other");
    assert_true(e[1].has_oauth2);
    assert_string_equal(e[1].oauth2.client_secret, "hunter2");
    assert_string_equal(e[1].oauth2.scopes[1], "b");
    assert_string_equal(e[1].oauth2.params.p[0].value, "x");
    assert_string_equal(e[1].oauth2.tls.ca_file, "/c");
    assert_string_equal(e[1].tls.ca_file, "");
    assert_true(e[2].has_sigv4);
    assert_string_equal(e[2].sigv4.region, "eu-west-1");
    assert_string_equal(e[2].sigv4.secret_key, "hunter2");
    for (enum config_print_mode m = CONFIG_PRINT_ALL; m <= CONFIG_PRINT_DIFF; m++) {
        buf_reset(&out);
        config_print(l.c, m, &out);
        buf_putc(&out, 0);
        assert_null(strstr((const char *)out.p, "hunter2"));
        assert_non_null(strstr((const char *)out.p, "@p:3128")); /* the rest is */
    }
    buf_deinit(&out);
    loaded_free(&l);
}

static void test_remote_write__refusals(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "url for remote_write is empty", STORAGE("{name: x}"));
    ASSERT_FAILS(1, "no http or https URL", STORAGE("{url: 'ftp://x'}"));
    ASSERT_FAILS(1, "Host is a reserved header", STORAGE("{url: 'http://x', headers: {Host: a}}"));
    ASSERT_FAILS(1, "X-Prometheus-Remote-Write-Version is a reserved header",
        STORAGE("{url: 'http://x', headers: {X-Prometheus-Remote-Write-Version: a}}"));
    ASSERT_FAILS(1, "authorization header must be changed via",
        STORAGE("{url: 'http://x', headers: {authorization: a}}"));
    ASSERT_FAILS(
        1, "duplicate remote write configs", STORAGE("{url: 'http://x'}, {url: 'http://x'}"));
    ASSERT_FAILS(
        1, "job name \"n\"", STORAGE("{url: 'http://x', name: n}, {url: 'http://y', name: n}"));
    ASSERT_FAILS(1, "unknown relabel action",
        STORAGE("{url: 'http://x', write_relabel_configs: [{action: explode}]}"));
    ASSERT_FAILS(1, "non-zero modulus",
        STORAGE("{url: 'http://x', write_relabel_configs: [{action: hashmod, target_label: a}]}"));
    ASSERT_FAILS(1, "requires 'target_label'",
        STORAGE("{url: 'http://x', write_relabel_configs: [{regex: a}]}"));
    ASSERT_FAILS(1, "at most one of",
        STORAGE("{url: 'http://x', bearer_token: a, basic_auth: {username: u}}"));
    ASSERT_FAILS(
        1, "oauth2 client_id", STORAGE("{url: 'http://x', oauth2: {token_url: 'http://t'}}"));
    ASSERT_FAILS(1, "oauth2 token_url", STORAGE("{url: 'http://x', oauth2: {client_id: a}}"));
    ASSERT_FAILS(1, "at most one of oauth2 client_secret",
        STORAGE("{url: 'http://x', oauth2: {client_id: a, token_url: 'http://t', client_secret: s,"
                " client_secret_file: f}}"));
    ASSERT_FAILS(1, "at most one of basic_auth",
        STORAGE(
            "{url: 'http://x', bearer_token: t, oauth2: {client_id: a, token_url: 'http://t'}}"));
    ASSERT_FAILS(1, "at most one of basic_auth",
        STORAGE("{url: 'http://x', sigv4: {}, oauth2: {client_id: a, token_url: 'http://t'}}"));
    ASSERT_FAILS(1, "must provide a AWS SigV4 Access key and Secret Key",
        STORAGE("{url: 'http://x', sigv4: {region: r, access_key: a}}"));
    ASSERT_FAILS(1, "sigv4: no keys", STORAGE("{url: 'http://x', sigv4: {region: r}}"));
    ASSERT_FAILS(1, "region not configured",
        STORAGE("{url: 'http://x', sigv4: {access_key: a, secret_key: s}}"));
    ASSERT_FAILS(1, "is no region",
        STORAGE("{url: 'http://x', sigv4: {region: 'a:b', access_key: a, secret_key: s}}"));
    ASSERT_FAILS(1, "remote_write.sigv4.role_arn: roles are not assumed",
        STORAGE("{url: 'http://x', sigv4: {role_arn: r}}"));
    ASSERT_FAILS(1, "remote_write.azuread: not supported: let",
        STORAGE("{url: 'http://x', azuread: {cloud: AzurePublic}}"));
    ASSERT_FAILS(1, "if proxy_from_environment is configured, proxy_url",
        STORAGE("{url: 'http://x', proxy_url: 'http://p', proxy_from_environment: true}"));
    ASSERT_FAILS(1, "if no_proxy is configured", STORAGE("{url: 'http://x', no_proxy: a}"));
    ASSERT_FAILS(1, "proxy_url is no", STORAGE("{url: 'http://x', proxy_url: 'ftp://p'}"));
    ASSERT_FAILS(1, "field urll not found", STORAGE("{urll: 'http://x'}"));
    ASSERT_FAILS(1, "invalid limiter type: both, valid values are series and entity",
        LOCAL "metrics_generator: {limiter_type: both}\n");
    ASSERT_FAILS(1, "host_identifiers",
        LOCAL "metrics_generator: {processor: {host_info: {host_identifiers: []}}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator__defaults),
        cmocka_unit_test(test_generator__an_entry_lies_over_the_block),
        cmocka_unit_test(test_generator__bad_entries),
        cmocka_unit_test(test_remote_write__values),
        cmocka_unit_test(test_remote_write__credentials),
        cmocka_unit_test(test_remote_write__refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
