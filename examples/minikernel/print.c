/*
 * print.c - formatted output to the console.
 *
 * Problem     Tests and fault reports must print numbers and addresses without a C library.
 * Idea        One formatter that hands pieces to a sink; the console and a buffer are two sinks.
 *             A conversion is parsed into a small struct, turned into digits, then padded.
 * Invariants  Output of one conversion is at most `width` padding plus the text itself: no buffer
 *             but the 20 digits of a number.
 * Locking     None (see serial.c).
 * Cost        One division per digit.
 * Rejected    Floating point, %n, precision: nothing here needs them.
 */
#include "print.h"

#include <stdbool.h>
#include <stdint.h>

#include "serial.h"

struct sink {
    char *buf;      /* NULL: the console */
    size_t bytes;   /* size of buf */
    size_t written; /* length so far, also past the end of buf */
};

struct conversion {
    bool zero;  /* pad with zeros */
    bool left;  /* pad on the right */
    int width;  /* least number of characters */
    int longs;  /* number of l; z counts as one */
    char which; /* s c d u x p, or 0 */
};

static void emit(struct sink *sink, const char *text, size_t bytes)
{
    if (!sink->buf)
        serial_write(text, bytes);
    for (size_t i = 0; sink->buf && i < bytes; i++) {
        if (sink->written + i + 1 < sink->bytes)
            sink->buf[sink->written + i] = text[i];
    }
    sink->written += bytes;
}

static void emit_padding(struct sink *sink, char pad, int count)
{
    while (count-- > 0)
        emit(sink, &pad, 1);
}

static void emit_text(struct sink *sink, const struct conversion *conv, const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    if (!conv->left)
        emit_padding(sink, ' ', conv->width - (int)length);
    emit(sink, text, length);
    if (conv->left)
        emit_padding(sink, ' ', conv->width - (int)length);
}

static void emit_number(struct sink *sink, const struct conversion *conv, uint64_t value,
                        const char *sign, unsigned base)
{
    char digits[20]; /* 2^64 has 20 decimal digits */
    int count = 0;
    int length;

    do {
        digits[sizeof(digits) - 1 - (unsigned)count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    length = count + (*sign ? 1 : 0);
    if (!conv->left && !conv->zero)
        emit_padding(sink, ' ', conv->width - length);
    if (*sign)
        emit(sink, sign, 1);
    if (!conv->left && conv->zero)
        emit_padding(sink, '0', conv->width - length);
    emit(sink, digits + sizeof(digits) - (unsigned)count, (size_t)count);
    if (conv->left)
        emit_padding(sink, ' ', conv->width - length);
}

/* Starts after the '%'; returns the first character after the conversion. */
static const char *parse(const char *at, struct conversion *conv, va_list *args)
{
    *conv = (struct conversion){0};
    for (; *at == '0' || *at == '-'; at++) {
        conv->zero |= *at == '0';
        conv->left |= *at == '-';
    }
    if (*at == '*') {
        conv->width = va_arg(*args, int);
        at++;
    }
    for (; *at >= '0' && *at <= '9'; at++)
        conv->width = conv->width * 10 + (*at - '0');
    for (; *at == 'l' || *at == 'z'; at++)
        conv->longs++;
    conv->which = *at;
    return *at ? at + 1 : at;
}

static uint64_t unsigned_arg(const struct conversion *conv, va_list *args)
{
    return conv->longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned);
}

static int64_t signed_arg(const struct conversion *conv, va_list *args)
{
    return conv->longs ? va_arg(*args, long) : va_arg(*args, int);
}

static void convert(struct sink *sink, struct conversion *conv, va_list *args)
{
    int64_t number;
    char text[2] = {0, 0};

    switch (conv->which) {
    case 's':
        emit_text(sink, conv, va_arg(*args, const char *));
        break;
    case 'c':
        text[0] = (char)va_arg(*args, int);
        emit_text(sink, conv, text);
        break;
    case 'd':
        number = signed_arg(conv, args);
        emit_number(sink, conv, number < 0 ? 0 - (uint64_t)number : (uint64_t)number,
                    number < 0 ? "-" : "", 10);
        break;
    case 'u':
        emit_number(sink, conv, unsigned_arg(conv, args), "", 10);
        break;
    case 'x':
        emit_number(sink, conv, unsigned_arg(conv, args), "", 16);
        break;
    case 'p':
        emit(sink, "0x", 2);
        *conv = (struct conversion){.zero = true, .width = 16};
        emit_number(sink, conv, (uint64_t)(uintptr_t)va_arg(*args, void *), "", 16);
        break;
    default:
        emit(sink, &conv->which, conv->which ? 1 : 0);
        break;
    }
}

static void format_to(struct sink *sink, const char *format, va_list *args)
{
    while (*format) {
        const char *start = format;
        struct conversion conv;

        while (*format && *format != '%')
            format++;
        emit(sink, start, (size_t)(format - start));
        if (*format) {
            format = parse(format + 1, &conv, args);
            convert(sink, &conv, args);
        }
    }
}

void kvprintf(const char *format, va_list args)
{
    struct sink sink = {0};
    va_list copy;

    va_copy(copy, args); /* a va_list parameter may be an array, whose address is of another type */
    format_to(&sink, format, &copy);
    va_end(copy);
}

void kprintf(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    kvprintf(format, args);
    va_end(args);
}

size_t ksnprintf(char *buf, size_t bytes, const char *format, ...)
{
    struct sink sink = {.buf = buf, .bytes = bytes};
    va_list args;

    va_start(args, format);
    format_to(&sink, format, &args);
    va_end(args);
    if (bytes)
        buf[sink.written < bytes ? sink.written : bytes - 1] = 0;
    return sink.written;
}
