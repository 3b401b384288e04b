/* SPDX-License-Identifier: Apache-2.0
 * Settings with several sources, receivers, what is refused, what is warned about. */
#include "config_util.h"

#define HOUR (3600 * 1000000000LL)
#define S    1000000000LL
#define SCHEDULER(h) \
    "backend_scheduler: {provider: {compaction: {compaction: {block_retention: " h "}}}}\n"
#define WORKER(h)    "backend_worker: {compaction: {block_retention: " h "}}\n"
#define COMPACTOR(h) "compactor: {compaction: {block_retention: " h "}}\n"

static void test_resolve__retention_sources(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL WORKER("1h") SCHEDULER("2h") COMPACTOR("3h"));
    assert_loads(&l);
    assert_int_equal(l.c->retention, HOUR);
    assert_string_equal(l.c->retention_source, "backend_worker.compaction.block_retention");
    assert_int_equal(l.c->n_warnings, 2);
    assert_int_equal(count_warnings(l.c, "compactor.compaction.block_retention"), 1);
    assert_int_equal(
        count_warnings(l.c, "backend_scheduler.provider.compaction.compaction.block_retention"), 1);
    loaded_free(&l);

    LOAD(&l, LOCAL SCHEDULER("2h"));
    assert_loads(&l);
    assert_int_equal(l.c->retention, 2 * HOUR);
    assert_int_equal(l.c->n_warnings, 0);
    loaded_free(&l);

    LOAD(&l, LOCAL COMPACTOR("168h"));
    assert_loads(&l);
    assert_int_equal(l.c->retention, 168 * HOUR);
    assert_string_equal(l.c->retention_source, "compactor.compaction.block_retention");
    loaded_free(&l);

    LOAD(&l, LOCAL);
    assert_loads(&l);
    assert_int_equal(l.c->retention, 336 * HOUR);
    assert_string_equal(l.c->retention_source, "default");
    loaded_free(&l);

    LOAD(&l, LOCAL WORKER("2h") COMPACTOR("2h")); /* the same value: nobody loses */
    assert_loads(&l);
    assert_int_equal(l.c->n_warnings, 0);
    loaded_free(&l);
}

static void test_resolve__retention_of_nothing_is_refused(void **state)
{
    (void)state;
    ASSERT_FAILS(1, "block_retention must be greater than 0", LOCAL WORKER("0s"));
    ASSERT_FAILS(1, "block_retention must be greater than 0", LOCAL SCHEDULER("-1h"));
    ASSERT_FAILS(1, "block_retention must be greater than 0", LOCAL COMPACTOR("0"));
}

static void test_resolve__both_shapes_together(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "ingester: {trace_idle_period: 30s, max_block_duration: 2m, max_block_bytes: 500_000, concurrent_flushes: 3, flush_all_on_shutdown: true}\n"
        "live_store: {max_trace_idle: 7s, max_trace_live: 8s}\ncompactor: {compaction: {compaction_window: 2h, max_block_bytes: 5}}\nbackend_worker: {}\n");
    assert_loads(&l);
    assert_int_equal(l.c->trace_idle, 7 * S);
    assert_int_equal(l.c->trace_live, 8 * S);
    assert_int_equal(l.c->block_age_max, 120 * S);
    assert_int_equal(l.c->block_bytes_max, 500000);
    assert_int_equal(l.c->block_workers, 3);
    assert_true(l.c->flush_all_on_shutdown);
    assert_int_equal(l.c->compaction_window, 2 * HOUR);
    assert_int_equal(l.c->compaction_bytes_max, 5);
    assert_int_equal(count_warnings(l.c, "ingester.trace_idle_period"), 1);
    loaded_free(&l);
}

static void test_resolve__wal_directory(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "live_store: {wal: {path: /live}}\n");
    assert_loads(&l);
    assert_string_equal(l.c->wal_path, "/live");
    loaded_free(&l);
    LOAD(&l, "storage: {trace: {backend: local, local: {path: /b}}}\n");
    assert_loads(&l);
    assert_string_equal(l.c->wal_path, "/var/tempo/wal");
    loaded_free(&l);
}

static void test_resolve__compaction_off(void **state)
{
    static const char *const ways[] = {LOCAL "compactor: {disabled: true}\n",
        LOCAL "backend_scheduler: {provider: {compaction: {max_input_blocks: 0}}}\n"};
    struct loaded l;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        LOAD(&l, ways[i]);
        assert_loads(&l);
        assert_true(l.c->compaction_disabled);
        loaded_free(&l);
    }
}

