/* SPDX-License-Identifier: Apache-2.0
 * Subcommands of the binary; each returns the exit code. */
#pragma once

#include "api/api.h"
#include "config/config.h"

int cmd_serve(const struct config *c);
int cmd_health(const char *url);
int cmd_fsck(int argc, char **argv);       /* fsck [-repair] -data DIR [-wal DIR] */
int cmd_wal_dump(int argc, char **argv);   /* wal-dump DIR */
int cmd_block_dump(int argc, char **argv); /* block-dump FILE... */
int cmd_snapshot(int argc, char **argv);   /* snapshot [-copy] [-verify] -data DIR [-wal DIR] TO */

/* ---- listeners ---- */

struct tls_options listener_tls(const struct config_tls *t);
/* server_listen, and a line in the log. For listeners that authenticate nobody: with the gateway on
 * they are for this machine only, unless they verify client certificates. */
enum ec listener_open(const struct config *c, struct server *s, const struct listener_options *o,
    struct err *err) MUST_USE;

struct receivers_options {
    const struct config *config;
    struct server *server;
    struct api *api;
    struct budget *bodies, *packets; /* HTTP and gRPC bodies; datagrams on their way to OTLP */
};
struct receivers; /* what the listeners of `distributor.receivers` point to */
struct receivers *receivers_new(const struct receivers_options *opt);
enum ec receivers_listen(struct receivers *r, struct err *err) MUST_USE;
void receivers_stop(struct receivers *r); /* UDP, before the store closes; NULL is fine */
void receivers_free(struct receivers *r); /* after the server; NULL is fine */
