/* SPDX-License-Identifier: Apache-2.0
 * A span of any part as text: everything that was sent, in the order in which it was sent. Two
 * parts hold the same spans if and only if their texts are equal. Reads views only, so it checks
 * what every reader of a part relies on. Fails the test (asserts) on an error of the part. */
#pragma once

#include "base/buf.h"
#include "storage/part.h"

/* One text per row of the part, by row. Free with part_texts_free. */
struct part_texts {
    char **p;
    uint32_t n;
};
struct part_texts part_texts_read(struct part *p);
void part_texts_free(struct part_texts *t);
/* Sorted copies compared: equal sets of spans. Prints the first difference. */
bool part_texts_same_set(const struct part_texts *a, const struct part_texts *b);
