/* A server for `make bench` with libevent's lowest interface: one persistent read event for each
 * client, and recv() and send() in its callback.  Usage: libevent PORT */
#define _DEFAULT_SOURCE

#include <event2/event.h>

#include "listen.h"

static struct event_base *base;
static char buffer[65536];

/* A short write closes the client.  The benchmark's clients always read, so it does not occur. */
static void can_read(evutil_socket_t fd, short what, void *own_event)
{
    struct event **own = own_event;
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);

    (void)what;
    if (n > 0 && send(fd, buffer, (size_t)n, 0) == n)
        return;
    event_free(*own);
    free(own);
    close(fd);
}

static void can_accept(evutil_socket_t listener, short what, void *unused)
{
    int fd;

    (void)what;
    (void)unused;
    while ((fd = accept_client(listener)) != -1) {
        struct event **own = malloc(sizeof *own);
        if (own == NULL)
            abort();
        *own = event_new(base, fd, EV_READ | EV_PERSIST, can_read, own);
        event_add(*own, NULL);
    }
}

int main(int argc, char **argv)
{
    base = event_base_new();
    if (argc != 2 || base == NULL)
        return 2;
    struct event *listener =
        event_new(base, listen_on(argv[1]), EV_READ | EV_PERSIST, can_accept, NULL);
    event_add(listener, NULL);
    event_base_dispatch(base);
    return 0;
}
