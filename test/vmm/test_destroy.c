/*
 * test_destroy.c - destroying a space that somebody is using.
 *
 * The other side is CPU 1: it acts while CPU 0 waits for a flush, or as an interrupt at each
 * instruction of CPU 0. Frames that were freed are written over at once, so that a walk of them
 * would be seen.
 */
#include "vmm_fixture.h"

static struct mm_space user;

/* ---- in the gaps of a call ---- */

static unsigned gaps;

/* In the first gap: leave the space, try to destroy it, use up what was freed. */
static bool destroy_in_the_gap(void *arg, unsigned cpu)
{
    struct mm_frame_source source = mm_test_frame_source(&fx.frames);
    unsigned self = fake_cpu_current();
    bool on;

    (void)arg;
    if (gaps++ != 0)
        return true;
    fake_cpu_set(cpu);
    on = fake_cpu(cpu)->interrupts_on;
    fake_interrupts(true);
    CHECK_OK(mm_space_activate(&fx.kernel));
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    for (unsigned i = 0; i < 16; i++) {
        mm_phys_t frame;

        CHECK_OK(source.alloc(source.context, &frame));
        memset(fake_ram(frame, K4), 0x5a, K4);
        CHECK(frame.raw != user.root.raw);
        source.free(source.context, frame);
    }
    fake_interrupts(on);
    fake_cpu_set(self);
    return true;
}

static void gap_start(void)
{
    fixture_start(4, true, 2);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    gaps = 0;
}

/* CPU 1 has the space loaded, so that CPU 0 has somebody to wait for. */
static void gap_open(void)
{
    fixture_activate(1, &user);
    mm_test_shootdown_hook(destroy_in_the_gap, NULL);
}

static void gap_end(void)
{
    CHECK(gaps > 0);
    CHECK_EQ(space_faults(&user), 0);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(destroy_is_refused_while_unmap_waits_for_the_flush_of_a_split)
{
    gap_start();
    CHECK_OK(map(&user, LOW, DATA, M2, MM_PROT_RW));
    gap_open();
    CHECK_OK(unmap(&user, LOW, K4));
    gap_end();
}

TEST(destroy_is_refused_while_protect_waits_for_the_flush_of_a_split)
{
    gap_start();
    CHECK_OK(map(&user, LOW, DATA, M2, MM_PROT_RW));
    gap_open();
    CHECK_OK(protect(&user, LOW, K4, MM_PROT_READ));
    gap_end();
}

TEST(destroy_is_refused_while_unmap_waits_with_a_full_gather)
{
    gap_start();
    CHECK_OK(map(&user, LOW, DATA + K4, 100 * M2, MM_PROT_RW)); /* 101 tables */
    gap_open();
    CHECK_OK(unmap(&user, LOW, 100 * M2));
    gap_end();
}

TEST(destroy_is_refused_while_the_flush_of_a_gather_waits)
{
    struct mm_gather gather;

    gap_start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    gap_open();
    mm_gather_begin(&gather, &user);
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL));
    CHECK_EQ(gaps, 0);
    mm_gather_end(&gather);
    gap_end();
}

/* ---- open gathers ---- */

