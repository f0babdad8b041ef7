/*
 * test_refused.c - every call of mm/vmm.h on what is no live object.
 *
 * Problem     A space that was zeroed, or destroyed, reaches calls through a race or a lost error
 *             code. Those that take no lock see it as well as the others.
 * Idea        One function for each call, one table of them, and the same three objects for all.
 */
#include "vmm_fixture.h"

static struct mm_space_fail fail;

/* What every call that has one must fill. */
static enum mm_err told(enum mm_err err)
{
    CHECK_EQ(fail.err, err);
    return err;
}

static enum mm_err call_map(struct mm_space *space)
{
    struct mm_map_request request = request_of(LOW, DATA, K4, MM_PROT_RW);

    return told(mm_space_map(space, &request, &fail));
}

static enum mm_err call_unmap(struct mm_space *space)
{
    return told(mm_space_unmap(space, mm_virt(LOW), K4, 0, NULL, &fail));
}

static enum mm_err call_unmap_gathered(struct mm_space *space)
{
    struct mm_gather gather;
    enum mm_err err;

    mm_gather_begin(&gather, space);
    err = mm_space_unmap(space, mm_virt(LOW), K4, MM_RANGE_HOLES, &gather, &fail);
    mm_gather_end(&gather);
    return told(err);
}

static enum mm_err call_protect(struct mm_space *space)
{
    return told(mm_space_protect(space, mm_virt(LOW), K4, MM_PROT_READ, 0, NULL, &fail));
}

static enum mm_err call_translate(struct mm_space *space)
{
    struct mm_translation to = {.leaf_bytes = 42};
    enum mm_err err = mm_space_translate(space, mm_virt(LOW), &to, &fail);

    CHECK_EQ(to.leaf_bytes, 42);
    return told(err);
}

static enum mm_err call_query(struct mm_space *space)
{
    struct mm_space_run run = {.bytes = 42};
    mm_virt_t cursor = mm_virt(0);
    enum mm_err err = mm_space_query(space, &cursor, mm_virt(0), &run);

    CHECK(run.bytes == 42 && cursor.raw == 0);
    return err;
}

static enum mm_err call_map_ram(struct mm_space *space)
{
    struct mm_memmap map = MM_ZERO;

    return told(mm_space_map_ram(space, &map, &fail));
}

static enum mm_err call_verify(struct mm_space *space)
{
    return told(mm_space_verify(space, &fail));
}

static enum mm_err call_activate(struct mm_space *space)
{
    mm_phys_t root = fake_cpu(0)->root;
    enum mm_err err = mm_space_activate(space);

    CHECK_EQ(fake_cpu(0)->root.raw, root.raw);
    return err;
}

static enum mm_err call_set_limit(struct mm_space *space)
{
    return mm_space_set_limit(space, 1000);
}

static enum mm_err call_set_frame_limit(struct mm_space *space)
{
    return mm_space_set_frame_limit(space, 1000);
}

static enum mm_err call_populate(struct mm_space *space)
{
    return told(mm_space_populate(space, mm_virt(LOW), K4, MM_PROT_RW, 0, &fail));
}

static enum mm_err call_harvest(struct mm_space *space)
{
    return told(mm_space_harvest(space, mm_virt(LOW), K4, MM_MARK_DIRTY, NULL, NULL, &fail));
}

static enum mm_err call_promote(struct mm_space *space)
{
    return told(mm_space_promote(space, mm_virt(LOW), M2, NULL, &fail));
}

static enum mm_err call_cursor(struct mm_space *space)
{
    struct mm_cursor cursor;

    return mm_cursor_begin(&cursor, space, MM_PROT_RW, MM_MEMTYPE_WB, 0, NULL);
}

/* Deferring it changes nothing. */
static enum mm_err call_unmap_deferred(struct mm_space *space)
{
    struct mm_gather gather;
    enum mm_err err;

    mm_gather_begin(&gather, space);
    mm_gather_defer(&gather);
    err = mm_space_unmap(space, mm_virt(LOW), K4, MM_RANGE_HOLES, &gather, &fail);
    mm_gather_end(&gather);
    (void)mm_reap(&fx.vmm);
    CHECK(mm_gather_is_done(&gather));
    return told(err);
}

