/* Events in, journeys out.  A pure function: it reads the recording, and nothing else.
 *
 * A journey is found from its middle.  tcp_probe is written once for each skb with data for our
 * port, and it knows the skb, the socket and the CPU.  From there we look back along the skb's
 * address to where the packet came from, and forward along the socket to the thread that was woken,
 * and along the skb to the copy of its bytes.  Every search stops where the trail would be another
 * packet's; then the hop is not seen, and nothing is guessed. */
#include "stitch.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE SIZE_MAX
#define LONGEST 10000000000U /* ns: what is further away belongs to something else */
#define BIT(kind) (1U << (kind))
#define LEAST_HEADERS 40 /* of IP and TCP together */
#define MOST_HEADERS 120
#define ANYBODY (-1)
#define CALLS_OF_A_THREAD                                                                          \
    (BIT(HOP_WAIT) | BIT(HOP_RECV) | BIT(HOP_RETURN) | BIT(HOP_SEND) | BIT(KIND_SEND_END))

/* What a search wants: an event of one of these kinds, before one of the kinds that end it.  Both
 * only count if they have this thread, this CPU and this value. */
struct search {
    uint32_t kinds, end;
    int pid, cpu;
    enum slot slot; /* SLOTS: any */
    uint64_t value;
};

static bool about_it(const struct event *event, const struct search *search)
{
    if (search->pid != ANYBODY && event->pid != search->pid)
        return false;
    if (search->cpu != ANYBODY && event->cpu != search->cpu)
        return false;
    return search->slot == SLOTS ||
           (event_has(event, search->slot) && event->value[search->slot] == search->value);
}

/* From the event at `from`, and not looking at it.  A step of -1 goes back in time. */
static size_t seek(const struct recording *recording, size_t from, int step,
                   const struct search *search)
{
    if (from == NOWHERE || (recording->kinds & search->kinds) == 0)
        return NOWHERE;
    uint64_t begin = recording->events[from].ns;
    for (size_t i = from + (size_t)step; i < recording->count; i += (size_t)step) {
        const struct event *event = &recording->events[i];
        uint64_t away = step > 0 ? event->ns - begin : begin - event->ns;
        if (away > LONGEST)
            return NOWHERE;
        uint32_t kind = BIT(event_kind(event));
        if ((kind & (search->kinds | search->end)) == 0 || !about_it(event, search))
            continue;
        return (kind & search->kinds) != 0 ? i : NOWHERE;
    }
    return NOWHERE;
}

static size_t seek_skb(const struct recording *recording, size_t from, int step, enum hop kind,
                       uint32_t end)
{
    if (from == NOWHERE || !event_has(&recording->events[from], SLOT_SKB))
        return NOWHERE;
    struct search search = {BIT(kind), end,      ANYBODY,
                            ANYBODY,   SLOT_SKB, recording->events[from].value[SLOT_SKB]};
    return seek(recording, from, step, &search);
}

static size_t seek_thread(const struct recording *recording, size_t from, int step, enum hop kind,
                          uint32_t end, int pid)
{
    struct search search = {BIT(kind), end, pid, ANYBODY, SLOTS, 0};

    return seek(recording, from, step, &search);
}

static size_t seek_cpu(const struct recording *recording, size_t from, int step, enum hop kind,
                       uint32_t end)
{
    const struct event *near = from < recording->count ? &recording->events[from] : NULL;

    if (near == NULL)
        return NOWHERE;
    struct search search = {BIT(kind), end, ANYBODY, near->cpu, SLOTS, 0};
    return seek(recording, from, step, &search);
}

/* A journey while it is put together: where its hops are in the recording. */
struct draft {
    const struct recording *recording;
    struct journey *journey;
    size_t at[HOPS];
};

static void found(struct draft *draft, enum hop hop, size_t at)
{
    draft->at[hop] = at;
    if (at == NOWHERE)
        return;
    draft->journey->at[hop] = &draft->recording->events[at];
    draft->journey->sight[hop] = SEEN;
}

/* It is there, and not because of this packet. */
static void not_for_us(struct draft *draft, enum hop hop, enum sight sight)
{
    if (sight != BEFORE)
        draft->journey->at[hop] = NULL;
    draft->journey->sight[hop] = sight;
    draft->at[hop] = NOWHERE;
}

