/*
 * test_pmm_zones.c - what is kept back, and which node serves whom.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

static uint64_t take_all(uint64_t highest, uint32_t flags)
{
    const struct mm_frame_request request = {.highest = mm_phys(highest), .flags = flags};
    uint64_t count = 0;
    mm_phys_t out;

    while (mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK)
        count++;
    return count;
}

static uint64_t free_of(enum mm_zone zone)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.zone_free_frames[zone];
}

/* ---- floors and the reserve ---- */

#define LOW_FRAMES   0x90u
#define DMA_FRAMES   0xf00u
#define DMA32_FRAMES 0x2000u
#define HIGH_FRAMES  0x8000u

/* A 256th of what lies above, and no more than half. */
#define DMA32_FLOOR (HIGH_FRAMES / 256)
#define DMA_FLOOR   ((HIGH_FRAMES + DMA32_FRAMES) / 256)

static void start(uint32_t flags, uint64_t reserve)
{
    static const struct fixture_range range[] = {RAM(0, LOW_FRAMES), RAM(0x100, DMA_FRAMES),
                                                 RAM(0x1000, DMA32_FRAMES),
                                                 RAM(0x100000, HIGH_FRAMES)};

    fixture_map(&machine, range, 4);
    fixture_start_as(&machine, &(struct mm_pmm_config){
                                   .cpu_count = 1, .flags = flags, .reserve_frames = reserve});
}

