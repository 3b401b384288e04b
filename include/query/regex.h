/* SPDX-License-Identifier: Apache-2.0
 * Regular expressions: RE2 (Go's syntax, linear time) behind a small C++ shim
 * (query/exec/regex_re2.cc).
 *
 * Patterns are fully anchored and dot matches newline: ^(?s:PATTERN)$. Pattern and text are UTF-8,
 * as in Go; in a text that is not valid UTF-8 no bad byte matches anything, dot included; nothing
 * fails. Matching is thread-safe.
 */
#pragma once

#include "base/bytes.h"
#include "base/err.h"

struct regex;
/* EC_INVALID with RE2's text when the pattern does not compile or its program would take more than
 * REGEX_BYTES_BASE + 64 bytes a byte of pattern. */
#define REGEX_BYTES_BASE (1u << 20)
enum ec regex_new(struct str pattern, struct regex **ret, struct err *err) MUST_USE;
/* The same, with groups that can be asked for. */
enum ec regex_new_groups(struct str pattern, struct regex **ret, struct err *err) MUST_USE;
void regex_free(struct regex *r);
bool regex_match(const struct regex *r, struct str text);
/* Of regex_new_groups. When the text matches: views of its first groups, 0 being all of it, at most
 * REGEX_GROUPS_MAX; how many there are, or 0 when it does not match. */
#define REGEX_GROUPS_MAX 32
size_t regex_groups(const struct regex *r, struct str text, struct str ret[REGEX_GROUPS_MAX])
    MUST_USE;
/* The group of that name, or number as text; -1: there is none. */
int regex_group(const struct regex *r, struct str name);
/* Bytes that the compiled program holds; matching may cache states up to the cap above. */
size_t regex_memory(const struct regex *r);
