/* Unit tests of stage 06's library: a case for each sentence of selector.h, for each back end.
 *
 * selector-unit                 run all; print "ok BACKEND CASE" or "not ok BACKEND CASE" for each
 * selector-unit BACKEND [CASE]  run only these
 * selector-unit -x ...          run them; with each back end, end at the first case that fails
 * selector-unit -l              list the cases, each with the sentence that it tests
 * Exit code: 0 if all passed, 1 if a case failed, 2 if there is no such case.
 *
 * Each case runs in its own process under alarm(), and must leave as many open descriptors and as
 * much memory as it found.  The library is compiled so that it calls unit_poll(), unit_malloc() and
 * so on instead of the system (see doubles.h).  These functions count the calls, can fail on
 * request, can pretend that time passes, and change errno when they succeed. */
#define _GNU_SOURCE /* O_PATH */
#define _DEFAULT_SOURCE
#define _NETBSD_SOURCE
#define DOUBLES_ONLY_DECLARED

#include "selector.h"
#include "doubles.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<sys/epoll.h>)
#define HAVE_EPOLL
#endif
#if __has_include(<sys/event.h>)
#define HAVE_KQUEUE
#endif

#define BOTH (EVENT_READ | EVENT_WRITE)
#define LIMIT_S 60 /* longer than any case takes, even under valgrind */
#define QUICK_S 20 /* with -x */
#define MAX_BACKENDS 4
#define SKIPPED 77
#define MS 1000000LL /* in nanoseconds */
#define DAY (86400LL * 1000 * MS)
#define ROOM 64
#define MANY 600          /* more than two batches of selector_dispatch() */
#define FIRST_OF_MANY 100 /* the lowest of so many descriptors */

static const char *backend;      /* of the running case */
static bool first_only;          /* -x */
static struct selector *current; /* for the callbacks */
static const struct timespec no_time, brief = {.tv_nsec = 20 * MS}, second = {.tv_sec = 1};

#define CHECK(what) ((what) ? (void)0 : fail(__LINE__, #what))
#define CHECK_FAILS(call, error) (errno = 0, CHECK((call) == -1), CHECK(errno == (error)))

static void fail(int line, const char *what)
{
    printf("selector.c:%d: check failed: %s (errno: %s)\n", line, what, strerror(errno));
    exit(1);
}

static void skip(const char *why)
{
    printf("skipped: %s\n", why);
    exit(SKIPPED);
}

/* ---- the functions that the library calls instead of the system ---- */

static struct {
    int calls, waits, opens; /* of the library: all, those that wait, those that open */
    const char *failing;     /* the calls that may fail; NULL: all calls */
    int fail_at;             /* which of them fails: 1 is the next one, 0 is none */
    int error;               /* with this errno */
    int blocks;              /* of memory that it holds */
    bool simulated;          /* use a simulated clock, which moves only in waits */
    long long time;          /* of the simulated clock, in nanoseconds */
    long long nap;           /* the longest time that one simulated wait takes */
    int for_ever;            /* the number of waits without a timeout */
} library;

static void let_fail(const char *name, int at, int error)
{
    library.failing = name;
    library.fail_at = at;
    library.error = error;
}

static bool fails(const char *name)
{
    library.calls++;
    if (library.fail_at == 0 || (library.failing != NULL && strcmp(library.failing, name) != 0))
        return false;
    if (--library.fail_at > 0)
        return false;
    if (library.simulated)
        library.time += library.nap;
    errno = library.error;
    return true;
}

/* After success errno has no meaning: a call that succeeds may change it, so each of these does. */
static int succeed_with(int result, int error)
{
    if (result != -1)
        errno = error;
    return result;
}

static int succeed(int result)
{
    return succeed_with(result, ENOMEM);
}

/* A simulated wait in which nothing happens: this many nanoseconds, or -1 for ever. */
static int simulate_wait(long long asked)
{
    CHECK(library.waits < 1000); /* otherwise the loop spins */
    if (asked < 0 && ++library.for_ever == 3) {
        errno = EINTR;
        return -1;
    }
    if (asked >= 0)
        library.time += asked < library.nap ? asked : library.nap;
    return succeed(0);
}

static void *count_block(void *block)
{
    if (block == NULL)
        return NULL;
    library.blocks++;
    succeed(0);
    return block;
}

/* New memory is not zero, so that the library cannot rely on what is in it. */
void *unit_malloc(size_t size)
{
    void *block = count_block(fails("memory") ? NULL : malloc(size));

    return block == NULL ? NULL : memset(block, 0xA5, size);
}

void *unit_calloc(size_t count, size_t size)
{
    return count_block(fails("memory") ? NULL : calloc(count, size));
}

void *unit_realloc(void *old, size_t size)
{
    if (old == NULL)
        return unit_malloc(size);
    void *block = fails("memory") ? NULL : realloc(old, size);
    succeed(block == NULL ? -1 : 0);
    return block;
}

void unit_free(void *old)
{
    library.blocks -= old != NULL;
    free(old);
}

/* Closing a descriptor that is open cannot fail. */
int unit_close(int fd)
{
    library.calls++;
    return succeed(close(fd));
}

/* Like fstat(), it fails only if a case names it. */
int unit_fcntl(int fd, int command, ...)
{
    va_list more;

    if (library.failing != NULL && fails("fcntl"))
        return -1;
    library.calls += library.failing == NULL;
    va_start(more, command);
    int result = command == F_SETFD ? fcntl(fd, command, va_arg(more, int)) : fcntl(fd, command);
    va_end(more);
    return succeed(result);
}

/* Only EBADF from fstat() makes a function of the library fail, so it fails only if a case names this
 * call.  What it leaves in *status is then wrong. */
int unit_fstat(int fd, struct stat *status)
{
    memset(status, 0xA5, sizeof *status);
    if (library.failing != NULL && fails("stat"))
        return -1;
    library.calls += library.failing == NULL;
    return succeed(fstat(fd, status));
}

int unit_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!library.simulated)
        return clock_gettime(clock, now);
    now->tv_sec = (time_t)(library.time / (1000 * MS));
    now->tv_nsec = (long)(library.time % (1000 * MS));
    return 0;
}

int unit_poll(struct pollfd *list, nfds_t count, int ms)
{
    library.waits++;
    if (fails("wait"))
        return -1;
    return library.simulated ? simulate_wait(ms < 0 ? -1 : ms * MS)
                             : succeed(poll(list, count, ms));
}

int unit_select(int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *limit)
{
    library.waits++;
    if (fails("wait"))
        return -1;
    if (!library.simulated)
        return succeed(select(count, in, out, except, limit));
    return simulate_wait(limit == NULL ? -1 : (limit->tv_sec * 1000000LL + limit->tv_usec) * 1000);
}

#ifdef HAVE_EPOLL
int unit_epoll_create1(int flags)
{
    library.opens++;
    return fails("open") ? -1 : succeed(epoll_create1(flags));
}

/* Removing a registration that exists cannot fail. */
int unit_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation != EPOLL_CTL_DEL && fails("change"))
        return -1;
    library.calls += operation == EPOLL_CTL_DEL;
    return succeed_with(epoll_ctl(epoll, operation, fd, event), EPERM);
}

int unit_epoll_wait(int epoll, struct epoll_event *events, int max, int ms)
{
    library.waits++;
    if (fails("wait"))
        return -1;
    return library.simulated ? simulate_wait(ms < 0 ? -1 : ms * MS)
                             : succeed(epoll_wait(epoll, events, max, ms));
}
#endif

#ifdef HAVE_KQUEUE
int unit_kqueue(void)
{
    library.opens++;
    if (fails("open"))
        return -1;
    int queue = kqueue();
    CHECK(queue == -1 ||
          fcntl(queue, F_SETFD, 0) == 0); /* the emulation sets FD_CLOEXEC, the BSDs do not */
    return succeed(queue);
}

int unit_kevent(int queue, const struct kevent *changes, kevent_count nchanges,
                struct kevent *events, kevent_count nevents, const struct timespec *timeout)
{
    bool deletes = nchanges > 0 && (changes->flags & EV_DELETE) != 0;

    library.waits += nevents > 0;
    library.calls += deletes;
    if (!deletes && fails(nevents > 0 ? "wait" : "change"))
        return -1;
    if (nevents == 0 || !library.simulated)
        return succeed(kevent(queue, changes, nchanges, events, nevents, timeout));
    return simulate_wait(timeout == NULL ? -1 : timeout->tv_sec * 1000 * MS + timeout->tv_nsec);
}
#endif

/* ---- helpers of the cases ---- */

static bool is(const char *name)
{
    return strcmp(backend, name) == 0;
}

static struct selector *open_selector(void)
{
    struct selector *s = selector_open(backend);

    CHECK(s != NULL);
    return s;
}

static void do_not_block(int fd)
{
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
}

static void make_pair(int fds[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    do_not_block(fds[0]);
    do_not_block(fds[1]);
}

static void make_pipe(int fds[2])
{
    CHECK(pipe(fds) == 0);
    do_not_block(fds[0]);
    do_not_block(fds[1]);
}

/* Both ends of a TCP connection on the loopback interface. */
static void make_connection(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sockaddr *name = (struct sockaddr *)&address;
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, name, size) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, name, &size) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[0], name, size) == 0);
    fds[1] = accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    close(listener);
    do_not_block(fds[0]);
    do_not_block(fds[1]);
}

static void close_both(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void write_byte(int fd)
{
    CHECK(write(fd, "x", 1) == 1);
}

static void drain(int fd)
{
    char text[4096];

    while (read(fd, text, sizeof text) > 0)
        continue;
}

#define FILLED_MS 50 /* longer than an acknowledgement is delayed */

/* Write until the buffer is full, and stays full. */
static void fill(int fd)
{
    static const char text[4096];
    struct pollfd room = {.fd = fd, .events = POLLOUT};

    do
        while (write(fd, text, sizeof text) > 0 || write(fd, text, 1) > 0)
            continue;
    while (poll(&room, 1, FILLED_MS) == 1); /* TCP goes on sending to the peer's buffer */
    CHECK(errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Close fd so that the peer sees a reset. */
static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1};

    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    close(fd);
}

static void add(struct selector *s, int fd, int events)
{
    CHECK(selector_register(s, fd, events, NULL, NULL) == 0);
}

/* The events that are reported for fd now; 0 if it is not reported. */
static int events_at(struct selector *s, int fd)
{
    struct selector_ready ready[ROOM];
    int count = selector_select(s, ready, ROOM, &no_time), events = 0;

    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        CHECK(ready[i].events != 0);
        if (ready[i].key.fd != fd)
            continue;
        CHECK(events == 0); /* each descriptor is reported once */
        events = ready[i].events;
    }
    return events;
}

/* Wait until fd is reported with these events; alarm() ends the case if that never happens. */
static void wait_until(struct selector *s, int fd, int events)
{
    while (events_at(s, fd) != events)
        poll(NULL, 0, 1);
}

