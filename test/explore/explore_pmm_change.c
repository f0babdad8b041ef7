/*
 * explore_pmm_change.c - what changes under those who take and give: memory that joins, frames that
 * go, marks, modes, the zeroed stock, side tables.
 *
 * Problem     Chunks, regions and pools are looked up without a lock while others add to them; modes
 *             change while frames are on their way.
 * Idea        One CPU makes the change, the other takes and gives frames that the change concerns.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "pmm/stock.h"

#include "pmm_world.h"

#define WORLD(function, ...)                             \
    static void function(void)                           \
    {                                                    \
        static const struct world world = {__VA_ARGS__}; \
                                                         \
        world_make(&world);                              \
    }

WORLD(open, .cpus = 2, .free_frames = 40, .magazine_frames = 2, .window = true)
WORLD(nothing_but_boot_memory, .cpus = 2, .magazine_frames = 1, .boot_memory = true)
WORLD(nothing_but_room, .cpus = 2, .magazine_frames = 1, .hotplug_bytes = UINT64_C(2) << 20)
WORLD(two_open_holes, .cpus = 2, .free_frames = 12, .magazine_frames = 1, .boot_memory = true,
      .hotplug_bytes = UINT64_C(2) << 20)
WORLD(few_open, .cpus = 2, .free_frames = 12, .magazine_frames = 1, .window = true)
WORLD(nearly_open, .cpus = 2, .free_frames = 9, .magazine_frames = 1, .window = true)
WORLD(at_mark, .cpus = 2, .free_frames = 6, .magazine_frames = 2)

#define SECOND_CHUNK mm_phys_add(WORLD_BASE, WORLD_FRAMES *MM_FRAME_BYTES)

static unsigned calls[3];

static void level_changed(void *arg, enum mm_zone zone, enum mm_memory_level level,
                          uint64_t free_frames)
{
    (void)arg;
    (void)zone;
    (void)free_frames;
    calls[level]++;
}

/* Six frames in the pool, magazines closed; below five memory is low, above six it is not. */
static void watched(void)
{
    static const struct mm_pmm_watermark mark = {
        .min_frames = 1, .low_frames = 5, .high_frames = 6, .fn = level_changed};

    at_mark();
    calls[0] = calls[1] = calls[2] = 0;
    EXPLORE_CHECK(mm_pmm_set_watermark(&world_pmm, MM_ZONE_DMA32, &mark) == MM_OK);
    explore_may_race(calls, sizeof calls);
    explore_memory("calls", calls, sizeof calls);
}

/* CPU 0 keeps zeroed frames and is parked. */
static void zeroed(void)
{
    open();
    explore_as_cpu(0);
    EXPLORE_CHECK(mm_pmm_zero_ahead(&world_pmm) == MM_OK);
    mm_pmm_park(&world_pmm);
}

/* Nothing is free but a zeroed frame of CPU 0; CPU 0's other stock is empty. */
static void last_is_zeroed(void)
{
    mm_phys_t frame;

    nearly_open();
    explore_as_cpu(0);
    EXPLORE_CHECK(mm_pmm_zero_ahead(&world_pmm) == MM_OK);
    explore_as_cpu(1);
    while (world_pmm.pool[0].free_frames != 0) {
        EXPLORE_CHECK(mm_pmm_alloc_frame(&world_pmm, &frame) == MM_OK);
        world_forget();
    }
    EXPLORE_CHECK(world_pmm.cpu[0].zeroed.n == 1);
}

static uint16_t *tag[2];

static void tagged(void)
{
    few_open();
    world_share_frames(12);
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A));
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
    tag[0] = tag[1] = NULL;
    explore_memory("tag", tag, sizeof tag);
}

/* Frames circulate, and need not any more: the first exchange with the pool ends it. */
static void circulating(void)
{
    open();
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
    explore_as_cpu(0);
    EXPLORE_CHECK(take(A));
    (void)mm_pmm_drain(&world_pmm, 0);
    world_pmm.scarce = 1;
    world_pmm.mode = MM_MODE_CIRCULATE;
    for (unsigned i = 0; i < world_pmm.cpu_count; i++)
        world_pmm.cpu[i].cap = 0;
}

/* ---- what they do ---- */

static void a_adds_boot_memory(void)
{
    EXPLORE_CHECK(mm_pmm_add(&world_pmm, SECOND_CHUNK, 2 * MM_FRAME_BYTES) == MM_OK);
}

static void a_adds_ram(void)
{
    EXPLORE_CHECK(mm_pmm_add_ram(&world_pmm, SECOND_CHUNK, UINT64_C(2) << 20, 0) == MM_OK);
}

static void b_may_take_and_gives(void)
{
    if (take(B))
        give(B);
}

static void b_asks(void)
{
    struct mm_frame_info info;

    mm_pmm_query(&world_pmm, SECOND_CHUNK, &info);
    EXPLORE_CHECK(info.state == MM_FRAME_UNMANAGED ||
                  (info.state == MM_FRAME_FREE && info.zone == MM_ZONE_DMA32));
}

static void a_takes(void)
{
    EXPLORE_CHECK(take(A));
}

static void b_takes(void)
{
    EXPLORE_CHECK(take(B));
}

static void a_zeroes(void)
{
    enum mm_err err = mm_pmm_zero_ahead(&world_pmm);

    EXPLORE_CHECK(err == MM_OK || err == MM_ERR_BUSY || err == MM_ERR_NO_MEMORY);
}

static void b_drains(void)
{
    (void)mm_pmm_drain(&world_pmm, 0);
}

/* Seen here and there while it moves: how many is not certain, but it must not race. */
static void b_counts(void)
{
    EXPLORE_CHECK(mm_pmm_free_frames(&world_pmm) <= 2);
}

