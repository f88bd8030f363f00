/* The words that the terminal, the drawing and the JSON share: what an event says, and why a hop
 * has no event. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <string.h>

static unsigned long carried(const struct event *event, enum slot slot)
{
    return (unsigned long)event->value[slot];
}

static void skb_fields(const struct journey *journey, enum hop hop, char *text, size_t size)
{
    const struct event *event = journey->at[hop];
    bool merged = hop == HOP_RECEIVE && journey->frames > 1;
    const char *name = merged ? "" : event->name;
    char length[32] = "", skb[32] = "", frames[24] = "";

    if (event_has(event, SLOT_LEN))
        snprintf(length, sizeof length, "%s%lu bytes", name[0] != '\0' ? ", " : "",
                 carried(event, SLOT_LEN));
    if (event_has(event, SLOT_SKB))
        snprintf(skb, sizeof skb, ", skb %lu", carried(event, SLOT_SKB));
    if (merged)
        snprintf(frames, sizeof frames, " of %u frames", journey->frames);
    snprintf(text, size, "%s%s%s%s", name, length, skb, frames);
}

#define MAX_FIELDS_WIDTH 31 /* columns */

/* A socket's number grows as long as the machine runs.  If the line would become too long, the skb
 * is left out: the hop before has named it. */
static void tcp_fields(const struct event *event, char *text, size_t size)
{
    char skb[32] = "", socket[32] = "";

    if (event_has(event, SLOT_SKB))
        snprintf(skb, sizeof skb, ", skb %lu", carried(event, SLOT_SKB));
    if (event_has(event, SLOT_COOKIE))
        snprintf(socket, sizeof socket, ", socket %lu", carried(event, SLOT_COOKIE));
    int length = snprintf(text, size, "%lu bytes%s%s", carried(event, SLOT_LEN), skb, socket);
    if (length > MAX_FIELDS_WIDTH)
        snprintf(text, size, "%lu bytes%s", carried(event, SLOT_LEN), socket);
}

static void task_fields(const struct event *event, enum hop hop, char *text, size_t size)
{
    if (hop != HOP_SWITCH)
        snprintf(text, size, "%s %lu, %s cpu%lu", event->name, carried(event, SLOT_TASK),
                 hop == HOP_WAKING ? "last on" : "for", carried(event, SLOT_TO_CPU));
    else if (strncmp(event->name, "swapper", 7) == 0)
        snprintf(text, size, "to %lu; the CPU was idle", carried(event, SLOT_TASK));
    else
        snprintf(text, size, "to %lu, from %s", carried(event, SLOT_TASK), event->name);
}

static void call_fields(const struct journey *journey, enum hop hop, char *text, size_t size)
{
    const struct event *event = journey->at[hop];
    const struct event *tcp = journey->at[HOP_TCP];

    if (hop == HOP_WAIT)
        snprintf(text, size, "%ld ready", (long)event->value[SLOT_RET]);
    else if (hop == HOP_RETURN)
        snprintf(text, size, "%ld bytes", (long)event->value[SLOT_RET]);
    else if (hop == HOP_RECV && tcp != NULL && event_has(tcp, SLOT_COOKIE))
        snprintf(text, size, "fd %lu = socket %lu", carried(event, SLOT_FD),
                 carried(tcp, SLOT_COOKIE));
    else if (hop == HOP_RESUME)
        snprintf(text, size, "fd %lu, coroutine %lu", carried(event, SLOT_FD),
                 carried(event, SLOT_COROUTINE));
    else
        snprintf(text, size, "fd %lu", carried(event, SLOT_FD));
}

static void send_fields(const struct event *event, char *text, size_t size)
{
    int length = snprintf(text, size, "%lu bytes", carried(event, SLOT_LEN));

    if (event_has(event, SLOT_FD))
        snprintf(text + length, size - (size_t)length, ", fd %lu", carried(event, SLOT_FD));
}

void show_fields(const struct journey *journey, enum hop hop, char *text, size_t size)
{
    const struct event *event = journey->at[hop];

    text[0] = '\0';
    switch (hop) {
    case HOP_SEND:
        send_fields(event, text, size);
        break;
    case HOP_IRQ:
        snprintf(text, size, "irq %lu, %s", carried(event, SLOT_IRQ), event->name);
        break;
    case HOP_SOFTIRQ:
        snprintf(text, size, "NET_RX");
        break;
    case HOP_TCP:
        tcp_fields(event, text, size);
        break;
    case HOP_READY:
        if (journey->at[HOP_TCP] != NULL && event_has(journey->at[HOP_TCP], SLOT_COOKIE))
            snprintf(text, size, "socket %lu", carried(journey->at[HOP_TCP], SLOT_COOKIE));
        break;
    case HOP_WAKING:
    case HOP_WAKEUP:
    case HOP_SWITCH:
        task_fields(event, hop, text, size);
        break;
    case HOP_WAIT:
    case HOP_LOOP:
    case HOP_RESUME:
    case HOP_RECV:
    case HOP_RETURN:
        call_fields(journey, hop, text, size);
        break;
    default:
        skb_fields(journey, hop, text, size);
    }
}

