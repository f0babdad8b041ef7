/*
 * walk.c - the page tables, read as the CPU reads them.
 *
 * Problem     "Page fault" alone helps nobody: which level forbids it, by which entry? And a test
 *             needs a second opinion on what libmm claims to have mapped.
 * Idea        Walk from CR3, one entry per level, and combine the rights (Intel SDM vol. 3A, 4.5
 *             and 4.6): writable and user need every level, one no-execute bit is enough.
 * Invariants  Reads only frames that the window knows.
 * Locking     None: the answer is true at some instant.
 * Cost        At most five reads; walk_find_table() reads every entry of every table above level 1.
 * Rejected    Using mm_space_walk(): a fault inside libmm would be explained by libmm.
 */
#include "walk.h"

#include <stddef.h>

#include "cpu.h"
#include "print.h"

#define ENTRY_PRESENT UINT64_C(1)
#define ENTRY_WRITE   (UINT64_C(1) << 1)
#define ENTRY_USER    (UINT64_C(1) << 2)
#define ENTRY_LARGE   (UINT64_C(1) << 7)
#define ENTRY_NX      (UINT64_C(1) << 63)
#define ENTRY_FRAME   UINT64_C(0x000ffffffffff000) /* bits 12 to 51 */
#define BOOT_WINDOW   UINT64_C(0xffffffff80000000)
#define BOOT_MAPPED   (UINT64_C(1) << 30)

static const void *boot_window(uint64_t phys)
{
    return phys < BOOT_MAPPED ? (const void *)(uintptr_t)(BOOT_WINDOW + phys) : NULL;
}

static walk_window *window = boot_window;

void walk_set_window(walk_window *new_window)
{
    window = new_window;
}

static unsigned shift_of(unsigned level)
{
    return 12 + 9 * (level - 1);
}

static bool is_leaf(unsigned level, uint64_t entry)
{
    return level == 1 || (level <= 3 && (entry & ENTRY_LARGE));
}

/* Bit 12 of a large leaf is a memory-type bit, so the frame is cut to the size of the leaf. */
static void finish(struct walk *walk, uint64_t address)
{
    walk->mapped = true;
    walk->leaf_bytes = UINT64_C(1) << shift_of(walk->last);
    walk->phys = (walk->entry[walk->last] & ENTRY_FRAME & ~(walk->leaf_bytes - 1)) |
                 (address & (walk->leaf_bytes - 1));
}

void walk_tables(uint64_t address, struct walk *walk)
{
    uint64_t table = read_cr3() & ENTRY_FRAME;

    *walk = (struct walk){.top = read_cr4() & CR4_LA57 ? 5 : 4};
    walk->write = walk->user = walk->execute = true;
    for (unsigned level = walk->top; level > 0; level--) {
        const volatile uint64_t *entries = window(table);
        uint64_t entry;

        walk->last = level;
        walk->table[level] = table;
        walk->unreachable = !entries;
        if (!entries)
            return;
        entry = entries[address >> shift_of(level) & 511];
        walk->entry[level] = entry;
        if (!(entry & ENTRY_PRESENT))
            return;
        walk->write &= (entry & ENTRY_WRITE) != 0;
        walk->user &= (entry & ENTRY_USER) != 0;
        walk->execute &= !(entry & ENTRY_NX);
        if (is_leaf(level, entry))
            break;
        table = entry & ENTRY_FRAME;
    }
    finish(walk, address);
}

/* Looks for `frame` among what the entries of `table` refer to, depth first. */
static unsigned find_below(uint64_t table, unsigned level, uint64_t frame, uint64_t *virt)
{
    const volatile uint64_t *entries = window(table);
    const uint64_t base = *virt;

    for (unsigned i = 0; entries && i < 512; i++) {
        uint64_t entry = entries[i];
        unsigned found = 0;

        if (!(entry & ENTRY_PRESENT) || is_leaf(level, entry))
            continue;
        *virt = base + ((uint64_t)i << shift_of(level));
        if ((entry & ENTRY_FRAME) == frame)
            return level - 1;
        if (level > 2)
            found = find_below(entry & ENTRY_FRAME, level - 1, frame, virt);
        if (found)
            return found;
    }
    return 0;
}

unsigned walk_find_table(uint64_t frame, uint64_t *virt)
{
    unsigned top = read_cr4() & CR4_LA57 ? 5 : 4;
    unsigned unused_bits = 64 - shift_of(top) - 9;
    unsigned found = top;

    *virt = 0;
    if ((read_cr3() & ENTRY_FRAME) != frame)
        found = find_below(read_cr3() & ENTRY_FRAME, top, frame, virt);
    *virt = (uint64_t)((int64_t)(*virt << unused_bits) >> unused_bits); /* canonical */
    return found;
}

static void print_flags(uint64_t entry)
{
    static const struct {
        unsigned bit;
        const char *name;
    } flags[] = {{1, "write"},    {2, "user"},  {3, "write-through"}, {4, "uncached"},
                 {5, "accessed"}, {6, "dirty"}, {8, "global"},        {63, "no-execute"}};

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (entry >> flags[i].bit & 1)
            kprintf(" %s", flags[i].name);
    }
    kprintf("\n");
}

void walk_print(uint64_t address)
{
    struct walk walk;

    walk_tables(address, &walk);
    kprintf("  walk of %016lx:\n", address);
    for (unsigned level = walk.top; level >= walk.last && level > 0; level--) {
        uint64_t entry = walk.entry[level];

        kprintf("  level %u, table %lx [%3u] ", level, walk.table[level],
                (unsigned)(address >> shift_of(level)) & 511);
        if (walk.unreachable && level == walk.last)
            kprintf("is outside the window\n");
        else if (!(entry & ENTRY_PRESENT))
            kprintf("%016lx not present\n", entry);
        else {
            kprintf("%016lx -> %s %lx:", entry, is_leaf(level, entry) ? "page" : "table",
                    is_leaf(level, entry) ? walk.phys & ~(walk.leaf_bytes - 1)
                                          : entry & ENTRY_FRAME);
            print_flags(entry);
        }
    }
}
