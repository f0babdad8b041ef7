/*
 * layout.c - a memory map measured: how much metadata, and where each part lies in them.
 *
 * Problem     Metadata must be sized before they have a place, exactly as they will be built.
 * Idea        RAM is cut at the borders of zones and nodes into spans; spans of one zone and node
 *             that touch the same or neighbouring chunks are a region. Sizing and building (init.c)
 *             walk the same regions.
 * Invariants  I1 regions come in ascending order and do not overlap (R1)
 *             I2 taking the metadata from the map afterwards does not add regions or chunks, since
 *                they depend on types and an early allocation changes a use; it may add chunks with
 *                holes, at most HOLES_SLACK
 * Locking     None: nobody has the object yet.
 * Cost        O(ranges * nodes).
 * Rejected    One formula for the whole of memory: it is wrong at each hole.
 */
#include "pmm/layout.h"

/* Chunks with holes that the map gets between sizing and building: where the metadata's own range
 * ends. */
#define HOLES_SLACK 2u

bool mm_ram_span_next(struct mm_ram_walk *walk, struct mm_ram_span *out)
{
    for (; walk->range < walk->map->count; walk->range++) {
        const struct mm_mem_range *range = &walk->map->range[walk->range];
        uint64_t start = mm_max_u64(mm_frame_of(range->start), walk->from);
        uint64_t end = mm_frame_of(range->start) + range->bytes / MM_FRAME_BYTES;

        if (!mm_mem_type_is_ram(range->type) || start >= end)
            continue;
        out->zone = mm_zone_of(start);
        out->range = range;
        out->start = start;
        out->end = mm_min_u64(end, mm_zone_start(out->zone + 1u));
        walk->from = out->end;
        return true;
    }
    return false;
}

bool mm_ram_span_is_free(const struct mm_ram_span *span)
{
    return span->range->type == MM_MEM_USABLE && span->range->use == MM_USE_FREE;
}

bool mm_ram_span_is_kept(const struct mm_ram_span *span)
{
    return span->range->use == MM_USE_KEEP;
}

uint64_t mm_ram_span_chunks(const struct mm_ram_span *span, uint64_t *first)
{
    *first = mm_chunk_up(span->start);
    return mm_ram_span_is_free(span) || mm_ram_span_is_kept(span)
               ? mm_max_u64(*first, span->end / MM_CHUNK_FRAMES)
               : *first;
}

static bool joins(const struct mm_stretch *region, const struct mm_ram_span *span)
{
    return span->zone == region->zone && span->range->node == region->node &&
           span->start / MM_CHUNK_FRAMES <= (region->end - 1) / MM_CHUNK_FRAMES + 1;
}

bool mm_stretch_next(struct mm_ram_walk *walk, struct mm_stretch *out)
{
    struct mm_ram_walk ahead = *walk;
    struct mm_ram_span span;
    uint64_t first;

    if (!mm_ram_span_next(&ahead, &span))
        return false;
    *out = (struct mm_stretch){span.start, span.end, 0, span.zone, span.range->node};
    do {
        out->end = span.end;
        out->whole += mm_ram_span_chunks(&span, &first) - first;
        *walk = ahead;
    } while (mm_ram_span_next(&ahead, &span) && joins(out, &span));
    return true;
}

static uint64_t region_chunks(const struct mm_stretch *region)
{
    return mm_chunk_up(region->end) - region->start / MM_CHUNK_FRAMES;
}

/* ---- sizes ---- */

/* What MM_SET_LEVELS levels of 64 can number: 2 PiB. */
#define CHUNKS_MAX (UINT64_C(1) << (6 * MM_SET_LEVELS))

uint64_t mm_pool_chunks(const struct mm_memmap *map, unsigned node, unsigned zone)
{
    struct mm_ram_walk walk = {map, 0, 0};
    struct mm_stretch region;
    uint64_t chunks = 0;

    while (mm_stretch_next(&walk, &region))
        if (region.node == node && region.zone == zone)
            chunks += region_chunks(&region);
    return chunks;
}

/* Can each frame that is free now be reached through the window? Then side tables can grow. */
static bool window_has_all(const struct mm_pmm_config *config)
{
    struct mm_ram_walk walk = {config->map, 0, 0};
    struct mm_ram_span span;
    void *pointer;

    if (config->window == NULL)
        return false;
    while (mm_ram_span_next(&walk, &span))
        if (mm_ram_span_is_free(&span) &&
            mm_window_find(config->window, mm_frame_phys(span.start),
                           (span.end - span.start) * MM_FRAME_BYTES, &pointer) != MM_OK)
            return false;
    return true;
}

uint64_t mm_nodes_present(const struct mm_memmap *map)
{
    struct mm_ram_walk walk = {map, 0, 0};
    struct mm_ram_span span;
    uint64_t nodes = 0;

    while (mm_ram_span_next(&walk, &span))
        nodes |= UINT64_C(1) << span.range->node;
    return nodes;
}

