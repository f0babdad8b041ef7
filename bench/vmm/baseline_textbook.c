/*
 * baseline_textbook.c - the textbook's page tables (textbook.h) without a lock.
 *
 * Problem     -
 * Idea        -
 * Invariants  See textbook.h.
 * Locking     None: one CPU.
 * Cost        See textbook.h.
 * Rejected    -
 */
#define TEXTBOOK               textbook
#define TEXTBOOK_NAME          "textbook"
#define TEXTBOOK_ANY_THREAD    false
#define TEXTBOOK_TAKE(lock)    (void)(lock)
#define TEXTBOOK_RELEASE(lock) (void)(lock)
#include "textbook.h"
