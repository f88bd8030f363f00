/* What the hops without an event mean, and whether a journey is complete. */
#include "draft.h"

/* Whether a thread that was woken had never left its CPU: the last switch before the waking shows
 * it.  Some kernels write no event for a switch from the idle task, so the absence of a switch
 * proves nothing. */
static bool kept_its_cpu(const struct draft *draft)
{
    const struct event *waking = draft_event(draft, HOP_WAKING);

    for (size_t i = draft->at[HOP_WAKING]; i-- > 0;) {
        const struct event *event = &draft->recording->events[i];
        if (event_kind(event) != HOP_SWITCH)
            continue;
        if (event->value[SLOT_TASK] == waking->value[SLOT_TASK])
            return true;
        if (event->value[SLOT_FROM] == waking->value[SLOT_TASK])
            return false;
    }
    return false; /* The thread left its CPU before the recording began, or it is not known. */
}

/* A switch after the thread has already done work belongs to a later wake-up. */
static void drop_late_switch(struct draft *draft)
{
    size_t ran = draft->at[HOP_WAIT] != NOWHERE ? draft->at[HOP_WAIT] : draft->at[HOP_COPY];

    if (draft->at[HOP_SWITCH] != NOWHERE && ran != NOWHERE && draft->at[HOP_SWITCH] >= ran)
        draft_clear(draft, HOP_SWITCH, NOT_SEEN);
}

static void not_needed_if_not_seen(struct draft *draft, enum hop hop)
{
    if (draft->journey->state[hop] == NOT_SEEN)
        draft->journey->state[hop] = NOT_NEEDED;
}

/* Without a waking, the server was awake.  That conclusion is valid only if no event was lost and
 * the bytes were read. */
void explain_missing(struct draft *draft)
{
    drop_late_switch(draft);
    if (draft->recording->lost > 0 || draft_event(draft, HOP_COPY) == NULL)
        return;
    bool was_awake = draft->journey->state[HOP_WAKING] == NOT_SEEN;
    if (was_awake) {
        not_needed_if_not_seen(draft, HOP_WAKING);
        not_needed_if_not_seen(draft, HOP_WAKEUP);
    }
    if (was_awake && draft_event(draft, HOP_READY) != NULL)
        not_needed_if_not_seen(draft, HOP_CALLBACK);
    if (was_awake || (draft_event(draft, HOP_WAKING) != NULL && kept_its_cpu(draft)))
        not_needed_if_not_seen(draft, HOP_SWITCH);
}

/* A hop that is earlier than the one before it was linked wrongly, and is dropped. */
void drop_disorder(struct journey *journey)
{
    uint64_t last = 0;

    for (int hop = 0; hop < HOPS; hop++) {
        if (!journey_is_step(journey, hop))
            continue;
        if (journey->at[hop]->ns >= last) {
            last = journey->at[hop]->ns;
            continue;
        }
        journey->at[hop] = NULL;
        journey->state[hop] = NOT_SEEN;
    }
}

enum outcome journey_outcome(const struct journey *journey)
{
    enum outcome outcome = COMPLETE;

    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->state[hop] == NOT_SEEN)
            return INCOMPLETE;
        if (journey->state[hop] == NOT_NEEDED || journey->state[hop] == MERGED)
            outcome = BATCHED;
    }
    return outcome;
}
