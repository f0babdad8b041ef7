/*
 * libmm.c - the PMM of one build of libmm, as an allocator of the bench.
 *
 * Problem     The same calls must be measured for several builds of libmm in one program.
 * Idea        This file is compiled with each build's definitions, BENCH_LIBMM naming the result.
 * Invariants  self, the map's storage and the metadata lie in the instance's memory, in this order.
 * Locking     MM_PIN_NONE: one thread for each CPU index, as the cases have it.
 * Cost        -
 * Rejected    One program per build: their figures would not be of one run.
 */
#include "libmm.h"

#include "../common/host.h"
#include "mm/memmap.h"
#include "mm/pmm.h"

#define MAP_RANGES 8u
#define PHYS_BITS  52u

struct pmm {
    struct mm_pmm pmm;
    struct mm_pmm_config config;
    struct mm_memmap map;
    struct mm_mem_range range[MAP_RANGES];
    struct mm_window window;
    struct ram ram;
};

/* Of the metadata behind it. */
#define PMM_BYTES ((sizeof(struct pmm) + MM_FRAME_BYTES - 1) / MM_FRAME_BYTES * MM_FRAME_BYTES)

static void must(enum mm_err err, const char *what)
{
    if (err != MM_OK)
        die("%s: error %d", what, (int)err);
}

/* Every PC has RAM elsewhere that is not free. Here it makes libmm look which region a frame is in,
 * as it must there. */
static void map_add_others(struct mm_memmap *map)
{
    must(mm_memmap_add(map, mm_phys(0x4000000), 0x200000, MM_MEM_BOOT_RECLAIM), "mm_memmap_add");
    must(mm_memmap_add(map, mm_phys(0x80000000), 0x200000, MM_MEM_ACPI_NVS), "mm_memmap_add");
}

static void map_build(struct pmm *pmm, const struct ram *ram)
{
    mm_phys_t start = mm_frame_phys(ram->first);
    uint64_t bytes = ram->count * MM_FRAME_BYTES;

    must(mm_memmap_init(&pmm->map, pmm->range, MAP_RANGES, PHYS_BITS), "mm_memmap_init");
    must(mm_memmap_add(&pmm->map, start, bytes, MM_MEM_USABLE), "mm_memmap_add");
    map_add_others(&pmm->map);
    must(mm_memmap_finish(&pmm->map), "mm_memmap_finish");
    pmm->window = (struct mm_window){.count = 0};
    must(mm_window_add(&pmm->window, start, bytes, mm_virt_of(ram->bytes)), "mm_window_add");
    pmm->ram = *ram;
    pmm->config = (struct mm_pmm_config){.map = &pmm->map, .window = &pmm->window};
    pmm->config.pin = MM_PIN_NONE;
}

static size_t pmm_metadata_bytes(const struct ram *ram, unsigned cpus)
{
    struct pmm pmm;
    uint64_t bytes;

    map_build(&pmm, ram);
    pmm.config.cpu_count = cpus;
    must(mm_pmm_meta_bytes(&pmm.config, &bytes), "mm_pmm_meta_bytes");
    return bytes;
}

static size_t pmm_bytes(const struct ram *ram, unsigned cpus)
{
    return PMM_BYTES + pmm_metadata_bytes(ram, cpus);
}

static void *pmm_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct pmm *pmm = memory->start;

    map_build(pmm, ram);
    pmm->config.cpu_count = cpus;
    pmm->config.meta = (char *)memory->start + PMM_BYTES;
    pmm->config.meta_bytes = memory->bytes - PMM_BYTES;
    return pmm;
}

static void pmm_build(void *self)
{
    struct pmm *pmm = self;

    must(mm_pmm_init(&pmm->pmm, &pmm->config), "mm_pmm_init");
}

static bool alloc_frame(struct pmm *pmm, mm_phys_t *out)
{
    return mm_pmm_alloc_frame(&pmm->pmm, out) == MM_OK;
}

static bool alloc_block(struct pmm *pmm, unsigned order, mm_phys_t *out)
{
    struct mm_frame_request request = {.order = (uint8_t)order};

    return mm_pmm_alloc(&pmm->pmm, &request, out) == MM_OK;
}

#define LOOP_SELF                           struct pmm
#define LOOP_ALLOC(self, out)               alloc_frame(self, out)
#define LOOP_FREE(self, phys)               mm_pmm_free_frame(&(self)->pmm, phys)
#define LOOP_ALLOC_BULK(self, n, out)       (mm_pmm_alloc_bulk(&(self)->pmm, NULL, n, out) == MM_OK)
#define LOOP_FREE_BULK(self, frame, n)      mm_pmm_free_bulk(&(self)->pmm, frame, n)
#define LOOP_ALLOC_BLOCK(self, order, out)  alloc_block(self, order, out)
#define LOOP_FREE_BLOCK(self, order, first) mm_pmm_free(&(self)->pmm, first, UINT64_C(1) << (order))
#include "loops.h"

static size_t pmm_zero_ahead(void *self)
{
    struct pmm *pmm = self;
    size_t count = 0;
    enum mm_err err;

    while ((err = mm_pmm_zero_ahead(&pmm->pmm)) == MM_OK)
        count++;
    if (err != MM_ERR_EXISTS)
        die("mm_pmm_zero_ahead: error %d", (int)err);
    return count;
}

static size_t pmm_take_zeroed(void *self, uint32_t *frame, size_t count)
{
    struct pmm *pmm = self;

    for (size_t i = 0; i < count; i++) {
        mm_phys_t phys;

        if (mm_pmm_alloc_zeroed(&pmm->pmm, &phys) != MM_OK)
            return i;
        frame[i] = (uint32_t)mm_frame_of(phys);
    }
    return count;
}

static uint64_t pmm_kept_frames(void *self)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&((struct pmm *)self)->pmm, &stats);
    return stats.side_frames;
}

static size_t pmm_check(void *self)
{
    return mm_pmm_check(&((struct pmm *)self)->pmm, NULL);
}

const struct libmm BENCH_LIBMM = {
    .allocator = {.name = BENCH_LIBMM_NAME,
                  .bytes = pmm_bytes,
                  .metadata_bytes = pmm_metadata_bytes,
                  .prepare = pmm_prepare,
                  .build = pmm_build,
                  .kept_frames = pmm_kept_frames,
                  LOOPS},
    .zero_ahead = pmm_zero_ahead,
    .take_zeroed = pmm_take_zeroed,
    .check = pmm_check,
};
