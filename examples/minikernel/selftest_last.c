/*
 * selftest_last.c - all of memory, and what must be true at the end.
 *
 * Problem     Some faults show only when nothing is left: a reserved frame in the pool, a frame
 *             handed out twice, one that never comes back.
 * Idea        Take everything in large blocks, then in frames, then what is kept in reserve, then
 *             below 1 MiB. The ledger of what was taken lies in frames that were taken too. Each
 *             block is held against what the kernel knows to be in use, and each frame is stamped;
 *             the stamps are read again before the frees. Not on large machines: the emulator would
 *             have to find all that memory.
 */
#include "cpu.h"
#include "image.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "taken.h"
#include "walk.h"

#define STAMP_BELOW    (256 * MIB)
#define LEDGER_ENTRIES 255u
#define NO_PAGE        ~UINT64_C(0)
#define FLOOR_FROM     256u /* so many frames above 16 MiB keep one below */

/* One frame of the list of what was taken. */
struct ledger {
    uint64_t next; /* physical address of an older one, or NO_PAGE */
    uint64_t count;
    struct {
        uint64_t phys, frames;
    } entry[LEDGER_ENTRIES];
};

_Static_assert(sizeof(struct ledger) == MM_FRAME_BYTES, "one frame");

static struct ledger *ledger_at(uint64_t phys)
{
    return mm_virt_pointer(mm_virt_of((const void *)test_direct(phys)));
}

static uint64_t stamp_of(uint64_t phys)
{
    return phys * UINT64_C(0x9e3779b97f4a7c15) ^ UINT64_C(0x5bd1e995);
}

/* Nothing that is in use may be handed out: checked before the first write. */
static void check_not_taken(uint64_t phys, uint64_t frames)
{
    uint64_t bytes = frames * MM_FRAME_BYTES;
    struct mm_mem_range range;

    CHECK(taken_find(phys, bytes) == NULL);
    CHECK(mm_memmap_find(&mm_default.map, mm_phys(phys), &range) == MM_OK);
    CHECK_EQUAL(range.type, MM_MEM_USABLE);
    CHECK(phys > 0 && (phys >= MIB || phys + bytes <= 0xa0000));
    CHECK(phys != mm_default.kernel.root.raw);
    for (unsigned i = 0; i < 2; i++)
        CHECK(test_retired[i] - phys >= bytes || test_retired[i] == 0);
}

static void stamp(uint64_t phys, uint64_t frames)
{
    for (uint64_t at = phys; at < phys + frames * MM_FRAME_BYTES; at += MM_FRAME_BYTES)
        test_direct(at)[0] = stamp_of(at);
}

static void check_stamps(uint64_t phys, uint64_t frames)
{
    for (uint64_t at = phys; at < phys + frames * MM_FRAME_BYTES; at += MM_FRAME_BYTES)
        CHECK_EQUAL(test_direct(at)[0], stamp_of(at));
}

static bool take_block(const struct mm_frame_request *request, uint64_t *phys)
{
    mm_phys_t first;

    if (mm_pmm_alloc(&mm_default.pmm, request, &first) != MM_OK)
        return false;
    check_not_taken(first.raw, UINT64_C(1) << request->order);
    *phys = first.raw;
    return true;
}

/* Makes room in the ledger; false when no frame is left for that. */
static bool open_ledger(uint64_t *ledger)
{
    static const struct mm_frame_request any = {.flags = MM_FRAME_RESERVE};
    static const struct mm_frame_request low = {.highest = MM_PHYS(0xfffff),
                                                .flags = MM_FRAME_RESERVE};
    uint64_t phys;

    if (*ledger != NO_PAGE && ledger_at(*ledger)->count < LEDGER_ENTRIES)
        return true;
    if (!take_block(&any, &phys) && !take_block(&low, &phys))
        return false;
    ledger_at(phys)->next = *ledger;
    ledger_at(phys)->count = 0;
    *ledger = phys;
    return true;
}

/* Takes what `request` can get; returns how many frames, those of the ledger included. */
static uint64_t take_all(const struct mm_frame_request *request, uint64_t *ledger, bool stamped)
{
    uint64_t before = mm_pmm_free_frames(&mm_default.pmm);
    uint64_t phys;

    while (open_ledger(ledger) && take_block(request, &phys)) {
        struct ledger *page = ledger_at(*ledger);
        uint64_t frames = UINT64_C(1) << request->order;

        page->entry[page->count].phys = phys;
        page->entry[page->count].frames = frames;
        page->count++;
        if (stamped)
            stamp(phys, frames);
    }
    return before - mm_pmm_free_frames(&mm_default.pmm);
}

static uint64_t give_all(uint64_t ledger, bool stamped)
{
    uint64_t frames = 0;

    while (ledger != NO_PAGE) {
        struct ledger *page = ledger_at(ledger);
        uint64_t next = page->next;

        for (uint64_t i = 0; i < page->count; i++) {
            if (stamped)
                check_stamps(page->entry[i].phys, page->entry[i].frames);
            test_free(page->entry[i].phys, page->entry[i].frames);
            frames += page->entry[i].frames;
        }
        test_free(ledger, 1);
        frames++;
        ledger = next;
    }
    return frames;
}

