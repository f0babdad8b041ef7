/*
 * test_pmm_interrupt.c - an interrupt allocates while the code under it allocates.
 */
#define _GNU_SOURCE /* REG_EFL */
#include "fixture.h"

#include <signal.h>
#include <ucontext.h>

#include "machine.h"
#include "pmm/stock.h"

#define KEPT 256u

static struct fixture machine;

static struct {
    mm_phys_t frame[KEPT];
    unsigned count, runs;
} handler;

/* What a driver's handler does: takes a few, now and then gives one back. */
static void interrupt(void *arg)
{
    struct mm_frame_request two = {.order = 1};
    mm_phys_t out;

    (void)arg;
    handler.runs++;
    CHECK(!fake_cpu(fake_cpu_current())->interrupts_on);
    for (uint32_t i = 0; i < machine.pmm.pool_count; i++) /* no lock with interrupts on */
        CHECK_EQ(machine.pmm.pool[i].lock.owner, 0);
    if (mm_pmm_alloc(&machine.pmm, &two, &out) == MM_OK)
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 2));
    if (handler.count < KEPT && mm_pmm_alloc_frame(&machine.pmm, &out) == MM_OK)
        handler.frame[handler.count++] = out;
    if (handler.runs % 3 == 0 && handler.count > 0)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, handler.frame[--handler.count]));
}

static void start(void)
{
    memset(&handler, 0, sizeof handler);
    FIXTURE(&machine, fake_window(), RAM(0x10, 0x20), RAM(0x100, 0x700));
}

static void finish(void)
{
    while (handler.count > 0)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, handler.frame[--handler.count]));
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), 0x720);
    for (uint64_t frame = 0x100; frame < 0x800; frame++)
        CHECK_EQ(state_of(&machine, frame), MM_FRAME_FREE);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_calls_may_be_interrupted_by_calls_at_every_point)
{
    struct mm_frame_request run = {.count_frames = 7, .flags = MM_FRAME_ZERO};
    struct mm_pmm_stats stats;
    struct mm_frame_info info;
    mm_phys_t out, bulk[9];

    fake_ram_add(at(0x100), 0x700 * MM_FRAME_BYTES);
    start();
    fake_interrupt_set(interrupt, NULL);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &run, &out));
        CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 9, bulk));
        mm_pmm_query(&machine.pmm, out, &info);
        CHECK_EQ(info.count_frames, 7);
        mm_pmm_get_stats(&machine.pmm, &stats);
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        CHECK_ERR(mm_pmm_free(&machine.pmm, out, 6), MM_ERR_MISUSE);
        CHECK_OK(mm_pmm_free(&machine.pmm, out, 7));
        CHECK_OK(mm_pmm_free_bulk(&machine.pmm, bulk, 9));
    }
    fake_interrupt_set(NULL, NULL);
    CHECK(handler.runs >= 50 * 8);
    CHECK_EQ(mm_test_report_count(), 50);
    finish();
}

/* ---- at every instruction ---- */

static void outer(void *arg)
{
    struct mm_frame_request run = {.count_frames = 3};
    mm_phys_t out;

    (void)arg;
    if (mm_pmm_alloc(&machine.pmm, &run, &out) == MM_OK)
        (void)mm_pmm_free(&machine.pmm, out, 3);
}

static uint64_t before_run;

static void run_begins(void *arg)
{
    (void)arg;
    before_run = mm_pmm_free_frames(&machine.pmm) + handler.count;
}

static void run_ends(void *arg)
{
    (void)arg;
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm) + handler.count, before_run);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(pmm_alloc_and_free_survive_an_interrupt_at_any_instruction)
{
    /* Every 31st boundary, from another one with each seed: all of them take 20 seconds. */
    struct fake_step step = {.begin = run_begins,
                             .outer = outer,
                             .inner = interrupt,
                             .end = run_ends,
                             .first = mm_test_below(31),
                             .stride = 31};

    start();
    if (!fake_interrupt_each_instruction(&step))
        return;           /* not on this host */
    CHECK(step.runs > 2); /* the optimised calls are some 170 instructions long */
    finish();
}

/* ---- each call under each, at sampled instructions ---- */

enum outer {
    ALLOC_HIT,
    ALLOC_REFILL,
    ALLOC_PARKED,
    ALLOC_EMPTY,
    FREE_HIT,
    FREE_FLUSH,
    CLOSED,
    DRAIN,
    PARK,
    BLOCK,
    OUTERS
};

enum inner {
    INNER_ALLOC,
    INNER_FREE,
    INNER_SERVE,
    INNER_PAIR,
    INNERS
};

