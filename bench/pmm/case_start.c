/*
 * case_start.c - what an allocator costs before it is used: start-up, metadata, code.
 *
 * Problem     A loop over all frames at boot is seconds on a large machine; metadata and code are
 *             memory that nobody else gets.
 * Idea        start: mm_pmm_init() over metadata that are mapped and were touched, as in a kernel's
 *             direct map. metadata: what is asked for, less what each CPU adds (its magazines).
 *             code: .text of src/pmm, compiled for x86_64 as the archive is (bench/CMakeLists.txt).
 * Invariants  -
 * Locking     None.
 * Cost        -
 * Rejected    Start-up over fresh memory: that measures the page faults of this process.
 */
#include "bench.h"

#include "../common/clock.h"
#include "libmm.h"

#include BENCH_TEXT_BYTES /* made by the build: TEXT_BYTES_RELEASE, TEXT_BYTES_HARDENED */

#define REPEATS    5u
#define GIB_FRAMES ((uint64_t)1 << (30 - MM_FRAME_SHIFT))

static double start_ms(struct instance *instance, const struct ram *ram)
{
    const struct allocator *allocator = instance->allocator;
    struct samples samples = {.count = 0};

    for (unsigned i = 0; i < REPEATS; i++) {
        void *self = allocator->prepare(&instance->memory, ram, 1);
        uint64_t start = clock_thread_ns();

        allocator->build(self);
        samples_add(&samples, (double)(clock_thread_ns() - start) / 1e6);
    }
    return samples_median(&samples);
}

/* Baselines with a word or more per frame do not take part at 1 TiB. */
void case_start(const struct settings *settings, const char *name, unsigned gib)
{
    static const struct allocator *const allocators[] = {
        &libmm_inlined.allocator, &libmm_hardened.allocator, &baseline_bitmap,
        &baseline_stack,          &baseline_buddy,
    };
    unsigned count = gib <= 16 ? 5 : 3;
    double target = gib == 16 ? 0.1 : gib == 1024 ? 2 : 0;
    struct lanes lanes;

    lanes_open(&lanes, (gib == 1024 && settings->quick ? 32 : gib) * GIB_FRAMES);
    for (unsigned i = 0; i < count; i++)
        lane_add(&lanes, allocators[i], 0, 1);
    for (unsigned round = 0; round < settings->rounds; round++)
        for (unsigned i = 0; i < count; i++)
            samples_add(&lanes.lane[i].take, start_ms(&lanes.lane[i].instance, &lanes.ram));
    for (unsigned i = 0; i < count; i++) {
        struct lane *lane = &lanes.lane[i];
        struct figure figure = {
            .name = name, .metric = lane->name, .unit = "ms", .samples = &lane->take};

        if (i == 0 && target > 0) {
            figure.kind = TARGET_AT_MOST;
            figure.target = target;
        }
        report_figure(&figure);
    }
    lanes_close(&lanes);
}

static void single_report(const char *name, const char *metric, const char *unit, double value,
                          double target)
{
    struct samples samples = {.count = 0};
    struct figure figure = {.name = name, .metric = metric, .unit = unit, .samples = &samples};

    samples_add(&samples, value);
    if (target > 0) {
        figure.kind = TARGET_AT_MOST;
        figure.target = target;
    }
    report_figure(&figure);
}

void case_metadata(const struct settings *settings, const char *name, unsigned gib)
{
    static const struct allocator *const allocators[] = {
        &libmm_inlined.allocator, &libmm_hardened.allocator, &baseline_bitmap,
        &baseline_stack,          &baseline_buddy,
    };
    struct ram ram = ram_open(gib * GIB_FRAMES);

    (void)settings;
    for (unsigned i = 0; i < sizeof allocators / sizeof allocators[0]; i++) {
        const struct allocator *allocator = allocators[i];
        size_t one = allocator->metadata_bytes(&ram, 1), two = allocator->metadata_bytes(&ram, 2);

        single_report(name, allocator->name, "KiB/GiB", (double)(one - (two - one)) / 1024 / gib,
                      i == 0 ? 44 : 0);
        if (two > one)
            single_report("metadata of a CPU", allocator->name, "KiB", (double)(two - one) / 1024,
                          0);
    }
    ram_close(&ram);
}

void case_text(const struct settings *settings, const char *name, unsigned number)
{
    (void)settings, (void)number;
    single_report(name, "libmm", "KiB", TEXT_BYTES_RELEASE / 1024.0, 24);
    single_report(name, "libmm hardened", "KiB", TEXT_BYTES_HARDENED / 1024.0, 24);
}
