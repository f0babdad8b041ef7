/*
 * follow.c - what boot information points to.
 *
 * Problem     Structures of a boot loader hold addresses of lists and texts anywhere in memory; none
 *             has a bound, and texts have not even a length.
 * Idea        The window says how far memory can be read. What was read through it is reserved, so
 *             that it is still there when the kernel looks at it again.
 * Invariants  I1 nothing is read that the window did not grant as one piece
 *             I2 what is found is reserved
 * Locking     The caller serialises on the map.
 * Cost        O(ranges) each; a text also O(its length).
 * Rejected    Texts across pieces of the window: the kernel could not read them as one string.
 */
#include "memmap/reader.h"

#define TEXT_BYTES_MAX UINT64_C(0x10000) /* command lines are at most some KiB */

enum mm_err mm_boot_find(struct mm_boot_reader *reader, mm_phys_t at, uint64_t bytes,
                         const char *what, const uint8_t **out)
{
    void *found;

    if (mm_window_find(reader->window, at, bytes, &found) != MM_OK)
        return mm_boot_fail(reader, MM_ERR_WINDOW, what, 0, at.raw);
    *out = found;
    return mm_boot_reserve(reader, at, bytes, MM_USE_BOOTINFO,
                           "boot information beyond the physical addresses", 0, at.raw);
}

/* The length of the text at `at`. The window's pieces are whole frames: it is asked frame by
 * frame, always from the start, because all of the text must lie in one piece. */
static enum mm_err text_length(struct mm_boot_reader *reader, mm_phys_t at, uint32_t *out)
{
    uint64_t end = 0;

    while (end < TEXT_BYTES_MAX) {
        uint64_t i = end;
        void *found;

        end += MM_FRAME_BYTES - ((at.raw + end) & (MM_FRAME_BYTES - 1));
        if (mm_window_find(reader->window, at, end, &found) != MM_OK)
            return mm_boot_fail(reader, MM_ERR_WINDOW, "text outside the window", 0, at.raw);
        for (; i < end; i++) {
            if (((const uint8_t *)found)[i] == '\0') {
                *out = (uint32_t)i;
                return MM_OK;
            }
        }
    }
    return mm_boot_fail(reader, MM_ERR_MALFORMED, "text without an end", 0, at.raw);
}

enum mm_err mm_boot_text_find(struct mm_boot_reader *reader, uint64_t at, struct mm_boot_text *out)
{
    struct mm_boot_text text = {.at = mm_phys(at)};
    enum mm_err err;

    *out = (struct mm_boot_text){.bytes = 0};
    if (at == 0)
        return MM_OK;
    err = text_length(reader, text.at, &text.bytes);
    if (err == MM_OK)
        err = mm_boot_reserve(reader, text.at, (uint64_t)text.bytes + 1, MM_USE_BOOTINFO,
                              "text beyond the physical addresses", 0, at);
    if (err == MM_OK)
        *out = text;
    return err;
}
