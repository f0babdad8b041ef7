/*
 * prompt_stress.c - all three layers at random, and the books afterwards.
 *
 * Problem     One allocation proves little; errors come from what was allocated before.
 * Idea        A table of slots. Each round picks one: what is in it must still hold the pattern
 *             that was put there, and goes; what is empty gets heap memory, a block of frames, or
 *             frames mapped at addresses of its own. In the end everything goes back, libmm checks
 *             itself, and each frame must be in the state it was in.
 * Invariants  S1 every word of a full slot is the slot's pattern
 *             S2 slots of pages have addresses of their own, which fault when they are empty
 * Locking     None.
 * Cost        Some microseconds a round.
 * Rejected    A fixed seed: the next run should do something else. It is printed.
 */
#include <stddef.h>

#include <mm/names.h>

#include "fault.h"
#include "host.h"
#include "print.h"
#include "prompt_commands.h"
#include "prompt_line.h"
#include "snapshot.h"
#include "timer.h"

#define SLOTS            64u
#define ROUNDS           10000u
#define HEAP_BYTES_MAX   8192u
#define ORDER_MAX        4u
#define PAGES_MAX        8u
#define STRESS_VIRT      UINT64_C(0x500000000000)
#define SLOT_VIRT(slot)  (STRESS_VIRT + (uint64_t)((slot)-slots) * PAGES_MAX * MM_FRAME_BYTES)
#define WATCHDOG_SECONDS 60u
#define TICKS_PER_MS     (TIMER_HZ / 1000u)
#define ROUNDS_PER_LOOK  64u /* at the clock and at the keyboard */

enum slot_kind {
    SLOT_EMPTY,
    SLOT_HEAP,
    SLOT_FRAMES, /* `phys`, seen through the direct map */
    SLOT_PAGES   /* `phys`, mapped at SLOT_VIRT() */
};

struct slot {
    enum slot_kind kind;
    void *memory; /* where the pattern is written */
    uint64_t phys;
    uint64_t bytes;
    uint64_t pattern;
};

static struct slot slots[SLOTS];
static uint64_t random_state;
static uint64_t wrong, refused;

/* xorshift64*: never 0 if it did not begin there */
static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * UINT64_C(0x2545f4914f6cdd1d) >> 16) % limit;
}

static void complain(const struct slot *slot, const char *what)
{
    static const char *const kinds[] = {"empty", "heap", "frames", "pages"};

    wrong++;
    kprintf("stress: slot %u (%s, %lu bytes at %p): %s\n", (unsigned)(slot - slots),
            kinds[slot->kind], slot->bytes, slot->memory, what);
}

static void fill(struct slot *slot, uint64_t from_bytes)
{
    uint64_t *words = slot->memory;

    for (uint64_t i = from_bytes / 8; i < slot->bytes / 8; i++)
        words[i] = slot->pattern;
}

/* The first `bytes` of what the slot holds, seen at `memory`. */
static void verify(const struct slot *slot, const void *memory, uint64_t bytes)
{
    const uint64_t *words = memory;

    for (uint64_t i = 0; i < bytes / 8; i++) {
        if (words[i] != slot->pattern) {
            complain(slot, "its contents have changed");
            return;
        }
    }
}

static bool take_heap(struct slot *slot)
{
    slot->bytes = random_below(random_below(HEAP_BYTES_MAX) + 1);
    slot->memory = kmalloc(slot->bytes);
    return slot->memory != NULL;
}

static bool take_frames(struct slot *slot)
{
    struct mm_frame_request request = {.order = (uint8_t)random_below(ORDER_MAX + 1)};
    mm_phys_t first;

    slot->bytes = MM_FRAME_BYTES << request.order;
    if (mm_pmm_alloc(&mm_default.pmm, &request, &first) != MM_OK)
        return false;
    slot->phys = first.raw;
    slot->memory = phys_to_virt(first.raw);
    return true;
}

static bool take_pages(struct slot *slot)
{
    uint64_t pages = random_below(PAGES_MAX) + 1;
    uint64_t first = pmm_alloc_frames(pages);

    if (!first)
        return false;
    slot->bytes = pages * MM_FRAME_BYTES;
    slot->phys = first;
    slot->memory = mm_virt_pointer(mm_virt(SLOT_VIRT(slot)));
    if (vmm_map(SLOT_VIRT(slot), first, slot->bytes, VMM_WRITE) == MM_OK)
        return true;
    pmm_free_frames(first, pages);
    return false;
}