static const struct event *event_at(const struct draft *draft, enum hop hop)
{
    return draft->journey->at[hop];
}

/* ---- back, to where the packet came from ---- */

/* TCP has a packet in the same breath as the stack: on this CPU, before NET_RX ends. */
static bool same_work(const struct recording *recording, size_t receive, size_t tcp)
{
    const struct event *events = recording->events;

    for (size_t i = receive + 1; i < tcp; i++)
        if (events[i].cpu == events[tcp].cpu && event_kind(&events[i]) == KIND_SOFTIRQ_END)
            return false;
    return events[receive].cpu == events[tcp].cpu && events[receive].context == events[tcp].context;
}

/* From `from` back, by the skb's address.  An address is used again when the skb is free.  So its
 * trail ends at a copy, at a free, and at every hop that comes later on the way than the one we
 * look for: that one is of an earlier packet. */
static void trail_back(struct draft *draft, size_t from, uint32_t end)
{
    static const enum hop trail[] = {HOP_GRO, HOP_BACKLOG, HOP_DRIVER, HOP_QUEUE};

    end |= BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_RECEIVE);
    for (size_t i = 0; i < sizeof trail / sizeof *trail; i++) {
        end |= BIT(trail[i]);
        if (draft->journey->sight[trail[i]] == ELSEWHERE)
            continue;
        size_t at = seek_skb(draft->recording, from, -1, trail[i], end);
        found(draft, trail[i], at);
        if (at != NOWHERE)
            from = at;
    }
}

static void trail_of_skb(struct draft *draft)
{
    size_t tcp = draft->at[HOP_TCP];
    size_t at = seek_skb(draft->recording, tcp, -1, HOP_RECEIVE,
                         BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_TCP));

    if (at != NOWHERE && !same_work(draft->recording, at, tcp))
        return; /* the same address, another packet: ours came by a device that we do not watch */
    found(draft, HOP_RECEIVE, at);
    trail_back(draft, at != NOWHERE ? at : tcp, BIT(HOP_TCP));
}

/* Could this be the packet in which TCP found so many bytes? */
static bool may_carry(const struct event *receive, const struct event *tcp)
{
    uint64_t length = receive->value[SLOT_LEN], data = tcp->value[SLOT_LEN];

    return length >= data + LEAST_HEADERS && length <= data + MOST_HEADERS;
}

/* The tcp_probe of older kernels (6.1) has no skb.  Then it is one that this CPU took in during the
 * same software interrupt; and if that may be two, we cannot tell which. */
static void receive_without_skb(struct draft *draft)
{
    const struct event *events = draft->recording->events, *tcp = event_at(draft, HOP_TCP);
    size_t only = NOWHERE;

    if (event_has(tcp, SLOT_SKB))
        return;
    for (size_t i = draft->at[HOP_TCP]; i-- > 0;) {
        enum hop kind = event_kind(&events[i]);
        if (events[i].cpu != tcp->cpu)
            continue;
        if (kind == HOP_SOFTIRQ || kind == KIND_SOFTIRQ_END || tcp->ns - events[i].ns > LONGEST)
            break;
        if (kind != HOP_RECEIVE || !may_carry(&events[i], tcp))
            continue;
        if (only != NOWHERE)
            return;
        only = i;
    }
    found(draft, HOP_RECEIVE, only);
    trail_back(draft, only, 0);
}

/* Who asked for this NET_RX?  Somebody has since it ran last; or a card has interrupted it while it
 * ran, and so it runs once more. */
static size_t raise_before(const struct draft *draft, size_t softirq)
{
    const struct recording *recording = draft->recording;
    size_t raise = seek_cpu(recording, softirq, -1, KIND_RAISE, BIT(KIND_SOFTIRQ_END));

    if (raise != NOWHERE)
        return raise;
    size_t end = seek_cpu(recording, softirq, -1, KIND_SOFTIRQ_END, 0);
    raise = seek_cpu(recording, end, -1, KIND_RAISE, BIT(HOP_SOFTIRQ));
    return raise != NOWHERE && recording->events[raise].context == 'h' ? raise : NOWHERE;
}

/* The card's interrupt in whose handler NET_RX was asked for.  If nobody has asked, then it asked
 * for itself: it had more to do than it may do at once. */
