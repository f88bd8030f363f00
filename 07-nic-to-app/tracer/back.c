/* From tcp_probe back along the skb's address to where the packet came from: its NET_RX, the card's
 * interrupt or the frame, and the sender's call. */
#include "journey.h"

#include <string.h>

#define WRAP 65536

/* TCP gets a packet from the stack without a pause: on the same CPU, in the same thread, before
 * NET_RX ends. */
static bool same_work(const struct recording *recording, size_t receive, size_t tcp)
{
    const struct event *a = &recording->events[receive], *b = &recording->events[tcp];

    for (const struct event *event = a + 1; event < b; event++)
        if (event->cpu == b->cpu && event_kind(event) == KIND_SOFTIRQ_END)
            return false;
    return a->cpu == b->cpu && a->pid == b->pid && a->context == b->context;
}

/* Follow the skb's address back from the event at `from`.  The kernel reuses the address once the
 * skb is free.  So the trail ends at a copy, at a free, and at any hop that a packet passes later
 * than the one in question: such an event belongs to an earlier packet. */
static void follow_skb_back(struct draft *draft, size_t from, uint32_t end)
{
    static const enum hop trail[] = {HOP_GRO, HOP_BACKLOG, HOP_DRIVER, HOP_QUEUE};

    end |= BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_RECEIVE);
    for (size_t i = 0; i < sizeof trail / sizeof *trail; i++) {
        end |= BIT(trail[i]);
        if (draft->journey->state[trail[i]] == NOT_ON_PATH)
            continue;
        size_t at = search(draft->recording, from, BACK, trail[i], end, BIT(SLOT_SKB));
        draft_set(draft, trail[i], at);
        if (at != NOWHERE)
            from = at;
    }
}

/* tcp_probe has 16 bits for the size, and GRO or the backlog may have joined more.  The length of
 * the skb tells, unless segments were joined after it had been received. */
static void find_size(struct draft *draft)
{
    const struct event *tcp = draft_event(draft, HOP_TCP),
                       *receive = draft_event(draft, HOP_RECEIVE);
    struct journey *journey = draft->journey;
    uint64_t length = receive != NULL ? receive->value[SLOT_LEN] : 0;

    journey->size = tcp->value[SLOT_LEN];
    while (length > journey->size + MAX_HEADERS && length >= journey->size + WRAP + MIN_HEADERS)
        journey->size += WRAP;
    bool fits = length >= journey->size + MIN_HEADERS && length <= journey->size + MAX_HEADERS;
    journey->size_wraps = journey->backlogged && !fits;
    if (journey->size == 0)
        journey->size = WRAP;
}

/* While a call holds the socket's lock, packets are added to the socket's backlog.  The thread that
 * made the call works on them before it releases the lock: in a thread, and no softirq. */
static void find_receive(struct draft *draft)
{
    size_t tcp = draft->at[HOP_TCP];
    size_t at = search(draft->recording, tcp, BACK, HOP_RECEIVE,
                       BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_TCP), BIT(SLOT_SKB));

    if (at != NOWHERE && !same_work(draft->recording, at, tcp)) {
        if (draft_event(draft, HOP_TCP)->context != 't')
            return; /* Another packet had this address; ours came by a device that is not traced. */
        draft->journey->backlogged = true;
    }
    draft_set(draft, HOP_RECEIVE, at);
    follow_skb_back(draft, at != NOWHERE ? at : tcp, BIT(HOP_TCP));
}

/* Whether this packet is long enough, and not too long, for the bytes that TCP found. */
static bool may_carry(const struct event *receive, const struct event *tcp)
{
    uint64_t length = receive->value[SLOT_LEN], data = tcp->value[SLOT_LEN];

    return length >= data + MIN_HEADERS && length <= data + MAX_HEADERS;
}

/* In older kernels (6.1) tcp_probe does not name the skb.  The skb is then one that this CPU
 * received in the same software interrupt, after TCP got another.  If there are two candidates,
 * neither is chosen. */
static void find_receive_without_skb(struct draft *draft)
{
    const struct event *events = draft->recording->events, *tcp = draft_event(draft, HOP_TCP);
    size_t only = NOWHERE;

    if (event_has(tcp, SLOT_SKB))
        return;
    for (size_t i = draft->at[HOP_TCP]; i-- > 0;) {
        enum hop kind = event_kind(&events[i]);
        if (events[i].cpu != tcp->cpu)
            continue;
        if (kind == HOP_SOFTIRQ || kind == KIND_SOFTIRQ_END || kind == HOP_TCP ||
            tcp->ns - events[i].ns > MAX_DISTANCE_NS)
            break;
        if (kind != HOP_RECEIVE || !may_carry(&events[i], tcp))
            continue;
        if (only != NOWHERE)
            return;
        only = i;
    }
    draft_set(draft, HOP_RECEIVE, only);
    follow_skb_back(draft, only, 0);
}

/* What raised this NET_RX: an event since NET_RX last ended; or an interrupt by a card while NET_RX
 * was running, which makes it run once more. */
static size_t raise_before(const struct draft *draft, size_t softirq)
{
    const struct recording *recording = draft->recording;
    size_t raise = search(recording, softirq, BACK, KIND_RAISE, BIT(KIND_SOFTIRQ_END), SAME_CPU);

    if (raise != NOWHERE)
        return raise;
    size_t end = search(recording, softirq, BACK, KIND_SOFTIRQ_END, 0, SAME_CPU);
    raise = search(recording, end, BACK, KIND_RAISE, BIT(HOP_SOFTIRQ), SAME_CPU);
    return raise != NOWHERE && recording->events[raise].context == 'h' ? raise : NOWHERE;
}

