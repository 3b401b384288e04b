/* SPDX-License-Identifier: Apache-2.0
 * Regular expressions: RE2 (Go's syntax, linear time) behind a small C++ shim (query/exec/regex_re2.cc).
 * Patterns are fully anchored, dot matches newline: ^(?s:PATTERN)$. Thread-safe for matching. */
#pragma once

#include "base/bytes.h"
#include "base/err.h"

struct regex;
/* EC_INVALID with RE2's text when it does not compile; memory of one program is capped at 1 MiB. */
enum ec regex_new(struct str pattern, struct regex **ret, struct err *err) MUST_USE;
void regex_free(struct regex *r);
bool regex_match(const struct regex *r, struct str text);
