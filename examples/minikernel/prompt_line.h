/*
 * prompt_line.h - one line from the keyboard.
 */
#ifndef PROMPT_LINE_H
#define PROMPT_LINE_H

#include <stdbool.h>

/* Prints `prompt` and returns what was typed until Enter; NULL for Ctrl-D on an empty line. The
 * text stays until the next call. Interrupts are on. */
char *prompt_line_read(const char *prompt);

/* Has anybody pressed a key? The key is gone then. */
bool prompt_line_interrupted(void);

#endif
