/*
 * test_multiboot2_tags.c - blocks built by hand: modules, texts, framebuffer, tables.
 */
#include "multiboot2_test.h"

static void module(uint32_t start, uint32_t end, const char *text)
{
    tag_begin(&b, 3);
    put32(&b, start);
    put32(&b, end);
    put_text(&b, text);
    tag_end(&b);
}

TEST(multiboot2_modules_are_reserved_and_listed)
{
    struct mm_boot_module list[2];

    begin();
    module(0x200000, 0x201388, "initrd arg");
    module(0x400000, 0x400000, ""); /* empty */
    module(0x500001, 0x500002, "x");
    block_end(&b);
    (void)map_init(&m, ROOM, BITS);
    memset(&info, 0, sizeof info);
    info.module = list;
    info.module_capacity = 2;
    CHECK_OK(block_read_at(b.bytes, b.n, mm_phys(AT), &m.map, &info, NULL));
    CHECK_EQ(info.module_count, 3); /* the third is reserved though there is no room to list it */
    CHECK(info.module == list && info.module_capacity == 2);
    CHECK_EQ(list[0].start.raw, 0x200000);
    CHECK_EQ(list[0].bytes, 0x1388);
    CHECK_EQ(list[0].text.at.raw, AT + 72 + 16);
    CHECK_EQ(list[0].text.bytes, 10);
    CHECK_EQ(list[1].start.raw, 0x400000);
    CHECK_EQ(list[1].bytes, 0);
    CHECK_EQ(list[1].text.bytes, 0);
    MAP_IS(&m.map, {{0, 0x9fc00, MM_MEM_USABLE, 0, 0},
                    {MIB(1), 0x200000, MM_MEM_USABLE, 0, 0},
                    {0x200000, 0x202000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {0x202000, 0x33c000, MM_MEM_USABLE, 0, 0},
                    {0x33c000, 0x33d000, MM_MEM_USABLE, MM_USE_BOOTINFO, 0},
                    {0x33d000, 0x500000, MM_MEM_USABLE, 0, 0},
                    {0x500000, 0x501000, MM_MEM_USABLE, MM_USE_MODULE, 0},
                    {0x501000, MIB(64), MM_MEM_USABLE, 0, 0}});
}

TEST(multiboot2_malformed_modules)
{
    begin();
    module(0x200000, 0x1fffff, "");
    block_end(&b);
    refused(MM_ERR_MALFORMED, "module ends before it starts", 3, 72);
    for (uint32_t bytes = 8; bytes < 17; bytes++) {
        mm_test_row("bytes", bytes);
        begin();
        module(0x200000, 0x201000, "abcdefg");
        tag_cut(&b, bytes);
        block_end(&b);
        refused(MM_ERR_MALFORMED, "module tag size below 17", 3, 72);
    }
    begin();
    module(0x200000, 0x201000, "abcdefg");
    patch32(&b, b.tag + 4, 16 + 7); /* without its NUL */
    block_end(&b);
    refused(MM_ERR_MALFORMED, "text without an end", 3, 72);
    begin();
    module(0x200000, 0x201000, "");
    block_end(&b);
    (void)map_init(&m, ROOM, 20); /* where only 1 MiB exists */
    CHECK_ERR(block_read_at(b.bytes, b.n, mm_phys(0x8000), &m.map, &info, &fault),
              MM_ERR_MALFORMED);
    CHECK_TEXT(fault.what, "module beyond the physical addresses");
    CHECK_EQ(fault.tag, 3);
}

TEST(multiboot2_texts_are_found_and_must_end_in_their_tag)
{
    for (uint32_t type = 1; type <= 2; type++) {
        const struct mm_boot_text *text = type == 1 ? &info.command_line : &info.loader;

        mm_test_row("tag", type);
        begin();
        tag_begin(&b, type);
        put_text(&b, "root=/dev/null");
        tag_end(&b);
        block_end(&b);
        CHECK_OK(read_block());
        CHECK_EQ(text->at.raw, AT + 72 + 8);
        CHECK_EQ(text->bytes, 14);
        for (uint32_t bytes = 8 + 14; bytes >= 8; bytes--) {
            b.tag = 72;
            tag_cut(&b, bytes);
            block_end(&b);
            refused(MM_ERR_MALFORMED, "text without an end", type, 72);
        }
    }
}

TEST(multiboot2_basic_memory_tells_the_ebda)
{
    static const struct {
        uint32_t lower;
        uint64_t ebda;
    } row[] = {
        {639, 0x9fc00}, {640, 0}, {512, 0x80000}, {511, 0}, {636, 0x9f000}, {0, 0}, {UINT32_MAX, 0},
    };

    for (size_t i = 0; i < LENGTH(row); i++) {
        mm_test_row("row", i);
        begin();
        tag_begin(&b, 4);
        put32(&b, row[i].lower);
        put32(&b, 7168);
        tag_end(&b);
        block_end(&b);
        CHECK_OK(read_block());
        CHECK_EQ(info.ebda.raw, row[i].ebda);
    }
    patch32(&b, 72 + 4, 12);
    refused(MM_ERR_MALFORMED, "basic memory tag size below 16", 4, 72);
}

static void framebuffer(uint64_t at, uint32_t pitch, uint32_t height, uint32_t type)
{
    tag_begin(&b, 8);
    put64(&b, at);
    put32(&b, pitch);
    put32(&b, 800);
    put32(&b, height);
    put32(&b, 32 | type << 8);
    put32(&b, 16 | 8 << 8 | 8 << 16 | 7u << 24);
    put32(&b, 0 | 6 << 8);
    b.n -= 2;
    tag_end(&b);
}

TEST(multiboot2_framebuffer_is_described_and_reserved)
{
    begin();
    framebuffer(0xfd000000, 3200, 600, 1);
    block_end(&b);
    CHECK_EQ(b.bytes[72 + 4], 38);
    CHECK_OK(read_block());
    CHECK_EQ(info.framebuffer.at.raw, 0xfd000000);
    CHECK_EQ(info.framebuffer.pitch_bytes, 3200);
    CHECK_EQ(info.framebuffer.width, 800);
    CHECK_EQ(info.framebuffer.height, 600);
    CHECK_EQ(info.framebuffer.bits_per_pixel, 32);
    CHECK_EQ(info.framebuffer.pixels, MM_BOOT_PIXELS_RGB);
    CHECK_EQ(info.framebuffer.red_shift, 16);
    CHECK_EQ(info.framebuffer.red_bits, 8);
    CHECK_EQ(info.framebuffer.green_shift, 8);
    CHECK_EQ(info.framebuffer.green_bits, 7);
    CHECK_EQ(info.framebuffer.blue_shift, 0);
    CHECK_EQ(info.framebuffer.blue_bits, 6);
    CHECK_EQ(m.map.count, 5);
    CHECK_EQ(m.map.range[4].start.raw, 0xfd000000);
    CHECK_EQ(m.map.range[4].bytes, frame_up(3200 * 600));
    CHECK_EQ(m.map.range[4].use, MM_USE_FRAMEBUFFER);
    CHECK_EQ(m.map.range[4].type, MM_MEM_NONE);
}

TEST(multiboot2_framebuffers_of_other_kinds)
{
    begin();
    framebuffer(0xb8000, 160, 25, 2);
    patch32(&b, 72 + 4, 32); /* loaders give 32, the specification 31 */
    block_end(&b);
    patch32(&b, 72 + 4, 38);
    CHECK_OK(read_block());
    CHECK_EQ(info.framebuffer.pixels, MM_BOOT_PIXELS_TEXT);
    CHECK_EQ(info.framebuffer.red_bits, 0);
    CHECK_EQ(m.map.range[1].start.raw, 0xb8000);
    CHECK_EQ(m.map.range[1].bytes, FRAME);
    begin();
    framebuffer(0xfd000000, 800, 600, 0);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.framebuffer.pixels, MM_BOOT_PIXELS_INDEXED);
    begin();
    framebuffer(0xfd000000, 0, 600, 0); /* no pixels: reserves nothing */
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(m.map.count, 4);
}