static void interrupt_before(struct draft *draft, size_t softirq)
{
    enum sight *sight = &draft->journey->sight[HOP_IRQ];
    size_t raise = raise_before(draft, softirq);

    if (raise == NOWHERE && *sight == UNSEEN && draft->recording->lost == 0)
        *sight = AWAKE;
    if (raise != NOWHERE)
        found(draft, HOP_IRQ, seek_cpu(draft->recording, raise, -1, HOP_IRQ, BIT(KIND_IRQ_END)));
}

/* Software interrupts belong to a CPU and carry no packet: this one has begun and not ended.  If it
 * began before the packet was there, it was at work for others. */
static void softirq_around(struct draft *draft)
{
    enum hop inside = event_at(draft, HOP_GRO) != NULL ? HOP_GRO : HOP_RECEIVE;
    const struct event *event = event_at(draft, inside);

    if (event == NULL || event->context != 's')
        return;
    size_t at =
        seek_cpu(draft->recording, draft->at[inside], -1, HOP_SOFTIRQ, BIT(KIND_SOFTIRQ_END));
    found(draft, HOP_SOFTIRQ, at);
    size_t backlog = draft->at[HOP_BACKLOG];
    if (at != NOWHERE && backlog != NOWHERE && at < backlog) {
        not_for_us(draft, HOP_SOFTIRQ, AWAKE);
        return;
    }
    if (at != NOWHERE && backlog == NOWHERE)
        interrupt_before(draft, at);
}

/* The call in which the packet was queued.  One that is queued by a software interrupt (a segment
 * that waited for an acknowledgement) belongs to no call, though some thread is on the CPU. */
static void send_around(struct draft *draft)
{
    const struct event *queue = event_at(draft, HOP_QUEUE);

    if (queue != NULL && queue->context == 't')
        found(draft, HOP_SEND,
              seek_thread(draft->recording, draft->at[HOP_QUEUE], -1, HOP_SEND, BIT(KIND_SEND_END),
                          queue->pid));
}

/* On a way within one machine NET_RX may run before the sender's call is over, in its time. */
static void receive_inside_send(struct draft *draft)
{
    const struct event *send = event_at(draft, HOP_SEND), *receive = event_at(draft, HOP_RECEIVE);

    if (send == NULL || receive == NULL || receive->pid != send->pid)
        return;
    size_t end = seek_thread(draft->recording, draft->at[HOP_SEND], 1, KIND_SEND_END, 0, send->pid);
    draft->journey->inside_send = end != NOWHERE && end > draft->at[HOP_RECEIVE];
}

/* The frame that we wrote last before the kernel took one in. */
static void frame_before(struct draft *draft)
{
    enum hop inside = event_at(draft, HOP_GRO) != NULL ? HOP_GRO : HOP_RECEIVE;
    struct search search = {BIT(HOP_FRAME), 0, ANYBODY, ANYBODY, SLOTS, 0};

    if (draft->recording->via == VIA_TAP)
        search.end = BIT(KIND_FRAME_END);
    if (event_at(draft, inside) == NULL || event_at(draft, HOP_BACKLOG) != NULL)
        return;
    size_t frame = seek(draft->recording, draft->at[inside], -1, &search);
    found(draft, HOP_FRAME, frame);
    size_t softirq = draft->at[HOP_SOFTIRQ];
    if (frame != NOWHERE && softirq != NOWHERE && softirq < frame)
        not_for_us(draft, HOP_SOFTIRQ, AWAKE);
}

/* How many frames GRO made one of: those that it saw on this CPU between the first and the skb that
 * came out.  Frames of other connections may be among them.  So the lengths have to add up: all but
 * the first have lost their headers, which are of one size. */
static void count_frames(struct draft *draft)
{
    const struct event *gro = event_at(draft, HOP_GRO), *receive = event_at(draft, HOP_RECEIVE);
    unsigned frames = 1;

    draft->journey->frames = 1;
    if (gro == NULL || receive == NULL || receive->value[SLOT_LEN] <= gro->value[SLOT_LEN])
        return;
    uint64_t sum = gro->value[SLOT_LEN];
    for (const struct event *event = gro + 1; event < receive; event++)
        if (event_kind(event) == HOP_GRO && event->cpu == gro->cpu &&
            strcmp(event->name, gro->name) == 0) {
            frames++;
            sum += event->value[SLOT_LEN];
        }
    uint64_t lost = sum - receive->value[SLOT_LEN], headers = frames > 1 ? lost / (frames - 1) : 0;
    if (sum > receive->value[SLOT_LEN] && headers >= LEAST_HEADERS && headers <= MOST_HEADERS &&
        headers * (frames - 1) == lost)
        draft->journey->frames = frames;
}

