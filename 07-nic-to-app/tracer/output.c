/* Where the events come from, from the best source to the last resort (tracepoints, sockets, a
 * recording), and what the user gets to see of them: text, and the files asked for. */
#include "trace.h"

_Noreturn void output_fail(const char *what, const char *why)
{
    fprintf(stderr, "trace: %s: %s\n", what, why);
    exit(1);
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

/* The drawing is of the journeys `one`, of which there may be several. */
static void write_files(const struct output *output, const struct journeys *journeys,
                        const struct journey *const *one, size_t count)
{
    for (int i = 0; i < FILES; i++) {
        const char *file = output->file[i];
        if (file == NULL)
            continue;
        bool empty = ftruncate(output->fd[i], 0) == 0 || errno == EINVAL; /* EINVAL: a pipe */
        FILE *stream = empty ? fdopen(output->fd[i], "w") : NULL;
        if (stream == NULL)
            output_fail(file, strerror(errno));
        bool done = i == FILE_JSON  ? show_json(stream, journeys)
                    : i == FILE_SVG ? show_svg(stream, one, count)
                                    : recording_write(one[0]->recording, stream);
        if (fclose(stream) != 0 || !done)
            output_fail(file, "could not be written completely");
        printf("written: %s\n", file);
    }
}

static void show(const struct output *output, const struct recording *recording)
{
    struct journeys journeys;
    size_t k;

    if (!stitch(recording, output->way, &journeys))
        output_fail("stitching", strerror(ENOMEM));
    if (journeys.count == 0)
        output_fail("nothing to show", "no packet for this port was seen");
    const struct journey *one = output->show != NULL ? journeys_pick(&journeys, output->show, &k)
                                                     : journeys_typical(&journeys, false);
    if (one == NULL)
        output_fail(output->show, "there are not so many journeys");
    if (output->show != NULL)
        show_text(0, "Journey %zu of %zu%s%s", k, journeys.count,
                  output->show[0] > '9' ? ", the " : "", output->show[0] > '9' ? output->show : "");
    if (journeys.count == 1 || output->only_one || output->show != NULL)
        show_journey(one, !output->brief);
    else if (!show_many(&journeys))
        output_fail("many journeys", strerror(ENOMEM));
    write_files(output, &journeys, &one, 1);
    journeys_free(&journeys);
}

static void read_recording(const char *file, enum way way, struct recording *recording)
{
    char problem[160];
    FILE *stream = fopen(file, "r");

    bool good = stream != NULL && recording_read(recording, stream, problem, sizeof problem);
    if (!good)
        output_fail(file, stream != NULL ? problem : strerror(errno));
    fclose(stream);
    if (recording->peer == 0 && way != WAY_IN && way != WAYS)
        output_fail(file, "only the way in was recorded");
}

int replay(const char *file, const struct output *output)
{
    struct recording recording = {0};

    read_recording(file, output->way, &recording);
    show(output, &recording);
    recording_free(&recording);
    return 0;
}

/* A way is shown if all of them have it. */
static int show_columns(const struct output *output, struct table *all)
{
    const struct journey *typical[MAX_COLUMNS];
    enum way way = output->way;

    for (size_t i = 0; way == WAYS && i < all->count; i++)
        way = all->column[i].recording.peer == 0 ? WAY_IN : WAYS;
    for (size_t i = 0; i < all->count; i++) {
        const struct recording *recording = &all->column[i].recording;
        struct journeys *journeys = &all->column[i].journeys;
        const char *what = all->column[i].file;
        if (!stitch(recording, way, journeys))
            output_fail(what, strerror(ENOMEM));
        if (journeys->count == 0)
            output_fail(what, "no packet for this port was seen");
        if ((recording->via == VIA_SOCKETS) != (all->column[0].recording.via == VIA_SOCKETS) ||
            (recording->via == VIA_SOCKETS && all->count > 2))
            output_fail(what, "what sockets see can only be compared with one recording of that");
        typical[i] = journeys_typical(journeys, false);
    }
    if (!show_comparison(all))
        output_fail("comparing", strerror(ENOMEM));
    write_files(output, NULL, typical, all->count);
    for (size_t i = 0; i < all->count; i++) {
        journeys_free(&all->column[i].journeys);
        recording_free(&all->column[i].recording);
    }
    return 0;
}

int compare_files(const char *const *files, size_t count, const struct output *output)
{
    static struct table all;

    for (; all.count < count; all.count++) {
        all.column[all.count].file = files[all.count];
        read_recording(files[all.count], output->way, &all.column[all.count].recording);
    }
    return show_columns(output, &all);
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

int trace_all(struct plan *plan, const char *folder, const struct output *output)
{
    static const char *const stages[MAX_COLUMNS] = {"01-blocking",  "02-select", "03-poll",
                                                    "04-epoll",     "05-kqueue", "06-selector",
                                                    "07-nic-to-app"};
    static struct table all;
    static char path[MAX_COLUMNS][4096];
    const char *recorded[MAX_COLUMNS];
    char why[WHY_SIZE] = "Fewer than two servers are there.";

    run_catch_signals();
    for (int i = 0; i < MAX_COLUMNS; i++) {
        struct column *column = &all.column[all.count];
        snprintf(path[i], sizeof path[i], "%s../%s/server", folder, stages[i]);
        if (access(path[i], X_OK) == -1) {
            printf("%s/server is missing. To build it: make %.2s\n", stages[i], stages[i]);
            continue;
        }
        plan->server = path[i];
        column->file = stages[i];
        enum run_result result = run_traced(plan, &column->recording, why);
        if (result == RUN_UNAVAILABLE)
            break;
        if (result != RUN_DONE)
            return report(result, &column->recording, why, output);
        all.count++;
    }
    if (all.count > 1)
        return show_columns(output, &all);
    show_text(0, "%s", why);
    puts("Next best: recorded runs. Nothing below was measured here.\n");
    for (int i = 0; i < MAX_COLUMNS; i++) {
        snprintf(path[i], sizeof path[i], "%srecordings/stages/%s.txt", folder, stages[i]);
        recorded[i] = path[i];
    }
    return compare_files(recorded, MAX_COLUMNS, output);
}

/* Each time a source is not available, a sentence says why. */
int trace_with_best_source(const struct plan *plan, const char *last_resort,
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
        show_text(0,
                  "Next best: what the sockets of an unprivileged user show. The packets go over "
                  "lo, to a receiver that trace starts, and only their way in is shown.\n");
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
    rest.show = NULL; /* it has one journey */
    return replay(last_resort, &rest);
}
