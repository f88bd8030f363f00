/* One run: a server, a client, N packets between them, and the events that they cause. */
#ifndef RUN_H
#define RUN_H

#include "recording.h"

struct plan {
    enum via via;
    unsigned packets;
    const char *server;  /* the program to start; NULL: it is already running, on this port */
    const char *address; /* of a server that is already running, or that is to serve others */
    unsigned port;       /* the same; 0: any free port */
    const char
        *device; /* over which the packets come, if others send them or the server is running */
    int cpu;     /* for the server and the client; -1: any */
    bool watch;  /* send nothing: follow what others send */
    bool show_frames; /* print every frame that the tracer writes or reads as the card */
};

enum run_result {
    RUN_DONE,        /* the recording holds the events */
    RUN_UNAVAILABLE, /* this machine or this user lacks what is needed; `why` says what */
    RUN_FAILED,      /* it should have worked; `why` says what went wrong */
    RUN_STOPPED      /* by a signal */
};

/* With tracepoints, as root. */
enum run_result run_traced(const struct plan *plan, struct recording *recording, char *why,
                           size_t size);
/* With the time stamps of sockets, as any user.  See sockets.c. */
enum run_result run_sockets(unsigned packets, struct recording *recording, char *why, size_t size);
void run_catch_signals(void);
bool run_stopped(void); /* a signal asked this program to end */

#endif
