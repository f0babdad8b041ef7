/*
 * mm/kernel_area.h - virtual memory for the kernel: devices, DMA, scattered memory, stacks.
 *
 * Joins the kernel space (page tables), an arena (addresses) and the PMM (frames).
 * Context of all calls: as the calls of mm/vmm.h; those that release may wait.
 */
#ifndef MM_KERNEL_AREA_H
#define MM_KERNEL_AREA_H

#include "arena.h"
#include "pmm.h"
#include "types.h"
#include "vmm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fill the fields once; they are only read. */
struct mm_kernel_area {
    struct mm_space *space; /* the kernel space */
    struct mm_arena *arena;
    struct mm_pmm *pmm; /* for all but devices */
};

/*
 * Map physical [phys, phys + bytes), typically device registers, readable and writable, never
 * executable. Nothing needs to be aligned: the result keeps the offset inside the page, and an
 * unmapped guard page follows. Meant for devices: RAM of the direct map is cached there already,
 * and mapping one frame with two memory types is undefined on x86_64 (this version does not check).
 *
 *     void *p;
 *     if (mm_kmap(&area, mm_phys(0xfed00000), 1024, MM_MEMTYPE_UC, &p) == MM_OK)
 *         timer = p;
 *
 * @out     where `phys` appears; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG (bytes 0, unknown type; no kernel area: a field is NULL, as in
 *          mm.area when the layout has none) | MM_ERR_RANGE (wraps, beyond the physical width)
 *          | MM_ERR_NO_ADDRESS | MM_ERR_NO_MEMORY | MM_ERR_UNSUPPORTED (a type that the CPU lacks)
 *          | MM_ERR_EXISTS (somebody mapped something there past the arena) | MM_ERR_LIMIT
 *          | MM_ERR_WINDOW | MM_ERR_GONE (the space)
 * Cost     O(pages + log spans of the arena); large pages where size and alignment of phys allow
 */
MM_NODISCARD enum mm_err mm_kmap(struct mm_kernel_area *area, mm_phys_t phys, uint64_t bytes,
                                 enum mm_memtype type, void **out);

/* Undo mm_kmap(), by the pointer it gave. Returns MM_OK | MM_ERR_MISUSE (reported: another pointer,
 * or somebody else unmapped pages of it; nothing changed). May wait. */
enum mm_err mm_kunmap(struct mm_kernel_area *area, void *pointer);

struct mm_dma_request {
    uint64_t bytes;          /* > 0; rounded up to frames */
    uint64_t align_bytes;    /* power of two; 0 = one frame */
    uint64_t boundary_bytes; /* power of two; crossed by no buffer; 0 = none */
    mm_phys_t highest;       /* last byte that the device can address; 0 = no limit */
    enum mm_memtype type;    /* write-back is right where devices snoop caches, as on PCs */
    uint32_t flags; /* MM_FRAME_ZERO or 0: zeroed through the new mapping, so the frames may
                              * lie anywhere, and a root with the kernel area must be loaded */
};

struct mm_dma {
    void *pointer;
    mm_phys_t phys; /* contiguous */
    uint64_t bytes; /* rounded */
};

/*
 * Memory that a device can reach: physically contiguous, mapped for the CPU with `type`. The same
 * frames also appear, cached, in the direct map: do not touch them there unless type is WB.
 *
 * Returns  MM_OK | as mm_pmm_alloc() | as mm_kmap()
 * Cost     as mm_kmap(), and zeroing: slow where `type` is uncached
 */
MM_NODISCARD enum mm_err mm_dma_alloc(struct mm_kernel_area *area,
                                      const struct mm_dma_request *request, struct mm_dma *out);

/* Give it back, as mm_dma_alloc() filled it: unmapped, flushed, then freed. Returns MM_OK
 * | MM_ERR_MISUSE (reported; nothing changed). May wait. */
enum mm_err mm_dma_free(struct mm_kernel_area *area, const struct mm_dma *dma);

/*
 * Memory in one piece of addresses, of frames from anywhere: what is too large to be found in one
 * piece of RAM. 2 MiB at a time where the PMM has them, and mapped as large pages then; frame by
 * frame where it does not. Readable and writable, cached, never executable unless
 * mm_space_protect() says so; one unmapped guard page on either side. The frames belong to the
 * area until mm_vfree().
 *
 * @flags   MM_FRAME_ZERO (a root with the kernel area must be loaded) or 0
 * @out     the first byte, page-aligned; untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG (bytes 0, flags; no kernel area, no PMM) | MM_ERR_NO_MEMORY
 *          | MM_ERR_NO_ADDRESS | MM_ERR_EXISTS (somebody mapped something there past the arena)
 *          | MM_ERR_LIMIT | MM_ERR_WINDOW | MM_ERR_GONE (the space)
 * Context  as mm_space_map(); of more than 64 frames or pieces of 2 MiB it may wait, when it fails.
 *          Zeroing runs with interrupts as they are
 * Cost     O(pages + log spans), 64 frames or pieces at a time. One frame of bookkeeping for every 509 frames or pieces of 2 MiB,
 *          from where the space has its tables
 */
