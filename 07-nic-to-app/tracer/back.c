/* From tcp_probe back along the skb's address to where the packet came from: its NET_RX, the card's
 * interrupt or the frame, and the sender's call. */
#include "draft.h"

#include <string.h>

#define MIN_HEADERS 40 /* of IP and TCP together */
#define MAX_HEADERS 120

/* TCP gets a packet from the stack without a pause: on the same CPU, before NET_RX ends. */
static bool same_work(const struct recording *recording, size_t receive, size_t tcp)
{
    const struct event *events = recording->events;

    for (size_t i = receive + 1; i < tcp; i++)
        if (events[i].cpu == events[tcp].cpu && event_kind(&events[i]) == KIND_SOFTIRQ_END)
            return false;
    return events[receive].cpu == events[tcp].cpu && events[receive].context == events[tcp].context;
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
        size_t at = search_skb(draft->recording, from, BACK, trail[i], end);
        draft_set(draft, trail[i], at);
        if (at != NOWHERE)
            from = at;
    }
}

static void find_receive(struct draft *draft)
{
    size_t tcp = draft->at[HOP_TCP];
    size_t at = search_skb(draft->recording, tcp, BACK, HOP_RECEIVE,
                           BIT(HOP_COPY) | BIT(KIND_FREE) | BIT(HOP_TCP));

    if (at != NOWHERE && !same_work(draft->recording, at, tcp))
        return; /* Another packet had this address; ours came by a device that is not traced. */
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
 * received in the same software interrupt.  If there are two candidates, neither is chosen. */
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
        if (kind == HOP_SOFTIRQ || kind == KIND_SOFTIRQ_END ||
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
    size_t raise = search_cpu(recording, softirq, BACK, KIND_RAISE, BIT(KIND_SOFTIRQ_END));

    if (raise != NOWHERE)
        return raise;
    size_t end = search_cpu(recording, softirq, BACK, KIND_SOFTIRQ_END, 0);
    raise = search_cpu(recording, end, BACK, KIND_RAISE, BIT(HOP_SOFTIRQ));
    return raise != NOWHERE && recording->events[raise].context == 'h' ? raise : NOWHERE;
}

/* The card's interrupt whose handler raised NET_RX.  Without one, NET_RX has rescheduled itself
 * because it had used up its budget. */
static void find_interrupt(struct draft *draft, size_t softirq)
{
    enum hop_state *state = &draft->journey->state[HOP_IRQ];
    size_t raise = raise_before(draft, softirq);

    if (raise == NOWHERE && *state == NOT_SEEN && draft->recording->lost == 0)
        *state = NOT_NEEDED;
    if (raise != NOWHERE)
        draft_set(draft, HOP_IRQ,
                  search_cpu(draft->recording, raise, BACK, HOP_IRQ, BIT(KIND_IRQ_END)));
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

    if (event == NULL || event->context != 's')
        return;
    size_t at =
        search_cpu(draft->recording, draft->at[inside], BACK, HOP_SOFTIRQ, BIT(KIND_SOFTIRQ_END));
    draft_set(draft, HOP_SOFTIRQ, at);
    size_t backlog = draft->at[HOP_BACKLOG];
    if (at == NOWHERE)
        return;
    if (backlog == NOWHERE)
        find_interrupt(draft, at);
    else if (at < backlog)
        draft_clear(draft, HOP_SOFTIRQ, NOT_NEEDED);
}

/* The call that queued the packet.  A packet that a software interrupt queued (a segment that had
 * waited for an acknowledgement) belongs to no call, whatever thread is on the CPU. */
static void find_send(struct draft *draft)
{
    const struct event *queue = draft_event(draft, HOP_QUEUE);

    if (queue != NULL && queue->context == 't')
        draft_set(draft, HOP_SEND,
                  search_thread(draft->recording, draft->at[HOP_QUEUE], BACK, HOP_SEND,
                                BIT(KIND_SEND_END), queue->pid));
}

/* On a path within one machine, NET_RX may run before the sender's call returns. */
static bool received_inside_send(const struct draft *draft)
{
    const struct event *send = draft_event(draft, HOP_SEND);
    const struct event *receive = draft_event(draft, HOP_RECEIVE);

    if (send == NULL || receive == NULL || receive->pid != send->pid)
        return false;
    size_t end =
        search_thread(draft->recording, draft->at[HOP_SEND], FORWARD, KIND_SEND_END, 0, send->pid);
    return end != NOWHERE && end > draft->at[HOP_RECEIVE];
}

/* The last frame that the tracer wrote before the kernel took one. */
static void find_frame(struct draft *draft)
{
    enum hop inside = first_inside_softirq(draft);
    struct search any_frame = {BIT(HOP_FRAME), 0, ANY, ANY, SLOTS, 0};

    if (draft->recording->via == VIA_TAP)
        any_frame.end = BIT(KIND_FRAME_END);
    if (draft_event(draft, inside) == NULL || draft_event(draft, HOP_BACKLOG) != NULL)
        return;
    size_t frame = search(draft->recording, draft->at[inside], BACK, &any_frame);
    draft_set(draft, HOP_FRAME, frame);
    size_t softirq = draft->at[HOP_SOFTIRQ];
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
    find_send(draft);
    draft->journey->inside_send = received_inside_send(draft);
    find_frame(draft);
    draft->journey->frames = merged_frames(draft);
}