/* ---- forward, to the thread that reads ---- */

static void socket_ready(struct draft *draft)
{
    const struct event *tcp = event_at(draft, HOP_TCP);
    struct search search = {BIT(HOP_READY), BIT(HOP_TCP), ANYBODY, tcp->cpu, SLOTS, 0};

    if (event_has(tcp, SLOT_SOCK)) {
        search.slot = SLOT_SOCK;
        search.value = tcp->value[SLOT_SOCK];
    }
    found(draft, HOP_READY, seek(draft->recording, draft->at[HOP_TCP], 1, &search));
}

/* epoll's function is called whether or not a thread sleeps. */
static void epoll_told(struct draft *draft)
{
    enum hop hop = event_at(draft, HOP_READY) != NULL ? HOP_READY : HOP_TCP;
    size_t at = seek_cpu(draft->recording, draft->at[hop], 1, HOP_CALLBACK,
                         BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_RECEIVE) | BIT(KIND_SOFTIRQ_END) |
                             BIT(HOP_WAKING) | BIT(HOP_SWITCH) | CALLS_OF_A_THREAD);

    if (at != NOWHERE && draft->recording->events[at].context == event_at(draft, hop)->context)
        found(draft, HOP_CALLBACK, at);
}

static size_t seek_task(const struct draft *draft, size_t from, enum hop kind, uint64_t task)
{
    struct search search = {BIT(kind), BIT(HOP_WAKING), ANYBODY, ANYBODY, SLOT_TASK, task};

    return seek(draft->recording, from, 1, &search);
}

/* Who was woken: the first waking on the same CPU, in the same context, before that CPU does
 * anything else that we know of.  None: the server was awake. */
static void wake_up(struct draft *draft)
{
    enum hop hop = event_at(draft, HOP_READY) != NULL ? HOP_READY : HOP_TCP;
    size_t at = seek_cpu(draft->recording, draft->at[hop], 1, HOP_WAKING,
                         BIT(HOP_TCP) | BIT(HOP_READY) | BIT(HOP_RECEIVE) | BIT(KIND_SOFTIRQ_END) |
                             BIT(HOP_SWITCH) | CALLS_OF_A_THREAD);
    if (at == NOWHERE || draft->recording->events[at].context != event_at(draft, hop)->context)
        return;
    found(draft, HOP_WAKING, at);
    uint64_t task = event_at(draft, HOP_WAKING)->value[SLOT_TASK];
    found(draft, HOP_WAKEUP, seek_task(draft, at, HOP_WAKEUP, task));
    size_t from = draft->at[HOP_WAKEUP] != NOWHERE ? draft->at[HOP_WAKEUP] : at;
    found(draft, HOP_SWITCH, seek_task(draft, from, HOP_SWITCH, task));
}

/* TCP may append the bytes to an skb that waits already, and free this one.  Then the next call
 * that reads from the socket gets them with that skb. */
static void copy_merged(struct draft *draft)
{
    const struct event *tcp = event_at(draft, HOP_TCP);
    struct search search = {BIT(KIND_LENGTH), 0,         ANYBODY,
                            ANYBODY,          SLOT_SOCK, tcp->value[SLOT_SOCK]};

    if (!event_has(tcp, SLOT_SOCK))
        return;
    size_t end = seek(draft->recording, draft->at[HOP_TCP], 1, &search);
    if (end == NOWHERE)
        return;
    size_t copy = seek_thread(draft->recording, end, -1, HOP_COPY, BIT(HOP_RECV) | BIT(HOP_RETURN),
                              draft->recording->events[end].pid);
    if (copy == NOWHERE || copy < draft->at[HOP_TCP])
        return;
    found(draft, HOP_COPY, copy);
    draft->journey->sight[HOP_COPY] = MERGED;
}

