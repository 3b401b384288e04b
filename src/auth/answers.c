/* SPDX-License-Identifier: Apache-2.0
 * See answers.h. */
#include "answers.h"

static const struct refusal_row {
    enum auth_outcome outcome;
    unsigned http, grpc;
    const char *text, *grpc_text;
} rows[] = {
#define X(name, outcome, http, grpc, text, grpc_text) \
    [name] = {outcome, http, grpc, text, grpc_text},
    REFUSALS(X)
#undef X
};

void answer_refusal(enum refusal r, bool is_grpc, struct auth_answer *ret)
{
    const struct refusal_row *row = &rows[r];
    const char *text = is_grpc && row->grpc_text != NULL ? row->grpc_text : row->text;
    ASSERT(r != R_WAIT);
    *ret = (struct auth_answer){
        .outcome = row->outcome,
        .http_status = row->http,
        .grpc_status = row->grpc,
        .message = str_from(text),
        .retry_after_s = row->outcome == AUTH_UNAVAILABLE ? RETRY_AFTER_S : 0,
        .www_authenticate = row->http == 401,
    };
}

const char *http_reason(unsigned status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "";
    }
}
