/* What kqueue does, as stage 05 relies on it and as the stand-in for Linux claims it: one function
 * for each fact.
 *
 *   kqueue-emulation        the names of all cases
 *   kqueue-emulation CASE   run one.  Exit code 0: it is so.  1: it is not, and stdout says where.
 *
 * On Linux it is built with the stand-in, on macOS and the BSDs by itself; there the same questions
 * go to the real kqueue.  No case depends on how fast the machine is: what has been sent is waited
 * for, and then kevent() is asked without waiting.  Loopback only, and 10 seconds at most. */
#define _DEFAULT_SOURCE /* kqueue(), on NetBSD */

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

enum { SECONDS = 10, PATIENCE_MS = 5000, ROOM = 64 };
enum filter { READ, WRITE };

/* ---- checks ---- */

/* What was expected did not come.  On stdout: one case looks at stderr. */
static void failed(int line, const char *what, long long expected, long long got)
{
    printf("%s:%d: %s: expected %lld, got %lld\n", __FILE__, line, what, expected, got);
    fflush(stdout);
    _exit(1);
}

#define EQUAL(got, expected) equal(__LINE__, #got, (long long)(expected), (long long)(got))
static void equal(int line, const char *what, long long expected, long long got)
{
    if (got != expected)
        failed(line, what, expected, got);
}

#define TRUE(condition) equal(__LINE__, #condition, 1, (condition) ? 1 : 0)
#define DONE(call) equal(__LINE__, #call " is -1", 0, (call) == -1 ? errno : 0)
#define REFUSED(call, error) equal(__LINE__, #call, error, (call) == -1 ? errno : 0)

/* ---- descriptors ---- */

struct pair {
    int ours, theirs; /* of a pipe: where it is read, where it is written */
};

static void set_nonblocking(int fd)
{
    DONE(fcntl(fd, F_SETFL, O_NONBLOCK));
}

/* A listener on loopback, at a port that the kernel chooses: `name` says which. */
static int listener_at(struct sockaddr_in *name, int receive_buffer)
{
    socklen_t size = sizeof *name;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(name, 0, sizeof *name);
    name->sin_family = AF_INET;
    name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive_buffer > 0)
        DONE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer));
    DONE(bind(fd, (struct sockaddr *)name, sizeof *name));
    DONE(getsockname(fd, (struct sockaddr *)name, &size));
    DONE(listen(fd, 16));
    set_nonblocking(fd);
    return fd;
}

static int connect_to(const struct sockaddr_in *name)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    DONE(connect(fd, (const struct sockaddr *)name, sizeof *name));
    return fd;
}

static int accept_from(int listener)
{
    struct pollfd look = {.fd = listener, .events = POLLIN};

    EQUAL(poll(&look, 1, PATIENCE_MS), 1);
    int fd = accept(listener, NULL, NULL);
    TRUE(fd != -1);
    set_nonblocking(fd);
    return fd;
}

/* A TCP connection.  Theirs is the side that accepted, with a receive buffer of that size. */
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

    DONE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    set_nonblocking(ends[0]);
    set_nonblocking(ends[1]);
    return (struct pair){.ours = ends[0], .theirs = ends[1]};
}

static struct pair pipe_pair(void)
{
    int ends[2];

    DONE(pipe(ends));
    set_nonblocking(ends[0]);
    set_nonblocking(ends[1]);
    return (struct pair){.ours = ends[0], .theirs = ends[1]};
}

/* Wait until so many bytes have come. */
static void await_bytes(int fd, int count)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    int waiting = 0;

    while (waiting < count) {
        EQUAL(poll(&look, 1, PATIENCE_MS), 1);
        DONE(ioctl(fd, FIONREAD, &waiting));
    }
    EQUAL(waiting, count);
}

/* They send `count` bytes, and when it returns these wait on our side, `all` with those before. */
static void deliver(struct pair pair, int count, int all)
{
    static const char text[ROOM] = "some bytes";

    EQUAL(write(pair.theirs, text, (size_t)count), count);
    await_bytes(pair.ours, all);
}

/* Read all that waits, which is so much. */
static void drain(int fd, int count)
{
    char buffer[ROOM];

    EQUAL(read(fd, buffer, sizeof buffer), count);
}

/* Write until no more goes in. */
static void fill(int fd)
{
    static const char bytes[65536];

    while (write(fd, bytes, sizeof bytes) != -1)
        continue;
    EQUAL(errno, EAGAIN);
}

/* Read until nothing is left. */
static void drain_all(int fd)
{
    static char buffer[65536];

    while (read(fd, buffer, sizeof buffer) > 0)
        continue;
    EQUAL(errno, EAGAIN);
}

/* Their side closes so that ours is reset. */
static void reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    DONE(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    DONE(close(fd));
}

/* ---- kevent(), shorter ---- */

static struct kevent change_of(int fd, enum filter filter, unsigned short flags)
{
    return (struct kevent){.ident = (uintptr_t)fd,
                           .filter = filter == READ ? EVFILT_READ : EVFILT_WRITE,
                           .flags = flags};
}

/* One change, and room for no answer. */
static int change(int queue, int fd, enum filter filter, unsigned short flags)
{
    struct kevent wish = change_of(fd, filter, flags);

    return kevent(queue, &wish, 1, NULL, 0, NULL);
}

/* The same with udata: a small number. */
static int change_tagged(int queue, int fd, enum filter filter, unsigned short flags, int tag)
{
    static char tags[ROOM];
    struct kevent wish = change_of(fd, filter, flags);

    wish.udata = &tags[tag];
    return kevent(queue, &wish, 1, NULL, 0, NULL);
}

/* A queue that watches this. */
static int queue_with(int fd, enum filter filter, unsigned short flags)
{
    int queue = kqueue();

    DONE(queue);
    DONE(change(queue, fd, filter, flags));
    return queue;
}

/* room: unsigned short fits into the int of most systems and into NetBSD's size_t. */
static int take(int queue, struct kevent *events, unsigned short room, int wait_ms)
{
    struct timespec limit = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};

    return kevent(queue, NULL, 0, events, room, &limit);
}