static void a_gives_and_takes(void)
{
    give(A);
    EXPLORE_CHECK(take(A));
}

/* The frame that CPU 1 holds. */
static void a_retires(void)
{
    enum mm_err err = mm_pmm_retire(&world_pmm, hand[C].frame[0]);

    EXPLORE_CHECK(err == MM_OK || err == MM_ERR_BUSY);
}

static void b_held(void)
{
    two_open_holes();
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
    hand[C].frame[0] = hand[B].frame[0]; /* noted, not held */
}

static void a_tags(void)
{
    EXPLORE_CHECK(mm_pmm_tag(&world_pmm, hand[A].frame[0], true, &tag[0]) == MM_OK);
}

static void b_tags(void)
{
    EXPLORE_CHECK(mm_pmm_tag(&world_pmm, hand[B].frame[0], true, &tag[1]) == MM_OK);
}

static void block_take(void)
{
    const struct mm_frame_request request = {.order = 1};

    EXPLORE_CHECK(mm_pmm_alloc(&world_pmm, &request, &hand[A].frame[0]) == MM_OK);
    hand[A].frame[1] = mm_phys_add(hand[A].frame[0], MM_FRAME_BYTES);
    hand[A].count = 2;
}

static void block_give(void)
{
    hand[A].count = 0;
    (void)mm_pmm_free(&world_pmm, hand[A].frame[0], 2);
}

/* A block in the only chunk; CPU 1 holds a single frame. */
static void block_is_taken(void)
{
    open();
    explore_as_cpu(0);
    block_take();
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
}

static void b_gives(void)
{
    give(B);
}

/* Frees its frame, and takes a block where there was one. */
static void b_gives_and_takes_block(void)
{
    const struct mm_frame_request request = {.order = 1};

    give(B);
    EXPLORE_CHECK(mm_pmm_alloc(&world_pmm, &request, &hand[B].frame[0]) == MM_OK);
    hand[B].frame[1] = mm_phys_add(hand[B].frame[0], MM_FRAME_BYTES);
    hand[B].count = 2;
}

static void b_gives_and_takes(void)
{
    give(B);
    EXPLORE_CHECK(take(B));
}

static void one_held(void)
{
    open();
    explore_as_cpu(1);
    EXPLORE_CHECK(take(B));
}

static void a_goes_back_to_lifo(void)
{
    mm_stock_close(&world_pmm);
    mm_stock_open(&world_pmm);
}

/* ---- checks ---- */

/* Gone or not yet, the frame is not handed out again. */
static void retired(void)
{
    struct mm_frame_info info;
    mm_phys_t gone = hand[C].frame[0];

    world_check();
    mm_pmm_query(&world_pmm, gone, &info);
    EXPLORE_CHECK(info.state == MM_FRAME_UNMANAGED);
}

static void low_was_told_once(void)
{
    EXPLORE_CHECK(calls[MM_MEMORY_LOW] == 1 && calls[MM_MEMORY_MIN] == 0 &&
                  calls[MM_MEMORY_PLENTY] == 0);
    world_check();
}

static void tags_are_two(void)
{
    EXPLORE_CHECK(tag[1] - tag[0] ==
                  (ptrdiff_t)(mm_frame_of(hand[B].frame[0]) - mm_frame_of(hand[A].frame[0])));
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define TWO(world, a, b) \
    .cpus = 2, .set_up = world, .check = world_check, .thread = {{a, 0, 0}, {b, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "boot_memory_joins",
     TWO(nothing_but_boot_memory, a_adds_boot_memory, b_may_take_and_gives),
     .bounds = ALL(1)},
    {.name = "ram_joins",
     TWO(nothing_but_room, a_adds_ram, b_may_take_and_gives),
     .bounds = ALL(1)},
    {.name = "ram_joins_and_is_seen", TWO(nothing_but_room, a_adds_ram, b_asks), .bounds = ALL(2)},
    {.name = "watermark_once",
     .cpus = 2,
     .set_up = watched,
     .check = low_was_told_once,
     .thread = {{a_takes, 0, 0}, {b_takes, 1, 0}},
     .bounds = ALL(0)},
    {.name = "zeroed_stock_is_stolen", TWO(zeroed, a_zeroes, b_drains), .bounds = ALL(0)},
    {.name = "last_frame_is_zeroed", TWO(last_is_zeroed, a_takes, b_counts), .bounds = ALL(1)},
    {.name = "tag_table_is_made_once",
     .cpus = 2,
     .set_up = tagged,
     .check = tags_are_two,
     .thread = {{a_tags, 0, 0}, {b_tags, 1, 0}},
     .bounds = {2, 0, 0},
     .longer = ALL(0)},
    {.name = "block_taken", TWO(open, block_take, b_takes), .bounds = ALL(0)},
    {.name = "block_freed", TWO(block_is_taken, block_give, b_gives), .bounds = ALL(1)},
    {.name = "block_taken_and_freed",
     TWO(block_is_taken, block_give, b_gives_and_takes_block),
     .bounds = ALL(0)},
    {.name = "retired_while_freed",
     .flags = EXPLORE_RUN_ON,
     .cpus = 2,
     .set_up = b_held,
     .check = retired,
     .thread = {{a_retires, 0, 0}, {b_gives, 1, 0}},
     .bounds = ALL(0)},
    {.name = "circulation_ends",
     TWO(circulating, a_gives_and_takes, b_gives_and_takes),
     .bounds = ALL(0)},
    {.name = "mode_switch",
     TWO(one_held, a_goes_back_to_lifo, b_gives_and_takes),
     .bounds = ALL(1)},
    {0},
};
