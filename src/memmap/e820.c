/*
 * e820.c - the BIOS memory map, and what all readers share.
 *
 * Problem     INT 15h, AX=E820h gives 20-byte entries, or 24 with ACPI 3.0 attributes; Multiboot2
 *             and PVH pass the same entry on inside their own framing.
 * Idea        One function reads one entry for all three. Errors of the map become errors of the
 *             boot information, with the place where they were found.
 * Invariants  Entry i is read only when all of it lies inside count * entry_bytes.
 * Locking     The caller serialises on the map.
 * Cost        O(entries x ranges).
 * Rejected    Trusting a zero attribute word: ACPI 3.0 says such an entry is to be ignored.
 */
#include "memmap/reader.h"

#include "base/checked.h"

#define ATTRIBUTE_ENABLED 1u /* ACPI 3.0 extended attributes, bit 0 */

enum mm_err mm_boot_fail(struct mm_boot_reader *reader, enum mm_err err, const char *what,
                         uint32_t tag, uint64_t offset)
{
    if (reader->fault != NULL)
        *reader->fault = (struct mm_boot_fault){what, tag, offset};
    return err;
}

/* What the map's answer means for the boot information. */
static enum mm_err answer(struct mm_boot_reader *reader, enum mm_err err, const char *what,
                          uint32_t tag, uint64_t offset)
{
    switch (err) {
    case MM_OK:
        return MM_OK;
    case MM_ERR_BAD_ARG:
        return mm_boot_fail(reader, MM_ERR_MALFORMED, what, tag, offset);
    case MM_ERR_NO_ROOM:
        return mm_boot_fail(reader, err, "no room left in the memory map", tag, offset);
    default:
        return mm_boot_fail(reader, err, "the memory map is not collecting", tag, offset);
    }
}

enum mm_err mm_boot_add(struct mm_boot_reader *reader, mm_phys_t start, uint64_t bytes,
                        enum mm_mem_type type, uint32_t tag, uint64_t offset)
{
    return answer(reader, mm_memmap_add(reader->map, start, bytes, type), "memory map entry", tag,
                  offset);
}

enum mm_err mm_boot_reserve(struct mm_boot_reader *reader, mm_phys_t start, uint64_t bytes,
                            enum mm_mem_use use, const char *what, uint32_t tag, uint64_t offset)
{
    return answer(reader, mm_memmap_reserve(reader->map, start, bytes, use), what, tag, offset);
}

enum mm_err mm_boot_module_add(struct mm_boot_reader *reader, const struct mm_boot_module *module,
                               uint32_t tag, uint64_t offset)
{
    struct mm_boot_info *info = &reader->info;

    if (info->module != NULL && info->module_count < info->module_capacity)
        info->module[info->module_count] = *module;
    info->module_count++;
    return mm_boot_reserve(reader, module->start, module->bytes, MM_USE_MODULE,
                           "module beyond the physical addresses", tag, offset);
}

enum mm_err mm_boot_framebuffer_set(struct mm_boot_reader *reader,
                                    const struct mm_boot_framebuffer *framebuffer, unsigned pixels,
                                    const uint8_t *colours, uint32_t tag, uint64_t offset)
{
    struct mm_boot_framebuffer fb = *framebuffer;

    if (pixels > 2)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "framebuffer of an unknown type", tag,
                            offset);
    fb.pixels = (uint8_t)(pixels + MM_BOOT_PIXELS_INDEXED); /* 0 indexed, 1 RGB, 2 text */
    if (fb.pixels == MM_BOOT_PIXELS_RGB) {
        if (colours == NULL)
            return mm_boot_fail(reader, MM_ERR_MALFORMED, "framebuffer tag without its colours",
                                tag, offset);
        fb.red_shift = colours[0];
        fb.red_bits = colours[1];
        fb.green_shift = colours[2];
        fb.green_bits = colours[3];
        fb.blue_shift = colours[4];
        fb.blue_bits = colours[5];
    }
    reader->info.framebuffer = fb;
    return mm_boot_reserve(reader, fb.at, (uint64_t)fb.pitch_bytes * fb.height, MM_USE_FRAMEBUFFER,
                           "framebuffer beyond the physical addresses", tag, offset);
}

void mm_boot_ebda_set(struct mm_boot_reader *reader, uint32_t kib)
{
    if (kib >= 512 && kib < 640)
        reader->info.ebda = mm_phys((uint64_t)kib << 10);
}

enum mm_err mm_boot_e820_entry(struct mm_boot_reader *reader, const uint8_t *entry, uint32_t tag,
                               uint64_t offset)
{
    reader->info.map_entries++;
    return mm_boot_add(reader, mm_phys(mm_le64(entry)), mm_le64(entry + 8),
                       mm_mem_type_of_e820(mm_le32(entry + 16)), tag, offset);
}

enum mm_err mm_boot_read_e820(const void *entries, size_t count, size_t entry_bytes,
                              struct mm_memmap *map, struct mm_boot_info *info,
                              struct mm_boot_fault *fault)
{
    struct mm_boot_reader reader = {.map = map, .fault = fault};
    size_t bytes;

    if (map == NULL || info == NULL || (entries == NULL && count > 0) ||
        (entry_bytes != MM_E820_ENTRY_BYTES && entry_bytes != MM_E820_ATTRIBUTES_BYTES) ||
        !mm_mul_size(count, entry_bytes, &bytes))
        return mm_boot_fail(&reader, MM_ERR_BAD_ARG, "argument out of its domain", 0, 0);
    if (count == 0)
        return mm_boot_fail(&reader, MM_ERR_NOT_FOUND, "no memory map", 0, 0);
    reader.info = *info;
    reader.info.map_entries = 0;
    for (size_t offset = 0; offset < bytes; offset += entry_bytes) {
        const uint8_t *entry = (const uint8_t *)entries + offset;
        enum mm_err err;

        if (entry_bytes == MM_E820_ATTRIBUTES_BYTES &&
            (mm_le32(entry + MM_E820_ENTRY_BYTES) & ATTRIBUTE_ENABLED) == 0)
            continue;
        err = mm_boot_e820_entry(&reader, entry, 0, offset);
        if (err != MM_OK)
            return err;
    }
    *info = reader.info;
    return MM_OK;
}

const char *mm_boot_text_pointer(const struct mm_window *window, struct mm_boot_text text)
{
    void *found;

    if (window == NULL || text.bytes == 0 ||
        mm_window_find(window, text.at, (uint64_t)text.bytes + 1, &found) != MM_OK)
        return "";
    /* The memory may have been given away and written since. */
    return ((const char *)found)[text.bytes] == '\0' ? found : "";
}
