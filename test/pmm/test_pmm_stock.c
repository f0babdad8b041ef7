/*
 * test_pmm_stock.c - magazines: order, exchange, depot, modes, other CPUs, NMI, pins.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

#define CHUNKS    128u
#define FRAMES    (CHUNKS * MM_CHUNK_FRAMES) /* 256 MiB: with one CPU, 16 frames to a magazine */
#define FIRST     UINT64_C(0x100000)
#define NO_FLOORS .flags = MM_PMM_NO_FLOORS

static void start_with(const struct mm_pmm_config *config)
{
    static const struct fixture_range range[] = {RAM(FIRST, FRAMES)};

    fixture_map(&machine, range, 1);
    fixture_start_as(&machine, config);
}

static void start(void)
{
    start_with(&(struct mm_pmm_config){.cpu_count = 1});
    CHECK_EQ(machine.pmm.magazine_frames, 16);
}

static void is_sound(uint64_t free_frames)
{
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), free_frames);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

static struct mm_pmm_stats stats(void)
{
    struct mm_pmm_stats now;

    mm_pmm_get_stats(&machine.pmm, &now);
    return now;
}

static mm_phys_t take(void)
{
    mm_phys_t out;

    CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out));
    return out;
}

static void give(mm_phys_t frame)
{
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
}

static struct mm_pmm_cpu *cpu(unsigned i)
{
    return &machine.pmm.cpu[i];
}

static uint64_t in_pool(void)
{
    return machine.pmm.pool[0].free_frames;
}

/* ---- one CPU, last in, first out ---- */

TEST(stock_size_follows_the_memory_of_each_cpu)
{
    static const struct {
        uint64_t frames;
        uint32_t cpus, magazine;
    } row[] = {
        {0x200, 1, 8},    {0x8000, 1, 8},     {0xffff, 1, 8},    {0x10000, 1, 16},
        {0x20000, 1, 32}, {0x20000, 2, 16},   {0x40000, 1, 64},  {0x80000, 1, 128},
        {0x7ffff, 1, 64}, {0x100000, 1, 128}, {0x100000, 4, 64},
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct fixture_range range = RAM(FIRST, row[i].frames);

        mm_test_row("size", i);
        fixture_map(&machine, &range, 1);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = row[i].cpus});
        CHECK_EQ(machine.pmm.magazine_frames, row[i].magazine);
    }
}

TEST(stock_hands_out_what_was_freed_last)
{
    mm_phys_t frame[16];

    start();
    CHECK_EQ(cpu(0)->state, MM_STOCK_PARK); /* not used yet */
    for (unsigned i = 0; i < 16; i++) {     /* one refill, ascending */
        frame[i] = take();
        CHECK_EQ(mm_frame_of(frame[i]), FIRST + i);
        CHECK_EQ(in_pool(), FRAMES - 16);
    }
    CHECK_EQ(cpu(0)->state, MM_STOCK_FREE);
    give(frame[3]);
    give(frame[9]);
    give(frame[5]);
    CHECK_EQ(take().raw, frame[5].raw);
    CHECK_EQ(take().raw, frame[9].raw);
    CHECK_EQ(take().raw, frame[3].raw);
    CHECK_EQ(in_pool(), FRAMES - 16);
    is_sound(FRAMES - 16);
}

/* Back and forth over the end of a magazine: the spare answers, not the pool. */
TEST(stock_exchanges_its_magazines_before_it_asks_the_pool)
{
    static mm_phys_t frame[32];

    start();
    for (unsigned i = 0; i < 32; i++)
        frame[i] = take();
    for (unsigned i = 0; i < 32; i++)
        give(frame[i]);
    CHECK_EQ(cpu(0)->loaded->n + cpu(0)->spare->n, 32);
    CHECK_EQ(in_pool(), FRAMES - 32);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 32; i-- > 8;)
            CHECK_EQ(take().raw, frame[i].raw);
        for (unsigned i = 8; i < 32; i++)
            give(frame[i]);
        CHECK_EQ(in_pool(), FRAMES - 32);
    }
    is_sound(FRAMES);
    CHECK_EQ(stats().magazine_frames, 32);
    CHECK_EQ(stats().depot_frames, 0);
}

