/* Coroutines: a stack for each, and a switch from one stack to another.
 *
 * A function that waits has its state in two places: in the registers and on its stack.  So to stop
 * in the middle is to put the registers on the stack and to leave the stack alone; to go on is to
 * point at that stack again and to take the registers back.  The kernel does the same for a thread.
 * Here it is fifteen instructions (x86-64) and no system call, for nobody else has to know. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS is not in POSIX.1-2008 */

#include "coroutine.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Addresses, not memory: a page is used when it is first touched, and most stacks touch one. */
#define STACK_SIZE 65536
#define MAX_SPARE 64 /* stacks kept for the next coroutines: mmap() and munmap() cost more */

static void first_step(void); /* where a new coroutine begins */

/* ---- the switch: how to stop here and go on there ---- */

/* A processor may keep a second copy of all return addresses, a shadow stack, and end a program
 * that returns elsewhere; a switch has to change that stack too, and ours does not.  So where the
 * compiler marks this file as fit for it (-fcf-protection, which is a default of Ubuntu's gcc), the
 * C library switches.  The Makefile wants no such mark, and you run what you read. */
#if defined(__CET__) && (__CET__ & 2) != 0 && !defined(COROUTINE_UCONTEXT)
#define COROUTINE_UCONTEXT
#endif

#if defined(__x86_64__) && !defined(COROUTINE_UCONTEXT)

struct context {
    void *stack_pointer; /* there lie the registers, and above them where to go on */
};

/* The registers that a function must leave as it found them, by the rules for calls on this
 * processor.  The compiler has saved the others, for to it this is a call like any other.  How
 * floating-point numbers are rounded is to be kept too; nothing here changes it. */
// ANCHOR: switch
void coroutine_switch(struct context *from, const struct context *to);
__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch, @function\n"
        "coroutine_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n" /* we stop here, */
        "    movq (%rsi), %rsp\n" /* and from here on the stack is the other one */
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size coroutine_switch, . - coroutine_switch\n");
// ANCHOR_END: switch

#define FRAME_WORDS                                                                                \
    8                 /* six registers, where to go on, and one word: a call leaves rsp at 16n+8   \
                       */
#define FRAME_START 6 /* where to go on */

#elif defined(__aarch64__) && !defined(COROUTINE_UCONTEXT)

struct context {
    void *stack_pointer;
};

/* The same for arm64: x19 to x28, the frame pointer x29, the return address x30, d8 to d15. */
void coroutine_switch(struct context *from, const struct context *to);
__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch, %function\n"
        "coroutine_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n" /* we stop here, */
        "    ldr x9, [x1]\n"
        "    mov sp, x9\n" /* and from here on the stack is the other one */
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size coroutine_switch, . - coroutine_switch\n");

#define FRAME_WORDS 20
#define FRAME_START 11 /* x30 */

#elif defined(__GLIBC__)

/* Any other processor, or a shadow stack: the C library can do it.  It makes two system calls more
 * for each wake-up, for it keeps the signal mask too, which all our coroutines share. */
#include <ucontext.h>

struct context {
    ucontext_t machine;
};

static void coroutine_switch(struct context *from, const struct context *to)
{
    swapcontext(&from->machine, &to->machine);
}

#else
#error "Not x86-64 (with -fcf-protection=none), not arm64: it needs ucontext, so glibc."
#endif

/* Make `context` such that a switch to it enters first_step() on an empty stack. */
#ifdef FRAME_WORDS
static void context_make(struct context *context, char *stack, size_t size)
{
    uintptr_t frame[FRAME_WORDS] = {[FRAME_START] = (uintptr_t)first_step};

    context->stack_pointer = stack + size - sizeof frame;
    memcpy(context->stack_pointer, frame, sizeof frame);
}
#else
static void context_make(struct context *context, char *stack, size_t size)
{
    getcontext(&context->machine);
    context->machine.uc_stack = (stack_t){.ss_sp = stack, .ss_size = size};
    makecontext(&context->machine, first_step, 0);
}
#endif

