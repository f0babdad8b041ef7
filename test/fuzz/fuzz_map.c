/*
 * fuzz_map.c - the input is a program for one memory map: add, set_node, reserve, finish, take, give.
 *
 * Problem     The list of ranges is edited in place, in every order, and at times without room.
 * Idea        A model of 64 frames in units of 512 bytes, with an array for everything that can be
 *             said of a unit. After each call the map says the same of each unit as the model, and
 *             a call that found no room changed nothing.
 *
 *     byte 0      capacity: 0 to 127 entries, or ample
 *     byte 1      where the frames lie: at 0, across 1 MiB, across 4 GiB, across the physical width
 *     then, 4 bytes each: call and its word (type, use, node, frames), start, length, rest of both
 */
#include "fuzz.h"

#define FRAMES      64u
#define UNIT        UINT64_C(512)
#define UNITS_FRAME 8u
#define UNITS       (FRAMES * UNITS_FRAME)
#define AMPLE       1100u /* two for each unit: no call may find it too small */
#define WIDTH       36u

enum op {
    OP_ADD,
    OP_ADD_USABLE,
    OP_NODE,
    OP_RESERVE,
    OP_FINISH,
    OP_TAKE,
    OP_GIVE,
    OP_RESERVE_PC
};

struct model {
    uint64_t base, limit;
    bool finished;
    uint64_t dropped;
    uint8_t lent[UNITS]; /* the greatest type that is handed out some day */
    uint8_t node[UNITS];
    uint8_t type[FRAMES]; /* the greatest of the others; NONE otherwise */
    uint8_t use[FRAMES];
};

static struct model model;
static struct mm_memmap map;
static struct mm_mem_range storage[AMPLE], before[AMPLE];

/* ---- what the model says ---- */

static unsigned unit_type(unsigned u)
{
    if (model.type[u / UNITS_FRAME] != MM_MEM_NONE)
        return model.type[u / UNITS_FRAME];
    return model.lent[u];
}

static bool frame_whole(unsigned f)
{
    for (unsigned u = f * UNITS_FRAME; u < (f + 1) * UNITS_FRAME; u++)
        if (unit_type(u) != MM_MEM_USABLE)
            return false;
    return true;
}

static bool frame_free(unsigned f)
{
    return frame_whole(f) && model.use[f] == MM_USE_FREE;
}

static uint64_t unit_start(unsigned u)
{
    return model.base + u * UNIT;
}

/* Units of [start, end), cut at the physical width. */
static void units_of(uint64_t start, uint64_t end, unsigned *first, unsigned *last)
{
    if (end > model.limit)
        end = model.limit;
    *first = start < end ? (unsigned)((start - model.base) / UNIT) : 0;
    *last = start < end ? (unsigned)((end - model.base) / UNIT) : 0;
    FUZZ_CHECK(*last <= UNITS);
}

/* ---- comparing ---- */

static void unit_compare(unsigned u, const struct mm_mem_range *found)
{
    FUZZ_CHECK(found->type == unit_type(u));
    FUZZ_CHECK(found->use == model.use[u / UNITS_FRAME]);
    FUZZ_CHECK(found->node == (found->type == MM_MEM_NONE ? 0 : model.node[u]));
}

/* Every unit, and that nothing else is in the map; and one unit as callers ask for it. */
static void compare(unsigned asked)
{
    const struct mm_mem_range hole = {.type = MM_MEM_NONE};
    struct mm_mem_range found = hole;
    unsigned u = 0;

    FUZZ_CHECK(mm_memmap_check(&map, NULL) == 0);
    FUZZ_CHECK(map.dropped_bytes == model.dropped);
    for (uint32_t i = 0; i < map.count; i++) {
        const struct mm_mem_range *it = &map.range[i];

        FUZZ_CHECK(it->start.raw >= model.base && (it->start.raw | it->bytes) % UNIT == 0);
        for (; u < UNITS && unit_start(u) < it->start.raw; u++)
            unit_compare(u, &hole);
        FUZZ_CHECK(u + it->bytes / UNIT <= UNITS);
        for (uint64_t n = it->bytes / UNIT; n > 0; n--)
            unit_compare(u++, it);
    }
    for (; u < UNITS; u++)
        unit_compare(u, &hole);
    if (mm_memmap_find(&map, mm_phys(unit_start(asked % UNITS) + asked % UNIT), &found) != MM_OK)
        found = hole;
    unit_compare(asked % UNITS, &found);
}