MM_NODISCARD enum mm_err mm_vmalloc(struct mm_kernel_area *area, uint64_t bytes, uint32_t flags,
                                    void **out);

/* Give it back, by the pointer that mm_vmalloc() gave: unmapped, flushed once, then freed. Returns
 * MM_OK | MM_ERR_MISUSE (reported: another pointer, or somebody else unmapped pages of it; nothing
 * changed) | MM_ERR_CORRUPT (reported: its bookkeeping is overwritten; nothing changed). May wait.
 * Cannot fail for want of memory. */
enum mm_err mm_vfree(struct mm_kernel_area *area, void *pointer);

/* ---- kernel stacks ---- */

/*
 * Stacks of one size. Each lies between unmapped guard pages: what runs over its end, or under its
 * start, faults. Stacks that were given back stay mapped, in a stock of the CPU and in one for all:
 * making and dropping a stack maps nothing and flushes nothing then. mm_stacks_trim() unmaps them,
 * and nothing else does.
 *
 *     static struct mm_stack_slot slots[256];
 *     static struct mm_stack_cpu cpus[CPUS];
 *     static struct mm_stacks stacks;
 *     struct mm_stacks_config config = {.area = &mm.area, .slot = slots, .slot_count = 256,
 *                                       .cpu = cpus, .cpu_count = CPUS, .bytes = 16384};
 *     err = mm_stacks_init(&stacks, &config);
 *     err = mm_stack_alloc(&stacks, &thread->stack);         rsp = thread->stack.top
 *     mm_stack_free(&stacks, &thread->stack);                from another stack
 *
 * Context of the calls below, unless they say more: thread or interrupt, not NMI; locks with
 * interrupts off, one at a time.
 */
#define MM_STACK_BYTES_MAX UINT64_C(131072)
#define MM_STACK_STOCK     16u /* stacks in the stock of a CPU, at most */

/* Lent: one for each stack that can exist at a time. Only src/vmm/stack_area*.c touches the fields. */
struct mm_stack_slot {
    uint32_t next;  /* (L) in a list: 1 + the slot behind it; 0 = none */
    uint8_t state;  /* (A) */
    uint8_t marked; /* by a check */
    uint8_t unused[2];
};

/* Lent: one for each CPU. */
struct mm_stack_cpu {
    struct mm_lock lock;
    uint32_t count;                /* (L) */
    uint32_t slot[MM_STACK_STOCK]; /* (L) in stock, the last given back at the end */
    uint32_t unused;
    uint64_t hits;  /* (L) stacks that came from here */
    uint64_t frees; /* (L) stacks that were given back here */
    uint64_t unused2[2];
};

/* Slots in a row. */
struct mm_stack_list {
    uint32_t first, last; /* 1 + slot; 0 = none */
    uint32_t count;
};

struct mm_stacks {
    struct mm_lock lock;
    struct mm_kernel_area *area; /* (C) NULL = not in use */
    struct mm_stack_slot *slot;  /* (C) */
    struct mm_stack_cpu *cpu;    /* (C) */
    mm_virt_t start;             /* (C) the guard before the first stack */
    uint32_t slot_count;         /* (C) */
    uint32_t cpu_count;          /* (C) */
    uint32_t stack_frames;       /* (C) */
    uint32_t guard_frames;       /* (C) */
    struct mm_stack_list stock;  /* (L) mapped, for all CPUs */
    struct mm_stack_list empty;  /* (L) without frames; those that were unmapped first come first */
    uint32_t mapped;             /* (L) stacks with frames, in use or in stock */
    uint32_t mapped_most;        /* (L) */
    uint64_t moves;              /* (L) stacks that came from another stock than the CPU's */
    uint64_t frees;              /* (L) stacks given back on CPUs without a stock */
    uint64_t maps, unmaps;       /* (L) stacks */
};

struct mm_stacks_config {
    struct mm_kernel_area *area; /* lent for the life of the stacks */
    struct mm_stack_slot *slot;  /* lent; 8 bytes for each stack */
    struct mm_stack_cpu *cpu;    /* lent; CPUs beyond cpu_count have no stock of their own */
    uint32_t slot_count;         /* stacks at a time, > 0 */
    uint32_t cpu_count;          /* may be 0 */
    uint64_t bytes;              /* of each stack: multiple of the frame, to MM_STACK_BYTES_MAX */
    uint32_t guard_frames;       /* before and behind each stack; 0 = 1 */
};

