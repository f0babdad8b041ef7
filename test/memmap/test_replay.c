/*
 * test_replay.c - every memory map of test/data, through every reader that can carry it, against a
 * model that knows one frame at a time.
 */
#include "replay.h"

#define INFO_AT    UINT64_C(0x200000)
#define INFO_BYTES UINT64_C(0x10000)

/* The reader must have reserved this. */
static void hold(uint64_t start, uint64_t bytes, unsigned use)
{
    CHECK(holds < LENGTH(held));
    held[holds++] = (struct piece){start, start + bytes, MM_MEM_NONE, use, 0};
}

/* The kernel reserves this. */
static void keep(uint64_t start, uint64_t bytes, unsigned use)
{
    CHECK_OK(mm_memmap_reserve(&m.map, mm_phys(start), bytes, use));
    hold(start, bytes, use);
}

static void begin(void)
{
    (void)map_init(&m, ROOM, BITS);
    memset(&info, 0, sizeof info);
    holds = 0;
    keep(0, 0x1000, MM_USE_KEEP);
    keep(0xa0000, 0x60000, MM_USE_KEEP);
    keep(MIB(1), 0x22e244, MM_USE_IMAGE); /* of the kernel that made the dumps */
}

/* Set nodes from an affinity table with the lines of the file, if there are any; finish; compare. */
static void end(void)
{
    struct mm_numa numa = {.range = NULL};

    if (text.nodes > 0) {
        srat_begin(&b, 3);
        for (unsigned i = 0; i < text.nodes; i++)
            srat_memory(&b, text.node[i].domain, text.node[i].start,
                        text.node[i].end - text.node[i].start,
                        SRAT_ENABLED | (text.node[i].hot_plug ? MM_NUMA_HOT_PLUG : 0));
        acpi_end(&b);
        CHECK_OK(srat_read(&b, b.n, &m.map, &numa, NULL));
    }
    CHECK_OK(mm_memmap_finish(&m.map));
    compare();
}

static void through_e820(void)
{
    begin();
    b.n = 0;
    for (unsigned i = 0; i < text.lines; i++) {
        put64(&b, text.line[i].start);
        put64(&b, text.line[i].end - text.line[i].start);
        put32(&b, text.line[i].number);
    }
    CHECK_OK(mm_boot_read_e820(b.bytes, text.lines, 20, &m.map, &info, NULL));
    CHECK_EQ(info.map_entries, text.lines);
    end();
}

/* Frames at INFO_AT for readers that follow pointers. */
static uint8_t *memory_begin(struct mm_window *window)
{
    uint8_t *memory = aligned_alloc(4096, INFO_BYTES);

    CHECK(memory != NULL);
    memset(memory, 0, INFO_BYTES);
    *window = (struct mm_window)MM_ZERO;
    CHECK_OK(mm_window_add(window, mm_phys(INFO_AT), INFO_BYTES, mm_virt_of(memory)));
    return memory;
}

static void store(uint8_t *to, uint64_t x, unsigned bytes)
{
    memcpy(to, &x, bytes); /* tests run on little-endian hosts */
}

static void through_multiboot1(void)
{
    struct mm_window window;
    uint8_t *memory = memory_begin(&window), *to = memory + 52;

    begin();
    for (unsigned i = 0; i < text.lines; i++) {
        unsigned size = 20 + i % 3 * 4; /* loaders differ in the size of an entry */

        store(to, size, 4);
        store(to + 4, text.line[i].start, 8);
        store(to + 12, text.line[i].end - text.line[i].start, 8);
        store(to + 20, text.line[i].number, 4);
        to += size + 4;
    }
    store(memory, 0x40, 4);
    store(memory + 44, (uint64_t)(to - memory) - 52, 4);
    store(memory + 48, INFO_AT + 52, 4);
    CHECK_OK(mm_boot_read_multiboot1(&window, mm_phys(INFO_AT), &m.map, &info, NULL));
    CHECK_EQ(info.map_entries, text.lines);
    hold(INFO_AT, (uint64_t)(to - memory), MM_USE_BOOTINFO);
    end();
    free(memory);
}

