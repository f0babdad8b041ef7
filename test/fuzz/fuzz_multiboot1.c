/*
 * fuzz_multiboot1.c - the input is memory that begins with Multiboot version 1 information.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_boot_module module[4];
    struct mm_boot_info info = {.module = module, .module_capacity = 4};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    struct fuzz_memory memory;
    enum mm_err err;

    fuzz_memory_begin(&memory, data, bytes);
    err = mm_boot_read_multiboot1(&memory.window, mm_phys(FUZZ_MEMORY), map, &info, &fault);
    fuzz_map_end(map, err, &info, &fault);
    fuzz_memory_end(&memory);
    return 0;
}
