/*
 * block.h - building Multiboot2 blocks by hand, and reading files of test data.
 */
#ifndef BLOCK_H
#define BLOCK_H

#include <stdio.h>

#include "map_test.h"

#include "mm/boot.h"

struct block {
    union {
        uint64_t align;
        uint8_t bytes[32768];
    };
    uint32_t n;   /* bytes so far */
    uint32_t tag; /* offset of the tag that is open */
};

static inline void put32(struct block *b, uint32_t x)
{
    CHECK(b->n + 8 <= sizeof b->bytes);
    for (unsigned i = 0; i < 4; i++)
        b->bytes[b->n++] = (uint8_t)(x >> 8 * i);
}

static inline void put64(struct block *b, uint64_t x)
{
    put32(b, (uint32_t)x);
    put32(b, (uint32_t)(x >> 32));
}

static inline void put_text(struct block *b, const char *text)
{
    do
        b->bytes[b->n++] = (uint8_t)*text;
    while (*text++ != '\0');
}

static inline void patch32(struct block *b, uint32_t at, uint32_t x)
{
    uint32_t n = b->n;

    b->n = at;
    put32(b, x);
    b->n = n;
}

static inline void block_begin(struct block *b)
{
    memset(b, 0, sizeof *b);
    put64(b, 0);
}

static inline void tag_begin(struct block *b, uint32_t type)
{
    b->tag = b->n;
    put32(b, type);
    put32(b, 0);
}

/* Close the tag; the padding is not zero, because nothing promises that it is. */
static inline void tag_end(struct block *b)
{
    patch32(b, b->tag + 4, b->n - b->tag);
    while (b->n % 8 != 0)
        b->bytes[b->n++] = 0x5a;
}

/* Close the tag after `bytes` of what was put, so that what follows still is where it should be. */
static inline void tag_cut(struct block *b, uint32_t bytes)
{
    b->n = b->tag + bytes;
    tag_end(b);
}

static inline void block_end(struct block *b)
{
    tag_begin(b, 0);
    tag_end(b);
    patch32(b, 0, b->n);
}

static inline void map_begin(struct block *b)
{
    tag_begin(b, 6);
    put32(b, 24);
    put32(b, 0);
}

static inline void map_entry(struct block *b, uint64_t start, uint64_t bytes, uint32_t type)
{
    put64(b, start);
    put64(b, bytes);
    put32(b, type);
    put32(b, 0);
}

static inline void efi_begin(struct block *b, uint32_t descriptor_bytes)
{
    tag_begin(b, 17);
    put32(b, descriptor_bytes);
    put32(b, 1);
}

static inline void efi_entry(struct block *b, uint32_t type, uint64_t start, uint64_t pages,
                             uint64_t attributes)
{
    uint32_t step = b->bytes[b->tag + 8];

    put32(b, type);
    put32(b, 0xdeadbeef);
    put64(b, start);
    put64(b, UINT64_C(0xffff800000000000));
    put64(b, pages);
    put64(b, attributes);
    for (uint32_t i = 40; i < step; i += 8)
        put64(b, UINT64_C(0xa5a5a5a5a5a5a5a5));
}

/* Read the block from memory of exactly `limit` bytes, where one byte beyond is a fault. */
static inline enum mm_err block_read_at(const void *bytes, size_t limit, mm_phys_t at,
                                        struct mm_memmap *map, struct mm_boot_info *info,
                                        struct mm_boot_fault *fault)
{
    void *copy = malloc(limit > 0 ? limit : 1);
    enum mm_err err;

    CHECK(copy != NULL);
    memcpy(copy, bytes, limit);
    err = mm_boot_read_multiboot2(copy, limit, at, map, info, fault);
    free(copy);
    return err;
}

/* The contents of a file below test/, where tests run. Free it. */
static inline uint8_t *file_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    uint8_t *contents;
    long end;

    if (file == NULL)
        print_error("%s: run this in the directory test\n", path);
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0);
    rewind(file);
    *bytes = (size_t)end;
    contents = malloc(*bytes + 1);
    CHECK(contents != NULL && fread(contents, 1, *bytes, file) == *bytes);
    contents[*bytes] = 0;
    fclose(file);
    return contents;
}

#endif
