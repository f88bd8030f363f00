/* lines.h: where complete lines end, for the task "lines".  You need not change this file. */
#ifndef LINES_H
#define LINES_H

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#define MAX_LINE 16000 /* bytes, with the newline */

/* Returns how many bytes of the data are complete lines, from the first byte to the last newline.
 * If a line is too long, or will be when it ends, returns -1 with EMSGSIZE. */
static inline ssize_t complete_lines(const char *data, size_t length)
{
    const char *line = data, *end = data + length, *newline;

    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        if (newline - line >= MAX_LINE)
            break;
        line = newline + 1;
    }
    errno = EMSGSIZE;
    return end - line < MAX_LINE ? line - data : -1;
}

#endif
