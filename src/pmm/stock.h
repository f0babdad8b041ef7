/*
 * stock.h - what each CPU has in stock, and the guard around it.
 *
 * Problem     One locked instruction costs more than all the work of handing out a frame; but
 *             interrupts nest, threads move, and other CPUs want the frames back one day.
 * Idea        Per CPU two arrays of frames, loaded and spare, and a state byte. The byte is taken
 *             and given up by plain stores inside a pin that keeps the thread on its CPU; whoever
 *             finds it taken, an interrupt or an NMI, goes to the pools. Another CPU never touches
 *             the arrays of a CPU that runs: it raises a request, which is honoured when the guard
 *             is left, or takes the stock of a CPU that parked.
 * Invariants  G1 only the owner CPU leaves FREE; only who wrote BUSY or STOLEN leaves that; anybody
 *                else writes the state only after a successful swap from PARK or OPEN
 *             G2 arrays and zeroed stock are touched between take and leave, or between swap and
 *                give-back, by nobody else; the counts may be read for statistics
 *             G3 state BUSY at thread level implies pinned; a handler that returns has restored the
 *                state it found, or FREE if it found PARK
 *             G4 done == r implies: a flush, by the owner or a thief, began after req reached r;
 *                while the magazines are closed the stock stays empty from then on
 *             G5 nothing is waited for while BUSY but the locks of pools, depots, modes and side
 *                tables, which are held with interrupts off
 *             G6 a thief keeps interrupts off from swap to give-back
 * Locking     The state byte. Orders: see each access; no full fence anywhere. In leave the store
 *             of FREE may pass the load of req: the IPI handler runs on the same CPU, and a
 *             requester without an IPI does not rely on this leave.
 * Cost        Taking and leaving: about 0.3 ns.
 * Rejected    A lock per CPU: 4 to 5 ns. Unlocked compare-and-swap: it writes the old value back on
 *             failure. Flag and request in one word: store forwarding stalls.
 */
#ifndef MM_PMM_STOCK_H
#define MM_PMM_STOCK_H

#include "mm_cpu.h"
#include "pmm/pmm_internal.h"

enum mm_stock_state {
    MM_STOCK_FREE = 0,
    MM_STOCK_BUSY = 1,
    MM_STOCK_PARK = 2,   /* nobody is in there, and anybody may take the stock away */
    MM_STOCK_STOLEN = 3, /* somebody does */
    MM_STOCK_OPEN = 4    /* FREE under MM_PIN_LOCK: taken by a swap, by any thread or thief */
};

/* pmm.mode: what happens to a freed frame when the loaded magazine takes no more. */
enum mm_stock_mode {
    MM_MODE_LIFO = 0,      /* last freed, first used: fast */
    MM_MODE_CIRCULATE = 1, /* frees fill the spare, which goes to the pool when it is full; the
                            * loaded one comes from the pool. Each frame passes through the pool,
                            * so that the emptiest chunks empty */
    MM_MODE_CLOSED = 2     /* nothing is kept in stock */
};

#define MM_BATCH_FRAMES  64u /* through a pool in one lock hold */
#define MM_ZEROED_FRAMES 64u

/* The count stays with its frames, so that an exchange of pointers changes no sum. */
struct mm_magazine {
    uint32_t n;      /* (A) owner */
    uint32_t unused; /* 0 */
    mm_phys_t slot[MM_MAGAZINE_MAX];
};

struct mm_pmm_cpu {
    uint8_t state;  /* (A) */
    uint8_t accept; /* kind of chunks whose frames are kept, under pmm.cache_mask */
    uint8_t node;   /* index */
    uint8_t free;   /* what the state is when nobody is in there: FREE or OPEN */
    uint32_t cap;   /* (A) mode_lock: frees go to `loaded` below this */
    uint32_t req;   /* (A) anybody adds: flush, please */
    uint32_t done;  /* (A) owner: the last request that was honoured */
    struct mm_magazine *loaded, *spare; /* owner; the two below */
    uint64_t unused2[2];                /* 0 */
    struct mm_magazine magazine[2];
    struct {
        uint32_t n; /* (A) owner */
        uint32_t unused;
        mm_phys_t slot[MM_ZEROED_FRAMES];
    } zeroed;
    uint64_t unused3[7]; /* 0 */
};
_Static_assert(sizeof(struct mm_pmm_cpu) % 128 == 0, "no line is shared by two CPUs");

/* MM_CPU_HEADER may define MM_HOST_PREEMPT and mm_host_preempt_off(), mm_host_preempt_on(). */
#ifdef MM_HOST_PREEMPT
#define MM_PIN_PREEMPT_BUILT true
#else
#define MM_PIN_PREEMPT_BUILT false
#endif

#define MM_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MM_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ---- pin: this thread stays on this CPU, and is the only one there ---- */

static inline mm_guard_t mm_pin_as(enum mm_pin pin)
{
    mm_guard_t guard = {0};

    if (pin == MM_PIN_IRQ)
        guard = mm_cpu_guard();
#ifdef MM_HOST_PREEMPT
    else if (pin == MM_PIN_PREEMPT)
        mm_host_preempt_off();
#endif
    return guard;
}

static inline void mm_unpin_as(enum mm_pin pin, mm_guard_t guard)
{
    if (pin == MM_PIN_IRQ)
        mm_cpu_unguard(guard);
#ifdef MM_HOST_PREEMPT
    else if (pin == MM_PIN_PREEMPT)
        mm_host_preempt_on();
#endif
}

