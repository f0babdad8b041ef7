/*
 * vmm_ops_map.c - operations that make mappings.
 *
 * Problem     Contiguous, in pieces, owned, by cursor: four ways in, one truth.
 * Idea        Each is judged in the order in which its contract looks: what is in the way, then limits,
 *             then memory. The model is changed by the prediction, so a call that refuses and changes
 *             something is found by the next look at these pages.
 * Invariants  I1 borrowed frames lie at 8 GiB and above, where there is no RAM; owned ones are the PMM's
 * Locking     One thread.
 * Cost        O(pages).
 * Rejected    Random requests that are mostly wrong: they are an operation of their own.
 */
#include "vmm_ops_internal.h"

#define BORROWED   (8 * GIB_PAGES)
#define PIECES_MAX 6u
#define BATCH      64u /* pages that mm_space_populate() takes at a time: src/vmm/populate.c */

static uint64_t frame_choose(const struct extent *e)
{
    uint64_t frame = BORROWED + ops_below(64) * GIB_PAGES;

    if (e->pages >= GIB_PAGES) /* else a quarter of a million entries */
        return frame + e->first % GIB_PAGES + (ops_one_in(3) ? ops_below(512) * M2_PAGES : 0);
    return frame + (ops_one_in(2) ? e->first % GIB_PAGES : ops_below(GIB_PAGES));
}

static struct mm_map_request request_of(const struct extent *e, uint64_t frame)
{
    struct vmm_ops_record *record = ops_record();
    struct mm_map_request request = {.virt = ops_virt(e->first),
                                     .bytes = e->pages << MM_FRAME_SHIFT,
                                     .phys = mm_frame_phys(frame),
                                     .prot = ops_prot(e->first),
                                     .type = (enum mm_memtype)(ops_one_in(3) ? ops_below(6) : 0),
                                     .flags = e->pages < 1300 && ops_one_in(4) ? MM_MAP_SMALL : 0};

    if (ops_one_in(16)) {
        request.prot |= MM_PROT_WRITE | MM_PROT_EXEC;
        request.flags |= MM_MAP_WX;
    }
    record->space = e->space;
    record->first = e->first;
    record->pages = e->pages;
    record->frame = frame;
    record->prot = request.prot;
    record->type = request.type;
    record->flags = request.flags;
    return request;
}

static struct model_piece piece_of(const struct mm_map_request *request, uint64_t first,
                                   uint64_t pages, uint64_t frame)
{
    return (struct model_piece){.first = first,
                                .pages = pages,
                                .frame = frame,
                                .prot = (uint8_t)request->prot,
                                .type = (uint8_t)request->type,
                                .owned = (request->flags & MM_MAP_OWNED) != 0};
}

static unsigned levels_of(const struct mm_map_request *request)
{
    return (request->flags & (MM_MAP_SMALL | MM_MAP_OWNED)) != 0 ? 1u << 1 : machine.leaf_levels;
}

static void map_judged(unsigned space, const struct mm_map_request *request,
                       const struct model_piece *piece, unsigned count)
{
    struct mm_space_fail fail;
    uint64_t where;
    enum mm_err expected =
        ops_map_obstacle(space, piece->first, request->bytes >> MM_FRAME_SHIFT, &where);

    if (expected == MM_OK)
        expected = ops_model_map(space, piece, count, levels_of(request));
    ops_judge(mm_space_map(&machine.space[space], request, &fail), expected, where, &fail);
}

void op_map(void)
{
    struct extent e = ops_extent();
    struct mm_map_request request = request_of(&e, frame_choose(&e));
    struct model_piece piece = piece_of(&request, e.first, e.pages, mm_frame_of(request.phys));

    ops_tables_fail();
    map_judged(e.space, &request, &piece, 1);
}

void op_map_pieces(void)
{
    struct extent e = ops_extent();
    unsigned count = 1 + (unsigned)ops_below(PIECES_MAX);
    struct mm_phys_range range[PIECES_MAX];
    struct model_piece piece[PIECES_MAX];
    struct mm_map_request request;
    uint64_t done = 0;

    if (e.pages > 1600)
        e.pages = 1600;
    if (count > e.pages)
        count = (unsigned)e.pages;
    request = request_of(&e, 0);
    for (unsigned i = 0; i < count; i++) {
        struct extent part = {e.space, e.first + done, e.pages - done - (count - 1 - i)};
        uint64_t frame = frame_choose(&part);

        if (i != 0 && ops_one_in(4)) /* continues the one before */
            frame = piece[i - 1].frame + piece[i - 1].pages;
        if (i + 1 < count)
            part.pages = 1 + ops_below(part.pages);
        range[i] = (struct mm_phys_range){mm_frame_phys(frame), part.pages << MM_FRAME_SHIFT};
        piece[i] = piece_of(&request, part.first, part.pages, frame);
        done += part.pages;
    }
    request.piece = range;
    request.piece_count = count;
    ops_tables_fail();
    map_judged(e.space, &request, piece, count);
}

