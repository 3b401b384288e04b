/* SPDX-License-Identifier: Apache-2.0
 * The RE2 shim. Exceptions do not leave it: the library throws none, and out of memory ends the
 * process as everywhere else. */
#include <new>
#include <re2/re2.h>
#include <stdlib.h>
#include <string>

#define _Static_assert static_assert /* base headers are C */
extern "C" {
#include "query/regex.h"
}

struct regex {
    re2::RE2 *re;
};

static size_t memory_cap(struct str pattern)
{
    return REGEX_BYTES_BASE + 64 * pattern.n;
}

static enum ec compile(struct str pattern, bool groups, struct regex **ret, struct err *err)
{
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_never_capture(!groups);
    options.set_max_mem(static_cast<int64_t>(memory_cap(pattern)));
    re2::RE2 *re = new re2::RE2(re2::StringPiece(pattern.p, pattern.n), options);
    if (!re->ok()) {
        std::string why = re->error();
        delete re;
        return ERR(err, EC_INVALID, "%.400s", why.c_str());
    }
    *ret = new regex{re};
    return EC_OK;
}

enum ec regex_new(struct str pattern, struct regex **ret, struct err *err)
{
    return compile(pattern, false, ret, err);
}

enum ec regex_new_groups(struct str pattern, struct regex **ret, struct err *err)
{
    return compile(pattern, true, ret, err);
}

void regex_free(struct regex *r)
{
    if (r == nullptr)
        return;
    delete r->re;
    delete r;
}

bool regex_match(const struct regex *r, struct str text)
{
    re2::StringPiece piece(text.n == 0 ? "" : text.p, text.n);
    return r->re->Match(piece, 0, piece.size(), re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

int regex_group(const struct regex *r, struct str name)
{
    std::string text(name.p, name.n);
    if (text.find_first_not_of("0123456789") == std::string::npos)
        return text.empty() || text.size() > 4 ? -1 : atoi(text.c_str());
    const auto &named = r->re->NamedCapturingGroups();
    auto it = named.find(text);
    return it == named.end() ? -1 : it->second;
}

size_t regex_groups(const struct regex *r, struct str text, struct str ret[REGEX_GROUPS_MAX])
{
    re2::StringPiece piece(text.n == 0 ? "" : text.p, text.n), groups[REGEX_GROUPS_MAX];
    int n = MIN(r->re->NumberOfCapturingGroups() + 1, REGEX_GROUPS_MAX);
    if (!r->re->Match(piece, 0, piece.size(), re2::RE2::ANCHOR_BOTH, groups, n))
        return 0;
    for (int i = 0; i < n; i++)
        ret[i] = {groups[i].data(), groups[i].size()};
    return static_cast<size_t>(n);
}

size_t regex_memory(const struct regex *r)
{
    /* RE2 counts instructions; one takes 16 bytes, its share of tables about as many again. */
    return sizeof(*r) + sizeof(re2::RE2) + static_cast<size_t>(r->re->ProgramSize()) * 32;
}
