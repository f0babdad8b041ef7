/*
 * fuzz_limine.c - the input is memory that begins with a response.
 *
 * Its pointers are addresses of the host, which no input can know. So that the fuzzer has a chance,
 * each aligned word that names a place of the memory by its physical address is made a pointer.
 */
#include "fuzz.h"

static void make_pointers(const struct fuzz_memory *memory, uint8_t *bytes, uint64_t count)
{
    for (uint64_t at = 0; at < count; at += 8) {
        uint64_t word = fuzz_number(bytes, count, at, 8);
        void *found;

        if (mm_window_find(&memory->window, mm_phys(word), 1, &found) != MM_OK)
            continue;
        word = mm_virt_of(found).raw;
        memcpy(bytes + at, &word, 8);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_boot_info info = {.module = NULL};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    struct fuzz_memory memory;
    enum mm_err err;

    fuzz_memory_begin(&memory, data, bytes);
    make_pointers(&memory, memory.low, FUZZ_MEMORY_BYTES);
    make_pointers(&memory, memory.high, FUZZ_HIGH_BYTES);
    err = mm_boot_read_limine(&memory.window, mm_phys(FUZZ_MEMORY), map, &info, &fault);
    fuzz_map_end(map, err, &info, &fault);
    fuzz_memory_end(&memory);
    return 0;
}
