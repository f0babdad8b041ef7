/*
 * test_asid_roots.c - ids run out, somebody else loads roots, CPUs go and come, or there are no ids.
 */
#include "asid_fixture.h"

/* ---- more spaces than ids ---- */

#define MANY 11u

static struct mm_space many[MANY];

static void many_change(void)
{
    struct mm_space *space = &many[mm_test_below(MANY)];
    uint64_t virt = LOW + mm_test_below(8) * K4;

    switch (mm_test_below(6)) {
    case 0:
        (void)map(space, virt, DATA + mm_test_below(64) * K4, K4, MM_PROT_RW);
        break;
    case 1:
        (void)unmap(space, virt, K4);
        break;
    case 2:
        (void)protect(space, virt, K4, mm_test_below(2) == 0 ? MM_PROT_READ : MM_PROT_RW);
        break;
    case 3:
        virt = (mm_test_below(2) == 0 ? AREA : 2 * LOW) + mm_test_below(4) * K4;
        if (unmap(&fx.kernel, virt, K4) != MM_OK)
            CHECK_OK(map(&fx.kernel, virt, DATA + mm_test_below(64) * K4, K4, MM_PROT_RW));
        break;
    case 4:
        CHECK_OK(mm_space_harvest(space, mm_virt(LOW), 8 * K4, MM_MARK_DIRTY, NULL, NULL, NULL));
        break;
    default:
        if (mm_test_below(8) == 0 && mm_space_destroy(space) == MM_OK)
            CHECK_OK(mm_space_create(&fx.vmm, space, 0));
        break;
    }
}

static void many_use(void)
{
    unsigned cpu = (unsigned)mm_test_below(fx.cpus);
    uint64_t i = mm_test_below(MANY + 1);

    if (mm_test_below(3) == 0)
        fixture_activate(cpu, i == MANY ? &fx.kernel : &many[i]);
    (void)reads(cpu, LOW + mm_test_below(8) * K4);
    (void)reads(cpu, AREA + mm_test_below(4) * K4);
    (void)reads(cpu, 2 * LOW + mm_test_below(4) * K4);
}

TEST(nothing_is_stale_with_more_spaces_than_ids_whatever_comes)
{
    ids(3);
    fixture_start(4, true, 3);
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = (struct mm_space)MM_ZERO;
        CHECK_OK(mm_space_create(&fx.vmm, &many[i], 0));
    }
    for (unsigned i = 0; i < 6000; i++) {
        mm_test_row("operation", i);
        fake_cpu_set((unsigned)mm_test_below(fx.cpus));
        if (mm_test_below(3) == 0)
            many_change();
        else
            many_use();
        CHECK_EQ(fake_stale_entries(), 0);
    }
    fake_cpu_set(0);
    for (unsigned cpu = 0; cpu < 3; cpu++) {
        CHECK(fake_cpu_counts(cpu).roots_kept > 20);
        fixture_activate(cpu, &fx.kernel);
    }
    for (unsigned i = 0; i < MANY; i++)
        CHECK_OK(mm_space_destroy(&many[i]));
    fixture_sound(&fx.kernel);
}

TEST(a_space_for_which_there_was_no_id_any_more_has_forgotten_everything)
{
    ids(1);
    fixture_start(4, true, 1);
    for (unsigned i = 0; i < MM_VMM_ROOTS; i++) {
        many[i] = (struct mm_space)MM_ZERO;
        CHECK_OK(mm_space_create(&fx.vmm, &many[i], 0));
        CHECK_OK(map(&many[i], LOW, DATA + i * K4, K4, MM_PROT_RW));
        CHECK(!keeps(0, &many[i]));
        CHECK_EQ(reads(0, LOW).phys.raw, DATA + i * K4);
    }
    for (unsigned i = 1; i < MM_VMM_ROOTS; i++) {
        CHECK(keeps(0, &many[i]));
        CHECK(reads(0, LOW).cached);
    }
    CHECK(!keeps(0, &many[0]));
    CHECK_EQ(reads(0, LOW).phys.raw, DATA);
    fixture_activate(0, &fx.kernel);
    for (unsigned i = 0; i < MM_VMM_ROOTS; i++)
        CHECK_OK(mm_space_destroy(&many[i]));
    fixture_sound(&fx.kernel);
}

/* ---- who else loads roots ---- */

TEST(a_root_that_somebody_else_loaded_makes_the_cpu_forget_its_ids)
{
    spaces_start(1);
    used_and_left(0, &user, LOW);
    mm_mmu_load_root_asid(other.root, 2, 0); /* the id of `user` */
    CHECK_EQ(reads(0, LOW).phys.raw, DATA + 2 * M2);
    CHECK(!keeps(0, &user));
    CHECK_EQ(reads(0, LOW).phys.raw, DATA + M2);
    mm_mmu_load_root_asid(other.root, 1, 0); /* the kernel's */
    (void)reads(0, LOW);
    CHECK(!keeps(0, &fx.kernel));
    CHECK_EQ(reads(0, LOW).fault, FAKE_NOT_PRESENT);
    spaces_end();
}

/* And goes back to the space that libmm loaded last. */
TEST(a_root_that_somebody_else_loaded_is_noticed_when_the_same_space_is_loaded_again)
{
    spaces_start(1);
    fixture_activate(0, &user);
    (void)reads(0, LOW);
    mm_mmu_load_root_asid(other.root, 2, 0);
    (void)reads(0, LOW);
    CHECK(!keeps(0, &user));
    CHECK_EQ(reads(0, LOW).phys.raw, DATA + M2);
    spaces_end();
}

