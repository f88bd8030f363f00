/* The properties of kqueue that stage 05 relies on, one function for each.  On Linux they are
 * checked for the kqueue emulation in 05-kqueue/linux, on macOS and the BSDs for the kernel.
 *
 * Usage: kqueue-emulation        list the names of all cases
 *        kqueue-emulation CASE   run one case
 * Exit code: 0 if the case holds; 1 if it does not, and stdout says which check failed; 2 if there
 * is no such case.
 *
 * No case depends on the speed of the machine: it waits until what was sent has arrived, and then
 * calls kevent() with a timeout of zero.  All traffic is local, and a case ends after 10 seconds at
 * most. */
#define _DEFAULT_SOURCE /* NetBSD declares kqueue() only then. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CASE_TIMEOUT_SECONDS = 10, EVENT_TIMEOUT_MS = 5000, MAX_EVENTS = 64 };
enum filter { READ, WRITE };

/* ---- checks ---- */

/* Report a failed check and exit.  It goes to stdout, because one case redirects stderr. */
static void fail(int line, const char *what, long long expected, long long got)
{
    printf("%s:%d: %s: expected %lld, got %lld\n", __FILE__, line, what, expected, got);
    fflush(stdout);
    _exit(1);
}

#define EQUAL(got, expected) equal(__LINE__, #got, (long long)(expected), (long long)(got))
static void equal(int line, const char *what, long long expected, long long got)
{
    if (got != expected)
        fail(line, what, expected, got);
}

/* Checks: a condition is true; a system call succeeds; a system call fails with this errno. */
#define TRUE(condition) equal(__LINE__, #condition, 1, (condition) ? 1 : 0)
#define SUCCEEDS(call) equal(__LINE__, #call " is -1", 0, (call) == -1 ? errno : 0)
#define FAILS_WITH(call, error) equal(__LINE__, #call, error, (call) == -1 ? errno : 0)

/* ---- descriptors ---- */

struct pair {
    int ours, theirs; /* For a pipe, ours is the read end and theirs is the write end. */
};

static void set_nonblocking(int fd)
{
    SUCCEEDS(fcntl(fd, F_SETFL, O_NONBLOCK));
}

/* A non-blocking listener on loopback, on a port that the kernel chooses; `name` receives its
 * address.  receive_buffer is SO_RCVBUF, or 0 for the default. */
static int listener_at(struct sockaddr_in *name, int receive_buffer)
{
    socklen_t size = sizeof *name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(name, 0, sizeof *name);
    name->sin_family = AF_INET;
    name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive_buffer > 0)
        SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer));
    SUCCEEDS(bind(fd, (struct sockaddr *)name, sizeof *name));
    SUCCEEDS(getsockname(fd, (struct sockaddr *)name, &size));
    SUCCEEDS(listen(fd, 16));
    set_nonblocking(fd);
    return fd;
}

static int connect_to(const struct sockaddr_in *name)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    SUCCEEDS(connect(fd, (const struct sockaddr *)name, sizeof *name));
    return fd;
}

static int accept_from(int listener)
{
    struct pollfd pollfd = {.fd = listener, .events = POLLIN};

    EQUAL(poll(&pollfd, 1, EVENT_TIMEOUT_MS), 1);
    int fd = accept(listener, NULL, NULL);
    TRUE(fd != -1);
    set_nonblocking(fd);
    return fd;
}

/* A TCP connection with both ends non-blocking.  Theirs is the accepted end, with a receive buffer
 * of this size. */
static struct pair tcp_pair_with(int receive_buffer)
{
    struct sockaddr_in name;
    struct pair pair;
    int listener = listener_at(&name, receive_buffer);

    pair.ours = connect_to(&name);
    pair.theirs = accept_from(listener);
    set_nonblocking(pair.ours);
    close(listener);
    return pair;
}

static struct pair tcp_pair(void)
{
    return tcp_pair_with(0);
}

static struct pair unix_pair(void)
{
    int ends[2];

    SUCCEEDS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    set_nonblocking(ends[0]);
    set_nonblocking(ends[1]);
    return (struct pair){.ours = ends[0], .theirs = ends[1]};
}

static struct pair pipe_pair(void)
{
    int ends[2];

    SUCCEEDS(pipe(ends));
    set_nonblocking(ends[0]);
    set_nonblocking(ends[1]);
    return (struct pair){.ours = ends[0], .theirs = ends[1]};
}

/* Wait until exactly `count` bytes can be read. */
static void await_bytes(int fd, int count)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int waiting = 0;

    while (waiting < count) {
        EQUAL(poll(&pollfd, 1, EVENT_TIMEOUT_MS), 1);
        SUCCEEDS(ioctl(fd, FIONREAD, &waiting));
    }
    EQUAL(waiting, count);
}

/* Send `count` bytes from their end and wait until they have arrived at ours.  `total` is the
 * number of unread bytes there afterwards. */
static void deliver(struct pair pair, int count, int total)
{
    static const char text[MAX_EVENTS] = "some bytes";

    EQUAL(write(pair.theirs, text, (size_t)count), count);
    await_bytes(pair.ours, total);
}

/* Read everything, and check that it is `count` bytes (0 at end-of-file). */
static void drain(int fd, int count)
{
    char buffer[MAX_EVENTS];

    EQUAL(read(fd, buffer, sizeof buffer), count);
}

/* Write until the buffers are full. */
static void fill(int fd)
{
    static const char bytes[65536];

    while (write(fd, bytes, sizeof bytes) != -1)
        continue;
    EQUAL(errno, EAGAIN);
}

/* Read until nothing is left.  The descriptor is not at end-of-file. */
static void drain_all(int fd)
{
    static char buffer[65536];

    while (read(fd, buffer, sizeof buffer) > 0)
        continue;
    EQUAL(errno, EAGAIN);
}

/* Close with a reset (RST). */
static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SUCCEEDS(close(fd));
}

/* ---- kevent() ---- */

static struct kevent make_change(int fd, enum filter filter, unsigned short flags)
{
    return (struct kevent){.ident = (uintptr_t)fd,
                           .filter = filter == READ ? EVFILT_READ : EVFILT_WRITE,
                           .flags = flags};
}

/* Apply one change, without room for events.  Returns what kevent() returns. */
static int apply_change(int queue, int fd, enum filter filter, unsigned short flags)
{
    struct kevent change = make_change(fd, filter, flags);

    return kevent(queue, &change, 1, NULL, 0, NULL);
}

/* The same with udata, which is `tag` bytes into an array. */
static int apply_tagged(int queue, int fd, enum filter filter, unsigned short flags, int tag)
{
    static char tags[MAX_EVENTS];
    struct kevent change = make_change(fd, filter, flags);

    change.udata = &tags[tag];
    return kevent(queue, &change, 1, NULL, 0, NULL);
}

