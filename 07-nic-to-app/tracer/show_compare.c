/* Several recordings side by side, hop by hop: a table of medians, and in words what differs.  For
 * recordings of the seven servers, this is what `trace all` shows. */
#define _POSIX_C_SOURCE 200809L

#include "journey.h"

#include <stdlib.h>
#include <string.h>

#define FEW 20 /* with fewer journeys, a difference may be chance */
#define TEXT_SIZE 600

/* ---- measuring ---- */

static bool measure(struct column *column, bool back)
{
    const struct journeys *journeys = &column->journeys;
    const struct journey *typical = journeys_typical(journeys);
    uint64_t *ns = calloc(journeys->count, sizeof *ns);

    typical = back ? &journeys->other[typical - journeys->list] : typical;
    column->typical[back] = typical;
    for (int row = 0; ns != NULL && row < ROWS; row++) {
        bool is_timed = row >= HOPS || journey_is_step(typical, row);
        size_t count = is_timed ? journeys_times(journeys, back, row, ns, NULL) : 0;
        uint64_t median = percentile(ns, count, 50);
        column->ns[back][row] = count > 0 && (row < HOPS || median > 0) ? (int64_t)median : -1;
        if (row < HOPS)
            column->words[back][row] = typical->state[row] == BEGAN_BEFORE
                                           ? "called before the packet came"
                                       : typical->at[row] != NULL ? event_label(typical->at[row])
                                                                  : show_state(typical->state[row]);
    }
    free(ns);
    return ns != NULL;
}

/* The words that each column has for a hop. */
static void words_of(const struct comparison *all, bool back, int hop, const char **words)
{
    for (size_t i = 0; i < all->count; i++)
        words[i] = all->column[i].words[back][hop];
}

static bool are_same(const struct comparison *all, const char *const *words)
{
    for (size_t i = 1; i < all->count; i++)
        if (strcmp(words[i], words[0]) != 0)
            return false;
    return true;
}

bool compare_same(const struct comparison *all, bool back, int hop)
{
    const char *words[MAX_COMPARED];

    words_of(all, back, hop, words);
    return are_same(all, words);
}

bool compare_belongs(const struct comparison *all, bool back, int hop)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->column[i].typical[back]->state[hop] != NOT_ON_PATH)
            return true;
    return false;
}

/* ---- the table ---- */

void compare_cell(const struct column *column, bool back, int row, char text[CELL_SIZE])
{
    static const char *const absent[HOP_STATES] = {"not here", "",         "before",
                                                   "merged",   "unneeded", "not seen",
                                                   "unasked",  "no event", "unknown"};
    int64_t ns = column->ns[back][row];

    if (ns >= 0)
        snprintf(text, CELL_SIZE, "%.*f", ns < 10000000 ? 1 : 0, show_us((uint64_t)ns));
    else
        snprintf(text, CELL_SIZE, "%s",
                 row < HOPS ? absent[column->typical[back]->state[row]] : "-");
}

/* Two recordings leave room for the name of the event, and for the difference. */
static void show_row(const struct comparison *all, bool back, int row, const char *name)
{
    const struct column *a = &all->column[0], *b = &all->column[1];
    char text[160], cell[CELL_SIZE];
    bool two = all->count == 2, same = row < HOPS && compare_same(all, back, row);
    const struct event *event = row < HOPS ? a->typical[back]->at[row] : NULL;
    int length = snprintf(text, sizeof text, "%-11s", name);

    if (row < HOPS && event == NULL)
        event = b->typical[back]->at[row];
    if (two)
        length += snprintf(text + length, 30, " %-24s", event != NULL ? event_label(event) : "");
    for (size_t i = 0; i < all->count; i++) {
        compare_cell(&all->column[i], back, row, cell);
        length += snprintf(text + length, CELL_SIZE + 10, " %8s", cell);
    }
    int64_t difference = b->ns[back][row] - a->ns[back][row];
    if (two && a->ns[back][row] >= 0 && b->ns[back][row] >= 0)
        snprintf(text + length, 20, " %+9.1f",
                 difference / 50 == 0 ? 0 : (double)difference / 1000);
    else if (!two && same)
        snprintf(text + length, 20, " same");
    show_text(0, "%s", text);
}

