/* Tables on a terminal: one journey, with a line for each hop and where the time went; many
 * journeys, with percentiles and outcomes; and for `trace explain` what each hop is, what reports
 * it, and what links it to its neighbours. */
#define _POSIX_C_SOURCE 200809L

#include "journey.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

    if (isatty(STDOUT_FILENO) != 1 || (no_color != NULL && no_color[0] != '\0'))
        return none;
    if (term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0)
        return none;
    return ansi;
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

static bool show_is_narrow(void)
{
    return show_width() < MOST_WIDTH;
}

/* How many columns a text takes.  Bytes that continue a UTF-8 character take none. */
static size_t columns(const char *text, size_t bytes)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static void wrap(const char *text, size_t indent)
{
    size_t column = 0, most = show_width();

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
    size_t breaks = strspn(text, "\n");
    printf("%.*s", (int)breaks, text);
    wrap(text + breaks, indent);
}

bool show_begins_box(int hop, int *box)
{
    bool begins = (int)hops[hop].box != *box;

    *box = (int)hops[hop].box;
    return begins;
}

static void show_box_title(const char *title)
{
    fputs(colour.bold, stdout);
    show_text(0, "[%s]", title);
    fputs(colour.off, stdout);
}

static void show_origin(const struct recording *recording)
{
    if (recording->replayed)
        show_text(0, "RECORDED, not measured now: on Linux %s", recording->kernel);
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

/* On a narrow terminal: the time and the event on one line, the other columns below them. */
static void show_row(const char *at, const char *since, const char *cpu, const char *name,
                     const char *details)
{
    bool narrow = show_is_narrow(), alone = narrow || details[0] == '\0';

    printf("%8s ", at);
    if (!narrow)
        printf("%8s  %-5s ", since, cpu);
    printf("%s%-*s%s%s%s\n", colour.blue, alone ? 0 : 23, name, colour.off, alone ? "" : " ",
           alone ? "" : details);
    if (narrow && (since[0] != '\0' || details[0] != '\0'))
        show_text(9, "%s%s%s%s%s", since, since[0] != '\0' ? " " : "", cpu,
                  cpu[0] != '\0' ? " " : "", details);
}

static void show_dim(const char *text)
{
    fputs(colour.dim, stdout);
    show_text(8, "%s", text);
    fputs(colour.off, stdout);
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
        show_dim(hop_why(hop, journey->waiting));
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
        show_dim(hop_why(hop, journey->waiting));
}

/* The event with which a share of the time ends. */
static const char *share_end(const struct journey *journey, enum share share)
{
    const char *label = "";

    for (int hop = 0; hop < HOPS; hop++)
        if (hops[hop].share == share && journey_is_step(journey, hop))
            label = event_label(journey->at[hop]);
    return label;
}

static void show_shares(const struct recording *recording, const struct journey *journey)
{
    bool sockets = recording->via == VIA_SOCKETS; /* whose shares have longer names */
    int widest = sockets ? BAR / 2 : BAR, end_width = sockets ? 19 : 22;
    uint64_t ns[SHARES], total = journey_shares(journey, ns);

    printf("\n%s%.1f µs in all, and where they went%s\n", colour.bold, show_us(total), colour.off);
    for (int i = 0; i < SHARES; i++) {
        const char *name = show_share(recording, (enum share)i);
        const char *end = share_end(journey, (enum share)i);
        double us = show_us(ns[i]), part = total > 0 ? (double)ns[i] / (double)total : 0;
        int bar = (int)(part * widest + 0.5);
        if (ns[i] == 0)
            continue;
        if (show_is_narrow())
            show_text(2, "%.1f µs, %.0f %%: %s, to %s", us, 100 * part, name, end);
        else
            printf("%8.1f µs %4.0f %%  %-*s  to %-*s%s%s%.*s%s\n", us, 100 * part, sockets ? 25 : 9,
                   name, bar == 0 ? 0 : end_width, end, bar > 0 ? " " : "", colour.blue, bar,
                   "####################", colour.off);
    }
}

static void show_hops(const struct journey *journey, bool whys)
{
    int box = -1;

    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->state[hop] == NOT_ON_PATH)
            continue;
        if (show_begins_box(hop, &box)) {
            fputs(whys ? "\n" : "", stdout);
            show_box_title(show_box(journey, hops[hop].box));
        }
        if (journey->at[hop] != NULL)
            show_hop(journey, (enum hop)hop, whys);
        else
            show_absent(journey, (enum hop)hop, whys);
    }
}

