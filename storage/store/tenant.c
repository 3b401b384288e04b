/* SPDX-License-Identifier: Apache-2.0
 * Tenants: the registry, names on disk, uuids.
 *
 * A tenant id never becomes a path as it is: its directory is the lower-case hex of its bytes, or,
 * when that would pass the 255 bytes of a file name, '=' and base64url. Both decode back without
 * any file, so that the catalog can be rebuilt from directories alone.
 *
 * Tenants live until the store is closed: they are few (admission bounds them by open logs), and
 * what hangs on them (head, log, blocks) comes and goes. References are for queues and callers that
 * outlive the store's own walk over the registry.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/hash.h"
#include "store_private.h"

#define HEX_NAME_ID_MAX  120        /* ids up to this length are named in hex */
#define TENANTS_PER_OPEN (size_t)16 /* tenants known at most, for each that may have an open log */

char *path_printf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    return p;
}

void tenant_name_encode(char ret[TENANT_NAME_MAX], struct str id)
{
    ASSERT(id.n > 0);
    ASSERT(id.n <= TENANT_ID_MAX);
    if (id.n <= HEX_NAME_ID_MAX) {
        hex_encode(ret, id.p, id.n);
        ret[2 * id.n] = 0;
        return;
    }
    ret[0] = '=';
    size_t n = base64_encode(ret + 1, bytes_of_str(id));
    while (n > 0 && ret[n] == '=')
        n--;
    ret[n + 1] = 0;
    for (char *p = ret + 1; *p != 0; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
}

bool tenant_name_decode(char ret_id[TENANT_ID_MAX + 1], size_t *ret_n, struct str name)
{
    uint8_t out[TENANT_NAME_MAX];
    size_t n;
    if (name.n == 0 || name.n >= TENANT_NAME_MAX)
        return false;
    if (name.p[0] == '=') {
        char text[TENANT_NAME_MAX];
        for (size_t i = 1; i < name.n; i++)
            text[i - 1] = name.p[i] == '-' ? '+' : name.p[i] == '_' ? '/' : name.p[i];
        if (!base64_decode(out, &n, str_n(text, name.n - 1)) || n <= HEX_NAME_ID_MAX)
            return false;
    } else {
        n = name.n / 2;
        if (name.n % 2 != 0 || n > HEX_NAME_ID_MAX || !hex_decode(out, name, n))
            return false;
    }
    if (n == 0 || n > TENANT_ID_MAX)
        return false;
    /* Exactly one spelling is ours: upper-case hex or odd padding is somebody else's directory. */
    char again[TENANT_NAME_MAX];
    tenant_name_encode(again, str_n((const char *)out, n));
    if (!str_eqz(name, again))
        return false;
    memcpy(ret_id, out, n);
    ret_id[n] = 0;
    *ret_n = n;
    return true;
}

void uuid_text(char ret[UUID_TEXT + 1], const uint8_t uuid[16])
{
    char hex[32];
    hex_encode(hex, uuid, 16);
    snprintf(ret, UUID_TEXT + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
        hex + 20);
}

bool uuid_parse(uint8_t ret[16], struct str text)
{
    char hex[32];
    size_t n = 0;
    if (text.n != UUID_TEXT)
        return false;
    for (size_t i = 0; i < UUID_TEXT; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool lower_hex =
            (text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] >= 'a' && text.p[i] <= 'f');
        if (dash ? text.p[i] != '-' : !lower_hex)
            return false;
        if (!dash)
            hex[n++] = text.p[i];
    }
    return hex_decode(ret, str_n(hex, 32), 16);
}

void uuid_new(uint8_t ret[16])
{
    ssize_t n = getrandom(ret, 16, 0);
    ASSERT(n == 16);
    ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x40);
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

struct tenant *tenant_ref(struct tenant *t)
{
    ASSERT(t->magic == TENANT_MAGIC);
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tenant_unref(struct tenant *t)
{
    if (t == NULL)
        return;
    ASSERT(t->magic == TENANT_MAGIC);
    uint32_t before = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    ASSERT(t->waiters == NULL);
    ASSERT(t->wal == NULL);
    ASSERT(t->head == NULL);
    ASSERT(t->sealed == NULL);
    part_set_unref(t->set);
    for (size_t i = 0; i < t->blocks.n; i++)
        store_block_unref(t->blocks.p[i]);
    VEC_FREE(&t->blocks);
    pthread_mutex_destroy(&t->set_lock);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->change_lock);
    pthread_mutex_destroy(&t->flush_lock);
    free(t->wal_dir);
    free(t->data_dir);
    t->magic = 0;
    free(t);
}

