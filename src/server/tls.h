/* SPDX-License-Identifier: Apache-2.0
 * TLS for both HTTP versions; what h1.c, h2.c and server.c need of tls.c. Needs gnutls and
 * microhttpd. */
#pragma once

#include <gnutls/gnutls.h>
#include <microhttpd.h>

#include "server_int.h"

#define TLS_CHAIN_MAX 16

enum ec tls_context_new(const struct tls_options *opt, const char *name, struct tls_context **ret,
    struct err *err) MUST_USE;
void tls_context_free(struct tls_context *t);
enum ec tls_context_reload(struct tls_context *t, bool force, struct err *err);
/* A server session over fd, non-blocking, ALPN h2. NULL when out of memory. Deinit by the
 * caller. */
gnutls_session_t tls_session_new(struct tls_context *t, int fd);
bool tls_verifies(const struct tls_context *t); /* client certificates, if any */
/* tls_peer.c: the client's certificates, NULL without one; and their way into a request. */
struct tls_peer *tls_peer_new(struct tls_context *t, gnutls_session_t s);
void tls_peer_free(struct tls_peer *p);
void tls_peer_show(const struct tls_peer *p, struct exchange *ex);
/* How libmicrohttpd's sessions come to the same callback; returns the options written. */
size_t tls_mhd_options(struct tls_context *t, struct MHD_OptionItem *items, size_t max);
