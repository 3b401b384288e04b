/* SPDX-License-Identifier: Apache-2.0
 * A set of labels on its way to the registry: added, cut, sorted, hashed. The values are views of
 * the batch or of the builder's scratch; nothing is kept. */
#pragma once

#include "base/arena.h"
#include "generator/generator.h"

#define LABELS_MAX 128 /* in one set; more are left out */

struct labels {
    struct generator_label p[LABELS_MAX];
    uint32_t n;
    uint32_t name_max, value_max; /* bytes; 0: off */
    struct arena text;            /* values that had to be made, kept until labels_begin */
    uint64_t hash;
};

void labels_init(struct labels *l);
void labels_begin(struct labels *l, uint32_t name_max, uint32_t value_max);
/* The last value of a name wins; an empty value removes the name. */
void labels_add(struct labels *l, struct str name, struct str value);
/* Sorts and hashes. */
void labels_close(struct labels *l);
/* Names and values are UTF-8. What the registry knows already is: asked for new sets only. */
bool labels_valid(const struct labels *l) MUST_USE;
void labels_deinit(struct labels *l);
/* Hash over names and values in order. */
uint64_t labels_hash(const struct generator_label *p, uint32_t n);

/* [a-zA-Z0-9_], anything else (a whole character at a time) becomes '_'. Into the arena; p == NULL
 * when it refuses. */
struct str label_name_sanitize(struct arena *a, struct str name);
