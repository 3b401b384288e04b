/* SPDX-License-Identifier: Apache-2.0
 * Registry of metric families, their series, and the text rendering.
 *
 * A series is found by its packed label values (length and bytes of each) in the family's hash
 * table. Series are never freed, so that callers may keep pointers; a removed one is only hidden
 * and keeps its slot and its value, so that a counter that comes back does not run backwards.
 *
 * Locks: registry.lock guards the list of families; family.lock its table. Neither is held while a
 * collector runs or text is rendered. collectors.lock is held while collectors run, so that after
 * metric_collector_remove the callback is not running.
 */
#include "base/metric.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

#define LABEL_VALUE_MAX 512 /* longer values are cut: they come from outside */
#define KEY_MAX         (METRIC_LABELS_MAX * (LABEL_VALUE_MAX + sizeof(uint32_t)))

struct metric {
    const struct metric_family *family;
    atomic_bool hidden;
    _Atomic int64_t whole;      /* counters: sum of the integral additions */
    _Atomic uint64_t real_bits; /* a double: the rest of a counter, a gauge, a histogram's sum */
    _Atomic uint64_t *buckets;  /* histograms: n_bounds + 1, not cumulative */
    uint64_t hash;
    size_t key_n;
    uint8_t key[]; /* per label: u32le length, bytes */
};

struct metric_registered {
    struct metric_family *family;
    pthread_rwlock_t lock;
    struct metric **table; /* guarded by lock, as the next two; open addressing, power of two */
    size_t n_slots, n_series;
};

static struct {
    pthread_mutex_t lock;
    VEC(struct metric_registered *) v;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct collector {
    void (*fn)(void *ctx);
    void *ctx;
};

static struct {
    pthread_mutex_t lock;
    VEC(struct collector) v;
} collectors = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool name_valid(const char *s, bool colon)
{
    if (*s == 0 || (*s >= '0' && *s <= '9'))
        return false;
    for (; *s != 0; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
                *s == '_' || (colon && *s == ':')))
            return false;
    return true;
}

static unsigned n_labels(const struct metric_family *f)
{
    unsigned n = 0;
    while (f->labels[n] != NULL)
        n++;
    return n;
}

static void family_check(const struct metric_family *f)
{
    ASSERT(name_valid(f->name, true));
    ASSERT(f->labels[METRIC_LABELS_MAX] == NULL);
    for (unsigned i = 0; f->labels[i] != NULL; i++) {
        ASSERT(name_valid(f->labels[i], false));
        ASSERT(f->type != METRIC_HISTOGRAM || strcmp(f->labels[i], "le") != 0);
    }
    for (unsigned i = 1; i < f->n_bounds; i++)
        ASSERT(f->bounds[i - 1] < f->bounds[i]);
    ASSERT(f->type == METRIC_HISTOGRAM ? f->n_bounds > 0 : f->n_bounds == 0);
}

static struct metric_registered *family_registered(struct metric_family *f)
{
    struct metric_registered *r = __atomic_load_n(&f->registered, __ATOMIC_ACQUIRE);
    if (UNLIKELY(r == NULL)) {
        metric_register(f);
        r = __atomic_load_n(&f->registered, __ATOMIC_ACQUIRE);
    }
    return r;
}

void metric_register(struct metric_family *f)
{
    bool fresh = false;
    pthread_mutex_lock(&registry.lock);
    if (__atomic_load_n(&f->registered, __ATOMIC_RELAXED) == NULL) {
        family_check(f);
        for (size_t i = 0; i < registry.v.n; i++)
            ASSERT(strcmp(registry.v.p[i]->family->name, f->name) != 0);
        struct metric_registered *r = xcalloc(1, sizeof(*r));
        r->family = f;
        r->n_slots = 8;
        r->table = xcalloc(r->n_slots, sizeof(struct metric *));
        pthread_rwlock_init(&r->lock, NULL);
        VEC_PUSH(&registry.v, r);
        /* Pairs with the acquire load in family_registered. */
        __atomic_store_n(&f->registered, r, __ATOMIC_RELEASE);
        fresh = true;
    }
    pthread_mutex_unlock(&registry.lock);
    if (fresh && f->labels[0] == NULL)
        (void)metric_series0(f);
}

