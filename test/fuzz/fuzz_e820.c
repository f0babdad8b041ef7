/*
 * fuzz_e820.c - the first byte of the input chooses the size of an entry, the rest is the array.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_boot_info info = {.module = NULL};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    size_t entry_bytes = bytes > 0 && data[0] % 2 != 0 ? 24 : 20;
    size_t count = bytes > 0 ? (bytes - 1) / entry_bytes : 0;
    uint8_t *entries = malloc(count > 0 ? count * entry_bytes : 1);
    enum mm_err err;

    FUZZ_CHECK(entries != NULL);
    if (count > 0)
        memcpy(entries, data + 1, count * entry_bytes);
    err = mm_boot_read_e820(entries, count, entry_bytes, map, &info, &fault);
    FUZZ_CHECK(err != MM_OK || info.map_entries <= count);
    fuzz_map_end(map, err, &info, &fault);
    free(entries);
    return 0;
}
