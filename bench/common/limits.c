/*
 * limits.c - what the machine allows: the operations that bound an allocator, or page tables.
 *
 * Problem     Nanoseconds mean nothing without the machine.
 * Idea        What a call waits for is measured as a dependent chain: each operation waits for the
 *             one before, so the time is its latency (locked add, load after store, miss). What a
 *             call does in quantity is measured as that: stores, zeroing.
 * Invariants  -
 * Locking     None.
 * Cost        100 us to 1 ms each.
 * Rejected    Independent locked adds: they overlap, and tell throughput instead.
 */
#include "limits.h"

#include <stdint.h>
#include <string.h>

#include "clock.h"
#include "random.h"

#define CHAIN      200000u
#define LINE_BYTES 64u
#define PAGE_BYTES 4096u

/* The result of each add is the operand of the next. */
double limit_lock_ns(void)
{
    static uint64_t word;
    uint64_t value = 1, from = clock_thread_ns();

    for (unsigned i = 0; i < CHAIN; i++)
        __asm__ volatile("lock xaddq %0, %1" : "+r"(value), "+m"(word) : : "memory");
    return (double)(clock_thread_ns() - from) / CHAIN;
}

double limit_pair_ns(void)
{
    static volatile uint64_t word;
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < CHAIN; i++)
        word = word + 1;
    return (double)(clock_thread_ns() - from) / CHAIN;
}

double limit_zero_ns(char *page, unsigned pages, unsigned passes)
{
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < passes * pages; i++) {
        memset(page + i % pages * PAGE_BYTES, 0, PAGE_BYTES);
        __asm__ volatile("" : : : "memory");
    }
    return (double)(clock_thread_ns() - from) / (passes * pages);
}

double limit_store_ns(void *word, size_t words, unsigned passes)
{
    volatile uint64_t *entry = word;
    uint64_t from = clock_thread_ns();

    for (unsigned pass = 0; pass < passes; pass++) {
        uint64_t value = pass;

        for (size_t i = 0; i < words; i++, value += PAGE_BYTES)
            entry[i] = value;
    }
    return (double)(clock_thread_ns() - from) / ((double)words * passes);
}

void **limit_miss_prepare(void *start, size_t bytes)
{
    const size_t step = LINE_BYTES / sizeof(void *);
    const size_t lines = bytes / LINE_BYTES;
    struct random random = {1};
    void **line = start;

    for (size_t i = 0; i < lines; i++)
        line[i * step] = &line[i * step];
    for (size_t i = lines - 1; i > 0; i--) { /* Sattolo: one cycle */
        size_t other = random_below(&random, (uint32_t)i);
        void *swap = line[i * step];

        line[i * step] = line[other * step];
        line[other * step] = swap;
    }
    return line;
}

double limit_miss_ns(void ***at, unsigned loads)
{
    void **next = *at;
    uint64_t from = clock_thread_ns();

    for (unsigned i = 0; i < loads; i++)
        next = *next;
    __asm__ volatile("" : : "r"(next)); /* somebody wants the result */
    *at = next;
    return (double)(clock_thread_ns() - from) / loads;
}
