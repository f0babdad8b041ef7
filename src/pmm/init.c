/*
 * init.c - a PMM from a finished memory map.
 *
 * Problem     Metadata must be sized before they have a place, and start-up must not take time for
 *             each frame, nor for each chunk more than a few stores.
 * Idea        RAM is cut at the borders of zones and nodes into spans; spans of one zone and node
 *             that touch the same or neighbouring chunks are a region. Sizing and building walk the
 *             same regions. Chunks that lie wholly in free memory are entered as runs; each other
 *             chunk gets a record of holes, and its frames one range at a time.
 * Invariants  I1 regions come in ascending order and do not overlap (R1)
 *             I2 taking the metadata from the map afterwards does not add regions or chunks, since
 *                they depend on types and an early allocation changes a use; it may add chunks with
 *                holes, at most HOLES_SLACK
 * Locking     None: nobody else has the object yet.
 * Cost        O(ranges * nodes + chunks).
 * Rejected    Marking all of RAM free and taking out what is reserved: a range that is forgotten
 *             is then handed out instead of lost.
 */
#include "mm/pmm.h"

#include "memmap/memmap_internal.h"
#include "pmm/stock.h"

/* Chunks with holes that the map gets between sizing and building: where the metadata's own range
 * ends. */
#define HOLES_SLACK 2u

/* RAM of one range, zone and node. */
struct span {
    uint64_t start, end; /* frames */
    const struct mm_mem_range *range;
    enum mm_zone zone;
};

/* Spans in ascending order. Start with {map, 0, 0}. */
struct span_walk {
    const struct mm_memmap *map;
    uint32_t range;
    uint64_t from; /* frames of the range below this one are done */
};

static bool span_next(struct span_walk *walk, struct span *out)
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

static bool span_is_free(const struct span *span)
{
    return span->range->type == MM_MEM_USABLE && span->range->use == MM_USE_FREE;
}

static uint64_t chunk_up(uint64_t frame)
{
    return (frame + MM_CHUNK_FRAMES - 1) / MM_CHUNK_FRAMES;
}

/* Kept for good: for the PMM it is as if there was nothing. */
static bool span_is_kept(const struct span *span)
{
    return span->range->use == MM_USE_KEEP;
}

/* Chunks of the span, by number, [*first, return value), that need no record of holes: all of their
 * frames are free, or none will ever be. */
static uint64_t whole_chunks(const struct span *span, uint64_t *first)
{
    *first = chunk_up(span->start);
    return span_is_free(span) || span_is_kept(span)
               ? mm_max_u64(*first, span->end / MM_CHUNK_FRAMES)
               : *first;
}

/* A region: its spans are [walk, walk of the next region). */
struct stretch {
    uint64_t start, end;
    uint64_t whole; /* chunks that need no record of holes */
    enum mm_zone zone;
    unsigned node;
};

static bool joins(const struct stretch *region, const struct span *span)
{
    return span->zone == region->zone && span->range->node == region->node &&
           span->start / MM_CHUNK_FRAMES <= (region->end - 1) / MM_CHUNK_FRAMES + 1;
}

static bool region_next(struct span_walk *walk, struct stretch *out)
{
    struct span_walk ahead = *walk;
    struct span span;
    uint64_t first;

    if (!span_next(&ahead, &span))
        return false;
    *out = (struct stretch){span.start, span.end, 0, span.zone, span.range->node};
    do {
        out->end = span.end;
        out->whole += whole_chunks(&span, &first) - first;
        *walk = ahead;
    } while (span_next(&ahead, &span) && joins(out, &span));
    return true;
}

static uint64_t region_chunks(const struct stretch *region)
{
    return chunk_up(region->end) - region->start / MM_CHUNK_FRAMES;
}

/* ---- sizes ---- */

/* What MM_SET_LEVELS levels of 64 can number: 2 PiB. */
#define CHUNKS_MAX (UINT64_C(1) << (6 * MM_SET_LEVELS))

struct sizes {
    uint64_t chunks, holes, set_words, end;
    uint32_t regions, pools, nodes, cpus;
    uint64_t chunk_capacity;
    uint32_t region_capacity, pool_capacity;
    bool window;
};

