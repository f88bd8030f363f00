/* Stage 02: select().  One thread waits for all clients in one call.
 *
 * Two sets of bits, one for reading and one for writing, say which descriptors to wait for.
 * select() overwrites both sets with the descriptors that are ready, and the loop checks every bit
 * up to the highest watched descriptor.  A descriptor is ready when accept(), recv() or send()
 * would not block.  Try it: make tour STAGE=02, and then make run-02 V=1.
 *
 * Limit: a descriptor numbered FD_SETSIZE (usually 1,024) or above has no bit in the sets. */
#define _POSIX_C_SOURCE 200809L

#include "clients.h"
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/select.h>

// ANCHOR: sets
static fd_set read_set, write_set; /* what we wait for; select() gets copies, which it overwrites */
static int highest_fd = -1;        /* in either set; select() looks no further */

bool set_interest(int fd, enum interest interest)
{
    FD_CLR(fd, &read_set);
    FD_CLR(fd, &write_set);
    FD_SET(fd, interest == INTEREST_READ ? &read_set : &write_set);
    return true;
}
// ANCHOR_END: sets

// ANCHOR: limit
/* Every new descriptor is below RLIMIT_NOFILE.  So lower that limit to FD_SETSIZE: accept() then
 * fails with EMFILE before a descriptor gets too high, and the clients that do not fit wait in the
 * backlog. */
static bool lower_nofile_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return false;
    if (limit.rlim_cur <= FD_SETSIZE)
        return true;
    limit.rlim_cur = FD_SETSIZE;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}
// ANCHOR_END: limit

// ANCHOR: watch
/* Calling FD_SET() on a descriptor numbered FD_SETSIZE or above would write past the end of the set
 * (see select(2)).  Such a descriptor appears only if another process has raised RLIMIT_NOFILE (see
 * prlimit(2)).  In that case we lower the limit again, and the caller closes this client. */
bool watch(int fd)
{
    if (fd >= FD_SETSIZE) {
        lower_nofile_limit();
        errno = EMFILE;
        return false;
    }
    if (fd > highest_fd)
        highest_fd = fd;
    return set_interest(fd, INTEREST_READ);
}

void unwatch(int fd)
{
    if (fd >= FD_SETSIZE)
        return;
    FD_CLR(fd, &read_set);
    FD_CLR(fd, &write_set);
    while (highest_fd >= 0 && !FD_ISSET(highest_fd, &read_set) && !FD_ISSET(highest_fd, &write_set))
        highest_fd--;
}
// ANCHOR_END: watch

enum { READABLE = 1, WRITABLE = 2 }; /* for the log */

/* If a watched descriptor has been closed, for example by a debugger, select() fails with EBADF
 * and does not say which one it is.  Put every closed one into `readable`, as if it were ready, so
 * that the next call on it reports EBADF.  Returns their number, or -1 (EBADF) if there is none. */
static int select_closed(fd_set *readable, fd_set *writable)
{
    int closed = 0;

    FD_ZERO(readable);
    FD_ZERO(writable);
    for (int fd = 0; fd <= highest_fd; fd++) {
        bool watched = FD_ISSET(fd, &read_set) || FD_ISSET(fd, &write_set);
        if (!watched || fcntl(fd, F_GETFD) != -1)
            continue;
        FD_SET(fd, readable);
        closed++;
    }
    errno = EBADF;
    return closed > 0 ? closed : -1;
}

// ANCHOR: loop
static void serve(void)
{
    for (;;) {
        /* wait_timeout_ms() may watch the listener again, so call it before the sets are copied. */
        int timeout_ms = wait_timeout_ms();
        fd_set readable = read_set, writable = write_set;
        struct timeval timeout = {.tv_usec = (suseconds_t)timeout_ms * 1000};
        int ready =
            select(highest_fd + 1, &readable, &writable, NULL, timeout_ms < 0 ? NULL : &timeout);
        if (ready == -1 && errno == EBADF)
            ready = select_closed(&readable, &writable);
        if (ready == -1) {
            if (!handle_wait_error("select"))
                return;
            continue;
        }
        log_call("select  %d ready", ready);
        for (int fd = 0; fd <= highest_fd; fd++) {
            unsigned flags = FD_ISSET(fd, &readable) ? READABLE : 0;
            flags |= FD_ISSET(fd, &writable) ? WRITABLE : 0;
            if (flags == 0)
                continue;
            log_fd(fd, flags);
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
const struct flag_name flag_names[] = {{READABLE, "readable"}, {WRITABLE, "writable"}, {0, NULL}};

int main(int argc, char **argv)
{
    if (!lower_nofile_limit())
        die("RLIMIT_NOFILE");
    start_up(argc, argv);
    if (!watch(listener) || !watch(shutdown_pipe[0]))
        die("select");
    print_listening_address(listener);
    serve();
    clients_close();
    return 0;
}
