/* SPDX-License-Identifier: Apache-2.0
 * The one call into <charconv>; formatting proper is in format.c. */
#include "digits.h"

#include <charconv>

extern "C" int shortest_double(char out[SHORTEST_MAX], double v)
{
    std::to_chars_result r =
        std::to_chars(out, out + SHORTEST_MAX, v, std::chars_format::scientific);
    return static_cast<int>(r.ptr - out);
}
