/* kqueue() and kevent(), emulated with epoll so that stage 05 runs on Linux.
 *
 * What it promises: for EVFILT_READ and EVFILT_WRITE it answers as FreeBSD and NetBSD do, except
 * for the limits below.  tests/kqueue-emulation.bats has a test for each answer; on a BSD the same
 * tests ask the kernel.
 *
 * How it works: a kqueue is an epoll descriptor and a table of knotes, indexed by descriptor.  A
 * knote is what the BSD kernels call a registration: one descriptor and one filter.  epoll has one
 * entry for each descriptor, so one event from epoll becomes one or two events of kevent().
 *
 * Limits:
 * - Only kqueue is emulated.  The sockets answer as Linux does: chapter 5 lists the differences.
 * - fflags is ECONNRESET for every error of a socket.  Linux reveals a pending error only by
 *   SO_ERROR, which also clears it (socket(7)), and then recv() could no longer return it.
 * - Both filters of a descriptor have EV_CLEAR or neither has it, because EPOLLET belongs to the
 *   whole epoll entry.  A change that would make them differ fails with EINVAL.  With EV_CLEAR, a
 *   new event for one filter may repeat the last event of the other.
 * - While any descriptor has both filters enabled, kevent() may return fewer events than would fit.
 * - Only close() removes the knotes of a descriptor.  If dup2(), fclose() or close_range() closes
 *   it, its disabled knotes remain, and its enabled ones remain until the next change to the
 *   descriptor.  If another descriptor refers to the same open file, epoll keeps its entry for as
 *   long, and kevent() may then return 0 events before the time is up.
 * - EV_ADD for a regular file fails with EPERM, epoll_ctl(2).  A socket that was never connected
 *   has EV_EOF.  The data of a listener is 1 unless it is a TCP listener.
 * - EVFILT_WRITE on a pipe without a reader is accepted and reports EV_EOF; a BSD refuses it.
 * - SIGCONT interrupts a wait with EINTR, which happens on Linux only, signal(7).
 * - A kqueue has one descriptor: a copy made by dup() is not a kqueue.  exec() closes it.
 * - Only one thread may use it. */
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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the table of knotes ---- */

struct knote {
    void *udata;
    bool exists, enabled, clear;
};

/* The knotes of one descriptor.  epoll has an entry for it while one of them is enabled. */
struct knotes {
    struct knote read, write;
};

/* The table consists of blocks.  A block is allocated when a descriptor in it is first watched, it
 * never moves, and it is freed with its kqueue.  It fills a page: 32 bytes for each descriptor. */
#define BLOCK_SIZE 128

struct kqueue {
    struct kqueue *next;
    int fd;                           /* the epoll descriptor; the program uses it as its kqueue */
    struct knotes **blocks;           /* block_count pointers; NULL where nothing was watched */
    int block_count;                  /* the table ends at descriptor block_count * BLOCK_SIZE */
    int pair_count;                   /* descriptors that have both filters enabled */
    int deferred_fd;                  /* its EVFILT_WRITE event did not fit; -1 if none */
    int epoll_capacity;               /* of epoll_events */
    struct epoll_event *epoll_events; /* what the last epoll_wait() returned */
};

static struct kqueue *kqueues;

static struct kqueue *find_kqueue(int fd)
{
    struct kqueue *kq = kqueues;

    while (kq != NULL && kq->fd != fd)
        kq = kq->next;
    return kq;
}

/* Returns NULL if there is no block for fd: nothing in it has been watched. */
static struct knotes *find_knotes(const struct kqueue *kq, int fd)
{
    int block = fd / BLOCK_SIZE;

    if (fd < 0 || block >= kq->block_count || kq->blocks[block] == NULL)
        return NULL;
    return &kq->blocks[block][fd % BLOCK_SIZE];
}

/* Like find_knotes(), but allocates the block.  Returns NULL if there is no memory. */
static struct knotes *find_or_allocate_knotes(struct kqueue *kq, int fd)
{
    int block = fd / BLOCK_SIZE;

    if (block >= kq->block_count) {
        size_t size = ((size_t)block + 1) * sizeof kq->blocks[0];
        struct knotes **blocks = realloc(kq->blocks, size);
        if (blocks == NULL)
            return NULL;
        kq->blocks = blocks;
        while (kq->block_count <= block)
            kq->blocks[kq->block_count++] = NULL;
    }
    if (kq->blocks[block] == NULL)
        kq->blocks[block] = calloc(BLOCK_SIZE, sizeof(struct knotes));
    return find_knotes(kq, fd);
}

static bool is_pair(const struct knotes *knotes)
{
    return knotes->read.enabled && knotes->write.enabled;
}

