/*
 * test_pmm_failures.c - each call, with each thing that may fail inside it failing.
 *
 * Inside a call may fail: the map of a frame (to zero it, for a side table), a frame for a side
 * table when memory is short, and another CPU that does not answer. In several start states each
 * call is made with the first, second, ... of these failing, once and for ever. Then it must have
 * answered what mm/pmm.h lists, left its results alone, and changed nothing that a caller could
 * see: who has each frame, how many are free, what the tags say.
 */
#include "fixture.h"

#include <stdio.h>

#define TAKEN_MAX  2048u
#define FRAMES_MAX 0x2000u
#define CPUS       3u
#define UNTOUCHED  UINT64_C(0x5a5a5a5a5a5a5a5a)

/* What callers have. */
static struct {
    struct {
        uint64_t first, count;
    } taken[TAKEN_MAX];
    unsigned count;
    uint64_t spare[TAKEN_MAX]; /* frames that only keep memory short */
    unsigned spare_count;
} have;

static struct fixture machine;
static struct mm_pmm_config config;
static uint64_t maps_before; /* frames left mapped by machines that are gone */

/* ---- what a caller can see ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    return (hash ^ value) * UINT64_C(0x100000001b3);
}

/* Frames of this machine, numbered without the hole below 4 GiB. */
static unsigned number_of(uint64_t frame)
{
    uint64_t number = frame < 0x100000 ? frame : frame - 0x100000 + 0x1800;

    CHECK(number < FRAMES_MAX);
    return (unsigned)number;
}

/* Who has each frame: first frame of the allocation + 1, 0 = nobody that we know of. */
static const uint64_t *owners(void)
{
    static uint64_t owner[FRAMES_MAX];

    memset(owner, 0, sizeof owner);
    for (unsigned i = 0; i < have.count; i++)
        for (uint64_t n = 0; n < have.taken[i].count; n++)
            owner[number_of(have.taken[i].first + n)] = have.taken[i].first + 1;
    for (unsigned i = 0; i < have.spare_count; i++)
        owner[number_of(have.spare[i])] = have.spare[i] + 1;
    return owner;
}

/* One frame. What is neither free nor ours is the PMM's own, and counted. */
static uint64_t frame_hash(uint64_t hash, uint64_t frame, uint64_t owner, uint64_t *own)
{
    struct mm_frame_info info;
    uint16_t *tag;

    mm_pmm_query(&machine.pmm, at(frame), &info);
    if (info.state == MM_FRAME_UNMANAGED)
        return mix(hash, 1);
    if (info.state == MM_FRAME_ALLOCATED && owner != 0) {
        CHECK_EQ(mm_frame_of(info.first) + 1, owner);
        hash = mix(mix(hash, mm_frame_of(info.first)), info.count_frames);
    } else {
        CHECK_EQ(owner, 0);
        *own += info.state == MM_FRAME_ALLOCATED ? 1 : 0;
    }
    if (mm_pmm_tag(&machine.pmm, at(frame), false, &tag) == MM_OK)
        hash = mix(hash, *tag); /* a table that was made meanwhile says 0: the next line, too */
    else
        hash = mix(hash, 0);
    return hash;
}

static uint64_t logical_hash(void)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325), own = 0;
    const uint64_t *owner = owners();
    struct mm_pmm_stats stats;

    for (uint32_t i = 0; i < machine.map.count; i++) {
        const struct mm_mem_range *range = &machine.map.range[i];
        uint64_t first = mm_frame_of(range->start);

        for (uint64_t n = 0; n < range->bytes / MM_FRAME_BYTES; n++)
            hash = frame_hash(hash, first + n, owner[number_of(first + n)], &own);
    }
    mm_pmm_get_stats(&machine.pmm, &stats);
    CHECK_EQ(own, stats.side_frames);
    hash = mix(mix(hash, stats.managed_frames), stats.free_frames + stats.side_frames);
    for (unsigned zone = 0; zone < MM_ZONES; zone++)
        hash = mix(hash, stats.zone_managed_frames[zone]);
    return mix(hash, stats.misuse_count);
}

