/*
 * test_pmm_drain.c - frames come home while another CPU, or the code under an interrupt, is in the
 * middle of something: here it is CPU 0 that drains or looks, at a point that the test chooses.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

#define FIRST  UINT64_C(0x100000)
#define FRAMES 0x10000u /* 128 chunks; with two CPUs 8 frames to a magazine */
#define FEW    0x400u

static void start(enum mm_pin pin, uint64_t frames)
{
    fixture_map(&machine, (struct fixture_range[]){RAM(FIRST, frames)}, 1);
    fixture_start_as(
        &machine, &(struct mm_pmm_config){.cpu_count = 2, .pin = pin, .flags = MM_PMM_NO_FLOORS});
    CHECK_EQ(machine.pmm.magazine_frames, 8);
}

static uint64_t in_stock(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    return stats.magazine_frames + stats.zeroed_frames + stats.depot_frames;
}

static mm_phys_t take(void)
{
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    return out;
}

/* `count` frames through this CPU's stock: magazines and depot fill up. */
static void fill_stock(unsigned count)
{
    mm_phys_t frame[100];

    CHECK(count <= 100);
    for (unsigned i = 0; i < count; i++)
        frame[i] = take();
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame[i]));
}

/* ---- at each point of a call where the pin leaves interrupts on ---- */

static struct {
    unsigned looks, wrong;
} handler;

static void look_at_sum(void *arg)
{
    (void)arg;
    handler.looks++;
    handler.wrong += mm_pmm_free_frames(&machine.pmm) != FRAMES;
}

TEST(drain_counts_each_frame_once_on_its_way_home)
{
    static const enum mm_pin pin[] = {MM_PIN_LOCK, MM_PIN_NONE};

    for (unsigned i = 0; i < 2; i++) {
        mm_test_row("pin", pin[i]);
        start(pin[i], FRAMES);
        fill_stock(100);
        CHECK(in_stock() > 16);
        handler.looks = handler.wrong = 0;
        fake_interrupt_set(look_at_sum, NULL);
        CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
        fake_interrupt_set(NULL, NULL);
        CHECK(handler.looks > 4);
        CHECK_EQ(handler.wrong, 0);
        CHECK_EQ(in_stock(), 0);
        CHECK_EQ(machine.pmm.pool[0].free_frames, FRAMES);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* The other CPU, which drains. OK means that nothing is in stock, whatever CPU 0 is doing. */
static void other_drains(void *arg)
{
    enum mm_err err;

    (void)arg;
    if (fake_cpu_current() != 0)
        return;
    fake_cpu_set(1);
    handler.looks++;
    err = mm_pmm_drain(&machine.pmm, 0);
    handler.wrong += err == MM_OK && in_stock() != 0;
    fake_cpu_set(0);
}

TEST(drain_is_not_done_while_a_cpu_has_frames_in_hand)
{
    static const struct {
        enum mm_pin pin;
        bool low; /* the magazines are closed already: nobody would be asked for that */
    } row[] = {
        {MM_PIN_LOCK, false}, {MM_PIN_NONE, false}, {MM_PIN_LOCK, true}, {MM_PIN_NONE, true}};

    for (unsigned i = 0; i < 4; i++) {
        static mm_phys_t kept[FEW];

        mm_test_row("row", i);
        start(row[i].pin, FEW);
        if (row[i].low)
            CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, FEW - 20, kept));
        CHECK_EQ(machine.pmm.mode, row[i].low ? MM_MODE_CLOSED : MM_MODE_LIFO);
        mm_pmm_serve(&machine.pmm);
        handler.looks = handler.wrong = 0;
        fake_interrupt_set(other_drains, NULL);
        fill_stock(10);
        fake_interrupt_set(NULL, NULL);
        CHECK(handler.looks > 10);
        CHECK_EQ(handler.wrong, 0);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), row[i].low ? 20 : FEW);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    }
}

/* ---- while another CPU is on its way ---- */

