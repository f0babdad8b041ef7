/*
 * entries_x86_64.h - page-table entries of x86_64, typed from the manual.
 *
 * Intel SDM vol. 3A, 4.5.4: tables 4-15 (PML4E), 4-16 (1-GByte page), 4-17 (PDPTE), 4-18 (2-MByte
 * page), 4-19 (PDE), 4-20 (4-KByte page): P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7 (PAT in
 * a 4-KByte page), G 8, PAT of large pages 12, address up to 51, XD 63. 11.12: PAT.
 */
#ifndef ENTRIES_X86_64_H
#define ENTRIES_X86_64_H

#include "port_entries.h"

#define R    MM_PROT_READ
#define RW   MM_PROT_RW
#define RX   MM_PROT_RX
#define RWX  (MM_PROT_RW | MM_PROT_EXEC)
#define RU   (MM_PROT_READ | MM_PROT_USER)
#define RWU  (MM_PROT_RW | MM_PROT_USER)
#define RXU  (MM_PROT_RX | MM_PROT_USER)
#define RWXU (MM_PROT_RW | MM_PROT_EXEC | MM_PROT_USER)
#define WB   MM_MEMTYPE_WB
#define WT   MM_MEMTYPE_WT
#define UCM  MM_MEMTYPE_UC_MINUS
#define UC   MM_MEMTYPE_UC
#define WP   MM_MEMTYPE_WP
#define WC   MM_MEMTYPE_WC
#define G    MM_LEAF_GLOBAL

static const struct leaf_row leaf_rows[] = {
    /* rights, 4 KiB */
    {0x8000000000001001, 0x1000, 1, R, WB, 0},
    {0x8000000000001003, 0x1000, 1, RW, WB, 0},
    {0x0000000000001001, 0x1000, 1, RX, WB, 0},
    {0x0000000000001003, 0x1000, 1, RWX, WB, 0},
    {0x8000000000001005, 0x1000, 1, RU, WB, 0},
    {0x8000000000001007, 0x1000, 1, RWU, WB, 0},
    {0x0000000000001005, 0x1000, 1, RXU, WB, 0},
    {0x0000000000001007, 0x1000, 1, RWXU, WB, 0},
    /* rights, 2 MiB */
    {0x8000000000200081, 0x200000, 2, R, WB, 0},
    {0x8000000000200083, 0x200000, 2, RW, WB, 0},
    {0x0000000000200081, 0x200000, 2, RX, WB, 0},
    {0x0000000000200083, 0x200000, 2, RWX, WB, 0},
    {0x8000000000200085, 0x200000, 2, RU, WB, 0},
    {0x8000000000200087, 0x200000, 2, RWU, WB, 0},
    {0x0000000000200085, 0x200000, 2, RXU, WB, 0},
    {0x0000000000200087, 0x200000, 2, RWXU, WB, 0},
    /* rights, 1 GiB */
    {0x8000000040000081, 0x40000000, 3, R, WB, 0},
    {0x8000000040000083, 0x40000000, 3, RW, WB, 0},
    {0x0000000040000081, 0x40000000, 3, RX, WB, 0},
    {0x0000000040000083, 0x40000000, 3, RWX, WB, 0},
    {0x8000000040000085, 0x40000000, 3, RU, WB, 0},
    {0x8000000040000087, 0x40000000, 3, RWU, WB, 0},
    {0x0000000040000085, 0x40000000, 3, RXU, WB, 0},
    {0x0000000040000087, 0x40000000, 3, RWXU, WB, 0},
    /* memory types: PAT index 0 to 5; its third bit is bit 7 in a 4-KiB page, else bit 12 */
    {0x8000000000007003, 0x7000, 1, RW, WB, 0},
    {0x800000000000700b, 0x7000, 1, RW, WT, 0},
    {0x8000000000007013, 0x7000, 1, RW, UCM, 0},
    {0x800000000000701b, 0x7000, 1, RW, UC, 0},
    {0x8000000000007083, 0x7000, 1, RW, WP, 0},
    {0x800000000000708b, 0x7000, 1, RW, WC, 0},
    {0x8000000000600083, 0x600000, 2, RW, WB, 0},
    {0x800000000060008b, 0x600000, 2, RW, WT, 0},
    {0x8000000000600093, 0x600000, 2, RW, UCM, 0},
    {0x800000000060009b, 0x600000, 2, RW, UC, 0},
    {0x8000000000601083, 0x600000, 2, RW, WP, 0},
    {0x800000000060108b, 0x600000, 2, RW, WC, 0},
    {0x80000000c0000083, 0xc0000000, 3, RW, WB, 0},
    {0x80000000c000008b, 0xc0000000, 3, RW, WT, 0},
    {0x80000000c0000093, 0xc0000000, 3, RW, UCM, 0},
    {0x80000000c000009b, 0xc0000000, 3, RW, UC, 0},
    {0x80000000c0001083, 0xc0000000, 3, RW, WP, 0},
    {0x80000000c000108b, 0xc0000000, 3, RW, WC, 0},
    /* global */
    {0x8000000000005101, 0x5000, 1, R, WB, G},
    {0x8000000000005103, 0x5000, 1, RW, WB, G},
    {0x0000000000005101, 0x5000, 1, RX, WB, G},
    {0x8000000000800181, 0x800000, 2, R, WB, G},
    {0x8000000000800183, 0x800000, 2, RW, WB, G},
    {0x0000000000800181, 0x800000, 2, RX, WB, G},
    {0x8000000080000181, 0x80000000, 3, R, WB, G},
    {0x8000000080000183, 0x80000000, 3, RW, WB, G},
    {0x0000000080000181, 0x80000000, 3, RX, WB, G},
    /* addresses: the first, beyond 4 GiB, the last with 46 and with 52 bits */
    {0x8000000000000001, 0x0, 1, R, WB, 0},
    {0x8000000000000081, 0x0, 2, R, WB, 0},
    {0x8000000000000081, 0x0, 3, R, WB, 0},
    {0x8000000100000003, 0x100000000, 1, RW, WB, 0},
    {0x8000000100000083, 0x100000000, 2, RW, WB, 0},
    {0x8000000100000083, 0x100000000, 3, RW, WB, 0},
    {0x80003ffffffff003, 0x3ffffffff000, 1, RW, WB, 0},
    {0x80003fffffe00083, 0x3fffffe00000, 2, RW, WB, 0},
    {0x80003fffc0000083, 0x3fffc0000000, 3, RW, WB, 0},
    {0x800ffffffffff003, 0xffffffffff000, 1, RW, WB, 0},
    {0x800fffffffe00083, 0xfffffffe00000, 2, RW, WB, 0},
    {0x800fffffc0000083, 0xfffffc0000000, 3, RW, WB, 0},
    /* several at once */
    {0x8000000fedcbb18f, 0xfedcbb000, 1, RWU, WC, G},
    {0x000000123440018d, 0x1234400000, 2, RXU, WT, G},
    {0x80000000fd00108d, 0xfd000000, 2, RU, WC, 0},
    {0x8000003fc000009b, 0x3fc0000000, 3, RW, UC, 0},
    {0x8000003fc0000193, 0x3fc0000000, 3, RW, UCM, G},
    {0, 0, 0, 0, WB, 0},
};