static struct tenant *bucket_find(struct store *s, struct str id, uint64_t hash)
{
    for (struct tenant *t = s->buckets[hash % STORE_BUCKETS]; t != NULL; t = t->bucket_next)
        if (t->hash == hash && str_eq(t->id, id))
            return t;
    return NULL;
}

struct tenant *tenant_find(struct store *s, struct str id)
{
    uint64_t hash = hash64(id.p, id.n);
    pthread_rwlock_rdlock(&s->registry);
    struct tenant *t = bucket_find(s, id, hash);
    if (t != NULL)
        tenant_ref(t);
    pthread_rwlock_unlock(&s->registry);
    return t;
}

static struct tenant *tenant_new(struct store *s, struct str id, uint64_t hash)
{
    char name[TENANT_NAME_MAX];
    struct tenant *t = xcalloc(1, sizeof(*t));
    t->magic = TENANT_MAGIC;
    atomic_store(&t->refs, 1);
    t->store = s;
    memcpy(t->id_z, id.p, id.n);
    t->id = str_n(t->id_z, id.n);
    t->hash = hash;
    tenant_name_encode(name, id);
    t->wal_dir = path_printf("%s/%s", s->wal_root, name);
    t->data_dir = path_printf("%s/%s", s->data_root, name);
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->set_lock, NULL);
    pthread_mutex_init(&t->change_lock, NULL);
    pthread_mutex_init(&t->flush_lock, NULL);
    t->set = xcalloc(1, sizeof(*t->set));
    atomic_store(&t->set->refs, 1);
    tenant_metrics_init(t);
    return t;
}

/* Names come from outside. What is on disk already is always taken in. */
static size_t tenants_max(const struct store *s)
{
    return atomic_load(&s->state) == STORE_OPENING ? SIZE_MAX
                                                   : TENANTS_PER_OPEN * s->opt.tenants_open_max;
}

enum ec tenant_get(struct store *s, struct str id, struct tenant **ret, struct err *err)
{
    if (id.n == 0 || id.n > TENANT_ID_MAX)
        return ERR(err, EC_INVALID, "tenant id: length %zu is not in 1..%d", id.n, TENANT_ID_MAX);
    struct tenant *t = tenant_find(s, id);
    if (t == NULL) {
        uint64_t hash = hash64(id.p, id.n);
        pthread_rwlock_wrlock(&s->registry);
        t = bucket_find(s, id, hash);
        if (t == NULL) {
            if (s->n_tenants >= tenants_max(s)) {
                pthread_rwlock_unlock(&s->registry);
                return ERR(err, EC_LIMIT, "%zu tenants is the limit", s->n_tenants);
            }
            t = tenant_new(s, id, hash);
            t->bucket_next = s->buckets[hash % STORE_BUCKETS];
            s->buckets[hash % STORE_BUCKETS] = t;
            s->n_tenants++;
        }
        tenant_ref(t);
        pthread_rwlock_unlock(&s->registry);
    }
    *ret = t;
    return EC_OK;
}

static int tenant_by_id(const void *a, const void *b)
{
    const struct tenant *const *ta = a;
    const struct tenant *const *tb = b;
    return str_cmp((*ta)->id, (*tb)->id);
}

void tenant_list(struct store *s, struct tenant_list *ret)
{
    pthread_rwlock_rdlock(&s->registry);
    *ret = (struct tenant_list){.p = xcalloc(s->n_tenants + 1, sizeof(*ret->p))};
    for (size_t i = 0; i < STORE_BUCKETS; i++)
        for (struct tenant *t = s->buckets[i]; t != NULL; t = t->bucket_next)
            ret->p[ret->n++] = tenant_ref(t);
    ASSERT(ret->n == s->n_tenants);
    pthread_rwlock_unlock(&s->registry);
}

void tenant_list_sort(struct tenant_list *l)
{
    qsort(l->p, l->n, sizeof(*l->p), tenant_by_id);
}

void tenant_list_free(struct tenant_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        tenant_unref(l->p[i]);
    free(l->p);
    *l = (struct tenant_list){0};
}

void tenant_limits(struct tenant *t, struct tenant_limits *ret)
{
    *ret = (struct tenant_limits){0};
    if (t->store->opt.limits != NULL)
        t->store->opt.limits(t->store->opt.limits_ctx, t->id, ret);
}
