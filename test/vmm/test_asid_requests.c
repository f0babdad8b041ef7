/*
 * test_asid_requests.c - requests to flush that come late, early, or when nobody needs them any more.
 *
 * Problem     Between the store and the interrupt that it causes the CPU does other things: it flushes
 *             for a later change, leaves the space, or is loading it.
 * Idea        Before a CPU is served the test makes it do just that: requests overtake each other as
 *             they may, and each flush is counted where it happens.
 * Invariants  None.
 * Locking     None.
 * Cost        Milliseconds.
 * Rejected    A host that keeps requests for later: they lie on the stack of who waits for them.
 */
#include "vmm_fixture.h"

#include "mm_mmu.h"

#define AREA MM_PORT_KERNEL_AREA

static struct mm_space user;

static struct {
    struct mm_space *space;
    uint64_t virt;
    bool done;
} meanwhile;

/* With and without ids; CPU 1 has `user` loaded and its pages cached. */
static void start(bool with_ids)
{
    for (unsigned i = 0; i < 2; i++)
        fake_cpu(i)->has_asid = with_ids;
    user = (struct mm_space)MM_ZERO;
    fixture_start(4, true, 2);
    CHECK_OK(map(&fx.kernel, AREA, DATA, 8 * K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(map(&user, LOW, DATA, 8 * K4, MM_PROT_RW));
    fixture_activate(1, &user);
    fake_cpu_set(1);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(fake_read64(mm_virt(LOW + i * K4)).fault, FAKE_OK);
        CHECK_EQ(fake_read64(mm_virt(AREA + i * K4)).fault, FAKE_OK);
    }
    fake_cpu_set(0);
    meanwhile.done = false;
    fake_counts_clear();
}

static void finish(void)
{
    mm_test_shootdown_hook(NULL, NULL);
    CHECK(meanwhile.done);
    fixture_activate(1, &fx.kernel);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

static void flushed(unsigned cpu, uint64_t page, uint64_t space, uint64_t all)
{
    struct fake_cpu_counts counts = fake_cpu_counts(cpu);

    CHECK_EQ(counts.flush_page, page);
    CHECK_EQ(counts.flush_space, space);
    CHECK_EQ(counts.flush_all, all);
}

/* The change that was made last is the first to be served. */
static bool unmap_more(void *arg, unsigned cpu)
{
    (void)arg;
    if (!meanwhile.done) {
        meanwhile.done = true;
        CHECK_OK(mm_space_unmap(meanwhile.space, mm_virt(meanwhile.virt), K4, 0, NULL, NULL));
        CHECK_EQ(cpu, 1);
    }
    return true;
}

TEST(a_request_that_comes_too_early_is_a_full_flush_and_the_late_one_none)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("with ids", i);
        fake_reset();
        start(i == 1);
        meanwhile.space = &user;
        meanwhile.virt = LOW + 3 * K4;
        mm_test_shootdown_hook(unmap_more, NULL);
        CHECK_OK(unmap(&user, LOW, 2 * K4));
        flushed(0, 0, 0, 0);
        flushed(1, 0, 1, 0); /* for the one; it does for the other */
        CHECK_EQ(fake_cpu_counts(1).ipis, 2);
        CHECK_OK(unmap(&user, LOW + 5 * K4, K4)); /* in order again */
        flushed(1, 1, 1, 0);
        finish();
    }
}

TEST(a_request_of_the_kernel_that_comes_too_early_is_a_full_flush_and_the_late_one_none)
{
    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("with ids", i);
        fake_reset();
        start(i == 1);
        meanwhile.space = &fx.kernel;
        meanwhile.virt = AREA + 3 * K4;
        mm_test_shootdown_hook(unmap_more, NULL);
        CHECK_OK(unmap(&fx.kernel, AREA, 2 * K4));
        flushed(0, 3, 0, 0); /* in order here */
        flushed(1, 0, 0, 1);
        CHECK_OK(unmap(&fx.kernel, AREA + 5 * K4, K4));
        flushed(1, 1, 0, 1);
        finish();
    }
}

/* Each space counts for itself. */
TEST(a_request_of_another_space_covers_none_of_this)
{
    start(true);
    meanwhile.space = &fx.kernel;
    meanwhile.virt = AREA;
    mm_test_shootdown_hook(unmap_more, NULL);
    CHECK_OK(unmap(&user, LOW, K4));
    flushed(1, 2, 0, 0);
    finish();
}