/* ---- start states ---- */

static void note(mm_phys_t first, uint64_t count)
{
    CHECK(have.count < TAKEN_MAX);
    have.taken[have.count].first = mm_frame_of(first);
    have.taken[have.count++].count = count;
}

static void take_some(unsigned order, unsigned times)
{
    struct mm_frame_request request = {.order = (uint8_t)order};
    mm_phys_t out;

    for (unsigned i = 0; i < times; i++) {
        CHECK_OK(mm_pmm_alloc(&machine.pmm, &request, &out));
        note(out, UINT64_C(1) << order);
    }
}

/* Every other allocation from `from` on goes back. */
static void give_every_other(unsigned from)
{
    unsigned kept = from;

    for (unsigned i = from; i < have.count; i++)
        if ((i - from) % 2 == 0)
            CHECK_OK(mm_pmm_free(&machine.pmm, at(have.taken[i].first), have.taken[i].count));
        else
            have.taken[kept++] = have.taken[i];
    have.count = kept;
}

static void fresh(void)
{
}

/* Blocks beside single frames and holes: side tables are in use. */
static void mixed(void)
{
    take_some(0, 30);
    take_some(2, 10);
    take_some(0, 30);
    give_every_other(0);
    take_some(3, 5);
    give_every_other(20);
}

/* Nothing but single frames between single frames. */
static void fragmented(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats);
    take_some(0, (unsigned)(stats.free_frames - stats.zone_free_frames[MM_ZONE_LOW]) - 8);
    give_every_other(0);
}

/* All CPUs have frames in stock, and zeroed ones. */
static void stocked(void)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        unsigned from = have.count;

        fake_cpu_set(cpu);
        take_some(0, 40);
        give_every_other(from);
        for (unsigned i = 0; i < 4; i++)
            (void)mm_pmm_zero_ahead(&machine.pmm);
    }
    fake_cpu_set(0);
}

/* Nearly everything in large blocks. */
static void large(void)
{
    struct mm_frame_request request = {.order = 9};
    mm_phys_t out;

    for (; request.order > 3; request.order--)
        while (mm_pmm_alloc(&machine.pmm, &request, &out) == MM_OK)
            note(out, UINT64_C(1) << request.order);
}

static void tagged(void)
{
    uint16_t *tag;

    mixed();
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(0x210), true, &tag));
    *tag = 77;
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(0x1001), true, &tag));
    *tag = 78;
}

static const struct {
    const char *name;
    void (*build)(void);
} state[] = {
    {"fresh", fresh},     {"mixed", mixed}, {"fragmented", fragmented},
    {"stocked", stocked}, {"large", large}, {"tagged", tagged},
};
#define STATES (sizeof state / sizeof state[0])

