/* What all back ends have in common: the keys, the timeout and the callbacks. */
#define _GNU_SOURCE    /* O_PATH */
#define _NETBSD_SOURCE /* NetBSD hides parts of POSIX without it */

#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIRST_BATCH 256 /* the room of the first selector_dispatch() */
#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL
#define ENDLESS_S 1000000000LL /* a timeout of 31 years or more never ends */
#define FOREVER (-1LL)         /* the same, as a number of nanoseconds */

/* Best first.  A system that has both kqueue and epoll, such as NetBSD, builds epoll on kqueue. */
static const struct selector_backend *const backends[] = {
#ifdef HAVE_KQUEUE
    &backend_kqueue,
#endif
#ifdef HAVE_EPOLL
    &backend_epoll,
#endif
    &backend_poll,
    &backend_select,
};
#define BACKEND_COUNT (sizeof backends / sizeof backends[0])

static int fail(int error)
{
    errno = error;
    return -1;
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* ---- open and close ---- */

// ANCHOR: open
struct selector *selector_open(const char *backend)
{
    struct selector *selector = malloc(sizeof *selector);

    if (selector == NULL)
        return NULL;
    *selector = (struct selector){.fd = -1, .highest = -1, .owner = getpid()};
    errno = EINVAL;
    for (size_t i = 0; i < BACKEND_COUNT; i++) {
        if (backend != NULL && strcmp(backend, backends[i]->name) != 0)
            continue;
        selector->backend = backends[i];
        if (backends[i]->open(selector) == 0)
            return selector;
        if (is_shortage(errno)) /* does not mean that the kernel lacks this back end */
            break;
    }
    free(selector);
    return NULL;
}
// ANCHOR_END: open

void selector_close(struct selector *selector)
{
    if (selector == NULL)
        return;
    selector->backend->close(selector);
    for (int i = 0; i < selector->capacity / BLOCK_SIZE; i++)
        free(selector->blocks[i]);
    free(selector->blocks);
    free(selector->batch);
    free(selector);
}

/* Register every key with a back end that has just been opened.  A key that the kernel does not
 * accept is left out, because its descriptor has been closed and not unregistered, and the number
 * may belong to another file.  Returns -1 only for a shortage. */
static int register_all(struct selector *selector)
{
    const struct selector_key *key = selector_next_key(selector, 0);

    for (; key != NULL; key = selector_next_key(selector, key->fd + 1)) {
        if (key->events == 0 || key->fd == selector->fd)
            continue;
        if (selector->backend->change(selector, key->fd, 0, key->events) == -1 &&
            (errno == ENOMEM || errno == ENOSPC))
            return -1;
    }
    return 0;
}

int selector_rebuild(struct selector *selector)
{
    struct selector fresh = *selector;

    fresh.owner = getpid();
    if (fresh.backend->open(&fresh) == -1)
        return -1;
    if (register_all(&fresh) == -1) {
        int error = errno;
        fresh.backend->close(&fresh);
        return fail(error);
    }
    /* A kqueue that fork() did not pass on is closed, and the new one may have its number. */
    if (fresh.fd == -1 || fresh.fd != selector->fd)
        selector->backend->close(selector);
    *selector = fresh;
    return 0;
}

int selector_after_fork(struct selector *selector)
{
    return selector_rebuild(selector);
}

/* ---- keys ---- */

/* The entry of fd.  If fd has no key, returns NULL and sets errno. */
static struct selector_entry *find_entry(const struct selector *selector, int fd)
{
    errno = fd < 0 ? EBADF : ENOENT;
    if (fd < 0 || fd >= selector->capacity || selector->blocks[fd / BLOCK_SIZE] == NULL)
        return NULL;
    struct selector_entry *entry = &selector->blocks[fd / BLOCK_SIZE][fd % BLOCK_SIZE];
    return entry->id != 0 ? entry : NULL;
}

/* An entry for fd, which has no key yet.  Returns NULL if there is no memory. */
static struct selector_entry *allocate_entry(struct selector *selector, int fd)
{
    int old_count = selector->capacity / BLOCK_SIZE, new_count = fd / BLOCK_SIZE + 1;

    if (new_count > old_count) {
        struct selector_entry **larger =
            realloc(selector->blocks, (size_t)new_count * sizeof *larger);
        if (larger == NULL)
            return NULL;
        for (int i = old_count; i < new_count; i++)
            larger[i] = NULL;
        selector->blocks = larger;
        selector->capacity = new_count * BLOCK_SIZE;
    }
    struct selector_entry **block = &selector->blocks[fd / BLOCK_SIZE];
    if (*block == NULL)
        *block = calloc(BLOCK_SIZE, sizeof **block);
    return *block == NULL ? NULL : &(*block)[fd % BLOCK_SIZE];
}

/* Remove the key and its events from the back end.  errno is preserved. */
static void remove_entry(struct selector *selector, struct selector_entry *entry, int events)
{
    int error = errno;

    selector->backend->change(selector, entry->key.fd, events, 0);
    entry->id = 0;
    selector->count--;
    while (selector->highest >= 0 && find_entry(selector, selector->highest) == NULL)
        selector->highest--;
    errno = error;
}

/* Whether the kernel can wait for fd.  If it cannot, sets errno.  Every back end gets its answer
 * here: poll() and select() would report a closed descriptor only when they wait, and a file that
 * is always ready not at all. */
static bool can_wait(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == -1)
        return errno != EBADF;
#ifdef O_PATH /* such a descriptor refers to the file's name only: epoll says EBADF */
    int flags = fcntl(fd, F_GETFL);
    errno = EBADF;
    if ((flags & O_PATH) != 0)
        return false;
#endif
    if (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode))
        return true;