/* Check that nothing is reported, and that the selector waits instead of spinning. */
static void check_quiet(struct selector *s)
{
    struct selector_ready ready[ROOM];

    library.waits = 0;
    CHECK(selector_select(s, ready, ROOM, &brief) == 0);
    CHECK(library.waits <= 5);
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 5000; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* Make duplicates of fd in ascending order.  They are ready whenever fd is. */
static void make_duplicates(int fd, int from, int count, int copies[])
{
    for (int i = 0; i < count; i++) {
        copies[i] = fcntl(fd, F_DUPFD, i == 0 ? from : copies[i - 1] + 1);
        if (copies[i] == -1 && (errno == EMFILE || errno == EINVAL))
            skip("needs more descriptors; to run it: ulimit -Hn 4096");
        CHECK(copies[i] >= 0);
    }
}

/* MANY, or with select as many as fit into an fd_set.  Some of the numbers may be in use. */
static int many_for_backend(void)
{
    int fitting = FD_SETSIZE - FIRST_OF_MANY - 20;

    return is("select") && fitting < MANY ? fitting : MANY;
}

static void allow_descriptors(void)
{
    struct rlimit limit;

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 4096 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
}

/* Open a regular file and a directory. */
static void open_files(int files[2])
{
    char name[] = "/tmp/selector-unit.XXXXXX";

    files[0] = mkstemp(name);
    CHECK(files[0] >= 0 && unlink(name) == 0);
    files[1] = open("/", O_RDONLY);
    CHECK(files[1] >= 0);
}

/* ---- what each system answers ---- */

enum { NO = 0, YES = 1, NOT_KNOWN = -1 };

/* The answers of FreeBSD and NetBSD were observed on kernels of FreeBSD 13 and NetBSD 7.99.
 * NOT_KNOWN means that nobody has observed the answer of this system, and any answer is accepted.
 * An errno of 0 means that the call succeeds. */
static const struct answers {
    const char *system;      /* uname -s */
    int write_after_reset;   /* errno of the first write() after RST */
    int pipe_without_reader; /* kqueue: errno of EVENT_WRITE for a pipe that nobody reads */
    int full_pipe_closed;    /* kqueue reports that the reader of a full pipe has closed it */
    int reading_end_closed;  /* kqueue reports EVENT_WRITE if the writer has closed a pipe */
} all_answers[] = {{"Linux", ECONNRESET, 0, YES, YES},
                   {"FreeBSD", EPIPE, EPIPE, YES, NOT_KNOWN},
                   {"NetBSD", EPIPE, EBADF, NO, NO},
                   {"another system", NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN}};

static const struct answers *answers_here(void)
{
    const struct answers *answers = all_answers;
    const char *simulated = getenv("ANSWERS"); /* see bsd.c */
    struct utsname here;

    CHECK(uname(&here) != -1);
    for (int i = 0; i < 3; i++, answers++)
        if (strcmp(answers->system, simulated != NULL ? simulated : here.sysname) == 0)
            break;
    return answers;
}

/* Check what this system answered.  `from_kqueue` is the answer if the back end is kqueue. */
static void check_answer(int line, const char *what, int from_kqueue, int from_others, int got)
{
    int expected = is("kqueue") ? from_kqueue : from_others;

    if (expected != NOT_KNOWN && got != expected) {
        printf("expected %d, got %d; the answers are those of %s\n", expected, got,
               answers_here()->system);
        fail(line, what);
    }
}
#define CHECK_ANSWER(from_kqueue, from_others, got)                                                \
    check_answer(__LINE__, #from_kqueue, answers_here()->from_kqueue, from_others, got)

/* ---- rules for every function ---- */

static void level_triggered(void)
{
    struct selector *s = open_selector();
    int pair[2];

    make_pair(pair);
    add(s, pair[0], BOTH);
    write_byte(pair[1]);
    for (int i = 0; i < 3; i++)
        CHECK(events_at(s, pair[0]) == BOTH);
    drain(pair[0]);
    for (int i = 0; i < 3; i++)
        CHECK(events_at(s, pair[0]) == EVENT_WRITE);
    fill(pair[0]);
    CHECK(events_at(s, pair[0]) == 0);
    drain(pair[1]);
    CHECK(events_at(s, pair[0]) == EVENT_WRITE);
    selector_close(s);
    close_both(pair);
}

/* If all that is ready fits, or exactly fills the room, one call of the kernel is enough. */
static void no_needless_call(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[ROOM];
    int pair[2];

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    write_byte(pair[1]);
    for (int max = 1; max <= ROOM; max += ROOM - 1) {
        library.calls = 0;
        CHECK(selector_select(s, ready, max, &no_time) == 1 && library.calls == 1);
    }
    drain(pair[0]);
    library.calls = 0;
    CHECK(selector_select(s, ready, 1, &no_time) == 0 && library.calls == 1);
    selector_close(s);
    close_both(pair);
}

static void invalid_arguments(void)
{
    static const int wrong[] = {4, 5, 7, -1, 999999, INT_MIN};
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pair[2];

    make_pair(pair);
    CHECK_FAILS(selector_register(s, pair[0], 0, NULL, NULL), EINVAL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_FAILS(selector_register(s, pair[0], wrong[i], NULL, NULL), EINVAL);
        CHECK_FAILS(selector_register(s, -1, wrong[i], NULL, NULL), EINVAL);
        add(s, pair[0], EVENT_READ);
        CHECK_FAILS(selector_modify(s, pair[0], wrong[i], NULL, NULL), EINVAL);
        CHECK(selector_unregister(s, pair[0]) == 0);
    }
    for (int max = -1; max <= 0; max++)
        CHECK_FAILS(selector_select(s, ready, max, &no_time), EINVAL);
    CHECK_FAILS(selector_select(s, ready, INT_MIN, NULL), EINVAL);
    errno = 0;
    CHECK(selector_open("quantum") == NULL && errno == EINVAL);
    errno = 0;
    CHECK(selector_open("") == NULL && errno == EINVAL);
    selector_close(s);
    close_both(pair);
}

/* An invalid timeout is refused without a wait, even if a descriptor is ready. */
static void invalid_timeouts(void)
{
    static const struct timespec wrong[] = {
        {0, LONG_MAX}, {999999999, LONG_MAX}, {0, 1000000000}, {0, -1},
        {-1, -1},      {-1, 1000000000},      {5, LONG_MIN},   {LONG_MAX, LONG_MAX}};
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pair[2];

    make_pair(pair);
    add(s, pair[0], BOTH);
    library.waits = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_FAILS(selector_select(s, ready, 1, &wrong[i]), EINVAL);
        CHECK_FAILS(selector_dispatch(s, &wrong[i]), EINVAL);
    }
    CHECK(library.waits == 0 && selector_count(s) == 1);
    CHECK(selector_select(s, ready, 1, &(struct timespec){0, 999999999}) == 1);
    selector_close(s);
    close_both(pair);
}

static void bad_descriptors(void)
{
    static const int negative[] = {-1, -10, INT_MIN};
    struct selector *s = open_selector();
    int pair[2];

    make_pair(pair);
    for (size_t i = 0; i < sizeof negative / sizeof negative[0]; i++) {
        CHECK_FAILS(selector_register(s, negative[i], EVENT_READ, NULL, NULL), EBADF);
        CHECK_FAILS(selector_modify(s, negative[i], EVENT_READ, NULL, NULL), EBADF);
        CHECK_FAILS(selector_unregister(s, negative[i]), EBADF);
        errno = 0;
        CHECK(selector_get_key(s, negative[i]) == NULL && errno == EBADF);
    }
    add(s, pair[0], EVENT_READ);
    close_both(pair);
    CHECK_FAILS(selector_register(s, pair[1], EVENT_READ, NULL, NULL), EBADF);
    CHECK_FAILS(selector_modify(s, pair[0], EVENT_WRITE, NULL, NULL), EBADF);
    CHECK_FAILS(selector_modify(s, pair[0], 0, NULL, NULL), EBADF);
    CHECK_FAILS(selector_register(s, INT_MAX, EVENT_READ, NULL, NULL), EBADF);
    CHECK(selector_count(s) == 1);
    check_quiet(s);
    selector_close(s);
}

/* Such a descriptor is open, but only for the name of the file: it cannot be read or waited for. */
static void name_of_a_pipe(void)
{
#ifdef O_PATH
    struct selector *s = open_selector();
    char name[40];
    int ends[2];

    make_pipe(ends);
    snprintf(name, sizeof name, "/proc/self/fd/%d", ends[0]);
    int path = open(name, O_PATH);
    CHECK(path != -1);
    CHECK_FAILS(selector_register(s, path, EVENT_READ, NULL, NULL), EBADF);
    let_fail("fcntl", 1, EIO);
    CHECK_FAILS(selector_register(s, ends[0], EVENT_READ, NULL, NULL), EIO);
    CHECK(library.fail_at == 0);
    let_fail(NULL, 0, 0);
    close(path);
    selector_close(s);
    close_both(ends);
#else
    skip("this system has no O_PATH; to run it: Linux");
#endif
}

static void files_and_directories(void)
{
    struct selector *s = open_selector();
    int files[2], pair[2];

    open_files(files);
    for (int i = 0; i < 2; i++) {
        make_pair(pair);
        CHECK_FAILS(selector_register(s, files[i], EVENT_READ, NULL, NULL), EPERM);
        CHECK_FAILS(selector_register(s, files[i], BOTH, NULL, NULL), EPERM);
        CHECK_FAILS(selector_unregister(s, files[i]), ENOENT);
        add(s, pair[0], EVENT_READ);
        close(pair[0]);
        CHECK(fcntl(files[i], F_DUPFD, pair[0]) == pair[0]);
        CHECK_FAILS(selector_modify(s, pair[0], EVENT_WRITE, NULL, NULL), EPERM);
        CHECK(selector_get_key(s, pair[0])->events == EVENT_READ);
        CHECK(selector_unregister(s, pair[0]) == 0 && selector_count(s) == 0);
        close_both(pair);
    }
    check_quiet(s);
    selector_close(s);
    close_both(files);
}

/* The type of these files does not tell whether the kernel can wait for them.  Every back end must
 * give the same answer as epoll_ctl(). */
static void driver_decides(void)
{
#if defined __linux__ && defined HAVE_EPOLL
    static const char *const names[] = {
        "/proc/self/mounts", "/proc/self/status", "/sys/kernel/uevent_seqnum",
        "/dev/null",         "/dev/zero",         "/proc",
        "/sys/kernel"};
    struct selector *s = open_selector();
    int accepted = 0, refused = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int fd = open(names[i], O_RDONLY), epoll = epoll_create1(0);
        if (fd != -1) {
            struct epoll_event event = {.events = EPOLLIN};
            bool waits = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
            int result = selector_register(s, fd, EVENT_READ, NULL, NULL);
            CHECK(waits ? result == 0 : result == -1 && errno == EPERM);
            CHECK(result == -1 || selector_unregister(s, fd) == 0);
            accepted += waits;
            refused += !waits;
            close(fd);
        }
        close(epoll);
    }
    CHECK(accepted >= 1 && refused >= 2); /* at least /proc/self/mounts; /dev/null and /proc */
    selector_close(s);
#else
    skip("only Linux asks the driver; to run it: Linux");
#endif
}

/* Without epoll in the kernel, the type decides.  A shortage of descriptors is an error. */
static void epoll_cannot_be_asked(void)
{
#if defined __linux__ && defined HAVE_EPOLL
    static const int shortages[] = {EMFILE, ENFILE, ENOMEM};
    struct selector *s = open_selector();
    int files[2], null = open("/dev/null", O_RDONLY), pair[2], ends[2];

    open_files(files);
    make_pair(pair);
    make_pipe(ends);
    for (int i = 0; i < 2; i++) {
        let_fail("open", 1, ENOSYS);
        CHECK_FAILS(selector_register(s, files[i], EVENT_READ, NULL, NULL), EPERM);
        for (int j = 0; j < 3; j++) {
            let_fail("open", 1, shortages[j]);
            CHECK_FAILS(selector_register(s, files[i], EVENT_READ, NULL, NULL), shortages[j]);
        }
    }
    let_fail("open", 1, ENOSYS);
    if (is("poll") || is("select"))
        add(s, null, EVENT_READ);
    else
        CHECK_FAILS(selector_register(s, null, EVENT_READ, NULL, NULL), EPERM);
    let_fail("open", 1, EMFILE);
    add(s, pair[0], EVENT_READ); /* for a socket or a pipe, epoll is not asked */
    add(s, ends[0], EVENT_READ);
    CHECK(library.fail_at == 1);
    let_fail(NULL, 0, 0);
    selector_close(s);
    close_both(pair);
    close_both(ends);
    close_both(files);
    close(null);
#else
    skip("only Linux asks the driver; to run it: Linux");
#endif
}

/* When the library asks about a file, another errno than EPERM says nothing about the file. */
static void question_fails(void)
{
#if defined __linux__ && defined HAVE_EPOLL
    struct selector *s = open_selector();
    int mounts = open("/proc/self/mounts", O_RDONLY), null = open("/dev/null", O_RDONLY);

    CHECK(mounts != -1 && null != -1);
    let_fail("change", 1, ENOSPC);
    add(s, mounts, EVENT_READ);
    CHECK(library.fail_at == 0);
    let_fail("stat", 1, EIO);
    if (is("poll") || is("select")) /* these two know nothing about the file */
        add(s, null, EVENT_READ);
    else
        CHECK_FAILS(selector_register(s, null, EVENT_READ, NULL, NULL), EPERM);
    CHECK(library.fail_at == 0);
    let_fail(NULL, 0, 0);
    selector_close(s);
    close(mounts);
    close(null);
#else
    skip("only Linux asks the driver; to run it: Linux");
#endif
}

