/*
 * walk_format.c - one step of a walk as a line of text.
 *
 * Problem     The first tool that everybody writes for a fault handler is a dump of the walk.
 * Idea        The entry as the hardware sees it, and beside it what it means.
 * Invariants  Cuts and ends with NUL as every line of libmm (base/text.h).
 * Locking     None.
 * Cost        O(length of the line).
 * Rejected    Printing: the console is the kernel's.
 */
#include "base/text.h"
#include "mm/vmm.h"
#include "mm_pte.h"

static void put_decimal(struct mm_text *t, uint32_t x)
{
    uint32_t unit = 1;

    while (x / unit >= 10)
        unit *= 10;
    for (; unit > 0; unit /= 10)
        mm_text_char(t, (char)('0' + x / unit % 10));
}

static void put_rights(struct mm_text *t, uint32_t prot)
{
    mm_text_char(t, (prot & MM_PROT_READ) != 0 ? 'r' : '-');
    mm_text_char(t, (prot & MM_PROT_WRITE) != 0 ? 'w' : '-');
    mm_text_char(t, (prot & MM_PROT_EXEC) != 0 ? 'x' : '-');
    if ((prot & MM_PROT_USER) != 0)
        mm_text_put(t, ", user");
}

size_t mm_walk_format(char *buf, size_t bytes, const struct mm_walk_step *step)
{
    struct mm_text t = {buf, bytes, 0};

    if (step == NULL)
        return mm_text_end(&t);
    mm_text_put(&t, "level ");
    put_decimal(&t, step->level);
    mm_text_put(&t, ", entry ");
    put_decimal(&t, step->index);
    mm_text_put(&t, " of table ");
    mm_text_hex(&t, step->table.raw, 1);
    mm_text_put(&t, ": ");
    mm_text_hex(&t, step->entry, 1);
    if (step->prot == MM_PROT_NONE) {
        bool present = mm_pte_is_present(mm_pte_of(step->entry));

        mm_text_put(&t, present ? " -> nothing, reserved bits are set" : " -> not present");
        return mm_text_end(&t);
    }
    mm_text_put(&t, step->leaf != 0 ? " -> page " : " -> table ");
    mm_text_hex(&t, step->to.raw, 1);
    mm_text_put(&t, ", ");
    put_rights(&t, step->prot);
    return mm_text_end(&t);
}
