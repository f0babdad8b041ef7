/*
 * test_pmm_init.c - from maps to PMMs: sizes, refused configurations, odd machines.
 */
#include "fixture.h"

static struct fixture machine;

/* A map with 16 MiB of RAM at 1 MiB, not finished. */
static void collecting_map(void)
{
    CHECK_OK(mm_memmap_init(&machine.map, machine.storage, FIXTURE_RANGES, 52));
    CHECK_OK(mm_memmap_add(&machine.map, at(0x100), 16u << 20, MM_MEM_USABLE));
}

static const struct fixture_range plain[] = {RAM(0x100, 0x1000)};

TEST(pmm_meta_bytes_refuses_maps_that_are_not_finished_and_odd_counts)
{
    uint64_t bytes = 77;

    collecting_map();
    CHECK_ERR(mm_pmm_meta_bytes(&machine.map, 1, &bytes), MM_ERR_BAD_ARG);
    fixture_map(&machine, plain, 1);
    CHECK_ERR(mm_pmm_meta_bytes(NULL, 1, &bytes), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_meta_bytes(&machine.map, 1, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_meta_bytes(&machine.map, 0, &bytes), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_meta_bytes(&machine.map, MM_CPUS_MAX + 1, &bytes), MM_ERR_BAD_ARG);
    CHECK_EQ(bytes, 77);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, MM_CPUS_MAX, &bytes));
    CHECK(bytes > 0 && bytes < 77777);
}

TEST(pmm_meta_bytes_grow_with_memory_and_not_with_its_address)
{
    static const struct fixture_range low[] = {RAM(0x200, 0x40000)}; /* 1 GiB */
    static const struct fixture_range high[] = {RAM(UINT64_C(1) << 39, 0x40000)};
    static const struct fixture_range split[] = {RAM(0x200, 1), RAM(UINT64_C(1) << 39, 1)};
    uint64_t low_bytes, high_bytes, split_bytes;

    fixture_map(&machine, low, 1);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &low_bytes));
    fixture_map(&machine, high, 1);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &high_bytes));
    fixture_map(&machine, split, 2);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &split_bytes));
    CHECK_EQ(low_bytes, high_bytes);
    CHECK(low_bytes <= (UINT64_C(1) << 30) / 5000); /* 0.02 % */
    CHECK(split_bytes < 1024);
}

TEST(pmm_meta_bytes_count_each_chunk_with_memory_once)
{
    static const struct {
        struct fixture_range range[3];
        uint64_t regions, chunks;
    } row[] = {
        {{RAM(0x200, 0x200)}, 1, 1},                                /* exactly a chunk */
        {{RAM(0x1ff, 1)}, 1, 1},                                    /* its last frame */
        {{RAM(0x1ff, 2)}, 1, 2},                                    /* both sides of a border */
        {{RAM(0x200, 0x201)}, 1, 2},                                /* one frame more */
        {{RAM(0x200, 1), RAM(0x3ff, 1)}, 1, 1},                     /* two ranges in one chunk */
        {{RAM(0x200, 1), RAM(0x400, 1)}, 1, 2},                     /* chunks that touch */
        {{RAM(0x200, 1), RAM(0x5ff, 2), RAM(0xa00, 1)}, 2, 4},      /* a chunk without memory */
        {{RAM(0x200, 1), {0x400, 1, MM_MEM_RESERVED, 0, 0}}, 1, 1}, /* no memory at all */
        {{RAM(0x200, 1), {0x400, 1, MM_MEM_ACPI_NVS, 0, 0}}, 1, 2}, /* not usable, but RAM */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        size_t count = 0;
        uint64_t bytes;

        mm_test_row("map", i);
        while (count < 3 && row[i].range[count].frames != 0)
            count++;
        fixture_map(&machine, row[i].range, count);
        CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &bytes));
        CHECK_EQ(bytes, row[i].regions * sizeof(struct mm_pmm_region) +
                            row[i].chunks * sizeof(struct mm_pmm_chunk));
    }
}

TEST(pmm_meta_bytes_stay_right_when_the_metadata_are_taken_from_the_map)
{
    uint64_t before, after;
    mm_phys_t where;

    fixture_map(&machine, plain, 1);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &before));
    CHECK_OK(mm_memmap_take(&machine.map, &(struct mm_memmap_request){.bytes = before}, &where));
    CHECK_OK(mm_memmap_reserve(&machine.map, at(0x300), 4096, MM_USE_MODULE));
    CHECK_OK(mm_memmap_reserve(&machine.map, at(0x90000), 4096, MM_USE_FRAMEBUFFER));
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &after));
    CHECK_EQ(before, after);
}

TEST(pmm_init_refuses_each_wrong_configuration_and_leaves_the_map_open)
{
    static uint64_t meta[1024];
    struct mm_pmm_config good = {
        .map = &machine.map, .meta = meta, .meta_bytes = sizeof meta, .cpu_count = 1};
    uint64_t bytes;
    mm_phys_t out;

    fixture_map(&machine, plain, 1);
    CHECK_OK(mm_pmm_meta_bytes(&machine.map, 1, &bytes));
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
            config.meta_bytes = bytes - 1;
            err = MM_ERR_NO_ROOM;
            break;
        case 7:
            config.meta_bytes = 0;
            err = MM_ERR_NO_ROOM;
            break;
        case 8:
        case 9:
        case 10:
            config.pin = (enum mm_pin)(i - 7);
            err = MM_ERR_UNSUPPORTED;
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
    good.meta_bytes = bytes;
    good.cpu_count = MM_CPUS_MAX;
    CHECK_OK(mm_pmm_init(&machine.pmm, &good));
    CHECK_ERR(mm_memmap_take(&machine.map, &(struct mm_memmap_request){.bytes = 1}, &out),
              MM_ERR_BUSY);
    CHECK_ERR(mm_pmm_init(&machine.pmm, &good), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_init_refuses_a_map_that_is_not_finished)
{
    static uint64_t meta[1024];
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
    CHECK_EQ(stats.meta_bytes, machine.meta_bytes);
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

    FIXTURE(&machine, NULL, RAM(0x100, 0xbff00), RAM(0x100000, 0xf40000));
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(stats.free_frames, 0xbff00 + 0xf40000);
    CHECK_EQ(stats.free_blocks[0], stats.free_frames);
    CHECK_EQ(stats.free_blocks[MM_ORDER_1G], 2 + 61);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_DMA], 0xf00);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_DMA32], 0xbf000);
    CHECK_EQ(stats.zone_free_frames[MM_ZONE_HIGH], 0xf40000);
    CHECK_EQ(take_order(&machine, 9), 0x100000);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
