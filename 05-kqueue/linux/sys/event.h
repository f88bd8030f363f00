/* A stand-in for <sys/event.h> on Linux, which has no kqueue.
 *
 * It has what stage 05 uses and a little more: EVFILT_READ and EVFILT_WRITE, added, deleted,
 * enabled and disabled, level-triggered or with EV_CLEAR.  Names, values and the order of the
 * fields are those of FreeBSD 11.  Anything else is refused with EINVAL.  kqueue.c says how it
 * works, and what it cannot do.  For one thread. */
#ifndef STAND_IN_SYS_EVENT_H
#define STAND_IN_SYS_EVENT_H

#include <stdint.h>
#include <time.h>
#include <unistd.h>

struct kevent {
    uintptr_t ident;      /* the descriptor */
    short filter;         /* what to wait for */
    unsigned short flags; /* in: what to do.  Out: EV_EOF, EV_CLEAR, EV_ERROR */
    unsigned fflags;      /* out: the error that waits in a socket, an errno; 0 if none does */
    int64_t data;         /* out: how much is there, see kqueue.c; with EV_ERROR an errno */
    void *udata;          /* comes back as it was given */
};

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)

#define EV_ADD 0x0001      /* wait; if we do already, take the new udata */
#define EV_DELETE 0x0002   /* no longer */
#define EV_ENABLE 0x0004   /* report it */
#define EV_DISABLE 0x0008  /* keep it, and do not report it */
#define EV_CLEAR 0x0020    /* report what is new only */
#define EV_RECEIPT 0x0040  /* answer this change with EV_ERROR, data 0 if it was made */
#define EV_EOF 0x8000      /* the other side will send no more, or takes no more */
#define EV_ERROR 0x4000    /* this is about a change: data has its errno */
#define EV_SYSFLAGS 0xF000 /* the system sets these: in a change they mean nothing */

#define EV_SET(event, i, f, fl, ff, d, u)                                                          \
    (*(event) = (struct kevent){                                                                   \
         .ident = (i), .filter = (f), .flags = (fl), .fflags = (ff), .data = (d), .udata = (u)})

/* A new queue, as a descriptor; -1 and errno if there is none to be had.  A child does not inherit
 * it by fork().  The first call says on stderr that this is a stand-in. */
int kqueue(void);

/* Make the changes, then wait for events: how many came, 0 if the time is up, -1 and errno.
 * timeout NULL waits for ever.  With nevents 0 it does not wait.  A change that fails, or that has
 * EV_RECEIPT, is answered by an event with EV_ERROR; then no others are given out.  Where there is
 * no room for the answer, -1 and its errno, or 0 if it was made; and the changes after it are not
 * made. */
int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *events,
           int nevents, const struct timespec *timeout);

/* On a BSD, close() also removes a descriptor from every queue.  linux/kqueue.c therefore defines
 * close() itself.  (A descriptor that is closed in another way, for example by dup2() onto it, is not
 * noticed.) */

#endif
