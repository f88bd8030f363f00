/* selector.h: wait for many descriptors, with whatever this system does best.
 *
 * The verbs and their meaning are those of Python's module selectors, in C.  A selector keeps a set
 * of keys.  A key is a descriptor, the events that you wait for there, and what you want to find
 * again when they come.  selector_select() returns the keys that are ready; selector_dispatch()
 * calls them.
 *
 * What is true of every function and every back end:
 * - It is level-triggered: a descriptor is reported as long as it is ready.
 * - A function that fails returns -1, or NULL, and sets errno:
 *     EINVAL  events that are not EVENT_READ, EVENT_WRITE or both; max below 1; no such back end
 *     EBADF   the descriptor is negative, or not open
 *     EPERM   a regular file or a directory, which are always ready (epoll: some devices too)
 *     EEXIST  the descriptor has a key already         (Python: KeyError)
 *     ENOENT  the descriptor has no key                (Python: KeyError)
 *     ERANGE  a descriptor of FD_SETSIZE or above, with the back end select
 *   and whatever else the kernel says, as ENOMEM.
 * - Unregister a descriptor before you close it.  If you forget, it is reported no more, or for
 *   epoll and a descriptor that has a copy, too often, until you unregister it after all.
 * - A selector is for one thread. */
#ifndef SELECTOR_H
#define SELECTOR_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

enum { EVENT_READ = 1, EVENT_WRITE = 2 };

struct selector;
struct selector_key;

/* What selector_dispatch() calls: the key, which is a copy, and which of its events are there.  It
 * may register, modify and unregister anything, itself too.  It may not close the selector. */
typedef void selector_callback(struct selector *selector, const struct selector_key *key,
                               int events);

struct selector_key {
    int fd;
    int events;                  /* EVENT_READ, EVENT_WRITE, or EVENT_READ | EVENT_WRITE */
    selector_callback *callback; /* NULL if you only use selector_select() */
    void *data;                  /* yours; the selector does not look at it */
    unsigned long long id;       /* of this registration: no other ever has the same */
};

/* One ready descriptor.  An error or a hang-up counts as every event of the key, so that the read
 * or the write that you were waiting for finds it. */
struct selector_ready {
    struct selector_key key; /* a copy */
    int events;              /* those of the key that are there; never 0 */
};

/* A selector with this back end ("epoll", "kqueue", "poll", "select"); NULL takes the best that
 * this kernel accepts.  NULL and errno if that fails.  Python: DefaultSelector(), PollSelector()
 * ... */
struct selector *selector_open(const char *backend);

/* Give back all that the selector has, and not your descriptors.  Python: close(). */
void selector_close(struct selector *selector);

/* Begin to wait for these events at fd.  0; or -1, and then nothing has changed.
 * Python: register(). */
int selector_register(struct selector *selector, int fd, int events, selector_callback *callback,
                      void *data);

/* Give the key of fd other events, callback and data.  With the events that it has, this is no
 * system call.  0; or -1, and then fd has no key any more, as in Python.  Python: modify(). */
int selector_modify(struct selector *selector, int fd, int events, selector_callback *callback,
                    void *data);

/* Wait for fd no more.  It does not matter if fd was closed, or closed and its number given to
 * another.  0; or -1: ENOENT, EBADF for a negative one.  Python: unregister(). */
int selector_unregister(struct selector *selector, int fd);

/* Wait until something is ready, and put it into ready[], which has room for max entries.  Each
 * descriptor is there once.  If more are ready than there is room for, all have their turn in the
 * calls that follow.
 * timeout: NULL waits for ever, zero or less does not wait.  It is never cut short: the wait is as
 * long or up to a millisecond longer.
 * Returns how many; 0: the time is up.  -1: EINTR, a signal was handled; or the kernel's errno.
 * Python: select(). */
int selector_select(struct selector *selector, struct selector_ready ready[], int max,
                    const struct timespec *timeout);

