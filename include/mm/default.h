/*
 * mm/default.h - the one instance behind mm/names.h and mm/dialect/.
 *
 * Exactly one .c file of the kernel says, before an include of this file, of mm/names.h or of a
 * dialect:
 *     #define MM_DEFAULT_INSTANCE
 * which defines `struct mm mm_default`. Start it with mm_start(&mm_default, ...).
 */
#ifndef MM_DEFAULT_H
#define MM_DEFAULT_H

#include "mm.h"

#ifdef __cplusplus
extern "C" {
#endif

extern struct mm mm_default;

#ifdef __cplusplus
}
#endif

#endif

/* Outside the guard: an earlier include without the word must not swallow the definition. */
#if defined(MM_DEFAULT_INSTANCE) && !defined(MM_DEFAULT_INSTANCE_DONE)
#define MM_DEFAULT_INSTANCE_DONE
struct mm mm_default;
#endif
