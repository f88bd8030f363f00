/* The back end epoll: Linux.  The kernel keeps the list. */
#define _POSIX_C_SOURCE 200809L

#include "backend.h"

#ifdef HAVE_EPOLL

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_EVENTS 256 /* events of one epoll_wait(); more if there are more */

static int open_epoll(struct selector *selector)
{
    selector->fd = epoll_create1(EPOLL_CLOEXEC);
    return selector->fd == -1 ? -1 : 0;
}

static void close_epoll(struct selector *selector)
{
    close(selector->fd);
}

// ANCHOR: change
/* Each event comes back with the descriptor and with the id of its key: the number alone could be
 * another's by then. */
static int change(struct selector *selector, int fd, int was, int now)
{
    uint64_t id = selector_get_key(selector, fd)->id;
    struct epoll_event event = {.data.u64 = id << 32 | (unsigned)fd};

    event.events = ((now & EVENT_READ) != 0 ? EPOLLIN : 0U);
    event.events |= ((now & EVENT_WRITE) != 0 ? EPOLLOUT : 0U);
    if (now == 0) {
        epoll_ctl(selector->fd, EPOLL_CTL_DEL, fd, &event); /* fails if fd was closed: good too */
        return 0;
    }
    if (epoll_ctl(selector->fd, was == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (was == 0 && errno == EEXIST) /* a ghost, see below, whose number is its own again */
        return epoll_ctl(selector->fd, EPOLL_CTL_MOD, fd, &event);
    if (was != 0 && errno == ENOENT) /* fd was closed, and its number given to another */
        return epoll_ctl(selector->fd, EPOLL_CTL_ADD, fd, &event);
    return -1;
}
// ANCHOR_END: change

// ANCHOR: ghost
/* epoll watches the open file and not the number, epoll(7).  A descriptor that was closed while it
 * had a copy goes on being reported, by a number that can no longer be used to remove it: a ghost.
 * It has no key, or not this id.  Nothing but a new list gets rid of it. */
static int wait_for(struct selector *selector, int max, int ms)
{
    struct epoll_event events[MAX_EVENTS];
    bool ghosts = false;
    int count, room, before;

    do {
        before = selector->found;
        room = max - before < MAX_EVENTS ? max - before : MAX_EVENTS;
        count = epoll_wait(selector->fd, events, room, ms);
        for (int i = 0; i < count; i++) {
            uint64_t tag = events[i].data.u64;
            int ready = selector_events(events[i].events, EPOLLIN, EPOLLOUT);
            if (!selector_found(selector, (int)(uint32_t)tag, (unsigned)(tag >> 32), ready))
                ghosts = true;
        }
        ms = 0;
    } while (count == room && selector->found > before && selector->found < max);
    if (count == -1 || (ghosts && selector_renew(selector) == -1))
        return -1;
    return ghosts ? 1 : 0;
}
// ANCHOR_END: ghost

const struct selector_backend backend_epoll = {"epoll", open_epoll, close_epoll, change, wait_for};

#endif
