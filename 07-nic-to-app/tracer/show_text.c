/* Journeys on a terminal, at most 80 columns wide. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WIDTH 80
#define BAR 20 /* columns, for the whole time */

static const char *bold = "", *blue = "", *dim = "", *off = "";

static void choose_colours(FILE *stream)
{
    const char *no_color = getenv("NO_COLOR");
    bool colours = isatty(fileno(stream)) == 1 && (no_color == NULL || no_color[0] == '\0');

    bold = colours ? "\033[1m" : "";
    blue = colours ? "\033[36m" : "";
    dim = colours ? "\033[2m" : "";
    off = colours ? "\033[0m" : "";
}

/* How many columns a text takes: the bytes of UTF-8 that continue a character take none. */
static size_t columns(const char *text, size_t bytes)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* Print words, none of them beyond the margin, each line with this indent. */
static void wrap(FILE *stream, const char *text, size_t indent)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        size_t width = columns(text, length);
        if (column > 0 && column + 1 + width > WIDTH) {
            fputc('\n', stream);
            column = 0;
        }
        if (column == 0)
            fprintf(stream, "%*s", (int)indent, "");
        else
            fputc(' ', stream);
        column += column == 0 ? indent + width : 1 + width;
        fprintf(stream, "%.*s", (int)length, text);
        text += length + strspn(text + length, " ");
    }
    fputc('\n', stream);
}

void show_wrapped(FILE *stream, const char *text)
{
    wrap(stream, text, 0);
}

static double us(uint64_t ns)
{
    return (double)ns / 1000;
}

/* ---- one event in words ---- */

static unsigned long carried(const struct event *event, enum slot slot)
{
    return (unsigned long)event->value[slot];
}

static void skb_fields(const struct journey *journey, enum hop hop, char *text, size_t size)
{
    const struct event *event = journey->at[hop];
    bool merged = hop == HOP_RECEIVE && journey->frames > 1;
    int length = snprintf(text, size, "%s", merged ? "" : event->name);
    char *rest = text + length;
    size_t room = size - (size_t)length;

    if (event_has(event, SLOT_LEN))
        snprintf(rest, room, "%s%lu bytes", length > 0 ? ", " : "", carried(event, SLOT_LEN));
    rest = text + strlen(text);
    room = size - strlen(text);
    if (event_has(event, SLOT_SKB))
        snprintf(rest, room, ", skb %lu", carried(event, SLOT_SKB));
    rest = text + strlen(text);
    room = size - strlen(text);
    if (merged)
        snprintf(rest, room, " of %u frames", journey->frames);
}

/* A socket's number grows as long as the machine runs.  Where the line would become too long, the
 * skb is left out: the hop before has named it. */