static void take(struct slot *slot)
{
    enum slot_kind kind = (enum slot_kind)(random_below(3) + SLOT_HEAP);
    bool taken = kind == SLOT_HEAP     ? take_heap(slot)
                 : kind == SLOT_FRAMES ? take_frames(slot)
                                       : take_pages(slot);

    if (!taken) {
        refused++;
        return;
    }
    slot->kind = kind;
    slot->pattern = random_state;
    fill(slot, 0);
}

static void give_pages(struct slot *slot)
{
    verify(slot, phys_to_virt(slot->phys), slot->bytes);
    if (vmm_unmap(SLOT_VIRT(slot), slot->bytes) != MM_OK)
        complain(slot, "cannot be unmapped");
    if (!probe_read(SLOT_VIRT(slot)).hit)
        complain(slot, "can be read although it is unmapped");
    pmm_free_frames(slot->phys, slot->bytes / MM_FRAME_BYTES);
}

static void give(struct slot *slot)
{
    verify(slot, slot->memory, slot->bytes);
    if (slot->kind == SLOT_HEAP)
        kfree(slot->memory);
    else if (slot->kind == SLOT_FRAMES)
        pmm_free_frames(slot->phys, slot->bytes / MM_FRAME_BYTES);
    else
        give_pages(slot);
    slot->kind = SLOT_EMPTY;
}

static void resize(struct slot *slot)
{
    uint64_t bytes = random_below(HEAP_BYTES_MAX);
    uint64_t kept = bytes < slot->bytes ? bytes : slot->bytes;
    void *memory = krealloc(slot->memory, bytes);

    if (!memory) {
        refused++;
        return;
    }
    slot->memory = memory;
    slot->bytes = bytes;
    verify(slot, memory, kept);
    fill(slot, kept);
}

static void round_once(void)
{
    struct slot *slot = &slots[random_below(SLOTS)];

    if (slot->kind == SLOT_EMPTY)
        take(slot);
    else if (slot->kind == SLOT_HEAP && random_below(2) == 0)
        resize(slot);
    else
        give(slot);
}

/* Until so many rounds or ticks (UINT64_MAX: no limit), something wrong, or a key. */
static uint64_t run(uint64_t rounds, uint64_t ticks)
{
    const uint64_t start = timer_ticks();
    uint64_t done = 0;

    for (; done < rounds && !wrong; done++) {
        if (done % ROUNDS_PER_LOOK == 0) {
            timer_watchdog(WATCHDOG_SECONDS);
            if (timer_ticks() - start >= ticks || prompt_line_interrupted())
                break;
        }
        round_once();
    }
    return done;
}

/* "250" rounds, "10s" seconds. */
static bool parse_limits(const struct words *words, uint64_t *rounds, uint64_t *ticks)
{
    char *end = words->count > 1 ? words->at[1] : "";
    bool seconds;

    *rounds = ROUNDS;
    *ticks = UINT64_MAX;
    if (!*end)
        return true;
    while (end[1])
        end++;
    seconds = *end == 's';
    if (seconds)
        *end = 0;
    if (!words_number(words->at[1], rounds))
        return false;
    if (seconds) {
        *ticks = *rounds * TIMER_HZ;
        *rounds = UINT64_MAX;
    }
    return true;
}

void command_stress(const struct words *words)
{
    uint64_t rounds, ticks, start, done;
    bool same;

    if (!parse_limits(words, &rounds, &ticks)) {
        kprintf("stress: '%s' is neither rounds nor seconds\n", words->at[1]);
        return;
    }
    snapshot_take(&snapshot_before);
    start = timer_ticks();
    random_state = start * 2 + 1;
    wrong = refused = 0;
    kprintf("stress: seed %lu\n", random_state);
    done = run(rounds, ticks);
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].kind != SLOT_EMPTY)
            give(&slots[i]);
    }
    same = snapshot_unchanged();
    kprintf("stress: %lu rounds in %lu ms, %lu without memory; %lu wrong, %lu faults found, %s\n",
            done, (timer_ticks() - start) / TICKS_PER_MS, refused, wrong,
            mm_check(&mm_default, &fault_printer), same ? "every frame is back" : "frames differ");
}
