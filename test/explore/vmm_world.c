/*
 * vmm_world.c - the spaces that scenarios start with, and what must be so after each execution.
 *
 * Problem     "Nothing crashed" is no proof: a call may have answered what was never true, a table
 *             may be left behind, a count may be off by one until it is needed.
 * Idea        Calls are noted with answer, begin and end. All orders in which no call comes before one
 *             that had ended where it began (for its CPU: an answer may be old as loads may be) are
 *             tried on a model of at most six pages: one must explain each answer and the mappings
 *             at the end (linearizability). Then the tables are walked: each that was taken must be
 *             linked once, be counted right in its tag and not be empty, and no tag be locked or
 *             stray.
 * Invariants  None.
 * Locking     None.
 * Cost        The check: about 5 us per execution.
 * Rejected    Checking against the order in which the lock was taken: it is the code that is checked,
 *             and some of it takes none.
 */
#include "vmm_world.h"

#include <stdio.h>
#include <string.h>

/* A tag: live entries in the low bits, whether the table is locked or stray, three bits of level. */
#define TAG_LIVE   0x3ffu
#define TAG_LOCKED 0x400u
#define TAG_STRAY  0x800u
#define TAG_LEVEL  12u

struct mm_vmm world_vmm;
struct mm_space world_kernel, world_space;
static const struct world *made;
static struct mm_vmm_cpu vmm_cpu[EXPLORE_CPUS];

enum kind {
    MAP,
    UNMAP,
    PROTECT,
    TRANSLATE,
    ACTIVATE,
    LEAVE,
    DESTROY
};

struct call {
    enum kind kind;
    enum mm_err err;
    bool holes, ended, cursor;
    unsigned cpu;
    uint32_t prot;
    struct explore_instant begin, end;
    uint64_t virt, bytes, phys;
};

#define CALLS_MAX 4u
static struct {
    struct call call[WHOS][CALLS_MAX];
    unsigned calls[WHOS];
} score;

static struct {
    struct mm_cursor cursor;
    struct mm_gather gather;
} in_hand[WHOS];

struct model {
    struct {
        bool mapped;
        uint32_t prot;
        uint64_t phys;
    } page[PROBES];
    unsigned loaded;
    bool gone;
};
static struct model start;

/* ---- setting up ---- */

static void vmm_make(const struct world *world)
{
    static const struct mm_layout layout = {.user_end = {UINT64_C(0x0000800000000000)}};
    struct mm_vmm_config config = {
        .tables = mmu_frame_source(),
        .window = mmu_window(),
        .layout = &layout,
        .cpu_count = world->cpus,
        .cpu = vmm_cpu,
    };

    memset(&world_kernel, 0, sizeof world_kernel);
    memset(&world_space, 0, sizeof world_space);
    EXPLORE_CHECK(mm_vmm_init(&world_vmm, &config) == MM_OK);
    EXPLORE_CHECK(mm_space_create(&world_vmm, &world_kernel, MM_SPACE_KERNEL) == MM_OK);
    for (unsigned cpu = 0; cpu < world->cpus; cpu++) {
        explore_as_cpu(cpu);
        EXPLORE_CHECK(mm_cpu_init(&world_vmm, cpu) == MM_OK);
    }
    EXPLORE_CHECK(!world->asids || (world_vmm.paging.flags & MM_PAGING_ASIDS) != 0);
    explore_as_cpu(0);
    EXPLORE_CHECK(mm_space_create(&world_vmm, &world_space, 0) == MM_OK);
}

static void map_before(uint64_t virt, uint64_t bytes, uint64_t phys, uint32_t prot)
{
    const struct mm_map_request request = {
        .virt = mm_virt(virt),
        .bytes = bytes,
        .phys = mm_phys(phys),
        .prot = prot != 0 ? prot : MM_PROT_RW,
    };

    EXPLORE_CHECK(mm_space_map(&world_space, &request, NULL) == MM_OK);
    for (unsigned i = 0; i < PROBES; i++)
        if (made->probe[i] - virt < bytes) {
            start.page[i].mapped = true;
            start.page[i].phys = phys + (made->probe[i] - virt);
            start.page[i].prot = request.prot;
        }
}

