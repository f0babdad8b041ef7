/*
 * selftest_vmm.c - page tables: what the calls say and what the tables then contain.
 *
 * Problem     The library's own queries can agree with each other and be wrong together.
 * Idea        Compare with a walk of the tables by other code (walk.c) and with memory accesses.
 *             Every test maps, unmaps and then finds each frame as it was, tables included.
 */
#include "cpu.h"
#include "fault.h"
#include "memory.h"
#include "selftest_tools.h"
#include "snapshot.h"
#include "walk.h"

#define KERNEL (&mm_default.kernel)

static enum mm_err try_unmap(uint64_t virt, uint64_t bytes, uint32_t flags)
{
    return mm_space_unmap(KERNEL, mm_virt(virt), bytes, flags, NULL, NULL);
}

/* libmm and the walk agree on where `virt` leads and with which rights. */
static void check_agreement(uint64_t virt)
{
    struct mm_translation to;
    enum mm_err err = mm_space_translate(KERNEL, mm_virt(virt), &to, NULL);
    struct walk walk;

    walk_tables(virt, &walk);
    CHECK_EQUAL(err, walk.mapped ? MM_OK : MM_ERR_NOT_FOUND);
    if (!walk.mapped)
        return;
    CHECK_EQUAL(to.phys.raw, walk.phys);
    CHECK_EQUAL(to.leaf_bytes, walk.leaf_bytes);
    CHECK_EQUAL((to.prot & MM_PROT_WRITE) != 0, walk.write);
    CHECK_EQUAL((to.prot & MM_PROT_EXEC) != 0, walk.execute);
    CHECK_EQUAL((to.prot & MM_PROT_USER) != 0, walk.user);
}

static void check_mapped(uint64_t virt, uint64_t phys, uint32_t prot)
{
    struct walk walk;

    walk_tables(virt, &walk);
    CHECK(walk.mapped);
    CHECK_EQUAL(walk.phys, phys);
    CHECK_EQUAL(walk.write, (prot & MM_PROT_WRITE) != 0);
    CHECK_EQUAL(walk.execute, (prot & MM_PROT_EXEC) != 0);
    check_agreement(virt);
}

static unsigned vmm_levels(void)
{
    return mm_default.vmm.paging.levels;
}

/* Maps a page at one edge of what so many levels can translate, and the page beyond it: refused. */
static void check_edge(uint64_t inside, uint64_t outside, uint64_t frame)
{
    test_map(inside, frame, MM_FRAME_BYTES, MM_PROT_READ);
    check_mapped(inside, frame, MM_PROT_READ);
    CHECK_EQUAL(test_read(inside), test_direct(frame)[0]);
    test_unmap(inside, MM_FRAME_BYTES);
    CHECK_EQUAL(test_try_map(outside, frame, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_RANGE);
    CHECK_EQUAL(mm_space_translate(KERNEL, mm_virt(outside), &(struct mm_translation){0}, NULL),
                MM_ERR_RANGE);
}

/* boot.S has set what the command line asks for; libmm must have read it from CR4, since the CPU
 * may be able to do more. */
SELFTEST(vmm_levels_are_what_was_asked)
{
    const unsigned asked = memory_has_word("levels=5") ? 5 : 4;
    const uint64_t half = UINT64_C(1) << (12 + 9 * asked - 1); /* bytes of either half */
    uint64_t frame = test_frame();
    struct mm_walk_step steps[MM_WALK_STEPS];

    CHECK_EQUAL(read_cr4() & CR4_LA57 ? 5 : 4, asked);
    CHECK_EQUAL(vmm_levels(), asked);
    CHECK(mm_space_walk(KERNEL, mm_virt((uintptr_t)&selftest_run_all), steps) > 0);
    CHECK_EQUAL(steps[0].level, asked);
    CHECK_EQUAL(steps[0].table.raw, KERNEL->root.raw);
    test_direct(frame)[0] = asked;
    snapshot_take(&snapshot_before);
    check_edge(half - MM_FRAME_BYTES, half, frame);
    check_edge(0 - half, 0 - half - MM_FRAME_BYTES, frame);
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
}

SELFTEST(vmm_maps_in_both_halves)
{
    static const uint64_t places[] = {TEST_LOW, TEST_HIGH, TEST_LOW + 511 * MM_FRAME_BYTES};
    uint64_t frame = test_frame();

    snapshot_take(&snapshot_before);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        test_map(places[i], frame, MM_FRAME_BYTES, MM_PROT_RW);
        check_mapped(places[i] + 0x123, frame + 0x123, MM_PROT_RW);
        test_write(places[i] + 8, i);
        CHECK_EQUAL(test_direct(frame)[1], i);
        test_unmap(places[i], MM_FRAME_BYTES);
        check_agreement(places[i]);
        test_read_faults(places[i], 0);
    }
    CHECK(snapshot_unchanged()); /* the tables are back too */
    test_free(frame, 1);
}

