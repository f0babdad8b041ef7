/*
 * test_memmap.c - adding, reserving, nodes, looking up: one case at a time.
 */
#include "map_test.h"

#include "memmap/memmap_internal.h"

#define BITS 40u
#define TOP  (UINT64_C(1) << BITS)

static struct map m;

static struct mm_memmap *fresh(void)
{
    return map_init(&m, ROOM, BITS);
}

TEST(memmap_init_refuses_what_cannot_be)
{
    struct mm_memmap map;

    CHECK_ERR(mm_memmap_init(NULL, m.storage, ROOM, BITS), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_init(&map, NULL, 1, BITS), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_init(&map, m.storage, ROOM, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_init(&map, m.storage, ROOM, 64), MM_ERR_BAD_ARG);
    CHECK_OK(mm_memmap_init(&map, NULL, 0, 63));
    CHECK_ERR(mm_memmap_add(&map, mm_phys(0), 1, MM_MEM_USABLE), MM_ERR_NO_ROOM);
    CHECK_EQ(mm_memmap_check(&map, NULL), 0);
}

TEST(memmap_that_was_never_initialised_is_busy)
{
    struct mm_memmap map = {0};

    CHECK_ERR(mm_memmap_add(&map, mm_phys(0), FRAME, MM_MEM_USABLE), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_reserve(&map, mm_phys(0), FRAME, MM_USE_KEEP), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_finish(&map), MM_ERR_BUSY);
    CHECK(mm_memmap_check(&map, NULL) > 0);
}

TEST(memmap_add_refuses_types_that_are_none)
{
    struct mm_memmap *map = fresh();

    CHECK_ERR(mm_memmap_add(map, mm_phys(0), FRAME, MM_MEM_NONE), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_add(map, mm_phys(0), FRAME, (enum mm_mem_type)10), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_add(map, mm_phys(0), FRAME, (enum mm_mem_type)257), MM_ERR_BAD_ARG);
    CHECK_EQ(map->count, 0);
}

/* Each end of a range where arithmetic goes wrong: what is in the map afterwards, and what of a
 * usable range was dropped. */
TEST(memmap_add_of_usable_memory_at_every_edge)
{
    static const struct {
        uint64_t start, bytes, end, dropped;
    } row[] = {
        {0, 0, 0, 0},
        {0x5000, 0, 0, 0},
        {UINT64_MAX, 0, 0, 0},
        {0, 1, 1, 0},
        {0, FRAME, FRAME, 0},
        {0x1001, 0x7ff, 0x1800, 0},
        {GIB(4) - FRAME, 2 * FRAME, GIB(4) + FRAME, 0},
        {TOP - FRAME, FRAME, TOP, 0},
        {TOP - 1, 1, TOP, 0},
        {TOP - FRAME, FRAME + 1, TOP, 1},
        {TOP, FRAME, 0, FRAME},
        {TOP - 1, 2, TOP, 1},
        {UINT64_C(0x00007ffffffff000), 2 * FRAME, 0, 2 * FRAME},
        {UINT64_MAX, 1, 0, 0}, /* ends at 2^64: the last byte is beyond counting */
        {UINT64_MAX - 4095, 4096, 0, 4095},
        {UINT64_MAX - 4095, 4097, 0, 4095}, /* wraps by one */
        {0x1000, UINT64_MAX, TOP, UINT64_MAX - TOP},
        {0, UINT64_MAX, TOP, UINT64_MAX - TOP},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        struct mm_memmap *map = fresh();
        struct piece piece = {row[i].start, row[i].end, MM_MEM_USABLE, MM_USE_FREE, 0};

        mm_test_row("row", i);
        CHECK_OK(mm_memmap_add(map, mm_phys(row[i].start), row[i].bytes, MM_MEM_USABLE));
        map_is(map, &piece, row[i].end > row[i].start ? 1 : 0);
        CHECK_EQ(map->dropped_bytes, row[i].dropped);
        CHECK_EQ(mm_test_report_count(), 0);
    }
}

TEST(memmap_add_of_reserved_memory_at_every_edge_rounds_outwards)
{
    static const struct {
        uint64_t start, bytes, first, end;
        bool report;
    } row[] = {
        {0, 0, 0, 0, false},
        {0x1fff, 1, 0x1000, 0x2000, false},
        {0x1fff, 2, 0x1000, 0x3000, false},
        {0x1000, FRAME, 0x1000, 0x2000, false},
        {TOP - 1, 1, TOP - FRAME, TOP, false},
        {TOP - FRAME, 2 * FRAME, TOP - FRAME, TOP, true},
        {TOP, 1, 0, 0, true},
        {UINT64_MAX - FRAME, FRAME + 2, 0, 0, true}, /* wraps */
        {0x2800, UINT64_MAX, 0x2000, TOP, true},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        struct mm_memmap *map = fresh();
        struct piece piece = {row[i].first, row[i].end, MM_MEM_RESERVED, MM_USE_FREE, 0};

        mm_test_row("row", i);
        mm_test_reports_clear();
        CHECK_OK(mm_memmap_add(map, mm_phys(row[i].start), row[i].bytes, MM_MEM_RESERVED));
        map_is(map, &piece, row[i].end > row[i].first ? 1 : 0);
        CHECK_EQ(map->dropped_bytes, 0);
        CHECK_EQ(mm_test_report_count(), row[i].report ? 1 : 0);
        if (row[i].report)
            CHECK(mm_test_report(0)->kind == MM_REPORT_FIRMWARE);
    }
}

TEST(memmap_report_of_a_range_beyond_the_width_names_what_is_beyond)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_add(map, mm_phys(TOP - FRAME), 3 * FRAME, MM_MEM_DEVICE));
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "range beyond the physical width ignored");
    CHECK_EQ(mm_test_report(0)->address, TOP);
    CHECK_EQ(mm_test_report(0)->value[0], 2 * FRAME);
}

