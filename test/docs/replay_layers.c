/*
 * replay_layers.c - docs/integrating.md, "Layer by layer", run as it stands.
 *
 * tools/check-docs puts the code of the document in front of this file. A machine of 64 MiB, booted
 * by something like GRUB: the image and the boot information lie in memory that the map calls
 * available, all of it mapped at -2 GiB.
 */
#include "mm_test.h"

#include <string.h>

#include "frames.h"

#define OFFSET     UINT64_C(0xffffffff80000000)
#define RAM_BYTES  (UINT64_C(64) << 20)
#define MBI        mm_phys(0x300000)
#define TEXT       UINT64_C(0x200000)
#define RODATA     UINT64_C(0x201000)
#define DATA       UINT64_C(0x202000)
#define LOADER     mm_phys(0x1000000) /* page tables of the boot loader */
#define LOADER_MAX 64

static void boot_loader(void)
{
    static struct mm_test_frames frames;
    static struct mm_vmm loader;
    static struct mm_space space;
    struct mm_vmm_config config = {.cpu_count = 1};
    struct mm_map_request all = {.virt = mm_virt(OFFSET),
                                 .bytes = RAM_BYTES,
                                 .prot = MM_PROT_RX | MM_PROT_WRITE,
                                 .flags = MM_MAP_WX};

    fake_ram_add(mm_phys(0), 0xa0000);
    fake_ram_add(mm_phys(0x100000), RAM_BYTES);
    fake_ram_poison(mm_phys(0x100000), RAM_BYTES);
    fake_cpus_prepare();
    mm_test_frames_init(&frames, LOADER, LOADER_MAX);
    config.tables = mm_test_frame_source(&frames);
    config.window = fake_window();
    CHECK_OK(mm_vmm_init(&loader, &config));
    CHECK_OK(mm_cpu_init(&loader, 0));
    CHECK_OK(mm_space_create(&loader, &space, MM_SPACE_KERNEL));
    CHECK_OK(mm_space_map(&space, &all, NULL));
    CHECK_OK(mm_space_activate(&space));
}

/* What the CPU runs on; the machine fails if it is lost with the new root. */
static void anchors(void)
{
    const struct fake_anchor anchor[] = {
        {mm_virt(OFFSET + TEXT), 1, MM_PROT_EXEC},
        {mm_virt(OFFSET + DATA + 0xff0), 8, MM_PROT_WRITE},
        {mm_virt(OFFSET + RODATA), 64, MM_PROT_READ},
        {mm_virt(OFFSET + RODATA + 64), 256, MM_PROT_READ},
    };

    fake_anchors(anchor, 4, true);
}

/* Two entries that are available, Multiboot2 specification 2.0, 3.6.8. */
static const void *boot_information(void)
{
    const uint32_t words[] = {
        80,       0, /* size of it all */
        6,        64, 24,
        0, /* memory map: entries of 24 bytes, version 0 */
        0,        0,  0xa0000,
        0,        1,  0, /* 0 to 640 KiB */
        0x100000, 0,  (uint32_t)RAM_BYTES,
        0,        1,  0, /* from 1 MiB */
        0,        8,     /* end */
    };

    return memcpy(fake_ram(MBI, sizeof words), words, sizeof words);
}

/* The host sees RAM where fake_window() says, not where the simulated kernel does. */
static void boot_code_maps(void)
{
    const struct mm_window *ram = fake_window();

    for (uint32_t i = 0; i < ram->count; i++)
        CHECK_OK(boot_maps(ram->piece[i].first, ram->piece[i].bytes, ram->piece[i].virt));
}

static bool managed(mm_phys_t phys)
{
    struct mm_frame_info info;

    mm_pmm_query(&pmm, phys, &info);
    return info.state != MM_FRAME_UNMANAGED;
}

TEST(docs_layer_by_layer_comes_up)
{
    const struct mm_map_request image[] = {
        {.virt = mm_virt(OFFSET + TEXT), .phys = mm_phys(TEXT), .bytes = 4096, .prot = MM_PROT_RX},
        {.virt = mm_virt(OFFSET + RODATA),
         .phys = mm_phys(RODATA),
         .bytes = 4096,
         .prot = MM_PROT_READ},
        {.virt = mm_virt(OFFSET + DATA), .phys = mm_phys(DATA), .bytes = 4096, .prot = MM_PROT_RW},
    };
    void *block, *device;
    mm_phys_t meta;

    boot_loader();
    anchors();
    boot_code_maps();
    CHECK_OK(read_map(boot_information(), MBI, mm_phys(TEXT), 3 * 4096));
    CHECK_OK(build_root(image, 3));
    CHECK_EQ(fake_read64(mm_virt(UINT64_C(0xffff900000000000) + MBI.raw)).phys.raw, MBI.raw);
    direct = *fake_window(); /* as in boot_code_maps() */
    CHECK_OK(start_pmm());
    CHECK_OK(start_rest());

    CHECK_OK(mm_window_phys(&direct, pmm.meta, &meta));
    CHECK(!managed(meta));
    CHECK(!managed(MBI) && !managed(mm_phys(DATA)) && !managed(LOADER));
    CHECK((block = mm_heap_alloc(&heap, 100)) != NULL);
    CHECK_OK(mm_kmap(&area, mm_phys(0xfed00010), 1024, MM_MEMTYPE_UC, &device));
    CHECK_OK(mm_kunmap(&area, device));
    CHECK_OK(mm_heap_free(&heap, block));
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(mm_space_check(&kernel, NULL) + mm_pmm_check(&pmm, NULL), 0);
    CHECK_EQ(mm_heap_check(&heap, NULL) + mm_arena_check(&arena, NULL), 0);
}
