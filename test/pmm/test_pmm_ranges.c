/*
 * test_pmm_ranges.c - the ends of every range: empty, one, wrapping, at 2^52 and 2^64, unaligned,
 * too long by one, within, around.
 *
 * The machine has memory on both sides of each border that there is:
 *
 *     0x10 .. 0x90           below 1 MiB
 *     0x100 .. 0x1200        across 16 MiB
 *     0x1200 .. 0x1240       of the boot loader, to be added
 *     0x1280 .. 0x1300       free again; the frames between are a hole
 *     0xffe00 .. 0x100200    across 4 GiB
 *     2^40 - 512 .. 2^40     the last 2 MiB that 52 bits can name
 */
#include "fixture.h"

#define TOP       (UINT64_C(1) << 40) /* frames */
#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)
#define CPUS      2u

static struct fixture machine;

static const struct fixture_range top_machine[] = {
    RAM(0x10, 0x80),   RAM(0x100, 0x1100),  {0x1200, 0x40, MM_MEM_BOOT_RECLAIM, 0, 0},
    RAM(0x1280, 0x80), RAM(0xffe00, 0x400), RAM(TOP - 512, 512),
};

/* The same without the last piece: there is room beyond. */
#define LOWER_RANGES 5u

static void start(size_t ranges, uint64_t hotplug_chunks)
{
    struct mm_pmm_config config = {.map = &machine.map,
                                   .cpu_count = CPUS,
                                   .flags = MM_PMM_NO_FLOORS,
                                   .window = fake_window(),
                                   .hotplug_bytes = hotplug_chunks * 512 * MM_FRAME_BYTES};

    for (size_t i = 0; i < ranges; i++)
        fake_ram_add(at(top_machine[i].first), top_machine[i].frames * MM_FRAME_BYTES);
    fixture_map(&machine, top_machine, ranges);
    free(machine.meta);
    CHECK_OK(mm_pmm_meta_bytes(&config, &config.meta_bytes));
    machine.meta = config.meta = malloc(config.meta_bytes);
    CHECK(machine.meta != NULL);
    CHECK_OK(mm_pmm_init(&machine.pmm, &config));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* What callers see of it: each frame near the RAM, and the sums. */
static uint64_t visible(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct mm_pmm_stats stats;

    for (size_t i = 0; i < sizeof top_machine / sizeof top_machine[0]; i++)
        for (uint64_t n = 0; n < top_machine[i].frames + 2; n++) {
            struct mm_frame_info info;

            mm_pmm_query(&machine.pmm, at(top_machine[i].first + n - 1), &info);
            hash = (hash ^ info.state) * UINT64_C(0x100000001b3);
            hash = (hash ^ info.first.raw) * UINT64_C(0x100000001b3);
            hash = (hash ^ info.count_frames) * UINT64_C(0x100000001b3);
        }
    mm_pmm_get_stats(&machine.pmm, &stats);
    hash = (hash ^ stats.managed_frames) * UINT64_C(0x100000001b3);
    return (hash ^ stats.free_frames) * UINT64_C(0x100000001b3);
}

/* ---- allocation ---- */

#define ANY      0, UINT64_MAX /* wherever it lies */
#define FRAME(f) ((f)*MM_FRAME_BYTES)
#define LAST(f)  ((f)*MM_FRAME_BYTES + MM_FRAME_BYTES - 1)

static const struct alloc_row {
    uint64_t count;
    unsigned order;
    uint64_t lowest, highest, align, boundary;
    uint32_t flags;
    enum mm_err err;
    uint64_t least, most; /* frames that the first may be */
} alloc_rows[] = {
    /* length */
    {0, 0, 0, 0, 0, 0, 0, MM_OK, ANY},
    {1, 0, 0, 0, 0, 0, 0, MM_OK, ANY},
    {0x1100, 0, 0, LAST(0x11ff), 0, 0, 0, MM_ERR_NO_MEMORY, ANY}, /* two zones; see below */
    {0xf00, 0, 0, LAST(0xfff), 0, 0, 0, MM_OK, 0x100, 0x100},
    {0xf01, 0, 0, LAST(0xfff), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0x1101, 0, 0, LAST(0x1300), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0x10000, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_C(1) << 32, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_C(1) << 40, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_C(1) << 52, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY}, /* 0 bytes, wrapped */
    {(UINT64_C(1) << 52) + 1, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_C(1) << 63, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_MAX, 0, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_MAX - 511, 0, FRAME(TOP - 512), 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 9, 0, 0, 0, 0, 0, MM_OK, ANY},
    {0, 10, 0, 0, 0, 0, 0, MM_OK, ANY},
    {0, 12, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 18, 0, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 19, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    {0, 64, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    {0, 255, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    {1, 1, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    {2, 1, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    {UINT64_MAX, 18, 0, 0, 0, 0, 0, MM_ERR_BAD_ARG, ANY},
    /* highest: 0 is none; a frame must lie wholly below */
    {1, 0, 0, 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, 0xfff, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, LAST(0x10) - 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, LAST(0x10), 0, 0, 0, MM_OK, 0x10, 0x10},
    {2, 0, 0, LAST(0x10), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {2, 0, 0, LAST(0x11), 0, 0, 0, MM_OK, 0x10, 0x10},
    {0x80, 0, 0, 0xfffff, 0, 0, 0, MM_OK, 0x10, 0x10},
    {0x81, 0, 0, 0xfffff, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, 0x100000, 0, 0, 0, MM_ERR_NO_MEMORY, ANY}, /* not limited to the lowest MiB */
    {1, 0, 0, LAST(0x100) - 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, LAST(0x100), 0, 0, 0, MM_OK, 0x100, 0x100},
    {2, 0, 0, LAST(0x100), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, LAST(0xfff), 0, 0, 0, MM_OK, 0x100, 0xfff},
    {1, 0, 0, LAST(0xfffff), 0, 0, 0, MM_OK, 0x100, 0xfffff},
    {0, 9, 0, LAST(0x2ff), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 9, 0, LAST(0x3ff) - 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 9, 0, LAST(0x3ff), 0, 0, 0, MM_OK, 0x200, 0x200},
    {1, 0, 0, FRAME(TOP) - 1, 0, 0, 0, MM_OK, ANY},
    {1, 0, 0, UINT64_MAX, 0, 0, 0, MM_OK, ANY},
    {1, 0, 0, UINT64_MAX - 1, 0, 0, 0, MM_OK, ANY},
    /* lowest: a frame must lie wholly above; opens no memory below 1 MiB */
    {1, 0, 1, 0, 0, 0, 0, MM_OK, 0x100, TOP},
    {1, 0, 0x10000, 0xfffff, 0, 0, 0, MM_OK, 0x10, 0x8f},
    {1, 0, FRAME(0x8f), 0xfffff, 0, 0, 0, MM_OK, 0x8f, 0x8f},
    {1, 0, FRAME(0x8f) + 1, 0xfffff, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(0x80), 0x100000, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(TOP - 1), 0, 0, 0, 0, MM_OK, TOP - 1, TOP - 1},
    {1, 0, FRAME(TOP - 1) + 1, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {2, 0, FRAME(TOP - 1), 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {2, 0, FRAME(TOP - 2), 0, 0, 0, 0, MM_OK, TOP - 2, TOP - 2},
    {0, 9, FRAME(TOP - 512), 0, 0, 0, 0, MM_OK, TOP - 512, TOP - 512},
    {0, 9, FRAME(TOP - 512) + 1, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(TOP), 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, UINT64_C(1) << 63, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, UINT64_MAX, 0, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, UINT64_MAX - 4095, UINT64_MAX, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    /* both */
    {1, 0, FRAME(0x777), LAST(0x777), 0, 0, 0, MM_OK, 0x777, 0x777},
    {1, 0, FRAME(0x777) + 1, LAST(0x777), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(0x777), LAST(0x777) - 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(0x777), FRAME(0x777), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(0x778), LAST(0x777), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, UINT64_MAX, 1, 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, FRAME(0x1200), LAST(0x127f), 0, 0, 0, MM_ERR_NO_MEMORY, ANY}, /* nothing managed */
    {8, 0, FRAME(0x11fc), LAST(0x1283), 0, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {4, 0, FRAME(0x11fc), LAST(0x1283), 0, 0, 0, MM_OK, 0x11fc, 0x1280},
    /* alignment */
    {1, 0, 0, 0, 1, 0, 0, MM_OK, ANY},
    {1, 0, 0, 0, 2048, 0, 0, MM_OK, ANY},
    {1, 0, 0, 0, 4096, 0, 0, MM_OK, ANY},
    {1, 0, 0, 0, 4095, 0, 0, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 3, 0, 0, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, UINT64_MAX, 0, 0, MM_ERR_BAD_ARG, ANY},
    {3, 0, 0, 0, UINT64_C(1) << 32, 0, 0, MM_OK, 0x100000, 0x100000},
    {1, 0, 0, 0, UINT64_C(1) << 33, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, 0, UINT64_C(1) << 52, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {1, 0, 0, 0, UINT64_C(1) << 63, 0, 0, MM_ERR_NO_MEMORY, ANY},
    {0, 3, 0, 0, 4096, 0, 0, MM_OK, ANY}, /* less than natural is no constraint */
    {0, 0, 0, LAST(0xfff), 0x800000, 0, 0, MM_OK, 0x800, 0x800},
    /* boundary */
    {1, 0, 0, 0, 0, 1, 0, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 2048, 0, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 4096, 0, MM_OK, ANY},
    {2, 0, 0, 0, 0, 4096, 0, MM_ERR_BAD_ARG, ANY},
    {2, 0, 0, 0, 0, 8192, 0, MM_OK, ANY},
    {3, 0, 0, 0, 0, 8192, 0, MM_ERR_BAD_ARG, ANY},
    {3, 0, 0, 0, 0, 12288, 0, MM_ERR_BAD_ARG, ANY},
    {0, 9, 0, 0, 0, 0x100000, 0, MM_ERR_BAD_ARG, ANY},
    {0, 9, 0, 0, 0, 0x200000, 0, MM_OK, ANY},
    {1, 0, 0, 0, 0, UINT64_C(1) << 63, 0, MM_OK, ANY},
    {1, 0, 0, 0, 0, UINT64_MAX, 0, MM_ERR_BAD_ARG, ANY},
    {6, 0, FRAME(0x3fc), LAST(0x403), 0, 0x200000, 0, MM_ERR_NO_MEMORY, ANY},
    {6, 0, FRAME(0x3fc), LAST(0x403), 0, 0x400000, 0, MM_ERR_NO_MEMORY, ANY},
    {6, 0, FRAME(0x3fc), LAST(0x403), 0, 0x800000, 0, MM_OK, 0x3fc, 0x3fe},
    {6, 0, FRAME(0xffffc), LAST(0x100003), 0, UINT64_C(1) << 32, 0, MM_ERR_NO_MEMORY, ANY},
    {UINT64_MAX, 0, 0, 0, 0, UINT64_C(1) << 63, 0, MM_ERR_BAD_ARG, ANY},
    /* flags */
    {1, 0, 0, 0, 0, 0, MM_FRAME_NODE_ONLY, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 0, UINT32_C(1) << 31, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT, MM_OK, ANY},
    {2, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT, MM_ERR_BAD_ARG, ANY},
    {0, 1, 0, 0, 0, 0, MM_FRAME_NO_WAIT, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT | MM_FRAME_RESERVE, MM_OK, ANY},
    {1, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT | MM_FRAME_ZERO, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT | MM_FRAME_TRY_HARD, MM_ERR_BAD_ARG, ANY},
    {1, 0, 0, 0, 0, 0, MM_FRAME_NO_WAIT | MM_FRAME_NODE, MM_ERR_BAD_ARG, ANY},
};

/* Frames on both sides of 16 MiB belong to two pools: whether one run may have both is nobody's
 * promise. */
static bool crosses_zones(const struct alloc_row *row)
{
    return row->count == 0x1100;
}

static void alloc_row_try(const struct alloc_row *row)
{
    struct mm_frame_request request = {.count_frames = row->count,
                                       .order = (uint8_t)row->order,
                                       .lowest = mm_phys(row->lowest),
                                       .highest = mm_phys(row->highest),
                                       .align_bytes = row->align,
                                       .boundary_bytes = row->boundary,
                                       .flags = row->flags};
    uint64_t count = row->count != 0 ? row->count : UINT64_C(1) << (row->order & 31);
    mm_phys_t out = mm_phys(UNTOUCHED);
    uint64_t before = visible();
    enum mm_err err = mm_pmm_alloc(&machine.pmm, &request, &out);

    if (crosses_zones(row) && err == MM_OK) {
        CHECK_OK(mm_pmm_free(&machine.pmm, out, count));
        return;
    }
    CHECK_ERR(err, row->err);
    if (err != MM_OK) {
        CHECK_EQ(out.raw, UNTOUCHED);
        CHECK_EQ(visible(), before);
        return;
    }
    CHECK(out.raw % MM_FRAME_BYTES == 0 && (row->align == 0 || out.raw % row->align == 0));
    CHECK(mm_frame_of(out) >= row->least && mm_frame_of(out) <= row->most);
    CHECK(out.raw >= row->lowest);
    CHECK(row->highest == 0 || out.raw + count * MM_FRAME_BYTES - 1 <= row->highest);
    CHECK(visible() != before);
    CHECK_OK(mm_pmm_free(&machine.pmm, out, count));
    CHECK_EQ(visible(), before);
}

TEST(pmm_alloc_at_the_ends_of_every_limit)
{
    start(6, 0);
    for (unsigned hard = 0; hard < 2; hard++)
        for (size_t i = 0; i < sizeof alloc_rows / sizeof alloc_rows[0]; i++) {
            struct alloc_row row = alloc_rows[i];

            mm_test_row("row", i);
            if (hard == 1 && (row.flags & MM_FRAME_NO_WAIT) == 0)
                row.flags |= MM_FRAME_TRY_HARD;
            alloc_row_try(&row);
        }
    CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_alloc_of_nodes_that_are_not_there)
{
    struct mm_frame_request request = {.flags = MM_FRAME_NODE, .node = MM_NODES_MAX - 1};
    mm_phys_t out = mm_phys(UNTOUCHED);

    start(6, 0);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out)); /* a preference */
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    request.flags |= MM_FRAME_NODE_ONLY;
    out = mm_phys(UNTOUCHED);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), MM_ERR_NO_MEMORY);
    request.node = MM_NODES_MAX;
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), MM_ERR_BAD_ARG);
    request.node = UINT16_MAX;
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), MM_ERR_BAD_ARG);
    request = (struct mm_frame_request){.mobility = MM_MOBILITY_RECLAIM + 1};
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), MM_ERR_BAD_ARG);
    CHECK_EQ(out.raw, UNTOUCHED);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- bulk ---- */

TEST(pmm_bulk_at_the_ends_of_every_limit)
{
    static const struct mm_frame_request wrong[] = {
        {.order = 1},
        {.count_frames = 1},
        {.align_bytes = 4096},
        {.boundary_bytes = 4096},
        {.flags = MM_FRAME_NODE_ONLY},
        {.order = 255},
    };
    struct mm_frame_request low = {.highest = MM_HIGHEST_1M};
    struct mm_frame_request top = {.lowest = at(TOP - 3)};
    static mm_phys_t out[0x2000]; /* more than there are frames */
    uint64_t before;

    start(6, 0);
    before = visible();
    out[0] = mm_phys(UNTOUCHED);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("row", i);
        CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &wrong[i], 1, out), MM_ERR_BAD_ARG);
    }
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 0, out));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 0, NULL));
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, 1, NULL), MM_ERR_BAD_ARG);
    CHECK_EQ(out[0].raw, UNTOUCHED);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, NULL, 0x2000, out), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &low, 0x81, out), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &top, 4, out), MM_ERR_NO_MEMORY);
    CHECK_EQ(visible(), before);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &top, 3, out));
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, out, 3));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &low, 0x80, out));
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, out, 0));
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, NULL, 0));
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, out, 0x80));
    CHECK_EQ(visible(), before);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- free ---- */