static void test_resolve__timeouts_take_the_shorter(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL);
    assert_loads(&l);
    assert_int_equal(l.c->search_timeout, 30 * S);
    assert_int_equal(l.c->trace_timeout, 10 * S);
    loaded_free(&l);
    LOAD(&l, LOCAL
        "query_frontend: {search: {timeout: 3s}, trace_by_id: {timeout: 1m}, metrics: {timeout: 4s}, api_timeout: 9s}\nquerier: {trace_by_id: {query_timeout: 0s}}\n");
    assert_loads(&l);
    assert_int_equal(l.c->search_timeout, 3 * S);
    assert_int_equal(l.c->trace_timeout, 60 * S);
    assert_int_equal(l.c->metrics_timeout, 4 * S);
    assert_int_equal(l.c->api_timeout, 9 * S);
    loaded_free(&l);
}

static void test_resolve__durability(void **state)
{
    static const char *const bad[] = {
        "", "always", "interval", "interval:", "interval:-1s", "interval:0s"};
    struct loaded l;
    char text[200];
    (void)state;
    snprintf(text, sizeof(text),
        "storage: {trace: {backend: local, local: {path: /b}, wal: {path: /w, durability: '%s'}}}\n",
        "interval:100ms");
    LOAD(&l, text);
    assert_loads(&l);
    assert_string_equal(l.c->durability, "interval");
    assert_int_equal(l.c->durability_interval, S / 10);
    loaded_free(&l);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof(text),
            "storage: {trace: {backend: local, local: {path: /b}, wal: {path: /w, durability: '%s'}}}\n",
            bad[i]);
        ASSERT_FAILS(1, "durability", text);
    }
}

static void test_resolve__api_prefix(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "http_api_prefix: tempo/\n");
    assert_loads(&l);
    assert_string_equal(l.c->http_api_prefix, "/tempo");
    assert_int_equal(count_warnings(l.c, "http_api_prefix"), 1);
    assert_false(fails_verify(l.c));
    loaded_free(&l);
    LOAD(&l, LOCAL "http_api_prefix: /\n");
    assert_loads(&l);
    assert_string_equal(l.c->http_api_prefix, "");
    loaded_free(&l);
}

static void test_resolve__memory(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "memory: {budget_bytes: 200_000_000}\n");
    assert_loads(&l);
    assert_int_equal(l.c->memory_budget, 200000000);
    loaded_free(&l);
    setenv("GOMEMLIMIT", "400MiB", 1);
    LOAD(&l, LOCAL);
    assert_loads(&l);
    assert_int_equal(l.c->memory_budget, 400u << 20);
    loaded_free(&l);
    setenv("GOMEMLIMIT", "off", 1);
    LOAD(&l, LOCAL);
    assert_loads(&l);
    assert_true(l.c->memory_budget <= 1u << 30);
    loaded_free(&l);
    unsetenv("GOMEMLIMIT");
}

static void test_resolve__targets(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "target: scalable-single-binary\n");
    assert_loads(&l);
    assert_string_equal(l.c->target, "all");
    assert_int_equal(count_warnings(l.c, "target"), 1);
    loaded_free(&l);
    ASSERT_FAILS(
        1, "failed to init module services: unrecognised module name: foo", LOCAL "target: foo\n");
    ASSERT_FAILS(1, "only target all is supported", LOCAL "target: ingester\n");
}

/* ---- receivers ---- */

#define RECEIVERS(text) LOCAL "distributor: {receivers: {" text "}}\n"

