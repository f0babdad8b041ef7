/*
 * pmm_world.c - the PMM that scenarios start with.
 *
 * Problem     A scenario must reach the interesting lines in a few steps, and say afterwards whether
 *             each frame is where it should be.
 * Idea        A real PMM over 2 MiB, made once; magazines of a few frames; nearly everything taken.
 *             After each execution the checker of the PMM runs, frames are counted in hands, stock
 *             and pools, and each CPU brings its stock home, which must make the pool complete.
 * Invariants  None.
 * Locking     None.
 * Cost        Setting up: once. The check: some microseconds per execution.
 * Rejected    A model of the PMM: what is explored is the code.
 */
#include "pmm_world.h"

#include <string.h>

#include "pmm/stock.h"

struct mm_pmm world_pmm;
struct hand hand[HANDS];

static _Alignas(4096) unsigned char meta[256 << 10];
static _Alignas(4096) unsigned char ram[2 * WORLD_FRAMES * MM_FRAME_BYTES];
static struct mm_window window;
static unsigned taken_before, managed;

static void map_make(struct mm_memmap *map, const struct world *world)
{
    static struct mm_mem_range storage[8];
    uint64_t bytes = WORLD_FRAMES * MM_FRAME_BYTES;

    EXPLORE_CHECK(mm_memmap_init(map, storage, 8, 46) == MM_OK);
    EXPLORE_CHECK(mm_memmap_add(map, WORLD_BASE, bytes, MM_MEM_USABLE) == MM_OK);
    if (world->boot_memory)
        EXPLORE_CHECK(mm_memmap_add(map, mm_phys_add(WORLD_BASE, bytes), bytes,
                                    MM_MEM_BOOT_RECLAIM) == MM_OK);
    EXPLORE_CHECK(mm_memmap_finish(map) == MM_OK);
}

/* As CPU 0: all but some of the frames belong to somebody. */
static void frames_take(unsigned free_frames)
{
    mm_phys_t frame;

    managed = WORLD_FRAMES;
    taken_before = managed - free_frames;
    for (unsigned i = 0; i < taken_before; i++)
        EXPLORE_CHECK(mm_pmm_alloc_frame(&world_pmm, &frame) == MM_OK);
    (void)mm_pmm_drain(&world_pmm, 0);
    EXPLORE_CHECK(mm_pmm_free_frames(&world_pmm) == free_frames);
}

static void magazines_limit(const struct world *world)
{
    if (world->magazine_frames == 0)
        return;
    world_pmm.magazine_frames = world->magazine_frames;
    world_pmm.low_frames =
        (uint64_t)world->cpus * 4 * world->magazine_frames + world_pmm.reserve_frames;
    for (unsigned i = 0; i < world->cpus; i++)
        world_pmm.cpu[i].cap = world->magazine_frames;
}

void world_make(const struct world *world)
{
    static struct mm_memmap map;
    struct mm_pmm_config config = {
        .map = &map,
        .meta = meta,
        .meta_bytes = sizeof meta,
        .cpu_count = world->cpus,
        .pin = world->pin,
        .hotplug_bytes = world->hotplug_bytes,
    };

    map_make(&map, world);
    if (world->window) {
        window = (struct mm_window){.count = 0};
        EXPLORE_CHECK(mm_window_add(&window, WORLD_BASE, sizeof ram, mm_virt_of(ram)) == MM_OK);
        config.window = &window;
    }
    memset(meta, 0, sizeof meta);
    memset(hand, 0, sizeof hand);
    explore_as_cpu(0);
    EXPLORE_CHECK(mm_pmm_init(&world_pmm, &config) == MM_OK);
    magazines_limit(world);
    frames_take(world->free_frames);
    explore_memory("pmm", &world_pmm, sizeof world_pmm);
    explore_memory("meta", meta, world_pmm.meta_bytes);
    explore_memory("hand", hand, sizeof hand);
}

/* The last `count` frames are the free ones: pools hand out the lowest first. */
void world_share_frames(unsigned count)
{
    explore_memory("frames", ram + (WORLD_FRAMES - count) * MM_FRAME_BYTES, count * MM_FRAME_BYTES);
}

/* ---- hands ---- */

static void keep(enum who who, mm_phys_t frame)
{
    EXPLORE_CHECK(hand[who].count < HAND_MAX);
    hand[who].frame[hand[who].count++] = frame;
}

bool take(enum who who)
{
    mm_phys_t frame;

    if (mm_pmm_alloc_frame(&world_pmm, &frame) != MM_OK)
        return false;
    keep(who, frame);
    return true;
}

bool take_hard(enum who who)
{
    const struct mm_frame_request request = {.flags = MM_FRAME_TRY_HARD};
    mm_phys_t frame;

    if (mm_pmm_alloc(&world_pmm, &request, &frame) != MM_OK)
        return false;
    keep(who, frame);
    return true;
}

/* Out of the hand before it is freed: from then on an interrupt may get the same frame. */
void give(enum who who)
{
    if (hand[who].count != 0)
        (void)mm_pmm_free_frame(&world_pmm, hand[who].frame[--hand[who].count]);
}

void take_no_wait(enum who who)
{
    const struct mm_frame_request request = {.flags = MM_FRAME_NO_WAIT};
    mm_phys_t frame;

    if (mm_pmm_alloc(&world_pmm, &request, &frame) == MM_OK)
        keep(who, frame);
}

void give_no_wait(enum who who)
{
    mm_phys_t frame;

    if (hand[who].count == 0)
        return;
    frame = hand[who].frame[--hand[who].count];
    if (mm_pmm_free_no_wait(&world_pmm, frame) != MM_OK)
        keep(who, frame);
}

/* Allocated by somebody who plays no part. */
void world_forget(void)
{
    taken_before++;
}

unsigned hands_full(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < HANDS; i++)
        count += hand[i].count;
    return count;
}

/* ---- the check ---- */

static void all_different(void)
{
    uint64_t seen[2 * WORLD_FRAMES / 64] = {0};

    for (unsigned i = 0; i < HANDS; i++)
        for (unsigned j = 0; j < hand[i].count; j++) {
            uint64_t frame = mm_frame_of(hand[i].frame[j]) - mm_frame_of(WORLD_BASE);

            EXPLORE_CHECK(frame < 2 * WORLD_FRAMES);
            EXPLORE_CHECK((seen[frame / 64] >> (frame % 64) & 1) == 0);
            seen[frame / 64] |= UINT64_C(1) << (frame % 64);
        }
}

static void counts_are_right(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&world_pmm, &stats);
    EXPLORE_CHECK(stats.free_frames + taken_before + hands_full() == stats.managed_frames);
}

static void stock_comes_home(void)
{
    struct mm_pmm_stats stats;

    for (unsigned i = 0; i < world_pmm.cpu_count; i++) {
        explore_as_cpu(i);
        (void)mm_pmm_drain(&world_pmm, 0);
    }
    for (unsigned i = 0; i < world_pmm.cpu_count; i++) {
        explore_as_cpu(i);
        mm_pmm_serve(&world_pmm);
    }
    mm_pmm_get_stats(&world_pmm, &stats);
    EXPLORE_CHECK(stats.magazine_frames + stats.zeroed_frames + stats.depot_frames == 0);
}

void world_comes_home(void)
{
    stock_comes_home();
    counts_are_right();
    EXPLORE_CHECK(mm_pmm_check(&world_pmm, NULL) == 0);
}

void world_check(void)
{
    all_different();
    counts_are_right();
    world_comes_home();
}
