/* timers.h: timers in a heap, for the task call-later.  This file is complete. */
#ifndef TIMERS_H
#define TIMERS_H

#include <stdbool.h>
#include <stdlib.h>

struct timer {
    long long when; /* on any clock, in any unit */
    void (*callback)(void *data);
    void *data;
};

/* A heap is an array in which no element is earlier than its parent: the parent of element i is
 * (i - 1) / 2.  So timers[0] is the earliest one, if count > 0.  An empty heap is all zeros; free()
 * its array at the end. */
struct timer_heap {
    struct timer *timers;
    int count, capacity;
};

/* Add a timer: it moves up as long as its parent is later.  Returns false if there is no memory. */
static inline bool timers_add(struct timer_heap *heap, struct timer timer)
{
    if (heap->count == heap->capacity) {
        int capacity = heap->capacity > 0 ? 2 * heap->capacity : 64;
        struct timer *larger = realloc(heap->timers, (size_t)capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        heap->timers = larger;
        heap->capacity = capacity;
    }
    int i = heap->count++;
    for (; i > 0 && heap->timers[(i - 1) / 2].when > timer.when; i = (i - 1) / 2)
        heap->timers[i] = heap->timers[(i - 1) / 2];
    heap->timers[i] = timer;
    return true;
}

/* Remove the earliest timer, and return it: the last one takes its place, and moves down.  The heap
 * must not be empty. */
static inline struct timer timers_take(struct timer_heap *heap)
{
    struct timer *timers = heap->timers, first = timers[0], last = timers[--heap->count];
    int i = 0;

    for (int child = 1; child < heap->count; child = 2 * i + 1) {
        if (child + 1 < heap->count && timers[child + 1].when < timers[child].when)
            child++;
        if (last.when <= timers[child].when)
            break;
        timers[i] = timers[child];
        i = child;
    }
    timers[i] = last;
    return first;
}

#endif
