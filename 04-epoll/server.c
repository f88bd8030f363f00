/* Stage 04: epoll.  The kernel keeps the list of descriptors to wait for.
 *
 * epoll_ctl() adds a descriptor to the kernel's interest list once, rather than before every wait.
 * epoll_wait() returns only the descriptors that are ready, so idle clients cost the loop nothing.
 * Try it: make tour STAGE=04, and then make run-04 V=1.
 *
 * Limit: epoll is a Linux interface; macOS and the BSDs do not have it. */
#define _POSIX_C_SOURCE 200809L

#include "clients.h"
#include "common.h"

#include <sys/epoll.h>
#include <unistd.h>

// ANCHOR: epoll
static int epoll_fd;        /* refers to the epoll instance, which holds the interest list */
static bool edge_triggered; /* option -e: report each arrival of data once (see client_drain()) */

/* Change the interest list. */
static bool update_epoll(int operation, int fd, unsigned flags)
{
    static const char *const names[] = {
        [EPOLL_CTL_ADD] = "ADD", [EPOLL_CTL_MOD] = "MOD", [EPOLL_CTL_DEL] = "DEL"};
    struct epoll_event event = {.events = flags, .data.fd = fd};
    bool ok = epoll_ctl(epoll_fd, operation, fd, &event) == 0;

    log_fd(fd, flags);
    log_action("epoll_ctl %s%s", names[operation], ok ? "" : ": failed");
    return ok;
}

/* EPOLLERR (an error is pending) and EPOLLHUP (both directions are closed) are always reported.
 * EPOLLRDHUP means that the client has sent FIN.  We request it only so that the log shows it;
 * recv() returns 0 in any case.  We request it only together with EPOLLIN, because the flag stays
 * set, and would end every wait for EPOLLOUT immediately.  The listener stays level-triggered,
 * because client_accept() may leave connections in the backlog. */
static unsigned epoll_events_for(int fd, enum interest interest)
{
    unsigned events = interest == INTEREST_READ ? EPOLLIN | EPOLLRDHUP : EPOLLOUT;

    if (edge_triggered && fd != listener)
        events |= EPOLLET;
    return events;
}

bool watch(int fd)
{
    return update_epoll(EPOLL_CTL_ADD, fd, epoll_events_for(fd, INTEREST_READ));
}

bool set_interest(int fd, enum interest interest)
{
    return update_epoll(EPOLL_CTL_MOD, fd, epoll_events_for(fd, interest));
}

/* close() would remove the descriptor too, but not while a duplicate of it is open, for example in
 * another process (see epoll(7)).  So we remove it explicitly. */
void unwatch(int fd)
{
    update_epoll(EPOLL_CTL_DEL, fd, 0);
}
// ANCHOR_END: epoll

// ANCHOR: drain
#define MAX_READS_PER_EVENT 16 /* then the other clients get a turn */

/* An edge-triggered wait reports each arrival once, so read until nothing is left.  A client that
 * always has more data must not starve the others: after MAX_READS_PER_EVENT reads we stop and
 * re-arm it.  If it is still ready, EPOLL_CTL_MOD makes the next epoll_wait() report it again. */
static void client_drain(struct client *client)
{
    for (int i = 0; i < MAX_READS_PER_EVENT; i++)
        if (!client_ready(client))
            return;
    client_set_interest(client, client->pending != NULL ? INTEREST_WRITE : INTEREST_READ);
}
// ANCHOR_END: drain

// ANCHOR: loop
#define MAX_EVENTS 256 /* returned by one epoll_wait(); the rest come with the next */

static void serve(void)
{
    struct epoll_event events[MAX_EVENTS];

    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, wait_timeout_ms());
        if (ready == -1) {
            if (!handle_wait_error("epoll_wait"))
                return;
            continue;
        }
        log_call("epoll_wait  %d ready", ready);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            log_fd(fd, events[i].events);
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

const struct stage_option stage_option = {
    "e", " [-e]", "  -e          edge-triggered: report each arrival of data once\n"};
const struct flag_name flag_names[] = {{EPOLLIN, "EPOLLIN"},
                                       {EPOLLOUT, "EPOLLOUT"},
                                       {EPOLLERR, "EPOLLERR"},
                                       {EPOLLHUP, "EPOLLHUP"},
                                       {EPOLLRDHUP, "EPOLLRDHUP"},
                                       {EPOLLET, "EPOLLET"},
                                       {0, NULL}};

int main(int argc, char **argv)
{
    start_up(argc, argv);
    edge_triggered = options.stage_flag;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd == -1 || !watch(shutdown_pipe[0]) || !watch(listener))
        die("epoll");
    print_listening_address(listener);
    serve();
    clients_close();
    close(epoll_fd);
    return 0;
}
