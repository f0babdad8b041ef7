/*
 * vmm_machine.c - the machine of a round, and how a round ends.
 *
 * Problem     What is right on one machine may be wrong on one with five levels, without 1 GiB pages,
 *             with a loader's tables, with address-space ids, or with frames that have no tags.
 * Idea        The seed chooses; every combination comes in some hundred rounds.
 * Invariants  I1 a loader's tables have something mapped below each, so that which tables there are
 *                follows from what is mapped for them, too
 * Locking     One thread.
 * Cost        A millisecond.
 * Rejected    A fixed list of machines: what is not on it is never tried.
 */
#include <string.h>

#include "vmm_ops_internal.h"

#define RAM_START     UINT64_C(0x100000)
#define RAM_FRAMES    4096u
#define PMM_START     UINT64_C(0x10000000)
#define PMM_BYTES     UINT64_C(0x800000)
#define META_BYTES    (UINT64_C(64) << 10)
#define FOREIGN       UINT64_C(0x4000000)
#define FOREIGN_MAX   24u
#define FOREIGN_IMAGE UINT64_C(0xffffffff80000000)

static uint64_t meta[META_BYTES / 8];

/* ---- a loader's tables: by the manual's bits, P = 1, W = 2, U = 4, PS = 0x80, G = 0x100 ---- */

static uint64_t *foreign(uint64_t table)
{
    return (uint64_t *)fake_ram(mm_phys(table), MM_FRAME_BYTES);
}

static void foreign_leaf(uint64_t page, uint64_t frame, unsigned level)
{
    bool high = ops_kernel_half(page);
    uint64_t table = FOREIGN;

    for (unsigned at = machine.levels; at > level; at--) {
        uint64_t *slot = &foreign(table)[page >> 9 * (at - 1) & 511];

        if (*slot == 0) {
            OPS_CHECK(machine.foreign_tables < FOREIGN_MAX);
            *slot = (FOREIGN + machine.foreign_tables++ * MM_FRAME_BYTES) | (high ? 3 : 7);
        }
        table = *slot & ~UINT64_C(0xfff);
    }
    foreign(table)[page >> 9 * (level - 1) & 511] = frame << MM_FRAME_SHIFT | 3 |
                                                    (level > 1 ? 0x80 : 0) |
                                                    (high || machine.low_global ? 0x100 : 0);
}

static void foreign_map(uint64_t page, uint64_t pages, uint64_t frame, unsigned level)
{
    struct model_piece piece = {.first = page,
                                .pages = pages,
                                .frame = frame,
                                .prot = MM_PROT_READ | MM_PROT_WRITE | MM_PROT_EXEC,
                                .global = !ops_kernel_half(page) && machine.low_global};

    for (uint64_t i = 0; i < pages; i += model_leaf_pages(level))
        foreign_leaf(page + i, frame + i, level);
    model_map(&machine.model[0], &piece, 1u << level);
}

/* Around 1 GiB, and around the image. Each CPU comes with them loaded. */
static void foreign_build(void)
{
    uint64_t image = FOREIGN_IMAGE >> MM_FRAME_SHIFT;

    fake_ram_add(mm_phys(FOREIGN), FOREIGN_MAX * MM_FRAME_BYTES);
    machine.foreign_tables = 1;
    foreign_map(GIB_PAGES - 2 * M2_PAGES, M2_PAGES, 3 * GIB_PAGES, 2);
    foreign_map(GIB_PAGES - M2_PAGES, M2_PAGES - 40, 5 * GIB_PAGES, 1);
    if ((machine.leaf_levels >> 3 & 1) != 0)
        foreign_map(GIB_PAGES, GIB_PAGES, GIB_PAGES, 3);
    foreign_map(image, M2_PAGES, 4 * M2_PAGES, 2);
    foreign_map(image + M2_PAGES, 100, 7 * M2_PAGES, 1);
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++) {
        fake_cpu(cpu)->root = mm_phys(FOREIGN);
        fake_cpu(cpu)->root_loaded = true;
    }
}

/* ---- building ---- */

