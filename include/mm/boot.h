/*
 * mm/boot.h - readers of boot information.
 *
 * A reader only reads. It is given a bounded buffer or a window, trusts no length in it, adds
 * typed ranges to a memory map that is still collecting (mm/memmap.h), reserves the information
 * itself and everything it points to, and notes the rest in a struct mm_boot_info. Malformed input
 * is an error that says what is wrong and where; the map may then hold some ranges already and is
 * to be thrown away.
 *
 * What is found is given as physical addresses, because the addresses through which the loader's
 * memory is seen now may be gone once the kernel has its own page tables. It stays intact until
 * mm_reclaim_boot().
 */
#ifndef MM_BOOT_H
#define MM_BOOT_H

#include "memmap.h"
#include "types.h"
#include "window.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mm_boot_protocol {
    MM_BOOT_NONE = 0,       /* the caller filled the map itself */
    MM_BOOT_MULTIBOOT2 = 1, /* Multiboot2 specification 2.0, section 3.6 */
    MM_BOOT_PVH = 2,        /* Xen start_info ("HVM direct boot"), as QEMU -kernel gives it */
    MM_BOOT_E820 = 3,       /* an array of 20- or 24-byte entries from INT 15h, AX=E820h */
    MM_BOOT_MULTIBOOT1 = 4, /* not built yet */
    MM_BOOT_EFI = 5,        /* not built yet */
    MM_BOOT_LIMINE = 6      /* not built yet */
};

/* What a Multiboot2 loader leaves in eax (specification 2.0, 3.3). */
#define MM_MULTIBOOT2_MAGIC 0x36d76289u

struct mm_boot_text {
    mm_phys_t at;   /* first character */
    uint32_t bytes; /* without the closing NUL, which is there; 0 = no text */
};

struct mm_boot_module {
    mm_phys_t start;
    uint64_t bytes;
    struct mm_boot_text text; /* its command line */
};

enum mm_boot_pixels {
    MM_BOOT_PIXELS_NONE = 0,    /* no framebuffer */
    MM_BOOT_PIXELS_INDEXED = 1, /* palette */
    MM_BOOT_PIXELS_RGB = 2,
    MM_BOOT_PIXELS_TEXT = 3 /* EGA text; width and height in characters */
};

struct mm_boot_framebuffer {
    mm_phys_t at;
    uint32_t pitch_bytes; /* from one line to the next */
    uint32_t width;
    uint32_t height;
    uint8_t bits_per_pixel;
    uint8_t pixels;              /* enum mm_boot_pixels */
    uint8_t red_shift, red_bits; /* RGB only */
    uint8_t green_shift, green_bits;
    uint8_t blue_shift, blue_bits;
};

/* Zero-initialise; set `module` and `module_capacity` if you want the list of modules. */
struct mm_boot_info {
    struct mm_boot_module *module; /* lent; may be NULL */
    uint32_t module_capacity;
    uint32_t module_count; /* modules found; those beyond the capacity are reserved all the same */
    struct mm_boot_text command_line;
    struct mm_boot_text loader;
    mm_phys_t block; /* the information itself */
    uint64_t block_bytes;
    mm_phys_t rsdp;      /* ACPI root pointer (or the loader's copy of it) */
    uint32_t rsdp_bytes; /* 0 = none known */
    uint32_t efi_bits;   /* 0, 32 or 64 */
    mm_phys_t efi_system_table;
    struct mm_boot_framebuffer framebuffer;
    mm_phys_t ebda; /* start of the extended BIOS data area, if the loader tells; else 0 */
    uint32_t flags;
    uint32_t map_entries; /* entries of memory maps that were read */
};

#define MM_BOOT_EFI_SERVICES 1u /* boot services are still running: their memory is kept */

/* What is wrong with malformed input. */
struct mm_boot_fault {
    const char *what; /* static text, e.g. "tag size below 8" */
    uint32_t tag;     /* Multiboot2 tag type, or 0 */
    uint64_t offset;  /* byte offset in the block or array; for PVH the physical address */
};

/*
 * Read a Multiboot2 information block: memory map (tag 6), EFI map (17), basic memory (4, only for
 * the EBDA), modules (3), command line (1), loader (2), framebuffer (8), RSDP (14, 15), EFI system
 * table (11, 12), boot services not terminated (18). Where tags 6 and 17 disagree the more
 * restrictive type wins. ELF sections (9) reserve nothing: their addresses are virtual in a
 * higher-half kernel; name the image yourself. Unknown tags are skipped.
 *
 * @block   the information, 8-byte aligned, readable for `limit_bytes`
 * @at      its physical address
 * @fault   receives what is wrong; may be NULL
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_TRUNCATED | MM_ERR_MALFORMED
 *          | MM_ERR_NOT_FOUND (no memory map tag) | MM_ERR_NO_ROOM (in the map)
 *          | MM_ERR_BUSY (the map is not collecting)
 * Context  any, serialised on `map`; O(entries x ranges); no allocation
 */
MM_NODISCARD enum mm_err mm_boot_read_multiboot2(const void *block, size_t limit_bytes,
                                                 mm_phys_t at, struct mm_memmap *map,
                                                 struct mm_boot_info *info,
                                                 struct mm_boot_fault *fault);

/*
 * Read a PVH start_info of version 1 or later and what it points to (memory map, list of modules,
 * texts, ACPI root pointer), all through `window`. The modules themselves need not be in it.
 *
 * Returns  as Multiboot2, and MM_ERR_WINDOW (something lies outside the window; fault->offset
 *          names it)
 */
MM_NODISCARD enum mm_err mm_boot_read_pvh(const struct mm_window *window, mm_phys_t start_info,
                                          struct mm_memmap *map, struct mm_boot_info *info,
                                          struct mm_boot_fault *fault);

/*
 * Read `count` entries of `entry_bytes` (20, or 24 with ACPI 3.0 attributes: an entry whose bit 0
 * is clear is ignored).
 * Returns  as Multiboot2
 */
MM_NODISCARD enum mm_err mm_boot_read_e820(const void *entries, size_t count, size_t entry_bytes,
                                           struct mm_memmap *map, struct mm_boot_info *info,
                                           struct mm_boot_fault *fault);

/* The type that an E820 number means; unknown numbers are reserved. Any context. O(1). */
enum mm_mem_type mm_mem_type_of_e820(uint32_t number);

/* The type that an EFI memory type means (UEFI specification 2.10, table 7.6). With boot services
 * still running (`services`) their code and data are BOOT_RECLAIM. Any context. O(1). */
enum mm_mem_type mm_mem_type_of_efi(uint32_t number, bool services);

/* The text at `text` through `window`, NUL-terminated; "" if there is none or it lies outside. */
const char *mm_boot_text_pointer(const struct mm_window *window, struct mm_boot_text text);

#ifdef __cplusplus
}
#endif

#endif
