/* Injects faults that strace cannot inject: short reads and writes, allocations and threads that
 * fail, and a signal handler without SA_RESTART.  The server loads it with LD_PRELOAD (ELF
 * systems).
 *
 * The environment variable SHIM_FAULTS is a comma-separated list of faults.  Each names the calls
 * that it affects: number FIRST, and from then on every STEPth call; STEP 0 means FIRST only.  Each
 * fault counts its calls separately, for the whole process.
 *   recv:short=FIRST+STEP      receive at most one byte
 *   send:short=FIRST+STEP      send at most one byte
 *   send:eagain=FIRST+STEP     send nothing and fail with EAGAIN
 *   send:enobufs=FIRST+STEP    send nothing and fail with ENOBUFS
 *   malloc:enomem=FIRST+STEP   malloc and realloc fail with ENOMEM.  Only requests of MIN_REQUEST
 *                              bytes or more, after the first accept(), are counted.
 *   pthread_create:eagain=FIRST+STEP   fail with EAGAIN
 *   close:eintr=FIRST+STEP     close the descriptor, but return -1 with EINTR
 *   wait:sigterm=FIRST+STEP    raise SIGTERM after the server's last check and before it waits in
 *                              epoll_wait, poll, select or a blocking accept.  Only waits after the
 *                              first accept() are counted.
 *   clock_gettime:back=FIRST+1 CLOCK_MONOTONIC is an hour earlier; says so on stderr at call FIRST
 *   getaddrinfo:eai_memory=1   fail with EAI_MEMORY and leave errno at 0, as POSIX allows
 *   getaddrinfo:eai_system=1   fail with EAI_SYSTEM and EMFILE
 *   getnameinfo:eai_memory=1   fail with EAI_MEMORY
 *   torture-CALL=FIRST+STEP    for torture.c: malloc (any allocation), recv and send (one byte) or close
 *                              (close, then fail) with the error number in SHIM_ERROR
 *   sigusr1                    install a SIGUSR1 handler that does nothing and lacks SA_RESTART
 * read() and write() of a socket count as recv() and send().  When a fault is injected for the first
 * time, the file that the environment variable SHIM_HIT names is created. */
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
#include <sys/syscall.h>
#else
#define SYS_seccomp 0
#endif
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MIN_REQUEST 256 /* The C library itself makes smaller requests. */

/* The C library's own function of this name. */
static void *real_function(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL)
        abort();
    return found;
}

static atomic_bool serving; /* true from the first accept() on */

static void note_hit(void)
{
    static atomic_bool noted;
    const char *path = getenv("SHIM_HIT");

    if (path != NULL && !atomic_exchange(&noted, true)) {
        int (*real)(int) = real_function("close");
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd != -1)
            real(fd);
    }
}

/* Whether this call is one of those that `fault` affects.  `calls` counts the calls so far. */
static bool is_affected(const char *fault, atomic_long *calls)
{
    const char *list = getenv("SHIM_FAULTS"), *entry = list != NULL ? strstr(list, fault) : NULL;
    long first, step = 0;

    if (entry == NULL || sscanf(entry + strlen(fault), "=%ld+%ld", &first, &step) < 1)
        return false;
    long call = atomic_fetch_add(calls, 1) + 1;
    bool hit = call == first || (step > 0 && call > first && (call - first) % step == 0);
    if (hit)
        note_hit();
    return hit;
}

/* Called by each function that may wait. */
static void before_wait(void)
{
    static atomic_long calls;

    if (serving && is_affected("wait:sigterm", &calls))
        raise(SIGTERM);
}

int poll(struct pollfd *list, nfds_t length, int timeout)
{
    int (*real)(struct pollfd *, nfds_t, int) = real_function("poll");

    before_wait();
    return real(list, length, timeout);
}

int select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional,
           struct timeval *timeout)
{
    int (*real)(int, fd_set *, fd_set *, fd_set *, struct timeval *) = real_function("select");

    before_wait();
    return real(count, readable, writable, exceptional, timeout);
}

#ifdef __linux__
int epoll_wait(int fd, struct epoll_event *events, int length, int timeout)
{
    int (*real)(int, struct epoll_event *, int, int) = real_function("epoll_wait");

    before_wait();
    return real(fd, events, length, timeout);
}

int epoll_pwait(int fd, struct epoll_event *events, int length, int timeout, const sigset_t *mask)
{
    int (*real)(int, struct epoll_event *, int, int, const sigset_t *) =
        real_function("epoll_pwait");

    before_wait();
    return real(fd, events, length, timeout, mask);
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags)
{
    int (*real)(int, struct sockaddr *, socklen_t *, int) = real_function("accept4");

    if (fcntl(fd, F_GETFL) == O_RDWR)
        before_wait();
    serving = true;
    return real(fd, address, size, flags);
}
#endif

/* Whether torture.c wants this call to be affected.  It is told so by a system call that fails. */
static bool is_tortured(const char *fault, atomic_long *calls)
{
    if (!is_affected(fault, calls))
        return false;
    syscall(SYS_seccomp, -1, 0, NULL);
    errno = atoi(getenv("SHIM_ERROR"));
    return true;
}

int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict size)
{
    int (*real)(int, struct sockaddr *, socklen_t *) = real_function("accept");

    if (fcntl(fd, F_GETFL) == O_RDWR) /* a blocking listener: accept() waits */
        before_wait();
    serving = true;
    return real(fd, address, size);
}

/* How many bytes torture.c lets this call transfer: one, or all of them. */
static size_t tortured_size(const char *fault, atomic_long *calls, size_t size)
{
    return is_tortured(fault, calls) && size > 1 ? 1 : size;
}

