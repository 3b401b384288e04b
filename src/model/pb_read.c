/* SPDX-License-Identifier: Apache-2.0
 * The parts of the protobuf reader that are not hot: unknown fields, groups, and errors. */
#include "pb_read.h"

void pb_fail_set(struct pb_err *e, const uint8_t *at, const char *what)
{
    *e = (struct pb_err){.at = at, .what = what};
}

/* Everything but groups. */
static const uint8_t *pb_skip_flat(const uint8_t *p, const uint8_t *end, uint32_t wire)
{
    uint64_t v;
    size_t n;

    switch (wire) {
    case PB_VARINT:
        return pb_varint(p, end, &v);
    case PB_FIXED64:
        return end - p >= 8 ? p + 8 : NULL;
    case PB_FIXED32:
        return end - p >= 4 ? p + 4 : NULL;
    case PB_LEN:
        p = pb_len(p, end, &n);
        return p == NULL ? NULL : p + n;
    default:
        return NULL;
    }
}

const uint8_t *pb_skip(const uint8_t *p, const uint8_t *end, uint32_t tag)
{
    uint32_t open[PB_GROUP_DEPTH];
    unsigned n_open = 0;

    for (;;) {
        uint32_t wire = tag & 7, field = tag >> 3;
        if (wire == PB_GROUP_BEGIN) {
            if (n_open == PB_GROUP_DEPTH)
                return NULL;
            open[n_open++] = field;
        } else if (wire == PB_GROUP_END) {
            if (n_open == 0 || open[n_open - 1] != field)
                return NULL;
            n_open--;
        } else {
            p = pb_skip_flat(p, end, wire);
        }
        if (n_open == 0 || p == NULL)
            return p;
        p = pb_tag(p, end, &tag);
        if (p == NULL)
            return NULL;
    }
}
