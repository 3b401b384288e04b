/* SPDX-License-Identifier: Apache-2.0
 * Keys of one endpoint of metrics_generator.storage.remote_write: those of Prometheus 3. */
#include "schema.h"

/* clang-format off */
#define BASE struct config_relabel
static const struct key relabel_keys[] = {
    K("source_labels", STRINGS, I, NULL, "labels whose values are joined", TO(source_labels)),
    K("separator", STRING, I, ";", "between them", TO(separator)),
    K("target_label", STRING, I, "", "label to set", TO(target_label)),
    K("regex", STRING, I, "(.*)", "must match the whole of it", TO(regex)),
    K("modulus", UINT64, I, "0", "of hashmod", TO(modulus)),
    K("replacement", STRING, I, "$1", "with $1, ${name}", TO(replacement)),
    K("action", STRING, I, "replace", "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase", TO(action)),
};
#undef BASE
BLOCK(schema_relabel, "relabel.plain", relabel_keys);

#define ONE_AT_A_TIME "one request of a tenant is under way to an endpoint at a time, which keeps the order"
#define BASE struct config_remote_write
static const struct key queue_keys[] = {
    K("capacity", INT, I, "10000", "samples wait on disk, see storage.queue_bytes_max; only shown as shard_capacity", TO(capacity)),
    K("max_shards", INT, N, "50", ONE_AT_A_TIME),
    K("min_shards", INT, N, "1", ONE_AT_A_TIME),
    K("max_samples_per_send", INT, I, "2000", "samples in a request", TO(samples_per_send_max)),
    K("batch_send_deadline", PROM, I, "5s", "a request that is not full leaves after this, or at the end of a collection", TO(batch_deadline)),
    K("min_backoff", PROM, I, "30ms", "first wait before a retry, doubled each time", TO(backoff_min)),
    K("max_backoff", PROM, I, "5s", "longest wait", TO(backoff_max)),
    K("retry_on_http_429", BOOL, I, "false", "else 429 drops the request", TO(retry_on_429)),
    K("sample_age_limit", PROM, I, "0s", "older samples are dropped; 0: none", TO(sample_age_max)),
};
static BLOCK(block_queue, "config.plain", queue_keys);
static const struct key metadata_keys[] = {
    K("send", BOOL, N, "true", "metadata is never sent"),
    K("send_interval", PROM, N, "1m", "metadata is never sent"),
    K("max_samples_per_send", INT, N, "2000", "metadata is never sent"),
};
static BLOCK(block_metadata, "config.plain", metadata_keys);
static const struct key basic_keys[] = {
    K("username", STRING, I, "", "user", TO(user)),
    K("username_file", STRING, I, "", "file with the user", TO(user_file)),
    K("username_ref", STRING, R, NULL, "there is no secret manager"),
    K("password", STRING, I, "", "password", TO(password), .flags = KEY_SECRET),
    K("password_file", STRING, I, "", "file with the password", TO(password_file)),
    K("password_ref", STRING, R, NULL, "there is no secret manager"),
};
static BLOCK(block_basic, "config.plain", basic_keys);
static const struct key authorization_keys[] = {
    K("type", STRING, I, "Bearer", "first word of the header Authorization", TO(auth_type)),
    K("credentials", STRING, I, "", "the rest of it", TO(credentials), .flags = KEY_SECRET),
    K("credentials_file", STRING, I, "", "file with it", TO(credentials_file)),
    K("credentials_ref", STRING, R, NULL, "there is no secret manager"),
};
static BLOCK(block_authorization, "config.Authorization", authorization_keys);
#undef BASE
#define BASE struct config_client_tls
static const struct key tls_keys[] = {
    K("ca", STRING, I, "", "certificates to trust, PEM", TO(ca_pem)),
    K("ca_file", STRING, I, "", "file with them", TO(ca_file)),
    K("cert", STRING, R, NULL, "name a file: cert_file"),
    K("key", STRING, R, NULL, "name a file: key_file"),
    K("cert_file", STRING, I, "", "client certificate", TO(cert_file)),
    K("key_file", STRING, I, "", "its key", TO(key_file)),
    K("ca_ref", STRING, R, NULL, "there is no secret manager"),
    K("cert_ref", STRING, R, NULL, "there is no secret manager"),
    K("key_ref", STRING, R, NULL, "there is no secret manager"),
    K("server_name", STRING, I, "", "name of the server's certificate; empty: the one in url", TO(server_name)),
    K("insecure_skip_verify", BOOL, I, "false", "no check of the server's certificate", TO(insecure_skip_verify)),
    K("min_version", STRING, N, NULL, "TLS 1.2 is the lowest"),
    K("max_version", STRING, N, NULL, "the highest that both sides have"),
};
static BLOCK(block_tls, "config.plain", tls_keys);
#define PROXY_KEYS \
    K("proxy_url", STRING, I, "", "http, https or socks5 proxy", TO(proxy.url)), \
    K("no_proxy", STRING, I, "", "hosts that proxy_url is not used for", TO(proxy.no_proxy)), \
    K("proxy_from_environment", BOOL, I, "false", "HTTP_PROXY, HTTPS_PROXY, NO_PROXY", TO(proxy.from_environment)), \
    K("proxy_connect_header", ANY, R, NULL, "not supported by this release")
