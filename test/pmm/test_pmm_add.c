/*
 * test_pmm_add.c - memory that joins later: what the boot left, and what is plugged in.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

#define MIB2 (MM_CHUNK_FRAMES * MM_FRAME_BYTES)

static void is_sound(uint64_t managed, uint64_t free_frames)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.managed_frames, managed);
    CHECK_EQ(stats.free_frames, free_frames);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

static uint64_t take_at(uint64_t lowest, uint64_t count)
{
    const struct mm_frame_request request = {.lowest = at(lowest), .count_frames = count};
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
    return mm_frame_of(out);
}

static unsigned kind_at(uint64_t frame)
{
    struct mm_place place;

    CHECK(mm_place_of(&machine.pmm, frame, &place));
    return machine.pmm.kind[place.chunk];
}

/* ---- memory that the map knew ---- */

/* 0x100000: usable but for boot memory 0x100100-0x1004ff, over three chunks. */
static void start_boot(void)
{
    FIXTURE(&machine, NULL, RAM(0x100000, 0x100),
            {0x100100, 0x400, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0}, RAM(0x100500, 0x300));
}

TEST(added_boot_memory_completes_its_chunks)
{
    start_boot();
    is_sound(0x400, 0x400);
    CHECK_EQ(kind_at(0x100000), MM_KIND_HOLES);
    CHECK_EQ(machine.pmm.pool[0].whole_chunks, 1);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x100100), 0x400 * MM_FRAME_BYTES));
    is_sound(0x800, 0x800);
    CHECK_EQ(machine.pmm.pool[0].whole_chunks, 4);
    for (uint64_t frame = 0x100000; frame < 0x100800; frame += 0x200)
        CHECK_EQ(kind_at(frame), MM_KIND_CACHED);
    CHECK_EQ(take_order(&machine, 11), 0x100000);
    is_sound(0x800, 0);
}

TEST(boot_memory_is_added_in_pieces_of_any_size)
{
    uint64_t added = 0;
    static bool done[0x400];

    memset(done, 0, sizeof done);
    start_boot();
    while (added < 0x400) {
        uint64_t first = mm_test_below(0x400), count = 1;

        while (done[first])
            first = (first + 1) % 0x400;
        while (first + count < 0x400 && !done[first + count] && mm_test_below(20) != 0)
            count++;
        memset(&done[first], 1, count);
        added += count;
        CHECK_OK(mm_pmm_add(&machine.pmm, at(0x100100 + first), count * MM_FRAME_BYTES));
        CHECK_ERR(mm_pmm_add(&machine.pmm, at(0x100100 + first), count * MM_FRAME_BYTES),
                  MM_ERR_EXISTS);
        is_sound(0x400 + added, 0x400 + added);
    }
    CHECK_EQ(take_order(&machine, 11), 0x100000);
}

/* A chunk that becomes complete while a run lies in it: its tails are found until the run goes. */
TEST(added_memory_completes_a_chunk_that_has_a_run)
{
    start_boot();
    CHECK_EQ(take_at(0x100010, 7), 0x100010);
    CHECK_EQ(take_at(0x100500, 0x80), 0x100500);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x100100), 0x400 * MM_FRAME_BYTES));
    is_sound(0x800, 0x800 - 0x87);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100010), 7));
    is_sound(0x800, 0x800 - 0x80);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100500), 0x80));
    is_sound(0x800, 0x800);
    for (unsigned round = 0; round < 2; round++) { /* as good as any chunk now */
        CHECK_EQ(take_order(&machine, 11), 0x100000);
        is_sound(0x800, 0);
        CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000), 0x800));
        is_sound(0x800, 0x800);
    }
    CHECK_EQ(take_at(0x100010, 0x200), 0x100010);
    CHECK_EQ(take_at(0x100210, 1), 0x100210);
    is_sound(0x800, 0x800 - 0x201);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100010), 0x200));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100210), 1));
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(0x100123)));
    is_sound(0x7ff, 0x7ff);
}

/* Parts of the image that only start-up used; ACPI tables; over the border of two zones. */
TEST(added_memory_may_be_of_any_kind_of_ram)
{
    FIXTURE(&machine, NULL, RAM(0x200, 0x100), {0x300, 0x10, MM_MEM_USABLE, MM_USE_IMAGE, 0},
            {0x310, 0x10, MM_MEM_ACPI_RECLAIM, MM_USE_FREE, 0},
            {0x320, 0x10, MM_MEM_USABLE, MM_USE_KEEP, 0},
            {0xff0, 0x20, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0});
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x300), 0x20 * MM_FRAME_BYTES));
    CHECK_ERR(mm_pmm_add(&machine.pmm, at(0x320), MM_FRAME_BYTES), MM_ERR_UNSUPPORTED);
    is_sound(0x120, 0x120);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0xff0), 0x20 * MM_FRAME_BYTES));
    is_sound(0x140, 0x140);
    CHECK_EQ(take_at(0xff0, 0x20), 0xff0);
    is_sound(0x140, 0x120);
}