static const struct table_row table_rows[] = {
    {0x0000000000001003, 0x1000, 2, false},
    {0x0000000000001007, 0x1000, 2, true},
    {0x0000000000000003, 0x0, 2, false},
    {0x0000000100000003, 0x100000000, 2, false},
    {0x00003ffffffff007, 0x3ffffffff000, 2, true},
    {0x000ffffffffff003, 0xffffffffff000, 2, false},
    {0x000ffffffffff007, 0xffffffffff000, 2, true},
    {0, 0, 0, false},
};

static const struct decode_row decode_rows[] = {
    {0x8000000000001021, 1, 0x1000, R, WB, true, false, false},
    {0x8000000000001063, 1, 0x1000, RW, WB, true, true, false},
    {0x8000000000001163, 1, 0x1000, RW, WB, true, true, true},
    {0x80000000002000e3, 2, 0x200000, RW, WB, true, true, false},
    {0x80000000400001e3, 3, 0x40000000, RW, WB, true, true, true},
    /* PAT bit set: address, no right, changes with it */
    {0x00000000002010e3, 2, 0x200000, RWX, WP, true, true, false},
    {0x00000000400010fb, 3, 0x40000000, RWX, UC, true, true, false},
    /* PAT indices 6 and 7 repeat 2 and 3 */
    {0x8000000000001093, 1, 0x1000, RW, UCM, false, false, false},
    {0x800000000000109b, 1, 0x1000, RW, UC, false, false, false},
    {0x8000000000201093, 2, 0x200000, RW, UCM, false, false, false},
    {0x800000000020109b, 2, 0x200000, RW, UC, false, false, false},
    {0x8000000040001093, 3, 0x40000000, RW, UCM, false, false, false},
    {0x800000004000109b, 3, 0x40000000, RW, UC, false, false, false},
    /* ignored bits: 9 to 11, 52 to 58 (58 remembers D), protection key 59 to 62 */
    {0x8000000000001e01, 1, 0x1000, R, WB, false, false, false},
    {0x83f0000000001001, 1, 0x1000, R, WB, false, false, false},
    {0x8400000000001021, 1, 0x1000, R, WB, true, true, false},
    {0xf800000000001001, 1, 0x1000, R, WB, false, false, false},
    {0xfbf0000000200e81, 2, 0x200000, R, WB, false, false, false},
    {0, 0, 0, 0, WB, false, false, false},
};

