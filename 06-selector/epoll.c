/* The back end epoll, for Linux.  The kernel keeps the interest list. */
#define _POSIX_C_SOURCE 200809L
#define _NETBSD_SOURCE /* NetBSD hides parts of POSIX without it */

#include "backend.h"

#ifdef HAVE_EPOLL

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_EVENTS 256 /* the room of one epoll_wait(), which is called again if it was full */

static int open_epoll(struct selector *selector)
{
    selector->fd = epoll_create1(EPOLL_CLOEXEC);
    return selector->fd == -1 ? -1 : 0;
}

static void close_epoll(struct selector *selector)
{
    close(selector->fd);
}

/* The instance exists only for this question, so that the answer does not depend on its contents.
 * epoll_ctl(2): EPERM if the file has no poll operation in the kernel. */
int selector_ask_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int instance = epoll_create1(EPOLL_CLOEXEC);

    if (instance == -1)
        return -1;
    int result = epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event);
    int error = errno;
    close(instance);
    errno = error;
    return result == 0 || error != EPERM;
}

// ANCHOR: change
/* Each event returns the descriptor and the registration of its key, because the number alone may
 * belong to a new file by then. */
static int change_epoll(struct selector *selector, int fd, int old_events, int new_events)
{
    uint64_t id = selector_registration(selector, fd);
    struct epoll_event event = {.data.u64 = id << 32 | (unsigned)fd};

    event.events = ((new_events & EVENT_READ) != 0 ? EPOLLIN : 0U);
    event.events |= ((new_events & EVENT_WRITE) != 0 ? EPOLLOUT : 0U);
    if (new_events == 0) { /* removed, because epoll reports errors and hang-ups unasked */
        epoll_ctl(selector->fd, EPOLL_CTL_DEL, fd, &event); /* fails if fd is closed: no matter */
        return 0;
    }
    if (epoll_ctl(selector->fd, old_events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (errno == EEXIST) /* ADD: there is a stale registration (see below) of the same file */
        return epoll_ctl(selector->fd, EPOLL_CTL_MOD, fd, &event);
    if (errno == ENOENT) /* MOD: fd was closed, and its number given to a new file */
        return epoll_ctl(selector->fd, EPOLL_CTL_ADD, fd, &event);
    return -1;
}
// ANCHOR_END: change

// ANCHOR: stale
/* epoll watches the open file and not the descriptor, epoll(7).  If a descriptor that has a
 * duplicate is closed, epoll continues to report it under its number, but the number can no longer
 * be used to remove it: the registration is stale.  Such an event has no key, or a key with another
 * id, or a key that waits for something else.  The only remedy is a new epoll instance. */
static int wait_epoll(struct selector *selector, int max, int ms)
{
    struct epoll_event events[MAX_EVENTS];
    bool stale = false;
    int count, room, before;

    do {
        before = selector->ready_count;
        room = max - before < MAX_EVENTS ? max - before : MAX_EVENTS;
        count = epoll_wait(selector->fd, events, room, ms);
        for (int i = 0; i < count; i++) {
            int fd = (int)(uint32_t)events[i].data.u64;
            unsigned id = (unsigned)(events[i].data.u64 >> 32);
            int ready = selector_events_from(events[i].events, EPOLLIN, EPOLLOUT);
            if (!selector_report(selector, fd, id, ready))
                stale = true;
        }
        ms = 0;
    } while (count == room && selector->ready_count > before && selector->ready_count < max);
    if (count == -1 || (stale && selector_rebuild(selector) == -1))
        return -1;
    return stale ? 1 : 0;
}
// ANCHOR_END: stale

const struct selector_backend backend_epoll = {"epoll", open_epoll, close_epoll, change_epoll,
                                               wait_epoll};

#endif
