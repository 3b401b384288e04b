/* SPDX-License-Identifier: Apache-2.0
 * The loop over points: case x operation x nth call x errno x once or for ever.
 *
 *     fault_loop              the short form: every call site that a case reaches, errno and
 *                             mode by chance (--seed)
 *     fault_loop --all        every call, every errno, both modes
 *     fault_loop --case flush --op rename --errno EIO --nth 1 --ever    one point, as reported
 *
 * Points, sites failed and sites known (sites.txt) are printed. A known site that no point failed
 * is an error, and so is a row of `unreached` below that was reached after all. */
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>

#include "base/errno_table.h"
#include "base/hash.h"
#include "fault.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

#define POINT_SECONDS 60 /* then it hangs */
#define NTH_MAX       100000

static const struct {
    const char *name;
    int errnum;
} errnos[] = {
#define X(name) {#name, name},
    ERRNO_TABLE_TRIED(X)
#undef X
        {"SHORT", FAULT_IO_SHORT},
    {"FLIP", FAULT_IO_FLIP},
    {"DAMAGE", FAULT_IO_DAMAGE},
};

static const struct {
    enum fault_kind kind;
    const char *op; /* as asked for on the command line */
} ops[] = {
    {FAULT_SHIM, "open"},
    {FAULT_SHIM, "close"},
    {FAULT_SHIM, "pread"},
    {FAULT_SHIM, "pwrite"},
    {FAULT_SHIM, "fdatasync"},
    {FAULT_SHIM, "fsync"},
    {FAULT_SHIM, "ftruncate"},
    {FAULT_SHIM, "fallocate"},
    {FAULT_SHIM, "rename"},
    {FAULT_SHIM, "unlink"},
    {FAULT_SHIM, "mkdir"},
    {FAULT_SHIM, "rmdir"},
    {FAULT_SHIM, "stat"},
    {FAULT_SHIM, "fstat"},
    {FAULT_SHIM, "list"},
    {FAULT_SHIM, "space"},
    {FAULT_SHIM, "link"},
    {FAULT_SHIM, "write_back"},
    {FAULT_LIBRARY, "open"},
    {FAULT_LIBRARY, "pread"},
    {FAULT_LIBRARY, "write"},
    {FAULT_LIBRARY, "pwrite"},
    {FAULT_LIBRARY, "writev"},
    {FAULT_LIBRARY, "fdatasync"},
    {FAULT_LIBRARY, "fsync"},
    {FAULT_LIBRARY, "mmap"},
    {FAULT_LIBRARY, "thread"},
    {FAULT_BUDGET, "budget"},
    {FAULT_MAP_FULL, "map-full"},
};

static struct {
    bool all, once_only, ever_only;
    const char *name, *op, *site, *sites;
    int errnum; /* 0: any */
    uint64_t nth, seed;
} want = {.seed = 1};

unsigned problems;
static uint64_t points;
static const char *case_name = "";
static VEC(char *) sites_known;
static VEC(bool) sites_failed;

/* ---- the point ---- */

static const char *errno_name(int errnum)
{
    for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
        if (errnos[i].errnum == errnum)
            return errnos[i].name;
    return "EIO";
}

/* What to type to see it again. Written ahead: a signal handler prints it. */
static char point_text[256];

static void point_name(const struct fault_plan *p)
{
    const char *library = p->kind == FAULT_LIBRARY ? "library:" : "";
    int n =
        snprintf(point_text, sizeof(point_text), "--case %s --op %s%s --errno %s --nth %llu --%s",
            case_name, library, p->op == NULL ? "none" : p->op, errno_name(p->errnum),
            (unsigned long long)p->nth, p->ever ? "ever" : "once");
    if (p->site != NULL)
        snprintf(point_text + n, sizeof(point_text) - (size_t)n, " --site %s", p->site);
}

