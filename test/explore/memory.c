/*
 * memory.c - what a load may return: weak memory, and races of plain accesses.
 *
 * Problem     On real machines and after real compilers a load may return a value that another CPU
 *             has already overwritten. A missing release or acquire hides on x86, where most people
 *             test, and shows on the machine of a user.
 * Idea        Each atomic location has the history of its values, each with its writer, the writer's
 *             time, and, if it was released, what the writer knew then (a vector clock). Each CPU has
 *             its own clock and, per location, the newest entry that it has seen. A load may return
 *             any entry from there on, and none older than what happened before it; an acquire takes
 *             over the clock of the entry that it returned. Read-modify-writes read the newest entry.
 *             Plain accesses keep the time of the last write and reads for each byte: one that the
 *             CPU's clock does not cover is a race, in whatever order they came this time.
 * Invariants  I1 memory holds the newest value of each location
 *             I2 clocks belong to CPUs, as memory does: threads and handlers of one CPU see all that
 *             any of them did, and a thread that moves takes its CPU's knowledge along
 *             I3 a fixed table that is full stops the program
 * Locking     None.
 * Cost        A look into a hash table per access; 40 bytes for each value that is written.
 * Rejected    Store buffers, as x86 has them: they forgive what ARM and compilers do not. Loads that
 *             return values of the future: no compiler does it to code like this, and the search
 *             would have no end.
 */
#include "engine.h"

#include <string.h>

/* ---- clocks ---- */

struct clock {
    uint32_t time[EXPLORE_CPUS];
};

static void clock_join(struct clock *clock, const struct clock *other)
{
    for (unsigned i = 0; i < EXPLORE_CPUS; i++)
        if (clock->time[i] < other->time[i])
            clock->time[i] = other->time[i];
}

static struct {
    struct clock now;      /* what this CPU knows */
    struct clock loaded;   /* released by what it loaded relaxed: an acquire fence takes it over */
    struct clock released; /* at its last fence: its relaxed stores release that much */
} knows[EXPLORE_CPUS];

/* ---- tables: words for plain accesses, locations for atomic ones ---- */

#define HISTORY_MAX   96u
#define LOCATIONS_MAX 192u
#define WORDS_MAX     4096u
#define SLOTS         16384u /* power of two, > 2 x WORDS_MAX */

struct entry {
    uint64_t value;
    struct clock release;
    uint32_t time;
    int writer; /* -1: it was there at the start */
};

struct location {
    uintptr_t address;
    uint32_t bytes, count;
    uint32_t seen[EXPLORE_CPUS]; /* index in entry */
    struct clock read, written;  /* by whom, when last */
    struct conflicts conflicts;
    struct word *word;
    struct entry entry[HISTORY_MAX];
};

struct word {
    uintptr_t address;
    bool plain, atomic;
    uint8_t location[8]; /* number + 1 of the location that begins at this byte */
    struct {
        struct clock read;
        uint32_t time;
        int writer;
    } byte[8];
};

static struct location location[LOCATIONS_MAX];
static struct word word[WORDS_MAX];
static unsigned locations, words;
static struct {
    uint32_t execution, word;
} slot[SLOTS];
static uint32_t execution;
static uint32_t fence_known[LOCATIONS_MAX]; /* the newest entry that fences have made known */

void memory_reset(void)
{
    regions_restore();
    memset(knows, 0, sizeof knows);
    locations = words = 0;
    if (++execution == 0) {
        memset(slot, 0, sizeof slot);
        execution = 1;
    }
}

static struct word *word_at(uintptr_t address)
{
    uintptr_t key = address & ~(uintptr_t)7;
    uint32_t i = (uint32_t)((key >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 50) % SLOTS;
    struct word *new;

    for (; slot[i].execution == execution; i = (i + 1) % SLOTS)
        if (word[slot[i].word].address == key)
            return &word[slot[i].word];
    if (words == WORDS_MAX)
        cannot("more than %u words of memory in one execution", WORDS_MAX);
    slot[i].execution = execution;
    slot[i].word = words;
    new = &word[words++];
    memset(new, 0, sizeof *new);
    new->address = key;
    for (unsigned b = 0; b < 8; b++)
        new->byte[b].writer = -1;
    return new;
}

static uint64_t raw_load(uintptr_t address, uint32_t bytes)
{
    switch (bytes) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

static void raw_store(uintptr_t address, uint32_t bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
    }
}

static void append(struct location *at, uint64_t value, int writer, uint32_t time,
                   const struct clock *release)
{
    struct entry *entry;

    if (at->count == HISTORY_MAX)
        cannot("more than %u values of %s in one execution", HISTORY_MAX,
               regions_name(at->address));
    entry = &at->entry[at->count++];
    entry->value = value;
    entry->writer = writer;
    entry->time = time;
    entry->release = *release;
}

static struct location *location_new(uintptr_t address, uint32_t bytes, struct word *in)
{
    static const struct clock nothing;
    struct location *new = &location[locations];

