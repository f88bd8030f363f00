/* The back end poll, for every system.  The array has any length and goes to the kernel with each
 * call. */
#define _POSIX_C_SOURCE 200809L
#define _NETBSD_SOURCE /* NetBSD hides parts of POSIX without it */

#include "backend.h"

#include <poll.h>
#include <stdlib.h>

/* pollfds[fd] holds the events of fd.  poll() ignores an entry whose .fd is negative. */
struct state {
    struct pollfd *pollfds;
    int length;
};

static int open_poll(struct selector *selector)
{
    selector->state = calloc(1, sizeof(struct state));
    return selector->state == NULL ? -1 : 0;
}

static void close_poll(struct selector *selector)
{
    free(((struct state *)selector->state)->pollfds);
    free(selector->state);
}

// ANCHOR: change
/* With 0 events the entry is ignored, because poll() reports errors and hang-ups unasked. */
static int change_poll(struct selector *selector, int fd, int old_events, int new_events)
{
    struct state *state = selector->state;

    (void)old_events;
    if (fd >= state->length && new_events != 0) {
        size_t length = (size_t)selector->capacity;
        struct pollfd *larger = realloc(state->pollfds, length * sizeof *larger);
        if (larger == NULL)
            return -1;
        state->pollfds = larger;
        while (state->length < selector->capacity)
            larger[state->length++] = (struct pollfd){.fd = -1};
    }
    if (fd >= state->length)
        return 0;
    state->pollfds[fd].fd = new_events == 0 ? -1 : fd;
    state->pollfds[fd].events = (new_events & EVENT_READ) != 0 ? POLLIN : 0;
    state->pollfds[fd].events |= (new_events & EVENT_WRITE) != 0 ? POLLOUT : 0;
    return 0;
}
// ANCHOR_END: change

// ANCHOR: wait
/* A descriptor that was closed but not unregistered would end every wait at once, so it is removed
 * from the array.  Its key stays.  poll() has reported all others in the same call. */
static int wait_poll(struct selector *selector, int max, int ms)
{
    struct state *state = selector->state;
    int used = selector->highest + 1, start = selector->scan_start;
    int length = used < state->length ? used : state->length;

    int ready = poll(state->pollfds, (nfds_t)length, ms);
    for (int i = 0; i < length && ready > 0 && selector->ready_count < max; i++) {
        struct pollfd *pollfd = &state->pollfds[(start + i) % length];
        if (pollfd->revents == 0)
            continue;
        ready--;
        if ((pollfd->revents & POLLNVAL) == 0) {
            int events = selector_events_from((unsigned)pollfd->revents, POLLIN, POLLOUT);
            selector_report(selector, pollfd->fd, 0, events);
        } else {
            pollfd->fd = -1;
        }
    }
    return ready == -1 ? -1 : 0;
}
// ANCHOR_END: wait

const struct selector_backend backend_poll = {"poll", open_poll, close_poll, change_poll,
                                              wait_poll};
