/* What the kernel does in three situations that the stages avoid.  Chapters 1 to 3 show the output.
 *
 *   socket-facts gone   send() to a client that has closed, or reset, the connection
 *   socket-facts bits   the first argument of select()
 *   socket-facts close  close() while the send buffer is full
 *
 * Each line shows what the kernel answered.  It uses loopback only.  The answers are Linux's: a BSD
 * has some others. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 5000, CHUNK = 65536, FD = 20 };

static char chunk[CHUNK];
static volatile sig_atomic_t sigpipe_came;

static void on_sigpipe(int signal_number)
{
    (void)signal_number;
    sigpipe_came = 1;
}

/* Every call must succeed, with the exception of those whose result is shown; a failure ends the
 * program. */
static int check(int result, const char *what)
{
    if (result == -1) {
        perror(what);
        exit(1);
    }
    return result;
}

/* A TCP connection over loopback: ends[0] is the server's socket, ends[1] the client's. */
static void connect_ends(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(0x7f000001)}; /* 127.0.0.1 */
    socklen_t size = sizeof address;
    int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");

    check(bind(listener, (struct sockaddr *)&address, size), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    ends[1] = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(ends[1], (struct sockaddr *)&address, size), "connect");
    ends[0] = check(accept(listener, NULL, NULL), "accept");
    close(listener);
}

static void wait_for(int fd, short event)
{
    struct pollfd pollfd = {.fd = fd, .events = event};

    if (check(poll(&pollfd, 1, WAIT_MS), "poll") == 0 || (pollfd.revents & event) == 0) {
        fputs("socket-facts: the event did not come\n", stderr);
        exit(1);
    }
}

static const char *name_of(int error)
{
    if (error == EPIPE)
        return "EPIPE";
    return error == ECONNRESET ? "ECONNRESET" : strerror(error);
}

/* ---- gone ---- */

static void print_send(const char *situation, int fd)
{
    sigpipe_came = 0;
    ssize_t sent = send(fd, "x", 1, 0);
    printf("%-36s%s%s\n", situation, sent == 1 ? "1" : name_of(errno),
           sigpipe_came ? " and SIGPIPE" : "");
}

static void gone(void)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int ends[2];

    connect_ends(ends);
    close(ends[1]);
    wait_for(ends[0], POLLIN);
    print_send("the client has closed; send():", ends[0]);
    wait_for(ends[0], POLLHUP);
    print_send("its kernel has sent RST; send():", ends[0]);
    connect_ends(ends);
    check(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
    close(ends[1]);
    wait_for(ends[0], POLLHUP);
    print_send("another client has reset; send():", ends[0]);
    print_send("send() again:", ends[0]);
}

/* ---- bits ---- */

static void print_select(int bits, const char *meaning)
{
    fd_set set;
    struct timeval at_once = {0};

    FD_ZERO(&set);
    FD_SET(FD, &set);
    int ready = check(select(bits, &set, NULL, NULL, &at_once), "select");
    printf("select(%d, ...):%s%d ready  %s\n", bits, bits < 10 ? "   " : "  ", ready, meaning);
}

static void bits(void)
{
    int ends[2];

    connect_ends(ends);
    check((int)send(ends[1], "x", 1, 0), "send");
    wait_for(ends[0], POLLIN);
    check(dup2(ends[0], FD), "dup2");
    printf("fd %d is readable, and the only one in the set\n", FD);
    print_select(FD + 1, "highest + 1");
    print_select(FD, "highest");
    print_select(1, "the number of descriptors");
}

/* ---- close ---- */

/* Send until the buffers are full, close, and print what the client can still read. */
static void print_close(const char *situation, int ends[2])
{
    size_t sent = 0, received = 0;
    ssize_t n;

    check(fcntl(ends[0], F_SETFL, O_NONBLOCK), "fcntl");
    while ((n = send(ends[0], chunk, sizeof chunk, 0)) > 0)
        sent += (size_t)n;
    check(errno == EAGAIN ? 0 : -1, "send");
    close(ends[0]);
    while ((n = recv(ends[1], chunk, sizeof chunk, 0)) > 0)
        received += (size_t)n;
    printf("%-28sthe client reads %s, then %s\n", situation,
           received == sent ? "all of it" : "a part of it", n == 0 ? "0" : name_of(errno));
}

static void close_when_full(void)
{
    int ends[2];

    puts("the server sends until EAGAIN, then closes");
    connect_ends(ends);
    print_close("it has read everything:", ends);
    connect_ends(ends);
    check((int)send(ends[1], "x", 1, 0), "send");
    wait_for(ends[0], POLLIN);
    print_close("it has left 1 byte unread:", ends);
}

int main(int argc, char **argv)
{
    const char *name = argc == 2 ? argv[1] : "";
    struct sigaction action = {.sa_handler = on_sigpipe};

    check(sigaction(SIGPIPE, &action, NULL), "sigaction");
    if (strcmp(name, "gone") == 0)
        gone();
    else if (strcmp(name, "bits") == 0)
        bits();
    else if (strcmp(name, "close") == 0)
        close_when_full();
    else
        return fputs("usage: socket-facts gone | bits | close\n", stderr), 2;
    return 0;
}