static void show_table(const struct comparison *all, bool back)
{
    char name[16];

    for (int share = 0; share < SHARES; share++) {
        show_row(all, back, ROW_SHARES + share, compare_share(all, back, share));
        for (int hop = 0; hop < HOP_ACK; hop++) {
            if ((int)hops[hop].share != share || !compare_belongs(all, back, hop))
                continue;
            snprintf(name, sizeof name, "  %s", hops[hop].name);
            show_row(all, back, hop, name);
        }
    }
}

const char *compare_share(const struct comparison *all, bool back, int share)
{
    const struct column *first = &all->column[0];

    return first->recording.via == VIA_SOCKETS
               ? share_names[share] /* the others are too long */
               : show_share(&first->recording, first->typical[back], (enum share)share);
}

/* ---- in words ---- */

/* Who has which words: "A, C these; B those". */
static void show_groups(const struct comparison *all, const char *what, const char *const *words)
{
    char text[TEXT_SIZE] = "";
    size_t length = 0;

    for (size_t i = 0; i < all->count; i++) {
        size_t j = 0;
        while (strcmp(words[j], words[i]) != 0)
            j++;
        if (j < i)
            continue; /* They are in the text already. */
        for (; j < all->count && !are_same(all, words); j++)
            if (strcmp(words[j], words[i]) == 0)
                length += (size_t)snprintf(text + length, 8, "%s%s",
                                           j > i   ? ", "
                                           : i > 0 ? "; "
                                                   : "",
                                           all->column[j].name);
        length += (size_t)snprintf(text + length, 80, " %s", words[i]);
    }
    show_text(2, "%s: %s", what, text + (text[0] == ' '));
}

/* The hops that only some have, or that have different events.  Returns how many there are. */
static int show_different_hops(const struct comparison *all, bool back)
{
    const char *words[MAX_COMPARED], *name = "";
    char what[64];
    int different = 0;

    for (int hop = 0; hop < HOP_ACK; hop++) {
        size_t have = 0;
        words_of(all, back, hop, words);
        if (are_same(all, words))
            continue;
        for (size_t i = 0; i < all->count; i++)
            if (all->column[i].typical[back]->at[hop] != NULL) {
                have++;
                name = all->column[i].name;
            }
        snprintf(what, sizeof what, "%s%s%s%s", back ? "way back, " : "", hops[hop].name,
                 have == 1 ? ", only in " : "", have == 1 ? name : "");
        show_groups(all, what, words);
        different++;
    }
    return different;
}

/* How far apart the least and the greatest median of a row are, and whose they are. */
static int64_t spread(const struct comparison *all, bool back, int row,
                      const struct column *ends[2])
{
    ends[0] = ends[1] = NULL;
    for (const struct column *at = all->column; at < all->column + all->count; at++) {
        int64_t ns = at->ns[back][row];
        if (ns >= 0 && (ends[0] == NULL || ns < ends[0]->ns[back][row]))
            ends[0] = at;
        if (ns >= 0 && (ends[1] == NULL || ns > ends[1]->ns[back][row]))
            ends[1] = at;
    }
    return ends[0] != NULL ? ends[1]->ns[back][row] - ends[0]->ns[back][row] : 0;
}

static void show_greatest_difference(const struct comparison *all)
{
    const struct column *ends[2], *most[2] = {NULL, NULL};
    int64_t greatest = 0;
    int share = 0, way = 0;

    for (int back = 0; back <= all->both; back++)
        for (int row = ROW_SHARES; row < ROW_WHOLE; row++)
            if (spread(all, back, row, ends) > greatest) {
                greatest = spread(all, back, row, most);
                share = row;
                way = back;
            }
    if (greatest > 0)
        show_text(0, "The share that differs most: %s%s, from %.1f µs (%s) to %.1f µs (%s).",
                  compare_share(all, way, share - ROW_SHARES),
                  !all->both ? ""
                  : way      ? " on the way back"
                             : " on the way in",
                  show_us((uint64_t)most[0]->ns[way][share]), most[0]->name,
                  show_us((uint64_t)most[1]->ns[way][share]), most[1]->name);
}

