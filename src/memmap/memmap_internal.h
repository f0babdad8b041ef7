/*
 * memmap_internal.h - the inside of the memory map: its states, and the one way to edit its list.
 *
 * Problem     Splitting, filling holes and merging neighbours are one small algorithm each, and
 *             together the commonest place for a lost byte.
 * Idea        Every edit is a rewrite: a producer reads the old list in order and emits the new
 *             one; the emitter merges. It runs twice, first only to count, so that an edit for
 *             which the storage is too small changes nothing (list.c).
 * Invariants  See list.c and memmap.c.
 * Locking     The caller serialises.
 * Cost        O(ranges) per edit.
 * Rejected    Editing in place with insert and remove: half done when the room ends.
 */
#ifndef MM_MEMMAP_INTERNAL_H
#define MM_MEMMAP_INTERNAL_H

#include "mm/memmap.h"

/* struct mm_memmap.state; 0 is a map that was never initialised. */
enum {
    MM_MEMMAP_COLLECTING = 1,
    MM_MEMMAP_FINISHED = 2, /* frame-granular; early allocations */
    MM_MEMMAP_CLOSED = 3    /* a PMM owns the memory; only read */
};

static inline bool mm_memmap_is_finished(const struct mm_memmap *map)
{
    return map->state == MM_MEMMAP_FINISHED;
}

/* No early allocation or reservation from now on: a PMM was built over the map.
 * Returns MM_OK | MM_ERR_BUSY (not finished, or closed before). */
MM_NODISCARD enum mm_err mm_memmap_close(struct mm_memmap *map);

/* Is memory of this type handed out, at once or when it is reclaimed? Then no frame of it is that
 * is such memory only in part. */
static inline bool mm_mem_type_is_lent(unsigned type)
{
    return type == MM_MEM_USABLE || type == MM_MEM_BOOT_RECLAIM || type == MM_MEM_ACPI_RECLAIM;
}

/* The end of a range, exclusive: ranges of a map never wrap (phys_bits <= 63). */
static inline uint64_t mm_mem_range_end(const struct mm_mem_range *range)
{
    return range->start.raw + range->bytes;
}

/* First address that does not exist. */
static inline uint64_t mm_memmap_limit(const struct mm_memmap *map)
{
    return UINT64_C(1) << map->phys_bits;
}

/* What a change does to the pieces inside [start, end), start < end. */
enum mm_memmap_how {
    MM_MEMMAP_RAISE,   /* greater type and use win, as mm/memmap.h says; holes become pieces */
    MM_MEMMAP_SET_USE, /* holes stay */
    MM_MEMMAP_SET_NODE /* holes, described or reserved only, stay */
};

struct mm_memmap_change {
    uint64_t start;
    uint64_t end;
    enum mm_memmap_how how;
    uint8_t type;
    uint8_t use;
    uint16_t node;
};

/* The new list while it is made. */
struct mm_memmap_rewrite {
    struct mm_mem_range *out; /* NULL = only count */
    struct mm_mem_range last; /* the newest piece, which may still grow */
    uint32_t count;
    uint32_t peak; /* most entries, new and still to be read, at any time */
};

/* Append to the new list, merging with the piece before; a range of 0 bytes is nothing. */
void mm_memmap_emit(struct mm_memmap_rewrite *rewrite, struct mm_mem_range range);

/* To be told after each old piece: how many are still to be read. */
void mm_memmap_consumed(struct mm_memmap_rewrite *rewrite, uint32_t remaining);

/* Reads `count` old pieces in order, each once and by value before it emits what replaces it. */
typedef void mm_memmap_produce_fn(const struct mm_mem_range *old, uint32_t count,
                                  struct mm_memmap_rewrite *rewrite, const void *arg);

/* Replace the list by what `produce` emits. MM_OK | MM_ERR_NO_ROOM (nothing changed). */
MM_NODISCARD enum mm_err mm_memmap_rewrite(struct mm_memmap *map, mm_memmap_produce_fn *produce,
                                           const void *arg);

/* MM_OK | MM_ERR_NO_ROOM (nothing changed) */
MM_NODISCARD enum mm_err mm_memmap_apply(struct mm_memmap *map,
                                         const struct mm_memmap_change *change);

/* All of `count` changes or none; in ascending order, not overlapping. */
MM_NODISCARD enum mm_err mm_memmap_apply_all(struct mm_memmap *map,
                                             const struct mm_memmap_change *change, uint32_t count);

#endif
