/*
 * geometry.c - the VMM on machines with other page tables: 2 to 5 levels, entries of 4 and 8 bytes,
 * tables of different lengths.
 *
 * Problem     512, 8 bytes and four or five levels are easily written where the port's word for them
 *             belongs, and no test on x86_64 can tell.
 * Idea        src/vmm, compiled against codecs of machines that do not exist (port/fake_odd), on the
 *             hostile machine that decodes their entries. This file knows the geometry from the
 *             machine only, and is the same for all of them.
 * Invariants  None.
 * Locking     None.
 * Cost        A second or so for each geometry under the sanitizers.
 * Rejected    All tests of test/vmm: their addresses are those of x86_64.
 */
#include "mm_test.h"

#include <stdio.h>
#include <string.h>

#include "format.h"
#include "frames.h"
#include "mm/vmm.h"

#define K4        UINT64_C(0x1000)
#define CPUS      3u
#define RAM_START UINT64_C(0x100000)
#define RAM_BYTES UINT64_C(0x1000000)
#define DATA      UINT64_C(0x40000000) /* no RAM: reads give ones */

static struct mm_test_frames frames;
static struct mm_vmm vmm;
static struct mm_vmm_cpu vmm_cpu[CPUS];
static struct mm_space kernel;
static unsigned levels, leaf_max;

static uint64_t bytes_of(unsigned level)
{
    return fake_format.bytes[level];
}

/* Of the lower half, or of the upper one. */
static uint64_t half_bytes(void)
{
    return bytes_of(levels) * fake_format.entries[levels] / 2;
}

/* Where tables of all levels begin: in the second entry of the root; in the upper half, behind the
 * first. */
static uint64_t low(void)
{
    return fake_format.entries[levels] > 2 ? bytes_of(levels) : bytes_of(levels - 1);
}

static uint64_t high(void)
{
    return 0 - half_bytes();
}

