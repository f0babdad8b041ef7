/*
 * test_pmm_check.c - the checker, attacked: every bit of the metadata is flipped.
 */
#include "fixture.h"
#include "pmm/stock.h"

static struct fixture machine;

/* ---- states ---- */

#define STATES 2u

/*
 * Two nodes, holes, boot memory, runs that touch, that cross chunks and regions, small and large
 * blocks, single frames, a bad frame. Few chunks: a check takes a tenth of a millisecond.
 *
 *   0x00010-0x0008f  node 1, below 1 MiB          0x00100-0x003ff  node 0; boot memory 0x300-0x31f
 *   0x00fff-0x01000  node 0, over 16 MiB          0x100000-0x1007ff  node 0, whole chunks
 *   0x100800-0x10087f  node 5, in a chunk of its own
 */
static void start_quiet(void)
{
    const struct mm_frame_request inside = {.lowest = at(0x100010), .count_frames = 0x2f0};
    mm_phys_t out[40];

    fake_ram_add(at(0x10), 0x80 * MM_FRAME_BYTES);
    fake_ram_add(at(0x100), 0xf01 * MM_FRAME_BYTES);
    fake_ram_add(at(0x100000), 0x880 * MM_FRAME_BYTES);
    fixture_map(&machine,
                (struct fixture_range[]){{0x10, 0x80, MM_MEM_USABLE, MM_USE_FREE, 1},
                                         RAM(0x100, 0x200),
                                         {0x300, 0x20, MM_MEM_BOOT_RECLAIM, MM_USE_FREE, 0},
                                         RAM(0x320, 0xe0),
                                         RAM(0xfff, 2),
                                         RAM(0x100000, 0x800),
                                         {0x100800, 0x80, MM_MEM_USABLE, MM_USE_FREE, 5}},
                7);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 2, .window = fake_window()});
    CHECK_OK(mm_pmm_alloc(&machine.pmm, &inside, &out[0])); /* ends in the second chunk */
    (void)take_order(&machine, 9);
    (void)take_order(&machine, 3);
    (void)take_run(&machine, 5);
    (void)take_run(&machine, 0x80);
    CHECK_OK(mm_pmm_alloc_bulk(&machine.pmm, &(struct mm_frame_request){.highest = MM_HIGHEST_16M},
                               40, out));
    for (unsigned i = 0; i < 40; i += 3)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out[i]));
    CHECK_OK(mm_pmm_retire(&machine.pmm, at(0x3f0)));
}

/* Frames in both magazines of CPU 0, in one of CPU 1, in a depot and in the zeroed stock; tags; a
 * whole chunk, so that the mode is LIFO. */
static void start_stock(void)
{
    mm_phys_t out[60];
    uint16_t *tag;

    fake_ram_add(at(0x2000), 0x600 * MM_FRAME_BYTES);
    fixture_map(&machine, (struct fixture_range[]){RAM(0x2000, 0x600)}, 1);
    fixture_start_as(&machine, &(struct mm_pmm_config){.cpu_count = 2, .window = fake_window()});
    CHECK_OK(mm_pmm_tag(&machine.pmm, at(0x2005), true, &tag));
    for (unsigned i = 0; i < 5; i++)
        CHECK_OK(mm_pmm_zero_ahead(&machine.pmm));
    for (unsigned i = 0; i < 60; i++)
        CHECK_OK(mm_pmm_alloc_frame(&machine.pmm, &out[i]));
    for (unsigned i = 0; i < 37; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out[i]));
    fake_cpu_set(1);
    for (unsigned i = 40; i < 43; i++)
        CHECK_OK(mm_pmm_free_frame(&machine.pmm, out[i]));
    fake_cpu_set(0);
    CHECK(machine.pmm.node[0].depot.count > 0 && machine.pmm.cpu[0].magazine[0].n > 0 &&
          machine.pmm.cpu[0].magazine[1].n > 0 && machine.pmm.cpu[1].loaded->n > 0);
}

static void start(unsigned state)
{
    fake_reset();
    if (state == 0)
        start_quiet();
    else
        start_stock();
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}