TEST(added_memory_ends_the_state_of_low_memory)
{
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x100000, 8), {0x100008, 0x3f8, MM_MEM_BOOT_RECLAIM, 0, 0});
    CHECK_EQ(machine.pmm.low, 1);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x100008), 0x3f8 * MM_FRAME_BYTES));
    CHECK_EQ(machine.pmm.low, 0);
    mm_pmm_serve(&machine.pmm); /* what was asked while it was low */
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(machine.pmm.cpu[0].loaded->n, 7);
    is_sound(0x400, 0x3ff);
}

/* ---- memory that it did not know ---- */

static void start_hotplug(uint64_t bytes)
{
    static const struct fixture_range range[] = {
        RAM(0x100, 0x700), {0x2000, 0x400, MM_MEM_USABLE, MM_USE_FREE, 3}, RAM(0x2600, 0x300)};

    fixture_map(&machine, range, 3);
    fixture_start_as(
        &machine,
        &(struct mm_pmm_config){.cpu_count = 2, .flags = MM_PMM_NO_FLOORS, .hotplug_bytes = bytes});
}

#define START_FRAMES (0x700 + 0x400 + 0x300)

TEST(plugged_ram_is_refused_where_it_cannot_be)
{
    static const struct {
        uint64_t start, bytes;
        unsigned node;
        enum mm_err err;
    } row[] = {
        {0x100000000, 0, 0, MM_ERR_BAD_ARG},
        {0x100001000, MIB2, 0, MM_ERR_BAD_ARG},
        {0x100000000, MIB2 + MM_FRAME_BYTES, 0, MM_ERR_BAD_ARG},
        {0x100000000, MIB2, 1, MM_ERR_BAD_ARG}, /* no such node */
        {UINT64_MAX - MIB2 + 1, 2 * MIB2, 0, MM_ERR_BAD_ARG},
        {0x2000000, MIB2, 0, MM_ERR_EXISTS},
        {0x2400000, 2 * MIB2, 0, MM_ERR_EXISTS}, /* its second half */
        {0x2600000, MIB2, 0, MM_ERR_EXISTS},
        {0x2800000, MIB2, 0, MM_ERR_EXISTS}, /* a chunk of which RAM has a part */
        {0x100000000, 9 * MIB2, 0, MM_ERR_NO_ROOM},
        {0x100000000, UINT64_C(1) << 40, 0, MM_ERR_NO_ROOM},
    };
    uint64_t before;

    start_hotplug(8 * MIB2);
    before = state_hash(&machine);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        mm_test_row("range", i);
        CHECK_ERR(mm_pmm_add_ram(&machine.pmm, mm_phys(row[i].start), row[i].bytes, row[i].node),
                  row[i].err);
        CHECK_EQ(state_hash(&machine), before);
    }
    CHECK_ERR(mm_pmm_add(&machine.pmm, mm_phys(0x100000000), MIB2), MM_ERR_UNSUPPORTED);
    is_sound(START_FRAMES, START_FRAMES);
    start_hotplug(0);
    CHECK_ERR(mm_pmm_add_ram(&machine.pmm, mm_phys(0x100000000), MIB2, 0), MM_ERR_NO_ROOM);
}

TEST(plugged_ram_across_4_gib_is_of_two_zones)
{
    struct mm_pmm_stats stats;
    const struct mm_frame_request near = {.flags = MM_FRAME_NODE, .node = 3};
    uint64_t managed, free_frames;
    mm_phys_t out;

    start_hotplug(8 * MIB2);
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, mm_phys(0x100000000 - 3 * MIB2), 8 * MIB2, 3));
    is_sound(START_FRAMES + 0x1000, START_FRAMES + 0x1000);
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.zone_managed_frames[MM_ZONE_DMA32], 0x700 + 0x600);
    CHECK_EQ(stats.zone_managed_frames[MM_ZONE_HIGH], 0xa00);
    mm_pmm_get_node_stats(&machine.pmm, 3, &managed, &free_frames);
    CHECK_EQ(managed, 0x1400);
    CHECK_EQ(free_frames, 0x1400);
    CHECK_ERR(mm_pmm_add_ram(&machine.pmm, mm_phys(0x100000000), MIB2, 3), MM_ERR_EXISTS);

    CHECK_EQ(take_at(0x100000 - 0x600, 0x1000), 0x100000 - 0x600); /* a run over both */
    is_sound(START_FRAMES + 0x1000, START_FRAMES);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000 - 0x600), 0x1000));
    CHECK_EQ(take_order(&machine, 11), 0x100000);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &near, &out));
    CHECK(mm_frame_of(out) >= 0x100800);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000), 0x800));
    is_sound(START_FRAMES + 0x1000, START_FRAMES + 0x1000);
}

TEST(large_blocks_of_plugged_ram_come_before_those_of_a_lower_zone)
{
    start_hotplug(8 * MIB2);
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, mm_phys(0x100000000), MIB2, 0));
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(0x200000), MIB2, 0));
    CHECK_EQ(take_order(&machine, 9), 0x100000);
    CHECK_EQ(take_order(&machine, 9), 0x200000);
    CHECK(take_order(&machine, 9) < 0x100000);
}