SELFTEST(vmm_agrees_with_a_walk_by_other_code)
{
    uint64_t seed = 2;
    mm_virt_t cursor = mm_virt(0);
    struct mm_space_run run;

    while (mm_space_query(KERNEL, &cursor, mm_virt(0), &run) == MM_OK) {
        uint64_t last = run.virt.raw + run.bytes - 1;

        check_mapped(run.virt.raw, run.phys.raw, run.prot);
        check_mapped(last, run.phys.raw + run.bytes - 1, run.prot);
        for (unsigned i = 0; i < 20; i++)
            check_agreement(run.virt.raw + test_random(&seed) % run.bytes);
        if (last != ~UINT64_C(0))
            check_agreement(last + 1);
    }
}

SELFTEST(vmm_shows_the_walk)
{
    uint64_t frame = test_frame();
    struct mm_walk_step steps[MM_WALK_STEPS];
    struct walk walk;
    unsigned count;

    test_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_READ);
    count = mm_space_walk(KERNEL, mm_virt(TEST_LOW), steps);
    walk_tables(TEST_LOW, &walk);
    CHECK_EQUAL(count, walk.top);
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQUAL(steps[i].level, walk.top - i);
        CHECK_EQUAL(steps[i].entry, walk.entry[walk.top - i]);
        CHECK_EQUAL(steps[i].table.raw, walk.table[walk.top - i]);
    }
    test_unmap(TEST_LOW, MM_FRAME_BYTES);
    test_free(frame, 1);
}

/* Crosses table boundaries at both ends: 700 pages from the last but 100 of a table. */
SELFTEST(vmm_maps_ranges_across_tables)
{
    uint64_t virt = TEST_LOW + 2 * MIB - 100 * MM_FRAME_BYTES;
    uint64_t run = test_run(700);
    struct mm_space_run seen;
    mm_virt_t cursor = mm_virt(TEST_LOW);

    snapshot_take(&snapshot_before);
    test_map(virt, run, 700 * MM_FRAME_BYTES, MM_PROT_RW);
    for (uint64_t i = 0; i < 700; i++) {
        test_direct(run + i * MM_FRAME_BYTES)[3] = i;
        CHECK_EQUAL(test_read(virt + i * MM_FRAME_BYTES + 24), i);
    }
    CHECK(mm_space_query(KERNEL, &cursor, mm_virt(0), &seen) == MM_OK);
    CHECK_EQUAL(seen.virt.raw, virt);
    CHECK_EQUAL(seen.bytes, 700 * MM_FRAME_BYTES);
    CHECK_EQUAL(seen.phys.raw, run);
    CHECK_EQUAL(seen.prot, MM_PROT_RW);
    CHECK_EQUAL(cursor.raw, virt + 700 * MM_FRAME_BYTES);
    test_unmap(virt + 50 * MM_FRAME_BYTES, 600 * MM_FRAME_BYTES);
    CHECK_EQUAL(try_unmap(virt, 700 * MM_FRAME_BYTES, 0), MM_ERR_NOT_FOUND);
    CHECK(!probe_read(virt).hit && probe_read(virt + 50 * MM_FRAME_BYTES).hit);
    CHECK_EQUAL(try_unmap(virt, 700 * MM_FRAME_BYTES, MM_RANGE_HOLES), MM_OK);
    CHECK(snapshot_unchanged());
    test_free(run, 700);
}

