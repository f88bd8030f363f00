/* Which events the kernel should write: those of one server, its client and their devices. */
#ifndef FILTER_H
#define FILTER_H

#include "hops.h"

#define MAX_TASKS 24 /* threads that a filter can name by number */
#define MAX_NAMES 24 /* and by name */
#define FILTER_SIZE 2048

/* What a run traces.  Events of other programs are not written. */
struct scope {
    unsigned port;
    int client; /* the thread of the tracer's own client; 0: there is none */
    char devices[DEVICES][NAME_SIZE];
    bool can_interrupt;   /* the device is a card */
    int tasks[MAX_TASKS]; /* the server's threads; none: they are recognized by their names */
    char names[MAX_NAMES][NAME_SIZE];
    bool too_many_tasks, too_many_names;
};

/* Events of a type that cannot occur in this run are not asked for: each one slows the traced
 * program down. */
bool filter_applies(const struct scope *scope, enum filter filter);
/* Without a filter, an event type is written for the whole machine. */
bool filter_is_needed(enum filter filter);
/* The text for the event's `filter` file in tracefs.  Empty: there is nothing to filter by. */
void filter_text(const struct scope *scope, enum filter filter, char text[FILTER_SIZE]);

#endif
