/*
 * map_test.h - what the tests of the memory map share: a map with storage, comparing it with a
 * list of pieces, and an oracle that works out that list in the most naive way.
 */
#ifndef MAP_TEST_H
#define MAP_TEST_H

#include <stdlib.h>
#include <string.h>

#include "mm_test.h"

#include "mm/memmap.h"

#define ROOM          2048u
#define FRAME         MM_FRAME_BYTES
#define KIB(n)        ((uint64_t)(n) << 10)
#define MIB(n)        ((uint64_t)(n) << 20)
#define GIB(n)        ((uint64_t)(n) << 30)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A map and the memory it works in. */
struct map {
    struct mm_memmap map;
    struct mm_mem_range storage[ROOM];
};

static inline struct mm_memmap *map_init(struct map *m, uint32_t capacity, unsigned phys_bits)
{
    memset(m->storage, 0xa5, sizeof m->storage);
    CHECK(capacity <= ROOM);
    CHECK_OK(mm_memmap_init(&m->map, m->storage, capacity, phys_bits));
    return &m->map;
}

/* Start, end, type, use, node: a row of an expected map. */
struct piece {
    uint64_t start;
    uint64_t end;
    unsigned type;
    unsigned use;
    unsigned node;
};

static inline void check_fault_show(void *context, const struct mm_report *report)
{
    char line[200];

    (void)context;
    mm_report_format(line, sizeof line, report);
    print_error("%s\n", line);
}

static inline size_t map_faults(const struct mm_memmap *map)
{
    struct mm_check_sink sink = {check_fault_show, NULL};

    return mm_memmap_check(map, &sink);
}

static inline void map_show(const struct mm_memmap *map)
{
    char line[100];

    for (uint32_t i = 0; i < map->count; i++) {
        mm_mem_range_format(line, sizeof line, &map->range[i]);
        print_error("    %s, node %u\n", line, map->range[i].node);
    }
}

/* The use of what was reserved for both. */
static inline unsigned use_join(unsigned a, unsigned b)
{
    unsigned greater = a > b ? a : b, lesser = a > b ? b : a;

    return greater == MM_USE_MODULE && lesser == MM_USE_BOOTINFO ? MM_USE_MODULE_INFO : greater;
}

/* The map is exactly these pieces, and sound. */
static inline void map_is(const struct mm_memmap *map, const struct piece *piece, size_t count)
{
    bool same = map->count == count;

    CHECK_EQ(map_faults(map), 0);
    for (size_t i = 0; same && i < count; i++) {
        const struct mm_mem_range *r = &map->range[i];

        same = r->start.raw == piece[i].start && r->bytes == piece[i].end - piece[i].start &&
               r->type == piece[i].type && r->use == piece[i].use && r->node == piece[i].node;
    }
    if (same)
        return;
    print_error("the map:\n");
    map_show(map);
    print_error("expected:\n");
    for (size_t i = 0; i < count; i++)
        print_error("    %#llx - %#llx %s, %s, node %u\n", (unsigned long long)piece[i].start,
                    (unsigned long long)piece[i].end, mm_mem_type_name(piece[i].type),
                    mm_mem_use_name(piece[i].use), piece[i].node);
    CHECK(same);
}
#define MAP_IS(map, ...)                                    \
    do {                                                    \
        static const struct piece expected[] = __VA_ARGS__; \
        map_is(map, expected, LENGTH(expected));            \
    } while (0)

/* No byte of [start, end) can be handed out. */
static inline void map_keeps(const struct mm_memmap *map, uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mm_mem_range *r = &map->range[i];

        if (r->type == MM_MEM_USABLE && r->use == MM_USE_FREE)
            CHECK(r->start.raw >= end || r->start.raw + r->bytes <= start);
    }
}

/* ---- the oracle ---- */

/* One thing said about [start, end): a type, or a use (then the type is NONE). */
struct claim {
    uint64_t start;
    uint64_t end;
    unsigned type;
    unsigned use;
};

#define CLAIMS 1024u

struct oracle {
    uint64_t limit;
    unsigned claims;
    size_t pieces;
    struct claim claim[CLAIMS];
    struct piece piece[4 * CLAIMS];
};

static inline void oracle_init(struct oracle *o, unsigned phys_bits)
{
    memset(o, 0, sizeof *o);
    o->limit = UINT64_C(1) << phys_bits;
}

static inline void oracle_claim(struct oracle *o, uint64_t start, uint64_t bytes, unsigned type,
                                unsigned use)
{
    uint64_t end = start + bytes;

    if (end < start || end > o->limit)
        end = o->limit;
    if (start >= end)
        return;
    CHECK(o->claims < CLAIMS);
    o->claim[o->claims++] = (struct claim){start, end, type, use};
}

