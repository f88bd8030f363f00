/* Events in, journeys out: a pure function, which reads the recording and nothing else.
 *
 * A journey is found from its middle.  The kernel writes tcp_probe for each skb that reaches an
 * established connection; the tracer's filter keeps those for our port that carry data.  The event
 * names the skb, the socket and the CPU.  back.c follows the packet back
 * from there, forward.c follows it to the thread that reads it.  A search stops where its trail
 * would become another packet's: the hop is then reported as not seen, and nothing is guessed. */
#include "stitch.h"

#include "draft.h"

#include <stdlib.h>
#include <string.h>

void draft_set(struct draft *draft, enum hop hop, size_t at)
{
    draft->at[hop] = at;
    if (at == NOWHERE)
        return;
    draft->journey->at[hop] = &draft->recording->events[at];
    draft->journey->state[hop] = SEEN;
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
        if (recording_asked(recording, type))
            return NOT_SEEN;
        if (sockets == (recording->via == VIA_SOCKETS) && !recording_lacks(recording, type))
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
}

static void follow(struct draft *draft, size_t probe)
{
    draft_set(draft, HOP_TCP, probe);
    trace_back(draft);
    trace_forward(draft);
    explain_missing(draft);
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

static struct journey *journeys_add(struct journeys *journeys)
{
    if ((journeys->count & (journeys->count - 1)) == 0) { /* 0, 1, 2, 4, 8 ...: the list is full */
        size_t room = journeys->count == 0 ? 1 : journeys->count * 2;
        struct journey *list = realloc(journeys->list, room * sizeof *list);
        if (list == NULL)
            return NULL;
        journeys->list = list;
    }
    struct journey *journey = &journeys->list[journeys->count++];
    memset(journey, 0, sizeof *journey);
    return journey;
}

bool stitch(const struct recording *recording, struct journeys *journeys)
{
    bool sockets = recording->via == VIA_SOCKETS;
    unsigned skip = recording->skip;

    *journeys = (struct journeys){0};
    for (size_t i = 0; i < recording->count; i++) {
        struct draft draft = {.recording = recording};
        if (event_kind(&recording->events[i]) != (sockets ? HOP_RETURN : HOP_TCP))
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        draft.journey = journeys_add(journeys);
        if (draft.journey == NULL)
            return false;
        draft_begin(&draft);
        if (sockets)
            collect(&draft, i);
        else
            follow(&draft, i);
        drop_disorder(draft.journey);
        draft.journey->outcome = journey_outcome(draft.journey);
        journeys->outcomes[draft.journey->outcome]++;
    }
    return true;
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