TEST(zones_keep_a_floor_for_those_who_need_them)
{
    start(0, 0);
    CHECK_EQ(take_all(0, 0), HIGH_FRAMES + DMA32_FRAMES - DMA32_FLOOR + DMA_FRAMES - DMA_FLOOR);
    CHECK_EQ(free_of(MM_ZONE_HIGH), 0);
    CHECK_EQ(free_of(MM_ZONE_DMA32), DMA32_FLOOR);
    CHECK_EQ(free_of(MM_ZONE_DMA), DMA_FLOOR);
    CHECK_EQ(free_of(MM_ZONE_LOW), LOW_FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_EQ(take_all(MM_HIGHEST_4G.raw, 0), DMA32_FLOOR);
    CHECK_EQ(take_all(MM_HIGHEST_16M.raw, 0), DMA_FLOOR);
    CHECK_EQ(take_all(MM_HIGHEST_1M.raw, 0), LOW_FRAMES);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(zones_give_their_floor_to_the_reserve_flag)
{
    start(0, 0);
    (void)take_all(0, 0);
    CHECK_EQ(take_all(0, MM_FRAME_TRY_HARD), 0); /* trying hard is not it */
    CHECK_EQ(take_all(0, MM_FRAME_RESERVE), DMA32_FLOOR + DMA_FLOOR);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), LOW_FRAMES);
    start(MM_PMM_NO_FLOORS, 0);
    CHECK_EQ(take_all(0, 0), HIGH_FRAMES + DMA32_FRAMES + DMA_FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Blocks, runs and bulk leave the floor, too: each takes what is open, to the frame. */
TEST(zones_keep_their_floor_from_calls_of_each_kind)
{
    const uint64_t open = DMA_FRAMES - DMA_FLOOR;
    struct mm_frame_request run = {.count_frames = open + 1, .lowest = mm_phys(0x100000)};
    struct mm_frame_request bulk = {.lowest = mm_phys(0x100000)};
    struct mm_frame_request no_wait = {.flags = MM_FRAME_NO_WAIT};
    static mm_phys_t frame[DMA_FRAMES];
    mm_phys_t out;

    fixture_map(
        &machine,
        (struct fixture_range[]){RAM(0x100, DMA_FRAMES), RAM(0x100000, HIGH_FRAMES + DMA32_FRAMES)},
        2);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1});
    run.highest = bulk.highest = mm_phys(0x1ffffff); /* any zone but HIGH would do */
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &run, &out), MM_ERR_NO_MEMORY);
    run.count_frames = open;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &run, &out));
    CHECK_OK(mm_pmm_free(&machine.pmm, out, open));
    CHECK_ERR(mm_pmm_alloc_bulk(&machine.pmm, &bulk, open + 1, frame), MM_ERR_NO_MEMORY);
    CHECK_EQ(free_of(MM_ZONE_DMA), DMA_FRAMES);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &bulk, open, frame));
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, frame, open));
    CHECK_EQ(take_all(0, 0), HIGH_FRAMES + DMA32_FRAMES + open);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &no_wait, &out), MM_ERR_NO_MEMORY);
    no_wait.flags |= MM_FRAME_RESERVE;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &out));
    CHECK_EQ(free_of(MM_ZONE_DMA), DMA_FLOOR - 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(reserve_is_kept_back_from_the_highest_zone_down)
{
    static const struct {
        uint64_t reserve, high, dma32, dma; /* and what each zone keeps */
    } row[] = {
        {100, 100, 0, 0},
        {HIGH_FRAMES / 2, HIGH_FRAMES / 2, 0, 0},
        {HIGH_FRAMES / 2 + 7, HIGH_FRAMES / 2, 7, 0},
        {HIGH_FRAMES, HIGH_FRAMES / 2, DMA32_FRAMES / 2,
         DMA_FRAMES / 2}, /* half of each, no more */
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint64_t kept = row[i].high + row[i].dma32 + row[i].dma;

        mm_test_row("reserve", i);
        start(MM_PMM_NO_FLOORS, row[i].reserve);
        CHECK_EQ(take_all(0, 0), HIGH_FRAMES + DMA32_FRAMES + DMA_FRAMES - kept);
        CHECK_EQ(free_of(MM_ZONE_HIGH), row[i].high);
        CHECK_EQ(free_of(MM_ZONE_DMA32), row[i].dma32);
        CHECK_EQ(free_of(MM_ZONE_DMA), row[i].dma);
        CHECK_EQ(take_all(MM_HIGHEST_4G.raw, 0), 0); /* for nobody without the flag */
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_EQ(take_all(0, MM_FRAME_RESERVE), kept);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), LOW_FRAMES);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* A run that leaves a pool and comes back counts there with both parts. */
TEST(reserve_is_kept_from_runs_that_come_back_into_a_pool)
{
    static const struct fixture_range range[] = {RAM_OF(1, 0x90000, 0x1000),
                                                 RAM_OF(0, 0xa0000, 1024), RAM_OF(1, 0xa0400, 512),
                                                 RAM_OF(0, 0xa0600, 1024)};
    static const struct {
        uint64_t lowest, count;
        uint32_t flags;
        enum mm_err err;
    } row[] = {
        {0xa0000, 1024 + 512 + 1024, 0, MM_ERR_NO_MEMORY}, /* all that node 0 has */
        {0xa0000, 1024 + 512 + 1, 0, MM_ERR_NO_MEMORY},    /* one frame too many */
        {0xa0200, 512 + 512 + 513, 0, MM_ERR_NO_MEMORY},   /* in two parts */
        {0xa0200, 512 + 512 + 512, 0, MM_OK},
        {0xa0000, 1024 + 512, 0, MM_OK},
        {0xa0000, 1024 + 512 + 1024, MM_FRAME_RESERVE, MM_OK},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const struct mm_frame_request request = {
            .count_frames = row[i].count, .lowest = at(row[i].lowest), .flags = row[i].flags};
        uint64_t managed, free_frames;
        mm_phys_t out;

        mm_test_row("run", i);
        fixture_map(&machine, range, 4);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1,
                                                           .flags = MM_PMM_NO_FLOORS,
                                                           .reserve_frames = 1024});
        CHECK_ERR(mm_pmm_alloc(&machine.pmm, &request, &out), row[i].err);
        mm_pmm_get_node_stats(&machine.pmm, 0, &managed, &free_frames);
        CHECK_EQ(managed, 2048);
        CHECK_EQ(free_frames, row[i].err != MM_OK ? 2048 : row[i].flags != 0 ? 0 : 1024);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* Half of each pool is kept, whatever was asked, from large blocks too; and the rest is no less
 * plenty for a wish that is out of reach: frames stay in stock. */
TEST(reserve_that_is_out_of_reach_is_half_of_each_pool)
{
    static const uint64_t reserve[] = {0x2000,    0x2001, 0x4000, 0x4001, UINT64_MAX - 0x20ff,
                                       UINT64_MAX};
    static const struct mm_frame_request block = {.order = MM_CHUNK_ORDER};

    for (size_t i = 0; i < sizeof reserve / sizeof reserve[0]; i++) {
        uint64_t blocks = 0;
        struct mm_pmm_stats stats;
        mm_phys_t out;

        mm_test_row("reserve", i);
        fixture_map(&machine, (struct fixture_range[]){RAM(0x100000, 0x4000)}, 1);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 1,
                                                           .flags = MM_PMM_NO_FLOORS,
                                                           .reserve_frames = reserve[i]});
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out));
        mm_pmm_get_stats(&machine.pmm, &stats);
        CHECK(stats.magazine_frames > 0);
        CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
        while (mm_pmm_alloc(&machine.pmm, &block, &out) == MM_OK)
            blocks++;
        CHECK_EQ(blocks, 0x2000 / MM_CHUNK_FRAMES);
        CHECK_EQ(take_all(0, 0), 0);
        CHECK_EQ(take_all(0, MM_FRAME_RESERVE), 0x2000);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* ---- nodes ---- */

