/*
 * mm/vmm.h - address spaces and page tables.
 *
 * A space is a set of page tables. The tables are the truth: what is mapped where is in their
 * entries, nothing else keeps score. A struct mm_vmm holds what the spaces of one machine share:
 * where table frames come from, the window through which tables are reached, the layout of the
 * kernel's half, and which CPU has which space loaded.
 *
 * Mapping borrows: frames given to mm_space_map() stay yours, and unmapping never frees them, but for
 * frames that the space owns (MM_MAP_OWNED). Tables belong to the space: they are taken as needed and
 * given back when they become empty.
 *
 * Removing or lowering goes: entry cleared, then translations flushed on every CPU that may hold
 * them, then frames freed. Only a struct mm_gather frees tables, so libmm cannot get the order
 * wrong; hand it your frames too and neither can you. Calls marked "may wait" wait for other CPUs
 * when more than one has used the space: thread context, interrupts on, no lock held that a spinner
 * with interrupts off may want. While only one CPU is in use they never wait and are allowed in
 * interrupt handlers too.
 *
 * Context of all calls unless said otherwise: thread, interrupt or page fault; from an NMI that hits
 * another call they answer MM_ERR_BUSY. A call locks the tables of its range, with interrupts off: map
 * all of them at once, unmap and protect at most 64 at a time, query none. Calls on different tables do
 * not wait for each other. Each of these pieces happens at one instant to all others.
 *
 * Every call that takes a space, those without a lock included: one that was destroyed answers
 * MM_ERR_GONE, one that was never made MM_ERR_BAD_ARG if it is zeroed, as NULL does (mm/error.h). A
 * walk has no steps then, figures are zero, and a gather over a space that was never made frees
 * nothing. A struct mm_vmm that is zeroed answers MM_ERR_BAD_ARG.
 *
 * An entry that the hardware would fault on (reserved bits, a page size that does not exist) is what
 * a wild write leaves. Map, unmap, protect and query answer MM_ERR_CORRUPT when they meet one, and
 * report it once, without a lock; `fail` has the entry. Nothing has changed, unless it came after
 * unmap or protect had begun: then the part before fail->virt is done. mm_space_translate() and
 * mm_space_walk() find nothing mapped there, as the hardware does. mm_space_destroy() loses the
 * tables behind it, and reports.
 */
#ifndef MM_VMM_H
#define MM_VMM_H

#include "cursor.h"
#include "gather.h"
#include "paging.h"
#include "pmm.h"
#include "report.h"
#include "types.h"
#include "window.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where things are in the kernel's half. Addresses are data; zero bytes means "none". Ranges are
 * aligned to 2 MiB and disjoint.
 *
 * User spaces share the kernel's top-level entries. Those of the kernel area, and all that are in
 * use when the first user space is made, are fixed from then on; mapping where there is none is
 * refused afterwards (MM_ERR_POLICY), because older spaces would not see it.
 */
struct mm_layout {
    struct mm_virt_range direct_map;  /* room for the RAM: physical p is at start + p. Filled by
                                       * mm_space_map_ram(); not used with an adopted root. In the
                                       * lower half only where there are no user spaces */
    struct mm_virt_range kernel_area; /* handed out by the kernel arena: devices, DMA */
    mm_virt_t user_end;               /* user spaces map below this address */
};

struct mm_space;

/* Address spaces whose translations a CPU keeps while another one is loaded. */
#define MM_VMM_ROOTS 7u

struct mm_vmm_root {
    uint64_t space;      /* (A) its address; 0: none */
    uint64_t generation; /* (A) of the space, when the CPU had nothing older of it; 0: forget it */
};

/* What the VMM knows of one CPU: cache lines that only that CPU writes, but for last.space, which
 * others clear. */
