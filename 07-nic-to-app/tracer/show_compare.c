/* Several recordings side by side, hop by hop: a table of medians, and in words what differs.  For
 * recordings of the seven servers, this is what `trace all` shows. */
#include "journey.h"

#define FEW 20 /* with fewer journeys, there is no percentile, and a difference may be chance */

/* ---- the lines of the table ---- */

/* Fill in what one recording has of this row.  The array has room for the times of all journeys. */
static void measure(const struct column *column, const struct line *line, uint64_t *ns,
                    struct entry *entry)
{
    static const char *const absent[HOP_STATES] = {"not here", "",         "before",
                                                   "merged",   "unneeded", "not seen",
                                                   "unasked",  "no event", "unknown"};
    int row = line->row;
    const struct journey *typical = column->typical[line->back];
    enum hop_state state = row < HOPS ? typical->state[row] : NOT_ON_PATH;
    bool is_timed = row >= HOPS || journey_is_step(typical, row);
    size_t count = is_timed ? journeys_times(&column->journeys, line->back, row, ns) : 0;
    uint64_t taken = percentile(ns, count, line->percent);

    entry->seen = row < HOPS && typical->at[row] != NULL;
    entry->words = row >= HOPS             ? ""
                   : state == BEGAN_BEFORE ? "called before the packet"
                   : entry->seen           ? event_label(typical->at[row])
                                           : show_state(state);
    entry->ns = count > 0 && (row < HOPS || taken > 0) ? (int64_t)taken : -1;
    if (entry->ns >= 0)
        snprintf(entry->cell, CELL_SIZE, "%.*f", taken < 10000000 ? 1 : 0, show_us(taken));
    else
        snprintf(entry->cell, CELL_SIZE, "%s", row < HOPS ? absent[state] : "-");
}

/* Add a line, unless it is of a hop that is on the path of none. */
static void add_line(struct comparison *all, bool back, int row, unsigned percent, uint64_t *ns)
{
    struct line *line = &all->line[all->lines];
    const struct column *first = &all->column[0];
    bool belongs = row >= HOPS;

    *line = (struct line){.row = row, .percent = percent, .back = back, .same = true};
    line->name = row < HOPS         ? hops[row].name
                 : row == ROW_WHOLE ? "in all"
                                    : show_share(&first->recording, first->typical[back],
                                                 (enum share)(row - ROW_SHARES));
    for (size_t i = 0; i < all->count; i++) {
        measure(&all->column[i], line, ns, &line->at[i]);
        line->same = line->same && strcmp(line->at[i].words, line->at[0].words) == 0;
        line->have += line->at[i].seen;
        belongs = belongs || all->column[i].typical[back]->state[row] != NOT_ON_PATH;
    }
    all->lines += belongs;
}

static void add_lines(struct comparison *all, unsigned percent, uint64_t *ns)
{
    for (int back = 0; back <= all->both; back++)
        for (int share = 0; share < SHARES; share++) {
            add_line(all, back, ROW_SHARES + share, percent, ns);
            for (int hop = 0; hop < HOP_ACK && percent == 50; hop++)
                if ((int)hops[hop].share == share)
                    add_line(all, back, hop, percent, ns);
        }
    add_line(all, false, ROW_WHOLE, percent, ns);
}

bool compare_prepare(struct comparison *all)
{
    size_t most = 1;

    all->fewest = FEW;
    all->both = all->column[0].journeys.list[0].reply != NULL;
    for (size_t i = 0; i < all->count; i++) {
        struct column *column = &all->column[i];
        const char *slash = strrchr(column->file, '/'),
                   *base = slash != NULL ? slash + 1 : column->file;
        /* The seven servers are called by their numbers; other recordings get letters. */
        if (base[0] == '0' && base[1] != '\0' && base[2] == '-')
            memcpy(column->name, base, 2);
        else
            column->name[0] = (char)('A' + i);
        column->typical[0] = journeys_typical(&column->journeys);
        column->typical[1] = column->journeys.other + (column->typical[0] - column->journeys.list);
        most = column->journeys.count > most ? column->journeys.count : most;
        if (column->journeys.count < all->fewest)
            all->fewest = column->journeys.count;
    }
    uint64_t *ns = calloc(most, sizeof *ns);
    if (ns == NULL)
        return false;
    add_lines(all, 50, ns);
    if (all->fewest == FEW)
        add_lines(all, 99, ns);
    free(ns);
    return true;
}

/* ---- the table ---- */

/* If there are two, there is room for the event's name and the difference. */
static void show_line(const struct comparison *all, const struct line *line)
{
    const struct entry *a = &line->at[0], *b = &line->at[1];
    bool is_hop = line->row < HOPS, two = all->count == 2;
    char text[200], end[20] = "";
    int length = snprintf(text, 60,
                          two && is_hop ? "  %-9s %-24s"
                          : two         ? "%-36s"
                          : is_hop      ? "  %-9s"
                                        : "%-11s",
                          line->name,
                          a->seen   ? a->words
                          : b->seen ? b->words
                                    : "");

    for (size_t i = 0; i < all->count; i++)
        length += snprintf(text + length, CELL_SIZE + 1, " %8s", line->at[i].cell);
    if (two && a->ns >= 0 && b->ns >= 0)
        snprintf(end, sizeof end, " %+9.1f",
                 (b->ns - a->ns) / 50 == 0 ? 0 : (double)(b->ns - a->ns) / 1000);
    show_text(0, "%s%s", text, two ? end : is_hop && line->same ? " same" : "");
}

