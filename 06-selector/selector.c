/* What every back end has in common: the keys, the clock, and the order of things. */
#define _POSIX_C_SOURCE 200809L

#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_ROUND 256 /* ready ones in one selector_dispatch(), to begin with */
#define NS_PER_MS 1000000LL
#define FOR_EVER_S 1000000000LL /* a timeout of thirty years or more need not end */

/* The best first.  Where there are both, epoll is made of kqueue: on NetBSD. */
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
#define BACKENDS (sizeof backends / sizeof backends[0])

/* ---- open and close ---- */

// ANCHOR: open
struct selector *selector_open(const char *backend)
{
    struct selector *selector = malloc(sizeof *selector);

    if (selector == NULL)
        return NULL;
    *selector = (struct selector){.fd = -1, .highest = -1, .owner = getpid()};
    errno = EINVAL;
    for (size_t i = 0; i < BACKENDS; i++) {
        if (backend != NULL && strcmp(backend, backends[i]->name) != 0)
            continue;
        selector->backend = backends[i];
        if (backends[i]->open(selector) == 0)
            return selector;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            break; /* a shortage says nothing of what the kernel accepts */
    }
    free(selector);
    return NULL;
}
// ANCHOR_END: open

void selector_close(struct selector *selector)
{
    if (selector != NULL) {
        selector->backend->close(selector);
        for (int i = 0; i < selector->capacity / BLOCK; i++)
            free(selector->blocks[i]);
        free(selector->blocks);
        free(selector->round);
    }
    free(selector);
}

int selector_renew(struct selector *selector)
{
    struct selector fresh = *selector;
    const struct selector_key *key = selector_next_key(selector, 0);

    fresh.owner = getpid();
    fresh.fd = -1;
    if (fresh.backend->open(&fresh) == -1)
        return -1;
    for (; key != NULL; key = selector_next_key(selector, key->fd + 1)) {
        if (key->fd == fresh.fd || fresh.backend->change(&fresh, key->fd, 0, key->events) == 0 ||
            (errno != ENOMEM && errno != ENOSPC))
            continue; /* closed and not unregistered, its number perhaps another's: let it be */
        int error = errno;
        fresh.backend->close(&fresh);
        errno = error;
        return -1;
    }
    if (fresh.fd == -1 || fresh.fd != selector->fd) /* else the child has closed the old one */
        selector->backend->close(selector);
    *selector = fresh;
    return 0;
}

int selector_after_fork(struct selector *selector)
{
    return selector_renew(selector);
}

/* ---- keys ---- */

static int fail(int error)
{
    errno = error;
    return -1;
}

/* The entry of fd; NULL: it has no key, and errno says so. */
static struct selector_entry *find(const struct selector *selector, int fd)
{
    errno = fd < 0 ? EBADF : ENOENT;
    if (fd < 0 || fd >= selector->capacity || selector->blocks[fd / BLOCK] == NULL)
        return NULL;
    struct selector_entry *entry = &selector->blocks[fd / BLOCK][fd % BLOCK];
    return entry->key.id != 0 ? entry : NULL;
}

/* Make the blocks reach as far as fd.  False: no memory. */
static bool make_room(struct selector *selector, int fd)
{
    int first = selector->capacity / BLOCK, blocks = fd / BLOCK + 1;

    if (blocks > first) {
        struct selector_entry **longer = realloc(selector->blocks, (size_t)blocks * sizeof *longer);
        if (longer == NULL)
            return false;
        for (int i = first; i < blocks; i++)
            longer[i] = NULL;
        selector->blocks = longer;
        selector->capacity = blocks * BLOCK;
    }
    if (selector->blocks[fd / BLOCK] == NULL)
        selector->blocks[fd / BLOCK] = calloc(BLOCK, sizeof(struct selector_entry));
    return selector->blocks[fd / BLOCK] != NULL;
}

/* Left to themselves, poll and select would say only when they wait what epoll says at once. */
static bool can_wait(const struct selector *selector, int fd)
{
    struct stat status;

    if (fcntl(fd, F_GETFD) == -1)
        return false;
    if (selector->fd != -1 || fstat(fd, &status) == -1)
        return true;
    errno = EPERM;
    return !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

static bool are_events(int events)
{
    errno = EINVAL;
    return events != 0 && (events & ~(EVENT_READ | EVENT_WRITE)) == 0;
}

/* The key goes, and with it all that the back end has of it; errno stays. */
static void drop(struct selector *selector, struct selector_entry *entry, int events)
{
    int error = errno;

    selector->backend->change(selector, entry->key.fd, events, 0);
    entry->key.id = 0;
    selector->count--;
    while (selector->highest >= 0 && find(selector, selector->highest) == NULL)
        selector->highest--;
    errno = error;
}

// ANCHOR: register
int selector_register(struct selector *selector, int fd, int events, selector_callback *callback,
                      void *data)
{
    if (!are_events(events))
        return -1;
    if (find(selector, fd) != NULL)
        return fail(EEXIST);
    if (!can_wait(selector, fd) || !make_room(selector, fd))
        return -1;
    struct selector_entry *entry = &selector->blocks[fd / BLOCK][fd % BLOCK];
    if (++selector->last_id == 0)
        selector->last_id = 1; /* 0 is an entry that is not in use */
    entry->key = (struct selector_key){fd, events, callback, data, selector->last_id};
    selector->count++;
    if (fd > selector->highest)
        selector->highest = fd;
    if (selector->backend->change(selector, fd, 0, events) == 0)
        return 0;
    drop(selector, entry, EVENT_READ | EVENT_WRITE);
    return -1;
}
// ANCHOR_END: register

int selector_modify(struct selector *selector, int fd, int events, selector_callback *callback,
                    void *data)
{
    struct selector_entry *entry = find(selector, fd);

    if (entry == NULL)
        return -1;
    if (events != entry->key.events &&
        (!are_events(events) || !can_wait(selector, fd) ||
         selector->backend->change(selector, fd, entry->key.events, events) == -1)) {
        drop(selector, entry, EVENT_READ | EVENT_WRITE);
        return -1;
    }
    entry->key.events = events;
    entry->key.callback = callback;
    entry->key.data = data;
    return 0;
}

int selector_unregister(struct selector *selector, int fd)
{
    struct selector_entry *entry = find(selector, fd);

    if (entry == NULL)
        return -1;
    drop(selector, entry, entry->key.events);
    return 0;
}

const struct selector_key *selector_get_key(const struct selector *selector, int fd)
{
    struct selector_entry *entry = find(selector, fd);

    return entry == NULL ? NULL : &entry->key;
}

const struct selector_key *selector_next_key(const struct selector *selector, int from)
{
    for (int fd = from < 0 ? 0 : from; fd <= selector->highest; fd++) {
        const struct selector_entry *entry = find(selector, fd);
        if (entry != NULL)
            return &entry->key;
    }
    return NULL;
}

/* ---- wait ---- */

/* Nanoseconds on a clock that nobody sets back. */
static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (1000 * NS_PER_MS) + now.tv_nsec;
}

