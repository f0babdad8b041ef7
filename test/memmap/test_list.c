/*
 * test_list.c - random calls against a model that knows each byte; and storage that is too small.
 */
#include "map_test.h"

/* 16 frames, so that a model byte for each byte is cheap and ranges collide all the time. */
#define FRAMES 16u
#define BYTES  (FRAMES * MM_FRAME_BYTES)
#define BITS   16u
#define CALLS  12u

enum kind {
    ADD,
    RESERVE,
    SET_NODE
};

struct call {
    enum kind kind;
    uint64_t start;
    uint64_t bytes;
    unsigned what; /* type, use or node */
};

struct model {
    uint8_t described[BYTES];
    uint8_t lent[BYTES]; /* the greatest type that is handed out some day, byte by byte */
    uint8_t node[BYTES];
    uint8_t type[FRAMES]; /* the greatest of the others */
    uint8_t use[FRAMES];
};

static struct map m, reference;
static struct model model;

static struct call random_call(bool nodes)
{
    struct call call = {.kind = (enum kind)mm_test_below(nodes ? 3 : 2)};
    uint64_t grain = mm_test_below(2) ? MM_FRAME_BYTES : mm_test_below(2) ? 0x400 : 1;

    call.start = mm_test_below(BYTES / grain) * grain;
    call.bytes = mm_test_below((BYTES - call.start) / grain + 1) * grain;
    if (mm_test_below(2))
        call.bytes = call.bytes < 3 * MM_FRAME_BYTES ? call.bytes : call.bytes / 5;
    switch (call.kind) {
    case ADD:
        call.what = mm_test_below(3) ? 1 + (unsigned)mm_test_below(mm_test_below(3) ? 1 : 3)
                                     : 1 + (unsigned)mm_test_below(9);
        break;
    case RESERVE:
        do
            call.what = 1 + (unsigned)mm_test_below(8);
        while (call.what == MM_USE_EARLY);
        break;
    case SET_NODE:
        call.what = (unsigned)mm_test_below(4);
        break;
    }
    return call;
}

static enum mm_err call_map(struct mm_memmap *map, const struct call *call)
{
    switch (call->kind) {
    case ADD:
        return mm_memmap_add(map, mm_phys(call->start), call->bytes, (enum mm_mem_type)call->what);
    case RESERVE:
        return mm_memmap_reserve(map, mm_phys(call->start), call->bytes,
                                 (enum mm_mem_use)call->what);
    case SET_NODE:
        return mm_memmap_set_node(map, mm_phys(call->start), call->bytes, call->what);
    }
    return MM_ERR_BAD_ARG;
}

static void call_model(const struct call *call)
{
    uint64_t start = call->start, end = start + call->bytes;
    uint8_t what = (uint8_t)call->what;

    if (call->bytes == 0)
        return;
    if (call->kind == ADD && lendable(what)) {
        memset(model.described + start, 1, call->bytes);
        for (uint64_t i = start; i < end; i++)
            model.lent[i] = what > model.lent[i] ? what : model.lent[i];
        return;
    }
    if (call->kind == SET_NODE) {
        for (uint64_t i = frame_up(start); i < frame_up(end); i++)
            if (model.described[i])
                model.node[i] = what;
        return;
    }
    for (uint64_t f = frame_down(start) / FRAME; f < frame_up(end) / FRAME; f++) {
        uint8_t *plane = call->kind == ADD ? model.type : model.use;

        plane[f] = call->kind == RESERVE ? (uint8_t)use_join(what, plane[f])
                   : what > plane[f]     ? what
                                         : plane[f];
        if (call->kind == ADD)
            memset(model.described + f * FRAME, 1, FRAME);
    }
}