static inline uint64_t frame_down(uint64_t x)
{
    return x / FRAME * FRAME;
}

static inline uint64_t frame_up(uint64_t x)
{
    return (x + FRAME - 1) / FRAME * FRAME;
}

static inline int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Free now or some day: of such memory a frame is handed out only as a whole. */
static inline bool lendable(unsigned type)
{
    return type == MM_MEM_USABLE || type == MM_MEM_BOOT_RECLAIM || type == MM_MEM_ACPI_RECLAIM;
}

/* Is each byte of [a, b) in some claim of such memory? Asked byte by byte where one ends inside. */
static inline bool oracle_covered(const struct oracle *o, uint64_t a, uint64_t b)
{
    for (unsigned i = 0; i < o->claims; i++)
        if (lendable(o->claim[i].type) && o->claim[i].start <= a && o->claim[i].end >= b)
            return true;
    if (b - a > FRAME)
        return false;
    for (uint64_t byte = a; byte < b; byte++) {
        bool found = false;

        for (unsigned i = 0; i < o->claims && !found; i++)
            found =
                lendable(o->claim[i].type) && o->claim[i].start <= byte && o->claim[i].end > byte;
        if (!found)
            return false;
    }
    return true;
}

/* [a, b) is one frame, or no claim begins or ends inside it. */
static inline void oracle_piece(struct oracle *o, uint64_t a, uint64_t b)
{
    struct piece piece = {a, b, MM_MEM_NONE, MM_USE_FREE, 0};
    struct piece *last = o->pieces > 0 ? &o->piece[o->pieces - 1] : NULL;

    for (unsigned i = 0; i < o->claims; i++) {
        const struct claim *c = &o->claim[i];

        if (c->start >= b || c->end <= a)
            continue;
        if (c->type > piece.type)
            piece.type = c->type;
        piece.use = use_join(piece.use, c->use);
    }
    if (lendable(piece.type) && !oracle_covered(o, a, b))
        piece.type = piece.type == MM_MEM_USABLE ? MM_MEM_NONE : MM_MEM_ACPI_NVS;
    if (piece.type == MM_MEM_NONE && piece.use == MM_USE_FREE)
        return;
    if (last != NULL && last->end == a && last->type == piece.type && last->use == piece.use)
        last->end = b;
    else
        o->piece[o->pieces++] = piece;
}

/* Work out the finished map: cut at every edge rounded both ways, ask each part. */
static inline void oracle_solve(struct oracle *o)
{
    static uint64_t cut[4 * CLAIMS];
    size_t cuts = 0;

    for (unsigned i = 0; i < o->claims; i++) {
        cut[cuts++] = frame_down(o->claim[i].start);
        cut[cuts++] = frame_up(o->claim[i].start);
        cut[cuts++] = frame_down(o->claim[i].end);
        cut[cuts++] = frame_up(o->claim[i].end);
    }
    qsort(cut, cuts, sizeof cut[0], compare_u64);
    o->pieces = 0;
    for (size_t i = 0; i + 1 < cuts; i++)
        if (cut[i] < cut[i + 1])
            oracle_piece(o, cut[i], cut[i + 1]);
}

/* The finished map and its totals are what the oracle says. */
static inline void oracle_compare(struct oracle *o, const struct mm_memmap *map)
{
    struct mm_memmap_totals expected = {0}, totals;

    oracle_solve(o);
    map_is(map, o->piece, o->pieces);
    for (size_t i = 0; i < o->pieces; i++) {
        uint64_t bytes = o->piece[i].end - o->piece[i].start;
        unsigned type = o->piece[i].type, use = o->piece[i].use;
        bool ram = type == MM_MEM_USABLE || type == MM_MEM_BOOT_RECLAIM ||
                   type == MM_MEM_ACPI_RECLAIM || type == MM_MEM_ACPI_NVS;

        expected.usable_bytes += type == MM_MEM_USABLE ? bytes : 0;
        expected.free_bytes += type == MM_MEM_USABLE && use == MM_USE_FREE ? bytes : 0;
        expected.ram_bytes += ram ? bytes : 0;
        expected.ram_end = ram ? mm_phys(o->piece[i].end) : expected.ram_end;
    }
    mm_memmap_get_totals(map, &totals);
    CHECK_EQ(totals.usable_bytes, expected.usable_bytes);
    CHECK_EQ(totals.free_bytes, expected.free_bytes);
    CHECK_EQ(totals.ram_bytes, expected.ram_bytes);
    CHECK_EQ(totals.ram_end.raw, expected.ram_end.raw);
}

#endif