/* A new queue with this one registration. */
static int queue_with(int fd, enum filter filter, unsigned short flags)
{
    int queue = kqueue();

    SUCCEEDS(queue);
    SUCCEEDS(apply_change(queue, fd, filter, flags));
    return queue;
}

/* Get up to `room` events, and wait for at most wait_ms.  Returns what kevent() returns.  `room` is
 * an unsigned short because it converts both to int, which most systems use, and to NetBSD's
 * size_t. */
static int get_events(int queue, struct kevent *events, unsigned short room, int wait_ms)
{
    struct timespec limit = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};

    return kevent(queue, NULL, 0, events, room, &limit);
}

static bool is_event_for(const struct kevent *event, int fd, enum filter filter)
{
    return event->ident == (uintptr_t)fd &&
           event->filter == (filter == READ ? EVFILT_READ : EVFILT_WRITE);
}

/* Wait for events, check that exactly one is reported and that it is this one, and return it. */
#define ONE_EVENT(queue, fd, filter) one_event(__LINE__, queue, fd, filter)
static struct kevent one_event(int line, int queue, int fd, enum filter filter)
{
    struct kevent events[MAX_EVENTS];
    int count = get_events(queue, events, MAX_EVENTS, EVENT_TIMEOUT_MS);

    equal(line, "number of events", 1, count);
    equal(line, "the event's ident", fd, (long long)events[0].ident);
    equal(line, "the event's filter and ident match", 1, is_event_for(&events[0], fd, filter));
    equal(line, "EV_ERROR is set", 0, (events[0].flags & EV_ERROR) != 0);
    return events[0];
}

/* Check that no event is reported now. */
#define NO_EVENT(queue) no_event(__LINE__, queue)
static void no_event(int line, int queue)
{
    struct kevent events[MAX_EVENTS];
    int count = get_events(queue, events, MAX_EVENTS, 0);

    if (count > 0)
        printf("unexpected event: ident %lld, %s, flags %#x, data %lld\n",
               (long long)events[0].ident, events[0].filter == EVFILT_READ ? "READ" : "WRITE",
               (unsigned)events[0].flags, (long long)events[0].data);
    equal(line, "number of events", 0, count);
}

static bool is_eof(struct kevent event)
{
    return (event.flags & EV_EOF) != 0;
}

/* Wait until the peer's end-of-file or reset has arrived.  Uses a queue of its own. */
static void await_eof(int fd)
{
    int queue = queue_with(fd, READ, EV_ADD);

    while (!is_eof(ONE_EVENT(queue, fd, READ)))
        continue;
    SUCCEEDS(close(queue));
}

/* Run this in a child process and check that it succeeds. */
static void run_in_child(void (*work)(int), int argument)
{
    int status = 0;
    pid_t child = fork();

    SUCCEEDS(child);
    if (child == 0) {
        alarm(CASE_TIMEOUT_SECONDS);
        work(argument);
        fflush(stdout);
        _exit(0);
    }
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
}

/* ---- the contents of an event ---- */

static void listener_data(void)
{
    struct sockaddr_in name;
    int listener = listener_at(&name, 0);
    int queue = queue_with(listener, READ, EV_ADD);

    NO_EVENT(queue);
    for (int i = 0; i < 3; i++)
        connect_to(&name);
    while (ONE_EVENT(queue, listener, READ).data < 3)
        continue;
    EQUAL(ONE_EVENT(queue, listener, READ).data, 3);
    accept_from(listener);
    struct kevent event = ONE_EVENT(queue, listener, READ);
    EQUAL(event.data, 2);
    EQUAL(is_eof(event), false);
    accept_from(listener);
    accept_from(listener);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, listener, WRITE, EV_ADD));
    NO_EVENT(queue);
}

static void read_data(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    NO_EVENT(queue);
    deliver(pair, 5, 5);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    EQUAL(is_eof(event), false);
    EQUAL(event.fflags, 0);
    deliver(pair, 3, 8);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 8);
}

static void read_level(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++)
        EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
    drain(pair.ours, 5);
    NO_EVENT(queue);
}

static void ready_before(void)
{
    struct pair pair = tcp_pair();

    deliver(pair, 5, 5);
    int queue = queue_with(pair.ours, READ, EV_ADD);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
}

static void end_with_data(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    await_eof(pair.ours);
    for (int i = 0; i < 3; i++) {
        struct kevent event = ONE_EVENT(queue, pair.ours, READ);
        TRUE(is_eof(event));
        EQUAL(event.data, 5);
        EQUAL(event.fflags, 0);
    }
    drain(pair.ours, 5);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    EQUAL(event.data, 0);
    drain(pair.ours, 0);
}

static void reset_with_data(void)
{
    struct pair pair = tcp_pair();
    char buffer[MAX_EVENTS];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    reset(pair.theirs);
    await_eof(pair.ours);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    EQUAL(event.data, 5);
    EQUAL(event.fflags, ECONNRESET);
    drain(pair.ours, 5);
    FAILS_WITH(recv(pair.ours, buffer, sizeof buffer, 0), ECONNRESET);
    event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    EQUAL(event.fflags, 0);
}

static void reset_while_writing(void)
{
    struct pair pair = tcp_pair();

    fill(pair.ours);
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    reset(pair.theirs);
    await_eof(pair.ours);
    struct kevent event = ONE_EVENT(queue, pair.ours, WRITE);
    TRUE(is_eof(event));
    EQUAL(event.fflags, ECONNRESET);
}

static void half_close_write(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    EQUAL(is_eof(ONE_EVENT(queue, pair.ours, WRITE)), false);
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    await_eof(pair.ours);
    EQUAL(is_eof(ONE_EVENT(queue, pair.ours, WRITE)), false);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    struct kevent events[MAX_EVENTS];
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
    for (int i = 0; i < 2; i++)
        EQUAL(is_eof(events[i]), is_event_for(&events[i], pair.ours, READ));
}

static void own_shutdown_write(void)
{
    struct pair pair = tcp_pair(), second = tcp_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    SUCCEEDS(shutdown(pair.ours, SHUT_WR));
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, WRITE)));
    deliver(pair, 5, 5); /* this segment also acknowledges our FIN */
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, WRITE)));
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR)); /* now both directions are shut down */
    await_eof(pair.ours);
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, WRITE)));

    queue = queue_with(second.ours, WRITE, EV_ADD);
    SUCCEEDS(shutdown(second.theirs, SHUT_WR));
    await_eof(second.ours);
    SUCCEEDS(shutdown(second.ours, SHUT_WR));
    TRUE(is_eof(ONE_EVENT(queue, second.ours, WRITE)));
}

static void own_shutdown_read(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD | EV_DISABLE));
    SUCCEEDS(shutdown(pair.ours, SHUT_WR));
    NO_EVENT(queue);
    deliver(pair, 5, 5);
    EQUAL(is_eof(ONE_EVENT(queue, pair.ours, READ)), false);
    drain(pair.ours, 5);
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, READ)));
}