#define FIELDS_WIDTH 31
static void tcp_fields(const struct event *event, char *text, size_t size)
{
    char skb[32] = "", socket[32] = "";

    if (event_has(event, SLOT_SKB))
        snprintf(skb, sizeof skb, ", skb %lu", carried(event, SLOT_SKB));
    if (event_has(event, SLOT_COOKIE))
        snprintf(socket, sizeof socket, ", socket %lu", carried(event, SLOT_COOKIE));
    int length = snprintf(text, size, "%lu bytes%s%s", carried(event, SLOT_LEN), skb, socket);
    if (length > FIELDS_WIDTH)
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

const char *show_absence(const struct journey *journey, enum hop hop)
{
    switch (journey->sight[hop]) {
    case UNSEEN:
        return hops[hop].unseen;
    case AWAKE:
        return hops[hop].awake != NULL ? hops[hop].awake : hops[hop].unseen;
    case UNASKED:
        return hop == HOP_LOOP || hop == HOP_RESUME || hop == HOP_SEND || hop == HOP_CALLBACK
                   ? hops[hop].unseen
                   : "this kernel has no such event";
    default:
        return NULL;
    }
}

/* Only a server that stamps says whether it has coroutines. */
const char *show_box(const struct journey *journey, enum box box)
{
    if (box == BOX_LOOP && journey->sight[HOP_RESUME] == UNASKED && journey->waiting == WAITS_EPOLL)
        return "the event loop takes it from the list";
    return box_title(box, journey->waiting);
}

/* ---- one journey ---- */

/* What is so this time, and not always: two CPUs had a part in it, or two packets. */
static const char *this_time(const struct journey *journey, enum hop hop)
{
    const struct event *event = journey->at[hop];
    const struct event *backlog = journey->at[HOP_BACKLOG], *waking = journey->at[HOP_WAKING];
    const struct event *wakeup = journey->at[HOP_WAKEUP];

    if (journey->sight[hop] == MERGED)
        return "TCP had appended these bytes to an skb that waited already.";
    if (hop == HOP_SOFTIRQ && backlog != NULL && backlog->cpu != event->cpu)
        return "RPS chose this CPU by a hash of the addresses and ports. The other CPU had to "
               "interrupt it (an IPI), and that is a part of this time.";
    if (hop == (journey->at[HOP_SOFTIRQ] != NULL ? HOP_SOFTIRQ : HOP_RECEIVE) &&
        journey->inside_send)
        return "From here to the wake-up all is done inside the sender's send(), which has not "
               "returned yet.";
    if (hop == HOP_WAKEUP && waking != NULL && waking->cpu != event->cpu)
        return "Another CPU asked for it. This one had to be told: by an interrupt or, if it was "
               "idle, by a flag that it watched.";
    if (hop == HOP_SWITCH && wakeup != NULL && wakeup->cpu != event->cpu)
        return "Another CPU put the thread into this one's queue. This one had to be told: by an "
               "interrupt or, if it was idle, by a flag that it watched.";
    return NULL;
}

static void show_hop(FILE *stream, const struct journey *journey, enum hop hop, bool whys)
{
    const struct event *event = journey->at[hop];
    const struct event *before = journey_before(journey, hop);
    char fields[64], at[24], since[24] = "", cpu[12] = "";

    show_fields(journey, hop, fields, sizeof fields);
    if (event->cpu >= 0)
        snprintf(cpu, sizeof cpu, "cpu%d", event->cpu);
    if (journey->sight[hop] == BEFORE)
        snprintf(at, sizeof at, "before");
    else
        snprintf(at, sizeof at, "%.1f", us(event->ns - journey_first(journey)->ns));
    if (before != NULL && hop != HOP_ACK && journey->sight[hop] != BEFORE)
        snprintf(since, sizeof since, "%+.1f", us(event->ns - before->ns));
    fprintf(stream, "%8s %8s  %-5s %s%-*s%s%s\n", at, since, cpu, blue, fields[0] != '\0' ? 24 : 0,
            source_label(event), off, fields);
    if (!whys)
        return;
    if (this_time(journey, hop) != NULL)
        wrap(stream, this_time(journey, hop), 8);
    fputs(dim, stream);
    wrap(stream, hop_why(hop, journey->waiting), 8);
    fputs(off, stream);
}

static void show_absent(FILE *stream, const struct journey *journey, enum hop hop, bool whys)
{
    bool awake = journey->sight[hop] == AWAKE;
    char text[160];

    if (!whys) {
        fprintf(stream, "%8s %16s %s%-24s%s%s\n", "-", "", blue, hops[hop].name, off,
                awake ? "not needed" : "not seen");
        return;
    }
    fprintf(stream, "%8s %16s %s%s%s\n", "-", "", blue, hops[hop].name, off);
    snprintf(text, sizeof text, "%s: %s.", awake ? "Not needed" : "Not seen",
             show_absence(journey, hop));
    wrap(stream, text, 8);
    if (awake || hops[hop].box == BOX_LOOP) /* whether a loop has coroutines, only stamps tell */
        return;
    fputs(dim, stream);
    wrap(stream, hop_why(hop, journey->waiting), 8);
    fputs(off, stream);
}

/* Sockets see less, so their parts are other ones. */
const char *share_name(const struct recording *recording, enum share share)
{
    if (recording->via == VIA_SOCKETS && share == SHARE_STACK)
        return "device";
    if (recording->via == VIA_SOCKETS && share == SHARE_SCHEDULER)
        return "stack, wake-up, scheduler";
    return share_names[share];
}

/* The event with which a part of the time ends. */
static const char *share_end(const struct journey *journey, enum share share)
{
    const char *label = "";

    for (int hop = 0; hop < HOP_ACK; hop++)
        if (hops[hop].share == share && journey->at[hop] != NULL && journey->sight[hop] != BEFORE)
            label = source_label(journey->at[hop]);
    return label;
}

static void show_shares(FILE *stream, const struct recording *recording,
                        const struct journey *journey)
{
    bool sockets = recording->via == VIA_SOCKETS;
    int whole = sockets ? BAR / 2 : BAR, name_width = sockets ? 25 : 9;
    int end_width = sockets ? 19 : 22;
    uint64_t ns[SHARES], total = 0;

    journey_shares(journey, ns);
    for (int i = 0; i < SHARES; i++)
        total += ns[i];
    fprintf(stream, "\n%s%.1f µs in all, and where they went%s\n", bold, us(total), off);
    for (int i = 0; i < SHARES; i++) {
        if (ns[i] == 0)
            continue;
        int bar = (int)((double)ns[i] / (double)total * whole + 0.5);
        char filled[BAR + 1];
        memset(filled, '#', sizeof filled);
        filled[bar] = '\0';
        fprintf(stream, "%8.1f µs %4.0f %%  %-*s  to %-*s%s%s%s%s\n", us(ns[i]),
                100 * (double)ns[i] / (double)total, name_width,
                share_name(recording, (enum share)i), bar > 0 ? end_width : 0,
                share_end(journey, (enum share)i), bar > 0 ? " " : "", blue, filled, off);
    }
}

const char *via_words(enum via via)
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
    char bytes[32] = "";

    if (length > 0)
        snprintf(bytes, sizeof bytes, " of %ld byte%s", length, length == 1 ? "" : "s");
    if (recording->via == VIA_SOCKETS)
        snprintf(text, size, "One packet%s, over lo, as an ordinary user's sockets see it", bytes);
    else
        snprintf(text, size, "One packet%s, over %s, to %s on port %u", bytes,
                 via_words(recording->via), recording->server, recording->port);
}

