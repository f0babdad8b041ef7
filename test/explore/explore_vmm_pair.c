/*
 * explore_vmm_pair.c - each call on a space beside each other call, on two CPUs.
 *
 * Problem     Two calls meet in a table that both need, that one of them makes, or that one of them
 *             takes away; the other finds what was there a moment ago.
 * Idea        See vmm_world.h. Ranges meet in one leaf table, in sibling leaf tables below one table,
 *             or one lies inside the other. As a rule no CPU has the space loaded: then nobody is
 *             asked to flush, and nothing but the tables decides. In the scenarios that are called
 *             shoot_... both have it loaded, and each has to answer the other while it works.
 * Invariants  None.
 * Locking     None.
 * Cost        See docs/exploring.md.
 * Rejected    None.
 */
#include "vmm_world.h"

/* In one leaf table, in its sibling, below another table of level 2, and a large page's place. */
#define PAGE_A    VIRT(1, 1, 1, 1)
#define PAGE_B    VIRT(1, 1, 1, 2)
#define SIBLING   VIRT(1, 1, 2, 1)
#define COUSIN    VIRT(1, 2, 1, 1)
#define ALL_OF_AB VIRT(1, 1, 1, 0)
#define GIGABYTE  VIRT(1, 1, 0, 0)

#define NONE 0u
#define ONE  1u
#define BOTH 3u

/* ---- worlds ---- */

#define WORLD(function, ...)                                                     \
    static void function(void)                                                   \
    {                                                                            \
        static const struct world world = {                                      \
            .cpus = 2, .probe = {PAGE_A, PAGE_B, SIBLING, COUSIN}, __VA_ARGS__}; \
                                                                                 \
        world_make(&world);                                                      \
    }

#define AT(virt, n)            \
    {                          \
        virt, PAGE, DATA(n), 0 \
    }
#define AT_LARGE(virt, n)             \
    {                                 \
        virt, LARGE, LARGE_DATA(n), 0 \
    }

WORLD(empty, .loaded = NONE)
WORLD(a_and_b, .loaded = NONE, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)})
WORLD(a_and_sibling, .loaded = NONE, .mapped = {AT(PAGE_A, 1), AT(SIBLING, 2)})
WORLD(a_and_cousin, .loaded = NONE, .mapped = {AT(PAGE_A, 1), AT(COUSIN, 2)})
WORLD(a_mapped, .loaded = NONE, .mapped = {AT(PAGE_A, 1)})
WORLD(large, .loaded = NONE, .mapped = {AT_LARGE(ALL_OF_AB, 0)})
WORLD(a_remembered, .loaded = NONE, .mapped = {AT(PAGE_A, 1)}, .remembered = true)
WORLD(a_and_b_remembered, .loaded = NONE, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)},
      .remembered = true)
WORLD(a_on_both, .loaded = BOTH, .mapped = {AT(PAGE_A, 1)})
WORLD(a_and_b_on_both, .loaded = BOTH, .mapped = {AT(PAGE_A, 1), AT(PAGE_B, 2)})
WORLD(a_and_sibling_on_both, .loaded = BOTH, .mapped = {AT(PAGE_A, 1), AT(SIBLING, 2)})
WORLD(large_on_both, .loaded = BOTH, .mapped = {AT_LARGE(ALL_OF_AB, 0)})
WORLD(a_on_one, .loaded = ONE, .mapped = {AT(PAGE_A, 1)})
WORLD(large_on_one, .loaded = ONE, .mapped = {AT_LARGE(ALL_OF_AB, 0)})

/* Two pages over the border of two leaf tables, of two tables of level 2, and one behind the first. */
#define OVER_2   VIRT(1, 1, 1, 511)
#define OVER_3   VIRT(1, 1, 511, 511)
#define BEHIND_2 VIRT(1, 1, 2, 1)

