/*
 * mapper.h - what is measured: something that keeps page tables, and the timed loops over its calls.
 *
 * As in bench/pmm, a mapper is its loops: each is compiled in the same file as, or against the
 * header of, the calls that it makes, from the one text in loops.h. So every mapper is called
 * directly, never through a pointer, and never inlined.
 */
#ifndef BENCH_VMM_MAPPER_H
#define BENCH_VMM_MAPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../common/memory.h"

#define PAGE_BYTES UINT64_C(4096)
#define MIB        (UINT64_C(1) << 20)
#define GIB        (UINT64_C(1) << 30)

/* CPUs of each machine: thread 0, which does all alone, and another. */
#define CPUS 2u

/* Spaces of one machine that live at the same time, without the kernel's. */
#define SPACES_MAX 4u

/* Where page tables lie: physical memory from `first` on, seen at `bytes` as in a direct map. */
struct ram {
    uint64_t first;
    uint64_t size;
    char *bytes;
};

/* One call: [virt, virt + bytes) to [phys, phys + bytes), in leaves of `level`. What is mapped need
 * not be RAM: nobody looks at it. */
struct stretch {
    uint64_t virt, phys, bytes;
    unsigned level;
};

/* How many small calls are made. */
enum way {
    WAY_ALONE,    /* each for itself: it flushes before it returns */
    WAY_GATHERED, /* one flush behind all of them */
    WAY_CURSOR,   /* the same, in one transaction */
    WAYS
};

/* What loops map an address to; virtual and physical addresses agree in their lower 40 bits. */
static inline uint64_t phys_of(uint64_t virt)
{
    return virt & ((UINT64_C(1) << 40) - 1);
}

struct mapper {
    const char *name;
    bool any_thread; /* two threads may use one space at the same time */

    /* A machine: RAM, CPUS CPUs, a kernel space that all of them have loaded. `open` gets that many
     * bytes for what does not lie in the RAM. */
    size_t (*bytes)(const struct ram *ram);
    void *(*open)(const struct memory *memory, const struct ram *ram);

    /* ---- spaces; each is loaded and left on the calling CPU ---- */

    void *(*create)(void *self);
    void (*destroy)(void *space);
    void (*load)(void *space);
    void (*leave)(void *space);

    /* ---- range calls, readable and writable; all end the program on an error ---- */

    void (*map)(void *space, const struct stretch *stretch);
    void (*unmap)(void *space, const struct stretch *stretch);
    void (*protect)(void *space, const struct stretch *stretch, bool writable);

    /* ---- timed loops ---- */

    /* One call for each of `count` addresses, with phys_of(), `bytes` in leaves of `level`. NULL
     * where there is nothing special in that way. */
    void (*map_each[WAYS])(void *space, const uint64_t *virt, size_t count, uint64_t bytes,
                           unsigned level);
    void (*unmap_each[WAYS])(void *space, const uint64_t *virt, size_t count, uint64_t bytes);

    /* The sum of what they lead to. */
    uint64_t (*translate)(void *space, const uint64_t *virt, size_t count);

    /* Make a space, map all of `stretch`, destroy it; `cycles` times. */
    void (*build)(void *self, const struct stretch *stretch, size_t count, unsigned cycles);

    /* ---- looking, not timed ---- */

    bool (*look)(void *space, uint64_t virt, uint64_t *phys, bool *writable);

    /* The 512 entries of the table that maps `virt` in 4 KiB pages, as x86_64 has them. */
    uint64_t *(*leaf_table)(void *space, uint64_t virt);

    uint64_t (*tables)(void *space);     /* without its root */
    uint64_t (*free_frames)(void *self); /* of the RAM, and those that the allocator itself uses */
    size_t (*faults)(void *space); /* what the mapper's own checker finds; NULL = it has none */
};

/* The textbook's: from the root for each page, an empty table found by looking at its 512 entries,
 * invlpg for each page. Without a lock, and with one that each page takes. */
extern const struct mapper textbook, textbook_locked;

/* Random calls against a model. Ends the program if the mapper is wrong. */
void mapper_verify(const struct mapper *mapper, void *self, unsigned calls);

#endif
