/* SPDX-License-Identifier: Apache-2.0
 * Keys of the `server` and `internal_server` blocks. */
#include "schema.h"

/* clang-format off */
#define BASE struct config_tls
static const struct key tls_keys[] = {
    K("cert", STRING, I, "", "server certificate, PEM text", TO(cert_pem)),
    K("key", STRING, I, "", "its private key, PEM text", TO(key_pem), .flags = KEY_SECRET),
    K("client_ca", STRING, R, "", "authorities as text are " LATER ", use client_ca_file"),
    K("cert_file", STRING, I, "", "server certificate; setting it turns TLS on", TO(cert_file)),
    K("key_file", STRING, I, "", "its private key", TO(key_file)),
    K("client_auth_type", STRING, I, "", "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert", TO(client_auth_type)),
    K("client_ca_file", STRING, I, "", "authorities of client certificates", TO(client_ca_file)),
};
static BLOCK(block_tls, "server.TLSConfig", tls_keys);
#undef BASE

static const struct key validation_protocol_keys[] = {
    K("enabled", BOOL, N, "false", NO_RING),
    K("soft_validation", BOOL, N, "false", NO_RING),
    K("excluded_paths", STRING, N, "", NO_RING),
    K("excluded_user_agents", STRING, N, "", NO_RING),
};
static BLOCK(block_validation_protocol, "clusterutil.ProtocolConfig", validation_protocol_keys);
static const struct key validation_keys[] = {
    K("label", STRING, N, "", NO_RING),
    K("additional_labels", STRING, N, "", NO_RING),
    B("grpc", block_validation_protocol),
    B("http", block_validation_protocol),
};
static BLOCK(block_validation, "clusterutil.ServerClusterValidationConfig", validation_keys);

#define GO_FOREVER "2562047h47m16.854775807s"

