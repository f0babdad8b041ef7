/*
 * pmm_init.c - a PMM from a finished memory map.
 *
 * Problem     Metadata must be sized before they have a place, and start-up must not take time for
 *             each frame.
 * Idea        The 2 MiB hulls of the map's RAM, merged where they touch, become regions; their
 *             chunks start all zero, that is, known to nobody, and each range of the map then fills
 *             its bits word by word. Sizing and building walk the same hulls.
 * Invariants  I1 hulls come in ascending order and do not touch (R1)
 *             I2 taking the metadata from the map afterwards does not change its hulls: they depend
 *                on types, and an early allocation changes a use
 * Locking     None: nobody else has the object yet.
 * Cost        O(ranges + chunks).
 * Rejected    Marking all of RAM free and taking out what is reserved: a range that is forgotten
 *             is then handed out instead of lost.
 */
#include "mm/pmm.h"

#include "memmap/memmap_internal.h"
#include "pmm/pmm_internal.h"

struct hull {
    uint64_t start, end; /* frames, multiples of MM_CHUNK_FRAMES */
};

static uint64_t range_first(const struct mm_mem_range *range)
{
    return mm_frame_of(range->start);
}

static uint64_t range_end(const struct mm_mem_range *range)
{
    return mm_frame_of(range->start) + range->bytes / MM_FRAME_BYTES;
}

/* Addresses are below 2^63, so rounding up does not wrap. */
static struct hull hull_of(const struct mm_mem_range *range)
{
    return (struct hull){
        mm_align_down(range_first(range), MM_CHUNK_FRAMES),
        mm_align_down(range_end(range) + MM_CHUNK_FRAMES - 1, MM_CHUNK_FRAMES),
    };
}

/* The hull of the RAM ranges from number *i on that touch each other; *i moves behind them. */
static bool hull_next(const struct mm_memmap *map, uint32_t *i, struct hull *out)
{
    bool found = false;

    for (; *i < map->count; (*i)++) {
        struct hull hull = hull_of(&map->range[*i]);

        if (!mm_mem_type_is_ram(map->range[*i].type))
            continue;
        if (!found)
            *out = hull;
        else if (hull.start <= out->end)
            out->end = hull.end;
        else
            break;
        found = true;
    }
    return found;
}

static void measure(const struct mm_memmap *map, uint32_t *regions, uint64_t *chunks)
{
    struct hull hull;

    *regions = 0;
    *chunks = 0;
    for (uint32_t i = 0; hull_next(map, &i, &hull);) {
        (*regions)++;
        *chunks += (hull.end - hull.start) / MM_CHUNK_FRAMES;
    }
}

static uint64_t bytes_for(uint32_t regions, uint64_t chunks)
{
    return regions * sizeof(struct mm_pmm_region) + chunks * sizeof(struct mm_pmm_chunk);
}

enum mm_err mm_pmm_meta_bytes(const struct mm_memmap *map, uint32_t cpu_count, uint64_t *out)
{
    uint32_t regions;
    uint64_t chunks;

    if (map == NULL || out == NULL || !mm_memmap_is_finished(map) || cpu_count == 0 ||
        cpu_count > MM_CPUS_MAX)
        return MM_ERR_BAD_ARG;
    measure(map, &regions, &chunks);
    *out = bytes_for(regions, chunks);
    return MM_OK;
}

/* ---- building ---- */

static void regions_build(struct mm_pmm *pmm, const struct mm_memmap *map)
{
    struct mm_pmm_region *region = pmm->region;
    uint64_t chunk_idx = 0;
    struct hull hull;

    for (uint32_t i = 0; hull_next(map, &i, &hull); region++) {
        *region = (struct mm_pmm_region){hull.start, hull.end, chunk_idx};
        chunk_idx += (hull.end - hull.start) / MM_CHUNK_FRAMES;
    }
}

/* Chunks with no RAM yet take the node of the range; others keep theirs only if it is the same. */
static void nodes_note(struct mm_pmm *pmm, const struct mm_pmm_region *region,
                       const struct mm_mem_range *range)
{
    uint64_t frame = mm_align_down(range_first(range), MM_CHUNK_FRAMES);

    for (; frame < range_end(range); frame += MM_CHUNK_FRAMES) {
        struct mm_pmm_chunk *chunk = mm_region_chunk(pmm, region, frame);

        if (chunk->count[MM_BITS_RAM] == 0)
            chunk->node = range->node;
        else if (chunk->node != range->node)
            chunk->node = MM_NODE_MIXED;
    }
}

static void range_enter(struct mm_pmm *pmm, const struct mm_mem_range *range)
{
    uint64_t first = range_first(range);
    uint64_t end = range_end(range);
    const struct mm_pmm_region *region = mm_region_of(pmm, first);

    nodes_note(pmm, region, range);
    mm_region_fill(pmm, region, MM_BITS_RAM, first, end);
    if (range->type != MM_MEM_USABLE)
        return;
    if (range->use == MM_USE_FREE)
        mm_frames_add(pmm, first, end - first);
    else if (range->use == MM_USE_EARLY)
        mm_frames_add_taken(pmm, first, end - first);
}

static void build(struct mm_pmm *pmm, const struct mm_pmm_config *config, uint32_t regions,
                  uint64_t chunks)
{
    const struct mm_memmap *map = config->map;
    struct mm_pmm_region *region = config->meta;
    void *chunk = region + regions;

    __builtin_memset(config->meta, 0, bytes_for(regions, chunks));
    *pmm = (struct mm_pmm){
        .window = config->window,
        .meta = config->meta,
        .meta_bytes = bytes_for(regions, chunks),
        .region = region,
        .chunk = chunk,
        .chunk_count = chunks,
        .region_count = regions,
        .cpu_count = config->cpu_count,
    };
    regions_build(pmm, map);
    for (uint32_t i = 0; i < map->count; i++)
        if (mm_mem_type_is_ram(map->range[i].type))
            range_enter(pmm, &map->range[i]);
}

enum mm_err mm_pmm_init_abi(struct mm_pmm *pmm, const struct mm_pmm_config *config,
                            const uint32_t *abi)
{
    uint32_t regions;
    uint64_t chunks;
    enum mm_err err;

    (void)abi; /* referring to it is the check (mm/config.h) */
    if (pmm == NULL || config == NULL || config->map == NULL || config->meta == NULL ||
        !mm_memmap_is_finished(config->map) || config->cpu_count == 0 ||
        config->cpu_count > MM_CPUS_MAX || (unsigned)config->pin > MM_PIN_NONE ||
        !mm_is_aligned((uintptr_t)config->meta, _Alignof(struct mm_pmm_chunk)))
        return MM_ERR_BAD_ARG;
    if (config->pin != MM_PIN_IRQ)
        return MM_ERR_UNSUPPORTED;
    measure(config->map, &regions, &chunks);
    if (config->meta_bytes < bytes_for(regions, chunks))
        return MM_ERR_NO_ROOM;
    err = mm_memmap_close(config->map);
    if (err != MM_OK)
        return err;
    build(pmm, config, regions, chunks);
    return MM_OK;
}
