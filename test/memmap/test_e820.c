/*
 * test_e820.c - arrays of E820 entries by hand, and the memory maps of real machines.
 */
#include <dirent.h>

#include "block.h"

static struct map m;
static struct mm_boot_info info;
static struct mm_boot_fault fault;
static struct block b; /* only its bytes */
static struct oracle oracle;

static void entry(uint64_t start, uint64_t bytes, uint32_t type)
{
    put64(&b, start);
    put64(&b, bytes);
    put32(&b, type);
}

/* From memory of exactly the size that the arguments say. */
static enum mm_err read_e820(size_t count, size_t entry_bytes, uint32_t capacity, unsigned bits)
{
    size_t bytes = count * entry_bytes;
    void *copy = malloc(bytes > 0 ? bytes : 1);
    enum mm_err err;

    CHECK(copy != NULL && bytes <= sizeof b.bytes);
    memcpy(copy, b.bytes, bytes);
    memset(&info, 0, sizeof info);
    memset(&fault, 0, sizeof fault);
    (void)map_init(&m, capacity, bits);
    err = mm_boot_read_e820(copy, count, entry_bytes, &m.map, &info, &fault);
    free(copy);
    return err;
}

TEST(e820_of_20_bytes_is_read)
{
    b.n = 0;
    entry(0, 0x9fc00, 1);
    entry(0x9fc00, 0x400, 2);
    entry(MIB(1), MIB(15), 1);
    entry(MIB(16), MIB(1), 12);
    CHECK_OK(read_e820(4, 20, ROOM, 52));
    CHECK_EQ(info.map_entries, 4);
    CHECK_OK(mm_memmap_finish(&m.map));
    MAP_IS(&m.map, {{0, 0x9f000, MM_MEM_USABLE, 0, 0},
                    {0x9f000, 0xa0000, MM_MEM_RESERVED, 0, 0},
                    {MIB(1), MIB(16), MM_MEM_USABLE, 0, 0},
                    {MIB(16), MIB(17), MM_MEM_RESERVED, 0, 0}});
}

TEST(e820_entry_whose_attributes_disable_it_is_ignored)
{
    b.n = 0;
    entry(0, MIB(1), 1);
    put32(&b, 1);
    entry(MIB(1), MIB(1), 1); /* disabled */
    put32(&b, 0);
    entry(0, MIB(1), 2); /* disabled */
    put32(&b, 2);
    entry(MIB(4), MIB(1), 7); /* enabled, non-volatile */
    put32(&b, 3);
    CHECK_OK(read_e820(4, 24, ROOM, 52));
    CHECK_EQ(info.map_entries, 2);
    MAP_IS(&m.map, {{0, MIB(1), MM_MEM_USABLE, 0, 0}, {MIB(4), MIB(5), MM_MEM_PERSISTENT, 0, 0}});
}

