/* SPDX-License-Identifier: Apache-2.0
 * Loads a configuration from text, with flags, for the tests of src/config. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the four above */
#include <cmocka.h>

#include "config/config.h"
#include "tmpdir.h"

#define CONFIG_ARGS_MAX 48

/* The least that starts. */
#define LOCAL "storage: {trace: {backend: local, local: {path: /b}, wal: {path: /w}}}\n"

struct loaded {
    enum ec ec;
    int exit_code;
    struct err err;
    struct config *c; /* NULL when ec is not EC_OK */
    char *dir;
    char file[300];
};

static inline void write_text(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* yaml NULL: no -config.file. Args end with NULL; they come after -config.file. */
static inline void load_config(struct loaded *l, const char *yaml, const char *const *args)
{
    const char *argv[CONFIG_ARGS_MAX + 3] = {"vivace"};
    char flag[320];
    int argc = 1;

    memset(l, 0, sizeof(*l));
    l->dir = tmpdir_new();
    if (yaml != NULL) {
        snprintf(l->file, sizeof(l->file), "%s/c.yaml", l->dir);
        write_text(l->file, yaml, strlen(yaml));
        snprintf(flag, sizeof(flag), "-config.file=%s", l->file);
        argv[argc++] = flag;
    }
    for (size_t i = 0; args != NULL && args[i] != NULL; i++)
        argv[argc++] = args[i];
    assert_true((size_t)argc < ARRAY_LEN(argv));
    l->ec = config_load(argc, (char **)(uintptr_t)argv, &l->c, &l->exit_code, &l->err);
}

#define LOAD(l, yaml, ...) \
    load_config((l), (yaml), (const char *[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline void loaded_free(struct loaded *l)
{
    config_free(l->c);
    tmpdir_free(l->dir);
    memset(l, 0, sizeof(*l));
}

static inline void assert_loads(const struct loaded *l)
{
    if (l->ec != EC_OK)
        fail_msg("%s", err_msg(&l->err));
}

static inline void assert_has(const char *text, const char *part)
{
    const char *in = text == NULL ? "" : text;
    if (strstr(in, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, in);
}

/* Loading fails with this exit code and a message that has this part. */
#define ASSERT_FAILS(exit_code_, part, yaml, ...)   \
    do {                                            \
        struct loaded l_;                           \
        LOAD(&l_, yaml __VA_OPT__(, ) __VA_ARGS__); \
        assert_int_not_equal(l_.ec, EC_OK);         \
        assert_int_equal(l_.exit_code, exit_code_); \
        assert_has(err_msg(&l_.err), part);         \
        loaded_free(&l_);                           \
    } while (0)

/* Warnings about a key (NULL: about anything). */
static inline size_t count_warnings(const struct config *c, const char *key)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_warnings; i++)
        n += key == NULL || (c->warnings[i].key != NULL && strcmp(c->warnings[i].key, key) == 0);
    return n;
}

static inline bool fails_verify(const struct config *c)
{
    for (size_t i = 0; i < c->n_warnings; i++)
        if (c->warnings[i].fails_verify)
            return true;
    return false;
}

/* NUL-terminated; to be freed. */
static inline char *printed(const struct config *c, enum config_print_mode mode)
{
    struct buf b = BUF_INIT;
    config_print(c, mode, &b);
    buf_putc(&b, 0);
    return (char *)b.p;
}
