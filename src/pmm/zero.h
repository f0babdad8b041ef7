/*
 * zero.h - zeroed frames.
 */
#ifndef MM_PMM_ZERO_H
#define MM_PMM_ZERO_H

#include "pmm/pmm_internal.h"

/* Zero frames that are the caller's. MM_OK | MM_ERR_WINDOW: some are zeroed. */
enum mm_err mm_frames_zero(const struct mm_pmm *pmm, uint64_t first, uint64_t count);

/* A frame from this CPU's zeroed stock. */
bool mm_zeroed_take(struct mm_pmm *pmm, mm_phys_t *out);

#endif
