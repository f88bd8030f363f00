/* Many journeys: the times of a hop, of a share or of the whole, and their percentiles; a table of
 * them; histograms of the shares; and the one journey that --show names. */
#include "journey.h"

#define MARKS "########################################"
#define MOST_MARKS ((int)sizeof MARKS - 1)

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* Room for a time of each journey.  Without it nothing can be shown, and the program ends. */
static uint64_t *room_for_times(size_t journeys)
{
    uint64_t *ns = calloc(journeys + 1, sizeof *ns);

    if (ns == NULL) {
        perror("trace");
        exit(1);
    }
    return ns;
}

/* Sort the times.  The one that so many percent of them do not exceed; 0: there are none. */
static uint64_t percentile(uint64_t *ns, size_t count, unsigned percent)
{
    size_t rank = (count * percent + 99) / 100; /* the nearest one, from 1 */

    qsort(ns, count, sizeof *ns, by_value);
    return count == 0 ? 0 : ns[rank > 0 ? rank - 1 : 0];
}

/* Store the time of this row in the journey with this index.  False: it is not timed.  Only
 * complete journeys show how long a hop takes; others may lack the hop before it. */
static bool time_of(const struct journeys *journeys, bool back, size_t i, int row, uint64_t *ns)
{
    const struct journey *leg = (back ? journeys->other : journeys->list) + i;
    uint64_t shares[SHARES];

    if ((journeys->list[i].outcome != COMPLETE && journeys->outcomes[COMPLETE] > 0) ||
        (row < HOPS ? !journey_is_step(leg, row) : leg->at[HOP_RETURN] == NULL))
        return false;
    *ns = row < HOPS ? journey_since(leg, row) : journey_shares(leg, shares);
    if (row >= HOPS && row < ROW_WHOLE)
        *ns = shares[row - ROW_SHARES];
    if (row == ROW_WHOLE && leg->reply != NULL)
        *ns += journey_shares(leg->reply, shares);
    return true;
}

/* Store the times of the complete journeys or, without any, of all.  Returns their number. */
static size_t collect_times(const struct journeys *journeys, bool back, int row, uint64_t *ns)
{
    size_t count = 0;

    for (size_t i = 0; i < journeys->count; i++)
        count += time_of(journeys, back, i, row, &ns[count]);
    return count;
}

int pick_percent(const char *which)
{
    static const char *const names[] = {"fastest", "median", "slowest"};

    for (int i = 0; i < 3; i++)
        if (strcmp(which, names[i]) == 0)
            return i * 50;
    return -1;
}

const struct journey *journeys_pick(const struct journeys *journeys, const char *which, size_t *k)
{
    uint64_t *ns = room_for_times(journeys->count);
    int percent = pick_percent(which);

    *k = percent == -1 ? strtoul(which, NULL, 10) : 0;
    if (percent != -1) {
        size_t count = collect_times(journeys, false, ROW_WHOLE, ns);
        uint64_t wanted = percentile(ns, count, (unsigned)percent), total = 0;
        do
            (*k)++;
        while (*k <= journeys->count &&
               (!time_of(journeys, false, *k - 1, ROW_WHOLE, &total) || total != wanted));
    }
    free(ns);
    return *k > 0 && *k <= journeys->count ? &journeys->list[*k - 1] : NULL;
}

/* ---- the table ---- */

/* What a column has of a hop.  False: the hop is not on its path. */
static bool look_for_hop(const struct journeys *journeys, const struct line *line,
                         struct entry *entry)
{
    const struct journey *leg = line->back ? journeys->other : journeys->list;
    enum hop_state state = journeys_typical(journeys, line->back)->state[line->row];
    bool on_path = false;

    for (size_t i = 0; i < journeys->count; i++) {
        on_path |= leg[i].state[line->row] != NOT_ON_PATH;
        if (leg[i].at[line->row] == NULL)
            continue;
        entry->event = event_label(leg[i].at[line->row]);
        entry->seen++;
    }
    entry->words = state == BEGAN_BEFORE  ? "called before the packet"
                   : entry->event != NULL ? entry->event
                                          : show_state(state);
    return on_path;
}

