/* Why hops have no event, whether a journey is complete, and the share of time of each hop. */
#include "journey.h"

/* Whether a thread that was woken had never left its CPU: the last switch before the waking shows
 * it.  Some kernels write no event for a switch from the idle task, so the absence of a switch
 * proves nothing. */
static bool kept_its_cpu(const struct journey *journey)
{
    const struct event *events = journey->recording->events, *waking = journey->at[HOP_WAKING];

    for (size_t i = (size_t)(waking - events); i-- > 0;) {
        const struct event *event = &events[i];
        if (event_kind(event) != HOP_SWITCH)
            continue;
        if (event->value[SLOT_TASK] == waking->value[SLOT_TASK])
            return true;
        if (event->value[SLOT_FROM] == waking->value[SLOT_TASK])
            return false;
    }
    return false; /* The thread left its CPU before the recording began, or it is not known. */
}

/* Those of these hops that were not seen get another state. */
static void explain(struct journey *journey, uint32_t which, enum hop_state state)
{
    for (int hop = 0; hop < HOPS; hop++)
        if ((which >> hop & 1U) != 0 && journey->state[hop] == NOT_SEEN)
            journey->state[hop] = state;
}

/* Not every driver has every hop: some use GRO, and others the CPU's backlog.  Without a waking, if
 * the bytes were read and no event was lost, the thread that read them was awake. */
void explain_missing(struct journey *journey)
{
    bool was_awake = journey->state[HOP_WAKING] == NOT_SEEN;
    const struct event *ran = journey->at[journey->at[HOP_WAIT] != NULL ? HOP_WAIT : HOP_COPY];

    /* A switch after the thread has already done work belongs to a later wake-up. */
    if (ran != NULL && journey->at[HOP_SWITCH] != NULL && journey->at[HOP_SWITCH] >= ran)
        journey_clear(journey, HOP_SWITCH, NOT_SEEN);
    explain(journey, vias[journey->recording->via].optional, NOT_ON_PATH);
    if (journey->at[HOP_GRO] != NULL)
        explain(journey, BIT(HOP_BACKLOG), NOT_ON_PATH);
    if (journey->recording->lost > 0 || journey->state[HOP_RETURN] == NOT_SEEN)
        return;
    if (was_awake)
        explain(journey, BIT(HOP_WAKING) | BIT(HOP_WAKEUP) | BIT(HOP_SWITCH), NOT_NEEDED);
    if (was_awake && journey->at[HOP_READY] != NULL)
        explain(journey, BIT(HOP_CALLBACK), NOT_NEEDED);
    if (journey->at[HOP_WAKING] != NULL && kept_its_cpu(journey))
        explain(journey, BIT(HOP_SWITCH), NOT_NEEDED);
}

/* A hop that is earlier than the one before it was linked wrongly, and is dropped. */
void drop_disorder(struct journey *journey)
{
    for (int hop = 0; hop < HOPS; hop++) {
        const struct event *before = journey_before(journey, (enum hop)hop);
        if (before != NULL && journey_is_step(journey, hop) && journey->at[hop]->ns < before->ns)
            journey_clear(journey, (enum hop)hop, NOT_SEEN);
    }
}

enum outcome journey_outcome(const struct journey *journey)
{
    enum outcome outcome = journey->reply != NULL ? journey_outcome(journey->reply) : COMPLETE;

    for (int hop = 0; hop < HOP_ACK; hop++) {
        if (journey->state[hop] == NOT_SEEN)
            return INCOMPLETE;
        if (outcome == COMPLETE &&
            (journey->state[hop] == NOT_NEEDED || journey->state[hop] == MERGED))
            outcome = BATCHED;
    }
    return outcome;
}

const struct event *journey_first(const struct journey *journey)
{
    if (journey->request != NULL)
        return journey_first(journey->request);
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
    return journey->request != NULL ? journey_before(journey->request, HOPS) : NULL;
}

const struct event *journey_last(const struct journey *journey)
{
    return journey_before(journey->reply != NULL ? journey->reply : journey, HOPS);
}

uint64_t journey_since(const struct journey *journey, int hop)
{
    const struct event *before = journey_before(journey, (enum hop)hop);
    bool step = journey_is_step(journey, hop);

    return step && before != NULL ? journey->at[hop]->ns - before->ns : 0;
}

uint64_t journey_shares(const struct journey *journey, uint64_t ns[SHARES])
{
    uint64_t total = 0;

    memset(ns, 0, SHARES * sizeof *ns);
    for (int hop = 0; hop < HOPS; hop++) {
        ns[hops[hop].share] += journey_since(journey, hop);
        total += journey_since(journey, hop);
    }
    return total;
}