/* ---- a coroutine: a context and its stack ---- */

// ANCHOR: coroutine
/* It stands at the upper end of its own stack, so that the two come and go together.  The page
 * below the stack is a guard: a stack that grows too far hits it, and the process ends there, with
 * SIGSEGV, instead of writing over its neighbour. */
struct coroutine {
    _Alignas(16) struct context here; /* where it goes on; 16: what a stack has to be aligned to */
    void (*body)(int);
    int number;
    bool done;              /* its body has returned */
    struct coroutine *next; /* in the list of spare ones */
    char *stack;            /* its lower end */
};
// ANCHOR_END: coroutine
#define STACK_ROOM (STACK_SIZE - sizeof(struct coroutine))

static struct coroutine *running; /* the one whose turn it is */
static struct coroutine *spare;   /* the first of those that have returned, and are kept */
static int spares;                /* how many */

static struct { /* who resumes */
    struct context here;
    const void *stack; /* for the sanitizer */
    size_t size;
} loop;

/* AddressSanitizer knows one stack for each thread.  It has to be told when we leave for another,
 * and once we are there; `ours` is what it wants back when we return, NULL where nobody will. */
#ifndef __has_feature
#define __has_feature(feature) 0 /* clang asks so, gcc defines __SANITIZE_ADDRESS__ */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define tell_leaving(ours, stack, size) __sanitizer_start_switch_fiber(ours, stack, size)
#define tell_arrived(ours, stack, size) __sanitizer_finish_switch_fiber(ours, stack, size)
#else
static void tell_leaving(void **ours, const void *stack, size_t size)
{
    (void)ours, (void)stack, (void)size;
}

static void tell_arrived(void *ours, const void **stack, size_t *size)
{
    (void)ours, (void)stack, (void)size;
}
#endif

/* The first function on every stack.  When a body has returned there is nobody to return to, so it
 * goes back to the loop, and if it is resumed once more, then to run another body. */
static void first_step(void)
{
    for (;;) {
        tell_arrived(NULL, &loop.stack, &loop.size);
        running->body(running->number);
        running->done = true;
        tell_leaving(NULL, loop.stack, loop.size);
        coroutine_switch(&running->here, &loop.here);
    }
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static struct coroutine *stack_new(void)
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
    struct coroutine *coroutine = (struct coroutine *)(void *)(stack + STACK_ROOM);
    coroutine->stack = stack;
    context_make(&coroutine->here, stack, STACK_ROOM);
    return coroutine;
}

static void stack_free(struct coroutine *coroutine)
{
    munmap(coroutine->stack - page_size(), page_size() + STACK_SIZE);
}

struct coroutine *coroutine_new(void (*body)(int), int number)
{
    struct coroutine *coroutine = spare;

    if (coroutine != NULL) {
        spare = coroutine->next;
        spares--;
    } else {
        coroutine = stack_new();
        if (coroutine == NULL)
            return NULL;
    }
    coroutine->body = body;
    coroutine->number = number;
    coroutine->done = false;
    return coroutine;
}

// ANCHOR: resume
bool coroutine_resume(struct coroutine *coroutine)
{
    void *ours = NULL;

    running = coroutine;
    tell_leaving(&ours, coroutine->stack, STACK_ROOM);
    coroutine_switch(&loop.here, &coroutine->here);
    tell_arrived(ours, NULL, NULL);
    if (!coroutine->done)
        return true;
    if (spares == MAX_SPARE) {
        stack_free(coroutine);
    } else {
        coroutine->next = spare;
        spare = coroutine;
        spares++;
    }
    return false;
}

void coroutine_wait(void)
{
    void *ours = NULL;

    tell_leaving(&ours, loop.stack, loop.size);
    coroutine_switch(&running->here, &loop.here);
    tell_arrived(ours, &loop.stack, &loop.size);
}
// ANCHOR_END: resume

void coroutine_tidy(void)
{
    while (spare != NULL) {
        struct coroutine *next = spare->next;
        stack_free(spare);
        spare = next;
    }
    spares = 0;
}
