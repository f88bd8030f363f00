/* Text on a terminal: colours, lines of at most 80 columns, and what comes before and after a
 * table. */
#define _POSIX_C_SOURCE 200809L

#include "show.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WIDTH 80

struct colours show_colours(FILE *stream)
{
    static const struct colours none = {"", "", "", ""};
    static const struct colours ansi = {"\033[1m", "\033[36m", "\033[2m", "\033[0m"};
    const char *no_color = getenv("NO_COLOR");

    if (isatty(fileno(stream)) != 1 || (no_color != NULL && no_color[0] != '\0'))
        return none;
    return ansi;
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
    size_t column = 0;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        size_t width = columns(text, length);
        if (column > 0 && column + 1 + width > WIDTH) {
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

void show_origin(FILE *stream, const struct recording *recording)
{
    if (recording->replayed)
        fprintf(stream, "RECORDED, not measured now: on Linux %s\n", recording->kernel);
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