static void set_knotes(struct kqueue *kq, struct knotes *knotes, struct knotes new_knotes)
{
    kq->pair_count += is_pair(&new_knotes) - is_pair(knotes);
    *knotes = new_knotes;
}

/* The events that epoll reports for these knotes; 0 means that it has no entry for them. */
static uint32_t epoll_mask(const struct knotes *knotes)
{
    uint32_t mask = 0;

    if (knotes->read.enabled)
        mask |= EPOLLIN | EPOLLRDHUP;
    if (knotes->write.enabled)
        mask |= EPOLLOUT;
    if (mask != 0 && (knotes->read.clear || knotes->write.clear))
        mask |= EPOLLET;
    return mask;
}

/* ---- kqueue() and close() ---- */

static void free_kqueue(struct kqueue *kq)
{
    struct kqueue **link = &kqueues;

    while (*link != kq)
        link = &(*link)->next;
    *link = kq->next;
    for (int i = 0; i < kq->block_count; i++)
        free(kq->blocks[i]);
    free(kq->blocks);
    free(kq->epoll_events);
    free(kq);
}

/* A child process does not inherit a kqueue by fork(), kqueue(2). */
static void close_kqueues_in_child(void)
{
    while (kqueues != NULL) {
        syscall(SYS_close, kqueues->fd);
        free_kqueue(kqueues);
    }
}

static void at_first_kqueue(void)
{
    static bool called;

    if (called)
        return;
    called = true;
    pthread_atfork(NULL, NULL, close_kqueues_in_child);
    fputs("Linux has no kqueue, so this program uses a kqueue emulation over epoll.\n"
          "It tests the program's logic and proves nothing about a BSD kernel.\n",
          stderr);
}

int kqueue(void)
{
    struct kqueue *kq = calloc(1, sizeof *kq);

    if (kq == NULL)
        return -1;
    kq->fd = epoll_create1(EPOLL_CLOEXEC);
    if (kq->fd == -1) {
        int error = errno;
        free(kq);
        errno = error;
        return -1;
    }
    kq->deferred_fd = -1;
    kq->next = kqueues;
    kqueues = kq;
    at_first_kqueue();
    return kq->fd;
}

/* Remove the knotes of fd, which is still open: epoll needs it to find its entry, and would keep
 * the entry for as long as another descriptor or process has the file open. */
static void forget_fd(struct kqueue *kq, int fd)
{
    struct knotes *knotes = find_knotes(kq, fd);

    if (knotes == NULL)
        return;
    if (epoll_mask(knotes) != 0)
        epoll_ctl(kq->fd, EPOLL_CTL_DEL, fd, NULL);
    if (kq->deferred_fd == fd)
        kq->deferred_fd = -1;
    set_knotes(kq, knotes, (struct knotes){0});
}

/* This replaces the C library's close() in the whole program, because on a BSD close() removes a
 * descriptor from every kqueue. */
int close(int fd)
{
    struct kqueue *next;
    int saved_errno = errno;

    for (struct kqueue *kq = kqueues; kq != NULL; kq = next) {
        next = kq->next;
        if (kq->fd == fd)
            free_kqueue(kq);
        else
            forget_fd(kq, fd);
    }
    errno = saved_errno; /* a close() that succeeds leaves it alone */
    return (int)syscall(SYS_close, fd);
}

/* ---- changes ---- */

/* Bring epoll's entry up to date.  An entry without enabled knotes has to be deleted, because epoll
 * would still report EPOLLERR and EPOLLHUP.  EPOLL_CTL_MOD reports again what is ready, even if
 * nothing has changed; EV_ADD on a BSD does the same. */
static bool update_epoll(int epoll_fd, int fd, const struct knotes *before,
                         const struct knotes *after)
{
    struct epoll_event event = {.events = epoll_mask(after), .data.fd = fd};
    bool has_entry = epoll_mask(before) != 0;

    if (event.events == 0)
        return !has_entry || epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, &event) == 0;
    return epoll_ctl(epoll_fd, has_entry ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0;
}

/* The knote as the change leaves it.  EV_ADD of a knote that exists replaces its udata only; it
 * neither enables the knote nor changes EV_CLEAR. */
static struct knote changed_knote(struct knote knote, const struct kevent *change)
{
    if ((change->flags & EV_DELETE) != 0)
        return (struct knote){0};
    if ((change->flags & EV_ADD) != 0) {
        if (!knote.exists)
            knote = (struct knote){
                .exists = true, .enabled = true, .clear = (change->flags & EV_CLEAR) != 0};
        knote.udata = change->udata;
    }
    if ((change->flags & EV_DISABLE) != 0)
        knote.enabled = false;
    if ((change->flags & EV_ENABLE) != 0)
        knote.enabled = true;
    return knote;
}

