/* SPDX-License-Identifier: Apache-2.0
 * JSON of other services: key sets, reviews, project lists, answers of policy engines. */
#include "src/auth/auth_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void decision_check(struct decision *d)
{
    if (d == NULL)
        return;
    ASSERT(d->has_namespaces == (d->n_namespaces != 0));
    ASSERT(!d->has_namespaces || d->refusal == R_OK);
    for (size_t i = 1; i < d->n_namespaces; i++)
        ASSERT(str_cmp(d->namespaces[i - 1], d->namespaces[i]) < 0);
    decision_unref(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tenant t = {.rule = AUTH_BY_REVIEW};
    struct str text = str_n((const char *)data, n);
    struct jwks *keys;
    bool explained;
    if (jwks_parse(text, &keys, NULL) == EC_OK) {
        for (size_t i = 0; i < keys->n; i++)
            ASSERT(keys->keys[i].algs != 0);
        cache_value_unref(&keys->base);
    }
    struct identity *who = token_review_parse(&t, text, &explained, NULL);
    if (who != NULL)
        ASSERT((who->refusal == R_OK) == (who->subject.n != 0));
    identity_unref(who);
    decision_check(projects_parse(text));
    decision_check(opa_parse(text, true));
    decision_check(opa_parse(text, false));
    return 0;
}
