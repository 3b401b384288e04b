/* SPDX-License-Identifier: Apache-2.0
 * Trace ids as text: what clients type and what answers show. */
#include "model/ids.h"

bool trace_id_parse(struct trace_id *ret, struct str hex)
{
    if (hex.n == 0 || hex.n > 32)
        return false;
    char padded[32];
    memset(padded, '0', sizeof(padded));
    memcpy(padded + sizeof(padded) - hex.n, hex.p, hex.n);
    struct trace_id id;
    if (!hex_decode(id.b, str_n(padded, sizeof(padded)), sizeof(id.b)))
        return false;
    *ret = id;
    return true;
}

size_t trace_id_short_hex(char out[32], const struct trace_id *id)
{
    char full[32];
    size_t zeros = 0;

    hex_encode(full, id->b, sizeof(id->b));
    while (zeros < sizeof(full) - 1 && full[zeros] == '0')
        zeros++;
    memcpy(out, full + zeros, sizeof(full) - zeros);
    return sizeof(full) - zeros;
}
