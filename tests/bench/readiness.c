/* What epoll and select report, and that epoll does not read data.  The process connects to
 * itself, so that nothing else happens on the connection.  tests/prove.bats reads the output: one
 * fact and its value on each line. */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 1000 /* loopback delivers in microseconds, so this is never reached */

static void check(bool ok, const char *call)
{
    if (ok)
        return;
    perror(call);
    exit(1);
}

struct pair {
    int client, server;
};

static struct pair connected(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct pair pair;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    check(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&address, &size) == 0,
          "listen");
    pair.client = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(pair.client, (struct sockaddr *)&address, size) == 0, "connect");
    pair.server = accept(listener, NULL, NULL);
    check(pair.server != -1, "accept");
    close(listener);
    return pair;
}

static int watched(int fd, unsigned bits)
{
    struct epoll_event event = {.events = bits};
    int epoll_fd = epoll_create1(0);

    check(epoll_fd != -1 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return epoll_fd;
}

/* The flags that epoll_wait() reports within `ms` milliseconds; 0 if it reports nothing. */
static unsigned reported(int epoll_fd, int ms)
{
    struct epoll_event event = {0};
    int n = epoll_wait(epoll_fd, &event, 1, ms);

    check(n != -1, "epoll_wait");
    return n == 0 ? 0 : event.events;
}

static int unread(int fd)
{
    int bytes = 0;

    check(ioctl(fd, FIONREAD, &bytes) == 0, "FIONREAD");
    return bytes;
}

static void send_bytes(struct pair *pair, int count)
{
    char bytes[4096] = {0};

    check(send(pair->client, bytes, (size_t)count, 0) == count, "send");
}

/* With unread bytes: how many of five calls of epoll_wait() report them, and how many bytes are
 * unread before and after? */
static void level_or_edge(const char *name, unsigned bits)
{
    struct pair pair = connected();
    int epoll_fd = watched(pair.server, EPOLLIN | bits), reports = 0;

    send_bytes(&pair, 1000);
    reports += reported(epoll_fd, TIMEOUT_MS) != 0;
    int before = unread(pair.server);
    for (int i = 1; i < 5; i++)
        reports += reported(epoll_fd, 0) != 0;
    printf("%s-reports %d\n", name, reports);
    printf("%s-bytes %d %d\n", name, before, unread(pair.server));
    send_bytes(&pair, 1);
    printf("%s-again %d\n", name, reported(epoll_fd, TIMEOUT_MS) != 0);
    close(epoll_fd);
    close(pair.client);
    close(pair.server);
}

static void print_bits(const char *name, unsigned bits)
{
    printf("%s%s%s%s%s%s\n", name, (bits & EPOLLIN) != 0 ? " EPOLLIN" : "",
           (bits & EPOLLOUT) != 0 ? " EPOLLOUT" : "", (bits & EPOLLERR) != 0 ? " EPOLLERR" : "",
           (bits & EPOLLHUP) != 0 ? " EPOLLHUP" : "", (bits & EPOLLET) != 0 ? " EPOLLET" : "");
}

/* The client closes, with FIN or with a reset.  Print the flags that are reported. */
static void close_client(const char *name, bool by_reset, unsigned also)
{
    struct linger hard = {.l_onoff = by_reset, .l_linger = 0};
    struct pair pair = connected();
    int epoll_fd = watched(pair.server, EPOLLIN | also);

    if (by_reset)
        check(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0, "SO_LINGER");
    close(pair.client);
    print_bits(name, reported(epoll_fd, TIMEOUT_MS));
    close(epoll_fd);
    close(pair.server);
}

/* Wait for `bits`, and print which of select()'s three sets have the descriptor then. */
static void print_sets(const char *name, int fd, unsigned bits)
{
    static const char *const words[] = {" readable", " writable", " exceptional"};
    fd_set sets[3];
    int epoll_fd = watched(fd, bits);

    check(reported(epoll_fd, TIMEOUT_MS) != 0, name);
    for (int i = 0; i < 3; i++) {
        FD_ZERO(&sets[i]);
        FD_SET(fd, &sets[i]);
    }
    check(select(fd + 1, &sets[0], &sets[1], &sets[2], NULL) != -1, "select");
    printf("%s", name);
    for (int i = 0; i < 3; i++)
        printf("%s", FD_ISSET(fd, &sets[i]) ? words[i] : "");
    printf("\n");
    close(epoll_fd);
}

/* The sets that report an error, and those that report a byte of out-of-band data. */
static void select_sets(void)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    struct pair pair = connected(), urgent = connected();

    check(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0, "SO_LINGER");
    close(pair.client);
    print_sets("select-reset", pair.server, EPOLLIN);
    close(pair.server);
    check(send(urgent.client, "!", 1, MSG_OOB) == 1, "send");
    print_sets("select-urgent", urgent.server, EPOLLPRI);
    close(urgent.client);
    close(urgent.server);
}

int main(void)
{
    level_or_edge("level", 0);
    level_or_edge("edge", EPOLLET);
    close_client("closed", false, 0);
    close_client("closed-edge", false, EPOLLET);
    close_client("reset", true, 0);
    select_sets();
    return 0;
}
