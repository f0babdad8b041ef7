/*
 * memory.c - memory of the bench: metadata as a kernel has them, and RAM that nobody touches.
 *
 * Problem     Page faults and 4 KiB translations of the bench's own would be counted as the
 *             allocator's; and 1 TiB of RAM must be managed on a machine that has 8 GiB.
 * Idea        Metadata: aligned, advised huge, touched before anything is timed. RAM: an address
 *             range without reservation; frame allocators do not touch the frames they hand out.
 * Invariants  start is aligned to 2 MiB; a start of NULL is nothing.
 * Locking     None.
 * Cost        memory_take: a page fault for each 2 MiB, or for each 4 KiB where no huge pages are.
 * Rejected    MAP_HUGETLB: needs privileges and a pool.
 */
#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "host.h"

#define HUGE_BYTES ((size_t)2 << 20)

static void *map_aligned(size_t bytes, int flags)
{
    char *start = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    size_t before;

    if (start == MAP_FAILED)
        die("no address range of %zu MiB", bytes >> 20);
    before = -(uintptr_t)start % HUGE_BYTES;
    if (before != 0)
        munmap(start, before);
    if (before != HUGE_BYTES)
        munmap(start + before + bytes, HUGE_BYTES - before);
    return start + before;
}

static size_t rounded(size_t bytes)
{
    return (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

struct memory memory_take(size_t bytes)
{
    struct memory memory = {.bytes = rounded(bytes)};
    volatile char *byte;

    memory.start = map_aligned(memory.bytes, 0);
    madvise(memory.start, memory.bytes, MADV_HUGEPAGE); /* a wish: slower pages measure, too */
    byte = memory.start;
    for (size_t at = 0; at < memory.bytes; at += 4096)
        byte[at] = 0;
    return memory;
}

struct memory memory_reserve(size_t bytes)
{
    struct memory memory = {.bytes = rounded(bytes)};

    memory.start = map_aligned(memory.bytes, MAP_NORESERVE);
    return memory;
}

size_t memory_huge_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    size_t kib = 0;
    char line[256];

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib << 10;
}

void memory_give(struct memory *memory)
{
    if (memory->start != NULL)
        munmap(memory->start, memory->bytes);
    *memory = (struct memory){0};
}