static void through_pvh(void)
{
    struct mm_window window;
    uint8_t *memory = memory_begin(&window), *to = memory + 56;

    begin();
    for (unsigned i = 0; i < text.lines; i++, to += 24) {
        store(to, text.line[i].start, 8);
        store(to + 8, text.line[i].end - text.line[i].start, 8);
        store(to + 16, text.line[i].number, 4);
    }
    store(memory, 0x336ec578, 4);
    store(memory + 4, 1, 4);
    store(memory + 40, INFO_AT + 56, 8);
    store(memory + 48, text.lines, 4);
    CHECK_OK(mm_boot_read_pvh(&window, mm_phys(INFO_AT), &m.map, &info, NULL));
    CHECK_EQ(info.map_entries, text.lines);
    hold(INFO_AT, (uint64_t)(to - memory), MM_USE_BOOTINFO);
    end();
    free(memory);
}

/* Limine has numbers of its own; what it has none for, it reserves. Entries go backwards. */
static void through_limine(void)
{
    static const uint8_t of_type[] = {
        [MM_MEM_USABLE] = 0,     [MM_MEM_ACPI_RECLAIM] = 2, [MM_MEM_ACPI_NVS] = 3,
        [MM_MEM_PERSISTENT] = 1, [MM_MEM_RESERVED] = 1,     [MM_MEM_BAD] = 4};
    struct mm_window window;
    uint8_t *memory = memory_begin(&window), *list = memory + 24;
    uint8_t *to = list + 8 * text.lines;

    begin();
    for (unsigned i = text.lines; i-- > 0; to += 24, list += 8) {
        struct line *line = &text.line[i];

        store(list, mm_virt_of(to).raw, 8);
        store(to, line->start, 8);
        store(to + 8, line->end - line->start, 8);
        store(to + 16, of_type[line->type], 8);
        if (line->type == MM_MEM_PERSISTENT)
            line->type = MM_MEM_RESERVED;
    }
    store(memory + 8, text.lines, 8);
    store(memory + 16, mm_virt_of(memory + 24).raw, 8);
    CHECK_OK(mm_boot_read_limine(&window, mm_phys(INFO_AT), &m.map, &info, NULL));
    CHECK_EQ(info.map_entries, text.lines);
    hold(INFO_AT, (uint64_t)(to - memory), MM_USE_BOOTINFO);
    end();
    free(memory);
}

static void through_efi(void)
{
    struct mm_boot_efi_map efi = {
        .descriptors = b.bytes,
        .at = mm_phys(INFO_AT),
        .descriptor_bytes = 48,
        .descriptor_version = 1,
    };

    begin();
    b.n = 0;
    for (unsigned i = 0; i < text.lines; i++) {
        const struct line *line = &text.line[i];

        put32(&b, line->number);
        put32(&b, 0);
        put64(&b, line->start);
        put64(&b, 0);
        put64(&b, (line->end - line->start) / 4096);
        put64(&b, line->attributes);
        put64(&b, UINT64_MAX);
    }
    efi.bytes = b.n;
    CHECK_OK(mm_boot_read_efi(&efi, &m.map, &info, NULL));
    CHECK_EQ(info.map_entries, text.lines);
    hold(INFO_AT, b.n, MM_USE_BOOTINFO);
    end();
}

static uint64_t word(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;

    memcpy(&x, p, bytes);
    return x;
}

/* Both maps of a real block, its modules and its framebuffer, as the model's lines and holds. */
static void block_lines(const uint8_t *block)
{
    for (size_t o = 8; word(block + o, 4) != 0; o += (word(block + o + 4, 4) + 7) / 8 * 8) {
        const uint8_t *tag = block + o;
        uint64_t type = word(tag, 4), size = word(tag + 4, 4), step = word(tag + 8, 4);
        char line[100];

        if (type == 3)
            hold(word(tag + 8, 4), word(tag + 12, 4) - word(tag + 8, 4), MM_USE_MODULE);
        if (type == 8)
            hold(word(tag + 8, 8), word(tag + 16, 4) * word(tag + 24, 4), MM_USE_FRAMEBUFFER);
        for (uint64_t i = 16; (type == 6 || type == 17) && i < size; i += step) {
            if (type == 6)
                snprintf(line, sizeof line, "%llx %llx %u\n", (unsigned long long)word(tag + i, 8),
                         (unsigned long long)word(tag + i + 8, 8), (unsigned)word(tag + i + 16, 4));
            else
                snprintf(line, sizeof line, "%llx %llx %u %llx\n",
                         (unsigned long long)word(tag + i + 8, 8),
                         (unsigned long long)word(tag + i + 24, 8), (unsigned)word(tag + i, 4),
                         (unsigned long long)word(tag + i + 32, 8));
            line_read(line, type == 17);
        }
    }
}

