/*
 * names_other.c - a second file of a kernel that uses the short names: it defines nothing.
 */
#include "names_other.h"

#include <string.h>

#include "mm/names.h"
#include "mm/names.h" /* twice does no harm */

uint64_t other_take_frame(void)
{
    return pmm_alloc_frame();
}

void other_give_frame(uint64_t phys)
{
    pmm_free_frame(phys);
}

char *other_copy(const char *text)
{
    char *copy = kmalloc(strlen(text) + 1);

    return copy != NULL ? strcpy(copy, text) : NULL;
}

const void *other_instance(void)
{
    return &mm_default;
}
