/* SPDX-License-Identifier: Apache-2.0
 * Files: strict decoding with Tempo's texts, values, printing, the start without a file. */
#include "config_util.h"

static void test_load__without_a_file_a_week_is_kept(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, NULL);
    assert_loads(&l);
    assert_string_equal(l.c->local_path, "./data/blocks");
    assert_string_equal(l.c->wal_path, "./data/wal");
    assert_int_equal(l.c->retention, 168 * 3600 * 1000000000LL);
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_GRPC].n, 1);
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_GRPC].p[0].endpoint, "0.0.0.0:4317");
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_HTTP].n, 1);
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_HTTP].p[0].endpoint, "0.0.0.0:4318");
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_HTTP].p[0].traces_url_path, "/v1/traces");
    assert_int_equal(l.c->server.http_listen_port, 3200);
    assert_int_equal(l.c->server.grpc_listen_port, 9095);
    assert_string_equal(l.c->server.grpc_listen_address, "localhost");
    assert_true(l.c->stream_over_http);
    assert_int_equal(l.c->query_end_cutoff, 0);
    assert_int_equal(l.c->n_warnings, 0);
    assert_true(l.c->memory_budget >= 64u << 20);
    loaded_free(&l);
}

static void test_load__empty_file_needs_a_backend(void **state)
{
    struct loaded l;
    (void)state;
    ASSERT_FAILS(
        1, "error initialising module: store: failed to create store: unknown backend ", "");
    ASSERT_FAILS(1, "mkdir : no such file or directory", "storage: {trace: {backend: local}}");
    ASSERT_FAILS(1, "backend s3 is not supported", "storage: {trace: {backend: s3}}");
    LOAD(&l, "", "-storage.trace.backend=local", "-storage.trace.local.path=/d",
        "-storage.trace.wal.path=/w");
    assert_loads(&l);
    assert_int_equal(l.c->server.http_listen_port, 3200);
    assert_string_equal(l.c->wal_path, "/w");
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_GRPC].p[0].endpoint,
        "localhost:4317"); /* loopback, as Tempo */
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_HTTP].p[0].endpoint, "localhost:4318");
    assert_string_equal(l.c->receivers[RECEIVER_JAEGER_GRPC].p[0].endpoint, "localhost:14250");
    assert_string_equal(l.c->receivers[RECEIVER_JAEGER_HTTP].p[0].endpoint, "localhost:14268");
    assert_int_equal(l.c->receivers[RECEIVER_ZIPKIN].n, 0);
    assert_int_equal(l.c->retention, 336 * 3600 * 1000000000LL);
    loaded_free(&l);
}

static void test_load__missing_file(void **state)
{
    (void)state;
    ASSERT_FAILS(1,
        "failed parsing config: failed to read configFile /nonexistent/c.yaml: open /nonexistent/c.yaml: no such file or directory",
        NULL, "-config.file=/nonexistent/c.yaml");
    ASSERT_FAILS(1, "is a directory", NULL, "-config.file=/");
}

static void test_load__unknown_keys_are_reported_together(void **state)
{
    (void)state;
    ASSERT_FAILS(1,
        "c.yaml: yaml: unmarshal errors:\n"
        "  line 1: field zz not found in type app.Config\n"
        "  line 3: field http_port not found in type server.Config\n"
        "  line 6: field concurent_jobs not found in type frontend.SearchConfig hint: did you mean \"concurrent_jobs\"?",
        "zz: 1\nserver:\n  http_port: 2\nquery_frontend:\n  search:\n    concurent_jobs: 5\n");
}