static atomic_long tortured_recv, tortured_send;

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    static atomic_long calls;
    ssize_t (*real)(int, void *, size_t, int) = real_function("recv");

    size = tortured_size("torture-recv", &tortured_recv, size);
    return real(fd, buffer, is_affected("recv:short", &calls) && size > 1 ? 1 : size, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    static atomic_long short_calls, eagain_calls, enobufs_calls;
    ssize_t (*real)(int, const void *, size_t, int) = real_function("send");

    if (is_affected("send:eagain", &eagain_calls)) {
        errno = EAGAIN;
        return -1;
    }
    if (is_affected("send:enobufs", &enobufs_calls)) {
        errno = ENOBUFS;
        return -1;
    }
    size = tortured_size("torture-send", &tortured_send, size);
    return real(fd, data, is_affected("send:short", &short_calls) && size > 1 ? 1 : size, flags);
}

static bool is_socket(int fd)
{
    int type, error = errno;
    socklen_t size = sizeof type;
    bool result = serving && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;

    errno = error;
    return result;
}

/* Whether torture.c wants short reads or writes, and fd is a socket: a server may use read() and
 * write() instead of recv() and send(). */
static bool is_tortured_socket(const char *fault, int fd)
{
    const char *list = getenv("SHIM_FAULTS");
    int type, error = errno;
    socklen_t size = sizeof type;
    bool result = list != NULL && strstr(list, fault) != NULL &&
                  getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;

    errno = error;
    return result;
}

ssize_t read(int fd, void *buffer, size_t size)
{
    ssize_t (*real)(int, void *, size_t) = real_function("read");

    if (is_tortured_socket("torture-recv", fd))
        size = tortured_size("torture-recv", &tortured_recv, size);
    else if (is_socket(fd))
        return recv(fd, buffer, size, 0);
    return real(fd, buffer, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t (*real)(int, const void *, size_t) = real_function("write");

    if (is_tortured_socket("torture-send", fd))
        size = tortured_size("torture-send", &tortured_send, size);
    else if (is_socket(fd))
        return send(fd, data, size, 0);
    return real(fd, data, size);
}

/* Whether an allocation of this size has to fail; sets errno. */
static bool allocation_fails(size_t size)
{
    static atomic_long calls, torture_calls;

    if (is_tortured("torture-malloc", &torture_calls))
        return true;
    if (!serving || size < MIN_REQUEST || !is_affected("malloc:enomem", &calls))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    static void *(*real)(size_t);

    if (real == NULL)
        real = real_function("malloc");
    return allocation_fails(size) ? NULL : real(size);
}

/* dlsym() may call calloc() itself; it accepts a failure. */
void *calloc(size_t count, size_t size)
{
    static void *(*real)(size_t, size_t);
    static _Thread_local bool searching;

    if (real == NULL && searching)
        return NULL;
    searching = true;
    if (real == NULL)
        real = real_function("calloc");
    searching = false;
    return allocation_fails(count * size) ? NULL : real(count, size);
}

void *realloc(void *old, size_t size)
{
    static void *(*real)(void *, size_t);

    if (real == NULL)
        real = real_function("realloc");
    return allocation_fails(size) ? NULL : real(old, size);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    static atomic_long calls;
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        real_function("pthread_create");

    return is_affected("pthread_create:eagain", &calls) ? EAGAIN
                                                        : real(thread, attributes, start, argument);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static atomic_long calls;
    static atomic_bool told;
    int (*real)(clockid_t, struct timespec *) = real_function("clock_gettime");
    int result = real(clock, now);

    if (clock != CLOCK_MONOTONIC || !is_affected("clock_gettime:back", &calls))
        return result;
    now->tv_sec -= 3600;
    if (!atomic_exchange(&told, true))
        fprintf(stderr, "shim: the clock is set back\n");
    return result;
}

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    static atomic_long memory_calls, system_calls;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        real_function("getaddrinfo");

    if (is_affected("getaddrinfo:eai_memory", &memory_calls)) {
        errno = 0;
        return EAI_MEMORY;
    }
    if (is_affected("getaddrinfo:eai_system", &system_calls)) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    return real(name, service, hints, found);
}

int getnameinfo(const struct sockaddr *restrict address, socklen_t size, char *restrict host,
                socklen_t host_size, char *restrict service, socklen_t service_size, int flags)
{
    static atomic_long calls;
    int (*real)(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int) =
        real_function("getnameinfo");

    if (is_affected("getnameinfo:eai_memory", &calls))
        return EAI_MEMORY;
    return real(address, size, host, host_size, service, service_size, flags);
}

/* Also reports every close of a descriptor that is not open.  That is always a bug: between two
 * calls of close(), another thread may have been given the same number. */
int close(int fd)
{
    static atomic_long calls, torture_calls;
    int (*real)(int) = real_function("close");
    int result = real(fd);

    if (result == -1 && errno == EBADF && fd != -1)
        fprintf(stderr, "shim: close() of descriptor %d, which is not open\n", fd);
    if (is_tortured("torture-close", &torture_calls))
        return -1;
    if (!is_affected("close:eintr", &calls))
        return result;
    errno = EINTR;
    return -1;
}

static void do_nothing(int signal_number)
{
    (void)signal_number;
}

__attribute__((constructor)) static void handle_usr1(void)
{
    struct sigaction action = {.sa_handler = do_nothing};
    const char *list = getenv("SHIM_FAULTS");

    if (list != NULL && strstr(list, "sigusr1") != NULL) {
        sigaction(SIGUSR1, &action, NULL);
        note_hit();
    }
}
