/* Coroutines with stacks of their own: functions that can stop in the middle and continue later. */
#ifndef COROUTINE_H
#define COROUTINE_H

#include <stdbool.h>

struct coroutine;

/* Create a coroutine that will run body(argument) on its own stack.  It starts with the first
 * coroutine_resume().  Returns NULL, with errno set, if there is no memory for the stack. */
struct coroutine *coroutine_new(void (*body)(int), int argument);

/* Run the coroutine until it yields; returns true.  Returns false if its body has returned instead;
 * the coroutine then no longer exists.  Only the event loop may call this, never a coroutine. */
bool coroutine_resume(struct coroutine *coroutine);

/* Return to the event loop.  Only a coroutine may call this.  The call returns when the loop
 * resumes the coroutine. */
void coroutine_yield(void);

/* Unmap the stacks that were cached for reuse. */
void coroutine_cleanup(void);

#endif