static void test_load__type_names_of_blocks(void **state)
{
    static const struct {
        const char *path, *type;
    } rows[] = {{"server", "server.Config"}, {"internal_server", "server.Config"},
        {"distributor", "distributor.Config"}, {"distributor.ring", "distributor.RingConfig"},
        {"distributor.ring.kvstore", "kv.Config"},
        {"distributor.log_received_spans", "distributor.LogSpansConfig"},
        {"querier", "querier.Config"}, {"querier.search", "querier.SearchConfig"},
        {"querier.trace_by_id", "querier.TraceByIDConfig"},
        {"querier.frontend_worker", "worker.Config"}, {"query_frontend", "frontend.Config"},
        {"query_frontend.search", "frontend.SearchConfig"},
        {"query_frontend.trace_by_id", "frontend.TraceByIDConfig"},
        {"query_frontend.metrics", "frontend.MetricsConfig"},
        {"query_frontend.mcp_server", "frontend.MCPServerConfig"},
        {"metrics_generator", "generator.Config"}, {"storage", "storage.Config"},
        {"storage.trace", "tempodb.Config"}, {"storage.trace.wal", "wal.Config"},
        {"storage.trace.block", "common.BlockConfig"}, {"storage.trace.local", "local.Config"},
        {"storage.trace.s3", "s3.Config"}, {"storage.trace.s3.sse", "s3.SSEConfig"},
        {"storage.trace.gcs", "gcs.Config"}, {"storage.trace.azure", "azure.Config"},
        {"storage.trace.search", "tempodb.SearchConfig"}, {"memberlist", "memberlist.KVConfig"},
        {"usage_report", "usagestats.Config"}, {"cache", "cache.Config"},
        {"backend_scheduler", "backendscheduler.Config"},
        {"backend_scheduler.provider", "provider.Config"},
        {"backend_scheduler.provider.compaction", "provider.CompactionConfig"},
        {"backend_scheduler.provider.compaction.compaction", "tempodb.CompactorConfig"},
        {"backend_worker", "backendworker.Config"}, {"live_store", "livestore.Config"},
        {"ingest", "ingest.Config"}, {"ingest.kafka", "ingest.KafkaConfig"},
        {"block_builder", "blockbuilder.Config"}, {"memory", "app.MemoryConfig"},
        {"overrides", "overrides.legacyConfig"}};
    char yaml[400], expected[200];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str rest = str_from(rows[i].path);
        size_t n = 0, depth = 0;
        while (rest.n > 0) {
            struct str part = str_cut(rest, '.', &rest);
            n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "{%.*s: ", STR_ARG(part));
            depth++;
        }
        n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "{qqqqqqq: 1}");
        while (depth-- > 0)
            n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "}");
        snprintf(
            expected, sizeof(expected), "line 1: field qqqqqqq not found in type %s", rows[i].type);
        ASSERT_FAILS(1, expected, yaml);
    }
}

static void test_load__duplicate_keys(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "line 3: field query_frontend already set in type app.Config",
        "query_frontend: {}\nserver: {}\nquery_frontend: {}\n");
    ASSERT_FAILS(1, "key \"a\" already set in map", "distributor: {receivers: {a: 1, a: 2}}\n");
}

static void test_load__bad_values(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "line 2: cannot unmarshal !!str `5x` into time.Duration",
        "querier:\n  search: {query_timeout: 5x}\n");
    ASSERT_FAILS(1, "cannot unmarshal !!str `7d` into time.Duration",
        "querier: {search: {query_timeout: 7d}}\n");
    ASSERT_FAILS(1, "cannot unmarshal !!str `500000` into uint64",
        "ingester: {max_block_bytes: \"500000\"}\n");
    ASSERT_FAILS(1, "cannot unmarshal !!str `true` into bool", "multitenancy_enabled: \"true\"\n");
    ASSERT_FAILS(1, "cannot unmarshal !!seq into app.Config", "[1]\n");
    ASSERT_FAILS(1, "cannot unmarshal !!str `text` into app.Config", "text\n");
    ASSERT_FAILS(1, "cannot unmarshal !!map into string", "target: {a: 1}\n");
    ASSERT_FAILS(
        1, "cannot unmarshal !!str `a` into []string", "query_frontend: {url_deny_list: a}\n");
    ASSERT_FAILS(1, "cannot unmarshal !!seq into server.Config", "server: [1]\n");
    ASSERT_FAILS(1, "cannot unmarshal !!map into []cache.CacheConfig", "cache: {caches: {a: 1}}\n");
    ASSERT_FAILS(1, "control characters", "target: \"a\\0b\"\n");
    ASSERT_FAILS(1, "c.yaml: yaml: line 2: mapping values are not allowed in this context",
        "target: all\nserver: a: b\n");
}