static void copy_of_skb(struct draft *draft)
{
    uint32_t reused = BIT(KIND_FREE) | BIT(HOP_QUEUE) | BIT(HOP_BACKLOG) | BIT(HOP_GRO) |
                      BIT(HOP_RECEIVE) | BIT(HOP_TCP);
    enum hop from = event_has(event_at(draft, HOP_TCP), SLOT_SKB) ? HOP_TCP : HOP_RECEIVE;

    found(draft, HOP_COPY, seek_skb(draft->recording, draft->at[from], 1, HOP_COPY, reused));
    if (event_at(draft, HOP_COPY) == NULL)
        copy_merged(draft);
}

static void call_around_copy(struct draft *draft)
{
    const struct event *copy = event_at(draft, HOP_COPY);

    if (copy == NULL)
        return;
    size_t at = draft->at[HOP_COPY];
    found(draft, HOP_RETURN,
          seek_thread(draft->recording, at, 1, HOP_RETURN, BIT(HOP_RECV), copy->pid));
    found(draft, HOP_RECV,
          seek_thread(draft->recording, at, -1, HOP_RECV, BIT(HOP_RETURN), copy->pid));
}

static enum waiting way_of_waiting(const struct event *wait)
{
    return strstr(source_label(wait), "epoll") != NULL ? WAITS_EPOLL : WAITS_SCAN;
}

/* The last wait of this thread that named somebody.  One that returns an error did not: EINTR comes
 * when a tracer attaches, or a stopped process goes on. */
static size_t last_wait(const struct draft *draft, size_t from, int pid)
{
    size_t at = from;

    do
        at = seek_thread(draft->recording, at, -1, HOP_WAIT, 0, pid);
    while (at != NOWHERE && (int64_t)draft->recording->events[at].value[SLOT_RET] <= 0);
    return at;
}

/* The wait that the thread returned from before it read.  Was it over before the socket became
 * ready, then it returned for somebody else.  No wait at all: the thread sat in recv(). */
static void wait_before(struct draft *draft)
{
    struct journey *journey = draft->journey;
    size_t ready = draft->at[event_at(draft, HOP_READY) != NULL ? HOP_READY : HOP_TCP];

    if (event_at(draft, HOP_RECV) == NULL)
        return;
    size_t wait = last_wait(draft, draft->at[HOP_RECV], event_at(draft, HOP_RECV)->pid);
    found(draft, HOP_WAIT, wait);
    if (wait != NOWHERE) {
        journey->waiting = way_of_waiting(&draft->recording->events[wait]);
        if (wait < ready)
            not_for_us(draft, HOP_WAIT, draft->recording->lost > 0 ? UNSEEN : AWAKE);
    }
    if (wait != NOWHERE && journey->waiting == WAITS_SCAN)
        not_for_us(draft, HOP_CALLBACK, ELSEWHERE);
    if (draft->at[HOP_RECV] > ready)
        return;
    int reader = event_at(draft, HOP_RECV)->pid;
    const struct event *waking = event_at(draft, HOP_WAKING);
    not_for_us(draft, HOP_RECV, BEFORE);
    if (wait == NOWHERE || (waking != NULL && waking->value[SLOT_TASK] == (uint64_t)reader)) {
        journey->waiting = WAITS_BLOCKED; /* it slept in the call, and no loop comes next */
        not_for_us(draft, HOP_WAIT, ELSEWHERE);
        journey->sight[HOP_LOOP] = ELSEWHERE;
        not_for_us(draft, HOP_CALLBACK, ELSEWHERE);
        journey->sight[HOP_RESUME] = ELSEWHERE;
    }
}

/* What the server stamped between its wait and its call. */
static void stamps_between(struct draft *draft)
{
    static const enum hop stamps[] = {HOP_RESUME, HOP_LOOP};
    const struct event *recv = event_at(draft, HOP_RECV);

    if (recv == NULL || draft->at[HOP_RECV] == NOWHERE || draft->at[HOP_WAIT] == NOWHERE)
        return;
    struct search search = {0, 0, ANYBODY, ANYBODY, SLOT_FD, recv->value[SLOT_FD]};
    for (size_t i = 0; i < sizeof stamps / sizeof *stamps; i++) {
        search.kinds = BIT(stamps[i]);
        size_t at = seek(draft->recording, draft->at[HOP_RECV], -1, &search);
        if (at != NOWHERE && at > draft->at[HOP_WAIT])
            found(draft, stamps[i], at);
    }
}