/* Two magazines, a depot of full ones, the rest in the pool; and back in the reverse order. */
TEST(stock_keeps_full_magazines_in_the_depot)
{
    enum {
        DEPOT = 16 * MM_DEPOT_MAGAZINES,
        STOCK = 32 + DEPOT,
        ALL = STOCK + 64
    };
    static mm_phys_t frame[ALL];

    start();
    for (unsigned i = 0; i < ALL; i++)
        frame[i] = take();
    CHECK_EQ(in_pool(), FRAMES - ALL);
    for (unsigned i = 0; i < ALL; i++) {
        uint64_t given = i + 1;

        give(frame[i]);
        mm_test_row("freed", given);
        CHECK_EQ(stats().depot_frames, given <= 32 ? 0 : mm_min_u64((given - 17) / 16 * 16, DEPOT));
        CHECK_EQ(stats().magazine_frames + stats().depot_frames + in_pool(), FRAMES - ALL + given);
    }
    CHECK_EQ(stats().magazine_frames, 32);
    CHECK_EQ(in_pool(), FRAMES - STOCK);
    is_sound(FRAMES);
    for (unsigned i = 0; i < STOCK; i++) {
        (void)take();
        CHECK_EQ(in_pool(), FRAMES - STOCK);
    }
    CHECK_EQ(stats().depot_frames + stats().magazine_frames, 0);
    is_sound(FRAMES - STOCK);
}

TEST(stock_moves_between_cpus_through_the_depot)
{
    static mm_phys_t frame[64];

    start_with(&(struct mm_pmm_config){.cpu_count = 2});
    CHECK_EQ(machine.pmm.magazine_frames, 8);
    for (unsigned i = 0; i < 64; i++)
        frame[i] = take();
    for (unsigned i = 0; i < 64; i++)
        give(frame[i]);
    CHECK_EQ(stats().depot_frames, 48);
    fake_cpu_set(1);
    for (unsigned i = 0; i < 48; i++) {
        mm_phys_t out = take();

        CHECK(out.raw >= frame[0].raw && out.raw <= frame[63].raw);
        CHECK_EQ(in_pool(), FRAMES - 64);
    }
    (void)take();
    CHECK_EQ(in_pool(), FRAMES - 72); /* CPU 0's own 16 are not touched */
    fake_cpu_set(0);
    CHECK_EQ(stats().magazine_frames, 16 + 7);
    is_sound(FRAMES - 49);
}

TEST(stock_is_not_for_cpus_that_the_pmm_does_not_know)
{
    mm_phys_t out, nmi;

    start();
    fake_cpu_set(1);
    out = take();
    CHECK_EQ(in_pool(), FRAMES - 1);
    CHECK_OK(
        mm_pmm_alloc(&machine.pmm, &(struct mm_frame_request){.flags = MM_FRAME_NO_WAIT}, &nmi));
    CHECK_EQ(in_pool(), FRAMES - 2);
    give(out);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    CHECK_EQ(in_pool(), FRAMES);
    mm_pmm_serve(&machine.pmm);
    mm_pmm_park(&machine.pmm);
    CHECK_ERR(mm_pmm_zero_ahead(&machine.pmm), MM_ERR_UNSUPPORTED);
    fake_cpu_set(0);
    is_sound(FRAMES);
}

/* ---- modes ---- */

static mm_phys_t many[FRAMES];

/* Every other frame of `chunks` chunks stays allocated: the rest is loose. */
static void break_chunks(unsigned chunks)
{
    static mm_phys_t half[FRAMES / 2];
    size_t count = (size_t)chunks * MM_CHUNK_FRAMES;

    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, count, many));
    for (size_t i = 0; i < count / 2; i++)
        half[i] = many[2 * i];
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, half, count / 2));
}

static void mend_chunks(unsigned chunks)
{
    for (size_t i = 0; i < (size_t)chunks * MM_CHUNK_FRAMES / 2; i++)
        many[i] = many[2 * i + 1];
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, many, (size_t)chunks * MM_CHUNK_FRAMES / 2));
}

/* It begins when loose frames are more than a sixteenth of the free ones and two chunks: 16 broken
 * chunks have 4096 of 61440 free, 20 have 5120 of 60416. */
