/*
 * prompt_words.c - a typed line as words, addresses and numbers.
 *
 * Problem     People copy addresses from what the kernel printed, with 0x or without.
 * Idea        An address is always hexadecimal; a count is decimal unless it begins with 0x.
 * Invariants  A number that does not fit into 64 bits is none.
 * Locking     None.
 * Cost        O(length of the line).
 * Rejected    Guessing the base from the digits: 100000 is both.
 */
#include "prompt_words.h"

#include "print.h"

#define KIB UINT64_C(1024)

void words_split(char *line, struct words *out)
{
    *out = (struct words){0};
    while (*line) {
        while (*line == ' ')
            *line++ = 0;
        if (!*line)
            return;
        if (out->count == WORDS_MAX)
            return;
        out->at[out->count++] = line;
        while (*line && *line != ' ')
            line++;
    }
}

bool words_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static unsigned digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return (unsigned)(digit - '0');
    if (digit >= 'a' && digit <= 'f')
        return (unsigned)(digit - 'a') + 10;
    if (digit >= 'A' && digit <= 'F')
        return (unsigned)(digit - 'A') + 10;
    return 16;
}

/* Reads digits and returns what follows; NULL if there is none or they are too many. */
static const char *read_digits(const char *at, unsigned base, uint64_t *out)
{
    const char *start = at;

    for (*out = 0; digit_value(*at) < base; at++) {
        if (__builtin_mul_overflow(*out, base, out) ||
            __builtin_add_overflow(*out, digit_value(*at), out))
            return NULL;
    }
    return at == start ? NULL : at;
}

static bool has_hex_mark(const char *word)
{
    return word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
}

static bool is_all_digits(const char *word)
{
    const char *at = word;

    while (digit_value(*at) < 16)
        at++;
    return at != word && !*at;
}

bool words_address(const struct words *words, unsigned index, uint64_t *out)
{
    const char *word = index < words->count ? words->at[index] : NULL;
    const char *digits, *end;

    if (!word) {
        kprintf("%s: which address?\n", words->at[0]);
        return false;
    }
    digits = has_hex_mark(word) ? word + 2 : word;
    end = read_digits(digits, 16, out);
    if (end && !*end)
        return true;
    kprintf("%s: '%s' %s\n", words->at[0], word,
            is_all_digits(digits) ? "has more than 16 digits" : "is no hexadecimal address");
    return false;
}

bool words_number(const char *word, uint64_t *out)
{
    bool hex = has_hex_mark(word);
    const char *end = read_digits(hex ? word + 2 : word, hex ? 16 : 10, out);
    uint64_t unit = 1;

    if (!end)
        return false;
    if (*end == 'K' || *end == 'M') {
        unit = *end == 'K' ? KIB : KIB * KIB;
        end++;
    }
    return !*end && !__builtin_mul_overflow(*out, unit, out);
}
