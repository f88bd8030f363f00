/* The server that is traced: started by us, or found by its port. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include "paths.h"
#include "recording.h"
#include "tracefs.h"

#include <sys/types.h>

struct traced {
    pid_t pid;           /* 0: not found */
    bool ours;           /* we started it, and end it */
    bool hidden;         /* somebody listens there, and we may not see who */
    const char *address; /* of one that we found */
    unsigned port;
    int stamps; /* a file that it may stamp, or -1 */
};

/* Start it, and wait until it listens.  False: `why` says why not. */
bool traced_start(struct traced *traced, const char *program, const struct path *path,
                  unsigned port, char *why, size_t size);
bool traced_find(struct traced *traced, const char *address, unsigned port, char *why, size_t size);
/* Its threads: by number, or if more may come, by name. */
void traced_threads(const struct traced *traced, bool more_may_come, struct subject *subject);
bool traced_stamps(const struct traced *traced, struct recording *recording);
void traced_end(struct traced *traced);

#endif
