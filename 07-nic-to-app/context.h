/* Contexts: where a function has stopped, on which stack, and how to switch to it.
 *
 * coroutine.c has the switch for x86-64, context.c those for arm64 and for other processors. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h> /* a header of the C library, so that __GLIBC__ is defined */

/* Some processors keep a second copy of all return addresses, the shadow stack, and raise a fault
 * when a function returns to a different address.  A switch must therefore change the shadow stack
 * too, and ours does not.  If -fcf-protection makes the compiler mark this code as compatible with
 * a shadow stack (the default of Ubuntu's gcc), the C library does the switch.  The Makefile turns
 * that option off, so that you run the switch that you read. */
#if defined(__CET__) && (__CET__ & 2) != 0 && !defined(COROUTINE_UCONTEXT)
#define COROUTINE_UCONTEXT
#endif

#if defined(__x86_64__) && !defined(COROUTINE_UCONTEXT)
#define CONTEXT_X86_64
#elif defined(__aarch64__) && !defined(COROUTINE_UCONTEXT)
#define CONTEXT_ARM64
#elif defined(__GLIBC__)
#define CONTEXT_UCONTEXT
#include <ucontext.h>
#else
#error "Neither x86-64 (with -fcf-protection=none) nor arm64: this needs ucontext, so glibc."
#endif

struct context {
#ifdef CONTEXT_UCONTEXT
    ucontext_t registers;
#else
    void *stack_pointer; /* must be first: the switch finds it at offset 0 */
#endif
    char *stack; /* the lowest address */
    size_t stack_size;
    void *fake_stack; /* belongs to AddressSanitizer */
};

/* Save the registers of the running function in `from` and continue at `to`.  The call returns when
 * something switches back to `from`. */
void context_switch(struct context *from, const struct context *to);

/* Prepare a context whose stack and stack_size are set: the first switch to it calls entry(), which
 * must never return. */
void context_init(struct context *context, void (*entry)(void));

/* AddressSanitizer knows one stack per thread.  It must be told before each switch to another stack
 * and after it.  `finished` means that no switch will return to `from`'s current functions. */
#ifndef __has_feature
#define __has_feature(feature) 0 /* gcc defines __SANITIZE_ADDRESS__ instead */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
void asan_before_switch(struct context *from, const struct context *to, bool finished);
void asan_after_switch(struct context *here, struct context *previous);
#else
static inline void asan_before_switch(struct context *from, const struct context *to, bool finished)
{
    (void)from, (void)to, (void)finished;
}

static inline void asan_after_switch(struct context *here, struct context *previous)
{
    (void)here, (void)previous;
}
#endif

#endif