/* Chunks of one zone and node. */
static uint64_t pool_chunks(const struct mm_memmap *map, unsigned node, unsigned zone)
{
    struct span_walk walk = {map, 0, 0};
    struct stretch region;
    uint64_t chunks = 0;

    while (region_next(&walk, &region))
        if (region.node == node && region.zone == zone)
            chunks += region_chunks(&region);
    return chunks;
}

/* Can each frame that is free now be reached through the window? Then side tables can grow. */
static bool window_has_all(const struct mm_pmm_config *config)
{
    struct span_walk walk = {config->map, 0, 0};
    struct span span;
    void *pointer;

    if (config->window == NULL)
        return false;
    while (span_next(&walk, &span))
        if (span_is_free(&span) &&
            mm_window_find(config->window, mm_frame_phys(span.start),
                           (span.end - span.start) * MM_FRAME_BYTES, &pointer) != MM_OK)
            return false;
    return true;
}

/* Bit n: node n has RAM. */
static uint64_t nodes_present(const struct mm_memmap *map)
{
    struct span_walk walk = {map, 0, 0};
    struct span span;
    uint64_t nodes = 0;

    while (span_next(&walk, &span))
        nodes |= UINT64_C(1) << span.range->node;
    return nodes;
}

static void measure_pools(const struct mm_memmap *map, struct sizes *sizes)
{
    for (uint64_t nodes = nodes_present(map); nodes != 0; nodes &= nodes - 1) {
        unsigned node = mm_lowest_bit(nodes);

        for (unsigned zone = 0; zone < MM_ZONES; zone++) {
            uint64_t chunks = pool_chunks(map, node, zone);

            sizes->set_words += chunks != 0 ? mm_sets_words(chunks) : 0;
            sizes->pools += chunks != 0;
        }
        sizes->nodes++;
    }
}

/* `slack`: chunks with holes beyond those that the map has now. */
static enum mm_err measure(const struct mm_pmm_config *config, unsigned slack, struct sizes *sizes)
{
    struct span_walk walk = {config->map, 0, 0};
    uint64_t chunk_bytes = MM_CHUNK_FRAMES * MM_FRAME_BYTES;
    uint64_t added =
        config->hotplug_bytes / chunk_bytes + (config->hotplug_bytes % chunk_bytes != 0 ? 1 : 0);
    struct stretch region;

