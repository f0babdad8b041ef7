/* This kernel's own mm/pmm.h, which has nothing to do with libmm's and is found before it. */
#ifndef KERNEL_OWN_PMM_H
#define KERNEL_OWN_PMM_H

#define KERNEL_OWN_PMM 1

#endif
