/* SPDX-License-Identifier: Apache-2.0
 * Session ids: made at initialize, afterwards checked by their form only. */
#include <sys/random.h>

#include "base/hash.h"
#include "mcp.h"

#define PREFIX STR("mcp-session-")

void mcp_session_new(char out[MCP_SESSION_LEN])
{
    uint8_t b[16];
    char hex[32];
    if (getrandom(b, sizeof(b), 0) != sizeof(b)) /* no entropy yet: names nothing secret */
        memset(b, 0x5a, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* a UUID of version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(hex, b, 16);
    memcpy(out, PREFIX.p, PREFIX.n);
    size_t at = PREFIX.n;
    for (size_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[at++] = '-';
        out[at++] = hex[i];
    }
    ASSERT(at == MCP_SESSION_LEN);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The forms that Go's uuid.Parse takes: plain, with dashes, {in braces}, urn:uuid:... */
bool mcp_session_valid(struct str session)
{
    if (!str_starts(session, PREFIX))
        return false;
    struct str id = str_n(session.p + PREFIX.n, session.n - PREFIX.n);
    if (id.n == 38) /* braces: their kind is not looked at */
        id = str_n(id.p + 1, 36);
    else if (id.n == 45 && str_ieq(str_n(id.p, 9), STR("urn:uuid:")))
        id = str_n(id.p + 9, 36);
    if (id.n != 36 && id.n != 32)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        bool dash = id.n == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        if (dash ? id.p[i] != '-' : !is_hex(id.p[i]))
            return false;
    }
    return true;
}
