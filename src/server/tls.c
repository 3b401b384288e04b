/* SPDX-License-Identifier: Apache-2.0
 * TLS by GnuTLS for both HTTP versions: certificates that reload, client certificates, versions,
 * suites.
 *
 * libmicrohttpd makes its own sessions, so everything that may change while running is decided in
 * one place that both kinds of session reach: the certificate callback, which runs when the
 * ClientHello is read. It hands out the current key pair, asks for a client certificate, and
 * installs the check of that certificate, so a wrong one fails the handshake and not a request.
 *
 * A key pair in use by a handshake must stay: a replaced one is freed KEEP_NS later, longer than
 * any handshake may take, by the next reload. A file that does not load keeps the old pair. */
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tls_suites.h"

#define CHAIN_MAX     TLS_CHAIN_MAX
#define PEM_BYTES_MAX (1u << 20)
#define KEEP_NS       (600 * NS_PER_S)
#define CHECK_NS      (10 * NS_PER_S)

struct tls_pair { /* one generation; immutable once published */
    struct tls_pair *older;
    int64_t replaced_ns;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n_chain;
    gnutls_privkey_t key;
    gnutls_x509_trust_list_t trust; /* NULL: no client certificates */
};

struct tls_context {
    char *name, *cert_file, *key_file, *cert_pem, *key_pem, *ca_file;
    bool required, asks; /* asks: without verifying */
    int64_t interval_ns;
    struct tls_suites suites;
    gnutls_priority_t priority;
    gnutls_certificate_credentials_t cred; /* only carries the callback */
    pthread_mutex_t lock;                  /* guards what follows */
    struct tls_pair *pair;
    int64_t mtime[3], checked_ns;
};

static struct metric_family expiry = {
    .name = "vivace_tls_certificate_expiry_timestamp_seconds",
    .help = "When the certificate in use ends, in seconds since 1970.",
    .type = METRIC_GAUGE,
    .labels = {"listener"},
};
static struct metric_family reload_ok = {
    .name = "vivace_tls_last_reload_successful",
    .help = "Whether certificate and key could be read when they were last to be.",
    .type = METRIC_GAUGE,
    .labels = {"listener"},
};

/* ---- files ---- */

static enum ec read_pem(const char *path, struct buf *out, struct err *err)
{
    struct io_stat st;
    int fd;
    TRY(io_open(io_from_environment(), "tls.open", path, O_RDONLY, 0, &fd, err));
    enum ec ec = io_fstat(io_from_environment(), "tls.stat", fd, &st, err);
    if (ec == EC_OK && st.size > PEM_BYTES_MAX)
        ec = ERR(err, EC_INVALID, "%s is larger than %u bytes", path, PEM_BYTES_MAX);
    if (ec == EC_OK && buf_reserve(out, (size_t)st.size + 1)) {
        ec = io_pread(io_from_environment(), "tls.read", fd, out->p, (size_t)st.size, 0, err);
        if (ec == EC_OK)
            out->n = (size_t)st.size;
    }
    (void)io_close(io_from_environment(), "tls.close", fd, NULL); /* it was only read */
    return ec;
}

static enum ec pem_of(const char *path, const char *inline_pem, struct buf *out, struct err *err)
{
    if (path != NULL)
        return read_pem(path, out, err);
    buf_putz(out, inline_pem);
    return EC_OK;
}

/* Refuses a key that others may read. WHY the exception: Kubernetes mounts secrets as 0644 links
 * into "..data/", inside a container that nobody else shares. */
static enum ec key_private(const char *path, struct err *err)
{
    struct stat st;
    char target[16];
    if (path == NULL)
        return EC_OK;
    if (stat(path, &st) != 0)
        return ERR_ERRNO(err, EC_NOT_FOUND, errno, "key file %s", path);
    ssize_t n = readlink(path, target, sizeof(target));
    if (n >= 7 && memcmp(target, "..data/", 7) == 0)
        return EC_OK;
    if ((st.st_mode & S_IROTH) != 0)
        return ERR(err, EC_INVALID, "key file %s is readable by others (mode %03o)", path,
            (unsigned)st.st_mode & 0777);
    return EC_OK;
}

static int64_t mtime_of(const char *path)
{
    struct io_stat st;
    if (path == NULL || io_stat(io_from_environment(), "tls.mtime", path, &st, NULL) != EC_OK)
        return 0;
    return st.mtime_ns;
}

/* ---- pairs ---- */

static void tls_pair_free(struct tls_pair *p)
{
    for (unsigned i = 0; i < p->n_chain; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key != NULL)
        gnutls_privkey_deinit(p->key);
    if (p->trust != NULL)
        gnutls_x509_trust_list_deinit(p->trust, 1);
    free(p);
}

