/* Events in, journeys out: a pure function, which reads the recording and nothing else.
 *
 * A journey is found from its middle.  The kernel writes tcp_probe for each skb that reaches an
 * established connection; the tracer's filter keeps those for our port.  The event names the skb,
 * the socket and the CPU.  back.c follows the packet back from there, forward.c follows it to the
 * thread that reads it.  A search stops where its trail would become another packet's: the hop is
 * then reported as not seen, and nothing is guessed. */
#include "journey.h"

#include <stdlib.h>

static bool is_same(const struct event *event, const struct event *begin, uint32_t same)
{
    if (((same & SAME_THREAD) != 0 && event->pid != begin->pid) ||
        ((same & SAME_CPU) != 0 && event->cpu != begin->cpu))
        return false;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if ((same >> slot & 1U) != 0 &&
            (!event_has(event, (enum slot)slot) || event->value[slot] != begin->value[slot]))
            return false;
    return true;
}

size_t search(const struct recording *recording, size_t from, enum direction direction,
              enum hop kind, uint32_t end, uint32_t same)
{
    uint32_t slots = same & (BIT(SLOTS) - 1);

    if (from == NOWHERE || (recording->kinds & BIT(kind)) == 0 ||
        (recording->events[from].has & slots) != slots)
        return NOWHERE;
    const struct event *begin = &recording->events[from];
    size_t step = (size_t)(int)direction; /* for BACK the addition wraps around: minus one */
    for (size_t i = from + step; i < recording->count; i += step) {
        const struct event *event = &recording->events[i];
        uint64_t distance = direction == FORWARD ? event->ns - begin->ns : begin->ns - event->ns;
        if (distance > MAX_DISTANCE_NS)
            return NOWHERE;
        enum hop found = event_kind(event);
        if ((found != kind && (end >> found & 1U) == 0) || !is_same(event, begin, same))
            continue;
        return found == kind ? i : NOWHERE;
    }
    return NOWHERE;
}

void draft_set(struct draft *draft, enum hop hop, size_t at)
{
    draft->at[hop] = at;
    if (at == NOWHERE)
        return;
    draft->journey->at[hop] = &draft->recording->events[at];
    draft->journey->state[hop] = SEEN;
}

void draft_find(struct draft *draft, enum hop hop, enum hop from, enum direction direction,
                uint32_t end, uint32_t same)
{
    draft_set(draft, hop, search(draft->recording, draft->at[from], direction, hop, end, same));
}

void draft_clear(struct draft *draft, enum hop hop, enum hop_state state)
{
    draft->at[hop] = NOWHERE;
    draft->journey->at[hop] = NULL;
    draft->journey->state[hop] = state;
}

/* What is known of a hop before any of its events is found. */
static enum hop_state initial_state(const struct recording *recording, int hop)
{
    bool exists = false;

    if ((vias[recording->via].hops >> hop & 1U) == 0)
        return NOT_ON_PATH;
    for (size_t type = 0; type < event_type_count; type++) {
        bool sockets = event_types[type].provider == SOCKET_STAMP;
        if ((int)event_types[type].kind != hop)
            continue;
        if ((recording->asked >> type & 1U) != 0)
            return NOT_SEEN;
        if (sockets == (recording->via == VIA_SOCKETS) &&
            (recording->unavailable >> type & 1U) == 0)
            exists = true;
    }
    if (!recording->lists_unavailable)
        return UNKNOWN;
    return exists ? NOT_ASKED : NOT_AVAILABLE;
}

void draft_begin(struct draft *draft)
{
    for (int hop = 0; hop < HOPS; hop++) {
        draft->at[hop] = NOWHERE;
        draft->journey->state[hop] = initial_state(draft->recording, hop);
    }
    draft->journey->frames = 1;
    draft->journey->waiting = draft->recording->via == VIA_SOCKETS ? WAITS_EPOLL : WAITS_UNKNOWN;
}

static bool same_packet(const struct event *event, const struct event *other)
{
    return event_has(event, SLOT_PACKET) && event->value[SLOT_PACKET] == other->value[SLOT_PACKET];
}

/* Events from sockets carry the number of their packet.  The echo of one packet arrives before the
 * next is sent, so the events of a packet are adjacent. */
static void collect(struct draft *draft, size_t last)
{
    const struct event *events = draft->recording->events;
    size_t at = last;

    while (at > 0 && same_packet(&events[at - 1], &events[last]))
        at--;
    for (; at < draft->recording->count && same_packet(&events[at], &events[last]); at++)
        if (event_kind(&events[at]) < HOPS)
            draft_set(draft, event_kind(&events[at]), at);
}

/* Whether the packet is for the server, which is so unless the recording marks it as another's, and
 * carries data.  The size has 16 bits, so 0 may be 65,536; the skb's length then tells. */
static bool is_for_server(const struct recording *recording, size_t i)
{
    const struct event *event = &recording->events[i];

    if (event_has(event, SLOT_PORT) && event->value[SLOT_PORT] != recording->port)
        return false;
    if (event_kind(event) != HOP_TCP || event->value[SLOT_LEN] != 0)
        return true;
    size_t receive =
        search(recording, i, BACK, HOP_RECEIVE, BIT(HOP_TCP) | BIT(HOP_COPY), BIT(SLOT_SKB));
    return receive != NOWHERE && recording->events[receive].value[SLOT_LEN] > MAX_HEADERS;
}

/* There is at most one journey for each event with which one is found. */
static size_t count_kind(const struct recording *recording, enum hop kind)
{
    size_t count = 0;

    for (size_t i = 0; i < recording->count; i++)
        count += event_kind(&recording->events[i]) == kind;
    return count;
}

bool stitch(const struct recording *recording, struct journeys *journeys)
{
    bool sockets = recording->via == VIA_SOCKETS;
    enum hop middle = sockets ? HOP_RETURN : HOP_TCP;
    unsigned skip = recording->skip;

    *journeys = (struct journeys){
        .list = calloc(count_kind(recording, middle) + 1, sizeof(struct journey))};
    for (size_t i = 0; journeys->list != NULL && i < recording->count; i++) {
        if (event_kind(&recording->events[i]) != middle || !is_for_server(recording, i) ||
            (skip > 0 && skip-- > 0))
            continue;
        struct journey *journey = &journeys->list[journeys->count++];
        struct draft draft = {.recording = recording, .journey = journey};
        draft_begin(&draft);
        if (sockets) {
            collect(&draft, i);
        } else {
            draft_set(&draft, HOP_TCP, i);
            trace_back(&draft);
            trace_forward(&draft);
            explain_missing(&draft);
        }
        drop_disorder(journey);
        journey->outcome = journey_outcome(journey);
        journeys->outcomes[journey->outcome]++;
    }
    return journeys->list != NULL;
}

const struct journey *journeys_typical(const struct journeys *journeys)
{
    for (size_t i = 0; i < journeys->count; i++)
        if (journeys->list[i].outcome == COMPLETE)
            return &journeys->list[i];
    return &journeys->list[0];
}

void journeys_free(struct journeys *journeys)
{
    free(journeys->list);
    *journeys = (struct journeys){0};
}
