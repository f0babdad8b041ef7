/*
 * test_check.c - the checker sees each kind of damage.
 */
#include "map_test.h"

#define BITS 36u

static struct map m;

struct seen {
    unsigned count;
    const char *what;
};

static void note(void *context, const struct mm_report *report)
{
    struct seen *seen = context;

    seen->count++;
    seen->what = report->what;
    CHECK(report->kind == MM_REPORT_CORRUPT && report->object == &m.map);
}

/* Three pieces of usable memory, the middle one reserved; finished. */
static struct mm_memmap *sound(void)
{
    struct mm_memmap *map = map_init(&m, 8, BITS);

    CHECK_OK(mm_memmap_add(map, mm_phys(MIB(1)), MIB(6), MM_MEM_USABLE));
    CHECK_OK(mm_memmap_reserve(map, mm_phys(MIB(3)), MIB(2), MM_USE_IMAGE));
    CHECK_OK(mm_memmap_finish(map));
    CHECK_EQ(map_faults(map), 0);
    return map;
}

/* Exactly one fault, or more, is found; the last one is called this. */
static void damage_is_seen(const char *what)
{
    struct seen seen = {0};
    struct mm_check_sink sink = {note, &seen};

    CHECK(mm_memmap_check(&m.map, &sink) > 0);
    CHECK_TEXT(seen.what, what);
    CHECK_EQ(mm_memmap_check(&m.map, NULL), seen.count);
}

TEST(check_sees_damage_of_the_map_itself)
{
    sound()->state = 4;
    damage_is_seen("map has an unknown state");
    sound()->state = 0;
    damage_is_seen("map has an unknown state");
    sound()->phys_bits = 64;
    damage_is_seen("map has a wrong physical width");
    sound()->phys_bits = 0;
    damage_is_seen("map has a wrong physical width");
    sound()->count = 9;
    damage_is_seen("map counts more ranges than it has room for");
    sound()->range = NULL;
    damage_is_seen("map has no storage");
}

TEST(check_sees_damage_of_a_range)
{
    sound()->range[1].type = MM_MEM_BAD + 1;
    damage_is_seen("range has an unknown type");
    sound()->range[1].use = MM_USE_KEEP + 1;
    damage_is_seen("range has an unknown use");
    sound()->range[1].node = MM_NODES_MAX;
    damage_is_seen("range has an unknown node");
    sound()->range[2].type = MM_MEM_NONE;
    damage_is_seen("range describes a hole");
    (sound()->range[1].type = MM_MEM_NONE, m.map.range[1].node = 1);
    damage_is_seen("range describes a hole");
    (sound()->range[1].type = MM_MEM_RESERVED, m.map.range[1].use = MM_USE_EARLY);
    damage_is_seen("early memory is not usable");
    sound()->range[2].bytes -= 1;
    damage_is_seen("range is not frame-aligned");
    sound()->range[0].start.raw += 0x800;
    damage_is_seen("ranges overlap or are not sorted");
    sound()->range[2].bytes = 0;
    damage_is_seen("range is empty or ends beyond the physical width");
    sound()->range[2].bytes = UINT64_C(1) << BITS;
    damage_is_seen("range is empty or ends beyond the physical width");
    sound()->range[2].bytes = UINT64_C(0) - FRAME;
    damage_is_seen("range is empty or ends beyond the physical width");
    sound()->range[1].use = MM_USE_FREE;
    damage_is_seen("equal neighbours are not merged");
    sound()->range[2].start.raw -= FRAME;
    damage_is_seen("ranges overlap or are not sorted");
}
