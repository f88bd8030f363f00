/* The back end kqueue, for macOS and the BSDs.  The kernel keeps the interest list. */
#define _DEFAULT_SOURCE /* instead of _POSIX_C_SOURCE, with which NetBSD hides kqueue() */
#define _NETBSD_SOURCE

#include "backend.h"

#ifdef HAVE_KQUEUE

#include <fcntl.h>
#include <poll.h>
#include <sys/event.h>
#include <unistd.h>

#define MAX_EVENTS 256 /* the room of one kevent(), which is called again if it was full */

/* kqueue() has no flag for close-on-exec on most systems.  fcntl() cannot fail here, because the
 * descriptor is open. */
static int open_kqueue(struct selector *selector)
{
    selector->fd = kqueue();
    return selector->fd == -1 ? -1 : fcntl(selector->fd, F_SETFD, FD_CLOEXEC);
}

/* A child made by fork() does not inherit the queue, kqueue(2).  There its number may already
 * belong to another file. */
static void close_kqueue(struct selector *selector)
{
    if (selector->owner == getpid())
        close(selector->fd);
}

// ANCHOR: change
/* Add or delete one of the two filters of fd. */
static int change_filter(struct selector *selector, int fd, int event, unsigned short flags)
{
    struct kevent change = {.ident = (unsigned)fd, .filter = EVFILT_READ, .flags = flags};

    if (event == EVENT_WRITE)
        change.filter = EVFILT_WRITE;
    return kevent(selector->fd, &change, 1, NULL, 0, NULL);
}

/* Each filter has a call of its own, so that an error belongs to that filter.  EV_ADD of a filter
 * that exists is not an error; it is needed if fd was closed and its number given to a new file.
 * EV_DELETE fails if fd was closed, and then the filter is already gone. */
static int change_kqueue(struct selector *selector, int fd, int old_events, int new_events)
{
    for (int event = EVENT_READ; event <= EVENT_WRITE; event <<= 1) {
        if ((new_events & event) != 0 && change_filter(selector, fd, event, EV_ADD) == -1)
            return -1;
        if ((old_events & ~new_events & event) != 0)
            change_filter(selector, fd, event, EV_DELETE);
    }
    return 0;
}
// ANCHOR_END: change

// ANCHOR: wait
/* The two filters of a descriptor report two events, and a full batch may end between them.  Ask
 * poll() for the missing one. */
static void report_missing_events(struct selector *selector)
{
    for (int i = 0; i < selector->ready_count; i++) {
        struct selector_ready *ready = &selector->ready[i];
        struct pollfd pollfd = {.fd = ready->key.fd, .events = POLLIN | POLLOUT};
        if (ready->events != ready->key.events && poll(&pollfd, 1, 0) == 1)
            selector_report(selector, pollfd.fd, 0,
                            selector_events_from((unsigned)pollfd.revents, POLLIN, POLLOUT));
    }
}

static int wait_kqueue(struct selector *selector, int max, int ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    const struct timespec *timeout = ms < 0 ? NULL : &limit;
    struct kevent events[MAX_EVENTS];
    int count, before;
    unsigned short room; /* fits into an int and a size_t: kevent() takes one or the other */

    do {
        before = selector->ready_count;
        room = (unsigned short)(max - before < MAX_EVENTS ? max - before : MAX_EVENTS);
        count = kevent(selector->fd, NULL, 0, events, room, timeout);
        for (int i = 0; i < count; i++)
            selector_report(selector, (int)events[i].ident, 0,
                            events[i].filter == EVFILT_READ ? EVENT_READ : EVENT_WRITE);
        limit = (struct timespec){0};
        timeout = &limit;
    } while (count == room && selector->ready_count > before && selector->ready_count < max);
    if (count == room)
        report_missing_events(selector);
    return count == -1 ? -1 : 0;
}
// ANCHOR_END: wait

const struct selector_backend backend_kqueue = {"kqueue", open_kqueue, close_kqueue, change_kqueue,
                                                wait_kqueue};

#endif
