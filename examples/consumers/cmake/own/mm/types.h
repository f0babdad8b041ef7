/* This kernel's own mm/types.h, which has nothing to do with libmm's and is found before it. */
#ifndef KERNEL_OWN_TYPES_H
#define KERNEL_OWN_TYPES_H

#define KERNEL_OWN_TYPES 1

#endif
