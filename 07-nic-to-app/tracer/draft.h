/* A journey while the stitcher assembles it. */
#ifndef DRAFT_H
#define DRAFT_H

#include "journey.h"
#include "search.h"

struct draft {
    const struct recording *recording;
    struct journey *journey;
    size_t at[HOPS]; /* the index of each hop's event in the recording, or NOWHERE */
};

void draft_begin(struct draft *draft);
/* Set the hop's event to the one at this index and its state to SEEN; NOWHERE: change nothing. */
void draft_set(struct draft *draft, enum hop hop, size_t at);
/* The hop has no event in this journey, for the reason that `state` gives. */
void draft_clear(struct draft *draft, enum hop hop, enum hop_state state);

/* back.c: from tcp_probe back to where the packet came from. */
void trace_back(struct draft *draft);
/* forward.c: from tcp_probe to the thread that reads the bytes. */
void trace_forward(struct draft *draft);
/* verdict.c: explain the hops that have no event, and judge the journey as a whole. */
void explain_missing(struct draft *draft);
void drop_disorder(struct journey *journey);
enum outcome journey_outcome(const struct journey *journey);

static inline const struct event *draft_event(const struct draft *draft, enum hop hop)
{
    return draft->journey->at[hop];
}

#endif
