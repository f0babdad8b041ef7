/*
 * explore_self.c - does the explorer find what is there, and only that?
 *
 * Problem     A search that leaves something out looks exactly like code without faults.
 * Idea        The textbook examples of weak memory, each in a right and a wrong form, and one program
 *             for each kind of fault that must be reported.
 * Invariants  None.
 * Locking     None.
 * Cost        Under a second.
 * Rejected    None.
 */
#include "base/mm_atomic.h"
#include "mm/host.h"
#include "mm_cpu.h"

#include "explore.h"

static struct {
    uint32_t x, y, flag, other_flag, lock;
    uint32_t seen[4];
    uint32_t plain, plain_too;
    unsigned came;
} s;

static void set_up(void)
{
    s = (typeof(s)){0};
    explore_memory("s", &s, sizeof s);
}

static void store_x(void)
{
    mm_store_relaxed_u32(&s.x, 1);
}

static void store_x_3(void)
{
    for (uint32_t i = 1; i <= 3; i++)
        mm_store_relaxed_u32(&s.x, i);
}

static void store_y_3(void)
{
    for (uint32_t i = 1; i <= 3; i++)
        mm_store_relaxed_u32(&s.y, i);
}

static void load_x(void)
{
    s.seen[0] = mm_load_relaxed_u32(&s.x);
}

static void set_up_racy(void)
{
    set_up();
    explore_may_race(&s.plain, sizeof s.plain);
}

/* ---- message passing ---- */

static void send_released(void)
{
    s.plain = 42;
    mm_store_release_u32(&s.flag, 1);
}

static void send_relaxed(void)
{
    s.plain = 42;
    mm_store_relaxed_u32(&s.flag, 1);
}

static void send_fenced(void)
{
    s.plain = 42;
    mm_fence_full();
    mm_store_relaxed_u32(&s.flag, 1);
}

static void receive_acquired(void)
{
    if (mm_load_acquire_u32(&s.flag) == 1)
        EXPLORE_CHECK(s.plain == 42);
}

static void receive_relaxed(void)
{
    if (mm_load_relaxed_u32(&s.flag) == 1)
        EXPLORE_CHECK(s.plain == 42);
}

static void receive_fenced(void)
{
    if (mm_load_relaxed_u32(&s.flag) == 1) {
        mm_fence_full();
        EXPLORE_CHECK(s.plain == 42);
    }
}

/* A read-modify-write in between, even a relaxed one, passes on what was released before it. */
static void add_relaxed(void)
{
    (void)mm_fetch_add_relaxed_u32(&s.flag, 1);
}

static void receive_2(void)
{
    if (mm_load_acquire_u32(&s.flag) == 2)
        EXPLORE_CHECK(s.plain == 42);
}

static void receive_waiting(void)
{
    while (mm_load_acquire_u32(&s.flag) == 0)
        mm_cpu_relax();
    EXPLORE_CHECK(s.plain == 42);
}

/* ---- store buffering: x = 1, look at y; y = 1, look at x ---- */

static void buffer_x(void)
{
    mm_store_release_u32(&s.x, 1);
    s.seen[0] = mm_load_acquire_u32(&s.y);
}

static void buffer_y(void)
{
    mm_store_release_u32(&s.y, 1);
    s.seen[1] = mm_load_acquire_u32(&s.x);
}

static void fenced_x(void)
{
    mm_store_relaxed_u32(&s.x, 1);
    mm_fence_full();
    s.seen[0] = mm_load_relaxed_u32(&s.y);
}

static void fenced_y(void)
{
    mm_store_relaxed_u32(&s.y, 1);
    mm_fence_full();
    s.seen[1] = mm_load_relaxed_u32(&s.x);
}

static void one_saw(void)
{
    EXPLORE_CHECK(s.seen[0] == 1 || s.seen[1] == 1);
}

/* ---- one location: nobody goes back ---- */

static void read_twice(void)
{
    s.seen[0] = mm_load_relaxed_u32(&s.x);
    s.seen[1] = mm_load_relaxed_u32(&s.x);
}

static void never_back(void)
{
    EXPLORE_CHECK(s.seen[1] >= s.seen[0]);
}

/* ---- races ---- */