static enum ec tls_failed(const char *what, const char *path, int rc, struct err *err)
{
    return ERR(
        err, EC_INVALID, "%s %s: %s", what, path == NULL ? "(inline)" : path, gnutls_strerror(rc));
}

static enum ec pair_load_identity(struct tls_context *t, struct tls_pair *p, struct err *err)
{
    CLEANUP(buf_deinit) struct buf cert = BUF_INIT, key = BUF_INIT;
    TRY(pem_of(t->cert_file, t->cert_pem, &cert, err));
    TRY(key_private(t->key_file, err));
    TRY(pem_of(t->key_file, t->key_pem, &key, err));
    gnutls_datum_t c = {cert.p, (unsigned)cert.n}, k = {key.p, (unsigned)key.n};
    unsigned n = CHAIN_MAX;
    int rc = gnutls_pcert_list_import_x509_raw(p->chain, &n, &c, GNUTLS_X509_FMT_PEM, 0);
    if (rc == 0)
        p->n_chain = n;
    if (rc == 0 && n == 0)
        rc = GNUTLS_E_NO_CERTIFICATE_FOUND;
    if (rc < 0) {
        gnutls_memset(key.p, 0, key.n);
        return tls_failed("certificate", t->cert_file, rc, err);
    }
    rc = gnutls_privkey_init(&p->key);
    if (rc == 0)
        rc = gnutls_privkey_import_x509_raw(p->key, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_memset(key.p, 0, key.n);
    return rc < 0 ? tls_failed("key", t->key_file, rc, err) : EC_OK;
}

/* The key must be the certificate's, or every handshake would fail later. */
static enum ec pair_match(struct tls_context *t, struct tls_pair *p, struct err *err)
{
    uint8_t a[64], b[64];
    size_t an = sizeof(a), bn = sizeof(b);
    gnutls_pubkey_t pub;
    int rc = gnutls_pubkey_init(&pub);
    if (rc < 0)
        return tls_failed("key", t->key_file, rc, err);
    rc = gnutls_pubkey_import_privkey(pub, p->key, 0, 0);
    if (rc == 0)
        rc = gnutls_pubkey_get_key_id(pub, GNUTLS_KEYID_USE_SHA256, a, &an);
    gnutls_pubkey_deinit(pub);
    if (rc == 0)
        rc = gnutls_pubkey_get_key_id(p->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &bn);
    if (rc < 0)
        return tls_failed("key", t->key_file, rc, err);
    if (an != bn || memcmp(a, b, an) != 0)
        return ERR(err, EC_INVALID, "key %s does not belong to certificate %s",
            t->key_file == NULL ? "(inline)" : t->key_file,
            t->cert_file == NULL ? "(inline)" : t->cert_file);
    return EC_OK;
}

static enum ec pair_load_trust(struct tls_context *t, struct tls_pair *p, struct err *err)
{
    if (t->ca_file == NULL)
        return EC_OK;
    CLEANUP(buf_deinit) struct buf ca = BUF_INIT;
    TRY(read_pem(t->ca_file, &ca, err));
    gnutls_datum_t d = {ca.p, (unsigned)ca.n};
    int rc = gnutls_x509_trust_list_init(&p->trust, 0);
    if (rc == 0)
        rc = gnutls_x509_trust_list_add_trust_mem(p->trust, &d, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
    if (rc <= 0)
        return tls_failed(
            "client CA", t->ca_file, rc == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : rc, err);
    return EC_OK;
}

static enum ec tls_pair_load(struct tls_context *t, struct tls_pair **ret, struct err *err)
{
    struct tls_pair *p = xcalloc(1, sizeof(*p));
    enum ec ec = pair_load_identity(t, p, err);
    if (ec == EC_OK)
        ec = pair_match(t, p, err);
    if (ec == EC_OK)
        ec = pair_load_trust(t, p, err);
    if (ec != EC_OK) {
        tls_pair_free(p);
        return ec;
    }
    *ret = p;
    return EC_OK;
}

static void tls_forget_old(struct tls_context *t, int64_t now)
{
    for (struct tls_pair **at = &t->pair->older; *at != NULL;) {
        struct tls_pair *p = *at;
        if (now - p->replaced_ns < KEEP_NS) {
            at = &p->older;
            continue;
        }
        *at = p->older;
        tls_pair_free(p);
    }
}

static void tls_tell(const struct tls_context *t, struct tls_pair *loaded)
{
    gnutls_x509_crt_t crt;
    metric_set(metric_series1(&reload_ok, str_from(t->name)), loaded != NULL);
    if (loaded == NULL || gnutls_pcert_export_x509(&loaded->chain[0], &crt) < 0)
        return;
    metric_set(metric_series1(&expiry, str_from(t->name)),
        (double)gnutls_x509_crt_get_expiration_time(crt));
    gnutls_x509_crt_deinit(crt);
}

static enum ec tls_reload_locked(struct tls_context *t, bool force, struct err *err)
{
    int64_t now = clock_mono_ns();
    int64_t mtime[3] = {mtime_of(t->cert_file), mtime_of(t->key_file), mtime_of(t->ca_file)};
    t->checked_ns = now;
    if (!force && t->interval_ns == 0 && memcmp(mtime, t->mtime, sizeof(mtime)) == 0)
        return EC_OK;
    memcpy(t->mtime, mtime, sizeof(mtime)); /* a bad file is reported once, not at each look */
    struct tls_pair *p = NULL;
    enum ec ec = tls_pair_load(t, &p, err);
    tls_tell(t, p);
    if (ec != EC_OK)
        return ec;
    if (t->pair != NULL)
        t->pair->replaced_ns = now;
    p->older = t->pair;
    t->pair = p;
    tls_forget_old(t, now);
    return EC_OK;
}

enum ec tls_context_reload(struct tls_context *t, bool force, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    enum ec ec = tls_reload_locked(t, force, err);
    pthread_mutex_unlock(&t->lock);
    return ec;
}

static const struct tls_pair *tls_current(struct tls_context *t)
{
    struct err err = {0};
    enum ec ec = EC_OK;
    pthread_mutex_lock(&t->lock);
    if (clock_mono_ns() - t->checked_ns >= (t->interval_ns == 0 ? CHECK_NS : t->interval_ns))
        ec = tls_reload_locked(t, false, &err);
    const struct tls_pair *p = t->pair;
    pthread_mutex_unlock(&t->lock);
    if (ec != EC_OK)
        log_event(LOG_ERROR, "certificate not reloaded, the old one stays", LZ("listener", t->name),
            LE(&err));
    return p;
}

bool tls_verifies(const struct tls_context *t)
{
    return t->ca_file != NULL;
}

/* ---- sessions ---- */

static struct conn *conn_of_session(gnutls_session_t s)
{
    int fd = gnutls_transport_get_int(s);
    struct loop *loop = loop_current;
    ASSERT(loop != NULL && fd >= 0 && (size_t)fd < loop->n_by_fd && loop->by_fd[fd] != NULL);
    return loop->by_fd[fd];
}

static int refuse_client(struct conn *c, const char *why)
{
    log_event(LOG_INFO, "client certificate refused", LZ("listener", c->listener->name),
        LZ("peer", c->peer), LZ("reason", why));
    return GNUTLS_E_CERTIFICATE_ERROR;
}

static int verify_client(gnutls_session_t s)
{
    struct conn *c = conn_of_session(s);
    struct tls_context *t = c->listener->tls;
    unsigned n = 0, n_crt = 0, status = 0;
    const gnutls_datum_t *raw = gnutls_certificate_get_peers(s, &n);
    gnutls_x509_crt_t crt[CHAIN_MAX];
    if (raw == NULL || n == 0)
        return t->required ? refuse_client(c, "no certificate") : 0;
    if (n > CHAIN_MAX)
        return refuse_client(c, "chain is too long");
    int rc = 0;
    for (; n_crt < n && rc == 0; n_crt++) {
        rc = gnutls_x509_crt_init(&crt[n_crt]);
        if (rc < 0)
            break;
        rc = gnutls_x509_crt_import(crt[n_crt], &raw[n_crt], GNUTLS_X509_FMT_DER);
    }
    pthread_mutex_lock(&t->lock); /* the trust list must not be replaced under us */
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, NULL, 0};
    union {
        const char *in;
        unsigned char *out;
    } oid = {.in = GNUTLS_KP_TLS_WWW_CLIENT};
    purpose.data = oid.out;
    if (rc == 0)
        rc = gnutls_x509_trust_list_verify_crt2(
            t->pair->trust, crt, n, &purpose, 1, 0, &status, NULL);
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < n_crt; i++)
        gnutls_x509_crt_deinit(crt[i]);
    if (rc < 0 || status != 0)
        return refuse_client(c, rc < 0 ? gnutls_strerror(rc)
                                : (status & GNUTLS_CERT_EXPIRED) != 0
                                    ? "expired"
                                    : "not signed by the client CA");
    return 0;
}