/* Plugged in front of, behind and between what is known; each piece a region, up to eight. */
TEST(plugged_ram_comes_in_any_order_until_there_is_no_room)
{
    static const uint64_t start[] = {0x100000 + 0x400, 0x2400,   0x100000, 0x2a00,
                                     0x100000 + 0x200, 0x400000, 0x200000, 0x300000};
    static mm_phys_t frame[START_FRAMES + 8 * 0x200];
    const size_t all = START_FRAMES + 8 * 0x200;

    start_hotplug(20 * MIB2);
    for (unsigned i = 0; i < 8; i++) {
        mm_test_row("piece", i);
        CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(start[i]), MIB2, i % 2 == 0 ? 0 : 3));
        CHECK_EQ(state_of(&machine, start[i]), MM_FRAME_FREE);
        CHECK_EQ(state_of(&machine, start[i] + 0x1ff), MM_FRAME_FREE);
        is_sound(START_FRAMES + (i + 1) * 0x200, START_FRAMES + (i + 1) * 0x200);
    }
    CHECK_ERR(mm_pmm_add_ram(&machine.pmm, at(0x500000), MIB2, 0), MM_ERR_NO_ROOM); /* regions */
    CHECK_EQ(take_at(0x100000, 0x600), 0x100000); /* over three regions that touch */
    is_sound(all, all - 0x600);
    CHECK_OK(mm_pmm_free(&machine.pmm, at(0x100000), 0x600));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, all, frame));
    is_sound(all, 0);
    for (size_t i = 0; i < all; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame[i]));
    is_sound(all, all);
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(0x300005)));
    is_sound(all - 1, all - 1);
}

/* Its neighbour knows nothing of it, but a block may need both; not if a zone ends there. */
TEST(plugged_ram_makes_larger_blocks_with_its_neighbour)
{
    static const struct {
        uint64_t known, added; /* first frames; 2 MiB each */
        enum mm_err err;
    } row[] = {
        {0x100000, 0x100200, MM_OK},
        {0x100200, 0x100000, MM_OK},
        {0x100200, 0x100400, MM_ERR_NO_MEMORY}, /* not aligned */
        {0x0ffe00, 0x100000, MM_ERR_NO_MEMORY}, /* nor this, and in two zones */
    };
    const struct mm_frame_request block = {.order = 10};

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct fixture_range range = RAM(row[i].known, MM_CHUNK_FRAMES);
        mm_phys_t out;

        mm_test_row("place", i);
        fixture_map(&machine, &range, 1);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1,
                                                           .flags = MM_PMM_NO_FLOORS,
                                                           .hotplug_bytes = MIB2});
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &block, &out), MM_ERR_NO_MEMORY);
        CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(row[i].added), MIB2, 0));
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &block, &out), row[i].err);
        is_sound(0x400, row[i].err == MM_OK ? 0 : 0x400);
        if (row[i].err != MM_OK)
            continue;
        CHECK_EQ(mm_frame_of(out), 0x100000);
        CHECK_ERR(mm_pmm_free(&machine.pmm, out, 0x200), MM_ERR_MISUSE); /* half of it */
        CHECK_ERR(mm_pmm_free(&machine.pmm, at(0x100200), 0x200), MM_ERR_MISUSE);
        CHECK_EQ(mm_test_report_count(), 2);
        mm_test_reports_clear();
        is_sound(0x400, 0);
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 0x400));
        is_sound(0x400, 0x400);
    }
}

TEST(plugged_ram_is_walked_in_the_order_of_addresses)
{
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state state;
    uint64_t end = 0, frames = 0;

    start_hotplug(8 * MIB2);
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(0x200000), MIB2, 0));
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(0x2400), MIB2, 0));
    while (mm_pmm_walk(&machine.pmm, &cursor, &run, &state) == MM_OK) {
        CHECK(run.start.raw >= end);
        CHECK_EQ(state, MM_FRAME_FREE);
        end = run.start.raw + run.bytes;
        frames += run.bytes / MM_FRAME_BYTES;
    }
    CHECK_EQ(frames, START_FRAMES + 0x400);
    CHECK_EQ(end, at(0x200200).raw);
}

TEST(plugged_ram_has_tags_and_tables_like_any_other)
{
    uint16_t *tag;

    fake_ram_add(at(0x2000), 4 * MIB2);
    fixture_map(&machine, (struct fixture_range[]){RAM(0x2000, 0x400)}, 1);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1,
                                                       .window = fake_window(),
                                                       .hotplug_bytes = 2 * MIB2});
    CHECK_OK(mm_pmm_add_ram(&machine.pmm, at(0x2400), 2 * MIB2, 0));
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(0x27ff), true, &tag));
    CHECK_EQ(*tag, 0);
    CHECK_EQ(take_at(0x2601, 3), 0x2601);
    is_sound(0x800, 0x800 - 2 - 3);
}
