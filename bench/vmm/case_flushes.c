/*
 * case_flushes.c - how many flushes and interrupts there are, and what is left behind.
 *
 * Problem     One invlpg costs as much as 400 entries, an interrupt to another CPU as much as 10,000:
 *             a call that flushes too often is slow, whatever its loops do. And a table that stays
 *             when its last page went is memory that nobody gets back.
 * Idea        Counts, which are exact. Flushes: a call is made, and what it flushed is read. Left: some
 *             ways to empty a space, after which it must have no table but its root.
 * Invariants  A CPU that has the space loaded is asked; else the program ends, for nothing that is
 *             measured here is worth anything then.
 * Locking     None: CPU 1 is this thread, too (cpus.c).
 * Cost        -
 * Rejected    Counts as a test that passes or fails: those are in test/vmm, with a TLB that notices
 *             each flush that is missing.
 */
#include "bench.h"

#include <stdio.h>

#include "../common/host.h"

enum what {
    MAP,
    UNMAP,
    LOWER, /* protect */
    RAISE
};

/* Who has the space loaded when the call is made. */
enum loaded {
    HERE,
    HERE_AND_THERE,
    HERE_AND_THERE_BEFORE, /* CPU 1 went to the kernel space since */
    NOWHERE
};

static void as_other_cpu(void (*call)(void *space), void *space)
{
    host_cpu_set(1);
    call(space);
    host_cpu_set(0);
}

static void load_all(const struct mapper *mapper, void *space, enum loaded loaded)
{
    if (loaded == NOWHERE)
        return;
    mapper->load(space);
    if (loaded == HERE)
        return;
    as_other_cpu(mapper->load, space);
    if (loaded == HERE_AND_THERE_BEFORE)
        as_other_cpu(mapper->leave, space);
}

static void leave_all(const struct mapper *mapper, void *space)
{
    mapper->leave(space);
    as_other_cpu(mapper->leave, space);
}

/* What one call flushes, in a space where a page nearby stays mapped. */
static struct flushes flushes_of(const struct lane *lane, enum what what, uint64_t bytes,
                                 enum loaded loaded)
{
    const struct mapper *mapper = lane->mapper;
    struct stretch stretch = stretch_of(bytes, 1, 0), near = stretch;
    void *space = mapper->create(lane->self);
    struct flushes before, out;

    near.bytes = PAGE_BYTES;
    near.virt -= PAGE_BYTES;
    mapper->map(space, &near);
    if (what != MAP)
        mapper->map(space, &stretch);
    load_all(mapper, space, loaded);
    if (what == RAISE)
        mapper->protect(space, &stretch, false);
    before = bench_flushes;
    if (what == MAP)
        mapper->map(space, &stretch);
    else if (what == UNMAP)
        mapper->unmap(space, &stretch);
    else
        mapper->protect(space, &stretch, what == RAISE);
    out = flushes_since(&before);
    leave_all(mapper, space);
    mapper->destroy(space);
    return out;
}

/* At most `single` and `full` flushes; the textbook's for comparison. */
static void here_report(const char *name, const char *call, enum what what, uint64_t bytes,
                        double single, double full)
{
    static const unsigned shown[] = {0, 2}; /* libmm, textbook */
    char text[64];

    for (unsigned i = 0; i < 2; i++) {
        const struct lane *lane = &lanes[shown[i]];
        struct flushes out = flushes_of(lane, what, bytes, HERE);
        enum target_kind kind = i == 0 ? TARGET_AT_MOST : TARGET_NONE;

        snprintf(text, sizeof text, "%s, single", call);
        count_report(name, text, lane->mapper->name, (double)out.page, kind, single);
        snprintf(text, sizeof text, "%s, full", call);
        count_report(name, text, lane->mapper->name, (double)out.full, kind, full);
    }
}

static void asked_report(const char *name, const char *who, enum loaded loaded, double most)
{
    struct flushes out = flushes_of(&lanes[0], UNMAP, 64 * PAGE_BYTES, loaded);
    char text[64];

    if (loaded == HERE_AND_THERE && (out.ipi == 0 || out.ipi_page + out.ipi_full == 0))
        die("a CPU that has the space loaded is not asked to flush");
    snprintf(text, sizeof text, "IPIs, %s", who);
    count_report(name, text, lanes[0].mapper->name, (double)out.ipi, TARGET_AT_MOST, most);
}