static void write_room(void)
{
    struct pair pair = tcp_pair_with(4096);
    static const char bytes[65536];
    int size = 262144;

    SUCCEEDS(setsockopt(pair.ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    long long empty = (long long)ONE_EVENT(queue, pair.ours, WRITE).data;
    TRUE(empty >= size / 2);
    EQUAL(write(pair.ours, bytes, sizeof bytes), sizeof bytes);
    long long less = (long long)ONE_EVENT(queue, pair.ours, WRITE).data;
    TRUE(less > 0);
    /* Their receive buffer is small, so most of the bytes are still in our send buffer. */
    TRUE(less <= empty - 32768);
}

static void write_full(void)
{
    struct pair pair = tcp_pair_with(4096);
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    struct kevent event;

    do
        fill(pair.ours);
    while (get_events(queue, &event, 1, 50) == 1); /* until their receive buffer is full too */
    NO_EVENT(queue);
    struct pollfd pollfd = {.fd = pair.theirs, .events = POLLIN};
    while (get_events(queue, &event, 1, 0) == 0) {
        EQUAL(poll(&pollfd, 1, EVENT_TIMEOUT_MS), 1);
        drain_all(pair.theirs);
    }
    TRUE(is_event_for(&event, pair.ours, WRITE));
    TRUE(event.data > 0);
    EQUAL(is_eof(event), false);
}

static void connecting(void)
{
    struct sockaddr_in name;
    int listener = listener_at(&name, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    set_nonblocking(fd);
    TRUE(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
    int queue = queue_with(fd, WRITE, EV_ADD);
    struct kevent event = ONE_EVENT(queue, fd, WRITE);
    EQUAL(is_eof(event), false);
    TRUE(event.data > 0);
    accept_from(listener);
}

static void pipe_read_end(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    NO_EVENT(queue);
    deliver(pair, 5, 5);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    EQUAL(is_eof(event), false);
    SUCCEEDS(close(pair.theirs));
    event = ONE_EVENT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    TRUE(is_eof(event));
    drain(pair.ours, 5);
    event = ONE_EVENT(queue, pair.ours, READ);
    EQUAL(event.data, 0);
    TRUE(is_eof(event));
}

static void pipe_write_end(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.theirs, WRITE, EV_ADD);

    long long empty = (long long)ONE_EVENT(queue, pair.theirs, WRITE).data;
    TRUE(empty > 0);
    deliver(pair, 5, 5);
    EQUAL(ONE_EVENT(queue, pair.theirs, WRITE).data, empty - 5);
    do
        fill(pair.theirs);
    while (write(pair.theirs, "x", 1) == 1);
    NO_EVENT(queue);
    drain_all(pair.ours);
    EQUAL(is_eof(ONE_EVENT(queue, pair.theirs, WRITE)), false);
    SUCCEEDS(close(pair.ours));
    TRUE(is_eof(ONE_EVENT(queue, pair.theirs, WRITE)));
}

static void pipe_no_error(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.theirs, WRITE, EV_ADD);

    fill(pair.theirs);
    SUCCEEDS(close(pair.ours));
    struct kevent event = ONE_EVENT(queue, pair.theirs, WRITE);
    TRUE(is_eof(event));
    EQUAL(event.fflags, 0);
}

static void unix_sockets(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    NO_EVENT(queue);
    deliver(pair, 5, 5);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    EQUAL(event.data, 5);
    int writing = queue_with(pair.ours, WRITE, EV_ADD);
    event = ONE_EVENT(writing, pair.ours, WRITE);
    EQUAL(is_eof(event), false);
    TRUE(event.data > 0);
    fill(pair.ours);
    NO_EVENT(writing);
    SUCCEEDS(close(pair.theirs));
    TRUE(is_eof(ONE_EVENT(writing, pair.ours, WRITE)));
}

static void unix_own_shutdown(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    EQUAL(is_eof(ONE_EVENT(queue, pair.ours, WRITE)), false);
    SUCCEEDS(shutdown(pair.ours, SHUT_WR));
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, WRITE)));
}

static void udata(void)
{
    struct pair pair = tcp_pair();
    struct kevent changes[] = {make_change(pair.ours, READ, EV_ADD),
                               make_change(pair.ours, WRITE, EV_ADD)};
    struct kevent events[MAX_EVENTS];
    int queue = kqueue();

    for (int i = 0; i < 2; i++)
        changes[i].udata = &changes[i];
    deliver(pair, 5, 5);
    /* One call changes and reports. */
    EQUAL(kevent(queue, changes, 2, events, MAX_EVENTS, NULL), 2);
    for (int i = 0; i < 2; i++)
        TRUE(events[i].udata == &changes[is_event_for(&events[i], pair.ours, READ) ? 0 : 1]);
    changes[0].flags = EV_DELETE;
    changes[0].ident = (uintptr_t)-1;
    EQUAL(kevent(queue, changes, 1, events, MAX_EVENTS, NULL), 1);
    TRUE(events[0].udata == &changes[0]);
    TRUE(events[0].ident == (uintptr_t)-1 && events[0].filter == EVFILT_READ);
}

/* ---- changes ---- */

static void add_twice(void)
{
    struct pair pair = tcp_pair();
    int queue = kqueue();

    deliver(pair, 5, 5);
    SUCCEEDS(apply_tagged(queue, pair.ours, READ, EV_ADD, 1));
    char *first = ONE_EVENT(queue, pair.ours, READ).udata;
    SUCCEEDS(apply_tagged(queue, pair.ours, READ, EV_ADD, 4));
    char *second = ONE_EVENT(queue, pair.ours, READ).udata;
    EQUAL(second - first, 3);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    NO_EVENT(queue);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), ENOENT);
}

static void add_keeps_clear(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    ONE_EVENT(queue, pair.ours, READ);
    NO_EVENT(queue);
    /* EV_ADD reports the condition again, once. */
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    ONE_EVENT(queue, pair.ours, READ);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    ONE_EVENT(queue, pair.ours, READ);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    ONE_EVENT(queue, pair.ours, READ);
    ONE_EVENT(queue, pair.ours, READ);
}

static void disable(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DISABLE));
    NO_EVENT(queue);
    deliver(pair, 3, 8);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ENABLE));
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 8);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 8);
}

static void add_does_not_enable(void)
{
    struct pair pair = tcp_pair(), second = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    deliver(second, 5, 5);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DISABLE));
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_ENABLE));
    ONE_EVENT(queue, pair.ours, READ);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    SUCCEEDS(apply_change(queue, second.ours, READ, EV_ADD | EV_DISABLE));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, second.ours, READ, EV_ADD));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, second.ours, READ, EV_ENABLE));
    ONE_EVENT(queue, second.ours, READ);
    SUCCEEDS(apply_change(queue, second.ours, READ, EV_ENABLE));
    ONE_EVENT(queue, second.ours, READ);
}

