/*
 * prompt_words.h - a typed line as words, addresses and numbers.
 */
#ifndef PROMPT_WORDS_H
#define PROMPT_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#define WORDS_MAX 4u

struct words {
    unsigned count; /* more than WORDS_MAX, which is more than any command takes, are left out */
    char *at[WORDS_MAX];
};

/* Cuts `line` into words where it stands. */
void words_split(char *line, struct words *out);

bool words_equal(const char *a, const char *b);

/* Word `index` as a hexadecimal address. False, and said so, if it is none or is missing. */
bool words_address(const struct words *words, unsigned index, uint64_t *out);

/* A decimal number, which may end in K or M, or 0x and hexadecimal digits. False if it is none. */
bool words_number(const char *word, uint64_t *out);

/* What makes a noun plural: "" for one. */
static inline const char *words_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

#endif
