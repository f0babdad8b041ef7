/*
 * textbook.h - the baseline: page tables as tutorials write them, with and without a lock.
 *
 * Problem     A ratio to the machine's limits does not say what was gained by the work in src/vmm.
 * Idea        What one has after an afternoon, and correct: each page is a walk from the root. A
 *             table is zeroed, then linked. Unmapping clears the entry, flushes the page, and then
 *             looks at the 512 entries of each table on the way back: an empty one is unlinked and
 *             freed. Included by two files, of which one says that each page takes a lock.
 * Invariants  I1 a table that is linked has an entry in use, but for the root
 *             I2 table_count is the number of linked tables without the root
 * Locking     TEXTBOOK_TAKE(space) and TEXTBOOK_RELEASE(space) around each page; the frames are behind
 *             a lock of their own in the same build.
 * Cost        One page: four loads that wait for each other, and 512 loads to take it away.
 * Rejected    Never freeing a table, which is faster and what many do: then a mapping that is gone
 *             costs memory for ever, and a large page has no room over an empty table.
 *
 * Before:     TEXTBOOK, TEXTBOOK_NAME                     the struct mapper, and how it is called
 *             TEXTBOOK_ANY_THREAD                        true if the next two lock
 *             TEXTBOOK_TAKE(lock), TEXTBOOK_RELEASE(lock)
 */
#include "mapper.h"

#include <string.h>

#include "../common/host.h"
#include "../common/spinlock.h"
#include "cpus.h"

#define LEVELS       4u
#define ENTRIES      512u
#define KERNEL_FIRST 256u /* first entry of the root that all spaces share */

/* Intel SDM vol. 3A, table 4-20. */
#define PTE_PRESENT  (UINT64_C(1) << 0)
#define PTE_WRITABLE (UINT64_C(1) << 1)
#define PTE_USER     (UINT64_C(1) << 2)
#define PTE_LARGE    (UINT64_C(1) << 7)
#define PTE_ADDRESS  UINT64_C(0x000ffffffffff000)

struct book;

struct book_space {
    struct spinlock lock;
    volatile uint64_t *root;
    struct book *book;
    uint64_t table_count;
    bool used;
};

struct book {
    struct spinlock lock;
    struct ram ram;
    uint32_t *free; /* stack of free frames, by their index in the RAM */
    uint64_t free_count;
    volatile uint64_t *kernel_root;
    struct book_space space[SPACES_MAX];
};

/* ---- frames ---- */

static uint64_t frame_take(struct book *book)
{
    uint64_t frame;

    TEXTBOOK_TAKE(&book->lock);
    if (book->free_count == 0)
        die("%s: no frame for a table", TEXTBOOK_NAME);
    frame = book->free[--book->free_count];
    TEXTBOOK_RELEASE(&book->lock);
    return book->ram.first + frame * PAGE_BYTES;
}

static void frame_give(struct book *book, uint64_t phys)
{
    TEXTBOOK_TAKE(&book->lock);
    book->free[book->free_count++] = (uint32_t)((phys - book->ram.first) / PAGE_BYTES);
    TEXTBOOK_RELEASE(&book->lock);
}

static volatile uint64_t *table_at(const struct book *book, uint64_t phys)
{
    return (volatile uint64_t *)(void *)(book->ram.bytes + (phys - book->ram.first));
}

static uint64_t table_new(struct book *book)
{
    uint64_t phys = frame_take(book);

    memset(book->ram.bytes + (phys - book->ram.first), 0, PAGE_BYTES);
    return phys;
}

/* ---- one page ---- */

static unsigned shift_of(unsigned level)
{
    return 12 + 9 * (level - 1);
}

static unsigned index_of(uint64_t virt, unsigned level)
{
    return (unsigned)(virt >> shift_of(level)) % ENTRIES;
}

static void page_map(struct book_space *space, uint64_t virt, uint64_t phys, unsigned leaf)
{
    volatile uint64_t *table = space->root;

    TEXTBOOK_TAKE(&space->lock);
    for (unsigned level = LEVELS; level > leaf; level--) {
        volatile uint64_t *entry = &table[index_of(virt, level)];

        if ((*entry & PTE_PRESENT) == 0) {
            *entry = table_new(space->book) | PTE_PRESENT | PTE_WRITABLE | PTE_USER;
            space->table_count++;
        } else if ((*entry & PTE_LARGE) != 0) {
            die("%s: 0x%llx is in a large page", TEXTBOOK_NAME, (unsigned long long)virt);
        }
        table = table_at(space->book, *entry & PTE_ADDRESS);
    }
    if ((table[index_of(virt, leaf)] & PTE_PRESENT) != 0)
        die("%s: 0x%llx is mapped", TEXTBOOK_NAME, (unsigned long long)virt);
    table[index_of(virt, leaf)] =
        phys | PTE_PRESENT | PTE_WRITABLE | PTE_USER | (leaf > 1 ? PTE_LARGE : 0);
    TEXTBOOK_RELEASE(&space->lock);
}

