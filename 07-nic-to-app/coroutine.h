/* Coroutines with a stack of their own: a function that can stop in the middle, and go on later. */
#ifndef COROUTINE_H
#define COROUTINE_H

#include <stdbool.h>

struct coroutine;

/* One that will run body(number) on a stack of its own.  It begins with its first resume.  NULL:
 * there is no memory for its stack, errno says why. */
struct coroutine *coroutine_new(void (*body)(int), int number);

/* Run it until it waits: true.  False: its body has returned, and it is gone.  Only the loop calls
 * this, never a coroutine. */
bool coroutine_resume(struct coroutine *coroutine);

/* Called in a coroutine: back to the loop.  Returns when the loop resumes this coroutine. */
void coroutine_wait(void);

/* Give back the stacks that were kept for the next ones. */
void coroutine_tidy(void);

#endif
