/* Many journeys: the times of a hop, of a share or of the whole, and their percentiles; histograms
 * of the shares; and the one journey that --show names. */
#define _POSIX_C_SOURCE 200809L

#include "journey.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 22 /* up to 1 µs, 2, 5, 10, 20, ... 5 s; the last one has no upper limit */
#define MOST_MARKS 40

const char *const show_names[] = {"fastest", "median", "slowest", NULL};

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

uint64_t percentile(uint64_t *ns, size_t count, unsigned percent)
{
    size_t rank = (count * percent + 99) / 100; /* the nearest one, from 1 */

    qsort(ns, count, sizeof *ns, by_value);
    return count == 0 ? 0 : ns[rank > 0 ? rank - 1 : 0];
}

static uint64_t time_of(const struct journey *journey, int row)
{
    const struct event *before = row < HOPS ? journey_before(journey, (enum hop)row) : NULL;
    uint64_t shares[SHARES];

    if (row < HOPS)
        return before != NULL ? journey->at[row]->ns - before->ns : 0;
    uint64_t total = journey_shares(journey, shares);
    if (row < ROW_WHOLE)
        return shares[row - ROW_SHARES];
    return total + (journey->reply != NULL ? journey_shares(journey->reply, shares) : 0);
}

/* Only complete journeys show how long a hop takes.  Others may lack the hop before it. */
size_t journeys_times(const struct journeys *journeys, bool back, int row, uint64_t *ns,
                      size_t *who)
{
    const struct journey *leg = back ? journeys->other : journeys->list;
    size_t count = 0;

    for (size_t i = 0; i < journeys->count; i++) {
        bool timed = journeys->list[i].outcome == COMPLETE || journeys->outcomes[COMPLETE] == 0;
        if (!timed || !(row < HOPS ? journey_is_step(&leg[i], row) : leg[i].at[HOP_RETURN] != NULL))
            continue;
        if (who != NULL)
            who[count] = i;
        ns[count++] = time_of(&leg[i], row);
    }
    return count;
}

/* ---- --show ---- */

const struct journey *journeys_pick(const struct journeys *journeys, const char *which, size_t *k)
{
    size_t room = journeys->count + 1, *who = calloc(room, sizeof *who);
    uint64_t *ns = calloc(room, 2 * sizeof *ns), *sorted = ns + room;
    unsigned name = 0;

    while (show_names[name] != NULL && strcmp(which, show_names[name]) != 0)
        name++;
    *k = show_names[name] == NULL ? strtoul(which, NULL, 10) : 0;
    if (*k == 0 && ns != NULL && who != NULL) {
        size_t i = 0, count = journeys_times(journeys, false, ROW_WHOLE, ns, who);
        memcpy(sorted, ns, count * sizeof *ns);
        uint64_t wanted = percentile(sorted, count, name * 50);
        while (i < count && ns[i] != wanted)
            i++;
        *k = i < count ? who[i] + 1 : 1;
    }
    free(ns);
    free(who);
    return *k > 0 && *k <= journeys->count ? &journeys->list[*k - 1] : NULL;
}

/* ---- histograms ---- */

/* Where a bucket ends, in µs.  Each bucket ends at about twice the time of the one before. */
static unsigned long end_of(int bucket)
{
    static const unsigned long digit[] = {1, 2, 5};
    unsigned long power = 1;

    for (int i = 0; i < bucket / 3; i++)
        power *= 10;
    return bucket < 0 ? 0 : digit[bucket % 3] * power;
}

/* A line for each bucket in which there are times.  The times are in order. */
static void draw(const uint64_t *ns, size_t count)
{
    size_t in[BUCKETS] = {0}, most = 1;
    int last = BUCKETS;

    for (size_t i = 0, bucket = 0; i < count; i++) {
        while (bucket < BUCKETS - 1 && ns[i] >= end_of((int)bucket) * 1000)
            bucket++;
        in[bucket]++;
        most = in[bucket] > most ? in[bucket] : most;
    }
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        int marks = (int)((in[bucket] * MOST_MARKS + most - 1) / most); /* at least one */
        if (marks == 0)
            continue;
        if (last + 1 < bucket)
            puts("        ...");
        last = bucket;
        printf("%7lu to %6lu µs %6zu  %.*s\n", end_of(bucket - 1), end_of(bucket), in[bucket],
               marks, "########################################");
    }
}

static void show_histogram(const struct journeys *journeys, bool back, int row, const char *name,
                           uint64_t *ns)
{
    size_t count = journeys_times(journeys, back, row, ns, NULL);
    uint64_t half = percentile(ns, count, 50), most = percentile(ns, count, 99);

    if (count == 0 || ns[count - 1] == 0)
        return; /* These journeys have no such share. */
    show_text(0, "%s: median %.1f µs, 99th percentile %.1f µs", name, show_us(half), show_us(most));
    draw(ns, count);
}

void show_histograms(const struct recording *recording, const struct journeys *journeys)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    bool both = journeys->list[0].reply != NULL;
    size_t k;

    show_text(0,
              "\nHow long each share took. On each line: a range of times, from its first figure "
              "up to its second one; the number of journeys that took so long; and a bar for it. "
              "Ranges without a journey are left out. Only complete journeys count, if there are "
              "any.\n");
    for (int back = 0; ns != NULL && back <= both; back++) {
        const struct journey *leg = back ? journeys->other : journeys->list;
        for (int share = 0; share < SHARES; share++) {
            char name[48];
            snprintf(name, sizeof name, "%s%s",
                     !both  ? ""
                     : back ? "way back, "
                            : "way in, ",
                     show_share(recording, leg, (enum share)share));
            show_histogram(journeys, back, ROW_SHARES + share, name, ns);
        }
    }
    if (ns != NULL)
        show_histogram(journeys, false, ROW_WHOLE, "in all", ns);
    free(ns);
    journeys_pick(journeys, "slowest", &k);
    show_text(
        0, "The slowest is number %zu of %zu; --show slowest, or --show %zu, shows it hop by hop.",
        k, journeys->count, k);
}