/* The entry of the page, with those on the way to it in way[level]; NULL if there is none. */
static volatile uint64_t *page_find(const struct book_space *space, uint64_t virt,
                                    volatile uint64_t **way, unsigned *leaf)
{
    volatile uint64_t *table = space->root;

    for (unsigned level = LEVELS;; level--) {
        volatile uint64_t *entry = &table[index_of(virt, level)];

        way[level] = entry;
        *leaf = level;
        if ((*entry & PTE_PRESENT) == 0)
            return NULL;
        if (level == 1 || (*entry & PTE_LARGE) != 0)
            return entry;
        table = table_at(space->book, *entry & PTE_ADDRESS);
    }
}

/* Aligned, or the same loop takes twice as long in one of the two builds. */
__attribute__((noinline, aligned(64))) static bool table_is_empty(const volatile uint64_t *table)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        if (table[i] != 0)
            return false;
    return true;
}

static void invlpg(uint64_t virt)
{
    __asm__ volatile("" : : "r"(virt) : "memory");
    bench_flushes.page++;
}

/* Returns the size of the page. */
static uint64_t page_unmap(struct book_space *space, uint64_t virt)
{
    volatile uint64_t *way[LEVELS + 1], *entry;
    unsigned leaf;

    TEXTBOOK_TAKE(&space->lock);
    entry = page_find(space, virt, way, &leaf);
    if (entry == NULL)
        die("%s: 0x%llx is not mapped", TEXTBOOK_NAME, (unsigned long long)virt);
    *entry = 0;
    invlpg(virt);
    for (unsigned level = leaf + 1; level <= LEVELS; level++) {
        uint64_t phys = *way[level] & PTE_ADDRESS;

        if (!table_is_empty(table_at(space->book, phys)))
            break;
        *way[level] = 0;
        space->table_count--;
        frame_give(space->book, phys);
    }
    TEXTBOOK_RELEASE(&space->lock);
    return UINT64_C(1) << shift_of(leaf);
}

/* An accessed or dirty mark that the CPU sets between load and store is lost: so it is in many. */
static uint64_t page_protect(struct book_space *space, uint64_t virt, bool writable)
{
    volatile uint64_t *way[LEVELS + 1], *entry;
    unsigned leaf;

    TEXTBOOK_TAKE(&space->lock);
    entry = page_find(space, virt, way, &leaf);
    if (entry == NULL)
        die("%s: 0x%llx is not mapped", TEXTBOOK_NAME, (unsigned long long)virt);
    *entry = writable ? *entry | PTE_WRITABLE : *entry & ~PTE_WRITABLE;
    invlpg(virt);
    TEXTBOOK_RELEASE(&space->lock);
    return UINT64_C(1) << shift_of(leaf);
}

static uint64_t page_phys(uint64_t entry, unsigned leaf, uint64_t virt)
{
    uint64_t within = (UINT64_C(1) << shift_of(leaf)) - 1;

    return (entry & PTE_ADDRESS & ~within) | (virt & within);
}

static uint64_t page_translate(struct book_space *space, uint64_t virt)
{
    volatile uint64_t *way[LEVELS + 1], *entry;
    uint64_t phys;
    unsigned leaf;

    TEXTBOOK_TAKE(&space->lock);
    entry = page_find(space, virt, way, &leaf);
    if (entry == NULL)
        die("%s: 0x%llx is not mapped", TEXTBOOK_NAME, (unsigned long long)virt);
    phys = page_phys(*entry, leaf, virt);
    TEXTBOOK_RELEASE(&space->lock);
    return phys;
}

/* ---- ranges: page by page ---- */

static void range_map(struct book_space *space, uint64_t virt, uint64_t phys, uint64_t bytes,
                      unsigned level)
{
    for (uint64_t at = 0; at < bytes; at += UINT64_C(1) << shift_of(level))
        page_map(space, virt + at, phys + at, level);
}

static void range_unmap(struct book_space *space, uint64_t virt, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes;)
        at += page_unmap(space, virt + at);
}

static void book_protect(void *context, const struct stretch *stretch, bool writable)
{
    for (uint64_t at = 0; at < stretch->bytes;)
        at += page_protect(context, stretch->virt + at, writable);
}

