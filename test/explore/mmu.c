/*
 * mmu.c - the simulated MMU: table frames with a life, and CPUs that remember parts of tables.
 *
 * Problem     A table that is freed too early, or a flush that is left out, does no harm until some
 *             CPU walks there. The explorer must see it in the order in which it goes wrong, and
 *             must not need every step of a walk for it.
 * Idea        A frame is free or a table, and each access to its entries or its tag looks which. When
 *             it is given back it is filled with entries that lead everywhere, as a plain write: an
 *             access that did not have to come before is a race, in whatever order they came.
 *             A CPU remembers translations, and the tables that it came through; a walk starts at the
 *             deepest of those. A table must not be given back while a CPU remembers it, or is about
 *             to read it.
 *             A walk is not interrupted: a CPU that takes an interrupt in the middle of a walk gives
 *             it up or ends it first. Other CPUs do their steps between its loads.
 * Invariants  I1 an access to a free frame, or its tag, fails
 *             I2 what a CPU remembers was true when it read it; only flushes forget
 *             I3 entries outside of `hot` are accessed in the step that came before
 * Locking     None.
 * Cost        About 1 us per table that is cleared or given back.
 * Rejected    Steps for all entries: clearing one table would be 512. Walks in one step: a CPU that
 *             has read an upper entry and not the next one is what grace periods are about.
 * Source      Intel SDM vol. 3A 4.10 (caching translation information), 4.8 (accessed and dirty)
 */
#include "mmu.h"

#include <string.h>

#include "engine.h"
#include "mm_cpu.h"
#include "mm_mmu.h"

#define ENTRIES   512u
#define P         UINT64_C(1)
#define W         UINT64_C(2)
#define U         UINT64_C(4)
#define A         UINT64_C(0x20)
#define D         UINT64_C(0x40)
#define LARGE     UINT64_C(0x80)
#define ADDRESS   UINT64_C(0x000ffffffffff000)
#define WAS_DIRTY (UINT64_C(1) << 58) /* where libmm keeps D of a page that is read-only */
#define LEVELS    4u
#define TLB       6u
#define UPPER     3u /* tables remembered of each level */
#define NOTES     8u
#define ASIDS     4u

enum life {
    FREE,
    TABLE
};

struct translation {
    uint64_t virt, bytes; /* bytes 0: none */
    uint64_t phys;
    bool writable, dirty;
};

/* What belongs to one address-space id. */
struct cached {
    struct translation tlb[TLB];
    struct {
        uint64_t virt, table;
        bool used;
        bool writable;
    } upper[LEVELS][UPPER]; /* [level of the table]: tables of level 1 to 3 */
};

struct caches {
    uint64_t root, walking; /* frame that is about to be read */
    uint32_t forgets;       /* a step of who forgets, and of who asks whether something is known */
    uint32_t asid;          /* that is loaded; what it knows is `now` */
    struct cached now;
    struct cached kept[ASIDS]; /* of the others: nobody walks there */
};

static _Alignas(MM_FRAME_BYTES) uint64_t ram[MMU_FRAMES][ENTRIES];
static uint16_t tags[MMU_FRAMES];
static struct mm_window window;
static struct mmu_config config;
static uint64_t is_hot[ENTRIES / 64];

static struct {
    struct caches cpu[EXPLORE_CPUS];
    enum life life[MMU_FRAMES];
    uint8_t free[MMU_FRAMES]; /* last in, first out */
    unsigned free_count;
    struct explore_turn turn;
    uint64_t gone[NOTES], read_only[NOTES], dirty_virt[NOTES], dirty_phys[NOTES];
    unsigned gones, read_onlys, dirties;
} mmu;

/* The linker sends memset() elsewhere (tsan.c). */
void *__real_memset(void *to, int value, size_t bytes);

/* ---- frames ---- */

static unsigned number(uint64_t frame)
{
    uint64_t n = (frame - MMU_BASE) / MM_FRAME_BYTES;

    if (n >= MMU_FRAMES)
        explore_fail("%#llx is no table frame", (unsigned long long)frame);
    return (unsigned)n;
}