static void compare_totals(void)
{
    struct mm_memmap_totals totals;
    uint64_t usable = 0, free_bytes = 0, low = 0, ram = 0, end = 0;

    for (unsigned u = 0; u < UNITS; u++) {
        unsigned type = unit_type(u);
        bool is_free = type == MM_MEM_USABLE && model.use[u / UNITS_FRAME] == MM_USE_FREE;

        usable += type == MM_MEM_USABLE ? UNIT : 0;
        free_bytes += is_free ? UNIT : 0;
        low += is_free && unit_start(u) < 0x100000 ? UNIT : 0;
        if (type >= MM_MEM_USABLE && type <= MM_MEM_ACPI_NVS) {
            ram += UNIT;
            end = unit_start(u) + UNIT;
        }
    }
    mm_memmap_get_totals(&map, &totals);
    FUZZ_CHECK(totals.usable_bytes == usable && totals.free_bytes == free_bytes);
    FUZZ_CHECK(totals.low_bytes == low && totals.ram_bytes == ram && totals.ram_end.raw == end);
}

/* ---- calls ---- */

struct call {
    unsigned op, word;
    unsigned first, units; /* of the range */
    unsigned rest;
    uint64_t start, bytes, end;
};

/* Across the physical width the longest length goes to the end of the address space. */
static struct call call_read(const uint8_t *at)
{
    struct call call = {.op = at[0] % 8, .word = at[0] / 8, .rest = at[3]};

    call.first = at[1] * 2u + at[3] % 2;
    call.units = at[2];
    call.start = unit_start(call.first);
    call.bytes = call.units * UNIT;
    if (call.first + call.units > UNITS)
        call.bytes = (UNITS - call.first) * UNIT;
    if (call.units == 255 && model.limit < unit_start(UNITS))
        call.bytes = at[3] % 4 < 2 ? UINT64_MAX - call.start : UINT64_MAX;
    call.end = call.start + call.bytes < call.start ? UINT64_MAX : call.start + call.bytes;
    return call;
}

static enum mm_err add(const struct call *call, unsigned type)
{
    enum mm_err err = mm_memmap_add(&map, mm_phys(call->start), call->bytes, type);
    uint64_t beyond = call->start > model.limit ? call->start : model.limit;
    unsigned first, last;

    FUZZ_CHECK((err == MM_ERR_BUSY) == model.finished);
    FUZZ_CHECK(err == MM_OK || err == MM_ERR_NO_ROOM || err == MM_ERR_BUSY);
    if (err != MM_OK)
        return err;
    units_of(call->start, call->end, &first, &last);
    for (unsigned u = first; u < last; u++) {
        uint8_t *there =
            type <= MM_MEM_ACPI_RECLAIM ? &model.lent[u] : &model.type[u / UNITS_FRAME];

        if (*there < type)
            *there = (uint8_t)type;
    }
    if (type == MM_MEM_USABLE && call->end > beyond) {
        uint64_t sum = model.dropped + (call->end - beyond);

        model.dropped = sum < model.dropped ? UINT64_MAX : sum;
    }
    return MM_OK;
}

static enum mm_err set_node(const struct call *call)
{
    unsigned node = call->word * 2 + call->rest / 128, first, last; /* 0 to 63 */
    enum mm_err err = mm_memmap_set_node(&map, mm_phys(call->start), call->bytes, node);

    FUZZ_CHECK((err == MM_ERR_BUSY) == model.finished);
    FUZZ_CHECK(err == MM_OK || err == MM_ERR_NO_ROOM || err == MM_ERR_BUSY);
    if (err != MM_OK)
        return err;
    units_of(call->start, call->end, &first, &last);
    first = (first + UNITS_FRAME - 1) / UNITS_FRAME * UNITS_FRAME;
    last = (last + UNITS_FRAME - 1) / UNITS_FRAME * UNITS_FRAME;
    for (unsigned u = first; u < last; u++)
        if (unit_type(u) != MM_MEM_NONE)
            model.node[u] = (uint8_t)node;
    return MM_OK;
}

/* What reserving [first, last) in frames must answer, apart from the room. */
static enum mm_err reserve_answer(unsigned first, unsigned last)
{
    for (unsigned f = first; f < last; f++)
        if (model.use[f] == MM_USE_EARLY)
            return MM_ERR_BUSY;
    return MM_OK;
}

