/* SPDX-License-Identifier: Apache-2.0
 * See sim_run.h. */
#include "sim_run.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>
#endif

#include "base/hash.h"
#include "base/log.h"

uint64_t sim_draw(uint64_t *rng, uint64_t n)
{
    *rng += 0x9e3779b97f4a7c15ULL;
    return hash_mix(*rng) % n;
}

void sim_trail_add(struct sim_trail *t, uint64_t op, const char *mark, const char *fmt, ...)
{
    va_list ap;
    char *line = t->line[t->n++ % ARRAY_LEN(t->line)];
    int n = snprintf(line, sizeof(t->line[0]), "%llu%s ", (unsigned long long)op, mark);
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof(t->line[0]) - (size_t)n, fmt, ap);
    va_end(ap);
}

void sim_trail_print(const struct sim_trail *t)
{
    unsigned n = MIN(t->n, (unsigned)ARRAY_LEN(t->line));
    for (unsigned i = t->n - n; i < t->n; i++)
        printf("    %s\n", t->line[i % ARRAY_LEN(t->line)]);
}

static void (*crash_where)(char *ret, size_t cap);

/* Not by the rules for handlers: the process is lost anyway, and a life without its number as
 * well. */
static void crash_tell(void)
{
    char where[160], text[256];
    crash_where(where, sizeof(where));
    int n = snprintf(text, sizeof(text), "CRASHED\n  %s\n", where);
    ssize_t told = write(STDOUT_FILENO, text, (size_t)n);
    (void)told;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static void crash_watch(void)
{
    __sanitizer_set_death_callback(crash_tell); /* behind its own report */
}

#else

static void crashed(int sig)
{
    crash_tell();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void crash_watch(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        signal(fatal[i], crashed);
}

#endif

int sim_run(unsigned jobs, uint64_t seed, int (*run)(uint64_t first, uint64_t step),
    void (*where)(char *ret, size_t cap))
{
    log_level_min = getenv("SIM_LOG") != NULL ? LOG_DEBUG : LOG_ERROR;
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* no page faults for each 256 KiB window */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    crash_where = where;
    crash_watch();
    if (jobs <= 1)
        return run(seed, 1);
    int bad = 0;
    for (unsigned i = 0; i < jobs; i++)
        if (fork() == 0)
            return run(seed + i, jobs);
    for (int status; wait(&status) > 0;)
        bad += status != 0;
    return bad > 0;
}