/* Wrong frees around a run of 8 frames at 0x400, between runs of 3 that touch it; a single frame
 * at 0x500, a block of 8 at 0x508, runs of 4 at 0x5ff and 0x7fd. */
static const struct {
    uint64_t address, count;
} free_rows[] = {
    {FRAME(0x400), 0},
    {FRAME(0x400), 1},
    {FRAME(0x400), 7},
    {FRAME(0x400), 9},
    {FRAME(0x400), 11}, /* with the run behind it */
    {FRAME(0x3fd), 11}, /* with the run before it */
    {FRAME(0x3fd), 14}, /* all three */
    {FRAME(0x3ff), 9},  /* one frame of its neighbour */
    {FRAME(0x3ff), 8},
    {FRAME(0x3ff), 1},
    {FRAME(0x401), 8},
    {FRAME(0x401), 7},
    {FRAME(0x402), 4},
    {FRAME(0x407), 1},
    {FRAME(0x408), 8},
    {FRAME(0x400) + 1, 8},
    {FRAME(0x400) + 8, 8},
    {FRAME(0x400) + 4095, 8},
    {FRAME(0x400) - 1, 8},
    {FRAME(0x400), UINT64_C(1) << 52},
    {FRAME(0x400), (UINT64_C(1) << 52) + 8},
    {FRAME(0x400), (UINT64_C(1) << 52) - 0x400},
    {FRAME(0x400), UINT64_MAX},
    {FRAME(0x400), UINT64_MAX - 0x3ff},
    {FRAME(0x400), (UINT64_C(1) << 32) + 8},
    {FRAME(0x400), (UINT64_C(1) << 63) + 8},
    {FRAME(0x400) | UINT64_C(1) << 63, 8},
    {FRAME(0x400) | UINT64_C(1) << 52, 8},
    {FRAME(0x500), 0},
    {FRAME(0x500), 2},
    {FRAME(0x500), (UINT64_C(1) << 32) + 1},
    {FRAME(0x500) + 1, 1},
    {FRAME(0x508), 1},
    {FRAME(0x508), 16},
    {FRAME(0x50c), 4},
    {FRAME(0x5ff), 1}, /* a run that begins with the last frame of a 2 MiB piece */
    {FRAME(0x5ff), 2},
    {FRAME(0x600), 3},
    {FRAME(0x602), 1},
    {FRAME(0x7fd), 3}, /* one that ends with the first of one */
    {FRAME(0x800), 1},
    {0, 0},
    {0, 1},
    {0, UINT64_MAX},
    {FRAME(0xf), 1},
    {FRAME(0x90), 1},
    {FRAME(0xff), 1},
    {FRAME(0x1200), 1},
    {FRAME(0x1200), 0x40}, /* known, not managed */
    {FRAME(0x1240), 1},
    {FRAME(0x127f), 2},
    {FRAME(TOP), 1},
    {FRAME(TOP - 512), 1024},
    {FRAME(TOP) - 1, 1},
    {UINT64_C(1) << 63, 1},
    {UINT64_MAX, 1},
    {UINT64_MAX - 4095, 1},
    {UINT64_MAX - 4095, 2},
    {UINT64_MAX - 8191, UINT64_MAX},
};

