/*
 * test_kernel_area.c - device mappings, and what is left when a step fails.
 *
 * Problem     Two allocators in a row: each failure must give back what the other gave.
 * Idea        Every mapping is read back through the simulated MMU; each allocation of each layer
 *             is made to fail in turn, and the state compared with the one before.
 */
#include "area_fixture.h"

#include "mm_mmu.h"

#define HPET UINT64_C(0xfed00000)

/* ---- devices ---- */

TEST(kmap_keeps_the_offset_inside_the_page)
{
    static const struct {
        uint64_t phys, bytes, pages;
    } rows[] = {
        {HPET, 1024, 1},
        {HPET + 0x10, 8, 1},
        {HPET + 0xfff, 1, 1},
        {HPET + 0xfff, 2, 2},
        {HPET + 0x800, 4096, 2},
        {HPET, 4096, 1},
        {HPET, 4097, 2},
        {0, 1, 1},
        {(UINT64_C(1) << 46) - 1, 1, 1},
        {HPET + 1, 3 * 4096, 4},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *pointer = NULL;

        mm_test_row("row", i);
        begin(MIB(16));
        CHECK_OK(mm_kmap(&t.area, mm_phys(rows[i].phys), rows[i].bytes, MM_MEMTYPE_UC, &pointer));
        CHECK_EQ(raw(pointer) % PAGE, rows[i].phys % PAGE);
        CHECK_EQ(fake_probe(mm_virt_of(pointer)).phys.raw, rows[i].phys);
        CHECK_EQ(fake_probe(mm_virt(raw(pointer) + rows[i].bytes - 1)).phys.raw,
                 rows[i].phys + rows[i].bytes - 1);
        CHECK_EQ(mapped_now(), rows[i].pages);
        CHECK_OK(mm_kunmap(&t.area, pointer));
        CHECK_EQ(mapped_now(), 0);
        check_all();
    }
}

TEST(kmap_gives_rights_and_type_and_an_unmapped_guard)
{
    static const enum mm_memtype types[] = {MM_MEMTYPE_WB,       MM_MEMTYPE_WT, MM_MEMTYPE_UC,
                                            MM_MEMTYPE_UC_MINUS, MM_MEMTYPE_WP, MM_MEMTYPE_WC};

    begin(MIB(16));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct fake_access got;
        void *pointer = NULL;

        CHECK_OK(mm_kmap(&t.area, mm_phys(HPET + i * PAGE), PAGE, types[i], &pointer));
        got = fake_probe(mm_virt_of(pointer));
        CHECK_EQ(got.fault, FAKE_OK);
        CHECK_EQ(got.type, types[i]);
        CHECK_EQ(got.prot, MM_PROT_RW);
        CHECK_EQ(fake_fetch(mm_virt_of(pointer)).fault, FAKE_FETCH_DENIED);
        CHECK_EQ(fake_probe(mm_virt(raw(pointer) + PAGE)).fault, FAKE_NOT_PRESENT);
    }
    CHECK_EQ(t.arena.span_count, 6);
    check_all();
}

/* The type stands in other bits of large pages: both positions, read back by libmm's walk and by
 * the machine's. */
TEST(kmap_of_each_type_decodes_alike_on_every_page_size)
{
    static const uint64_t sizes[] = {PAGE, MIB(2), GIB(1)};

    for (unsigned i = 0; i < 3 * 6; i++) {
        enum mm_memtype type = (enum mm_memtype)(i % 6);
        struct mm_translation got;
        void *pointer = NULL;

        mm_test_row("size and type", i);
        begin(GIB(16));
        CHECK_OK(mm_kmap(&t.area, mm_phys(GIB(8)), sizes[i / 6], type, &pointer));
        for (uint64_t at = 0; at < 2; at++) { /* the first byte and the last */
            mm_virt_t virt = mm_virt(raw(pointer) + at * (sizes[i / 6] - 1));

            CHECK_OK(mm_space_translate(&t.space, virt, &got, NULL));
            CHECK_EQ(got.leaf_bytes, sizes[i / 6]);
            CHECK_EQ(got.type, type);
            CHECK_EQ(got.phys.raw, GIB(8) + at * (sizes[i / 6] - 1));
            CHECK_EQ(fake_probe(virt).type, type);
            CHECK_EQ(fake_probe(virt).phys.raw, got.phys.raw);
        }
        CHECK_OK(mm_kunmap(&t.area, pointer));
        check_all();
    }
}

