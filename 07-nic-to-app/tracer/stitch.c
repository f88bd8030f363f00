/* Events in, journeys out: a pure function, which reads the recording and nothing else.
 *
 * A journey is found from its middle.  The kernel writes tcp_probe for each skb that reaches an
 * established connection; the tracer's filter keeps those for our port.  The event names the skb,
 * the socket and the CPU.  back.c follows the packet back from there, forward.c follows it to the
 * thread that reads it.  A search stops where its trail would become another packet's: the hop is
 * then reported as not seen, and nothing is guessed. */
#include "journey.h"

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

const struct event *search(const struct recording *recording, const struct event *from,
                           enum direction direction, enum hop kind, uint32_t end, uint32_t same)
{
    uint32_t slots = same & (BIT(SLOTS) - 1);

    if (from == NULL || (recording->kinds & BIT(kind)) == 0 || (from->has & slots) != slots)
        return NULL;
    size_t step = (size_t)(int)direction; /* for BACK the addition wraps around: minus one */
    for (size_t i = (size_t)(from - recording->events) + step; i < recording->count; i += step) {
        const struct event *event = &recording->events[i];
        enum hop found = event_kind(event);
        uint64_t distance = direction == FORWARD ? event->ns - from->ns : from->ns - event->ns;
        if (distance > MAX_DISTANCE_NS)
            return NULL;
        if ((found == kind || (end >> found & 1U) != 0) && is_same(event, from, same))
            return found == kind ? event : NULL;
    }
    return NULL;
}

void journey_set(struct journey *journey, enum hop hop, const struct event *event)
{
    journey->at[hop] = event;
    if (event != NULL)
        journey->state[hop] = SEEN;
}

void journey_find(struct journey *journey, enum hop hop, enum hop from, enum direction direction,
                  uint32_t end, uint32_t same)
{
    journey_set(journey, hop,
                search(journey->recording, journey->at[from], direction, hop, end, same));
}

void journey_clear(struct journey *journey, enum hop hop, enum hop_state state)
{
    journey->at[hop] = NULL;
    journey->state[hop] = state;
}

/* What is known of a hop before any of its events is found. */
static enum hop_state initial_state(const struct recording *recording, bool back, int hop)
{
    bool exists = false, both = recording->peer != 0;
    /* The tracer's own client sleeps in its recv(), without any loop. */
    bool only_in_server = hop == HOP_CALLBACK || hop == HOP_WAIT || hops[hop].box == BOX_LOOP;

    if (both && (hop == HOP_ACK || hop == (back ? HOP_DONE : HOP_START)))
        return NOT_SEEN;
    if ((vias[recording->via].hops >> hop & 1U) == 0 || (back && only_in_server) ||
        hop == HOP_START || hop == HOP_DONE)
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

const char *const way_names[WAYS] = {"in", "back", "both"};

/* Events from sockets carry the number of their packet. */
static void collect(struct journey *journey, const struct event *read)
{
    journey_set(journey, HOP_RETURN, read);
    for (int hop = 0; hop < HOPS; hop++) {
        if (hop != HOP_RETURN)
            journey_find(journey, (enum hop)hop, HOP_RETURN, BACK, 0, BIT(SLOT_PACKET));
        if (journey->at[hop] == NULL) /* the acknowledgement may come later */
            journey_find(journey, (enum hop)hop, HOP_RETURN, FORWARD, 0, BIT(SLOT_PACKET));
    }
}

/* Whether the packet carries data.  The size has 16 bits; if it is 0, the skb's length tells. */
static bool has_data(const struct recording *recording, const struct event *event)
{
    if (event_kind(event) != HOP_TCP || event->value[SLOT_LEN] != 0)
        return true;
    const struct event *receive =
        search(recording, event, BACK, HOP_RECEIVE, BIT(HOP_TCP) | BIT(HOP_COPY), BIT(SLOT_SKB));
    return receive != NULL && receive->value[SLOT_LEN] > MAX_HEADERS;
}

/* Assemble the journey with this event in its middle.  NULL: none of its events was seen. */
static void follow(const struct recording *recording, const struct event *middle,
                   struct journey *journey)
{
    bool sockets = recording->via == VIA_SOCKETS;