    if (locations == LOCATIONS_MAX)
        cannot("more than %u atomic locations in one execution", LOCATIONS_MAX);
    if (address % bytes != 0)
        explore_fail("atomic access of %u bytes at %s is not aligned", bytes,
                     regions_name(address));
    memset(new, 0, offsetof(struct location, entry));
    new->address = address;
    new->bytes = bytes;
    new->word = in;
    fence_known[locations] = 0;
    in->location[address % 8] = (uint8_t)++locations;
    in->atomic = true;
    append(new, raw_load(address, bytes), -1, 0, &nothing);
    return new;
}

/* The location was written plainly since: by whom was noted, or it is the scenario's fault. */
static void plain_write_found(struct location *at, uint64_t value)
{
    static const struct clock nothing;
    unsigned byte = (unsigned)(at->address % 8);

    if (at->word->byte[byte].writer < 0)
        explore_fail("%s is atomic and was written behind the explorer's back",
                     regions_name(at->address));
    append(at, value, at->word->byte[byte].writer, at->word->byte[byte].time, &nothing);
}

static struct location *location_at(uintptr_t address, uint32_t bytes)
{
    struct word *in = word_at(address);
    struct location *at;
    uint64_t value;

    if (in->location[address % 8] == 0)
        return location_new(address, bytes, in);
    at = &location[in->location[address % 8] - 1];
    if (at->bytes != bytes)
        explore_fail("%s is accessed by %u bytes and by %u", regions_name(address), at->bytes,
                     bytes);
    value = raw_load(address, bytes);
    if (value != at->entry[at->count - 1].value)
        plain_write_found(at, value);
    return at;
}

/* ---- races ---- */

static bool knows_of(unsigned cpu, int writer, uint32_t time)
{
    return writer < 0 || (unsigned)writer == cpu || time <= knows[cpu].now.time[writer];
}

static bool knows_all(unsigned cpu, const struct clock *times)
{
    for (unsigned i = 0; i < EXPLORE_CPUS; i++)
        if (i != cpu && times->time[i] > knows[cpu].now.time[i])
            return false;
    return true;
}

static _Noreturn void race(unsigned cpu, uintptr_t address, const char *this, const char *other)
{
    explore_fail("data race: %s of %s by CPU %u is not ordered with %s by another", this,
                 regions_name(address), cpu, other);
}

static void plain_byte(unsigned cpu, struct word *in, unsigned byte, bool write)
{
    uintptr_t address = in->address + byte;

    if (!knows_of(cpu, in->byte[byte].writer, in->byte[byte].time))
        race(cpu, address, write ? "write" : "read", "a write");
    if (!write) {
        in->byte[byte].read.time[cpu] = knows[cpu].now.time[cpu] + 1;
        return;
    }
    if (!knows_all(cpu, &in->byte[byte].read))
        race(cpu, address, "write", "a read");
    in->byte[byte].writer = (int)cpu;
    in->byte[byte].time = knows[cpu].now.time[cpu] + 1;
}

static void plain_and_atomic(unsigned cpu, const struct location *at, bool write)
{
    if (!knows_all(cpu, &at->written))
        race(cpu, at->address, write ? "plain write" : "plain read", "an atomic write");
    if (write && !knows_all(cpu, &at->read))
        race(cpu, at->address, "plain write", "an atomic read");
}

void memory_plain(unsigned cpu, uintptr_t address, size_t bytes, bool write)
{
    while (bytes > 0) {
        struct word *in = word_at(address);
        unsigned first = (unsigned)(address % 8);
        unsigned end = bytes < 8 - first ? first + (unsigned)bytes : 8;

        in->plain = true;
        for (unsigned b = first; b < end; b++)
            plain_byte(cpu, in, b, write);
        for (unsigned b = 0; in->atomic && b < end; b++)
            if (in->location[b] != 0 && b + location[in->location[b] - 1].bytes > first)
                plain_and_atomic(cpu, &location[in->location[b] - 1], write);
        address += end - first;
        bytes -= end - first;
    }
}

static void atomic_and_plain(unsigned cpu, const struct location *at, bool write)
{
    unsigned first = (unsigned)(at->address % 8);

    if (!at->word->plain)
        return;
    for (unsigned b = first; b < first + at->bytes; b++) {
        if (!knows_of(cpu, at->word->byte[b].writer, at->word->byte[b].time))
            race(cpu, at->address, write ? "atomic write" : "atomic read", "a plain write");
        if (write && !knows_all(cpu, &at->word->byte[b].read))
            race(cpu, at->address, "atomic write", "a plain read");
    }
}

void explore_plain(const void *start, size_t bytes, bool write)
{
    uintptr_t address = (uintptr_t)start;

    if (!engine.live || !regions_have(start, bytes))
        return;
    if ((engine.scenario->flags & EXPLORE_PLAIN_STEPS) != 0)
        step(write ? STEP_WRITE : STEP_READ, address, (uint32_t)bytes);
    regions_access(address, bytes);
    trace("%s %s", write ? "write" : "read", regions_name(address));
    if (!regions_may_race(address))
        memory_plain(engine.current->cpu, address, bytes, write);
}

/* ---- atomic accesses ---- */

static void watch(const struct location *at, uint32_t entry)
{
    struct watches *watches = &engine.current->watches;

    if (watches->count >= WATCHES_MAX) {
        watches->count = WATCHES_MAX + 1; /* too many: the next wait does not wait */
        return;
    }
    watches->watch[watches->count].location = (uint32_t)(at - location);
    watches->watch[watches->count].entry = entry;
    watches->count++;
}

/* Is there a reason to look again? Once there is one it stays, even if the old value comes back: else
 * each write would have to be tried before and after the look. */
bool memory_changed(const struct watches *watches)
{
    if (watches->count > WATCHES_MAX)
        return true;
    for (unsigned i = 0; i < watches->count; i++) {
        const struct location *at = &location[watches->watch[i].location];
        uint32_t seen = watches->watch[i].entry;

        for (uint32_t e = at->count - 1; e > seen; e--)
            if (at->entry[e].value != at->entry[seen].value)
                return true;
    }
    return false;
}

bool memory_is_watched(const struct watches *watches, uintptr_t address)
{
    for (unsigned i = 0; i < watches->count && i < WATCHES_MAX; i++)
        if (location[watches->watch[i].location].address == address)
            return true;
    return watches->count > WATCHES_MAX;
}

struct conflicts *memory_conflicts(const struct watches *watches, unsigned number)
{
    if (number >= watches->count || number >= WATCHES_MAX)
        return NULL;
    return &location[watches->watch[number].location].conflicts;
}

/* The oldest entry that `cpu` may still return. */
static uint32_t oldest(const struct location *at, unsigned cpu)
{
    uint32_t i = at->count - 1;

    while (i > at->seen[cpu] && !knows_of(cpu, at->entry[i].writer, at->entry[i].time))
        i--;
    return i;
}

static void take_over(unsigned cpu, const struct entry *entry, enum explore_order order)
{
    if ((order & EXPLORE_ACQUIRE) != 0)
        clock_join(&knows[cpu].now, &entry->release);
    else
        clock_join(&knows[cpu].loaded, &entry->release);
}

static const char *order_name(enum explore_order order)
{
    static const char *const name[] = {"relaxed", "acquire", "release", "acq_rel"};

    return name[order];
}

uint64_t explore_load(const void *p, unsigned bytes, enum explore_order order)
{
    uintptr_t address = (uintptr_t)p;
    struct location *at;
    unsigned cpu, back = 0;
    uint32_t floor;

    if (!engine.live || regions_no_steps(address))
        return raw_load(address, bytes);
    step(STEP_LOAD, address, bytes);
    regions_access(address, bytes);
    cpu = engine.current->cpu;
    at = location_at(address, bytes);
    reduce_access(&at->conflicts, false);
    atomic_and_plain(cpu, at, false);
    floor = oldest(at, cpu);
    if (engine.stale < engine.bounds.stale)
        back = choose(at->count - floor);
    engine.stale += back != 0;
    at->seen[cpu] = at->count - 1 - back;
    at->read.time[cpu] = knows[cpu].now.time[cpu] + 1;
    take_over(cpu, &at->entry[at->seen[cpu]], order);
    watch(at, at->seen[cpu]);
    trace("load %s of %s: %#llx%s", order_name(order), regions_name(address),
          (unsigned long long)at->entry[at->seen[cpu]].value, back != 0 ? " (stale)" : "");
    return at->entry[at->seen[cpu]].value;
}

uint32_t explore_newest(const uint32_t *p)
{
    uintptr_t address = (uintptr_t)p;

    if (!engine.live)
        return *(const volatile uint32_t *)p;
    step(STEP_LOAD, address, sizeof *p);
    reduce_access(&location_at(address, sizeof *p)->conflicts, false);
    trace("look at %s: %#x", regions_name(address), (unsigned)raw_load(address, sizeof *p));
    return (uint32_t)raw_load(address, sizeof *p);
}

/* A write after the newest entry; `read` is that entry if it was read by the same operation. */
static void write_newest(struct location *at, unsigned cpu, uint64_t value,
                         enum explore_order order, bool read)
{
    struct clock release = {{0}};
    uint32_t time = ++knows[cpu].now.time[cpu];

