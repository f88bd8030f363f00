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
                                    : recording_write(journeys->list->recording, stream);
        if (fclose(stream) != 0 || !done)
            output_fail(file, "could not be written completely");
        printf("written: %s\n", file);
    }
}

/* The one journey that is shown, and drawn. */
static const struct journey *pick(const struct output *output, const struct journeys *journeys)
{
    const char *which = output->show;
    size_t k;

    if (which == NULL)
        return journeys_typical(journeys, false);
    const struct journey *one = journeys_pick(journeys, which, &k);
    if (one == NULL)
        output_fail(which, "there are not so many journeys");
    show_text(0, "Journey %zu of %zu%s%s", k, journeys->count, which[0] > '9' ? ", the " : "",
              which[0] > '9' ? which : "");
    return one;
}

/* Show one recording, or several side by side.  A way is shown if all of them have it. */
static int show(const struct output *output, struct table *all)
{
    const struct journey *shown[MAX_COLUMNS];
    enum way way = output->way;
    bool sockets = all->column[0].recording.via == VIA_SOCKETS;

    for (size_t i = 0; way == WAYS && i < all->count; i++)
        way = all->column[i].recording.peer == 0 ? WAY_IN : WAYS;
    for (size_t i = 0; i < all->count; i++) {
        const struct recording *recording = &all->column[i].recording;
        struct journeys *journeys = &all->column[i].journeys;
        if (!stitch(recording, way, journeys))
            output_fail(all->column[i].file, strerror(ENOMEM));
        if (journeys->count == 0)
            output_fail(all->column[i].file, "no packet for this port was seen");
        if ((recording->via == VIA_SOCKETS) != sockets || (sockets && all->count > 2))
            output_fail(all->column[i].file,
                        "what sockets see can only be compared with one recording of that");
        shown[i] = pick(output, journeys);
    }
    const struct journeys *first = &all->column[0].journeys;
    if (all->count == 1 && (first->count == 1 || output->only_one || output->show != NULL))
        show_journey(shown[0], !output->brief);
    else if (all->count == 1)
        show_many(first);
    else
        show_comparison(all);
    write_files(output, first, shown, all->count);
    return 0;
}

int replay(const char *const *files, size_t count, const struct output *output)
{
    static struct table all;
    char problem[160];

    for (; all.count < count; all.count++) {
        const char *file = all.column[all.count].file = files[all.count];
        struct recording *recording = &all.column[all.count].recording;
        FILE *stream = fopen(file, "r");
        bool good = stream != NULL && recording_read(recording, stream, problem, sizeof problem);
        if (!good)
            output_fail(file, stream != NULL ? problem : strerror(errno));
        fclose(stream);
        if (recording->peer == 0 && output->way != WAY_IN && output->way != WAYS)
            output_fail(file, "only the way in was recorded");
    }
    return show(output, &all);
}

/* Show what a run recorded, and return the exit code. */
static int report(enum run_result result, struct table *all, const char *why,
                  const struct output *output)
{
    if (result == RUN_DONE)
        return show(output, all);
    if (result == RUN_STOPPED)
        fputs("trace: stopped; nothing is left behind\n", stderr);
    else
        fprintf(stderr, "trace: %s\n", why);
    return result == RUN_STOPPED ? 130 : 1;
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
            return report(result, &all, why, output);
        all.count++;
    }
    if (all.count > 1)
        return show(output, &all);
    show_text(0, "%s", why);
    puts("Next best: recorded runs. Nothing below was measured here.\n");
    for (int i = 0; i < MAX_COLUMNS; i++) {
        snprintf(path[i], sizeof path[i], "%srecordings/stages/%s.txt", folder, stages[i]);
        recorded[i] = path[i];
    }
    return replay(recorded, MAX_COLUMNS, output);
}

/* Each time a source is not available, a sentence says why. */
int trace_with_best_source(const struct plan *plan, const char *last_resort,
                           const struct output *output)
{
    static struct table all = {.count = 1, .column = {{.file = "this run"}}};
    struct recording *recording = &all.column[0].recording;
    struct output rest = *output; /* for a source that has the way in only */
    char why[WHY_SIZE];

    run_catch_signals();
    enum run_result result = run_traced(plan, recording, why);
    if (result != RUN_UNAVAILABLE) {
        signal(SIGINT, SIG_DFL); /* everything that had to be undone is undone */
        signal(SIGTERM, SIG_DFL);
        return report(result, &all, why, output);
    }
    show_text(0, "%s", why);
    show_text(
        0, "Next best: what the sockets of an unprivileged user show. The packets go over lo, to "
           "a receiver that trace starts, and only their way in is shown.\n");
    fflush(stdout); /* many packets take some time */
    rest.way = WAYS;
    result = run_sockets(plan->packets, recording, why);
    if (result != RUN_UNAVAILABLE)
        return report(result, &all, why, &rest);
    show_text(0, "%s", why);
    puts("Next best: a recorded run. Nothing below was measured here.\n");
    rest.show = NULL; /* it has one journey */
    return replay(&last_resort, 1, &rest);
}