TEST(stock_circulates_while_much_memory_is_in_broken_chunks)
{
    mm_phys_t first, out;

    start();
    for (unsigned i = 0; i < 64; i++) /* something in the depot */
        many[i] = take();
    for (unsigned i = 0; i < 64; i++)
        give(many[i]);
    CHECK(stats().depot_frames > 0);
    break_chunks(16);
    CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO);
    mend_chunks(16);
    CHECK_EQ(mm_pmm_free_frames(&machine.pmm), FRAMES);
    break_chunks(20);
    CHECK_EQ(machine.pmm.mode, MM_MODE_CIRCULATE);
    CHECK_EQ(stats().depot_frames, 0); /* the depot recycles past the sets, so it is empty */
    CHECK_EQ(cpu(0)->cap, 0);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);

    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    first = take(); /* a refill */
    give(first);
    CHECK_EQ(cpu(0)->spare->n, 1);
    for (unsigned i = 0; i < 15; i++) {
        out = take();
        CHECK(out.raw != first.raw); /* what was freed goes through the pool */
        give(out);
    }
    CHECK_EQ(cpu(0)->spare->n, 16);
    CHECK_EQ(cpu(0)->loaded->n, 0);
    out = take();
    CHECK_EQ(cpu(0)->loaded->n, 15); /* from the pool, not the spare */
    give(out);
    CHECK_EQ(cpu(0)->spare->n, 1); /* the full one went to the pool */
    CHECK_EQ(stats().magazine_frames, 16);
    is_sound(FRAMES - 20 * 256);

    mend_chunks(20);
    CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO);
    CHECK_EQ(cpu(0)->cap, 16);
    is_sound(FRAMES);
}

/* Between the marks nothing changes: it begins above free / 16 + 1024 and ends at free / 32 + 512. */
TEST(stock_mode_does_not_swing)
{
    uint32_t changes = 0, mode;

    start();
    break_chunks(20);
    mode = machine.pmm.mode;
    CHECK_EQ(mode, MM_MODE_CIRCULATE);
    for (size_t i = 0; i < 20 * 256; i++) {
        CHECK_OK(mm_pmm_free_bulk(&machine.pmm, &many[2 * i + 1], 1));
        if (changes == 0)
            CHECK_EQ(machine.pmm.mode == MM_MODE_LIFO,
                     machine.pmm.pool[0].loose_frames <= in_pool() / 32 + 512);
        changes += machine.pmm.mode != mode;
        mode = machine.pmm.mode;
    }
    CHECK_EQ(changes, 1);
    is_sound(FRAMES);
}

/* Closed below 2 magazines for each CPU and the reserve; open again at twice that (without). */
TEST(stock_closes_while_memory_is_low)
{
    const uint64_t reserve = 100, cached = 32;
    mm_phys_t out[200];
    size_t left = FRAMES;

    start_with(&(struct mm_pmm_config){.cpu_count = 1, .reserve_frames = reserve});
    (void)take();
    (void)take();
    CHECK_EQ(stats().magazine_frames, 14);
    left = in_pool() - (cached + reserve);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, left, many));
    CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, 1, &out[0]));
    CHECK_EQ(machine.pmm.mode, MM_MODE_CLOSED);
    CHECK_EQ(cpu(0)->cap, 0);
    CHECK_EQ(stats().magazine_frames, 14); /* asked, not yet honoured */
    out[1] = take();
    CHECK_EQ(stats().magazine_frames, 0); /* each use honours it */
    CHECK_EQ(in_pool(), cached + reserve - 1 + 13);
    give(out[1]);
    CHECK_EQ(stats().magazine_frames, 0);
    CHECK_EQ(in_pool(), cached + reserve - 1 + 14);
    out[1] = take();
    CHECK_EQ(stats().magazine_frames, 0); /* one by one */
    give(out[1]);
    CHECK_EQ(machine.pmm.mode, MM_MODE_CLOSED); /* above the mark, but not by enough */
    CHECK_OK(mm_pmm_free_bulk(&machine.pmm, many, 2 * cached + reserve - in_pool() - 1));
    CHECK_EQ(machine.pmm.mode, MM_MODE_CLOSED);
    give(many[left - 1]);
    CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO);
    give(many[left - 2]);
    CHECK_EQ(stats().magazine_frames, 1);
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(stock_uses_the_zeroed_frames_last_of_all)
{
    mm_phys_t frame;
    uint64_t taken = 0;

    fake_ram_add(at(FIRST), UINT64_C(0x400) * MM_FRAME_BYTES);
    FIXTURE(&machine, fake_window(), RAM(FIRST, 0x400));
    for (unsigned i = 0; i < 20; i++)
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    CHECK_EQ(stats().zeroed_frames, 20);
    while (mm_pmm_alloc_frame(&machine.pmm, &frame) == MM_OK)
        taken++;
    CHECK_EQ(taken, 0x400);
    is_sound(0);
}

