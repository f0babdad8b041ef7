/*
 * mm.c - all of libmm brought up, in one order that works.
 *
 * Problem     The PMM needs its metadata mapped, mapping needs frames for tables, and frames need
 *             the PMM. Kernels solve the knot by hand, and overwrite the boot information or their
 *             own tables on the way.
 * Idea        The finished map hands out the first frames: tables of the new root, then the PMM's
 *             metadata. After that the PMM takes over, and the frames that were handed out early
 *             are its allocated frames. This file only wires the layers; the steps are in
 *             src/start/.
 * Invariants  I1 the sources of frames follow each other: map, then PMM; never both
 *             I2 mm->state is MM_STATE_STARTED exactly after a start that succeeded
 *             I3 after a failure the caller's root is loaded
 * Locking     None: boot CPU, interrupts off. Afterwards each layer locks for itself.
 * Cost        O(ranges + tables); a few milliseconds in an emulator.
 * Rejected    A static pool of boot frames inside the library: too large or too small for
 *             everybody.
 */
#include "mm/mm.h"

#include "base/bits.h"
#include "base/report.h"
#include "mm_cpu.h"
#include "mm_mmu.h"
#include "start/start_internal.h"

#define CPU_ALIGN 64u /* a cache line: CPUs do not wait for each other's */

static enum mm_err start_cpu(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_vmm_config config = {
        .window = &mm->window,
        .layout = &s->layout,
        .cpu_count = s->cpu_count,
        .flags = s->vmm_flags,
    };
    enum mm_err err;

    s->why.stage = MM_START_CPU;
    mm->early = (struct mm_early_source){&mm->map, &mm->window};
    config.tables = mm_early_frame_source(&mm->early);
    err = mm_vmm_init(&mm->vmm, &config);
    if (err != MM_OK)
        return start_note(s, err,
                          err == MM_ERR_RANGE ? "the layout is not canonical, aligned and disjoint"
                                              : "paging mode of the CPU",
                          s->layout.direct_map.start.raw);
    err = mm_cpu_init(&mm->vmm, mm_cpu_index());
    return start_note(s, err, "the CPU lacks something that paging needs", 0);
}

/* The last memory that the map hands out, then the PMM over what is left. */
static enum mm_err start_pmm(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_memmap_request request = {.use = MM_USE_KEEP, .window = &mm->window};
    struct mm_pmm_config config = {
        .map = &mm->map,
        .window = &mm->window,
        .cpu_count = s->cpu_count,
        .pin = s->pin,
        .flags = s->pmm_flags,
        .distance_nodes = s->distance_nodes,
        .distance = s->distance,
        .reserve_frames = s->reserve_frames,
        .hotplug_bytes = s->hotplug_bytes,
    };
    struct mm_frame_source frames;
    uint64_t cpus_at;
    mm_phys_t meta;
    enum mm_err err;

    s->why.stage = MM_START_PMM;
    err = mm_pmm_meta_bytes(&config, &config.meta_bytes);
    if (err != MM_OK)
        return start_note(s, err, "cannot size the metadata of the PMM", 0);
    cpus_at = mm_align_down(config.meta_bytes + (CPU_ALIGN - 1), CPU_ALIGN);
    request.bytes = cpus_at + s->cpu_count * sizeof(struct mm_vmm_cpu);
    err = mm_memmap_take(&mm->map, &request, &meta);
    if (err == MM_OK)
        err = mm_window_find(&mm->window, meta, request.bytes, &config.meta);
    if (err != MM_OK)
        return start_note(s, err, "no room inside the window for the metadata of the PMM",
                          config.meta_bytes);
    err = mm_pmm_init(&mm->pmm, &config);
    if (err != MM_OK)
        return start_note(s, err, "cannot build the PMM", meta.raw);
    mm_vmm_set_cpus(&mm->vmm, (struct mm_vmm_cpu *)((char *)config.meta + cpus_at));
    mm->pages = (struct mm_direct_pages){&mm->pmm, &mm->window};
    frames = mm_start_frame_source(&mm->pages);
    mm_vmm_set_sources(&mm->vmm, &frames, &mm->pmm);
    return MM_OK;
}

static enum mm_err start_arena(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_arena_config config = {
        .range = s->layout.kernel_area,
        .frames = mm_start_frame_source(&mm->pages),
        .window = &mm->window,
    };
    enum mm_err err;

    s->why.stage = MM_START_ARENA;
    if (config.range.bytes == 0) /* a layout without a kernel area: mm->area stays unusable */
        return MM_OK;
    mm->area = (struct mm_kernel_area){&mm->kernel, &mm->arena, &mm->pmm};
    err = mm_arena_init(&mm->arena, &config);
    return start_note(s, err, "cannot manage the kernel area", config.range.start.raw);
}

static enum mm_err start_heap(struct start *s)
{
    struct mm *mm = s->mm;
    struct mm_heap_config config = {
        .source = mm_direct_page_source(&mm->pages),
        .limit_bytes = s->heap_limit_bytes,
        .secret = s->secret,
    };

    s->why.stage = MM_START_HEAP;
    return start_note(s, mm_heap_init(&mm->heap, &config), "cannot build the heap", 0);
}

