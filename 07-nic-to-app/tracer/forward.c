/* From tcp_probe along the socket to the thread that is woken, and along the skb to the call that
 * copies its bytes. */
#include "journey.h"

#include <string.h>

#define THREAD_CALLS                                                                               \
    (BIT(HOP_WAIT) | BIT(HOP_RECV) | BIT(HOP_RETURN) | BIT(HOP_SEND) | BIT(KIND_SEND_END))
/* After one of these events, a wake-up on the same CPU is for another packet. */
#define NEXT_WORK                                                                                  \
    (BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_RECEIVE) | BIT(KIND_SOFTIRQ_END) | BIT(HOP_SWITCH) |  \
     THREAD_CALLS)

static void find_ready(struct draft *draft)
{
    bool has_socket = event_has(draft_event(draft, HOP_TCP), SLOT_SOCK);

    draft_find(draft, HOP_READY, HOP_TCP, FORWARD, BIT(HOP_TCP),
               SAME_CPU | (has_socket ? BIT(SLOT_SOCK) : 0));
}

/* The hop after which the kernel notifies whoever waits for the socket. */
static enum hop notifying_hop(const struct draft *draft)
{
    return draft_event(draft, HOP_READY) != NULL ? HOP_READY : HOP_TCP;
}

/* The first event of this kind on the same CPU, in the same context, before that CPU turns to
 * anything else that is traced. */
static void find_notification(struct draft *draft, enum hop kind, uint32_t end)
{
    enum hop hop = notifying_hop(draft);
    size_t at = search(draft->recording, draft->at[hop], FORWARD, kind, end, SAME_CPU);

    if (at != NOWHERE && draft->recording->events[at].context == draft_event(draft, hop)->context)
        draft_set(draft, kind, at);
}

/* epoll's callback runs whether or not a thread sleeps.  The thread that is woken, and when it gets
 * the CPU; no waking: the server was awake. */
static void find_wake_up(struct draft *draft)
{
    find_notification(draft, HOP_CALLBACK, NEXT_WORK | BIT(HOP_WAKING));
    if (draft_event(draft, HOP_CALLBACK) != NULL)
        draft->journey->waiting = WAITS_EPOLL;
    find_notification(draft, HOP_WAKING, NEXT_WORK);
    draft_find(draft, HOP_WAKEUP, HOP_WAKING, FORWARD, BIT(HOP_WAKING), BIT(SLOT_TASK));
    enum hop from = draft->at[HOP_WAKEUP] != NOWHERE ? HOP_WAKEUP : HOP_WAKING;
    draft_find(draft, HOP_SWITCH, from, FORWARD, BIT(HOP_WAKING), BIT(SLOT_TASK));
}

/* TCP may append the bytes to an skb that is already in the receive queue, and free this one.  The
 * next call that reads from the socket then gets them with that skb. */
static void find_merged_copy(struct draft *draft)
{
    size_t tcp = draft->at[HOP_TCP];
    size_t end = search(draft->recording, tcp, FORWARD, KIND_LENGTH, 0, BIT(SLOT_SOCK));
    size_t copy =
        search(draft->recording, end, BACK, HOP_COPY, BIT(HOP_RECV) | BIT(HOP_RETURN), SAME_THREAD);

    if (copy == NOWHERE || copy < tcp)
        return;
    draft_set(draft, HOP_COPY, copy);
    draft->journey->state[HOP_COPY] = MERGED;
}

/* The copy of the skb's bytes, and the call around it. */
static void find_copy(struct draft *draft)
{
    enum hop from = event_has(draft_event(draft, HOP_TCP), SLOT_SKB) ? HOP_TCP : HOP_RECEIVE;

    draft_find(draft, HOP_COPY, from, FORWARD, SKB_REUSED | BIT(HOP_TCP), BIT(SLOT_SKB));
    if (draft_event(draft, HOP_COPY) == NULL)
        find_merged_copy(draft);
    draft_find(draft, HOP_RETURN, HOP_COPY, FORWARD, BIT(HOP_RECV), SAME_THREAD);
    draft_find(draft, HOP_RECV, HOP_COPY, BACK, BIT(HOP_RETURN), SAME_THREAD);
}

/* Where this thread returns from the call in which it is; thread 0: the next return of any. */
static size_t next_return(const struct recording *recording, size_t from, int thread)
{
    for (size_t i = from + 1; i < recording->count; i++) {
        const struct event *event = &recording->events[i];
        if (thread != 0 && event->pid != thread)
            continue;
        if (event_kind(event) == HOP_RETURN)
            return i;
        if (thread != 0 && event_kind(event) == HOP_RECV)
            break;
    }
    return NOWHERE;
}

/* splice() moves the bytes to a pipe without copying them, and its events do not name the socket.
 * The call of the thread that this packet woke is the one that got them.  If no thread was woken, a
 * later call may have got them. */
static void find_splice(struct draft *draft)
{
    const struct event *waking = draft_event(draft, HOP_WAKING);
    size_t from = draft->at[waking != NULL ? HOP_WAKING : notifying_hop(draft)];

    if (draft_event(draft, HOP_COPY) != NULL)
        return;
    size_t end =
        next_return(draft->recording, from, waking != NULL ? (int)waking->value[SLOT_TASK] : 0);
    if (end == NOWHERE || strstr(event_label(&draft->recording->events[end]), "splice") == NULL)
        return;
    draft_clear(draft, HOP_COPY, waking != NULL ? NOT_ON_PATH : UNKNOWN);
    if (waking == NULL) {
        draft_clear(draft, HOP_RECV, UNKNOWN);
        draft_clear(draft, HOP_RETURN, UNKNOWN);
        return;
    }
    draft_set(draft, HOP_RETURN, end);
    draft_find(draft, HOP_RECV, HOP_RETURN, BACK, 0, SAME_THREAD);
}