/* How long the back end may wait for now: in whole milliseconds, rounded up, and no more of them
 * than an int can hold, which is 24.8 days. */
static int milliseconds(long long nanoseconds)
{
    long long rounded = (nanoseconds + NS_PER_MS - 1) / NS_PER_MS;

    if (rounded > INT_MAX)
        return INT_MAX;
    return rounded > 0 ? (int)rounded : 0;
}

// ANCHOR: select
int selector_select(struct selector *selector, struct selector_ready ready[], int max,
                    const struct timespec *timeout)
{
    bool for_ever = timeout == NULL || timeout->tv_sec >= FOR_EVER_S;
    long long left = for_ever || timeout->tv_sec < 0
                         ? 0
                         : timeout->tv_sec * (1000 * NS_PER_MS) + timeout->tv_nsec;
    long long end = left > 0 ? now_ns() + left : 0;

    if (max < 1)
        return fail(EINVAL);
    selector->ready = ready;
    selector->found = 0;
    for (;;) {
        int status = selector->backend->wait(selector, max, for_ever ? -1 : milliseconds(left));
        if (selector->found > 0)
            return selector->found;
        if (status == -1)
            return -1;
        left = left > 0 ? end - now_ns() : 0;
        if (status == 0 && !for_ever && left <= 0)
            return 0;
    }
}
// ANCHOR_END: select

// ANCHOR: found
bool selector_found(struct selector *selector, int fd, unsigned id, int events)
{
    struct selector_entry *entry = find(selector, fd);

    if (entry == NULL || (id != 0 && id != entry->key.id))
        return false;
    events &= entry->key.events;
    if (events == 0)
        return true;
    int at = entry->found_at;
    if (at < selector->found && selector->ready[at].key.fd == fd) {
        selector->ready[at].events |= events; /* kqueue tells of reading and writing apart */
        return true;
    }
    selector->first = fd + 1;
    entry->found_at = selector->found++;
    selector->ready[entry->found_at] = (struct selector_ready){entry->key, events};
    return true;
}
// ANCHOR_END: found

// ANCHOR: dispatch
/* Call who is ready, if nobody before him in this round has ended that: the number alone could be
 * another's by now. */
static void call(struct selector *selector, const struct selector_ready *ready)
{
    const struct selector_entry *entry = find(selector, ready->key.fd);

    if (entry == NULL || entry->key.id != ready->key.id)
        return;
    struct selector_key key = entry->key;
    int events = ready->events & key.events;
    if (events != 0 && key.callback != NULL)
        key.callback(selector, &key, events);
}

int selector_dispatch(struct selector *selector, const struct timespec *timeout)
{
    struct selector_ready *ready = selector->round;
    int room = ready != NULL ? selector->room : FIRST_ROUND;

    selector->round = NULL; /* it is in use: a callback may dispatch too */
    if (ready == NULL)
        ready = malloc((size_t)room * sizeof *ready);
    if (ready == NULL)
        return -1;
    int count = selector_select(selector, ready, room, timeout);
    for (int i = 0; i < count; i++)
        call(selector, &ready[i]);
    if (count ==
        room) { /* poll and select walk through all for each round, so take more at a time */
        struct selector_ready *larger = realloc(ready, (size_t)room * 2 * sizeof *ready);
        ready = larger != NULL ? larger : ready;
        room = larger != NULL ? room * 2 : room;
    }
    free(selector->round);
    selector->round = ready;
    selector->room = room;
    return count;
}
// ANCHOR_END: dispatch

int selector_events(unsigned flags, unsigned in, unsigned out)
{
    return ((flags & ~out) != 0 ? EVENT_READ : 0) | ((flags & ~in) != 0 ? EVENT_WRITE : 0);
}

/* ---- tell ---- */

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
    static const char *names[BACKENDS + 1];

    for (size_t i = 0; i < BACKENDS; i++)
        names[i] = backends[i]->name;
    return names;
}

int selector_fileno(const struct selector *selector)
{
    return selector->fd == -1 ? fail(ENOTSUP) : selector->fd;
}
