/*
 * multiboot2.c - reading a Multiboot2 information block.
 *
 * Problem     The block is a chain of tags whose sizes come from outside; two memory maps in it may
 *             contradict each other, and neither leaves out the kernel, the modules or the block.
 * Idea        A first walk checks the framing of every tag and finds the two maps; only then are
 *             tags read, each from its own bounds. Maps add, everything else reserves; the memory
 *             map's rule, the more restrictive wins, settles contradictions.
 * Invariants  I1 nothing is read outside [block, block + min(limit, total size))
 *             I2 each step advances by at least 8 bytes, so the walk ends
 *             I3 a tag's fields are read only after its size was compared with what it must hold
 * Locking     The caller serialises on the map.
 * Cost        O(tags + map entries x ranges).
 * Rejected    Reserving ELF sections (tag 9): their addresses are virtual in a higher-half kernel.
 *             Sizing memory by tag 4: it stops at the first hole.
 * Source      Multiboot2 specification 2.0, section 3.6; UEFI specification 2.10, section 7.2.
 */
#include "memmap/reader.h"

#include "base/bits.h"

#define HEADER_BYTES     8u /* total size, reserved */
#define TAG_HEADER_BYTES 8u /* type, size */
#define TAG_ALIGN        8u

enum tag_type {
    TAG_END = 0,
    TAG_COMMAND_LINE = 1,
    TAG_LOADER = 2,
    TAG_MODULE = 3,
    TAG_BASIC_MEMORY = 4,
    TAG_MEMORY_MAP = 6,
    TAG_FRAMEBUFFER = 8,
    TAG_EFI32 = 11,
    TAG_EFI64 = 12,
    TAG_RSDP_OLD = 14,
    TAG_RSDP_NEW = 15,
    TAG_EFI_MAP = 17,
    TAG_EFI_SERVICES = 18
};

/* A tag whose [offset, offset + bytes) lies inside the block. */
struct tag {
    uint32_t type;
    uint32_t bytes;
    uint64_t offset;
    const uint8_t *at;
};

struct block {
    struct mm_boot_reader reader;
    const uint8_t *bytes;
    uint64_t total;
    mm_phys_t at;
};

static enum mm_err fail(struct block *block, enum mm_err err, const char *what,
                        const struct tag *tag)
{
    return mm_boot_fail(&block->reader, err, what, tag->type, tag->offset);
}

static enum mm_err malformed(struct block *block, const char *what, const struct tag *tag)
{
    return fail(block, MM_ERR_MALFORMED, what, tag);
}

/* The tag at `offset`, or what is wrong with its framing. */
static enum mm_err tag_at(struct block *block, uint64_t offset, struct tag *out)
{
    struct tag tag = {.offset = offset, .at = block->bytes + offset};

    if (block->total - offset < TAG_HEADER_BYTES)
        return malformed(block, "no end tag", &tag);
    tag.type = mm_le32(tag.at);
    tag.bytes = mm_le32(tag.at + 4);
    if (tag.bytes < TAG_HEADER_BYTES)
        return malformed(block, "tag size below 8", &tag);
    if (tag.bytes > block->total - offset)
        return malformed(block, "tag ends beyond the block", &tag);
    if (tag.type == TAG_END && tag.bytes != TAG_HEADER_BYTES)
        return malformed(block, "end tag size is not 8", &tag);
    *out = tag;
    return MM_OK;
}

/* The total size is a multiple of 8 and so is every offset: this never goes past the end. */
static uint64_t tag_next(const struct tag *tag)
{
    return tag->offset + mm_align_down((uint64_t)tag->bytes + TAG_ALIGN - 1, TAG_ALIGN);
}

/* The text that begins `skip` bytes into the tag and must end inside it. */
static enum mm_err tag_text(struct block *block, const struct tag *tag, uint32_t skip,
                            struct mm_boot_text *out)
{
    for (uint32_t i = skip; i < tag->bytes; i++) {
        if (tag->at[i] == '\0') {
            out->at = mm_phys_add(block->at, tag->offset + skip);
            out->bytes = i - skip;
            return MM_OK;
        }
    }
    return malformed(block, "text without an end", tag);
}

static enum mm_err read_module(struct block *block, const struct tag *tag)
{
    struct mm_boot_module module;
    uint32_t start, end;
    enum mm_err err;

    if (tag->bytes < 17)
        return malformed(block, "module tag size below 17", tag);
    start = mm_le32(tag->at + 8);
    end = mm_le32(tag->at + 12);
    if (end < start)
        return malformed(block, "module ends before it starts", tag);
    module.start = mm_phys(start);
    module.bytes = end - start;
    err = tag_text(block, tag, 16, &module.text);
    if (err != MM_OK)
        return err;
    return mm_boot_module_add(&block->reader, &module, tag->type, tag->offset);
}