SELFTEST(vmm_splits_a_large_page)
{
    uint64_t block = test_block(MM_ORDER_2M);
    uint64_t virt = TEST_LOW + 4 * MIB;
    uint64_t middle = virt + 77 * MM_FRAME_BYTES;
    struct walk walk;

    snapshot_take(&snapshot_before);
    test_map(virt, block, 2 * MIB, MM_PROT_RW);
    walk_tables(virt, &walk);
    CHECK_EQUAL(walk.leaf_bytes, 2 * MIB);
    for (uint64_t i = 0; i < 512; i++)
        test_write(virt + i * MM_FRAME_BYTES, i);

    test_protect(middle, MM_FRAME_BYTES, MM_PROT_READ);
    test_write_faults(middle, FAULT_PRESENT | FAULT_WRITE);
    CHECK(!probe_write(middle - 8, 1).hit && !probe_write(middle + MM_FRAME_BYTES + 8, 1).hit);
    test_unmap(middle + 9 * MM_FRAME_BYTES, MM_FRAME_BYTES);
    test_read_faults(middle + 9 * MM_FRAME_BYTES, 0);
    for (uint64_t i = 0; i < 512; i++) {
        if (i != 86) {
            CHECK_EQUAL(test_read(virt + i * MM_FRAME_BYTES), i);
            check_mapped(virt + i * MM_FRAME_BYTES, block + i * MM_FRAME_BYTES,
                         i == 77 ? MM_PROT_READ : MM_PROT_RW);
        }
    }
    CHECK_EQUAL(try_unmap(virt, 2 * MIB, MM_RANGE_HOLES), MM_OK);
    CHECK(snapshot_unchanged());
    test_free(block, 512);
}

SELFTEST(vmm_keeps_small_pages_when_asked)
{
    uint64_t block = test_block(MM_ORDER_2M);
    struct mm_map_request request = {.virt = mm_virt(TEST_LOW),
                                     .bytes = 2 * MIB,
                                     .phys = mm_phys(block),
                                     .prot = MM_PROT_RW,
                                     .flags = MM_MAP_SMALL};
    struct walk walk;

    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_space_map(KERNEL, &request, NULL), MM_OK);
    walk_tables(TEST_LOW + MIB, &walk);
    CHECK_EQUAL(walk.leaf_bytes, MM_FRAME_BYTES);
    test_unmap(TEST_LOW, 2 * MIB);
    CHECK(snapshot_unchanged());
    test_free(block, 512);
}

SELFTEST(vmm_frees_tables_that_become_empty)
{
    struct mm_space_stats before, during, after;
    unsigned tables = test_tables_missing(TEST_LOW);
    uint64_t frame = test_frame();

    mm_space_get_stats(KERNEL, &before);
    snapshot_take(&snapshot_before);
    for (uint64_t i = 0; i < 8; i++) /* a table of its own for each page */
        test_map(TEST_LOW + i * 2 * MIB, frame, MM_FRAME_BYTES, MM_PROT_READ);
    mm_space_get_stats(KERNEL, &during);
    CHECK_EQUAL(during.tables,
                before.tables + tables + 7); /* a level-1 table for each of the others */
    CHECK_EQUAL(during.mapped_frames, before.mapped_frames + 8);
    for (uint64_t i = 0; i < 8; i++)
        test_unmap(TEST_LOW + i * 2 * MIB, MM_FRAME_BYTES);
    mm_space_get_stats(KERNEL, &after);
    CHECK_EQUAL(after.tables, before.tables);
    CHECK_EQUAL(after.mapped_frames, before.mapped_frames);
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
}