    release = (order & EXPLORE_RELEASE) != 0 ? knows[cpu].now : knows[cpu].released;
    if (read)
        clock_join(&release, &at->entry[at->count - 1].release);
    append(at, value, (int)cpu, time, &release);
    at->seen[cpu] = at->count - 1;
    at->written.time[cpu] = time;
    raw_store(at->address, at->bytes, value);
}

void explore_store(void *p, unsigned bytes, uint64_t value, enum explore_order order)
{
    uintptr_t address = (uintptr_t)p;
    struct location *at;
    unsigned cpu;

    if (!engine.live || regions_no_steps(address)) {
        raw_store(address, bytes, value);
        return;
    }
    step(STEP_STORE, address, bytes);
    regions_access(address, bytes);
    cpu = engine.current->cpu;
    at = location_at(address, bytes);
    reduce_access(&at->conflicts, true);
    atomic_and_plain(cpu, at, true);
    write_newest(at, cpu, value, order, false);
    trace("store %s to %s: %#llx", order_name(order), regions_name(address),
          (unsigned long long)value);
}

static uint64_t narrow(uint64_t value, unsigned bytes)
{
    return bytes == 8 ? value : value & ((UINT64_C(1) << (bytes * 8)) - 1);
}

static uint64_t rmw_value(uint64_t old, enum explore_rmw what, uint64_t operand, unsigned bytes)
{
    switch (what) {
    case EXPLORE_ADD:
        return narrow(old + operand, bytes);
    case EXPLORE_OR:
        return old | operand;
    case EXPLORE_AND:
        return old & operand;
    default:
        return operand;
    }
}

uint64_t explore_rmw(void *p, unsigned bytes, enum explore_rmw what, uint64_t operand,
                     enum explore_order order)
{
    uintptr_t address = (uintptr_t)p;
    struct location *at;
    struct entry *newest;
    uint64_t old, new;
    unsigned cpu;