/* Only the lower memory in KiB is of use: it ends where the extended BIOS data area begins. */
static enum mm_err read_basic_memory(struct block *block, const struct tag *tag)
{
    if (tag->bytes < 16)
        return malformed(block, "basic memory tag size below 16", tag);
    mm_boot_ebda_set(&block->reader, mm_le32(tag->at + 8));
    return MM_OK;
}

static enum mm_err read_memory_map(struct block *block, const struct tag *tag)
{
    uint32_t entry_bytes;

    if (tag->bytes < 16)
        return malformed(block, "memory map tag size below 16", tag);
    entry_bytes = mm_le32(tag->at + 8);
    if (entry_bytes < 24)
        return malformed(block, "memory map entry size below 24", tag);
    if (!mm_is_aligned(entry_bytes, 8))
        return malformed(block, "memory map entry size is not a multiple of 8", tag);
    if ((tag->bytes - 16) % entry_bytes != 0)
        return malformed(block, "memory map ends inside an entry", tag);
    for (uint32_t i = 16; i < tag->bytes; i += entry_bytes) {
        enum mm_err err =
            mm_boot_e820_entry(&block->reader, tag->at + i, tag->type, tag->offset + i);

        if (err != MM_OK)
            return err;
    }
    return MM_OK;
}

static enum mm_err read_efi_map(struct block *block, const struct tag *tag)
{
    struct mm_boot_efi_list list = {.tag = tag->type, .head = tag->offset};

    if (tag->bytes < 16)
        return malformed(block, "EFI map tag size below 16", tag);
    list.step = mm_le32(tag->at + 8);
    list.version = mm_le32(tag->at + 12);
    list.at = tag->at + 16;
    list.bytes = tag->bytes - 16;
    list.offset = tag->offset + 16;
    return mm_boot_efi_list_read(&block->reader, &list);
}

/* The specification draws one reserved byte after the type and colours at 31; loaders have always
 * had two, and colours at 32. */
static enum mm_err read_framebuffer(struct block *block, const struct tag *tag)
{
    struct mm_boot_framebuffer fb = {.pixels = MM_BOOT_PIXELS_NONE};
    const uint8_t *at = tag->at;

    if (tag->bytes < 31)
        return malformed(block, "framebuffer tag size below 31", tag);
    fb.at = mm_phys(mm_le64(at + 8));
    fb.pitch_bytes = mm_le32(at + 16);
    fb.width = mm_le32(at + 20);
    fb.height = mm_le32(at + 24);
    fb.bits_per_pixel = at[28];
    return mm_boot_framebuffer_set(&block->reader, &fb, at[29], tag->bytes < 38 ? NULL : at + 32,
                                   tag->type, tag->offset);
}

/* The tag holds a copy of the root pointer: 20 bytes of ACPI 1.0, or 36 and more. The new one is
 * the better one, whichever comes first. */
static enum mm_err read_rsdp(struct block *block, const struct tag *tag)
{
    struct mm_boot_info *info = &block->reader.info;
    uint32_t least = tag->type == TAG_RSDP_NEW ? 36 : 20;

    if (tag->bytes - TAG_HEADER_BYTES < least)
        return malformed(block, "ACPI tag smaller than a root pointer", tag);
    if (tag->type == TAG_RSDP_OLD && info->rsdp_bytes >= 36)
        return MM_OK;
    info->rsdp = mm_phys_add(block->at, tag->offset + TAG_HEADER_BYTES);
    info->rsdp_bytes = tag->type == TAG_RSDP_NEW ? tag->bytes - TAG_HEADER_BYTES : 20;
    return MM_OK;
}

static enum mm_err read_efi_table(struct block *block, const struct tag *tag)
{
    struct mm_boot_info *info = &block->reader.info;
    bool wide = tag->type == TAG_EFI64;

    if (tag->bytes < (wide ? 16u : 12u))
        return malformed(block, "EFI system table tag without a pointer", tag);
    info->efi_bits = wide ? 64 : 32;
    info->efi_system_table = mm_phys(wide ? mm_le64(tag->at + 8) : mm_le32(tag->at + 8));
    return MM_OK;
}