TEST(replay_dumps_through_multiboot2)
{
    static const struct {
        const char *name;
        uint64_t at;
    } dump[] = {{"bios-64M", 0x33c390}, {"bios-512M", 0x33c390}, {"bios-512M-fb", 0x33c390},
                {"bios-4G", 0x33c390},  {"bios-12G", 0x33c390},  {"bios-q35-4G", 0x33c390},
                {"uefi-64M", 0x33000},  {"uefi-512M", 0x33000},  {"uefi-512M-fb", 0x33000},
                {"uefi-4G", 0x33000},   {"uefi-12G", 0x33000},   {"uefi-q35-4G", 0x33000}};

    for (size_t i = 0; i < LENGTH(dump); i++) {
        char path[100];
        size_t bytes;
        uint8_t *block;

        mm_test_row("dump", i);
        snprintf(path, sizeof path, "data/multiboot2/%s.bin", dump[i].name);
        block = file_read(path, &bytes);
        memset(&text, 0, sizeof text);
        begin();
        hold(dump[i].at, bytes, MM_USE_BOOTINFO);
        block_lines(block);
        CHECK_OK(block_read_at(block, bytes, mm_phys(dump[i].at), &m.map, &info, NULL));
        CHECK_EQ(info.map_entries, text.lines);
        end();
        free(block);
    }
}

/* What real loaders give. The file holds the frames in which they put it. */
static const struct dump {
    const char *name, *loader, *command_line;
    uint64_t at, frame[2], end; /* of the struct */
    uint64_t module_end;        /* of the last one */
    uint32_t framebuffer_bytes;
} multiboot1_dump[] = {
    {"qemu-128M", "qemu", "k.elf a=b quiet", 0x9500, {0x9000, 0x112000}, 0x9544, 0x117328, 0},
    {"qemu-q35-4G", "qemu", "k.elf a=b", 0x9500, {0x9000, 0x112000}, 0x9544, 0x114388, 0},
    {"grub-bios-512M",
     "GRUB 2.06-13+deb12u2",
     "a=b quiet",
     0x10000,
     {0x10000},
     0x10076,
     0x116328,
     3200 * 600},
    {"grub-uefi-512M",
     "GRUB 2.06-13+deb12u2",
     "a=b quiet",
     0x10000,
     {0x10000},
     0x10044,
     0x116328,
     0},
};

/* The model's own reading of information that is known to be well formed. */
static void multiboot1_lines(const uint8_t *mbi, const struct mm_window *window)
{
    const uint64_t list = word(mbi + 24, 4), bytes = word(mbi + 44, 4), map = word(mbi + 48, 4);
    void *at;

    hold(map, bytes, MM_USE_BOOTINFO);
    hold(list, 16 * word(mbi + 20, 4), MM_USE_BOOTINFO);
    CHECK_OK(mm_window_find(window, mm_phys(map), bytes, &at));
    for (const uint8_t *p = at; p < (const uint8_t *)at + bytes; p += word(p, 4) + 4) {
        char line[100];

        snprintf(line, sizeof line, "%llx %llx %u\n", (unsigned long long)word(p + 4, 8),
                 (unsigned long long)word(p + 12, 8), (unsigned)word(p + 20, 4));
        line_read(line, false);
    }
    CHECK_OK(mm_window_find(window, mm_phys(list), 16 * word(mbi + 20, 4), &at));
    for (uint64_t i = 0; i < word(mbi + 20, 4); i++) {
        const uint8_t *module = (const uint8_t *)at + 16 * i;

        hold(word(module, 4), word(module + 4, 4) - word(module, 4), MM_USE_MODULE);
    }
}