static void write_plain(void)
{
    s.plain = 1;
}

static void read_plain(void)
{
    s.plain_too = s.plain;
}

static void write_neighbour(void)
{
    s.plain_too = 1;
}

static volatile size_t bytes_of_plain = sizeof s.plain;

static void write_by_memset(void)
{
    __builtin_memset(&s.plain, 0, bytes_of_plain);
}

static void write_x_plainly(void)
{
    *(volatile uint32_t *)&s.x = 7;
}

/* ---- waiting ---- */

static void wait_for_x(void)
{
    while (mm_load_acquire_u32(&s.x) == 0)
        mm_cpu_relax();
}

static void wait_for_x_without_relax(void)
{
    while (mm_load_acquire_u32(&s.x) == 0)
        ;
}

static void spin_lock(uint32_t *lock)
{
    uint32_t expected = 0;

    while (!mm_compare_swap_acq_rel_u32(lock, &expected, 1)) {
        expected = 0;
        mm_cpu_relax();
    }
}

static void both_locks(void)
{
    spin_lock(&s.lock);
    spin_lock(&s.flag);
    s.plain++;
    mm_store_release_u32(&s.flag, 0);
    mm_store_release_u32(&s.lock, 0);
}

static void both_locks_other_way(void)
{
    spin_lock(&s.flag);
    spin_lock(&s.lock);
    s.plain++;
    mm_store_release_u32(&s.lock, 0);
    mm_store_release_u32(&s.flag, 0);
}

/* As it must not be: the handler wants what the code under it holds. */
static void locked(void)
{
    spin_lock(&s.lock);
    s.plain++;
    mm_store_release_u32(&s.lock, 0);
}

static void locked_guarded(void)
{
    mm_guard_t guard = mm_cpu_guard();

    locked();
    mm_cpu_unguard(guard);
}

static void gives_up(void)
{
    for (unsigned i = 0; i < 3; i++) {
        if (mm_load_acquire_u32(&s.x) != 0)
            return;
        mm_cpu_relax();
    }
    s.came = 100;
}

static void gave_up(void)
{
    EXPLORE_CHECK(s.came == 100);
}

/* ---- Peterson's lock: right with an exchange, whatever the machine; a fence is not enough ---- */

static void peterson(uint32_t *mine, const uint32_t *other, uint32_t turn, bool exchange)
{
    mm_store_relaxed_u32(mine, 1);
    if (exchange) {
        (void)mm_exchange_acq_rel_u32(&s.y, turn);
    } else {
        mm_store_release_u32(&s.y, turn);
        mm_fence_full();
    }
    while (mm_load_acquire_u32(other) == 1 && mm_load_acquire_u32(&s.y) == turn)
        mm_cpu_relax();
    s.plain++;
    mm_store_release_u32(mine, 0);
}

static void peterson_0(void)
{
    peterson(&s.flag, &s.other_flag, 1, true);
}

static void peterson_1(void)
{
    peterson(&s.other_flag, &s.flag, 0, true);
}

static void fenced_0(void)
{
    peterson(&s.flag, &s.other_flag, 1, false);
}

static void fenced_1(void)
{
    peterson(&s.other_flag, &s.flag, 0, false);
}

/* ---- threads of one CPU ---- */

static void add_plainly(void)
{
    uint32_t old = *(volatile uint32_t *)&s.plain;

    *(volatile uint32_t *)&s.plain = old + 1;
}

static void add_without_preemption(void)
{
    explore_preempt_off();
    add_plainly();
    explore_preempt_on();
}

static void add_twice_per_cpu(void)
{
    unsigned cpu = explore_cpu();

    s.seen[cpu] = s.seen[cpu] + 1; /* a thread that was moved meanwhile writes another CPU's */
}

static void plain_is_2(void)
{
    EXPLORE_CHECK(s.plain == 2);
}

/* ---- interrupts between CPUs ---- */

static void ipi_reads(void *arg)
{
    (void)arg;
    EXPLORE_CHECK(mm_load_relaxed_u32(&s.x) == 1);
    s.came++;
}

static void store_and_send(void)
{
    mm_store_relaxed_u32(&s.x, 1);
    explore_send(1, ipi_reads, NULL);
}

