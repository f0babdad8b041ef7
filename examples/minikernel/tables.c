/*
 * tables.c - mappings of every kind, and all that libmm says of them.
 *
 * Problem     What libmm says of its page tables is decoded by the code that encoded them, and the
 *             walk of this kernel (walk.c) sees them through mappings that libmm made.
 * Idea        Map leaves of every size, memory type and right in both halves of the kernel space and
 *             in a user space, cut and change them, remove them. After each of these stages print
 *             every run and every leaf that libmm knows, and wait: test/qemu/walker stops the
 *             machine then, reads the tables as physical memory and holds one against the other.
 * Invariants  Nothing touches what is mapped here: the frames are those of no device.
 * Locking     None.
 * Cost        A page of text for each stage.
 * Rejected    Printing the entries themselves: the reader is to find them, from CR3 on.
 */
#include "tables.h"

#include <mm/names.h>

#include "cpu.h"
#include "power.h"
#include "print.h"
#include "prompt_line.h"

#define KERNEL (&mm_default.kernel)
#define MIB    (UINT64_C(1) << 20)
#define GIB    (UINT64_C(1) << 30)
#define TIB    (UINT64_C(1) << 40)

/* Where libmm and the kernel have nothing: the low half, of the kernel space and the user space, and
 * the upper one between kernel area and image. */
#define LOW  UINT64_C(0x0000200000000000)
#define HIGH UINT64_C(0xffffe80000000000)

/* The kinds at `base`: a TiB for each level, in it a leaf for each memory type and set of rights, one
 * behind the other and on frames one behind the other, so that nothing but type and rights tells
 * where a run ends. Behind them the run that needs all sizes. */
#define TYPES       6u
#define RIGHTS_LOW  8u
#define RIGHTS_HIGH 4u /* without the user right */
#define KINDS_BYTES (4 * TIB)
#define NO_RAM      (TIB / 2) /* physical; below 2^40, the width of QEMU's CPUs */

struct kinds {
    struct mm_space *space;
    uint64_t base;
    unsigned rights;
};

static struct mm_space user;
static const struct kinds low = {KERNEL, LOW, RIGHTS_LOW};
static const struct kinds high = {KERNEL, HIGH, RIGHTS_HIGH};
static const struct kinds in_user = {&user, LOW, RIGHTS_LOW};

/* Devices in the kernel area: of every size of leaf but the largest, at odd places. */
static const struct {
    uint64_t phys, bytes;
    enum mm_memtype type;
} devices[] = {
    {NO_RAM + 0x123, 0x2000, MM_MEMTYPE_UC},
    {NO_RAM + 4 * MIB, 8 * MIB, MM_MEMTYPE_WC},
    {NO_RAM + 32 * MIB - 0x1000, 4 * MIB, MM_MEMTYPE_WT},
};
#define DEVICES (sizeof(devices) / sizeof(devices[0]))

static void *pointers[DEVICES];

static void must(enum mm_err err, const char *what, uint64_t virt)
{
    if (err != MM_OK)
        panic("%s at %lx: %s", what, virt, mm_err_name(err));
}

/* ---- what libmm is asked to do ---- */

static uint64_t size_of(unsigned level)
{
    return UINT64_C(1) << (12 + 9 * (level - 1));
}

/* Every other type has its rights the other way round: the neighbours of two types have the same. */
static uint64_t offset_of(const struct kinds *kinds, unsigned level, unsigned type, unsigned rights)
{
    unsigned index = type & 1 ? kinds->rights - 1 - rights : rights;

    return (type * kinds->rights + index) * size_of(level);
}

static uint64_t place_of(const struct kinds *kinds, unsigned level, unsigned type, unsigned rights)
{
    return kinds->base + (level - 1) * TIB + offset_of(kinds, level, type, rights);
}

static uint64_t phys_of(const struct kinds *kinds, unsigned level, unsigned type, unsigned rights)
{
    return NO_RAM + level * 64 * GIB + offset_of(kinds, level, type, rights);
}

/* `rights`: a bit each for write, execute, user. */
static uint32_t prot_of(unsigned rights)
{
    return MM_PROT_READ | (rights & 1 ? MM_PROT_WRITE : 0) | (rights & 2 ? MM_PROT_EXEC : 0) |
           (rights & 4 ? MM_PROT_USER : 0);
}

static void map(struct mm_space *space, uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t prot,
                enum mm_memtype type)
{
    const struct mm_map_request request = {.virt = mm_virt(virt),
                                           .bytes = bytes,
                                           .phys = mm_phys(phys),
                                           .prot = prot,
                                           .type = type,
                                           .flags = MM_MAP_WX | MM_MAP_NULL};

    must(mm_space_map(space, &request, NULL), "map", virt);
}

