/*
 * test_space.c - the VMM as an object, CPUs, and spaces: made, loaded, shared, destroyed.
 */
#include "vmm_fixture.h"

/* ---- the VMM ---- */

TEST(vmm_init_refuses_arguments_out_of_their_domain)
{
    struct mm_vmm_config good, config;
    struct mm_vmm vmm;

    fixture_machine(4, true, 1);
    good = (struct mm_vmm_config){
        .tables = mm_test_frame_source(&fx.frames), .window = fake_window(), .cpu_count = 1};
    CHECK_OK(mm_vmm_init(&vmm, &good));
    CHECK_ERR(mm_vmm_init(NULL, &good), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_vmm_init(&vmm, NULL), MM_ERR_BAD_ARG);
    config = good;
    config.cpu_count = 0;
    CHECK_ERR(mm_vmm_init(&vmm, &config), MM_ERR_BAD_ARG);
    config.cpu_count = MM_CPUS_MAX + 1;
    CHECK_ERR(mm_vmm_init(&vmm, &config), MM_ERR_BAD_ARG);
    config = good;
    config.window = NULL;
    CHECK_ERR(mm_vmm_init(&vmm, &config), MM_ERR_BAD_ARG);
    config = good;
    config.tables.alloc = NULL;
    CHECK_ERR(mm_vmm_init(&vmm, &config), MM_ERR_BAD_ARG);
    config = good;
    config.tables.free = NULL;
    CHECK_ERR(mm_vmm_init(&vmm, &config), MM_ERR_BAD_ARG);
    fake_cpu(0)->levels = 3;
    CHECK_ERR(mm_vmm_init(&vmm, &good), MM_ERR_CPU);
}

static const struct {
    struct mm_layout layout;
    enum mm_err err4, err5; /* with 4 and 5 levels */
} layout_rows[] = {
    {{{{0}, 0}, {{0}, 0}, {0}}, MM_OK, MM_OK},
    {{{{HIGH}, GIB}, {{HIGH + GIB}, GIB}, {LOW}}, MM_OK, MM_OK},
    {{{{0 - GIB}, GIB}, {{HIGH}, GIB}, {LOW}}, MM_OK, MM_OK},
    {{{{HIGH}, GIB}, {{HIGH + GIB - M2}, GIB}, {LOW}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{HIGH + M2}, M2}, {{HIGH}, GIB}, {LOW}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{HIGH + K4}, GIB}, {{0}, 0}, {LOW}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{HIGH}, GIB + K4}, {{0}, 0}, {LOW}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{HIGH}, 0 - HIGH + M2}, {{0}, 0}, {LOW}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{LOW}, GIB}, {{0}, 0}, {LOW}}, MM_OK, MM_OK},
    {{{{LOW}, GIB}, {{0}, 0}, {LOW + K4}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{LOW}, UINT64_C(1) << 47}, {{0}, 0}, {0}}, MM_ERR_RANGE, MM_OK},
    {{{{LOW}, UINT64_C(1) << 56}, {{0}, 0}, {0}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{0}, 0}, {{LOW}, GIB}, {0}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{UINT64_C(0xff00000000000000)}, GIB}, {{0}, 0}, {LOW}}, MM_ERR_RANGE, MM_OK},
    {{{{0}, 0}, {{0}, 0}, {LOW + 1}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{0}, 0}, {{0}, 0}, {UINT64_C(0x0000800000000000)}}, MM_OK, MM_OK},
    {{{{0}, 0}, {{0}, 0}, {UINT64_C(0x0000800000001000)}}, MM_ERR_RANGE, MM_OK},
    {{{{0}, 0}, {{0}, 0}, {UINT64_C(0x0100000000000000)}}, MM_ERR_RANGE, MM_OK},
    {{{{0}, 0}, {{0}, 0}, {UINT64_C(0x0100000000001000)}}, MM_ERR_RANGE, MM_ERR_RANGE},
    {{{{0}, 0}, {{0}, 0}, {HIGH}}, MM_ERR_RANGE, MM_ERR_RANGE},
};