/* ---- how the server waited ---- */

/* The last wait of this thread that returned a ready descriptor.  A wait that returned an error
 * does not count: EINTR comes when a tracer attaches or a stopped process continues. */
static size_t last_wait(const struct draft *draft)
{
    size_t at = draft->at[HOP_RECV];

    do
        at = search(draft->recording, at, BACK, HOP_WAIT, 0, SAME_THREAD);
    while (at != NOWHERE && (int64_t)draft->recording->events[at].value[SLOT_RET] <= 0);
    return at;
}

/* The wait from which the thread returned before it read.  If it returned before the socket became
 * ready, it returned for another client. */
static void find_wait(struct draft *draft, size_t ready)
{
    size_t wait = last_wait(draft);

    if (wait == NOWHERE)
        return;
    const char *call = event_label(&draft->recording->events[wait]);
    draft->journey->waiting = strstr(call, "epoll") != NULL ? WAITS_EPOLL
                              : strstr(call, "sig") != NULL ? WAITS_SIGNAL
                                                            : WAITS_SCAN;
    draft_set(draft, HOP_WAIT, wait);
    if (wait < ready)
        draft_clear(draft, HOP_WAIT, draft->recording->lost > 0 ? NOT_SEEN : NOT_NEEDED);
}

/* Whether the thread slept in recv() itself: it did not wait for readiness before, or it is the one
 * that this packet woke. */
static bool slept_in_recv(const struct draft *draft)
{
    int reader = draft_event(draft, HOP_RECV)->pid;
    const struct event *waking = draft_event(draft, HOP_WAKING);

    return last_wait(draft) == NOWHERE ||
           (waking != NULL && waking->value[SLOT_TASK] == (uint64_t)reader);
}

/* Whether the thread had asked for bytes just before, and had been told that there are none.  If it
 * was woken, it slept meanwhile, in a call that is not known. */
static bool asks_again(const struct draft *draft)
{
    if (draft->journey->state[HOP_WAIT] != NOT_SEEN || draft_event(draft, HOP_WAKING) != NULL)
        return false;
    size_t before =
        search(draft->recording, draft->at[HOP_RECV], BACK, HOP_RETURN, BIT(HOP_WAIT), SAME_THREAD);
    return before != NOWHERE && (int64_t)draft->recording->events[before].value[SLOT_RET] == -11;
}

/* A server without epoll has no callback; and without a call that waits for readiness, no wait and
 * no loop that looks for what is ready. */
static void drop_absent(struct draft *draft)
{
    static const enum hop absent[] = {HOP_WAIT, HOP_LOOP, HOP_RESUME};
    enum waiting waiting = draft->journey->waiting;

    if (waiting == WAITS_EPOLL || waiting == WAITS_UNKNOWN)
        return;
    draft_clear(draft, HOP_CALLBACK, NOT_ON_PATH);
    for (size_t i = 0; waiting != WAITS_SCAN && i < sizeof absent / sizeof *absent; i++)
        if (draft_event(draft, absent[i]) == NULL)
            draft_clear(draft, absent[i], NOT_ON_PATH);
}

/* Unknown is not "no": a server that was busy may wait with any of the calls, and one that slept
 * may have slept in a call that is not traced. */
static void admit_unknown(struct draft *draft)
{
    struct journey *journey = draft->journey;

    if (journey->waiting != WAITS_UNKNOWN || draft->recording->lost > 0)
        return;
    if (journey->state[HOP_WAIT] == NOT_SEEN && journey->state[HOP_RETURN] != NOT_SEEN)
        journey->state[HOP_WAIT] = UNKNOWN;
    journey->state[HOP_CALLBACK] = UNKNOWN;
}

static void find_way_of_waiting(struct draft *draft)
{
    size_t ready = draft->at[notifying_hop(draft)];
    struct journey *journey = draft->journey;
    const struct event *recv = draft_event(draft, HOP_RECV);

    if (recv == NULL)
        return;
    bool began_before = draft->at[HOP_RECV] <= ready;
    if (strstr(event_label(recv), "io_uring") != NULL)
        journey->waiting = WAITS_RING;
    else
        find_wait(draft, ready);
    if (journey->waiting == WAITS_UNKNOWN && asks_again(draft))
        journey->waiting = WAITS_NOT;
    else if (began_before && journey->waiting != WAITS_RING && slept_in_recv(draft))
        journey->waiting = WAITS_BLOCKED;
    if (began_before) {
        journey->state[HOP_RECV] = BEGAN_BEFORE;
        draft->at[HOP_RECV] = NOWHERE;
    }
}

/* The stamps that the server wrote between its wait and its call. */
static void find_stamps(struct draft *draft)
{
    static const enum hop stamps[] = {HOP_RESUME, HOP_LOOP};
    const size_t *at = draft->at;

    for (size_t i = 0; at[HOP_WAIT] != NOWHERE && i < sizeof stamps / sizeof *stamps; i++) {
        size_t found = search(draft->recording, at[HOP_RECV], BACK, stamps[i], 0, BIT(SLOT_FD));
        if (found != NOWHERE && found > at[HOP_WAIT])
            draft_set(draft, stamps[i], found);
    }
}

void trace_forward(struct draft *draft)
{
    find_ready(draft);
    find_wake_up(draft);
    find_copy(draft);
    find_splice(draft);
    find_way_of_waiting(draft);
    drop_absent(draft);
    admit_unknown(draft);
    find_stamps(draft);
}
