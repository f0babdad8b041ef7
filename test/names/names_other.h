/*
 * names_other.h - what the second file of the kernel in test_names.c does.
 */
#ifndef NAMES_OTHER_H
#define NAMES_OTHER_H

#include <stddef.h>
#include <stdint.h>

uint64_t other_take_frame(void);
void other_give_frame(uint64_t phys);
char *other_copy(const char *text);
const void *other_instance(void);

#endif
