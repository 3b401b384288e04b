/* SPDX-License-Identifier: Apache-2.0
 * Attribute values as OTLP has them (opentelemetry/proto/common/v1 AnyValue).
 *
 * Strings and bytes are views. Arrays and key-value lists stay in their protobuf encoding (the
 * bytes of the ArrayValue or KeyValueList message), already checked for depth (<= 64) and
 * well-formedness by the decoder, so that a span comes back exactly as it was sent.
 * value_array_next walks them.
 */
#pragma once

#include "base/bytes.h"

/* On disk and in WAL statistics: never renumber. */
enum value_type {
    VALUE_EMPTY = 0, /* AnyValue without a member */
    VALUE_STR = 1,
    VALUE_INT = 2,
    VALUE_DOUBLE = 3,
    VALUE_BOOL = 4,
    VALUE_BYTES = 5,
    VALUE_ARRAY = 6,  /* protobuf bytes of ArrayValue */
    VALUE_KVLIST = 7, /* protobuf bytes of KeyValueList */
    VALUE_TYPES = 8,
};

struct value {
    enum value_type type;
    union {
        struct str s; /* STR, BYTES, ARRAY, KVLIST */
        int64_t i;
        double d;
        bool b;
    };
};

struct attr {
    struct str key;
    struct value value;
};

#define VALUE_DEPTH_MAX 64

/* Iterates over the elements of a VALUE_ARRAY: *cursor starts NULL. False at the end (or on bytes
 * that are not valid, which the decoder never lets in). */
bool value_array_next(struct str array, const char **cursor, struct value *ret);
/* The same for the members of a VALUE_KVLIST. */
bool value_kvlist_next(struct str kvlist, const char **cursor, struct attr *ret);