static void test_load__accepted_forms(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "multitenancy_enabled: yes\nmetrics_generator:\ningester: {max_block_bytes: 0x100000}\n"
        "query_frontend: {search: {max_result_limit: 1_000}}\nquerier: {search: {query_timeout: 1h30m}}\n");
    assert_loads(&l);
    assert_true(l.c->multitenancy);
    assert_int_equal(l.c->block_bytes_max, 1 << 20);
    assert_int_equal(l.c->search_max_limit, 1000);
    assert_int_equal(l.c->search_timeout, 5400 * 1000000000LL);
    loaded_free(&l);
    LOAD(&l, LOCAL "ingester: {max_block_bytes: 1.5e+07}\n");
    assert_loads(&l);
    assert_int_equal(l.c->block_bytes_max, 15000000);
    loaded_free(&l);
    LOAD(&l, LOCAL "query_frontend: {query_end_cutoff: -5m}\n"); /* Tempo: into the future */
    assert_loads(&l);
    assert_int_equal(l.c->query_end_cutoff, 0);
    loaded_free(&l);
    LOAD(&l, "x: &s {trace: {backend: local, local: {path: /b}, wal: {path: /w}}}\n");
    assert_int_equal(l.ec, EC_INVALID); /* x is no key */
    loaded_free(&l);
    LOAD(&l, LOCAL
        "live_store: &t {max_trace_idle: 7s}\nserver: {http_listen_address: &a '::1', grpc_listen_address: *a}\n");
    assert_loads(&l);
    assert_string_equal(l.c->server.grpc_listen_address, "::1");
    loaded_free(&l);
}

static void test_load__numbers_must_fit(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "server.http_listen_port must not be negative, got -1",
        LOCAL "server: {http_listen_port: -1}\n");
    ASSERT_FAILS(1, "invalid port 65536", LOCAL "server: {http_listen_port: 65536}\n");
    ASSERT_FAILS(1, "must not be over 4294967295",
        LOCAL "query_frontend: {max_outstanding_per_tenant: 4294967296}\n");
    ASSERT_FAILS(1, "query_frontend.api_timeout must not be negative",
        LOCAL "query_frontend: {api_timeout: -1s}\n");
}

static void test_load__file_size_is_bounded(void **state)
{
    struct loaded l;
    size_t n = 4u << 20;
    char *text = malloc(n + 2);
    (void)state;
    assert_non_null(text);
    memset(text, '\n', n + 1);
    memcpy(text, LOCAL, strlen(LOCAL));
    text[n] = 0;
    LOAD(&l, text);
    assert_loads(&l);
    loaded_free(&l);
    text[n] = '\n';
    text[n + 1] = 0;
    ASSERT_FAILS(1, "is over 4194304 bytes", text);
    free(text);
}

static void test_load__long_reports_are_cut_at_lines(void **state)
{
    struct loaded l;
    struct buf b = BUF_INIT;
    (void)state;
    for (int i = 0; i < 300; i++)
        buf_printf(&b, "unknown_key_number_%d: 1\n", i);
    buf_putc(&b, 0);
    LOAD(&l, (char *)b.p);
    assert_int_equal(l.exit_code, 1);
    assert_has(err_msg(&l.err), "line 1: field unknown_key_number_0 not found");
    assert_has(err_msg(&l.err), "type app.Config\n  and more");
    loaded_free(&l);
    buf_deinit(&b);
}

/* ---- printing ---- */

static void test_print__diff_has_only_what_was_set(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "backend_worker: {compaction: {block_retention: 1h}}\nserver: {http_listen_port: 3200, log_level: debug}\n");
    assert_loads(&l);
    char *text = printed(l.c, CONFIG_PRINT_DIFF);
    assert_string_equal(text,
        "server:\n    log_level: debug\n"
        "storage:\n    trace:\n        wal:\n            path: /w\n"
        "        backend: local\n        local:\n            path: /b\n"
        "backend_worker:\n    compaction:\n        block_retention: 1h0m0s\n");
    free(text);
    loaded_free(&l);
}