TEST(multiboot2_malformed_framebuffers)
{
    begin();
    framebuffer(0xfd000000, 3200, 600, 3);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "framebuffer of an unknown type", 8, 72);
    begin();
    framebuffer(0xfd000000, 3200, 600, 1);
    block_end(&b);
    for (uint32_t bytes = 33; bytes < 38; bytes++) {
        patch32(&b, 72 + 4, bytes);
        refused(MM_ERR_MALFORMED, "framebuffer tag without its colours", 8, 72);
    }
    begin();
    tag_begin(&b, 8);
    put64(&b, 0xb8000);
    put64(&b, 160);
    put32(&b, 25);
    put32(&b, 2 << 8);
    patch32(&b, b.tag + 4, 30);
    b.n = b.tag + 32;
    block_end(&b);
    refused(MM_ERR_MALFORMED, "framebuffer tag size below 31", 8, 72);
    begin();
    framebuffer(UINT64_MAX - 100, 3200, 600, 1); /* wraps */
    block_end(&b);
    refused(MM_ERR_MALFORMED, "framebuffer beyond the physical addresses", 8, 72);
    begin();
    framebuffer(0xfd000000, UINT32_MAX, UINT32_MAX, 1); /* almost 2^64 bytes */
    block_end(&b);
    refused(MM_ERR_MALFORMED, "framebuffer beyond the physical addresses", 8, 72);
}

static void rsdp(uint32_t type, uint32_t bytes)
{
    tag_begin(&b, type);
    for (uint32_t i = 0; i < bytes; i += 4)
        put32(&b, 0x20445352);
    tag_end(&b);
}

TEST(multiboot2_better_root_pointer_wins_in_both_orders)
{
    begin();
    rsdp(14, 20);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.rsdp.raw, AT + 72 + 8);
    CHECK_EQ(info.rsdp_bytes, 20);
    begin();
    rsdp(14, 20);
    rsdp(15, 36);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.rsdp.raw, AT + 72 + 32 + 8);
    CHECK_EQ(info.rsdp_bytes, 36);
    begin();
    rsdp(15, 36);
    rsdp(14, 20);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.rsdp.raw, AT + 72 + 8);
    CHECK_EQ(info.rsdp_bytes, 36);
    begin();
    rsdp(14, 16);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "ACPI tag smaller than a root pointer", 14, 72);
    begin();
    rsdp(15, 32);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "ACPI tag smaller than a root pointer", 15, 72);
}

TEST(multiboot2_efi_system_table)
{
    begin();
    tag_begin(&b, 12);
    put64(&b, UINT64_C(0x123456789000));
    tag_end(&b);
    block_end(&b);
    CHECK_OK(read_block());
    CHECK_EQ(info.efi_bits, 64);
    CHECK_EQ(info.efi_system_table.raw, UINT64_C(0x123456789000));
    patch32(&b, 72 + 4, 12);
    refused(MM_ERR_MALFORMED, "EFI system table tag without a pointer", 12, 72);
    patch32(&b, 72, 11);
    CHECK_OK(read_block());
    CHECK_EQ(info.efi_bits, 32);
    CHECK_EQ(info.efi_system_table.raw, 0x56789000);
    b.tag = 72;
    tag_cut(&b, 8);
    block_end(&b);
    refused(MM_ERR_MALFORMED, "EFI system table tag without a pointer", 11, 72);
}