/* ---- what is missing, and whether it may be ---- */

static uint32_t kinds_asked(const struct recording *recording)
{
    uint32_t kinds = 0;

    for (size_t i = 0; i < source_count; i++)
        if (recording_can(recording, i))
            kinds |= BIT(sources[i].kind);
    return kinds;
}

/* A thread that was woken and then ran: had it left its CPU?  The last switch before says so.  Some
 * kernels write no event for a switch from the idle task, so its absence alone proves nothing. */
static bool kept_its_cpu(const struct draft *draft)
{
    const struct event *waking = event_at(draft, HOP_WAKING);

    for (size_t i = draft->at[HOP_WAKING]; i-- > 0;) {
        const struct event *event = &draft->recording->events[i];
        if (event_kind(event) != HOP_SWITCH)
            continue;
        if (event->value[SLOT_TASK] == waking->value[SLOT_TASK])
            return true;
        if (event->value[SLOT_FROM] == waking->value[SLOT_TASK])
            return false;
    }
    return false; /* it was away since before the tracer began, or we cannot tell */
}

/* A switch that comes after the thread has been at work is one of a later time. */
static void forget_late_switch(struct draft *draft)
{
    size_t ran = draft->at[HOP_WAIT] != NOWHERE ? draft->at[HOP_WAIT] : draft->at[HOP_COPY];

    if (draft->at[HOP_SWITCH] == NOWHERE || ran == NOWHERE || draft->at[HOP_SWITCH] < ran)
        return;
    not_for_us(draft, HOP_SWITCH, UNSEEN);
}

/* Nobody was woken: that is so when the server was awake.  Only if no event is lost, and the bytes
 * were read, can we say so. */
static void explain_missing_wake_up(struct draft *draft)
{
    enum sight *sight = draft->journey->sight;

    forget_late_switch(draft);
    if (draft->recording->lost > 0 || event_at(draft, HOP_COPY) == NULL)
        return;
    bool nobody = sight[HOP_WAKING] == UNSEEN;
    if (nobody)
        sight[HOP_WAKING] = AWAKE;
    if (nobody && sight[HOP_WAKEUP] == UNSEEN)
        sight[HOP_WAKEUP] = AWAKE;
    if (nobody && sight[HOP_CALLBACK] == UNSEEN && event_at(draft, HOP_READY) != NULL)
        sight[HOP_CALLBACK] = AWAKE;
    if (sight[HOP_SWITCH] == UNSEEN &&
        (nobody || (event_at(draft, HOP_WAKING) != NULL && kept_its_cpu(draft))))
        sight[HOP_SWITCH] = AWAKE;
}

static void begin(struct draft *draft, uint32_t asked)
{
    uint32_t belong = vias[draft->recording->via].hops;

    for (int hop = 0; hop < HOPS; hop++) {
        draft->at[hop] = NOWHERE;
        draft->journey->sight[hop] = ELSEWHERE;
        if ((belong & BIT(hop)) != 0)
            draft->journey->sight[hop] = (asked & BIT(hop)) != 0 ? UNSEEN : UNASKED;
    }
    draft->journey->frames = 1;
}

/* A hop earlier than the one before it is a wrong link, and not shown. */
static void forget_disorder(struct journey *journey)
{
    uint64_t last = 0;

    for (int hop = 0; hop < HOP_ACK; hop++) {
        if (journey->at[hop] == NULL || journey->sight[hop] == BEFORE)
            continue;
        if (journey->at[hop]->ns >= last) {
            last = journey->at[hop]->ns;
            continue;
        }
        journey->at[hop] = NULL;
        journey->sight[hop] = UNSEEN;
    }
}

static enum outcome judge(struct journey *journey)
{
    enum outcome outcome = COMPLETE;

    forget_disorder(journey);
    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->sight[hop] == UNSEEN)
            return INCOMPLETE;
        if (journey->sight[hop] == AWAKE || journey->sight[hop] == MERGED)
            outcome = BATCHED;
    }
    return outcome;
}

