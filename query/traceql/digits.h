/* SPDX-License-Identifier: Apache-2.0
 * Shortest decimal digits of a double, from the C++ library (std::to_chars): the C library has
 * nothing like it. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

#define SHORTEST_MAX 32

/* `d.ddde[-+]XX` of a finite v >= 0: the shortest text that reads back as v and the nearest of
 * those. Returns the length; no NUL. */
int shortest_double(char out[SHORTEST_MAX], double v);

#ifdef __cplusplus
}
#endif
