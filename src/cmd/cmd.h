/* SPDX-License-Identifier: Apache-2.0
 * Subcommands of the binary; each returns the exit code. */
#pragma once

#include "config/config.h"

int cmd_serve(const struct config *c);
int cmd_health(const char *url);
int cmd_fsck(int argc, char **argv);       /* fsck [-repair] -data DIR [-wal DIR] */
int cmd_wal_dump(int argc, char **argv);   /* wal-dump DIR */
int cmd_block_dump(int argc, char **argv); /* block-dump FILE... */