/* What one column has of this row.  The array has room for the times of all journeys. */
static struct entry measure(const struct column *column, const struct line *line, uint64_t *ns,
                            bool *on_path)
{
    bool is_hop = line->row < HOPS;
    size_t count = collect_times(&column->journeys, line->back, line->row, ns);
    uint64_t taken = percentile(ns, count, column->percent);
    struct entry entry = {.ns = -1, .words = "", .seen = is_hop ? 0 : count, .cell = "-"};

    if (count > 0 && (is_hop || taken > 0)) {
        entry.ns = (int64_t)taken;
        snprintf(entry.cell, CELL_SIZE, "%.*f", taken < 1000000000 ? 1 : 0, show_us(taken));
    }
    *on_path |= !is_hop || look_for_hop(&column->journeys, line, &entry);
    return entry;
}

/* Add a line, unless it is of a hop that is on the path of none. */
static void add_line(struct table *table, bool back, int row, uint64_t *ns)
{
    struct line *line = &table->line[table->lines];
    const struct journey *first = journeys_typical(&table->column[0].journeys, back);
    const char *words = ""; /* of the first column */
    bool belongs = false;

    *line = (struct line){.row = row, .back = back, .same = true};
    line->name = row < HOPS         ? hops[row].name
                 : row == ROW_WHOLE ? "in all"
                                    : show_share(first, (enum share)(row - ROW_SHARES));
    for (size_t i = 0; i < table->count; i++) {
        struct entry entry = measure(&table->column[i], line, ns, &belongs);
        words = i == 0 ? entry.words : words;
        line->same = line->same && strcmp(entry.words, words) == 0;
        line->at[i] = entry;
    }
    table->lines += belongs;
}

void table_fill(struct table *table)
{
    int ways = table->column[0].journeys.list[0].reply != NULL ? 2 : 1;
    size_t most = 0;

    for (size_t i = 0; i < table->count; i++)
        most += table->column[i].journeys.count;
    uint64_t *ns = room_for_times(most);
    table->lines = 0;
    for (int back = 0; back < ways; back++)
        for (int hop = 0, share = -1; hop < HOP_ACK; hop++) {
            if ((int)hops[hop].share != share) /* The hops of a share follow each other. */
                add_line(table, back, ROW_SHARES + (share = (int)hops[hop].share), ns);
            add_line(table, back, hop, ns);
        }
    add_line(table, false, ROW_WHOLE, ns);
    free(ns);
}

/* ---- histograms ---- */

/* Show the times of a share, if there are any, in ranges up to 1, 2, 5, 10, 20 µs and so on. */
static void show_histogram(const char *way, const char *name, uint64_t *ns, size_t count)
{
    uint64_t half = percentile(ns, count, 50), most = percentile(ns, count, 99);
    unsigned long begin = 0, end = 1; /* in µs */

    if (most == 0)
        return;
    show_text(0, "%s%s: median %.1f µs, 99th percentile %.1f µs", way, name, show_us(half),
              show_us(most));
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

void show_histograms(const struct table *table)
{
    const struct journeys *journeys = &table->column[0].journeys;
    uint64_t *ns = room_for_times(journeys->count);
    bool both = journeys->list[0].reply != NULL;
    size_t k;

    show_text(0,
              "\nHow the times of each share are distributed over the complete journeys. Each line "
              "shows a range of times, the number of journeys within it, and a bar. A bar of %d "
              "marks means all of them. Ranges without a journey are left out.\n",
              MOST_MARKS);
    for (size_t i = 0; i < table->lines; i++) {
        const struct line *line = &table->line[i];
        const char *way = !both || line->row == ROW_WHOLE ? ""
                          : line->back                    ? "way back, "
                                                          : "way in, ";
        if (line->row >= HOPS)
            show_histogram(way, line->name, ns, collect_times(journeys, line->back, line->row, ns));
    }
    free(ns);
    journeys_pick(journeys, "slowest", &k);
    show_text(0, "The slowest is number %zu of %zu: --show slowest or --show %zu shows its hops.",
              k, journeys->count, k);
}
