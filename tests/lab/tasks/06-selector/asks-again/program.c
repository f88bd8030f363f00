/* A server in which a connection begins with a login.  After that, a different callback, with its
 * own data, should handle what the client sends. */
#define _POSIX_C_SOURCE 200809L

#include "selector.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct selector *selector;
static char session[] = "session of anna";
static bool is_served; /* a command has reached on_command(), with the session */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void read_line(int fd, char *line, size_t size)
{
    ssize_t n = recv(fd, line, size - 1, 0);

    line[n > 0 ? n : 0] = '\0';
}

static void on_command(const struct selector_key *key, int events)
{
    char line[40];

    (void)events;
    read_line(key->fd, line, sizeof line);
    const char *data = key->data != NULL ? key->data : "NULL";
    printf("    on_command() reads \"%s\"; its data is: %s\n", line, data);
    is_served = key->data == session;
}

static void on_login(const struct selector_key *key, int events)
{
    char line[40];

    (void)events;
    read_line(key->fd, line, sizeof line);
    printf("    on_login() reads \"%s\"\n", line);
    int result = selector_modify(selector, key->fd, EVENT_READ, on_command, session);
    printf("    selector_modify(fd, EVENT_READ, on_command, session) returns %d\n", result);
}

static void client_sends(int fd, const char *line)
{
    printf("  The client sends \"%s\".\n", line);
    check(send(fd, line, strlen(line), 0) != -1, "send");
    check(selector_dispatch(selector, &(struct timespec){1, 0}) == 1, "selector_dispatch");
}

int main(void)
{
    int pair[2];

    alarm(5);
    selector = selector_open(NULL);
    check(selector != NULL, "selector_open");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    printf("A client connects: selector_register(fd, EVENT_READ, on_login, NULL)\n");
    check(selector_register(selector, pair[0], EVENT_READ, on_login, NULL) == 0, "register");
    client_sends(pair[1], "login anna");
    client_sends(pair[1], "list");
    selector_close(selector);
    if (!is_served)
        printf("Wrong: after the login, on_command() has to handle what the client sends.\n");
    return is_served ? 0 : 1;
}