/* The same machine each time: three zones, boot memory, room for more. */
static void start(unsigned which)
{
    static const struct fixture_range range[] = {RAM(0x10, 0x30),
                                                 RAM(0x200, 0x400),
                                                 {0x600, 0x20, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0},
                                                 RAM(0xff0, 0x20),
                                                 RAM(0x100000, 0x100)};

    mm_test_cpus(CPUS);
    fake_cpu_set(0);
    maps_before = fake_counts().frame_maps - fake_counts().frame_unmaps;
    memset(&have, 0, sizeof have);
    fixture_map(&machine, range, sizeof range / sizeof range[0]);
    config = (struct mm_pmm_config){.map = &machine.map,
                                    .window = fake_window(),
                                    .cpu_count = CPUS,
                                    .flags = MM_PMM_NO_FLOORS,
                                    .hotplug_bytes = 2 * 512 * MM_FRAME_BYTES};
    free(machine.meta);
    CHECK_OK(mm_pmm_meta_bytes(&config, &config.meta_bytes));
    machine.meta = config.meta = malloc(config.meta_bytes);
    CHECK(machine.meta != NULL);
    CHECK_OK(mm_pmm_init(&machine.pmm, &config));
    state[which].build();
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

static void machine_prepare(void)
{
    fake_ram_add(at(0x10), 0x30 * MM_FRAME_BYTES);
    fake_ram_add(at(0x200), 0xf00 * MM_FRAME_BYTES);
    fake_ram_add(at(0x100000), 0x800 * MM_FRAME_BYTES); /* the upper part is plugged in later */
}

/* ---- calls ---- */

/* Errors that a call may end with, as bits. */
#define MAY(err) (1u << MM_ERR_##err)
#define MAY_OK   1u

/* What the call received: kept, and wiped if it changed something on failure. */
static mm_phys_t received[64];

static void received_clear(void)
{
    for (unsigned i = 0; i < 64; i++)
        received[i] = mm_phys(UNTOUCHED);
}

static bool received_untouched(void)
{
    for (unsigned i = 0; i < 64; i++)
        if (received[i].raw != UNTOUCHED)
            return false;
    return true;
}

static enum mm_err alloc(struct mm_frame_request request)
{
    enum mm_err err = mm_pmm_alloc(&machine.pmm, &request, &received[0]);

    if (err == MM_OK)
        note(received[0],
             request.count_frames != 0 ? request.count_frames : UINT64_C(1) << request.order);
    return err;
}

static enum mm_err bulk(struct mm_frame_request request, size_t count)
{
    enum mm_err err = mm_pmm_alloc_bulk(&machine.pmm, &request, count, received);

    for (size_t i = 0; i < count && err == MM_OK; i++)
        note(received[i], 1);
    return err;
}

static enum mm_err call_alloc_frame(void)
{
    return alloc((struct mm_frame_request){.order = 0});
}

static enum mm_err call_alloc_zero(void)
{
    return alloc((struct mm_frame_request){.flags = MM_FRAME_ZERO});
}

static enum mm_err call_alloc_zeroed(void)
{
    enum mm_err err = mm_pmm_alloc_zeroed(&machine.pmm, &received[0]);

    if (err == MM_OK)
        note(received[0], 1);
    return err;
}

static enum mm_err call_alloc_pair(void)
{
    return alloc((struct mm_frame_request){.order = 1});
}

static enum mm_err call_alloc_block(void)
{
    return alloc((struct mm_frame_request){.order = 3, .flags = MM_FRAME_ZERO});
}

static enum mm_err call_alloc_run(void)
{
    return alloc((struct mm_frame_request){
        .count_frames = 5, .boundary_bytes = 16 * MM_FRAME_BYTES, .flags = MM_FRAME_ZERO});
}

static enum mm_err call_alloc_hard(void)
{
    return alloc((struct mm_frame_request){.order = 9, .flags = MM_FRAME_TRY_HARD});
}

static enum mm_err call_alloc_no_wait(void)
{
    return alloc((struct mm_frame_request){.flags = MM_FRAME_NO_WAIT});
}

static enum mm_err call_bulk(void)
{
    return bulk((struct mm_frame_request){.order = 0}, 33);
}

static enum mm_err call_bulk_zero(void)
{
    return bulk((struct mm_frame_request){.flags = MM_FRAME_ZERO}, 20);
}

static enum mm_err call_bulk_hard(void)
{
    return bulk((struct mm_frame_request){.flags = MM_FRAME_ZERO | MM_FRAME_TRY_HARD}, 64);
}

/* The last allocation goes back. */
static enum mm_err call_free(void)
{
    enum mm_err err;

    if (have.count == 0)
        return MM_OK;
    have.count--;
    err = mm_pmm_free(&machine.pmm, at(have.taken[have.count].first), have.taken[have.count].count);
    if (err != MM_OK)
        have.count++;
    return err;
}

static enum mm_err call_free_bulk(void)
{
    mm_phys_t frame[16];
    size_t n = 0;

    while (n < 16 && have.count > 0 && have.taken[have.count - 1].count == 1)
        frame[n++] = at(have.taken[--have.count].first);
    return mm_pmm_free_bulk(&machine.pmm, frame, n);
}

static enum mm_err call_free_no_wait(void)
{
    enum mm_err err;

    if (have.count == 0 || have.taken[have.count - 1].count != 1)
        return MM_OK;
    err = mm_pmm_free_no_wait(&machine.pmm, at(have.taken[have.count - 1].first));
    have.count -= err == MM_OK ? 1u : 0u;
    return err;
}

static enum mm_err call_add(void)
{
    return mm_pmm_add(&machine.pmm, at(0x600), 0x20 * MM_FRAME_BYTES);
}

static enum mm_err call_add_ram(void)
{
    return mm_pmm_add_ram(&machine.pmm, at(0x100400), 512 * MM_FRAME_BYTES, 0);
}

static enum mm_err call_retire(void)
{
    return mm_pmm_retire(&machine.pmm, at(0x5fe));
}

static enum mm_err call_retire_low(void)
{
    return mm_pmm_retire(&machine.pmm, at(0x10));
}

static enum mm_err call_drain(void)
{
    return mm_pmm_drain(&machine.pmm, 0);
}

static enum mm_err call_drain_wait(void)
{
    return mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT);
}

