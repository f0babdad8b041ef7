/*
 * case_machine.c - what this machine allows: a locked operation, a load and store, a cache miss.
 *
 * Problem     Nanoseconds mean nothing without the machine.
 * Idea        Dependent chains of the operations that bound an allocator: each waits for the one
 *             before, so the time is the operation's latency.
 * Invariants  -
 * Locking     None.
 * Cost        256 MiB for the misses: many times any cache.
 * Rejected    Independent operations: they overlap, and tell throughput instead.
 */
#include "bench.h"

#include <string.h>

#include "clock.h"
#include "libmm.h"

#define CHAIN      200000u
#define MISS_BYTES ((size_t)256 << 20)
#define LINE_BYTES 64u
#define WARM_PAGES 16u

/* The result of each add is the operand of the next. */
double machine_lock_ns(void)
{
    static uint64_t word;
    uint64_t value = 1, from = clock_thread_ns();

    for (unsigned i = 0; i < CHAIN; i++)
        __asm__ volatile("lock xaddq %0, %1" : "+r"(value), "+m"(word) : : "memory");
    return (double)(clock_thread_ns() - from) / CHAIN;
}

/* Each load is from the address that the store before it has written to. */
static double pair_ns(void)
{
    static volatile uint64_t word;
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < CHAIN; i++)
        word = word + 1;
    return (double)(clock_thread_ns() - from) / CHAIN;
}

/* A random cycle through all lines: each holds where the next one is. */
static void cycle_build(void **line, size_t lines)
{
    struct random random = {1};
    const size_t step = LINE_BYTES / sizeof *line;

    for (size_t i = 0; i < lines; i++)
        line[i * step] = &line[i * step];
    for (size_t i = lines - 1; i > 0; i--) { /* Sattolo: one cycle */
        size_t other = random_below(&random, (uint32_t)i);
        void *swap = line[i * step];

        line[i * step] = line[other * step];
        line[other * step] = swap;
    }
}

/* Goes on where the last call stopped: what that one has read is in the caches. */
static double miss_ns(void ***at, unsigned loads)
{
    void **next = *at;
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < loads; i++)
        next = *next;
    __asm__ volatile("" : : "r"(next)); /* somebody wants the result */
    *at = next;
    return (double)(clock_thread_ns() - from) / loads;
}

static double zero_ns(char *page, unsigned pages, unsigned passes)
{
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < passes * pages; i++) {
        memset(page + i % pages * MM_FRAME_BYTES, 0, MM_FRAME_BYTES);
        __asm__ volatile("" : : : "memory");
    }
    return (double)(clock_thread_ns() - from) / (passes * pages);
}

void case_machine(const struct settings *settings, const char *name, unsigned number)
{
    struct samples lock = {.count = 0}, pair = lock, miss = lock, warm = lock, cold = lock;
    struct memory memory = memory_take(MISS_BYTES);
    void **at = memory.start;

    (void)number;
    cycle_build(memory.start, memory.bytes / LINE_BYTES);
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lock, machine_lock_ns());
        samples_add(&pair, pair_ns());
        samples_add(&miss, miss_ns(&at, settings->quick ? 2000 : 50000));
    }
    for (unsigned round = 0; round < settings->rounds; round++) {
        size_t far = MISS_BYTES / MM_FRAME_BYTES;

        samples_add(&warm, zero_ns(memory.start, WARM_PAGES, 100));
        samples_add(&cold, zero_ns(memory.start, (unsigned)far, 1));
    }
    report_plain(name, "lock xadd", "ns", &lock);
    report_plain(name, "load + store", "ns", &pair);
    report_plain(name, "DRAM miss", "ns", &miss);
    report_plain(name, "zero 4K, warm", "ns", &warm);
    report_plain(name, "zero 4K, cold", "ns", &cold);
    memory_give(&memory);
}
