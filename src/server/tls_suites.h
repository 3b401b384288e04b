/* SPDX-License-Identifier: Apache-2.0
 * Versions and cipher suites by their Go and IANA names, as a GnuTLS priority string. */
#pragma once

#include "base/err.h"

struct tls_suites {
    char priority[1024];
};
/* NULL or empty: TLS 1.2 and up, GnuTLS's normal suites. EC_INVALID names what is unknown. */
enum ec tls_suites_parse(const char *min_version, const char *max_version, const char *suites,
    struct tls_suites *ret, struct err *err) MUST_USE;