TEST(vmm_init_checks_the_layout)
{
    struct mm_vmm vmm;

    fixture_machine(4, true, 1);
    for (unsigned i = 0; i < 2 * sizeof layout_rows / sizeof layout_rows[0]; i++) {
        struct mm_vmm_config config = {.tables = mm_test_frame_source(&fx.frames),
                                       .window = fake_window(),
                                       .layout = &layout_rows[i / 2].layout,
                                       .cpu_count = 1};

        mm_test_row("layout", i);
        fake_cpu(0)->levels = 4 + i % 2;
        CHECK_ERR(mm_vmm_init(&vmm, &config),
                  i % 2 == 0 ? layout_rows[i / 2].err4 : layout_rows[i / 2].err5);
    }
}

TEST(the_default_layout_is_the_documented_one)
{
    struct mm_layout layout;

    mm_layout_default(&layout);
    CHECK_EQ(layout.direct_map.start.raw, UINT64_C(0xffff900000000000));
    CHECK_EQ(layout.kernel_area.start.raw, UINT64_C(0xffffe00000000000));
    CHECK_EQ(layout.kernel_area.bytes, 1024 * GIB);
    CHECK_EQ(layout.user_end.raw, UINT64_C(0x0000800000000000));
}

/* ---- CPUs ---- */

TEST(cpu_init_switches_on_what_paging_needs_and_flushes)
{
    fixture_machine(4, true, 2);
    fixture_vmm(NULL);
    CHECK_EQ(fx.vmm.paging.flags, 0);
    fixture_cpu_init(0);
    CHECK(fake_cpu(0)->nxe && fake_cpu(0)->wp && fake_cpu(0)->pge);
    CHECK_EQ(fx.vmm.paging.flags & ~MM_PAGING_ASIDS,
             MM_PAGING_NX | MM_PAGING_GLOBAL | MM_PAGING_WC);
    CHECK_EQ((fx.vmm.paging.flags & MM_PAGING_ASIDS) != 0, fake_cpu(0)->has_asid);
    CHECK_EQ(fake_cpu(0)->asid_on, fake_cpu(0)->has_asid);
    CHECK_EQ(fx.vmm.online.bits[0], 1);
    CHECK(fake_counts().flush_all > 0);
    CHECK_ERR(mm_cpu_init(&fx.vmm, 1), MM_ERR_BAD_ARG); /* not the CPU that it says */
    CHECK_ERR(mm_cpu_init(&fx.vmm, 2), MM_ERR_BAD_ARG);
    fixture_cpu_init(1);
    CHECK_EQ(fx.vmm.online.bits[0], 3);
}

TEST(cpu_init_refuses_a_cpu_that_has_less_than_the_first)
{
    fixture_machine(4, true, 4);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    fake_cpu(1)->has_global = false;
    fake_cpu(2)->leaf_levels = 1u << 1 | 1u << 2;
    fake_cpu(3)->phys_bits = 40;
    for (unsigned i = 1; i < 4; i++) {
        fake_cpu_set(i);
        CHECK_ERR(mm_cpu_init(&fx.vmm, i), MM_ERR_CPU);
    }
    fake_cpu(3)->phys_bits = 52; /* more is fine */
    CHECK_OK(mm_cpu_init(&fx.vmm, 3));
    fake_cpu(1)->has_nx = false;
    fake_cpu_set(1);
    CHECK_ERR(mm_cpu_init(&fx.vmm, 1), MM_ERR_CPU);
    CHECK_EQ(fx.vmm.online.bits[0], 9);
}

