/* SPDX-License-Identifier: Apache-2.0
 * How much memory the process may use, from the environment and the cgroup (version 2, then 1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

#define BUDGET_DEFAULT (1ULL << 30)
#define NO_LIMIT_MIN   (1ULL << 62) /* version 1 writes a huge number for "no limit" */

static uint64_t read_number(const char *path)
{
    char text[64] = "";
    uint64_t v;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    return str_to_u64(str_n(text, n), &v) && v < NO_LIMIT_MIN ? v : 0;
}

/* The limit of one cgroup and of those above it: the least that is set. */
static uint64_t least_limit(const char *root, const char *group, const char *file)
{
    char path[4400];
    size_t n = strlen(group);
    uint64_t least = 0;
    for (;;) {
        snprintf(path, sizeof(path), "%s%.*s/%s", root, (int)n, group, file);
        uint64_t v = read_number(path);
        if (v != 0 && (least == 0 || v < least))
            least = v;
        while (n > 0 && group[n - 1] != '/')
            n--;
        if (n == 0)
            return least;
        n--;
    }
}

uint64_t memory_cgroup_limit(void)
{
    char line[4200];
    uint64_t v2 = 0, v1 = 0;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL)
            continue;
        *group++ = 0;
        if (strcmp(controllers, ":") == 0)
            v2 = least_limit("/sys/fs/cgroup", group, "memory.max");
        else if (strstr(controllers, "memory") != NULL)
            v1 = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
    fclose(f);
    return v2 != 0 ? v2 : v1;
}

/* "400MiB" as Go's GOMEMLIMIT; 0 when it is unset, "off", or not understood. */
static uint64_t go_memory_limit(void)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1}, {"B", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30},
        {"TiB", 1ULL << 40}};
    const char *env = getenv("GOMEMLIMIT");
    uint64_t v;
    if (env == NULL)
        return 0;
    size_t digits = strspn(env, "0123456789");
    if (!str_to_u64(str_n(env, digits), &v))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(env + digits, units[i].name) == 0)
            return __builtin_mul_overflow(v, units[i].bytes, &v) ? 0 : v;
    return 0;
}

uint64_t memory_budget_default(void)
{
    uint64_t v = go_memory_limit();
    if (v != 0)
        return v;
    uint64_t limit = memory_cgroup_limit();
    return limit == 0 ? BUDGET_DEFAULT : MIN(limit / 4 * 3, BUDGET_DEFAULT);
}
