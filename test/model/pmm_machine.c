/*
 * pmm_machine.c - machines to try a PMM on: maps, CPUs, configurations.
 *
 * Problem     A PMM that works on 64 MiB in one piece has shown little.
 * Idea        A few kinds of memory, each with sizes and holes from the stream, on one to four CPUs
 *             with any pin and configuration. RAM is simulated, so that contents can be judged.
 * Invariants  I1 metadata are of exactly the size that was asked for, and full of garbage before
 *             I2 the model knows all RAM of the finished map
 * Locking     One thread.
 * Cost        Tens of microseconds, and pages of the host for what is written to.
 * Rejected    Maps of real machines: readers of those are tested elsewhere; borders matter here.
 */
#include <stdlib.h>
#include <string.h>

#include "pmm_ops_internal.h"

struct ops_machine machine;

/* What a machine is made of, before the map exists. */
static struct {
    struct mm_mem_range range[OPS_RANGES_MAX];
    unsigned count;
    uint64_t random;
} plan;

/* The layout comes from one number of the stream, so that streams stay short. */
static uint64_t plan_random(void)
{
    uint64_t x = plan.random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 27;
}

static uint64_t pick(uint64_t low, uint64_t high)
{
    return low + plan_random() % (high - low + 1);
}

static bool one_in(unsigned n)
{
    return plan_random() % n == 0;
}

static void plan_range(uint64_t frame, uint64_t frames, enum mm_mem_type type, enum mm_mem_use use,
                       unsigned node)
{
    if (plan.count < OPS_RANGES_MAX / 4 && frames > 0)
        plan.range[plan.count++] = (struct mm_mem_range){.start = mm_frame_phys(frame),
                                                         .bytes = frames * MM_FRAME_BYTES,
                                                         .type = (uint8_t)type,
                                                         .use = (uint8_t)use,
                                                         .node = (uint16_t)node};
}

static void plan_ram(uint64_t frame, uint64_t frames, unsigned node)
{
    plan_range(frame, frames, MM_MEM_USABLE, MM_USE_FREE, node);
}

/* What a PC has below 1 MiB. */
static void plan_low(void)
{
    if (one_in(3))
        return;
    plan_ram(one_in(4) ? 0 : 1, pick(2, 0x9e), 0);
}

/* ---- kinds of memory ---- */

static void plan_tiny(void)
{
    plan_low();
    plan_ram(0x100, pick(0x40, 0x300), 0);
    if (one_in(2))
        plan_range(0x420, pick(1, 0x40), MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0);
}

static void plan_medium(void)
{
    plan_low();
    plan_ram(0x100, pick(0xf00, 0x2f00), 0); /* 16 to 48 MiB, across 16 MiB */
    plan_range(0x3100, pick(1, one_in(2) ? 0x400 : 0x1800), MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0);
    plan_range(0x4900, pick(1, 0x500), MM_MEM_USABLE, MM_USE_IMAGE, 0);
    plan_ram(0x4e00, pick(1, 0x900), 0);
}

/* Ranges that begin and end near the borders that matter, in chunks and out of step with them. */
static void plan_holes(void)
{
    static const uint64_t place[] = {0, 0x100, 0x300, 0x1000, 0x40000, 0x100000, 0x7000000};
    static const uint8_t type[] = {MM_MEM_USABLE,       MM_MEM_USABLE,   MM_MEM_USABLE,
                                   MM_MEM_USABLE,       MM_MEM_USABLE,   MM_MEM_BOOT_RECLAIM,
                                   MM_MEM_ACPI_RECLAIM, MM_MEM_RESERVED, MM_MEM_ACPI_NVS};

    plan_ram(0x3000, pick(0x40, 0x400), 0);
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++)
        for (uint64_t n = pick(0, 3), frame = place[i]; n > 0; n--) {
            uint64_t frames = one_in(8) ? 1 : pick(2, 700);

            plan_range(frame > 0x80 ? frame - pick(0, 0x7f) : frame, frames,
                       (enum mm_mem_type)type[plan_random() % sizeof type],
                       one_in(6) ? MM_USE_IMAGE : MM_USE_FREE, 0);
            frame += frames + pick(0, 0x1ff);
        }
}