/* The mode is chosen before long mode and holds for all; roots of one are no roots of the other. */
TEST(cpu_init_refuses_a_cpu_in_another_paging_mode)
{
    for (unsigned levels = 4; levels <= 5; levels++) {
        mm_test_row("levels", levels);
        fake_reset();
        fx = (struct fixture){.cpus = 0};
        fixture_machine(levels, true, 2);
        fixture_vmm(NULL);
        fake_cpu_set(0);
        fake_cpu(0)->levels = 9 - levels; /* changed since mm_vmm_init() */
        CHECK_ERR(mm_cpu_init(&fx.vmm, 0), MM_ERR_CPU);
        CHECK_EQ(fx.vmm.online.bits[0], 0);
        fake_cpu(0)->levels = levels;
        CHECK_OK(mm_cpu_init(&fx.vmm, 0));
        fake_cpu(1)->levels = 9 - levels; /* another than the first */
        fake_cpu_set(1);
        CHECK_ERR(mm_cpu_init(&fx.vmm, 1), MM_ERR_CPU);
        fake_cpu(1)->levels = levels;
        CHECK_OK(mm_cpu_init(&fx.vmm, 1));
        CHECK_EQ(fx.vmm.paging.levels, levels);
        CHECK_EQ(fx.vmm.online.bits[0], 3);
    }
}

/* Firmware has left another PAT on each CPU: one with UC everywhere, one with WC where WB was. */
TEST(a_page_has_its_memory_type_on_every_cpu_whatever_pat_was_found)
{
    static const uint64_t found[] = {0, UINT64_C(0x0007040600070401), UINT64_C(0x0606060606060606)};

    for (unsigned i = 0; i < 3; i++)
        fake_cpu(i)->pat = found[i];
    fixture_start(4, true, 3);
    for (unsigned type = MM_MEMTYPE_WB; type <= MM_MEMTYPE_WC; type++) {
        struct mm_map_request request = request_of(HIGH + type * M2, DATA, K4, MM_PROT_RW);

        request.type = (enum mm_memtype)type;
        CHECK_OK(mm_space_map(&fx.kernel, &request, NULL));
        for (unsigned cpu = 0; cpu < 3; cpu++) {
            mm_test_row("type, CPU", type * 10 + cpu);
            fake_cpu_set(cpu);
            CHECK_EQ(fake_read64(request.virt).type, type);
        }
        fake_cpu_set(0);
    }
    fixture_sound(&fx.kernel);
}

TEST(a_cpu_that_left_is_told_of_nothing_any_more)
{
    struct mm_cpuset on;

    fixture_start(4, true, 3);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, 2 * K4, MM_PROT_RW));
    CHECK_ERR(mm_cpu_exit(&fx.vmm, 1), MM_ERR_BAD_ARG);
    fake_cpu_set(1);
    CHECK_OK(mm_cpu_exit(&fx.vmm, 1));
    CHECK(mm_space_current(&fx.vmm) == NULL);
    CHECK_ERR(mm_space_activate(&fx.kernel), MM_ERR_BAD_ARG);
    fake_cpu_off(1);
    fake_cpu_set(0);
    mm_space_loaded_on(&fx.kernel, &on);
    CHECK_EQ(on.bits[0], 5);
    CHECK_OK(unmap(&fx.kernel, HIGH, K4));
    CHECK_EQ(mm_test_shootdowns().last.bits[0], 4);
    CHECK_EQ(space_faults(&fx.kernel), 0);
}

/* ---- making ---- */

TEST(create_refuses_what_does_not_fit)
{
    struct mm_space user = MM_ZERO, second = MM_ZERO;

    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    CHECK_ERR(mm_space_create(&fx.vmm, &user, 0), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_space_create(&fx.vmm, &user, MM_SPACE_ADOPTED), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_create(&fx.vmm, &user, 8), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_create(&fx.vmm, NULL, 0), MM_ERR_BAD_ARG);
    CHECK_EQ(user.state, 0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_ERR(mm_space_create(&fx.vmm, &second, MM_SPACE_KERNEL), MM_ERR_EXISTS);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_destroy(&fx.kernel));
    CHECK_EQ(fx.frames.used, 0);
}