TEST(memmap_dropped_bytes_stop_at_the_largest_number)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_add(map, mm_phys(0), UINT64_MAX, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(map, mm_phys(0), UINT64_MAX, MM_MEM_USABLE));
    CHECK_EQ(map->dropped_bytes, UINT64_MAX);
}

TEST(memmap_greater_type_wins_for_each_pair_in_both_orders)
{
    for (unsigned a = MM_MEM_USABLE; a <= MM_MEM_BAD; a++) {
        for (unsigned b = MM_MEM_USABLE; b <= MM_MEM_BAD; b++) {
            struct mm_memmap *map = fresh();
            unsigned both = a > b ? a : b;
            /* 1 MiB    a       | both  |       b */
            struct piece piece[3] = {
                {MIB(1), MIB(2), a, 0, 0},
                {MIB(2), MIB(3), both, 0, 0},
                {MIB(3), MIB(4), b, 0, 0},
            };

            CHECK_OK(mm_memmap_add(map, mm_phys(MIB(1)), MIB(2), (enum mm_mem_type)a));
            CHECK_OK(mm_memmap_add(map, mm_phys(MIB(2)), MIB(2), (enum mm_mem_type)b));
            if (a == b) {
                piece[0].end = MIB(4);
                map_is(map, piece, 1);
            } else if (both == a) {
                piece[0].end = MIB(3);
                piece[1] = piece[2];
                map_is(map, piece, 2);
            } else {
                piece[1].end = MIB(4);
                map_is(map, piece, 2);
            }
        }
    }
}

