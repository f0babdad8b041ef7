/*
 * multiboot1.c - reading Multiboot (version 1) information, as QEMU -kernel and older loaders give it.
 *
 * Problem     A struct whose fields count only where a flag says so, full of 32-bit pointers to
 *             lists and texts anywhere below 4 GiB; memory map entries say their own size.
 * Idea        The flags decide how much of the struct there is; everything else is found through
 *             the window. What is pointed to and not read here, such as tables of drives or of
 *             video modes, is reserved all the same: the kernel may want it later.
 * Invariants  I1 nothing is read that the window did not grant as one piece
 *             I2 a field is read only if its flag is set and it lies inside the struct
 *             I3 each step over the map advances by at least 24 bytes, so the walk ends
 * Locking     The caller serialises on the map.
 * Cost        O(entries x ranges + length of texts).
 * Rejected    Sizing memory by the amount of upper memory where there is no map: it stops at the
 *             first hole and knows nothing of what is reserved. Reserving ELF sections: their
 *             addresses are virtual in a higher-half kernel.
 * Source      Multiboot specification 0.6.96, section 3.3.
 */
#include "memmap/reader.h"

#define ENTRY_BYTES      24u /* with its size field, which does not count itself */
#define ENTRY_SIZE_BYTES 4u
#define MODULE_BYTES     16u

/* Bits of the flags: the fields that are there. */
enum {
    HAS_MEMORY = 1u << 0,
    HAS_COMMAND_LINE = 1u << 2,
    HAS_MODULES = 1u << 3,
    HAS_ELF_SECTIONS = 1u << 5,
    HAS_MEMORY_MAP = 1u << 6,
    HAS_DRIVES = 1u << 7,
    HAS_LOADER = 1u << 9,
    HAS_APM = 1u << 10,
    HAS_VBE = 1u << 11,
    HAS_FRAMEBUFFER = 1u << 12
};

/* How much of the struct its flags promise; the map, which must be there, ends at 52. */
static uint32_t struct_bytes(uint32_t flags)
{
    if ((flags & HAS_FRAMEBUFFER) != 0)
        return 118;
    if ((flags & (HAS_VBE | HAS_APM)) != 0)
        return 88;
    return (flags & (HAS_DRIVES | HAS_LOADER)) != 0 ? 68 : 52;
}

/* size u32 of what follows, base u64, length u64, type u32. The size may be larger than 20. */
static enum mm_err read_entries(struct mm_boot_reader *reader, const uint8_t *list, mm_phys_t at,
                                uint32_t bytes)
{
    uint32_t offset = 0;

    while (offset < bytes) {
        uint32_t rest = bytes - offset, size;
        enum mm_err err;

        if (rest < ENTRY_BYTES)
            return mm_boot_fail(reader, MM_ERR_MALFORMED, "memory map ends inside an entry", 0,
                                at.raw + offset);
        size = mm_le32(list + offset);
        if (size < ENTRY_BYTES - ENTRY_SIZE_BYTES)
            return mm_boot_fail(reader, MM_ERR_MALFORMED, "memory map entry size below 20", 0,
                                at.raw + offset);
        if (size > rest - ENTRY_SIZE_BYTES)
            return mm_boot_fail(reader, MM_ERR_MALFORMED, "memory map entry ends beyond the map", 0,
                                at.raw + offset);
        err = mm_boot_e820_entry(reader, list + offset + ENTRY_SIZE_BYTES, 0, at.raw + offset);
        if (err != MM_OK)
            return err;
        offset += size + ENTRY_SIZE_BYTES;
    }
    return MM_OK;
}

static enum mm_err read_memory_map(struct mm_boot_reader *reader, const uint8_t *mbi)
{
    uint32_t bytes = mm_le32(mbi + 44);
    mm_phys_t at = mm_phys(mm_le32(mbi + 48));
    const uint8_t *list;
    enum mm_err err;

    if (bytes == 0)
        return mm_boot_fail(reader, MM_ERR_NOT_FOUND, "no memory map", 0, at.raw);
    if (bytes > MM_BOOT_LIST_MAX * ENTRY_BYTES)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "memory map longer than can be", 0, at.raw);
    err = mm_boot_find(reader, at, bytes, "memory map outside the window", &list);
    return err != MM_OK ? err : read_entries(reader, list, at, bytes);
}

/* start u32, end u32, text u32, reserved u32 */
static enum mm_err read_module(struct mm_boot_reader *reader, const uint8_t *entry, uint64_t at)
{
    struct mm_boot_module module = {.start = mm_phys(mm_le32(entry))};
    uint32_t end = mm_le32(entry + 4);
    enum mm_err err;

    if (end < module.start.raw)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "module ends before it starts", 0, at);
    module.bytes = end - module.start.raw;
    err = mm_boot_text_find(reader, mm_le32(entry + 8), &module.text);
    return err != MM_OK ? err : mm_boot_module_add(reader, &module, 0, at);
}

static enum mm_err read_modules(struct mm_boot_reader *reader, const uint8_t *mbi)
{
    uint32_t count = mm_le32(mbi + 20);
    mm_phys_t at = mm_phys(mm_le32(mbi + 24));
    const uint8_t *list;
    enum mm_err err;

