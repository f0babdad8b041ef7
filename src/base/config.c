/*
 * config.c - the symbol that names what this archive was built with.
 *
 * Problem     A kernel compiled against headers of another configuration links and then fails
 *             in strange ways.
 * Idea        The configuration is spelt into a symbol's name; every mm_*_init() in the headers
 *             refers to it, and only the matching archive defines it.
 * Invariants  Exactly one such symbol per archive.
 * Locking     None.
 * Cost        Four bytes.
 * Rejected    A check at run time: it comes too late to be read.
 */
#include "mm/config.h"

const uint32_t MM_CONFIG_SYMBOL = MM_LEVEL;
