/* SPDX-License-Identifier: Apache-2.0
 * Keys of the `gateway` block. None of them is Tempo's: there the gateway is a program of its own,
 * whose flags stand for the same keys here. */
#include "schema.h"

/* clang-format off */
#define OWN .flags = KEY_OWN

#define BASE struct gateway_tls
#define GATEWAY_TLS_KEYS(auth) \
    K("cert_file", STRING, I, "", "server certificate; setting it turns TLS on", TO(cert_file), OWN), \
    K("key_file", STRING, I, "", "its private key", TO(key_file), OWN), \
    K("client_ca_file", STRING, I, "", "authorities of client certificates, for the types that verify", TO(client_ca_file), OWN), \
    K("min_version", STRING, I, "VersionTLS13", "VersionTLS12 or VersionTLS13", TO(min_version), OWN), \
    K("max_version", STRING, I, "VersionTLS13", "VersionTLS12 or VersionTLS13", TO(max_version), OWN), \
    K("cipher_suites", STRING, I, "", "comma-separated IANA names for TLS 1.2", TO(cipher_suites), OWN), \
    K("client_auth_type", STRING, I, "", auth, TO(client_auth_type), OWN), \
    K("reload_interval", DURATION, I, "0s", "how often certificates are read again; 0: every 10 s, when a file has changed", TO(reload_interval), OWN)

static const struct key gateway_tls_keys[] = {
    GATEWAY_TLS_KEYS("NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert; empty: RequestClientCert when a tenant has mTLS, else NoClientCert"),
};
static BLOCK(block_gateway_tls, "gateway.TLSConfig", gateway_tls_keys);
static const struct key gateway_internal_tls_keys[] = {
    GATEWAY_TLS_KEYS("as gateway.tls.client_auth_type; empty: NoClientCert"),
};
static BLOCK(block_gateway_internal_tls, "gateway.TLSConfig", gateway_internal_tls_keys);
#undef BASE

#define BASE struct config_gateway
static const struct key kubernetes_keys[] = {
    K("api_url", STRING, I, "", "API server; empty: https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT", TO(kubernetes.api_url), OWN),
    K("ca_file", STRING, I, "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "its authority", TO(kubernetes.ca_file), OWN),
    K("token_file", STRING, I, "/var/run/secrets/kubernetes.io/serviceaccount/token", "our service account's token, read again when it rotates", TO(kubernetes.token_file), OWN),
    K("namespace_file", STRING, I, "/var/run/secrets/kubernetes.io/serviceaccount/namespace", "our service account's namespace", TO(kubernetes.namespace_file), OWN),
    K("review", STRING, I, "ssar", "ssar: access is asked for with the caller's token; sar: with ours, naming the caller", TO(kubernetes.review), OWN),
    K("api_group", STRING, I, "tempo.grafana.com", "API group of the reviewed resource", TO(kubernetes.api_group), OWN),
    K("namespaces", STRING, I, "projects", "where query_rbac takes the caller's namespaces from: projects", TO(kubernetes.namespaces), OWN),
};
static BLOCK(block_kubernetes, "gateway.KubernetesConfig", kubernetes_keys);
static const struct key cache_keys[] = {
    K("token_ttl", DURATION, I, "2m", "an accepted token is believed this long", TO(token_ttl), OWN),
    K("review_ttl", DURATION, I, "1m", "an access decision is believed this long", TO(review_ttl), OWN),
};
static BLOCK(block_cache, "gateway.CacheConfig", cache_keys);

static const struct key gateway_keys[] = {
    K("enabled", BOOL, I, "false", "authenticate, authorise and name tenants in this process; needs multitenancy_enabled", TO(enabled), OWN),
    K("mode", STRING, I, "", "openshift: tokens and access reviews of Kubernetes; static: OIDC or mTLS and roles; empty: as each tenant's entry says", TO(mode), OWN),
    K("http_listen_address", STRING, I, "0.0.0.0:8080", "public HTTP: queries and OTLP/HTTP", TO(http_listen_address), OWN),
    K("grpc_listen_address", STRING, I, "0.0.0.0:8090", "public OTLP/gRPC; empty: none", TO(grpc_listen_address), OWN),
    K("internal_listen_address", STRING, I, "0.0.0.0:8081", "/live, /ready and /metrics; empty: none", TO(internal_listen_address), OWN),
    K("tenant_header", STRING, I, "x-scope-orgid", "gRPC metadata that names the tenant", TO(tenant_header), OWN),
    K("timeout", DURATION, I, "30s", "longest query; after it 504", TO(timeout), OWN),
    K("read_header_timeout", DURATION, I, "1s", "time to read a request's head", TO(read_header_timeout), OWN),
    K("read_timeout", DURATION, I, "30s", "time to read a request", TO(read_timeout), OWN),
    K("write_timeout", DURATION, N, "12m", "an answer may rest for read_timeout, however long it takes", OWN),
    K("concurrent_request_limit", UINT32, I, "10000", "requests in work; one more is answered 429", TO(concurrent_request_limit), OWN),
    B("tls", block_gateway_tls, AT(tls)),
    B("internal_tls", block_gateway_internal_tls, AT(internal_tls)),
    K("tenants_file", STRING, I, "", "tenants.yaml of the original gateway", TO(tenants_file), OWN),
    K("tenants", ANY, I, NULL, "the list of that file, inline", OWN),
    K("rbac_file", STRING, I, "", "rbac.yaml of the original gateway", TO(rbac_file), OWN),
    K("rbac", ANY, I, NULL, "its roles and roleBindings, inline", OWN),
    K("query_rbac", BOOL, I, "false", "show attributes of spans only of namespaces that the caller may see", TO(query_rbac), OWN),
    B("kubernetes", block_kubernetes),
    B("cache", block_cache),
};
BLOCK(schema_gateway, "gateway.Config", gateway_keys);
#undef BASE
/* clang-format on */