/* The card's interrupt whose handler raised NET_RX.  Without one, NET_RX has rescheduled itself
 * because it had used up its budget; or a thread raised it, or an interrupt that is no card's. */
static void find_interrupt(struct draft *draft, size_t softirq)
{
    struct journey *journey = draft->journey;
    size_t raise = raise_before(draft, softirq);

    if (journey->state[HOP_IRQ] != NOT_SEEN)
        return;
    if (raise == NOWHERE) {
        if (draft->recording->lost == 0)
            journey->state[HOP_IRQ] = NOT_NEEDED;
        return;
    }
    const struct event *event = &draft->recording->events[raise];
    if (event->context == 'h')
        draft_set(draft, HOP_IRQ,
                  search(draft->recording, raise, BACK, HOP_IRQ, BIT(KIND_IRQ_END), SAME_CPU));
    if (event->context == 's' || journey->at[HOP_IRQ] != NULL || draft->recording->lost > 0)
        return;
    journey->raised = event->context == 't' ? BY_THREAD : BY_TIMER;
    if (journey->raised == BY_THREAD) /* a timer only interrupts the thread */
        journey->raiser = recording_thread(draft->recording, event->pid);
    journey->state[HOP_IRQ] = NOT_ON_PATH;
}

/* The first hop that NET_RX causes. */
static enum hop first_inside_softirq(const struct draft *draft)
{
    return draft_event(draft, HOP_GRO) != NULL ? HOP_GRO : HOP_RECEIVE;
}

/* A software interrupt belongs to a CPU and names no packet.  It is this packet's if it has begun
 * and not ended.  If it began before the packet arrived, it was running for another one. */
static void find_softirq(struct draft *draft)
{
    enum hop inside = first_inside_softirq(draft);
    const struct event *event = draft_event(draft, inside);

    if (event == NULL)
        return;
    draft->journey->worker = recording_thread(draft->recording, event->pid);
    if (event->context == 't') { /* NAPI's thread, or the program that wrote a frame */
        draft_clear(draft, HOP_SOFTIRQ, NOT_ON_PATH);
        draft_clear(draft, HOP_IRQ, NOT_ON_PATH);
    }
    if (event->context != 's')
        return;
    draft_find(draft, HOP_SOFTIRQ, inside, BACK, BIT(KIND_SOFTIRQ_END), SAME_CPU);
    size_t at = draft->at[HOP_SOFTIRQ], backlog = draft->at[HOP_BACKLOG];
    if (at == NOWHERE)
        return;
    if (backlog == NOWHERE)
        find_interrupt(draft, at);
    else if (at < backlog)
        draft_clear(draft, HOP_SOFTIRQ, NOT_NEEDED);
}

/* The call that queued the packet.  A packet that a software interrupt queued (a segment that had
 * waited for an acknowledgement) belongs to no call, whatever thread is on the CPU.  On a path
 * within one machine, NET_RX may run before the sender's call returns. */
static void find_send(struct draft *draft)
{
    const struct event *queue = draft_event(draft, HOP_QUEUE);
    const struct event *receive = draft_event(draft, HOP_RECEIVE);

    if (queue == NULL || queue->context != 't')
        return;
    draft_find(draft, HOP_SEND, HOP_QUEUE, BACK, BIT(KIND_SEND_END), SAME_THREAD);
    size_t end =
        search(draft->recording, draft->at[HOP_SEND], FORWARD, KIND_SEND_END, 0, SAME_THREAD);
    draft->journey->inside_send = receive != NULL && receive->pid == queue->pid && end != NOWHERE &&
                                  end > draft->at[HOP_RECEIVE];
}

/* The last frame that the tracer wrote before the kernel took one. */
static void find_frame(struct draft *draft)
{
    enum hop inside = first_inside_softirq(draft);

    if (draft_event(draft, HOP_BACKLOG) != NULL)
        return;
    draft_find(draft, HOP_FRAME, inside, BACK,
               draft->recording->via == VIA_TAP ? BIT(KIND_FRAME_END) : 0, 0);
    size_t frame = draft->at[HOP_FRAME], softirq = draft->at[HOP_SOFTIRQ];
    if (frame != NOWHERE && softirq != NOWHERE && softirq < frame)
        draft_clear(draft, HOP_SOFTIRQ, NOT_NEEDED);
}

/* How many frames GRO merged into this skb: those that it saw on this CPU between the first one and
 * the skb that came out.  Frames of other connections may be among them.  So the lengths must add
 * up: all frames except the first have lost their headers, which have the same size. */
static unsigned merged_frames(const struct draft *draft)
{
    const struct event *gro = draft_event(draft, HOP_GRO);
    const struct event *receive = draft_event(draft, HOP_RECEIVE);
    unsigned frames = 1;

    if (gro == NULL || receive == NULL || receive->value[SLOT_LEN] <= gro->value[SLOT_LEN])
        return 1;
    uint64_t sum = gro->value[SLOT_LEN], length = receive->value[SLOT_LEN];
    for (const struct event *event = gro + 1; event < receive; event++)
        if (event_kind(event) == HOP_GRO && event->cpu == gro->cpu &&
            strcmp(event->name, gro->name) == 0) {
            frames++;
            sum += event->value[SLOT_LEN];
        }
    uint64_t lost = sum - length, headers = frames > 1 ? lost / (frames - 1) : 0;
    bool adds_up = sum > length && headers >= MIN_HEADERS && headers <= MAX_HEADERS &&
                   headers * (frames - 1) == lost;
    return adds_up ? frames : 1;
}

void trace_back(struct draft *draft)
{
    find_receive(draft);
    find_receive_without_skb(draft);
    find_softirq(draft);
    find_size(draft);
    find_send(draft);
    find_frame(draft);
    draft->journey->frames = merged_frames(draft);
}