void case_flushes(const struct settings *settings, const char *name, unsigned number)
{
    struct flushes out;

    (void)number;
    here_report(name, "map 1 GiB", MAP, settings->bytes, 0, 0);
    here_report(name, "unmap 1 page", UNMAP, PAGE_BYTES, 1, 0);
    here_report(name, "unmap 16 pages", UNMAP, 16 * PAGE_BYTES, 16, 0);
    here_report(name, "unmap 64 pages", UNMAP, 64 * PAGE_BYTES, 0, 1);
    here_report(name, "unmap 1 GiB", UNMAP, settings->bytes, 0, 1);
    here_report(name, "64 pages read-only", LOWER, 64 * PAGE_BYTES, 0, 1);
    here_report(name, "64 pages writable", RAISE, 64 * PAGE_BYTES, 0, 0);
    out = flushes_of(&lanes[0], UNMAP, settings->bytes, NOWHERE);
    count_report(name, "unmap 1 GiB, not loaded", lanes[0].mapper->name,
                 (double)(out.page + out.full), TARGET_AT_MOST, 0);
    asked_report(name, "another has it loaded", HERE_AND_THERE, 1);
    asked_report(name, "another had it loaded", HERE_AND_THERE_BEFORE, 0);
    asked_report(name, "no other ran it", HERE, 0);
    asked_report(name, "not loaded", NOWHERE, 0);
}

/* ---- left ---- */

static void left_report(const char *name, const char *what, const struct lane *lane, void *space)
{
    const struct mapper *mapper = lane->mapper;
    bool first = lane == &lanes[0];

    if (mapper->faults != NULL && mapper->faults(space) != 0)
        die("%s: its own check finds faults", mapper->name);
    count_report(name, what, mapper->name, (double)mapper->tables(space),
                 first ? TARGET_AT_MOST : TARGET_NONE, 0);
    mapper->leave(space);
    mapper->destroy(space);
}

static void *space_loaded(const struct lane *lane)
{
    void *space = lane->mapper->create(lane->self);

    lane->mapper->load(space);
    return space;
}

static void left_by_range(const struct settings *settings, const char *name,
                          const struct lane *lane)
{
    struct stretch stretch = stretch_of(settings->bytes, 1, 0);
    void *space = space_loaded(lane);

    lane->mapper->map(space, &stretch);
    lane->mapper->unmap(space, &stretch);
    left_report(name, "1 GiB, one call", lane, space);
}

/* Pages 3 MiB and 1 page apart, the ones from the middle first. */
static void left_by_pages(const char *name, const struct lane *lane)
{
    const uint64_t step = 3 * MIB + PAGE_BYTES;
    struct stretch first = stretch_of(PAGE_BYTES, 1, 0);
    void *space = space_loaded(lane);
    uint64_t virt[1024];

    for (unsigned i = 0; i < 1024; i++)
        virt[i] = first.virt + i * step;
    lane->mapper->map_each[WAY_ALONE](space, virt, 1024, PAGE_BYTES, 1);
    lane->mapper->unmap_each[WAY_ALONE](space, virt + 512, 512, PAGE_BYTES);
    lane->mapper->unmap_each[WAY_ALONE](space, virt, 512, PAGE_BYTES);
    left_report(name, "1,024 pages, a call each", lane, space);
}

/* 64 large leaves; first a page goes out of each, which splits it, then what is left. */
static void left_by_splits(const char *name, const struct lane *lane)
{
    struct stretch leaves = stretch_of(128 * MIB, 2, 2 * MIB), page, rest;
    void *space = space_loaded(lane);

    lane->mapper->map(space, &leaves);
    for (uint64_t at = 0; at < leaves.bytes; at += 2 * MIB) {
        page = (struct stretch){leaves.virt + at + 5 * PAGE_BYTES, 0, PAGE_BYTES, 1};
        rest = (struct stretch){leaves.virt + at, 0, 5 * PAGE_BYTES, 1};
        lane->mapper->unmap(space, &page);
        lane->mapper->unmap(space, &rest);
        rest.virt = page.virt + PAGE_BYTES;
        rest.bytes = 2 * MIB - 6 * PAGE_BYTES;
        lane->mapper->unmap(space, &rest);
    }
    left_report(name, "64 leaves of 2 MiB, split", lane, space);
}

void case_left(const struct settings *settings, const char *name, unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < LANES; i++)
        left_by_range(settings, name, &lanes[i]);
    for (unsigned i = 0; i < LANES; i++)
        left_by_pages(name, &lanes[i]);
    for (unsigned i = 0; i < LANES; i++)
        if (lanes[i].mapper->faults != NULL) /* the textbook splits nothing */
            left_by_splits(name, &lanes[i]);
}
