/* SPDX-License-Identifier: Apache-2.0
 * YAML 1.1 scalars as Tempo's decoder reads them, Go and Prometheus durations, and their printing.
 * Pure functions. Problems are texts such as "cannot unmarshal !!str `5x` into time.Duration". */
#pragma once

#include "node.h"
#include "schema.h"

struct value {
    bool b;
    bool bare; /* a duration given as a bare number of nanoseconds */
    int64_t i; /* int, duration */
    uint64_t u;
    double f;
    struct str s;
};

#define PROBLEM_MAX 256

/* Reads a scalar key's value. False: `problem` says why. A plain null gives the zero value. */
bool value_parse(
    enum key_type type, const struct node *n, struct value *ret, char problem[PROBLEM_MAX]);
/* "cannot unmarshal !!seq into <go type>". */
void problem_mismatch(const struct node *n, const char *go_type, char problem[PROBLEM_MAX]);
const char *key_type_go(enum key_type type);
bool values_equal(enum key_type type, const struct value *a, const struct value *b);

bool duration_parse_go(struct str s, int64_t *ret);
bool duration_parse_prom(struct str s, int64_t *ret);
bool bool_parse_go(struct str s, bool *ret); /* flags: 1 t T TRUE true True ... */
bool int_parse_go(struct str s, bool is_signed, unsigned bits, int64_t *ret); /* base 0 */
/* "336h0m0s", "1.5s", "100ms", "0s"; needs 40 bytes. */
void duration_format_go(int64_t ns, char out[40]);
