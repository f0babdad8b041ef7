/*
 * fuzz.h - what the fuzz targets share: checks that stop, and memory whose every byte is input.
 *
 * Problem     A reader must survive anything; a fuzzer finds the anything, if a fault stops it.
 * Idea        Each fuzz_<target>.c has one function over bytes. libFuzzer calls it with inputs that
 *             it makes up, fuzz_main.c with the files of the corpus; the checks are the same.
 * Invariants  A target keeps no state from one input to the next.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mm/boot.h"

#define FUZZ_RANGES 512u
#define FUZZ_BITS   48u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Hard stop with the expression; the sanitizer shows the stack. */
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_failed(const char *file, int line, const char *what);

/* Called before fuzz_failed() and the sanitizers stop. */
void fuzz_on_failure(void (*tell)(void));

/* What mm_host_report() was told since the last clear. */
unsigned fuzz_report_count(void);
const struct mm_report *fuzz_report_last(void);
void fuzz_reports_clear(void);

/* The number at data[at], or 0 beyond the end. */
uint64_t fuzz_number(const uint8_t *data, size_t bytes, size_t at, unsigned width);

/* A map with an image that was reserved before anything is read. */
struct mm_memmap *fuzz_map_begin(uint32_t capacity);

/* What must hold after a reader returned `err`: the map is sound, the image kept, and on success
 * what `info` calls the block, its texts and its root pointer, too. Finishes the map. */
void fuzz_map_end(struct mm_memmap *map, enum mm_err err, const struct mm_boot_info *info,
                  const struct mm_boot_fault *fault);

/* Nothing of [start, start + bytes) can be handed out. */
void fuzz_map_keeps(const struct mm_memmap *map, uint64_t start, uint64_t bytes);

/* Physical memory from FUZZ_MEMORY on, a second piece from FUZZ_HIGH, filled with the input and
 * zero behind it. Host memory of exactly these sizes: a byte beyond is a fault. */
#define FUZZ_MEMORY       UINT64_C(0x10000)
#define FUZZ_MEMORY_BYTES UINT64_C(0x2000)
#define FUZZ_HIGH         UINT64_C(0x20000)
#define FUZZ_HIGH_BYTES   UINT64_C(0x1000)

struct fuzz_memory {
    struct mm_window window;
    uint8_t *low, *high;
};
void fuzz_memory_begin(struct fuzz_memory *memory, const uint8_t *data, size_t bytes);
void fuzz_memory_end(struct fuzz_memory *memory);

#endif
