/*
 * coroutine.c - threads of a scenario: stacks that are switched by hand.
 *
 * Problem     An execution is a few hundred switches, and there are millions of executions.
 * Idea        Save what the calling convention says that a function keeps, exchange the stack
 *             pointer: 15 instructions. Elsewhere than on x86-64 ucontext does it, with a system
 *             call for each switch.
 * Invariants  A coroutine that is made again starts anew; what was on its stack is forgotten.
 * Locking     None: one thread of the host.
 * Cost        About 2 ns on x86-64; ucontext 300.
 * Rejected    Threads of the host: a switch costs microseconds.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

#define STACK_BYTES (64u << 10)

/* A page below the stack stops what grows too far. */
static void *stack_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *start =
        mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED || mprotect(start, page, PROT_NONE) != 0)
        cannot("no memory for a stack");
    return start + page;
}

#if defined(__x86_64__)

void explore_switch(void **save, void *load);

/* System V AMD64: rbx, rbp, r12 to r15 and rsp belong to the caller. */
__asm__(".text\n"
        ".type explore_switch, @function\n"
        "explore_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size explore_switch, . - explore_switch\n");

void coroutine_make(struct coroutine *coroutine, void (*entry)(void))
{
    void **top;

    if (coroutine->stack == NULL)
        coroutine->stack = stack_new();
    top = (void **)((char *)coroutine->stack + STACK_BYTES);
    *--top = NULL; /* entry() finds the stack as after a call, and nowhere to return to */
    *--top = (void *)(uintptr_t)entry;
    for (unsigned i = 0; i < 6; i++)
        *--top = NULL;
    coroutine->stack_pointer = top;
}

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
    explore_switch(&from->stack_pointer, to->stack_pointer);
}

#else

#include <ucontext.h>

static ucontext_t *context_of(struct coroutine *coroutine)
{
    if (coroutine->context == NULL)
        coroutine->context = calloc(1, sizeof(ucontext_t));
    if (coroutine->context == NULL)
        cannot("no memory for a context");
    return coroutine->context;
}

void coroutine_make(struct coroutine *coroutine, void (*entry)(void))
{
    ucontext_t *context = context_of(coroutine);

    if (coroutine->stack == NULL)
        coroutine->stack = stack_new();
    getcontext(context);
    context->uc_stack.ss_sp = coroutine->stack;
    context->uc_stack.ss_size = STACK_BYTES;
    makecontext(context, entry, 0);
}

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
    swapcontext(context_of(from), context_of(to));
}

#endif