/* The slot of the key, or the empty slot where it belongs. Caller holds the lock. */
static struct metric **slot_find(
    const struct metric_registered *r, uint64_t hash, const uint8_t *key, size_t key_n)
{
    for (size_t i = hash & (r->n_slots - 1);; i = (i + 1) & (r->n_slots - 1)) {
        struct metric *m = r->table[i];
        if (m == NULL || (m->hash == hash && m->key_n == key_n && memcmp(m->key, key, key_n) == 0))
            return &r->table[i];
    }
}

static void table_grow(struct metric_registered *r)
{
    struct metric **old = r->table;
    size_t n_old = r->n_slots;
    r->n_slots *= 2;
    r->table = xcalloc(r->n_slots, sizeof(struct metric *));
    for (size_t i = 0; i < n_old; i++)
        if (old[i] != NULL)
            *slot_find(r, old[i]->hash, old[i]->key, old[i]->key_n) = old[i];
    free(old);
}

/* Copies a label value as valid UTF-8 of bounded size; returns the bytes written. */
static size_t value_clean(uint8_t *out, struct str s)
{
    size_t n = 0;
    if (LIKELY(s.n <= LABEL_VALUE_MAX && str_utf8_valid(s))) {
        if (s.n != 0)
            memcpy(out, s.p, s.n);
        return s.n;
    }
    for (size_t i = 0; i < s.n;) {
        size_t len = 1;
        while (len < 4 && len < s.n - i && !str_utf8_valid(str_n(s.p + i, len)))
            len++;
        bool valid = str_utf8_valid(str_n(s.p + i, len));
        const char *from = valid ? s.p + i : "\xef\xbf\xbd"; /* U+FFFD */
        size_t from_n = valid ? len : 3;
        if (n + from_n > LABEL_VALUE_MAX)
            break;
        memcpy(out + n, from, from_n);
        n += from_n;
        i += valid ? len : 1;
    }
    return n;
}

static size_t key_pack(uint8_t *key, unsigned n, const struct str *values)
{
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = value_clean(key + at + sizeof(uint32_t), values[i]);
        put_u32le(key + at, (uint32_t)len);
        at += sizeof(uint32_t) + len;
    }
    ASSERT(at <= KEY_MAX);
    return at;
}

static struct metric *metric_new(
    const struct metric_family *f, uint64_t hash, const uint8_t *key, size_t key_n)
{
    struct metric *m = xcalloc(1, sizeof(*m) + key_n);
    m->family = f;
    m->hash = hash;
    m->key_n = key_n;
    if (key_n != 0)
        memcpy(m->key, key, key_n);
    if (f->type == METRIC_HISTOGRAM)
        m->buckets = xcalloc(f->n_bounds + 1, sizeof(m->buckets[0]));
    return m;
}

static struct metric *series_get(
    struct metric_registered *r, unsigned n, const struct str *values, bool beyond_cap)
{
    uint8_t key[KEY_MAX];
    size_t key_n = key_pack(key, n, values);
    uint64_t hash = hash64(key, key_n);

    pthread_rwlock_rdlock(&r->lock);
    struct metric *m = *slot_find(r, hash, key, key_n);
    pthread_rwlock_unlock(&r->lock);
    if (m != NULL) {
        if (UNLIKELY(atomic_load_explicit(&m->hidden, memory_order_relaxed)))
            atomic_store_explicit(&m->hidden, false, memory_order_relaxed);
        return m;
    }

    pthread_rwlock_wrlock(&r->lock);
    struct metric **slot = slot_find(r, hash, key, key_n);
    if (*slot == NULL && (beyond_cap || r->n_series < METRIC_SERIES_MAX - 1)) {
        if ((r->n_series + 1) * 2 > r->n_slots) {
            table_grow(r);
            slot = slot_find(r, hash, key, key_n);
        }
        *slot = metric_new(r->family, hash, key, key_n);
        r->n_series++;
    }
    m = *slot;
    pthread_rwlock_unlock(&r->lock);
    return m;
}

struct metric *metric_series(struct metric_family *f, const struct str *values)
{
    struct metric_registered *r = family_registered(f);
    unsigned n = n_labels(f);
    struct metric *m = series_get(r, n, values, n == 0);

    if (LIKELY(m != NULL))
        return m;
    struct str overflow[METRIC_LABELS_MAX];
    for (unsigned i = 0; i < n; i++)
        overflow[i] = STR("overflow");
    return series_get(r, n, overflow, true);
}

struct metric *metric_series0(struct metric_family *f)
{
    ASSERT(n_labels(f) == 0);
    return metric_series(f, NULL);
}

