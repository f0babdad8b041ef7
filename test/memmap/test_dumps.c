/*
 * test_dumps.c - blocks as a boot loader really makes them, whole, cut, and damaged.
 */
#include "block.h"

#define BITS 52u

static const struct {
    const char *name;
    uint64_t at;
    uint32_t bytes, map_entries;
    uint64_t framebuffer;
    unsigned pixels;
    uint64_t ebda;
} dump[] = {
    {"bios-64M", 0x33c390, 1568, 7, 0xb8000, MM_BOOT_PIXELS_TEXT, 0x9fc00},
    {"bios-512M", 0x33c390, 1568, 7, 0xb8000, MM_BOOT_PIXELS_TEXT, 0x9fc00},
    {"bios-512M-fb", 0x33c390, 2360, 7, 0xfd000000, MM_BOOT_PIXELS_RGB, 0x9fc00},
    {"bios-4G", 0x33c390, 1592, 8, 0xb8000, MM_BOOT_PIXELS_TEXT, 0x9fc00},
    {"bios-12G", 0x33c390, 1592, 8, 0xb8000, MM_BOOT_PIXELS_TEXT, 0x9fc00},
    {"bios-q35-4G", 0x33c390, 2432, 10, 0xfd000000, MM_BOOT_PIXELS_RGB, 0x9fc00},
    {"uefi-64M", 0x33000, 7632, 18 + 121, 0, MM_BOOT_PIXELS_NONE, 0},
    {"uefi-512M", 0x33000, 7632, 18 + 121, 0, MM_BOOT_PIXELS_NONE, 0},
    {"uefi-512M-fb", 0x33000, 7720, 18 + 122, 0x80000000, MM_BOOT_PIXELS_RGB, 0},
    {"uefi-4G", 0x33000, 7656, 19 + 121, 0, MM_BOOT_PIXELS_NONE, 0},
    {"uefi-12G", 0x33000, 7656, 19 + 121, 0, MM_BOOT_PIXELS_NONE, 0},
    {"uefi-q35-4G", 0x33000, 8056, 20 + 128, 0xc0000000, MM_BOOT_PIXELS_RGB, 0},
};

/* The image of the kernel that made the dumps. */
#define IMAGE_START UINT64_C(0x100000)
#define IMAGE_END   UINT64_C(0x32e244)

static struct map m;
static struct oracle oracle;

static uint8_t *dump_read(size_t i, size_t *bytes)
{
    char path[100];

    snprintf(path, sizeof path, "data/multiboot2/%s.bin", dump[i].name);
    return file_read(path, bytes);
}

static uint64_t word(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;

    memcpy(&x, p, bytes); /* tests run on little-endian hosts */
    return x;
}

/* The oracle's own reading of a block that is known to be well formed. */
static void oracle_read(const uint8_t *block, size_t bytes, uint64_t at)
{
    static const uint8_t of_efi[] = {7, 2, 2, 1, 1, 6, 6, 1, 9, 3, 4, 8, 8, 7, 5};
    static const uint8_t of_bios[] = {7, 1, 7, 3, 4, 9};

    oracle_claim(&oracle, at, bytes, MM_MEM_NONE, MM_USE_BOOTINFO);
    for (size_t o = 8; word(block + o, 4) != 0; o += (word(block + o + 4, 4) + 7) / 8 * 8) {
        const uint8_t *tag = block + o;
        uint64_t type = word(tag, 4), size = word(tag + 4, 4), step = word(tag + 8, 4);

        if (type == 3)
            oracle_claim(&oracle, word(tag + 8, 4), word(tag + 12, 4) - word(tag + 8, 4),
                         MM_MEM_NONE, MM_USE_MODULE);
        if (type == 8)
            oracle_claim(&oracle, word(tag + 8, 8), word(tag + 16, 4) * word(tag + 24, 4),
                         MM_MEM_NONE, MM_USE_FRAMEBUFFER);
        for (uint64_t i = 16; type == 6 && i < size; i += step) {
            uint64_t t = word(tag + i + 16, 4);

            oracle_claim(&oracle, word(tag + i, 8), word(tag + i + 8, 8), t < 6 ? of_bios[t] : 7,
                         MM_USE_FREE);
        }
        for (uint64_t i = 16; type == 17 && i < size; i += step) {
            uint64_t t = word(tag + i, 4);
            unsigned our = t < sizeof of_efi ? of_efi[t] : 7;

            if (tag[i + 39] & 0x80 && our < 6)
                our = 6;
            oracle_claim(&oracle, word(tag + i + 8, 8), word(tag + i + 24, 8) * 4096, our,
                         MM_USE_FREE);
        }
    }
}

/* What a kernel does before and after reading. */
static void reserve_first(void)
{
    CHECK_OK(
        mm_memmap_reserve(&m.map, mm_phys(IMAGE_START), IMAGE_END - IMAGE_START, MM_USE_IMAGE));
    CHECK_OK(mm_memmap_reserve_pc(&m.map, mm_phys(0)));
}