    journey->recording = recording;
    journey->frames = 1;
    journey->waiting = sockets ? WAITS_EPOLL : WAITS_UNKNOWN;
    for (int hop = 0; hop < HOPS; hop++)
        journey->state[hop] = initial_state(recording, journey->back, hop);
    if (middle == NULL)
        return;
    if (sockets) {
        collect(journey, middle);
    } else {
        journey_set(journey, HOP_TCP, middle);
        trace_back(journey);
        trace_forward(journey);
        explain_missing(journey);
    }
    drop_disorder(journey);
}

/* The packet is a request: a journey of its own, and one for the reply that is to come. */
static void add_request(struct journeys *journeys, const struct recording *recording,
                        const struct event *middle, bool both)
{
    struct journey *request = &journeys->list[journeys->count];
    struct journey *reply = &journeys->other[journeys->count++];

    *reply = (struct journey){.back = true, .request = both ? request : NULL};
    request->reply = both ? reply : NULL;
    follow(recording, middle, request);
    follow(recording, NULL, reply);
}

static void stitch_packets(const struct recording *recording, bool both, struct journeys *journeys)
{
    enum hop middle = recording->via == VIA_SOCKETS ? HOP_RETURN : HOP_TCP;
    unsigned skip = recording->skip;

    for (size_t i = 0; i < recording->count; i++) {
        const struct event *event = &recording->events[i];
        uint64_t port = event_has(event, SLOT_PORT) ? event->value[SLOT_PORT] : recording->port;
        bool back = recording->peer != 0 && port == recording->peer, first = journeys->count == 0;
        size_t last = journeys->count - 1; /* unless there is none */
        if (event_kind(event) != middle || (!back && port != recording->port) || (back && first))
            continue;
        /* What the sender's socket gets next acknowledges: each segment has a field for that. */
        struct journey *sent = first ? NULL : back ? &journeys->list[last] : &journeys->other[last];
        if (sent != NULL && sent->state[HOP_ACK] == NOT_SEEN && sent->at[HOP_TCP] != NULL)
            journey_set(sent, HOP_ACK, event);
        if (!has_data(recording, event))
            continue;
        if (back) { /* if there are several segments, the client waits for the last one */
            struct journey *reply = &journeys->other[last];
            *reply = (struct journey){
                .back = true, .request = reply->request, .segments = reply->segments + 1};
            follow(recording, event, reply);
        } else if (skip > 0) {
            skip--;
        } else {
            add_request(journeys, recording, event, both);
        }
    }
}

/* There is at most one journey for each event with which one is found. */
bool stitch(const struct recording *recording, enum way way, struct journeys *journeys)
{
    size_t most = 1;

    for (size_t i = 0; i < recording->count; i++)
        most += event_kind(&recording->events[i]) ==
                (recording->via == VIA_SOCKETS ? HOP_RETURN : HOP_TCP);
    *journeys = (struct journeys){.list = calloc(most, sizeof(struct journey)),
                                  .other = calloc(most, sizeof(struct journey))};
    if (journeys->list == NULL || journeys->other == NULL)
        return false;
    stitch_packets(recording, way == WAY_BOTH || (way == WAYS && recording->peer != 0), journeys);
    if (way == WAY_BACK) {
        struct journey *requests = journeys->list;
        journeys->list = journeys->other;
        journeys->other = requests;
    }
    for (size_t i = 0; i < journeys->count; i++) {
        struct journey *journey = &journeys->list[i];
        journey->outcome = journey_outcome(journey);
        journeys->outcomes[journey->outcome]++;
    }
    return true;
}

const struct journey *journeys_typical(const struct journeys *journeys, bool back)
{
    size_t i = 0;

    while (i < journeys->count && journeys->list[i].outcome != COMPLETE)
        i++;
    return (back ? journeys->other : journeys->list) + (i < journeys->count ? i : 0);
}
