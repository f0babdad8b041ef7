/*
 * fuzz_efi.c - the input is descriptor size u16, version u8, flags u8, then descriptors.
 */
#include "fuzz.h"

#define HEADER_BYTES 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct mm_boot_efi_map efi = {
        .bytes = bytes > HEADER_BYTES ? bytes - HEADER_BYTES : 0,
        .at = mm_phys(0x7e8010),
        .descriptor_bytes = (uint32_t)fuzz_number(data, bytes, 0, 2),
        .descriptor_version = (uint32_t)fuzz_number(data, bytes, 2, 1),
        .flags = (uint32_t)fuzz_number(data, bytes, 3, 1) & MM_BOOT_EFI_SERVICES,
    };
    struct mm_boot_info info = {.module = NULL};
    struct mm_boot_fault fault = {.what = NULL};
    struct mm_memmap *map = fuzz_map_begin(FUZZ_RANGES);
    uint8_t *copy = malloc(efi.bytes > 0 ? efi.bytes : 1);
    enum mm_err err;

    FUZZ_CHECK(copy != NULL);
    if (efi.bytes > 0)
        memcpy(copy, data + HEADER_BYTES, efi.bytes);
    efi.descriptors = copy;
    err = mm_boot_read_efi(&efi, map, &info, &fault);
    fuzz_map_end(map, err, &info, &fault);
    free(copy);
    return 0;
}