/* Each node has memory in several places, by whole chunks. */
static void plan_nodes(void)
{
    static const uint64_t place[] = {0x200, 0x1000, 0x8000, 0x100000, 0x180000, 0x2000000};
    unsigned nodes = (unsigned)pick(2, OPS_NODES_MAX);

    plan_low();
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        uint64_t frame = place[i];

        for (uint64_t n = pick(1, 4); n > 0; n--) {
            uint64_t frames = pick(1, 4) * MODEL_CHUNK;

            plan_ram(frame, frames, (unsigned)pick(0, nodes - 1));
            frame += frames;
        }
    }
}

/* Nodes that begin anywhere: chunks with memory of two. */
static void plan_mixed(void)
{
    uint64_t frame = 0x100;

    for (uint64_t n = pick(3, 12); n > 0; n--) {
        uint64_t frames = pick(1, 900);

        plan_ram(frame, frames, (unsigned)pick(0, 2));
        frame += frames;
        if (one_in(3))
            frame += pick(1, 300);
    }
}

static void plan_high(void)
{
    plan_ram(0x100, pick(0x10, 0x80), 0);
    plan_ram(0x100000 - pick(0, 0x300), pick(0x300, 0x1000), 0);
    plan_ram(UINT64_C(0x300000000) + pick(0, 0x1ff), pick(0x100, 0x1800), 0); /* 12 TiB */
}

/* Room for blocks of order 18. */
static void plan_big(void)
{
    plan_low();
    plan_ram(0x100, pick(0x100, 0x1f00), 0);
    plan_ram(0x40000, 0x40000 + (one_in(2) ? pick(0, 0x8000) : 0), 0);
    if (one_in(2))
        plan_ram(0x100000, pick(1, 0x4000), 0);
}

/* Single frames and small pieces, hundreds of them: no chunk is whole. */
static void plan_fragments(void)
{
    uint64_t frame = one_in(2) ? 0x100 : 0xf00; /* or about 16 MiB */

    for (uint64_t n = pick(40, 110); n > 0; n--) {
        uint64_t frames = one_in(2) ? pick(1, 3) : pick(1, 70);

        plan_ram(frame, frames, 0);
        frame += frames + pick(1, 20);
    }
}

static const struct {
    const char *name;
    void (*plan)(void);
    unsigned weight;
    bool small;
} kinds[] = {
    {"tiny", plan_tiny, 8, true},   {"medium", plan_medium, 5, false},
    {"holes", plan_holes, 5, true}, {"nodes", plan_nodes, 4, false},
    {"mixed", plan_mixed, 2, true}, {"high", plan_high, 3, false},
    {"big", plan_big, 1, false},    {"fragments", plan_fragments, 4, true},
};
#define KINDS   (sizeof kinds / sizeof kinds[0])
#define WEIGHTS 32u /* the sum, a divisor of 256 */

static unsigned kind_of(uint8_t choice)
{
    unsigned i = 0, left = choice % WEIGHTS;

    for (; i < KINDS - 1 && left >= kinds[i].weight; i++)
        left -= kinds[i].weight;
    return i;
}

bool pmm_ops_is_small(uint8_t first_byte)
{
    return kinds[kind_of(first_byte)].small;
}

/* ---- from the plan to memory ---- */

static uint64_t range_first(const struct mm_mem_range *range)
{
    return mm_frame_of(range->start);
}

static uint64_t range_frames(const struct mm_mem_range *range)
{
    return range->bytes / MM_FRAME_BYTES;
}

