/* SPDX-License-Identifier: Apache-2.0
 * Log lines as text: both formats, escapes, the cut of long records, one line per record. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tmpdir.h"
#include "unit.h"

static char *dir, text[1 << 20];
static int saved_stderr, capture;

static int capture_start(void **state)
{
    (void)state;
    dir = tmpdir_new();
    capture = open(tmpdir_path(dir, "log"), O_RDWR | O_CREAT | O_APPEND, 0600);
    saved_stderr = dup(STDERR_FILENO);
    dup2(capture, STDERR_FILENO);
    log_set_json(false);
    log_level_min = LOG_INFO;
    return 0;
}

static int capture_end(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(capture);
    tmpdir_free(dir);
    return 0;
}

/* What was logged since the start. */
static char *captured(void)
{
    ssize_t n = pread(capture, text, sizeof(text) - 1, 0);
    assert_true(n >= 0);
    text[n] = 0;
    return text;
}

static void expect_tail(const char *tail)
{
    char *at = strstr(captured(), " msg=");
    if (at == NULL || strcmp(at, tail) != 0)
        fail_msg("logged \"%s\", expected the end \"%s\"", text, tail);
}

static void test_log__has_tempos_shape(void **state)
{
    (void)state;
    int64_t before = clock_wall_ns();
    log_event(LOG_INFO, "block flushed", LS("tenant", STR("single-tenant")), LU("spans", 7));
    int y, mo, d, h, mi, s, line;
    long long ns;
    char file[64];
    assert_int_equal(
        sscanf(captured(), "level=info ts=%4d-%2d-%2dT%2d:%2d:%2d.%9lldZ caller=%63[^:]:%d ", &y,
            &mo, &d, &h, &mi, &s, &ns, file, &line),
        9);
    assert_string_equal(file, "test_base_log.c");
    assert_true(y >= 2024 && mo <= 12 && ns < 1000000000);
    assert_true(before <= clock_wall_ns());
    expect_tail(" msg=\"block flushed\" tenant=single-tenant spans=7\n");
}

static void test_log__types(void **state)
{
    (void)state;
    log_event(LOG_WARN, "m", LI("i", INT64_MIN), LU("u", UINT64_MAX), LF("f", 0.1), LF("n", NAN),
        LB("b", true), LB("c", false), LZ("z", "zz"), LZ("none", NULL));
    expect_tail(" msg=m i=-9223372036854775808 u=18446744073709551615 f=0.1 n=nan b=true c=false "
                "z=zz none=\"\"\n");
}

static void test_log__durations_read_like_gos(void **state)
{
    (void)state;
    log_event(LOG_INFO, "m", LD("a", 0), LD("b", 1), LD("c", 1500), LD("d", 12000000),
        LD("e", 1000000000), LD("f", 61500000000), LD("g", 3600000000000), LD("h", -2500000),
        LD("i", 999999999), LD("j", INT64_MIN));
    expect_tail(" msg=m a=0s b=1ns c=1.5\xc2\xb5s d=12ms e=1s f=1m1.5s g=1h0m0s h=-2.5ms "
                "i=999.999999ms j=-2562047h47m16.854775808s\n");
}

static void test_log__quotes_what_logfmt_needs(void **state)
{
    (void)state;
    log_event(LOG_INFO, "two words", LZ("eq", "a=b"), LZ("q", "say \"x\""), LZ("nl", "a\nb\tc\r"),
        LZ("bs", "a\\b"), LS("nul", STR("a\0b")), LS("bad", STR("a\xff\xc3")), LZ("u", "\xc3\xa4"),
        LZ("esc", "\x1b[31m\x7f"), LZ("c1", "\xc2\x9b"), LZ("plain", "a/b:c-d,e"));
    expect_tail(" msg=\"two words\" eq=\"a=b\" q=\"say \\\"x\\\"\" nl=\"a\\nb\\tc\\r\" "
                "bs=\"a\\\\b\" nul=\"a\\u0000b\" bad=\"a\\ufffd\\ufffd\" u=\"\xc3\xa4\" "
                "esc=\"\\u001b[31m\\u007f\" c1=\"\\u009b\" plain=a/b:c-d,e\n");
}

