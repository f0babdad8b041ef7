/*
 * gather.c - what was removed: flushed everywhere, then freed.
 *
 * Problem     A frame or a table that is freed while a CPU still has a translation through it is
 *             somebody else's memory, written through an old address.
 * Idea        Removing only notes what was removed. The flush of all of it comes in one batch, and
 *             frees come behind the flush in the one function that does both: there is no other
 *             way to free a table.
 * Invariants  I1 an entry is cleared before its address is put in here
 *             I2 nothing in `table` or `run` is freed before all CPUs concerned have flushed, and all
 *                walks that had begun have ended
 *             I3 flags has EVERYTHING, or every removed translation is in `page`, and for each
 *                removed table an address that it covered
 *             I4 a space is not destroyed while a gather of it is open; one that a call keeps to
 *                itself does not touch the space any more once its section has ended, unless it has
 *                joined pages: then the call holds the space
 * Locking     Filled with tables locked; flushed outside of sections, since other CPUs are waited for.
 * Cost        Up to MM_MMU_FLUSH_CEILING single flushes, else one full one; one shootdown.
 * Rejected    Flushing per page: a hundred times the cost of the entry's store. Freeing at once and
 *             flushing later: a table is walked by the hardware until the flush.
 */
#include "base/break.h"
#include "base/report.h"
#include "mm/host.h"
#include "mm_cpu.h"
#include "subtree.h"

_Static_assert(MM_MMU_FLUSH_CEILING <= MM_GATHER_PAGES, "a gather holds what is flushed singly");

void mm_gather_start(struct mm_gather *gather, struct mm_space *space)
{
    /* mm_space_destroy() has one over a space that is gone; one over nothing frees nothing */
    gather->space = mm_space_alive(space) != MM_ERR_BAD_ARG ? space : NULL;
    gather->vmm = gather->space != NULL ? space->vmm : NULL;
    gather->release = NULL;
    gather->release_context = NULL;
    gather->later.run = NULL;
    gather->table_count = 0;
    gather->run_count = 0;
    gather->page_count = 0;
    gather->owned_count = 0;
    gather->joins = 0;
    gather->cursor = NULL;
    gather->flags = 0;
    if (gather->space == NULL)
        return;
    gather->flags = (mm_space_is_kernel(space) ? MM_GATHER_KERNEL : 0) |
                    (mm_space_may_own(space) ? MM_GATHER_OWNS : 0) |
                    ((space->flags & MM_SPACE_ADOPTED) != 0 ? MM_GATHER_ADOPTED : 0);
}

void mm_gather_begin(struct mm_gather *gather, struct mm_space *space)
{
    if (gather == NULL)
        return;
    mm_gather_start(gather, space);
    if (mm_space_hold(gather->space) == MM_OK)
        gather->flags |= MM_GATHER_HOLDS;
}

/* Is an address in [virt, virt + bytes) flushed already? The latest are the likeliest. */
static bool flushes_in(const struct mm_gather *gather, uint64_t virt, uint64_t bytes)
{
    for (uint32_t i = gather->page_count; i > 0; i--) {
        if (gather->page[i - 1].start.raw - virt < bytes)
            return true;
    }
    return false;
}

/*
 * The way to the table may be cached in upper-level entries. Flushing any one page drops all of
 * those on CPUs of Intel (SDM vol. 3A, 4.10.4.1) and on AMD's while EFER.TCE = 0, but with TCE = 1
 * only those that lead to the page (APM vol. 2, 3.1.7). So a page below the table is flushed: as a
 * rule it is one that was just removed; a table that was found empty has none.
 */
void mm_gather_table(struct mm_gather *gather, mm_phys_t table, unsigned level, uint64_t virt,
                     uint64_t bytes)
{
    MM_ASSERT(gather->table_count < MM_GATHER_TABLES);
    gather->table[gather->table_count++] = mm_phys(table.raw | level);
    if ((gather->flags & MM_GATHER_EVERYTHING) == 0 && !flushes_in(gather, virt, bytes))
        mm_gather_page(gather, virt, MM_FRAME_BYTES);
}

