/*
 * case_machine.c - what this machine allows: a locked operation, a load and store, a cache miss.
 *
 * Problem     The cases show ratios; somebody will want to know to what.
 * Idea        The limits (common/limits.c), as figures.
 * Invariants  -
 * Locking     None.
 * Cost        256 MiB for the misses: many times any cache.
 * Rejected    -
 */
#include "bench.h"

#include "../common/limits.h"

#define MISS_BYTES ((size_t)256 << 20)
#define WARM_PAGES 16u

void case_machine(const struct settings *settings, const char *name, unsigned number)
{
    struct samples lock = {.count = 0}, pair = lock, miss = lock, warm = lock, cold = lock;
    struct memory memory = memory_take(MISS_BYTES);
    void **at = limit_miss_prepare(memory.start, memory.bytes);

    (void)number;
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lock, limit_lock_ns());
        samples_add(&pair, limit_pair_ns());
        samples_add(&miss, limit_miss_ns(&at, settings->quick ? 2000 : 50000));
    }
    for (unsigned round = 0; round < settings->rounds; round++) {
        size_t far = MISS_BYTES / MM_FRAME_BYTES;

        samples_add(&warm, limit_zero_ns(memory.start, WARM_PAGES, 100));
        samples_add(&cold, limit_zero_ns(memory.start, (unsigned)far, 1));
    }
    report_plain(name, "lock xadd", "ns", &lock);
    report_plain(name, "load + store", "ns", &pair);
    report_plain(name, "DRAM miss", "ns", &miss);
    report_plain(name, "zero 4K, warm", "ns", &warm);
    report_plain(name, "zero 4K, cold", "ns", &cold);
    memory_give(&memory);
}
