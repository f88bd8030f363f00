/* From tcp_probe along the socket to the thread that is woken, and along the skb to the call that
 * copies its bytes. */
#include "draft.h"

#include <string.h>

#define THREAD_CALLS                                                                               \
    (BIT(HOP_WAIT) | BIT(HOP_RECV) | BIT(HOP_RETURN) | BIT(HOP_SEND) | BIT(KIND_SEND_END))
/* After one of these events, a wake-up on the same CPU is for another packet. */
#define NEXT_WORK                                                                                  \
    (BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_RECEIVE) | BIT(KIND_SOFTIRQ_END) | BIT(HOP_SWITCH) |  \
     THREAD_CALLS)

static void find_ready(struct draft *draft)
{
    const struct event *tcp = draft_event(draft, HOP_TCP);
    struct search ready = {BIT(HOP_READY), BIT(HOP_TCP), ANY, tcp->cpu, SLOTS, 0};

    if (event_has(tcp, SLOT_SOCK)) {
        ready.slot = SLOT_SOCK;
        ready.value = tcp->value[SLOT_SOCK];
    }
    draft_set(draft, HOP_READY, search(draft->recording, draft->at[HOP_TCP], FORWARD, &ready));
}

/* The hop after which the kernel notifies whoever waits for the socket. */
static enum hop notifying_hop(const struct draft *draft)
{
    return draft_event(draft, HOP_READY) != NULL ? HOP_READY : HOP_TCP;
}

/* The first event of this kind on the same CPU, in the same context, before that CPU turns to
 * anything else that is traced. */
static size_t next_notification(const struct draft *draft, enum hop kind, uint32_t end)
{
    enum hop hop = notifying_hop(draft);
    size_t at = search_cpu(draft->recording, draft->at[hop], FORWARD, kind, end);

    if (at == NOWHERE || draft->recording->events[at].context != draft_event(draft, hop)->context)
        return NOWHERE;
    return at;
}

/* epoll's callback runs whether or not a thread sleeps. */
static void find_callback(struct draft *draft)
{
    draft_set(draft, HOP_CALLBACK,
              next_notification(draft, HOP_CALLBACK, NEXT_WORK | BIT(HOP_WAKING)));
}

static size_t search_task(const struct draft *draft, size_t from, enum hop kind, uint64_t task)
{
    struct search same_task = {BIT(kind), BIT(HOP_WAKING), ANY, ANY, SLOT_TASK, task};

    return search(draft->recording, from, FORWARD, &same_task);
}

/* The thread that is woken, and when it gets the CPU.  No waking: the server was awake. */
static void find_wake_up(struct draft *draft)
{
    size_t at = next_notification(draft, HOP_WAKING, NEXT_WORK);

    draft_set(draft, HOP_WAKING, at);
    if (at == NOWHERE)
        return;
    uint64_t task = draft_event(draft, HOP_WAKING)->value[SLOT_TASK];
    draft_set(draft, HOP_WAKEUP, search_task(draft, at, HOP_WAKEUP, task));
    size_t from = draft->at[HOP_WAKEUP] != NOWHERE ? draft->at[HOP_WAKEUP] : at;
    draft_set(draft, HOP_SWITCH, search_task(draft, from, HOP_SWITCH, task));
}

/* TCP may append the bytes to an skb that is already in the receive queue, and free this one.  The
 * next call that reads from the socket then gets them with that skb. */
static void find_merged_copy(struct draft *draft)
{
    const struct event *tcp = draft_event(draft, HOP_TCP);
    struct search same_socket = {BIT(KIND_LENGTH), 0, ANY, ANY, SLOT_SOCK, tcp->value[SLOT_SOCK]};

    if (!event_has(tcp, SLOT_SOCK))
        return;
    size_t end = search(draft->recording, draft->at[HOP_TCP], FORWARD, &same_socket);
    if (end == NOWHERE)
        return;
    size_t copy = search_thread(draft->recording, end, BACK, HOP_COPY,
                                BIT(HOP_RECV) | BIT(HOP_RETURN), draft->recording->events[end].pid);
    if (copy == NOWHERE || copy < draft->at[HOP_TCP])
        return;
    draft_set(draft, HOP_COPY, copy);
    draft->journey->state[HOP_COPY] = MERGED;
}

static void find_copy(struct draft *draft)
{
    uint32_t reused = BIT(KIND_FREE) | BIT(HOP_QUEUE) | BIT(HOP_BACKLOG) | BIT(HOP_GRO) |
                      BIT(HOP_RECEIVE) | BIT(HOP_TCP);
    enum hop from = event_has(draft_event(draft, HOP_TCP), SLOT_SKB) ? HOP_TCP : HOP_RECEIVE;

    draft_set(draft, HOP_COPY,
              search_skb(draft->recording, draft->at[from], FORWARD, HOP_COPY, reused));
    if (draft_event(draft, HOP_COPY) == NULL)
        find_merged_copy(draft);
}

