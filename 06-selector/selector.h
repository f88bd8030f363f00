/* selector.h: wait for many descriptors, with whatever this system does best.
 *
 * The verbs and their meaning are those of Python's module selectors, in C.  A selector keeps a set
 * of keys.  A key is a descriptor, the events that you wait for there, and what you want to find
 * again when they come.  selector_select() returns the keys that are ready, selector_dispatch()
 * calls them:
 *
 *     static void on_client(struct selector *s, const struct selector_key *key, int events)
 *     {
 *         ...recv(key->fd, ...)...
 *         if (it has ended) {
 *             selector_unregister(s, key->fd);
 *             close(key->fd);
 *         }
 *     }
 *
 *     struct selector *s = selector_open(NULL);
 *     selector_register(s, fd, EVENT_READ, on_client, NULL);
 *     while (running)
 *         if (selector_dispatch(s, NULL) == -1 && errno != EINTR)
 *             ...
 *
 * What is true of every function and every back end:
 * - It is level-triggered: a descriptor is reported as long as it is ready.  Make descriptors
 *   non-blocking all the same: what was ready may no longer be so when you come to it.
 * - A function that fails returns -1, or NULL, and sets errno; after success errno means nothing.
 *     EINVAL  events that are not EVENT_READ, EVENT_WRITE or both; max below 1; no such back end
 *     EBADF   the descriptor is negative, or not open
 *     EPERM   a regular file or a directory, which are always ready (epoll: some devices too;
 *             a BSD's kqueue takes them)
 *     EEXIST  the descriptor has a key already         (Python: KeyError)
 *     ENOENT  the descriptor has no key                (Python: KeyError)
 *     ERANGE  a descriptor of FD_SETSIZE or above, with the back end select
 *     EPIPE   to wait to write into a pipe that nobody reads, with kqueue on a BSD
 *   and whatever else the kernel says, as ENOMEM.
 * - Unregister a descriptor before you close it.  If you forget, it is reported no more, and its
 *   key stays until you unregister it.  But if the number is given to another, poll and select may
 *   report that one by the old key.  And if the descriptor has a copy, by dup() or fork(), epoll
 *   goes on reporting it.
 * - A selector is for one thread at a time. */
#ifndef SELECTOR_H
#define SELECTOR_H

#include <time.h>

// ANCHOR: key
enum { EVENT_READ = 1, EVENT_WRITE = 2 };

struct selector;
struct selector_key;

/* What selector_dispatch() calls: the key, a copy made for this call, and which of its events are
 * there.  It may register, modify and unregister anything, itself too, and wait again.  It may not
 * close the selector. */
typedef void selector_callback(struct selector *selector, const struct selector_key *key,
                               int events);

struct selector_key {
    int fd;
    int events;                  /* EVENT_READ, EVENT_WRITE, or EVENT_READ | EVENT_WRITE */
    selector_callback *callback; /* NULL if you only use selector_select() */
    void *data;                  /* yours; the selector does not look at it */
    unsigned id;                 /* of this registration: a new one, a new id, up to four billion */
};

/* One ready descriptor.  An error or a hang-up counts as every event of the key, so that the read
 * or the write that you were waiting for finds it.  (select() tells of a hang-up only to who waits
 * to read, if there is no room to write: the reading end of a pipe, a local socket that is full.)
 */
struct selector_ready {
    struct selector_key key; /* a copy */
    int events;              /* those of the key that are there; never 0 */
};
// ANCHOR_END: key

/* A selector with this back end ("epoll", "kqueue", "poll", "select"); NULL takes the best that
 * this kernel accepts.  NULL and errno if that fails.  Python: DefaultSelector(), PollSelector()
 * ... */
struct selector *selector_open(const char *backend);

/* Give back all that the selector has, and not your descriptors.  NULL is allowed.
 * Python: close(). */
void selector_close(struct selector *selector);

// ANCHOR: set
/* Begin to wait for these events at fd.  0; or -1, and then nothing has changed.
 * Python: register(). */
int selector_register(struct selector *selector, int fd, int events, selector_callback *callback,
                      void *data);

/* Give the key of fd other events, callback and data.  With the events that it has, this is no
 * system call.  0; or -1, whatever the reason, and then fd has no key any more, as in Python.
 * Python: modify(). */
int selector_modify(struct selector *selector, int fd, int events, selector_callback *callback,
                    void *data);

/* Wait for fd no more.  It does not matter if fd was closed, or closed and its number given to
 * another.  0; or -1: ENOENT, EBADF for a negative one.  Python: unregister(). */
int selector_unregister(struct selector *selector, int fd);
// ANCHOR_END: set

// ANCHOR: wait
/* Wait until something is ready, and put it into ready[], which has room for max entries.  Each
 * descriptor is there once.  If more are ready than there is room for, all have their turn in the
 * calls that follow.
 * timeout: NULL waits for ever, zero or less does not wait.  It is rounded up to a millisecond.
 * Returns how many; 0: the time is up, and never before it is.  -1: EINTR, a signal was handled,
 * even with SA_RESTART, or with epoll the process was stopped and goes on; or the kernel's errno,
 * as poll's EINVAL while RLIMIT_NOFILE is below the highest descriptor.  A signal that comes just
 * before the wait does not end it: to stop a loop, let the handler write into a pipe that is
 * registered. Python: select(), which waits on after a signal. */
int selector_select(struct selector *selector, struct selector_ready ready[], int max,
                    const struct timespec *timeout);

/* Wait likewise, and call the callback of each that is ready.  A round has room for 256, and for
 * more once that was not enough; the others have their turn in the next one.  Not called are
 * - keys without a callback,
 * - keys that an earlier callback of this round has unregistered, even if it closed the descriptor
 *   and registered another with the same number,
 * - keys that it has modified so that they do not wait any more for what happened.
 * Returns how many were ready, these included; 0: the time is up.  -1 as selector_select().
 * Python: for key, events in select(): key.data(...). */
int selector_dispatch(struct selector *selector, const struct timespec *timeout);
// ANCHOR_END: wait

/* The key of fd; NULL: ENOENT, EBADF for a negative one.  It is valid until the set changes.
 * Python: get_key(). */
const struct selector_key *selector_get_key(const struct selector *selector, int fd);

/* The first key whose descriptor is `from` or above; NULL, which is no error: there are no more.
 *     for (key = selector_next_key(s, 0); key != NULL; key = selector_next_key(s, key->fd + 1))
 * is all of them.  It is valid until the set changes.  Python: get_map(). */
const struct selector_key *selector_next_key(const struct selector *selector, int from);

/* How many keys there are.  Python: len(get_map()). */
int selector_count(const struct selector *selector);

/* The name of the back end that is in use. */
const char *selector_backend(const struct selector *selector);

/* The names of those compiled in, the best first; the last entry is NULL. */
const char *const *selector_backends(void);

/* The descriptor of epoll or kqueue, readable when one of ours is ready.  -1: there is none, for
 * poll and select: ENOTSUP.  It can be another one after selector_after_fork(), and after
 * selector_select() where a descriptor was closed and has a copy.  Python: fileno(). */
int selector_fileno(const struct selector *selector);

/* Call this first in a child made by fork() that goes on to use the selector.  Until then an epoll
 * selector shares its set with the parent, and a kqueue selector has none.  0; or -1 and errno. */
int selector_after_fork(struct selector *selector);

#endif