/* Wait likewise, then call the callback of each that is ready.  Left out is who has no callback,
 * and who is not to be called any more, since a callback before it unregistered it, closed it and
 * registered a new one with the same number, or no longer waits for what happened.
 * Returns how many were ready; 0: the time is up.  -1 as selector_select().
 * Python: for key, events in select(): key.data(...). */
int selector_dispatch(struct selector *selector, const struct timespec *timeout);

/* The key of fd; NULL: ENOENT, EBADF for a negative one.  It is valid until the set changes.
 * Python: get_key(). */
const struct selector_key *selector_get_key(const struct selector *selector, int fd);

/* The first key whose descriptor is `from` or above; NULL: there are no more.  All of them are
 *     for (key = selector_next_key(s, 0); key != NULL; key = selector_next_key(s, key->fd + 1))
 * and it is valid until the set changes.  Python: get_map(). */
const struct selector_key *selector_next_key(const struct selector *selector, int from);

/* How many keys there are.  Python: len(get_map()). */
int selector_count(const struct selector *selector);

/* The name of the back end that is in use. */
const char *selector_backend(const struct selector *selector);

/* The names of those compiled in, the best first; the last entry is NULL. */
const char *const *selector_backends(void);

/* The descriptor of epoll or kqueue, readable when one of ours is ready.  -1: there is none, for
 * poll and select: ENOTSUP.  It can be another one after selector_after_fork().  Python: fileno().
 */
int selector_fileno(const struct selector *selector);

/* Call this first in a child made by fork() that goes on to use the selector.  Until then an epoll
 * selector shares its set with the parent, and a kqueue selector has none.  0; or -1 and errno. */
int selector_after_fork(struct selector *selector);

/* ---- from here on: between selector.c and its back ends.  A program needs none of it ---- */

#if __has_include(<sys/epoll.h>)
#define HAVE_EPOLL
#endif
#if __has_include(<sys/event.h>)
#define HAVE_KQUEUE
#endif

struct selector {
    const struct selector_backend *backend;
    void *state; /* the back end's own */
    int fd;      /* of epoll or kqueue; -1: there is none */
    pid_t owner; /* the process that opened it */
    struct selector_entry {
        struct selector_key key; /* in use if its id is not 0 */
        int found_at;            /* its place among the ready, if it has one */
    } * entries;                 /* by descriptor */
    int capacity, highest;       /* of entries: there is memory for; in use, or -1 */
    int count;                   /* of keys */
    unsigned long long last_id;
    struct selector_ready *ready; /* what selector_select() has found, */
    int found;                    /* so many, */
    int first; /* and where to begin the next time, so that all have their turn */
};

/* A back end.  Its functions return 0, or -1 and errno. */
struct selector_backend {
    const char *name;
    int (*open)(struct selector *selector);
    void (*close)(struct selector *selector);
    /* Other events for fd, which is open; 0 is none, and then it may be closed, and never fails.
     * Whatever was begun when it fails is undone by a change to 0. */
    int (*change)(struct selector *selector, int fd, int was, int now);
    /* Wait so many milliseconds, -1 for ever.  Report what is ready by selector_found(), at most
     * max of them.  1: something had to be mended, look again. */
    int (*wait)(struct selector *selector, int max, int milliseconds);
};
extern const struct selector_backend backend_epoll, backend_kqueue, backend_poll, backend_select;

/* fd is ready for these events, and perhaps for others that nobody waits for.  False: it has no key
 * of that id; 0 stands for any. */
bool selector_found(struct selector *selector, int fd, unsigned id, int events);
/* The flags of poll and epoll as events: all but `out` allow a read, all but `in` a write. */
int selector_events(unsigned flags, unsigned in, unsigned out);
/* Open the back end anew, with all keys, and give the old one back.  If it fails, all is as it was.
 */
int selector_renew(struct selector *selector);

#endif