static void map_build(void)
{
    OPS_EQ(mm_memmap_init(&machine.map, machine.storage, OPS_RANGES_MAX, 52), MM_OK);
    for (unsigned i = 0; i < plan.count; i++) {
        const struct mm_mem_range *range = &plan.range[i];

        OPS_EQ(
            mm_memmap_add(&machine.map, range->start, range->bytes, (enum mm_mem_type)range->type),
            MM_OK);
        OPS_EQ(mm_memmap_set_node(&machine.map, range->start, range->bytes, range->node), MM_OK);
        if (range->use != MM_USE_FREE)
            OPS_EQ(mm_memmap_reserve(&machine.map, range->start, range->bytes,
                                     (enum mm_mem_use)range->use),
                   MM_OK);
        if (range->node >= machine.nodes)
            machine.nodes = range->node + 1u;
    }
    OPS_EQ(mm_memmap_finish(&machine.map), MM_OK);
}

/* A few frames are page tables already when the PMM begins. */
static void map_take(void)
{
    for (uint64_t n = pick(0, 3); n > 0; n--) {
        struct mm_memmap_request early = {.bytes = pick(1, 5) * MM_FRAME_BYTES};
        mm_phys_t taken;

        (void)!mm_memmap_take(&machine.map, &early, &taken);
    }
}

/* Simulated RAM under the map: hulls of what lies near each other, and of memory plugged in
 * later. */
static void ram_build(void)
{
    const struct mm_memmap *map = &machine.map;
    uint64_t first = 0, end = 0;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];

        if (!mm_mem_type_is_ram(range->type))
            continue;
        if (end != 0 && range_first(range) - end >= 0x8000) {
            fake_ram_add(mm_frame_phys(first), (end - first) * MM_FRAME_BYTES);
            end = 0;
        }
        if (end == 0)
            first = range_first(range);
        end = range_first(range) + range_frames(range);
    }
    machine.hot_next = (end + MODEL_CHUNK - 1) / MODEL_CHUNK * MODEL_CHUNK + pick(0, 2) * 0x8000;
    if (machine.window_part) { /* only the lower half of the last piece, and no more later */
        end = first + (end - first + 1) / 2;
        machine.hot_chunks = 0;
    }
    fake_ram_add(mm_frame_phys(first), (end - first) * MM_FRAME_BYTES);
    if (machine.hot_chunks > 0 && machine.hot_next != end)
        fake_ram_add(mm_frame_phys(machine.hot_next),
                     machine.hot_chunks * MODEL_CHUNK * MM_FRAME_BYTES);
    else if (machine.hot_chunks > 0)
        fake_ram_add(mm_frame_phys(end), machine.hot_chunks * MODEL_CHUNK * MM_FRAME_BYTES);
}

static void model_build(void)
{
    const struct mm_memmap *map = &machine.map;

    model_reset();
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];
        enum cell_state state = CELL_OUT;

        if (!mm_mem_type_is_ram(range->type))
            continue;
        if (range->type == MM_MEM_USABLE && range->use == MM_USE_FREE)
            state = CELL_FREE;
        if (range->type == MM_MEM_USABLE && range->use == MM_USE_EARLY)
            state = CELL_TAKEN;
        OPS_CHECK(model_add_range(range_first(range), range_frames(range), range->node, state));
    }
    model_pools();
    for (uint32_t n = 0; n < model.live_count; n++)
        ops_frames_mark(model.cell[model.live[n]].frame, 1);
}

/* ---- the PMM ---- */

static void config_choose(uint8_t choice)
{
    static const enum mm_pin pin[] = {MM_PIN_IRQ, MM_PIN_IRQ, MM_PIN_LOCK, MM_PIN_NONE};

    machine.cpus = 1 + choice % OPS_CPUS_MAX;
    machine.window_part = choice / 4 % 16 == 15;
    machine.hot_chunks = one_in(3) ? pick(1, 6) : 0;
    machine.config = (struct mm_pmm_config){
        .map = &machine.map,
        .window = choice / 4 % 16 == 14 ? NULL : fake_window(),
        .cpu_count = machine.cpus,
        .pin = pin[choice / 64],
        .flags = one_in(8) ? 0 : MM_PMM_NO_FLOORS,
        .reserve_frames = one_in(6) ? pick(1, 100) : 0,
    };
}

