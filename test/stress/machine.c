/*
 * machine.c - RAM, and who owns which frame of it.
 *
 * Problem     A frame that two callers have looks like a frame that one has, until its contents are
 *             wrong; and a frame whose contents were handed over without an order, not even then.
 * Idea        RAM is a mapping that the PMM's window shows. Each frame has a byte, exchanged when it
 *             is handed out and when it is given back. Owners also write to their frames with plain
 *             stores, of which ThreadSanitizer knows that nothing but the PMM orders them.
 * Invariants  M1 owner[i] is 1 while a caller has frame i
 *             M2 gone[i] is set when mm_pmm_retire() said MM_OK: nobody has it from then on
 *             M3 what is in `joined` or `bad` is exactly what the PMM was told
 * Locking     None; all is relaxed, so that it orders nothing.
 * Cost        A locked instruction for each frame; four words written and read for each.
 * Rejected    A hash table of allocations under a lock: the lock would order what it watches.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stress.h"

enum join {
    JOIN_INIT,
    JOIN_ADD,
    JOIN_RAM
};

/* Three zones, two nodes; some memory of the boot loader, some that the map does not know. */
static const struct piece {
    uint64_t first, count;
    enum join join;
    unsigned node;
} piece[] = {
    {0xc00, 0x400, JOIN_INIT, 0},    /* 12 to 16 MiB */
    {0x1000, 0x1800, JOIN_INIT, 0},  /* to 40 MiB */
    {0x2800, 0x400, JOIN_ADD, 0},    /* to 44 MiB */
    {0x100000, 0x800, JOIN_INIT, 1}, /* 8 MiB from 4 GiB */
    {0x104000, 0x1000, JOIN_RAM, 1}, /* 16 MiB more, later */
};

#define PIECES          (sizeof piece / sizeof piece[0])
#define FRAMES          (0x400u + 0x1800u + 0x400u + 0x800u + 0x1000u)
#define ADD_FRAMES      64u /* joins at a time */
#define RAM_FRAMES      512u
#define ADDS            (0x400u / ADD_FRAMES + 0x1000u / RAM_FRAMES)
#define BAD_MAX         200u
#define BAD_CHUNKS      6u /* of 16 that may have such frames */
#define MAP_RANGES      32u
#define WORDS           (MM_FRAME_BYTES / sizeof(uint64_t))
#define STAMPED_MAX     64u /* frames of one allocation that are written to */
#define WORDS_PER_FRAME 4u

struct machine machine;

static struct mm_memmap map;
static struct mm_mem_range range[MAP_RANGES];
static struct mm_window window;
static char *ram;
static uint8_t owner[FRAMES]; /* atomic, as all below */
static uint8_t gone[FRAMES];
static uint8_t bad[FRAMES]; /* retired, or will be when its owner frees it */
static uint32_t adds_begun, bad_begun;
static struct changes changes;
static uint64_t joined_frames, bad_frames;

/* The frame's place in the arrays. */
static uint32_t index_of(uint64_t frame)
{
    uint32_t before = 0;

    for (size_t i = 0; i < PIECES; i++) {
        if (frame - piece[i].first < piece[i].count)
            return before + (uint32_t)(frame - piece[i].first);
        before += (uint32_t)piece[i].count;
    }
    stress_failed("frame 0x%llx is no RAM", (unsigned long long)frame);
}

static uint64_t frame_at(uint32_t index)
{
    const struct piece *p = piece;

    for (; index >= p->count; p++)
        index -= (uint32_t)p->count;
    return p->first + index;
}

/* ---- the machine ---- */

static void must(enum mm_err err, const char *what)
{
    if (err != MM_OK)
        stress_failed("%s: %s", what, mm_err_name(err));
}