static void show_origin(FILE *stream, const struct recording *recording)
{
    if (recording->replayed)
        fprintf(stream, "RECORDED, not measured now: on Linux %s\n", recording->kernel);
}

static void show_notes(FILE *stream, const struct recording *recording)
{
    if (recording->note[0][0] != '\0')
        fputc('\n', stream);
    for (size_t i = 0; i < NOTES && recording->note[i][0] != '\0'; i++)
        wrap(stream, recording->note[i], 0);
    fputc('\n', stream);
    char absent[200];
    snprintf(absent, sizeof absent, "%s: %s.",
             recording->via == VIA_SOCKETS ? "Not seen by sockets" : "Not on this way",
             vias[recording->via].absent);
    wrap(stream, absent, 0);
}

void show_journey(FILE *stream, const struct recording *recording, const struct journey *journey,
                  bool whys)
{
    char title[160];
    int box = -1;

    choose_colours(stream);
    show_origin(stream, recording);
    show_title(recording, journey, title, sizeof title);
    fprintf(stream, "%s\n\n%s   at µs     + µs  CPU   %-23s %s%s\n", title, dim, "event",
            "what it carries", off);
    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->sight[hop] == ELSEWHERE)
            continue;
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            fprintf(stream, "%s%s[%s]%s\n", whys ? "\n" : "", bold,
                    show_box(journey, hops[hop].box), off);
        }
        if (journey->at[hop] != NULL)
            show_hop(stream, journey, (enum hop)hop, whys);
        else
            show_absent(stream, journey, (enum hop)hop, whys);
    }
    show_shares(stream, recording, journey);
    if (recording->lost > 0)
        fprintf(stream,
                "\n%" PRIu64 " events were lost: a hop that was not seen may be among them.\n",
                recording->lost);
    if (!whys)
        return;
    show_notes(stream, recording);
    if (recording->via != VIA_SOCKETS)
        wrap(stream,
             "Numbers: a socket has the kernel's own (SO_COOKIE), a thread its id; an skb is "
             "numbered here.",
             0);
}