/* epoll reports errors and hang-ups even if they are not asked for; kqueue must not report them for
 * a disabled filter. */
static void disabled_reset(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_DISABLE);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD));
    ONE_EVENT(queue, pair.ours, WRITE);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_DISABLE));
    reset(pair.theirs);
    await_eof(pair.ours);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ENABLE));
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, READ)));
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ENABLE));
    TRUE(is_eof(ONE_EVENT(queue, pair.ours, WRITE)));
}

static void one_filter_goes(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[MAX_EVENTS];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD));
    deliver(pair, 5, 5);
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    ONE_EVENT(queue, pair.ours, WRITE);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_DISABLE));
    ONE_EVENT(queue, pair.ours, READ);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_DELETE));
    ONE_EVENT(queue, pair.ours, READ);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    NO_EVENT(queue);
}

static void delete_before_taken(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    NO_EVENT(queue);
}

static void bad_changes(void)
{
    struct pair pair = tcp_pair();
    struct kevent odd = {.ident = (uintptr_t)pair.ours, .filter = 77, .flags = EV_ADD};
    int queue = kqueue();

    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), ENOENT);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_ENABLE), ENOENT);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DISABLE), ENOENT);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    FAILS_WITH(kevent(queue, &odd, 1, NULL, 0, NULL), EINVAL);
    FAILS_WITH(apply_change(queue, -1, READ, EV_ADD), EBADF);
    SUCCEEDS(close(pair.ours));
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), EBADF);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_ADD), EBADF);
#if defined __linux__ || defined __FreeBSD__ /* NetBSD truncates ident to an int. */
    odd = make_change(pair.theirs, READ, EV_ADD);
    odd.ident += (uintptr_t)UINT_MAX + 1;
    FAILS_WITH(kevent(queue, &odd, 1, NULL, 0, NULL), sizeof odd.ident > 4 ? EBADF : 0);
#endif
}

/* A program may pass a reported event back as a change, although flags such as EV_EOF are set. */
static void system_flags(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    event.flags |= EV_DISABLE;
    SUCCEEDS(kevent(queue, &event, 1, NULL, 0, NULL));
    NO_EVENT(queue);
}

static void receipt(void)
{
    struct pair pair = tcp_pair();
    struct kevent changes[] = {make_change(pair.ours, READ, EV_ADD | EV_RECEIPT),
                               make_change(pair.ours, WRITE, EV_DELETE | EV_RECEIPT),
                               make_change(-1, READ, EV_ADD | EV_RECEIPT),
                               make_change(pair.theirs, WRITE, EV_ADD | EV_RECEIPT)};
    const int expected[] = {0, ENOENT, EBADF, 0};
    struct kevent events[MAX_EVENTS];

    deliver(pair, 5, 5);
    int queue = kqueue();
    EQUAL(kevent(queue, changes, 4, events, MAX_EVENTS, NULL), 4);
    for (int i = 0; i < 4; i++) {
        TRUE((events[i].flags & EV_ERROR) != 0);
        EQUAL(events[i].data, expected[i]);
        EQUAL(events[i].ident, changes[i].ident);
        EQUAL(events[i].filter, changes[i].filter);
#ifndef __APPLE__ /* macOS also returns the flags of the change. */
        EQUAL(events[i].flags, EV_ERROR);
#endif
    }
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2); /* the receipts consumed no event */
}

/* Without room for the receipt, kevent() stops after this change, but it does not fail. */
static void receipt_without_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent changes[] = {make_change(pair.ours, READ, EV_ADD | EV_RECEIPT),
                               make_change(pair.ours, WRITE, EV_ADD)};
    int queue = kqueue();

    errno = EDOM;
    EQUAL(kevent(queue, changes, 2, NULL, 0, NULL), 0);
    EQUAL(errno, EDOM);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
}

static void bad_change_with_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent changes[] = {make_change(pair.ours, READ, EV_ADD),
                               make_change(pair.theirs, WRITE, EV_DELETE),
                               make_change(pair.ours, WRITE, EV_ADD)};
    struct kevent events[MAX_EVENTS];

    deliver(pair, 5, 5);
    int queue = kqueue();
    EQUAL(kevent(queue, changes, 3, events, MAX_EVENTS, NULL), 1);
    TRUE((events[0].flags & EV_ERROR) != 0);
    EQUAL(events[0].data, ENOENT);
    EQUAL(events[0].ident, pair.theirs);
    /* The changes before and after it were made. */
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
}

static void bad_change_without_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent changes[] = {
        make_change(pair.ours, READ, EV_ADD), make_change(pair.theirs, READ, EV_DELETE),
        make_change(-1, READ, EV_DELETE), make_change(pair.ours, WRITE, EV_ADD)};
    struct kevent event;
    int queue = kqueue();

    deliver(pair, 5, 5);
    FAILS_WITH(kevent(queue, changes, 4, NULL, 0, NULL), ENOENT);
    ONE_EVENT(queue, pair.ours, READ);
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    /* Room for the first error only. */
    FAILS_WITH(kevent(queue, changes, 4, &event, 1, NULL), EBADF);
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
}

static void same_array(void)
{
    struct pair pair = tcp_pair();
    int queue = kqueue();
    struct kevent list[] = {make_change(pair.ours, READ, EV_ADD),
                            make_change(pair.ours, WRITE, EV_DELETE), make_change(-1, READ, EV_ADD),
                            make_change(pair.theirs, WRITE, EV_ADD)};

    EQUAL(kevent(queue, list, 4, list, 4, NULL), 2);
    EQUAL(list[0].data, ENOENT);
    EQUAL(list[1].data, EBADF);
    ONE_EVENT(queue, pair.theirs, WRITE);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
}

/* ---- limited room for events ---- */

static void no_room(void)
{
    struct pair pair = tcp_pair();
    struct timespec long_time = {.tv_sec = 3600};
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    EQUAL(kevent(queue, NULL, 0, NULL, 0, &long_time), 0);
    EQUAL(kevent(queue, NULL, 0, NULL, 0, NULL), 0);
    deliver(pair, 5, 5);
    EQUAL(kevent(queue, NULL, 0, NULL, 0, NULL), 0);
    ONE_EVENT(queue, pair.ours, READ); /* the event is not lost */
}

static void both_filters(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[MAX_EVENTS];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD));
    ONE_EVENT(queue, pair.ours, WRITE);
    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++) {
        EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
        EQUAL(get_events(queue, events, 2, 0), 2);
        TRUE(events[0].filter != events[1].filter);
        TRUE(is_event_for(&events[0], pair.ours, READ) ||
             is_event_for(&events[1], pair.ours, READ));
        EQUAL(events[events[0].filter == EVFILT_READ ? 0 : 1].data, 5);
    }
}

