/*
 * selftest_tlb.c - the CPU must not go on using translations that are gone.
 *
 * Problem     A missing flush is invisible in the tables: only the CPU's cache of translations
 *             (TLB) is wrong, and only for addresses that were used before.
 * Idea        Use every address, change its mapping, use it again at once. QEMU's software
 *             emulation keeps stale entries as hardware does. For frees that come too early, give
 *             the library a frame source that looks, at the moment of each free, whether the old
 *             address still works or a table still leads to the frame.
 */
#include "fault.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "walk.h"

#define PAGES_MAX 600

static void stamp(uint64_t run, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        test_direct(run + i * MM_FRAME_BYTES)[0] = i;
}

static void check_gone(uint64_t virt, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        test_read_faults(virt + i * MM_FRAME_BYTES, 0);
}

/* Pages are mapped in order, used, unmapped in one call, and mapped in reverse order. */
static void remap(struct mm_space *space, uint64_t virt, uint64_t run, uint64_t pages)
{
    test_map_in(space, virt, run, pages * MM_FRAME_BYTES, MM_PROT_RW);
    for (uint64_t i = 0; i < pages; i++)
        CHECK_EQUAL(test_read(virt + i * MM_FRAME_BYTES), i);
    test_unmap_in(space, virt, pages * MM_FRAME_BYTES);
    check_gone(virt, pages);
    for (uint64_t i = 0; i < pages; i++)
        test_map_in(space, virt + i * MM_FRAME_BYTES, run + (pages - 1 - i) * MM_FRAME_BYTES,
                    MM_FRAME_BYTES, MM_PROT_RW);
    for (uint64_t i = 0; i < pages; i++)
        CHECK_EQUAL(test_read(virt + i * MM_FRAME_BYTES), pages - 1 - i);
    test_unmap_in(space, virt, pages * MM_FRAME_BYTES);
    check_gone(virt, pages);
}

/* The numbers lie around the sizes at which flushes are batched, and around a table. */
static void remap_all_sizes(struct mm_space *space, uint64_t virt)
{
    static const uint64_t sizes[] = {1, 2, 31, 32, 33, 63, 65, 511, 513, PAGES_MAX};
    uint64_t run = test_run(PAGES_MAX);

    stamp(run, PAGES_MAX);
    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        remap(space, virt, run, sizes[i]);
    CHECK(snapshot_unchanged());
    test_free(run, PAGES_MAX);
}

SELFTEST(tlb_remap_is_seen_at_once_in_the_low_half)
{
    remap_all_sizes(&mm_default.kernel, TEST_LOW + 7 * MM_FRAME_BYTES);
}

SELFTEST(tlb_remap_is_seen_at_once_in_the_kernel_half)
{
    remap_all_sizes(&mm_default.kernel, TEST_HIGH + 2 * MIB - 3 * MM_FRAME_BYTES);
}

SELFTEST(tlb_remap_is_seen_at_once_in_a_user_space)
{
    static struct mm_space user;

    CHECK_EQUAL(mm_space_create(&mm_default.vmm, &user, 0), MM_OK);
    CHECK_EQUAL(mm_space_activate(&user), MM_OK);
    remap_all_sizes(&user, TEST_LOW + 7 * MM_FRAME_BYTES);
    CHECK_EQUAL(mm_space_activate(&mm_default.kernel), MM_OK);
    CHECK_EQUAL(mm_space_destroy(&user), MM_OK);
}

/* What was used in one space must not be seen in the next that is loaded. */
SELFTEST(tlb_holds_nothing_of_another_space)
{
    static struct mm_space user[2];
    uint64_t run = test_run(2);

    stamp(run, 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQUAL(mm_space_create(&mm_default.vmm, &user[i], 0), MM_OK);
        test_map_in(&user[i], TEST_LOW, run + i * MM_FRAME_BYTES, MM_FRAME_BYTES, MM_PROT_RW);
    }
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQUAL(mm_space_activate(&user[i % 2]), MM_OK);
        CHECK_EQUAL(test_read(TEST_LOW), i % 2);
    }
    test_unmap_in(&user[0], TEST_LOW, MM_FRAME_BYTES); /* not loaded now, but was */
    CHECK_EQUAL(mm_space_activate(&user[0]), MM_OK);
    test_read_faults(TEST_LOW, 0);
    CHECK_EQUAL(mm_space_activate(&mm_default.kernel), MM_OK);
    test_read_faults(TEST_LOW, 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQUAL(mm_space_destroy(&user[i]), MM_OK);
    test_free(run, 2);
}

