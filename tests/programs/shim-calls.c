/* The part of the preload library that only torture.c needs: functions that pass their arguments
 * on, unless torture.c wants the call to fail. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#else
#include <sys/event.h>
#endif

/* `call` is the name in torture.h. */
#define PASS(result, name, parameters, arguments, call)                                            \
    DEFINE(result, name, parameters)                                                               \
    {                                                                                              \
        return tortured(call) ? (result)-1 : REAL(name) arguments;                                 \
    }

/* ---- Sockets ---- */

PASS(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size),
     "bind")
PASS(int, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size),
     "connect")
PASS(int, getsockname, (int fd, struct sockaddr *restrict address, socklen_t *restrict size),
     (fd, address, size), "getsockname")
PASS(int, getsockopt,
     (int fd, int level, int option, void *restrict value, socklen_t *restrict size),
     (fd, level, option, value, size), "getsockopt")
PASS(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t size),
     (fd, level, option, value, size), "setsockopt")
PASS(int, listen, (int fd, int backlog), (fd, backlog), "listen")
PASS(int, shutdown, (int fd, int how), (fd, how), "shutdown")
PASS(int, socket, (int domain, int type, int protocol), (domain, type, protocol), "socket")
PASS(ssize_t, recvfrom,
     (int fd, void *restrict buffer, size_t size, int flags, struct sockaddr *restrict from,
      socklen_t *restrict from_size),
     (fd, buffer, size, flags, from, from_size), "recvfrom")
PASS(ssize_t, sendto,
     (int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
      socklen_t to_size),
     (fd, data, size, flags, to, to_size), "sendto")
PASS(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), "recvmsg")
PASS(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
     "sendmsg")

/* ---- Descriptors ---- */

PASS(ssize_t, readv, (int fd, const struct iovec *pieces, int count), (fd, pieces, count), "readv")
PASS(ssize_t, writev, (int fd, const struct iovec *pieces, int count), (fd, pieces, count),
     "writev")
PASS(int, dup2, (int fd, int number), (fd, number), "dup2 dup3")
PASS(int, pipe, (int fds[2]), (fds), ON_LINUX("pipe2", "pipe"))
#ifndef __APPLE__
PASS(int, pipe2, (int fds[2], int flags), (fds, flags), ON_LINUX("pipe2", "pipe"))
PASS(int, dup3, (int fd, int number, int flags), (fd, number, flags), "dup3")
#endif

/* The third argument is an integer or a pointer.  On every system that has these libraries it may
 * be read as a pointer and passed on. */
#define THIRD_ARGUMENT(last, third)                                                                \
    va_list list;                                                                                  \
    va_start(list, last);                                                                          \
    void *third = va_arg(list, void *);                                                            \
    va_end(list)

DEFINE(int, fcntl, (int fd, int command, ...))
{
    THIRD_ARGUMENT(command, argument);

    return tortured("fcntl") ? -1 : REAL(fcntl)(fd, command, argument);
}

#if defined __linux__ && !defined __GLIBC__
typedef int ioctl_request; /* musl */
#else
typedef unsigned long ioctl_request;
#endif

DEFINE(int, ioctl, (int fd, ioctl_request request, ...))
{
    THIRD_ARGUMENT(request, argument);

    return tortured("ioctl") ? -1 : REAL(ioctl)(fd, request, argument);
}

DEFINE(int, open, (const char *path, int flags, ...))
{
    va_list list;

    va_start(list, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(list, int) : 0;
    va_end(list);
    return tortured("openat") ? -1 : REAL(open)(path, flags, mode);
}

/* ---- Waiting ---- */

#ifndef __APPLE__
DEFINE(int, ppoll,
       (struct pollfd * list, nfds_t length, const struct timespec *timeout, const sigset_t *mask))
{
    before_wait();
    return tortured("ppoll") ? -1 : REAL(ppoll)(list, length, timeout, mask);
}
#endif

DEFINE(int, pselect,
       (int count, fd_set *restrict readable, fd_set *restrict writable,
        fd_set *restrict exceptional, const struct timespec *restrict timeout,
        const sigset_t *restrict mask))
{
    before_wait();
    return tortured(ON_LINUX("pselect6", "select"))
               ? -1
               : REAL(pselect)(count, readable, writable, exceptional, timeout, mask);
}

#ifdef __GLIBC__
#define NANOSLEEP "clock_nanosleep"
#else
#define NANOSLEEP "nanosleep"
#endif
PASS(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left), NANOSLEEP)

