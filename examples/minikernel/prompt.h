/*
 * prompt.h - questions and commands, typed on the serial line.
 */
#ifndef PROMPT_H
#define PROMPT_H

/* Reads and obeys lines until `quit` or Ctrl-D. Interrupts are on, so that the CPU can sleep. */
void prompt_run(void);

#endif
