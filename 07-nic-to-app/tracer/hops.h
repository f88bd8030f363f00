/* What can be seen of a packet's way, and what each hop means.  Everything else reads these tables:
 * the tracer what to ask the kernel for, the stitcher what to look for, the reader's pages what to
 * say. */
#ifndef HOPS_H
#define HOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The boxes of the drawing, from the card to the code.  Before them stands the one who sends. */
enum box {
    BOX_SENDER,
    BOX_CARD,
    BOX_STACK,
    BOX_BUFFER,
    BOX_WATCH,
    BOX_WAKE,
    BOX_LOOP,
    BOX_CODE,
    BOXES
};

/* Whose time it is that passes before a hop. */
enum share { SHARE_SENDER, SHARE_STACK, SHARE_WAKE, SHARE_SCHEDULER, SHARE_CODE, SHARES };

/* The hops, in the order in which a packet takes them; and behind them the kinds of event that are
 * no hop, but tell where one begins and ends. */
enum hop {
    HOP_SEND,
    HOP_QUEUE,
    HOP_DRIVER,
    HOP_FRAME,
    HOP_IRQ,
    HOP_BACKLOG,
    HOP_SOFTIRQ,
    HOP_GRO,
    HOP_RECEIVE,
    HOP_TCP,
    HOP_READY,
    HOP_CALLBACK,
    HOP_WAKING,
    HOP_WAKEUP,
    HOP_SWITCH,
    HOP_WAIT,
    HOP_LOOP,
    HOP_RESUME,
    HOP_RECV,
    HOP_COPY,
    HOP_RETURN,
    HOP_ACK,
    HOPS,
    KIND_SEND_END = HOPS,
    KIND_SOFTIRQ_END,
    KIND_RAISE,
    KIND_IRQ_END,
    KIND_LENGTH,
    KIND_FREE,
    KIND_FRAME_END,
    KINDS
};

/* What an event carries, beside its time, CPU and thread.  The names are those of a recording. */
enum slot {
    SLOT_SKB,
    SLOT_SOCK,
    SLOT_COOKIE,
    SLOT_FD,
    SLOT_LEN,
    SLOT_RET,
    SLOT_VEC,
    SLOT_IRQ,
    SLOT_TASK,
    SLOT_FROM,
    SLOT_TO_CPU,
    SLOT_PORT,
    SLOT_COROUTINE,
    SLOT_PACKET,
    SLOTS
};
extern const char *const slot_names[SLOTS];

#define NAME_SIZE 16 /* of a device, a thread or an interrupt; the kernel's own limit for two */

#define DEVICES 2 /* of one way: a pair has two */

/* One event.  `source` is its row in sources[], and so says what kind it is. */
struct event {
    uint64_t ns; /* CLOCK_MONOTONIC */
    int32_t pid; /* the thread that was on the CPU, which need not have to do with it */
    int16_t cpu; /* -1: not known */
    uint8_t source;
    char context;   /* t: a thread's own, s: a software interrupt, h: a hardware interrupt */
    uint32_t has;   /* a bit for each slot that counts */
    uint32_t order; /* of two with the same time */
    uint64_t value[SLOTS];
    char name[NAME_SIZE];
};

/* How to keep an event from being written when it is about somebody else. */
enum filter {
    FOR_ALL,
    FOR_CARD,    /* only where a card can interrupt; then all */
    FOR_CARD_RX, /* the same, of software interrupt number 3 */
    FOR_DEVICE,  /* the path's own */
    FOR_NET_RX,  /* software interrupt number 3 */
    FOR_PORT,    /* data for the server's port */
    FOR_TCP,
    FOR_SERVER,   /* the server's threads run */
    FOR_WOKEN,    /* a thread of the server's is woken */
    FOR_SWITCHED, /* a thread of the server's gets the CPU, or loses it */
    FOR_CLIENT    /* our own client runs */
};

#define FIELDS 5

/* Where an event comes from: a tracepoint ("group/name"), or without a slash a clock of our own. */
struct source {
    const char *event;
    enum hop kind;
    enum filter filter;
    struct {
        const char *name; /* in the event's format file */
        enum slot slot;   /* SLOTS: it is the event's name */
    } field[FIELDS];
    const char *probe; /* a kprobe that we make: its function and what it takes; else NULL */
};
extern const struct source sources[];
extern const size_t source_count;
int source_find(const char *event); /* by its whole name, or by what is after the slash; -1 */
#define PROBE_GROUP "echo_trace"
const char *source_name(size_t source); /* what is after the slash */
const char *source_label(const struct event *event);

/* How the server waits.  It decides what some hops mean. */
enum waiting { WAITS_EPOLL, WAITS_SCAN, WAITS_BLOCKED, WAYS_TO_WAIT };

struct hop_row {
    const char *name; /* for explain, and in JSON */
    enum box box;
    enum share share;
    const char *tie;               /* what ties it to its neighbours */
    const char *why[WAYS_TO_WAIT]; /* NULL: as with epoll */
    const char *unseen;            /* what to say if there is no such event */
    const char *awake;             /* and if there need not be one this time */
};
extern const struct hop_row hops[HOPS];
extern const char *const share_names[SHARES];
const char *box_title(enum box box, enum waiting waiting);
const char *hop_why(enum hop hop, enum waiting waiting);

/* The ways that a packet can be sent on, and the hops that belong to each. */
enum via { VIA_LO, VIA_VETH, VIA_TAP, VIA_GRO, VIA_RPS, VIA_CARD, VIA_SOCKETS, VIAS };
struct via_row {
    const char *name, *about;
    uint32_t hops;      /* a bit for each that belongs here */
    const char *absent; /* what does not, and why */
};
extern const struct via_row vias[VIAS];
int via_find(const char *name);

static inline bool event_has(const struct event *event, enum slot slot)
{
    return (event->has >> slot & 1U) != 0;
}

static inline void event_set(struct event *event, enum slot slot, uint64_t value)
{
    event->value[slot] = value;
    event->has |= 1U << slot;
}

static inline enum hop event_kind(const struct event *event)
{
    return sources[event->source].kind;
}

#endif
