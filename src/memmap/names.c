/*
 * names.c - what types and uses mean, and how a range reads.
 *
 * Problem     The firmware's numbers, libmm's types and the words on a console must agree.
 * Idea        One table for each translation.
 * Invariants  A number that is unknown to a firmware table is RESERVED, never usable.
 * Locking     None: constants.
 * Cost        O(1); formatting O(length).
 * Rejected    Passing firmware numbers through: firmwares and loaders number differently.
 */
#include "mm/boot.h"

#include "base/text.h"

bool mm_mem_type_is_ram(unsigned type)
{
    return type >= MM_MEM_USABLE && type <= MM_MEM_ACPI_NVS;
}

/* Arrays of characters, not pointers: a position-independent image needs no relocation for them. */
static const char type_name[][16] = {
    [MM_MEM_NONE] = "not described",
    [MM_MEM_USABLE] = "usable",
    [MM_MEM_BOOT_RECLAIM] = "boot loader",
    [MM_MEM_ACPI_RECLAIM] = "ACPI tables",
    [MM_MEM_ACPI_NVS] = "ACPI NVS",
    [MM_MEM_PERSISTENT] = "persistent",
    [MM_MEM_RUNTIME] = "EFI runtime",
    [MM_MEM_RESERVED] = "reserved",
    [MM_MEM_DEVICE] = "device",
    [MM_MEM_BAD] = "faulty",
};

static const char use_name[][28] = {
    [MM_USE_FREE] = "free",
    [MM_USE_BOOT] = "boot",
    [MM_USE_BOOTINFO] = "boot information",
    [MM_USE_MODULE] = "module",
    [MM_USE_MODULE_INFO] = "module and boot information",
    [MM_USE_EARLY] = "early",
    [MM_USE_FRAMEBUFFER] = "framebuffer",
    [MM_USE_IMAGE] = "image",
    [MM_USE_KEEP] = "kept",
};

const char *mm_mem_type_name(unsigned type)
{
    return type < sizeof(type_name) / sizeof(type_name[0]) ? type_name[type] : "?";
}

const char *mm_mem_use_name(unsigned use)
{
    return use < sizeof(use_name) / sizeof(use_name[0]) ? use_name[use] : "?";
}

size_t mm_mem_range_format(char *buf, size_t bytes, const struct mm_mem_range *range)
{
    struct mm_text text = {buf, bytes, 0};

    if (range == NULL)
        return mm_text_end(&text);
    mm_text_hex(&text, range->start.raw, 16);
    mm_text_put(&text, " - ");
    mm_text_hex(&text, range->start.raw + (range->bytes - 1), 16);
    mm_text_put(&text, "  ");
    mm_text_put(&text, mm_mem_type_name(range->type));
    if (range->type == MM_MEM_USABLE || range->use != MM_USE_FREE) { /* else nobody gets it */
        mm_text_put(&text, ", ");
        mm_text_put(&text, mm_mem_use_name(range->use));
    }
    return mm_text_end(&text);
}

/* ACPI specification 6.5, table 15.9. Multiboot uses 1 to 5 of it. */
enum mm_mem_type mm_mem_type_of_e820(uint32_t number)
{
    switch (number) {
    case 1:
        return MM_MEM_USABLE;
    case 3:
        return MM_MEM_ACPI_RECLAIM;
    case 4:
        return MM_MEM_ACPI_NVS;
    case 5:
        return MM_MEM_BAD;
    case 7:
        return MM_MEM_PERSISTENT;
    default:
        return MM_MEM_RESERVED;
    }
}

/* UEFI specification 2.10, table 7.6: 0 reserved, 13 PAL code, 15 unaccepted, and what OEMs and
 * loaders define, are not ours. */
enum mm_mem_type mm_mem_type_of_efi(uint32_t number, bool services)
{
    switch (number) {
    case 1: /* loader code */
    case 2: /* loader data */
        return MM_MEM_BOOT_RECLAIM;
    case 3: /* boot services code */
    case 4: /* boot services data */
        return services ? MM_MEM_BOOT_RECLAIM : MM_MEM_USABLE;
    case 5: /* runtime services code */
    case 6: /* runtime services data */
        return MM_MEM_RUNTIME;
    case 7: /* conventional */
        return MM_MEM_USABLE;
    case 8: /* unusable */
        return MM_MEM_BAD;
    case 9:
        return MM_MEM_ACPI_RECLAIM;
    case 10:
        return MM_MEM_ACPI_NVS;
    case 11: /* memory-mapped I/O */
    case 12: /* memory-mapped I/O ports */
        return MM_MEM_DEVICE;
    case 14:
        return MM_MEM_PERSISTENT;
    default:
        return MM_MEM_RESERVED;
    }
}

/* The Limine Boot Protocol: 1 reserved, 8 reserved and mapped, 7 framebuffer, and what later
 * revisions add, are not RAM for us. */
enum mm_mem_type mm_mem_type_of_limine(uint64_t number)
{
    switch (number) {
    case 0:
    case 6: /* the kernel and its modules, which the reader also reserves */
        return MM_MEM_USABLE;
    case 2:
        return MM_MEM_ACPI_RECLAIM;
    case 3:
        return MM_MEM_ACPI_NVS;
    case 4:
        return MM_MEM_BAD;
    case 5:
        return MM_MEM_BOOT_RECLAIM;
    default:
        return MM_MEM_RESERVED;
    }
}