TEST(create_changes_nothing_whichever_table_cannot_be_had)
{
    struct mm_space user = MM_ZERO;
    uint32_t used;

    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    for (unsigned k = 0; k < 3; k++) { /* root, and two slots of the kernel area */
        fx.frames.fail_after = k;
        CHECK_ERR(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL), MM_ERR_NO_MEMORY);
        CHECK_EQ(fx.frames.used, 0);
        CHECK(fx.vmm.kernel == NULL);
    }
    fx.frames.fail_after = 3;
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    used = fx.frames.used;
    CHECK_EQ(used, 3);
    fx.frames.fail_after = 0;
    CHECK_ERR(mm_space_create(&fx.vmm, &user, 0), MM_ERR_NO_MEMORY);
    CHECK_EQ(fx.frames.used, used);
    CHECK_EQ(fx.vmm.user_spaces, 0);
    CHECK_EQ(fx.vmm.state & 1, 0); /* nothing is fixed yet */
}

/* ---- loading ---- */

TEST(spaces_show_their_own_lower_half_and_the_same_upper_half)
{
    struct mm_space a = MM_ZERO, b = MM_ZERO;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &a, 0));
    CHECK_OK(mm_space_create(&fx.vmm, &b, 0));
    CHECK_OK(map(&a, LOW, DATA + MIB, K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(map(&b, LOW, DATA + 2 * MIB, K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(map(&fx.kernel, LOW, DATA + 3 * MIB, K4, MM_PROT_RW));
    for (unsigned round = 0; round < 2; round++) {
        CHECK_OK(mm_space_activate(&a));
        CHECK(mm_space_current(&fx.vmm) == &a);
        CHECK_EQ(fake_read64(mm_virt(LOW)).phys.raw, DATA + MIB);
        CHECK_EQ(fake_read64(mm_virt(HIGH)).phys.raw, DATA);
        CHECK_OK(mm_space_activate(&b));
        CHECK_EQ(fake_read64(mm_virt(LOW)).phys.raw, DATA + 2 * MIB);
        CHECK_EQ(fake_read64(mm_virt(HIGH)).phys.raw, DATA);
        CHECK_OK(mm_space_activate(&fx.kernel));
        CHECK_EQ(fake_read64(mm_virt(LOW)).phys.raw, DATA + 3 * MIB);
    }
    fixture_sound(&a);
    fixture_sound(&b);
    fixture_sound(&fx.kernel);
    CHECK_OK(mm_space_destroy(&a));
    CHECK_OK(mm_space_destroy(&b));
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(older_spaces_see_what_is_mapped_in_the_kernel_area_later)
{
    const uint64_t area = UINT64_C(0xffffe00000000000);
    struct mm_space user = MM_ZERO;

    fixture_start(4, true, 2);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    fixture_activate(1, &user);
    CHECK_OK(map(&fx.kernel, area, DATA, K4, MM_PROT_RW));
    CHECK_OK(map(&fx.kernel, area + 1023 * GIB, DATA + GIB, GIB, MM_PROT_RW));
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(area)).phys.raw, DATA);
    CHECK_EQ(fake_read64(mm_virt(area + 1023 * GIB + M2)).phys.raw, DATA + GIB + M2);
    fake_cpu_set(0);
    CHECK_OK(unmap(&fx.kernel, area, K4));
    CHECK_OK(unmap(&fx.kernel, area + 1023 * GIB, GIB));
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(area)).fault, FAKE_NOT_PRESENT);
    fake_cpu_set(0);
    fixture_sound(&user);
    fixture_sound(&fx.kernel);
}

/* The kernel area is the whole upper half here: each of its top-level entries is one that the older
 * spaces, of which one is loaded, had to copy. */
