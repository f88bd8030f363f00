/* What can be observed of a packet's journey, and what each hop means.  Every other file reads
 * these tables: the tracer learns which events to enable, the stitcher how to classify them, and
 * the output what to print.  So this is the place for the system headers that most files need. */
#ifndef HOPS_H
#define HOPS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for all of Linux's functions; other systems declare theirs without it */
#endif
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// clang-format off
/* The boxes of the drawing, from the card to the code, and before them the sender. */
enum box {
    BOX_SENDER, BOX_CARD, BOX_STACK, BOX_BUFFER, BOX_WATCH, BOX_WAKE, BOX_LOOP, BOX_CODE, BOXES
};

/* The part of the total that the time before a hop counts towards. */
enum share { SHARE_SENDER, SHARE_STACK, SHARE_WAKE, SHARE_SCHEDULER, SHARE_CODE, SHARES };

/* The hops, in the order in which a packet takes them.  After them come the kinds of events that
 * are not hops but show where a hop begins or ends. */
enum hop {
    HOP_START, HOP_SEND, HOP_QUEUE, HOP_DRIVER,
    HOP_FRAME, HOP_IRQ, HOP_BACKLOG,
    HOP_SOFTIRQ, HOP_GRO, HOP_RECEIVE, HOP_TCP,
    HOP_READY, HOP_CALLBACK, HOP_WAKING,
    HOP_WAKEUP, HOP_SWITCH, HOP_WAIT,
    HOP_LOOP, HOP_RESUME,
    HOP_RECV, HOP_COPY, HOP_RETURN, HOP_DONE,
    HOP_ACK, /* the only one that travels the other way */
    HOPS,
    KIND_SEND_END = HOPS, KIND_SOFTIRQ_END, KIND_RAISE, KIND_IRQ_END, KIND_LENGTH, KIND_FREE,
    KIND_FRAME_END, KINDS
};

/* A value that an event may carry in addition to its time, CPU and thread. */
enum slot {
    SLOT_SKB, SLOT_SOCK, SLOT_COOKIE, SLOT_FD, SLOT_LEN, SLOT_RET, SLOT_VEC, SLOT_IRQ, SLOT_TASK,
    SLOT_FROM, SLOT_TO_CPU, SLOT_PORT, SLOT_COROUTINE, SLOT_PACKET,
    /* The rest says whose connection it is.  Recordings do not contain it. */
    SLOT_LOCAL, SLOT_PEER, SLOT_PEER_PORT, SLOTS, SLOTS_RECORDED = SLOT_LOCAL,
    SLOT_NAME = SLOTS /* the event's name: text, not one of the numbers above */
};
// clang-format on
extern const char *const slot_names[SLOTS_RECORDED]; /* as recordings spell them */

#define NAME_SIZE 16 /* of a device, thread or interrupt; the first two have this limit */

#define BIT(kind) (1U << (kind)) /* in sets of kinds, hops or slots */

struct event {
    uint64_t ns;  /* CLOCK_MONOTONIC */
    int32_t pid;  /* the thread that was on the CPU, which may have nothing to do with the event */
    int16_t cpu;  /* -1: not known */
    uint8_t type; /* an index into event_types[] */
    char context; /* t: thread, s: software interrupt, h: hardware interrupt */
    uint32_t has; /* a bit for each slot that has a value */
    uint32_t order; /* breaks the tie between two events with the same time */
    uint64_t value[SLOTS];
    char name[NAME_SIZE];
};

/* Who reports an event. */
enum provider {
    TRACEPOINT,   /* the kernel, at "group/name" in tracefs */
    KPROBE,       /* the kernel, at a probe that the tracer creates; needs KPROBE_EVENTS */
    SERVER_STAMP, /* the server itself, see ../stamp.h */
    FRAME_STAMP,  /* the tracer, while it plays the network card, see tap.c */
    CLIENT_STAMP, /* the tracer's own client, see client.c */
    SOCKET_STAMP  /* the sockets of an unprivileged user, see sockets.c */
};

