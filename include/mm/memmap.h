/*
 * mm/memmap.h - the firmware's memory map, made sane; reservations; memory before the PMM.
 *
 * Order of use: init, any number of add / reserve in any order, finish, then take (early
 * allocations) until a PMM is built over the map. Readers of boot protocols (mm/boot.h) call add
 * and reserve for you.
 *
 * Each range has a *type*, what the firmware says it is, and a *use*, what lies in it now. Where
 * ranges overlap, the more restrictive type and the more important use win; both enumerations are
 * in that order, so "wins" is "greater", but for BOOTINFO and MODULE, which are MODULE_INFO
 * together. Only type USABLE with use FREE is ever handed out.
 *
 * The map never allocates: it works in an array that the caller lends. Serialise all calls on one
 * map; every call is O(ranges) unless said. A call that fails with MM_ERR_NO_ROOM has changed
 * nothing. After mm_pmm_init() the map is only read.
 */
#ifndef MM_MEMMAP_H
#define MM_MEMMAP_H

#include "report.h"
#include "types.h"
#include "window.h"

#ifdef __cplusplus
extern "C" {
#endif

enum mm_mem_type {
    MM_MEM_NONE = 0,         /* not described by the firmware: a hole, or a device */
    MM_MEM_USABLE = 1,       /* free RAM once boot services are over */
    MM_MEM_BOOT_RECLAIM = 2, /* RAM of the boot loader; free after mm_reclaim_boot() */
    MM_MEM_ACPI_RECLAIM = 3, /* RAM with ACPI tables; yours to give back */
    MM_MEM_ACPI_NVS = 4,     /* RAM that the firmware keeps */
    MM_MEM_PERSISTENT = 5,   /* non-volatile memory */
    MM_MEM_RUNTIME = 6,      /* EFI runtime services code or data */
    MM_MEM_RESERVED = 7,     /* not to be touched; every unknown firmware type */
    MM_MEM_DEVICE = 8,       /* memory-mapped I/O according to the firmware */
    MM_MEM_BAD = 9           /* faulty RAM */
};

enum mm_mem_use {
    MM_USE_FREE = 0,
    MM_USE_BOOT = 1,     /* page tables, stack, descriptor tables that the CPU was started with */
    MM_USE_BOOTINFO = 2, /* the boot information block and what it points to */
    MM_USE_MODULE = 3,   /* a boot module or initial RAM disk */
    MM_USE_MODULE_INFO = 4, /* frames that a module and the boot information share */
    MM_USE_EARLY = 5,       /* taken by mm_memmap_take(): page tables. The PMM's afterwards */
    MM_USE_FRAMEBUFFER = 6, /* pixels */
    MM_USE_IMAGE = 7,       /* the kernel itself */
    MM_USE_KEEP = 8         /* reserved by the caller or by policy; never handed out */
};

/* Nodes are small numbers from the firmware's affinity tables; 0 when there are none. */
#define MM_NODES_MAX 64u

/* One piece of the finished map: frame-aligned, sorted by start, disjoint from all others. */
struct mm_mem_range {
    mm_phys_t start;
    uint64_t bytes;
    uint8_t type; /* enum mm_mem_type */
    uint8_t use;  /* enum mm_mem_use */
    uint16_t node;
    uint32_t unused;
};

/* Only memmap's own code writes the fields; reading `range` and `count` is fine. */
struct mm_memmap {
    struct mm_mem_range *range; /* lent */
    uint32_t capacity;
    uint32_t count;
    uint32_t phys_bits;     /* width of physical addresses */
    uint32_t state;         /* collecting, finished, closed */
    uint64_t dropped_bytes; /* usable memory beyond phys_bits, left out */
};

/*
 * Start an empty map.
 *
 * @storage    lent for the life of the map; each boundary between different neighbours needs one
 *             entry, so twice the number of firmware entries plus reservations is ample; finish
 *             needs one more for each end of reclaimable memory inside a frame
 * @phys_bits  1 to 63: physical addresses from 2^phys_bits on do not exist (x86: 52, or
 *             CPUID 0x80000008)
 * Returns     MM_OK | MM_ERR_BAD_ARG
 * Context     any, serialised; O(1)
 */
MM_NODISCARD enum mm_err mm_memmap_init_abi(struct mm_memmap *map, struct mm_mem_range *storage,
                                            uint32_t capacity, unsigned phys_bits,
                                            const uint32_t *config);

MM_NODISCARD static inline enum mm_err mm_memmap_init(struct mm_memmap *map,
                                                      struct mm_mem_range *storage,
                                                      uint32_t capacity, unsigned phys_bits)
{
    return mm_memmap_init_abi(map, storage, capacity, phys_bits, &MM_CONFIG_SYMBOL);
}

/*
 * Add what the firmware says of [start, start + bytes), in bytes: nothing needs to be aligned.
 * Empty ranges are ignored. A usable range is cut at 2^phys_bits (dropped_bytes counts what
 * went); any other type there is ignored with a report. A range that wraps past 2^64 is cut there.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (unknown type, node) | MM_ERR_NO_ROOM | MM_ERR_BUSY (finished)
 * Context  before finish
 */
MM_NODISCARD enum mm_err mm_memmap_add(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                                       enum mm_mem_type type);

/* Say which NUMA node [start, start + bytes) belongs to; what is added later is not affected.
 * A frame belongs to the node of its first byte. Returns as mm_memmap_add(). Context: before
 * finish. */
MM_NODISCARD enum mm_err mm_memmap_set_node(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                                            unsigned node);

/*
 * Reserve [start, start + bytes), rounded outwards to frames: it is never handed out. The range
 * may lie anywhere, also where the firmware describes nothing. Empty ranges are ignored.
 *
 * @use     any but MM_USE_FREE and MM_USE_EARLY
 * Returns  MM_OK | MM_ERR_BAD_ARG (use; wraps; beyond phys_bits) | MM_ERR_NO_ROOM
 *          | MM_ERR_BUSY (overlaps an early allocation, or a PMM was built over the map)
 * Context  before or after finish, before mm_pmm_init()
 */
MM_NODISCARD enum mm_err mm_memmap_reserve(struct mm_memmap *map, mm_phys_t start, uint64_t bytes,
                                           enum mm_mem_use use);

/* Reserve what every PC needs whatever its map says: frame 0 (interrupt vectors, BIOS data) and
 * 0xa0000 to 0xfffff (display memory, ROM), and the extended BIOS data area from `ebda` to 0xa0000
 * if ebda is not 0. Returns and context as mm_memmap_reserve(). */
MM_NODISCARD enum mm_err mm_memmap_reserve_pc(struct mm_memmap *map, mm_phys_t ebda);

/*
 * Make the map frame-granular, whatever the order in which it was filled. A frame that several
 * ranges share gets the greatest type and use. A frame is handed out, now or when it is reclaimed
 * (USABLE, BOOT_RECLAIM, ACPI_RECLAIM), only if such memory makes up all of it: one that is usable
 * in part becomes a hole; one that is reclaimable in part, or shared by the loader's and by ACPI
 * memory, ACPI_NVS, which stays readable in the direct map. All other ranges grow to whole frames. Equal neighbours are merged.
 *
 * Returns  MM_OK | MM_ERR_NO_ROOM | MM_ERR_BUSY (called before)
 *          | MM_ERR_NOT_FOUND (no frame is usable and free)
 * Context  once
 */
MM_NODISCARD enum mm_err mm_memmap_finish(struct mm_memmap *map);

/* True for types that are ordinary memory, safe to map cached (direct map): USABLE, BOOT_RECLAIM,
 * ACPI_RECLAIM, ACPI_NVS. Any context. O(1). */
bool mm_mem_type_is_ram(unsigned type);

/* "usable", "ACPI NVS", ...: static strings; "?" for a number that is none. Any context. */
const char *mm_mem_type_name(unsigned type);
const char *mm_mem_use_name(unsigned use);

/* One line without a newline: "0x0000000000100000 - 0x0000000007fdffff  usable, free". The use is
 * left out where nothing lies in memory that is not usable: "free" would promise too much. Returns
 * and cuts as mm_report_format(). Any context. */
size_t mm_mem_range_format(char *buf, size_t bytes, const struct mm_mem_range *range);

struct mm_memmap_totals {
    uint64_t usable_bytes;  /* type USABLE, any use: the machine's memory for this kernel */
    uint64_t free_bytes;    /* type USABLE, use FREE */
    uint64_t low_bytes;     /* of free_bytes: below 1 MiB */
    uint64_t reclaim_bytes; /* what mm_reclaim_boot() may hand over */
    uint64_t ram_bytes;     /* every type that is RAM */
    mm_phys_t ram_end;      /* first byte after the highest RAM range; 0 if none */
};

/* Add up the map. Returns nothing to check; zero for an empty map. Context: any, serialised. */
void mm_memmap_get_totals(const struct mm_memmap *map, struct mm_memmap_totals *out);

/*
 * The range that holds `phys`.
 * Returns  MM_OK | MM_ERR_NOT_FOUND (a hole).  O(log ranges) on a finished map
 */
MM_NODISCARD enum mm_err mm_memmap_find(const struct mm_memmap *map, mm_phys_t phys,
                                        struct mm_mem_range *out);

/* What an early allocation asks for. Zero in a field means no constraint. */
struct mm_memmap_request {
    uint64_t bytes;                 /* > 0; rounded up to frames */
    uint64_t align_bytes;           /* a power of two; at least a frame */
    mm_phys_t highest;              /* last byte that may be used */
    const struct mm_window *window; /* must lie wholly inside one piece of this window */
    enum mm_mem_use use;            /* MM_USE_EARLY: the PMM will know it as allocated frames.
                                     * MM_USE_KEEP: for good, no PMM will manage it, so that no
                                     * free can hand it out: the metadata of the PMM itself */
};

/*
 * Early allocator: take memory from the top of the highest range that fits. Memory below 1 MiB is
 * taken only when `highest` is below 1 MiB. The contents are whatever they were.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (also: another use) | MM_ERR_NO_MEMORY | MM_ERR_NO_ROOM
 *          | MM_ERR_BUSY (not finished, or a PMM was built over the map)
 * Context  boot CPU, serialised
 */
MM_NODISCARD enum mm_err mm_memmap_take(struct mm_memmap *map,
                                        const struct mm_memmap_request *request, mm_phys_t *out);

/*
 * Give back memory that mm_memmap_take() handed out as MM_USE_EARLY; any frame-aligned part of it.
 * Returns  MM_OK | MM_ERR_MISUSE (reported: not taken, unaligned, empty) | MM_ERR_NO_ROOM (for the
 *          pieces that are left) | MM_ERR_BUSY as take
 */
enum mm_err mm_memmap_give(struct mm_memmap *map, mm_phys_t start, uint64_t bytes);

/* Walk the whole map and verify sortedness, bounds, merging. Returns the number of faults, each
 * told to `sink` (which may be NULL). Context: any, serialised. */
size_t mm_memmap_check(const struct mm_memmap *map, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