static void show_table(const struct comparison *all)
{
    char heads[160];
    int length = snprintf(heads, sizeof heads, "\n%-*s", all->count == 2 ? 37 : 12, "median µs");

    for (size_t i = 0; i < all->count; i++) /* µ has two bytes, and one of the 37 or 12 columns */
        length += snprintf(heads + length, CELL_SIZE, " %8s", all->column[i].name);
    show_text(0, "%s%s", heads, all->count == 2 ? "     B - A" : "");
    for (const struct line *line = all->line; line < all->line + all->lines; line++) {
        if (line->percent == 99 && line[-1].percent == 50)
            puts("99th percentile:");
        if (all->both && line->row == ROW_SHARES)
            puts(line->back ? "the way back:" : "the way in:");
        show_line(all, line);
    }
}

/* ---- in words ---- */

/* Unless all have the same words, say who has which: "A, C these; B those". */
static void show_groups(const struct comparison *all, const char *what, const char *const *words)
{
    char text[80 * MAX_COMPARED] = "";
    size_t length = 0;
    bool same = true;

    for (size_t i = 0, j; i < all->count; i++) {
        same = same && strcmp(words[i], words[0]) == 0;
        for (j = 0; strcmp(words[j], words[i]) != 0; j++)
            continue;
        if (j < i)
            continue; /* These words are in the text already. */
        for (; j < all->count; j++)
            if (strcmp(words[j], words[i]) == 0)
                length += (size_t)snprintf(text + length, 6, "%s%s",
                                           length == 0 ? ""
                                           : j > i     ? ", "
                                                       : "; ",
                                           all->column[j].name);
        length += (size_t)snprintf(text + length, 70, " %s", words[i]);
    }
    if (!same)
        show_text(2, "%s: %s", what, text);
}

static void show_different_hops(const struct comparison *all)
{
    const char *words[MAX_COMPARED];
    char what[60];

    for (const struct line *line = all->line; line < all->line + all->lines; line++) {
        const char *owner = "";
        for (size_t i = 0; i < all->count; i++) {
            words[i] = line->at[i].words;
            owner = line->at[i].seen ? all->column[i].name : owner;
        }
        snprintf(what, sizeof what, "%s%s%s%s", line->back ? "way back, " : "", line->name,
                 line->have == 1 ? ", only in " : "", line->have == 1 ? owner : "");
        show_groups(all, what, words);
    }
}

/* Of the lines from `row` on with these percentiles, the one whose figures differ most, and whose
 * these are; or NULL. */
static const struct line *widest(const struct comparison *all, unsigned percent, int row,
                                 size_t *low, size_t *high)
{
    const struct line *found = NULL;
    int64_t most = 0;

    for (const struct line *line = all->line; line < all->line + all->lines; line++)
        for (size_t i = 0; i < all->count * all->count; i++) {
            const struct entry *a = &line->at[i / all->count], *b = &line->at[i % all->count];
            if (line->percent != percent || line->row < row || line->row == ROW_WHOLE ||
                a->ns < 0 || b->ns - a->ns <= most)
                continue;
            most = b->ns - a->ns;
            found = line;
            *low = i / all->count;
            *high = i % all->count;
        }
    return found;
}

static void show_greatest_differences(const struct comparison *all)
{
    size_t low, high;

    for (unsigned percent = 50; percent <= 99; percent += 49) {
        const struct line *share = widest(all, percent, ROW_SHARES, &low, &high);
        if (share != NULL)
            show_text(0, "The share whose %s differs most: %s%s, from %s µs (%s) to %s µs (%s).",
                      percent == 50 ? "median" : "99th percentile", share->name,
                      share->back ? " on the way back" : "", share->at[low].cell,
                      all->column[low].name, share->at[high].cell, all->column[high].name);
    }
    if (all->fewest < FEW && widest(all, 50, 0, &low, &high) != NULL)
        show_text(0,
                  "One of these has fewer than %d packets, so a difference in time may be chance.",
                  FEW);
}

static void show_words(const struct comparison *all)
{
    const char *waits[MAX_COMPARED], *kernels[MAX_COMPARED];
    bool same = true;
    size_t low, high;

    for (size_t i = 0; i < all->count; i++) {
        waits[i] = box_title(BOX_WATCH, all->column[i].typical[0]->waiting);
        kernels[i] = all->column[i].recording.kernel;
    }
    for (size_t i = 0; i < all->lines; i++)
        same = same && all->line[i].same;
    show_text(0, "\nWhat differs, apart from times%s:",
              all->count > 2 ? " (same: all have the same event)" : "");
    show_different_hops(all);
    if (same)
        show_text(2,
                  widest(all, 99, 0, &low, &high) == NULL && widest(all, 50, 0, &low, &high) == NULL
                      ? "nothing, and the times do not differ either"
                      : "nothing: all have the same hops, with the same events");
    show_groups(all, "how the server waits", waits);
    show_groups(all, "Linux", kernels);
    show_greatest_differences(all);
}

/* Traces are from Linux, which has no kqueue. */
const char *compare_remark(const struct column *column)
{
    return strncmp(column->recording.server, "05-kqueue/", 10) == 0
               ? " (kqueue emulated over epoll)"
               : "";
}

void show_comparison(const struct comparison *all)
{
    if (all->column[0].recording.replayed)
        show_text(0, "RECORDED, not measured now: %s on Linux %s", all->column[0].name,
                  all->column[0].recording.kernel);
    for (size_t i = 0; i < all->count; i++) {
        const struct column *column = &all->column[i];
        show_text(0, "%s: %zu packet%s (%zu complete) over %s to %s%s%s%s", column->name,
                  column->journeys.count, column->journeys.count == 1 ? "" : "s",
                  column->journeys.outcomes[COMPLETE], vias[column->recording.via].about,
                  column->recording.server, compare_remark(column),
                  column->name[0] >= 'A' ? ", " : "", column->name[0] >= 'A' ? column->file : "");
    }
    show_table(all);
    show_words(all);
}