/* ---- owned frames ---- */

static bool may_own(unsigned space)
{
    return space != 0 || !machine.adopted;
}

static bool frames_limited(unsigned space, uint64_t more)
{
    uint64_t limit = machine.frame_limit[space];

    return limit != 0 && model_sums(&machine.model[space]).owned + more > limit;
}

/* Single frames of the PMM, given to the space. */
void op_map_owned(void)
{
    struct extent e = ops_extent();
    struct mm_phys_range range[4];
    struct model_piece piece[4];
    struct mm_map_request request;
    struct mm_space_fail fail;
    enum mm_err expected, err;
    uint64_t where;

    e.pages = 1 + ops_below(e.pages < 4 ? e.pages : 4);
    request = request_of(&e, 0);
    request.flags = (request.flags & MM_MAP_WX) | MM_MAP_OWNED;
    for (uint64_t i = 0; i < e.pages; i++) {
        OPS_EQ(mm_pmm_alloc_frame(&machine.pmm, &range[i].start), MM_OK);
        range[i].bytes = MM_FRAME_BYTES;
        piece[i] = piece_of(&request, e.first + i, 1, mm_frame_of(range[i].start));
        *(uint64_t *)fake_ram(mm_phys_add(range[i].start, (e.first + i) % 512 * 8), 8) = 0;
    }
    request.piece = range;
    request.piece_count = (uint32_t)e.pages;
    ops_tables_fail();
    expected = ops_map_obstacle(e.space, e.first, e.pages, &where);
    if (!may_own(e.space) || frames_limited(e.space, e.pages)) {
        expected = may_own(e.space) ? MM_ERR_LIMIT : MM_ERR_UNSUPPORTED;
        where = e.first;
    }
    if (expected == MM_OK)
        expected = ops_model_map(e.space, piece, (unsigned)e.pages, 1u << 1);
    err = mm_space_map(&machine.space[e.space], &request, &fail);
    ops_judge(err, expected, where, &fail);
    for (uint64_t i = 0; i < e.pages && err != MM_OK; i++)
        OPS_EQ(mm_pmm_free_frame(&machine.pmm, range[i].start), MM_OK);
}

/* Where memory may end: what other CPUs have in stock comes back, so that the count says what can be
 * had. include/mm/pmm.h: up to 320 frames on each. */
static void populate_near_the_end(uint64_t pages)
{
    if (pages + 320 * machine.cpus > mm_pmm_free_frames(&machine.pmm))
        OPS_EQ(mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT), MM_OK);
}

/* What mm_space_populate() will answer; the model has the pages then, with a frame of its own. */
static enum mm_err populate_predict(const struct extent *e, const struct mm_map_request *request,
                                    uint64_t free, uint64_t *where)
{
    enum mm_err err = MM_OK;
    uint64_t done = 0;

    *where = e->first;
    while (err == MM_OK && done < e->pages) {
        uint64_t pages = e->pages - done < BATCH ? e->pages - done : BATCH;
        struct model_piece piece = piece_of(request, e->first + done, pages, 0);

        *where = piece.first;
        if (done + pages > free)
            err = MM_ERR_NO_MEMORY;
        else if (frames_limited(e->space, pages))
            err = MM_ERR_LIMIT;
        else
            err = ops_map_obstacle(e->space, piece.first, pages, where);
        if (err == MM_OK)
            err = ops_model_map(e->space, &piece, 1, 1u << 1);
        done += err == MM_OK ? pages : 0;
    }
    if (err != MM_OK && done != 0)
        model_unmap(&machine.model[e->space], e->first, e->first + done);
    return err;
}

/* Which frames the PMM chose. */
static void populate_learn(const struct extent *e, const struct mm_map_request *request)
{
    model_unmap(&machine.model[e->space], e->first, e->first + e->pages);
    for (uint64_t i = 0; i < e->pages; i++) {
        struct model_piece piece;
        struct mm_translation at;

        OPS_EQ(mm_space_translate(&machine.space[e->space], ops_virt(e->first + i), &at, NULL),
               MM_OK);
        piece = piece_of(request, e->first + i, 1, mm_frame_of(at.phys));
        model_map(&machine.model[e->space], &piece, 1u << 1);
    }
    machine.result->populated += e->pages;
}

