/*
 * walk.h - the page tables, read as the CPU reads them.
 *
 * Shares no code with libmm: fault reports must work when libmm does not, and tests compare what
 * it says with what is really in the tables.
 */
#ifndef WALK_H
#define WALK_H

#include <stdbool.h>
#include <stdint.h>

#define WALK_LEVELS 5u

struct walk {
    unsigned top;                    /* level of the root: 4 or 5 */
    unsigned last;                   /* level at which the walk ended */
    uint64_t table[WALK_LEVELS + 1]; /* by level: physical address of the table read */
    uint64_t entry[WALK_LEVELS + 1]; /* by level: what was read; top down to last */
    bool unreachable;                /* table[last] is outside the window; entry[last] is 0 */
    bool mapped;                     /* entry[last] is a leaf; what follows is valid */
    bool write, user, execute;       /* effective: what every level grants */
    uint64_t phys;                   /* of the byte asked for */
    uint64_t leaf_bytes;             /* 4 KiB, 2 MiB or 1 GiB */
};

/* Walks from the root in CR3. */
void walk_tables(uint64_t address, struct walk *out);

/* The same with a line for each level. */
void walk_print(uint64_t address);

/* Is the frame a table of the space in CR3? Its level, and the first address that it translates
 * (the lowest, if several); 0 if it is none. Tables outside the window are not looked into. */
unsigned walk_find_table(uint64_t frame, uint64_t *virt);

/* How a physical address is read: NULL when the frame cannot be reached. Until it is set, through
 * the first GiB as boot.S maps it. */
typedef const void *walk_window(uint64_t phys);
void walk_set_window(walk_window *window);

#endif