#undef BASE
#define BASE struct config_oauth2
static const struct key oauth2_keys[] = {
    K("client_id", STRING, I, "", "name of the client", TO(client_id)),
    K("client_secret", STRING, I, "", "its secret", TO(client_secret), .flags = KEY_SECRET),
    K("client_secret_file", STRING, I, "", "file with it, read for every token", TO(client_secret_file)),
    K("client_secret_ref", STRING, R, NULL, "there is no secret manager"),
    K("scopes", STRINGS, I, NULL, "scopes to ask for", TO(scopes)),
    K("token_url", STRING, I, "", "where tokens come from: client credentials grant", TO(token_url)),
    K("endpoint_params", STRING_MAP, I, NULL, "more of the token request", TO(params_node)),
    B("tls_config", block_tls, AT(tls)),
    PROXY_KEYS,
};
static BLOCK(block_oauth2, "config.plain", oauth2_keys);
#undef BASE
#define BASE struct config_sigv4
static const struct key sigv4_keys[] = {
    K("region", STRING, I, "", "AWS region; empty: AWS_REGION or AWS_DEFAULT_REGION", TO(region)),
    K("access_key", STRING, I, "", "empty: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN", TO(access_key)),
    K("secret_key", STRING, I, "", "its other half", TO(secret_key), .flags = KEY_SECRET),
    K("profile", STRING, R, NULL, "not supported: give access_key and secret_key, or the environment's"),
    K("role_arn", STRING, R, NULL, "roles are not assumed: give the keys of one by the environment"),
    K("external_id", STRING, R, NULL, "roles are not assumed"),
    K("use_fips_sts_endpoint", BOOL, N, NULL, "roles are not assumed"),
};
static BLOCK(block_sigv4, "config.plain", sigv4_keys);
#undef BASE
#define BASE struct config_remote_write
static const struct key endpoint_keys[] = {
    K("url", STRING, I, "", "where samples go", TO(url)),
    K("remote_timeout", PROM, I, "30s", "of one request", TO(timeout)),
    K("headers", STRING_MAP, I, NULL, "headers of every request", TO(headers_node)),
    K("write_relabel_configs", BLOCKS, I, NULL, "changes and choices of series", .block = &schema_relabel, TO(relabels_node)),
    K("name", STRING, I, "", "label remote_name of the metrics", TO(name)),
    K("send_exemplars", BOOL, N, "true", "exemplars are always sent"),
    K("send_native_histograms", BOOL, N, "true", "native histograms are sent when they are made"),
    K("round_robin_dns", BOOL, N, "false", NO_TUNE),
    K("protobuf_message", STRING, N, "prometheus.WriteRequest", "Remote Write 1.0 is sent, which every receiver understands"),
    B("queue_config", block_queue),
    B("metadata_config", block_metadata),
    B("basic_auth", block_basic),
    B("authorization", block_authorization),
    B("oauth2", block_oauth2, AT(oauth2)),
    B("sigv4", block_sigv4, AT(sigv4)),
    K("azuread", ANY, R, NULL, "not supported: let an OpenTelemetry Collector or Prometheus agent forward to Azure"),
    K("google_iam", ANY, R, NULL, "not supported: let an OpenTelemetry Collector or Prometheus agent forward to Google"),
    K("bearer_token", STRING, I, "", "old form of authorization", .flags = KEY_SECRET),
    K("bearer_token_file", STRING, I, "", "old form of authorization"),
    B("tls_config", block_tls, AT(tls)),
    K("follow_redirects", BOOL, N, "true", "a redirect of a write is an error"),
    K("enable_http2", BOOL, I, "false", "HTTP/2 over TLS", TO(http2)),
    PROXY_KEYS,
    K("http_headers", ANY, I, NULL, "more headers: name to values, secrets", TO(http_headers_node)),
};
#undef BASE
BLOCK(schema_remote_write, "config.plain", endpoint_keys);
/* clang-format on */