static void start(void)
{
    struct mm_vmm_config config = {.cpu_count = CPUS, .cpu = vmm_cpu};

    levels = fake_format.levels_max;
    for (leaf_max = 1; fake_cpu(0)->leaf_levels >> (leaf_max + 1) != 0;)
        leaf_max++;
    fake_ram_add(mm_phys(RAM_START), RAM_BYTES);
    fake_watch_changes(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    fake_one_size(true);
    mm_test_frames_init(&frames, mm_phys(RAM_START), RAM_BYTES / K4);
    config.tables = mm_test_frame_source(&frames);
    config.window = fake_window();
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        fake_cpu(cpu)->tce = true;
    CHECK_OK(mm_vmm_init(&vmm, &config));
    for (unsigned cpu = CPUS; cpu-- > 0;) {
        fake_cpu_set(cpu);
        CHECK_OK(mm_cpu_init(&vmm, cpu));
    }
    CHECK_OK(mm_space_create(&vmm, &kernel, MM_SPACE_KERNEL));
    for (unsigned cpu = CPUS; cpu-- > 0;) {
        fake_cpu_set(cpu);
        CHECK_OK(mm_space_activate(&kernel));
    }
}

static void print_fault(void *context, const struct mm_report *report)
{
    char line[200];

    (void)context;
    mm_report_format(line, sizeof line, report);
    fprintf(stderr, "%s\n", line);
}

static void sound(struct mm_space *space)
{
    struct mm_check_sink sink = {print_fault, NULL};

    CHECK_EQ(mm_space_check(space, &sink), 0);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(fake_counts().lost_accessed, 0);
    CHECK_EQ(fake_counts().lost_dirty, 0);
    CHECK_EQ(fake_counts().frame_maps, fake_counts().frame_unmaps);
}

static enum mm_err map(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                       unsigned prot)
{
    struct mm_map_request request = {
        .virt = mm_virt(virt), .phys = mm_phys(phys), .bytes = bytes, .prot = prot};

    return mm_space_map(space, &request, NULL);
}

static enum mm_err unmap(struct mm_space *space, uint64_t virt, uint64_t bytes)
{
    return mm_space_unmap(space, mm_virt(virt), bytes, 0, NULL, NULL);
}

static uint64_t leaf_bytes_at(uint64_t virt)
{
    struct mm_translation got;

    CHECK_OK(mm_space_translate(&kernel, mm_virt(virt), &got, NULL));
    return got.leaf_bytes;
}

/* ---- by hand ---- */

TEST(the_machine_has_the_geometry_that_was_asked_for)
{
    start();
    CHECK_EQ(levels, MM_ODD_LEVELS);
    CHECK_EQ(vmm.paging.levels, levels);
    CHECK_EQ(half_bytes() * 2, UINT64_C(1) << MM_ODD_VIRT_BITS);
    CHECK_EQ(fake_format.entry_bytes, MM_ODD_ENTRY_BYTES);
}

TEST(pages_of_each_size_are_mapped_in_both_halves_and_every_table_comes_back)
{
    uint32_t used;

    start();
    used = frames.used;
    for (unsigned level = 1; level <= leaf_max; level++) {
        uint64_t bytes = bytes_of(level);
        uint64_t at[] = {low() + bytes, high() + bytes};

        mm_test_row("level", level);
        for (unsigned i = 0; i < 2; i++) {
            CHECK_OK(map(&kernel, at[i], DATA, bytes, MM_PROT_RW));
            CHECK_EQ(leaf_bytes_at(at[i]), bytes);
            CHECK_EQ(fake_write64(mm_virt(at[i] + bytes - 8), 1).phys.raw, DATA + bytes - 8);
            CHECK_EQ(fake_read64(mm_virt(at[i] + bytes)).fault, FAKE_NOT_PRESENT);
            CHECK_EQ(fake_read64(mm_virt(at[i] - 8)).fault, FAKE_NOT_PRESENT);
            CHECK_EQ(mm_space_check(&kernel, NULL), 0);
            CHECK_OK(unmap(&kernel, at[i], bytes));
            CHECK_EQ(fake_read64(mm_virt(at[i])).fault, FAKE_NOT_PRESENT);
            CHECK_EQ(fake_stale_entries(), 0);
        }
        CHECK_EQ(frames.used, used);
    }
    sound(&kernel);
}

TEST(a_range_over_the_ends_of_tables_of_each_level_is_mapped_and_removed_whole)
{
    uint32_t used;

    start();
    used = frames.used;
    for (unsigned level = 2; level <= levels; level++) {
        uint64_t edge = level == levels ? low() + bytes_of(levels - 1) : low() + bytes_of(level);

        mm_test_row("level", level);
        CHECK_OK(map(&kernel, edge - 3 * K4, DATA + K4, 7 * K4, MM_PROT_RW));
        for (unsigned i = 0; i < 7; i++)
            CHECK_EQ(fake_read64(mm_virt(edge + i * K4 - 3 * K4)).phys.raw, DATA + (i + 1) * K4);
        CHECK_ERR(map(&kernel, edge, DATA, K4, MM_PROT_RW), MM_ERR_EXISTS);
        CHECK_OK(unmap(&kernel, edge - 3 * K4, 7 * K4));
        CHECK_EQ(fake_stale_entries(), 0);
        CHECK_EQ(frames.used, used);
    }
    sound(&kernel);
}

/* As small pages, so that there are tables to remove whole. */
TEST(tables_that_a_range_covers_are_removed_with_what_hangs_below)
{
    uint64_t bytes = bytes_of(2) * 5;
    struct mm_map_request request = {.virt = mm_virt(low() + bytes_of(2)),
                                     .phys = mm_phys(DATA),
                                     .bytes = bytes,
                                     .prot = MM_PROT_RW,
                                     .flags = MM_MAP_SMALL};
    uint32_t used;

    start();
    request.virt = mm_virt(low() + bytes_of(2));
    used = frames.used;
    CHECK_OK(mm_space_map(&kernel, &request, NULL));
    CHECK(frames.used >= used + 5);
    CHECK_EQ(fake_read64(mm_virt_add(request.virt, bytes - 8)).phys.raw, DATA + bytes - 8);
    CHECK_OK(unmap(&kernel, request.virt.raw, bytes));
    CHECK_EQ(frames.used, used);
    CHECK_EQ(fake_read64(request.virt).fault, FAKE_NOT_PRESENT);
    sound(&kernel);
}

TEST(large_pages_are_split_where_an_unmap_or_a_protect_cuts_them)
{
    start();
    for (unsigned level = 2; level <= leaf_max; level++) {
        uint64_t bytes = bytes_of(level);
        uint64_t at = high() + bytes;

        mm_test_row("level", level);
        CHECK_OK(map(&kernel, at, DATA, bytes, MM_PROT_RW));
        CHECK_EQ(fake_write64(mm_virt(at + 8 * K4), 1).fault, FAKE_OK);
        CHECK_OK(mm_space_protect(&kernel, mm_virt(at + K4), K4, MM_PROT_READ, 0, NULL, NULL));
        CHECK_EQ(fake_stale_entries(), 0);
        CHECK_EQ(fake_write64(mm_virt(at + K4), 1).fault, FAKE_WRITE_DENIED);
        CHECK_EQ(fake_write64(mm_virt(at + 2 * K4), 1).phys.raw, DATA + 2 * K4);
        CHECK_EQ(leaf_bytes_at(at + bytes - 8), bytes_of(level - 1));
        CHECK_OK(unmap(&kernel, at + bytes - K4, K4));
        CHECK_EQ(fake_stale_entries(), 0);
        CHECK_EQ(fake_read64(mm_virt(at + bytes - K4)).fault, FAKE_NOT_PRESENT);
        CHECK_EQ(fake_read64(mm_virt(at + bytes - 2 * K4)).phys.raw, DATA + bytes - 2 * K4);
        CHECK_EQ(mm_space_check(&kernel, NULL), 0);
        CHECK_OK(unmap(&kernel, at, bytes - K4));
    }
    sound(&kernel);
}

TEST(ranges_must_be_canonical_and_within_the_physical_width)
{
    uint64_t half, phys;

    start();
    half = half_bytes();
    phys = UINT64_C(1) << vmm.paging.phys_bits;
    CHECK_ERR(map(&kernel, half, DATA, K4, MM_PROT_RW), MM_ERR_RANGE);
    CHECK_ERR(map(&kernel, half - K4, DATA, 2 * K4, MM_PROT_RW), MM_ERR_RANGE);
    CHECK_ERR(map(&kernel, 0 - half - K4, DATA, K4, MM_PROT_RW), MM_ERR_RANGE);
    CHECK_ERR(map(&kernel, low(), phys, K4, MM_PROT_RW), MM_ERR_RANGE);
    CHECK_OK(map(&kernel, half - K4, phys - K4, K4, MM_PROT_RW));
    CHECK_EQ(fake_read64(mm_virt(half - K4)).phys.raw, phys - K4);
    CHECK_OK(map(&kernel, 0 - K4, DATA, K4, MM_PROT_RW));
    CHECK_EQ(fake_read64(mm_virt(0 - K4)).phys.raw, DATA);
    CHECK_OK(unmap(&kernel, half - K4, K4));
    CHECK_OK(unmap(&kernel, 0 - K4, K4));
    sound(&kernel);
}

/* Unmapping all of the upper half must leave the tables that user roots refer to. */
TEST(user_spaces_see_the_kernel_area_that_is_mapped_later)
{
    struct mm_space user = MM_ZERO;
    uint64_t area, rest;
    uint32_t used;

    start();
    area = vmm.layout.kernel_area.start.raw;
    rest = vmm.layout.kernel_area.bytes;
    CHECK_OK(map(&kernel, area, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_unmap(&kernel, mm_virt(area), rest, MM_RANGE_HOLES, NULL, NULL));
    used = frames.used;
    CHECK_OK(mm_space_create(&vmm, &user, 0));
    CHECK_OK(mm_space_activate(&user));
    CHECK_OK(map(&kernel, area, DATA, 3 * K4, MM_PROT_RW));
    CHECK_EQ(fake_read64(mm_virt(area + K4)).phys.raw, DATA + K4);
    CHECK_OK(map(&user, low(), DATA, K4, MM_PROT_RW | MM_PROT_USER));
    fake_user(true);
    CHECK_EQ(fake_read64(mm_virt(low())).phys.raw, DATA);
    CHECK_EQ(fake_read64(mm_virt(area)).fault, FAKE_USER_DENIED);
    fake_user(false);
    CHECK_EQ(mm_space_check(&user, NULL), 0);
    CHECK_OK(unmap(&kernel, area, 3 * K4));
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_OK(mm_space_activate(&kernel));
    CHECK_OK(mm_space_destroy(&user));
    CHECK_EQ(frames.used, used);
    sound(&kernel);
}

/* ---- random calls against a flat model ---- */

/* Two areas, one in each half, over a border between two entries of the root. */
#define AREA_PAGES 12288u
#define AREAS      2u

struct page {
    uint32_t frame;
    uint8_t prot; /* 0 = not mapped */
    uint8_t type;
};

static struct page model[AREAS][AREA_PAGES];

static uint64_t area_start(unsigned area)
{
    uint64_t before = AREA_PAGES / 2 * K4;
    uint64_t border = bytes_of(levels);

    while (border <= before)
        border += bytes_of(levels);
    return (area == 0 ? 0 : high()) + border - before;
}

struct extent {
    unsigned area;
    uint64_t first, pages;
};

static struct extent extent_random(void)
{
    struct extent e = {.area = (unsigned)mm_test_below(AREAS)};
    uint64_t unit = mm_test_below(2) == 0 ? 1 : bytes_of(2) / K4;

    e.first = mm_test_below(AREA_PAGES / unit) * unit;
    if (mm_test_below(3) == 0)
        e.first = AREA_PAGES / 2 - mm_test_below(40);
    e.pages = (1 + mm_test_below(unit == 1 ? 90 : 5)) * unit;
    if (e.pages > AREA_PAGES - e.first)
        e.pages = AREA_PAGES - e.first;
    return e;
}

static mm_virt_t extent_virt(const struct extent *e)
{
    return mm_virt(area_start(e->area) + e->first * K4);
}

static uint64_t mapped_in(const struct extent *e)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < e->pages; i++)
        count += model[e->area][e->first + i].prot != 0;
    return count;
}

