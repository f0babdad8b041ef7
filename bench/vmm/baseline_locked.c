/*
 * baseline_locked.c - the textbook's page tables (textbook.h) with a spinlock for each space, which
 * each page takes.
 *
 * Problem     -
 * Idea        -
 * Invariants  See textbook.h.
 * Locking     The space's lock for one page; inside it the lock of the frames.
 * Cost        A locked exchange for each page.
 * Rejected    One lock for a range: what is called with ranges is then blocked for as long as they
 *             are; tutorials lock in the function that maps a page.
 */
#define TEXTBOOK               textbook_locked
#define TEXTBOOK_NAME          "textbook, lock"
#define TEXTBOOK_ANY_THREAD    true
#define TEXTBOOK_TAKE(lock)    spinlock_take(lock)
#define TEXTBOOK_RELEASE(lock) spinlock_release(lock)
#include "textbook.h"