/* What a frame is in which only memory lies that is handed out some day. */
static unsigned lent_type(uint64_t start)
{
    unsigned type = MM_MEM_NONE;

    for (uint64_t i = start; i < start + FRAME; i++)
        type = model.lent[i] > type ? model.lent[i] : type;
    if (memchr(model.lent + start, 0, FRAME) == NULL &&
        (memchr(model.lent + start, MM_MEM_BOOT_RECLAIM, FRAME) == NULL ||
         memchr(model.lent + start, MM_MEM_ACPI_RECLAIM, FRAME) == NULL))
        return type; /* all of it, and by one word */
    return type > MM_MEM_USABLE ? MM_MEM_ACPI_NVS : MM_MEM_NONE;
}

/* What the finished map has to be. Returns the number of pieces. */
static size_t model_pieces(struct piece *piece)
{
    size_t count = 0;

    for (uint64_t f = 0; f < FRAMES; f++) {
        struct piece p = {f * FRAME, (f + 1) * FRAME, model.type[f], model.use[f], 0};

        if (p.type == MM_MEM_NONE)
            p.type = lent_type(p.start);
        if (p.type != MM_MEM_NONE)
            p.node = model.node[p.start];
        if (p.type == MM_MEM_NONE && p.use == MM_USE_FREE)
            continue;
        if (count > 0 && piece[count - 1].end == p.start && piece[count - 1].type == p.type &&
            piece[count - 1].use == p.use && piece[count - 1].node == p.node)
            piece[count - 1].end = p.end;
        else
            piece[count++] = p;
    }
    return count;
}

static bool anything_free(const struct piece *piece, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (piece[i].type == MM_MEM_USABLE && piece[i].use == MM_USE_FREE)
            return true;
    return false;
}

/* Finish, if the model says that there is something to finish, and compare. */
static void finish_and_compare(struct mm_memmap *map)
{
    struct piece piece[FRAMES];
    size_t count = model_pieces(piece);

    CHECK_EQ(map_faults(map), 0);
    if (!anything_free(piece, count)) {
        CHECK_ERR(mm_memmap_finish(map), MM_ERR_NOT_FOUND);
        return;
    }
    CHECK_OK(mm_memmap_finish(map));
    map_is(map, piece, count);
}

/* Each byte of the map that is still collecting is what the model says. */
static void compare_bytes(const struct mm_memmap *map)
{
    for (uint64_t byte = 0; byte < BYTES; byte += 1 + mm_test_below(300)) {
        struct mm_mem_range r = {.type = MM_MEM_NONE, .use = MM_USE_FREE};
        unsigned type = model.type[byte / FRAME];

        if (type == MM_MEM_NONE)
            type = model.lent[byte];
        (void)!mm_memmap_find(map, mm_phys(byte), &r);
        CHECK_EQ(r.type, type);
        CHECK_EQ(r.use, model.use[byte / FRAME]);
        CHECK_EQ(r.node, type == MM_MEM_NONE ? 0 : model.node[byte]);
    }
}

TEST(list_random_calls_agree_with_the_model)
{
    for (unsigned round = 0; round < 1500; round++) {
        struct mm_memmap *map = map_init(&m, ROOM, BITS);

        mm_test_row("round", round);
        memset(&model, 0, sizeof model);
        for (unsigned i = 0; i < CALLS; i++) {
            struct call call = random_call(true);

            CHECK_OK(call_map(map, &call));
            call_model(&call);
            CHECK_EQ(map_faults(map), 0);
        }
        compare_bytes(map);
        finish_and_compare(map);
    }
}

static void shuffle(struct call *call, unsigned count)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)mm_test_below(i);
        struct call swap = call[i - 1];

        call[i - 1] = call[j];
        call[j] = swap;
    }
}

TEST(list_order_of_adding_and_reserving_does_not_matter)
{
    struct call call[8];

    for (unsigned round = 0; round < 150; round++) {
        struct mm_memmap *map;

        mm_test_row("round", round);
        memset(&model, 0, sizeof model);
        for (unsigned i = 0; i < LENGTH(call); i++) {
            call[i] = random_call(false);
            call_model(&call[i]);
        }
        for (unsigned order = 0; order < 24; order++) {
            map = map_init(&m, ROOM, BITS);
            for (unsigned i = 0; i < LENGTH(call); i++)
                CHECK_OK(call_map(map, &call[i]));
            if (order == 0)
                reference = m;
            /* Not only after finish: byte by byte while still collecting. */
            CHECK_EQ(map->count, reference.map.count);
            CHECK(memcmp(m.storage, reference.storage, map->count * sizeof m.storage[0]) == 0);
            finish_and_compare(map);
            shuffle(call, LENGTH(call));
        }
    }
}