static enum mm_err call_zero_ahead(void)
{
    return mm_pmm_zero_ahead(&machine.pmm);
}

static enum mm_err call_tag(void)
{
    uint16_t *tag = NULL;
    enum mm_err err = mm_pmm_tag(&machine.pmm, at(0x100010), true, &tag);

    CHECK((err == MM_OK) == (tag != NULL));
    return err;
}

static enum mm_err call_tag_managed(void)
{
    uint16_t *tag = NULL;
    enum mm_err err = mm_pmm_tag(&machine.pmm, at(0x211), true, &tag);

    CHECK((err == MM_OK) == (tag != NULL));
    return err;
}

/* All that returns no error: it must survive, and change nothing. */
static enum mm_err call_rest(void)
{
    uint64_t managed, free_frames;
    struct mm_pmm_blocks blocks;
    struct mm_pmm_stats stats;
    struct mm_phys_range run;
    enum mm_frame_state run_state;
    mm_phys_t cursor = mm_phys(0);

    mm_pmm_serve(&machine.pmm);
    mm_pmm_get_stats(&machine.pmm, &stats);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    mm_pmm_get_node_stats(&machine.pmm, 0, &managed, &free_frames);
    CHECK_EQ(free_frames + stats.magazine_frames + stats.zeroed_frames + stats.depot_frames,
             mm_pmm_free_frames(&machine.pmm));
    while (mm_pmm_walk(&machine.pmm, &cursor, &run, &run_state) == MM_OK)
        managed -= run.bytes / MM_FRAME_BYTES;
    CHECK_EQ(managed, 0);
    mm_pmm_park(&machine.pmm);
    CHECK_OK(mm_pmm_set_watermark(&machine.pmm, MM_ZONE_DMA, NULL));
    return MM_OK;
}

#define ALLOC (MAY_OK | MAY(NO_MEMORY))