/* ---- spaces ---- */

static struct book_space *book_create(struct book *book)
{
    struct book_space *space = book->space;

    while (space->used)
        if (++space == book->space + SPACES_MAX)
            die("more than %u spaces", SPACES_MAX);
    *space = (struct book_space){.book = book, .used = true};
    space->root = table_at(book, table_new(book));
    for (unsigned i = KERNEL_FIRST; i < ENTRIES; i++)
        space->root[i] = book->kernel_root[i];
    return space;
}

static uint64_t table_phys(const struct book *book, const volatile uint64_t *table)
{
    return book->ram.first + (uint64_t)((uintptr_t)table - (uintptr_t)book->ram.bytes);
}

static void tables_free(struct book *book, volatile uint64_t *table, unsigned level,
                        unsigned entries)
{
    for (unsigned i = 0; level > 1 && i < entries; i++)
        if ((table[i] & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT)
            tables_free(book, table_at(book, table[i] & PTE_ADDRESS), level - 1, ENTRIES);
    frame_give(book, table_phys(book, table));
}

static void book_destroy(struct book_space *space)
{
    tables_free(space->book, space->root, LEVELS, KERNEL_FIRST);
    bench_flushes.full++;
    space->used = false;
}

static void *mapper_create(void *self)
{
    return book_create(self);
}

static void mapper_destroy(void *space)
{
    book_destroy(space);
}

/* It does not know who has it loaded: it flushes always. */
static void mapper_load(void *context)
{
    struct book_space *space = context;

    bench_flushes.root = table_phys(space->book, space->root);
    bench_flushes.load++;
}

static void mapper_leave(void *context)
{
    struct book_space *space = context;

    bench_flushes.root = table_phys(space->book, space->book->kernel_root);
    bench_flushes.load++;
}

#define LOOP_SELF                                 struct book
#define LOOP_SPACE                                struct book_space
#define LOOP_CREATE(self)                         book_create(self)
#define LOOP_DESTROY(space)                       book_destroy(space)
#define LOOP_MAP(space, virt, phys, bytes, level) range_map(space, virt, phys, bytes, level)
#define LOOP_UNMAP(space, virt, bytes)            range_unmap(space, virt, bytes)
#define LOOP_TRANSLATE(space, virt)               page_translate(space, virt)
#include "loops.h"

/* ---- the machine ---- */

static size_t book_bytes(const struct ram *ram)
{
    return sizeof(struct book) + ram->size / PAGE_BYTES * sizeof(uint32_t);
}

static void *book_open(const struct memory *memory, const struct ram *ram)
{
    struct book *book = memory->start;

    book->ram = *ram;
    book->free = (uint32_t *)(void *)(book + 1);
    book->free_count = ram->size / PAGE_BYTES;
    for (uint64_t i = 0; i < book->free_count; i++)
        book->free[i] = (uint32_t)(book->free_count - 1 - i); /* the lowest on top */
    book->kernel_root = table_at(book, table_new(book));
    return book;
}

/* ---- looking ---- */

static bool book_look(void *context, uint64_t virt, uint64_t *phys, bool *writable)
{
    volatile uint64_t *way[LEVELS + 1], *entry;
    unsigned leaf;

    entry = page_find(context, virt, way, &leaf);
    if (entry == NULL)
        return false;
    *phys = page_phys(*entry, leaf, virt);
    *writable = (*entry & PTE_WRITABLE) != 0;
    return true;
}

static uint64_t *book_leaf_table(void *context, uint64_t virt)
{
    volatile uint64_t *way[LEVELS + 1], *entry;
    unsigned leaf;

    entry = page_find(context, virt, way, &leaf);
    if (entry == NULL || leaf != 1)
        die("no 4 KiB page at 0x%llx", (unsigned long long)virt);
    return (uint64_t *)(uintptr_t)(entry - index_of(virt, 1));
}

static uint64_t book_tables(void *context)
{
    return ((struct book_space *)context)->table_count;
}

static uint64_t book_free_frames(void *self)
{
    return ((struct book *)self)->free_count;
}

const struct mapper TEXTBOOK = {
    .name = TEXTBOOK_NAME,
    .any_thread = TEXTBOOK_ANY_THREAD,
    .bytes = book_bytes,
    .open = book_open,
    .create = mapper_create,
    .destroy = mapper_destroy,
    .load = mapper_load,
    .leave = mapper_leave,
    .protect = book_protect,
    .look = book_look,
    .leaf_table = book_leaf_table,
    .tables = book_tables,
    .free_frames = book_free_frames,
    LOOPS,
};
