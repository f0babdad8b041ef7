/*
 * selftest_last.c - all of memory, and what must be true at the end.
 *
 * Problem     Some faults show only when nothing is left: a reserved frame in the pool, a frame
 *             handed out twice, one that never comes back.
 * Idea        Take everything in large blocks, then in frames, then below 1 MiB. The list of what
 *             was taken lives in the memory itself. Each block is held against what the kernel
 *             knows to be in use, and stamped; the stamps are read again before the frees.
 */
#include "cpu.h"
#include "image.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "taken.h"
#include "walk.h"

#define STAMP_ALL_BELOW (256 * MIB) /* larger machines: a stamp per block, else the test is slow */

struct block_head {
    uint64_t next;   /* physical address of the next head, or NO_BLOCK */
    uint64_t frames; /* of this block */
    uint64_t stamp;  /* own address, mixed */
};

#define NO_BLOCK ~UINT64_C(0)

static struct block_head *head_of(uint64_t phys)
{
    struct block_head *head = mm_phys_pointer(&mm_default, mm_phys(phys));

    CHECK(head != NULL);
    return head;
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
}

static void stamp_rest(const struct block_head *head, uint64_t phys)
{
    for (uint64_t i = 1; i < head->frames; i++)
        test_direct(phys + i * MM_FRAME_BYTES)[0] = stamp_of(phys + i * MM_FRAME_BYTES);
}

static void check_stamps(const struct block_head *head, uint64_t phys, bool all)
{
    CHECK_EQUAL(head->stamp, stamp_of(phys));
    for (uint64_t i = 1; all && i < head->frames; i++)
        CHECK_EQUAL(test_direct(phys + i * MM_FRAME_BYTES)[0], stamp_of(phys + i * MM_FRAME_BYTES));
}

static uint64_t take_all(const struct mm_frame_request *request, uint64_t list, bool stamp_all)
{
    mm_phys_t phys;

    while (mm_pmm_alloc(&mm_default.pmm, request, &phys) == MM_OK) {
        uint64_t frames = UINT64_C(1) << request->order;
        struct block_head *head;

        check_not_taken(phys.raw, frames);
        head = head_of(phys.raw);
        *head = (struct block_head){list, frames, stamp_of(phys.raw)};
        if (stamp_all)
            stamp_rest(head, phys.raw);
        list = phys.raw;
    }
    return list;
}

static uint64_t count_frames(uint64_t list)
{
    uint64_t frames = 0;

    for (; list != NO_BLOCK; list = head_of(list)->next)
        frames += head_of(list)->frames;
    return frames;
}

static void give_all(uint64_t list, bool stamp_all)
{
    while (list != NO_BLOCK) {
        struct block_head *head = head_of(list);
        uint64_t next = head->next;
        uint64_t frames = head->frames;

        check_stamps(head, list, stamp_all);
        head->stamp = 0;
        test_free(list, frames);
        list = next;
    }
}

SELFTEST_LAST(last_all_memory_can_be_taken_and_comes_back)
{
    static const struct mm_frame_request requests[] = {
        {.order = MM_ORDER_2M},
        {.order = 4},
        {.order = 0},
        {.order = 0, .highest = MM_PHYS(0xfffff)},
    };
    struct mm_pmm_stats stats;
    uint64_t list = NO_BLOCK;
    bool stamp_all;
    void *block;

    snapshot_take(&snapshot_before);
    mm_pmm_get_stats(&mm_default.pmm, &stats);
    stamp_all = stats.managed_frames * MM_FRAME_BYTES < STAMP_ALL_BELOW;
    for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        list = take_all(&requests[i], list, stamp_all);
    CHECK_EQUAL(mm_pmm_free_frames(&mm_default.pmm), 0);
    CHECK_EQUAL(count_frames(list), stats.free_frames);
    block = mm_heap_alloc(&mm_default.heap, 100000); /* nothing left for the other layers */
    CHECK(block == NULL);
    CHECK_EQUAL(test_try_map(TEST_LOW, 0x1000, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_NO_MEMORY);
    CHECK(taken_changed() == NULL);
    give_all(list, stamp_all);
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