/* ---- other CPUs ---- */

/* CPU 1 takes one frame, so that it has the rest of a refill; then CPU 0 goes on. */
static mm_phys_t stock_cpu_1(void)
{
    mm_phys_t frame;

    fake_cpu_set(1);
    mm_pmm_serve(&machine.pmm); /* what was asked while it was parked */
    frame = take();
    fake_cpu_set(0);
    CHECK_EQ(cpu(1)->loaded->n, machine.pmm.magazine_frames - 1);
    return frame;
}

static void start_two(enum mm_pin pin)
{
    start_with(&(struct mm_pmm_config){.cpu_count = 2, .pin = pin});
    CHECK_EQ(machine.pmm.magazine_frames, 8);
}

TEST(drain_without_waiting_asks_and_takes_what_it_can)
{
    mm_phys_t frame;

    start_two(MM_PIN_IRQ);
    CHECK_ERR(mm_pmm_drain(&machine.pmm, 2), MM_ERR_BAD_ARG);
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0)); /* both are parked from the start */
    give(take());
    frame = stock_cpu_1();
    CHECK_ERR(mm_pmm_drain(&machine.pmm, 0), MM_ERR_BUSY);
    CHECK_EQ(cpu(0)->loaded->n + cpu(0)->spare->n, 0);
    CHECK_EQ(cpu(1)->loaded->n, 7);
    CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO); /* open again */
    fake_cpu_set(1);
    mm_pmm_serve(&machine.pmm);
    CHECK_EQ(cpu(1)->loaded->n, 0);
    CHECK_EQ(cpu(1)->done, cpu(1)->req);
    give(frame);
    mm_pmm_serve(&machine.pmm); /* nobody asked again */
    CHECK_EQ(cpu(1)->loaded->n, 1);
    fake_cpu_set(0);
    is_sound(FRAMES);
}

TEST(drain_is_honoured_by_the_next_use_of_each_kind)
{
    start_two(MM_PIN_IRQ);
    for (unsigned use = 0; use < 6; use++) {
        mm_phys_t frame = stock_cpu_1(), out;

        mm_test_row("use", use);
        CHECK_ERR(mm_pmm_drain(&machine.pmm, 0), MM_ERR_BUSY);
        fake_cpu_set(1);
        switch (use) {
        case 0:
            give(frame);
            frame = mm_phys(0);
            break;
        case 1:
            give(take());
            break;
        case 2:
            mm_pmm_serve(&machine.pmm);
            break;
        case 3:
            mm_pmm_park(&machine.pmm);
            break;
        case 4:
            CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
            break;
        default:
            CHECK_OK(mm_pmm_alloc(&machine.pmm,
                                  &(struct mm_frame_request){.flags = MM_FRAME_TRY_HARD}, &out));
            give(out);
            break;
        }
        CHECK_EQ(cpu(1)->done, cpu(1)->req);
        CHECK(cpu(1)->loaded->n + cpu(1)->spare->n <= 1);
        if (frame.raw != 0)
            give(frame);
        CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
        fake_cpu_set(0);
        is_sound(FRAMES);
    }
}

TEST(drain_with_waiting_calls_the_others_and_knows_who_did_not_answer)
{
    start_two(MM_PIN_IRQ);
    (void)stock_cpu_1();
    CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
    CHECK_EQ(stats().magazine_frames, 0);
    (void)stock_cpu_1();
    mm_test_cpus(1); /* CPU 1 does not take the call */
    CHECK_ERR(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT), MM_ERR_BUSY);
    CHECK_EQ(cpu(1)->loaded->n, 7);
    mm_test_cpus(2);
    cpu(1)->state = MM_STOCK_BUSY; /* it takes the call, but was interrupted in its guard */
    CHECK_ERR(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT), MM_ERR_BUSY);
    cpu(1)->state = MM_STOCK_FREE;
    CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
    CHECK_EQ(stats().magazine_frames, 0);
    is_sound(FRAMES - 2);
}

