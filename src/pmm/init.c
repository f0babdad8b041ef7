/*
 * init.c - a PMM from a finished memory map.
 *
 * Problem     Start-up must not take time for each frame, nor for each chunk more than a few
 *             stores.
 * Idea        Pools, regions and sections follow from the layout. Chunks that lie wholly in free
 *             memory are entered as runs; each other chunk gets a record of holes, and its frames
 *             one range at a time.
 * Invariants  I1 what is built is what was measured (layout.c)
 * Locking     None: nobody else has the object yet.
 * Cost        O(ranges * nodes + chunks).
 * Rejected    Marking all of RAM free and taking out what is reserved: a range that is forgotten
 *             is then handed out instead of lost.
 */
#include "mm/pmm.h"

#include "pmm/layout.h"

static void parts_place(struct mm_pmm *pmm, const struct mm_pmm_config *config,
                        const struct mm_pmm_sizes *sizes, const struct mm_pmm_parts *parts)
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
    for (uint64_t nodes = mm_nodes_present(map); nodes != 0; nodes &= nodes - 1) {
        unsigned id = mm_lowest_bit(nodes);

        pmm->node[pmm->node_count].id = (uint16_t)id;
        for (unsigned zone = 0; zone < MM_ZONES; zone++) {
            uint64_t chunks = mm_pool_chunks(map, id, zone);

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

static void region_build(struct mm_pmm *pmm, const struct mm_stretch *stretch)
{
    uint16_t pool = pmm->node[node_of(pmm, stretch->node)].pool[stretch->zone];
    struct mm_pmm_region *region = &pmm->region[pmm->region_count];

    *region = (struct mm_pmm_region){stretch->start, stretch->end, next_chunk(pmm, pool), pool, 0};
    if (pmm->region_count > 0 && region[-1].end == region->start &&
        region->start % MM_CHUNK_FRAMES != 0 && stretch->zone == mm_zone_of(region->start - 1))
        pmm->odd_borders = 1;
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

    while ((end - 1) >> pmm->section_shift >= MM_SECTIONS_MAX)
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
static void piece_enter(struct mm_pmm *pmm, const struct mm_ram_span *span, uint64_t start,
                        uint64_t end)
{
    for (uint64_t frame = start; frame < end && !mm_ram_span_is_kept(span);) {
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
    struct mm_ram_walk walk = {map, 0, 0};
    uint64_t next = 0; /* chunk numbers below this one are in place */
    const struct mm_pmm_region *before = NULL;
    struct mm_ram_span span;

    while (mm_ram_span_next(&walk, &span)) {
        const struct mm_pmm_region *region = mm_region_of(pmm, span.start);
        uint64_t first;
        uint64_t end = mm_ram_span_chunks(&span, &first);
        uint64_t last = mm_chunk_up(span.end);

        if (region != before)
            next = region->start / MM_CHUNK_FRAMES;
        before = region;
        if (first >= end) {
            holes_build(pmm, region, next, last);
            piece_enter(pmm, &span, span.start, span.end);
        } else {
            holes_build(pmm, region, next, first);
            if (mm_ram_span_is_kept(&span))
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
    pmm->reserve_frames -= rest; /* what is kept, not what was asked */
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
    struct mm_ram_walk walk;
    struct mm_stretch stretch;
    struct mm_pmm_sizes sizes;
    struct mm_pmm_parts parts;
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
    err = mm_pmm_measure(config, 0, &sizes);
    if (err != MM_OK)
        return err;
    parts = mm_pmm_parts(&sizes);
    if (config->meta_bytes < parts.bytes)
        return MM_ERR_NO_ROOM;
    err = mm_memmap_close(config->map);
    if (err != MM_OK)
        return err;
    parts_place(pmm, config, &sizes, &parts);
    pools_build(pmm, config->map);
    walk = (struct mm_ram_walk){config->map, 0, 0};
    while (mm_stretch_next(&walk, &stretch))
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
