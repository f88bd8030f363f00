/* Stage 07: coroutines.  The loop of stage 04, and the code of stage 01 on top of it.
 *
 * A coroutine is a function that can stop in the middle and continue there later, because it has
 * its own stack (coroutine.c).  Each client has one, so serve_client() reads like stage 01.  Where
 * a thread would block, a coroutine yields to the loop; only one coroutine runs at a time.
 * Try it: make tour STAGE=07, and then make run-07 V=1.
 * Limit: each idle client uses a page of memory, at the top of its 64 KiB stack. */
#define _POSIX_C_SOURCE 200809L

#include "common.h"
#include "coroutine.h"
#include "stamp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// ANCHOR: coroutines
/* The listener has a coroutine, and so has each client.  When the loop waits, all of them wait.
 * What stages 02 to 06 keep in struct client (whether output is pending, and how much of it has
 * been sent) is kept here in local variables of functions that have not returned. */
static struct coroutine **coroutines; /* indexed by descriptor; NULL: none */
static int coroutine_capacity;

static bool fd_ready;      /* epoll has reported the descriptor of the running coroutine */
static bool shutting_down; /* every coroutine is to end */
// ANCHOR_END: coroutines

// ANCHOR: wait
/* Here a coroutine waits: coroutine_yield() returns when epoll has reported its descriptor and the
 * loop resumes it.  A new coroutine is first resumed when epoll reports its descriptor, so its
 * first wait returns immediately.  Returns false if the server is shutting down. */
static bool wait_ready(void)
{
    if (!fd_ready && !shutting_down)
        coroutine_yield();
    fd_ready = false;
    if (shutting_down)
        errno = ECANCELED;
    return !shutting_down;
}
// ANCHOR_END: wait

// ANCHOR: epoll
enum interest { INTEREST_READ, INTEREST_WRITE };
static int epoll_fd;

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

static bool watch(int fd)
{
    return update_epoll(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP);
}

static bool set_interest(int fd, enum interest interest)
{
    bool read = interest == INTEREST_READ;

    return update_epoll(EPOLL_CTL_MOD, fd, read ? EPOLLIN | EPOLLRDHUP : EPOLLOUT);
}

static void unwatch(int fd)
{
    update_epoll(EPOLL_CTL_DEL, fd, 0);
}
// ANCHOR_END: epoll

// ANCHOR: client
/* Wait for bytes.  Returns what recv() returns: 0 at the end of input, -1 for an error. */
static ssize_t receive(int fd, char *buffer, size_t size)
{
    ssize_t received;

    while ((received = wait_ready() ? recv(fd, buffer, size, 0) : -1) == -1 && is_transient(errno))
        back_off(errno);
    if (!shutting_down) /* otherwise recv() was not called */
        log_call("recv %zd", received);
    log_fd(fd, 0);
    if (received == 0)
        log_action("end of input; close");
    if (received == -1)
        log_client_error("recv");
    return received;
}

/* Returns how many bytes the socket took, 0 if it can take none now, or -1 on an error. */
static ssize_t send_some(int fd, const char *data, size_t length)
{
    ssize_t sent = send(fd, data, length, 0);

    if (sent == -1 && is_transient(errno)) {
        back_off(errno);
        sent = 0;
    }
    log_fd(fd, 0);
    if (sent != -1)
        log_action("send %zd", sent);
    return sent;
}

/* The socket's send buffer is full.  While this coroutine waits for room, other coroutines use the
 * shared buffer, so we copy the unsent data to a buffer that belongs to this coroutine.  Returns
 * false on failure, with the reason in errno. */
static bool send_rest(int fd, const char *data, size_t length)
{
    char *rest = malloc(length);
    size_t sent = 0;

    if (rest == NULL)
        return false;
    memcpy(rest, data, length);
    bool ok = set_interest(fd, INTEREST_WRITE);
    while (ok && sent < length) {
        ssize_t n = wait_ready() ? send_some(fd, rest + sent, length - sent) : -1;
        ok = n != -1;
        sent += ok ? (size_t)n : 0;
    }
    ok = ok && set_interest(fd, INTEREST_READ);
    int error = errno; /* free() may change it */
    free(rest);
    errno = error;
    return ok;
}

/* Send all of the data.  The socket nearly always takes it in one call. */
static bool send_all(int fd, const char *data, size_t length)
{
    ssize_t sent = send_some(fd, data, length);
    bool ok = sent != -1;

    if (ok && (size_t)sent < length)
        ok = send_rest(fd, data + sent, length - (size_t)sent);
    if (!ok)
        log_client_error("send");
    return ok;
}

#define BUFFER_SIZE 65536 /* bytes per recv(), so that large messages need few calls */

/* Serve one client from its first byte to its last. */
static void serve_client(int fd)
{
    static char buffer[BUFFER_SIZE]; /* shared: it holds no data while a coroutine waits */
    ssize_t received;

    while ((received = receive(fd, buffer, sizeof buffer)) > 0)
        if (!send_all(fd, buffer, (size_t)received))
            break;
    unwatch(fd);
    close(fd);
}
// ANCHOR_END: client

// ANCHOR: spawn
/* Grow the table until it has an entry for fd.  Returns false, with the table unchanged, if there
 * is no memory. */
static bool grow_coroutine_table(int fd)
{
    if (fd < coroutine_capacity)
        return true;
    int capacity = fd + fd / 2 + 16;
    struct coroutine **larger = realloc(coroutines, (size_t)capacity * sizeof(struct coroutine *));
    if (larger == NULL)
        return false;
    coroutines = larger;
    while (coroutine_capacity < capacity)
        coroutines[coroutine_capacity++] = NULL;
    return true;
}

