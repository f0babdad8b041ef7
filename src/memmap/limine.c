/*
 * limine.c - reading Limine's response to a request for the memory map.
 *
 * Problem     The map is an array of pointers to entries, and all pointers are virtual: the loader's
 *             direct map is already added to them.
 * Idea        Each pointer is turned back into a physical address through the window, and read only
 *             as far as the window goes from there. What the loader says of the use of memory (its
 *             own, the kernel with its modules, a framebuffer) becomes a use or a type of ours.
 * Invariants  I1 nothing is read that the window did not grant as one piece
 *             I2 what is read is reserved
 *             I3 memory of the kernel and its modules is RAM, and never free
 * Locking     The caller serialises on the map.
 * Cost        O(entries x ranges).
 * Rejected    Trusting that entries ascend and do not overlap, as the protocol says of some: the map
 *             does not need it. Refusing later revisions: they only add members behind these.
 * Source      The Limine Boot Protocol, "Memory Map Feature".
 */
#include "memmap/reader.h"

#define RESPONSE_BYTES 24u /* revision, entry count, array of pointers: u64 each */
#define ENTRY_BYTES    24u /* base, length, type: u64 each */
#define POINTER_BYTES  8u

#define TYPE_EXECUTABLE_AND_MODULES 6u
#define TYPE_FRAMEBUFFER            7u

/* What a virtual address of the loader's shows. */
static enum mm_err find(struct mm_boot_reader *reader, uint64_t virt, uint64_t bytes,
                        const char *what, mm_phys_t *at, const uint8_t **out)
{
    if (mm_window_phys(reader->window, mm_virt_pointer(mm_virt(virt)), at) != MM_OK)
        return mm_boot_fail(reader, MM_ERR_WINDOW, what, 0, virt);
    return mm_boot_find(reader, *at, bytes, what, out);
}

static enum mm_err read_entry(struct mm_boot_reader *reader, uint64_t virt)
{
    mm_phys_t at, start;
    uint64_t bytes, type;
    const uint8_t *entry;
    enum mm_err err =
        find(reader, virt, ENTRY_BYTES, "memory map entry outside the window", &at, &entry);

    if (err != MM_OK)
        return err;
    start = mm_phys(mm_le64(entry));
    bytes = mm_le64(entry + 8);
    type = mm_le64(entry + 16);
    reader->info.map_entries++;
    err = mm_boot_add(reader, start, bytes, mm_mem_type_of_limine(type), 0, at.raw);
    if (err == MM_OK && type == TYPE_EXECUTABLE_AND_MODULES)
        err = mm_boot_reserve(reader, start, bytes, MM_USE_MODULE,
                              "kernel or modules beyond the physical addresses", 0, at.raw);
    if (err == MM_OK && type == TYPE_FRAMEBUFFER)
        err = mm_boot_reserve(reader, start, bytes, MM_USE_FRAMEBUFFER,
                              "framebuffer beyond the physical addresses", 0, at.raw);
    return err;
}

static enum mm_err read_entries(struct mm_boot_reader *reader, const uint8_t *response,
                                mm_phys_t at)
{
    uint64_t count = mm_le64(response + 8);
    const uint8_t *list;
    mm_phys_t list_at;
    enum mm_err err;

    if (count == 0)
        return mm_boot_fail(reader, MM_ERR_NOT_FOUND, "no memory map", 0, at.raw);
    if (count > MM_BOOT_LIST_MAX)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "more memory map entries than can be", 0,
                            at.raw);
    err = find(reader, mm_le64(response + 16), count * POINTER_BYTES,
               "list of entries outside the window", &list_at, &list);
    for (uint64_t i = 0; i < count && err == MM_OK; i++)
        err = read_entry(reader, mm_le64(list + i * POINTER_BYTES));
    return err;
}

enum mm_err mm_boot_read_limine(const struct mm_window *window, mm_phys_t response,
                                struct mm_memmap *map, struct mm_boot_info *info,
                                struct mm_boot_fault *fault)
{
    struct mm_boot_reader reader = {.map = map, .window = window, .fault = fault};
    const uint8_t *found;
    enum mm_err err;

    if (window == NULL || map == NULL || info == NULL)
        return mm_boot_fail(&reader, MM_ERR_BAD_ARG, "argument out of its domain", 0, response.raw);
    reader.info = *info;
    reader.info.map_entries = 0;
    reader.info.block = response;
    reader.info.block_bytes = RESPONSE_BYTES;
    err = mm_boot_find(&reader, response, RESPONSE_BYTES, "response outside the window", &found);
    if (err == MM_OK)
        err = read_entries(&reader, found, response);
    if (err == MM_OK)
        *info = reader.info;
    return err;
}