static void pipe_that_nobody_reads(void)
{
    struct selector *s = open_selector();
    int ends[2];

    make_pipe(ends);
    close(ends[0]);
    int error = selector_register(s, ends[1], EVENT_WRITE, NULL, NULL) == -1 ? errno : 0;
    CHECK_ANSWER(pipe_without_reader, 0, error);
    CHECK(selector_count(s) == (error == 0));
    if (error == 0) {
        CHECK(events_at(s, ends[1]) == EVENT_WRITE);
        CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    }
    selector_close(s);
    close(ends[1]);
}

static void registered_twice(void)
{
    struct selector *s = open_selector();
    int pair[2], mark;

    make_pair(pair);
    CHECK(selector_register(s, pair[0], EVENT_READ, NULL, &mark) == 0);
    write_byte(pair[1]);
    CHECK_FAILS(selector_register(s, pair[0], EVENT_WRITE, NULL, NULL), EEXIST);
    CHECK_FAILS(selector_register(s, pair[0], EVENT_READ, NULL, NULL), EEXIST);
    CHECK(selector_get_key(s, pair[0])->data == &mark);
    CHECK(events_at(s, pair[0]) == EVENT_READ && selector_count(s) == 1);
    close(pair[0]); /* the key stays, whether fd is open or not */
    CHECK_FAILS(selector_register(s, pair[0], EVENT_WRITE, NULL, NULL), EEXIST);
    selector_close(s);
    close(pair[1]);
}

static void unknown_descriptors(void)
{
    struct selector *s = open_selector();
    int pair[2];

    make_pair(pair);
    add(s, pair[1], EVENT_READ);
    CHECK(selector_unregister(s, pair[1]) == 0);
    for (int i = 0; i < 3; i++) {
        int fd = i == 2 ? INT_MAX : pair[i];
        CHECK_FAILS(selector_modify(s, fd, EVENT_READ, NULL, NULL), ENOENT);
        CHECK_FAILS(selector_unregister(s, fd), ENOENT);
        errno = 0;
        CHECK(selector_get_key(s, fd) == NULL && errno == ENOENT);
    }
    selector_close(s);
    close_both(pair);
}

static void too_large_for_select(void)
{
    struct selector *s = open_selector();
    int pair[2], copies[2];

    allow_descriptors();
    make_pair(pair);
    make_duplicates(pair[0], FD_SETSIZE - 1, 2, copies);
    CHECK(copies[0] == FD_SETSIZE - 1);
    add(s, copies[0], BOTH);
    write_byte(pair[1]);
    if (is("select")) {
        CHECK_FAILS(selector_register(s, copies[1], EVENT_READ, NULL, NULL), ERANGE);
        CHECK_FAILS(selector_unregister(s, copies[1]), ENOENT);
        CHECK(selector_next_key(s, FD_SETSIZE) == NULL);
    } else {
        add(s, copies[1], EVENT_READ);
        CHECK(events_at(s, copies[1]) == EVENT_READ);
    }
    CHECK(events_at(s, copies[0]) == BOTH);
    selector_close(s);
    close_both(pair);
    close_both(copies);
}

/* Each allocation and each call that opens an instance fails once; then there is no selector. */
static void no_memory_to_open(void)
{
    static const char *const calls[] = {"memory", "open"};

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        for (int at = 1; at <= 3; at++) {
            let_fail(calls[i], at, ENOMEM);
            struct selector *s = selector_open(backend);
            CHECK((s == NULL) == (library.fail_at == 0));
            CHECK(s != NULL || (errno == ENOMEM && library.blocks == 0));
            selector_close(s);
        }
    let_fail(NULL, 0, 0);
}

/* Each allocation of selector_register() fails once; then there is no key, and the next call works.
 */
static void no_memory_to_register(void)
{
    int pair[2], failures = 0;

    make_pair(pair);
    for (int at = 1; at <= 4; at++) {
        struct selector *s = open_selector();
        let_fail("memory", at, ENOMEM);
        int result = selector_register(s, pair[0], BOTH, NULL, NULL);
        CHECK((result == -1) == (library.fail_at == 0));
        CHECK(result == 0 || (errno == ENOMEM && selector_count(s) == 0));
        let_fail(NULL, 0, 0);
        failures += result == -1;
        if (result == -1)
            add(s, pair[0], BOTH);
        CHECK(events_at(s, pair[0]) == EVENT_WRITE);
        selector_close(s);
    }
    CHECK(failures >= 1);
    close_both(pair);
}

/* ---- descriptors that were closed but not unregistered ---- */

static void closed_and_forgotten(void)
{
    struct selector *s = open_selector();
    int pairs[3][2];

    for (int i = 0; i < 3; i++) {
        make_pair(pairs[i]);
        add(s, pairs[i][0], i == 0 ? EVENT_WRITE : BOTH);
        fill(pairs[i][0]);
    }
    close_both(pairs[0]); /* one below and one above the remaining descriptor */
    close_both(pairs[2]);
    check_quiet(s);
    check_quiet(s);
    CHECK(selector_count(s) == 3 && selector_get_key(s, pairs[0][0]) != NULL);
    write_byte(pairs[1][1]);
    CHECK(events_at(s, pairs[1][0]) == EVENT_READ);
    CHECK(events_at(s, pairs[0][0]) == 0 && events_at(s, pairs[2][0]) == 0);
    CHECK(selector_unregister(s, pairs[0][0]) == 0 && selector_unregister(s, pairs[2][0]) == 0);
    CHECK(events_at(s, pairs[1][0]) == EVENT_READ && selector_count(s) == 1);
    selector_close(s);
    close_both(pairs[1]);
}

/* The first wait after the descriptor was closed must not wait, and reports another one. */
static void forgotten_and_another_ready(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];

    make_pair(pair);
    make_pair(other);
    add(s, pair[0], EVENT_READ);
    add(s, other[0], EVENT_READ);
    close_both(pair);
    write_byte(other[1]);
    CHECK(events_at(s, other[0]) == EVENT_READ);
    selector_close(s);
    close_both(other);
}

/* The number is given to a new file before it is unregistered. */
static void forgotten_and_reused(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];
    bool by_number = is("poll") || is("select");

    make_pair(pair);
    make_pair(other);
    write_byte(other[1]);
    add(s, pair[0], EVENT_READ);
    close(pair[0]);
    CHECK(fcntl(other[0], F_DUPFD, pair[0]) == pair[0]);
    CHECK(events_at(s, pair[0]) == (by_number ? EVENT_READ : 0));
    CHECK(selector_count(s) == 1 && selector_unregister(s, pair[0]) == 0);
    check_quiet(s);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

/* Close a descriptor that has a duplicate, then unregister it.  epoll keeps a stale registration.
 */
static int make_stale(struct selector *s, int pair[2])
{
    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    write_byte(pair[1]);
    int copy = dup(pair[0]);
    CHECK(copy >= 0);
    close(pair[0]);
    CHECK(events_at(s, pair[0]) ==
          (is("epoll") ? EVENT_READ : 0)); /* reported although it is closed */
    CHECK(selector_unregister(s, pair[0]) == 0);
    return copy;
}

static void stale_is_removed(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], copy;

    make_pair(other);
    add(s, other[0], EVENT_READ);
    copy = make_stale(s, pair);
    check_quiet(s);
    check_quiet(s);
    library.waits = 0;
    CHECK(events_at(s, pair[0]) == 0 &&
          library.waits == 1); /* the new instance does not report it */
    write_byte(other[1]);
    CHECK(events_at(s, other[0]) == EVENT_READ);
    selector_close(s);
    close_both(other);
    close(pair[1]);
    close(copy);
}

/* The number of a stale registration is given to a new file. */
static void stale_with_a_number_in_use(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], copy = make_stale(s, pair);

    make_pair(other);
    CHECK(other[0] == pair[0] || dup2(other[0], pair[0]) == pair[0]);
    add(s, pair[0], EVENT_READ);
    check_quiet(s);
    write_byte(other[1]);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    drain(pair[0]);
    check_quiet(s);
    selector_close(s);
    if (other[0] != pair[0])
        close(pair[0]);
    close_both(other);
    close(pair[1]);
    close(copy);
}

/* The number of a stale registration belongs to a new file, and selector_modify() has made the key
 * wait for that file.  Only the old file is readable, and only the new one is waited for. */
static void stale_with_the_same_key(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], copy;

    make_pair(pair);
    make_pair(other);
    fill(other[0]);
    add(s, pair[0], EVENT_READ);
    write_byte(pair[1]);
    copy = dup(pair[0]);
    close(pair[0]);
    CHECK(copy >= 0 && fcntl(other[0], F_DUPFD, pair[0]) == pair[0]);
    CHECK(selector_modify(s, pair[0], EVENT_WRITE, NULL, NULL) == 0);
    check_quiet(s);
    drain(other[1]);
    CHECK(events_at(s, pair[0]) == EVENT_WRITE);
    selector_close(s);
    close_both(pair);
    close_both(other);
    close(copy);
}

/* Many stale registrations, with room for one event, and at the limit of descriptors. */
static void many_stale(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pairs[5][2], copies[5], other[2];

    make_pair(other);
    for (int i = 0; i < 5; i++)
        copies[i] = make_stale(s, pairs[i]);
    let_fail("open", 1, EMFILE);
    int result = selector_select(s, ready, 1, &no_time);
    CHECK(is("epoll") ? result == -1 && errno == EMFILE : result == 0);
    let_fail(NULL, 0, 0);
    for (int i = 0; i < 5; i++) {
        close(copies[i]);
        close(pairs[i][1]);
        copies[i] = make_stale(s, pairs[i]);
    }
    add(s, other[0], BOTH);
    CHECK(selector_select(s, ready, 1, &no_time) == 1 && ready[0].key.fd == other[0]);
    fill(other[0]);
    check_quiet(s);
    selector_close(s);
    close_both(other);
    for (int i = 0; i < 5; i++) {
        close(copies[i]);
        close(pairs[i][1]);
    }
}

static void same_file_same_number(void)
{
    struct selector *s = open_selector();
    int pair[2], copy = make_stale(s, pair);

    CHECK(dup2(copy, pair[0]) == pair[0]);
    add(s, pair[0], BOTH);
    CHECK(events_at(s, pair[0]) == BOTH);
    CHECK(selector_unregister(s, pair[0]) == 0);
    check_quiet(s);
    selector_close(s);
    close_both(pair);
    close(copy);
}

/* A new instance is opened while keys have closed descriptors, one of which gets its number. */
static void forgotten_in_a_new_set(void)
{
    struct selector *s = open_selector();
    int forgotten[2], other[2];

    make_pair(forgotten);
    make_pair(other);
    add(s, forgotten[0], EVENT_READ);
    add(s, forgotten[1], EVENT_READ);
    add(s, other[0], EVENT_READ);
    close_both(forgotten);
    CHECK(selector_after_fork(s) == 0);
    CHECK(selector_after_fork(s) == 0);
    CHECK(selector_count(s) == 3);
    check_quiet(s);
    write_byte(other[1]);
    CHECK(events_at(s, other[0]) == EVENT_READ);
    CHECK(selector_unregister(s, forgotten[0]) == 0 && selector_unregister(s, forgotten[1]) == 0);
    CHECK(events_at(s, other[0]) == EVENT_READ);
    selector_close(s);
    close_both(other);
}

/* The number of a key now belongs to a regular file, for which the kernel cannot wait. */
static void forgotten_and_now_a_file(void)
{
    struct selector *s = open_selector();
    int forgotten[2], other[2], files[2], pair[2];

    make_pair(forgotten);
    make_pair(other);
    open_files(files);
    add(s, forgotten[0], EVENT_READ);
    add(s, other[0], EVENT_READ);
    close_both(forgotten);
    check_quiet(s); /* poll and select notice the closed descriptor here */
    CHECK(fcntl(files[0], F_DUPFD, forgotten[0]) == forgotten[0]);
    int copy = make_stale(s, pair);
    write_byte(other[1]);
    CHECK(events_at(s, other[0]) == EVENT_READ);
    CHECK(selector_unregister(s, other[0]) == 0);
    check_quiet(s);
    close_both(other);
    CHECK(selector_after_fork(s) == 0);
    CHECK(selector_unregister(s, forgotten[0]) == 0);
    check_quiet(s);
    selector_close(s);
    close_both(files);
    close(forgotten[0]);
    close(pair[1]);
    close(copy);
}