static void take_exactly(uint64_t first, uint64_t count)
{
    struct mm_frame_request request = {
        .count_frames = count, .lowest = at(first), .highest = mm_phys(LAST(first + count - 1))};
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
    CHECK_EQ(mm_frame_of(out), first);
}

static void refused(enum mm_err err, uint64_t address, const char *where)
{
    CHECK_ERR(err, MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_EQ(mm_test_report(0)->kind, MM_REPORT_MISUSE);
    CHECK_EQ(mm_test_report(0)->address, address);
    CHECK_TEXT(mm_test_report(0)->where, where);
    CHECK(mm_test_report(0)->caller != NULL);
    mm_test_reports_clear();
}

TEST(pmm_free_of_anything_but_one_allocation_is_refused)
{
    struct mm_frame_request block = {
        .order = 3, .lowest = at(0x508), .highest = mm_phys(LAST(0x50f))};
    struct mm_pmm_stats stats;
    uint64_t before, refusals = 0;
    mm_phys_t out;

    start(6, 0);
    take_exactly(0x3fd, 3);
    take_exactly(0x400, 8);
    take_exactly(0x408, 3);
    take_exactly(0x500, 1);
    take_exactly(0x5ff, 4);
    take_exactly(0x7fd, 4);
    take_exactly(TOP - 512, 512);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out));
    before = visible();
    for (size_t i = 0; i < sizeof free_rows / sizeof free_rows[0]; i++) {
        mm_phys_t address = mm_phys(free_rows[i].address);

        mm_test_row("row", i);
        refused(mm_pmm_free(&machine.pmm, address, free_rows[i].count), address.raw, "mm_pmm_free");
        refusals++;
        if (address.raw != FRAME(0x500)) {
            refused(mm_pmm_free_frame(&machine.pmm, address), address.raw, "mm_pmm_free_frame");
            refused(mm_pmm_free_no_wait(&machine.pmm, address), address.raw, "mm_pmm_free_no_wait");
            refused(mm_pmm_free_bulk(&machine.pmm, &address, 1), address.raw, "mm_pmm_free_bulk");
            refusals += 3;
        }
        CHECK_EQ(visible(), before);
    }
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.misuse_count, refusals);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x3fd), 3));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x408), 3));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x400), 8));
    refused(mm_pmm_free(&machine.pmm, at(0x400), 8), FRAME(0x400), "mm_pmm_free");
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x508), 8));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x500)));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x5ff), 4));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x7fd), 4));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(TOP - 512), 512));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Where nothing but single frames is around it, a run begins with the last frame of a 2 MiB piece. */
TEST(pmm_free_of_the_head_of_a_run_alone_is_refused_in_a_piece_of_single_frames)
{
    mm_phys_t head = at(0x5ff);
    uint64_t before;

    start(6, 0);
    take_exactly(0x5f0, 1);
    take_exactly(0x5ff, 4);
    before = visible();
    refused(mm_pmm_free_frame(&machine.pmm, head), head.raw, "mm_pmm_free_frame");
    refused(mm_pmm_free_no_wait(&machine.pmm, head), head.raw, "mm_pmm_free_no_wait");
    refused(mm_pmm_free_bulk(&machine.pmm, &head, 1), head.raw, "mm_pmm_free_bulk");
    CHECK_EQ(visible(), before);
    CHECK_OK(mm_pmm_free(&machine.pmm, head, 4));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x5f0)));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

