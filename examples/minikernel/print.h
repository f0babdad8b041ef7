/*
 * print.h - formatted output to the console.
 */
#ifndef PRINT_H
#define PRINT_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Understands %s %c %d %u %x %p %%, the lengths l ll z, a width (a number or *), and the flags 0
 * and -. Anything else is printed as it stands. %p is 0x and 16 digits, whatever the value.
 */
void kprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void kvprintf(const char *format, va_list args);

/* The same into `buf`: always terminated when bytes > 0; returns the length that it wanted. */
size_t ksnprintf(char *buf, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