#ifdef __linux__ /* the driver decides and not the type */
    int accepted = selector_ask_epoll(fd);
    if (accepted != -1 || is_shortage(errno))
        return accepted == 1;
#endif
    errno = EPERM;
    return !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

static bool are_valid(int events)
{
    errno = EINVAL;
    return (events & ~(EVENT_READ | EVENT_WRITE)) == 0;
}

// ANCHOR: register
int selector_register(struct selector *selector, int fd, int events, selector_callback *callback,
                      void *data)
{
    if (events == 0 || !are_valid(events))
        return fail(EINVAL);
    if (find_entry(selector, fd) != NULL)
        return fail(EEXIST);
    if (!can_wait(fd))
        return -1;
    struct selector_entry *entry = allocate_entry(selector, fd);
    if (entry == NULL)
        return -1;
    if (++selector->last_id == 0) /* after four billion registrations the ids start again */
        selector->last_id = 1;
    *entry = (struct selector_entry){{fd, events, callback, data}, .id = selector->last_id};
    selector->count++;
    if (fd > selector->highest)
        selector->highest = fd;
    if (selector->backend->change(selector, fd, 0, events) == 0)
        return 0;
    remove_entry(selector, entry, EVENT_READ | EVENT_WRITE);
    return -1;
}
// ANCHOR_END: register

int selector_modify(struct selector *selector, int fd, int events, selector_callback *callback,
                    void *data)
{
    struct selector_entry *entry = find_entry(selector, fd);

    if (entry == NULL)
        return -1;
    if (events != entry->key.events) {
        if (!are_valid(events) || !can_wait(fd))
            return -1;
        if (selector->backend->change(selector, fd, entry->key.events, events) == -1) {
            remove_entry(selector, entry, EVENT_READ | EVENT_WRITE);
            return -1;
        }
    }
    entry->key = (struct selector_key){fd, events, callback, data};
    return 0;
}

int selector_unregister(struct selector *selector, int fd)
{
    struct selector_entry *entry = find_entry(selector, fd);

    if (entry == NULL)
        return -1;
    remove_entry(selector, entry, entry->key.events);
    return 0;
}

const struct selector_key *selector_get_key(const struct selector *selector, int fd)
{
    struct selector_entry *entry = find_entry(selector, fd);

    return entry == NULL ? NULL : &entry->key;
}

const struct selector_key *selector_next_key(const struct selector *selector, int from)
{
    for (int fd = from < 0 ? 0 : from; fd <= selector->highest; fd++) {
        const struct selector_entry *entry = find_entry(selector, fd);
        if (entry != NULL)
            return &entry->key;
    }
    return NULL;
}

unsigned selector_registration(const struct selector *selector, int fd)
{
    const struct selector_entry *entry = find_entry(selector, fd);

    return entry == NULL ? 0 : entry->id;
}

/* ---- wait ---- */

/* Nanoseconds on a clock that nobody sets back. */
static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* If more is left than before the wait, the clock has been set back (see pause_is_over() in
 * common.c).  The end would then be far away, so the wait ends now. */
static long long remaining_ns(long long end, long long before)
{
    long long left = end - now_ns();

    return left > 0 && left <= before ? left : 0;
}

/* The timeout in nanoseconds: 0 does not wait; FOREVER also stands for every timeout that is so
 * long that the sum of it and the time of the clock might overflow. */
static long long timeout_ns(const struct timespec *timeout)
{
    if (timeout == NULL || timeout->tv_sec >= ENDLESS_S)
        return FOREVER;
    return timeout->tv_sec < 0 ? 0 : timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
}

/* How long the back end may wait: whole milliseconds, rounded up, and no more than an int can hold,
 * which is 24.8 days.  -1 is for ever. */
