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
    bool watched;
} region[REGIONS_MAX];
static unsigned regions;
static struct {
    uintptr_t start;
    size_t bytes;
} racy; /* one is enough so far */

#define QUIET_MAX 16u
static struct {
    uintptr_t start;
    size_t bytes;
} quiet[QUIET_MAX];
static unsigned quiets;
static void (*on_access)(uintptr_t address, size_t bytes);

void regions_forget(void)
{
    for (unsigned i = 0; i < regions; i++)
        free(region[i].copy);
    regions = 0;
    racy.bytes = 0;
    quiets = 0;
    on_access = NULL;
}

static void region_add(const char *name, void *start, size_t bytes, bool watched)
{
    if (regions == REGIONS_MAX)
        cannot("more than %u pieces of memory", REGIONS_MAX);
    region[regions].name = name;
    region[regions].start = start;
    region[regions].bytes = bytes;
    region[regions].watched = watched;
    region[regions].copy = malloc(bytes);
    if (region[regions++].copy == NULL)
        cannot("no memory for a copy of %s", name);
}

void explore_memory(const char *name, void *start, size_t bytes)
{
    region_add(name, start, bytes, true);
}

void explore_unwatched(const char *name, void *start, size_t bytes)
{
    region_add(name, start, bytes, false);
}

void explore_no_steps(const void *start, size_t bytes)
{
    if (quiets == QUIET_MAX)
        cannot("more than %u calls of explore_no_steps()", QUIET_MAX);
    quiet[quiets].start = (uintptr_t)start;
    quiet[quiets++].bytes = bytes;
}

bool regions_no_steps(uintptr_t address)
{
    for (unsigned i = 0; i < quiets; i++)
        if (address - quiet[i].start < quiet[i].bytes)
            return true;
    return false;
}

void explore_on_access(void (*hook)(uintptr_t address, size_t bytes))
{
    on_access = hook;
}

void regions_access(uintptr_t address, size_t bytes)
{
    if (on_access != NULL)
        on_access(address, bytes);
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
        if (region[i].watched && (uintptr_t)start - (uintptr_t)region[i].start < region[i].bytes &&
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
