/*
 * prompt_commands.h - the commands of the prompt, by file. Each says itself what is wrong with its
 * words.
 */
#ifndef PROMPT_COMMANDS_H
#define PROMPT_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include <mm/types.h>

#include "prompt_words.h"

/* prompt_show.c */
void command_map(const struct words *words);
void command_pmm(const struct words *words);
void command_vmm(const struct words *words);
void command_heap(const struct words *words);
void command_check(const struct words *words);

/* prompt_walk.c */
void command_walk(const struct words *words);
void command_fault(const struct words *words);

/* "rw- write-back"; good until the next call. */
const char *rights_text(uint32_t prot, enum mm_memtype type);

/* Prints where `virt` leads in the kernel space; true, and the physical address, if anywhere. */
bool walk_print_translation(uint64_t virt, uint64_t *phys);

/* prompt_who.c */
void command_who(const struct words *words);

/* prompt_alloc.c */
void command_alloc(const struct words *words);
void command_free(const struct words *words);

/* What `alloc` gave and `free` has not taken back. */
struct grant {
    uint64_t at;    /* of the heap: virtual; frames: physical */
    uint64_t count; /* bytes or frames that were asked for; 0: no grant */
    uint64_t bytes; /* that may be used */
    bool frames;
};

/* The grant that holds the address: virtual for heap blocks, physical for frames. NULL: none. */
const struct grant *grant_find(uint64_t address, bool frames);

/* prompt_stress.c */
void command_stress(const struct words *words);

#endif
