/*
 * allocator.c - instances of allocators, the RAM that they manage, and whether they are right.
 *
 * Problem     A wrong baseline, one that loses frames or hands them out twice, may be fast.
 * Idea        Before anything is timed each allocator takes random calls, and a table of owners
 *             says for each frame whether it may be handed out, and whether there was none.
 * Invariants  owner[f] is what frame f was handed out as: 0 = free, else 1 + order.
 * Locking     None: one thread.
 * Cost        Some 10 ms for each allocator.
 * Rejected    Trusting unit tests of the baselines: they would run elsewhere and at another time.
 */
#include "allocator.h"

#include <stdlib.h>
#include <string.h>

#include "../common/host.h"
#include "../common/random.h"

#define RAM_FIRST ((uint32_t)(UINT64_C(4) << 30 >> MM_FRAME_SHIFT))

struct ram ram_open(uint64_t count)
{
    struct ram ram = {.first = RAM_FIRST, .count = (uint32_t)count};

    ram.bytes = memory_reserve(count << MM_FRAME_SHIFT).start;
    return ram;
}

void ram_close(struct ram *ram)
{
    struct memory memory = {ram->bytes, (size_t)ram->count << MM_FRAME_SHIFT};

    memory_give(&memory);
    *ram = (struct ram){0};
}

struct instance instance_open(const struct allocator *allocator, const struct ram *ram,
                              unsigned cpus)
{
    struct instance instance = {.allocator = allocator};

    instance.memory = memory_take(allocator->bytes(ram, cpus));
    instance.self = allocator->prepare(&instance.memory, ram, cpus);
    allocator->build(instance.self);
    return instance;
}

void instance_close(struct instance *instance)
{
    memory_give(&instance->memory);
    *instance = (struct instance){0};
}

/* ---- verification ---- */

#define VERIFY_FRAMES 16384u
#define VERIFY_LIVE   VERIFY_FRAMES

struct held {
    uint32_t first; /* frame number */
    uint8_t order;
};

struct model {
    const struct allocator *allocator;
    struct instance instance;
    struct ram ram;
    struct random random;
    uint8_t *owner;
    struct held *held;
    uint32_t held_count;
    uint32_t free_frames;
};

static bool frames_are(const struct model *model, uint32_t at, unsigned order, uint8_t owner)
{
    for (uint32_t i = at; i < at + (1u << order); i++)
        if (model->owner[i] != owner)
            return false;
    return true;
}

static uint64_t kept_frames(const struct model *model)
{
    return model->allocator->kept_frames != NULL
               ? model->allocator->kept_frames(model->instance.self)
               : 0;
}

/* A block that must be found. Where the kept frames lie is not known. */
static bool block_is_there(const struct model *model, unsigned order)
{
    if (kept_frames(model) > 0)
        return order == 0 && model->free_frames > kept_frames(model);
    for (uint32_t at = 0; at + (1u << order) <= model->ram.count; at += 1u << order)
        if (frames_are(model, at, order, 0))
            return true;
    return false;
}

static void model_take(struct model *model, unsigned order)
{
    const struct allocator *allocator = model->allocator;
    uint32_t first, at;
    size_t got;

    if (order == 0)
        got = allocator->take(model->instance.self, &first, 1);
    else
        got = allocator->take_blocks(model->instance.self, order, &first, 1);
    if (got == 0) {
        if (block_is_there(model, order))
            die("%s: finds no block of order %u, but there is one", allocator->name, order);
        return;
    }
    at = first - model->ram.first;
    if (first < model->ram.first || at + (1u << order) > model->ram.count ||
        at % (1u << order) != 0)
        die("%s: frame 0x%x of order %u cannot be", allocator->name, first, order);
    if (!frames_are(model, at, order, 0))
        die("%s: frame 0x%x is handed out twice", allocator->name, first);
    memset(model->owner + at, (int)(order + 1), (size_t)1 << order);
    model->held[model->held_count++] = (struct held){first, (uint8_t)order};
    model->free_frames -= 1u << order;
}

static void model_give(struct model *model)
{
    const struct allocator *allocator = model->allocator;
    uint32_t which = random_below(&model->random, model->held_count);
    struct held held = model->held[which];

    if (held.order == 0)
        allocator->give(model->instance.self, &held.first, 1);
    else
        allocator->give_blocks(model->instance.self, held.order, &held.first, 1);
    memset(model->owner + (held.first - model->ram.first), 0, (size_t)1 << held.order);
    model->held[which] = model->held[--model->held_count];
    model->free_frames += 1u << held.order;
}

static unsigned random_order(struct model *model)
{
    if (model->allocator->take_blocks == NULL || random_below(&model->random, 8) != 0)
        return 0;
    return random_below(&model->random, MM_ORDER_2M + 1);
}

/* From empty to full and back, several times, with blocks among the frames. */
static void model_run(struct model *model, unsigned calls)
{
    unsigned wave = model->ram.count * 2;

    for (unsigned i = 0; i < calls; i++) {
        bool growing = i / wave % 2 == 0;

        if (random_below(&model->random, 8) < (growing ? 6u : 2u))
            model_take(model, random_order(model));
        else if (model->held_count > 0)
            model_give(model);
    }
    while (model->held_count > 0)
        model_give(model);
}

/* model_take() ends the program if one is not found that is there. */
static void all_are_there(struct model *model)
{
    if (model->allocator->take_blocks != NULL && kept_frames(model) == 0)
        for (uint32_t at = 0; at < model->ram.count / 2; at += 1u << MM_ORDER_2M)
            model_take(model, MM_ORDER_2M);
    while (model->free_frames > kept_frames(model))
        model_take(model, 0);
    model_take(model, 0);
}

void allocator_verify(const struct allocator *allocator, unsigned calls)
{
    struct model model = {.allocator = allocator, .random = {calls}};

    model.ram = ram_open(VERIFY_FRAMES);
    model.instance = instance_open(allocator, &model.ram, 1);
    model.owner = calloc(VERIFY_FRAMES, 1);
    model.held = calloc(VERIFY_LIVE, sizeof *model.held);
    model.free_frames = VERIFY_FRAMES;
    if (model.owner == NULL || model.held == NULL)
        die("no memory for the model");
    model_run(&model, calls);
    all_are_there(&model);
    free(model.owner);
    free(model.held);
    instance_close(&model.instance);
    ram_close(&model.ram);
}
