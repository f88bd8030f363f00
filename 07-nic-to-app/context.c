/* The switch of coroutine.c for other processors than x86-64, and the calls that keep
 * AddressSanitizer informed.  You do not need this file to understand coroutines. */
#include "context.h"

#include <stdint.h>
#include <string.h>

#ifdef CONTEXT_ARM64

/* The callee-saved registers of arm64 are x19 to x28, the frame pointer x29, the return address x30
 * and d8 to d15. */
__asm__(".text\n"
        ".globl context_switch\n"
        ".type context_switch, %function\n"
        "context_switch:\n"
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
        "    str x9, [x0]\n" /* from->stack_pointer = sp */
        "    ldr x9, [x1]\n" /* sp = to->stack_pointer */
        "    mov sp, x9\n"
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
        ".size context_switch, . - context_switch\n");

void context_init(struct context *context, void (*entry)(void))
{
    struct {
        uint64_t x19_to_x29[11];
        void (*x30)(void); /* ret jumps to this address */
        uint64_t d8_to_d15[8];
    } frame = {.x30 = entry};

    context->stack_pointer = context->stack + context->stack_size - sizeof frame;
    memcpy(context->stack_pointer, &frame, sizeof frame);
}

#endif

#ifdef CONTEXT_UCONTEXT

/* The C library can switch on any processor.  It adds two system calls to each wake-up, because it
 * also saves and restores the signal mask, which is the same in all our coroutines. */
void context_switch(struct context *from, const struct context *to)
{
    swapcontext(&from->registers, &to->registers);
}

void context_init(struct context *context, void (*entry)(void))
{
    getcontext(&context->registers);
    context->registers.uc_stack =
        (stack_t){.ss_sp = context->stack, .ss_size = context->stack_size};
    makecontext(&context->registers, entry, 0);
}

#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>

void asan_before_switch(struct context *from, const struct context *to, bool finished)
{
    __sanitizer_start_switch_fiber(finished ? NULL : &from->fake_stack, to->stack, to->stack_size);
    if (finished)
        from->fake_stack = NULL; /* AddressSanitizer has freed it */
}

/* The event loop runs on the stack of the process, whose bounds only AddressSanitizer knows. */
void asan_after_switch(struct context *here, struct context *previous)
{
    const void *stack;
    size_t size;

    __sanitizer_finish_switch_fiber(here->fake_stack, &stack, &size);
    if (previous->stack == NULL) {
        previous->stack = (char *)(uintptr_t)stack;
        previous->stack_size = size;
    }
}
#endif
