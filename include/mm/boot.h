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
    MM_BOOT_MULTIBOOT1 = 4, /* Multiboot specification 0.6.96, section 3.3; also QEMU -kernel */
    MM_BOOT_EFI = 5,        /* descriptors of GetMemoryMap(), after ExitBootServices() */
    MM_BOOT_LIMINE = 6      /* response to Limine's memory map request */
};

/* What a Multiboot2 loader leaves in eax (specification 2.0, 3.3). */
#define MM_MULTIBOOT2_MAGIC 0x36d76289u

/* What a Multiboot1 loader leaves in eax (specification 0.6.96, 3.2). */
#define MM_MULTIBOOT1_MAGIC 0x2badb002u

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
    uint32_t tag;     /* Multiboot2 tag type or SRAT structure type, or 0 */
    uint64_t offset;  /* byte offset in the block, array or table; for Multiboot1, PVH and Limine
                       * the address: physical, or virtual if it is Limine's and not in the window */
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
 * Read the information of Multiboot version 1 and what it points to (memory map, list of modules,
 * texts), all through `window`; the modules themselves need not be in it. Drive, APM, VBE and ELF
 * section tables are reserved; not the palette of an indexed framebuffer, whose place loaders do not
 * agree about, nor a.out symbols. The size of upper memory is never used: without a memory map the
 * answer is MM_ERR_NOT_FOUND.
 *
 * Returns  as mm_boot_read_pvh()
 */
MM_NODISCARD enum mm_err mm_boot_read_multiboot1(const struct mm_window *window, mm_phys_t at,
                                                 struct mm_memmap *map, struct mm_boot_info *info,
                                                 struct mm_boot_fault *fault);

/*
 * The three below read a memory map and nothing else. They set `map_entries`, and EFI and Limine
 * `block` and `block_bytes`, EFI also `flags`; what else is in `info` is what you know from elsewhere, and stays.
 */

/*
 * Read `count` entries of `entry_bytes` (20, or 24 with ACPI 3.0 attributes: an entry whose bit 0
 * is clear is ignored). The array is not reserved.
 * Returns  as Multiboot2
 */
MM_NODISCARD enum mm_err mm_boot_read_e820(const void *entries, size_t count, size_t entry_bytes,
                                           struct mm_memmap *map, struct mm_boot_info *info,
                                           struct mm_boot_fault *fault);

/* What GetMemoryMap() of UEFI gave. */
struct mm_boot_efi_map {
    const void *descriptors;
    uint64_t bytes;              /* MemoryMapSize */
    mm_phys_t at;                /* physical address of the descriptors */
    uint32_t descriptor_bytes;   /* DescriptorSize: at least 40, and not what sizeof says */
    uint32_t descriptor_version; /* DescriptorVersion: 1 */
    uint32_t flags;              /* MM_BOOT_EFI_SERVICES if they were not exited */
};

/*
 * Read EFI memory descriptors; they are reserved. Memory with the attribute RUNTIME is never
 * usable, whatever its type.
 *
 * Returns  as Multiboot2 (MM_ERR_BAD_ARG also for unknown flags; MM_ERR_NOT_FOUND: no bytes)
 */
MM_NODISCARD enum mm_err mm_boot_read_efi(const struct mm_boot_efi_map *efi, struct mm_memmap *map,
                                          struct mm_boot_info *info, struct mm_boot_fault *fault);

/*
 * Read Limine's response to the memory map request, of any revision, and the entries that it points
 * to; all are reserved. The protocol's pointers are virtual: `window` must show physical memory at
 * the offset that the higher-half direct map request tells. Memory of the kernel and its modules is
 * usable in type and a module in use; your image segments are then reserved as the image.
 *
 * @response  its physical address: the pointer that you got, minus that offset
 * Returns    as mm_boot_read_pvh()
 */
MM_NODISCARD enum mm_err mm_boot_read_limine(const struct mm_window *window, mm_phys_t response,
                                             struct mm_memmap *map, struct mm_boot_info *info,
                                             struct mm_boot_fault *fault);

