/* Searching a recording for the event that continues a trail. */
#ifndef SEARCH_H
#define SEARCH_H

#include "recording.h"

#define NOWHERE SIZE_MAX
#define MAX_DISTANCE_NS 10000000000U /* an event further away belongs to something else */
#define BIT(kind) (1U << (kind))
#define ANY (-1)

enum direction { BACK = -1, FORWARD = 1 };

/* A search finds an event of one of `kinds`, unless an event of one of the kinds in `end` comes
 * first.  It considers only events with this thread, this CPU and this value of `slot`. */
struct search {
    uint32_t kinds, end;
    int pid, cpu;
    enum slot slot; /* SLOTS: any value */
    uint64_t value;
};

/* All searches return an index, or NOWHERE, and start beside the event at `from`; if `from` is
 * NOWHERE, so is the result. */
size_t search(const struct recording *recording, size_t from, enum direction direction,
              const struct search *search);
/* An event of the same skb. */
size_t search_skb(const struct recording *recording, size_t from, enum direction direction,
                  enum hop kind, uint32_t end);
/* An event of the thread `pid`. */
size_t search_thread(const struct recording *recording, size_t from, enum direction direction,
                     enum hop kind, uint32_t end, int pid);
/* An event on the same CPU. */
size_t search_cpu(const struct recording *recording, size_t from, enum direction direction,
                  enum hop kind, uint32_t end);

#endif