static enum mm_err (*const calls[])(struct mm_space *space) = {
    call_map,
    call_unmap,
    call_unmap_gathered,
    call_protect,
    call_translate,
    call_query,
    call_map_ram,
    call_verify,
    call_activate,
    call_set_limit,
    call_set_frame_limit,
    call_populate,
    call_harvest,
    call_promote,
    call_cursor,
    mm_space_destroy,
    mm_space_destroy_later,
    call_unmap_deferred, /* last: it reaps */
};
#define CALLS (sizeof calls / sizeof calls[0])

/* The calls that answer with something else than a status. */
static void check_silent(struct mm_space *space)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    struct mm_space_stats stats;
    struct mm_gather gather;
    struct mm_cpuset set;

    memset(&stats, 0x55, sizeof stats);
    memset(&set, 0x55, sizeof set);
    CHECK_EQ(mm_space_walk(space, mm_virt(LOW), step), 0);
    mm_space_get_stats(space, &stats);
    CHECK(stats.tables == 0 && stats.mapped_frames == 0 && stats.leaf_1g == 0);
    mm_space_loaded_on(space, &set);
    for (unsigned i = 0; i < MM_CPUS_MAX / 64; i++)
        CHECK_EQ(set.bits[i], 0);
    CHECK_EQ(mm_space_check(space, NULL), 1);
    mm_gather_begin(&gather, space);
    mm_gather_end(&gather);
}

static void check_refused(struct mm_space *space, enum mm_err err)
{
    struct state before = state_of(&fx.kernel), after;

    for (size_t i = 0; i < CALLS; i++) {
        mm_test_row("call", i);
        memset(&fail, 0x55, sizeof fail);
        CHECK_ERR(calls[i](space), err);
    }
    check_silent(space);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
}

TEST(space_that_is_null_is_refused_by_every_call)
{
    fixture_start(4, true, 1);
    check_refused(NULL, MM_ERR_BAD_ARG);
    fixture_sound(&fx.kernel);
}

TEST(space_that_was_never_made_is_refused_by_every_call)
{
    struct mm_space space = MM_ZERO;

    fixture_start(4, true, 1);
    check_refused(&space, MM_ERR_BAD_ARG);
    fixture_sound(&fx.kernel);
}

TEST(space_that_was_destroyed_is_gone_for_every_call)
{
    struct mm_space space;

    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(map(&space, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_destroy(&space));
    check_refused(&space, MM_ERR_GONE);
    fixture_sound(&fx.kernel);
}

TEST(space_that_will_be_destroyed_is_gone_for_every_call)
{
    struct mm_space space;

    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &space, 0));
    CHECK_OK(map(&space, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_destroy_later(&space));
    for (size_t i = 0; i < CALLS - 1; i++) {
        mm_test_row("call", i);
        memset(&fail, 0x55, sizeof fail);
        CHECK_ERR(calls[i](&space), MM_ERR_GONE);
    }
    check_silent(&space);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    check_refused(&space, MM_ERR_GONE);
    fixture_sound(&fx.kernel);
}