static void test_print__all_shows_effective_values(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "ingester: {trace_idle_period: 9s}\ncompactor: {compaction: {block_retention: 100h}}\n");
    assert_loads(&l);
    char *text = printed(l.c, CONFIG_PRINT_ALL);
    assert_has(text, "    max_trace_idle: 9s\n");
    assert_has(text, "ingester:\n    trace_idle_period: 9s\n");
    assert_has(text, "backend_worker:\n    backend_scheduler_addr: \"\"\n");
    const char *worker = strstr(text, "\nbackend_worker:\n");
    assert_non_null(worker);
    assert_has(worker, "        block_retention: 100h0m0s\n");
    free(text);
    text = printed(l.c, CONFIG_PRINT_DEFAULTS);
    assert_has(text, "    max_trace_idle: 5s\n");
    assert_null(strstr(text, "ingester:"));
    assert_null(strstr(text, "path: /b"));
    free(text);
    loaded_free(&l);
}

static void test_print__can_be_loaded_again(void **state)
{
    struct loaded l, again;
    (void)state;
    LOAD(&l, LOCAL
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:1'}}}}}\n"
        "query_frontend: {url_deny_list: ['a: b', \"x\\ny\", yes]}\nhttp_api_prefix: /a\\b\n");
    assert_loads(&l);
    char *text = printed(l.c, CONFIG_PRINT_ALL);
    LOAD(&again, text);
    assert_loads(&again);
    char *second = printed(again.c, CONFIG_PRINT_ALL);
    assert_string_equal(text, second);
    assert_string_equal(again.c->url_deny_list[1], "x\ny");
    free(text);
    free(second);
    loaded_free(&l);
    loaded_free(&again);
}

static void test_print__secrets_are_masked(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l,
        LOCAL
        "metrics_generator:\n  storage:\n    path: /g\n    remote_write:\n"
        "      - url: http://p\n        headers: {X-Key: hunter2}\n"
        "        basic_auth: {username: u, password: hunter2}\n"
        "      - url: http://q\n        basic_auth: {username: u, password_file: /f}\n"
        "      - url: http://r\n        bearer_token: hunter2\n"
        "overrides:\n  defaults:\n    storage: {parquet_dedicated_columns: [{name: '-----BEGIN PRIVATE KEY----- hunter2'}]}\n"
        "distributor: {ring: {kvstore: {consul: {acl_token: hunter2}}}, receivers: {otlp: {protocols: {http: {cors: {allowed_headers: [x-shown]}}, grpc: {tls: {cert_pem: c, key_pem: hunter2}}}}}}\n",
        "-storage.trace.s3.secret_key=hunter2", "-storage.trace.s3.session_token=hunter2",
        "-storage.trace.s3.access_key=visible");
    assert_loads(&l);
    for (int mode = CONFIG_PRINT_ALL; mode <= CONFIG_PRINT_DIFF; mode++) {
        char *text = printed(l.c, (enum config_print_mode)mode);
        assert_null(strstr(text, "hunter2"));
        assert_has(text, "secret_key: '********'");
        assert_has(text, "access_key: visible");
        assert_has(text, "password_file: /f");
        assert_has(text, "- x-shown"); /* names of headers are no secret */
        free(text);
    }
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load__without_a_file_a_week_is_kept),
        cmocka_unit_test(test_load__empty_file_needs_a_backend),
        cmocka_unit_test(test_load__missing_file),
        cmocka_unit_test(test_load__unknown_keys_are_reported_together),
        cmocka_unit_test(test_load__type_names_of_blocks),
        cmocka_unit_test(test_load__duplicate_keys),
        cmocka_unit_test(test_load__bad_values),
        cmocka_unit_test(test_load__accepted_forms),
        cmocka_unit_test(test_load__numbers_must_fit),
        cmocka_unit_test(test_load__file_size_is_bounded),
        cmocka_unit_test(test_load__long_reports_are_cut_at_lines),
        cmocka_unit_test(test_print__diff_has_only_what_was_set),
        cmocka_unit_test(test_print__all_shows_effective_values),
        cmocka_unit_test(test_print__can_be_loaded_again),
        cmocka_unit_test(test_print__secrets_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