/* 4 MiB at a 2 MiB boundary, behind something small: two large pages and nothing else. */
TEST(kmap_of_four_mib_is_two_large_pages)
{
    struct mm_space_stats stats;
    void *small = NULL, *large = NULL;

    begin(GIB(1));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), 64, MM_MEMTYPE_UC, &small));
    CHECK_OK(mm_kmap(&t.area, mm_phys(GIB(4) + MIB(2)), MIB(4), MM_MEMTYPE_WC, &large));
    mm_space_get_stats(&t.space, &stats);
    CHECK_EQ(stats.leaf_2m, 2);
    CHECK_EQ(stats.leaf_4k, 1);
    CHECK_EQ(raw(large) % MIB(2), 0);
    CHECK_OK(mm_kunmap(&t.area, large));
    CHECK_OK(mm_kunmap(&t.area, small));
    check_all();
}

TEST(kmap_uses_large_pages_where_size_and_address_allow)
{
    static const struct {
        uint64_t phys, bytes, leaf_2m, leaf_1g;
    } rows[] = {
        {GIB(4), MIB(2), 1, 0},
        {GIB(4) + MIB(1), MIB(4), 1, 0}, /* 1 MiB of small pages on either side */
        {GIB(4) + PAGE, MIB(2), 0, 0},
        {GIB(4), MIB(2) - PAGE, 0, 0},
        {GIB(4), GIB(1), 0, 1},
        {GIB(4) + MIB(2), GIB(1), 512, 0},
        {GIB(4) - MIB(2), GIB(1) + MIB(4), 2, 1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mm_space_stats stats;
        void *pointer = NULL;

        mm_test_row("row", i);
        begin(GIB(16));
        CHECK_OK(mm_kmap(&t.area, mm_phys(rows[i].phys), rows[i].bytes, MM_MEMTYPE_WC, &pointer));
        mm_space_get_stats(&t.space, &stats);
        CHECK_EQ(stats.leaf_2m, rows[i].leaf_2m);
        CHECK_EQ(stats.leaf_1g, rows[i].leaf_1g);
        CHECK_EQ(fake_probe(mm_virt(raw(pointer) + rows[i].bytes)).fault, FAKE_NOT_PRESENT);
        CHECK_OK(mm_kunmap(&t.area, pointer));
        check_all();
    }
}

/* The lowest free addresses do not agree with the frames: something small is in front of them. */
TEST(kmap_of_exactly_one_large_page_looks_for_addresses_that_agree)
{
    static const uint64_t bytes[] = {MIB(2), GIB(1)};

    for (unsigned i = 0; i < 2; i++) {
        struct mm_space_stats stats;
        void *small = NULL, *large = NULL;

        mm_test_row("row", i);
        begin(GIB(16));
        CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), 64, MM_MEMTYPE_UC, &small));
        CHECK_OK(mm_kmap(&t.area, mm_phys(GIB(4)), bytes[i], MM_MEMTYPE_UC, &large));
        mm_space_get_stats(&t.space, &stats);
        CHECK_EQ(stats.leaf_4k, 1);
        CHECK_EQ(stats.leaf_2m, i == 0);
        CHECK_EQ(stats.leaf_1g, i == 1);
        CHECK_OK(mm_kunmap(&t.area, small));
        CHECK_OK(mm_kunmap(&t.area, large));
        check_all();
    }
}

/* The area is too small for an address that agrees with the frames modulo 2 MiB. */
TEST(kmap_falls_back_to_small_pages_when_addresses_are_tight)
{
    struct mm_space_stats stats;
    void *pointer = NULL;

    begin(MIB(4));
    CHECK_OK(
        mm_kmap(&t.area, mm_phys(GIB(4) + MIB(1)), MIB(3) + MIB(1) / 2, MM_MEMTYPE_UC, &pointer));
    CHECK_EQ(fake_probe(mm_virt_of(pointer)).phys.raw, GIB(4) + MIB(1));
    mm_space_get_stats(&t.space, &stats);
    CHECK_EQ(stats.leaf_2m, 0);
    CHECK_OK(mm_kunmap(&t.area, pointer));
    check_all();
}

