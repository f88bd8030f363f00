/* What the user gets to see of a recording: text on standard output, and the files asked for. */
#define _POSIX_C_SOURCE 200809L

#include "output.h"

#include "show.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void output_fail(const char *what, const char *why)
{
    fprintf(stderr, "trace: %s: %s\n", what, why);
    exit(1);
}

static bool is_stdout(const char *file)
{
    return file != NULL && strcmp(file, "-") == 0;
}

/* The file gets a descriptor of its own for standard output, which then becomes standard error. */
void output_begin(struct output *output)
{
    if (!is_stdout(output->json) && !is_stdout(output->svg) && !is_stdout(output->record))
        return;
    int copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    output->piped = copy != -1 ? fdopen(copy, "w") : NULL;
    if (output->piped == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
        output_fail("standard output", strerror(errno));
}

/* EPIPE is not a failure: the reader has closed the pipe because it has seen enough. */
int output_end(int code)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE)
        return code;
    fprintf(stderr, "trace: standard output: %s\n", strerror(errno != 0 ? errno : EIO));
    return 1;
}

static FILE *create(const struct output *output, const char *file)
{
    FILE *stream = is_stdout(file) ? output->piped : fopen(file, "w");

    if (stream == NULL)
        output_fail(file, strerror(errno));
    return stream;
}

static void finish(FILE *stream, const char *file, bool written)
{
    if (fclose(stream) != 0 || !written)
        output_fail(file, "could not be written completely");
    if (!is_stdout(file))
        printf("written: %s\n", file);
}

static void write_files(const struct output *output, const struct recording *recording,
                        const struct journeys *journeys)
{
    FILE *stream;

    if (output->json != NULL) {
        stream = create(output, output->json);
        finish(stream, output->json, show_json(stream, recording, journeys));
    }
    if (output->svg != NULL) {
        stream = create(output, output->svg);
        finish(stream, output->svg, show_svg(stream, recording, journeys_typical(journeys)));
    }
    if (output->record != NULL) {
        stream = create(output, output->record);
        finish(stream, output->record, recording_write(recording, stream));
    }
}

void output_show(const struct output *output, const struct recording *recording)
{
    struct journeys journeys;

    if (!stitch(recording, &journeys))
        output_fail("stitching", strerror(ENOMEM));
    if (journeys.count == 0)
        output_fail("nothing to show", "no packet for this port was seen");
    if (journeys.count == 1 || output->only_one)
        show_journey(stdout, recording, journeys_typical(&journeys), !output->brief);
    else
        show_many(stdout, recording, &journeys);
    write_files(output, recording, &journeys);
    journeys_free(&journeys);
}
