/* The network that a packet takes: created for one run, and removed with it. */
#ifndef PATHS_H
#define PATHS_H

#include "hops.h"

#include <netinet/in.h>

struct path {
    enum via via;
    char server_address[INET_ADDRSTRLEN];
    char devices[DEVICES][NAME_SIZE];
    int server_netns, client_netns; /* network namespaces; -1: that of the tracer */
    int tap;                        /* the card's end of a TAP device, or -1 */
    int cpu;                        /* for the server and the client; -1: any */
};

/* Create the network.  False: this is not possible here, and `why` says so in one sentence. */
bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size);
void path_close(struct path *path);
/* To be called in a child process, before it opens a socket. */
bool path_enter_as_server(const struct path *path);
bool path_enter_as_client(const struct path *path);

#endif