static void show_words(const struct comparison *all)
{
    const char *waits[MAX_COMPARED], *kernels[MAX_COMPARED];
    const struct column *ends[2];
    int64_t apart = 0;
    size_t fewest = SIZE_MAX;

    for (size_t i = 0; i < all->count; i++) {
        const struct column *column = &all->column[i];
        waits[i] = box_title(BOX_WATCH, column->typical[0]->waiting);
        kernels[i] = column->recording.kernel;
        fewest = column->journeys.count < fewest ? column->journeys.count : fewest;
    }
    puts("\nWhat differs, apart from times:");
    int different =
        show_different_hops(all, false) + (all->both ? show_different_hops(all, true) : 0);
    for (int row = 0; row < ROWS; row++)
        apart += spread(all, false, row, ends) + (all->both ? spread(all, true, row, ends) : 0);
    if (!are_same(all, waits))
        show_groups(all, "how the server waits", waits);
    if (!are_same(all, kernels))
        show_groups(all, "Linux", kernels);
    if (different == 0)
        show_text(2, apart == 0 ? "no difference: the same hops, and the same medians"
                                : "no hop: all have the same hops, with the same events");
    show_greatest_difference(all);
    if (fewest < FEW && apart > 0)
        show_text(0,
                  "At least one recording has fewer than %d packets, so a difference in time may "
                  "be chance: record more with -n.",
                  FEW);
    for (size_t i = 0; i < all->count; i++)
        if (strncmp(all->column[i].recording.server, "05-kqueue/", 10) == 0)
            show_text(0,
                      "%s: on Linux, kqueue() is this tutorial's emulation on top of epoll. So "
                      "this is epoll's "
                      "journey, and not that of a real kqueue.",
                      all->column[i].name);
}

/* The seven servers have numbers; other recordings get letters. */
static void name_columns(struct comparison *all)
{
    bool numbers = true;

    for (size_t i = 0; i < all->count; i++) {
        const char *server = all->column[i].recording.server;
        numbers = numbers && server[0] == '0' && server[2] == '-' &&
                  (i == 0 || server[1] > all->column[i - 1].recording.server[1]);
    }
    for (size_t i = 0; i < all->count; i++)
        snprintf(all->column[i].name, 3, "%.2s",
                 numbers ? all->column[i].recording.server : (char[]){(char)('A' + i), 0});
}

bool show_comparison(struct comparison *all)
{
    all->both = all->column[0].journeys.list[0].reply != NULL;
    for (size_t i = 0; i < all->count; i++)
        if (!measure(&all->column[i], false) || (all->both && !measure(&all->column[i], true)))
            return false;
    name_columns(all);
    char text[160];
    int length = snprintf(text, sizeof text, "\n%-11s", "median µs");

    if (all->column[0].recording.replayed)
        puts("RECORDED, not measured now");
    for (size_t i = 0; i < all->count; i++) {
        const struct column *column = &all->column[i];
        const char *file = column->file != NULL ? column->file : "";
        show_text(0, "%s  %s%s%zu packet%s (%zu complete) over %s to %s", column->name, file,
                  file[0] != '\0' ? ": " : "", column->journeys.count,
                  column->journeys.count == 1 ? "" : "s", column->journeys.outcomes[COMPLETE],
                  vias[column->recording.via].about, column->recording.server);
    }
    if (all->count == 2)
        length += snprintf(text + length, 30, " %-24s", "event");
    for (size_t i = 0; i < all->count; i++)
        length += snprintf(text + length, 20, " %8s", all->column[i].name);
    snprintf(text + length, 20, all->count == 2 ? "     B - A" : "");
    show_text(0, "%s", text);
    if (all->both)
        puts("the way in:");
    show_table(all, false);
    if (all->both) {
        puts("the way back:");
        show_table(all, true);
    }
    show_row(all, false, ROW_WHOLE, "in all");
    show_words(all);
    return true;
}
