/*
 * vmm_fixture.h - a small machine with a VMM and a kernel space, for the tests of src/vmm.
 *
 * Around each store of an entry every CPU walks what the entry covers, as hardware may, and sets
 * accessed and dirty (fake_watch_changes()). Frames for tables come from a source that fails the test
 * when one comes back while a CPU may still reach it. `table_hash()` reads the tables as raw memory,
 * by the manual's bits, so that "nothing has changed" is said by something that is not under test.
 */
#ifndef VMM_FIXTURE_H
#define VMM_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "mm_test.h"

#include "frames.h"
#include "mm/host.h"
#include "mm/vmm.h"

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)
#define K4  UINT64_C(0x1000)
#define M2  (2 * MIB)

/* All of it is for tables. */
#define RAM_START MIB
#define RAM_BYTES (16 * MIB)

/* Addresses for tests. A 1 GiB boundary in the lower half, and one in the upper half. */
#define LOW  UINT64_C(0x0000004000000000)
#define HIGH UINT64_C(0xffffa00000000000)

/* Frames to map that are not RAM: reads give ones, writes are lost. */
#define DATA (8 * GIB)

struct fixture {
    struct mm_test_frames frames;
    struct mm_vmm vmm;
    struct mm_vmm_cpu cpu[FAKE_CPUS_MAX];
    struct mm_space kernel;
    unsigned levels;
    uint32_t leaf_levels;
    unsigned cpus;
};

static struct fixture fx;