/* Reservations may also come after finish, where the model does not care either. */
TEST(list_reserving_after_finish_is_as_good_as_before)
{
    for (unsigned round = 0; round < 500; round++) {
        struct mm_memmap *map = map_init(&m, ROOM, BITS);
        struct call call = {ADD, 0, MM_FRAME_BYTES, MM_MEM_USABLE};
        struct piece piece[FRAMES];

        mm_test_row("round", round);
        memset(&model, 0, sizeof model);
        for (unsigned i = 0; i < 5; i++) {
            CHECK_OK(call_map(map, &call));
            call_model(&call);
            do
                call = random_call(true);
            while (call.kind != ADD);
        }
        if (mm_memmap_finish(map) != MM_OK)
            continue;
        for (unsigned i = 0; i < 5; i++) {
            do
                call = random_call(true);
            while (call.kind != RESERVE);
            CHECK_OK(call_map(map, &call));
            call_model(&call);
        }
        map_is(map, piece, model_pieces(piece));
    }
}

/* ---- storage that is too small ---- */

/* Run the calls in a map of `capacity` entries until one does not fit. Returns how many did. */
static unsigned run_calls(uint32_t capacity, const struct call *call, unsigned count)
{
    struct mm_memmap *map = map_init(&m, capacity, BITS);
    struct mm_mem_range guard = m.storage[capacity];

    for (unsigned i = 0; i < count; i++) {
        enum mm_err err;

        reference = m;
        err = call_map(map, &call[i]);
        CHECK(memcmp(&guard, &m.storage[capacity], sizeof guard) == 0);
        if (err == MM_ERR_NO_ROOM) {
            CHECK(memcmp(&reference, &m, sizeof m) == 0);
            return i;
        }
        CHECK_OK(err);
        CHECK_EQ(map_faults(map), 0);
    }
    return count;
}

TEST(list_without_room_changes_no_byte_at_any_capacity)
{
    struct call call[CALLS];
    unsigned refused = 0;

    for (unsigned round = 0; round < 60; round++) {
        unsigned done = 0;

        mm_test_row("round", round);
        for (unsigned i = 0; i < CALLS; i++)
            call[i] = random_call(true);
        for (uint32_t capacity = 0; capacity <= 2 * CALLS; capacity++) {
            unsigned now = run_calls(capacity, call, CALLS);

            CHECK(now >= done); /* more room never does less */
            refused += now < CALLS ? 1 : 0;
            done = now;
        }
        CHECK_EQ(done, CALLS); /* twice the number of calls is ample */
    }
    CHECK(refused > 60);
}

TEST(list_needs_exactly_one_entry_for_each_piece)
{
    for (uint32_t capacity = 0; capacity < 8; capacity++) {
        struct mm_memmap *map = map_init(&m, capacity, BITS);
        enum mm_err err = MM_OK;
        uint32_t fit = 0;

        for (; fit < 8 && err == MM_OK; fit++)
            err = mm_memmap_add(map, mm_phys(fit * 2 * FRAME), FRAME, MM_MEM_USABLE);
        CHECK_ERR(err, MM_ERR_NO_ROOM);
        CHECK_EQ(fit - 1, capacity);
        /* Filling the holes makes room again. */
        for (uint32_t i = 0; i + 1 < capacity; i++)
            CHECK_OK(mm_memmap_add(map, mm_phys((2 * i + 1) * FRAME), FRAME, MM_MEM_USABLE));
        CHECK_EQ(map->count, capacity > 0 ? 1 : 0);
    }
}

