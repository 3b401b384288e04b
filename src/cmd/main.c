/* SPDX-License-Identifier: Apache-2.0
 * The program: subcommands and the server. */
#include <stdio.h>

int main(void)
{
    puts("vivace " VIVACE_VERSION);
    return 0;
}
