/* SPDX-License-Identifier: Apache-2.0 */
#include "policy.h"

#include <stdlib.h>

#include "query/regex.h"

enum subject { SUBJECT_RESOURCE, SUBJECT_SPAN, SUBJECT_KIND, SUBJECT_NAME, SUBJECT_STATUS };

struct match {
    enum subject subject;
    struct str key;     /* owned: the attribute */
    struct value value; /* strings owned */
    struct regex *regex;
};
struct policy {
    struct match *matches;
    size_t n;
};
struct policies {
    struct policy *p[POLICY_KINDS];
    size_t n[POLICY_KINDS];
};

static struct str str_dup(struct str s)
{
    return str_n(xstrndup(s.p, s.n), s.n);
}

static enum ec subject_of(struct str key, struct match *m, struct err *err)
{
    static const struct {
        struct str name;
        enum subject subject;
    } intrinsics[] = {
        {{"kind", 4}, SUBJECT_KIND}, {{"name", 4}, SUBJECT_NAME}, {{"status", 6}, SUBJECT_STATUS}};
    static const struct str resource = {"resource.", 9}, span = {"span.", 5};
    if (str_starts(key, resource) && key.n > resource.n) {
        m->subject = SUBJECT_RESOURCE;
        m->key = str_dup(str_n(key.p + resource.n, key.n - resource.n));
        return EC_OK;
    }
    if (str_starts(key, span) && key.n > span.n) {
        m->subject = SUBJECT_SPAN;
        m->key = str_dup(str_n(key.p + span.n, key.n - span.n));
        return EC_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++)
        if (str_eq(key, intrinsics[i].name)) {
            m->subject = intrinsics[i].subject;
            return EC_OK;
        }
    return ERR(
        err, EC_INVALID, "filter policy: unsupported attribute \"" STR_FMT "\"", STR_ARG(key));
}

static enum ec match_init(
    const struct generator_match *in, bool regex, struct match *m, struct err *err)
{
    TRY(subject_of(in->key, m, err));
    m->value = in->value;
    if (in->value.type != VALUE_STR)
        return regex ? ERR(err, EC_INVALID, "filter policy: a regular expression must be text")
                     : EC_OK;
    m->value.s = str_dup(in->value.s);
    if (!regex)
        return EC_OK;
    struct buf pattern = BUF_INIT; /* a match anywhere; ours are anchored */
    buf_printf(&pattern, ".*(?-s:" STR_FMT ").*", STR_ARG(in->value.s));
    enum ec ec = regex_new(buf_str(&pattern), &m->regex, err);
    buf_deinit(&pattern);
    return ec;
}

enum ec policies_new(const struct generator_filter *f, struct policies **ret, struct err *err)
{
    *ret = NULL;
    if (f->n[POLICY_INCLUDE] + f->n[POLICY_INCLUDE_ANY] + f->n[POLICY_EXCLUDE] == 0)
        return EC_OK;
    struct policies *p = xcalloc(1, sizeof(*p));
    for (unsigned k = 0; k < POLICY_KINDS; k++) {
        p->p[k] = xcalloc(MAX(f->n[k], 1), sizeof(*p->p[k]));
        for (size_t i = 0; i < f->n[k]; i++) {
            const struct generator_policy *in = &f->p[k][i];
            struct policy *out = &p->p[k][p->n[k]++];
            out->matches = xcalloc(MAX(in->n, 1), sizeof(*out->matches));
            for (size_t m = 0; m < in->n; m++) {
                enum ec ec = match_init(&in->matches[m], in->regex, &out->matches[out->n++], err);
                if (ec != EC_OK) {
                    policies_free(p);
                    return ec;
                }
            }
        }
    }
    *ret = p;
    return EC_OK;
}

void policies_free(struct policies *p)
{
    if (p == NULL)
        return;
    for (unsigned k = 0; k < POLICY_KINDS; k++) {
        for (size_t i = 0; i < p->n[k]; i++) {
            for (size_t m = 0; m < p->p[k][i].n; m++) {
                struct match *x = &p->p[k][i].matches[m];
                free((void *)(uintptr_t)x->key.p);
                if (x->value.type == VALUE_STR)
                    free((void *)(uintptr_t)x->value.s.p);
                regex_free(x->regex);
            }
            free(p->p[k][i].matches);
        }
        free(p->p[k]);
    }
    free(p);
}

static bool text_matches(const struct match *m, struct str text)
{
    if (m->regex != NULL)
        return regex_match(m->regex, text);
    return m->value.type == VALUE_STR && str_eq(m->value.s, text);
}

static bool value_matches(const struct match *m, const struct value *v)
{
    if (v->type == VALUE_STR)
        return text_matches(m, v->s);
    if (m->regex != NULL || v->type != m->value.type)
        return false;
    switch (v->type) {
    case VALUE_INT:
        return v->i == m->value.i;
    case VALUE_DOUBLE:
        return v->d == m->value.d;
    case VALUE_BOOL:
        return v->b == m->value.b;
    default:
        return false;
    }
}

/* Any attribute of that name: keys may repeat. */
static bool attr_matches(const struct match *m, struct attr_list l)
{
    for (uint32_t i = 0; i < l.n; i++)
        if (str_eq(l.p[i].key, m->key) && value_matches(m, &l.p[i].value))
            return true;
    return false;
}

static bool match(const struct match *m, const struct span_view *s)
{
    char number[12];
    switch (m->subject) {
    case SUBJECT_RESOURCE:
        return attr_matches(m, s->resource);
    case SUBJECT_SPAN:
        return attr_matches(m, s->attrs);
    case SUBJECT_KIND:
        return text_matches(m, span_kind_name(s->span->kind, number));
    case SUBJECT_STATUS:
        return text_matches(m, span_status_name(s->span->status_code, number));
    case SUBJECT_NAME:
        return text_matches(m, s->span->name);
    }
    return false;
}

static bool policy_matches(const struct policy *p, const struct span_view *s)
{
    for (size_t i = 0; i < p->n; i++)
        if (!match(&p->matches[i], s))
            return false;
    return true;
}

bool policies_keep(const struct policies *p, const struct span_view *s)
{
    if (p == NULL)
        return true;
    for (size_t i = 0; i < p->n[POLICY_EXCLUDE]; i++)
        if (policy_matches(&p->p[POLICY_EXCLUDE][i], s))
            return false;
    for (size_t i = 0; i < p->n[POLICY_INCLUDE_ANY]; i++)
        if (policy_matches(&p->p[POLICY_INCLUDE_ANY][i], s))
            return true;
    for (size_t i = 0; i < p->n[POLICY_INCLUDE]; i++)
        if (!policy_matches(&p->p[POLICY_INCLUDE][i], s))
            return false;
    return p->n[POLICY_INCLUDE] > 0 || p->n[POLICY_INCLUDE_ANY] == 0;
}
