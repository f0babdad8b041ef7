/*
 * mm/mm.h - all of libmm, and how a kernel starts it.
 *
 *     static struct mm mm;                       tens of KiB: .bss, not the boot stack
 *
 *     struct mm_start_info info = {
 *         .protocol = MM_BOOT_MULTIBOOT2,
 *         .magic = eax,
 *         .info = mm_phys(ebx),
 *         .segment = segments, .segment_count = 3,
 *         .keep = &text_console, .keep_count = 1,
 *     };
 *     if (mm_window_add(&info.window, mm_phys(0), 1 GiB, where the boot code maps it) != MM_OK)
 *         stop;
 *     struct mm_start_failure why;
 *     if (mm_start(&mm, &info, &why) != MM_OK)
 *         stop and print why;
 *     void *p = mm_heap_alloc(&mm.heap, 100 * sizeof(int));
 *
 * Every step of mm_start() is a public call of its own (the other headers); a kernel that wants
 * another order, or only some layers, writes its own start. The functions of the host layer are in
 * mm/host.h.
 */
#ifndef MM_MM_H
#define MM_MM_H

#include "types.h"
#include "report.h"
#include "window.h"
#include "memmap.h"
#include "boot.h"
#include "pmm.h"
#include "vmm.h"
#include "arena.h"
#include "kernel_area.h"
#include "heap.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MM_MAP_RANGES   1024u /* boundaries in the memory map; firmware gives up to about 350 */
#define MM_BOOT_MODULES 32u

/* Pages for a heap straight from the PMM, seen through a window: physically contiguous, so a large
 * request can fail when memory is fragmented. Never waits. */
struct mm_direct_pages {
    struct mm_pmm *pmm;
    const struct mm_window *window;
};

/* `pages` outlives the source. */
struct mm_page_source mm_direct_page_source(struct mm_direct_pages *pages);

/* One machine's memory management. Zero-initialise; the parts may be used directly. */
struct mm {
    struct mm_memmap map;
    struct mm_boot_info boot;
    struct mm_window window; /* how libmm reaches memory: the caller's, then the direct map */
    struct mm_pmm pmm;
    struct mm_vmm vmm;
    struct mm_space kernel; /* the kernel space */
    struct mm_arena arena;  /* of layout.kernel_area */
    struct mm_kernel_area area;
    struct mm_heap heap;
    struct mm_early_source early;
    struct mm_direct_pages pages; /* where mm.heap gets its pages */
    uint32_t state;
    struct mm_mem_range range[MM_MAP_RANGES];
    struct mm_boot_module module[MM_BOOT_MODULES];
};

/* A part of the kernel image, with the rights it is to have, .bss included. Frame-aligned
 * addresses; bytes are rounded up and must not run into the next segment; 0 bytes are ignored. W^X
 * holds: no segment is writable and executable. Under an own root each has MM_PROT_READ, and the
 * direct map shows the frames of a segment without MM_PROT_WRITE read-only. */
struct mm_image_segment {
    mm_virt_t virt;
    mm_phys_t phys;
    uint64_t bytes;
    uint32_t prot;
};

/* The segment between two linker symbols of an image linked at physical + `virt_minus_phys`. */
static inline struct mm_image_segment mm_image_part(const void *start, const void *end,
                                                    uint64_t virt_minus_phys, uint32_t prot)
{
    struct mm_image_segment segment;

    segment.virt = mm_virt_of(start);
    segment.phys = mm_phys(segment.virt.raw - virt_minus_phys);
    segment.bytes = mm_virt_of(end).raw - segment.virt.raw;
    segment.prot = prot;
    return segment;
}

/* Something else that must stay mapped under the kernel's own root: the text console or
 * framebuffer that you print to, a boot stack outside the image, an identity-mapped trampoline.
 * Frame-aligned; must not overlap the image, the direct map, the kernel area or another one;
 * readable, and not both writable and executable. RAM in it is reserved, for good, under an adopted
 * root too. */
struct mm_keep {
    mm_virt_t virt;
    mm_phys_t phys;
    uint64_t bytes;
    uint32_t prot;
    enum mm_memtype type;
};

enum mm_root_mode {
    MM_ROOT_OWN = 0,  /* build new page tables: direct map, image, keep list; load them */
    MM_ROOT_ADOPT = 1 /* go on with the page tables that are loaded now */
};

struct mm_start_info {
    enum mm_boot_protocol protocol; /* MM_BOOT_NONE: the caller filled mm.map, not finished */
    uint32_t magic;       /* both Multiboots: what the loader left in eax, always compared; else not
                             * looked at. Who compared it already says MM_MULTIBOOT2_MAGIC or
                             * MM_MULTIBOOT1_MAGIC */
    mm_phys_t info;       /* physical address of the boot information, inside the window */
    uint64_t info_bytes;  /* its size where the protocol does not tell (E820, EFI); else 0 */
    uint32_t entry_bytes; /* E820: 20 or 24; EFI: DescriptorSize */
    uint32_t cpu_count;   /* 0 = 1 */
    uint32_t entry_version; /* EFI: DescriptorVersion */
    uint32_t pmm_flags;     /* MM_PMM_*, as those below for struct mm_pmm_config */

    const struct mm_image_segment *segment; /* the image: reserved, and mapped under an own root */
    const struct mm_keep *keep;             /* what else an own root maps */
    const struct mm_phys_range *reserve;    /* what else is not to be handed out: parts of the image
                                             * that need no mapping, memory of devices */
    uint32_t segment_count;
    uint32_t keep_count;
    uint32_t reserve_count;

