/*
 * test_start_failures.c - mm_start() that cannot go on, at every step.
 *
 * Problem     A failed start must leave a kernel that can still print why, on the root that it came
 *             with, with everything that was in memory still there.
 * Idea        One run that succeeds tells which frames are nobody's; a hash over all others must be
 *             the same after each run that fails. Failures come from bad requests, from every
 *             number of free frames, and from every size of the window.
 */
#include "boot_machine.h"

static struct boot_machine m;
static struct mm mm;
static struct mm_start_failure why;

/* Frames that start-up may write, as half-open ranges. */
static struct {
    uint64_t start, end;
} spare[64];
static unsigned spares;
static uint64_t hash_before;

static enum mm_err start(void)
{
    enum mm_err err;

    memset(&mm, 0, sizeof mm);
    memset(&why, 0x55, sizeof why);
    fake_interrupts(false);
    err = mm_start(&mm, &m.info, &why);
    fake_interrupts(true);
    return err;
}

static uint64_t hash_kept(void)
{
    uint64_t hash = 0, at = 0;

    for (unsigned i = 0; i <= spares; i++) {
        uint64_t end = i < spares ? spare[i].start : m.ram_bytes;

        for (; at < end; at += PAGE) {
            const uint64_t *word = boot_words(at);

            for (unsigned w = 0; w < 512; w++)
                hash = (hash ^ word[w]) * UINT64_C(0x100000001b3);
        }
        at = i < spares ? spare[i].end : at;
    }
    return hash;
}

static void spares_learn(void)
{
    spares = 0;
    for (uint32_t i = 0; i < mm.map.count; i++) {
        const struct mm_mem_range *range = &mm.map.range[i];

        if (range->type != MM_MEM_USABLE ||
            (range->use != MM_USE_FREE && range->use != MM_USE_EARLY))
            continue;
        spare[spares].start = range->start.raw;
        spare[spares++].end = range->start.raw + range->bytes;
    }
    CHECK(spares > 0 && spares < 64);
}

/* A fresh machine in `mode`; the first call for a mode learns what is spare. */
static void begin(enum mm_root_mode mode)
{
    boot_from_dump(&m, &boot_dumps[0]);
    CHECK_OK(start());
    spares_learn();
    boot_from_dump(&m, &boot_dumps[0]);
    m.info.root = mode;
    hash_before = hash_kept();
}

static void again(enum mm_root_mode mode)
{
    boot_from_dump(&m, &boot_dumps[0]);
    m.info.root = mode;
}

/* The way that start-up came must still be there. */
static void check_untouched(void)
{
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    CHECK_EQ(hash_kept(), hash_before);
    CHECK(why.what != NULL && strlen(why.what) > 5);
    CHECK(why.stage >= MM_START_ARGUMENTS && why.stage <= MM_START_HEAP);
    CHECK_EQ(mm.state, 0);
    CHECK_EQ(fake_read64(mm_virt(KERNEL_BASE + STACK_PHYS)).fault, FAKE_OK);
    CHECK_EQ(fake_read64(mm_virt(MIB(2))).phys.raw, MIB(2));
    CHECK_EQ(fake_stale_entries(), 0);
    fake_reset(); /* accesses set marks in the boot tables */
}

static void check_fails(enum mm_start_stage stage, enum mm_err err, const char *what)
{
    CHECK_ERR(start(), err);
    CHECK_EQ(why.stage, stage);
    CHECK_EQ(why.err, err);
    CHECK_TEXT(why.what, what);
    check_untouched();
}

/* ---- requests that cannot be ---- */