struct mm_vmm_cpu {
    uint64_t section;        /* (A) 0, or the epoch in which a call on this CPU began */
    struct mm_space *active; /* (A) the space that is loaded */
    struct {
        uint64_t space;    /* (A) its address; 0: none */
        uint64_t first;    /* address that its first entry covers */
        uint64_t removals; /* of the space, then */
        void *entry;
        uint16_t *tag;
        uint64_t span; /* bytes that the table covers: of level 1 or 2 */
    } last;            /* the table that was locked last here: used in sections only */
    struct mm_vmm_root root[MM_VMM_ROOTS]; /* the number of each, and 1, is its address-space id */
    uint64_t kernel_generation; /* (A) of the kernel space, as above, for what all spaces share */
    uint32_t loaded;            /* (A) which root is */
    uint16_t loading;           /* (A) it is about to change */
    uint16_t turn;              /* the root that was replaced last */
};

struct mm_vmm {
    struct mm_frame_source tables;  /* (C) used without a lock of libmm */
    const struct mm_window *window; /* (C) */
    struct mm_pmm *pmm;      /* (C) where mm_gather_frames() gives frames back; may be NULL */
    struct mm_space *kernel; /* (C) space whose upper half the others share */
    struct mm_layout layout; /* (C) */
    struct mm_paging paging; /* (C) */
    uint32_t cpu_count;      /* (C) */
    uint32_t state;
    struct mm_vmm_cpu *cpu;  /* (C) one for each CPU, lent; or `one` */
    uint64_t cpu_mask;       /* (C) of indexes into it */
    struct mm_vmm_cpu one;   /* of a kernel with one CPU */
    struct mm_cpuset online; /* (A) CPUs that called mm_cpu_init() */
    uint64_t shootdowns;     /* (A) batches sent to other CPUs */
    uint64_t full_flushes;   /* (A) batches that flushed everything */
    uint64_t user_spaces;    /* (A) user spaces that live */
    uint64_t generations;    /* (A) no space that was destroyed had a greater one */
    uint64_t later;          /* (A) what mm_reap() will do: the struct mm_later that came last */
    uint64_t before_epoch[7];
    uint64_t epoch; /* (A) grows when tables or frames wait for walks that began before */
    uint64_t after_epoch[7];
};

struct mm_vmm_config {
    struct mm_frame_source tables;  /* frames for page tables, reachable through `window` */
    const struct mm_window *window; /* lent for the life of the VMM */
    const struct mm_layout *layout; /* copied; NULL = mm_layout_default() */
    struct mm_pmm *pmm;             /* may be NULL: see mm_vmm_set_sources() */
    uint32_t cpu_count;             /* 1 to MM_CPUS_MAX */
    struct mm_vmm_cpu *cpu; /* `cpu_count` of them, lent for the life of the VMM, best aligned to 64
                             * bytes. NULL: one CPU, until mm_vmm_set_cpus() */
    uint32_t flags;         /* MM_VMM_NO_ASIDS or 0 */
    uint32_t unused;
};
#define MM_VMM_NO_ASIDS 1u /* no address-space ids (PCIDs), although the CPU has them */

/*
 * Prepare what spaces share and read the capabilities of the CPU that runs this.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_CPU (paging mode that the port does not know)
 *          | MM_ERR_RANGE (layout not canonical, unaligned, overlapping)
 * Context  boot CPU
 */