/* Apply a valid change to the knotes of fd.  Returns 0, or an errno if nothing was changed. */
static int change_knotes(struct kqueue *kq, int fd, struct knotes *knotes,
                         const struct kevent *change)
{
    struct knotes after = *knotes;
    bool is_read = change->filter == EVFILT_READ;
    struct knote *knote = is_read ? &after.read : &after.write;
    const struct knote *other = is_read ? &after.write : &after.read;

    if (!knote->exists && (change->flags & EV_ADD) == 0)
        return ENOENT;
    *knote = changed_knote(*knote, change);
    if (knote->exists && other->exists && knote->clear != other->clear)
        return EINVAL;
    if (update_epoll(kq->fd, fd, knotes, &after)) {
        set_knotes(kq, knotes, after);
        return 0;
    }
    if (errno != ENOENT)
        return errno;
    /* epoll has dropped its entry: dup2() or fclose() has closed the file that was watched.  So the
     * knotes do not exist either, and the change is applied again, this time without them. */
    set_knotes(kq, knotes, (struct knotes){0});
    return change_knotes(kq, fd, knotes, change);
}

static int make_change(struct kqueue *kq, const struct kevent *change)
{
    const unsigned known = EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | EV_CLEAR | EV_RECEIPT;
    int fd = change->ident <= INT_MAX ? (int)change->ident : -1;

    if ((change->flags & ~(known | EV_SYSFLAGS)) != 0 ||
        (change->filter != EVFILT_READ && change->filter != EVFILT_WRITE))
        return EINVAL;
    if (fcntl(fd, F_GETFD) == -1)
        return EBADF;
    struct knotes *knotes = find_knotes(kq, fd);
    if (knotes == NULL && (change->flags & EV_ADD) == 0)
        return ENOENT;
    if (knotes == NULL)
        knotes = find_or_allocate_knotes(kq, fd);
    if (knotes == NULL)
        return ENOMEM;
    return change_knotes(kq, fd, knotes, change);
}

/* Make the changes in order, and answer those that fail or have EV_RECEIPT.  Returns true, and the
 * number of answers in *result.  If an answer does not fit, the call of kevent() ends there:
 * returns false, and what kevent() returns in *result. */
static bool make_changes(struct kqueue *kq, const struct kevent *changes, int nchanges,
                         struct kevent *events, int nevents, int *result)
{
    int answers = 0;

    for (int i = 0; i < nchanges; i++) {
        int error = make_change(kq, &changes[i]);
        if (error == 0 && (changes[i].flags & EV_RECEIPT) == 0)
            continue;
        if (answers == nevents) {
            if (error != 0)
                errno = error;
            *result = error == 0 ? 0 : -1;
            return false;
        }
        struct kevent answer = changes[i]; /* a copy: changes may be the same array as events */
        answer.flags = EV_ERROR;
        answer.data = error;
        events[answers++] = answer;
    }
    *result = answers;
    return true;
}

/* ---- what an event says ---- */

/* The data of EVFILT_READ: the unread bytes, or for a listener the length of its backlog. */
static int64_t unread_bytes(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int bytes;

    if (ioctl(fd, FIONREAD, &bytes) == 0)
        return bytes;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_unacked; /* of a listener, this is its backlog */
    return 1;
}

/* The data of EVFILT_WRITE: the free space in the send buffer or pipe.  It is an estimate, because
 * Linux also counts its own bookkeeping against SO_SNDBUF, socket(7). */
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

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Has the program shut down its own sending side, while the peer has not?  (When both have, epoll
 * reports EPOLLHUP.)  For TCP the state of the connection tells; on a Unix socket, even a send() of
 * no bytes then fails with EPIPE. */
static bool has_shut_down_sending(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        return info.tcpi_state == TCP_FIN_WAIT1 || info.tcpi_state == TCP_FIN_WAIT2;
    return socket_option(fd, SO_DOMAIN) == AF_UNIX && socket_option(fd, SO_TYPE) == SOCK_STREAM &&
           send(fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) == -1 && errno == EPIPE;
}

static struct kevent make_event(int fd, short filter, const struct knote *knote, uint32_t ready)
{
    struct kevent event = {.ident = (unsigned)fd, .filter = filter, .udata = knote->udata};
    bool is_read = filter == EVFILT_READ;
    bool eof = (ready & (EPOLLERR | EPOLLHUP)) != 0;

    if (!eof)
        eof = is_read ? (ready & EPOLLRDHUP) != 0 : has_shut_down_sending(fd);
    event.flags = (unsigned short)((knote->clear ? EV_CLEAR : 0) | (eof ? EV_EOF : 0));
    event.data = is_read ? unread_bytes(fd) : free_space(fd);
    if ((ready & EPOLLERR) != 0 && socket_option(fd, SO_TYPE) != -1)
        event.fflags = ECONNRESET;
    return event;
}