static bool is_about(const struct kevent *event, int fd, enum filter filter)
{
    return event->ident == (uintptr_t)fd &&
           event->filter == (filter == READ ? EVFILT_READ : EVFILT_WRITE);
}

/* Exactly one event comes, this one. */
#define NEXT(queue, fd, filter) next(__LINE__, queue, fd, filter)
static struct kevent next(int line, int queue, int fd, enum filter filter)
{
    struct kevent events[ROOM];
    int count = take(queue, events, ROOM, PATIENCE_MS);

    equal(line, "how many events", 1, count);
    equal(line, "the event's ident", fd, (long long)events[0].ident);
    equal(line, "the event is of this filter", 1, is_about(&events[0], fd, filter));
    equal(line, "EV_ERROR in the event", 0, (events[0].flags & EV_ERROR) != 0);
    return events[0];
}

/* Nothing is reported now. */
#define QUIET(queue) quiet(__LINE__, queue)
static void quiet(int line, int queue)
{
    struct kevent events[ROOM];
    int count = take(queue, events, ROOM, 0);

    if (count > 0)
        printf("an event: ident %lld, %s, flags %#x, data %lld\n", (long long)events[0].ident,
               events[0].filter == EVFILT_READ ? "READ" : "WRITE", (unsigned)events[0].flags,
               (long long)events[0].data);
    equal(line, "how many events", 0, count);
}

static bool at_end(struct kevent event)
{
    return (event.flags & EV_EOF) != 0;
}

/* Wait until the end has come, by a queue of its own. */
static void await_end(int fd)
{
    int queue = queue_with(fd, READ, EV_ADD);

    while (!at_end(NEXT(queue, fd, READ)))
        continue;
    DONE(close(queue));
}

/* Let a child run this, and wait for its end. */
static void in_child(void (*work)(int), int argument)
{
    int status = 0;
    pid_t child = fork();

    DONE(child);
    if (child == 0) {
        alarm(SECONDS);
        work(argument);
        fflush(stdout);
        _exit(0);
    }
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
}

/* ---- what an event says ---- */

static void listener_data(void)
{
    struct sockaddr_in name;
    int listener = listener_at(&name, 0);
    int queue = queue_with(listener, READ, EV_ADD);

    QUIET(queue);
    for (int i = 0; i < 3; i++)
        connect_to(&name);
    while (NEXT(queue, listener, READ).data < 3)
        continue;
    EQUAL(NEXT(queue, listener, READ).data, 3);
    accept_from(listener);
    struct kevent event = NEXT(queue, listener, READ);
    EQUAL(event.data, 2);
    EQUAL(at_end(event), false);
    accept_from(listener);
    accept_from(listener);
    QUIET(queue);
    DONE(change(queue, listener, WRITE, EV_ADD));
    QUIET(queue);
}

static void read_data(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    QUIET(queue);
    deliver(pair, 5, 5);
    struct kevent event = NEXT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    EQUAL(at_end(event), false);
    EQUAL(event.fflags, 0);
    deliver(pair, 3, 8);
    EQUAL(NEXT(queue, pair.ours, READ).data, 8);
}

static void read_level(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++)
        EQUAL(NEXT(queue, pair.ours, READ).data, 5);
    drain(pair.ours, 5);
    QUIET(queue);
}

static void ready_before(void)
{
    struct pair pair = tcp_pair();

    deliver(pair, 5, 5);
    int queue = queue_with(pair.ours, READ, EV_ADD);
    EQUAL(NEXT(queue, pair.ours, READ).data, 5);
}

static void end_with_data(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    DONE(shutdown(pair.theirs, SHUT_WR));
    await_end(pair.ours);
    for (int i = 0; i < 3; i++) {
        struct kevent event = NEXT(queue, pair.ours, READ);
        TRUE(at_end(event));
        EQUAL(event.data, 5);
        EQUAL(event.fflags, 0);
    }
    drain(pair.ours, 5);
    struct kevent event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    EQUAL(event.data, 0);
    drain(pair.ours, 0);
}

static void reset_with_data(void)
{
    struct pair pair = tcp_pair();
    char buffer[ROOM];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    reset(pair.theirs);
    await_end(pair.ours);
    struct kevent event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    EQUAL(event.data, 5);
    EQUAL(event.fflags, ECONNRESET);
    drain(pair.ours, 5);
    REFUSED(recv(pair.ours, buffer, sizeof buffer, 0), ECONNRESET);
    event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    EQUAL(event.fflags, 0);
}

static void reset_while_writing(void)
{
    struct pair pair = tcp_pair();

    fill(pair.ours);
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    reset(pair.theirs);
    await_end(pair.ours);
    struct kevent event = NEXT(queue, pair.ours, WRITE);
    TRUE(at_end(event));
    EQUAL(event.fflags, ECONNRESET);
}

static void half_close_write(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    EQUAL(at_end(NEXT(queue, pair.ours, WRITE)), false);
    DONE(shutdown(pair.theirs, SHUT_WR));
    await_end(pair.ours);
    EQUAL(at_end(NEXT(queue, pair.ours, WRITE)), false);
    DONE(change(queue, pair.ours, READ, EV_ADD));
    struct kevent events[ROOM];
    EQUAL(take(queue, events, ROOM, 0), 2);
    for (int i = 0; i < 2; i++)
        EQUAL(at_end(events[i]), is_about(&events[i], pair.ours, READ));
}

static void own_shutdown_write(void)
{
    struct pair pair = tcp_pair(), second = tcp_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    DONE(shutdown(pair.ours, SHUT_WR));
    TRUE(at_end(NEXT(queue, pair.ours, WRITE)));
    deliver(pair, 5, 5); /* with it they say that they have the FIN */
    TRUE(at_end(NEXT(queue, pair.ours, WRITE)));
    DONE(shutdown(pair.theirs, SHUT_WR)); /* and the other way round */
    await_end(pair.ours);
    TRUE(at_end(NEXT(queue, pair.ours, WRITE)));

    queue = queue_with(second.ours, WRITE, EV_ADD);
    DONE(shutdown(second.theirs, SHUT_WR));
    await_end(second.ours);
    DONE(shutdown(second.ours, SHUT_WR));
    TRUE(at_end(NEXT(queue, second.ours, WRITE)));
}