/* Counters that no decision is made from, each changed by one operation. */
static void fewer_steps(void)
{
    explore_no_steps(&world_vmm.shootdowns, sizeof world_vmm.shootdowns);
    explore_no_steps(&world_vmm.full_flushes, sizeof world_vmm.full_flushes);
    explore_no_steps(&world_space.table_count, sizeof world_space.table_count);
}

void world_make(const struct world *world)
{
    struct mmu_config mmu = {world->cpus, {0}, world->marks, world->steps, world->asids};
    bool none = true;

    for (unsigned i = 0; i < MMU_HOT; i++) {
        mmu.hot[i] = world->hot[i];
        none &= world->hot[i] == 0;
    }
    if (none) {
        mmu.hot[0] = 1;
        for (unsigned i = 1; i < MMU_HOT; i++)
            mmu.hot[i] = 2;
    }
    made = world;
    memset(&score, 0, sizeof score);
    memset(&start, 0, sizeof start);
    start.loaded = world->loaded;
    mmu_make(&mmu);
    vmm_make(world);
    for (unsigned i = 0; i < 4 && world->mapped[i].bytes != 0; i++)
        map_before(world->mapped[i].virt, world->mapped[i].bytes, world->mapped[i].phys,
                   world->mapped[i].prot);
    for (unsigned cpu = 0; world->remembered && cpu < world->cpus; cpu++) {
        explore_as_cpu(cpu);
        EXPLORE_CHECK(mm_space_protect(&world_space, mm_virt(world->probe[0]), PAGE, MM_PROT_RW, 0,
                                       NULL, NULL) == MM_OK);
    }
    for (unsigned cpu = 0; cpu < world->cpus; cpu++) {
        explore_as_cpu(cpu);
        EXPLORE_CHECK(mm_space_activate((world->loaded >> cpu & 1) != 0 ? &world_space
                                                                        : &world_kernel) == MM_OK);
    }
    explore_memory("vmm", &world_vmm, sizeof world_vmm);
    explore_memory("kernel space", &world_kernel, sizeof world_kernel);
    explore_memory("space", &world_space, sizeof world_space);
    explore_memory("cpu", vmm_cpu, sizeof vmm_cpu);
    explore_unwatched("score", &score, sizeof score);
    explore_unwatched("cursors", in_hand, sizeof in_hand);
    fewer_steps();
}

/* ---- calls ---- */

static struct call *call_begin(enum who who, enum kind kind, uint64_t virt, uint64_t bytes)
{
    struct call *call = &score.call[who][score.calls[who]];

    EXPLORE_CHECK(score.calls[who] < CALLS_MAX);
    score.calls[who]++;
    *call = (struct call){.kind = kind, .virt = virt, .bytes = bytes, .cpu = explore_cpu()};
    explore_now(&call->begin);
    return call;
}

static enum mm_err call_end(struct call *call, enum mm_err err)
{
    call->err = err;
    call->ended = true;
    explore_now(&call->end);
    return err;
}

/* The frame that is mapped at a page, if only one has ever been. */
static uint64_t only_frame(unsigned page)
{
    uint64_t phys = start.page[page].phys;
    unsigned count = start.page[page].mapped ? 1 : 0;

    for (unsigned who = 0; who < WHOS; who++)
        for (unsigned i = 0; i < score.calls[who]; i++) {
            const struct call *call = &score.call[who][i];

            if (call->kind == MAP && made->probe[page] - call->virt < call->bytes) {
                phys = call->phys + (made->probe[page] - call->virt);
                count++;
            }
        }
    return count == 1 ? phys : MMU_NO_FRAME;
}

static void promise(uint64_t virt, uint64_t bytes, void (*what)(uint64_t phys))
{
    for (unsigned i = 0; i < PROBES && made->probe[i] != 0; i++)
        if (made->probe[i] - virt < bytes && only_frame(i) != MMU_NO_FRAME)
            what(only_frame(i));
}

