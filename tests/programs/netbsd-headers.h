/* Makes Linux's headers resemble those of NetBSD in two ways, so that selector.bats can check the
 * tests themselves: functions have other symbols than their names, and FD_SETSIZE is 256.  It is
 * included in front of a source file (-include); netbsd-symbols.c defines the symbols. */
#define _DEFAULT_SOURCE

#include <poll.h>
#include <sys/event.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>

int poll(struct pollfd *list, nfds_t count, int ms) __asm__("__poll50");
int select(int count, fd_set *in, fd_set *out, fd_set *except,
           struct timeval *limit) __asm__("__select50");
int fstat(int fd, struct stat *status) __asm__("__fstat50");
int clock_gettime(clockid_t clock, struct timespec *now) __asm__("__clock_gettime50");
int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *events,
           int nevents, const struct timespec *timeout) __asm__("__kevent50");

#undef FD_SETSIZE
#define FD_SETSIZE 256

/* The file that follows defines these itself.  The headers of glibc have changed their values. */
#undef _DEFAULT_SOURCE
#undef _POSIX_C_SOURCE