static void test_receivers__settings(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l,
        RECEIVERS(
            "otlp: {protocols: {grpc: {endpoint: '0.0.0.0:1', max_recv_msg_size_mib: 8, max_concurrent_streams: 5, keepalive: {server_parameters: {time: 3s}}}, "
            "http: {endpoint: 'h:2', traces_url_path: t, max_request_body_size: 9, cors: {allowed_origins: ['*', a], max_age: 7}, tls: {cert_file: c, key_file: k, client_ca_file: a, cipher_suites: [X, Y]}}}}, "
            "otlp/two: {protocols: {grpc: }}"));
    assert_loads(&l);
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_GRPC].n, 2);
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_HTTP].n, 1);
    const struct config_receiver *g = &l.c->receivers[RECEIVER_OTLP_GRPC].p[0],
                                 *h = &l.c->receivers[RECEIVER_OTLP_HTTP].p[0];
    assert_string_equal(g->id, "otlp");
    assert_string_equal(g->endpoint, "0.0.0.0:1");
    assert_int_equal(g->max_recv_msg_bytes, 8u << 20);
    assert_int_equal(g->max_concurrent_streams, 5);
    assert_int_equal(g->keepalive_time, 3 * S);
    assert_int_equal(g->keepalive_timeout, 20 * S);
    assert_false(g->tls.set);
    assert_string_equal(h->traces_url_path, "/t");
    assert_int_equal(h->max_request_body_size, 9);
    assert_string_equal(h->cors_allowed_origins[1], "a");
    assert_null(h->cors_allowed_origins[2]);
    assert_int_equal(h->cors_max_age_s, 7);
    assert_true(h->tls.set);
    assert_string_equal(h->tls.client_ca_file, "a");
    assert_string_equal(h->tls.cipher_suites, "X,Y");
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_GRPC].p[1].id, "otlp/two");
    assert_string_equal(l.c->receivers[RECEIVER_OTLP_GRPC].p[1].endpoint, "localhost:4317");
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_GRPC].p[1].max_recv_msg_bytes, 4u << 20);
    loaded_free(&l);
}

static const struct config_receiver *one(const struct config *c, enum receiver_kind kind)
{
    assert_int_equal(c->receivers[kind].n, 1);
    return &c->receivers[kind].p[0];
}

static void test_receivers__a_named_protocol_has_its_defaults(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l,
        RECEIVERS(
            "jaeger: {protocols: {grpc: , thrift_http: , thrift_compact: , thrift_binary: }}, zipkin: "));
    assert_loads(&l);
    assert_int_equal(l.c->n_warnings, 0);
    assert_int_equal(l.c->receivers[RECEIVER_OTLP_GRPC].n, 0);
    const struct config_receiver *r = one(l.c, RECEIVER_JAEGER_GRPC);
    assert_string_equal(r->endpoint, "localhost:14250");
    assert_int_equal(r->max_recv_msg_bytes, 4u << 20);
    r = one(l.c, RECEIVER_JAEGER_HTTP);
    assert_string_equal(r->endpoint, "localhost:14268");
    assert_int_equal(r->max_request_body_size, 20u << 20);
    r = one(l.c, RECEIVER_JAEGER_COMPACT);
    assert_string_equal(r->endpoint, "localhost:6831");
    assert_int_equal(r->max_packet_size, 65000);
    assert_int_equal(r->socket_buffer_size, 0);
    assert_string_equal(one(l.c, RECEIVER_JAEGER_BINARY)->endpoint, "localhost:6832");
    r = one(l.c, RECEIVER_ZIPKIN);
    assert_string_equal(r->endpoint, "localhost:9411");
    assert_false(r->parse_string_tags);
    loaded_free(&l);
}

static void test_receivers__every_key_takes_effect(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, RECEIVERS(
                 "opencensus: , jaeger/a: {protocols: {thrift_http: {endpoint: 'a:1', cors: {"
                 "allowed_origins: [x]}}, thrift_compact: {endpoint: 'a:3', max_packet_size: "
                 "65535, socket_buffer_size: 7, workers: 3}}, remote_sampling: {x: 1}}, zipkin/b: {"
                 "endpoint: 'a:2', parse_string_tags: true, max_request_body_size: 9, tls: {"
                 "cert_file: c, key_file: k}}"));
    assert_loads(&l);
    assert_int_equal(l.c->n_warnings, 1);
    assert_int_equal(count_warnings(l.c, "distributor.receivers.opencensus"), 1);
    const struct config_receiver *r = one(l.c, RECEIVER_JAEGER_HTTP);
    assert_string_equal(r->id, "jaeger/a");
    assert_string_equal(r->endpoint, "a:1");
    assert_string_equal(r->cors_allowed_origins[0], "x");
    r = one(l.c, RECEIVER_JAEGER_COMPACT);
    assert_string_equal(r->endpoint, "a:3");
    assert_int_equal(r->max_packet_size, 65535);
    assert_int_equal(r->socket_buffer_size, 7);
    r = one(l.c, RECEIVER_ZIPKIN);
    assert_string_equal(r->endpoint, "a:2");
    assert_true(r->parse_string_tags);
    assert_int_equal(r->max_request_body_size, 9);
    assert_string_equal(r->tls.key_file, "k");
    assert_false(fails_verify(l.c));
    loaded_free(&l);
}

