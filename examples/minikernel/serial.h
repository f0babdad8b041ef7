/*
 * serial.h - the console: COM1, 115200 baud, polled.
 */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdbool.h>
#include <stddef.h>

void serial_init(void);

/* Blocks until the line has taken all bytes, or drops them if it has stopped taking any. */
void serial_write(const char *text, size_t bytes);

/* The next byte that was received; false if there is none yet. */
bool serial_read(char *out);

#endif
