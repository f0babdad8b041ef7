/*
 * vmm_world.h - the spaces that scenarios start with, and calls that are remembered.
 *
 * A kernel space and a user space, over 16 table frames. Each call of a thread is noted with its
 * answer; after an execution there must be an order of the calls in which a model, which knows pages
 * and no tables, gives the same answers and the same mappings.
 */
#ifndef VMM_WORLD_H
#define VMM_WORLD_H

#include "mm/vmm.h"

#include "explore.h"
#include "mmu.h"

/* An address by its indices, top level first. */
#define VIRT(l4, l3, l2, l1) \
    ((uint64_t)(l4) << 39 | (uint64_t)(l3) << 30 | (uint64_t)(l2) << 21 | (uint64_t)(l1) << 12)

#define PAGE  UINT64_C(0x1000)
#define LARGE UINT64_C(0x200000)

/* Data frames that are not used twice; of a large page the first. */
#define DATA(n)       (MMU_DATA + (uint64_t)(n)*PAGE)
#define LARGE_DATA(n) (MMU_DATA + LARGE * (8 + (uint64_t)(n)))

#define PROBES 6u
struct world {
    unsigned cpus;
    unsigned loaded; /* set of CPUs that have the user space loaded; the others, the kernel's */
    struct {
        uint64_t virt, bytes, phys;
        uint32_t prot; /* 0: MM_PROT_RW */
    } mapped[4];
    uint64_t probe[PROBES]; /* pages that the model knows: all that calls are about; 0 ends it */
    uint16_t hot[MMU_HOT];  /* indices of all addresses; all zeroes: 1 and 2 */
    bool marks;
    bool steps;
    bool asids;
    bool remembered; /* each CPU locked the leaf table of the first probe last */
};
void world_make(const struct world *world);

extern struct mm_vmm world_vmm;
extern struct mm_space world_kernel, world_space;

/* Threads, and handlers on the CPU of a thread. */
enum who {
    T0,
    T1,
    T2,
    T3,
    NMI0,
    NMI1,
    WHOS
};

enum mm_err map(enum who who, uint64_t virt, uint64_t bytes, uint64_t phys);

/* When it has returned, no CPU may have the pages any more. */
enum mm_err unmap(enum who who, uint64_t virt, uint64_t bytes);

/* The same, with holes. */
enum mm_err unmap_all(enum who who, uint64_t virt, uint64_t bytes);

/* The same, and the data frames are freed when they are flushed. */
enum mm_err unmap_free(enum who who, uint64_t virt, uint64_t bytes);

/* When it has returned, no CPU may write the pages any more; nobody gives the right back. */
enum mm_err lower(enum who who, uint64_t virt, uint64_t bytes);
enum mm_err protect(enum who who, uint64_t virt, uint64_t bytes, uint32_t prot);
enum mm_err translate(enum who who, uint64_t virt);

/* A cursor of this thread, and the gather that it unmaps with. Each page is a call of its own; when the
 * end has returned, no CPU may have the pages any more that were unmapped. */
bool cursor_begin(enum who who); /* false: the space is destroyed */
enum mm_err cursor_map(enum who who, uint64_t virt, uint64_t phys);
enum mm_err cursor_unmap(enum who who, uint64_t virt);
void cursor_end(enum who who);

/* On this CPU: the user space, and away from it to the kernel's. */
enum mm_err activate(enum who who);
enum mm_err leave_space(enum who who);
enum mm_err destroy(enum who who);

/* After an execution. */
void world_check(void);

#endif
