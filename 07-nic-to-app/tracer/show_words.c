/* The words of terminal, drawing and JSON: what an event says, and why a hop has no event. */
#include "journey.h"

void show_escaped(FILE *stream, const char *words, const char *special, const char *const *escape)
{
    for (; *words != '\0'; words++) {
        const char *found = strchr(special, *words);
        if (found != NULL)
            fputs(escape[found - special], stream);
        else if ((unsigned char)*words >= ' ')
            fputc(*words, stream);
    }
}

/* What a hop says: {slot} stands for a value of its event, {name} for the event's name, {cookie}
 * for the number of the journey's socket, and {worker}, {raiser} and {frames} for what else the
 * journey knows.  What is in brackets is left out if there is no such value. */
// clang-format off
static const char *const templates[HOPS] = {
    [HOP_SEND] = "{len} bytes[, fd {fd}]", [HOP_QUEUE] = "[{name}, ][{len} bytes][, skb {skb}]",
    [HOP_IRQ] = "irq {irq}, {name}", [HOP_SOFTIRQ] = "NET_RX[ in {worker}][ by {raiser}]",
    [HOP_TCP] = "[, skb {skb}][, socket {cookie}]", [HOP_READY] = "[socket {cookie}]",
    [HOP_WAKING] = "{name} {task}, last on cpu{to_cpu}",
    [HOP_WAKEUP] = "{name} {task}, for cpu{to_cpu}", [HOP_SWITCH] = "to {task}, from {name}",
    [HOP_WAIT] = "{ret} ready", [HOP_LOOP] = "fd {fd}",
    [HOP_RESUME] = "fd {fd}, coroutine {coroutine}", [HOP_RECV] = "fd {fd}[ = socket {cookie}]",
    [HOP_RETURN] = "{ret} bytes", [HOP_ACK] = "[acknowledged, skb {skb}, ]{len} bytes"};
// clang-format on

static bool is_word(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0 && text[strlen(word)] == '}';
}

/* Append the value that the word before the brace names.  False: there is none. */
static bool append_value(const struct journey *journey, enum hop hop, const char *word, char *text,
                         size_t size)
{
    const struct event *event = journey->at[hop], *tcp = journey->at[HOP_TCP];
    const char *const names[][2] = {
        {"name", event->name}, {"worker", journey->worker}, {"raiser", journey->raiser}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_word(word, names[i][0])) {
            snprintf(text, size, "%s", names[i][1] != NULL ? names[i][1] : "");
            return text[0] != '\0';
        }
    if (is_word(word, "frames"))
        return snprintf(text, size, "%u", journey->frames) > 0;
    if (is_word(word, "cookie") && tcp != NULL)
        event = tcp;
    for (unsigned slot = 0; slot < SLOTS_RECORDED; slot++)
        if (is_word(word, slot_names[slot])) {
            snprintf(text, size, "%lld", (long long)event->value[slot]);
            return event_has(event, (enum slot)slot);
        }
    return false;
}

static void fill_template(const char *template, const struct journey *journey, enum hop hop,
                          char *text, size_t size)
{
    size_t length = 0, bracket = 0; /* where the text in brackets begins */
    bool known = true;

    text[0] = '\0';
    for (const char *at = template; *at != '\0' && length + 1 < size; at++) {
        if (*at == '[') {
            bracket = length;
            known = true;
        } else if (*at == ']') {
            length = known ? length : bracket;
        } else if (*at == '{') {
            known = append_value(journey, hop, at + 1, text + length, size - length) && known;
            length += strlen(text + length);
            at = strchr(at, '}');
        } else {
            text[length++] = *at;
        }
        text[length] = '\0';
    }
}

/* The template of this hop, unless something is special about it. */
static const char *template_of(const struct journey *journey, enum hop hop)
{
    const struct event *event = journey->at[hop];

    if (hop == HOP_WAIT && journey->waiting == WAITS_SIGNAL)
        return "signal {ret}";
    if (journey->waiting == WAITS_RING && (hop == HOP_RECV || hop == HOP_RETURN))
        return "io_uring";
    if (hop == HOP_RETURN && strstr(event_label(event), "mmsg") != NULL)
        return "messages: {ret}";
    if (hop == HOP_SWITCH && strncmp(event->name, "swapper", 7) == 0)
        return "to {task}; the CPU was idle";
    if (hop == HOP_RECEIVE && journey->frames > 1)
        return "{len} bytes[, skb {skb}] of {frames} frames";
    return templates[hop] != NULL ? templates[hop] : templates[HOP_QUEUE];
}