/* What one run is made of, and what it did. */
static struct {
    enum outer outer;
    enum inner inner;
    enum mm_pin pin;
    bool nmi;
    mm_phys_t held[0x400]; /* with callers, but for those below */
    unsigned held_count;
    mm_phys_t outers, inners; /* taken meanwhile, or to be given; raw 0 = none */
    unsigned calls;
} run;

#define FIRST UINT64_C(0x2000)
#define TOTAL 0x400u

static mm_phys_t take_one(void)
{
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    return out;
}

static void give_one(mm_phys_t frame)
{
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
}

/* Take `count` frames past the stock. */
static void hold(unsigned count)
{
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, count, run.held + run.held_count));
    run.held_count += count;
}

/* Take `count` and give them back: they fill magazines and the depot. */
static void fill_stock(unsigned count)
{
    static mm_phys_t frame[0x200];

    for (unsigned i = 0; i < count; i++)
        frame[i] = take_one();
    for (unsigned i = 0; i < count; i++)
        give_one(frame[i]);
}

/* A new machine, in the state where the outer call goes the way that is meant. */
static void begin(void *arg)
{
    const unsigned full = 8 * (2 + MM_DEPOT_MAGAZINES);

    (void)arg;
    run.held_count = 0;
    run.outers = run.inners = mm_phys(0);
    fixture_map(&machine, (struct fixture_range[]){RAM(FIRST, TOTAL)}, 1);
    fixture_start_as(&machine, &(struct mm_pmm_config){
                                   .cpu_count = 1, .pin = run.pin, .flags = MM_PMM_NO_FLOORS});
    if (run.inner == INNER_FREE)
        run.inners = take_one();
    switch (run.outer) {
    case ALLOC_HIT:
    case DRAIN:
    case PARK:
    case BLOCK:
        fill_stock(5);
        break;
    case ALLOC_REFILL:
        CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
        break;
    case ALLOC_PARKED:
        fill_stock(3);
        mm_pmm_park(&machine.pmm);
        break;
    case ALLOC_EMPTY:
        hold((unsigned)mm_pmm_free_frames(&machine.pmm));
        break;
    case FREE_HIT:
        run.outers = take_one();
        break;
    case FREE_FLUSH:
        run.outers = take_one();
        fill_stock(full);
        CHECK_EQ(machine.pmm.node[0].depot.count, MM_DEPOT_MAGAZINES);
        break;
    case CLOSED:
        hold((unsigned)mm_pmm_free_frames(&machine.pmm) - 5);
        CHECK_EQ(machine.pmm.mode, MM_MODE_CLOSED);
        break;
    case OUTERS:
        break;
    }
    if (run.inner == INNER_SERVE)
        machine.pmm.cpu[0].req++; /* somebody asked */
}

static void call_outer(void *arg)
{
    const struct mm_frame_request block = {.order = 3};
    mm_phys_t out;

    (void)arg;
    switch (run.outer) {
    case FREE_HIT:
    case FREE_FLUSH:
        out = run.outers;
        run.outers = mm_phys(0);
        (void)mm_pmm_free_frame(&machine.pmm, out);
        break;
    case CLOSED:
        if (mm_pmm_alloc_frame(&machine.pmm, &out) == MM_OK)
            (void)mm_pmm_free_frame(&machine.pmm, out);
        break;
    case DRAIN:
        (void)mm_pmm_drain(&machine.pmm, 0);
        break;
    case PARK:
        mm_pmm_park(&machine.pmm);
        break;
    case BLOCK:
        if (mm_pmm_alloc(&machine.pmm, &block, &out) == MM_OK)
            (void)mm_pmm_free(&machine.pmm, out, 8);
        break;
    default:
        if (mm_pmm_alloc_frame(&machine.pmm, &out) == MM_OK)
            run.outers = out;
        break;
    }
}

static enum mm_err inner_alloc(mm_phys_t *out)
{
    const struct mm_frame_request no_wait = {.flags = MM_FRAME_NO_WAIT};

    return run.nmi ? mm_pmm_alloc(&machine.pmm, &no_wait, out)
                   : mm_pmm_alloc_frame(&machine.pmm, out);
}

static enum mm_err inner_free(mm_phys_t frame)
{
    return run.nmi ? mm_pmm_free_no_wait(&machine.pmm, frame)
                   : mm_pmm_free_frame(&machine.pmm, frame);
}

