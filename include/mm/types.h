/*
 * mm/types.h - addresses, ranges, frames: the words that all of libmm shares.
 *
 * Physical and virtual addresses are different types, each a struct of one member, so that mixing
 * them up does not compile. They cost nothing (one register). Convert through the functions here.
 * 0 is a legal physical address: nothing but mm/names.h uses it to say "failed".
 */
#ifndef MM_TYPES_H
#define MM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

#if defined(__GNUC__)
#define MM_NODISCARD __attribute__((warn_unused_result))
#else
#define MM_NODISCARD
#endif

/* struct x y = MM_ZERO; in C and C++ */
#ifdef __cplusplus
#define MM_ZERO \
    {           \
    }
#else
#define MM_ZERO \
    {           \
        0       \
    }
#endif

#define MM_FRAME_SHIFT 12
#define MM_FRAME_BYTES (UINT64_C(1) << MM_FRAME_SHIFT) /* 4 KiB */

/* A block of order n is 2^n frames, naturally aligned. */
#define MM_ORDER_4K  0u
#define MM_ORDER_2M  9u
#define MM_ORDER_1G  18u
#define MM_ORDER_MAX MM_ORDER_1G

/* A physical address. `raw` is the number that the hardware sees. */
typedef struct {
    uint64_t raw;
} mm_phys_t;

/* A virtual address, sign-extended ("canonical") where the port asks for it. */
typedef struct {
    uint64_t raw;
} mm_virt_t;

/* Initialisers for static tables, where a function call is not allowed. */
#define MM_PHYS(raw_address) \
    {                        \
        (raw_address)        \
    }
#define MM_VIRT(raw_address) \
    {                        \
        (raw_address)        \
    }

static inline mm_phys_t mm_phys(uint64_t raw)
{
    mm_phys_t phys = {raw};
    return phys;
}

static inline mm_virt_t mm_virt(uint64_t raw)
{
    mm_virt_t virt = {raw};
    return virt;
}

static inline mm_virt_t mm_virt_of(const void *pointer)
{
    return mm_virt((uint64_t)(uintptr_t)pointer);
}

static inline void *mm_virt_pointer(mm_virt_t virt)
{
    return (void *)(uintptr_t)virt.raw;
}

static inline mm_phys_t mm_phys_add(mm_phys_t phys, uint64_t bytes)
{
    return mm_phys(phys.raw + bytes);
}

static inline mm_virt_t mm_virt_add(mm_virt_t virt, uint64_t bytes)
{
    return mm_virt(virt.raw + bytes);
}

/* The number of the frame that holds `phys`, and the first byte of frame `number`. */
static inline uint64_t mm_frame_of(mm_phys_t phys)
{
    return phys.raw >> MM_FRAME_SHIFT;
}

static inline mm_phys_t mm_frame_phys(uint64_t number)
{
    return mm_phys(number << MM_FRAME_SHIFT);
}

/* Frames that `bytes` bytes need; exact for every value. */
static inline uint64_t mm_frames_for(uint64_t bytes)
{
    return (bytes >> MM_FRAME_SHIFT) + ((bytes & (MM_FRAME_BYTES - 1)) != 0 ? 1 : 0);
}

/* Physical [start, start + bytes). Empty when bytes is 0; never wraps in a valid range. */
struct mm_phys_range {
    mm_phys_t start;
    uint64_t bytes;
};

/* Virtual [start, start + bytes). May end at 2^64 (start + bytes == 0). */
struct mm_virt_range {
    mm_virt_t start;
    uint64_t bytes;
};

/* Rights of a mapping. A right that is not given is denied. Readable is implied by mapped. */
#define MM_PROT_NONE  0u
#define MM_PROT_READ  1u
#define MM_PROT_WRITE 2u
#define MM_PROT_EXEC  4u
#define MM_PROT_USER  8u /* accessible to user mode */

#define MM_PROT_RW (MM_PROT_READ | MM_PROT_WRITE)
#define MM_PROT_RX (MM_PROT_READ | MM_PROT_EXEC)

/* How the CPU caches accesses through a mapping. */
enum mm_memtype {
    MM_MEMTYPE_WB = 0,       /* write-back: ordinary memory */
    MM_MEMTYPE_WT = 1,       /* write-through */
    MM_MEMTYPE_UC_MINUS = 2, /* uncached, unless the firmware's range registers say combining */
    MM_MEMTYPE_UC = 3,       /* uncached: device registers */
    MM_MEMTYPE_WP = 4,       /* write-protect: reads cached, writes go to memory */
    MM_MEMTYPE_WC = 5        /* write-combining: framebuffers */
};

/* CPUs are numbered from 0 by the host. The bound is fixed, so that no layout depends on it. */
#define MM_CPUS_MAX 1024u

struct mm_cpuset {
    uint64_t bits[MM_CPUS_MAX / 64];
};

/* A lock of libmm: interrupts off on the CPU that holds it. Zero is unlocked. Only libmm touches
 * the fields; they are visible so that sizeof works. */
struct mm_lock {
    uint32_t ticket;  /* (A) next ticket to hand out */
    uint32_t serving; /* (A) ticket that may enter */
    uint32_t owner;   /* (A) CPU index + 1 of the holder, 0 = none: finds self-deadlock */
    uint32_t unused;
};

#endif
