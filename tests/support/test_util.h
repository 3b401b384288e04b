/* SPDX-License-Identifier: Apache-2.0
 * cmocka with what it needs before it, in the order that it needs. */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

/* CMOCKA_TEST_FILTER=pattern in the environment: cases by name. cmocka knows it as a call only. */
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)     \
    (cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER")), \
        _cmocka_run_group_tests(#tests, tests, sizeof(tests) / sizeof(tests[0]), setup, teardown))