/* Which events of a type the kernel should write.  Probes are not filtered. */
enum filter {
    FILTER_NONE,
    FILTER_IRQ,      /* no filter, and enabled only if the device can interrupt */
    FILTER_IRQ_RX,   /* NET_RX, and enabled only if the device can interrupt */
    FILTER_NET_RX,   /* software interrupt number 3 */
    FILTER_DEVICE,   /* packets on the path's device */
    FILTER_PORT,     /* segments for the server's port */
    FILTER_TCP,      /* TCP sockets */
    FILTER_SIGNAL,   /* a thread of the server gets SIGIO or a real-time signal */
    FILTER_RUNNING,  /* a thread of the server is on the CPU */
    FILTER_WOKEN,    /* a thread of the server is woken */
    FILTER_SWITCHED, /* a thread of the server gets or loses the CPU */
    FILTER_CLIENT,   /* the tracer's own client is on the CPU; for both ways, the server, too */
    FILTER_REPLY     /* the same, and enabled only if the way back is traced */
};

#define MAX_FIELDS 8

struct event_type {
    const char *event; /* "group/name" for tracepoints and kprobes, otherwise a name of ours */
    enum hop kind;
    enum provider provider;
    enum filter filter;
    struct {
        const char *name; /* in the event's format file */
        enum slot slot;   /* where its value goes; SLOT_NAME: into the event's name */
    } field[MAX_FIELDS];
    const char *probe; /* KPROBE: the kernel function and its arguments, in kprobe_events syntax */
};
extern const struct event_type event_types[];
extern const size_t event_type_count;   /* at most 64: sets of event types are uint64_t bit masks */
int event_type_find(const char *event); /* by its full name or the part after the slash; or -1 */
#define PROBE_GROUP "echo_trace"
const char *event_type_name(size_t type); /* the part after the slash */

/* How the server waits for data.  This decides what some hops mean. */
enum waiting {
    WAITS_EPOLL,
    WAITS_SCAN,
    WAITS_BLOCKED,
    WAITS_RING, /* io_uring */
    WAITS_SIGNAL,
    WAITS_NOT, /* it asks again and again */
    WAITS_UNKNOWN,
    WAYS_TO_WAIT
};

/* What is known about a hop.  Only SEEN, BEGAN_BEFORE and MERGED have an event. */
enum hop_state {
    NOT_ON_PATH,   /* packets on this path do not pass this hop */
    SEEN,          /* there is an event of it */
    BEGAN_BEFORE,  /* a call that began before the packet came and returned with its bytes */
    MERGED,        /* the bytes were copied as part of another skb */
    NOT_NEEDED,    /* this packet did not need it: what it would have started was already running */
    NOT_SEEN,      /* the packet must have passed it, and the kernel wrote no event */
    NOT_ASKED,     /* the event exists, and the tracer did not ask for it */
    NOT_AVAILABLE, /* this kernel, or this server, has no such event */
    UNKNOWN,       /* the recording does not say whether the event was available */
    HOP_STATES
};

struct hop_info {
    const char *name; /* for `trace explain` and for JSON */
    enum box box;
    enum share share;
    const char *link;               /* what links its event to those of its neighbours */
    const char *why[WAYS_TO_WAIT];  /* NULL: as if unknown, and if that is NULL, as with epoll */
    const char *why_back;           /* on the way back; NULL: the same */
    const char *absent[HOP_STATES]; /* why it has no event; NULL: show_absence() knows */
};
extern const struct hop_info hops[HOPS];
extern const char *const share_names[SHARES];
const char *box_title(enum box box, enum waiting waiting);
const char *hop_why(enum hop hop, enum waiting waiting);

/* The paths that a packet can take, and the hops that belong to each.  From VIA_CARD on, it is a
 * device that exists, and over which others send.  VIA_VETH is only in older recordings. */
// clang-format off
enum via {
    VIA_LO, VIA_TAP, VIA_GRO, VIA_RPS, VIA_CARD, VIA_VETH, VIA_VETH_END, VIA_TAP_END, VIA_BRIDGE,
    VIA_VIRTUAL, VIA_SOCKETS, VIAS
};
// clang-format on
struct via_info {
    const char *name, *about;
    uint32_t hops;      /* a bit for each hop that belongs to this path */
    uint32_t optional;  /* those of them that not every driver has */
    const char *absent; /* the hops that do not belong to it, and why */
};
extern const struct via_info vias[VIAS];
int via_find(const char *name); /* -1: there is no such path */

static inline bool event_has(const struct event *event, enum slot slot)
{
    return (event->has >> slot & 1U) != 0;
}

static inline void event_set(struct event *event, enum slot slot, uint64_t value)
{
    event->value[slot] = value;
    event->has |= 1U << slot;
}

static inline const char *event_label(const struct event *event)
{
    return event_type_name(event->type);
}

static inline enum hop event_kind(const struct event *event)
{
    return event_types[event->type].kind;
}

#endif