static void refuse_free(uint64_t first, uint64_t count)
{
    uint64_t before = state_hash(&machine);

    refused(mm_pmm_free(&machine.pmm, at(first), count), at(first).raw, "mm_pmm_free");
    CHECK_EQ(state_hash(&machine), before);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Half of a block whose owner uses the rest, two that touch: each is made of whole 2 MiB pieces. */
TEST(pmm_free_of_a_part_of_a_large_block_is_refused)
{
    static const struct {
        uint64_t first, count;
    } row[] = {
        {0x100000, 0x200}, {0x100000, 0x3ff}, {0x100000, 0x600}, {0x100000, 0x800},
        {0x100200, 0x200}, {0x100200, 0x400}, {0x100400, 0x400}, {0x100600, 0x200},
        {0x100600, 0x800}, {0x100800, 0x200}, {0x100800, 0x400}, {0x100800, 0x600},
        {0x100e00, 0x200}, {0x100e00, 0x400},
    };

    FIXTURE(&machine, NULL, RAM(0x100000, 0x1000));
    CHECK_EQ(take_order(&machine, 10), 0x100000);
    CHECK_EQ(take_order(&machine, 9), 0x100400);
    CHECK_EQ(take_order(&machine, 11), 0x100800);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("part", i);
        refuse_free(row[i].first, row[i].count);
    }
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100400), 0x200));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000), 0x400));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100800), 0x800));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x1000);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* The 2 MiB piece of node 0 in which a run begins has another neighbour in node 0's pool than in
 * memory, or none. */
