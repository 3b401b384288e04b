/* SPDX-License-Identifier: Apache-2.0
 * Keys of the otlp receiver below `distributor.receivers`. */
#include "schema.h"

/* clang-format off */
#define BASE struct config_tls
static const struct key tls_keys[] = {
    K("cert_file", STRING, I, "", "server certificate", TO(cert_file)),
    K("key_file", STRING, I, "", "its private key", TO(key_file)),
    K("cert_pem", STRING, I, "", "the same as text", TO(cert_pem)),
    K("key_pem", STRING, I, "", "the same as text", TO(key_pem), .flags = KEY_SECRET),
    K("client_ca_file", STRING, I, "", "authorities of client certificates, which are then required", TO(client_ca_file)),
    K("client_ca_file_reload", BOOL, N, "false", "see reload_interval"),
    K("min_version", STRING, I, "", "1.2 or 1.3", TO(min_version)),
    K("max_version", STRING, I, "", "1.2 or 1.3", TO(max_version)),
    K("cipher_suites", STRINGS, I, NULL, "names for TLS 1.2"),
    K("curve_preferences", STRINGS, N, NULL, NO_TUNE),
    K("reload_interval", DURATION, I, "0s", "how often to read the files again; 0: never", TO(reload_interval)),
    K("ca_file", STRING, N, "", "a server needs no authorities of its own"),
    K("ca_pem", STRING, N, "", "a server needs no authorities of its own"),
    K("include_system_ca_certs_pool", BOOL, N, "false", "a server needs no authorities of its own"),
};
static BLOCK(block_tls, "configtls.ServerConfig", tls_keys);
#undef BASE

#define BASE struct config_receiver
static const struct key server_parameters_keys[] = {
    K("max_connection_idle", DURATION, N, NULL, LATER),
    K("max_connection_age", DURATION, N, NULL, LATER),
    K("max_connection_age_grace", DURATION, N, NULL, LATER),
    K("time", DURATION, I, "2h", "ping a silent client after this", TO(keepalive_time)),
    K("timeout", DURATION, I, "20s", "and close when it does not answer", TO(keepalive_timeout)),
};
static BLOCK(block_server_parameters, "configgrpc.KeepaliveServerParameters", server_parameters_keys);
static const struct key enforcement_keys[] = {
    K("min_time", DURATION, N, "5m", LATER),
    K("permit_without_stream", BOOL, N, "false", LATER),
};
static BLOCK(block_enforcement, "configgrpc.KeepaliveEnforcementPolicy", enforcement_keys);
static const struct key keepalive_keys[] = {
    B("server_parameters", block_server_parameters),
    B("enforcement_policy", block_enforcement),
};
static BLOCK(block_keepalive, "configgrpc.KeepaliveServerConfig", keepalive_keys);
static const struct key grpc_keys[] = {
    K("endpoint", STRING, I, "localhost:4317", "host:port", TO(endpoint)),
    K("transport", STRING, N, "tcp", "only tcp"),
    B("tls", block_tls, AT(tls)),
    K("max_recv_msg_size_mib", INT, I, "0", "largest message, MiB; 0: 4"),
    K("max_concurrent_streams", UINT32, I, "0", "streams at once on a connection; 0: own cap", TO(max_concurrent_streams)),
    K("read_buffer_size", INT, N, "524288", NO_TUNE),
    K("write_buffer_size", INT, N, "32768", NO_TUNE),
    B("keepalive", block_keepalive),
    K("auth", ANY, R, NULL, "authentication extensions do not exist here"),
    K("middlewares", ANY, R, NULL, "middleware extensions do not exist here"),
    K("include_metadata", BOOL, N, "true", "headers are always read"),
};
BLOCK(schema_otlp_grpc, "configgrpc.ServerConfig", grpc_keys);

static const struct key cors_keys[] = {
    K("allowed_origins", STRINGS, I, NULL, "origins, with * as wildcard", TO(cors_allowed_origins)),
    K("allowed_headers", STRINGS, I, NULL, "request headers", TO(cors_allowed_headers)),
    K("max_age", INT, I, "0", "seconds", TO(cors_max_age_s)),
};
static BLOCK(block_cors, "confighttp.CORSConfig", cors_keys);
static const struct key http_keys[] = {
    K("endpoint", STRING, I, "localhost:4318", "host:port", TO(endpoint)),
    K("transport", STRING, N, "tcp", "only tcp"),
    K("traces_url_path", STRING, I, "/v1/traces", "path of the requests", TO(traces_url_path)),
    K("metrics_url_path", STRING, N, "/v1/metrics", "only traces are received"),
    K("logs_url_path", STRING, N, "/v1/logs", "only traces are received"),
    B("tls", block_tls, AT(tls)),
    B("cors", block_cors),
    K("max_request_body_size", INT, I, "20971520", "largest body, bytes, before and after decompression", TO(max_request_body_size)),
    K("compression_algorithms", STRINGS, N, NULL, "all are accepted"),
    K("include_metadata", BOOL, N, "true", "headers are always read"),
    K("response_headers", ANY, N, NULL, LATER),
    K("read_timeout", DURATION, I, "0s", "time to read a request; 0: own limit", TO(read_timeout)),
    K("read_header_timeout", DURATION, N, "0s", "read_timeout covers the head too"),
    K("write_timeout", DURATION, N, "0s", NO_TUNE),
    K("idle_timeout", DURATION, I, "0s", "idle connections are closed after this; 0: own limit", TO(idle_timeout)),
    K("keep_alives_enabled", BOOL, N, "true", "connections are kept"),
    K("auth", ANY, R, NULL, "authentication extensions do not exist here"),
    K("middlewares", ANY, R, NULL, "middleware extensions do not exist here"),
};
#undef BASE
BLOCK(schema_otlp_http, "otlpreceiver.HTTPConfig", http_keys);

static const struct key protocols_keys[] = {
    K("grpc", BLOCK, I, NULL, "OTLP/gRPC", .block = &schema_otlp_grpc),
    K("http", BLOCK, I, NULL, "OTLP/HTTP, protobuf and JSON", .block = &schema_otlp_http),
};
static BLOCK(block_protocols, "otlpreceiver.Protocols", protocols_keys);
static const struct key otlp_keys[] = {B("protocols", block_protocols)};
BLOCK(schema_otlp, "otlpreceiver.Config", otlp_keys);
/* clang-format on */