const char *show_state(enum hop_state state)
{
    static const char *const words[] = {[NOT_ON_PATH] = "not on this path",
                                        [SEEN] = "seen",
                                        [BEGAN_BEFORE] = "before",
                                        [MERGED] = "merged",
                                        [NOT_NEEDED] = "not needed",
                                        [NOT_SEEN] = "not seen",
                                        [NOT_ASKED] = "not asked for",
                                        [NOT_AVAILABLE] = "not available",
                                        [UNKNOWN] = "unknown"};

    return words[state];
}

static const char *either(const char *special, const char *general)
{
    return special != NULL ? special : general;
}

const char *show_absence(const struct journey *journey, enum hop hop)
{
    const struct hop_info *info = &hops[hop];

    switch (journey->state[hop]) {
    case NOT_SEEN:
        return info->not_seen;
    case NOT_NEEDED:
        return either(info->not_needed, info->not_seen);
    case NOT_AVAILABLE:
        return either(info->not_available, "this kernel has no such event");
    case NOT_ASKED:
        return either(info->not_asked, "the tracer did not ask for this event");
    case UNKNOWN:
        return "the recording does not say whether this event was available";
    default:
        return NULL;
    }
}

/* Whether the server has coroutines is known only from its stamps.  Only a driver without a card
 * puts a received packet into a CPU's backlog. */
const char *show_box(const struct journey *journey, enum box box)
{
    if (box == BOX_CARD && journey->at[HOP_BACKLOG] != NULL)
        return "NIC hardware: none on this path";
    if (box == BOX_LOOP && journey->state[HOP_RESUME] > NOT_SEEN && journey->waiting == WAITS_EPOLL)
        return "the event loop takes it from the list";
    return box_title(box, journey->waiting);
}

/* Hops in which two CPUs or two packets took part. */
const char *show_remark(const struct journey *journey, enum hop hop)
{
    const struct event *event = journey->at[hop];
    const struct event *backlog = journey->at[HOP_BACKLOG], *waking = journey->at[HOP_WAKING];
    const struct event *wakeup = journey->at[HOP_WAKEUP];

    if (journey->state[hop] == MERGED)
        return "TCP had appended these bytes to an skb that was already in the receive queue.";
    if (hop == HOP_SOFTIRQ && backlog != NULL && backlog->cpu != event->cpu)
        return "RPS chose this CPU by a hash of the addresses and ports (with RFS, it is the CPU "
               "on which a program last used the connection). The other CPU had to interrupt it "
               "(an IPI), which is part of this time.";
    if (hop == (journey->at[HOP_SOFTIRQ] != NULL ? HOP_SOFTIRQ : HOP_RECEIVE) &&
        journey->inside_send)
        return "From here to the wake-up, everything runs inside the sender's send(), which has "
               "not "
               "returned yet.";
    if (hop == HOP_WAKEUP && waking != NULL && waking->cpu != event->cpu)
        return "Another CPU asked for this. It notified this CPU with an interrupt or, if this CPU "
               "was idle, with a flag that it polls.";
    if (hop == HOP_SWITCH && wakeup != NULL && wakeup->cpu != event->cpu)
        return "Another CPU put the thread into this CPU's run queue. It notified this CPU with an "
               "interrupt or, if this CPU was idle, with a flag that it polls.";
    return NULL;
}

/* Sockets show fewer hops, so their shares are different ones. */
const char *show_share(const struct recording *recording, enum share share)
{
    if (recording->via == VIA_SOCKETS && share == SHARE_STACK)
        return "device";
    if (recording->via == VIA_SOCKETS && share == SHARE_SCHEDULER)
        return "stack, wake-up, scheduler";
    return share_names[share];
}

const char *show_path(enum via via)
{
    return via == VIA_CARD ? "a network card" : vias[via].name;
}

void show_title(const struct recording *recording, const struct journey *journey, char *text,
                size_t size)
{
    const struct event *tcp = journey->at[HOP_TCP], *got = journey->at[HOP_RETURN];
    long length = tcp != NULL   ? (long)tcp->value[SLOT_LEN]
                  : got != NULL ? (long)got->value[SLOT_RET]
                                : 0;
    char bytes[40] = "";

    if (length > 0)
        snprintf(bytes, sizeof bytes, " with %ld byte%s of data", length, length == 1 ? "" : "s");
    if (recording->via == VIA_SOCKETS)
        snprintf(text, size, "One packet%s over lo, as an ordinary user's sockets see it", bytes);
    else
        snprintf(text, size, "One packet%s over %s to %s on port %u", bytes,
                 show_path(recording->via), recording->server, recording->port);
}
