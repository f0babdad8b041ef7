/*
 * stock.c - magazines meet pools: refill, flush, and the two modes.
 *
 * Problem     The stock runs empty or full every so often; then frames and counts must move in
 *             bulk, without an instant at which a frame is nowhere.
 * Idea        Loaded and spare are exchanged first, so that an oscillation at a boundary touches
 *             nothing else; then whole magazines go through the depot; then 64 frames at a time
 *             through a pool, in one lock hold each.
 * Invariants  G1 to G6 of stock.h; a frame that leaves a magazine is in its pool before the count
 *                of
 *             the magazine says that it is gone, under one lock hold, so that sums are exact
 * Locking     In the guard of the CPU whose stock it is; pool locks inside.
 * Cost        A refill of 64 about 100 ns, a flush of 64 random frames 200 to 600.
 * Rejected    One array that moves half of itself: it needs a copy, and is no faster.
 */
#include "pmm/stock.h"

#include "base/report.h"

void mm_stock_report(struct mm_pmm *pmm, const struct mm_stock_faults *faults, const char *where,
                     const void *caller)
{
    if (faults->count == 0)
        return;
    mm_fetch_add_relaxed_u64(&pmm->misuse_count, faults->count);
    (void)mm_report_misuse_of(MM_ERR_MISUSE, faults->what, where, pmm, faults->first.raw,
                              faults->count, 0, caller);
}

/* ---- to the pools ---- */

/* Frames from `frames` on that belong to the pool of the first, up to 64, to that pool in one lock
 * hold. Returns how many; *n, a magazine's count of them, falls with them. */
static size_t give_batch(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count, uint32_t *n,
                         struct mm_stock_faults *faults)
{
    struct mm_pmm_pool *pool;
    struct mm_place place;
    mm_lock_guard_t guard;
    size_t given;

    if (!mm_place_of(pmm, mm_frame_of(frames[0]), &place)) {
        mm_fault_note(faults, "freed frame is not managed", frames[0]);
        return 1;
    }
    pool = mm_pool_of(pmm, place.region);
    guard = mm_lock_take(&pool->lock);
    given = mm_pool_give_batch(pmm, pool, frames, count < MM_BATCH_FRAMES ? count : MM_BATCH_FRAMES,
                               faults);
    if (n != NULL)
        mm_store_relaxed_u32(n, *n - (uint32_t)given);
    mm_lock_release(&pool->lock, guard);
    return given;
}

void mm_stock_give(struct mm_pmm *pmm, const mm_phys_t *frames, size_t count,
                   struct mm_stock_faults *faults)
{
    while (count > 0) {
        size_t given = give_batch(pmm, frames, count, NULL, faults);

        frames += given;
        count -= given;
    }
}

/* All of *n frames, from the bottom: until *n is 0 again, the rest are not where it says. */
static void slots_flush(struct mm_pmm *pmm, const mm_phys_t *slot, uint32_t *n,
                        struct mm_stock_faults *faults)
{
    uint32_t count = *n;
    uint32_t at = 0;

    MM_RACE_READ(slot, sizeof *slot * count);
    while (at < count)
        at += (uint32_t)give_batch(pmm, slot + at, count - at, n, faults);
    mm_store_relaxed_u32(n, 0); /* frames that belong nowhere are dropped */
}

static void magazine_flush(struct mm_pmm *pmm, struct mm_magazine *magazine,
                           struct mm_stock_faults *faults)
{
    slots_flush(pmm, magazine->slot, &magazine->n, faults);
}

void mm_stock_flush(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, struct mm_stock_faults *faults)
{
    magazine_flush(pmm, cpu->loaded, faults);
    magazine_flush(pmm, cpu->spare, faults);
    slots_flush(pmm, cpu->zeroed.slot, &cpu->zeroed.n, faults);
}

MM_COLD bool mm_stock_take_rare(struct mm_pmm_cpu *cpu)
{
    uint8_t state = mm_load_relaxed_u8(&cpu->state);

    return (state == MM_STOCK_PARK || state == MM_STOCK_OPEN) &&
           mm_stock_swap_state(cpu, state, MM_STOCK_BUSY);
}

void mm_stock_leave(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, struct mm_stock_faults *faults)
{
    for (;;) {
        uint32_t req;

        mm_stock_give_up(cpu);
        if (!mm_stock_is_asked(cpu) || !mm_stock_take(cpu))
            return;
        req = mm_load_acquire_u32(&cpu->req);
        mm_stock_flush(pmm, cpu, faults);
        mm_store_release_u32(&cpu->done, req); /* pairs with the wait in drain.c */
    }
}

