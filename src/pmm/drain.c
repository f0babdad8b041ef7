/*
 * drain.c - frames come home: modes, requests, parked CPUs.
 *
 * Problem     What is in stock on other CPUs is free, but out of reach; and a stock that recycles
 *             the same frames keeps half-empty chunks half-empty.
 * Idea        The mode says what becomes of freed frames: last in, first out while memory is plenty
 *             and little of it lies in broken chunks; circulating while much does; closed while
 *             memory is low or somebody drains. A drain closes first, then takes its own stock, the
 *             depots' and that of parked CPUs, and asks those that run: by a request that they see
 *             when they leave the guard, and if it may wait by mm_host_run_on().
 * Invariants  G1 to G6 of stock.h
 *             M1 cap of each CPU is magazine_frames if the mode is LIFO, else 0
 *             M2 a drain that reports success saw, for each CPU, the stock empty while closed
 * Locking     mode_lock for mode, caps, closers; held for O(CPUs). Nothing is waited for while it,
 *             or a guard, is held.
 * Cost        mm_mode_update(): a few loads for each pool. A drain: O(CPUs + frames in stock).
 * Rejected    Draining without closing: a free on another CPU undoes it at once. Stopping the owner
 *             by an asymmetric fence: it needs the same interrupt, and races more. Acknowledging by
 *             a bit that is cleared: two drains share it.
 */
#include "base/report.h"
#include "pmm/stock.h"

/* Patience with a CPU that was interrupted in its guard, or does not take the call. */
#define WAIT_ROUNDS 65536u

/* ---- modes ---- */

struct pressure {
    bool low, scarce;
};

/* What memory looks like now. The marks have a distance, so that the mode does not swing. */
static struct pressure pressure_of(const struct mm_pmm *pmm)
{
    uint64_t cached = (uint64_t)pmm->cpu_count * 2 * pmm->magazine_frames;
    uint64_t free = 0;
    uint64_t loose = 0;
    struct pressure now = {mm_load_relaxed_u8(&pmm->low) != 0,
                           mm_load_relaxed_u8(&pmm->scarce) != 0};

    for (uint32_t i = 0; i < mm_load_acquire_u32(&pmm->pool_count); i++) {
        const struct mm_pmm_pool *pool = &pmm->pool[i];

        if (pool->zone < MM_ZONE_DMA32)
            continue;
        free += mm_load_relaxed_u64(&pool->free_frames);
        loose += mm_load_relaxed_u64(&pool->loose_frames);
    }
    if (free < cached + pmm->reserve_frames)
        now.low = true;
    else if (free >= 2 * cached + pmm->reserve_frames)
        now.low = false;
    if (loose > free / 16 + 2 * MM_CHUNK_FRAMES)
        now.scarce = true;
    else if (loose <= free / 32 + MM_CHUNK_FRAMES)
        now.scarce = false;
    return now;
}

static void ask_all(struct mm_pmm *pmm)
{
    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        (void)mm_fetch_add_release_u32(&pmm->cpu[i].req, 1); /* pairs with mm_stock_is_asked() */
}

/* Choose the mode, mode_lock held; true if it is no longer LIFO. */
static MM_COLD bool mode_choose(struct mm_pmm *pmm)
{
    uint32_t before = mm_load_relaxed_u32(&pmm->mode);
    uint32_t mode = MM_MODE_LIFO;

    if (pmm->closers != 0 || mm_load_relaxed_u8(&pmm->low) != 0)
        mode = MM_MODE_CLOSED;
    else if (mm_load_relaxed_u8(&pmm->scarce) != 0)
        mode = MM_MODE_CIRCULATE;
    if (mode == before)
        return false;
    mm_store_relaxed_u32(&pmm->mode, mode);
    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        mm_store_relaxed_u32(&pmm->cpu[i].cap, mode == MM_MODE_LIFO ? pmm->magazine_frames : 0);
    if (mode == MM_MODE_CLOSED)
        ask_all(pmm);
    return before == MM_MODE_LIFO;
}

void mm_mode_update(struct mm_pmm *pmm)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct pressure now = pressure_of(pmm);
    mm_lock_guard_t guard;
    bool left_lifo;

    if (now.low == (mm_load_relaxed_u8(&pmm->low) != 0) &&
        now.scarce == (mm_load_relaxed_u8(&pmm->scarce) != 0))
        return;
    guard = mm_lock_take(&pmm->mode_lock);
    now = pressure_of(pmm);
    mm_store_relaxed_u8(&pmm->low, now.low);
    mm_store_relaxed_u8(&pmm->scarce, now.scarce);
    left_lifo = mode_choose(pmm);
    mm_lock_release(&pmm->mode_lock, guard);
    if (left_lifo)
        mm_depots_flush(pmm, &faults);
    mm_stock_report(pmm, &faults, "mm_pmm", NULL);
}

void mm_stock_close(struct mm_pmm *pmm)
{
    mm_lock_guard_t guard = mm_lock_take(&pmm->mode_lock);

    pmm->closers++;
    (void)mode_choose(pmm); /* whoever closes empties the depots */
    mm_lock_release(&pmm->mode_lock, guard);
}

void mm_stock_open(struct mm_pmm *pmm)
{
    mm_lock_guard_t guard = mm_lock_take(&pmm->mode_lock);

    pmm->closers--;
    (void)mode_choose(pmm);
    mm_lock_release(&pmm->mode_lock, guard);
}

/* ---- one CPU ---- */

/* Take away the stock of a CPU that is not in there and will not come in meanwhile. */
static MM_COLD bool steal(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu,
                          struct mm_stock_faults *faults)
{
    mm_guard_t guard = mm_cpu_guard(); /* G6 */
    uint8_t found = mm_load_relaxed_u8(&cpu->state);
    bool stolen = (found == MM_STOCK_PARK || found == MM_STOCK_OPEN) &&
                  mm_stock_swap_state(cpu, found, MM_STOCK_STOLEN);