    if (!engine.live || regions_no_steps(address)) {
        old = raw_load(address, bytes);
        raw_store(address, bytes, rmw_value(old, what, operand, bytes));
        return old;
    }
    step(STEP_RMW, address, bytes);
    regions_access(address, bytes);
    cpu = engine.current->cpu;
    at = location_at(address, bytes);
    reduce_access(&at->conflicts, true);
    atomic_and_plain(cpu, at, true);
    newest = &at->entry[at->count - 1];
    old = newest->value;
    new = rmw_value(old, what, operand, bytes);
    take_over(cpu, newest, order);
    at->read.time[cpu] = knows[cpu].now.time[cpu] + 1;
    write_newest(at, cpu, new, order, true);
    watch(at, at->count - 1);
    trace("rmw %s of %s: %#llx to %#llx", order_name(order), regions_name(address),
          (unsigned long long)old, (unsigned long long)new);
    return old;
}

bool explore_compare_swap(void *p, unsigned bytes, uint64_t *expected, uint64_t value,
                          enum explore_order order)
{
    uintptr_t address = (uintptr_t)p;
    struct location *at;
    struct entry *newest;
    unsigned cpu;
    bool equal;

    if (!engine.live || regions_no_steps(address)) {
        equal = raw_load(address, bytes) == *expected;
        if (equal)
            raw_store(address, bytes, value);
        else
            *expected = raw_load(address, bytes);
        return equal;
    }
    step(STEP_RMW, address, bytes);
    regions_access(address, bytes);
    cpu = engine.current->cpu;
    at = location_at(address, bytes);
    newest = &at->entry[at->count - 1];
    equal = newest->value == *expected;
    reduce_access(&at->conflicts, equal);
    atomic_and_plain(cpu, at, equal);
    take_over(cpu, newest, order);
    at->read.time[cpu] = knows[cpu].now.time[cpu] + 1;
    trace("compare-and-swap %s of %s: %#llx, wanted %#llx%s", order_name(order),
          regions_name(address), (unsigned long long)newest->value, (unsigned long long)*expected,
          equal ? ", done" : "");
    if (!equal) {
        engine.current->done.kind = STEP_LOAD; /* it wrote nothing: nobody need be woken */
        at->seen[cpu] = at->count - 1;
        watch(at, at->count - 1);
        *expected = newest->value;
        return false;
    }
    write_newest(at, cpu, value, order, true);
    watch(at, at->count - 1);
    return true;
}

/* Sequentially consistent: whoever fences later sees what was seen at the earlier fence. */
void explore_fence(void)
{
    unsigned cpu;

    if (!engine.live)
        return;
    step(STEP_FENCE, 0, 0);
    reduce_fence();
    cpu = engine.current->cpu;
    clock_join(&knows[cpu].now, &knows[cpu].loaded);
    for (unsigned i = 0; i < locations; i++) {
        uint32_t floor = oldest(&location[i], cpu);

        if (floor < fence_known[i])
            floor = fence_known[i];
        location[i].seen[cpu] = floor;
        fence_known[i] = floor;
    }
    knows[cpu].now.time[cpu]++;
    knows[cpu].released = knows[cpu].now;
    trace("full fence");
}

/* ---- threads that move, interrupts that are sent ---- */

void memory_release(unsigned cpu, uint32_t *release)
{
    knows[cpu].now.time[cpu]++;
    memcpy(release, &knows[cpu].now, sizeof(struct clock));
}

void memory_acquire(unsigned cpu, const uint32_t *release)
{
    struct clock clock;

    memcpy(&clock, release, sizeof clock);
    clock_join(&knows[cpu].now, &clock);
}

void explore_now(struct explore_instant *out)
{
    memset(out, 0, sizeof *out);
    if (!engine.live)
        return;
    out->cpu = engine.current->cpu;
    memory_release(out->cpu, out->clock);
}

bool explore_is_before(const struct explore_instant *a, const struct explore_instant *b)
{
    return a->clock[a->cpu] <= b->clock[a->cpu];
}

void explore_take_turn(struct explore_turn *turn, bool is_step)
{
    struct clock *release = (struct clock *)turn->release;
    unsigned cpu;

    if (!engine.live)
        return;
    if (is_step || engine.reduce) {
        (void)explore_rmw(&turn->word, sizeof turn->word, EXPLORE_ADD, 1, EXPLORE_ACQ_REL);
        return;
    }
    cpu = engine.current->cpu;
    clock_join(&knows[cpu].now, release);
    knows[cpu].now.time[cpu]++;
    clock_join(release, &knows[cpu].now);
}

/* The kernel's scheduler orders what the thread did there before what it does here. */
void memory_moved(unsigned from, unsigned to)
{
    uint32_t release[EXPLORE_CPUS];

    memory_release(from, release);
    memory_acquire(to, release);
    for (unsigned i = 0; i < locations; i++)
        if (location[i].seen[to] < location[i].seen[from])
            location[i].seen[to] = location[i].seen[from];
}
