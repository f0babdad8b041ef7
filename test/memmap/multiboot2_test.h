/*
 * multiboot2_test.h - one block, what reading it gave, and the check of a refusal.
 */
#ifndef MULTIBOOT2_TEST_H
#define MULTIBOOT2_TEST_H

#include "block.h"

#define BITS 48u
#define AT   UINT64_C(0x33c390) /* 8-byte aligned, as boot loaders place it */

static struct map m;
static struct block b;
static struct mm_boot_info info;
static struct mm_boot_fault fault;

static inline enum mm_err read_block(void)
{
    (void)map_init(&m, ROOM, BITS);
    memset(&info, 0, sizeof info);
    memset(&fault, 0, sizeof fault);
    return block_read_at(b.bytes, b.n, mm_phys(AT), &m.map, &info, &fault);
}

/* A block with a small memory map and whatever is added. */
static inline void begin(void)
{
    block_begin(&b);
    map_begin(&b);
    map_entry(&b, 0, 0x9fc00, 1);
    map_entry(&b, MIB(1), MIB(63), 1);
    tag_end(&b);
}

/* The error, its words, tag and place. The map is thrown away; info is untouched. */
static inline void refused(enum mm_err err, const char *what, uint32_t tag, uint64_t offset)
{
    static const struct mm_boot_info none;

    CHECK_ERR(read_block(), err);
    CHECK_TEXT(fault.what, what);
    CHECK_EQ(fault.tag, tag);
    CHECK_EQ(fault.offset, offset);
    CHECK(memcmp(&info, &none, sizeof info) == 0);
    CHECK_EQ(map_faults(&m.map), 0);
    CHECK_ERR(block_read_at(b.bytes, b.n, mm_phys(AT), &m.map, &info, NULL), err);
}

#endif