static void distances_fill(uint8_t *distance)
{
    for (unsigned a = 0; a < machine.nodes; a++)
        for (unsigned b = 0; b < machine.nodes; b++)
            distance[a * machine.nodes + b] = a == b ? 10 : (uint8_t)(11 + plan_random() % 30);
}

/* A node whose memory is all covered by something else is none. */
static void cpu_place(unsigned cpu, unsigned node)
{
    enum mm_err expected = MM_ERR_BAD_ARG;

    for (uint32_t i = 0; i < model.cells && expected != MM_OK; i++)
        if (model.cell[i].node == node)
            expected = MM_OK;
    OPS_EQ(mm_pmm_set_cpu_node(&machine.pmm, cpu, node), expected);
}

static void pmm_build(void)
{
    uint8_t distance[OPS_NODES_MAX * OPS_NODES_MAX];

    if (one_in(2)) {
        distances_fill(distance);
        machine.config.distance_nodes = machine.nodes;
        machine.config.distance = distance;
    }
    machine.config.hotplug_bytes = machine.hot_chunks * MODEL_CHUNK * MM_FRAME_BYTES;
    OPS_EQ(mm_pmm_meta_bytes(&machine.config, &machine.config.meta_bytes), MM_OK);
    machine.meta = malloc(machine.config.meta_bytes);
    OPS_CHECK(machine.meta != NULL);
    memset(machine.meta, 0xa5, machine.config.meta_bytes);
    memset(&machine.pmm, 0xa5, sizeof machine.pmm);
    machine.config.meta = machine.meta;
    OPS_EQ(mm_pmm_init(&machine.pmm, &machine.config), MM_OK);
    machine.config.distance = NULL; /* only used during init */
    for (unsigned cpu = 0; cpu < machine.cpus && machine.nodes > 1; cpu++)
        cpu_place(cpu, (unsigned)pick(0, machine.nodes - 1));
}

/* Of no pool is more than a half kept back. */
static uint64_t reserve_kept(void)
{
    uint64_t managed[OPS_NODES_MAX][MM_ZONES] = {{0}}, kept = 0;

    for (uint32_t i = 0; i < model.cells; i++) {
        const struct model_cell *cell = &model.cell[i];

        managed[cell->node][cell->zone] += cell->state != CELL_OUT ? 1 : 0;
    }
    for (unsigned node = 0; node < OPS_NODES_MAX; node++)
        for (unsigned zone = MM_ZONE_DMA; zone < MM_ZONES; zone++) {
            kept += managed[node][zone] / 2;
            machine.reserve_pools += managed[node][zone] != 0 ? 1 : 0;
        }
    return kept < machine.config.reserve_frames ? kept : machine.config.reserve_frames;
}

void ops_machine_start(void)
{
    unsigned kind = kind_of(ops_byte());
    uint8_t config = ops_byte();

    fake_reset();
    plan.count = 0;
    plan.random = ops_number(3);
    machine.nodes = 1;
    machine.kind = kinds[kind].name;
    kinds[kind].plan();
    config_choose(config);
    map_build();
    map_take();
    ram_build();
    model_build();
    pmm_build();
    machine.reserve = reserve_kept();
    machine.answering = machine.cpus;
    machine.host->cpus_answer(machine.cpus);
    mm_pmm_get_stats(&machine.pmm, &machine.start);
    mm_pmm_get_blocks(&machine.pmm, &machine.start_blocks);
}

void ops_machine_end(void)
{
    free(machine.meta);
    machine.meta = NULL;
    fake_cpu_set(0);
}