static void gather_free(struct mm_gather *gather)
{
    struct mm_vmm *vmm = gather->vmm;

    for (uint32_t i = 0; i < gather->table_count; i++) {
        uint64_t table = gather->table[i].raw;

        mm_tables_free(vmm, mm_phys(mm_align_down(table, MM_FRAME_BYTES)),
                       (unsigned)(table % MM_FRAME_BYTES), (gather->flags & MM_GATHER_OWNS) != 0);
    }
    gather->flags |= MM_GATHER_FREES;
    while (gather->run_count != 0) { /* off first: `release` may look at the gather */
        struct mm_phys_range run = gather->run[--gather->run_count];

        if (gather->release != NULL)
            gather->release(gather->release_context, run.start, run.bytes >> MM_FRAME_SHIFT);
        else
            (void)mm_pmm_free(vmm->pmm, run.start, run.bytes >> MM_FRAME_SHIFT);
    }
    gather->flags &= ~MM_GATHER_FREES;
    if (gather->owned_count != 0)
        (void)mm_pmm_free_bulk(vmm->pmm, gather->owned, gather->owned_count);
    gather->table_count = 0;
    gather->owned_count = 0;
}

static void serve(const void *request)
{
    mm_gather_flush_cpu((const struct mm_gather *)request);
}

static bool has_translations(const struct mm_gather *gather)
{
    return !MM_BREAK_DROP_FLUSH &&
           (gather->page_count != 0 || (gather->flags & MM_GATHER_EVERYTHING) != 0);
}

/* Is anybody left without this CPU? */
static bool drop_self(struct mm_cpuset *cpus, const struct mm_vmm *vmm)
{
    unsigned self = mm_cpu_index();
    uint64_t any = 0;

    cpus->bits[self / 64] &= ~(UINT64_C(1) << self % 64);
    for (unsigned i = 0; i * 64 < vmm->cpu_count; i++)
        any |= cpus->bits[i];
    return any != 0;
}

/* Has the machine reached all CPUs by itself? */
static bool broadcast(const struct mm_gather *gather)
{
    bool everything = (gather->flags & MM_GATHER_EVERYTHING) != 0;

    return mm_mmu_broadcast(gather->page, everything ? 0 : gather->page_count,
                            (gather->flags & MM_GATHER_KERNEL) != 0);
}

/*
 * Whom it concerns: a change of the kernel space every CPU, since all see its upper half; one of a
 * user space those that have it loaded, or are about to.
 */
bool mm_gather_flush_here(struct mm_gather *gather, struct mm_cpuset *others)
{
    struct mm_vmm *vmm = gather->vmm;
    unsigned self = mm_cpu_index();
    bool here, ask;

    if (MM_BREAK_FREE_BEFORE_FLUSH)
        gather_free(gather);
    if (!has_translations(gather))
        return false;
    if ((gather->flags & MM_GATHER_EVERYTHING) != 0)
        (void)mm_fetch_add_relaxed_u64(&vmm->full_flushes, 1);
    ask = mm_gather_call(gather, others);
    here = (gather->flags & MM_GATHER_KERNEL) != 0 ||
           (ask && (others->bits[self / 64] >> self % 64 & 1) != 0);
    ask = ask && drop_self(others, vmm) && !broadcast(gather);
    if (ask && gather->generation == 0)
        gather->generation = mm_fetch_add_relaxed_u64(&gather->space->generation, 1) + 1;
    if (here)
        mm_gather_flush_cpu(gather);
    return ask;
}

/* Nobody has to look out for the large pages in here any more. The space is held. */
static void large_flushed(struct mm_gather *gather)
{
    if (gather->joins != 0)
        (void)mm_fetch_add_release_u64(&gather->space->joins, 0 - (uint64_t)gather->joins);
    if ((gather->flags & MM_GATHER_LARGE) != 0)
        (void)mm_fetch_add_release_u64(&gather->space->larges, 0 - UINT64_C(1));
    gather->joins = 0;
    gather->flags &= ~MM_GATHER_LARGE;
}

bool mm_gather_hold_large(struct mm_gather *gather)
{
    if (mm_space_hold(gather->space) == MM_OK)
        return true;
    gather->joins = 0;
    gather->flags &= ~MM_GATHER_LARGE;
    return false;
}

void mm_gather_finish(struct mm_gather *gather, const struct mm_cpuset *others)
{
    if (others != NULL) {
        (void)mm_fetch_add_relaxed_u64(&gather->vmm->shootdowns, 1);
        mm_host_shootdown(others, serve, gather);
    }
    large_flushed(gather);
    if (gather->table_count != 0 || gather->run_count != 0 || gather->owned_count != 0)
        mm_sections_wait(gather->vmm);
    gather_free(gather);
    gather->page_count = 0;
    gather->flags &= ~MM_GATHER_EVERYTHING;
}

