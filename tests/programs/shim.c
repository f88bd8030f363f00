/* Faults that strace cannot make: short reads and writes, memory and threads that cannot be had,
 * a signal handler without SA_RESTART.  Loaded into the server with LD_PRELOAD (ELF systems).
 *
 * SHIM is a comma-separated list of faults, each with the calls that it hits:
 *   recv:short=FIRST+STEP   give at most one byte, in calls FIRST, FIRST+STEP, …
 *   send:short=FIRST+STEP   take at most one byte
 *   send:again=FIRST+STEP   take nothing: -1, EAGAIN
 *   send:nobufs=FIRST+STEP  take nothing: -1, ENOBUFS
 *   malloc:fail=FIRST+STEP  malloc, calloc and realloc of CLIENT_MEMORY bytes or more, counted from
 *                           the first accept() on: NULL, ENOMEM
 *   thread:fail=FIRST+STEP  pthread_create: EAGAIN
 *   close:eintr=FIRST+STEP  close, and yet say -1, EINTR
 *   wait:term=FIRST+STEP    SIGTERM after the last check and before the wait (epoll_wait, poll,
 *                           select, and an accept() that may block)
 *   getaddrinfo:memory=1    EAI_MEMORY, and errno says nothing, as POSIX allows
 *   usr1                    SIGUSR1 is handled without SA_RESTART; nothing is done about it
 *
 * STEP 0 hits one call only.  Calls are counted for each fault, in the whole process. */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENT_MEMORY 256 /* smaller requests are the C library's own */

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL)
        abort();
    return found;
}

/* Does `fault` hit this call? */
static bool hits(const char *fault, atomic_long *calls)
{
    const char *list = getenv("SHIM"), *entry = list != NULL ? strstr(list, fault) : NULL;
    long first, step = 0;

    if (entry == NULL || sscanf(entry + strlen(fault), "=%ld+%ld", &first, &step) < 1)
        return false;
    long call = atomic_fetch_add(calls, 1) + 1;
    return call == first || (step > 0 && call > first && (call - first) % step == 0);
}

static void before_the_wait(void)
{
    static atomic_long calls;

    if (hits("wait:term", &calls))
        raise(SIGTERM);
}

int poll(struct pollfd *list, nfds_t length, int timeout)
{
    int (*real)(struct pollfd *, nfds_t, int) = next("poll");

    before_the_wait();
    return real(list, length, timeout);
}

int select(int count, fd_set *readable, fd_set *writable, fd_set *odd, struct timeval *timeout)
{
    int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *) = next("select");

    before_the_wait();
    return real(count, readable, writable, odd, timeout);
}

#ifdef __linux__
int epoll_wait(int fd, struct epoll_event *events, int length, int timeout)
{
    int (*real)(int, struct epoll_event *, int, int) = next("epoll_wait");

    before_the_wait();
    return real(fd, events, length, timeout);
}
#endif

static atomic_bool serving; /* since the first accept() */

int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict size)
{
    int (*real)(int, struct sockaddr *, socklen_t *) = next("accept");

    if (fcntl(fd, F_GETFL) == O_RDWR) /* it may block: then it is a wait */
        before_the_wait();
    serving = true;
    return real(fd, address, size);
}

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    static atomic_long calls;
    ssize_t (*real)(int, void *, size_t, int) = next("recv");

    return real(fd, buffer, hits("recv:short", &calls) && size > 1 ? 1 : size, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    static atomic_long shorts, agains, nobufs;
    ssize_t (*real)(int, const void *, size_t, int) = next("send");

    if (hits("send:again", &agains)) {
        errno = EAGAIN;
        return -1;
    }
    if (hits("send:nobufs", &nobufs)) {
        errno = ENOBUFS;
        return -1;
    }
    return real(fd, data, hits("send:short", &shorts) && size > 1 ? 1 : size, flags);
}

static bool no_memory(size_t size)
{
    static atomic_long calls;

    if (!serving || size < CLIENT_MEMORY || !hits("malloc:fail", &calls))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    static void *(*real)(size_t);

    if (real == NULL)
        real = next("malloc");
    return no_memory(size) ? NULL : real(size);
}

void *realloc(void *old, size_t size)
{
    static void *(*real)(void *, size_t);

    if (real == NULL)
        real = next("realloc");
    return no_memory(size) ? NULL : real(old, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    static atomic_long calls;
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        next("pthread_create");

    return hits("thread:fail", &calls) ? EAGAIN : real(thread, attributes, start, argument);
}

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    static atomic_long calls;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        next("getaddrinfo");

    if (!hits("getaddrinfo:memory", &calls))
        return real(name, service, hints, found);
    errno = 0;
    return EAI_MEMORY;
}

/* A descriptor that is closed twice may be somebody else's by then: that is always a mistake. */
int close(int fd)
{
    static atomic_long calls;
    int (*real)(int) = next("close");
    int result = real(fd);

    if (result == -1 && errno == EBADF && fd != -1)
        fprintf(stderr, "shim: close of descriptor %d, which is not open\n", fd);
    if (!hits("close:eintr", &calls))
        return result;
    errno = EINTR;
    return -1;
}

static void nothing(int signal_number)
{
    (void)signal_number;
}

__attribute__((constructor)) static void handle_usr1(void)
{
    struct sigaction action = {.sa_handler = nothing};
    const char *list = getenv("SHIM");

    if (list != NULL && strstr(list, "usr1") != NULL)
        sigaction(SIGUSR1, &action, NULL);
}