static const struct {
    const char *name;
    enum mm_err (*call)(void);
    unsigned may;      /* end like this, whatever fails */
    bool changes_none; /* also on success */
    bool loses_out;    /* what it would have written to is lost */
} calls[] = {
    {"alloc frame", call_alloc_frame, ALLOC, false, false},
    {"alloc with zero", call_alloc_zero, ALLOC | MAY(WINDOW), false, false},
    {"alloc zeroed", call_alloc_zeroed, ALLOC | MAY(WINDOW), false, false},
    {"alloc pair", call_alloc_pair, ALLOC, false, false},
    {"alloc block", call_alloc_block, ALLOC | MAY(WINDOW), false, false},
    {"alloc run", call_alloc_run, ALLOC | MAY(WINDOW), false, false},
    {"alloc hard", call_alloc_hard, ALLOC, false, false},
    {"alloc no-wait", call_alloc_no_wait, ALLOC, false, false},
    {"bulk", call_bulk, ALLOC, false, true},
    {"bulk with zero", call_bulk_zero, ALLOC | MAY(WINDOW), false, true},
    {"bulk hard", call_bulk_hard, ALLOC | MAY(WINDOW), false, true},
    {"free", call_free, MAY_OK, false, false},
    {"free bulk", call_free_bulk, MAY_OK, false, false},
    {"free no-wait", call_free_no_wait, MAY_OK, false, false},
    {"add", call_add, MAY_OK, false, false},
    {"add RAM", call_add_ram, MAY_OK, false, false},
    {"retire", call_retire, MAY_OK | MAY(BUSY) | MAY(NO_ROOM), false, false},
    {"retire low", call_retire_low, MAY_OK | MAY(BUSY) | MAY(NO_ROOM), false, false},
    {"drain", call_drain, MAY_OK | MAY(BUSY), true, false},
    {"drain and wait", call_drain_wait, MAY_OK | MAY(BUSY), true, false},
    {"zero ahead", call_zero_ahead, ALLOC | MAY(WINDOW) | MAY(EXISTS), true, false},
    {"tag", call_tag, ALLOC | MAY(WINDOW), true, false},
    {"tag managed", call_tag_managed, ALLOC | MAY(WINDOW), true, false},
    {"rest", call_rest, MAY_OK, true, false},
};
#define CALLS (sizeof calls / sizeof calls[0])

/* ---- sweeps ---- */

static unsigned points; /* failures that were injected */

static void row(unsigned which, size_t call, uint64_t point)
{
    static char text[100];

    snprintf(text, sizeof text, "state \"%s\", call \"%s\", failure", state[which].name,
             calls[call].name);
    mm_test_row(text, point);
}

/* Make the call and judge it. A retired frame is the only thing that BUSY may leave. */
static enum mm_err call_judged(size_t i)
{
    uint64_t before = logical_hash();
    enum mm_err err;

    received_clear();
    err = calls[i].call();
    CHECK((calls[i].may >> err & 1u) != 0);
    if (err != MM_OK) {
        CHECK(calls[i].loses_out || received_untouched());
        CHECK_EQ(logical_hash(), before);
    } else if (calls[i].changes_none) {
        CHECK_EQ(logical_hash(), before);
    }
    points++;
    return err;
}

/* Afterwards: sound, nothing mapped, and everything can still be given back. */
static void finish(void)
{
    struct mm_pmm_stats stats;

    mm_pmm_get_stats(&machine.pmm, &stats); /* side tables stay mapped */
    CHECK_EQ(fake_counts().frame_maps - fake_counts().frame_unmaps - maps_before,
             stats.side_frames);
    CHECK_EQ(mm_test_report_count(), 0);
    mm_test_cpus(CPUS);
    (void)logical_hash();
    CHECK_OK(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT));
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    while (have.spare_count > 0)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(have.spare[--have.spare_count])));
    while (have.count > 0)
        CHECK_OK(call_free());
    (void)logical_hash();
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* Maps of frames that the call makes when nothing fails. */
static uint64_t maps_of(unsigned which, size_t call)
{
    uint64_t before;

    row(which, call, UINT64_MAX);
    start(which);
    before = fake_counts().frame_maps;
    (void)call_judged(call);
    before = fake_counts().frame_maps - before;
    finish();
    return before;
}

