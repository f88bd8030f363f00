/* What epoll does in two situations that stage 04 never gets into.  Chapter 4 shows the output.
 *
 *   epoll-facts batch       an event that was returned before its descriptor was closed
 *   epoll-facts write-edge  when an edge-triggered wait reports EPOLLOUT
 *
 * Each line shows what the kernel answered.  It uses loopback and pipes only.  Linux only. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 5000, CHUNK = 65536 };

static int epoll_fd;
static char chunk[CHUNK];

/* Every call must succeed; a failure ends the program. */
static int check(int result, const char *what)
{
    if (result == -1) {
        perror(what);
        exit(1);
    }
    return result;
}

static void add(int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

/* Wait for at most this many milliseconds, and print what was reported for one descriptor. */
static void print_wait(const char *situation, int ms)
{
    struct epoll_event event = {0};
    int ready = check(epoll_wait(epoll_fd, &event, 1, ms), "epoll_wait");
    const char *in = (event.events & EPOLLIN) != 0 ? " EPOLLIN" : "";
    const char *out = (event.events & EPOLLOUT) != 0 ? " EPOLLOUT" : "";

    printf("%-44s%s%s%s\n", situation, ready == 0 ? " -" : "", in, out);
}

/* ---- batch ---- */

static void batch(void)
{
    struct epoll_event events[2];
    int first[2], second[2];

    check(pipe(first), "pipe");
    check(pipe(second), "pipe");
    add(first[0], EPOLLIN);
    add(second[0], EPOLLIN);
    check((int)write(first[1], "a", 1), "write");
    check((int)write(second[1], "b", 1), "write");
    int ready = check(epoll_wait(epoll_fd, events, 2, WAIT_MS), "epoll_wait");
    printf("epoll_wait returns %d events: fd %d and fd %d\n", ready, events[0].data.fd,
           events[1].data.fd);
    close(events[1].data.fd);
    int newcomer = check(dup(STDOUT_FILENO), "dup");
    printf("the program closes fd %d; the next descriptor that it opens is fd %d\n",
           events[1].data.fd, newcomer);
    printf("events[1] still says: fd %d, %s\n", events[1].data.fd,
           (events[1].events & EPOLLIN) != 0 ? "EPOLLIN" : "nothing");
    ready = check(epoll_wait(epoll_fd, events, 2, 0), "epoll_wait");
    printf("the next epoll_wait returns %d event: fd %d\n", ready, events[0].data.fd);
}

/* ---- write-edge ---- */

/* A TCP connection over loopback.  ends[0] is non-blocking. */
static void connect_ends(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");

    check(bind(listener, (struct sockaddr *)&address, size), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    ends[1] = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(ends[1], (struct sockaddr *)&address, size), "connect");
    ends[0] = check(accept(listener, NULL, NULL), "accept");
    check(fcntl(ends[0], F_SETFL, O_NONBLOCK), "fcntl");
    close(listener);
}

/* Returns how many bytes the socket took. */
static size_t send_until_full(int fd)
{
    size_t total = 0;
    ssize_t sent;

    while ((sent = send(fd, chunk, sizeof chunk, 0)) > 0)
        total += (size_t)sent;
    check(errno == EAGAIN ? 0 : -1, "send");
    return total;
}

static void receive(int fd, size_t total)
{
    while (total > 0)
        total -= (size_t)check((int)recv(fd, chunk, total < CHUNK ? total : CHUNK, 0), "recv");
}

static void write_edge(void)
{
    int ends[2];

    connect_ends(ends);
    add(ends[0], EPOLLIN | EPOLLOUT | EPOLLET);
    print_wait("EPOLL_CTL_ADD; the send buffer is empty:", WAIT_MS);
    print_wait("wait again:", 0);
    check((int)send(ends[0], chunk, 5, 0), "send");
    receive(ends[1], 5);
    print_wait("send 5 bytes; the client reads them:", 0);
    size_t total = send_until_full(ends[0]);
    print_wait("send until EAGAIN:", 0);
    receive(ends[1], total);
    print_wait("the client reads everything:", WAIT_MS);
    print_wait("wait again:", 0);
    check((int)send(ends[1], chunk, 5, 0), "send");
    print_wait("the client sends 5 bytes:", WAIT_MS);
}

int main(int argc, char **argv)
{
    const char *name = argc == 2 ? argv[1] : "";

    epoll_fd = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    if (strcmp(name, "batch") == 0)
        batch();
    else if (strcmp(name, "write-edge") == 0)
        write_edge();
    else
        return fputs("usage: epoll-facts batch | write-edge\n", stderr), 2;
    return 0;
}