static void multiboot1_replay(const struct dump *dump, const uint8_t *mbi,
                              const struct mm_window *window)
{
    struct mm_boot_module module[2];

    memset(&text, 0, sizeof text);
    begin();
    hold(dump->at, dump->end - dump->at, MM_USE_BOOTINFO);
    multiboot1_lines(mbi, window);
    info = (struct mm_boot_info){.module = module, .module_capacity = 2};
    CHECK_OK(mm_boot_read_multiboot1(window, mm_phys(dump->at), &m.map, &info, NULL));
    hold(info.framebuffer.at.raw, dump->framebuffer_bytes, MM_USE_FRAMEBUFFER);
    CHECK_EQ(info.block_bytes, dump->end - dump->at);
    CHECK_EQ(info.map_entries, text.lines);
    CHECK_TEXT(mm_boot_text_pointer(window, info.loader), dump->loader);
    CHECK_TEXT(mm_boot_text_pointer(window, info.command_line), dump->command_line);
    CHECK(strstr(mm_boot_text_pointer(window, module[0].text), "mod0 arg") != NULL);
    CHECK_EQ(module[info.module_count - 1].start.raw + module[info.module_count - 1].bytes,
             dump->module_end);
    CHECK_EQ(info.ebda.raw, strstr(dump->name, "uefi") != NULL ? 0 : 0x9fc00);
    if (dump->framebuffer_bytes != 0) {
        CHECK_EQ(info.framebuffer.red_shift, 16);
        CHECK_EQ(info.framebuffer.green_shift, 8);
        CHECK_EQ(info.framebuffer.blue_bits, 8);
    }
    end();
}

TEST(replay_dumps_through_multiboot1)
{
    for (size_t i = 0; i < LENGTH(multiboot1_dump); i++) {
        const struct dump *dump = &multiboot1_dump[i];
        struct mm_window window = MM_ZERO;
        uint8_t *contents, *memory;
        char path[100];
        size_t bytes;

        mm_test_row("dump", i);
        snprintf(path, sizeof path, "data/multiboot1/%s.bin", dump->name);
        contents = file_read(path, &bytes);
        CHECK_EQ(bytes, dump->frame[1] != 0 ? 2 * FRAME : FRAME);
        memory = aligned_alloc(4096, bytes);
        CHECK(memory != NULL);
        memcpy(memory, contents, bytes);
        for (size_t f = 0; f < bytes / FRAME; f++)
            CHECK_OK(mm_window_add(&window, mm_phys(dump->frame[f]), FRAME,
                                   mm_virt_of(memory + f * FRAME)));
        multiboot1_replay(dump, memory + (dump->at - dump->frame[0]), &window);
        free(memory);
        free(contents);
    }
}

/* Affinity alone: a machine whose RAM is just what the table says, and nothing in windows. */
static void through_srat(void)
{
    if (text.nodes == 0 || text.lines > 0)
        return;
    begin();
    for (unsigned i = 0; i < text.nodes; i++) {
        const struct node_line *node = &text.node[i];

        if (node->hot_plug || node->start == node->end)
            continue;
        text.line[text.lines++] =
            (struct line){.start = node->start, .end = node->end, .type = MM_MEM_USABLE};
        if (node->end > text.end)
            text.end = node->end;
        CHECK_OK(
            mm_memmap_add(&m.map, mm_phys(node->start), node->end - node->start, MM_MEM_USABLE));
    }
    if (text.lines > 0)
        end();
}

TEST(replay_e820_files_through_e820)
{
    CHECK_EQ(each_file("e820", through_e820), 69);
}

TEST(replay_e820_files_through_multiboot1)
{
    CHECK_EQ(each_file("e820", through_multiboot1), 69);
}

TEST(replay_e820_files_through_pvh)
{
    CHECK_EQ(each_file("e820", through_pvh), 69);
}

