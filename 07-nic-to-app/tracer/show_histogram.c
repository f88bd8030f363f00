/* Many journeys: the times of a hop, of a share or of the whole, and their percentiles; histograms
 * of the shares; and the one journey that --show names. */
#include "journey.h"

#define MARKS "########################################"
#define MOST_MARKS ((int)sizeof MARKS - 1)

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
    uint64_t shares[SHARES];

    if (row < HOPS)
        return journey_since(journey, row);
    uint64_t total = journey_shares(journey, shares);
    if (row < ROW_WHOLE)
        return shares[row - ROW_SHARES];
    return total + (journey->reply != NULL ? journey_shares(journey->reply, shares) : 0);
}

/* Only complete journeys show how long a hop takes.  Others may lack the hop before it. */
static bool is_timed(const struct journeys *journeys, const struct journey *leg, size_t i, int row)
{
    return (journeys->list[i].outcome == COMPLETE || journeys->outcomes[COMPLETE] == 0) &&
           (row < HOPS ? journey_is_step(&leg[i], row) : leg[i].at[HOP_RETURN] != NULL);
}

size_t journeys_times(const struct journeys *journeys, bool back, int row, uint64_t *ns)
{
    const struct journey *leg = back ? journeys->other : journeys->list;
    size_t count = 0;

    for (size_t i = 0; i < journeys->count; i++)
        if (is_timed(journeys, leg, i, row))
            ns[count++] = time_of(&leg[i], row);
    return count;
}

const struct journey *journeys_pick(const struct journeys *journeys, const char *which, size_t *k)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    unsigned name = 0;

    while (show_names[name] != NULL && strcmp(which, show_names[name]) != 0)
        name++;
    *k = show_names[name] == NULL ? strtoul(which, NULL, 10) : 0;
    if (*k == 0 && ns != NULL) {
        size_t count = journeys_times(journeys, false, ROW_WHOLE, ns);
        uint64_t wanted = percentile(ns, count, name * 50);
        while (*k < journeys->count && (!is_timed(journeys, journeys->list, *k, ROW_WHOLE) ||
                                        time_of(&journeys->list[*k], ROW_WHOLE) != wanted))
            (*k)++;
        (*k)++;
    }
    free(ns);
    return *k > 0 && *k <= journeys->count ? &journeys->list[*k - 1] : NULL;
}

/* Show the times of a share, if there are any.  Each range ends at about twice the time of the one
 * before: 1, 2, 5, 10, 20 µs and so on. */
static void show_histogram(const char *name, uint64_t *ns, size_t count)
{
    uint64_t half = percentile(ns, count, 50), most = percentile(ns, count, 99);
    unsigned long begin = 0, end = 1; /* in µs */

    if (most == 0)
        return;
    show_text(0, "%s: median %.1f µs, 99th percentile %.1f µs", name, show_us(half), show_us(most));
    for (size_t i = 0, step = 0; i < count; step++) {
        size_t before = i;
        while (i < count && ns[i] < end * 1000)
            i++;
        int marks = (int)(((i - before) * MOST_MARKS + count - 1) / count); /* at least one */
        if (marks > 0)
            show_text(0, "%7lu to %6lu µs %6zu  %.*s", begin, end, i - before, marks, MARKS);
        begin = end;
        end = step % 3 == 1 ? end / 2 * 5 : end * 2;
    }
}

void show_histograms(const struct recording *recording, const struct journeys *journeys)
{
    uint64_t *ns = calloc(journeys->count + 1, sizeof *ns);
    bool both = journeys->list[0].reply != NULL;
    size_t k;

    show_text(0,
              "\nHow long each share took in how many of the complete journeys. On each line: a "
              "range of times, the number of journeys whose time is in it, and a bar. A bar of "
              "%d marks means all of them. Ranges without a journey are left out.\n",
              MOST_MARKS);
    for (int leg = 0; ns != NULL && leg <= both; leg++)
        for (int share = 0; share < SHARES; share++) {
            char name[48];
            const struct journey *first = leg ? journeys->other : journeys->list;
            snprintf(name, sizeof name, "%s%s",
                     !both ? ""
                     : leg ? "way back, "
                           : "way in, ",
                     show_share(recording, first, (enum share)share));
            show_histogram(name, ns, journeys_times(journeys, leg, ROW_SHARES + share, ns));
        }
    if (ns != NULL)
        show_histogram("in all", ns, journeys_times(journeys, false, ROW_WHOLE, ns));
    free(ns);
    journeys_pick(journeys, "slowest", &k);
    show_text(
        0, "The slowest is number %zu of %zu: --show slowest shows its hops, and --show %zu, too.",
        k, journeys->count, k);
}