static void walkers_build(void)
{
    static const struct {
        const char *name;
        enum fake_schedule schedule;
        unsigned one_in, how;
    } kind[] = {
        {"always", FAKE_ALWAYS, 1, FAKE_WATCH_READ | FAKE_WATCH_WRITE},
        {"now and then", FAKE_RANDOM, 4, FAKE_WATCH_READ | FAKE_WATCH_WRITE},
        {"now and then", FAKE_RANDOM, 12, FAKE_WATCH_READ | FAKE_WATCH_WRITE},
        {"now and then, reading", FAKE_RANDOM, 6, FAKE_WATCH_READ},
    };
    unsigned i = (unsigned)ops_below(4);

    machine.schedule = kind[i].name;
    fake_schedule(kind[i].schedule, kind[i].one_in, ops_random());
    fake_watch_changes(kind[i].how);
    fake_one_size(true);
}

static void cpus_build(void)
{
    machine.cpus = 1 + (unsigned)ops_below(CPUS_MAX);
    machine.levels = ops_one_in(3) ? 5 : 4;
    machine.leaf_levels = 1u << 1 | 1u << 2 | (ops_one_in(3) ? 0 : 1u << 3);
    machine.tce = ops_one_in(2);
    machine.asids = ops_one_in(2);
    machine.broadcasts = ops_one_in(4);
    fake_broadcasts(machine.broadcasts);
    for (unsigned i = 0; i < machine.cpus; i++) {
        fake_cpu(i)->levels = machine.levels;
        fake_cpu(i)->leaf_levels = machine.leaf_levels;
        fake_cpu(i)->tce = machine.tce;
        fake_cpu(i)->has_asid = machine.asids;
    }
}

static void places_build(void)
{
    struct mm_layout layout;

    mm_layout_default(&layout);
    machine.place[0] = UINT64_C(0x8000000000) >> MM_FRAME_SHIFT; /* slots 0 and 1 of 4 levels */
    machine.place[1] = (layout.kernel_area.start.raw + UINT64_C(0x8000000000)) >> MM_FRAME_SHIFT;
    machine.place[2] = UINT64_C(0xffffa00000000000) >> MM_FRAME_SHIFT;
    machine.place[3] = UINT64_C(0xffffffffc0000000) >> MM_FRAME_SHIFT; /* ends at 2^64 */
    machine.places = PLACES_MAX;
    if (machine.adopted) {
        machine.place[0] = GIB_PAGES;
        machine.place[3] = (FOREIGN_IMAGE >> MM_FRAME_SHIFT) + M2_PAGES;
    }
}

static void pmm_build(void)
{
    struct mm_pmm_config config = {.map = &machine.memmap,
                                   .window = fake_window(),
                                   .cpu_count = machine.cpus,
                                   .flags = MM_PMM_NO_FLOORS,
                                   .meta = meta,
                                   .meta_bytes = sizeof meta};
    struct mm_frame_source tables = fake_frame_source(&machine.frames);

    fake_ram_add(mm_phys(PMM_START), PMM_BYTES);
    OPS_EQ(mm_memmap_init(&machine.memmap, machine.range, 4, 46), MM_OK);
    OPS_EQ(mm_memmap_add(&machine.memmap, mm_phys(PMM_START), PMM_BYTES, MM_MEM_USABLE), MM_OK);
    OPS_EQ(mm_memmap_finish(&machine.memmap), MM_OK);
    OPS_EQ(mm_pmm_init(&machine.pmm, &config), MM_OK);
    mm_vmm_set_sources(&machine.vmm, &tables, &machine.pmm);
    machine.pmm_free = mm_pmm_free_frames(&machine.pmm);
}

/* Tables for these slots are there from the start, and stay. */
static void area_kept(void)
{
    const struct mm_virt_range *area = &machine.vmm.layout.kernel_area;
    uint64_t first = area->start.raw >> MM_FRAME_SHIFT;
    uint64_t last = (area->start.raw + (area->bytes - 1)) >> MM_FRAME_SHIFT;
    struct model_space *model = &machine.model[0];

    for (unsigned slot = model_slot(model, first); slot <= model_slot(model, last); slot++)
        model->kept[slot] = true;
}