/* Both servers have the same keys; the internal one listens elsewhere and serves only /ready. */
#define SERVER_KEYS(http_port, forever, G)                                                                                    \
    K("http_listen_network", STRING, N, "tcp", "listeners take IPv4 and IPv6 from the address"),                           \
    K("http_listen_address", STRING, I, "", "address of the HTTP API; empty: all", TO(http_listen_address)),               \
    K("http_listen_port", INT, I, http_port, "port of the HTTP API; 0: any, logged", TO(http_listen_port)),                \
    K("http_listen_conn_limit", INT, I, "0", "most connections at once; 0: own cap", TO(http_conn_limit)),                 \
    K("grpc_listen_network", STRING, N, "tcp", "listeners take IPv4 and IPv6 from the address"),                           \
    K("grpc_listen_address", STRING, G, "", "address of the query gRPC API; empty: all", TO(grpc_listen_address)),         \
    K("grpc_listen_port", INT, G, "9095", "port of the query gRPC API", TO(grpc_listen_port)),                             \
    K("grpc_listen_conn_limit", INT, G, "0", "most connections at once; 0: own cap", TO(grpc_conn_limit)),                 \
    K("grpc_collect_max_streams_by_conn", BOOL, N, "true", NO_TUNE),                                                       \
    K("proxy_protocol_enabled", BOOL, R, "false", "the PROXY protocol is " LATER),                                         \
    K("tls_cipher_suites", STRING, I, "", "comma-separated IANA names for TLS 1.2", TO(http_tls.cipher_suites)),           \
    K("tls_min_version", STRING, I, "", "VersionTLS12 or VersionTLS13; lower ones are raised", TO(http_tls.min_version)),  \
    B("http_tls_config", block_tls, AT(http_tls)),                                                                         \
    B("grpc_tls_config", block_tls, AT(grpc_tls)),                                                                         \
    K("register_instrumentation", BOOL, G, "true", "false: no /metrics", TO(register_instrumentation)),                    \
    K("report_grpc_codes_in_instrumentation_label_enabled", BOOL, N, "false", NO_TUNE),                                    \
    K("graceful_shutdown_timeout", DURATION, G, "30s", "longest wait for requests at shutdown", TO(graceful_shutdown_timeout)), \
    K("http_server_read_timeout", DURATION, I, "30s", "time to read one request", TO(read_timeout)),                       \
    K("http_server_read_header_timeout", DURATION, N, "0s", "http_server_read_timeout covers the head too"),               \
    K("http_server_write_timeout", DURATION, I, "30s", "time to write one answer", TO(write_timeout)),                     \
    K("http_server_idle_timeout", DURATION, I, "2m", "idle connections are closed after this", TO(idle_timeout)),          \
    K("http_log_closed_connections_without_response_enabled", BOOL, N, "false", NO_TUNE),                                  \
    K("grpc_server_max_recv_msg_size", INT, G, "16777216", "largest gRPC request, bytes", TO(grpc_max_recv)),              \
    K("grpc_server_max_send_msg_size", INT, G, "16777216", "largest gRPC answer, bytes", TO(grpc_max_send)),               \
    K("grpc_server_max_concurrent_streams", UINT32, G, "100", "streams at once on a connection", TO(grpc_max_streams)),    \
    K("grpc_server_max_connection_idle", DURATION, N, forever, LATER),                                                     \
    K("grpc_server_max_connection_age", DURATION, N, forever, LATER),                                                      \
    K("grpc_server_max_connection_age_grace", DURATION, N, forever, LATER),                                                \
    K("grpc_server_keepalive_time", DURATION, N, "2h", LATER),                                                             \
    K("grpc_server_keepalive_timeout", DURATION, N, "20s", LATER),                                                         \
    K("grpc_server_min_time_between_pings", DURATION, N, "10s", LATER),                                                    \
    K("grpc_server_ping_without_stream_allowed", BOOL, N, "true", LATER),                                                  \
    K("grpc_server_num_workers", INT, N, "0", NO_TUNE),                                                                    \
    K("grpc_server_stats_tracking_enabled", BOOL, N, "true", NO_TUNE),                                                     \
    K("grpc_server_recv_buffer_pools_enabled", BOOL, N, "false", NO_TUNE),                                                 \
    K("grpc_server_read_buffer_size", INT, N, "32768", NO_TUNE),                                                           \
    K("grpc_server_write_buffer_size", INT, N, "32768", NO_TUNE),                                                          \
    K("log_format", STRING, G, "logfmt", "logfmt or json", TO(log_format)),                                                \
    K("log_level", STRING, G, "info", "debug, info, warn or error", TO(log_level)),                                        \
    K("log_source_ips_enabled", BOOL, N, "false", LATER),                                                                  \
    K("log_source_ips_full", BOOL, N, "false", LATER),                                                                     \
    K("log_source_ips_header", STRING, N, "", LATER),                                                                      \
    K("log_source_ips_regex", STRING, N, "", LATER),                                                                       \
    K("log_request_headers", BOOL, N, "false", LATER),                                                                     \
    K("log_request_at_info_level_enabled", BOOL, G, "false", "log each request at info", TO(log_requests_at_info)),        \
    K("log_request_exclude_headers_list", STRING, N, "", LATER),                                                           \
    K("trace_request_headers", BOOL, N, "false", "the server does not trace itself"),                                      \
    K("trace_request_exclude_headers_list", STRING, N, "", "the server does not trace itself"),                            \
    K("create_new_traces", BOOL, N, "false", "the server does not trace itself"),                                           \
    K("http_path_prefix", STRING, G, "", "prefix of every HTTP route", TO(path_prefix)),                                   \
    B("cluster_validation", block_validation)

#define BASE struct config_server
static const struct key server_keys[] = {
    SERVER_KEYS("3200", GO_FOREVER, I),
};
BLOCK(schema_server, "server.Config", server_keys);
static const struct key internal_server_keys[] = {
    SERVER_KEYS("3101", "0s", N),
    K("enable", BOOL, I, "false", "second HTTP listener that serves only /ready"),
};
BLOCK(schema_internal_server, "server.Config", internal_server_keys);
#undef BASE
/* clang-format on */