TEST(drain_takes_from_any_cpu_where_states_are_exchanged)
{
    start_two(MM_PIN_LOCK);
    (void)stock_cpu_1();
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(cpu(1)->loaded->n, 0);
    CHECK_EQ(cpu(1)->state, MM_STOCK_OPEN);
    is_sound(FRAMES - 1);
}

TEST(parked_cpus_are_robbed_without_being_asked)
{
    start_two(MM_PIN_IRQ);
    (void)stock_cpu_1();
    fake_cpu_set(1);
    mm_pmm_park(&machine.pmm);
    CHECK_EQ(cpu(1)->state, MM_STOCK_PARK);
    CHECK_EQ(cpu(1)->loaded->n, 7); /* parking alone gives nothing up */
    fake_cpu_set(0);
    CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
    CHECK_EQ(cpu(1)->state, MM_STOCK_PARK);
    CHECK_EQ(stats().magazine_frames, 0);
    fake_cpu_set(1);
    give(take());
    CHECK_EQ(cpu(1)->state, MM_STOCK_FREE); /* use ends it */
    fake_cpu_set(0);
    is_sound(FRAMES - 1);
}

static uint64_t take_all(uint32_t flags)
{
    const struct mm_frame_request request = {.flags = flags};
    uint64_t count = 0;
    mm_phys_t out;

    while (mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK)
        count++;
    return count;
}

TEST(try_hard_finds_the_last_frame_of_every_cpu)
{
    for (unsigned parked = 0; parked < 2; parked++) {
        uint64_t taken;

        mm_test_row("parked", parked);
        FIXTURE(&machine, NULL, RAM(FIRST, 0x400));
        fixture_map(&machine, (struct fixture_range[]){RAM(FIRST, 0x400)}, 1);
        fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 2, NO_FLOORS});
        (void)stock_cpu_1();
        if (parked != 0) {
            fake_cpu_set(1);
            mm_pmm_park(&machine.pmm);
            fake_cpu_set(0);
        }
        taken = take_all(0);
        CHECK_EQ(taken, parked != 0 ? 0x3ff : 0x3f8);
        CHECK_EQ(take_all(MM_FRAME_TRY_HARD), 0x3ff - taken);
        is_sound(0);
    }
}

/* What this CPU, the depots and parked CPUs have is brought home for a block that wants it, though
 * nobody tries hard. */
TEST(large_block_is_completed_from_what_is_in_stock_here)
{
    /* 128 frames to a magazine; all chunks but the last are allocated */
    struct mm_frame_request chunk = {.order = MM_CHUNK_ORDER};
    static mm_phys_t frame[0x200];
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(FIRST, 0x80000));
    CHECK_EQ(machine.pmm.magazine_frames, 128);
    for (unsigned i = 0; i < 0x80000 / 0x200 - 4; i++)
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &chunk, &out));
    for (unsigned keep = 0; keep < 2; keep++) {
        uint64_t before = mm_pmm_free_frames(&machine.pmm);

        mm_test_row("depot", keep);
        for (unsigned i = 0; i < 0x200; i++)
            frame[i] = take();
        for (unsigned i = 0; i < (keep == 0 ? 64 : 0x200); i++)
            give(frame[i]);
        if (keep == 0)
            CHECK_OK(mm_pmm_free_bulk(&machine.pmm, frame + 64, 0x200 - 64));
        CHECK_EQ(machine.pmm.mode, MM_MODE_LIFO);
        CHECK(stats().magazine_frames >= 64);
        CHECK_EQ(mm_pmm_free_frames(&machine.pmm), before);
        for (unsigned i = 0; i < 4; i++)
            CHECK_OK(mm_pmm_alloc(&machine.pmm, &chunk, &many[i]));
        is_sound(before - 4 * 0x200);
        for (unsigned i = 0; i < 4; i++)
            CHECK_OK(mm_pmm_free(&machine.pmm, many[i], 0x200));
    }
}