TEST(older_spaces_see_what_is_mapped_later_in_every_top_level_entry)
{
    const uint64_t half = UINT64_C(0xffff800000000000);
    struct mm_layout layout = {.kernel_area = {{half}, 0 - half}, .user_end = {LOW}};
    struct mm_space user[2] = {MM_ZERO, MM_ZERO};

    fixture_machine(4, true, 2);
    fixture_vmm(&layout);
    fixture_cpu_init(1);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    fixture_activate(0, &fx.kernel);
    for (unsigned i = 0; i < 2; i++)
        CHECK_OK(mm_space_create(&fx.vmm, &user[i], 0));
    fixture_activate(1, &user[0]);
    for (uint64_t slot = 0; slot < 256; slot++) {
        uint64_t virt = half + slot * 512 * GIB + slot * M2;
        struct mm_translation got;

        mm_test_row("slot", slot);
        CHECK_OK(map(&fx.kernel, virt, DATA + slot * K4, K4, MM_PROT_RW));
        fake_cpu_set(1);
        CHECK_EQ(fake_read64(mm_virt(virt)).phys.raw, DATA + slot * K4);
        fake_cpu_set(0);
        CHECK_OK(mm_space_translate(&user[1], mm_virt(virt), &got, NULL));
        CHECK_EQ(got.phys.raw, DATA + slot * K4);
    }
    CHECK_EQ(space_faults(&user[0]) + space_faults(&user[1]), 0);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(half), 0 - half, MM_RANGE_HOLES, NULL, NULL));
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(half)).fault, FAKE_NOT_PRESENT);
    fake_cpu_set(0);
    fixture_activate(1, &user[1]); /* still the same entries */
    CHECK_OK(map(&fx.kernel, 0 - K4, DATA, K4, MM_PROT_RW));
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(0 - K4)).phys.raw, DATA);
    fake_cpu_set(0);
    fixture_sound(&fx.kernel);
}

TEST(top_level_entries_of_the_kernel_are_fixed_by_the_first_user_space)
{
    struct mm_map_request request = request_of(HIGH + 512 * GIB, DATA, K4, MM_PROT_RW);
    struct mm_space user = MM_ZERO;
    struct mm_space_fail why;
    struct state before, after;

    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    before = state_of(&fx.kernel);
    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_POLICY);
    CHECK_EQ(why.virt.raw, HIGH + 512 * GIB);
    CHECK_EQ(why.level, 4);
    after = state_of(&fx.kernel);
    check_same_state(&before, &after);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW)); /* the lower half is its own */
    /* the entry at HIGH stays, also when nothing is mapped under it */
    CHECK_OK(unmap(&fx.kernel, HIGH, K4));
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_OK(map(&fx.kernel, HIGH + GIB, DATA + MIB, K4, MM_PROT_RW));
    fixture_activate(1, &user);
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(HIGH + GIB)).phys.raw, DATA + MIB);
    fake_cpu_set(0);
    fixture_sound(&user);
    fixture_sound(&fx.kernel);
}