static void own_shutdown_read(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    DONE(change(queue, pair.ours, WRITE, EV_ADD | EV_DISABLE));
    DONE(shutdown(pair.ours, SHUT_WR));
    QUIET(queue);
    deliver(pair, 5, 5);
    EQUAL(at_end(NEXT(queue, pair.ours, READ)), false);
    drain(pair.ours, 5);
    DONE(shutdown(pair.theirs, SHUT_WR));
    TRUE(at_end(NEXT(queue, pair.ours, READ)));
}

static void write_room(void)
{
    struct pair pair = tcp_pair_with(4096);
    static const char bytes[65536];
    int size = 262144;

    DONE(setsockopt(pair.ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    long long empty = (long long)NEXT(queue, pair.ours, WRITE).data;
    TRUE(empty >= size / 2);
    EQUAL(write(pair.ours, bytes, sizeof bytes), sizeof bytes);
    long long less = (long long)NEXT(queue, pair.ours, WRITE).data;
    TRUE(less > 0);
    TRUE(less <= empty - 32768); /* what is in their small buffer is no longer in ours */
}

static void write_full(void)
{
    struct pair pair = tcp_pair_with(4096);
    int queue = queue_with(pair.ours, WRITE, EV_ADD);
    struct kevent event;

    do
        fill(pair.ours);
    while (take(queue, &event, 1, 50) == 1); /* until their side is full too */
    QUIET(queue);
    struct pollfd look = {.fd = pair.theirs, .events = POLLIN};
    while (take(queue, &event, 1, 0) == 0) {
        EQUAL(poll(&look, 1, PATIENCE_MS), 1);
        drain_all(pair.theirs);
    }
    TRUE(is_about(&event, pair.ours, WRITE));
    TRUE(event.data > 0);
    EQUAL(at_end(event), false);
}

static void connecting(void)
{
    struct sockaddr_in name;
    int listener = listener_at(&name, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    set_nonblocking(fd);
    TRUE(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
    int queue = queue_with(fd, WRITE, EV_ADD);
    struct kevent event = NEXT(queue, fd, WRITE);
    EQUAL(at_end(event), false);
    TRUE(event.data > 0);
    accept_from(listener);
}

static void pipe_read_end(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    QUIET(queue);
    deliver(pair, 5, 5);
    struct kevent event = NEXT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    EQUAL(at_end(event), false);
    DONE(close(pair.theirs));
    event = NEXT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    TRUE(at_end(event));
    drain(pair.ours, 5);
    event = NEXT(queue, pair.ours, READ);
    EQUAL(event.data, 0);
    TRUE(at_end(event));
}

static void pipe_write_end(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.theirs, WRITE, EV_ADD);

    long long empty = (long long)NEXT(queue, pair.theirs, WRITE).data;
    TRUE(empty > 0);
    deliver(pair, 5, 5);
    EQUAL(NEXT(queue, pair.theirs, WRITE).data, empty - 5);
    do
        fill(pair.theirs);
    while (write(pair.theirs, "x", 1) == 1);
    QUIET(queue);
    drain_all(pair.ours);
    EQUAL(at_end(NEXT(queue, pair.theirs, WRITE)), false);
    DONE(close(pair.ours));
    TRUE(at_end(NEXT(queue, pair.theirs, WRITE)));
}

static void pipe_no_error(void)
{
    struct pair pair = pipe_pair();
    int queue = queue_with(pair.theirs, WRITE, EV_ADD);

    fill(pair.theirs);
    DONE(close(pair.ours));
    struct kevent event = NEXT(queue, pair.theirs, WRITE);
    TRUE(at_end(event));
    EQUAL(event.fflags, 0);
}

static void unix_sockets(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    QUIET(queue);
    deliver(pair, 5, 5);
    EQUAL(NEXT(queue, pair.ours, READ).data, 5);
    DONE(shutdown(pair.theirs, SHUT_WR));
    struct kevent event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    EQUAL(event.data, 5);
    int writing = queue_with(pair.ours, WRITE, EV_ADD);
    event = NEXT(writing, pair.ours, WRITE);
    EQUAL(at_end(event), false);
    TRUE(event.data > 0);
    fill(pair.ours);
    QUIET(writing);
    DONE(close(pair.theirs));
    TRUE(at_end(NEXT(writing, pair.ours, WRITE)));
}

static void unix_own_shutdown(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, WRITE, EV_ADD);

    EQUAL(at_end(NEXT(queue, pair.ours, WRITE)), false);
    DONE(shutdown(pair.ours, SHUT_WR));
    TRUE(at_end(NEXT(queue, pair.ours, WRITE)));
}

static void udata(void)
{
    struct pair pair = tcp_pair();
    struct kevent wishes[] = {change_of(pair.ours, READ, EV_ADD),
                              change_of(pair.ours, WRITE, EV_ADD)};
    struct kevent events[ROOM];
    int queue = kqueue();

    for (int i = 0; i < 2; i++)
        wishes[i].udata = &wishes[i];
    deliver(pair, 5, 5);
    EQUAL(kevent(queue, wishes, 2, events, ROOM, NULL), 2); /* and one call does both jobs */
    for (int i = 0; i < 2; i++)
        TRUE(events[i].udata == &wishes[is_about(&events[i], pair.ours, READ) ? 0 : 1]);
    wishes[0].flags = EV_DELETE;
    wishes[0].ident = (uintptr_t)-1;
    EQUAL(kevent(queue, wishes, 1, events, ROOM, NULL), 1);
    TRUE(events[0].udata == &wishes[0]);
    TRUE(events[0].ident == (uintptr_t)-1 && events[0].filter == EVFILT_READ);
}

/* ---- changes ---- */

static void add_twice(void)
{
    struct pair pair = tcp_pair();
    int queue = kqueue();

    deliver(pair, 5, 5);
    DONE(change_tagged(queue, pair.ours, READ, EV_ADD, 1));
    char *first = NEXT(queue, pair.ours, READ).udata;
    DONE(change_tagged(queue, pair.ours, READ, EV_ADD, 4));
    char *second = NEXT(queue, pair.ours, READ).udata;
    EQUAL(second - first, 3);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    QUIET(queue);
    REFUSED(change(queue, pair.ours, READ, EV_DELETE), ENOENT);
}

static void add_keeps_clear(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    NEXT(queue, pair.ours, READ);
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ADD)); /* looks anew, once */
    NEXT(queue, pair.ours, READ);
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    DONE(change(queue, pair.ours, READ, EV_ADD));
    NEXT(queue, pair.ours, READ);
    DONE(change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    NEXT(queue, pair.ours, READ);
    NEXT(queue, pair.ours, READ);
}

static void disable(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    DONE(change(queue, pair.ours, READ, EV_DISABLE));
    QUIET(queue);
    deliver(pair, 3, 8);
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ENABLE));
    EQUAL(NEXT(queue, pair.ours, READ).data, 8);
    EQUAL(NEXT(queue, pair.ours, READ).data, 8);
}