    *sizes = (struct sizes){.cpus = config->cpu_count, .window = window_has_all(config)};
    while (region_next(&walk, &region)) {
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

#define SECTIONS_MAX 1024u

struct parts {
    uint64_t cpu, pool, node, watch, region, section, sets, kind, directory, owner, zeroed_end;
    uint64_t record, bitmap, side;
    uint64_t bytes;
};

static uint64_t carve(uint64_t *offset, uint64_t bytes, uint64_t align)
{
    uint64_t at = mm_align_down(*offset + align - 1, align);

    *offset = at + bytes;
    return at;
}

static struct parts parts_of(const struct sizes *sizes)
{
    uint64_t chunks = sizes->chunk_capacity;
    uint64_t at = 0;
    struct parts parts;

    parts.cpu = carve(&at, sizes->cpus * sizeof(struct mm_pmm_cpu), 128);
    parts.pool = carve(&at, sizes->pool_capacity * sizeof(struct mm_pmm_pool), 128);
    parts.node = carve(&at, sizes->nodes * sizeof(struct mm_pmm_node), 128);
    parts.watch = carve(&at, MM_ZONES * sizeof(struct mm_pmm_watch), 64);
    parts.region = carve(&at, sizes->region_capacity * sizeof(struct mm_pmm_region), 8);
    parts.section = carve(&at, (SECTIONS_MAX + 1) * sizeof(struct mm_pmm_section), 8);
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
    struct sizes sizes;
    enum mm_err err;

    if (config == NULL || out == NULL || config->map == NULL ||
        !mm_memmap_is_finished(config->map) || config->cpu_count == 0 ||
        config->cpu_count > MM_CPUS_MAX)
        return MM_ERR_BAD_ARG;
    err = measure(config, HOLES_SLACK, &sizes);
    if (err == MM_OK)
        *out = parts_of(&sizes).bytes;
    return err;
}

static void parts_place(struct mm_pmm *pmm, const struct mm_pmm_config *config,
                        const struct sizes *sizes, const struct parts *parts)
{
    uintptr_t base = (uintptr_t)mm_align_down((uintptr_t)config->meta + 127, 128);

    __builtin_memset((void *)base, 0, parts->zeroed_end);
    *pmm = (struct mm_pmm){
        .pin = config->pin,
        .cpu_count = config->cpu_count,
        .cpu = (void *)(base + parts->cpu),
        .region = (void *)(base + parts->region),
        .section = (void *)(base + parts->section),
        .kind = (void *)(base + parts->kind),
        .bitmap = (void *)(base + parts->bitmap),
        .record = (void *)(base + parts->record),
        .owner = MM_PMM_OWNERS ? (void *)(base + parts->owner) : NULL,
        .tag_directory = (void *)(base + parts->directory),
        .pool = (void *)(base + parts->pool),
        .node = (void *)(base + parts->node),
        .watch = (void *)(base + parts->watch),
        .spare_words = (void *)(base + parts->sets),
        .window = config->window,
        .meta = config->meta,
        .meta_bytes = parts->bytes,
        .reserve_frames = config->reserve_frames,
        .sorted_count = sizes->regions,
        .region_capacity = sizes->region_capacity,
        .chunk_capacity = (uint32_t)sizes->chunk_capacity,
        .cache_mask = MM_KIND_CACHED,
    };
    __builtin_memset(pmm->kind, MM_KIND_UNUSED, sizes->chunk_capacity);
    mm_side_init(pmm, (void *)(base + parts->side), sizes->chunk_capacity, sizes->holes,
                 sizes->window);
}

/* ---- pools, nodes, regions ---- */

static void pool_build(struct mm_pmm *pmm, unsigned node, unsigned zone, uint64_t chunks)
{
    struct mm_pmm_pool *pool = &pmm->pool[pmm->pool_count];

    *pool = (struct mm_pmm_pool){
        .chunk_first = pmm->chunk_count,
        .next = MM_POOL_NONE,
        .zone = (uint8_t)zone,
        .node = (uint8_t)node,
    };
    mm_sets_init(&pool->sets, pmm->spare_words, (uint32_t)chunks);
    pmm->spare_words += mm_sets_words(chunks);
    pmm->node[node].pool[zone] = (uint16_t)pmm->pool_count;
    pmm->chunk_count += (uint32_t)chunks;
    pmm->pool_count++;
}

static void pools_build(struct mm_pmm *pmm, const struct mm_memmap *map)
{
    for (uint64_t nodes = nodes_present(map); nodes != 0; nodes &= nodes - 1) {
        unsigned id = mm_lowest_bit(nodes);

        pmm->node[pmm->node_count].id = (uint16_t)id;
        for (unsigned zone = 0; zone < MM_ZONES; zone++) {
            uint64_t chunks = pool_chunks(map, id, zone);

            pmm->node[pmm->node_count].pool[zone] = MM_POOL_NONE;
            if (chunks != 0)
                pool_build(pmm, pmm->node_count, zone, chunks);
        }
        pmm->node_count++;
    }
}

static unsigned node_of(const struct mm_pmm *pmm, unsigned id)
{
    unsigned node = 0;

    while (pmm->node[node].id != id)
        node++;
    return node;
}

/* Where the next chunks of the pool are: behind its last region so far. */
static uint32_t next_chunk(const struct mm_pmm *pmm, unsigned pool)
{
    for (uint32_t i = pmm->region_count; i-- > 0;) {
        const struct mm_pmm_region *region = &pmm->region[i];

        if (region->pool == pool)
            return mm_region_chunk(region, region->end - 1) + 1;
    }
    return pmm->pool[pool].chunk_first;
}

static void region_build(struct mm_pmm *pmm, const struct stretch *stretch)
{
    uint16_t pool = pmm->node[node_of(pmm, stretch->node)].pool[stretch->zone];
    struct mm_pmm_region *region = &pmm->region[pmm->region_count];

    *region = (struct mm_pmm_region){stretch->start, stretch->end, next_chunk(pmm, pool), pool, 0};
    if (pmm->region_count > 0 && region[-1].end == region->start &&
        region->start % MM_CHUNK_FRAMES != 0 && stretch->zone == mm_zone_of(region->start - 1))
        pmm->odd_borders = true;
    pmm->region_count++;
}

/* The section that begins at frame `start`; `region` is the first that ends behind it. */
struct mm_pmm_section mm_section_of(const struct mm_pmm *pmm, uint64_t start, uint32_t region)
{
    const struct mm_pmm_region *it = &pmm->region[region];
    struct mm_pmm_section section = {MM_SECTION_MIXED, region};

    if (region < pmm->sorted_count && it->start <= start &&
        it->end >= start + (UINT64_C(1) << pmm->section_shift))
        section.bias = it->chunk - (uint32_t)(it->start / MM_CHUNK_FRAMES);
    return section;
}

static void sections_build(struct mm_pmm *pmm)
{
    uint64_t end = pmm->region[pmm->region_count - 1].end;
    uint32_t region = 0;

    while ((end - 1) >> pmm->section_shift >= SECTIONS_MAX)
        pmm->section_shift++;
    pmm->section_count = (uint32_t)((end - 1) >> pmm->section_shift) + 1;
    for (uint32_t i = 0; i <= pmm->section_count; i++) {
        while (region < pmm->region_count && pmm->region[region].end <= (uint64_t)i
                                                                            << pmm->section_shift)
            region++;
        pmm->section[i] = mm_section_of(pmm, (uint64_t)i << pmm->section_shift, region);
    }
}

/* ---- chunks ---- */

static void holes_build(struct mm_pmm *pmm, const struct mm_pmm_region *region, uint64_t from,
                        uint64_t to)
{
    for (uint64_t number = from; number < to; number++) {
        uint32_t chunk = region->chunk + (uint32_t)(number - region->start / MM_CHUNK_FRAMES);
        uint32_t hole = mm_hole_take(pmm);

        MM_ASSERT2(hole != MM_CHUNK_NONE, number, chunk);
        pmm->record[chunk] = (struct mm_pmm_record){
            .number = (uint32_t)number,
            .side = hole,
            .set = MM_SET_NONE,
            .fit = MM_FIT_UNKNOWN,
        };
        __builtin_memset(pmm->bitmap[chunk], 0, sizeof pmm->bitmap[chunk]);
        __builtin_memset(mm_hole_at(pmm, hole), 0, sizeof(struct mm_pmm_hole));
        pmm->kind[chunk] = MM_KIND_PLAIN | MM_KIND_HOLES;
    }
}

/* Chunks that the PMM will never know more of than that they are there. */
static void kept_build(struct mm_pmm *pmm, const struct mm_pmm_region *region, uint64_t from,
                       uint64_t to)
{
    for (uint64_t number = from; number < to; number++)
        pmm->record[mm_region_chunk(region, number * MM_CHUNK_FRAMES)] = (struct mm_pmm_record){
            .number = (uint32_t)number, .set = MM_SET_NONE, .fit = MM_FIT_UNKNOWN};
}

/* Frames of chunks with holes are RAM, and may be managed. */
static void piece_enter(struct mm_pmm *pmm, const struct span *span, uint64_t start, uint64_t end)
{
    for (uint64_t frame = start; frame < end && !span_is_kept(span);) {
        uint64_t stop = mm_min_u64(end, mm_align_down(frame, MM_CHUNK_FRAMES) + MM_CHUNK_FRAMES);
        struct mm_place place;
        bool found = mm_place_of(pmm, frame, &place);

        MM_ASSERT2(found && mm_hole_of(pmm, place.chunk) != NULL, frame, end);
        mm_bits_fill(mm_hole_of(pmm, place.chunk)->ram, place.index, (unsigned)(stop - frame));
        if (span->range->type == MM_MEM_USABLE &&
            (span->range->use == MM_USE_FREE || span->range->use == MM_USE_EARLY)) {
            mm_frames_add(pmm, frame, stop - frame, span->range->use == MM_USE_EARLY);
            if (span->range->use == MM_USE_EARLY)
                mm_owner_set(pmm, frame, stop - frame, MM_OWNER_CALLER);
        }
        frame = stop;
    }
}

static void chunks_build(struct mm_pmm *pmm, const struct mm_memmap *map)
{
    struct span_walk walk = {map, 0, 0};
    uint64_t next = 0; /* chunk numbers below this one are in place */
    const struct mm_pmm_region *before = NULL;
    struct span span;

    while (span_next(&walk, &span)) {
        const struct mm_pmm_region *region = mm_region_of(pmm, span.start);
        uint64_t first;
        uint64_t end = whole_chunks(&span, &first);
        uint64_t last = chunk_up(span.end);

        if (region != before)
            next = region->start / MM_CHUNK_FRAMES;
        before = region;
        if (first >= end) {
            holes_build(pmm, region, next, last);
            piece_enter(pmm, &span, span.start, span.end);
        } else {
            holes_build(pmm, region, next, first);
            if (span_is_kept(&span))
                kept_build(pmm, region, first, end);
            else
                mm_chunks_add(pmm, mm_pool_of(pmm, region),
                              mm_region_chunk(region, first * MM_CHUNK_FRAMES),
                              (uint32_t)(end - first), (uint32_t)first);
            holes_build(pmm, region, mm_max_u64(next, end), last);
            piece_enter(pmm, &span, span.start, mm_min_u64(first * MM_CHUNK_FRAMES, span.end));
            piece_enter(pmm, &span, mm_max_u64(span.start, end * MM_CHUNK_FRAMES), span.end);
        }
        next = mm_max_u64(next, last);
    }
}

/* ---- what is kept back, nodes' order, CPUs ---- */

static void keep_back(struct mm_pmm *pmm, uint32_t flags)
{
    uint64_t rest = pmm->reserve_frames;

    for (unsigned zone = MM_ZONES; zone-- > MM_ZONE_DMA;) {
        uint64_t above = 0;

        for (uint32_t i = 0; i < pmm->pool_count; i++)
            above += pmm->pool[i].zone > zone ? pmm->pool[i].managed_frames : 0;
        for (uint32_t i = 0; i < pmm->pool_count; i++) {
            struct mm_pmm_pool *pool = &pmm->pool[i];

            if (pool->zone != zone)
                continue;
            if ((flags & MM_PMM_NO_FLOORS) == 0)
                pool->floor_frames = mm_min_u64(pool->managed_frames / 2, above / 256);
            pool->reserve_frames = mm_min_u64(rest, pool->managed_frames / 2);
            rest -= pool->reserve_frames;
        }
    }
}

static unsigned distance(const struct mm_pmm *pmm, const struct mm_pmm_config *config,
                         unsigned from, unsigned to)
{
    unsigned a = pmm->node[from].id;
    unsigned b = pmm->node[to].id;

    if (from == to)
        return 0;
    if (config->distance == NULL || a >= config->distance_nodes || b >= config->distance_nodes)
        return UINT8_MAX;
    return config->distance[a * config->distance_nodes + b];
}

static void order_nodes(struct mm_pmm *pmm, const struct mm_pmm_config *config)
{
    for (unsigned from = 0; from < pmm->node_count; from++) {
        uint8_t *order = pmm->node[from].order;

        for (unsigned to = 0; to < pmm->node_count; to++) {
            unsigned at = to;

            for (; at > 0 &&
                   distance(pmm, config, from, order[at - 1]) > distance(pmm, config, from, to);
                 at--)
                order[at] = order[at - 1];
            order[at] = (uint8_t)to;
        }
    }
}

/* What one magazine holds: two of them, on all CPUs, hide no more than 0.05 % of memory, or 16
 * frames each. */
static uint32_t magazine_for(const struct mm_pmm *pmm)
{
    uint64_t frames = 0;
    uint64_t both = 16;

    for (uint32_t i = 0; i < pmm->pool_count; i++)
        frames += pmm->pool[i].zone >= MM_ZONE_DMA32 ? pmm->pool[i].managed_frames : 0;
    while (both < 2 * MM_MAGAZINE_MAX && both * 2 <= frames / (UINT64_C(2048) * pmm->cpu_count))
        both *= 2;
    return (uint32_t)(both / 2);
}

static void cpus_build(struct mm_pmm *pmm)
{
    pmm->magazine_frames = magazine_for(pmm);
    pmm->low_frames = (uint64_t)pmm->cpu_count * 4 * pmm->magazine_frames + pmm->reserve_frames;
    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        pmm->cpu[i] = (struct mm_pmm_cpu){
            .state = MM_STOCK_PARK, /* the first use ends it */
            .free = pmm->pin == MM_PIN_LOCK ? MM_STOCK_OPEN : MM_STOCK_FREE,
            .accept = MM_KIND_CACHED,
            .cap = pmm->magazine_frames,
            .loaded = &pmm->cpu[i].magazine[0],
            .spare = &pmm->cpu[i].magazine[1],
        };
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        pmm->watch[zone].level = MM_WATCH_OFF;
}

MM_COLD enum mm_err mm_pmm_init_abi(struct mm_pmm *pmm, const struct mm_pmm_config *config,
                                    const uint32_t *abi)
{
    struct span_walk walk;
    struct stretch stretch;
    struct sizes sizes;
    struct parts parts;
    enum mm_err err;

    (void)abi; /* referring to it is the check (mm/config.h) */
    if (pmm == NULL || config == NULL || config->map == NULL || config->meta == NULL ||
        !mm_memmap_is_finished(config->map) || config->cpu_count == 0 ||
        config->cpu_count > MM_CPUS_MAX || (unsigned)config->pin > MM_PIN_NONE ||
        (config->flags & ~MM_PMM_NO_FLOORS) != 0 ||
        (config->distance == NULL && config->distance_nodes != 0) ||
        !mm_is_aligned((uintptr_t)config->meta, sizeof(uint64_t)))
        return MM_ERR_BAD_ARG;
    if (config->pin == MM_PIN_PREEMPT && !MM_PIN_PREEMPT_BUILT)
        return MM_ERR_UNSUPPORTED;
    err = measure(config, 0, &sizes);
    if (err != MM_OK)
        return err;
    parts = parts_of(&sizes);
    if (config->meta_bytes < parts.bytes)
        return MM_ERR_NO_ROOM;
    err = mm_memmap_close(config->map);
    if (err != MM_OK)
        return err;
    parts_place(pmm, config, &sizes, &parts);
    pools_build(pmm, config->map);
    walk = (struct span_walk){config->map, 0, 0};
    while (region_next(&walk, &stretch))
        region_build(pmm, &stretch);
    sections_build(pmm);
    chunks_build(pmm, config->map);
    keep_back(pmm, config->flags);
    order_nodes(pmm, config);
    cpus_build(pmm);
    mm_mode_update(pmm);
    return MM_OK;
}

MM_COLD enum mm_err mm_pmm_set_cpu_node(struct mm_pmm *pmm, unsigned cpu, unsigned node)
{
    mm_lock_guard_t guard;
    unsigned index = 0;

    if (pmm == NULL || cpu >= pmm->cpu_count)
        return MM_ERR_BAD_ARG;
    while (index < pmm->node_count && pmm->node[index].id != node)
        index++;
    if (index == pmm->node_count)
        return MM_ERR_BAD_ARG;
    guard = mm_lock_take(&pmm->mode_lock);
    if (pmm->cache_mask == MM_KIND_CACHED && pmm->node_count > 1) {
        for (uint32_t i = 0; i < pmm->cpu_count; i++)
            mm_store_relaxed_u8(&pmm->cpu[i].accept, (uint8_t)(MM_KIND_CACHED | pmm->cpu[i].node));
        mm_store_relaxed_u32(&pmm->cache_mask, UINT8_MAX);
    }
    pmm->cpu[cpu].node = (uint8_t)index;
    if (pmm->node_count > 1)
        mm_store_relaxed_u8(&pmm->cpu[cpu].accept, (uint8_t)(MM_KIND_CACHED | index));
    mm_lock_release(&pmm->mode_lock, guard);
    return MM_OK;
}
