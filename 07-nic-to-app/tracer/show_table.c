/* Tables on a terminal: one journey, with a line for each hop and where the time went; many
 * journeys, with percentiles and outcomes; and for `trace explain` what each hop is, what reports
 * it, and what links it to its neighbours. */
#include "journey.h"

#include <ctype.h>
#include <sys/ioctl.h>

#define LEAST_WIDTH 40
#define MOST_WIDTH 80
#define TEXT_SIZE 1024
#define BAR 20 /* columns, for the total */

static struct colours {
    const char *bold, *blue, *dim, *off;
} colour;

/* ---- colours and line breaks ---- */

static struct colours show_colours(void)
{
    static const struct colours none = {"", "", "", ""};
    static const struct colours ansi = {"\033[1m", "\033[36m", "\033[2m", "\033[0m"};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    bool wanted = (no_color == NULL || no_color[0] == '\0') && term != NULL && term[0] != '\0' &&
                  strcmp(term, "dumb") != 0;

    return wanted && isatty(STDOUT_FILENO) == 1 ? ansi : none;
}

/* COLUMNS in the environment comes first, as it does for other programs. */
static size_t show_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    long width = columns != NULL ? strtol(columns, NULL, 10) : 0;

    if (width <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    if (width <= 0 || width > MOST_WIDTH)
        return MOST_WIDTH;
    return width < LEAST_WIDTH ? LEAST_WIDTH : (size_t)width;
}

/* How many columns a text takes.  Bytes that continue a UTF-8 character and colours take none. */
static size_t columns(const char *text, size_t bytes)
{
    size_t count = 0;
    bool in_colour = false;

    for (size_t i = 0; i < bytes; i++) {
        in_colour |= text[i] == '\033';
        count += !in_colour && ((unsigned char)text[i] & 0xc0) != 0x80;
        in_colour &= text[i] != 'm';
    }
    return count;
}

static void wrap(const char *text, size_t indent)
{
    size_t column = 0, most = show_width();

    text += strspn(text, " ");
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        size_t width = columns(text, length);
        if (column > 0 && column + 1 + width > most) {
            putchar('\n');
            column = 0;
        }
        if (column == 0)
            printf("%*s", (int)indent, "");
        else
            putchar(' ');
        column += column == 0 ? indent + width : 1 + width;
        printf("%.*s", (int)length, text);
        text += length + strspn(text + length, " ");
    }
    putchar('\n');
}

void show_text(size_t indent, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list values;

    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    size_t breaks = strspn(text, "\n"), length = strlen(text);
    while (length > breaks && text[length - 1] == ' ')
        text[--length] = '\0';
    printf("%.*s", (int)breaks, text);
    if (indent + columns(text + breaks, length - breaks) > show_width())
        wrap(text + breaks, indent);
    else
        printf("%*s%s\n", (int)indent, "", text + breaks);
}

bool show_begins_box(int hop, int *box)
{
    bool begins = (int)hops[hop].box != *box;

    *box = (int)hops[hop].box;
    return begins;
}

/* What follows, and the names of the columns. */
static void show_head(const struct journey *journey, size_t count, const char *names)
{
    const struct recording *recording = journey->recording;
    char title[160];

    colour = show_colours();
    if (recording->replayed)
        show_text(0, "RECORDED, not measured now: on Linux %s", recording->kernel);
    show_title(journey, count, title, sizeof title);
    show_text(0, "%s", title);
    show_text(0, "\n%s%s%s", colour.dim, names, colour.off);
}

static void show_notes(const struct recording *recording)
{
    for (size_t i = 0; i < NOTES && recording->note[i][0] != '\0'; i++)
        show_text(0, "%s%s", i == 0 ? "\n" : "", recording->note[i]);
    show_text(0, "\n%s: %s.",
              recording->via == VIA_SOCKETS ? "Sockets do not see" : "Not on this path",
              vias[recording->via].absent);
}

/* ---- one journey ---- */

static void show_row(const char *at, const char *since, const char *cpu, const char *name,
                     const char *details)
{
    show_text(0, "%8s %8s  %-5s %s%-23s%s %s", at, since, cpu, colour.blue, name, colour.off,
              details);
}

/* What the hop means, unless the same has been said of the request. */
static void show_meaning(const struct journey *journey, enum hop hop)
{
    const struct journey *request = journey->request;
    const char *why = show_why(journey, hop);

    if (request != NULL && request->state[hop] != NOT_ON_PATH && why == show_why(request, hop) &&
        !(hop == HOP_ACK && journey_acknowledges(journey)))
        return;
    show_text(8, "%s%s%s", colour.dim, why, colour.off);
}