enum mm_err map(enum who who, uint64_t virt, uint64_t bytes, uint64_t phys)
{
    const struct mm_map_request request = {
        .virt = mm_virt(virt),
        .bytes = bytes,
        .phys = mm_phys(phys),
        .prot = MM_PROT_RW,
    };
    struct call *call = call_begin(who, MAP, virt, bytes);

    call->phys = phys;
    call->prot = MM_PROT_RW;
    return call_end(call, mm_space_map(&world_space, &request, NULL));
}

static enum mm_err unmap_flags(enum who who, uint64_t virt, uint64_t bytes, uint32_t flags)
{
    struct call *call = call_begin(who, UNMAP, virt, bytes);

    call->holes = (flags & MM_RANGE_HOLES) != 0;
    call_end(call, mm_space_unmap(&world_space, mm_virt(virt), bytes, flags, NULL, NULL));
    if (call->err == MM_OK && !call->holes)
        promise(virt, bytes, mmu_is_gone);
    return call->err;
}

enum mm_err unmap(enum who who, uint64_t virt, uint64_t bytes)
{
    return unmap_flags(who, virt, bytes, 0);
}

enum mm_err unmap_all(enum who who, uint64_t virt, uint64_t bytes)
{
    return unmap_flags(who, virt, bytes, MM_RANGE_HOLES);
}

static void release(void *context, mm_phys_t first, uint64_t count_frames)
{
    (void)context;
    for (uint64_t i = 0; i < count_frames; i++)
        mmu_is_gone(first.raw + i * PAGE);
}

enum mm_err unmap_free(enum who who, uint64_t virt, uint64_t bytes)
{
    struct call *call = call_begin(who, UNMAP, virt, bytes);
    struct mm_gather gather;
    enum mm_err err;

    mm_gather_begin(&gather, &world_space);
    mm_gather_set_release(&gather, release, NULL);
    err = mm_space_unmap(&world_space, mm_virt(virt), bytes, 0, &gather, NULL);
    for (unsigned i = 0; err == MM_OK && i < PROBES && made->probe[i] != 0; i++)
        if (made->probe[i] - virt < bytes)
            mm_gather_frames(&gather, mm_phys(only_frame(i)), 1);
    mm_gather_end(&gather);
    return call_end(call, err);
}

bool cursor_begin(enum who who)
{
    enum mm_err err;

    mm_gather_begin(&in_hand[who].gather, &world_space);
    err = mm_cursor_begin(&in_hand[who].cursor, &world_space, MM_PROT_RW, MM_MEMTYPE_WB, 0,
                          &in_hand[who].gather);
    EXPLORE_CHECK(err == MM_OK || err == MM_ERR_GONE || err == MM_ERR_BAD_ARG);
    if (err != MM_OK)
        mm_gather_end(&in_hand[who].gather);
    return err == MM_OK;
}

enum mm_err cursor_map(enum who who, uint64_t virt, uint64_t phys)
{
    struct call *call = call_begin(who, MAP, virt, PAGE);

    call->phys = phys;
    call->prot = MM_PROT_RW;
    return call_end(call, mm_cursor_map(&in_hand[who].cursor, mm_virt(virt), mm_phys(phys), PAGE));
}

enum mm_err cursor_unmap(enum who who, uint64_t virt)
{
    struct call *call = call_begin(who, UNMAP, virt, PAGE);
    mm_phys_t phys = mm_phys(0);
    enum mm_err err = mm_cursor_unmap(&in_hand[who].cursor, mm_virt(virt), PAGE, &phys);

    call->cursor = true;
    call->phys = phys.raw;
    return call_end(call, err);
}

void cursor_end(enum who who)
{
    mm_cursor_end(&in_hand[who].cursor);
    mm_gather_end(&in_hand[who].gather);
    for (unsigned i = 0; i < score.calls[who]; i++)
        if (score.call[who][i].cursor && score.call[who][i].err == MM_OK)
            promise(score.call[who][i].virt, PAGE, mmu_is_gone);
}

enum mm_err protect(enum who who, uint64_t virt, uint64_t bytes, uint32_t prot)
{
    struct call *call = call_begin(who, PROTECT, virt, bytes);

    call->prot = prot;
    return call_end(call,
                    mm_space_protect(&world_space, mm_virt(virt), bytes, prot, 0, NULL, NULL));
}

