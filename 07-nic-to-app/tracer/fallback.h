/* The sources of events, from the best to the last resort. */
#ifndef FALLBACK_H
#define FALLBACK_H

#include "output.h"
#include "run.h"

/* Trace with tracepoints; without them with sockets; without those replay the file `last_resort`.
 * `was_specific`: the user asked for a path, a CPU or a server, which sockets cannot use.  Returns
 * the exit code. */
int trace_with_best_source(const struct plan *plan, bool was_specific, const char *last_resort,
                           const struct output *output);
int replay(const char *file, const struct output *output);

#endif
