/* backend.h: the interface between selector.c and its back ends.  A program that uses a selector
 * needs only selector.h. */
#ifndef BACKEND_H
#define BACKEND_H

#include "selector.h"

#include <stdbool.h>
#include <sys/types.h>

#if __has_include(<sys/epoll.h>)
#define HAVE_EPOLL
#endif
#if __has_include(<sys/event.h>)
#define HAVE_KQUEUE
#endif

/* A key and what belongs to it.  There is one for each idle client, so it has to be small. */
struct selector_entry {
    struct selector_key key;
    unsigned id;     /* of this registration; 0: the entry is not in use */
    int ready_index; /* the position in ready[], if fd has been reported */
};
_Static_assert(sizeof(void *) > 8 || sizeof(struct selector_entry) <= 32, "32 bytes for each key");

/* What one selector_dispatch() has found.  ids[i] is the registration that ready[i] belongs to. */
struct selector_batch {
    int capacity;
    unsigned *ids;
    struct selector_ready ready[];
};

/* Entries are found by descriptor.  They are allocated in blocks that never move: one table that
 * grew by realloc() would need its old and its new memory at the same time. */
#define BLOCK_SIZE 64
struct selector {
    const struct selector_backend *backend;
    void *state; /* belongs to the back end */
    int fd;      /* the epoll or kqueue instance; -1: there is none */
    pid_t owner; /* the process that opened the instance */

    struct selector_entry **blocks; /* BLOCK_SIZE entries each; NULL: none of them is in use */
    int capacity;                   /* descriptors below this one have a place in blocks */
    int highest;                    /* the highest descriptor that has a key, or -1 */
    int count;                      /* the number of keys */
    unsigned last_id;               /* of the latest registration */

    struct selector_ready *ready; /* where selector_report() stores what is ready */
    unsigned *ready_ids;          /* where it stores the registrations; may be NULL */
    int ready_count;
    int scan_start; /* poll and select start to scan here, so that no descriptor starves */

    struct selector_batch *batch; /* kept for the next selector_dispatch() */
};

// ANCHOR: backend
/* A back end.  Its functions return 0, or -1 and set errno. */
struct selector_backend {
    const char *name;
    int (*open)(struct selector *selector);
    void (*close)(struct selector *selector);
    /* Wait for new_events at fd instead of old_events.  0 means no events.  With 0 new events fd
     * may be closed, and the result is not used.  After a failure the caller sets 0 events, which
     * undoes whatever has been done. */
    int (*change)(struct selector *selector, int fd, int old_events, int new_events);
    /* Wait for at most this many milliseconds (-1: for ever), and call selector_report() for at
     * most max descriptors.  A return value of 1 means: the set had to be repaired, wait again. */
    int (*wait)(struct selector *selector, int max, int milliseconds);
};
extern const struct selector_backend backend_epoll, backend_kqueue, backend_poll, backend_select;
// ANCHOR_END: backend

/* A back end calls this for a descriptor that is ready.  events may contain events that the key
 * does not wait for.  id is the registration, or 0 if the back end does not know it.  Returns false
 * if the descriptor has no such registration, or one that waits for none of these events. */
bool selector_report(struct selector *selector, int fd, unsigned id, int events);

/* The registration of fd; 0 if fd has no key. */
unsigned selector_registration(const struct selector *selector, int fd);

/* Turn the flags of poll or epoll into events.  Every flag except `out` (POLLOUT or EPOLLOUT) makes
 * the descriptor readable, and every flag except `in` makes it writable. */
int selector_events_from(unsigned flags, unsigned in, unsigned out);

/* Open the back end a second time, register every key there, and close the first one.  If this
 * fails, nothing has changed. */
int selector_rebuild(struct selector *selector);

/* Ask epoll whether it accepts fd, which is open.  Returns 1 if it does; 0 with EPERM if it does
 * not; -1 if epoll cannot be asked. */
int selector_ask_epoll(int fd);

#endif