static enum mm_err read_tag(struct block *block, const struct tag *tag)
{
    switch (tag->type) {
    case TAG_COMMAND_LINE:
        return tag_text(block, tag, TAG_HEADER_BYTES, &block->reader.info.command_line);
    case TAG_LOADER:
        return tag_text(block, tag, TAG_HEADER_BYTES, &block->reader.info.loader);
    case TAG_MODULE:
        return read_module(block, tag);
    case TAG_BASIC_MEMORY:
        return read_basic_memory(block, tag);
    case TAG_MEMORY_MAP:
        return read_memory_map(block, tag);
    case TAG_FRAMEBUFFER:
        return read_framebuffer(block, tag);
    case TAG_EFI32:
    case TAG_EFI64:
        return read_efi_table(block, tag);
    case TAG_RSDP_OLD:
    case TAG_RSDP_NEW:
        return read_rsdp(block, tag);
    case TAG_EFI_MAP:
        return read_efi_map(block, tag);
    default: /* unknown ones are to be skipped */
        return MM_OK;
    }
}

/* The first walk: framing, no second map of a kind, and what the EFI map depends on. */
static enum mm_err tags_check(struct block *block)
{
    uint32_t maps = 0, efi_maps = 0;
    struct tag tag = {.offset = HEADER_BYTES};

    for (;; tag.offset = tag_next(&tag)) {
        enum mm_err err = tag_at(block, tag.offset, &tag);

        if (err != MM_OK)
            return err;
        if (tag.type == TAG_END)
            break;
        if (tag.type == TAG_EFI_SERVICES)
            block->reader.info.flags |= MM_BOOT_EFI_SERVICES;
        if (tag.type == TAG_MEMORY_MAP && ++maps > 1)
            return malformed(block, "second memory map tag", &tag);
        if (tag.type == TAG_EFI_MAP && ++efi_maps > 1)
            return malformed(block, "second EFI map tag", &tag);
    }
    return maps + efi_maps > 0 ? MM_OK : fail(block, MM_ERR_NOT_FOUND, "no memory map tag", &tag);
}

static enum mm_err tags_read(struct block *block)
{
    struct tag tag = {.offset = HEADER_BYTES};
    enum mm_err err;

    for (;; tag.offset = tag_next(&tag)) {
        err = tag_at(block, tag.offset, &tag);
        if (err != MM_OK || tag.type == TAG_END)
            return err;
        err = read_tag(block, &tag);
        if (err != MM_OK)
            return err;
    }
}

/* The block's own header. */
static enum mm_err header_check(struct block *block, size_t limit_bytes)
{
    struct mm_boot_reader *reader = &block->reader;

    if (limit_bytes < HEADER_BYTES)
        return mm_boot_fail(reader, MM_ERR_TRUNCATED, "buffer smaller than the header", 0, 0);
    block->total = mm_le32(block->bytes);
    if (block->total < HEADER_BYTES + TAG_HEADER_BYTES)
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "total size below 16", 0, 0);
    if (!mm_is_aligned(block->total, TAG_ALIGN))
        return mm_boot_fail(reader, MM_ERR_MALFORMED, "total size is not a multiple of 8", 0, 0);
    if (block->total > limit_bytes)
        return mm_boot_fail(reader, MM_ERR_TRUNCATED, "total size exceeds the buffer", 0, 0);
    return MM_OK;
}

/* What may be there from an earlier use of the struct; the list of modules is the caller's. */
static struct mm_boot_info fresh_info(const struct mm_boot_info *info)
{
    return (struct mm_boot_info){
        .module = info->module,
        .module_capacity = info->module_capacity,
    };
}

enum mm_err mm_boot_read_multiboot2(const void *bytes, size_t limit_bytes, mm_phys_t at,
                                    struct mm_memmap *map, struct mm_boot_info *info,
                                    struct mm_boot_fault *fault)
{
    struct block block = {.reader = {.map = map, .fault = fault}, .bytes = bytes, .at = at};
    enum mm_err err;

    if (bytes == NULL || map == NULL || info == NULL || !mm_is_aligned((uintptr_t)bytes, TAG_ALIGN))
        return mm_boot_fail(&block.reader, MM_ERR_BAD_ARG, "argument out of its domain", 0, 0);
    block.reader.info = fresh_info(info);
    err = header_check(&block, limit_bytes);
    if (err == MM_OK)
        err = tags_check(&block);
    if (err != MM_OK)
        return err;
    block.reader.info.block = at;
    block.reader.info.block_bytes = block.total;
    err = mm_boot_reserve(&block.reader, at, block.total, MM_USE_BOOTINFO,
                          "information beyond the physical addresses", 0, 0);
    if (err == MM_OK)
        err = tags_read(&block);
    if (err == MM_OK)
        *info = block.reader.info;
    return err;
}
