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
#define LIST_MAX         65536u            /* no machine is near it */
#define TEXT_BYTES_MAX   UINT64_C(0x10000) /* command lines are at most some KiB */
#define RSDP_BYTES_OLD   20u
#define RSDP_BYTES_NEW   36u
#define RSDP_REVISION_AT 15u

struct pvh {
    struct mm_boot_reader reader;
    const struct mm_window *window;
};

static enum mm_err fail(struct pvh *pvh, enum mm_err err, const char *what, mm_phys_t at)
{
    return mm_boot_fail(&pvh->reader, err, what, 0, at.raw);
}

/* Where [at, at + bytes) can be read; also reserves it. */
static enum mm_err find(struct pvh *pvh, mm_phys_t at, uint64_t bytes, const char *what,
                        const uint8_t **out)
{
    void *found;

    if (mm_window_find(pvh->window, at, bytes, &found) != MM_OK)
        return fail(pvh, MM_ERR_WINDOW, what, at);
    *out = found;
    return mm_boot_reserve(&pvh->reader, at, bytes, MM_USE_BOOTINFO,
                           "boot information beyond the physical addresses", 0, at.raw);
}

/* The length of the text at `at`. The window's pieces are whole frames: it is asked frame by
 * frame, always from the start, because all of the text must lie in one piece. */
static enum mm_err text_length(struct pvh *pvh, mm_phys_t at, uint32_t *out)
{
    uint64_t end = 0;

    while (end < TEXT_BYTES_MAX) {
        uint64_t i = end;
        void *found;

        end += MM_FRAME_BYTES - ((at.raw + end) & (MM_FRAME_BYTES - 1));
        if (mm_window_find(pvh->window, at, end, &found) != MM_OK)
            return fail(pvh, MM_ERR_WINDOW, "text outside the window", at);
        for (; i < end; i++) {
            if (((const uint8_t *)found)[i] == '\0') {
                *out = (uint32_t)i;
                return MM_OK;
            }
        }
    }
    return fail(pvh, MM_ERR_MALFORMED, "text without an end", at);
}

static enum mm_err read_text(struct pvh *pvh, uint64_t at, struct mm_boot_text *out)
{
    struct mm_boot_text text = {.at = mm_phys(at)};
    enum mm_err err;

    *out = (struct mm_boot_text){.bytes = 0};
    if (at == 0)
        return MM_OK;
    err = text_length(pvh, text.at, &text.bytes);
    if (err == MM_OK)
        err = mm_boot_reserve(&pvh->reader, text.at, (uint64_t)text.bytes + 1, MM_USE_BOOTINFO,
                              "text beyond the physical addresses", 0, at);
    if (err == MM_OK)
        *out = text;
    return err;
}

/* address u64, bytes u64, command line u64, reserved u64 */
static enum mm_err read_module(struct pvh *pvh, const uint8_t *entry, mm_phys_t at)
{
    struct mm_boot_module module = {
        .start = mm_phys(mm_le64(entry)),
        .bytes = mm_le64(entry + 8),
    };
    enum mm_err err = read_text(pvh, mm_le64(entry + 16), &module.text);

    return err != MM_OK ? err : mm_boot_module_add(&pvh->reader, &module, 0, at.raw);
}

static enum mm_err read_modules(struct pvh *pvh, mm_phys_t at, uint32_t count)
{
    const uint8_t *list;
    enum mm_err err = MM_OK;

    if (count == 0)
        return MM_OK;
    if (count > LIST_MAX)
        return fail(pvh, MM_ERR_MALFORMED, "more modules than can be", at);
    err =
        find(pvh, at, (uint64_t)count * MODULE_BYTES, "list of modules outside the window", &list);
    for (uint32_t i = 0; i < count && err == MM_OK; i++)
        err = read_module(pvh, list + (size_t)i * MODULE_BYTES,
                          mm_phys_add(at, (uint64_t)i * MODULE_BYTES));
    return err;
}

static enum mm_err read_memory_map(struct pvh *pvh, mm_phys_t at, uint32_t count)
{
    const uint8_t *list;
    enum mm_err err = MM_OK;