static void map_build(void)
{
    char *virt = ram;

    must(mm_memmap_init(&map, range, MAP_RANGES, 52), "mm_memmap_init");
    window = (struct mm_window){.count = 0};
    for (size_t i = 0; i < PIECES; i++) {
        mm_phys_t start = mm_frame_phys(piece[i].first);
        uint64_t bytes = piece[i].count * MM_FRAME_BYTES;

        must(mm_window_add(&window, start, bytes, mm_virt_of(virt)), "mm_window_add");
        virt += bytes;
        if (piece[i].join == JOIN_RAM)
            continue;
        must(mm_memmap_add(&map, start, bytes,
                           piece[i].join == JOIN_INIT ? MM_MEM_USABLE : MM_MEM_BOOT_RECLAIM),
             "mm_memmap_add");
        must(mm_memmap_set_node(&map, start, bytes, piece[i].node), "mm_memmap_set_node");
    }
    must(mm_memmap_finish(&map), "mm_memmap_finish");
}

void machine_build(enum mm_pin pin, unsigned cpus)
{
    struct mm_pmm_config *config = &machine.config;
    struct mm_pmm_stats stats;

    memset(owner, 0, sizeof owner);
    memset(gone, 0, sizeof gone);
    memset(bad, 0, sizeof bad);
    adds_begun = bad_begun = 0;
    changes = (struct changes){0, 0};
    joined_frames = bad_frames = 0;
    ram = mmap(NULL, (size_t)FRAMES * MM_FRAME_BYTES, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        stress_failed("no memory for the machine");
    map_build();
    *config = (struct mm_pmm_config){.map = &map, .window = &window, .cpu_count = cpus};
    config->pin = pin;
    config->reserve_frames = 64;
    config->hotplug_bytes = 0x1000 * MM_FRAME_BYTES;
    must(mm_pmm_meta_bytes(config, &config->meta_bytes), "mm_pmm_meta_bytes");
    config->meta = malloc(config->meta_bytes);
    must(mm_pmm_init(&machine.pmm, config), "mm_pmm_init");
    for (unsigned i = 0; i < cpus; i++)
        must(mm_pmm_set_cpu_node(&machine.pmm, i, i % 4 == 3), "mm_pmm_set_cpu_node");
    mm_pmm_get_stats(&machine.pmm, &stats);
    machine.start_frames = stats.managed_frames;
}

void machine_remove(void)
{
    free(machine.config.meta);
    munmap(ram, (size_t)FRAMES * MM_FRAME_BYTES);
}

struct changes machine_changes(void)
{
    return (struct changes){RELAXED_LOAD(&changes.begun), RELAXED_LOAD(&changes.ended)};
}

bool machine_add_some(void)
{
    uint32_t number = RELAXED_LOAD(&adds_begun) < ADDS ? RELAXED_ADD(&adds_begun, 1) : ADDS;
    uint64_t frames = number < 0x400 / ADD_FRAMES ? ADD_FRAMES : RAM_FRAMES;

    if (number >= ADDS)
        return false;
    RELAXED_ADD(&changes.begun, 1);
    if (frames == ADD_FRAMES)
        must(mm_pmm_add(&machine.pmm, mm_frame_phys(0x2800 + number * frames),
                        frames * MM_FRAME_BYTES),
             "mm_pmm_add");
    else
        must(mm_pmm_add_ram(&machine.pmm,
                            mm_frame_phys(0x104000 + (number - 0x400 / ADD_FRAMES) * frames),
                            frames * MM_FRAME_BYTES, 1),
             "mm_pmm_add_ram");
    RELAXED_ADD(&joined_frames, frames);
    RELAXED_ADD(&changes.ended, 1);
    return true;
}

void machine_retire_some(struct random *random)
{
    /* Known RAM, in every third chunk of node 0's high one. */
    uint32_t index = 0x400 + random_below(random, BAD_CHUNKS) * 2 * 512 + random_below(random, 512);
    enum mm_err err;

    if (RELAXED_LOAD(&bad_begun) >= BAD_MAX || RELAXED_EXCHANGE(&bad[index], 1) != 0)
        return;
    RELAXED_ADD(&bad_begun, 1);
    RELAXED_ADD(&changes.begun, 1);
    err = mm_pmm_retire(&machine.pmm, mm_frame_phys(frame_at(index)));
    if (err == MM_OK)
        RELAXED_STORE(&gone[index], 1);
    else if (err != MM_ERR_BUSY)
        must(err, "mm_pmm_retire");
    RELAXED_ADD(&bad_frames, 1);
    RELAXED_ADD(&changes.ended, 1);
}

/* ---- frames of an owner ---- */

/* Of a long allocation its ends, and some between. */
static uint64_t stamped_frame(const struct held *held, uint64_t i)
{
    uint64_t most = held->count < STAMPED_MAX ? held->count : STAMPED_MAX;

    return i == most - 1 ? held->first + held->count - 1 : held->first + i * (held->count / most);
}

static uint64_t stamped_frames(const struct held *held)
{
    return held->count < STAMPED_MAX ? held->count : STAMPED_MAX;
}

static uint64_t *words_of(uint64_t frame)
{
    return (uint64_t *)(void *)(ram + (size_t)index_of(frame) * MM_FRAME_BYTES);
}

static size_t stamped_word(uint64_t stamp, unsigned i)
{
    return (stamp >> 9 * i) % WORDS;
}

static void expect_zero(uint64_t frame)
{
    const uint64_t *word = words_of(frame);

    for (size_t i = 0; i < WORDS; i++)
        if (word[i] != 0)
            stress_failed("frame 0x%llx is not zero", (unsigned long long)frame);
}

void held_take(struct held *held, struct random *random, bool zeroed)
{
    held->stamp = random_next(random);
    held->tagged = false;
    held_keep(held);
    for (uint64_t i = 0; zeroed && i < held->count; i++)
        expect_zero(held->first + i);
    for (uint64_t i = 0; i < stamped_frames(held); i++) {
        uint64_t frame = stamped_frame(held, i);

        for (unsigned j = 0; j < WORDS_PER_FRAME; j++)
            words_of(frame)[stamped_word(held->stamp, j)] = held->stamp ^ frame;
    }
}

void held_keep(const struct held *held)
{
    for (uint64_t frame = held->first; frame < held->first + held->count; frame++) {
        uint32_t index = index_of(frame);

        if (RELAXED_EXCHANGE(&owner[index], 1) != 0)
            stress_failed("frame 0x%llx has two owners", (unsigned long long)frame);
        if (RELAXED_LOAD(&gone[index]) != 0)
            stress_failed("frame 0x%llx was retired", (unsigned long long)frame);
    }
}

void held_verify(const struct held *held)
{
    for (uint64_t i = 0; i < stamped_frames(held); i++) {
        uint64_t frame = stamped_frame(held, i);

        for (unsigned j = 0; j < WORDS_PER_FRAME; j++)
            if (words_of(frame)[stamped_word(held->stamp, j)] != (held->stamp ^ frame))
                stress_failed("frame 0x%llx was written to by somebody else",
                              (unsigned long long)frame);
    }
}

void held_give(const struct held *held)
{
    for (uint64_t frame = held->first; frame < held->first + held->count; frame++)
        if (RELAXED_EXCHANGE(&owner[index_of(frame)], 0) != 1)
            stress_failed("frame 0x%llx has two owners: one freed it", (unsigned long long)frame);
}

/* ---- everybody is stopped ---- */

static void print_fault(void *context, const struct mm_report *report)
{
    char line[300];

    (void)context;
    mm_report_format(line, sizeof line, report);
    fprintf(stderr, "check: %s\n", line);
}

static void check(void)
{
    const struct mm_check_sink sink = {print_fault, NULL};

    if (mm_pmm_check(&machine.pmm, &sink) != 0)
        stress_failed("mm_pmm_check() found faults");
}

static enum mm_frame_state expected(uint32_t index)
{
    if (RELAXED_LOAD(&owner[index]) != 0)
        return MM_FRAME_ALLOCATED;
    return RELAXED_LOAD(&bad[index]) != 0 ? MM_FRAME_UNMANAGED : MM_FRAME_FREE;
}

/* Frames that the PMM has allocated, but no caller, are side tables; those that it does not manage,
 * though nothing said so, have not joined. */
static void compare_states(const uint8_t *state, bool drained)
{
    struct mm_pmm_stats stats;
    uint64_t managed = 0;
    uint64_t own = 0;

    mm_pmm_get_stats(&machine.pmm, &stats);
    for (uint32_t i = 0; i < FRAMES; i++) {
        enum mm_frame_state want = expected(i);

        managed += state[i] != MM_FRAME_UNMANAGED;
        if (state[i] == want || (state[i] == MM_FRAME_UNMANAGED && want == MM_FRAME_FREE))
            continue;
        if (state[i] == MM_FRAME_ALLOCATED)
            own++;
        else if (state[i] != MM_FRAME_FREE || want != MM_FRAME_UNMANAGED || drained || gone[i] != 0)
            stress_failed("frame 0x%llx: the PMM says %u, its owners %u",
                          (unsigned long long)frame_at(i), (unsigned)state[i], (unsigned)want);
        /* else it was retired while in stock, and goes when it leaves there */
    }
    if (managed != stats.managed_frames)
        stress_failed("%llu frames are managed, not %llu", (unsigned long long)managed,
                      (unsigned long long)stats.managed_frames);
    if (own != stats.side_frames)
        stress_failed("%llu frames are nobody's, %llu of them side tables", (unsigned long long)own,
                      (unsigned long long)stats.side_frames);
}

static void states_by_query(uint8_t *state)
{
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&machine.pmm, mm_frame_phys(frame_at(i)), &info);
        state[i] = (uint8_t)info.state;
    }
}