struct metric *metric_series1(struct metric_family *f, struct str v0)
{
    ASSERT(n_labels(f) == 1);
    return metric_series(f, &v0);
}

struct metric *metric_series2(struct metric_family *f, struct str v0, struct str v1)
{
    ASSERT(n_labels(f) == 2);
    return metric_series(f, (struct str[]){v0, v1});
}

void metric_remove(struct metric_family *f, const struct str *values)
{
    struct metric_registered *r = family_registered(f);
    uint8_t key[KEY_MAX];
    size_t key_n = key_pack(key, n_labels(f), values);

    pthread_rwlock_rdlock(&r->lock);
    struct metric *m = *slot_find(r, hash64(key, key_n), key, key_n);
    pthread_rwlock_unlock(&r->lock);
    if (m != NULL)
        atomic_store_explicit(&m->hidden, true, memory_order_relaxed);
}

static double real_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static void real_add(struct metric *m, double v)
{
    uint64_t old = atomic_load_explicit(&m->real_bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        &m->real_bits, &old, bits_of(real_of(old) + v), memory_order_relaxed, memory_order_relaxed))
        ;
}

void metric_add(struct metric *m, double v)
{
    ASSERT(m->family->type != METRIC_HISTOGRAM);
    if (m->family->type == METRIC_GAUGE) {
        real_add(m, v);
        return;
    }
    ASSERT(v >= 0);
    if (LIKELY(v < 9e15 && v == (double)(int64_t)v))
        atomic_fetch_add_explicit(&m->whole, (int64_t)v, memory_order_relaxed);
    else
        real_add(m, v);
}

void metric_inc(struct metric *m)
{
    if (LIKELY(m->family->type == METRIC_COUNTER))
        atomic_fetch_add_explicit(&m->whole, 1, memory_order_relaxed);
    else
        metric_add(m, 1);
}

void metric_set(struct metric *m, double v)
{
    ASSERT(m->family->type == METRIC_GAUGE);
    atomic_store_explicit(&m->real_bits, bits_of(v), memory_order_relaxed);
}

void metric_observe(struct metric *m, double v)
{
    const struct metric_family *f = m->family;
    unsigned i = 0;
    ASSERT(f->type == METRIC_HISTOGRAM);
    while (i < f->n_bounds && !(v <= f->bounds[i])) /* NaN falls into +Inf */
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    real_add(m, v);
}

double metric_value(const struct metric *m)
{
    return (double)atomic_load_explicit(&m->whole, memory_order_relaxed) +
           real_of(atomic_load_explicit(&m->real_bits, memory_order_relaxed));
}

void metric_collector_add(void (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&collectors.lock);
    VEC_PUSH(&collectors.v, ((struct collector){fn, ctx}));
    pthread_mutex_unlock(&collectors.lock);
}

void metric_collector_remove(void (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&collectors.lock);
    for (size_t i = 0; i < collectors.v.n; i++) {
        if (collectors.v.p[i].fn != fn || collectors.v.p[i].ctx != ctx)
            continue;
        memmove(&collectors.v.p[i], &collectors.v.p[i + 1],
            (collectors.v.n - i - 1) * sizeof(collectors.v.p[0]));
        collectors.v.n--;
        break;
    }
    pthread_mutex_unlock(&collectors.lock);
}

/* Rendering. */