static void lower_rights(uint64_t virt, uint64_t pages)
{
    uint64_t bytes = pages * MM_FRAME_BYTES;

    for (uint64_t at = virt; at < virt + bytes; at += MM_FRAME_BYTES)
        CHECK(!probe_write(at + 8, 1).hit);
    test_protect(virt, bytes, MM_PROT_READ);
    for (uint64_t at = virt; at < virt + bytes; at += MM_FRAME_BYTES)
        test_write_faults(at + 8, FAULT_PRESENT | FAULT_WRITE);
    test_protect(virt, bytes, MM_PROT_RW);
    for (uint64_t at = virt; at < virt + bytes;
         at += MM_FRAME_BYTES) /* may fault once for nothing */
        CHECK(!probe_write(at + 8, 1).hit || !probe_write(at + 8, 1).hit);
}

SELFTEST(tlb_read_only_is_enforced_at_once)
{
    uint64_t run = test_run(PAGES_MAX);

    test_map(TEST_LOW, run, PAGES_MAX * MM_FRAME_BYTES, MM_PROT_RW);
    test_map(TEST_HIGH, run, PAGES_MAX * MM_FRAME_BYTES, MM_PROT_RW);
    lower_rights(TEST_LOW, 1);
    lower_rights(TEST_LOW, 40);
    lower_rights(TEST_LOW, PAGES_MAX);
    lower_rights(TEST_HIGH + 5 * MM_FRAME_BYTES, 3);
    lower_rights(TEST_HIGH, PAGES_MAX);
    test_unmap(TEST_LOW, PAGES_MAX * MM_FRAME_BYTES);
    test_unmap(TEST_HIGH, PAGES_MAX * MM_FRAME_BYTES);
    test_free(run, PAGES_MAX);
}

SELFTEST(tlb_no_execute_is_enforced_at_once)
{
    uint64_t frame = test_frame();

    *(volatile uint8_t *)test_direct(frame) = 0xc3; /* ret */
    test_map(TEST_HIGH, frame, MM_FRAME_BYTES, MM_PROT_RW);
    test_fetch_faults(TEST_HIGH, FAULT_PRESENT | FAULT_FETCH);
    test_protect(TEST_HIGH, MM_FRAME_BYTES, MM_PROT_RX);
    CHECK(!probe_fetch(TEST_HIGH).hit || !probe_fetch(TEST_HIGH).hit);
    test_write_faults(TEST_HIGH, FAULT_PRESENT | FAULT_WRITE);
    test_protect(TEST_HIGH, MM_FRAME_BYTES, MM_PROT_READ);
    test_fetch_faults(TEST_HIGH, FAULT_PRESENT | FAULT_FETCH);
    test_unmap(TEST_HIGH, MM_FRAME_BYTES);
    test_fetch_faults(TEST_HIGH, FAULT_FETCH);
    test_free(frame, 1);
}

/* A level-2 entry changes from table to large page and back. */
SELFTEST(tlb_sees_table_and_large_page_change_places)
{
    uint64_t block = test_block(MM_ORDER_2M);
    uint64_t frame = test_frame();

    snapshot_take(&snapshot_before);
    stamp(block, 512);
    test_direct(frame)[0] = 1000;
    for (unsigned round = 0; round < 3; round++) {
        test_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_RW);
        CHECK_EQUAL(test_read(TEST_LOW), 1000);
        test_unmap(TEST_LOW, MM_FRAME_BYTES);
        test_map(TEST_LOW, block, 2 * MIB, MM_PROT_RW);
        for (uint64_t i = 0; i < 512; i++)
            CHECK_EQUAL(test_read(TEST_LOW + i * MM_FRAME_BYTES), i);
        test_unmap(TEST_LOW, 2 * MIB);
        for (uint64_t i = 0; i < 512; i += 37)
            test_read_faults(TEST_LOW + i * MM_FRAME_BYTES, 0);
    }
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
    test_free(block, 512);
}