static void test_receivers__packets_have_no_tenant(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, "multitenancy_enabled: true\n" RECEIVERS(
                 "jaeger: {protocols: {thrift_compact: , grpc: }}"));
    assert_loads(&l);
    assert_int_equal(
        count_warnings(l.c, "distributor.receivers.jaeger.protocols.thrift_compact"), 1);
    assert_int_equal(l.c->n_warnings, 1);
    assert_false(fails_verify(l.c));
    loaded_free(&l);
}

static void test_receivers__mistakes(void **state)
{
    (void)state;
    ASSERT_FAILS(1,
        "unknown type: \"foo\" for id: \"foo/x\" (valid values: [jaeger zipkin otlp kafka])",
        RECEIVERS("foo/x: {}"));
    ASSERT_FAILS(1, "kafka receiver is not supported", RECEIVERS("kafka: {}"));
    ASSERT_FAILS(1, "cannot unmarshal the configuration: decoding failed",
        RECEIVERS("otlp: {protocols: {grpc: {endpont: 'a:1'}}}"));
    ASSERT_FAILS(1, "has invalid keys: endpont hint: did you mean \"endpoint\"?",
        RECEIVERS("otlp: {protocols: {grpc: {endpont: 'a:1'}}}"));
    ASSERT_FAILS(
        1, "must specify at least one protocol when using the OTLP receiver", RECEIVERS("otlp: "));
    ASSERT_FAILS(1, "must specify at least one protocol when using the Jaeger receiver",
        RECEIVERS("jaeger: {protocols: }"));
    ASSERT_FAILS(1, "has invalid keys: http", RECEIVERS("jaeger: {protocols: {http: }}"));
    ASSERT_FAILS(1, "has invalid keys: traces_url_path",
        RECEIVERS("jaeger: {protocols: {thrift_http: {traces_url_path: /x}}}"));
    ASSERT_FAILS(1, "has invalid keys: protocols", RECEIVERS("zipkin: {protocols: }"));
    ASSERT_FAILS(1, "host:port expected", RECEIVERS("zipkin: {endpoint: nowhere}"));
    ASSERT_FAILS(1, "max_packet_size",
        RECEIVERS("jaeger: {protocols: {thrift_binary: {max_packet_size: 0}}}"));
    ASSERT_FAILS(1, "max_packet_size",
        RECEIVERS("jaeger: {protocols: {thrift_binary: {max_packet_size: 65536}}}"));
    ASSERT_FAILS(1, "socket_buffer_size",
        RECEIVERS("jaeger: {protocols: {thrift_binary: {socket_buffer_size: 1073741825}}}"));
    ASSERT_FAILS(1, "failed to resolve auth", RECEIVERS("zipkin: {auth: {authenticator: a}}"));
    ASSERT_FAILS(1, "id is longer than 64 bytes",
        RECEIVERS("otlp/12345678901234567890123456789012345678901234567890123456789012345: "));
    ASSERT_FAILS(1, "must specify at least one protocol", RECEIVERS("otlp: {protocols: {}}"));
    ASSERT_FAILS(
        1, "host:port expected", RECEIVERS("otlp: {protocols: {grpc: {endpoint: nowhere}}}"));
    ASSERT_FAILS(
        1, "host:port expected", RECEIVERS("otlp: {protocols: {grpc: {endpoint: 'a:65536'}}}"));
    ASSERT_FAILS(1, "provide both certificate and key",
        RECEIVERS("otlp: {protocols: {grpc: {tls: {cert_file: c}}}}"));
    ASSERT_FAILS(1, "max_recv_msg_size_mib",
        RECEIVERS("otlp: {protocols: {grpc: {max_recv_msg_size_mib: -1}}}"));
    ASSERT_FAILS(1, "failed to resolve auth",
        RECEIVERS("otlp: {protocols: {grpc: {auth: {authenticator: a}}}}"));
    ASSERT_FAILS(1, "expected a map", LOCAL "distributor: {receivers: [otlp]}\n");
    ASSERT_FAILS(1, "over 8 receivers",
        RECEIVERS(
            "otlp/1: {protocols: {grpc: }}, otlp/2: {protocols: {grpc: }}, otlp/3: {protocols: {grpc: }}, otlp/4: {protocols: {grpc: }}, otlp/5: {protocols: {grpc: }}, otlp/6: {protocols: {grpc: }}, otlp/7: {protocols: {grpc: }}, otlp/8: {protocols: {grpc: }}, otlp/9: {protocols: {grpc: }}"));
}