void op_populate(void)
{
    struct extent e = ops_extent();
    uint64_t free = mm_pmm_free_frames(&machine.pmm), where;
    struct mm_map_request request;
    struct mm_space_fail fail;
    enum mm_err expected, err;

    if (e.pages > 200)
        e.pages = ops_one_in(20) && e.first % M2_PAGES == 0 ? free + 10 : 1 + ops_below(200);
    request = request_of(&e, 0);
    request.type = MM_MEMTYPE_WB;
    request.flags = (request.flags & MM_MAP_WX) | MM_MAP_OWNED;
    populate_near_the_end(e.pages);
    ops_tables_fail();
    if (!may_own(e.space) || e.first + e.pages > UINT64_C(1) << 52) {
        expected = e.first + e.pages > UINT64_C(1) << 52 ? MM_ERR_RANGE : MM_ERR_UNSUPPORTED;
        where = e.first;
    } else {
        expected = populate_predict(&e, &request, free, &where);
    }
    err = mm_space_populate(&machine.space[e.space], request.virt, e.pages << MM_FRAME_SHIFT,
                            request.prot, request.flags & MM_MAP_WX, &fail);
    ops_judge(err, expected, where, &fail);
    if (err == MM_OK)
        populate_learn(&e, &request);
}

/* ---- cursor ---- */

static void cursor_step(struct mm_cursor *cursor, const struct mm_map_request *request,
                        unsigned space, uint64_t first, unsigned level)
{
    uint64_t pages = model_leaf_pages(level), where;
    struct model_piece piece =
        piece_of(request, first, pages, BORROWED + ops_below(GIB_PAGES) * pages);
    enum mm_err expected = ops_map_obstacle(space, first, pages, &where);

    if (expected == MM_OK)
        expected = ops_model_map(space, &piece, 1, levels_of(request));
    ops_judge(
        mm_cursor_map(cursor, ops_virt(first), mm_frame_phys(piece.frame), pages << MM_FRAME_SHIFT),
        expected, where, NULL);
}

void op_cursor_map(void)
{
    struct extent e = ops_extent();
    struct mm_map_request request = request_of(&e, 0);
    unsigned level = ops_one_in(4) ? 2 : 1;
    uint64_t size = model_leaf_pages(level);
    uint64_t steps = 1 + ops_below(level == 1 ? 24 : 4);
    struct mm_cursor cursor;

    if (level > 1)
        request.flags &= ~MM_MAP_SMALL; /* one leaf of that size, and none that is smaller */
    e.first -= e.first % size;
    if (e.first == 0)
        e.first = size;
    ops_tables_fail();
    OPS_EQ(mm_cursor_begin(&cursor, &machine.space[e.space], request.prot, request.type,
                           request.flags, NULL),
           MM_OK);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t first = e.first + i * size;

        if (first >> 52 != 0)
            break;
        if (level == 2 && ops_one_in(4))
            cursor_step(&cursor, &request, e.space, first + ops_below(size), 1);
        else
            cursor_step(&cursor, &request, e.space, first, level);
    }
    mm_cursor_end(&cursor);
    OPS_CHECK(fake_cpu(fake_cpu_current())->interrupts_on);
}

/* ---- wrong requests ---- */

void op_map_wrong(void)
{
    struct extent e = {ops_space(), machine.place[0], 1 + ops_below(4)};
    struct mm_map_request request = request_of(&e, BORROWED);
    enum mm_err expected = MM_ERR_BAD_ARG;
    struct mm_space_fail fail;

    request.flags = 0;
    request.prot = MM_PROT_RW;
    switch (ops_below(10)) {
    case 0:
        request.virt.raw += 8;
        break;
    case 1:
        request.bytes = 0;
        break;
    case 2:
        request.prot = MM_PROT_WRITE;
        break;
    case 3:
        request.type = (enum mm_memtype)6;
        break;
    case 4:
        request.phys.raw += 512;
        break;
    case 5:
        request.virt.raw = 0;
        expected = MM_ERR_POLICY;
        break;
    case 6:
        request.prot |= MM_PROT_EXEC;
        expected = MM_ERR_POLICY;
        break;
    case 7:
        request.virt = ops_virt(machine.place[1]);
        request.prot |= e.space == 0 ? MM_PROT_USER : 0;
        expected = MM_ERR_POLICY;
        break;
    case 8:
        request.virt.raw = UINT64_C(1) << (12 + 9 * machine.levels - 1);
        expected = MM_ERR_RANGE;
        break;
    default:
        request.phys.raw = (UINT64_C(1) << 46) - MM_FRAME_BYTES * (e.pages - 1);
        expected = MM_ERR_RANGE;
        break;
    }
    ops_judge(mm_space_map(&machine.space[e.space], &request, &fail), expected,
              request.virt.raw >> MM_FRAME_SHIFT, &fail);
}
