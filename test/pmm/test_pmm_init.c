/*
 * test_pmm_init.c - from maps to PMMs: sizes, refused configurations, odd machines.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

/* A map with 16 MiB of RAM at 1 MiB, not finished. */
static void collecting_map(void)
{
    CHECK_OK(mm_memmap_init(&machine.map, machine.storage, FIXTURE_RANGES, 52));
    CHECK_OK(mm_memmap_add(&machine.map, at(0x100), 16u << 20, MM_MEM_USABLE));
}

/* What a PMM of one CPU over the map needs. */
static enum mm_err bytes_for(struct mm_memmap *map, uint32_t cpus, uint64_t *out)
{
    return mm_pmm_meta_bytes(&(struct mm_pmm_config){.map = map, .cpu_count = cpus}, out);
}

static const struct fixture_range plain[] = {RAM(0x100, 0x1000)};

TEST(pmm_meta_bytes_refuses_maps_that_are_not_finished_and_odd_counts)
{
    uint64_t bytes = 77, all;

    collecting_map();
    CHECK_ERR(bytes_for(&machine.map, 1, &bytes), MM_ERR_BAD_ARG);
    fixture_map(&machine, plain, 1);
    CHECK_ERR(bytes_for(NULL, 1, &bytes), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_meta_bytes(NULL, &bytes), MM_ERR_BAD_ARG);
    CHECK_ERR(bytes_for(&machine.map, 1, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(bytes_for(&machine.map, 0, &bytes), MM_ERR_BAD_ARG);
    CHECK_ERR(bytes_for(&machine.map, MM_CPUS_MAX + 1, &bytes), MM_ERR_BAD_ARG);
    CHECK_EQ(bytes, 77);
    CHECK_OK(bytes_for(&machine.map, 1, &bytes));
    CHECK_OK(bytes_for(&machine.map, MM_CPUS_MAX, &all));
    CHECK_EQ(all - bytes, (MM_CPUS_MAX - 1) * sizeof(struct mm_pmm_cpu));
}

TEST(pmm_meta_bytes_grow_with_memory_and_not_with_its_address)
{
    static const struct fixture_range low[] = {RAM(0x1000, 0x40000)}; /* 1 GiB */
    static const struct fixture_range high[] = {RAM(UINT64_C(1) << 39, 0x40000)};
    static const struct fixture_range twice[] = {RAM(0x100000, 0x80000)};
    static const struct fixture_range near[] = {RAM(0x200, 1), RAM(0x100000, 1)};
    static const struct fixture_range split[] = {RAM(0x200, 1), RAM(UINT64_C(1) << 39, 1)};
    uint64_t owners = MM_PMM_OWNERS ? 0x40000 : 0;
    uint64_t low_bytes, high_bytes, near_bytes, split_bytes;

    fixture_map(&machine, low, 1);
    CHECK_OK(bytes_for(&machine.map, 1, &low_bytes));
    fixture_map(&machine, high, 1);
    CHECK_OK(bytes_for(&machine.map, 1, &high_bytes));
    CHECK_EQ(low_bytes, high_bytes);
    fixture_map(&machine, near, 2);
    CHECK_OK(bytes_for(&machine.map, 1, &near_bytes));
    fixture_map(&machine, split, 2);
    CHECK_OK(bytes_for(&machine.map, 1, &split_bytes));
    CHECK_EQ(near_bytes, split_bytes);
    CHECK(near_bytes < low_bytes);

    /* what the header promises for each GiB, without and with a window */
    fake_ram_add(at(0x1000), UINT64_C(1) << 30);
    fake_ram_add(at(0x100000), UINT64_C(2) << 30);
    fixture_map(&machine, twice, 1);
    CHECK_OK(bytes_for(&machine.map, 1, &high_bytes));
    CHECK(high_bytes - low_bytes <= 102 * 1024 + owners);
    CHECK_OK(mm_pmm_meta_bytes(
        &(struct mm_pmm_config){.map = &machine.map, .cpu_count = 1, .window = fake_window()},
        &high_bytes));
    fixture_map(&machine, low, 1);
    CHECK_OK(mm_pmm_meta_bytes(
        &(struct mm_pmm_config){.map = &machine.map, .cpu_count = 1, .window = fake_window()},
        &low_bytes));
    CHECK(high_bytes - low_bytes <= 44 * 1024 + owners);
}

TEST(pmm_makes_each_chunk_with_memory_once)
{
    static const struct {
        struct fixture_range range[3];
        uint32_t regions, chunks, pools;
    } row[] = {
        {{RAM(0x200, 0x200)}, 1, 1, 1},                                /* exactly a chunk */
        {{RAM(0x1ff, 1)}, 1, 1, 1},                                    /* its last frame */
        {{RAM(0x1ff, 2)}, 1, 2, 1},                                    /* both sides of a border */
        {{RAM(0x200, 0x201)}, 1, 2, 1},                                /* one frame more */
        {{RAM(0x200, 1), RAM(0x3ff, 1)}, 1, 1, 1},                     /* two ranges in one chunk */
        {{RAM(0x200, 1), RAM(0x400, 1)}, 1, 2, 1},                     /* chunks that touch */
        {{RAM(0x200, 1), RAM(0x5ff, 2), RAM(0xa00, 1)}, 2, 4, 1},      /* one without memory */
        {{RAM(0x200, 1), {0x400, 1, MM_MEM_RESERVED, 0, 0}}, 1, 1, 1}, /* no memory at all */
        {{RAM(0x200, 1), {0x400, 1, MM_MEM_ACPI_NVS, 0, 0}}, 1, 2, 1}, /* not usable, but RAM */
        {{RAM(0xff, 2)}, 2, 2, 2},    /* zones meet within 2 MiB: a chunk for each */
        {{RAM(0xfff, 2)}, 2, 2, 2},   /* at 16 MiB */
        {{RAM(0xfffff, 2)}, 2, 2, 2}, /* at 4 GiB */
        {{RAM(0x2000, 8), {0x2008, 8, MM_MEM_USABLE, 0, 1}}, 2, 2, 2}, /* nodes meet */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        size_t count = 0;

        mm_test_row("map", i);
        while (count < 3 && row[i].range[count].frames != 0)
            count++;
        fixture_map(&machine, row[i].range, count);
        fixture_start(&machine, NULL);
        CHECK_EQ(machine.pmm.region_count, row[i].regions);
        CHECK_EQ(machine.pmm.chunk_count, row[i].chunks);
        CHECK_EQ(machine.pmm.pool_count, row[i].pools);
    }
}

/* The metadata are taken from the map after they were sized, wherever there is room for them. */
TEST(pmm_meta_bytes_stay_right_when_the_metadata_are_taken_from_the_map)
{
    static const uint64_t highest[] = {0, 0x10a0fff, 0x1009fff, 0x800fff, 0x6fefff, 0x2fffff};

    for (size_t i = 0; i < sizeof highest / sizeof highest[0]; i++) {
        struct mm_memmap_request request = {.highest = mm_phys(highest[i]), .use = MM_USE_KEEP};
        uint64_t bytes;
        mm_phys_t where;

        mm_test_row("place", i);
        fixture_map(&machine, plain, 1);
        CHECK_OK(mm_memmap_reserve(&machine.map, at(0x200), 4096, MM_USE_MODULE));
        CHECK_OK(bytes_for(&machine.map, 1, &bytes));
        request.bytes = bytes;
        CHECK_OK(mm_memmap_take(&machine.map, &request, &where));
        CHECK_OK(mm_memmap_reserve(&machine.map, at(0x90000), 4096, MM_USE_FRAMEBUFFER));
        free(machine.meta);
        machine.meta = malloc(bytes);
        CHECK_OK(mm_pmm_init(&machine.pmm, &(struct mm_pmm_config){.map = &machine.map,
                                                                   .meta = machine.meta,
                                                                   .meta_bytes = bytes,
                                                                   .cpu_count = 1}));
        CHECK_EQ(state_of(&machine, mm_frame_of(where)), MM_FRAME_UNMANAGED);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

TEST(pmm_init_refuses_each_wrong_configuration_and_leaves_the_map_open)
{
    static uint64_t meta[65536];
    struct mm_pmm_config good = {
        .map = &machine.map, .meta = meta, .meta_bytes = sizeof meta, .cpu_count = 1};
    uint64_t bytes;
    mm_phys_t out;

    fixture_map(&machine, plain, 1);
    CHECK_OK(bytes_for(&machine.map, 1, &bytes));
    CHECK(bytes <= sizeof meta);
    for (unsigned i = 0; i < 12; i++) {
        struct mm_pmm_config config = good;
        enum mm_err err = MM_ERR_BAD_ARG;
        struct mm_pmm *pmm = &machine.pmm;

        switch (i) {
        case 0:
            pmm = NULL;
            break;
        case 1:
            config.map = NULL;
            break;
        case 2:
            config.meta = NULL;
            break;
        case 3:
            config.cpu_count = 0;
            break;
        case 4:
            config.cpu_count = MM_CPUS_MAX + 1;
            break;
        case 5:
            config.meta = (char *)meta + 4;
            break;
        case 6:
            config.meta_bytes = bytes - 2 * sizeof(struct mm_pmm_hole) - 1; /* see I2 of init.c */
            err = MM_ERR_NO_ROOM;
            break;
        case 7:
            config.meta_bytes = 0;
            err = MM_ERR_NO_ROOM;
            break;
        case 8:
            config.pin = MM_PIN_PREEMPT; /* no mm_host_preempt_off() on the host */
            err = MM_ERR_UNSUPPORTED;
            break;
        case 9:
            config.flags = MM_PMM_NO_FLOORS << 1;
            break;
        case 10:
            config.distance_nodes = 1; /* rows of nothing */
            break;
        default:
            config.pin = (enum mm_pin)4;
            break;
        }
        mm_test_row("configuration", i);
        memset(&machine.pmm, 0x5a, sizeof machine.pmm);
        memset(meta, 0x5a, sizeof meta);
        CHECK_ERR(mm_pmm_init(pmm, &config), err);
        CHECK_EQ(*(unsigned char *)&machine.pmm, 0x5a);
        CHECK_EQ(*(unsigned char *)meta, 0x5a);
    }
    CHECK_ERR(mm_pmm_init(&machine.pmm, NULL), MM_ERR_BAD_ARG);

    /* the map still serves, until a PMM is built */
    CHECK_OK(mm_memmap_take(&machine.map, &(struct mm_memmap_request){.bytes = 1}, &out));
    good.cpu_count = MM_CPUS_MAX;
    CHECK_OK(mm_pmm_meta_bytes(&good, &good.meta_bytes));
    free(machine.meta);
    good.meta = machine.meta = malloc(good.meta_bytes);
    CHECK_OK(mm_pmm_init(&machine.pmm, &good));
    CHECK_ERR(mm_memmap_take(&machine.map, &(struct mm_memmap_request){.bytes = 1}, &out),
              MM_ERR_BUSY);
    CHECK_ERR(mm_pmm_init(&machine.pmm, &good), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_is_built_with_each_pin_that_this_host_has)
{
    static const enum mm_pin pin[] = {MM_PIN_IRQ, MM_PIN_LOCK, MM_PIN_NONE};
    mm_phys_t out;

    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("pin", i);
        fixture_map(&machine, plain, 1);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1, .pin = pin[i]});
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x1000);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

TEST(pmm_init_refuses_a_map_that_is_not_finished)
{
    static uint64_t meta[65536];
    struct mm_pmm_config config = {
        .map = &machine.map, .meta = meta, .meta_bytes = sizeof meta, .cpu_count = 1};

    collecting_map();
    CHECK_ERR(mm_pmm_init(&machine.pmm, &config), MM_ERR_BAD_ARG);
}

/* ---- what the map says is what the PMM has ---- */

/* Each frame of the map and around it: managed exactly if usable and free, or taken early. */
static void compare_with_map(void)
{
    uint64_t managed = 0, free_frames = 0;
    struct mm_pmm_stats stats;

    for (uint32_t i = 0; i < machine.map.count; i++) {
        const struct mm_mem_range *range = &machine.map.range[i];
        bool usable = range->type == MM_MEM_USABLE;
        enum mm_frame_state expected = usable && range->use == MM_USE_FREE    ? MM_FRAME_FREE
                                       : usable && range->use == MM_USE_EARLY ? MM_FRAME_ALLOCATED
                                                                              : MM_FRAME_UNMANAGED;

        for (uint64_t n = 0; n < range->bytes / MM_FRAME_BYTES; n++) {
            struct mm_frame_info info;

            mm_test_row("frame", mm_frame_of(range->start) + n);
            mm_pmm_query(&machine.pmm, mm_phys_add(range->start, n * MM_FRAME_BYTES), &info);
            CHECK_EQ(info.state, expected);
            CHECK_EQ(info.count_frames, 1); /* early frames are single frames */
            managed += expected != MM_FRAME_UNMANAGED ? 1 : 0;
            free_frames += expected == MM_FRAME_FREE ? 1 : 0;
        }
    }
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.managed_frames, managed);
    CHECK_EQ(stats.free_frames, free_frames);
    CHECK(stats.meta_bytes <= machine.meta_bytes); /* room for two more chunks with holes */
    CHECK(stats.meta_bytes + 2 * sizeof(struct mm_pmm_hole) >= machine.meta_bytes);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_manages_exactly_what_the_map_gives)
{
    FIXTURE(&machine, NULL, RAM(0, 0x9f), {0x9f, 0x61, MM_MEM_RESERVED, MM_USE_FREE, 0},
            RAM(0x100, 0x3ff), /* ends one frame into a chunk */
            {0x180, 0x80, MM_MEM_USABLE, MM_USE_IMAGE, 0},
            {0x200, 0x10, MM_MEM_USABLE, MM_USE_MODULE, 0},
            {0x210, 0x10, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0},
            {0x4ff, 1, MM_MEM_BAD, MM_USE_FREE, 0}, RAM(0x500, 1), /* one frame alone */
            {0x501, 0x10, MM_MEM_ACPI_NVS, MM_USE_FREE, 0},
            {0x800, 0x10, MM_MEM_PERSISTENT, MM_USE_FREE, 0}, RAM(0xbff, 2), /* chunk edge */
            {0x7fffe, 2, MM_MEM_USABLE, MM_USE_EARLY, 0},
            {0xfd000, 0x100, MM_MEM_DEVICE, MM_USE_FREE, 0}, RAM(0xfffff, 2), /* 4 GiB */
            RAM((UINT64_C(1) << 40) - 1, 1) /* the last frame below 2^52 */);
    compare_with_map();
    CHECK_EQ(state_of(&machine, (UINT64_C(1) << 40) - 1), MM_FRAME_FREE);
    CHECK_EQ(state_of(&machine, UINT64_C(1) << 40), MM_FRAME_UNMANAGED);
    CHECK_EQ(state_of(&machine, UINT64_MAX >> 12), MM_FRAME_UNMANAGED);
}

TEST(pmm_of_one_frame_hands_out_that_frame)
{
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x12345, 1));
    compare_with_map();
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(mm_frame_of(out), 0x12345);
    CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, &out), MM_ERR_NO_MEMORY);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(mm_frame_of(out), 0x12345);
}