/* ---- refused ---- */

static void test_validate__refused_values(void **state)
{
    static const struct {
        const char *yaml, *text;
    } rows[] = {
        {"server: {log_level: loud}", "unrecognized log level \"loud\""},
        {"query_frontend: {query_end_cutoff: 20m}",
            "error initialising module: query-frontend: QueryBackendAfter (15m0s) must be greater than query end cutoff (20m0s)"},
        {"query_frontend: {trace_by_id: {query_shards: 1}}",
            "frontend query shards should be between 2 and 100000 (both inclusive)"},
        {"query_frontend: {url_deny_list: ['(']}", "invalid regular expression"},
        {"live_store: {max_trace_idle: 0}",
            "live_store.max_trace_idle must be greater than 0, got 0s"},
        {"live_store: {max_block_bytes: 0}",
            "live_store.max_block_bytes must be greater than 0, got 0"},
        {"ingester: {max_block_duration: -1s}",
            "ingester.max_block_duration must be greater than 0, got -1s"},
        {"server: {http_tls_config: {cert_file: c, key_file: k, client_auth_type: Maybe}}",
            "invalid TLS client auth type: Maybe"},
        {"server: {http_tls_config: {cert_file: c}}", "TLS certificate without a key"},
        {"server: {grpc_tls_config: {cert_file: c, key_file: k, client_ca_file: a, client_auth_type: NoClientCert}}",
            "without a Client Auth Policy"},
        {"server: {tls_cipher_suites: NOPE}", "cipher suite not recognized: NOPE"},
        {"server: {tls_min_version: TLS12}", "TLS version TLS12 not recognized"},
        {"server: {proxy_protocol_enabled: true}", "server.proxy_protocol_enabled"},
        {"distributor: {kafka_write_path_enabled: true}", "kafka_write_path_enabled"},
        {"distributor: {forwarders: [{backend: otlpgrpc}]}",
            "failed to validate config at index=0: name is empty"},
        {"distributor: {forwarders: [{name: a}]}",
            "failed to validate config at index=0:  backend is not supported"},
        {"distributor: {forwarders: [{name: a, backend: otlpgrpc}]}", "cert_file is empty"},
        {"distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {endpoints: [x], tls: {insecure: true}}}]}",
            "\"x\" is no host:port"},
        {"distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}, filter: {traces: {span: [x]}}}]}",
            "conditions in OTTL are not supported"},
        {"overrides: {defaults: {cost_attribution: {dimensions: {a.b: x, c: x}}}}",
            "duplicate label name: 'x', both 'a.b' and 'c' map to it"},
        {"ingest: {enabled: true}", "ingest.enabled"},
        {"overrides: {user_configurable_overrides: {enabled: true, client: {backend: s3}}}",
            "client.backend: s3 is not supported"},
        {"overrides: {max_traces_per_user: 1, defaults: {}}", "flat and of the scoped shape"},
        {"overrides: {defaults: {ingestion: {rate_strategy: fast}}}",
            "unknown ingestion rate strategy \"fast\""},
        {"overrides: {defaults: {zz: 1}}",
            "unknown extension key \"zz\": must be registered via RegisterExtension before use"},
        {"overrides: {zz: 1}", "field zz not found in type overrides.legacyConfig"},
        {"cache: {caches: [{roles: [bloom], memcached: {}}, {roles: [bloom], redis: {}}]}",
            "role bloom is claimed by more than one cache"},
        {"cache: {caches: [{roles: [blom], memcached: {}}]}", "role blom is not a valid role"},
        {"cache: {caches: [{roles: [], memcached: {}}]}", "require a valid role"},
        {"cache: {caches: [{roles: [bloom]}]}", "needs one of memcached and redis"},
        {"cache: {caches: [{roles: [bloom], memcached: {}, redis: {}}]}", "only have one of"},
    };
    char yaml[400];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof(yaml), LOCAL "%s\n", rows[i].yaml);
        ASSERT_FAILS(1, rows[i].text, yaml);
    }
}