/* Told of each access to shared memory. */
static void accessed(uintptr_t address, size_t bytes)
{
    size_t in_ram = address - (uintptr_t)ram, in_tags = address - (uintptr_t)tags;

    (void)bytes;
    if (in_ram < sizeof ram && mmu.life[in_ram / sizeof ram[0]] == FREE)
        explore_fail("entry %u of table %u is accessed, and the table was freed",
                     (unsigned)(in_ram % sizeof ram[0] / 8), (unsigned)(in_ram / sizeof ram[0]));
    if (in_tags < sizeof tags && mmu.life[in_tags / sizeof tags[0]] == FREE)
        explore_fail("the tag of table %u is accessed, and the table was freed",
                     (unsigned)(in_tags / sizeof tags[0]));
}

static bool hot(const uint64_t *entry)
{
    unsigned i = (unsigned)((uintptr_t)entry / 8 % ENTRIES);

    return (is_hot[i / 64] >> i % 64 & 1) != 0;
}

/* Entries that lead to every table. */
static void poison(unsigned frame)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        ram[frame][i] = (MMU_BASE + (frame + i) % MMU_FRAMES * MM_FRAME_BYTES) | P | W | U | A | D;
}

static void note_plain_write(uint64_t *first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (hot(&first[i]))
            explore_plain(&first[i], sizeof first[i], true);
}

static void look_at_all(void)
{
    for (unsigned c = 0; c < config.cpus; c++)
        (void)explore_newest(&mmu.cpu[c].forgets);
}

static void not_remembered(unsigned frame)
{
    uint64_t phys = MMU_BASE + frame * MM_FRAME_BYTES;

    look_at_all();
    for (unsigned c = 0; c < config.cpus; c++) {
        const struct caches *cpu = &mmu.cpu[c];

        if (cpu->root == phys)
            explore_fail("table %u is freed, and is the root that CPU %u has loaded", frame, c);
        if (cpu->walking == phys)
            explore_fail("table %u is freed, and CPU %u walks through it", frame, c);
        for (unsigned level = 1; level < LEVELS; level++)
            for (unsigned i = 0; i < UPPER; i++)
                if (cpu->now.upper[level][i].used && cpu->now.upper[level][i].table == phys)
                    explore_fail("table %u is freed, and CPU %u remembers it", frame, c);
    }
}

static enum mm_err frame_alloc(void *context, mm_phys_t *out)
{
    unsigned frame;

    (void)context;
    explore_take_turn(&mmu.turn, config.steps);
    if (mmu.free_count == 0)
        return MM_ERR_NO_MEMORY;
    frame = mmu.free[--mmu.free_count];
    mmu.life[frame] = TABLE;
    trace("takes table %u", frame);
    *out = mm_phys(MMU_BASE + frame * MM_FRAME_BYTES);
    return MM_OK;
}

static void frame_free(void *context, mm_phys_t phys)
{
    unsigned frame = number(phys.raw);

    (void)context;
    trace("frees table %u", frame);
    if (mmu.life[frame] == FREE)
        explore_fail("table %u is freed twice", frame);
    if (tags[frame] != 0)
        explore_fail("table %u is freed with tag %#x", frame, tags[frame]);
    not_remembered(frame);
    note_plain_write(ram[frame], ENTRIES);
    explore_plain(&tags[frame], sizeof tags[frame], true);
    poison(frame);
    explore_take_turn(&mmu.turn, config.steps);
    mmu.life[frame] = FREE;
    mmu.free[mmu.free_count++] = (uint8_t)frame;
}

static enum mm_err frame_tag(void *context, mm_phys_t phys, uint16_t **out)
{
    (void)context;
    *out = &tags[number(phys.raw)];
    return MM_OK;
}

struct mm_frame_source mmu_frame_source(void)
{
    return (struct mm_frame_source){.alloc = frame_alloc, .free = frame_free, .tag = frame_tag};
}