TEST(kmap_of_what_cannot_be_mapped_changes_nothing)
{
    static const struct {
        uint64_t phys, bytes;
        enum mm_memtype type;
        enum mm_err err;
    } rows[] = {
        {HPET, 0, MM_MEMTYPE_UC, MM_ERR_BAD_ARG},
        {UINT64_MAX, 2, MM_MEMTYPE_UC, MM_ERR_RANGE},
        {UINT64_C(1) << 46, 1, MM_MEMTYPE_UC, MM_ERR_RANGE},
        {(UINT64_C(1) << 46) - 1, 2, MM_MEMTYPE_UC, MM_ERR_RANGE},
        {0, UINT64_MAX, MM_MEMTYPE_UC, MM_ERR_RANGE},
        {HPET, 1, (enum mm_memtype)6, MM_ERR_BAD_ARG},
        {HPET, MIB(16), MM_MEMTYPE_UC, MM_ERR_NO_ADDRESS}, /* no room for the guard */
    };
    struct state before;

    begin(MIB(16));
    before = state_now();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *pointer = &t;

        mm_test_row("row", i);
        CHECK_ERR(mm_kmap(&t.area, mm_phys(rows[i].phys), rows[i].bytes, rows[i].type, &pointer),
                  rows[i].err);
        CHECK(pointer == &t);
        check_same(&before);
    }
    CHECK_ERR(mm_kmap(NULL, mm_phys(HPET), 1, MM_MEMTYPE_UC, &(void *){NULL}), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_kmap(&t.area, mm_phys(HPET), 1, MM_MEMTYPE_UC, NULL), MM_ERR_BAD_ARG);
}

TEST(kmap_over_what_somebody_mapped_past_the_arena_is_refused)
{
    struct mm_map_request foreign = {
        .virt = mm_virt(AREA), .phys = mm_phys(HPET), .bytes = PAGE, .prot = MM_PROT_RW};
    struct state before;
    void *pointer = &t;

    begin(MIB(16));
    CHECK_OK(mm_space_map(&t.space, &foreign, NULL));
    before = state_now();
    CHECK_ERR(mm_kmap(&t.area, mm_phys(HPET), 1, MM_MEMTYPE_UC, &pointer), MM_ERR_EXISTS);
    CHECK(pointer == &t);
    check_same(&before);
}

/* A type with a number is one thing, a CPU that has it another. */
TEST(kmap_of_a_type_that_the_cpu_lacks_is_unsupported)
{
    struct mm_dma_request request = {.bytes = PAGE, .type = MM_MEMTYPE_WC};
    struct state before;
    struct mm_dma dma;
    void *pointer = &t;

    begin(MIB(16));
    t.vmm.paging.flags &= ~MM_PAGING_WC;
    before = state_now();
    CHECK_ERR(mm_kmap(&t.area, mm_phys(HPET), 1, MM_MEMTYPE_WC, &pointer), MM_ERR_UNSUPPORTED);
    CHECK_ERR(mm_dma_alloc(&t.area, &request, &dma), MM_ERR_UNSUPPORTED);
    CHECK(pointer == &t);
    check_same(&before);
}

TEST(kmap_that_runs_out_of_tables_changes_nothing)
{
    for (int64_t n = 0;; n++) {
        struct state before;
        void *pointer = NULL;
        enum mm_err err;

        mm_test_row("failing allocation", (uint64_t)n);
        begin(GIB(16));
        before = state_now();
        t.fail_after = n;
        err = mm_kmap(&t.area, mm_phys(GIB(4) - MIB(1)), MIB(4), MM_MEMTYPE_UC, &pointer);
        if (err == MM_OK) {
            CHECK(n >= 2);
            break;
        }
        CHECK_ERR(err, MM_ERR_NO_MEMORY);
        CHECK(pointer == NULL);
        check_same(&before);
    }
}