void problem(const struct world *w, const char *fmt, ...)
{
    va_list ap;
    (void)w;
    problems++;
    printf("%s: ", point_text);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

static void on_signal(int sig)
{
    char text[320];
    int n = snprintf(
        text, sizeof(text), "\n%s: %s\n", point_text, sig == SIGALRM ? "does not end" : "crashed");
    ssize_t r = write(STDOUT_FILENO, text, (size_t)n);
    (void)r;
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* Of threads that go on, each keeps one on its own times (base/thread.c): not of the scenario. */
static bool of_a_thread(int dir, const char *name)
{
    char to[256];
    ssize_t n = readlinkat(dir, name, to, sizeof(to));
    static const char end[] = "/schedstat";
    return n > (ssize_t)sizeof(end) && memcmp(to + n - sizeof(end) + 1, end, sizeof(end) - 1) == 0;
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    ASSERT(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += !of_a_thread(dirfd(d), e->d_name);
    closedir(d);
    return n;
}

static void sites_mark(struct world *w)
{
    struct fault_io_call c;
    char name[128];
    for (size_t i = 0; fault_io_call_at(w->faults, i, &c); i++) {
        if (c.planned == 0)
            continue;
        snprintf(name, sizeof(name), "%s %s", c.site, c.op);
        for (size_t k = 0; k < sites_known.n; k++)
            if (strcmp(sites_known.p[k], name) == 0)
                sites_failed.p[k] = true;
    }
}

/* Calls of an operation at each site, in order of their numbers: what the short form draws from. */
struct calls {
    VEC(const char *) sites;
};

/* True: the fault fired. */
static bool point_run(const struct fault_case *c, const struct fault_plan *plan, struct calls *ret)
{
    struct world w;
    point_name(plan);
    unsigned before = descriptors(), n_problems = problems;
    alarm(POINT_SECONDS);
    world_begin(&w, plan);
    c->prepare(&w);
    size_t first = (size_t)fault_io_calls(w.faults, NULL, NULL);
    if (n_problems == problems) { /* else it is not ready for anything */
        world_arm(&w);
        c->act(&w);
        world_disarm(&w);
        struct fault_io_call call;
        for (size_t i = first; ret != NULL && fault_io_call_at(w.faults, i, &call); i++)
            if (strcmp(call.op, plan->op) == 0)
                VEC_PUSH(&ret->sites, call.site);
        c->verify(&w);
    }
    sites_mark(&w);
    bool fired = w.fired > 0;
    world_end(&w);
    alarm(0);
    if (descriptors() != before)
        problem(NULL, "%d descriptors are left open", (int)(descriptors() - before));
    points += fired;
    return fired;
}

/* ---- which points ---- */

/* Does this errno mean anything to this operation? */
static bool applies(enum fault_kind kind, const char *op, int errnum, bool ever)
{
    bool read = strcmp(op, "pread") == 0, wrote = strstr(op, "write") != NULL;
    if (kind == FAULT_BUDGET || kind == FAULT_MAP_FULL)
        return errnum == EIO; /* a refusal: there is one kind */
    if (kind == FAULT_LIBRARY && errnum == EINTR && ever)
        return false; /* LMDB tries again without end: no kernel interrupts for ever */
    if (strcmp(op, "thread") == 0)
        return errnum == EMFILE || errnum == EIO;
    if (errnum == FAULT_IO_FLIP || errnum == FAULT_IO_DAMAGE)
        return read && kind == FAULT_SHIM;
    if (errnum == FAULT_IO_SHORT)
        return wrote || (read && kind == FAULT_SHIM);
    return true;
}

static bool wanted(const struct fault_plan *p)
{
    return (want.errnum == 0 || p->errnum == want.errnum) &&
           (p->ever ? !want.once_only : !want.ever_only);
}

static void run_all(const struct fault_case *c, enum fault_kind kind, const char *op)
{
    for (size_t e = 0; e < ARRAY_LEN(errnos); e++) {
        for (int ever = 0; ever < 2; ever++) {
            struct fault_plan p = {
                .kind = kind, .op = op, .errnum = errnos[e].errnum, .ever = ever == 1};
            if (kind == FAULT_SHIM)
                p.site = want.site;
            if (!applies(kind, op, p.errnum, p.ever) || !wanted(&p))
                continue;
            p.nth = want.nth != 0 ? want.nth : 1;
            while (point_run(c, &p, NULL) && want.nth == 0 && p.nth < NTH_MAX)
                p.nth++;
        }
    }
}

/* What is drawn for a point follows from the seed and the point, not from how many came before:
 * that depends on threads. */
static uint64_t chances;

static void chances_of(const struct fault_case *c, const char *op, const char *site, uint64_t nth)
{
    char text[200];
    int n = snprintf(text, sizeof(text), "%s %s %s", c->name, op, site);
    chances = hash64_seed(text, MIN((size_t)n, sizeof(text) - 1), want.seed << 32 ^ nth);
}

static uint64_t chance(uint64_t n)
{
    return hash_mix(chances++) % n;
}

static struct fault_plan draw(enum fault_kind kind, const char *op, uint64_t nth)
{
    struct fault_plan p = {.kind = kind, .op = op, .nth = nth, .ever = chance(2) == 0};
    do
        p.errnum = errnos[chance(ARRAY_LEN(errnos))].errnum;
    while (!applies(kind, op, p.errnum, p.ever));
    return p;
}

/* The first call at each site and one more by chance. */
static void run_sites(const struct fault_case *c, const char *op)
{
    struct calls calls = {0};
    const struct fault_plan nothing = {.op = op};
    point_run(c, &nothing, &calls);
    for (size_t i = 0; i < calls.sites.n; i++) {
        uint64_t before = 0;
        for (size_t k = 0; k < i; k++)
            before += strcmp(calls.sites.p[k], calls.sites.p[i]) == 0;
        chances_of(c, op, calls.sites.p[i], before);
        if (before > 0 && chance(calls.sites.n) != 0)
            continue;
        struct fault_plan p = draw(FAULT_SHIM, op, before + 1);
        p.site = calls.sites.p[i];
        point_run(c, &p, NULL);
    }
    VEC_FREE(&calls.sites);
}

/* Steps grow: 1, 2, 3, ... then by chance, so that a long loop takes a dozen points. */
static void run_some(const struct fault_case *c, enum fault_kind kind, const char *op)
{
    for (uint64_t nth = 1; nth < NTH_MAX; nth += 1 + chance(1 + nth / 2)) {
        chances_of(c, op, "", nth);
        struct fault_plan p = draw(kind, op, nth);
        if (!point_run(c, &p, NULL))
            return;
    }
}

static void run_case(const struct fault_case *c)
{
    uint64_t before = points;
    unsigned found = problems;
    case_name = c->name;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const char *asked = want.op;
        bool library = asked != NULL && strncmp(asked, "library:", 8) == 0;
        if (asked != NULL && (strcmp(asked + (library ? 8 : 0), ops[i].op) != 0 ||
                                 library != (ops[i].kind == FAULT_LIBRARY)))
            continue;
        if (want.all || want.nth != 0 || want.errnum != 0)
            run_all(c, ops[i].kind, ops[i].op);
        else if (ops[i].kind == FAULT_SHIM)
            run_sites(c, ops[i].op);
        else
            run_some(c, ops[i].kind, ops[i].op);
        if (LEAKS() != 0)
            problem(NULL, "memory is left behind");
    }
    printf("%-18s %6llu points, %u problems\n", c->name, (unsigned long long)(points - before),
        problems - found);
    fflush(stdout);
}

/* ---- sites ---- */

/* Sites that no case here can reach: where they are failed instead. */
static const char *const unreached[] = {
    "backup.drop_log unlink",   /* a flush between two reads of a folder */
    "backup.drop_moved unlink", /* a segment that is released while it is copied */
    "backup.mkdir_limits stat", /* somebody else makes what was not there a moment ago */
    "backup.mkdir_root stat",
    "backup.mkdir_target stat",
    NULL,
};

static bool is_unreached(const char *site)
{
    for (size_t i = 0; unreached[i] != NULL; i++)
        if (strncmp(site, unreached[i], strlen(unreached[i])) == 0)
            return true;
    return false;
}

static void sites_read(void)
{
    char site[64], op[32], file[256];
    FILE *f = fopen(want.sites, "re");
    if (f == NULL) {
        perror(want.sites);
        exit(2);
    }
    while (fscanf(f, "%63s %31s %255s", site, op, file) == 3) {
        char *name = path_printf("%s %s", site, op);
        VEC_PUSH(&sites_known, name);
        VEC_PUSH(&sites_failed, false);
    }
    fclose(f);
}

static void sites_report(void)
{
    size_t n = 0, elsewhere = 0;
    bool whole = want.name == NULL && want.op == NULL && want.errnum == 0;
    for (size_t k = 0; k < sites_known.n; k++) {
        n += sites_failed.p[k];
        if (!is_unreached(sites_known.p[k])) {
            if (whole && !sites_failed.p[k]) {
                problems++;
                printf("never failed: %s\n", sites_known.p[k]);
            }
            continue;
        }
        elsewhere++;
        if (sites_failed.p[k]) {
            problems++;
            printf("called unreached, and failed: %s\n", sites_known.p[k]);
        }
    }
    printf("points %llu, calls failed %zu of %zu (%zu elsewhere), problems %u, seed %llu\n",
        (unsigned long long)points, n, sites_known.n, elsewhere, problems,
        (unsigned long long)want.seed);
}

/* ---- main ---- */

static void usage(FILE *out)
{
    fprintf(out,
        "fault_loop [--all] [--seed N] [--case NAME] [--op [library:]OP] [--errno NAME] [--site SITE]\n"
        "           [--nth N] [--once|--ever] [--sites FILE]\n"
        "Fails calls of scenarios, one at a time, and looks at what is left.\n"
        "    --all             every call, errno and mode; else each call site, the rest by chance\n"
        "    --seed N          of that chance (%llu)\n"
        "    --case, --op, --site, --errno, --nth N, --once, --ever    only these\n"
        "    --sites FILE      which sites there are (tests/fault/sites.txt)\n"
        "A problem is printed as a command line. TEST_LOG=1: the store's log.\n",
        (unsigned long long)want.seed);
    exit(out == stdout ? 0 : 2);
}

static const char *value_of(int argc, char **argv, int *i)
{
    if (++*i >= argc)
        usage(stderr);
    return argv[*i];
}

static int errno_asked(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
        if (strcmp(errnos[i].name, name) == 0)
            return errnos[i].errnum;
    usage(stderr);
    return 0;
}

static void arguments(int argc, char **argv)
{
    want.sites = SITES;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            usage(stdout);
        else if (strcmp(argv[i], "--all") == 0)
            want.all = true;
        else if (strcmp(argv[i], "--once") == 0)
            want.once_only = true;
        else if (strcmp(argv[i], "--ever") == 0)
            want.ever_only = true;
        else if (strcmp(argv[i], "--case") == 0)
            want.name = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--op") == 0)
            want.op = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--site") == 0)
            want.site = value_of(argc, argv, &i);
        else if (strcmp(argv[i], "--errno") == 0)
            want.errnum = errno_asked(value_of(argc, argv, &i));
        else if (strcmp(argv[i], "--nth") == 0)
            want.nth = strtoull(value_of(argc, argv, &i), NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            want.seed = strtoull(value_of(argc, argv, &i), NULL, 10);
        else if (strcmp(argv[i], "--sites") == 0)
            want.sites = value_of(argc, argv, &i);
        else
            usage(stderr);
    }
}

int main(int argc, char **argv)
{
    const struct fault_case *const lists[] = {store_cases, other_cases};
    arguments(argc, argv);
    /* Thousands of folders are made and removed: in memory if there is such a place. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    sites_read();
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (const struct fault_case *c = lists[l]; c->name != NULL; c++)
            if (want.name == NULL || strcmp(want.name, c->name) == 0)
                run_case(c);
    sites_report();
    for (size_t k = 0; k < sites_known.n; k++)
        free(sites_known.p[k]);
    VEC_FREE(&sites_known);
    VEC_FREE(&sites_failed);
    return problems == 0 ? 0 : 1;
}