/* Stands between the VMM and the PMM and looks at each table frame that is freed. */
static struct {
    struct mm_frame_source real;
    uint64_t virt;      /* was mapped and used; is being unmapped */
    uint64_t bytes;     /* looked at page by page */
    unsigned freed;     /* table frames given back */
    unsigned usable;    /* of these, while some address still worked */
    unsigned reachable; /* of these, while still in the tables */
} watch;

static enum mm_err watch_alloc(void *context, mm_phys_t *out)
{
    (void)context;
    return watch.real.alloc(watch.real.context, out);
}

static bool leads_to(uint64_t virt, uint64_t frame)
{
    struct walk walk;

    walk_tables(virt, &walk);
    for (unsigned level = walk.top; level >= walk.last; level--) {
        if (walk.table[level] == frame)
            return true;
    }
    return false;
}

static void watch_free(void *context, mm_phys_t frame)
{
    bool usable = false;
    bool reachable = false;

    (void)context;
    for (uint64_t at = watch.virt; at < watch.virt + watch.bytes; at += MM_FRAME_BYTES) {
        usable |= !probe_read(at).hit;
        reachable |= leads_to(at, frame.raw);
    }
    watch.freed++;
    watch.usable += usable;
    watch.reachable += reachable;
    watch.real.free(watch.real.context, frame);
}

static bool watch_owns(void *context, mm_phys_t frame)
{
    (void)context;
    return !watch.real.owns || watch.real.owns(watch.real.context, frame);
}

static enum mm_err watch_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    (void)context;
    return watch.real.tag(watch.real.context, frame, out);
}

static void watch_unmap(uint64_t virt, uint64_t bytes)
{
    struct mm_frame_source source = {watch_alloc, watch_free, watch_owns, watch_tag, NULL};
    enum mm_err err;

    watch.real = mm_default.vmm.tables;
    watch.virt = virt;
    watch.bytes = bytes;
    for (uint64_t at = virt; at < virt + bytes; at += MM_FRAME_BYTES)
        (void)test_read(at);
    mm_vmm_set_sources(&mm_default.vmm, &source, &mm_default.pmm); /* takes and frees one, to see */
    watch.freed = watch.usable = watch.reachable = 0;
    err = mm_space_unmap(&mm_default.kernel, mm_virt(virt), bytes, 0, NULL, NULL);
    mm_vmm_set_sources(&mm_default.vmm, &watch.real, &mm_default.pmm);
    CHECK_EQUAL(err, MM_OK);
    CHECK_EQUAL(watch.usable, 0);
    CHECK_EQUAL(watch.reachable, 0);
}

SELFTEST(tlb_tables_are_freed_after_the_flush)
{
    uint64_t run = test_run(PAGES_MAX);
    uint64_t virt = TEST_LOW + 2 * MIB - 44 * MM_FRAME_BYTES;
    unsigned tables = test_tables_missing(TEST_LOW);

    CHECK(tables >= 3);
    snapshot_take(&snapshot_before);
    test_map(TEST_LOW, run, MM_FRAME_BYTES, MM_PROT_RW);
    watch_unmap(TEST_LOW, MM_FRAME_BYTES);
    CHECK_EQUAL(watch.freed, tables);
    test_map(virt, run, PAGES_MAX * MM_FRAME_BYTES, MM_PROT_RW);
    watch_unmap(virt, PAGES_MAX * MM_FRAME_BYTES);
    CHECK_EQUAL(watch.freed, tables + 2); /* two more of level 1 */
    CHECK(snapshot_unchanged());
    test_free(run, PAGES_MAX);
}

static enum mm_frame_state state_of(uint64_t frame)
{
    struct mm_frame_info info;

