/* SPDX-License-Identifier: Apache-2.0
 * Signed tokens: every algorithm as another implementation signs it, and every way to cheat. */
#include "base/clock.h"
#include "src/auth/json.h"
#include "src/auth/jwt.h"
#include "src/auth/text.h"
#include "unit.h"

static json_t *golden;
static struct jwks *keys;

static const struct jwt_expect usual = {.issuer = STR("https://issuer.example"),
    .audience = STR("client"),
    .algs = 0x3ff,
    .now_s = 1800000000};

static struct str text_of(const json_t *v)
{
    return str_n(json_string_value(v), json_string_length(v));
}

/* "" when accepted, else what was said against it. */
static char verdict_text[ERR_MSG_MAX];
static const char *judge(struct str token, const struct jwt_expect *x)
{
    struct jwt t;
    struct err err = {0};
    snprintf(verdict_text, sizeof(verdict_text), "%s", "");
    if (jwt_parse(token, &t, &err) != EC_OK)
        goto bad;
    if (jwt_check(&t, x, &err) != EC_OK) {
        jwt_deinit(&t);
        goto bad;
    }
    enum jwt_verdict v = jwt_verify(&t, keys);
    jwt_deinit(&t);
    return v == JWT_GOOD ? "" : v == JWT_NO_KEY ? "no key" : v == JWT_BAD_SIG ? "signature" : "bad";
bad:
    snprintf(verdict_text, sizeof(verdict_text), "%s", err_msg(&err));
    return verdict_text;
}

static void test_jwt__verifies_every_algorithm(void **state)
{
    const char *name;
    json_t *token;
    unsigned n = 0;
    (void)state;
    json_object_foreach(json_object_get(golden, "good"), name, token)
    {
        const char *v = judge(text_of(token), &usual);
        if (*v != 0)
            fail_msg("%s: %s", name, v);
        n++;
    }
    assert_int_equal(n, 12);
}

static void test_jwt__refuses_every_trick(void **state)
{
    const char *name;
    json_t *token;
    unsigned n = 0;
    (void)state;
    json_object_foreach(json_object_get(golden, "bad"), name, token)
    {
        if (*judge(text_of(token), &usual) == 0)
            fail_msg("%s: accepted", name);
        n++;
    }
    assert_int_equal(n, 19);
}

static void test_jwt__any_changed_byte_is_seen(void **state)
{
    const char *name;
    json_t *token;
    (void)state;
    json_object_foreach(json_object_get(golden, "good"), name, token)
    {
        struct str s = text_of(token);
        char *copy = xstrndup(s.p, s.n);
        for (size_t i = 0; i < s.n; i += 7) {
            char was = copy[i];
            copy[i] = was == 'A' ? 'B' : 'A';
            if (*judge(str_n(copy, s.n), &usual) == 0)
                fail_msg("%s: byte %zu may change", name, i);
            copy[i] = was;
        }
        for (size_t n = 0; n < s.n; n += 11)
            if (*judge(str_n(copy, n), &usual) == 0)
                fail_msg("%s: %zu bytes are enough", name, n);
        free(copy);
    }
}

static void test_jwt__only_the_allowed_algorithms(void **state)
{
    (void)state;
    struct jwt_expect x = usual;
    struct str es = text_of(json_object_get(json_object_get(golden, "good"), "ES256"));
    x.algs = jwa_bit(STR("RS256")) | jwa_bit(STR("ES384"));
    assert_string_equal(judge(es, &x), "algorithm of the token is not allowed");
    x.algs = jwa_bit(STR("ES256"));
    assert_string_equal(judge(es, &x), "");
    assert_int_equal(jwa_bit(STR("HS256")), 0);
    assert_int_equal(jwa_bit(STR("none")), 0);
}

/* An unsigned token with these parts: for what is checked before the signature. */
static const char *judge_claims(const char *head, const char *body, const struct jwt_expect *x)
{
    struct buf b = BUF_INIT;
    base64url_put(&b, bytes_of_str(str_from(head)));
    buf_putc(&b, '.');
    base64url_put(&b, bytes_of_str(str_from(body)));
    buf_putz(&b, ".AAAA");
    const char *v = judge(buf_str(&b), x);
    buf_deinit(&b);
    return v;
}

static void test_jwt__claims_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *body, *said;
    } cases[] = {
        /* each has every later fault too: the first one is said */
        {"{}", "token of another issuer"},
        {"{\"iss\":\"https://issuer.example/\"}", "token of another issuer"},
        {"{\"iss\":[\"https://issuer.example\"]}", "token of another issuer"},
        {"{\"iss\":\"https://issuer.example\"}", "token for another audience"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"clien\"}", "token for another audience"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":[1,{},\"x\"]}", "token for another audience"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":{\"client\":1}}",
            "token for another audience"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":[\"x\",\"client\"]}", "token has expired"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":\"1900000000\"}",
            "token has expired"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":1800000000}",
            "token has expired"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":-1e300}",
            "token has expired"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":1800000001,"
         "\"nbf\":1800000301}",
            "token is not valid yet"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":1800000001,"
         "\"nbf\":\"now\"}",
            "token is not valid yet"},
        {"{\"iss\":\"https://issuer.example\",\"aud\":\"client\",\"exp\":1.8000000015e9,"
         "\"nbf\":1800000300}",
            "algorithm of the token is not allowed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(
            judge_claims("{\"alg\":\"HS256\"}", cases[i].body, &usual), cases[i].said);
    /* Without a client id nothing is for us. */
    struct jwt_expect x = usual;
    x.audience = STR("");
    assert_string_equal(judge_claims("{\"alg\":\"HS256\"}",
                            "{\"iss\":\"https://issuer.example\",\"aud\":\"\"}", &x),
        "token for another audience");
}

