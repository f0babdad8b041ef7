/*
 * prompt_show.c - the state of each layer in numbers.
 *
 * Problem     What has libmm made of this machine?
 * Idea        The public queries and statistics of each layer, a line for each fact.
 * Invariants  Nothing is changed here, but that stocks of frames go back to their pools.
 * Locking     None.
 * Cost        That of the queries: O(RAM / 2 MiB), O(tables), O(blocks of the heap).
 * Rejected    Reading fields of the objects: tools/gdb does that.
 */
#include <mm/names.h>

#include "host.h"
#include "memory.h"
#include "print.h"
#include "prompt_commands.h"

#define RUNS_SHOWN 40u

void command_map(const struct words *words)
{
    (void)words;
    memory_print_map();
}

static void print_stock(const struct mm_pmm_stats *stats)
{
    kprintf("  in stock %lu: %lu in magazines, %lu in depots, %lu zeroed\n",
            stats->magazine_frames + stats->depot_frames + stats->zeroed_frames,
            stats->magazine_frames, stats->depot_frames, stats->zeroed_frames);
    kprintf("  in the pools %lu whole chunks of 2 MiB; side tables of the PMM: %lu frame%s\n",
            stats->whole_chunks, stats->side_frames, words_plural(stats->side_frames));
}

static void print_blocks(void)
{
    struct mm_pmm_blocks blocks;

    mm_pmm_get_blocks(&mm_default.pmm, &blocks);
    kprintf("  aligned free blocks, also inside larger ones, by order:");
    for (unsigned order = 0; order <= MM_ORDER_MAX; order++) {
        if (blocks.free_blocks[order])
            kprintf(" %u:%lu", order, blocks.free_blocks[order]);
    }
    kprintf("\n  percent of free memory that is in no such block:");
    for (unsigned order = 1; order <= MM_ORDER_MAX; order++) {
        unsigned permille = blocks.unusable_permille[order];

        kprintf(" %u:%u.%u", order, permille / 10, permille % 10);
    }
    kprintf("\n");
}

static void print_frame_runs(void)
{
    uint64_t runs[] = {0, 0, 0};
    uint64_t longest = 0;
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state;

    while (mm_pmm_walk(&mm_default.pmm, &cursor, &run, &state) == MM_OK) {
        runs[state]++;
        if (state == MM_FRAME_FREE && run.bytes > longest)
            longest = run.bytes;
    }
    longest /= MM_FRAME_BYTES;
    kprintf("  %lu run%s of free frames, the longest of %lu frame%s; %lu of allocated ones\n",
            runs[MM_FRAME_FREE], words_plural(runs[MM_FRAME_FREE]), longest, words_plural(longest),
            runs[MM_FRAME_ALLOCATED]);
}

void command_pmm(const struct words *words)
{
    static const char *const zones[MM_ZONES] = {"below 1 MiB", "below 16 MiB", "below 4 GiB",
                                                "above 4 GiB"};
    struct mm_pmm_stats stats;

    (void)words;
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    kprintf("frames: %lu managed, %lu free\n", stats.managed_frames, stats.free_frames);
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        kprintf("  %-12s %8lu managed %8lu free\n", zones[zone], stats.zone_managed_frames[zone],
                stats.zone_free_frames[zone]);
    print_stock(&stats);
    print_frame_runs(); /* brings home what is in stock: blocks hold all that is free */
    print_blocks();
    kprintf("  metadata %lu bytes; %lu calls refused\n", stats.meta_bytes, stats.misuse_count);
}

static void print_area(const char *what, const struct mm_virt_range *range)
{
    kprintf("  %-11s %016lx - %016lx\n", what, range->start.raw,
            range->start.raw + range->bytes - 1);
}

static void print_space_run(const struct mm_space_run *run)
{
    kprintf("  %016lx - %016lx -> %012lx %s\n", run->virt.raw, run->virt.raw + run->bytes - 1,
            run->phys.raw, rights_text(run->prot, run->type));
}

static void print_mapped(void)
{
    mm_virt_t cursor = mm_virt(0);
    struct mm_space_run run;
    unsigned runs = 0;

    while (mm_space_query(&mm_default.kernel, &cursor, mm_virt(0), &run) == MM_OK) {
        if (runs++ < RUNS_SHOWN)
            print_space_run(&run);
    }
    if (runs > RUNS_SHOWN)
        kprintf("  and %u more\n", runs - RUNS_SHOWN);
}

void command_vmm(const struct words *words)
{
    struct mm_space_stats stats;
    struct mm_arena_stats arena;

    (void)words;
    mm_space_get_stats(&mm_default.kernel, &stats);
    mm_arena_get_stats(&mm_default.arena, &arena);
    kprintf("kernel space: root %lx, %lu tables; pages: %lu of 4 KiB, %lu of 2 MiB, %lu of 1 GiB\n",
            mm_default.kernel.root.raw, stats.tables, stats.leaf_4k, stats.leaf_2m, stats.leaf_1g);
    if (!(mm_default.kernel.flags & MM_SPACE_ADOPTED)) /* its tables show memory elsewhere */
        print_area("direct map", &mm_default.vmm.layout.direct_map);
    print_area("kernel area", &mm_default.vmm.layout.kernel_area);
    kprintf("  in it %lu spans, %lu bytes\n", arena.spans, arena.taken_bytes);
    kprintf("mapped:\n");
    print_mapped();
}

void command_heap(const struct words *words)
{
    struct mm_heap_stats stats;

    (void)words;
    mm_heap_get_stats(&mm_default.heap, &stats);
    kprintf("heap: %lu bytes in %lu regions; in use %lu bytes in %lu blocks\n", stats.page_bytes,
            stats.regions, stats.used_bytes, stats.live_blocks);
    kprintf("  free %lu bytes in %lu blocks; without growth at most %lu bytes at once\n",
            stats.free_bytes, stats.free_blocks, stats.largest_free_bytes);
    kprintf("  %lu blocks handed out, %lu given back, %lu times no memory, %lu calls refused\n",
            stats.alloc_count, stats.free_count, stats.fail_count, stats.misuse_count);
}

void command_check(const struct words *words)
{
    (void)words;
    kprintf("%lu faults found\n", mm_check(&mm_default, &fault_printer));
}