static void unmap(struct mm_space *space, uint64_t virt, uint64_t bytes, uint32_t flags)
{
    must(mm_space_unmap(space, mm_virt(virt), bytes, flags, NULL, NULL), "unmap", virt);
}

static void protect(struct mm_space *space, uint64_t virt, uint64_t bytes, uint32_t prot)
{
    must(mm_space_protect(space, mm_virt(virt), bytes, prot, 0, NULL, NULL), "protect", virt);
}

/* Leaves of 4 KiB, 2 MiB, 1 GiB, 2 MiB, 4 KiB in one run. */
static uint64_t mixed_place(const struct kinds *kinds)
{
    return kinds->base + 3 * TIB + GIB - 2 * MIB - MM_FRAME_BYTES;
}

static uint64_t mixed_bytes(void)
{
    return GIB + 4 * MIB + 2 * MM_FRAME_BYTES;
}

static void map_kinds(const struct kinds *kinds)
{
    for (unsigned level = 1; level <= 3; level++) {
        for (unsigned type = 0; type < TYPES; type++) {
            for (unsigned rights = 0; rights < kinds->rights; rights++)
                map(kinds->space, place_of(kinds, level, type, rights),
                    phys_of(kinds, level, type, rights), size_of(level), prot_of(rights),
                    (enum mm_memtype)type);
        }
    }
    map(kinds->space, mixed_place(kinds), NO_RAM + GIB - 2 * MIB - MM_FRAME_BYTES, mixed_bytes(),
        prot_of(1), MM_MEMTYPE_WB);
}

/* The outermost pages of both halves; `half` is the number of bytes in each. */
static void map_edges(uint64_t half)
{
    map(KERNEL, 0, NO_RAM, MM_FRAME_BYTES, prot_of(0), MM_MEMTYPE_WB);
    map(KERNEL, half - MM_FRAME_BYTES, NO_RAM, MM_FRAME_BYTES, prot_of(5), MM_MEMTYPE_WC);
    map(KERNEL, 0 - half, NO_RAM, MM_FRAME_BYTES, prot_of(1), MM_MEMTYPE_WP);
    map(KERNEL, 0 - MM_FRAME_BYTES, NO_RAM, MM_FRAME_BYTES, prot_of(2), MM_MEMTYPE_WT);
}

/* Cuts large leaves of each memory type, whose bit for it moves then, and makes holes; one is filled
 * again. No address gets another frame or memory type. */
static void change_kinds(const struct kinds *kinds)
{
    uint64_t mixed = mixed_place(kinds);

    for (unsigned type = 0; type < TYPES; type++) {
        uint64_t large = place_of(kinds, 2, type, 1);
        uint64_t huge = place_of(kinds, 3, type, 1);

        protect(kinds->space, large + 77 * MM_FRAME_BYTES, 3 * MM_FRAME_BYTES, prot_of(0));
        unmap(kinds->space, large + 300 * MM_FRAME_BYTES, MM_FRAME_BYTES, 0);
        protect(kinds->space, huge + 5 * (2 * MIB), 2 * MIB, prot_of(2));
        unmap(kinds->space, huge + 9 * (2 * MIB) + MM_FRAME_BYTES, 2 * MM_FRAME_BYTES, 0);
        unmap(kinds->space, place_of(kinds, 1, type, 2), MM_FRAME_BYTES, 0);
        unmap(kinds->space, place_of(kinds, 2, type, 2), 2 * MIB, 0);
        unmap(kinds->space, place_of(kinds, 3, type, 2), GIB, 0);
    }
    map(kinds->space, place_of(kinds, 2, 0, 2) + 8 * MM_FRAME_BYTES,
        phys_of(kinds, 2, 0, 2) + 8 * MM_FRAME_BYTES, MM_FRAME_BYTES, prot_of(1), MM_MEMTYPE_WB);
    protect(kinds->space, mixed, mixed_bytes() / 2 / MM_FRAME_BYTES * MM_FRAME_BYTES, prot_of(2));
}

static void map_devices(void)
{
    for (unsigned i = 0; i < DEVICES; i++)
        must(mm_kmap(&mm_default.area, mm_phys(devices[i].phys), devices[i].bytes, devices[i].type,
                     &pointers[i]),
             "kmap", devices[i].phys);
}

static void unmap_device(unsigned i)
{
    must(mm_kunmap(&mm_default.area, pointers[i]), "kunmap", devices[i].phys);
}

static void remove_all(uint64_t half)
{
    unmap(&user, 0, mm_default.vmm.layout.user_end.raw, MM_RANGE_HOLES);
    must(mm_space_destroy(&user), "destroy", 0);
    unmap(KERNEL, 0, half, MM_RANGE_HOLES);
    unmap(KERNEL, 0 - half, MM_FRAME_BYTES, 0);
    unmap(KERNEL, HIGH, KINDS_BYTES, MM_RANGE_HOLES);
    unmap(KERNEL, 0 - MM_FRAME_BYTES, MM_FRAME_BYTES, 0);
}

