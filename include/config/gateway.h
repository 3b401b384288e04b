/* SPDX-License-Identifier: Apache-2.0
 * The `gateway` section: listeners, tenants and roles of the built-in gateway.
 *
 * Tenants and roles come from tenants.yaml and rbac.yaml (the formats of the original gateway), or
 * inline from the same section. Strings are NUL-terminated and belong to the config; an absent text
 * is "", except in a tenant's blocks other than the one that its `authn` names: those are NULL.
 * Durations are ns.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gateway_authn { GATEWAY_AUTHN_OIDC, GATEWAY_AUTHN_OPENSHIFT, GATEWAY_AUTHN_MTLS };
enum gateway_authz {
    GATEWAY_AUTHZ_ROLES,  /* rbac.yaml */
    GATEWAY_AUTHZ_REVIEW, /* Kubernetes access reviews */
    GATEWAY_AUTHZ_OPA,    /* a REST call to opa_url */
};

struct gateway_rate_limit {
    const char *endpoint; /* regular expression on the path */
    uint32_t limit;       /* requests */
    int64_t window;       /* ... in this time */
    bool fail_open;
    int64_t retry_after_min, retry_after_max;
};

struct gateway_tenant {
    const char *name; /* in URLs, headers and roles */
    const char *id;   /* in storage */
    /* Why the tenant cannot be served; NULL: it can. The other tenants are not concerned. */
    const char *broken;
    enum gateway_authn authn;
    enum gateway_authz authz;
    struct {
        const char *client_id, *client_secret, *issuer_url, *redirect_url;
        const char *issuer_ca_pem, *issuer_ca_path;
        const char *username_claim, *group_claim;
    } oidc;
    struct {
        const char *service_account, *redirect_url, *cookie_secret, *kubeconfig;
    } openshift;
    struct {
        const char *ca_pem, *ca_path;
    } mtls;
    const char *opa_url;
    bool opa_with_access_token;
    const struct gateway_rate_limit *rate_limits;
    size_t n_rate_limits;
};

struct gateway_role {
    const char *name;
    bool traces, read, write;
    const char *const *tenants; /* names */
    size_t n_tenants;
};

struct gateway_subject {
    bool is_group; /* else a user */
    const char *name;
};

struct gateway_binding {
    const char *name;
    const char *const *roles;
    size_t n_roles;
    const struct gateway_subject *subjects;
    size_t n_subjects;
};

struct gateway_tls {
    const char *cert_file, *key_file, *client_ca_file;
    const char *min_version, *max_version; /* "1.2", "1.3" */
    const char *cipher_suites, *client_auth_type;
    int64_t reload_interval;
};

struct config_gateway {
    bool enabled;
    const char *mode; /* "openshift", "static"; "": each tenant as its entry says */
    const char *http_listen_address, *grpc_listen_address, *internal_listen_address;
    const char *tenant_header; /* metadata key of OTLP/gRPC */
    int64_t timeout, read_header_timeout, read_timeout;
    uint32_t concurrent_request_limit;
    struct gateway_tls tls, internal_tls;
    const char *tenants_file, *rbac_file;
    bool query_rbac;
    struct {
        const char *api_url, *ca_file, *token_file, *namespace_file;
        const char *review; /* "ssar", "sar" */
        const char *api_group, *namespaces;
    } kubernetes;
    int64_t token_ttl, review_ttl;
    /* The original's upstream flags: all that is left of them is that they are given. */
    const char *otlp_grpc_endpoint, *otlp_http_endpoint, *jaeger_endpoint;
    bool otlp_grpc, otlp_http; /* resolved: these ways in exist */

    const struct gateway_tenant *tenants;
    size_t n_tenants;
    const struct gateway_role *roles;
    size_t n_roles;
    const struct gateway_binding *bindings;
    size_t n_bindings;
};