static unsigned rounds; /* that CPU 0 has waited, or had points where an interrupt could come */

/* CPU 0 cannot tell a thief that works from one that was played by a byte. */
static void thief_begins(void)
{
    CHECK(mm_stock_swap_state(&machine.pmm.cpu[1], MM_STOCK_PARK, MM_STOCK_STOLEN));
}

/* Long after CPU 0 has seen him. */
static void thief_ends(void *arg)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct mm_pmm_cpu *cpu = &machine.pmm.cpu[1];

    (void)arg;
    if (++rounds != 1000)
        return;
    mm_stock_flush(&machine.pmm, cpu, &faults);
    CHECK_EQ(faults.count, 0);
    mm_store_release_u8(&cpu->state, MM_STOCK_PARK);
}

static void start_parked(void)
{
    start(MM_PIN_IRQ, FEW);
    fake_cpu_set(1);
    fill_stock(5);
    mm_pmm_park(&machine.pmm);
    fake_cpu_set(0);
    CHECK_EQ(in_stock(), 8);
}

/* NO_MEMORY says that parked CPUs had none: not what somebody is just bringing home from there. */
TEST(alloc_waits_for_who_robs_a_parked_cpu)
{
    static mm_phys_t kept[FEW];
    mm_phys_t out = mm_phys(0);
    enum mm_err err;

    start_parked();
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, FEW - 8, kept));
    thief_begins();
    rounds = 0;
    fake_interrupt_set(thief_ends, NULL);
    err = mm_pmm_alloc_frame(&machine.pmm, &out);
    fake_interrupt_set(NULL, NULL);
    CHECK_OK(err);
    CHECK(rounds >= 1000);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 7);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* That nobody can call CPU 1 does not matter: it need not do anything. */
TEST(drain_waits_for_who_robs_a_cpu_that_cannot_be_called)
{
    enum mm_err err;

    start_parked();
    mm_test_cpus(1);
    thief_begins();
    rounds = 0;
    fake_interrupt_set(thief_ends, NULL);
    err = mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT);
    fake_interrupt_set(NULL, NULL);
    CHECK_OK(err);
    CHECK(rounds >= 1000);
    CHECK_EQ(in_stock(), 0);
    CHECK_EQ(machine.pmm.pool[0].free_frames, FEW);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* CPU 1 is in its guard and has chosen, before the drain began, to move a full magazine into the
 * depot; that is empty already when it does so. */
static unsigned seen_empty; /* at the end of its flush, and then when CPU 1 is asked */

static void magazine_moves(void *arg)
{
    struct mm_stock_faults faults = {NULL, mm_phys(0), 0};
    struct mm_pmm_cpu *cpu = &machine.pmm.cpu[1];

    (void)arg;
    if (machine.pmm.node[0].depot.count != 0 || ++seen_empty != 2)
        return;
    fake_cpu_set(1);
    CHECK(mm_depot_put(&machine.pmm, 0, cpu->spare));
    mm_stock_leave(&machine.pmm, cpu, &faults); /* and answers */
    fake_cpu_set(0);
}

TEST(drain_finds_a_magazine_that_was_on_its_way_to_the_depot)
{
    enum mm_err err;

    start(MM_PIN_IRQ, FRAMES);
    fake_cpu_set(1);
    fill_stock(24);
    fake_cpu_set(0);
    CHECK(machine.pmm.node[0].depot.count > 0);
    CHECK_EQ(machine.pmm.cpu[1].spare->n, 8);
    CHECK(mm_stock_take(&machine.pmm.cpu[1]));
    seen_empty = 0;
    fake_interrupt_set(magazine_moves, NULL);
    err = mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT);
    fake_interrupt_set(NULL, NULL);
    CHECK(seen_empty >= 2);
    CHECK_OK(err);
    CHECK_EQ(machine.pmm.cpu[1].spare->n, 0);
    CHECK_EQ(in_stock(), 0);
    CHECK_EQ(machine.pmm.pool[0].free_frames, FRAMES);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