TEST(dumps_are_read_as_the_oracle_reads_them)
{
    for (size_t i = 0; i < LENGTH(dump); i++) {
        struct mm_boot_info info = {.module = NULL};
        struct mm_boot_fault fault = {0};
        size_t bytes;
        uint8_t *block = dump_read(i, &bytes);

        mm_test_row("dump", i);
        (void)map_init(&m, ROOM, BITS);
        reserve_first();
        CHECK_OK(block_read_at(block, bytes, mm_phys(dump[i].at), &m.map, &info, &fault));
        CHECK(fault.what == NULL);
        oracle_init(&oracle, BITS);
        oracle_claim(&oracle, IMAGE_START, IMAGE_END - IMAGE_START, MM_MEM_NONE, MM_USE_IMAGE);
        oracle_claim(&oracle, 0, 4096, MM_MEM_NONE, MM_USE_KEEP);
        oracle_claim(&oracle, 0xa0000, 0x60000, MM_MEM_NONE, MM_USE_KEEP);
        oracle_read(block, bytes, dump[i].at);
        if (info.ebda.raw != 0) {
            CHECK_OK(mm_memmap_reserve_pc(&m.map, info.ebda));
            oracle_claim(&oracle, info.ebda.raw, 0xa0000 - info.ebda.raw, MM_MEM_NONE, MM_USE_KEEP);
        }
        CHECK_OK(mm_memmap_finish(&m.map));
        oracle_compare(&oracle, &m.map);
        CHECK_EQ(m.map.dropped_bytes, 0);
        free(block);
    }
}

TEST(dumps_tell_what_their_listings_tell)
{
    for (size_t i = 0; i < LENGTH(dump); i++) {
        struct mm_boot_module module[4];
        struct mm_boot_info info = {.module = module, .module_capacity = 4};
        bool uefi = dump[i].name[0] == 'u';
        struct mm_window window = MM_ZERO;
        size_t bytes;
        uint8_t *block = dump_read(i, &bytes);
        uint8_t *frames = aligned_alloc(4096, 3 * 4096);
        uint64_t low = dump[i].at / 4096 * 4096;

        mm_test_row("dump", i);
        CHECK(frames != NULL);
        memcpy(frames + (dump[i].at - low), block, bytes);
        CHECK_OK(mm_window_add(&window, mm_phys(low), 3 * 4096, mm_virt_of(frames)));
        (void)map_init(&m, ROOM, BITS);
        CHECK_OK(mm_boot_read_multiboot2(frames + (dump[i].at - low), bytes, mm_phys(dump[i].at),
                                         &m.map, &info, NULL));
        CHECK_EQ(bytes, dump[i].bytes);
        CHECK_EQ(info.block.raw, dump[i].at);
        CHECK_EQ(info.block_bytes, bytes);
        CHECK_EQ(info.map_entries, dump[i].map_entries);
        CHECK_EQ(info.module_count, 2);
        CHECK_EQ(module[0].start.raw, uefi ? 0x18000 : 0x33b000);
        CHECK_EQ(module[0].bytes, 5000);
        CHECK_EQ(module[1].bytes, 100000);
        CHECK_TEXT(mm_boot_text_pointer(&window, module[0].text), "mod0 arg");
        CHECK_TEXT(mm_boot_text_pointer(&window, module[1].text), "mod1");
        CHECK_TEXT(mm_boot_text_pointer(&window, info.command_line), "t=mbi");
        CHECK_TEXT(mm_boot_text_pointer(&window, info.loader), "GRUB 2.06-13+deb12u2");
        CHECK_EQ(info.framebuffer.at.raw, dump[i].framebuffer);
        CHECK_EQ(info.framebuffer.pixels, dump[i].pixels);
        CHECK_EQ(info.ebda.raw, dump[i].ebda);
        CHECK_EQ(info.rsdp_bytes, uefi ? 36 : 20);
        CHECK_EQ(info.efi_bits, uefi ? 64 : 0);
        CHECK_EQ(info.flags, 0);
        CHECK(memcmp(frames + (info.rsdp.raw - low), "RSD PTR ", 8) == 0);
        free(frames);
        free(block);
    }
}

/* Each length is in memory of exactly that length: a read of one byte beyond is a fault. */
TEST(dumps_cut_at_every_length_are_truncated)
{
    for (size_t i = 0; i < LENGTH(dump); i++) {
        struct mm_boot_info info = {0};
        size_t bytes;
        uint8_t *block = dump_read(i, &bytes);

        (void)map_init(&m, ROOM, BITS);
        for (size_t cut = 0; cut < bytes; cut++) {
            mm_test_row(dump[i].name, cut);
            CHECK_ERR(block_read_at(block, cut, mm_phys(dump[i].at), &m.map, &info, NULL),
                      MM_ERR_TRUNCATED);
        }
        CHECK_EQ(m.map.count, 0);
        free(block);
    }
}