static void frames_use(unsigned first, unsigned last, unsigned use)
{
    for (unsigned f = first; f < last; f++) {
        unsigned there = model.use[f];

        if ((there == MM_USE_BOOTINFO && use == MM_USE_MODULE) ||
            (there == MM_USE_MODULE && use == MM_USE_BOOTINFO))
            model.use[f] = MM_USE_MODULE_INFO;
        else if (there < use)
            model.use[f] = (uint8_t)use;
    }
}

static enum mm_err reserve(const struct call *call)
{
    static const uint8_t uses[] = {MM_USE_BOOT,        MM_USE_BOOTINFO, MM_USE_MODULE,
                                   MM_USE_FRAMEBUFFER, MM_USE_IMAGE,    MM_USE_KEEP};
    unsigned use = uses[call->word % sizeof uses], first, last;
    enum mm_err err, expected;

    units_of(call->start, call->end, &first, &last);
    first /= UNITS_FRAME;
    last = (last + UNITS_FRAME - 1) / UNITS_FRAME;
    expected = reserve_answer(first, last);
    if (call->bytes != 0 && (call->end > model.limit || call->end == UINT64_MAX))
        expected = MM_ERR_BAD_ARG;
    err = mm_memmap_reserve(&map, mm_phys(call->start), call->bytes, use);
    FUZZ_CHECK(err == expected || (err == MM_ERR_NO_ROOM && expected == MM_OK));
    if (err == MM_OK)
        frames_use(first, last, use);
    return err;
}

/* Only where all of it lies in the model: 64 frames at 0 reach up to 256 KiB, so it does not. */
static enum mm_err reserve_pc(const struct call *call)
{
    uint64_t ebda = call->word == 0 ? 0xa1000 : call->start;
    enum mm_err err;

    if (call->word != 0 || model.base == 0)
        return MM_OK;
    err = mm_memmap_reserve_pc(&map, mm_phys(ebda));
    FUZZ_CHECK(err == MM_ERR_BAD_ARG);
    return err;
}

/* A frame is lent as a whole, by the greatest type in it, or not at all. */
static void frame_finish(unsigned f)
{
    uint8_t *lent = &model.lent[f * UNITS_FRAME], *node = &model.node[f * UNITS_FRAME];
    bool mixed = memchr(lent, MM_MEM_BOOT_RECLAIM, UNITS_FRAME) != NULL &&
                 memchr(lent, MM_MEM_ACPI_RECLAIM, UNITS_FRAME) != NULL;
    bool whole = memchr(lent, MM_MEM_NONE, UNITS_FRAME) == NULL && !mixed;
    uint8_t greatest = MM_MEM_NONE;

    for (unsigned u = 0; u < UNITS_FRAME; u++)
        greatest = lent[u] > greatest ? lent[u] : greatest;
    if (!whole && greatest > MM_MEM_USABLE && model.type[f] == MM_MEM_NONE)
        model.type[f] = MM_MEM_ACPI_NVS;
    memset(node, node[0], UNITS_FRAME);
    memset(lent, whole ? greatest : MM_MEM_NONE, UNITS_FRAME);
}

static enum mm_err finish(void)
{
    enum mm_err err = mm_memmap_finish(&map), expected = MM_ERR_NOT_FOUND;

    for (unsigned f = 0; f < FRAMES; f++)
        if (frame_free(f))
            expected = MM_OK;
    if (model.finished)
        expected = MM_ERR_BUSY;
    FUZZ_CHECK(err == expected || (err == MM_ERR_NO_ROOM && expected == MM_OK));
    if (err != MM_OK)
        return err;
    model.finished = true;
    for (unsigned f = 0; f < FRAMES; f++)
        frame_finish(f);
    compare_totals();
    return MM_OK;
}

/* Frames [f, f + count) are free, on one node, and between the bounds. */
static bool may_take(unsigned f, unsigned count, uint64_t align, uint64_t lowest, uint64_t highest)
{
    uint64_t start = unit_start(f * UNITS_FRAME);

    if (f + count > FRAMES || start % align != 0 || start < lowest ||
        start + count * MM_FRAME_BYTES - 1 > highest)
        return false;
    for (unsigned i = f; i < f + count; i++)
        if (!frame_free(i) || model.node[i * UNITS_FRAME] != model.node[f * UNITS_FRAME])
            return false;
    return true;
}