void mmu_make(const struct mmu_config *with)
{
    config = *with;
    memset(&mmu, 0, sizeof mmu);
    memset(tags, 0, sizeof tags);
    memset(is_hot, 0, sizeof is_hot);
    for (unsigned i = 0; i < MMU_HOT; i++)
        is_hot[with->hot[i] / 64] |= UINT64_C(1) << with->hot[i] % 64;
    for (unsigned i = 0; i < MMU_FRAMES; i++) {
        poison(i);
        mmu.free[i] = (uint8_t)(MMU_FRAMES - 1 - i);
    }
    mmu.free_count = MMU_FRAMES;
    for (unsigned i = 0; i < EXPLORE_CPUS; i++)
        mmu.cpu[i].root = mmu.cpu[i].walking = MMU_NO_FRAME;
    window = (struct mm_window){.count = 0};
    EXPLORE_CHECK(mm_window_add(&window, mm_phys(MMU_BASE), sizeof ram, mm_virt_of(ram)) == MM_OK);
    explore_memory("tables", ram, sizeof ram);
    explore_memory("tags", tags, sizeof tags);
    explore_unwatched("mmu", &mmu, sizeof mmu);
    explore_on_access(accessed);
}

const struct mm_window *mmu_window(void)
{
    return &window;
}

unsigned mmu_tables(void)
{
    return MMU_FRAMES - mmu.free_count;
}

const uint64_t *mmu_table(uint64_t frame)
{
    unsigned n = number(frame);

    if (mmu.life[n] == FREE)
        explore_fail("table %u is linked, and free", n);
    return ram[n];
}

uint16_t mmu_tag(uint64_t frame)
{
    return tags[number(frame)];
}

/* ---- what the port calls ---- */

uint64_t mmu_entry_load(const uint64_t *entry)
{
    if (hot(entry))
        return explore_load(entry, sizeof *entry, EXPLORE_ACQUIRE);
    accessed((uintptr_t)entry, sizeof *entry);
    return *entry;
}

void mmu_entry_store(uint64_t *entry, uint64_t value)
{
    if (hot(entry)) {
        explore_store(entry, sizeof *entry, value, EXPLORE_RELEASE);
        return;
    }
    accessed((uintptr_t)entry, sizeof *entry);
    *entry = value;
}

bool mmu_entry_compare_swap(uint64_t *entry, uint64_t *expected, uint64_t value)
{
    uint64_t before = *entry;

    if (hot(entry))
        return explore_compare_swap(entry, sizeof *entry, expected, value, EXPLORE_ACQ_REL);
    accessed((uintptr_t)entry, sizeof *entry);
    if (before == *expected) {
        *entry = value;
        return true;
    }
    *expected = before;
    return false;
}

void mmu_entry_store_fresh(uint64_t *entry, uint64_t value)
{
    accessed((uintptr_t)entry, sizeof *entry);
    note_plain_write(entry, 1);
    *entry = value;
}

void mmu_entry_clear_fresh(uint64_t *first, unsigned count)
{
    if (count == 0)
        return;
    accessed((uintptr_t)first, count * sizeof *first);
    note_plain_write(first, count);
    __real_memset(first, 0, count * sizeof *first);
}

void mm_port_cpu_paging(struct mm_paging *out)
{
    *out = (struct mm_paging){
        .levels = LEVELS,
        .phys_bits = 46,
        .leaf_levels = 1u << 1 | 1u << 2 | 1u << 3,
        .flags = MM_PAGING_NX | (config.asids ? MM_PAGING_ASIDS | MM_PAGING_GLOBAL : 0),
    };
}

enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted)
{
    (void)wanted;
    mm_port_cpu_paging(out);
    return MM_OK;
}

unsigned mm_port_cpu_anchors(struct mm_virt_range *out)
{
    (void)out;
    return 0;
}

/* ---- what a CPU remembers ---- */

static uint64_t span(unsigned level) /* bytes that an entry of `level` covers */
{
    return UINT64_C(1) << (12 + 9 * (level - 1));
}

static struct caches *here(void)
{
    return &mmu.cpu[explore_cpu()];
}

static bool is_in(const uint64_t *list, unsigned count, uint64_t phys, uint64_t bytes)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] - phys < bytes)
            return true;
    return false;
}

/* Before that is done, others do their steps, and an NMI may come. */
static void forget_step(void)
{
    explore_store(&here()->forgets, sizeof here()->forgets, 0, EXPLORE_RELAXED);
}