enum mm_err lower(enum who who, uint64_t virt, uint64_t bytes)
{
    enum mm_err err = protect(who, virt, bytes, MM_PROT_READ);

    if (err == MM_OK)
        promise(virt, bytes, mmu_is_read_only);
    return err;
}

enum mm_err translate(enum who who, uint64_t virt)
{
    struct call *call = call_begin(who, TRANSLATE, virt, PAGE);
    struct mm_translation out = {.prot = 0};
    enum mm_err err = mm_space_translate(&world_space, mm_virt(virt), &out, NULL);

    call->phys = out.phys.raw;
    call->prot = out.prot;
    return call_end(call, err);
}

enum mm_err activate(enum who who)
{
    struct call *call = call_begin(who, ACTIVATE, 0, 0);

    return call_end(call, mm_space_activate(&world_space));
}

enum mm_err leave_space(enum who who)
{
    struct call *call = call_begin(who, LEAVE, 0, 0);

    return call_end(call, mm_space_activate(&world_kernel));
}

enum mm_err destroy(enum who who)
{
    struct call *call = call_begin(who, DESTROY, 0, 0);

    return call_end(call, mm_space_destroy(&world_space));
}

/* ---- is there an order that explains the answers? ---- */

static bool is_before(const struct call *a, const struct call *b)
{
    return a->ended && explore_is_before(&a->end, &b->begin);
}

static bool overlaps_any(const struct call *one)
{
    for (unsigned who = 0; who < WHOS; who++)
        for (unsigned i = 0; i < score.calls[who]; i++) {
            const struct call *call = &score.call[who][i];

            if (call != one && !is_before(call, one) && !is_before(one, call))
                return true;
        }
    return false;
}

static bool destroy_explained(struct model *model, const struct call *call)
{
    if (call->err == MM_ERR_BUSY)
        return !model->gone && (model->loaded != 0 || overlaps_any(call));
    if (call->err != MM_OK || model->gone || model->loaded != 0)
        return false;
    model->gone = true;
    return true;
}

static bool load_explained(struct model *model, const struct call *call)
{
    if (call->kind == ACTIVATE)
        model->loaded |= 1u << call->cpu;
    else
        model->loaded &= ~(1u << call->cpu);
    return call->err == MM_OK;
}

/* The answer for the pages of the call, one after the other. */
static enum mm_err pages_answer(const struct model *model, const struct call *call)
{
    for (unsigned i = 0; i < PROBES && made->probe[i] != 0; i++) {
        if (made->probe[i] - call->virt >= call->bytes)
            continue;
        if (call->kind == MAP && model->page[i].mapped)
            return MM_ERR_EXISTS;
        if (call->kind != MAP && !call->holes && !model->page[i].mapped)
            return MM_ERR_NOT_FOUND;
    }
    return MM_OK;
}

static bool page_changed(struct model *model, const struct call *call, unsigned i)
{
    uint64_t phys = call->phys + (made->probe[i] - call->virt);

    switch (call->kind) {
    case MAP:
        model->page[i].phys = phys;
        model->page[i].prot = call->prot;
        model->page[i].mapped = true;
        return true;
    case UNMAP:
        model->page[i].mapped = false;
        return !call->cursor || model->page[i].phys == phys; /* what it says it has unmapped */
    case PROTECT:
        model->page[i].prot = call->prot;
        return true;
    default:
        return model->page[i].phys == phys && model->page[i].prot == call->prot;
    }
}

static bool explained(struct model *model, const struct call *call)
{
    if (model->gone && call->kind != LEAVE)
        return call->err == MM_ERR_GONE;
    if (call->kind == DESTROY)
        return destroy_explained(model, call);
    if (call->kind == ACTIVATE || call->kind == LEAVE)
        return load_explained(model, call);
    if (pages_answer(model, call) != call->err)
        return false;
    for (unsigned i = 0; call->err == MM_OK && i < PROBES && made->probe[i] != 0; i++)
        if (made->probe[i] - call->virt < call->bytes && !page_changed(model, call, i))
            return false;
    return true;
}

