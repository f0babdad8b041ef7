/*
 * memory.h - some physical memory in a window, for readers that follow pointers.
 *
 *     physical 0x10000       0x13000               0x20000 0x21000
 *     | three frames           | (not in the window) | a frame |
 *
 * Each piece is host memory of exactly its size, so that a read of one byte beyond is a fault.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "block.h"

#define BITS      46u
#define FIRST     UINT64_C(0x10000)
#define FIRST_END UINT64_C(0x13000)
#define HIGH      UINT64_C(0x20000)
#define HIGH_END  UINT64_C(0x21000)

static struct map m;
static struct mm_window window;
static struct mm_boot_info info;
static struct mm_boot_fault fault;
static uint8_t *low, *high;

static inline uint8_t *at(uint64_t phys)
{
    return phys < HIGH ? low + (phys - FIRST) : high + (phys - HIGH);
}

static inline void set32(uint64_t phys, uint32_t x)
{
    memcpy(at(phys), &x, 4);
}

static inline void set64(uint64_t phys, uint64_t x)
{
    memcpy(at(phys), &x, 8);
}

static inline void memory_build(void)
{
    free(low);
    free(high);
    low = aligned_alloc(4096, FIRST_END - FIRST);
    high = aligned_alloc(4096, HIGH_END - HIGH);
    CHECK(low != NULL && high != NULL);
    memset(low, 0x77, FIRST_END - FIRST);
    memset(high, 0x77, HIGH_END - HIGH);
    memset(&window, 0, sizeof window);
    CHECK_OK(mm_window_add(&window, mm_phys(FIRST), FIRST_END - FIRST, mm_virt_of(low)));
    CHECK_OK(mm_window_add(&window, mm_phys(HIGH), HIGH_END - HIGH, mm_virt_of(high)));
}

typedef enum mm_err read_fn(const struct mm_window *window, mm_phys_t at, struct mm_memmap *map,
                            struct mm_boot_info *info, struct mm_boot_fault *fault);

static inline enum mm_err memory_read(read_fn *read, uint64_t phys)
{
    (void)map_init(&m, ROOM, BITS);
    memset(&info, 0, sizeof info);
    memset(&fault, 0, sizeof fault);
    return read(&window, mm_phys(phys), &m.map, &info, &fault);
}

/* The error, its words and place. The map is thrown away; info is untouched. */
static inline void memory_refused(read_fn *read, uint64_t phys, enum mm_err err, const char *what,
                                  uint64_t offset)
{
    static const struct mm_boot_info none;

    CHECK_ERR(memory_read(read, phys), err);
    CHECK_TEXT(fault.what, what);
    CHECK_EQ(fault.offset, offset);
    CHECK_EQ(fault.tag, 0);
    CHECK(memcmp(&info, &none, sizeof info) == 0);
    CHECK_EQ(map_faults(&m.map), 0);
    CHECK_ERR(read(&window, mm_phys(phys), map_init(&m, ROOM, BITS), &info, NULL), err);
}

/* Whatever the memory says now: the call ends, stays in the window, and keeps what was reserved. */
static inline void memory_is_harmless(read_fn *read, uint64_t phys)
{
    enum mm_err err;

    (void)map_init(&m, ROOM, BITS);
    CHECK_OK(mm_memmap_reserve(&m.map, mm_phys(MIB(1)), MIB(2), MM_USE_IMAGE));
    memset(&info, 0, sizeof info);
    err = read(&window, mm_phys(phys), &m.map, &info, &fault);
    CHECK(err == MM_OK || err == MM_ERR_WINDOW || err == MM_ERR_MALFORMED ||
          err == MM_ERR_NOT_FOUND);
    CHECK_EQ(map_faults(&m.map), 0);
    map_keeps(&m.map, MIB(1), MIB(3));
    map_keeps(&m.map, phys, phys + info.block_bytes);
    mm_test_reports_clear();
}

/* Each byte of [start, end) with several values. */
static inline void memory_bytes_are_harmless(read_fn *read, uint64_t phys, void (*build)(void),
                                             uint64_t start, uint64_t end)
{
    static const uint8_t value[] = {0, 1, 0x7f, 0x80, 0xff};

    for (uint64_t byte = start; byte < end; byte++) {
        for (size_t v = 0; v < LENGTH(value); v++) {
            mm_test_row("address", byte);
            build();
            *at(byte) = value[v];
            memory_is_harmless(read, phys);
        }
    }
}

#endif
