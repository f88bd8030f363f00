/* Events in, journeys out. */
#ifndef STITCH_H
#define STITCH_H

#include "recording.h"

/* How a hop was met.  Only SEEN and BEFORE have an event; nothing is ever filled in. */
enum sight {
    ELSEWHERE, /* packets on this way do not come here */
    SEEN,
    UNSEEN, /* it has to be, and there is no event */
    BEFORE, /* a call that began before the packet came, and ends with it */
    AWAKE,  /* not needed this time: who would be asked to begin had begun already */
    MERGED, /* the bytes were copied as a part of another skb */
    UNASKED /* this kernel, or this server, has no such event */
};

enum outcome { COMPLETE, BATCHED, INCOMPLETE, OUTCOMES };

struct journey {
    const struct event *at[HOPS];
    enum sight sight[HOPS];
    enum waiting waiting;
    enum outcome outcome;
    unsigned frames;  /* that became one skb */
    bool inside_send; /* it was taken in before the sender's call was over */
};

struct journeys {
    struct journey *list;
    size_t count;
    size_t outcomes[OUTCOMES];
};

bool stitch(const struct recording *recording, struct journeys *journeys); /* false: no memory */
void journeys_free(struct journeys *journeys);
const struct journey *journeys_typical(const struct journeys *journeys); /* of one or more */

/* The hops of a journey that stand in the order of time: its first, and the one before `hop`. */
const struct event *journey_first(const struct journey *journey);
const struct event *journey_last(const struct journey *journey);
const struct event *journey_before(const struct journey *journey, enum hop hop);
/* Where the time between the first hop and the last one went. */
void journey_shares(const struct journey *journey, uint64_t ns[SHARES]);

#endif