static void call_inner(void *arg)
{
    mm_phys_t out;

    (void)arg;
    run.calls++;
    switch (run.inner) {
    case INNER_ALLOC:
        if (inner_alloc(&out) == MM_OK)
            run.inners = out;
        break;
    case INNER_FREE:
        if (inner_free(run.inners) == MM_OK)
            run.inners = mm_phys(0);
        else
            CHECK(run.nmi);
        break;
    case INNER_SERVE:
        mm_pmm_serve(&machine.pmm);
        break;
    case INNER_PAIR:
        if (inner_alloc(&out) != MM_OK)
            break;
        if (inner_free(out) != MM_OK) {
            CHECK(run.nmi);
            run.inners = out;
        }
        break;
    case INNERS:
        break;
    }
}

/* Each frame is in one place, and nobody is left in the guard. */
static void end(void *arg)
{
    static uint8_t seen[TOTAL];
    uint64_t owned = run.held_count;

    (void)arg;
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < run.held_count; i++)
        CHECK_EQ(seen[mm_frame_of(run.held[i]) - FIRST]++, 0);
    if (run.outers.raw != 0) {
        CHECK_EQ(seen[mm_frame_of(run.outers) - FIRST]++, 0);
        owned++;
    }
    if (run.inners.raw != 0) {
        CHECK_EQ(seen[mm_frame_of(run.inners) - FIRST]++, 0);
        owned++;
    }
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), TOTAL - owned);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(machine.pmm.pool[0].free_frames, TOTAL - owned);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Once, with the interrupt at boundary n of the outer call. */
static void interrupt_at(uint64_t n)
{
    struct fake_step step = {.begin = begin,
                             .outer = call_outer,
                             .inner = call_inner,
                             .end = end,
                             .first = n,
                             .runs_max = 1};

    (void)fake_interrupt_each_instruction(&step);
}

/* A boundary: mostly one of the first, which each call has; the logarithm is uniform up to 512. A
 * call that has fewer runs without an interrupt. */
static uint64_t some_boundary(void)
{
    return mm_test_below(UINT64_C(1) << (2 + mm_test_below(8)));
}

/* All that is called under all that is interrupted, with each pin that a handler may break into; a
 * trap takes a tenth of a millisecond, so each run of the test looks at other instructions. */
static void interrupt_everywhere(void (*at_boundary)(uint64_t n))
{
    static const enum mm_pin pin[] = {MM_PIN_IRQ, MM_PIN_LOCK, MM_PIN_NONE};

    run.calls = 0;
    for (unsigned i = 0; i < OUTERS * INNERS; i++) {
        uint64_t n = some_boundary();

        run.pin = pin[mm_test_below(3)];
        run.outer = (enum outer)(i % OUTERS);
        run.inner = (enum inner)(i / OUTERS);
        if (run.nmi && run.inner == INNER_SERVE)
            continue; /* not for NMI */
        mm_test_row("run, boundary", (uint64_t)i * 10000 + n);
        at_boundary(n);
    }
}

TEST(pmm_calls_survive_each_other_at_any_instruction)
{
    memset(&run, 0, sizeof run);
    interrupt_everywhere(interrupt_at);
    CHECK(run.calls == 0 || run.calls > OUTERS); /* 0: not on this host */
}

/* ---- NMI: at any instruction, with the flag off too ---- */

#if defined(__x86_64__) && defined(__linux__)

/*
 * port/fake interrupts only where the flag is on. Here the same trap is taken anywhere but inside
 * the simulated machine, whose code stands for one instruction.
 */
static struct {
    volatile bool active;
    volatile uint64_t left;
} nmi;

static void nmi_trapped(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;
    bool on;

    (void)signal_number;
    (void)info;
    if (nmi.active && (fake_depth() != 0 || nmi.left-- != 0))
        return;
    interrupted->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x100;
    if (!nmi.active)
        return;
    nmi.active = false;
    on = fake_cpu(0)->interrupts_on;
    fake_interrupts(false);
    call_inner(NULL);
    CHECK(!fake_cpu(0)->interrupts_on);
    fake_interrupts(on);
}

/* The stack below the pointer may be in use (red zone), so step over it. */
static inline __attribute__((always_inline)) void trap_flag_on(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

static inline __attribute__((always_inline)) void trap_flag_off(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

static void nmi_at(uint64_t n)
{
    struct sigaction action = {.sa_sigaction = nmi_trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;

    begin(NULL);
    CHECK(sigaction(SIGTRAP, &action, &before) == 0);
    nmi.left = n;
    nmi.active = true;
    trap_flag_on();
    call_outer(NULL);
    nmi.active = false;
    trap_flag_off();
    sigaction(SIGTRAP, &before, NULL);
    end(NULL);
}

TEST(pmm_nmi_calls_survive_at_any_instruction)
{
    memset(&run, 0, sizeof run);
    run.nmi = true;
    interrupt_everywhere(nmi_at);
    CHECK(run.calls > OUTERS);
    CHECK_EQ(mm_test_report_count(), 0);
}

#endif