#define NODE_FRAMES    0x10u
#define HIGH_OF(node)  (UINT64_C(0x100000) + (uint64_t)(node)*0x1000)
#define DMA32_OF(node) (UINT64_C(0x2000) + (uint64_t)(node)*0x1000)
#define DMA_OF(node)   (UINT64_C(0x200) + (uint64_t)(node)*0x200)

#define NODE(id)                                                       \
    {DMA_OF(id), NODE_FRAMES, MM_MEM_USABLE, MM_USE_FREE, (id)},       \
        {DMA32_OF(id), NODE_FRAMES, MM_MEM_USABLE, MM_USE_FREE, (id)}, \
    {                                                                  \
        HIGH_OF(id), NODE_FRAMES, MM_MEM_USABLE, MM_USE_FREE, (id)     \
    }

/* Nodes 0 to 3 of the map; from 0 the nearest is 2, then 3, then 1. */
static const uint8_t distance[] = {10, 30, 20, 25, /**/ 30, 10, 20, 20, /**/
                                   20, 20, 10, 15, /**/ 25, 20, 15, 10};

static void start_nodes(const uint8_t *distances, uint32_t rows)
{
    static const struct fixture_range range[] = {NODE(0), NODE(1), NODE(2), NODE(3)};

    fixture_map(&machine, range, sizeof range / sizeof range[0]);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 4,
                                                       .flags = MM_PMM_NO_FLOORS,
                                                       .distance = distances,
                                                       .distance_nodes = rows});
}

/* Where frame i of all must come from: a node that was asked for comes with all its zones, highest
 * first, then the next nearest. Who asked for none leaves zone DMA of all nodes for the last. */
static uint64_t start_of(unsigned i, bool asked, const unsigned *order)
{
    unsigned step = i / NODE_FRAMES;
    unsigned from = asked ? order[step / 3] : step < 8 ? order[step / 2] : order[step - 8];
    unsigned zone = asked ? step % 3 : step < 8 ? step % 2 : 2;

    return zone == 0 ? HIGH_OF(from) : zone == 1 ? DMA32_OF(from) : DMA_OF(from);
}

