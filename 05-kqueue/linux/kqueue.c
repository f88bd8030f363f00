/* kqueue() and kevent() over epoll: a stand-in, so that stage 05 can be run on Linux.
 *
 * A queue is an epoll descriptor and a table of what is waited for, by descriptor: a "knote" for
 * each of the two filters, as a BSD calls it.  epoll has one entry for a descriptor where kqueue
 * has two knotes, so one event from epoll becomes up to two.
 *
 * It keeps to what FreeBSD and NetBSD do, and tests/kqueue-stand-in.bats has a test for each point.
 * It cannot do these:
 * - Linux tells which error waits in a socket only to who takes it away (SO_ERROR, socket(7)), and
 *   the program wants to find it with recv().  So fflags is ECONNRESET whichever it is.
 * - epoll has one entry for both filters.  So EV_CLEAR is for both or for none (else EINVAL), and
 *   then news for one may report the other once more.
 * - While both filters are enabled somewhere, a batch can be shorter than the room that it has.
 * - Regular files are refused (EPERM), a socket that never was connected is at its end, and of a
 *   listener that is not TCP's, data is 1.
 * - A queue has one descriptor: dup() makes none that works, and exec() none that stays. */
#define _GNU_SOURCE /* F_GETPIPE_SZ */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct knote {
    bool there, enabled, clear;
    void *udata;
};

/* What is waited for at one descriptor.  epoll knows of it as long as a knote is enabled. */
struct watched {
    struct knote reading, writing;
    bool in_epoll;
};

/* The table never grows: memory from mmap() costs nothing where it is never touched. */
#define CAPACITY (1 << 20)
#define TABLE_SIZE (CAPACITY * sizeof(struct watched))

static struct queue {
    struct queue *next;
    int epoll_fd;            /* to the program this is the queue */
    struct watched *watched; /* by descriptor, CAPACITY of them */
    int pairs;               /* descriptors at which both filters are enabled */
    struct epoll_event *ready;
    int room; /* of ready */
    int left; /* of a pair at this descriptor READ was told, and WRITE found no room; -1: none */
} * queues;

static struct queue *find_queue(int fd)
{
    struct queue *queue = queues;

    while (queue != NULL && queue->epoll_fd != fd)
        queue = queue->next;
    return queue;
}

static void forget_queue(struct queue *gone)
{
    struct queue **link = &queues;

    while (*link != gone)
        link = &(*link)->next;
    *link = gone->next;
    munmap(gone->watched, TABLE_SIZE);
    free(gone->ready);
    free(gone);
}

/* In a child made by fork() the queues are not there, kqueue(2). */
static void forget_all(void)
{
    while (queues != NULL) {
        syscall(SYS_close, queues->epoll_fd);
        forget_queue(queues);
    }
}

int kqueue(void)
{
    static bool called;
    struct queue *queue = calloc(1, sizeof *queue);

    if (queue == NULL)
        return -1;
    queue->watched = mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (queue->watched == MAP_FAILED) {
        free(queue);
        return -1;
    }
    queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (queue->epoll_fd == -1) {
        munmap(queue->watched, TABLE_SIZE);
        free(queue);
        return -1;
    }
    queue->left = -1;
    queue->next = queues;
    queues = queue;
    if (!called) {
        pthread_atfork(NULL, NULL, forget_all);
        fputs("Linux has no kqueue: this is a stand-in over epoll.  It shows the program's\n"
              "logic, and proves nothing about a BSD's kernel.\n",
              stderr);
    }
    called = true;
    return queue->epoll_fd;
}

/* This replaces the C library's close() in the whole program. */
int close(int fd)
{
    for (struct queue *queue = queues, *next; queue != NULL; queue = next) {
        next = queue->next;
        if (queue->epoll_fd == fd) {
            forget_queue(queue);
            continue;
        }
        if (fd < 0 || fd >= CAPACITY)
            continue;
        struct watched *watched = &queue->watched[fd];
        if (watched->reading.enabled && watched->writing.enabled)
            queue->pairs--;
        if (watched->in_epoll) /* while it can be named: a copy would keep it in epoll's list */
            epoll_ctl(queue->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        if (queue->left == fd)
            queue->left = -1;
        *watched = (struct watched){0};
    }
    return (int)syscall(SYS_close, fd);
}

/* ---- changes ---- */

/* Bring epoll's entry up to date.  EPOLLERR and EPOLLHUP come unasked, so an entry of which nothing
 * is wanted has to go.  EPOLL_CTL_MOD reports again what is ready, and so does EV_ADD on a BSD. */
static bool tell_epoll(int epoll_fd, int fd, struct watched *watched)
{
    struct epoll_event event = {.data.fd = fd};

    if (watched->reading.enabled)
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (watched->writing.enabled)
        event.events |= EPOLLOUT;
    bool wanted = event.events != 0;
    if (watched->reading.clear || watched->writing.clear)
        event.events |= EPOLLET;
    if (!wanted && !watched->in_epoll)
        return true;
    int operation = !wanted ? EPOLL_CTL_DEL : watched->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_fd, operation, fd, &event) == -1)
        return false;
    watched->in_epoll = wanted;
    return true;
}

