/* SPDX-License-Identifier: Apache-2.0
 * Zipkin's texts that stand for something else: numbers and truth values, addresses. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "zipkin.h"

#define NUMBER_BYTES 64 /* a longer decimal fraction stays text */

static size_t zipkin_digits(struct str s, size_t at)
{
    size_t n = 0;
    while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
        n++;
    return n;
}

struct value zipkin_parse_text(struct str text)
{
    char z[NUMBER_BYTES + 1];
    int64_t i;
    if (str_eqz(text, "true") || str_eqz(text, "false"))
        return (struct value){.type = VALUE_BOOL, .b = text.n == 4};
    size_t sign = text.n > 0 && text.p[0] == '-';
    size_t whole = zipkin_digits(text, sign), at = sign + whole;
    if (whole == 0)
        return rx_str(text);
    if (at == text.n) /* out of range: text is better than another number */
        return str_to_i64(text, &i) ? rx_int(i) : rx_str(text);
    size_t fraction = text.p[at] == '.' ? zipkin_digits(text, at + 1) : 0;
    if (fraction == 0 || at + 1 + fraction != text.n || text.n > NUMBER_BYTES)
        return rx_str(text);
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    return (struct value){.type = VALUE_DOUBLE, .d = strtod(z, NULL)};
}

bool zipkin_ip_text(struct rx *rx, const uint8_t *p, size_t n, struct str *ret)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    *ret = (struct str){0};
    if (n != 4 && n != 16)
        return true;
    if (n == 16 && memcmp(p, mapped, sizeof(mapped)) == 0) {
        p += 12;
        n = 4;
    }
    if (inet_ntop(n == 4 ? AF_INET : AF_INET6, p, text, sizeof(text)) == NULL)
        return true;
    *ret = str_from(text);
    return rx_copy(rx, ret);
}