static inline mm_guard_t mm_pin(const struct mm_pmm *pmm)
{
    return mm_pin_as(pmm->pin);
}

static inline void mm_unpin(const struct mm_pmm *pmm, mm_guard_t guard)
{
    mm_unpin_as(pmm->pin, guard);
}

/* The stock of this CPU; NULL for a CPU that the PMM does not know. */
static inline struct mm_pmm_cpu *mm_stock_mine(const struct mm_pmm *pmm)
{
    unsigned cpu = mm_cpu_index();

    return MM_LIKELY(cpu < pmm->cpu_count) ? &pmm->cpu[cpu] : NULL;
}

/* ---- take and leave ---- */

static inline bool mm_stock_swap_state(struct mm_pmm_cpu *cpu, uint8_t from, uint8_t to)
{
    return mm_compare_swap_acq_rel_u8(&cpu->state, &from, to);
}

/* Take what is parked, or open: acquire pairs with the release of park, of a thief's give-back, and
 * of mm_stock_give_up(). */
bool mm_stock_take_rare(struct mm_pmm_cpu *cpu);

/* The common case: false if the state is anything else. */
static inline bool mm_stock_take_free(struct mm_pmm_cpu *cpu)
{
    if (MM_UNLIKELY(mm_load_relaxed_u8(&cpu->state) != MM_STOCK_FREE))
        return false;
    mm_store_relaxed_u8(&cpu->state, MM_STOCK_BUSY);
    mm_fence_signal();
    return true;
}

/* Its end. FREE needs no release: only this CPU takes it, and a thief never does. */
static inline void mm_stock_give_free(struct mm_pmm_cpu *cpu)
{
    mm_fence_signal();
    mm_store_relaxed_u8(&cpu->state, MM_STOCK_FREE);
    mm_fence_signal();
}

/* False: somebody is in there, this CPU's own interrupted code or a thief; use the pools. */
static inline bool mm_stock_take(struct mm_pmm_cpu *cpu)
{
    return mm_stock_take_free(cpu) || mm_stock_take_rare(cpu);
}

/* Give the state up without looking at requests: NMI, or mm_stock_leave() looks. The release is for
 * the next thread that swaps OPEN. */
static inline void mm_stock_give_up(struct mm_pmm_cpu *cpu)
{
    mm_fence_signal();
    mm_store_release_u8(&cpu->state, cpu->free);
    mm_fence_signal();
}

/* True if a request waits. Acquire pairs with the release of who raised it: it carries the mode. */
static inline bool mm_stock_is_asked(const struct mm_pmm_cpu *cpu)
{
    return mm_load_acquire_u32(&cpu->req) != mm_load_relaxed_u32(&cpu->done);
}

/* ---- stock.c ---- */

void mm_stock_report(struct mm_pmm *pmm, const struct mm_stock_faults *faults, const char *where,
                     const void *caller);

/* Leave the guard, and honour requests until there is none. */
void mm_stock_leave(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, struct mm_stock_faults *faults);

/* A request was seen after the guard was given up: honour it. Ends the pin. MM_OK, so that it can
 * be the last step of a call. */
enum mm_err mm_stock_serve(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                           const char *where, const void *caller);

/* Everything in the stock goes to the pools. In the guard, or as a thief. */
void mm_stock_flush(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, struct mm_stock_faults *faults);

/* `count` single frames to their pools, 64 to a lock hold. */
void mm_stock_give(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count,
                   struct mm_stock_faults *faults);

/* One frame from this CPU's stock, refilled if need be. In the guard. */
bool mm_stock_pop(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t *out);

/* One frame into it. In the guard. */
void mm_stock_push(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t frame,
                   struct mm_stock_faults *faults);

/* Frames in stock anywhere, depots included. No lock. */
uint64_t mm_stock_count(const struct mm_pmm *pmm);

/* Frames in stock that mm_drain_near() would bring home. No lock. */
uint64_t mm_stock_near(const struct mm_pmm *pmm);

/* Is the frame in stock? No lock; true when quiet. */
bool mm_stock_holds(const struct mm_pmm *pmm, mm_phys_t frame);

/* ---- take.c ---- */

/* From the pools; then with what can be brought home. Not in the guard. */
bool mm_take_or_drain(struct mm_pmm *pmm, const struct mm_frame_want *want, bool try_hard,
                      uint64_t *first, struct mm_stock_faults *faults);

/* ---- depot.c ---- */

/* Move a full magazine into the depot; fill an empty one from there. False: it is full, or empty,
 * or the magazine is not full. */
bool mm_depot_put(struct mm_pmm *pmm, unsigned node, struct mm_magazine *magazine);
bool mm_depot_take(struct mm_pmm *pmm, unsigned node, struct mm_magazine *magazine);

/* All to the pools. */
void mm_depots_flush(struct mm_pmm *pmm, struct mm_stock_faults *faults);

/* ---- drain.c ---- */

/* Choose the mode anew after an exchange with the pools. Any context but NMI; no lock held. */
void mm_mode_update(struct mm_pmm *pmm);

/* What can be had without waiting for others to answer: own stock, depots, parked CPUs. Not in the
 * guard. */
void mm_drain_near(struct mm_pmm *pmm, struct mm_stock_faults *faults);

/* From everybody: close, ask, wait, open. True if all have answered. Thread context. */
bool mm_drain_all(struct mm_pmm *pmm, bool wait, struct mm_stock_faults *faults);

/* Between these, frees go to the pools. Nests. */
void mm_stock_close(struct mm_pmm *pmm);
void mm_stock_open(struct mm_pmm *pmm);

#endif