#define BORDERS(function, ...)                                                                   \
    static void function(void)                                                                   \
    {                                                                                            \
        static const struct world world = {                                                      \
            .cpus = 2,                                                                           \
            .loaded = NONE,                                                                      \
            .probe = {OVER_2, OVER_2 + PAGE, BEHIND_2, OVER_3, OVER_3 + PAGE, BEHIND_2 - LARGE}, \
            .hot = {0, 1, 2, 511},                                                               \
            __VA_ARGS__};                                                                        \
                                                                                                 \
        world_make(&world);                                                                      \
    }

BORDERS(border_empty, .marks = false)
BORDERS(over_2, .mapped = {{OVER_2, 2 * PAGE, DATA(1), 0}})
BORDERS(beside_over_2, .mapped = {AT(BEHIND_2 - LARGE, 7)})
BORDERS(over_3, .mapped = {{OVER_3, 2 * PAGE, DATA(1), 0}})
BORDERS(over_3_and_behind, .mapped = {{OVER_3, 2 * PAGE, DATA(1), 0}, AT(BEHIND_2, 7)})

/* ---- what they do ---- */

#define DO(function, call)     \
    static void function(void) \
    {                          \
        (void)(call);          \
    }

DO(t0_maps_a, map(T0, PAGE_A, PAGE, DATA(3)))
DO(t0_maps_b, map(T0, PAGE_B, PAGE, DATA(3)))
DO(t0_maps_sibling, map(T0, SIBLING, PAGE, DATA(3)))
DO(t0_maps_large, map(T0, ALL_OF_AB, LARGE, LARGE_DATA(1)))
DO(t0_unmaps_a, unmap(T0, PAGE_A, PAGE))
DO(t0_unmaps_all, unmap_all(T0, ALL_OF_AB, LARGE))
DO(t0_protects_a, lower(T0, PAGE_A, PAGE))
DO(t0_translates_a, translate(T0, PAGE_A))
DO(t0_leaves, leave_space(T0))

DO(t1_maps_a, map(T1, PAGE_A, PAGE, DATA(4)))
DO(t1_maps_b, map(T1, PAGE_B, PAGE, DATA(4)))
DO(t1_maps_sibling, map(T1, SIBLING, PAGE, DATA(4)))
DO(t1_maps_cousin, map(T1, COUSIN, PAGE, DATA(4)))
DO(t1_unmaps_a, unmap(T1, PAGE_A, PAGE))
DO(t1_unmaps_b, unmap(T1, PAGE_B, PAGE))
DO(t1_unmaps_sibling, unmap(T1, SIBLING, PAGE))
DO(t1_unmaps_cousin, unmap(T1, COUSIN, PAGE))
DO(t1_unmaps_all, unmap_all(T1, ALL_OF_AB, LARGE))
DO(t1_protects_a, lower(T1, PAGE_A, PAGE))
DO(t1_protects_b, lower(T1, PAGE_B, PAGE))
DO(t1_protects_sibling, lower(T1, SIBLING, PAGE))
DO(t1_translates_a, translate(T1, PAGE_A))
DO(t1_translates_b, translate(T1, PAGE_B))
DO(t1_destroys, destroy(T1))
DO(t0_destroys, destroy(T0))
DO(t0_maps_over_2, map(T0, OVER_2, 2 * PAGE, DATA(5)))
DO(t0_maps_over_3, map(T0, OVER_3, 2 * PAGE, DATA(5)))
DO(t0_unmaps_over_2, unmap(T0, OVER_2, 2 * PAGE))
DO(t0_unmaps_over_3, unmap(T0, OVER_3, 2 * PAGE))
DO(t1_maps_behind, map(T1, BEHIND_2, PAGE, DATA(6)))
DO(t1_unmaps_behind, unmap(T1, BEHIND_2, PAGE))
DO(t1_unmaps_over_2, unmap(T1, OVER_2, 2 * PAGE))
DO(t1_unmaps_all_over_2, unmap_all(T1, OVER_2, 2 * PAGE))
DO(t0_unmaps_first, unmap(T0, OVER_2, PAGE))
DO(t1_unmaps_beside, unmap(T1, BEHIND_2 - LARGE, PAGE))
DO(t1_unmaps_first, unmap(T1, OVER_2, PAGE))
DO(t0_unmaps_gigabyte, unmap_all(T0, GIGABYTE, LARGE * 512))
DO(t1_protects_second, lower(T1, OVER_3 + PAGE, PAGE))