SELFTEST(vmm_refuses_what_is_wrong)
{
    uint64_t frame = test_frame();

    snapshot_take(&snapshot_before);
    CHECK_EQUAL(test_try_map(TEST_LOW + 8, frame, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_BAD_ARG);
    CHECK_EQUAL(test_try_map(TEST_LOW, frame + 8, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_BAD_ARG);
    CHECK_EQUAL(test_try_map(TEST_LOW, frame, 0, MM_PROT_READ), MM_ERR_BAD_ARG);
    CHECK_EQUAL(test_try_map(TEST_LOW, frame, 100, MM_PROT_READ), MM_ERR_BAD_ARG);
    CHECK_EQUAL(test_try_map(UINT64_C(1) << 63, frame, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_RANGE);
    CHECK_EQUAL(test_try_map(TEST_LOW, UINT64_C(1) << 52, MM_FRAME_BYTES, MM_PROT_READ),
                MM_ERR_RANGE);
    CHECK_EQUAL(test_try_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_RW | MM_PROT_EXEC),
                MM_ERR_POLICY);
    CHECK_EQUAL(test_try_map(TEST_HIGH, frame, MM_FRAME_BYTES, MM_PROT_RW | MM_PROT_USER),
                MM_ERR_POLICY);
    CHECK_EQUAL(test_try_map(0, frame, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_POLICY);
    CHECK_EQUAL(try_unmap(TEST_LOW, MM_FRAME_BYTES, 0), MM_ERR_NOT_FOUND);
    CHECK_EQUAL(try_unmap(TEST_LOW, MM_FRAME_BYTES, MM_RANGE_HOLES), MM_OK);
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
}

SELFTEST(vmm_protect_refuses_writable_and_executable)
{
    uint64_t frame = test_frame();

    test_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_RX);
    CHECK_EQUAL(mm_space_protect(KERNEL, mm_virt(TEST_LOW), MM_FRAME_BYTES,
                                 MM_PROT_RW | MM_PROT_EXEC, 0, NULL, NULL),
                MM_ERR_POLICY);
    check_mapped(TEST_LOW, frame, MM_PROT_RX);
    test_unmap(TEST_LOW, MM_FRAME_BYTES);
    test_free(frame, 1);
}

SELFTEST(vmm_tells_what_is_in_the_way)
{
    uint64_t run = test_run(8);
    struct mm_map_request request = {.virt = mm_virt(TEST_LOW),
                                     .bytes = 8 * MM_FRAME_BYTES,
                                     .phys = mm_phys(run),
                                     .prot = MM_PROT_READ};
    struct mm_space_fail fail = {0};
    struct walk walk;

    test_map(TEST_LOW + 5 * MM_FRAME_BYTES, run, MM_FRAME_BYTES, MM_PROT_READ);
    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_space_map(KERNEL, &request, &fail), MM_ERR_EXISTS);
    walk_tables(TEST_LOW + 5 * MM_FRAME_BYTES, &walk);
    CHECK_EQUAL(fail.virt.raw, TEST_LOW + 5 * MM_FRAME_BYTES);
    CHECK_EQUAL(fail.level, 1);
    CHECK_EQUAL(fail.entry, walk.entry[1]);
    CHECK_EQUAL(fail.err, MM_ERR_EXISTS);
    CHECK(probe_read(TEST_LOW).hit); /* all or nothing */
    CHECK(snapshot_unchanged());
    test_unmap(TEST_LOW + 5 * MM_FRAME_BYTES, MM_FRAME_BYTES);
    test_free(run, 8);
}

/* A frame source that fails at the n-th request. */
static struct {
    struct mm_frame_source real;
    unsigned until_failure;
} scarce;

static enum mm_err scarce_alloc(void *context, mm_phys_t *out)
{
    (void)context;
    if (scarce.until_failure == 0)
        return MM_ERR_NO_MEMORY;
    scarce.until_failure--;
    return scarce.real.alloc(scarce.real.context, out);
}

static void scarce_free(void *context, mm_phys_t frame)
{
    (void)context;
    scarce.real.free(scarce.real.context, frame);
}

static bool scarce_owns(void *context, mm_phys_t frame)
{
    (void)context;
    return !scarce.real.owns || scarce.real.owns(scarce.real.context, frame);
}

static enum mm_err scarce_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    (void)context;
    return scarce.real.tag(scarce.real.context, frame, out);
}

