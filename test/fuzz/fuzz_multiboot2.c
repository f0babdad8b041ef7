/*
 * fuzz_multiboot2.c - the input is a block, and the buffer is exactly as large.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_boot_module module[4];
    struct mm_boot_info info = {.module = module, .module_capacity = 4};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    uint8_t *block = malloc(bytes > 0 ? bytes : 1); /* aligned to 8, which data is not */
    enum mm_err err;

    FUZZ_CHECK(block != NULL);
    if (bytes > 0)
        memcpy(block, data, bytes);
    err = mm_boot_read_multiboot2(block, bytes, mm_phys(0x33c390), map, &info, &fault);
    fuzz_map_end(map, err, &info, &fault);
    free(block);
    return 0;
}
