/*
 * mm_asid.h (x86_64) - PCIDs: how CR3 names one, and where they do not work.
 *
 * Problem     A wrong bit in CR3 keeps translations that had to go. No emulator that runs these
 *             tests has PCIDs.
 * Idea        What is computed stands here, free of instructions, and is tested on any host; the
 *             instructions around it are one load and one store.
 * Invariants  None.
 * Locking     None.
 * Cost        A shift and two ors.
 * Rejected    INVPCID: a root that is loaded without MM_MMU_KEEP drops what that would.
 * Source      Intel SDM vol. 3A, 4.10.1 (PCIDs), 4.5 table 4-12 (CR3), 4.10.4.1 (bit 63 of MOV to
 *             CR3); Intel, Alder Lake specification update, ADL063, and those of Raptor Lake and the
 *             N-series: with PCIDs on, INVLPG may leave global translations.
 */
#ifndef MM_ASID_H
#define MM_ASID_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/types.h"

#define MM_MMU_ASIDS 4096u
#define MM_CR3_ADDR  UINT64_C(0x000ffffffffff000)
#define MM_CR3_KEEP  (UINT64_C(1) << 63)

static inline uint64_t mm_cr3_of(mm_phys_t root, uint32_t asid, bool keep)
{
    return root.raw | asid | (keep ? MM_CR3_KEEP : 0);
}

/* Does a CPU of Intel with this signature (CPUID leaf 1, EAX) have the fault named above? */
static inline bool mm_invlpg_misses_globals(uint32_t signature)
{
    uint32_t family = signature >> 8 & 0xf;
    uint32_t model = (signature >> 12 & 0xf0) | (signature >> 4 & 0xf);

    if (family != 6)
        return false;
    return model == 0x97 || model == 0x9a || model == 0xb7 || model == 0xba || model == 0xbe ||
           model == 0xbf;
}

#endif