static bool leave(void *arg, unsigned cpu)
{
    const unsigned *back = arg;

    meanwhile.done = true;
    fixture_activate(cpu, &fx.kernel);
    if (*back == 1)
        fixture_activate(cpu, &user);
    CHECK_EQ(fake_stale_entries(), 0);
    fake_counts_clear();
    return true;
}

TEST(a_cpu_that_has_left_the_space_meanwhile_flushes_nothing)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned back = i % 2;

        mm_test_row("and come back, with ids", i);
        fake_reset();
        start(i / 2 == 1);
        mm_test_shootdown_hook(leave, &back);
        CHECK_OK(unmap(&user, LOW, K4));
        flushed(1, 0, 0, 0);
        CHECK_EQ(fake_cpu_counts(1).ipis, 1);
        mm_test_shootdown_hook(NULL, NULL);
        fixture_activate(1, &user);
        CHECK_EQ(fake_stale_entries(), 0);
        fake_cpu_set(1);
        CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_NOT_PRESENT);
        fake_cpu_set(0);
        finish();
    }
}

/* An NMI while the CPU loads a root: which of them is loaded is not known. */
static bool loading(void *arg, unsigned cpu)
{
    (void)arg;
    meanwhile.done = true;
    fx.cpu[cpu].loading = 1;
    return true;
}

TEST(a_request_while_a_root_is_loaded_drops_everything)
{
    for (unsigned i = 0; i < 3; i++) {
        struct mm_space *space = i == 2 ? &fx.kernel : &user;

        mm_test_row("change", i);
        fake_reset();
        start(true);
        fixture_activate(1, &fx.kernel);
        fixture_activate(1, &user);
        if (i == 1) /* not loaded yet, or not any more */
            fx.cpu[1].active = &fx.kernel;
        CHECK(fake_parked_entries(1) > 0);
        mm_test_shootdown_hook(loading, NULL);
        CHECK_OK(unmap(space, i == 2 ? AREA : LOW, K4));
        flushed(1, 0, 0, 1);
        CHECK_EQ(fake_parked_entries(1), 0);
        fx.cpu[1].loading = 0;
        fx.cpu[1].active = &user;
        finish();
    }
}

/* An NMI while the CPU comes: what it says it has flushed it has. */
static unsigned claims;

static void goes(void *arg)
{
    (void)arg;
    fake_reset();
    start(true);
    fake_cpu_set(1);
    CHECK_OK(mm_cpu_exit(&fx.vmm, 1));
    fake_cpu_set(0);
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(AREA), K4, 0, NULL, NULL));
    CHECK(fake_stale_entries() != 0);
    fake_cpu_set(1);
}

static void comes(void *arg)
{
    (void)arg;
    CHECK_OK(mm_cpu_init(&fx.vmm, 1));
}

static void look_at_claim(void *arg)
{
    (void)arg;
    if (fx.cpu[1].kernel_generation < fx.kernel.generation)
        return;
    claims++;
    CHECK_EQ(fake_stale_entries(), 0);
}

TEST(a_cpu_that_comes_claims_no_flush_before_it_has_flushed)
{
    struct fake_step step = {.begin = goes, .outer = comes, .inner = look_at_claim, .stride = 7};

    claims = 0;
    if (fake_interrupt_each_instruction(&step))
        CHECK(claims > 0);
    else
        goes(NULL), comes(NULL);
    CHECK_EQ(fake_stale_entries(), 0);
    fake_cpu_set(0);
    meanwhile.done = true;
    finish();
}

/* The mark is there when the root is loaded, and not before or after. */
static unsigned marks_seen;

static void look_at_mark(void *arg)
{
    (void)arg;
    marks_seen += fx.cpu[0].loading != 0 ? 1 : 0;
}

TEST(the_mark_of_loading_is_gone_when_interrupts_come_again)
{
    start(true);
    marks_seen = 0;
    fake_interrupt_set(look_at_mark, NULL);
    for (unsigned i = 0; i < 4; i++)
        fixture_activate(0, i % 2 == 0 ? &user : &fx.kernel);
    fake_interrupt_set(NULL, NULL);
    CHECK_EQ(marks_seen, 0);
    CHECK_EQ(fx.cpu[0].loading, 0);
    meanwhile.done = true;
    finish();
}
