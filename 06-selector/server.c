/* Stage 06: a selector.  One interface over epoll, kqueue, poll and select.
 *
 * selector.h is Python's selectors module in C.  A key holds a descriptor, events to wait for, a
 * callback and its data; selector_dispatch() calls the callback of each key that is ready.
 * Try it: make tour STAGE=06, and then make run-06 V=1.
 * Limit: a selector can hide the differences between its back ends, but not their limits. */
#define _POSIX_C_SOURCE 200809L

#include "clients.h"
#include "common.h"
#include "selector.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>

// ANCHOR: callbacks
static struct selector *selector;
static bool stopped;

static void log_event(const struct selector_key *key, int events)
{
    log_call("%s calls back", selector_backend(selector));
    log_fd(key->fd, (unsigned)events);
}

static void on_listener(const struct selector_key *key, int events)
{
    log_event(key, events);
    client_accept();
}

static void on_client(const struct selector_key *key, int events)
{
    log_event(key, events);
    client_ready(key->data);
}

static void on_shutdown(const struct selector_key *key, int events)
{
    log_event(key, events);
    stopped = true;
}
// ANCHOR_END: callbacks

// ANCHOR: limit
/* The interface cannot hide two limits.  select() has no bit for a descriptor of FD_SETSIZE or
 * above, so with this back end no descriptor may be that high.  poll() fails if RLIMIT_NOFILE is
 * lowered below the number of entries, so we try to raise it again.  True: the limit has changed.
 */
static bool adjust_nofile_limit(void)
{
    bool with_select = strcmp(selector_backend(selector), "select") == 0;
    const struct selector_key *key = selector_next_key(selector, 0);
    struct rlimit limit;
    rlim_t needed = 0;

    for (; key != NULL; key = selector_next_key(selector, key->fd + 1))
        needed = (rlim_t)key->fd + 1;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return false;
    rlim_t before = limit.rlim_cur;
    if (limit.rlim_cur < needed)
        limit.rlim_cur = needed;
    if (with_select && limit.rlim_cur > FD_SETSIZE)
        limit.rlim_cur = FD_SETSIZE;
    return limit.rlim_cur != before && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}
// ANCHOR_END: limit

// ANCHOR: adapt
/* Which callback a descriptor gets is decided here, once, and no loop has to ask again. */
bool watch(int fd)
{
    selector_callback *callback = fd == listener ? on_listener : on_client;

    if (selector_register(selector, fd, EVENT_READ, callback, client_by_fd(fd)) == 0)
        return true;
    /* A debugger, for example, may have closed a client's descriptor without our knowledge. */
    if (errno == EEXIST && selector_unregister(selector, fd) == 0)
        return watch(fd);
    if (errno == ERANGE) { /* another process has raised the limit */
        adjust_nofile_limit();
        errno = EMFILE;
    }
    return false;
}

bool set_interest(int fd, enum interest interest)
{
    int events = interest == INTEREST_READ ? EVENT_READ : EVENT_WRITE;

    return selector_modify(selector, fd, events, on_client, client_by_fd(fd)) == 0;
}

void unwatch(int fd)
{
    selector_unregister(selector, fd);
}
// ANCHOR_END: adapt

// ANCHOR: loop
static void serve(void)
{
    while (!stopped) {
        int timeout_ms = wait_timeout_ms();
        struct timespec timeout = {.tv_nsec = timeout_ms * 1000000L};
        if (selector_dispatch(selector, timeout_ms < 0 ? NULL : &timeout) != -1)
            continue;
        int error = errno;
        if (error == EINVAL && adjust_nofile_limit())
            continue;
        errno = error;
        if (!handle_wait_error("selector_dispatch"))
            return;
    }
}
// ANCHOR_END: loop

static char backend_help[128]; /* which back ends are available depends on the system */
const struct stage_option stage_option = {"s:", " [-s BACKEND]", backend_help};
const struct flag_name flag_names[] = {
    {EVENT_READ, "EVENT_READ"}, {EVENT_WRITE, "EVENT_WRITE"}, {0, NULL}};

static void list_backends(void)
{
    char list[64] = "";

    for (const char *const *name = selector_backends(); *name != NULL; name++) {
        size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, " %s", *name);
    }
    snprintf(backend_help, sizeof backend_help,
             "  -s BACKEND  one of:%s (default: $SELECTOR, or the first)\n", list);
}

static bool is_backend(const char *name)
{
    const char *const *known = selector_backends();

    while (*known != NULL && strcmp(*known, name) != 0)
        known++;
    return *known != NULL;
}

int main(int argc, char **argv)
{
    list_backends();
    start_up(argc, argv);
    const char *name = options.stage_flag ? options.stage_value : getenv("SELECTOR");
    if (!options.stage_flag && name != NULL && name[0] == '\0')
        name = NULL;
    if (name != NULL && !is_backend(name))
        bad_usage(name, "not one of the back ends that -h lists");
    selector = selector_open(name);
    if (selector == NULL || !watch(listener) ||
        selector_register(selector, shutdown_pipe[0], EVENT_READ, on_shutdown, NULL) == -1)
        die("selector");
    adjust_nofile_limit();
    print_listening_address(listener);
    serve();
    clients_close();
    selector_close(selector);
    return 0;
}