TEST(pmm_survives_each_map_of_a_frame_failing_once_and_for_ever)
{
    unsigned failed = 0;

    machine_prepare();
    points = 0;
    for (unsigned which = 0; which < STATES; which++)
        for (size_t i = 0; i < CALLS; i++) {
            uint64_t maps = maps_of(which, i);

            for (uint64_t point = 0; point < 2 * maps; point++) {
                row(which, i, point);
                start(which);
                if (point % 2 == 0)
                    fake_frame_map_fail(point / 2);
                else
                    fake_frame_map_fail_on(point / 2);
                failed += call_judged(i) != MM_OK ? 1 : 0;
                fake_frame_map_works();
                finish();
            }
        }
    printf("%u calls with a failing map, %u of them failed\n", points, failed);
    CHECK(failed >= 300);
}

/* All frames go but `left`, which lie apart from each other. */
static void eat(unsigned left)
{
    struct mm_frame_request any = {.flags = MM_FRAME_TRY_HARD | MM_FRAME_RESERVE};
    struct mm_frame_request low = any;
    mm_phys_t out;

    low.highest = MM_HIGHEST_1M;
    while (mm_pmm_alloc(&machine.pmm, &any, &out) == MM_OK ||
           mm_pmm_alloc(&machine.pmm, &low, &out) == MM_OK) {
        CHECK(have.spare_count < TAKEN_MAX);
        have.spare[have.spare_count++] = mm_frame_of(out);
    }
    for (unsigned i = 0; i < left && have.spare_count > 3; i++) {
        unsigned n = (i * 7 + 1) % have.spare_count;

        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(have.spare[n])));
        have.spare[n] = have.spare[--have.spare_count];
    }
}

TEST(pmm_survives_memory_for_its_own_tables_running_out)
{
    unsigned failed = 0;

    machine_prepare();
    points = 0;
    for (unsigned which = 0; which < STATES; which++)
        for (size_t i = 0; i < CALLS; i++)
            for (unsigned left = 0; left < 8; left++) {
                row(which, i, left);
                start(which);
                eat(left);
                failed += call_judged(i) != MM_OK ? 1 : 0;
                finish();
            }
    printf("%u calls with hardly any memory, %u of them failed\n", points, failed);
    CHECK(failed >= 300);
}

/* A frame of a chunk in which there is no table is retired, and a tag wanted, when nothing is
 * left: the calls that must fail, and succeed when there is memory again. */
TEST(pmm_tag_and_retire_succeed_when_memory_is_there_again)
{
    uint16_t *tag = NULL;
    mm_phys_t frame;

    machine_prepare();
    start(0);
    eat(0);
    frame = at(have.spare[0]);
    CHECK_ERR(mm_pmm_tag(&machine.pmm, frame, true, &tag), MM_ERR_NO_MEMORY);
    CHECK(tag == NULL);
    while (have.spare_count > 1)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, at(have.spare[--have.spare_count])));
    CHECK_OK(mm_pmm_tag(&machine.pmm, frame, true, &tag));
    CHECK_EQ(*tag, 0);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_BUSY);
    CHECK_OK(mm_pmm_free_frame(&machine.pmm, frame));
    CHECK_EQ(state_of(&machine, mm_frame_of(frame)), MM_FRAME_UNMANAGED);
    CHECK_ERR(mm_pmm_retire(&machine.pmm, frame), MM_ERR_NOT_FOUND);
    have.spare_count = 0;
    finish();
}

TEST(pmm_survives_cpus_that_do_not_answer)
{
    unsigned failed = 0;

    machine_prepare();
    points = 0;
    for (unsigned which = 0; which < STATES; which++)
        for (size_t i = 0; i < CALLS; i++)
            for (unsigned answering = 0; answering <= CPUS; answering++) {
                enum mm_err err;

                row(which, i, answering);
                start(which);
                if (which % 2 == 1)
                    eat(2);
                mm_test_cpus(answering);
                err = call_judged(i);
                failed += err != MM_OK ? 1 : 0;
                if (calls[i].call == call_drain_wait && answering == CPUS)
                    CHECK_OK(err);
                finish();
            }
    printf("%u calls with CPUs that do not answer, %u of them failed\n", points, failed);
    CHECK(failed >= 100);
}
