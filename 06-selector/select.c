/* The back end select, for every system and for descriptors below FD_SETSIZE. */
#define _POSIX_C_SOURCE 200809L
#define _NETBSD_SOURCE /* NetBSD hides parts of POSIX without it */

#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/select.h>

/* The events to wait for.  select() gets copies, because it overwrites them. */
struct state {
    fd_set readers, writers;
};

static int open_select(struct selector *selector)
{
    struct state *state = malloc(sizeof *state);

    if (state == NULL)
        return -1;
    FD_ZERO(&state->readers);
    FD_ZERO(&state->writers);
    selector->state = state;
    return 0;
}

static void close_select(struct selector *selector)
{
    free(selector->state);
}

// ANCHOR: change
/* FD_SET() with a descriptor of FD_SETSIZE or above would overwrite the memory behind the set,
 * select(2). */
static int change_select(struct selector *selector, int fd, int old_events, int new_events)
{
    struct state *state = selector->state;

    (void)old_events;
    if (fd >= FD_SETSIZE) {
        errno = ERANGE;
        return -1;
    }
    FD_CLR(fd, &state->readers);
    FD_CLR(fd, &state->writers);
    if ((new_events & EVENT_READ) != 0)
        FD_SET(fd, &state->readers);
    if ((new_events & EVENT_WRITE) != 0)
        FD_SET(fd, &state->writers);
    return 0;
}
// ANCHOR_END: change

/* Remove the descriptors that were closed but not unregistered.  Their keys stay.  Returns 1 if
 * there were any; if not, -1 with EBADF, which select() has set. */
static int remove_closed(struct selector *selector)
{
    struct state *state = selector->state;
    int removed = 0;

    for (int fd = 0; fd <= selector->highest; fd++) {
        bool is_set = FD_ISSET(fd, &state->readers) || FD_ISSET(fd, &state->writers);
        if (!is_set || fcntl(fd, F_GETFD) != -1)
            continue;
        change_select(selector, fd, 0, 0);
        removed++;
    }
    errno = EBADF;
    return removed > 0 ? 1 : -1;
}

// ANCHOR: wait
/* One closed descriptor in the sets makes select() fail for all of them. */
static int wait_select(struct selector *selector, int max, int ms)
{
    struct state *state = selector->state;
    fd_set readable = state->readers, writable = state->writers;
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    int length = selector->highest + 1, start = selector->scan_start;

    int ready = select(length, &readable, &writable, NULL, ms < 0 ? NULL : &limit);
    for (int i = 0; i < length && ready > 0 && selector->ready_count < max; i++) {
        int fd = (start + i) % length;
        int events = FD_ISSET(fd, &readable) ? EVENT_READ : 0;
        events |= FD_ISSET(fd, &writable) ? EVENT_WRITE : 0;
        if (events != 0)
            selector_report(selector, fd, 0, events);
    }
    if (ready == -1)
        return errno == EBADF ? remove_closed(selector) : -1;
    return 0;
}
// ANCHOR_END: wait

const struct selector_backend backend_select = {"select", open_select, close_select, change_select,
                                                wait_select};