#define MAX_FIELDS_WIDTH 31 /* columns */

/* A socket's number grows as long as the machine runs.  If the line would become too long, the skb
 * is left out: the hop before has named it. */
void show_fields(const struct journey *journey, enum hop hop, char *text, size_t size)
{
    int length = hop != HOP_TCP
                     ? 0
                     : snprintf(text, size, "%lu bytes%s%s", (unsigned long)journey->size,
                                journey->size_wraps ? " or more" : "",
                                journey_acknowledges(journey) ? ", ack" : "");

    fill_template(template_of(journey, hop), journey, hop, text + length, size - (size_t)length);
    if (hop == HOP_TCP && strlen(text) > MAX_FIELDS_WIDTH)
        fill_template("[, socket {cookie}]", journey, hop, text + length, size - (size_t)length);
}

const char *show_state(enum hop_state state)
{
    static const char *const words[HOP_STATES] = {"not on this path", "seen",          "before",
                                                  "merged",           "not needed",    "not seen",
                                                  "not asked for",    "not available", "unknown"};

    return words[state];
}

const char *show_absence(const struct journey *journey, enum hop hop)
{
    static const char *const usual[HOP_STATES] = {
        [NOT_SEEN] = "there is no event for this skb",
        [NOT_ASKED] = "the tracer did not ask for this event",
        [NOT_AVAILABLE] = "this kernel has no such event",
        [UNKNOWN] = "the recording does not say whether this event was available"};
    enum hop_state state = journey->state[hop];
    if (journey->back && state == NOT_NEEDED && hop >= HOP_WAKING)
        return "the client was awake, because it had not slept in its recv() yet";
    const char *own = hops[hop].absent[state];

    if (state == UNKNOWN && journey->waiting != WAITS_UNKNOWN && hop < HOP_RECV)
        own = NULL;
    return own != NULL ? own : usual[state];
}

/* Whether the server has coroutines is known only from its stamps. */
const char *show_box(const struct journey *journey, enum box box)
{
    if (journey->back && (box == BOX_SENDER || box == BOX_WATCH || box == BOX_CODE))
        return box == BOX_SENDER  ? "the server"
               : box == BOX_WATCH ? "the client waits on this socket"
                                  : "the client reads";
    if (box == BOX_CARD && journey->at[HOP_BACKLOG] != NULL && journey->recording->via != VIA_CARD)
        return "NIC hardware: none on this path";
    if (box == BOX_WATCH && journey->waiting == WAITS_UNKNOWN &&
        journey->state[HOP_WAIT] == NOT_ASKED)
        return "trace did not ask how the server waits";
    if (box == BOX_LOOP && journey->state[HOP_RESUME] > NOT_SEEN && journey->waiting == WAITS_EPOLL)
        return "the event loop takes it from the list";
    return box_title(box, journey->waiting);
}

/* Where another thread or an unusual event did the work. */
static const char *remark_on_worker(const struct journey *journey, enum hop hop)
{
    if (hop == HOP_ACK && event_kind(journey->at[hop]) == HOP_TCP)
        return journey->at[hop]->value[SLOT_LEN] == 0
                   ? "This segment has no data. The receiver had none to send, and waited for some "
                     "(delayed acknowledgement, 40 ms), or had a reason to answer at once."
               : journey->back ? "It came with the next request (a piggybacked acknowledgement)."
                               : "It came with the reply (a piggybacked acknowledgement).";
    if (hop == HOP_TCP && journey_acknowledges(journey))
        return "This segment also acknowledges the request (a piggybacked acknowledgement).";
    if (hop == HOP_TCP && journey->segments > 1)
        return "The reply came in several segments. The client waits for this, the last one.";
    if (hop == HOP_TCP && journey->size_wraps)
        return "The packet had waited in the socket's backlog, because a call held the socket's "
               "lock, and other segments were joined to it. The thread of that call works on the "
               "backlog before it releases the lock. The event has 16 bits for the size, so there "
               "may be 65,536 bytes more, or a multiple of that.";
    if (hop == HOP_TCP && journey->backlogged)
        return "The packet had waited in the socket's backlog, because a call held the socket's "
               "lock. That call's thread, not a softirq, works on it and then releases the lock.";
    if (hop == HOP_RECEIVE && journey->at[hop]->context == 't' && journey->worker != NULL)
        return "A thread of NAPI received this packet, outside of any softirq (threaded NAPI). "
               "A card's interrupt only wakes that thread.";
    if (hop == HOP_SOFTIRQ && journey->raised == BY_THREAD)
        return "A thread scheduled this: the card's handler runs in an interrupt thread "
               "(threadirqs), or a thread asked for the card to be polled, or another CPU did.";
    if (hop == HOP_SOFTIRQ && journey->raised == BY_TIMER)
        return "An interrupt without a handler's event scheduled this: NAPI's timer "
               "(gro_flush_timeout), another CPU's request, or Hyper-V's card.";
    if (hop == HOP_SOFTIRQ && journey->worker != NULL &&
        strncmp(journey->worker, "ksoftirqd", 9) == 0)
        return "It runs in the thread ksoftirqd, to which the kernel leaves softirqs that keep "
               "coming or that could not run at once.";
    return NULL;
}