TEST(memmap_overlaps_of_every_shape_are_resolved)
{
    struct mm_memmap *map = fresh(); /* contained, containing, identical, touching, one page over */

    CHECK_OK(mm_memmap_add(map, mm_phys(0x10000), 0x10000, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(map, mm_phys(0x14000), 0x1000, MM_MEM_RESERVED));
    MAP_IS(map, {{0x10000, 0x14000, MM_MEM_USABLE, 0, 0},
                 {0x14000, 0x15000, MM_MEM_RESERVED, 0, 0},
                 {0x15000, 0x20000, MM_MEM_USABLE, 0, 0}});
    CHECK_OK(mm_memmap_add(map, mm_phys(0x14000), 0x1000, MM_MEM_RESERVED));
    CHECK_OK(mm_memmap_add(map, mm_phys(0x10000), 0x10000, MM_MEM_USABLE));
    CHECK_EQ(map->count, 3);
    CHECK_OK(mm_memmap_add(map, mm_phys(0x1f000), 0x2000, MM_MEM_ACPI_NVS));
    CHECK_OK(mm_memmap_add(map, mm_phys(0xf000), 0x2000, MM_MEM_BAD));
    CHECK_OK(mm_memmap_add(map, mm_phys(0x21000), 0x1000, MM_MEM_ACPI_NVS));
    MAP_IS(map, {{0xf000, 0x11000, MM_MEM_BAD, 0, 0},
                 {0x11000, 0x14000, MM_MEM_USABLE, 0, 0},
                 {0x14000, 0x15000, MM_MEM_RESERVED, 0, 0},
                 {0x15000, 0x1f000, MM_MEM_USABLE, 0, 0},
                 {0x1f000, 0x22000, MM_MEM_ACPI_NVS, 0, 0}});
    CHECK_OK(mm_memmap_add(map, mm_phys(0), 0x40000, MM_MEM_BAD));
    MAP_IS(map, {{0, 0x40000, MM_MEM_BAD, 0, 0}});
}

TEST(memmap_unsorted_entries_with_holes_are_sorted)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_add(map, mm_phys(GIB(4)), GIB(1), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(map, mm_phys(0), 0x9fc00, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(map, mm_phys(0xfffc0000), 0x40000, MM_MEM_RESERVED));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(1)), GIB(2), MM_MEM_USABLE));
    MAP_IS(map, {{0, 0x9fc00, MM_MEM_USABLE, 0, 0},
                 {MIB(1), GIB(2) + MIB(1), MM_MEM_USABLE, 0, 0},
                 {0xfffc0000, GIB(4), MM_MEM_RESERVED, 0, 0},
                 {GIB(4), GIB(5), MM_MEM_USABLE, 0, 0}});
}

TEST(memmap_takes_more_than_512_entries)
{
    struct mm_memmap *map = fresh();

    for (uint64_t i = 0; i < 700; i++) /* every second one from the top, then the others */
        CHECK_OK(mm_memmap_add(map, mm_phys((1399 - 2 * i) * FRAME), FRAME, MM_MEM_USABLE));
    CHECK_EQ(map->count, 700);
    for (uint64_t i = 0; i < 700; i++)
        CHECK_OK(mm_memmap_add(map, mm_phys(2 * i * FRAME), FRAME, MM_MEM_ACPI_NVS));
    CHECK_EQ(map->count, 1400);
    CHECK_EQ(map_faults(map), 0);
    CHECK_OK(mm_memmap_finish(map));
    CHECK_EQ(map->count, 1400);
}

TEST(memmap_reserve_refuses_what_cannot_be_and_changes_nothing)
{
    struct mm_memmap *map = fresh();

    CHECK_ERR(mm_memmap_reserve(map, mm_phys(0), 1, MM_USE_FREE), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(0), 1, MM_USE_EARLY), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(0), 1, (enum mm_mem_use)9), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(TOP), 1, MM_USE_KEEP), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(TOP - 1), 2, MM_USE_KEEP), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(UINT64_MAX), 1, MM_USE_KEEP), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(1), UINT64_MAX, MM_USE_KEEP), MM_ERR_BAD_ARG);
    CHECK_OK(mm_memmap_reserve(map, mm_phys(UINT64_MAX), 0, MM_USE_KEEP));
    CHECK_EQ(map->count, 0);
}

TEST(memmap_reservation_rounds_outwards_and_may_lie_in_a_hole)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_reserve(map, mm_phys(0x1fff), 2, MM_USE_MODULE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(TOP - 1), 1, MM_USE_KEEP));
    MAP_IS(map, {{0x1000, 0x3000, MM_MEM_NONE, MM_USE_MODULE, 0},
                 {TOP - 0x1000, TOP, MM_MEM_NONE, MM_USE_KEEP, 0}});
    CHECK_OK(mm_memmap_add(map, mm_phys(0), 0x2800, MM_MEM_USABLE));
    MAP_IS(map, {{0, 0x1000, MM_MEM_USABLE, MM_USE_FREE, 0},
                 {0x1000, 0x2800, MM_MEM_USABLE, MM_USE_MODULE, 0},
                 {0x2800, 0x3000, MM_MEM_NONE, MM_USE_MODULE, 0},
                 {TOP - 0x1000, TOP, MM_MEM_NONE, MM_USE_KEEP, 0}});
}

