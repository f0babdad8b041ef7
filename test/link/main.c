/*
 * main.c - the smallest kernel that refers to every layer; linked, never run.
 *
 * Each init call also refers to the configuration symbol, so this file compiled with another
 * configuration than the archive's must not link.
 */
#include "mm/mm.h"

#ifndef WITHOUT_HOST
#include "mm/host_single.h"
#endif

/* What compilers expect of a freestanding environment; only their addresses matter here. */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
unsigned kernel_start(void);

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    (void)from;
    (void)bytes;
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    (void)from;
    (void)bytes;
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    (void)value;
    (void)bytes;
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    return a == b || bytes == 0 ? 0 : 1;
}

static struct mm mm;

unsigned kernel_start(void)
{
    unsigned failures = 0;

    failures += mm_memmap_init(&mm.map, mm.range, MM_MAP_RANGES, 52) != MM_OK;
    failures += mm_pmm_init(&mm.pmm, NULL) != MM_OK;
    failures += mm_vmm_init(&mm.vmm, NULL) != MM_OK;
    failures += mm_arena_init(&mm.arena, NULL) != MM_OK;
    failures += mm_heap_init(&mm.heap, NULL) != MM_OK;
    failures += mm_start(&mm, NULL, NULL) != MM_OK;
    return failures;
}
