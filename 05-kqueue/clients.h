/* clients.h: accept, read, echo and close, for the loops of stages 02 to 06.  See chapter 2.
 *
 * Each stage implements the three functions of the first section, and its loop calls the others.
 * If a function is missing, the linker names it. */
#ifndef CLIENTS_H
#define CLIENTS_H

#include <stdbool.h>
#include <stddef.h>

/* ---- What server.c provides: the mechanism ---- */

// ANCHOR: mechanism
enum interest { INTEREST_READ, INTEREST_WRITE };

/* Add fd to the descriptors that the loop waits for; it waits until fd is readable.  Returns false
 * if that fails; errno says why. */
bool watch(int fd);

/* From now on, wait until a client's fd is readable or writable, as `interest` says.  Returns false
 * if that fails; errno says why. */
bool set_interest(int fd, enum interest interest);

/* Remove fd: from now on, no event on fd can end the wait. */
void unwatch(int fd);
// ANCHOR_END: mechanism

/* ---- What the loop of server.c calls ---- */

// ANCHOR: client
/* A client and the bytes that send() did not take.  The invariant between two events:
 *   pending == NULL: we wait to read from the client.
 *   pending != NULL: we wait to write to the client, and do not read from it.
 * So an idle client costs only this struct, and a client that never reads costs one buffer. */
struct client {
    char *pending;
    size_t length; /* of pending */
    size_t sent;   /* how much of it has been sent */
    int fd;
    bool open;
};
// ANCHOR_END: client

/* The open client with this descriptor.  NULL if there is none: an event may arrive for a client
 * that was closed earlier in the same batch.  The pointer is valid until the client is closed. */
struct client *client_by_fd(int fd);

/* Accept the connections that wait in the backlog. */
void client_accept(void);

/* Do what this client is waiting for: read and echo, or send what is pending.  Returns true if
 * another call may succeed immediately, and false if the caller must wait for the next event or the
 * client was closed.  NULL is allowed and does nothing. */
bool client_ready(struct client *client);

/* Change what we wait for; a client for which this fails is closed.  Always returns false, for use
 * as the result of client_ready(). */
bool client_set_interest(struct client *client, enum interest interest);

/* Resume accepting if the pause is over.  Returns the timeout for the next wait, in milliseconds;
 * -1 means no timeout. */
int wait_timeout_ms(void);

/* Close the clients, the listener and the shutdown pipe. */
void clients_close(void);

#endif
