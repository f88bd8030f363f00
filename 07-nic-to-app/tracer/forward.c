/* From tcp_probe to the thread that is woken, by the socket, and to the reader, by the skb. */
#include "journey.h"

#define THREAD_CALLS                                                                               \
    (BIT(HOP_WAIT) | BIT(HOP_RECV) | BIT(HOP_RETURN) | BIT(HOP_SEND) | BIT(KIND_SEND_END))
/* After one of these events, a wake-up on the same CPU is for another packet. */
#define NEXT_WORK                                                                                  \
    (BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_RECEIVE) | BIT(KIND_SOFTIRQ_END) | BIT(HOP_SWITCH) |  \
     THREAD_CALLS)

/* The hop after which the kernel notifies whoever waits for the socket. */
static enum hop notifying_hop(const struct journey *journey)
{
    return journey->at[HOP_READY] != NULL ? HOP_READY : HOP_TCP;
}

/* The first event of this kind on the same CPU, in the same context, before that CPU turns to
 * anything else that is traced.  A timer that interrupts it may wake another thread meanwhile. */
static void find_notification(struct journey *journey, enum hop kind, uint32_t end)
{
    const struct event *from = journey->at[notifying_hop(journey)], *at = from;

    do
        at = search(journey->recording, at, FORWARD, kind, end, SAME_CPU);
    while (at != NULL && at->context == 'h' && from->context != 'h');
    if (at != NULL && at->context == from->context)
        journey_set(journey, kind, at);
}

/* epoll's callback runs whether or not a thread sleeps.  The thread that is woken, and when it gets
 * the CPU; no waking: the server was awake. */
static void find_wake_up(struct journey *journey)
{
    find_notification(journey, HOP_CALLBACK, NEXT_WORK | BIT(HOP_WAKING));
    if (journey->at[HOP_CALLBACK] != NULL)
        journey->waiting = WAITS_EPOLL;
    find_notification(journey, HOP_WAKING, NEXT_WORK);
    journey_find(journey, HOP_WAKEUP, HOP_WAKING, FORWARD, BIT(HOP_WAKING), BIT(SLOT_TASK));
    enum hop from = journey->at[HOP_WAKEUP] != NULL ? HOP_WAKEUP : HOP_WAKING;
    journey_find(journey, HOP_SWITCH, from, FORWARD, BIT(HOP_WAKING), BIT(SLOT_TASK));
}

/* TCP may append the bytes to an skb that is already in the receive queue, and free this one.  The
 * next call that reads from the socket then gets them with that skb. */
static void find_merged_copy(struct journey *journey)
{
    const struct event *tcp = journey->at[HOP_TCP];
    const struct event *end =
        search(journey->recording, tcp, FORWARD, KIND_LENGTH, 0, BIT(SLOT_SOCK));
    const struct event *copy = search(journey->recording, end, BACK, HOP_COPY,
                                      BIT(HOP_RECV) | BIT(HOP_RETURN), SAME_THREAD);

    if (copy == NULL || copy < tcp)
        return;
    journey_set(journey, HOP_COPY, copy);
    journey->state[HOP_COPY] = MERGED;
}

/* The copy of the skb's bytes, and the call around it. */
static void find_copy(struct journey *journey)
{
    enum hop from = event_has(journey->at[HOP_TCP], SLOT_SKB) ? HOP_TCP : HOP_RECEIVE;

    journey_find(journey, HOP_COPY, from, FORWARD, SKB_REUSED | BIT(HOP_TCP), BIT(SLOT_SKB));
    if (journey->at[HOP_COPY] == NULL)
        find_merged_copy(journey);
    journey_find(journey, HOP_RETURN, HOP_COPY, FORWARD, BIT(HOP_RECV), SAME_THREAD);
    journey_find(journey, HOP_RECV, HOP_COPY, BACK, BIT(HOP_RETURN), SAME_THREAD);
}

/* splice() moves the bytes to a pipe, not to the program, and its events do not name the socket.
 * If this packet woke a thread, that thread's call got them; if not, a later call may have. */