SELFTEST(vmm_fails_whole_at_every_table)
{
    struct mm_frame_source source = {scarce_alloc, scarce_free, scarce_owns, scarce_tag, NULL};
    uint64_t virt = TEST_LOW + 1024 * MIB - 4 * MM_FRAME_BYTES; /* crosses two level-3 slots */
    uint64_t run = test_run(8);
    enum mm_err err = MM_ERR_NO_MEMORY;
    unsigned tables = test_tables_missing(virt) + 2; /* one of levels 2 and 1 in either slot */
    unsigned failures = 0;

    scarce.real = mm_default.vmm.tables;
    snapshot_take(&snapshot_before);
    for (; err == MM_ERR_NO_MEMORY && failures < 20; failures++) {
        scarce.until_failure = UINT32_MAX;
        mm_vmm_set_sources(&mm_default.vmm, &source, &mm_default.pmm); /* takes one, to see */
        scarce.until_failure = failures;
        err = test_try_map(virt, run, 8 * MM_FRAME_BYTES, MM_PROT_READ);
        mm_vmm_set_sources(&mm_default.vmm, &scarce.real, &mm_default.pmm);
        if (err == MM_ERR_NO_MEMORY)
            CHECK(snapshot_unchanged());
    }
    CHECK_EQUAL(err, MM_OK);
    CHECK_EQUAL(failures, tables + 1);
    test_unmap(virt, 8 * MM_FRAME_BYTES);
    CHECK(snapshot_unchanged());
    test_free(run, 8);
}

SELFTEST(vmm_keeps_to_a_table_limit)
{
    uint64_t frame = test_frame();

    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_space_set_limit(KERNEL, KERNEL->table_count + 2), MM_OK);
    CHECK_EQUAL(test_try_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_READ), MM_ERR_LIMIT);
    CHECK_EQUAL(mm_space_set_limit(KERNEL, 1), MM_ERR_LIMIT);
    CHECK_EQUAL(mm_space_set_limit(KERNEL, 0), MM_OK);
    CHECK(snapshot_unchanged());
    test_map(TEST_LOW, frame, MM_FRAME_BYTES, MM_PROT_READ);
    test_unmap(TEST_LOW, MM_FRAME_BYTES);
    test_free(frame, 1);
}

static void use_user_space(struct mm_space *user, uint64_t frame)
{
    uint64_t virt = UINT64_C(0x400000);
    struct mm_map_request request = {.virt = mm_virt(virt),
                                     .bytes = MM_FRAME_BYTES,
                                     .phys = mm_phys(frame),
                                     .prot = MM_PROT_RW | MM_PROT_USER};
    void *pointer = NULL;
    struct walk walk;

    CHECK_EQUAL(mm_space_map(user, &request, NULL), MM_OK);
    test_read_faults(virt, 0); /* not in the kernel's own space */
    CHECK_EQUAL(mm_space_activate(user), MM_OK);
    walk_tables(virt, &walk);
    CHECK(walk.mapped && walk.user && walk.phys == frame);
    test_direct(frame)[0] = 4711;
    CHECK_EQUAL(mm_space_destroy(user), MM_ERR_BUSY);
    CHECK_EQUAL(test_read(virt), 4711);
    CHECK_EQUAL(mm_kmap(&mm_default.area, mm_phys(frame), 8, MM_MEMTYPE_WB, &pointer), MM_OK);
    CHECK_EQUAL(*(uint64_t *)pointer, 4711); /* the kernel half is shared, both ways */
    CHECK_EQUAL(mm_space_activate(KERNEL), MM_OK);
    test_read_faults(virt, 0);
    CHECK_EQUAL(*(uint64_t *)pointer, 4711);
    CHECK_EQUAL(mm_kunmap(&mm_default.area, pointer), MM_OK);
    request.virt = mm_virt(TEST_HIGH);
    CHECK_EQUAL(mm_space_map(user, &request, NULL), MM_ERR_POLICY);
}

SELFTEST_OWN_ROOT(vmm_switches_spaces)
{
    static struct mm_space user;
    uint64_t frame = test_frame();

    /* The first user space fixes what all share; that may take tables for good. */
    CHECK_EQUAL(mm_space_create(&mm_default.vmm, &user, 0), MM_OK);
    CHECK_EQUAL(mm_space_destroy(&user), MM_OK);
    test_use_arena();
    snapshot_take(&snapshot_before);
    CHECK_EQUAL(mm_space_create(&mm_default.vmm, &user, 0), MM_OK);
    interrupts_off();
    use_user_space(&user, frame);
    interrupts_on();
    CHECK_EQUAL(mm_space_check(&user, &fault_printer), 0);
    CHECK_EQUAL(mm_space_destroy(&user), MM_OK);
    CHECK(snapshot_unchanged());
    test_free(frame, 1);
}
