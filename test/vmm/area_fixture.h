/*
 * area_fixture.h - a kernel area on a simulated machine with two CPUs and 15 MiB of RAM, whose table
 * frames can be made to fail.
 */
#ifndef AREA_FIXTURE_H
#define AREA_FIXTURE_H

#include "mm_test.h"

#include <string.h>

#include "mm/kernel_area.h"

#define PAGE   MM_FRAME_BYTES
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define AREA   UINT64_C(0xffffe00000000000)

/* The PMM as a source that can be made to fail. */
static struct {
    struct mm_memmap map;
    struct mm_mem_range range[32];
    struct mm_pmm pmm;
    struct mm_vmm vmm;
    struct mm_vmm_cpu cpu[2];
    struct mm_space space;
    struct mm_arena arena;
    struct mm_arena_span span[8];
    struct mm_kernel_area area;
    struct mm_frame_source source; /* the PMM's own */
    int64_t fail_after;            /* -1 = never */
    uint64_t frames_out;
} t;

static inline enum mm_err source_alloc(void *context, mm_phys_t *out)
{
    enum mm_err err;

    (void)context;
    if (t.fail_after >= 0 && t.fail_after-- == 0)
        return MM_ERR_NO_MEMORY;
    err = t.source.alloc(t.source.context, out);
    t.frames_out += err == MM_OK;
    return err;
}

static inline void source_free(void *context, mm_phys_t frame)
{
    (void)context;
    t.frames_out--;
    t.source.free(t.source.context, frame);
}

static inline void begin_pmm(void)
{
    static uint8_t meta[65536] __attribute__((aligned(64)));
    struct mm_pmm_config config = {
        .map = &t.map,
        .window = fake_window(),
        .meta = meta,
        .meta_bytes = sizeof meta,
        .cpu_count = 2,
    };

    fake_ram_add(mm_phys(0), MIB(16));
    fake_watch_changes(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    CHECK_OK(mm_memmap_init(&t.map, t.range, 32, 46));
    CHECK_OK(mm_memmap_add(&t.map, mm_phys(MIB(1)), MIB(15), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_finish(&t.map));
    CHECK_OK(mm_pmm_init(&t.pmm, &config));
    t.source = mm_pmm_frame_source(&t.pmm);
}

/* Two CPUs; the area has `area_bytes`. */
static inline void begin(uint64_t area_bytes)
{
    struct mm_vmm_config vmm = {
        .window = fake_window(), .pmm = &t.pmm, .cpu_count = 2, .cpu = t.cpu};
    struct mm_arena_config arena = {
        .range = {mm_virt(AREA), area_bytes}, .span = t.span, .span_count = 8};
    struct mm_layout layout;

    memset(&t, 0, sizeof t);
    t.fail_after = -1;
    fake_reset();
    begin_pmm();
    mm_layout_default(&layout);
    vmm.layout = &layout;
    vmm.tables = (struct mm_frame_source){.alloc = source_alloc, .free = source_free};
    CHECK_OK(mm_vmm_init(&t.vmm, &vmm));
    for (unsigned cpu = 2; cpu-- > 0;) {
        fake_cpu_set(cpu);
        CHECK_OK(mm_cpu_init(&t.vmm, cpu));
        if (cpu == 1)
            CHECK_OK(mm_space_create(&t.vmm, &t.space, MM_SPACE_KERNEL));
        CHECK_OK(mm_space_activate(&t.space));
    }
    arena.frames = vmm.tables;
    arena.window = fake_window();
    CHECK_OK(mm_arena_init(&t.arena, &arena));
    t.area = (struct mm_kernel_area){&t.space, &t.arena, &t.pmm};
}

static inline void check_all(void)
{
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    CHECK_EQ(mm_space_check(&t.space, NULL), 0);
    CHECK_EQ(mm_pmm_check(&t.pmm, NULL), 0);
    CHECK_EQ(fake_stale_entries(), 0);
}

static inline void check_reported(const char *what)
{
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, what);
    mm_test_reports_clear();
}

/* What a failed call must leave: counts of everything that it might have taken. */
struct state {
    uint64_t free_frames, frames_out, spans, taken, tables, mapped;
};

static inline uint64_t mapped_now(void)
{
    struct mm_space_stats stats;

    mm_space_get_stats(&t.space, &stats);
    return stats.mapped_frames;
}

static inline struct state state_now(void)
{
    return (struct state){mm_pmm_free_frames(&t.pmm), t.frames_out,        t.arena.span_count,
                          t.arena.taken_bytes,        t.space.table_count, mapped_now()};
}

static inline void check_same(const struct state *before)
{
    struct state now = state_now();

    CHECK_EQ(now.free_frames, before->free_frames);
    CHECK_EQ(now.frames_out, before->frames_out);
    CHECK_EQ(now.spans, before->spans);
    CHECK_EQ(now.taken, before->taken);
    CHECK_EQ(now.tables, before->tables);
    CHECK_EQ(now.mapped, before->mapped);
    check_all();
}

static inline uint64_t raw(const void *pointer)
{
    return mm_virt_of(pointer).raw;
}

#endif