TEST(an_open_gather_keeps_its_space_and_ending_it_twice_is_harmless)
{
    struct mm_gather gather, second;

    gap_start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    mm_gather_begin(&gather, &user);
    mm_gather_begin(&second, &user);
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    CHECK_OK(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL));
    mm_gather_end(&gather);
    mm_gather_end(&gather);
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    mm_gather_end(&second);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(a_gather_that_is_not_open_is_refused_and_begun_over_a_dead_space_holds_nothing)
{
    struct mm_gather gather;

    gap_start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    mm_gather_begin(&gather, &user);
    mm_gather_end(&gather);
    CHECK_ERR(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_protect(&user, mm_virt(LOW), K4, MM_PROT_READ, 0, &gather, NULL),
              MM_ERR_BAD_ARG);
    CHECK_EQ(gather.page_count, 0);
    CHECK_OK(mm_space_destroy(&user));
    mm_gather_begin(&gather, &user);
    CHECK_ERR(mm_space_unmap(&user, mm_virt(LOW), K4, 0, &gather, NULL), MM_ERR_GONE);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    mm_gather_end(&gather); /* not a hold on the new one */
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

TEST(calls_that_fail_leave_no_hold)
{
    struct mm_space_run run;
    mm_virt_t cursor = mm_virt(0);

    gap_start();
    CHECK_ERR(unmap(&user, LOW, K4), MM_ERR_NOT_FOUND);
    CHECK_ERR(unmap(&user, LOW, 1), MM_ERR_BAD_ARG);
    CHECK_ERR(protect(&user, LOW, K4, MM_PROT_READ), MM_ERR_NOT_FOUND);
    CHECK_ERR(protect(&user, LOW, K4, MM_PROT_NONE), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_space_query(&user, &cursor, mm_virt(0), &run), MM_ERR_NOT_FOUND);
    fx.frames.empty = true;
    CHECK_ERR(map(&user, LOW, DATA, K4, MM_PROT_RW), MM_ERR_NO_MEMORY);
    fx.frames.empty = false;
    CHECK_OK(mm_space_destroy(&user));
    CHECK_ERR(mm_space_query(&user, &cursor, mm_virt(0), &run), MM_ERR_GONE);
    CHECK_ERR(unmap(&user, LOW, K4), MM_ERR_GONE);
    CHECK_ERR(protect(&user, LOW, K4, MM_PROT_READ), MM_ERR_GONE);
    fixture_sound(&fx.kernel);
}

/* ---- loading against destroying ---- */

struct duel {
    enum mm_err destroyed, loaded;
    bool asked;
    unsigned destroy_won, load_won;
};

static void duel_begin(void *arg)
{
    struct duel *duel = arg;

    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    duel->asked = false;
}

static void duel_destroy(void *arg)
{
    ((struct duel *)arg)->destroyed = mm_space_destroy(&user);
}

/* An instruction of CPU 0 is followed by all of a load on CPU 1. */
static void duel_load(void *arg)
{
    struct duel *duel = arg;
    unsigned self = fake_cpu_current();

    fake_cpu_set(1);
    duel->loaded = mm_space_activate(&user);
    fake_cpu_set(self);
    duel->asked = true;
}

static void duel_end(void *arg)
{
    struct duel *duel = arg;

    if (!duel->asked) {
        CHECK_OK(duel->destroyed);
        return;
    }
    if (duel->loaded == MM_OK) {
        CHECK_ERR(duel->destroyed, MM_ERR_BUSY);
        CHECK(fake_cpu(1)->root.raw == user.root.raw);
        CHECK_EQ(space_faults(&user), 0);
        fixture_activate(1, &fx.kernel);
        CHECK_OK(mm_space_destroy(&user));
        duel->load_won++;
    } else {
        CHECK_ERR(duel->loaded, MM_ERR_GONE);
        CHECK_OK(duel->destroyed);
        CHECK(fake_cpu(1)->root.raw == fx.kernel.root.raw);
        duel->destroy_won++;
    }
    CHECK_EQ(user.cpus.bits[0], 0);
}

/* From the first instruction of outer() to some behind the exchange that decides. */
static bool duel_run(struct fake_step *step)
{
    struct duel *duel = step->arg;

    do {
        if (!fake_interrupt_each_instruction(step))
            return false; /* not an x86-64 Linux host */
        step->first += step->runs;
    } while (step->runs == step->runs_max && duel->destroy_won < 100);
    CHECK(duel->load_won > 0);
    CHECK(duel->destroy_won > 0);
    return true;
}

TEST(loading_or_destroying_wins_at_each_instruction_and_never_both_or_neither)
{
    struct duel duel = {.asked = false};
    struct fake_step step = {duel_begin, duel_destroy, duel_load, duel_end, &duel, 0, 1, 100, 0};

    fixture_start(4, true, 2);
    if (!duel_run(&step))
        return;
    fixture_sound(&fx.kernel);
}

/* The same for a user space that is made while its kernel space is destroyed. */
static void kernel_begin(void *arg)
{
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    ((struct duel *)arg)->asked = false;
}

static void kernel_destroy(void *arg)
{
    ((struct duel *)arg)->destroyed = mm_space_destroy(&fx.kernel);
}

static void kernel_share(void *arg)
{
    struct duel *duel = arg;
    unsigned self = fake_cpu_current();

    fake_cpu_set(1);
    duel->loaded = mm_space_create(&fx.vmm, &user, 0);
    fake_cpu_set(self);
    duel->asked = true;
}

static void kernel_end(void *arg)
{
    struct duel *duel = arg;

    if (duel->asked && duel->loaded == MM_OK) {
        CHECK_ERR(duel->destroyed, MM_ERR_BUSY);
        CHECK_OK(mm_space_destroy(&user));
        CHECK_OK(mm_space_destroy(&fx.kernel));
        duel->load_won++;
    } else {
        CHECK_OK(duel->destroyed);
        duel->destroy_won += duel->asked ? 1 : 0;
        if (duel->asked)
            CHECK_ERR(duel->loaded, MM_ERR_NOT_FOUND);
    }
    CHECK_EQ(fx.frames.used, 0);
}

TEST(making_a_user_space_or_destroying_its_kernel_space_wins_at_each_instruction)
{
    struct duel duel = {.asked = false};
    struct fake_step step = {
        kernel_begin, kernel_destroy, kernel_share, kernel_end, &duel, 0, 1, 100, 0};

    fixture_machine(4, true, 2);
    fixture_vmm(NULL);
    if (duel_run(&step))
        CHECK_EQ(fx.frames.used, 0);
}

/* ---- making a space where one lives ---- */

/* No table was taken off in either, so nothing but being forgotten tells a table of the one from one of
 * the other. */
TEST(no_cpu_remembers_a_table_when_its_space_is_made_anew)
{
    fixture_start(4, true, 2);
    for (unsigned i = 0; i < 4; i++) {
        mm_test_row("CPU that mapped, CPU that maps", i);
        CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
        fake_cpu_set(i / 2);
        CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW | MM_PROT_USER));
        CHECK_OK(map(&user, LOW + K4, DATA, K4, MM_PROT_RW | MM_PROT_USER)); /* remembers */
        fake_cpu_set(0);
        CHECK_OK(mm_space_destroy(&user));
        CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
        fake_cpu_set(i % 2);
        CHECK_OK(map(&user, LOW + 2 * K4, DATA, K4, MM_PROT_RW | MM_PROT_USER));
        fake_cpu_set(0);
        CHECK_EQ(space_faults(&user), 0);
        CHECK_OK(unmap(&user, LOW + 2 * K4, K4));
        CHECK_OK(mm_space_destroy(&user));
    }
    fixture_sound(&fx.kernel);
}

TEST(create_refuses_the_struct_of_a_space_that_lives)
{
    struct mm_space second = MM_ZERO;
    mm_phys_t root;

    gap_start();
    root = user.root;
    CHECK_ERR(mm_space_create(&fx.vmm, &user, 0), MM_ERR_EXISTS);
    CHECK_ERR(mm_space_create(&fx.vmm, &fx.kernel, 0), MM_ERR_EXISTS);
    CHECK_EQ(user.root.raw, root.raw);
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &second, 0));
    CHECK_OK(mm_space_destroy(&user));
    memset(&user, 0xa5, sizeof user); /* garbage is fine */
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_destroy(&second));
    fixture_sound(&fx.kernel);
}

TEST(a_struct_left_from_before_the_vmm_was_made_anew_may_be_used)
{
    gap_start();
    mm_test_frames_init(&fx.frames, mm_phys(RAM_START), RAM_BYTES / K4);
    for (unsigned i = 0; i < 2; i++)
        fake_cpu(i)->root_loaded = false;
    fixture_vmm(NULL);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_OK(mm_space_destroy(&fx.kernel));
    CHECK_EQ(fx.frames.used, 0);
}
