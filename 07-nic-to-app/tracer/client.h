/* The client that sends the packets, in a process of its own. */
#ifndef CLIENT_H
#define CLIENT_H

#include "paths.h"

#include <stdbool.h>
#include <sys/types.h>

#define MESSAGE "one small step\n" /* what is sent and must come back */
#define MESSAGE_SIZE (sizeof MESSAGE - 1)
#define WARM_UP 20 /* echoes before the first traced one: caches, page faults, slow start */
#define SKIPPED 1  /* traced packets that do not count, so that a blocked call is traced, too */
#define PAUSE_NS 300000 /* between two packets, so that the server goes back to sleep */

struct client {
    pid_t pid;
    int from, to; /* pipes: for its reports, and for the byte that lets it continue */
};

bool client_start(struct client *client, const struct path *path, unsigned port, unsigned packets);
/* Wait for a report: 'r' ready, 'd' done, 'c' cannot connect, 'n' no answer.  0: there was none
 * within this time, or a signal came. */
char client_wait_report(const struct client *client, int milliseconds);
int client_error(const struct client *client); /* the errno that follows the report 'c' */
void client_go(const struct client *client);
void client_end(struct client *client);
void client_pause(void); /* for PAUSE_NS */

#endif
