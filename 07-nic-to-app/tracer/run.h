/* One run: a server, a client, N packets between them, and the events that they cause. */
#ifndef RUN_H
#define RUN_H

#include "recording.h"

struct plan {
    enum via via;
    unsigned packets;
    const char *server;  /* the program to be traced; NULL: it runs already, on this port */
    const char *address; /* of a server that runs already, or is to serve others */
    unsigned port;       /* the same; 0: any that is free */
    const char *device;  /* whose packets we follow, of a server that runs already */
    int cpu;             /* for the server and the client; -1: any */
    bool watch;          /* send nothing: follow what others send */
    bool frames;         /* tell of every frame that we write by hand */
};

/* RAN: the recording holds what was seen.  CANNOT: something is missing here, and `why` says what;
 * try another rung.  FAILED: it should have worked.  STOPPED: by a signal. */
enum run { RAN, CANNOT, FAILED, STOPPED };

enum run run_traced(const struct plan *plan, struct recording *recording, char *why, size_t size);
enum run run_sockets(unsigned packets, struct recording *recording, char *why, size_t size);
void run_catch_signals(void);
bool run_stopped(void);

#endif