void show_journey(const struct recording *recording, const struct journey *journey, bool whys)
{
    char title[160];

    colour = show_colours();
    show_origin(recording);
    show_title(recording, journey, title, sizeof title);
    show_text(0, "%s", title);
    printf("\n%s", colour.dim);
    if (show_is_narrow())
        fputs("   at µs event\n         + µs CPU details\n", stdout);
    else
        printf("   at µs     + µs  CPU   %-23s %s\n", "event", "details");
    fputs(colour.off, stdout);
    show_hops(journey, whys);
    show_shares(recording, journey);
    if (recording->lost > 0)
        show_text(0, "\n%" PRIu64 " events were lost; a hop that was not seen may be among them.",
                  recording->lost);
    if (!whys)
        return;
    show_notes(recording);
    if (recording->via != VIA_SOCKETS)
        show_text(0,
                  "Socket numbers come from the kernel (SO_COOKIE), and thread numbers are thread "
                  "ids. trace itself numbers the skbs.");
}

/* ---- many journeys ---- */

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static double percentile(const uint64_t *sorted, size_t count, size_t percent)
{
    return show_us(sorted[(count * percent + 99) / 100 - 1]); /* the nearest rank */
}

/* One row: how many journeys passed this hop, and how long it took since the hop before. */
static void show_percentiles(const char *label, size_t seen, uint64_t *ns, size_t count)
{
    bool narrow = show_is_narrow();
    printf("  %-*s%s", narrow ? 0 : 24, label, narrow ? "\n  " : " ");
    if (count == 0) {
        printf("%6zu %9s %9s %9s\n", seen, "-", "-", "-");
        return;
    }
    qsort(ns, count, sizeof *ns, compare);
    printf("%6zu %9.1f %9.1f %9.1f\n", seen, percentile(ns, count, 50), percentile(ns, count, 90),
           percentile(ns, count, 99));
}

static bool belongs(const struct journeys *journeys, int hop)
{
    for (size_t i = 0; i < journeys->count; i++)
        if (journeys->list[i].state[hop] != NOT_ON_PATH)
            return true;
    return false;
}

/* Only complete journeys show how long a hop takes.  Others may lack the hop before it. */
static bool is_timed(const struct journeys *journeys, size_t i)
{
    return journeys->list[i].outcome == COMPLETE || journeys->outcomes[COMPLETE] == 0;
}

static void show_hop_of_many(const struct journeys *journeys, enum hop hop, uint64_t *ns)
{
    const char *label = hops[hop].name;
    size_t seen = 0, count = 0;

    for (size_t i = 0; i < journeys->count; i++) {
        const struct journey *journey = &journeys->list[i];
        const struct event *before = journey_before(journey, hop);
        if (journey->at[hop] == NULL)
            continue;
        label = event_label(journey->at[hop]);
        seen++;
        if (journey->state[hop] != BEGAN_BEFORE && is_timed(journeys, i))
            ns[count++] = before != NULL ? journey->at[hop]->ns - before->ns : 0;
    }
    show_percentiles(label, seen, ns, count);
}

static void show_total_of_many(const struct journeys *journeys, uint64_t *ns)
{
    size_t count = 0;

    for (size_t i = 0; i < journeys->count; i++) {
        const struct journey *journey = &journeys->list[i];
        if (journey->at[HOP_RETURN] != NULL && is_timed(journeys, i))
            ns[count++] = journey->at[HOP_RETURN]->ns - journey_first(journey)->ns;
    }
    putchar('\n');
    show_percentiles("first to last", count, ns, count);
}

static void show_outcomes(const struct recording *recording, const struct journeys *journeys)
{
    show_text(0,
              "\n%zu journeys: %zu complete, %zu batched, %zu incomplete; %" PRIu64 " events lost",
              journeys->count, journeys->outcomes[COMPLETE], journeys->outcomes[BATCHED],
              journeys->outcomes[INCOMPLETE], recording->lost);
    show_text(
        0,
        "Times are since the hop before, in complete journeys. p50: half of them took no longer; "
        "p90, p99: 90 %% and 99 %% took no longer. Percentiles do not add up to the last line.");
    show_text(0,
              "Complete: every hop for which this kernel and this server have an event was seen. "
              "Batched: a hop was not needed, because the server was already awake or NET_RX was "
              "already running. Incomplete: a hop that this packet must have passed was not seen.");
}

