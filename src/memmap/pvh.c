/*
 * pvh.c - reading a PVH start_info, as QEMU -kernel, Xen, Firecracker and Cloud Hypervisor give it.
 *
 * Problem     start_info is a struct of physical pointers to lists, texts and modules anywhere in
 *             memory; none has a bound, and texts have not even a length.
 * Idea        Everything is found through the window, which says how far memory can be read; lists
 *             have a generous limit, so that a wild count is an error and not a long loop.
 * Invariants  I1 nothing is read that the window did not grant as one piece
 *             I2 what is read is reserved
 * Locking     The caller serialises on the map.
 * Cost        O(entries x ranges + length of texts).
 * Rejected    Version 0, which has no memory map: it would take hypercalls to ask for one.
 * Source      Xen public/arch-x86/hvm/start_info.h; ACPI specification 6.5, section 5.2.5.3.
 */
#include "memmap/reader.h"

#include "base/bits.h"

#define START_MAGIC      0x336ec578u
#define START_BYTES_V0   40u
#define START_BYTES      56u
#define MODULE_BYTES     32u
#define MAP_ENTRY_BYTES  24u
#define RSDP_BYTES_OLD   20u
#define RSDP_BYTES_NEW   36u
#define RSDP_REVISION_AT 15u

/* address u64, bytes u64, command line u64, reserved u64 */
static enum mm_err read_module(struct mm_boot_reader *reader, const uint8_t *entry, mm_phys_t at)
{
    struct mm_boot_module module = {
        .start = mm_phys(mm_le64(entry)),
        .bytes = mm_le64(entry + 8),
    };
    enum mm_err err = mm_boot_text_find(reader, mm_le64(entry + 16), &module.text);

    return err != MM_OK ? err : mm_boot_module_add(reader, &module, 0, at.raw);
}

static enum mm_err read_modules(struct mm_boot_reader *reader, mm_phys_t at, uint32_t count)
{
    const uint8_t *list;
    enum mm_err err = MM_OK;

    if (count == 0)
        return MM_OK;
    if (count > MM_BOOT_LIST_MAX)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "more modules than can be", 0, at.raw);
    err = mm_boot_find(reader, at, (uint64_t)count * MODULE_BYTES,
                       "list of modules outside the window", &list);
    for (uint32_t i = 0; i < count && err == MM_OK; i++)
        err = read_module(reader, list + (size_t)i * MODULE_BYTES,
                          mm_phys_add(at, (uint64_t)i * MODULE_BYTES));
    return err;
}

static enum mm_err read_memory_map(struct mm_boot_reader *reader, mm_phys_t at, uint32_t count)
{
    const uint8_t *list;
    enum mm_err err = MM_OK;

    if (at.raw == 0 || count == 0)
        return mm_boot_fail(reader, MM_ERR_NOT_FOUND, "no memory map", 0, at.raw);
    if (count > MM_BOOT_LIST_MAX)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "more memory map entries than can be", 0,
                            at.raw);
    err = mm_boot_find(reader, at, (uint64_t)count * MAP_ENTRY_BYTES,
                       "memory map outside the window", &list);
    for (uint32_t i = 0; i < count && err == MM_OK; i++)
        err = mm_boot_e820_entry(reader, list + (size_t)i * MAP_ENTRY_BYTES, 0,
                                 at.raw + (uint64_t)i * MAP_ENTRY_BYTES);
    return err;
}

static bool is_signature(const uint8_t *at)
{
    static const uint8_t signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};

    return __builtin_memcmp(at, signature, sizeof(signature)) == 0;
}

static enum mm_err read_rsdp(struct mm_boot_reader *reader, mm_phys_t at)
{
    uint32_t bytes = RSDP_BYTES_OLD;
    const uint8_t *rsdp;
    enum mm_err err;

    if (at.raw == 0)
        return MM_OK;
    err = mm_boot_find(reader, at, bytes, "ACPI root pointer outside the window", &rsdp);
    if (err != MM_OK)
        return err;
    if (!is_signature(rsdp))
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "ACPI root pointer without its signature", 0,
                            at.raw);
    if (rsdp[RSDP_REVISION_AT] >= 2) {
        bytes = RSDP_BYTES_NEW;
        err = mm_boot_find(reader, at, bytes, "ACPI root pointer outside the window", &rsdp);
    }
    if (err == MM_OK) {
        reader->info.rsdp = at;
        reader->info.rsdp_bytes = bytes;
    }
    return err;
}

/* magic, version, flags, modules u32; list of modules, command line, RSDP, memory map u64;
 * memory map entries u32, reserved u32. The last three since version 1. */
static enum mm_err start_check(struct mm_boot_reader *reader, mm_phys_t at, const uint8_t **out)
{
    const uint8_t *start;
    enum mm_err err =
        mm_boot_find(reader, at, START_BYTES_V0, "start_info outside the window", &start);

    if (err != MM_OK)
        return err;
    if (mm_le32(start) != START_MAGIC)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "start_info without its magic number", 0,
                            at.raw);
    if (mm_le32(start + 4) == 0)
        return mm_boot_fail(reader, MM_ERR_NOT_FOUND, "start_info of version 0 has no memory map",
                            0, at.raw);
    return mm_boot_find(reader, at, START_BYTES, "start_info outside the window", out);
}

enum mm_err mm_boot_read_pvh(const struct mm_window *window, mm_phys_t start_info,
                             struct mm_memmap *map, struct mm_boot_info *info,
                             struct mm_boot_fault *fault)
{
    struct mm_boot_reader reader = {.map = map, .window = window, .fault = fault};
    const uint8_t *start;
    enum mm_err err;

    if (window == NULL || map == NULL || info == NULL)
        return mm_boot_fail(&reader, MM_ERR_BAD_ARG, "argument out of its domain", 0,
                            start_info.raw);
    reader.info = (struct mm_boot_info){
        .module = info->module,
        .module_capacity = info->module_capacity,
        .block = start_info,
        .block_bytes = START_BYTES,
    };
    err = start_check(&reader, start_info, &start);
    if (err == MM_OK)
        err = read_memory_map(&reader, mm_phys(mm_le64(start + 40)), mm_le32(start + 48));
    if (err == MM_OK)
        err = read_modules(&reader, mm_phys(mm_le64(start + 16)), mm_le32(start + 12));
    if (err == MM_OK)
        err = mm_boot_text_find(&reader, mm_le64(start + 24), &reader.info.command_line);
    if (err == MM_OK)
        err = read_rsdp(&reader, mm_phys(mm_le64(start + 32)));
    if (err == MM_OK)
        *info = reader.info;
    return err;
}
