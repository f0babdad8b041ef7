/*
 * check.c - adding up a map, and finding out whether it is sound.
 *
 * Problem     A map that is damaged, or was edited wrongly, hands out memory that is not there.
 * Idea        Verify what list.c and memmap.c promise, entry by entry, before anything is believed.
 * Invariants  The checker reads only entries below min(count, capacity).
 * Locking     The caller serialises.
 * Cost        O(ranges).
 * Rejected    Repairing: a map that breaks its invariants says nothing reliable any more.
 */
#include "memmap/memmap_internal.h"

#include "base/bits.h"
#include "base/checked.h"
#include "base/report.h"

#define LOW_END UINT64_C(0x100000)

static bool may_be_reclaimed(const struct mm_mem_range *range)
{
    switch (range->type) {
    case MM_MEM_USABLE:
        return range->use > MM_USE_FREE && range->use <= MM_USE_MODULE_INFO;
    case MM_MEM_BOOT_RECLAIM:
    case MM_MEM_ACPI_RECLAIM:
        return range->use <= MM_USE_MODULE_INFO;
    default:
        return false;
    }
}

static void add_range(struct mm_memmap_totals *totals, const struct mm_mem_range *range)
{
    uint64_t start = range->start.raw, end = mm_mem_range_end(range);

    if (range->type == MM_MEM_USABLE) {
        totals->usable_bytes += range->bytes;
        if (range->use == MM_USE_FREE) {
            totals->free_bytes += range->bytes;
            totals->low_bytes += mm_min_u64(end, LOW_END) - mm_min_u64(start, LOW_END);
        }
    }
    if (may_be_reclaimed(range))
        totals->reclaim_bytes += range->bytes;
    if (mm_mem_type_is_ram(range->type)) {
        totals->ram_bytes += range->bytes;
        totals->ram_end = mm_phys(end);
    }
}

void mm_memmap_get_totals(const struct mm_memmap *map, struct mm_memmap_totals *out)
{
    struct mm_memmap_totals totals = {0};

    for (uint32_t i = 0; map != NULL && i < map->count; i++)
        add_range(&totals, &map->range[i]);
    if (out != NULL)
        *out = totals;
}

struct check {
    const struct mm_memmap *map;
    const struct mm_check_sink *sink;
    size_t faults;
};

static void fault(struct check *check, const char *what, uint64_t address, uint64_t found,
                  uint64_t expected)
{
    mm_check_fault(check->sink, &check->faults, what, "mm_memmap_check", check->map, address, found,
                   expected);
}

static bool header_sound(struct check *check)
{
    const struct mm_memmap *map = check->map;

    if (map->state < MM_MEMMAP_COLLECTING || map->state > MM_MEMMAP_CLOSED)
        fault(check, "map has an unknown state", 0, map->state, MM_MEMMAP_CLOSED);
    if (map->phys_bits < 1 || map->phys_bits > 63)
        fault(check, "map has a wrong physical width", 0, map->phys_bits, 63);
    if (map->count > map->capacity)
        fault(check, "map counts more ranges than it has room for", 0, map->count, map->capacity);
    if (map->range == NULL && map->count > 0)
        fault(check, "map has no storage", 0, map->count, 0);
    return check->faults == 0;
}

/* What a range is, whatever its neighbours. */
static void check_kind(struct check *check, const struct mm_mem_range *range)
{
    uint64_t start = range->start.raw;
    bool collecting = check->map->state == MM_MEMMAP_COLLECTING;

    if (range->type > MM_MEM_BAD)
        fault(check, "range has an unknown type", start, range->type, MM_MEM_BAD);
    if (range->use > MM_USE_KEEP)
        fault(check, "range has an unknown use", start, range->use, MM_USE_KEEP);
    if (range->node >= MM_NODES_MAX)
        fault(check, "range has an unknown node", start, range->node, MM_NODES_MAX - 1);
    if (range->type == MM_MEM_NONE && (range->use == MM_USE_FREE || range->node != 0))
        fault(check, "range describes a hole", start, range->use, range->node);
    if (range->use == MM_USE_EARLY && (collecting || range->type != MM_MEM_USABLE))
        fault(check, "early memory is not usable", start, range->type, MM_MEM_USABLE);
    if (!collecting && !mm_is_aligned(start | range->bytes, MM_FRAME_BYTES))
        fault(check, "range is not frame-aligned", start, range->bytes, MM_FRAME_BYTES);
}

/* Where a range is; `end` is the end of the one before. Returns its own end. */
static uint64_t check_place(struct check *check, const struct mm_mem_range *range, uint64_t end)
{
    uint64_t start = range->start.raw, limit = mm_memmap_limit(check->map);

    (void)mm_align_up(limit, MM_FRAME_BYTES, &limit);
    if (start < end)
        fault(check, "ranges overlap or are not sorted", start, start, end);
    if (!mm_range_ok(start, range->bytes) || mm_range_last(start, range->bytes) >= limit) {
        fault(check, "range is empty or ends beyond the physical width", start, range->bytes,
              limit);
        return end;
    }
    return mm_mem_range_end(range);
}

size_t mm_memmap_check(const struct mm_memmap *map, const struct mm_check_sink *sink)
{
    struct check check = {map, sink, 0};
    uint64_t end = 0;

    if (map == NULL) {
        fault(&check, "no map given", 0, 0, 0);
        return check.faults;
    }
    if (!header_sound(&check))
        return check.faults;
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *range = &map->range[i];

        check_kind(&check, range);
        if (i > 0 && range->start.raw == end && range->type == range[-1].type &&
            range->use == range[-1].use && range->node == range[-1].node)
            fault(&check, "equal neighbours are not merged", range->start.raw, range->type,
                  range->use);
        end = check_place(&check, range, end);
    }
    return check.faults;
}