/* ---- keys ---- */

static struct {
    int fds[4];
    int pairs[4][2];
    int calls, wrong, mode;
    struct selector_key seen; /* the key of the last call */
    int events;
    int *many;
} scene;

static void note(const struct selector_key *key, int events)
{
    scene.calls++;
    scene.seen = *key;
    scene.events = events;
}

static void note_wrong(const struct selector_key *key, int events)
{
    (void)key;
    (void)events; /* even with 0 events */
    scene.wrong++;
}

static void key_has_what_was_given(void)
{
    struct selector *s = open_selector();
    int pair[2], mark, other;

    make_pair(pair);
    CHECK(selector_register(s, pair[0], EVENT_READ, note, &mark) == 0);
    const struct selector_key *key = selector_get_key(s, pair[0]);
    CHECK(key->fd == pair[0] && key->events == EVENT_READ);
    CHECK(key->callback == note && key->data == &mark);
    CHECK(selector_modify(s, pair[0], BOTH, note_wrong, &other) == 0);
    key = selector_get_key(s, pair[0]);
    CHECK(key->fd == pair[0] && key->events == BOTH);
    CHECK(key->callback == note_wrong && key->data == &other);
    selector_close(s);
    close_both(pair);
}

static void ready_is_a_copy(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[2];
    int pair[2], mark;

    make_pair(pair);
    CHECK(selector_register(s, pair[0], BOTH, note, &mark) == 0);
    CHECK(selector_select(s, ready, 2, NULL) == 1);
    struct selector_key key = *selector_get_key(s, pair[0]);
    CHECK(selector_unregister(s, pair[0]) == 0);
    CHECK(ready[0].key.fd == key.fd && ready[0].key.events == BOTH);
    CHECK(ready[0].key.callback == note && ready[0].key.data == &mark);
    CHECK(ready[0].events == EVENT_WRITE);
    selector_close(s);
    close_both(pair);
}

/* The peer resets the connection, for each choice of events. */
static void reset_is_every_event(void)
{
    for (int events = EVENT_READ; events <= BOTH; events++) {
        struct selector *s = open_selector();
        int ends[2];
        make_connection(ends);
        fill(ends[0]);
        add(s, ends[0], events);
        CHECK(events_at(s, ends[0]) == 0);
        reset(ends[1]);
        wait_until(s, ends[0], events);
        CHECK(write(ends[0], "x", 1) == -1);
        CHECK_ANSWER(write_after_reset, answers_here()->write_after_reset, errno);
        CHECK(events_at(s, ends[0]) == events); /* even if write() has cleared the error */
        selector_close(s);
        close(ends[0]);
    }
}

static void closed_peer_is_every_event(void)
{
    for (int events = EVENT_READ; events <= BOTH; events++) {
        struct selector *s = open_selector();
        int pair[2], ends[2];
        make_pair(pair);
        fill(pair[0]);
        add(s, pair[0], events);
        CHECK(events_at(s, pair[0]) == 0);
        close(pair[1]);
        wait_until(s, pair[0], events);
        make_connection(ends); /* both sides have sent a FIN */
        add(s, ends[0], events);
        CHECK(shutdown(ends[0], SHUT_WR) == 0 && shutdown(ends[1], SHUT_WR) == 0);
        wait_until(s, ends[0], events);
        selector_close(s);
        close(pair[0]);
        close_both(ends);
    }
}

static void half_closed_peer_is_a_read(void)
{
    struct selector *s = open_selector();
    int ends[2];

    make_connection(ends);
    fill(ends[0]);
    add(s, ends[0], BOTH);
    CHECK(events_at(s, ends[0]) == 0);
    CHECK(shutdown(ends[1], SHUT_WR) == 0);
    wait_until(s, ends[0], EVENT_READ);
    selector_close(s);
    close_both(ends);
}

static void broken_pipe_is_every_event(void)
{
    struct selector *s = open_selector();
    int first[2], second_pipe[2];

    make_pipe(first);
    make_pipe(second_pipe);
    add(s, first[0], EVENT_READ);
    fill(second_pipe[1]);
    add(s, second_pipe[1], EVENT_WRITE);
    check_quiet(s);
    CHECK(selector_modify(s, first[0], BOTH, NULL, NULL) == 0);
    close(first[1]);
    int ready = events_at(s, first[0]);
    CHECK((ready & EVENT_READ) != 0);
    CHECK_ANSWER(reading_end_closed, is("select") ? NO : YES, ready == BOTH);
    CHECK(selector_modify(s, first[0], EVENT_READ, NULL, NULL) == 0);
    CHECK(events_at(s, first[0]) == EVENT_READ);
    close(second_pipe[0]);
    CHECK_ANSWER(full_pipe_closed, YES, events_at(s, second_pipe[1]) == EVENT_WRITE);
    CHECK(events_at(s, first[0]) == EVENT_READ);
    selector_close(s);
    close(first[0]);
    close(second_pipe[1]);
}

/* ---- open and close ---- */

static void best_back_end(void)
{
    const char *const *names = selector_backends();
    struct selector *s = selector_open(NULL);

    CHECK(s != NULL && strcmp(selector_backend(s), names[0]) == 0);
    selector_close(s);
    if (strcmp(names[0], "poll") != 0) { /* pretend that the kernel lacks the first one */
        let_fail("open", 1, ENOSYS);
        s = selector_open(NULL);
        CHECK(library.fail_at == 0 && s != NULL);
        CHECK(strcmp(selector_backend(s), names[1]) == 0);
        let_fail("open", 1, EMFILE); /* which does not mean that */
        CHECK(selector_open(NULL) == NULL && errno == EMFILE);
        let_fail(NULL, 0, 0);
        selector_close(s);
    }
    let_fail("memory", 1, ENOMEM);
    CHECK(selector_open(NULL) == NULL && errno == ENOMEM);
}

static void open_fails(void)
{
    bool in_kernel = is("epoll") || is("kqueue");

    let_fail("open", 1, EMFILE);
    errno = 0;
    struct selector *s = selector_open(backend);
    CHECK(in_kernel ? s == NULL && errno == EMFILE : s != NULL);
    if (s != NULL)
        selector_close(s);
}

static void close_leaves_descriptors(void)
{
    struct selector *s = open_selector();
    int pair[2];

    make_pair(pair);
    add(s, pair[0], BOTH);
    add(s, pair[1], EVENT_READ);
    selector_close(s);
    selector_close(NULL);
    CHECK(fcntl(pair[0], F_GETFD) != -1 && fcntl(pair[1], F_GETFD) != -1);
    write_byte(pair[1]);
    drain(pair[0]);
    s = open_selector();
    add(s, pair[0], BOTH);
    CHECK(events_at(s, pair[0]) == EVENT_WRITE);
    selector_close(s);
    close_both(pair);
}

static void name_of_the_back_end(void)
{
    const char *const *names = selector_backends();
    struct selector *s = open_selector();
    bool found = false;
    int last = 0;

    CHECK(strcmp(selector_backend(s), backend) == 0);
    for (; names[last] != NULL; last++)
        found = found || strcmp(names[last], backend) == 0;
    CHECK(found && last >= 2);
    CHECK(strcmp(names[last - 2], "poll") == 0 && strcmp(names[last - 1], "select") == 0);
    selector_close(s);
}

/* ---- register, modify, unregister ---- */

/* The set is as before: one key, first idle and then ready, and no second key. */
static void check_unchanged(struct selector *s, const int pair[2], int failed)
{
    CHECK(selector_count(s) == 1 && selector_next_key(s, 0)->fd == pair[0]);
    CHECK(selector_next_key(s, pair[0] + 1) == NULL);
    errno = 0;
    CHECK(selector_get_key(s, failed) == NULL && errno == ENOENT);
    check_quiet(s);
    write_byte(pair[1]);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    drain(pair[0]);
}

static void failed_register_changes_nothing(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];

    allow_descriptors();
    make_pair(pair);
    make_pair(other);
    add(s, pair[0], EVENT_READ);
    write_byte(other[1]);
    for (int at = 1; at <= 5; at++) { /* each filter of kqueue, then the allocations */
        library.opens = 0;
        let_fail(at < 3 ? "change" : "memory", at < 3 ? at : at - 2, ENOSPC);
        int far = at < 3 ? other[0] : fcntl(other[0], F_DUPFD, 64 * (at - 2) + 1);
        int result = selector_register(s, far, BOTH, NULL, NULL);
        CHECK((result == -1) == (library.fail_at == 0));
        CHECK(result == 0 || errno == ENOSPC);
        let_fail(NULL, 0, 0);
        CHECK(result == -1 || selector_unregister(s, far) == 0);
        check_unchanged(s, pair, far);
        CHECK(library.opens == 0); /* and nothing had to be repaired */
        if (far != other[0])
            close(far);
    }
    CHECK_FAILS(selector_register(s, other[0], 9, NULL, NULL), EINVAL);
    check_unchanged(s, pair, other[0]);
    add(s, other[0], BOTH);
    CHECK(events_at(s, other[0]) == BOTH);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

static void modify_changes_events(void)
{
    struct selector *s = open_selector();
    int pair[2];

    make_pair(pair);
    write_byte(pair[1]);
    for (int was = EVENT_READ; was <= BOTH; was++)
        for (int now = EVENT_READ; now <= BOTH; now++) {
            add(s, pair[0], was);
            CHECK(events_at(s, pair[0]) == was);
            let_fail("memory", 1, ENOMEM);
            CHECK(selector_modify(s, pair[0], now, NULL, NULL) == 0);
            CHECK(library.fail_at == 1); /* it needs no memory */
            let_fail(NULL, 0, 0);
            CHECK(events_at(s, pair[0]) == now && selector_count(s) == 1);
            CHECK(selector_unregister(s, pair[0]) == 0);
            check_quiet(s);
        }
    selector_close(s);
    close_both(pair);
}

static void modify_makes_no_call_for_the_same_events(void)
{
    struct selector *s = open_selector();
    int pair[2], mark;

    make_pair(pair);
    CHECK(selector_register(s, pair[0], BOTH, note, &mark) == 0);
    int before = library.calls;
    CHECK(selector_modify(s, pair[0], BOTH, note_wrong, &before) == 0);
    CHECK(library.calls == before);
    CHECK(selector_get_key(s, pair[0])->callback == note_wrong);
    CHECK(selector_get_key(s, pair[0])->data == &before);
    close_both(pair);
    CHECK(selector_modify(s, pair[0], BOTH, NULL, NULL) == 0);
    CHECK(library.calls == before);
    selector_close(s);
}

/* The key of pair[0] is unchanged, first idle and then readable. */
static void check_key_stays(struct selector *s, const int pair[2], const void *data)
{
    const struct selector_key *key = selector_get_key(s, pair[0]);

    CHECK(key != NULL && key->events == EVENT_READ && key->data == data && key->callback == note);
    CHECK(selector_count(s) == 1);
    check_quiet(s);
    write_byte(pair[1]);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    drain(pair[0]);
}