static void find_splice(struct journey *journey)
{
    const struct recording *recording = journey->recording;
    const struct event *waking = journey->at[HOP_WAKING];
    const struct event *event = waking != NULL ? waking : journey->at[notifying_hop(journey)];
    int task = waking != NULL ? (int)waking->value[SLOT_TASK] : 0;
    enum hop_state state = waking != NULL ? NOT_ON_PATH : UNKNOWN;

    if (journey->at[HOP_COPY] != NULL)
        return;
    for (event++; event < recording->events + recording->count; event++)
        if ((task == 0 || event->pid == task) &&
            (event_kind(event) == HOP_RETURN || (task != 0 && event_kind(event) == HOP_RECV)))
            break;
    if (event == recording->events + recording->count || event_kind(event) != HOP_RETURN ||
        strstr(event_label(event), "splice") == NULL)
        return;
    for (int hop = waking != NULL ? HOP_COPY : HOP_RECV; hop <= HOP_RETURN; hop++)
        journey_clear(journey, (enum hop)hop, state);
    if (waking == NULL)
        return;
    journey_set(journey, HOP_RETURN, event);
    journey_find(journey, HOP_RECV, HOP_RETURN, BACK, 0, SAME_THREAD);
}

/* ---- how the server waited ---- */

/* The last wait of this thread that returned a ready descriptor.  A wait that returned an error
 * does not count: EINTR comes when a tracer attaches or a stopped process continues. */
static const struct event *last_wait(const struct journey *journey)
{
    const struct event *at = journey->at[HOP_RECV];

    do
        at = search(journey->recording, at, BACK, HOP_WAIT, 0, SAME_THREAD);
    while (at != NULL && (int64_t)at->value[SLOT_RET] <= 0);
    return at;
}

/* The wait that ended for this packet in a thread that lets another one read. */
static const struct event *wait_of_other(const struct journey *journey)
{
    const struct event *event = journey->at[HOP_WAKING], *recv = journey->at[HOP_RECV];
    int task = event != NULL ? (int)event->value[SLOT_TASK] : 0;

    while (event != NULL && task != recv->pid && ++event < recv)
        if (event_kind(event) == HOP_WAIT && event->pid == task &&
            (int64_t)event->value[SLOT_RET] > 0)
            return event;
    return NULL;
}

/* The wait that the thread left before it read: for this client, if the socket was ready then. */
static void find_wait(struct journey *journey, const struct event *ready)
{
    const struct event *other = wait_of_other(journey);
    const struct event *wait = other != NULL ? other : last_wait(journey);

    if (wait == NULL)
        return;
    const char *call = event_label(wait);
    journey->waiting = strstr(call, "epoll") != NULL ? WAITS_EPOLL
                       : strstr(call, "sig") != NULL ? WAITS_SIGNAL
                                                     : WAITS_SCAN;
    journey_set(journey, HOP_WAIT, wait);
    if (wait < ready)
        journey_clear(journey, HOP_WAIT, journey->recording->lost > 0 ? NOT_SEEN : NOT_NEEDED);
}

/* Whether the thread had asked for bytes just before, and had been told that there are none.  If it
 * was woken, it slept meanwhile, in a call that is not known. */
static bool asks_again(const struct journey *journey)
{
    if (journey->state[HOP_WAIT] != NOT_SEEN || journey->at[HOP_WAKING] != NULL)
        return false;
    const struct event *before = search(journey->recording, journey->at[HOP_RECV], BACK, HOP_RETURN,
                                        BIT(HOP_WAIT), SAME_THREAD);
    return before != NULL && (int64_t)before->value[SLOT_RET] == -11;
}

/* Without epoll there is no callback, and without a call that waits, neither wait nor loop. */
static void drop_absent(struct journey *journey)
{
    static const enum hop absent[] = {HOP_WAIT, HOP_LOOP, HOP_RESUME};
    enum waiting waiting = journey->waiting;

    if (waiting == WAITS_EPOLL || waiting == WAITS_UNKNOWN)
        return;
    journey_clear(journey, HOP_CALLBACK, NOT_ON_PATH);
    for (size_t i = 0; waiting != WAITS_SCAN && i < sizeof absent / sizeof *absent; i++)
        if (journey->at[absent[i]] == NULL)
            journey_clear(journey, absent[i], NOT_ON_PATH);
}