TEST(a_user_space_maps_only_below_the_end_of_the_layout)
{
    struct mm_layout layout = {.user_end = {LOW + 4 * K4}};
    struct mm_space user = MM_ZERO;

    fixture_machine(4, true, 1);
    fixture_vmm(&layout);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, MM_SPACE_ALLOW_WX));
    CHECK_OK(map(&user, LOW + 3 * K4, DATA, K4, MM_PROT_RW | MM_PROT_EXEC));
    CHECK_ERR(map(&user, LOW + 3 * K4, DATA, 2 * K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_ERR(map(&user, LOW + 4 * K4, DATA, K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_ERR(map(&user, HIGH, DATA, K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_ERR(map(&user, 0 - K4, DATA, K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_ERR(unmap(&user, HIGH, K4), MM_ERR_POLICY);
    CHECK_ERR(protect(&user, HIGH, K4, MM_PROT_READ), MM_ERR_POLICY);
    CHECK_ERR(map(&user, 0, DATA, K4, MM_PROT_RW), MM_ERR_POLICY);
    CHECK_OK(unmap(&user, LOW + 3 * K4, K4));
    CHECK_EQ(space_faults(&user), 0);
    CHECK_OK(mm_space_destroy(&user));
}

/* ---- destroying ---- */

TEST(destroy_gives_back_every_table_and_only_when_no_cpu_has_the_space_loaded)
{
    struct mm_space user = MM_ZERO;
    struct mm_translation to;
    struct mm_cpuset on;
    uint32_t used;

    fixture_start(4, true, 3);
    used = fx.frames.used;
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(map(&user, LOW, DATA + K4, 300 * M2, MM_PROT_RW | MM_PROT_USER)); /* 301 tables */
    CHECK_OK(map(&user, K4, DATA, K4, MM_PROT_RW));
    fixture_activate(1, &user);
    fixture_activate(2, &user);
    fake_cpu_set(2);
    CHECK_EQ(fake_read64(mm_virt(LOW + 200 * M2)).fault, FAKE_OK);
    fake_cpu_set(0);
    mm_space_loaded_on(&user, &on);
    CHECK_EQ(on.bits[0], 6);
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    fixture_activate(1, &fx.kernel);
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    CHECK_ERR(mm_space_destroy(&fx.kernel), MM_ERR_BUSY);
    CHECK_EQ(space_faults(&user), 0);
    fixture_activate(2, &fx.kernel);
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(fx.frames.used, used);
    CHECK_EQ(mm_test_shootdowns().count, 0);
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_GONE);
    CHECK_ERR(mm_space_activate(&user), MM_ERR_GONE);
    CHECK_ERR(map(&user, LOW, DATA, K4, MM_PROT_RW), MM_ERR_GONE);
    CHECK_ERR(mm_space_translate(&user, mm_virt(LOW), &to, NULL), MM_ERR_GONE);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0)); /* the struct may be used again */
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(the_kernel_space_cannot_be_destroyed_while_user_spaces_live)
{
    struct mm_space user = MM_ZERO;

    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_ERR(mm_space_destroy(&fx.kernel), MM_ERR_BUSY); /* loaded nowhere */
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_destroy(&fx.kernel));
    CHECK(fx.vmm.kernel == NULL);
    CHECK_EQ(fx.frames.used, 0);
}

TEST(a_space_that_was_never_made_is_refused)
{
    struct mm_walk_step steps[MM_WALK_STEPS];
    struct mm_space none = MM_ZERO;
    mm_virt_t cursor = mm_virt(0);
    struct mm_translation to;
    struct mm_space_run run;

    fixture_start(4, true, 1);
    CHECK_ERR(map(&none, LOW, DATA, K4, MM_PROT_RW), MM_ERR_BAD_ARG);
    CHECK_ERR(unmap(&none, LOW, K4), MM_ERR_BAD_ARG);
    CHECK_ERR(protect(&none, LOW, K4, MM_PROT_READ), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_translate(&none, mm_virt(LOW), &to, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_query(&none, &cursor, mm_virt(0), &run), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_space_walk(&none, mm_virt(LOW), steps), 0);
    CHECK_ERR(mm_space_activate(&none), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_destroy(&none), MM_ERR_BAD_ARG);
    CHECK_EQ(mm_space_check(&none, NULL), 1);
}

/* ---- interrupts ---- */

static unsigned interrupts;

/* Maps, protects and unmaps in the space that was interrupted. */
static void handler(void *arg)
{
    const uint64_t virt = LOW + 64 * GIB;

    (void)arg;
    interrupts++;
    CHECK_OK(map(&fx.kernel, virt, DATA, M2 + K4, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, virt, K4, MM_PROT_READ));
    CHECK_OK(unmap(&fx.kernel, virt, M2 + K4));
}

TEST(calls_from_an_interrupt_that_hits_a_call_work)
{
    fixture_start(4, true, 1);
    fake_interrupt_set(handler, NULL);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 4 * K4, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, LOW, 2 * K4, MM_PROT_READ));
    CHECK_OK(unmap(&fx.kernel, LOW, 4 * K4));
    fake_interrupt_set(NULL, NULL);
    CHECK(interrupts > 4); /* two for each hold of the lock */
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_EQ(fx.frames.used, 3);
    fixture_sound(&fx.kernel);
}