static void test_log__json_is_json(void **state)
{
    (void)state;
    log_set_json(true);
    log_event(LOG_ERROR, "a \"b\"\n", LS("bad", STR("x\xff\0y")), LI("i", -1), LF("f", INFINITY),
        LB("b", true), LD("d", 1500000), LZ("k\"ey", "v"));
    json_error_t je;
    json_t *root = json_loads(captured(), JSON_ALLOW_NUL, &je);
    if (root == NULL)
        fail_msg("%s in %s", je.text, text);
    assert_string_equal(json_string_value(json_object_get(root, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(root, "msg")), "a \"b\"\n");
    assert_int_equal(json_string_length(json_object_get(root, "bad")), 6);
    assert_int_equal(json_integer_value(json_object_get(root, "i")), -1);
    assert_string_equal(json_string_value(json_object_get(root, "f")), "inf");
    assert_true(json_is_true(json_object_get(root, "b")));
    assert_string_equal(json_string_value(json_object_get(root, "d")), "1.5ms");
    assert_string_equal(json_string_value(json_object_get(root, "k\"ey")), "v");
    json_decref(root);
}

static void test_log__levels_filter(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    log_event(LOG_DEBUG, "hidden");
    log_level_min = LOG_ERROR;
    log_event(LOG_WARN, "hidden");
    log_event(LOG_ERROR, "shown");
    expect_tail(" msg=shown\n");
    assert_true(log_level_parse(STR("debug"), &level) && level == LOG_DEBUG);
    assert_true(log_level_parse(STR("warn"), &level) && level == LOG_WARN);
    assert_false(log_level_parse(STR("INFO"), &level) || log_level_parse(STR(""), &level) ||
                 log_level_parse(STR("inf"), &level));
    assert_int_equal(level, LOG_WARN);
}

static void test_log__cuts_long_records_at_a_field(void **state)
{
    (void)state;
    static char big[20000];
    memset(big, 'x', sizeof(big));
    log_event(LOG_INFO, "m", LI("a", 1), LS("big", str_n(big, sizeof(big))), LI("b", 2));
    expect_tail(" msg=m a=1 truncated=true\n");
    log_set_json(true);
    for (size_t n = 7900; n < 8200; n++) { /* over every boundary of the buffer */
        assert_int_equal(ftruncate(capture, 0), 0);
        log_event(LOG_INFO, "m", LS("big", str_n(big, n)), LI("b", 2), LI("c", 3));
        json_t *root = json_loads(captured(), 0, NULL);
        if (root == NULL)
            fail_msg("%zu: %s", n, text);
        json_decref(root);
        assert_true(strlen(text) <= 8192);
    }
}

static void test_log__leaves_errno_alone(void **state)
{
    (void)state;
    errno = EXDEV;
    log_event(LOG_INFO, "m");
    assert_int_equal(errno, EXDEV);
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_event(LOG_INFO, "m", LZ("who", arg), LI("i", i));
    return NULL;
}

static void test_log__lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    static char names[4][64];
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, sizeof(names[i]) - 1);
        assert_int_equal(pthread_create(&t[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    unsigned n = 0;
    char *rest = captured(), *line;
    while ((line = strsep(&rest, "\n")) != NULL && *line != 0) {
        char who[80];
        int i;
        assert_memory_equal(line, "level=info ts=", 14);
        assert_int_equal(sscanf(strstr(line, " msg="), " msg=m who=%79s i=%d", who, &i), 2);
        assert_int_equal(strspn(who, (char[]){who[0], 0}), 63);
        n++;
    }
    assert_int_equal(n, 800);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, capture_start, capture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log__has_tempos_shape),
        TEST(test_log__types),
        TEST(test_log__durations_read_like_gos),
        TEST(test_log__quotes_what_logfmt_needs),
        TEST(test_log__json_is_json),
        TEST(test_log__levels_filter),
        TEST(test_log__cuts_long_records_at_a_field),
        TEST(test_log__leaves_errno_alone),
        TEST(test_log__lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
