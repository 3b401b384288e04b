/* SPDX-License-Identifier: Apache-2.0
 * Keys of the receivers below `distributor.receivers`. What the servers of several receivers share
 * is a macro, because each has an endpoint of its own by default. */
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
#define GRPC_KEYS(endpoint_, read_buffer_) \
    K("endpoint", STRING, I, endpoint_, "host:port", TO(endpoint)), \
    K("transport", STRING, N, "tcp", "only tcp"), \
    B("tls", block_tls, AT(tls)), \
    K("max_recv_msg_size_mib", INT, I, "0", "largest message, MiB; 0: 4"), \
    K("max_concurrent_streams", UINT32, I, "0", "streams at once on a connection; 0: own cap", TO(max_concurrent_streams)), \
    K("read_buffer_size", INT, N, read_buffer_, NO_TUNE), \
    K("write_buffer_size", INT, N, "32768", NO_TUNE), \
    B("keepalive", block_keepalive), \
    K("auth", ANY, R, NULL, "authentication extensions do not exist here"), \
    K("middlewares", ANY, R, NULL, "middleware extensions do not exist here"), \
    K("include_metadata", BOOL, N, "true", "headers are always read")
static const struct key grpc_keys[] = {GRPC_KEYS("localhost:4317", "524288")};
BLOCK(schema_otlp_grpc, "configgrpc.ServerConfig", grpc_keys);
static const struct key jaeger_grpc_keys[] = {GRPC_KEYS("localhost:14250", "32768")};
BLOCK(schema_jaeger_grpc, "configgrpc.ServerConfig", jaeger_grpc_keys);

static const struct key cors_keys[] = {
    K("allowed_origins", STRINGS, I, NULL, "origins, with * as wildcard", TO(cors_allowed_origins)),
    K("allowed_headers", STRINGS, I, NULL, "request headers", TO(cors_allowed_headers)),
    K("max_age", INT, I, "0", "seconds", TO(cors_max_age_s)),
};
static BLOCK(block_cors, "confighttp.CORSConfig", cors_keys);
#define HTTP_KEYS(endpoint_) \
    K("endpoint", STRING, I, endpoint_, "host:port", TO(endpoint)), \
    K("transport", STRING, N, "tcp", "only tcp"), \
    B("tls", block_tls, AT(tls)), \
    B("cors", block_cors), \
    K("max_request_body_size", INT, I, "20971520", "largest body, bytes, before and after decompression", TO(max_request_body_size)), \
    K("compression_algorithms", STRINGS, N, NULL, "all are accepted"), \
    K("include_metadata", BOOL, N, "true", "headers are always read"), \
    K("response_headers", ANY, N, NULL, LATER), \
    K("read_timeout", DURATION, I, "0s", "time to read a request; 0: own limit", TO(read_timeout)), \
    K("read_header_timeout", DURATION, N, "0s", "read_timeout covers the head too"), \
    K("write_timeout", DURATION, N, "0s", NO_TUNE), \
    K("idle_timeout", DURATION, I, "0s", "idle connections are closed after this; 0: own limit", TO(idle_timeout)), \
    K("keep_alives_enabled", BOOL, N, "true", "connections are kept"), \
    K("auth", ANY, R, NULL, "authentication extensions do not exist here"), \
    K("middlewares", ANY, R, NULL, "middleware extensions do not exist here")
static const struct key http_keys[] = {
    HTTP_KEYS("localhost:4318"),
    K("traces_url_path", STRING, I, "/v1/traces", "path of the requests", TO(traces_url_path)),
    K("metrics_url_path", STRING, N, "/v1/metrics", "only traces are received"),
    K("logs_url_path", STRING, N, "/v1/logs", "only traces are received"),
};
BLOCK(schema_otlp_http, "otlpreceiver.HTTPConfig", http_keys);
static const struct key jaeger_http_keys[] = {HTTP_KEYS("localhost:14268")};
BLOCK(schema_jaeger_http, "confighttp.ServerConfig", jaeger_http_keys);
static const struct key zipkin_keys[] = {
    HTTP_KEYS("localhost:9411"),
    K("parse_string_tags", BOOL, I, "false", "tags that read as numbers, true or false become such", TO(parse_string_tags)),
};
BLOCK(schema_zipkin, "zipkinreceiver.Config", zipkin_keys);

#define UDP_KEYS(endpoint_) \
    K("endpoint", STRING, I, endpoint_, "host:port", TO(endpoint)), \
    K("queue_size", INT, N, "1000", "the socket's buffer is the queue"), \
    K("max_packet_size", INT, I, "65000", "longer packets are dropped; at most 65535", TO(max_packet_size)), \
    K("workers", INT, N, "10", "a thread per socket is enough"), \
    K("socket_buffer_size", INT, I, "0", "bytes that may wait in the kernel; 0: 4 MiB", TO(socket_buffer_size))
static const struct key jaeger_compact_keys[] = {UDP_KEYS("localhost:6831")};
BLOCK(schema_jaeger_compact, "jaegerreceiver.ProtocolUDP", jaeger_compact_keys);
static const struct key jaeger_binary_keys[] = {UDP_KEYS("localhost:6832")};
BLOCK(schema_jaeger_binary, "jaegerreceiver.ProtocolUDP", jaeger_binary_keys);
#undef BASE

static const struct key protocols_keys[] = {
    K("grpc", BLOCK, I, NULL, "OTLP/gRPC", .block = &schema_otlp_grpc),
    K("http", BLOCK, I, NULL, "OTLP/HTTP, protobuf and JSON", .block = &schema_otlp_http),
};
static BLOCK(block_protocols, "otlpreceiver.Protocols", protocols_keys);
static const struct key otlp_keys[] = {B("protocols", block_protocols)};
BLOCK(schema_otlp, "otlpreceiver.Config", otlp_keys);

static const struct key jaeger_protocols_keys[] = {
    K("grpc", BLOCK, I, NULL, "api_v2 collector", .block = &schema_jaeger_grpc),
    K("thrift_http", BLOCK, I, NULL, "POST /api/traces", .block = &schema_jaeger_http),
    K("thrift_compact", BLOCK, I, NULL, "agent, UDP", .block = &schema_jaeger_compact),
    K("thrift_binary", BLOCK, I, NULL, "agent, UDP", .block = &schema_jaeger_binary),
};
static BLOCK(block_jaeger_protocols, "jaegerreceiver.Protocols", jaeger_protocols_keys);
static const struct key jaeger_keys[] = {
    B("protocols", block_jaeger_protocols),
    K("remote_sampling", ANY, N, NULL, "sampling strategies are not served"),
};
BLOCK(schema_jaeger, "jaegerreceiver.Config", jaeger_keys);
/* clang-format on */