static void add_does_not_enable(void)
{
    struct pair pair = tcp_pair(), second = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    deliver(second, 5, 5);
    DONE(change(queue, pair.ours, READ, EV_DISABLE));
    DONE(change(queue, pair.ours, READ, EV_ADD));
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ADD | EV_ENABLE));
    NEXT(queue, pair.ours, READ);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    DONE(change(queue, second.ours, READ, EV_ADD | EV_DISABLE));
    QUIET(queue);
    DONE(change(queue, second.ours, READ, EV_ADD));
    QUIET(queue);
    DONE(change(queue, second.ours, READ, EV_ENABLE));
    NEXT(queue, second.ours, READ);
    DONE(change(queue, second.ours, READ, EV_ENABLE));
    NEXT(queue, second.ours, READ);
}

/* What comes unasked from epoll, an error and a hang-up, must not come through. */
static void disabled_reset(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_DISABLE);

    DONE(change(queue, pair.ours, WRITE, EV_ADD));
    NEXT(queue, pair.ours, WRITE);
    DONE(change(queue, pair.ours, WRITE, EV_DISABLE));
    reset(pair.theirs);
    await_end(pair.ours);
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ENABLE));
    TRUE(at_end(NEXT(queue, pair.ours, READ)));
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    QUIET(queue);
    DONE(change(queue, pair.ours, WRITE, EV_ENABLE));
    TRUE(at_end(NEXT(queue, pair.ours, WRITE)));
}

static void one_filter_goes(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[ROOM];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    DONE(change(queue, pair.ours, WRITE, EV_ADD));
    deliver(pair, 5, 5);
    EQUAL(take(queue, events, ROOM, 0), 2);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    NEXT(queue, pair.ours, WRITE);
    DONE(change(queue, pair.ours, READ, EV_ADD));
    EQUAL(take(queue, events, ROOM, 0), 2);
    DONE(change(queue, pair.ours, WRITE, EV_DISABLE));
    NEXT(queue, pair.ours, READ);
    DONE(change(queue, pair.ours, WRITE, EV_DELETE));
    NEXT(queue, pair.ours, READ);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    QUIET(queue);
}

static void delete_before_taken(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    QUIET(queue);
}

static void bad_changes(void)
{
    struct pair pair = tcp_pair();
    struct kevent odd = {.ident = (uintptr_t)pair.ours, .filter = 77, .flags = EV_ADD};
    int queue = kqueue();

    REFUSED(change(queue, pair.ours, READ, EV_DELETE), ENOENT);
    REFUSED(change(queue, pair.ours, READ, EV_ENABLE), ENOENT);
    REFUSED(change(queue, pair.ours, READ, EV_DISABLE), ENOENT);
    DONE(change(queue, pair.ours, READ, EV_ADD));
    REFUSED(change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    REFUSED(kevent(queue, &odd, 1, NULL, 0, NULL), EINVAL);
    REFUSED(change(queue, -1, READ, EV_ADD), EBADF);
    DONE(close(pair.ours));
    REFUSED(change(queue, pair.ours, READ, EV_DELETE), EBADF);
    REFUSED(change(queue, pair.ours, READ, EV_ADD), EBADF);
#if defined __linux__ || defined __FreeBSD__ /* NetBSD looks at the lower half only */
    odd = change_of(pair.theirs, READ, EV_ADD);
    odd.ident += (uintptr_t)UINT_MAX + 1;
    REFUSED(kevent(queue, &odd, 1, NULL, 0, NULL), sizeof odd.ident > 4 ? EBADF : 0);
#endif
}

/* A program may hand back what it was given, with the flags of the system in it. */
static void system_flags(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    DONE(shutdown(pair.theirs, SHUT_WR));
    struct kevent event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    event.flags |= EV_DISABLE;
    DONE(kevent(queue, &event, 1, NULL, 0, NULL));
    QUIET(queue);
}

static void receipt(void)
{
    struct pair pair = tcp_pair();
    struct kevent wishes[] = {change_of(pair.ours, READ, EV_ADD | EV_RECEIPT),
                              change_of(pair.ours, WRITE, EV_DELETE | EV_RECEIPT),
                              change_of(-1, READ, EV_ADD | EV_RECEIPT),
                              change_of(pair.theirs, WRITE, EV_ADD | EV_RECEIPT)};
    const int expected[] = {0, ENOENT, EBADF, 0};
    struct kevent events[ROOM];

    deliver(pair, 5, 5);
    int queue = kqueue();
    EQUAL(kevent(queue, wishes, 4, events, ROOM, NULL), 4);
    for (int i = 0; i < 4; i++) {
        TRUE((events[i].flags & EV_ERROR) != 0);
        EQUAL(events[i].data, expected[i]);
        EQUAL(events[i].ident, wishes[i].ident);
        EQUAL(events[i].filter, wishes[i].filter);
#ifndef __APPLE__ /* there the flags of the change come back too */
        EQUAL(events[i].flags, EV_ERROR);
#endif
    }
    EQUAL(take(queue, events, ROOM, 0), 2); /* no event was used up */
}

/* There is no room to say that it was done.  That is no error, but it is the end of the call. */
static void receipt_without_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent wishes[] = {change_of(pair.ours, READ, EV_ADD | EV_RECEIPT),
                              change_of(pair.ours, WRITE, EV_ADD)};
    int queue = kqueue();

    errno = EDOM;
    EQUAL(kevent(queue, wishes, 2, NULL, 0, NULL), 0);
    EQUAL(errno, EDOM);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    REFUSED(change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
}

static void bad_change_with_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent wishes[] = {change_of(pair.ours, READ, EV_ADD),
                              change_of(pair.theirs, WRITE, EV_DELETE),
                              change_of(pair.ours, WRITE, EV_ADD)};
    struct kevent events[ROOM];

    deliver(pair, 5, 5);
    int queue = kqueue();
    EQUAL(kevent(queue, wishes, 3, events, ROOM, NULL), 1);
    TRUE((events[0].flags & EV_ERROR) != 0);
    EQUAL(events[0].data, ENOENT);
    EQUAL(events[0].ident, pair.theirs);
    EQUAL(take(queue, events, ROOM, 0), 2); /* those before it and after it were made */
}

