/*
 * mm/dialect/entry.h - for dialects that map by the flags of x86 table entries.
 */
#include "common.h" /* outside the guard: see mm/default.h */

#ifndef MM_DIALECT_ENTRY_H
#define MM_DIALECT_ENTRY_H

/* Bits of an x86 table entry, as hobby kernels pass them. Accessed, dirty and global are taken and
 * ignored: the CPU sets the first two, and libmm decides on the third. */
#define MM_ENTRY_PRESENT  UINT64_C(0x001)
#define MM_ENTRY_WRITE    UINT64_C(0x002)
#define MM_ENTRY_USER     UINT64_C(0x004)
#define MM_ENTRY_THROUGH  UINT64_C(0x008)
#define MM_ENTRY_NOCACHE  UINT64_C(0x010)
#define MM_ENTRY_ACCESSED UINT64_C(0x020)
#define MM_ENTRY_DIRTY    UINT64_C(0x040)
#define MM_ENTRY_LARGE    UINT64_C(0x080)
#define MM_ENTRY_GLOBAL   UINT64_C(0x100)
#define MM_ENTRY_FLAGS    UINT64_C(0x1ff)

#define MM_ENTRY_LARGE_BYTES (UINT64_C(1) << 21)

static inline enum mm_memtype mm_entry_type(uint64_t flags)
{
    return (flags & MM_ENTRY_NOCACHE) != 0   ? MM_MEMTYPE_UC
           : (flags & MM_ENTRY_THROUGH) != 0 ? MM_MEMTYPE_WT
                                             : MM_MEMTYPE_WB;
}

/* These flags have no bit for "may run", and kernels that use them run everything. Here a page that
 * cannot be written may run, and one that can be written cannot. */
static inline uint32_t mm_entry_prot(uint64_t flags)
{
    uint32_t prot = (flags & MM_ENTRY_WRITE) != 0 ? MM_PROT_RW : MM_PROT_RX;

    return (flags & MM_ENTRY_USER) != 0 ? prot | MM_PROT_USER : prot;
}

/* The page that these flags ask for. */
static inline uint64_t mm_entry_bytes(uint64_t flags)
{
    return (flags & MM_ENTRY_LARGE) != 0 ? MM_ENTRY_LARGE_BYTES : MM_FRAME_BYTES;
}

/*
 * Map into the kernel space by entry flags; `bytes` are rounded up to frames. Refused besides what
 * mm_space_map() refuses: flags without MM_ENTRY_PRESENT, which map nothing; unknown flags;
 * MM_ENTRY_LARGE on what is not whole 2 MiB pages; physical 0, which a failed allocation gave.
 */
static inline enum mm_err mm_dialect_map(uint64_t virt, uint64_t phys, uint64_t bytes,
                                         uint64_t flags)
{
    struct mm_map_request request = MM_ZERO;

    request.virt = mm_virt(virt);
    request.phys = mm_phys(phys);
    request.bytes = mm_frames_for(bytes) << MM_FRAME_SHIFT;
    request.prot = mm_entry_prot(flags);
    request.type = mm_entry_type(flags);
    if (phys == 0 || (flags & MM_ENTRY_PRESENT) == 0 || (flags & ~MM_ENTRY_FLAGS) != 0 ||
        ((virt | phys | request.bytes) & (mm_entry_bytes(flags) - 1)) != 0)
        return MM_ERR_BAD_ARG;
    return mm_space_map(&mm_default.kernel, &request, (struct mm_space_fail *)0);
}

/* The physical address behind `virt`, 0 if nothing is mapped there. */
static inline uint64_t mm_dialect_phys(uint64_t virt)
{
    struct mm_translation to;
    enum mm_err err =
        mm_space_translate(&mm_default.kernel, mm_virt(virt), &to, (struct mm_space_fail *)0);

    return err == MM_OK ? to.phys.raw : 0;
}

/* Unmap the page at `virt`; all of it, if it is one of 2 MiB that begins there. The direct map is
 * libmm's own. The frames stay yours. */
static inline void mm_dialect_unmap(uint64_t virt, const char *where)
{
    uint64_t bytes = MM_FRAME_BYTES;
    enum mm_err err = MM_ERR_POLICY;
    struct mm_translation to;
    mm_phys_t phys;

    if (mm_space_translate(&mm_default.kernel, mm_virt(virt), &to, (struct mm_space_fail *)0) ==
            MM_OK &&
        to.leaf_bytes == MM_ENTRY_LARGE_BYTES && (virt & (MM_ENTRY_LARGE_BYTES - 1)) == 0)
        bytes = MM_ENTRY_LARGE_BYTES;
    if (mm_window_phys(&mm_default.window, mm_virt_pointer(mm_virt(virt)), &phys) != MM_OK)
        err = mm_space_unmap(&mm_default.kernel, mm_virt(virt), bytes, 0, (struct mm_gather *)0,
                             (struct mm_space_fail *)0);
    mm_dialect_refused(err, where, virt);
}

#endif
