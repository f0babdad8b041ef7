/*
 * case_build.c - a process: its space made, filled with the usual regions and destroyed.
 *
 * Problem     Ranges of a gigabyte say nothing of a process, which has some ten regions of some pages,
 *             each with tables of its own.
 * Idea        35 regions, 809 pages: a program of 200, its data of 64, 32 areas of 16 that lie apart,
 *             a stack of 33. Destroying unmaps nothing: the tables go, the frames stay the caller's.
 * Invariants  -
 * Locking     None.
 * Cost        42 tables for each space.
 * Rejected    Unmapping all regions first: who exits does not.
 */
#include "bench.h"

#include "../common/clock.h"

#include BENCH_TEXT_BYTES /* made by the build: TEXT_BYTES_RELEASE, TEXT_BYTES_HARDENED */

#define AREAS   32u
#define REGIONS (AREAS + 3)

static void region_set(struct stretch *region, uint64_t virt, uint64_t pages)
{
    *region = (struct stretch){virt, phys_of(virt), pages * PAGE_BYTES, 1};
}

static void regions_set(struct stretch *region)
{
    const uint64_t areas = UINT64_C(0x7f0000000000), stack = UINT64_C(0x7ffffffde000);

    region_set(&region[0], 4 * MIB, 200);
    region_set(&region[1], 6 * MIB, 64);
    for (unsigned i = 0; i < AREAS; i++)
        region_set(&region[2 + i], areas + i * (2 * MIB + 5 * PAGE_BYTES), 16);
    region_set(&region[2 + AREAS], stack, 33);
}

void case_build(const struct settings *settings, const char *name, unsigned number)
{
    struct stretch region[REGIONS];
    unsigned cycles = settings->cycles;

    (void)number;
    regions_set(region);
    case_begin();
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++) {
            struct lane *lane = &lanes[i];
            uint64_t start;

            lane->mapper->build(lane->self, region, REGIONS, cycles / 4 + 1);
            start = clock_thread_ns();
            lane->mapper->build(lane->self, region, REGIONS, cycles);
            samples_add(&lane->of[0], (double)(clock_thread_ns() - start) / cycles);
        }
    }
    lanes_report(name, "make, fill, destroy", 0, STORES(17000));
}

static void text_report(const char *name, const char *metric, double bytes)
{
    struct samples samples = {.count = 0};

    samples_add(&samples, bytes / 1024);
    report_plain(name, metric, "KiB", &samples);
}

void case_text(const struct settings *settings, const char *name, unsigned number)
{
    (void)settings, (void)number;
    text_report(name, "libmm", TEXT_BYTES_RELEASE);
    text_report(name, "libmm hardened", TEXT_BYTES_HARDENED);
}