static void bad_change_without_room(void)
{
    struct pair pair = tcp_pair();
    struct kevent wishes[] = {change_of(pair.ours, READ, EV_ADD),
                              change_of(pair.theirs, READ, EV_DELETE),
                              change_of(-1, READ, EV_DELETE), change_of(pair.ours, WRITE, EV_ADD)};
    struct kevent event;
    int queue = kqueue();

    deliver(pair, 5, 5);
    REFUSED(kevent(queue, wishes, 4, NULL, 0, NULL), ENOENT);
    NEXT(queue, pair.ours, READ);
    REFUSED(change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    REFUSED(kevent(queue, wishes, 4, &event, 1, NULL), EBADF); /* room for the first one only */
    REFUSED(change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
}

static void same_array(void)
{
    struct pair pair = tcp_pair();
    int queue = kqueue();
    struct kevent list[] = {change_of(pair.ours, READ, EV_ADD),
                            change_of(pair.ours, WRITE, EV_DELETE), change_of(-1, READ, EV_ADD),
                            change_of(pair.theirs, WRITE, EV_ADD)};

    EQUAL(kevent(queue, list, 4, list, 4, NULL), 2);
    EQUAL(list[0].data, ENOENT);
    EQUAL(list[1].data, EBADF);
    NEXT(queue, pair.theirs, WRITE);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
}

/* ---- how many at a time ---- */

static void no_room(void)
{
    struct pair pair = tcp_pair();
    struct timespec long_time = {.tv_sec = 3600};
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    EQUAL(kevent(queue, NULL, 0, NULL, 0, &long_time), 0);
    EQUAL(kevent(queue, NULL, 0, NULL, 0, NULL), 0);
    deliver(pair, 5, 5);
    EQUAL(kevent(queue, NULL, 0, NULL, 0, NULL), 0);
    NEXT(queue, pair.ours, READ); /* not lost */
}

static void both_filters(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[ROOM];
    int queue = queue_with(pair.ours, READ, EV_ADD);

    DONE(change(queue, pair.ours, WRITE, EV_ADD));
    NEXT(queue, pair.ours, WRITE);
    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++) {
        EQUAL(take(queue, events, ROOM, 0), 2);
        EQUAL(take(queue, events, 2, 0), 2);
        TRUE(events[0].filter != events[1].filter);
        TRUE(is_about(&events[0], pair.ours, READ) || is_about(&events[1], pair.ours, READ));
        EQUAL(events[events[0].filter == EVFILT_READ ? 0 : 1].data, 5);
    }
}

/* Which of several pairs, each with both filters, come within `calls`, `room` at a time: a bit for
 * each filter of each pair. */
static unsigned seen_within(int queue, const struct pair *pairs, int count, int room, int calls)
{
    struct kevent events[ROOM];
    unsigned seen = 0;

    while (calls-- > 0) {
        int got = take(queue, events, (unsigned short)room, 0);
        TRUE(got > 0 && got <= room);
        for (int i = 0; i < got; i++)
            for (int j = 0; j < count; j++) {
                seen |= is_about(&events[i], pairs[j].ours, READ) ? 1U << 2 * j : 0;
                seen |= is_about(&events[i], pairs[j].ours, WRITE) ? 2U << 2 * j : 0;
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
        DONE(change(queue, pairs[i].ours, READ, flags));
        DONE(change(queue, pairs[i].ours, WRITE, flags));
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
    DONE(change(queue, pair.ours, WRITE, EV_DELETE));
    NEXT(queue, pair.ours, READ);
}

/* Between the one and the other it is no longer true. */
static void both_filters_one_no_more(void)
{
    struct pair pair = unix_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    DONE(change(queue, pair.ours, WRITE, EV_ADD));
    deliver(pair, 5, 5);
    seen_within(queue, &pair, 1, 1, 1);
    fill(pair.ours);
    NEXT(queue, pair.ours, READ);
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
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    DONE(change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    seen_within(queue, &pair, 1, 1, 1);
    DONE(close(pair.ours)); /* and with it goes the other one */
    EQUAL(dup2(pair.theirs, pair.ours), pair.ours);
    DONE(change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    NEXT(queue, pair.ours, WRITE);
    QUIET(queue);
}

static void more_than_room(void)
{
    enum { COUNT = 8, AT_A_TIME = 3 };
    struct pair pairs[COUNT];
    struct kevent events[ROOM];
    unsigned seen = 0;
    int queue = kqueue();

    for (int i = 0; i < COUNT; i++) {
        pairs[i] = pipe_pair();
        deliver(pairs[i], 1, 1);
        DONE(change(queue, pairs[i].ours, READ, EV_ADD));
    }
    for (int call = 0; call < 4; call++) {
        EQUAL(take(queue, events, AT_A_TIME, 0), AT_A_TIME);
        for (int i = 0; i < AT_A_TIME; i++)
            for (int j = 0; j < COUNT; j++)
                seen |= is_about(&events[i], pairs[j].ours, READ) ? 1U << j : 0;
    }
    EQUAL(seen, 255);
    EQUAL(take(queue, events, ROOM, 0), COUNT);
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
        DONE(change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    }
    for (int i = 0; i < COUNT; i++)
        EQUAL(take(queue, &event, 1, 0), 1);
    QUIET(queue);
}

/* ---- EV_CLEAR ---- */

static void clear_once(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    QUIET(queue);
    deliver(pair, 5, 5);
    struct kevent event = NEXT(queue, pair.ours, READ);
    EQUAL(event.data, 5);
    TRUE((event.flags & EV_CLEAR) != 0);
    QUIET(queue);
    deliver(pair, 3, 8);
    EQUAL(NEXT(queue, pair.ours, READ).data, 8); /* all that is unread */
    QUIET(queue);
    drain(pair.ours, 8);
    QUIET(queue);
    deliver(pair, 2, 2);
    drain(pair.ours, 2); /* before anybody asked */
    QUIET(queue);
}

static void clear_end_once(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    EQUAL(at_end(NEXT(queue, pair.ours, READ)), false);
    DONE(shutdown(pair.theirs, SHUT_WR));
    await_end(pair.ours);
    struct kevent event = NEXT(queue, pair.ours, READ);
    TRUE(at_end(event));
    EQUAL(event.data, 5);
    QUIET(queue);
    drain(pair.ours, 5);
    QUIET(queue);
}

static void clear_add_looks(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    deliver(pair, 5, 5);
    NEXT(queue, pair.ours, READ);
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    EQUAL(NEXT(queue, pair.ours, READ).data, 5);
    QUIET(queue);
    drain(pair.ours, 5);
    DONE(change(queue, pair.ours, READ, EV_ADD | EV_CLEAR));
    QUIET(queue);
}

static void clear_write(void)
{
    struct pair pair = tcp_pair_with(4096);
    struct kevent event = {.data = 0};
    int queue = queue_with(pair.ours, WRITE, EV_ADD | EV_CLEAR);

    event = NEXT(queue, pair.ours, WRITE);
    TRUE((event.flags & EV_CLEAR) != 0);
    QUIET(queue);
    do
        fill(pair.ours);
    while (take(queue, &event, 1, 50) == 1);
    QUIET(queue);
    struct pollfd look = {.fd = pair.theirs, .events = POLLIN};
    while (take(queue, &event, 1, 0) == 0) {
        EQUAL(poll(&look, 1, PATIENCE_MS), 1);
        drain_all(pair.theirs);
    }
    TRUE(is_about(&event, pair.ours, WRITE));
}

static void clear_both(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[ROOM];
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    DONE(change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR));
    NEXT(queue, pair.ours, WRITE);
    QUIET(queue);
    deliver(pair, 5, 5);
    int count = take(queue, events, ROOM, 0); /* the stand-in tells of the room once more */
    TRUE(count == 1 || count == 2);
    TRUE(is_about(&events[0], pair.ours, READ));
    QUIET(queue);
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    drain(pair.ours, 5);
    take(queue, events, ROOM, 0);
    deliver(pair, 5, 5);
    QUIET(queue);
}

/* ---- close(), fork() ---- */

static void close_forgets(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);
    int copy = dup(pair.ours);

    DONE(change(queue, pair.ours, WRITE, EV_ADD));
    DONE(close(pair.ours));
    EQUAL(write(pair.theirs, "12345", 5), 5);
    await_bytes(copy, 5);
    QUIET(queue);
    REFUSED(change(queue, pair.ours, READ, EV_DELETE), EBADF);
    EQUAL(dup2(copy, pair.ours), pair.ours);
    QUIET(queue);
    REFUSED(change(queue, pair.ours, READ, EV_DELETE), ENOENT);
    DONE(change(queue, pair.ours, READ, EV_ADD));
    EQUAL(NEXT(queue, pair.ours, READ).data, 5);
}

static void close_with_event_waiting(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);
    int copy = dup(pair.ours);

    deliver(pair, 5, 5);
    DONE(close(pair.ours));
    QUIET(queue);
    DONE(change(queue, copy, READ, EV_ADD));
    NEXT(queue, copy, READ);
}

static void copy_stays_watched(void)
{
    struct pair pair = tcp_pair();
    struct kevent events[ROOM];
    int queue = queue_with(pair.ours, READ, EV_ADD);
    int copy = dup(pair.ours);

    DONE(change(queue, copy, READ, EV_ADD));
    deliver(pair, 5, 5);
    EQUAL(take(queue, events, ROOM, 0), 2);
    DONE(close(pair.ours));
    NEXT(queue, copy, READ);
    DONE(close(copy));
    QUIET(queue);
}

static void close_pair_then_batch(void)
{
    struct pair pairs[3], gone;
    int queue = queue_of_pairs(pairs, 3, EV_ADD);
    struct kevent events[ROOM];

    DONE(close(pairs[1].ours));
    EQUAL(take(queue, events, ROOM, 0), 4);
    gone = pairs[1];
    pairs[1] = pairs[2];
    EQUAL(seen_within(queue, pairs, 2, ROOM, 1), 15);
    DONE(close(pairs[0].ours));
    DONE(change(queue, pairs[1].ours, READ, EV_DELETE));
    NEXT(queue, pairs[1].ours, WRITE);
    DONE(close(pairs[1].ours));
    QUIET(queue);
    DONE(close(gone.theirs));
    for (int i = 0; i < 2; i++) { /* and now there is room for one of each */
        pairs[i] = pipe_pair();
        DONE(change(queue, pairs[i].theirs, WRITE, EV_ADD));
    }
    EQUAL(take(queue, events, 2, 0), 2);
}

static void descriptor_reused(void)
{
    struct pair first = tcp_pair();
    int queue = kqueue();

    DONE(change_tagged(queue, first.ours, READ, EV_ADD | EV_DISABLE, 1));
    DONE(change_tagged(queue, first.ours, WRITE, EV_ADD, 2));
    DONE(close(first.ours));
    struct pair second = pipe_pair();
    EQUAL(second.ours, first.ours); /* the lowest that is free */
    deliver(second, 5, 5);
    QUIET(queue);
    REFUSED(change(queue, second.ours, READ, EV_DELETE), ENOENT);
    REFUSED(change(queue, second.ours, WRITE, EV_DELETE), ENOENT);
    DONE(change(queue, second.ours, READ, EV_ADD));
    struct kevent event = NEXT(queue, second.ours, READ);
    EQUAL(event.data, 5);
    TRUE(event.udata == NULL);
}

static void several_queues(void)
{
    struct pair pair = tcp_pair();
    int first = kqueue(), second = queue_with(pair.ours, WRITE, EV_ADD),
        third = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    TRUE(first != second && second != third && first != third);
    DONE(change_tagged(first, pair.ours, READ, EV_ADD, 7));
    deliver(pair, 5, 5);
    TRUE(NEXT(first, pair.ours, READ).udata != NULL);
    TRUE(NEXT(second, pair.ours, WRITE).udata == NULL);
    NEXT(third, pair.ours, READ);
    QUIET(third);
    NEXT(first, pair.ours, READ);
    REFUSED(change(second, pair.ours, READ, EV_DELETE), ENOENT);
    DONE(close(second));
    NEXT(first, pair.ours, READ);
    DONE(change(first, pair.ours, READ, EV_DELETE));
    QUIET(first);
    DONE(change(third, pair.ours, READ, EV_ADD | EV_CLEAR));
    DONE(change(first, pair.ours, READ, EV_ADD));
    DONE(close(pair.ours)); /* takes it off each of them */
    QUIET(first);
    QUIET(third);
    EQUAL(dup(pair.theirs), pair.ours);
    REFUSED(change(first, pair.ours, READ, EV_DELETE), ENOENT);
    REFUSED(change(third, pair.ours, READ, EV_DELETE), ENOENT);
    DONE(change(first, pair.ours, READ, EV_ADD | EV_DISABLE));
    DONE(change(third, pair.ours, READ, EV_ADD | EV_DISABLE));
    DONE(close(pair.ours)); /* the disabled too */
    EQUAL(dup(pair.theirs), pair.ours);
    REFUSED(change(first, pair.ours, READ, EV_DELETE), ENOENT);
    REFUSED(change(third, pair.ours, READ, EV_DELETE), ENOENT);
}

static void queue_in_queue(void)
{
    struct pair pair = tcp_pair();
    int outer = kqueue(), inner = queue_with(pair.ours, READ, EV_ADD);

    DONE(change(outer, inner, READ, EV_ADD));
    QUIET(outer);
    deliver(pair, 5, 5);
    NEXT(outer, inner, READ);
    NEXT(inner, pair.ours, READ);
    DONE(change(outer, inner, READ, EV_DISABLE));
    DONE(close(inner));
    QUIET(outer);
    EQUAL(dup(pair.ours), inner);
    REFUSED(change(outer, inner, READ, EV_DELETE), ENOENT);
}

static void not_a_queue(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);
    struct kevent event;

    DONE(close(queue));
    REFUSED(take(queue, &event, 1, 0), EBADF);
    REFUSED(change(queue, pair.ours, READ, EV_DELETE), EBADF);
    REFUSED(take(pair.ours, &event, 1, 0), EBADF);
    REFUSED(take(-1, &event, 1, 0), EBADF);
    REFUSED(close(queue), EBADF);
    int second = kqueue(); /* has the number of the first, and nothing else of it */
    EQUAL(second, queue);
    deliver(pair, 5, 5);
    QUIET(second);
    DONE(close(second));
    EQUAL(dup(pair.ours), second);
    REFUSED(take(second, &event, 1, 0), EBADF);
}

static void child_without_queue(int queue)
{
    struct kevent event;

    REFUSED(fcntl(queue, F_GETFD), EBADF);
    REFUSED(take(queue, &event, 1, 0), EBADF);
    struct pair pair = tcp_pair();
    deliver(pair, 5, 5);
    int own = queue_with(pair.ours, READ, EV_ADD);
    EQUAL(NEXT(own, pair.ours, READ).data, 5);
    DONE(close(own));
}

static void fork_has_no_queue(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    deliver(pair, 5, 5);
    in_child(child_without_queue, queue);
    EQUAL(NEXT(queue, pair.ours, READ).data, 5); /* and ours is as it was */
    DONE(change(queue, pair.ours, READ, EV_DELETE));
    QUIET(queue);
}

static void close_it(int fd)
{
    DONE(close(fd));
}

static void child_closes(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    in_child(close_it, pair.ours);
    deliver(pair, 5, 5);
    NEXT(queue, pair.ours, READ);
}

/* ---- time ---- */

static long long now_us(void)
{
    struct timespec now;

    DONE(clock_gettime(CLOCK_MONOTONIC, &now));
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

    for (int i = 0; i < 1000; i++) /* were it a millisecond each, it would take a second */
        QUIET(queue);
    deliver(pair, 5, 5);
    NEXT(queue, pair.ours, READ);
}

/* A little later, so that as a rule the parent waits already.  The case holds in any order. */
static void write_later(int fd)
{
    poll(NULL, 0, 50);
    EQUAL(write(fd, "later", 5), 5);
}

static pid_t begin_child(void (*work)(int), int argument)
{
    pid_t child = fork();

    DONE(child);
    if (child != 0)
        return child;
    alarm(SECONDS);
    work(argument);
    _exit(0);
}

static void timeout_null(void)
{
    struct pair pair = tcp_pair();
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);
    pid_t child = begin_child(write_later, pair.theirs);

    EQUAL(kevent(queue, NULL, 0, &event, 1, NULL), 1);
    EQUAL(event.data, 5);
    EQUAL(waitpid(child, NULL, 0), child);
    drain(pair.ours, 5);
    child = begin_child(write_later, pair.theirs);
    struct timespec weeks = {.tv_sec = 100000000}; /* more milliseconds than an int has */
    EQUAL(kevent(queue, NULL, 0, &event, 1, &weeks), 1);
    EQUAL(waitpid(child, NULL, 0), child);
}