/* Create a coroutine that will run body(fd) when epoll first reports fd. */
static bool spawn_coroutine(void (*body)(int), int fd)
{
    if (!grow_coroutine_table(fd) || !watch(fd))
        return false;
    coroutines[fd] = coroutine_new(body, fd);
    return coroutines[fd] != NULL;
}

/* When to try accept() again, on the now_ms() clock, after descriptors or memory ran out; 0 if
 * accepting is not paused. */
static long long accept_paused_until;

/* Let the coroutine of fd run until it waits again or ends.  If fd has no coroutine, do nothing:
 * end_all_coroutines() calls this for every entry of the table. */
static void resume_coroutine(int fd)
{
    if (fd >= coroutine_capacity || coroutines[fd] == NULL)
        return;
    log_action("resume coroutine %d", fd);
    stamp(STAMP_RESUMED, fd, (uint64_t)fd);
    fd_ready = true;
    if (coroutine_resume(coroutines[fd]))
        return;
    coroutines[fd] = NULL;
    if (accept_paused_until != 0)
        accept_paused_until = now_ms(); /* a descriptor is free now */
}
// ANCHOR_END: spawn

// ANCHOR: accept
#define MAX_ACCEPTS_PER_EVENT 64 /* then the connected clients get a turn */

static void start_client_coroutine(int fd)
{
    log_call("accept");
    log_fd(fd, 0);
    log_action("start a coroutine for it");
    if (set_nonblocking(fd) && spawn_coroutine(serve_client, fd)) {
        set_nodelay(fd);
        return;
    }
    log_client_error("accept");
    unwatch(fd);
    close(fd);
}

/* Accept the connections that wait in the backlog.  Returns ACCEPT_SHORTAGE or ACCEPT_BROKEN if
 * accepting must stop, and ACCEPT_NEXT otherwise. */
static enum accept_error accept_batch(void)
{
    enum accept_error result = ACCEPT_NEXT;
    int errors = 0;

    for (int i = 0; i < MAX_ACCEPTS_PER_EVENT && result == ACCEPT_NEXT; i++) {
        int fd = accept(listener, NULL, NULL);
        if (fd == -1 && errno == EAGAIN)
            return ACCEPT_NEXT;
        if (fd != -1)
            start_client_coroutine(fd);
        else if ((result = log_accept_error(errno)) == ACCEPT_NEXT)
            errors++;
    }
    if (errors < MAX_ACCEPTS_PER_EVENT)
        return result;
    /* Every accept() failed: the fault is not in the connections, so treat it as a shortage. */
    report_shortage("accept");
    return ACCEPT_SHORTAGE;
}

/* Descriptors or memory have run out (ACCEPT_SHORTAGE).  While that lasts, accept() would
 * fail again immediately, so we stop watching the listener.  The loop resumes this coroutine when a
 * client has disconnected, and also after BACKOFF_MS, because a system-wide shortage can end
 * without any of our clients disconnecting. */
static void accept_pause(void)
{
    unwatch(listener);
    do {
        accept_paused_until = now_ms() + BACKOFF_MS;
        coroutine_yield();
    } while (!shutting_down && !watch(listener));
    accept_paused_until = 0;
}

/* The listener's coroutine has the shape of stage 01: accept a client, and start the coroutine that
 * serves it. */
static void serve_listener(int fd)
{
    while (wait_ready()) {
        enum accept_error result = accept_batch();
        if (result == ACCEPT_SHORTAGE)
            accept_pause();
        if (result == ACCEPT_BROKEN) {
            unwatch(fd);
            return;
        }
    }
}
// ANCHOR_END: accept

/* Resume accepting if the pause is over.  Returns the timeout for the next wait, in milliseconds;
 * -1 means no timeout. */
static int wait_timeout_ms(void)
{
    if (accept_paused_until != 0 && pause_is_over(accept_paused_until))
        resume_coroutine(listener);
    return accept_paused_until != 0 ? BACKOFF_MS : -1;
}

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
            stamp(STAMP_LOOP, fd, 0);
            if (fd == shutdown_pipe[0])
                return;
            resume_coroutine(fd);
        }
    }
}
// ANCHOR_END: loop

/* The server is stopping: every wait_ready() returns false, so every coroutine closes its client
 * and ends. */
static void end_all_coroutines(void)
{
    log_action("told to stop");
    shutting_down = true;
    for (int fd = 0; fd < coroutine_capacity; fd++)
        resume_coroutine(fd);
    free(coroutines);
    coroutine_cleanup();
}

const struct stage_option stage_option = {"", "", ""};
const struct flag_name flag_names[] = {{EPOLLIN, "EPOLLIN"},       {EPOLLOUT, "EPOLLOUT"},
                                       {EPOLLERR, "EPOLLERR"},     {EPOLLHUP, "EPOLLHUP"},
                                       {EPOLLRDHUP, "EPOLLRDHUP"}, {0, NULL}};

int main(int argc, char **argv)
{
    start_up(argc, argv);
    stamps_open(); /* the tracer reads time stamps of events in this process (see stamp.h) */
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd == -1 || !watch(shutdown_pipe[0]) || !spawn_coroutine(serve_listener, listener))
        die("epoll");
    print_listening_address(listener);
    serve();
    end_all_coroutines();
    close(epoll_fd);
    close(listener);
    close(shutdown_pipe[0]);
    close(shutdown_pipe[1]);
    return 0;
}
