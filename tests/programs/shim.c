/* Injects faults that strace cannot inject: short reads and writes, allocations and threads that
 * fail, and a signal handler without SA_RESTART.  For torture.c it also injects what seccomp(2)
 * injects, where that cannot be used.  The server loads it with LD_PRELOAD, or on macOS with
 * DYLD_INSERT_LIBRARIES.
 *
 * The environment variable SHIM_FAULTS is a comma-separated list of faults.  Each names the calls
 * that it affects: number FIRST, and from then on every STEPth call; STEP 0 means FIRST only, and
 * FIRST+STEP-LAST means none after number LAST.  Each fault counts its calls separately, for the
 * whole process.
 *   recv:short=FIRST+STEP      receive at most one byte
 *   send:short=FIRST+STEP      send at most one byte
 *   send:eagain=FIRST+STEP     send nothing and fail with EAGAIN
 *   send:enobufs=FIRST+STEP    send nothing and fail with ENOBUFS
 *   log:short=FIRST+STEP       write at most one byte to stderr
 *   log:eagain=FIRST+STEP      write nothing to stderr and fail with EAGAIN
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
 *   allocation:enomem=FIRST+STEP   any allocation fails
 *   sigusr1                    install a SIGUSR1 handler that does nothing and lacks SA_RESTART
 * read() and write() of a socket count as recv() and send().  When a fault is injected for the first
 * time, the file that the environment variable SHIM_HIT names is created.
 *
 * The environment variable SHIM_PAGE names a file that contains the struct page of torture.h. */
#include "shim.h"

#include "torture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MIN_REQUEST 256 /* The C library itself makes smaller requests. */

#ifdef __NetBSD__
/* What NetBSD's headers call these functions: the plain names are those of older versions. */
static const char *const renamed[][2] = {{"clock_gettime", "__clock_gettime50"},
                                         {"dup3", "__dup3100"},
                                         {"kevent", "__kevent100"},
                                         {"kevent", "__kevent50"},
                                         {"nanosleep", "__nanosleep50"},
                                         {"pselect", "__pselect50"},
                                         {"pthread_sigmask", "__libc_thr_sigsetmask"},
                                         {"select", "__select50"},
                                         {"sigaction", "__sigaction_siginfo"},
                                         {"sigprocmask", "__sigprocmask14"},
                                         {"socket", "__socket30"}};
#else
static const char *const renamed[][2] = {{"", ""}};
#endif

void *real_function(const char *name)
{
    void *found = NULL;

    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0] && found == NULL; i++)
        if (strcmp(renamed[i][0], name) == 0)
            found = dlsym(RTLD_NEXT, renamed[i][1]);
    if (found == NULL)
        found = dlsym(RTLD_NEXT, name);
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
        int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd != -1)
            REAL(close)(fd);
    }
}

/* Whether this call is one of those that `fault` affects.  `counter` counts the calls so far. */
static bool is_affected(const char *fault, atomic_long *counter)
{
    const char *list = getenv("SHIM_FAULTS"), *entry = list != NULL ? strstr(list, fault) : NULL;
    long first, step = 0, last = LONG_MAX;

    if (entry == NULL || sscanf(entry + strlen(fault), "=%ld+%ld-%ld", &first, &step, &last) < 1)
        return false;
    long call = atomic_fetch_add(counter, 1) + 1;
    bool hit =
        call == first || (step > 0 && call > first && call <= last && (call - first) % step == 0);
    if (hit)
        note_hit();
    return hit;
}

/* ---- What torture.c is told ---- */

static bool begun;        /* main() is about to be called */
static struct page *page; /* NULL: torture.c has not started this process */