/* Call kevent() `calls` times, with room for `room` events.  Returns a bit for each filter of each
 * pair that was reported: bit 2j for READ and bit 2j + 1 for WRITE of pairs[j]. */
static unsigned seen_within(int queue, const struct pair *pairs, int count, int room, int calls)
{
    struct kevent events[MAX_EVENTS];
    unsigned seen = 0;

    while (calls-- > 0) {
        int got = get_events(queue, events, (unsigned short)room, 0);
        TRUE(got > 0 && got <= room);
        for (int i = 0; i < got; i++)
            for (int j = 0; j < count; j++) {
                seen |= is_event_for(&events[i], pairs[j].ours, READ) ? 1U << 2 * j : 0;
                seen |= is_event_for(&events[i], pairs[j].ours, WRITE) ? 2U << 2 * j : 0;
            }
    }
    return seen;
}

static int queue_of_pairs(struct pair *pairs, int count, unsigned short flags)
{
    int queue = kqueue();

    for (int i = 0; i < count; i++) {
        pairs[i] = tcp_pair();
        deliver(pairs[i], 5, 5);
        SUCCEEDS(apply_change(queue, pairs[i].ours, READ, flags));
        SUCCEEDS(apply_change(queue, pairs[i].ours, WRITE, flags));
    }
    return queue;
}

static void both_filters_room_for_one(void)
{
    struct pair pair;
    int queue = queue_of_pairs(&pair, 1, EV_ADD);

    for (int i = 0; i < 3; i++)
        EQUAL(seen_within(queue, &pair, 1, 1, 2), 3);
    seen_within(queue, &pair, 1, 1, 1);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_DELETE));
    ONE_EVENT(queue, pair.ours, READ);
}

/* After READ was reported, and before WRITE is, WRITE stops being true. */
static void both_filters_one_no_more(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD));
    deliver(pair, 5, 5);
    seen_within(queue, &pair, 1, 1, 1);
    fill(pair.ours);
    ONE_EVENT(queue, pair.ours, READ);
}

static void both_filters_of_several(void)
{
    struct pair pairs[3];
    int queue = queue_of_pairs(pairs, 2, EV_ADD);

    EQUAL(seen_within(queue, pairs, 2, 1, 8), 15);
    EQUAL(seen_within(queue, pairs, 2, 3, 8), 15);
    queue = queue_of_pairs(pairs, 3, EV_ADD);
    EQUAL(seen_within(queue, pairs, 3, 1, 12), 63);
    EQUAL(seen_within(queue, pairs, 3, 2, 12), 63);
    EQUAL(seen_within(queue, pairs, 3, 5, 12), 63);
}

static void both_filters_clear_room_for_one(void)
{
    struct pair pair;
    int queue = queue_of_pairs(&pair, 1, EV_ADD | EV_CLEAR);

    EQUAL(seen_within(queue, &pair, 1, 1, 2), 3);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    seen_within(queue, &pair, 1, 1, 1);
    SUCCEEDS(close(pair.ours)); /* this also removes the event that has not been reported */
    EQUAL(dup2(pair.theirs, pair.ours), pair.ours);
    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    ONE_EVENT(queue, pair.ours, WRITE);
    NO_EVENT(queue);
}

static void more_than_room(void)
{
    enum { COUNT = 8, AT_A_TIME = 3 };
    struct pair pairs[COUNT];
    struct kevent events[MAX_EVENTS];
    unsigned seen = 0;
    int queue = kqueue();

    for (int i = 0; i < COUNT; i++) {
        pairs[i] = pipe_pair();
        deliver(pairs[i], 1, 1);
        SUCCEEDS(apply_change(queue, pairs[i].ours, READ, EV_ADD));
    }
    for (int call = 0; call < 4; call++) {
        EQUAL(get_events(queue, events, AT_A_TIME, 0), AT_A_TIME);
        for (int i = 0; i < AT_A_TIME; i++)
            for (int j = 0; j < COUNT; j++)
                seen |= is_event_for(&events[i], pairs[j].ours, READ) ? 1U << j : 0;
    }
    EQUAL(seen, 255);
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), COUNT);
}

static void more_than_room_clear(void)
{
    enum { COUNT = 7 };
    struct pair pair;
    struct kevent event;
    int queue = kqueue();

    for (int i = 0; i < COUNT; i++) {
        pair = pipe_pair();
        deliver(pair, 1, 1);
        SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    }
    for (int i = 0; i < COUNT; i++)
        EQUAL(get_events(queue, &event, 1, 0), 1);
    NO_EVENT(queue);
}

/* ---- EV_CLEAR ---- */

static void clear_once(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    NO_EVENT(queue);
    deliver(pair, 5, 5);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    TRUE((event.flags & EV_CLEAR) != 0);
    NO_EVENT(queue);
    deliver(pair, 3, 8);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 8); /* all unread bytes, not only the new ones */
    NO_EVENT(queue);
    drain(pair.ours, 8);
    NO_EVENT(queue);
    deliver(pair, 2, 2);
    drain(pair.ours, 2); /* read before kevent() is called */
    NO_EVENT(queue);
}

static void clear_end_once(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    EQUAL(is_eof(ONE_EVENT(queue, pair.ours, READ)), false);
    SUCCEEDS(shutdown(pair.theirs, SHUT_WR));
    await_eof(pair.ours);
    struct kevent event = ONE_EVENT(queue, pair.ours, READ);
    TRUE(is_eof(event));
    EQUAL(event.data, 5);
    NO_EVENT(queue);
    drain(pair.ours, 5);
    NO_EVENT(queue);
}

static void clear_add_looks(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    ONE_EVENT(queue, pair.ours, READ);
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
    NO_EVENT(queue);
    drain(pair.ours, 5);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    NO_EVENT(queue);
}

static void clear_write(void)
{
    struct pair pair = tcp_pair_with(4096);
    struct kevent event = {.data = 0};
    int queue = queue_with(pair.ours, WRITE, EV_ADD | EV_CLEAR);

    event = ONE_EVENT(queue, pair.ours, WRITE);
    TRUE((event.flags & EV_CLEAR) != 0);
    NO_EVENT(queue);
    do
        fill(pair.ours);
    while (get_events(queue, &event, 1, 50) == 1);
    NO_EVENT(queue);
    struct pollfd pollfd = {.fd = pair.theirs, .events = POLLIN};
    while (get_events(queue, &event, 1, 0) == 0) {
        EQUAL(poll(&pollfd, 1, EVENT_TIMEOUT_MS), 1);
        drain_all(pair.theirs);
    }
    TRUE(is_event_for(&event, pair.ours, WRITE));
}

