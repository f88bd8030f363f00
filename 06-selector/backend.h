/* backend.h: what selector.c and its back ends have between them.  Who uses a selector needs only
 * selector.h. */
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

/* Entries come in blocks that stay where they are.  One table that grows would leave as much memory
 * behind it as it takes, and an idle client should cost its entry and no more. */
#define BLOCK 64
struct selector_entry {
    struct selector_key key; /* in use if its id is not 0 */
    int found_at;            /* its place among the ready, if it has one */
};

struct selector {
    const struct selector_backend *backend;
    void *state; /* the back end's own */
    int fd;      /* of epoll or kqueue; -1: there is none */
    pid_t owner; /* the process that opened it */
    struct selector_entry *
        *blocks;           /* by descriptor, BLOCK in each; NULL: none of them in use yet */
    int capacity, highest; /* descriptors that blocks reach; the highest key's, or -1 */
    int count;             /* of keys */
    unsigned last_id;
    struct selector_ready *ready; /* what selector_select() has found, */
    int found;                    /* so many, */
    int first;                    /* and where to begin the next time, so that none starves */
    struct selector_ready *round; /* for selector_dispatch(), */
    int room;                     /* so many */
};

// ANCHOR: backend
/* A back end.  Its functions return 0, or -1 and errno. */
struct selector_backend {
    const char *name;
    int (*open)(struct selector *selector);
    void (*close)(struct selector *selector);
    /* Other events for fd, which is open.  0 is none: then it may be closed, and the result is not
     * looked at.  Whatever was begun when it fails is undone by a change to 0. */
    int (*change)(struct selector *selector, int fd, int was, int now);
    /* Wait so many milliseconds, -1 for ever.  Report what is ready by selector_found(), at most
     * max of them.  1: something had to be mended, look again. */
    int (*wait)(struct selector *selector, int max, int milliseconds);
};
extern const struct selector_backend backend_epoll, backend_kqueue, backend_poll, backend_select;
// ANCHOR_END: backend

/* fd is ready for these events, and perhaps for others that nobody waits for.  False: it has no key
 * of that id; 0 stands for any. */
bool selector_found(struct selector *selector, int fd, unsigned id, int events);
/* The flags of poll and epoll as events: all but `out` allow a read, all but `in` a write. */
int selector_events(unsigned flags, unsigned in, unsigned out);
/* Open the back end anew, with all keys, and give the old one back.  If that fails, nothing
 * changes. */
int selector_renew(struct selector *selector);

#endif