static void measure_pools(const struct mm_memmap *map, struct mm_pmm_sizes *sizes)
{
    for (uint64_t nodes = mm_nodes_present(map); nodes != 0; nodes &= nodes - 1) {
        unsigned node = mm_lowest_bit(nodes);

        for (unsigned zone = 0; zone < MM_ZONES; zone++) {
            uint64_t chunks = mm_pool_chunks(map, node, zone);

            sizes->set_words += chunks != 0 ? mm_sets_words(chunks) : 0;
            sizes->pools += chunks != 0;
        }
        sizes->nodes++;
    }
}

enum mm_err mm_pmm_measure(const struct mm_pmm_config *config, unsigned slack,
                           struct mm_pmm_sizes *sizes)
{
    struct mm_ram_walk walk = {config->map, 0, 0};
    uint64_t chunk_bytes = MM_CHUNK_FRAMES * MM_FRAME_BYTES;
    uint64_t added =
        config->hotplug_bytes / chunk_bytes + (config->hotplug_bytes % chunk_bytes != 0 ? 1 : 0);
    struct mm_stretch region;

    *sizes = (struct mm_pmm_sizes){.cpus = config->cpu_count, .window = window_has_all(config)};
    while (mm_stretch_next(&walk, &region)) {
        sizes->regions++;
        sizes->chunks += region_chunks(&region);
        sizes->holes += region_chunks(&region) - region.whole;
        sizes->end = region.end;
    }
    if (sizes->end / MM_CHUNK_FRAMES >= UINT32_MAX || added >= UINT32_MAX ||
        sizes->chunks + added > CHUNKS_MAX || sizes->regions >= UINT16_MAX)
        return MM_ERR_UNSUPPORTED;
    measure_pools(config->map, sizes);
    sizes->holes += slack;
    sizes->chunk_capacity = sizes->chunks + added;
    sizes->region_capacity = sizes->regions + (added != 0 ? MM_REGIONS_ADDED_MAX : 0);
    sizes->pool_capacity = sizes->pools + (added != 0 ? MM_REGIONS_ADDED_MAX : 0);
    if (added != 0) /* each pool may round each level up */
        sizes->set_words +=
            mm_sets_words(added) + (uint64_t)MM_REGIONS_ADDED_MAX * MM_SETS * MM_SET_LEVELS;
    return MM_OK;
}

/* ---- the parts of the metadata ---- */

static uint64_t carve(uint64_t *offset, uint64_t bytes, uint64_t align)
{
    uint64_t at = mm_align_down(*offset + align - 1, align);

    *offset = at + bytes;
    return at;
}

struct mm_pmm_parts mm_pmm_parts(const struct mm_pmm_sizes *sizes)
{
    uint64_t chunks = sizes->chunk_capacity;
    uint64_t at = 0;
    struct mm_pmm_parts parts;

    parts.cpu = carve(&at, sizes->cpus * sizeof(struct mm_pmm_cpu), 128);
    parts.pool = carve(&at, sizes->pool_capacity * sizeof(struct mm_pmm_pool), 128);
    parts.node = carve(&at, sizes->nodes * sizeof(struct mm_pmm_node), 128);
    parts.watch = carve(&at, MM_ZONES * sizeof(struct mm_pmm_watch), 64);
    parts.region = carve(&at, sizes->region_capacity * sizeof(struct mm_pmm_region), 8);
    parts.section = carve(&at, (MM_SECTIONS_MAX + 1) * sizeof(struct mm_pmm_section), 8);
    parts.sets = carve(&at, sizes->set_words * sizeof(uint64_t), 64);
    parts.kind = carve(&at, chunks, 64);
    parts.directory = carve(&at, (chunks / 512 + 1) * sizeof(uint64_t), 8);
    parts.owner = carve(&at, MM_PMM_OWNERS ? chunks * MM_CHUNK_FRAMES : 0, 64);
    parts.zeroed_end = at;
    parts.record = carve(&at, chunks * sizeof(struct mm_pmm_record), 64);
    parts.bitmap = carve(&at, chunks * sizeof(uint64_t[MM_CHUNK_WORDS]), 64);
    parts.side = carve(&at, mm_side_bytes(chunks, sizes->holes, sizes->window), 64);
    parts.bytes = at + 128; /* `meta` need not be aligned */
    return parts;
}

MM_COLD enum mm_err mm_pmm_meta_bytes(const struct mm_pmm_config *config, uint64_t *out)
{
    struct mm_pmm_sizes sizes;
    enum mm_err err;

    if (config == NULL || out == NULL || config->map == NULL ||
        !mm_memmap_is_finished(config->map) || config->cpu_count == 0 ||
        config->cpu_count > MM_CPUS_MAX)
        return MM_ERR_BAD_ARG;
    err = mm_pmm_measure(config, HOLES_SLACK, &sizes);
    if (err == MM_OK)
        *out = mm_pmm_parts(&sizes).bytes;
    return err;
}