static void test_jwt__broken_texts(void **state)
{
    (void)state;
    static const char *const tokens[] = {"", ".", "..", "a.b", "a.b.c.d", "e30.e30", "e30..",
        "e30.e30.", "e30=.e30.AAAA", "e30.e30.AA==", "e3 0.e30.AAAA", "e30.e30.A", "e31.e30.AAAA",
        "W10.e30.AAAA", "e30.W10.AAAA", "bnVsbA.e30.AAAA", "e30.ew.AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        if (*judge(str_from(tokens[i]), &usual) == 0)
            fail_msg("accepted: %s", tokens[i]);
    static const char *const heads[] = {"{\"alg\":1}", "{\"alg\":null}", "{\"typ\":\"JWT\"}",
        "{\"alg\":\"RS256\",\"alg\":\"none\"}", "{\"alg\":\"RS256\",\"kid\":7}",
        "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", "{\"alg\":\"RS256\\u0000\"}"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (strstr(judge_claims(heads[i], "{}", &usual), "issuer") != NULL)
            fail_msg("header passes: %s", heads[i]);
    struct str long_token = {NULL, JWT_BYTES_MAX + 1};
    char *big = xmalloc(long_token.n);
    memset(big, 'A', long_token.n);
    big[10] = big[20] = '.';
    assert_string_equal(judge(str_n(big, long_token.n), &usual), "token of 16385 bytes");
    free(big);
}

static void test_jwt__deep_or_wide_json_is_cheap(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, body = BUF_INIT;
    buf_putz(&body, "{\"a\":");
    for (int i = 0; i < 5000; i++)
        buf_putc(&body, '[');
    base64url_put(&b, bytes_of_str(STR("{\"alg\":\"RS256\"}")));
    buf_putc(&b, '.');
    base64url_put(&b, buf_bytes(&body));
    buf_putz(&b, ".AAAA");
    assert_string_equal(judge(buf_str(&b), &usual), "payload of the token: JSON deeper than 32");
    buf_reset(&b);
    buf_reset(&body);
    buf_putz(&body, "{\"a\":[");
    for (int i = 0; i < 5000; i++)
        buf_putz(&body, "1,");
    buf_putz(&body, "1]}");
    base64url_put(&b, bytes_of_str(STR("{\"alg\":\"RS256\"}")));
    buf_putc(&b, '.');
    base64url_put(&b, buf_bytes(&body));
    buf_putz(&b, ".AAAA");
    assert_string_equal(
        judge(buf_str(&b), &usual), "payload of the token: JSON of more than 4096 values");
    buf_deinit(&b);
    buf_deinit(&body);
}

static void test_jwks__keeps_only_keys_for_signatures(void **state)
{
    (void)state;
    static const char *const sets[] = {"", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[", "null"};
    struct jwks *set;
    assert_int_equal(keys->n, 5);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        assert_ec(jwks_parse(str_from(sets[i]), &set, NULL), EC_INVALID);
    struct err err = {0};
    assert_ok(jwks_parse(STR("{\"keys\":[null,1,\"x\",{},{\"kty\":\"RSA\",\"n\":\"AQAB\","
                             "\"e\":\"AQAB\"},{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"\"}]}"),
                  &set, &err),
        err);
    assert_int_equal(set->n, 0);
    cache_value_unref(&set->base);
}

static void test_jwt__unknown_kid_is_told_apart(void **state)
{
    (void)state;
    struct jwt t;
    struct err err = {0};
    struct str good = text_of(json_object_get(json_object_get(golden, "good"), "RS256"));
    struct str bad =
        text_of(json_object_get(json_object_get(golden, "bad"), "another key of that kid"));
    struct jwks *none;
    assert_ok(jwks_parse(STR("{\"keys\":[]}"), &none, &err), err);
    assert_ok(jwt_parse(good, &t, &err), err);
    assert_int_equal(jwt_verify(&t, none), JWT_NO_KEY);
    assert_int_equal(jwt_verify(&t, keys), JWT_GOOD);
    jwt_deinit(&t);
    assert_ok(jwt_parse(bad, &t, &err), err);
    assert_int_equal(jwt_verify(&t, keys), JWT_BAD_SIG);
    jwt_deinit(&t);
    cache_value_unref(&none->base);
}

static int setup(void **state)
{
    struct err err = {0};
    json_error_t at;
    (void)state;
    golden = json_load_file(TESTS_DIR "/golden/auth/tokens.json", 0, &at);
    assert_non_null(golden);
    char *text = json_dumps(json_object_get(golden, "jwks"), 0);
    assert_ok(jwks_parse(str_from(text), &keys, &err), err);
    free(text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cache_value_unref(&keys->base);
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jwt__verifies_every_algorithm),
        cmocka_unit_test(test_jwt__refuses_every_trick),
        cmocka_unit_test(test_jwt__any_changed_byte_is_seen),
        cmocka_unit_test(test_jwt__only_the_allowed_algorithms),
        cmocka_unit_test(test_jwt__claims_in_order),
        cmocka_unit_test(test_jwt__broken_texts),
        cmocka_unit_test(test_jwt__deep_or_wide_json_is_cheap),
        cmocka_unit_test(test_jwks__keeps_only_keys_for_signatures),
        cmocka_unit_test(test_jwt__unknown_kid_is_told_apart),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