/* Ordinary requests have taken all that they may have. */
static void check_floor(void)
{
    struct mm_frame_request request = {.highest = MM_HIGHEST_16M};
    struct mm_pmm_stats stats;
    uint64_t above;

    mm_pmm_get_stats(&mm_default.pmm, &stats);
    above = stats.zone_managed_frames[MM_ZONE_DMA32] + stats.zone_managed_frames[MM_ZONE_HIGH];
    CHECK_EQUAL(stats.zone_free_frames[MM_ZONE_HIGH], 0);
    CHECK_EQUAL(stats.zone_free_frames[MM_ZONE_DMA] > 0, above >= FLOOR_FROM);
    if (stats.zone_free_frames[MM_ZONE_DMA] > 0) /* a device still gets what it can reach */
        test_free(test_take(&request), 1);
}

SELFTEST_LAST(last_all_memory_can_be_taken_and_comes_back)
{
    static const struct mm_frame_request requests[] = {
        {.order = MM_ORDER_2M},
        {.order = 4},
        {.order = 0},                /* what is in stock, too */
        {.flags = MM_FRAME_RESERVE}, /* the floors of the lower zones */
        {.highest = MM_PHYS(0xfffff), .flags = MM_FRAME_RESERVE},
    };
    struct mm_pmm_stats stats, empty;
    uint64_t ledger = NO_PAGE;
    uint64_t taken = 0;
    bool stamped;

    snapshot_take(&snapshot_before);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    stamped = stats.managed_frames * MM_FRAME_BYTES < STAMP_BELOW;
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (requests[i].flags == MM_FRAME_RESERVE && requests[i].highest.raw == 0)
            check_floor();
        taken += take_all(&requests[i], &ledger, stamped);
    }
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), 0);
    CHECK_EQUAL(taken, stats.free_frames);
    mm_pmm_get_stats(&mm_default.pmm, &empty);
    taken -= empty.side_frames - stats.side_frames;         /* nobody's to give back */
    CHECK(mm_heap_alloc(&mm_default.heap, 100000) == NULL); /* nothing left for the others */
    CHECK_EQUAL(test_try_map(TEST_LOW, 0x1000, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_NO_MEMORY);
    CHECK(taken_changed() == NULL);
    CHECK_EQUAL(give_all(ledger, stamped), taken);
    CHECK(snapshot_unchanged());
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
}

SELFTEST_LAST(last_boot_data_are_intact)
{
    const struct taken *changed = taken_changed();

    CHECK(changed == NULL);
    for (size_t i = 0; i < taken_count(); i++)
        CHECK(taken_get(i)->summed || !taken_get(i)->constant);
}

SELFTEST_LAST(last_all_checkers_find_nothing)
{
    CHECK_EQUAL(mm_memmap_check(&mm_default.map, &fault_printer), 0);
    CHECK_EQUAL(mm_pmm_check(&mm_default.pmm, &fault_printer), 0);
    CHECK_EQUAL(mm_space_check(&mm_default.kernel, &fault_printer), 0);
    CHECK_EQUAL(mm_arena_check(&mm_default.arena, &fault_printer), 0);
    CHECK_EQUAL(mm_heap_check(&mm_default.heap, &fault_printer), 0);
    CHECK_EQUAL(mm_check(&mm_default, &fault_printer), 0);
}

static bool is_boot_data(const struct taken *taken)
{
    return taken->phys < image_phys(image_text_start) || taken->phys >= image_phys(image_data_end);
}

/* After this the boot information is gone. The image stays. */
SELFTEST_LAST(last_boot_memory_can_be_reclaimed)
{
    uint64_t before = mm_pmm_free_frames(&mm_default.pmm);
    uint64_t bytes = 0;
    uint64_t kept = 1;
    enum mm_err err;

    interrupts_off();
    err = mm_reclaim_boot(&mm_default, MM_RECLAIM_LOADER | MM_RECLAIM_INFO | MM_RECLAIM_MODULES,
                          &bytes, &kept);
    interrupts_on();
    CHECK_EQUAL(err, MM_OK);
    CHECK_EQUAL(kept, 0); /* stack and descriptor tables are in the image */
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), before + bytes / MM_FRAME_BYTES);
    for (size_t i = 0; i < taken_count(); i++) {
        const struct taken *taken = taken_get(i);
        struct mm_frame_info info;

        mm_pmm_query(&mm_default.pmm, mm_phys(taken->phys), &info);
        if (!is_boot_data(taken))
            CHECK_EQUAL(info.state, MM_FRAME_UNMANAGED);
        else
            CHECK(info.state == MM_FRAME_FREE || taken->phys < MM_FRAME_BYTES);
    }
    CHECK_EQUAL(mm_check(&mm_default, &fault_printer), 0);
}

SELFTEST_LAST(last_nothing_unexpected_was_reported)
{
    CHECK_EQUAL(reports_unexpected(), 0);
}