/* ---- parts of the metadata ---- */

enum part {
    OBJECT,
    REGIONS,
    SECTIONS,
    KINDS,
    RECORDS,
    BITMAPS,
    SETS,
    POOLS,
    NODES,
    CPUS,
    WATCHES,
    OWNERS,
    TAG_DIRECTORY,
    SIDE,
    SIDE_UNUSED,
    TAILS,
    HOLES,
    PARTS
};

struct place {
    unsigned char *start;
    size_t bytes, unit; /* of one element */
};

static struct place place_of(enum part part)
{
    const struct mm_pmm *pmm = &machine.pmm;
    const struct mm_side_facts facts = mm_side_facts(pmm);
    const struct mm_pmm_pool *last = &pmm->pool[pmm->pool_count - 1];
    size_t chunks = pmm->chunk_count;

#define ARRAY(pointer, count)                                                                 \
    (struct place)                                                                            \
    {                                                                                         \
        (unsigned char *)(uintptr_t)(pointer), (count) * sizeof *(pointer), sizeof *(pointer) \
    }
    switch (part) {
    case OBJECT:
        return ARRAY(pmm, 1);
    case REGIONS:
        return ARRAY(pmm->region, pmm->region_count);
    case SECTIONS:
        return ARRAY(pmm->section, pmm->section_count + 1);
    case KINDS:
        return ARRAY(pmm->kind, chunks);
    case RECORDS:
        return ARRAY(pmm->record, chunks);
    case BITMAPS:
        return ARRAY(pmm->bitmap, chunks);
    case SETS: /* of all pools, which lie one behind the other */
        return ARRAY(pmm->pool[0].sets.word, (size_t)(last->sets.word - pmm->pool[0].sets.word) +
                                                 (size_t)last->sets.words * MM_SETS);
    case POOLS:
        return ARRAY(pmm->pool, pmm->pool_count);
    case NODES:
        return ARRAY(pmm->node, pmm->node_count);
    case CPUS:
        return ARRAY(pmm->cpu, pmm->cpu_count);
    case WATCHES:
        return ARRAY(pmm->watch, MM_ZONES);
    case OWNERS:
        return ARRAY(pmm->owner, MM_PMM_OWNERS ? chunks * MM_CHUNK_FRAMES : 0);
    case TAG_DIRECTORY:
        return ARRAY(pmm->tag_directory, chunks / MM_CHUNK_FRAMES + 1);
    case SIDE:
        return (struct place){(unsigned char *)pmm->side, mm_side_own_bytes(), mm_side_own_bytes()};
    case SIDE_UNUSED:
        return ARRAY(facts.unused, facts.page_count);
    case TAILS:
        return (struct place){facts.page[0], 64 * sizeof(uint64_t[MM_CHUNK_WORDS]),
                              sizeof(uint64_t[MM_CHUNK_WORDS])};
    case HOLES:
        return ARRAY(facts.hole, facts.hole_count);
    case PARTS:
        break;
    }
#undef ARRAY
    CHECK(false);
    return (struct place){NULL, 0, 0};
}

/* ---- what no checker can judge, or does not ---- */

#define FIELD(part, type, name, why)                                         \
    {                                                                        \
        (part), offsetof(type, name), sizeof(((type *)0)->name), 0xff, (why) \
    }
#define BITS(part, type, name, mask, why)              \
    {                                                  \
        (part), offsetof(type, name), 1, (mask), (why) \
    }

