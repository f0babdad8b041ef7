/*
 * error.c - error codes as text.
 *
 * Problem     "error 7" on a boot console helps nobody.
 * Idea        One table of name and sentence, indexed by the code.
 * Invariants  The table has an entry for each enumerator; a test walks it.
 * Locking     None: read-only.
 * Cost        O(1).
 * Rejected    Text in the enumeration's header as macros: every file would carry it.
 */
#include "mm/error.h"

#include <stddef.h>

/* Arrays of characters, not pointers: no relocation, so the table stays in read-only memory. */
static const struct {
    char name[20];
    char text[72];
} entry_of[] = {
    [MM_OK] = {"MM_OK", "done"},
    [MM_ERR_BAD_ARG] = {"MM_ERR_BAD_ARG", "an argument is out of its domain"},
    [MM_ERR_MISUSE] = {"MM_ERR_MISUSE", "the caller broke a rule; refused and reported"},
    [MM_ERR_NO_MEMORY] = {"MM_ERR_NO_MEMORY", "no memory fits the request"},
    [MM_ERR_NO_ADDRESS] = {"MM_ERR_NO_ADDRESS", "no free virtual range fits the request"},
    [MM_ERR_NO_ROOM] = {"MM_ERR_NO_ROOM", "storage lent by the caller is full"},
    [MM_ERR_EXISTS] = {"MM_ERR_EXISTS", "something is there already"},
    [MM_ERR_NOT_FOUND] = {"MM_ERR_NOT_FOUND", "nothing is there"},
    [MM_ERR_RANGE] = {"MM_ERR_RANGE", "address beyond what the machine or the object has"},
    [MM_ERR_WINDOW] = {"MM_ERR_WINDOW", "a frame lies outside the window"},
    [MM_ERR_LIMIT] = {"MM_ERR_LIMIT", "a limit set by the caller is reached"},
    [MM_ERR_POLICY] = {"MM_ERR_POLICY", "refused by a policy of the space"},
    [MM_ERR_UNSUPPORTED] = {"MM_ERR_UNSUPPORTED", "this version, port or CPU cannot do it"},
    [MM_ERR_CPU] = {"MM_ERR_CPU", "the CPU lacks something required"},
    [MM_ERR_BUSY] = {"MM_ERR_BUSY", "in use, or waiting is forbidden here"},
    [MM_ERR_AGAIN] = {"MM_ERR_AGAIN", "the state changed under the call"},
    [MM_ERR_GONE] = {"MM_ERR_GONE", "the object is being destroyed"},
    [MM_ERR_TRUNCATED] = {"MM_ERR_TRUNCATED", "boot data end before what they announce"},
    [MM_ERR_MALFORMED] = {"MM_ERR_MALFORMED", "boot data contradict their specification"},
    [MM_ERR_HOST] = {"MM_ERR_HOST", "a hook of the host failed"},
    [MM_ERR_CORRUPT] = {"MM_ERR_CORRUPT", "an invariant of libmm does not hold"},
};

#define ENTRIES (sizeof entry_of / sizeof entry_of[0])

const char *mm_err_name(enum mm_err err)
{
    return (size_t)err < ENTRIES ? entry_of[err].name : "MM_ERR_?";
}

const char *mm_err_text(enum mm_err err)
{
    return (size_t)err < ENTRIES ? entry_of[err].text : "unknown error";
}
