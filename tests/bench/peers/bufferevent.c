/* A server for `make bench` with libevent's bufferevents, its usual interface.
 * Usage: bufferevent PORT */
#define _DEFAULT_SOURCE

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "listen.h"

static void can_read(struct bufferevent *client, void *unused)
{
    (void)unused;
    bufferevent_write_buffer(client, bufferevent_get_input(client));
}

static void has_ended(struct bufferevent *client, short what, void *unused)
{
    (void)what;
    (void)unused;
    bufferevent_free(client);
}

static void can_accept(evutil_socket_t listener, short what, void *base)
{
    int fd;

    (void)what;
    while ((fd = accept_client(listener)) != -1) {
        struct bufferevent *client = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
        bufferevent_setcb(client, can_read, NULL, has_ended, NULL);
        bufferevent_enable(client, EV_READ | EV_WRITE);
    }
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();

    if (argc != 2 || base == NULL)
        return 2;
    struct event *listener =
        event_new(base, listen_on(argv[1]), EV_READ | EV_PERSIST, can_accept, base);
    event_add(listener, NULL);
    event_base_dispatch(base);
    return 0;
}