TEST(pmm_free_of_a_part_of_a_run_across_nodes_is_refused)
{
    static const struct {
        struct fixture_range range[3];
        size_t ranges;
        uint64_t count; /* of a run from 0x100e00; node 1 begins at 0x101000 */
    } row[] = {
        /* nodes meet within a 2 MiB piece; between two; behind it there is no more of node 0 */
        {{RAM_OF(0, 0x100000, 0x1000), RAM_OF(1, 0x101000, 0x137), RAM_OF(0, 0x101137, 0x2000)},
         3,
         600},
        {{RAM_OF(0, 0x100000, 0x1000), RAM_OF(1, 0x101000, 0x200), RAM_OF(0, 0x101200, 0x200)},
         3,
         0x400},
        {{RAM_OF(0, 0x100000, 0x1000), RAM_OF(1, 0x101000, 0x400)}, 2, 0x400},
        {{RAM_OF(0, 0x100000, 0x1000), RAM_OF(1, 0x101000, 0x400)}, 2, 0x280},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t free_frames;

        mm_test_row("map", i);
        fixture_map(&machine, row[i].range, row[i].ranges);
        fixture_start(&machine, NULL);
        free_frames = mm_pmm_free_frames(&machine.pmm);
        take_exactly(0x100e00, row[i].count);
        refuse_free(0x100e00, 0x200);
        refuse_free(0x100e00, row[i].count - 1);
        refuse_free(0x101000, row[i].count - 0x200);
        CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100e00), row[i].count));
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), free_frames);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* What lies behind the last frame before another node's is not of this pool, whatever that has
 * next. */
TEST(pmm_single_frame_before_another_node_comes_home)
{
    FIXTURE(&machine, NULL, RAM_OF(0, 0x100000, 0x200), RAM_OF(1, 0x100200, 0x200),
            RAM_OF(0, 0x100400, 0x400));
    take_exactly(0x1003f0, 0x20); /* over the start of node 0's next piece */
    take_exactly(0x1001ff, 1);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x1001ff))); /* into stock */
    take_exactly(0x100180, 3); /* no piece of single frames any more */
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(mm_test_report_count(), 0);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x800 - 0x20 - 3);
    take_exactly(0x1001ff, 1);
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, (mm_phys_t[]){at(0x1001ff)}, 1));
    CHECK_EQ(state_of(&machine, 0x1001ff), MM_FRAME_FREE);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- memory that joins ---- */