TEST(memmap_greater_use_wins_in_both_orders)
{
    static const enum mm_mem_use use[] = {MM_USE_BOOT,        MM_USE_BOOTINFO,    MM_USE_MODULE,
                                          MM_USE_MODULE_INFO, MM_USE_FRAMEBUFFER, MM_USE_IMAGE,
                                          MM_USE_KEEP};

    for (size_t a = 0; a < LENGTH(use); a++) {
        for (size_t b = 0; b < LENGTH(use); b++) {
            struct mm_memmap *map = fresh();
            struct mm_mem_range found;

            CHECK_OK(mm_memmap_add(map, mm_phys(0), MIB(8), MM_MEM_USABLE));
            CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(1)), MIB(2), use[a]));
            CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(2)), MIB(2), use[b]));
            CHECK_OK(mm_memmap_find(map, mm_phys(MIB(2)), &found));
            CHECK_EQ(found.use, use_join(use[a], use[b]));
            CHECK_EQ(found.type, MM_MEM_USABLE);
        }
    }
}

TEST(memmap_reserve_pc_keeps_what_a_pc_needs)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(0)));
    MAP_IS(map, {{0, 0x1000, MM_MEM_NONE, MM_USE_KEEP, 0},
                 {0xa0000, 0x100000, MM_MEM_NONE, MM_USE_KEEP, 0}});
    map = fresh();
    CHECK_OK(mm_memmap_add(map, mm_phys(0), 0x9fc00, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(0x9fc00)));
    MAP_IS(map, {{0, 0x1000, MM_MEM_USABLE, MM_USE_KEEP, 0},
                 {0x1000, 0x9f000, MM_MEM_USABLE, MM_USE_FREE, 0},
                 {0x9f000, 0x9fc00, MM_MEM_USABLE, MM_USE_KEEP, 0},
                 {0x9fc00, 0x100000, MM_MEM_NONE, MM_USE_KEEP, 0}});
}

TEST(memmap_reserve_pc_with_a_strange_ebda)
{
    struct mm_memmap *map = fresh();

    CHECK_ERR(mm_memmap_reserve_pc(map, mm_phys(0xa0001)), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_memmap_reserve_pc(map, mm_phys(UINT64_MAX)), MM_ERR_BAD_ARG);
    CHECK_EQ(map->count, 0);
    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(1))); /* in frame 0: all of the first MiB */
    MAP_IS(map, {{0, 0x100000, MM_MEM_NONE, MM_USE_KEEP, 0}});
    map = map_init(&m, ROOM, 19); /* 512 KiB of addresses */
    CHECK_ERR(mm_memmap_reserve_pc(map, mm_phys(0)), MM_ERR_BAD_ARG);
    CHECK_EQ(map->count, 0);
}

TEST(memmap_node_is_set_on_what_is_described_and_only_then)
{
    struct mm_memmap *map = fresh();

    CHECK_ERR(mm_memmap_set_node(map, mm_phys(0), 1, MM_NODES_MAX), MM_ERR_BAD_ARG);
    CHECK_OK(mm_memmap_add(map, mm_phys(0), MIB(4), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(8)), MIB(1), MM_USE_KEEP));
    CHECK_OK(mm_memmap_set_node(map, mm_phys(MIB(2)), MIB(20), 63));
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0), 0, 5)); /* lists have empty ranges */
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(4)), MIB(1), MM_MEM_USABLE));
    MAP_IS(map, {{0, MIB(2), MM_MEM_USABLE, 0, 0},
                 {MIB(2), MIB(4), MM_MEM_USABLE, 0, 63},
                 {MIB(4), MIB(5), MM_MEM_USABLE, 0, 0},
                 {MIB(8), MIB(9), MM_MEM_NONE, MM_USE_KEEP, 0}});
    CHECK_OK(mm_memmap_set_node(map, mm_phys(MIB(2)), UINT64_MAX, 0));
    MAP_IS(map, {{0, MIB(5), MM_MEM_USABLE, 0, 0}, {MIB(8), MIB(9), MM_MEM_NONE, MM_USE_KEEP, 0}});
}

TEST(memmap_frame_belongs_to_the_node_of_its_first_byte)
{
    struct mm_memmap *map = fresh();

    CHECK_OK(mm_memmap_add(map, mm_phys(0), 0x8000, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0), 0x2800, 1));
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0x2800), 0x2800, 2));
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0x5001), 0xffe, 3)); /* no first byte of a frame */
    CHECK_OK(mm_memmap_set_node(map, mm_phys(TOP), FRAME, 4));
    MAP_IS(map, {{0, 0x3000, MM_MEM_USABLE, 0, 1},
                 {0x3000, 0x5000, MM_MEM_USABLE, 0, 2},
                 {0x5000, 0x8000, MM_MEM_USABLE, 0, 0}});
}