enum request {
    NO_WINDOW,
    SEGMENTS_NULL,
    KEEP_NULL,
    RESERVE_NULL,
    TOO_MANY_CPUS,
    ROOT_MODE,
    PIN,
    PMM_FLAG,
    VMM_FLAG,
    DISTANCE_NULL,
    TOO_MANY_NODES,
    PROTOCOL,
    MAGIC,
    MAGIC_1,
    MAGIC_ZERO,
    MAGIC_1_ZERO,
    E820_BYTES,
    SEGMENT_UNALIGNED,
    SEGMENT_WX,
    SEGMENT_NO_RIGHTS,
    SEGMENT_UNKNOWN_RIGHT,
    SEGMENT_WRAPS,
    SEGMENTS_OVERLAP,
    SEGMENTS_SHARE,
    SEGMENT_IN_DIRECT_MAP,
    SEGMENT_IN_AREA,
    KEEP_UNALIGNED,
    KEEP_EMPTY,
    KEEP_IN_IMAGE,
    KEEP_IN_AREA,
    KEEPS_OVERLAP,
    KEEP_WX,
    KEEP_NO_RIGHTS,
    KEEP_UNKNOWN_RIGHT,
    KEEP_UNKNOWN_TYPE,
    REQUESTS
};

static const struct {
    enum mm_err err;
    const char *what;
} refused[REQUESTS] = {
    [NO_WINDOW] = {MM_ERR_BAD_ARG, "the window is empty"},
    [SEGMENTS_NULL] = {MM_ERR_BAD_ARG, "a list is NULL but its count is not 0"},
    [KEEP_NULL] = {MM_ERR_BAD_ARG, "a list is NULL but its count is not 0"},
    [RESERVE_NULL] = {MM_ERR_BAD_ARG, "a list is NULL but its count is not 0"},
    [TOO_MANY_CPUS] = {MM_ERR_BAD_ARG, "more CPUs than MM_CPUS_MAX"},
    [ROOT_MODE] = {MM_ERR_BAD_ARG, "unknown root mode"},
    [PIN] = {MM_ERR_BAD_ARG, "unknown pin"},
    [PMM_FLAG] = {MM_ERR_BAD_ARG, "unknown flag of the PMM"},
    [VMM_FLAG] = {MM_ERR_BAD_ARG, "unknown flag of the VMM"},
    [DISTANCE_NULL] = {MM_ERR_BAD_ARG, "a list is NULL but its count is not 0"},
    [TOO_MANY_NODES] = {MM_ERR_BAD_ARG, "distances of more than MM_NODES_MAX nodes"},
    [PROTOCOL] = {MM_ERR_BAD_ARG, "unknown boot protocol"},
    [MAGIC] = {MM_ERR_BAD_ARG, "magic is not that of Multiboot2"},
    [MAGIC_1] = {MM_ERR_BAD_ARG, "magic is not that of Multiboot"},
    [MAGIC_ZERO] = {MM_ERR_BAD_ARG, "magic is not that of Multiboot2"},
    [MAGIC_1_ZERO] = {MM_ERR_BAD_ARG, "magic is not that of Multiboot"},
    [E820_BYTES] = {MM_ERR_BAD_ARG, "E820 needs entry_bytes, and info_bytes in whole entries"},
    [SEGMENT_UNALIGNED] = {MM_ERR_BAD_ARG, "image segment is not frame-aligned"},
    [SEGMENT_WX] = {MM_ERR_POLICY, "image segment is writable and executable"},
    [SEGMENT_NO_RIGHTS] = {MM_ERR_BAD_ARG, "image segment has not the right to be read"},
    [SEGMENT_UNKNOWN_RIGHT] = {MM_ERR_BAD_ARG, "image segment has an unknown right"},
    [SEGMENT_WRAPS] = {MM_ERR_BAD_ARG, "image segment wraps"},
    [SEGMENTS_OVERLAP] = {MM_ERR_EXISTS, "image segments overlap"},
    [SEGMENTS_SHARE] = {MM_ERR_EXISTS, "image segments share a frame"},
    [SEGMENT_IN_DIRECT_MAP] = {MM_ERR_EXISTS, "image or keep list overlaps the direct map"},
    [SEGMENT_IN_AREA] = {MM_ERR_EXISTS, "image or keep list overlaps the kernel area"},
    [KEEP_UNALIGNED] = {MM_ERR_BAD_ARG, "entry of the keep list is not frame-aligned"},
    [KEEP_EMPTY] = {MM_ERR_BAD_ARG, "entry of the keep list is empty or wraps"},
    [KEEP_IN_IMAGE] = {MM_ERR_EXISTS, "keep list overlaps the image"},
    [KEEP_IN_AREA] = {MM_ERR_EXISTS, "image or keep list overlaps the kernel area"},
    [KEEPS_OVERLAP] = {MM_ERR_EXISTS, "entries of the keep list overlap"},
    [KEEP_WX] = {MM_ERR_POLICY, "entry of the keep list is writable and executable"},
    [KEEP_NO_RIGHTS] = {MM_ERR_BAD_ARG, "entry of the keep list has not the right to be read"},
    [KEEP_UNKNOWN_RIGHT] = {MM_ERR_BAD_ARG, "entry of the keep list has an unknown right"},
    [KEEP_UNKNOWN_TYPE] = {MM_ERR_BAD_ARG, "entry of the keep list has an unknown memory type"},
};