/* Take everything for `node`, or if it is not `asked` on a CPU of that node. */
static void check_order(unsigned node, bool asked, const unsigned *order)
{
    const struct mm_frame_request request = {.flags = asked ? MM_FRAME_NODE : 0,
                                             .node = (uint16_t)node};

    if (!asked)
        CHECK_OK(mm_pmm_set_cpu_node(&machine.pmm, 0, node));
    for (unsigned i = 0; i < 12 * NODE_FRAMES; i++) {
        uint64_t start = start_of(i, asked, order);
        mm_phys_t out;

        mm_test_row("frame", i);
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
        CHECK(mm_frame_of(out) >= start && mm_frame_of(out) < start + NODE_FRAMES);
    }
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(nodes_fall_back_to_the_nearest)
{
    for (unsigned asked = 0; asked < 2; asked++) {
        start_nodes(distance, 4);
        check_order(0, asked != 0, (const unsigned[]){0, 2, 3, 1});
        start_nodes(distance, 4);
        check_order(1, asked != 0, (const unsigned[]){1, 2, 3, 0}); /* 2 and 3 are as near */
        start_nodes(distance, 4);
        check_order(3, asked != 0, (const unsigned[]){3, 2, 1, 0});
    }
}

TEST(nodes_without_distances_are_all_as_far)
{
    start_nodes(NULL, 0);
    check_order(2, true, (const unsigned[]){2, 0, 1, 3});
    start_nodes((const uint8_t[]){10, 20, 20, 10}, 2); /* of two nodes only */
    check_order(1, true, (const unsigned[]){1, 0, 2, 3});
    start_nodes((const uint8_t[]){10, 20, 20, 10}, 2);
    check_order(3, true, (const unsigned[]){3, 0, 1, 2});
}

TEST(nodes_are_insisted_on_zone_by_zone)
{
    struct mm_frame_request insist = {.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY, .node = 2};
    struct mm_frame_request dma = insist;
    mm_phys_t out;

    start_nodes(distance, 4);
    dma.highest = MM_HIGHEST_16M;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &dma, &out));
    CHECK_EQ(mm_frame_of(out), DMA_OF(2));
    for (unsigned i = 1; i < 3 * NODE_FRAMES; i++)
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &insist, &out));
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &insist, &out), MM_ERR_NO_MEMORY);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &dma, &out), MM_ERR_NO_MEMORY);
    insist.flags |= MM_FRAME_TRY_HARD;
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &insist, &out), MM_ERR_NO_MEMORY);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 9 * NODE_FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- CPUs of nodes ---- */

static void start_cpus(void)
{
    static const struct fixture_range range[] = {{0x100000, 0x400, MM_MEM_USABLE, MM_USE_FREE, 0},
                                                 {0x200000, 0x400, MM_MEM_USABLE, MM_USE_FREE, 5}};

    fixture_map(&machine, range, 2);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 2, .flags = MM_PMM_NO_FLOORS});
}

TEST(cpu_of_a_node_stocks_frames_of_that_node)
{
    mm_phys_t mine, far;
    uint64_t managed, free_frames;

    start_cpus();
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, 2, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, 0, 1), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_pmm_set_cpu_node(&machine.pmm, 0, UINT32_MAX), MM_ERR_BAD_ARG);
    CHECK_OK(mm_pmm_set_cpu_node(&machine.pmm, 1, 5));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    fake_cpu_set(1);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &mine));
    CHECK_EQ(mm_frame_of(mine), 0x200000);
    CHECK_EQ(machine.pmm.cpu[1].loaded->n, 7);
    mm_pmm_get_node_stats(&machine.pmm, 5, &managed, &free_frames);
    CHECK_EQ(managed, 0x400);
    CHECK_EQ(free_frames, 0x3f8); /* in its pools */
    fake_cpu_set(0);
    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &far));
    CHECK_EQ(mm_frame_of(far), 0x100000);
    fake_cpu_set(1);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, far)); /* past the magazine */
    CHECK_EQ(machine.pmm.cpu[1].loaded->n, 7);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, mine));
    CHECK_EQ(machine.pmm.cpu[1].loaded->n, 8);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    fake_cpu_set(0);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x800);
}

TEST(cpu_of_a_full_node_takes_far_frames_one_by_one)
{
    struct mm_frame_request insist = {.flags = MM_FRAME_NODE | MM_FRAME_NODE_ONLY, .node = 5};
    static mm_phys_t frame[0x400];
    mm_phys_t out;

    start_cpus();
    CHECK_OK(mm_pmm_set_cpu_node(&machine.pmm, 1, 5));
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &insist, 0x400, frame));
    fake_cpu_set(1);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
        CHECK_EQ(mm_frame_of(out), 0x100000 + i);
        CHECK_EQ(machine.pmm.cpu[1].loaded->n + machine.pmm.cpu[1].spare->n, 0);
    }
    fake_cpu_set(0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