#define REFUSED 0xffu /* any error */

static const struct range_row {
    uint64_t start, bytes;
    unsigned err;
} add_rows[] = {
    {FRAME(0x1200), 0, MM_ERR_BAD_ARG},
    {0, 0, MM_ERR_BAD_ARG},
    {FRAME(0x1200), 1, MM_ERR_BAD_ARG},
    {FRAME(0x1200), 4095, MM_ERR_BAD_ARG},
    {FRAME(0x1200), 4097, MM_ERR_BAD_ARG},
    {FRAME(0x1200) + 1, 4096, MM_ERR_BAD_ARG},
    {FRAME(0x1200) + 4095, 4096, MM_ERR_BAD_ARG},
    {FRAME(0x1200), UINT64_MAX, MM_ERR_BAD_ARG},
    {FRAME(0x1200), UINT64_MAX - 4095, MM_ERR_BAD_ARG}, /* wraps */
    {FRAME(0x1200), 0 - FRAME(0x1200), REFUSED},        /* to 2^64 */
    {FRAME(0x1200), 0 - FRAME(0x11ff), MM_ERR_BAD_ARG}, /* one more */
    {UINT64_MAX - 4095, 4096, REFUSED},
    {UINT64_MAX - 4095, 8192, MM_ERR_BAD_ARG},
    {UINT64_C(1) << 63, 4096, REFUSED},
    {FRAME(TOP), 4096, REFUSED},
    {FRAME(TOP - 1), 8192, REFUSED},
    {FRAME(TOP - 1), 4096, MM_ERR_EXISTS},
    {0, 4096, MM_ERR_UNSUPPORTED},
    {FRAME(0x90), 4096, MM_ERR_UNSUPPORTED},
    {FRAME(0x11ff), FRAME(1), MM_ERR_EXISTS},
    {FRAME(0x11ff), FRAME(2), MM_ERR_EXISTS},         /* one frame too many on the left */
    {FRAME(0x1200), FRAME(0x41), MM_ERR_UNSUPPORTED}, /* on the right: a hole */
    {FRAME(0x1240), FRAME(1), MM_ERR_UNSUPPORTED},
    {FRAME(0x1200), FRAME(0x81), REFUSED}, /* across the hole to what is managed */
    {FRAME(0x100), FRAME(0x1140), MM_ERR_EXISTS},
    {FRAME(0x1210), FRAME(0x10), MM_OK}, /* in the middle */
    {FRAME(0x1210), FRAME(0x10), MM_ERR_EXISTS},
    {FRAME(0x1211), FRAME(1), MM_ERR_EXISTS},
    {FRAME(0x120f), FRAME(2), MM_ERR_EXISTS},
    {FRAME(0x121f), FRAME(2), MM_ERR_EXISTS},
    {FRAME(0x1200), FRAME(0x40), MM_ERR_EXISTS},
    {FRAME(0x120f), FRAME(1), MM_OK}, /* beside */
    {FRAME(0x1220), FRAME(1), MM_OK},
    {FRAME(0x1200), FRAME(0xf), MM_OK}, /* the rest, to both ends */
    {FRAME(0x1221), FRAME(0x1f), MM_OK},
    {FRAME(0x1200), FRAME(0x40), MM_ERR_EXISTS},
};

typedef enum mm_err join_fn(mm_phys_t start, uint64_t bytes);

static void join_rows(const struct range_row *row, size_t rows, join_fn *join)
{
    for (size_t i = 0; i < rows; i++) {
        uint64_t before = visible(), free_before = mm_pmm_free_frames(&machine.pmm);
        enum mm_err err = join(mm_phys(row[i].start), row[i].bytes);

        mm_test_row("row", i);
        if (row[i].err == REFUSED)
            CHECK(err == MM_ERR_BAD_ARG || err == MM_ERR_EXISTS || err == MM_ERR_UNSUPPORTED ||
                  err == MM_ERR_NO_ROOM);
        else
            CHECK_ERR(err, (enum mm_err)row[i].err);
        if (err != MM_OK)
            CHECK_EQ(visible(), before);
        else
            CHECK_EQ(mm_pmm_free_frames(&machine.pmm), free_before + row[i].bytes / MM_FRAME_BYTES);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

static enum mm_err join_add(mm_phys_t where, uint64_t bytes)
{
    return mm_pmm_add(&machine.pmm, where, bytes);
}

static enum mm_err join_add_ram(mm_phys_t where, uint64_t bytes)
{
    return mm_pmm_add_ram(&machine.pmm, where, bytes, 0);
}

TEST(pmm_add_at_the_ends_of_every_range)
{
    start(6, 0);
    join_rows(add_rows, sizeof add_rows / sizeof add_rows[0], join_add);
    take_exactly(0x1200, 0x40); /* it is one piece now */
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x1200), 0x40));
}

#define CHUNK (512 * MM_FRAME_BYTES)