static struct mm_keep keep[2];

static void ask(enum request request)
{
    uint64_t area = m.layout.kernel_area.start.raw;

    keep[0] = (struct mm_keep){mm_virt(0xb8000), mm_phys(0xb8000), PAGE, MM_PROT_RW, 0};
    keep[1] = (struct mm_keep){mm_virt(0xb9000), mm_phys(0xb9000), PAGE, MM_PROT_RW, 0};
    if (request >= KEEP_UNALIGNED) {
        m.info.keep = keep;
        m.info.keep_count = 2;
    }
    switch (request) {
    case NO_WINDOW:
        m.info.window.count = 0;
        break;
    case SEGMENTS_NULL:
        m.info.segment = NULL;
        break;
    case KEEP_NULL:
        m.info.keep_count = 1;
        break;
    case RESERVE_NULL:
        m.info.reserve_count = 1;
        break;
    case TOO_MANY_CPUS:
        m.info.cpu_count = MM_CPUS_MAX + 1;
        break;
    case ROOT_MODE:
        m.info.root = (enum mm_root_mode)7;
        break;
    case PIN:
        m.info.pin = (enum mm_pin)(MM_PIN_NONE + 1);
        break;
    case PMM_FLAG:
        m.info.pmm_flags = MM_PMM_NO_FLOORS << 1;
        break;
    case VMM_FLAG:
        m.info.vmm_flags = MM_VMM_NO_ASIDS << 1;
        break;
    case DISTANCE_NULL:
        m.info.distance_nodes = 2;
        break;
    case TOO_MANY_NODES:
        m.info.distance = m.copy;
        m.info.distance_nodes = MM_NODES_MAX + 1;
        break;
    case PROTOCOL:
        m.info.protocol = (enum mm_boot_protocol)7;
        break;
    case MAGIC:
        m.info.magic = 0x2badb002;
        break;
    case MAGIC_1:
        m.info.protocol = MM_BOOT_MULTIBOOT1;
        break;
    case MAGIC_ZERO: /* nobody looked at eax: a PVH entry gets here like that */
        m.info.magic = 0;
        break;
    case MAGIC_1_ZERO:
        m.info.protocol = MM_BOOT_MULTIBOOT1;
        m.info.magic = 0;
        break;
    case E820_BYTES:
        m.info.protocol = MM_BOOT_E820;
        m.info.entry_bytes = 20;
        m.info.info_bytes = 30;
        break;
    case SEGMENT_UNALIGNED:
        m.segment[1].phys.raw += 8;
        break;
    case SEGMENT_WX:
        m.segment[0].prot |= MM_PROT_WRITE;
        break;
    case SEGMENT_NO_RIGHTS:
        m.segment[1].prot = 0;
        break;
    case SEGMENT_UNKNOWN_RIGHT:
        m.segment[1].prot |= 16;
        break;
    case SEGMENT_WRAPS:
        m.segment[2].bytes = UINT64_C(1) << 32;
        break;
    case SEGMENTS_OVERLAP: /* rounding up runs into the next one */
        m.segment[0].bytes += 1;
        break;
    case SEGMENTS_SHARE:
        m.segment[1].phys = m.segment[0].phys;
        break;
    case SEGMENT_IN_DIRECT_MAP:
        m.segment[1].virt = m.layout.direct_map.start;
        break;
    case SEGMENT_IN_AREA:
        m.segment[1].virt = mm_virt(area + m.layout.kernel_area.bytes - PAGE);
        break;
    case KEEP_UNALIGNED:
        keep[0].bytes = 100;
        break;
    case KEEP_EMPTY:
        keep[0].bytes = 0;
        break;
    case KEEP_IN_IMAGE:
        keep[0].virt = mm_virt(KERNEL_BASE + RODATA_PHYS);
        break;
    case KEEP_IN_AREA:
        keep[0].virt = mm_virt(area);
        break;
    case KEEPS_OVERLAP:
        keep[1].virt = keep[0].virt;
        break;
    case KEEP_WX:
        keep[1].prot = MM_PROT_RW | MM_PROT_EXEC;
        break;
    case KEEP_NO_RIGHTS:
        keep[1].prot = MM_PROT_WRITE;
        break;
    case KEEP_UNKNOWN_RIGHT:
        keep[1].prot |= 16;
        break;
    case KEEP_UNKNOWN_TYPE:
        keep[1].type = (enum mm_memtype)6;
        break;
    case REQUESTS:
        break;
    }
}