void mm_gather_flush(struct mm_gather *gather)
{
    struct mm_cpuset others;
    mm_guard_t guard;
    bool ask;

    if (gather->space == NULL)
        return;
    if (gather->cursor != NULL)
        mm_cursor_let_go(gather->cursor); /* its section must not wait */
    guard = mm_cpu_guard();
    ask = mm_gather_flush_here(gather, &others);
    mm_cpu_unguard(guard);
    mm_gather_finish(gather, ask ? &others : NULL);
}

enum mm_err mm_gather_make_room(struct mm_gather *gather)
{
    if (!mm_gather_is_crowded(gather))
        return MM_OK;
    if ((gather->flags & MM_GATHER_DEFERRED) != 0)
        return MM_ERR_NO_ROOM;
    mm_gather_flush(gather);
    return MM_OK;
}

void mm_gather_frames(struct mm_gather *gather, mm_phys_t first, uint64_t count_frames)
{
    if (gather == NULL)
        return;
    if (gather->space == NULL) {
        (void)mm_report_misuse(MM_ERR_MISUSE, "gather of no space", "mm_gather_frames", gather,
                               first.raw, MM_CALLER);
        return;
    }
    if ((gather->flags & (MM_GATHER_HOLDS | MM_GATHER_FREES)) != MM_GATHER_HOLDS ||
        gather->later.run != NULL) {
        (void)mm_report_misuse(MM_ERR_MISUSE, "frames handed in when the gather has ended",
                               "mm_gather_frames", gather, first.raw, MM_CALLER);
        return;
    }
    if (gather->release == NULL && gather->vmm->pmm == NULL) {
        (void)mm_report_misuse(MM_ERR_MISUSE, "frames have nowhere to go: no PMM, no release",
                               "mm_gather_frames", gather, first.raw, MM_CALLER);
        return;
    }
    if (count_frames > UINT64_MAX >> MM_FRAME_SHIFT) {
        (void)mm_report_misuse(MM_ERR_MISUSE, "more frames than there are", "mm_gather_frames",
                               gather, first.raw, MM_CALLER);
        return;
    }
    if (gather->run_count == MM_GATHER_RUNS && (gather->flags & MM_GATHER_DEFERRED) != 0) {
        (void)mm_report_misuse(MM_ERR_NO_ROOM, "too many frames for a gather that is deferred",
                               "mm_gather_frames", gather, first.raw, MM_CALLER);
        return;
    }
    if (gather->run_count == MM_GATHER_RUNS)
        mm_gather_flush(gather);
    gather->run[gather->run_count].start = first;
    gather->run[gather->run_count].bytes = count_frames << MM_FRAME_SHIFT;
    gather->run_count++;
}

void mm_gather_set_release(struct mm_gather *gather,
                           void (*release)(void *context, mm_phys_t first, uint64_t count_frames),
                           void *context)
{
    if (gather == NULL)
        return;
    gather->release = release;
    gather->release_context = context;
}

/* ---- the end, now or later ---- */

/* Ending twice is harmless. Whoever sees it done may use the gather for something else. */
static void gather_end(struct mm_gather *gather)
{
    struct mm_space *space = gather->space;
    bool holds = (gather->flags & MM_GATHER_HOLDS) != 0;

    mm_gather_flush(gather);
    if (holds && gather->cursor != NULL)
        mm_cursor_detach(gather->cursor);
    gather->cursor = NULL;
    mm_store_release_u32(&gather->flags, 0); /* pairs with mm_gather_is_done() */
    if (holds)
        mm_space_unhold(space);
}

static void end_later(struct mm_later *later)
{
    struct mm_gather *gather = (struct mm_gather *)later; /* its first member */

    gather->flags &= ~MM_GATHER_DEFERRED;
    gather_end(gather);
}

void mm_gather_defer(struct mm_gather *gather)
{
    if (gather != NULL && gather->space != NULL)
        gather->flags |= MM_GATHER_DEFERRED;
}

bool mm_gather_is_done(const struct mm_gather *gather)
{
    return gather == NULL || mm_load_acquire_u32(&gather->flags) == 0;
}

void mm_gather_end(struct mm_gather *gather)
{
    if (gather == NULL || gather->later.run != NULL || (gather->flags & MM_GATHER_FREES) != 0)
        return; /* it is in the queue, or was, or ends now */
    if ((gather->flags & MM_GATHER_DEFERRED) == 0) {
        gather_end(gather);
        return;
    }
    if (gather->cursor != NULL) {
        mm_cursor_let_go(gather->cursor);
        mm_cursor_detach(gather->cursor);
    }
    gather->cursor = NULL;
    gather->later.run = end_later;
    mm_later_add(gather->vmm, &gather->later);
}