/* All of a chunk is in stock, and no chunk in the pool lacks but a few frames. */
TEST(large_block_is_made_of_nothing_but_what_is_in_stock_here)
{
    const struct mm_frame_request chunk = {.order = MM_CHUNK_ORDER};
    static mm_phys_t frame[0x200];
    mm_phys_t out;

    FIXTURE(&machine, NULL, RAM(FIRST, 0x80000));
    CHECK_EQ(machine.pmm.magazine_frames, 128);
    for (unsigned i = 0; i < 4; i++) { /* memory enough to keep a stock, but with blocks in it */
        struct mm_frame_request block = {.order = 3, .lowest = at(FIRST + 0x200 * i)};

        CHECK_OK(mm_pmm_alloc(&machine.pmm, &block, &out));
        CHECK_EQ(mm_frame_of(out), FIRST + 0x200 * i);
    }
    for (unsigned i = 0; i < 0x80000 / 0x200 - 5; i++)
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &chunk, &out));
    for (unsigned i = 0; i < 0x200; i++)
        frame[i] = take();
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &chunk, &out), MM_ERR_NO_MEMORY);
    for (unsigned i = 0; i < 0x200; i++) {
        CHECK_EQ(mm_frame_of(frame[i]) / 0x200, mm_frame_of(frame[0]) / 0x200);
        give(frame[i]);
    }
    CHECK_EQ(stats().magazine_frames + stats().depot_frames, 0x200);
    CHECK_EQ(in_pool(), 4 * (0x200 - 8));
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &chunk, &out));
    CHECK_EQ(mm_frame_of(out), mm_align_down(mm_frame_of(frame[0]), 0x200));
    is_sound(4 * (0x200 - 8));
}

/* ---- NMI: this CPU is in its guard, or holds a lock ---- */

static const struct mm_frame_request no_wait = {.flags = MM_FRAME_NO_WAIT};

TEST(nmi_uses_the_stock_when_nobody_is_in_there)
{
    mm_phys_t nmi;

    start();
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi)); /* parked and empty: the pool */
    CHECK_EQ(in_pool(), FRAMES - 1);
    CHECK_EQ(cpu(0)->state, MM_STOCK_FREE);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    CHECK_EQ(cpu(0)->loaded->n, 1);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi));
    CHECK_EQ(cpu(0)->loaded->n, 0);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    mm_pmm_park(&machine.pmm);
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi));
    CHECK_EQ(cpu(0)->loaded->n, 0);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    is_sound(FRAMES);
}

TEST(nmi_goes_past_a_stock_that_is_busy)
{
    static const uint8_t state[] = {MM_STOCK_BUSY, MM_STOCK_STOLEN};
    mm_phys_t frame, mine, nmi;

    start();
    mine = take();
    for (unsigned i = 0; i < 2; i++) {
        uint64_t pool = in_pool();

        mm_test_row("state", state[i]);
        cpu(0)->state = state[i];
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi));
        CHECK_EQ(in_pool(), pool - 1);
        CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
        CHECK_EQ(in_pool(), pool);
        frame = take(); /* an interrupt may wait for the lock, too */
        CHECK_EQ(in_pool(), pool - 1);
        give(frame);
        CHECK_EQ(in_pool(), pool);
        mm_pmm_serve(&machine.pmm);
        mm_pmm_park(&machine.pmm);
        CHECK_ERR(mm_pmm_drain(&machine.pmm, 0), MM_ERR_BUSY);
        CHECK_EQ(cpu(0)->state, state[i]);
        CHECK_EQ(cpu(0)->loaded->n, 15);
        cpu(0)->state = MM_STOCK_FREE;
        is_sound(FRAMES - 1);
    }
    mm_pmm_serve(&machine.pmm); /* what the drain asked */
    CHECK_EQ(cpu(0)->loaded->n, 0);
    give(mine);
    is_sound(FRAMES);
}