static void timeout_bad(void)
{
    struct pair pair = tcp_pair();
    struct timespec bad[] = {{.tv_sec = -1}, {.tv_nsec = -1}, {.tv_sec = -5, .tv_nsec = 5}};
    struct kevent wish = change_of(pair.ours, READ, EV_ADD | EV_CLEAR), event;
    int queue = kqueue();

    deliver(pair, 5, 5);
    for (int i = 0; i < 3; i++) {
        REFUSED(kevent(queue, &wish, 1, &event, 1, &bad[i]), EINVAL);
        EQUAL(kevent(queue, NULL, 0, NULL, 0, &bad[i]), 0); /* it does not get to wait */
    }
    NEXT(queue, pair.ours, READ); /* the change was made, and no event used up */
}

static void timeout_whole_second(void)
{
    struct pair pair = tcp_pair();
    struct timespec bad = {.tv_nsec = 1000000000};
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);

    REFUSED(kevent(queue, NULL, 0, &event, 1, &bad), EINVAL);
}

static void timeout_huge(void)
{
    struct pair pair = tcp_pair();
    struct timespec huge = {.tv_sec = 100000000};
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD);

#if defined __linux__ || defined __FreeBSD__ /* others may have a limit */
    huge.tv_sec = sizeof huge.tv_sec > 4 ? (time_t)(INT64_MAX / 2) : INT_MAX;
