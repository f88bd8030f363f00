/* The kernel's tracepoints, read through an instance of our own. */
#ifndef TRACEFS_H
#define TRACEFS_H

#include "recording.h"

#define MOST_NAMES 24 /* of the threads of a server, if we have to know them by their names */
#define MOST_TASKS 24

/* Whose events we want. */
struct subject {
    unsigned port;
    int client; /* our own client's thread; 0: none */
    char devices[DEVICES][NAME_SIZE];
    int tasks[MOST_TASKS]; /* the server's threads; none: know them by name, for more may come */
    char names[MOST_NAMES][NAME_SIZE];
    bool many_tasks, many_names; /* more than there is room for */
    bool card;                   /* the device can interrupt */
};

struct tracer;

/* An instance, which sees nothing yet.  NULL: it cannot be had, and `why` says what is missing in
 * one sentence. */
struct tracer *tracer_open(unsigned packets, char *why, size_t size);
bool tracer_ask(struct tracer *tracer, const struct subject *subject); /* false: for nothing */
bool tracer_start(struct tracer *tracer);
void tracer_stop(struct tracer *tracer);
bool tracer_drain(struct tracer *tracer, struct recording *recording);   /* false: no memory */
void tracer_account(struct tracer *tracer, struct recording *recording); /* what was asked, lost */
void tracer_close(struct tracer *tracer);

#endif