void mmu_flush_space(void)
{
    forget_step();
    trace("flushes all of its id");
    here()->now = (struct cached){0};
}

void mmu_flush_all(void)
{
    forget_step();
    trace("flushes all");
    here()->now = (struct cached){0};
    memset(here()->kept, 0, sizeof here()->kept);
}

/* What was kept is used again. */
static void not_too_old(const struct cached *cached)
{
    for (unsigned i = 0; i < TLB; i++) {
        const struct translation *t = &cached->tlb[i];

        if (t->bytes != 0 && is_in(mmu.gone, mmu.gones, t->phys, t->bytes))
            explore_fail("CPU %u has kept a translation that was removed", explore_cpu());
        if (t->writable && is_in(mmu.read_only, mmu.read_onlys, t->phys, t->bytes))
            explore_fail("CPU %u has kept a right that was taken away", explore_cpu());
    }
    for (unsigned level = 1; level < LEVELS; level++)
        for (unsigned i = 0; i < UPPER; i++)
            if (cached->upper[level][i].used &&
                mmu.life[number(cached->upper[level][i].table)] == FREE)
                explore_fail("CPU %u has kept a table that was freed", explore_cpu());
}

void mmu_load_root(uint64_t root, uint32_t asid, bool keep)
{
    struct caches *cpu = here();

    if (asid >= ASIDS || ((asid != 0 || keep) && !config.asids))
        cannot("a root is loaded with id %u", asid);
    forget_step();
    trace("loads root %#llx with id %u%s", (unsigned long long)root, asid, keep ? ", keeps" : "");
    cpu->root = root;
    cpu->kept[cpu->asid] = cpu->now;
    cpu->now = keep ? cpu->kept[asid] : (struct cached){0};
    cpu->asid = asid;
    not_too_old(&cpu->now);
}

uint64_t mmu_root(void)
{
    return here()->root;
}

uint32_t mmu_asid(void)
{
    return here()->asid;
}

/* And the tables on the way to it; other tables stay (AMD APM vol. 2, 3.1.7: EFER.TCE). */
void mmu_flush_page(uint64_t virt)
{
    struct caches *cpu = here();

    forget_step();
    trace("flushes page %#llx", (unsigned long long)virt);
    for (unsigned i = 0; i < TLB; i++)
        if (virt - cpu->now.tlb[i].virt < cpu->now.tlb[i].bytes)
            cpu->now.tlb[i].bytes = 0;
    for (unsigned level = 1; level < LEVELS; level++)
        for (unsigned i = 0; i < UPPER; i++)
            if ((virt ^ cpu->now.upper[level][i].virt) < span(level + 1))
                cpu->now.upper[level][i].used = false;
}

static void remember_table(struct caches *cpu, unsigned level, uint64_t virt, uint64_t table,
                           bool writable)
{
    for (unsigned i = 0; i < UPPER; i++)
        if (!cpu->now.upper[level][i].used) {
            cpu->now.upper[level][i].used = true;
            cpu->now.upper[level][i].virt = virt & ~(span(level + 1) - 1);
            cpu->now.upper[level][i].table = table;
            cpu->now.upper[level][i].writable = writable;
            return;
        }
}

static bool overlap(const struct translation *a, const struct translation *b)
{
    return a->virt - b->virt < b->bytes || b->virt - a->virt < a->bytes;
}

/* A CPU that has two sizes with different rights for one address may use either (SDM 4.10.2.3). */
static void remember(struct caches *cpu, const struct translation *new)
{
    struct translation *room = NULL;

    if (is_in(mmu.gone, mmu.gones, new->phys, new->bytes))
        explore_fail("CPU %u has found a translation that was removed before", explore_cpu());
    if (new->writable && is_in(mmu.read_only, mmu.read_onlys, new->phys, new->bytes))
        explore_fail("CPU %u has found a right that was taken away before", explore_cpu());
    for (unsigned i = 0; i < TLB; i++) {
        struct translation *old = &cpu->now.tlb[i];

        if (old->bytes != 0 && overlap(old, new) &&
            (old->phys - old->virt != new->phys - new->virt || old->writable != new->writable))
            explore_fail("CPU %u remembers two different translations of %#llx", explore_cpu(),
                         (unsigned long long)new->virt);
        if (old->bytes == new->bytes && old->virt == new->virt) {
            old->dirty |= new->dirty;
            return;
        }
        if (old->bytes == 0)
            room = old;
    }
    if (room != NULL)
        *room = *new;
}

