/*
 * test_finish.c - from bytes to frames.
 */
#include "map_test.h"

#define BITS 36u

static struct map m;

static struct mm_memmap *fresh(void)
{
    return map_init(&m, ROOM, BITS);
}

static void add(uint64_t start, uint64_t end, enum mm_mem_type type)
{
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(start), end - start, type));
}

TEST(finish_shrinks_usable_ranges_and_grows_others)
{
    struct mm_memmap *map = fresh();

    add(0, 0x9fc00, MM_MEM_USABLE); /* the classic one: EBDA inside a frame */
    add(0x9fc00, 0xa0000, MM_MEM_RESERVED);
    add(0x100001, 0x7fffff, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0, 0x9f000, MM_MEM_USABLE, 0, 0},
                 {0x9f000, 0xa0000, MM_MEM_RESERVED, 0, 0},
                 {0x101000, 0x7ff000, MM_MEM_USABLE, 0, 0}});
}

TEST(finish_keeps_a_frame_whose_usable_parts_add_up)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x2400, MM_MEM_USABLE);
    add(0x2c00, 0x4000, MM_MEM_USABLE);
    add(0x2400, 0x2c00, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x4000, MM_MEM_USABLE, 0, 0}});
}

TEST(finish_drops_a_frame_with_a_gap_of_one_byte)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x2800, MM_MEM_USABLE);
    add(0x2801, 0x4000, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x2000, MM_MEM_USABLE, 0, 0}, {0x3000, 0x4000, MM_MEM_USABLE, 0, 0}});
}

TEST(finish_gives_a_reserved_frame_that_is_usable_in_part_no_usable_byte)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x2800, MM_MEM_USABLE);
    add(0x4800, 0x6000, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_reserve(map, mm_phys(0x2000), 1, MM_USE_MODULE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(0x4000), 1, MM_USE_KEEP));
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x2000, MM_MEM_USABLE, 0, 0},
                 {0x2000, 0x3000, MM_MEM_NONE, MM_USE_MODULE, 0},
                 {0x4000, 0x5000, MM_MEM_NONE, MM_USE_KEEP, 0},
                 {0x5000, 0x6000, MM_MEM_USABLE, 0, 0}});
}

TEST(finish_takes_the_greatest_type_of_a_shared_frame)
{
    struct mm_memmap *map = fresh(); /* a frame of five parts */

    add(0x1000, 0x9000, MM_MEM_USABLE);
    add(0x3000, 0x3100, MM_MEM_ACPI_RECLAIM);
    add(0x3100, 0x3140, MM_MEM_ACPI_NVS); /* entries of 64 bytes exist */
    add(0x3140, 0x3141, MM_MEM_PERSISTENT);
    add(0x3800, 0x4000, MM_MEM_ACPI_RECLAIM);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x3000, MM_MEM_USABLE, 0, 0},
                 {0x3000, 0x4000, MM_MEM_PERSISTENT, 0, 0},
                 {0x4000, 0x9000, MM_MEM_USABLE, 0, 0}});
}

TEST(finish_lends_no_frame_that_reclaimable_memory_covers_in_part)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x4000, MM_MEM_USABLE);
    add(0x4000, 0x5100, MM_MEM_ACPI_RECLAIM); /* then a hole */
    add(0x6f00, 0x9800, MM_MEM_BOOT_RECLAIM); /* holes on both sides */
    add(0xa000, 0xb400, MM_MEM_ACPI_RECLAIM);
    add(0xb400, 0xb401, MM_MEM_DEVICE); /* a greater type in the rest */
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x4000, MM_MEM_USABLE, 0, 0},
                 {0x4000, 0x5000, MM_MEM_ACPI_RECLAIM, 0, 0},
                 {0x5000, 0x7000, MM_MEM_ACPI_NVS, 0, 0},
                 {0x7000, 0x9000, MM_MEM_BOOT_RECLAIM, 0, 0},
                 {0x9000, 0xa000, MM_MEM_ACPI_NVS, 0, 0},
                 {0xa000, 0xb000, MM_MEM_ACPI_RECLAIM, 0, 0},
                 {0xb000, 0xc000, MM_MEM_DEVICE, 0, 0}});
}

TEST(finish_lends_a_frame_that_neighbours_complete_with_memory)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x4200, MM_MEM_USABLE);
    add(0x4200, 0x5100, MM_MEM_ACPI_RECLAIM);
    add(0x5100, 0x8000, MM_MEM_BOOT_RECLAIM);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x4000, MM_MEM_USABLE, 0, 0},
                 {0x4000, 0x5000, MM_MEM_ACPI_RECLAIM, 0, 0},
                 {0x5000, 0x6000, MM_MEM_ACPI_NVS, 0, 0}, /* no one word may give it away */
                 {0x6000, 0x8000, MM_MEM_BOOT_RECLAIM, 0, 0}});
}

