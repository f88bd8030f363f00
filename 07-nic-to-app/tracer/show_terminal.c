/* Text on a terminal: colours, lines that fit, and what comes before and after a
 * table. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LEAST_WIDTH 40
#define MOST_WIDTH 80

struct colours show_colours(FILE *stream)
{
    static const struct colours none = {"", "", "", ""};
    static const struct colours ansi = {"\033[1m", "\033[36m", "\033[2m", "\033[0m"};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (isatty(fileno(stream)) != 1 || (no_color != NULL && no_color[0] != '\0'))
        return none;
    if (term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0)
        return none;
    return ansi;
}

/* COLUMNS in the environment comes first, as it does for other programs. */
size_t show_width(FILE *stream)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    long width = columns != NULL ? strtol(columns, NULL, 10) : 0;

    if (width <= 0 && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    if (width <= 0 || width > MOST_WIDTH)
        return MOST_WIDTH;
    return width < LEAST_WIDTH ? LEAST_WIDTH : (size_t)width;
}

bool show_is_narrow(FILE *stream)
{
    return show_width(stream) < MOST_WIDTH;
}

/* How many columns a text takes.  Bytes that continue a UTF-8 character take none. */
static size_t columns(const char *text, size_t bytes)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

void show_wrapped(FILE *stream, const char *text, size_t indent)
{
    size_t column = 0, most = show_width(stream);

    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        size_t width = columns(text, length);
        if (column > 0 && column + 1 + width > most) {
            fputc('\n', stream);
            column = 0;
        }
        if (column == 0)
            fprintf(stream, "%*s", (int)indent, "");
        else
            fputc(' ', stream);
        column += column == 0 ? indent + width : 1 + width;
        fprintf(stream, "%.*s", (int)length, text);
        text += length + strspn(text + length, " ");
    }
    fputc('\n', stream);
}

void show_box_title(FILE *stream, const struct colours *colour, const char *title)
{
    char text[120];

    snprintf(text, sizeof text, "[%s]", title);
    fputs(colour->bold, stream);
    show_wrapped(stream, text, 0);
    fputs(colour->off, stream);
}

void show_origin(FILE *stream, const struct recording *recording)
{
    char text[160];

    if (!recording->replayed)
        return;
    snprintf(text, sizeof text, "RECORDED, not measured now: on Linux %s", recording->kernel);
    show_wrapped(stream, text, 0);
}

void show_notes(FILE *stream, const struct recording *recording)
{
    if (recording->note[0][0] != '\0')
        fputc('\n', stream);
    for (size_t i = 0; i < NOTES && recording->note[i][0] != '\0'; i++)
        show_wrapped(stream, recording->note[i], 0);
    fputc('\n', stream);
    char absent[200];
    snprintf(absent, sizeof absent, "%s: %s.",
             recording->via == VIA_SOCKETS ? "Sockets do not see" : "Not on this path",
             vias[recording->via].absent);
    show_wrapped(stream, absent, 0);
}
