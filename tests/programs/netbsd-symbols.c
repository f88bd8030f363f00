/* The functions to which netbsd-headers.h gives other symbols. */
#define _DEFAULT_SOURCE

#include <poll.h>
#include <sys/event.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>

int poll_renamed(struct pollfd *list, nfds_t count, int ms) __asm__("__poll50");
int select_renamed(int count, fd_set *in, fd_set *out, fd_set *except,
                   struct timeval *limit) __asm__("__select50");
int fstat_renamed(int fd, struct stat *status) __asm__("__fstat50");
int clock_gettime_renamed(clockid_t clock, struct timespec *now) __asm__("__clock_gettime50");
int kevent_renamed(int queue, const struct kevent *changes, int nchanges, struct kevent *events,
                   int nevents, const struct timespec *timeout) __asm__("__kevent50");

int poll_renamed(struct pollfd *list, nfds_t count, int ms)
{
    return poll(list, count, ms);
}

int select_renamed(int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *limit)
{
    return select(count, in, out, except, limit);
}

int fstat_renamed(int fd, struct stat *status)
{
    return fstat(fd, status);
}

int clock_gettime_renamed(clockid_t clock, struct timespec *now)
{
    return clock_gettime(clock, now);
}

int kevent_renamed(int queue, const struct kevent *changes, int nchanges, struct kevent *events,
                   int nevents, const struct timespec *timeout)
{
    return kevent(queue, changes, nchanges, events, nevents, timeout);
}