TEST(pmm_frame_zero_is_a_frame_like_any_other)
{
    struct mm_frame_request low = {.highest = mm_phys(0xfff)};
    mm_phys_t out = mm_phys(77);

    FIXTURE(&machine, NULL, RAM(0, 1), RAM(0x100, 1));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &low, &out));
    CHECK_EQ(out.raw, 0);
    CHECK_EQ(state_of(&machine, 0), MM_FRAME_ALLOCATED);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
    CHECK_EQ(state_of(&machine, 0), MM_FRAME_FREE);
}

TEST(pmm_takes_back_early_frames_one_by_one)
{
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(0x100, 0x10), {0x10d, 3, MM_MEM_USABLE, MM_USE_EARLY, 0});
    compare_with_map();
    CHECK_ERR(mm_pmm_free(&machine.pmm, at(0x10d), 3), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x10e)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x10d)));
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(0x10f)));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x10);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &(struct mm_frame_request){.order = 4}, &out));
    CHECK_EQ(mm_frame_of(out), 0x100);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_with_nothing_free_refuses_and_is_sound)
{
    mm_phys_t out;

    /* a map without any free memory is none, so the last of it went to an early allocation */
    FIXTURE(&machine, NULL, {0x100, 0x10, MM_MEM_USABLE, MM_USE_IMAGE, 0},
            {0x110, 1, MM_MEM_USABLE, MM_USE_EARLY, 0});
    compare_with_map();
    CHECK_ERR(mm_pmm_alloc_frame(&machine.pmm, &out), MM_ERR_NO_MEMORY);
    CHECK_OK(mm_pmm_add(&machine.pmm, at(0x10f), MM_FRAME_BYTES));
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    CHECK_EQ(mm_frame_of(out), 0x10f);
}

/* A machine of 64 GiB: start-up must touch chunks, not frames. 32768 chunks take milliseconds; if
 * each of 16 Mi frames were looked at on its own, the time limit of the test run would tell. */
TEST(pmm_over_large_memory_counts_in_chunks)
{
    struct mm_pmm_stats stats;
    struct mm_pmm_blocks blocks;

    FIXTURE(&machine, NULL, RAM(0x100, 0xbff00), RAM(0x100000, 0xf40000));
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.free_frames, 0xbff00 + 0xf40000);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    CHECK_EQ(blocks.free_blocks[0], stats.free_frames);
    CHECK_EQ(blocks.free_blocks[MM_ORDER_1G], 2 + 61);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_DMA], 0xf00);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_DMA32], 0xbf000);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_HIGH], 0xf40000);
    CHECK_EQ(take_order(&machine, 9), 0x100000);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