static void clear_both(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[MAX_EVENTS];
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    ONE_EVENT(queue, pair.ours, WRITE);
    NO_EVENT(queue);
    deliver(pair, 5, 5);
    /* The emulation reports WRITE again, because epoll has one entry for both filters. */
    int count = get_events(queue, events, MAX_EVENTS, 0);
    TRUE(count == 1 || count == 2);
    TRUE(is_event_for(&events[0], pair.ours, READ));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    drain(pair.ours, 5);
    get_events(queue, events, MAX_EVENTS, 0);
    deliver(pair, 5, 5);
    NO_EVENT(queue);
}

/* ---- close(), fork() ---- */

static void close_forgets(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);
    int copy = dup(pair.ours);

    SUCCEEDS(apply_change(queue, pair.ours, WRITE, EV_ADD));
    SUCCEEDS(close(pair.ours));
    EQUAL(write(pair.theirs, "12345", 5), 5);
    await_bytes(copy, 5);
    NO_EVENT(queue);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), EBADF);
    EQUAL(dup2(copy, pair.ours), pair.ours);
    NO_EVENT(queue);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), ENOENT);
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_ADD));
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
}

static void close_with_event_waiting(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);
    int copy = dup(pair.ours);

    deliver(pair, 5, 5);
    SUCCEEDS(close(pair.ours));
    NO_EVENT(queue);
    SUCCEEDS(apply_change(queue, copy, READ, EV_ADD));
    ONE_EVENT(queue, copy, READ);
}

static void copy_stays_watched(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[MAX_EVENTS];
    int queue = queue_with(pair.ours, READ, EV_ADD);
    int copy = dup(pair.ours);

    SUCCEEDS(apply_change(queue, copy, READ, EV_ADD));
    deliver(pair, 5, 5);
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 2);
    SUCCEEDS(close(pair.ours));
    ONE_EVENT(queue, copy, READ);
    SUCCEEDS(close(copy));
    NO_EVENT(queue);
}

static void close_pair_then_batch(void)
{
    struct pair pairs[3], closed;
    int queue = queue_of_pairs(pairs, 3, EV_ADD);
    struct kevent events[MAX_EVENTS];

    SUCCEEDS(close(pairs[1].ours));
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), 4);
    closed = pairs[1];
    pairs[1] = pairs[2];
    EQUAL(seen_within(queue, pairs, 2, MAX_EVENTS, 1), 15);
    SUCCEEDS(close(pairs[0].ours));
    SUCCEEDS(apply_change(queue, pairs[1].ours, READ, EV_DELETE));
    ONE_EVENT(queue, pairs[1].ours, WRITE);
    SUCCEEDS(close(pairs[1].ours));
    NO_EVENT(queue);
    SUCCEEDS(close(closed.theirs));
    for (int i = 0; i < 2; i++) { /* two new descriptors, each with one filter */
        pairs[i] = pipe_pair();
        SUCCEEDS(apply_change(queue, pairs[i].theirs, WRITE, EV_ADD));
    }
    EQUAL(get_events(queue, events, 2, 0), 2);
}

static void descriptor_reused(void)
{
    struct pair first = tcp_pair();
    int queue = kqueue();

    SUCCEEDS(apply_tagged(queue, first.ours, READ, EV_ADD | EV_DISABLE, 1));
    SUCCEEDS(apply_tagged(queue, first.ours, WRITE, EV_ADD, 2));
    SUCCEEDS(close(first.ours));
    struct pair second = pipe_pair();
    EQUAL(second.ours, first.ours); /* the lowest free number */
    deliver(second, 5, 5);
    NO_EVENT(queue);
    FAILS_WITH(apply_change(queue, second.ours, READ, EV_DELETE), ENOENT);
    FAILS_WITH(apply_change(queue, second.ours, WRITE, EV_DELETE), ENOENT);
    SUCCEEDS(apply_change(queue, second.ours, READ, EV_ADD));
    struct kevent event = ONE_EVENT(queue, second.ours, READ);
    EQUAL(event.data, 5);
    TRUE(event.udata == NULL);
}

static void several_queues(void)
{
    struct pair pair = tcp_pair();
    int first = kqueue(), second = queue_with(pair.ours, WRITE, EV_ADD),
        third = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    TRUE(first != second && second != third && first != third);
    SUCCEEDS(apply_tagged(first, pair.ours, READ, EV_ADD, 7));
    deliver(pair, 5, 5);
    TRUE(ONE_EVENT(first, pair.ours, READ).udata != NULL);
    TRUE(ONE_EVENT(second, pair.ours, WRITE).udata == NULL);
    ONE_EVENT(third, pair.ours, READ);
    NO_EVENT(third);
    ONE_EVENT(first, pair.ours, READ);
    FAILS_WITH(apply_change(second, pair.ours, READ, EV_DELETE), ENOENT);
    SUCCEEDS(close(second));
    ONE_EVENT(first, pair.ours, READ);
    SUCCEEDS(apply_change(first, pair.ours, READ, EV_DELETE));
    NO_EVENT(first);
    SUCCEEDS(apply_change(third, pair.ours, READ, EV_ADD | EV_CLEAR));
    SUCCEEDS(apply_change(first, pair.ours, READ, EV_ADD));
    SUCCEEDS(close(pair.ours)); /* this removes it from every queue */
    NO_EVENT(first);
    NO_EVENT(third);
    EQUAL(dup(pair.theirs), pair.ours);
    FAILS_WITH(apply_change(first, pair.ours, READ, EV_DELETE), ENOENT);
    FAILS_WITH(apply_change(third, pair.ours, READ, EV_DELETE), ENOENT);
    SUCCEEDS(apply_change(first, pair.ours, READ, EV_ADD | EV_DISABLE));
    SUCCEEDS(apply_change(third, pair.ours, READ, EV_ADD | EV_DISABLE));
    SUCCEEDS(close(pair.ours)); /* also removes disabled filters */
    EQUAL(dup(pair.theirs), pair.ours);
    FAILS_WITH(apply_change(first, pair.ours, READ, EV_DELETE), ENOENT);
    FAILS_WITH(apply_change(third, pair.ours, READ, EV_DELETE), ENOENT);
}

static void queue_in_queue(void)
{
    struct pair pair = tcp_pair();
    int outer = kqueue(), inner = queue_with(pair.ours, READ, EV_ADD);

    SUCCEEDS(apply_change(outer, inner, READ, EV_ADD));
    NO_EVENT(outer);
    deliver(pair, 5, 5);
    ONE_EVENT(outer, inner, READ);
    ONE_EVENT(inner, pair.ours, READ);
    SUCCEEDS(apply_change(outer, inner, READ, EV_DISABLE));
    SUCCEEDS(close(inner));
    NO_EVENT(outer);
    EQUAL(dup(pair.ours), inner);
    FAILS_WITH(apply_change(outer, inner, READ, EV_DELETE), ENOENT);
}

