/* SPDX-License-Identifier: Apache-2.0
 * cmocka, and checks for the types that every layer uses. */
#pragma once

#include "base/bytes.h"
#include "base/err.h"
#include "test_util.h"

#define assert_str(actual, expected)                                                             \
    do {                                                                                         \
        struct str actual_ = (actual), expected_ = str_from(expected);                           \
        if (!str_eq(actual_, expected_))                                                         \
            fail_msg(                                                                            \
                "\"" STR_FMT "\" is not \"" STR_FMT "\"", STR_ARG(actual_), STR_ARG(expected_)); \
    } while (0)

/* The call must succeed; prints the message when it does not. `err` is a struct err. */
#define assert_ok(call, err)                                              \
    do {                                                                  \
        enum ec ec_ = (call);                                             \
        if (ec_ != EC_OK)                                                 \
            fail_msg("%s: %s: %s", #call, ec_text(ec_), err_msg(&(err))); \
    } while (0)

/* The call must fail with this code. */
#define assert_ec(call, expected)                                                   \
    do {                                                                            \
        enum ec ec_ = (call);                                                       \
        if (ec_ != (expected))                                                      \
            fail_msg("%s: got %s, not %s", #call, ec_text(ec_), ec_text(expected)); \
    } while (0)
