/* SPDX-License-Identifier: Apache-2.0
 * Suite names to a priority string. GnuTLS chooses by component (key exchange, cipher, MAC), so a
 * list of suites allows every combination of the components that it names; the server's order
 * wins. */
#include "tls_suites.h"

#include <stdio.h>

#include "base/bytes.h"

static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3"};

static enum ec version_index(const char *text, int fallback, int *ret, struct err *err)
{
    if (text == NULL || text[0] == 0) {
        *ret = fallback;
        return EC_OK;
    }
    for (int i = 0; i < (int)ARRAY_LEN(versions); i++)
        if (strcmp(text, versions[i]) == 0) {
            *ret = i;
            return EC_OK;
        }
    return ERR(err, EC_INVALID, "tls version \"%s\": want 1.0, 1.1, 1.2 or 1.3", text);
}

struct part {
    const char *name, *priority;
};
static const struct part exchanges[] = {{"ECDHE_RSA", "ECDHE-RSA"}, {"ECDHE_ECDSA", "ECDHE-ECDSA"},
    {"DHE_RSA", "DHE-RSA"}, {"RSA", "RSA"}};
static const struct part ciphers[] = {{"AES_128_GCM_SHA256", "AES-128-GCM:+AEAD"},
    {"AES_256_GCM_SHA384", "AES-256-GCM:+AEAD"},
    {"CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305:+AEAD"},
    {"CHACHA20_POLY1305", "CHACHA20-POLY1305:+AEAD"}, {"AES_128_CBC_SHA256", "AES-128-CBC:+SHA256"},
    {"AES_256_CBC_SHA384", "AES-256-CBC:+SHA384"}, {"AES_256_CBC_SHA256", "AES-256-CBC:+SHA256"},
    {"AES_128_CBC_SHA", "AES-128-CBC:+SHA1"}, {"AES_256_CBC_SHA", "AES-256-CBC:+SHA1"},
    {"AES_128_CCM_SHA256", "AES-128-CCM:+AEAD"}, {"AES_128_CCM", "AES-128-CCM:+AEAD"},
    {"3DES_EDE_CBC_SHA", "3DES-CBC:+SHA1"}};

static const char *part_of(const struct part *list, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, list[i].name))
            return list[i].priority;
    return NULL;
}

static size_t append(struct tls_suites *t, size_t n, const char *s)
{
    size_t left = sizeof(t->priority) - n;
    int wrote = snprintf(t->priority + n, left, ":+%s", s);
    return wrote < 0 || (size_t)wrote >= left ? sizeof(t->priority) : n + (size_t)wrote;
}

static enum ec append_suite(struct tls_suites *t, size_t *n, struct str name, struct err *err)
{
    struct str rest = name;
    const char *exchange = NULL, *cipher;
    if (!str_starts(name, STR("TLS_")))
        return ERR(err, EC_INVALID, "tls cipher suite \"" STR_FMT "\" is unknown", STR_ARG(name));
    rest = str_n(name.p + 4, name.n - 4);
    for (size_t i = 0; i + 6 <= rest.n; i++)
        if (memcmp(rest.p + i, "_WITH_", 6) == 0) {
            exchange = part_of(exchanges, ARRAY_LEN(exchanges), str_n(rest.p, i));
            if (exchange == NULL)
                return ERR(
                    err, EC_INVALID, "tls cipher suite \"" STR_FMT "\" is unknown", STR_ARG(name));
            rest = str_n(rest.p + i + 6, rest.n - i - 6);
            break;
        }
    cipher = part_of(ciphers, ARRAY_LEN(ciphers), rest);
    if (cipher == NULL)
        return ERR(err, EC_INVALID, "tls cipher suite \"" STR_FMT "\" is unknown", STR_ARG(name));
    if (exchange != NULL)
        *n = append(t, *n, exchange);
    if (*n < sizeof(t->priority))
        *n = append(t, *n, cipher);
    return *n < sizeof(t->priority) ? EC_OK : ERR(err, EC_INVALID, "tls: too many cipher suites");
}

enum ec tls_suites_parse(const char *min_version, const char *max_version, const char *suites,
    struct tls_suites *ret, struct err *err)
{
    struct tls_suites t;
    struct str list = str_from(suites);
    int min = 0, max = 0;
    TRY(version_index(min_version, 2, &min, err));
    TRY(version_index(max_version, 3, &max, err));
    if (min > max)
        return ERR(err, EC_INVALID, "tls min version %s is above max version %s", min_version,
            max_version);
    bool chosen = str_trim(list).n != 0;
    int wrote = snprintf(t.priority, sizeof(t.priority), "%s:%%SERVER_PRECEDENCE",
        chosen ? "NONE:+SIGN-ALL:+GROUP-ALL:+COMP-NULL:+CTYPE-X509" : "NORMAL:-VERS-ALL");
    size_t n = (size_t)wrote;
    for (int i = min; i <= max; i++) {
        char v[16];
        snprintf(v, sizeof(v), "VERS-TLS%s", versions[i]);
        n = append(&t, n, v);
    }
    while (list.n != 0) {
        struct str name = str_trim(str_cut(list, ',', &list));
        if (name.n != 0)
            TRY(append_suite(&t, &n, name, err));
    }
    *ret = t;
    return EC_OK;
}
