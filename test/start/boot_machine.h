/*
 * boot_machine.h - a simulated machine as a boot loader leaves it to a kernel.
 *
 * Problem     Start-up meets what GRUB really passes, page tables of a boot stub, and an image, a
 *             stack and descriptor tables that must survive the change of the root.
 * Idea        One range of RAM from 0, holes included; the image at 1 MiB, at -2 GiB for the
 *             program; a boot root that maps the first GiB there and one to one; the boot
 *             information of a dump at its address. The layout's direct map is where the host has
 *             that RAM, so pointers of the library can be followed here.
 */
#ifndef BOOT_MACHINE_H
#define BOOT_MACHINE_H

#include <stdio.h>
#include <string.h>

#include "mm_test.h"

#include "mm/mm.h"

#define PAGE        MM_FRAME_BYTES
#define KIB(n)      ((uint64_t)(n) << 10)
#define MIB(n)      ((uint64_t)(n) << 20)
#define GIB(n)      ((uint64_t)(n) << 30)
#define KERNEL_BASE UINT64_C(0xffffffff80000000)

/* The image that was running when the dumps were made; its boot tables lie in its .bss. */
#define TEXT_PHYS   UINT64_C(0x100000)
#define RODATA_PHYS UINT64_C(0x109000)
#define DATA_PHYS   UINT64_C(0x10e000)
#define IMAGE_END   UINT64_C(0x32f000)
#define TABLES_PHYS UINT64_C(0x200000)
#define BOOT_TABLES 5u
#define STACK_PHYS  UINT64_C(0x300000)
#define GDT_PHYS    UINT64_C(0x109400)
#define IDT_PHYS    UINT64_C(0x310000)

struct boot_machine {
    struct mm_start_info info;
    struct mm_image_segment segment[3];
    struct mm_layout layout;
    uint64_t ram_bytes;
    mm_phys_t block;
    uint64_t block_bytes;
    uint8_t copy[32768]; /* of the block */
    struct mm_phys_range module[2];
};

/* The dumps, and what the text files beside them say. */
struct boot_dump {
    const char *name;
    uint64_t ram_bytes; /* of simulated memory from 0: covers the highest usable address */
    uint64_t block;
    bool uefi;
};

static const struct boot_dump boot_dumps[] = {
    {"bios-64M", MIB(64), 0x33c390, false},      {"bios-512M", MIB(512), 0x33c390, false},
    {"bios-512M-fb", MIB(512), 0x33c390, false}, {"bios-4G", GIB(5), 0x33c390, false},
    {"bios-12G", GIB(13), 0x33c390, false},      {"bios-q35-4G", GIB(6), 0x33c390, false},
    {"uefi-64M", MIB(64), 0x33000, true},        {"uefi-512M", MIB(512), 0x33000, true},
    {"uefi-512M-fb", MIB(512), 0x33000, true},   {"uefi-4G", GIB(5), 0x33000, true},
    {"uefi-12G", GIB(13), 0x33000, true},        {"uefi-q35-4G", GIB(6), 0x33000, true},
};
#define BOOT_DUMPS (sizeof boot_dumps / sizeof boot_dumps[0])

static inline uint64_t *boot_words(uint64_t phys)
{
    return fake_ram(mm_phys(phys), PAGE);
}

