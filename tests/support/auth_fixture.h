/* SPDX-License-Identifier: Apache-2.0
 * Authentication against services of the test: asks and waits, and keeps the answer as text. */
#pragma once

#include "auth/auth.h"
#include "unit.h"

struct auth_fixture {
    struct http_client *client;
    struct auth *auth;
};

struct asked {
    enum auth_outcome outcome;
    unsigned http_status, grpc_status, retry_after_s;
    bool www_authenticate, at_once, has_namespaces;
    char message[300], location[600], subject[200], tenant_id[100];
    char groups[400], namespaces[400]; /* joined by ',' */
};

struct flowed {
    unsigned http_status;
    bool at_once;
    char message[300], location[2000], cookies[AUTH_SET_COOKIES_MAX][5000];
    size_t n_cookies;
};

/* opt->client is set here. */
void auth_fixture_start(struct auth_fixture *f, const struct auth_options *opt);
void auth_fixture_stop(struct auth_fixture *f);
struct asked auth_ask(struct auth_fixture *f, const struct auth_request *rq);
/* "Authorization: <line>"; NULL: none. */
struct asked auth_ask_line(
    struct auth_fixture *f, const char *tenant, enum auth_permission permission, const char *line);
struct flowed auth_flow(struct auth_fixture *f, const struct auth_flow_request *rq, bool callback);
/* Asks until the answer is no 503, at most 5 s. */
struct asked auth_ask_until_ready(struct auth_fixture *f, const struct auth_request *rq);
/* A parameter of a URL, decoded, into out. */
void url_param(const char *url, const char *name, char *out, size_t size);