static bool is_gone(void)
{
    struct mm_translation out;

    return mm_space_translate(&world_space, mm_virt(made->probe[0]), &out, NULL) == MM_ERR_GONE;
}

static bool is_as_in(const struct model *model)
{
    struct mmu_entry now;

    if (model->gone || is_gone())
        return model->gone && is_gone();
    for (unsigned i = 0; i < PROBES && made->probe[i] != 0; i++) {
        bool found = mmu_lookup(world_space.root.raw, made->probe[i], &now);

        if (found != model->page[i].mapped)
            return false;
        if (found && (now.phys != model->page[i].phys ||
                      now.writable != ((model->page[i].prot & MM_PROT_WRITE) != 0)))
            return false;
    }
    return true;
}

/* Calls that could be next: all that ended before they began are done. */
static bool may_be_next(const unsigned *done, const struct call *call)
{
    for (unsigned who = 0; who < WHOS; who++)
        if (done[who] < score.calls[who] && is_before(&score.call[who][done[who]], call))
            return false;
    return true;
}

static bool order_found(const struct model *model, unsigned *done)
{
    bool all = true;

    for (unsigned who = 0; who < WHOS; who++) {
        struct model after = *model;
        const struct call *call = &score.call[who][done[who]];
        bool found;

        if (done[who] == score.calls[who])
            continue;
        all = false;
        if (!may_be_next(done, call) || !explained(&after, call))
            continue;
        done[who]++;
        found = order_found(&after, done);
        done[who]--;
        if (found)
            return true;
    }
    return all && is_as_in(model);
}

/* ---- are the tables whole? ---- */

static void count_table(unsigned *tables, uint64_t frame, unsigned level)
{
    const uint64_t *entry = mmu_table(frame);
    unsigned live = 0, tag = mmu_tag(frame);

    if (++*tables > MMU_FRAMES)
        explore_fail("tables are linked in a circle, or twice");
    for (unsigned i = 0; i < 512; i++) {
        if (entry[i] == 0)
            continue;
        live++;
        if (level > 1 && (entry[i] & 0x80) == 0)
            count_table(tables, entry[i] & UINT64_C(0x000ffffffffff000), level - 1);
    }
    if ((tag & TAG_LOCKED) != 0)
        explore_fail("a table of level %u is left locked", level);
    if ((tag & TAG_STRAY) != 0)
        explore_fail("a table of level %u is linked and stray", level);
    if ((tag >> TAG_LEVEL & 7) != level)
        explore_fail("the tag of a table of level %u is %#x", level, tag);
    if ((tag & TAG_LIVE) != live)
        explore_fail("a table of level %u has %u entries and counts %u", level, live,
                     tag & TAG_LIVE);
    if (live == 0 && level < 4)
        explore_fail("an empty table of level %u is left", level);
}

static void tables_check(void)
{
    unsigned tables = 0;

    if (!is_gone()) {
        count_table(&tables, world_space.root.raw, 4);
        EXPLORE_CHECK(world_space.table_count == tables);
    }
    count_table(&tables, world_kernel.root.raw, 4);
    if (tables != mmu_tables())
        explore_fail("%u tables were taken, and %u are linked", mmu_tables(), tables);
}

/* The calls and their answers, as text. */
static const char *calls_text(void)
{
    static const char *const names[] = {"map",      "unmap", "protect", "translate",
                                        "activate", "leave", "destroy"};
    static char text[300];
    size_t at = 0;

    text[0] = '\0';
    for (unsigned who = 0; who < WHOS; who++)
        for (unsigned i = 0; i < score.calls[who] && at < sizeof text; i++) {
            const struct call *call = &score.call[who][i];

            at += (size_t)snprintf(text + at, sizeof text - at, "; T%u %s %#llx: %s", who,
                                   names[call->kind], (unsigned long long)call->virt,
                                   mm_err_name(call->err));
        }
    return text;
}

void world_check(void)
{
    unsigned done[WHOS] = {0};

    tables_check();
    mmu_check();
    if (!order_found(&start, done))
        explore_fail("no order of the calls explains their answers and what is mapped%s",
                     calls_text());
}