TEST(e820_arguments_are_checked)
{
    b.n = 0;
    entry(0, MIB(1), 1);
    (void)map_init(&m, ROOM, 52);
    for (size_t bytes = 0; bytes < 40; bytes++) {
        mm_test_row("entry size", bytes);
        if (bytes != 20 && bytes != 24)
            CHECK_ERR(mm_boot_read_e820(b.bytes, 1, bytes, &m.map, &info, &fault), MM_ERR_BAD_ARG);
    }
    CHECK_TEXT(fault.what, "argument out of its domain");
    CHECK_ERR(mm_boot_read_e820(NULL, 1, 20, &m.map, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_e820(b.bytes, 1, 20, NULL, &info, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_e820(b.bytes, 1, 20, &m.map, NULL, NULL), MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_e820(b.bytes, SIZE_MAX / 20 + 1, 20, &m.map, &info, NULL),
              MM_ERR_BAD_ARG);
    CHECK_ERR(mm_boot_read_e820(NULL, 0, 20, &m.map, &info, &fault), MM_ERR_NOT_FOUND);
    CHECK_TEXT(fault.what, "no memory map");
    CHECK_EQ(m.map.count, 0);
}

TEST(e820_that_does_not_fit_names_the_entry)
{
    b.n = 0;
    for (uint64_t i = 0; i < 4; i++)
        entry(MIB(2 * i), MIB(1), 1);
    CHECK_ERR(read_e820(4, 20, 3, 52), MM_ERR_NO_ROOM);
    CHECK_TEXT(fault.what, "no room left in the memory map");
    CHECK_EQ(fault.offset, 60);
    CHECK_EQ(info.map_entries, 0);
    CHECK_EQ(map_faults(&m.map), 0);
}

/* ---- real machines ---- */

struct node_line {
    uint64_t start, bytes;
    unsigned node;
};

/* Read one file: its entries into the block and the oracle, its nodes into a list. */
static size_t file_lines(const char *path, struct node_line *nodes, size_t *node_count)
{
    size_t bytes, entries = 0;
    char *text = (char *)file_read(path, &bytes), *line = text, *next;

    b.n = 0;
    *node_count = 0;
    oracle_init(&oracle, 52);
    for (; *line != '\0'; line = next + 1) {
        unsigned long long start, length;
        unsigned number;

        next = strchr(line, '\n');
        CHECK(next != NULL);
        if (*line == '#')
            continue;
        if (sscanf(line, "numa %u %llx %llx", &number, &start, &length) == 3) {
            nodes[(*node_count)++] = (struct node_line){start, length, number};
            continue;
        }
        CHECK(sscanf(line, "%llx %llx %u", &start, &length, &number) == 3);
        entry(start, length, number);
        oracle_claim(&oracle, start, length,
                     number == 1   ? MM_MEM_USABLE
                     : number == 3 ? MM_MEM_ACPI_RECLAIM
                     : number == 4 ? MM_MEM_ACPI_NVS
                     : number == 5 ? MM_MEM_BAD
                     : number == 7 ? MM_MEM_PERSISTENT
                                   : MM_MEM_RESERVED,
                     MM_USE_FREE);
        entries++;
    }
    free(text);
    return entries;
}

/* Usable bytes of each node, counted line by line: no two lines of a file overlap. */
static void compare_nodes(const struct node_line *line, size_t count)
{
    for (unsigned node = 0; node < MM_NODES_MAX; node++) {
        uint64_t expected = 0, found = 0, described = 0;

        for (size_t i = 0; i < oracle.pieces; i++) {
            const struct piece *p = &oracle.piece[i];

            for (size_t n = 0; n < count && p->type == MM_MEM_USABLE; n++) {
                uint64_t start = line[n].start > p->start ? line[n].start : p->start;
                uint64_t end = line[n].start + line[n].bytes;

                end = end < p->end ? end : p->end;
                if (start >= end)
                    continue;
                described += end - start;
                expected += line[n].node == node ? end - start : 0;
            }
        }
        for (uint32_t i = 0; i < m.map.count; i++)
            if (m.map.range[i].type == MM_MEM_USABLE && m.map.range[i].node == node)
                found += m.map.range[i].bytes;
        if (node == 0) /* what no line describes */
            for (size_t i = 0; i < oracle.pieces; i++)
                if (oracle.piece[i].type == MM_MEM_USABLE)
                    expected += oracle.piece[i].end - oracle.piece[i].start;
        if (node == 0)
            expected -= described;
        CHECK_EQ(found, expected);
    }
}

TEST(e820_maps_of_real_machines_agree_with_the_oracle)
{
    DIR *dir = opendir("data/e820");
    unsigned files = 0, with_nodes = 0;
    struct dirent *file;

    CHECK(dir != NULL);
    while ((file = readdir(dir)) != NULL) {
        struct node_line nodes[32];
        size_t entries, node_count;
        char path[300];

        if (strstr(file->d_name, ".txt") == NULL)
            continue;
        mm_test_row(file->d_name, ++files);
        snprintf(path, sizeof path, "data/e820/%s", file->d_name);
        entries = file_lines(path, nodes, &node_count);
        CHECK_OK(read_e820(entries, 20, (uint32_t)(2 * entries), 52));
        CHECK_EQ(info.map_entries, entries);
        if (node_count == 0) {
            CHECK_OK(mm_memmap_finish(&m.map));
            oracle_compare(&oracle, &m.map);
            continue;
        }
        with_nodes++;
        for (size_t i = 0; i < node_count; i++)
            CHECK_OK(
                mm_memmap_set_node(&m.map, mm_phys(nodes[i].start), nodes[i].bytes, nodes[i].node));
        CHECK_OK(mm_memmap_finish(&m.map));
        CHECK_EQ(map_faults(&m.map), 0);
        oracle_solve(&oracle);
        compare_nodes(nodes, node_count);
    }
    mm_test_row(NULL, 0);
    closedir(dir);
    CHECK_EQ(files, 69);
    CHECK_EQ(with_nodes, 3);
}

/* The same machine in reverse and in random order of entries: no map may differ. */
TEST(e820_order_of_real_entries_does_not_matter)
{
    static const char *const path[] = {
        "data/e820/server-amd-ethanol-x-1tb-ht-hole.txt",
        "data/e820/fwts-oops-16.txt",
        "data/e820/qemu-ovmf-q35-64g.txt",
    };

    for (size_t p = 0; p < LENGTH(path); p++) {
        struct node_line nodes[32];
        size_t node_count, entries = file_lines(path[p], nodes, &node_count);

        for (unsigned round = 0; round < 20; round++) {
            for (size_t i = entries; i > 1; i--) {
                uint8_t swap[20], *last = b.bytes + 20 * (i - 1);
                uint8_t *other = b.bytes + 20 * (round == 0 ? entries - i : mm_test_below(i));

                memcpy(swap, last, 20);
                memmove(last, other, 20);
                memcpy(other, swap, 20);
            }
            CHECK_OK(read_e820(entries, 20, ROOM, 52));
            CHECK_OK(mm_memmap_finish(&m.map));
            oracle_compare(&oracle, &m.map);
        }
    }
}

/* EFI maps reach libmm in tag 17 of a Multiboot2 block. */
static size_t efi_lines(const char *path, bool services)
{
    static const uint8_t of_efi[] = {7, 2, 2, 1, 1, 6, 6, 1, 9, 3, 4, 8, 8, 7, 5};
    size_t bytes, entries = 0;
    char *text = (char *)file_read(path, &bytes), *line = text, *next;

    block_begin(&b);
    if (services) {
        tag_begin(&b, 18);
        tag_end(&b);
    }
    efi_begin(&b, 48);
    oracle_init(&oracle, 52);
    for (; *line != '\0'; line = next + 1) {
        unsigned long long start, pages, attributes;
        unsigned number, type;

        next = strchr(line, '\n');
        CHECK(next != NULL);
        if (*line == '#')
            continue;
        CHECK(sscanf(line, "%llx %llx %u %llx", &start, &pages, &number, &attributes) == 4);
        CHECK(number < sizeof of_efi);
        efi_entry(&b, number, start, pages, attributes);
        type = services && (number == 3 || number == 4) ? MM_MEM_BOOT_RECLAIM : of_efi[number];
        if (attributes >> 63 && type < MM_MEM_RUNTIME)
            type = MM_MEM_RUNTIME;
        oracle_claim(&oracle, start, pages * 4096, type, MM_USE_FREE);
        entries++;
    }
    tag_end(&b);
    block_end(&b);
    free(text);
    return entries;
}

TEST(e820_efi_maps_of_real_machines_agree_with_the_oracle)
{
    DIR *dir = opendir("data/efi");
    unsigned files = 0;
    struct dirent *file;

    CHECK(dir != NULL);
    while ((file = readdir(dir)) != NULL) {
        char path[300];

        if (strstr(file->d_name, ".txt") == NULL)
            continue;
        mm_test_row(file->d_name, ++files);
        snprintf(path, sizeof path, "data/efi/%s", file->d_name);
        for (unsigned services = 0; services < 2; services++) {
            size_t entries = efi_lines(path, services == 1);

            (void)map_init(&m, (uint32_t)(2 * entries), 52);
            memset(&info, 0, sizeof info);
            CHECK_OK(block_read_at(b.bytes, b.n, mm_phys(0x33000), &m.map, &info, &fault));
            CHECK_EQ(info.map_entries, entries);
            CHECK_OK(mm_memmap_finish(&m.map));
            oracle_claim(&oracle, 0x33000, b.n, MM_MEM_NONE, MM_USE_BOOTINFO);
            oracle_compare(&oracle, &m.map);
        }
    }
    mm_test_row(NULL, 0);
    closedir(dir);
    CHECK_EQ(files, 8);
}