    struct mm_window window;        /* how memory is reachable now: must hold the boot information
                                     * and some usable memory for tables and metadata */
    const struct mm_layout *layout; /* NULL = mm_layout_default() */
    enum mm_root_mode root;
    enum mm_pin pin;
    uint64_t reserve_frames; /* kept back for page tables and whoever says MM_FRAME_RESERVE, beside
                              * the floors of the lower zones */
    uint64_t hotplug_bytes;  /* RAM that mm_pmm_add_ram() may bring later. The direct map does not
                              * show it: map it before that, in a
                              * place that mm.window has covered since start-up */
    const uint8_t *distance; /* of the map's nodes; NULL = every other node is as far. Looked at
                              * under the new root, so it lies in the image or the keep list */
    uint32_t distance_nodes; /* rows of `distance`, or 0 */
    uint32_t vmm_flags;      /* MM_VMM_NO_ASIDS or 0 */
    uint64_t heap_limit_bytes; /* 0 = none */
    uint64_t secret;           /* random if the kernel has a source; see struct mm_heap_config */
};

/* The steps of mm_start(), in order. */
enum mm_start_stage {
    MM_START_ARGUMENTS = 1, /* the struct itself */
    MM_START_CPU = 2,       /* features of the boot CPU */
    MM_START_BOOT_INFO = 3, /* reading the boot information */
    MM_START_MAP = 4,       /* sanitising the map, reservations */
    MM_START_ROOT = 5,      /* building, or adopting, page tables */
    MM_START_VERIFY = 6,    /* what must translate alike under the new root does not */
    MM_START_LOAD = 7,      /* from here on the new root is loaded */
    MM_START_PMM = 8,
    MM_START_ARENA = 9,
    MM_START_HEAP = 10
};

struct mm_start_failure {
    enum mm_start_stage stage;
    enum mm_err err;
    uint64_t address;          /* what it is about: physical or virtual, as `what` implies; of a
                                * table or the boot information physical. 0 = none */
    const char *what;          /* static text that names the cause; never NULL */
    struct mm_boot_fault boot; /* MM_START_BOOT_INFO */
};

/*
 * Bring everything up, in this order: prepare the CPU; read the boot information; sanitise the map;
 * reserve the image, boot information, modules, framebuffer, on PCs frame 0 and 0xa0000 to 1 MiB,
 * the page tables, stack, GDT and IDT in use (of a stack outside the image and the keep list what
 * is mapped without a gap within 64 KiB of its pointer's page: put a larger one into the keep list);
 * build the kernel's own root (direct map of all RAM, not executable, with the largest pages,
 * writable but where it shows a read-only part of the image; the image segment by segment; the keep
 * list); check that the code, stack, GDT and IDT in use and *mm itself translate alike under it;
 * load it; PMM over the rest; arena (unless the layout has no kernel area); heap (over mm.pages).
 *
 * Load your own GDT and IDT from the image before (an IDT with limit 0 is skipped). What you print
 * with afterwards must be in the keep list, or be an I/O port.
 *
 * On failure the old root is loaded (again), no memory was written outside *mm and free RAM, and
 * `failure` (may be NULL) says what happened; zero *mm for another try.
 *
 * After success with MM_ROOT_OWN the boot mappings are gone: only the image, the direct map and
 * the keep list are mapped. mm.window is the direct map. With MM_ROOT_ADOPT nothing is unmapped and
 * mm.window is info->window: tables and heap stay inside it. `info` and the arrays it names are not
 * needed any more.
 *
 * Returns  MM_OK | the error of the step that failed
 * Context  boot CPU, interrupts off; less than 5.5 KiB of stack (6.5 KiB where libmm is built
 *          without -O), besides what mm_host_report() uses
 */
MM_NODISCARD enum mm_err mm_start_abi(struct mm *mm, const struct mm_start_info *info,
                                      struct mm_start_failure *failure, const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_start(struct mm *mm, const struct mm_start_info *info,
                                                struct mm_start_failure *failure)
{
    return mm_start_abi(mm, info, failure, &MM_CONFIG_SYMBOL);
}

/* "boot information", "root", ...: static text. */
const char *mm_start_stage_name(enum mm_start_stage stage);

/* What mm_reclaim_boot() hands over. */
#define MM_RECLAIM_LOADER  1u /* the boot loader's memory, its page tables and stack */
#define MM_RECLAIM_INFO    2u /* the boot information: mm.boot must not be followed afterwards */
#define MM_RECLAIM_MODULES 4u /* modules; those in the loader's memory only together with LOADER */
#define MM_RECLAIM_ACPI    8u /* ACPI tables */

/*
 * Give memory that was needed for booting to the PMM. What is still in use is kept: page tables
 * of an adopted root, the stack (as by mm_start()), GDT and IDT of the calling CPU, and frames that
 * what is asked for shares with what is not (boot information with a module; both with ACPI tables).
 *
 * @added   receives the bytes that the PMM got; may be NULL; untouched on error
 * @kept    receives the bytes that were kept; as above. What the PMM got before is in neither
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_BUSY (there is something to give, and all of it is kept)
 *          | MM_ERR_NO_MEMORY (a frame or a few of scratch memory are needed)
 * Context  thread, boot CPU, interrupts off; again later is allowed and adds what was kept
 */
MM_NODISCARD enum mm_err mm_reclaim_boot(struct mm *mm, uint32_t what, uint64_t *added,
                                         uint64_t *kept);

/* The address of `phys` in the window, NULL if it is not in it. For frames you own. */
void *mm_phys_pointer(const struct mm *mm, mm_phys_t phys);

/* All checkers, and whether frames of the heap's blocks are free in the PMM. Returns the number of
 * faults. The sink must not call this heap. */
size_t mm_check(struct mm *mm, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
