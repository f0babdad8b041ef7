/*
 * explore_random.c - leaving out executions that repeat others must lose no result.
 *
 * Problem     Sleep sets are right on paper, for a paper machine: here are stale loads, interrupts
 *             and fences, too, and a mistake would make the search skip what it should find.
 * Idea        Small random programs of loads, stores, read-modify-writes, fences, waits, guards and sent
 *             interrupts. Each is run in all orders, and then with the reduction: the sets of
 *             results (what every load returned, and the final memory) must be equal.
 * Invariants  None.
 * Locking     None.
 * Cost        A few seconds.
 * Rejected    A table of chosen programs: they would be those that somebody had thought of.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mm_atomic.h"
#include "mm_cpu.h"

#include "explore.h"

#define PLACES      3u
#define STEPS       3u
#define RESULTS_MAX 20000u

enum what {
    LOAD,
    LOAD_ACQUIRE,
    STORE,
    STORE_RELEASE,
    ADD,
    EXCHANGE,
    SWAP,
    FENCE,
    WAIT,
    SEND,
    GUARD,
    WHATS
};

/* threads 0 to 2; 3 is a handler, 4 what an interrupt that was sent does */
static struct {
    enum what what;
    uint32_t place, value;
} program[5][STEPS];

static struct {
    uint32_t place[PLACES];
    uint32_t loaded[5][STEPS];
    uint32_t sent;
} s;

static struct {
    uint64_t result[RESULTS_MAX];
    size_t count;
} whole, reduced, *results;

static uint64_t seed, chaos;

static unsigned below(unsigned n)
{
    chaos ^= chaos << 13;
    chaos ^= chaos >> 7;
    chaos ^= chaos << 17;
    return (unsigned)(chaos >> 33) % n;
}

static void program_make(void)
{
    chaos = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned t = 0; t < 5; t++)
        for (unsigned i = 0; i < STEPS; i++) {
            program[t][i].what = (enum what)below(t == 4 ? SEND : WHATS);
            program[t][i].place = below(PLACES);
            program[t][i].value = 1 + below(3);
        }
}

static void set_up(void)
{
    program_make();
    memset(&s, 0, sizeof s);
    explore_memory("s", &s, sizeof s);
    if (results != &reduced) {
        whole.count = reduced.count = 0;
        results = &whole;
        explore_without_reduction();
    }
}

static void part(unsigned t, unsigned first, unsigned end);

static void sent(void *arg)
{
    (void)arg;
    part(4, s.sent % STEPS, s.sent % STEPS + 1);
    s.sent++;
}

static uint32_t one(unsigned t, unsigned i)
{
    uint32_t *place = &s.place[program[t][i].place], value = program[t][i].value;

    switch (program[t][i].what) {
    case LOAD:
        return mm_load_relaxed_u32(place);
    case LOAD_ACQUIRE:
        return mm_load_acquire_u32(place);
    case STORE:
        mm_store_relaxed_u32(place, value);
        break;
    case STORE_RELEASE:
        mm_store_release_u32(place, value);
        break;
    case ADD:
        return mm_fetch_add_relaxed_u32(place, value);
    case EXCHANGE:
        return mm_exchange_acq_rel_u32(place, value);
    case SWAP:
        (void)mm_compare_swap_acq_rel_u32(place, &value, 9);
        return value;
    case FENCE:
        mm_fence_full();
        break;
    case WAIT: /* twice at most */
        if (mm_load_acquire_u32(place) == 0)
            mm_cpu_relax();
        else
            return 1;
        if (mm_load_relaxed_u32(place) == 0)
            mm_cpu_relax();
        return mm_load_relaxed_u32(place);
    case SEND:
        if (t < 3)
            explore_send(1, sent, NULL);
        break;
    case GUARD: {
        mm_guard_t guard = mm_cpu_guard();
        uint32_t old = mm_fetch_add_relaxed_u32(place, value);

        mm_cpu_unguard(guard);
        return old;
    }
    case WHATS:
        break;
    }
    return 0;
}

static void part(unsigned t, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++)
        s.loaded[t][i] = s.loaded[t][i] * 16 + one(t, i);
}

static void thread_0(void)
{
    part(0, 0, STEPS);
}

static void thread_1(void)
{
    part(1, 0, STEPS);
}

static void thread_2(void)
{
    part(2, 0, 2);
}

static void handler(void)
{
    part(3, 0, 2);
}

static void keep_result(void)
{
    const unsigned char *byte = (const unsigned char *)&s;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    size_t low = 0, high = results->count;

    for (size_t i = 0; i < sizeof s; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (results->result[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < results->count && results->result[low] == hash)
        return;
    EXPLORE_CHECK(results->count < RESULTS_MAX);
    memmove(&results->result[low + 1], &results->result[low],
            (results->count - low) * sizeof results->result[0]);
    results->result[low] = hash;
    results->count++;
}

static bool compare(uint64_t programs)
{
    if (results == &whole) {
        results = &reduced;
        return true;
    }
    if (whole.count != reduced.count ||
        memcmp(whole.result, reduced.result, whole.count * sizeof whole.result[0]) != 0)
        explore_fail("program %llu: %zu results in all orders, %zu with the reduction",
                     (unsigned long long)seed, whole.count, reduced.count);
    results = NULL;
    return ++seed % programs != 0;
}

static bool again_many(void)
{
    const char *text = getenv("MM_EXPLORE");

    return compare(text != NULL && strcmp(text, "long") == 0 ? 50000 : 1000);
}

static bool again_few(void)
{
    const char *text = getenv("MM_EXPLORE");

    return compare(text != NULL && strcmp(text, "long") == 0 ? 100 : 6);
}

static bool again_some(void)
{
    const char *text = getenv("MM_EXPLORE");

    return compare(text != NULL && strcmp(text, "long") == 0 ? 400 : 20);
}

const struct explore_scenario explore_scenarios[] = {
    {
        .name = "two_cpus",
        .flags = EXPLORE_WAITS_END,
        .cpus = 2,
        .set_up = set_up,
        .check = keep_result,
        .again = again_many,
        .thread = {{thread_0, 0, 0}, {thread_1, 1, 0}},
        .bounds = {EXPLORE_ALL, 2, 0},
    },
    {
        .name = "two_cpus_interrupt",
        .flags = EXPLORE_WAITS_END,
        .cpus = 2,
        .set_up = set_up,
        .check = keep_result,
        .again = again_some,
        .thread = {{thread_0, 0, 0}, {thread_1, 1, 0}},
        .handler = {{handler, 0, EXPLORE_IRQ, 1}},
        .bounds = {EXPLORE_ALL, 1, 0},
    },
    {
        .name = "three_cpus",
        .flags = EXPLORE_WAITS_END,
        .cpus = 3,
        .set_up = set_up,
        .check = keep_result,
        .again = again_few,
        .thread = {{thread_0, 0, 0}, {thread_1, 1, 0}, {thread_2, 2, 0}},
        .bounds = {EXPLORE_ALL, 1, 0},
    },
    {0},
};
