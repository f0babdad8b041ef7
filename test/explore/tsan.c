/*
 * tsan.c - every plain access of the code under test, told to the explorer by the compiler.
 *
 * Problem     A plain access that nobody thought of is the one that races.
 * Idea        The code under test is compiled with -fsanitize=thread, which puts a call before each
 *             load and store; but linked without its library: these functions are here instead, and
 *             compare the access with the clocks of the execution (memory.c). Calls of memcpy,
 *             memmove and memset, which the compiler leaves alone, come here through the linker's
 *             --wrap.
 * Invariants  None.
 * Locking     None.
 * Cost        A call per access; only accesses to memory of the scenario are looked at.
 * Rejected    Marks in the sources alone (MM_RACE_READ, MM_RACE_WRITE): they are forgotten exactly
 *             where they are needed. They work too, where a compiler has no such option.
 */
#include "explore.h"

void *__real_memset(void *to, int value, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes);
void *__wrap_memset(void *to, int value, size_t bytes)
{
    explore_plain(to, bytes, true);
    return __real_memset(to, value, bytes);
}

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    explore_plain(from, bytes, false);
    explore_plain(to, bytes, true);
    return __real_memcpy(to, from, bytes);
}

void *__real_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes)
{
    explore_plain(from, bytes, false);
    explore_plain(to, bytes, true);
    return __real_memmove(to, from, bytes);
}

#define ACCESS(name, bytes)                     \
    void __tsan_read##name(void *p);            \
    void __tsan_read##name(void *p)             \
    {                                           \
        explore_plain(p, bytes, false);         \
    }                                           \
    void __tsan_write##name(void *p);           \
    void __tsan_write##name(void *p)            \
    {                                           \
        explore_plain(p, bytes, true);          \
    }                                           \
    void __tsan_unaligned_read##name(void *p);  \
    void __tsan_unaligned_read##name(void *p)   \
    {                                           \
        explore_plain(p, bytes, false);         \
    }                                           \
    void __tsan_unaligned_write##name(void *p); \
    void __tsan_unaligned_write##name(void *p)  \
    {                                           \
        explore_plain(p, bytes, true);          \
    }                                           \
    void __tsan_read_write##name(void *p);      \
    void __tsan_read_write##name(void *p)       \
    {                                           \
        explore_plain(p, bytes, false);         \
        explore_plain(p, bytes, true);          \
    }

ACCESS(1, 1)
ACCESS(2, 2)
ACCESS(4, 4)
ACCESS(8, 8)
ACCESS(16, 16)

void __tsan_read_range(void *p, unsigned long bytes);
void __tsan_read_range(void *p, unsigned long bytes)
{
    explore_plain(p, bytes, false);
}

void __tsan_write_range(void *p, unsigned long bytes);
void __tsan_write_range(void *p, unsigned long bytes)
{
    explore_plain(p, bytes, true);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
