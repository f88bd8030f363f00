/* The sources of events, from the best to the last resort: tracepoints, sockets, a recording.  Each
 * time one of them is not available, a sentence says why. */
#define _POSIX_C_SOURCE 200809L

#include "fallback.h"

#include "show.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

int replay(const char *file, const struct output *output)
{
    struct recording recording = {0};
    char problem[160];
    FILE *stream = fopen(file, "r");

    if (stream == NULL) {
        output_fail(file, strerror(errno));
        return 1; /* never reached, which cppcheck does not see */
    }
    bool good = recording_read(&recording, stream, problem, sizeof problem);
    fclose(stream);
    if (!good)
        output_fail(file, problem);
    output_show(output, &recording);
    recording_free(&recording);
    return 0;
}

/* Show what a run recorded, and return the exit code. */
static int report(enum run_result result, const struct recording *recording, const char *why,
                  const struct output *output)
{
    if (result == RUN_DONE) {
        output_show(output, recording);
        return 0;
    }
    if (result == RUN_STOPPED) {
        fputs("trace: stopped; nothing is left behind\n", stderr);
        return 130;
    }
    fprintf(stderr, "trace: %s\n", why);
    return 1;
}

static int fall_back_to_recording(const char *why, const char *file, const struct output *output)
{
    show_wrapped(stdout, why, 0);
    puts("Next best: a recorded run. Nothing below was measured here.\n");
    return replay(file, output);
}

static int fall_back_to_sockets(const struct plan *plan, bool was_specific, const char *last_resort,
                                const struct output *output)
{
    struct recording recording;
    char why[200];
    int code;

    puts("Next best: what the sockets of an unprivileged user show.\n");
    if (was_specific || plan->server == NULL)
        show_wrapped(stdout,
                     "The packets therefore go over lo, to a receiver that trace starts, on any "
                     "CPU: your options for these have no effect.\n",
                     0);
    fflush(stdout); /* many packets take some time */
    enum run_result result = run_sockets(plan->packets, &recording, why, sizeof why);
    if (result == RUN_UNAVAILABLE)
        code = fall_back_to_recording(why, last_resort, output);
    else
        code = report(result, &recording, why, output);
    recording_free(&recording);
    return code;
}

int trace_with_best_source(const struct plan *plan, bool was_specific, const char *last_resort,
                           const struct output *output)
{
    struct recording recording;
    char why[300];
    int code;

    run_catch_signals();
    enum run_result result = run_traced(plan, &recording, why, sizeof why);
    if (result == RUN_UNAVAILABLE) {
        show_wrapped(stdout, why, 0);
        code = fall_back_to_sockets(plan, was_specific, last_resort, output);
    } else {
        signal(SIGINT, SIG_DFL); /* everything that had to be undone is undone */
        signal(SIGTERM, SIG_DFL);
        code = report(result, &recording, why, output);
    }
    recording_free(&recording);
    return code;
}
