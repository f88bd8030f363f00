/* A server for `make bench` with libev: one watcher for each client, and recv() and send() in its
 * callback.  Usage: libev PORT */
#define _DEFAULT_SOURCE

#include <ev.h>

#include "listen.h"

static char buffer[65536];

/* A short write closes the client.  The benchmark's clients always read, so it does not occur. */
static void can_read(struct ev_loop *loop, ev_io *client, int events)
{
    ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);

    (void)events;
    if (n > 0 && send(client->fd, buffer, (size_t)n, 0) == n)
        return;
    ev_io_stop(loop, client);
    close(client->fd);
    free(client);
}

static void can_accept(struct ev_loop *loop, ev_io *listener, int events)
{
    int fd;

    (void)events;
    while ((fd = accept_client(listener->fd)) != -1) {
        ev_io *client = malloc(sizeof *client);
        if (client == NULL)
            abort();
        ev_io_init(client, can_read, fd, EV_READ);
        ev_io_start(loop, client);
    }
}

int main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(0);
    ev_io listener;

    if (argc != 2 || loop == NULL)
        return 2;
    ev_io_init(&listener, can_accept, listen_on(argv[1]), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