MM_COLD enum mm_err mm_stock_serve(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_guard_t guard,
                                   const char *where, const void *caller)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};

    if (mm_stock_take(cpu))
        mm_stock_leave(pmm, cpu, &faults);
    mm_unpin(pmm, guard);
    mm_mode_update(pmm);
    mm_stock_report(pmm, &faults, where, caller);
    mm_watch_zones(pmm);
    return MM_OK;
}

/* ---- from the pools ---- */

static void exchange(struct mm_pmm_cpu *cpu)
{
    struct mm_magazine *loaded = cpu->loaded;

    cpu->loaded = cpu->spare;
    cpu->spare = loaded;
}

/* Descending, so that pops come out ascending. */
static void reverse(mm_phys_t *frames, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        mm_phys_t other = frames[i];

        frames[i] = frames[count - 1 - i];
        frames[count - 1 - i] = other;
    }
}

static uint32_t refill_from(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, struct mm_pmm_pool *pool,
                            const struct mm_frame_want *want, uint32_t most)
{
    mm_lock_guard_t guard;
    uint32_t got;

    if (mm_pool_open(pool, want) == 0)
        return 0;
    guard = mm_lock_take(&pool->lock);
    got = mm_pool_take_singles(pmm, pool, (uint32_t)mm_min_u64(most, mm_pool_open(pool, want)),
                               cpu->loaded->slot);
    mm_store_relaxed_u32(&cpu->loaded->n, got);
    mm_lock_release(&pool->lock, guard);
    MM_RACE_WRITE(cpu->loaded->slot, got * sizeof cpu->loaded->slot[0]);
    reverse(cpu->loaded->slot, got);
    return got;
}

/* The loaded magazine is empty: some frames from the best pool that has any. Frames of pools that
 * others want more, or of far nodes, come one by one. */
static uint32_t refill(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, uint32_t most)
{
    const struct mm_frame_want want = {.count = 1, .end = UINT64_MAX, .node = cpu->node};
    struct mm_pool_walk walk = mm_pool_walk(pmm, &want);
    struct mm_pmm_pool *pool;
    uint32_t got = 0;

    while (got == 0 && (pool = mm_pool_next(&walk)) != NULL) {
        bool near = pool->node == cpu->node || pmm->cache_mask == MM_KIND_CACHED;

        got = refill_from(pmm, cpu, pool, &want, near && pool->zone >= MM_ZONE_DMA32 ? most : 1);
    }
    return got;
}

static void restock(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu)
{
    uint32_t mode = mm_load_relaxed_u32(&pmm->mode);
    uint32_t most =
        mode == MM_MODE_CLOSED ? 1 : (uint32_t)mm_min_u64(MM_BATCH_FRAMES, pmm->magazine_frames);

    if (mode == MM_MODE_LIFO && cpu->spare->n != 0) {
        exchange(cpu);
        return;
    }
    if (mode == MM_MODE_LIFO && mm_depot_take(pmm, cpu->node, cpu->loaded))
        return;
    if (refill(pmm, cpu, most) != 0)
        return;
    if (cpu->spare->n != 0) {
        exchange(cpu);
    } else if (cpu->zeroed.n != 0) { /* the last resort before other CPUs are asked */
        mm_store_relaxed_u32(&cpu->zeroed.n, cpu->zeroed.n - 1);
        cpu->loaded->slot[0] = cpu->zeroed.slot[cpu->zeroed.n];
        mm_store_relaxed_u32(&cpu->loaded->n, 1);
    }
}

bool mm_stock_pop(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t *out)
{
    struct mm_magazine *loaded;

    if (cpu->loaded->n == 0)
        restock(pmm, cpu);
    loaded = cpu->loaded;
    if (loaded->n == 0)
        return false;
    MM_RACE_READ(&loaded->slot[loaded->n - 1], sizeof loaded->slot[0]);
    *out = loaded->slot[loaded->n - 1];
    mm_store_relaxed_u32(&loaded->n, loaded->n - 1);
    return true;
}

/* ---- frees that find the loaded magazine full, or closed ---- */

static void push(struct mm_magazine *magazine, mm_phys_t frame)
{
    MM_RACE_WRITE(&magazine->slot[magazine->n], sizeof frame);
    magazine->slot[magazine->n] = frame;
    mm_store_relaxed_u32(&magazine->n, magazine->n + 1);
}