TEST(start_refuses_each_impossible_request_by_name)
{
    begin(MM_ROOT_OWN);
    for (unsigned i = 0; i < REQUESTS; i++) {
        mm_test_row("request", i);
        again(MM_ROOT_OWN);
        ask((enum request)i);
        check_fails(MM_START_ARGUMENTS, refused[i].err, refused[i].what);
    }
}

/* Mapped by the boot code alone: read under the new root, it would be a fault nobody can print. */
TEST(distances_that_the_new_root_does_not_show_are_refused)
{
    begin(MM_ROOT_OWN);
    m.info.distance = mm_virt_pointer(mm_virt(MIB(5)));
    m.info.distance_nodes = 2;
    check_fails(MM_START_VERIFY, MM_ERR_NOT_FOUND,
                "the nodes' distances would not be mapped alike under the new root");
    CHECK_EQ(why.address, MIB(5));
}

TEST(start_with_null_is_refused)
{
    again(MM_ROOT_OWN);
    memset(&mm, 0, sizeof mm);
    CHECK_ERR(mm_start(NULL, &m.info, &why), MM_ERR_BAD_ARG);
    CHECK_TEXT(why.what, "NULL argument");
    CHECK_ERR(mm_start(&mm, NULL, &why), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_start(&mm, NULL, NULL), MM_ERR_BAD_ARG);
}

/* ---- each step in turn ---- */

TEST(start_on_a_cpu_without_no_execute_fails_at_the_cpu)
{
    begin(MM_ROOT_OWN);
    fake_cpu(0)->has_nx = false;
    check_fails(MM_START_CPU, MM_ERR_CPU, "the CPU lacks something that paging needs");
}

TEST(start_with_an_unaligned_layout_fails_at_the_cpu)
{
    begin(MM_ROOT_OWN);
    m.layout.kernel_area.start.raw += PAGE;
    check_fails(MM_START_CPU, MM_ERR_RANGE, "the layout is not canonical, aligned and disjoint");
}

TEST(start_with_boot_information_outside_the_window_fails_there)
{
    begin(MM_ROOT_OWN);
    m.info.info = mm_phys(GIB(2));
    check_fails(MM_START_BOOT_INFO, MM_ERR_WINDOW, "boot information lies outside the window");
    CHECK_EQ(why.address, GIB(2));
}

TEST(start_with_damaged_boot_information_says_what_is_wrong)
{
    uint32_t *block;

    begin(MM_ROOT_OWN);
    block = fake_ram(m.block, 8);
    block[0] = 4; /* total size */
    hash_before = hash_kept();
    CHECK(start() != MM_OK);
    CHECK_EQ(why.stage, MM_START_BOOT_INFO);
    CHECK(why.boot.what != NULL);
    CHECK_TEXT(why.what, why.boot.what);
    check_untouched();
}

TEST(start_without_a_filled_map_fails_at_the_boot_information)
{
    begin(MM_ROOT_OWN);
    m.info.protocol = MM_BOOT_NONE;
    check_fails(MM_START_BOOT_INFO, MM_ERR_BAD_ARG, "no boot protocol, and mm.map was not filled");
}