#ifdef __linux__
PASS(int, epoll_create, (int size), (size), "epoll_create epoll_create1")
PASS(int, epoll_create1, (int flags), (flags), "epoll_create1")
PASS(int, epoll_ctl, (int fd, int operation, int other, struct epoll_event *event),
     (fd, operation, other, event), "epoll_ctl")
#endif

#ifdef EVFILT_READ
#ifdef __NetBSD__
typedef size_t event_count;
#else
typedef int event_count;
#endif

PASS(int, kqueue, (void), (), "kqueue")

DEFINE(int, kevent,
       (int queue, const struct kevent *changes, event_count change_count, struct kevent *events,
        event_count count, const struct timespec *timeout))
{
    bool waits = count > 0;

    if (waits)
        before_wait();
    if (!tortured("kevent"))
        return REAL(kevent)(queue, changes, change_count, events, count, timeout);
    if (errno == EINTR && change_count > 0) { /* then the changes have been made: see kevent(2) */
        REAL(kevent)(queue, changes, change_count, NULL, 0, NULL);
        errno = EINTR;
    }
    return -1;
}
#endif

/* ---- Signals, processes, memory ---- */

PASS(int, sigaction,
     (int number, const struct sigaction *restrict action, struct sigaction *restrict old),
     (number, action, old), ON_LINUX("rt_sigaction", "sigaction"))
PASS(int, sigprocmask, (int how, const sigset_t *restrict mask, sigset_t *restrict old),
     (how, mask, old), ON_LINUX("rt_sigprocmask", "sigprocmask"))

DEFINE(int, pthread_sigmask, (int how, const sigset_t *restrict mask, sigset_t *restrict old))
{
    return tortured(ON_LINUX("rt_sigprocmask", "sigprocmask"))
               ? errno
               : REAL(pthread_sigmask)(how, mask, old);
}

PASS(pid_t, fork, (void), (), ON_LINUX("clone", "fork"))

#ifdef __GLIBC__
typedef __rlimit_resource_t resource;
#else
typedef int resource;
#endif
PASS(int, getrlimit, (resource which, struct rlimit *limit), (which, limit),
     ON_LINUX("prlimit64", "getrlimit"))
PASS(int, setrlimit, (resource which, const struct rlimit *limit), (which, limit),
     ON_LINUX("prlimit64", "getrlimit"))

DEFINE(void *, mmap, (void *address, size_t size, int protection, int flags, int fd, off_t offset))
{
    return tortured("mmap") ? MAP_FAILED : REAL(mmap)(address, size, protection, flags, fd, offset);
}

PASS(int, munmap, (void *address, size_t size), (address, size), "munmap")
PASS(int, mprotect, (void *address, size_t size, int protection), (address, size, protection),
     "mprotect")
PASS(int, madvise, (void *address, size_t size, int advice), (address, size, advice), "madvise")

#ifdef __GLIBC__
/* What the headers of glibc make of these functions if the server was compiled with
 * _FORTIFY_SOURCE, which is the default of some distributions, or with _FILE_OFFSET_BITS=64. */
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    return size > room ? (abort(), -1) : read(fd, buffer, size);
}

ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
    return size > room ? (abort(), -1) : recv(fd, buffer, size, flags);
}

ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
                       struct sockaddr *restrict from, socklen_t *restrict from_size)
{
    return size > room ? (abort(), -1) : recvfrom(fd, buffer, size, flags, from, from_size);
}

int __poll_chk(struct pollfd *list, nfds_t length, int timeout, size_t room)
{
    return length > room / sizeof *list ? (abort(), -1) : poll(list, length, timeout);
}

int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
#endif
