/* Coroutines: a stack for each of them, and a switch from one stack to another.
 *
 * The state of a function that waits is in two places: in the registers and on its stack.  To stop
 * it in the middle, save the registers on its stack and point the stack pointer at another stack.
 * To continue it, point the stack pointer back and load the registers.  The kernel switches between
 * threads in the same way.  Here the switch takes fifteen instructions and no system call, because
 * the kernel does not know about coroutines.
 *
 * This file has the switch for x86-64.  context.c has it for other processors. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS is not in POSIX.1-2008 */

#include "coroutine.h"

#include "context.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the switch ---- */

#ifdef CONTEXT_X86_64
/* A function must preserve six registers for its caller (System V ABI): these are pushed.  The
 * compiler has already saved any other register that the caller still needs, because to the
 * compiler this is a call like any other.  The floating-point modes must be preserved too, but
 * nothing here changes them. */
// ANCHOR: switch
/* void context_switch(struct context *from [rdi], const struct context *to [rsi]) */
__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, @function\n"
        "context_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n" /* from->stack_pointer = rsp: `from` stops here */
        "    movq (%rsi), %rsp\n" /* rsp = to->stack_pointer: from here on, this is `to`'s stack */
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n" /* to the place where `to` called context_switch() */
        ".size context_switch, . - context_switch\n");
// ANCHOR_END: switch

/* A new coroutine has not called context_switch() yet, so build the stack that such a call would
 * have left: the pops load zeros, and `ret` jumps to entry(). */
void context_init(struct context *context, void (*entry)(void))
{
    struct {
        uint64_t registers[6];
        void (*return_address)(void);
        uint64_t padding; /* a function begins with rsp 8 bytes below a multiple of 16 */
    } frame = {.return_address = entry};

    context->stack_pointer = context->stack + context->stack_size - sizeof frame;
    memcpy(context->stack_pointer, &frame, sizeof frame);
}
#endif

/* ---- a coroutine: a context and its stack ---- */

/* Most stacks use one page of this: the kernel provides a page when it is first touched. */
#define STACK_SIZE 65536

// ANCHOR: coroutine
/* A coroutine is stored at the upper end of its own stack, so one mapping holds both.  The lowest
 * page of the mapping is a guard page without access: a stack that overflows ends the process with
 * SIGSEGV instead of overwriting the memory below. */
struct coroutine {
    _Alignas(16) struct context context; /* the top of the stack must be a multiple of 16 */
    void (*body)(int);
    int argument;
    bool finished;          /* body() has returned */
    struct coroutine *next; /* in the free list */
};
// ANCHOR_END: coroutine

static struct context loop;       /* the event loop, while a coroutine runs */
static struct coroutine *current; /* the coroutine that runs or ran last */

static void switch_stacks(struct context *from, struct context *to)
{
    asan_before_switch(from, to, from != &loop && current->finished);
    context_switch(from, to);
    asan_after_switch(from, to);
}

static void coroutine_free(struct coroutine *coroutine);

// ANCHOR: resume
bool coroutine_resume(struct coroutine *coroutine)
{
    current = coroutine;
    switch_stacks(&loop, &coroutine->context);
    if (!coroutine->finished)
        return true;
    coroutine_free(coroutine);
    return false;
}

void coroutine_yield(void)
{
    switch_stacks(&current->context, &loop);
}

/* The first function on every stack.  It has no caller to return to, so it yields when the body has
 * returned.  If a new coroutine reuses the stack, it continues here with another body. */
static void coroutine_entry(void)
{
    asan_after_switch(&current->context, &loop);
    for (;;) {
        current->body(current->argument);
        current->finished = true;
        coroutine_yield();
    }
}
// ANCHOR_END: resume

/* ---- stacks: mapped, cached, unmapped ---- */

/* Reusing a stack is cheaper than mmap() and munmap(), so this many stacks stay cached. */
#define MAX_FREE 64

static struct coroutine *free_list;
static int free_count;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static struct coroutine *stack_map(void)
{
    size_t guard = page_size();
    char *mapping =
        mmap(NULL, guard + STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mapping == MAP_FAILED)
        return NULL;
    if (mprotect(mapping, guard, PROT_NONE) == -1) {
        munmap(mapping, guard + STACK_SIZE);
        return NULL;
    }
    char *stack = mapping + guard;
    size_t size = STACK_SIZE - sizeof(struct coroutine);
    struct coroutine *coroutine = (struct coroutine *)(void *)(stack + size);
    coroutine->context.stack = stack;
    coroutine->context.stack_size = size;
    context_init(&coroutine->context, coroutine_entry);
    return coroutine;
}

static void stack_unmap(struct coroutine *coroutine)
{
    munmap(coroutine->context.stack - page_size(), page_size() + STACK_SIZE);
}

struct coroutine *coroutine_new(void (*body)(int), int argument)
{
    struct coroutine *coroutine = free_list;

    if (coroutine != NULL) {
        free_list = coroutine->next;
        free_count--;
    } else {
        coroutine = stack_map();
        if (coroutine == NULL)
            return NULL;
    }
    coroutine->body = body;
    coroutine->argument = argument;
    coroutine->finished = false;
    return coroutine;
}

/* Cache the stack of a finished coroutine, or unmap it if enough stacks are cached. */
static void coroutine_free(struct coroutine *coroutine)
{
    if (free_count == MAX_FREE) {
        stack_unmap(coroutine);
        return;
    }
    coroutine->next = free_list;
    free_list = coroutine;
    free_count++;
}

void coroutine_cleanup(void)
{
    while (free_list != NULL) {
        struct coroutine *next = free_list->next;
        stack_unmap(free_list);
        free_list = next;
    }
    free_count = 0;
}
