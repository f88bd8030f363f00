/* The steps of a journey in order of time, and the share of the total that each one takes. */
#include "journey.h"

#include <string.h>

const struct event *journey_first(const struct journey *journey)
{
    for (int hop = 0; hop < HOPS; hop++)
        if (journey_is_step(journey, hop))
            return journey->at[hop];
    return NULL;
}

const struct event *journey_before(const struct journey *journey, enum hop hop)
{
    for (int before = (int)hop - 1; before >= 0; before--)
        if (journey_is_step(journey, before))
            return journey->at[before];
    return NULL;
}

const struct event *journey_last(const struct journey *journey)
{
    return journey_before(journey, HOPS);
}

void journey_shares(const struct journey *journey, uint64_t ns[SHARES])
{
    const struct event *last = NULL;

    memset(ns, 0, SHARES * sizeof *ns);
    for (int hop = 0; hop < HOPS; hop++) {
        if (!journey_is_step(journey, hop))
            continue;
        if (last != NULL && journey->at[hop]->ns >= last->ns)
            ns[hops[hop].share] += journey->at[hop]->ns - last->ns;
        last = journey->at[hop];
    }
}