static void open_page(void)
{
    const char *path = getenv("SHIM_PAGE");
    int fd = path != NULL ? REAL(open)(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd == -1)
        return;
    struct page *found = REAL(mmap)(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REAL(close)(fd);
    if (found == MAP_FAILED)
        return;
    found->loaded = true;
    page = found;
}

/* Not with sscanf(), which may allocate memory: this is called for each allocation. */
static int index_of_call(const char *names)
{
    while (*names != '\0') {
        size_t length = strcspn(names, " ");
        for (int i = 0; i < CALL_COUNT; i++)
            if (strncmp(calls[i].name, names, length) == 0 && calls[i].name[length] == '\0')
                return i;
        names += length + (names[length] == ' ');
    }
    abort();
}

bool tortured(const char *names)
{
    struct timespec used;
    int error = errno;

    if (page == NULL)
        return false;
    if (page->server == getpid() && REAL(clock_gettime)(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
        page->cpu_us = used.tv_sec * 1000000LL + used.tv_nsec / 1000;
    bool fails = count_call(page, index_of_call(names));
    errno = fails ? page->error : error;
    return fails;
}

#define HIGHEST_FD 128 /* a server in a torture run needs few descriptors */

/* With the lock, the last thread to change something also counts last. */
static void note_descriptors(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int (*real)(int, int, ...) = REAL(fcntl);
    int count = 0, error = errno;

    if (page == NULL || page->server != getpid())
        return;
    pthread_mutex_lock(&lock);
    for (int fd = 0; fd < HIGHEST_FD; fd++)
        count += real(fd, F_GETFD) != -1;
    page->descriptors = count;
    pthread_mutex_unlock(&lock);
    errno = error;
}

/* ---- The functions ---- */

void before_wait(void)
{
    static atomic_long counter;

    note_descriptors();
    if (serving && is_affected("wait:sigterm", &counter))
        raise(SIGTERM);
}

DEFINE(int, poll, (struct pollfd * list, nfds_t length, int timeout))
{
    before_wait();
    return tortured("poll ppoll") ? -1 : REAL(poll)(list, length, timeout);
}

DEFINE(int, select,
       (int count, fd_set *readable, fd_set *writable, fd_set *exceptional,
        struct timeval *timeout))
{
    before_wait();
    return tortured(ON_LINUX("pselect6", "select"))
               ? -1
               : REAL(select)(count, readable, writable, exceptional, timeout);
}

#ifdef __linux__
DEFINE(int, epoll_wait, (int fd, struct epoll_event *events, int length, int timeout))
{
    before_wait();
    return tortured("epoll_wait epoll_pwait") ? -1 : REAL(epoll_wait)(fd, events, length, timeout);
}

DEFINE(int, epoll_pwait,
       (int fd, struct epoll_event *events, int length, int timeout, const sigset_t *mask))
{
    before_wait();
    return tortured("epoll_pwait") ? -1 : REAL(epoll_pwait)(fd, events, length, timeout, mask);
}
#endif

static void before_accept(int fd)
{
    if ((REAL(fcntl)(fd, F_GETFL) & O_NONBLOCK) == 0) /* a blocking listener: accept() waits */
        before_wait();
    serving = true;
}

DEFINE(int, accept, (int fd, struct sockaddr *restrict address, socklen_t *restrict size))
{
    before_accept(fd);
    int result = tortured("accept") ? -1 : REAL(accept)(fd, address, size);
    note_descriptors();
    return result;
}

#ifndef __APPLE__
DEFINE(int, accept4,
       (int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags))
{
    before_accept(fd);
    int result = tortured("accept4") ? -1 : REAL(accept4)(fd, address, size, flags);
    note_descriptors();
    return result;
}
#endif

/* How many bytes a call may receive. */
static size_t recv_size(size_t size)
{
    static atomic_long counter;
    bool is_short = tortured("recv");

    return (is_affected("recv:short", &counter) || is_short) && size > 1 ? 1 : size;
}

DEFINE(ssize_t, recv, (int fd, void *buffer, size_t size, int flags))
{
    return tortured("recvfrom") ? -1 : REAL(recv)(fd, buffer, recv_size(size), flags);
}

/* Whether a call that sends has to fail; sets errno. */
static bool send_fails(void)
{
    static atomic_long eagain_calls, enobufs_calls;

    if (is_affected("send:eagain", &eagain_calls)) {
        errno = EAGAIN;
        return true;
    }
    if (is_affected("send:enobufs", &enobufs_calls)) {
        errno = ENOBUFS;
        return true;
    }
    return false;
}

/* How many bytes a call may send. */
static size_t send_size(size_t size)
{
    static atomic_long counter;
    bool is_short = tortured("send");

    return (is_affected("send:short", &counter) || is_short) && size > 1 ? 1 : size;
}

DEFINE(ssize_t, send, (int fd, const void *data, size_t size, int flags))
{
    if (tortured("sendto") || send_fails())
        return -1;
    return REAL(send)(fd, data, send_size(size), flags);
}

/* A server may use read() and write() instead of recv() and send(). */
static bool is_socket(int fd)
{
    int type, error = errno;
    socklen_t size = sizeof type;
    bool result =
        (serving || page != NULL) && REAL(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;

    errno = error;
    return result;
}

DEFINE(ssize_t, read, (int fd, void *buffer, size_t size))
{
    if (tortured("read"))
        return -1;
    return REAL(read)(fd, buffer, is_socket(fd) ? recv_size(size) : size);
}

/* The server's log.  Returns what the call returns. */
static ssize_t write_to_stderr(const void *data, size_t size)
{
    static atomic_long eagain_calls, short_calls;
    bool is_short = is_affected("log:short", &short_calls);

    if (is_affected("log:eagain", &eagain_calls)) {
        errno = EAGAIN;
        return -1;
    }
    return REAL(write)(STDERR_FILENO, data, is_short && size > 1 ? 1 : size);
}

DEFINE(ssize_t, write, (int fd, const void *data, size_t size))
{
    if (tortured("write"))
        return -1;
    if (fd == STDERR_FILENO)
        return write_to_stderr(data, size);
    bool sends = is_socket(fd);
    if (sends && send_fails())
        return -1;
    return REAL(write)(fd, data, sends ? send_size(size) : size);
}

/* Whether an allocation of this size has to fail; sets errno. */
static bool allocation_fails(size_t size)
{
    static atomic_long counter, all_calls;

    if (!begun)
        return false;
    if (tortured("malloc"))
        return true;
    if (!is_affected("allocation:enomem", &all_calls) &&
        (!serving || size < MIN_REQUEST || !is_affected("malloc:enomem", &counter)))
        return false;
    errno = ENOMEM;
    return true;
}

DEFINE(void *, malloc, (size_t size))
{
    static void *(*real)(size_t);

    if (real == NULL)
        real = REAL(malloc);
    return allocation_fails(size) ? NULL : real(size);
}

/* dlsym() may call calloc() itself; it accepts a failure.  `searching` is true only before the
 * server has threads. */
DEFINE(void *, calloc, (size_t count, size_t size))
{
    static void *(*real)(size_t, size_t);
    static bool searching;

    if (real == NULL && searching)
        return NULL;
    searching = true;
    if (real == NULL)
        real = REAL(calloc);
    searching = false;
    return allocation_fails(count * size) ? NULL : real(count, size);
}

DEFINE(void *, realloc, (void *old, size_t size))
{
    static void *(*real)(void *, size_t);

    if (real == NULL)
        real = REAL(realloc);
    return allocation_fails(size) ? NULL : real(old, size);
}

DEFINE(int, pthread_create,
       (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *),
        void *argument))
{
    static atomic_long counter;

    if (tortured(ON_LINUX("clone3", "pthread_create")))
        return errno;
    return is_affected("pthread_create:eagain", &counter)
               ? EAGAIN
               : REAL(pthread_create)(thread, attributes, start, argument);
}

DEFINE(int, clock_gettime, (clockid_t clock, struct timespec *now))
{
    static atomic_long counter;
    static atomic_bool told;
    int result = REAL(clock_gettime)(clock, now);

    if (clock != CLOCK_MONOTONIC || !is_affected("clock_gettime:back", &counter))
        return result;
    now->tv_sec -= 3600;
    if (!atomic_exchange(&told, true))
        fprintf(stderr, "shim: the clock is set back\n");
    return result;
}

DEFINE(int, getaddrinfo,
       (const char *restrict name, const char *restrict service,
        const struct addrinfo *restrict hints, struct addrinfo **restrict found))
{
    static atomic_long memory_calls, system_calls;

    if (is_affected("getaddrinfo:eai_memory", &memory_calls)) {
        errno = 0;
        return EAI_MEMORY;
    }
    if (is_affected("getaddrinfo:eai_system", &system_calls)) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    return REAL(getaddrinfo)(name, service, hints, found);
}

#if defined __FreeBSD__ || defined __OpenBSD__
typedef size_t name_size;
#else
typedef socklen_t name_size;
#endif

DEFINE(int, getnameinfo,
       (const struct sockaddr *restrict address, socklen_t size, char *restrict host,
        name_size host_size, char *restrict service, name_size service_size, int flags))
{
    static atomic_long counter;

    if (is_affected("getnameinfo:eai_memory", &counter))
        return EAI_MEMORY;
    return REAL(getnameinfo)(address, size, host, host_size, service, service_size, flags);
}

/* Also reports every close of a descriptor that is not open.  That is always a bug: between two
 * calls of close(), another thread may have been given the same number. */
DEFINE(int, close, (int fd))
{
    static atomic_long counter;
    int result = REAL(close)(fd);

    note_descriptors();
    if (result == -1 && errno == EBADF && fd != -1)
        fprintf(stderr, "shim: close() of descriptor %d, which is not open\n", fd);
    if (tortured("close"))
        return -1;
    if (!is_affected("close:eintr", &counter))
        return result;
    errno = EINTR;
    return -1;
}

static void do_nothing(int signal_number)
{
    (void)signal_number;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action = {.sa_handler = do_nothing};
    const char *list = getenv("SHIM_FAULTS");

    if (list != NULL && strstr(list, "sigusr1") != NULL) {
        REAL(sigaction)(SIGUSR1, &action, NULL);
        note_hit();
    }
    open_page();
    begun = true;
}