static const struct {
    enum part part;
    size_t offset, bytes;
    uint8_t mask; /* of the bits of each byte */
    const char *why;
} unchecked[] = {
    FIELD(OBJECT, struct mm_pmm, window, "the kernel's object; only the kernel knows where it is"),
    BITS(OBJECT, struct mm_pmm, meta, 0x78, "up to 120 bytes before what is aligned to 128"),
    FIELD(OBJECT, struct mm_pmm, meta_bytes, "a bound: the metadata may be longer"),
    FIELD(OBJECT, struct mm_pmm, reserve_frames, "the caller's wish"),
    FIELD(OBJECT, struct mm_pmm, region_capacity, "a bound: room that may be used later"),
    FIELD(OBJECT, struct mm_pmm, chunk_capacity, "a bound: room that may be used later"),
    FIELD(OBJECT, struct mm_pmm, spare_words, "where the next pool's sets would be"),
    FIELD(OBJECT, struct mm_pmm, misuse_count, "a count of past events"),
    FIELD(OBJECT, struct mm_pmm, freed_frames, "a count of past events"),
    FIELD(OBJECT, struct mm_pmm, watch, "levels and callbacks are the caller's"),
    FIELD(OBJECT, struct mm_pmm, tag_directory, "tags are the caller's"),
    BITS(OBJECT, struct mm_pmm, pin, 0x01, "each pin is one that a kernel may choose"),
    BITS(OBJECT, struct mm_pmm, low, 0x01, "between its marks memory is low or not"),
    BITS(OBJECT, struct mm_pmm, scarce, 0x01, "between its marks memory is scarce or not"),
    {OBJECT, offsetof(struct mm_pmm, odd_borders),
     offsetof(struct mm_pmm, spare_words) - offsetof(struct mm_pmm, odd_borders), 0xff,
     "a search more, or blocks that are not found; padding"},
    FIELD(REGIONS, struct mm_pmm_region, start, "what is kept for good may begin it (in a chunk)"),
    FIELD(REGIONS, struct mm_pmm_region, end, "what is kept for good may end it (in a chunk)"),
    BITS(RECORDS, struct mm_pmm_record, fit, 0x0f, "a bound: one that is greater is right, too"),
    FIELD(POOLS, struct mm_pmm_pool, floor_frames, "a wish at init"),
    FIELD(POOLS, struct mm_pmm_pool, reserve_frames, "a wish at init"),
    {POOLS, offsetof(struct mm_pmm_pool, sets.start[1]), 4 * sizeof(uint32_t), 0xff,
     "levels that are not there: 64 chunks have one"},
    {POOLS, offsetof(struct mm_pmm_pool, sets.chunks) + sizeof(uint32_t), 4, 0xff, "padding"},
    FIELD(POOLS, struct mm_pmm_pool, sets.first, "a bound: one that is lower is right, too"),
    BITS(NODES, struct mm_pmm_node, id, 0x3f, "the map's number"),
    {NODES, offsetof(struct mm_pmm_node, order) + MM_NODES_MAX,
     offsetof(struct mm_pmm_node, depot) - offsetof(struct mm_pmm_node, order) - MM_NODES_MAX, 0xff,
     "padding"},
    BITS(CPUS, struct mm_pmm_cpu, state, MM_STOCK_PARK, "a CPU may be parked"),
    FIELD(CPUS, struct mm_pmm_cpu, node, "any node, while frames of all go into stock"),
    FIELD(CPUS, struct mm_pmm_cpu, req, "a request may wait"),
    FIELD(CPUS, struct mm_pmm_cpu, done, "a request may wait"),
    {WATCHES, 0, sizeof(struct mm_pmm_watch), 0xff, "levels and callbacks are the caller's"},
    {TAG_DIRECTORY, 0, sizeof(uint64_t), 0xff, "tags are the caller's"},
    /* struct mm_pmm_side is private: a lock, pointers to unused bits, homes, pages, holes, counts */
    {SIDE, 0, 16, 0xff, "locks are not looked at"},
    {SIDE, 16, 2, 0xff, "inside the metadata, but not the bits of unused tables"},
    {SIDE, 24, 8, 0xff, "homes of pages: none are frames here"},
    {SIDE, 32, 2, 0xff, "inside the metadata, but not pages"},
    {SIDE, 40, 2, 0xff, "inside the metadata, but not holes"},
    {SIDE, 52, 1, 0x01, "how many pages are in the metadata matters when one is given back"},
    {SIDE, 68, 1, 0xff, "a bound: records of holes that are not used"},
    {SIDE, 72, 1, 0xff, "a bound: room for records of holes"},
    {SIDE, 80, 4, 0xff, "a count that nothing depends on"},
    FIELD(HOLES, struct mm_pmm_hole, ram, "known and not added, or bad and still with its owner"),
};