/* And the loader's total size says so too: now it is the tags that end too early. */
TEST(dumps_whose_total_size_is_cut_are_malformed)
{
    for (size_t i = 0; i < LENGTH(dump); i++) {
        struct mm_boot_info info = {0};
        struct mm_boot_fault fault;
        size_t bytes;
        uint8_t *block = dump_read(i, &bytes);

        (void)map_init(&m, ROOM, BITS);
        for (uint32_t cut = 8; cut < bytes; cut++) {
            mm_test_row(dump[i].name, cut);
            memcpy(block, &cut, 4);
            memset(&fault, 0, sizeof fault);
            CHECK_ERR(block_read_at(block, cut, mm_phys(dump[i].at), &m.map, &info, &fault),
                      MM_ERR_MALFORMED);
            CHECK(fault.what != NULL);
        }
        CHECK_EQ(m.map.count, 0);
        free(block);
    }
}

/* Read a damaged block after the usual reservations. Whatever it says now, the call ends, stays
 * inside the block, and what was reserved stays so. */
static bool damaged_block_is_harmless(const uint8_t *block, size_t bytes, uint64_t at)
{
    struct mm_boot_info info = {0};
    enum mm_err err;

    (void)map_init(&m, ROOM, BITS);
    reserve_first();
    err = block_read_at(block, bytes, mm_phys(at), &m.map, &info, NULL);
    CHECK(err == MM_OK || err == MM_ERR_MALFORMED || err == MM_ERR_TRUNCATED ||
          err == MM_ERR_NOT_FOUND);
    CHECK_EQ(map_faults(&m.map), 0);
    if (err == MM_OK && mm_memmap_finish(&m.map) == MM_OK) {
        CHECK_EQ(map_faults(&m.map), 0);
        map_keeps(&m.map, at, at + info.block_bytes);
    }
    map_keeps(&m.map, 0, 4096);
    map_keeps(&m.map, 0xa0000, 0x100000);
    map_keeps(&m.map, IMAGE_START, IMAGE_END);
    mm_test_reports_clear();
    return err == MM_OK;
}

/* Every byte of the small dumps, a random sample of the large ones. */
TEST(dumps_with_one_byte_changed_are_harmless)
{
    static const uint8_t change[] = {0x01, 0x80, 0xff, 0x10};
    unsigned whole = 0, tried = 0;

    for (size_t i = 0; i < LENGTH(dump); i++) {
        size_t bytes;
        uint8_t *block = dump_read(i, &bytes);
        size_t most = dump[i].name[0] == 'u' ? 50 : 0;

        for (size_t n = 0; n < (most != 0 ? most : bytes); n++) {
            size_t o = most != 0 ? mm_test_below(bytes) : n;
            uint8_t before = block[o];

            mm_test_row(dump[i].name, o);
            block[o] = before ^ change[mm_test_below(LENGTH(change))];
            whole += damaged_block_is_harmless(block, bytes, dump[i].at) ? 1 : 0;
            block[o] = mm_test_below(2) ? 0 : 0xff;
            whole += damaged_block_is_harmless(block, bytes, dump[i].at) ? 1 : 0;
            tried += 2;
            block[o] = before;
        }
        free(block);
    }
    /* Most bytes are data, so most blocks are still read; some bytes are framing. */
    mm_test_row("of", tried);
    CHECK(whole > tried / 4 && whole < tried);
}

/* The framing and the maps' headers, with every value of each byte. */
TEST(dumps_with_any_value_in_a_size_are_harmless)
{
    static const size_t which[] = {0, 8};

    for (size_t w = 0; w < LENGTH(which); w++) {
        size_t i = which[w], bytes;
        uint8_t *block = dump_read(i, &bytes);

        for (size_t o = 8; o < bytes; o += (word(block + o + 4, 4) + 7) / 8 * 8) {
            for (size_t at = o; at < o + 16 && at < bytes; at++) {
                uint8_t before = block[at];

                mm_test_row(dump[i].name, at);
                for (unsigned value = 0; value < 256; value += w == 0 ? 1 : 83) {
                    block[at] = (uint8_t)value;
                    (void)damaged_block_is_harmless(block, bytes, dump[i].at);
                }
                block[at] = before;
            }
        }
        free(block);
    }
}

/* Several faults at once, and random words of the kind that break arithmetic. */
TEST(dumps_with_random_words_are_harmless)
{
    static const uint32_t bad[] = {0, 1, 7, 8, 24, 40, 4096, 0x7fffffff, 0xfffffff8, 0xffffffff};

    for (unsigned round = 0; round < 1500; round++) {
        size_t i = mm_test_below(round % 8 == 0 ? LENGTH(dump) : 6), bytes;
        uint8_t *block = dump_read(i, &bytes);

        mm_test_row("round", round);
        for (uint64_t n = 1 + mm_test_below(4); n > 0; n--) {
            uint32_t x =
                mm_test_below(2) ? bad[mm_test_below(LENGTH(bad))] : (uint32_t)mm_test_random();

            memcpy(block + mm_test_below(bytes / 4) * 4, &x, 4);
        }
        (void)damaged_block_is_harmless(block, bytes, dump[i].at);
        free(block);
    }
}
