/* The server that is traced: started by the tracer, or found by its port. */
#ifndef TARGET_H
#define TARGET_H

#include "filter.h"
#include "paths.h"
#include "recording.h"

#include <sys/types.h>

struct target {
    pid_t pid;           /* 0: not found */
    bool ours;           /* the tracer started it, and stops it */
    bool hidden;         /* a server listens there, but it is not visible which process it is */
    const char *address; /* of a server that was found */
    unsigned port;
    int stamps; /* the file into which it may write stamps, or -1 */
};

/* Start the program, and wait until it listens.  False: `why` says what is wrong. */
bool target_start(struct target *target, const char *program, const struct path *path,
                  unsigned port, char *why, size_t size);
/* Find the server that listens on this address and port.  False: `why` says what is wrong. */
bool target_find(struct target *target, const char *address, unsigned port, char *why, size_t size);
/* Add the server's threads to the scope: by number or, if more may start, by name. */
void target_threads(const struct target *target, bool more_may_start, struct scope *scope);
/* Add the server's stamps to the recording.  False: no memory. */
bool target_stamps(const struct target *target, struct recording *recording);
void target_stop(struct target *target);

#endif
