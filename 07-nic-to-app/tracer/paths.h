/* The network that a packet takes: made for one run, and gone with it. */
#ifndef PATHS_H
#define PATHS_H

#include "hops.h"

#include <netinet/in.h>

struct path {
    enum via via;
    char server_address[INET_ADDRSTRLEN];
    char devices[DEVICES][NAME_SIZE];
    int server_space, client_space; /* network namespaces; -1: the one we are in */
    int tap;                        /* the card's end of a TAP device; -1 */
    int cpu;                        /* for the server and the client; -1: any */
};

/* False: it cannot be made here, and `why` says so in one sentence. */
bool path_open(struct path *path, enum via via, int cpu, char *why, size_t size);
void path_close(struct path *path);
/* In a child process, before it begins. */
bool path_enter_as_server(const struct path *path);
bool path_enter_as_client(const struct path *path);

#endif
