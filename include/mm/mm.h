/*
 * mm/mm.h - all of libmm, and how a kernel starts it.
 *
 *     static struct mm mm;                       tens of KiB: .bss, not the boot stack
 *
 *     struct mm_start_info info = {
 *         .protocol = MM_BOOT_MULTIBOOT2,
 *         .info = mm_phys(ebx),
 *         .segment = segments, .segment_count = 3,
 *         .cpu_count = 1,
 *     };
 *     (void)mm_window_add(&info.window, mm_phys(0), 1 GiB, where the boot code maps it);
 *     struct mm_start_failure why;
 *     if (mm_start(&mm, &info, &why) != MM_OK)
 *         stop and print why;
 *     void *p = mm_heap_alloc(&mm.heap, 100 * sizeof(int));
 *
 * Every step of mm_start() is a public call of its own (the other headers); a kernel that wants
 * another order, or only some layers, writes its own start.
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

#define MM_VERSION "0.1.0"

#define MM_MAP_RANGES   1024u /* boundaries in the memory map; firmware gives up to about 350 */
#define MM_BOOT_MODULES 32u

/* One machine's memory management. Zero-initialise; the parts may be used directly. */
struct mm {
    struct mm_memmap map;
    struct mm_boot_info boot;
    struct mm_window window; /* how libmm reaches memory: the caller's first, then the direct map */
    struct mm_pmm pmm;
    struct mm_vmm vmm;
    struct mm_space kernel; /* the kernel space */
    struct mm_arena arena;  /* of layout.kernel_area */
    struct mm_kernel_area area;
    struct mm_heap heap;
    struct mm_early_source early;
    uint32_t state;
    struct mm_mem_range range[MM_MAP_RANGES];
    struct mm_boot_module module[MM_BOOT_MODULES];
};

/* A part of the kernel image, with the rights it is to have. Frame-aligned addresses; bytes are
 * rounded up. W^X holds: no segment is writable and executable. */
struct mm_image_segment {
    mm_virt_t virt;
    mm_phys_t phys;
    uint64_t bytes;
    uint32_t prot;
};

/* Something else that must stay mapped under the kernel's own root: a boot stack outside the image,
 * a framebuffer, an identity-mapped trampoline. */
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
    enum mm_boot_protocol protocol;
    mm_phys_t info;       /* physical address of the boot information */
    uint64_t info_bytes;  /* its size where the protocol does not tell (E820); else 0 */
    uint64_t entry_bytes; /* E820: 20 or 24 */

    const struct mm_image_segment
        *segment; /* the whole kernel image: it is also what is reserved */
    uint32_t segment_count;
    uint32_t keep_count;
    const struct mm_keep *keep; /* MM_ROOT_OWN */

    const struct mm_phys_range *reserve; /* more memory that is not to be handed out */
    uint32_t reserve_count;
    uint32_t cpu_count; /* 0 = 1 */

    struct mm_window window;        /* how memory is reachable now; table frames are taken inside */
    const struct mm_layout *layout; /* NULL = mm_layout_default() */
    enum mm_root_mode root;
    enum mm_pin pin;
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
    MM_START_PMM = 7,
    MM_START_ARENA = 8,
    MM_START_HEAP = 9
};

struct mm_start_failure {
    enum mm_start_stage stage;
    enum mm_err err;
    uint64_t address;          /* what it is about: physical or virtual, as `what` implies */
    const char *what;          /* static text; never NULL */
    struct mm_boot_fault boot; /* MM_START_BOOT_INFO */
};

/*
 * Bring everything up, in this order: read the boot information; sanitise the map; reserve the
 * image, boot information, modules, framebuffer, the page tables and stack in use; build the
 * kernel's own root (direct map of all RAM, not executable, with the largest pages; the image
 * segment by segment; the keep list), check that the code, stack, GDT and IDT in use translate
 * alike under it; PMM over the rest; load the root; arena; heap.
 *
 * On failure the old root is still loaded, no memory was written outside *mm and free RAM, and
 * `failure` (may be NULL) says what happened; *mm may be used for another try.
 *
 * After success with MM_ROOT_OWN the boot mappings are gone: only the image, the direct map and
 * the keep list are mapped. mm.window is the direct map. With MM_ROOT_ADOPT nothing is unmapped
 * and mm.window is info->window.
 *
 * Returns  MM_OK | the error of the step that failed
 * Context  boot CPU, interrupts off, once
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
#define MM_RECLAIM_MODULES 4u
#define MM_RECLAIM_ACPI    8u /* ACPI tables */

/*
 * Give memory that was needed for booting to the PMM.
 *
 * @bytes   receives what was added; may be NULL
 * Returns  MM_OK | MM_ERR_BUSY (still in use: page tables of an adopted root, the stack, GDT or IDT
 *          in use lie there; nothing of that kind was added) | MM_ERR_BAD_ARG
 * Context  thread, boot CPU
 */
MM_NODISCARD enum mm_err mm_reclaim_boot(struct mm *mm, uint32_t what, uint64_t *bytes);

/* Pages for a heap straight from the PMM, through the window. `mm` outlives the source. */
struct mm_page_source mm_direct_page_source(struct mm *mm);

/* The address of `phys` in the window, NULL if it is not in it. For frames you own. */
void *mm_phys_pointer(const struct mm *mm, mm_phys_t phys);

/* All checkers. Returns the number of faults. */
size_t mm_check(struct mm *mm, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
