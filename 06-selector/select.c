/* The back end select: everywhere, and for descriptors below FD_SETSIZE. */
#define _POSIX_C_SOURCE 200809L

#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/select.h>

/* What we wait for.  select() gets copies, for it overwrites them. */
struct state {
    fd_set reading, writing;
};

static int open_select(struct selector *selector)
{
    struct state *state = malloc(sizeof *state);

    if (state == NULL)
        return -1;
    FD_ZERO(&state->reading);
    FD_ZERO(&state->writing);
    selector->state = state;
    return 0;
}

static void close_select(struct selector *selector)
{
    free(selector->state);
}

// ANCHOR: change
/* A bit beyond the set would be written into whatever lies behind it, select(2). */
static int change(struct selector *selector, int fd, int was, int now)
{
    struct state *state = selector->state;

    (void)was;
    if (fd >= FD_SETSIZE) {
        errno = ERANGE;
        return -1;
    }
    FD_CLR(fd, &state->reading);
    FD_CLR(fd, &state->writing);
    if ((now & EVENT_READ) != 0)
        FD_SET(fd, &state->reading);
    if ((now & EVENT_WRITE) != 0)
        FD_SET(fd, &state->writing);
    return 0;
}
// ANCHOR_END: change

// ANCHOR: wait
/* A descriptor that was closed and not unregistered makes select() fail for all, so it is taken out
 * of the sets; its key stays. */
static int wait_for(struct selector *selector, int max, int ms)
{
    struct state *state = selector->state;
    fd_set readable = state->reading, writable = state->writing;
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    int length = selector->highest + 1, first = selector->first;

    int ready = select(length, &readable, &writable, NULL, ms < 0 ? NULL : &limit);
    for (int i = 0; i < length && ready > 0 && selector->found < max; i++) {
        int fd = (first + i) % length;
        int events = FD_ISSET(fd, &readable) ? EVENT_READ : 0;
        events |= FD_ISSET(fd, &writable) ? EVENT_WRITE : 0;
        if (events != 0)
            selector_found(selector, fd, 0, events);
    }
    if (ready != -1 || errno != EBADF)
        return ready == -1 ? -1 : 0;
    int closed = 0;
    for (int fd = 0; fd < length; fd++) {
        if (fcntl(fd, F_GETFD) != -1)
            continue;
        change(selector, fd, 0, 0);
        closed++;
    }
    errno = EBADF;
    return closed > 0 ? 1 : -1;
}
// ANCHOR_END: wait

const struct selector_backend backend_select = {"select", open_select, close_select, change,
                                                wait_for};
