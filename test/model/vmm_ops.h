/*
 * vmm_ops.h - random operations on a VMM, each answer judged by the model.
 *
 * Problem     Millions of calls, and when one is wrong, the few that it takes.
 * Idea        A round is a machine and operations on it. Operation n takes its numbers from a generator
 *             that begins at (round, n), so one that is left out changes no other: a failing round is
 *             made small by leaving operations out (test_vmm_soak.c).
 * Invariants  O1 no state survives a round
 *             O2 whatever goes wrong ends in vmm_ops_failed(), after the last operations in words
 * Locking     One thread, which is all simulated CPUs in turn.
 * Cost        Tens of microseconds per operation: the walkers of the machine.
 * Rejected    A stream of bytes, as the frame allocator has: bytes that are cut out change the
 *             meaning of all that follow.
 */
#ifndef TEST_MODEL_VMM_OPS_H
#define TEST_MODEL_VMM_OPS_H

#include "mm/types.h"

struct vmm_ops_result {
    uint64_t ops;
    uint64_t done;      /* of them: changed what is mapped */
    uint64_t no_memory; /* rightly refused: tables or frames */
    uint64_t limited;
    uint64_t refused; /* something there, a hole, a policy, a wrong argument */
    uint64_t accesses, faults;
    uint64_t compared;  /* whole comparisons */
    uint64_t populated; /* frames */
};

/* One round: `ops` operations on the machine that `seed` gives, without those that `skip` (or NULL) has
 * a 1 for. Adds to `result`. `failed` does not return. */
void vmm_ops_round(uint64_t seed, uint64_t ops, const uint8_t *skip, struct vmm_ops_result *result,
                   void (*failed)(const char *file, int line, const char *what));

/* The last operations in words, on stderr: for failures that the interpreter does not see. */
void vmm_ops_tell(void);

/* Tell each operation when it is done. */
void vmm_ops_verbose(bool on);

#endif
