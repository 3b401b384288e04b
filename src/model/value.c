/* SPDX-License-Identifier: Apache-2.0
 * Attribute values: the AnyValue decoder and the iterators over arrays and key-value lists.
 *
 * value_decode checks a value to its last byte (wire types, lengths, depth) and adds up its
 * canonical size in the same walk; arrays and lists then stay raw. The iterators decode one level
 * again, on bytes that were checked: they descend with the depth spent, which only costs the time
 * of the walk.
 *
 * INVARIANT: the recursion is value_decode -> value_decode_list -> value_decode, with depth + 1
 * each turn, so the stack is bounded by VALUE_DEPTH_MAX whatever the input.
 */
#include "pb_read.h"

#define VALUE_FIELD_LAST 7 /* bytes_value; 8 is a profiles-only index and is skipped */

/* ArrayValue and KeyValueList differ only in what field 1 is. */
static bool value_decode_list(const uint8_t *p, const uint8_t *end, unsigned depth, bool is_kvlist,
    uint64_t *ret_size, struct pb_err *e)
{
    uint64_t total = 0;

    while (p < end) {
        const uint8_t *at = p;
        uint32_t tag;
        size_t n;
        p = pb_tag(p, end, &tag);
        if (p == NULL)
            return pb_fail(e, at, "bad tag");
        if (tag != PB_TAG(1, PB_LEN)) {
            if (tag >> 3 == 1)
                return pb_fail(e, at, "wrong wire type in a list value");
            p = pb_skip(p, end, tag);
            if (p == NULL)
                return pb_fail(e, at, "bad field");
            continue;
        }
        p = pb_len(p, end, &n);
        if (p == NULL)
            return pb_fail(e, at, "length past the end");
        uint64_t size = 0;
        if (is_kvlist) {
            struct attr kv;
            if (!value_decode_attr(p, p + n, depth + 1, &kv, &size, e))
                return false;
        } else {
            struct value v = {.type = VALUE_EMPTY};
            if (!value_decode(p, p + n, depth + 1, &v, &size, e))
                return false;
        }
        total += pb_len_size(size);
        p += n;
    }
    *ret_size = total;
    return true;
}

/* The members that are length-delimited: string, bytes, array, kvlist. */
static bool value_decode_bytes(const uint8_t *p, size_t n, uint32_t tag, unsigned depth,
    struct value *v, uint64_t *size, struct pb_err *e)
{
    uint64_t inner = n;

    v->s = str_n((const char *)p, n);
    switch (tag) {
    case PB_TAG(1, PB_LEN):
        v->type = VALUE_STR;
        break;
    case PB_TAG(7, PB_LEN):
        v->type = VALUE_BYTES;
        break;
    case PB_TAG(5, PB_LEN):
        v->type = VALUE_ARRAY;
        if (!value_decode_list(p, p + n, depth, false, &inner, e))
            return false;
        break;
    default:
        v->type = VALUE_KVLIST;
        if (!value_decode_list(p, p + n, depth, true, &inner, e))
            return false;
        break;
    }
    *size = pb_len_size(inner);
    return true;
}

