/*
 * pmm_ops.h - a stream of bytes as operations on a PMM, each answer judged by the model.
 *
 * Problem     A soak test, a fuzzer and the replay of what either found must be one thing, or what
 *             one finds the others cannot show.
 * Idea        Bytes, whether from a file, a fuzzer or a generator, are decoded into a machine (its
 *             map, CPUs, configuration) and then into operations on it. Every byte sequence means
 *             something, and the same always.
 * Invariants  O1 no state survives a run
 *             O2 whatever goes wrong is told through pmm_ops_failed(), after the last operations in
 *                words
 * Locking     One thread, which is all simulated CPUs in turn.
 * Cost        Some microseconds per operation.
 * Rejected    A text language of operations: allocations would need names, and fuzzers change bytes.
 */
#ifndef TEST_MODEL_PMM_OPS_H
#define TEST_MODEL_PMM_OPS_H

#include "mm/report.h"
#include "mm/types.h"

/* Where bytes come from: `data`, or without data a generator that never ends. */
struct ops_source {
    const uint8_t *data;
    size_t bytes, at;
    uint64_t random; /* state of the generator */
    uint8_t *kept;   /* NULL, or room for what the generator made */
    size_t kept_bytes, kept_max;
};

/* What the test program's host provides. */
struct ops_host {
    unsigned (*report_count)(void); /* since the last clear */
    const struct mm_report *(*report_last)(void);
    void (*reports_clear)(void);
    void (*cpus_answer)(unsigned count); /* mm_host_run_on() works for CPUs below this */
    void (*failed)(const char *file, int line, const char *what); /* does not return */
};

struct ops_result {
    uint64_t ops;           /* operations done */
    uint64_t allocated;     /* of them: took something */
    uint64_t no_memory;     /* of them: rightly refused for lack of memory */
    uint64_t misuses;       /* wrong frees, refused */
    uint64_t compared;      /* whole-machine comparisons */
    uint64_t interrupted;   /* operations that an interrupt broke into */
    uint64_t level_changes; /* watermark callbacks */
};

/* Build a machine from the stream and do at most `ops_max` operations, while there are bytes. At
 * the end all is given back, and compared with how it began. Adds to `result`. */
void pmm_ops_run(struct ops_source *source, uint64_t ops_max, const struct ops_host *host,
                 struct ops_result *result);

/* Does a stream that begins with this byte build a machine of a few MiB? */
bool pmm_ops_is_small(uint8_t first_byte);

/* Tell the last operations in words on stderr, and which machine it was. For failure hooks of the
 * host that were not called through the interpreter: assertions, panics. */
void pmm_ops_tell(void);

/* Tell each operation as it is done, with its bytes: a text that test_pmm_replay.c reads. */
void pmm_ops_verbose(bool on);

#endif