TEST(memmap_find_finds_each_byte_of_a_range_and_no_other)
{
    struct mm_memmap *map = fresh();
    struct mm_mem_range found = {.bytes = 77};

    CHECK_ERR(mm_memmap_find(map, mm_phys(0), &found), MM_ERR_NOT_FOUND);
    for (uint64_t i = 0; i < 9; i++)
        CHECK_OK(mm_memmap_add(map, mm_phys(MIB(2 * i + 1)), 0x1800, MM_MEM_USABLE));
    for (uint64_t i = 0; i < 9; i++) {
        uint64_t start = MIB(2 * i + 1);

        CHECK_OK(mm_memmap_find(map, mm_phys(start), &found));
        CHECK_EQ(found.start.raw, start);
        CHECK_OK(mm_memmap_find(map, mm_phys(start + 0x17ff), &found));
        CHECK_EQ(found.start.raw, start);
        found.bytes = 77;
        CHECK_ERR(mm_memmap_find(map, mm_phys(start - 1), &found), MM_ERR_NOT_FOUND);
        CHECK_ERR(mm_memmap_find(map, mm_phys(start + 0x1800), &found), MM_ERR_NOT_FOUND);
        CHECK_EQ(found.bytes, 77); /* untouched */
    }
    CHECK_ERR(mm_memmap_find(map, mm_phys(UINT64_MAX), &found), MM_ERR_NOT_FOUND);
}

TEST(memmap_states_go_forward_and_refuse_the_rest)
{
    struct mm_memmap *map = fresh();
    struct mm_memmap_request request = {.bytes = FRAME};
    mm_phys_t out = mm_phys(1);

    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(1)), MIB(1), MM_MEM_USABLE));
    CHECK_ERR(mm_memmap_take(map, &request, &out), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_give(map, mm_phys(MIB(1)), FRAME), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_close(map), MM_ERR_BUSY);
    CHECK_OK(mm_memmap_finish(map));
    CHECK_ERR(mm_memmap_finish(map), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_add(map, mm_phys(0), FRAME, MM_MEM_USABLE), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_set_node(map, mm_phys(0), FRAME, 1), MM_ERR_BUSY);
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(1)), 1, MM_USE_IMAGE));
    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(0)));
    CHECK_OK(mm_memmap_close(map));
    CHECK_ERR(mm_memmap_close(map), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_reserve(map, mm_phys(MIB(1)), 1, MM_USE_IMAGE), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_reserve_pc(map, mm_phys(0)), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_take(map, &request, &out), MM_ERR_BUSY);
    CHECK_ERR(mm_memmap_give(map, mm_phys(MIB(1)), FRAME), MM_ERR_BUSY);
    CHECK_EQ(out.raw, 1);
    CHECK_EQ(map_faults(map), 0);
}

TEST(memmap_totals_add_up)
{
    struct mm_memmap *map = fresh();
    struct mm_memmap_totals t = {.free_bytes = 1};

    mm_memmap_get_totals(map, &t);
    CHECK_EQ(t.usable_bytes | t.free_bytes | t.ram_bytes | t.ram_end.raw | t.reclaim_bytes, 0);
    CHECK_OK(mm_memmap_add(map, mm_phys(0), MIB(16), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(16)), MIB(1), MM_MEM_BOOT_RECLAIM));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(17)), MIB(1), MM_MEM_ACPI_RECLAIM));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(18)), MIB(1), MM_MEM_ACPI_NVS));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(19)), MIB(1), MM_MEM_RUNTIME));
    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(20)), MIB(1), MM_MEM_PERSISTENT));
    CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(0)));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(2)), MIB(1), MM_USE_IMAGE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(4)), MIB(2), MM_USE_MODULE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(6)), FRAME, MM_USE_BOOTINFO));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(16)), FRAME, MM_USE_IMAGE));
    CHECK_OK(mm_memmap_finish(map));
    mm_memmap_get_totals(map, &t);
    CHECK_EQ(t.usable_bytes, MIB(16));
    CHECK_EQ(t.free_bytes, MIB(13) - FRAME - KIB(4) - KIB(384));
    CHECK_EQ(t.low_bytes, KIB(640 - 4));
    CHECK_EQ(t.reclaim_bytes, MIB(4)); /* module, information; loader, ACPI but one frame */
    CHECK_EQ(t.ram_bytes, MIB(19));
    CHECK_EQ(t.ram_end.raw, MIB(19));
}