static void push_lifo(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t frame,
                      struct mm_stock_faults *faults)
{
    if (cpu->loaded->n >= pmm->magazine_frames) { /* or it was opened since the caller looked */
        if (cpu->spare->n != 0 && !mm_depot_put(pmm, cpu->node, cpu->spare))
            magazine_flush(pmm, cpu->spare, faults);
        exchange(cpu);
    }
    push(cpu->loaded, frame);
}

static void push_circulating(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t frame,
                             struct mm_stock_faults *faults)
{
    if (cpu->spare->n >= pmm->magazine_frames)
        magazine_flush(pmm, cpu->spare, faults);
    push(cpu->spare, frame);
}

void mm_stock_push(struct mm_pmm *pmm, struct mm_pmm_cpu *cpu, mm_phys_t frame,
                   struct mm_stock_faults *faults)
{
    switch ((enum mm_stock_mode)mm_load_relaxed_u32(&pmm->mode)) {
    case MM_MODE_LIFO:
        push_lifo(pmm, cpu, frame, faults);
        return;
    case MM_MODE_CIRCULATE:
        push_circulating(pmm, cpu, frame, faults);
        return;
    case MM_MODE_CLOSED:
        break;
    }
    mm_stock_give(pmm, &frame, 1, faults);
}

/* ---- what is in stock ---- */

static uint64_t count_cpu(const struct mm_pmm_cpu *cpu)
{
    return (uint64_t)mm_load_relaxed_u32(&cpu->magazine[0].n) +
           mm_load_relaxed_u32(&cpu->magazine[1].n) + mm_load_relaxed_u32(&cpu->zeroed.n);
}

static uint64_t count_depots(const struct mm_pmm *pmm)
{
    uint64_t magazines = 0;

    for (uint32_t i = 0; i < pmm->node_count; i++)
        magazines += mm_load_relaxed_u32(&pmm->node[i].depot.count);
    return magazines * pmm->magazine_frames;
}

uint64_t mm_stock_count(const struct mm_pmm *pmm)
{
    uint64_t count = count_depots(pmm);

    for (uint32_t i = 0; i < pmm->cpu_count; i++)
        count += count_cpu(&pmm->cpu[i]);
    return count;
}

uint64_t mm_stock_near(const struct mm_pmm *pmm)
{
    mm_guard_t guard = mm_pin(pmm);
    const struct mm_pmm_cpu *mine = mm_stock_mine(pmm);
    uint64_t count = count_depots(pmm);

    mm_unpin(pmm, guard);
    for (uint32_t i = 0; i < pmm->cpu_count; i++) {
        const struct mm_pmm_cpu *cpu = &pmm->cpu[i];
        uint8_t state = mm_load_relaxed_u8(&cpu->state);

        if (cpu == mine || state == MM_STOCK_PARK || state == MM_STOCK_OPEN)
            count += count_cpu(cpu);
    }
    return count;
}

/* Never more than there is room for: the checker asks, too, when counts are damaged. */
static bool among(const mm_phys_t *frames, uint32_t count, uint32_t room, mm_phys_t frame)
{
    for (uint32_t i = 0; i < count && i < room; i++)
        if (frames[i].raw == frame.raw)
            return true;
    return false;
}

bool mm_stock_holds(const struct mm_pmm *pmm, mm_phys_t frame)
{
    for (uint32_t i = 0; i < pmm->cpu_count; i++) {
        const struct mm_pmm_cpu *cpu = &pmm->cpu[i];

        for (unsigned j = 0; j < 2; j++)
            if (among(cpu->magazine[j].slot, mm_load_relaxed_u32(&cpu->magazine[j].n),
                      MM_MAGAZINE_MAX, frame))
                return true;
        if (among(cpu->zeroed.slot, mm_load_relaxed_u32(&cpu->zeroed.n), MM_ZEROED_FRAMES, frame))
            return true;
    }
    for (uint32_t i = 0; i < pmm->node_count; i++) {
        uint32_t count = mm_load_relaxed_u32(&pmm->node[i].depot.count);

        for (uint32_t j = 0; j < count && j < MM_DEPOT_MAGAZINES; j++)
            if (among(pmm->node[i].depot.slot[j], pmm->magazine_frames, MM_MAGAZINE_MAX, frame))
                return true;
    }
    return false;
}
