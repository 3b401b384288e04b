/* SPDX-License-Identifier: Apache-2.0 */
#include "labels.h"

#include "base/hash.h"

void labels_init(struct labels *l)
{
    l->n = 0;
    arena_init(&l->text, NULL, 1024);
}

void labels_begin(struct labels *l, uint32_t name_max, uint32_t value_max)
{
    l->n = 0;
    l->name_max = name_max;
    l->value_max = value_max;
    if (l->text.chunk != NULL)
        arena_reset(&l->text);
}

void labels_deinit(struct labels *l)
{
    arena_deinit(&l->text);
}

static struct str cut(struct str s, uint32_t max)
{
    return max != 0 && s.n > max ? str_n(s.p, max) : s;
}

void labels_add(struct labels *l, struct str name, struct str value)
{
    name = cut(name, l->name_max);
    value = cut(value, l->value_max);
    uint32_t i = 0;
    while (i < l->n && !str_eq(l->p[i].name, name))
        i++;
    if (value.n == 0) {
        if (i < l->n)
            l->p[i] = l->p[--l->n];
        return;
    }
    if (i == LABELS_MAX)
        return;
    l->p[i] = (struct generator_label){name, value};
    if (i == l->n)
        l->n++;
}

uint64_t labels_hash(const struct generator_label *p, uint32_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15ULL + n;
    for (uint32_t i = 0; i < n; i++) { /* lengths are mixed in, so that borders cannot move */
        h = hash64_seed(p[i].name.p, p[i].name.n, h + p[i].name.n);
        h = hash64_seed(p[i].value.p, p[i].value.n, h + p[i].value.n);
    }
    return h;
}

void labels_close(struct labels *l)
{
    for (uint32_t i = 1; i < l->n; i++) { /* a handful, nearly sorted: insertion sort */
        struct generator_label x = l->p[i];
        uint32_t at = i;
        for (; at > 0 && str_cmp(l->p[at - 1].name, x.name) > 0; at--)
            l->p[at] = l->p[at - 1];
        l->p[at] = x;
    }
    l->hash = labels_hash(l->p, l->n);
}

bool labels_valid(const struct labels *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!str_utf8_valid(l->p[i].name) || !str_utf8_valid(l->p[i].value))
            return false;
    return true;
}

struct str label_name_sanitize(struct arena *a, struct str name)
{
    char *out = arena_alloc(a, name.n);
    size_t n = 0;
    if (out == NULL)
        return (struct str){0};
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = (uint8_t)name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        out[n++] = plain ? (char)c : '_';
        if (c >= 0xc0) /* the rest of a character */
            while (i + 1 < name.n && ((uint8_t)name.p[i + 1] & 0xc0) == 0x80)
                i++;
    }
    return str_n(out, n);
}