static const struct absent_row absent_rows[] = {
    {0x0000000000000000, 1, true},
    {0x0000000000000020, 1, true},
    {0x0000000000000040, 2, true},
    {0x0000000000000060, 3, true},
    {0x0000000000000080, 2, false},
    {0x0000000000000002, 1, false},
    {0x0000000000001000, 1, false},
    {0x8000000000000000, 4, false},
    {0xfffffffffffffffe, 2, false},
    {0x0000000000200082, 2, false},
    {0, 0, false},
};

/* Present, but no level has such a size (tables 4-14 to 4-16: PS is reserved in PML5E and PML4E). */
static const struct reserved_row strange_rows[] = {
    {0x0000000000001083, 4, 46, true, 0x80},
    {0x80000000401010e7, 4, 46, true, 0x80},
    {0x0000000000001083, 5, 46, true, 0x80},
    {0, 0, 0, false, 0},
};

static const struct reserved_row reserved_rows[] = {
    /* XD where EFER.NXE = 0 */
    {0x8000000000001003, 1, 46, true, 0},
    {0x8000000000001003, 1, 46, false, 0x8000000000000000},
    {0x8000000000001003, 4, 46, false, 0x8000000000000000},
    {0x0000000000001003, 1, 46, false, 0},
    /* address bits from MAXPHYADDR to 51 */
    {0x0000400000001003, 1, 46, true, 0x0000400000000000},
    {0x0000400000001003, 1, 47, true, 0},
    {0x0000400000001003, 4, 46, true, 0x0000400000000000},
    {0x000ffffffffff003, 1, 36, true, 0x000ffff000000000},
    {0x000ffffffffff003, 1, 52, true, 0},
    {0x0008000000200083, 2, 51, true, 0x0008000000000000},
    /* PS at levels 4 and 5 */
    {0x0000000000001083, 4, 46, true, 0x80},
    {0x0000000000001083, 5, 46, true, 0x80},
    {0x0000000000001003, 5, 46, true, 0},
    {0x0000000000001083, 1, 46, true, 0}, /* PAT there */
    /* below the address of a large page, PAT (12) apart */
    {0x0000000000201083, 2, 46, true, 0},
    {0x0000000000202083, 2, 46, true, 0x2000},
    {0x0000000000300083, 2, 46, true, 0x100000},
    {0x00000000003ff083, 2, 46, true, 0x1fe000},
    {0x0000000040001083, 3, 46, true, 0},
    {0x0000000040002083, 3, 46, true, 0x2000},
    {0x0000000040200083, 3, 46, true, 0x200000},
    {0x0000000060000083, 3, 46, true, 0x20000000},
    /* tables have them as address */
    {0x00000000003ff003, 2, 46, true, 0},
    {0x000000007ffff003, 3, 46, true, 0},
    /* all is free where P = 0 */
    {0xfffffffffffffffe, 1, 36, false, 0},
    {0xfffffffffffffffe, 4, 36, false, 0},
    {0, 0, 0, false, 0},
};

static const struct geometry_row geometry_rows[] = {
    {1, 12, 0x1000},       {2, 21, 0x200000},        {3, 30, 0x40000000},
    {4, 39, 0x8000000000}, {5, 48, 0x1000000000000}, {0, 0, 0},
};

static const struct index_row index_rows[] = {
    {0x0000000000000000, 1, 0},
    {0x0000000000000fff, 1, 0},
    {0x0000000000001000, 1, 1},
    {0x00000000001ff000, 1, 511},
    {0x0000000000200000, 1, 0},
    {0x00000000001fffff, 2, 0},
    {0x0000000000200000, 2, 1},
    {0x000000003fffffff, 2, 511},
    {0x0000000040000000, 3, 1},
    {0x0000007fffffffff, 3, 511},
    {0x0000008000000000, 4, 1},
    {0x00007fffffffffff, 4, 255},
    {0xffff800000000000, 4, 256},
    {0xffffffff80000000, 4, 511},
    {0xffffffff80000000, 3, 510},
    {0xffffffff80000000, 2, 0},
    {0xffff900000000000, 4, 288},
    {0x00007fffffffffff, 5, 0},
    {0x0001000000000000, 5, 1},
    {0x00ffffffffffffff, 5, 255},
    {0xff00000000000000, 5, 256},
    {0xffff800000000000, 5, 511},
    {0, 0, 0},
};

