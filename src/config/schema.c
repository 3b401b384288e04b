/* SPDX-License-Identifier: Apache-2.0
 * Lookups in the key tables. */
#include "schema.h"

#include <stdio.h>
#include <string.h>

const struct key *schema_key(const struct block *b, struct str name)
{
    for (size_t i = 0; i < b->n; i++)
        if (str_eqz(name, b->keys[i].name))
            return &b->keys[i];
    return NULL;
}

const struct key *schema_at(const char *path)
{
    const struct block *b = &schema_root;
    const struct key *k = NULL;
    struct str rest = str_from(path);
    while (rest.n > 0) {
        if (b == NULL)
            return NULL;
        k = schema_key(b, str_cut(rest, '.', &rest));
        if (k == NULL)
            return NULL;
        b = k->block;
    }
    return k;
}

#define HINT_NAME_MAX 64

/* Edit distance (insert, delete, replace), for names of up to HINT_NAME_MAX bytes. */
static size_t distance(struct str a, struct str b)
{
    size_t row[HINT_NAME_MAX + 1];
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t replace = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.n];
}

const char *schema_hint(const struct block *b, struct str name)
{
    const char *best = NULL;
    size_t best_distance = 1 + name.n / 3; /* a third of the letters may be wrong */
    if (name.n > HINT_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < b->n; i++) {
        struct str candidate = str_from(b->keys[i].name);
        if (candidate.n > HINT_NAME_MAX)
            continue;
        size_t d = distance(name, candidate);
        if (d < best_distance) {
            best_distance = d;
            best = b->keys[i].name;
        }
    }
    return best;
}

void schema_each(const struct block *b, const char *prefix, size_t base,
    void (*each)(void *ctx, const struct key *k, const char *path, size_t base), void *ctx)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        char path[SCHEMA_PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == 0 ? "" : ".", k->name);
        ASSERT(n > 0 && (size_t)n < sizeof(path));
        if (k->type == KT_BLOCK)
            schema_each(k->block, path, base + k->offset, each, ctx);
        else
            each(ctx, k, path, base);
    }
}