static void find_call_around_copy(struct draft *draft)
{
    const struct event *copy = draft_event(draft, HOP_COPY);
    size_t at = draft->at[HOP_COPY];

    if (copy == NULL)
        return;
    draft_set(draft, HOP_RETURN,
              search_thread(draft->recording, at, FORWARD, HOP_RETURN, BIT(HOP_RECV), copy->pid));
    draft_set(draft, HOP_RECV,
              search_thread(draft->recording, at, BACK, HOP_RECV, BIT(HOP_RETURN), copy->pid));
}

/* ---- how the server waited ---- */

/* The last wait of this thread that returned a ready descriptor.  A wait that returned an error
 * does not count: EINTR comes when a tracer attaches or a stopped process continues. */
static size_t last_wait(const struct draft *draft, size_t from, int pid)
{
    size_t at = from;

    do
        at = search_thread(draft->recording, at, BACK, HOP_WAIT, 0, pid);
    while (at != NOWHERE && (int64_t)draft->recording->events[at].value[SLOT_RET] <= 0);
    return at;
}

/* The wait from which the thread returned before it read.  If it returned before the socket became
 * ready, it returned for another client. */
static void find_wait(struct draft *draft, size_t ready)
{
    size_t wait = last_wait(draft, draft->at[HOP_RECV], draft_event(draft, HOP_RECV)->pid);

    if (wait == NOWHERE)
        return;
    const char *call = event_label(&draft->recording->events[wait]);
    draft->journey->waiting = strstr(call, "epoll") != NULL ? WAITS_EPOLL : WAITS_SCAN;
    draft_set(draft, HOP_WAIT, wait);
    if (wait < ready)
        draft_clear(draft, HOP_WAIT, draft->recording->lost > 0 ? NOT_SEEN : NOT_NEEDED);
    if (draft->journey->waiting == WAITS_SCAN)
        draft_clear(draft, HOP_CALLBACK, NOT_ON_PATH);
}

/* Whether the thread slept in recv() itself: it did not wait for readiness before, or it is the one
 * that this packet woke. */
static bool slept_in_recv(const struct draft *draft)
{
    int reader = draft_event(draft, HOP_RECV)->pid;
    const struct event *waking = draft_event(draft, HOP_WAKING);

    return last_wait(draft, draft->at[HOP_RECV], reader) == NOWHERE ||
           (waking != NULL && waking->value[SLOT_TASK] == (uint64_t)reader);
}

/* A thread that sleeps in recv() uses no epoll, and no loop runs before it gets its data. */
static void mark_blocked(struct draft *draft)
{
    static const enum hop absent[] = {HOP_WAIT, HOP_CALLBACK, HOP_LOOP, HOP_RESUME};

    draft->journey->waiting = WAITS_BLOCKED;
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        draft_clear(draft, absent[i], NOT_ON_PATH);
}

static void find_way_of_waiting(struct draft *draft)
{
    size_t ready = draft->at[notifying_hop(draft)];

    if (draft_event(draft, HOP_RECV) == NULL)
        return;
    find_wait(draft, ready);
    if (draft->at[HOP_RECV] > ready)
        return;
    if (slept_in_recv(draft))
        mark_blocked(draft);
    draft->journey->state[HOP_RECV] = BEGAN_BEFORE;
    draft->at[HOP_RECV] = NOWHERE;
}

/* The stamps that the server wrote between its wait and its call. */
static void find_stamps(struct draft *draft)
{
    static const enum hop stamps[] = {HOP_RESUME, HOP_LOOP};
    const struct event *recv = draft_event(draft, HOP_RECV);

    if (recv == NULL || draft->at[HOP_RECV] == NOWHERE || draft->at[HOP_WAIT] == NOWHERE)
        return;
    struct search same_fd = {0, 0, ANY, ANY, SLOT_FD, recv->value[SLOT_FD]};
    for (size_t i = 0; i < sizeof stamps / sizeof *stamps; i++) {
        same_fd.kinds = BIT(stamps[i]);
        size_t at = search(draft->recording, draft->at[HOP_RECV], BACK, &same_fd);
        if (at != NOWHERE && at > draft->at[HOP_WAIT])
            draft_set(draft, stamps[i], at);
    }
}

void trace_forward(struct draft *draft)
{
    find_ready(draft);
    find_callback(draft);
    find_wake_up(draft);
    find_copy(draft);
    find_call_around_copy(draft);
    find_way_of_waiting(draft);
    find_stamps(draft);
}
