/* SPDX-License-Identifier: Apache-2.0
 * Messages of MCP clients. Whatever comes, an answer is one JSON-RPC object: version, an id, and
 * either a result or an error; and what a tool says, any bytes, does not change that. */
#include <jansson.h>
#include <stdlib.h>

#include "../../src/api/mcp/mcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct buf *out, const json_t *sent)
{
    /* a tool may say it */
    json_t *got = json_loadb((const char *)out->p, out->n, JSON_ALLOW_NUL, NULL);
    ASSERT(json_is_object(got));
    const json_t *version = json_object_get(got, "jsonrpc"), *id = json_object_get(got, "id"),
                 *error = json_object_get(got, "error"), *result = json_object_get(got, "result");
    ASSERT(json_is_string(version) && strcmp(json_string_value(version), "2.0") == 0);
    ASSERT(json_is_string(id) || json_is_number(id) || json_is_null(id));
    ASSERT((error != NULL) != (result != NULL));
    ASSERT(json_object_size(got) == 3);
    if (error != NULL)
        ASSERT(json_is_integer(json_object_get(error, "code")) &&
               json_is_string(json_object_get(error, "message")));
    else
        ASSERT(json_is_object(result));
    if (result != NULL && sent != NULL) /* who is answered asked so */
        ASSERT(json_equal(id, json_object_get(sent, "id")));
    json_decref(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct budget budget;
    struct arena arena;
    struct buf out;
    struct mcp_call call;
    char session[MCP_SESSION_LEN];
    struct bytes body = bytes_n(data, n);
    mcp_session_new(session);
    ASSERT(mcp_session_valid(str_n(session, sizeof(session))));
    (void)mcp_session_valid(str_of_bytes(body));
    budget_init(&budget, NULL, "fuzz", 64u << 20);
    arena_init(&arena, &budget, 0);
    buf_init(&out, &budget);
    json_t *sent = json_loadb((const char *)data, n, JSON_ALLOW_NUL, NULL);
    enum mcp_outcome outcome =
        mcp_handle(body, str_n(session, sizeof(session)), &arena, &budget, &out, &call);
    if (outcome == MCP_ANSWER || outcome == MCP_INITIALIZED || outcome == MCP_MALFORMED) {
        check(&out, sent);
    } else if (outcome == MCP_CALL) {
        ASSERT(out.n == 0 && call.tool != NULL);
        for (unsigned failed = 0; failed < 2; failed++) {
            buf_reset(&out);
            mcp_put_result(call.tool, call.id, failed, str_of_bytes(body), &out);
            check(&out, sent);
        }
    } else {
        ASSERT(out.n == 0 || outcome == MCP_OVER_BUDGET);
    }
    json_decref(sent);
    buf_deinit(&out);
    arena_deinit(&arena);
    budget_deinit(&budget);
    return 0;
}