static bool is_listed(enum part part, size_t in_unit, unsigned bit)
{
    for (size_t i = 0; i < sizeof unchecked / sizeof unchecked[0]; i++)
        if (unchecked[i].part == part && in_unit - unchecked[i].offset < unchecked[i].bytes &&
            (unchecked[i].mask >> bit & 1) != 0)
            return true;
    return false;
}

/* Where one of two allocations that touch ends is said by its tails alone. */
static bool is_inside_allocation(size_t table, size_t frame)
{
    uint32_t chunk = 0;
    const uint64_t *bits;

    while (machine.pmm.kind[chunk] != MM_KIND_MIXED || machine.pmm.record[chunk].side != table)
        chunk++;
    bits = mm_chunk_bits(&machine.pmm, chunk);
    return (bits[frame / 64] >> (frame % 64) & 1) == 0 &&
           (frame == 0 || (bits[(frame - 1) / 64] >> ((frame - 1) % 64) & 1) == 0);
}

/* Without bytes of owners a frame that is not in stock any more looks like a caller's. */
static bool is_count_of_stock(enum part part, size_t in_unit)
{
    size_t word = in_unit / sizeof(uint32_t) * sizeof(uint32_t);

    if (part == NODES)
        return word == offsetof(struct mm_pmm_node, depot.count);
    return part == CPUS && (word == offsetof(struct mm_pmm_cpu, magazine[0].n) ||
                            word == offsetof(struct mm_pmm_cpu, magazine[1].n) ||
                            word == offsetof(struct mm_pmm_cpu, zeroed.n));
}

/* Slots above the number of frames hold nothing; the same goes for bitmaps of chunks that are full or
 * whole, and for tables that nobody has. Without bytes of owners a slot that names another frame names
 * one that a caller has, for all that is known. */
static bool is_idle(enum part part, size_t index, size_t in_unit, unsigned bit)
{
    const struct mm_pmm_cpu *cpu = &machine.pmm.cpu[index];
    const struct mm_pmm_node *node = &machine.pmm.node[index];
    size_t slots = MM_MAGAZINE_MAX * sizeof(mm_phys_t);
    size_t zeroed;

    if (!MM_PMM_OWNERS && is_count_of_stock(part, in_unit))
        return true;
    switch (part) {
    case CPUS:
        for (unsigned i = 0; i < 2; i++) {
            size_t first = offsetof(struct mm_pmm_cpu, magazine) + i * sizeof(struct mm_magazine) +
                           offsetof(struct mm_magazine, slot);
            size_t used = MM_PMM_OWNERS ? cpu->magazine[i].n * sizeof(mm_phys_t) : 0;

            if (in_unit - first - used < slots - used)
                return true;
        }
        zeroed = MM_PMM_OWNERS ? cpu->zeroed.n * sizeof(mm_phys_t) : 0;
        return in_unit - offsetof(struct mm_pmm_cpu, zeroed.slot) - zeroed <
               MM_ZEROED_FRAMES * sizeof(mm_phys_t) - zeroed;
    case NODES: {
        size_t at = in_unit - offsetof(struct mm_pmm_node, depot.slot);

        return in_unit >= offsetof(struct mm_pmm_node, depot.slot) &&
               (!MM_PMM_OWNERS || at / slots >= node->depot.count ||
                at % slots >= machine.pmm.magazine_frames * sizeof(mm_phys_t));
    }
    case BITMAPS:
        return machine.pmm.record[index].free % MM_CHUNK_FRAMES == 0;
    case TAILS:
        return !mm_side_is_used(&machine.pmm, (uint32_t)index) ||
               is_inside_allocation(index, in_unit * 8 + bit);
    default:
        return false;
    }
}

/* ---- the attack ---- */

struct told {
    size_t count;
    bool locked; /* the sink was called with interrupts off */
    struct mm_report last;
};

