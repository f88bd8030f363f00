/* selector.h: wait for events on many file descriptors, with the best mechanism that this system
 * offers.
 *
 * The functions and their meaning are those of Python's selectors module, in C.  A selector holds
 * a set of keys.  A key consists of a descriptor, the events to wait for, a callback, and a pointer
 * for your own data.  selector_select() returns the keys that are ready; selector_dispatch() calls
 * their callbacks.  A server's loop, with one callback for the listener and one for each client:
 *
 *     static void on_client(const struct selector_key *key, int events)
 *     {
 *         struct client *client = key->data;
 *
 *         if ((events & EVENT_READ) != 0 && client_receive(client))
 *             return;
 *         selector_unregister(client->selector, key->fd);
 *         client_close(client);
 *     }
 *
 *     static void on_listener(const struct selector_key *key, int events)
 *     {
 *         struct selector *selector = key->data;
 *         struct client *client = client_accept(key->fd, selector);
 *
 *         log_events("listener", events);
 *         if (client != NULL &&
 *             selector_register(selector, client->fd, EVENT_READ, on_client, client) == -1)
 *             client_close(client);
 *     }
 *
 *     static int serve(struct selector *selector, int listener)
 *     {
 *         if (selector_register(selector, listener, EVENT_READ, on_listener, selector) == -1)
 *             return -1;
 *         while (selector_dispatch(selector, NULL) != -1 || errno == EINTR)
 *             continue;
 *         return -1;
 *     }
 *
 * A callback that needs the selector reaches it through key->data, as here, or through a variable.
 *
 * These rules hold for every function and every back end:
 * - Events are level-triggered: a descriptor is reported as long as it is ready.  Make descriptors
 *   non-blocking nevertheless, because a descriptor that was ready may no longer be ready when you
 *   use it.
 * - A function that fails returns -1 or NULL and sets errno.  After success errno has no meaning.
 *     EINVAL  events is not EVENT_READ, EVENT_WRITE or both (selector_modify() also takes 0);
 *             max is below 1; tv_nsec is not between 0 and 999,999,999; there is no such back end
 *     EBADF   the descriptor is negative or not open
 *     EPERM   the file is always ready, so the kernel cannot wait for it: see below
 *     EEXIST  the descriptor already has a key         (Python: KeyError)
 *     ENOENT  the descriptor has no key                (Python: KeyError)
 *     ERANGE  the back end is select and the descriptor is FD_SETSIZE or above: an fd_set has no
 *             bit for it, whatever RLIMIT_NOFILE allows; FD_SETSIZE is 1,024 on Linux and 256 on
 *             NetBSD
 *     EPIPE   the back end is kqueue, and EVENT_WRITE is for a pipe whose reading end is closed
 *             (FreeBSD; NetBSD sets EBADF)
 *   or another errno of the kernel, such as ENOMEM.
 * - Every back end refuses the same files with EPERM.  On Linux the file's driver decides whether
 *   the kernel can wait for it, so the selector asks epoll about everything that is not a socket or
 *   a pipe: a regular file on a disk, a directory and /dev/null are refused; /proc/self/mounts and
 *   the files of sysfs are accepted.  Without epoll, the file type decides: every regular file and
 *   every directory is refused, although on a BSD poll() and select() would report them as always
 *   ready, and kqueue would report a regular file as readable up to its end.
 * - Unregister a descriptor before you close it.  If you forget to, it is no longer reported, and
 *   its key stays until you unregister it.  There are two exceptions.  If its number is given to a
 *   new file, poll and select may report the new file under the old key.  If the descriptor has a
 *   duplicate, made by dup() or fork(), epoll continues to report it.
 * - A selector may be used by one thread at a time. */
#ifndef SELECTOR_H
#define SELECTOR_H

#include <time.h>

// ANCHOR: key
enum { EVENT_READ = 1, EVENT_WRITE = 2 };

struct selector;
struct selector_key;

/* selector_dispatch() calls this function with a copy of the key and with those of its events that
 * are ready.  It may register, modify and unregister any descriptor, including its own, and it may
 * call selector_select() or selector_dispatch() itself.  It must not close the selector. */
typedef void selector_callback(const struct selector_key *key, int events);

struct selector_key {
    int fd;
    int events;                  /* EVENT_READ, EVENT_WRITE, both, or 0: wait for nothing */
    selector_callback *callback; /* NULL if you only use selector_select() */
    void *data;                  /* yours; the selector does not use it */
};

/* A descriptor that is ready.  An error or a hang-up counts as every event of the key, so that
 * the read or the write that you were waiting for returns the error.  Two kinds of hang-up can
 * be missed.  If the descriptor has no room to write (the reading end of a pipe, a full local
 * socket), select() reports a hang-up only as EVENT_READ, so a key that waits only for
 * EVENT_WRITE does not see it.  And NetBSD's kqueue reports neither that the reader of a full
 * pipe has closed its end, nor EVENT_WRITE for the reading end of a pipe. */
struct selector_ready {
    struct selector_key key; /* a copy */
    int events;              /* the events of the key that are ready; never 0 */
};
// ANCHOR_END: key

