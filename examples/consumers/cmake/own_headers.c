/*
 * own_headers.c - <mm/pmm.h> and its like are this kernel's own here.
 *
 * libmm comes in by its headers of other names; they find each other because they stand in one
 * directory.
 */
#include <mm/types.h>
#include <mm/pmm.h>
#include <mm/vmm.h>

#include <mm/mm.h>

#if !KERNEL_OWN_TYPES || !KERNEL_OWN_PMM || !KERNEL_OWN_VMM
#error "this kernel's own headers are not the ones that were found"
#endif
#if !defined(MM_TYPES_H) || !defined(MM_PMM_H) || !defined(MM_VMM_H)
#error "mm/mm.h did not bring libmm's headers"
#endif

_Static_assert(sizeof(struct mm_pmm) != 0, "libmm's types are there as well");
