/* A chat.  Two users send a message while the program is busy, so one batch reports both of them.
 * The one who is handled first has the other one removed.  Then a new user joins and gets the
 * descriptor number that has just become free.  The new user sends nothing. */
#define _POSIX_C_SOURCE 200809L

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct selector *selector;
static int users[2];      /* the program's ends of two connections, */
static int new_user;      /* and of a third one; only its duplicates are registered */
static bool is_wrong;     /* the callback of the new user was called */
static bool is_moderated; /* one of the two users has been removed */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void on_new_user(const struct selector_key *key, int events)
{
    printf("  The callback of the new user, fd %d, is called for %s.\n", key->fd,
           events == EVENT_READ ? "EVENT_READ" : "other events");
    is_wrong = true;
}

static void on_user(const struct selector_key *key, int events)
{
    int other = key->fd == users[0] ? users[1] : users[0];

    (void)events;
    if (is_moderated)
        return;
    is_moderated = true;
    printf("  The callback of fd %d removes fd %d: unregister, close.\n", key->fd, other);
    selector_unregister(selector, other);
    close(other);
    int fd = dup(new_user); /* like accept(), it returns the lowest number that is free */
    check(fd == other, "dup");
    printf("  A new user joins, gets fd %d, and sends nothing.\n", fd);
    check(selector_register(selector, fd, EVENT_READ, on_new_user, NULL) == 0, "register");
}

/* Returns our end of a connection.  The user's end stays open. */
static int connection(const char *message)
{
    int pair[2];

    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    check(message == NULL || write(pair[1], message, 1) == 1, "write");
    return pair[0];
}

int main(void)
{
    alarm(5);
    selector = selector_open(NULL);
    check(selector != NULL, "selector_open");
    users[0] = connection("a");
    users[1] = connection("b");
    new_user = connection(NULL);
    for (int i = 0; i < 2; i++)
        check(selector_register(selector, users[i], EVENT_READ, on_user, NULL) == 0, "register");
    printf("Users with fd %d and fd %d have sent a message.\n", users[0], users[1]);
    int count = selector_dispatch(selector, &(struct timespec){0});
    printf("The batch is over; %d descriptors were ready.\n", count);
    selector_close(selector);
    printf("%s\n", is_wrong
                       ? "Wrong: the new user has sent nothing. recv() fails, and the user is out."
                       : "The new user was left alone.");
    return is_wrong ? 1 : 0;
}