/* Make a selector with this back end: "epoll", "kqueue", "poll" or "select".  NULL chooses the best
 * one that this kernel supports.  Returns NULL and sets errno if it fails.
 * Python: DefaultSelector(), PollSelector() ... */
struct selector *selector_open(const char *backend);

/* Free the selector and all its keys.  Your descriptors stay open.  NULL is allowed.
 * Python: close(). */
void selector_close(struct selector *selector);

// ANCHOR: set
/* Give fd a key, and wait for these events from now on.  Returns 0, or -1, in which case
 * nothing has changed.  Python: register(). */
int selector_register(struct selector *selector, int fd, int events, selector_callback *callback,
                      void *data);

/* Change the events, the callback and the data of fd's key.  With 0 events the key stays and waits
 * for nothing: not even a hang-up is reported.  If the events are the same as before, this makes no
 * system call.  Returns 0 or -1.  A bad argument (EINVAL, EBADF, ENOENT, EPERM) changes nothing. If
 * the kernel refuses the change itself (ENOMEM, ENOSPC, the errors of kqueue for a pipe), it may be
 * only partly applied, and fd may have lost its key, as in Python.  Call
 * selector_get_key() to see whether the key is still there.  Python: modify(). */
int selector_modify(struct selector *selector, int fd, int events, selector_callback *callback,
                    void *data);

/* Remove the key of fd.  This also works if fd has been closed, or closed and its number given to a
 * new file.  Returns 0, or -1 with ENOENT, or with EBADF if fd is negative.
 * Python: unregister(). */
int selector_unregister(struct selector *selector, int fd);
// ANCHOR_END: set

// ANCHOR: wait
/* Wait until a descriptor is ready, and fill ready[], which has room for max entries.  Each
 * descriptor appears once.  If more than max are ready, the next calls return the others. timeout:
 * NULL waits for ever.  With a timeout of zero, or with a negative tv_sec, the call does not wait.
 * Any other time is rounded up to a millisecond; a timeout of 1,000,000,000 seconds (31 years) or
 * more waits for ever.  Returns the number of entries.  0 means that the timeout has expired; it is
 * never returned early. -1 with EINTR: a signal was handled, even one with SA_RESTART, or, with
 * epoll, the process was stopped and continued.  -1 with another errno: the kernel refused to wait,
 * for example poll with EINVAL while RLIMIT_NOFILE is below the highest descriptor.  A signal that
 * arrives just before the wait does not end it.  To stop a loop from a signal handler, write to a
 * pipe whose reading end is registered (the self-pipe trick).  Python: select(), which continues to
 * wait after a signal. */
int selector_select(struct selector *selector, struct selector_ready ready[], int max,
                    const struct timespec *timeout);

/* Wait like selector_select(), then call the callback of each key that is ready.  The first batch
 * has room for 256 keys; after a full batch the room doubles.  These keys are skipped:
 * - keys without a callback,
 * - keys that an earlier callback of the same batch has unregistered, even if it has closed the
 *   descriptor and registered a new one with the same number,
 * - keys that an earlier callback has modified, so that they no longer wait for what is ready.
 * Returns how many keys were ready, including those that were skipped; 0 if the time is up; or -1,
 * as selector_select() does.  Python: for key, events in select(): key.data(...). */
int selector_dispatch(struct selector *selector, const struct timespec *timeout);
// ANCHOR_END: wait

/* The key of fd, or NULL with ENOENT, or with EBADF if fd is negative.  The pointer is valid until
 * a key is registered, modified or unregistered.  Python: get_key(). */
const struct selector_key *selector_get_key(const struct selector *selector, int fd);

/* The first key whose descriptor is `from` or above.  NULL means that there are no more keys, and
 * is not an error.  This loop visits all keys in the order of their descriptors:
 *
 *     for (key = selector_next_key(s, 0); key != NULL; key = selector_next_key(s, key->fd + 1))
 *
 * The pointer is valid until a key is registered, modified or unregistered.  Python: get_map(). */
const struct selector_key *selector_next_key(const struct selector *selector, int from);

/* The number of keys.  Python: len(get_map()). */
int selector_count(const struct selector *selector);

/* The name of the back end that this selector uses. */
const char *selector_backend(const struct selector *selector);

/* The names of the back ends that are compiled in, best first.  NULL ends the list. */
const char *const *selector_backends(void);

/* The descriptor of the epoll or kqueue instance, which is readable when one of the registered
 * descriptors is ready, and which exec() closes.  -1 with ENOTSUP: poll and select have none.  The
 * descriptor can change in selector_after_fork(), and in selector_select() if a descriptor with a
 * duplicate was closed before it was unregistered.  Python: fileno(). */
int selector_fileno(const struct selector *selector);

/* In a child process made by fork(), call this before any other function of the selector, except
 * selector_close().  Without it, an epoll selector shares its interest list with the parent, and
 * a kqueue selector has none.  Returns 0.  On failure it returns -1, sets errno, and changes
 * nothing. */
int selector_after_fork(struct selector *selector);

#endif
