/* SPDX-License-Identifier: Apache-2.0
 * Which of Tempo's flags are known here and have no effect. Pure; any thread. */
#pragma once

#include "base/bytes.h"

/* *ret_bool: it takes no word of its own. Written only when the answer is true. */
bool flag_is_ignored(struct str name, bool *ret_bool);