static void bad_modify_changes_nothing(void)
{
    static const int wrong[] = {4, 7, -1, INT_MIN};
    struct selector *s = open_selector();
    int pair[2], files[2], mark;

    make_pair(pair);
    open_files(files);
    CHECK(selector_register(s, pair[0], EVENT_READ, note, &mark) == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_FAILS(selector_modify(s, pair[0], wrong[i], note_wrong, NULL), EINVAL);
    CHECK_FAILS(selector_modify(s, pair[1], BOTH, note_wrong, NULL), ENOENT);
    CHECK_FAILS(selector_modify(s, -1, BOTH, note_wrong, NULL), EBADF);
    check_key_stays(s, pair, &mark);
    library.opens = 0;
    int copy = dup(pair[0]);
    close(pair[0]);
    CHECK_FAILS(selector_modify(s, pair[0], BOTH, note_wrong, NULL), EBADF);
    CHECK(dup2(files[0], pair[0]) == pair[0]);
    CHECK_FAILS(selector_modify(s, pair[0], BOTH, note_wrong, NULL), EPERM);
    CHECK(selector_get_key(s, pair[0])->data == &mark && selector_count(s) == 1);
    CHECK(dup2(copy, pair[0]) == pair[0]); /* the original file has its number again */
    CHECK(selector_modify(s, pair[0], EVENT_WRITE, note, &mark) == 0);
    CHECK(selector_modify(s, pair[0], EVENT_READ, note, &mark) == 0);
    check_key_stays(s, pair, &mark);
    selector_close(s);
    close_both(pair);
    close_both(files);
    close(copy);
}

static void failed_modify_forgets_the_key(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];
    bool in_kernel = is("epoll") || is("kqueue");

    make_pair(pair);
    make_pair(other);
    add(s, other[0], EVENT_READ);
    write_byte(pair[1]);
    for (int at = 1; at <= 2; at++) { /* the first or the second call of a change fails */
        int was = at == 1 ? EVENT_WRITE : EVENT_READ, now = at == 1 ? EVENT_READ : BOTH;
        bool can_fail = is("kqueue") || (in_kernel && at == 1);
        add(s, pair[0], was);
        library.opens = 0;
        let_fail("change", at, ENOMEM);
        int result = selector_modify(s, pair[0], now, NULL, NULL);
        CHECK(can_fail ? result == -1 && errno == ENOMEM : result == 0);
        let_fail(NULL, 0, 0);
        CHECK(result == -1 || selector_unregister(s, pair[0]) == 0);
        CHECK_FAILS(selector_modify(s, pair[0], EVENT_READ, NULL, NULL), ENOENT);
        check_unchanged(s, other, pair[0]);
        CHECK(library.opens == 0); /* nothing stale had to be removed */
    }
    selector_close(s);
    close_both(pair);
    close_both(other);
}

/* Neither data nor a hang-up is reported.  Both are reported when the key waits again. */
static void no_events_wait_for_nothing(void)
{
    struct selector *s = open_selector();
    int pair[2], ends[2], mark;

    make_pair(pair);
    make_connection(ends);
    CHECK(selector_register(s, pair[0], BOTH, note, &mark) == 0);
    add(s, ends[0], EVENT_READ);
    CHECK(selector_modify(s, pair[0], 0, note, &mark) == 0);
    CHECK(selector_modify(s, ends[0], 0, NULL, NULL) == 0);
    write_byte(pair[1]);
    check_quiet(s);
    library.opens = 0;
    close(pair[1]); /* a hang-up and an error, which poll and epoll report unasked */
    reset(ends[1]);
    check_quiet(s);
    CHECK(library.opens == 0); /* the kernel has not reported them */
    CHECK(selector_count(s) == 2 && selector_get_key(s, pair[0])->events == 0);
    CHECK(selector_get_key(s, pair[0])->callback == note);
    CHECK(selector_get_key(s, pair[0])->data == &mark);
    int before = library.calls;
    CHECK(selector_modify(s, pair[0], 0, note, &mark) == 0 && library.calls == before);
    CHECK(selector_modify(s, pair[0], BOTH, NULL, NULL) == 0);
    CHECK(events_at(s, pair[0]) == BOTH);
    CHECK(selector_modify(s, pair[0], 0, NULL, NULL) == 0);
    check_quiet(s);
    CHECK(selector_modify(s, ends[0], EVENT_WRITE, NULL, NULL) == 0);
    wait_until(s, ends[0], EVENT_WRITE);
    CHECK(selector_unregister(s, pair[0]) == 0 && selector_unregister(s, ends[0]) == 0);
    selector_close(s);
    close(pair[0]);
    close(ends[0]);
}

/* A key with 0 events keeps them in a new set, alone or with other keys. */
static void no_events_in_a_new_set(void)
{
    struct selector *s = open_selector();
    int pair[2], high;

    make_pair(pair);
    high = fcntl(pair[0], F_DUPFD, 200);
    add(s, pair[0], EVENT_READ);
    add(s, high, EVENT_READ);
    CHECK(selector_modify(s, high, 0, NULL, NULL) == 0);
    CHECK(selector_after_fork(s) == 0);
    write_byte(pair[1]);
    CHECK(events_at(s, high) == 0 && events_at(s, pair[0]) == EVENT_READ);
    CHECK(selector_unregister(s, pair[0]) == 0);
    library.calls = 0;
    CHECK(selector_after_fork(s) == 0);
    int calls = library.calls;
    check_quiet(s);
    CHECK(selector_modify(s, high, BOTH, NULL, NULL) == 0);
    CHECK(events_at(s, high) == BOTH);
    CHECK(selector_modify(s, high, 0, NULL, NULL) == 0 && selector_after_fork(s) == 0);
    let_fail("memory", 1, ENOMEM);
    CHECK(selector_unregister(s, high) == 0 && library.fail_at == 1); /* no memory is needed */
    let_fail(NULL, 0, 0);
    library.calls = 0;
    CHECK(selector_after_fork(s) == 0 && library.calls == calls); /* as many as with the key */
    selector_close(s);
    close_both(pair);
    close(high);
}

/* A key has 0 events, and epoll has a stale registration of the file that had its number before.
 * This must not make the wait spin. */
static void no_events_and_stale(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], copy;

    make_pair(pair);
    make_pair(other);
    add(s, pair[0], EVENT_READ);
    write_byte(pair[1]);
    copy = dup(pair[0]);
    close(pair[0]);
    CHECK(copy >= 0 && fcntl(other[0], F_DUPFD, pair[0]) == pair[0]);
    CHECK(selector_modify(s, pair[0], 0, NULL, NULL) == 0);
    check_quiet(s);
    check_quiet(s);
    selector_close(s);
    close_both(pair);
    close_both(other);
    close(copy);
}

/* The number belongs to a new file; after modify the key waits for that file. */
static void modify_after_close_and_reuse(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];

    make_pair(pair);
    make_pair(other);
    add(s, pair[0], EVENT_READ);
    close(pair[0]);
    CHECK(fcntl(other[0], F_DUPFD, pair[0]) == pair[0]);
    write_byte(other[1]);
    CHECK(selector_modify(s, pair[0], BOTH, NULL, NULL) == 0);
    CHECK(events_at(s, pair[0]) == BOTH);
    CHECK(selector_unregister(s, pair[0]) == 0);
    check_quiet(s);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

static void unregister_waits_no_more(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];

    make_pair(pair);
    make_pair(other);
    add(s, pair[0], BOTH);
    add(s, other[0], EVENT_READ);
    write_byte(pair[1]);
    CHECK(events_at(s, pair[0]) == BOTH);
    CHECK(selector_unregister(s, pair[0]) == 0);
    library.opens = 0;
    check_quiet(s);
    CHECK(library.opens == 0); /* it was removed from the kernel, not only ignored */
    CHECK(selector_count(s) == 1);
    CHECK_FAILS(selector_unregister(s, pair[0]), ENOENT);
    add(s, pair[0], EVENT_READ);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

static void unregister_after_close(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2];

    make_pair(pair);
    make_pair(other);
    for (int events = EVENT_READ; events <= BOTH; events++) {
        add(s, pair[0], events);
        close(pair[0]);
        CHECK(selector_unregister(s, pair[0]) == 0);
        CHECK(fcntl(other[0], F_DUPFD, pair[0]) == pair[0]);
        add(s, pair[0], events);
        close(pair[0]);
        CHECK(fcntl(other[1], F_DUPFD, pair[0]) == pair[0]);
        CHECK(selector_unregister(s, pair[0]) ==
              0); /* closed, and its number belongs to a new file */
        CHECK(selector_count(s) == 0);
        check_quiet(s);
        add(s, pair[0], BOTH); /* the new file can be registered */
        CHECK(events_at(s, pair[0]) == EVENT_WRITE);
        CHECK(selector_unregister(s, pair[0]) == 0);
    }
    selector_close(s);
    close_both(pair);
    close_both(other);
}

/* ---- select ---- */

/* Seven descriptors are ready, with room for max: each one is reported within `bound` calls. */
static void check_turns(int max, int events)
{
    struct selector *s = open_selector();
    struct selector_ready ready[3];
    int pairs[7][2], last_seen[7] = {0}, bound = 2 * ((7 + max - 1) / max) + 1;

    for (int i = 0; i < 7; i++) {
        make_pair(pairs[i]);
        write_byte(pairs[i][1]);
        add(s, pairs[i][0], i == 6 ? BOTH : events);
    }
    for (int turn = 1; turn <= 20 * bound; turn++) {
        int count = selector_select(s, ready, max, &no_time);
        CHECK(count >= 1 && count <= max);
        for (int at = 0; at < count; at++)
            for (int i = 0; i < 7; i++) {
                if (ready[at].key.fd != pairs[i][0])
                    continue;
                CHECK(ready[at].events == (i == 6 ? BOTH : events));
                CHECK(last_seen[i] < turn); /* each is reported once */
                last_seen[i] = turn;
            }
        for (int i = 0; i < 7; i++)
            CHECK(turn - last_seen[i] < bound);
    }
    selector_close(s);
    for (int i = 0; i < 7; i++)
        close_both(pairs[i]);
}

static void all_have_their_turn(void)
{
    for (int max = 1; max <= 3; max++)
        for (int events = EVENT_READ; events <= BOTH; events++)
            check_turns(max, events);
}

/* Descriptors that are always ready do not starve one that becomes ready. */
static void new_one_has_its_turn(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pairs[5][2], calls = 0;

    for (int i = 0; i < 5; i++) {
        make_pair(pairs[i]);
        add(s, pairs[i][0], i == 2 ? EVENT_READ : BOTH);
    }
    for (int i = 0; i < 7; i++)
        CHECK(selector_select(s, ready, 1, &no_time) == 1 && ready[0].key.fd != pairs[2][0]);
    write_byte(pairs[2][1]);
    do
        CHECK(selector_select(s, ready, 1, &no_time) == 1 && ++calls <= 10);
    while (ready[0].key.fd != pairs[2][0]);
    selector_close(s);
    for (int i = 0; i < 5; i++)
        close_both(pairs[i]);
}

/* Each of these descriptors is reported exactly once. */
static void check_each_once(const struct selector_ready ready[], int count, const int fds[],
                            int expected)
{
    static unsigned char seen[8192];

    CHECK(count == expected);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < count; i++) {
        CHECK(ready[i].key.fd < (int)sizeof seen && seen[ready[i].key.fd]++ == 0);
        CHECK(ready[i].events == ready[i].key.events);
    }
    for (int i = 0; i < expected; i++)
        CHECK(seen[fds[i]] == 1);
}

/* More than one system call can report. */
static void many_at_once(void)
{
    static struct selector_ready ready[1000];
    static int copies[MANY];
    int pair[2], many = many_for_backend();

    allow_descriptors();
    make_pair(pair);
    write_byte(pair[1]);
    make_duplicates(pair[0], FIRST_OF_MANY, many, copies);
    for (int events = EVENT_READ; events <= BOTH; events++) {
        struct selector *s = open_selector();
        for (int i = 0; i < many; i++)
            add(s, copies[i], events);
        check_each_once(ready, selector_select(s, ready, 1000, NULL), copies, many);
        /* kqueue may leave room, because it merges two events into one. */
        for (int max = many; max > many / 3; max -= 49) {
            int count = selector_select(s, ready, max, NULL);
            CHECK(is("kqueue") ? count > max / 2 && count <= max : count == max);
        }
        selector_close(s);
    }
    for (int i = 0; i < many; i++)
        close(copies[i]);
    close_both(pair);
}

static void many_above_fd_setsize(void)
{
    static struct selector_ready ready[1000];
    static int copies[600];
    struct selector *s = open_selector();
    int pair[2];

    allow_descriptors();
    make_pair(pair);
    write_byte(pair[1]);
    make_duplicates(pair[0], FD_SETSIZE, 600, copies);
    for (int i = 0; i < 600; i++)
        if (is("select"))
            CHECK_FAILS(selector_register(s, copies[i], BOTH, NULL, NULL), ERANGE);
        else
            add(s, copies[i], BOTH);
    if (!is("select"))
        check_each_once(ready, selector_select(s, ready, 1000, &second), copies, 600);
    CHECK(selector_count(s) == (is("select") ? 0 : 600));
    selector_close(s);
    for (int i = 0; i < 600; i++)
        close(copies[i]);
    close_both(pair);
}

