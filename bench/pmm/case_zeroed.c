/*
 * case_zeroed.c - a zeroed frame, when the idle loop has zeroed some ahead.
 *
 * Problem     Zeroing 4 KiB costs 10 to 50 times as much as allocating them.
 * Idea        mm_pmm_zero_ahead() fills the stock, not timed; then as many zeroed frames are
 *             allocated, looked at, made dirty and freed. Beside it: a free stack, and zeroing by
 *             the caller.
 * Invariants  Every frame is zero when it is handed out, and dirty when it goes back.
 * Locking     None.
 * Cost        Stretches of some 60 calls: the time stamp counter, and the median of many.
 * Rejected    Timing the filling as well: it is what the idle loop is for.
 */
#include "bench.h"

#include <string.h>

#include "../common/clock.h"
#include "../common/host.h"
#include "../common/limits.h"
#include "libmm.h"

#define RAM_FRAMES 16384u
#define STOCK_MAX  1024u
#define REPEATS    51u

static char *frame_bytes(const struct ram *ram, uint32_t frame)
{
    return (char *)ram->bytes + (size_t)(frame - ram->first) * MM_FRAME_BYTES;
}

static void frames_inspect(const struct ram *ram, const uint32_t *frame, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *bytes = frame_bytes(ram, frame[i]);

        for (size_t at = 0; at < MM_FRAME_BYTES; at++)
            if (bytes[at] != 0)
                die("frame 0x%x is not zero", frame[i]);
        memset(bytes, 0xa5, MM_FRAME_BYTES);
    }
}

static double primed_ns(const struct libmm *libmm, struct lane *lane, const struct ram *ram)
{
    struct samples samples = {.count = 0};
    uint32_t frame[STOCK_MAX];

    for (unsigned i = 0; i < REPEATS; i++) {
        size_t count = libmm->zero_ahead(lane->instance.self);
        uint64_t start = clock_ticks();

        if (count == 0 || count > STOCK_MAX)
            die("a stock of %zu zeroed frames", count);
        if (libmm->take_zeroed(lane->instance.self, frame, count) != count)
            die("%s: memory ends too early", lane->name);
        samples_add(&samples, clock_ticks_ns(start, clock_ticks()) / (double)count);
        frames_inspect(ram, frame, count);
        lane->instance.allocator->give(lane->instance.self, frame, count);
    }
    return samples_median(&samples);
}

static double zeroing_ns(struct lane *lane, const struct ram *ram)
{
    const struct allocator *allocator = lane->instance.allocator;
    struct samples samples = {.count = 0};
    uint32_t frame[64];

    for (unsigned i = 0; i < REPEATS; i++) {
        uint64_t start = clock_ticks();

        for (unsigned k = 0; k < 64; k++) {
            if (allocator->take(lane->instance.self, &frame[k], 1) != 1)
                die("%s: memory ends too early", lane->name);
            memset(frame_bytes(ram, frame[k]), 0, MM_FRAME_BYTES);
        }
        samples_add(&samples, clock_ticks_ns(start, clock_ticks()) / 64);
        frames_inspect(ram, frame, 64);
        allocator->give(lane->instance.self, frame, 64);
    }
    return samples_median(&samples);
}

void case_zeroed(const struct settings *settings, const char *name, unsigned number)
{
    struct lanes lanes;
    struct lane *libmm, *archive, *stack;

    (void)number;
    lanes_open(&lanes, RAM_FRAMES);
    libmm = lane_add(&lanes, &libmm_inlined.allocator, 0, 1);
    archive = lane_add(&lanes, &libmm_archive.allocator, 0, 1);
    stack = lane_add(&lanes, &baseline_stack, 0, 1);
    for (unsigned round = 0; round < settings->rounds; round++) {
        samples_add(&lanes.lock, limit_lock_ns());
        samples_add(&libmm->take, primed_ns(&libmm_inlined, libmm, &lanes.ram));
        samples_add(&archive->take, primed_ns(&libmm_archive, archive, &lanes.ram));
        samples_add(&stack->take, zeroing_ns(stack, &lanes.ram));
    }
    for (unsigned i = 0; i < lanes.count; i++) {
        struct lane *lane = &lanes.lane[i];
        struct figure figure = {.name = name,
                                .metric = lane == stack ? "free stack, zero" : lane->name,
                                .unit = "ns",
                                .samples = &lane->take,
                                .ratio_to = "lock xadd",
                                .other = &lanes.lock};

        if (lane != stack) {
            figure.kind = TARGET_AT_MOST;
            figure.target = 2;
        }
        report_figure(&figure);
    }
    lanes_close(&lanes);
}