/* ---- one journey, all journeys ---- */

static void follow(const struct recording *recording, size_t probe, uint32_t asked,
                   struct journey *journey)
{
    struct draft draft = {.recording = recording, .journey = journey};

    begin(&draft, asked);
    found(&draft, HOP_TCP, probe);
    trail_of_skb(&draft);
    receive_without_skb(&draft);
    softirq_around(&draft);
    send_around(&draft);
    receive_inside_send(&draft);
    frame_before(&draft);
    count_frames(&draft);
    socket_ready(&draft);
    epoll_told(&draft);
    wake_up(&draft);
    copy_of_skb(&draft);
    call_around_copy(&draft);
    wait_before(&draft);
    stamps_between(&draft);
    explain_missing_wake_up(&draft);
    journey->outcome = judge(journey);
}

static bool same_packet(const struct event *event, const struct event *other)
{
    return event_has(event, SLOT_PACKET) && event->value[SLOT_PACKET] == other->value[SLOT_PACKET];
}

/* Where sockets told of themselves, each event carries the number of its packet.  One is back
 * before the next is sent, so the events of a packet stand together. */
static void gather(const struct recording *recording, size_t last, uint32_t asked,
                   struct journey *journey)
{
    struct draft draft = {.recording = recording, .journey = journey};
    const struct event *events = recording->events;
    size_t at = last;

    begin(&draft, asked);
    while (at > 0 && same_packet(&events[at - 1], &events[last]))
        at--;
    for (; at < recording->count && same_packet(&events[at], &events[last]); at++)
        if (event_kind(&events[at]) < HOPS)
            found(&draft, event_kind(&events[at]), at);
    journey->outcome = judge(journey);
}

static bool journeys_add(struct journeys *journeys, struct journey **journey)
{
    if ((journeys->count & (journeys->count - 1)) == 0) { /* 0, 1, 2, 4, 8 ...: full */
        size_t room = journeys->count == 0 ? 1 : journeys->count * 2;
        struct journey *list = realloc(journeys->list, room * sizeof *list);
        if (list == NULL)
            return false;
        journeys->list = list;
    }
    *journey = &journeys->list[journeys->count++];
    memset(*journey, 0, sizeof **journey);
    return true;
}

bool stitch(const struct recording *recording, struct journeys *journeys)
{
    bool told = recording->via == VIA_SOCKETS;
    unsigned skip = recording->skip;
    uint32_t asked = kinds_asked(recording);

    *journeys = (struct journeys){0};
    for (size_t i = 0; i < recording->count; i++) {
        const struct event *event = &recording->events[i];
        struct journey *journey;
        if (event_kind(event) != (told ? HOP_RETURN : HOP_TCP))
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        if (!journeys_add(journeys, &journey))
            return false;
        if (told)
            gather(recording, i, asked, journey);
        else
            follow(recording, i, asked, journey);
        journeys->outcomes[journey->outcome]++;
    }
    return true;
}

/* The one to show: the first that is complete, or else the first. */
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

/* ---- what a journey says ---- */

/* An acknowledgement goes its own way back, and is no step of this one. */
static bool is_step(const struct journey *journey, int hop)
{
    return hop != HOP_ACK && journey->at[hop] != NULL && journey->sight[hop] != BEFORE;
}

const struct event *journey_first(const struct journey *journey)
{
    for (int hop = 0; hop < HOPS; hop++)
        if (is_step(journey, hop))
            return journey->at[hop];
    return NULL;
}

const struct event *journey_before(const struct journey *journey, enum hop hop)
{
    for (int before = (int)hop - 1; before >= 0; before--)
        if (is_step(journey, before))
            return journey->at[before];
    return NULL;
}

const struct event *journey_last(const struct journey *journey)
{
    return journey_before(journey, HOPS);
}

void journey_shares(const struct journey *journey, uint64_t ns[SHARES])
{
    const struct event *last = NULL;

    memset(ns, 0, SHARES * sizeof *ns);
    for (int hop = 0; hop < HOPS; hop++) {
        if (!is_step(journey, hop))
            continue;
        if (last != NULL && journey->at[hop]->ns >= last->ns)
            ns[hops[hop].share] += journey->at[hop]->ns - last->ns;
        last = journey->at[hop];
    }
}