TEST(kunmap_flushes_every_cpu_before_the_address_is_used_again)
{
    void *pointer = NULL, *again = NULL;

    begin(MIB(16));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), PAGE, MM_MEMTYPE_UC, &pointer));
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu_set(cpu);
        CHECK_EQ(fake_read64(mm_virt_of(pointer)).phys.raw, HPET);
    }
    CHECK_OK(mm_kunmap(&t.area, pointer));
    CHECK_EQ(mm_test_shootdowns().count, 1);
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET + PAGE), PAGE, MM_MEMTYPE_UC, &again));
    CHECK(again == pointer);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        fake_cpu_set(cpu);
        CHECK_EQ(fake_read64(mm_virt_of(again)).phys.raw, HPET + PAGE);
    }
    fake_cpu_set(0);
    check_all();
}

/* With a quarantine the address is not used again soon, and a stale pointer is no device. */
TEST(kunmap_leaves_an_address_that_faults)
{
    void *pointer = NULL, *again = NULL;
    struct mm_arena_info info;

    begin(MIB(16));
    struct mm_arena_config config = {.range = {mm_virt(AREA), MIB(16)},
                                     .span = t.span,
                                     .span_count = 8,
                                     .quarantine_bytes = MIB(1)};
    CHECK_OK(mm_arena_init(&t.arena, &config));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), PAGE, MM_MEMTYPE_UC, &pointer));
    CHECK_OK(mm_kunmap(&t.area, pointer));
    CHECK_ERR(mm_kunmap(&t.area, pointer), MM_ERR_MISUSE);
    check_reported("not what mm_kmap() gave");
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET + PAGE), PAGE, MM_MEMTYPE_UC, &again));
    CHECK(again != pointer);
    CHECK_EQ(fake_probe(mm_virt_of(pointer)).fault, FAKE_NOT_PRESENT);
    CHECK_OK(mm_arena_find(&t.arena, mm_virt_of(pointer), &info));
    CHECK_EQ(info.state, MM_ARENA_QUARANTINED);
    CHECK_OK(mm_kunmap(&t.area, again));
    check_all();
}

TEST(kunmap_of_anything_else_is_refused)
{
    static const char text[] = "not what mm_kmap() gave";
    struct mm_dma_request request = {.bytes = PAGE};
    struct mm_dma dma;
    char *pointer = NULL;
    struct state before;

    begin(MIB(16));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET + 0x10), 2 * PAGE, MM_MEMTYPE_UC, (void **)&pointer));
    CHECK_OK(mm_dma_alloc(&t.area, &request, &dma));
    before = state_now();
    void *wrong[] = {NULL,           pointer - 0x10,     pointer + 1, pointer + PAGE,
                     pointer - PAGE, pointer + 3 * PAGE, dma.pointer, &t};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        mm_test_row("pointer", i);
        CHECK_ERR(mm_kunmap(&t.area, wrong[i]), MM_ERR_MISUSE);
        check_reported(text);
        check_same(&before);
    }
    CHECK_OK(mm_kunmap(&t.area, pointer));
    CHECK_ERR(mm_kunmap(&t.area, pointer), MM_ERR_MISUSE);
    check_reported(text);
    CHECK_ERR(mm_kunmap(NULL, pointer), MM_ERR_BAD_ARG);
    check_reported("no kernel area given");
}

TEST(kunmap_of_a_mapping_that_somebody_changed_is_refused)
{
    void *pointer = NULL;

    begin(MIB(16));
    CHECK_OK(mm_kmap(&t.area, mm_phys(HPET), 2 * PAGE, MM_MEMTYPE_UC, &pointer));
    CHECK_OK(mm_space_unmap(&t.space, mm_virt_of(pointer), PAGE, 0, NULL, NULL));
    CHECK_ERR(mm_kunmap(&t.area, pointer), MM_ERR_MISUSE);
    check_reported("device mapping was changed behind its back");
    CHECK_EQ(t.arena.span_count, 1);
    check_all();
}
