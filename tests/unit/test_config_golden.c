/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/config: files that people bring (operator, charts, guides, compose examples), each
 * with the effective values and the warnings that it must give. The first line of a file names the
 * arguments that come with it. UPDATE=1 rewrites the expectations, to be reviewed as a diff. */
#include <dirent.h>

#include "config_util.h"
#include "src/config/doc.h"

static void put_duration(struct buf *out, const char *name, int64_t ns)
{
    char text[40];
    duration_format_go(ns, text);
    buf_printf(out, "%s %s\n", name, text);
}

static void put_tls(struct buf *out, const struct config_tls *t)
{
    if (t->set)
        buf_printf(out, " tls cert=%s key=%s ca=%s auth=%s min=%s suites=%s", t->cert_file,
            t->key_file, t->client_ca_file == NULL ? "" : t->client_ca_file,
            t->client_auth_type == NULL ? "" : t->client_auth_type,
            t->min_version == NULL ? "" : t->min_version,
            t->cipher_suites == NULL ? "" : t->cipher_suites);
    buf_putc(out, '\n');
}

static void put_effective(struct buf *out, const struct config *c)
{
    buf_printf(out, "target %s multitenancy %d stream_over_http %d\n", c->target, c->multitenancy,
        c->stream_over_http);
    buf_printf(out, "http %s:%u", c->server.http_listen_address, c->server.http_listen_port);
    put_tls(out, &c->server.http_tls);
    buf_printf(out, "grpc %s:%u", c->server.grpc_listen_address, c->server.grpc_listen_port);
    put_tls(out, &c->server.grpc_tls);
    if (c->internal_server_on)
        buf_printf(out, "internal %s:%u\n", c->internal_server.http_listen_address,
            c->internal_server.http_listen_port);
    put_duration(out, "read_timeout", c->server.read_timeout);
    for (unsigned kind = 0; kind < RECEIVER_KINDS; kind++)
        for (size_t i = 0; i < c->receivers[kind].n; i++) {
            static const char *const names[RECEIVER_KINDS] = {"otlp grpc", "otlp http",
                "jaeger grpc", "jaeger thrift_http", "jaeger thrift_compact",
                "jaeger thrift_binary", "zipkin"};
            buf_printf(out, "%s %s", names[kind], c->receivers[kind].p[i].endpoint);
            put_tls(out, &c->receivers[kind].p[i].tls);
        }
    buf_printf(out, "blocks %s wal %s durability %s\n", c->local_path, c->wal_path, c->durability);
    put_duration(out, "retention", c->retention);
    buf_printf(out, "retention source %s\n", c->retention_source);
    put_duration(out, "trace_idle", c->trace_idle);
    put_duration(out, "trace_live", c->trace_live);
    put_duration(out, "block_age_max", c->block_age_max);
    buf_printf(out, "block_bytes_max %llu\n", (unsigned long long)c->block_bytes_max);
    put_duration(out, "search_max_duration", c->search_max_duration);
    put_duration(out, "metrics_max_duration", c->metrics_max_duration);
    buf_printf(out, "max_spans_per_span_set %u\n", c->search_max_spss);
    buf_printf(out, "rate %llu burst %llu traces %u bytes_per_trace %llu\n",
        (unsigned long long)c->limits.rate_limit_bytes,
        (unsigned long long)c->limits.burst_size_bytes, c->limits.max_traces_per_user,
        (unsigned long long)c->limits.max_bytes_per_trace);
    buf_printf(out, "overrides %s\n", c->overrides_file == NULL ? "-" : c->overrides_file);
    for (size_t i = 0; i < c->n_warnings; i++)
        buf_printf(out, "%s %s: %s (%s)\n", c->warnings[i].fails_verify ? "FINDING" : "warning",
            c->warnings[i].key == NULL ? "-" : c->warnings[i].key, c->warnings[i].msg,
            c->warnings[i].explain);
}

/* "# args: -a -b" on the first line. */
static size_t read_args(char *line, const char **args)
{
    size_t n = 0;
    line[strcspn(line, "\n")] = 0;
    assert_int_equal(strncmp(line, "# args:", 7), 0);
    for (char *save = NULL, *word = strtok_r(line + 7, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        assert_true(n < CONFIG_ARGS_MAX - 1);
        args[n++] = word;
    }
    args[n] = NULL;
    return n;
}

static void check_file(const char *name)
{
    const char *args[CONFIG_ARGS_MAX];
    char path[400];
    struct buf text = BUF_INIT, made = BUF_INIT, stored = BUF_INIT;
    struct loaded l;

    snprintf(path, sizeof(path), "%s/golden/config/%s", TESTS_DIR, name);
    assert_int_equal(file_read(path, &text, NULL), EC_OK);
    buf_putc(&text, 0);
    char *yaml = strdup((char *)text.p);
    assert_non_null(yaml);
    read_args((char *)text.p, args);
    load_config(&l, yaml, args);
    if (l.ec == EC_OK)
        put_effective(&made, l.c);
    else
        buf_printf(&made, "exit %d: %s\n", l.exit_code, err_msg(&l.err));
    strcpy(path + strlen(path) - strlen(".yaml"), ".txt");
    if (getenv("UPDATE") != NULL)
        write_text(path, (const char *)made.p, made.n);
    assert_int_equal(file_read(path, &stored, NULL), EC_OK);
    buf_putc(&stored, 0);
    buf_putc(&made, 0);
    assert_string_equal((char *)made.p, (char *)stored.p);
    if (l.ec == EC_OK) { /* what is printed loads again, to the same */
        struct loaded again;
        struct buf second = BUF_INIT;
        char *all = printed(l.c, CONFIG_PRINT_DIFF);
        load_config(&again, all, NULL);
        assert_loads(&again);
        assert_string_equal(again.c->local_path, l.c->local_path);
        assert_int_equal(again.c->retention, l.c->retention);
        assert_int_equal(
            again.c->receivers[RECEIVER_OTLP_GRPC].n, l.c->receivers[RECEIVER_OTLP_GRPC].n);
        loaded_free(&again);
        free(all);
        buf_deinit(&second);
    }
    loaded_free(&l);
    free(yaml);
    buf_deinit(&text);
    buf_deinit(&made);
    buf_deinit(&stored);
}

static void test_golden__files_in_the_wild_start_unchanged(void **state)
{
    size_t n = 0;
    struct dirent *e;
    DIR *d = opendir(TESTS_DIR "/golden/config");
    (void)state;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 5, ".yaml") != 0)
            continue;
        check_file(e->d_name);
        n++;
    }
    closedir(d);
    assert_true(n >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__files_in_the_wild_start_unchanged),
    };
    setenv("S3_SECRET_KEY", "hunter2", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
