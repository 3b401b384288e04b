/* SPDX-License-Identifier: Apache-2.0
 * Which planted defect the environment names. Empty in a release.
 */
#include "base/defect.h"

#ifdef VIVACE_PLANTED_DEFECTS

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define X(id, name) name,
    DEFECT_TABLE(X)
#undef X
};

static enum defect planted = DEFECT_COUNT;

static void plan_read(void)
{
    const char *name = getenv("VIVACE_DEFECT");
    if (name == NULL || *name == '\0')
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) {
            planted = (enum defect)i;
            fprintf(stderr, "level=warn msg=\"defect planted\" name=%s\n", name);
            return;
        }
    fprintf(stderr, "level=error msg=\"unknown VIVACE_DEFECT\" name=\"%s\"\n", name);
    abort();
}

bool defect_planted(enum defect defect)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, plan_read);
    return planted == defect;
}

#else

typedef int defect_is_empty_in_a_release; /* ISO C wants a declaration */

#endif
