/* SPDX-License-Identifier: Apache-2.0
 * Identities and decisions: one allocation each, texts behind the struct; and the keys under which
 * the caches know them. */
#include <stdlib.h>

#include "auth_int.h"

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str put(char **at, struct str s)
{
    struct str copy = {*at, s.n};
    if (s.n != 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

static size_t text_size(const struct str *list, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += list[i].n;
    return size;
}

static void identity_destroy(struct cache_value *v)
{
    struct identity *i = CONTAINER_OF(v, struct identity, base);
    if (i->token.n != 0)
        explicit_bzero((void *)(uintptr_t)i->token.p, i->token.n);
    free(i->groups);
    free(i);
}

/* Order of groups must not make another identity: the hash is over the sorted list. */
static void identity_print(struct identity *i)
{
    struct str *sorted = xmalloc((i->n_groups + 1) * sizeof(*sorted));
    struct bytes *parts = xmalloc((i->n_groups + 1) * sizeof(*parts));
    if (i->n_groups != 0)
        memcpy(sorted, i->groups, i->n_groups * sizeof(*sorted));
    qsort(sorted, i->n_groups, sizeof(*sorted), by_text);
    parts[0] = bytes_of_str(i->subject);
    for (size_t g = 0; g < i->n_groups; g++)
        parts[g + 1] = bytes_of_str(sorted[g]);
    keyed_hash(parts, i->n_groups + 1, &i->print);
    free(sorted);
    free(parts);
}

struct identity *identity_new(const struct tenant *t, struct str subject, const struct str *groups,
    size_t n_groups, const char *extra_group, struct str token)
{
    struct str extra = str_from(extra_group);
    for (size_t g = 0; g < n_groups && extra.n != 0; g++)
        if (str_eq(groups[g], extra))
            extra.n = 0;
    size_t n_all = n_groups + (extra.n != 0);
    size_t text = subject.n + token.n + extra.n + text_size(groups, n_groups);
    struct identity *i = xcalloc(1, sizeof(*i) + text);
    char *at = i->text;
    cache_value_init(&i->base, sizeof(*i) + text + n_all * sizeof(struct str), identity_destroy);
    i->subject = put(&at, subject);
    i->token = put(&at, token);
    i->groups = xcalloc(n_all + 1, sizeof(*i->groups));
    for (size_t g = 0; g < n_groups; g++)
        i->groups[i->n_groups++] = put(&at, groups[g]);
    if (extra.n != 0)
        i->groups[i->n_groups++] = put(&at, extra);
    identity_print(i);
    if (t->rule == AUTH_BY_ROLES)
        i->may = roles_of(t->a->roles, str_from(t->name), i->subject, i->groups, i->n_groups);
    return i;
}

struct identity *identity_refused(enum refusal refusal)
{
    struct identity *i = xcalloc(1, sizeof(*i));
    cache_value_init(&i->base, sizeof(*i), identity_destroy);
    i->refusal = refusal;
    return i;
}

static void decision_destroy(struct cache_value *v)
{
    struct decision *d = CONTAINER_OF(v, struct decision, base);
    free(d->namespaces);
    free(d);
}

struct decision *decision_new(
    enum refusal refusal, bool has_namespaces, const struct str *namespaces, size_t n)
{
    size_t text = text_size(namespaces, n);
    struct decision *d = xcalloc(1, sizeof(*d) + text);
    char *at = d->text;
    cache_value_init(&d->base, sizeof(*d) + text + n * sizeof(struct str), decision_destroy);
    d->refusal = refusal;
    d->has_namespaces = has_namespaces;
    d->namespaces = xcalloc(n + 1, sizeof(*d->namespaces));
    for (size_t i = 0; i < n; i++)
        d->namespaces[i] = put(&at, namespaces[i]);
    qsort(d->namespaces, n, sizeof(*d->namespaces), by_text);
    for (size_t i = 0; i < n; i++)
        if (d->n_namespaces == 0 || !str_eq(d->namespaces[d->n_namespaces - 1], d->namespaces[i]))
            d->namespaces[d->n_namespaces++] = d->namespaces[i];
    return d;
}

void token_key(const struct tenant *t, const char *kind, struct str token, struct cache_key *ret)
{
    struct digest d;
    const struct bytes parts[] = {
        bytes_n(&t->index, sizeof(t->index)), bytes_of_str(str_from(kind)), bytes_of_str(token)};
    memset(ret, 0, sizeof(*ret));
    keyed_hash(parts, ARRAY_LEN(parts), &d);
    memcpy(ret->b, d.b, sizeof(d.b));
}

void decision_key(const struct tenant *t, enum auth_permission permission, bool want_namespaces,
    const struct cache_key *credential, const struct identity *who, struct cache_key *ret)
{
    /* The credential's hash first: it spreads. Then half of the identity's, the tenant, the
     * wish. */
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->b, credential->b, DIGEST_BYTES);
    memcpy(ret->b + DIGEST_BYTES, who->print.b, 16);
    put_u32le(ret->b + 48, t->index);
    ret->b[52] = (uint8_t)permission;
    ret->b[53] = want_namespaces;
}
