/* From tcp_probe back along the skb: its NET_RX, the interrupt or frame, and the sender's call. */
#include "journey.h"

#define WRAP 65536

/* TCP gets a packet from the stack without a pause: same CPU, same thread, before NET_RX ends. */
static bool same_work(const struct event *a, const struct event *b)
{
    for (const struct event *event = a + 1; event < b; event++)
        if (event->cpu == b->cpu && event_kind(event) == KIND_SOFTIRQ_END)
            return false;
    return a->cpu == b->cpu && a->pid == b->pid && a->context == b->context;
}

/* Follow the skb's address back from the event at `from`.  The kernel reuses the address once the
 * skb is free.  So the trail ends at a copy, at a free, and at any hop that a packet passes later
 * than the one in question: such an event belongs to an earlier packet. */
static void follow_skb_back(struct journey *journey, const struct event *from, uint32_t end)
{
    static const enum hop trail[] = {HOP_GRO, HOP_BACKLOG, HOP_DRIVER, HOP_QUEUE};

    end |= BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_RECEIVE);
    for (size_t i = 0; i < sizeof trail / sizeof *trail; i++) {
        end |= BIT(trail[i]);
        if (journey->state[trail[i]] == NOT_ON_PATH)
            continue;
        const struct event *at =
            search(journey->recording, from, BACK, trail[i], end, BIT(SLOT_SKB));
        journey_set(journey, trail[i], at);
        if (at != NULL)
            from = at;
    }
}

/* Whether the packet is long enough, and not too long, for this many bytes of data. */
static bool may_carry(const struct event *receive, uint64_t data)
{
    uint64_t length = receive->value[SLOT_LEN];

    return length >= data + MIN_HEADERS && length <= data + MAX_HEADERS;
}

/* tcp_probe has 16 bits for the size, and GRO or the backlog may have joined more.  The length of
 * the skb tells, unless segments were joined after it had been received. */
static void find_size(struct journey *journey)
{
    const struct event *tcp = journey->at[HOP_TCP], *receive = journey->at[HOP_RECEIVE];
    uint64_t length = receive != NULL ? receive->value[SLOT_LEN] : 0;

    journey->size = tcp->value[SLOT_LEN];
    while (length > journey->size + MAX_HEADERS && length >= journey->size + WRAP + MIN_HEADERS)
        journey->size += WRAP;
    journey->size_wraps =
        journey->backlogged && (receive == NULL || !may_carry(receive, journey->size));
    if (journey->size == 0)
        journey->size = WRAP;
}

/* While a call holds the socket's lock, packets are added to the socket's backlog.  The thread that
 * made the call works on them before it releases the lock: in a thread, and no softirq. */
static void find_receive(struct journey *journey)
{
    const struct event *tcp = journey->at[HOP_TCP];
    const struct event *at = search(journey->recording, tcp, BACK, HOP_RECEIVE,
                                    BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_TCP), BIT(SLOT_SKB));

    if (at != NULL && !same_work(at, tcp)) {
        if (tcp->context != 't')
            return; /* Another packet had this address; ours came by a device that is not traced. */
        journey->backlogged = true;
    }
    journey_set(journey, HOP_RECEIVE, at);
    follow_skb_back(journey, at != NULL ? at : tcp, BIT(HOP_TCP));
}

/* The last packet before `from` that this CPU received, after TCP got another, in the same software
 * interrupt, and that is as long as the bytes that TCP found require. */
static const struct event *carrier(const struct recording *recording, const struct event *from,
                                   const struct event *tcp)
{
    do
        from = search(recording, from, BACK, HOP_RECEIVE,
                      BIT(HOP_SOFTIRQ) | BIT(KIND_SOFTIRQ_END) | BIT(HOP_TCP), SAME_CPU);
    while (from != NULL && !may_carry(from, tcp->value[SLOT_LEN]));
    return from;
}

/* In older kernels (6.1) tcp_probe does not name the skb.  Of two candidates, neither is chosen. */
static void find_receive_without_skb(struct journey *journey)
{
    const struct event *tcp = journey->at[HOP_TCP];
    const struct event *only = carrier(journey->recording, tcp, tcp);

    if (event_has(tcp, SLOT_SKB) || carrier(journey->recording, only, tcp) != NULL)
        return;
    journey_set(journey, HOP_RECEIVE, only);
    follow_skb_back(journey, only, 0);
}

/* What raised this NET_RX: an event since NET_RX last ended; or an interrupt by a card while NET_RX
 * was running.  (Newer kernels than 6.1 then raise nothing: NET_RX looks once more.) */
static const struct event *raise_before(const struct recording *recording,
                                        const struct event *softirq)
{
    const struct event *raise =
        search(recording, softirq, BACK, KIND_RAISE, BIT(KIND_SOFTIRQ_END), SAME_CPU);

    if (raise != NULL)
        return raise;
    const struct event *end = search(recording, softirq, BACK, KIND_SOFTIRQ_END, 0, SAME_CPU);
    raise = search(recording, end, BACK, KIND_RAISE, BIT(HOP_SOFTIRQ), SAME_CPU);
    return raise != NULL && raise->context == 'h' ? raise : NULL;
}

