/* SPDX-License-Identifier: Apache-2.0
 * What the parser, the printer and the checker share about attributes. */
#pragma once

#include "query/tql.h"

/* Fills attr->text of an attribute (not an intrinsic) from scope, parent and name; false: over
 * budget. */
bool tql_attr_text(struct tql_attr *attr, struct arena *arena);