#define MM_NUMA_HOT_PLUG     2u /* memory may appear here; what is there already is in the map */
#define MM_NUMA_NON_VOLATILE 4u

/* A range of the affinity table. Only where the memory map says so is there memory in it. */
struct mm_numa_range {
    mm_phys_t start;
    uint64_t bytes;
    uint16_t node;
    uint16_t flags; /* MM_NUMA_* */
    uint32_t unused;
};

/* Zero-initialise; set `range` and `range_capacity` if you want the list of ranges. */
struct mm_numa {
    struct mm_numa_range *range; /* lent; may be NULL */
    uint32_t range_capacity;
    uint32_t range_count;          /* ranges found; those beyond the capacity have nodes, too */
    uint32_t node_count;           /* nodes are 0 to node_count - 1 */
    uint32_t domain[MM_NODES_MAX]; /* proximity domain of each node, ascending */
};

/*
 * Set the nodes of a map that is still collecting, after all its memory was added, from the ACPI
 * System Resource Affinity Table, which the kernel finds and maps. Domains that have memory or a
 * window for it get node numbers without gaps, in ascending order. Structures that are switched off
 * or empty are ignored; a window for hot-plug yields to another structure for the same memory. What
 * no structure names stays on node 0. The table is not reserved.
 *
 * @table   readable for `limit_bytes`; any alignment
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_TRUNCATED | MM_ERR_MALFORMED (also: wrong checksum, two
 *          domains claim the same memory) | MM_ERR_NOT_FOUND (no memory in it)
 *          | MM_ERR_NO_ROOM (more than MM_NODES_MAX domains, or the map is full: then some ranges
 *          have their nodes already, otherwise nothing has changed) | MM_ERR_BUSY (finished)
 * Context  before mm_memmap_finish(); O(bytes + memory structures^2)
 */
MM_NODISCARD enum mm_err mm_numa_read_srat(const void *table, size_t limit_bytes,
                                           struct mm_memmap *map, struct mm_numa *numa,
                                           struct mm_boot_fault *fault);

/* The node of a proximity domain, for CPUs and devices.
 * Returns  MM_OK | MM_ERR_NOT_FOUND (no memory in that domain).  Any context. O(nodes) */
MM_NODISCARD enum mm_err mm_numa_node_of_domain(const struct mm_numa *numa, uint32_t domain,
                                                unsigned *node);

/*
 * Read the distances between the nodes of `numa` from the ACPI System Locality Information Table:
 * 10 is a node to itself, 20 twice as far, 255 unreachable.
 *
 * @distance  node_count x node_count bytes, row by row: [from * node_count + to]; untouched on error
 * Returns    MM_OK | MM_ERR_BAD_ARG (also: distance_bytes too small) | MM_ERR_TRUNCATED
 *            | MM_ERR_MALFORMED | MM_ERR_NOT_FOUND (a domain of `numa` is not in the table)
 * Context    any; O(bytes + nodes^2)
 */
MM_NODISCARD enum mm_err mm_numa_read_slit(const void *table, size_t limit_bytes,
                                           const struct mm_numa *numa, uint8_t *distance,
                                           size_t distance_bytes, struct mm_boot_fault *fault);

/* The type that an E820 number means; unknown numbers are reserved. Any context. O(1). */
enum mm_mem_type mm_mem_type_of_e820(uint32_t number);

/* The type that an EFI memory type means (UEFI specification 2.10, table 7.6). With boot services
 * still running (`services`) their code and data are BOOT_RECLAIM. Any context. O(1). */
enum mm_mem_type mm_mem_type_of_efi(uint32_t number, bool services);

/* The type that a number of Limine's means; unknown numbers are reserved. Any context. O(1). */
enum mm_mem_type mm_mem_type_of_limine(uint64_t number);

/* The text at `text` through `window`, NUL-terminated; "" if there is none or it lies outside. */
const char *mm_boot_text_pointer(const struct mm_window *window, struct mm_boot_text text);

#ifdef __cplusplus
}
#endif

#endif