TEST(start_with_a_reservation_that_wraps_fails_at_the_map)
{
    static const struct mm_phys_range wraps[] = {{MM_PHYS(UINT64_MAX - 100), 4096}};

    begin(MM_ROOT_OWN);
    m.info.reserve = wraps;
    m.info.reserve_count = 1;
    CHECK(start() != MM_OK);
    CHECK_EQ(why.stage, MM_START_MAP);
    CHECK_EQ(why.address, UINT64_MAX - 100);
    check_untouched();
}

/* Not mapped, or without its right: named by what the CPU would miss. */
TEST(start_that_the_cpu_would_not_survive_says_what_is_missing_before_the_load)
{
    static const struct {
        unsigned segment;
        uint32_t prot; /* 0: not mapped */
        uint64_t bytes;
        enum mm_err err;
        uint64_t at;
        const char *what;
    } rows[] = {
        {0, 0, 0, MM_ERR_NOT_FOUND, TEXT_PHYS,
         "the code would not be mapped alike under the new root"},
        {0, MM_PROT_READ, RODATA_PHYS - TEXT_PHYS, MM_ERR_POLICY, TEXT_PHYS,
         "the code would not be executable under the new root"},
        {2, 0, 0, MM_ERR_NOT_FOUND, STACK_PHYS,
         "the stack would not be mapped alike under the new root"},
        {2, MM_PROT_READ, IMAGE_END - DATA_PHYS, MM_ERR_POLICY, STACK_PHYS,
         "the stack would not be writable under the new root"},
        {1, 0, 0, MM_ERR_NOT_FOUND, GDT_PHYS & ~(PAGE - 1),
         "the GDT would not be mapped alike under the new root"},
        {2, MM_PROT_RW, IDT_PHYS - DATA_PHYS, MM_ERR_NOT_FOUND, IDT_PHYS,
         "the IDT would not be mapped alike under the new root"},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mm_test_row("row", i);
        begin(MM_ROOT_OWN);
        m.segment[rows[i].segment].bytes = rows[i].bytes;
        if (rows[i].prot != 0)
            m.segment[rows[i].segment].prot = rows[i].prot;
        CHECK_ERR(start(), rows[i].err);
        CHECK_EQ(why.stage, MM_START_VERIFY);
        CHECK_TEXT(why.what, rows[i].what);
        CHECK_EQ(why.address, KERNEL_BASE + rows[i].at);
        CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    }
}

TEST(start_with_the_image_moved_to_other_frames_fails_before_the_load)
{
    begin(MM_ROOT_OWN);
    m.segment[2].phys = mm_phys(0x2000000);
    CHECK(start() != MM_OK);
    CHECK_EQ(why.stage, MM_START_VERIFY);
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
}

/* The boot root maps struct mm, as on a real machine: 2 MiB pages around it. */
static uint64_t map_struct(void)
{
    uint64_t virt = mm_virt_of(&mm).raw, at = TABLES_PHYS + BOOT_TABLES * PAGE;
    uint64_t *root = boot_words(TABLES_PHYS), *upper = boot_words(at);
    uint64_t *pages = boot_words(at + PAGE);

    memset(upper, 0, PAGE);
    CHECK_EQ(root[virt >> 39 & 511], 0);
    root[virt >> 39 & 511] = at | 3;
    upper[virt >> 30 & 511] = (at + PAGE) | 3;
    for (uint64_t i = 0; i < 512; i++)
        pages[i] = i * MIB(2) | 0x83;
    return fake_probe(mm_virt(virt & ~(PAGE - 1))).phys.raw;
}