static void not_a_queue(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);
    struct kevent event;

    SUCCEEDS(close(queue));
    FAILS_WITH(get_events(queue, &event, 1, 0), EBADF);
    FAILS_WITH(apply_change(queue, pair.ours, READ, EV_DELETE), EBADF);
    FAILS_WITH(get_events(pair.ours, &event, 1, 0), EBADF);
    FAILS_WITH(get_events(-1, &event, 1, 0), EBADF);
    FAILS_WITH(close(queue), EBADF);
    int second = kqueue(); /* the number of the first queue, but none of its registrations */
    EQUAL(second, queue);
    deliver(pair, 5, 5);
    NO_EVENT(second);
    SUCCEEDS(close(second));
    EQUAL(dup(pair.ours), second);
    FAILS_WITH(get_events(second, &event, 1, 0), EBADF);
}

static void child_without_queue(int queue)
{
    struct kevent event;

    FAILS_WITH(fcntl(queue, F_GETFD), EBADF);
    FAILS_WITH(get_events(queue, &event, 1, 0), EBADF);
    struct pair pair = tcp_pair();
    deliver(pair, 5, 5);
    int own = queue_with(pair.ours, READ, EV_ADD);
    EQUAL(ONE_EVENT(own, pair.ours, READ).data, 5);
    SUCCEEDS(close(own));
}

static void fork_has_no_queue(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    run_in_child(child_without_queue, queue);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5); /* the parent's queue is unchanged */
    SUCCEEDS(apply_change(queue, pair.ours, READ, EV_DELETE));
    NO_EVENT(queue);
}

static void close_fd(int fd)
{
    SUCCEEDS(close(fd));
}

static void child_closes(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    run_in_child(close_fd, pair.ours);
    deliver(pair, 5, 5);
    ONE_EVENT(queue, pair.ours, READ);
}

/* ---- time ---- */

static long long now_us(void)
{
    struct timespec now;

    SUCCEEDS(clock_gettime(CLOCK_MONOTONIC, &now));
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void timeout_not_early(void)
{
    const long lengths[] = {1, 900000, 1900000, 2000000, 30500000}; /* nanoseconds */
    struct pair pair = tcp_pair();
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);

    for (int i = 0; i < 5; i++)
        for (int again = 0; again < 5; again++) {
            struct timespec limit = {.tv_nsec = lengths[i]};
            long long begin = now_us();
            EQUAL(kevent(queue, NULL, 0, &event, 1, &limit), 0);
            TRUE(now_us() - begin >= lengths[i] / 1000);
        }
    struct timespec second = {.tv_sec = 1, .tv_nsec = 1};
    long long begin = now_us();
    EQUAL(kevent(queue, NULL, 0, &event, 1, &second), 0);
    TRUE(now_us() - begin >= 1000000);
}

static void timeout_zero(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    for (int i = 0; i < 1000; i++) /* would take a second if each call waited a millisecond */
        NO_EVENT(queue);
    deliver(pair, 5, 5);
    ONE_EVENT(queue, pair.ours, READ);
}

/* Write after a delay, so that the parent is usually waiting.  The case holds in either order. */
static void write_later(int fd)
{
    poll(NULL, 0, 50);
    EQUAL(write(fd, "later", 5), 5);
}

/* Run this in a child process, and return its process ID at once. */
static pid_t start_child(void (*work)(int), int argument)
{
    pid_t child = fork();

    SUCCEEDS(child);
    if (child != 0)
        return child;
    alarm(CASE_TIMEOUT_SECONDS);
    work(argument);
    _exit(0);
}

static void timeout_null(void)
{
    struct pair pair = tcp_pair();
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);
    pid_t child = start_child(write_later, pair.theirs);

    EQUAL(kevent(queue, NULL, 0, &event, 1, NULL), 1);
    EQUAL(event.data, 5);
    EQUAL(waitpid(child, NULL, 0), child);
    drain(pair.ours, 5);
    child = start_child(write_later, pair.theirs);
    struct timespec weeks = {.tv_sec = 100000000}; /* in milliseconds, this overflows an int */
    EQUAL(kevent(queue, NULL, 0, &event, 1, &weeks), 1);
    EQUAL(waitpid(child, NULL, 0), child);
}

static void timeout_bad(void)
{
    struct pair pair = tcp_pair();
    struct timespec bad[] = {{.tv_sec = -1}, {.tv_nsec = -1}, {.tv_sec = -5, .tv_nsec = 5}};
    struct kevent change = make_change(pair.ours, READ, EV_ADD | EV_CLEAR), event;
    int queue = kqueue();

    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++) {
        FAILS_WITH(kevent(queue, &change, 1, &event, 1, &bad[i]), EINVAL);
        /* Without room for events, kevent() does not look at the timeout. */
        EQUAL(kevent(queue, NULL, 0, NULL, 0, &bad[i]), 0);
    }
    ONE_EVENT(queue, pair.ours, READ); /* the change was made, and no event was consumed */
}

static void timeout_whole_second(void)
{
    struct pair pair = tcp_pair();
    struct timespec bad = {.tv_nsec = 1000000000};
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);

    FAILS_WITH(kevent(queue, NULL, 0, &event, 1, &bad), EINVAL);
}

static void timeout_huge(void)
{
    struct pair pair = tcp_pair();
    struct timespec huge = {.tv_sec = 100000000};
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);

#if defined __linux__ || defined __FreeBSD__ /* Other systems may limit it. */
    huge.tv_sec = sizeof huge.tv_sec > 4 ? (time_t)(INT64_MAX / 2) : INT_MAX;
#endif
    deliver(pair, 5, 5);
    EQUAL(kevent(queue, NULL, 0, &event, 1, &huge), 1);
}

static void do_nothing(int number)
{
    (void)number;
}

/* Send signals until the parent ends this process.  One signal might arrive before it waits. */
static void send_signals(int parent)
{
    while (getppid() == (pid_t)parent) {
        kill((pid_t)parent, SIGUSR1);
        poll(NULL, 0, 5);
    }
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = do_nothing};
    struct pair pair = tcp_pair();
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    for (int i = 0; i < 2; i++) {
        action.sa_flags = i == 0 ? 0 : SA_RESTART; /* SA_RESTART makes no difference */
        SUCCEEDS(sigaction(SIGUSR1, &action, NULL));
        pid_t child = start_child(send_signals, (int)getpid());
        FAILS_WITH(kevent(queue, NULL, 0, &event, 1, NULL), EINTR);
        SUCCEEDS(kill(child, SIGKILL));
        while (waitpid(child, NULL, 0) == -1)
            EQUAL(errno, EINTR);
    }
    deliver(pair, 5, 5);
    ONE_EVENT(queue, pair.ours, READ);
}

/* ---- size ---- */

