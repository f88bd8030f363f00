/* Stage 03: poll().  An array of any length takes the place of the sets of bits.
 *
 * Each descriptor has an entry, a struct pollfd: .events says what to wait for, and poll() writes
 * what happened into .revents.
 * Try it: make tour STAGE=03, and then make run-03 V=1.
 *
 * Limit: every call passes the whole array to the kernel and back, so idle clients slow it down. */
#define _POSIX_C_SOURCE 200809L

#include "clients.h"
#include "common.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

// ANCHOR: array
static struct pollfd *pollfds; /* what we wait for, in no particular order */
static size_t pollfd_count, pollfd_capacity;

/* The entry of fd; NULL if it has none.  The search costs as much as the scan that poll() does. */
static struct pollfd *find_pollfd(int fd)
{
    for (size_t i = 0; i < pollfd_count; i++)
        if (pollfds[i].fd == fd)
            return &pollfds[i];
    return NULL;
}

bool watch(int fd)
{
    if (pollfd_count == pollfd_capacity) {
        size_t capacity = pollfd_capacity + pollfd_capacity / 2 + 16;
        struct pollfd *larger = realloc(pollfds, capacity * sizeof *larger);
        if (larger == NULL)
            return false;
        pollfds = larger;
        pollfd_capacity = capacity;
    }
    pollfds[pollfd_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    return true;
}
// ANCHOR_END: array

// ANCHOR: change
/* poll() reports POLLERR and POLLHUP as well, even if nobody asked for them (see poll(2)). */
bool set_interest(int fd, enum interest interest)
{
    struct pollfd *entry = find_pollfd(fd);

    if (entry == NULL) {
        errno = ENOENT;
        return false;
    }
    entry->events = interest == INTEREST_READ ? POLLIN : POLLOUT;
    return true;
}

/* The last entry moves into the gap. */
void unwatch(int fd)
{
    struct pollfd *gap = find_pollfd(fd);

    if (gap != NULL)
        *gap = pollfds[--pollfd_count];
}
// ANCHOR_END: change

// ANCHOR: limit
/* poll() accepts at most RLIMIT_NOFILE entries (see poll(2)), and that limit can be lowered while
 * we run.  Raise it to what we need, as far as that is allowed, and return how many entries poll()
 * accepts now.  The shutdown pipe is the first entry, so the server can always be stopped. */
static size_t raise_nofile_limit(void)
{
    static bool reported;
    struct rlimit limit;
    rlim_t needed = (rlim_t)pollfd_count;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur >= needed)
        return pollfd_count;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
        limit.rlim_cur = before;
    if (limit.rlim_cur == needed)
        return pollfd_count;
    if (!reported)
        report_error("poll: RLIMIT_NOFILE is too low; only %llu of %zu descriptors are served",
                     (unsigned long long)limit.rlim_cur, pollfd_count);
    reported = true;
    return limit.rlim_cur > 0 ? (size_t)limit.rlim_cur : 1;
}
// ANCHOR_END: limit

// ANCHOR: loop
/* The scan goes from the last entry to the first, because unwatch() moves the last entry into the
 * gap: that entry has been scanned already. */
static void serve(void)
{
    for (;;) {
        /* wait_timeout_ms() may add the listener again, so call it before the count is read. */
        int timeout_ms = wait_timeout_ms();
        size_t count = pollfd_count;
        int ready = poll(pollfds, (nfds_t)count, timeout_ms);
        if (ready == -1 && errno == EINVAL) {
            count = raise_nofile_limit();
            ready = poll(pollfds, (nfds_t)count, timeout_ms);
        }
        if (ready == -1) {
            if (!handle_wait_error("poll"))
                return;
            continue;
        }
        log_call("poll  %d ready", ready);
        for (size_t i = count; i-- > 0;) {
            int fd = pollfds[i].fd;
            if (pollfds[i].revents == 0)
                continue;
            log_fd(fd, (unsigned)pollfds[i].revents);
            if (fd == shutdown_pipe[0])
                return;
            if (fd == listener)
                client_accept();
            else
                client_ready(client_by_fd(fd));
        }
    }
}
// ANCHOR_END: loop

const struct stage_option stage_option = {"", "", ""};
const struct flag_name flag_names[] = {{POLLIN, "POLLIN"},     {POLLOUT, "POLLOUT"},
                                       {POLLERR, "POLLERR"},   {POLLHUP, "POLLHUP"},
                                       {POLLNVAL, "POLLNVAL"}, {0, NULL}};

int main(int argc, char **argv)
{
    start_up(argc, argv);
    if (!watch(shutdown_pipe[0]) || !watch(listener))
        die("poll");
    print_listening_address(listener);
    serve();
    clients_close();
    free(pollfds);
    return 0;
}