/* ---- the walk ---- */

static void note_dirty(uint64_t virt, uint64_t phys)
{
    for (unsigned i = 0; i < mmu.dirties; i++)
        if (mmu.dirty_virt[i] == virt && mmu.dirty_phys[i] == phys)
            return;
    if (mmu.dirties == NOTES)
        cannot("more than %u pages are written", NOTES);
    mmu.dirty_virt[mmu.dirties] = virt;
    mmu.dirty_phys[mmu.dirties++] = phys;
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & LARGE) != 0;
}

/* Read an entry, and set the marks that this access needs in it. */
static uint64_t walk_entry(uint64_t *entry, unsigned level, bool write, bool writable)
{
    uint64_t now = mmu_entry_load(entry);

    for (;;) {
        uint64_t marks = config.marks ? A : 0;

        if ((now & P) == 0)
            return 0;
        if (is_leaf(now, level) && write && writable && (now & W) != 0)
            marks |= A | D;
        if ((now & marks) == marks || mmu_entry_compare_swap(entry, &now, now | marks))
            return now | marks;
    }
}

static bool walk(struct caches *cpu, uint64_t virt, bool write)
{
    unsigned level = LEVELS;
    uint64_t table = cpu->root;
    bool writable = true;

    for (unsigned l = LEVELS - 1; l > 0; l--)
        for (unsigned i = 0; i < UPPER; i++)
            if (cpu->now.upper[l][i].used && (virt ^ cpu->now.upper[l][i].virt) < span(l + 1)) {
                level = l;
                table = cpu->now.upper[l][i].table;
                writable = cpu->now.upper[l][i].writable;
            }
    for (;; level--) {
        uint64_t *slot = &ram[number(table)][virt / span(level) % ENTRIES], entry;

        cpu->walking = table;
        entry = walk_entry(slot, level, write, writable);
        cpu->walking = MMU_NO_FRAME;
        if ((entry & P) == 0)
            return false;
        writable &= (entry & W) != 0;
        table = entry & ADDRESS;
        if (is_leaf(entry, level)) {
            struct translation new = {
                .virt = virt & ~(span(level) - 1),
                .bytes = span(level),
                .phys = table & ~(span(level) - 1),
                .writable = writable,
                .dirty = (entry & D) != 0,
            };

            remember(cpu, &new);
            if (write && writable)
                note_dirty(virt, new.phys + (virt & (span(level) - 1)));
            return !write || writable;
        }
        remember_table(cpu, level - 1, virt, table, writable);
    }
}

static const struct translation *recall(const struct caches *cpu, uint64_t virt, bool write)
{
    for (unsigned i = 0; i < TLB; i++) {
        const struct translation *t = &cpu->now.tlb[i];

        if (virt - t->virt < t->bytes && (!write || (t->writable && t->dirty)))
            return t;
    }
    return NULL;
}

bool mmu_prefetch(uint64_t virt)
{
    bool on = explore_guard(), found;

    trace("walks to %#llx", (unsigned long long)virt);
    found = walk(here(), virt, false);
    trace("%s", found ? "has found it" : "has found nothing");
    explore_unguard(on);
    return found;
}

/* A right that is missing in what it remembers is looked for in the tables (SDM 4.10.4.3). */
bool mmu_access(uint64_t virt, bool write)
{
    bool on = explore_guard(), found = recall(here(), virt, write) != NULL;

    trace("%s %#llx", write ? "writes to" : "reads from", (unsigned long long)virt);
    if (!found && write)
        for (unsigned i = 0; i < TLB; i++) /* one that cannot write, or is not dirty */
            if (virt - here()->now.tlb[i].virt < here()->now.tlb[i].bytes)
                here()->now.tlb[i].bytes = 0;
    if (!found)
        found = walk(here(), virt, write);
    trace("%s", found ? "done" : "page fault");
    explore_unguard(on);
    return found;
}

