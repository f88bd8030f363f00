/* Stage 05: kqueue.  The kernel keeps the list of descriptors, on macOS and the BSDs.
 *
 * kevent() changes the list and waits.  An event says more than epoll's: how many bytes are waiting
 * (data) and which error occurred (fflags).  EV_EOF corresponds to EPOLLRDHUP.
 * Try it: make tour STAGE=05, and then make run-05 V=1.
 *
 * Limit: Linux has no kqueue.  There, this stage runs on an emulation, linux/kqueue.c. */
#define _DEFAULT_SOURCE /* not _POSIX_C_SOURCE: with that, NetBSD hides kqueue() */

#include "clients.h"
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <sys/event.h>
#include <time.h>
#include <unistd.h>

// ANCHOR: kqueue
static int kqueue_fd;       /* refers to the kqueue, which holds the list */
static bool edge_triggered; /* option -e: report each arrival of data once (see client_drain()) */

static void log_event(const struct kevent *event, unsigned flags);

static struct kevent kevent_change(int fd, enum interest interest, int flags)
{
    if (flags == EV_ADD && edge_triggered && fd != listener)
        flags |= EV_CLEAR;
    return (struct kevent){.ident = (unsigned)fd,
                           .filter = interest == INTEREST_READ ? EVFILT_READ : EVFILT_WRITE,
                           .flags = (unsigned short)flags};
}

/* Make one change or both.  ENOENT means that the filter to delete was not there. */
static bool update_kqueue(const struct kevent changes[], bool both)
{
    bool ok = kevent(kqueue_fd, changes, both ? 2 : 1, NULL, 0, NULL) == 0 || errno == ENOENT;

    log_event(&changes[0], 0);
    log_action("kevent %s%s", (changes[0].flags & EV_ADD) != 0 ? "EV_ADD" : "EV_DELETE",
               ok ? "" : ": failed");
    return ok;
}

bool watch(int fd)
{
    struct kevent change = kevent_change(fd, INTEREST_READ, EV_ADD);

    return update_kqueue(&change, false);
}

/* A client has one filter at a time, and so at most one event in a batch. */
bool set_interest(int fd, enum interest interest)
{
    enum interest other = interest == INTEREST_READ ? INTEREST_WRITE : INTEREST_READ;
    struct kevent changes[] = {kevent_change(fd, interest, EV_ADD),
                               kevent_change(fd, other, EV_DELETE)};

    return update_kqueue(changes, true);
}

/* A client needs no EV_DELETE: close() removes its events (see kqueue(2)), even if another process
 * has a copy of the descriptor.  The listener needs one, because it stays open while accepting is
 * paused. */
void unwatch(int fd)
{
    struct kevent change = kevent_change(fd, INTEREST_READ, EV_DELETE);

    if (fd == listener)
        update_kqueue(&change, false);
}
// ANCHOR_END: kqueue

// ANCHOR: drain
#define MAX_READS_PER_EVENT 16 /* then the other clients get a turn */

/* With EV_CLEAR, kevent() reports each arrival once, so read until nothing is left.  A client that
 * always has more data must not starve the others: after MAX_READS_PER_EVENT reads we stop and
 * re-arm it.  If it is still ready, EV_ADD makes the next kevent() report it again. */
static void client_drain(struct client *client)
{
    for (int i = 0; i < MAX_READS_PER_EVENT; i++)
        if (!client_ready(client))
            return;
    client_set_interest(client, client->pending != NULL ? INTEREST_WRITE : INTEREST_READ);
}
// ANCHOR_END: drain

enum { READ_FILTER = 1, WRITE_FILTER = 2, END = 4, CLEAR = 8, DATA = 16, FFLAGS = 32 };

// ANCHOR: loop
#define MAX_EVENTS 256 /* returned by one kevent(); the rest come with the next */

static void serve(void)
{
    struct kevent events[MAX_EVENTS];

    for (;;) {
        int timeout_ms = wait_timeout_ms();
        struct timespec timeout = {.tv_nsec = timeout_ms * 1000000L};
        int ready =
            kevent(kqueue_fd, NULL, 0, events, MAX_EVENTS, timeout_ms < 0 ? NULL : &timeout);
        if (ready == -1) {
            if (!handle_wait_error("kevent"))
                return;
            continue;
        }
        log_call("kevent  %d ready", ready);
        for (int i = 0; i < ready; i++) {
            int fd = (int)events[i].ident;
            log_event(&events[i], DATA);
            if (fd == shutdown_pipe[0])
                return;
            if (fd == listener)
                client_accept();
            else if (edge_triggered)
                client_drain(client_by_fd(fd));
            else
                client_ready(client_by_fd(fd));
        }
    }
}
// ANCHOR_END: loop

// ANCHOR: log_event
/* An event has a filter, flags, and two numbers that become text.  The log prints all of them as
 * flags. */
static char data_text[32], fflags_text[32];
const struct flag_name flag_names[] = {{READ_FILTER, "EVFILT_READ"},
                                       {WRITE_FILTER, "EVFILT_WRITE"},
                                       {END, "EV_EOF"},
                                       {CLEAR, "EV_CLEAR"},
                                       {DATA, data_text},
                                       {FFLAGS, fflags_text},
                                       {0, NULL}};

static void log_event(const struct kevent *event, unsigned flags)
{
    if (!options.verbose)
        return;
    flags |= event->filter == EVFILT_READ ? READ_FILTER : WRITE_FILTER;
    flags |= (event->flags & EV_EOF) != 0 ? END : 0;
    flags |= (event->flags & EV_CLEAR) != 0 ? CLEAR : 0;
    flags |= event->fflags != 0 ? FFLAGS : 0;
    snprintf(data_text, sizeof data_text, "data=%lld", (long long)event->data);
    snprintf(fflags_text, sizeof fflags_text, "fflags=%u", (unsigned)event->fflags);
    log_fd((int)event->ident, flags);
}
// ANCHOR_END: log_event

const struct stage_option stage_option = {
    "e", " [-e]", "  -e          edge-triggered: report each arrival of data once\n"};

int main(int argc, char **argv)
{
    start_up(argc, argv);
    edge_triggered = options.stage_flag;
    kqueue_fd = kqueue();
    if (kqueue_fd == -1 || !watch(shutdown_pipe[0]) || !watch(listener))
        die("kqueue");
    print_listening_address(listener);
    serve();
    clients_close();
    close(kqueue_fd);
    return 0;
}