    mm_pmm_query(&mm_default.pmm, mm_phys(frame), &info);
    return info.state;
}

/* The kernel's own frames go through a gather: allocated until its end, free and gone after. */
SELFTEST(tlb_gather_frees_frames_after_the_flush)
{
    static struct mm_gather gather;
    uint64_t frame;

    snapshot_take(&snapshot_before);
    frame = test_frame();
    test_map(TEST_HIGH, frame, MM_FRAME_BYTES, MM_PROT_RW);
    test_write(TEST_HIGH, 12);
    mm_gather_begin(&gather, &mm_default.kernel);
    CHECK_EQUAL(
        mm_space_unmap(&mm_default.kernel, mm_virt(TEST_HIGH), MM_FRAME_BYTES, 0, &gather, NULL),
        MM_OK);
    mm_gather_frames(&gather, mm_phys(frame), 1);
    CHECK_EQUAL(state_of(frame), MM_FRAME_ALLOCATED);
    mm_gather_end(&gather);
    CHECK_EQUAL(state_of(frame), MM_FRAME_FREE);
    test_read_faults(TEST_HIGH, 0);
    CHECK(snapshot_unchanged());
}

static struct {
    uint64_t virt;
    unsigned calls, usable, failures;
} released;

static void release(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)context;
    released.calls++;
    released.usable += !probe_read(released.virt).hit;
    released.failures += mm_pmm_free(&mm_default.pmm, first, count_frames) != MM_OK;
}

SELFTEST(tlb_gather_releases_after_the_flush)
{
    static struct mm_gather gather;
    uint64_t frame;

    snapshot_take(&snapshot_before);
    frame = test_frame();
    test_map(TEST_HIGH, frame, MM_FRAME_BYTES, MM_PROT_RW);
    test_write(TEST_HIGH, 13);
    released.virt = TEST_HIGH;
    released.calls = released.usable = released.failures = 0;
    mm_gather_begin(&gather, &mm_default.kernel);
    mm_gather_set_release(&gather, release, NULL);
    CHECK_EQUAL(
        mm_space_unmap(&mm_default.kernel, mm_virt(TEST_HIGH), MM_FRAME_BYTES, 0, &gather, NULL),
        MM_OK);
    mm_gather_frames(&gather, mm_phys(frame), 1);
    mm_gather_end(&gather);
    CHECK_EQUAL(released.calls, 1);
    CHECK_EQUAL(released.usable, 0);
    CHECK_EQUAL(released.failures, 0);
    CHECK(snapshot_unchanged());
}

/* More pages and runs than a gather holds: it must flush and go on. */
SELFTEST(tlb_gather_overflows_safely)
{
    static struct mm_gather gather;
    uint64_t frames[80];

    snapshot_take(&snapshot_before);
    for (uint64_t i = 0; i < 80; i++) {
        frames[i] = test_frame();
        test_map(TEST_HIGH + 2 * i * MM_FRAME_BYTES, frames[i], MM_FRAME_BYTES, MM_PROT_RW);
        test_write(TEST_HIGH + 2 * i * MM_FRAME_BYTES, i);
    }
    mm_gather_begin(&gather, &mm_default.kernel);
    for (uint64_t i = 0; i < 80; i++) {
        uint64_t virt = TEST_HIGH + 2 * i * MM_FRAME_BYTES;

        CHECK_EQUAL(
            mm_space_unmap(&mm_default.kernel, mm_virt(virt), MM_FRAME_BYTES, 0, &gather, NULL),
            MM_OK);
        mm_gather_frames(&gather, mm_phys(frames[i]), 1);
        for (uint64_t j = 0; j <= i; j++) /* whatever is free can no longer be reached */
            CHECK(state_of(frames[j]) != MM_FRAME_FREE ||
                  probe_read(TEST_HIGH + 2 * j * MM_FRAME_BYTES).hit);
    }
    mm_gather_end(&gather);
    for (uint64_t i = 0; i < 80; i++)
        test_read_faults(TEST_HIGH + 2 * i * MM_FRAME_BYTES, 0);
    CHECK(snapshot_unchanged());
}