static void no_timeout_does_not_wait(void)
{
    static const struct timespec none[] = {{.tv_sec = 0},
                                           {.tv_sec = -1},
                                           {.tv_sec = -1, .tv_nsec = 5 * MS},
                                           {.tv_sec = -1000000000000}};
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pair[2];

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    library.simulated = true;
    library.nap = DAY;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        library.waits = 0;
        CHECK(selector_select(s, ready, 1, &none[i]) == 0);
        CHECK(library.waits == 1 && library.time == 0 && library.for_ever == 0);
    }
    library.simulated = false;
    write_byte(pair[1]);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        CHECK(selector_select(s, ready, 1, &none[i]) == 1);
    selector_close(s);
    close_both(pair);
}

/* With the simulated clock: wait for `asked`, while each wait of the kernel ends after `nap`. */
static void check_wait(struct selector *s, long long asked, long long nap, bool dispatches)
{
    struct timespec timeout = {.tv_sec = (time_t)(asked / (1000 * MS))};
    struct selector_ready ready[1];

    timeout.tv_nsec = (long)(asked % (1000 * MS));
    library.simulated = true;
    library.time = 12345678987654321;
    library.nap = nap;
    library.waits = 0;
    int result =
        dispatches ? selector_dispatch(s, &timeout) : selector_select(s, ready, 1, &timeout);
    CHECK(result == 0 && library.for_ever == 0);
    CHECK(library.time - 12345678987654321 >= asked);
    CHECK(library.time - 12345678987654321 <= asked + MS);
    library.simulated = false;
}

/* A repair in the middle of a wait makes it neither shorter nor longer.  Only select() reports by
 * an errno that a repair is needed, so only this can be simulated. */
static void check_repaired_wait(struct selector *s)
{
    int pair[2];

    if (!is("select"))
        return;
    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    close(pair[0]); /* but not unregistered */
    let_fail("wait", 1, EBADF);
    check_wait(s, 10000 * MS, 6000 * MS, false);
    CHECK(library.fail_at == 0 && library.waits == 2);
    CHECK(selector_unregister(s, pair[0]) == 0);
    close(pair[1]);
}

/* A wait of 10 seconds, during which the clock is set back.  Nobody knows how much time is left, and
 * the wait must not last longer, so it ends. */
static void clock_is_set_back(void)
{
    const struct timespec timeout = {.tv_sec = 10};
    struct selector *s = open_selector();
    struct selector_ready ready[1];

    library.simulated = true;
    library.time = DAY;
    library.nap = -3600 * 1000 * MS;
    CHECK(selector_select(s, ready, 1, &timeout) == 0 && library.waits == 1);
    selector_close(s);
}

static void timeout_is_never_cut_short(void)
{
    static const long long times[] = {1,          MS - 1,       MS,         MS + 1,
                                      3 * MS / 2, 123456789012, DAY,        24 * DAY,
                                      25 * DAY,   60 * DAY,     3650 * DAY, 999999999999999999};
    struct selector *s = open_selector();

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        check_wait(s, times[i], LLONG_MAX, false);
        check_wait(s, times[i], LLONG_MAX, true);
        check_wait(s, times[i], times[i] / 3 + 1, false); /* the kernel returns early */
        check_wait(s, times[i], times[i] / 100 + 1, true);
    }
    check_repaired_wait(s);
    selector_close(s);
}

/* Short waits with the real clock, and a set that is not empty. */
static void short_waits_are_not_cut_short(void)
{
    static const long times[] = {1, 999999, 1500000, 7000001};
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    struct timespec begin, end;
    int pair[2];

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
            struct timespec timeout = {.tv_nsec = times[i]};
            clock_gettime(CLOCK_MONOTONIC, &begin);
            CHECK(selector_select(s, ready, 1, &timeout) == 0);
            clock_gettime(CLOCK_MONOTONIC, &end);
            long long took =
                (end.tv_sec - begin.tv_sec) * 1000 * MS + (end.tv_nsec - begin.tv_nsec);
            CHECK(took >= times[i]);
        }
    selector_close(s);
    close_both(pair);
}

/* No timeout, or 31 years and more: the wait continues after the kernel has ended it twice. */
static void waits_for_ever(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    struct timespec longest = {.tv_sec = LONG_MAX, .tv_nsec = 999999999};

    library.simulated = true;
    library.nap = DAY;
    CHECK_FAILS(selector_select(s, ready, 1, NULL), EINTR);
    CHECK(library.for_ever == 3 && library.waits == 3);
    library.for_ever = library.waits = 0;
    CHECK_FAILS(selector_select(s, ready, 1, &longest), EINTR);
    library.for_ever = library.waits = 0;
    CHECK_FAILS(selector_dispatch(s, &longest), EINTR);
    longest = (struct timespec){.tv_sec = 1000000000};
    library.for_ever = library.waits = 0;
    CHECK_FAILS(selector_select(s, ready, 1, &longest), EINTR);
    library.for_ever = library.waits = 0;
    CHECK_FAILS(selector_dispatch(s, NULL), EINTR);
    selector_close(s);
}

/* A closed descriptor is noticed during the wait, which still takes its full time. */
static void repair_does_not_cut_short(void)
{
    struct selector *s = open_selector();
    struct timespec begin, end;
    struct selector_ready ready[1];
    int pair[2], stale[2], copy;

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    copy = make_stale(s, stale);
    close_both(pair);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    CHECK(selector_select(s, ready, 1, &brief) == 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((end.tv_sec - begin.tv_sec) * 1000 * MS + (end.tv_nsec - begin.tv_nsec) >= 20 * MS);
    selector_close(s);
    close(stale[1]);
    close(copy);
}

static volatile sig_atomic_t signals;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    if (++signals > 200)
        _exit(1); /* no signal has ended a wait */
}

/* A signal arrives every 50 ms; the first one that arrives during the wait ends it. */
static void signals_are_seen(void)
{
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    const struct itimerval often = {{.tv_usec = 50000}, {.tv_usec = 50000}}, never = {{0}, {0}};
    const struct timespec minute = {.tv_sec = 60};
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pair[2];

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK_FAILS(selector_select(s, ready, 1, NULL), EINTR);
    CHECK_FAILS(selector_select(s, ready, 1, &minute), EINTR);
    CHECK_FAILS(selector_dispatch(s, NULL), EINTR);
    CHECK(selector_unregister(s, pair[0]) == 0);
    CHECK_FAILS(selector_select(s, ready, 1, NULL), EINTR); /* with an empty set */
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0 && signals >= 4);
    selector_close(s);
    close_both(pair);
}

static void kernel_refuses_to_wait(void)
{
    struct selector *s = open_selector();
    struct selector_ready ready[1];
    int pair[2];

    make_pair(pair);
    add(s, pair[0], EVENT_WRITE);
    for (int i = 0; i < 2; i++) { /* before and after a wait that reports something */
        let_fail("wait", 1, ENOMEM);
        CHECK_FAILS(selector_select(s, ready, 1, NULL), ENOMEM);
        let_fail("wait", 1, EFAULT);
        CHECK_FAILS(selector_dispatch(s, &no_time), EFAULT);
        CHECK(selector_select(s, ready, 1, NULL) == 1);
    }
    /* This errno makes select look for closed descriptors, but no key has one. */
    int high = fcntl(pair[0], F_DUPFD, 50);
    add(s, high, EVENT_READ);
    let_fail("wait", 1, EBADF);
    CHECK_FAILS(selector_select(s, ready, 1, &no_time), EBADF);
    let_fail(NULL, 0, 0);
    close(high);
    selector_close(s);
    close_both(pair);
}

/* ---- dispatch ---- */

/* Three readable descriptors, each with this callback. */
static struct selector *set_scene(selector_callback *callback, int mode)
{
    struct selector *s = open_selector();

    memset(&scene, 0, sizeof scene);
    current = s;
    scene.mode = mode;
    for (int i = 0; i < 3; i++) {
        make_pair(scene.pairs[i]);
        scene.fds[i] = scene.pairs[i][0];
        write_byte(scene.pairs[i][1]);
        CHECK(selector_register(s, scene.fds[i], EVENT_READ, callback, &scene.pairs[i]) == 0);
    }
    return s;
}

static void end_scene(struct selector *s)
{
    selector_close(s);
    for (int i = 0; i < 3; i++)
        close_both(scene.pairs[i]);
}

enum { UNREGISTER, REUSE, AGAIN, NOT_FOR_THAT, NO_CALLBACK, ANOTHER, MODES };

/* What the first callback does to another key of its batch. */
static void disturb(struct selector *s, int fd, int peer)
{
    int copy;

    if (scene.mode == NOT_FOR_THAT)
        CHECK(selector_modify(s, fd, EVENT_WRITE, note_wrong, NULL) == 0);
    if (scene.mode == NO_CALLBACK)
        CHECK(selector_modify(s, fd, EVENT_READ, NULL, NULL) == 0);
    if (scene.mode == ANOTHER)
        CHECK(selector_modify(s, fd, BOTH, note, &scene) == 0);
    if (scene.mode > AGAIN)
        return;
    CHECK(selector_unregister(s, fd) == 0);
    if (scene.mode == REUSE) { /* a new file that is ready, with the same number */
        copy = dup(peer);
        close(fd);
        CHECK(dup2(copy, fd) == fd);
        close(copy);
    }
    if (scene.mode != UNREGISTER)
        CHECK(selector_register(s, fd, BOTH, note_wrong, NULL) == 0);
}

static void disturb_the_others(const struct selector_key *key, int events)
{
    CHECK(events == EVENT_READ && ++scene.wrong == 1);
    scene.wrong = 0;
    for (int i = 0; i < 3; i++)
        if (scene.fds[i] != key->fd)
            disturb(current, scene.fds[i], scene.pairs[i][1]);
    scene.wrong = scene.mode == ANOTHER || scene.mode == NO_CALLBACK ? 1 : 0;
}

static void stale_ones_are_left_out(void)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct selector *s = set_scene(disturb_the_others, mode);
        CHECK(selector_dispatch(s, &second) == 3);
        CHECK(scene.wrong == (mode == ANOTHER || mode == NO_CALLBACK ? 1 : 0));
        CHECK(scene.calls == (mode == ANOTHER ? 2 : 0));
        if (mode == ANOTHER) /* the new callback got the new data and the old events */
            CHECK(scene.seen.data == &scene && scene.events == EVENT_READ);
        for (int i = 0; i < 3; i++) /* the first one must not run again */
            if (mode != ANOTHER && (mode != NO_CALLBACK || selector_get_key(s, scene.fds[i])))
                selector_unregister(s, scene.fds[i]);
        end_scene(s);
    }
}

/* Keys that were registered during a batch are called in the next one. */
static void new_ones_are_called_next(void)
{
    struct selector *s = set_scene(disturb_the_others, AGAIN);

    CHECK(selector_dispatch(s, &second) == 3 && scene.wrong == 0);
    for (int i = 0; i < 3; i++)
        if (selector_get_key(s, scene.fds[i])->callback != note_wrong)
            CHECK(selector_unregister(s, scene.fds[i]) == 0);
    CHECK(selector_dispatch(s, &second) == 2 && scene.wrong == 2);
    end_scene(s);
}

/* The callback unregisters itself, and registers so many keys that the tables have to grow. */
static void change_everything(const struct selector_key *key, int events)
{
    const struct selector_key before = *key;
    struct selector *s = current;

    scene.calls++;
    CHECK(events == EVENT_READ && key->events == EVENT_READ && key->callback == change_everything);
    CHECK(selector_modify(s, key->fd, BOTH, note_wrong, NULL) == 0);
    CHECK(key->events == before.events && key->data == before.data && key->fd == before.fd);
    CHECK(selector_unregister(s, key->fd) == 0);
    CHECK(key->callback == before.callback);
    for (int i = 0; i < many_for_backend(); i++)
        if (scene.calls == 1)
            CHECK(selector_register(s, scene.many[i], EVENT_READ, note_wrong, NULL) == 0);
    CHECK(key->fd == before.fd && key->data == before.data);
    struct selector_ready ready[ROOM];
    CHECK(selector_select(s, ready, ROOM, &no_time) == ROOM); /* a nested wait does no harm */
}