TEST(nmi_is_told_busy_rather_than_wait_for_the_lock)
{
    struct mm_pmm_pool *pool;
    struct mm_frame_info info;
    mm_phys_t mine, nmi = mm_phys(77);

    start();
    pool = &machine.pmm.pool[0];
    mine = take();
    pool->lock.ticket++; /* held by the code below, on this CPU */
    pool->lock.owner = 1;
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi)); /* the stock needs no lock */
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    nmi = mm_phys(77);
    cpu(0)->state = MM_STOCK_BUSY;
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi), MM_ERR_BUSY);
    CHECK_EQ(nmi.raw, 77);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, mine), MM_ERR_BUSY);
    CHECK_EQ(pool->lock.owner, 1);
    pool->lock.ticket--;
    pool->lock.owner = 0;
    cpu(0)->state = MM_STOCK_FREE;
    mm_pmm_query(&machine.pmm, mine, &info);
    CHECK_EQ(info.state, MM_FRAME_ALLOCATED); /* still the caller's */
    is_sound(FRAMES - 1);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, mine));
    CHECK_EQ(mm_test_report_count(), 0);
    is_sound(FRAMES);
}

TEST(nmi_with_nothing_free_is_told_no_memory)
{
    mm_phys_t nmi = mm_phys(77);

    FIXTURE(&machine, NULL, RAM(FIRST, 0x40));
    CHECK_EQ(take_all(0), 0x40);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &no_wait, &nmi), MM_ERR_NO_MEMORY);
    CHECK_EQ(nmi.raw, 77);
    is_sound(0);
}

/* What this CPU has zeroed ahead is free, too. */
TEST(nmi_takes_from_the_zeroed_stock_when_there_is_nothing_else)
{
    struct mm_frame_request dma = {.flags = MM_FRAME_NO_WAIT, .highest = MM_HIGHEST_16M};
    uint64_t taken = 0;
    mm_phys_t nmi;

    fake_ram_add(at(FIRST), UINT64_C(0x400) * MM_FRAME_BYTES);
    fixture_map(&machine, (struct fixture_range[]){RAM(FIRST, 0x400)}, 1);
    fixture_start_as(&machine,
                     &(struct mm_pmm_config){.cpu_count = 2, .window = fake_window(), NO_FLOORS});
    for (unsigned i = 0; i < 20; i++)
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    fake_cpu_set(1);
    while (in_pool() > 0)
        (void)take();
    fake_cpu_set(0);
    CHECK_EQ(stats().zeroed_frames, 20);
    CHECK_ERR(mm_pmm_alloc(&machine.pmm, &dma, &nmi), MM_ERR_NO_MEMORY);
    while (mm_pmm_alloc(&machine.pmm, &no_wait, &nmi) == MM_OK)
        taken++;
    CHECK_EQ(taken, 20);
    CHECK_EQ(stats().zeroed_frames, 0);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, nmi));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

TEST(nmi_frees_are_checked_like_others)
{
    mm_phys_t mine;
    uint64_t before;

    FIXTURE(&machine, NULL, RAM(0x200, 0x200), RAM(FIRST, 0x400));
    CHECK_EQ(take_order(&machine, 2), FIRST);
    mine = take();
    before = state_hash(&machine);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, mm_phys(mine.raw + 1)), MM_ERR_MISUSE);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, at(0x200)), MM_ERR_MISUSE);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, at(0x100)), MM_ERR_MISUSE);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, at(FIRST)), MM_ERR_MISUSE);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, at(FIRST + 1)), MM_ERR_MISUSE);
    CHECK_ERR(mm_pmm_free_no_wait(&machine.pmm, at(FIRST + 4)), MM_ERR_MISUSE);
    CHECK_EQ(mm_test_report_count(), 6);
    CHECK_EQ(state_hash(&machine), before);
    CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, mine));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- double frees ---- */

/* The release build learns of it when the magazine is emptied; its counts are right after that. */
TEST(stock_sees_a_double_free_at_once_or_when_it_is_emptied)
{
    mm_phys_t frame;

    start();
    frame = take();
    give(frame);
    CHECK_EQ(mm_pmm_free_frame(&machine.pmm, frame), MM_PMM_OWNERS ? MM_ERR_MISUSE : MM_OK);
    CHECK_EQ(mm_pmm_drain(&machine.pmm, 0), MM_OK);
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, "freed frame is free already");
    CHECK_TEXT(mm_test_report(0)->where, MM_PMM_OWNERS ? "mm_pmm_free_frame" : "mm_pmm_drain");
    CHECK_EQ(mm_test_report(0)->address, frame.raw);
    CHECK_EQ(stats().misuse_count, 1);
    is_sound(FRAMES);
}