static unsigned prot_random(unsigned area)
{
    static const unsigned prot[] = {MM_PROT_READ, MM_PROT_RW, MM_PROT_RX, MM_PROT_RW};

    return prot[mm_test_below(4)] | (area == 0 && mm_test_below(2) == 0 ? MM_PROT_USER : 0);
}

static void step_map(void)
{
    struct extent e = extent_random();
    uint64_t frame = DATA / K4 + mm_test_below(16) * AREA_PAGES + e.first;
    struct mm_map_request request = {.virt = extent_virt(&e),
                                     .phys = mm_phys(frame * K4),
                                     .bytes = e.pages * K4,
                                     .prot = prot_random(e.area),
                                     .type = (enum mm_memtype)mm_test_below(4)};
    enum mm_err expected = mapped_in(&e) == 0 ? MM_OK : MM_ERR_EXISTS;

    CHECK_ERR(mm_space_map(&kernel, &request, NULL), expected);
    for (uint64_t i = 0; expected == MM_OK && i < e.pages; i++)
        model[e.area][e.first + i] = (struct page){.frame = (uint32_t)(frame + i),
                                                   .prot = (uint8_t)request.prot,
                                                   .type = (uint8_t)request.type};
}

static void step_change(bool removes)
{
    struct extent e = extent_random();
    uint32_t flags = mm_test_below(4) != 0 ? MM_RANGE_HOLES : 0;
    unsigned prot = prot_random(e.area);
    enum mm_err expected = flags != 0 || mapped_in(&e) == e.pages ? MM_OK : MM_ERR_NOT_FOUND;
    mm_virt_t virt = extent_virt(&e);

    if (removes)
        CHECK_ERR(mm_space_unmap(&kernel, virt, e.pages * K4, flags, NULL, NULL), expected);
    else
        CHECK_ERR(mm_space_protect(&kernel, virt, e.pages * K4, prot, flags, NULL, NULL), expected);
    for (uint64_t i = 0; expected == MM_OK && i < e.pages; i++) {
        struct page *page = &model[e.area][e.first + i];

        if (removes)
            *page = (struct page){0};
        else if (page->prot != 0)
            page->prot = (uint8_t)prot;
    }
}