static inline void fixture_machine(unsigned levels, bool one_gib, unsigned cpus)
{
    fake_ram_add(mm_phys(RAM_START), RAM_BYTES);
    fake_watch_changes(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_one_size(true);
    mm_test_frames_init(&fx.frames, mm_phys(RAM_START), RAM_BYTES / K4);
    fx.levels = levels;
    fx.leaf_levels = 1u << 1 | 1u << 2 | (one_gib ? 1u << 3 : 0);
    fx.cpus = cpus;
    for (unsigned i = 0; i < cpus; i++) {
        fake_cpu(i)->levels = levels;
        fake_cpu(i)->leaf_levels = fx.leaf_levels;
        fake_cpu(i)->tce = true; /* keeps more: what is right here is right without */
    }
}

static inline void fixture_vmm(const struct mm_layout *layout)
{
    struct mm_vmm_config config = {
        .tables = mm_test_frame_source(&fx.frames),
        .window = fake_window(),
        .layout = layout,
        .cpu_count = fx.cpus,
        .cpu = fx.cpu,
    };

    CHECK_OK(mm_vmm_init(&fx.vmm, &config));
}

static inline void fixture_cpu_init(unsigned cpu)
{
    fake_cpu_set(cpu);
    fake_interrupts(false);
    CHECK_OK(mm_cpu_init(&fx.vmm, cpu));
    fake_interrupts(true);
}

static inline void fixture_activate(unsigned cpu, struct mm_space *space)
{
    unsigned before = fake_cpu_current();

    fake_cpu_set(cpu);
    CHECK_OK(mm_space_activate(space));
    fake_cpu_set(before);
}

/* A machine, a VMM with the default layout, and a kernel space that every CPU has loaded. */
static inline void fixture_start(unsigned levels, bool one_gib, unsigned cpus)
{
    fixture_machine(levels, one_gib, cpus);
    fixture_vmm(NULL);
    for (unsigned i = 0; i < cpus; i++)
        fixture_cpu_init(i);
    fake_cpu_set(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    for (unsigned i = 0; i < cpus; i++)
        fixture_activate(i, &fx.kernel);
}

static inline void print_fault(void *context, const struct mm_report *report)
{
    char line[200];

    (void)context;
    mm_report_format(line, sizeof line, report);
    fprintf(stderr, "%s\n", line);
}

/* A checker that says what it found. */
static inline size_t space_faults(struct mm_space *space)
{
    struct mm_check_sink sink = {print_fault, NULL};

    return mm_space_check(space, &sink);
}

/* How each test ends. */
static inline void fixture_sound(struct mm_space *space)
{
    CHECK_EQ(space_faults(space), 0);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(fake_counts().lost_accessed, 0);
    CHECK_EQ(fake_counts().lost_dirty, 0);
    CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
}

static inline struct mm_map_request request_of(uint64_t virt, uint64_t phys, uint64_t bytes,
                                               unsigned prot)
{
    return (struct mm_map_request){
        .virt = mm_virt(virt), .phys = mm_phys(phys), .bytes = bytes, .prot = prot};
}

static inline enum mm_err map(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                              unsigned prot)
{
    struct mm_map_request request = request_of(virt, phys, bytes, prot);

    return mm_space_map(space, &request, NULL);
}

/* These have flushed when they return: nothing is stale on any CPU. */
static inline enum mm_err unmap(struct mm_space *space, uint64_t virt, uint64_t bytes)
{
    enum mm_err err = mm_space_unmap(space, mm_virt(virt), bytes, 0, NULL, NULL);

    CHECK_EQ(err == MM_OK ? fake_stale_changed() : 0, 0);
    return err;
}

static inline enum mm_err protect(struct mm_space *space, uint64_t virt, uint64_t bytes,
                                  unsigned prot)
{
    enum mm_err err = mm_space_protect(space, mm_virt(virt), bytes, prot, 0, NULL, NULL);

    CHECK_EQ(err == MM_OK ? fake_stale_changed() : 0, 0);
    return err;
}

/* Every CPU reads these addresses, so that it has them cached. */
static inline void touch(const uint64_t *virt, unsigned count)
{
    for (unsigned cpu = 0; cpu < fx.cpus; cpu++) {
        fake_cpu_set(cpu);
        for (unsigned i = 0; i < count; i++)
            CHECK_EQ(fake_read64(mm_virt(virt[i])).fault, FAKE_OK);
    }
    fake_cpu_set(0);
}

/* FNV-1a over the entries of a table and of all tables below it. Bits by the manual: P = 0, A = 5,
 * PS = 7 (levels 2 and 3), address = 12 to 51. A is the walkers' to set, at any time. */
static inline uint64_t table_hash(uint64_t table, unsigned level, uint64_t hash)
{
    const uint64_t *entry = (const uint64_t *)fake_ram(mm_phys(table), K4);

    CHECK(entry != NULL);
    for (unsigned i = 0; i < 512; i++) {
        hash = (hash ^ (entry[i] & ~UINT64_C(0x20))) * UINT64_C(0x100000001b3);
        if (level > 1 && (entry[i] & 1) != 0 && (entry[i] & 0x80) == 0)
            hash = table_hash(entry[i] & UINT64_C(0x000ffffffffff000), level - 1, hash);
    }
    return hash;
}

struct state {
    uint64_t hash;
    struct mm_space_stats stats;
    uint32_t frames_used;
};

static inline struct state state_of(struct mm_space *space)
{
    struct state state = {.frames_used = fx.frames.used};

    state.hash = table_hash(space->root.raw, fx.levels, UINT64_C(0xcbf29ce484222325));
    mm_space_get_stats(space, &state.stats);
    return state;
}

static inline void check_same_state(const struct state *a, const struct state *b)
{
    CHECK_EQ(a->hash, b->hash);
    CHECK_EQ(a->stats.tables, b->stats.tables);
    CHECK_EQ(a->stats.mapped_frames, b->stats.mapped_frames);
    CHECK_EQ(a->stats.leaf_4k, b->stats.leaf_4k);
    CHECK_EQ(a->stats.leaf_2m, b->stats.leaf_2m);
    CHECK_EQ(a->stats.leaf_1g, b->stats.leaf_1g);
    CHECK_EQ(a->frames_used, b->frames_used);
}

#endif
