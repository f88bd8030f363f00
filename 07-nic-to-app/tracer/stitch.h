/* Events in, journeys out. */
#ifndef STITCH_H
#define STITCH_H

#include "journey.h"

struct journeys {
    struct journey *list;
    size_t count;
    size_t outcomes[OUTCOMES];
};

bool stitch(const struct recording *recording, struct journeys *journeys); /* false: no memory */
void journeys_free(struct journeys *journeys);
/* The journey to show if only one is shown: the first complete one, or else the first.  There must
 * be at least one. */
const struct journey *journeys_typical(const struct journeys *journeys);

#endif