/* ---- promises of calls that have returned ---- */

static void none_has(uint64_t phys, bool only_writable, const char *what)
{
    look_at_all();
    for (unsigned c = 0; c < config.cpus; c++)
        for (unsigned i = 0; i < TLB; i++) {
            const struct translation *t = &mmu.cpu[c].now.tlb[i];

            if (phys - t->phys < t->bytes && (t->writable || !only_writable))
                explore_fail("CPU %u still has %s %#llx", c, what, (unsigned long long)t->virt);
        }
}

static void note(uint64_t *list, unsigned *count, uint64_t phys)
{
    if (*count == NOTES)
        cannot("more than %u frames are promised to be gone", NOTES);
    list[(*count)++] = phys;
}

void mmu_is_gone(uint64_t phys)
{
    none_has(phys, false, "the translation of");
    note(mmu.gone, &mmu.gones, phys);
}

void mmu_is_read_only(uint64_t phys)
{
    none_has(phys, true, "the right to write");
    note(mmu.read_only, &mmu.read_onlys, phys);
}

/* ---- after an execution ---- */

bool mmu_lookup(uint64_t root, uint64_t virt, struct mmu_entry *out)
{
    uint64_t table = root;

    out->writable = true;
    for (unsigned level = LEVELS; level > 0; level--) {
        uint64_t entry = mmu_table(table)[virt / span(level) % ENTRIES];

        if ((entry & P) == 0)
            return false;
        out->writable &= (entry & W) != 0;
        table = entry & ADDRESS;
        if (is_leaf(entry, level)) {
            out->bits = entry;
            out->bytes = span(level);
            out->phys = (table & ~(span(level) - 1)) + (virt & (span(level) - 1));
            return true;
        }
    }
    return false;
}

static uint64_t table_at(uint64_t root, uint64_t virt, unsigned level)
{
    uint64_t table = root;

    for (unsigned l = LEVELS; l > level; l--) {
        uint64_t entry = mmu_table(table)[virt / span(l) % ENTRIES];

        if ((entry & P) == 0 || is_leaf(entry, l))
            return MMU_NO_FRAME;
        table = entry & ADDRESS;
    }
    return table;
}

static void check_translation(unsigned c, const struct translation *t)
{
    struct mmu_entry now;

    if (t->bytes == 0)
        return;
    if (!mmu_lookup(mmu.cpu[c].root, t->virt, &now) || now.phys != t->phys)
        explore_fail("in the end CPU %u has a wrong translation of %#llx", c,
                     (unsigned long long)t->virt);
    if (t->writable && !now.writable)
        explore_fail("in the end CPU %u has the right to write %#llx", c,
                     (unsigned long long)t->virt);
    if (now.bytes != t->bytes)
        explore_fail("in the end CPU %u has another page size for %#llx", c,
                     (unsigned long long)t->virt);
}

void mmu_check(void)
{
    struct mmu_entry now;

    for (unsigned c = 0; c < config.cpus; c++) {
        const struct caches *cpu = &mmu.cpu[c];

        for (unsigned i = 0; i < TLB; i++)
            check_translation(c, &cpu->now.tlb[i]);
        for (unsigned level = 1; level < LEVELS; level++)
            for (unsigned i = 0; i < UPPER; i++)
                if (cpu->now.upper[level][i].used &&
                    table_at(cpu->root, cpu->now.upper[level][i].virt, level) !=
                        cpu->now.upper[level][i].table)
                    explore_fail("in the end CPU %u remembers a table that is not there", c);
    }
    for (unsigned i = 0; i < mmu.dirties; i++)
        for (unsigned c = 0; c < config.cpus; c++)
            if (mmu_lookup(mmu.cpu[c].root, mmu.dirty_virt[i], &now) &&
                now.phys == mmu.dirty_phys[i] && (now.bits & (D | WAS_DIRTY)) == 0)
                explore_fail("the dirty mark of %#llx was lost",
                             (unsigned long long)mmu.dirty_virt[i]);
}
