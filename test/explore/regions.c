/*
 * regions.c - the memory that a scenario shares: each execution starts with what set_up left in it.
 *
 * Problem     Setting a memory manager up takes longer than an execution of the scenario.
 * Idea        set_up runs once and names the memory that it filled; a copy is put back each time.
 *             The names make addresses readable in what a failure shows.
 * Invariants  None.
 * Locking     None.
 * Cost        A memcpy of each region per execution.
 * Rejected    Copying back only what was written: the regions are a few KiB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define REGIONS_MAX 16u
static struct {
    const char *name;
    char *start;
    size_t bytes;
    void *copy;
} region[REGIONS_MAX];
static unsigned regions;
static struct {
    uintptr_t start;
    size_t bytes;
} racy; /* one is enough so far */

void regions_forget(void)
{
    for (unsigned i = 0; i < regions; i++)
        free(region[i].copy);
    regions = 0;
    racy.bytes = 0;
}

void explore_memory(const char *name, void *start, size_t bytes)
{
    if (regions == REGIONS_MAX)
        cannot("more than %u pieces of memory", REGIONS_MAX);
    region[regions].name = name;
    region[regions].start = start;
    region[regions].bytes = bytes;
    region[regions].copy = malloc(bytes);
    if (region[regions++].copy == NULL)
        cannot("no memory for a copy of %s", name);
}

void explore_may_race(const void *start, size_t bytes)
{
    if (racy.bytes != 0)
        cannot("a second call of explore_may_race()");
    racy.start = (uintptr_t)start;
    racy.bytes = bytes;
}

void regions_keep(void)
{
    for (unsigned i = 0; i < regions; i++)
        memcpy(region[i].copy, region[i].start, region[i].bytes);
}

void regions_restore(void)
{
    for (unsigned i = 0; i < regions; i++)
        memcpy(region[i].start, region[i].copy, region[i].bytes);
}

bool regions_have(const void *start, size_t bytes)
{
    for (unsigned i = 0; i < regions; i++)
        if ((uintptr_t)start - (uintptr_t)region[i].start < region[i].bytes &&
            bytes <= region[i].bytes)
            return true;
    return false;
}

bool regions_may_race(uintptr_t address)
{
    return address - racy.start < racy.bytes;
}

const char *regions_name(uintptr_t address)
{
    static char text[2][64];
    static unsigned turn;
    char *name = text[turn++ % 2];

    for (unsigned i = 0; i < regions; i++) {
        size_t offset = address - (uintptr_t)region[i].start;

        if (offset < region[i].bytes) {
            snprintf(name, sizeof text[0], offset != 0 ? "%s+%zu" : "%s", region[i].name, offset);
            return name;
        }
    }
    snprintf(name, sizeof text[0], "%#zx", (size_t)address);
    return name;
}