/* ---- what libmm says ---- */

static void print_kind(const char *what, uint64_t virt, uint64_t phys, uint32_t prot,
                       enum mm_memtype type)
{
    static const char *const types[] = {
        [MM_MEMTYPE_WB] = "WB", [MM_MEMTYPE_WT] = "WT", [MM_MEMTYPE_UC_MINUS] = "UC-",
        [MM_MEMTYPE_UC] = "UC", [MM_MEMTYPE_WP] = "WP", [MM_MEMTYPE_WC] = "WC",
    };

    kprintf("%s %016lx -> %010lx %c%c%c%c %s", what, virt, phys, prot & MM_PROT_READ ? 'r' : '-',
            prot & MM_PROT_WRITE ? 'w' : '-', prot & MM_PROT_EXEC ? 'x' : '-',
            prot & MM_PROT_USER ? 'u' : '-', types[type]);
}

/* Does the leaf `next` go on where `bytes` of leaves like `first` end? */
static bool goes_on(const struct mm_translation *first, uint64_t bytes,
                    const struct mm_translation *next)
{
    return next->leaf_bytes == first->leaf_bytes && next->phys.raw == first->phys.raw + bytes &&
           next->prot == first->prot && next->type == first->type;
}

static struct mm_translation leaf_at(struct mm_space *space, uint64_t virt)
{
    struct mm_translation to = {.leaf_bytes = MM_FRAME_BYTES};

    must(mm_space_translate(space, mm_virt(virt), &to, NULL), "translate", virt);
    if (virt % to.leaf_bytes)
        panic("a page of %lx bytes begins at %lx", to.leaf_bytes, virt);
    return to;
}

/* Each leaf of a run; a line for those that are alike and follow each other. */
static void print_leaves(struct mm_space *space, const struct mm_space_run *run)
{
    struct mm_translation first = leaf_at(space, run->virt.raw);
    uint64_t start = 0;

    for (uint64_t at = first.leaf_bytes; start < run->bytes; at += first.leaf_bytes) {
        struct mm_translation next = {0};

        if (at < run->bytes)
            next = leaf_at(space, run->virt.raw + at);
        if (goes_on(&first, at - start, &next))
            continue;
        print_kind("  leaf", run->virt.raw + start, first.phys.raw, first.prot, first.type);
        kprintf(" %lu of %lx\n", (at - start) / first.leaf_bytes, first.leaf_bytes);
        first = next;
        start = at;
    }
}

static void print_space(const char *name, struct mm_space *space)
{
    mm_virt_t cursor = mm_virt(0);
    struct mm_space_stats stats;
    struct mm_space_run run;
    enum mm_err err;

    mm_space_get_stats(space, &stats);
    kprintf("space %s: root %lx, %lu tables, %lu frames by leaves %lu %lu %lu\n", name,
            space->root.raw, stats.tables, stats.mapped_frames, stats.leaf_4k, stats.leaf_2m,
            stats.leaf_1g);
    while ((err = mm_space_query(space, &cursor, mm_virt(0), &run)) == MM_OK) {
        print_kind("run", run.virt.raw, run.phys.raw, run.prot, run.type);
        kprintf(" %lx\n", run.bytes);
        print_leaves(space, &run);
    }
    if (err != MM_ERR_NOT_FOUND)
        must(err, "query", cursor.raw);
}

static void show(const char *stage, bool with_user)
{
    kprintf("stage %s: cr3 %lx, cr4 %lx, efer %lx, pat %lx\n", stage, read_cr3(), read_cr4(),
            read_msr(MSR_EFER), read_msr(MSR_PAT));
    print_space("kernel", KERNEL);
    if (with_user)
        print_space("user", &user);
    (void)prompt_line_read("mm> ");
}

void tables_run(void)
{
    const uint64_t half = UINT64_C(1) << (12 + 9 * mm_default.vmm.paging.levels - 1);

    show("started", false);
    map_devices();
    map_kinds(&low);
    map_kinds(&high);
    map_edges(half);
    must(mm_space_create(&mm_default.vmm, &user, 0), "create",
         0); /* the kernel half is fixed now */
    map_kinds(&in_user);
    map(&user, mm_default.vmm.layout.user_end.raw - MM_FRAME_BYTES, NO_RAM, MM_FRAME_BYTES,
        prot_of(4), MM_MEMTYPE_WB);
    must(mm_space_activate(&user), "activate", 0); /* one CPU, no threads: it stays */
    show("mapped", true);
    change_kinds(&low);
    change_kinds(&high);
    change_kinds(&in_user);
    unmap_device(1);
    show("changed", true);
    must(mm_space_activate(KERNEL), "activate", 0);
    remove_all(half);
    unmap_device(0);
    unmap_device(2);
    show("removed", false);
}
