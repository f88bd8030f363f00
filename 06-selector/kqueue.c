/* The back end kqueue: macOS and the BSDs.  The kernel keeps the list. */
#define _DEFAULT_SOURCE /* not _POSIX_C_SOURCE: with that, NetBSD hides kqueue() */

#include "backend.h"

#ifdef HAVE_KQUEUE

#include <poll.h>
#include <sys/event.h>
#include <unistd.h>

#define MAX_EVENTS 256 /* events of one kevent(); more if there are more */

static int open_kqueue(struct selector *selector)
{
    selector->fd = kqueue();
    return selector->fd == -1 ? -1 : 0;
}

/* A child made by fork() does not have the queue, kqueue(2): the number may be another's there. */
static void close_kqueue(struct selector *selector)
{
    if (selector->owner == getpid())
        close(selector->fd);
}

// ANCHOR: change
/* One of the two filters of fd. */
static int change_filter(struct selector *selector, int fd, int event, unsigned short flags)
{
    struct kevent change = {.ident = (unsigned)fd, .filter = EVFILT_READ, .flags = flags};

    if (event == EVENT_WRITE)
        change.filter = EVFILT_WRITE;
    return kevent(selector->fd, &change, 1, NULL, 0, NULL);
}

/* One at a time, so that an error is the error of that one.  EV_ADD of what is there is no error,
 * and is needed if fd was closed and its number given to another.  EV_DELETE fails if fd was
 * closed, and it is gone all the same. */
static int change(struct selector *selector, int fd, int was, int now)
{
    for (int event = EVENT_READ; event <= EVENT_WRITE; event <<= 1) {
        if ((now & event) != 0 && change_filter(selector, fd, event, EV_ADD) == -1)
            return -1;
        if ((was & ~now & event) != 0)
            change_filter(selector, fd, event, EV_DELETE);
    }
    return 0;
}
// ANCHOR_END: change

// ANCHOR: wait
/* The filters of a descriptor are two events, and a batch that is full may end between them.  Ask
 * poll() for the other half. */
static void complete(struct selector *selector)
{
    for (int i = 0; i < selector->found; i++) {
        struct selector_ready *ready = &selector->ready[i];
        struct pollfd other = {.fd = ready->key.fd, .events = POLLIN | POLLOUT};
        if (ready->events != ready->key.events && poll(&other, 1, 0) == 1 &&
            (other.revents & POLLNVAL) == 0)
            selector_found(selector, other.fd, 0,
                           selector_events((unsigned)other.revents, POLLIN, POLLOUT));
    }
}

static int wait_for(struct selector *selector, int max, int ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    const struct timespec *timeout = ms < 0 ? NULL : &limit;
    struct kevent events[MAX_EVENTS];
    int count, before;
    unsigned short room; /* kevent() takes an int here and a size_t there: it fits into both */

    do {
        before = selector->found;
        room = (unsigned short)(max - before < MAX_EVENTS ? max - before : MAX_EVENTS);
        count = kevent(selector->fd, NULL, 0, events, room, timeout);
        for (int i = 0; i < count; i++)
            selector_found(selector, (int)events[i].ident, 0,
                           events[i].filter == EVFILT_READ ? EVENT_READ : EVENT_WRITE);
        limit = (struct timespec){0};
        timeout = &limit;
    } while (count == room && selector->found > before && selector->found < max);
    if (count == room)
        complete(selector);
    return count == -1 ? -1 : 0;
}
// ANCHOR_END: wait

const struct selector_backend backend_kqueue = {"kqueue", open_kqueue, close_kqueue, change,
                                                wait_for};

#endif