/* Fill with a pattern of the address, so that a hash sees what moved, too. */
static inline void boot_fill(uint64_t phys, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t *word = fake_ram(mm_phys(phys + i), 8);

        *word = (phys + i) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

static inline uint64_t boot_hash(uint64_t phys, uint64_t bytes)
{
    const uint8_t *byte = fake_ram(mm_phys(phys), bytes);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    CHECK(byte != NULL);
    for (uint64_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The tables of the boot stub, typed by hand: first GiB in 2 MiB pages, at 0 and at -2 GiB. */
static inline void boot_tables(uint64_t at)
{
    uint64_t *root = boot_words(at), *low = boot_words(at + PAGE);
    uint64_t *high = boot_words(at + 2 * PAGE);
    uint64_t *low_pages = boot_words(at + 3 * PAGE), *high_pages = boot_words(at + 4 * PAGE);

    memset(root, 0, BOOT_TABLES * PAGE);
    root[0] = (at + PAGE) | 3;
    root[511] = (at + 2 * PAGE) | 3;
    low[0] = (at + 3 * PAGE) | 3;
    high[510] = (at + 4 * PAGE) | 3;
    for (uint64_t i = 0; i < 512; i++)
        low_pages[i] = high_pages[i] = i * MIB(2) | 0x83;
    fake_cpu(0)->root = mm_phys(at);
    fake_cpu(0)->root_loaded = true;
}

static inline void boot_anchors(void)
{
    const struct fake_anchor anchor[] = {
        {mm_virt(KERNEL_BASE + TEXT_PHYS + 0x123), 1, MM_PROT_EXEC},
        {mm_virt(KERNEL_BASE + STACK_PHYS + 0xff0), 8, MM_PROT_WRITE},
        {mm_virt(KERNEL_BASE + GDT_PHYS), 40, MM_PROT_READ},
        {mm_virt(KERNEL_BASE + IDT_PHYS), 4096, MM_PROT_READ},
    };

    fake_anchors(anchor, 4, true);
}

static inline struct mm_image_segment boot_segment(uint64_t phys, uint64_t end, uint32_t prot)
{
    return (struct mm_image_segment){mm_virt(KERNEL_BASE + phys), mm_phys(phys), end - phys, prot};
}

/* RAM, image, tables, window and layout; the caller adds the boot information. */
static inline void boot_begin(struct boot_machine *m, uint64_t ram_bytes)
{
    const struct mm_window_piece *piece;
    uint64_t shown = ram_bytes < GIB(1) ? ram_bytes : GIB(1);

    memset(m, 0, sizeof *m);
    fake_reset();
    fake_ram_add(mm_phys(0), ram_bytes);
    fake_watch_changes(FAKE_WATCH_READ | FAKE_WATCH_WRITE);
    m->ram_bytes = ram_bytes;
    boot_fill(0, MIB(4));
    boot_tables(TABLES_PHYS);
    boot_anchors();
    m->segment[0] = boot_segment(TEXT_PHYS, RODATA_PHYS, MM_PROT_RX);
    m->segment[1] = boot_segment(RODATA_PHYS, DATA_PHYS, MM_PROT_READ);
    m->segment[2] = boot_segment(DATA_PHYS, IMAGE_END, MM_PROT_RW);
    piece = &fake_window()->piece[0];
    mm_layout_default(&m->layout);
    m->layout.direct_map.start = piece->virt;
    m->layout.direct_map.bytes = (ram_bytes + GIB(1) - 1) & ~(GIB(1) - 1);
    m->layout.user_end = mm_virt(UINT64_C(0x100000000000));
    CHECK(piece->virt.raw >= m->layout.user_end.raw);
    m->info.segment = m->segment;
    m->info.segment_count = 3;
    m->info.layout = &m->layout;
    CHECK_OK(mm_window_add(&m->info.window, mm_phys(0), shown, piece->virt));
}

static inline void boot_module(struct boot_machine *m, unsigned i, uint64_t start, uint64_t end)
{
    m->module[i] = (struct mm_phys_range){mm_phys(start), end - start};
}

/* As GRUB left it: block and modules at the addresses that the block names. */
static inline void boot_from_dump(struct boot_machine *m, const struct boot_dump *dump)
{
    char path[120];
    FILE *file;

    boot_begin(m, dump->ram_bytes);
    snprintf(path, sizeof path, "data/multiboot2/%s.bin", dump->name);
    file = fopen(path, "rb");
    CHECK(file != NULL);
    m->block = mm_phys(dump->block);
    m->block_bytes = fread(m->copy, 1, sizeof m->copy, file);
    fclose(file);
    CHECK(m->block_bytes > 1000);
    memcpy(fake_ram(m->block, m->block_bytes), m->copy, m->block_bytes);
    boot_module(m, 0, dump->uefi ? 0x18000 : 0x33b000, dump->uefi ? 0x19388 : 0x33c388);
    boot_module(m, 1, dump->uefi ? 0x1a000 : 0x33d000, dump->uefi ? 0x326a0 : 0x3556a0);
    m->info.protocol = MM_BOOT_MULTIBOOT2;
    m->info.magic = MM_MULTIBOOT2_MAGIC;
    m->info.info = m->block;
}

/*
 * mm_space_create() refuses user spaces beside a direct map in the lower half, which their roots do
 * not show. It is there on a host because the library's pointers are followed; the simulated machine
 * reaches memory without it.
 */
static inline void boot_allow_user_spaces(struct mm *mm)
{
    mm->vmm.layout.direct_map.bytes = 0;
}

/* A hash of all that must never change: image, block, modules. */
static inline uint64_t boot_hash_kept(const struct boot_machine *m)
{
    uint64_t hash = boot_hash(TEXT_PHYS, IMAGE_END - TEXT_PHYS);

    hash = hash * 31 + boot_hash(m->block.raw, m->block_bytes);
    for (unsigned i = 0; i < 2; i++)
        if (m->module[i].bytes != 0)
            hash = hash * 31 + boot_hash(m->module[i].start.raw, m->module[i].bytes);
    return hash;
}

#endif
