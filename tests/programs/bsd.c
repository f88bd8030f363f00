/* Makes Linux answer as a BSD kernel does where the two differ, so that servers, the test client
 * and the kqueue emulation can be tested with these answers.  A program loads it with LD_PRELOAD.
 * The environment variable ANSWERS names the system: FreeBSD or NetBSD.  The answers were observed
 * on the kernels of FreeBSD 13 and NetBSD 7.99.  On both systems:
 * - accept() gives the new socket the listener's O_NONBLOCK, and fails with ECONNABORTED if the
 *   client has reset the connection.
 * - After RST, send() and write() fail with EPIPE and raise SIGPIPE.
 * - close() sends FIN even if bytes are unread.
 * - kqueue() does not set FD_CLOEXEC, and EVFILT_WRITE cannot be added for a pipe that nobody
 *   reads: EPIPE on FreeBSD, EBADF on NetBSD.
 * On NetBSD only:
 * - A full pipe whose reader closes, and EVFILT_WRITE on the reading end of a pipe, are not
 *   reported.
 * - send() with MSG_DONTWAIT blocks, unless the socket has O_NONBLOCK.  (For this to matter, new TCP
 *   sockets get a small send buffer: into that of Linux, 64 KiB fit whenever poll() reports room.)
 * - A socket buffer of 262,144 bytes or more is refused with ENOBUFS.
 *
 * kqueue's answers are changed in the calls of epoll that the emulation makes. */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUFFER_MOST 262144
#define SEND_BUFFER 16384 /* bytes; Linux doubles it */

static uint32_t watched[65536]; /* what epoll_ctl() asked for, by descriptor */

/* The C library's own function of this name. */
static void *real_function(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL)
        abort();
    return found;
}

static bool is_netbsd(void)
{
    const char *system = getenv("ANSWERS");

    return system != NULL && strcmp(system, "NetBSD") == 0;
}

/* ---- sockets ---- */

/* Whether RST has ended this connection. */
static bool was_reset(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_CLOSE;
}

int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict size)
{
    int (*real)(int, struct sockaddr *, socklen_t *) = real_function("accept");
    int flags = fcntl(fd, F_GETFL), client = real(fd, address, size);

    if (client == -1)
        return -1;
    if (was_reset(client)) {
        syscall(SYS_close, client);
        errno = ECONNABORTED;
        return -1;
    }
    if ((flags & O_NONBLOCK) != 0)
        fcntl(client, F_SETFL, O_NONBLOCK);
    return client;
}

static ssize_t epipe_after_reset(ssize_t result, bool may_raise)
{
    if (result != -1 || errno != ECONNRESET)
        return result;
    if (may_raise)
        raise(SIGPIPE);
    errno = EPIPE;
    return -1;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    ssize_t (*real)(int, const void *, size_t, int) = real_function("send");
    int passed = is_netbsd() ? flags & ~MSG_DONTWAIT : flags;

    return epipe_after_reset(real(fd, data, size, passed), (flags & MSG_NOSIGNAL) == 0);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t (*real)(int, const void *, size_t) = real_function("write");

    return epipe_after_reset(real(fd, data, size), true);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    int (*real)(int, int, int, const void *, socklen_t) = real_function("setsockopt");
    bool is_buffer = level == SOL_SOCKET && (option == SO_SNDBUF || option == SO_RCVBUF);

    if (is_netbsd() && is_buffer && *(const int *)value >= BUFFER_MOST) {
        errno = ENOBUFS;
        return -1;
    }
    return real(fd, level, option, value, size);
}

int socket(int domain, int type, int protocol)
{
    int (*real)(int, int, int) = real_function("socket");
    int fd = real(domain, type, protocol), size = SEND_BUFFER;

    if (fd != -1 && is_netbsd() && (domain == AF_INET || domain == AF_INET6))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

/* Linux sends RST if bytes are unread, so read them, unless the program wants a reset. */
static void read_the_rest(int fd)
{
    char bytes[4096];
    int error = errno;
    struct tcp_info info = {0};
    struct linger linger = {0};
    socklen_t size = sizeof info, linger_size = sizeof linger;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state != TCP_LISTEN &&
        getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &linger_size) == 0 && !linger.l_onoff)
        for (int i = 0; i < 1000 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; i++)
            continue;
    errno = error;
}

int close(int fd)
{
    int (*real)(int) = real_function("close");

    read_the_rest(fd);
    return real(fd);
}

/* The emulation defines close() itself, and calls this function. */
long syscall(long number, ...)
{
    long (*real)(long, ...) = real_function("syscall"), value[6];
    va_list values;

    va_start(values, number);
    for (int i = 0; i < 6; i++)
        value[i] = va_arg(values, long);
    va_end(values);
    if (number == SYS_close)
        read_the_rest((int)value[0]);
    return real(number, value[0], value[1], value[2], value[3], value[4], value[5]);
}

/* ---- kqueue ---- */

int epoll_create1(int flags)
{
    int (*real)(int) = real_function("epoll_create1");

    return real(flags & ~EPOLL_CLOEXEC);
}

/* Is fd the writing end (O_WRONLY) or the reading end (O_RDONLY) of a pipe? */
static bool is_pipe_end(int fd, int mode)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == mode;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    int (*real)(int, int, int, struct epoll_event *) = real_function("epoll_ctl");
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
    bool writes = operation != EPOLL_CTL_DEL && (event->events & EPOLLOUT) != 0;

    if (writes && is_pipe_end(fd, O_WRONLY) && poll(&pollfd, 1, 0) == 1 &&
        (pollfd.revents & POLLERR) != 0) {
        errno = is_netbsd() ? EBADF : EPIPE;
        return -1;
    }
    if (fd >= 0 && fd < 65536)
        watched[fd] = operation == EPOLL_CTL_DEL ? 0 : event->events;
    return real(epoll, operation, fd, event);
}

/* Whether NetBSD would report this event.  May remove a part of it. */
static bool is_reported(struct epoll_event *event)
{
    int fd = event->data.fd;

    if ((event->events & (EPOLLERR | EPOLLHUP)) == 0 || fd < 0 || fd >= 65536)
        return true;
    if (is_pipe_end(fd, O_WRONLY))
        return (event->events & EPOLLOUT) != 0;
    if (is_pipe_end(fd, O_RDONLY))
        event->events = (watched[fd] & EPOLLIN) != 0 ? EPOLLIN | EPOLLRDHUP : 0;
    return event->events != 0;
}

/* epoll would report an event again and again, so a descriptor that NetBSD does not report is
 * removed. */
int epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
    int (*real)(int, struct epoll_event *, int, int) = real_function("epoll_wait");
    int count, kept;

    do {
        count = real(epoll, events, most, ms);
        kept = 0;
        for (int i = 0; i < count; i++)
            if (!is_netbsd() || is_reported(&events[i]))
                events[kept++] = events[i];
            else
                epoll_ctl(epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
    } while (count > 0 && kept == 0 && ms != 0);
    return count == -1 ? -1 : kept;
}