static void show_hop(const struct journey *journey, enum hop hop, bool whys)
{
    const struct event *event = journey->at[hop], *before = journey_before(journey, hop);
    const char *remark = show_remark(journey, hop);
    char fields[64], at[24], since[24] = "", cpu[12] = "";

    show_fields(journey, hop, fields, sizeof fields);
    if (event->cpu >= 0)
        snprintf(cpu, sizeof cpu, "cpu%d", event->cpu);
    snprintf(at, sizeof at, "%.1f", show_us(event->ns - journey_first(journey)->ns));
    if (before != NULL && journey_is_step(journey, (int)hop))
        snprintf(since, sizeof since, "%+.1f", show_us(event->ns - before->ns));
    show_row(journey->state[hop] == BEGAN_BEFORE ? "before" : at, since, cpu, event_label(event),
             fields);
    if (whys && remark != NULL)
        show_text(8, "%s", remark);
    if (whys)
        show_meaning(journey, hop);
}

/* A hop that this packet needed has its explanation even without an event.  The boxes of the loop
 * do not: only stamps show whether there is a loop with coroutines. */
static void show_absent(const struct journey *journey, enum hop hop, bool whys)
{
    const char *state = show_state(journey->state[hop]);

    show_row("-", "", "", hops[hop].name, whys ? "" : state);
    if (!whys)
        return;
    show_text(8, "%c%s: %s.", toupper((unsigned char)state[0]), state + 1,
              show_absence(journey, hop));
    if (journey->state[hop] != NOT_NEEDED && hops[hop].box != BOX_LOOP)
        show_meaning(journey, hop);
}

static void show_shares_of(const struct journey *journey, uint64_t total)
{
    bool sockets = journey->recording->via == VIA_SOCKETS; /* whose shares have longer names */
    int widest = sockets ? BAR / 2 : BAR, end_width = sockets ? 19 : 22;
    const char *end[SHARES] = {NULL}; /* the event with which each share ends */
    uint64_t ns[SHARES];

    journey_shares(journey, ns);
    for (int hop = 0; hop < HOPS; hop++)
        if (journey_is_step(journey, hop))
            end[hops[hop].share] = event_label(journey->at[hop]);
    for (int i = 0; i < SHARES; i++) {
        double us = show_us(ns[i]), part = total > 0 ? (double)ns[i] / (double)total : 0;
        int bar = (int)(part * widest + 0.5);
        if (ns[i] == 0)
            continue;
        show_text(0, "%8.1f µs %4.0f %%  %-*s  to %-*s %s%.*s%s", us, 100 * part, sockets ? 25 : 9,
                  show_share(journey, (enum share)i), end_width, end[i], colour.blue, bar,
                  "####################", colour.off);
    }
}

static void show_shares(const struct journey *journey)
{
    uint64_t ns[SHARES], total = journey_shares(journey, ns);

    if (journey->reply != NULL)
        total += journey_shares(journey->reply, ns);
    bool by_client = journey->reply != NULL && journey->at[HOP_START] != NULL &&
                     journey->reply->at[HOP_DONE] != NULL;
    show_text(0, "\n%s%.1f µs %s, and where the time went%s", colour.bold, show_us(total),
              by_client ? "by the client's own clock" : "in all", colour.off);
    for (const struct journey *leg = journey; leg != NULL; leg = leg->reply) {
        if (journey->reply != NULL)
            puts(leg->back ? "the way back:" : "the way in:");
        show_shares_of(leg, total);
    }
}

static void show_hops(const struct journey *journey, bool whys)
{
    int box = -1;

    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->state[hop] == NOT_ON_PATH ||
            (hop == HOP_ACK && journey->reply != NULL && journey_acknowledges(journey->reply)))
            continue; /* the reply's own tcp_probe shows it, in the order of time */
        if (show_begins_box(hop, &box)) {
            fputs(whys ? "\n" : "", stdout);
            show_text(0, "%s[%s]%s", colour.bold, show_box(journey, hops[hop].box), colour.off);
        }
        if (journey->at[hop] != NULL)
            show_hop(journey, (enum hop)hop, whys);
        else
            show_absent(journey, (enum hop)hop, whys);
    }
}

void show_journey(const struct journey *journey, bool whys)
{
    const struct recording *recording = journey->recording;

    show_head(journey, 1, "   at µs     + µs  CPU   event                   details");
    show_hops(journey, whys);
    if (journey->reply != NULL && whys)
        show_text(0, "\nThe way back. The server is now the sender, and the client the receiver. "
                     "Only what differs from the way in is explained.");
    if (journey->reply != NULL)
        show_hops(journey->reply, whys);
    show_shares(journey);
    if (recording->lost > 0)
        show_text(0, "\n%" PRIu64 " events were lost; a hop that was not seen may be among them.",
                  recording->lost);
    if (!whys)
        return;
    show_notes(recording);
    if (recording->via != VIA_SOCKETS)
        show_text(0,
                  "Socket numbers come from the kernel (SO_COOKIE), and thread numbers are thread "
                  "ids. trace numbers the skbs by their addresses: if the kernel reuses the memory "
                  "of one, its number appears again.");
}

/* ---- many journeys ---- */