TEST(list_reserve_pc_and_take_and_give_without_room_change_nothing)
{
    unsigned refused[4] = {0};

    for (uint32_t capacity = 1; capacity <= 8; capacity++) {
        struct mm_memmap *map = map_init(&m, capacity, 32);
        struct mm_memmap_request request = {.bytes = 4 * FRAME};
        mm_phys_t at = mm_phys(7);
        enum mm_err err;

        CHECK_OK(mm_memmap_add(map, mm_phys(0), MIB(8), MM_MEM_USABLE));
        reference = m;
        err = mm_memmap_reserve_pc(map, mm_phys(0x9fc00));
        if (err != MM_OK) {
            CHECK_ERR(err, MM_ERR_NO_ROOM);
            CHECK(memcmp(&reference, &m, sizeof m) == 0);
            refused[0]++;
        }
        reference = m;
        CHECK_OK(mm_memmap_finish(map));
        reference = m;
        err = mm_memmap_take(map, &request, &at);
        if (err != MM_OK) {
            CHECK_ERR(err, MM_ERR_NO_ROOM);
            CHECK_EQ(at.raw, 7);
            CHECK(memcmp(&reference, &m, sizeof m) == 0);
            refused[1]++;
            continue;
        }
        reference = m;
        err = mm_memmap_give(map, mm_phys_add(at, FRAME), FRAME);
        if (err != MM_OK) {
            CHECK_ERR(err, MM_ERR_NO_ROOM);
            CHECK(memcmp(&reference, &m, sizeof m) == 0);
            refused[2]++;
        }
        CHECK_EQ(map_faults(map), 0);
    }
    /* 1 to 8 entries: frame 0, low, upper, the rest; one more for what was taken; two for a hole */
    CHECK_EQ(refused[0], 3);
    CHECK_EQ(refused[1], 2);
    CHECK(refused[2] > 0);
}

/* Frame 0 and the upper range are one reservation: both or none, whatever is there already. */
TEST(list_reserve_pc_is_all_or_nothing_in_any_map)
{
    static struct map large;
    unsigned refused = 0, done = 0;

    for (unsigned round = 0; round < 400; round++) {
        struct mm_memmap *map = map_init(&large, ROOM, 21);
        uint64_t ebda = mm_test_below(3) ? mm_test_below(0xa0001) : mm_test_below(0x3000);
        uint32_t before;

        mm_test_row("round", round);
        for (uint64_t n = mm_test_below(10); n > 0; n--) {
            uint64_t start = mm_test_below(2) ? mm_test_below(4) * FRAME : mm_test_below(0x110000);

            CHECK_OK(mm_memmap_add(map, mm_phys(start), mm_test_below(0x40000), MM_MEM_USABLE));
            CHECK_OK(mm_memmap_reserve(map, mm_phys(mm_test_below(0x110000)),
                                       mm_test_below(0x20000), MM_USE_KEEP));
        }
        before = map->count;
        reference = large;
        CHECK_OK(mm_memmap_reserve_pc(map, mm_phys(ebda)));
        for (uint32_t capacity = before; capacity < before + 6; capacity++) {
            enum mm_err err;

            m = reference;
            m.map.range = m.storage;
            m.map.capacity = capacity;
            err = mm_memmap_reserve_pc(&m.map, mm_phys(ebda));
            if (err == MM_OK) {
                CHECK_EQ(m.map.count, map->count);
                CHECK(memcmp(m.storage, large.storage, map->count * sizeof m.storage[0]) == 0);
                done++;
                continue;
            }
            CHECK_ERR(err, MM_ERR_NO_ROOM);
            CHECK_EQ(m.map.count, before);
            CHECK(memcmp(m.storage, reference.storage, sizeof m.storage) == 0);
            refused++;
        }
        m.map.capacity = ROOM; /* each hole inside becomes a piece */
        CHECK_OK(mm_memmap_reserve_pc(&m.map, mm_phys(ebda)));
    }
    CHECK(refused > 0 && done > 0);
}