/* The other pointers of the same calls, with a live space. */
TEST(space_calls_without_a_request_or_a_result_are_refused)
{
    struct mm_walk_step step[MM_WALK_STEPS];
    struct mm_translation to;
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    fixture_start(4, true, 1);
    CHECK_ERR(mm_space_map(&fx.kernel, NULL, &fail), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_translate(&fx.kernel, mm_virt(LOW), NULL, &fail), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_translate(NULL, mm_virt(LOW), &to, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_query(&fx.kernel, NULL, mm_virt(0), &run), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_query(&fx.kernel, &cursor, mm_virt(0), NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_map_ram(&fx.kernel, NULL, &fail), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_space_walk(&fx.kernel, mm_virt(LOW), NULL), 0);
    CHECK(mm_space_walk(&fx.kernel, mm_virt(LOW), step) > 0);
    mm_space_get_stats(&fx.kernel, NULL);
    mm_space_loaded_on(&fx.kernel, NULL);
    CHECK_EQ(mm_walk_format(NULL, 0, NULL), 0);
    fixture_sound(&fx.kernel);
}

TEST(vmm_that_is_null_or_was_never_made_is_refused_by_every_call)
{
    struct mm_vmm zeroed = MM_ZERO, *const vmm[] = {NULL, &zeroed};
    struct mm_frame_source source, none = MM_ZERO;
    struct mm_memmap map = MM_ZERO;
    struct mm_space space;

    fixture_start(4, true, 1);
    source = fx.vmm.tables;
    fake_interrupts(false);
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("vmm", i);
        CHECK_ERR(mm_cpu_init(vmm[i], 0), MM_ERR_BAD_ARG);
        CHECK_ERR(mm_cpu_exit(vmm[i], 0), MM_ERR_BAD_ARG);
        CHECK_ERR(mm_space_create(vmm[i], &space, MM_SPACE_KERNEL), MM_ERR_BAD_ARG);
        CHECK_ERR(mm_space_adopt(vmm[i], &space, &fail), MM_ERR_BAD_ARG);
        CHECK(mm_space_current(vmm[i]) == NULL);
        mm_vmm_set_sources(vmm[i], &source, NULL);
        mm_vmm_set_window(vmm[i], fake_window());
        mm_later_add(vmm[i], &(struct mm_later){NULL, NULL});
        CHECK_EQ(mm_test_report_count(), i + 1);
        CHECK_EQ(mm_reap(vmm[i]), 0);
    }
    CHECK(zeroed.tables.alloc == NULL && zeroed.window == NULL);
    CHECK_ERR(mm_vmm_init(NULL, &(struct mm_vmm_config){.cpu_count = 1}), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmm_init(&zeroed, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_create(&fx.vmm, NULL, 0), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_adopt(&fx.vmm, NULL, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmm_reserve_live(NULL, fake_window(), &fail), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmm_reserve_live(&map, NULL, &fail), MM_ERR_BAD_ARG);
    mm_vmm_set_sources(&fx.vmm, NULL, NULL);
    mm_vmm_set_sources(&fx.vmm, &none, NULL);
    mm_vmm_set_window(&fx.vmm, NULL);
    mm_layout_default(NULL);
    CHECK(fx.vmm.tables.alloc == source.alloc && fx.vmm.window == fake_window());
    fake_interrupts(true);
    fixture_sound(&fx.kernel);
}

TEST(gather_over_nothing_frees_nothing)
{
    struct mm_gather gather = MM_ZERO;
    struct mm_space zeroed = MM_ZERO;

    fixture_start(4, true, 1);
    mm_gather_begin(NULL, &fx.kernel);
    mm_gather_frames(NULL, mm_phys(RAM_START), 1);
    mm_gather_set_release(NULL, NULL, NULL);
    mm_gather_defer(NULL);
    mm_gather_end(NULL);
    CHECK(mm_gather_is_done(NULL));
    mm_gather_end(&gather);
    mm_gather_begin(&gather, &zeroed);
    mm_gather_frames(&gather, mm_phys(RAM_START), 1);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "gather of no space");
    mm_gather_end(&gather);
    CHECK_EQ(mm_test_report_count(), 1);
    mm_test_reports_clear();
    fixture_sound(&fx.kernel);
}

/* Roots of user spaces share the upper half only. */
TEST(user_space_beside_a_direct_map_in_the_lower_half_is_refused)
{
    struct mm_layout layout;
    struct mm_space user;

    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("layout", i);
        fake_reset();
        fixture_machine(4, true, 1);
        mm_layout_default(&layout);
        layout.user_end = mm_virt(LOW);
        if (i > 0)
            layout.direct_map.start = mm_virt(LOW);
        layout.direct_map.bytes = i == 2 ? 0 : GIB;
        fixture_vmm(&layout);
        fixture_cpu_init(0);
        CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
        CHECK_ERR(mm_space_create(&fx.vmm, &user, 0), i == 1 ? MM_ERR_UNSUPPORTED : MM_OK);
        CHECK_EQ(fx.frames.used, fx.kernel.table_count + (i == 1 ? 0 : 1));
    }
}
