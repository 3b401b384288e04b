/* SPDX-License-Identifier: Apache-2.0
 * tenants.yaml and rbac.yaml. First byte: bit 0 roles instead of tenants, bit 1 mode openshift. A
 * list that is taken has distinct names and ids that storage takes. */
#include <stdlib.h>

#include "gateway/tenant.h"
#include "src/config/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_tenants(const struct config_gateway *g)
{
    ASSERT(g->n_tenants > 0);
    for (size_t i = 0; i < g->n_tenants; i++) {
        const struct gateway_tenant *t = &g->tenants[i];
        struct str id;
        ASSERT(tenant_id_check(str_from(t->id), &id, NULL) == EC_OK && str_eqz(id, t->id));
        ASSERT(t->name[0] != 0 && strchr(t->name, '/') == NULL && t->opa_url != NULL);
        for (size_t k = 0; k < i; k++)
            ASSERT(strcmp(g->tenants[k].name, t->name) != 0);
        if (t->broken == NULL && t->authn == GATEWAY_AUTHN_OIDC)
            ASSERT(t->oidc.client_id[0] != 0 && strncmp(t->oidc.issuer_url, "http", 4) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct config c = {0};
    struct err err;
    struct node *root;
    if (n == 0)
        return 0;
    arena_init(&c.arena, NULL, 0);
    c.gateway.mode = (data[0] & 2) != 0 ? "openshift" : "";
    enum ec ec = node_parse(str_n((const char *)data + 1, n - 1), &c.arena, &root, &err);
    if (ec == EC_OK && (data[0] & 1) != 0)
        ec = rbac_read(&c, root, &err);
    else if (ec == EC_OK)
        ec = tenants_read(&c, node_get(root, STR("tenants")), &err);
    if (ec == EC_OK && (data[0] & 1) == 0)
        check_tenants(&c.gateway);
    free(c.warnings);
    arena_deinit(&c.arena);
    return 0;
}
