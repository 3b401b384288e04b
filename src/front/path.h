/* SPDX-License-Identifier: Apache-2.0
 * Paths of the public HTTP port: pure text, no state.
 *
 * A path is split and matched as it was sent, and each part decoded once: an encoded slash or dot
 * never changes which tenant or route is meant. */
#pragma once

#include "auth/auth.h"
#include "base/arena.h"

enum front_place {
    PLACE_ROOT,     /* "/" */
    PLACE_NOWHERE,  /* no tenant in it */
    PLACE_TENANT,   /* "/T" */
    PLACE_API,      /* below "/api/traces/v1/T" */
    PLACE_LOGIN,    /* "/openshift/T/login", "/oidc/T/login" */
    PLACE_CALLBACK, /* ".../callback" */
};

enum front_route {
    ROUTE_NONE, /* 404 */
    ROUTE_TEMPO,
    ROUTE_OTLP,
};

struct front_path {
    enum front_place place;
    struct str tenant;       /* decoded */
    enum auth_method method; /* of logins */

    enum front_route route; /* PLACE_API */
    struct str raw;         /* what follows the tenant (and, for Tempo, "/tempo"), encoded */
    struct str decoded;     /* the same, decoded once */
};

/* False: the arena refuses. */
bool front_path_parse(struct arena *a, struct str raw_path, struct front_path *ret) MUST_USE;
/* What query RBAC leaves open of Tempo's API (a decoded path). */
bool front_path_namespaced(struct str path);
