/*
 * loops.h - the timed loops, compiled once for each allocator.
 *
 * Problem     Calling through a pointer, or inlining one allocator and not the other, would be
 *             measured with the allocators.
 * Idea        This text is included behind each allocator's own calls, named by macros; it makes
 *             them directly. Every loop does for each call what a kernel does: look at the result,
 *             and note the frame in a table of 32-bit frame numbers.
 *
 * Before:     LOOP_SELF                        the allocator's struct
 *             LOOP_ALLOC(self, out)            one frame; true if there was one
 *             LOOP_FREE(self, phys)
 *             LOOP_ALLOC_BULK(self, n, out)    optional, with LOOP_FREE_BULK(self, phys, n)
 *             LOOP_ALLOC_BLOCK(self, order, out)    optional, with
 *             LOOP_FREE_BLOCK(self, order, phys)
 * After:      LOOPS                            initialisers for struct allocator
 */
#include "../common/host.h"

#define LOOP_AHEAD 16u

static size_t loop_take(void *context, uint32_t *frame, size_t count)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++) {
        mm_phys_t phys;

        if (!LOOP_ALLOC(self, &phys))
            return i;
        frame[i] = (uint32_t)mm_frame_of(phys);
    }
    return count;
}

static void loop_give(void *context, const uint32_t *frame, size_t count)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++)
        LOOP_FREE(self, mm_frame_phys(frame[i]));
}

/* A caller that frees a frame has just looked at its number; the misses of our table are not the
 * allocator's. */
static inline void loop_prefetch(const uint32_t *live, const uint32_t *index, size_t i,
                                 size_t count)
{
    __builtin_prefetch(&live[index[i + LOOP_AHEAD < count ? i + LOOP_AHEAD : i]], 1);
}

static void loop_churn(void *context, uint32_t *live, const uint32_t *index, size_t count)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++) {
        mm_phys_t phys;

        loop_prefetch(live, index, i, count);
        LOOP_FREE(self, mm_frame_phys(live[index[i]]));
        if (!LOOP_ALLOC(self, &phys))
            die("no frame, though one was freed");
        live[index[i]] = (uint32_t)mm_frame_of(phys);
    }
}

static void loop_bursts(void *context, uint32_t *live, const uint32_t *index, size_t count,
                        size_t burst)
{
    LOOP_SELF *self = context;

    for (; count >= burst; count -= burst, index += burst) {
        for (size_t i = 0; i < burst; i++) {
            loop_prefetch(live, index, i, burst);
            LOOP_FREE(self, mm_frame_phys(live[index[i]]));
        }
        for (size_t i = 0; i < burst; i++) {
            mm_phys_t phys;

            if (!LOOP_ALLOC(self, &phys))
                die("no frame, though as many were freed");
            live[index[i]] = (uint32_t)mm_frame_of(phys);
        }
    }
}

#ifdef LOOP_ALLOC_BULK
static size_t loop_take_bulk(void *context, mm_phys_t *frame, size_t count, size_t batch)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i += batch)
        if (!LOOP_ALLOC_BULK(self, batch, frame + i))
            return i;
    return count;
}

static void loop_give_bulk(void *context, const mm_phys_t *frame, size_t count, size_t batch)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i += batch)
        LOOP_FREE_BULK(self, frame + i, batch);
}
#define LOOPS_BULK .take_bulk = loop_take_bulk, .give_bulk = loop_give_bulk,
#else
#define LOOPS_BULK
#endif

#ifdef LOOP_ALLOC_BLOCK
static size_t loop_take_blocks(void *context, unsigned order, uint32_t *first, size_t count)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++) {
        mm_phys_t phys;

        if (!LOOP_ALLOC_BLOCK(self, order, &phys))
            return i;
        first[i] = (uint32_t)mm_frame_of(phys);
    }
    return count;
}

static void loop_give_blocks(void *context, unsigned order, const uint32_t *first, size_t count)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++)
        LOOP_FREE_BLOCK(self, order, mm_frame_phys(first[i]));
}

static size_t loop_replay(void *context, const struct trace_step *step, size_t count,
                          mm_phys_t *slot)
{
    LOOP_SELF *self = context;

    for (size_t i = 0; i < count; i++) {
        mm_phys_t *phys = &slot[step[i].slot];
        unsigned order = step[i].order;

        if (step[i].is_free && order == 0)
            LOOP_FREE(self, *phys);
        else if (step[i].is_free)
            LOOP_FREE_BLOCK(self, order, *phys);
        else if (!(order == 0 ? LOOP_ALLOC(self, phys) : LOOP_ALLOC_BLOCK(self, order, phys)))
            return i;
    }
    return count;
}
#define LOOPS_BLOCKS \
    .take_blocks = loop_take_blocks, .give_blocks = loop_give_blocks, .replay = loop_replay,
#else
#define LOOPS_BLOCKS
#endif

#define LOOPS                                                                         \
    .take = loop_take, .give = loop_give, .churn = loop_churn, .bursts = loop_bursts, \
    LOOPS_BULK LOOPS_BLOCKS