bool value_decode(const uint8_t *p, const uint8_t *end, unsigned depth, struct value *v,
    uint64_t *size, struct pb_err *e)
{
    if (depth > VALUE_DEPTH_MAX)
        return pb_fail(e, p, "attribute value nested too deep");
    while (p < end) {
        const uint8_t *at = p;
        uint32_t tag;
        uint64_t x;
        size_t n;
        p = pb_tag(p, end, &tag);
        if (p == NULL)
            return pb_fail(e, at, "bad tag");
        switch (tag) {
        case PB_TAG(1, PB_LEN):
        case PB_TAG(5, PB_LEN):
        case PB_TAG(6, PB_LEN):
        case PB_TAG(7, PB_LEN):
            p = pb_len(p, end, &n);
            if (p == NULL)
                return pb_fail(e, at, "length past the end");
            if (!value_decode_bytes(p, n, tag, depth, v, size, e))
                return false;
            p += n;
            break;
        case PB_TAG(2, PB_VARINT):
        case PB_TAG(3, PB_VARINT):
            p = pb_varint(p, end, &x);
            if (p == NULL)
                return pb_fail(e, at, "bad varint");
            if (tag == PB_TAG(2, PB_VARINT)) {
                v->type = VALUE_BOOL;
                v->s = (struct str){0}; /* no stale bytes behind the one that bool sets */
                v->b = x != 0;
                *size = 2;
            } else {
                v->type = VALUE_INT;
                v->i = (int64_t)x;
                *size = 1 + pb_varint_size(x);
            }
            break;
        case PB_TAG(4, PB_FIXED64):
            if (end - p < 8)
                return pb_fail(e, at, "double past the end");
            v->type = VALUE_DOUBLE;
            memcpy(&v->d, p, 8);
            *size = 9;
            p += 8;
            break;
        default:
            if (tag >> 3 <= VALUE_FIELD_LAST)
                return pb_fail(e, at, "wrong wire type in an attribute value");
            p = pb_skip(p, end, tag);
            if (p == NULL)
                return pb_fail(e, at, "bad field");
        }
    }
    return true;
}

bool value_decode_attr(const uint8_t *p, const uint8_t *end, unsigned depth, struct attr *ret,
    uint64_t *ret_size, struct pb_err *e)
{
    struct attr kv = {.value.type = VALUE_EMPTY};
    uint64_t value_size = 0;

    while (p < end) {
        const uint8_t *at = p;
        uint32_t tag;
        size_t n;
        p = pb_tag(p, end, &tag);
        if (p == NULL)
            return pb_fail(e, at, "bad tag");
        if (tag != PB_TAG(1, PB_LEN) && tag != PB_TAG(2, PB_LEN)) {
            if (tag >> 3 <= 2)
                return pb_fail(e, at, "wrong wire type in an attribute");
            p = pb_skip(p, end, tag);
            if (p == NULL)
                return pb_fail(e, at, "bad field");
            continue;
        }
        p = pb_len(p, end, &n);
        if (p == NULL)
            return pb_fail(e, at, "length past the end");
        if (tag == PB_TAG(1, PB_LEN))
            kv.key = str_n((const char *)p, n);
        else if (!value_decode(p, p + n, depth, &kv.value, &value_size, e))
            return false;
        p += n;
    }
    *ret = kv;
    *ret_size = (kv.key.n == 0 ? 0 : pb_len_size(kv.key.n)) + pb_len_size(value_size);
    return true;
}

/* The next element of field 1, or NULL. */
static const uint8_t *value_list_next(struct str list, const char **cursor, size_t *ret_n)
{
    const uint8_t *end = (const uint8_t *)list.p + list.n;
    const uint8_t *p = (const uint8_t *)(*cursor == NULL ? list.p : *cursor);

    while (p != NULL && p < end) {
        uint32_t tag;
        p = pb_tag(p, end, &tag);
        if (p == NULL)
            break;
        if (tag == PB_TAG(1, PB_LEN)) {
            p = pb_len(p, end, ret_n);
            if (p != NULL)
                *cursor = (const char *)p + *ret_n;
            return p;
        }
        p = pb_skip(p, end, tag);
    }
    return NULL;
}

bool value_array_next(struct str array, const char **cursor, struct value *ret)
{
    struct value v = {.type = VALUE_EMPTY};
    struct pb_err e;
    uint64_t size;
    size_t n;

    const uint8_t *p = value_list_next(array, cursor, &n);
    if (p == NULL || !value_decode(p, p + n, 1, &v, &size, &e))
        return false;
    *ret = v;
    return true;
}

bool value_kvlist_next(struct str kvlist, const char **cursor, struct attr *ret)
{
    struct pb_err e;
    uint64_t size;
    size_t n;

    const uint8_t *p = value_list_next(kvlist, cursor, &n);
    return p != NULL && value_decode_attr(p, p + n, 1, ret, &size, &e);
}