/* What is known ends at 0x100200; room for four chunks. */
static const struct range_row add_ram_rows[] = {
    {FRAME(0x100200), 0, MM_ERR_BAD_ARG},
    {FRAME(0x100200), 4096, MM_ERR_BAD_ARG},
    {FRAME(0x100200), CHUNK - 4096, MM_ERR_BAD_ARG},
    {FRAME(0x100200), CHUNK + 4096, MM_ERR_BAD_ARG},
    {FRAME(0x100201), CHUNK, MM_ERR_BAD_ARG},
    {FRAME(0x100200) + 1, CHUNK, MM_ERR_BAD_ARG},
    {FRAME(0x100300), CHUNK, MM_ERR_BAD_ARG},
    {FRAME(0x100200), UINT64_MAX, MM_ERR_BAD_ARG},
    {FRAME(0x100200), 0 - CHUNK, REFUSED}, /* wraps */
    {FRAME(0x100200), 0 - FRAME(0x100200), REFUSED},
    {0 - CHUNK, CHUNK, REFUSED}, /* the end of the world */
    {0 - CHUNK, 2 * CHUNK, MM_ERR_BAD_ARG},
    {UINT64_C(1) << 63, CHUNK, REFUSED},
    {FRAME(0x100000), CHUNK, MM_ERR_EXISTS},
    {FRAME(0x100000), 2 * CHUNK, MM_ERR_EXISTS}, /* the last known chunk and one more */
    {0, CHUNK, REFUSED},
    {0, FRAME(0x100200), REFUSED},
    {0, FRAME(0x100400), REFUSED},
    {FRAME(0x1200), CHUNK, MM_ERR_EXISTS},
    {FRAME(0x100200), 5 * CHUNK, MM_ERR_NO_ROOM},
    {FRAME(0x100200), CHUNK, MM_OK},
    {FRAME(0x100200), CHUNK, MM_ERR_EXISTS},
    {FRAME(0x100200), 2 * CHUNK, MM_ERR_EXISTS},
    {FRAME(0x100400), 4 * CHUNK, MM_ERR_NO_ROOM},
    {FRAME(0x200000), 2 * CHUNK, MM_OK}, /* not touching */
    {FRAME(0x200200), 2 * CHUNK, MM_ERR_EXISTS},
    {FRAME(0x200400), CHUNK, MM_OK},
    {FRAME(0x200600), CHUNK, MM_ERR_NO_ROOM},
};

TEST(pmm_add_ram_at_the_ends_of_every_range)
{
    struct mm_frame_request request = {.order = 9, .lowest = at(0x100200)};
    mm_phys_t out;

    fake_ram_add(at(0x100200), CHUNK);
    fake_ram_add(at(0x200000), 4 * CHUNK);
    start(LOWER_RANGES, 4);
    CHECK_ERR(mm_pmm_add_ram(&machine.pmm, at(0x100200), CHUNK, MM_NODES_MAX), MM_ERR_BAD_ARG);
    join_rows(add_ram_rows, sizeof add_ram_rows / sizeof add_ram_rows[0], join_add_ram);
    for (unsigned i = 0; i < 4; i++) { /* all of it can be had, and no more */
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
        CHECK(mm_frame_of(out) == 0x100200 ||
              (mm_frame_of(out) >= 0x200000 && mm_frame_of(out) <= 0x200400));
    }
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- single frames ---- */

static const uint64_t not_managed[] = {
    0,
    FRAME(0xf),
    FRAME(0x90),
    FRAME(0xff),
    FRAME(0x1200),
    FRAME(TOP),
    FRAME(0x127f),
    FRAME(0x100200),
    FRAME(0xffdff),
    FRAME(TOP - 513),
    FRAME(TOP) * 2,
    UINT64_C(1) << 63,
    UINT64_MAX - 4095,
    UINT64_MAX,
};

TEST(pmm_retire_tag_and_query_know_what_is_not_managed)
{
    uint64_t before;

    start(6, 0);
    before = visible();
    for (size_t i = 0; i < sizeof not_managed / sizeof not_managed[0]; i++) {
        mm_phys_t frame = mm_phys(not_managed[i] & ~(MM_FRAME_BYTES - 1));
        struct mm_frame_info info;
        uint16_t *tag = NULL;

        mm_test_row("row", i);
        CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_NOT_FOUND);
        CHECK_ERR(mm_pmm_tag(&machine.pmm, frame, true, &tag), MM_ERR_NOT_FOUND);
        CHECK_ERR(mm_pmm_tag(&machine.pmm, frame, false, &tag), MM_ERR_NOT_FOUND);
        CHECK(tag == NULL);
        mm_pmm_query(&machine.pmm, mm_phys(not_managed[i]), &info);
        CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
        CHECK_EQ(info.first.raw, frame.raw);
        CHECK_EQ(info.count_frames, 1);
    }
    CHECK_EQ(visible(), before);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_retire_and_tag_reach_the_first_and_the_last_frame)
{
    static const uint64_t frame[] = {0x10,   0x8f,    0x100,    0xfff,     0x1000,
                                     0x11ff, 0xfffff, 0x100000, TOP - 512, TOP - 1};
    uint64_t free_before;
    uint16_t *tag[10];

    start(6, 0);
    for (size_t i = 0; i < 10; i++) {
        mm_test_row("frame", frame[i]);
        CHECK_OK(mm_pmm_tag(&machine.pmm, at(frame[i]), true, &tag[i]));
        CHECK_EQ(*tag[i], 0);
        *tag[i] = (uint16_t)(i + 1);
    }
    free_before = mm_pmm_free_frames(&machine.pmm);
    for (size_t i = 0; i < 10; i++) {
        uint16_t *again = NULL;

        CHECK_OK(mm_pmm_tag(&machine.pmm, at(frame[i]), false, &again));
        CHECK(again == tag[i]);
        CHECK_EQ(*again, i + 1);
    }
    for (size_t i = 0; i < 10; i++) {
        struct mm_frame_request there = {.lowest = at(frame[i]),
                                         .highest = mm_phys(LAST(frame[i]))};
        struct mm_frame_info info;
        mm_phys_t out;

        mm_test_row("frame", frame[i]);
        mm_pmm_query(&machine.pmm, at(frame[i]), &info);
        if (info.state != MM_FRAME_FREE) { /* it became a table of the PMM's own */
            CHECK_ERR(mm_pmm_retire(&machine.pmm, at(frame[i])), MM_ERR_BUSY);
            continue;
        }
        CHECK_OK(mm_pmm_retire(&machine.pmm, at(frame[i])));
        CHECK_ERR(mm_pmm_retire(&machine.pmm, at(frame[i])), MM_ERR_NOT_FOUND);
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &there, &out), MM_ERR_NO_MEMORY);
        mm_pmm_query(&machine.pmm, at(frame[i]), &info);
        CHECK_EQ(info.state, MM_FRAME_UNMANAGED);
    }
    CHECK(mm_pmm_free_frames(&machine.pmm) < free_before);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- walking ---- */