static int choose_certificate(gnutls_session_t s, const struct gnutls_cert_retr_st *info,
    gnutls_pcert_st **certs, unsigned *n_certs, gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp,
    gnutls_privkey_t *key, unsigned *flags)
{
    (void)info;
    struct tls_context *t = conn_of_session(s)->listener->tls;
    const struct tls_pair *p = tls_current(t);
    union {
        const gnutls_pcert_st *in;
        gnutls_pcert_st *out;
    } chain = {.in = p->chain};
    *certs = chain.out;
    *n_certs = p->n_chain;
    *key = p->key;
    *ocsp = NULL;
    *n_ocsp = 0;
    *flags = 0; /* they stay ours */
    if (t->ca_file != NULL) {
        gnutls_certificate_server_set_request(
            s, t->required ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
        gnutls_session_set_verify_function(s, verify_client);
    } else if (t->asks) {
        gnutls_certificate_server_set_request(
            s, t->required ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST);
    }
    return 0;
}

gnutls_session_t tls_session_new(struct tls_context *t, int fd)
{
    gnutls_session_t s = NULL;
    static const char h2[] = "h2";
    union {
        const char *in;
        unsigned char *out;
    } name = {.in = h2};
    const gnutls_datum_t alpn = {name.out, 2};
    if (gnutls_init(&s, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
        return NULL;
    if (gnutls_priority_set(s, t->priority) < 0 ||
        gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->cred) < 0 ||
        gnutls_alpn_set_protocols(s, &alpn, 1, GNUTLS_ALPN_MANDATORY) < 0) {
        gnutls_deinit(s);
        return NULL;
    }
    gnutls_transport_set_int(s, fd);
    gnutls_handshake_set_timeout(s, 0); /* ours ends it */
    return s;
}

size_t tls_mhd_options(struct tls_context *t, struct MHD_OptionItem *items, size_t max)
{
    ASSERT(max >= 2);
    union {
        gnutls_certificate_retrieve_function3 *fn;
        void *p;
    } callback = {.fn = choose_certificate};
    items[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, callback.p};
    items[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, t->suites.priority};
    return 2;
}

/* ---- context ---- */

static char *copy_or_null(const char *s)
{
    return s == NULL || s[0] == 0 ? NULL : xstrdup(s);
}

static enum ec context_load(struct tls_context *t, const struct tls_options *opt, struct err *err)
{
    if ((t->cert_file == NULL && t->cert_pem == NULL) ||
        (t->key_file == NULL && t->key_pem == NULL))
        return ERR(err, EC_INVALID, "tls needs both a certificate and a key");
    TRY(tls_suites_parse(opt->min_version, opt->max_version, opt->cipher_suites, &t->suites, err));
    const char *at = NULL;
    int rc = gnutls_priority_init(&t->priority, t->suites.priority, &at);
    if (rc < 0)
        return ERR(
            err, EC_INTERNAL, "tls priority %s: %s", t->suites.priority, gnutls_strerror(rc));
    rc = gnutls_certificate_allocate_credentials(&t->cred);
    if (rc < 0)
        return ERR(err, EC_INTERNAL, "tls: %s", gnutls_strerror(rc));
    gnutls_certificate_set_retrieve_function3(t->cred, choose_certificate);
    return tls_context_reload(t, true, err);
}

enum ec tls_context_new(
    const struct tls_options *opt, const char *name, struct tls_context **ret, struct err *err)
{
    struct tls_context *t = xcalloc(1, sizeof(*t));
    metric_register(&expiry);
    metric_register(&reload_ok);
    pthread_mutex_init(&t->lock, NULL);
    t->name = xstrdup(name);
    t->cert_file = copy_or_null(opt->cert_file);
    t->key_file = copy_or_null(opt->key_file);
    t->cert_pem = copy_or_null(opt->cert_pem);
    t->key_pem = copy_or_null(opt->key_pem);
    t->ca_file = copy_or_null(opt->client_ca_file);
    t->required = opt->client_cert_required;
    t->asks = opt->client_cert_asked;
    t->interval_ns = opt->reload_interval_ns;
    enum ec ec = context_load(t, opt, err);
    if (ec != EC_OK) {
        tls_context_free(t);
        return ec;
    }
    *ret = t;
    return EC_OK;
}

void tls_context_free(struct tls_context *t)
{
    if (t == NULL)
        return;
    while (t->pair != NULL) {
        struct tls_pair *p = t->pair;
        t->pair = p->older;
        tls_pair_free(p);
    }
    if (t->priority != NULL)
        gnutls_priority_deinit(t->priority);
    if (t->cred != NULL)
        gnutls_certificate_free_credentials(t->cred);
    pthread_mutex_destroy(&t->lock);
    free(t->name);
    free(t->cert_file);
    free(t->key_file);
    free(t->cert_pem);
    if (t->key_pem != NULL)
        gnutls_memset(t->key_pem, 0, strlen(t->key_pem));
    free(t->key_pem);
    free(t->ca_file);
    free(t);
}