MM_NODISCARD enum mm_err mm_vmm_init_abi(struct mm_vmm *vmm, const struct mm_vmm_config *config,
                                         const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_vmm_init(struct mm_vmm *vmm,
                                                   const struct mm_vmm_config *config)
{
    return mm_vmm_init_abi(vmm, config, &MM_CONFIG_SYMBOL);
}

/* Change where table frames come from and where gathers give frames back: at start-up, from the
 * early allocator to the PMM, right after mm_pmm_init() (which ends early allocation: until then
 * calls that need a table fail with MM_ERR_BUSY). Frames without a tag that `tables.owns` denies are never freed.
 * A source without alloc or free is ignored. The tables of the kernel space are counted into the new
 * source's tags; while there are user spaces, old and new source must have the same tags. A frame is taken and given
 * back, to see. Context: no
 * other call on this VMM at the same time.
 */
void mm_vmm_set_sources(struct mm_vmm *vmm, const struct mm_frame_source *tables,
                        struct mm_pmm *pmm);

/* The same for the window, when the direct map becomes usable. Context: as above. */
void mm_vmm_set_window(struct mm_vmm *vmm, const struct mm_window *window);

/* Lend what a CPU each needs, `cpu_count` of them, for the life of the VMM, before a second CPU is
 * prepared. For those who have no memory to lend at mm_vmm_init(). Context: no other call on this VMM at
 * the same time. */
void mm_vmm_set_cpus(struct mm_vmm *vmm, struct mm_vmm_cpu *cpu);

/* The port's default layout for the paging mode this CPU runs in: x86_64 has the direct map at
 * 0xffff900000000000 and the kernel area of 1 TiB at 0xffffe00000000000. */
void mm_layout_default(struct mm_layout *out);

/*
 * Prepare the calling CPU: switch on no-execute, write protection in supervisor mode, global pages
 * and the memory types; check what the port needs; flush its translations. Each CPU calls it
 * before its first call on a space, with the index that mm_host_cpu() gives it, on the kernel
 * space's root or on its way there. From then on it is named in shootdowns of the kernel half and
 * must answer them. mm_start() does it for the boot CPU. The first CPU prepared decides what is
 * used; the others need at least that.
 *
 * x86_64 sets PAT entries 0 to 5 to WB, WT, UC-, UC, WP, WC and 6, 7 to UC-, UC: the power-on
 * meaning where that has no duplicates, and what the Limine protocol promises. An adopted root must
 * agree with that.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (cpu, or a second one and nothing lent for it: mm_vmm_set_cpus())
 *          | MM_ERR_CPU (a required feature is missing, or one that the boot CPU has)
 * Context  the CPU itself, interrupts off
 */
MM_NODISCARD enum mm_err mm_cpu_init(struct mm_vmm *vmm, unsigned cpu);

/*
 * The calling CPU goes away (off-lining, halt for good): no call that starts from now on names it
 * in a shootdown. It must be on a root that libmm does not manage when it calls this, or do nothing
 * but halt afterwards: from here on tables are freed without asking it.
 *
 * A call that read its set of CPUs a moment before still names this CPU, after mm_cpu_exit() has
 * returned. So either the CPU goes on answering until every mm_host_shootdown() that had begun by
 * then has ended, or mm_host_shootdown() drops CPUs that are gone from its set, also while it
 * waits: such a CPU has nothing to flush.
 *
 * What it has in stock of the PMM that the VMM was given goes back to the pools. If it uses that PMM
 * once more, mm_pmm_park() comes after that.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG
 * Context  the CPU itself, interrupts off; O(frames in stock)
 */
enum mm_err mm_cpu_exit(struct mm_vmm *vmm, unsigned cpu);

/* struct mm_space.flags */
#define MM_SPACE_KERNEL   1u /* the one kernel space: both halves are its own */
#define MM_SPACE_ALLOW_WX 2u /* a mapping may be writable and executable without MM_MAP_WX */
#define MM_SPACE_ADOPTED  4u /* root and tables came from somebody else */

/* Place it anywhere. It may be reused when mm_space_destroy() has answered MM_OK; after
 * mm_space_destroy_later(), when mm_space_is_destroyed(). Only src/vmm touches the fields. */
struct mm_space {
    /* read by each call */
    struct mm_vmm *vmm;    /* (C) */
    mm_phys_t root;        /* (C) */
    uint32_t flags;        /* (C) MM_SPACE_* */
    uint32_t one_lock;     /* (C) its tables have no locks of their own */
    uint64_t table_limit;  /* (A) 0 = none */
    uint64_t frame_limit;  /* (A) of owned frames; 0 = none */
    struct mm_later later; /* for mm_space_destroy_later() */
    uint32_t state;        /* (A) */
    uint32_t rewriters;    /* (A) calls that rewrite entries plainly: no CPU may load the space */
    uint64_t removals;     /* (A) times that tables were taken off */
    uint64_t joins;        /* (A) pages that were joined and are not flushed yet */
    uint64_t larges;       /* (A) gathers with large pages whose rights have changed */
    uint64_t splits;       /* (A) calls that split pages, and have not flushed that yet */
    uint64_t resizes;      /* (A) times that one of these three grew */
    struct mm_cpuset cpus; /* (A) CPUs that have it loaded, or are about to */
    uint64_t before_counts[7];
    /* written by calls that take tables, give some back, or flush: not in a line with the others */
    uint64_t holds;       /* (A) what keeps it from being destroyed; the top bit: it is destroyed */
    uint64_t table_count; /* (A) tables of this space, root included, shared ones not */
    uint64_t frame_count; /* (A) frames that the space owns */
    uint64_t generation;  /* (A) grows with each flush that other CPUs must not miss */
    struct mm_lock lock;  /* of all tables that have none of their own */
    uint64_t after_counts[6];
};

/* Details of a failure; every call that takes one accepts NULL. Filled only on failure. */
struct mm_space_fail {
    mm_virt_t virt;  /* where */
    uint64_t entry;  /* the page-table entry found there, as the hardware sees it; 0 = none */
    uint32_t level;  /* of that entry: 1 = 4 KiB, 2 = 2 MiB, ... */
    enum mm_err err; /* what the call returned */
};

/*
 * Make an empty space. A user space shares the kernel's upper half, so the kernel space must
 * exist first, and the direct map must lie in that half: a root that does not show it would leave
 * libmm without its window. (The same holds for a window of yours under an adopted root; that is
 * not checked.) What is in `space` before does not matter, unless it is a space of this VMM that
 * lives: making another in its place would lose its tables.
 *
 * @flags   MM_SPACE_KERNEL or 0, with or without MM_SPACE_ALLOW_WX
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_EXISTS (second kernel space, or `space` lives)
 *          | MM_ERR_NOT_FOUND (no kernel space yet) | MM_ERR_UNSUPPORTED (user space, direct map in
 *          the lower half; a frame without a tag, where that of the kernel space's root has one)
 *          | MM_ERR_NO_MEMORY | MM_ERR_WINDOW
 * Cost     O(top-level entries)
 */
MM_NODISCARD enum mm_err mm_space_create(struct mm_vmm *vmm, struct mm_space *space,
                                         uint32_t flags);

/*
 * Make the kernel space out of the page tables that are loaded now (MM_ROOT_ADOPT). They are
 * walked and counted; those that the frame source does not own are never freed, so reserve them
 * before the first early allocation (mm_vmm_reserve_live()). Self-mapping ("recursive") entries are
 * refused. The space counts as loaded on the calling CPU.
 *
 * Written are, when nothing can fail any more, the empty top-level entries of the kernel area, and
 * nothing else. A frame is taken and given back, to see whether it has a tag. Global leaves of the
 * lower half stay global; so that they are not visible in user spaces, a CPU that goes from this
 * space to a user space flushes everything then.
 *
 * Tables that the loader uses in two places (identity map and higher half in one) stay shared and
 * are counted twice: what is changed through one address changes at the other too, and is not
 * flushed there. Leave such areas as they are.
 *
 * Returns  as mm_space_create(), and MM_ERR_MALFORMED (reserved bits, a loop; `fail` says where)
 */
MM_NODISCARD enum mm_err mm_space_adopt(struct mm_vmm *vmm, struct mm_space *space,
                                        struct mm_space_fail *fail);

/*
 * Free all tables of a space; what they mapped is not touched, but for frames that the space owns: they
 * are freed. May wait.
 *
 * It is refused, and nothing has changed, while somebody still needs the space: a CPU that has it
 * loaded, a call on a long range that has begun, a map that takes tables (here or on another CPU), a
 * cursor, a promotion or protect of a large page that is not flushed, a gather between
 * mm_gather_begin() and mm_gather_end(), a deferred one until mm_reap() has ended it, and for the kernel space each user space. Short calls that have begun it waits for. Under a
 * cursor of any space it is refused, too. What comes after the answer MM_OK gets MM_ERR_GONE, until the
 * struct is used for something else: from then on nobody may use it as this space.
 *
 * Returns  MM_OK | MM_ERR_BUSY (see above) | MM_ERR_GONE
 * Cost     O(tables)
 */
MM_NODISCARD enum mm_err mm_space_destroy(struct mm_space *space);

/* The same where nothing can be waited for: refused as mm_space_destroy() is, else the space is gone at
 * once, and mm_reap() does the rest; the struct is used until it has. Context: any but NMI; O(1). */
MM_NODISCARD enum mm_err mm_space_destroy_later(struct mm_space *space);

/* Is nothing of the struct used any more? After mm_space_destroy(), and when mm_reap() has done what
 * mm_space_destroy_later() put off. Any context. */
bool mm_space_is_destroyed(const struct mm_space *space);

/*
 * Load the space on the calling CPU; the one loaded before is left. For a live space, on a CPU that called
 * mm_cpu_init(), and not under a cursor, it cannot fail.
 * Returns  MM_OK | MM_ERR_BAD_ARG (CPU not initialised) | MM_ERR_GONE | MM_ERR_BUSY (under a cursor)
 * Context  interrupts off or preemption off, so that the CPU stays the same; takes no lock, and waits at
 *          most for one piece of a protect that another CPU is at
 */
MM_NODISCARD enum mm_err mm_space_activate(struct mm_space *space);

/* The space loaded on the calling CPU; NULL if libmm loaded none. No lock, any context. */
struct mm_space *mm_space_current(struct mm_vmm *vmm);

/* The CPUs on which the space is loaded now. No lock, any context. */
void mm_space_loaded_on(const struct mm_space *space, struct mm_cpuset *out);

/*
 * Start-up steps, for kernels that do not use mm_start().
 *
 * mm_vmm_reserve_live: reserve in a finished map what the calling CPU runs on now and what no map
 * describes: the page tables reachable from the loaded root, its stack, GDT and IDT (MM_USE_BOOT).
 * The CPU does not tell how large its stack is: unless the page of the stack pointer lies in the
 * image or in a kept range (MM_USE_IMAGE, MM_USE_KEEP), all that is mapped without a gap within
 * 64 KiB on either side of that page counts as stack. Reserve a larger one yourself. Call it before
 * the first mm_memmap_take(): those frames may lie in usable memory. On failure what was reserved
 * until then stays reserved.
 *
 * mm_space_map_ram: map all RAM of the map at layout.direct_map, readable and writable, with the
 * largest pages and nothing but RAM.
 *
 * mm_space_verify: would the CPU survive loading this space? Code, stack, GDT and IDT in use must
 * translate to the same frames as now, code executable and the stack writable. Load your own GDT
 * and IDT from the image before; an IDT with limit 0 is skipped.
 *
 * Returns  MM_OK | as mm_memmap_reserve(), MM_ERR_NOT_FOUND (stack, GDT or IDT not mapped now)
 *          | MM_ERR_WINDOW (a table; `fail` has the entry that refers to it, level 0 = the root)
 *          | MM_ERR_MALFORMED (reserved bits); as mm_space_map(), MM_ERR_NO_ADDRESS (direct map too
 *          small); MM_ERR_NOT_FOUND (not mapped, or to another frame; `fail`: which address)
 *          | MM_ERR_POLICY (a right is missing) | MM_ERR_WINDOW
 * Context  boot CPU, interrupts off
 */
MM_NODISCARD enum mm_err mm_vmm_reserve_live(struct mm_memmap *map, const struct mm_window *window,
                                             struct mm_space_fail *fail);
MM_NODISCARD enum mm_err mm_space_map_ram(struct mm_space *space, const struct mm_memmap *map,
                                          struct mm_space_fail *fail);
MM_NODISCARD enum mm_err mm_space_verify(struct mm_space *space, struct mm_space_fail *fail);

/* struct mm_map_request.flags */
#define MM_MAP_SMALL   1u  /* 4 KiB pages only: no automatic large pages */
#define MM_MAP_WX      2u  /* writable and executable is intended */
#define MM_MAP_NULL    4u  /* the page at address 0 is intended */
#define MM_MAP_OWNED   8u  /* the frames become the space's: see mm_space_populate() */
#define MM_MAP_REPLACE 16u /* over what is mapped there: not built yet */

struct mm_map_request {
    mm_virt_t virt;       /* frame-aligned */
    uint64_t bytes;       /* multiple of the frame, > 0 */
    mm_phys_t phys;       /* frame-aligned; borrowed: stays the caller's */
    uint32_t prot;        /* MM_PROT_*; at least MM_PROT_READ */
    enum mm_memtype type; /* zero is write-back */
    uint32_t flags;       /* MM_MAP_* */
    /* Scattered frames: `piece_count` ranges, mapped one behind the other, frame-aligned and together
     * as long as `bytes`; `phys` is not used. 0 = [phys, phys + bytes). Read during the call. */
    uint32_t piece_count;
    const struct mm_phys_range *piece;
};

/*
 * Map [virt, virt + bytes) to [phys, phys + bytes). Uses 2 MiB and 1 GiB pages where virt, phys and
 * length allow. All or nothing: tables are linked when nothing can fail any more. No flush is
 * needed: what was not present is not cached. Through the kernel space the lower half can be mapped
 * too; such mappings are seen while the kernel space itself is loaded.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG (unaligned, empty, unknown bits or memory type) | MM_ERR_RANGE
 *          (not canonical, wraps, crosses halves, beyond the physical width) | MM_ERR_EXISTS
 *          (something is mapped: `fail`) | MM_ERR_POLICY (W^X, null page, user right in the kernel
 *          half, kernel half or beyond user_end through a user space, kernel half without a shared
 *          top-level entry, a table of an adopted root that denies the right) | MM_ERR_NO_MEMORY
 *          (tables) | MM_ERR_LIMIT | MM_ERR_UNSUPPORTED (a flag that is not built yet, a memory
 *          type that the CPU lacks) | MM_ERR_WINDOW (a table frame cannot be reached)
 * Cost     O(pages written + levels)
 */
MM_NODISCARD enum mm_err mm_space_map(struct mm_space *space, const struct mm_map_request *request,
                                      struct mm_space_fail *fail);

/*
 * Map [virt, virt + bytes) to zeroed frames of the VMM's PMM that the space owns: unmap and destroy give
 * them back, after the flush. All or nothing. Up to 64 pages never wait; more may wait if it fails after
 * the first 64.
 *
 * mm_space_map() with MM_MAP_OWNED does the same with frames of yours: each was allocated from that PMM
 * as a single frame, and belongs to the space when the call has succeeded. Owned pages are 4 KiB.
 *
 * @flags   MM_MAP_WX, MM_MAP_NULL
 * Returns  as mm_space_map(), and MM_ERR_NO_MEMORY (frames), MM_ERR_LIMIT (more frames than
 *          mm_space_set_frame_limit() allows), MM_ERR_UNSUPPORTED (the VMM has no PMM, or
 *          the space is adopted: what its leaves are marked with is not known)
 * Cost     O(pages), zeroing included
 */
MM_NODISCARD enum mm_err mm_space_populate(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                                           uint32_t prot, uint32_t flags,
                                           struct mm_space_fail *fail);

/* flags of unmap and protect */
#define MM_RANGE_HOLES 1u /* unmapped pages in the range are skipped; else they are an error */
#define MM_RANGE_WX    2u /* protect: writable and executable is intended */

/*
 * Remove what is mapped in [virt, virt + bytes). Large pages that the range cuts are split; tables
 * that become empty, and frames that the space owns, are freed after the flush. May wait.
 *
 * @gather  NULL: the call flushes before it returns. Else flush and free are left to
 *          mm_gather_end(): until then the addresses must not be used for anything else
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_RANGE | MM_ERR_POLICY (kernel half through a user space)
 *          | MM_ERR_NOT_FOUND (a hole, without MM_RANGE_HOLES) | MM_ERR_NO_MEMORY (a split needs a
 *          table) | MM_ERR_LIMIT | MM_ERR_WINDOW | MM_ERR_BUSY (the gather is deferred, and a large
 *          page would be split). Nothing changed on error, but for those below; a large page may have
 *          been split. Without a deferred gather it cannot fail for exactly the range of one
 *          mm_space_map() that was not touched since.
 *          The part before fail->virt is done after MM_ERR_AGAIN (another CPU changed the same range
 *          meanwhile), MM_ERR_NO_ROOM (the gather is deferred and full: mm_gather_defer()), and an
 *          MM_ERR_CORRUPT that comes up late
 */
MM_NODISCARD enum mm_err mm_space_unmap(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                                        uint32_t flags, struct mm_gather *gather,
                                        struct mm_space_fail *fail);

/*
 * Change the rights of everything mapped in [virt, virt + bytes); memory type, accessed and dirty
 * are kept. May wait (when a right is taken away). A CPU may still fault once, spuriously, after a
 * right was added: look again and return.
 *
 * @prot    MM_PROT_*; at least MM_PROT_READ
 * @flags   MM_RANGE_HOLES, MM_RANGE_WX
 * @gather  as for mm_space_unmap(): with one, lowered rights hold after mm_gather_end()
 * Returns  as mm_space_unmap() with all that it says of errors, and MM_ERR_BAD_ARG (unknown right, or not readable)
 *          | MM_ERR_POLICY (W^X without MM_RANGE_WX, user right in the kernel half, a table of an
 *          adopted root that denies the right)
 */
MM_NODISCARD enum mm_err mm_space_protect(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                                          uint32_t prot, uint32_t flags, struct mm_gather *gather,
                                          struct mm_space_fail *fail);

/* What mm_space_harvest() says of a page */
#define MM_MARK_MAPPED   1u
#define MM_MARK_ACCESSED 2u
#define MM_MARK_DIRTY    4u

/*
 * Read, and clear, what the hardware has noted of the pages in [virt, virt + bytes), with one flush for
 * all of them. Unmapped pages are no error. A large page that the range cuts is read and not cleared.
 *
 * @clear   MM_MARK_ACCESSED, MM_MARK_DIRTY, both, or 0 = only read
 * @marks   one byte for each 4 KiB receives MM_MARK_*; NULL = only clear
 * @gather  as for mm_space_unmap(): until the flush a CPU may use a page without noting it again
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_RANGE | MM_ERR_POLICY (kernel half through a user space)
 *          | MM_ERR_GONE | MM_ERR_CORRUPT (what comes before fail->virt is done) | MM_ERR_WINDOW
 * Context  may wait; no mark is lost that is set meanwhile
 * Cost     one load for each page, and one exchange where a mark is cleared
 */
MM_NODISCARD enum mm_err mm_space_harvest(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                                          uint32_t clear, uint8_t *marks, struct mm_gather *gather,
                                          struct mm_space_fail *fail);

/*
 * Make one large page of the pages in [virt, virt + bytes), if they are one: all mapped, frames behind
 * each other and aligned, the same rights and type, none owned. `bytes` is 2 MiB or 1 GiB; virt is
 * aligned to it. The frames stay, and nobody sees a difference, but for marks: the large page is
 * accessed, and dirty if it is writable or one of them was. Its table is freed after the flush.
 *
 * Returns  MM_OK (also: it is one already) | MM_ERR_BAD_ARG | MM_ERR_RANGE | MM_ERR_POLICY
 *          | MM_ERR_NOT_FOUND (a hole; `fail`) | MM_ERR_EXISTS (a page does not fit: `fail`)
 *          | MM_ERR_UNSUPPORTED (the CPU has no such pages; or the table has no tag where others have,
 *          and must stay) | MM_ERR_NO_ROOM (the gather is deferred and full) | MM_ERR_BUSY (under a
 *          cursor, or NMI) | MM_ERR_GONE | MM_ERR_CORRUPT | MM_ERR_WINDOW. Nothing changed on error
 * Context  may wait
 * Cost     one load for each entry of the table
 */
MM_NODISCARD enum mm_err mm_space_promote(struct mm_space *space, mm_virt_t virt, uint64_t bytes,
                                          struct mm_gather *gather, struct mm_space_fail *fail);

struct mm_translation {
    mm_phys_t phys;      /* of the byte asked for */
    uint64_t leaf_bytes; /* size of the page that maps it */
    uint32_t prot;       /* effective rights: what every level grants */
    enum mm_memtype type;
    bool accessed;
    bool dirty;
};

/*
 * Where `virt` leads, read from the tables; through a user space, kernel addresses too. Takes no
 * lock and waits for nobody: any context including NMI and a page-fault handler, on a CPU that the VMM
 * knows. Tables that it reads are not freed meanwhile; the frame that it finds may be, once it has
 * answered. The answer was true at some instant of the call.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_GONE | MM_ERR_NOT_FOUND (`fail`: level and entry at
 *          which the walk ended) | MM_ERR_RANGE (not canonical) | MM_ERR_WINDOW
 */
MM_NODISCARD enum mm_err mm_space_translate(struct mm_space *space, mm_virt_t virt,
                                            struct mm_translation *out, struct mm_space_fail *fail);

struct mm_space_run {
    mm_virt_t virt;
    uint64_t bytes;
    mm_phys_t phys;
    uint32_t prot; /* effective */
    enum mm_memtype type;
};

/*
 * The first run of pages at or after *cursor with equal rights and type and continuing frames,
 * whatever the page sizes. Ends below `end` (mm_virt(0) = end of the address space). On success
 * the cursor is moved behind the run, or to 2^64 - 1 when the run ends at 2^64: nothing is found
 * from there. Through a user space only its own half is seen.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_GONE | MM_ERR_NOT_FOUND (nothing more) | MM_ERR_WINDOW
 * Cost     O(tables + entries passed)
 */
MM_NODISCARD enum mm_err mm_space_query(struct mm_space *space, mm_virt_t *cursor, mm_virt_t end,
                                        struct mm_space_run *out);

/* One step of a walk, for fault handlers and debuggers. */
struct mm_walk_step {
    uint64_t entry;  /* as the hardware sees it */
    mm_phys_t table; /* frame of the table that holds it */
    mm_phys_t to;    /* what it refers to: the next table, or the page; if present */
    uint32_t index;  /* in that table */
    uint32_t level;
    uint32_t prot; /* what this entry grants; MM_PROT_NONE = not present, or reserved bits set */
    uint32_t leaf; /* 1: it maps a page */
};
#define MM_WALK_STEPS 5u

/* The entries that a translation of `virt` reads, top level first: fills at most MM_WALK_STEPS and
 * returns their number. The last is the leaf, or the entry that is not present, or the last whose
 * table is in the window. 0 if virt is not canonical or the space is not alive. Context as
 * mm_space_translate(). */
unsigned mm_space_walk(struct mm_space *space, mm_virt_t virt, struct mm_walk_step *steps);

/* One line without a newline: "level 4, entry 273 of table 0x1000: 0x2003 -> table 0x2000, rwx".
 * Returns and cuts as mm_report_format(). Any context. */
size_t mm_walk_format(char *buf, size_t bytes, const struct mm_walk_step *step);

struct mm_space_stats {
    uint64_t tables;
    uint64_t owned_frames;
    uint64_t mapped_frames;
    uint64_t leaf_4k, leaf_2m, leaf_1g;
};
/* Counted in the tables when asked: O(tables + entries), in pieces; exact when nobody changes the space. */
void mm_space_get_stats(struct mm_space *space, struct mm_space_stats *out);

/* Limit the tables of a space; 0 = no limit. Returns MM_OK | MM_ERR_BAD_ARG | MM_ERR_GONE
 * | MM_ERR_LIMIT (more in use already). */
MM_NODISCARD enum mm_err mm_space_set_limit(struct mm_space *space, uint64_t tables);

/* The same for frames that it owns. */
MM_NODISCARD enum mm_err mm_space_set_frame_limit(struct mm_space *space, uint64_t frames);

/* Walk all tables: bounds, reserved bits, counts, no empty table left, no table used twice, and
 * where the PMM is known none whose frame it calls free. Returns the number of faults, each told to
 * `sink` (may be NULL; called without a lock). Quiet space; O(tables x 512), and O(tables^2) for
 * tables used twice, left out above 8192 tables. */
size_t mm_space_check(struct mm_space *space, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
