/* SPDX-License-Identifier: Apache-2.0
 * Values of an attribute over many blocks: which of them need not be opened. */
#pragma once

#include "source.h"

/* Has the part none of the attributes that are asked for? From its filter, without a reader. */
bool values_none(const struct values_request *r, struct part *p);
/* Has blocks that were not read yet answer that and, where they may have one, read their list of
 * attributes: several at once (ahead.h). */
void values_ask_ahead(
    const struct query_ctx *ctx, const struct values_request *req, const struct source *sources);