    if (count == 0)
        return MM_OK;
    if (count > MM_BOOT_LIST_MAX)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "more modules than can be", 0, at.raw);
    err = mm_boot_find(reader, at, (uint64_t)count * MODULE_BYTES,
                       "list of modules outside the window", &list);
    for (uint32_t i = 0; i < count && err == MM_OK; i++)
        err = read_module(reader, list + (size_t)i * MODULE_BYTES,
                          at.raw + (uint64_t)i * MODULE_BYTES);
    return err;
}

/* The specification draws the colours at 110, which is where Limine puts them; its own C structure
 * aligns them to 112, which is where GRUB puts them. No RGB mode has 0 bits of red. */
static const uint8_t *colours(const uint8_t *mbi)
{
    return mbi[111] != 0 ? mbi + 110 : mbi + 112;
}

static enum mm_err read_framebuffer(struct mm_boot_reader *reader, const uint8_t *mbi, mm_phys_t at)
{
    struct mm_boot_framebuffer fb = {
        .at = mm_phys(mm_le64(mbi + 88)),
        .pitch_bytes = mm_le32(mbi + 96),
        .width = mm_le32(mbi + 100),
        .height = mm_le32(mbi + 104),
        .bits_per_pixel = mbi[108],
    };

    return mm_boot_framebuffer_set(reader, &fb, mbi[109], colours(mbi), 0, at.raw);
}

/* Tables for the kernel's own use; address 0 is none. */
static enum mm_err reserve_table(struct mm_boot_reader *reader, uint64_t at, uint64_t bytes)
{
    if (at == 0)
        return MM_OK;
    return mm_boot_reserve(reader, mm_phys(at), bytes, MM_USE_BOOTINFO,
                           "boot information beyond the physical addresses", 0, at);
}

static enum mm_err reserve_tables(struct mm_boot_reader *reader, const uint8_t *mbi, uint32_t flags)
{
    enum mm_err err = MM_OK;

    if ((flags & HAS_ELF_SECTIONS) != 0) /* their headers: count, size of one, address */
        err = reserve_table(reader, mm_le32(mbi + 36),
                            (uint64_t)mm_le32(mbi + 28) * mm_le32(mbi + 32));
    if (err == MM_OK && (flags & HAS_DRIVES) != 0)
        err = reserve_table(reader, mm_le32(mbi + 56), mm_le32(mbi + 52));
    if (err == MM_OK && (flags & HAS_APM) != 0)
        err = reserve_table(reader, mm_le32(mbi + 68), 20);
    if (err == MM_OK && (flags & HAS_VBE) != 0)
        err = reserve_table(reader, mm_le32(mbi + 72), 512);
    if (err == MM_OK && (flags & HAS_VBE) != 0)
        err = reserve_table(reader, mm_le32(mbi + 76), 256);
    return err;
}

static enum mm_err read_fields(struct mm_boot_reader *reader, const uint8_t *mbi, mm_phys_t at)
{
    uint32_t flags = mm_le32(mbi);
    enum mm_err err = read_memory_map(reader, mbi);

    if ((flags & HAS_MEMORY) != 0)
        mm_boot_ebda_set(reader, mm_le32(mbi + 4));
    if (err == MM_OK && (flags & HAS_MODULES) != 0)
        err = read_modules(reader, mbi);
    if (err == MM_OK && (flags & HAS_COMMAND_LINE) != 0)
        err = mm_boot_text_find(reader, mm_le32(mbi + 16), &reader->info.command_line);
    if (err == MM_OK && (flags & HAS_LOADER) != 0)
        err = mm_boot_text_find(reader, mm_le32(mbi + 64), &reader->info.loader);
    if (err == MM_OK && (flags & HAS_FRAMEBUFFER) != 0)
        err = read_framebuffer(reader, mbi, at);
    return err != MM_OK ? err : reserve_tables(reader, mbi, flags);
}

enum mm_err mm_boot_read_multiboot1(const struct mm_window *window, mm_phys_t at,
                                    struct mm_memmap *map, struct mm_boot_info *info,
                                    struct mm_boot_fault *fault)
{
    struct mm_boot_reader reader = {.map = map, .window = window, .fault = fault};
    const char *const outside = "information outside the window";
    const uint8_t *mbi;
    enum mm_err err;

    if (window == NULL || map == NULL || info == NULL)
        return mm_boot_fail(&reader, MM_ERR_BAD_ARG, "argument out of its domain", 0, at.raw);
    reader.info = (struct mm_boot_info){
        .module = info->module,
        .module_capacity = info->module_capacity,
        .block = at,
    };
    err = mm_boot_find(&reader, at, 4, outside, &mbi);
    if (err != MM_OK)
        return err;
    if ((mm_le32(mbi) & HAS_MEMORY_MAP) == 0)
        return mm_boot_fail(&reader, MM_ERR_NOT_FOUND, "no memory map", 0, at.raw);
    reader.info.block_bytes = struct_bytes(mm_le32(mbi));
    err = mm_boot_find(&reader, at, reader.info.block_bytes, outside, &mbi);
    if (err == MM_OK)
        err = read_fields(&reader, mbi, at);
    if (err == MM_OK)
        *info = reader.info;
    return err;
}