/* Unknown is not "no": a server that was busy may wait with any of the calls, and one that slept
 * may have slept in a call that is not traced. */
static void admit_unknown(struct journey *journey)
{
    if (journey->waiting != WAITS_UNKNOWN || journey->recording->lost > 0)
        return;
    if (journey->at[HOP_COPY] != NULL && journey->state[HOP_RECV] == NOT_SEEN &&
        journey->state[HOP_RETURN] == NOT_SEEN) /* in a call that is not traced */
        journey->state[HOP_RECV] = journey->state[HOP_RETURN] = UNKNOWN;
    if (journey->state[HOP_WAIT] == NOT_SEEN && journey->state[HOP_RETURN] != NOT_SEEN)
        journey->state[HOP_WAIT] = UNKNOWN;
    if (journey->state[HOP_CALLBACK] != NOT_ON_PATH)
        journey->state[HOP_CALLBACK] = UNKNOWN;
}

/* The thread that was woken returned from a call, and it was in no other one since the trace began,
 * or for as long as events are kept: it slept in this call. */
static void find_long_sleep(struct journey *journey)
{
    const struct event *end = journey->at[HOP_RETURN], *waking = journey->at[HOP_WAKING];

    if (end == NULL || waking == NULL || waking->value[SLOT_TASK] != (uint64_t)end->pid ||
        journey->state[HOP_RECV] != NOT_SEEN || journey->recording->lost > 0 ||
        search(journey->recording, end, BACK, HOP_RETURN, 0, SAME_THREAD) != NULL)
        return;
    journey->waiting = strstr(event_label(end), "io_uring") != NULL ? WAITS_RING : WAITS_BLOCKED;
    journey->state[HOP_RECV] = NOT_ASKED;
}

static void find_way_of_waiting(struct journey *journey)
{
    const struct event *ready = journey->at[notifying_hop(journey)];
    const struct event *recv = journey->at[HOP_RECV], *waking = journey->at[HOP_WAKING];

    if (recv == NULL) {
        find_long_sleep(journey);
        return;
    }
    /* It slept in recv() if it did not wait before, or if it is the one that this packet woke. */
    bool began_before = recv <= ready;
    bool slept = last_wait(journey) == NULL ||
                 (waking != NULL && waking->value[SLOT_TASK] == (uint64_t)recv->pid);
    if (strstr(event_label(recv), "io_uring") != NULL)
        journey->waiting = WAITS_RING;
    else
        find_wait(journey, ready);
    if (journey->waiting == WAITS_UNKNOWN && asks_again(journey))
        journey->waiting = WAITS_NOT;
    else if (began_before && journey->waiting != WAITS_RING && slept)
        journey->waiting = WAITS_BLOCKED;
    if (began_before)
        journey->state[HOP_RECV] = BEGAN_BEFORE;
}

/* The stamps that the server wrote between its wait and its call. */
static void find_stamps(struct journey *journey)
{
    static const enum hop stamps[] = {HOP_RESUME, HOP_LOOP};
    const struct event *const *at = journey->at;
    bool waited = at[HOP_WAIT] != NULL && journey->state[HOP_RECV] == SEEN;

    for (size_t i = 0; waited && i < sizeof stamps / sizeof *stamps; i++) {
        const struct event *found =
            search(journey->recording, at[HOP_RECV], BACK, stamps[i], 0, BIT(SLOT_FD));
        if (found != NULL && found > at[HOP_WAIT])
            journey_set(journey, stamps[i], found);
    }
}

void trace_forward(struct journey *journey)
{
    uint32_t socket = event_has(journey->at[HOP_TCP], SLOT_SOCK) ? BIT(SLOT_SOCK) : 0;

    journey_find(journey, HOP_READY, HOP_TCP, FORWARD, BIT(HOP_TCP), SAME_CPU | socket);
    find_wake_up(journey);
    find_copy(journey);
    find_splice(journey);
    find_way_of_waiting(journey);
    drop_absent(journey);
    admit_unknown(journey);
    find_stamps(journey);
    journey_find(journey, HOP_DONE, HOP_RETURN, FORWARD, BIT(HOP_START), SAME_THREAD);
}