static void states_by_walk(uint8_t *state)
{
    mm_phys_t cursor = mm_phys(0);
    struct mm_phys_range run;
    enum mm_frame_state found;

    memset(state, MM_FRAME_UNMANAGED, FRAMES);
    while (mm_pmm_walk(&machine.pmm, &cursor, &run, &found) == MM_OK)
        for (uint64_t i = 0; i < run.bytes / MM_FRAME_BYTES; i++)
            state[index_of(mm_frame_of(run.start) + i)] = (uint8_t)found;
}

void machine_compare(void)
{
    static uint8_t state[FRAMES];
    struct mm_pmm_stats stats;
    uint64_t held = 0;

    check();
    mm_pmm_get_stats(&machine.pmm, &stats);
    states_by_query(state);
    compare_states(state, false);
    for (uint32_t i = 0; i < FRAMES; i++)
        held += owner[i];
    if (stats.free_frames + held + stats.side_frames != stats.managed_frames ||
        stats.free_frames != mm_pmm_free_frames(&machine.pmm))
        stress_failed("%llu frames free, %llu held, %llu side tables, of %llu",
                      (unsigned long long)stats.free_frames, (unsigned long long)held,
                      (unsigned long long)stats.side_frames,
                      (unsigned long long)stats.managed_frames);
    if (mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT) != MM_OK)
        stress_failed("a drain with all other CPUs idle does not succeed");
    states_by_walk(state);
    compare_states(state, true);
    check();
}

void machine_compare_last(void)
{
    uint64_t own_bad = 0;
    struct mm_pmm_stats stats;

    machine_compare();
    mm_pmm_get_stats(&machine.pmm, &stats);
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct mm_frame_info info;

        mm_pmm_query(&machine.pmm, mm_frame_phys(frame_at(i)), &info);
        own_bad += bad[i] != 0 && info.state == MM_FRAME_ALLOCATED; /* stays: a side table */
    }
    if (stats.managed_frames != machine.start_frames + joined_frames - bad_frames + own_bad ||
        stats.free_frames + stats.side_frames != stats.managed_frames ||
        stats.magazine_frames + stats.zeroed_frames + stats.depot_frames != 0 ||
        stats.misuse_count != 0)
        stress_failed("at the end %llu frames of %llu are free, %llu in stock",
                      (unsigned long long)stats.free_frames,
                      (unsigned long long)stats.managed_frames,
                      (unsigned long long)stats.magazine_frames);
    printf("  frames: %llu at first, %llu joined, %llu retired, %llu side tables\n",
           (unsigned long long)machine.start_frames, (unsigned long long)joined_frames,
           (unsigned long long)bad_frames, (unsigned long long)stats.side_frames);
}