static void tell(void *context, const struct mm_report *report)
{
    struct told *told = context;

    told->count++;
    told->locked |= !fake_cpu(fake_cpu_current())->interrupts_on;
    told->last = *report;
}

/* Everything that only reads, where a damaged part can be expected to do no harm to it. */
static void use_damaged(uint64_t salt)
{
    static const uint64_t somewhere[] = {0x10,   0x100,  0x300,    0xfff,
                                         0x2000, 0x2400, 0x100000, 0x100800};
    struct mm_phys_range run;
    struct mm_pmm_stats stats;
    struct mm_pmm_blocks blocks;
    struct mm_frame_info info;
    enum mm_frame_state state;
    mm_phys_t cursor = mm_phys(1); /* from 0 it would bring the stock home */

    mm_pmm_get_stats(&machine.pmm, &stats);
    mm_pmm_get_blocks(&machine.pmm, &blocks);
    for (unsigned i = 0; i < 8; i++)
        mm_pmm_query(&machine.pmm, at(somewhere[i] + salt * 7 % 0x80), &info);
    for (unsigned i = 0; i < 10000; i++)
        if (mm_pmm_walk(&machine.pmm, &cursor, &run, &state) != MM_OK)
            return;
    CHECK(false); /* it does not end */
}

/* Regions and what leads to tables, once damaged, point anywhere; only the checker looks before it
 * follows. */
static bool is_harmless(enum part part)
{
    return part == BITMAPS || part == KINDS || part == SETS || part == OWNERS || part == TAILS ||
           part == HOLES || part == WATCHES;
}

/* Returns how many flips there were. `stride`: of the bytes, every how many-th. */
static size_t attack(unsigned state, enum part part, size_t stride)
{
    struct place place = place_of(part);
    size_t flips = 0;

    for (size_t i = mm_test_below(stride); i < place.bytes; i += stride)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct told told = {.count = 0};
            size_t faults;

            if (is_listed(part, i % place.unit, bit) ||
                is_idle(part, i / place.unit, i % place.unit, bit))
                continue;
            mm_test_row("state, part, byte, bit",
                        (uint64_t)state << 60 | (uint64_t)part << 48 | (uint64_t)i << 4 | bit);
            place.start[i] ^= (unsigned char)(1u << bit);
            faults = mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told});
            CHECK(faults > 0);
            CHECK_EQ(told.count, faults);
            CHECK(!told.locked);
            if (is_harmless(part) && (i + bit) % 32 == 0)
                use_damaged(i);
            place.start[i] ^= (unsigned char)(1u << bit);
            flips++;
        }
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
    return flips;
}

TEST(pmm_check_finds_every_flipped_bit_but_those_listed)
{
    for (unsigned state = 0; state < STATES; state++) {
        start(state);
        for (unsigned part = 0; part < PARTS; part++) {
            size_t flips;

            if (part == OWNERS || part == SECTIONS)
                continue;
            flips = attack(state, (enum part)part, 1);
            CHECK(flips > 0 || part == WATCHES || part == TAG_DIRECTORY ||
                  (state == 1 && (part == TAILS || part == HOLES)));
        }
    }
}

/* Callers align them to 8 bytes, and to no more. */
TEST(pmm_check_finds_a_wrong_start_of_the_metadata_wherever_they_lie)
{
    for (size_t offset = 0; offset < 256; offset += 8) {
        const struct fixture_range range = RAM(0x2000, 0x600);
        struct mm_pmm_config config = {.map = &machine.map, .cpu_count = 2};
        unsigned char *buffer;

        mm_test_row("offset", offset);
        fixture_map(&machine, &range, 1);
        CHECK_OK(mm_pmm_meta_bytes(&config, &config.meta_bytes));
        buffer = aligned_alloc(256, mm_align_down(config.meta_bytes + 511, 256));
        CHECK(buffer != NULL);
        config.meta = buffer + offset;
        CHECK_OK(mm_pmm_init(&machine.pmm, &config));
        CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
        for (unsigned bit = 0; bit < 64; bit++) {
            uintptr_t meta = (uintptr_t)config.meta ^ (uintptr_t)1 << bit;

            if (is_listed(OBJECT, offsetof(struct mm_pmm, meta) + bit / 8, bit % 8))
                continue;
            mm_test_row("offset, bit", offset << 8 | bit);
            machine.pmm.meta = (void *)meta;
            CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
        }
        free(buffer);
    }
}