static void callback_may_change_anything(void)
{
    static int copies[MANY];
    struct selector *s = set_scene(change_everything, 0);
    int many = many_for_backend(), batch = 256;

    allow_descriptors();
    make_duplicates(scene.fds[0], FIRST_OF_MANY, many, copies);
    scene.many = copies;
    CHECK(selector_dispatch(s, NULL) == 3);
    CHECK(scene.calls == 3 && scene.wrong == 0 && selector_count(s) == many);
    for (int i = 0; i < 2 && batch < many; i++) { /* no memory for a larger one */
        let_fail("memory", 1, ENOMEM);
        CHECK(selector_dispatch(s, NULL) == batch && library.fail_at == 0);
    }
    for (; batch < many; batch *= 2) /* the others follow, in larger batches */
        CHECK(selector_dispatch(s, NULL) == batch);
    CHECK(selector_dispatch(s, NULL) == many);
    CHECK(scene.wrong >= many);
    for (int i = 0; i < many; i++)
        close(copies[i]);
    end_scene(s);
}

static void dispatch_calls_with_key_and_events(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], mark;

    memset(&scene, 0, sizeof scene);
    make_pair(pair);
    make_pair(other);
    CHECK(selector_register(s, pair[0], BOTH, note, &mark) == 0);
    CHECK(selector_dispatch(s, NULL) == 1);
    CHECK(scene.calls == 1 && scene.events == EVENT_WRITE);
    CHECK(scene.seen.fd == pair[0] && scene.seen.events == BOTH && scene.seen.data == &mark);
    CHECK(scene.seen.callback == note);
    write_byte(pair[1]);
    add(s, other[0], EVENT_WRITE); /* it has no callback, but is counted */
    CHECK(selector_dispatch(s, &no_time) == 2 && scene.calls == 2 && scene.events == BOTH);
    CHECK(selector_unregister(s, other[0]) == 0);
    drain(pair[0]);
    fill(pair[0]);
    CHECK(selector_dispatch(s, &brief) == 0 && scene.calls == 2);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

/* ---- the map ---- */

static void keys_in_order(void)
{
    struct selector *s = open_selector();
    int pair[2], copies[3], count = 0, last = -1;

    CHECK(selector_next_key(s, 0) == NULL && selector_count(s) == 0);
    make_pair(pair);
    make_duplicates(pair[0], 200, 3, copies);
    for (int i = 2; i >= 0; i--)
        add(s, copies[i], EVENT_READ);
    add(s, pair[1], EVENT_WRITE);
    const struct selector_key *key;
    for (key = selector_next_key(s, 0); key != NULL; key = selector_next_key(s, key->fd + 1)) {
        CHECK(key->fd > last && key == selector_get_key(s, key->fd));
        last = key->fd;
        count++;
    }
    CHECK(count == 4 && selector_count(s) == 4 && last == copies[2]);
    CHECK(selector_next_key(s, -5)->fd == pair[1] && selector_next_key(s, INT_MIN) != NULL);
    CHECK(selector_next_key(s, copies[1])->fd == copies[1]);
    CHECK(selector_next_key(s, copies[1] + 1)->fd == copies[2]);
    CHECK(selector_next_key(s, copies[2] + 1) == NULL && selector_next_key(s, INT_MAX) == NULL);
    CHECK(selector_unregister(s, copies[2]) == 0 && selector_count(s) == 3);
    CHECK(selector_next_key(s, copies[1] + 1) == NULL);
    while ((key = selector_next_key(s, 0)) != NULL)
        CHECK(selector_unregister(s, key->fd) == 0);
    CHECK(selector_count(s) == 0);
    check_quiet(s);
    selector_close(s);
    close_both(pair);
    for (int i = 0; i < 3; i++)
        close(copies[i]);
}

/* ---- fileno ---- */

static void fileno_nests(void)
{
    struct selector *s = open_selector(), *outer = open_selector();
    struct pollfd nested = {.fd = selector_fileno(s), .events = POLLIN};
    int pair[2];

    if (is("poll") || is("select")) {
        CHECK_FAILS(selector_fileno(s), ENOTSUP);
    } else {
        make_pair(pair);
        CHECK(nested.fd >= 0 && (fcntl(nested.fd, F_GETFD) & FD_CLOEXEC) != 0);
        add(s, pair[0], EVENT_READ);
        CHECK(poll(&nested, 1, 0) == 0);
        add(outer, nested.fd, EVENT_READ);
        check_quiet(outer);
        write_byte(pair[1]);
        CHECK(poll(&nested, 1, 1000) == 1 && nested.revents == POLLIN);
        CHECK(events_at(outer, nested.fd) == EVENT_READ);
        drain(pair[0]);
        check_quiet(s);
        CHECK(poll(&nested, 1, 0) == 0);
        close_both(pair);
    }
    selector_close(outer);
    selector_close(s);
}

/* ---- fork ---- */