TEST(pmm_walk_begins_anywhere)
{
    static const struct {
        uint64_t cursor, first, end; /* frames; 0, 0 = no more */
    } row[] = {
        {0, 0x10, 0x90},
        {FRAME(0x10), 0x10, 0x90},
        {FRAME(0x11), 0x11, 0x90},
        {FRAME(0x8f), 0x8f, 0x90},
        {FRAME(0x90), 0x100, 0},
        {FRAME(0x1240), 0x1280, 0x1300},
        {FRAME(TOP - 1), TOP - 1, TOP},
        {FRAME(TOP), 0, 0},
        {UINT64_C(1) << 63, 0, 0},
        {UINT64_MAX - 4095, 0, 0},
        {UINT64_MAX, 0, 0},
    };

    start(6, 0);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_phys_t cursor = mm_phys(row[i].cursor);
        struct mm_phys_range run = {mm_phys(UNTOUCHED), 77};
        enum mm_frame_state run_state = MM_FRAME_UNMANAGED;

        mm_test_row("row", i);
        if (row[i].first == 0) {
            CHECK_ERR(mm_pmm_walk(&machine.pmm, &cursor, &run, &run_state), MM_ERR_NOT_FOUND);
            CHECK(cursor.raw == row[i].cursor && run.start.raw == UNTOUCHED && run.bytes == 77);
            continue;
        }
        CHECK_OK(mm_pmm_walk(&machine.pmm, &cursor, &run, &run_state));
        CHECK_EQ(run.start.raw, FRAME(row[i].first));
        if (row[i].end != 0)
            CHECK_EQ(run.start.raw + run.bytes, FRAME(row[i].end));
        CHECK_EQ(cursor.raw, run.start.raw + run.bytes);
        CHECK_EQ(run_state, MM_FRAME_FREE);
    }
}

/* ---- the rest ---- */

TEST(pmm_isolate_and_remove_are_not_built)
{
    static const struct range_row row[] = {{FRAME(0x200), CHUNK, 0},
                                           {0, 0, 0},
                                           {1, 1, 0},
                                           {UINT64_MAX, UINT64_MAX, 0},
                                           {FRAME(TOP), CHUNK, 0}};
    uint64_t before;

    start(6, 0);
    before = visible();
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_phys_t where = mm_phys(row[i].start);

        CHECK_ERR(mm_pmm_isolate(&machine.pmm, where, row[i].bytes), MM_ERR_UNSUPPORTED);
        CHECK_ERR(mm_pmm_remove(&machine.pmm, where, row[i].bytes), MM_ERR_UNSUPPORTED);
    }
    CHECK_EQ(visible(), before);
}

static void level_ignored(void *arg, enum mm_zone zone, enum mm_memory_level level, uint64_t count)
{
    (void)arg;
    (void)zone;
    (void)level;
    (void)count;
}

TEST(pmm_watermarks_and_nodes_at_the_ends_of_their_numbers)
{
    struct mm_pmm_watermark mark = {.fn = level_ignored};
    uint64_t managed = 1, count = 1;

    start(6, 0);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_HIGH, &mark)); /* all 0 */
    CHECK_ERR(mm_pmm_set_watermark(&machine.pmm, (enum mm_zone)MM_ZONES, &mark), MM_ERR_BAD_ARG);
    mark.min_frames = 1;
    CHECK_ERR(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &mark), MM_ERR_BAD_ARG);
    mark.low_frames = 2;
    CHECK_ERR(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &mark), MM_ERR_BAD_ARG);
    mark.high_frames = UINT64_MAX;
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &mark));
    mark.min_frames = mark.low_frames = UINT64_MAX;
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, &mark));
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, NULL));

    CHECK_OK(mm_pmm_set_cpu_node(&machine.pmm, CPUS - 1, 0));
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, CPUS, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, UINT32_MAX, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, 0, MM_NODES_MAX), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, 0, UINT32_MAX), MM_ERR_BAD_ARG);
    mm_pmm_get_node_stats(&machine.pmm, MM_NODES_MAX, &managed, &count);
    CHECK_EQ(managed + count, 0);
    managed = count = 1;
    mm_pmm_get_node_stats(&machine.pmm, UINT32_MAX, &managed, &count);
    CHECK_EQ(managed + count, 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