/* Hops in which two CPUs, two packets or another thread took part. */
const char *show_remark(const struct journey *journey, enum hop hop)
{
    const struct event *event = journey->at[hop];
    const struct event *backlog = journey->at[HOP_BACKLOG], *waking = journey->at[HOP_WAKING];
    const struct event *wakeup = journey->at[HOP_WAKEUP];

    if (journey->state[hop] == MERGED)
        return "TCP had appended these bytes to an skb that was already in the receive queue.";
    if (remark_on_worker(journey, hop) != NULL)
        return remark_on_worker(journey, hop);
    if (hop == HOP_SOFTIRQ && backlog != NULL && backlog->cpu != event->cpu)
        return "RPS chose this CPU by a hash of the addresses and ports (with RFS, it is the CPU "
               "on which a program last used the connection). The other CPU notified it with an "
               "interrupt or, if it was idle, with a flag that it polls: part of this time.";
    if (hop == (journey->at[HOP_SOFTIRQ] != NULL ? HOP_SOFTIRQ : HOP_RECEIVE) &&
        journey->inside_send)
        return "This runs inside the sender's send(), like the hops before a thread is woken.";
    if (hop == HOP_WAKEUP && waking != NULL && waking->cpu != event->cpu)
        return "Another CPU asked for this. It notified this CPU with an interrupt or, if this CPU "
               "was idle, with a flag that it polls.";
    if (hop == HOP_SWITCH && wakeup != NULL && wakeup->cpu != event->cpu &&
        (int)wakeup->value[SLOT_TO_CPU] == event->cpu) /* or this CPU, idle, took it by itself */
        return "Another CPU put the thread into this CPU's run queue. If this CPU was idle or had "
               "to switch at once, it was notified with an interrupt or, while idle, a flag.";
    return NULL;
}

/* Sockets show fewer hops, so their shares are different ones. */
const char *show_share(const struct journey *journey, enum share share)
{
    bool sockets = journey->recording->via == VIA_SOCKETS;

    if (journey->back && (share == SHARE_CODE || share == SHARE_SENDER))
        return share == SHARE_CODE ? "client" : "answering";
    if (sockets && share == SHARE_STACK)
        return "backlog, NET_RX, some IP";
    if (sockets && share == SHARE_SCHEDULER)
        return "stack, wake-up, scheduler";
    return share_names[share];
}

const char *show_why(const struct journey *journey, enum hop hop)
{
    bool back = journey->back && hops[hop].why_back != NULL;

    return back ? hops[hop].why_back : hop_why(hop, journey->waiting);
}

void show_title(const struct journey *journey, size_t count, char *text, size_t size)
{
    static const char *const nouns[3][2] = {
        {"packet", "packets"}, {"round trip", "round trips"}, {"reply", "replies"}};
    const struct recording *recording = journey->recording;
    const struct event *tcp = journey->at[HOP_TCP], *got = journey->at[HOP_RETURN];
    long length = tcp != NULL ? (long)journey->size : got != NULL ? (long)got->value[SLOT_RET] : 0;
    const char *noun = nouns[journey->back ? 2 : journey->reply != NULL][count > 1];
    bool one_by_sockets = recording->via == VIA_SOCKETS && count == 1;
    char number[24] = "One", bytes[40] = "", end[110] = ", as an ordinary user's sockets see it";

    if (count > 1)
        snprintf(number, sizeof number, "%zu", count);
    else if (length > 0)
        snprintf(bytes, sizeof bytes, " with %ld byte%s of data", length, length == 1 ? "" : "s");
    if (!one_by_sockets)
        snprintf(end, sizeof end, " %s %s on port %u", journey->back ? "from" : "to",
                 recording->server, recording->port);
    snprintf(text, size, "%s %s%s over %s%s", number, noun, bytes,
             one_by_sockets ? "lo" : vias[recording->via].about, end);
}