/* ---- many journeys ---- */

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static double percentile(const uint64_t *sorted, size_t count, size_t percent)
{
    return us(sorted[(count * percent + 99) / 100 - 1]); /* the nearest rank: of few, the last */
}

/* One row: of all journeys that met this hop, how long it took since the hop before. */
static void show_percentiles(FILE *stream, const char *label, size_t seen, uint64_t *ns,
                             size_t count)
{
    if (count == 0) {
        fprintf(stream, "  %-24s %6zu %9s %9s %9s\n", label, seen, "-", "-", "-");
        return;
    }
    qsort(ns, count, sizeof *ns, compare);
    fprintf(stream, "  %-24s %6zu %9.1f %9.1f %9.1f\n", label, seen, percentile(ns, count, 50),
            percentile(ns, count, 90), percentile(ns, count, 99));
}

static bool belongs(const struct journeys *journeys, enum hop hop)
{
    for (size_t i = 0; i < journeys->count; i++)
        if (journeys->list[i].sight[hop] != ELSEWHERE)
            return true;
    return false;
}

/* Only complete journeys tell how long a hop takes: in another one "the hop before" may be one that
 * was far away. */
static bool is_timed(const struct journeys *journeys, size_t i)
{
    return journeys->list[i].outcome == COMPLETE || journeys->outcomes[COMPLETE] == 0;
}

static void show_hop_of_many(FILE *stream, const struct journeys *journeys, enum hop hop,
                             uint64_t *ns)
{
    const char *label = hops[hop].name;
    size_t seen = 0, count = 0;

    for (size_t i = 0; i < journeys->count; i++) {
        const struct journey *journey = &journeys->list[i];
        const struct event *before = journey_before(journey, hop);
        if (journey->at[hop] == NULL)
            continue;
        label = source_label(journey->at[hop]);
        seen++;
        if (journey->sight[hop] != BEFORE && is_timed(journeys, i))
            ns[count++] = before != NULL ? journey->at[hop]->ns - before->ns : 0;
    }
    show_percentiles(stream, label, seen, ns, count);
}

static void show_total_of_many(FILE *stream, const struct journeys *journeys, uint64_t *ns)
{
    size_t count = 0;

    for (size_t i = 0; i < journeys->count; i++)
        if (journeys->list[i].at[HOP_RETURN] != NULL && is_timed(journeys, i))
            ns[count++] =
                journeys->list[i].at[HOP_RETURN]->ns - journey_first(&journeys->list[i])->ns;
    fputc('\n', stream);
    show_percentiles(stream, "from first to last", count, ns, count);
}

static void show_outcomes(FILE *stream, const struct recording *recording,
                          const struct journeys *journeys)
{
    fprintf(stream,
            "\n%zu journeys: %zu complete, %zu batched, %zu incomplete; %" PRIu64 " events lost\n",
            journeys->count, journeys->outcomes[COMPLETE], journeys->outcomes[BATCHED],
            journeys->outcomes[INCOMPLETE], recording->lost);
    wrap(stream,
         "µs: since the hop before, of complete journeys. p50: half of them took no longer; p90, "
         "p99: 90 and 99 of a hundred took no longer. These do not add up to the last line.",
         0);
    wrap(stream,
         "Complete: every hop was seen that this kernel and this server have an event for. "
         "Batched: one was not needed, for the server was awake already, or NET_RX at work. "
         "Incomplete: one that has to be was not seen.",
         0);
}

