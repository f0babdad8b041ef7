/*
 * test_start_pmm.c - what mm_start() passes on to the PMM, and how its tables use it.
 *
 * Problem     A number that start-up forgets to pass on fails nothing; memory is merely gone sooner,
 *             or taken from the wrong node.
 * Idea        Each is seen by its effect: what ordinary requests leave, which node helps out, whether
 *             RAM can be added, and what is in stock after a mapping or after a CPU has left.
 */
#include "boot_machine.h"

static struct boot_machine m;
static struct mm mm;
static struct mm_start_failure why;

static void start_dump(const char *name)
{
    size_t i = 0;

    while (i < BOOT_DUMPS && strcmp(boot_dumps[i].name, name) != 0)
        i++;
    CHECK(i < BOOT_DUMPS);
    boot_from_dump(&m, &boot_dumps[i]);
}

static enum mm_err start(void)
{
    enum mm_err err;

    memset(&mm, 0, sizeof mm);
    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    return err;
}

/* Frames that ordinary requests for one frame can have. */
static uint64_t take_ordinary(void)
{
    mm_phys_t frame;
    uint64_t count = 0;

    while (mm_pmm_alloc_frame(&mm.pmm, &frame) == MM_OK)
        count++;
    return count;
}

TEST(what_is_kept_in_reserve_is_for_page_tables)
{
    const struct mm_frame_request reserve = {.flags = MM_FRAME_RESERVE};
    struct mm_map_request map = {.bytes = PAGE, .prot = MM_PROT_RW};
    struct mm_pmm_stats stats;
    mm_phys_t frame;
    uint64_t free;

    start_dump("bios-64M");
    m.info.pmm_flags = MM_PMM_NO_FLOORS;
    m.info.reserve_frames = 100;
    CHECK_OK(start());
    mm_pmm_get_stats(&mm.pmm, &stats);
    free = stats.free_frames - stats.zone_free_frames[MM_ZONE_LOW];
    CHECK_EQ(take_ordinary(), free - 100);

    map.virt = mm_virt_add(m.layout.kernel_area.start, GIB(1));
    CHECK_OK(mm_space_map(&mm.kernel, &map, NULL));
    CHECK(mm_pmm_free_frames(&mm.pmm) - stats.zone_free_frames[MM_ZONE_LOW] < 100);
    CHECK(mm_heap_alloc(&mm.heap, 1 << 20) == NULL);
    while (mm_pmm_alloc(&mm.pmm, &reserve, &frame) == MM_OK)
        continue;
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), stats.zone_free_frames[MM_ZONE_LOW]);
    map.virt = mm_virt_add(m.layout.kernel_area.start, GIB(2));
    CHECK_ERR(mm_space_map(&mm.kernel, &map, NULL), MM_ERR_NO_MEMORY);
}

TEST(lower_zone_keeps_a_floor_unless_the_kernel_wants_none)
{
    uint64_t without, with;

    start_dump("bios-512M");
    CHECK_OK(start());
    with = take_ordinary();
    start_dump("bios-512M");
    m.info.pmm_flags = MM_PMM_NO_FLOORS;
    CHECK_OK(start());
    without = take_ordinary();
    CHECK(without > with + 100);
}

TEST(tables_come_from_the_stock_of_the_cpu)
{
    struct mm_map_request map = {.bytes = PAGE, .prot = MM_PROT_RW};
    struct mm_pmm_stats before, after;
    mm_phys_t frame;

    start_dump("bios-512M");
    CHECK_OK(start());
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame)); /* fills it */
    mm_pmm_get_stats(&mm.pmm, &before);
    CHECK(before.magazine_frames > 2);
    map.virt = mm_virt_add(m.layout.kernel_area.start, GIB(1));
    CHECK_OK(mm_space_map(&mm.kernel, &map, NULL));
    mm_pmm_get_stats(&mm.pmm, &after);
    CHECK(after.free_frames < before.free_frames);
    CHECK_EQ(before.magazine_frames - after.magazine_frames,
             before.free_frames - after.free_frames);
}

TEST(memory_plugged_in_later_needs_room_that_start_was_told_of)
{
    uint64_t before;

    start_dump("bios-64M");
    CHECK_OK(start());
    CHECK_ERR(mm_pmm_add_ram(&mm.pmm, mm_phys(GIB(4)), MIB(64), 0), MM_ERR_NO_ROOM);

    start_dump("bios-64M");
    m.info.hotplug_bytes = MIB(64);
    CHECK_OK(start());
    before = mm_pmm_free_frames(&mm.pmm);
    CHECK_OK(mm_pmm_add_ram(&mm.pmm, mm_phys(GIB(4)), MIB(64), 0));
    CHECK_EQ(mm_pmm_free_frames(&mm.pmm), before + MIB(64) / PAGE);
    CHECK_EQ(mm_pmm_check(&mm.pmm, NULL), 0);
}

/* Three nodes; node 2 is nearer to node 0 than node 1 is, or the other way round. */
static uint64_t second_choice(const uint8_t *distance)
{
    static struct mm_mem_range storage[32];
    const struct mm_frame_request request = {.order = MM_ORDER_2M, .flags = MM_FRAME_NODE};
    mm_phys_t block = mm_phys(0);

    boot_begin(&m, MIB(192));
    memset(&mm, 0, sizeof mm);
    CHECK_OK(mm_memmap_init(&mm.map, storage, 32, 46));
    CHECK_OK(mm_memmap_add(&mm.map, mm_phys(0), MIB(192), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_set_node(&mm.map, mm_phys(MIB(64)), MIB(64), 1));
    CHECK_OK(mm_memmap_set_node(&mm.map, mm_phys(MIB(128)), MIB(64), 2));
    m.info.distance = distance;
    m.info.distance_nodes = 3;
    CHECK_OK(mm_start(&mm, &m.info, &why));
    do
        CHECK_OK(mm_pmm_alloc(&mm.pmm, &request, &block));
    while (block.raw < MIB(64));
    return block.raw / MIB(64);
}

TEST(nodes_help_out_in_the_order_of_their_distance)
{
    static const uint8_t far_first[] = {10, 40, 20, 40, 10, 30, 20, 30, 10};
    static const uint8_t near_first[] = {10, 20, 40, 20, 10, 30, 40, 30, 10};

    CHECK_EQ(second_choice(far_first), 2);
    CHECK_EQ(second_choice(near_first), 1);
}

TEST(cpu_that_leaves_gives_back_what_it_has_in_stock)
{
    struct mm_pmm_stats stats;
    mm_phys_t frame;

    start_dump("bios-512M");
    m.info.cpu_count = 2;
    CHECK_OK(start());
    CHECK_OK(mm_pmm_drain(&mm.pmm, 0));
    fake_cpu_set(1);
    CHECK_OK(mm_cpu_init(&mm.vmm, 1));
    mm_pmm_serve(&mm.pmm); /* what the drain asked of it */
    CHECK_OK(mm_pmm_alloc_frame(&mm.pmm, &frame));
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK(stats.magazine_frames > 0);
    CHECK_OK(mm_cpu_exit(&mm.vmm, 1));
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK_EQ(stats.magazine_frames, 0);

    /* what it took after that can be had without asking it */
    CHECK_OK(mm_pmm_free_frame(&mm.pmm, frame));
    mm_pmm_park(&mm.pmm);
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK(stats.magazine_frames > 0);
    fake_cpu_set(0);
    CHECK_OK(mm_pmm_drain(&mm.pmm, 0));
    mm_pmm_get_stats(&mm.pmm, &stats);
    CHECK_EQ(stats.magazine_frames, 0);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}
