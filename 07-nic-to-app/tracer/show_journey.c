/* One journey on a terminal: a line for each hop, in boxes, and where the time went. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define BAR 20 /* columns, for the total */

static struct colours colour;

/* On a narrow terminal: the time and the event on one line, the other columns below them. */
static void show_narrow_hop(FILE *stream, const char *const columns[5])
{
    char text[120];

    fprintf(stream, "%8s %s%s%s\n", columns[0], colour.blue, columns[1], colour.off);
    snprintf(text, sizeof text, "%s %s %s", columns[2], columns[3], columns[4]);
    if (strspn(text, " ") < strlen(text))
        show_wrapped(stream, text + strspn(text, " "), 9);
}

static void show_hop(FILE *stream, const struct journey *journey, enum hop hop, bool whys)
{
    const struct event *event = journey->at[hop];
    const struct event *before = journey_before(journey, hop);
    char fields[64], at[24], since[24] = "", cpu[12] = "";

    show_fields(journey, hop, fields, sizeof fields);
    if (event->cpu >= 0)
        snprintf(cpu, sizeof cpu, "cpu%d", event->cpu);
    if (journey->state[hop] == BEGAN_BEFORE)
        snprintf(at, sizeof at, "before");
    else
        snprintf(at, sizeof at, "%.1f", show_us(event->ns - journey_first(journey)->ns));
    if (before != NULL && journey_is_step(journey, (int)hop))
        snprintf(since, sizeof since, "%+.1f", show_us(event->ns - before->ns));
    if (show_is_narrow(stream))
        show_narrow_hop(stream, (const char *[]){at, event_label(event), since, cpu, fields});
    else
        fprintf(stream, "%8s %8s  %-5s %s%-*s%s%s\n", at, since, cpu, colour.blue,
                fields[0] != '\0' ? 24 : 0, event_label(event), colour.off, fields);
    if (!whys)
        return;
    if (show_remark(journey, hop) != NULL)
        show_wrapped(stream, show_remark(journey, hop), 8);
    fputs(colour.dim, stream);
    show_wrapped(stream, hop_why(hop, journey->waiting), 8);
    fputs(colour.off, stream);
}

/* A hop that this packet needed has its explanation even without an event.  The boxes of the loop
 * do not: only stamps show whether there is a loop with coroutines. */
static bool is_explained(const struct journey *journey, enum hop hop)
{
    return journey->state[hop] != NOT_NEEDED && hops[hop].box != BOX_LOOP;
}

static void show_absent(FILE *stream, const struct journey *journey, enum hop hop, bool whys)
{
    const char *state = show_state(journey->state[hop]);
    char text[160];

    if (show_is_narrow(stream)) {
        show_narrow_hop(stream, (const char *[]){"-", hops[hop].name, "", "", whys ? "" : state});
        if (!whys)
            return;
    } else if (!whys) {
        fprintf(stream, "%8s %16s %s%-24s%s%s\n", "-", "", colour.blue, hops[hop].name, colour.off,
                state);
        return;
    } else {
        fprintf(stream, "%8s %16s %s%s%s\n", "-", "", colour.blue, hops[hop].name, colour.off);
    }
    snprintf(text, sizeof text, "%c%s: %s.", toupper((unsigned char)state[0]), state + 1,
             show_absence(journey, hop));
    show_wrapped(stream, text, 8);
    if (!is_explained(journey, hop))
        return;
    fputs(colour.dim, stream);
    show_wrapped(stream, hop_why(hop, journey->waiting), 8);
    fputs(colour.off, stream);
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

static void show_narrow_share(FILE *stream, const char *share, const char *end, double us,
                              double percent)
{
    char text[160];

    snprintf(text, sizeof text, "%.1f µs, %.0f %%: %s, to %s", us, percent, share, end);
    show_wrapped(stream, text, 2);
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
    fprintf(stream, "\n%s%.1f µs in all, and where they went%s\n", colour.bold, show_us(total),
            colour.off);
    for (int i = 0; i < SHARES; i++) {
        if (ns[i] == 0)
            continue;
        double percent = 100 * (double)ns[i] / (double)total;
        if (show_is_narrow(stream)) {
            show_narrow_share(stream, show_share(recording, (enum share)i),
                              share_end(journey, (enum share)i), show_us(ns[i]), percent);
            continue;
        }
        int bar = (int)((double)ns[i] / (double)total * whole + 0.5);
        char filled[BAR + 1];
        memset(filled, '#', sizeof filled);
        filled[bar] = '\0';
        fprintf(stream, "%8.1f µs %4.0f %%  %-*s  to %-*s%s%s%s%s\n", show_us(ns[i]), percent,
                name_width, show_share(recording, (enum share)i), bar > 0 ? end_width : 0,
                share_end(journey, (enum share)i), bar > 0 ? " " : "", colour.blue, filled,
                colour.off);
    }
}

static void show_hops(FILE *stream, const struct journey *journey, bool whys)
{
    int box = -1;

    for (int hop = 0; hop < HOPS; hop++) {
        if (journey->state[hop] == NOT_ON_PATH)
            continue;
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            fputs(whys ? "\n" : "", stream);
            show_box_title(stream, &colour, show_box(journey, hops[hop].box));
        }
        if (journey->at[hop] != NULL)
            show_hop(stream, journey, (enum hop)hop, whys);
        else
            show_absent(stream, journey, (enum hop)hop, whys);
    }
}

static void show_lost(FILE *stream, uint64_t lost)
{
    char text[120];

    snprintf(text, sizeof text,
             "%" PRIu64 " events were lost; a hop that was not seen may be among them.", lost);
    fputc('\n', stream);
    show_wrapped(stream, text, 0);
}

void show_journey(FILE *stream, const struct recording *recording, const struct journey *journey,
                  bool whys)
{
    char title[160];

    colour = show_colours(stream);
    show_origin(stream, recording);
    show_title(recording, journey, title, sizeof title);
    show_wrapped(stream, title, 0);
    fprintf(stream, "\n%s", colour.dim);
    if (show_is_narrow(stream))
        fputs("   at µs event\n         + µs CPU details\n", stream);
    else
        fprintf(stream, "   at µs     + µs  CPU   %-23s %s\n", "event", "details");
    fputs(colour.off, stream);
    show_hops(stream, journey, whys);
    show_shares(stream, recording, journey);
    if (recording->lost > 0)
        show_lost(stream, recording->lost);
    if (!whys)
        return;
    show_notes(stream, recording);
    if (recording->via != VIA_SOCKETS)
        show_wrapped(
            stream,
            "Socket numbers come from the kernel (SO_COOKIE), and thread numbers are thread "
            "ids. trace itself numbers the skbs.",
            0);
}