void show_many(FILE *stream, const struct recording *recording, const struct journeys *journeys)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    int box = -1;

    choose_colours(stream);
    show_origin(stream, recording);
    fprintf(stream, "%zu packets, over %s, to %s on port %u\n\n", journeys->count,
            via_words(recording->via), recording->server, recording->port);
    fprintf(stream, "%s  event                      seen    p50 µs    p90 µs    p99 µs%s\n", dim,
            off);
    for (int hop = 0; ns != NULL && hop < HOP_ACK; hop++) {
        if (!belongs(journeys, (enum hop)hop))
            continue;
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            fprintf(stream, "%s[%s]%s\n", bold, show_box(journeys_typical(journeys), hops[hop].box),
                    off);
        }
        show_hop_of_many(stream, journeys, (enum hop)hop, ns);
    }
    if (ns != NULL)
        show_total_of_many(stream, journeys, ns);
    free(ns);
    show_outcomes(stream, recording, journeys);
    show_notes(stream, recording);
}

/* ---- explain ---- */

static void show_sources(FILE *stream, enum hop hop)
{
    char text[400] = "Seen by: ";

    for (size_t i = 0; i < source_count; i++) {
        size_t length = strlen(text);
        if (sources[i].kind == hop)
            snprintf(text + length, sizeof text - length, "%s%s", length > 9 ? ", " : "",
                     sources[i].event);
    }
    wrap(stream, text, 4);
}

static void show_ways(FILE *stream, enum hop hop)
{
    char text[200] = "On the ways: ";

    for (size_t i = 0; i < VIAS; i++) {
        size_t length = strlen(text);
        if ((vias[i].hops >> hop & 1U) != 0)
            snprintf(text + length, sizeof text - length, "%s%s", length > 13 ? ", " : "",
                     vias[i].name);
    }
    wrap(stream, text, 4);
}

/* The event that tells of it as a rule; others are for other kernels and other servers. */
static const char *first_source(int hop)
{
    for (size_t i = 0; i < source_count; i++)
        if ((int)sources[i].kind == hop)
            return source_name(i);
    return "nobody";
}

static void explain_hop(FILE *stream, enum hop hop)
{
    static const char *const with[] = {"", "With poll or select: ", "With a blocked recv(): "};
    char text[400];

    fprintf(stream, "%s%s%s, in [%s]\n", bold, hops[hop].name, off,
            box_title(hops[hop].box, WAITS_EPOLL));
    for (int way = 0; way < WAYS_TO_WAIT; way++) {
        if (hops[hop].why[way] == NULL)
            continue;
        snprintf(text, sizeof text, "%s%s", with[way], hops[hop].why[way]);
        wrap(stream, text, 4);
    }
    show_sources(stream, hop);
    snprintf(text, sizeof text, "Tied to its neighbours by: %s", hops[hop].tie);
    wrap(stream, text, 4);
    show_ways(stream, hop);
}

/* A hop by its name, or by one of its events. */
static int find_hop(const char *name)
{
    int source = source_find(name);

    for (int hop = 0; hop < HOPS; hop++)
        if (strcmp(hops[hop].name, name) == 0)
            return hop;
    return source != -1 && sources[source].kind < HOPS ? (int)sources[source].kind : -1;
}

bool show_explain(FILE *stream, const char *name)
{
    int box = -1;

    choose_colours(stream);
    if (name != NULL) {
        int hop = find_hop(name);
        if (hop != -1)
            explain_hop(stream, (enum hop)hop);
        return hop != -1;
    }
    for (int hop = 0; hop < HOPS; hop++) {
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            fprintf(stream, "%s%s[%s]%s\n", hop > 0 ? "\n" : "", bold,
                    box_title(hops[hop].box, WAITS_EPOLL), off);
        }
        fprintf(stream, "  %s%s%s, seen by %s\n", blue, hops[hop].name, off, first_source(hop));
        wrap(stream, hops[hop].why[WAITS_EPOLL], 8);
    }
    return true;
}
