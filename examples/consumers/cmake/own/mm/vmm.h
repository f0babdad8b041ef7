/* This kernel's own mm/vmm.h, which has nothing to do with libmm's and is found before it. */
#ifndef KERNEL_OWN_VMM_H
#define KERNEL_OWN_VMM_H

#define KERNEL_OWN_VMM 1

#endif