TEST(finish_without_room_for_the_frames_that_nobody_gets_changes_nothing)
{
    for (uint32_t capacity = 2; capacity <= 5; capacity++) {
        struct mm_memmap *map = map_init(&m, capacity, BITS);
        static struct map before;

        add(0x1000, 0x2000, MM_MEM_USABLE);
        add(0x4800, 0x7800, MM_MEM_ACPI_RECLAIM); /* becomes three pieces */
        before = m;
        if (capacity >= 4) {
            CHECK_OK(mm_memmap_finish(map));
            CHECK_EQ(map->count, 4);
            continue;
        }
        CHECK_ERR(mm_memmap_finish(map), MM_ERR_NO_ROOM);
        CHECK(memcmp(&before, &m, sizeof m) == 0);
    }
}

TEST(finish_gives_a_frame_the_node_of_its_first_byte)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x2800, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0), 0x10000, 3));
    add(0x2800, 0x5000, MM_MEM_USABLE); /* node 0: added later */
    add(0x5800, 0x6000, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0x5000), 0x1000, 7));
    add(0x5000, 0x6000, MM_MEM_RESERVED);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x3000, MM_MEM_USABLE, 0, 3},
                 {0x3000, 0x5000, MM_MEM_USABLE, 0, 0},
                 {0x5000, 0x6000, MM_MEM_RESERVED, 0, 0}});
    map = fresh();
    add(0x1000, 0x2000, MM_MEM_USABLE);
    add(0x2800, 0x3800, MM_MEM_ACPI_RECLAIM);
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0), 0x10000, 3));
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x2000, MM_MEM_USABLE, 0, 3},
                 {0x2000, 0x3000, MM_MEM_ACPI_NVS, 0, 0}, /* begins with a hole */
                 {0x3000, 0x4000, MM_MEM_ACPI_NVS, 0, 3}});
}

/* What leaves nothing to hand out; the map stays open and as it was. */
TEST(finish_without_a_usable_free_frame_is_not_found)
{
    for (unsigned i = 0; i < 7; i++) {
        struct mm_memmap *map = fresh();
        struct map before;

        mm_test_row("case", i);
        if (i == 1)
            add(0, MIB(64), MM_MEM_RESERVED);
        if (i == 2)
            add(0x1001, 0x2fff, MM_MEM_USABLE); /* not one whole frame */
        if (i == 3) {
            add(0x1000, 0x1800, MM_MEM_USABLE);
            add(0x1801, 0x2000, MM_MEM_USABLE);
        }
        if (i == 4) {
            add(0x1000, 0x3000, MM_MEM_USABLE);
            CHECK_OK(mm_memmap_reserve(map, mm_phys(0x1fff), 2, MM_USE_IMAGE));
        }
        if (i == 5)
            add(0, MIB(64), MM_MEM_BOOT_RECLAIM);
        if (i == 6) {
            add(0x1000, 0x2000, MM_MEM_USABLE);
            add(0x1fff, 0x2000, MM_MEM_BAD);
        }
        before = m;
        CHECK_ERR(mm_memmap_finish(map), MM_ERR_NOT_FOUND);
        CHECK(memcmp(&before, &m, sizeof m) == 0);
        add(MIB(64), MIB(64) + FRAME, MM_MEM_USABLE); /* one usable frame */
        CHECK_OK(mm_memmap_finish(map));
    }
}

TEST(finish_finds_the_only_frame_where_two_nodes_meet)
{
    struct mm_memmap *map = fresh();

    add(0x1000, 0x1800, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_set_node(map, mm_phys(0), 0x10000, 3));
    add(0x1800, 0x2000, MM_MEM_USABLE);
    CHECK_EQ(map->count, 2);
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0x1000, 0x2000, MM_MEM_USABLE, 0, 3}});
}

TEST(finish_reaches_the_end_of_the_physical_addresses)
{
    struct mm_memmap *map = map_init(&m, ROOM, 63);

    add(0, UINT64_C(1) << 63, MM_MEM_USABLE);
    CHECK_OK(mm_memmap_reserve(map, mm_phys((UINT64_C(1) << 63) - 1), 1, MM_USE_KEEP));
    CHECK_OK(mm_memmap_finish(map));
    MAP_IS(map, {{0, (UINT64_C(1) << 63) - 0x1000, MM_MEM_USABLE, 0, 0},
                 {(UINT64_C(1) << 63) - 0x1000, UINT64_C(1) << 63, MM_MEM_USABLE, MM_USE_KEEP, 0}});
}