static void t0_maps_and_unmaps_a(void)
{
    if (map(T0, PAGE_A, PAGE, DATA(5)) == MM_OK)
        (void)unmap(T0, PAGE_A, PAGE);
}

static void t1_maps_and_unmaps_b(void)
{
    if (map(T1, PAGE_B, PAGE, DATA(6)) == MM_OK)
        (void)unmap(T1, PAGE_B, PAGE);
}

static void t0_activates(void)
{
    (void)activate(T0);
    (void)mmu_access(PAGE_A, false);
}

static void t1_activates(void)
{
    (void)activate(T1);
    (void)mmu_access(PAGE_A, false);
}

static void t1_uses_and_leaves(void)
{
    if (activate(T1) == MM_OK) {
        (void)mmu_access(PAGE_A, false);
        (void)leave_space(T1);
    }
}

static void t0_cursor_maps_a_and_b(void)
{
    if (!cursor_begin(T0))
        return;
    (void)cursor_map(T0, PAGE_A, DATA(8));
    (void)cursor_map(T0, PAGE_B, DATA(9));
    cursor_end(T0);
}

static void t0_cursor_unmaps_a_and_b(void)
{
    if (!cursor_begin(T0))
        return;
    (void)cursor_unmap(T0, PAGE_A);
    (void)cursor_unmap(T0, PAGE_B);
    cursor_end(T0);
}

static void t0_cursor_maps_b_and_unmaps_a(void)
{
    if (!cursor_begin(T0))
        return;
    (void)cursor_map(T0, PAGE_B, DATA(8));
    (void)cursor_unmap(T0, PAGE_A);
    cursor_end(T0);
}

static void t0_cursor_unmaps_a(void)
{
    if (!cursor_begin(T0))
        return;
    (void)cursor_unmap(T0, PAGE_A);
    cursor_end(T0);
}

static void t1_cursor_maps_b_and_sibling(void)
{
    if (!cursor_begin(T1))
        return;
    (void)cursor_map(T1, PAGE_B, DATA(10));
    (void)cursor_map(T1, SIBLING, DATA(11));
    cursor_end(T1);
}

static void t1_maps_other_for_large(void)
{
    (void)unmap(T1, ALL_OF_AB, LARGE);
    (void)map(T1, PAGE_A, PAGE, DATA(6));
}

/* The leaf table is freed, and its frame is taken for the next. */
static void t1_unmaps_a_maps_cousin(void)
{
    (void)unmap(T1, PAGE_A, PAGE);
    (void)map(T1, COUSIN, PAGE, DATA(6));
}

static void t0_unmaps_and_maps(void)
{
    if (unmap(T0, PAGE_A, PAGE) == MM_OK)
        (void)map(T0, PAGE_A, PAGE, DATA(5));
}

/* As far as half a second goes, or two. */
#define ALL_ORDERS .bounds = {EXPLORE_ALL, 1, 0}
#define SHORT      .bounds = {2, 1, 0}, .longer = {EXPLORE_ALL, 0, 0}
#define SHORTER    .bounds = {2, 0, 0}, .longer = {2, 1, 0}
#define SHORTEST   .bounds = {1, 0, 0}, .longer = {1, 1, 0}

#define PAIR(world, t0, t1)                                                    \
    .flags = EXPLORE_RUN_ON, .cpus = 2, .set_up = world, .check = world_check, \
    .thread = {{t0, 0, 0}, {t1, 1, 0}}

