/* SPDX-License-Identifier: Apache-2.0
 * Cost attribution: bytes received by the values of attributes that overrides name.
 *
 * Bytes of a span are its own in the canonical encoding, and an equal share of what its
 * ResourceSpans holds beside spans; the first span takes the remainder, so that the sum is the
 * request's. A tenant's state has a lock of its own; all functions are thread-safe. */
#pragma once

#include "base/buf.h"
#include "gateway/ingest.h"
#include "model/batch.h"

struct usage_tenant;

/* opt is kept. */
struct usage_tenant *usage_tenant_new(const struct ingest_usage *opt);
void usage_tenant_free(struct usage_tenant *t);
/* What to count from now on; series of other dimensions stay until they are stale. */
void usage_tenant_configure(struct usage_tenant *t, const struct limit_lists *lists, uint64_t max);
void usage_tenant_observe(struct usage_tenant *t, const struct batch *b);
/* Appends the tenant's series; drops the stale ones first. */
void usage_tenant_render(struct usage_tenant *t, struct str tenant, struct buf *out);
/* The lines that come before all series. */
void usage_render_head(struct buf *out);
