/* SPDX-License-Identifier: Apache-2.0
 * Planted defects: mistakes that a harness of tests/ must catch, to show that it can. A place in
 * the code asks `if (DEFECT(DEFECT_SKIP_FDATASYNC))`; without -Dplanted_defects=true that is the
 * constant false and nothing of it is in the program. At run time the environment names the one
 * that is on: VIVACE_DEFECT=skip-fdatasync. An unknown name stops the program: a run that plants
 * nothing proves nothing. Thread-safe. Which harness must catch which: tests/defects.
 */
#pragma once

#include "base/defs.h"

#define DEFECT_TABLE(X)                                                                       \
    X(DEFECT_SKIP_FDATASYNC, "skip-fdatasync")             /* WAL: ack without it */          \
    X(DEFECT_SKIP_DIRSYNC, "skip-dirsync")                 /* a file's name is not durable */ \
    X(DEFECT_ACK_BEFORE_SYNC, "ack-before-sync")           /* answered, then synced */        \
    X(DEFECT_RETRY_FSYNC, "retry-fsync")                   /* a failed sync is tried again */ \
    X(DEFECT_DELETE_BEFORE_COMMIT, "delete-before-commit") /* inputs of a merge */            \
    X(DEFECT_CATALOG_BEFORE_RENAME, "catalog-before-rename")                                  \
    X(DEFECT_IGNORE_CHECKSUM, "ignore-checksum")                                              \
    X(DEFECT_TRUST_LENGTH, "trust-length")                   /* before its checksum */        \
    X(DEFECT_REUSE_SALT, "reuse-salt")                       /* of a WAL segment */           \
    X(DEFECT_RECYCLE_BEFORE_COMMIT, "recycle-before-commit") /* a WAL segment */              \
    X(DEFECT_LOSE_TENANT, "lose-tenant")                     /* in one call */                \
    X(DEFECT_FORGET_REFUND, "forget-refund")                 /* of a budget */                \
    X(DEFECT_CAP_OFF_BY_ONE, "cap-off-by-one")                                                \
    X(DEFECT_DROP_ON_ROTATION, "drop-on-rotation") /* one request */                          \
    X(DEFECT_RETENTION_LOCAL_TIME, "retention-local-time")                                    \
    X(DEFECT_SWALLOW_ENOSPC, "swallow-enospc")

enum defect {
#define X(id, name) id,
    DEFECT_TABLE(X)
#undef X
        DEFECT_COUNT
};

#ifdef VIVACE_PLANTED_DEFECTS
bool defect_planted(enum defect defect);
#define DEFECT(id) defect_planted(id)
#else
#define DEFECT(id) false
#endif
