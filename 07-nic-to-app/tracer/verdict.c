/* What the hops without an event mean, whether a journey is complete, and the share of its time
 * that each hop takes. */
#include "journey.h"

#include <string.h>

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

/* Those of these hops that were not seen get another state. */
static void explain(struct draft *draft, uint32_t which, enum hop_state state)
{
    for (int hop = 0; hop < HOPS; hop++)
        if ((which >> hop & 1U) != 0 && draft->journey->state[hop] == NOT_SEEN)
            draft->journey->state[hop] = state;
}

/* Not every driver has every hop: some use GRO, and others the CPU's backlog.  Without a waking,
 * the server was awake.  That conclusion is valid only if no event was lost and the bytes were
 * read. */
void explain_missing(struct draft *draft)
{
    bool was_awake = draft->journey->state[HOP_WAKING] == NOT_SEEN;

    drop_late_switch(draft);
    explain(draft, vias[draft->recording->via].optional, NOT_ON_PATH);
    if (draft_event(draft, HOP_GRO) != NULL)
        explain(draft, BIT(HOP_BACKLOG), NOT_ON_PATH);
    if (draft->recording->lost > 0 || draft->journey->state[HOP_RETURN] == NOT_SEEN)
        return;
    if (was_awake)
        explain(draft, BIT(HOP_WAKING) | BIT(HOP_WAKEUP) | BIT(HOP_SWITCH), NOT_NEEDED);
    if (was_awake && draft_event(draft, HOP_READY) != NULL)
        explain(draft, BIT(HOP_CALLBACK), NOT_NEEDED);
    if (draft_event(draft, HOP_WAKING) != NULL && kept_its_cpu(draft))
        explain(draft, BIT(HOP_SWITCH), NOT_NEEDED);
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

uint64_t journey_shares(const struct journey *journey, uint64_t ns[SHARES])
{
    uint64_t total = 0;

    memset(ns, 0, SHARES * sizeof *ns);
    for (int hop = 0; hop < HOPS; hop++) {
        const struct event *before = journey_before(journey, (enum hop)hop);
        if (before == NULL || !journey_is_step(journey, hop))
            continue;
        ns[hops[hop].share] += journey->at[hop]->ns - before->ns;
        total += journey->at[hop]->ns - before->ns;
    }
    return total;
}