static void show_acknowledgements(const struct journeys *journeys, const struct journey *leg)
{
    size_t alone = 0, seen = 0;

    for (size_t i = 0; i < journeys->count; i++) {
        const struct event *ack = leg[i].at[HOP_ACK];
        seen += ack != NULL;
        alone += ack != NULL && ack->value[SLOT_LEN] == 0;
    }
    show_text(0, "%s: %zu acknowledged with the %s, %zu in segments without data, %zu not seen",
              leg->back ? "Replies" : "Requests", seen - alone,
              leg->back ? "next request" : "reply", alone, journeys->count - seen);
}

static void show_outcomes(const struct journeys *journeys)
{
    const struct recording *recording = journeys->list->recording;
    bool both = journeys->list[0].reply != NULL;

    show_text(0, "\n%zu %s: %zu complete, %zu batched, %zu incomplete; %" PRIu64 " events lost",
              journeys->count, both ? "round trips" : "journeys", journeys->outcomes[COMPLETE],
              journeys->outcomes[BATCHED], journeys->outcomes[INCOMPLETE], recording->lost);
    if (recording->peer != 0)
        show_acknowledgements(journeys, journeys->list);
    if (both)
        show_acknowledgements(journeys, journeys->other);
    show_text(
        0, "Times are measured from the previous hop, in complete journeys. p50, p90, p99: 50 %%, "
           "90 %% and 99 %% of them took no longer. These do not add up to the last line.");
    show_text(0,
              "Complete: every hop for which this kernel and this server have an event was seen. "
              "Batched: a hop was not needed, because the %s was already awake or NET_RX was "
              "already running. Incomplete: a hop that this packet must have passed was not seen.",
              both ? "one that reads" : "server");
}

/* Three columns of the same journeys: half of them, 90 % and 99 % took no longer. */
static void show_percentiles(const struct table *table)
{
    const struct journeys *journeys = &table->column[0].journeys;
    int box = -1;

    for (const struct line *line = table->line; line < table->line + table->lines; line++) {
        const struct entry *at = line->at;
        if (line->row >= HOPS && line->row != ROW_WHOLE)
            continue; /* The shares have histograms. */
        if (line->row == ROW_WHOLE)
            putchar('\n');
        else if (show_begins_box(line->row, &box))
            show_text(0, "%s[%s]%s", colour.bold,
                      show_box(journeys_typical(journeys, line->back), hops[line->row].box),
                      colour.off);
        show_text(0, "  %-24s %6zu %9s %9s %9s",
                  line->row == ROW_WHOLE ? "first to last"
                  : at->event != NULL    ? at->event
                                         : line->name,
                  at->seen, at[0].cell, at[1].cell, at[2].cell);
    }
}

void show_many(const struct journeys *journeys)
{
    static struct table table = {.count = 3,
                                 .column = {{.percent = 50}, {.percent = 90}, {.percent = 99}}};

    show_head(journeys->list, journeys->count,
              "  event                      seen    p50 µs    p90 µs    p99 µs");
    for (size_t i = 0; i < table.count; i++)
        table.column[i].journeys = *journeys;
    table_fill(&table);
    show_percentiles(&table);
    show_outcomes(journeys);
    show_histograms(&table);
    show_notes(journeys->list->recording);
}

/* ---- explanations ---- */

static void show_events_and_paths(enum hop hop)
{
    char events[400] = "", paths[200] = "";
    size_t event = 0, path = 0; /* the lengths */

    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].kind == hop)
            event += (size_t)snprintf(events + event, sizeof events - event, "%s%s",
                                      event > 0 ? ", " : "", event_types[i].event);
    for (size_t i = 0; i < VIAS; i++)
        if ((vias[i].hops >> hop & 1U) != 0)
            path += (size_t)snprintf(paths + path, sizeof paths - path, "%s%s",
                                     path > 0 ? ", " : "", vias[i].name);
    show_text(4, "Reported by: %s", events);
    show_text(4, "Linked to its neighbours by: %s", hops[hop].link);
    show_text(4, "On the paths: %s", paths);
}

static void explain_hop(enum hop hop)
{
    show_text(0, "%s%s%s, in [%s]", colour.bold, hops[hop].name, colour.off,
              box_title(hops[hop].box, WAITS_EPOLL));
    show_text(4, "%s", hops[hop].why[WAITS_EPOLL]);
    for (int way = WAITS_EPOLL + 1; way < WAYS_TO_WAIT; way++)
        if (hops[hop].why[way] != NULL)
            show_text(4, "If %s: %s", box_title(BOX_WATCH, (enum waiting)way), hops[hop].why[way]);
    show_events_and_paths(hop);
}

/* A hop has its own name and those of its events. */
static bool is_called(int hop, const char *name)
{
    int type = event_type_find(name);

    return strcmp(hops[hop].name, name) == 0 || (type != -1 && (int)event_types[type].kind == hop);
}

bool show_explain(const char *name)
{
    bool found = false;

    colour = show_colours();
    for (int hop = 0; hop < HOPS; hop++) {
        if (name != NULL && !is_called(hop, name))
            continue;
        fputs(found ? "\n" : "", stdout);
        explain_hop((enum hop)hop);
        found = true;
    }
    return found;
}