static enum mm_err start_run(struct start *s)
{
    enum mm_err err = mm_start_arguments(s);

    if (err == MM_OK)
        err = start_cpu(s);
    if (err == MM_OK)
        err = mm_start_boot_info(s);
    if (err == MM_OK)
        err = mm_start_map(s);
    if (err == MM_OK)
        err = mm_start_root(s);
    if (err == MM_OK)
        err = mm_start_verify(s);
    if (err == MM_OK)
        err = mm_start_load(s);
    if (err == MM_OK)
        err = start_pmm(s);
    if (err == MM_OK)
        err = start_arena(s);
    if (err == MM_OK)
        err = start_heap(s);
    return err;
}

enum mm_err mm_start_abi(struct mm *mm, const struct mm_start_info *info,
                         struct mm_start_failure *failure, const uint32_t *abi)
{
    struct start s = {.mm = mm, .info = info};
    enum mm_err err;

    s.why = (struct mm_start_failure){MM_START_ARGUMENTS, MM_ERR_BAD_ARG, 0, "NULL argument", {0}};
    err = MM_ERR_BAD_ARG;
    if (mm != NULL && info != NULL && abi != NULL && mm->state != 0) {
        err = start_note(&s, MM_ERR_BUSY, "struct mm is not zero: started already?", mm->state);
    } else if (mm != NULL && info != NULL && abi != NULL) {
        if (info->layout != NULL)
            s.layout = *info->layout;
        else
            mm_layout_default(&s.layout);
        s.old_root = mm_mmu_root();
        s.root = info->root;
        s.pin = info->pin;
        s.pmm_flags = info->pmm_flags;
        s.vmm_flags = info->vmm_flags;
        s.distance = info->distance;
        s.distance_nodes = info->distance_nodes;
        s.reserve_frames = info->reserve_frames;
        s.hotplug_bytes = info->hotplug_bytes;
        s.cpu_count = info->cpu_count != 0 ? info->cpu_count : 1;
        s.heap_limit_bytes = info->heap_limit_bytes;
        s.secret = info->secret;
        mm->window = info->window;
        err = start_run(&s);
        mm->state = err == MM_OK ? MM_STATE_STARTED : 0;
    }
    if (err != MM_OK)
        mm_start_unload(&s);
    if (err != MM_OK && failure != NULL)
        *failure = s.why;
    return err;
}

/* A switch, not a table: pointers in data would need relocating. */
const char *mm_start_stage_name(enum mm_start_stage stage)
{
    switch (stage) {
    case MM_START_ARGUMENTS:
        return "arguments";
    case MM_START_CPU:
        return "CPU";
    case MM_START_BOOT_INFO:
        return "boot information";
    case MM_START_MAP:
        return "memory map";
    case MM_START_ROOT:
        return "root";
    case MM_START_VERIFY:
        return "verify";
    case MM_START_LOAD:
        return "load";
    case MM_START_PMM:
        return "physical memory manager";
    case MM_START_ARENA:
        return "arena";
    case MM_START_HEAP:
        return "heap";
    }
    return "?";
}

void *mm_phys_pointer(const struct mm *mm, mm_phys_t phys)
{
    void *pointer;

    if (mm == NULL)
        return NULL;
    return mm_window_find(&mm->window, phys, 1, &pointer) == MM_OK ? pointer : NULL;
}

/* What mm_check() knows besides the checkers of the layers. */
struct checking {
    struct mm *mm;
    const struct mm_check_sink *sink;
    size_t faults;
};

/* Frames under a live block of the heap are not free in the PMM. */
static void check_block(void *context, void *pointer, size_t bytes)
{
    struct checking *c = context;
    uint64_t start = mm_virt_of(pointer).raw, offset = start & (MM_FRAME_BYTES - 1);

    for (uint64_t i = 0; i < mm_frames_for(offset + bytes); i++) {
        mm_virt_t page = mm_virt(start - offset + (i << MM_FRAME_SHIFT));
        struct mm_frame_info info;
        mm_phys_t phys;

        if (mm_window_phys(&c->mm->window, mm_virt_pointer(page), &phys) != MM_OK)
            continue;
        mm_pmm_query(&c->mm->pmm, phys, &info);
        if (info.state == MM_FRAME_FREE)
            mm_check_fault(c->sink, &c->faults, "a frame of a heap block is free", "mm_check",
                           c->mm, start, phys.raw, 0);
    }
}

size_t mm_check(struct mm *mm, const struct mm_check_sink *sink)
{
    struct checking c = {mm, sink, 0};
    size_t faults;

    if (mm == NULL) {
        mm_check_fault(sink, &c.faults, "no struct mm given", "mm_check", NULL, 0, 0, 0);
        return c.faults;
    }
    faults = mm_memmap_check(&mm->map, sink);
    faults += mm_pmm_check(&mm->pmm, sink);
    faults += mm_space_check(&mm->kernel, sink);
    if (mm->area.arena != NULL)
        faults += mm_arena_check(&mm->arena, sink);
    faults += mm_heap_check(&mm->heap, sink);
    if (mm->state == MM_STATE_STARTED)
        mm_heap_walk(&mm->heap, check_block, &c);
    return faults + c.faults;
}