/* A knote as this change leaves it.  EV_ADD alone does not enable what was disabled; and of one
 * that is there it changes udata only. */
static struct knote changed(struct knote note, const struct kevent *change)
{
    if ((change->flags & EV_DELETE) != 0)
        return (struct knote){0};
    if ((change->flags & EV_ADD) != 0) {
        if (!note.there)
            note = (struct knote){
                .there = true, .enabled = true, .clear = (change->flags & EV_CLEAR) != 0};
        note.udata = change->udata;
    }
    if ((change->flags & EV_DISABLE) != 0)
        note.enabled = false;
    if ((change->flags & EV_ENABLE) != 0)
        note.enabled = true;
    return note;
}

static bool is_pair(const struct watched *watched)
{
    return watched->reading.enabled && watched->writing.enabled;
}

/* One change: 0, or an errno, and then everything is as it was. */
static int make_change(struct queue *queue, const struct kevent *change)
{
    const unsigned known = EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | EV_CLEAR | EV_RECEIPT;
    bool reading = change->filter == EVFILT_READ;
    int fd = change->ident <= INT_MAX ? (int)change->ident : -1;

    if ((change->flags & ~(known | EV_SYSFLAGS)) != 0 ||
        (!reading && change->filter != EVFILT_WRITE))
        return EINVAL;
    if (fcntl(fd, F_GETFD) == -1)
        return EBADF;
    if (fd >= CAPACITY)
        return ENOMEM;
    struct watched before = queue->watched[fd], after = before;
    struct knote *note = reading ? &after.reading : &after.writing;
    const struct knote *other = reading ? &after.writing : &after.reading;
    if (!note->there && (change->flags & EV_ADD) == 0)
        return ENOENT;
    *note = changed(*note, change);
    if (note->there && other->there && note->clear != other->clear)
        return EINVAL; /* epoll has one EPOLLET for both */
    if (!tell_epoll(queue->epoll_fd, fd, &after))
        return errno;
    queue->watched[fd] = after;
    queue->pairs += is_pair(&after) - is_pair(&before);
    return 0;
}

/* ---- events ---- */

/* READ: the bytes that wait, or the clients in a listener's backlog. */
static int64_t waiting(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int bytes;

    if (ioctl(fd, FIONREAD, &bytes) == 0)
        return bytes;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_unacked; /* of a listener this is the backlog */
    return 1;
}

/* WRITE: how much room there is, of a buffer in which Linux keeps its own notes too. */
static int64_t free_space(int fd)
{
    int size = 0, used = 0;
    socklen_t length = sizeof size;

    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0)
        ioctl(fd, TIOCOUTQ, &used);
    else if ((size = fcntl(fd, F_GETPIPE_SZ)) > 0)
        ioctl(fd, FIONREAD, &used);
    return size > used ? size - used : 0;
}

/* Has this side of a connection said that it sends no more?  (If the other has too, EPOLLHUP says
 * it.)  A TCP socket tells its state.  A local one refuses even to send nothing. */
static bool sends_no_more(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int value = 0;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == -1) {
        size = sizeof value;
        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) == 0 && value == AF_UNIX &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) == 0 && value == SOCK_STREAM &&
               send(fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) == -1 && errno == EPIPE;
    }
    return info.tcpi_state == TCP_FIN_WAIT1 || info.tcpi_state == TCP_FIN_WAIT2;
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

static struct kevent make_event(int fd, short filter, const struct knote *note, uint32_t ready)
{
    struct kevent event = {.ident = (unsigned)fd, .filter = filter, .udata = note->udata};
    const uint32_t broken = EPOLLERR | EPOLLHUP;