static enum mm_err take(const struct call *call)
{
    unsigned count = 1 + call->word % 8, f = FRAMES;
    struct mm_memmap_request request = {
        .bytes = count * MM_FRAME_BYTES - call->rest % 2,
        .align_bytes = call->rest / 2 % 8 == 0 ? 0 : UINT64_C(1) << (10 + call->rest / 2 % 8),
        .highest = mm_phys(call->rest / 16 % 2 == 0 ? 0 : call->end),
    };
    uint64_t align = request.align_bytes > MM_FRAME_BYTES ? request.align_bytes : MM_FRAME_BYTES;
    uint64_t highest = request.highest.raw != 0 ? request.highest.raw : UINT64_MAX;
    uint64_t lowest = highest < 0x100000 ? 0 : 0x100000;
    mm_phys_t got = mm_phys(1);
    enum mm_err err = mm_memmap_take(&map, &request, &got);

    do
        f--;
    while (f < FRAMES && !may_take(f, count, align, lowest, highest));
    FUZZ_CHECK((err == MM_ERR_BUSY) == !model.finished);
    FUZZ_CHECK(err == MM_OK || got.raw == 1);
    if (!model.finished || err == MM_ERR_NO_ROOM)
        return err;
    FUZZ_CHECK(err == (f < FRAMES ? MM_OK : MM_ERR_NO_MEMORY));
    if (err == MM_OK) {
        FUZZ_CHECK(got.raw == unit_start(f * UNITS_FRAME));
        memset(&model.use[f], MM_USE_EARLY, count);
    }
    return err;
}

static enum mm_err give(const struct call *call)
{
    unsigned first = call->first / UNITS_FRAME, count = call->units / UNITS_FRAME;
    uint64_t start = call->rest % 4 == 3 ? call->start : unit_start(first * UNITS_FRAME);
    uint64_t bytes = count * MM_FRAME_BYTES;
    bool good = count > 0 && first + count <= FRAMES && start % MM_FRAME_BYTES == 0;
    enum mm_err err = mm_memmap_give(&map, mm_phys(start), bytes);

    for (unsigned f = first; good && f < first + count; f++)
        good = model.use[f] == MM_USE_EARLY;
    FUZZ_CHECK((err == MM_ERR_BUSY) == !model.finished);
    if (!model.finished || (err == MM_ERR_NO_ROOM && good))
        return err;
    FUZZ_CHECK(err == (good ? MM_OK : MM_ERR_MISUSE));
    if (good)
        memset(&model.use[first], MM_USE_FREE, count);
    return err;
}

static enum mm_err run(const struct call *call)
{
    switch ((enum op)call->op) {
    case OP_ADD:
        return add(call, MM_MEM_BOOT_RECLAIM + call->word % 8);
    case OP_ADD_USABLE:
        return add(call, MM_MEM_USABLE);
    case OP_NODE:
        return set_node(call);
    case OP_RESERVE:
        return reserve(call);
    case OP_FINISH:
        return finish();
    case OP_TAKE:
        return take(call);
    case OP_GIVE:
        return give(call);
    case OP_RESERVE_PC:
        return reserve_pc(call);
    }
    return MM_OK;
}

static void begin(const uint8_t *data)
{
    static const uint64_t base[] = {0, 0x100000 - FRAMES / 2 * MM_FRAME_BYTES,
                                    (UINT64_C(1) << 32) - FRAMES / 2 * MM_FRAME_BYTES,
                                    (UINT64_C(1) << WIDTH) - FRAMES / 2 * MM_FRAME_BYTES};
    uint32_t capacity = data[0] < 128 ? data[0] : AMPLE;

    memset(&model, 0, sizeof model);
    model.base = base[data[1] % 4];
    model.limit = UINT64_C(1) << WIDTH;
    FUZZ_CHECK(mm_memmap_init(&map, storage, capacity, WIDTH) == MM_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    begin(data);
    for (size_t at = 2; at + 4 <= bytes; at += 4) {
        struct call call = call_read(data + at);
        uint32_t count = map.count;
        enum mm_err err;

        memcpy(before, storage, count * sizeof before[0]);
        err = run(&call);
        if (err != MM_OK) {
            FUZZ_CHECK(err != MM_ERR_NO_ROOM || data[0] < 128);
            FUZZ_CHECK(map.count == count);
            FUZZ_CHECK(memcmp(before, storage, count * sizeof before[0]) == 0);
        }
        compare(call.first + call.rest);
    }
    return 0;
}