static void compare_page(unsigned area, uint64_t i)
{
    const struct page *page = &model[area][i];
    mm_virt_t virt = mm_virt(area_start(area) + i * K4);
    struct fake_access got = fake_read64(virt);
    struct mm_translation told;

    CHECK_EQ(got.fault, page->prot != 0 ? FAKE_OK : FAKE_NOT_PRESENT);
    CHECK_ERR(mm_space_translate(&kernel, virt, &told, NULL),
              page->prot != 0 ? MM_OK : MM_ERR_NOT_FOUND);
    if (page->prot == 0)
        return;
    CHECK_EQ(mm_frame_of(got.phys), page->frame);
    CHECK_EQ(mm_frame_of(told.phys), page->frame);
    CHECK_EQ(got.type, page->type);
    CHECK_EQ(told.type, page->type);
    CHECK_EQ(fake_probe(virt).prot, page->prot);
    CHECK_EQ(told.prot, page->prot);
}

TEST(random_calls_match_the_model)
{
    uint32_t used;

    start();
    used = frames.used;
    memset(model, 0, sizeof model);
    for (unsigned step = 0; step < 400; step++) {
        unsigned what = (unsigned)mm_test_below(5);

        mm_test_row("step", step);
        if (what < 2)
            step_map();
        else
            step_change(what < 4);
        CHECK_EQ(fake_stale_changed(), 0);
        for (unsigned i = 0; i < 60; i++) {
            fake_cpu_set((unsigned)mm_test_below(CPUS));
            compare_page(i % AREAS, mm_test_below(AREA_PAGES));
            compare_page(i % AREAS, AREA_PAGES / 2 - 30 + i);
        }
        fake_cpu_set(0);
        if (step % 32 == 0)
            CHECK_EQ(mm_space_check(&kernel, NULL), 0);
    }
    for (unsigned area = 0; area < AREAS; area++)
        CHECK_OK(mm_space_unmap(&kernel, mm_virt(area_start(area)), AREA_PAGES * K4, MM_RANGE_HOLES,
                                NULL, NULL));
    CHECK_EQ(frames.used, used);
    sound(&kernel);
}
