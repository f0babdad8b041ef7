/*
 * srat.h - building ACPI affinity tables by hand.
 */
#ifndef SRAT_H
#define SRAT_H

#include "block.h"

#define SRAT_ENABLED 1u

static inline void acpi_begin(struct block *b, const char *signature, uint32_t revision)
{
    memset(b, 0, sizeof *b);
    memcpy(b->bytes, signature, 4);
    b->bytes[8] = (uint8_t)revision;
    memcpy(b->bytes + 10, "MMTESTMEMORYMAP", 15);
    b->n = 36;
}

static inline void acpi_sum(struct block *b)
{
    uint8_t sum = 0;

    b->bytes[9] = 0;
    for (uint32_t i = 0; i < b->n; i++)
        sum = (uint8_t)(sum + b->bytes[i]);
    b->bytes[9] = (uint8_t)-sum;
}

static inline void acpi_end(struct block *b)
{
    patch32(b, 4, b->n);
    acpi_sum(b);
}

static inline void srat_begin(struct block *b, uint32_t revision)
{
    acpi_begin(b, "SRAT", revision);
    put32(b, 1);
    put64(b, 0);
}

/* A structure of any other kind: its contents must not matter. */
static inline void srat_other(struct block *b, unsigned type, unsigned bytes)
{
    memset(b->bytes + b->n, 0xff, bytes);
    b->bytes[b->n] = (uint8_t)type;
    b->bytes[b->n + 1] = (uint8_t)bytes;
    b->n += bytes;
}

/* Returns its offset. Reserved fields are not zero, because nothing promises that they are. */
static inline uint32_t srat_memory(struct block *b, uint32_t domain, uint64_t start, uint64_t bytes,
                                   uint32_t flags)
{
    uint32_t at = b->n;

    srat_other(b, 1, 40);
    patch32(b, at + 2, domain);
    b->n = at + 8;
    put64(b, start);
    put64(b, bytes);
    patch32(b, at + 28, flags);
    b->n = at + 40;
    return at;
}

/* Read the table from memory of exactly its size. */
static inline enum mm_err srat_read(const struct block *b, size_t limit, struct mm_memmap *map,
                                    struct mm_numa *numa, struct mm_boot_fault *fault)
{
    uint8_t *copy = malloc(limit + 1);
    enum mm_err err;

    CHECK(copy != NULL);
    memcpy(copy + 1, b->bytes, limit); /* firmware aligns tables to nothing */
    err = mm_numa_read_srat(copy + 1, limit, map, numa, fault);
    free(copy);
    return err;
}

#endif
