/*
 * loops.h - the timed loops, compiled once for each mapper.
 *
 * Problem     Calling through a pointer, or inlining one mapper and not the other, would be measured
 *             with them.
 * Idea        This text is included behind each mapper's own calls, named by macros; it makes them
 *             directly.
 *
 * Before:     LOOP_SELF, LOOP_SPACE                      structs of the machine and of a space
 *             LOOP_CREATE(self)                          a LOOP_SPACE pointer
 *             LOOP_DESTROY(space)
 *             LOOP_MAP(space, virt, phys, bytes, level)
 *             LOOP_UNMAP(space, virt, bytes)
 *             LOOP_TRANSLATE(space, virt)                the physical address
 * After:      LOOPS                                      initialisers for struct mapper
 */
static void loop_map(void *context, const struct stretch *stretch)
{
    LOOP_SPACE *space = context;

    LOOP_MAP(space, stretch->virt, stretch->phys, stretch->bytes, stretch->level);
}

static void loop_unmap(void *context, const struct stretch *stretch)
{
    LOOP_SPACE *space = context;

    LOOP_UNMAP(space, stretch->virt, stretch->bytes);
}

static void loop_map_each(void *context, const uint64_t *virt, size_t count, uint64_t bytes,
                          unsigned level)
{
    LOOP_SPACE *space = context;

    for (size_t i = 0; i < count; i++)
        LOOP_MAP(space, virt[i], phys_of(virt[i]), bytes, level);
}

static void loop_unmap_each(void *context, const uint64_t *virt, size_t count, uint64_t bytes)
{
    LOOP_SPACE *space = context;

    for (size_t i = 0; i < count; i++)
        LOOP_UNMAP(space, virt[i], bytes);
}

static uint64_t loop_translate(void *context, const uint64_t *virt, size_t count)
{
    LOOP_SPACE *space = context;
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += LOOP_TRANSLATE(space, virt[i]);
    return sum;
}

static void loop_build(void *context, const struct stretch *stretch, size_t count, unsigned cycles)
{
    LOOP_SELF *self = context;

    for (unsigned cycle = 0; cycle < cycles; cycle++) {
        LOOP_SPACE *space = LOOP_CREATE(self);

        for (size_t i = 0; i < count; i++)
            LOOP_MAP(space, stretch[i].virt, stretch[i].phys, stretch[i].bytes, stretch[i].level);
        LOOP_DESTROY(space);
    }
}

#define LOOPS                                                                   \
    .map = loop_map, .unmap = loop_unmap, .map_each[WAY_ALONE] = loop_map_each, \
    .unmap_each[WAY_ALONE] = loop_unmap_each, .translate = loop_translate, .build = loop_build
