/* One packet's journey: for each hop whether it was seen, and its event. */
#ifndef JOURNEY_H
#define JOURNEY_H

#include "recording.h"

/* What is known about a hop.  Only SEEN, BEGAN_BEFORE and MERGED have an event; a missing event is
 * never filled in. */
enum hop_state {
    NOT_ON_PATH,   /* packets on this path do not pass this hop */
    SEEN,          /* there is an event of it */
    BEGAN_BEFORE,  /* a call that began before the packet came and returned with its bytes */
    MERGED,        /* the bytes were copied as part of another skb */
    NOT_NEEDED,    /* this packet did not need it: what it would have started was already running */
    NOT_SEEN,      /* the packet must have passed it, and the kernel wrote no event */
    NOT_ASKED,     /* the event exists, and the tracer did not ask for it */
    NOT_AVAILABLE, /* this kernel, or this server, has no such event */
    UNKNOWN        /* the recording does not say whether the event was available */
};

enum outcome { COMPLETE, BATCHED, INCOMPLETE, OUTCOMES };

struct journey {
    const struct event *at[HOPS];
    enum hop_state state[HOPS];
    enum waiting waiting;
    enum outcome outcome;
    unsigned frames;  /* how many frames GRO merged into this skb */
    bool inside_send; /* the packet was received before the sender's call returned */
};

/* The steps of a journey are the hops that are in order of time: not those that began before, and
 * not the acknowledgement, which travels back. */
static inline bool journey_is_step(const struct journey *journey, int hop)
{
    return hop != HOP_ACK && journey->at[hop] != NULL && journey->state[hop] != BEGAN_BEFORE;
}
const struct event *journey_first(const struct journey *journey);
const struct event *journey_last(const struct journey *journey);
const struct event *journey_before(const struct journey *journey, enum hop hop);
/* How much of the time between the first step and the last belongs to each share. */
void journey_shares(const struct journey *journey, uint64_t ns[SHARES]);

#endif
