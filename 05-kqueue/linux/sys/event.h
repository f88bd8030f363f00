/* <sys/event.h> for Linux, which has no kqueue: the interface of the kqueue emulation.
 *
 * It has what stage 05 uses and a little more: EVFILT_READ and EVFILT_WRITE, which can be added,
 * deleted, enabled and disabled, level-triggered or with EV_CLEAR.  The names, the values and the
 * order of the fields are those of FreeBSD 11.  Anything else is refused with EINVAL.
 * ../kqueue.c explains how the emulation works and lists its limits. */
#ifndef KQUEUE_EMULATION_SYS_EVENT_H
#define KQUEUE_EMULATION_SYS_EVENT_H

#include <stdint.h>
#include <time.h>
#include <unistd.h>

struct kevent {
    uintptr_t ident;      /* the descriptor */
    short filter;         /* EVFILT_READ or EVFILT_WRITE */
    unsigned short flags; /* in a change, what to do; in an event, EV_EOF, EV_CLEAR or EV_ERROR */
    unsigned fflags;      /* in an event, the errno of the socket's pending error, or 0 */
    int64_t data;         /* unread bytes or free space; with EV_ERROR, an errno */
    void *udata;          /* comes back in events as the change gave it */
};

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)

#define EV_ADD 0x0001      /* watch the descriptor; if it is watched already, replace udata */
#define EV_DELETE 0x0002   /* stop watching it */
#define EV_ENABLE 0x0004   /* report events again after EV_DISABLE */
#define EV_DISABLE 0x0008  /* keep the registration but report no events */
#define EV_CLEAR 0x0020    /* edge-triggered: report each arrival once */
#define EV_RECEIPT 0x0040  /* answer this change with EV_ERROR, with data 0 if it was made */
#define EV_EOF 0x8000      /* there is nothing more to read, or writing is no longer possible */
#define EV_ERROR 0x4000    /* this event answers a change, and data is its errno */
#define EV_SYSFLAGS 0xF000 /* reserved for the system; a change may contain them to no effect */

#define EV_SET(event, i, f, fl, ff, d, u)                                                          \
    (*(event) = (struct kevent){                                                                   \
         .ident = (i), .filter = (f), .flags = (fl), .fflags = (ff), .data = (d), .udata = (u)})

/* Create a kqueue and return its descriptor, or -1 and errno.  A child process does not inherit it.
 * The first call prints on stderr that this is an emulation. */
int kqueue(void);

/* Make the changes, then wait for events.  Returns the number of events, 0 if the time is up, or -1
 * and errno.  If timeout is NULL it waits without limit.  If nevents is 0 it does not wait.
 * A change that fails or has EV_RECEIPT is answered by an event with EV_ERROR, and a call with
 * answers returns no other events.  If there is no room for an answer, the call ends there: it
 * returns -1 and the errno of the change, or 0 if the change was made, and makes no later change.
 */
int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *events,
           int nevents, const struct timespec *timeout);

/* On a BSD, close() removes a descriptor from every kqueue.  Therefore linux/kqueue.c defines
 * close() for the whole program. */

#endif
