/* An echo server that keeps the contract and is written differently from ours, to test the tests.
 *
 * It takes the port as its only argument, prints nothing, has no -v, adds one descriptor to epoll
 * before it waits, opens the epoll instance before the listening socket, uses accept4(), keeps a
 * pointer in each event, and looks four times in a second whether SIGTERM has arrived.  The patches in
 * this folder add one mistake each; tests/foreign/build builds them. */
#define _GNU_SOURCE

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_MS 100 /* after a shortage of descriptors or memory */
#define CHECK_MS 250 /* a signal that arrives just before the wait is noticed after it */

struct client {
    int fd;
    char *pending; /* bytes that send() has not taken yet, or NULL */
    size_t length, sent;
    struct client *next_closed; /* freed after the batch, in which it may occur again */
};

static int epoll_fd, listener;
static bool paused; /* the listener is not watched */
static struct client *closed;
static volatile sig_atomic_t told_to_stop;

static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    told_to_stop = 1;
}

/* Add the descriptor to the interest list, or change its events. */
static bool want(int operation, int fd, unsigned events, struct client *client)
{
    struct epoll_event event = {.events = events, .data.ptr = client};

    return epoll_ctl(epoll_fd, operation, fd, &event) == 0;
}

static void drop(struct client *client)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
    close(client->fd);
    client->fd = -1;
    free(client->pending);
    client->pending = NULL;
    client->next_closed = closed;
    closed = client;
}

static void free_closed(void)
{
    while (closed != NULL) {
        struct client *next = closed->next_closed;
        free(closed);
        closed = next;
    }
}

/* Whether the same call may succeed later. */
static bool is_temporary(int error)
{
    return error == EAGAIN || error == EINTR || error == ENOBUFS;
}

static ssize_t give(struct client *client, const char *data, size_t length)
{
    ssize_t n = send(client->fd, data, length, MSG_NOSIGNAL);

    if (n == -1 && is_temporary(errno)) {
        if (errno == ENOBUFS)
            usleep(1000);
        return 0;
    }
    return n;
}

static void keep(struct client *client, const char *data, size_t length)
{
    client->pending = malloc(length);
    if (client->pending == NULL) {
        drop(client);
        return;
    }
    memcpy(client->pending, data, length);
    client->length = length;
    client->sent = 0;
    if (!want(EPOLL_CTL_MOD, client->fd, EPOLLOUT, client))
        drop(client);
}

static void write_pending(struct client *client)
{
    ssize_t n = give(client, client->pending + client->sent, client->length - client->sent);

    if (n == -1) {
        drop(client);
        return;
    }
    client->sent += (size_t)n;
    if (client->sent < client->length)
        return;
    free(client->pending);
    client->pending = NULL;
    if (!want(EPOLL_CTL_MOD, client->fd, EPOLLIN, client))
        drop(client);
}

static void read_and_echo(struct client *client)
{
    static char buffer[16384];
    ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);

    if (got == -1 && is_temporary(errno))
        return;
    if (got <= 0) {
        drop(client);
        return;
    }
    ssize_t n = give(client, buffer, (size_t)got);
    if (n == -1)
        drop(client);
    else if (n < got)
        keep(client, buffer + n, (size_t)(got - n));
}

static void serve_client(struct client *client, unsigned events)
{
    (void)events; /* whatever it is, the call that comes next reports it */
    if (client->pending != NULL)
        write_pending(client);
    else
        read_and_echo(client);
}

static void stop_accepting(void)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL);
    paused = true;
}

static void accept_one(void)
{
    int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd == -1) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            stop_accepting();
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    client->fd = fd;
    if (!want(EPOLL_CTL_ADD, fd, EPOLLIN, client))
        drop(client);
}

static void serve(void)
{
    struct epoll_event events[64];

    while (!told_to_stop) {
        int n = epoll_wait(epoll_fd, events, 64, paused ? PAUSE_MS : CHECK_MS);
        if (n == -1 && errno != EINTR)
            usleep(1000 * PAUSE_MS);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (client == NULL)
                accept_one();
            else if (client->fd != -1)
                serve_client(client, events[i].events);
        }
        bool may_accept = n == 0 || closed != NULL; /* time has passed, or a descriptor is free */
        free_closed();
        if (paused && may_accept && want(EPOLL_CTL_ADD, listener, EPOLLIN, NULL))
            paused = false;
    }
}

static void listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short)port)};
    int on = 1;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == -1 ||
        listen(listener, SOMAXCONN) == -1)
        exit(1);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_stop_signal};

    if (argc != 2)
        return 2;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listen_on(atoi(argv[1]));
    if (epoll_fd == -1 || !want(EPOLL_CTL_ADD, listener, EPOLLIN, NULL))
        return 1;
    serve();
    return 0;
}