    event.flags = note->clear ? EV_CLEAR : 0;
    event.fflags = (ready & EPOLLERR) != 0 && is_socket(fd) ? ECONNRESET : 0;
    event.data = filter == EVFILT_READ ? waiting(fd) : free_space(fd);
    if ((ready & broken) != 0 || (filter == EVFILT_READ && (ready & EPOLLRDHUP) != 0) ||
        (filter == EVFILT_WRITE && sends_no_more(fd)))
        event.flags |= EV_EOF;
    return event;
}

/* What epoll said of one descriptor, as one event or two: how many.  If two do not fit, the
 * other one is the first of the next call. */
static int translate(struct queue *queue, const struct epoll_event *from, struct kevent *to,
                     int room)
{
    const struct watched *watched = &queue->watched[from->data.fd];
    const uint32_t broken = EPOLLERR | EPOLLHUP;
    bool reading = watched->reading.enabled && (from->events & ~(uint32_t)EPOLLOUT) != 0;
    bool writing = watched->writing.enabled && (from->events & (EPOLLOUT | broken)) != 0;
    int count = 0;

    if (reading && writing && room == 1) {
        writing = false;
        queue->left = from->data.fd;
    }
    if (reading)
        to[count++] = make_event(from->data.fd, EVFILT_READ, &watched->reading, from->events);
    if (writing)
        to[count++] = make_event(from->data.fd, EVFILT_WRITE, &watched->writing, from->events);
    return count;
}

/* The WRITE that found no room in the last call, if it is still true: 0 or 1.  With EV_CLEAR epoll
 * would not tell of it again; and where there is room for one only, both have their turn. */
static int give_left(struct queue *queue, struct kevent *to)
{
    struct pollfd look = {.fd = queue->left, .events = POLLOUT};

    if (poll(&look, 1, 0) != 1 || (look.revents & POLLNVAL) != 0 ||
        !queue->watched[look.fd].writing.enabled)
        return 0;
    *to =
        make_event(look.fd, EVFILT_WRITE, &queue->watched[look.fd].writing, (uint32_t)look.revents);
    return 1;
}

/* epoll_wait() for as long as kevent() may: it counts in milliseconds, and not beyond INT_MAX. */
static int wait_for(struct queue *queue, int most, const struct timespec *timeout)
{
    int64_t left = -1;
    int count, ms;

    if (timeout != NULL) /* 68 years are as good as more */
        left = (timeout->tv_sec < INT_MAX ? timeout->tv_sec : INT_MAX) * (int64_t)1000 +
               (timeout->tv_nsec + 999999) / 1000000;
    do {
        ms = left > INT_MAX ? INT_MAX : (int)left;
        count = epoll_wait(queue->epoll_fd, queue->ready, most, ms);
        left -= ms;
    } while (count == 0 && left > 0);
    return count;
}

static int collect(struct queue *queue, struct kevent *events, int nevents,
                   const struct timespec *timeout)
{
    int most = queue->pairs > 0 && nevents > 1 ? nevents / 2 : nevents;
    int filled = 0;

    if (queue->left != -1 && (nevents == 1 || queue->watched[queue->left].writing.clear))
        filled = give_left(queue, events);
    queue->left = -1;
    if (filled > 0)
        return filled;
    if (queue->room < most) {
        struct epoll_event *larger = realloc(queue->ready, (size_t)most * sizeof *larger);
        if (larger == NULL)
            return -1;
        queue->ready = larger;
        queue->room = most;
    }
    int count = wait_for(queue, most, timeout);
    if (count == -1)
        return -1;
    for (int i = 0; i < count; i++)
        filled += translate(queue, &queue->ready[i], &events[filled], nevents - filled);
    return filled;
}

int kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout)
{
    struct queue *queue = find_queue(fd);
    int answers = 0;

    if (queue == NULL) {
        errno = EBADF;
        return -1;
    }
    for (int i = 0; i < nchanges; i++) {
        int error = make_change(queue, &changes[i]);
        if (error == 0 && (changes[i].flags & EV_RECEIPT) == 0)
            continue;
        if (answers == nevents) {
            if (error == 0) /* EV_RECEIPT: the call ends here too, and says nothing */
                return 0;
            errno = error;
            return -1;
        }
        struct kevent answer = changes[i]; /* changes may be the same array as events */
        answer.flags = EV_ERROR;
        answer.data = error;
        events[answers++] = answer;
    }
    if (answers > 0 || nevents == 0)
        return answers;
    if (timeout != NULL &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
        errno = EINVAL;
        return -1;
    }
    return collect(queue, events, nevents, timeout);
}