static void run_on_1(void)
{
    mm_store_relaxed_u32(&s.x, 1);
    EXPLORE_CHECK(mm_host_run_on(1, ipi_reads, NULL) == MM_OK);
    EXPLORE_CHECK(s.came == 1); /* and it is ordered: no race */
}

static void run_on_1_guarded(void)
{
    mm_guard_t guard = mm_cpu_guard();

    EXPLORE_CHECK(mm_host_run_on(1, ipi_reads, NULL) == MM_OK);
    mm_cpu_unguard(guard);
}

static void run_on_nobody(void)
{
    EXPLORE_CHECK(mm_host_run_on(1, ipi_reads, NULL) == MM_ERR_HOST);
}

static void ipi_nothing(void *arg)
{
    (void)arg;
}

static void each_asks_0(void)
{
    EXPLORE_CHECK(mm_host_run_on(1, ipi_nothing, NULL) == MM_OK);
}

static void each_asks_1(void)
{
    EXPLORE_CHECK(mm_host_run_on(0, ipi_nothing, NULL) == MM_OK);
}

static void came_once(void)
{
    EXPLORE_CHECK(s.came == 1);
}

#define ALL(stale)            \
    {                         \
        EXPLORE_ALL, stale, 0 \
    }
#define TWO(a, b) .cpus = 2, .set_up = set_up, .thread = {{a, 0, 0}, {b, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "message", TWO(send_released, receive_acquired), .bounds = ALL(2)},
    {.name = "message_waiting", TWO(send_released, receive_waiting), .bounds = ALL(2)},
    {.name = "message_fenced", TWO(send_fenced, receive_fenced), .bounds = ALL(2)},
    {.name = "message_not_released",
     TWO(send_relaxed, receive_acquired),
     .bounds = ALL(0),
     .finds = "data race: read of s+"},
    {.name = "message_not_acquired",
     TWO(send_released, receive_relaxed),
     .bounds = ALL(0),
     .finds = "data race: read of s+"},
    {.name = "message_one_fence",
     TWO(send_fenced, receive_relaxed),
     .bounds = ALL(0),
     .finds = "data race: read of s+"},
    {.name = "message_passed_on",
     .cpus = 3,
     .set_up = set_up,
     .thread = {{send_released, 0, 0}, {add_relaxed, 1, 0}, {receive_2, 2, 0}},
     .bounds = ALL(2)},

    {.name = "buffering",
     TWO(buffer_x, buffer_y),
     .check = one_saw,
     .bounds = ALL(1),
     .finds = "s.seen[0] == 1 || s.seen[1] == 1"},
    {.name = "buffering_newest_only", TWO(buffer_x, buffer_y), .check = one_saw, .bounds = ALL(0)},
    {.name = "buffering_fenced", TWO(fenced_x, fenced_y), .check = one_saw, .bounds = ALL(2)},
    {.name = "never_back", TWO(store_x_3, read_twice), .check = never_back, .bounds = ALL(4)},
    {.name = "peterson", TWO(peterson_0, peterson_1), .check = plain_is_2, .bounds = ALL(3)},
    {.name = "peterson_fenced_newest_only",
     TWO(fenced_0, fenced_1),
     .check = plain_is_2,
     .bounds = ALL(0)},
    {.name = "peterson_fenced",
     TWO(fenced_0, fenced_1),
     .check = plain_is_2,
     .bounds = ALL(2),
     .finds = "data race"},

    {.name = "race_of_writes",
     TWO(write_plain, write_plain),
     .bounds = ALL(0),
     .finds = "data race"},
    {.name = "race_of_read", TWO(write_plain, read_plain), .bounds = ALL(0), .finds = "data race"},
    {.name = "race_of_memset",
     TWO(write_by_memset, write_plain),
     .bounds = ALL(0),
     .finds = "data race"},
    {.name = "race_by_design",
     .cpus = 2,
     .set_up = set_up_racy,
     .thread = {{write_plain, 0, 0}, {write_plain, 1, 0}},
     .bounds = ALL(0)},
    {.name = "no_race_of_neighbours", TWO(write_plain, write_neighbour), .bounds = ALL(0)},
    {.name = "race_with_atomic",
     TWO(write_x_plainly, load_x),
     .bounds = ALL(0),
     .finds = "data race"},
    {.name = "race_of_plain_write",
     TWO(store_x, write_x_plainly),
     .bounds = ALL(0),
     .finds = "data race"},

    {.name = "waits_and_goes_on", TWO(wait_for_x, store_x), .bounds = ALL(2)},
    {.name = "waits_for_ever",
     TWO(wait_for_x, load_x),
     .bounds = ALL(0),
     .finds = "deadlock: T0 waits on CPU 0"},
    {.name = "spins_without_relax",
     TWO(wait_for_x_without_relax, store_y_3),
     .bounds = ALL(0),
     .finds = "livelock"},
    {.name = "locks_in_one_order", TWO(both_locks, both_locks), .bounds = ALL(1)},
    {.name = "locks_in_two_orders",
     TWO(both_locks, both_locks_other_way),
     .bounds = ALL(0),
     .finds = "deadlock"},
    {.name = "interrupt_wants_lock",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{locked, 0, 0}},
     .handler = {{locked, 0, EXPLORE_IRQ, 1}},
     .bounds = ALL(0),
     .finds = "deadlock: T0 waits on CPU 0, interrupts off"},
    {.name = "interrupt_waits_for_guard",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{locked_guarded, 0, 0}},
     .handler = {{locked, 0, EXPLORE_IRQ, 2}},
     .bounds = ALL(0)},
    {.name = "nmi_does_not_wait_for_guard",
     .cpus = 1,
     .set_up = set_up,
     .thread = {{locked_guarded, 0, 0}},
     .handler = {{locked, 0, EXPLORE_NMI, 1}},
     .bounds = ALL(0),
     .finds = "deadlock"},
    {.name = "waits_end",
     .flags = EXPLORE_WAITS_END,
     .cpus = 1,
     .set_up = set_up,
     .check = gave_up,
     .thread = {{gives_up, 0, 0}},
     .bounds = ALL(0),
     .count = 1},

    {.name = "one_cpu_lost_update",
     .flags = EXPLORE_PLAIN_STEPS,
     .cpus = 1,
     .set_up = set_up,
     .check = plain_is_2,
     .thread = {{add_plainly, 0, 0}, {add_plainly, 0, 0}},
     .bounds = ALL(0),
     .finds = "s.plain == 2"},
    {.name = "one_cpu_no_preemption",
     .flags = EXPLORE_PLAIN_STEPS,
     .cpus = 1,
     .set_up = set_up,
     .check = plain_is_2,
     .thread = {{add_without_preemption, 0, 0}, {add_without_preemption, 0, 0}},
     .bounds = ALL(0)},
    {.name = "moved_thread_races",
     .flags = EXPLORE_PLAIN_STEPS,
     .cpus = 2,
     .set_up = set_up,
     .thread = {{add_twice_per_cpu, 0, 1}, {add_twice_per_cpu, 0, 0}},
     .bounds = ALL(0),
     .finds = "data race"},

    {.name = "ipi_sees_what_came_before",
     TWO(store_and_send, load_x),
     .check = came_once,
     .bounds = ALL(2)},
    {.name = "ipi_of_idle_cpu",
     .cpus = 2,
     .set_up = set_up,
     .check = came_once,
     .thread = {{store_and_send, 0, 0}},
     .bounds = ALL(2)},
    {.name = "ipi_unordered",
     .flags = EXPLORE_IPI_UNORDERED,
     TWO(store_and_send, load_x),
     .bounds = ALL(1),
     .finds = "mm_load_relaxed_u32(&s.x) == 1"},
    {.name = "run_on", .flags = EXPLORE_RUN_ON, TWO(run_on_1, load_x), .bounds = ALL(2)},
    {.name = "run_on_guarded",
     .flags = EXPLORE_RUN_ON,
     TWO(run_on_1_guarded, load_x),
     .bounds = ALL(0),
     .finds = "interrupts are off"},
    {.name = "run_on_each_other",
     .flags = EXPLORE_RUN_ON,
     TWO(each_asks_0, each_asks_1),
     .bounds = ALL(1)},
    {.name = "run_on_without_hook", TWO(run_on_nobody, load_x), .bounds = ALL(0), .count = 1},
    {0},
};
