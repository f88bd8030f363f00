/* The kernel's tracepoints: enable them for one run, and read their events. */
#ifndef TRACER_H
#define TRACER_H

#include "filter.h"
#include "recording.h"

struct tracer;

/* Get ready to trace, without enabling any event yet.  NULL: this is not possible, and `why` says
 * in one sentence what is missing. */
struct tracer *tracer_open(unsigned packets, char *why, size_t size);
bool tracer_enable(struct tracer *tracer,
                   const struct scope *scope); /* false: no event is enabled */
bool tracer_start(struct tracer *tracer);
void tracer_stop(struct tracer *tracer);
/* Move the events from the kernel's rings to the recording.  False: no memory. */
bool tracer_drain(struct tracer *tracer, struct recording *recording);
/* Note in the recording what was asked for, what was not available and how much was lost. */
void tracer_account(struct tracer *tracer, struct recording *recording);
void tracer_close(struct tracer *tracer);

#endif
