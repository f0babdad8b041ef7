/*
 * text.h - a line of text into a buffer, without a C library.
 *
 * Problem     Reports and memory maps become lines for a console before any printf exists.
 * Idea        A writer that goes on counting when the buffer is full, so that the caller learns
 *             how long the whole line is.
 * Invariants  I1 the writer never writes at or beyond the end of the buffer
 *             I2 after mm_text_end() a buffer of at least one byte ends in NUL
 * Locking     None: the writer is on the caller's stack.
 * Cost        O(length of the line).
 * Rejected    A format-string engine: the few lines that libmm makes need none.
 */
#ifndef MM_BASE_TEXT_H
#define MM_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct mm_text {
    char *buf;
    size_t bytes;
    size_t length;
};

static inline void mm_text_char(struct mm_text *t, char c)
{
    if (t->length + 1 < t->bytes)
        t->buf[t->length] = c;
    t->length++;
}

static inline void mm_text_put(struct mm_text *t, const char *text)
{
    while (*text != '\0')
        mm_text_char(t, *text++);
}

/* "0x" and at least `digits` digits, 1 to 16. */
static inline void mm_text_hex(struct mm_text *t, uint64_t x, unsigned digits)
{
    unsigned shift = 60;

    mm_text_put(t, "0x");
    while (shift >= 4 * digits && (x >> shift) == 0)
        shift -= 4;
    for (;; shift -= 4) {
        mm_text_char(t, "0123456789abcdef"[(x >> shift) & 15]);
        if (shift == 0)
            return;
    }
}

/* Close the text; returns the length that the whole line has, without the closing NUL. */
static inline size_t mm_text_end(struct mm_text *t)
{
    if (t->bytes > 0)
        t->buf[t->length < t->bytes ? t->length : t->bytes - 1] = '\0';
    return t->length;
}

#endif
