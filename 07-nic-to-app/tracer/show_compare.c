/* Several recordings side by side, hop by hop: a table of medians, and in words what differs.  For
 * recordings of the seven servers, this is what `trace all` shows. */
#include "journey.h"

#define FEW 20 /* with fewer journeys, a difference may be chance */

/* ---- the table ---- */

/* At its end, a line of two columns has the difference; another says whether all have the same. */
static void show_line(const struct table *table, const struct line *line)
{
    bool is_hop = line->row < HOPS, two = table->count == 2;
    int64_t a = line->at[0].ns, b = line->at[1].ns;
    char text[100];
    int length = snprintf(text, 30, is_hop ? "  %-9s" : "%-11s", line->name);

    for (size_t i = 0; i < table->count; i++)
        length += snprintf(text + length, CELL_SIZE + 1, " %8s", line->at[i].cell);
    if (two && a >= 0 && b >= 0)
        snprintf(text + length, 20, " %+9.1f", (b - a) / 50 == 0 ? 0 : (double)(b - a) / 1000);
    show_text(0, "%s%s", text, !two && is_hop && line->same ? " same" : "");
}

static void show_table(const struct table *table)
{
    bool both = table->column[0].journeys.list[0].reply != NULL;
    char heads[100];
    int length = snprintf(heads, sizeof heads, "\n%-12s", "median µs"); /* µ has two bytes */

    for (size_t i = 0; i < table->count; i++)
        length += snprintf(heads + length, 12, " %8s", table->column[i].name);
    show_text(0, "%s%s", heads, table->count == 2 ? "     B - A" : "");
    for (const struct line *line = table->line; line < table->line + table->lines; line++) {
        if (both && line->row == ROW_SHARES)
            puts(line->back ? "the way back:" : "the way in:");
        show_line(table, line);
    }
}

/* ---- in words ---- */

/* Unless all have the same words, say who has which: "A, C these; B those".  True: it was said. */
static bool show_groups(const struct table *table, size_t count, const char *what,
                        const char *const *words)
{
    char text[80 * MAX_COLUMNS] = "";
    size_t length = 0, groups = 0;

    for (size_t i = 0, j; i < count; i++) {
        for (j = 0; strcmp(words[j], words[i]) != 0; j++)
            continue;
        if (j < i)
            continue; /* These words are in the text already. */
        groups++;
        for (; j < count; j++)
            if (strcmp(words[j], words[i]) == 0)
                length += (size_t)snprintf(text + length, 6, "%s%s",
                                           length == 0 ? ""
                                           : j > i     ? ", "
                                                       : "; ",
                                           table->column[j].name);
        length += (size_t)snprintf(text + length, 70, " %s", words[i]);
    }
    if (groups > 1)
        show_text(2, "%s: %s", what, text);
    return groups > 1;
}

static void show_words(const struct table *table)
{
    const char *words[MAX_COLUMNS], *waits[MAX_COLUMNS], *kernels[MAX_COLUMNS];
    size_t count = table->count;
    bool differ = false;
    char what[60];

    show_text(0, "\nWhat differs, apart from times%s:",
              count > 2 ? " (same: all have the same event)" : "");
    for (const struct line *line = table->line; line < table->line + table->lines; line++) {
        for (size_t i = 0; i < count; i++)
            words[i] = line->at[i].words;
        snprintf(what, sizeof what, "%s%s", line->back ? "way back, " : "", line->name);
        differ |= show_groups(table, count, what, words);
    }
    if (!differ)
        show_text(2, "nothing: all have the same hops, with the same events");
    for (size_t i = 0; i < count; i++) {
        const struct journeys *journeys = &table->column[i].journeys;
        waits[i] = box_title(BOX_WATCH, journeys_typical(journeys, false)->waiting);
        kernels[i] = table->column[i].recording.kernel;
    }
    show_groups(table, count, "how the server waits", waits);
    show_groups(table, count, "Linux", kernels);
}

/* The seven servers are called by their numbers; other recordings get letters. */
static void name_column(struct column *column, size_t i)
{
    const char *slash = strrchr(column->file, '/'),
               *base = slash != NULL ? slash + 1 : column->file;
    bool stage = base[0] == '0' && base[1] != '\0' && base[2] == '-';

    snprintf(column->name, 3, "%.2s", stage ? base : (const char[]){(char)('A' + i), '\0'});
}

void show_comparison(struct table *table)
{
    size_t fewest = FEW;

    for (size_t i = 0; i < table->count; i++) {
        struct column *column = &table->column[i];
        const struct recording *recording = &column->recording;
        const struct journeys *journeys = &column->journeys;
        column->percent = 50;
        name_column(column, i);
        if (i == 0 && recording->replayed)
            show_text(0, "RECORDED, not measured now: %s on Linux %s", column->name,
                      recording->kernel);
        show_text(0, "%s: %zu packet%s (%zu complete) over %s to %s%s%s", column->name,
                  journeys->count, journeys->count == 1 ? "" : "s", journeys->outcomes[COMPLETE],
                  vias[recording->via].about, recording->server, column->name[0] >= 'A' ? ", " : "",
                  column->name[0] >= 'A' ? column->file : "");
        fewest = journeys->count < fewest ? journeys->count : fewest;
    }
    table_fill(table);
    show_table(table);
    show_words(table);
    if (fewest < FEW)
        show_text(0,
                  "At least one run has fewer than %d packets: a difference may be due to chance.",
                  FEW);
}