/* A byte for each frame, eight for each section: of these every so many, others with each seed. */
TEST(pmm_check_finds_flipped_bits_of_large_tables)
{
    for (unsigned state = 0; state < STATES; state++) {
        start(state);
        (void)attack(state, SECTIONS, 61);
        (void)attack(state, OWNERS, 29);
    }
}

/* ---- what it says ---- */

TEST(pmm_check_tells_each_fault_once_with_what_was_found)
{
    struct told told = {.count = 0};
    struct mm_pmm_pool *pool;

    start(0);
    pool = &machine.pmm.pool[0];
    pool->managed_frames += 5;
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}), 1);
    CHECK_EQ(told.count, 1);
    CHECK_EQ(told.last.kind, MM_REPORT_CORRUPT);
    CHECK_TEXT(told.last.what, "pool: managed frames");
    CHECK(told.last.object == &machine.pmm);
    CHECK_EQ(told.last.address, (uintptr_t)pool);
    CHECK_EQ(told.last.value[0], told.last.value[1] + 5);
    pool->managed_frames -= 5;

    /* which chunk: a tail that is free */
    told.count = 0;
    CHECK_EQ(state_of(&machine, 0x1000ff), MM_FRAME_ALLOCATED);
    for (uint32_t chunk = 0; chunk < machine.pmm.chunk_count; chunk++)
        if (mm_chunk_frame(&machine.pmm, chunk) == 0x100000)
            machine.pmm.bitmap[chunk][3] |= UINT64_C(1) << 63;
    CHECK(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}) > 0);
    CHECK_EQ(told.last.address >> 21, UINT64_C(0x100000000) >> 21);

    /* more faults than are kept at a time: each is told, once */
    start(1);
    told.count = 0;
    for (unsigned i = 0; i < sizeof machine.pmm.unused / sizeof machine.pmm.unused[0]; i++)
        machine.pmm.unused[i] = &told;
    machine.pmm.low = 2;
    machine.pmm.scarce = 2;
    machine.pmm.mode = 7;
    machine.pmm.closers = 1;
    machine.pmm.magazine_frames = 0;
    machine.pmm.cpu_count = 0;
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){tell, &told}), 11);
    CHECK_EQ(told.count, 11);
    CHECK_TEXT(told.last.what, "pmm: unused field is not zero");
    CHECK_EQ(mm_pmm_check(&machine.pmm, &(struct mm_check_sink){NULL, NULL}), 11);
    CHECK_EQ(mm_test_report_count(), 0); /* a checker speaks to its sink only */
}

/* Damage that no single bit does: two frames change places, one is in two places, one is lost. */
TEST(pmm_check_finds_frames_that_are_in_two_places_or_in_none)
{
    struct mm_pmm_cpu *cpu;
    mm_phys_t kept;

    start(1);
    cpu = &machine.pmm.cpu[0];
    kept = cpu->loaded->slot[0];
    cpu->loaded->slot[0] = cpu->spare->slot[0]; /* twice in stock; of two magazines */
    CHECK(!MM_PMM_OWNERS || mm_pmm_check(&machine.pmm, NULL) > 0); /* `kept` is nowhere */
    cpu->loaded->slot[0] = cpu->loaded->slot[1];
    CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
    cpu->loaded->slot[0] = at(0x2400); /* free in its pool */
    CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
    cpu->loaded->slot[0] = at(0x9000); /* no memory */
    CHECK(mm_pmm_check(&machine.pmm, NULL) > 0);
    cpu->loaded->slot[0] = kept;
    cpu->loaded->n--; /* lost */
    CHECK(!MM_PMM_OWNERS || mm_pmm_check(&machine.pmm, NULL) > 0);
    cpu->loaded->n++;
    CHECK_EQ(mm_pmm_check(&machine.pmm, NULL), 0);
}
