/*
 * case_protect.c - rights of 1 GiB in 4 KiB pages taken away and given back, in one call each.
 *
 * Problem     An entry in which the hardware may still set accessed or dirty must be exchanged, which
 *             costs twenty stores; one in which it has nothing left to set, or that it cannot reach,
 *             need not.
 * Idea        Three states: both marks set beforehand; none set, the space loaded here; none set, and
 *             no CPU that could set them.
 * Invariants  Every page is readable and writable before and after a turn.
 * Locking     None.
 * Cost        -
 * Rejected    Some marks set, some not: a mixture of what is shown.
 */
#include "bench.h"

#include "../common/clock.h"

enum state {
    PRESET, /* accessed and dirty are set */
    LIVE,
    IDLE
};

enum {
    OF_LOWER,
    OF_RAISE
};

static void protect_turn(struct lane *lane, const struct stretch *stretch, enum state state)
{
    const struct mapper *mapper = lane->mapper;
    double pages = (double)(stretch->bytes / PAGE_BYTES);
    uint64_t start, lowered, raised;
    void *space = mapper->create(lane->self);

    mapper->map(space, stretch);
    if (state == PRESET)
        stretch_touch(mapper, space, stretch);
    if (state != IDLE)
        mapper->load(space);
    mapper->protect(space, stretch, false);
    mapper->protect(space, stretch, true);
    start = clock_thread_ns();
    mapper->protect(space, stretch, false);
    lowered = clock_thread_ns();
    mapper->protect(space, stretch, true);
    raised = clock_thread_ns();
    mapper->leave(space);
    mapper->destroy(space);
    samples_add(&lane->of[OF_LOWER], (double)(lowered - start) / pages);
    samples_add(&lane->of[OF_RAISE], (double)(raised - lowered) / pages);
}

void case_protect(const struct settings *settings, const char *name, unsigned state)
{
    struct stretch stretch = stretch_of(settings->bytes, 1, 0);
    struct goal goal = state == PRESET ? STORES(4) : state == LIVE ? LOCKS(1.1) : STORES(5);

    case_begin();
    for (unsigned round = 0; round < settings->rounds; round++) {
        round_begin();
        for (unsigned i = 0; i < LANES; i++)
            protect_turn(&lanes[i], &stretch, (enum state)state);
    }
    lanes_report(name, "read-only", OF_LOWER, goal);
    lanes_report(name, "writable again", OF_RAISE, goal);
}
