/* SPDX-License-Identifier: Apache-2.0
 * Answers of the front itself, as the original gateway words them. */
#include "front_int.h"

void put_error_json(struct buf *out, struct str message)
{
    buf_putz(out, "{\"error\":");
    api_put_json_str(out, message);
    buf_putz(out, ",\"errorType\":\"observatorium-api\",\"status\":\"error\"}\n");
}

void respond_error(struct exchange *ex, unsigned status, struct str message)
{
    struct buf b = BUF_INIT;
    put_error_json(&b, message);
    exchange_respond(ex, status, "application/json; charset=utf-8", &b, false);
}

void respond_empty(struct exchange *ex, unsigned status)
{
    struct buf b = BUF_INIT;
    exchange_respond(ex, status, NULL, &b, false);
}

void respond_not_found(struct exchange *ex)
{
    exchange_set_header(ex, "X-Content-Type-Options", STR("nosniff"));
    exchange_respond_text(ex, 404, "404 page not found\n");
}
