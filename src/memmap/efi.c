/*
 * efi.c - memory descriptors of UEFI firmware, alone or inside Multiboot2.
 *
 * Problem     GetMemoryMap() gives descriptors that are larger than the structure of any
 *             specification, in no order, and most of what they call used is free after
 *             ExitBootServices().
 * Idea        Step by the size that came with the list. One function reads descriptors for both
 *             ways in which they reach a kernel; names.c says what their types mean.
 * Invariants  Descriptor i is read only when all of it lies inside the list.
 * Locking     The caller serialises on the map.
 * Cost        O(descriptors x ranges).
 * Rejected    sizeof a structure of ours as the step: OVMF's descriptors have 48 bytes, the
 *             structure 40. Rounding a partial descriptor off: then the size or the step is wrong,
 *             and every other value with it.
 * Source      UEFI specification 2.10, section 7.2 (GetMemoryMap, table 7.6).
 */
#include "memmap/reader.h"

#include "base/bits.h"

#define DESCRIPTOR_BYTES   40u
#define DESCRIPTOR_VERSION 1u
#define ATTRIBUTE_RUNTIME  (UINT64_C(1) << 63)

/* type u32, pad, physical start u64, virtual start u64, pages u64, attributes u64 */
static enum mm_err read_descriptor(struct mm_boot_reader *reader, const uint8_t *at, uint32_t tag,
                                   uint64_t offset)
{
    bool services = (reader->info.flags & MM_BOOT_EFI_SERVICES) != 0;
    enum mm_mem_type type = mm_mem_type_of_efi(mm_le32(at), services);
    uint64_t pages = mm_le64(at + 24);

    if (pages > UINT64_MAX >> MM_FRAME_SHIFT)
        return mm_boot_fail(reader, MM_ERR_MALFORMED,
                            "EFI descriptor larger than the address space", tag, offset);
    if ((mm_le64(at + 32) & ATTRIBUTE_RUNTIME) != 0 && type < MM_MEM_RUNTIME)
        type = MM_MEM_RUNTIME;
    reader->info.map_entries++;
    return mm_boot_add(reader, mm_phys(mm_le64(at + 8)), pages << MM_FRAME_SHIFT, type, tag,
                       offset);
}

static const char *framing_fault(const struct mm_boot_efi_list *list)
{
    if (list->step < DESCRIPTOR_BYTES)
        return "EFI descriptor size below 40";
    if (!mm_is_aligned(list->step, 8))
        return "EFI descriptor size is not a multiple of 8";
    if (list->version != DESCRIPTOR_VERSION)
        return "EFI descriptor version is not 1";
    if (list->bytes % list->step != 0)
        return "EFI map ends inside a descriptor";
    return NULL;
}

enum mm_err mm_boot_efi_list_read(struct mm_boot_reader *reader,
                                  const struct mm_boot_efi_list *list)
{
    const char *wrong = framing_fault(list);

    if (wrong != NULL)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, wrong, list->tag, list->head);
    for (uint64_t at = 0; at < list->bytes; at += list->step) {
        enum mm_err err = read_descriptor(reader, list->at + at, list->tag, list->offset + at);

        if (err != MM_OK)
            return err;
    }
    return MM_OK;
}

enum mm_err mm_boot_read_efi(const struct mm_boot_efi_map *efi, struct mm_memmap *map,
                             struct mm_boot_info *info, struct mm_boot_fault *fault)
{
    struct mm_boot_reader reader = {.map = map, .fault = fault};
    struct mm_boot_efi_list list = {.head = 0};
    enum mm_err err;

    if (efi == NULL || map == NULL || info == NULL ||
        (efi->descriptors == NULL && efi->bytes > 0) || (efi->flags & ~MM_BOOT_EFI_SERVICES) != 0)
        return mm_boot_fail(&reader, MM_ERR_BAD_ARG, "argument out of its domain", 0, 0);
    if (efi->bytes == 0)
        return mm_boot_fail(&reader, MM_ERR_NOT_FOUND, "no memory map", 0, 0);
    reader.info = *info;
    reader.info.map_entries = 0;
    reader.info.block = efi->at;
    reader.info.block_bytes = efi->bytes;
    reader.info.flags = efi->flags;
    list.at = efi->descriptors;
    list.bytes = efi->bytes;
    list.step = efi->descriptor_bytes;
    list.version = efi->descriptor_version;
    err = mm_boot_efi_list_read(&reader, &list);
    if (err == MM_OK)
        err = mm_boot_reserve(&reader, efi->at, efi->bytes, MM_USE_BOOTINFO,
                              "information beyond the physical addresses", 0, 0);
    if (err == MM_OK)
        *info = reader.info;
    return err;
}
