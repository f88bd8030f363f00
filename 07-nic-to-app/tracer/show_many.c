/* Many journeys on a terminal: percentiles of the time of each hop, and the outcomes. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <inttypes.h>
#include <stdlib.h>

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
static void show_percentiles(FILE *stream, const char *label, size_t seen, uint64_t *ns,
                             size_t count)
{
    bool narrow = show_is_narrow(stream);
    fprintf(stream, "  %-*s%s", narrow ? 0 : 24, label, narrow ? "\n  " : " ");
    if (count == 0) {
        fprintf(stream, "%6zu %9s %9s %9s\n", seen, "-", "-", "-");
        return;
    }
    qsort(ns, count, sizeof *ns, compare);
    fprintf(stream, "%6zu %9.1f %9.1f %9.1f\n", seen, percentile(ns, count, 50),
            percentile(ns, count, 90), percentile(ns, count, 99));
}

static bool belongs(const struct journeys *journeys, enum hop hop)
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
        label = event_label(journey->at[hop]);
        seen++;
        if (journey->state[hop] != BEGAN_BEFORE && is_timed(journeys, i))
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
    show_percentiles(stream, "first to last", count, ns, count);
}

static void show_outcomes(FILE *stream, const struct recording *recording,
                          const struct journeys *journeys)
{
    char text[200];

    snprintf(text, sizeof text,
             "%zu journeys: %zu complete, %zu batched, %zu incomplete; %" PRIu64 " events lost",
             journeys->count, journeys->outcomes[COMPLETE], journeys->outcomes[BATCHED],
             journeys->outcomes[INCOMPLETE], recording->lost);
    fputc('\n', stream);
    show_wrapped(stream, text, 0);
    show_wrapped(
        stream,
        "Times are since the hop before, in complete journeys. p50: half of them took no longer; "
        "p90, p99: 90 % and 99 % took no longer. Percentiles do not add up to the last line.",
        0);
    show_wrapped(
        stream,
        "Complete: every hop for which this kernel and this server have an event was seen. "
        "Batched: a hop was not needed, because the server was already awake or NET_RX was "
        "already running. Incomplete: a hop that this packet must have passed was not seen.",
        0);
}

static void show_head_of_many(FILE *stream, const struct recording *recording, size_t count)
{
    char text[200];

    snprintf(text, sizeof text, "%zu packets over %s to %s on port %u", count,
             show_path(recording->via), recording->server, recording->port);
    show_wrapped(stream, text, 0);
    fputc('\n', stream);
}

void show_many(FILE *stream, const struct recording *recording, const struct journeys *journeys)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    int box = -1;

    struct colours colour = show_colours(stream);
    show_origin(stream, recording);
    show_head_of_many(stream, recording, journeys->count);
    fprintf(stream, "%s  event%s", colour.dim,
            show_is_narrow(stream) ? "\n" : "                  ");
    fprintf(stream, "    seen    p50 µs    p90 µs    p99 µs%s\n", colour.off);
    for (int hop = 0; ns != NULL && hop < HOP_ACK; hop++) {
        if (!belongs(journeys, (enum hop)hop))
            continue;
        if ((int)hops[hop].box != box) {
            box = (int)hops[hop].box;
            show_box_title(stream, &colour, show_box(journeys_typical(journeys), hops[hop].box));
        }
        show_hop_of_many(stream, journeys, (enum hop)hop, ns);
    }
    if (ns != NULL)
        show_total_of_many(stream, journeys, ns);
    free(ns);
    show_outcomes(stream, recording, journeys);
    show_notes(stream, recording);
}