#endif
    deliver(pair, 5, 5);
    EQUAL(kevent(queue, NULL, 0, &event, 1, &huge), 1);
}

static void note_signal(int number)
{
    (void)number;
}

/* Signals, until the parent has seen one and ends us: one alone might come before it waits. */
static void send_signals(int parent)
{
    while (getppid() == (pid_t)parent) {
        kill((pid_t)parent, SIGUSR1);
        poll(NULL, 0, 5);
    }
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = note_signal};
    struct pair pair = tcp_pair();
    struct kevent event;
    int queue = queue_with(pair.ours, READ, EV_ADD | EV_CLEAR);

    for (int i = 0; i < 2; i++) {
        action.sa_flags = i == 0 ? 0 : SA_RESTART; /* either way */
        DONE(sigaction(SIGUSR1, &action, NULL));
        pid_t child = begin_child(send_signals, (int)getpid());
        REFUSED(kevent(queue, NULL, 0, &event, 1, NULL), EINTR);
        DONE(kill(child, SIGKILL));
        while (waitpid(child, NULL, 0) == -1)
            EQUAL(errno, EINTR);
    }
    deliver(pair, 5, 5);
    NEXT(queue, pair.ours, READ);
}

/* ---- size ---- */

static void many_descriptors(void)
{
    enum { COUNT = 60, FROM = 150 };
    struct pair pair = pipe_pair();
    struct kevent events[ROOM];
    bool seen[COUNT] = {false};
    int queue = queue_with(pair.ours, READ, EV_ADD);

    for (int i = 0; i < COUNT; i++) {
        int fd = fcntl(pair.ours, F_DUPFD, FROM + i);
        EQUAL(fd, FROM + i);
        REFUSED(change(queue, fd, READ, EV_DELETE), ENOENT);
        DONE(change_tagged(queue, fd, READ, EV_ADD, i));
    }
    deliver(pair, 1, 1);
    EQUAL(take(queue, events, ROOM, 0), COUNT + 1);
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
    QUIET(queue);
}