static void test_validate__refused_storage(void **state)
{
    static const struct {
        const char *yaml, *text;
    } rows[] = {
        {"block: {version: v9}", "v9 is not a valid block version"},
        {"block: {bloom_filter_false_positive: 1.0}", "must be between 0 and 1"},
        {"empty_tenant_deletion_enabled: true", "empty tenant deletion age"},
        {"s3: {signature_v2: true}", "storage.trace.s3.signature_v2"},
        {"block: {parquet_dedicated_columns: [{scope: span, name: a, type: string}, {scope: span, name: a, type: string}]}",
            "duplicate dedicated column span.a"},
        {"block: {parquet_dedicated_columns: [{scope: room, name: a, type: string}]}",
            "dedicated column 1 is invalid"},
        {"block: {parquet_dedicated_columns: [{scope: span, name: a, type: float}]}",
            "dedicated column 1 is invalid"},
        {"block: {parquet_dedicated_columns: [7]}", "dedicated column 1 is invalid"},
    };
    char yaml[400];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof(yaml),
            "storage: {trace: {backend: local, local: {path: /b}, wal: {path: /w}, %s}}\n",
            rows[i].yaml);
        ASSERT_FAILS(1, rows[i].text, yaml);
    }
    ASSERT_FAILS(1, "path for the WAL",
        "storage: {trace: {backend: local, local: {path: /b}, wal: {path: ''}}}\n");
}

static void test_validate__portable_refuses_own_keys(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-config.verify", "-config.portable");
    assert_loads(&l);
    loaded_free(&l);
    ASSERT_FAILS(1, "memory.budget_bytes is no key of Tempo", LOCAL "memory: {budget_bytes: 1}\n",
        "-config.verify", "-config.portable");
    ASSERT_FAILS(1, "overrides.inherit_defaults is no key of Tempo",
        LOCAL "overrides: {inherit_defaults: true}\n", "-config.portable");
}

/* ---- warnings ---- */

static void test_warnings__keys_without_effect_warn_once_when_changed(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "query_frontend: {max_retries: 2, response_consumers: 11, search: {most_recent_shards: 200}}\n"
        "distributor: {ring: {kvstore: {store: consul, consul: {host: 'nowhere:8500'}}}}\n"
        "memberlist: {join_members: ['nowhere:7946'], abort_if_cluster_join_fails: true, bind_port: 7946}\n"
        "usage_report: {reporting_enabled: true}\n");
    assert_loads(&l);
    assert_int_equal(count_warnings(l.c, "query_frontend.response_consumers"), 1);
    assert_int_equal(count_warnings(l.c, "query_frontend.max_retries"), 0);
    assert_int_equal(count_warnings(l.c, "distributor.ring.kvstore.store"), 1);
    assert_int_equal(count_warnings(l.c, "memberlist.join_members"), 1);
    assert_int_equal(count_warnings(l.c, "memberlist.bind_port"), 0);
    assert_int_equal(count_warnings(l.c, "usage_report.reporting_enabled"), 1);
    assert_int_equal(l.c->n_warnings, 6);
    assert_false(fails_verify(l.c));
    loaded_free(&l);
}

static void test_warnings__old_block_and_cache_keys(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l,
        "storage: {trace: {backend: local, local: {path: /b}, cache: memcached, memcached: {host: x}, "
        "block: {version: vParquet3, parquet_dedicated_columns: [{scope: resource, name: a, type: string}, {scope: span, name: a, type: int, options: [blob]}]}}}\n"
        "cache: {caches: [{roles: [bloom, parquet-page], memcached: {host: m}}]}\n");
    assert_loads(&l);
    assert_int_equal(count_warnings(l.c, "storage.trace.cache"), 1);
    assert_int_equal(count_warnings(l.c, "storage.trace.block.version"), 1);
    assert_int_equal(count_warnings(l.c, "cache.caches"), 1);
    assert_false(fails_verify(l.c));
    loaded_free(&l);
}