    if (stolen) {
        uint32_t req = mm_load_acquire_u32(&cpu->req); /* and the mode, for the next owner */

        mm_stock_flush(pmm, cpu, faults);
        mm_store_release_u32(&cpu->done, req);   /* as if the owner had answered */
        mm_store_release_u8(&cpu->state, found); /* pairs with the swap in mm_stock_take() */
    }
    mm_cpu_unguard(guard);
    return stolen;
}

/* This CPU's own. True if it is empty now. */
static bool flush_own(struct mm_pmm *pmm, struct mm_stock_faults *faults)
{
    mm_guard_t guard = mm_pin(pmm);
    struct mm_pmm_cpu *cpu = mm_stock_mine(pmm);
    bool taken = cpu != NULL && mm_stock_take(cpu);

    if (taken) {
        mm_stock_flush(pmm, cpu, faults);
        mm_stock_leave(pmm, cpu, faults);
    }
    mm_unpin(pmm, guard);
    return taken;
}

MM_COLD void mm_pmm_serve(struct mm_pmm *pmm)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct mm_pmm_cpu *cpu;
    mm_guard_t guard;

    if (pmm == NULL)
        return;
    guard = mm_pin(pmm);
    cpu = mm_stock_mine(pmm);
    if (cpu != NULL && mm_stock_is_asked(cpu) && mm_stock_take(cpu))
        mm_stock_leave(pmm, cpu, &faults);
    mm_unpin(pmm, guard);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_serve", MM_CALLER);
    mm_watch_zones(pmm);
}

MM_COLD void mm_pmm_park(struct mm_pmm *pmm)
{
    struct mm_pmm_cpu *cpu;
    mm_guard_t guard;
    mm_guard_t pin;

    if (pmm == NULL)
        return;
    mm_pmm_serve(pmm);
    pin = mm_pin(pmm);
    cpu = mm_stock_mine(pmm);
    guard = mm_cpu_guard(); /* no handler may come between the look and the store */
    if (cpu != NULL && mm_load_relaxed_u8(&cpu->state) == MM_STOCK_FREE)
        mm_store_release_u8(&cpu->state, MM_STOCK_PARK); /* pairs with the thief's swap */
    mm_cpu_unguard(guard);
    mm_unpin(pmm, pin);
}

/* ---- drains ---- */

/* A thief has interrupts off and is soon done; what it has in hand must be home before a caller may
 * say that there is none. */
static void wait_for_thief(const struct mm_pmm_cpu *cpu)
{
    for (uint32_t round = 0;
         round < WAIT_ROUNDS && mm_load_acquire_u8(&cpu->state) == MM_STOCK_STOLEN; round++)
        mm_cpu_relax();
}

void mm_drain_near(struct mm_pmm *pmm, struct mm_stock_faults *faults)
{
    if (mm_stock_count(pmm) == 0) /* it may have come home since the caller looked into the pools */
        return;
    (void)flush_own(pmm, faults);
    mm_depots_flush(pmm, faults);
    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        if (!steal(pmm, &pmm->cpu[i], faults))
            wait_for_thief(&pmm->cpu[i]);
}

static void serve_here(void *pmm)
{
    mm_pmm_serve(pmm);
}

/* Until CPU `i` has honoured all requests raised so far, or parks. */
static bool await(struct mm_pmm *pmm, uint32_t i, struct mm_stock_faults *faults)
{
    struct mm_pmm_cpu *cpu = &pmm->cpu[i];
    uint32_t req = mm_load_relaxed_u32(&cpu->req);
    bool called = mm_host_run_on(i, serve_here, pmm) == MM_OK;

    for (uint32_t round = 0; round < WAIT_ROUNDS; round++) {
        /* pairs with mm_stock_leave() */
        if ((int32_t)(mm_load_acquire_u32(&cpu->done) - req) >= 0 || steal(pmm, cpu, faults))
            return true;
        if (!called && mm_load_relaxed_u8(&cpu->state) != MM_STOCK_STOLEN)
            return false; /* nobody will make it answer; a thief would soon be done */
        mm_cpu_relax();
    }
    return false;
}

MM_COLD bool mm_drain_all(struct mm_pmm *pmm, bool wait, struct mm_stock_faults *faults)
{
    bool all = true;

    ask_all(pmm);                 /* what is closed already does not ask again */
    (void)flush_own(pmm, faults); /* whether it is empty shows below: a thief may be in there */
    mm_depots_flush(pmm, faults);
    for (uint32_t i = 0; i < pmm->cpu_count; i++) {
        struct mm_pmm_cpu *cpu = &pmm->cpu[i];

        if (mm_load_acquire_u32(&cpu->done) == mm_load_relaxed_u32(&cpu->req) ||
            steal(pmm, cpu, faults))
            continue;
        if (!wait || !await(pmm, i, faults))
            all = false;
    }
    mm_depots_flush(pmm, faults); /* a magazine that was on its way there */
    return all;
}

MM_COLD enum mm_err mm_pmm_drain(struct mm_pmm *pmm, unsigned flags)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    bool all;

    if (pmm == NULL || (flags & ~MM_DRAIN_WAIT) != 0)
        return MM_ERR_BAD_ARG;
    mm_stock_close(pmm);
    all = mm_drain_all(pmm, (flags & MM_DRAIN_WAIT) != 0, &faults);
    mm_stock_open(pmm);
    mm_stock_report(pmm, &faults, "mm_pmm_drain", MM_CALLER);
    mm_watch_zones(pmm);
    return all ? MM_OK : MM_ERR_BUSY;
}