static void no_leak(void)
{
    struct pair pair = pipe_pair();
    int first = kqueue();

    DONE(close(first));
    for (int i = 0; i < 2000; i++) {
        int queue = queue_with(pair.ours, READ, EV_ADD);
        EQUAL(queue, first); /* the lowest that is free */
        QUIET(queue);
        DONE(close(queue));
    }
}

/* ---- what only the stand-in does ---- */

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
    DONE(kqueue());
    int queue = kqueue();
    DONE(close(queue));
    in_child(one_more, 0);
    DONE(kqueue());
    ssize_t length = read(words.ours, text, sizeof text - 1);
    TRUE(length > 0);
    text[length] = '\0';
    for (char *word = text; (word = strstr(word, "kqueue emulation")) != NULL; word++)
        count++;
    EQUAL(count, 1);
    EQUAL(text[length - 1], '\n');
}

static void refused_here(void)
{
    struct pair pair = tcp_pair();
    int queue = queue_with(pair.ours, READ, EV_ADD);

    REFUSED(change(queue, pair.ours, WRITE, EV_ADD | 0x0010), EINVAL);   /* EV_ONESHOT */
    REFUSED(change(queue, pair.ours, WRITE, EV_ADD | 0x0080), EINVAL);   /* EV_DISPATCH */
    REFUSED(change(queue, pair.ours, WRITE, EV_ADD | EV_CLEAR), EINVAL); /* READ is without */
    REFUSED(change(queue, pair.ours, WRITE, EV_DELETE), ENOENT);
    FILE *file = tmpfile();
    TRUE(file != NULL);
    REFUSED(change(queue, fileno(file), READ, EV_ADD), EPERM);
    REFUSED(change(queue, fileno(file), READ, EV_DELETE), ENOENT);
    deliver(pair, 5, 5);
    EQUAL(NEXT(queue, pair.ours, READ).data, 5);
}
#endif

/* ---- the list ---- */

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
            alarm(SECONDS); /* whatever hangs */
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