/* Parent and child use the selector independently of each other. */
static void child_has_its_own(void)
{
    struct selector *s = open_selector();
    int pair[2], other[2], status;

    make_pair(pair);
    make_pair(other);
    add(s, pair[0], EVENT_READ);
    pid_t child = fork();
    if (child == 0) {
        alarm(LIMIT_S);
        CHECK(selector_after_fork(s) == 0 && selector_count(s) == 1);
        check_quiet(s);
        write_byte(pair[1]);
        CHECK(events_at(s, pair[0]) == EVENT_READ);
        add(s, other[0], EVENT_WRITE);
        CHECK(events_at(s, other[0]) == EVENT_WRITE);
        CHECK(selector_modify(s, pair[0], BOTH, NULL, NULL) == 0);
        CHECK(events_at(s, pair[0]) == BOTH && selector_unregister(s, pair[0]) == 0);
        CHECK(selector_after_fork(s) == 0 && events_at(s, other[0]) == EVENT_WRITE);
        selector_close(s);
        exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(events_at(s, pair[0]) == EVENT_READ && events_at(s, other[0]) == 0);
    drain(pair[0]);
    library.opens = 0;
    check_quiet(s);
    CHECK(library.opens == 0 && selector_count(s) == 1);
    CHECK(selector_after_fork(s) == 0); /* it is harmless in the parent too */
    write_byte(pair[1]);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    selector_close(s);
    close_both(pair);
    close_both(other);
}

/* A child that only closes the selector changes neither its own descriptors nor the parent. */
static void child_closes_it(void)
{
    struct selector *s = open_selector();
    int pair[2], status;

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    pid_t child = fork();
    if (child == 0) {
        alarm(LIMIT_S);
        int fd = dup(0); /* with kqueue, this is the number of the lost queue */
        selector_close(s);
        CHECK(fcntl(fd, F_GETFD) != -1 && fcntl(pair[0], F_GETFD) != -1);
        exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    write_byte(pair[1]);
    CHECK(events_at(s, pair[0]) == EVENT_READ);
    selector_close(s);
    close_both(pair);
}

static void after_fork_fails(void)
{
    static const int errors[] = {ENOMEM, ENOSPC};
    struct selector *s = open_selector();
    int pair[2], failures = 0;

    make_pair(pair);
    add(s, pair[0], EVENT_READ);
    add(s, pair[1], EVENT_READ);
    write_byte(pair[1]);
    for (int at = 2;; at++) {
        let_fail(NULL, at / 2, errors[at % 2]);
        int result = selector_after_fork(s);
        CHECK((result == -1) == (library.fail_at == 0));
        if (result == 0)
            break;
        CHECK(errno == errors[at % 2] && selector_count(s) == 2);
        let_fail(NULL, 0, 0);
        CHECK(events_at(s, pair[0]) == EVENT_READ); /* nothing has changed */
        failures++;
    }
    let_fail(NULL, 0, 0);
    CHECK(failures >= 2 && failures <= 8 && events_at(s, pair[0]) == EVENT_READ);
    selector_close(s);
    close_both(pair);
}

/* ---- every call of the library fails once ---- */

/* Check the keys against the results that the functions have returned. */
static void check_keys(struct selector *s, const int fds[], const int events[], int count)
{
    int keys = 0;

    for (int i = 0; i < count; i++) {
        const struct selector_key *key = selector_get_key(s, fds[i]);
        CHECK((key == NULL) == (events[i] == 0));
        CHECK(key == NULL || key->events == events[i]);
        keys += key != NULL;
    }
    CHECK(selector_count(s) == keys);
}

/* Use every function while one call fails.  Returns how many functions have failed. */
static int all_verbs(const int fds[4])
{
    int has[4] = {0}, failures = 0;
    struct selector *s = selector_open(backend);

    if (s == NULL)
        return 1;
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < 4; i++) {
            int events = 1 + (i + round) % 3, result;
            if (has[i] == 0)
                result = selector_register(s, fds[i], events, NULL, NULL);
            else
                result = selector_modify(s, fds[i], events, NULL, NULL);
            has[i] = result == 0 ? events : 0;
            failures += result == -1;
            check_keys(s, fds, has, 4);
        }
    failures += selector_after_fork(s) == -1;
    check_keys(s, fds, has, 4);
    let_fail(NULL, 0, 0);
    for (int i = 0; i < 4; i++) {
        CHECK(events_at(s, fds[i]) == (has[i] & EVENT_WRITE));
        CHECK(has[i] == 0 || selector_unregister(s, fds[i]) == 0);
    }
    check_quiet(s);
    selector_close(s);
    return failures;
}

static void every_call_fails(void)
{
    int pairs[2][2], fds[4], at = 1, failures;

    make_pair(pairs[0]);
    make_pair(pairs[1]);
    allow_descriptors();
    memcpy(fds, pairs, sizeof pairs);
    fds[3] = fcntl(pairs[1][1], F_DUPFD, 200); /* makes the tables grow in the middle */
    do {
        let_fail(NULL, at, ENOMEM);
        failures = all_verbs(fds);
        CHECK(failures <= 1);
        let_fail(NULL, 0, 0);
    } while (failures > 0 && ++at < 1000);
    CHECK(at > 5);
    close(fds[3]);
    close_both(pairs[0]);
    close_both(pairs[1]);
}

/* ---- the cases ---- */

struct test {
    const char *name;
    void (*run)(void);
    const char *sentence; /* of selector.h, word for word */
};

static const struct test tests[] = {
    {"level-triggered", level_triggered,
     "Events are level-triggered: a descriptor is reported as long as it is ready."},
    {"no-needless-call", no_needless_call,
     "Wait until a descriptor is ready, and fill ready[], which has room for max entries."},
    {"invalid-arguments", invalid_arguments,
     "EINVAL events is not EVENT_READ, EVENT_WRITE or both (selector_modify() also takes 0); "
     "max is below 1;"},
    {"invalid-timeouts", invalid_timeouts, "tv_nsec is not between 0 and 999,999,999;"},
    {"bad-descriptors", bad_descriptors, "EBADF the descriptor is negative or not open"},
    {"name-of-a-pipe", name_of_a_pipe, "EBADF the descriptor is negative or not open"},
    {"files-and-directories", files_and_directories,
     "EPERM the file is always ready, so the kernel cannot wait for it"},
    {"driver-decides", driver_decides,
     "On Linux the file's driver decides whether the kernel can wait for it, so the selector asks "
     "epoll about everything that is not a socket or a pipe: a regular file on a disk, a directory "
     "and /dev/null are "
     "refused; /proc/self/mounts and the files of sysfs are accepted."},
    {"epoll-cannot-be-asked", epoll_cannot_be_asked,
     "Without epoll, the file type decides: every regular file and every directory is refused"},
    {"question-fails", question_fails,
     "On Linux the file's driver decides whether the kernel can wait for it"},
    {"registered-twice", registered_twice, "EEXIST the descriptor already has a key"},
    {"unknown-descriptors", unknown_descriptors, "ENOENT the descriptor has no key"},
    {"too-large-for-select", too_large_for_select,
     "ERANGE the back end is select and the descriptor is FD_SETSIZE or above: an fd_set has "
     "no bit for it, whatever RLIMIT_NOFILE allows;"},
    {"pipe-that-nobody-reads", pipe_that_nobody_reads,
     "EPIPE the back end is kqueue, and EVENT_WRITE is for a pipe whose reading end is closed "
     "(FreeBSD; NetBSD sets EBADF)"},
    {"no-memory-to-open", no_memory_to_open, "or another errno of the kernel, such as ENOMEM."},
    {"no-memory-to-register", no_memory_to_register,
     "or another errno of the kernel, such as ENOMEM."},
    {"every-call-fails", every_call_fails,
     "A function that fails returns -1 or NULL and sets errno."},
    {"closed-and-forgotten", closed_and_forgotten,
     "If you forget to, it is no longer reported, and its key stays until you unregister it."},
    {"forgotten-and-another-ready", forgotten_and_another_ready,
     "If you forget to, it is no longer reported, and its key stays until you unregister it."},
    {"forgotten-and-reused", forgotten_and_reused,
     "If its number is given to a new file, poll and select may report the new file under "
     "the old key."},
    {"stale-is-removed", stale_is_removed,
     "If the descriptor has a duplicate, made by dup() or fork(), epoll continues to report "
     "it."},
    {"stale-with-a-number-in-use", stale_with_a_number_in_use,
     "Give fd a key, and wait for these events from now on."},
    {"stale-with-the-same-key", stale_with_the_same_key,
     "Change the events, the callback and the data of fd's key."},
    {"many-stale", many_stale, "Remove the key of fd."},
    {"same-file-same-number", same_file_same_number,
     "Give fd a key, and wait for these events from now on."},
    {"forgotten-in-a-new-set", forgotten_in_a_new_set, "its key stays until you unregister it."},
    {"forgotten-and-now-a-file", forgotten_and_now_a_file,
     "its key stays until you unregister it."},
    {"key", key_has_what_was_given,
     "A key consists of a descriptor, the events to wait for, a callback, and a pointer for your "
     "own data."},
    {"ready-is-a-copy", ready_is_a_copy, "the events of the key that are ready; never 0"},
    {"reset-is-every-event", reset_is_every_event,
     "An error or a hang-up counts as every event of the key, so that the read or the write "
     "that you were waiting for returns the error."},
    {"closed-peer-is-every-event", closed_peer_is_every_event,
     "An error or a hang-up counts as every event of the key"},
    {"half-closed-peer-is-a-read", half_closed_peer_is_a_read,
     "the events of the key that are ready; never 0"},
    {"broken-pipe-is-every-event", broken_pipe_is_every_event,
     "Two kinds of hang-up can be missed. If the descriptor has no room to write (the reading end "
     "of a pipe, a full local socket), select() reports a hang-up only as EVENT_READ, so a key "
     "that waits only for EVENT_WRITE does not see it. And NetBSD's kqueue reports neither that "
     "the "
     "reader of a full pipe has closed its end, nor EVENT_WRITE for the reading end of a pipe."},
    {"best-back-end", best_back_end, "NULL chooses the best one that this kernel supports."},
    {"open-fails", open_fails, "Returns NULL and sets errno if it fails."},
    {"close-leaves-descriptors", close_leaves_descriptors,
     "Free the selector and all its keys. Your descriptors stay open. NULL is allowed."},
    {"name-of-the-back-end", name_of_the_back_end,
     "The names of the back ends that are compiled in, best first. NULL ends the list."},
    {"failed-register-changes-nothing", failed_register_changes_nothing,
     "Returns 0, or -1, in which case nothing has changed."},
    {"modify-changes-events", modify_changes_events,
     "Change the events, the callback and the data of fd's key."},
    {"modify-makes-no-call", modify_makes_no_call_for_the_same_events,
     "If the events are the same as before, this makes no system call."},
    {"no-events", no_events_wait_for_nothing,
     "With 0 events the key stays and waits for nothing: not even a hang-up is reported."},
    {"no-events-in-a-new-set", no_events_in_a_new_set,
     "With 0 events the key stays and waits for nothing"},
    {"no-events-and-stale", no_events_and_stale,
     "With 0 events the key stays and waits for nothing"},
    {"bad-modify-changes-nothing", bad_modify_changes_nothing,
     "A bad argument (EINVAL, EBADF, ENOENT, EPERM) changes nothing."},
    {"failed-modify-forgets", failed_modify_forgets_the_key,
     "If the kernel refuses the change itself (ENOMEM, ENOSPC, the errors of kqueue for a "
     "pipe), it may be only partly applied, and fd may have lost its key, as in Python."},
    {"modify-after-close-and-reuse", modify_after_close_and_reuse,
     "Change the events, the callback and the data of fd's key."},
    {"unregister-waits-no-more", unregister_waits_no_more, "Remove the key of fd."},
    {"unregister-after-close", unregister_after_close,
     "This also works if fd has been closed, or closed and its number given to a new file."},
    {"all-have-their-turn", all_have_their_turn,
     "Each descriptor appears once. If more than max are ready, the next calls return the "
     "others."},
    {"new-one-has-its-turn", new_one_has_its_turn,
     "If more than max are ready, the next calls return the others."},
    {"many-at-once", many_at_once,
     "Wait until a descriptor is ready, and fill ready[], which has room for max entries."},
    {"many-above-fd-setsize", many_above_fd_setsize, "Returns the number of entries."},
    {"no-timeout", no_timeout_does_not_wait,
     "With a timeout of zero, or with a negative tv_sec, the call does not wait."},
    {"timeout-is-never-cut-short", timeout_is_never_cut_short,
     "Any other time is rounded up to a millisecond;"},
    {"clock-is-set-back", clock_is_set_back, "0 means that the timeout has expired;"},
    {"short-waits", short_waits_are_not_cut_short,
     "0 means that the timeout has expired; it is never returned early."},
    {"waits-for-ever", waits_for_ever,
     "a timeout of 1,000,000,000 seconds (31 years) or more waits for ever."},
    {"repair-does-not-cut-short", repair_does_not_cut_short,
     "0 means that the timeout has expired; it is never returned early."},
    {"signals-are-seen", signals_are_seen,
     "-1 with EINTR: a signal was handled, even one with SA_RESTART"},
    {"kernel-refuses-to-wait", kernel_refuses_to_wait,
     "-1 with another errno: the kernel refused to wait"},
    {"stale-ones-are-left-out", stale_ones_are_left_out,
     "keys that an earlier callback of the same batch has unregistered, even if it has "
     "closed the descriptor and registered a new one with the same number, - keys that an "
     "earlier callback has modified, so that they no longer wait for what is ready."},
    {"new-ones-are-called-next", new_ones_are_called_next,
     "Wait like selector_select(), then call the callback of each key that is ready."},
    {"callback-may-change-anything", callback_may_change_anything,
     "It may register, modify and unregister any descriptor, including its own, and it may call "
     "selector_select() or selector_dispatch() itself."},
    {"dispatch", dispatch_calls_with_key_and_events,
     "Returns how many keys were ready, including those that were skipped; 0 if the time is "
     "up; or -1, as selector_select() does."},
    {"keys-in-order", keys_in_order,
     "The first key whose descriptor is `from` or above. NULL means that there are no more "
     "keys, and is not an error."},
    {"fileno-nests", fileno_nests,
     "The descriptor of the epoll or kqueue instance, which is readable when one of the "
     "registered descriptors is ready, and which exec() closes."},
    {"child-has-its-own", child_has_its_own,
     "In a child process made by fork(), call this before any other function of the "
     "selector, except selector_close()."},
    {"child-closes-it", child_closes_it,
     "Without it, an epoll selector shares its interest list with the parent, and a kqueue "
     "selector has none."},
    {"after-fork-fails", after_fork_fails,
     "Returns 0. On failure it returns -1, sets errno, and changes nothing."},
};
#define TESTS (sizeof tests / sizeof tests[0])

/* In the child process: run the case, and check that it leaves nothing behind. */
static void run(const struct test *test)
{
    int descriptors = open_descriptors();

    alarm(first_only ? QUICK_S : LIMIT_S);
    signal(SIGPIPE, SIG_IGN);
    memset(&library, 0, sizeof library);
    test->run();
    let_fail(NULL, 0, 0);
    CHECK(library.blocks == 0);
    CHECK(open_descriptors() == descriptors);
    exit(0);
}

/* Returns 1 if the case failed, 0 if it passed or was skipped. */
static int report(const struct test *test)
{
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        run(test);
    if (child == -1 || waitpid(child, &status, 0) != child)
        status = 1;
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
    printf("%s %s %s\n", status == 0 ? "ok" : skipped ? "skip" : "not ok", backend, test->name);
    if (status == 0 || skipped)
        return 0;
    if (WIFSIGNALED(status))
        printf("    ended by signal %d%s\n", WTERMSIG(status),
               WTERMSIG(status) == SIGALRM ? ": it took too long" : "");
    printf("    the sentence of selector.h: %s\n", test->sentence);
    return 1;
}

/* Run the cases of this name with one back end; NULL means all.  Returns 1 if a case failed. */
static int run_cases(const char *which_case)
{
    int failed = 0;
    struct selector *s = selector_open(backend); /* the kqueue emulation prints its notice */

    if (s != NULL)
        selector_close(s);
    for (size_t i = 0; i < TESTS && !(failed > 0 && first_only); i++)
        if (which_case == NULL || strcmp(which_case, tests[i].name) == 0)
            failed += report(&tests[i]);
    return failed > 0;
}

/* One process for each back end, because most cases wait for something.  Its output goes to a file,
 * so that the lines of two back ends do not mix. */
static struct run {
    pid_t process;
    FILE *output;
} runs[MAX_BACKENDS];

static pid_t start_run(FILE *output, const char *which_case)
{
    fflush(stdout);
    pid_t process = fork();
    if (process != 0)
        return process;
    if (dup2(fileno(output), STDOUT_FILENO) == -1)
        exit(1);
    for (int i = 0; i < MAX_BACKENDS; i++)
        if (runs[i].output != NULL)
            fclose(runs[i].output);
    exit(run_cases(which_case));
}

/* Wait for a process and print its output.  Returns 1 if a case failed. */
static int end_run(struct run *run)
{
    char text[4096];
    size_t length;
    int status = 1;

    if (run->process == -1 || waitpid(run->process, &status, 0) != run->process)
        status = 1;
    rewind(run->output);
    while ((length = fread(text, 1, sizeof text, run->output)) > 0)
        fwrite(text, 1, length, stdout);
    fclose(run->output);
    return status != 0;
}

/* Run the cases of this name with this back end; NULL means all.  Returns 1 if a case failed. */
static int run_all(const char *which_backend, const char *which_case)
{
    int count = 0, failed = 0;

    for (const char *const *name = selector_backends(); *name != NULL; name++) {
        if (which_backend != NULL && strcmp(which_backend, *name) != 0)
            continue;
        backend = *name;
        runs[count].output = tmpfile();
        if (runs[count].output == NULL) {
            perror("tmpfile");
            return 1;
        }
        runs[count].process = start_run(runs[count].output, which_case);
        count++;
    }
    for (int i = 0; i < count; i++)
        failed |= end_run(&runs[i]);
    return failed;
}

static bool is_known(const char *which_backend, const char *which_case)
{
    const char *const *name = selector_backends();
    size_t i = 0;

    while (which_backend != NULL && *name != NULL && strcmp(which_backend, *name) != 0)
        name++;
    while (which_case != NULL && i < TESTS && strcmp(which_case, tests[i].name) != 0)
        i++;
    return *name != NULL && i < TESTS;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
        for (size_t i = 0; i < TESTS; i++)
            printf("%s\t%s\n", tests[i].name, tests[i].sentence);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "-x") == 0) {
        first_only = true;
        argc--;
        argv++;
    }
    const char *which_backend = argc > 1 ? argv[1] : NULL, *which_case = argc > 2 ? argv[2] : NULL;
    if (!is_known(which_backend, which_case)) {
        fprintf(stderr, "There is no such back end or case; selector-unit -l names the cases.\n");
        return 2;
    }
    return run_all(which_backend, which_case);
}