const struct explore_scenario explore_scenarios[] = {
    {.name = "map_map_same_leaf", PAIR(empty, t0_maps_a, t1_maps_b), SHORT},
    {.name = "map_map_sibling", PAIR(empty, t0_maps_a, t1_maps_sibling), SHORT},
    {.name = "map_map_same_page", PAIR(empty, t0_maps_a, t1_maps_a), SHORT},
    {.name = "map_map_inside", PAIR(empty, t0_maps_large, t1_maps_b), SHORT},
    {.name = "map_unmap_same_leaf", PAIR(a_mapped, t0_maps_b, t1_unmaps_a), SHORT},
    {.name = "map_unmap_sibling", PAIR(a_and_sibling, t0_maps_b, t1_unmaps_sibling), ALL_ORDERS},
    {.name = "map_unmap_same_page", PAIR(a_mapped, t0_maps_a, t1_unmaps_a), SHORT},
    {.name = "map_unmap_inside", PAIR(a_mapped, t0_maps_b, t1_unmaps_all), SHORT},
    {.name = "map_unmap_up", PAIR(a_mapped, t0_unmaps_a, t1_maps_sibling), SHORT},
    {.name = "map_unmap_root", PAIR(a_mapped, t0_unmaps_a, t1_maps_cousin), SHORT},
    {.name = "map_protect_same_leaf", PAIR(a_mapped, t0_protects_a, t1_maps_b), ALL_ORDERS},
    {.name = "map_protect_sibling", PAIR(a_mapped, t0_protects_a, t1_maps_sibling), ALL_ORDERS},
    {.name = "map_translate", PAIR(empty, t0_maps_a, t1_translates_a), ALL_ORDERS},
    {.name = "map_split", PAIR(large, t0_unmaps_a, t1_maps_a), SHORT},
    {.name = "map_activate", PAIR(a_on_one, t0_maps_b, t1_activates), ALL_ORDERS},
    {.name = "map_destroy", PAIR(a_mapped, t0_maps_b, t1_destroys), ALL_ORDERS},
    {.name = "map_table_destroy", PAIR(a_mapped, t0_maps_sibling, t1_destroys), ALL_ORDERS},
    {.name = "unmap_unmap_same_leaf", PAIR(a_and_b, t0_unmaps_a, t1_unmaps_b), ALL_ORDERS},
    {.name = "unmap_unmap_sibling", PAIR(a_and_sibling, t0_unmaps_a, t1_unmaps_sibling), SHORT},
    {.name = "unmap_unmap_cousin", PAIR(a_and_cousin, t0_unmaps_a, t1_unmaps_cousin), SHORT},
    {.name = "unmap_unmap_same_page", PAIR(a_mapped, t0_unmaps_a, t1_unmaps_a), SHORT},
    {.name = "unmap_unmap_inside", PAIR(a_and_b, t0_unmaps_a, t1_unmaps_all), SHORT},
    {.name = "unmap_unmap_both_all", PAIR(a_mapped, t0_unmaps_all, t1_unmaps_all), SHORT},
    {.name = "unmap_protect_same_leaf", PAIR(a_and_b, t0_unmaps_a, t1_protects_b), ALL_ORDERS},
    {.name = "unmap_protect_sibling",
     PAIR(a_and_sibling, t0_unmaps_a, t1_protects_sibling),
     ALL_ORDERS},
    {.name = "unmap_protect_same_page", PAIR(a_mapped, t0_unmaps_a, t1_protects_a), SHORT},
    {.name = "unmap_protect_inside", PAIR(a_and_b, t0_unmaps_all, t1_protects_b), SHORT},
    {.name = "unmap_translate", PAIR(a_mapped, t0_unmaps_a, t1_translates_a), ALL_ORDERS},
    {.name = "unmap_translate_inside", PAIR(a_and_b, t0_unmaps_all, t1_translates_b), ALL_ORDERS},
    {.name = "unmap_map_translate",
     PAIR(a_mapped, t0_unmaps_and_maps, t1_translates_a),
     ALL_ORDERS},
    {.name = "unmap_split", PAIR(large, t0_unmaps_a, t1_unmaps_all), SHORT},
    {.name = "unmap_activate", PAIR(a_on_one, t0_unmaps_a, t1_activates), ALL_ORDERS},
    {.name = "unmap_destroy", PAIR(a_mapped, t0_unmaps_a, t1_destroys), ALL_ORDERS},
    {.name = "protect_protect_same_leaf", PAIR(a_and_b, t0_protects_a, t1_protects_b), ALL_ORDERS},
    {.name = "protect_protect_same_page", PAIR(a_mapped, t0_protects_a, t1_protects_a), ALL_ORDERS},
    {.name = "protect_translate", PAIR(a_mapped, t0_protects_a, t1_translates_a), ALL_ORDERS},
    {.name = "protect_split", PAIR(large, t0_unmaps_a, t1_protects_b), SHORTER},
    {.name = "protect_activate", PAIR(a_on_one, t0_protects_a, t1_activates), ALL_ORDERS},
    {.name = "protect_destroy", PAIR(a_mapped, t0_protects_a, t1_destroys), ALL_ORDERS},
    {.name = "translate_translate", PAIR(a_mapped, t0_translates_a, t1_translates_a), ALL_ORDERS},
    {.name = "translate_split", PAIR(large, t0_unmaps_a, t1_translates_b), ALL_ORDERS},
    {.name = "translate_activate", PAIR(a_on_one, t0_translates_a, t1_activates), ALL_ORDERS},
    {.name = "translate_destroy", PAIR(a_mapped, t0_translates_a, t1_destroys), ALL_ORDERS},
    {.name = "split_split", PAIR(large, t0_unmaps_a, t1_unmaps_b), SHORTER},
    {.name = "split_activate", PAIR(large_on_one, t0_unmaps_a, t1_activates), SHORT},
    {.name = "split_destroy", PAIR(large, t0_unmaps_a, t1_destroys), ALL_ORDERS},
    {.name = "activate_activate", PAIR(a_mapped, t0_activates, t1_activates), ALL_ORDERS},
    {.name = "activate_destroy", PAIR(a_mapped, t0_destroys, t1_activates), ALL_ORDERS},
    {.name = "leave_destroy", PAIR(a_on_one, t0_leaves, t1_destroys), ALL_ORDERS},
    {.name = "use_leave_destroy", PAIR(a_mapped, t0_destroys, t1_uses_and_leaves), ALL_ORDERS},
    /* ranges that lie in more than one table, and twice each */
    {.name = "over_map_map", PAIR(border_empty, t0_maps_over_2, t1_maps_behind), SHORT},
    {.name = "over_unmap_map", PAIR(over_2, t0_unmaps_over_2, t1_maps_behind), SHORT},
    {.name = "over_unmap_unmap", PAIR(over_2, t0_unmaps_over_2, t1_unmaps_over_2), SHORT},
    {.name = "over_3_map_map", PAIR(border_empty, t0_maps_over_3, t1_maps_behind), SHORT},
    {.name = "over_3_unmap_unmap",
     PAIR(over_3_and_behind, t0_unmaps_over_3, t1_unmaps_behind),
     SHORT},
    {.name = "over_3_unmap_protect", PAIR(over_3, t0_unmaps_over_3, t1_protects_second), SHORT},
    {.name = "twice_each", PAIR(empty, t0_maps_and_unmaps_a, t1_maps_and_unmaps_b), SHORTER},
    {.name = "over_unmap_first", PAIR(over_2, t0_unmaps_over_2, t1_unmaps_first), SHORT},
    {.name = "over_unmap_all_first", PAIR(over_2, t0_unmaps_first, t1_unmaps_all_over_2), SHORT},
    {.name = "over_map_unmap_beside", PAIR(beside_over_2, t0_maps_over_2, t1_unmaps_beside), SHORT},
    /* each CPU goes back to the leaf table that it locked last */
    {.name = "remembered_map_unmap", PAIR(a_remembered, t0_maps_b, t1_unmaps_a), SHORT},
    {.name = "remembered_unmap_unmap", PAIR(a_and_b_remembered, t0_unmaps_a, t1_unmaps_b), SHORT},
    {.name = "remembered_protect_unmap", PAIR(a_remembered, t0_protects_a, t1_unmaps_a), SHORT},
    {.name = "remembered_used_again",
     PAIR(a_remembered, t0_maps_b, t1_unmaps_a_maps_cousin),
     SHORT},
    {.name = "remembered_unmap_destroy", PAIR(a_remembered, t0_unmaps_a, t1_destroys), SHORT},
    {.name = "gigabyte_map", PAIR(a_and_sibling, t0_unmaps_gigabyte, t1_maps_b), SHORTER},
    {.name = "gigabyte_unmap", PAIR(a_and_sibling, t0_unmaps_gigabyte, t1_unmaps_sibling), SHORTER},
    {.name = "gigabyte_translate", PAIR(a_and_sibling, t0_unmaps_gigabyte, t1_translates_a), SHORT},
    /* cursors, which keep their table locked from page to page */
    {.name = "cursor_map_map", PAIR(empty, t0_cursor_maps_a_and_b, t1_maps_b), SHORT},
    {.name = "cursor_map_unmap",
     PAIR(a_mapped, t0_cursor_maps_b_and_unmaps_a, t1_unmaps_a),
     SHORTER},
    {.name = "cursor_map_cursor",
     PAIR(empty, t0_cursor_maps_a_and_b, t1_cursor_maps_b_and_sibling),
     SHORTER},
    {.name = "cursor_unmap_map", PAIR(a_and_b, t0_cursor_unmaps_a_and_b, t1_maps_sibling), SHORT},
    {.name = "cursor_unmap_unmap", PAIR(a_and_b, t0_cursor_unmaps_a_and_b, t1_unmaps_b), SHORT},
    {.name = "cursor_unmap_cursor",
     PAIR(a_mapped, t0_cursor_unmaps_a_and_b, t1_cursor_maps_b_and_sibling),
     SHORTER},
    {.name = "cursor_unmap_protect", PAIR(a_and_b, t0_cursor_unmaps_a_and_b, t1_protects_b), SHORT},
    {.name = "cursor_unmap_translate",
     PAIR(a_and_b, t0_cursor_unmaps_a_and_b, t1_translates_b),
     ALL_ORDERS},
    {.name = "cursor_unmap_destroy", PAIR(a_mapped, t0_cursor_unmaps_a, t1_destroys), ALL_ORDERS},
    {.name = "cursor_split_unmap", PAIR(large, t0_cursor_unmaps_a, t1_unmaps_b), SHORTER},
    {.name = "cursor_split_other",
     PAIR(large, t0_cursor_unmaps_a, t1_maps_other_for_large),
     SHORTER},
    {.name = "cursor_hole_map", PAIR(empty, t0_cursor_unmaps_a, t1_maps_a), SHORT},
    {.name = "shoot_cursor_unmap_unmap",
     PAIR(a_and_b_on_both, t0_cursor_unmaps_a, t1_unmaps_b),
     SHORTEST},
    /* both have the space loaded */
    {.name = "shoot_unmap_map", PAIR(a_on_both, t0_unmaps_a, t1_maps_b), SHORTER},
    {.name = "shoot_unmap_translate", PAIR(a_on_both, t0_unmaps_a, t1_translates_a), ALL_ORDERS},
    {.name = "shoot_unmap_unmap_same_leaf",
     PAIR(a_and_b_on_both, t0_unmaps_a, t1_unmaps_b),
     SHORTEST},
    {.name = "shoot_unmap_unmap_sibling",
     PAIR(a_and_sibling_on_both, t0_unmaps_a, t1_unmaps_sibling),
     SHORTEST},
    {.name = "shoot_unmap_unmap_inside",
     PAIR(a_and_b_on_both, t0_unmaps_a, t1_unmaps_all),
     SHORTEST},
    {.name = "shoot_unmap_protect", PAIR(a_and_b_on_both, t0_unmaps_a, t1_protects_b), SHORTER},
    {.name = "shoot_protect_protect", PAIR(a_and_b_on_both, t0_protects_a, t1_protects_b), SHORTER},
    {.name = "shoot_split_unmap", PAIR(large_on_both, t0_unmaps_a, t1_unmaps_all), SHORTEST},
    {.name = "shoot_split_split",
     PAIR(large_on_both, t0_unmaps_a, t1_unmaps_b),
     .bounds = {0, 1, 0},
     .longer = {1, 0, 0}},
    {.name = "destroy_destroy", PAIR(a_mapped, t0_destroys, t1_destroys), ALL_ORDERS},
    {0},
};