TEST(start_when_struct_mm_would_not_be_mapped_alike_fails_before_the_load)
{
    static const struct {
        enum mm_err err;
        const char *what;
    } expected[] = {
        {MM_ERR_NOT_FOUND, "struct mm would not be mapped alike under the new root"},
        {MM_ERR_NOT_FOUND, "struct mm would not be mapped alike under the new root"},
        {MM_ERR_POLICY, "struct mm would not be writable under the new root"},
        {MM_OK, NULL},
    };
    uint64_t virt = mm_virt_of(&mm).raw & ~(PAGE - 1);

    for (unsigned i = 0; i < 4; i++) {
        uint64_t phys;

        mm_test_row("row", i);
        again(MM_ROOT_OWN);
        phys = map_struct();
        keep[0] = (struct mm_keep){mm_virt(virt), mm_phys(phys), 16 * PAGE, MM_PROT_RW, 0};
        CHECK(sizeof mm + PAGE <= keep[0].bytes);
        keep[0].phys.raw += i == 1 ? PAGE : 0; /* other frames */
        keep[0].prot = i == 2 ? MM_PROT_READ : MM_PROT_RW;
        m.info.keep = keep;
        m.info.keep_count = i == 0 ? 0 : 1;
        CHECK_ERR(start(), expected[i].err);
        if (i == 3)
            break;
        CHECK_EQ(why.stage, MM_START_VERIFY);
        CHECK_TEXT(why.what, expected[i].what);
        CHECK_EQ(why.address, virt);
        CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    }
}

TEST(start_with_a_direct_map_too_small_for_the_ram_fails_at_the_root)
{
    begin(MM_ROOT_OWN);
    m.layout.direct_map.bytes = MIB(32);
    check_fails(MM_START_ROOT, MM_ERR_NO_ADDRESS, "the direct map has no room for all RAM");
}

/* ---- too little of everything ---- */

/* Everything usable is reserved but `frames` frames from 32 MiB on. */
static void leave_frames(struct mm_phys_range *range, uint64_t frames)
{
    range[0] = (struct mm_phys_range){mm_phys(MIB(1)), MIB(31)};
    range[1].start = mm_phys(MIB(32) + frames * PAGE);
    range[1].bytes = MIB(64) - range[1].start.raw;
    m.info.reserve = range;
    m.info.reserve_count = 2;
}