TEST(replay_e820_files_through_limine)
{
    CHECK_EQ(each_file("e820", through_limine), 69);
}

TEST(replay_efi_files_through_efi)
{
    CHECK_EQ(each_file("efi", through_efi), 8);
}

TEST(replay_numa_files_through_srat)
{
    CHECK_EQ(each_file("numa", through_srat), 5);
}

/* Ranges of length 0 in a real table: they are no memory, and no nodes. */
TEST(replay_numa_table_of_empty_ranges_has_no_nodes)
{
    struct mm_numa numa = {.range = NULL};

    text_read("numa", "qemu-gpu-zero-length-nodes.txt");
    CHECK_EQ(text.nodes, 7);
    begin();
    CHECK_OK(mm_memmap_add(&m.map, mm_phys(0), GIB(1), MM_MEM_USABLE));
    srat_begin(&b, 3);
    for (unsigned i = 0; i < text.nodes; i++)
        srat_memory(&b, text.node[i].domain, 0, 0, SRAT_ENABLED | MM_NUMA_HOT_PLUG);
    acpi_end(&b);
    CHECK_ERR(srat_read(&b, b.n, &m.map, &numa, NULL), MM_ERR_NOT_FOUND);
    srat_memory(&b, 0, 0, GIB(1), SRAT_ENABLED);
    acpi_end(&b);
    CHECK_OK(srat_read(&b, b.n, &m.map, &numa, NULL));
    CHECK_EQ(numa.node_count, 1);
}

/* Tables byte for byte as QEMU makes them. Memory of the modules is there, by the map. */
TEST(replay_acpi_tables_of_qemu)
{
    static const struct {
        const char *name;
        unsigned nodes;
        uint8_t at_1m, at_32m, at_64m, at_96m, at_4g, above; /* node of a frame there */
    } row[] = {
        {"qemu-two-nodes", 2, 0, 0, 1, 1, 1, 1},
        {"qemu-four-nodes", 3, 0, 1, 1, 2, 0, 0}, /* domain 2 has no memory */
        {"qemu-nvdimm", 2, 0, 0, 1, 1, 0, 1},     /* a module inside the window of domain 1 */
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        const uint64_t at[] = {MIB(1), MIB(32), MIB(64), MIB(96), GIB(4), GIB(4) + MIB(128)};
        const uint8_t node[] = {row[i].at_1m,  row[i].at_32m, row[i].at_64m,
                                row[i].at_96m, row[i].at_4g,  row[i].above};
        struct mm_numa numa = {.range = NULL};
        uint8_t *table;
        char path[100];
        size_t bytes;

        mm_test_row("table", i);
        snprintf(path, sizeof path, "data/acpi/%s.srat", row[i].name);
        table = file_read(path, &bytes);
        (void)map_init(&m, ROOM, BITS);
        CHECK_OK(mm_memmap_add(&m.map, mm_phys(0), MIB(128), MM_MEM_USABLE));
        CHECK_OK(mm_memmap_add(&m.map, mm_phys(GIB(4)), MIB(256), MM_MEM_USABLE));
        CHECK_OK(mm_numa_read_srat(table, bytes, &m.map, &numa, NULL));
        CHECK_EQ(numa.node_count, row[i].nodes);
        CHECK_OK(mm_memmap_finish(&m.map));
        for (size_t n = 0; n < LENGTH(at); n++) {
            struct mm_mem_range found;

            CHECK_OK(mm_memmap_find(&m.map, mm_phys(at[n]), &found));
            CHECK_EQ(found.node, node[n]);
        }
        free(table);
    }
}

TEST(replay_distances_of_qemu)
{
    static const uint8_t expected[] = {10, 21, 31, 10};
    struct mm_numa numa = {.node_count = 2, .domain = {0, 1}};
    uint8_t distance[4];
    size_t bytes;
    uint8_t *table = file_read("data/acpi/qemu-two-nodes.slit", &bytes);

    CHECK_OK(mm_numa_read_slit(table, bytes, &numa, distance, sizeof distance, NULL));
    CHECK(memcmp(distance, expected, sizeof expected) == 0);
    free(table);
}
