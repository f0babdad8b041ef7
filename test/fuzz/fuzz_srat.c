/*
 * fuzz_srat.c - the input is an affinity table; the checksum is made right, for no fuzzer guesses
 * it, except where the first byte says otherwise. A second table (distances) may follow the first.
 */
#include "fuzz.h"

#define DISTANCES (MM_NODES_MAX * MM_NODES_MAX)

static void map_fill(struct mm_memmap *map)
{
    FUZZ_CHECK(mm_memmap_add(map, mm_phys(0), 0xa0000, MM_MEM_USABLE) == MM_OK);
    FUZZ_CHECK(mm_memmap_add(map, mm_phys(0x100000), 0xbff00000, MM_MEM_USABLE) == MM_OK);
    FUZZ_CHECK(mm_memmap_add(map, mm_phys(0x80000001), 77, MM_MEM_RESERVED) == MM_OK);
    FUZZ_CHECK(mm_memmap_add(map, mm_phys(0x100000800), UINT64_C(0x700000000), MM_MEM_USABLE) ==
               MM_OK);
}

/* Make the table sum up to 0 over the length that it tells. */
static void sum_mend(uint8_t *table, size_t bytes)
{
    uint64_t length = fuzz_number(table, bytes, 4, 4);
    uint8_t sum = 0;

    if (bytes < 36 || length > bytes || length < 10)
        return;
    for (uint64_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + table[i]);
    table[9] = (uint8_t)(table[9] - sum);
}

static uint8_t *table_copy(const uint8_t *data, size_t bytes)
{
    uint8_t *table = malloc(bytes > 0 ? bytes : 1);

    FUZZ_CHECK(table != NULL);
    if (bytes > 0)
        memcpy(table, data, bytes);
    return table;
}

/* Nodes ascend without gaps, and are the only thing that changed. */
static void result_check(const struct mm_memmap *map, const struct mm_numa *numa,
                         const struct mm_numa_range *range)
{
    FUZZ_CHECK(numa->node_count >= 1 && numa->node_count <= MM_NODES_MAX);
    for (uint32_t i = 1; i < numa->node_count; i++)
        FUZZ_CHECK(numa->domain[i - 1] < numa->domain[i]);
    for (uint32_t i = 0; i < numa->range_count && i < numa->range_capacity; i++) {
        FUZZ_CHECK(range[i].node < numa->node_count && range[i].bytes != 0);
        FUZZ_CHECK((range[i].flags & ~(MM_NUMA_HOT_PLUG | MM_NUMA_NON_VOLATILE)) == 0);
        for (uint32_t j = 0; j < map->count; j++) {
            const struct mm_mem_range *it = &map->range[j];

            /* A frame belongs to the node of its first byte; a window may yield. */
            if ((range[i].flags & MM_NUMA_HOT_PLUG) == 0 && it->type != MM_MEM_NONE &&
                it->start.raw % MM_FRAME_BYTES == 0 && it->start.raw >= range[i].start.raw &&
                it->start.raw - range[i].start.raw < range[i].bytes)
                FUZZ_CHECK(it->node == range[i].node);
        }
    }
    for (uint32_t j = 0; j < map->count; j++)
        FUZZ_CHECK(map->range[j].node < numa->node_count);
}

static void distances_check(const struct mm_numa *numa, uint8_t *table, size_t bytes)
{
    struct mm_boot_fault fault = {.what = NULL};
    static uint8_t distance[DISTANCES];
    enum mm_err err = mm_numa_read_slit(table, bytes, numa, distance,
                                        (size_t)numa->node_count * numa->node_count, &fault);

    FUZZ_CHECK((err == MM_OK) == (fault.what == NULL));
    for (uint32_t i = 0; err == MM_OK && i < numa->node_count * numa->node_count; i++)
        FUZZ_CHECK(distance[i] >= 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    struct mm_numa_range range[8];
    struct mm_numa numa = {.range = range, .range_capacity = 8};
    struct mm_boot_info info = {.module = NULL};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap_totals before, after;
    uint64_t first = fuzz_number(data, bytes, 4, 4); /* where a second table would begin */
    uint8_t *table = table_copy(data, bytes), *second;
    enum mm_err err;

    if (bytes > 0 && table[0] != 's')
        sum_mend(table, bytes);
    map_fill(map);
    mm_memmap_get_totals(map, &before);
    err = mm_numa_read_srat(table, bytes, map, &numa, &fault);
    mm_memmap_get_totals(map, &after);
    FUZZ_CHECK(memcmp(&before, &after, sizeof after) == 0);
    if (err == MM_OK)
        result_check(map, &numa, range);
    if (err == MM_OK && first < bytes) {
        second = table_copy(data + first, bytes - first);
        sum_mend(second, bytes - first);
        distances_check(&numa, second, bytes - first);
        free(second);
    }
    fuzz_map_end(map, err, &info, &fault);
    free(table);
    return 0;
}