void show_many(const struct recording *recording, const struct journeys *journeys)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    int box = -1;

    colour = show_colours();
    show_origin(recording);
    show_text(0, "%zu packets over %s to %s on port %u", journeys->count,
              vias[recording->via].about, recording->server, recording->port);
    printf("\n%s  event%s    seen    p50 µs    p90 µs    p99 µs%s\n", colour.dim,
           show_is_narrow() ? "\n" : "                  ", colour.off);
    for (int hop = 0; ns != NULL && hop < HOP_ACK; hop++) {
        if (!belongs(journeys, hop))
            continue;
        if (show_begins_box(hop, &box))
            show_box_title(show_box(journeys_typical(journeys), hops[hop].box));
        show_hop_of_many(journeys, (enum hop)hop, ns);
    }
    if (ns != NULL)
        show_total_of_many(journeys, ns);
    free(ns);
    show_outcomes(recording, journeys);
    show_notes(recording);
}

/* ---- explanations ---- */

static void append(char *text, size_t size, const char *word)
{
    size_t length = strlen(text);

    snprintf(text + length, size - length, "%s%s", text[length - 1] == ' ' ? "" : ", ", word);
}

static void show_events_and_paths(enum hop hop)
{
    char events[400] = "Reported by: ", paths[200] = "On the paths: ";

    for (size_t i = 0; i < event_type_count; i++)
        if (event_types[i].kind == hop)
            append(events, sizeof events, event_types[i].event);
    for (size_t i = 0; i < VIAS; i++)
        if ((vias[i].hops >> hop & 1U) != 0)
            append(paths, sizeof paths, vias[i].name);
    show_text(4, "%s", events);
    show_text(4, "Linked to its neighbours by: %s", hops[hop].link);
    show_text(4, "%s", paths);
}

/* The usual event of a hop; the others are for other kernels and other servers. */
static const char *usual_event(int hop)
{
    for (size_t i = 0; i < event_type_count; i++)
        if ((int)event_types[i].kind == hop)
            return event_type_name(i);
    return "no event";
}

static void explain_hop(enum hop hop)
{
    static const char *const with[] = {"",
                                       "With poll or select: ",
                                       "With a blocking recv(): ",
                                       "With io_uring: ",
                                       "With a signal: ",
                                       "Without a wait: ",
                                       "With anything else: "};

    printf("%s%s%s,%s", colour.bold, hops[hop].name, colour.off, show_is_narrow() ? "\n" : " ");
    show_text(0, "in [%s]", box_title(hops[hop].box, WAITS_EPOLL));
    for (int way = 0; way < WAYS_TO_WAIT; way++)
        if (hops[hop].why[way] != NULL)
            show_text(4, "%s%s", with[way], hops[hop].why[way]);
    show_events_and_paths(hop);
}

/* Find a hop by its own name or by the name of one of its events. */
static int find_hop(const char *name)
{
    int type = event_type_find(name);

    for (int hop = 0; hop < HOPS; hop++)
        if (strcmp(hops[hop].name, name) == 0)
            return hop;
    return type != -1 && event_types[type].kind < HOPS ? (int)event_types[type].kind : -1;
}

bool show_explain(const char *name)
{
    int box = -1;

    colour = show_colours();
    if (name != NULL) {
        int hop = find_hop(name);
        if (hop != -1)
            explain_hop((enum hop)hop);
        return hop != -1;
    }
    for (int hop = 0; hop < HOPS; hop++) {
        if (show_begins_box(hop, &box)) {
            fputs(hop > 0 ? "\n" : "", stdout);
            show_box_title(box_title(hops[hop].box, WAITS_EPOLL));
        }
        printf("  %s%s%s,%s", colour.blue, hops[hop].name, colour.off,
               show_is_narrow() ? "\n    " : " ");
        printf("reported by %s\n", usual_event(hop));
        show_text(8, "%s", hops[hop].why[WAITS_EPOLL]);
    }
    return true;
}
