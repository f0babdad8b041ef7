/*
 * layout.h - what a memory map becomes: spans, regions, sizes, and the parts of the metadata.
 */
#ifndef MM_PMM_LAYOUT_H
#define MM_PMM_LAYOUT_H

#include "memmap/memmap_internal.h"
#include "pmm/stock.h"

/* RAM of one range, zone and node. */
struct mm_ram_span {
    uint64_t start, end; /* frames */
    const struct mm_mem_range *range;
    enum mm_zone zone;
};

/* Spans in ascending order. Start with {map, 0, 0}. */
struct mm_ram_walk {
    const struct mm_memmap *map;
    uint32_t range;
    uint64_t from; /* frames of the range below this one are done */
};

bool mm_ram_span_next(struct mm_ram_walk *walk, struct mm_ram_span *out);
bool mm_ram_span_is_free(const struct mm_ram_span *span);

/* Kept for good: for the PMM it is as if there was nothing. */
bool mm_ram_span_is_kept(const struct mm_ram_span *span);

static inline uint64_t mm_chunk_up(uint64_t frame)
{
    return (frame + MM_CHUNK_FRAMES - 1) / MM_CHUNK_FRAMES;
}

/* Chunks of the span, by number, [*first, return value), that need no record of holes: all of their
 * frames are free, or none will ever be. */
uint64_t mm_ram_span_chunks(const struct mm_ram_span *span, uint64_t *first);

/* A region: its spans are [walk, walk of the next region). */
struct mm_stretch {
    uint64_t start, end;
    uint64_t whole; /* chunks that need no record of holes */
    enum mm_zone zone;
    unsigned node;
};

bool mm_stretch_next(struct mm_ram_walk *walk, struct mm_stretch *out);

/* Bit n: node n has RAM. Chunks of one zone and node. */
uint64_t mm_nodes_present(const struct mm_memmap *map);
uint64_t mm_pool_chunks(const struct mm_memmap *map, unsigned node, unsigned zone);

struct mm_pmm_sizes {
    uint64_t chunks, holes, set_words, end;
    uint32_t regions, pools, nodes, cpus;
    uint64_t chunk_capacity;
    uint32_t region_capacity, pool_capacity;
    bool window;
};

/* `slack`: chunks with holes beyond those that the map has now. */
enum mm_err mm_pmm_measure(const struct mm_pmm_config *config, unsigned slack,
                           struct mm_pmm_sizes *sizes);

#define MM_SECTIONS_MAX 1024u

/* Offsets into the metadata. */
struct mm_pmm_parts {
    uint64_t cpu, pool, node, watch, region, section, sets, kind, directory, owner, zeroed_end;
    uint64_t record, bitmap, side;
    uint64_t bytes;
};

struct mm_pmm_parts mm_pmm_parts(const struct mm_pmm_sizes *sizes);

#endif
