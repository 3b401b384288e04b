/* SPDX-License-Identifier: Apache-2.0
 * Query parsing, percent-decoding, path cleaning, Accept-Encoding, ClientHello sniffing: text from
 * outside before anybody is authenticated. Checks that cleaning is idempotent and that escaping can
 * be undone. */
#include <stdlib.h>

#include "../../src/server/server_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_path(struct arena *a, struct str in)
{
    struct str once, twice, escaped, back;
    bool bad;
    ASSERT(http_path_clean(a, in, &once));
    ASSERT(http_path_clean(a, once, &twice));
    ASSERT(str_eq(once, twice));
    ASSERT(once.n != 0 && once.p[0] == '/' && !str_has(once, STR("//")));
    ASSERT(!str_has(once, STR("/../")) && !str_has(once, STR("/./")));
    ASSERT(http_path_escape(a, once, &escaped));
    ASSERT(http_unescape(a, escaped, false, &back, &bad) && !bad);
    ASSERT(str_eq(once, back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a;
    struct http_param *params;
    size_t n_params, n_pairs = 1;
    struct str in = str_n((const char *)data, n), plain;
    bool bad;
    arena_init(&a, NULL, 0);
    for (size_t i = 0; i < n; i++)
        n_pairs += data[i] == '&';
    ASSERT(http_params_parse(&a, in, &params, &n_params));
    ASSERT(n_params <= n_pairs && n_params <= HTTP_PARAMS_MAX);
    for (size_t i = 0; i < n_params; i++)
        ASSERT(params[i].key.n <= n && params[i].value.n <= n);
    ASSERT(http_unescape(&a, in, true, &plain, &bad));
    if (!bad)
        ASSERT(plain.n <= n);
    check_path(&a, in);
    (void)accept_encoding_choose(in);
    (void)sniff_plain(bytes_n(data, n));
    (void)sniff_client_hello(bytes_n(data, n));
    (void)grpc_is(in);
    struct str escaped = grpc_message_escape(&a, in);
    ASSERT(http_unescape(&a, escaped, false, &plain, &bad) && !bad && str_eq(plain, in));
    arena_deinit(&a);
    return 0;
}
