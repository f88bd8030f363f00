/* Searching a recording for the event that continues a trail. */
#include "search.h"

static bool is_candidate(const struct event *event, const struct search *search)
{
    if (search->pid != ANY && event->pid != search->pid)
        return false;
    if (search->cpu != ANY && event->cpu != search->cpu)
        return false;
    return search->slot == SLOTS ||
           (event_has(event, search->slot) && event->value[search->slot] == search->value);
}

size_t search(const struct recording *recording, size_t from, enum direction direction,
              const struct search *search)
{
    if (from == NOWHERE || (recording->kinds & search->kinds) == 0)
        return NOWHERE;
    uint64_t begin = recording->events[from].ns;
    size_t step = (size_t)(int)direction; /* for BACK the addition wraps around: minus one */
    for (size_t i = from + step; i < recording->count; i += step) {
        const struct event *event = &recording->events[i];
        uint64_t distance = direction == FORWARD ? event->ns - begin : begin - event->ns;
        if (distance > MAX_DISTANCE_NS)
            return NOWHERE;
        uint32_t kind = BIT(event_kind(event));
        if ((kind & (search->kinds | search->end)) == 0 || !is_candidate(event, search))
            continue;
        return (kind & search->kinds) != 0 ? i : NOWHERE;
    }
    return NOWHERE;
}

size_t search_skb(const struct recording *recording, size_t from, enum direction direction,
                  enum hop kind, uint32_t end)
{
    if (from == NOWHERE || !event_has(&recording->events[from], SLOT_SKB))
        return NOWHERE;
    struct search same_skb = {BIT(kind), end,      ANY,
                              ANY,       SLOT_SKB, recording->events[from].value[SLOT_SKB]};
    return search(recording, from, direction, &same_skb);
}

size_t search_thread(const struct recording *recording, size_t from, enum direction direction,
                     enum hop kind, uint32_t end, int pid)
{
    struct search same_thread = {BIT(kind), end, pid, ANY, SLOTS, 0};

    return search(recording, from, direction, &same_thread);
}

size_t search_cpu(const struct recording *recording, size_t from, enum direction direction,
                  enum hop kind, uint32_t end)
{
    if (from == NOWHERE)
        return NOWHERE;
    struct search same_cpu = {BIT(kind), end, ANY, recording->events[from].cpu, SLOTS, 0};
    return search(recording, from, direction, &same_cpu);
}