/*
 * Take addresses for all stacks; frames come with each.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_NO_ADDRESS | as mm_arena_take()
 * Cost     O(slots)
 */
MM_NODISCARD enum mm_err mm_stacks_init_abi(struct mm_stacks *stacks,
                                            const struct mm_stacks_config *config,
                                            const uint32_t *abi);

MM_NODISCARD static inline enum mm_err mm_stacks_init(struct mm_stacks *stacks,
                                                      const struct mm_stacks_config *config)
{
    return mm_stacks_init_abi(stacks, config, &MM_CONFIG_SYMBOL);
}

/* Unmap what is in stock and give the addresses back. Returns MM_OK | MM_ERR_BAD_ARG | MM_ERR_BUSY
 * (a stack is in use; the stock is gone, the stacks work on). May wait. */
MM_NODISCARD enum mm_err mm_stacks_destroy(struct mm_stacks *stacks);

struct mm_stack {
    void *low; /* the first byte; below it is the guard */
    void *top; /* behind the last byte; page-aligned */
};

/*
 * A stack, readable and writable, with whatever was in it: from the stock, or mapped anew.
 *
 * @out     yours until mm_stack_free(); untouched on error
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_NO_ROOM (all slots are in use) | MM_ERR_NO_MEMORY
 *          | as mm_space_map(). No error while a stack is in any stock
 * Context  also page fault
 * Cost     from the CPU's stock: one lock, nobody else's as a rule. Else as mm_space_map()
 */
MM_NODISCARD enum mm_err mm_stack_alloc(struct mm_stacks *stacks, struct mm_stack *out);

/*
 * Give a stack back, from any CPU. It stays mapped: whoever uses it still is not caught. Not from
 * the stack itself, unless interrupts are off until you have left it.
 *
 * Returns  MM_OK | MM_ERR_BAD_ARG | MM_ERR_MISUSE (reported: not a stack of these, or given back
 *          already, seen at once on every build; nothing changed)
 * Cost     one lock; another one for every eighth beyond what the CPU keeps
 */
enum mm_err mm_stack_free(struct mm_stacks *stacks, const struct mm_stack *stack);

/*
 * Unmap stacks in stock, on whichever CPU, until at most `keep` are left, flush, and give their
 * frames back: for low memory, see mm_pmm_set_watermark(). Eight stacks of 16 KiB to a flush.
 * Returns how many were unmapped. May wait.
 */
uint32_t mm_stacks_trim(struct mm_stacks *stacks, uint32_t keep);

/* What CPU `cpu` has in stock goes to that of all: the CPU goes away (mm_cpu_exit()). From any CPU;
 * O(1). Others find it there anyway, when they run out. */
void mm_stacks_cpu_exit(struct mm_stacks *stacks, unsigned cpu);

struct mm_stack_info {
    struct mm_stack stack;
    bool in_use; /* by who took it; else in stock, or not mapped */
    bool guard;  /* the address lies in the guard before the stack: it has run over. Behind the last
                  * stack of all: in the guard behind it */
};

/* Which stack is at `virt`? For fault handlers: any context, NMI and double fault included; no
 * lock, O(1). Returns MM_OK | MM_ERR_BAD_ARG | MM_ERR_NOT_FOUND (no address of these stacks). */
MM_NODISCARD enum mm_err mm_stack_find(const struct mm_stacks *stacks, mm_virt_t virt,
                                       struct mm_stack_info *out);

/* Exact when quiet. */
struct mm_stacks_stats {
    uint32_t in_use;
    uint32_t in_stock;    /* mapped, of nobody */
    uint32_t mapped_most; /* of both at a time, since init */
    uint32_t slots;
    uint64_t hits;   /* from the CPU's stock */
    uint64_t moves;  /* from the stock of all, or another CPU's */
    uint64_t frees;  /* given back */
    uint64_t maps;   /* mapped anew */
    uint64_t unmaps; /* by mm_stacks_trim() */
};
void mm_stacks_get_stats(struct mm_stacks *stacks, struct mm_stacks_stats *out);

/* Look at every list, count and page. Returns the number of faults, each told to `sink` (may be
 * NULL; called without a lock). Quiet stacks and space; O(slots x pages). */
size_t mm_stacks_check(struct mm_stacks *stacks, const struct mm_check_sink *sink);

#ifdef __cplusplus
}
#endif

#endif
