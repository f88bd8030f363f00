/* The library of stage 06 is compiled with this header in front (-include), so that it calls
 * unit_poll(), unit_malloc() and so on instead of the system; selector.c defines these functions.
 *
 * The system's headers come first, and the macros take effect only afterwards.  In the opposite
 * order they would not work where a header gives a function another symbol: NetBSD declares
 * kevent() with the symbol __kevent50, and macOS does the same for select().  With -Dkevent=... the
 * header would give that symbol to unit_kevent(), so that a call still reaches the system. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* as in selector.c of the stage */
#endif
#ifndef _NETBSD_SOURCE
#define _NETBSD_SOURCE
#endif

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<sys/epoll.h>)
#include <sys/epoll.h>
#endif
#if __has_include(<sys/event.h>)
#include <sys/event.h>
#endif
#ifdef __NetBSD__
typedef size_t kevent_count;
#else
typedef int kevent_count;
#endif

void *unit_malloc(size_t size);
void *unit_calloc(size_t count, size_t size);
void *unit_realloc(void *old, size_t size);
void unit_free(void *old);
int unit_close(int fd);
int unit_fcntl(int fd, int command, ...); /* F_GETFD, F_SETFD and F_GETFL */
int unit_fstat(int fd, struct stat *status);
int unit_clock_gettime(clockid_t clock, struct timespec *now);
int unit_poll(struct pollfd *list, nfds_t count, int ms);
int unit_select(int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *limit);
#if __has_include(<sys/epoll.h>)
int unit_epoll_create1(int flags);
int unit_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int unit_epoll_wait(int epoll, struct epoll_event *events, int max, int ms);
#endif
#if __has_include(<sys/event.h>)
int unit_kqueue(void);
int unit_kevent(int queue, const struct kevent *changes, kevent_count nchanges,
                struct kevent *events, kevent_count nevents, const struct timespec *timeout);
#endif

/* The file that follows defines these itself.  The headers of glibc have changed their values. */
#undef _GNU_SOURCE
#undef _DEFAULT_SOURCE
#undef _POSIX_C_SOURCE

#ifndef DOUBLES_ONLY_DECLARED /* selector.c itself calls the system */
#define malloc(size) unit_malloc(size)
#define calloc(count, size) unit_calloc(count, size)
#define realloc(old, size) unit_realloc(old, size)
#define free(old) unit_free(old)
#define close unit_close /* this also renames the member of struct selector_backend, everywhere */
#define fcntl(...) unit_fcntl(__VA_ARGS__)
#define fstat(fd, status) unit_fstat(fd, status)
#define clock_gettime(clock, now) unit_clock_gettime(clock, now)
#define poll(list, count, ms) unit_poll(list, count, ms)
#define select(count, in, out, except, limit) unit_select(count, in, out, except, limit)
#define epoll_create1(flags) unit_epoll_create1(flags)
#define epoll_ctl(epoll, operation, fd, event) unit_epoll_ctl(epoll, operation, fd, event)
#define epoll_wait(epoll, events, max, ms) unit_epoll_wait(epoll, events, max, ms)
#define kqueue() unit_kqueue()
#define kevent(queue, changes, nchanges, events, nevents, timeout)                                 \
    unit_kevent(queue, changes, nchanges, events, nevents, timeout)
#endif
