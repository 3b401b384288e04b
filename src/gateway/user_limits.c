/* SPDX-License-Identifier: Apache-2.0
 * The file of user-configurable overrides:
 *
 *     vivace-user-limits 1 <last version>\n
 *     <tenant in hex> <version> <bytes of the text>\n<text>\n        one a tenant
 *     xxh3 <16 hex digits of all bytes before>\n
 *
 * A change is made in memory when the new file is in place, and not at all when that fails. */
#include "gateway/user_limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"

#define FILE_MAX    (64u << 20)
#define TENANTS_MAX 5000u
#define TENANT_MAX  150u
#define HEAD        "vivace-user-limits 1 "
#define TAIL_BYTES  22 /* "xxh3 " and 16 digits and a line feed */

struct entry {
    char *tenant, *json;
    size_t tenant_n, json_n;
    uint64_t version;
};

struct user_limits {
    struct io *io;
    char *dir, *path, *aside;
    pthread_mutex_t lock; /* guards the rest */
    VEC(struct entry) entries;
    uint64_t last_version, change;
};

static struct metric_family reload_failed = {
    .name = "tempo_overrides_user_configurable_overrides_reload_failed_total",
    .help = "How often reloading the user-configurable overrides has failed",
    .type = METRIC_COUNTER,
};

static char *join(const char *a, const char *b)
{
    size_t n = strlen(a) + strlen(b) + 1;
    char *p = xcalloc(1, n);
    snprintf(p, n, "%s%s", a, b);
    return p;
}

static void entry_deinit(struct entry *e)
{
    free(e->tenant);
    free(e->json);
}

static struct entry *find(struct user_limits *u, struct str tenant)
{
    for (size_t i = 0; i < u->entries.n; i++)
        if (str_eq(str_n(u->entries.p[i].tenant, u->entries.p[i].tenant_n), tenant))
            return &u->entries.p[i];
    return NULL;
}

/* ---- reading ---- */

static bool read_number(struct str text, uint64_t *ret)
{
    return str_to_u64(text, ret);
}

static bool parse_entry(struct user_limits *u, struct str *rest)
{
    struct str line = str_cut(*rest, '\n', rest), after, size, hex = str_cut(line, ' ', &after);
    struct str version = str_cut(after, ' ', &size);
    char tenant[TENANT_MAX];
    uint64_t n, v;
    if (hex.n == 0 || hex.n % 2 != 0 || hex.n / 2 > TENANT_MAX ||
        !hex_decode((uint8_t *)tenant, hex, hex.n / 2) || !read_number(version, &v) ||
        !read_number(size, &n) || n > USER_LIMITS_TEXT_MAX || rest->n < n + 1 ||
        rest->p[n] != '\n' || u->entries.n == TENANTS_MAX ||
        find(u, str_n(tenant, hex.n / 2)) != NULL)
        return false;
    struct entry e = {.tenant = xstrndup(tenant, hex.n / 2),
        .tenant_n = hex.n / 2,
        .json = xstrndup(rest->p, n),
        .json_n = n,
        .version = v};
    VEC_PUSH(&u->entries, e);
    *rest = str_n(rest->p + n + 1, rest->n - n - 1);
    return true;
}

static bool parse(struct user_limits *u, struct str text)
{
    char tail[TAIL_BYTES + 1];
    if (text.n < TAIL_BYTES || !str_starts(text, STR(HEAD)))
        return false;
    struct str body = str_n(text.p, text.n - TAIL_BYTES), rest;
    snprintf(tail, sizeof(tail), "xxh3 %016llx\n", (unsigned long long)hash64(body.p, body.n));
    if (memcmp(tail, text.p + body.n, TAIL_BYTES) != 0)
        return false;
    struct str head = str_cut(body, '\n', &rest);
    head = str_n(head.p + sizeof(HEAD) - 1, head.n - (sizeof(HEAD) - 1));
    if (!read_number(head, &u->last_version))
        return false;
    while (rest.n > 0)
        if (!parse_entry(u, &rest))
            return false;
    return true;
}

static void entries_forget(struct user_limits *u)
{
    for (size_t i = 0; i < u->entries.n; i++)
        entry_deinit(&u->entries.p[i]);
    u->entries.n = 0;
}

