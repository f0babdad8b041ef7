/*
 * mapper.c - whether a mapper is right, before it is timed.
 *
 * Problem     A wrong mapper, one that forgets pages or rights, may be fast.
 * Idea        Random calls on two areas, each across a border where other tables begin; a table with
 *             one word for each page says what must be there. After each call its ends and some
 *             pages anywhere are looked at, at last all.
 * Invariants  page[i] is 0 where nothing is mapped, else the physical address, with bit 0 if writable.
 * Locking     None: one thread.
 * Cost        Some 10 ms for each mapper.
 * Rejected    Trusting unit tests: those of the baselines would have to be written, and run elsewhere.
 */
#include "mapper.h"

#include "../common/host.h"
#include "../common/random.h"

#define AREA_PAGES 2048u /* 8 MiB: four tables */
#define AREAS      2u
#define CALL_PAGES 1200u
#define WRITABLE   UINT64_C(1)
#define SPARE_MAX  64u /* frames that may stay in stock for the next tables */

/* Half of each area lies before the border. */
static const uint64_t border[AREAS] = {UINT64_C(1) << 39, 3 * GIB};

struct model {
    const struct mapper *mapper;
    void *space;
    struct random random;
    uint64_t page[AREAS * AREA_PAGES];
};

static uint64_t virt_of(uint32_t i)
{
    return border[i / AREA_PAGES] - AREA_PAGES / 2 * PAGE_BYTES + i % AREA_PAGES * PAGE_BYTES;
}

static void page_check(struct model *model, uint32_t i)
{
    uint64_t phys = 0, is = 0, must = model->page[i];
    bool writable = false;

    if (model->mapper->look(model->space, virt_of(i), &phys, &writable))
        is = phys | (writable ? WRITABLE : 0);
    if (is != must)
        die("%s: 0x%llx leads to 0x%llx, not to 0x%llx", model->mapper->name,
            (unsigned long long)virt_of(i), (unsigned long long)is, (unsigned long long)must);
}

/* How many pages from `i` on are in the same state as it, `most` at most. */
static uint32_t run_of(const struct model *model, uint32_t i, uint32_t most)
{
    uint32_t count = 1;

    while (count < most && (i + count) % AREA_PAGES != 0 &&
           (model->page[i + count] != 0) == (model->page[i] != 0))
        count++;
    return count;
}

static void call_make(struct model *model)
{
    uint32_t first = random_below(&model->random, AREAS * AREA_PAGES);
    uint32_t most = random_below(&model->random, 4) == 0 ? CALL_PAGES : 3;
    uint32_t count = run_of(model, first, 1 + random_below(&model->random, most));
    struct stretch stretch = {virt_of(first), 0, count * PAGE_BYTES, 1};
    bool writable = random_below(&model->random, 2) != 0;

    if (model->page[first] == 0) {
        stretch.phys = (1 + random_below(&model->random, 1u << 24)) * PAGE_BYTES;
        model->mapper->map(model->space, &stretch);
        for (uint32_t i = 0; i < count; i++)
            model->page[first + i] = (stretch.phys + i * PAGE_BYTES) | WRITABLE;
    } else if (random_below(&model->random, 2) == 0) {
        model->mapper->protect(model->space, &stretch, writable);
        for (uint32_t i = 0; i < count; i++)
            model->page[first + i] =
                (model->page[first + i] & ~WRITABLE) | (writable ? WRITABLE : 0);
    } else {
        model->mapper->unmap(model->space, &stretch);
        for (uint32_t i = 0; i < count; i++)
            model->page[first + i] = 0;
    }
    page_check(model, first);
    page_check(model, first + count - 1);
    for (unsigned i = 0; i < 8; i++)
        page_check(model, random_below(&model->random, AREAS * AREA_PAGES));
}

void mapper_verify(const struct mapper *mapper, void *self, unsigned calls)
{
    static struct model model;
    uint64_t free_frames = mapper->free_frames(self);

    model = (struct model){.mapper = mapper, .space = mapper->create(self), .random = {calls}};
    mapper->load(model.space);
    for (unsigned i = 0; i < calls; i++)
        call_make(&model);
    for (uint32_t i = 0; i < AREAS * AREA_PAGES; i++)
        page_check(&model, i);
    if (mapper->faults != NULL && mapper->faults(model.space) != 0)
        die("%s: its own check finds faults", mapper->name);
    mapper->leave(model.space);
    mapper->destroy(model.space);
    if (mapper->free_frames(self) + SPARE_MAX < free_frames)
        die("%s: frames are lost", mapper->name);
}
