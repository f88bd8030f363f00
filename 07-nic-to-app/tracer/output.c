/* Where the events come from, from the best source to the last resort (tracepoints, sockets, a
 * recording), and what the user gets to see of them: text, and the files asked for. */
#include "trace.h"

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
    bool piped = false;

    for (int i = 0; i < FILES; i++)
        piped |= is_stdout(output->file[i]);
    if (!piped)
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

static void write_files(const struct output *output, const struct recording *recording,
                        const struct journeys *journeys)
{
    for (int i = 0; i < FILES; i++) {
        const char *file = output->file[i];
        if (file == NULL)
            continue;
        FILE *stream = is_stdout(file) ? output->piped : fopen(file, "w");
        if (stream == NULL)
            output_fail(file, strerror(errno));
        bool done = i == FILE_JSON  ? show_json(stream, recording, journeys)
                    : i == FILE_SVG ? show_svg(stream, recording, journeys_typical(journeys))
                                    : recording_write(recording, stream);
        if (fclose(stream) != 0 || !done)
            output_fail(file, "could not be written completely");
        if (!is_stdout(file))
            printf("written: %s\n", file);
    }
}

static void show(const struct output *output, const struct recording *recording)
{
    struct journeys journeys;

    if (!stitch(recording, output->way, &journeys))
        output_fail("stitching", strerror(ENOMEM));
    if (journeys.count == 0)
        output_fail("nothing to show", "no packet for this port was seen");
    if (journeys.count == 1 || output->only_one)
        show_journey(recording, journeys_typical(&journeys), !output->brief);
    else
        show_many(recording, &journeys);
    write_files(output, recording, &journeys);
    journeys_free(&journeys);
}

int replay(const char *file, const struct output *output)
{
    struct recording recording = {0};
    char problem[160];
    FILE *stream = fopen(file, "r");

    bool good = stream != NULL && recording_read(&recording, stream, problem, sizeof problem);
    if (!good)
        output_fail(file, stream != NULL ? problem : strerror(errno));
    fclose(stream);
    if (recording.peer == 0 && output->way != WAY_IN && output->way != WAYS)
        output_fail(file, "only the way in was recorded");
    show(output, &recording);
    recording_free(&recording);
    return 0;
}

/* Show what a run recorded, and return the exit code. */
static int report(enum run_result result, const struct recording *recording, const char *why,
                  const struct output *output)
{
    if (result == RUN_DONE)
        show(output, recording);
    else if (result == RUN_STOPPED)
        fputs("trace: stopped; nothing is left behind\n", stderr);
    else
        fprintf(stderr, "trace: %s\n", why);
    return result == RUN_DONE ? 0 : result == RUN_STOPPED ? 130 : 1;
}

/* Each time a source is not available, a sentence says why. */
int trace_with_best_source(const struct plan *plan, bool was_specific, const char *last_resort,
                           const struct output *output)
{
    struct recording recording = {0};
    struct output rest = *output; /* for a source that has the way in only */
    char why[WHY_SIZE];

    run_catch_signals();
    enum run_result result = run_traced(plan, &recording, why);
    if (result != RUN_UNAVAILABLE) {
        signal(SIGINT, SIG_DFL); /* everything that had to be undone is undone */
        signal(SIGTERM, SIG_DFL);
    } else {
        recording_free(&recording);
        show_text(0, "%s", why);
        puts("Next best: what the sockets of an unprivileged user show.\n");
        if (was_specific || plan->server == NULL)
            show_text(
                0, "The packets therefore go over lo, to a receiver that trace starts, on any "
                   "CPU, and only the way in is shown: your options for these have no effect.\n");
        fflush(stdout); /* many packets take some time */
        rest.way = WAYS;
        result = run_sockets(plan->packets, &recording, why);
    }
    int code = result != RUN_UNAVAILABLE ? report(result, &recording, why, &rest) : 0;
    recording_free(&recording);
    if (result != RUN_UNAVAILABLE)
        return code;
    show_text(0, "%s", why);
    puts("Next best: a recorded run. Nothing below was measured here.\n");
    return replay(last_resort, &rest);
}
