/* SPDX-License-Identifier: Apache-2.0
 * Cookies: nobody can make one that opens; what is sealed comes back; even a sealed text of any
 * content is read without harm. */
#include <stdlib.h>

#include "src/auth/auth_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tenant t;
    struct str in = str_n((const char *)data, n), value, first, second;
    struct buf sealed = BUF_INIT, plain = BUF_INIT;
    if (t.name == NULL) {
        t.name = xstrdup("dev");
        t.rule = AUTH_BY_REVIEW;
        secrets_derive(&t, STR("0123456789abcdef"));
    }
    ASSERT(session_open(&t, in, 0) == NULL);
    if (cookie_find(in, STR("observatorium_dev"), &value)) {
        ASSERT(value.p >= in.p && value.p + value.n <= in.p + in.n);
        ASSERT(session_open(&t, value, 0) == NULL);
    }
    if (two_words(in, &first, &second))
        ASSERT(first.n + 1 + second.n == in.n);
    if (path_is_local(in))
        ASSERT(in.p[0] == '/' && memchr(in.p, '\n', in.n) == NULL);
    seal(t.session_key, bytes_n(data, n), &sealed);
    if (sealed.n <= 16384) {
        ASSERT(unseal(t.session_key, buf_str(&sealed), &plain));
        ASSERT(bytes_eq(buf_bytes(&plain), bytes_n(data, n)));
        buf_reset(&plain);
        ASSERT(!unseal(t.state_key, buf_str(&sealed), &plain));
        struct identity *i = session_open(&t, buf_str(&sealed), 1);
        if (i != NULL) {
            struct session s = {.expires_s = i->expires_s,
                .subject = i->subject,
                .token = i->token,
                .groups = i->groups,
                .n_groups = i->n_groups};
            buf_reset(&plain);
            session_put(&s, &plain);
            buf_reset(&sealed);
            seal(t.session_key, buf_bytes(&plain), &sealed);
            struct identity *again = session_open(&t, buf_str(&sealed), 1);
            ASSERT(again != NULL && memcmp(&again->print, &i->print, sizeof(i->print)) == 0);
            identity_unref(again);
            identity_unref(i);
        }
    }
    buf_deinit(&sealed);
    buf_deinit(&plain);
    return 0;
}
