/* The client that sends the packets, in a process of its own. */
#ifndef CLIENT_H
#define CLIENT_H

#include "paths.h"

#include <stdbool.h>
#include <sys/types.h>

#define MESSAGE "one small step\n" /* what is sent, and comes back */
#define MESSAGE_SIZE (sizeof MESSAGE - 1)
#define WARM_UP 20 /* echoes before the first that counts: caches, page faults, slow start */
#define SKIPPED                                                                                    \
    1 /* and one that is traced already: a blocked server then waits in a call we saw              \
       */
#define PAUSE_NS 300000 /* between two packets, so that the server goes to sleep again */

struct client {
    pid_t pid;
    int from, to; /* it says here how far it is; it goes on at a byte from us */
};

bool client_start(struct client *client, const struct path *path, unsigned port, unsigned packets);
/* What it said within this time: 'r' ready, 'd' done, 'c' cannot connect, 'n' no answer; 0: nothing
 * yet, or a signal came. */
char client_said(const struct client *client, int milliseconds);
int client_error(const struct client *client); /* why, after 'c' */
void client_go(const struct client *client);
void client_end(struct client *client);

#endif
