/*
 * baseline_bitmap.c - a bitmap scanned 64 frames at a time from a hint, behind a spinlock.
 *
 * Problem     The simple allocator with the least metadata that is not slow.
 * Idea        Bit 1 = free. The next search goes on where the last one ended ("next fit"). Blocks up
 *             to order 5 lie in one word and are found by folding it onto itself, larger ones are
 *             runs of full words.
 * Invariants  Bits at and above `count` are 0.
 * Locking     One lock for everything.
 * Cost        One locked exchange per call, and the search: short while free frames are anywhere
 *             near, O(frames / 64) at worst and for blocks that are not there. 1 bit per frame.
 * Rejected    A search from the start each time: baseline_scan.c.
 */
#include "allocator.h"

#include <string.h>

#include "../common/host.h"
#include "../common/spinlock.h"

#define WORD_ORDER 6u /* a word is a block of 64 frames */

struct bitmap {
    struct spinlock lock;
    uint32_t first, count;
    size_t words, hint;
    uint64_t *word;
};

static size_t words_for(const struct ram *ram)
{
    return ((size_t)ram->count + 63) / 64;
}

static size_t bitmap_bytes(const struct ram *ram, unsigned cpus)
{
    (void)cpus;
    return sizeof(struct bitmap) + words_for(ram) * sizeof(uint64_t);
}

static void *bitmap_prepare(const struct memory *memory, const struct ram *ram, unsigned cpus)
{
    struct bitmap *bitmap = memory->start;

    (void)cpus;
    *bitmap = (struct bitmap){.first = ram->first,
                              .count = ram->count,
                              .words = words_for(ram),
                              .word = (uint64_t *)(bitmap + 1)};
    return bitmap;
}

static void bitmap_build(void *self)
{
    struct bitmap *bitmap = self;

    bitmap->hint = 0;
    memset(bitmap->word, 0xff, bitmap->words * sizeof(uint64_t));
    if (bitmap->count % 64 != 0)
        bitmap->word[bitmap->words - 1] = (UINT64_C(1) << bitmap->count % 64) - 1;
}

__attribute__((noipa)) static bool bitmap_alloc(struct bitmap *bitmap, mm_phys_t *out)
{
    size_t at, left = bitmap->words;
    bool found = false;

    spinlock_take(&bitmap->lock);
    for (at = bitmap->hint; left > 0; left--) {
        uint64_t word = bitmap->word[at];

        if (word != 0) {
            *out = mm_frame_phys(bitmap->first + at * 64 + (unsigned)__builtin_ctzll(word));
            bitmap->word[at] = word & (word - 1);
            bitmap->hint = at;
            found = true;
            break;
        }
        if (++at == bitmap->words)
            at = 0;
    }
    spinlock_release(&bitmap->lock);
    return found;
}

/* A bit that is set already is a double free. */
__attribute__((noipa)) static void bitmap_free(struct bitmap *bitmap, mm_phys_t frame)
{
    uint32_t bit = (uint32_t)mm_frame_of(frame) - bitmap->first;
    uint64_t mask = UINT64_C(1) << bit % 64;

    spinlock_take(&bitmap->lock);
    if (bitmap->word[bit / 64] & mask)
        die("bitmap: double free");
    bitmap->word[bit / 64] |= mask;
    spinlock_release(&bitmap->lock);
}

/* The lowest bits of the free aligned blocks of 2^order frames in `word`; order 0 to 5. */
static uint64_t blocks_of(uint64_t word, unsigned order)
{
    static const uint64_t aligned[] = {
        UINT64_MAX,
        UINT64_C(0x5555555555555555),
        UINT64_C(0x1111111111111111),
        UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001),
        UINT64_C(0x0000000100000001),
    };

    for (unsigned k = 0; k < order; k++)
        word &= word >> (1u << k);
    return word & aligned[order];
}

static bool small_block(struct bitmap *bitmap, unsigned order, uint32_t *out)
{
    size_t at = bitmap->hint;

    for (size_t left = bitmap->words; left > 0; left--) {
        uint64_t blocks = blocks_of(bitmap->word[at], order);

        if (blocks != 0) {
            unsigned bit = (unsigned)__builtin_ctzll(blocks);

            bitmap->word[at] &= ~(((UINT64_C(1) << (1u << order)) - 1) << bit);
            bitmap->hint = at;
            *out = (uint32_t)(at * 64 + bit);
            return true;
        }
        if (++at == bitmap->words)
            at = 0;
    }
    return false;
}

static bool words_are_full(const uint64_t *word, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (word[i] != UINT64_MAX)
            return false;
    return true;
}

/* `ram` begins at a multiple of 4 GiB, so aligned words are aligned frames up to order 18. */
static bool large_block(struct bitmap *bitmap, unsigned order, uint32_t *out)
{
    size_t length = (size_t)1 << (order - WORD_ORDER);
    size_t blocks = bitmap->words / length;
    size_t at = bitmap->hint / length;

    for (size_t left = blocks; left > 0; left--, at++) {
        if (at >= blocks)
            at = 0;
        if (!words_are_full(bitmap->word + at * length, length))
            continue;
        memset(bitmap->word + at * length, 0, length * sizeof(uint64_t));
        bitmap->hint = at * length;
        *out = (uint32_t)(at * length * 64);
        return true;
    }
    return false;
}

__attribute__((noipa)) static bool bitmap_alloc_block(struct bitmap *bitmap, unsigned order,
                                                      mm_phys_t *out)
{
    uint32_t bit = 0;
    bool found;

    spinlock_take(&bitmap->lock);
    found =
        order < WORD_ORDER ? small_block(bitmap, order, &bit) : large_block(bitmap, order, &bit);
    spinlock_release(&bitmap->lock);
    if (found)
        *out = mm_frame_phys(bitmap->first + bit);
    return found;
}

__attribute__((noipa)) static void bitmap_free_block(struct bitmap *bitmap, unsigned order,
                                                     mm_phys_t first)
{
    uint32_t bit = (uint32_t)mm_frame_of(first) - bitmap->first;
    uint64_t *word = bitmap->word + bit / 64;

    spinlock_take(&bitmap->lock);
    if (order < WORD_ORDER)
        *word |= ((UINT64_C(1) << (1u << order)) - 1) << bit % 64;
    else
        memset(word, 0xff, ((size_t)1 << (order - WORD_ORDER)) * sizeof(uint64_t));
    spinlock_release(&bitmap->lock);
}

#define LOOP_SELF                           struct bitmap
#define LOOP_ALLOC(self, out)               bitmap_alloc(self, out)
#define LOOP_FREE(self, phys)               bitmap_free(self, phys)
#define LOOP_ALLOC_BLOCK(self, order, out)  bitmap_alloc_block(self, order, out)
#define LOOP_FREE_BLOCK(self, order, first) bitmap_free_block(self, order, first)
#include "loops.h"

const struct allocator baseline_bitmap = {.name = "bitmap",
                                          .bytes = bitmap_bytes,
                                          .metadata_bytes = bitmap_bytes,
                                          .prepare = bitmap_prepare,
                                          .build = bitmap_build,
                                          LOOPS};