/* The shortest decimal text that reads back as the same number. */
static void put_number(struct buf *out, double v)
{
    char text[32];
    if (isnan(v)) {
        buf_putz(out, "NaN");
        return;
    }
    if (isinf(v)) {
        buf_putz(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (fabs(v) < 9e15 && v == (double)(int64_t)v) {
        buf_printf(out, "%lld", (long long)v);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_putz(out, text);
}

static void put_escaped(struct buf *out, const char *p, size_t n, bool quote)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\')
            buf_putz(out, "\\\\");
        else if (p[i] == '\n')
            buf_putz(out, "\\n");
        else if (p[i] == '"' && quote)
            buf_putz(out, "\\\"");
        else
            buf_putc(out, p[i]);
    }
}

/* name_suffix{label="value",le="bound"} and a blank; bound may be NULL. */
static void put_sample_name(
    struct buf *out, const struct metric *m, const char *suffix, const double *bound)
{
    const struct metric_family *f = m->family;
    const uint8_t *at = m->key;
    buf_putz(out, f->name);
    buf_putz(out, suffix);
    for (unsigned i = 0; f->labels[i] != NULL; i++) {
        uint32_t n = get_u32le(at);
        buf_putc(out, i == 0 ? '{' : ',');
        buf_putz(out, f->labels[i]);
        buf_putz(out, "=\"");
        put_escaped(out, (const char *)at + sizeof(uint32_t), n, true);
        buf_putc(out, '"');
        at += sizeof(uint32_t) + n;
    }
    if (bound != NULL) {
        buf_putz(out, f->labels[0] == NULL ? "{le=\"" : ",le=\"");
        put_number(out, *bound);
        buf_putc(out, '"');
    }
    if (f->labels[0] != NULL || bound != NULL)
        buf_putc(out, '}');
    buf_putc(out, ' ');
}

static void put_histogram(struct buf *out, const struct metric *m)
{
    const struct metric_family *f = m->family;
    uint64_t total = 0; /* one pass, so that +Inf and _count agree */
    for (unsigned i = 0; i <= f->n_bounds; i++) {
        double bound = i < f->n_bounds ? f->bounds[i] : (double)INFINITY;
        total += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        put_sample_name(out, m, "_bucket", &bound);
        buf_printf(out, "%llu\n", (unsigned long long)total);
    }
    put_sample_name(out, m, "_sum", NULL);
    put_number(out, real_of(atomic_load_explicit(&m->real_bits, memory_order_relaxed)));
    buf_putc(out, '\n');
    put_sample_name(out, m, "_count", NULL);
    buf_printf(out, "%llu\n", (unsigned long long)total);
}

/* By label values, first label first. */
static int series_cmp(const void *pa, const void *pb)
{
    const struct metric *a = *(const struct metric *const *)pa;
    const struct metric *b = *(const struct metric *const *)pb;
    const uint8_t *ka = a->key, *kb = b->key;
    while (ka < a->key + a->key_n) {
        uint32_t na = get_u32le(ka), nb = get_u32le(kb);
        ka += sizeof(uint32_t), kb += sizeof(uint32_t);
        int c = str_cmp(str_n((const char *)ka, na), str_n((const char *)kb, nb));
        if (c != 0)
            return c;
        ka += na, kb += nb;
    }
    return 0;
}

static void put_family(struct buf *out, struct metric_registered *r)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
    };
    const struct metric_family *f = r->family;
    size_t n = 0;

    pthread_rwlock_rdlock(&r->lock);
    CLEANUP(freep) struct metric **series = xcalloc(r->n_series, sizeof(struct metric *));
    for (size_t i = 0; i < r->n_slots; i++)
        if (r->table[i] != NULL &&
            !atomic_load_explicit(&r->table[i]->hidden, memory_order_relaxed))
            series[n++] = r->table[i];
    pthread_rwlock_unlock(&r->lock);
    if (n == 0)
        return;
    qsort(series, n, sizeof(struct metric *), series_cmp);
    buf_printf(out, "# HELP %s ", f->name);
    put_escaped(out, f->help, strlen(f->help), false);
    buf_printf(out, "\n# TYPE %s %s\n", f->name, types[f->type]);
    for (size_t i = 0; i < n; i++) {
        if (f->type == METRIC_HISTOGRAM) {
            put_histogram(out, series[i]);
        } else {
            put_sample_name(out, series[i], "", NULL);
            put_number(out, metric_value(series[i]));
            buf_putc(out, '\n');
        }
    }
}

static int registered_cmp(const void *pa, const void *pb)
{
    const struct metric_registered *a = *(const struct metric_registered *const *)pa;
    const struct metric_registered *b = *(const struct metric_registered *const *)pb;
    return strcmp(a->family->name, b->family->name);
}

void metric_render(struct buf *out)
{
    pthread_mutex_lock(&collectors.lock);
    for (size_t i = 0; i < collectors.v.n; i++)
        collectors.v.p[i].fn(collectors.v.p[i].ctx);
    pthread_mutex_unlock(&collectors.lock);

    pthread_mutex_lock(&registry.lock);
    size_t n = registry.v.n;
    CLEANUP(freep) struct metric_registered **all = xcalloc(n, sizeof(struct metric_registered *));
    if (n != 0)
        memcpy(all, registry.v.p, n * sizeof(struct metric_registered *));
    pthread_mutex_unlock(&registry.lock);
    qsort(all, n, sizeof(struct metric_registered *), registered_cmp);
    for (size_t i = 0; i < n; i++)
        put_family(out, all[i]);
}