static int timeout_ms(long long ns)
{
    if (ns == FOREVER)
        return -1;
    long long ms = ns / NS_PER_MS + (ns % NS_PER_MS > 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

// ANCHOR: select
/* Wait, and again if the back end has ended its wait early, until the time is up. */
static int wait_until_ready(struct selector *selector, int max, const struct timespec *timeout)
{
    if (max < 1)
        return fail(EINVAL);
    if (timeout != NULL && (timeout->tv_nsec < 0 || timeout->tv_nsec >= NS_PER_S))
        return fail(EINVAL);
    long long left = timeout_ns(timeout), end = left > 0 ? now_ns() + left : 0;
    selector->ready_count = 0;
    for (;;) {
        int status = selector->backend->wait(selector, max, timeout_ms(left));
        if (selector->ready_count > 0)
            return selector->ready_count;
        if (status == -1)
            return -1;
        if (left > 0)
            left = remaining_ns(end, left);
        if (left == 0 && status == 0)
            return 0;
    }
}

int selector_select(struct selector *selector, struct selector_ready ready[], int max,
                    const struct timespec *timeout)
{
    selector->ready = ready;
    selector->ready_ids = NULL;
    return wait_until_ready(selector, max, timeout);
}
// ANCHOR_END: select

// ANCHOR: report
bool selector_report(struct selector *selector, int fd, unsigned id, int events)
{
    struct selector_entry *entry = find_entry(selector, fd);

    if (entry == NULL || (id != 0 && id != entry->id))
        return false;
    events &= entry->key.events;
    if (events == 0) /* nobody waits for them here, so this is a registration of another file */
        return false;
    int index = entry->ready_index;
    if (index < selector->ready_count && selector->ready[index].key.fd == fd) {
        selector->ready[index].events |= events; /* kqueue reports reading and writing separately */
        return true;
    }
    index = selector->ready_count++;
    entry->ready_index = index;
    selector->ready[index] = (struct selector_ready){entry->key, events};
    if (selector->ready_ids != NULL)
        selector->ready_ids[index] = entry->id;
    selector->scan_start = fd + 1;
    return true;
}
// ANCHOR_END: report

int selector_events_from(unsigned flags, unsigned in, unsigned out)
{
    return ((flags & ~out) != 0 ? EVENT_READ : 0) | ((flags & ~in) != 0 ? EVENT_WRITE : 0);
}

/* ---- dispatch ---- */

static struct selector_batch *allocate_batch(int capacity)
{
    size_t entry_size = sizeof(struct selector_ready) + sizeof(unsigned);
    struct selector_batch *batch = malloc(sizeof *batch + (size_t)capacity * entry_size);

    if (batch != NULL) {
        batch->capacity = capacity;
        batch->ids = (unsigned *)&batch->ready[capacity];
    }
    return batch;
}

/* The batch, or one with twice the room if there is memory for it. */
static struct selector_batch *enlarge_batch(struct selector_batch *batch)
{
    struct selector_batch *larger =
        batch->capacity <= INT_MAX / 2 ? allocate_batch(batch->capacity * 2) : NULL;

    if (larger == NULL)
        return batch;
    free(batch);
    return larger;
}

// ANCHOR: dispatch
/* Call the callback of a key that is ready, unless an earlier callback of the batch has removed the
 * key.  The descriptor cannot tell, because it may belong to a new key by now; the id can. */
static void run_callback(const struct selector *selector, int fd, unsigned id, int ready_events)
{
    const struct selector_entry *entry = find_entry(selector, fd);

    if (entry == NULL || entry->id != id)
        return;
    struct selector_key key = entry->key;
    int events = ready_events & key.events;
    if (events != 0 && key.callback != NULL)
        key.callback(&key, events);
}

int selector_dispatch(struct selector *selector, const struct timespec *timeout)
{
    struct selector_batch *batch = selector->batch;

    selector->batch = NULL; /* it is in use: a callback may dispatch too */
    if (batch == NULL)
        batch = allocate_batch(FIRST_BATCH);
    if (batch == NULL)
        return -1;
    selector->ready = batch->ready;
    selector->ready_ids = batch->ids;
    int count = wait_until_ready(selector, batch->capacity, timeout);
    for (int i = 0; i < count; i++) {
        const struct selector_ready *ready = &batch->ready[i];
        run_callback(selector, ready->key.fd, batch->ids[i], ready->events);
    }
    /* poll and select examine every key for each batch, so many ready keys need large batches. */
    if (count == batch->capacity)
        batch = enlarge_batch(batch);
    free(selector->batch); /* left by a callback that dispatched */
    selector->batch = batch;
    return count;
}
// ANCHOR_END: dispatch

/* ---- questions about the selector ---- */

int selector_count(const struct selector *selector)
{
    return selector->count;
}

const char *selector_backend(const struct selector *selector)
{
    return selector->backend->name;
}

const char *const *selector_backends(void)
{
    static const char *names[BACKEND_COUNT + 1];

    for (size_t i = 0; i < BACKEND_COUNT; i++)
        names[i] = backends[i]->name;
    return names;
}

int selector_fileno(const struct selector *selector)
{
    return selector->fd == -1 ? fail(ENOTSUP) : selector->fd;
}