/* What a 2 MiB piece that is wholly free has in its bitmap is old: it says nothing of a frame. */
TEST(stock_sees_frees_of_frames_that_nobody_has)
{
    static mm_phys_t frame[MM_CHUNK_FRAMES];
    unsigned reports;

    for (unsigned used = 0; used < 3; used++) {
        mm_test_row("used", used);
        start();
        for (unsigned i = 0; i < MM_CHUNK_FRAMES; i++)
            frame[i] = at(FIRST + i);
        if (used == 1) { /* as a block */
            CHECK_EQ(take_order(&machine, MM_CHUNK_ORDER), FIRST);
            CHECK_OK(mm_pmm_free(&machine.pmm, at(FIRST), MM_CHUNK_FRAMES));
        } else if (used == 2) { /* and as single frames */
            CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, NULL, MM_CHUNK_FRAMES, frame));
            CHECK_OK(mm_pmm_free_bulk(&machine.pmm, frame, MM_CHUNK_FRAMES));
        }
        CHECK_ERR(mm_pmm_free_bulk(&machine.pmm, frame, MM_CHUNK_FRAMES), MM_ERR_MISUSE);
        CHECK_TEXT(mm_test_report(0)->what, "freed frame is free already");
        CHECK_EQ(stats().misuse_count, MM_CHUNK_FRAMES);
        is_sound(FRAMES);
        for (unsigned i = 0; i < 10; i++)
            CHECK_EQ(mm_pmm_free_frame(&machine.pmm, frame[i]),
                     MM_PMM_OWNERS ? MM_ERR_MISUSE : MM_OK);
        reports = mm_test_report_count();
        CHECK_OK(mm_pmm_drain(&machine.pmm, 0));
        CHECK_EQ(mm_test_report_count(), reports + (MM_PMM_OWNERS ? 0 : 1));
        CHECK_EQ(stats().misuse_count, MM_CHUNK_FRAMES + 10);
        is_sound(FRAMES);
        mm_test_reports_clear();
    }
}

/* ---- every pin ---- */

#define HELD 600u

static mm_phys_t held[HELD];
static unsigned held_count;

static void random_call(void)
{
    struct mm_frame_request request = {.flags = mm_test_below(4) == 0 ? MM_FRAME_NO_WAIT : 0};
    unsigned pick = held_count != 0 ? (unsigned)mm_test_below(held_count) : 0;
    mm_phys_t out;

    fake_cpu_set((unsigned)mm_test_below(4)); /* the last of them is not known */
    switch (mm_test_below(12)) {
    default:
        if (held_count < HELD && mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK)
            held[held_count++] = out;
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (held_count == 0)
            break;
        if (mm_test_below(4) == 0)
            CHECK_OK(mm_pmm_free_no_wait(&machine.pmm, held[pick]));
        else
            give(held[pick]);
        held[pick] = held[--held_count];
        break;
    case 9:
        mm_pmm_park(&machine.pmm);
        break;
    case 10:
        mm_pmm_serve(&machine.pmm);
        break;
    case 11:
        if (mm_test_below(8) == 0)
            (void)mm_pmm_drain(&machine.pmm, mm_test_below(2) != 0 ? MM_DRAIN_WAIT : 0);
        break;
    }
    fake_cpu_set(0);
}

static void no_frame_is_held_twice(void)
{
    static uint8_t seen[0x800];

    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < held_count; i++)
        CHECK_EQ(seen[mm_frame_of(held[i]) - FIRST]++, 0);
}

TEST(stock_keeps_every_frame_in_one_place_with_each_pin)
{
    static const enum mm_pin pin[] = {MM_PIN_IRQ, MM_PIN_LOCK, MM_PIN_NONE};

    for (unsigned i = 0; i < 3; i++) {
        mm_test_row("pin", i);
        fixture_map(&machine, (struct fixture_range[]){RAM(FIRST, 0x800)}, 1);
        fixture_start_as(&machine,
                         &(struct mm_pmm_config){.cpu_count = 3, .pin = pin[i], NO_FLOORS});
        held_count = 0;
        for (unsigned call = 0; call < 20000; call++) {
            random_call();
            if (call % 100 == 0) {
                no_frame_is_held_twice();
                is_sound(0x800 - held_count);
            }
        }
        while (held_count > 0)
            give(held[--held_count]);
        CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
        CHECK_EQ(in_pool(), 0x800);
        is_sound(0x800);
    }
}