static enum ec load(struct user_limits *u, struct err *err)
{
    struct io_stat st = {.size = UINT64_MAX}; /* unknown */
    int fd;
    enum ec ec = io_open(u->io, "user_limits.open", u->path, O_RDONLY, 0, &fd, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK;
    if (ec != EC_OK)
        return ec;
    bool good = false;
    ec = io_fstat(u->io, "user_limits.stat", fd, &st, err);
    /* A bad read is repeated: the second may come from the disk instead of a damaged buffer. */
    for (int tries = 0; tries < 2 && !good && st.size <= FILE_MAX; tries++) {
        char *text = xcalloc(1, st.size + 1);
        entries_forget(u);
        ec = io_pread(u->io, "user_limits.read", fd, text, st.size, 0, err);
        good = ec == EC_OK && parse(u, str_n(text, st.size));
        free(text);
    }
    (void)io_close(u->io, "user_limits.close", fd, NULL); /* read only */
    if (ec != EC_OK || good)
        return ec;
    metric_inc(metric_series0(&reload_failed));
    char *damaged = join(u->path, ".damaged");
    ec = io_rename(u->io, "user_limits.set_aside", u->path, damaged, err);
    if (ec == EC_OK)
        log_event(LOG_ERROR,
            "user-configurable overrides are damaged and were set aside: tenants "
            "have none until they set them again",
            LZ("file", damaged));
    free(damaged);
    entries_forget(u);
    return ec;
}

/* ---- writing ---- */

static void put_entry(struct buf *b, const struct entry *e)
{
    char hex[2 * TENANT_MAX];
    hex_encode(hex, e->tenant, e->tenant_n);
    buf_put(b, hex, 2 * e->tenant_n);
    buf_printf(b, " %llu %zu\n", (unsigned long long)e->version, e->json_n);
    buf_put(b, e->json, e->json_n);
    buf_putc(b, '\n');
}

/* The entries but `without`, and `with`. */
static enum ec store(struct user_limits *u, uint64_t last_version, const struct entry *without,
    const struct entry *with, struct err *err)
{
    struct buf b = BUF_INIT;
    int fd;
    buf_printf(&b, HEAD "%llu\n", (unsigned long long)last_version);
    for (size_t i = 0; i < u->entries.n; i++)
        if (&u->entries.p[i] != without)
            put_entry(&b, &u->entries.p[i]);
    if (with != NULL)
        put_entry(&b, with);
    buf_printf(&b, "xxh3 %016llx\n", (unsigned long long)hash64(b.p, b.n));
    enum ec ec = b.n > FILE_MAX
                     ? ERR(err, EC_LIMIT, "user-configurable overrides are over %u bytes", FILE_MAX)
                     : io_open(u->io, "user_limits.create", u->aside, O_WRONLY | O_CREAT | O_TRUNC,
                           0600, &fd, err);
    if (ec == EC_OK) {
        ec = io_pwrite(u->io, "user_limits.write", fd, b.p, b.n, 0, err);
        if (ec == EC_OK)
            ec = io_fsync(u->io, "user_limits.sync", fd, err);
        enum ec closed = io_close(u->io, "user_limits.write_close", fd, ec == EC_OK ? err : NULL);
        ec = ec == EC_OK ? closed : ec;
    }
    buf_deinit(&b);
    if (ec == EC_OK)
        ec = io_rename(u->io, "user_limits.rename", u->aside, u->path, err);
    if (ec == EC_OK)
        ec = io_fsync_dir(u->io, "user_limits.rename_sync", u->dir, err);
    return ec;
}

/* ---- public ---- */

enum ec user_limits_open(struct io *io, const char *dir, struct user_limits **ret, struct err *err)
{
    struct user_limits *u = xcalloc(1, sizeof(*u));
    u->io = io;
    u->dir = xstrdup(dir);
    u->path = join(dir, "/user-limits");
    u->aside = join(dir, "/.tmp-user-limits");
    u->change = 1;
    metric_register(&reload_failed);
    pthread_mutex_init(&u->lock, NULL);
    enum ec ec = io_mkdir_all(io, "user_limits.mkdir", dir, err);
    if (ec == EC_OK)
        ec = load(u, err);
    if (ec != EC_OK) {
        user_limits_free(u);
        return err_prefix(err, "user-configurable overrides in %.200s", dir);
    }
    *ret = u;
    return EC_OK;
}

void user_limits_free(struct user_limits *u)
{
    if (u == NULL)
        return;
    for (size_t i = 0; i < u->entries.n; i++)
        entry_deinit(&u->entries.p[i]);
    VEC_FREE(&u->entries);
    pthread_mutex_destroy(&u->lock);
    free(u->dir);
    free(u->path);
    free(u->aside);
    free(u);
}

static bool copy_entry(const struct entry *e, struct arena *arena, struct user_limits_entry *ret)
{
    struct user_limits_entry c = {.tenant = arena_str(arena, str_n(e->tenant, e->tenant_n)),
        .json = arena_str(arena, str_n(e->json, e->json_n)),
        .version = e->version};
    if (c.tenant.p == NULL || c.json.p == NULL)
        return false;
    *ret = c;
    return true;
}

enum ec user_limits_get(struct user_limits *u, struct str tenant, struct arena *arena,
    struct user_limits_entry *ret, struct err *err)
{
    pthread_mutex_lock(&u->lock);
    const struct entry *e = find(u, tenant);
    bool copied = e != NULL && copy_entry(e, arena, ret);
    pthread_mutex_unlock(&u->lock);
    if (e == NULL)
        return ERR(err, EC_NOT_FOUND, "no user-configurable overrides");
    return copied ? EC_OK : ERR(err, EC_LIMIT, "no memory for overrides");
}

enum ec user_limits_set(struct user_limits *u, struct str tenant, uint64_t version, struct str json,
    uint64_t *ret_version, struct err *err)
{
    ASSERT(tenant.n > 0 && tenant.n <= TENANT_MAX && json.n <= USER_LIMITS_TEXT_MAX);
    pthread_mutex_lock(&u->lock);
    struct entry *old = find(u, tenant);
    struct entry e = {.tenant = xstrndup(tenant.p, tenant.n),
        .tenant_n = tenant.n,
        .json = xstrndup(json.p, json.n),
        .json_n = json.n,
        .version = u->last_version + 1};
    enum ec ec = EC_OK;
    if ((old == NULL ? 0 : old->version) != version)
        ec = ERR(err, EC_CONFLICT, "version does not match");
    else if (old == NULL && u->entries.n == TENANTS_MAX)
        ec = ERR(err, EC_LIMIT, "user-configurable overrides of over %u tenants", TENANTS_MAX);
    if (ec == EC_OK)
        ec = store(u, e.version, old, &e, err);
    if (ec == EC_OK) {
        if (old != NULL) {
            entry_deinit(old);
            *old = e;
        } else {
            VEC_PUSH(&u->entries, e);
        }
        *ret_version = u->last_version = e.version;
        u->change++;
    } else {
        entry_deinit(&e);
    }
    pthread_mutex_unlock(&u->lock);
    return ec;
}

enum ec user_limits_remove(
    struct user_limits *u, struct str tenant, uint64_t version, struct err *err)
{
    pthread_mutex_lock(&u->lock);
    struct entry *e = find(u, tenant);
    enum ec ec = EC_OK;
    if (e == NULL)
        ec = ERR(err, EC_NOT_FOUND, "no user-configurable overrides");
    else if (e->version != version)
        ec = ERR(err, EC_CONFLICT, "version does not match");
    if (ec == EC_OK)
        ec = store(u, u->last_version, e, NULL, err);
    if (ec == EC_OK) {
        entry_deinit(e);
        *e = u->entries.p[--u->entries.n];
        u->change++;
    }
    pthread_mutex_unlock(&u->lock);
    return ec;
}

enum ec user_limits_all(struct user_limits *u, struct arena *arena, struct user_limits_entry **ret,
    size_t *ret_n, uint64_t *ret_change, struct err *err)
{
    pthread_mutex_lock(&u->lock);
    size_t n = u->entries.n;
    struct user_limits_entry *all = ARENA_ARRAY(arena, n, struct user_limits_entry);
    bool copied = all != NULL;
    for (size_t i = 0; copied && i < n; i++)
        copied = copy_entry(&u->entries.p[i], arena, &all[i]);
    *ret_change = u->change;
    pthread_mutex_unlock(&u->lock);
    if (!copied)
        return ERR(err, EC_LIMIT, "no memory for overrides");
    *ret = all;
    *ret_n = n;
    return EC_OK;
}