static void kernel_build(void)
{
    struct mm_vmm_config config = {.tables = fake_frame_source(&machine.frames),
                                   .window = fake_window(),
                                   .cpu_count = machine.cpus,
                                   .cpu = machine.cpu};

    OPS_EQ(mm_vmm_init(&machine.vmm, &config), MM_OK);
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++) {
        fake_cpu_set(cpu);
        fake_interrupts(false);
        OPS_EQ(mm_cpu_init(&machine.vmm, cpu), MM_OK);
        fake_interrupts(true);
    }
    fake_cpu_set(0);
    if (machine.adopted)
        OPS_EQ(mm_space_adopt(&machine.vmm, &machine.space[0], NULL), MM_OK);
    else
        OPS_EQ(mm_space_create(&machine.vmm, &machine.space[0], MM_SPACE_KERNEL), MM_OK);
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++) {
        fake_cpu_set(cpu);
        OPS_EQ(mm_space_activate(&machine.space[0]), MM_OK);
    }
    fake_cpu_set(0);
    machine.lives[0] = true;
    area_kept();
}

void ops_machine_build(void)
{
    memset(machine.space, 0, sizeof machine.space);
    memset(machine.lives, 0, sizeof machine.lives);
    memset(machine.loaded, 0, sizeof machine.loaded);
    memset(machine.table_limit, 0, sizeof machine.table_limit);
    memset(machine.frame_limit, 0, sizeof machine.frame_limit);
    memset(machine.dirty, 0, sizeof machine.dirty);
    machine.foreign_tables = 0;
    machine.frozen = false;
    fake_reset();
    fake_ram_add(mm_phys(RAM_START), RAM_FRAMES * MM_FRAME_BYTES);
    cpus_build();
    walkers_build();
    machine.adopted = ops_one_in(4);
    machine.low_global = ops_one_in(2);
    fake_frames_init(&machine.frames, mm_phys(RAM_START), RAM_FRAMES);
    machine.frames.untagged = machine.untagged = ops_one_in(4);
    places_build();
    for (unsigned i = 0; i < SPACES; i++)
        model_begin(&machine.model[i], machine.levels);
    if (machine.adopted)
        foreign_build();
    kernel_build();
    pmm_build();
    ops_compare_all();
}

/* ---- the end ---- */

/* Everything goes; nothing is left. */
void ops_machine_end(void)
{
    uint64_t half = UINT64_C(1) << (9 * machine.levels - 1);
    struct mm_space_stats stats;

    ops_compare_all();
    for (unsigned cpu = 0; cpu < machine.cpus; cpu++) {
        fake_cpu_set(cpu);
        OPS_EQ(mm_space_activate(&machine.space[0]), MM_OK);
        machine.loaded[cpu] = 0;
    }
    fake_cpu_set(0);
    for (unsigned i = 1; i < SPACES; i++) {
        if (machine.lives[i])
            OPS_EQ(mm_space_destroy(&machine.space[i]), MM_OK);
        machine.lives[i] = false;
    }
    OPS_EQ(mm_space_unmap(&machine.space[0], mm_virt(0), half << MM_FRAME_SHIFT, MM_RANGE_HOLES,
                          NULL, NULL),
           MM_OK);
    OPS_EQ(mm_space_unmap(&machine.space[0], mm_virt(0 - (half << MM_FRAME_SHIFT)),
                          half << MM_FRAME_SHIFT, MM_RANGE_HOLES, NULL, NULL),
           MM_OK);
    machine.model[0].count = 0;
    memset(machine.dirty, 0, sizeof machine.dirty);
    mm_space_get_stats(&machine.space[0], &stats);
    OPS_EQ(stats.tables, model_sums(&machine.model[0]).tables);
    ops_compare_all();
    OPS_EQ(mm_pmm_free_frames(&machine.pmm), machine.pmm_free);
    OPS_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
