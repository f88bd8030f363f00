/* The back end poll: everywhere.  A list of any length, which goes to the kernel with each call. */
#define _POSIX_C_SOURCE 200809L

#include "backend.h"

#include <poll.h>
#include <stdlib.h>

/* What we wait for at fd stands in list[fd].  poll() passes over an entry whose .fd is negative. */
struct state {
    struct pollfd *list;
    int length;
};

static int open_poll(struct selector *selector)
{
    selector->state = calloc(1, sizeof(struct state));
    return selector->state == NULL ? -1 : 0;
}

static void close_poll(struct selector *selector)
{
    free(((struct state *)selector->state)->list);
    free(selector->state);
}

// ANCHOR: change
static int change(struct selector *selector, int fd, int was, int now)
{
    struct state *state = selector->state;

    (void)was;
    if (fd >= state->length && now != 0) {
        size_t length = (size_t)selector->capacity;
        struct pollfd *longer = realloc(state->list, length * sizeof *longer);
        if (longer == NULL)
            return -1;
        state->list = longer;
        while (state->length < selector->capacity)
            longer[state->length++] = (struct pollfd){.fd = -1};
    }
    if (fd >= state->length)
        return 0;
    state->list[fd].fd = now == 0 ? -1 : fd;
    state->list[fd].events = (now & EVENT_READ) != 0 ? POLLIN : 0;
    state->list[fd].events |= (now & EVENT_WRITE) != 0 ? POLLOUT : 0;
    return 0;
}
// ANCHOR_END: change

// ANCHOR: wait
/* A descriptor that was closed and not unregistered would end every wait at once, so it is taken
 * out of the list; its key stays. */
static int wait_for(struct selector *selector, int max, int ms)
{
    struct state *state = selector->state;
    int length = selector->highest + 1, first = selector->first, status = 0;

    int ready = poll(state->list, (nfds_t)length, ms);
    for (int i = 0; i < length && ready > 0 && selector->found < max; i++) {
        struct pollfd *one = &state->list[(first + i) % length];
        if (one->fd < 0 || one->revents == 0)
            continue;
        ready--;
        if ((one->revents & POLLNVAL) == 0) {
            int events = selector_events((unsigned)one->revents, POLLIN, POLLOUT);
            selector_found(selector, one->fd, 0, events);
        } else {
            one->fd = -1;
            status = 1;
        }
    }
    return ready == -1 ? -1 : status;
}
// ANCHOR_END: wait

const struct selector_backend backend_poll = {"poll", open_poll, close_poll, change, wait_for};
