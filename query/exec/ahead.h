/* SPDX-License-Identifier: Apache-2.0
 * The first question to many parts, asked of several at once. */
#pragma once

#include "query/exec.h"

/* Of blocks that were not read yet the first question to each costs opening its file and waiting
 * for the disk: `ask` puts it to those, on several threads, with the disk told beforehand. What it
 * finds out stays in memory, so whoever then asks all of them one by one is not kept waiting. Parts
 * that were read before are not asked. */
void query_ask_ahead(const struct query_ctx *ctx, struct part *const *parts, size_t n,
    void (*ask)(void *arg, struct part *p), void *arg);