static void many_descriptors(void)
{
    enum { COUNT = 60, FROM = 150 };
    struct pair pair = pipe_pair();
    struct kevent events[MAX_EVENTS];
    bool seen[COUNT] = {false};
    int queue = queue_with(pair.ours, READ, EV_ADD);

    for (int i = 0; i < COUNT; i++) {
        int fd = fcntl(pair.ours, F_DUPFD, FROM + i);
        EQUAL(fd, FROM + i);
        FAILS_WITH(apply_change(queue, fd, READ, EV_DELETE), ENOENT);
        SUCCEEDS(apply_tagged(queue, fd, READ, EV_ADD, i));
    }
    deliver(pair, 1, 1);
    EQUAL(get_events(queue, events, MAX_EVENTS, 0), COUNT + 1);
    for (int i = 0; i < COUNT + 1; i++) {
        int number = (int)events[i].ident - FROM;
        if (number < 0)
            EQUAL(events[i].ident, pair.ours);
        else
            seen[number] = true;
        TRUE(number < 0 ? events[i].udata == NULL : events[i].udata != NULL);
    }
    for (int i = 0; i < COUNT; i++)
        TRUE(seen[i]);
    drain(pair.ours, 1);
    NO_EVENT(queue);
}

static void no_leak(void)
{
    struct pair pair = pipe_pair();
    int first = kqueue();

    SUCCEEDS(close(first));
    for (int i = 0; i < 2000; i++) {
        int queue = queue_with(pair.ours, READ, EV_ADD);
        EQUAL(queue, first); /* the lowest free number */
        NO_EVENT(queue);
        SUCCEEDS(close(queue));
    }
}

/* ---- what only the emulation does ---- */

#ifdef __linux__
static void one_more(int unused)
{
    (void)unused;
    kqueue();
}

static void message_once(void)
{
    struct pair words = pipe_pair();
    char text[1024];
    int count = 0;

    EQUAL(dup2(words.theirs, STDERR_FILENO), STDERR_FILENO);
    SUCCEEDS(kqueue());
    int queue = kqueue();
    SUCCEEDS(close(queue));
    run_in_child(one_more, 0);
    SUCCEEDS(kqueue());
    ssize_t length = read(words.ours, text, sizeof text - 1);
    TRUE(length > 0);
    text[length] = '\0';
    for (char *word = text; (word = strstr(word, "Linux has no kqueue")) != NULL; word++)
        count++;
    EQUAL(count, 1);
    EQUAL(text[length - 1], '\n');
}

static void refused_here(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_ADD | 0x0010), EINVAL); /* EV_ONESHOT */
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_ADD | 0x0080), EINVAL); /* EV_DISPATCH */
    /* READ was added without it. */
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR), EINVAL);
    FAILS_WITH(apply_change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    FILE *file = tmpfile();
    TRUE(file != NULL);
    FAILS_WITH(apply_change(queue, fileno(file), READ, EV_ADD), EPERM);
    FAILS_WITH(apply_change(queue, fileno(file), READ, EV_DELETE), ENOENT);
    deliver(pair, 5, 5);
    EQUAL(ONE_EVENT(queue, pair.ours, READ).data, 5);
}
#endif

/* ---- the list of cases ---- */

static const struct test {
    const char *name;
    void (*run)(void);
} tests[] = {{"listener-data", listener_data},
             {"read-data", read_data},
             {"read-level", read_level},
             {"ready-before", ready_before},
             {"end-with-data", end_with_data},
             {"reset-with-data", reset_with_data},
             {"reset-while-writing", reset_while_writing},
             {"half-close-write", half_close_write},
             {"own-shutdown-write", own_shutdown_write},
             {"own-shutdown-read", own_shutdown_read},
             {"write-room", write_room},
             {"write-full", write_full},
             {"connecting", connecting},
             {"pipe-read-end", pipe_read_end},
             {"pipe-write-end", pipe_write_end},
             {"pipe-no-error", pipe_no_error},
             {"unix-sockets", unix_sockets},
             {"unix-own-shutdown", unix_own_shutdown},
             {"udata", udata},
             {"add-twice", add_twice},
             {"add-keeps-clear", add_keeps_clear},
             {"disable", disable},
             {"add-does-not-enable", add_does_not_enable},
             {"disabled-reset", disabled_reset},
             {"one-filter-goes", one_filter_goes},
             {"delete-before-taken", delete_before_taken},
             {"bad-changes", bad_changes},
             {"system-flags", system_flags},
             {"receipt", receipt},
             {"receipt-without-room", receipt_without_room},
             {"bad-change-with-room", bad_change_with_room},
             {"bad-change-without-room", bad_change_without_room},
             {"same-array", same_array},
             {"no-room", no_room},
             {"both-filters", both_filters},
             {"both-filters-room-for-one", both_filters_room_for_one},
             {"both-filters-one-no-more", both_filters_one_no_more},
             {"both-filters-of-several", both_filters_of_several},
             {"both-filters-clear-room-for-one", both_filters_clear_room_for_one},
             {"more-than-room", more_than_room},
             {"more-than-room-clear", more_than_room_clear},
             {"clear-once", clear_once},
             {"clear-end-once", clear_end_once},
             {"clear-add-looks", clear_add_looks},
             {"clear-write", clear_write},
             {"clear-both", clear_both},
             {"close-forgets", close_forgets},
             {"close-with-event-waiting", close_with_event_waiting},
             {"copy-stays-watched", copy_stays_watched},
             {"close-pair-then-batch", close_pair_then_batch},
             {"descriptor-reused", descriptor_reused},
             {"several-queues", several_queues},
             {"queue-in-queue", queue_in_queue},
             {"not-a-queue", not_a_queue},
             {"fork", fork_has_no_queue},
             {"child-closes", child_closes},
             {"timeout-not-early", timeout_not_early},
             {"timeout-zero", timeout_zero},
             {"timeout-null", timeout_null},
             {"timeout-bad", timeout_bad},
             {"timeout-whole-second", timeout_whole_second},
             {"timeout-huge", timeout_huge},
             {"interrupted", interrupted},
             {"many-descriptors", many_descriptors},
             {"no-leak", no_leak},
#ifdef __linux__
             {"message-once", message_once},
             {"refused-here", refused_here},
#endif
             {NULL, NULL}};

int main(int argc, char **argv)
{
    for (const struct test *test = tests; test->name != NULL; test++) {
        if (argc < 2) {
            puts(test->name);
        } else if (strcmp(argv[1], test->name) == 0) {
            alarm(CASE_TIMEOUT_SECONDS); /* in case the case hangs */
            signal(SIGPIPE, SIG_IGN);
            test->run();
            return 0;
        }
    }
    if (argc < 2)
        return 0;
    fprintf(stderr, "no such case: %s\n", argv[1]);
    return 2;
}