static const struct canonical_row canonical_rows[] = {
    {0x0000000000000000, 4, true, false},
    {0x00007fffffffffff, 4, true, false},
    {0x0000800000000000, 4, false, false},
    {0x0001000000000000, 4, false, false},
    {0x7fffffffffffffff, 4, false, false},
    {0x8000000000000000, 4, false, true},
    {0xffff7fffffffffff, 4, false, true},
    {0xfffeffffffffffff, 4, false, true},
    {0xffff800000000000, 4, true, true},
    {0xffffffffffffffff, 4, true, true},
    {0x0000000000000000, 5, true, false},
    {0x0000800000000000, 5, true, false},
    {0x00ffffffffffffff, 5, true, false},
    {0x0100000000000000, 5, false, false},
    {0x7fffffffffffffff, 5, false, false},
    {0x8000000000000000, 5, false, true},
    {0xfeffffffffffffff, 5, false, true},
    {0xff00000000000000, 5, true, true},
    {0xffff7fffffffffff, 5, true, true},
    {0xffffffffffffffff, 5, true, true},
    {0, 0, false, false},
};

static const struct split_row split_rows[] = {
    /* 2 MiB into 4 KiB: PS goes, PAT moves from 12 to 7 */
    {0x8000000000200083, 2, 0, 0x8000000000200003},
    {0x8000000000200083, 2, 511, 0x80000000003ff003},
    {0x80000000002001e3, 2, 1, 0x8000000000201163},
    {0x0000000000200085, 2, 256, 0x0000000000300005},
    {0x800000000020009b, 2, 5, 0x800000000020501b},
    {0x8000000000201083, 2, 0, 0x8000000000200083},
    {0x800000000020108b, 2, 2, 0x800000000020208b},
    {0x800000000020119b, 2, 3, 0x800000000020319b},
    {0x800fffffffe00083, 2, 511, 0x800ffffffffff003},
    /* 1 GiB into 2 MiB: PS and PAT stay where they are */
    {0x8000000040000083, 3, 0, 0x8000000040000083},
    {0x8000000040000083, 3, 1, 0x8000000040200083},
    {0x8000000040000083, 3, 511, 0x800000007fe00083},
    {0x800000004000108b, 3, 3, 0x800000004060108b},
    {0x00000000400001e7, 3, 2, 0x00000000404001e7},
    /* software bits go along */
    {0x8400000000200681, 2, 1, 0x8400000000201601},
    {0x8400000040000681, 3, 1, 0x8400000040200681},
    {0, 0, 0, 0},
};

static const struct prot_row prot_rows[] = {
    {0x8000000000001023, 1, R, 0x8000000000001021},
    {0x8000000000001021, 1, RW, 0x8000000000001023},
    {0x8000000000001021, 1, RX, 0x0000000000001021},
    {0x0000000000001021, 1, R, 0x8000000000001021},
    {0x8000000000001003, 1, RWU, 0x8000000000001007},
    {0x8000000000001007, 1, RW, 0x8000000000001003},
    /* D never stays where W goes (a shadow stack would be made): bit 58 remembers it */
    {0x8000000000001063, 1, R, 0x8400000000001021},
    {0x8000000000001063, 1, RX, 0x0400000000001021},
    {0x8400000000001021, 1, RX, 0x0400000000001021},
    {0x8400000000001021, 1, RW, 0x8000000000001063},
    {0x8000000000001063, 1, RW, 0x8000000000001063},
    {0x8000000000001061, 1, R, 0x8400000000001021},
    /* memory type, G, frame and software bits stay */
    {0x80000000002011cb, 2, R, 0x8400000000201189},
    {0x8400000000201189, 2, RWU, 0x80000000002011cf},
    {0x8000000000001683, 1, R, 0x8000000000001681},
    {0x80000000c000119b, 3, RX, 0x00000000c0001199},
    {0, 0, 0, 0},
};

static const struct value_row value_rows[] = {
    /* SDM vol. 3A, table 11-10: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC- */
    {"PAT 0: WB", MM_PAT_VALUE & 0xff, 0x06},
    {"PAT 1: WT", MM_PAT_VALUE >> 8 & 0xff, 0x04},
    {"PAT 2: UC-", MM_PAT_VALUE >> 16 & 0xff, 0x07},
    {"PAT 3: UC", MM_PAT_VALUE >> 24 & 0xff, 0x00},
    {"PAT 4: WP", MM_PAT_VALUE >> 32 & 0xff, 0x05},
    {"PAT 5: WC", MM_PAT_VALUE >> 40 & 0xff, 0x01},
    {"PAT 6: UC-", MM_PAT_VALUE >> 48 & 0xff, 0x07},
    {"PAT 7: UC", MM_PAT_VALUE >> 56 & 0xff, 0x00},
    {"entries per table", MM_PT_ENTRIES, 512},
    {"bytes per entry", sizeof(mm_pte_t), 8},
    {"levels", MM_PT_LEVELS_MAX, 5},
    {"highest leaf", MM_PT_LEAF_LEVEL_MAX, 3},
    {NULL, 0, 0},
};

#endif