/* A kernel that writes CR3 without an id, to flush: what comes next is cached under id 0, and so flushed
 * there. */
TEST(a_root_that_was_loaded_again_by_somebody_else_has_id_0_from_then_on)
{
    spaces_start(2);
    fixture_activate(1, &user);
    CHECK_EQ(reads(1, LOW).fault, FAKE_OK);
    fake_cpu_set(1);
    mm_mmu_load_root(user.root);
    fake_cpu_set(0);
    CHECK_EQ(reads(1, LOW + K4).fault, FAKE_OK);
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, NULL, NULL));
    fixture_activate(1, &fx.kernel);
    CHECK_EQ(reads(1, LOW + K4).fault, FAKE_NOT_PRESENT);
    fixture_activate(1, &user);
    CHECK_EQ(reads(1, LOW).fault, FAKE_NOT_PRESENT);
    CHECK_EQ(reads(1, LOW + K4).fault, FAKE_OK);
    spaces_end();
}

/* As one does to call the firmware: CR3 is put back as it was. */
TEST(what_somebody_else_loaded_for_a_while_is_not_the_kernels)
{
    uint32_t id;

    spaces_start(1);
    fixture_activate(0, &user);
    id = mm_mmu_asid();
    mm_mmu_load_root(other.root);
    CHECK_EQ(reads(0, LOW).fault, FAKE_OK);
    mm_mmu_load_root_asid(user.root, id, 0);
    fixture_activate(0, &fx.kernel);
    CHECK_EQ(reads(0, LOW).fault, FAKE_NOT_PRESENT);
    spaces_end();
}

TEST(a_cpu_that_went_and_came_has_forgotten_its_ids)
{
    spaces_start(2);
    used_and_left(1, &user, LOW);
    fixture_activate(1, &other);
    CHECK_EQ(reads(1, AREA).fault, FAKE_OK);
    fake_cpu_set(1);
    fake_interrupts(false);
    fake_ram_add(mm_phys(DATA / 2), K4);
    mm_mmu_load_root_asid(mm_phys(DATA / 2), 9, 0); /* one that libmm does not know of */
    CHECK_OK(mm_cpu_exit(&fx.vmm, 1));
    fake_interrupts(true);
    fake_cpu_set(0);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(AREA), K4, 0, NULL, NULL));
    fixture_cpu_init(1);
    fake_cpu_set(0);
    CHECK_EQ(reads(1, AREA).fault, FAKE_NOT_PRESENT);
    CHECK(!keeps(1, &user));
    CHECK(!keeps(1, &other));
    CHECK(!keeps(1, &fx.kernel));
    CHECK(keeps(1, &user));
    spaces_end();
}

/* ---- no ids ---- */

static void check_no_ids(void)
{
    struct mm_space spaces[2];

    memset(spaces, 0, sizeof spaces);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(mm_space_create(&fx.vmm, &spaces[i], 0));
        CHECK_OK(map(&spaces[i], LOW, DATA + i * K4, K4, MM_PROT_RW));
    }
    for (unsigned i = 0; i < 6; i++) {
        CHECK(!keeps(0, &spaces[i % 2]));
        CHECK_EQ(reads(0, LOW).phys.raw, DATA + i % 2 * K4);
        CHECK_EQ(mm_mmu_asid(), 0);
        CHECK_EQ(fake_parked_entries(0), 0);
    }
    CHECK_OK(unmap(&spaces[0], LOW, K4));
    CHECK(!keeps(0, &fx.kernel));
    CHECK_OK(mm_space_destroy(&spaces[0]));
    CHECK_OK(mm_space_destroy(&spaces[1]));
    fixture_sound(&fx.kernel);
}

static void start_with_flags(uint32_t flags, unsigned cpus)
{
    struct mm_vmm_config config = {.tables = mm_test_frame_source(&fx.frames),
                                   .window = fake_window(),
                                   .cpu_count = cpus,
                                   .cpu = fx.cpu,
                                   .flags = flags};

    CHECK_OK(mm_vmm_init(&fx.vmm, &config));
    for (unsigned i = 0; i < cpus; i++)
        fixture_cpu_init(i);
    fake_cpu_set(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    for (unsigned i = 0; i < cpus; i++)
        fixture_activate(i, &fx.kernel);
}

TEST(a_vmm_that_is_told_to_uses_no_ids)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("on before", i);
        fake_reset();
        ids(1);
        fake_cpu(0)->asid_on = i == 1;
        fixture_machine(4, true, 1);
        start_with_flags(MM_VMM_NO_ASIDS, 1);
        CHECK_EQ(fake_cpu(0)->asid_on, i == 1);
        check_no_ids();
    }
}

TEST(a_cpu_without_global_pages_uses_no_ids)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("on before", i);
        fake_reset();
        ids(1);
        fake_cpu(0)->has_global = false;
        fake_cpu(0)->asid_on = i == 1;
        fixture_machine(4, true, 1);
        start_with_flags(0, 1);
        check_no_ids();
    }
}

TEST(the_first_cpu_decides_whether_ids_are_used)
{
    fake_cpu(0)->has_asid = false;
    fake_cpu(1)->has_asid = true;
    fixture_machine(4, true, 2);
    start_with_flags(0, 2);
    check_no_ids();
    fake_reset();
    fake_cpu(0)->has_asid = true;
    fake_cpu(1)->has_asid = false;
    fixture_machine(4, true, 2);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    fake_cpu_set(1);
    fake_interrupts(false);
    CHECK_ERR(mm_cpu_init(&fx.vmm, 1), MM_ERR_CPU);
    fake_interrupts(true);
    fake_cpu_set(0);
}