/* The card's interrupt whose handler raised NET_RX.  Without one, NET_RX has rescheduled itself
 * because it had used up its budget; or a thread raised it, or an interrupt that is no card's. */
static void find_interrupt(struct journey *journey, const struct event *softirq)
{
    const struct event *raise = raise_before(journey->recording, softirq);

    if (journey->state[HOP_IRQ] != NOT_SEEN)
        return;
    if (raise == NULL) {
        if (journey->recording->lost == 0)
            journey->state[HOP_IRQ] = NOT_NEEDED;
        return;
    }
    if (raise->context == 'h')
        journey_set(journey, HOP_IRQ,
                    search(journey->recording, raise, BACK, HOP_IRQ, BIT(KIND_IRQ_END), SAME_CPU));
    if (raise->context == 's' || journey->at[HOP_IRQ] != NULL || journey->recording->lost > 0)
        return;
    journey->raised = raise->context == 't' ? BY_THREAD : BY_TIMER;
    if (journey->raised == BY_THREAD && journey->worker == NULL) /* a timer only interrupts one */
        journey->raiser = recording_thread(journey->recording, raise->pid);
    journey->state[HOP_IRQ] = NOT_ON_PATH;
}

/* The first hop that NET_RX causes. */
static enum hop first_inside_softirq(const struct journey *journey)
{
    return journey->at[HOP_GRO] != NULL ? HOP_GRO : HOP_RECEIVE;
}

/* A software interrupt belongs to a CPU and names no packet.  It is this packet's if it has begun
 * and not ended.  If it began before the packet arrived, it was running for another one. */
static void find_softirq(struct journey *journey)
{
    enum hop inside = first_inside_softirq(journey);
    const struct event *event = journey->at[inside];

    if (event == NULL)
        return;
    journey->worker = recording_thread(journey->recording, event->pid);
    if (event->context == 't') { /* NAPI's thread, or the program that wrote a frame */
        journey_clear(journey, HOP_SOFTIRQ, NOT_ON_PATH);
        journey_clear(journey, HOP_IRQ, NOT_ON_PATH);
    }
    if (event->context != 's')
        return;
    journey_find(journey, HOP_SOFTIRQ, inside, BACK, BIT(KIND_SOFTIRQ_END), SAME_CPU);
    const struct event *at = journey->at[HOP_SOFTIRQ], *backlog = journey->at[HOP_BACKLOG];
    if (at == NULL)
        return;
    if (backlog == NULL)
        find_interrupt(journey, at);
    else if (at < backlog)
        journey_clear(journey, HOP_SOFTIRQ, NOT_NEEDED);
    if (backlog != NULL) /* also of a USB adapter, whose interrupt did not raise NET_RX */
        journey_clear(journey, HOP_IRQ, NOT_ON_PATH);
}

/* The call that queued the packet.  A packet that a software interrupt queued (a segment that had
 * waited for an acknowledgement) belongs to no call, whatever thread is on the CPU.  On a path
 * within one machine, NET_RX may run before the sender's call returns. */
static void find_send(struct journey *journey)
{
    const struct event *queue = journey->at[HOP_QUEUE];
    const struct event *receive = journey->at[HOP_RECEIVE];

    if (queue == NULL || queue->context != 't')
        return;
    journey_find(journey, HOP_SEND, HOP_QUEUE, BACK, BIT(KIND_SEND_END), SAME_THREAD);
    journey_find(journey, HOP_START, HOP_SEND, BACK, BIT(KIND_SEND_END), SAME_THREAD);
    const struct event *end =
        search(journey->recording, journey->at[HOP_SEND], FORWARD, KIND_SEND_END, 0, SAME_THREAD);
    journey->inside_send = receive != NULL && receive->pid == queue->pid && end > receive;
}

/* The last frame that the tracer wrote before the kernel took one. */
static void find_frame(struct journey *journey)
{
    enum hop inside = first_inside_softirq(journey);

    if (journey->at[HOP_BACKLOG] != NULL)
        return;
    journey_find(journey, HOP_FRAME, inside, BACK,
                 journey->recording->via == VIA_TAP ? BIT(KIND_FRAME_END) : 0, 0);
    const struct event *frame = journey->at[HOP_FRAME], *softirq = journey->at[HOP_SOFTIRQ];
    if (frame != NULL && softirq != NULL && softirq < frame)
        journey_clear(journey, HOP_SOFTIRQ, NOT_NEEDED);
}

/* How many frames GRO merged into this skb: those that it saw on this CPU between the first one and
 * the skb that came out.  Frames of other connections may be among them.  So the lengths must add
 * up: all frames except the first have lost their headers, which have the same size. */
static unsigned merged_frames(const struct journey *journey)
{
    const struct event *gro = journey->at[HOP_GRO];
    const struct event *receive = journey->at[HOP_RECEIVE];
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

void trace_back(struct journey *journey)
{
    find_receive(journey);
    find_receive_without_skb(journey);
    find_softirq(journey);
    find_size(journey);
    find_send(journey);
    find_frame(journey);
    journey->frames = merged_frames(journey);
}
