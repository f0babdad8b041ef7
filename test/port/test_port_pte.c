/*
 * test_port_pte.c - does a port's mm_pte.h say what its manual says?
 *
 * Problem     A wrong bit works until hardware walks it, and an encoder that is tested with its
 *             own decoder agrees with itself.
 * Idea        Every function is compared with entries that were typed from the manual; the
 *             literals of each port are in a table of their own (port_entries.h), this file is
 *             the same for all.
 * Invariants  Nothing here knows a bit.
 * Locking     None.
 * Cost        Microseconds.
 * Rejected    Round trips alone.
 */
#include "port_entries.h"

#include "mm_test.h"

#define ROWS(rows) (sizeof(rows) / sizeof(rows)[0])

/* Runs the body once per row, and shows its number when a check fails. The last row ends it. */
#define EACH_ROW(row, rows)                         \
    for (const __typeof__((rows)[0]) *row = (rows); \
         mm_test_row(#rows, (uint64_t)(row - (rows))), row->level != 0; row++)

static mm_pte_t entry(uint64_t bits)
{
    return (mm_pte_t){bits};
}

TEST(port_has_at_least_sixty_literal_leaves)
{
    CHECK(ROWS(leaf_rows) - 1 >= 60);
}

TEST(port_leaf_encodes_to_the_literal)
{
    EACH_ROW(row, leaf_rows)
    CHECK_EQ(mm_pte_leaf(mm_phys(row->phys), row->prot, row->type, row->flags, row->level).bits,
             row->bits);
}

TEST(port_literal_leaf_decodes_to_what_made_it)
{
    EACH_ROW(row, leaf_rows)
    {
        mm_pte_t leaf = entry(row->bits);

        CHECK(mm_pte_is_present(leaf) && !mm_pte_is_none(leaf));
        CHECK(mm_pte_is_leaf(leaf, row->level) && !mm_pte_is_table(leaf, row->level));
        CHECK_EQ(mm_pte_phys(leaf, row->level).raw, row->phys);
        CHECK_EQ(mm_pte_prot(leaf), row->prot);
        CHECK_EQ(mm_pte_type(leaf, row->level), row->type);
        CHECK_EQ(mm_pte_global(leaf), (row->flags & MM_LEAF_GLOBAL) != 0);
        CHECK(!mm_pte_accessed(leaf) && !mm_pte_dirty(leaf));
        CHECK_EQ(mm_pte_reserved(leaf, row->level, 52, true), 0);
    }
}

TEST(port_table_entry_encodes_to_the_literal_and_back)
{
    EACH_ROW(row, table_rows)
    {
        CHECK_EQ(mm_pte_table(mm_phys(row->phys), row->user).bits, row->bits);
        for (unsigned level = row->level; level <= MM_PT_LEVELS_MAX; level++) {
            CHECK(mm_pte_is_table(entry(row->bits), level));
            CHECK(!mm_pte_is_leaf(entry(row->bits), level));
            CHECK_EQ(mm_pte_phys(entry(row->bits), level).raw, row->phys);
            CHECK_EQ(mm_pte_reserved(entry(row->bits), level, 52, true), 0);
        }
        CHECK_EQ(mm_pte_prot(entry(row->bits)),
                 MM_PROT_READ | MM_PROT_WRITE | MM_PROT_EXEC | (row->user ? MM_PROT_USER : 0));
    }
}

TEST(port_leaf_that_hardware_and_software_marked_decodes_right)
{
    EACH_ROW(row, decode_rows)
    {
        mm_pte_t leaf = entry(row->bits);

        CHECK(mm_pte_is_leaf(leaf, row->level));
        CHECK_EQ(mm_pte_phys(leaf, row->level).raw, row->phys);
        CHECK_EQ(mm_pte_prot(leaf), row->prot);
        CHECK_EQ(mm_pte_type(leaf, row->level), row->type);
        CHECK_EQ(mm_pte_accessed(leaf), row->accessed);
        CHECK_EQ(mm_pte_dirty(leaf), row->dirty);
        CHECK_EQ(mm_pte_global(leaf), row->global);
    }
}

TEST(port_entry_that_is_not_present_is_neither_leaf_nor_table)
{
    EACH_ROW(row, absent_rows)
    {
        CHECK_EQ(mm_pte_is_none(entry(row->bits)), row->none);
        CHECK(!mm_pte_is_present(entry(row->bits)));
        CHECK(!mm_pte_is_leaf(entry(row->bits), row->level));
        CHECK(!mm_pte_is_table(entry(row->bits), row->level));
        CHECK_EQ(mm_pte_prot(entry(row->bits)), MM_PROT_NONE);
    }
    CHECK(mm_pte_is_none(mm_pte_empty()));
}

TEST(port_reserved_bits_are_named_exactly)
{
    EACH_ROW(row, reserved_rows)
    CHECK_EQ(mm_pte_reserved(entry(row->bits), row->level, row->phys_bits, row->nx), row->reserved);
}

TEST(port_entry_with_a_size_that_does_not_exist_is_neither_page_nor_table)
{
    EACH_ROW(row, strange_rows)
    {
        CHECK(mm_pte_is_present(entry(row->bits)));
        CHECK(!mm_pte_is_leaf(entry(row->bits), row->level));
        CHECK(!mm_pte_is_table(entry(row->bits), row->level));
        CHECK_EQ(mm_pte_reserved(entry(row->bits), row->level, row->phys_bits, row->nx),
                 row->reserved);
    }
}

TEST(port_levels_cover_what_the_manual_says)
{
    EACH_ROW(row, geometry_rows)
    {
        CHECK_EQ(mm_pt_shift(row->level), row->shift);
        CHECK_EQ(mm_pt_bytes(row->level), row->bytes);
    }
}

TEST(port_index_is_taken_from_the_right_bits)
{
    EACH_ROW(row, index_rows)
    CHECK_EQ(mm_pt_index(mm_virt(row->virt), row->level), row->index);
}

TEST(port_address_is_canonical_on_the_right_side_of_the_hole)
{
    EACH_ROW(row, canonical_rows)
    {
        CHECK_EQ(mm_pt_canonical(mm_virt(row->virt), row->level), row->canonical);
        CHECK_EQ(mm_pt_kernel_half(mm_virt(row->virt)), row->kernel);
        if (row->canonical)
            CHECK_EQ(mm_pt_index(mm_virt(row->virt), row->level) >= mm_pt_kernel_index(),
                     row->kernel);
    }
}

TEST(port_split_gives_the_literal_child)
{
    EACH_ROW(row, split_rows)
    CHECK_EQ(mm_pte_split(entry(row->leaf), row->level, row->index).bits, row->child);
}

/* Each leaf of the table, into all its children: together they say what the leaf said. */
TEST(port_split_changes_nothing_but_the_size)
{
    EACH_ROW(row, decode_rows)
    {
        mm_pte_t leaf = entry(row->bits);

        for (unsigned i = 0; row->level > 1 && i < MM_PT_ENTRIES; i++) {
            mm_pte_t child = mm_pte_split(leaf, row->level, i);
            unsigned level = row->level - 1;

            CHECK(mm_pte_is_leaf(child, level));
            CHECK_EQ(mm_pte_phys(child, level).raw, row->phys + i * mm_pt_bytes(level));
            CHECK_EQ(mm_pte_prot(child), row->prot);
            CHECK_EQ(mm_pte_type(child, level), row->type);
            CHECK_EQ(mm_pte_accessed(child), row->accessed);
            CHECK_EQ(mm_pte_dirty(child), row->dirty);
            CHECK_EQ(mm_pte_global(child), row->global);
        }
    }
}

TEST(port_other_rights_give_the_literal)
{
    EACH_ROW(row, prot_rows)
    {
        const struct mm_pte_change to = mm_pte_change_to(row->prot);
        mm_pte_t before = entry(row->before);
        unsigned had = mm_pte_prot(before);

        CHECK_EQ(mm_pte_changed(before, &to).bits, row->after);
        CHECK_EQ(mm_pte_loses(before, &to), (had & ~row->prot) != 0);
    }
}

TEST(port_other_rights_keep_frame_type_and_marks)
{
    EACH_ROW(row, prot_rows)
    {
        mm_pte_t before = entry(row->before);
        const struct mm_pte_change to = mm_pte_change_to(row->prot);
        mm_pte_t after = mm_pte_changed(before, &to);

        CHECK_EQ(mm_pte_phys(after, row->level).raw, mm_pte_phys(before, row->level).raw);
        CHECK_EQ(mm_pte_type(after, row->level), mm_pte_type(before, row->level));
        CHECK_EQ(mm_pte_dirty(after), mm_pte_dirty(before));
        CHECK_EQ(mm_pte_accessed(after), mm_pte_accessed(before));
        CHECK_EQ(mm_pte_global(after), mm_pte_global(before));
        CHECK_EQ(mm_pte_prot(after), row->prot);
    }
}

/* A leaf of level 1, with some bits the other way that are no frame's. */
static mm_pte_t random_entry(void)
{
    mm_pte_t leaf = mm_pte_leaf(mm_phys(mm_test_below(1u << 20) << MM_FRAME_SHIFT),
                                MM_PROT_READ | (unsigned)mm_test_below(16), MM_MEMTYPE_WB, 0, 1);

    for (unsigned flips = (unsigned)mm_test_below(6); flips > 0; flips--)
        leaf.bits ^= UINT64_C(1) << (mm_test_below(24) + 52) % 64;
    return leaf;
}

/* Of random entries, most of them leaves: what is of the kind of another is what that one is, and is
 * changed as it would be alone. And an entry is of its own kind, with another frame, too. */
TEST(port_leaves_of_a_kind_are_changed_alike)
{
    const uint64_t reserved = mm_pt_reserved_leaf(1, 46);
    unsigned alike = 0;

    for (unsigned i = 0; i < 200000; i++) {
        const struct mm_pte_change to =
            mm_pte_change_to(MM_PROT_READ | (unsigned)mm_test_below(16));
        mm_pte_t one = random_entry(), other = random_entry();
        bool watched = mm_test_below(2) != 0;
        struct mm_pte_kind kind;

        if (!mm_pte_is_sound_leaf(one, reserved, 1))
            continue;
        kind = mm_pte_kind_of(one, &to, reserved, watched);
        CHECK(mm_pte_is_of_kind(one, &kind));
        CHECK(mm_pte_is_of_kind(mm_pte_next(one, 1), &kind));
        CHECK_EQ(mm_pte_turned(one, &kind).bits, mm_pte_changed(one, &to).bits);
        if (!mm_pte_is_of_kind(other, &kind))
            continue;
        alike++;
        CHECK(mm_pte_is_sound_leaf(other, reserved, 1));
        CHECK_EQ(mm_pte_loses(other, &to), mm_pte_loses(one, &to));
        CHECK(!watched || mm_pte_settled(other) == mm_pte_settled(one));
        CHECK_EQ(mm_pte_turned(other, &kind).bits, mm_pte_changed(other, &to).bits);
    }
    CHECK(alike > 1000);
}

TEST(port_constants_are_those_of_the_manual)
{
    for (const struct value_row *row = value_rows; row->what != NULL; row++) {
        mm_test_row(row->what, row->value);
        CHECK_EQ(row->value, row->literal);
    }
}

/* Any leaf that can be asked for comes back as it was, at every level. */
TEST(port_random_leaf_survives_encoding_and_decoding)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned level = 1 + (unsigned)mm_test_below(MM_PT_LEAF_LEVEL_MAX);
        uint64_t phys = mm_test_random() & ((UINT64_C(1) << 52) - 1) & ~(mm_pt_bytes(level) - 1);
        unsigned prot = MM_PROT_READ | (unsigned)mm_test_below(16);
        enum mm_memtype type = (enum mm_memtype)mm_test_below(6);
        unsigned flags = (unsigned)mm_test_below(2);
        mm_pte_t leaf = mm_pte_leaf(mm_phys(phys), prot, type, flags, level);

        mm_test_row("round", i);
        CHECK(mm_pte_is_leaf(leaf, level));
        CHECK_EQ(mm_pte_phys(leaf, level).raw, phys);
        CHECK_EQ(mm_pte_prot(leaf), prot);
        CHECK_EQ(mm_pte_type(leaf, level), type);
        CHECK_EQ(mm_pte_global(leaf), flags);
        CHECK_EQ(mm_pte_reserved(leaf, level, 52, true), 0);
    }
}