/* ---- waiting for events ---- */

/* Turn one epoll event into one or two events, and return their number.  If there is room for one
 * of two, the EVFILT_WRITE event is deferred to the next call. */
static int translate_event(struct kqueue *kq, const struct epoll_event *from, struct kevent *to,
                           int room)
{
    const uint32_t broken = EPOLLERR | EPOLLHUP;
    const struct knotes *knotes = find_knotes(kq, from->data.fd);
    bool readable = knotes->read.enabled && (from->events & ~(uint32_t)EPOLLOUT) != 0;
    bool writable = knotes->write.enabled && (from->events & (EPOLLOUT | broken)) != 0;
    int count = 0;

    if (readable && writable && room == 1) {
        writable = false;
        kq->deferred_fd = from->data.fd;
    }
    if (readable)
        to[count++] = make_event(from->data.fd, EVFILT_READ, &knotes->read, from->events);
    if (writable)
        to[count++] = make_event(from->data.fd, EVFILT_WRITE, &knotes->write, from->events);
    return count;
}

/* Report the deferred event if it is still true; returns how many events that is, 0 or 1.  With
 * EV_CLEAR, epoll would not report it again.  Without EV_CLEAR it matters only if there is room for
 * one event: the two filters then take turns. */
static int report_deferred(struct kqueue *kq, struct kevent *events, int nevents)
{
    struct pollfd pollfd = {.fd = kq->deferred_fd, .events = POLLOUT};
    const struct knotes *knotes = find_knotes(kq, kq->deferred_fd);

    kq->deferred_fd = -1;
    if (knotes == NULL || !knotes->write.enabled || (nevents > 1 && !knotes->write.clear))
        return 0;
    if (poll(&pollfd, 1, 0) != 1 || (pollfd.revents & POLLNVAL) != 0)
        return 0;
    events[0] = make_event(pollfd.fd, EVFILT_WRITE, &knotes->write, (uint32_t)pollfd.revents);
    return 1;
}

static bool reserve_epoll_events(struct kqueue *kq, int capacity)
{
    if (kq->epoll_capacity >= capacity)
        return true;
    size_t size = (size_t)capacity * sizeof kq->epoll_events[0];
    struct epoll_event *larger = realloc(kq->epoll_events, size);
    if (larger == NULL)
        return false;
    kq->epoll_events = larger;
    kq->epoll_capacity = capacity;
    return true;
}

/* epoll_wait() with kevent()'s timeout, which is rounded up to milliseconds.  One epoll_wait()
 * waits for at most INT_MAX of them; a timeout of more than 68 years is cut to 68 years. */
static int wait_for_epoll(struct kqueue *kq, int max, const struct timespec *timeout)
{
    int64_t remaining_ms = -1;
    int count, ms;

    if (timeout != NULL)
        remaining_ms = (timeout->tv_sec < INT_MAX ? timeout->tv_sec : INT_MAX) * (int64_t)1000 +
                       (timeout->tv_nsec + 999999) / 1000000;
    do {
        ms = remaining_ms > INT_MAX ? INT_MAX : (int)remaining_ms;
        count = epoll_wait(kq->fd, kq->epoll_events, max, ms);
        remaining_ms -= ms;
    } while (count == 0 && remaining_ms > 0);
    return count;
}

/* While a descriptor has both filters enabled, ask epoll for half as many events as fit, because
 * each of them may become two. */
static int collect_events(struct kqueue *kq, struct kevent *events, int nevents,
                          const struct timespec *timeout)
{
    int max = kq->pair_count > 0 && nevents > 1 ? nevents / 2 : nevents;
    int filled = report_deferred(kq, events, nevents);

    if (filled > 0)
        return filled;
    if (!reserve_epoll_events(kq, max))
        return -1;
    int count = wait_for_epoll(kq, max, timeout);
    if (count == -1)
        return -1;
    for (int i = 0; i < count; i++)
        filled += translate_event(kq, &kq->epoll_events[i], &events[filled], nevents - filled);
    return filled;
}

int kevent(int fd, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout)
{
    struct kqueue *kq = find_kqueue(fd);
    int result;

    if (kq == NULL) {
        errno = EBADF;
        return -1;
    }
    if (!make_changes(kq, changes, nchanges, events, nevents, &result) || result > 0 ||
        nevents == 0)
        return result;
    if (timeout != NULL &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
        errno = EINVAL;
        return -1;
    }
    return collect_events(kq, events, nevents, timeout);
}
