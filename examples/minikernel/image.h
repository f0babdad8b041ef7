/*
 * image.h - where the kernel lies; the symbols are made by linker.ld.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdint.h>

#define IMAGE_OFFSET      UINT64_C(0xffffffff80000000) /* virtual - physical */
#define IMAGE_BOOT_MAPPED (UINT64_C(1) << 30)          /* boot.S maps [0, this) at IMAGE_OFFSET */

extern const char image_text_start[], image_text_end[];
extern const char image_rodata_start[], image_rodata_end[];
extern const char image_data_start[], image_data_end[];

/* image_bytes(image_text): length of a segment. */
#define image_bytes(segment) ((uint64_t)(segment##_end - segment##_start))

static inline uint64_t image_virt(const void *symbol)
{
    return (uint64_t)(uintptr_t)symbol;
}

static inline uint64_t image_phys(const void *symbol)
{
    return image_virt(symbol) - IMAGE_OFFSET;
}

#endif