    if (at.raw == 0 || count == 0)
        return fail(pvh, MM_ERR_NOT_FOUND, "no memory map", at);
    if (count > LIST_MAX)
        return fail(pvh, MM_ERR_MALFORMED, "more memory map entries than can be", at);
    err = find(pvh, at, (uint64_t)count * MAP_ENTRY_BYTES, "memory map outside the window", &list);
    for (uint32_t i = 0; i < count && err == MM_OK; i++)
        err = mm_boot_e820_entry(&pvh->reader, list + (size_t)i * MAP_ENTRY_BYTES, 0,
                                 at.raw + (uint64_t)i * MAP_ENTRY_BYTES);
    return err;
}

static bool is_signature(const uint8_t *at)
{
    static const uint8_t signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};

    return __builtin_memcmp(at, signature, sizeof(signature)) == 0;
}

static enum mm_err read_rsdp(struct pvh *pvh, mm_phys_t at)
{
    uint32_t bytes = RSDP_BYTES_OLD;
    const uint8_t *rsdp;
    enum mm_err err;

    if (at.raw == 0)
        return MM_OK;
    err = find(pvh, at, bytes, "ACPI root pointer outside the window", &rsdp);
    if (err != MM_OK)
        return err;
    if (!is_signature(rsdp))
        return fail(pvh, MM_ERR_MALFORMED, "ACPI root pointer without its signature", at);
    if (rsdp[RSDP_REVISION_AT] >= 2) {
        bytes = RSDP_BYTES_NEW;
        err = find(pvh, at, bytes, "ACPI root pointer outside the window", &rsdp);
    }
    if (err == MM_OK) {
        pvh->reader.info.rsdp = at;
        pvh->reader.info.rsdp_bytes = bytes;
    }
    return err;
}

/* magic, version, flags, modules u32; list of modules, command line, RSDP, memory map u64;
 * memory map entries u32, reserved u32. The last three since version 1. */
static enum mm_err start_check(struct pvh *pvh, mm_phys_t at, const uint8_t **out)
{
    const uint8_t *start;
    enum mm_err err = find(pvh, at, START_BYTES_V0, "start_info outside the window", &start);

    if (err != MM_OK)
        return err;
    if (mm_le32(start) != START_MAGIC)
        return fail(pvh, MM_ERR_MALFORMED, "start_info without its magic number", at);
    if (mm_le32(start + 4) == 0)
        return fail(pvh, MM_ERR_NOT_FOUND, "start_info of version 0 has no memory map", at);
    return find(pvh, at, START_BYTES, "start_info outside the window", out);
}

enum mm_err mm_boot_read_pvh(const struct mm_window *window, mm_phys_t start_info,
                             struct mm_memmap *map, struct mm_boot_info *info,
                             struct mm_boot_fault *fault)
{
    struct pvh pvh = {.reader = {.map = map, .fault = fault}, .window = window};
    const uint8_t *start;
    enum mm_err err;

    if (window == NULL || map == NULL || info == NULL)
        return fail(&pvh, MM_ERR_BAD_ARG, "argument out of its domain", start_info);
    pvh.reader.info = (struct mm_boot_info){
        .module = info->module,
        .module_capacity = info->module_capacity,
        .block = start_info,
        .block_bytes = START_BYTES,
    };
    err = start_check(&pvh, start_info, &start);
    if (err == MM_OK)
        err = read_memory_map(&pvh, mm_phys(mm_le64(start + 40)), mm_le32(start + 48));
    if (err == MM_OK)
        err = read_modules(&pvh, mm_phys(mm_le64(start + 16)), mm_le32(start + 12));
    if (err == MM_OK)
        err = read_text(&pvh, mm_le64(start + 24), &pvh.reader.info.command_line);
    if (err == MM_OK)
        err = read_rsdp(&pvh, mm_phys(mm_le64(start + 32)));
    if (err == MM_OK)
        *info = pvh.reader.info;
    return err;
}