static void sweep_frames(enum mm_root_mode mode, unsigned *failed_at)
{
    for (uint64_t frames = 0;; frames++) {
        struct mm_phys_range range[2];

        mm_test_row("free frames", frames);
        CHECK(frames < 200);
        begin(mode);
        leave_frames(range, frames);
        if (start() == MM_OK)
            break;
        CHECK(why.err == MM_ERR_NO_MEMORY || why.err == MM_ERR_NOT_FOUND);
        failed_at[why.stage]++;
        check_untouched();
    }
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(start_with_too_few_frames_fails_cleanly_for_every_number_of_them)
{
    unsigned failed_at[16] = {0};

    sweep_frames(MM_ROOT_OWN, failed_at);
    CHECK(failed_at[MM_START_ROOT] >= 8); /* tables one by one */
    CHECK(failed_at[MM_START_PMM] >= 1);  /* the old root is loaded again */
}

/* What only the new root maps, cached from it, is gone when the old one is back. */
TEST(start_that_fails_after_the_load_leaves_no_translation_of_the_new_root)
{
    struct mm_phys_range range[2];
    uint64_t frames = 0;

    do {
        CHECK(frames < 200);
        again(MM_ROOT_OWN);
        keep[0] = (struct mm_keep){mm_virt(UINT64_C(0xffffff0000000000)), mm_phys(0xb8000), PAGE,
                                   MM_PROT_RW, MM_MEMTYPE_UC};
        m.info.keep = keep;
        m.info.keep_count = 1;
        leave_frames(range, frames++);
        fake_watch(keep[0].virt, FAKE_WATCH_WRITE);
        CHECK(start() != MM_OK);
    } while (why.stage != MM_START_PMM);
    CHECK_EQ(fake_cpu(0)->root.raw, TABLES_PHYS);
    CHECK_EQ(fake_stale_entries(), 0);
    CHECK_EQ(fake_read64(keep[0].virt).fault, FAKE_NOT_PRESENT);
}

TEST(adopting_start_with_too_few_frames_fails_cleanly_for_every_number_of_them)
{
    unsigned failed_at[16] = {0};

    sweep_frames(MM_ROOT_ADOPT, failed_at);
    CHECK(failed_at[MM_START_ROOT] >= 1);
    CHECK(failed_at[MM_START_PMM] >= 1);
}

TEST(start_with_a_window_too_small_for_the_tables_fails_cleanly)
{
    static const struct mm_phys_range gap = {MM_PHYS(IMAGE_END), 0x33b000 - IMAGE_END};
    uint64_t frames = 0;

    for (;; frames++) {
        uint64_t shown = 0x356000 + frames * PAGE; /* the modules end there */

        mm_test_row("window", shown);
        CHECK(frames < 100);
        begin(MM_ROOT_OWN);
        m.info.window.piece[0].bytes = shown;
        m.info.reserve = &gap;
        m.info.reserve_count = 1;
        if (start() == MM_OK)
            break;
        CHECK_ERR(why.err, MM_ERR_NO_MEMORY);
        CHECK_EQ(why.stage, MM_START_ROOT);
        check_untouched();
    }
    CHECK(frames >= 8);
    /* tables came from inside the window, the rest from all of RAM */
    CHECK(mm.kernel.root.raw < 0x356000 + frames * PAGE);
    CHECK_EQ(mm_check(&mm, NULL), 0);
}

TEST(start_with_old_tables_outside_the_window_fails_at_the_map)
{
    for (enum mm_root_mode mode = MM_ROOT_OWN; mode <= MM_ROOT_ADOPT; mode++) {
        begin(mode);
        boot_tables(0x3000000);
        m.info.window.piece[0].bytes = MIB(32);
        CHECK_ERR(start(), MM_ERR_WINDOW);
        CHECK_EQ(why.stage, MM_START_MAP);
        CHECK_TEXT(why.what, "a page table in use lies outside the window");
        CHECK_EQ(why.address, 0x3000000);
        CHECK_EQ(fake_cpu(0)->root.raw, 0x3000000);
    }
}

/* The root can be reached, one of the tables below it cannot: that one is named, by its frame. */
TEST(start_with_one_table_outside_the_window_names_its_frame)
{
    begin(MM_ROOT_OWN);
    memcpy(boot_words(0x3000000), boot_words(TABLES_PHYS + 4 * PAGE), PAGE);
    boot_words(TABLES_PHYS + 2 * PAGE)[510] = 0x3000000 | 3;
    m.info.window.piece[0].bytes = MIB(32);
    CHECK_ERR(start(), MM_ERR_WINDOW);
    CHECK_EQ(why.stage, MM_START_MAP);
    CHECK_TEXT(why.what, "a page table in use lies outside the window");
    CHECK_EQ(why.address, 0x3000000);
}

TEST(start_with_reserved_bits_in_the_tables_in_use_names_the_address)
{
    begin(MM_ROOT_OWN);
    boot_words(TABLES_PHYS)[3] = (TABLES_PHYS + PAGE) | 3 | UINT64_C(1) << 51;
    CHECK_ERR(start(), MM_ERR_MALFORMED);
    CHECK_EQ(why.stage, MM_START_MAP);
    CHECK_TEXT(why.what, "the page tables in use have reserved bits or a loop");
    CHECK_EQ(why.address, UINT64_C(3) << 39);
}

TEST(start_with_a_stack_that_is_not_mapped_names_its_address)
{
    const struct fake_anchor anchor[] = {{mm_virt(KERNEL_BASE + TEXT_PHYS), 1, MM_PROT_EXEC},
                                         {mm_virt(GIB(7)), 8, MM_PROT_WRITE}};

    begin(MM_ROOT_OWN);
    fake_anchors(anchor, 2, false);
    CHECK_ERR(start(), MM_ERR_NOT_FOUND);
    CHECK_EQ(why.stage, MM_START_MAP);
    CHECK_TEXT(why.what, "the stack, GDT or IDT in use is not mapped");
    CHECK_EQ(why.address, GIB(7));
}

TEST(adopting_start_ignores_rights_that_it_does_not_give)
{
    begin(MM_ROOT_ADOPT);
    for (unsigned i = 0; i < 3; i++)
        m.segment[i].prot = 0;
    CHECK_OK(start());
}

TEST(start_succeeds_after_a_failure_with_a_zeroed_struct)
{
    struct mm_phys_range range[2];

    begin(MM_ROOT_OWN);
    leave_frames(range, 3);
    CHECK_ERR(start(), MM_ERR_NO_MEMORY);
    m.info.reserve_count = 0;
    CHECK_OK(start());
    CHECK_EQ(mm_check(&mm, NULL), 0);
}