static void test_warnings__those_that_fail_verify(void **state)
{
    static const struct {
        const char *yaml, *key;
    } rows[] = {
        {"distributor: {log_received_spans: {enabled: true}}", "distributor.log_received_spans"},
        {"distributor: {log_received_traces: true}", "distributor.log_received_spans"},
        {"distributor: {log_discarded_spans: {enabled: true}}", "distributor.log_discarded_spans"},
        {"querier: {search: {query_timeout: 30}}", "querier.search.query_timeout"},
        {"target: scalable-single-binary", "target"},
        {"overrides: {defaults: {ingestion: {rate_limit_bytes: 0}}}",
            "overrides.defaults.ingestion"},
        {"overrides: {user_configurable_overrides: {client: {local: {path: /b}}}}",
            "overrides.user_configurable_overrides.client.local.path"},
    };
    struct loaded l;
    char yaml[400];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof(yaml), LOCAL "%s\n", rows[i].yaml);
        LOAD(&l, yaml);
        assert_loads(&l);
        assert_true(fails_verify(l.c));
        assert_int_equal(count_warnings(l.c, rows[i].key), 1);
        loaded_free(&l);
    }
    LOAD(&l, LOCAL "querier: {search: {query_timeout: 30}}\n");
    assert_loads(&l);
    assert_int_equal(l.c->search_timeout, 30); /* nanoseconds, as Tempo */
    assert_has(l.c->warnings[0].msg, "nanoseconds");
    loaded_free(&l);
}

static void test_warnings__accepted_oddities(void **state)
{
    static const struct {
        const char *yaml, *key;
    } rows[] = {
        {"live_store: {max_trace_idle: 1m, max_trace_live: 30s}", "live_store.max_trace_idle"},
        {"server: {log_format: xml}", "server.log_format"},
        {"server: {tls_min_version: VersionTLS10}", "server"},
        {"ingester: {lifecycler: {ring: {replication_factor: 3}}}",
            "ingester.lifecycler.ring.replication_factor"},
        {"overrides: {defaults: {compaction: {compaction_disabled: true}}}",
            "overrides.defaults.compaction.compaction_disabled"},
        {"overrides: {max_traces_per_user: 5}", "overrides"},
    };
    struct loaded l;
    char yaml[400];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof(yaml), LOCAL "%s\n", rows[i].yaml);
        LOAD(&l, yaml);
        assert_loads(&l);
        assert_int_equal(count_warnings(l.c, rows[i].key), 1);
        assert_false(fails_verify(l.c));
        loaded_free(&l);
    }
}

static void test_tls__names_become_what_the_server_knows(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "server: {tls_min_version: VersionTLS13, tls_cipher_suites: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256', "
        "http_tls_config: {cert_file: c, key_file: k, client_ca_file: a, client_auth_type: RequireAndVerifyClientCert}}\n");
    assert_loads(&l);
    assert_true(l.c->server.http_tls.set);
    assert_string_equal(l.c->server.http_tls.min_version, "1.3");
    assert_string_equal(l.c->server.grpc_tls.min_version, "1.3");
    assert_non_null(l.c->server.grpc_tls.cipher_suites);
    assert_false(l.c->server.grpc_tls.set);
    assert_null(l.c->server.grpc_tls.cert_file);
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolve__retention_sources),
        cmocka_unit_test(test_resolve__retention_of_nothing_is_refused),
        cmocka_unit_test(test_resolve__both_shapes_together),
        cmocka_unit_test(test_resolve__wal_directory),
        cmocka_unit_test(test_resolve__compaction_off),
        cmocka_unit_test(test_resolve__timeouts_take_the_shorter),
        cmocka_unit_test(test_resolve__durability),
        cmocka_unit_test(test_resolve__api_prefix),
        cmocka_unit_test(test_resolve__memory),
        cmocka_unit_test(test_resolve__targets),
        cmocka_unit_test(test_receivers__settings),
        cmocka_unit_test(test_receivers__a_named_protocol_has_its_defaults),
        cmocka_unit_test(test_receivers__every_key_takes_effect),
        cmocka_unit_test(test_receivers__packets_have_no_tenant),
        cmocka_unit_test(test_receivers__mistakes),
        cmocka_unit_test(test_validate__refused_values),
        cmocka_unit_test(test_validate__refused_storage),
        cmocka_unit_test(test_validate__portable_refuses_own_keys),
        cmocka_unit_test(test_warnings__keys_without_effect_warn_once_when_changed),
        cmocka_unit_test(test_warnings__old_block_and_cache_keys),
        cmocka_unit_test(test_warnings__those_that_fail_verify),
        cmocka_unit_test(test_warnings__accepted_oddities),
        cmocka_unit_test(test_tls__names_become_what_the_server_knows),
    };
    unsetenv("GOMEMLIMIT");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
