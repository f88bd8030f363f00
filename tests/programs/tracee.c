/* Servers that wait and read in unusual ways, and a client for them, for tests of the tracer.
 *
 *     tracee MODE ADDRESS PORT                 a server for one connection after the other
 *     tracee send ADDRESS PORT COUNT SIZE      a client: COUNT messages of SIZE bytes, each echoed
 *     tracee flood ADDRESS PORT COUNT SIZE     the same, without waiting for an echo
 *     tracee gro DEVICE, tracee no-tso DEVICE  as ethtool -K DEVICE gro on, or tso off
 *
 * The server prints "listening on ADDRESS:PORT".  The modes block, spin, signal, handler, recvmmsg,
 * splice, uring and lowat echo; sink reads and does not answer; half ends its own direction first. */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/io_uring.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOW_WATER 30

static char buffer[1 << 20];

static void check(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static bool send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent == -1 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* ---- ways to wait and to read; each returns what recv() would ---- */

static ssize_t with_block(int fd)
{
    return recv(fd, buffer, sizeof buffer, 0);
}

static ssize_t with_spin(int fd)
{
    ssize_t got;

    do
        got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    while (got == -1 && errno == EAGAIN);
    return got;
}

/* The signal is blocked, so it stays pending until sigtimedwait() takes it. */
static ssize_t with_signal(int fd)
{
    sigset_t set;
    ssize_t got;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
    while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) == -1 && errno == EAGAIN)
        sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 1});
    return got;
}

static void on_signal(int number)
{
    (void)number;
}

/* The same with a handler, which interrupts sigsuspend(). */
static ssize_t with_handler(int fd)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t set, none;
    ssize_t got;

    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGIO, &action, NULL);
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
    while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) == -1 && errno == EAGAIN)
        sigsuspend(&none);
    return got;
}

static ssize_t with_recvmmsg(int fd)
{
    struct iovec place = {buffer, sizeof buffer};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &place, .msg_iovlen = 1}};

    return recvmmsg(fd, &message, 1, 0, NULL) == 1 ? (ssize_t)message.msg_len : -1;
}

static ssize_t with_splice(int fd)
{
    static int pipe_ends[2];

    if (pipe_ends[1] == 0)
        check(pipe(pipe_ends) == 0, "pipe");
    ssize_t got = splice(fd, NULL, pipe_ends[1], NULL, 4096, 0);
    return got > 0 ? read(pipe_ends[0], buffer, (size_t)got) : got;
}

static ssize_t with_low_water(int fd)
{
    int least = LOW_WATER;
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
    poll(&poller, 1, -1);
    return recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
}

static ssize_t with_uring(int fd)
{
    static struct io_uring_params ring;
    static int uring;
    static char *queue;
    static struct io_uring_sqe *entry;

    if (uring == 0) {
        uring = (int)syscall(SYS_io_uring_setup, 4, &ring);
        check(uring > 0 && (ring.features & IORING_FEAT_SINGLE_MMAP) != 0, "io_uring_setup");
        queue = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, uring, IORING_OFF_SQ_RING);
        entry = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, uring, IORING_OFF_SQES);
        check(queue != MAP_FAILED && entry != MAP_FAILED, "mmap");
    }
    *entry = (struct io_uring_sqe){
        .opcode = IORING_OP_RECV, .fd = fd, .addr = (uintptr_t)buffer, .len = sizeof buffer};
    unsigned *tail = (unsigned *)(void *)(queue + ring.sq_off.tail);
    *(unsigned *)(void *)(queue + ring.sq_off.array + (*tail & 3) * 4) = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    check(syscall(SYS_io_uring_enter, uring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1,
          "io_uring_enter");
    unsigned *head = (unsigned *)(void *)(queue + ring.cq_off.head);
    struct io_uring_cqe *done = (struct io_uring_cqe *)(void *)(queue + ring.cq_off.cqes);
    int result = done[*head & (ring.cq_entries - 1)].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
}

static const struct mode {
    const char *name;
    ssize_t (*receive)(int);
    bool silent;
} modes[] = {{"block", with_block, false},       {"spin", with_spin, false},
             {"signal", with_signal, false},     {"handler", with_handler, false},
             {"recvmmsg", with_recvmmsg, false}, {"splice", with_splice, false},
             {"uring", with_uring, false},       {"lowat", with_low_water, false},
             {"sink", with_block, true},         {"half", with_block, true}};

/* ---- the two ends ---- */

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int open_socket(const char *address, const char *port, union name *name, socklen_t *size)
{
    unsigned short number = htons((unsigned short)atoi(port));
    bool is_v6 = strchr(address, ':') != NULL;

    memset(name, 0, sizeof *name);
    name->any.sa_family = is_v6 ? AF_INET6 : AF_INET;
    *size = is_v6 ? sizeof name->v6 : sizeof name->v4;
    if (is_v6)
        name->v6.sin6_port = number;
    else
        name->v4.sin_port = number;
    check(inet_pton(name->any.sa_family, address,
                    is_v6 ? (void *)&name->v6.sin6_addr : (void *)&name->v4.sin_addr) == 1,
          address);
    int fd = socket(name->any.sa_family, SOCK_STREAM, 0);
    check(fd != -1, "socket");
    return fd;
}

static void serve(const struct mode *mode, const char *address, const char *port)
{
    union name name;
    socklen_t size;
    int on = 1, listener = open_socket(address, port, &name, &size);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    check(bind(listener, &name.any, size) == 0 && listen(listener, 16) == 0, "bind");
    getsockname(listener, &name.any, &size);
    printf("listening on %s:%d\n", address,
           ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        ssize_t got;
        check(fd != -1, "accept");
        if (strcmp(mode->name, "half") == 0)
            shutdown(fd, SHUT_WR);
        while ((got = mode->receive(fd)) > 0)
            if (!mode->silent && !send_all(fd, buffer, (size_t)got))
                break;
        close(fd);
    }
}

static void run_client(bool with_echo, const char *address, const char *port, int count,
                       size_t size)
{
    union name name;
    socklen_t length;
    int on = 1, fd = open_socket(address, port, &name, &length);

    check(connect(fd, &name.any, length) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    for (int i = 0; i < count; i++) {
        if (!send_all(fd, buffer, size))
            break;
        for (size_t have = 0; with_echo && have < size;) {
            ssize_t got = recv(fd, buffer, size - have, 0);
            check(got > 0, "recv");
            have += (size_t)got;
        }
        if (with_echo || size < 1000)
            usleep(3000); /* so that the server waits again */
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, sizeof buffer, 0) > 0)
        continue;
}

static int set_offload(bool gro, const char *device)
{
    struct ethtool_value value = {.cmd = gro ? ETHTOOL_SGRO : ETHTOOL_STSO, .data = gro};
    struct ifreq request = {.ifr_data = (void *)&value};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    check(ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &request) == 0, device);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return set_offload(strcmp(argv[1], "gro") == 0, argv[2]);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 6)
        run_client(strcmp(argv[1], "send") == 0, argv[2], argv[3], atoi(argv[4]),
                   (size_t)atol(argv[5]));
    for (size_t i = 0; argc == 4 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, argv[1]) == 0)
            serve(&modes[i], argv[2], argv[3]);
    return argc != 6;
}
